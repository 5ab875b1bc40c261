package sounding

import (
	"fmt"
	"math"

	"lightsong/modem"
	"lightsong/modem/dsp"
)

// The signal's parts, in seconds.
const (
	sweepTime  = 1.5
	sweepQuiet = 1.5 // after each sweep: the reverberation
	stepTime   = 0.3
	stepQuiet  = 0.3
	steadyTime = 4.0
	steadyGap  = 1.0
	fadeTime   = 0.01

	leadTime = 1.0 // of what is looked at before a sweep: the harmonics' responses, and noise
)

// Levels of the noise steps, dB against the rest. The first and the last are
// alike, and so are two of those between: a gain that follows the level can be
// told from one that drifts.
var stepLevels = [...]float64{0, -6, -18, -12, -18, 0}

// MinRate and MaxRate bound the sample rate, in Hz.
const (
	MinRate = 8000
	MaxRate = 192000
)

// Sounding is the test signal at a sample rate. It never changes after New.
type Sounding struct {
	rate  int
	low   float64 // Hz, where the sweep begins
	high  float64 // Hz, where it ends
	sweep []float32
	noise []float32 // one period of the steady noise, RMS 1

	// Where the parts begin, in samples.
	steps, steady, second, total int

	n       int         // length of the transforms
	lead    int         // samples before a sweep that are transformed with it
	inverse []complex64 // of the sweep's spectrum, with the band's edges
	flat    []float32   // weights of the band in which everything is measured
}

// New makes the sounding for a sample rate in Hz.
func New(rate int) (*Sounding, error) {
	if rate < MinRate || rate > MaxRate {
		return nil, fmt.Errorf("sounding: a sample rate of %d Hz: must be %d to %d", rate, MinRate, MaxRate)
	}
	s := &Sounding{rate: rate, low: 50, high: min(21500, 0.448*float64(rate))}
	s.steps = s.samples(sweepTime + sweepQuiet)
	s.steady = s.steps + len(stepLevels)*s.samples(stepTime) + s.samples(stepQuiet)
	s.second = s.steady + s.samples(steadyTime) + s.samples(steadyGap)
	s.total = s.second + s.samples(sweepTime+sweepQuiet)
	s.lead = s.samples(leadTime)
	s.n = powerOfTwo(s.lead + s.steps)
	s.makeSweep()
	s.makeNoise()
	return s, nil
}

func powerOfTwo(n int) int {
	p := 8
	for p < n {
		p *= 2
	}
	return p
}

// Rate is the sample rate in Hz.
func (s *Sounding) Rate() int { return s.rate }

// Samples is the length of the signal.
func (s *Sounding) Samples() int { return s.total }

// Band is the band in Hz in which Analyse measures.
func (s *Sounding) Band() (low, high float64) { return 1.6 * s.low, 0.955 * s.high }

// samples is a number of seconds in samples.
func (s *Sounding) samples(seconds float64) int { return int(math.Round(seconds * float64(s.rate))) }

// Append appends the signal, at modem.LevelDBFS, to dst: Samples samples.
func (s *Sounding) Append(dst []float32) []float32 {
	at := len(dst)
	dst = append(dst, make([]float32, s.total)...)
	x := dst[at:]
	copy(x, s.sweep)
	copy(x[s.second:], s.sweep)
	level := math.Pow(10, modem.LevelDBFS/20)
	step := s.samples(stepTime)
	for i, db := range stepLevels {
		s.fill(x[s.steps+i*step:][:step], i*step, level*math.Pow(10, db/20))
	}
	s.fill(x[s.steady:][:s.samples(steadyTime)], 0, level)
	return dst
}

// fill writes noise from sample at of its period on.
func (s *Sounding) fill(x []float32, at int, level float64) {
	for i := range x {
		x[i] = float32(level) * s.noise[(at+i)%len(s.noise)]
	}
	s.fade(x)
}

// fade lets both ends begin and end softly.
func (s *Sounding) fade(x []float32) {
	n := s.samples(fadeTime)
	for i := range n {
		w := float32(0.5 - 0.5*math.Cos(math.Pi*(float64(i)+0.5)/float64(n)))
		x[i] *= w
		x[len(x)-1-i] *= w
	}
}

// growth is the time in samples in which the sweep's frequency grows by e.
func (s *Sounding) growth() float64 {
	return sweepTime * float64(s.rate) / math.Log(s.high/s.low)
}

// makeSweep makes the exponential sweep, sin(2π·low·G·(exp(t/G) − 1)), and what
// undoes it.
func (s *Sounding) makeSweep() {
	n := s.samples(sweepTime)
	g := s.growth()
	amplitude := math.Sqrt2 * math.Pow(10, modem.LevelDBFS/20)
	s.sweep = make([]float32, n)
	for i := range s.sweep {
		turns := s.low / float64(s.rate) * g * math.Expm1(float64(i)/g)
		s.sweep[i] = float32(amplitude * math.Sin(2*math.Pi*(turns-math.Floor(turns))))
	}
	s.fade(s.sweep)

	x := make([]float32, s.n)
	copy(x, s.sweep)
	s.inverse = make([]complex64, s.n/2+1)
	dsp.NewRealFFT(s.n).Forward(s.inverse, x)
	low, high := s.Band()
	s.flat = s.weights(s.low, low, high, s.high)
	for k, v := range s.inverse {
		if s.flat[k] == 0 {
			s.inverse[k] = 0
			continue
		}
		p := real(v)*real(v) + imag(v)*imag(v)
		s.inverse[k] = complex(real(v)/p*s.flat[k], -imag(v)/p*s.flat[k])
	}
}

// weights are those of a band in the bins of a transform, with raised-cosine
// edges between the outer and the inner frequencies in Hz.
func (s *Sounding) weights(outerLow, low, high, outerHigh float64) []float32 {
	w := make([]float32, s.n/2+1)
	for k := range w {
		f := float64(k) * float64(s.rate) / float64(s.n)
		edge := 1.0
		switch {
		case f <= outerLow || f >= outerHigh:
			edge = 0
		case f < low:
			edge = (f - outerLow) / (low - outerLow)
		case f > high:
			edge = (outerHigh - f) / (outerHigh - high)
		}
		w[k] = float32(0.5 - 0.5*math.Cos(math.Pi*edge))
	}
	return w
}

// makeNoise makes noise that is white in the band of Analyse and whose peaks are
// low: in turn its peaks are cut off and what that adds outside the band is taken
// out.
func (s *Sounding) makeNoise() {
	const (
		rounds = 12
		crest  = 1.6
	)
	n := powerOfTwo(s.rate)
	x := make([]float32, n)
	seed := uint64(0x9e3779b97f4a7c15)
	for i := range x {
		// xorshift64 (Marsaglia, 2003)
		seed ^= seed << 13
		seed ^= seed >> 7
		seed ^= seed << 17
		x[i] = float32(int32(seed>>32)) / (1 << 31)
	}
	fft := dsp.NewRealFFT(n)
	y := make([]complex64, n/2+1)
	low, high := s.Band()
	for round := range rounds {
		fft.Forward(y, x)
		for k, v := range y {
			// Every bin inside as strong as every other.
			f := float64(k) * float64(s.rate) / float64(n)
			p := math.Hypot(float64(real(v)), float64(imag(v)))
			if f < low || f > high || p == 0 {
				y[k] = 0
				continue
			}
			y[k] = complex(float32(float64(real(v))/p), float32(float64(imag(v))/p))
		}
		fft.Inverse(x, y)
		rms := float32(math.Sqrt(power(x)))
		for i, v := range x {
			x[i] = v / rms
			if round < rounds-1 {
				x[i] = max(-crest, min(crest, x[i]))
			}
		}
	}
	s.noise = x
}

// power is the mean square of x, 0 of nothing.
func power(x []float32) float64 {
	if len(x) == 0 {
		return 0
	}
	return energy(x) / float64(len(x))
}

func energy(x []float32) float64 {
	var sum float64
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return sum
}
