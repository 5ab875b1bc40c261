package dsp

import "math"

// The filter of an Interpolator: sincTaps taps under a Kaiser window of 100 dB,
// cut off at half the rate. Its transition is (100−7.95)/(14.36·64) = 0.100 of
// the rate wide, so a signal below 0.45·rate comes out flat and its images are
// 100 dB down. Between 512 stored phases the coefficients are interpolated
// linearly, which errs by at most (π/512)²/8, −107 dB.
const (
	interpolatePhases = 512
	interpolateBeta   = 10.056 // 0.1102·(100−8.7)
)

// InterpolateReach is how many samples on either side of a position an
// Interpolator reads.
const InterpolateReach = sincHalf

// Interpolator reads a stored signal at positions between its samples by
// windowed-sinc interpolation. Signals below 0.45 of the sample rate are
// reproduced to −95 dB; it is no decimation filter. It never changes after
// NewInterpolator.
type Interpolator struct{ bank sincBank }

// NewInterpolator computes the filter.
func NewInterpolator() *Interpolator {
	return &Interpolator{newSincBank(interpolateBeta, interpolatePhases)}
}

// Read writes to dst the signal src at the positions pos, pos+step, …: samples
// of src counted from 0, any fraction. Outside src the signal is zero.
func (p *Interpolator) Read(dst, src []float32, pos, step float64) {
	var edge [sincTaps]float32
	for i := range dst {
		at := pos + float64(i)*step
		whole := math.Floor(at)
		first := int(whole) - (sincHalf - 1)
		x := &edge
		if first >= 0 && first+sincTaps <= len(src) {
			x = (*[sincTaps]float32)(src[first:])
		} else {
			edge = [sincTaps]float32{}
			for j := range edge {
				if n := first + j; n >= 0 && n < len(src) {
					edge[j] = src[n]
				}
			}
		}
		dst[i] = p.bank.at(x, at-whole)
	}
}
