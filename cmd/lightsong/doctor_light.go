package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"lightsong/modem/line"
	"lightsong/phy/led"
)

const (
	echoes         = 50 // of the serial line
	lightRound     = 16 // test frames at a chip rate, before the next one's turn
	lightRoundSlow = 3  // likewise where one LED both sends and hears
	lightOctets    = led.TestOctets
	lightRounds    = 5 // of the sender's that are listened to at each rate, and
	lightLeast     = time.Second
	lightBetween   = 20 * time.Millisecond // from one rate's turn to the next: three questions, USB
	lightPieces    = 2 * time.Second       // at most is a board listened to in one go
)

// DoctorLight is what `doctor --listen --json` prints for a configuration with
// [led]: what a board has heard of a test sequence that another one sends. Neither's
// host takes part.
type DoctorLight struct {
	Version    string            `json:"version"`
	Board      string            `json:"board"`
	Firmware   string            `json:"firmware"`
	Receiver   string            `json:"receiver"`
	Baud       int               `json:"serial_baud"`
	Echoes     int               `json:"serial_echoes"` // asked for on the serial line
	EchoesGood int               `json:"serial_echoes_good"`
	Rates      []DoctorLightRate `json:"rates"`
	Net        float64           `json:"net_bps"` // of the fastest mode that the light allows; 0: of none
	Next       string            `json:"next"`
}

// DoctorLightRate is one chip rate's outcome.
type DoctorLightRate struct {
	ChipRate int      `json:"chips_per_s"` // 0 where one LED both sends and hears
	Frames   uint32   `json:"frames"`      // heard
	Slipped  int      `json:"frames_slipped"`
	Bits     uint32   `json:"bits"`
	Wrong    uint32   `json:"bits_wrong"`
	BER      *float64 `json:"ber"`      // null: nothing was heard
	BERMost  *float64 `json:"ber_most"` // with 95 % confidence
	Mode     string   `json:"mode"`     // the fastest that BERMost allows; empty: none
	NetBPS   float64  `json:"net_bps"`
}

// doctorLight is doctor for a configuration with [led].
func (o *doctorOptions) doctorLight(cmd *cobra.Command, c *upConfig) error {
	switch {
	case c.Led.bareUART():
		return errors.New("doctor measures boards, and led.board is an adapter without one: `lightsong status` of a running daemon shows its SNR")
	case !o.play && !o.listen:
		return usage(errors.New("light is measured from one board to another: --listen with the one, --play with the other"))
	case o.picture != "":
		return usage(errors.New("--picture is for sound"))
	}
	cfg := led.Config{Dial: led.Serial(strings.TrimPrefix(c.Led.Board, serialScheme)), MaxSpeed: c.Led.MaxBaud, Dim: c.Led.Dim}
	t, err := led.OpenTester(cmd.Context(), cfg)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Led.Board, err)
	}
	defer t.Close()
	rates := lightRates(t.Info(), cmp.Or(c.Led.rateSet(), led.DefaultRates))
	if len(rates) == 0 {
		return fmt.Errorf("%s: the board has none of led.rates", c.Led.Board)
	}
	if o.play {
		fmt.Fprintf(cmd.ErrOrStderr(), "sending test frames; interrupt when `lightsong doctor --listen` at the other board has told what it heard\n")
		sent, err := playLight(cmd.Context(), t, rates)
		if cmd.Context().Err() != nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "%d test frames sent\n", sent)
			return nil
		}
		return fmt.Errorf("%s: %w", c.Led.Board, err)
	}
	d := &DoctorLight{Version: version, Board: c.Led.Board}
	fmt.Fprintf(cmd.ErrOrStderr(), "listening for test frames of `lightsong doctor --play` at the other board, for %v at most\n", o.wait)
	if err := d.listen(cmd.Context(), t, rates, o.wait); err != nil {
		if cmd.Context().Err() != nil {
			return cmd.Context().Err()
		}
		return fmt.Errorf("%s: %w", c.Led.Board, err)
	}
	if o.json {
		err = writeJSON(cmd.OutOrStdout(), d)
	} else {
		err = d.print(cmd.OutOrStdout())
	}
	if err == nil && d.Net == 0 {
		err = errNoLight
	}
	return err
}

// errNoLight is doctor's exit code 1: the light carries nothing. What that means was
// printed.
var errNoLight = errors.New("no light that carries anything was heard")

// lightRates are the chip rates to test, those of the configuration that the board
// has.
func lightRates(info led.Info, set int) (rates []int) {
	if info.OneLED() {
		set = 1<<line.LEDRates - 1
	}
	for r := range 8 {
		if set&int(info.Rates)>>r&1 != 0 {
			rates = append(rates, r)
		}
	}
	return rates
}

// lightTurn is how many test frames are sent at a rate before the next one's turn, and
// how long they take.
func lightTurn(info led.Info, rate int) (frames int, d time.Duration) {
	const gap = time.Millisecond
	if info.OneLED() {
		return lightRoundSlow, lightRoundSlow * (time.Duration(line.LEDHeardSlots(rate, lightOctets)+64)*line.LEDSlotMicros*time.Microsecond + gap)
	}
	chips := line.OverheadChips + 16*lightOctets
	return lightRound, lightRound * (time.Duration(chips*line.ChipMicros(rate))*time.Microsecond + gap)
}

// playLight sends test frames at each rate in turn until ctx ends.
func playLight(ctx context.Context, t *led.Tester, rates []int) (sent int, err error) {
	for {
		for _, r := range rates {
			n, _ := lightTurn(t.Info(), r)
			p, err := t.Send(ctx, r, lightOctets, n)
			sent += int(p.Frames)
			if err != nil {
				return sent, err
			}
		}
	}
}

// listen measures. Until something was heard it begins again, for as long as wait
// says.
func (d *DoctorLight) listen(ctx context.Context, t *led.Tester, rates []int, wait time.Duration) error {
	info := t.Info()
	d.Firmware, d.Receiver = info.Version(), "comparator"
	if info.OneLED() {
		d.Receiver = "the LED itself"
	}
	good, err := t.Echo(ctx, echoes)
	if err != nil {
		return err
	}
	d.Baud, d.Echoes, d.EchoesGood = t.Speed(), echoes, good
	round := time.Duration(0)
	for _, r := range rates {
		_, turn := lightTurn(info, r)
		round += turn + lightBetween
	}
	for began := time.Now(); ; {
		d.Rates, d.Net = d.Rates[:0], 0
		heard := false
		for _, r := range rates {
			var sum led.PRBS
			for left := max(lightLeast, lightRounds*round); left > 0; left -= lightPieces {
				p, err := t.Hear(ctx, r, min(left, lightPieces))
				if err != nil {
					return err
				}
				sum.Frames, sum.Bits, sum.Wrong, sum.Slipped = sum.Frames+p.Frames, sum.Bits+p.Bits, sum.Wrong+p.Wrong, sum.Slipped+p.Slipped
			}
			heard = heard || sum.Frames > 0
			d.Rates = append(d.Rates, lightRate(info, r, sum))
			d.Net = max(d.Net, d.Rates[len(d.Rates)-1].NetBPS)
		}
		if heard || time.Since(began) > wait {
			break
		}
	}
	d.judge()
	return nil
}

// lightRate makes of a board's count what it allows.
func lightRate(info led.Info, rate int, p led.PRBS) DoctorLightRate {
	out := DoctorLightRate{Frames: p.Frames, Slipped: int(p.Slipped), Bits: p.Bits, Wrong: p.Wrong}
	if !info.OneLED() {
		out.ChipRate = chipRates[rate]
	}
	if p.Bits == 0 {
		return out
	}
	n := float64(p.Bits)
	ber := float64(p.Wrong) / n
	// The bound of a Poisson count with 95 %: 3 for none, else about 1.64 σ and 2.
	most := min(0.5, (float64(p.Wrong)+1.64*math.Sqrt(float64(p.Wrong))+3)/n)
	out.BER, out.BERMost = &ber, &most
	modes, rateOf, snr := line.Modes(), line.RateOf, line.SNR(rate, most)
	if info.OneLED() {
		modes, rateOf, snr = line.LEDModes(), line.LEDRateOf, line.LEDSNR(rate, most)
	}
	for _, m := range modes {
		if rateOf(m.MCS) == rate && m.SNRdB <= snr && m.NetBPS > out.NetBPS {
			out.Mode, out.NetBPS = m.Description, m.NetBPS
		}
	}
	return out
}

// judge says what to do next.
func (d *DoctorLight) judge() {
	var heard, slipped uint32
	best := DoctorLightRate{}
	for _, r := range d.Rates {
		heard, slipped = heard+r.Frames, slipped+uint32(r.Slipped)
		if r.NetBPS > best.NetBPS {
			best = r
		}
	}
	switch {
	case d.EchoesGood < d.Echoes:
		d.Next = fmt.Sprintf("The serial line damages messages (%d of %d came back): take another cable or port.", d.EchoesGood, d.Echoes)
	case heard == 0:
		d.Next = "Nothing was heard: start `lightsong doctor --play` at the other board, point the LED at the receiver, bring them nearer."
	case 2*slipped > heard || best.NetBPS == 0:
		d.Next = "Frames arrive, but with too many wrong bits for any mode: point the LED at the receiver, bring them nearer, keep lamps out."
	case best.ChipRate < d.Rates[0].ChipRate:
		d.Next = fmt.Sprintf("The light is good for %s (%.0f kb/s): `lightsong up` works; for the higher chip rates aim better or come nearer.", best.Mode, best.NetBPS/1e3)
	default:
		d.Next = fmt.Sprintf("The light is good for %s (%.0f kb/s): `lightsong up`.", best.Mode, best.NetBPS/1e3)
	}
}

func (d *DoctorLight) print(w io.Writer) error {
	fmt.Fprintf(w, "board\t%s, firmware %s, receiver: %s\nserial line\t%d baud, %d of %d messages came back\n\n", d.Board, d.Firmware, d.Receiver, d.Baud, d.EchoesGood, d.Echoes)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "chips/s\tframes\tslipped\tbits\twrong\terror rate\tat most (95 %)\tgood for")
	for _, r := range d.Rates {
		rate, ber, most := "slots", "–", "–"
		if r.ChipRate > 0 {
			rate = fmt.Sprint(r.ChipRate)
		}
		if r.BER != nil {
			ber, most = fmt.Sprintf("%.2g", *r.BER), fmt.Sprintf("%.2g", *r.BERMost)
		}
		fmt.Fprintf(tw, "%s\t%d\t%d\t%d\t%d\t%s\t%s\t%s\n", rate, r.Frames, r.Slipped, r.Bits, r.Wrong, ber, most, cmp.Or(r.Mode, "–"))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%s\n", d.Next)
	return err
}
