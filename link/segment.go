package link

import (
	"bytes"
	"encoding/binary"
	"time"
)

// segment is what the queue needs to know of a TCP segment. The zero value is no
// segment.
type segment struct {
	valid   bool
	pure    bool // an acknowledgement and nothing else: no data, no SYN, FIN or RST
	sack    bool // with options other than timestamps
	flags   uint8
	ports   uint32
	seq     uint32
	end     uint32 // of its sequence numbers, exclusive
	ack     uint32
	payload int // octets, the last of the packet
}

// Flags of TCP (RFC 9293 §3.1, RFC 3168 §6.1).
const (
	tcpFIN = 0x01
	tcpSYN = 0x02
	tcpRST = 0x04
	tcpPSH = 0x08
	tcpACK = 0x10
)

// parseSegment reads a TCP header; p is what the IP packet carries.
func parseSegment(p []byte) (s segment) {
	if len(p) < 20 {
		return s
	}
	head := int(p[12]>>4) * 4
	if head < 20 || head > len(p) {
		return s
	}
	s = segment{valid: true, flags: p[13], ports: binary.BigEndian.Uint32(p), seq: binary.BigEndian.Uint32(p[4:]), ack: binary.BigEndian.Uint32(p[8:]), payload: len(p) - head}
	s.end = s.seq + uint32(s.payload)
	if s.flags&(tcpSYN|tcpFIN) != 0 {
		s.end++
	}
	s.pure = s.flags&(tcpSYN|tcpFIN|tcpRST|tcpACK) == tcpACK && s.payload == 0
	o := p[20:head]
	timestamps := len(o) == 12 && o[0] == 1 && o[1] == 1 && o[2] == 8
	s.sack = len(o) > 0 && !timestamps
	return s
}

// waited tells whether somebody may wait for a small packet: for a TCP segment that says something or opens a connection. The
// answer to that and the end say nothing of what follows: bulk, most often.
func (s *segment) waited() bool {
	return !s.valid || s.payload > 0 || s.flags&(tcpSYN|tcpACK) == tcpSYN
}

// sameConnection tells whether two packets with segments belong together: the
// flows of a queue are hashes, which may collide.
func (s *segment) sameConnection(old *segment, p, q []byte) bool {
	if s.ports != old.ports || p[0]>>4 != q[0]>>4 {
		return false
	}
	if p[0]>>4 == 4 {
		return bytes.Equal(p[12:20], q[12:20])
	}
	return bytes.Equal(p[8:40], q[8:40])
}

// supersedes tells whether s, which came later, says all that old says, a pure
// acknowledgement that waits before it (RFC 3449 §5.2.1): it acknowledges more, or as much
// beside data, with which a program replied to what the kernel had just acknowledged. What senders count or wait for is kept: duplicate acknowledgements, which
// acknowledge the same (fast retransmit, RFC 5681 §3.2), selective ones, and
// every change of flags (ECN-Echo, RFC 3168 §6.1.3).
func (s *segment) supersedes(old *segment) bool {
	const same = ^uint8(tcpPSH)
	return old.pure && !old.sack && s.flags&tcpACK != 0 && s.flags&(tcpSYN|tcpRST) == 0 &&
		(s.flags^old.flags)&same&^tcpFIN == 0 && (int32(s.ack-old.ack) > 0 || s.ack == old.ack && s.payload > 0) && int32(s.seq-old.seq) >= 0
}

// repeats tells whether a segment is in one that waits before it: its host has
// sent it again because the link is slow, not because it was lost. p and q are
// the packets.
func (s *segment) repeats(old *segment, p, q []byte) bool {
	const same = ^uint8(tcpPSH)
	if !s.valid || !old.valid || s.end == s.seq || s.flags&tcpRST != 0 || (s.flags^old.flags)&same != 0 {
		return false
	}
	from := s.seq - old.seq
	if s.flags&tcpFIN != 0 && s.end != old.end || from > uint32(old.payload) || int(from)+s.payload > old.payload || s.flags&tcpSYN != 0 && from != 0 {
		return false
	}
	theirs := q[len(q)-old.payload:]
	return bytes.Equal(p[len(p)-s.payload:], theirs[from:][:s.payload])
}

// arrivals are the TCP segments that reached the hosts behind a peer last.
type arrivals struct {
	list [16]arrival
	next int
}

type arrival struct {
	at      time.Time // zero: there is none
	flow    uint32
	ports   uint32
	seq     uint32
	end     uint32
	ack     uint32 // the newest that arrived, with this segment or after it
	flags   uint8
	content uint32 // FNV-1a of the payload
}

// note takes a packet of a flow that has arrived.
func (l *arrivals) note(at time.Time, flow uint32, pkt *packet) {
	s := &pkt.segment
	if !s.valid {
		return
	}
	for i := range l.list {
		if a := &l.list[i]; a.flow == flow && a.ports == s.ports && int32(s.ack-a.ack) > 0 {
			a.ack = s.ack
		}
	}
	if s.end == s.seq {
		return
	}
	l.list[l.next] = arrival{at, flow, s.ports, s.seq, s.end, s.ack, s.flags, s.content(pkt.data)}
	l.next = (l.next + 1) % len(l.list)
}

// find is the newest of them that a packet of a flow repeats, or nil.
func (l *arrivals) find(flow uint32, pkt *packet) *arrival {
	s := &pkt.segment
	const same = ^uint8(tcpPSH)
	if s.end == s.seq || s.flags&tcpRST != 0 {
		return nil
	}
	for i := range l.list {
		a := &l.list[(l.next+2*len(l.list)-1-i)%len(l.list)]
		if !a.at.IsZero() && a.flow == flow && a.ports == s.ports && a.seq == s.seq && a.end == s.end && (a.flags^s.flags)&same == 0 && a.content == s.content(pkt.data) {
			return a
		}
	}
	return nil
}

// content is a hash of the payload of the packet p.
func (s *segment) content(p []byte) uint32 { return fnv(fnvBasis, p[len(p)-s.payload:]) }
