package ofdm

import (
	"fmt"
	"math"
	"slices"

	"lightsong/modem"
	"lightsong/modem/fec"
)

// plan is where everything in one burst lies: a function of the profile, the
// MCS and the lengths alone, so sender and receiver make the same.
//
//	| chirp | training | header, control | training | payload … |
//	 \______________ head ______________/ \_______ body ________/
//
// Positions are in internal samples from the burst's first. Head and body are
// symbols of their own numerology; where the two agree the body has a symbol of
// training less: one a stream, or one a stream but one.
type plan struct {
	mode       *mode
	class      *class
	inside     bool // in the middle of another burst: no chirp, and the first symbol is header and training in one
	mcs        int
	classIndex int

	frames, octets, control int

	// What is coded as one, with one check: a frame; in a short burst (joint) the control
	// block and the frame, if there is one, behind it.
	units, unitOctets int
	joint             bool

	head         geometry
	headAt       int // first sample of the first head symbol
	headTraining int // training symbols of the head
	headCount    int // symbols, training included
	headerOnly   int // symbols that the header alone fills, training excluded
	chirp        int

	body      geometry
	bodyAt    int
	training  int // training symbols of the body
	dense     int // the body's first symbol has a pilot in so many carriers instead of training; 0: no
	bodyCount int // symbols, training included
	pilots    int // one carrier in so many
	streams   int // each with its own body; the head is the same on all channels

	words  int // codewords per unit
	net    int // data bits of a codeword, check included
	k      int // information bits of its code: with shaping more than net
	e      int // coded bits of a codeword
	cells  int // QAM symbols of a codeword
	group  int // codewords interleaved with one another
	invert int // of the interleaver in a whole group
	last   int // codewords in the last group
	// Of a shaped mode: how, the shaped ones of a codeword's coded bits, and the
	// matcher's budget.
	shaping shaping
	shaped  int
	budget  int
	matched int // data bits of a codeword that the matcher takes
	lastIn  int // of the interleaver there

	samples int // internal samples of the whole burst

	// A burst of one block: head and body share its carriers.
	isBlock      bool
	shape        blockShape
	controlCells int // QPSK symbols of the control block
}

const (
	headerBits   = 48 // 6 MCS, 8 frames, 12 octets, 6 control octets, 16 check
	controlCheck = 4  // octets
	// The longer code of the control block needs less energy per bit for the same
	// strength.
	controlShare = 0.66
	frameCheck   = 4                         // octets
	stretch      = 1.04                      // times the longest codeword are coded as one that is shorter than its mode would have it
	maxWordBits  = 8448                      // information bits of the longest codeword
	combSymbol   = 4096                      // samples at the base rate, from which on a profile may do without training
	maxCells     = maxSeconds * 4 * baseRate // more would be longer than the longest burst
)

// set makes the plan of a burst with so many frames of so many octets. The
// error wraps modem.ErrBurst.
func (p *plan) set(prof *profile, s scale, mcs, frames, octets, control int) error {
	return p.setAt(prof, s, false, mcs, frames, octets, control)
}

// setAt is set for a burst that may be in the middle of another one.
func (p *plan) setAt(prof *profile, s scale, inside bool, mcs, frames, octets, control int) error {
	switch {
	case mcs < 0 || mcs >= len(prof.modes):
		return fmt.Errorf("ofdm: %w: MCS %d, the profile has %d", modem.ErrBurst, mcs, len(prof.modes))
	case frames < 0 || frames > modem.MaxFrames:
		return fmt.Errorf("ofdm: %w: %d frames, at most %d", modem.ErrBurst, frames, modem.MaxFrames)
	case frames > 0 && (octets < 1 || octets > modem.MaxFrameOctets):
		return fmt.Errorf("ofdm: %w: frames of %d octets, want 1 to %d", modem.ErrBurst, octets, modem.MaxFrameOctets)
	case control < 0 || control > modem.MaxControlOctets:
		return fmt.Errorf("ofdm: %w: a control block of %d octets, at most %d", modem.ErrBurst, control, modem.MaxControlOctets)
	}
	if frames == 0 {
		octets = 0
	}
	m := &prof.modes[mcs]
	c := &prof.classes[m.class]
	*p = plan{mode: m, class: c, inside: inside && c.inside > 0, mcs: mcs, classIndex: m.class, frames: frames, octets: octets, control: control,
		units: frames, unitOctets: octets, pilots: prof.pilots, streams: prof.channels()}
	if p.joint = frames == 1 && control > 0 && octets <= c.joint; p.joint {
		p.unitOctets += control
	}
	p.setHead(s)
	p.bodyAt = p.headAt + p.headCount*p.head.length()
	p.samples = p.bodyAt
	if frames > 0 {
		if err := p.setBody(prof, s); err != nil {
			return err
		}
	}
	p.samples += prof.taper * s.times
	p.block(prof, s)
	longest := float64(maxSeconds)
	if !c.weak {
		longest = maxFastSeconds
	}
	if p.seconds(s) > longest {
		return fmt.Errorf("ofdm: %w: it would take %.1f s, at most %g", modem.ErrBurst, p.seconds(s), longest)
	}
	return nil
}

// setHead lays out the preamble and the head; class and control are set.
func (p *plan) setHead(s scale) {
	c := p.class
	p.chirp, p.headTraining = c.chirp*s.times, c.training
	if p.inside {
		p.chirp, p.headTraining = 0, 0
	}
	p.headAt = p.chirp
	p.head = s.geometry(c.head, c)
	places := 0
	for places < c.coded/2 {
		places += p.headPlaces(p.headerOnly)
		p.headerOnly++
	}
	symbols := p.headerOnly
	if p.control > 0 && !p.joint {
		want := controlShare * float64(c.coded) / headerBits * float64(8*(p.control+controlCheck))
		for ; places < c.coded/2+int(math.Ceil(want/2)); symbols++ {
			places += p.headPlaces(symbols)
		}
	}
	p.headCount = p.headTraining + symbols
}

// setBody lays out the payload: in the numerology that is over first, or in one
// of longer symbols that takes hardly longer and suffers less from echoes.
func (p *plan) setBody(prof *profile, s scale) error {
	bits := 8 * (p.unitOctets + frameCheck)
	p.shaping = prof.shapingOf(p.mode)
	info := float64(p.shaping.info(bits, int(float64(bits)/p.mode.rate))) // of the code, with shaping
	most := int(math.Ceil(info / maxWordBits))
	if p.shaping.bits > 0 {
		// Rather the matcher gets a little more to do than two short codewords, as
		// long as it can.
		least := int(math.Ceil(info / (stretch * maxWordBits)))
		if err := p.setWords(prof, s, bits, least); err == nil || least == most {
			return err
		}
	}
	return p.setWords(prof, s, bits, most)
}

// setWords lays out frames of so many bits in so many codewords each.
func (p *plan) setWords(prof *profile, s scale, bits, each int) error {
	p.words = each
	net := (bits + p.words - 1) / p.words
	words := p.words * p.frames
	wanted := int(math.Ceil(float64(net) / p.mode.rate / float64(p.mode.bits)))
	best := 0
	if float64(wanted)*float64(words) < maxCells*float64(s.times) {
		for _, v := range p.mode.shapes {
			if n := p.lay(prof, s, v, wanted*words); best == 0 || n < best {
				best = n
			}
		}
	}
	if best == 0 {
		return fmt.Errorf("ofdm: %w: it would take more than %d s", modem.ErrBurst, maxSeconds)
	}
	longest := int(prof.patience * float64(best))
	for _, v := range slices.Backward(p.mode.shapes) {
		if best = p.lay(prof, s, v, wanted*words); best <= longest {
			break
		}
		// Its training is worth the time where much follows.
		if v.n >= longSymbol && p.bodyCount > longLeast && best <= longest*5/4 &&
			float64(p.bodyAt+best)*s.ratio/float64(s.rate) < maxFastSeconds-1 {
			break
		}
	}
	places := 0
	for i := p.training; i < p.bodyCount; i++ {
		places += p.bodyPlaces(p.body, i)
	}
	p.cells = min(places/words, p.shaping.mostCells())
	if !p.setWord(net) {
		return fmt.Errorf("ofdm: %w: frames of %d octets do not fit the code of MCS %d", modem.ErrBurst, p.octets, p.mcs)
	}
	p.group = words
	if prof.apart > 0 && p.mode.bits >= prof.apart {
		p.group = min(words, (p.streams*p.body.carriers+p.cells-1)/p.cells)
	}
	p.last = words%p.group + p.group
	if p.last > words {
		p.last = words
	}
	p.invert = spread(p.cells * p.group)
	p.lastIn = spread(p.cells * p.last)
	p.samples = p.bodyAt + best
	return nil
}

// lay gives the body the numerology v with room for so many cells, and returns
// its length.
func (p *plan) lay(prof *profile, s scale, v numerology, cells int) int {
	p.body = s.geometry(v, p.class)
	p.training, p.dense, p.pilots = p.streams, 0, prof.pilots
	switch {
	case v == p.class.head:
		p.training--
	case prof.dense > 0 && v.n >= combSymbol:
		p.training, p.dense, p.pilots = 0, v.n/prof.dense, v.n/prof.dense*prof.sparse
	}
	p.bodyCount = p.training
	for places := 0; places < cells; p.bodyCount++ {
		places += p.bodyPlaces(p.body, p.bodyCount)
	}
	return p.bodyCount * p.body.length()
}

func (p *plan) seconds(s scale) float64 {
	return float64(p.samples) * s.ratio / float64(s.rate)
}

// headerSamples is how long the burst is known to be before its header is read.
func (p *plan) headerSamples() int {
	return p.headAt + (p.headTraining+p.headerOnly)*p.head.length()
}

// pilotOffset is where the comb of pilots of symbol i starts: it moves so that
// every carrier has its turn.
func pilotOffset(i, every int) int { return i * (every/2 - 1 | 1) % every }

// headPlaces is how many carriers of head symbol i (training excluded) are no
// pilots.
func (p *plan) headPlaces(i int) int {
	offset, every := p.headComb(i)
	return p.head.carriers - combSize(p.head.carriers, offset, every)
}

// headComb is where the pilots of head symbol i (training excluded) lie.
func (p *plan) headComb(i int) (offset, every int) {
	if p.inside && i == 0 {
		return 0, p.class.inside
	}
	return pilotOffset(i, p.class.pilots), p.class.pilots
}

// bodyPlaces is the same for symbol i of the body, all streams together: their
// places follow one another.
func (p *plan) bodyPlaces(g geometry, i int) int {
	offset, every := p.comb(i)
	return p.streams * (g.carriers - combSize(g.carriers, offset, every))
}

// comb is where the pilots of symbol i of the body lie. Behind a first symbol
// with many of them they keep to its carriers.
func (p *plan) comb(i int) (offset, every int) {
	switch {
	case p.dense == 0:
		return pilotOffset(i, p.pilots), p.pilots
	case i == 0:
		return 0, p.dense
	}
	return p.dense * pilotOffset(i, p.pilots/p.dense), p.pilots
}

func combSize(n, offset, every int) int { return (n - offset + every - 1) / every }

// graph is the base graph of the payload's code: low rates do better on BG2 as
// long as it holds the codeword.
func (p *plan) graph() fec.Graph {
	if p.shaped > 0 {
		return fec.BG1 // hides the smaller share
	}
	return fec.SelectGraph(p.k, p.e)
}

// spread is an interleaver of n places: thing i lies at place i·step mod n, so
// place p holds thing p·invert mod n. The step is next to n/φ, so that things at a
// distance of d lie at least n/(√5·d) places apart (the golden ratio is the
// number worst approximated by fractions).
func spread(n int) (invert int) {
	for step := int(math.Round(float64(n) / math.Phi)); step > 1; step-- {
		if g, inverse := euclid(step, n); g == 1 {
			return inverse
		}
	}
	return 1 % n
}

// euclid is the greatest common divisor of a and n and, if it is 1, the inverse
// of a modulo n.
func euclid(a, n int) (gcd, inverse int) {
	x0, x1, r0, r1 := 1, 0, a, n
	for r1 != 0 {
		q := r0 / r1
		r0, r1 = r1, r0-q*r1
		x0, x1 = x1, x0-q*x1
	}
	return r0, ((x0 % n) + n) % n
}

// order walks the places of the body, symbol by symbol and carrier by carrier
// without the pilots, and tells which cell lies there. Cells of a group of
// codewords are spread over the group's places: all codewords of the burst, so
// that a fade or a hit costs each a little, or just those that fill a symbol
// where the code has nothing to spare for that and a hit shall cost few frames.
type order struct {
	base, size, invert int // of the group: first cell, cells
	cell, at           int // cell of the next place in the group, places used
	left               int // places with cells
	plan               *plan
}

// order starts at body symbol i.
func (p *plan) order(i int) order {
	place := 0
	for s := p.training; s < i; s++ {
		place += p.bodyPlaces(p.body, s)
	}
	all := p.cells * p.words * p.frames
	o := order{left: all - place, plan: p}
	if o.left <= 0 {
		return o
	}
	size := p.group * p.cells
	o.base = min(place/size*size, all-p.last*p.cells)
	o.enter()
	o.at = place - o.base
	o.cell = int(int64(o.at) * int64(o.invert) % int64(o.size))
	return o
}

// enter starts the group at o.base.
func (o *order) enter() {
	p := o.plan
	o.size, o.invert = p.group*p.cells, p.invert
	if o.base == p.cells*(p.words*p.frames-p.last) {
		o.size, o.invert = p.last*p.cells, p.lastIn
	}
	o.at, o.cell = 0, 0
}

// next is the cell at the next place; ok is false where there are no more.
func (o *order) next() (cell int, ok bool) {
	if o.left <= 0 {
		return 0, false
	}
	if o.at == o.size {
		o.base += o.size
		o.enter()
	}
	cell = o.base + o.cell
	o.at++
	o.left--
	if o.cell += o.invert; o.cell >= o.size {
		o.cell -= o.size
	}
	return cell, true
}

// noise is the pseudo-random sequence that pilots, training and scrambling are
// made of: 2^15 values, xorshift32 (Marsaglia, 2003) from the seed 1.
var noise = func() (t [1 << 15]byte) {
	x := uint32(1)
	for i := range t {
		x = xorshift(x)
		t[i] = byte(x >> 24)
	}
	return t
}()

// xorshift is a step of Marsaglia's generator.
func xorshift(x uint32) uint32 {
	x ^= x << 13
	x ^= x >> 17
	return x ^ x<<5
}

const noiseMask = len(noise) - 1

// known is the QPSK value of carrier i in symbol s where it carries a pilot or
// training; part separates the head's sequence from the body's.
func known(part, s, i int) complex64 {
	const a = math.Sqrt2 / 2
	b := noise[(part*12289+s*5003+i)&noiseMask]
	return complex(a*float32(1-int(b>>6&2)), a*float32(1-int(b>>5&2)))
}

// flip is the scrambler's bit for coded bit i of the head or of a codeword of the
// body: it does not depend on where in which burst a codeword is sent.
func flip(i int) byte { return noise[(i+i>>15*7919)&noiseMask] & 1 }

const (
	headPart     = 1
	bodyPart     = 2
	rightPart    = 3 // body of the second stream
	pairHeadPart = 4 // head of two channels, so that a receiver of one does not take the burst for its own
	insideParts  = 4 // added, and the class, to those of the head in the middle of another burst, where nothing else tells the class
)

// headPart is the sequence of the head.
func (p *plan) headPart() int {
	part := headPart
	if p.streams == 2 {
		part = pairHeadPart
	}
	if p.inside {
		part += insideParts + p.classIndex
	}
	return part
}
