package link

import (
	"time"
)

// The floor on a half-duplex medium. Sound cannot sense a carrier for the time
// that its buffers take, so stations that only contend waste most of a busy
// medium on waiting and on collisions. Every burst therefore tells whether its
// sender has more to send, and the last one of a turn, and the answer to it, name
// the station that may speak next: it begins at once. If it stays silent, those
// who said that they want follow by rank, a slot for each; then those of whom
// nobody knows. Now and then nobody is named, and newcomers go first: by lot, or where many share a
// busy medium in order (order.go).
const (
	anyone    = broadcast        // named: the floor is open
	openSlots = 4                // that newcomers draw from before the others' ranks, of few stations,
	mostSlots = 32               // and of many
	wantFor   = 30 * time.Second // a round of turns of thirty stations whose bursts last a second; who wants no longer lets the floor lapse

	// Between two open floors, where stations are known that have not said that they
	// want to speak, and where only strangers could.
	openToPeers = 3 * time.Second
	openToAny   = 10 * time.Second

	leastTurn    = 500 * time.Millisecond
	turnCosts    = 4                      // times what an exchange costs without data
	firstBurst   = 400 * time.Millisecond // after silence, when others may begin at the same moment
	openingBurst = time.Second            // of a turn of which nobody knew: who came to want one then need not wait for all of it
	fairShare    = 2                      // times the burst before it, if the sender of that has more, too
	quietFor     = time.Second
	lastOfTurn   = 0.75 // share of a turn after which it ends with the next answer
	shareFrom    = 2    // others want: turns are single bursts, if those are not very short
)

// floor is who may speak.
type floor struct {
	next     uint16    // address named last; anyone; 0: nobody was named
	from     uint16    // whose turn it is, or was when anyone was named
	behind   uint16    // address behind which the floor goes on, where it does so in order
	gave     bool      // we named it
	called   bool      // who answers us opened it: our burst met that of somebody whom we do not hear, perhaps
	toldMore bool      // others have heard that we have more to send,
	toldAt   time.Time // when we last said so
	opened   time.Time
	newcomer bool          // our turn is one of which others did not know that we want it
	held     time.Duration // how long our last turn was; 0: it was long ago
	heldTo   time.Time     // and its end
}

// passFloor decides whether the burst to p in e.control is the last of our turn,
// and names the next speaker. airtime is about its length, mode that of the burst; left: some of what waits was
// left to a turn behind those of others.
func (e *Engine) passFloor(now time.Time, p *peer, mode int, airtime time.Duration, left bool) {
	if e.cfg.Caps.FullDuplex {
		return
	}
	a, c := &e.access, &e.control
	c.more = e.hasMore(now, p)
	answer := c.flags&flagAnswer != 0
	switch {
	case answer && (a.floor.next == 0 || a.floor.next == p.address) && e.wasMet(now, p):
		c.next = anyone // who else wants?
	case answer && a.floor.next != 0 && a.floor.next != e.address:
		c.next = a.floor.next // the turn is another's to give: who does not hear it hears us
		if c.next == p.address {
			if other := e.after(now, p.address, p); other != 0 {
				c.next = other // of whom it does not hear
			}
		}
	case !e.holdsTurn(p):
		if answer && !p.more { // the turn is over, though its holder named nobody
			c.next = e.nextSpeaker(now, p)
			if c.more && c.next != anyone {
				c.next = e.address
			}
		}
	case !c.more, left && e.several(now), now.Add(airtime).Sub(a.since) >= e.enough(now, p, e.exchangeCost(p, mode, len(e.block))):
		c.next = e.nextSpeaker(now, p)
	case a.rash && e.several(now) && c.data > 0 && now.Sub(a.floor.opened) >= openToPeers:
		c.next = anyone // who else wants?
	case !p.hasData():
		c.next = e.address // our turn goes on with another station
	}
}

// wasMet tells whether the burst of p that is being answered, of which nothing but its head could be read, may have met one of
// somebody whom p does not hear, nor we, because the bursts of p follow one another: if they are as long as any where somebody
// is known to be hidden. That is worth an open floor, long enough for a question, if that takes no longer than what was lost.
// Where an end is moved that is why.
func (e *Engine) wasMet(now time.Time, p *peer) bool {
	return p.garbled && !p.moves && !p.swings && e.ownSlots() && e.after(now, p.address, p) == 0 &&
		e.access.lasted >= max(e.reservable(), time.Duration(e.newcomerSlots()+e.questionSlots())*e.slot())
}

// beginTurn begins our turn, with a burst to p. Who has not said that it wants it is a
// newcomer: what it wants it for may be what others, of whom nobody knows either, came to want
// theirs for at the same moment.
func (e *Engine) beginTurn(now time.Time, p *peer) {
	a := &e.access
	f := &a.floor
	if f.newcomer = !e.wanted(now); f.newcomer && now.Sub(f.heldTo) >= quietFor {
		f.held = 0
	}
	a.with, a.since, a.initiator = p, now, true
}

// turnOver notes that our turn has ended well, if it was ours and does not go on
// with another station.
func (e *Engine) turnOver(now time.Time) {
	if a := &e.access; a.with != nil && a.initiator && !e.hasFloor() {
		a.floor.held, a.floor.heldTo = now.Sub(a.since), now
	}
}

// holdsTurn tells whether the exchange under way with p is ours.
func (e *Engine) holdsTurn(p *peer) bool { return e.access.with == p && e.access.initiator }

// hasMore tells whether there is anything to send, or to ask for, behind the burst
// to p that is being made.
func (e *Engine) hasMore(now time.Time, p *peer) bool {
	for _, q := range e.peers {
		if q == p && p.hasData() || q != p && q.ready() && !now.Before(q.holdOff) {
			return true
		}
	}
	return e.floodReady()
}

// wantsFloor tells whether a station has said lately that it has more to send.
func (e *Engine) wantsFloor(now time.Time, p *peer) bool {
	return p.live() && p.more && now.Sub(p.heard) < e.aRound()
}

// aRound is how long a station may wait for its turn: in a round there is one of each.
func (e *Engine) aRound() time.Duration {
	return max(wantFor, time.Duration(min(e.others(), maxRoom))*time.Second)
}

// turn is how long the medium may be held for an exchange with a station: the more
// others want it, the shorter, as far as most of it is not the cost of an exchange.
// What that station has for us it says in its answers. A newcomer's turns begin with
// the shortest and double, because it does not know who else wants.
func (e *Engine) turn(now time.Time, with *peer, cost time.Duration) time.Duration {
	most := e.turnLimit(now)
	least := min(max(leastTurn, turnCosts*cost), most)
	turn := max(least, most/time.Duration(1+e.rivals(now, with)))
	if f := &e.access.floor; e.several(now) {
		turn = min(turn, max(leastTurn, 2*f.held))
	}
	return turn
}

// rivals is the number of stations that want the floor, but for one with which we
// exchange what both have.
func (e *Engine) rivals(now time.Time, with *peer) (n int) {
	for _, p := range e.peers {
		if e.wantsFloor(now, p) && (p != with || !p.talks) {
			n++
		}
	}
	return n
}

// enough is how long a turn has lasted when the next answer ends it. One burst may be
// as long as the turn; but if it is shorter, because of its form or for want of more to the same
// station, the next one costs hardly more after the turns of others: they then come the sooner,
// and of several that began at once none is ready a round of long turns before the others.
func (e *Engine) enough(now time.Time, with *peer, cost time.Duration) time.Duration {
	turn := e.turn(now, with, cost)
	if e.rivals(now, with) >= shareFrom {
		turn = min(turn, max(leastTurn, cost))
	}
	return time.Duration(lastOfTurn * float64(turn))
}

// fair is how long a burst to p may be that leaves nothing to send while others have more, or may have come
// to want as much at the same moment; 0: as long as any. One that has what it wanted before the others have
// any is over in half of the time. Of two, what counts is the other's last burst. Of more, whose turns are single bursts, who is
// ready a burst before the others is so a round before them: that burst leaves a third to the turn after theirs, if it
// is longer than what another exchange costs.
func (e *Engine) fair(now time.Time, p *peer, cost time.Duration) time.Duration {
	switch a := &e.access; {
	case e.cfg.Caps.FullDuplex:
	case e.several(now):
		if e.holdsTurn(p) && e.othersWant(now) {
			return max(firstBurst, cost)
		}
	case e.wantsFloor(now, p):
		return max(openingBurst, fairShare*p.took)
	case a.with == p && (p.silent > 0 || !a.initiator && (a.opening || p.polled > 0)): // whose burst ours met, or who only asked, could not tell
		return openingBurst
	}
	return 0
}

// turnLimit is how long the medium may be held at most. Where only one other station
// is known, which has its say in the exchange, none but strangers wait for its end.
func (e *Engine) turnLimit(now time.Time) time.Duration {
	if e.cfg.Caps.FullDuplex || e.several(now) {
		return e.cfg.MaxExchange
	}
	return max(e.cfg.MaxExchange, openToAny)
}

// nextSpeaker is the next station, by address, of those that want to speak after
// our turn with p; now and then anyone; 0 if none is known.
func (e *Engine) nextSpeaker(now time.Time, p *peer) uint16 {
	if e.ordered(now) {
		if e.control.flags&flagAnswer != 0 {
			return e.nextInOrder(now, p.address) // whose turn it was
		}
		return e.nextInOrder(now, e.address)
	}
	if !e.control.more && !e.othersWant(now) {
		return 0
	}
	patience := openToAny
	for _, q := range e.peers {
		if q != p && q.live() && !e.wantsFloor(now, q) {
			patience = openToPeers
		}
	}
	if now.Sub(e.access.floor.opened) >= patience || patience == openToPeers && e.access.floor.newcomer {
		return anyone
	}
	if next := e.after(now, e.address, nil); next != 0 {
		return next
	}
	return e.address
}

// after is the next station behind an address, in a circle, of those that want to
// speak, but for one; 0 if there is none.
func (e *Engine) after(now time.Time, address uint16, but *peer) (next uint16) {
	nearest := uint16(0)
	for _, q := range e.peers {
		if d := q.address - address; q != but && e.wantsFloor(now, q) && (next == 0 || d < nearest) {
			next, nearest = q.address, d
		}
	}
	return next
}

func (e *Engine) othersWant(now time.Time) bool {
	for _, p := range e.peers {
		if e.wantsFloor(now, p) {
			return true
		}
	}
	return false
}

// floorNamed takes what a burst to one station says of the next speaker. Beacons
// and broadcast packets leave the floor with whom it is.
func (e *Engine) floorNamed(now time.Time, c *control, ours bool) {
	if c.kind != unicast {
		return
	}
	f := &e.access.floor
	f.called = c.next == anyone && f.next != anyone && c.flags&flagAnswer != 0 && c.dst == e.address
	f.next, f.gave, f.from = c.next, ours, c.src
	if c.flags&flagAnswer != 0 {
		f.from = c.dst
	}
	if c.next == anyone || c.next == 0 && c.flags&flagWanted == 0 {
		f.opened = now
	}
	if ours {
		f.toldMore, f.toldAt = c.more, now
	}
	switch q := e.peerAt(c.next); {
	case !ours && (c.next == e.address || c.next == anyone && e.mayMeetHidden(now)):
		for _, p := range e.peers {
			if p.heard.After(p.question.asked) {
				p.holdOff = time.Time{} // it is there; what kept it from answering does not speak now
			}
		}
	case c.next != 0 && c.next != anyone && c.next != e.address && (q == nil || !q.live()) && e.mayMeetHidden(now):
		e.reserved(now, e.ifs()+e.reservable()) // we will not hear it begin, only who answers it
	}
	ordered := e.ordered(now)
	if ordered && c.flags&flagAnswer == 0 {
		e.passedOver(now, f.behind, c.src)
	}
	if f.behind = e.goesOnBehind(c); ordered {
		e.access.backoff = e.place(f.behind)
		return
	}
	apart := e.access.window == minWindow || f.next == anyone && e.ownSlots() // else contention is what keeps colliding stations apart
	if f.next != 0 && !e.hasFloor() && apart {
		e.access.backoff = time.Duration(e.rank(now))*e.slot() + 1 // none would be drawn anew
	}
}

// floorLapses takes the floor from a station that had it and did not speak.
func (e *Engine) floorLapses(now time.Time) {
	a := &e.access
	if a.floor.next == 0 || a.taken || now.Before(a.free.Add(e.ifs())) {
		return
	}
	if q := e.peerAt(a.floor.next); q != nil {
		q.more = false
	}
	a.floor.next = 0
}

// mayMeetHidden tells whether stations answer others that we do not hear, or name them.
func (e *Engine) mayMeetHidden(now time.Time) bool {
	return e.access.hides || now.Sub(e.access.hidden) < wantFor
}

// several tells whether more than one other station may want the medium.
func (e *Engine) several(now time.Time) bool { return e.others() > 1 || e.mayMeetHidden(now) }

// wanted tells whether others know that we want the floor: who has not spoken for a round has been
// forgotten, and is a newcomer again.
func (e *Engine) wanted(now time.Time) bool {
	f := &e.access.floor
	return f.toldMore && now.Sub(f.toldAt) < e.aRound()
}

// hasFloor tells whether we are named.
func (e *Engine) hasFloor() bool { return e.access.floor.next == e.address }

// awaitsFloor tells whether the floor was open lately and we, of whom others know that
// we want it, were not named since.
func (e *Engine) awaitsFloor(now time.Time) bool {
	f := &e.access.floor
	return e.wanted(now) && !e.hasFloor() && e.several(now) && now.Sub(f.opened) < openToPeers
}

// rank is how many slots we wait for when the floor was given to another who
// stays silent, or to anyone.
func (e *Engine) rank(now time.Time) int {
	f := &e.access.floor
	from := f.next
	if from == anyone {
		from = f.from // after a round of those who want, it is not the first's turn again
	}
	from++
	mine := e.address - from // addresses behind from, in a circle: its own is the last
	before, all := 0, 0
	for _, p := range e.peers {
		if p.address == f.next || !e.wantsFloor(now, p) {
			continue
		}
		all++
		if p.address-from < mine {
			before++
		}
	}
	switch {
	case f.called && e.wanted(now):
		return e.newcomerSlots() + before + e.questionSlots()
	case f.next == anyone && e.wanted(now) && e.mayMeetHidden(now):
		// They have the same rank, perhaps. In two slots a question is over and its answer begins; whose turn it was
		// begins behind them all, when it has heard that.
		if f.from == e.address {
			return e.newcomerSlots() + before + 2*(openSlots+1)
		}
		return e.newcomerSlots() + before + 2*e.random.IntN(openSlots)
	case f.next == anyone && e.wanted(now):
		return e.newcomerSlots() + before
	case f.next == anyone:
		return e.drawSlot(e.newcomerSlots())
	case e.wanted(now):
		return before
	}
	return all + e.random.IntN(e.newcomerSlots()) // not all know the same of the others: no slot is theirs alone
}

// questionSlots is how many slots a question in the mode for first contact takes, until its answer is heard.
func (e *Engine) questionSlots() int {
	return 2 + int((e.answerAirtime(e.basicMode())+hostTurn)/e.slot())
}

// ownSlots tells whether there is a slot for each of the stations that know one another.
func (e *Engine) ownSlots() bool { return e.others() < openSlots }

// startSlot is how long bulk waits that comes to want a medium that has been free for so long that nobody's
// back-off is left: others may get theirs at the same moment, and two bursts that met cost a second.
func (e *Engine) startSlot(now time.Time) time.Duration {
	if a := &e.access; e.cfg.Caps.FullDuplex || a.taken || now.Before(e.mayContend()) || e.hasFloor() {
		return 0
	}
	return time.Duration(e.drawSlot(min(1+e.others(), e.newcomerSlots()))) * e.slot()
}

// newcomerSlots is how many slots those draw from of whom nobody knows that they want the
// floor: of many stations several come to want it in a turn.
func (e *Engine) newcomerSlots() int { return min(max(openSlots, e.others()/2), mostSlots) }
