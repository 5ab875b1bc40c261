package link

import (
	"encoding/binary"
	"net/netip"
	"time"

	"lightsong/link/header"
)

// Protocol numbers of IANA that decide about flows and persistence.
const (
	protoHopByHop = 0
	protoICMP     = 1
	protoTCP      = 6
	protoUDP      = 17
	protoRouting  = 43
	protoFragment = 44
	protoICMPv6   = 58
	protoDestOpts = 60
	protoUDPLite  = 136
	protoDCCP     = 33
	protoSCTP     = 132
)

// ipHeader is what the link needs to know of an IP packet.
type ipHeader struct {
	src, dst netip.Addr
	proto    uint8
	flow     uint32 // hash of addresses, protocol and ports or ICMP identifier
	payload  []byte // behind the IP header; nil of a fragment
}

// parseIP reads the header of an IPv4 or IPv6 packet; ok is false when p is
// neither or is shorter than it says.
func parseIP(p []byte) (h ipHeader, ok bool) {
	if len(p) < 1 {
		return h, false
	}
	switch p[0] >> 4 {
	case 4:
		if len(p) < 20 {
			return h, false
		}
		head, total := int(p[0]&15)*4, int(binary.BigEndian.Uint16(p[2:]))
		if head < 20 || total < head || total > len(p) {
			return h, false
		}
		h.src, h.dst = netip.AddrFrom4([4]byte(p[12:16])), netip.AddrFrom4([4]byte(p[16:20]))
		h.proto = p[9]
		if binary.BigEndian.Uint16(p[6:])&0x3fff == 0 { // no fragment: it has ports
			h.payload = p[head:total]
		}
	case 6:
		if len(p) < 40 || 40+int(binary.BigEndian.Uint16(p[4:])) > len(p) {
			return h, false
		}
		h.src, h.dst = netip.AddrFrom16([16]byte(p[8:24])), netip.AddrFrom16([16]byte(p[24:40]))
		h.proto, h.payload = skipExtensions(p[6], p[40:])
	default:
		return h, false
	}
	h.flow = flowHash(p, h.proto, h.payload)
	return h, true
}

// skipExtensions walks the IPv6 extension headers (RFC 8200 §4) to the upper
// layer. A fragment has no payload that tells ports.
func skipExtensions(proto uint8, p []byte) (uint8, []byte) {
	for {
		switch proto {
		case protoHopByHop, protoRouting, protoDestOpts:
			if len(p) < 8 || len(p) < 8+8*int(p[1]) {
				return proto, nil
			}
			proto, p = p[0], p[8+8*int(p[1]):]
		case protoFragment:
			if len(p) > 0 {
				proto = p[0]
			}
			return proto, nil
		default:
			return proto, p
		}
	}
}

// flowHash is FNV-1a over what names a flow.
func flowHash(p []byte, proto uint8, payload []byte) uint32 {
	h := fnv(fnvBasis, []byte{p[0] >> 4, proto})
	if p[0]>>4 == 4 {
		h = fnv(h, p[12:20])
	} else {
		h = fnv(h, p[8:40])
	}
	switch proto {
	case protoTCP, protoUDP, protoUDPLite, protoDCCP, protoSCTP:
		if len(payload) >= 4 {
			h = fnv(h, payload[:4])
		}
	case protoICMP, protoICMPv6:
		if len(payload) >= 6 {
			h = fnv(h, payload[:1])
			h = fnv(h, payload[4:6])
		}
	}
	return h
}

const (
	fnvBasis = 2166136261
	fnvPrime = 16777619
)

func fnv(h uint32, p []byte) uint32 {
	for _, b := range p {
		h = (h ^ uint32(b)) * fnvPrime
	}
	return h
}

// Persistence (RFC 3366 §2): TCP repeats by itself only after long, everything
// else would rather lose a packet than wait. Times count from the first
// transmission, waits from EnqueuePacket.
const (
	persistTCP   = 30 * time.Second
	persistOther = 10 * time.Second
	minTries     = 6 // that failed, before persistence ends: a medium that is taken is no reason to give up
	persistMost  = 2 // times as long, however few tries there were
	waitTCP      = 60 * time.Second
	waitOther    = 30 * time.Second
	waitUnknown  = 30 * time.Second // for a station that is not known
)

// packet is one on its way out.
type packet struct {
	data    []byte // nil for a void
	wire    []byte // what is sent for it, once it is numbered: its header is compressed then
	ref     header.Ref
	expect  int // octets of wire, before it is there
	flow    *flow
	tcp     bool
	segment segment // with tcp
	refs    int     // who else holds it: the list of those alive, pieces, its successor or flow
	serial  uint64  // order of arrival
	judged  time.Time
	again   bool // a segment that its host had sent before
	early   bool // one of those with which its host began
	bounded bool // a window keeps its host from sending more

	born   time.Time // EnqueuePacket
	asked  time.Time // its host sent it once more, while it was here; zero: it did not
	first  time.Time // first transmission; zero before
	tries  int       // bursts in which a part of it failed
	failed uint8     // number of the last of them

	numbered bool // seq and pred are set
	seq      uint16
	pred     *packet // of the same flow, nil when that is with the host there
	pending  spans   // octets to be sent, for the first time or again
	acked    spans
	done     bool // acknowledged whole, or dropped before it was numbered
	void     bool // given up: only its number has to be acknowledged
}

// size in octets for the purposes of pending and acked; a void has one that is not
// on the medium. Before a packet is numbered it is an estimate.
func (p *packet) size() int {
	if p.numbered {
		return max(1, len(p.wire))
	}
	return max(1, p.expect)
}

// predecessor is the packet of the same flow that the receiver must have dealt
// with first, or nil. A packet that is acknowledged but waits there for its own
// predecessor is one.
func (l *pool) predecessor(p *packet) *packet {
	if q := p.pred; q != nil && q.done && l.predecessor(q) == nil {
		p.pred = nil
		l.drop(q)
	}
	return p.pred
}

// held reports whether a packet for a station that is gone since a time still waits for it. What a host says once more
// is as young as that: it goes without, and waits for its timer.
func (p *packet) held(now, downAt time.Time) bool {
	since := later(p.born, p.asked)
	if p.tcp { // its host would take long to say all that was under way again
		since = later(since, downAt)
	}
	return now.Sub(since) < holdFor
}

// expired reports whether persistence ends at now.
func (p *packet) expired(now time.Time) bool {
	wait, persist := waitOther, persistOther
	if p.tcp {
		wait, persist = waitTCP, persistTCP
	}
	if p.first.IsZero() {
		return now.Sub(later(p.born, p.asked)) >= wait
	}
	age := now.Sub(p.first)
	return age >= persistMost*persist || age >= persist && p.tries >= minTries
}
