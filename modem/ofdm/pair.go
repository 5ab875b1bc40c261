package ofdm

import (
	"math"

	"lightsong/modem"
)

// Two channels. A lead with two conductors carries two streams, left and right.
// Chirp and head are the same on both, so that a receiver reads them from either
// one, whichever way round and with whichever polarity the lead is wired. The
// body begins with two training symbols whose signs make the streams orthogonal,
//
//	left   + +
//	right  + −
//
// of which the first is left out where the head is of the same numerology and
// serves for it. From there on each carrier is two cells, one of each stream. The receiver
// estimates for each carrier what both of its channels hear of both streams and
// separates them by a linear MMSE equaliser (Paulraj, Nabar and Gore,
// "Introduction to Space-Time Wireless Communications", 2003, §7.4): crosstalk,
// swapped channels and gains are all the same to it.

// channels is how many channels a modem of the profile has.
func (p *profile) channels() int {
	if p.pair {
		return 2
	}
	return 1
}

// Channels is how many channels the samples of a profile's modem have: 1, or 2
// where they are pairs left, right; 0 for a profile that does not exist.
func Channels(name string) int {
	for _, p := range profiles {
		if p.name == name {
			return p.channels()
		}
	}
	return 0
}

// knownOn is the value of carrier j in body symbol i of a stream where it carries
// a pilot or training.
func (p *plan) knownOn(stream, i, j int) complex64 {
	switch {
	case stream == 1 && i == p.training-1:
		return -known(bodyPart, i, j)
	case stream == 1 && i >= p.training:
		return known(rightPart, i, j)
	}
	return known(bodyPart, i, j)
}

// pairValues writes the carriers of body symbol i for both streams.
func (c *coder) pairValues(dst [2][]complex64, p *plan, i int) {
	for s, values := range dst {
		for j := range values {
			values[j] = p.knownOn(s, i, j)
		}
	}
	if i < p.training {
		return
	}
	q := c.bodyQAM(p)
	order := p.order(i)
	offset := pilotOffset(i, p.pilots)
	for _, values := range dst {
		for j := range values {
			if j%p.pilots == offset {
				continue
			}
			cell, ok := order.next()
			if !ok {
				return // the rest keeps known values
			}
			values[j] = c.cell(q, p, cell)
		}
	}
}

// appendPair appends the burst to dst, left and right in turn; the plan is made,
// and m.burst holds chirp and head.
func (m *Modulator) appendPair(dst []float32, b *modem.Burst, level float32) []float32 {
	p := &m.plan
	m.right = append(m.right[:0], m.burst...)
	if p.frames > 0 {
		m.coder.encodeBody(p, b)
		for i := range p.bodyCount {
			left := m.room(p.body)
			m.rightValues = resize(m.rightValues, p.body.carriers)
			m.coder.pairValues([2][]complex64{left, m.rightValues}, p, i)
			at := p.bodyAt + i*p.body.length()
			m.symbol(p.body, at, level, left)
			m.burst, m.right = m.right, m.burst
			m.symbol(p.body, at, level, m.rightValues)
			m.burst, m.right = m.right, m.burst
		}
	}
	n := m.scale.device(p.samples)
	at := len(dst)
	dst = grow(dst, 2*n)
	out := dst[at:]
	for c, x := range [2][]float32{m.burst, m.right} {
		if m.resamp != nil {
			m.resampled = resize(m.resampled, n)
			m.resamp.Read(m.resampled, x, 0, 1/m.scale.ratio)
			x = m.resampled
		}
		for i, v := range x[:n] {
			out[2*i+c] = v
		}
	}
	return dst
}

// pairWay is what a receiver knows of the paths from two streams to its two
// channels, and how to separate them.
type pairWay struct {
	path   [2][2]channel     // of receiver channel and stream; of these h and late
	noise  [2][]float32      // of a receiver channel's carriers, the errors of both paths included
	weight [2][2][]complex64 // of stream and receiver channel: the equaliser, without bias
	left   [2][]float32      // noise variance of a stream's carriers behind it
}

// pairScratch is the estimator's memory for two streams.
type pairScratch struct {
	num      [2][2][]complex128 // of receiver channel and stream
	power    [2][]float64       // of a stream's references
	cross    []complex128       // of both
	den      [2][]float64       // of a stream: one over the variance of its raw estimate in units of the noise
	leverage [2][]float64
}

// estimatePair makes the paths from symbols of both channels; symbols[c][i].y is
// what channel c heard, symbols[s][i].ref what stream s sent. On each carrier it
// is a least squares fit of both paths at once, so that references of the
// streams need not be orthogonal, which soft decisions are not.
func (e *estimator) estimatePair(way *pairWay, g geometry, times int, symbols [2][]symbol) {
	n := g.carriers
	t := &e.pair
	t.cross = resize(t.cross, n)
	clear(t.cross)
	for s := range 2 {
		t.power[s] = resize(t.power[s], n)
		clear(t.power[s])
		t.den[s] = resize(t.den[s], n)
		t.leverage[s] = resize(t.leverage[s], n)
		for c := range 2 {
			t.num[c][s] = resize(t.num[c][s], n)
			clear(t.num[c][s])
		}
	}
	for i := range symbols[0] {
		a, b := &symbols[0][i], &symbols[1][i]
		w := 1 / float64(a.loud)
		for k, x0 := range a.ref {
			x1 := b.ref[k]
			if x0 == 0 && x1 == 0 {
				continue
			}
			t.power[0][k] += w * square(x0)
			t.power[1][k] += w * square(x1)
			t.cross[k] += complex(w, 0) * times64(x0, x1)
			for c, y := range [2]complex64{a.y[k], b.y[k]} {
				t.num[c][0][k] += complex(w, 0) * times64(y, x0)
				t.num[c][1][k] += complex(w, 0) * times64(y, x1)
			}
		}
	}
	for k := range n {
		det := t.power[0][k]*t.power[1][k] - real(t.cross[k]*conj(t.cross[k]))
		for s := range 2 {
			t.den[s][k] = 0
			if p := t.power[1-s][k]; p > 0 {
				t.den[s][k] = max(0, det/p)
			}
		}
	}
	e.num, e.den = resize(e.num, n), resize(e.den, n)
	for c := range 2 {
		var prior float64
		for s := range 2 {
			ch := &way.path[c][s]
			ch.h = resize(ch.h, n)
			e.leverage = resize(e.leverage, n)
			copy(e.den, t.den[s])
			for k := range e.num {
				// Cramer's rule over the other stream's power is the estimate times den.
				e.num[k] = 0
				if p := t.power[1-s][k]; p > 0 {
					x := t.cross[k] // Σ x₀·x₁*
					if s == 0 {
						x = conj(x)
					}
					e.num[k] = t.num[c][s][k] - t.num[c][1-s][k]*x/complex(p, 0)
				}
			}
			e.fill(ch.h)
			raw := e.smooth(ch, g, times)
			copy(t.leverage[s], e.leverage)
			for _, d := range e.den {
				prior += raw * d / float64(2*n)
			}
		}
		e.residualPair(way, c, symbols, prior)
	}
	way.separate()
}

// times64 is a·b*.
func times64(a, b complex64) complex128 {
	return complex128(a) * complex(float64(real(b)), -float64(imag(b)))
}

func square(x complex64) float64 { return float64(real(x)*real(x) + imag(x)*imag(x)) }

// residualPair measures the noise on a receiver channel around the references.
func (e *estimator) residualPair(way *pairWay, c int, symbols [2][]symbol, prior float64) {
	t := &e.pair
	h0, h1 := way.path[c][0].h, way.path[c][1].h
	n := len(h0)
	e.res, e.dof, e.extra = resize(e.res, n), resize(e.dof, n), resize(e.extra, n)
	clear(e.res)
	clear(e.dof)
	for i := range symbols[0] {
		w := 1 / float64(symbols[0][i].loud)
		y := symbols[c][i].y
		ref1 := symbols[1][i].ref
		for k, x0 := range symbols[0][i].ref {
			x1 := ref1[k]
			if x0 == 0 && x1 == 0 {
				continue
			}
			e.res[k] += w * square(y[k]-h0[k]*x0-h1[k]*x1)
			e.dof[k] += 1 - w*(square(x0)*t.leverage[0][k]/max(t.den[0][k], 1e-3)+square(x1)*t.leverage[1][k]/max(t.den[1][k], 1e-3))
		}
	}
	for k := range n {
		e.extra[k] = t.leverage[0][k]/max(t.den[0][k], 0.25) + t.leverage[1][k]/max(t.den[1][k], 0.25)
	}
	way.noise[c] = resize(way.noise[c], n)
	e.settle(way.noise[c], prior)
}

// separate computes the equaliser. With H the paths of a carrier and N the noise
// of the channels it is W = Hᴴ·(H·Hᴴ + N)⁻¹, each row divided by what it leaves of
// its own stream, β; the noise behind it, with what it leaves of the other
// stream, is 1/β − 1.
func (w *pairWay) separate() {
	n := len(w.noise[0])
	for s := range 2 {
		w.left[s] = resize(w.left[s], n)
		for c := range 2 {
			w.weight[s][c] = resize(w.weight[s][c], n)
		}
	}
	for k := range n {
		h := [2][2]complex128{
			{complex128(w.path[0][0].h[k]), complex128(w.path[0][1].h[k])},
			{complex128(w.path[1][0].h[k]), complex128(w.path[1][1].h[k])},
		}
		a := real(h[0][0]*conj(h[0][0])+h[0][1]*conj(h[0][1])) + float64(w.noise[0][k])
		d := real(h[1][0]*conj(h[1][0])+h[1][1]*conj(h[1][1])) + float64(w.noise[1][k])
		b := h[0][0]*conj(h[1][0]) + h[0][1]*conj(h[1][1])
		det := max(a*d-real(b*conj(b)), 1e-30)
		for s := range 2 {
			w0 := (conj(h[0][s])*complex(d, 0) - conj(h[1][s])*conj(b)) / complex(det, 0)
			w1 := (conj(h[1][s])*complex(a, 0) - conj(h[0][s])*b) / complex(det, 0)
			beta := max(1e-6, real(w0*h[0][s]+w1*h[1][s]))
			w.weight[s][0][k] = complex64(w0 / complex(beta, 0))
			w.weight[s][1][k] = complex64(w1 / complex(beta, 0))
			w.left[s][k] = float32(max(1/beta-1, 1e-12))
		}
	}
}

// summary tells the quality of the weaker stream: a code that both share is no
// better than that. It is the mean of the carriers' SNR in dB.
func (w *pairWay) summary(ch *channel) {
	ch.power, ch.floor = 1, 0
	for _, left := range w.left {
		var sum float64
		for _, v := range left {
			sum += math.Log(float64(v))
		}
		ch.floor = max(ch.floor, math.Exp(sum/float64(len(left))))
	}
	ch.late = w.path[0][w.strong(0)].late
}

// strong is the stream that a receiver channel hears best.
func (w *pairWay) strong(c int) int {
	var power [2]float64
	for s := range power {
		for _, v := range w.path[c][s].h {
			power[s] += square(v)
		}
	}
	if power[1] > power[0] {
		return 1
	}
	return 0
}

// transformPair fills y of the symbols of both channels by the present clock.
func (r *receiver) transformPair(g geometry, symbols [2][]symbol) {
	r.transform(g, symbols[0])
	x, start := r.x, r.clock.start
	r.x, r.clock.start = r.second, start+r.lag
	r.transform(g, symbols[1])
	r.x, r.clock.start = x, start
}

// followPair is follow for both channels.
func (r *receiver) followPair(g geometry, symbols [2][]symbol, way *pairWay, before clock) {
	f := newFollower(before)
	for c := range symbols {
		for i := range symbols[c] {
			var grad, info float64
			r.slopePair(&grad, &info, g, c, symbols, i, way)
			f.add(symbols[c][i].time, grad, info)
		}
	}
	if delay, skew, ok := r.solve(&f); ok {
		for c := range symbols {
			shiftSymbols(symbols[c], g, before.centre, delay, skew)
		}
	}
}

// trackPair is track for both channels.
func (r *receiver) trackPair(g geometry, symbols [2][]symbol, seen int, way *pairWay) {
	before := r.clock
	part := func(from, to int) [2][]symbol {
		return [2][]symbol{symbols[0][from:to], symbols[1][from:to]}
	}
	for seen < len(symbols[0]) {
		next := r.ahead(symbols[0], seen)
		r.transformPair(g, part(seen, next))
		seen = next
		if r.lost(symbols[0][seen-1].time) {
			// What the first channel hears of its stronger stream is enough for that.
			s := way.strong(0)
			r.views = append(r.views[:0], symbols[0][:seen]...)
			for i := range r.views {
				r.views[i].ref = symbols[s][i].ref
			}
			centre, delay, skew := r.search(g, r.views, &way.path[0][s])
			shiftSymbols(symbols[1][:seen], g, centre, delay, skew)
		}
		for range 2 {
			r.followPair(g, part(0, seen), way, before)
		}
	}
	if r.stale(g, symbols[0]) {
		r.transformPair(g, symbols)
	}
	r.followPair(g, symbols, way, before)
}

// wanderPair is wander for both channels.
func (r *receiver) wanderPair(g geometry, symbols [2][]symbol, way *pairWay) {
	floor := func() (sum float64) {
		for c := range way.noise {
			for _, v := range way.noise[c] {
				sum += float64(v)
			}
		}
		return sum
	}
	for range 4 {
		r.bends = resize(r.bends, len(symbols[0]))
		for i := range r.bends {
			r.bends[i] = bend{time: symbols[0][i].time}
			for c := range symbols {
				r.slopePair(&r.bends[i].grad, &r.bends[i].info, g, c, symbols, i, way)
			}
		}
		r.smooth()
		for c := range symbols {
			for i := range symbols[c] {
				rotate(symbols[c][i].y, g, r.bends[i].d)
			}
		}
		before := floor()
		if r.est.estimatePair(way, g, r.scale.times, symbols); floor() > 0.9*before {
			return
		}
	}
}

// slopePair is slope for all carriers of symbol i that channel c heard.
func (r *receiver) slopePair(grad, info *float64, g geometry, c int, symbols [2][]symbol, i int, way *pairWay) {
	s := &symbols[c][i]
	h0, h1 := way.path[c][0].h, way.path[c][1].h
	ref1 := symbols[1][i].ref
	for k, x0 := range symbols[0][i].ref {
		x1 := ref1[k]
		if x0 == 0 && x1 == 0 {
			continue
		}
		slope(grad, info, g, k, s.y[k], h0[k]*x0+h1[k]*x1, way.noise[c][k]*s.loud)
	}
}

// preparePair is prepareBody for two streams.
func (r *receiver) preparePair() (body, all [2][]symbol) {
	p, times := &r.plan, r.scale.times
	headSymbols := len(r.symbols)
	r.addBody()
	r.rightSymbols = append(r.rightSymbols[:0], r.symbols...)
	for i := range r.rightSymbols {
		s := &r.rightSymbols[i]
		s.y = r.alloc(len(s.y))
		if i >= headSymbols { // else the streams send the same
			s.ref = r.alloc(len(s.ref))
		}
	}
	body = [2][]symbol{r.symbols[headSymbols:], r.rightSymbols[headSymbols:]}
	for s := range body {
		for i := range body[s] {
			for j := range body[s][i].ref {
				if i < p.training || j%p.pilots == pilotOffset(i, p.pilots) {
					body[s][i].ref[j] = p.knownOn(s, i, j)
				}
			}
		}
	}
	seen := p.training
	if all = body; p.body == p.head {
		all, seen = [2][]symbol{r.symbols, r.rightSymbols}, headSymbols+p.training
	} else {
		// The training defines what delay 0 is. It cannot tell skew, which turns its
		// second symbol against the first, from crosstalk: the pilots behind it do.
		r.clock.centre, r.clock.delayError = body[0][0].time, 0.02*float64(times)
	}
	first := [2][]symbol{all[0][:seen], all[1][:seen]}
	r.transformPair(p.body, first)
	r.est.estimatePair(&r.pairWay, p.body, times, first)
	r.trackPair(p.body, all, seen, &r.pairWay)
	r.est.estimatePair(&r.pairWay, p.body, times, all)
	r.wanderPair(p.body, all, &r.pairWay)
	r.loudnessPair(body)
	r.est.estimatePair(&r.pairWay, p.body, times, all)

	r.coder.setPayload(p)
	r.llr = resize(r.llr, p.e*p.words*p.frames)
	return body, all
}

// loudnessPair is loudness for both channels together.
func (r *receiver) loudnessPair(body [2][]symbol) {
	r.levels = resize(r.levels, 2*len(body[0]))
	way := &r.pairWay
	for i := range body[0] {
		var sum, n float64
		ref1 := body[1][i].ref
		for k, x0 := range body[0][i].ref {
			x1 := ref1[k]
			if x0 == 0 && x1 == 0 {
				continue
			}
			for c := range body {
				d := body[c][i].y[k] - way.path[c][0].h[k]*x0 - way.path[c][1].h[k]*x1
				sum += square(d) / float64(way.noise[c][k])
			}
			n += 2
		}
		r.levels[i] = sum / max(n, 1)
	}
	r.standOut(body[0], 2*float64(r.plan.body.carriers/r.plan.pilots))
	for i := range body[1] {
		body[1][i].loud = body[0][i].loud
	}
}

// pairLLRs fills r.llr.
func (r *receiver) pairLLRs(body [2][]symbol) {
	p := &r.plan
	q := r.coder.bodyQAM(p)
	for i := p.training; i < p.bodyCount; i++ {
		order := p.order(i)
		offset := pilotOffset(i, p.pilots)
		y0, y1, loud := body[0][i].y, body[1][i].y, body[0][i].loud
		for s := range body {
			w0, w1, left := r.pairWay.weight[s][0], r.pairWay.weight[s][1], r.pairWay.left[s]
			for j := range y0 {
				if j%p.pilots == offset {
					continue
				}
				cell, ok := order.next()
				if !ok {
					break
				}
				r.softenCell(q, cell, w0[j]*y0[j]+w1[j]*y1[j], left[j]*loud)
			}
		}
	}
}

// remodulatePair makes references of what the decoder thinks was sent.
func (r *receiver) remodulatePair(body [2][]symbol) {
	p := &r.plan
	q := r.coder.bodyQAM(p)
	for i := p.training; i < p.bodyCount; i++ {
		order := p.order(i)
		offset := pilotOffset(i, p.pilots)
		for s := range body {
			ref := body[s][i].ref
			for j := range ref {
				if j%p.pilots == offset {
					continue
				}
				cell, ok := order.next()
				if !ok {
					break
				}
				ref[j] = r.meanCell(q, cell)
			}
		}
	}
}
