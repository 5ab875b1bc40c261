package ofdm

import "lightsong/modem/dsp"

// In a room even a prefix of 85 ms is too short for a dense constellation: what
// rings on behind it falls into the next symbol. Bodies of long symbols are
// therefore read in passes, and each takes what is believed of the burst out of
// the echoes beyond the prefix:
//
//	impulse response by joint fit ─► LLRs ─► decoder ─► soft symbols
//	        ▲                                               │
//	        └── symbols without the echoes of their neighbours ◄──┘
//
// The response is that of joint.go, from the carriers of all symbols at once.

// longSymbol is the length in samples at the base rate from which on a body is
// read like that.
const longSymbol = 32768

const (
	longPasses = 6
	longLeast  = 5  // symbols, training included; fewer are not worth it
	longSteps  = 40 // of the joint fit
)

// longReader holds what it takes.
type longReader struct {
	*receiver
	fit   fitter
	prior decay

	last, own []float32 // periods of a symbol and the one before
	behind    []float32
	spectrum  []complex64
	response  []complex64
	head      []float32 // samples of the head
	shape     []float32 // of the noise over the carriers, mean 1
}

// isLong is whether the body of the plan is read in passes with cancellation.
func (p *plan) isLong(s scale) bool { return !p.isBlock && p.body.n >= longSymbol*s.times }

// begin takes over what the first estimate has found.
func (l *longReader) begin(body []symbol) {
	g := l.plan.body
	times := float64(l.scale.times)
	l.fit.geo = g
	l.fit.seen = 0
	ch := &l.bodyWay
	e := &l.est
	l.prior = decay{direct: max(e.direct, 1e-6*ch.power), start: e.tail / max(e.tau, 1), tau: max(e.tau, 1), noise: ch.floor}
	// The length that matters: what is further behind is less than the noise.
	taps := early*l.scale.times + max(64*l.scale.times, int(l.prior.length(0.25*baseRate*times)))
	clear(l.fit.h)
	l.fit.setPrior(&l.prior, taps, early*l.scale.times, times)
	l.sayHead()
	l.shape = resize(l.shape, g.carriers)
	for k, v := range ch.noise {
		l.shape[k] = float32(max(1e-3, float64(v)/max(ch.floor, 1e-30)))
	}
	for i := range body {
		s := &body[i]
		s.echo, s.vague = l.alloc(g.carriers), l.scratch(g.carriers)
		for k, x := range s.ref {
			s.vague[k] = 1
			if x != 0 {
				s.vague[k] = 0
			}
		}
	}
}

// sayHead makes the head's symbols into samples, but for their fading.
func (l *longReader) sayHead() {
	p := &l.plan
	g := p.head
	l.head = resize(l.head, p.headCount*g.length())
	l.spectrum = resize(l.spectrum, g.n/2+1)
	a := 1 / unitOf(g)
	for i := range p.headCount {
		clear(l.spectrum[:g.n/2+1])
		for k, v := range l.symbols[i].ref {
			l.spectrum[g.first+k] = complex(a*real(v), a*imag(v))
		}
		x := l.head[i*g.length():][:g.length()]
		l.fit.fft(g.n).Inverse(x[g.cp:], l.spectrum[:g.n/2+1])
		copy(x, x[g.n:])
	}
}

// leftOutLong is whether the pilot on carrier j of symbol i is kept out of the
// estimate, to tell its error.
func (p *plan) leftOutLong(i, j int) bool {
	return i >= p.training && j%p.pilots == pilotOffset(i, p.pilots) && (j/p.pilots+i)%6 == 5
}

// estimate fits the response to all that is known, and measures the noise.
func (l *longReader) estimate(body []symbol) {
	p := &l.plan
	f := &l.fit
	g := p.body
	ch := &l.bodyWay
	f.weight, f.target = resize(f.weight, g.carriers), resize(f.target, g.carriers)
	clear(f.weight)
	clear(f.target)
	for i := range body {
		s := &body[i]
		for k, x := range s.ref {
			if x == 0 || p.leftOutLong(i, k) {
				continue
			}
			h, y := ch.h[k], s.y[k]
			v := 2 / (ch.noise[k]*s.loud + s.vague[k]*(real(h)*real(h)+imag(h)*imag(h)))
			f.weight[k] += v * (real(x)*real(x) + imag(x)*imag(x))
			f.target[k] += complex(v*(real(y)*real(x)+imag(y)*imag(x)), v*(imag(y)*real(x)-real(y)*imag(x)))
		}
	}
	f.solve(nil, true, longSteps)
	ch.h = f.carriers(ch.h)

	var sum, n float64
	for i := p.training; i < len(body); i++ {
		s := &body[i]
		for k := pilotOffset(i, p.pilots); k < g.carriers; k += p.pilots {
			if p.leftOutLong(i, k) {
				d := s.y[k] - ch.h[k]*s.ref[k]
				sum += float64(real(d)*real(d)+imag(d)*imag(d)) / float64(l.shape[k]*s.loud)
				n++
			}
		}
	}
	ch.floor = max(sum/max(n, 1), 1e-30)
	ch.power = 0
	for k, h := range ch.h {
		ch.noise[k] = float32(ch.floor) * l.shape[k]
		ch.power += float64(real(h)*real(h)+imag(h)*imag(h)) / float64(len(ch.h))
	}
}

// follow gives back what cancel has taken, and refines the clock. Echoes beyond the
// prefix may have misled it by more than it thought.
func (l *longReader) follow(body []symbol) {
	for i := range body {
		s := &body[i]
		for k, v := range s.echo {
			s.y[k] += v
		}
		clear(s.echo)
	}
	before := l.clock
	before.skewError = max(before.skewError, 2e-6)
	before.delayError = max(before.delayError, 0.05*float64(l.scale.times))
	for range 2 {
		l.receiver.follow(l.plan.body, body, &l.bodyWay, before)
	}
}

// cancel takes the echoes beyond the prefix, of what is believed, out of the
// symbols: the last one's, and what lacks of the own to be cyclic.
func (l *longReader) cancel(body []symbol) {
	p := &l.plan
	f := &l.fit
	g := p.body
	adv := g.advance(l.scale)
	reach := min(f.taps-f.pre, g.n) // how far back echoes come from
	free := g.cp - adv              // delays that the prefix covers
	if reach <= free {
		return
	}
	size := dsp.SizeFrom(2*reach + f.pre)
	fft := f.fft(size)
	l.behind = resize(l.behind, size)
	clear(l.behind)
	for i, v := range f.h {
		l.behind[(i-f.pre+size)%size] = v
	}
	l.response = resize(l.response, size/2+1)
	fft.Forward(l.response, l.behind)
	l.spectrum = resize(l.spectrum, max(size, g.n)/2+1)
	l.own, l.last = resize(l.own, g.n), resize(l.last, g.n)
	for i := range body {
		s := &body[i]
		l.last, l.own = l.own, l.last
		l.period(s)
		// q(u), u samples before the window's first: the last symbol instead of the
		// own one continued.
		clear(l.behind)
		for u := free + 1; u <= reach; u++ {
			at := g.n - u - adv // of the own period
			q := -l.own[(at+g.n)%g.n]
			if i > 0 {
				q += l.last[((g.n-(u-free))%g.n+g.n)%g.n]
			} else if at := len(l.head) - (u - free); at >= 0 {
				q += l.head[at]
			}
			l.behind[reach-u] = q
		}
		fft.Forward(l.spectrum[:size/2+1], l.behind)
		for k, h := range l.response {
			v := l.spectrum[k]
			l.spectrum[k] = complex(real(v)*real(h)-imag(v)*imag(h), real(v)*imag(h)+imag(v)*real(h))
		}
		fft.Inverse(l.behind, l.spectrum[:size/2+1])
		l.time = resize(l.time, g.n)
		clear(l.time)
		copy(l.time, l.behind[reach:2*reach])
		f.fft(g.n).Forward(l.spectrum[:g.n/2+1], l.time)
		unit := unitOf(g)
		for k := range s.echo {
			v := l.spectrum[g.first+k]
			s.echo[k] = complex(unit*real(v), unit*imag(v))
		}
		rotate(s.echo, g, float64(adv))
		for k, v := range s.echo {
			s.y[k] -= v
		}
	}
}

// period makes what is believed of a symbol into a period of samples.
func (l *longReader) period(s *symbol) {
	g := l.plan.body
	spectrum := l.spectrum[:g.n/2+1]
	clear(spectrum)
	a := 1 / unitOf(g)
	for k, v := range s.ref {
		spectrum[g.first+k] = complex(a*real(v), a*imag(v))
	}
	l.fit.fft(g.n).Inverse(l.own, spectrum)
}
