package link

import (
	"time"

	"lightsong/phy"
)

// Where the PHY is a phy.Inserter small packets for which somebody waits do not wait for
// the end of a burst of bulk: they go in its middle. Bursts are then long whoever
// types, as if they were alone, and a small packet costs what its own burst takes.

// insertRetry is how soon it is looked again whether a burst can be interrupted: it was only
// about to begin.
const insertRetry = 10 * time.Millisecond

// longestInner is how long such a burst may be.
const longestInner = 400 * time.Millisecond

// making is what a burst is made of while another is being sent.
type making struct {
	control control
	block   []byte
	store   []byte
	frames  [][]byte
}

// swap makes the next burst of the spare.
func (e *Engine) swap() {
	e.spare, e.control, e.block, e.store, e.frames = making{e.control, e.block, e.store, e.frames},
		e.spare.control, e.spare.block, e.spare.store, e.spare.frames
}

// innerAirtime is the airtime of a packet of so many octets in the middle of another burst, if it goes
// in a mode; 0 if it may not.
func (e *Engine) innerAirtime(mode, control, octets int) time.Duration {
	if e.cfg.Caps.Inserts == nil {
		return 0
	}
	e.airtime(mode, control, 1, min(octets, e.modes[mode].FrameOctets))
	return e.cfg.Caps.Inserts(&e.probe)
}

// Urgent tells whether something waits that is worth a burst in the middle of the one
// that is being sent. Deadline tells when to ask again.
func (e *Engine) Urgent(now time.Time) bool {
	e.insertAt = time.Time{}
	c := &e.current
	if e.cfg.Caps.Inserts == nil || e.cfg.Queue == FIFO || !c.active || c.kind != unicast || c.burst == nil {
		return false
	}
	p := c.peer
	if c.burst.sequence != p.sequence || !p.live() || p.silent > 0 || !p.someoneWaits() || !p.hasData() || e.usedUp(now) {
		return false
	}
	p.hurry = true
	few := p.pending(p.windowOpen())
	p.hurry = false
	mode := e.sendMode(p)
	if few == 0 {
		return false
	}
	airtime := e.innerAirtime(mode, len(e.block), few)
	if airtime == 0 {
		return false
	}
	// As with bursts of their own, of which there may be as many.
	if at := p.hurried.Add(hurryShare * airtime); now.Before(at) {
		e.insertAt = at
		return false
	}
	e.insertAt = now.Add(insertRetry)
	return true
}

// NextInsert makes a burst to be put into the middle of the one that is being sent, and
// writes it to dst. What dst points to is the Engine's and valid until Inserted, which
// must follow.
func (e *Engine) NextInsert(now time.Time, dst *phy.Burst) bool {
	if !e.Urgent(now) {
		return false
	}
	outer := e.current
	e.swap()
	built := e.buildUnicast(now, outer.peer, false, urgent, false, dst)
	e.swap()
	e.inner, e.current = e.current, outer
	if built {
		e.inner.airtime = e.cfg.Caps.Inserts(dst)
		if b := e.inner.burst; b != nil {
			b.airtime = e.inner.airtime
		}
		outer.peer.hurried, e.insertAt = now, time.Time{}
	}
	return built
}

// Inserted tells whether the PHY has taken the burst of the last NextInsert, and in how
// long it will have left.
func (e *Engine) Inserted(now time.Time, left time.Duration, ok bool) {
	c := e.inner
	e.inner = current{}
	switch {
	case c.burst == nil:
	case !ok: // too late: it goes in the next one
		e.resolve(c.peer, c.burst, nil)
	default:
		e.stats.Bursts.Inserted++
		e.countBurst(now, &c)
		c.burst.at, c.burst.within = now.Add(left), c.id-e.current.id
		c.peer.outstanding = append(c.peer.outstanding, c.burst)
	}
}
