package link

import (
	"time"

	"lightsong/phy"
)

// The link's timers tell what happens on the medium: how long an answer may take,
// for how long a peer has said nothing. Where the PHY knows how far its medium has
// come, they therefore run on a clock that waits for the medium when it stands
// still or is slow: a simulated medium on a busy machine, a device that hangs, a
// process that was stopped. Nobody has been silent in that time.
const (
	clockLead = 500 * time.Millisecond // the medium may be behind by so much: devices deliver in pieces
	clockGain = 128                    // one part in so many of it is given back while the medium goes on
	heldPause = 10 * time.Millisecond  // between two looks while the clock waits
)

// clock is the link's: the machine's, less the time for which the medium stood
// still. It never runs backwards.
type clock struct {
	medium phy.Clock     // nil: the machine's time is the medium's
	behind time.Duration // the machine's clock
	origin time.Time     // when, by this clock, the medium's time was 0, at the earliest
	seen   time.Duration // of the medium, at the last look
	held   bool          // at the last look it waited for the medium
}

func newClock(p phy.PHY) clock {
	var c clock
	if medium, ok := p.(phy.Clock); ok {
		c.medium, c.seen = medium, medium.Elapsed()
		c.origin = time.Now().Add(-c.seen)
	}
	return c
}

// now is the time. What the PHY has heard until then must be taken after the call.
func (c *clock) now() time.Time {
	now := time.Now().Add(-c.behind)
	if c.medium == nil {
		return now
	}
	elapsed := max(c.seen, c.medium.Elapsed())
	// The medium's clock may be slower than ours by some ppm for ever, and a stall
	// that is over shall not leave us waiting for each piece that a device delivers.
	c.origin = c.origin.Add((elapsed - c.seen) / clockGain)
	c.seen = elapsed
	medium := c.origin.Add(elapsed)
	if medium.After(now) {
		c.origin, medium = now.Add(-elapsed), now
	}
	ahead := now.Sub(medium) - clockLead
	if c.held = ahead > 0; c.held {
		c.behind += ahead
		now = now.Add(-ahead)
	}
	return now
}

// pause is how long to wait for a time: while the clock is held, until the next
// look at the medium.
func (c *clock) pause(now, at time.Time) time.Duration {
	d := max(0, at.Sub(now))
	if d > 0 && c.held {
		d = max(d, heldPause)
	}
	return d
}
