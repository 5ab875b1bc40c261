package link

import (
	"net/netip"
	"testing"
	"time"
)

// TestCoDelSparesTheFirstWindow: of a queue that stands everything but what a connection began with may be dropped.
func TestCoDelSparesTheFirstWindow(t *testing.T) {
	m := newMedium(t, testSeed)
	a, b := m.add("alpha", func(c *Config) { c.Queue = FQCoDel }), m.add("beta", nil)
	m.meet()
	e := a.engine
	m.run(10*time.Second, func() bool { return !e.current.active && e.access.asked == nil })
	p, now := e.peerNamed("beta"), m.now
	send := func(seq uint32, flags byte, payload int) *packet {
		t.Helper()
		if err := e.EnqueuePacket(now, tcpPacket(a.addr, b.addr, 7<<16|9, seq, 1, flags, false, 1, 1, nil, payload)); err != nil {
			t.Fatal(err)
		}
		for _, f := range p.flows {
			return f.packets[len(f.packets)-1]
		}
		return nil
	}
	// RFC 6928 §2: ten segments, and 14600 octets at most.
	first := ^uint32(1999) // they go round
	if got := send(first-1, tcpSYN|tcpACK, 0); !got.early {
		t.Error("the begin is not taken for early")
	}
	early := 0
	for i := range uint32(10) {
		if send(first+i*tcpMSS, tcpACK, tcpMSS).early {
			early++
		}
	}
	for i := range uint32(15) {
		if send(first+10*tcpMSS+150*(i+1), tcpACK, 150).early {
			t.Errorf("octet %d is taken for one of the first window", 10*tcpMSS+150*(i+1))
		}
	}
	if early != 10 {
		t.Errorf("%d segments of the first window, want 10", early)
	}
	through := 0
	for end := now.Add(10 * time.Minute); now.Before(end); now = now.Add(100 * time.Millisecond) {
		if pkt := e.nextPacket(now, p); pkt != nil && pkt.early {
			through++
			pkt.pending = pkt.pending.remove(0, pkt.size()) // it is sent
		}
	}
	if through != 1+early || e.stats.Queue.Dropped < 10 {
		t.Errorf("%d of %d early segments got through, %d others were dropped", through, 1+early, e.stats.Queue.Dropped)
	}
}

// TestConnections: the beginning of a connection is known once, and of so many at most; those that were silent longest are forgotten.
func TestConnections(t *testing.T) {
	l := connections{}
	now := time.Unix(1000, 0)
	h := &ipHeader{src: netip.MustParseAddr("10.0.0.1"), dst: netip.MustParseAddr("10.0.0.2")}
	made := func(ports, seq uint32, flags uint8, payload int) *segment {
		end := seq + uint32(payload)
		if flags&tcpSYN != 0 {
			end++
		}
		return &segment{valid: true, ports: ports, seq: seq, end: end, flags: flags, payload: payload}
	}
	const mtu = 1280
	most := firstWindow(mtu - tcpipOctets)
	for _, c := range []struct {
		name  string
		s     *segment
		early bool
	}{
		{"whose beginning was not seen", made(1, 11, tcpACK, 100), false},
		{"opens", made(1, 10, tcpSYN, 0), true},
		{"an acknowledgement", made(1, 11, tcpACK, 0), true},
		{"the last of the first window", made(1, 11+uint32(most)-100, tcpACK, 100), true},
		{"another connection", made(2, 11, tcpACK, 100), false},
		{"more", made(1, 11+uint32(most)-100, tcpACK, 101), false},
		{"the sequence numbers went round", made(1, 12, tcpACK, 100), false},
		{"the ports are used anew", made(1, 99, tcpSYN, 0), true},
		{"its data", made(1, 100, tcpACK, 100), true},
	} {
		if got := l.sent(now, h, c.s, mtu); got != c.early {
			t.Errorf("%s: early %v, want %v", c.name, got, c.early)
		}
	}
	for i := range uint32(2 * maxConnections) {
		now = now.Add(time.Second)
		l.sent(now, h, made(100+i, 10, tcpSYN, 0), mtu)
		l.sent(now, h, made(1, 200, tcpACK, 1), mtu)
	}
	if len(l) != maxConnections {
		t.Errorf("%d connections are kept, want %d", len(l), maxConnections)
	}
	if !l.sent(now, h, made(1, 201, tcpACK, 1), mtu) {
		t.Error("one that was never silent is forgotten")
	}
	for _, c := range []struct{ mss, want int }{{536, 5360}, {1240, 12400}, {1460, 14600}, {2920, 14600}, {8960, 17920}} {
		if got := firstWindow(c.mss); got != c.want {
			t.Errorf("first window of segments of %d octets: %d, want %d", c.mss, got, c.want)
		}
	}
}
