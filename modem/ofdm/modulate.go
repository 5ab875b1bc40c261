package ofdm

import (
	"fmt"
	"math"

	"lightsong/modem"
	"lightsong/modem/dsp"
)

// Modulator turns bursts into samples. It implements modem.Modulator and, but for
// Samples, belongs to one goroutine.
type Modulator struct {
	prof   *profile
	scale  scale
	plan   plan
	coder  coder
	ffts   map[int]*dsp.RealFFT
	chirps [][]float32 // per class, RMS 1
	resamp *dsp.Interpolator
	pulses map[geometry][]float32 // that trim peaks

	spectrum []complex64
	time     []float32
	values   []complex64 // of a symbol's carriers
	burst    []float32   // internal samples

	// Two channels: burst is the left one.
	right       []float32
	rightValues []complex64
	resampled   []float32
}

// NewModulator makes the modulator of a profile for a sample rate. Errors wrap
// ErrProfile.
func NewModulator(name string, rate int) (*Modulator, error) {
	p, s, err := find(name, rate)
	if err != nil {
		return nil, err
	}
	m := &Modulator{prof: p, scale: s, ffts: map[int]*dsp.RealFFT{}, coder: newCoder(), pulses: map[geometry][]float32{}}
	for i := range p.classes {
		m.chirps = append(m.chirps, chirp(&p.classes[i], float64(s.times)))
	}
	if s.ratio != 1 {
		m.resamp = dsp.NewInterpolator()
	}
	return m, nil
}

// chirp is the preamble of a class, of RMS 1, sampled at a multiple of the base
// rate: a linear sweep over the band whose ends fade in and out over a
// sixteenth of its length, so that it neither clicks nor rings.
func chirp(c *class, times float64) []float32 {
	n := int(math.Round(float64(c.chirp) * times))
	lo, hi := c.lo/baseRate/times, c.hi/baseRate/times // cycles per sample
	if c.falling {
		lo, hi = hi, lo
	}
	fade := float64(n) / 16
	x := make([]float32, n)
	var power float64
	for i := range x {
		t := float64(i)
		a := 1.
		if edge := min(t, float64(n-1-i)) + 0.5; edge < fade {
			a = math.Sin(math.Pi / 2 * edge / fade)
			a *= a
		}
		v := a * math.Sin(2*math.Pi*(lo*t+(hi-lo)*t*t/(2*float64(n))))
		x[i] = float32(v)
		power += v * v
	}
	rms := float32(math.Sqrt(power / float64(n)))
	for i := range x {
		x[i] /= rms
	}
	return x
}

// Samples implements modem.Modulator. Unlike AppendBurst it may be called from
// any goroutine at any time.
func (m *Modulator) Samples(b *modem.Burst) int {
	var p plan
	if m.prepare(&p, b) != nil {
		return 0
	}
	return m.scale.device(p.samples)
}

// Combines implements modem.Combiner.
func (m *Modulator) Combines() {}

// Form implements modem.Former. The form of a burst that cannot be sent is Plain.
func (m *Modulator) Form(b *modem.Burst) modem.Form {
	var p plan
	if m.prepare(&p, b) != nil {
		return modem.Plain
	}
	return p.form(m.prof, m.scale)
}

// device is how many device samples a burst of n internal samples takes: when
// it is resampled the filter rings on a little.
func (s scale) device(n int) int {
	if s.ratio == 1 {
		return n
	}
	return int(math.Ceil(float64(n+dsp.InterpolateReach) * s.ratio))
}

// prepare makes the plan of a burst.
func (m *Modulator) prepare(p *plan, b *modem.Burst) error { return m.prepareAt(p, b, false) }

// prepareAt is prepare for a burst that may be in the middle of another one.
func (m *Modulator) prepareAt(p *plan, b *modem.Burst, inside bool) error {
	octets := 0
	for i, f := range b.Frames {
		if i == 0 {
			octets = len(f)
		}
		if len(f) != octets {
			return fmt.Errorf("ofdm: %w: frame %d has %d octets, frame 0 has %d", modem.ErrBurst, i, len(f), octets)
		}
	}
	return p.setAt(m.prof, m.scale, inside, int(b.MCS), len(b.Frames), octets, len(b.Control))
}

// AppendBurst implements modem.Modulator.
func (m *Modulator) AppendBurst(dst []float32, b *modem.Burst) ([]float32, error) {
	return m.appendAt(dst, b, false)
}

// appendAt is AppendBurst for a burst that may be in the middle of another one.
func (m *Modulator) appendAt(dst []float32, b *modem.Burst, inside bool) ([]float32, error) {
	p := &m.plan
	if err := m.prepareAt(p, b, inside); err != nil {
		return dst, err
	}
	m.burst = resize(m.burst, p.samples)
	clear(m.burst)
	level := float32(math.Pow(10, usualLevel/20.))
	for i, v := range m.chirps[p.classIndex][:p.chirp] {
		m.burst[i] = level * v
	}
	m.coder.encodeHead(p, b)
	for i := range p.headCount {
		m.symbol(p.head, p.headAt+i*p.head.length(), level, m.coder.headValues(m.room(p.head), p, i))
	}
	at := len(dst)
	if p.streams == 2 {
		dst = m.appendPair(dst, b, level)
	} else {
		dst = m.appendBody(dst, b, level)
	}
	out := dst[at:]
	if p.mode.bits >= denseBits {
		quieten(out)
	}
	for i, v := range out {
		out[i] = max(-1, min(1, v))
	}
	return dst, nil
}

// appendBody appends the burst to dst; the plan is made, and m.burst holds chirp
// and head.
func (m *Modulator) appendBody(dst []float32, b *modem.Burst, level float32) []float32 {
	p := &m.plan
	if p.units > 0 {
		m.coder.encodeBody(p, b)
	}
	if p.isBlock {
		m.block(p, level, m.coder.blockValues(m.room(p.body), p))
	} else if p.frames > 0 {
		for i := range p.bodyCount {
			m.symbol(p.body, p.bodyAt+i*p.body.length(), level, m.coder.bodyValues(m.room(p.body), p, i))
		}
	}
	at := len(dst)
	dst = grow(dst, m.scale.device(p.samples))
	if m.resamp == nil {
		copy(dst[at:], m.burst)
	} else {
		m.resamp.Read(dst[at:], m.burst, 0, 1/m.scale.ratio)
	}
	return dst
}

// quieten scales x down so far that nothing of it is beyond full scale.
func quieten(x []float32) {
	var peak float32
	for _, v := range x {
		peak = max(peak, v, -v)
	}
	if peak > 1 {
		for i := range x {
			x[i] /= peak
		}
	}
}

func (m *Modulator) room(g geometry) []complex64 {
	m.values = resize(m.values, g.carriers)
	return m.values
}

// block writes the symbol of a block burst.
func (m *Modulator) block(p *plan, level float32, values []complex64) {
	m.inverse(p.body, level, values)
	blockWave(m.burst[p.bodyAt:], m.time, m.prof.taper*m.scale.times)
}

// inverse fills m.time with a period of a symbol.
func (m *Modulator) inverse(g geometry, level float32, values []complex64) {
	fft := m.ffts[g.n]
	if fft == nil {
		fft = dsp.NewRealFFT(g.n)
		m.ffts[g.n] = fft
	}
	m.spectrum = resize(m.spectrum, g.n/2+1)
	m.time = resize(m.time, g.n)
	clear(m.spectrum)
	a := level * float32(float64(g.n)/math.Sqrt(2*float64(g.carriers)))
	for i, v := range values {
		m.spectrum[g.first+i] = complex(a*real(v), a*imag(v))
	}
	fft.Inverse(m.time, m.spectrum)
}

// symbol adds one OFDM symbol to the burst at a position, faded into its
// neighbours.
func (m *Modulator) symbol(g geometry, at int, level float32, values []complex64) {
	m.inverse(g, level, values)
	if m.prof.trim {
		m.trim(g, m.ffts[g.n])
	}

	fade := m.prof.taper * m.scale.times
	out := m.burst[at:]
	for i := range fade {
		up := fadeIn(i, fade)
		out[i] += up * m.time[g.n-g.cp+i]
		out[g.length()+i] += (1 - up) * m.time[i]
	}
	copy(out[fade:g.cp], m.time[g.n-g.cp+fade:])
	copy(out[g.cp:], m.time)
}

// trim takes the peaks of a symbol down to full scale with what little of the
// spectrum is left beside the band (tone reservation, Tellado and Cioffi, 1998):
// carriers there are added that together make a pulse under each peak. The
// receiver does not look at them.
func (m *Modulator) trim(g geometry, fft *dsp.RealFFT) {
	const (
		limit       = 0.985 // a little below full scale, where neighbouring peaks leave something
		corrections = 64
	)
	pulse := m.pulses[g]
	if pulse == nil {
		pulse = make([]float32, g.n)
		clear(m.spectrum)
		for k := 1; k < g.n/2; k++ {
			if k < g.first-trimGuard || k > g.first+g.carriers+trimGuard {
				m.spectrum[k] = 1
			}
		}
		fft.Inverse(pulse, m.spectrum)
		top := pulse[0]
		for i := range pulse {
			pulse[i] /= top
		}
		m.pulses[g] = pulse
	}
	for range corrections {
		at, top := 0, float32(0)
		for i, v := range m.time {
			if v = max(v, -v); v > top {
				at, top = i, v
			}
		}
		if top <= 1 {
			return
		}
		a := m.time[at] * (1 - limit/top)
		for i, v := range pulse[:g.n-at] {
			m.time[at+i] -= a * v
		}
		for i, v := range pulse[g.n-at:] {
			m.time[i] -= a * v
		}
	}
}

// trimGuard is how many carriers beside the band stay free.
const trimGuard = 2

// fadeIn is the raised cosine of n steps.
func fadeIn(i, n int) float32 {
	return float32(0.5 - 0.5*math.Cos(math.Pi*(float64(i)+0.5)/float64(n)))
}

func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

func grow[T any](s []T, n int) []T {
	if cap(s)-len(s) >= n {
		return s[:len(s)+n]
	}
	return append(s, make([]T, n)...)
}
