package link

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"lightsong/phy"
)

// TestLostFramesComeAgain: where receivers combine, frames that were lost are sent again
// octet by octet, before anything else, unless frames of their length make a poor burst;
// elsewhere they are cut as suits the burst. All packets come whole and in order either way.
func TestLostFramesComeAgain(t *testing.T) {
	for _, duplex := range []bool{false, true} {
		for _, combines := range []bool{true, false} {
			t.Run(fmt.Sprintf("duplex %v, combines %v", duplex, combines), func(t *testing.T) {
				m := newMedium(t, testSeed)
				m.duplex = duplex
				edit := func(cfg *Config) { cfg.Caps.Combines = combines }
				a, b := m.add("alpha", edit), m.add("beta", edit)
				m.meet()
				missing := map[string]bool{} // frames that were lost
				lost, again := 0, 0
				m.drop = func(from, _ *node, burst *phy.Burst) bool {
					if from != a {
						return false
					}
					var c control
					if !c.parse(burst.Control) {
						t.Fatalf("control block %x", burst.Control)
					}
					k := int(c.data)
					for i, f := range burst.Frames[:k] {
						if missing[string(f)] {
							again++
							delete(missing, string(f))
						} else if m.random.IntN(4) == 0 {
							lost++
							missing[string(f)] = true
							burst.Frames[i] = nil
						}
					}
					return false
				}
				start := m.now
				var want [][]byte
				const count = 80
				for i := range count {
					pkt := ipv4(protoTCP, a.addr, b.addr, uint16(80+i%2), i, 100+13*(i%40))
					want = append(want, pkt)
					m.send(a, pkt)
				}
				if !m.run(20*time.Minute, func() bool { return len(b.got) == count }) {
					t.Fatalf("%d of %d packets, %d frames lost", len(b.got), count, lost)
				}
				for flow := range 2 { // in order within each
					var got [][]byte
					for _, p := range b.got {
						if int(p[21])%2 == flow {
							got = append(got, p)
						}
					}
					for i, p := range got {
						if !bytes.Equal(p, want[2*i+flow]) {
							t.Fatalf("packet %d of flow %d is another one", i, flow)
						}
					}
				}
				repeated := a.engine.Stats().Frames.Repeated // those that parity did not give back
				t.Logf("%d frames lost, %d of them for good, %d came again in %v", lost, repeated, again, m.now.Sub(start))
				if repeated < 5 {
					t.Fatalf("%d frames lost for good, too few to tell", repeated)
				}
				if share := float64(again) / float64(repeated); combines && share < 2./3 {
					t.Errorf("%d of %d lost frames came again as they were, want two thirds", again, repeated)
				}
			})
		}
	}
}
