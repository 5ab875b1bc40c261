package link

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"lightsong/phy"
)

// TestReply: of two stations an exchange of two small packets is two bursts, as what became of the reply comes with the next question.
// What of the reply is lost is asked for at once; who could read nothing of it asks anew without a wait, and who heard nothing at all
// when an answer is overdue: its report tells the reply's sender what it could not know.
func TestReply(t *testing.T) {
	const pings, every = 5, time.Second
	for _, tt := range []struct {
		name   string
		lose   func(e *phy.Event) bool // of the third reply; false: it is not heard at all
		bursts int                     // in all
		within time.Duration           // the third reply came, beyond the others' time
	}{
		{"nothing lost", func(*phy.Event) bool { return true }, 2 * pings, 0},
		{"the frame", func(ev *phy.Event) bool { clear(ev.Burst.Frames); return true }, 2*pings + 2, 600 * time.Millisecond},
		{"all but its preamble", func(ev *phy.Event) bool { ev.Burst.Control = nil; return true }, 2*pings + 2, 1000 * time.Millisecond},
		{"all", func(*phy.Event) bool { return false }, 2*pings + 2, 1100 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMedium(t, testSeed)
			a, b := m.add("alpha", nil), m.add("beta", nil)
			m.meet()
			m.run(time.Minute, nil) // beacons become rare
			var log strings.Builder
			bursts, replies, wantedOf := 0, 0, map[bool]int{}
			for _, n := range m.nodes {
				n.observe = func(now time.Time, burst *phy.Burst) {
					c := blockOf(burst)
					if c.kind == beaconed {
						return
					}
					bursts++
					wantedOf[c.flags&flagWanted != 0]++
					fmt.Fprintf(&log, "%v %s: flags %x, %d frames\n", now.Sub(time.Time{}), n.name, c.flags, len(burst.Frames))
				}
			}
			m.heard = func(n *node, sent *phy.Burst) phy.Event {
				ev := phy.Event{Kind: phy.Received, Burst: m.through(n, sent), Quality: phy.Quality{SNR: n.snr}}
				if n == a && len(sent.Frames) > 0 && blockOf(sent).kind != beaconed {
					if replies++; replies == 3 && !tt.lose(&ev) {
						return phy.Event{Kind: phy.Idle}
					}
				}
				return ev
			}
			b.deliver = func([]byte) { m.send(b, ipv4(protoICMP, b.addr, a.addr, 7, 0, 84)) }
			var usual time.Duration
			for i := range pings {
				began, came := m.now, len(a.got)
				m.send(a, ipv4(protoICMP, a.addr, b.addr, 7, i, 84))
				if !m.run(time.Minute, func() bool { return len(a.got) > came }) {
					t.Fatalf("ping %d did not come back\n%s", i, &log)
				}
				took := m.now.Sub(began)
				if i == 0 {
					usual = took
				}
				if took-usual > max(tt.within, 150*time.Millisecond) {
					t.Errorf("ping %d took %v, the first one %v", i, took, usual)
				}
				m.run(max(0, every-took), nil)
			}
			if bursts != tt.bursts || tt.bursts == 2*pings && wantedOf[false] != pings {
				t.Errorf("%d bursts, %d of them asked, want %d\n%s", bursts, wantedOf[true], tt.bursts, &log)
			}
			if d := b.engine.Stats().Packets.Duplicates + a.engine.Stats().Packets.Duplicates; d > 1 {
				t.Errorf("%d packets twice\n%s", d, &log)
			}
		})
	}
}
