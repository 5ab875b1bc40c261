package ofdm

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"

	"lightsong/modem"
	"lightsong/modem/dsp"
)

// path is a simulated way from a sender to a receiver.
type path struct {
	rate    int     // samples per second; 0: 48000
	snr     float64 // dB, the burst's power over the noise's in 0…rate/2; +Inf: none
	ppm     float64 // the sender's clock is fast
	highHz  float64 // AC coupling: corner of a first-order high-pass, 0: none
	bits    int     // of the converter, 0: none
	clip    float64 // dB: the burst is made so much louder before it is clipped at full scale
	gain    float64 // dB
	offset  float32 // DC
	flip    bool    // polarity
	mute    float64 // s of silence in every second
	room    []float32
	roomFor func(rng *rand.Rand) []float32 // drawn anew for each burst

	// A lead of two channels.
	crosstalk float64 // dB, of each channel into the other; 0: none
	rising    bool    // the crosstalk is capacitive: so strong at 10 kHz, 6 dB an octave
	swap      bool    // left is connected to right
	turned    bool    // the right channel's polarity
	delay     float64 // samples by which the right channel is sent later
	late      int     // samples by which the right channel is recorded later
	dead      [2]bool // conductors that are broken
	level     float64 // power of the burst; 0: as it is
}

// carryPair is carry for pairs of samples.
func (p path) carryPair(x []float32, rate, lead, trail int, rng *rand.Rand) []float32 {
	n := len(x) / 2
	var sent [2][]float32
	one := p
	one.level = 0
	for _, v := range x {
		one.level += float64(v) * float64(v) / float64(len(x))
	}
	for c := range sent {
		in := make([]float32, lead+n+trail)
		for i := range n {
			in[lead+i] = x[2*i+c]
		}
		step := 1 + p.ppm*1e-6
		sent[c] = make([]float32, int(float64(len(in))/step))
		at := 0.37
		if c == 1 {
			at -= p.delay
		}
		dsp.NewInterpolator().Read(sent[c], in, at, step)
	}
	if p.swap {
		sent[0], sent[1] = sent[1], sent[0]
	}
	if p.turned {
		for i := range sent[1] {
			sent[1][i] = -sent[1][i]
		}
	}
	for c, dead := range p.dead {
		if dead {
			clear(sent[c])
		}
	}
	var mixed [2][]float32
	leak := float32(math.Pow(10, p.crosstalk/20))
	if p.crosstalk == 0 {
		leak = 0
	}
	for c := range mixed {
		mixed[c] = append([]float32{}, sent[c]...)
		other := sent[1-c]
		for i := range mixed[c] {
			v := other[i]
			if p.rising {
				// A first difference is 2·sin(πf/rate).
				v = (v - other[max(0, i-1)]) / float32(2*math.Sin(math.Pi*10e3/float64(rate)))
			}
			mixed[c][i] += leak * v
		}
	}
	one.ppm = 0
	left, right := one.carry(mixed[0], rate, 0, 0, rng), one.carry(mixed[1], rate, p.late, 0, rng)
	out := make([]float32, 2*len(left))
	for i := range left {
		out[2*i], out[2*i+1] = left[i], right[i]
	}
	return out
}

// carry sends the burst's samples x over the path, with lead and trail samples of
// noise around it.
func (p path) carry(x []float32, rate, lead, trail int, rng *rand.Rand) []float32 {
	var power float64
	sounding := 0 // a silence inside the burst does not count
	for _, v := range x {
		power += float64(v) * float64(v)
		if v != 0 {
			sounding++
		}
	}
	power /= float64(sounding)
	if p.level != 0 {
		power = p.level
	}
	in := make([]float32, lead+len(x)+trail)
	copy(in[lead:], x)
	if p.clip != 0 {
		g := float32(math.Pow(10, p.clip/20))
		power = 0
		for i, v := range in {
			in[i] = max(-1, min(1, g*v))
			power += float64(in[i]) * float64(in[i])
		}
		power /= float64(len(x))
	}
	room := p.room
	if p.roomFor != nil {
		room = p.roomFor(rng)
	}
	if room != nil {
		in = convolve(in, room)
	}
	out := in
	if p.ppm != 0 {
		step := 1 + p.ppm*1e-6
		out = make([]float32, int(float64(len(in))/step))
		dsp.NewInterpolator().Read(out, in, 0.37, step)
	}
	if p.highHz > 0 {
		a := math.Exp(-2 * math.Pi * p.highHz / float64(rate))
		var y, last float64
		for i, v := range out {
			y = a * (y + float64(v) - last)
			last = float64(v)
			out[i] = float32(y)
		}
	}
	sigma := math.Sqrt(power) * math.Pow(10, -p.snr/20)
	gain := math.Pow(10, p.gain/20)
	if p.flip {
		gain = -gain
	}
	begin := rng.IntN(rate)
	for i, v := range out {
		s := float64(v)
		if p.mute > 0 && float64((i+begin)%rate) < p.mute*float64(rate) {
			s = 0
		}
		if sigma > 0 {
			s += sigma * rng.NormFloat64()
		}
		s = s*gain + float64(p.offset)
		if p.bits > 0 {
			q := math.Pow(2, float64(p.bits-1))
			s = math.Round(s*q) / q
		}
		out[i] = float32(s)
	}
	return out
}

// convolve is x filtered by h, with the tail.
func convolve(x, h []float32) []float32 {
	n := 1
	for n < len(x)+len(h) {
		n *= 2
	}
	fft := dsp.NewRealFFT(n)
	a, b := make([]float32, n), make([]float32, n)
	copy(a, x)
	copy(b, h)
	fa, fb := make([]complex64, n/2+1), make([]complex64, n/2+1)
	fft.Forward(fa, a)
	fft.Forward(fb, b)
	for i := range fa {
		fa[i] *= fb[i]
	}
	fft.Inverse(a, fa)
	return a[:len(x)+len(h)]
}

// roomOf draws echo tails: exponentially decaying Gaussian, the energy of direct
// wave and tail together 1.
func roomOf(rt60, drrDB float64, rate int) func(rng *rand.Rand) []float32 {
	return func(rng *rand.Rand) []float32 {
		h := make([]float32, int(1.2*rt60*float64(rate)))
		var energy float64
		for i := 1; i < len(h); i++ {
			v := rng.NormFloat64() * math.Pow(10, -3*float64(i)/(rt60*float64(rate)))
			h[i] = float32(v)
			energy += v * v
		}
		drr := math.Pow(10, drrDB/10)
		direct := math.Sqrt(drr / (1 + drr))
		tail := math.Sqrt(1 / (1 + drr) / energy)
		for i := range h {
			h[i] *= float32(tail)
		}
		h[0] = float32(direct)
		return h
	}
}

// outcome is what came of bursts sent over a path.
type outcome struct {
	bursts, announced, control int
	frames, delivered, wrong   int
	seconds                    float64 // of air
	snr, ppm                   float64 // of the last burst
	octets                     int
}

func (o outcome) share() float64 { return float64(o.delivered) / float64(max(1, o.frames)) }

// goodput is the payload that arrived over the time on the air, bit/s.
func (o outcome) goodput() float64 { return 8 * float64(o.octets*o.delivered) / o.seconds }

// station is both ends of a path.
type station struct {
	rate int
	mod  *Modulator
	dem  *Demodulator
	x    []float32
}

func newStation(tb testing.TB, profile string, rate int) *station {
	tb.Helper()
	mod, err := NewModulator(profile, rate)
	if err != nil {
		tb.Fatal(err)
	}
	dem, err := NewDemodulator(profile, rate)
	if err != nil {
		tb.Fatal(err)
	}
	return &station{rate: rate, mod: mod, dem: dem}
}

// carry sends a burst over a path, one of as many channels as the station has.
func (s *station) carry(p path, x []float32, lead, trail int, rng *rand.Rand) []float32 {
	if s.mod.prof.pair {
		return p.carryPair(x, s.rate, lead, trail, rng)
	}
	return p.carry(x, s.rate, lead, trail, rng)
}

// send sends bursts over the path and counts.
func (s *station) send(tb testing.TB, p path, mcs, bursts, frames, octets, control int, rng *rand.Rand) outcome {
	tb.Helper()
	o := outcome{octets: octets}
	for range bursts {
		b := &modem.Burst{MCS: modem.MCS(mcs), Control: random(rng, control)}
		for range frames {
			b.Frames = append(b.Frames, random(rng, octets))
		}
		var err error
		if s.x, err = s.mod.AppendBurst(s.x[:0], b); err != nil {
			tb.Fatal(err)
		}
		o.bursts++
		o.frames += frames
		channels := s.mod.prof.channels()
		o.seconds += float64(len(s.x)/channels) / float64(s.rate)
		s.dem.Push(s.carry(p, s.x, 3000+rng.IntN(3000), 3000, rng), func(e modem.Event) {
			switch e.Kind {
			case modem.Announced:
				o.announced++
			case modem.Received:
				o.snr, o.ppm = e.SNR, e.PPM
				if e.Burst.Control != nil && bytes.Equal(e.Burst.Control, b.Control) {
					o.control++
				}
				for i, f := range e.Burst.Frames {
					switch {
					case f == nil:
					case i < len(b.Frames) && bytes.Equal(f, b.Frames[i]):
						o.delivered++
					default:
						o.wrong++
					}
				}
			}
		})
		s.dem.Push(make([]float32, channels*s.dem.finders[len(s.dem.finders)-1].n), func(modem.Event) {})
		s.dem.Reset()
	}
	return o
}
