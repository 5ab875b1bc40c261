package link

import (
	"slices"
	"time"

	"lightsong/phy"
)

// Bursts to several stations. Where many have a packet or two for one another, an exchange
// for each costs more than what it brings: two heads, two turnarounds. So a station whose turn
// it is sends what waits for several in one burst, with a section of the control block for each, in
// the manner of the multi-user aggregates of IEEE 802.11 (clause 26.5). Nobody answers at
// once: each owes a report, and has it in its next burst, whomever else that is to. Who owes one wants
// the floor, as all know that hear the burst, so that reports come in turn, too.
const (
	maxLapses   = 2  // reports in a row that did not come: then a station is asked at once
	sectionRoom = 20 // octets that acknowledgements leave for the first section: all that it may have, and two entries
)

// part is what a burst to several stations has for one.
type part struct {
	peer  *peer
	burst *sentBurst // nil without data frames
	id    uint8
}

// joins tells whether p understands a section, and there is something for it.
func (e *Engine) joins(now time.Time, p *peer) bool {
	return p.state == PeerUp && p.name != "" && !p.in.lost && p.silent < pollOnlyFrom && p.lapses < maxLapses &&
		!p.poll && !p.question.open && !now.Before(p.holdOff) && (p.owes || p.hasData())
}

// mayJoin tells whether bursts to several stations are of use: there are several, who all hear
// one another, as far as we know.
func (e *Engine) mayJoin(now time.Time) bool {
	return !e.cfg.Caps.FullDuplex && !e.formed && e.others() > 1 && !e.mayMeetHidden(now)
}

// owedFirst is the first in turn of those that understand a section, if anybody is owed a report:
// what is for others then waits until that is told.
func (e *Engine) owedFirst(now time.Time) (first *peer) {
	if !e.mayJoin(now) {
		return nil
	}
	owed := false
	for p := range e.inTurn {
		if e.joins(now, p) {
			owed = owed || p.owes
			if first == nil {
				first = p
			}
		}
	}
	if !owed {
		return nil
	}
	return first
}

// needsExchange tells whether something waits for a station that cannot have it in a section.
func (e *Engine) needsExchange(now time.Time) bool {
	return slices.ContainsFunc(e.peers, func(p *peer) bool { return p.wants() && !now.Before(p.holdOff) && !e.joins(now, p) })
}

// buildJoint makes a burst to several stations, the first of them first, if there are: what is owed to
// them, and what waits for them as far as it fits. It leaves a turn with one station, or one whose burst is
// full without others, to an exchange.
func (e *Engine) buildJoint(now time.Time, first *peer, dst *phy.Burst) bool {
	if !e.mayJoin(now) || !e.joins(now, first) {
		return false
	}
	mode, loss := e.sendMode(first), 0.0
	e.joined = e.joined[:0]
	e.acks = e.acks[:0]
	room := e.cfg.Caps.MaxControl - jointOctets - nextOctets
	several := 0
	for _, listed := range [...]bool{true, false} { // who needs a section for what it is owed first
		for p := range e.inTurn {
			acks := p.owes && p.in.clear()
			data := p.hasData() && e.sendMode(p) >= mode // what is in the control block all read
			if (p.owes && !acks) != listed || !e.joins(now, p) || !p.owes && !data {
				continue
			}
			several++
			if acks && len(e.acks) < min(maxAcks, (room-sectionRoom)/ackOctets) {
				e.acks = append(e.acks, ack{p.address, byte(p.epoch), p.in.newest})
			}
			if (listed || data) && len(e.joined) < maxSections {
				e.joined = append(e.joined, p)
				loss = max(loss, p.tx.loss)
			}
		}
	}
	if several < 2 && len(e.acks) == 0 && !first.owes {
		return false
	}
	room -= len(e.acks) * ackOctets
	budget := e.budget(now, first, mode, e.cfg.Caps.MaxControl)
	octets, most := e.jointFrames(mode, loss, budget)
	if len(e.acks) == 0 && !first.owes && first.pending(first.windowOpen()) > most*octets {
		return false
	}

	c := &e.control
	*c = control{kind: unicast, src: e.address, dst: broadcast, epoch: e.cfg.Epoch, heard: c.heard[:0]}
	e.store, e.frames, e.parts = e.store[:0], e.frames[:0], e.parts[:0]
	used := 0
	for _, p := range e.joined {
		if !p.owes && len(e.frames) >= most {
			continue
		}
		n := len(e.parts)
		for n >= len(e.sections) {
			e.sections = append(e.sections, control{})
		}
		s := &e.sections[n]
		*s = control{dst: p.address, id: p.nextID, base: p.base(), heard: s.heard[:0]}
		e.report(s, p)
		if p.freshSeq {
			s.flags |= flagFresh
		}
		e.leaveOut(p, s)
		frames := 0
		if e.sendMode(p) >= mode {
			frames = min(framesOf(p, octets), most-len(e.frames))
		}
		s.data = uint8(frames) // at most
		for e.block = s.appendSection(e.block[:0]); len(e.block) > room && len(s.heard) > 1; e.block = s.appendSection(e.block[:0]) {
			s.heard = s.heard[:len(s.heard)-1] // the oldest
		}
		if s.data = 0; len(e.block) > room {
			continue
		}
		p.hurry = false
		x := part{peer: p, id: p.nextID}
		if frames > 0 {
			p.noteTurn(now)
			e.freeFailed(p)
			burst := e.pool.burst()
			burst.sequence, burst.id, burst.mode = p.sequence, p.nextID, mode
			used = max(used, e.pack(now, p, burst, octets, len(e.frames)+frames))
			if p.waiting == 0 {
				p.filled = time.Time{}
			}
			if s.data = uint8(len(burst.pieces)); s.data > 0 {
				x.burst = burst
			} else {
				e.pool.freeBurst(burst)
			}
			p.release()
		}
		if x.burst == nil && !p.owes {
			continue
		}
		e.tells(p)
		acks := len(e.acks)
		e.acks = slices.DeleteFunc(e.acks, func(a ack) bool { return a.dst == p.address }) // the section has it
		room += (acks - len(e.acks)) * ackOctets
		if x.burst == nil {
			p.bare = bareBurst{open: true, id: x.id, mode: mode}
		} else {
			p.more = true // as all will take it
		}
		p.nextID++
		c.data += s.data
		room -= len(e.block)
		e.parts = append(e.parts, x)
	}
	if len(e.parts)+len(e.acks) == 0 {
		return false
	}
	for _, a := range e.acks {
		e.peerAt(a.dst).acknowledged()
	}
	k := len(e.frames)
	for i, f := range e.frames {
		e.frames[i] = f[:used:used]
	}
	e.addParity(min(parity(k, loss), e.cfg.Caps.MaxFrames-k), octets, used)
	c.sections, c.acks = e.sections[:len(e.parts)], e.acks
	if e.inHurry(now) && len(e.parts) > 0 {
		c.sections[0].flags |= flagHurry
	}
	c.more = e.hasMore(now, nil)
	c.next = e.nextSpeaker(now, nil)
	if e.needsExchange(now) && now.Add(e.airtime(mode, e.cfg.Caps.MaxControl, len(e.frames), used)).Sub(e.access.since) < leastTurn/2 {
		c.next = e.address // our turn goes on with that
	}
	e.served = first.address
	e.current = current{kind: unicast, joint: true, parts: e.parts}
	e.emit(mode, dst)
	parity := len(e.frames) - k
	for _, x := range e.parts {
		if x.burst != nil {
			x.burst.parity, parity = parity, 0
			x.burst.airtime = e.current.airtime * time.Duration(len(x.burst.pieces)) / time.Duration(k)
		}
	}
	return true
}

// clear tells whether the newest burst is all that is to be reported, and came whole.
func (in *inbox) clear() bool {
	untold := 0
	for i := range in.history {
		if h := &in.history[i]; !h.told {
			if untold++; h.id != in.newest || h.n != 0 {
				return false
			}
		}
	}
	return untold == 1
}

// acknowledged notes that p is told of its newest burst, once: if it does not hear it, it sends
// the same again.
func (p *peer) acknowledged() {
	p.owes = false
	p.in.history = slices.DeleteFunc(p.in.history, func(h heardBurst) bool { return !h.told })
}

// jointFrames is how long the data frames of the burst to e.joined are to be, and how many
// fit in a budget. They are as long as suits what waits for one of the stations, of whom each gets frames
// of its own.
func (e *Engine) jointFrames(mode int, loss float64, budget time.Duration) (octets, most int) {
	least := forEver
	for _, p := range e.joined {
		if octets > 0 && (!p.hasData() || e.sendMode(p) < mode) {
			continue
		}
		full := e.modes[mode].FrameOctets
		_, n := evenly(p.pending(p.windowOpen()), full)
		n = e.shorten(mode, e.cfg.Caps.MaxControl, max(n, min(shortestFrame, full)), loss, budget)
		if n == octets {
			continue
		}
		k := 0
		for _, q := range e.joined {
			if e.sendMode(q) >= mode {
				k += framesOf(q, n)
			}
		}
		k = min(k, maxData)
		if d := e.airtime(mode, e.cfg.Caps.MaxControl, k+parity(k, loss), n); d < least {
			octets, least = n, d
		}
	}
	return octets, e.longest(mode, e.cfg.Caps.MaxControl, octets, loss, budget)
}

// framesOf is how many frames of octets what waits for p needs.
func framesOf(p *peer, octets int) int {
	pending := p.pending(p.windowOpen())
	if pending == 0 {
		return 0
	}
	k, _ := evenly(pending, octets)
	return k
}

// jointSent takes that the burst to several stations has left.
func (e *Engine) jointSent(now time.Time, c *current) {
	for _, x := range c.parts {
		if x.burst == nil || x.burst.sequence != x.peer.sequence { // of a sequence that has ended meanwhile
			continue
		}
		x.burst.at = now
		e.countFrames(x.burst)
		x.peer.stats.Airtime.Sent += x.burst.airtime
		x.peer.outstanding = append(x.peer.outstanding, x.burst)
		x.peer.dueBy = now.Add(e.reportsIn(now))
	}
}

// reportsIn is how long a station that owes a report may wait for its turn: there is one
// before of each that wants.
func (e *Engine) reportsIn(now time.Time) time.Duration {
	return min(time.Duration(2+e.rivals(now, nil))*2*leastTurn, e.aRound())
}

// owedFor takes what a burst of src says of who owes reports; ours is how many data frames it has for us.
func (e *Engine) owedFor(now time.Time, src *peer, c *control, ours int) {
	for i := range c.sections {
		s := &c.sections[i]
		if q := e.peerAt(s.dst); s.data > 0 && q != nil && q.live() {
			q.more = true
		}
	}
	switch {
	case c.joint() && c.dst == e.address && ours > 0:
		src.owes, e.access.floor.toldMore = true, true
	case c.dst != e.address && !c.more && !src.dueBy.IsZero():
		src.dueBy = now // it has no report for us
	}
}

// watchDue gives up the wait for a report that p owes: if it has spoken and has nothing else to say, or
// should have had its turn.
func (e *Engine) watchDue(now time.Time, p *peer) {
	if p.dueBy.IsZero() || now.Before(p.dueBy) {
		return
	}
	p.dueBy = time.Time{}
	p.lapses++
	e.repeatSome(p)
}
