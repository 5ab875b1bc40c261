package ofdm

import "math"

// search finds delay and skew of the symbols by trying all that the clock's
// errors allow, four standard deviations of each, and corrects the clock and the
// symbols; it returns the correction, see shift. For a pair (delay, skew) the known carriers of all symbols are added
// up as they would have to be turned; the pair of the greatest sum is the most
// likely. way, if not nil, is the channel; without it the strongest path comes
// to delay 0.
//
// Each symbol is first turned into its correlation over delays a quarter of a
// sample apart; a pair is then one look-up per symbol.
func (r *receiver) search(g geometry, symbols []symbol, way *channel) (centre, delay, skew float64) {
	pitch := 0.25 * float64(r.scale.times)
	var weight float64
	early, late := math.Inf(1), math.Inf(-1)
	for i := range symbols {
		if n := float64(references(&symbols[i])); n > 0 {
			centre += n * symbols[i].time
			weight += n
			early, late = min(early, symbols[i].time), max(late, symbols[i].time)
		}
	}
	if weight == 0 {
		return 0, 0, 0
	}
	centre /= weight
	skewReach := 4 * r.clock.skewError
	delayReach := 4 * (r.clock.delayError + r.clock.skewError*math.Abs(centre-r.clock.centre))
	far := max(late-centre, centre-early)
	half := int(math.Ceil((delayReach + skewReach*far) / pitch))
	width := 2*half + 1
	r.profiles = resize(r.profiles, len(symbols)*width)
	for i := range symbols {
		r.profile(r.profiles[i*width:][:width], g, &symbols[i], way, half, pitch)
	}
	delays := int(math.Ceil(delayReach / pitch))
	skews, skewPitch := 0, 0.
	if far > 0 {
		skewPitch = pitch / far
		skews = int(skewReach / skewPitch) // what is left over is less than a pitch, and follow sees to it
	}
	best := -1.
	for e := -skews; e <= skews; e++ {
		for d := -delays; d <= delays; d++ {
			var sum complex128
			for i := range symbols {
				at := half + int(math.Round(float64(d)+float64(e)*skewPitch*(symbols[i].time-centre)/pitch))
				if at >= 0 && at < width {
					sum += r.profiles[i*width+at]
				}
			}
			if m := real(sum)*real(sum) + imag(sum)*imag(sum); m > best {
				best, delay, skew = m, float64(d)*pitch, float64(e)*skewPitch
			}
		}
	}
	r.shift(centre, delay, skew)
	shiftSymbols(symbols, g, centre, delay, skew)
	r.clock.centre = centre
	r.clock.delayError = pitch / 2
	if far > 0 {
		r.clock.skewError = min(r.clock.skewError, skewPitch)
	}
	return centre, delay, skew
}

func references(s *symbol) (n int) {
	for _, x := range s.ref {
		if x != 0 {
			n++
		}
	}
	return n
}

// profile writes the correlation of a symbol with its references at delays from
// −half to half times pitch.
func (r *receiver) profile(dst []complex128, g geometry, s *symbol, way *channel, half int, pitch float64) {
	clear(dst)
	for k, x := range s.ref {
		if x == 0 {
			continue
		}
		if way != nil {
			x *= way.h[k]
		}
		y := s.y[k]
		z := complex(float64(real(y)*real(x)+imag(y)*imag(x)), float64(imag(y)*real(x)-real(y)*imag(x)))
		w := 2 * math.Pi * float64(g.first+k) * pitch / float64(g.n)
		sin, cos := math.Sincos(-w * float64(half))
		z *= complex(cos, sin)
		sin, cos = math.Sincos(w)
		turn := complex(cos, sin)
		for i := range dst {
			dst[i] += z
			z *= turn
		}
	}
}

// follow refines delay and skew by one Newton step on the likelihood of all
// known carriers, given the channel, and corrects the clock and the symbols.
// before holds how well they were known without these symbols.
func (r *receiver) follow(g geometry, symbols []symbol, way *channel, before clock) {
	f := newFollower(before)
	for i := range symbols {
		s := &symbols[i]
		var grad, info float64
		for k, x := range s.ref {
			if x != 0 {
				slope(&grad, &info, g, k, s.y[k], way.h[k]*x, way.noise[k]*s.loud)
			}
		}
		f.add(s.time, grad, info)
	}
	if delay, skew, ok := r.solve(&f); ok {
		shiftSymbols(symbols, g, before.centre, delay, skew)
	}
}

// slope adds to the gradient of the likelihood by delay, and to its curvature,
// what carrier k tells: y was received, e is expected.
func slope(grad, info *float64, g geometry, k int, y, e complex64, noise float32) {
	kappa := 2 * math.Pi * float64(g.first+k) / float64(g.n)
	v := 2 / float64(noise)
	*grad -= v * kappa * float64(imag(y)*real(e)-real(y)*imag(e))
	*info += v * kappa * kappa * float64(real(e)*real(e)+imag(e)*imag(e))
}

// follower gathers gradient and curvature of the likelihood by delay at the
// centre of a clock and by skew.
type follower struct {
	before        clock
	b0, b1        float64
	i00, i01, i11 float64
}

func newFollower(before clock) follower {
	return follower{
		before: before,
		i00:    1 / (before.delayError * before.delayError),
		i11:    1 / (before.skewError * before.skewError),
	}
}

// add adds a symbol in the middle of which the delay has that gradient and
// curvature.
func (f *follower) add(time, grad, info float64) {
	t := time - f.before.centre
	f.i00 += info
	f.i01 += info * t
	f.i11 += info * t * t
	f.b0 += grad
	f.b1 += grad * t
}

// solve takes the Newton step and corrects the clock. What it returns is the
// correction for symbols.
func (r *receiver) solve(f *follower) (delay, skew float64, ok bool) {
	before, i00, i01, i11 := f.before, f.i00, f.i01, f.i11
	det := i00*i11 - i01*i01
	if !(det > 0) {
		return 0, 0, false
	}
	delay = (f.b0*i11 - f.b1*i01) / det
	skew = (f.b1*i00 - f.b0*i01) / det
	most := 0.5 * float64(r.scale.times)
	if far := math.Abs(delay); far > most {
		delay, skew = delay*most/far, skew*most/far
	}
	r.shift(before.centre, delay, skew)
	r.clock.centre = before.centre + i01/i00
	r.clock.delayError = math.Sqrt(1 / i00)
	r.clock.skewError = math.Sqrt(i00 / det)
	return delay, skew, true
}

// track follows the clock from the first seen symbols, which are transformed,
// to the end of the burst: each time as far ahead as the skew known so far
// reaches without losing count of a sample, then further with what those
// symbols have taught.
func (r *receiver) track(g geometry, symbols []symbol, seen int, way *channel) {
	before := r.clock
	for seen < len(symbols) {
		next := r.ahead(symbols, seen)
		r.transform(g, symbols[seen:next])
		seen = next
		if r.lost(symbols[seen-1].time) {
			r.search(g, symbols[:seen], way)
		}
		for range 2 {
			r.follow(g, symbols[:seen], way, before)
		}
	}
	if r.stale(g, symbols) {
		r.transform(g, symbols)
	}
	r.follow(g, symbols, way, before)
}

// surest is the least error that is believed of a skew.
const surest = 0.1e-6

// ahead is the end of the symbols that the clock reaches from seen ones on.
func (r *receiver) ahead(symbols []symbol, seen int) (next int) {
	known := symbols[max(seen-1, 0)].time
	next = seen + 1
	for ; next < len(symbols); next++ {
		t := symbols[next].time
		drift := 4 * max(r.clock.skewError, surest) * (t - r.clock.centre)
		if drift > 0.1*float64(r.scale.times) && t > 2*known {
			break
		}
	}
	return next
}

// lost tells whether the clock's position at a time is so uncertain that it has to
// be searched for, and makes room for that.
func (r *receiver) lost(time float64) bool {
	reach := 4 * (r.clock.delayError + max(r.clock.skewError, surest)*(time-r.clock.centre))
	if reach <= 0.25*float64(r.scale.times) {
		return false
	}
	r.clock.skewError = max(r.clock.skewError, surest)
	return true
}

// stale tells whether any symbol was transformed by a clock so far off that its
// carriers are mixed.
func (r *receiver) stale(g geometry, symbols []symbol) bool {
	far := 0.2e-6 * min(1, 4096*float64(r.scale.times)/float64(g.n))
	for i := range symbols {
		if math.Abs(symbols[i].skew-r.clock.skew) > far {
			return true
		}
	}
	return false
}
