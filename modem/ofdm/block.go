package ofdm

import (
	"math"

	"lightsong/modem"
	"lightsong/modem/dsp"
)

// In a room most of a short burst is lost to what conventional OFDM spends on
// echoes: training symbols, prefixes, and the noise that the echoes beyond the
// prefix are. A block burst has one symbol and neither prefix nor training:
//
//	| chirp | silence | block of n samples |
//
// The silence shows the room's response to the chirp, and behind the block
// nothing follows, so that what rings on there can be added to the block's
// beginning: the block's own echoes are then as good as cyclic. Header, control
// block and payload lie on the block's carriers, between the pilots. The receiver
// tries the few lengths in turn until a header passes its check.

// blockShape is the length of a block and of the silence before it, in samples at
// the base rate.
type blockShape struct {
	n, gap      int
	least, most float64 // bits a carrier, of the modes that it is for; most 0: any
}

// fits tells whether the shape is for modes of so many bits a carrier.
func (b *blockShape) fits(density float64) bool {
	return density >= b.least && (b.most == 0 || density <= b.most)
}

// jointMost is the most octets of a frame that is coded together with the control
// block. Of longer ones it is worth knowing whose they were when they are lost.
const jointMost = 256

// A short burst is lost whole or not at all, so a control block of its own would
// help nobody, and at the strength of a header it is longer than the frame.
func (p *plan) isJoint() bool {
	return p.control > 0 && p.frames <= 1 && p.octets <= jointMost
}

// block fits the burst into the shortest block that holds it, instead of what the
// plan was until now, if that is over sooner.
func (p *plan) block(prof *profile, s scale) {
	density := float64(p.mode.bits) * p.mode.rate
	if len(prof.blocks) == 0 || density < prof.blockLeast {
		return
	}
	c := &prof.classes[prof.blockClass]
	q := *p
	q.class, q.classIndex, q.pilots = c, prof.blockClass, prof.blockPilots
	control := 0
	if q.joint = p.isJoint(); q.joint {
		q.units, q.unitOctets = 1, p.control+p.octets
	} else if p.control > 0 {
		control = int(math.Ceil(controlShare * float64(c.coded) / headerBits * float64(4*(p.control+controlCheck))))
	}
	words, net, wanted := 0, 0, 0
	if q.units > 0 {
		bits := 8 * (q.unitOctets + frameCheck)
		q.shaping, q.dense = shaping{}, 0
		q.words = (bits + maxWordBits - 1) / maxWordBits
		net = (bits + q.words - 1) / q.words
		words = q.words * q.units
		wanted = words * int(math.Ceil(float64(net)/q.mode.rate/float64(q.mode.bits)))
	}
	for _, b := range prof.blocks {
		if !b.fits(density) {
			continue
		}
		q.setBlock(s, b)
		free := q.places() - c.coded/2 - control
		if free < wanted || control+words == 0 && free < 0 {
			continue
		}
		q.controlCells = control
		if words > 0 {
			q.cells = free / words
			q.setWord(net)
		} else if control > 0 {
			q.controlCells += free
		}
		q.samples = q.bodyAt + q.body.n + prof.taper*s.times
		if float64(q.samples) <= prof.patience*float64(p.samples) {
			*p = q
		}
		return
	}
}

// setBlock lays out a block burst; class and pilots are set.
func (p *plan) setBlock(s scale, b blockShape) {
	p.isBlock, p.inside = true, false
	p.shape = b
	p.chirp = p.class.chirp * s.times
	p.bodyAt = p.chirp + b.gap*s.times
	p.body = s.geometry(numerology{b.n, 0}, p.class)
	p.head, p.headAt, p.headCount, p.headerOnly = p.body, p.bodyAt, 0, 0
	p.training, p.bodyCount = 0, 1
	p.invert = spread(p.places())
}

// places is how many carriers of a block are no pilots.
func (p *plan) places() int { return p.bodyPlaces(p.body, 0) }

// blockWalk goes through the carriers of a block.
type blockWalk struct {
	plan     *plan
	thing, m int
}

// What lies on a carrier: one of the kinds, and which of that kind.
const (
	blockKnown = iota // pilot, or a carrier that nothing else uses
	blockHead         // QPSK symbol of header and control block
	blockCell         // of the payload
)

func (p *plan) walk() blockWalk { return blockWalk{plan: p, m: p.places()} }

// at must be called for all carriers in order.
func (w *blockWalk) at(j int) (kind, number int) {
	p := w.plan
	if j%p.pilots == 0 {
		return blockKnown, j
	}
	thing := w.thing
	if w.thing += p.invert; w.thing >= w.m {
		w.thing -= w.m
	}
	head := p.class.coded/2 + p.controlCells
	switch {
	case thing < head:
		return blockHead, thing
	case thing < head+p.cells*p.words*p.units:
		return blockCell, thing - head
	}
	return blockKnown, j
}

// blockValues writes the carriers of a block.
func (c *coder) blockValues(dst []complex64, p *plan) []complex64 {
	w := p.walk()
	qpsk, q := c.qam(2), c.qam(p.mode.bits)
	for j := range dst {
		switch kind, i := w.at(j); kind {
		case blockHead:
			dst[j] = qpsk.point(c.head[2*i:])
		case blockCell:
			dst[j] = q.point(c.body[i*p.mode.bits:])
		default:
			dst[j] = known(bodyPart, 0, j)
		}
	}
	return dst
}

// blockWave is the block in samples, RMS 1, n and a fade of them: a period of the
// block's carriers that fades in while it is repeated fading out behind the end,
// so that both ends folded together are exactly the period.
func blockWave(dst, period []float32, fade int) {
	n := len(period)
	copy(dst, period)
	for i := range fade {
		up := fadeIn(i, fade)
		dst[i] = up * period[i]
		dst[n+i] = (1 - up) * period[i]
	}
}

// blockReader reads block bursts for a receiver.
type blockReader struct {
	*receiver
	fit    fitter
	prior  decay
	chirps []float32 // the preamble, RMS 1
	fade   int

	z       []float32 // samples by the sender's clock, from one chirp's length before the burst on
	wave    []float32 // what is known of the burst, then what it becomes in the room, from the chirp on
	ref     []complex64
	vague   []float32 // variance of what ref stands for
	raw     []complex64
	y       []complex64 // carriers of the block
	h       []complex64
	bins    []float64
	fold    []float32
	tried   attempt // that fit and prior are of
	noise   float64 // variance on a carrier
	sounded float64 // information on each tap from carriers that are no pilots
	ringing int     // internal samples behind the burst that help
	heeds   int     // of them, those that this look has
	last    bool    // no look follows
}

// Answers wait for what is read. What rings on behind a short block is often not
// needed, so the reader looks at it early, with what has been heard of that by then, and again when more
// has been: so many internal samples at the base rate behind the burst, then at the last.
var looks = [...]int{0, 480, 1200}

// longestLook is the longest block, in samples at the base rate, that is looked at
// more than once.
const longestLook = 4096

// waits is how many device samples behind the burst the first look takes place, or the one behind a look with
// what was heard of the ringing by then.
func (r *receiver) waits(first bool) int64 {
	if !r.plan.isBlock {
		return 0
	}
	b := r.blocks
	next := b.ringing
	for _, at := range looks {
		if at *= r.scale.times; r.plan.body.n <= longestLook*r.scale.times && at < next && (first || at > b.heeds) {
			next = at
		}
	}
	return int64(math.Ceil(float64(next) * r.scale.ratio))
}

// heed takes that so many device samples behind the burst have been heard, and tells whether that is all that is waited for.
func (r *receiver) heed(samples int64) (last bool) {
	if !r.plan.isBlock {
		return true
	}
	b := r.blocks
	b.heeds = max(0, min(b.ringing, int(float64(samples)/r.scale.ratio+1e-6)))
	b.last = b.heeds == b.ringing
	return b.last
}

// whole tells whether everything in a burst passed its check.
func whole(b *modem.Burst) bool {
	for _, f := range b.Frames {
		if f == nil {
			return false
		}
	}
	return b.Control != nil
}

// attempt is a burst's supposed start in the stream and its gap.
type attempt struct {
	start float64
	gap   int
}

func newBlockReader(r *receiver, p *profile, s scale) *blockReader {
	b := &blockReader{receiver: r, fade: p.taper * s.times}
	b.chirps = chirp(&p.classes[p.blockClass], float64(s.times))
	b.fit.ffts = r.ffts
	return b
}

// unit is what a transform of n samples is multiplied with to make carriers of it.
func unitOf(g geometry) float32 {
	return float32(math.Sqrt(2*float64(g.carriers)) / float64(g.n))
}

// resample fills z up to so many internal samples behind the burst.
func (b *blockReader) resample(behind int) {
	p := &b.plan
	b.z = resize(b.z, p.chirp+p.bodyAt+p.body.n+b.fade+behind)
	b.interp.Read(b.z, b.x, b.clock.start-float64(b.origin)-float64(p.chirp)*b.step(), b.step())
}

// measure fits the decay to the correlation of z with the chirp.
func (b *blockReader) measure() {
	p := &b.plan
	times := b.scale.times
	f := &b.fit
	pre := early * times
	gap := p.bodyAt - p.chirp
	f.setChirp(b.chirps, gap, pre)
	b.wave = resize(b.wave, f.size)
	clear(b.wave)
	copy(b.wave, b.z[:p.chirp+p.bodyAt])
	fft := f.fft(f.size)
	f.spectrum = resize(f.spectrum, f.size/2+1)
	fft.Forward(f.spectrum, b.wave)
	for k, v := range f.spectrum {
		c := f.chirp[k]
		f.spectrum[k] = complex(real(v)*real(c)+imag(v)*imag(c), imag(v)*real(c)-real(v)*imag(c))
	}
	fft.Inverse(b.wave, f.spectrum)
	energy := float64(p.chirp)
	power := func(from, to int) (sum float64) {
		for _, v := range b.wave[p.chirp+from : p.chirp+to] {
			sum += float64(v) * float64(v)
		}
		return sum / (energy * energy)
	}
	band := 2 * float64(p.body.carriers) / float64(p.body.n)
	v := &b.prior
	// The floors keep what is divided by it within float32, whatever was heard.
	v.direct = max(1e-14, band*power(-8*times, 8*times+1))
	silent := -64 * times
	before := power(-p.chirp*7/8, silent) / float64(p.chirp*7/8+silent)
	bin := 128 * times
	b.bins = b.bins[:0]
	least := math.Inf(1)
	for at := 64 * times; at+bin <= gap; at += bin {
		e := power(at, at+bin) / float64(bin)
		b.bins = append(b.bins, e)
		least = min(least, e)
	}
	floor := max(min(before, 1.1*least), 1e-9*v.direct/energy)
	v.noise = floor * energy
	// The correlation's power at delay d is a·e^(−d/τ) + floor; each bin's mean
	// has a gamma distribution, so the likeliest pair minimises Σ ln m + e/m.
	var none float64 // without a tail
	for _, e := range b.bins {
		none += e / floor
	}
	// Less than that is no evidence: a bin of 128 samples in the band has some 100
	// degrees of freedom, so it is worth five nats.
	best := none - 0.1
	v.start, v.tau = 0, 1
	loudest := 4*(power(0, 256*times)/float64(256*times)) + 1e-30
	for tau := 96. * float64(times); tau < 9000*float64(times); tau *= 1.25 {
		for a := 0.02 * floor; a < loudest; a *= 1.3 {
			var cost float64
			for i, e := range b.bins {
				m := floor + a*math.Exp(-(float64(64*times+i*bin)+float64(bin)/2)/tau)
				cost += math.Log(m/floor) + e/m
			}
			if cost < best {
				best, v.start, v.tau = cost, a*band, tau
			}
		}
	}
	// What is heard by the burst's end shows no tap that comes later.
	taps := min(int(v.length(0.25*baseRate*float64(times))), p.bodyAt+p.body.n)
	f.setPrior(v, pre+max(64*times, taps), pre, float64(times))
}

// carriersOf makes the carriers of n samples.
func (b *blockReader) carriersOf(dst []complex64, x []float32) []complex64 {
	g := b.plan.body
	b.spectrum = resize(b.spectrum, g.n/2+1)
	b.fit.fft(g.n).Forward(b.spectrum, x)
	dst = resize(dst, g.carriers)
	u := unitOf(g)
	for k := range dst {
		v := b.spectrum[g.first+k]
		dst[k] = complex(u*real(v), u*imag(v))
	}
	return dst
}

// readHeader looks for a block burst of the class with the given shape whose chirp
// begins near start, and reads its header. It fills plan and clock.
func (b *blockReader) readHeader(x []float32, origin int64, start float64, class int, shape blockShape) bool {
	r := b.receiver
	b.x, b.origin, b.used = x, origin, 0
	times := float64(b.scale.times)
	b.plan = plan{class: &b.prof.classes[class], pilots: b.prof.blockPilots, streams: 1}
	p := &b.plan
	p.setBlock(b.scale, shape)
	g := p.body
	b.fit.geo = g
	b.clock = clock{start: start}
	early := early * b.scale.times
	if gap := p.bodyAt - p.chirp; b.tried != (attempt{start, gap}) {
		// Blocks of other lengths behind the same gap need no other response.
		b.tried = attempt{start, gap}
		clear(b.fit.h)
		b.resample(0)
		b.measure()
		b.fit.solve(b.z[p.chirp-early:], false, 8)
	}
	b.h = b.fit.carriers(b.h)

	// The skew: coarsely by trying, then by how much later than the chirp the
	// block lies.
	b.fold = resize(b.fold, g.n)
	best, skew, delay := 0., 0., 0.
	distance := float64(p.bodyAt) + float64(g.n)/2 - float64(p.chirp)/2
	pitch := 0.125 * times
	for e := -3; e <= 3; e++ {
		s := float64(e) * 100e-6
		step := b.scale.ratio * (1 + s)
		b.interp.Read(b.fold, b.x, b.clock.start-float64(b.origin)+float64(p.bodyAt)*step, step)
		b.raw = b.carriersOf(b.raw, b.fold)
		for d := -6; d <= 6; d++ {
			c, n := b.agree(float64(d) * pitch)
			if c > best*n {
				best, skew, delay = c/n, s, float64(d)*pitch
			}
		}
	}
	if !(best > 0.4) { // wrong lengths stay below 0.25
		return false
	}
	b.tried = attempt{}
	b.clock.skew = skew
	r.shift(float64(p.bodyAt)+float64(g.n)/2, delay, delay/distance)
	b.references(false)
	b.noise, b.sounded = 0, 0
	for range 2 {
		b.resample(0)
		b.fit.solve(b.z[p.chirp-early:], false, 4) // from where the last one ended
		b.h = b.fit.carriers(b.h)
		b.echo()
		b.foldTail(1, false)
		d := b.lag()
		r.shift(float64(p.bodyAt)+float64(g.n)/2, d, d/distance)
	}
	b.resample(0)
	b.measure()
	b.iterate(roughSteps)

	if !(b.noise < math.MaxFloat32) {
		return false
	}
	b.llr = resize(b.llr, p.class.coded)
	b.headLLRs(0, p.class.coded/2)
	b.coder.header.set(p.class.coded)
	b.info = resize(b.info, headerInfoBits)
	if !b.coder.header.decode(b.info, b.llr) {
		return false
	}
	mcs, frames, octets, control := readHeader(b.info)
	if frames > 0 && octets == 0 || b.plan.set(b.prof, b.scale, mcs, frames, octets, control) != nil {
		return false
	}
	if !b.plan.isBlock || b.plan.shape != shape {
		return false
	}
	b.ringing = b.rings()
	b.tell()
	return true
}

// ringMost is how many seconds behind a block are waited for at most: more of the
// echoes would help a little in large rooms, but the answer waits as long.
const ringMost = 0.06

// Steps of the joint fit. The answer to a brief block waits for them: what reads the header, QPSK and 16-QAM to 0.1 dB of all there is
// costs dense constellations a decibel.
const (
	roughSteps = 10
	fineSteps  = 48
)

// steps of the fit for the block's payload.
func (b *blockReader) steps() int {
	if b.plan.mode.bits <= 4 {
		return roughSteps
	}
	return fineSteps
}

// rings is how long behind the block its echoes are so much stronger than the noise
// that they are worth waiting for, in internal samples.
func (b *blockReader) rings() int {
	v := &b.prior
	enough := 0.3*v.noise + 1e-3*(v.direct+v.left(0))
	return int(min(v.tau*math.Log(max(1, v.left(0)/enough)), ringMost*float64(baseRate*b.scale.times)))
}

// agree is the correlation of the pilots in raw with what is expected of them when
// the block lies d internal samples later than thought, and the greatest value
// that it could have.
func (b *blockReader) agree(d float64) (sum, most float64) {
	p := &b.plan
	g := p.body
	sin, cos := math.Sincos(2 * math.Pi * d / float64(g.n) * float64(g.first))
	turn := complex(cos, sin)
	sin, cos = math.Sincos(2 * math.Pi * d / float64(g.n) * float64(p.pilots))
	step := complex(cos, sin)
	var yy, ee float64
	for k := 0; k < g.carriers; k += p.pilots {
		e := complex128(b.h[k] * known(bodyPart, 0, k))
		y := complex128(b.raw[k])
		z := y * conj(e) * turn
		turn *= step
		sum += real(z)
		yy += real(y)*real(y) + imag(y)*imag(y)
		ee += real(e)*real(e) + imag(e)*imag(e)
	}
	return sum, math.Sqrt(yy*ee) + 1e-30
}

// lag is how many internal samples later than thought the block lies, by one
// Newton step.
func (b *blockReader) lag() float64 {
	p := &b.plan
	g := p.body
	var grad, info float64
	for k := 0; k < g.carriers; k += p.pilots {
		kappa := 2 * math.Pi * float64(g.first+k) / float64(g.n)
		e, y := b.h[k]*known(bodyPart, 0, k), b.y[k]
		grad -= kappa * float64(imag(y)*real(e)-real(y)*imag(e))
		info += kappa * kappa * float64(real(e)*real(e)+imag(e)*imag(e))
	}
	most := 0.25 * float64(b.scale.times)
	return max(-most, min(most, grad/max(info, 1e-30)))
}

// references writes what is known of the block's carriers for sure: pilots, and
// with head the header and the control block in coder.head.
func (b *blockReader) references(head bool) {
	p := &b.plan
	b.ref = resize(b.ref, p.body.carriers)
	b.vague = resize(b.vague, p.body.carriers)
	qpsk := b.coder.qam(2)
	w := p.walk()
	for j := range b.ref {
		kind, i := w.at(j)
		switch {
		case kind == blockKnown && (head || j%p.pilots == 0):
			b.ref[j], b.vague[j] = known(bodyPart, 0, j), 0
		case kind == blockHead && head && 2*i < len(b.coder.head):
			b.ref[j], b.vague[j] = qpsk.point(b.coder.head[2*i:]), 0
		default:
			b.ref[j], b.vague[j] = 0, 1
		}
	}
}

// leftOut is whether the pilot on carrier j is kept out of the estimate, to tell
// its error.
func (p *plan) leftOut(j int) bool { return j%p.pilots == 0 && j/p.pilots%8 == 5 }

// iterate estimates the channel anew from what is known of the burst, and makes
// carriers y of the block with as much of the echoes right as possible, in so many
// steps of the fit, which begins where the last one ended.
func (b *blockReader) iterate(steps int) {
	p := &b.plan
	f := &b.fit
	g := p.body
	b.echo()
	lost := b.foldTail(1, true)
	// What is wrong on a carrier besides its own value.
	noise := b.prior.noise*2*float64(g.carriers)/float64(g.n) + lost
	f.weight, f.target = resize(f.weight, g.carriers), resize(f.target, g.carriers)
	b.sounded = 0
	for k, s := range b.ref {
		h := b.h[k]
		v := 2 / (float32(noise) + b.vague[k]*(real(h)*real(h)+imag(h)*imag(h)))
		if p.leftOut(k) {
			v = 0
		}
		f.weight[k] = v * (real(s)*real(s) + imag(s)*imag(s))
		if k%p.pilots != 0 {
			b.sounded += float64(f.weight[k])
		}
		y := b.y[k]
		f.target[k] = complex(v*(real(y)*real(s)+imag(y)*imag(s)), v*(imag(y)*real(s)-real(y)*imag(s)))
	}
	f.solve(b.z[p.chirp-f.pre:], true, steps)
	b.h = f.carriers(b.h)
	b.echo()
	var vague float64
	for _, v := range b.vague {
		vague += float64(v)
	}
	b.foldTail(vague/float64(len(b.vague)), false)
	var sum, n float64
	for k := 5 * p.pilots; k < g.carriers; k += 8 * p.pilots {
		e := b.h[k] * b.ref[k]
		d := b.y[k] - e
		sum += float64(real(d)*real(d) + imag(d)*imag(d))
		n++
	}
	b.noise = max(sum/max(n, 1), 1e-30)
}

// echo makes wave what the known part of the burst becomes in the room.
func (b *blockReader) echo() {
	p := &b.plan
	f := &b.fit
	g := p.body
	size := dsp.SizeFrom(p.bodyAt + g.n + b.fade + f.taps)
	b.wave = resize(b.wave, size)
	clear(b.wave)
	copy(b.wave, b.chirps)
	b.spectrum = resize(b.spectrum, size/2+1)
	clear(b.spectrum[:g.n/2+1])
	a := 1 / unitOf(g)
	for k, v := range b.ref {
		b.spectrum[g.first+k] = complex(a*real(v), a*imag(v))
	}
	b.fold = resize(b.fold, g.n)
	f.fft(g.n).Inverse(b.fold, b.spectrum[:g.n/2+1])
	blockWave(b.wave[p.bodyAt:], b.fold, b.fade)
	fft := f.fft(size)
	fft.Forward(b.spectrum, b.wave)
	f.time = resize(f.time, size)
	clear(f.time)
	for i, v := range f.h {
		f.time[(i-f.pre+size)%size] = v
	}
	f.spectrum = resize(f.spectrum, size/2+1)
	fft.Forward(f.spectrum, f.time)
	for k, v := range b.spectrum {
		h := f.spectrum[k]
		b.spectrum[k] = complex(real(v)*real(h)-imag(v)*imag(h), real(v)*imag(h)+imag(v)*real(h))
	}
	fft.Inverse(b.wave, b.spectrum)
}

// tap splits the variance of the tap at a delay into what the estimate knows of it
// and what it does not, by the energy with which the tap was sounded: that of the
// chirp as far as the silence shows it, and that of the carriers with data. (Those
// of the pilots alone do not tell delays a pilot's period apart.)
func (b *blockReader) tap(delay int) (sure, unsure float64) {
	p, v := &b.plan, &b.prior
	prior := v.variance(float64(delay), float64(b.scale.times))
	info := b.sounded
	if delay < p.bodyAt-p.chirp {
		info += float64(p.chirp) / v.noise
	}
	unsure = prior / (1 + prior*info)
	return prior - unsure, unsure
}

// behind is the energy of all taps from a delay on, split likewise.
func (b *blockReader) behind(delay int) (sure, unsure float64) {
	delay = max(delay, 0)
	total := b.prior.left(float64(delay))
	s, u := b.tap(delay)
	if s+u <= 0 {
		return 0, 0
	}
	return total * s / (s + u), total * u / (s + u)
}

// foldTail makes the block's carriers. What z holds beyond wave, behind the block,
// is added to its beginning as far as it is more likely echo than noise: vague
// is the share of the block that is not in wave. The known part, complete
// with its echoes, is added to the carriers.
func (b *blockReader) foldTail(vague float64, whole bool) (lost float64) {
	p := &b.plan
	g := p.body
	z := b.z[p.chirp+p.bodyAt:]
	wave := b.wave[p.bodyAt:]
	b.fold = resize(b.fold, g.n)
	for i := range b.fold {
		b.fold[i] = z[i] - wave[i]
	}
	missing := 0.
	last := min(len(z), len(wave)) - 1
	if whole {
		// What comes later than z.
		missing = vague * b.prior.left(float64(last-g.n)) * b.prior.tau
		// The chirp's echoes in the block that nothing is known of.
		_, dark := b.behind(p.bodyAt - p.chirp)
		missing += dark * float64(p.chirp)
	}
	sure, unsure := b.behind(last - g.n)
	at := last % g.n
	for i := last; i >= g.n; i-- {
		good, bad := sure, unsure
		if i < g.n+b.fade {
			good += b.prior.direct
		}
		if whole {
			good, bad = good+bad, 0
		}
		a := vague * good / (vague*(good+bad) + b.prior.noise)
		missing += a*a*b.prior.noise + (1-a)*(1-a)*vague*(good+bad)
		b.fold[at] += float32(a) * (z[i] - wave[i])
		if at--; at < 0 {
			at += g.n
		}
		s, u := b.tap(i - g.n)
		sure, unsure = sure+s, unsure+u
	}
	b.y = b.carriersOf(b.y, b.fold)
	for k, s := range b.ref {
		h := b.h[k]
		b.y[k] += complex(real(h)*real(s)-imag(h)*imag(s), real(h)*imag(s)+imag(h)*real(s))
	}
	return missing / float64(g.n)
}

// headLLRs writes the LLRs of the QPSK symbols from … to of header and control
// block to llr.
func (b *blockReader) headLLRs(from, to int) {
	p := &b.plan
	q := b.coder.qam(2)
	w := p.walk()
	for j, y := range b.y {
		kind, i := w.at(j)
		if kind != blockHead || i < from || i >= to {
			continue
		}
		z, v := equalise(y, b.h[j], float32(b.noise))
		llr := b.llr[2*(i-from):][:2]
		q.soften(llr, z, v)
		for k := range llr {
			if flip(2*i+k) != 0 {
				llr[k] = -llr[k]
			}
		}
	}
}

// readBurst reads what follows the header, as receiver.readBurst does.
func (b *blockReader) readBurst(x []float32, origin int64) *modem.Burst {
	r, p := b.receiver, &b.plan
	r.change, r.pursued = change{}, false
	b.openBody(x, origin)
	if p.units > 0 {
		r.roomForFrames()
		passes := 6
		if !b.last {
			passes = 2
		}
		for pass := range passes {
			b.cellLLRs()
			if left := r.decodeFrames(); left == 0 || pass == passes-1 {
				break
			}
			b.remodulate()
			b.iterate(b.steps())
		}
	}
	b.tell()
	return &r.burst
}

// openBody reads the control block, estimates the channel with all of the head
// known, and prepares for the payload.
func (b *blockReader) openBody(x []float32, origin int64) {
	r, p := b.receiver, &b.plan
	b.x, b.origin = x, origin
	r.store = r.store[:0]
	r.burst = modem.Burst{MCS: modem.MCS(p.mcs)}
	b.resample(b.heeds)
	r.coder.info = headerInfo(r.coder.info, p)
	r.coder.head = r.coder.header.encode(r.coder.head[:0], r.coder.info)
	for i := range r.coder.head {
		r.coder.head[i] ^= flip(i)
	}
	b.references(true)
	b.iterate(b.steps())
	switch {
	case p.joint:
	case p.control > 0:
		at, bits := p.controlBits()
		r.llr = resize(r.llr, bits)
		b.headLLRs(at/2, (at+bits)/2)
		if r.decodeControl(at, bits) {
			b.references(true)
			b.iterate(b.steps())
		}
	default:
		r.burst.Control = noControl
	}
	if p.units > 0 {
		r.coder.setPayload(p)
		r.llr = resize(r.llr, p.e*p.words*p.units)
	}
}

// cellLLRs fills llr with the LLRs of the payload.
func (b *blockReader) cellLLRs() {
	p := &b.plan
	bits := p.mode.bits
	q := b.coder.qam(bits)
	w := p.walk()
	for j, y := range b.y {
		kind, i := w.at(j)
		if kind != blockCell {
			continue
		}
		z, v := equalise(y, b.h[j], float32(b.noise))
		b.softenCell(q, i, z, v)
	}
}

// remodulate makes references of what the decoder left in llr.
func (b *blockReader) remodulate() {
	p := &b.plan
	bits := p.mode.bits
	q := b.coder.qam(bits)
	w := p.walk()
	for j := range b.ref {
		kind, i := w.at(j)
		if kind != blockCell {
			continue
		}
		b.ref[j] = b.meanCell(q, i)
		b.vague[j] = q.variance(b.llr[i*bits:][:bits])
	}
}

// variance is that of the symbol when the bits have the given tanh(LLR/2).
func (q *qam) variance(t []float32) float32 {
	var mean, square [2]float32
	for i := q.m - 1; i >= 0; i-- {
		half := float32(int(1) << (q.m - 1 - i))
		for axis := range mean {
			square[axis] = half*half - 2*half*mean[axis] + square[axis]
			mean[axis] = t[2*i+axis] * (half - mean[axis])
		}
	}
	v := square[0] - mean[0]*mean[0] + square[1] - mean[1]*mean[1]
	return max(0, q.unit*q.unit*v)
}

// tell fills what is reported of the channel.
func (b *blockReader) tell() {
	for _, ch := range []*channel{&b.headWay, &b.bodyWay} {
		ch.power, ch.floor, ch.late = 0, b.noise, b.prior.spreads()
		ch.tail, ch.tau = 0, 0 // none of it is noise here
		for _, v := range b.h {
			ch.power += float64(real(v)*real(v) + imag(v)*imag(v))
		}
		ch.power = max(ch.power/float64(len(b.h)), 1e-30)
	}
}

// inBlocks is whether bursts of the class are blocks.
func (p *profile) inBlocks(class int) bool { return len(p.blocks) > 0 && class == p.blockClass }
