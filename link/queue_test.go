package link

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"lightsong/link/header"
	"lightsong/phy"
)

// load is what a saturated link does.
type load struct {
	bps      float64 // of TCP's payload that arrived
	pings    int
	p50, p95 time.Duration // round trip
	lost     int           // pings without an answer
	repeated int           // segments of TCP
	stats    Stats
}

func (l load) String() string {
	return fmt.Sprintf("TCP %.1f kb/s, %d of its segments repeated; %d pings: median %.2f s, p95 %.2f s, %d lost; queue %+v, %d full", l.bps/1000, l.repeated,
		l.pings, l.p50.Seconds(), l.p95.Seconds(), l.lost, l.stats.Queue, l.stats.Packets.Dropped.QueueFull)
}

// channel is a link whose only mode has a rate, and whose modem takes a time for
// a burst without content.
type channel struct {
	bps    float64
	duplex bool
	cost   time.Duration
}

func (c channel) String() string {
	kind := "half duplex"
	if c.duplex {
		kind = "full duplex"
	}
	return fmt.Sprintf("%.0f kb/s %s", c.bps/1000, kind)
}

// channels are two modes of the cable profile, with buffers of 10 ms.
var channels = []channel{
	{10000, false, 250 * time.Millisecond},
	{10000, true, 250 * time.Millisecond},
	{50000, false, 55 * time.Millisecond},
	{50000, true, 55 * time.Millisecond},
}

// saturate runs TCP connections one way for d, and a ping every second.
func saturate(t testing.TB, c channel, q Discipline, ecn bool, flows int, ping bool, d time.Duration) load {
	t.Helper()
	m := newMedium(t, testSeed)
	m.duplex, m.cost, m.latency = c.duplex, c.cost, 10*time.Millisecond
	m.table = []phy.Mode{{MCS: 0, NetBPS: c.bps, SNRdB: 0, FrameOctets: 512}}
	discipline := func(c *Config) { c.Queue = q }
	a, b := m.add("alpha", discipline), m.add("beta", discipline)
	m.meet()
	senders, receivers := map[uint16]*tcpSender{}, map[uint16]*tcpReceiver{}
	g := &pinger{m: m, from: a, to: b}
	a.deliver = func(p []byte) {
		switch p[9] {
		case protoTCP:
			senders[uint16(p[22])<<8|uint16(p[23])].receive(p[20:])
		case protoICMP:
			g.receive(p)
		}
	}
	b.deliver = func(p []byte) {
		switch p[9] {
		case protoTCP:
			receivers[uint16(p[20])<<8|uint16(p[21])].receive(p)
		case protoICMP:
			m.echo(b, p)
		}
	}
	for i := range flows {
		port := uint16(4000 + i)
		s := m.newSender(a, b, port, ecn)
		senders[port], receivers[port] = s, m.newReceiver(b, a, port)
		m.after(time.Duration(i)*300*time.Millisecond, func() { s.push(); s.arm() })
	}
	octets := func() (n int) {
		for _, r := range receivers {
			n += r.octets
		}
		return n
	}
	m.run(20*time.Second, nil)
	start := octets()
	if ping {
		for i := range int(d / time.Second) {
			m.after(time.Duration(i)*time.Second+time.Duration(m.random.IntN(1000))*time.Millisecond, g.send)
		}
	}
	m.run(d, nil)
	l := load{bps: float64(octets()-start) * 8 / d.Seconds(), pings: len(g.sent), stats: a.engine.Stats()}
	m.run(20*time.Second, nil)
	for i, r := range g.rtts {
		if r < 0 {
			l.lost++
			g.rtts[i] = m.now.Sub(g.sent[i])
		}
	}
	for _, s := range senders {
		l.repeated += s.repeated
	}
	if slices.Sort(g.rtts); ping {
		l.p50, l.p95 = g.rtts[len(g.rtts)/2], g.rtts[len(g.rtts)*95/100]
	}
	return l
}

// TestPingUnderLoad: a ping beside saturating TCP waits for the burst under way and
// the one that carries it, not for the queue. The bound is what medium access
// needs: two bursts (a request may have to wait for the end of one and share the
// next), a report that the answer has to wait for, the answer's burst and
// turnarounds. On the half-duplex medium an
// exchange that has lasted for its time ends with a bare acknowledgement, and the
// answer to the ping has to wait for the next: three bursts.
func TestPingUnderLoad(t *testing.T) {
	d, less := 4*time.Minute, time.Duration(3)
	if testing.Short() {
		d, less = 2*time.Minute, 2 // FIFO's queue has hardly filled up
	}
	for _, c := range channels {
		for _, flows := range []int{1, 4} {
			fifo := saturate(t, c, FIFO, false, flows, true, d)
			t.Logf("%v, %d flows, FIFO: %v", c, flows, fifo)
			for _, ecn := range []bool{false, true} {
				got := saturate(t, c, FQCoDel, ecn, flows, true, d)
				t.Logf("%v, %d flows, FQ-CoDel, ECN %v: %v", c, flows, ecn, got)
				const turn = 40 * time.Millisecond
				answer := c.cost + time.Duration(100*8/c.bps*float64(time.Second))
				var limit time.Duration
				if c.duplex {
					burst := max(duplexLeast*c.cost, min(duplexShort*c.cost, 500*time.Millisecond))
					limit = 2*burst + c.cost + answer + 2*turn
				} else {
					burst := min(interactiveCosts*(2*c.cost+2*turn), max(slowBurst, 2*c.cost+2*turn))
					limit = 3 * (burst + 2*turn + answer)
				}
				if got.p95 > limit || got.lost > 0 || got.p95 > fifo.p95/less {
					t.Errorf("%v, %d flows, ECN %v: p95 %v with %d lost, want at most %v and 1/%d of FIFO's %v", c, flows, ecn, got.p95, got.lost, limit, less, fifo.p95)
				}
				if ecn && (got.stats.Queue.Marked == 0 || got.stats.Queue.Dropped > 0) {
					t.Errorf("%v: %d marks and %d drops of flows with ECN", c, got.stats.Queue.Marked, got.stats.Queue.Dropped)
				}
				if !ecn && flows > 1 && got.stats.Queue.Dropped == 0 {
					t.Errorf("%v: CoDel dropped nothing", c)
				}
			}
		}
	}
}

// TestGoodputAgainstFIFO: without a ping, what the queue drops and marks costs TCP
// no more than 5 % of what it has with a FIFO. What waits behind a hole at the end
// counts for less than that: on the slow channels that takes some minutes.
func TestGoodputAgainstFIFO(t *testing.T) {
	tested := channels
	if testing.Short() {
		tested = channels[3:]
	}
	for _, c := range tested {
		d := 4 * time.Minute
		if c.bps < 20000 {
			d *= 2
		}
		for _, flows := range []int{1, 4} {
			fifo := saturate(t, c, FIFO, false, flows, false, d)
			for _, ecn := range []bool{false, true} {
				got := saturate(t, c, FQCoDel, ecn, flows, false, d)
				t.Logf("%v, %d flows, ECN %v: %.1f kb/s, FIFO %.1f", c, flows, ecn, got.bps/1000, fifo.bps/1000)
				if got.bps < 0.95*fifo.bps {
					t.Errorf("%v, %d flows, ECN %v: %.1f kb/s, with FIFO %.1f", c, flows, ecn, got.bps/1000, fifo.bps/1000)
				}
			}
		}
	}
}

// TestCoDel holds the control law against RFC 8289 §5: nothing within an interval,
// then signals that come as the square root says, none any longer when the wait
// falls below target; and soon again if it rises again.
func TestCoDel(t *testing.T) {
	p := pace{target: 100 * time.Millisecond, interval: time.Second, grace: time.Second}
	start := time.Unix(0, 0)
	var c codel
	var at []float64
	run := func(from, to int, waited time.Duration, backlog int) {
		at = at[:0]
		for ms := from; ms < to; ms += 10 {
			now := start.Add(time.Duration(ms) * time.Millisecond)
			if c.signal(now, waited, backlog, 1500, p) {
				at = append(at, now.Sub(start).Seconds())
			}
		}
	}
	run(0, 10000, 99*time.Millisecond, 9000)
	if len(at) > 0 {
		t.Errorf("signals below target at %v", at)
	}
	if run(10000, 20000, time.Second, 1500); len(at) > 0 {
		t.Errorf("signals with one packet waiting at %v", at)
	}
	run(20000, 30000, 200*time.Millisecond, 9000)
	want, n := []float64{21}, 1.0
	for next := 22.0; next < 30; next += 1 / math.Sqrt(n) {
		want = append(want, next)
		n++
	}
	if len(at) != len(want) {
		t.Fatalf("signals at %.2f, want %.2f", at, want)
	}
	for i := range at {
		if math.Abs(at[i]-want[i]) > 0.0101 {
			t.Errorf("signal %d at %.2f, want %.2f", i, at[i], want[i])
		}
	}
	if run(30000, 31000, 50*time.Millisecond, 9000); len(at) > 0 {
		t.Errorf("signals below target at %v", at)
	}
	run(31000, 34000, 200*time.Millisecond, 9000)
	if len(at) < 5 || at[0] != 32 {
		t.Errorf("dropping goes on with signals at %v", at)
	}
}

// TestWaited: for what of TCP somebody may wait.
func TestWaited(t *testing.T) {
	for _, tt := range []struct {
		name    string
		flags   byte
		payload int
		want    bool
	}{
		{"opens", tcpSYN, 0, true},
		{"answers that", tcpSYN | tcpACK, 0, false},
		{"acknowledges", tcpACK, 0, false},
		{"says something", tcpACK | tcpPSH, 1, true},
		{"ends", tcpACK | tcpFIN, 0, false},
		{"says something and ends", tcpACK | tcpFIN, 1, true},
	} {
		p := make([]byte, 20+tt.payload)
		p[12], p[13] = 5<<4, tt.flags
		if s := parseSegment(p); s.waited() != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, s.waited(), tt.want)
		}
	}
	if !new(segment).waited() {
		t.Error("nobody waits for what is not TCP")
	}
}

// standingQueue is that of one TCP connection from an Engine with FQ-CoDel to a peer, to which nothing is sent.
type standingQueue struct {
	*Engine
	t        *testing.T
	to       *peer
	at       time.Time
	src, dst netip.Addr
}

func newStandingQueue(t *testing.T) *standingQueue {
	m := newMedium(t, testSeed)
	a, b := m.add("alpha", func(c *Config) { c.Queue = FQCoDel }), m.add("beta", nil)
	m.meet()
	m.run(10*time.Second, func() bool { return !a.engine.current.active && a.engine.access.asked == nil })
	return &standingQueue{a.engine, t, a.engine.peerNamed("beta"), m.now, a.addr, b.addr}
}

// send queues a segment.
func (q *standingQueue) send(seq uint32, flags byte, payload int) *packet {
	q.t.Helper()
	if err := q.EnqueuePacket(q.at, tcpPacket(q.src, q.dst, 7<<16|9, seq, 1, flags, false, 1, 1, nil, payload)); err != nil {
		q.t.Fatal(err)
	}
	for _, f := range q.to.flows {
		return f.packets[len(f.packets)-1]
	}
	return nil
}

// drain takes packets for ten minutes and counts those that are sent, which are some.
func (q *standingQueue) drain(some func(*packet) bool) (n int) {
	for end := q.at.Add(10 * time.Minute); q.at.Before(end); q.at = q.at.Add(100 * time.Millisecond) {
		if pkt := q.nextPacket(q.at, q.to); pkt != nil && some(pkt) {
			n++
			pkt.pending = pkt.pending.remove(0, pkt.size())
		}
	}
	return n
}

// TestCoDelSparesRepetitions: of a queue that stands everything but what TCP had sent before may be dropped.
func TestCoDelSparesRepetitions(t *testing.T) {
	q := newStandingQueue(t)
	const size = 500
	for _, c := range []struct {
		name  string
		seq   uint32
		flags byte
		size  int
		again bool
	}{
		{"the first", 1 << 31, tcpACK, size, false},
		{"the next but one: one was dropped", 1<<31 + 2*size, tcpACK, size, false},
		{"that one", 1<<31 + size, tcpACK, size, true},
		{"what follows", 1<<31 + 3*size, tcpACK, size, false},
		{"more than was sent", 1<<31 + 3*size + 1, tcpACK, size, false},
		{"no data", 1 << 31, tcpACK, 0, false},
		{"a new connection", 1, tcpSYN, 0, false},
		{"its data, but for what was dropped", 2 + size, tcpACK, size, false},
		{"that", 2, tcpACK, size, true},
	} {
		if got := q.send(c.seq, c.flags, c.size); got.again != c.again {
			t.Errorf("%s: sent before %v, want %v", c.name, got.again, c.again)
		}
	}
	clear(q.connections) // as one that is old: its first window would be spared, too
	for _, f := range q.to.flows {
		for _, pkt := range f.packets {
			pkt.early = false
		}
	}
	for i := range uint32(20) {
		q.send(2+size*(i+2), tcpACK, size)
	}
	if repeated := q.drain(func(pkt *packet) bool { return pkt.again }); repeated != 2 || q.stats.Queue.Dropped < 10 {
		t.Errorf("%d of 2 repetitions got through, %d others were dropped", repeated, q.stats.Queue.Dropped)
	}
}

// TestMarkCE: the mark is one bit or two, and the IPv4 checksum stays right.
func TestMarkCE(t *testing.T) {
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	r := rand.New(rand.NewPCG(testSeed, 20))
	for range 1000 {
		p := udp(a, b, uint16(r.Uint32()), r.IntN(1000), 60)
		p[1], p[8] = byte(r.Uint32()), byte(r.Uint32())
		p[10], p[11] = 0, 0
		sum := ^internetSum(0, p[:20])
		p[10], p[11] = byte(sum>>8), byte(sum)
		before := bytes.Clone(p)
		if ok := markCE(p); ok != (before[1]&3 != 0) || !ok && !bytes.Equal(p, before) {
			t.Fatalf("%x: %v", before, ok)
		} else if ok && (p[1] != before[1]|3 || internetSum(0, p[:20]) != 0xffff) {
			t.Fatalf("seed %d: %x became %x", testSeed, before[:20], p[:20])
		}
		v6 := append([]byte{0x60 | byte(r.IntN(16)), byte(r.Uint32())}, make([]byte, 38)...)
		before = bytes.Clone(v6)
		if ok := markCE(v6); ok != (before[1]&0x30 != 0) || v6[0] != before[0] || ok && v6[1] != before[1]|0x30 || !ok && v6[1] != before[1] {
			t.Fatalf("%x became %x: %v", before[:2], v6[:2], ok)
		}
	}
}

// TestThin: which segments make others that wait needless.
func TestThin(t *testing.T) {
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	seg := func(seq, ack uint32, flags byte, blocks, payload int) []byte {
		return tcpPacket(a, b, 7<<16|9, seq, ack, flags, false, 1, 1, make([][2]uint32, blocks), payload)
	}
	for _, c := range []struct {
		name string
		in   [][]byte
		want []int // indices of those that remain
	}{
		{"acknowledgements: the newest", [][]byte{seg(1, 10, tcpACK, 0, 0), seg(1, 20, tcpACK, 0, 0), seg(1, 30, tcpACK, 0, 0)}, []int{2}},
		{"data acknowledges too", [][]byte{seg(1, 10, tcpACK, 0, 0), seg(1, 20, tcpACK|tcpPSH, 0, 100)}, []int{1}},
		{"duplicates are counted", [][]byte{seg(1, 10, tcpACK, 0, 0), seg(1, 10, tcpACK, 0, 0), seg(1, 10, tcpACK, 0, 0)}, []int{0, 1, 2}},
		{"selective ones are kept", [][]byte{seg(1, 10, tcpACK, 1, 0), seg(1, 20, tcpACK, 2, 0), seg(1, 30, tcpACK, 0, 0)}, []int{0, 1, 2}},
		{"but not what they acknowledge", [][]byte{seg(1, 10, tcpACK, 0, 0), seg(1, 20, tcpACK, 2, 0)}, []int{1}},
		{"ECN-Echo begins", [][]byte{seg(1, 10, tcpACK, 0, 0), seg(1, 20, tcpACK|tcpECE, 0, 0), seg(1, 30, tcpACK, 0, 0)}, []int{1, 2}},
		{"within ECN-Echo", [][]byte{seg(1, 10, tcpACK|tcpECE, 0, 0), seg(1, 20, tcpACK|tcpECE, 0, 0)}, []int{1}},
		{"an older acknowledgement", [][]byte{seg(1, 20, tcpACK, 0, 0), seg(1, 10, tcpACK, 0, 0)}, []int{0, 1}},
		{"reset", [][]byte{seg(1, 10, tcpACK, 0, 0), seg(1, 20, tcpACK|tcpRST, 0, 0)}, []int{0, 1}},
		{"keep-alive", [][]byte{seg(1, 10, tcpACK, 0, 100), seg(100, 10, tcpACK, 0, 0)}, []int{0, 1}},
		{"repeated", [][]byte{seg(1, 10, tcpACK, 0, 100), seg(101, 10, tcpACK, 0, 100), seg(1, 10, tcpACK, 0, 100)}, []int{0, 1}},
		{"repeated in part", [][]byte{seg(1, 10, tcpACK, 0, 100), seg(51, 10, tcpACK, 0, 50)}, []int{0}},
		{"repeated with more", [][]byte{seg(1, 10, tcpACK, 0, 100), seg(1, 10, tcpACK, 0, 101)}, []int{0, 1}},
		{"repeated with news", [][]byte{seg(1, 10, tcpACK, 0, 100), seg(101, 10, tcpACK, 0, 9), seg(1, 20, tcpACK, 0, 100)}, []int{2, 1}},
		{"repeated in part with news", [][]byte{seg(1, 10, tcpACK, 0, 100), seg(51, 20, tcpACK, 0, 50)}, []int{0, 1}},
		{"SYN", [][]byte{seg(1, 0, tcpSYN, 0, 0), seg(1, 0, tcpSYN, 0, 0), seg(2, 0, tcpSYN, 0, 0)}, []int{0, 2}},
		{"FIN", [][]byte{seg(1, 10, tcpACK|tcpFIN, 0, 5), seg(1, 10, tcpACK|tcpFIN, 0, 5), seg(6, 10, tcpACK|tcpFIN, 0, 0)}, []int{0}},
	} {
		m := newMedium(t, testSeed)
		x := m.add("alpha", func(c *Config) { c.Queue = FQCoDel })
		y := m.add("beta", nil)
		m.meet()
		x.engine.current.active = true // nothing is sent while they come
		for _, p := range c.in {
			if err := x.engine.EnqueuePacket(m.now, p); err != nil {
				t.Fatal(err)
			}
		}
		x.engine.current.active = false
		m.settle(x)
		m.run(30*time.Second, func() bool { return x.engine.Stats().Queue.Packets == 0 })
		var want [][]byte
		for _, i := range c.want {
			want = append(want, c.in[i])
		}
		if !slices.EqualFunc(y.got, want, bytes.Equal) {
			t.Errorf("%s: %d packets arrived, want %v", c.name, len(y.got), c.want)
		}
		s := x.engine.Stats()
		if n := int(s.Queue.Thinned + s.Queue.Repeated); n != len(c.in)-len(c.want) || s.Queue.Octets != 0 {
			t.Errorf("%s: %+v", c.name, s.Queue)
		}
	}
}

// TestThinCollision: connections whose hashes collide leave each other alone.
func TestThinCollision(t *testing.T) {
	m := newMedium(t, testSeed)
	a, b := m.add("alpha", nil), m.add("beta", nil)
	m.meet()
	e, p := a.engine, a.engine.peers[0]
	for i, pkt := range [][]byte{
		tcpPacket(a.addr, b.addr, 7<<16|9, 1, 10, tcpACK, false, 1, 1, nil, 0),
		tcpPacket(a.addr, b.addr, 8<<16|9, 1, 20, tcpACK, false, 1, 1, nil, 0),
		tcpPacket(b.addr, a.addr, 7<<16|9, 1, 30, tcpACK, false, 1, 1, nil, 0),
		tcpPacket(a.addr, b.addr, 7<<16|9, 1, 40, tcpACK, false, 1, 1, nil, 0), // this one supersedes the first
	} {
		h, _ := parseIP(pkt)
		h.flow = 1
		e.enqueue(m.now, p, &h, &packet{data: pkt, tcp: true, born: m.now})
		if got, want := len(p.flows[1].packets), []int{1, 2, 3, 3}[i]; got != want {
			t.Errorf("%d packets wait after %d, want %d", got, i+1, want)
		}
	}
}

// TestBulkBeginsSmall: nobody waits any longer for what a flow began with once there is bulk behind it, as an upload
// behind its SYN; that of another flow says nothing of what somebody waits for.
func TestBulkBeginsSmall(t *testing.T) {
	for _, tt := range []struct {
		name string
		port uint32
		want bool
	}{{"the same flow", 7, false}, {"another", 8, true}} {
		m := newMedium(t, testSeed)
		a, b := m.add("alpha", nil), m.add("beta", nil)
		m.meet()
		e, p := a.engine, a.engine.peers[0]
		e.current.active = true // nothing is sent meanwhile
		send := func(port, seq uint32, flags byte, payload int) {
			if err := e.EnqueuePacket(m.now, tcpPacket(a.addr, b.addr, port<<16|9, seq, 1, flags, false, 1, 1, nil, payload)); err != nil {
				t.Fatal(err)
			}
		}
		if send(7, 1, tcpSYN, 0); !e.inInteraction(m.now, p) {
			t.Error("nobody waits for a SYN")
		}
		send(tt.port, 2, tcpACK, 1200)
		if got := e.inInteraction(m.now, p); got != tt.want {
			t.Errorf("bulk of %s: somebody waits: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestRepeatedOnTheWay: a segment that its host repeats while the link still
// carries it is not sent again.
func TestRepeatedOnTheWay(t *testing.T) {
	m := newMedium(t, testSeed)
	a, b := m.add("alpha", nil), m.add("beta", nil)
	m.meet()
	pkt := ipv4(protoTCP, a.addr, b.addr, 1, 1, 500)
	for range 3 {
		m.send(a, pkt)
		m.run(200*time.Millisecond, nil)
	}
	m.run(20*time.Second, nil)
	if len(b.got) != 1 || a.engine.Stats().Queue.Repeated != 2 {
		t.Errorf("%d packets arrived: %s", len(b.got), summary(a))
	}
}

// TestFullQueue: a full queue drops from the flow that fills it; a ping gets
// through, and what is kept is bounded by the airtime that it needs.
func TestFullQueue(t *testing.T) {
	m := newMedium(t, testSeed)
	a, b := m.add("alpha", func(c *Config) { c.Queue = FQCoDel }), m.add("beta", nil)
	m.meet()
	a.engine.current.active = true
	for i := range 200 {
		if err := a.engine.EnqueuePacket(m.now, udp(a.addr, b.addr, 80, i, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	ping := udp(a.addr, b.addr, 7, 0, 64)
	if err := a.engine.EnqueuePacket(m.now, ping); err != nil {
		t.Fatal(err)
	}
	a.engine.current.active = false
	s := a.engine.Stats()
	if s.Peers[0].Queue.Octets > leastQueue || s.Packets.Dropped.QueueFull != 200-16 {
		t.Errorf("%+v", s)
	}
	m.settle(a)
	m.run(10*time.Second, func() bool { return len(b.got) > 0 })
	if len(b.got) == 0 || !bytes.Equal(b.got[0], ping) {
		t.Errorf("the ping is not the first of %d packets", len(b.got))
	}
	// With nothing that could be dropped the host is held up.
	a = newMedium(t, testSeed).add("alone", func(c *Config) { c.Queue, c.QueueOctets = FQCoDel, 2000 })
	for range 2 {
		if err := a.engine.EnqueuePacket(m.now, udp(a.addr, b.addr, 80, 1, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	if a.engine.CanEnqueue() {
		t.Error("room for a packet, and nothing to drop")
	}
}

// TestAirtimeFairness: a station that is slow to reach gets as much airtime as one
// that is quick to reach, not as many octets.
func TestAirtimeFairness(t *testing.T) {
	m := newMedium(t, testSeed)
	a := m.add("alpha", func(c *Config) { c.QueueOctets = 200000 })
	near, far := m.add("near", nil), m.add("far", nil)
	far.snr = 6 // 2000 bit/s
	m.meet()
	m.run(time.Minute, nil)
	spent := map[uint16]time.Duration{}
	a.observe = func(_ time.Time, b *phy.Burst) {
		var c control
		if c.parse(b.Control) && c.data > 0 {
			spent[c.dst] += m.airtime(b)
		}
	}
	number := 0
	for range 600 {
		for _, n := range []*node{near, far} {
			if p := a.engine.peerNamed(n.name); p.waiting < 20000 {
				m.send(a, udp(a.addr, n.addr, 80, number, 1200))
				number++
			}
		}
		m.run(time.Second, nil)
	}
	x, y := spent[a.engine.peerNamed("near").address].Seconds(), spent[a.engine.peerNamed("far").address].Seconds()
	jain := (x + y) * (x + y) / (2 * (x*x + y*y))
	t.Logf("airtime %.0f and %.0f s, Jain %.3f; %d and %d packets", x, y, jain, len(near.got), len(far.got))
	if jain < 0.95 || len(near.got) < 2*len(far.got) {
		t.Errorf("airtime %.0f and %.0f s, Jain %.3f", x, y, jain)
	}
}

// TestHeaders: over a link that loses frames, TCP's headers are compressed, and
// what arrives is what was sent; after a restart of one end it goes on.
func TestHeaders(t *testing.T) {
	m := newMedium(t, testSeed)
	a, b := m.add("alpha", nil), m.add("beta", nil)
	m.meet()
	m.frameLoss, m.controlLoss = 0.2, 0.05
	var want [][]byte
	for i := range 60 {
		p := tcpPacket(a.addr, b.addr, 1<<16|1, uint32(1+100*i), 1, tcpACK, false, uint32(i*700), 5, nil, 100)
		want = append(want, p)
		m.send(a, p)
		m.run(2*time.Second, nil)
	}
	m.run(3*time.Minute, func() bool { return len(b.got) == len(want) })
	if !slices.EqualFunc(b.got, want, bytes.Equal) {
		t.Errorf("%d of %d packets, or some changed", len(b.got), len(want))
	}
	s := a.engine.Stats().Headers
	if s.Compressed < 55 || s.Contexts != 1 || s.In-s.Out < 55*40 || b.engine.Stats().Headers.Lost != 0 {
		t.Errorf("%+v", s)
	}
	t.Logf("%+v", s)
	m.frameLoss, m.controlLoss = 0, 0
	m.restart(b, nil)
	b.got = nil
	m.run(20*time.Second, func() bool { return a.engine.Up() && b.engine.Up() })
	for _, p := range want[:5] {
		m.send(a, p)
		m.run(5*time.Second, nil)
	}
	if !slices.EqualFunc(b.got, want[:5], bytes.Equal) {
		t.Errorf("after a restart %d of 5 packets, or some changed", len(b.got))
	}
}

// TestHeadersResync: a station that has lost its contexts asks for whole headers
// in its next report; one packet is lost at most.
func TestHeadersResync(t *testing.T) {
	m := newMedium(t, testSeed)
	a, b := m.add("alpha", nil), m.add("beta", nil)
	m.meet()
	send := func(i int) {
		m.send(a, tcpPacket(a.addr, b.addr, 1<<16|1, uint32(1+100*i), 1, tcpACK, false, uint32(i), 5, nil, 100))
		m.run(5*time.Second, nil)
	}
	for i := range 5 {
		send(i)
	}
	b.engine.peerNamed("alpha").in.headers.Reset()
	for i := 5; i < 9; i++ {
		send(i)
	}
	if len(b.got) != 8 || b.engine.Stats().Headers.Lost != 1 || a.engine.Stats().Headers.Resyncs == 0 {
		t.Errorf("%d of 9 packets arrived: %+v, %+v", len(b.got), b.engine.Stats().Headers, a.engine.Stats().Headers)
	}
	if b.engine.peerNamed("alpha").in.lost {
		t.Error("whole headers are still asked for")
	}
	if got := a.engine.Stats().Headers.Full; got != 2 {
		t.Errorf("%d whole headers, want 2", got)
	}
}

// TestHeadersMissing: a packet whose number passes without it may have told something that those behind it take for known: with
// the guard of a context alone one in 256 of these would come with a wrong header. So contexts begin anew.
func TestHeadersMissing(t *testing.T) {
	m := newMedium(t, testSeed)
	a, b := m.add("alpha", nil), m.add("beta", nil)
	m.meet()
	for i := range 9 {
		if i == 5 {
			a.engine.peerNamed("beta").nextSeq += 2 * tellBase
		}
		m.send(a, tcpPacket(a.addr, b.addr, 1<<16|1, uint32(1+100*i), 1, tcpACK, false, uint32(i), 5, nil, 100))
		m.run(5*time.Second, nil)
	}
	if x := b.engine.Stats().Headers; len(b.got) != 8 || x.Lost != 1 || a.engine.Stats().Headers.Full != 2 || b.engine.peerNamed("alpha").in.lost {
		t.Errorf("%d of 9 packets arrived, %d could not be read, %d whole headers; want all but one, and two: %+v", len(b.got), x.Lost, a.engine.Stats().Headers.Full, x)
	}
}

// TestHeadersAfterSilence: what the receiver gave up when its peer fell silent, its
// sender may still take for delivered. Header compression survives it.
func TestHeadersAfterSilence(t *testing.T) {
	for seed := range uint64(20) {
		m := newMedium(t, seed)
		a, b := m.add("alpha", nil), m.add("beta", nil)
		m.meet()
		cut := false
		m.drop = func(*node, *node, *phy.Burst) bool { return cut }
		want := map[string]bool{}
		for i := range 40 {
			p := tcpPacket(a.addr, b.addr, 1<<16|1, uint32(1+300*i), uint32(i), tcpACK, false, uint32(i*900), uint32(i), nil, 300)
			p[8] = byte(60 + i%3)
			p[10], p[11] = 0, 0
			sum := ^internetSum(0, p[:20])
			p[10], p[11] = byte(sum>>8), byte(sum)
			want[string(p)] = true
			m.send(a, p)
			m.run(time.Duration(m.random.IntN(4000))*time.Millisecond, nil)
			if i%10 == 5 {
				cut = true
				m.run(time.Duration(20+m.random.IntN(40))*time.Second, nil)
				cut = false
				m.run(20*time.Second, nil)
			}
		}
		m.run(3*time.Minute, nil)
		for _, p := range b.got {
			if !want[string(p)] {
				t.Fatalf("seed %d: a packet was changed: %x", seed, p)
			}
			delete(want, string(p))
		}
		// Header compression may cost one packet for each silence, beside what waited
		// for too long.
		dropped := a.engine.Stats().Packets.Dropped
		if old := int(dropped.GivenUp + dropped.Expired); len(want) > 4+old || old > 12 {
			t.Errorf("seed %d: %d packets are missing, %d were too old: %+v", seed, len(want), old, b.engine.Stats())
		}
	}
}

// TestKeystroke is a character typed into ssh and its echo, 228 octets of packets,
// as they leave in frames.
func TestKeystroke(t *testing.T) {
	m := newMedium(t, testSeed)
	a, b := m.add("alpha", nil), m.add("beta", nil)
	m.meet()
	frames, control := 0, 0
	observe := func(_ time.Time, x *phy.Burst) {
		var c linkControl
		if c.parse(x.Control) && c.kind == unicast {
			control += len(x.Control)
			for _, f := range x.Frames {
				frames += len(f)
			}
		}
	}
	a.observe, b.observe = observe, observe
	seq, ack, val, ecr := uint32(1), uint32(1), uint32(1000), uint32(2000)
	for range 10 {
		frames, control = 0, 0
		val += 700
		m.send(a, tcpPacket(a.addr, b.addr, 1<<16|22, seq, ack, tcpACK|tcpPSH, false, val, ecr, nil, 36))
		m.run(1500*time.Millisecond, nil)
		seq += 36
		ecr += 700
		m.send(b, tcpPacket(b.addr, a.addr, 22<<16|1, ack, seq, tcpACK|tcpPSH, false, ecr, val, nil, 36))
		m.run(1500*time.Millisecond, nil)
		ack += 36
		val += 150
		m.send(a, tcpPacket(a.addr, b.addr, 1<<16|22, seq, ack, tcpACK, false, val, ecr, nil, 0))
		m.run(3*time.Second, nil)
	}
	// 88 octets of compressed packets and a fragment header of 1 for each; a control block
	// of 7 and a reservation for each of three questions, of 6 for each answer.
	t.Logf("%d octets in frames, %d in control blocks", frames, control)
	if frames > 88+3 {
		t.Errorf("%d octets in frames, want at most 88 and three fragment headers", frames)
	}
	if control > 3*(7+6)+5 {
		t.Errorf("%d octets in control blocks, want six short ones and one wish or base", control)
	}
	if s := a.engine.Stats().Headers; s.Lost != 0 || len(a.got) != 10 || len(b.got) != 20 {
		t.Errorf("%d and %d packets: %+v", len(a.got), len(b.got), s)
	}
}

func TestDisciplineNames(t *testing.T) {
	for _, d := range []Discipline{FQCoDel, FQ, FIFO} {
		if got, ok := ParseDiscipline(d.String()); !ok || got != d {
			t.Errorf("%v is read as %v", d, got)
		}
	}
	if _, ok := ParseDiscipline("red"); ok || !strings.Contains(Discipline(9).String(), "?") {
		t.Error("an unknown discipline has a name")
	}
	if _, err := header.NewDecompressor(true).Decompress(nil, nil); err == nil {
		t.Error("an empty packet")
	}
}

// linkControl is control where a variable has its name.
type linkControl = control

// TestNeedlessRepetitions: 4 segments over a slow link without loss. The host's
// timer runs out while they wait or are on their way, but what it then repeats the
// link still has: at most two cross it twice, and with a FIFO nearly all do.
func TestNeedlessRepetitions(t *testing.T) {
	run := func(q Discipline) (crossed int, held uint64) {
		m := newMedium(t, testSeed)
		m.latency, m.cost = 75*time.Millisecond, 250*time.Millisecond // 300 ms of turnaround
		m.table = []phy.Mode{{MCS: 0, NetBPS: 2000, SNRdB: 0, FrameOctets: 128}}
		discipline := func(c *Config) { c.Queue = q }
		a, b := m.add("alpha", discipline), m.add("beta", discipline)
		m.meet()
		s, r := m.newSender(a, b, 4000, false), m.newReceiver(b, a, 4000)
		s.limit = 4000
		a.deliver = func(p []byte) { s.receive(p[20:]) }
		b.deliver = func(p []byte) {
			if int32(binary.BigEndian.Uint32(p[24:])-r.next) < 0 {
				crossed++
			}
			r.receive(p)
		}
		s.push()
		s.arm()
		start := m.now
		if !m.run(5*time.Minute, func() bool { return r.octets >= 4000 }) {
			t.Fatalf("%v: %d octets", q, r.octets)
		}
		took := m.now.Sub(start)
		m.run(time.Minute, nil)
		t.Logf("%v: %.0f s; %d repeated, %d crossed", q, took.Seconds(), s.repeated, crossed)
		return crossed, a.engine.Stats().Queue.Repeated
	}
	fifo, _ := run(FIFO)
	crossed, held := run(FQCoDel)
	if crossed > 2 || held == 0 || fifo <= crossed {
		t.Errorf("%d segments crossed needlessly, %d were held, %d crossed with FIFO", crossed, held, fifo)
	}
}
