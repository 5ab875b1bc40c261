package link

import "time"

// Airtime limits: a station may be allowed the medium for a share of the time only, by
// rule (duty cycles of a band) or by courtesy. They hold for everything it sends,
// answers and beacons included, in every window of their length, wherever it begins.
const (
	limitSlots   = 60 // parts of a window in which its airtime is counted
	limitControl = 4  // beacons, and likewise questions, take at most one part in so many of what a limit allows
)

// limit is one of them. Airtime counts from the end of the burst until a window and a
// slot later: no window can have more.
type limit struct {
	within time.Duration
	most   time.Duration
	slots  [limitSlots + 1]time.Duration
	newest int64 // number of the newest slot, counted from the year 1970
	sum    time.Duration
}

func (l *limit) slot() time.Duration { return l.within / limitSlots }

// advance forgets what is too long ago to count.
func (l *limit) advance(now time.Time) {
	number := now.UnixNano() / int64(l.slot())
	for l.newest = max(l.newest, number-limitSlots-1); l.newest < number; {
		l.newest++
		old := &l.slots[l.newest%(limitSlots+1)]
		l.sum -= *old
		*old = 0
	}
}

// use counts a burst that has ended now.
func (l *limit) use(now time.Time, airtime time.Duration) {
	l.advance(now)
	l.slots[l.newest%(limitSlots+1)] += airtime
	l.sum += airtime
}

// free is what may still be sent now.
func (l *limit) free(now time.Time) time.Duration {
	l.advance(now)
	return l.most - l.sum
}

// freeAt is when as much as need may be sent, if nothing is sent until then.
func (l *limit) freeAt(now time.Time, need time.Duration) time.Time {
	free := l.free(now)
	for i := l.newest - limitSlots; i <= l.newest; i++ {
		if free >= need {
			break
		}
		free += l.slots[i%(limitSlots+1)]
		now = time.Unix(0, (i+limitSlots+1)*int64(l.slot()))
	}
	return now
}

// startLimits takes the limits of the configuration. It returns the airtime of the
// longest of the shortest bursts that a station must be able to send.
func (e *Engine) startLimits() (need time.Duration) {
	for _, x := range []struct {
		share  float64
		within time.Duration
	}{{e.cfg.AirtimeMinute, time.Minute}, {e.cfg.AirtimeHour, time.Hour}} {
		if x.share > 0 {
			e.limits = append(e.limits, limit{within: x.within, most: time.Duration(x.share * float64(x.within))})
		}
	}
	if len(e.limits) == 0 {
		return 0
	}
	return e.leastBurst()
}

// leastBurst is the airtime of the longest of the bursts below which a station cannot go
// as things are: a beacon, an answer, a frame of data with its parity to the peer that is
// reached worst.
func (e *Engine) leastBurst() time.Duration {
	flood, _ := e.floodMode()
	frame := func(mode, control int, loss float64) time.Duration {
		return e.airtime(mode, control, 1+parity(1, loss), min(shortestFrame, e.modes[mode].FrameOctets))
	}
	need := max(e.beaconAirtime(flood, e.beaconOctets()), frame(flood, headOctets, floodLoss))
	for _, p := range e.peers {
		mode := e.sendMode(p)
		need = max(need, 2*e.airtime(mode, e.cfg.Caps.MaxControl, 0, 0), frame(mode, e.cfg.Caps.MaxControl, p.tx.loss))
	}
	return need
}

// allowed is how long a burst may be now.
func (e *Engine) allowed(now time.Time) time.Duration {
	free := forEver
	for i := range e.limits {
		free = min(free, e.limits[i].free(now))
	}
	return free
}

// usedUp tells whether nothing may be sent because of a limit; then it says until when.
// What should have been answered stays unanswered.
func (e *Engine) usedUp(now time.Time) bool {
	if len(e.limits) == 0 {
		return false
	}
	need, at := e.leastBurst(), now
	for i := range e.limits {
		at = later(at, e.limits[i].freeAt(now, need))
	}
	if !at.After(now) {
		e.mayLast = e.allowed(now)
		return false
	}
	a := &e.access
	if a.owed != nil {
		e.stats.Airtime.Withheld++
	}
	a.owed, a.goOn = nil, nil
	e.endExchange(now)
	a.pausedTo = later(a.pausedTo, at)
	e.postponeBeacon(at)
	e.beacons.far = later(e.beacons.far, at)
	e.sense(now)
	return true
}

// limitShare is the least share of the time that a limit allows, 1 without limits.
func (e *Engine) limitShare() float64 {
	share := 1.0
	for i := range e.limits {
		share = min(share, float64(e.limits[i].most)/float64(e.limits[i].within))
	}
	return share
}

// sparse is how far apart bursts of an airtime lie if they take no more than one part in
// limitControl of what a limit allows; 0 without limits.
func (e *Engine) sparse(airtime time.Duration) time.Duration {
	if len(e.limits) == 0 {
		return 0
	}
	return time.Duration(limitControl / e.limitShare() * float64(airtime))
}

// limitStats tells of the limits.
func (e *Engine) limitStats() []LimitStats {
	out := make([]LimitStats, 0, len(e.limits))
	for i := range e.limits {
		l := &e.limits[i]
		out = append(out, LimitStats{Within: l.within, Most: l.most, Used: l.sum})
	}
	return out
}
