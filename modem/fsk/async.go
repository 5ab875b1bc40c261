package fsk

import (
	"fmt"
	"math"
	"slices"

	"lightsong/modem/dsp"
)

// Async is uncoded asynchronous binary FSK as telephone modems have it: eight
// data bits, the least significant first, between a start bit (space) and a
// stop bit (mark), and mark between octets. There is no check: a damaged octet
// looks like another one.
type Async struct {
	Name        string
	Baud        float64 // bits per second
	Mark, Space float64 // Hz
}

// The two modems that others speak, in the tones of the calling side.
var (
	Bell202 = Async{Name: "bell202", Baud: 1200, Mark: 1200, Space: 2200}
	Bell103 = Async{Name: "bell103", Baud: 300, Mark: 1270, Space: 1070}
)

const (
	leadSeconds  = 0.25 // of mark before the first octet, for receivers to lock on
	trailBits    = 8    // of mark after the last octet
	minSharpness = 0.12 // share of the signal's power that must speak for the bits of an octet
)

func (a Async) check(rate int) error {
	half := float64(rate) / 2
	if rate < MinRate || rate > MaxRate || !(a.Baud >= 10 && a.Baud*4 <= float64(rate)) ||
		!(a.Mark > 0 && a.Mark < half && a.Space > 0 && a.Space < half && a.Mark != a.Space) {
		return fmt.Errorf("%s at %d Hz: %w: %g baud with %g and %g Hz", a.Name, rate, ErrRate, a.Baud, a.Mark, a.Space)
	}
	return nil
}

// AsyncModulator turns octets into samples. It is used by one goroutine.
type AsyncModulator struct {
	num  numerology
	lead int // bits
}

// NewAsyncModulator makes a modulator for a sample rate in Hz. The error wraps
// ErrRate.
func NewAsyncModulator(rate int, a Async) (*AsyncModulator, error) {
	if err := a.check(rate); err != nil {
		return nil, err
	}
	m := &AsyncModulator{lead: int(math.Ceil(leadSeconds * a.Baud))}
	m.num = numerology{rate: float64(rate), period: float64(rate) / a.Baud, fade: int(fadeSeconds * float64(rate))}
	for _, f := range [2]float64{a.Space, a.Mark} {
		w := 2 * math.Pi * f / float64(rate)
		sin, cos := math.Sincos(w)
		m.num.omega = append(m.num.omega, w)
		m.num.turn = append(m.num.turn, complex(cos, sin))
	}
	return m, nil
}

// Samples is the number of samples that n octets become.
func (m *AsyncModulator) Samples(n int) int { return m.num.symbolSamples(m.lead + 10*n + trailBits) }

// AppendOctets appends a transmission of octets to dst: a quarter of a second
// of mark, the octets without a pause, a little mark. It starts and ends
// softly.
func (m *AsyncModulator) AppendOctets(dst []float32, octets []byte) []float32 {
	bits := make([]uint8, 0, m.lead+10*len(octets)+trailBits)
	bits = append(bits, slices.Repeat([]uint8{1}, m.lead)...)
	for _, v := range octets {
		bits = append(bits, 0)
		for i := range 8 {
			bits = append(bits, v>>i&1)
		}
		bits = append(bits, 1)
	}
	bits = append(bits, slices.Repeat([]uint8{1}, trailBits)...)
	start := len(dst)
	dst, _ = m.num.appendTones(slices.Grow(dst, m.Samples(len(octets))), bits, 0)
	x := dst[start:]
	for i := range min(m.num.fade, len(x)) {
		x[i] *= float32(fadeIn(i, m.num.fade))
		x[len(x)-1-i] *= float32(fadeIn(i, m.num.fade))
	}
	return dst
}

// AsyncDemodulator turns samples into octets. Octets whose stop bit is missing,
// or which do not stand out of the noise, are dropped. It is used by one
// goroutine.
//
// Both tones are measured over one bit at every sample. Their difference
// crosses zero when a start bit has come in by half; from there on the bits are
// read at its fixed distances.
type AsyncDemodulator struct {
	period      float64 // samples per bit
	mark, space arm
	history     []float32 // the last bit's samples
	power       float64   // the sum of their squares
	at          int       // in history
	last        float64   // the measure at the last sample: 1 all mark, −1 all space
	idle        int       // samples of mark before
	bit         int       // −1 between octets, else the next bit: 0 start, 1…8 data, 9 stop
	wait        float64   // samples to that bit's end
	octet       byte
	sharpness   float64 // sum of the measures of the octet's bits
}

// arm measures one tone over the last bit.
type arm struct {
	nco     dsp.NCO
	history []complex64
	re, im  float64
}

func (a *arm) push(x float32, at int) float64 {
	v := a.nco.Next()
	v = complex(x*real(v), -x*imag(v))
	old := a.history[at]
	a.history[at] = v
	a.re += float64(real(v)) - float64(real(old))
	a.im += float64(imag(v)) - float64(imag(old))
	return a.re*a.re + a.im*a.im
}

// NewAsyncDemodulator makes a demodulator for a sample rate in Hz. The error
// wraps ErrRate.
func NewAsyncDemodulator(rate int, a Async) (*AsyncDemodulator, error) {
	if err := a.check(rate); err != nil {
		return nil, err
	}
	period := float64(rate) / a.Baud
	n := int(math.Round(period))
	return &AsyncDemodulator{
		period:  period,
		mark:    arm{nco: dsp.NewNCO(a.Mark/float64(rate), 0), history: make([]complex64, n)},
		space:   arm{nco: dsp.NewNCO(a.Space/float64(rate), 0), history: make([]complex64, n)},
		history: make([]float32, n),
		bit:     -1,
	}, nil
}

// Push takes any number of samples and calls emit for each octet.
func (d *AsyncDemodulator) Push(samples []float32, emit func(octet byte)) {
	n := len(d.history)
	for _, x := range samples {
		if x-x != 0 {
			x = 0
		}
		x = max(-loudest, min(loudest, x))
		old := d.history[d.at]
		d.history[d.at] = x
		d.power += float64(x)*float64(x) - float64(old)*float64(old)
		m, s := d.mark.push(x, d.at), d.space.push(x, d.at)
		if d.at++; d.at == n {
			d.at = 0
		}
		// A tone alone has a squared correlation of n/2 times its energy.
		v := (m - s) / (float64(n)/2*max(0, d.power) + 1e-12)
		d.sample(v, emit)
		d.last = v
	}
}

// sample takes the measure at one sample.
func (d *AsyncDemodulator) sample(v float64, emit func(octet byte)) {
	if d.bit < 0 {
		switch {
		case v >= 0:
			d.idle++
		case d.last >= 0 && float64(d.idle) >= d.period/4:
			// The crossing lies between the last sample and this one.
			since := -v / (d.last - v)
			d.bit, d.octet, d.sharpness = 0, 0, 0
			d.wait = d.period/2 - since
		default:
			d.idle = 0
		}
		return
	}
	if d.wait--; d.wait > 0 {
		return
	}
	// The bit's end lies −wait samples before this one.
	value := v + (d.last-v)*-d.wait
	mark := value > 0
	d.sharpness += math.Abs(value)
	switch {
	case d.bit == 0 && mark, d.bit == 9 && !mark:
		d.bit, d.idle = -1, 0
		return
	case d.bit == 9:
		d.bit, d.idle = -1, int(d.period)
		if d.sharpness > 10*minSharpness {
			emit(d.octet)
		}
		return
	case d.bit > 0 && mark:
		d.octet |= 1 << (d.bit - 1)
	}
	d.bit++
	d.wait += d.period
}
