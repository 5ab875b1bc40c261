package ofdm

// Clocks of leads are followed beyond a straight line. Two sound cards drift apart by
// some tenths of a ppm a minute, as they warm up; over a burst of a few seconds that
// bends the line by 10 ns and more, which a constellation of 2^18 points and more
// cannot bear. Each symbol's pilots tell its delay; a Rauch-Tung-Striebel smoother
// (AIAA Journal 3(8), 1965) with a random walk of the skew makes of all of them as
// much of a curve as they prove.

// drift is the random walk of skew that is expected: its variance after a minute.
const drift = 0.5e-6 * 0.5e-6

// bend is the smoother's state at one symbol: mean and covariance of delay, in
// internal samples, and skew.
type bend struct {
	time, grad, info float64
	d, s             float64 // mean, given the symbols up to this one; at the end given all
	dd, ds, ss       float64 // covariance, given the symbols up to this one
	pd               float64 // mean and covariance, given the symbols before
	pdd, pds, pss    float64
}

// wander follows the clock's bends on symbols of one channel that the clock has been
// followed through and takes them out of the symbols; update brings the estimate of
// their channel up to date.
func (r *receiver) wander(g geometry, symbols []symbol, way *channel, update func(*receiver, []symbol)) {
	if !r.prof.wide {
		return // over the air, stations move more than that
	}
	for range 4 {
		r.bends = resize(r.bends, len(symbols))
		for i := range symbols {
			s, b := &symbols[i], &r.bends[i]
			*b = bend{time: s.time}
			for k, x := range s.ref {
				if x != 0 {
					slope(&b.grad, &b.info, g, k, s.y[k], way.h[k]*x, way.noise[k]*s.loud)
				}
			}
		}
		r.smooth()
		for i := range symbols {
			rotate(symbols[i].y, g, r.bends[i].d)
		}
		floor := way.floor
		if update(r, symbols); way.floor > 0.9*floor {
			return
		}
	}
}

// smooth fills d of the bends.
func (r *receiver) smooth() {
	q := drift / (60 * float64(baseRate*r.scale.times)) // variance of the skew per internal sample
	bends := r.bends
	for i := range bends {
		b := &bends[i]
		if i == 0 {
			// The straight line is as likely as another one near by.
			b.pdd, b.pss = 0.02*0.02, 1e-12
		} else {
			a := &bends[i-1]
			t := b.time - a.time
			b.pd = a.d + t*a.s
			b.s = a.s
			b.pdd = a.dd + 2*t*a.ds + t*t*a.ss + q*t*t*t/3
			b.pds = a.ds + t*a.ss + q*t*t/2
			b.pss = a.ss + q*t
		}
		// The symbol's delay is known to be grad/info with variance 1/info.
		gain := 1 / (1 + b.info*b.pdd)
		step := gain * (b.grad - b.info*b.pd)
		b.d = b.pd + b.pdd*step
		b.s += b.pds * step
		b.dd = b.pdd * gain
		b.ds = b.pds * gain
		b.ss = b.pss - b.info*gain*b.pds*b.pds
	}
	for i := len(bends) - 2; i >= 0; i-- {
		b, c := &bends[i], &bends[i+1]
		t := c.time - b.time
		det := c.pdd*c.pss - c.pds*c.pds
		if !(det > 0) {
			continue
		}
		// What the filter knew of c, times Fᵀ, and its inverse: the smoother's gain.
		dd, ds := b.dd+t*b.ds, b.ds
		sd, ss := b.ds+t*b.ss, b.ss
		e, f := c.d-c.pd, c.s-b.s
		x, y := (c.pss*e-c.pds*f)/det, (c.pdd*f-c.pds*e)/det
		b.d += dd*x + ds*y
		b.s += sd*x + ss*y
	}
}
