package ofdm

import (
	"math"

	"lightsong/modem"
	"lightsong/modem/dsp"
)

// Demodulator turns samples into events. It implements modem.Demodulator and
// belongs to one goroutine. It keeps the samples of the burst in progress, at
// most maxSeconds of them.
type Demodulator struct {
	prof    *profile
	scale   scale
	finders []*finder
	thinned thinned // of what is searched; without a thin nothing is
	rx      *receiver

	buf    []float32
	right  []float32 // the second channel; as long as buf
	half   []float32 // a left sample that came without its right one
	lead   int       // channel that the burst in progress was found on
	origin int64     // number of buf[0] in the stream
	state  state
	found  *finder
	shape  int     // of the blocks that the burst may be, the next to try
	looked bool    // at the burst, in vain
	near   int64   // where found saw its chirp
	start  float64 // of the burst
	end    int64   // of it, when its header is known
	watch  watch   // that it goes on
	inside inside  // what comes in its middle
	event  modem.Burst
	nils   [][]byte
}

type state uint8

const (
	searching state = iota // for a chirp
	locating               // a chirp was seen: waiting for what surrounds it
	heading                // waiting for the end of the header
	reading                // waiting for the end of the burst
)

// NewDemodulator makes the demodulator of a profile for a sample rate. Errors
// wrap ErrProfile.
func NewDemodulator(name string, rate int) (*Demodulator, error) {
	p, s, err := find(name, rate)
	if err != nil {
		return nil, err
	}
	d := &Demodulator{prof: p, scale: s, rx: newReceiver(p, s)}
	d.thinned.thin = thinnerFor(p, s)
	for i := range p.classes {
		d.finders = append(d.finders, newFinder(p, s, i, d.thinned.thin))
	}
	d.inside.finders = findersInside(p, s, d.finders)
	return d, nil
}

// Reset implements modem.Demodulator.
func (d *Demodulator) Reset() {
	d.origin += int64(len(d.buf))
	d.buf, d.right, d.half = d.buf[:0], d.right[:0], d.half[:0]
	d.searchFrom(d.origin)
}

// searchFrom looks for bursts from sample n of the stream on.
func (d *Demodulator) searchFrom(n int64) {
	d.state = searching
	for _, f := range d.finders {
		f.next, f.doubts = n, false
	}
	d.thinned.restart(n)
}

// loudest is the largest sample that is believed, far above full scale.
const loudest = 1e4

// Push implements modem.Demodulator.
func (d *Demodulator) Push(samples []float32, emit func(modem.Event)) {
	const piece = 1 << 14 // bounds what the buffer grows by
	for len(samples) > 0 {
		n := min(len(samples), piece)
		if d.prof.pair {
			d.split(samples[:n])
		} else {
			d.buf = appendSane(d.buf, samples[:n])
		}
		samples = samples[n:]
		for d.step(emit) {
		}
		d.forget()
	}
}

// appendSane appends samples, 0 for those that are not believed.
func appendSane(dst, samples []float32) []float32 {
	at := len(dst)
	dst = append(dst, samples...)
	for i, v := range dst[at:] {
		if !(v > -loudest && v < loudest) { // NaN too
			dst[at+i] = 0
		}
	}
	return dst
}

// split takes pairs of samples apart.
func (d *Demodulator) split(samples []float32) {
	left, right := len(d.buf), len(d.right)
	for _, v := range samples {
		if len(d.half) == 0 {
			d.half = append(d.half, v)
			continue
		}
		d.buf = append(d.buf, d.half[0])
		d.right = append(d.right, v)
		d.half = d.half[:0]
	}
	for _, x := range [][]float32{d.buf[left:], d.right[right:]} {
		appendSane(x[:0], x)
	}
}

// have is the number of the first sample not yet pushed.
func (d *Demodulator) have() int64 { return d.origin + int64(len(d.buf)) }

// from are the stored samples from number n on.
func (d *Demodulator) from(n int64) []float32 { return d.channel(d.lead)[n-d.origin:] }

// channel are the stored samples of one channel.
func (d *Demodulator) channel(c int) []float32 {
	if c == 1 {
		return d.right
	}
	return d.buf
}

// step does what the samples allow and reports whether there may be more.
func (d *Demodulator) step(emit func(modem.Event)) bool {
	switch d.state {
	case searching:
		return d.search()
	case locating:
		return d.locate(emit)
	case heading:
		return d.readHeader(emit)
	default:
		return d.readBurst(emit)
	}
}

// search lets the finder that is furthest behind, of those that can, look at its
// next block.
func (d *Demodulator) search() bool {
	if d.thinned.thin != nil {
		for c := range d.prof.channels() {
			d.thinned.fill(c, d.channel(c), d.origin)
		}
	}
	var f *finder
	for _, g := range d.finders {
		if d.ready(g) && (f == nil || g.next < f.next) {
			f = g
		}
	}
	switch {
	case f == nil:
		return false
	case f.sketch == nil:
		d.inspect(f, f.next)
	case f.doubts:
		f.doubts = false
		d.inspect(f, f.doubt)
	default:
		d.suspect(f)
		if f.doubts {
			return true
		}
	}
	if d.state == searching {
		f.next += int64(f.step())
	}
	return true
}

// ready is whether there are samples for what the finder does next.
func (d *Demodulator) ready(f *finder) bool {
	switch {
	case f.sketch == nil:
		return f.next+int64(f.n) <= d.have()
	case f.doubts:
		return f.doubt+int64(f.n) <= d.have()
	}
	return d.sketched(f)+f.sketch.n <= len(d.thinned.x[d.prof.channels()-1])
}

// sketched is the thinned sample at which the next block of the finder's sketch
// begins.
func (d *Demodulator) sketched(f *finder) int {
	return int(f.next+int64(f.sketch.behind)-d.thinned.at) / d.thinned.thin.Every()
}

// suspect lets the finder's sketch look at its next block.
func (d *Demodulator) suspect(f *finder) {
	k := f.sketch
	from := d.sketched(f)
	for c := range d.prof.channels() {
		lag, ok := k.scan(d.thinned.x[c][from:][:k.n])
		if !ok {
			continue
		}
		// The chirp is to lie at the end of the block that it is looked for in.
		at := d.thinned.at + int64((from+lag)*k.thin.Every()-k.behind)
		margin := int64(min(f.hop()/2, 16*k.thin.Every()))
		f.doubt, f.doubts = max(d.origin, at+margin-int64(f.hop())), true
		return
	}
}

// inspect looks for the finder's chirp in the block that begins at sample n.
func (d *Demodulator) inspect(f *finder, n int64) {
	for d.lead = range d.prof.channels() {
		if lag, ok := f.scan(d.from(n)[:f.n], int(max(0, f.next-n)), f.hop()); ok {
			d.found, d.near, d.state = f, n+int64(lag), locating
			return
		}
	}
}

// locate finds the direct wave around the chirp.
func (d *Demodulator) locate(emit func(modem.Event)) bool {
	f := d.found
	first := max(d.near-int64(f.hop()/2), d.origin)
	if first+int64(f.n) > d.have() {
		return false
	}
	d.start = float64(first) + f.pinpoint(d.from(first)[:f.n], int(d.near-first))
	if d.prof.pair {
		d.lead = 1 - d.lead
		other := float64(first) + f.pinpoint(d.from(first)[:f.n], int(d.near-first))
		d.lead = 1 - d.lead
		d.rx.lag = math.Round(other - d.start)
	}
	emit(modem.Event{Kind: modem.Preamble, Start: int64(math.Round(d.start)), Quality: unmeasured()})
	d.state, d.shape = heading, 0
	return true
}

func (d *Demodulator) readHeader(emit func(modem.Event)) bool {
	ready, ok := d.tryHeader()
	if !ready {
		return false
	}
	if !ok {
		emit(modem.Event{Kind: modem.Missed, Start: int64(math.Round(d.start)), End: int64(math.Round(d.start)) + int64(d.found.l), Quality: unmeasured()})
		d.state = searching
		d.found.next = max(d.found.next, d.near+1)
		return true
	}
	d.start = d.rx.clock.start
	p := &d.rx.plan
	d.end = int64(math.Round(d.start + float64(d.scale.device(p.samples))*(1+d.rx.clock.skew)))
	d.nils = resize(d.nils, p.frames)
	clear(d.nils)
	d.event = modem.Burst{MCS: modem.MCS(p.mcs), Frames: d.nils}
	d.beginWatch()
	d.inside.begin()
	d.rx.within = d.rx.within[:0]
	emit(d.told(modem.Announced, &d.event, &d.rx.headWay, p.head))
	d.state, d.looked = reading, false
	return true
}

// readHead reads the header from the channel that the chirp was found on, or else
// from the other one.
func (d *Demodulator) readHead(class int) bool {
	for range d.prof.channels() {
		if d.rx.readHeader(d.channel(d.lead), d.origin, d.start, class, d.found.inside) {
			return true
		}
		if d.prof.pair {
			d.lead = 1 - d.lead
			d.start += d.rx.lag
			d.rx.lag = -d.rx.lag
		}
	}
	return false
}

func (d *Demodulator) readBurst(emit func(modem.Event)) bool {
	if d.lookInside(emit) {
		return true
	}
	ready := d.end+d.rx.waits(!d.looked) <= d.have()
	if !ready && !d.gone() {
		return false
	}
	last := d.rx.heed(d.have()-d.end) || !ready
	if !ready {
		d.end = d.watch.at
	}
	if d.prof.pair {
		d.rx.second = d.channel(1 - d.lead)
	}
	b := d.rx.readBurst(d.channel(d.lead), d.origin)
	if !last && !whole(b) {
		d.looked = true
		return true
	}
	d.rx.settle()
	p := &d.rx.plan
	if p.frames > 0 {
		emit(d.told(modem.Received, b, &d.rx.bodyWay, p.body))
	} else {
		emit(d.told(modem.Received, b, &d.rx.headWay, p.head))
	}
	// The next burst may begin where this one ends, and that is known as well as the head has told the skew.
	early := int64(d.prof.taper*d.scale.times) + int64(maxSkew*(float64(d.end)-d.start))
	d.searchFrom(max(d.origin, d.end-early))
	return true
}

// tryHeader reads the header if it is there.
func (d *Demodulator) tryHeader() (ready, ok bool) {
	class := d.found.class
	c := &d.prof.classes[class]
	if !d.prof.inBlocks(class) {
		pl := headPlan(d.prof, d.scale, class, d.found.inside)
		if int64(math.Ceil(d.start+float64(pl.headerSamples())*d.scale.ratio)) > d.have() {
			return false, false
		}
		return true, d.readHead(class)
	}
	// The header is in the block, whose length is found by trying.
	for ; d.shape < len(d.prof.blocks); d.shape++ {
		b := d.prof.blocks[d.shape]
		n := (c.chirp + b.gap + b.n) * d.scale.times
		if int64(math.Ceil(d.start+float64(n)*d.scale.ratio)) > d.have() {
			return false, false
		}
		if d.rx.blocks.readHeader(d.buf, d.origin, d.start, class, b) {
			return true, true
		}
	}
	return true, false
}

// told is an event about the burst in progress with what was measured on it.
func (d *Demodulator) told(kind modem.EventKind, b *modem.Burst, way *channel, g geometry) modem.Event {
	start := int64(math.Round(d.start))
	peak := float32(0)
	from, to := max(start, d.origin)-d.origin, min(d.end, d.have())-d.origin
	for c := range d.prof.channels() {
		for _, v := range d.channel(c)[from:max(from, to)] {
			peak = max(peak, v, -v)
		}
	}
	snr := way.snr(g)
	doppler := math.NaN()
	want, wants := 0, false
	snrs := unknownForms
	if kind == modem.Received {
		doppler = d.rx.change.dopplerSpread()
		want, wants = d.rx.wanted(snr, way, b)
		snrs = d.rx.foresee(snr, way)
	}
	return modem.Event{
		Kind: kind, Start: start, End: d.end, Burst: b,
		Quality: modem.Quality{
			SNR:         snr,
			EVM:         10 * math.Log10(way.floor/way.power),
			PPM:         -1e6 * d.rx.clock.skew,
			Peak:        20 * math.Log10(float64(max(peak, 1e-9))),
			DelaySpread: way.late / float64(baseRate*d.scale.times),
			Doppler:     doppler,
			Want:        modem.MCS(want),
			Wants:       wants,
			Form:        d.rx.plan.form(d.prof, d.scale),
			SNRs:        snrs,
		},
	}
}

func unmeasured() modem.Quality {
	n := math.NaN()
	return modem.Quality{SNR: n, EVM: n, PPM: n, Peak: n, DelaySpread: n, Doppler: n, SNRs: unknownForms}
}

// forget drops samples that nobody will look at again.
func (d *Demodulator) forget() {
	keep := d.have()
	for _, f := range d.finders {
		keep = min(keep, f.next-int64(f.n))
	}
	if d.thinned.thin != nil {
		d.thinned.forget(keep)
	}
	if d.state != searching {
		keep = min(keep, int64(d.start), d.near-int64(d.found.n))
	}
	keep -= 2 * dsp.InterpolateReach
	if n := int(keep - d.origin); n > 1<<15 {
		d.origin += int64(n)
		d.buf = d.buf[:copy(d.buf, d.buf[n:])]
		if d.prof.pair {
			d.right = d.right[:copy(d.right, d.right[n:])]
		}
	}
}
