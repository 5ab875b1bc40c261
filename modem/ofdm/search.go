package ofdm

import (
	"math"
	"math/bits"

	"lightsong/modem/dsp"
)

// finder looks for what every burst of one class begins with, the chirp or in the middle of another burst the known carriers of
// a symbol, by overlap-save correlation. A block
// of n samples gives the lags 0…n−l; blocks overlap by the length l of the
// chirp. Where the profile's band allows, only what its sketch has noticed is
// looked at.
type finder struct {
	class  int
	inside bool    // in the middle of another burst
	reach  int     // device samples from the strongest wave that the direct one is expected in
	early  float32 // of the strongest wave's amplitude that an earlier one has to have
	l, n   int     // device samples
	lo, hi int     // bins of the band
	fft    *dsp.RealFFT
	match  []complex64 // conjugate spectrum of the chirp, nothing outside the band
	energy float64     // of the chirp inside the band
	least  float64     // normalised correlation, squared, that is no chance
	next   int64       // chirps that start from this sample on are looked for
	sketch *sketch     // nil: every block is looked at
	doubt  int64       // start of the block in which sketch suspects a chirp, if doubts
	doubts bool

	spectrum, product []complex64
	corr, inBand      []float32
}

// chance is how far in squared standard deviations the correlation must stand
// out. Correlated with noise it is Gaussian: with two-sided tails at √40 there
// is one false alarm in 2.5·10⁹ lags, or 14 hours of one class at 48 kHz.
const chance = 40

// newFinder is the finder of a class's chirp.
func newFinder(p *profile, s scale, class int, thin *dsp.Thinner) *finder {
	c := &p.classes[class]
	x := chirp(c, float64(s.times)*s.ratio)
	f := finderOf(x, c, s, chance)
	f.class, f.early = class, 0.4 // the chirp's own sidelobes reach 22 %
	f.reach = min(int(p.spread*float64(s.rate)), f.hop()/2)
	if thin != nil {
		f.sketch = newSketch(x, thin, c.lo/baseRate/float64(s.times)/s.ratio)
	}
	return f
}

// finderOf looks for x, of a class's band.
func finderOf(x []float32, c *class, s scale, chance float64) *finder {
	f := &finder{l: len(x)}
	f.n = 1 << bits.Len(uint(2*f.l-1))
	f.fft = dsp.NewRealFFT(f.n)
	f.match = make([]complex64, f.n/2+1)
	f.spectrum = make([]complex64, f.n/2+1)
	f.product = make([]complex64, f.n/2+1)
	f.corr = make([]float32, f.n)
	f.inBand = make([]float32, f.n)
	copy(f.corr, x)
	f.fft.Forward(f.match, f.corr)
	perBin := baseRate * float64(s.times) * s.ratio / float64(f.n)
	f.lo, f.hi = int(c.lo/perBin), min(f.n/2-1, int(math.Ceil(c.hi/perBin)))
	for k, v := range f.match {
		if k < f.lo || k > f.hi {
			f.match[k] = 0
			continue
		}
		f.energy += 2 * float64(real(v)*real(v)+imag(v)*imag(v)) / float64(f.n)
		f.match[k] = complex(real(v), -imag(v))
	}
	f.least = chance / (2 * float64(f.hi-f.lo+1) / float64(f.n) * float64(f.l))
	return f
}

// hop is how far apart blocks start.
func (f *finder) hop() int { return f.n - f.l }

// step is how far apart the blocks are that are looked at first.
func (f *finder) step() int {
	if f.sketch != nil {
		return f.sketch.hop()
	}
	return f.hop()
}

// correlate fills corr with the lags of the block x, which is n long, and
// returns the block's energy inside the band.
func (f *finder) correlate(x []float32) (energy float64) {
	f.fft.Forward(f.spectrum, x)
	for k := f.lo; k <= f.hi; k++ {
		a, b := f.spectrum[k], f.match[k]
		energy += float64(real(a)*real(a) + imag(a)*imag(a))
		f.product[k] = complex(real(a)*real(b)-imag(a)*imag(b), real(a)*imag(b)+imag(a)*real(b))
	}
	f.fft.Inverse(f.corr, f.product)
	return 2 * energy / float64(f.n)
}

// scan looks for a chirp that starts in the block x, at lag from to to. ok tells
// that there is one; lag is near its start.
func (f *finder) scan(x []float32, from, to int) (lag int, ok bool) {
	energy := f.correlate(x)
	if energy < 1e-15*float64(f.n) {
		return 0, false
	}
	// The energy under the chirp is at first taken as the block's mean, and the
	// threshold low enough for blocks whose second half is louder; what passes
	// is looked at exactly.
	lags := f.corr[:min(to, f.hop())+1]
	least := float32(math.Sqrt(0.3 * f.least * f.energy * energy * float64(f.l) / float64(f.n)))
	hit := false
	for _, v := range lags[from:] {
		if v > least || v < -least {
			hit = true
			break
		}
	}
	if !hit {
		return 0, false
	}
	clear(f.product)
	copy(f.product[f.lo:f.hi+1], f.spectrum[f.lo:f.hi+1])
	f.fft.Inverse(f.inBand, f.product)
	clear(f.product)
	var under float64
	for _, v := range f.inBand[:f.l] {
		under += float64(v) * float64(v)
	}
	best := f.least
	for i, v := range lags {
		if c := float64(v) * float64(v); i >= from && c > best*f.energy*max(under, 1e-3*energy) {
			best = c / (f.energy * max(under, 1e-3*energy))
			lag, ok = i, true
		}
		out, in := float64(f.inBand[i]), float64(f.inBand[min(i+f.l, f.n-1)])
		under += in*in - out*out
	}
	return lag, ok
}

// pinpoint finds the direct wave in the block x, where it is around lag: the
// earliest correlation of a good part of the largest within reach before that.
// (The largest may be an echo.)
func (f *finder) pinpoint(x []float32, lag int) (start float64) {
	reach := f.reach
	f.correlate(x)
	lags := f.corr[:f.hop()+1]
	at := lag
	for i := max(0, lag-reach); i <= min(len(lags)-1, lag+reach); i++ {
		if magnitude(lags[i]) > magnitude(lags[at]) {
			at = i
		}
	}
	least := f.early * magnitude(lags[at])
	lobe := f.n * 3 / 2 / (2 * (f.hi - f.lo + 1)) * 2 // what lies nearer is the same path
	for i := max(1, at-reach); i < at-lobe; i++ {
		if v := magnitude(lags[i]); v > least && v >= magnitude(lags[i-1]) && v >= magnitude(lags[i+1]) {
			at = i
			break
		}
	}
	start = float64(at)
	if at > 0 && at < len(lags)-1 {
		a, b, c := float64(magnitude(lags[at-1])), float64(magnitude(lags[at])), float64(magnitude(lags[at+1]))
		if d := a - 2*b + c; d < 0 {
			start += max(-0.5, min(0.5, 0.5*(a-c)/d))
		}
	}
	return start
}

func magnitude(v float32) float32 { return max(v, -v) }
