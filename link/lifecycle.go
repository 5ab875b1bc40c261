package link

import (
	"slices"
	"time"

	"lightsong/phy"
)

// Lifecycle: a peer that was killed, moved or silenced is known to be gone within
// seconds, and one that returns is known at once. Any burst is a sign of life. A
// peer without traffic is asked for one as often as its answers cost a small part
// of the medium; questions that stay without an answer while nothing else is heard
// of it tell that it is gone. What waits for it is held, and it is called now and
// then until it answers, for its own calls may have been lost with it.
const (
	keepShare = 8                       // an idle medium belongs to questions at most one part in so many
	leastKeep = 1500 * time.Millisecond // silence before the first question
	goneAfter = 4 * time.Second         // least silence of a peer that is gone,
	goneTries = 3                       // with so many questions unanswered, of one that always answers;
	lossTries = 8                       // so many more, times the share of those that were lost before,
	usualLoss = 0.3                     // as far as it is more than this
	deafTries = 6                       // so many unanswered ones of a peer that is heard: it does not hear us

	leastRecall = time.Second
	missedShare = 3 // calls take at most one part in so many of the medium when packets wait, else as questions do
	mostRecall  = time.Minute
	recallShare = 8 // a peer is called after an eighth of the time for which it is gone

	holdFor = 30 * time.Second // a packet waits for a peer that is gone

	strangerShare = 2 // of a station's part of the medium one in so many is for questions to those that never answered
)

// checkCost is what a question to p and its answer take of the medium.
func (e *Engine) checkCost(p *peer) time.Duration {
	cost := 2 * e.answerAirtime(e.sendMode(p))
	if !e.cfg.Caps.FullDuplex {
		cost += 2 * e.turnaround()
	}
	return cost
}

// keepalive is after how much silence p is asked whether it is there. A question
// and its answer are signs of life of two, for all who hear them.
func (e *Engine) keepalive(p *peer) time.Duration {
	if e.cfg.Keepalive > 0 {
		return e.cfg.Keepalive
	}
	live := 0
	for _, q := range e.peers {
		if q.live() {
			live++
		}
	}
	limited := time.Duration(live) * e.sparse(e.answerAirtime(e.sendMode(p)))
	return min(max(leastKeep, time.Duration(keepShare*live)*e.checkCost(p), limited), p.interval*3/2)
}

// watch looks after a peer that was last heard some time ago.
func (e *Engine) watch(now time.Time, p *peer) {
	silence := now.Sub(p.heard)
	if !p.live() {
		if !p.settled && now.Sub(p.downAt) >= holdFor {
			p.settled = true
			e.settleInbox(p, &p.in)
			e.settleInbox(p, &p.flood)
		}
		if (!p.proven.IsZero() || p.missed()) && !now.Before(p.recallAt) {
			p.recallAt = now.Add(e.recallInterval(now, p))
			p.poll = true
		}
		return
	}
	e.watchDue(now, p)
	switch {
	case p.gone(now):
		e.goDown(now, p)
	case p.question.open || p.poll || p.hasData() || e.current.active || e.access.owed == p:
		// It is being asked, or will be.
	case silence > e.keepalive(p) && e.mayAsk(now, p):
		if p.unheard == 0 {
			e.pollSoon(now, p)
		} else {
			p.poll = true
		}
	case (p.state == PeerHeard || p.name == "") && now.Sub(p.metAt) >= e.greetAfter()<<p.greeted && e.mayAsk(now, p):
		// A beacon was lost on one side: ask, before the next one is due.
		p.metAt, p.greeted = now, min(p.greeted+1, maxGreetings)
		e.pollSoon(now, p)
	}
}

// greetAfter is how long beacons have for telling two stations of each other.
func (e *Engine) greetAfter() time.Duration { return max(firstGreeting, e.newsInterval()) }

// gone tells whether a peer has been silent for so long that it is not there.
func (p *peer) gone(now time.Time) bool {
	silence := now.Sub(p.heard)
	return silence > 3*p.interval+2*time.Second || silence >= goneAfter && p.unheard > 0 && p.unheard >= p.patience
}

// mayAsk tells whether p may be asked for a sign of life: stations that never
// answered may be made up by somebody, hundreds of them.
func (e *Engine) mayAsk(now time.Time, p *peer) bool {
	if !p.proven.IsZero() {
		return true
	}
	if now.Before(e.greetAt) {
		return false
	}
	e.greetAt = now.Add(time.Duration(strangerShare*e.room()) * e.checkCost(p))
	return true
}

// missed tells whether packets wait for p.
func (p *peer) missed() bool { return p.waiting > 0 || len(p.alive) > 0 }

// recallInterval is until a peer that is gone is called again: the longer, the
// longer it is gone and the more are.
func (e *Engine) recallInterval(now time.Time, p *peer) time.Duration {
	gone := 0
	for _, q := range e.peers {
		if !q.live() {
			gone++
		}
	}
	share := keepShare
	if p.missed() {
		share = missedShare
	}
	d := max(leastRecall, time.Duration(share*gone)*e.checkCost(p), now.Sub(p.downAt)/recallShare)
	return e.jitter(min(d, mostRecall)*3/4, min(d, mostRecall))
}

// goDown notes that a peer is gone. What goes to it waits, and what came of it in
// part waits for the rest.
func (e *Engine) goDown(now time.Time, p *peer) {
	p.state, p.downAt = PeerDown, now
	p.stats.Downs++
	p.settled = false
	if e.access.asked == p {
		e.access.asked = nil
		e.endExchange(now)
	}
	p.question, p.poll, p.unheard, p.holdOff, p.dueBy = question{}, false, 0, time.Time{}, time.Time{}
	p.unproven = 0
	if !p.suspect && p.rx.ceiling.index < p.keptIn.index {
		p.rx.ceiling = p.keptIn // its first burst asks for what did well
	}
	p.recallAt = now.Add(e.recallInterval(now, p))
	if e.alone() {
		// It may be back with the next beacon: those for stations far away, during
		// which a half-duplex station is deaf for long, begin as after a start.
		e.beacons.far = now.Add(e.jitter(farAfter, 2*farAfter))
		e.beaconSoon(now)
	}
}

// comeBack notes that a peer that was gone is heard. If it answers our call we know what it
// has of us, as it does, and the exchange goes on.
func (e *Engine) comeBack(now time.Time, p *peer, answers bool) {
	p.state, p.holdOff = PeerHeard, time.Time{}
	if !answers {
		p.question = question{}
		if e.access.asked == p {
			e.access.asked = nil
			e.endExchange(now)
		}
	}
	p.restoreModes()
	for _, pkt := range p.alive {
		pkt.first, pkt.tries = now, 0 // nobody was there to hear what was tried
	}
	p.metAt, p.greeted = now, 0
	if !answers {
		e.greetBack(now, p)
	}
	e.tryHeld(now)
}

// greetBack asks a peer that is back at once: its answer shows both that the other
// hears, and what waits for it goes out, which beacons take longer to tell. They come after.
func (e *Engine) greetBack(now time.Time, p *peer) {
	e.beaconSoon(now)
	if p.poll = len(p.outstanding) > 0; !p.proven.IsZero() {
		e.pollSoon(now, p)
		e.postponeBeacon(now.Add(e.newsSpread()))
		if !e.cfg.Caps.FullDuplex { // what was drawn while nobody was there was for a beacon
			e.access.backoff = time.Duration(e.drawSlot(e.firstWindow(now))) * e.slot()
		}
	}
}

// restoreModes allows the modes again that fell because nobody was there to
// answer. If the silence began with data in a mode that had not done well before,
// the mode may be why, and only those are allowed that had.
func (p *peer) restoreModes() {
	restore := func(c *ceiling, kept ceiling, well int) {
		switch {
		case p.suspect && c.index < well:
			*c = ceiling{index: well, proven: well, needed: 1, drop: fallBack, steep: c.steep}
		case !p.suspect && c.index < kept.index:
			*c = kept
		}
	}
	restore(&p.tx.ceiling, p.keptOut, p.wellOut)
	restore(&p.rx.ceiling, p.keptIn, p.wellIn)
	if p.silent = 0; p.suspect {
		p.silent = silentBursts // the next ones without an answer count sooner
	}
}

// noAnswer counts a question to p that stayed without one.
func (e *Engine) noAnswer(now time.Time, p *peer) {
	if p.unheard == 0 {
		p.patience = goneTries + int(lossTries*max(0, p.lossy-usualLoss))
	}
	p.unheard++
	if p.unproven == 0 && p.state != PeerDown { // it began with these
		p.suspect = slices.ContainsFunc(p.outstanding, func(b *sentBurst) bool { return b.form == phy.Plain && b.mode > p.wellOut })
	}
	if p.unproven++; p.state == PeerUp && p.unproven >= deafTries && now.Sub(p.proven) >= goneAfter {
		p.state, p.deaf = PeerHeard, true
		p.metAt, p.greeted = now, 0
	}
}

// proves notes that p has answered: it hears us.
func (e *Engine) proves(now time.Time, p *peer) {
	p.lossy += (float64(p.unproven)/float64(p.unproven+1) - p.lossy) / lossTries
	p.unproven, p.proven, p.deaf = 0, now, false
	p.suspect, p.keptOut, p.keptIn = false, p.tx.ceiling, p.rx.ceiling
	e.hearsUs(p)
}
