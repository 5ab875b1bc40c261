package ofdm

import (
	"math"
	"slices"

	"lightsong/modem"
)

// A burst may come in the middle of another one: where the medium is open both ways
// and bursts of bulk last half a second, a small packet then waits for a symbol
// instead, and the bulk is late by just what the small one takes.
// (IEEE 802.3br does so with frames: express traffic and preemptable traffic.)
//
//	| head | symbol | … | symbol | fade | chirp … the inner burst … fade | symbol | …
//	                     seam ┘                                           └ goes on
//
// At a seam, which is the beginning of a symbol, the outer burst fades out as a burst
// does that is over, the inner one follows, and the outer one goes on as if nothing had
// been. Both come from one sample clock, so that a receiver who has read the
// inner one's header knows to the sample where the rest is. It knows where seams are,
// too, and looks for a chirp in no other place. What is lost if it errs is the outer
// burst.

const (
	seamRest   = 4096  // samples at the base rate: in a burst that is nearly over nothing is inserted; more than any chirp there and its header
	seamChirp  = 1024  // of the longest chirp of an inner burst
	seamReach  = 16    // by which its beginning may be mistaken: a few ppm of a second
	insetLimit = 24000 // that it lasts, half a second
)

// inset is a burst in the middle of another: before which symbol of the body, and
// how many internal samples it takes, its fade before it included.
type inset struct{ seam, length int }

// seam is the internal sample of a burst where a symbol of its body begins, if another
// burst may be inserted before it.
func (p *plan) seam(prof *profile, s scale, i int) (at int, ok bool) {
	if !prof.seams || p.isBlock || p.frames == 0 || i < max(1, p.training) || i >= p.bodyCount {
		return 0, false
	}
	at = p.bodyAt + i*p.body.length()
	return at, p.samples-at >= seamRest*s.times
}

// fitsInside tells whether the burst may be inserted into another of the profile.
func (p *plan) fitsInside(prof *profile, s scale) bool {
	return prof.seams && p.class.chirp <= seamChirp && p.samples <= insetLimit*s.times
}

// Seams implements modem.Inserter. Where samples are resampled there are none, as a seam
// then lies between two.
func (m *Modulator) Seams(dst []int, b *modem.Burst) []int {
	var p plan
	if m.scale.ratio != 1 || m.prepare(&p, b) != nil {
		return dst
	}
	for i := max(1, p.training); ; i++ {
		at, ok := p.seam(m.prof, m.scale, i)
		if !ok {
			return dst
		}
		dst = append(dst, at)
	}
}

// FitsInside implements modem.Inserter.
func (m *Modulator) FitsInside(b *modem.Burst) bool {
	var p plan
	return m.scale.ratio == 1 && m.prepare(&p, b) == nil && p.fitsInside(m.prof, m.scale)
}

// Insert implements modem.Inserter.
func (m *Modulator) Insert(x []float32, seam int, inner []float32) ([]float32, int) {
	channels := m.prof.channels()
	fade := m.prof.taper * m.scale.times
	at, n := channels*seam, channels*fade+len(inner)
	x = slices.Grow(x, n)[:len(x)+n]
	copy(x[at+n:], x[at:len(x)-n])
	copy(x[at+channels*fade:], inner)
	// Between two symbols one fades into the other: here out, and there in.
	for i := range fade {
		up := fadeIn(i, fade)
		for c := range channels {
			v := x[at+n+channels*i+c]
			x[at+channels*i+c] = v * (1 - up)
			x[at+n+channels*i+c] = v * up
		}
	}
	return x, n / channels
}

// addBody appends the symbols of the body.
func (r *receiver) addBody() {
	first := len(r.symbols)
	r.add(r.plan.body, r.plan.bodyAt, r.plan.bodyCount)
	for _, in := range r.within {
		for i := first + in.seam; i < len(r.symbols); i++ {
			r.symbols[i].at += in.length
			r.symbols[i].time += float64(in.length)
		}
	}
}

// inside is what a Demodulator knows of bursts in the middle of the one in progress.
type inside struct {
	finders []*finder    // of their chirps, the quickest first; none where there are no seams
	reader  *Demodulator // of them; it has no samples of its own
	seam    int          // the next one to be looked at
	try     int          // index of the finder that looks there
	reading bool         // one was found
	length  int          // of all of them so far, internal samples
	emit    func(modem.Event)
	out     func(modem.Event) // of the caller
	ended   bool
}

// findersInside are those of a profile's finders that look for bursts in the middle of others.
func findersInside(p *profile, finders []*finder) (some []*finder) {
	for _, f := range finders {
		if p.seams && p.classes[f.class].chirp <= seamChirp {
			some = append(some, f)
		}
	}
	slices.SortStableFunc(some, func(a, b *finder) int { return a.n - b.n })
	return some
}

// begin prepares for a new burst.
func (in *inside) begin() {
	in.seam, in.try, in.reading, in.length = 0, 0, false, 0
}

// lookInside does what the samples allow about bursts in the middle of the one in
// progress, and reports whether there may be more.
func (d *Demodulator) lookInside(emit func(modem.Event)) bool {
	in := &d.inside
	if len(in.finders) == 0 {
		return false
	}
	if in.reading {
		return d.readInside(emit)
	}
	r := d.rx
	at, ok := r.plan.seam(d.prof, d.scale, in.seam)
	if !ok {
		if in.seam >= r.plan.bodyCount {
			return false
		}
		in.seam++
		return true
	}
	at += in.length + d.prof.taper*d.scale.times
	begin := int64(math.Round(r.clock.start + float64(at)*r.step()))
	reach := seamReach * d.scale.times
	for ; in.try < len(in.finders); in.try++ {
		f := in.finders[in.try]
		first := max(begin-int64(reach), d.origin)
		if first+int64(f.n) > d.have() {
			return false
		}
		if lag, ok := f.scan(d.from(first)[:f.n], 0, 2*reach); ok {
			d.beginInside(f, first+int64(lag))
			return true
		}
	}
	in.seam++
	in.try = 0
	return true
}

// beginInside begins to read the burst whose chirp a finder saw near a sample.
func (d *Demodulator) beginInside(f *finder, near int64) {
	in := &d.inside
	if in.reader == nil {
		in.reader = &Demodulator{prof: d.prof, scale: d.scale, finders: d.finders, rx: newReceiver(d.prof, d.scale)}
		in.reader.rx.again = d.rx.again // what was lost within one may come again without
		in.emit = d.heardInside
	}
	v := in.reader
	v.found, v.near, v.lead, v.state = f, near, d.lead, locating
	v.rx.lag = d.rx.lag
	in.reading, in.ended = true, false
}

// readInside goes on with it.
func (d *Demodulator) readInside(emit func(modem.Event)) bool {
	in := &d.inside
	v := in.reader
	v.buf, v.right, v.origin = d.buf, d.right, d.origin
	in.out = emit
	for !in.ended && v.step(in.emit) {
	}
	in.out = nil
	if !in.ended {
		return false
	}
	in.reading = false
	return true
}

// heardInside takes what the reader tells.
func (d *Demodulator) heardInside(ev modem.Event) {
	in := &d.inside
	r, v := d.rx, in.reader
	switch ev.Kind {
	case modem.Announced:
		q := &v.rx.plan
		length := d.prof.taper*d.scale.times + q.samples
		// All of them take no longer than the burst, or there would be no end of it.
		if !q.fitsInside(d.prof, d.scale) || in.length+length > r.plan.samples {
			in.fail()
			return
		}
		r.within = append(r.within, inset{in.seam, length})
		in.length += length
		d.end += int64(math.Round(float64(length) * r.step()))
	case modem.Missed:
		in.fail()
	case modem.Received:
		if in.ended {
			return
		}
		ev.Within = true
		in.out(ev)
		in.out(d.told(modem.Announced, &d.event, &r.headWay, r.plan.head))
		in.seam, in.try, in.ended = in.seam+1, 0, true
	}
}

// fail ends what was none.
func (in *inside) fail() {
	in.try++
	in.ended = true
}
