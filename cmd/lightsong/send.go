package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lightsong/link/oneway"
	"lightsong/modem"
	"lightsong/phy"
	"lightsong/phy/audio"
)

const (
	edgeSilence  = 0.3  // s before the first and after the last burst: receivers and sound cards settle
	burstSilence = 0.05 // s between bursts: the worst of a room's echo dies away
	maxLoops     = 10000
)

// sendOptions are the flags of send.
type sendOptions struct {
	profile    string
	mcs        int
	redundancy string
	loops      int
	raw        string
	wav        string
	rate       int
	json       bool
}

func sendCommand() *cobra.Command {
	var o sendOptions
	cmd := &cobra.Command{
		Use:   "send --wav FILE [flags] FILE|-",
		Short: "Turn a file into sound: one way, without root or TUN",
		Long: `Turn a file into a WAV file that "lightsong recv" turns back. The sound carries
the file's name, its SHA-256 and parity frames: with any --redundancy one whole
burst may be lost, at 20% one frame in six wherever it is. With --loops the whole
is sent several times, and a receiver puts together what it got of each.

The mode is the middle one of the profile's table unless --mcs names another;
"lightsong modes" lists them.`,
		Example: `  lightsong send --profile fsk --wav out.wav letter.txt
  lightsong send --profile fsk --mcs 0 --redundancy 100% --wav out.wav letter.txt
  tar c folder | lightsong send --wav - - | aplay
  lightsong send --raw bell202 --wav out.wav letter.txt`,
		Args: exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error { return interrupted(o.run(cmd, args[0])) },
	}
	f := cmd.Flags()
	f.StringVar(&o.profile, "profile", "fsk", "profile of the modem: "+strings.Join(audio.Profiles(), ", "))
	f.IntVar(&o.mcs, "mcs", 0, "number of the mode (default: the middle one of the profile)")
	f.StringVar(&o.redundancy, "redundancy", "20%", "parity frames per 100 data frames, 0% to 400%")
	f.IntVar(&o.loops, "loops", 1, "how many times the whole is sent")
	f.StringVar(&o.raw, "raw", "", rawUsage)
	f.StringVar(&o.wav, "wav", "", "WAV file to write; - is standard output")
	f.IntVar(&o.rate, "rate", 48000, "sample rate of the WAV file, 8000 to 192000 Hz")
	f.BoolVar(&o.json, "json", false, "print the summary as JSON (on standard error if standard output carries the sound)")
	return cmd
}

// encoder turns a file into sound.
type encoder interface {
	// channels of the sound, 1 or 2.
	channels() int
	// samples is the exact length of the sound of a file of size octets, of two
	// channels in pairs. It is an error if there can be none.
	samples(size int64) (int64, error)
	// encode gives that sound to emit, piece by piece, and fills in the summary.
	encode(file io.ReaderAt, size int64, sum *Transfer, emit func([]float32) error) error
	fmt.Stringer
}

func (o *sendOptions) run(cmd *cobra.Command, path string) error {
	if err := usage(o.check(cmd)); err != nil {
		return err
	}
	out, err := newTarget(o.wav)
	if err != nil {
		return fmt.Errorf("WAV file: %w", err)
	}
	if !out.direct && out.path == "" {
		return usage(fmt.Errorf("--wav %s is a folder: name the WAV file", o.wav))
	}
	if out.is(path) {
		return usage(fmt.Errorf("%s would overwrite the file that is to be sent", o.wav))
	}
	enc, err := o.encoder(cmd, path)
	if err != nil {
		return err
	}
	channels := int64(enc.channels())
	length := func(size int64) (int64, error) { // of the whole WAV file
		n, err := enc.samples(size)
		if err != nil {
			return 0, err
		}
		if n += 2 * o.silence(edgeSilence); n > audio.MaxWAVSamples/channels {
			return 0, fmt.Errorf("%s would last at least %s as sound, a WAV file at %d Hz holds %s: choose a faster mode or send less",
				display(path, "standard input"), seconds(float64(n)/float64(o.rate)), o.rate, seconds(float64(audio.MaxWAVSamples/channels)/float64(o.rate)))
		}
		return n, nil
	}
	file, size, err := openWhole(cmd.Context(), path, cmd.InOrStdin(), func(size int64) error {
		_, err := length(size)
		return err
	})
	if err != nil {
		return err
	}
	defer file.Close()
	total, err := length(size)
	if err != nil {
		return err
	}
	before, err := file.Stat()
	if err != nil {
		return err
	}

	w, err := openOutput(out, o.wav, cmd.OutOrStdout())
	if err != nil {
		return fmt.Errorf("WAV file: %w", err)
	}
	defer w.Close()
	newWriter := audio.NewWAVWriter
	if channels == 2 {
		newWriter = audio.NewPairWAVWriter
	}
	wav, err := newWriter(w, o.rate, total)
	if err != nil {
		return err
	}
	advance, erase := progress(cmd.ErrOrStderr(), "sending", total)
	defer erase()
	emit := func(samples []float32) error {
		if err := cmd.Context().Err(); err != nil {
			return err
		}
		advance(len(samples) / int(channels))
		return wav.Write(samples)
	}
	sum := Transfer{File: path, Octets: size, Received: size, Complete: true, Rate: o.rate}
	edge := make([]float32, channels*o.silence(edgeSilence))
	if err := emit(edge); err != nil {
		return err
	}
	if err := enc.encode(file, size, &sum, emit); err != nil {
		return err
	}
	if err := emit(edge); err != nil {
		return err
	}
	erase()
	if err := wav.Close(); err != nil {
		return err
	}
	if after, err := file.Stat(); err != nil {
		return err
	} else if !after.ModTime().Equal(before.ModTime()) || after.Size() != before.Size() {
		return fmt.Errorf("%s was changed while it was being sent: send it again", path)
	}
	written, err := w.commit(audio.WAVOctets(channels*total), "")
	if err != nil {
		return fmt.Errorf("WAV file: %w", err)
	}
	sum.timing(total - 2*o.silence(edgeSilence))
	return sum.report(cmd, o.json, w.stdout, fmt.Sprintf("sent %d octets as %s of sound to %s: %s, %d bursts, %.0f bit/s net",
		size, seconds(sum.Airtime), display(written, "standard output"), enc, sum.Bursts, sum.NetBPS))
}

// check looks at the flags alone.
func (o *sendOptions) check(cmd *cobra.Command) error {
	if o.raw != "" {
		for _, flag := range []string{"profile", "mcs", "redundancy", "loops"} {
			if cmd.Flags().Changed(flag) {
				return fmt.Errorf("--%s and --raw exclude each other: uncoded sound has no frames", flag)
			}
		}
	}
	switch {
	case o.wav == "":
		return errors.New("--wav is missing: the WAV file to write, or - for standard output")
	case o.loops < 1 || o.loops > maxLoops:
		return fmt.Errorf("--loops %d: must be 1 to %d", o.loops, maxLoops)
	case o.rate < 8000 || o.rate > 192000:
		return fmt.Errorf("--rate %d: must be 8000 to 192000 Hz", o.rate)
	}
	return nil
}

// silence is a number of seconds in samples.
func (o *sendOptions) silence(s float64) int64 { return int64(math.Round(s * float64(o.rate))) }

// encoder makes what the flags ask for.
func (o *sendOptions) encoder(cmd *cobra.Command, path string) (encoder, error) {
	if o.raw != "" {
		return newRawEncoder(o.raw, o.rate)
	}
	redundancy, err := parsePercent(o.redundancy)
	if err != nil {
		return nil, usage(fmt.Errorf("--redundancy %w", err))
	}
	m, err := audio.OpenModem(o.profile, o.rate)
	if err != nil {
		return nil, usage(err)
	}
	if len(m.Modes) == 0 {
		return nil, usage(fmt.Errorf("profile %s has no mode at %d Hz", o.profile, o.rate))
	}
	// The table goes from the most robust to the fastest mode: its middle lives
	// in a quiet room and is not slow.
	index := (len(m.Modes) - 1) / 2
	if cmd.Flags().Changed("mcs") {
		if index = o.mcs; index < 0 || index >= len(m.Modes) {
			return nil, usage(fmt.Errorf("--mcs %d does not exist: profile %s has 0 to %d at %d Hz; see `lightsong modes`",
				index, o.profile, len(m.Modes)-1, o.rate))
		}
	}
	name := ""
	if path != standard {
		name = filepath.Base(path)
	}
	return &frameEncoder{
		modem: m,
		loops: o.loops,
		gap:   make([]float32, int64(m.Channels())*o.silence(burstSilence)),
		opts: oneway.Options{
			Name:       name,
			Mode:       m.Modes[index],
			Redundancy: redundancy,
			Airtime: func(b *phy.Burst) time.Duration {
				return time.Duration(float64(m.Samples(b)) / float64(m.Rate) * float64(time.Second))
			},
		},
	}, nil
}

// frameEncoder sends by a profile's modem.
type frameEncoder struct {
	modem *audio.Modem
	loops int
	gap   []float32
	opts  oneway.Options
}

func (e *frameEncoder) String() string {
	return fmt.Sprintf("%s mode %d", e.modem.Profile, e.opts.Mode.MCS)
}

// channels implements encoder.
func (e *frameEncoder) channels() int { return e.modem.Channels() }

// samples implements encoder. A gap stands between bursts only.
func (e *frameEncoder) samples(size int64) (int64, error) {
	plan, err := oneway.NewPlan(size, e.opts)
	if err != nil {
		return 0, err
	}
	possible := true
	loop := plan.Total(func(b *modem.Burst) int64 {
		n := e.modem.Samples(b)
		possible = possible && n > 0
		return int64(n + len(e.gap)/e.channels())
	})
	if !possible {
		return 0, fmt.Errorf("%s cannot send even one frame in a burst", e)
	}
	return int64(e.loops)*loop - int64(len(e.gap)/e.channels()), nil
}

// encode implements encoder.
func (e *frameEncoder) encode(file io.ReaderAt, size int64, sum *Transfer, emit func([]float32) error) error {
	plan, err := oneway.NewPlan(size, e.opts)
	if err != nil {
		return err
	}
	sender, err := oneway.NewSender(file, plan)
	if err != nil {
		return err
	}
	digest := sender.SHA256()
	sum.SHA256, sum.Profile, sum.MCS = hex.EncodeToString(digest[:]), e.modem.Profile, int(e.opts.Mode.MCS)
	var burst phy.Burst
	var samples []float32
	for range e.loops {
		sender.Rewind()
		for {
			more, err := sender.NextBurst(&burst)
			if err != nil {
				return err
			}
			if !more {
				break
			}
			samples = samples[:0]
			if sum.Bursts > 0 {
				samples = append(samples, e.gap...)
			}
			if samples, err = e.modem.AppendBurst(samples, &burst); err != nil {
				return err
			}
			if err := emit(samples); err != nil {
				return err
			}
			sum.Bursts++
		}
	}
	return nil
}

// parsePercent reads "20%" or "20" as 0.2.
func parsePercent(s string) (float64, error) {
	v, err := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64)
	if err != nil || !(v >= 0 && v <= 100*oneway.MaxRedundancy) {
		return 0, fmt.Errorf("%q: must be 0%% to %g%%", s, 100*oneway.MaxRedundancy)
	}
	return v / 100, nil
}

// openWhole opens a file of which the size is known: what is no regular file is
// first written to a temporary one. fits is asked before and while that happens
// whether a file of that size, or larger, can be sent at all.
func openWhole(ctx context.Context, path string, stdin io.Reader, fits func(size int64) error) (*os.File, int64, error) {
	in, err := openInput(ctx, path, stdin)
	if err != nil {
		return nil, 0, err
	}
	if f, ok := in.(*os.File); ok {
		info, err := f.Stat()
		if err == nil {
			err = fits(info.Size())
		}
		if err != nil {
			return nil, 0, errors.Join(err, f.Close())
		}
		return f, info.Size(), nil
	}
	defer in.Close()
	spool, err := unnamed()
	if err != nil {
		return nil, 0, err
	}
	const step = 1 << 20
	for size := int64(0); ; {
		n, err := io.CopyN(spool, in, step)
		size += n
		if errors.Is(err, io.EOF) {
			return spool, size, nil
		}
		if err == nil {
			err = fits(size)
		} else {
			err = fmt.Errorf("reading %s: %w", display(path, "standard input"), err)
		}
		if err != nil {
			return nil, 0, errors.Join(err, spool.Close())
		}
	}
}
