package ofdm

import (
	"math"
	"math/bits"

	"lightsong/modem/dsp"
)

// Listening is what a station does all day, so it is done in two steps. A sketch
// correlates with the lower half of the chirp at half the sample rate, which costs
// a third; what stands out is looked at with all of the chirp. Half the chirp is
// worth 3 dB less; for that the sketch believes what is half as likely in dB.

// suspicion is how far, in mean squares of its neighbourhood, the correlation must
// stand out: in noise one lag in 130 000.
const suspicion = 20

// neighbourhood is how many lags the mean square is taken of, at least.
const neighbourhood = 256

// besides is how far from its greatest value the correlation with a chirp is its own, in lags: the main
// lobe and the first sidelobes.
const besides = 4

// near and far are the weights of the two lags around a moment half-way between two, and of the next
// ones: sinc.
const (
	near = 2 / math.Pi
	far  = near / 3
)

// leastBand is the share of a profile's band that a sketch must have.
const leastBand = 0.45

// thinnerFor is the filter of the profile's sketches: to the lowest rate, down to a
// quarter, that keeps enough of the band. nil: there is none.
func thinnerFor(p *profile, s scale) *dsp.Thinner {
	lo, hi := p.classes[0].lo, p.classes[0].hi
	for every := 4; every >= 2; every /= 2 {
		top := min(hi, 0.44*baseRate*s.ratio/float64(every))
		if top-lo >= leastBand*(hi-lo) {
			return dsp.NewThinner(every*s.times, top/(baseRate*s.ratio*float64(s.times)))
		}
	}
	return nil
}

// sketch looks for a chirp roughly, in thinned samples.
type sketch struct {
	thin   *dsp.Thinner
	l, n   int // of the template and a block, thinned samples
	behind int // device samples from the chirp's start to the template's
	lo, hi int // bins
	fft    *dsp.RealFFT
	match  []complex64

	spectrum []complex64
	corr     []float32
}

// newSketch makes the sketch of the chirp x; lo is where the band begins, as a
// share of the device's rate.
func newSketch(x []float32, thin *dsp.Thinner, lo float64) *sketch {
	s := &sketch{thin: thin}
	every, reach := thin.Every(), thin.Reach()
	padded := make([]float32, len(x)+2*reach)
	copy(padded[reach:], x)
	y := thin.Append(nil, padded) // output i lies at sample i·every of the chirp
	var all, sum float64
	for _, v := range y {
		all += float64(v) * float64(v)
	}
	from, to := 0, len(y)
	for i, v := range y {
		if sum < 0.002*all {
			from = i
		}
		if sum += float64(v) * float64(v); sum > 0.998*all {
			to = i + 1
			break
		}
	}
	y = y[from:to]
	s.l, s.behind = len(y), from*every
	s.n = 1 << bits.Len(uint(2*s.l-1))
	s.fft = dsp.NewRealFFT(s.n)
	s.match = make([]complex64, s.n/2+1)
	s.spectrum = make([]complex64, s.n/2+1)
	s.corr = make([]float32, s.n)
	copy(s.corr, y)
	s.fft.Forward(s.match, s.corr)
	s.lo, s.hi = int(lo*float64(every*s.n)), s.n*49/100
	for k, v := range s.match {
		s.match[k] = complex(real(v), -imag(v))
	}
	return s
}

// hop is how many starts a block covers.
func (s *sketch) hop() int { return (s.n - s.l) * s.thin.Every() }

// scan looks at a block. ok tells that a chirp may be there, lag thinned samples
// into the block.
func (s *sketch) scan(x []float32) (lag int, ok bool) {
	s.fft.Forward(s.spectrum, x)
	clear(s.spectrum[:s.lo])
	clear(s.spectrum[s.hi+1:])
	for k := s.lo; k <= s.hi; k++ {
		a, b := s.spectrum[k], s.match[k]
		s.spectrum[k] = complex(real(a)*real(b)-imag(a)*imag(b), real(a)*imag(b)+imag(a)*real(b))
	}
	s.fft.Inverse(s.corr, s.spectrum)
	lags := s.corr[:s.n-s.l+1]
	parts := max(1, len(lags)/neighbourhood)
	best := float32(suspicion)
	for p := range parts {
		from, to := p*len(lags)/parts, (p+1)*len(lags)/parts
		var sum, most float32
		at := from
		for i := from; i < to; i++ {
			v := lags[i] * lags[i]
			sum += v
			if i > 0 && i+2 < len(lags) {
				// A chirp that begins between two lags has up to 3 dB less at either.
				w := near*(lags[i]+lags[i+1]) - far*(lags[i-1]+lags[i+2])
				v = max(v, w*w)
			}
			if v > most {
				most, at = v, i
			}
		}
		// What stands out is not measured by itself: among few lags a chirp would not stand out of its own mean.
		left, right := max(from, at-besides), min(to, at+besides+1)
		for _, v := range lags[left:right] {
			sum -= v * v
		}
		mean := sum / float32(to-from-(right-left))
		if mean < 1e-30 || most <= best*mean {
			continue
		}
		best, lag, ok = most/mean, at, true
	}
	return lag, ok
}

// thinned are thinned samples of the channels of a stream, made as they are asked for.
type thinned struct {
	thin   *dsp.Thinner
	at     int64 // number of the device sample that those at 0 stand for
	x      [2][]float32
	padded []float32
}

// restart forgets everything and goes on at device sample n.
func (t *thinned) restart(n int64) {
	t.at = n
	for c := range t.x {
		t.x[c] = t.x[c][:0]
	}
}

// fill makes all that channel c of the stream, samples from number origin on,
// allows. Before origin it was silent.
func (t *thinned) fill(c int, samples []float32, origin int64) {
	every, reach := int64(t.thin.Every()), t.thin.Reach()
	next := t.at + int64(len(t.x[c]))*every
	if from := next - int64(reach) - origin; from >= 0 {
		if from < int64(len(samples)) {
			t.x[c] = t.thin.Append(t.x[c], samples[from:])
		}
		return
	}
	// The few that reach beyond the beginning.
	pad := int(origin + int64(reach) - next)
	t.padded = resize(t.padded, pad)
	clear(t.padded)
	t.padded = append(t.padded, samples[:min(len(samples), 2*reach+1)]...)
	t.x[c] = t.thin.Append(t.x[c], t.padded)
	if len(samples) > 2*reach {
		t.fill(c, samples, origin)
	}
}

// forget drops what lies before device sample n.
func (t *thinned) forget(n int64) {
	drop := int((n - t.at) / int64(t.thin.Every()))
	if drop < 1<<13 {
		return
	}
	drop = min(drop, len(t.x[0]))
	t.at += int64(drop * t.thin.Every())
	for c, x := range t.x {
		if len(x) > 0 {
			t.x[c] = x[:copy(x, x[drop:])]
		}
	}
}
