package dsp

import "fmt"

// The filter of a Resampler: sincTaps taps under a Kaiser window of 80 dB. The transition from pass to stop is
// (80−7.95)/(14.36·64) = 0.078 of the sample rate wide and centred on half of
// it: flat up to 0.461·rate, and an image of anything below that is in the
// stopband, above 0.539·rate. Between the 256 stored phases the coefficients
// are interpolated linearly, which errs by at most (π/256)²/8, −94 dB.
const (
	resamplePhases = 256
	resampleBeta   = 7.857 // 0.1102·(80−8.7)
)

// ResampleLookahead is how many input samples beyond an output's position a
// Resampler must have.
const ResampleLookahead = sincHalf

// MaxResampleSkew bounds the step of a Resampler: 1 ± MaxResampleSkew. Beyond
// it the filter's cut-off would no longer be where the images are.
const MaxResampleSkew = 0.01

// Resampler reads a stream of samples by another clock: output n is the input
// signal at the position Σ step, the first at position 0. It bridges clocks
// that nearly agree (a sound card's and another's, within MaxResampleSkew), by
// windowed-sinc interpolation that follows a step changing at any time. Images
// of tones below 0.46 of the rate are at least 75 dB down, the passband is flat
// to 0.002 dB. While the step is exactly 1 and the position has no fraction the
// samples pass unchanged, bit for bit.
type Resampler struct {
	bank  sincBank
	buf   []float32 // the inputs from tap 0 of the next output on
	at    int       // index in buf of tap 0
	frac  float64   // the next output's position beyond tap half−1, 0 ≤ frac < 1
	quiet int       // index in buf from which on all samples are zero
}

// NewResampler makes a Resampler at position 0 with silence before it.
func NewResampler() *Resampler {
	return &Resampler{
		bank: newSincBank(resampleBeta, resamplePhases),
		buf:  make([]float32, sincHalf-1, 4096),
	}
}

// Push appends input samples.
func (r *Resampler) Push(x []float32) {
	if r.at > 0 {
		r.buf = r.buf[:copy(r.buf, r.buf[r.at:])]
		r.quiet = max(0, r.quiet-r.at)
		r.at = 0
	}
	for i := len(x) - 1; i >= 0; i-- {
		if x[i] != 0 {
			r.quiet = len(r.buf) + i + 1
			break
		}
	}
	r.buf = append(r.buf, x...)
}

// Ready tells whether the input pushed so far is enough for n more outputs at
// the given step.
func (r *Resampler) Ready(n int, step float64) bool {
	last := r.at + int(r.frac+float64(n-1)*step)
	return n <= 0 || last+sincTaps <= len(r.buf)
}

// Pull writes outputs to dst, step input samples apart, until it is full or
// the input is used up, and returns how many. A step outside 1 ±
// MaxResampleSkew is a programming error and panics.
func (r *Resampler) Pull(dst []float32, step float64) int {
	if !(step >= 1-MaxResampleSkew && step <= 1+MaxResampleSkew) {
		panic(fmt.Sprintf("dsp: resampling step %g: not within %g of 1", step, MaxResampleSkew))
	}
	if step == 1 && r.frac == 0 {
		n := max(0, min(len(dst), len(r.buf)-r.at-sincTaps+1))
		copy(dst[:n], r.buf[r.at+sincHalf-1:])
		r.at += n
		return n
	}
	at, frac, n := r.at, r.frac, 0
	for n < len(dst) && at+sincTaps <= len(r.buf) {
		if at < r.quiet {
			dst[n] = r.bank.at((*[sincTaps]float32)(r.buf[at:]), frac)
		} else {
			dst[n] = 0
		}
		n++
		frac += step
		whole := int(frac)
		frac -= float64(whole)
		at += whole
	}
	r.at, r.frac = at, frac
	return n
}
