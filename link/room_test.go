package link

import (
	"bytes"
	"math"
	"slices"
	"testing"
	"time"

	"lightsong/phy"
)

// ladder is a table of modes 1.5 dB apart, each faster by a tenth than the one
// before: cellular and Wi-Fi tables climb about so.
func ladder() (m []phy.Mode) {
	bps := 2000.
	for i := range 24 {
		m = append(m, phy.Mode{MCS: phy.MCS(i), NetBPS: bps, SNRdB: -6 + 1.5*float64(i), FrameOctets: 256})
		bps *= 1.1
	}
	return m
}

// receivedAt is what a modem makes of a burst at an SNR: a frame is lost with 10 %
// where the mode's SNR is just seen, and with a tenth of the odds for each 0.5 dB more.
func (m *medium) receivedAt(b *phy.Burst, snr float64) phy.Event {
	ev := phy.Event{Kind: phy.Received, Quality: phy.Quality{SNR: snr + 0.3*m.random.NormFloat64(), Doppler: math.NaN()}}
	ev.Burst = phy.Burst{MCS: b.MCS, Control: bytes.Clone(b.Control)}
	odds := math.Pow(10, -2*(snr-m.table[b.MCS].SNRdB)) / 9
	for _, f := range b.Frames {
		if m.random.Float64() < odds/(1+odds) {
			f = nil
		}
		ev.Burst.Frames = append(ev.Burst.Frames, bytes.Clone(f))
	}
	return ev
}

// Rate control is there within three exchanges, follows a step of 10 dB within
// three, and then stays: what is asked for moves by a mode or two around the best.
func TestRateFollows(t *testing.T) {
	for _, duplex := range []bool{false, true} {
		for seed := range uint64(10) {
			m := newMedium(t, testSeed+seed)
			m.table, m.duplex = ladder(), duplex
			snr := 20.
			m.heard = func(_ *node, b *phy.Burst) phy.Event { return m.receivedAt(b, snr) }
			a, b := m.add("alpha", nil), m.add("beta", nil)
			m.meet()
			var used []int // modes of the bursts with data
			a.observe = func(_ time.Time, x *phy.Burst) {
				var c control
				if c.parse(x.Control) && c.kind == unicast && c.data > 0 {
					used = append(used, int(x.MCS))
				}
			}
			best := func() int { return modes(m.table).suiting(snr) }
			load := func(bursts int) {
				t.Helper()
				used = used[:0]
				for i := 0; len(used) < bursts; i++ {
					if len(a.queue)+a.engine.queued.Packets < 20 {
						m.send(a, ipv4(protoTCP, a.addr, b.addr, 80, i, 1000))
					}
					m.run(100*time.Millisecond, nil)
					if i > 100*bursts {
						t.Fatalf("seed %d: %d bursts of %d", testSeed+seed, len(used), bursts)
					}
				}
			}
			// On a full-duplex medium three more bursts are on their way when the third is heard of.
			settle := 3
			if duplex {
				settle += historySize - 1
			}
			near := func(what string, below int) { // a mode above the best loses some frames, not all
				t.Helper()
				if got := used[settle]; got > best()+1 || got < best()-below {
					t.Errorf("duplex %v, seed %d, %s: modes %v, best %d", duplex, testSeed+seed, what, used, best())
				}
			}
			// The margins: of the receiver 3 dB, that is two modes, and one by which it rounds.
			load(settle + 1)
			near("at first", 3)
			load(20)
			snr -= 10
			load(settle + 1)
			near("10 dB less", 5) // what was lost before the margin knows of it widens it further
			load(20)
			snr += 10
			load(settle + 1)
			near("10 dB more", 4)
			load(30)
			load(60)
			if low, high := slices.Min(used), slices.Max(used); high-low > 3 || low < best()-4 || high > best()+1 {
				t.Errorf("duplex %v, seed %d, without a step: modes %v, best %d", duplex, testSeed+seed, used, best())
			}
		}
	}
}
