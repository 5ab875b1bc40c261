package ofdm

import (
	"math"
	"slices"

	"lightsong/modem"
	"lightsong/modem/dsp"
)

// A burst may come in the middle of another one: where the medium is open both ways
// and bursts of bulk last half a second, a small packet then waits for a symbol
// instead, and the bulk is late by just what the small one takes.
// (IEEE 802.3br does so with frames: express traffic and preemptable traffic.)
//
//	| head | symbol | … | symbol | fade | the inner burst … fade | symbol | …
//	                     seam ┘                                  └ goes on
//
// At a seam, which is the beginning of a symbol, the outer burst fades out as a burst
// does that is over, the inner one follows, and the outer one goes on as if nothing had
// been. Both come from one sample clock, so that a receiver who has read the
// inner one's header knows to the sample where the rest is. It knows where seams are,
// too, and looks for an inner burst in no other place: that needs no chirp and no training, which would be
// half of a small packet's airtime, but some known carriers in the header's first symbol. (Blocks begin with
// their chirp as ever.) What is lost if the receiver errs is the outer burst.

const (
	seamRest   = 4096  // samples at the base rate: in a burst that is nearly over nothing is inserted; more than is looked at to find one
	seamReach  = 16    // by which its beginning may be mistaken: some ppm of a second
	seamFar    = 40    // and where the head does not tell the skew so well; the known carriers look alike 85 samples apart
	insetLimit = 24000 // that it lasts, half a second
	seamChance = 20    // squared standard deviations that it must stand out: by chance a seam in 2000 does, and a header is tried in vain
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
	return prof.seams && (p.inside || p.isBlock) && p.samples <= insetLimit*s.times
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

// InnerSamples implements modem.Inserter.
func (m *Modulator) InnerSamples(b *modem.Burst) int {
	var p plan
	if m.scale.ratio != 1 || m.prepareAt(&p, b, true) != nil || !p.fitsInside(m.prof, m.scale) {
		return 0
	}
	return p.samples
}

// AppendInner implements modem.Inserter.
func (m *Modulator) AppendInner(dst []float32, b *modem.Burst) ([]float32, error) {
	return m.appendAt(dst, b, true)
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
	finders []*finder    // of their beginnings, the quickest first; none where there are no seams
	reader  *Demodulator // of them; it has no samples of its own
	seam    int          // the next one to be looked at
	try     int          // index of the finder that looks there
	reading bool         // one was found
	length  int          // of all of them so far, internal samples
	emit    func(modem.Event)
	out     func(modem.Event) // of the caller
	ended   bool
}

// findersInside look for bursts in the middle of others; outside are those of the profile's chirps.
func findersInside(p *profile, s scale, outside []*finder) (some []*finder) {
	if !p.seams {
		return nil
	}
	for i := range p.classes {
		switch {
		case p.classes[i].inside > 0:
			some = append(some, newInsideFinder(p, s, i))
		case p.inBlocks(i):
			some = append(some, outside[i])
		}
	}
	slices.SortStableFunc(some, func(a, b *finder) int { return a.n - b.n })
	return some
}

// newInsideFinder is the finder of the known carriers that bursts of a class begin with in the middle of others.
func newInsideFinder(p *profile, s scale, class int) *finder {
	pl := headPlan(p, s, class, true)
	g := pl.head
	spectrum, period := make([]complex64, g.n/2+1), make([]float32, g.n)
	offset, every := pl.headComb(0)
	for j := offset; j < g.carriers; j += every {
		spectrum[g.first+j] = known(pl.headPart(), 0, j)
	}
	dsp.NewRealFFT(g.n).Inverse(period, spectrum)
	f := finderOf(append(slices.Clone(period[g.n-g.cp:]), period...), pl.class, s, seamChance)
	f.class, f.inside = class, true
	f.reach, f.early = seamReach*s.times, 1 // a lead has one wave
	return f
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
	reach := int(max(seamReach, min(4*r.clock.skewError*float64(at)/float64(d.scale.times), seamFar))) * d.scale.times
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

// beginInside begins to read the burst whose beginning a finder saw near a sample.
func (d *Demodulator) beginInside(f *finder, near int64) {
	in := &d.inside
	if in.reader == nil {
		in.reader = &Demodulator{prof: d.prof, scale: d.scale, finders: d.finders, rx: newReceiver(d.prof, d.scale)}
		in.reader.rx.outer = d.rx
		in.reader.rx.again = d.rx.again // what was lost within one may come again without
		in.emit = d.heardInside
	}
	v := in.reader
	v.found, v.near, v.lead, v.state = f, near, d.lead, locating
	v.rx.lag, v.rx.around = d.rx.lag, d.rx.clock
	at, _ := d.rx.plan.seam(d.prof, d.scale, in.seam)
	at += in.length + d.prof.taper*d.scale.times
	v.rx.around.start += float64(at) * d.rx.step()
	v.rx.around.centre -= float64(at)
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

// join transforms the symbols that begin a burst in the middle of another one. Both have the same clock and, where their heads
// are of the same numerology, the same channel, of which the outer one's training tells more than some carriers of a symbol. By how much the
// symbols are off where they should be tells the skew, over all the time between.
func (r *receiver) join(g geometry, head []symbol) {
	r.clock = r.around
	drift := -r.clock.skewError * r.clock.centre
	r.clock.centre, r.clock.delayError, r.clock.skewError = 0, math.Hypot(r.clock.delayError, drift), 0
	var way *channel
	if outer := r.outer; outer.plan.head == g && r.plan.class.inside > 1 {
		way = &r.headWay
		way.copy(&outer.headWay)
	}
	r.transform(g, head)
	centre, delay, _ := r.search(g, head, way)
	doubt := 0.25 * float64(r.scale.times)
	share := drift * drift / (drift*drift + doubt*doubt)
	r.shift(centre, 0, share*delay/(centre-r.around.centre))
	r.clock.skewError = r.around.skewError * math.Sqrt(1-share)
	for range 2 {
		r.transform(g, head)
		if way == nil {
			r.est.estimate(&r.headWay, g, r.scale.times, head)
		}
		r.follow(g, head, &r.headWay, r.clock)
	}
	r.transform(g, head)
	if way == nil {
		r.est.estimate(&r.headWay, g, r.scale.times, head)
	}
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
