package link

import (
	"math"
	"time"
)

// codel decides when a queue has been too long for too long (CoDel, RFC 8289): the
// packet that leaves it is then marked or dropped, and so are others, ever sooner
// one after the other, until the wait is below target again.
type codel struct {
	above    time.Time // when the wait will have been above target for an interval; zero: it is not above
	next     time.Time // next signal, while dropping
	count    int       // signals since dropping began
	last     int       // count when dropping began
	dropping bool
}

// pace is what codel aims at on a link: it follows from the link's rate.
type pace struct {
	target   time.Duration // a wait that is no harm
	interval time.Duration // in which an end-to-end control loop can react
	grace    time.Duration // for which the wait may be longer before the first signal
}

// again is how many intervals after the end of a phase of dropping the next one
// goes on where the last one stopped.
const again = 16

// signal tells whether a packet that has waited for a time leaves with a
// congestion signal; backlog is the octets that wait with it, mtu the longest
// packet: a queue that holds no more than that is never too long.
func (c *codel) signal(now time.Time, waited time.Duration, backlog, mtu int, p pace) bool {
	long := c.long(now, waited, backlog, mtu, p)
	switch {
	case c.dropping && !long:
		c.dropping = false
		return false
	case c.dropping:
		if now.Before(c.next) {
			return false
		}
		c.count++
		c.next = c.control(c.next, p)
		return true
	case !long:
		return false
	}
	c.dropping = true
	before := c.count - c.last
	c.count = 1
	if before > 1 && now.Sub(c.next) < again*p.interval {
		c.count = before
	}
	c.last, c.next = c.count, c.control(now, p)
	return true
}

// long tells whether the wait was above target for an interval.
func (c *codel) long(now time.Time, waited time.Duration, backlog, mtu int, p pace) bool {
	switch {
	case waited < p.target || backlog <= mtu:
		c.above = time.Time{}
		return false
	case c.above.IsZero():
		c.above = now.Add(p.grace)
		return false
	}
	return !now.Before(c.above)
}

// control is the control law: the rate of signals grows with the square root of
// their number, to which the throughput of TCP is inversely proportional.
func (c *codel) control(t time.Time, p pace) time.Time {
	return t.Add(time.Duration(float64(p.interval) / math.Sqrt(float64(c.count))))
}
