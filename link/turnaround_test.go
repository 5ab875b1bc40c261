package link

import (
	"testing"
	"time"

	"lightsong/phy"
)

// TestTurnaroundMeasured: stations whose buffers hold 150 ms, of which the PHY
// knows nothing, find that out from answers and then keep out of each other's
// way. A burst leaves 150 ms after it was built and is heard as long after it
// has come, so an answer is there 450 ms after the question had left, of which
// up to 100 could be its decoding. The
// PHY's own word is believed where it is the longer one.
func TestTurnaroundMeasured(t *testing.T) {
	const buffer = 150 * time.Millisecond
	for _, tt := range []struct {
		name string
		told time.Duration
		want time.Duration
	}{
		{"buffers are not known of", 20 * time.Millisecond, 3*buffer - reading},
		{"buffers are known", 4 * buffer, 4 * buffer},
	} {
		var silence, received uint64
		for seed := range uint64(10) {
			m := newMedium(t, testSeed+seed)
			m.latency = buffer
			edit := func(c *Config) { c.Caps.Turnaround = tt.told }
			a, b := m.add("alpha", edit), m.add("beta", edit)
			m.meet()
			sent := 0
			load := func() {
				for range 3 {
					m.send(a, ipv4(protoTCP, a.addr, b.addr, 80, sent, 300))
					m.send(b, ipv4(protoTCP, b.addr, a.addr, 80, sent, 500))
					sent++
				}
				if !m.run(10*time.Minute, func() bool { return len(a.got) == sent && len(b.got) == sent }) {
					t.Fatalf("%s: %d and %d of %d packets", tt.name, len(a.got), len(b.got), sent)
				}
			}
			load()
			count := func(sign uint64) {
				for _, n := range m.nodes {
					s := n.engine.Stats()
					silence += sign * s.Bursts.Silence
					received += sign * s.Bursts.Received
				}
			}
			count(^uint64(0)) // −1
			for range 10 {
				load()
			}
			count(1)
			for _, n := range m.nodes {
				// Up to hostTurn is the answering host's.
				if got := n.engine.Stats().Turnaround; (got - tt.want).Abs() > hostTurn {
					t.Errorf("%s: %s takes the turnaround for %v, want %v", tt.name, n.name, got, tt.want)
				}
			}
		}
		t.Logf("%s: %d answers did not come, %d bursts did", tt.name, silence, received)
		if silence > received/8 {
			t.Errorf("%s: %d answers did not come beside %d bursts that did", tt.name, silence, received)
		}
	}
}

// TestRetimed: a PHY that finds its turnaround to be another is believed, up to
// what a medium can have.
func TestRetimed(t *testing.T) {
	m := newMedium(t, testSeed)
	e := m.add("alpha", nil).engine
	for _, tt := range []struct{ said, want time.Duration }{
		{300 * time.Millisecond, 300 * time.Millisecond},
		{40 * time.Millisecond, 40 * time.Millisecond},
		{-time.Second, 0},
		{time.Hour, maxTurnaround},
	} {
		e.HandleEvent(m.now, &phy.Event{Kind: phy.Retimed, Until: tt.said})
		if got := e.Stats().Turnaround; got != tt.want {
			t.Errorf("told %v: %v, want %v", tt.said, got, tt.want)
		}
	}
}

// TestSensing: bursts that are no louder than the noise are noticed when their preamble is over, which is longer
// than the gap before an answer. Two stations of which one has bulk for the other, whose host acknowledges a moment after
// the link does, find that out: the bulk goes on before the other one contends.
func TestSensing(t *testing.T) {
	const preamble = 70 * time.Millisecond
	addressed, collided := 0, 0
	for seed := range uint64(10) {
		m := newMedium(t, testSeed+seed)
		m.table, m.latency, m.sensing = testModes[:3], 10*time.Millisecond, preamble
		a, b := m.add("alpha", nil), m.add("beta", nil)
		a.snr, b.snr = 5, 5
		m.meet()
		b.deliver = func(pkt []byte) {
			_, number := numberOf(pkt)
			m.after(30*time.Millisecond, func() { m.send(b, ipv4(protoTCP, b.addr, a.addr, 2, number, 52)) })
		}
		load := func(n int) {
			for i := range n {
				m.send(a, ipv4(protoTCP, a.addr, b.addr, 1, i, 700))
			}
			m.run(10*time.Minute, func() bool { return a.engine.Stats().Queue.Packets == 0 })
		}
		load(10)
		m.addressed, m.collided = 0, 0
		load(40)
		addressed, collided = addressed+m.addressed, collided+m.collided
		for _, n := range m.nodes {
			if got := n.engine.access.sensing; got < preamble/2 || got > preamble {
				t.Errorf("%s notices bursts after %v, as far as it knows, want %v", n.name, got, preamble)
			}
		}
	}
	if t.Logf("%d of %d bursts met others", collided, addressed); collided > addressed/100 {
		t.Errorf("%d of %d bursts met others, want 1 %%", collided, addressed)
	}
}
