package sounding

import (
	"cmp"
	"math"
	"slices"

	"lightsong/modem"
	"lightsong/modem/dsp"
)

const (
	nearTime   = 0.005 // s before the direct wave that still belong to it
	echoReach  = 0.020 // s by which the direct wave may come before the strongest
	maxSkew    = 1e-3
	noiseFrom  = 1.3 // s before the sounding: where its noise is measured
	noiseTo    = 0.1
	shortNoise = 0.2 // s; less tells nothing

	prominent = 4.0  // energy of 5 ms of a deconvolved sweep over that of the others
	alike     = 0.12 // what two pieces of tones or speech do not reach by chance
)

// Reach is how many samples Find looks at from a start within its hop.
func (s *Sounding) Reach() int { return s.n }

// Hop is how many starts Find tries at a time.
func (s *Sounding) Hop() int { return s.n - s.lead - s.samples(sweepTime) }

// Find looks for a sweep that begins in the first Hop samples of x, which has up
// to Reach samples. at is where its strongest echo begins, to within the smear
// of clocks that differ.
func (s *Sounding) Find(x []float32) (at int, ok bool) {
	r := s.deconvolve(x[:min(len(x), s.n)], s.inverse)
	block := s.samples(0.005)
	r = r[:min(s.Hop()/block*block, len(x)/block*block)]
	best, all, count := 0.0, 0.0, 0
	for i := 0; i+block <= len(r); i += block {
		e := energy(r[i:][:block])
		all += e
		count++
		if e > best {
			best, at = e, i
		}
	}
	if count < 3 || !(best > prominent*(all-best)/float64(count-1)) {
		return 0, false
	}
	// The block before may hold the other half.
	from := max(0, at-block)
	return from + strongest(r[from:min(len(r), at+block)]), true
}

// deconvolve takes the sweep out of x, at most n samples: index k of the result
// is a delay of k samples, and late indices are negative delays.
func (s *Sounding) deconvolve(x []float32, inverse []complex64) []float32 {
	t := make([]float32, s.n)
	copy(t, x)
	fft := dsp.NewRealFFT(s.n)
	y := make([]complex64, s.n/2+1)
	fft.Forward(y, t)
	for k := range y {
		y[k] *= inverse[k]
	}
	fft.Inverse(t, y)
	return t
}

// response is the impulse response by the sweep that begins at sample at of x:
// index lead of the result is the delay 0.
func (s *Sounding) response(x []float32, at int) []float32 {
	return s.deconvolve(part(x, at-s.lead, at+s.steps), s.inverse)
}

// part is x[from:to], with zeros where x has nothing.
func part(x []float32, from, to int) []float32 {
	y := make([]float32, to-from)
	if a, b := max(from, 0), min(to, len(x)); a < b {
		copy(y[a-from:], x[a:b])
	}
	return y
}

func strongest(x []float32) (at int) {
	var peak float32
	for i, v := range x {
		if v = max(v, -v); v > peak {
			peak, at = v, i
		}
	}
	return at
}

// analysis is what Analyse works with.
type analysis struct {
	*Sounding
	Report
	x     []float32 // the recording
	y     []float32 // the same by the player's clock; index s.lead is where Find saw the sweep
	a, b  []float32 // impulse responses by the two sweeps
	mean  []float32 // of both, where they are alike
	soft  []float32 // mean with soft edges of the band: for what is looked at in time
	noise float64   // of one sample of soft, power
	floor float64   // of one sample of mean, power
	at    int       // of the direct wave in a, b, mean, soft
	end   int       // of what is more than noise in soft
}

// Analyse measures the sounding of which Find saw the first sweep at sample at of
// the recording x. Noise is measured in what x has before at, best a second or
// more. False means that there is no second sweep where it should be: that was no
// sounding, or the path swallows sound that it knows. The Report is valid even
// then, as far as one sweep tells.
func (s *Sounding) Analyse(x []float32, at int) (Report, bool) {
	w := &analysis{Sounding: s, x: x}
	nan := Value(math.NaN())
	w.Report = Report{
		Start: nan, PeakDBFS: nan, SignalDBFS: nan, NoiseDBFS: nan, ClipDBFS: nan, SilentShare: nan, DCOffset: nan,
		GainDB: nan, SNRdB: nan, RT60: nan, RT60Span: nan, DRRdB: nan, EchoMS: nan, EchoDB: nan, Harmonic: [2]Value{nan, nan},
		SkewPPM: nan, Alike: nan, SweepDB: nan, GainSD: nan, ModelSNR: nan,
	}
	w.clocks(at)
	w.levels(at)
	w.room()
	w.bands(at)
	w.harmonics()
	w.gains()
	return w.Report, w.Alike > alike
}

// clocks finds the skew, puts the recording right and makes the impulse responses.
func (w *analysis) clocks(at int) {
	s := w.Sounding
	far := s.second
	a, b := s.response(w.x, at), s.response(w.x, at+far)
	lag, same, ratio := s.compare(a, b, int(maxSkew*float64(far)))
	skew := 0.0
	if same > alike {
		skew = float64(far)/(float64(far)+lag) - 1
		w.SkewPPM = Value(1e6 * skew)
		w.SweepDB = Value(20 * math.Log10(max(ratio, 1e-6)))
	}
	w.Alike = Value(same)
	w.y = make([]float32, s.lead+s.total)
	step := 1 / (1 + skew)
	dsp.NewInterpolator().Read(w.y, w.x, float64(at)-float64(s.lead)*step, step)
	w.a, w.b = s.response(w.y, s.lead), s.response(w.y, s.lead+far)
	w.mean = w.a
	if same > 0.5 && math.Abs(20*math.Log10(ratio)) < 1 {
		w.mean = make([]float32, len(w.a))
		for i := range w.mean {
			w.mean[i] = (w.a[i] + w.b[i]) / 2
		}
	}
	w.soft = s.soften(w.mean)

	// The direct wave is the first that is as strong as a quarter of the strongest.
	reach := s.samples(echoReach)
	from := max(0, s.lead-2*reach)
	peak := from + strongest(w.soft[from:s.lead+2*reach])
	w.at = peak
	for i := max(0, peak-reach); i < peak; i++ {
		if v := w.soft[i]; max(v, -v) > max(w.soft[peak], -w.soft[peak])/4 {
			w.at = i + strongest(w.soft[i:min(peak+1, i+4)])
			break
		}
	}
	w.Start = Value(float64(at) + (float64(w.at-s.lead)+summit(w.soft, w.at))*step)

	// Before the direct wave there is nothing but noise: beyond the second to
	// sixth harmonic.
	quiet := w.quiet()
	w.noise, w.floor = power(w.soft[quiet[0]:quiet[1]]), power(w.mean[quiet[0]:quiet[1]])
}

// quiet is the range of the impulse responses that holds noise alone.
func (w *analysis) quiet() [2]int {
	return [2]int{w.lead - w.samples(0.95*leadTime), w.lead - w.samples(0.48*leadTime)}
}

// summit is where between the samples a peak at x[i] lies, −0.5…0.5.
func summit(x []float32, i int) float64 {
	if i < 1 || i+1 >= len(x) {
		return 0
	}
	a, b, c := math.Abs(float64(x[i-1])), math.Abs(float64(x[i])), math.Abs(float64(x[i+1]))
	if d := a - 2*b + c; d < 0 {
		return max(-0.5, min(0.5, 0.5*(a-c)/d))
	}
	return 0
}

// soften gives an impulse response soft edges, so that it rings for milliseconds
// only.
func (s *Sounding) soften(x []float32) []float32 {
	fft := dsp.NewRealFFT(s.n)
	y := make([]complex64, s.n/2+1)
	fft.Forward(y, x)
	for k, w := range s.weights(250, 750, 0.2*float64(s.rate), s.high) {
		y[k] *= complex(w, 0)
	}
	z := make([]float32, s.n)
	fft.Inverse(z, y)
	return z
}

// compare finds by how many samples, at most reach, b is behind a, how alike they
// are then (0…1), and by what factor b is stronger.
func (s *Sounding) compare(a, b []float32, reach int) (lag, same, ratio float64) {
	n := powerOfTwo(s.samples(0.4))
	from := max(0, s.lead-s.samples(0.1))
	fft := dsp.NewRealFFT(n)
	ya, yb := make([]complex64, n/2+1), make([]complex64, n/2+1)
	fft.Forward(ya, a[from:][:n])
	fft.Forward(yb, b[from:][:n])
	for k := range ya {
		v := ya[k]
		ya[k] = complex(real(v), -imag(v)) * yb[k]
	}
	c := make([]float32, n)
	fft.Inverse(c, ya)
	reach = min(reach, n/2-2)
	best := -reach
	for l := -reach; l <= reach; l++ {
		if c[(l+n)%n] > c[(best+n)%n] {
			best = l
		}
	}
	// Between the samples: the maximum of the cross-correlation itself.
	value := func(lag float64) float64 {
		var sum float64
		re, im := 1.0, 0.0
		stepIm, stepRe := math.Sincos(2 * math.Pi * lag / float64(n))
		for k, v := range ya {
			if k%512 == 0 {
				im, re = math.Sincos(2 * math.Pi * lag / float64(n) * float64(k))
			}
			sum += float64(real(v))*re - float64(imag(v))*im
			re, im = re*stepRe-im*stepIm, re*stepIm+im*stepRe
		}
		return 2 * sum / float64(n)
	}
	low, high := float64(best)-1, float64(best)+1
	for range 40 {
		third := (high - low) / 3
		if value(low+third) < value(high-third) {
			low += third
		} else {
			high -= third
		}
	}
	lag = (low + high) / 2
	top := value(lag)
	// What is noise in the energies was measured before the direct wave.
	quiet := [2]int{s.lead - s.samples(0.95*leadTime), s.lead - s.samples(0.48*leadTime)}
	of := func(x []float32) (all, clean float64) {
		all = energy(x[from:][:n])
		return all, max(all-float64(n)*power(x[quiet[0]:quiet[1]]), 1e-3*all)
	}
	allA, cleanA := of(a)
	allB, _ := of(b)
	if allA == 0 || allB == 0 || top <= 0 {
		return lag, 0, 0
	}
	return lag, top / math.Sqrt(allA*allB), top / cleanA
}

// levels measures what does not need the clocks.
func (w *analysis) levels(at int) {
	s := w.Sounding
	before := w.x[max(0, min(len(w.x), at-s.samples(noiseFrom))):max(0, min(len(w.x), at-s.samples(noiseTo)))]
	if len(before) >= s.samples(shortNoise) {
		var sum float64
		zeros := 0
		for _, v := range before {
			sum += float64(v)
			if v == 0 {
				zeros++
			}
		}
		mean := sum / float64(len(before))
		w.DCOffset = Value(mean)
		w.SilentShare = Value(float64(zeros) / float64(len(before)))
		w.NoiseDBFS = Value(decibels(power(before) - mean*mean))
	}
	heard := w.x[max(0, min(len(w.x), at)):max(0, min(len(w.x), at+s.total))]
	if len(heard) == 0 {
		return
	}
	w.PeakDBFS = Value(20 * math.Log10(max(math.Abs(float64(heard[strongest(heard)])), 1e-9)))
	w.SignalDBFS = Value(decibels(power(w.x[min(len(w.x), at+s.steady):min(len(w.x), at+s.steady+s.samples(steadyTime))])))
	var limit float32
	w.Clipped, limit = clipped(heard)
	if w.Clipped > 0 {
		w.ClipDBFS = Value(20 * math.Log10(float64(limit)))
	}
	for _, p := range [][2]int{{s.steps, s.steady - s.samples(stepQuiet)}, {s.steady, s.steady + s.samples(steadyTime)}} {
		w.Holes += holes(part(w.x, at+p[0], at+p[1]), s.samples(0.002))
	}
}

func decibels(power float64) float64 { return 10 * math.Log10(max(power, 1e-15)) }

// holes counts the runs of at least n zeros.
func holes(x []float32, n int) (count int) {
	run := 0
	for _, v := range x {
		if v != 0 {
			run = 0
			continue
		}
		if run++; run == n {
			count++
		}
	}
	return count
}

// clipped counts the samples at a limit, that of each polarity by itself: where
// waves are cut off there are many more samples in the highest 2⁻¹² of the
// amplitudes than in the 2⁻¹² below. Near the top of a sine they are 2.4 times as
// many, of noise hardly more.
func clipped(x []float32) (count int, limit float32) {
	for _, sign := range []float32{1, -1} {
		var top float32
		for _, v := range x {
			top = max(top, sign*v)
		}
		if top < 1e-4 {
			continue
		}
		width := max(top/4096, 1.5/32768) // a converter of 16 bit has steps
		high, below := 0, 0
		for _, v := range x {
			switch d := top - sign*v; {
			case d <= width:
				high++
			case d <= 2*width:
				below++
			}
		}
		if full := top >= 0.9999; high >= 20 && high > 6*below || full && high > 3 && high > 2*below {
			count += high
			limit = max(limit, top)
		}
	}
	return count, limit
}

// gains compares the noises with what the impulse response foretells.
func (w *analysis) gains() {
	s := w.Sounding
	from, to := max(0, w.at-s.samples(nearTime)), max(w.end, w.at+s.samples(nearTime))
	h := w.mean[from:to]
	delay := from - s.lead
	whole := s.Append(make([]float32, 0, s.total))
	played := whole[s.steps:s.second]
	foretold := convolve(played, h)
	heard := part(w.y, s.lead+s.steps+delay, s.lead+s.steps+delay+len(foretold))

	type gain struct{ g, sd float64 }
	measure := func(at, n int) (gain, float64, float64) {
		p, y := foretold[at:][:n], heard[at:][:n]
		var py, pp, yy, mean float64
		for _, v := range y {
			mean += float64(v) / float64(n) // a constant offset is no noise
		}
		for i := range p {
			v := float64(y[i]) - mean
			py += float64(p[i]) * v
			pp += float64(p[i]) * float64(p[i])
			yy += v * v
		}
		if pp == 0 {
			return gain{math.NaN(), math.NaN()}, 0, 0
		}
		g := py / pp
		rest := max(0, yy-g*py)
		// In dB the standard deviation of an amplitude is 8.7 times its share.
		return gain{g, 8.686 * math.Sqrt(rest/pp/float64(n)) / max(math.Abs(g), 1e-6)}, g * py, rest
	}
	back := -delay + w.at - s.lead // the direct wave's place in foretold
	all := make([]float64, 0, 64)
	steps := make([]gain, len(stepLevels))
	for i := range stepLevels {
		n := s.samples(stepTime)
		// Its beginning is the room's memory of the one before.
		skip := s.samples(0.05)
		steps[i], _, _ = measure(back+i*n+skip, n-skip)
		all = append(all, steps[i].g)
	}
	block := s.samples(0.1)
	steady := make([]gain, 0, int(steadyTime*10))
	var known, rest, sd float64
	for at := back + s.steady - s.steps + block/2; at+block <= back+s.steady-s.steps+s.samples(steadyTime); at += block {
		g, k, r := measure(at, block)
		steady = append(steady, g)
		known, rest, sd = known+k, rest+r, sd+g.sd
		all = append(all, g.g)
	}
	if rest > 0 {
		w.ModelSNR = Value(10 * math.Log10(max(known/rest, 1e-2)))
	}
	slices.Sort(all)
	middle := all[len(all)/2]
	if !(middle > 0) {
		return
	}
	relative := func(g float64) Value { return Value(20 * math.Log10(max(g/middle, 1e-3))) }
	for i, g := range steps {
		w.Steps = append(w.Steps, Step{LevelDB: stepLevels[i], GainDB: relative(g.g), SD: Value(g.sd)})
	}
	for _, g := range steady {
		w.Steady = append(w.Steady, relative(g.g))
	}
	w.GainSD = Value(sd / float64(len(steady)))
}

// convolve is the whole convolution of two sequences.
func convolve(x, h []float32) []float32 {
	m := len(x) + len(h) - 1
	n := powerOfTwo(m)
	fft := dsp.NewRealFFT(n)
	a, b := make([]complex64, n/2+1), make([]complex64, n/2+1)
	t := make([]float32, n)
	copy(t, x)
	fft.Forward(a, t)
	clear(t)
	copy(t, h)
	fft.Forward(b, t)
	for k := range a {
		a[k] *= b[k]
	}
	fft.Inverse(t, a)
	return t[:m]
}

// harmonics measures the second and third, whose impulse responses come before the
// direct wave: by the time that the sweep takes from f to 2f or 3f.
func (w *analysis) harmonics() {
	s := w.Sounding
	length := min(max(w.end-w.at, s.samples(nearTime)), s.samples(0.08))
	near := s.samples(nearTime) / 2
	within := func(at int) float64 { return energy(w.soft[max(0, at-near):][:near+length]) }
	linear := within(w.at) - w.noise*float64(near+length)
	if !(linear > 0) {
		return
	}
	for i := range w.Harmonic {
		at := w.at - int(math.Round(s.growth()*math.Log(float64(i+2))))
		noise := w.noise * float64(near+length)
		// Noise energy of n samples scatters by √(2/n) of itself.
		if e := within(at) - noise; e > 5*noise*math.Sqrt(2/float64(near+length)) {
			w.Harmonic[i] = Value(10 * math.Log10(e/linear))
		}
	}
}

// bands measures spectra.
func (w *analysis) bands(at int) {
	s := w.Sounding
	// The path's power in each bin, less what noise adds to it.
	from, to := max(0, w.at-s.samples(nearTime)), max(w.end, w.at+s.samples(nearTime))
	h := make([]float32, s.n)
	copy(h, w.mean[from:to])
	quiet := w.quiet()
	length := min(quiet[1]-quiet[0], to-from)
	none := make([]float32, s.n)
	copy(none, w.mean[quiet[0]:][:length])
	fft := dsp.NewRealFFT(s.n)
	yh, yn := make([]complex64, s.n/2+1), make([]complex64, s.n/2+1)
	fft.Forward(yh, h)
	fft.Forward(yn, none)
	longer := float64(to-from) / float64(length)
	squared := func(v complex64) float64 {
		return float64(real(v))*float64(real(v)) + float64(imag(v))*float64(imag(v))
	}
	path := func(low, high float64) float64 {
		var sum, count float64
		for k := max(1, int(math.Ceil(low*float64(s.n)/float64(s.rate)))); k < s.n/2 && float64(k)*float64(s.rate) < high*float64(s.n); k++ {
			if s.flat[k] > 0.99 {
				sum += squared(yh[k]) - longer*squared(yn[k])
				count++
			}
		}
		if count == 0 {
			return math.NaN()
		}
		return sum / count
	}
	low, high := s.Band()
	sent := math.Pow(10, modem.LevelDBFS/10)
	gain := path(low, high)
	if gain > 0 {
		w.GainDB = Value(10 * math.Log10(gain))
	}
	noise := w.noiseSpectrum(at)
	var all float64
	for _, v := range noise {
		all += v
	}
	if gain > 0 && all > 0 {
		w.SNRdB = Value(10 * math.Log10(gain*sent/all))
	}
	spacing := float64(s.rate) / noiseBins
	for third := -40; third < 20; third++ {
		middle := 1000 * math.Pow(2, float64(third)/3)
		lowest, highest := middle*math.Pow(2, -1.0/6), middle*math.Pow(2, 1.0/6)
		if lowest < 2*low || highest > high { // lower ones ring for longer than the window of a dry path
			continue
		}
		nan := Value(math.NaN())
		b := Band{Hz: middle, ResponseDB: nan, NoiseDBFS: nan, SNRdB: nan}
		p := path(lowest, highest)
		if p > 0 {
			b.ResponseDB = Value(10 * math.Log10(p))
		}
		if n := noiseBetween(noise, lowest/spacing, highest/spacing); n > 0 {
			b.NoiseDBFS = Value(10 * math.Log10(n))
			if p > 0 {
				b.SNRdB = Value(10 * math.Log10(p*sent*(highest-lowest)/(high-low)/n))
			}
		}
		w.Bands = append(w.Bands, b)
	}
	w.Spacing = spacing
	for k := range noise {
		f := float64(k) * spacing
		w.Noise = append(w.Noise, float32(decibels(noise[k])))
		p := path(f-spacing/2, f+spacing/2)
		if !(p > 0) || f < low || f > high {
			p = 0
		}
		w.Signal = append(w.Signal, float32(decibels(p*sent*spacing/(high-low))))
	}
}

const noiseBins = 2048

// noiseSpectrum is the power of the noise before the sounding in each of
// noiseBins/2+1 bins, by Welch's method (1967): Hann windows that overlap by half.
func (w *analysis) noiseSpectrum(at int) []float64 {
	s := w.Sounding
	before := w.x[max(0, min(len(w.x), at-s.samples(noiseFrom))):max(0, min(len(w.x), at-s.samples(noiseTo)))]
	if len(before) < s.samples(shortNoise) || len(before) < noiseBins {
		return nil
	}
	fft := dsp.NewRealFFT(noiseBins)
	y := make([]complex64, noiseBins/2+1)
	t := make([]float32, noiseBins)
	p := make([]float64, noiseBins/2+1)
	var mean float64
	for _, v := range before {
		mean += float64(v) / float64(len(before))
	}
	count := 0.0
	for from := 0; from+noiseBins <= len(before); from += noiseBins / 2 {
		for i := range t {
			t[i] = (before[from+i] - float32(mean)) * float32(0.5-0.5*math.Cos(2*math.Pi*(float64(i)+0.5)/noiseBins))
		}
		fft.Forward(y, t)
		for k, v := range y {
			p[k] += float64(real(v))*float64(real(v)) + float64(imag(v))*float64(imag(v))
		}
		count++
	}
	for k := range p {
		p[k] *= 2 / (count * noiseBins * noiseBins * 3 / 8)
		if k == 0 || k == noiseBins/2 {
			p[k] /= 2
		}
	}
	return p
}

// noiseBetween is the power between two fractional bins.
func noiseBetween(p []float64, low, high float64) (sum float64) {
	for k := range p {
		a, b := float64(k)-0.5, float64(k)+0.5
		if share := min(b, high) - max(a, low); share > 0 {
			sum += share * p[k]
		}
	}
	return sum
}

// room reads the decay.
func (w *analysis) room() {
	s := w.Sounding
	last := min(len(w.soft), s.lead+s.samples(sweepQuiet*0.95))
	block := s.samples(0.005)
	// The end is behind the last 25 ms that are twice as loud as noise, or, where it
	// was quiet before, four times: an echo by itself.
	w.end = w.at
	for i := w.at; i+5*block <= last; i += block {
		over := 2.0
		if i > w.end {
			over = 4
		}
		if energy(w.soft[i:][:5*block]) > over*w.noise*float64(5*block) {
			w.end = i + 5*block
		}
	}
	near := s.samples(nearTime)
	from := max(0, w.at-near)
	w.Lead = w.at - from
	w.Impulse = w.soft[from:max(w.end, w.at+near)]
	direct := s.samples(0.0025)
	if w.end-w.at < 2*near {
		// Nothing but the direct wave.
		w.RT60, w.RT60Span = 0, 30
		if energy(w.soft[max(0, w.at-direct):w.at+direct]) < 100*w.noise*float64(2*direct) {
			w.RT60, w.RT60Span = Value(math.NaN()), Value(math.NaN()) // too weak to tell
		}
		return
	}
	decay, rt60, span := w.decay()
	w.Decay, w.RT60, w.RT60Span = decay, Value(rt60), Value(span)
	first := energy(w.soft[max(0, w.at-direct):w.at+direct]) - w.noise*float64(2*direct)
	rest := energy(w.soft[w.at+direct:w.end]) - w.noise*float64(w.end-w.at-direct)
	if first > 0 && rest > 0 {
		w.DRRdB = Value(10 * math.Log10(first/rest))
	}
	w.echo(first)
}

// decay integrates the energy backwards from the end, with what noise added taken
// out and what lies behind the end put in (ISO 3382-2:2008, 5.3.3), and reads the
// reverberation time from the widest of three spans that is above the noise.
func (w *analysis) decay() (curve []float32, rt60, span float64) {
	s := w.Sounding
	h := w.Impulse
	tail := w.soft[max(w.at, w.end-s.samples(0.025)):w.end]
	atEnd := max(power(tail)-w.noise, 0)
	curve = make([]float32, len(h))
	rt60, span = math.NaN(), math.NaN()
	behind := 0.0
	for range 4 {
		sum := behind
		for i := len(h) - 1; i >= 0; i-- {
			sum += float64(h[i])*float64(h[i]) - w.noise
			curve[i] = float32(max(sum, 1e-30))
		}
		top := float64(curve[w.Lead])
		for i, v := range curve {
			curve[i] = float32(10 * math.Log10(float64(v)/top))
		}
		// The last 3 dB above what was put in are too uncertain.
		reach := -float64(curve[len(curve)-1-len(tail)/2])
		rt60, span = math.NaN(), math.NaN()
		for _, want := range []float64{30, 20, 10} {
			if 5+want <= reach {
				rt60, span = s.slope(curve[w.Lead:], -5, -5-want), want
				break
			}
		}
		if math.IsNaN(rt60) {
			return curve, rt60, span
		}
		if rt60 < 0.02 {
			return curve, 0, span
		}
		behind = atEnd * rt60 * float64(s.rate) / (6 * math.Ln10)
	}
	return curve, rt60, span
}

// slope is the time of 60 dB by the straight line that fits best between two
// levels in dB.
func (s *Sounding) slope(curve []float32, high, low float64) float64 {
	var n, x, y, xx, xy float64
	for i, v := range curve {
		if v := float64(v); v <= high && v >= low {
			t := float64(i)
			n, x, y, xx, xy = n+1, x+t, y+v, xx+t*t, xy+t*v
		}
	}
	if d := n*xx - x*x; n > 1 && d > 0 {
		if m := (n*xy - x*y) / d; m < 0 {
			return -60 / m / float64(s.rate)
		}
	}
	return 0 // it falls at once
}

// echo looks for 2 ms that stand out by 10 dB of the 60 ms around them.
func (w *analysis) echo(direct float64) {
	s := w.Sounding
	block := s.samples(0.002)
	first := w.at + s.samples(0.005)
	var levels []float64
	for i := first; i+block <= w.end; i += block / 2 {
		levels = append(levels, energy(w.soft[i:][:block])-w.noise*float64(block))
	}
	const around = 30 // blocks of 1 ms on either side
	best := 0.0
	var near []float64
	for i, e := range levels {
		near = near[:0]
		for k := max(0, i-around); k < min(len(levels), i+around+1); k++ {
			if k < i-2 || k > i+2 {
				near = append(near, levels[k])
			}
		}
		if len(near) < 3 {
			continue
		}
		slices.SortFunc(near, cmp.Compare[float64])
		usual := max(near[len(near)/2], w.noise*float64(block))
		if e > 10*usual && e > best && e > 1e-4*direct {
			best = e
			from := first + i*(block/2)
			w.EchoMS = Value(1e3 * float64(from+strongest(w.soft[from:][:block])-w.at) / float64(s.rate))
			w.EchoDB = Value(10 * math.Log10(e/direct))
		}
	}
}
