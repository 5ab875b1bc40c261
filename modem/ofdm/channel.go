package ofdm

import "math"

// channel is what a receiver knows of the path from the sender's carriers to
// its own: y = h·x + noise.
type channel struct {
	h     []complex64
	noise []float32 // variance on a symbol of the burst, its channel's error included
	power float64   // mean of |h|²
	floor float64   // mean of noise
	tail  float64   // energy of the echoes, as power
	tau   float64   // their time constant, internal samples
	late  float64   // root mean square delay spread, internal samples; 0 if no echo was seen
}

// copy makes c what another one is.
func (c *channel) copy(d *channel) {
	h, noise := resize(c.h, len(d.h)), resize(c.noise, len(d.noise))
	copy(h, d.h)
	copy(noise, d.noise)
	*c = *d
	c.h, c.noise = h, noise
}

// estimator turns received symbols with known carriers into a channel. It owns
// the scratch memory.
type estimator struct {
	num               []complex128
	den               []float64
	raw               []complex64
	leverage          []float64
	corr              []complex128
	turn              float64 // of corr per carrier, rad
	direct, tail, tau float64 // of the delay profile that fits the last estimate; energies, internal samples
	inverse           []complex128
	column            []complex128
	res, dof          []float64
	doubt             float64   // a tail below so many standard deviations is taken for noise
	extra             []float64 // noise that errors of the channel add to a symbol's own, relative to that
	pair              pairScratch
}

// Prior of the delay profile: a direct wave at delay 0, an exponential tail, and
// a small share of energy around the direct wave that stands for everything else
// (filters that ring before and after), so that the prior is never surer than
// the truth allows.
const (
	mismatchShare = 2e-3
	mismatchReach = 24   // samples before and after
	leastTail     = 5e-3 // of the direct wave; less is not told from a fitting error
)

// estimate makes the channel of a geometry from symbols with references.
// Carriers without a reference in any symbol are interpolated.
func (e *estimator) estimate(ch *channel, g geometry, times int, symbols []symbol) {
	n := g.carriers
	e.num, e.den = resize(e.num, n), resize(e.den, n)
	clear(e.num)
	clear(e.den)
	for i := range symbols {
		s := &symbols[i]
		w := 1 / float64(s.loud)
		for k, x := range s.ref {
			if x != 0 {
				y := s.y[k]
				re := float64(real(y)*real(x) + imag(y)*imag(x))
				im := float64(imag(y)*real(x) - real(y)*imag(x))
				e.num[k] += complex(w*re, w*im)
				e.den[k] += w * float64(real(x)*real(x)+imag(x)*imag(x))
			}
		}
	}
	ch.h = resize(ch.h, n)
	ch.noise = resize(ch.noise, n)
	e.leverage = resize(e.leverage, n)
	e.fill(ch.h)
	noise := e.smooth(ch, g, times)
	e.residual(ch, symbols, noise)
}

// fill divides, and bridges carriers that nothing is known of.
func (e *estimator) fill(h []complex64) {
	last := -1
	for k := range h {
		if e.den[k] < 1e-3 {
			continue
		}
		h[k] = complex64(e.num[k] / complex(e.den[k], 0))
		for j := last + 1; j < k; j++ {
			if last < 0 {
				h[j] = h[k]
			} else {
				t := float32(j-last) / float32(k-last)
				h[j] = h[last] + complex(t, 0)*(h[k]-h[last])
			}
		}
		last = k
	}
	for j := last + 1; j < len(h); j++ {
		if last < 0 {
			h[j] = 0
		} else {
			h[j] = h[last]
		}
	}
}

// leadDoubt is for leads, which have no echoes as a rule: a tail fitted to noise would keep that, and where a comb
// is all that tells of the channel, one burst in twenty was lost for it at a quarter of a dB above the table. Crosstalk, too, may
// well be weaker than the noise.
const leadDoubt = 3

const widest = 96 // carriers in a smoothing window

// smooth applies the Wiener filter for the delay profile fitted to the estimate
// itself, and returns the noise variance of a raw carrier estimate.
//
// The estimates in a window of w neighbours are y = h + noise with covariance
// A = R + σ²·1, so the filtered ones are R·A⁻¹·y = y − σ²·A⁻¹·y. Windows slide
// with the carrier, except at the edges of the band, where the carrier moves in
// the window instead.
func (e *estimator) smooth(ch *channel, g geometry, times int) (noise float64) {
	h := ch.h
	n := len(h)
	w := min(widest, n)
	e.corr = resize(e.corr, w)
	for d := range e.corr {
		var sum complex128
		for k := range n - d {
			a, b := complex128(h[k+d]), complex128(h[k])
			sum += a * complex(real(b), -imag(b))
		}
		e.corr[d] = sum / complex(float64(n-d), 0)
	}
	total := real(e.corr[0])
	// The direct wave is not exactly at delay 0: its part of the correlation
	// turns steadily.
	var turn complex128
	for d := 1; d < w; d++ {
		turn += e.corr[d] * conj(e.corr[d-1])
	}
	e.turn = math.Atan2(imag(turn), real(turn))
	for d := range e.corr {
		sin, cos := math.Sincos(-e.turn * float64(d))
		e.corr[d] *= complex(cos, sin)
	}
	direct, tail, tau := e.fit(g, times)
	if tail < leastTail*direct {
		tail = 0
	}
	ch.late, ch.tail, ch.tau = 0, tail, tau
	e.direct, e.tail, e.tau = direct, tail, tau
	if direct+tail > 0 {
		// The exponential's variance about the direct wave: mean τ, square 2τ².
		share := tail / (direct + tail)
		ch.late = tau * math.Sqrt(share*(2-share))
	}
	var rough float64
	for k := 2; k < n-2; k++ {
		v := h[k-2] - 4*h[k-1] + 6*h[k] - 4*h[k+1] + h[k+2]
		rough += float64(real(v)*real(v) + imag(v)*imag(v))
	}
	rough /= 70 * float64(max(1, n-4)) // the squares of the binomials
	// Where the channel is flat enough for its fourth difference to be all noise
	// that is the better measure.
	if noise = rough; rough > 0.02*total {
		noise = min(rough, total-direct-tail)
	}
	noise = max(noise, 1e-8*total, 1e-30)
	if all := max(noise, min(rough, total-direct)); e.doubt > 0 && tail < e.doubt*(all+2*math.Sqrt(all*direct))/math.Sqrt(float64(n)) {
		direct, tail, ch.late, noise = 0, 0, 0, all
		for _, v := range e.corr[1:] {
			direct += real(v) / float64(w-1)
		}
		direct = max(0, direct)
	}
	for k := range e.leverage {
		e.leverage[k] = 1
	}
	e.invert(w, g, times, direct, tail, tau, mismatchShare*total, noise)
	e.raw = append(e.raw[:0], h...)
	for k := range h {
		first := max(0, min(k-w/2, n-w))
		row := e.inverse[(k-first)*w:][:w]
		var sum complex128
		for i, a := range row {
			sum += a * complex128(e.raw[first+i])
		}
		h[k] = e.raw[k] - complex64(complex(noise, 0)*sum)
		e.leverage[k] = max(0, min(1, 1-noise*real(row[k-first])))
	}
	e.distrust(h, noise)
	return noise
}

// distrust takes the smoothing back where it has moved the estimate by more than
// noise explains: there the channel is not as smooth as the prior says (at the
// edge of an AC coupling, say).
func (e *estimator) distrust(h []complex64, noise float64) {
	const reach, factor = 8, 2.5
	n := len(h)
	e.res = resize(e.res, n)
	for k := range h {
		d := h[k] - e.raw[k]
		e.res[k] = float64(real(d)*real(d)+imag(d)*imag(d)) - factor*noise*(1-e.leverage[k])
	}
	var sum float64
	for k := -reach; k < n; k++ {
		if j := k + reach; j < n {
			sum += e.res[j]
		}
		if j := k - reach - 1; j >= 0 {
			sum -= e.res[j]
		}
		if k >= 0 && sum > 0 {
			h[k], e.leverage[k] = e.raw[k], 1
		}
	}
}

// tauStep is the ratio of the time constants that fit tries.
const tauStep = 1.5

// fit finds the strengths of direct wave and tail and the tail's time constant
// in samples that explain the correlation of the estimate across carriers,
//
//	r(d) = direct + tail/(1 + 2πi·d·τ/n),  d ≥ 1.
func (e *estimator) fit(g geometry, times int) (direct, tail, tau float64) {
	best := math.Inf(1)
	for t := float64(8 * times); t < float64(g.n); t *= tauStep {
		var s11, s12, s22, y1, y2, yy float64
		for d := 1; d < len(e.corr); d++ {
			rho := exponential(float64(d), t, g.n)
			r := e.corr[d]
			s11++
			s12 += real(rho)
			s22 += real(rho)*real(rho) + imag(rho)*imag(rho)
			y1 += real(r)
			y2 += real(r)*real(rho) + imag(r)*imag(rho)
			yy += real(r)*real(r) + imag(r)*imag(r)
		}
		det := s11*s22 - s12*s12
		if det <= 1e-12*s11*s22 {
			continue
		}
		a, b := (y1*s22-y2*s12)/det, (y2*s11-y1*s12)/det
		if b < 0 {
			a, b = max(0, y1/s11), 0
		} else if a < 0 {
			a, b = 0, max(0, y2/s22)
		}
		if cost := yy - 2*(a*y1+b*y2) + a*a*s11 + 2*a*b*s12 + b*b*s22; cost < best {
			best, direct, tail, tau = cost, a, b, t
		}
	}
	return direct, tail, tau
}

// exponential is the correlation across d carriers of an exponentially decaying
// tail.
func exponential(d, tau float64, n int) complex128 {
	x := 2 * math.Pi * d * tau / float64(n)
	return complex(1/(1+x*x), -x/(1+x*x))
}

// invert computes A⁻¹ for w carriers. A is Hermitian and Toeplitz, so that its
// inverse follows from its first column x, which Levinson's recursion gives, by
// the formula of Gohberg and Semencul:
//
//	A⁻¹[i][j] = A⁻¹[i−1][j−1] + (x[i]·x*[j] − x*[w−i]·x[w−j])/x[0].
func (e *estimator) invert(w int, g geometry, times int, direct, tail, tau, around, noise float64) {
	e.column = resize(e.column, 2*w)
	c, a := e.column[:w], e.column[w:]
	for d := range c {
		x := 2 * math.Pi * float64(d*mismatchReach*times) / float64(g.n)
		sinc := 1.
		if x != 0 {
			sinc = math.Sin(x) / x
		}
		sin, cos := math.Sincos(e.turn * float64(d))
		c[d] = complex(direct+around*sinc, 0) + complex(tail, 0)*exponential(float64(d), tau, g.n)
		c[d] *= complex(cos, sin)
	}
	c[0] += complex(noise, 0)
	clear(a)
	a[0] = 1
	left := real(c[0])
	for m := 1; m < w; m++ {
		var sum complex128
		for i := range m {
			sum += a[i] * c[m-i]
		}
		k := -sum / complex(left, 0)
		for i, j := 0, m; i <= j; i, j = i+1, j-1 {
			a[i], a[j] = a[i]+k*conj(a[j]), a[j]+k*conj(a[i])
		}
		left *= max(1e-9, 1-real(k)*real(k)-imag(k)*imag(k))
	}
	e.inverse = resize(e.inverse, w*w)
	for i := range w {
		row := e.inverse[i*w:][:w]
		for j := range row {
			v := a[i] * conj(a[j])
			if i > 0 && j > 0 {
				v -= conj(a[w-i]) * a[w-j]
			}
			v /= complex(left, 0)
			if i > 0 && j > 0 {
				v += e.inverse[(i-1)*w+j-1]
			}
			row[j] = v
		}
	}
}

func conj(v complex128) complex128 { return complex(real(v), -imag(v)) }

// residual measures the noise around the references that the estimate was made
// from. What the estimate has learned from a carrier itself, its leverage, is
// missing from the residual; where that is nearly all the given prior value
// holds.
func (e *estimator) residual(ch *channel, symbols []symbol, raw float64) {
	n := len(ch.h)
	e.res, e.dof = resize(e.res, n), resize(e.dof, n)
	clear(e.res)
	clear(e.dof)
	var known, prior float64
	for i := range symbols {
		s := &symbols[i]
		w := 1 / float64(s.loud)
		for k, x := range s.ref {
			if x == 0 {
				continue
			}
			p := float64(real(x)*real(x) + imag(x)*imag(x))
			d := s.y[k] - ch.h[k]*x
			e.res[k] += w * float64(real(d)*real(d)+imag(d)*imag(d))
			e.dof[k] += 1 - w*p*e.leverage[k]/e.den[k]
		}
	}
	ch.power = 0
	for k, v := range ch.h {
		ch.power += float64(real(v)*real(v)+imag(v)*imag(v)) / float64(n)
		if e.den[k] > 0 {
			prior += raw * e.den[k]
			known++
		}
	}
	if known > 0 {
		prior /= known
	}
	e.extra = resize(e.extra, n)
	for k := range n {
		e.extra[k] = e.leverage[k] / max(e.den[k], 0.25)
	}
	ch.floor = e.settle(ch.noise, prior)
}

// settle writes the noise of the carriers, from the residuals and what the errors
// of the channel add, and returns its mean.
func (e *estimator) settle(noise []float32, prior float64) (floor float64) {
	n := len(noise)
	var sum, all float64
	for k := range n {
		sum += e.res[k]
		all += e.dof[k]
	}
	// A running mean over neighbours, drawn towards the mean of all.
	const reach, pull = 12, 8
	mean := (sum + pull*prior) / (all + pull)
	var r, d float64
	for k := -reach; k < n; k++ {
		if j := k + reach; j < n {
			r, d = r+e.res[j], d+e.dof[j]
		}
		if j := k - reach - 1; j >= 0 {
			r, d = r-e.res[j], d-e.dof[j]
		}
		if k >= 0 {
			v := max(0, r+pull*mean) / (max(0, d) + pull)
			v *= 1 + e.extra[k]
			noise[k] = float32(max(v, 1e-30))
			floor += v / float64(n)
		}
	}
	return floor
}
