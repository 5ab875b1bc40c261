package fsk

import (
	"fmt"
	"math"
	"slices"

	"lightsong/modem"
)

const (
	fadeSeconds = 0.003 // at both ends of a burst
	// MaxBurstSeconds is the longest burst that a modulator makes and a
	// demodulator believes in: a header that announces more is taken as failed.
	MaxBurstSeconds = 60
)

// amplitude of the tones at full scale 1.
var amplitude = math.Sqrt2 * math.Pow(10, modem.LevelDBFS/20)

// numerology is a Params at a sample rate.
type numerology struct {
	params *Params
	rate   float64 // Hz
	width  int     // bits per symbol
	period float64 // samples per symbol
	omega  []float64
	turn   []complex128 // rotation of each tone per sample
	chirp  []float32    // the preamble as it is sent
	phase  float64      // of the carrier at the chirp's end
	fade   int          // samples
	header int          // symbols
}

func newNumerology(rate int, p *Params) *numerology {
	fs := float64(rate)
	n := &numerology{
		params: p,
		rate:   fs,
		width:  width(p.Tones),
		period: fs / p.SymbolRate,
		fade:   int(math.Round(fadeSeconds * fs)),
	}
	for k := range p.Tones {
		f := p.Centre + (float64(k)-float64(p.Tones-1)/2)*p.Spacing
		w := 2 * math.Pi * f / fs
		n.omega = append(n.omega, w)
		sin, cos := math.Sincos(w)
		n.turn = append(n.turn, complex(cos, sin))
	}
	length := int(math.Round(p.Chirp.Seconds * fs))
	n.chirp = make([]float32, length)
	for i := range n.chirp {
		a := amplitude * fadeIn(i, n.fade)
		n.chirp[i] = float32(a * math.Cos(n.chirpPhase(float64(i)+0.5)))
	}
	n.phase = math.Mod(n.chirpPhase(float64(length)), 2*math.Pi)
	n.header = headerBlock().symbols(n.width)
	return n
}

// bandwidth is what the tones occupy, in Hz.
func (n *numerology) bandwidth() float64 {
	return float64(n.params.Tones-1)*n.params.Spacing + n.params.SymbolRate
}

// chirpPhase is the phase of the preamble t samples after its start.
func (n *numerology) chirpPhase(t float64) float64 {
	c := &n.params.Chirp
	s := t / n.rate
	return 2 * math.Pi * (c.From*s + (c.To-c.From)*s*s/(2*c.Seconds))
}

// fadeIn is the raised-cosine window of the i-th of n samples.
func fadeIn(i, n int) float64 {
	if i >= n {
		return 1
	}
	return 0.5 - 0.5*math.Cos(math.Pi*(float64(i)+0.5)/float64(n))
}

// samples is the length of a burst with this many symbols.
func (n *numerology) samples(symbols int) int {
	return len(n.chirp) + n.symbolSamples(symbols) + n.fade
}

func (n *numerology) symbolSamples(symbols int) int {
	return int(math.Round(float64(symbols) * n.period))
}

// appendTones appends the continuous-phase signal of the tones, starting at a
// phase in radians, and returns the phase at its end. Sample i stands for the
// time from i to i+1: a symbol whose length is no whole number of samples ends
// between two of them.
func (n *numerology) appendTones(dst []float32, tones []uint8, phase float64) ([]float32, float64) {
	at := 0
	for k, tone := range tones {
		w := n.omega[tone]
		end := n.symbolSamples(k + 1)
		sin, cos := math.Sincos(phase + w*(float64(at)+0.5-float64(k)*n.period))
		osc, turn := complex(amplitude*cos, amplitude*sin), n.turn[tone]
		for ; at < end; at++ {
			dst = append(dst, float32(real(osc)))
			osc *= turn
		}
		phase = math.Mod(phase+w*n.period, 2*math.Pi)
	}
	return dst, phase
}

// row is one line of the MCS table.
type row struct {
	num    *numerology
	coding Coding
}

// rows derives a table at a sample rate.
func rows(rate int, table []Params) ([]row, error) {
	if len(table) == 0 {
		return nil, fmt.Errorf("fsk at %d Hz: %w: no numerology fits; rates are %d to %d Hz", rate, ErrRate, MinRate, MaxRate)
	}
	var all []row
	for i := range table {
		p := &table[i]
		if err := p.Check(rate); err != nil {
			return nil, err
		}
		num := newNumerology(rate, p)
		for _, c := range p.Codes {
			all = append(all, row{num, c})
		}
	}
	if len(all) > 256 {
		return nil, fmt.Errorf("fsk: %w: %d codings, an MCS is one octet", ErrRate, len(all))
	}
	return all, nil
}

// Modulator turns bursts into samples. It implements modem.Modulator. It is
// used by one goroutine.
type Modulator struct {
	rate  int
	rows  []row
	enc   encoder
	tones []uint8
}

// NewModulator makes a modulator of the profile's table at a sample rate in
// Hz. The error wraps ErrRate.
func NewModulator(rate int) (*Modulator, error) { return NewModulatorOf(rate, carried(rate)) }

// NewModulatorOf makes a modulator of another table. The table is kept. The
// error wraps ErrRate.
func NewModulatorOf(rate int, table []Params) (*Modulator, error) {
	rows, err := rows(rate, table)
	if err != nil {
		return nil, err
	}
	return &Modulator{rate: rate, rows: rows}, nil
}

// header checks a burst and describes it.
func (m *Modulator) header(b *modem.Burst) (header, error) {
	fail := func(format string, args ...any) (header, error) {
		return header{}, fmt.Errorf("fsk: %w: %s", modem.ErrBurst, fmt.Sprintf(format, args...))
	}
	h := header{mcs: b.MCS, frames: len(b.Frames), controlOctet: len(b.Control)}
	switch {
	case int(b.MCS) >= len(m.rows):
		return fail("MCS %d, the table at %d Hz ends at %d", b.MCS, m.rate, len(m.rows)-1)
	case h.frames > modem.MaxFrames:
		return fail("%d frames, at most %d fit", h.frames, modem.MaxFrames)
	case h.controlOctet > modem.MaxControlOctets:
		return fail("a control block of %d octets, at most %d fit", h.controlOctet, modem.MaxControlOctets)
	}
	for i, f := range b.Frames {
		if i == 0 {
			h.frameOctets = len(f)
		}
		if len(f) != h.frameOctets || len(f) < 1 || len(f) > modem.MaxFrameOctets {
			return fail("frame %d is %d octets long, the first %d; all are equal and 1 to %d", i, len(f), h.frameOctets, modem.MaxFrameOctets)
		}
	}
	if r := m.rows[b.MCS]; r.num.samples(r.symbols(h)) > MaxBurstSeconds*m.rate {
		return fail("it would last more than %d s", MaxBurstSeconds)
	}
	return h, nil
}

// symbols is the number of symbols of a burst.
func (r row) symbols(h header) int {
	n := r.num.header
	if h.controlOctet > 0 {
		n += controlBlock(h.controlOctet).symbols(r.num.width)
	}
	if h.frames > 0 {
		n += h.frames * frameBlock(r.coding.Rate, h.frameOctets, 0).symbols(r.num.width)
	}
	return n
}

// Samples implements modem.Modulator.
func (m *Modulator) Samples(b *modem.Burst) int {
	h, err := m.header(b)
	if err != nil {
		return 0
	}
	r := m.rows[b.MCS]
	return r.num.samples(r.symbols(h))
}

// AppendBurst implements modem.Modulator.
func (m *Modulator) AppendBurst(dst []float32, b *modem.Burst) ([]float32, error) {
	h, err := m.header(b)
	if err != nil {
		return dst, err
	}
	r := m.rows[b.MCS]
	n := r.num
	m.tones = m.appendTones(m.tones[:0], r, h, b)
	dst = slices.Grow(dst, n.samples(len(m.tones)))
	dst = append(dst, n.chirp...)
	dst, phase := n.appendTones(dst, m.tones, n.phase)
	// The last tone rings out, so that nothing clicks and the last symbol is
	// whole.
	w := n.omega[m.tones[len(m.tones)-1]]
	for i := range n.fade {
		dst = append(dst, float32(amplitude*fadeIn(n.fade-1-i, n.fade)*math.Cos(phase+w*(float64(i)+0.5))))
	}
	return dst, nil
}

// appendTones appends the tones of a burst to dst.
func (m *Modulator) appendTones(dst []uint8, r row, h header, b *modem.Burst) []uint8 {
	w := r.num.width
	m.enc.octets = h.append(m.enc.octets[:0])
	dst = m.enc.appendTones(dst, headerBlock(), w)
	if len(b.Control) > 0 {
		dst = m.enc.appendBlock(dst, controlBlock(len(b.Control)), b.Control, true, w)
	}
	for i, f := range b.Frames {
		dst = m.enc.appendBlock(dst, frameBlock(r.coding.Rate, len(f), i), f, true, w)
	}
	return dst
}
