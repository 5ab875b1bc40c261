package link

import (
	"math"
	"time"
)

// The floor in order. Where many share a medium that is taken most of the time, each with a packet
// now and then, those of whom nobody knows that they want to speak are most of those who do, and lots that they
// draw meet. But all know one another: so an open floor goes round by address, a slot for each station behind the
// last speaker, in which it begins or lets the next one begin. This is mini-slotted alternating priorities
// (Kleinrock and Scholl, "Packet Switching in Radio Channels: New Conflict-Free Multiple Access
// Schemes", IEEE Trans. Comm. COM-28(7), 1980): a token that nobody has to pass. Nobody meets anybody, an idle
// station costs the medium a slot in a round. Where the next station that is known to want the
// floor is named, those between are left out; that happens no more often than their share of the medium asks for.
//
// While little is said a slot would be waited for in vain: who comes first begins. Nor does the order hold
// where stations do not know one another, because they are hidden or many are new.
const (
	orderFrom = openSlots // others; fewer need no order: lots of so many slots do not meet

	crowdedFrom = 0.25 // share of the time that the medium is taken: signs of life, of whom nobody waits for, take half of that at most
	crowdedOver = 10 * time.Second

	strangeFor   = 30 * time.Second // after it was first heard a station may not know us yet
	strangeShare = 8                // more than one station in so many are new: their lists differ

	orderShare = 4  // an open floor that nobody takes costs one part in so many of the medium at most
	lateSlots  = 16 // that those draw from who came too late for their own, when all had one
)

// usage is how much of the time the medium is taken, smoothed over crowdedOver.
type usage struct {
	share float64
	at    time.Time
}

// note takes that the medium was taken for d until now.
func (u *usage) note(now time.Time, d time.Duration) {
	u.share, u.at = u.now(now)+d.Seconds()/crowdedOver.Seconds(), now
}

// now is the share at a time.
func (u *usage) now(t time.Time) float64 {
	return u.share * math.Exp(-t.Sub(u.at).Seconds()/crowdedOver.Seconds())
}

// ordered tells whether an open floor goes round in order.
func (e *Engine) ordered(now time.Time) bool {
	if e.cfg.Caps.FullDuplex || e.access.usage.now(now) < crowdedFrom || e.mayMeetHidden(now) {
		return false
	}
	others, strange := 0, 0
	for _, p := range e.peers {
		if !p.live() {
			continue
		}
		if others++; now.Sub(p.metFirst) < strangeFor {
			strange++
		}
	}
	return others >= orderFrom && strangeShare*strange <= others
}

// between tells whether an address lies behind from and before to, in the circle of
// addresses; behind from and before from are all others.
func between(from, address, to uint16) bool { return address-from-1 < to-from-1 }

// place is our back-off in a floor that is open behind from.
func (e *Engine) place(from uint16) time.Duration {
	before := 0
	for _, p := range e.peers {
		if p.live() && between(from, p.address, e.address) {
			before++
		}
	}
	return time.Duration(before)*e.slot() + 1 // none would be drawn anew
}

// goesOnBehind is the address behind which the floor goes on after a burst: that of who has the turn, if it is
// over and nobody is named; else one before the station whose turn it is.
func (e *Engine) goesOnBehind(c *control) uint16 {
	from := e.access.floor.from
	switch {
	case c.next != 0 && c.next != anyone:
		return c.next - 1
	case c.next == 0 && (c.flags&flagWanted != 0 || c.flags&flagAnswer != 0 && e.hasMoreToSay(from)):
		return from - 1
	}
	return from
}

// hasMoreToSay tells whether the station with an address, we perhaps, has said in its last burst
// that it has more to send.
func (e *Engine) hasMoreToSay(address uint16) bool {
	if address == e.address {
		return e.access.floor.toldMore
	}
	p := e.peerAt(address)
	return p != nil && p.more
}

// passedOver notes that src speaks, in a floor that was open behind from: those between had their slot, and
// nothing to say.
func (e *Engine) passedOver(now time.Time, from, src uint16) {
	for _, p := range e.peers {
		if between(from, p.address, src) {
			p.chance, p.more = now, false
		}
	}
	if p := e.peerAt(src); p != nil {
		p.chance = now
	}
}

// slotPassed takes us out of the order when our slot has passed and we had nothing to send: the medium
// is for those behind us then, and for who comes first when all of them had theirs.
func (e *Engine) slotPassed(now time.Time) {
	a := &e.access
	if a.taken || e.hasFloor() || now.Sub(a.free.Add(e.ifs()+a.backoff)) <= e.slot()/2 || !e.ordered(now) {
		return
	}
	n := e.others() + 1
	if round := time.Duration(n) * e.slot(); a.backoff < round {
		a.backoff = round + time.Duration(e.random.IntN(min(n, lateSlots)))*e.slot()
	}
}

// nextInOrder is the speaker behind the one with an address: the next station that wants to speak, or anyone,
// if one before it has not been asked for long; 0 if nobody is known to want.
func (e *Engine) nextInOrder(now time.Time, from uint16) uint16 {
	next := e.after(now, from, nil)
	if e.control.more && (next == 0 || between(from, e.address, next)) {
		next = e.address
	}
	if next == 0 {
		return 0
	}
	patience := max(openToPeers, time.Duration(orderShare*(e.others()+1))*e.slot())
	for _, q := range e.peers {
		if q.live() && between(from, q.address, next) && now.Sub(q.chance) >= patience {
			return anyone
		}
	}
	return next
}
