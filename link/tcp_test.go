package link

import (
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"time"
)

// This file is hosts for the tests of queues: TCP and ping over a medium, in
// virtual time. The TCP is Reno (RFC 5681) with SACK recovery (RFC 6675), ECN
// (RFC 3168), timestamps, delayed acknowledgements and RFC 6298's timer with
// Linux's least value: what a kernel does to a link, without a kernel. Before the
// link is the kernel's queue of a TUN device, which drops what does not fit.

const (
	tcpMSS      = 1228 // octets: an MTU of 1280 with timestamps
	tcpHead     = 52
	tcpECE      = 0x40
	tcpCWR      = 0x80
	kernelQueue = 256 // packets, as package tun sets it
	leastRTO    = 200 * time.Millisecond
	firstTCPRTO = time.Second
	delayedAck  = 40 * time.Millisecond
)

// output is the kernel's side of a TUN device.
func (m *medium) output(n *node, pkt []byte) {
	if len(n.queue) < kernelQueue {
		m.send(n, pkt)
	}
}

// tcpPacket is an IPv4 packet with a TCP segment; capable: of ECN.
func tcpPacket(from, to netip.Addr, ports uint32, seq, ack uint32, flags byte, capable bool, val, ecr uint32, blocks [][2]uint32, payload int) []byte {
	head := tcpHead
	if len(blocks) > 0 {
		head += 4 + 8*len(blocks)
	}
	p := make([]byte, head+payload)
	p[0], p[8], p[9] = 0x45, 64, protoTCP
	if capable {
		p[1] = 2
	}
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	p[6] = 0x40
	copy(p[12:], from.AsSlice())
	copy(p[16:], to.AsSlice())
	binary.BigEndian.PutUint16(p[10:], ^internetSum(0, p[:20]))
	t := p[20:]
	binary.BigEndian.PutUint32(t, ports)
	binary.BigEndian.PutUint32(t[4:], seq)
	binary.BigEndian.PutUint32(t[8:], ack)
	t[12], t[13], t[14], t[15] = byte((head-20)/4<<4), flags, 1, 0xf5
	copy(t[20:], []byte{1, 1, 8, 10})
	binary.BigEndian.PutUint32(t[24:], val)
	binary.BigEndian.PutUint32(t[28:], ecr)
	if len(blocks) > 0 {
		copy(t[32:], []byte{1, 1, 5, byte(2 + 8*len(blocks))})
		for i, b := range blocks {
			binary.BigEndian.PutUint32(t[36+8*i:], b[0])
			binary.BigEndian.PutUint32(t[40+8*i:], b[1])
		}
	}
	binary.BigEndian.PutUint16(t[16:], ^internetSum(protoTCP+uint32(len(t)), p[12:]))
	return p
}

// tcpSender sends without end.
type tcpSender struct {
	m        *medium
	from, to *node
	ports    uint32
	ecn      bool
	limit    uint32 // octets to send, 0: no end

	una, nxt   uint32
	cwnd       float64 // segments
	ssthresh   float64
	dups       int
	recovering bool
	recover    uint32
	cwrAt      uint32 // no second reduction before this is acknowledged
	cwr        bool
	sacked     map[uint32]bool
	resent     map[uint32]bool
	srtt, rv   time.Duration
	rto        time.Duration
	timer      int // number of the timer that counts
	echoed     uint32

	segments, repeated int
}

func (m *medium) newSender(from, to *node, port uint16, ecn bool) *tcpSender {
	return &tcpSender{m: m, from: from, to: to, ports: uint32(port)<<16 | 5001, ecn: ecn, una: 1, nxt: 1, cwnd: 10, ssthresh: math.Inf(1),
		sacked: map[uint32]bool{}, resent: map[uint32]bool{}, rto: firstTCPRTO}
}

func (m *medium) millis() uint32 { return uint32(m.now.UnixMilli()) }

func (s *tcpSender) emit(seq uint32) {
	flags := byte(tcpACK)
	if s.cwr {
		flags, s.cwr = flags|tcpCWR, false
	}
	s.segments++
	if seq != s.nxt {
		s.repeated++
	} else {
		s.nxt += tcpMSS
	}
	s.m.output(s.from, tcpPacket(s.from.addr, s.to.addr, s.ports, seq, 1, flags, s.ecn, s.m.millis(), s.echoed, nil, tcpMSS))
}

// lost is the first segment that RFC 6675 takes for lost and that was not sent
// again.
func (s *tcpSender) lost() (seq uint32, ok bool) {
	if !s.recovering {
		return 0, false
	}
	highest := s.una
	for q := range s.sacked {
		if int32(q-highest) > 0 {
			highest = q
		}
	}
	for q := s.una; q == s.una || int32(q-highest) < 0; q += tcpMSS {
		if !s.sacked[q] && !s.resent[q] && int32(q-s.recover) < 0 {
			return q, true
		}
	}
	return 0, false
}

// pipe is how many segments are taken to be on the way.
func (s *tcpSender) pipe() int {
	n := 0
	hole := true
	for q := s.nxt - tcpMSS; int32(q-s.una) >= 0; q -= tcpMSS {
		switch {
		case s.sacked[q]:
			hole = false
		case s.resent[q] || !s.recovering || hole:
			n++
		}
	}
	return n
}

func (s *tcpSender) push() {
	for float64(s.pipe()) < math.Max(1, math.Floor(s.cwnd)) {
		if q, ok := s.lost(); ok {
			s.resent[q] = true
			s.emit(q)
			continue
		}
		if s.limit > 0 && s.nxt > s.limit {
			break
		}
		s.emit(s.nxt)
	}
}

func (s *tcpSender) arm() {
	s.timer++
	timer := s.timer
	if s.una == s.nxt {
		return
	}
	s.m.after(s.rto, func() {
		if timer != s.timer {
			return
		}
		s.ssthresh = math.Max(float64(s.pipe())/2, 2)
		s.cwnd, s.dups, s.recovering, s.recover = 1, 0, true, s.nxt
		clear(s.resent)
		clear(s.sacked)
		s.rto = min(2*s.rto, 120*time.Second)
		s.resent[s.una] = true
		s.emit(s.una)
		s.arm()
	})
}

// receive takes an acknowledgement.
func (s *tcpSender) receive(t []byte) {
	ack := binary.BigEndian.Uint32(t[8:])
	s.echoed = binary.BigEndian.Uint32(t[24:])
	news := false
	if n := int(t[12]>>4)*4 - 36; n > 0 {
		for o := t[36 : 36+n]; len(o) >= 8; o = o[8:] {
			for q := binary.BigEndian.Uint32(o); q != binary.BigEndian.Uint32(o[4:]); q += tcpMSS {
				news = news || !s.sacked[q]
				s.sacked[q] = true
			}
		}
	}
	if s.ecn && t[13]&tcpECE != 0 && int32(ack-s.cwrAt) >= 0 && !s.recovering {
		s.ssthresh = math.Max(s.cwnd/2, 2)
		s.cwnd, s.cwrAt, s.cwr = s.ssthresh, s.nxt, true
	}
	switch {
	case int32(ack-s.una) > 0:
		rtt := time.Duration(s.m.millis()-binary.BigEndian.Uint32(t[28:])) * time.Millisecond
		if s.srtt == 0 {
			s.srtt, s.rv = rtt, rtt/2
		} else {
			s.rv += (max(s.srtt-rtt, rtt-s.srtt) - s.rv) / 4
			s.srtt += (rtt - s.srtt) / 8
		}
		s.rto = max(leastRTO, s.srtt+max(leastRTO, 4*s.rv))
		segments := float64(ack-s.una) / tcpMSS
		for q := s.una; q != ack; q += tcpMSS {
			delete(s.sacked, q)
			delete(s.resent, q)
		}
		s.una, s.dups = ack, 0
		if s.recovering && int32(ack-s.recover) >= 0 {
			s.recovering = false
			clear(s.resent)
			if s.ssthresh < s.cwnd || s.cwnd > 1 {
				s.cwnd = s.ssthresh
			}
		}
		if !s.recovering || s.cwnd < s.ssthresh {
			if s.cwnd < s.ssthresh {
				s.cwnd = math.Min(s.cwnd+segments, s.ssthresh)
			} else {
				s.cwnd += segments / s.cwnd
			}
		}
		s.arm()
	case s.una != s.nxt && news:
		if s.dups++; s.dups >= 3 && !s.recovering {
			s.recovering, s.recover = true, s.nxt
			s.ssthresh = math.Max(float64(s.pipe())/2, 2)
			s.cwnd = s.ssthresh
			s.cwr, s.cwrAt = s.ecn, s.nxt
		}
	}
	fresh := s.nxt
	s.push()
	if s.una == fresh {
		s.arm()
	}
}

// tcpReceiver acknowledges.
type tcpReceiver struct {
	m        *medium
	from, to *node
	ports    uint32
	next     uint32
	have     map[uint32]bool
	recent   uint32 // of TSval
	newest   uint32 // segment that came last
	ece      bool
	held     bool
	octets   int
}

func (m *medium) newReceiver(from, to *node, port uint16) *tcpReceiver {
	return &tcpReceiver{m: m, from: from, to: to, ports: uint32(5001)<<16 | uint32(port), next: 1, have: map[uint32]bool{}}
}

func (r *tcpReceiver) receive(p []byte) {
	t := p[20:]
	seq := binary.BigEndian.Uint32(t[4:])
	if t[13]&tcpCWR != 0 {
		r.ece = false
	}
	if p[1]&3 == 3 {
		r.ece = true
	}
	if int32(seq-r.next) <= 0 && !r.held {
		r.recent = binary.BigEndian.Uint32(t[24:])
	}
	order := seq == r.next && len(r.have) == 0
	if int32(seq-r.next) >= 0 {
		r.have[seq] = true
		r.newest = seq
	}
	for r.have[r.next] {
		delete(r.have, r.next)
		r.next += tcpMSS
		r.octets += tcpMSS
	}
	if order && !r.held && !r.ece {
		r.held = true
		r.m.after(delayedAck, func() {
			if r.held {
				r.acknowledge()
			}
		})
		return
	}
	r.acknowledge()
}

func (r *tcpReceiver) acknowledge() {
	r.held = false
	var starts []uint32
	for q := range r.have {
		starts = append(starts, q)
	}
	slices.Sort(starts)
	var blocks [][2]uint32
	for _, q := range starts {
		if n := len(blocks); n > 0 && blocks[n-1][1] == q {
			blocks[n-1][1] += tcpMSS
		} else {
			blocks = append(blocks, [2]uint32{q, q + tcpMSS})
		}
	}
	for i, b := range blocks { // the one with the newest segment goes first
		if int32(r.newest-b[0]) >= 0 && int32(r.newest-b[1]) < 0 {
			blocks[0], blocks[i] = blocks[i], blocks[0]
		}
	}
	flags := byte(tcpACK)
	if r.ece {
		flags |= tcpECE
	}
	r.m.output(r.from, tcpPacket(r.from.addr, r.to.addr, r.ports, 1, r.next, flags, false, r.m.millis(), r.recent, blocks[:min(3, len(blocks))], 0))
}

// pinger sends an echo request every second and notes the round trips.
type pinger struct {
	m        *medium
	from, to *node
	sent     []time.Time
	rtts     []time.Duration
}

func (g *pinger) send() {
	p := make([]byte, 84)
	p[0], p[8], p[9] = 0x45, 64, protoICMP
	binary.BigEndian.PutUint16(p[2:], 84)
	p[6] = 0x40
	binary.BigEndian.PutUint16(p[4:], uint16(len(g.sent)+1))
	copy(p[12:], g.from.addr.AsSlice())
	copy(p[16:], g.to.addr.AsSlice())
	binary.BigEndian.PutUint16(p[10:], ^internetSum(0, p[:20]))
	p[20] = 8
	binary.BigEndian.PutUint16(p[26:], uint16(len(g.sent)))
	binary.BigEndian.PutUint64(p[28:], uint64(g.m.now.UnixNano()))
	binary.BigEndian.PutUint16(p[22:], ^internetSum(0, p[20:]))
	g.sent = append(g.sent, g.m.now)
	g.rtts = append(g.rtts, -1)
	g.m.output(g.from, p)
}

// echo answers an echo request.
func (m *medium) echo(n *node, p []byte) {
	q := slices.Clone(p)
	copy(q[12:], p[16:20])
	copy(q[16:], p[12:16])
	q[20], q[22], q[23] = 0, 0, 0
	binary.BigEndian.PutUint16(q[22:], ^internetSum(0, q[20:]))
	m.output(n, q)
}

func (g *pinger) receive(p []byte) {
	i := binary.BigEndian.Uint16(p[26:])
	g.rtts[i] = g.m.now.Sub(g.sent[i])
}
