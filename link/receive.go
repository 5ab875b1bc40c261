package link

import (
	"slices"
	"time"

	"lightsong/link/header"
	"lightsong/phy"
)

// deafFor is how long a station must not have heard a peer's bursts to take a
// burst number that is not ahead of the last one for new.
const deafFor = 30 * time.Second

// inbox is what comes from one peer by one kind of burst: the numbers of bursts
// and packets, and the packets received in part.
type inbox struct {
	valid   bool
	initial uint16 // base when the sequence began
	base    uint16 // oldest packet that its sender has not done with
	told    uint16 // base, as its sender said last
	newest  uint8  // burst
	at      time.Time
	history []heardBurst // newest first

	partial map[uint16]*assembly
	ready   int  // complete, waiting for a predecessor
	lost    bool // headers could not be decompressed: full ones are wanted
	headers *header.Decompressor
	past    uint16              // behind the highest number seen
	dealt   [window / 64]uint64 // packets from base on that were delivered or given up; by number modulo window
	octets  int                 // that partial costs
}

// assembly is a packet received in part.
type assembly struct {
	at    time.Time // it grew last
	buf   []byte
	got   spans
	total int // octets; −1: its end was not received
	first bool
	pred  uint16 // distance, with first
	whole bool
	void  bool // given up: whole, with nothing to deliver
}

func (in *inbox) isDealt(seq uint16) bool {
	if int16(seq-in.base) < 0 {
		return true
	}
	seq %= window
	return in.dealt[seq/64]>>(seq%64)&1 != 0
}

func (in *inbox) setDealt(seq uint16, dealt bool) {
	seq %= window
	in.dealt[seq/64] &^= 1 << (seq % 64)
	if dealt {
		in.dealt[seq/64] |= 1 << (seq % 64)
	}
}

// settleInbox ends the wait for a peer: what is complete is delivered, the rest
// is lost, also if it should still come, because it would be out of order.
func (e *Engine) settleInbox(p *peer, in *inbox) {
	if in.valid {
		e.advance(in.at, p, in, in.past)
	}
}

// closeInbox ends a peer's sequence.
func (e *Engine) closeInbox(p *peer, in *inbox) {
	e.settleInbox(p, in)
	e.clearInbox(in)
}

// clearInbox forgets a peer's sequence and what was received in part.
func (e *Engine) clearInbox(in *inbox) {
	e.rxSize -= in.octets
	*in = inbox{}
}

// openInner does so for a burst that came in the middle of another, whose number is the
// lesser one and still to come. So nothing is moved, nor is anything taken for told: what
// is in that burst was made before.
func (e *Engine) openInner(now time.Time, in *inbox, c *control) bool {
	if !in.valid || c.flags&flagFresh != 0 && c.base != in.initial {
		return false // it comes again behind the other
	}
	known := slices.ContainsFunc(in.history, func(h heardBurst) bool { return h.id == c.id })
	if known || int8(c.id-in.newest) <= 0 {
		e.stats.Hostile.Replayed++
		return false
	}
	in.at = now
	return true
}

// openBurst checks a burst's number against those heard before and moves the
// window to its base. It returns false for a replay.
func (e *Engine) openBurst(now time.Time, p *peer, in *inbox, c *control) bool {
	if in.valid && c.flags&flagFresh != 0 && c.base != in.initial {
		// The peer had forgotten us; it sends what was not acknowledged again.
		e.clearInbox(in)
	}
	if in.valid && int8(c.id-in.newest) <= 0 && now.Sub(in.at) < deafFor {
		e.stats.Hostile.Replayed++
		return false
	}
	if !in.valid {
		*in = inbox{valid: true, initial: c.base, base: c.base, past: c.base, partial: map[uint16]*assembly{},
			headers: header.NewDecompressor(c.kind == unicast)}
	}
	in.newest, in.at, in.told = c.id, now, c.base
	if int16(c.base-in.base) > 0 {
		e.advance(now, p, in, c.base)
	}
	return true
}

// advance moves the window to base. Whatever was complete is delivered in
// order: its sender has done with all that it waited for.
func (e *Engine) advance(now time.Time, p *peer, in *inbox, base uint16) {
	end := base
	if base-in.base > window {
		end = in.base + window
		e.loseContexts(p, in)
	}
	for seq := in.base; seq != end; seq++ {
		a := in.partial[seq]
		if (a == nil || !a.whole) && !in.isDealt(seq) && in == &p.in {
			e.loseContexts(p, in)
		}
		if a != nil {
			switch {
			case a.void:
			case a.whole:
				e.give(now, p, in, a.buf)
			default:
				e.stats.Packets.Dropped.Incomplete++
			}
			e.drop(in, seq)
		}
		in.setDealt(seq, false)
	}
	in.base = base
	if int16(in.past-base) < 0 {
		in.past = base
	}
}

// loseContexts begins header compression anew, because a packet is missing of
// which the sender may not know: should it still come it is acknowledged, though
// nobody reads it, and its header would be taken for known. Nobody tells how many
// are missing of a broadcast, which is compressed accordingly.
func (e *Engine) loseContexts(p *peer, in *inbox) {
	if in == &p.in {
		in.headers.Reset()
		in.lost = true
	}
}

// drop forgets a packet received in part.
func (e *Engine) drop(in *inbox, seq uint16) {
	a := in.partial[seq]
	if a == nil {
		return
	}
	if a.whole {
		in.ready--
	}
	in.octets -= len(a.buf) + assemblyCost
	e.rxSize -= len(a.buf) + assemblyCost
	delete(in.partial, seq)
	e.pool.freeAssembly(a)
}

// accept stores a fragment. It returns false when it has to be sent again.
func (e *Engine) accept(in *inbox, f *fragment) bool {
	ahead := f.seq - in.base
	switch {
	case int16(ahead) < 0:
		e.stats.Packets.Duplicates++
		return true
	case ahead >= window:
		e.stats.Hostile.Malformed++
		return false
	case in.isDealt(f.seq):
		e.stats.Packets.Duplicates++
		return true
	}
	if int16(f.seq-in.past) >= 0 {
		in.past = f.seq + 1
	}
	a := in.partial[f.seq]
	end := f.offset + len(f.body)
	cost := end + assemblyCost
	if end == 0 && (a == nil || !a.void) {
		// A void waits for its predecessor like any other: what comes behind it must
		// not pass what is still missing before it.
		e.drop(in, f.seq)
		a = nil
	}
	if a != nil {
		if a.whole {
			e.stats.Packets.Duplicates++
			return true
		}
		if a.total >= 0 && (end > a.total || f.last && end != a.total) || f.last && len(a.buf) > end {
			e.stats.Hostile.Malformed++
			return false
		}
		cost = max(0, end-len(a.buf))
	}
	// The oldest packet always has room, so that memory that is full of packets
	// that wait for it cannot stop it.
	if ahead > 0 && (in.octets+cost > maxPeerOctets || e.rxSize+cost > maxRxOctets) {
		return false
	}
	if a == nil {
		a = e.pool.assembly()
		in.partial[f.seq] = a
	}
	a.at = in.at
	in.octets += cost
	e.rxSize += cost
	if end == 0 {
		a.void, a.whole, a.pred = true, true, f.pred
		in.ready++
		return true
	}
	if len(a.buf) < end {
		a.buf = append(a.buf, make([]byte, end-len(a.buf))...)
	}
	copy(a.buf[f.offset:], f.body)
	before := a.got.octets()
	if a.got = a.got.add(f.offset, end); a.got.octets() == before {
		e.stats.Packets.Duplicates++
	}
	if f.first {
		a.first, a.pred = true, f.pred
	}
	if f.last {
		a.total = end
	}
	if a.first && a.total >= 0 && a.got.covers(a.total) {
		a.whole = true
		in.ready++
	}
	return true
}

// lapsesAfter is longer than any sender goes on with a packet that does not come whole.
const lapsesAfter = 2 * persistMost * persistTCP

// lapse forgets what was received in part, or waits for what is missing before it, and has not grown for so long: its
// sender has given it up, or never meant to complete it.
func (e *Engine) lapse(now time.Time, in *inbox) {
	for seq, a := range in.partial {
		if now.Sub(a.at) >= lapsesAfter {
			e.stats.Packets.Dropped.Incomplete++
			e.drop(in, seq)
		}
	}
}

// deliver hands over what is complete and whose predecessor is dealt with.
// Predecessors have lower numbers: one pass is enough.
func (e *Engine) deliver(now time.Time, p *peer, in *inbox) {
	for seq := in.base; in.ready > 0 && seq != in.past; seq++ {
		a := in.partial[seq]
		if a == nil || !a.whole || a.pred != 0 && !in.isDealt(seq-a.pred) {
			continue
		}
		if !a.void {
			e.give(now, p, in, a.buf)
		}
		e.drop(in, seq)
		in.setDealt(seq, true)
	}
}

// HandleEvent takes what the PHY heard.
func (e *Engine) HandleEvent(now time.Time, ev *phy.Event) {
	e.tick(now)
	switch ev.Kind {
	case phy.Busy:
		e.becameBusy(now)
	case phy.Idle:
		e.becameIdle(now)
	case phy.Announced:
		e.burstAnnounced(now, max(0, min(ev.Until, longestBurst)))
	case phy.Missed:
		e.stats.Bursts.Missed++
		e.burstMissed(now)
	case phy.Lost:
		e.stats.Hostile.Lost += uint64(max(0, ev.Samples))
	case phy.Retimed:
		e.retimed(ev.Until)
	case phy.Received:
		e.received(now, ev)
	}
}

// received takes a burst.
func (e *Engine) received(now time.Time, ev *phy.Event) {
	e.burstOver(now)
	defer e.sense(now)
	b := &ev.Burst
	c := &e.incoming
	switch {
	case b.Control == nil:
		e.stats.Bursts.Missed++
		if p := e.otherEnd(); p != nil {
			e.judge(p, b, e.formOf(ev), 0)
		}
		e.burstMissed(now)
		return
	case !c.parse(b.Control) || int(c.data) > len(b.Frames) || c.kind == beaconed && c.data == 0:
		e.stats.Hostile.Malformed++
		e.burstMissed(now)
		return
	}
	octets, ok := frameOctets(b)
	if !ok {
		e.stats.Hostile.Malformed++
		return
	}
	airtime := e.airtimeOf(b, octets)
	if c.short && !e.resolveShort(c) {
		e.stats.Bursts.Foreign++
		e.access.rival = now
		e.reserved(now, time.Duration(c.nav)*navUnit)
		return
	}
	if c.kind != beaconed && c.src == e.address && c.epoch == e.cfg.Epoch {
		return // an echo of our own
	}
	if !ev.Within {
		e.sensed(now, airtime)
	}
	from, to, acked := 0, int(c.data), false
	if c.joint() {
		from, to, acked = c.forUs(e.address, e.cfg.Epoch)
	}
	p := e.identify(now, c)
	if p == nil {
		if c.src == e.address && c.kind == beaconed && c.epoch != e.cfg.Epoch {
			e.conflictHeard(now, c, b, octets)
		}
		return
	}
	e.stats.Bursts.Received++
	p.stats.Airtime.Heard += airtime
	e.signOfLife(now, p, ev, e.answers(p, c))
	if c.flags&(flagWanted|flagAnswer) == flagWanted {
		e.access.rival = now
	}
	if c.kind == unicast {
		p.more, p.talks, p.took = c.more, c.dst == e.address && c.data > 0 && !c.joint(), airtime
		e.owedFor(now, p, c, to-from)
		switch {
		case c.flags&flagHurry != 0:
			p.hurries = now
		case !c.joint(): // which tells only one of those that it is for
			p.hurries = time.Time{}
		}
	}
	if c.kind == unicast && c.dst != e.address {
		e.access.reserved = now // it was for this
	}
	if e.access.asked == p && c.kind == unicast && c.dst != e.address && !ev.Within && e.mayMeetHidden(now) {
		e.silence(now, p) // it did not hear our question: it would have answered that first
	}
	e.floorNamed(now, c, false)
	if c.dst != e.address && c.dst != broadcast {
		e.stats.Bursts.Foreign++
		if q := e.peerAt(c.dst); c.flags&flagAnswer != 0 && (q == nil || !q.live()) {
			if !e.mayMeetHidden(now) {
				e.forgive()
			}
			e.access.hidden = now
			if q != nil {
				q.recallAt = later(q.recallAt, now.Add(mostRecall)) // it is there, but not for us: if it is, its own bursts tell
			}
		}
		e.reserved(now, time.Duration(c.nav)*navUnit)
		return
	}
	in := &p.in
	if c.kind != unicast {
		in = &p.flood
	}
	if c.flags&flagReport != 0 && c.peerEpoch != e.cfg.Epoch {
		// It was meant for us before we restarted. The answer tells its sender,
		// which then sends everything again.
		e.hearsUs(p)
		if c.flags&flagWanted != 0 {
			e.oweAnswer(now, p, 0, airtime)
		}
		return
	}
	if acked {
		e.takeReport(p, c)
		e.answered(now, p, c, 0, airtime)
		return
	}
	if c.joint() && !c.based {
		if c.base = in.told; !in.valid {
			return
		}
	}
	if c.kind != beaconed && (ev.Within && !e.openInner(now, in, c) || !ev.Within && !e.openBurst(now, p, in, c)) {
		return
	}
	given := len(e.out)
	heard := e.takeFrames(now, p, in, c, b, e.formOf(ev), octets, from, to)
	c.data = uint8(to - from)
	switch c.kind {
	case unicast:
		if p.polled++; c.data > 0 || c.flags&flagWanted == 0 {
			p.polled = 0
		}
		e.deliver(now, p, in)
		if heard.n > 0 && c.flags&flagWanted == 0 {
			p.owes = true // nobody asks what is missing
		}
		if c.data > 0 {
			in.history = slices.Insert(in.history, 0, heard)
			in.history = in.history[:min(len(in.history), historySize)]
		}
		e.hearsUs(p)
		if c.flags&flagStranger != 0 {
			e.beaconSoon(now)
		}
		if c.flags&flagReport != 0 {
			e.takeReport(p, c)
		}
		e.answered(now, p, c, len(e.out)-given, airtime)
		if c.flags&flagWanted != 0 {
			e.oweAnswer(now, p, len(e.out)-given, airtime)
		}
	case flooded:
		e.deliver(now, p, in)
	}
}

// takeFrames repairs the frames of a burst and reads those from an index to another, which
// are ours. It returns which of them count as received.
func (e *Engine) takeFrames(now time.Time, p *peer, in *inbox, c *control, b *phy.Burst, form phy.Form, octets, from, to int) (h heardBurst) {
	k, n := int(c.data), len(b.Frames)
	h = heardBurst{id: c.id}
	lost, lostData := 0, 0
	for i, f := range b.Frames {
		if f == nil {
			lost++
			if i < k {
				lostData++
			}
		}
	}
	p.garbled = n > 0 && lost == n
	if c.kind == beaconed && lost == n {
		e.stats.Frames.Failed += uint64(n)
	} else {
		e.judge(p, b, form, octets)
	}
	if form == phy.Plain && c.kind == unicast && float64(lost) < badShare*float64(max(1, n)) {
		p.rx.ceiling.succeed(e.modes.index(b.MCS))
		if k > 0 {
			p.wellIn = e.modes.index(b.MCS)
		}
	}
	if k == 0 {
		return h
	}
	frames := b.Frames
	if lostData > 0 && n-lost >= k && octets > 0 {
		e.shards = append(e.shards[:0], frames...)
		if code, err := e.code(k, n-k); err == nil && code.ReconstructData(e.shards) == nil {
			frames = e.shards
			e.stats.Frames.Repaired += uint64(lostData)
			p.stats.Repaired += uint64(lostData)
		}
	}
	if c.kind == beaconed {
		e.readBeacon(now, p, frames[:k])
		return h
	}
	all := true
	for i, f := range frames[from:to] {
		if f != nil && e.readFrame(in, f, c.base) {
			h.set(i)
		} else {
			all = false
		}
	}
	if !all {
		h.n = uint8((to - from + 7) / 8)
	}
	return h
}

// judge takes what became of the frames of a burst from p, of so many octets, for the mode that we ask for.
func (e *Engine) judge(p *peer, b *phy.Burst, form phy.Form, octets int) {
	n, lost := len(b.Frames), 0
	for _, f := range b.Frames {
		if f == nil {
			lost++
		}
	}
	e.stats.Frames.Received += uint64(n - lost)
	e.stats.Frames.Failed += uint64(lost)
	rx := p.reception(form)
	want, _ := rx.want(e.modes)
	mode := e.modes.index(b.MCS)
	late := form == phy.Plain && rx.told >= 0 && mode > rx.told                   // on its way when we asked for less: it tells nothing new
	if late || p.moves || p.swings || form != phy.Plain && p.forms[form].barred { // no margin makes up for motion
		return
	}
	brief := form == phy.Plain && short(&e.modes[mode], octets)
	asked, from := rx.asked(e.modes, mode, e.formed), rx.margin
	rx.frames(n, lost, asked, brief, e.target(want), e.bound(rx, mode))
	if !e.formed {
		if asked = asked || mode > want; asked && n > 0 && (lost > 0 || !brief) {
			rx.tried(e.modes, mode, n, lost, e.target(want), from)
		}
		rx.climb(e.modes, want)
	}
}

// otherEnd is the station at the other end of a full-duplex medium: whatever is heard there is
// its, even where nothing tells so because its control block was coded together with
// what was lost. nil: there is none, or there are several.
func (e *Engine) otherEnd() (other *peer) {
	if !e.cfg.Caps.FullDuplex {
		return nil
	}
	for _, p := range e.peers {
		if !p.live() {
			continue
		}
		if other != nil {
			return nil
		}
		other = p
	}
	return other
}

// readFrame takes the fragments of a frame. It returns false when one of them
// has to be sent again.
func (e *Engine) readFrame(in *inbox, frame []byte, base uint16) bool {
	stored := true
	for rest := frame; ; {
		f, more, done, ok := nextFragment(rest, base)
		if !ok {
			e.stats.Hostile.Malformed++
			return false
		}
		if done {
			return stored
		}
		if !e.accept(in, &f) {
			stored = false
		}
		rest = more
	}
}

// readBeacon joins the frames of a beacon and learns from it.
func (e *Engine) readBeacon(now time.Time, p *peer, frames [][]byte) {
	b, whole, ok := parseBeacon(frames)
	switch {
	case !whole:
	case !ok:
		e.stats.Hostile.Malformed++
	default:
		e.takeBeacon(now, p, &b)
	}
}

// conflictHeard takes a beacon that another station sent from our address.
func (e *Engine) conflictHeard(now time.Time, c *control, b *phy.Burst, octets int) {
	if octets == 0 {
		return
	}
	if other, whole, ok := parseBeacon(b.Frames[:c.data]); whole && ok {
		e.conflict(now, c, &other)
	}
}

// parseBeacon joins frames to a beacon; whole is false when one is missing.
func parseBeacon(frames [][]byte) (b beacon, whole, ok bool) {
	var body []byte
	for _, f := range frames {
		if f == nil {
			return b, false, false
		}
		body = append(body, f...)
	}
	return b, true, b.parse(body)
}

// airtimeOf is how long a received burst took; frames of unknown length count
// nothing.
func (e *Engine) airtimeOf(b *phy.Burst, octets int) time.Duration {
	n := len(b.Frames)
	if octets == 0 || octets > len(e.zeros) {
		n, octets = 0, 0
	}
	return e.airtime(e.modes.index(b.MCS), len(b.Control), n, octets)
}
