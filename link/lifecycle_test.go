package link

import (
	"fmt"
	"testing"
	"time"

	"lightsong/phy"
)

// leads are media on which a question and its answer take little: a lead, and a
// room with 10 ms buffers.
var leads = []struct {
	name   string
	duplex bool
	cost   time.Duration
}{
	{"full duplex", true, 55 * time.Millisecond},
	{"half duplex", false, 86 * time.Millisecond},
}

// leadModes are of a lead or a good room.
var leadModes = []phy.Mode{
	{MCS: 0, NetBPS: 300, SNRdB: -12, FrameOctets: 64},
	{MCS: 1, NetBPS: 3000, SNRdB: -3, FrameOctets: 128},
	{MCS: 2, NetBPS: 10000, SNRdB: 6, FrameOctets: 256},
	{MCS: 3, NetBPS: 50000, SNRdB: 18, FrameOctets: 512},
}

// onLead is a medium of two stations that know each other.
func onLead(t *testing.T, seed uint64, duplex bool, cost time.Duration) (*medium, *node, *node) {
	m := newMedium(t, seed)
	m.duplex, m.cost, m.latency = duplex, cost, 10*time.Millisecond
	m.table = leadModes
	a, b := m.add("alpha", nil), m.add("beta", nil)
	m.meet()
	for i := range 5 { // at speed
		m.send(a, udp(a.addr, b.addr, 2, i, 1000))
		m.send(b, udp(b.addr, a.addr, 2, i, 1000))
		m.run(2*time.Second, nil)
	}
	m.run(10*time.Second, func() bool { return len(a.got) == 5 && len(b.got) == 5 })
	a.got, b.got = nil, nil
	return m, a, b
}

// TestKilled: a peer dies and comes back, twenty times, and its going is known
// within 5 s, whether or not there is traffic; a packet that waited for it and one
// of its own are there within 5 s of its return.
func TestKilled(t *testing.T) {
	for _, c := range leads {
		for _, traffic := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s traffic %v", c.name, traffic), func(t *testing.T) {
				m, a, b := onLead(t, testSeed, c.duplex, c.cost)
				number := 0
				send := func() {
					number++
					m.send(a, udp(a.addr, b.addr, 1, number, 300))
				}
				var slowestDown, slowestUp time.Duration
				for round := range 20 {
					m.run(5*time.Second, func() bool { return len(m.air) == 0 }) // the test medium's carrier ends with the burst
					dead := m.now
					b.engine = m.newEngine(b, nil)
					b.sending = nil
					b.deaf[a], a.deaf[b] = true, true // it is not there
					m.run(time.Duration(m.random.IntN(500))*time.Millisecond, nil)
					if traffic {
						send()
					}
					if !m.run(5*time.Second-m.now.Sub(dead), func() bool { return !a.engine.Up() }) {
						t.Fatalf("round %d: up 5 s after the peer's death: %s", round, summary(a))
					}
					if d := m.now.Sub(dead); d < time.Second {
						t.Errorf("round %d: down after %v already", round, d)
					} else {
						slowestDown = max(slowestDown, d)
					}
					m.run(time.Duration(m.random.IntN(15000))*time.Millisecond, nil)
					if !traffic {
						send()
					}
					m.run(2*time.Second, nil)
					m.restart(b, nil)
					b.deaf, a.deaf = map[*node]bool{}, map[*node]bool{}
					a.got, b.got = nil, nil
					back := m.now
					m.send(b, udp(b.addr, a.addr, 1, number, 300))
					if !m.run(5*time.Second, func() bool { return len(b.got) > 0 && len(a.got) > 0 && a.engine.Up() && b.engine.Up() }) {
						t.Errorf("round %d: 5 s after the return %d and %d packets came\n%s\n%s", round, len(a.got), len(b.got), summary(a), summary(b))
					}
					slowestUp = max(slowestUp, m.now.Sub(back))
					m.run(3*time.Second, nil)
				}
				t.Logf("down after %v, traffic %v after the return, at most", slowestDown, slowestUp)
				if got := a.engine.Stats().Peers[0]; got.Restarts < 20 || got.Downs != 20 {
					t.Errorf("%d restarts and %d downs counted", got.Restarts, got.Downs)
				}
			})
		}
	}
}

// TestCalledAnew: a station that was killed, of which no beacon was read yet, and answers a
// call that was meant for what it was before gets what waits for it at once: neither beacon nor question comes between.
func TestCalledAnew(t *testing.T) {
	called := 0
	for seed := range uint64(5) {
		m, a, b := onLead(t, seed, false, 86*time.Millisecond)
		b.deaf[a], a.deaf[b] = true, true
		m.send(a, udp(a.addr, b.addr, 1, 1, 300))
		m.run(10*time.Second, nil)
		m.restart(b, nil)
		b.deaf, a.deaf = map[*node]bool{}, map[*node]bool{}
		m.drop = func(from, _ *node, x *phy.Burst) bool { return from == b && blockOf(x).kind == beaconed }
		answered, between := false, 0
		b.observe = func(_ time.Time, x *phy.Burst) {
			if c := blockOf(x); c.kind == unicast && c.flags&flagAnswer != 0 {
				answered = true
			}
		}
		a.observe = func(_ time.Time, x *phy.Burst) {
			if c := blockOf(x); answered && (c.kind != unicast || c.data == 0) {
				between++
			}
		}
		if !m.run(20*time.Second, func() bool { return len(b.got) > 0 }) || between > 0 {
			t.Errorf("seed %d: %d packets came, %d bursts between the answer and them", seed, len(b.got), between)
		}
		if answered { // now and then the call meets the other's own beacon
			called++
		}
	}
	if called < 4 {
		t.Errorf("%d of 5 answered a call", called)
	}
}

// TestPulled: a lead is pulled for a while: both stations know it within 5 s, what
// waited for less than 30 s goes out soon after its return (after 10 s within 5), in
// order, and what waited for longer does not.
func TestPulled(t *testing.T) {
	for _, c := range leads {
		for _, out := range []time.Duration{10 * time.Second, 25 * time.Second, 2 * time.Minute} {
			t.Run(fmt.Sprintf("%s %v", c.name, out), func(t *testing.T) {
				m, a, b := onLead(t, testSeed, c.duplex, c.cost)
				before := a.engine.Stats().Peers[0].MCSOut
				pulled := true
				m.drop = func(*node, *node, *phy.Burst) bool { return pulled }
				start := m.now
				for i := range 5 {
					m.send(a, ipv4(protoTCP, a.addr, b.addr, 1, i, 1000))
				}
				if !m.run(5*time.Second, func() bool { return !a.engine.Up() && !b.engine.Up() }) {
					t.Fatalf("up 5 s after it was pulled: %s\n%s", summary(a), summary(b))
				}
				t.Logf("down after %v", m.now.Sub(start))
				m.run(out-2*time.Second-m.now.Sub(start), nil)
				m.send(a, ipv4(protoTCP, a.addr, b.addr, 1, 5, 1000))
				m.run(out-m.now.Sub(start), nil)
				pulled = false
				back := m.now
				want := 6
				if out > holdFor+goneAfter {
					want = 1
				}
				// After long silence a station calls less often.
				if limit := max(5*time.Second, 2*out/recallShare); !m.run(limit, func() bool { return a.engine.Up() && b.engine.Up() && len(b.got) == want }) {
					t.Fatalf("long after the return %d of %d packets: %s\n%s", len(b.got), want, summary(a), summary(b))
				}
				t.Logf("all there %v after the return", m.now.Sub(back))
				m.run(5*time.Second, nil)
				last := -1
				for _, pkt := range b.got {
					_, n := numberOf(pkt)
					if n <= last {
						t.Errorf("packet %d after %d", n, last)
					}
					last = n
				}
				if got := a.engine.Stats().Peers[0]; got.MCSOut != before || got.Downs != 1 {
					t.Errorf("mode %d, before it was %d; %d downs", got.MCSOut, before, got.Downs)
				}
			})
		}
	}
}

// TestHeldAsYoung: in an outage of 35 s, in which TCP repeats a segment after 1, 3, 7, 15 and 31 s, that goes out when the
// other station is back, as young as its last repetition: the host would be silent for half a minute more. A datagram of
// its beginning is too old by then, one that was sent later is not.
func TestHeldAsYoung(t *testing.T) {
	const out = 35 * time.Second
	for _, c := range leads {
		m, a, b := onLead(t, testSeed, c.duplex, c.cost)
		cut := true
		m.drop = func(*node, *node, *phy.Burst) bool { return cut }
		start := m.now
		until := func(d time.Duration) { m.run(start.Add(d).Sub(m.now), nil) }
		m.send(a, udp(a.addr, b.addr, 3, 0, 300))
		for _, at := range []int{0, 1, 3, 7, 15, 31} {
			until(time.Duration(at) * time.Second)
			m.send(a, ipv4(protoTCP, a.addr, b.addr, 1, 0, 300))
			if at == 15 {
				m.send(a, udp(a.addr, b.addr, 3, 1, 300))
			}
		}
		// What the peer's going has to do with it would let the first one live a moment longer.
		until(waitOther + 2*time.Second)
		if s := a.engine.Stats(); s.Peers[0].State != PeerDown || s.Packets.Dropped.Expired+s.Packets.Dropped.GivenUp != 1 || s.Queue.Repeated != 5 {
			t.Errorf("%s: want the first datagram gone and five repetitions held: %s", c.name, summary(a))
		}
		until(out)
		cut = false
		back := m.now
		if !m.run(2*out/recallShare, func() bool { return len(b.got) == 2 }) {
			t.Errorf("%s: %d of 2 packets: %s", c.name, len(b.got), summary(a))
		}
		t.Logf("%s: there %v after the return", c.name, m.now.Sub(back))
		m.run(5*time.Second, nil)
		for _, p := range b.got {
			if port, number := numberOf(p); port == 3 && number != 1 {
				t.Errorf("%s: the first datagram came, %v old", c.name, m.now.Sub(start))
			}
		}
	}
}

// TestAskedAtOnce: who is heard again, by a beacon, is asked before it is sent a beacon: the answer tells sooner that both hear each other.
func TestAskedAtOnce(t *testing.T) {
	for _, c := range leads {
		for seed := range uint64(10) {
			m, a, b := onLead(t, seed, c.duplex, c.cost)
			b.deaf[a], a.deaf[b] = true, true
			if !m.run(10*time.Second, func() bool { return !a.engine.Up() && !b.engine.Up() }) {
				t.Fatalf("seed %d: still up", seed)
			}
			var first *phy.Burst
			called := false // a beacon was begun since they hear each other again
			a.observe = func(_ time.Time, x *phy.Burst) {
				if first == nil && a.engine.peers[0].live() {
					first = x
				}
			}
			m.drop = func(from, _ *node, x *phy.Burst) bool { return !called && (from == a || blockOf(x).kind != beaconed) }
			b.observe = func(_ time.Time, x *phy.Burst) {
				called = called || blockOf(x).kind == beaconed
			}
			b.deaf, a.deaf = map[*node]bool{}, map[*node]bool{}
			if !m.run(time.Minute, func() bool { return first != nil }) || blockOf(first).kind != unicast {
				t.Errorf("%s, seed %d: %+v", c.name, seed, first)
			}
		}
	}
}

// TestMoved: a station that comes back at another address is one, what waited for it goes there, in order, and within 5 s of
// its return; its prefixes may be others, too.
func TestMoved(t *testing.T) {
	for _, c := range leads {
		m, a, b := onLead(t, testSeed, c.duplex, c.cost)
		old := b.engine.address
		b.deaf[a], a.deaf[b] = true, true
		for i := range 5 {
			m.send(a, ipv4(protoTCP, a.addr, b.addr, 1, i, 1000))
		}
		m.run(10*time.Second, nil)
		m.restart(b, func(c *Config) { c.Address = old ^ 1 })
		b.deaf, a.deaf = map[*node]bool{}, map[*node]bool{}
		back := m.now
		if !m.run(5*time.Second, func() bool { return len(b.got) == 5 && a.engine.Up() }) {
			t.Errorf("%s: %d of 5 packets: %s", c.name, len(b.got), summary(a))
		}
		t.Logf("%s: all there %v after the return", c.name, m.now.Sub(back))
		for i, p := range b.got {
			if _, n := numberOf(p); n != i {
				t.Errorf("%s: packet %d came as number %d", c.name, n, i)
			}
		}
		if s := a.engine.Stats(); len(s.Peers) != 1 || s.Peers[0].Address != old^1 || s.Peers[0].Name != b.name {
			t.Errorf("%s: peers %+v", c.name, s.Peers)
		}
	}
}

// TestDeaf: a peer that is heard but hears nothing is not up; it is again when it
// answers.
func TestDeaf(t *testing.T) {
	for _, c := range leads {
		m, a, b := onLead(t, testSeed, c.duplex, c.cost)
		b.deaf[a] = true
		start := m.now
		number := 0
		if !m.run(30*time.Second, func() bool {
			if m.now.Sub(start) > time.Duration(number)*time.Second {
				number++
				m.send(b, udp(b.addr, a.addr, 1, number, 100))
				m.send(a, udp(a.addr, b.addr, 1, number, 100))
			}
			return !a.engine.Up()
		}) {
			t.Errorf("%s: up though the peer hears nothing: %s", c.name, summary(a))
		}
		t.Logf("%s: noticed after %v", c.name, m.now.Sub(start))
		b.deaf[a] = false
		if !m.run(15*time.Second, func() bool { return a.engine.Up() && b.engine.Up() }) {
			t.Errorf("%s: not up again", c.name)
		}
	}
}

// TestSilenceBlames: a silence that began with a plain burst in a mode that had not done well may be that mode's doing; what was tried
// after another one had stayed without an answer, or went in another form, is not.
func TestSilenceBlames(t *testing.T) {
	tried, proven, block := &sentBurst{mode: 2}, &sentBurst{mode: 1}, &sentBurst{mode: 4, form: phy.Block}
	for _, c := range []struct {
		name   string
		silent []*sentBurst
		want   int
	}{
		{"one that had done well", []*sentBurst{proven, proven}, 2},
		{"a faster one", []*sentBurst{tried, proven}, 1},
		{"a block", []*sentBurst{block, proven}, 2},
		{"one that had done well, then a faster one", []*sentBurst{proven, tried}, 2},
	} {
		e, p := formed(t)
		now := time.Now()
		p.tx.want, p.wellOut = 4, 1
		p.tx.ceiling.index = 2
		e.proves(now, p)
		for _, b := range c.silent {
			p.outstanding = []*sentBurst{b}
			e.noAnswer(now, p)
			p.tx.ceiling.index = 0
		}
		e.goDown(now, p)
		p.outstanding = []*sentBurst{tried}
		e.noAnswer(now, p) // nor is what goes to who is gone
		if p.restoreModes(); p.tx.ceiling.index != c.want {
			t.Errorf("a silence that began with %s: back in mode %d, want %d", c.name, p.tx.ceiling.index, c.want)
		}
	}
}
