package link

import (
	"time"

	"lightsong/phy"
)

// Discovery: beacons tell who is there. Their airtime is bounded to one part in
// beaconShare of the medium for each station, and in roomShare for all that are known.
// News travels faster, and waits for what it costs.
const (
	beaconShare   = 50              // the airtime of a beacon times this lies between two of them
	roomShare     = 20              // the airtime of a beacon of each station times this, likewise
	newsShare     = 2               // likewise, while there is news
	maxRoom       = 64              // stations that count: more may be made up by somebody
	firstInterval = 2 * time.Second // while alone; doubled up to what beaconShare allows
	peerInterval  = 10 * time.Second
	maxInterval   = 255 * time.Second // what a beacon can announce
	maxCredit     = 4                 // intervals that other bursts may stand in for a beacon

	basicAirtime = time.Second // of a beacon in the mode for first contact
	farAfter     = 20 * time.Second
)

// beacons is the state of discovery.
type beacons struct {
	at       time.Time // of the next
	last     time.Time
	far      time.Time     // of the next in the most robust modes, while alone
	farMode  int           // index of the last one
	interval time.Duration // while alone
	urgent   bool          // there is news: no other burst stands in for the next
	body     []byte
}

func (e *Engine) startBeacons(now time.Time) {
	e.beacons = beacons{
		at:       now.Add(e.jitter(100*time.Millisecond, time.Second)),
		far:      now.Add(e.jitter(farAfter, 2*farAfter)),
		interval: firstInterval,
		last:     now.Add(-firstInterval),
		urgent:   true,
	}
}

func (e *Engine) jitter(low, high time.Duration) time.Duration {
	return low + time.Duration(e.random.Int64N(int64(high-low)+1))
}

// basicMode is the index of the mode for first contact: the most robust one in
// which a beacon takes at most basicAirtime, else the quickest.
func (e *Engine) basicMode() int {
	if e.basic == 0 {
		best, least := 0, time.Duration(-1)
		for i := range e.modes {
			d := e.beaconAirtime(i, typicalBeacon)
			if d <= basicAirtime {
				best = i
				break
			}
			if least < 0 || d < least {
				best, least = i, d
			}
		}
		e.basic = best + 1
	}
	return e.basic - 1
}

const typicalBeacon = 64 // octets

func (e *Engine) beaconAirtime(mode, octets int) time.Duration {
	k := (octets + e.modes[mode].FrameOctets - 1) / e.modes[mode].FrameOctets
	return e.airtime(mode, headOctets, k+beaconParity(k), (octets+k-1)/k)
}

func beaconParity(k int) int { return (k + 1) / 2 }

func (e *Engine) minBeaconInterval() time.Duration {
	airtime := e.beaconAirtime(e.basicMode(), typicalBeacon)
	d := max(time.Duration(max(beaconShare, roomShare*e.room()))*airtime, e.sparse(airtime))
	return min(max(peerInterval, d.Round(time.Second)), maxInterval)
}

// room is the number of stations that share the medium, as far as it is known.
func (e *Engine) room() int { return min(1+e.others(), maxRoom) }

// newsInterval is the least between two beacons of a station while there is news.
// All stations have the same news, for everybody has heard the station that is new.
func (e *Engine) newsInterval() time.Duration {
	return max(firstInterval/2, time.Duration(newsShare*e.room())*e.nextBeaconAirtime())
}

// beaconOctets is the length of the next beacon: of one that names the stations heard
// now.
func (e *Engine) beaconOctets() int {
	octets := 4 + len(e.cfg.Name) + heardSize*min(e.others(), maxHeard)
	for _, p := range e.cfg.Prefixes {
		if octets += prefixV6; p.Addr().Is4() {
			octets += prefixV4 - prefixV6
		}
	}
	return octets
}

// nextBeaconAirtime is about that of the next beacon.
func (e *Engine) nextBeaconAirtime() time.Duration {
	return e.beaconAirtime(e.basicMode(), e.beaconOctets())
}

// beaconWindow is the number of slots that the back-off of a beacon is drawn from.
// Nobody knows how many stations that nobody has heard want to send theirs at the same
// moment, and a collision costs two: so the wait may last as long as one.
func (e *Engine) beaconWindow() int {
	return min(int(e.nextBeaconAirtime()/e.slot()), mostBeaconWindow)
}

const mostBeaconWindow = 64

// alone tells that no peer is live.
func (e *Engine) alone() bool {
	for _, p := range e.peers {
		if p.live() {
			return false
		}
	}
	return true
}

// beaconSoon brings the next beacon forward: there is news. Several stations may
// have the same news, so they draw lots.
func (e *Engine) beaconSoon(now time.Time) {
	at := later(now, e.beacons.last.Add(e.newsInterval())).Add(e.jitter(0, e.newsSpread()))
	if at.Before(e.beacons.at) {
		e.beacons.at = at
	}
	e.beacons.interval, e.beacons.urgent = firstInterval, true
}

// newsSpread is over how long the beacons of stations that have the same news are spread.
func (e *Engine) newsSpread() time.Duration {
	return time.Duration(max(rivalWindow/2, e.beaconWindow())) * e.slot()
}

func (e *Engine) postponeBeacon(at time.Time) { e.beacons.at = later(e.beacons.at, at) }

// nextBeacon is when the next beacon is due.
func (e *Engine) nextBeacon() time.Time {
	if e.farNeeded() && e.beacons.far.Before(e.beacons.at) {
		return e.beacons.far
	}
	return e.beacons.at
}

// farNeeded tells whether beacons in modes more robust than the basic one may
// find somebody.
func (e *Engine) farNeeded() bool { return e.basicMode() > 0 && e.alone() }

func (e *Engine) beaconDue(now time.Time) bool { return !now.Before(e.nextBeacon()) }

// beaconCredit plans the next beacon after a burst. Any burst is a sign of life,
// so a beacon can wait while others are sent.
func (e *Engine) beaconCredit(now time.Time, c *current) {
	b := &e.beacons
	if c.kind != beaconed {
		if !e.alone() && !b.urgent {
			at := now.Add(e.jitter(e.minBeaconInterval()*3/4, e.minBeaconInterval()))
			if limit := b.last.Add(maxCredit * e.minBeaconInterval()); at.After(limit) {
				at = limit
			}
			b.at = later(b.at, at)
		}
		return
	}
	b.last = now
	for _, p := range e.peers {
		if p.state != PeerUp && e.others() <= 1 { // if it has heard this it speaks next
			p.holdOff = later(p.holdOff, now.Add(e.ifs()+e.newsSpread()))
		}
	}
	if c.far {
		b.far = now.Add(max(beaconShare*c.airtime, e.sparse(c.airtime)))
		return
	}
	b.urgent = false
	interval := e.minBeaconInterval()
	if e.alone() {
		interval = max(min(b.interval, max(firstInterval, beaconShare*c.airtime)), e.sparse(c.airtime))
		b.interval = min(2*b.interval, maxInterval)
	}
	b.at = now.Add(e.jitter(interval*3/4, interval))
}

// buildBeacon makes the beacon that is due.
func (e *Engine) buildBeacon(now time.Time, dst *phy.Burst) bool {
	b := &e.beacons
	mode, _ := e.floodMode()
	far := now.Before(b.at)
	if far {
		if b.farMode--; b.farMode < 0 {
			b.farMode = e.basicMode() - 1
		}
		mode = b.farMode
		if d := e.beaconAirtime(mode, e.beaconOctets()); d > e.mayLast {
			b.far = now.Add(max(beaconShare*d, e.sparse(d)))
			return false
		}
	}
	body := beacon{
		interval: uint8(e.minBeaconInterval() / time.Second),
		name:     e.cfg.Name,
		prefixes: e.cfg.Prefixes,
	}
	for p := range e.inTurn {
		if !p.live() || len(body.heard) == maxHeard {
			continue
		}
		n := neighbour{address: p.address, snr: toSNR(p.rx.snr), want: noMCS}
		if i, ok := p.rx.want(e.modes); ok {
			n.want = uint8(e.modes[i].MCS)
		}
		body.heard = append(body.heard, n)
	}
	b.body = body.appendTo(b.body[:0])
	frame := e.modes[mode].FrameOctets
	k := (len(b.body) + frame - 1) / frame
	octets := (len(b.body) + k - 1) / k
	e.frames, e.store = e.frames[:0], append(e.store[:0], b.body...)
	m := min(beaconParity(k), e.cfg.Caps.MaxFrames-k)
	e.store = append(e.store, make([]byte, (k+m)*octets-len(b.body))...)
	for i := range k + m {
		e.frames = append(e.frames, e.store[i*octets:(i+1)*octets:(i+1)*octets])
	}
	if code, err := e.code(k, m); err != nil || code.Encode(e.frames) != nil {
		e.frames = e.frames[:k]
	}
	e.control = control{kind: beaconed, src: e.address, dst: broadcast, epoch: e.cfg.Epoch, data: uint8(k), heard: e.control.heard[:0]}
	e.current = current{kind: beaconed, far: far}
	e.stats.Bursts.Beacons++
	e.emit(mode, dst)
	return true
}
