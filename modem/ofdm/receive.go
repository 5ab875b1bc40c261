package ofdm

import (
	"math"
	"slices"

	"lightsong/modem"
	"lightsong/modem/dsp"
)

// symbol is one received OFDM symbol.
type symbol struct {
	at    int         // its first internal sample in the burst
	time  float64     // the middle of what was transformed, internal samples
	skew  float64     // the clock's skew when it was transformed
	loud  float32     // noise in it relative to the others
	y     []complex64 // carriers, the direct wave at delay 0
	ref   []complex64 // what was sent on them, 0 where that is not known
	echo  []complex64 // taken out of y: echoes beyond the prefix (long symbols only)
	vague []float32   // variance of what ref stands for (long symbols only)
}

// clock maps internal samples of the burst to device samples: sample n lies at
// start + n·ratio·(1+skew).
type clock struct {
	start, skew float64
	centre      float64 // internal sample where the two errors below are independent
	delayError  float64 // standard deviation of the position at centre, internal samples
	skewError   float64
}

// receiver turns the samples of one burst into header, control block and frames.
// Between bursts it remembers nothing but what was heard of frames that failed.
type receiver struct {
	prof   *profile
	scale  scale
	coder  coder
	interp *dsp.Interpolator
	ffts   map[int]*dsp.RealFFT
	est    estimator
	blocks *blockReader // of profiles that have any
	long   longReader

	x      []float32 // device samples
	origin int64     // number of x[0] in the stream; the clock counts as the stream does
	within []inset   // bursts in the middle of this one
	outer  *receiver // of the burst in whose middle this one may be
	around clock     // that burst's, as if it had begun with this one
	clock  clock
	plan   plan

	time       []float32
	spectrum   []complex64
	values     []complex64 // storage of all symbols
	used       int
	reals      []float32 // likewise
	spare      int
	symbols    []symbol // head, then body
	headWay    channel
	bodyWay    channel
	bodyClock  clock  // before it was followed through the body
	seen       int    // symbols that were known then
	change     change // of the body's channel during the burst
	pursued    bool   // every symbol of the body has a channel of its own, in ways
	ways       []channel
	window     []symbol
	suits      []suit
	combWay    channel // on the carriers of a dense comb
	comb       []symbol
	combValues []complex64
	profiles   []complex128 // delay correlations of the symbols in a search
	llr        []modem.LLR  // of the coded bits, unscrambled; then their tanh(LLR/2)
	soft       []modem.LLR  // of a unit, in the circular buffers of its words
	info       []byte
	posterior  []modem.LLR
	levels     []float64 // of the noise in each symbol
	bends      []bend

	// Two channels: x and the symbols above are those of the one that the head was
	// read from.
	second       []float32 // the other channel's samples, numbered like x
	lag          float64   // how many device samples it is behind
	rightSymbols []symbol  // of the other channel; where both streams send the same they share ref
	views        []symbol
	pairWay      pairWay

	again *combiner

	store  []byte // octets of burst
	burst  modem.Burst
	frames [][]byte
}

func newReceiver(p *profile, s scale) *receiver {
	r := &receiver{prof: p, scale: s, coder: newCoder(), interp: dsp.NewInterpolator(), ffts: map[int]*dsp.RealFFT{}, again: newCombiner()}
	r.long.receiver = r
	r.long.fit.ffts = r.ffts
	if p.wide {
		r.est.doubt = leadDoubt
	}
	if len(p.blocks) > 0 {
		r.blocks = newBlockReader(r, p, s)
	}
	return r
}

// headPlan is the plan of a burst of the class as far as it is known before the
// header is.
func headPlan(p *profile, s scale, class int, inside bool) plan {
	pl := plan{class: &p.classes[class], classIndex: class, inside: inside, pilots: p.pilots, streams: p.channels()}
	pl.setHead(s)
	return pl
}

// alloc returns n zeros that live until the next burst.
func (r *receiver) alloc(n int) []complex64 {
	if r.used+n > len(r.values) {
		// What was handed out stays where it is; the next burst finds it in one piece.
		r.values = make([]complex64, max(2*len(r.values), r.used+n))
		r.used = 0
	}
	v := r.values[r.used:][:n:n]
	r.used += n
	clear(v)
	return v
}

// scratch is alloc for real values.
func (r *receiver) scratch(n int) []float32 {
	if r.spare+n > len(r.reals) {
		r.reals = make([]float32, max(2*len(r.reals), r.spare+n))
		r.spare = 0
	}
	v := r.reals[r.spare:][:n:n]
	r.spare += n
	return v
}

// add appends count symbols of a numerology from internal sample at on.
func (r *receiver) add(g geometry, at, count int) {
	for i := range count {
		start := at + i*g.length()
		r.symbols = append(r.symbols, symbol{
			at:   start,
			time: float64(start+g.cp-g.advance(r.scale)) + float64(g.n)/2,
			loud: 1,
			y:    r.alloc(g.carriers),
			ref:  r.alloc(g.carriers),
		})
	}
}

// step is the length of an internal sample in device samples.
func (r *receiver) step() float64 { return r.scale.ratio * (1 + r.clock.skew) }

// transform fills y of the symbols by the present clock.
func (r *receiver) transform(g geometry, symbols []symbol) {
	fft := r.ffts[g.n]
	if fft == nil {
		fft = dsp.NewRealFFT(g.n)
		r.ffts[g.n] = fft
	}
	r.time = resize(r.time, g.n)
	r.spectrum = resize(r.spectrum, g.n/2+1)
	adv := g.advance(r.scale)
	unit := float32(math.Sqrt(2*float64(g.carriers)) / float64(g.n))
	for i := range symbols {
		s := &symbols[i]
		pos := r.clock.start - float64(r.origin) + float64(s.at+g.cp-adv)*r.step()
		r.interp.Read(r.time, r.x, pos, r.step())
		fft.Forward(r.spectrum, r.time)
		for k := range s.y {
			v := r.spectrum[g.first+k]
			s.y[k] = complex(unit*real(v), unit*imag(v))
		}
		s.skew = r.clock.skew
		rotate(s.y, g, float64(adv))
	}
}

// rotate takes a delay of d internal samples out of the carriers y.
func rotate(y []complex64, g geometry, d float64) {
	w := 2 * math.Pi * d / float64(g.n)
	const stretch = 256 // the recurrence is started afresh now and then
	stepIm, stepRe := math.Sincos(w)
	var re, im float64
	for k, v := range y {
		if k%stretch == 0 {
			im, re = math.Sincos(w * float64(g.first+k))
		}
		a, b := float32(re), float32(im)
		y[k] = complex(real(v)*a-imag(v)*b, real(v)*b+imag(v)*a)
		re, im = re*stepRe-im*stepIm, re*stepIm+im*stepRe
	}
}

// shift applies a correction of the clock: at centre the burst was found delay
// later than thought, and running on by skew more.
func (r *receiver) shift(centre, delay, skew float64) {
	r.clock.start += (delay - skew*centre) * r.step()
	r.clock.skew = (1+r.clock.skew)*(1+skew) - 1
}

// shiftSymbols applies the same correction to symbols already transformed.
func shiftSymbols(symbols []symbol, g geometry, centre, delay, skew float64) {
	for i := range symbols {
		rotate(symbols[i].y, g, delay+skew*(symbols[i].time-centre))
	}
}

// readHeader finds out when exactly the burst that begins near start in the
// stream was sent and reads its header. It fills r.plan and r.clock. x are the
// samples from number origin on.
func (r *receiver) readHeader(x []float32, origin int64, start float64, class int, inside bool) bool {
	for _, skew := range dopplers {
		if skew != 0 && r.prof.wide {
			break // leads lie still
		}
		// A chirp that is compressed is found by its middle.
		shift := skew * float64(r.prof.classes[class].chirp*r.scale.times) / 2 * r.scale.ratio
		if r.tryHeader(x, origin, start-shift, skew, class, inside) {
			return true
		}
	}
	return false
}

// tryHeader is readHeader for a clock within maxSkew of skew.
func (r *receiver) tryHeader(x []float32, origin int64, start, skew float64, class int, inside bool) bool {
	r.x, r.origin, r.used = x, origin, 0
	r.spare = 0
	r.plan = headPlan(r.prof, r.scale, class, inside)
	p := &r.plan
	c := p.class
	g, times := p.head, r.scale.times
	r.symbols = r.symbols[:0]
	r.add(g, p.headAt, p.headCount)
	head := r.symbols
	r.coder.head = r.coder.head[:0]
	r.headReferences(0)

	if inside {
		r.join(g, head)
	} else {
		r.clock = clock{
			start: start, skew: skew, centre: 0,
			// The chirp is found to a sample or two, later or earlier by skew.
			delayError: 0.8*float64(times) + maxSkew/4*float64(p.chirp),
			skewError:  maxSkew / 4,
		}
		r.transform(g, head)
		r.search(g, head, nil)
		r.transform(g, head)
		r.est.estimate(&r.headWay, g, times, head)
		for range 2 {
			r.follow(g, head, &r.headWay, r.clock)
			r.est.estimate(&r.headWay, g, times, head)
		}
		r.transform(g, head)
		r.est.estimate(&r.headWay, g, times, head)
	}

	r.llr = resize(r.llr, c.coded)
	r.headLLRs(0, p.headerOnly, 0, c.coded)
	r.coder.header.set(c.coded)
	r.info = resize(r.info, headerInfoBits)
	if !r.coder.header.decode(r.info, r.llr) {
		return false
	}
	mcs, frames, octets, control := readHeader(r.info)
	if frames > 0 && octets == 0 || r.plan.setAt(r.prof, r.scale, inside, mcs, frames, octets, control) != nil {
		return false
	}
	return r.plan.class == c
}

// headReferences writes what is known of the head symbols from the given one
// on: training, pilots, and the coded bits in r.coder.head.
func (r *receiver) headReferences(from int) {
	p := &r.plan
	q := r.coder.qam(2)
	o := p.headOrder()
	base := 0
	for i := range r.symbols[:p.headCount] {
		s := i - p.headTraining
		n := 0
		if s >= 0 {
			n = p.headPlaces(s)
		}
		if i >= from {
			offset, every := p.headComb(max(s, 0))
			invert := spread(max(n, 1))
			place := 0
			ref := r.symbols[i].ref
			for j := range ref {
				ref[j] = known(p.headPart(), i, j)
				if s < 0 || j%every == offset {
					continue
				}
				if v := 2 * o.symbolAt(place, base, n, invert); v < len(r.coder.head) {
					ref[j] = q.point(r.coder.head[v:])
				} else if len(r.coder.head) == 0 || p.control > 0 && !p.joint {
					ref[j] = 0 // not known yet
				}
				place++
			}
		}
		base += n
	}
}

// headLLRs writes the LLRs of the coded bits at to at+n of the head, which lie
// in its symbols from…to (training excluded), to r.llr.
func (r *receiver) headLLRs(from, to, at, bits int) {
	p := &r.plan
	o := p.headOrder()
	q := r.coder.qam(2)
	base := 0
	for s := range to {
		n := p.headPlaces(s)
		if s >= from {
			sym := &r.symbols[s+p.headTraining]
			offset, every := p.headComb(s)
			invert := spread(max(n, 1))
			place := 0
			for j, y := range sym.y {
				if j%every == offset {
					continue
				}
				if b := 2*o.symbolAt(place, base, n, invert) - at; b >= 0 && b < bits {
					z, v := equalise(y, r.headWay.h[j], r.headWay.noise[j]*sym.loud)
					q.soften(r.llr[b:], z, v)
					for i := range 2 {
						if flip(at+b+i) != 0 {
							r.llr[b+i] = -r.llr[b+i]
						}
					}
				}
				place++
			}
		}
		base += n
	}
}

// equalise divides by the channel; v is the noise variance that remains.
func equalise(y, h complex64, noise float32) (z complex64, v float32) {
	p := real(h)*real(h) + imag(h)*imag(h) + 1e-30
	return complex((real(y)*real(h)+imag(y)*imag(h))/p, (imag(y)*real(h)-real(y)*imag(h))/p), noise/p + 1e-12
}

// readBurst reads everything behind the header. All samples of the burst are in
// x, which starts at number origin of the stream, as far as there will ever be
// any. The result is valid until the next call.
func (r *receiver) readBurst(x []float32, origin int64) *modem.Burst {
	if r.plan.isBlock {
		return r.blocks.readBurst(x, origin)
	}
	r.x, r.origin = x, origin
	p := &r.plan
	r.store = r.store[:0]
	r.burst = modem.Burst{MCS: modem.MCS(p.mcs)}
	r.change, r.pursued = change{}, false
	r.readControl()
	if p.frames > 0 {
		r.readFrames()
	}
	return &r.burst
}

// readControl follows the clock through the rest of the head and reads the
// control block.
func (r *receiver) readControl() {
	p, times := &r.plan, r.scale.times
	seen := len(r.symbols)
	r.coder.info = headerInfo(r.coder.info, p)
	r.coder.head = r.coder.header.encode(r.coder.head[:0], r.coder.info)
	for i := range r.coder.head {
		r.coder.head[i] ^= flip(i)
	}
	r.add(p.head, p.headAt+seen*p.head.length(), p.headCount-seen)
	r.headReferences(0)
	header := r.clock
	r.est.estimate(&r.headWay, p.head, times, r.symbols[:seen])
	r.track(p.head, r.symbols, seen, &r.headWay)
	r.est.estimate(&r.headWay, p.head, times, r.symbols)
	at, bits := p.controlBits()
	if bits == 0 {
		if !p.joint {
			r.burst.Control = noControl
		}
		return
	}
	r.llr = resize(r.llr, bits)
	r.headLLRs(0, p.headCount-p.headTraining, at, bits)
	ok := r.decodeControl(at, bits)
	if !ok {
		// The header tells whether it was the noise or a hand that turns.
		var end clock
		if end, ok = r.chase(p.head, r.symbols, seen, header, &r.headWay); ok {
			r.clock = end
			r.headLLRs(0, p.headCount-p.headTraining, at, bits)
			ok = r.decodeControl(at, bits)
		}
	}
	if ok {
		r.headReferences(seen - 1)
		if r.prof.wide && p.frames == 0 {
			r.est.estimate(&r.headWay, p.head, times, r.symbols) // the SNR is told by all of it
		}
	}
}

// noControl is the control block of bursts without one.
var noControl = []byte{}

// decodeControl decodes the control block from r.llr and reports whether it
// passed its check; then r.coder.head holds its coded bits.
func (r *receiver) decodeControl(at, bits int) bool {
	p := &r.plan
	r.info = resize(r.info, 8*(p.control+controlCheck))
	r.coder.control.set(len(r.info), bits)
	r.coder.control.decode(r.info, r.llr)
	octets := len(r.info) / 8
	r.store = grow(r.store, octets)
	pack(r.store[:octets], r.info)
	if !checked(r.store[:octets]) {
		return false
	}
	r.burst.Control = r.store[: octets-controlCheck : octets-controlCheck]
	r.coder.head = r.coder.control.encode(r.coder.head, r.info)
	for i := at; i < len(r.coder.head); i++ {
		r.coder.head[i] ^= flip(i)
	}
	return true
}

// prepareBody transforms the symbols of the body by the sender's clock and
// estimates their channel. all are the symbols that tell of it.
func (r *receiver) prepareBody() (body, all []symbol) {
	p, times := &r.plan, r.scale.times
	headSymbols := len(r.symbols)
	r.addBody()
	body = r.symbols[headSymbols:]
	for i := range body {
		offset, every := p.comb(i)
		for j := range body[i].ref {
			if i < p.training || j%every == offset {
				body[i].ref[j] = known(bodyPart, i, j)
			}
		}
	}
	all = body
	if p.dense > 0 {
		// Its first symbol has enough pilots for a start.
		r.bridge(body[:1])
		r.clock.centre, r.clock.delayError = body[0].time, 0.02*float64(times)
		r.transform(p.body, body[:1])
		r.estimateComb(body[:1])
		r.track(p.body, body, 1, &r.bodyWay)
		r.estimateComb(body)
		r.wander(p.body, body, &r.bodyWay, (*receiver).estimateComb)
		if r.loudness(body) {
			// What was hit has pulled at the clock, too.
			r.clock.delayError, r.clock.skewError = 0.02*float64(times), 1e-6
			for range 2 {
				r.follow(p.body, body, &r.bodyWay, r.clock)
				r.estimateComb(body)
			}
		}
		r.coder.setPayload(p)
		r.llr = resize(r.llr, p.e*p.words*p.frames)
		return body, all
	}
	seen := p.training
	if p.training == 0 {
		// Those of the head are of the same kind.
		all, seen = r.symbols, headSymbols
		r.est.estimate(&r.bodyWay, p.body, times, all[:seen])
	} else {
		// The body's own training defines what delay 0 is.
		r.clock.centre, r.clock.delayError = body[0].time, 0.02*float64(times)
		r.transform(p.body, body[:seen])
		r.est.estimate(&r.bodyWay, p.body, times, body[:seen])
	}
	r.bodyClock, r.seen = r.clock, seen
	r.track(p.body, all, seen, &r.bodyWay)
	r.est.estimate(&r.bodyWay, p.body, times, all)
	r.wander(p.body, all, &r.bodyWay, (*receiver).estimateBody)
	r.loudness(body)
	r.est.estimate(&r.bodyWay, p.body, times, all)

	r.coder.setPayload(p)
	r.llr = resize(r.llr, p.e*p.words*p.frames)
	return body, all
}

// bridge refines the skew by how far the body's first symbol lies from where the head
// has it: over a head of a few short symbols alone it is known to some ppm, and
// the carriers of a long symbol then mix. A lead's channel is the same for both, but for what lies
// between the head's carriers.
func (r *receiver) bridge(first []symbol) {
	const doubt = 0.01 // samples, that the head's channel between its carriers may be wrong by
	p := &r.plan
	way, head := &r.bodyWay, &r.headWay
	way.h, way.noise = resize(way.h, p.body.carriers), resize(way.noise, p.body.carriers)
	ratio := float32(p.head.n) / float32(p.body.n)
	for k := range way.h {
		x := max(0, float32(p.body.first+k)*ratio-float32(p.head.first))
		i := min(int(x), p.head.carriers-1)
		way.h[k], way.noise[k] = between(head.h, i, x-float32(i)), head.noise[i]
	}
	before := r.clock
	r.transform(p.body, first)
	if r.lost(first[0].time) {
		at, delay, _ := r.search(p.body, first, way)
		r.clock = before
		r.shift(before.centre, 0, delay/(at-before.centre))
		r.transform(p.body, first)
	}
	for range 2 {
		r.follow(p.body, first, way, before)
		r.transform(p.body, first)
	}
	r.clock.skewError = max(r.clock.skewError, doubt*float64(r.scale.times)/(first[0].time-before.centre))
}

// between is the cubic (Lagrange) through the four values around number i of h at t behind it.
func between(h []complex64, i int, t float32) complex64 {
	last := len(h) - 1
	a, b, c, e := h[max(0, min(last, i-1))], h[min(last, i)], h[min(last, i+1)], h[min(last, i+2)]
	wa := -t * (t - 1) * (t - 2) / 6
	wb := (t + 1) * (t - 1) * (t - 2) / 2
	wc := -(t + 1) * t * (t - 2) / 2
	we := (t + 1) * t * (t - 1) / 6
	return complex(wa*real(a)+wb*real(b)+wc*real(c)+we*real(e), wa*imag(a)+wb*imag(b)+wc*imag(c)+we*imag(e))
}

// estimateBody makes the channel from symbols with pilots everywhere.
func (r *receiver) estimateBody(symbols []symbol) {
	r.est.estimate(&r.bodyWay, r.plan.body, r.scale.times, symbols)
}

// estimateComb makes the channel from symbols whose references all lie on the
// carriers of the dense comb: an estimate on these carriers alone, then what lies
// between them.
func (r *receiver) estimateComb(symbols []symbol) {
	p := &r.plan
	d := p.dense
	g := p.body
	g.n, g.carriers = g.n/d, combSize(g.carriers, 0, d)
	n := g.carriers
	r.comb = resize(r.comb, len(symbols))
	r.combValues = resize(r.combValues, 2*n*len(symbols))
	for i := range symbols {
		v := r.combValues[2*n*i:][:2*n]
		s := symbols[i]
		for j := range n {
			v[j], v[n+j] = s.y[d*j], s.ref[d*j]
		}
		s.y, s.ref = v[:n], v[n:]
		r.comb[i] = s
	}
	way := &r.combWay
	r.est.estimate(way, g, r.scale.times, r.comb)
	full := &r.bodyWay
	full.power, full.floor, full.late = way.power, way.floor, way.late
	full.h, full.noise = resize(full.h, p.body.carriers), resize(full.noise, p.body.carriers)
	for k := range full.h {
		full.h[k] = between(way.h, k/d, float32(k%d)/float32(d))
		full.noise[k] = way.noise[min(n-1, (k+d/2)/d)]
	}
}

// readFrames reads the body.
func (r *receiver) readFrames() {
	p := &r.plan
	var body, all []symbol
	var pair, allPair [2][]symbol
	if p.streams == 2 {
		pair, allPair = r.preparePair()
		r.pairWay.summary(&r.bodyWay)
	} else {
		body, all = r.prepareBody()
	}
	r.roomForFrames()
	passes := 4
	if r.prof.apart > 0 && p.mode.bits >= r.prof.apart {
		passes = 2 // codewords that help each other little
	}
	long := p.isLong(r.scale)
	if long {
		passes = longPasses
		r.long.begin(body)
		r.long.estimate(body)
		// Head and training are known already, and so are their echoes.
		r.long.follow(body)
		r.long.cancel(body)
		r.long.estimate(body)
	}
	var seen channel
	for pass := range passes {
		if p.streams == 2 {
			r.pairLLRs(pair)
		} else {
			r.bodyLLRs(body)
		}
		left := r.decodeFrames()
		if pass == 0 && left > 0 && p.streams == 1 && !long {
			if _, ok := r.chase(p.body, all, r.seen, r.bodyClock, &r.bodyWay); ok {
				r.bodyLLRs(body)
				left = r.decodeFrames()
			}
		}
		if pass == 0 {
			seen = r.bodyWay
		}
		last := left == 0 || pass == passes-1
		if last && left > 0 {
			// What was decoded wrongly fits the better for it: the known carriers
			// tell how good the channel was.
			r.bodyWay.power, r.bodyWay.floor = seen.power, seen.floor
		}
		if last && left == 0 && p.joint && p.streams == 1 {
			// Of a short burst the SNR is told by all of it.
			r.remodulate(body)
			r.est.estimate(&r.bodyWay, p.body, r.scale.times, all)
		}
		if last && (long || r.change.known || !r.tells(body)) {
			break
		}
		if p.streams == 2 {
			r.remodulatePair(pair)
			r.est.estimatePair(&r.pairWay, p.body, r.scale.times, allPair)
			r.pairWay.summary(&r.bodyWay)
			continue
		}
		r.remodulate(body)
		if long {
			r.long.follow(body)
			r.long.cancel(body)
			r.long.estimate(body)
			continue
		}
		r.measure(body, p.body)
		if last {
			break
		}
		r.est.estimate(&r.bodyWay, p.body, r.scale.times, all)
		r.pursued = r.pursue(body, all)
	}
}

// roomForFrames prepares the storage of the frames.
func (r *receiver) roomForFrames() {
	p := &r.plan
	r.frames = resize(r.frames, p.units)
	clear(r.frames)
	if !p.joint || p.frames > 0 {
		r.burst.Frames = r.frames
	}
	r.soft = resize(r.soft, p.words*r.coder.payload.N())
	r.again.begin(p)
	r.info = resize(r.info, p.words*p.k)
	// All frames find room without the ones before moving.
	room := len(r.store) + p.units*(p.words*p.k+7)/8 + 8*p.units
	if cap(r.store) < room {
		store := make([]byte, len(r.store), room)
		copy(store, r.store)
		if n := len(r.burst.Control); n > 0 {
			r.burst.Control = store[:n:n]
		}
		r.store = store
	}
}

// loudness measures the noise of each symbol on its pilots, against that of the
// median symbol: a silence or a bang in it raises it above the others.
func (r *receiver) loudness(body []symbol) (found bool) {
	r.levels = resize(r.levels, 2*len(body))
	for i := range body {
		s := &body[i]
		var sum, n float64
		for k, x := range s.ref {
			if x != 0 {
				d := s.y[k] - r.bodyWay.h[k]*x
				sum += float64(real(d)*real(d)+imag(d)*imag(d)) / float64(r.bodyWay.noise[k])
				n++
			}
		}
		r.levels[i] = sum / max(n, 1)
	}
	return r.standOut(body, float64(r.plan.body.carriers/r.plan.pilots))
}

// standOut marks the symbols whose noise, in the first half of r.levels and
// measured on so many pilots each, is far above the others', and reports whether
// there are any.
func (r *receiver) standOut(body []symbol, pilots float64) (found bool) {
	const (
		pull    = 12  // pilots' worth of the median, for symbols with few
		unusual = 1.8 // what stands out from chance
	)
	level, sorted := r.levels[:len(body)], r.levels[len(body):]
	copy(sorted, level)
	slices.Sort(sorted)
	median := max(sorted[len(sorted)/2], 1e-9)
	for i := range body {
		body[i].loud = 1
		if v := (pull + level[i]/median*pilots) / (pull + pilots); v > unusual {
			body[i].loud = float32(v)
			found = true
		}
	}
	return found
}

// bodyLLRs fills r.llr.
func (r *receiver) bodyLLRs(body []symbol) {
	p := &r.plan
	q := r.coder.bodyQAM(p)
	for i := p.training; i < len(body); i++ {
		s := &body[i]
		way := r.way(i)
		order := p.order(i)
		offset, every := p.comb(i)
		for j, y := range s.y {
			if j%every == offset {
				continue
			}
			cell, ok := order.next()
			if !ok {
				break
			}
			z, v := equalise(y, way.h[j], way.noise[j]*s.loud)
			r.softenCell(q, cell, z, v)
		}
	}
}

// softenCell writes the LLRs of a cell that was received as z with noise of
// variance v to r.llr.
func (r *receiver) softenCell(q *qam, cell int, z complex64, v float32) {
	llr := r.llr[cell*q.bits:][:q.bits]
	q.soften(llr, z, v)
	at := cell % r.plan.cells * q.bits // in its codeword
	for b := range llr {
		if flip(at+b) != 0 {
			llr[b] = -llr[b]
		}
	}
}

// decodeFrames decodes the frames that are still missing and returns how many
// remain so. In r.llr it leaves the decoder's tanh(LLR/2) of all coded bits.
func (r *receiver) decodeFrames() (left int) {
	for f := range r.plan.units {
		if r.frames[f] != nil || r.decodeFrame(f) {
			r.remember(f)
		} else {
			left++
		}
	}
	p := &r.plan
	if p.joint && left == 0 {
		r.burst.Control, r.frames[0] = r.frames[0][:p.control:p.control], r.frames[0][p.control:]
	}
	return left
}

// decodeFrame decodes unit f, and once more with what was heard of it in earlier
// bursts if that is found.
func (r *receiver) decodeFrame(f int) bool {
	p := &r.plan
	n := r.coder.payload.N()
	clear(r.soft)
	for w := range p.words {
		r.coder.payload.Dematch(r.soft[w*n:][:n], r.llr[(f*p.words+w)*p.e:][:p.e], 0)
	}
	r.again.add(f, r.soft)
	if r.decodeSoft(f) || r.again.find(f, r.soft) && r.decodeSoft(f) {
		return true
	}
	r.again.note(f, r.soft)
	return false
}

// decodeSoft decodes unit f from r.soft.
func (r *receiver) decodeSoft(f int) bool {
	const iterations = 40
	p := &r.plan
	code := r.coder.payload
	n := code.N()
	for w := range p.words {
		code.Decode(r.info[w*p.k:][:p.k], r.soft[w*n:][:n], iterations)
		r.posterior = code.Posterior(r.posterior[:0], 0)
		llr := r.llr[(f*p.words+w)*p.e:][:p.e]
		for i, v := range r.posterior {
			llr[i] = tanhHalf(v)
		}
	}
	octets := p.unitOctets + frameCheck
	at := len(r.store)
	r.store = grow(r.store, octets)
	frame := r.store[at:][:octets:octets]
	if !r.coder.frameData(frame, p, r.info) || !checked(frame) {
		r.store = r.store[:at]
		return false
	}
	r.frames[f] = frame[: octets-frameCheck : octets-frameCheck]
	return true
}

// settle ends the burst that readBurst has read: no look at it follows.
func (r *receiver) settle() {
	r.again.settle(func(f int) bool { return r.frames[f] != nil })
}

// remember writes the coded bits of a frame that was read to r.llr, as
// certainties.
func (r *receiver) remember(f int) {
	p := &r.plan
	c := &r.coder
	c.info = resize(c.info, p.words*p.k)
	c.frameInfo(c.info, p, r.frames[f])
	for w := range p.words {
		c.body = c.payload.Encode(c.body[:0], c.info[w*p.k:][:p.k], 0)
		for i, b := range c.body {
			r.llr[(f*p.words+w)*p.e+i] = 1 - 2*float32(b)
		}
	}
}

// tanhHalf is tanh(x/2).
func tanhHalf(x float32) float32 {
	if x < 0 {
		return -tanhHalf(-x)
	}
	e := fastExp(-x)
	return (1 - e) / (1 + e)
}

// remodulate makes references of what the decoder thinks was sent. Carriers it
// knows next to nothing about stay out.
func (r *receiver) remodulate(body []symbol) {
	p := &r.plan
	q := r.coder.bodyQAM(p)
	for i := p.training; i < len(body); i++ {
		s := &body[i]
		order := p.order(i)
		offset, every := p.comb(i)
		for j := range s.ref {
			if j%every == offset {
				continue
			}
			cell, ok := order.next()
			if !ok {
				break
			}
			s.ref[j] = r.meanCell(q, cell)
			if s.vague != nil {
				s.vague[j] = q.variance(r.llr[cell*p.mode.bits:][:p.mode.bits])
			}
		}
	}
}

// meanCell is what the decoder thinks was sent in a cell; r.llr has its
// tanh(LLR/2).
func (r *receiver) meanCell(q *qam, cell int) complex64 {
	t := r.llr[cell*q.bits:][:q.bits]
	at := cell % r.plan.cells * q.bits
	for b := range t {
		if flip(at+b) != 0 {
			t[b] = -t[b]
		}
	}
	return q.mean(t)
}
