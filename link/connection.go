package link

import (
	"net/netip"
	"time"
)

// connection is a TCP connection whose beginning went through the link.
type connection struct {
	at    time.Time // it was last heard of
	first uint32    // of the octets that the host here sends
	opens bool      // none beyond its first window was seen
}

// connectionKey names a connection as the host here does: its address and port first.
type connectionKey struct {
	src, dst netip.Addr
	ports    uint32
}

// maxConnections is of how many an Engine knows the beginning. Of more it forgets those that were silent for longest.
const maxConnections = 256

// connections are those whose beginning was seen.
type connections map[connectionKey]*connection

// open enters a connection, or finds it.
func (l connections) open(now time.Time, key connectionKey) *connection {
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
	c.at = now
	return c
}

// sent takes a segment of the host here. It tells whether that is of the first window of its connection (RFC 6928 §2),
// which a host sends before any signal can reach it.
func (l connections) sent(now time.Time, h *ipHeader, s *segment, mtu int) (early bool) {
	key := connectionKey{h.src, h.dst, s.ports}
	if s.flags&tcpSYN != 0 {
		c := l.open(now, key)
		c.first, c.opens = s.end, true
		return true
	}
	c := l[key]
	if c == nil {
		return false
	}
	c.at = now
	c.opens = c.opens && s.end-c.first <= uint32(firstWindow(mtu-tcpipOctets))
	return c.opens
}

// firstWindow is the initial window of a host, in octets, RFC 6928 §2.
func firstWindow(mss int) int { return min(10*mss, max(2*mss, 14600)) }

const tcpipOctets = 40 // of an IPv4 header and one of TCP
