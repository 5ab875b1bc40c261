//go:build figures

package main

import (
	"encoding/binary"
	"math"
	"slices"
	"time"
)

// scoreboard is what makes a tcpHost as able as a kernel's: it hears of segments that came behind a hole
// (SACK, RFC 2018), takes for lost what was sent before one that has arrived (RACK, RFC 8985, without its timers and
// its window for reordering, as a link keeps the order of a flow), grows as CUBIC (RFC 9438) with HyStart while its window is used (RFC 7661), and
// takes back what it did when time stamps tell that nothing was lost (RFC 4015).
type scoreboard struct {
	segments map[uint32]*sentSegment // from una to top
	count    int                     // transmissions
	rack     int                     // the latest one that has arrived
	least    time.Duration           // the shortest round trip
	timedOut bool                    // it recovers from a timer: slow start goes on meanwhile
	used     bool                    // the window kept it from sending more, not the other host's
	most     float64                 // segments, window before it was reduced
	epoch    time.Time               // when growth began anew; zero: it has not
	origin   float64                 // segments, where it is flat, …
	flat     float64                 // … in seconds after that
	before   struct{ cwnd, ssthresh float64 }
	repeated uint32 // time stamp of the first repetition since the window was reduced; 0: none
}

type sentSegment struct {
	number             int // of the transmission
	at                 time.Time
	again, came, taken bool // sent again, arrived, taken for lost
}

const (
	cubicBeta  = 0.7
	cubicC     = 0.4 // segments per s³
	rackProofs = 3   // segments behind a hole before it is one
	sackBlocks = 3   // beside timestamps

	hyStartWindow = 16 // segments
	hyStartDelay  = 16 * time.Millisecond
)

func newAbleHost(h *tcpHost) *tcpHost {
	h.able = &scoreboard{segments: map[uint32]*sentSegment{}, least: time.Hour}
	return h
}

// blocks are what came behind a hole, what came last first.
func (h *tcpHost) blocks() (blocks [][2]uint32) {
	var starts []uint32
	for q := range h.held {
		starts = append(starts, q)
	}
	slices.Sort(starts)
	for _, q := range starts {
		if n := len(blocks); n > 0 && blocks[n-1][1] == q {
			blocks[n-1][1] += uint32(h.payload)
		} else {
			blocks = append(blocks, [2]uint32{q, q + uint32(h.payload)})
		}
	}
	for i, b := range blocks {
		if h.newest >= b[0] && h.newest < b[1] {
			blocks[0], blocks[i] = b, blocks[0]
		}
	}
	return blocks[:min(sackBlocks, len(blocks))]
}

func (h *tcpHost) transmit(q uint32) {
	b := h.able
	s := b.segments[q]
	if s == nil {
		s = &sentSegment{}
		b.segments[q] = s
	} else {
		s.again = true
		if h.repeated++; b.repeated == 0 {
			b.repeated = uint32(time.Now().UnixMilli())
		}
	}
	b.count++
	s.number, s.at, s.taken = b.count, time.Now(), false
	h.emit(q, h.payload)
}

func (h *tcpHost) pushAble() {
	b := h.able
	pipe := 0
	var lost []uint32
	for q := h.una; q < h.top; q += uint32(h.payload) {
		switch s := b.segments[q]; {
		case s.came:
		case s.taken:
			lost = append(lost, q)
		default:
			pipe++
		}
	}
	b.used = true
	for ; h.sending && float64(pipe) < max(1, math.Floor(h.cwnd)); pipe++ {
		if len(lost) > 0 {
			h.transmit(lost[0])
			lost = lost[1:]
			continue
		}
		if int32(h.top+uint32(h.payload)-h.edge) > 0 {
			b.used = h.cwnd < h.ssthresh && float64(2*pipe) > h.cwnd // as Linux has it: slow start doubles
			break
		}
		h.transmit(h.top)
		h.top += uint32(h.payload)
		h.nxt = h.top
	}
	if h.timer == nil && h.top != h.una {
		h.timer = time.AfterFunc(h.rto, h.expire)
	}
}

// reduce takes that the path carries less than the window.
func (h *tcpHost) reduce() {
	b := h.able
	b.before.cwnd, b.before.ssthresh, b.repeated = h.cwnd, h.ssthresh, 0
	if most := h.cwnd; most < b.most { // fast convergence
		b.most = most * (1 + cubicBeta) / 2
	} else {
		b.most = most
	}
	h.ssthresh = max(cubicBeta*h.cwnd, 2)
	h.recovering, h.recover, b.epoch = true, h.top, time.Time{}
}

func (h *tcpHost) expireAble() {
	b := h.able
	if !b.timedOut {
		h.reduce()
	}
	b.timedOut = true
	h.recovering, h.recover, h.cwnd = true, h.top, 1
	for _, s := range b.segments {
		s.taken = !s.came
	}
	h.rto = min(2*h.rto, 2*time.Minute)
	h.pushAble()
}

func (h *tcpHost) acknowledgedAble(ack uint32, t []byte) {
	b, now := h.able, time.Now()
	if ack > h.top {
		return
	}
	news, advanced, rtt := false, 0., time.Duration(0)
	came := func(q uint32) {
		s := b.segments[q]
		if s == nil || s.came {
			return
		}
		s.came, news = true, true
		took := now.Sub(s.at)
		if s.again && took < b.least {
			return // the first one came after all
		}
		if b.rack = max(b.rack, s.number); !s.again {
			rtt = took // of the newest: what came before it waited for the burst's end
			b.least = min(b.least, took)
		}
	}
	for q := h.una; q < ack; q += uint32(h.payload) {
		came(q)
		delete(b.segments, q)
		advanced++
	}
	h.una = max(h.una, ack)
	if n := int(t[12]>>4)*4 - 36; n > 0 {
		for o := t[36 : 36+n]; len(o) >= 8; o = o[8:] {
			for q := binary.BigEndian.Uint32(o); q < binary.BigEndian.Uint32(o[4:]); q += uint32(h.payload) {
				came(q)
			}
		}
	}
	if rtt > 0 {
		h.measure(rtt)
	}
	if h.recovering && advanced > 0 && b.repeated != 0 && int32(binary.BigEndian.Uint32(t[28:])-b.repeated) < 0 {
		h.recovering, b.timedOut = false, false
		h.cwnd, h.ssthresh = max(h.cwnd, b.before.cwnd), b.before.ssthresh
		for _, s := range b.segments {
			s.taken = false
		}
	}
	proofs, lost := 0, false
	for _, s := range b.segments {
		if s.came {
			proofs++
		}
	}
	for _, s := range b.segments {
		if !s.came && s.number < b.rack && (h.recovering || proofs >= rackProofs) {
			s.taken, lost = true, true
		}
	}
	if h.recovering && h.una >= h.recover {
		h.recovering, b.timedOut = false, false
	}
	switch {
	case lost && !h.recovering:
		h.reduce()
		h.cwnd = h.ssthresh
	case h.recovering && !b.timedOut, !b.used:
	case h.cwnd < h.ssthresh && h.cwnd >= hyStartWindow && rtt > b.least+hyStartDelay:
		h.ssthresh = h.cwnd // HyStart, RFC 9406
	case h.cwnd < h.ssthresh:
		h.cwnd += advanced
	case advanced > 0:
		if b.epoch.IsZero() {
			b.epoch, b.origin, b.flat = now, max(h.cwnd, b.most), math.Cbrt(max(0, b.most-h.cwnd)/cubicC)
		}
		target := b.origin + cubicC*math.Pow(now.Add(h.rtt).Sub(b.epoch).Seconds()-b.flat, 3)
		h.cwnd += advanced * max(0.01, min(target, 1.5*h.cwnd)-h.cwnd) / h.cwnd
	}
	if news && h.timer != nil {
		h.timer.Stop()
		h.timer = nil
	}
	h.pushAble()
}
