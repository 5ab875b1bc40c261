package fsk

import (
	"math"

	"lightsong/modem/dsp"
)

// falseAlarm is the probability that noise passes for a preamble at one lag. A
// table of four numerologies looks at about 10^8 independent lags an hour.
const falseAlarm = 1e-10

// detector finds preambles. It transforms the newest samples once and
// correlates them with every numerology's chirp, at a rate that just holds the
// chirp's band. What it compares with a threshold is the squared coefficient
// of correlation within that band, between 0 and 1: independent of gain,
// polarity and phase, and of whatever sounds outside the band. In Gaussian
// noise it exceeds θ with probability (1−θ)^(BT−1) for a chirp of
// time-bandwidth product BT.
type detector struct {
	size      int // samples of a transform
	hop       int // samples between transforms
	fft       *dsp.RealFFT
	spectrum  []complex64
	templates []*template
	block     []float32
}

// template is one numerology's chirp.
type template struct {
	length    int // samples
	firstBin  int
	chirp     []complex64 // conjugate spectrum from firstBin on
	analytic  []complex64 // the chirp as it was sent, with its Hilbert transform
	energy    float64     // of the chirp's samples
	threshold float64
	ifft      *dsp.FFT // of a power of two at least as long as chirp
	step      int      // samples per output of the inverse transform
	match     []complex64
	band      []complex64
	// floor is the mean power of the ambient noise in the band, per sample of
	// it; 0 when none was heard yet.
	floor float64
}

// found is a preamble that was, or may be, there.
type found struct {
	class  int
	start  int     // sample of the preamble's beginning, relative to the block
	square float64 // squared coefficient of correlation
}

func newDetector(nums []*numerology) *detector {
	longest := 0
	for _, n := range nums {
		longest = max(longest, len(n.chirp))
	}
	size := 1024
	for size < longest+longest/2 {
		size *= 2
	}
	d := &detector{size: size, hop: size / 4, fft: dsp.NewRealFFT(size), spectrum: make([]complex64, size/2+1)}
	d.block = make([]float32, size)
	for _, n := range nums {
		clear(d.block)
		copy(d.block, n.chirp)
		d.fft.Forward(d.spectrum, d.block)
		d.templates = append(d.templates, newTemplate(n, d.spectrum, size))
	}
	return d
}

func newTemplate(n *numerology, spectrum []complex64, size int) *template {
	c := &n.params.Chirp
	margin := 1 / c.Seconds
	lo := max(1, int((min(c.From, c.To)-margin)/n.rate*float64(size)))
	hi := min(size/2, int((max(c.From, c.To)+margin)/n.rate*float64(size))+1)
	t := &template{length: len(n.chirp), firstBin: lo}
	for _, v := range spectrum[lo:hi] {
		t.chirp = append(t.chirp, complex(real(v), -imag(v)))
	}
	// Half again as many points as the band needs: a peak between two of them
	// then loses less than 2 dB.
	points := 2
	for points < size/2 && points*2 < len(t.chirp)*3 {
		points *= 2
	}
	t.step = size / points
	t.ifft = dsp.NewFFT(points)
	t.match, t.band = make([]complex64, points), make([]complex64, points)
	for i, v := range n.chirp {
		t.energy += float64(v) * float64(v)
		sin, cos := math.Sincos(n.chirpPhase(float64(i) + 0.5))
		a := amplitude * fadeIn(i, n.fade)
		t.analytic = append(t.analytic, complex(float32(a*cos), float32(a*sin)))
	}
	product := math.Abs(c.To-c.From) * c.Seconds
	t.threshold = 1 - math.Pow(falseAlarm, 1/(product-1))
	return t
}

// search looks through a block of size samples for preambles that end in its
// last hop samples. It returns the best one, or false.
func (d *detector) search(block []float32) (found, bool) {
	d.fft.Forward(d.spectrum, block)
	best, ok := found{}, false
	for class, t := range d.templates {
		first := (d.size - d.hop - t.length) / t.step
		last := (d.size - t.length) / t.step
		t.correlate(d.spectrum)
		t.cut(d.spectrum)
		scale := t.coefficient()
		var window float64
		span := t.length / t.step
		for _, v := range t.band[first : first+span] {
			window += float64(norm(v))
		}
		for i := first; i <= last; i++ {
			square := scale * float64(norm(t.match[i])) / (window + tiny)
			if square > t.threshold && square > best.square {
				best, ok = found{class: class, start: i * t.step, square: square}, true
			}
			if i+span < len(t.band) {
				window += float64(norm(t.band[i+span])) - float64(norm(t.band[i]))
			}
		}
		t.listen(t.band[(d.size-d.hop)/t.step:])
	}
	return best, ok
}

// listen follows the ambient noise: it averages what lies within 3 dB of it,
// falls at once, and rises slowly under anything louder, which is more likely a
// signal.
func (t *template) listen(band []complex64) {
	var power float64
	for _, v := range band {
		power += float64(norm(v))
	}
	// The energy is 2/step times the sum, over step·len samples.
	power *= 2 / (float64(t.step) * float64(t.step) * float64(len(band)))
	switch {
	case power < t.floor/2 || t.floor == 0:
		t.floor = power
	case power < 2*t.floor:
		t.floor += (power - t.floor) / 16
	default:
		t.floor *= 1.01
	}
}

// correlate writes the correlation at lags 0, step, 2·step… to t.match, half
// its envelope in magnitude and up to the rotation of the band's lower edge.
func (t *template) correlate(spectrum []complex64) {
	x := spectrum[t.firstBin:][:len(t.chirp)]
	for i, h := range t.chirp {
		v := x[i]
		t.match[i] = complex(real(v)*real(h)-imag(v)*imag(h), real(v)*imag(h)+imag(v)*real(h))
	}
	clear(t.match[len(t.chirp):])
	t.ifft.Inverse(t.match, t.match)
}

// cut writes what the band holds to t.band, in the same way.
func (t *template) cut(spectrum []complex64) {
	copy(t.band, spectrum[t.firstBin:][:len(t.chirp)])
	clear(t.band[len(t.chirp):])
	t.ifft.Inverse(t.band, t.band)
}

// coefficient is what |match|² over the sum of |band|² must be multiplied by
// to become the squared coefficient of correlation. With r the correlation's
// envelope and E the window's energy that is r²/(energy·E); the inverse
// transforms scale by 1/points where 1/size were right, which cancels, half the
// envelope squared is r²/4, and the sum is E/(2·step).
func (t *template) coefficient() float64 { return 4 / (2 * float64(t.step) * t.energy) }

func norm(v complex64) float32 { return real(v)*real(v) + imag(v)*imag(v) }

// refine finds the start of a preamble to a fraction of a sample, given x with
// margin samples on both sides of where it was found. It returns the start
// relative to the one that was found.
func (t *template) refine(x []float32, margin int) float64 {
	best, at := float32(-1), 0
	envelope := func(lag int) float32 {
		var re, im float32
		for i, h := range t.analytic {
			v := x[lag+i]
			re += v * real(h)
			im += v * imag(h)
		}
		return re*re + im*im
	}
	for lag := 1; lag < 2*margin; lag++ {
		if e := envelope(lag); e > best {
			best, at = e, lag
		}
	}
	before := math.Sqrt(float64(envelope(at - 1)))
	after := math.Sqrt(float64(envelope(at + 1)))
	peak := math.Sqrt(float64(best))
	shift := 0.
	if bend := before - 2*peak + after; bend < 0 {
		shift = max(-0.5, min(0.5, 0.5*(before-after)/bend))
	}
	return float64(at-margin) + shift
}

// margin is how far around a found start refine looks.
func (t *template) margin() int { return 2*t.step + 4 }

// delaySpread estimates the root mean square delay spread, in samples, of the
// channel through which a preamble came, from samples that begin lead before it
// and go on for a while after it. It counts the paths that stand out: those
// less than 13 dB below the strongest, where the chirp's own sidelobes begin,
// and 10 dB above what the rest of the signal leaves in the correlator. A
// diffuse tail below that is not resolved.
func (d *detector) delaySpread(class int, x []float32, lead int) float64 {
	t := d.templates[class]
	x = x[:min(len(x), d.size)]
	lags := (len(x) - t.length) / t.step
	far := lags * 3 / 4
	if far < 1 || far == lags {
		return math.NaN()
	}
	clear(d.block[copy(d.block, x):])
	d.fft.Forward(d.spectrum, d.block)
	t.correlate(d.spectrum)
	var floor, peak float64
	for i, v := range t.match[:lags] {
		p := float64(norm(v))
		peak = max(peak, p)
		if i >= far {
			floor += p / float64(lags-far)
		}
	}
	var power, mean, square float64
	for i, v := range t.match[:far] {
		p := float64(norm(v))
		if p <= max(10*floor, peak/20) {
			continue
		}
		at := float64(i*t.step - lead)
		power += p
		mean += p * at
		square += p * at * at
	}
	if power == 0 {
		return math.NaN()
	}
	mean /= power
	return math.Sqrt(max(0, square/power-mean*mean))
}
