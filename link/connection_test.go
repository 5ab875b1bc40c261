package link

import (
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"testing"
	"time"

	"lightsong/phy"
)

// TestCoDelSparesTheFirstWindow: of a queue that stands everything but what a connection began with may be dropped.
func TestCoDelSparesTheFirstWindow(t *testing.T) {
	q := newStandingQueue(t)
	// RFC 6928 §2: ten segments, and 14600 octets at most.
	first := ^uint32(1999) // they go round
	if got := q.send(first-1, tcpSYN|tcpACK, 0); !got.early {
		t.Error("the begin is not taken for early")
	}
	early := 0
	for i := range uint32(10) {
		if q.send(first+i*tcpMSS, tcpACK, tcpMSS).early {
			early++
		}
	}
	for i := range uint32(15) {
		if q.send(first+10*tcpMSS+150*(i+1), tcpACK, 150).early {
			t.Errorf("octet %d is taken for one of the first window", 10*tcpMSS+150*(i+1))
		}
	}
	if early != 10 {
		t.Errorf("%d segments of the first window, want 10", early)
	}
	if through := q.drain(func(pkt *packet) bool { return pkt.early }); through != 1+early || q.stats.Queue.Dropped < 10 {
		t.Errorf("%d of %d early segments got through, %d others were dropped", through, 1+early, q.stats.Queue.Dropped)
	}
}

// rawSegment is a TCP segment without IP header, with its checksum as over nothing else.
func rawSegment(ports, seq, ack uint32, flags byte, window uint16, options []byte, payload int) []byte {
	t := make([]byte, 20+len(options)+payload)
	binary.BigEndian.PutUint32(t, ports)
	binary.BigEndian.PutUint32(t[4:], seq)
	binary.BigEndian.PutUint32(t[8:], ack)
	t[12], t[13] = byte((20+len(options))/4<<4), flags
	binary.BigEndian.PutUint16(t[14:], window)
	copy(t[20:], options)
	binary.BigEndian.PutUint16(t[16:], ^internetSum(0, t))
	return t
}

// talk is a connection as an Engine sees it pass.
type talk struct {
	l    connections
	now  time.Time
	away *ipHeader
	home *ipHeader
}

func newTalk() *talk {
	x, y := netip.MustParseAddr("fd73::1"), netip.MustParseAddr("fd73::2")
	return &talk{connections{}, time.Unix(1000, 0), &ipHeader{src: x, dst: y}, &ipHeader{src: y, dst: x}}
}

func (k *talk) sends(t []byte) (early, bounded bool) {
	k.away.payload = t
	s := parseSegment(t)
	return k.l.sent(k.now, k.away, &s, 1280)
}

func (k *talk) hears(t []byte, most int) (lowered bool) {
	k.home.payload = t
	s := parseSegment(t)
	return k.l.arrived(k.now, k.home, &s, most)
}

const (
	talkPorts   = 40000<<16 | 80
	talkAnswers = 80<<16 | 40000
)

var (
	scaleBy7  = []byte{2, 4, 4, 0xd8, 4, 2, 1, 1, 3, 3, 7, 1}
	unscaled  = []byte{2, 4, 4, 0xd8}
	signedMD5 = append([]byte{3, 3, 7, optionMD5, 18, 16: 0}, 0, 0, 0)
)

// TestConnections: the beginning of a connection is known once, and of so many at most; those that were silent longest are forgotten.
func TestConnections(t *testing.T) {
	k := newTalk()
	made := func(ports, seq uint32, flags byte, payload int) []byte {
		return rawSegment(ports, seq, 1, flags, 100, nil, payload)
	}
	most := uint32(firstWindow(1280 - tcpipOctets))
	for _, c := range []struct {
		name  string
		t     []byte
		early bool
	}{
		{"whose beginning was not seen", made(1, 11, tcpACK, 100), false},
		{"opens", made(1, 10, tcpSYN, 0), true},
		{"an acknowledgement", made(1, 11, tcpACK, 0), true},
		{"the last of the first window", made(1, 11+most-100, tcpACK, 100), true},
		{"another connection", made(2, 11, tcpACK, 100), false},
		{"more", made(1, 11+most-100, tcpACK, 101), false},
		{"the sequence numbers went round", made(1, 12, tcpACK, 100), false},
		{"the ports are used anew", made(1, 99, tcpSYN, 0), true},
		{"its data", made(1, 100, tcpACK, 100), true},
	} {
		if got, _ := k.sends(c.t); got != c.early {
			t.Errorf("%s: early %v, want %v", c.name, got, c.early)
		}
	}
	for i := range uint32(2 * maxConnections) {
		k.now = k.now.Add(time.Second)
		k.sends(made(100+i, 10, tcpSYN, 0))
		k.sends(made(1, 200, tcpACK, 1))
	}
	if len(k.l) != maxConnections {
		t.Errorf("%d connections are kept, want %d", len(k.l), maxConnections)
	}
	if early, _ := k.sends(made(1, 201, tcpACK, 1)); !early {
		t.Error("one that was never silent is forgotten")
	}
	for _, c := range []struct{ mss, want int }{{536, 5360}, {1240, 12400}, {1460, 14600}, {2920, 14600}, {8960, 17920}} {
		if got := firstWindow(c.mss); got != c.want {
			t.Errorf("first window of segments of %d octets: %d, want %d", c.mss, got, c.want)
		}
	}
}

// TestWindows: the window in what a host is told is what may be under way beyond the acknowledgement, never more than the other
// host has, and what it was told once does not come back; the checksum stays right.
func TestWindows(t *testing.T) {
	type step struct {
		ack    uint32
		window uint16 // as the other host says
		most   int
		want   uint16 // as the host here hears
	}
	first := ^uint32(9000) // sequence numbers go round
	begin := func(k *talk, mine, its []byte) {
		k.sends(rawSegment(talkPorts, first-1, 0, tcpSYN, 64240, mine, 0))
		k.hears(rawSegment(talkAnswers, 7, first, tcpSYN|tcpACK, 10000, its, 0), 1000)
	}
	for _, c := range []struct {
		name  string
		begin func(k *talk)
		steps []step
	}{
		{"scaled", func(k *talk) { begin(k, scaleBy7, scaleBy7) }, []step{
			{first, 500, 20000, 157},           // 20000 in units of 128, rounded up
			{first + 100, 500, 20000, 157},     // as much from there on
			{first + 100, 600, 10000, 157},     // less may be under way: the edge stays where it was …
			{first + 10100, 600, 10000, 79},    // … until what was acknowledged has come so far
			{first + 10100, 20, 10000, 20},     // the other host has less room, …
			{first + 10100, 0, 10000, 0},       // … and none
			{first + 20000, 0xffff, 0, 0xffff}, // not bounded any more
			{first + 30000, 0xffff, 20000, 65457},
		}},
		{"what the answer to SYN offered, which is not scaled, does not come back", func(k *talk) { begin(k, scaleBy7, scaleBy7) }, []step{
			{first, 500, 5000, 79},
			{first + 6000, 500, 5000, 40},
		}},
		{"windows that both did not offer to scale are not", func(k *talk) { begin(k, scaleBy7, unscaled) }, []step{
			{first, 60000, 20000, 20000},
			{first + 100, 60000, 30001, 30001},
		}},
		{"the other host opened the connection", func(k *talk) {
			k.hears(rawSegment(talkAnswers, 7, 0, tcpSYN, 64240, scaleBy7, 0), 1000)
			k.sends(rawSegment(talkPorts, first-1, 8, tcpSYN|tcpACK, 64240, scaleBy7, 0))
			k.sends(rawSegment(talkPorts, first-1, 8, tcpSYN|tcpACK, 64240, scaleBy7, 0)) // once more
			k.hears(rawSegment(talkAnswers, 7, 0, tcpSYN, 64240, scaleBy7, 0), 1000)
		}, []step{{first, 500, 20000, 157}}},
		{"only one SYN was seen", func(k *talk) {
			k.hears(rawSegment(talkAnswers, 7, first, tcpSYN|tcpACK, 64240, scaleBy7, 0), 1000)
		}, []step{{first, 500, 20000, 500}}},
		{"signed segments", func(k *talk) { begin(k, scaleBy7, signedMD5) }, []step{{first, 500, 20000, 500}}},
		{"options that are not in order", func(k *talk) { begin(k, []byte{3, 9, 7, 0}, scaleBy7) }, []step{{first, 500, 20000, 500}}},
		{"none", func(*talk) {}, []step{{first, 500, 20000, 500}}},
	} {
		k := newTalk()
		c.begin(k)
		for i, s := range c.steps {
			p := rawSegment(talkAnswers, 8, s.ack, tcpACK, s.window, []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}, 10)
			lowered := k.hears(p, s.most)
			if got := binary.BigEndian.Uint16(p[14:]); got != s.want || lowered != (s.want != s.window) {
				t.Errorf("%s, step %d: window %d, lowered %v, want %d", c.name, i, got, lowered, s.want)
			}
			if sum := internetSum(0, p); sum != 0xffff {
				t.Errorf("%s, step %d: the checksum is wrong: %#x", c.name, i, sum)
			}
		}
	}
}

// TestBounded: what a window allows is bounded by it, what is sent beyond is not.
func TestBounded(t *testing.T) {
	k := newTalk()
	const first = 100
	k.sends(rawSegment(talkPorts, first-1, 0, tcpSYN, 64240, scaleBy7, 0))
	data := func(seq uint32) []byte { return rawSegment(talkPorts, seq, 8, tcpACK, 64240, nil, 100) }
	if _, bounded := k.sends(data(first)); bounded {
		t.Error("no window is known, and it is bounded by one")
	}
	k.hears(rawSegment(talkAnswers, 7, first, tcpSYN|tcpACK, 10000, scaleBy7, 0), 20000)
	k.hears(rawSegment(talkAnswers, 8, first, tcpACK, 500, nil, 0), 20000)
	for seq, want := range map[uint32]bool{first: true, first + 157*128 - 100: true, first + 157*128 - 99: false} {
		if _, bounded := k.sends(data(seq)); bounded != want {
			t.Errorf("octets from %d on: bounded %v, want %v", seq, bounded, want)
		}
	}
	if lowered := k.hears(rawSegment(talkAnswers, 8, first, tcpRST|tcpACK, 500, nil, 0), 100); lowered {
		t.Error("the end of a connection was changed")
	}
	out, in := data(first), rawSegment(talkAnswers, 8, first, tcpACK, 500, nil, 0)
	if n := testing.AllocsPerRun(100, func() { k.sends(out); k.hears(in, 20000) }); n > 0 {
		t.Errorf("%v allocations a segment", n)
	}
}

// TestUnderWay: where bursts have forms two long ones may be under way to a station, shared by who has more to send, and as much while
// the path changes; elsewhere, and where that is switched off, there is no bound.
func TestUnderWay(t *testing.T) {
	e, p := formed(t)
	e.cfg.Windows, e.cfg.MTU, e.cfg.QueueOctets = true, 500, 256<<10
	e.modes = slices.Clone(e.modes)
	e.modes[4].NetBPS = 60e3
	now := time.Now()
	if got := e.underWay(now, p); got != leastQueue {
		t.Errorf("%d octets where no long bursts are wanted, want %d", got, leastQueue)
	}
	p.tx.want, p.tx.snr = 0, 20
	e.takeForms(p, &control{formed: true, forms: [phy.Forms]uint8{phy.Block: 4, phy.Long: 4, phy.Middle: 0}})
	two := int(e.modes[4].NetBPS / 8 * 2 * e.cfg.longBurst.Seconds())
	still := e.underWay(now, p)
	if math.Abs(float64(still-two)) > 1 {
		t.Errorf("%d octets, want those of two long bursts, %d", still, two)
	}
	for i, want := range []int{still, still / 2, still / 3} {
		for f := p.flow(uint32(i)); f.waiting <= urgentOctets; {
			p.queue(f, &packet{data: make([]byte, 200), pending: spans{{0, 200}}})
		}
		if got := e.underWay(now, p); math.Abs(float64(got-want)) > 1 {
			t.Errorf("%d octets for each of %d connections, want %d", got, i+1, want)
		}
	}
	for i := range 100 {
		for f := p.flow(uint32(10 + i)); f.waiting <= urgentOctets; {
			p.queue(f, &packet{data: make([]byte, 200), pending: spans{{0, 200}}})
		}
	}
	if got, want := e.underWay(now, p), 4*e.cfg.MTU; got != want {
		t.Errorf("%d octets for each of many, want %d", got, want)
	}
	clear(p.flows)
	p.forms[phy.Long].want, p.swings = 0, true
	if got := e.underWay(now.Add(holdFor-1), p); got != still {
		t.Errorf("%d octets while an end is moved, want %d", got, still)
	}
	e.cfg.Windows = false
	if got := e.underWay(now, p); got != 0 {
		t.Errorf("%d octets though it is switched off", got)
	}
}

// TestWindowsOnTheWay: a host is told of a window that is as wide as its station says, and what it sends within that CoDel spares.
func TestWindowsOnTheWay(t *testing.T) {
	for _, on := range []bool{true, false} {
		m := newMedium(t, testSeed)
		a := m.add("alpha", func(c *Config) { c.Queue, c.Windows = FQCoDel, on; withForms(c) })
		b := m.add("beta", withForms)
		m.meet()
		e := a.engine
		p := e.peerNamed("beta")
		window := uint16(0)
		a.deliver = func(pkt []byte) { window = binary.BigEndian.Uint16(pkt[34:]) }
		pass := func(from *node, t []byte) {
			to := b
			if from == b {
				to = a
			}
			pkt := make([]byte, 20+len(t))
			pkt[0], pkt[8], pkt[9] = 0x45, 64, protoTCP
			binary.BigEndian.PutUint16(pkt[2:], uint16(len(pkt)))
			copy(pkt[12:], from.addr.AsSlice())
			copy(pkt[16:], to.addr.AsSlice())
			binary.BigEndian.PutUint16(pkt[10:], ^internetSum(0, pkt[:20]))
			copy(pkt[20:], t)
			m.send(from, pkt)
			m.run(10*time.Second, nil)
		}
		pass(a, rawSegment(talkPorts, 99, 0, tcpSYN, 64240, scaleBy7, 0))
		pass(b, rawSegment(talkAnswers, 6, 100, tcpSYN|tcpACK, 10000, scaleBy7, 0))
		if window != 10000 {
			t.Errorf("the answer to SYN offers %d octets, want 10000", window)
		}
		p.forms[phy.Long].want = len(e.modes) - 1
		most := e.underWay(m.now, p)
		pass(b, rawSegment(talkAnswers, 7, 100, tcpACK, 0xffff, nil, 10))
		if want := uint16((most + 127) / 128); on && (most == 0 || window != want) || !on && window != 0xffff {
			t.Errorf("switched on %v: the host is told %d units of 128 octets, where %d octets may be under way", on, window, most)
		}
		now := m.now
		for _, c := range e.connections {
			c.opens = false // its first window is behind it
		}
		const size = 500
		for i := range uint32(10) {
			if err := e.EnqueuePacket(now, tcpPacket(a.addr, b.addr, talkPorts, 100+size*i, 17, tcpACK, false, 1, 1, nil, size)); err != nil {
				t.Fatal(err)
			}
		}
		for end := now.Add(10 * time.Minute); now.Before(end); now = now.Add(100 * time.Millisecond) {
			p.forms[phy.Long].want = len(e.modes) - 1
			e.nextPacket(now, p)
		}
		if dropped := e.stats.Queue.Dropped; on != (dropped == 0) {
			t.Errorf("switched on %v: %d packets of what a window allows were dropped", on, dropped)
		}
	}
}
