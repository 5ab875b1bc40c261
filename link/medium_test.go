package link

import (
	"bytes"
	"container/heap"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"lightsong/phy"
)

// testModes is a table in the shape of modem/fsk's: bits per second and frame
// lengths of the same order.
var testModes = []phy.Mode{
	{MCS: 0, NetBPS: 100, SNRdB: -12, FrameOctets: 32},
	{MCS: 1, NetBPS: 1000, SNRdB: -3, FrameOctets: 64},
	{MCS: 2, NetBPS: 2000, SNRdB: 3, FrameOctets: 96},
	{MCS: 3, NetBPS: 4000, SNRdB: 9, FrameOctets: 128},
	{MCS: 4, NetBPS: 8000, SNRdB: 18, FrameOctets: 256},
}

// modelAirtime is a preamble of 85 ms, a control block at a quarter of the
// mode's rate (at least 400 b/s but in the most robust mode), and frames with a
// check of four octets.
func modelAirtime(table []phy.Mode) func(*phy.Burst) time.Duration {
	return func(b *phy.Burst) time.Duration {
		bps := table[b.MCS].NetBPS
		seconds := 0.085 + float64(8+len(b.Control))*8/max(bps/2, 200)
		for _, f := range b.Frames {
			seconds += float64(len(f)+4) * 8 / bps
		}
		return time.Duration(seconds * float64(time.Second))
	}
}

// node is a station of a test medium.
type node struct {
	name    string
	engine  *Engine
	addr    netip.Addr
	deaf    map[*node]bool // hears nothing of these
	snr     float64
	got     [][]byte // packets for the host
	queue   [][]byte // packets of the host that the engine had no room for
	sending *onAir
	hears   int // bursts audible now
	busy    bool
	tone    bool
	txFrom  time.Time // own transmission, as the own receiver is deaf then
	txUntil time.Time
	observe func(now time.Time, b *phy.Burst)
	deliver func(pkt []byte) // takes packets for the host instead of got, a little later
	airtime time.Duration

	due          time.Time // the engine's deadline
	waits, moved bool      // it has one; it may have another by now
}

// onAir is a burst on the test medium.
type onAir struct {
	from       *node
	burst      phy.Burst
	start, end time.Time
	late       time.Duration  // by what was inserted since its end was last looked at
	seam       time.Time      // where something was inserted last
	audible    map[*node]bool // since its begin: at these it ends, too
	spoiled    map[*node]bool
}

// medium joins engines in virtual time: bursts take their airtime, overlap
// destroys both, a sender is deaf. It is no modem: what a modem does to frames
// is given as loss probabilities.
type medium struct {
	t       testing.TB
	now     time.Time
	random  *rand.Rand
	nodes   []*node
	table   []phy.Mode
	duplex  bool
	cost    time.Duration // of a burst without content; 0: modelAirtime's
	pitch   time.Duration // full duplex: of the places in a burst where others may be inserted; 0: there are none
	latency time.Duration // of each station's output and input buffer
	sensing time.Duration // from a burst's begin until it is noticed
	silent  bool          // carrier sense tells nothing

	frameLoss   float64
	controlLoss float64
	drop        func(from, to *node, b *phy.Burst) bool // drops what a test names
	took        func(b *phy.Burst) time.Duration        // airtime of a burst; nil: modelAirtime's, or by cost
	heard       func(n *node, b *phy.Burst) phy.Event   // what a modem makes of a burst; nil: as the losses say
	level       func(from, to *node) float64            // dB: which of two bursts outlasts the other; nil: neither does

	events  eventHeap
	serial  int
	air     []*onAir
	bursts  int
	maximum time.Duration

	addressed, collided int // bursts that a station was to hear, and those of them that met another
}

type event struct {
	at     time.Time
	serial int
	run    func()
}

type eventHeap []event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	return h[i].at.Before(h[j].at) || h[i].at.Equal(h[j].at) && h[i].serial < h[j].serial
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(event)) }
func (h *eventHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

const testSeed = 20261120

// captureDB is how much stronger than another a burst must be for a receiver that has
// begun with it: what the usual mode of a room needs and a few dB.
const captureDB = 12

func newMedium(t testing.TB, seed uint64) *medium {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
	return &medium{
		t:       t,
		now:     time.Unix(1_000_000, 0),
		random:  rand.New(rand.NewPCG(seed, 1)),
		table:   testModes,
		latency: 15 * time.Millisecond,
	}
}

// add starts a station. edit may change its configuration.
func (m *medium) add(name string, edit func(*Config)) *node {
	m.t.Helper()
	n := &node{name: name, deaf: map[*node]bool{}, snr: 25}
	n.addr = netip.AddrFrom4([4]byte{10, 0, 0, byte(len(m.nodes) + 1)})
	n.engine = m.newEngine(n, edit)
	m.nodes = append(m.nodes, n)
	return n
}

// airtime is modelAirtime, or that of a modem whose control block takes cost.
func (m *medium) airtime(b *phy.Burst) time.Duration {
	switch {
	case m.took != nil:
		return m.took(b)
	case m.cost == 0:
		return modelAirtime(m.table)(b)
	}
	seconds := m.cost.Seconds()
	for _, f := range b.Frames {
		seconds += float64(len(f)+4) * 8 / m.table[b.MCS].NetBPS
	}
	return time.Duration(seconds * float64(time.Second))
}

func (m *medium) newEngine(n *node, edit func(*Config)) *Engine {
	m.t.Helper()
	cfg := Config{
		Name:     n.name,
		Prefixes: []netip.Prefix{netip.PrefixFrom(n.addr, 24)},
		Seed:     m.random.Uint64(),
		Epoch:    uint16(m.random.Uint32()),
		Caps:     phy.Caps{Modes: m.table, FullDuplex: m.duplex, Turnaround: 4 * m.latency, MaxFrames: 255, MaxControl: 63},
		Airtime:  m.airtime,
		Queue:    FQ, // these tests count every packet; queue_test.go has CoDel's
	}
	if m.pitch > 0 {
		cfg.Caps.Inserts = func(b *phy.Burst) time.Duration {
			if d := m.airtime(b); d < longestInner+100*time.Millisecond {
				return d
			}
			return 0
		}
	}
	if edit != nil {
		edit(&cfg)
	}
	e, err := New(cfg, m.now)
	if err != nil {
		m.t.Fatal(err)
	}
	return e
}

func (m *medium) at(t time.Time, run func()) {
	m.serial++
	heap.Push(&m.events, event{t, m.serial, run})
}

func (m *medium) after(d time.Duration, run func()) { m.at(m.now.Add(d), run) }

// tell hands an event to a station after its input latency.
func (m *medium) tell(n *node, ev phy.Event) {
	e := n.engine
	m.after(m.latency, func() {
		if n.engine == e {
			e.HandleEvent(m.now, &ev)
			m.settle(n)
		}
	})
}

// carrier tells a station when its medium becomes busy or idle.
func (m *medium) carrier(n *node) {
	if busy := n.hears > 0 || n.tone; busy != n.busy && !m.silent {
		n.busy = busy
		kind := phy.Idle
		if busy {
			kind = phy.Busy
			m.after(m.sensing, func() { m.tell(n, phy.Event{Kind: kind}) })
			return
		}
		m.tell(n, phy.Event{Kind: kind})
	}
}

// settle lets a station act.
func (m *medium) settle(n *node) {
	n.moved = true
	var buf [MaxMTU]byte
	for {
		size, ok := n.engine.NextPacket(buf[:])
		if !ok {
			break
		}
		if pkt := bytes.Clone(buf[:size]); n.deliver != nil {
			m.after(time.Millisecond, func() { n.deliver(pkt) })
		} else {
			n.got = append(n.got, pkt)
		}
	}
	for len(n.queue) > 0 && n.engine.CanEnqueue() {
		pkt := n.queue[0]
		n.queue = n.queue[1:]
		if err := n.engine.EnqueuePacket(m.now, pkt); err != nil {
			m.t.Fatalf("enqueue: %v", err)
		}
	}
	var b phy.Burst
	if !n.engine.NextBurst(m.now, &b) {
		m.insert(n)
		if at, ok := n.engine.Deadline(); ok && !at.After(m.now) {
			m.t.Fatalf("%s: deadline %v lies %v in the past after NextBurst had nothing", n.name, at, m.now.Sub(at))
		}
		return
	}
	m.check(n, &b)
	a := &onAir{from: n, burst: phy.Burst{MCS: b.MCS, Control: bytes.Clone(b.Control)}, audible: map[*node]bool{}, spoiled: map[*node]bool{}}
	for _, f := range b.Frames {
		a.burst.Frames = append(a.burst.Frames, bytes.Clone(f))
	}
	n.sending = a
	if n.observe != nil {
		n.observe(m.now, &a.burst)
	}
	e := n.engine
	d := m.airtime(&b)
	n.airtime += d
	m.maximum = max(m.maximum, d)
	m.bursts++
	m.after(m.latency, func() { m.begin(a, d) })
	var end func()
	end = func() {
		if d := a.late; d > 0 {
			a.late = 0
			m.after(d, end)
			return
		}
		m.end(a)
		if n.engine == e {
			n.sending = nil
			e.BurstSent(m.now, nil)
			m.settle(n)
		}
	}
	m.after(m.latency+d, end)
}

// insert lets a station put a burst into the middle of the one that it is sending.
func (m *medium) insert(n *node) {
	a := n.sending
	if m.pitch == 0 || !n.engine.Urgent(m.now) || a == nil || a.start.IsZero() {
		return
	}
	at := m.now.Add(m.pitch - m.now.Sub(a.start)%m.pitch)
	if !at.After(a.seam) || !at.Add(m.pitch).Before(a.end) {
		return
	}
	var b phy.Burst
	if !n.engine.NextInsert(m.now, &b) {
		return
	}
	m.check(n, &b)
	inner := &onAir{from: n, burst: phy.Burst{MCS: b.MCS, Control: bytes.Clone(b.Control)}}
	for _, f := range b.Frames {
		inner.burst.Frames = append(inner.burst.Frames, bytes.Clone(f))
	}
	if n.observe != nil {
		n.observe(m.now, &inner.burst)
	}
	d := m.airtime(&b)
	a.seam, a.end, a.late = at.Add(d), a.end.Add(d), a.late+d
	m.at(a.seam, func() {
		for _, to := range m.nodes {
			switch {
			case !a.audible[to] || to.deaf[n]:
			case m.drop != nil && m.drop(n, to, &inner.burst): // its chirp was not seen, and so the other is lost
				a.spoiled[to] = true
			default:
				m.tell(to, phy.Event{Kind: phy.Received, Within: true, Burst: m.through(to, &inner.burst), Quality: phy.Quality{SNR: to.snr + m.random.NormFloat64()}})
				m.tell(to, phy.Event{Kind: phy.Announced, Until: a.end.Sub(m.now) - m.latency, Burst: phy.Burst{MCS: a.burst.MCS}})
			}
		}
	})
	n.engine.Inserted(m.now, a.seam.Sub(m.now), true)
}

// check holds what phy.PHY demands of a burst.
func (m *medium) check(n *node, b *phy.Burst) {
	if len(b.Control) > 63 || len(b.Frames) > 255 {
		m.t.Fatalf("%s: burst with %d octets of control and %d frames", n.name, len(b.Control), len(b.Frames))
	}
	for _, f := range b.Frames {
		if len(f) == 0 || len(f) != len(b.Frames[0]) || len(f) > m.table[b.MCS].FrameOctets {
			m.t.Fatalf("%s: frame of %d octets beside one of %d in mode %d", n.name, len(f), len(b.Frames[0]), b.MCS)
		}
	}
}

func (m *medium) begin(a *onAir, d time.Duration) {
	a.start, a.end = m.now, m.now.Add(d)
	a.from.txFrom, a.from.txUntil = m.now, a.end
	for _, n := range m.nodes {
		if n == a.from || n.deaf[a.from] {
			continue
		}
		for _, other := range m.air {
			if !m.duplex && other.from != n && !n.deaf[other.from] {
				a.spoiled[n] = true
				if m.level == nil || m.level(other.from, n) < m.level(a.from, n)+captureDB {
					other.spoiled[n] = true
				}
			}
		}
		n.hears++
		a.audible[n] = true
		if !m.duplex && n.txUntil.After(m.now) {
			a.spoiled[n] = true
		}
		m.carrier(n)
	}
	for _, other := range m.air {
		if !m.duplex {
			other.spoiled[a.from] = true // the sender is deaf from now on
		}
	}
	m.air = append(m.air, a)
	for _, n := range m.nodes {
		if n != a.from && !n.deaf[a.from] && !a.spoiled[n] {
			header := max(d/10, m.sensing)
			m.after(header, func() {
				if !a.spoiled[n] {
					m.tell(n, phy.Event{Kind: phy.Announced, Until: a.end.Sub(m.now) - m.latency, Burst: phy.Burst{MCS: a.burst.MCS}})
				}
			})
		}
	}
}

func (m *medium) end(a *onAir) {
	m.air = slices.DeleteFunc(m.air, func(x *onAir) bool { return x == a })
	for _, n := range m.nodes {
		if !a.audible[n] {
			continue
		}
		n.hears--
		if c := blockOf(&a.burst); c.short || c.dst == n.engine.address || c.tells(n.engine.address) { // a short block has the only other one for its destination
			m.addressed++
			if a.spoiled[n] {
				m.collided++
			}
		}
		deaf := !m.duplex && n.txUntil.After(a.start) && n.txFrom.Before(a.end)
		switch {
		case deaf:
		case n.deaf[a.from]: // since it began
			m.tell(n, phy.Event{Kind: phy.Missed, Quality: phy.Quality{SNR: math.NaN()}})
		case a.spoiled[n]:
			m.tell(n, phy.Event{Kind: phy.Missed, Quality: phy.Quality{SNR: math.NaN()}})
		case m.drop != nil && m.drop(a.from, n, &a.burst):
			m.tell(n, phy.Event{Kind: phy.Missed, Quality: phy.Quality{SNR: math.NaN()}})
		case m.heard != nil:
			m.tell(n, m.heard(n, &a.burst))
		default:
			m.tell(n, phy.Event{Kind: phy.Received, Burst: m.through(n, &a.burst), Quality: phy.Quality{SNR: n.snr + m.random.NormFloat64()}})
		}
		m.carrier(n)
	}
}

// tells tells whether a burst to several stations has something for one of them.
func (c *control) tells(address uint16) bool {
	return slices.ContainsFunc(c.sections, func(s control) bool { return s.dst == address }) ||
		slices.ContainsFunc(c.acks, func(a ack) bool { return a.dst == address })
}

// blockOf is a burst's control block, as it is before its destination knows the rest.
func blockOf(b *phy.Burst) (c control) {
	if !c.parse(b.Control) {
		panic(fmt.Sprintf("nobody sends the control block %x", b.Control))
	}
	return c
}

// through is what of a burst arrives.
func (m *medium) through(n *node, sent *phy.Burst) phy.Burst {
	b := phy.Burst{MCS: sent.MCS, Frames: make([][]byte, len(sent.Frames))}
	below := n.snr < m.table[b.MCS].SNRdB
	if m.random.Float64() >= m.controlLoss {
		b.Control = bytes.Clone(sent.Control)
	}
	for i, f := range sent.Frames {
		if m.random.Float64() >= m.frameLoss && !below {
			b.Frames[i] = bytes.Clone(f)
		}
	}
	return b
}

// run lets d pass, or less if until becomes true; it reports whether it did.
func (m *medium) run(d time.Duration, until func() bool) bool {
	m.t.Helper()
	end := m.now.Add(d)
	for _, n := range m.nodes {
		n.moved = true
	}
	for step := 0; ; step++ {
		if until != nil && until() {
			return true
		}
		next := end
		if len(m.events) > 0 && m.events[0].at.Before(next) {
			next = m.events[0].at
		}
		var due *node
		for _, n := range m.nodes {
			if n.moved || until != nil {
				n.moved = false
				n.due, n.waits = n.engine.Deadline()
				n.waits = n.waits && (!n.engine.current.active || m.pitch > 0)
			}
			if n.waits && n.due.Before(next) {
				next, due = n.due, n
			}
		}
		if next.After(m.now) {
			m.now = next
		}
		switch {
		case !m.now.Before(end):
			return until != nil && until()
		case due != nil:
			m.settle(due)
		default:
			heap.Pop(&m.events).(event).run()
		}
	}
}

// send gives a packet to a station's host side.
func (m *medium) send(n *node, pkt []byte) {
	m.t.Helper()
	n.queue = append(n.queue, pkt)
	m.settle(n)
}

// meet lets the stations find each other, and skips the climb of their modes.
func (m *medium) meet() {
	m.t.Helper()
	if !m.run(time.Minute, func() bool {
		for _, n := range m.nodes {
			up := 0
			for _, p := range n.engine.peers {
				if p.state == PeerUp && p.name != "" {
					up++
				}
			}
			if up < len(m.nodes)-1 {
				return false
			}
		}
		return true
	}) {
		m.t.Fatal("the stations did not find each other within a minute")
	}
	for _, n := range m.nodes { // as after some traffic
		for _, p := range n.engine.peers {
			p.tx.ceiling, p.rx.ceiling = newCeiling(n.engine.modes), newCeiling(n.engine.modes)
		}
	}
}

// restart replaces a station's engine, as after a crash.
func (m *medium) restart(n *node, edit func(*Config)) {
	n.engine = m.newEngine(n, edit)
	n.sending = nil
}

// udp is an IPv4 packet of size octets from one address to another, with a
// number and a content that follows from it.
func udp(from, to netip.Addr, port uint16, number, size int) []byte {
	return ipv4(protoUDP, from, to, port, number, size)
}

// ipv4 is a packet that differs from all others by port and number; its lengths
// and checksums are right, so that its header is compressed. TCP has at least one
// octet of data: every packet counts.
func ipv4(proto uint8, from, to netip.Addr, port uint16, number, size int) []byte {
	least := 32
	if proto == protoTCP {
		least = 41
	}
	p := make([]byte, max(size, least))
	p[0], p[8], p[9] = 0x45, 64, proto
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	copy(p[12:], from.AsSlice())
	copy(p[16:], to.AsSlice())
	binary.BigEndian.PutUint16(p[20:], port)
	binary.BigEndian.PutUint16(p[22:], port)
	binary.BigEndian.PutUint32(p[28:], uint32(number))
	r := rand.New(rand.NewPCG(uint64(number), uint64(port)))
	for i := 32; i < len(p); i++ {
		p[i] = byte(r.Uint32())
	}
	at := 26 // of the transport's checksum
	if proto == protoTCP {
		binary.BigEndian.PutUint32(p[24:], uint32(number)<<14)
		copy(p[32:], []byte{0x50, tcpACK, 1, 0xf5, 0, 0, 0, 0})
		at = 36
	} else {
		binary.BigEndian.PutUint16(p[24:], uint16(len(p)-20))
	}
	binary.BigEndian.PutUint16(p[10:], ^internetSum(0, p[:20]))
	binary.BigEndian.PutUint16(p[at:], ^internetSum(uint32(proto)+uint32(len(p)-20), p[12:]))
	return p
}

// internetSum is RFC 1071's.
func internetSum(s uint32, p []byte) uint16 {
	for i, b := range p {
		s += uint32(b) << (8 * (1 - i&1))
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// number of a packet made by udp, and its port.
func numberOf(p []byte) (port uint16, number int) {
	return binary.BigEndian.Uint16(p[20:]), int(binary.BigEndian.Uint32(p[28:]))
}

// checkFlows holds that a station got exactly the packets want of each port, in
// order, none twice, unchanged.
func checkFlows(t testing.TB, n *node, sent [][]byte) {
	t.Helper()
	byPort := map[uint16][][]byte{}
	for _, p := range sent {
		port, _ := numberOf(p)
		byPort[port] = append(byPort[port], p)
	}
	got := map[uint16][][]byte{}
	for _, p := range n.got {
		port, _ := numberOf(p)
		got[port] = append(got[port], p)
	}
	for port, want := range byPort {
		if len(got[port]) != len(want) {
			t.Errorf("%s: port %d: %d of %d packets", n.name, port, len(got[port]), len(want))
		}
		for i, p := range got[port] {
			if i >= len(want) || !bytes.Equal(p, want[i]) {
				_, number := numberOf(p)
				t.Errorf("%s: port %d: packet %d came as number %d or changed", n.name, port, number, i)
				break
			}
		}
	}
	if t.Failed() {
		t.Log(summary(n))
	}
}

func summary(n *node) string {
	s := n.engine.Stats()
	return fmt.Sprintf("%s: bursts %+v frames %+v packets %+v hostile %+v queue %+v", n.name, s.Bursts, s.Frames, s.Packets, s.Hostile, s.Queue)
}
