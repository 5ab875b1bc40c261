package ofdm

import (
	"math"
	"slices"

	"lightsong/modem"
)

// Motion. Where an end moves with the speed v the direct wave comes with a
// clock of its own, v/c fast or slow, and the echoes turn against one another:
// after T seconds the channel at frequency f has the correlation
//
//	ρ(T) = sin(kvT)/(kvT),  k = 2πf/c,
//
// of a diffuse field with what it was (docs/air.md). Up to maxSkew the first is
// nothing new to the receiver; beyond that the header is tried with other
// clocks. The second makes one channel for the whole burst wrong by
// 2·P·(1−ρ(T)), P being the energy of the echoes. A receiver that could not read
// everything measures how the channel changes on what the decoder believes, and
// then gives every symbol a channel of its own, in which the other symbols count
// the less the further away they are.
//
// Where echoes outlast the time in which they change (delay spread times Doppler
// spread near 1, a hard room at 0.5 m/s) nothing can be learned of them; then
// they are noise, and the direct wave alone carries the mode.

const speedOfSound = 343. // m/s

// dopplers are the clocks by which a header is tried: as if everything lay
// still, and if that fails as if it came nearer or went away; each is searched
// maxSkew to either side, so that 0.6 m/s straight on is the most.
var dopplers = []float64{0, -2 * maxSkew, 2 * maxSkew, -4 * maxSkew, 4 * maxSkew}

// change is how a channel changes during a burst.
type change struct {
	speed    float64 // m/s, that of a diffuse field which changes as this one does; 0: none was seen
	variable float64 // the energy of what changes, as power in channel
	noise    float64 // what differs between any two symbols, variance
	lo, hi   float64 // Hz, of the band
	rate     float64 // internal samples per second
	known    bool    // there was enough to tell
}

// correlation after a time in internal samples, mean over the band.
func (c *change) correlation(speed, samples float64) float64 {
	// ∫ sin(af)/(af) over the band; a table of 8 frequencies is within 1 % while
	// it is above 0.1.
	const points = 8
	var sum float64
	for i := range points {
		f := c.lo + (c.hi-c.lo)*(float64(i)+0.5)/points
		x := 2 * math.Pi * f / speedOfSound * speed * samples / c.rate
		if x < 1e-6 {
			sum++
		} else {
			sum += math.Sin(x) / x
		}
	}
	return sum / points
}

// structure is the mean square of the difference of two symbols' channels that
// lie so many internal samples apart.
func (c *change) structure(samples float64) float64 {
	return 2 * c.variable * (1 - c.correlation(c.speed, samples))
}

// dopplerSpread is the root mean square Doppler spread in Hz of the changing
// part, at the middle of the band: that of a diffuse field, f·v/c/√3.
func (c *change) dopplerSpread() float64 {
	if !c.known {
		return math.NaN()
	}
	return (c.lo + c.hi) / 2 * c.speed / speedOfSound / math.Sqrt(3)
}

// speeds that are tried, m/s: by factors of √2 from where a burst of 2 s does not
// notice.
var speeds = func() (v [19]float64) {
	for i := range v {
		v[i] = 0.00125 * math.Pow(2, float64(i)/2)
	}
	return v
}()

// lags are the distances in symbols over which the channel is compared.
var lags = [...]int{1, 2, 3, 5, 8, 13, 21, 34}

// measure compares the symbols' own channels, on carriers where what was sent is
// known well enough in both. The mean square of the difference over the lag ℓ is
// 2·noise + 2·variable·(1 − ρ(ℓ)); of the speeds the one that fits best is taken.
func (r *receiver) measure(symbols []symbol, g geometry) {
	c := &r.change
	*c = change{
		lo: r.plan.class.lo, hi: r.plan.class.hi,
		rate: baseRate * float64(r.scale.times),
	}
	if !r.tells(symbols) {
		return
	}
	const (
		least = 0.3  // energy of a reference that is believed
		pairs = 8000 // carriers compared at a lag; the mean is then known to 1 %
	)
	var value, weight, time [len(lags)]float64
	n := 0
	for _, lag := range lags {
		if lag >= len(symbols) {
			break
		}
		stride := max(1, (len(symbols)-lag)*g.carriers/pairs)
		var sum, count float64
		at := 0
		for i := range symbols[lag:] {
			a, b := &symbols[i], &symbols[i+lag]
			if max(a.loud, b.loud) > 1 {
				continue // hit by something else
			}
			for ; at < g.carriers; at += stride { // not the same ones in every pair
				x0, x1 := a.ref[at], b.ref[at]
				p0 := real(x0)*real(x0) + imag(x0)*imag(x0)
				p1 := real(x1)*real(x1) + imag(x1)*imag(x1)
				if p0 < least || p1 < least {
					continue
				}
				d := quotient(a.y[at], x0, p0) - quotient(b.y[at], x1, p1)
				// A weak reference makes much of the noise.
				w := float64(min(p0, p1))
				sum += w * float64(real(d)*real(d)+imag(d)*imag(d))
				count += w
			}
			at -= g.carriers
		}
		if count < 200 {
			continue
		}
		value[n], weight[n] = sum/count, count
		time[n] = float64(lag * g.length())
		n++
	}
	if n < 3 {
		return
	}
	c.known = true
	// Without motion: one level.
	var w, y float64
	for i := range n {
		w += weight[i]
		y += weight[i] * value[i]
	}
	mean := y / w
	var still float64
	for i := range n {
		still += weight[i] * (value[i] - mean) * (value[i] - mean)
	}
	c.noise = mean / 2
	best := still
	for _, speed := range speeds {
		var s1, s11, sy, syy, s1y float64
		for i := range n {
			x := 1 - c.correlation(speed, time[i])
			s1 += weight[i] * x
			s11 += weight[i] * x * x
			sy += weight[i] * value[i]
			s1y += weight[i] * x * value[i]
			syy += weight[i] * value[i] * value[i]
		}
		det := w*s11 - s1*s1
		if det <= 1e-9*w*s11 {
			continue
		}
		slope := (w*s1y - s1*sy) / det
		level := (sy - slope*s1) / w
		if slope <= 0 || level <= 0 {
			continue
		}
		// No more can change than there is.
		slope = min(slope, 2*r.bodyWay.power)
		level = (sy - slope*s1) / w
		var cost float64
		for i := range n {
			x := 1 - c.correlation(speed, time[i])
			d := value[i] - level - slope*x
			cost += weight[i] * d * d
		}
		if cost < best {
			best = cost
			c.speed, c.variable, c.noise = speed, slope/2, level/2
		}
	}
	// A change that is lost in the noise, or explains no more than chance does, is
	// none: each mean is known to value/√count, so what the fit gains is χ².
	const slight, chance = 0.03, 40
	if c.structure(time[n-1]) < slight*2*c.noise || still-best < chance*mean*mean {
		c.speed, c.variable, c.noise = 0, 0, mean/2
	}
}

// tells is whether there is motion in the profile and the symbols are enough to
// tell of it.
func (r *receiver) tells(symbols []symbol) bool { return !r.prof.wide && len(symbols) >= 4 }

func quotient(y, x complex64, power float32) complex64 {
	return complex((real(y)*real(x)+imag(y)*imag(x))/power, (imag(y)*real(x)-real(y)*imag(x))/power)
}

// pursue gives every symbol of the body a channel of its own: all symbols are
// used, as if their noise were greater by what the channel has changed since. It
// reports whether that is worth while.
func (r *receiver) pursue(body, all []symbol) bool {
	const (
		slight  = 0.15 // of the noise: less change during the burst is borne
		useless = 30   // times the noise: symbols that say so little are left out
	)
	c := &r.change
	span := all[len(all)-1].time - all[0].time
	if c.speed == 0 || c.structure(span) < slight*2*c.noise {
		return false
	}
	for len(r.ways) < len(body) {
		r.ways = append(r.ways, channel{})
	}
	var power, floor float64
	for i := r.plan.training; i < len(body); i++ {
		r.window = r.window[:0]
		for j := range all {
			s := all[j]
			s.loud += float32(c.structure(math.Abs(s.time-body[i].time)) / c.noise)
			if s.loud < useless || s.time == body[i].time {
				r.window = append(r.window, s)
			}
		}
		way := &r.ways[i]
		r.est.estimate(way, r.plan.body, r.scale.times, r.window)
		power += way.power
		floor += way.floor
	}
	n := float64(len(body) - r.plan.training)
	r.bodyWay.power, r.bodyWay.floor = power/n, floor/n
	r.pursued = true
	return true
}

// way is the channel of symbol i of the body.
func (r *receiver) way(i int) *channel {
	if r.pursued {
		return &r.ways[i]
	}
	return &r.bodyWay
}

// steer is how fast the clock of the direct wave may turn, as a random walk: the
// square of what the skew changes by, per sample at the base rate. A hand
// that swings at 0.5 m/s turns it by 1.5e-4 in 50 ms.
const steer = 9e-12

// chase follows the direct wave symbol by symbol, as no single skew does when a
// hand turns, by a Kalman filter of delay and skew on the known carriers. from is
// the clock at the first symbol, symbols[:seen] are wholly known. It keeps what it
// finds if the known carriers fit so much better as chance does not explain, and
// reports that with the clock at the end; otherwise the symbols are as they were.
func (r *receiver) chase(g geometry, symbols []symbol, seen int, from clock, way *channel) (end clock, ok bool) {
	if r.prof.wide || len(symbols) < seen+3 {
		return end, false
	}
	before := r.clock
	r.est.estimate(way, g, r.scale.times, symbols)
	old := r.fits(symbols[seen:], way)

	r.clock = from
	r.transform(g, symbols[:seen])
	r.est.estimate(way, g, r.scale.times, symbols[:seen])
	unit := float64(r.scale.times)
	// Of the errors of delay and skew at centre: variances and covariance.
	centre := symbols[seen-1].time
	p00 := max(from.delayError*from.delayError, 0.01*unit*unit)
	p11 := max(from.skewError*from.skewError, 1e-10)
	p01 := 0.
	for i := seen; i < len(symbols); i++ {
		s := &symbols[i]
		dt := s.time - centre
		q := steer / unit
		p00 += 2*dt*p01 + dt*dt*p11 + q*dt*dt*dt/3
		p01 += dt*p11 + q*dt*dt/2
		p11 += q * dt
		centre = s.time
		r.transform(g, symbols[i:i+1])
		delay, variance := r.late(g, s, way, min(3*math.Sqrt(p00), 3*unit))
		gain := p00 + variance
		r.shift(centre, delay*p00/gain, delay*p01/gain)
		rotate(s.y, g, delay*p00/gain)
		p11 -= p01 * p01 / gain
		p01 -= p01 * p00 / gain
		p00 -= p00 * p00 / gain
	}
	end = r.clock
	end.centre, end.delayError, end.skewError = centre, math.Sqrt(p00), math.Sqrt(p11)
	r.clock = before
	r.est.estimate(way, g, r.scale.times, symbols)
	const chance = 4 // per symbol: it has a delay of its own
	if now := r.fits(symbols[seen:], way); now < old-chance*float64(len(symbols)) {
		return end, true
	}
	r.transform(g, symbols)
	r.est.estimate(way, g, r.scale.times, symbols)
	return end, false
}

// fits is how badly the known carriers of symbols fit the channel: twice the
// negative logarithm of their likelihood, for noise of one strength.
func (r *receiver) fits(symbols []symbol, way *channel) float64 {
	var sum, n float64
	for i := range symbols {
		s := &symbols[i]
		for k, x := range s.ref {
			if x != 0 {
				d := s.y[k] - way.h[k]*x
				sum += float64(real(d)*real(d) + imag(d)*imag(d))
				n++
			}
		}
	}
	return 2 * n * math.Log(max(sum, 1e-30)/max(n, 1))
}

// late is how many internal samples later than thought a symbol's known carriers
// came, within reach, and the variance of that.
func (r *receiver) late(g geometry, s *symbol, way *channel, reach float64) (delay, variance float64) {
	half := max(1, int(math.Ceil(reach/(0.25*float64(r.scale.times)))))
	pitch := reach / float64(half)
	r.profiles = resize(r.profiles, 2*half+1)
	r.profile(r.profiles, g, s, way, half, pitch)
	best := half
	for i, v := range r.profiles {
		if real(v) > real(r.profiles[best]) {
			best = i
		}
	}
	delay = float64(best-half) * pitch
	sin1, cos1 := math.Sincos(2 * math.Pi * delay / float64(g.n))
	var grad, info, left, n float64
	sin, cos := math.Sincos(2 * math.Pi * delay * float64(g.first) / float64(g.n))
	for k, x := range s.ref {
		if x != 0 {
			kappa := 2 * math.Pi * float64(g.first+k) / float64(g.n)
			e := way.h[k] * x
			y := s.y[k]
			y = complex(real(y)*float32(cos)-imag(y)*float32(sin), real(y)*float32(sin)+imag(y)*float32(cos))
			grad -= kappa * float64(imag(y)*real(e)-real(y)*imag(e))
			info += kappa * kappa * float64(real(e)*real(e)+imag(e)*imag(e))
			d := y - e
			left += float64(real(d)*real(d) + imag(d)*imag(d))
			n++
		}
		sin, cos = sin*cos1+cos*sin1, cos*cos1-sin*sin1
	}
	if !(info > 0) || n == 0 {
		return 0, math.Inf(1)
	}
	delay += max(-pitch, min(pitch, grad/info))
	return delay, max(left/n, 1e-12) / (2 * info)
}

// suit is what a mode makes of a single frame of the length that suits it.
type suit struct {
	bps     float64  // 0: it takes too long
	samples float64  // internal, of the body
	body    geometry // of its symbols
}

// wanted is the mode in which the receiver would like the next burst, having
// seen an SNR in dB on the scale of the tables: the fastest that needs less by a
// margin. What it saw is carried over to the other modes' symbols: what echoes
// make of them that outlast their prefix, and what the channel changes while
// their bursts last. A burst that came whole also speaks for its own mode, and
// one that lost frames against every faster one of symbols no longer than its
// own, whatever the SNR; one that lost all of them not against shorter symbols,
// for it may be the change of the channel that nothing was read for.
func (r *receiver) wanted(snr float64, way *channel, b *modem.Burst) (mcs int, ok bool) {
	const (
		margin = 1.5  // dB
		sure   = 0.05 // of the noise: that much is always thought to be there
	)
	if math.IsNaN(snr) || math.IsInf(snr, 0) || !(way.floor > 0) || r.plan.isBlock {
		return 0, false // what a block sees says nothing of other symbols
	}
	if r.suits == nil {
		var pl plan
		for i := range r.prof.modes {
			var v suit
			if pl.set(r.prof, r.scale, i, 1, r.prof.modes[i].octets, 0) == nil {
				v = suit{
					bps:     float64(8*pl.octets) / pl.seconds(r.scale),
					samples: float64(pl.bodyCount * pl.body.length()),
					body:    pl.body,
				}
			}
			r.suits = append(r.suits, v)
		}
	}
	c, p := &r.change, &r.plan
	now := way.overlap(p.head, r.scale)
	lost := slices.ContainsFunc(b.Frames, func(f []byte) bool { return f == nil })
	none := !slices.ContainsFunc(b.Frames, func(f []byte) bool { return f != nil })
	outrun := p.frames > 0 && none && p.body.n > p.head.n
	switch {
	case outrun:
		// Long symbols of a path that changes see nothing; the short ones of the head
		// tell what such would.
		way = &r.headWay
		snr, now = way.snr(p.head), way.overlap(p.head, r.scale)
	case p.frames > 0:
		mcs, ok = p.mcs, !lost
		now = way.overlap(p.body, r.scale)
		if !r.pursued { // what has been followed is no noise
			now += c.within(float64(p.bodyCount * p.body.length()))
		}
	}
	for i, v := range r.suits {
		if v.bps == 0 || ok && v.bps <= r.suits[mcs].bps || outrun && v.body.n > p.head.n {
			continue
		}
		if lost && v.bps >= r.suits[p.mcs].bps && (v.body.n == p.body.n || v.body.n < p.body.n && !none) {
			continue
		}
		then := way.overlap(v.body, r.scale) + c.within(v.samples)
		change := max(sure, 1+(then-now)/way.floor)
		if r.prof.modes[i].snr+margin+10*math.Log10(change) <= snr {
			mcs, ok = i, true
		}
	}
	if !ok {
		mcs = 0 // for want of anything better
	}
	return mcs, true
}

// snr is what is seen through a channel in symbols of a geometry, in dB on the scale of the tables:
// in the whole band, of which the carriers are a part.
func (ch *channel) snr(g geometry) float64 {
	share := float64(g.carriers) / float64(g.n/2)
	return 10 * math.Log10(ch.power*share/ch.floor)
}

// overlap is the noise that a tail of echoes makes in symbols of a geometry: a
// wave that comes t after the prefix brings as much of the symbol before, and
// takes as much of this one's carriers from their places. Over an exponential
// tail of energy P and time constant τ that is 2·P·exp(−prefix/τ)·(τ/n)·(1 −
// exp(−n/τ)), at most all of it that comes late.
func (ch *channel) overlap(g geometry, s scale) float64 {
	return beyond(ch.tail, ch.tau, g, s)
}

// beyond is the same of echoes of an energy that decay with a time constant in
// internal samples.
func beyond(tail, tau float64, g geometry, s scale) float64 {
	if tail == 0 || tau == 0 {
		return 0
	}
	late := tail * math.Exp(-float64(g.cp-g.advance(s))/tau)
	share := tau / float64(g.n)
	return late * min(1, 2*share*(1-math.Exp(-1/share)))
}

// within is the variance of the channel around its mean over a time in internal
// samples: two moments of it lie a third of it apart on average.
func (c *change) within(samples float64) float64 {
	if c.speed == 0 {
		return 0
	}
	return c.variable * (1 - c.correlation(c.speed, samples/3))
}
