package link

import (
	"testing"
	"time"

	"lightsong/phy"
)

// TestRepeatedAfterArrival: a segment that its host repeats because the
// acknowledgement takes its time is not sent twice, but one that is repeated later,
// or says something new, is.
func TestRepeatedAfterArrival(t *testing.T) {
	m := newMedium(t, testSeed)
	a, b := m.add("alpha", nil), m.add("beta", nil)
	m.meet()
	segment := func(seq, ack uint32, flags byte, payload int) []byte {
		return tcpPacket(a.addr, b.addr, 7<<16|9, seq, ack, flags, false, 1, 1, nil, payload)
	}
	send := func(pkt []byte) (sent bool) {
		before := a.engine.Stats().Queue.Repeated
		m.send(a, pkt)
		got := len(b.got)
		m.run(20*time.Second, func() bool { return a.engine.Stats().Queue.Packets == 0 })
		if sent = len(b.got) > got; sent == (a.engine.Stats().Queue.Repeated > before) {
			t.Errorf("%d packets came, %s", len(b.got)-got, summary(a))
		}
		return sent
	}
	for _, c := range []struct {
		name string
		pkt  []byte
		want bool
	}{
		{"SYN", segment(1, 0, tcpSYN, 0), true},
		{"SYN again", segment(1, 0, tcpSYN, 0), false},
		{"data", segment(2, 10, tcpACK, 100), true},
		{"data again", segment(2, 10, tcpACK, 100), false},
		{"more data", segment(102, 10, tcpACK|tcpPSH, 50), true},
		{"again, older", segment(2, 10, tcpACK, 100), false},
		{"again, pushed", segment(2, 10, tcpACK|tcpPSH, 100), false},
		{"with news", segment(102, 20, tcpACK, 50), true},
		{"again with news that came", segment(2, 20, tcpACK, 100), false},
		{"FIN", segment(152, 20, tcpACK|tcpFIN, 0), true},
		{"FIN again", segment(152, 20, tcpACK|tcpFIN, 0), false},
		{"another part of the data", segment(52, 20, tcpACK, 100), true},
	} {
		if got := send(c.pkt); got != c.want {
			t.Errorf("%s: sent %v, want %v", c.name, got, c.want)
		}
	}
	m.run(a.engine.pace(a.engine.peers[0]).interval, nil)
	if !send(segment(2, 20, tcpACK, 100)) {
		t.Error("what is repeated after a long time was not sent")
	}
	// Other content under the same numbers is another connection's.
	other := segment(2, 20, tcpACK, 100)
	other[len(other)-1]++
	h, _ := parseIP(other)
	pkt := &packet{data: other, segment: parseSegment(h.payload)}
	if p := a.engine.peers[0]; a.engine.known(m.now, p, p.flow(h.flow), pkt) {
		t.Error("other content was taken for a repetition")
	}
}

// TestSlowFullDuplex: where a burst without content takes a quarter of a second, a
// packet is not cut in pieces, and the answer of a program that takes 50 ms is in the
// first burst that comes back.
func TestSlowFullDuplex(t *testing.T) {
	m := newMedium(t, testSeed)
	m.duplex, m.table = true, testModes[:4] // no faster mode is tried meanwhile
	a, b := m.add("alpha", nil), m.add("beta", nil)
	a.snr, b.snr = 14, 14
	m.meet()
	for i := range 10 { // the modes are found
		m.send(a, ipv4(protoTCP, a.addr, b.addr, 1, i, 200))
		m.send(b, ipv4(protoTCP, b.addr, a.addr, 1, i, 200))
		m.run(10*time.Second, nil)
	}
	var bursts, back [][]int // frames' lengths
	got, answered := len(b.got), len(a.got)
	note := func(list *[][]int) func(time.Time, *phy.Burst) {
		return func(_ time.Time, x *phy.Burst) {
			var frames []int
			for _, f := range x.Frames {
				frames = append(frames, len(f))
			}
			if len(frames) > 0 || len(b.got) > got { // before, a may have asked whether b is there
				*list = append(*list, frames)
			}
		}
	}
	a.observe, b.observe = note(&bursts), note(&back)
	b.deliver = func(pkt []byte) {
		b.got = append(b.got, pkt)
		m.after(50*time.Millisecond, func() { m.send(b, ipv4(protoTCP, b.addr, a.addr, 1, 99, 60)) })
	}
	m.send(a, ipv4(protoTCP, a.addr, b.addr, 1, 99, 260))
	m.run(10*time.Second, func() bool { return len(a.got) > answered })
	if len(b.got) != got+1 || len(a.got) != answered+1 {
		t.Fatalf("%d packets there, %d back", len(b.got)-got, len(a.got)-answered)
	}
	if len(bursts) != 1 {
		t.Errorf("a packet went in bursts with frames of %v octets, want one burst", bursts)
	}
	if len(back) != 1 || len(back[0]) == 0 {
		t.Errorf("the answer came in bursts with frames of %v octets, want one burst", back)
	}
}

// TestClimb: without loss, what the table does not promise is tried one mode at a time.
func TestClimb(t *testing.T) {
	var table []phy.Mode
	for i := range 12 {
		table = append(table, phy.Mode{MCS: phy.MCS(i), NetBPS: 1000 * float64(i+1), SNRdB: 1.5 * float64(i), FrameOctets: 128})
	}
	m := newModes(table, false)
	r := newReception(m)
	r.heard(5, exact)
	before, _ := r.want(m)
	for range 8 {
		r.frames(4, 0, true, m.target(before))
		r.climb(m, before)
		i, _ := r.want(m)
		if promised := m.suiting(r.snr); i > max(before+1, promised) {
			t.Errorf("from mode %d to mode %d at %.1f dB", before, i, r.snr)
		}
		before = i
	}
	if want := m.suiting(r.snr - minMargin); before != want {
		t.Errorf("mode %d after eight bursts without loss, want %d", before, want)
	}
}

// TestShortBlocks: whichever burst of an exchange between two stations is lost, those
// behind it say what is needed to read them; with a third station around all blocks
// are whole again.
func TestShortBlocks(t *testing.T) {
	for _, duplex := range []bool{false, true} {
		for lost := range 12 {
			m := newMedium(t, testSeed)
			m.duplex = duplex
			a, b := m.add("alpha", nil), m.add("beta", nil)
			m.meet()
			var sent [][]byte
			say := func(n *node, to *node, number int) {
				pkt := ipv4(protoTCP, n.addr, to.addr, 1, number, 60)
				if n == a {
					sent = append(sent, pkt)
				}
				m.send(n, pkt)
				m.run(500*time.Millisecond, nil)
			}
			for i := range 8 { // the peers know one another
				say(a, b, i)
				say(b, a, i)
			}
			bursts, short := 0, 0
			m.drop = func(_, _ *node, x *phy.Burst) bool {
				if blockOf(x).kind != unicast {
					return false
				}
				if blockOf(x).short {
					short++
				}
				bursts++
				return bursts == lost+1
			}
			for i := range 24 { // more than the numbers of one base
				say(a, b, 8+i)
				if i%3 == 0 {
					say(b, a, 8+i)
				}
			}
			m.run(30*time.Second, nil)
			checkFlows(t, b, sent)
			if s := b.engine.Stats(); len(a.got) != 16 || s.Hostile.Malformed != 0 || s.Headers.Lost != 0 || bursts < 24 || 10*short < 8*bursts {
				t.Errorf("duplex %v, burst %d lost: %d packets back, %d of %d blocks short: %s", duplex, lost, len(a.got), short, bursts, summary(b))
			}
			if lost > 0 {
				continue
			}
			m.add("gamma", nil)
			m.run(20*time.Second, nil)
			short = 0
			say(a, b, 99)
			if short > 0 {
				t.Errorf("%d blocks were short beside a third station", short)
			}
		}
	}
}
