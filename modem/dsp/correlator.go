package dsp

// Correlator correlates real sequences with one fixed template by the
// overlap-save method (Oppenheim and Schafer, Discrete-Time Signal Processing,
// §8.7.3). With the template reversed it is a fast convolution.
type Correlator struct {
	length   int
	fft      *RealFFT
	template []complex64 // conjugate spectrum
	bins     []complex64
	block    []float32
}

// NewCorrelator makes a correlator for a template of at least one sample, which
// is copied.
func NewCorrelator(template []float32) *Correlator {
	size := 256
	for size < 4*len(template) {
		size *= 2
	}
	c := &Correlator{
		length:   len(template),
		fft:      NewRealFFT(size),
		template: make([]complex64, size/2+1),
		bins:     make([]complex64, size/2+1),
		block:    make([]float32, size),
	}
	copy(c.block, template)
	c.fft.Forward(c.template, c.block)
	for i, v := range c.template {
		c.template[i] = complex(real(v), -imag(v))
	}
	return c
}

// Append appends Σ template[i]·src[k+i] for each k at which the template lies
// inside src, len(src)−len(template)+1 values or none, to dst.
func (c *Correlator) Append(dst, src []float32) []float32 {
	step := len(c.block) - c.length + 1
	for lags := len(src) - c.length + 1; lags > 0; lags -= step {
		clear(c.block[copy(c.block, src):])
		c.fft.Forward(c.bins, c.block)
		for i, h := range c.template {
			c.bins[i] = times(real(c.bins[i]), imag(c.bins[i]), h)
		}
		c.fft.Inverse(c.block, c.bins)
		dst = append(dst, c.block[:min(step, lags)]...)
		src = src[min(step, len(src)):]
	}
	return dst
}
