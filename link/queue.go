package link

import (
	"encoding/binary"
	"slices"
	"time"
)

// Discipline is how the packets that wait for a station are queued.
type Discipline uint8

// The disciplines.
const (
	// FQCoDel is RFC 8290: every flow has a queue, those that send little go
	// first, and a queue that is too long for too long is told so: by ECN marks
	// where the flow knows them, else by drops. A full queue drops from the head
	// of the longest flow.
	FQCoDel Discipline = iota
	// FQ is FQCoDel without marks and drops; a full queue holds the host up.
	FQ
	// FIFO is one queue for all, and a full one holds the host up: for comparison.
	FIFO
)

// String is the name in a configuration.
func (d Discipline) String() string {
	if int(d) < len(disciplines) {
		return disciplines[d]
	}
	return "?"
}

var disciplines = []string{FQCoDel: "fq-codel", FQ: "fq", FIFO: "fifo"}

// ParseDiscipline is the discipline with a name.
func ParseDiscipline(name string) (Discipline, bool) {
	i := slices.Index(disciplines, name)
	return Discipline(max(0, i)), i >= 0
}

const (
	// quantum is how many octets a flow may send before the next has its turn:
	// small, so that short packets pass long ones fragment by fragment.
	quantum = 300

	// Packets beyond what a station gets in longestWait are dropped, but with any
	// rate a few may wait: a TCP connection begins with ten (RFC 6928).
	longestWait = 10 * time.Second
	leastQueue  = 16 << 10 // octets

	turnWeight   = 0.25 // of the newest turn
	longestTurn  = 10 * time.Second
	leastTarget  = 5 * time.Millisecond // RFC 8289 §4.3, where the link is fast
	leastLoop    = 100 * time.Millisecond
	targetOfMTUs = 1.5 // RFC 8290 leaves it open, tc-fq_codel(8) says so

	urgentOctets     = 2 * quantum            // a flow of which no more waits is one that somebody waits for
	interactiveFor   = 3 * time.Second        // and for more of it, at least
	interactiveTurns = 8                      // or for as long as so many bursts take
	interactiveCosts = 6                      // bursts are then this many times as long as one without content,
	slowBurst        = 500 * time.Millisecond // or so long, where that is slow: with what it and a pair of the packet's own cost two seconds
	hurryShare       = 4
	leastBurst       = 150 * time.Millisecond
)

// flow is the packets of one flow to one station, in the order of the host, from
// the oldest that is not acknowledged.
type flow struct {
	key     uint32
	packets []*packet
	last    *packet // the newest that was numbered
	waiting int     // octets of packets without a number
	deficit int     // octets
	saved   float64 // share of a packet that was not sent lately because it could be compressed
	listed  bool
	urgent  bool // listed as one of which so little waits that it goes first
	codel   codel
	top     uint32 // one behind the last octet that TCP had sent
	topped  bool   // there was one
}

// head is the first packet that has something to send. Unless open, packets
// without a number do not count.
func (f *flow) head(open bool) *packet {
	for _, p := range f.packets {
		if len(p.pending) > 0 && (open || p.numbered) {
			return p
		}
	}
	return nil
}

// sent takes that a host sends a segment, and tells whether it has done so before, as far as the flow knows
// while packets of it are there.
func (f *flow) sent(s *segment) (again bool) {
	if !s.valid || s.end == s.seq {
		return false
	}
	if again = f.topped && s.flags&tcpSYN == 0 && int32(s.end-f.top) <= 0; !again {
		f.top, f.topped = s.end, true
	}
	return again
}

func (f *flow) remove(p *packet) {
	for i, q := range f.packets {
		if q == p {
			f.packets = append(f.packets[:i], f.packets[i+1:]...)
			return
		}
	}
}

// scheduler shares a station's bursts among its flows: deficit round robin
// (Shreedhar and Varghese 1996), new flows first as in RFC 8290 §4.2.
type scheduler struct {
	pool    *pool
	flows   map[uint32]*flow
	fresh   []*flow
	old     []*flow
	blocked []*flow // left out of this burst because the window is closed

	waiting     int       // octets of packets without a number
	interactive time.Time // an urgent packet came last
	typist      uint32    // key of its flow
	hurry       bool      // this burst is for urgent packets only
	hurried     time.Time // the last such burst

	// How often it is this station's turn, for the pace.
	filled time.Time     // when its last burst was made, zero if it took all that waited
	turn   time.Duration // from one burst to the next while packets wait, smoothed
}

// flow finds or makes the flow with a key.
func (s *scheduler) flow(key uint32) *flow {
	f := s.flows[key]
	if f == nil {
		if s.flows == nil {
			s.flows = map[uint32]*flow{}
		}
		f = s.pool.flow(key)
		s.flows[key] = f
	}
	return f
}

// activate lists a flow that has something to send.
func (s *scheduler) activate(f *flow) {
	if !f.listed {
		f.listed, f.deficit = true, quantum
		s.fresh = append(s.fresh, f)
	}
}

// activateUrgent lists a flow before all that are not urgent.
func (s *scheduler) activateUrgent(f *flow) {
	if !f.listed {
		f.listed, f.urgent, f.deficit = true, true, quantum
		i := 0
		for i < len(s.fresh) && s.fresh[i].urgent {
			i++
		}
		s.fresh = slices.Insert(s.fresh, i, f)
	}
}

// next is the packet whose turn it is, or nil. The caller takes what it sends of
// it off pending and its octets off the flow's deficit.
func (s *scheduler) next(open bool) *packet {
	for {
		list := &s.fresh
		if len(*list) == 0 {
			list = &s.old
		}
		if len(*list) == 0 {
			return nil
		}
		f := (*list)[0]
		if s.hurry && !f.urgent {
			return nil
		}
		if f.deficit <= 0 {
			f.deficit += quantum
			if s.hurry {
				continue // this burst is for what is left of its packet, too
			}
			f.urgent = false
			s.pop(list)
			s.old = append(s.old, f)
			continue
		}
		if p := f.head(open); p != nil {
			return p
		}
		s.pop(list)
		urgent := f.urgent
		f.urgent = false
		switch {
		case !open && f.head(true) != nil:
			s.blocked = append(s.blocked, f)
		case list == &s.fresh && len(s.old) > 0 && !urgent:
			// So that a flow cannot stay new by running empty; but where a round
			// takes seconds, who has sent one small packet may send another.
			s.old = append(s.old, f)
		default:
			s.unlist(f)
		}
	}
}

// release ends a burst: flows that only the window held back are listed again.
func (s *scheduler) release() {
	s.old = append(s.old, s.blocked...)
	s.blocked = s.blocked[:0]
	s.hurry = false
}

func (s *scheduler) unlist(f *flow) {
	f.listed = false
	if len(f.packets) == 0 && s.flows[f.key] == f {
		delete(s.flows, f.key)
		s.pool.freeFlow(f)
	}
}

func (s *scheduler) pop(list *[]*flow) { *list = append((*list)[:0], (*list)[1:]...) }

// pending is the octets that wait to be sent, fragment headers included; open as
// in head.
func (s *scheduler) pending(open bool) (octets int) {
	for _, f := range s.flows {
		if s.hurry && !f.urgent {
			continue
		}
		for _, p := range f.packets {
			if open || p.numbered {
				octets += p.pending.octets() + len(p.pending)*fragHead
			}
		}
	}
	return octets
}

// queue adds a packet to a flow.
func (s *scheduler) queue(f *flow, pkt *packet) {
	pkt.flow = f
	f.packets = append(f.packets, pkt)
	s.wait(pkt)
	if f.waiting <= urgentOctets {
		s.activateUrgent(f)
	} else {
		s.activate(f)
	}
}

// wait counts a packet as one without a number, leave as one that has one or is
// gone.
func (s *scheduler) wait(pkt *packet) {
	pkt.flow.waiting += len(pkt.data)
	s.waiting += len(pkt.data)
}

func (s *scheduler) leave(pkt *packet) {
	pkt.flow.waiting -= len(pkt.data)
	s.waiting -= len(pkt.data)
}

// fattest is the flow with the most octets that were not sent yet, or nil.
func (s *scheduler) fattest() (most *flow) {
	for _, f := range s.flows {
		if f.waiting > 0 && (most == nil || f.waiting > most.waiting || f.waiting == most.waiting && f.key < most.key) {
			most = f
		}
	}
	return most
}

// noteTurn takes that a burst is being made for the station.
func (s *scheduler) noteTurn(now time.Time) {
	if d := now.Sub(s.filled); !s.filled.IsZero() && d < longestTurn {
		if s.turn == 0 {
			s.turn = d
		}
		s.turn += time.Duration(turnWeight * float64(d-s.turn))
	}
	s.filled = now
}

// paceOf scales CoDel's target and interval to the link: a packet that must wait for
// its turn and for one and a half others to be sent has not waited for long, and
// a host at the other end can react after its packet and the answer had their
// turns.
func paceOf(turn time.Duration, rate float64, mtu int) pace {
	target := max(leastTarget, turn+time.Duration(targetOfMTUs*float64(mtu)*8/rate*float64(time.Second)))
	interval := max(leastLoop, target) + 2*turn + leastLoop
	return pace{target: target, interval: interval, grace: interval}
}

// bound is the most octets that may wait for a station.
func bound(rate float64, wait time.Duration, most int) int {
	return min(most, max(leastQueue, int(rate/8*wait.Seconds())))
}

// roomFor is the most octets that may wait for p. Where bursts have forms a path that was faster a moment ago
// is soon so again, as an end that is carried is put down: what waits then has as long as for a station that is
// gone. To drop it would leave TCP with dozens of holes to fill, in rounds of seconds.
func (e *Engine) roomFor(now time.Time, p *peer) int {
	limit := bound(e.rate(p), e.patience(), e.cfg.QueueOctets)
	if !e.formed {
		return limit
	}
	return p.roomy.keep(now, limit)
}

// kept is the most that a number of octets was in the last holdFor, or up to twice as long: for as long packets wait for a
// station that is gone.
type kept struct {
	since       time.Time
	now, before int // since then, and in as long before that
}

func (k *kept) keep(now time.Time, octets int) int {
	if d := now.Sub(k.since); d >= holdFor {
		if k.before = k.now; d >= 2*holdFor {
			k.before = 0
		}
		k.since, k.now = now, 0
	}
	k.now = max(k.now, octets)
	return max(k.now, k.before)
}

// enqueue puts a packet into the queue of its flow to p, unless what waits there
// makes it needless.
func (e *Engine) enqueue(now time.Time, p *peer, h *ipHeader, pkt *packet) {
	key := h.flow
	if e.cfg.Queue == FIFO {
		key = 0
	} else if h.proto == protoTCP {
		pkt.segment = parseSegment(h.payload)
	}
	f := p.flow(key)
	if pkt.segment.valid && (e.thin(p, f, pkt) || e.known(now, p, f, pkt)) {
		pkt.done = true
		e.pool.freePacket(pkt)
		return
	}
	f = p.flow(key)
	switch few := f.waiting+len(pkt.data) <= urgentOctets; {
	case few && pkt.segment.waited():
		p.interactive, p.typist = now, key
	case !few && p.typist == key: // what began small is bulk
		p.interactive = time.Time{}
	}
	pkt.expect = p.headers.Expect(pkt.data, key)
	pkt.expect -= int(f.saved * float64(pkt.expect))
	pkt.pending = pkt.pending.add(0, pkt.size())
	pkt.again = f.sent(&pkt.segment)
	if pkt.segment.valid {
		pkt.early, pkt.bounded = e.connections.sent(now, h, &pkt.segment, e.cfg.MTU)
	}
	if p != e.all && len(pkt.data) > urgentOctets && !p.hasData() {
		p.holdOff = later(p.holdOff, now.Add(e.startSlot(now)))
	}
	p.queue(f, pkt)
	e.queued.Packets++
	e.queued.Octets += len(pkt.data)
	if e.cfg.Queue == FQCoDel && p != e.all {
		for limit := e.roomFor(now, p); p.waiting > limit; {
			e.dropHead(p, p.fattest())
		}
	}
}

// inInteraction tells whether a small packet to the station came lately, for which
// somebody waits.
func (e *Engine) inInteraction(now time.Time, p *peer) bool {
	return !p.interactive.IsZero() && now.Sub(p.interactive) < e.hurryFor(p)
}

// hurryFor is for how long after a small packet bursts are short: between two stations that
// are slow, for as long as the next one of a kind may take to come.
func (e *Engine) hurryFor(p *peer) time.Duration {
	if !e.concise(p) {
		return interactiveFor
	}
	return max(interactiveFor, min(longestTurn, interactiveTurns*e.shortBurst(p, e.sendMode(p), shortOctets)))
}

// inHurry tells whether that is so for any station.
func (e *Engine) inHurry(now time.Time) bool {
	for _, p := range e.peers {
		if e.inInteraction(now, p) {
			return true
		}
	}
	return false
}

// othersHurry tells whether another station has said so lately: its packet waits
// for the end of our bursts.
func (e *Engine) othersHurry(now time.Time) bool {
	for _, p := range e.peers {
		if !p.hurries.IsZero() && now.Sub(p.hurries) < e.hurryFor(p) {
			return true
		}
	}
	return false
}

// mayHurry tells whether the next burst to p is for its urgent packets alone, so
// that they need not wait for the end of a long one. It is worth a burst of its own
// now and then: hurryShare times what such a burst takes lies between two.
func (e *Engine) mayHurry(now time.Time, p *peer, mode, control int) bool {
	if e.cfg.Queue == FIFO || !p.someoneWaits() {
		return false
	}
	all := p.pending(p.windowOpen())
	p.hurry = true
	few := p.pending(p.windowOpen())
	p.hurry = false
	if few == 0 || all-few <= 2*quantum {
		return false
	}
	took := e.airtime(mode, control, 1, min(few, e.modes[mode].FrameOctets))
	if !e.cfg.Caps.FullDuplex {
		took += 2*e.turnaround() + e.usualAnswer(p, mode)
	}
	if now.Sub(p.hurried) < hurryShare*took {
		return false
	}
	p.hurried = now
	return true
}

// alone tells whether there are no packets of other flows than that of the last urgent
// one.
func (s *scheduler) alone() bool {
	for key, f := range s.flows {
		if key != s.typist && len(f.packets) > 0 {
			return false
		}
	}
	return true
}

// someoneWaits tells whether an urgent packet waits that is more than an
// acknowledgement: those need not be alone.
func (s *scheduler) someoneWaits() bool {
	for _, f := range s.fresh {
		if !f.urgent {
			break
		}
		for _, p := range f.packets {
			if !p.numbered && !p.segment.pure {
				return true
			}
		}
	}
	return false
}

// rate to p in bit/s, as far as the mode tells.
func (e *Engine) rate(p *peer) float64 { return max(1, e.modes[e.fastest(p)].NetBPS) }

// dropHead drops the packet of a flow that has waited longest.
func (e *Engine) dropHead(p *peer, f *flow) {
	for _, pkt := range f.packets {
		if !pkt.numbered {
			e.stats.Packets.Dropped.QueueFull++
			e.finish(p, pkt)
			return
		}
	}
}

// makeRoom drops from the longest flows of all until n octets fit into the queue.
func (e *Engine) makeRoom(n int) bool {
	for e.queued.Octets+n > e.cfg.QueueOctets {
		var from *peer
		var most *flow
		for _, p := range e.peers {
			if f := p.fattest(); f != nil && (most == nil || f.waiting > most.waiting) {
				from, most = p, f
			}
		}
		if f := e.all.fattest(); f != nil && (most == nil || f.waiting > most.waiting) {
			from, most = e.all, f
		}
		if most == nil {
			return false
		}
		e.dropHead(from, most)
	}
	return true
}

// roomy tells whether makeRoom would succeed for a packet of n octets.
func (e *Engine) roomy(n int) bool {
	if e.cfg.Queue != FQCoDel {
		return false
	}
	free := e.cfg.QueueOctets - e.queued.Octets + e.all.waiting
	for _, p := range e.peers {
		free += p.waiting
	}
	return free >= n
}

// thin compares a TCP segment with those of its flow that wait. It returns true
// when one of them makes it needless; acknowledgements that it makes needless are
// dropped.
func (e *Engine) thin(p *peer, f *flow, pkt *packet) (needless bool) {
	s := &pkt.segment
	news := true // nothing before it acknowledges as much
	var same *packet
	for i := len(f.packets) - 1; i >= 0; i-- {
		q := f.packets[i]
		if q.void || !q.segment.valid || !s.sameConnection(&q.segment, pkt.data, q.data) {
			continue
		}
		news = news && int32(s.ack-q.segment.ack) > 0
		switch {
		case s.repeats(&q.segment, pkt.data, q.data):
			same = q // the link will deliver it, or its silence will tell
		case !q.numbered && s.supersedes(&q.segment):
			e.stats.Queue.Thinned++
			e.finish(p, q)
		}
	}
	switch {
	case same == nil:
		return false
	case !news:
	case same.numbered || same.segment.payload != s.payload:
		return false
	default: // with the newer acknowledgement, in the older one's place
		p.leave(same)
		e.queued.Octets += len(pkt.data) - len(same.data)
		same.data, pkt.data = pkt.data, same.data
		same.segment = pkt.segment
		p.wait(same)
	}
	same.asked = pkt.born
	e.stats.Queue.Repeated++
	return true
}

// known tells whether a TCP segment repeats one that has reached the other host, of
// which its own host has not heard yet: the acknowledgement waits for its turn on
// the medium. For so long it goes without, as a segment that the link still has;
// a host that repeats it later knows something that the link does not.
func (e *Engine) known(now time.Time, p *peer, f *flow, pkt *packet) bool {
	old := p.arrivals.find(f.key, pkt)
	if old == nil || now.Sub(old.at) >= e.pace(p).interval {
		return false
	}
	for _, q := range f.packets { // its acknowledgement may be newer than that of the one which arrived
		if q.segment.valid && int32(pkt.segment.ack-q.segment.ack) <= 0 && pkt.segment.sameConnection(&q.segment, pkt.data, q.data) {
			e.stats.Queue.Repeated++
			return true
		}
	}
	if int32(pkt.segment.ack-old.ack) > 0 {
		return false
	}
	e.stats.Queue.Repeated++
	return true
}

// nextPacket is the packet whose turn it is, or nil. Those that CoDel drops are
// gone then; one that it marks is marked. What TCP sends again is neither: its sender
// slows down already, and without it has to wait for its timer. Nor is what a connection begins with: it was sent before
// a signal could reach its sender; nor, where that is kept to two long bursts (underWay), what a window allows.
func (e *Engine) nextPacket(now time.Time, p *peer) *packet {
	for {
		pkt := p.next(p.windowOpen())
		if pkt == nil || pkt.numbered || pkt.again || pkt.early || pkt.bounded && e.cfg.Windows && e.formed || pkt.judged.Equal(now) || e.cfg.Queue != FQCoDel || p == e.all {
			return pkt
		}
		pkt.judged = now
		f := pkt.flow
		if e.changing(p) {
			p.steady = now
		}
		if !f.codel.signal(now, now.Sub(later(pkt.born, p.steady)), f.waiting, e.cfg.MTU, e.pace(p)) {
			return pkt
		}
		if markCE(pkt.data) {
			e.stats.Queue.Marked++
			return pkt
		}
		e.stats.Queue.Dropped++
		e.finish(p, pkt)
	}
}

// Codepoints of ECN (RFC 3168 §5).
const (
	ecnMask   = 0x03
	ecnNotECT = 0x00
	ecnCE     = 0x03
)

// markCE sets the codepoint "congestion experienced"; false when the packet's
// sender does not know of ECN.
func markCE(p []byte) bool {
	switch p[0] >> 4 {
	case 4:
		if p[1]&ecnMask == ecnNotECT {
			return false
		}
		replace(p, 0, 10, binary.BigEndian.Uint16(p)|ecnCE)
	default: // IPv6: the traffic class begins in the middle of the first octet
		if p[1]>>4&ecnMask == ecnNotECT {
			return false
		}
		p[1] |= ecnCE << 4
	}
	return true
}
