package link

import (
	"math"
	"slices"
	"time"

	"lightsong/phy"
)

// piece is a range of a packet's octets that travels in a frame.
type piece struct {
	pkt      *packet
	from, to int
	void     bool // the packet was one already
}

// sentBurst remembers what a burst carried until its fate is known.
type sentBurst struct {
	id      uint8
	at      time.Time // when its last sample had left
	airtime time.Duration
	mode    int // index
	form    phy.Form
	blamed  bool      // its form rests already because it was not answered
	pieces  [][]piece // by data frame; none left of one that arrived
	parity  int
	store   []byte // where receivers combine, the data frames
	octets  int    // of each; else 0

	sequence int   // of the peer's numbers
	within   uint8 // it went in the middle of the burst whose number is so much less than its own; 0: of none
}

// due is the number of the burst with which what came of b is known: one that went in the middle of
// another was over before that.
func (b *sentBurst) due() uint8 { return b.id - b.within }

// bareBurst is the last burst to a peer without data, until it is known to have
// arrived.
type bareBurst struct {
	open bool
	id   uint8
	mode int // index
	form phy.Form

	brief bool // it is a brief block
}

// current is the burst that NextBurst gave out and BurstSent has not yet taken
// back.
type current struct {
	active  bool
	kind    kind
	peer    *peer
	burst   *sentBurst // nil without data frames
	joint   bool       // to several stations:
	parts   []part     // instead of both, with data or not
	id      uint8
	wanted  bool
	reply   bool // that ends an exchange
	far     bool // a beacon in a mode more robust than the basic one
	airtime time.Duration
}

// sendMode is the index of the mode in which bursts go to p.
func (e *Engine) sendMode(p *peer) int {
	without := e.basicMode()
	if !math.IsNaN(p.rx.snr) {
		// Nothing is known of the way there: it is taken to be a little worse
		// than the way here.
		without = min(without, e.modes.suiting(p.rx.snr-p.rx.margin-reciprocityMargin))
	}
	mode := p.tx.index(e.modes, without)
	if e.staysLively(p) {
		mode = max(mode, e.lively)
	}
	return mode
}

const reciprocityMargin = 3 // dB

// airtime of a burst of n frames of octets each and a control block. One that the
// PHY cannot send takes for ever.
func (e *Engine) airtime(mode int, control, n, octets int) time.Duration {
	b := &e.probe
	b.MCS = e.modes[mode].MCS
	b.Control = e.zeros[:min(control, len(e.zeros))]
	b.Frames = b.Frames[:0]
	for range n {
		b.Frames = append(b.Frames, e.zeros[:octets])
	}
	if d := e.cfg.Airtime(b); d > 0 {
		return d
	}
	return forEver
}

const forEver = 24 * time.Hour

// answerAirtime is that of a burst with a report and no frames.
func (e *Engine) answerAirtime(mode int) time.Duration {
	return e.airtime(mode, headOctets+reportOctets+2*historySize, 0, 0)
}

// exchangeCost is what a burst in a mode and its answer take of a half-duplex medium
// without data.
func (e *Engine) exchangeCost(p *peer, mode, control int) time.Duration {
	return e.airtime(mode, control, 0, 0) + 2*e.turnaround() + e.usualAnswer(p, mode)
}

// usualAnswer is the airtime of most answers of p without frames: it knows what we do.
func (e *Engine) usualAnswer(p *peer, mode int) time.Duration {
	if e.concise(p) {
		return e.airtime(mode, shortOctets, 0, 0)
	}
	return e.answerAirtime(mode)
}

// budget is how long a burst to p may be. While somebody types, or waits for
// another small packet, it is as short as what every burst costs allows, because
// nothing of a burst is read before its end, unless that packet may come in its middle. On a half-duplex medium that is
// somebody anywhere on it.
func (e *Engine) budget(now time.Time, p *peer, mode, control int) time.Duration {
	empty := e.airtime(mode, control, 0, 0)
	budget, short := e.cfg.MaxBurst, e.shortBurst(p, mode, control)
	if e.cfg.Caps.FullDuplex {
		budget = e.besides(empty)
	} else {
		switch {
		case e.mayMeetHidden(now):
			budget = e.reservable()
		case !e.several(now):
			budget = e.cfg.pairBurst
		}
		cost := e.exchangeCost(p, mode, control)
		one := empty + time.Duration(float64(8*e.cfg.MTU)/e.modes[mode].NetBPS*float64(time.Second))
		turn := e.turn(now, p, cost)
		switch {
		case e.holdsTurn(p):
			if turn < e.turnLimit(now) { // others wait for its end
				budget = min(budget, max(leastTurn, turn-now.Sub(e.access.since)))
			}
			switch left := openingBurst - now.Sub(e.access.since); {
			case e.access.rash && !e.ownSlots():
				budget = min(budget, max(firstBurst, 2*cost, one))
			case (e.access.rash || e.access.floor.newcomer) && left > 0:
				budget = min(budget, max(left, 2*cost, one))
			}
		case e.access.with == p && e.several(now): // no more of p's turn than of one of our own
			budget = min(budget, max(turn, one))
		}
		if e.trial(p, mode) {
			budget = min(budget, slowBurst)
		}
	}
	if e.cfg.Queue != FIFO && e.innerAirtime(mode, control, quantum) == 0 && (e.inInteraction(now, p) || !e.cfg.Caps.FullDuplex && (e.inHurry(now) || e.othersHurry(now))) {
		k, octets := evenly(p.pending(p.windowOpen()), e.modes[mode].FrameOctets)
		if e.cfg.Caps.FullDuplex && p.alone() && k <= e.longest(mode, control, octets, p.tx.loss, budget) {
			// All that waits is of the flow that somebody waits for, and is there
			// sooner if it is not cut in pieces.
			short = budget
		}
		budget = min(budget, short)
	}
	if p.hurry && e.current.active { // it goes in the middle of that
		budget = min(budget, longestInner)
	}
	// Where the control block alone takes long, frames get as much again.
	return min(max(budget, 2*empty), e.mayLast)
}

// trial tells whether a burst to p in the mode with an index is one: it may be lost whole. The table says so, and none with
// data came in it last.
func (e *Engine) trial(p *peer, mode int) bool {
	return !e.formed && mode > p.wellOut && e.modes[mode].SNRdB > p.tx.snr
}

// shortBurst is how long a burst to p may be while somebody waits for a small packet: few
// times what every burst costs, which on a slow half-duplex medium would be seconds. There
// a packet waits for a burst and its answer, and then comes a pair of its own.
func (e *Engine) shortBurst(p *peer, mode, control int) time.Duration {
	if e.cfg.Caps.FullDuplex {
		empty := e.airtime(mode, control, 0, 0)
		return max(leastBurst, min(e.cfg.MaxBurst/historySize, duplexShort*empty), duplexLeast*empty)
	}
	cost := e.exchangeCost(p, mode, control)
	if !e.concise(p) || p.tx.loss >= cleanLoss {
		// Who does not know yet how long answers take, or why they stay out, had better not
		// ask more often, and short bursts have little parity.
		return max(leastBurst, interactiveCosts*cost)
	}
	return max(leastBurst, min(interactiveCosts*cost, max(slowBurst, cost)))
}

// besides is how long a burst may be on a full-duplex medium, where several are on
// their way at once, by how long one without frames is.
func (e *Engine) besides(empty time.Duration) time.Duration {
	return max(e.cfg.MaxBurst/historySize, min(e.cfg.MaxBurst*duplexMost/10, duplexCosts*empty))
}

// duplexCosts keeps what such a burst costs besides its frames to a sixteenth, unless
// it then lasted so long that the other side would ask whether anybody is there.
// duplexShort does so while somebody types, at less of a wait.
const (
	duplexCosts = 16
	duplexMost  = 7 // tenths of the longest burst: who hears none for leastKeep asks
	duplexShort = 11
	duplexLeast = 3 // so that most of a burst is not its head
)

// longest is how many data frames of octets, with their parity, may be sent in a
// burst of a length: at least one.
func (e *Engine) longest(mode, control, octets int, loss float64, budget time.Duration) int {
	low, high := 1, maxData
	for low < high {
		k := (low + high + 1) / 2
		if _, ok := e.fits(mode, control, octets, k, loss, budget); ok {
			low = k
		} else {
			high = k - 1
		}
	}
	return low
}

// fits tells how long a burst with k data frames of octets and their parity is, and
// whether it is one within a budget.
func (e *Engine) fits(mode, control, octets, k int, loss float64, budget time.Duration) (time.Duration, bool) {
	n := k + parity(k, loss)
	d := e.airtime(mode, control, n, octets)
	return d, k <= maxData && n <= e.cfg.Caps.MaxFrames && d <= budget
}

// shorten is the most octets up to a number with which a single frame does not
// exceed a budget: shortestFrame at least.
func (e *Engine) shorten(mode, control, octets int, loss float64, budget time.Duration) int {
	n := 1 + parity(1, loss)
	for octets > shortestFrame && e.airtime(mode, control, n, octets) > budget {
		octets = max(shortestFrame, octets*3/4)
	}
	return octets
}

// another makes k frames that are k+1 shorter ones, if a burst then carries more
// within its budget: where frames are long and bursts short.
func (e *Engine) another(mode, control, octets, k, pending int, loss float64, budget time.Duration) (int, int) {
	n := k + 1 + parity(k+1, loss)
	if pending <= k*(octets-fragHead) || k >= maxData || n > e.cfg.Caps.MaxFrames {
		return octets, k
	}
	short := octets
	for short > shortestFrame && e.airtime(mode, control, n, short) > budget {
		short = short * 15 / 16
	}
	if (k+1)*(short-fragHead) > k*(octets-fragHead) && e.airtime(mode, control, n, short) <= budget {
		return short, k + 1
	}
	return octets, k
}

// snug is the length of n frames, a little below octets, with which a burst brings most for its time:
// its symbols are whole, and the last one may hold next to nothing.
func (e *Engine) snug(mode, control, octets, n int) int {
	best, most := octets, 0.0
	step := max(1, octets/snugSteps)
	for i := range snugSteps / 4 {
		o := octets - i*step
		if o < shortestFrame {
			break
		}
		if rate := float64(o-fragHead) / e.airtime(mode, control, n, o).Seconds(); rate > most {
			best, most = o, rate
		}
	}
	return best
}

const snugSteps = 64 // of which a quarter is tried

// shortestFrame is what a frame is cut to for the sake of a short burst: less
// would be mostly headers.
const shortestFrame = 64

// quickest is the mode, none faster than the one allowed, in which a burst with a
// control block and so many octets of fragments is over first: a fast mode's long
// symbols do not pay for a small packet. Among equals it is the most robust. What is short
// is in codewords that are short, too, which need more SNR than the long ones that the mode
// was allowed for (Polyanskiy, Poor, Verdú, IEEE Trans. IT 56, 2010): if that takes hardly
// longer, it goes in a mode that needs shortLead less.
func (e *Engine) quickest(p *peer, allowed, control, pending int, budget time.Duration) int {
	loss := p.tx.loss
	took := func(mode int) (time.Duration, bool) {
		if pending == 0 {
			return e.airtime(mode, control, 0, 0), true
		}
		octets := min(e.modes[mode].FrameOctets, pending)
		k := (pending + octets - 1) / octets
		d, ok := e.fits(mode, control, octets, k, loss, budget)
		return d, ok || k == 1
	}
	best, ok := took(allowed)
	if !ok {
		return allowed // more than one burst: the fastest
	}
	if next := allowed + 1; e.cfg.Caps.FullDuplex && next < min(len(e.modes), p.tx.ceiling.index+1) && e.modes[next].SNRdB+cliffRoom <= p.tx.snr {
		if d, ok := took(next); ok && cliff*d <= best {
			allowed, best = next, d
		}
	}
	mode := allowed
	for i := allowed - 1; i >= 0; i-- {
		if d, ok := took(i); ok && d <= best {
			mode, best = i, d
		}
	}
	least := e.modes[allowed].SNRdB - shortLead
	if there := p.tx.snr - shortLead; there < least { // not if it is not known
		least = there
	}
	tight := func(i int) bool { return e.modes[i].SNRdB > least }
	if pending == 0 || !short(&e.modes[mode], pending/4) { // where headers become a few octets up to half of the longest frame is short
		return mode
	}
	for i := mode - 1; i >= 0 && tight(mode); i-- {
		if d, ok := took(i); ok && d <= best+best/2 {
			mode = i
		}
	}
	return mode
}

const (
	shortLead = 2.0 // dB
	cliff     = 3   // times as long
	cliffRoom = 0.5 // dB: then one burst in hundreds is lost
)

// fill puts fragments of what waits for p into e.frames, parity behind them. It
// returns nil when nothing waits. The frames are as cut has them, if it has any.
func (e *Engine) fill(now time.Time, p *peer, mode, control int, loss float64, cut layout) *sentBurst {
	defer p.release()
	pending := p.pending(p.windowOpen())
	if pending == 0 {
		p.next(false) // drops flows from the lists that have run empty
		return nil
	}
	if !p.hurry {
		p.noteTurn(now)
	}
	octets, k := cut.octets, cut.frames
	if cut.form != phy.Plain {
		loss = 0 // such a burst comes whole or not at all
	}
	budget := e.budget(now, p, mode, control)
	if k == 0 {
		octets, k = min(e.modes[mode].FrameOctets, pending), 1
		octets = e.shorten(mode, control, octets, loss, budget)
	}
	if cut.frames == 0 && pending > octets {
		k = (pending + octets - fragHead - 1) / (octets - fragHead)
		k = min(k, maxData, e.longest(mode, control, octets, loss, budget))
		octets, k = e.another(mode, control, octets, k, pending, loss, budget)
		if k*(octets-fragHead) < pending {
			octets = e.snug(mode, control, octets, k+parity(k, loss))
		}
		if k > 1 {
			octets = min(octets, (pending+k-1)/k+fragHead) // even lengths: no frame is mostly padding
		}
	}
	again := 0
	if !p.hurry && len(p.failed) > 0 {
		again = p.failed[0].octets
		if cut.frames == 0 && again != octets {
			if n := e.evenAs(mode, control, pending, again, loss, budget, k, octets); n > 0 {
				octets, k = again, n
			}
		}
	}
	e.store = e.store[:0]
	if need := 2 * k * octets; cap(e.store) < need { // parity is at most as much as data
		e.store = make([]byte, 0, need)
	}
	e.frames = e.frames[:0]
	burst := e.pool.burst()
	burst.sequence = p.sequence
	used := 0
	if again > 0 && (again != octets || e.repeat(p, burst, octets, k)) {
		e.freeFailed(p)
	}
	repeated := len(e.frames)
	if repeated > 0 {
		used = octets
	}
	used = max(used, e.pack(now, p, burst, octets, k))
	k = len(e.frames)
	// Where less was there than had waited, or than such a burst needs, one that is
	// shorter than planned may be of another form, and could not be read.
	filler := 0
	if cut.form == phy.Long || cut.form == phy.Middle {
		filler = cut.frames - k
	}
	switch {
	case cut.padded:
		used = octets
	case k == 1 && filler == 0 && repeated == 0:
		used = e.unsize(used)
	}
	if p.waiting == 0 && !p.hurry {
		p.filled = time.Time{}
	}
	if k == 0 {
		e.pool.freeBurst(burst)
		return nil
	}
	burst.parity = min(parity(k, loss), e.cfg.Caps.MaxFrames-k)
	if filler > 0 {
		burst.parity, used = filler, octets
	}
	for i, f := range e.frames {
		e.frames[i] = f[:used:used]
		if e.cfg.Caps.Combines {
			burst.store, burst.octets = append(burst.store, f[:used]...), used
		}
	}
	e.addParity(burst.parity, octets, used)
	return burst
}

// pack appends frames of octets with what waits for p to e.frames, up to k in all. It returns how much
// of the fullest is used.
func (e *Engine) pack(now time.Time, p *peer, burst *sentBurst, octets, k int) (used int) {
	for len(e.frames) < k {
		start := len(e.store)
		pieces := burst.frame()
		for {
			pkt := e.nextPacket(now, p)
			if pkt == nil || !e.cut(now, p, pkt, start, octets, pieces) {
				break
			}
		}
		if len(*pieces) == 0 {
			burst.pieces = burst.pieces[:len(burst.pieces)-1]
			break
		}
		n := len(e.store) - start
		used = max(used, n)
		e.store = append(e.store, e.zeros[:octets-n]...)
		e.frames = append(e.frames, e.store[start:])
	}
	return used
}

// evenAs is how many frames as long as those that were lost, octets, make a burst that
// brings about as much for its time as k of the length that is best; 0: none do.
func (e *Engine) evenAs(mode, control, pending, octets int, loss float64, budget time.Duration, k, best int) int {
	if octets > e.modes[mode].FrameOctets || octets <= fragHead || evenLeast*octets < best {
		return 0
	}
	rate := func(k, octets int) float64 {
		return float64(min(pending, k*octets)) / e.airtime(mode, control, k+parity(k, loss), octets).Seconds()
	}
	n := min((pending+octets-fragHead-1)/(octets-fragHead), maxData, e.longest(mode, control, octets, loss, budget))
	if rate(n, octets) < evenShare*rate(k, best) {
		return 0
	}
	return n
}

// evenShare is worth to be given for the same frames once more: where much is lost
// they are much likelier to be read than new ones.
const evenShare = 0.85

// evenLeast keeps a burst of bulk from being cut to the length of a ping that was lost: so
// many times as long as those frames the ones that are best may be.
const evenLeast = 2

// repeat puts frames that were lost into e.frames as they were, as many as k at most, if
// all that is in them is still to be sent: a receiver that adds up what it hears of
// both reads them at half the SNR. It reports whether there was room for all.
func (e *Engine) repeat(p *peer, burst *sentBurst, octets, k int) bool {
	for _, b := range p.failed {
		if b.octets != octets {
			continue
		}
		for i, pieces := range b.pieces {
			if len(pieces) == 0 || slices.ContainsFunc(pieces, func(x piece) bool { return !x.wanted() }) {
				continue
			}
			if len(e.frames) == k {
				return false
			}
			out := burst.frame()
			for _, x := range pieces {
				x.pkt.pending = x.pkt.pending.remove(x.from, x.to)
				x.pkt.flow.deficit -= x.to - x.from + fragHead
				*out = append(*out, x)
			}
			clear(pieces) // the burst has them, and what they refer to
			b.pieces[i] = pieces[:0]
			start := len(e.store)
			e.store = append(e.store, b.store[i*octets:][:octets]...)
			e.frames = append(e.frames, e.store[start:])
		}
	}
	return true
}

// wanted tells whether all of the piece is still to be sent.
func (x *piece) wanted() bool {
	return !x.pkt.done && x.pkt.void == x.void && x.pkt.pending.contains(x.from, x.to)
}

// freeFailed forgets the frames that were lost: what is left of them is cut as suits.
func (e *Engine) freeFailed(p *peer) {
	for i, b := range p.failed {
		e.freeBurst(b)
		p.failed[i] = nil
	}
	p.failed = p.failed[:0]
}

// cut appends one fragment of pkt to the frame that begins at start and has
// octets; false when no more fits.
func (e *Engine) cut(now time.Time, p *peer, pkt *packet, start, octets int, pieces *[]piece) bool {
	if !pkt.numbered {
		e.compress(p, pkt)
		pkt.numbered, pkt.seq = true, p.nextSeq
		if p != e.all { // what is not repeated is not waited for
			pkt.pred, pkt.flow.last = pkt.flow.last, pkt
			pkt.refs++
		}
		p.nextSeq++
		p.alive = append(p.alive, pkt)
		pkt.refs++
	}
	s := pkt.pending[0]
	f := fragment{seq: pkt.seq, first: s.from == 0, last: s.to == pkt.size(), offset: s.from}
	base := e.base
	if pred := e.pool.predecessor(pkt); f.first && pred != nil {
		f.pred = pkt.seq - pred.seq
	}
	room := octets - (len(e.store) - start)
	n := s.to - s.from
	if pkt.void {
		if _, ok := fitFragment(f.headOctets(base), 0, room); !ok {
			return false
		}
	} else {
		fit, ok := fitFragment(f.headOctets(base), n, room)
		if ok && fit < n && f.last { // its header may be longer
			f.last = false
			fit, ok = fitFragment(f.headOctets(base), n, room)
			ok = ok && fit < n
		}
		if !ok || fit < n && fit < shortestCut && len(*pieces) > 0 {
			return false
		}
		n = fit
		f.body = pkt.wire[s.from : s.from+n]
	}
	e.tail = tail{len(e.store), f.headOctets(base)}
	e.store = f.appendTo(e.store, base, room)
	*pieces = append(*pieces, piece{pkt, s.from, s.from + n, pkt.void})
	pkt.refs++
	pkt.pending = pkt.pending.remove(s.from, s.from+n)
	pkt.flow.deficit -= n + fragHead
	if pkt.tries == 0 { // what arrives piece by piece, with turns of many others between, is not given up
		pkt.first = now
	}
	return true
}

// tail is where the last fragment of e.store is.
type tail struct{ at, head int }

// unsize takes the length out of the last fragment of the only frame: the frame is
// cut to what was used of it, n octets. It returns what is used then.
func (e *Engine) unsize(n int) int {
	f := e.store[e.tail.at:n]
	if f[0]&fragSized == 0 {
		return n
	}
	f[0] &^= fragSized
	copy(f[e.tail.head:], f[e.tail.head+2:])
	clear(f[len(f)-2:])
	return n - 2
}

// compress makes what is sent for a packet that gets its number now: in the order
// of the numbers, which is that of the flow.
func (e *Engine) compress(p *peer, pkt *packet) {
	p.leave(pkt)
	oldest := ^uint64(0)
	if len(p.alive) > 0 && p != e.all {
		oldest = p.alive[0].ref.Number()
	}
	pkt.wire, pkt.ref = p.headers.Compress(e.pool.buffer(len(pkt.data)+1), pkt.data, pkt.flow.key, oldest)
	if before := len(pkt.wire); e.cfg.Compress {
		pkt.wire = e.deflate.Compress(pkt.wire)
		pkt.flow.saved += savedWeight * (1 - float64(len(pkt.wire))/float64(max(1, before)) - pkt.flow.saved)
	}
	pkt.pending = pkt.pending[:0].add(0, max(1, len(pkt.wire)))
}

// savedWeight is that of the newest packet in what a flow's packets are expected to
// be shorter by.
const savedWeight = 0.5

// shortestCut is the fewest octets of a packet worth a header at the end of a
// frame.
const shortestCut = 4

// addParity appends m parity frames of n octets to e.frames; octets is the room
// between two frames in e.store.
func (e *Engine) addParity(m, octets, n int) {
	if m == 0 {
		return
	}
	k := len(e.frames)
	for range m {
		start := len(e.store)
		e.store = append(e.store, e.zeros[:octets]...)
		e.frames = append(e.frames, e.store[start:start+n:start+n])
	}
	code, err := e.code(k, m)
	if err == nil {
		err = code.Encode(e.frames)
	}
	if err != nil {
		e.frames = e.frames[:k] // a combination that the code does not know is sent without
	}
}

// report fills in what was heard of p.
func (e *Engine) report(c *control, p *peer) {
	c.flags |= flagReport
	c.peerEpoch, c.want, c.snr = p.epoch, noMCS, toSNR(p.rx.snr)
	if i, ok := e.plainWish(p); ok {
		c.want, p.rx.told = uint8(e.modes[i].MCS), i
	}
	if c.formed = e.formed; c.formed {
		for f := phy.Block; f < phy.Forms; f++ {
			c.forms[f] = e.formWish(p, f)
			p.forms[f].rx.told = e.modes.index(phy.MCS(c.forms[f]))
		}
	}
	c.loss = uint8(p.rx.loss*255 + 0.5)
	c.heard = c.heard[:0]
	if p.in.lost {
		c.flags |= flagResync
	}
	if p.in.valid {
		c.flags |= flagHeard
		c.newest = p.in.newest
		c.heard = append(c.heard, p.in.history...)
	}
}

// told is what a peer knows of us, or will when it hears a burst: from the first one
// that told it on all do, until one of them has arrived.
type told struct {
	base  uint16
	wish  wish
	in    uint8 // the first burst that told it
	known bool
}

// wish is what a report wishes, beside forms, and what it saw.
type wish struct {
	want uint8
	snr  int8
	loss uint8
}

// leaveOut makes a block a short one if its destination knows the rest. That is one that
// answers, and nobody else is there: others would have to know who speaks to whom. What
// it knows is nothing that a lost burst told, so any of them may be lost.
func (e *Engine) leaveOut(p *peer, c *control) {
	t := &p.told
	w := wish{c.want, c.snr, c.loss}
	c.short = e.concise(p)
	c.tag = tagOf(e.address, p.address, e.cfg.Epoch, p.epoch)
	if !c.short || t.news(c.base, w) {
		*t = told{base: c.base, wish: w, in: c.id}
	}
	c.based, c.wish = !t.known, !t.known
	if e.base = t.base; c.based {
		e.base = c.base
	}
}

// news tells whether a base and a wish differ from what was told by so much that they
// have to be told anew.
func (t *told) news(base uint16, w wish) bool {
	snr, was := int(w.snr), int(t.wish.snr) // 255 apart at most
	return base-t.base > tellBase || w.want != t.wish.want || max(snr, was)-min(snr, was) > tellSNR ||
		(w.loss == 0) != (t.wish.loss == 0) || max(w.loss, t.wish.loss)-min(w.loss, t.wish.loss) > tellLoss
}

// tells notes that the next burst to p reports what came of it.
func (e *Engine) tells(p *peer) {
	p.owes = false
	for i := range p.in.history {
		if h := &p.in.history[i]; !h.told {
			h.told, h.toldIn = true, p.nextID
		}
	}
}

// concise tells whether p knows enough for short blocks.
func (e *Engine) concise(p *peer) bool {
	return p.state == PeerUp && p.name != "" && !p.freshSeq && p.in.valid && !p.in.lost && p.silent == 0 && !e.formed && e.others() == 1
}

// What is news.
const (
	tellBase = fragLow / 2 // so that new packets' numbers are near
	tellSNR  = 4           // snrUnits
	tellLoss = 8           // 1/255
)

// speech is how much of what waits a burst may carry.
type speech uint8

const (
	mute   speech = iota // nothing
	urgent               // what is urgent, in the middle of another burst
	brief                // what is urgent, where the burst is hardly longer for it: it ends the exchange all the same
	free
)

func sayUnless(asking bool) speech {
	if asking {
		return mute
	}
	return free
}

// briefly tells whether an answer that ends the exchange takes along what is urgent
// to p: the acknowledgement of a host, without which the next exchange would begin with
// nothing to send. Nobody is asked for it; what became of it the next report tells.
func (e *Engine) briefly(p *peer, mode, control int) bool {
	p.hurry = true
	if few := p.pending(p.windowOpen()); few > 0 && few <= min(urgentOctets, e.modes[mode].FrameOctets) {
		if e.airtime(mode, control, 1, few) <= briefTimes*e.airtime(mode, control, 0, 0) {
			return true
		}
	}
	p.hurry = false
	return false
}

const briefTimes = 2

// isReply tells whether the answer to p that is being made, with so many octets that had waited, ends the exchange: they are few
// and all, and p, whose turn it is, has no more. Of two stations nobody else wants to know what becomes of it: p tells that with its
// next burst, and asks for what it lacks at once.
func (e *Engine) isReply(now time.Time, p *peer, pending int) bool {
	return !e.cfg.Caps.FullDuplex && !e.several(now) && !e.holdsTurn(p) && !p.more && pending <= urgentOctets && !p.hasData()
}

// buildUnicast makes the burst to p: a report, and what may be said. With
// answer it is the answer to p's last burst; with ask an answer is wanted even
// without data.
func (e *Engine) buildUnicast(now time.Time, p *peer, answer bool, say speech, ask bool, dst *phy.Burst) bool {
	c := &e.control
	*c = control{kind: unicast, src: e.address, dst: p.address, epoch: e.cfg.Epoch, id: p.nextID, base: p.base(), heard: c.heard[:0]}
	e.report(c, p)
	e.leaveOut(p, c)
	e.block = c.appendTo(e.block[:0], e.cfg.Caps.MaxControl)
	e.tells(p)
	e.frames = e.frames[:0]
	pending := 0
	mode := e.sendMode(p)
	switch say {
	case brief:
		if !e.briefly(p, mode, len(e.block)) {
			say = mute
			break
		}
		pending = p.pending(p.windowOpen())
	case urgent:
		p.hurry = true
		pending = p.pending(p.windowOpen())
	case free:
		p.hurry = e.mayHurry(now, p, mode, len(e.block))
		pending = p.pending(p.windowOpen())
	}
	careful := pending == 0 && !e.cfg.Caps.FullDuplex && p.inTrouble(answer)
	control := len(e.block)
	if pending > 0 && e.several(now) { // the next speaker is named when it is known what is left
		control += nextOctets
	}
	var cut layout
	left := false
	if budget := e.budget(now, p, mode, control); e.formed {
		cut = e.layOut(p, mode, control, pending, careful, budget)
		if limit := e.fair(now, p, e.exchangeCost(p, cut.mode, control)); limit > 0 && say == free {
			all := cut.frames
			cut = e.leaveSome(cut, control, pending, limit)
			left = cut.frames < all
		}
		mode = cut.mode
	} else {
		if careful {
			mode = e.carefulMode(mode, control)
		}
		p.tx.held = !e.cfg.Caps.FullDuplex && (e.inHurry(now) || e.othersHurry(now))
		if pending > 0 && (pending <= urgentOctets || p.tx.held) {
			mode = p.tx.sure(mode) // it would be as long again until it is sent once more, and what waits behind it, too
		}
		mode = e.quickest(p, mode, control, pending, budget)
	}
	var burst *sentBurst
	if say != mute {
		burst = e.fill(now, p, mode, control, p.tx.loss, cut)
	}
	if burst == nil && !answer && !ask {
		return false
	}
	octets := 0
	if len(e.frames) > 0 {
		octets = len(e.frames[0])
	}
	airtime := e.airtime(mode, len(e.block), len(e.frames), octets)
	reply := burst != nil && say == free && answer && e.isReply(now, p, pending)
	wanted := burst != nil && (say == urgent || say == free && !reply) || ask
	if answer {
		c.flags |= flagAnswer
	}
	if p.freshSeq {
		c.flags |= flagFresh
	}
	if p.name == "" {
		c.flags |= flagStranger
	}
	if !e.cfg.Caps.FullDuplex && e.inHurry(now) {
		c.flags |= flagHurry
	}
	if wanted {
		c.flags |= flagWanted
	}
	p.nextID++
	if burst != nil {
		c.data = uint8(len(burst.pieces))
		burst.id = c.id
	}
	if e.passFloor(now, p, mode, airtime, left); c.next != 0 {
		c.short = false
	}
	if !e.cfg.Caps.FullDuplex {
		c.nav = e.reservation(now, p, mode, airtime, wanted, answer)
	}
	if burst == nil {
		p.bare = bareBurst{open: true, id: c.id, mode: mode}
		if wanted {
			e.stats.Bursts.Polls++
		}
	}
	e.current = current{kind: unicast, peer: p, burst: burst, id: c.id, wanted: wanted, reply: reply}
	e.emit(mode, dst)
	if e.formed {
		p.lastForm = e.cfg.Caps.Form(dst)
		p.lastBrief = isBrief(p.lastForm, e.current.airtime)
		if burst == nil {
			p.bare.form, p.bare.brief = p.lastForm, p.lastBrief
		} else {
			burst.form = p.lastForm
			p.sounded = p.sounded || burst.form == phy.Plain || burst.form == phy.Middle
		}
	}
	return true
}

// reservation is for how long the burst to p in e.control keeps others from beginning:
// for its answer, and where the turn goes on and somebody does not hear us, for the next burst, however
// long it will be. The answer repeats what is left of it, for those who do not hear the one and hear
// the other; what they hear next ends it.
func (e *Engine) reservation(now time.Time, p *peer, mode int, airtime time.Duration, wanted, answer bool) uint8 {
	c := &e.control
	switch {
	case wanted:
		d := max(hostTurn, e.fading(p)) + e.turnaround() + e.answerAirtime(mode) + slack
		if c.more && c.next == 0 && !answer && p.hasData() && e.mayMeetHidden(now) {
			d += e.turnaround() + e.reservable() + slack
		}
		return toNAV(d)
	case answer && c.next == 0:
		return toNAV(max(0, e.access.owedNAV.Sub(now)-airtime))
	}
	return 0
}

// reservable is the longest burst where it has to be reserved for, with an answer before it and
// one behind: less than an unsigned octet of navUnits by that.
func (e *Engine) reservable() time.Duration { return min(e.cfg.MaxBurst, mostReserved) }

const mostReserved = 3 * time.Second

// buildFlood makes a burst of broadcast packets.
func (e *Engine) buildFlood(now time.Time, dst *phy.Burst) bool {
	p := e.all
	mode, worst := e.floodMode()
	c := &e.control
	*c = control{kind: flooded, src: e.address, dst: broadcast, epoch: e.cfg.Epoch, id: p.nextID, base: p.base(), heard: c.heard[:0]}
	e.base = c.base
	burst := e.fill(now, p, mode, headOctets, max(worst, floodLoss), layout{})
	if burst == nil {
		return false
	}
	c.data = uint8(len(burst.pieces))
	p.nextID++
	e.current = current{kind: flooded, peer: p, burst: burst, id: c.id}
	e.emit(mode, dst)
	return true
}

// inTrouble tells that bursts to p are lost, and that the next acknowledgement, or
// question for one, is to get through even so. The first questions are in the mode
// of what was lost: they tell whether it was the mode.
func (p *peer) inTrouble(answer bool) bool {
	return p.silent >= silentBursts || answer && p.tx.loss > leastLoss
}

const carefulBy = 4 // dB

// carefulMode is the mode in which a burst without frames needs less SNR than in
// another, if that does not take long.
func (e *Engine) carefulMode(mode, control int) int {
	i := e.modes.suiting(e.modes[mode].SNRdB - carefulBy)
	if e.airtime(i, control, 0, 0) > 2*e.airtime(mode, control, 0, 0) {
		return mode
	}
	return i
}

// floodLoss is the share of lost frames that broadcast bursts are protected
// against at least: nobody asks for them again.
const floodLoss = 0.15

// floodMode is the index of the mode that every live peer is expected to
// receive, and the largest loss that one of them reports.
func (e *Engine) floodMode() (mode int, loss float64) {
	mode = e.basicMode()
	for _, p := range e.peers {
		if p.live() {
			mode = min(mode, e.sendMode(p))
			loss = max(loss, p.tx.loss)
		}
	}
	return mode, loss
}

// emit completes the burst in e.control and e.frames.
func (e *Engine) emit(mode int, dst *phy.Burst) {
	e.block = e.control.appendTo(e.block[:0], e.cfg.Caps.MaxControl)
	*dst = phy.Burst{MCS: e.modes[mode].MCS, Control: e.block, Frames: e.frames}
	e.current.active = true
	e.current.airtime = e.cfg.Airtime(dst)
	if b := e.current.burst; b != nil {
		b.airtime, b.mode = e.current.airtime, mode
		b.parity = len(e.frames) - len(b.pieces)
	}
}

// resolve settles what became of a burst; heard is nil when it was lost whole.
func (e *Engine) resolve(p *peer, b *sentBurst, heard *heardBurst) {
	lost := 0
	for i, pieces := range b.pieces {
		ok := heard != nil && heard.has(i)
		if !ok {
			lost++
			e.stats.Frames.Repeated++
			p.stats.Repeated++
		}
		for _, x := range pieces {
			switch pkt := x.pkt; {
			case pkt.done || pkt.void != x.void:
			case ok:
				e.acknowledge(p, pkt, x, b.at)
			default:
				if pkt.tries == 0 || pkt.failed != b.id {
					pkt.tries++
					pkt.failed = b.id
				}
				pkt.pending = pkt.pending.add(x.from, x.to)
				for _, a := range pkt.acked {
					pkt.pending = pkt.pending.remove(a.from, a.to)
				}
				p.activate(pkt.flow)
			}
		}
	}
	if heard != nil {
		e.outcome(p, b, lost)
	}
	if lost == 0 || b.octets == 0 {
		e.freeBurst(b)
	} else {
		for i, pieces := range b.pieces {
			if heard != nil && heard.has(i) {
				e.dropPieces(pieces)
				b.pieces[i] = pieces[:0]
			}
		}
		if len(p.failed) == historySize {
			e.freeBurst(p.failed[0])
			p.failed = slices.Delete(p.failed, 0, 1)
		}
		p.failed = append(p.failed, b)
	}
	p.trim()
}

// freeBurst ends a burst whose fate is known, or no longer matters.
func (e *Engine) freeBurst(b *sentBurst) {
	for _, pieces := range b.pieces {
		e.dropPieces(pieces)
	}
	e.pool.freeBurst(b)
}

func (e *Engine) dropPieces(pieces []piece) {
	for i, x := range pieces {
		e.pool.drop(x.pkt)
		pieces[i] = piece{}
	}
}

// acknowledge takes that a piece of a packet arrived with a burst that ended at a time.
func (e *Engine) acknowledge(p *peer, pkt *packet, x piece, at time.Time) {
	pkt.pending = pkt.pending.remove(x.from, x.to)
	pkt.acked = pkt.acked.add(x.from, x.to)
	if pkt.acked.covers(pkt.size()) {
		if !pkt.void {
			p.headers.Delivered(pkt.ref)
			p.arrivals.note(at, pkt.flow.key, pkt)
		}
		p.stats.OctetsOut += uint64(len(pkt.data))
		e.finish(p, pkt)
	}
}

// takeReport learns what arrived at p, and how.
func (e *Engine) takeReport(p *peer, c *control) {
	if c.peerEpoch != e.cfg.Epoch {
		return // it has not noticed our restart
	}
	e.hearsUs(p)
	if c.wish {
		e.takeWish(p, c.want, c.snr)
		p.tx.loss = float64(c.loss) / 255
	}
	e.takeForms(p, c)
	if c.flags&flagResync != 0 {
		e.stats.Headers.Resyncs++
		p.headers.Invalidate()
		p.arrivals = arrivals{} // it could not read them all
	}
	if c.flags&flagHeard == 0 {
		return
	}
	if int8(c.newest-p.freshID) >= 0 {
		p.freshSeq = false
	}
	p.told.known = p.told.known || int8(c.newest-p.told.in) >= 0
	// What it has been told of needs no entry any longer. It may have been left
	// out for want of room since, which costs a repetition.
	p.in.history = slices.DeleteFunc(p.in.history, func(h heardBurst) bool { return h.told && int8(c.newest-h.toldIn) >= 0 })
	switch {
	case !p.bare.open:
	case p.bare.id == c.newest:
		if p.bare.open = false; !p.question.open {
			p.silent = 0 // though nobody asked
		}
		p.arrived(p.bare.brief)
		if p.bare.form == phy.Plain {
			p.tx.ceiling.succeed(p.bare.mode)
		}
	case p.bare.brief && c.flags&flagHeard != 0 && int8(c.newest-p.bare.id) < 0: // an answer: questions are open until then
		p.bare.open = false
		p.restBrief()
	}
	kept := p.outstanding[:0]
	for _, b := range p.outstanding {
		var entry *heardBurst
		for i := range c.heard {
			if c.heard[i].id == b.id {
				entry = &c.heard[i]
			}
		}
		if entry == nil && int8(b.due()-c.newest) > 0 {
			if e.cfg.Caps.FullDuplex {
				kept = append(kept, b) // it may not have heard it yet
				continue
			}
			if !b.blamed {
				p.lastForm, p.lastBrief = b.form, isBrief(b.form, b.airtime)
				e.silentForm(p, false)
			}
		}
		if entry != nil {
			if p.lapses = 0; !p.question.open {
				p.silent = 0 // though nobody asked
			}
		}
		e.resolve(p, b, entry)
	}
	clear(p.outstanding[len(kept):])
	p.outstanding = kept
	if len(kept) == 0 {
		p.poll, p.dueBy = false, time.Time{} // nothing is left to ask for
	}
}

// BurstSent tells that the burst of the last NextBurst has left, or that the PHY
// could not send it.
func (e *Engine) BurstSent(now time.Time, err error) {
	c := e.current
	if !c.active {
		return
	}
	e.current = current{}
	if err != nil {
		e.stats.Bursts.Failed++
		if c.burst != nil && c.burst.sequence == c.peer.sequence {
			e.resolve(c.peer, c.burst, nil)
		}
		for _, x := range c.parts {
			if x.burst != nil && x.burst.sequence == x.peer.sequence {
				e.resolve(x.peer, x.burst, nil)
			}
		}
		e.sendFailed(now)
		return
	}
	e.countBurst(now, &c)
	if c.burst != nil {
		c.burst.at = now
	}
	switch {
	case c.joint:
		e.jointSent(now, &c)
	case c.kind == flooded:
		for _, pieces := range c.burst.pieces {
			for _, x := range pieces {
				if !x.pkt.done && x.void == x.pkt.void {
					e.acknowledge(c.peer, x.pkt, x, now)
				}
			}
		}
		e.freeBurst(c.burst)
		c.peer.trim()
	case c.burst != nil && c.burst.sequence == c.peer.sequence: // not of a sequence that has ended meanwhile
		c.peer.outstanding = append(c.peer.outstanding, c.burst)
	}
	e.burstLeft(now, &c)
}

// countBurst counts one that has left.
func (e *Engine) countBurst(now time.Time, c *current) {
	e.stats.Bursts.Sent++
	e.stats.Airtime.Sent += c.airtime
	for i := range e.limits {
		e.limits[i].use(now, c.airtime)
	}
	if c.kind == unicast && !c.joint {
		c.peer.stats.Airtime.Sent += c.airtime
	}
	if c.burst != nil {
		e.countFrames(c.burst)
	}
}

func (e *Engine) countFrames(b *sentBurst) {
	e.stats.Frames.Sent += uint64(len(b.pieces) + b.parity)
	e.stats.Frames.Parity += uint64(b.parity)
}
