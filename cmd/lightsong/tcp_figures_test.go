//go:build figures

package main

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"time"
)

// tcpHost is a host with one TCP connection in virtual time, less able than a
// kernel's: NewReno (RFC 5681, 6582) without SACK and ECN, an initial window of ten
// segments (RFC 6928), RFC 6298's timer with Linux's least value, acknowledgements
// for each second segment or after 40 ms, timestamps' 12 octets in each segment, windows scaled by 2⁷. Before the
// link are 256 packets of queue, which drops what does not fit. With a scoreboard it is as able as a kernel's.
type tcpHost struct {
	from, to netip.Addr
	port     uint16 // of either host
	payload  int    // octets of a segment, even

	*outbox

	sending       bool
	up            bool   // the other host has answered the SYN
	una, nxt, top uint32 // oldest octet not acknowledged, next to send, one behind the last ever sent
	edge          uint32 // of the window
	cwnd          float64
	ssthresh      float64
	dups          int
	recovering    bool
	recover       uint32
	rtt, rttVar   time.Duration
	rto           time.Duration
	timed         uint32 // octet whose acknowledgement measures the round trip; 0: none
	timedAt       time.Time
	timer         *time.Timer
	repeated      int
	able          *scoreboard // nil: NewReno

	next    uint32
	newest  uint32 // segment that came last
	recent  uint32 // time stamp to be echoed
	held    map[uint32]bool
	unacked int
	delayed *time.Timer
	arrived int // octets of payload, each counted once: what waits for a hole to be filled too
}

const (
	tcpHeads = 20 + 20 + 12
	tcpMTU   = 1400 // octets
	tcpQueue = 256
	tcpFirst = 10
	tcpLeast = 200 * time.Millisecond
	tcpDelay = 40 * time.Millisecond
	tcpScale = 7
	tcpPort  = 5001

	tcpSynFlag = 0x02
	tcpAckFlag = 0x10
)

func newTCPHost(from, to netip.Addr) *tcpHost {
	box := newOutbox()
	return &tcpHost{from: from, to: to, port: tcpPort, payload: tcpMTU - tcpHeads, outbox: &box, una: 1, nxt: 1, top: 1, cwnd: tcpFirst, ssthresh: 1e9, rto: time.Second, next: 1, held: map[uint32]bool{}}
}

// onesSum is the Internet checksum's sum (RFC 1071) over p on top of sum.
func onesSum(sum uint32, p []byte) uint32 {
	for i := 0; i+1 < len(p); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xFFFF + sum>>16
	}
	return sum
}

// emit queues a segment. The payload's length is even; blocks are those of SACK.
func (h *tcpHost) emit(seq uint32, payload int, blocks ...[2]uint32) {
	heads := tcpHeads
	if len(blocks) > 0 {
		heads += 4 + 8*len(blocks)
	}
	p := make([]byte, heads+payload)
	t := p[20:]
	binary.BigEndian.PutUint32(t[4:], seq)
	binary.BigEndian.PutUint32(t[8:], h.next)
	t[12], t[13] = byte((heads-20)/4<<4), tcpAckFlag
	copy(t[20:], []byte{1, 1, 8, 10})
	if len(blocks) > 0 {
		copy(t[32:], []byte{1, 1, 5, byte(2 + 8*len(blocks))})
		for i, b := range blocks {
			binary.BigEndian.PutUint32(t[36+8*i:], b[0])
			binary.BigEndian.PutUint32(t[40+8*i:], b[1])
		}
	}
	octets := rand.NewPCG(uint64(seq), 1) // nothing to compress; an octet sent again is the same
	for i := heads - 20; i < len(t); i++ {
		t[i] = byte(octets.Uint64())
	}
	h.enqueue(p, t[24:])
}

// open queues a SYN, or the answer to one.
func (h *tcpHost) open(flags byte) {
	p := make([]byte, 60)
	t := p[20:]
	t[12], t[13] = 10<<4, flags
	if flags&tcpAckFlag != 0 {
		binary.BigEndian.PutUint32(t[8:], h.next)
	}
	copy(t[20:], []byte{2, 4, byte((h.payload + 12) >> 8), byte(h.payload + 12), 4, 2, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 3, tcpScale})
	h.enqueue(p, t[28:])
}

// enqueue fills in what all segments have and queues one whose time stamps are at stamps.
func (h *tcpHost) enqueue(p, stamps []byte) {
	if len(h.queue) >= tcpQueue {
		return
	}
	p[0], p[8], p[9] = 0x45, 64, 6
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	copy(p[12:], h.from.AsSlice())
	copy(p[16:], h.to.AsSlice())
	binary.BigEndian.PutUint16(p[10:], ^uint16(onesSum(0, p[:20])))
	t := p[20:]
	binary.BigEndian.PutUint32(t, uint32(h.port)<<16|uint32(h.port))
	t[14], t[15] = 0xFF, 0xFF
	binary.BigEndian.PutUint32(stamps, uint32(time.Now().UnixMilli()))
	binary.BigEndian.PutUint32(stamps[4:], h.recent)
	sum := onesSum(6+uint32(len(t)), p[12:20])
	binary.BigEndian.PutUint16(t[16:], ^uint16(onesSum(sum, t)))
	h.queue = append(h.queue, p)
	h.poke()
}

// start opens the connection and sends without end.
func (h *tcpHost) start() {
	h.mu.Lock()
	h.sending = true
	h.knock()
	h.mu.Unlock()
}

// knock sends SYN until it is answered.
func (h *tcpHost) knock() {
	h.open(tcpSynFlag)
	h.timer = time.AfterFunc(h.rto, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.sending && !h.up {
			h.rto *= 2
			h.knock()
		}
	})
}

// opened takes a SYN, or the answer to one.
func (h *tcpHost) opened(t []byte) {
	h.recent = binary.BigEndian.Uint32(t[28:])
	if t[13]&tcpAckFlag == 0 {
		h.open(tcpSynFlag | tcpAckFlag)
		return
	}
	if !h.up {
		h.timer.Stop()
		h.timer, h.up, h.rto = nil, true, time.Second
		h.edge = 1 + uint32(binary.BigEndian.Uint16(t[14:]))
		h.emit(1, 0)
		h.push()
	}
}

func (h *tcpHost) stop() {
	h.mu.Lock()
	h.sending = false
	for _, t := range []*time.Timer{h.timer, h.delayed} {
		if t != nil {
			t.Stop()
		}
	}
	h.mu.Unlock()
}

func (h *tcpHost) push() {
	if h.able != nil {
		h.pushAble()
		return
	}
	for h.sending && float64(h.nxt-h.una) < h.cwnd*float64(h.payload) && int32(h.nxt+uint32(h.payload)-h.edge) <= 0 {
		if h.nxt == h.top && h.timed == 0 {
			h.timed, h.timedAt = h.nxt, time.Now()
		}
		h.emit(h.nxt, h.payload)
		if h.nxt < h.top {
			h.repeated++
		}
		h.nxt += uint32(h.payload)
		h.top = max(h.top, h.nxt)
	}
	if h.timer == nil && h.nxt != h.una {
		h.timer = time.AfterFunc(h.rto, h.expire)
	}
}

func (h *tcpHost) expire() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.timer = nil
	if !h.sending {
		return
	}
	if h.able != nil {
		h.expireAble()
		return
	}
	h.ssthresh = max(float64(h.nxt-h.una)/float64(h.payload)/2, 2)
	h.cwnd, h.nxt, h.dups, h.recovering, h.timed = 1, h.una, 0, false, 0
	h.rto = min(2*h.rto, time.Minute)
	h.push()
}

func (h *tcpHost) WritePacket(p []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := p[20:]
	if t[13]&tcpSynFlag != 0 {
		h.opened(t)
		return nil
	}
	seq, ack, payload := binary.BigEndian.Uint32(t[4:]), binary.BigEndian.Uint32(t[8:]), len(p)-20-int(t[12]>>4)*4
	if payload > 0 {
		if seq <= h.next {
			h.recent = binary.BigEndian.Uint32(t[24:])
		}
		h.take(seq, payload)
		return nil
	}
	if edge := ack + uint32(binary.BigEndian.Uint16(t[14:]))<<tcpScale; int32(edge-h.edge) > 0 {
		h.edge = edge
	}
	if h.able != nil {
		h.acknowledgedAble(ack, t)
		return nil
	}
	h.acknowledged(ack)
	return nil
}

// take takes a segment and acknowledges.
func (h *tcpHost) take(seq uint32, payload int) {
	inOrder := seq == h.next && len(h.held) == 0
	if seq >= h.next && !h.held[seq] {
		h.arrived += payload
	}
	h.held[seq], h.newest = true, seq
	for h.held[h.next] {
		delete(h.held, h.next)
		h.next += uint32(payload)
	}
	if seq < h.next {
		delete(h.held, seq) // it was there before
	}
	if h.unacked++; !inOrder || h.unacked >= 2 {
		h.answer()
	} else if h.delayed == nil {
		h.delayed = time.AfterFunc(tcpDelay, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.delayed = nil
			if h.unacked > 0 {
				h.answer()
			}
		})
	}
}

func (h *tcpHost) answer() {
	h.unacked = 0
	var blocks [][2]uint32
	if h.able != nil {
		blocks = h.blocks()
	}
	h.emit(1, 0, blocks...)
}

func (h *tcpHost) acknowledged(ack uint32) {
	switch {
	case ack > h.top:
		return
	case ack > h.una:
		if h.timed != 0 && ack > h.timed {
			h.measure(time.Since(h.timedAt))
			h.timed = 0
		}
		advanced := float64(ack-h.una) / float64(h.payload)
		h.una, h.nxt = ack, max(h.nxt, ack)
		switch {
		case h.recovering && ack < h.recover: // one more was lost
			h.emit(h.una, h.payload)
			h.repeated++
			h.cwnd = max(1, h.cwnd-advanced+1)
		case h.recovering:
			h.recovering, h.cwnd = false, h.ssthresh
		case h.cwnd < h.ssthresh:
			h.cwnd += advanced
		default:
			h.cwnd += advanced / h.cwnd
		}
		h.dups = 0
		if h.timer != nil {
			h.timer.Stop()
			h.timer = nil
		}
	case h.nxt != h.una:
		h.dups++
		switch {
		case h.recovering:
			h.cwnd++
		case h.dups == 3 && ack >= h.recover:
			h.ssthresh = max(float64(h.nxt-h.una)/float64(h.payload)/2, 2)
			h.recovering, h.recover, h.cwnd, h.timed = true, h.nxt, h.ssthresh+3, 0
			h.emit(h.una, h.payload)
			h.repeated++
		}
	}
	h.push()
}

func (h *tcpHost) measure(rtt time.Duration) {
	if h.rtt == 0 {
		h.rtt, h.rttVar = rtt, rtt/2
	} else {
		h.rttVar += ((h.rtt - rtt).Abs() - h.rttVar) / 4
		h.rtt += (rtt - h.rtt) / 8
	}
	h.rto = max(tcpLeast, h.rtt+4*h.rttVar)
}

// tcpGoodput lets the first host send without end and returns what of its payload
// arrives at the other, in bit/s.
func tcpGoodput(hosts [2]*tcpHost, settle, measure time.Duration) float64 {
	arrived := func() int {
		hosts[1].mu.Lock()
		defer hosts[1].mu.Unlock()
		return hosts[1].arrived
	}
	hosts[0].start()
	time.Sleep(settle)
	from := arrived()
	time.Sleep(measure)
	got := float64(8*(arrived()-from)) / measure.Seconds()
	for _, h := range hosts {
		h.stop()
	}
	return got
}
