package dsp

import "math"

// NCO is a numerically controlled oscillator, exp(i·phase), with a phase that
// never jumps. Use NewNCO.
type NCO struct {
	value, step complex128
	count       int
}

// NewNCO makes an oscillator of freq cycles per sample that starts at a phase
// in radians.
func NewNCO(freq, phase float64) NCO {
	o := NCO{}
	sin, cos := math.Sincos(phase)
	o.value = complex(cos, sin)
	o.SetFrequency(freq)
	return o
}

// SetFrequency changes the frequency, in cycles per sample, from the next
// sample on.
func (o *NCO) SetFrequency(freq float64) {
	sin, cos := math.Sincos(2 * math.Pi * freq)
	o.step = complex(cos, sin)
}

// Next returns the present value and goes one sample on.
func (o *NCO) Next() complex64 {
	v := complex64(o.value)
	o.value *= o.step
	// Rounding moves the amplitude by about 1e-16 per sample.
	if o.count++; o.count == 1<<16 {
		o.count = 0
		o.value /= complex(math.Hypot(real(o.value), imag(o.value)), 0)
	}
	return v
}

// MixDown writes src times the conjugate of the oscillation to dst, which is at
// least as long.
func (o *NCO) MixDown(dst []complex64, src []float32) {
	for i, x := range src {
		v := o.Next()
		dst[i] = complex(x*real(v), -x*imag(v))
	}
}
