package ofdm

import (
	"math"

	"lightsong/modem/dsp"
)

// The channel of a block burst is its impulse response, estimated from
// everything that is known of the burst at once: the samples of chirp and gap,
// which show the response directly, and the carriers of the block as far as they
// are pilots or the decoder has an opinion of them. The estimate is the mean of
// the response given these and a prior of independent Gaussian taps, whose
// variances follow an exponential decay fitted to the burst:
//
//	ĥ = argmin Σ_t |y(t) − (c∗h)(t)|²/σ² + Σ_k 2|Y(k) − H(k)·S(k)|²/v(k) + Σ_d h(d)²/p(d)
//
// It is found by conjugate gradients (Hestenes and Stiefel, 1952) for h/√p, so
// that the prior is the preconditioner. Each step takes four transforms for the
// chirp and two for the block.

// decay is the prior of an impulse response: a direct wave, smeared a little by
// the devices' filters, and a tail that decays exponentially behind it.
type decay struct {
	direct float64 // energy of the direct wave
	start  float64 // variance of a tap at the tail's beginning
	tau    float64 // time constant of that variance, internal samples
	noise  float64 // variance of a sample, as far as it is in the band
}

// The direct wave's taps: its energy is spread over directReach samples before
// and after by e^(−|d|/directReach).
const (
	directReach = 3
	early       = 32 // samples before the direct wave that the response begins
)

// variance of the tap at a delay.
func (v *decay) variance(d, times float64) float64 {
	p := v.direct / (2 * directReach * times) * math.Exp(-math.Abs(d)/(directReach*times))
	// Something everywhere, so that the prior is never surer than the truth.
	p += 2e-3 * v.direct / (64 * times) * math.Exp(-math.Abs(d)/(32*times))
	if d > 0 {
		p += v.start * math.Exp(-d/v.tau)
	}
	return p
}

// left is the energy of the tail behind a delay.
func (v *decay) left(d float64) float64 { return v.start * v.tau * math.Exp(-max(0, d)/v.tau) }

// spreads is the delay spread of the prior, internal samples.
func (v *decay) spreads() float64 {
	tail := v.left(0)
	if tail <= leastTail*v.direct {
		return 0
	}
	share := tail / (v.direct + tail)
	return v.tau * math.Sqrt(share*(2-share))
}

// length is the delay at which the tail has sunk to a share of the noise that
// cannot matter, at most most.
func (v *decay) length(most float64) float64 {
	if v.start <= 0 {
		return 0
	}
	return max(0, min(most, v.tau*math.Log(max(1, v.start*v.tau/(0.02*v.noise+1e-30)))))
}

// fitter holds what the estimate is made of.
type fitter struct {
	ffts map[int]*dsp.RealFFT

	taps  int       // of the response
	pre   int       // of them before delay 0
	root  []float32 // √p of each tap
	h     []float32 // the estimate
	white []float32 // h/√p

	// Chirp and gap.
	seen   int         // samples, from pre samples before the chirp on
	shown  int         // of the taps, by them
	size   int         // of the transform
	chirp  []complex64 // spectrum of the chirp at that size
	thrift float32     // 1/σ²

	// The block's carriers: 2|S|²/v, and the spectrum that the data give.
	geo    geometry
	weight []float32
	target []complex64 // 2·S*·Y/v

	time          []float32
	spectrum      []complex64
	sum           []float32
	rhs, res, dir []float32
	image         []float32
	half          []float32
	halfSpectrum  []complex64
}

func (f *fitter) fft(n int) *dsp.RealFFT {
	t := f.ffts[n]
	if t == nil {
		t = dsp.NewRealFFT(n)
		f.ffts[n] = t
	}
	return t
}

// setPrior makes room for the response of a decay of so many taps.
func (f *fitter) setPrior(v *decay, taps, pre int, times float64) {
	old, oldPre := f.taps, f.pre
	f.taps, f.pre = taps, pre
	f.root = resize(f.root, taps)
	for i := range f.root {
		f.root[i] = float32(math.Sqrt(v.variance(float64(i-pre), times)))
	}
	if cap(f.h) < taps {
		h := make([]float32, taps)
		copy(h, f.h)
		f.h = h
	}
	f.h = f.h[:taps]
	if old != taps || oldPre != pre {
		clear(f.h[min(old, taps):])
	}
	f.thrift = float32(1 / max(v.noise, 1e-30))
}

// setChirp tells what was sent before the block: the chirp c, with the gap behind
// it.
func (f *fitter) setChirp(c []float32, gap, pre int) {
	f.seen = pre + len(c) + gap
	f.size = dsp.SizeFrom(f.seen + len(c) - pre)
	f.shown = min(f.seen, f.size-len(c)) // the last ones' chirps are as good as over before they begin
	f.time = resize(f.time, f.size)
	clear(f.time)
	copy(f.time, c)
	f.chirp = resize(f.chirp, f.size/2+1)
	f.fft(f.size).Forward(f.chirp, f.time)
}

// solve finds the response. y are the samples from pre before the chirp on. With
// block, the carriers count too. It starts from the last response.
func (f *fitter) solve(y []float32, block bool, steps int) {
	n := f.taps
	f.rhs, f.res, f.dir, f.image = resize(f.rhs, n), resize(f.res, n), resize(f.dir, n), resize(f.image, n)
	f.white, f.sum = resize(f.white, n), resize(f.sum, n)

	// The right side: Aᵀ·W·y.
	clear(f.sum)
	if f.seen > 0 {
		f.time = resize(f.time, f.size)
		clear(f.time)
		for i, v := range y[:f.seen] {
			f.time[i] = v * f.thrift
		}
		f.backChirp()
	}
	if block {
		f.backBlock(f.target)
	}
	for i := range f.rhs {
		f.rhs[i] = f.sum[i] * f.root[i]
		if f.root[i] > 0 {
			f.white[i] = f.h[i] / f.root[i]
		}
	}
	f.apply(f.image, f.white, block)
	var rr float64
	for i, v := range f.image {
		f.res[i] = f.rhs[i] - v
		rr += float64(f.res[i]) * float64(f.res[i])
	}
	copy(f.dir, f.res)
	var goal float64
	for _, v := range f.rhs {
		goal += float64(v) * float64(v)
	}
	goal *= 1e-8
	for range steps {
		if rr <= goal {
			break
		}
		f.apply(f.image, f.dir, block)
		var da float64
		for i, v := range f.image {
			da += float64(v) * float64(f.dir[i])
		}
		if !(da > 0) {
			break
		}
		a := float32(rr / da)
		var next float64
		for i, v := range f.image {
			f.white[i] += a * f.dir[i]
			f.res[i] -= a * v
			next += float64(f.res[i]) * float64(f.res[i])
		}
		b := float32(next / rr)
		rr = next
		for i, v := range f.res {
			f.dir[i] = v + b*f.dir[i]
		}
	}
	for i, v := range f.white {
		f.h[i] = v * f.root[i]
	}
}

// apply is dst = (√p·Aᵀ·W·A·√p + 1)·src.
func (f *fitter) apply(dst, src []float32, block bool) {
	clear(f.sum)
	if f.seen > 0 {
		f.throughChirp(src)
	}
	if block {
		f.forwardBlock(src, true)
		g := f.geo
		for k, w := range f.weight {
			v := f.halfSpectrum[g.first+k]
			f.halfSpectrum[g.first+k] = complex(w*real(v), w*imag(v))
		}
		f.inverseBlock()
	}
	for i, v := range src {
		dst[i] = f.sum[i]*f.root[i] + v
	}
}

// throughChirp adds the share of chirp and gap in apply to f.sum.
func (f *fitter) throughChirp(src []float32) {
	f.time = resize(f.time, f.size)
	m := min(f.taps, f.shown)
	for i, v := range src[:m] {
		f.time[i] = v * f.root[i]
	}
	clear(f.time[m:])
	fft := f.fft(f.size)
	f.spectrum = resize(f.spectrum, f.size/2+1)
	fft.Forward(f.spectrum, f.time)
	for k, v := range f.spectrum {
		c := f.chirp[k]
		f.spectrum[k] = complex(real(v)*real(c)-imag(v)*imag(c), real(v)*imag(c)+imag(v)*real(c))
	}
	fft.Inverse(f.time, f.spectrum)
	for i := range f.time[:f.seen] {
		f.time[i] *= f.thrift
	}
	clear(f.time[f.seen:])
	f.backChirp()
}

// backChirp correlates f.time with the chirp and adds the taps to f.sum.
func (f *fitter) backChirp() {
	fft := f.fft(f.size)
	f.spectrum = resize(f.spectrum, f.size/2+1)
	fft.Forward(f.spectrum, f.time)
	for k, v := range f.spectrum {
		c := f.chirp[k]
		f.spectrum[k] = complex(real(v)*real(c)+imag(v)*imag(c), imag(v)*real(c)-real(v)*imag(c))
	}
	fft.Inverse(f.time, f.spectrum)
	m := min(f.taps, f.shown)
	for i, v := range f.time[:m] {
		f.sum[i] += v
	}
}

// forwardBlock writes the response's spectrum on the block's grid to
// f.halfSpectrum.
func (f *fitter) forwardBlock(taps []float32, scaled bool) {
	n := f.geo.n
	f.half = resize(f.half, n)
	clear(f.half)
	at := n - f.pre
	for i, v := range taps {
		if scaled {
			v *= f.root[i]
		}
		f.half[at] += v
		if at++; at == n {
			at = 0
		}
	}
	f.halfSpectrum = resize(f.halfSpectrum, n/2+1)
	f.fft(n).Forward(f.halfSpectrum, f.half)
}

// inverseBlock adds to f.sum what the carriers in f.halfSpectrum say of each tap.
func (f *fitter) inverseBlock() {
	g := f.geo
	clear(f.halfSpectrum[:g.first])
	clear(f.halfSpectrum[g.first+g.carriers:])
	f.half = resize(f.half, g.n)
	f.fft(g.n).Inverse(f.half, f.halfSpectrum)
	// The inverse transform divides by n and counts each carrier twice.
	scale := float32(g.n) / 2
	at := g.n - f.pre
	for i := range f.sum {
		f.sum[i] += scale * f.half[at]
		if at++; at == g.n {
			at = 0
		}
	}
}

func (f *fitter) backBlock(target []complex64) {
	g := f.geo
	f.halfSpectrum = resize(f.halfSpectrum, g.n/2+1)
	copy(f.halfSpectrum[g.first:], target)
	f.inverseBlock()
}

// carriers writes the response at the block's carriers to dst.
func (f *fitter) carriers(dst []complex64) []complex64 {
	f.forwardBlock(f.h, false)
	dst = resize(dst, f.geo.carriers)
	copy(dst, f.halfSpectrum[f.geo.first:])
	return dst
}
