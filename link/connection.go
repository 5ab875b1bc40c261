package link

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// connection is a TCP connection whose beginning went through the link.
type connection struct {
	at    time.Time // it was last heard of
	first uint32    // of the octets that the host here sends
	opens bool      // none beyond its first window was seen

	here, there opening // what the two hosts began with
	edge        uint32  // the right edge of the window that the host here was told last, the highest one
	edged       bool    // there was one
}

// opening is what a host begins a connection with: its SYN.
type opening struct {
	seen   bool
	seq    uint32
	scaled bool // windows may be scaled (RFC 7323 §2.2), its own by …
	scale  uint8
	signed bool // segments are, header included (RFC 2385, RFC 5925): nobody else may change them
}

// connectionKey names a connection as the host here does: its address and port first.
type connectionKey struct {
	src, dst netip.Addr
	ports    uint32
}

// theirs is the key of a connection by a segment from the other host.
func theirs(h *ipHeader, s *segment) connectionKey {
	return connectionKey{h.dst, h.src, s.ports>>16 | s.ports<<16}
}

// maxConnections is of how many an Engine knows the beginning. Of more it forgets those that were silent for longest.
const maxConnections = 256

// connections are those whose beginning was seen.
type connections map[connectionKey]*connection

// begin takes the SYN of the host here, or of the other one.
func (l connections) begin(now time.Time, key connectionKey, here bool, h *ipHeader, s *segment) *connection {
	c := l[key]
	if c == nil {
		if len(l) >= maxConnections {
			oldest := key
			for k, c := range l {
				if oldest == key || c.at.Before(l[oldest].at) {
					oldest = k
				}
			}
			delete(l, oldest)
		}
		c = &connection{}
		l[key] = c
	}
	o := &c.there
	if here {
		o = &c.here
	}
	if s.flags&tcpACK == 0 && (!o.seen || o.seq != s.seq) {
		*c = connection{}
	}
	c.at = now
	*o = parseOpening(h.payload)
	o.seq = s.seq
	if here {
		c.first, c.opens = s.end, true
	}
	return c
}

// parseOpening reads the options of a SYN. Those that are not in order are left alone like signed ones.
func parseOpening(t []byte) (o opening) {
	o.seen = true
	for p := t[20 : int(t[12]>>4)*4]; len(p) > 0; {
		if p[0] == optionEnd {
			break
		}
		if p[0] == optionNop {
			p = p[1:]
			continue
		}
		if len(p) < 2 || p[1] < 2 || int(p[1]) > len(p) {
			o.signed = true
			break
		}
		switch p[0] {
		case optionScale:
			if o.scaled = p[1] == 3; o.scaled {
				o.scale = min(p[2], maxScale)
			}
		case optionMD5, optionAO:
			o.signed = true
		}
		p = p[p[1]:]
	}
	return o
}

// Options of TCP, and the most that RFC 7323 §2.3 lets a window be scaled by.
const (
	optionEnd   = 0
	optionNop   = 1
	optionScale = 3
	optionMD5   = 19
	optionAO    = 29

	maxScale = 14
)

// sent takes a segment of the host here. It tells whether that is of the first window of its connection (RFC 6928 §2),
// which a host sends before any signal can reach it, and whether a window keeps its host from sending more than it was told to.
func (l connections) sent(now time.Time, h *ipHeader, s *segment, mtu int) (early, bounded bool) {
	key := connectionKey{h.src, h.dst, s.ports}
	if s.flags&tcpSYN != 0 {
		l.begin(now, key, true, h, s)
		return true, false
	}
	c := l[key]
	if c == nil {
		return false, false
	}
	c.at = now
	c.opens = c.opens && s.end-c.first <= uint32(firstWindow(mtu-tcpipOctets))
	return c.opens, c.edged && int32(s.end-c.edge) <= 0
}

// firstWindow is the initial window of a host, in octets, RFC 6928 §2.
func firstWindow(mss int) int { return min(10*mss, max(2*mss, 14600)) }

const tcpipOctets = 40 // of an IPv4 header and one of TCP

// arrived takes a segment for the host here. If most is not 0 its window is lowered, so that beyond what it acknowledges
// no more than so many octets are sent; but a right edge that the host here was told once does not come back (RFC 9293 §3.8.6).
func (l connections) arrived(now time.Time, h *ipHeader, s *segment, most int) (lowered bool) {
	if s.flags&tcpSYN != 0 {
		c := l.begin(now, theirs(h, s), false, h, s)
		if s.flags&tcpACK != 0 {
			c.tell(s.ack + windowOf(h.payload)) // which is not scaled
		}
		return false
	}
	c := l[theirs(h, s)]
	if c == nil {
		return false
	}
	c.at = now
	if !c.here.seen || !c.there.seen || c.here.signed || c.there.signed || s.flags&(tcpRST|tcpACK) != tcpACK {
		return false
	}
	scale := uint8(0)
	if c.here.scaled && c.there.scaled {
		scale = c.there.scale
	}
	window := windowOf(h.payload)
	if most > 0 {
		edge := s.ack + uint32(most)
		if c.edged && int32(c.edge-edge) > 0 {
			edge = c.edge
		}
		// Rounded up: what acknowledgements advance by is not whole units of the window.
		if units := (uint64(edge-s.ack) + 1<<scale - 1) >> scale; units < uint64(window) {
			window, lowered = uint32(units), true
			replace(h.payload, 14, 16, uint16(window))
		}
	}
	c.tell(s.ack + window<<scale)
	return lowered
}

// tell notes the right edge of a window that the host here gets to know.
func (c *connection) tell(edge uint32) {
	if !c.edged || int32(edge-c.edge) > 0 {
		c.edge, c.edged = edge, true
	}
}

// windowOf is the window field of a segment.
func windowOf(t []byte) uint32 { return uint32(binary.BigEndian.Uint16(t[14:])) }

// replace changes 16 bits of what has an Internet checksum (RFC 1624: HC' = ~(~HC + ~m + m')), at one offset, that is at another.
func replace(p []byte, at, checksum int, by uint16) {
	sum := uint32(^binary.BigEndian.Uint16(p[checksum:])) + uint32(^binary.BigEndian.Uint16(p[at:])) + uint32(by)
	binary.BigEndian.PutUint16(p[at:], by)
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(p[checksum:], ^uint16(sum))
}

// underWay is how many octets of one TCP connection to p may be under way, 0 if that is not bounded: where bursts may last
// for seconds what fills a long one on the medium and one that waits, shared by the connections that wait. So
// slow start ends there and nothing has to be dropped to tell it, as every hole costs one or two bursts more until what is behind it
// reaches a program (Karandikar et al., TCP rate control, ACM CCR 30(1), 2000). While the path is worse it stays, as what waits does.
func (e *Engine) underWay(now time.Time, p *peer) int {
	if !e.cfg.Windows || !e.formed {
		return 0
	}
	sharing := 0
	for _, f := range p.flows {
		if f.waiting > urgentOctets {
			sharing++
		}
	}
	most := p.wide.keep(now, bound(e.rate(p), longsUnderWay*e.cfg.longBurst, e.cfg.QueueOctets/2))
	return max(most/max(1, sharing), leastUnderWay*e.cfg.MTU)
}

// longsUnderWay are as many long bursts: one on the medium, one that waits.
const longsUnderWay = 2

// leastUnderWay is how many packets a connection may have under way anyhow: one that is lost must show by three behind it
// (RFC 5681 §3.2).
const leastUnderWay = 4
