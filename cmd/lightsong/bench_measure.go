package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"

	"golang.org/x/sync/errgroup"

	"lightsong/modem"
	"lightsong/modem/ofdm"
	"lightsong/phy/audio"
)

// burstShape is what the bursts of a measurement hold.
type burstShape struct{ frames, octets, control int }

// experiment is one mode, sending bursts of one shape over one channel at one
// SNR. Its bursts are numbered; the same number is always the same burst in the
// same room with the same noise.
type experiment struct {
	profile string
	rate    int // Hz
	mode    modem.Mode
	shape   burstShape
	channel benchChannel
	snr     float64 // dB, modem.LevelDBFS over the noise in 0…rate/2
	seed    uint64
}

// draw makes the seed of burst i.
func (e *experiment) draw(i int) uint64 {
	text := fmt.Sprintf("%d %s %d %d %s %v %g %d", e.seed, e.profile, e.rate, e.mode.MCS, e.channel.spec, e.shape, e.snr, i)
	sum := sha256.Sum256([]byte(text))
	return binary.LittleEndian.Uint64(sum[:])
}

// shannon is the capacity in bit/s of the mode's band at the experiment's SNR,
// of all channels, with all power in it.
func (e *experiment) shannon() float64 {
	return float64(e.channels()) * capacity(e.snr, e.mode.BandwidthHz, e.rate)
}

// channels is how many channels the profile's modem has.
func (e *experiment) channels() int { return max(1, ofdm.Channels(e.profile)) }

// gap is the distance in dB to where the mode's band could hold so many bit/s.
func (e *experiment) gap(bps float64) float64 {
	return e.snr - requiredSNR(max(1, bps)/float64(e.channels()), e.mode.BandwidthHz, e.rate)
}

// capacity of a band in bit/s: Shannon's B·log2(1 + S/N) for a signal that is snr
// dB above the noise in 0…rate/2 and lies in the band alone.
func capacity(snr, bandwidth float64, rate int) float64 {
	inBand := math.Pow(10, snr/10) * float64(rate) / 2 / bandwidth
	return bandwidth * math.Log2(1+inBand)
}

// tally counts what came of some bursts. A packet is a frame: what the modem
// delivers whole or not at all.
type tally struct {
	bursts, packets int
	delivered       int
	wrong           int     // passed their check, but are not what was sent
	found           int     // bursts whose preamble was seen where it was
	octets          int     // of a packet
	seconds         float64 // of sound, from the first sample of each burst to its last
	energy          float64 // Σ x²/rate of all that was sent, full scale squared times s
	noise           float64 // N0, full scale squared per Hz, one-sided
}

func (t *tally) add(o tally) {
	t.bursts += o.bursts
	t.packets += o.packets
	t.delivered += o.delivered
	t.wrong += o.wrong
	t.found += o.found
	t.octets = o.octets
	t.seconds += o.seconds
	t.energy += o.energy
	t.noise = o.noise
}

func (t *tally) lost() int { return t.packets - t.delivered }

// share of the packets that were delivered.
func (t *tally) share() float64 { return float64(t.delivered) / float64(max(1, t.packets)) }

// goodput is the payload delivered over the time on the medium, bit/s.
func (t *tally) goodput() float64 { return 8 * float64(t.octets*t.delivered) / t.seconds }

// net is the payload sent over the time on the medium, bit/s.
func (t *tally) net() float64 { return 8 * float64(t.octets*t.packets) / t.seconds }

// ebn0 is the energy of everything sent over the payload bits sent and N0, dB.
func (t *tally) ebn0() float64 {
	return 10 * math.Log10(t.energy/(8*float64(t.octets*t.packets))/t.noise)
}

// lab holds what measures: as many rigs as there may be measurements at once.
type lab struct{ rigs chan *rig }

func newLab(workers int) *lab {
	l := &lab{make(chan *rig, workers)}
	for range workers {
		l.rigs <- newRig()
	}
	return l
}

// bursts sends the bursts from…to−1 of an experiment and counts.
func (l *lab) bursts(ctx context.Context, e *experiment, from, to int) (tally, error) {
	channel, err := e.channel.open(e.rate, e.snr, e.channels())
	if err != nil {
		return tally{}, err
	}
	results := make([]tally, to-from)
	g, ctx := errgroup.WithContext(ctx)
	for i := range results {
		g.Go(func() error {
			var r *rig
			select {
			case r = <-l.rigs:
			case <-ctx.Done():
				return ctx.Err()
			}
			defer func() { l.rigs <- r }()
			if err := ctx.Err(); err != nil {
				return err
			}
			var err error
			results[i], err = r.send(e, from+i, channel.Carry)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return tally{}, err
	}
	var sum tally
	for _, r := range results {
		sum.add(r)
	}
	return sum, nil
}

// measure sends n bursts, or fewer if enough says that what has been counted so far
// tells all that is asked. It is asked at fixed numbers of bursts, so that the result
// does not depend on how many are measured at once.
func (l *lab) measure(ctx context.Context, e *experiment, n int, enough func(*tally) bool) (tally, error) {
	var sum tally
	for at, step := 0, max(1, 6/max(1, e.shape.frames)); at < n; at, step = at+step, 2*step {
		t, err := l.bursts(ctx, e, at, min(n, at+step))
		if err != nil {
			return tally{}, err
		}
		if sum.add(t); enough(&sum) {
			break
		}
	}
	return sum, nil
}

// all never has enough.
func all(*tally) bool { return false }

// losing has enough when more than so many packets are lost.
func losing(more int) func(*tally) bool {
	return func(t *tally) bool { return t.lost() > more }
}

// nothing has enough when nothing has arrived.
func nothing(t *tally) bool { return t.delivered == 0 }

// rig is a modem of every profile that was asked for, and one bench's scratch.
type rig struct {
	modems      map[string]*audio.Modem
	pushed      map[*audio.Modem]int64 // samples, or pairs
	sent, heard []float32
}

func newRig() *rig {
	return &rig{modems: map[string]*audio.Modem{}, pushed: map[*audio.Modem]int64{}}
}

func (r *rig) open(profile string, rate int) (*audio.Modem, error) {
	key := fmt.Sprint(profile, rate)
	if m, ok := r.modems[key]; ok {
		return m, nil
	}
	m, err := audio.OpenModem(profile, rate)
	if err == nil {
		r.modems[key] = m
	}
	return m, err
}

// Around a burst there is noise: some before it, from where on its place is drawn,
// and what the last echo needs after it. A receiver that works in blocks may find
// a burst later than that; flushSeconds of silence bring out what is left in it.
const (
	leadSeconds  = 0.0625
	trailSeconds = 0.0625
	flushSeconds = 1
	piece        = 4096 // samples pushed at once, whole pairs
	nearby       = 30   // samples that a preamble may be seen beside where it was
)

type carrier func(dst, burst []float32, lead, trail int, seed uint64) []float32

// send sends burst i of an experiment.
func (r *rig) send(e *experiment, i int, carry carrier) (tally, error) {
	m, err := r.open(e.profile, e.rate)
	if err != nil {
		return tally{}, err
	}
	seed := e.draw(i)
	rng := rand.New(rand.NewPCG(seed, 1))
	burst := modem.Burst{MCS: e.mode.MCS, Control: random(rng, e.shape.control)}
	for range e.shape.frames {
		burst.Frames = append(burst.Frames, random(rng, e.shape.octets))
	}
	if r.sent, err = m.AppendBurst(r.sent[:0], &burst); err != nil {
		return tally{}, fmt.Errorf("profile %s mode %d: %w", e.profile, e.mode.MCS, err)
	}
	rate, channels := float64(e.rate), m.Channels()
	t := tally{
		bursts: 1, packets: e.shape.frames, octets: e.shape.octets,
		seconds: float64(len(r.sent)/channels) / rate,
		noise:   math.Pow(10, (modem.LevelDBFS-e.snr)/10) / (rate / 2),
	}
	for _, v := range r.sent {
		t.energy += float64(v) * float64(v) / rate
	}
	lead := int(leadSeconds*rate) + rng.IntN(int(leadSeconds*rate))
	r.heard = carry(r.heard[:0], r.sent, lead, int(trailSeconds*rate), seed)

	over, start := false, r.pushed[m]+int64(lead)
	emit := func(ev modem.Event) {
		if ev.Kind == modem.Preamble && max(ev.Start-start, start-ev.Start) <= nearby {
			t.found = 1
		}
		if ev.Kind != modem.Received || over {
			return
		}
		over = true
		for j, f := range ev.Burst.Frames {
			switch {
			case f == nil:
			case j < len(burst.Frames) && bytes.Equal(f, burst.Frames[j]):
				t.delivered++
			default:
				t.wrong++
			}
		}
	}
	push := func(x []float32) {
		m.Push(x, emit)
		r.pushed[m] += int64(len(x) / channels)
	}
	for x := r.heard; len(x) > 0 && !over; x = x[min(piece, len(x)):] {
		push(x[:min(piece, len(x))])
	}
	silence := make([]float32, piece)
	for left := channels * int(flushSeconds*rate); left > 0 && !over; left -= piece {
		push(silence)
	}
	m.Reset()
	return t, nil
}

func random(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// samples is how long a burst of the shape is in a mode, 0 if it cannot be.
func samples(m *audio.Modem, mcs modem.MCS, s burstShape) int {
	b := modem.Burst{MCS: mcs, Control: make([]byte, s.control)}
	for range s.frames {
		b.Frames = append(b.Frames, make([]byte, s.octets))
	}
	return m.Samples(&b)
}
