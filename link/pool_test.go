//go:build !race

// The race detector allocates where the code does not.

package link

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"lightsong/phy"
)

// wires are engines of which the first sends bulk to the others, without a medium
// between: frames are handed over as they are, into memory that is used again.
type wires struct {
	tb      testing.TB
	now     time.Time
	engines []*Engine
	air     func(*phy.Burst) time.Duration
	burst   phy.Burst
	event   phy.Event
	block   control
	frames  [][]byte
	pkts    [][]byte // to each of the others
	packet  [MaxMTU]byte
	number  int
	got     int
	bursts  int
	joint   int // of them to several stations
	least   int // octets that wait at the first, at least
}

func newWires(tb testing.TB, stations int, duplex bool) *wires {
	w := &wires{tb: tb, least: 8000, now: time.Unix(1000, 0), air: modelAirtime(testModes)}
	for i, name := range []string{"alpha", "beta", "gamma", "delta", "epsilon"}[:stations] {
		e, err := New(Config{
			Name: name, Address: uint16(i + 1), Epoch: 1, Seed: uint64(i), Prefixes: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), 24)},
			Caps:    phy.Caps{Modes: testModes, FullDuplex: duplex, Turnaround: 20 * time.Millisecond, MaxFrames: 255, MaxControl: 63},
			Airtime: w.air,
		}, w.now)
		if err != nil {
			tb.Fatal(err)
		}
		if w.engines = append(w.engines, e); i > 0 {
			size := 1228 / (stations - 1)
			w.pkts = append(w.pkts, tcpPacket(netip.AddrFrom4([4]byte{10, 0, 0, 1}), netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), 7<<16|8, 1, 1, tcpACK, false, 1, 1, nil, size))
		}
	}
	for range 255 {
		w.frames = append(w.frames, make([]byte, 0, 256))
	}
	w.event.Burst.Control = make([]byte, 0, 63)
	return w
}

// carry lets from send if it may, and hands its burst to the others.
func (w *wires) carry(from *Engine) {
	if !from.NextBurst(w.now, &w.burst) {
		return
	}
	w.now = w.now.Add(w.air(&w.burst))
	ev := &w.event
	ev.Kind, ev.Quality.SNR = phy.Received, 25
	ev.Burst.MCS = w.burst.MCS
	ev.Burst.Control = append(ev.Burst.Control[:0], w.burst.Control...)
	ev.Burst.Frames = ev.Burst.Frames[:0]
	for i, f := range w.burst.Frames {
		w.frames[i] = append(w.frames[i][:0], f...)
		ev.Burst.Frames = append(ev.Burst.Frames, w.frames[i])
	}
	from.BurstSent(w.now, nil)
	w.now = w.now.Add(20 * time.Millisecond)
	if w.bursts++; w.block.parse(w.burst.Control) && w.block.joint() {
		w.joint++
	}
	for _, to := range w.engines {
		if to == from {
			continue
		}
		to.HandleEvent(w.now, ev)
		for {
			if _, ok := to.NextPacket(w.packet[:]); !ok {
				break
			}
			w.got++
		}
	}
}

// step is a second.
func (w *wires) step() {
	for end := w.now.Add(time.Second); w.now.Before(end); w.now = w.now.Add(10 * time.Millisecond) {
		for w.engines[0].queued.Octets < w.least {
			// TCP segments; their numbers and checksums are right.
			w.number++
			for _, pkt := range w.pkts {
				seq := uint32(w.number * (len(pkt) - 52))
				pkt[24], pkt[25], pkt[26], pkt[27] = byte(seq>>24), byte(seq>>16), byte(seq>>8), byte(seq)
				pkt[36], pkt[37] = 0, 0
				sum := ^internetSum(protoTCP+uint32(len(pkt)-20), pkt[12:])
				pkt[36], pkt[37] = byte(sum>>8), byte(sum)
				if err := w.engines[0].EnqueuePacket(w.now, pkt); err != nil {
					w.tb.Fatal(err)
				}
			}
		}
		for _, e := range w.engines {
			w.carry(e)
		}
	}
}

// TestSteadyAllocs: a link in steady flow allocates nothing, beacons apart.
func TestSteadyAllocs(t *testing.T) {
	for _, c := range []struct {
		stations         int
		duplex, compress bool
	}{{2, false, false}, {2, true, false}, {2, true, true}, {4, false, false}} {
		duplex, w := c.duplex, newWires(t, c.stations, c.duplex)
		if c.stations > 2 {
			w.least = 500 // or each burst would be full of what waits for one
		}
		if w.engines[0].cfg.Compress = c.compress; c.compress {
			letters := rand.New(rand.NewPCG(testSeed, 1))
			for i := 40; i < len(w.pkts[0]); i++ {
				w.pkts[0][i] = "etaoin shrdlu"[letters.IntN(13)]
			}
		}
		for range 200 {
			w.step()
		}
		bursts, joint, got := w.bursts, w.joint, w.got
		allocs := testing.AllocsPerRun(100, w.step)
		bursts, joint, got = w.bursts-bursts, w.joint-joint, w.got-got
		if (joint > bursts/4) != (c.stations > 2) {
			t.Errorf("%d stations: %d of %d bursts to several", c.stations, joint, bursts)
		}
		if s := w.engines[0].deflate.Stats(); (s.Compressed > 0) != c.compress {
			t.Errorf("%+v", s)
		}
		t.Logf("%d stations, duplex %v: %d bursts, %d packets, %.2f allocations in a second", c.stations, duplex, bursts, got, allocs)
		if got < 40 {
			t.Fatalf("only %d packets in 100 s", got)
		}
		// A beacon, every 40 s here, is no steady flow: AllocsPerRun rounds down.
		if allocs >= 1 {
			t.Errorf("duplex %v: %.0f allocations in a second with %d bursts", duplex, allocs, bursts/100)
		}
	}
}

func BenchmarkSteady(b *testing.B) {
	w := newWires(b, 2, false)
	for range 100 {
		w.step()
	}
	bursts := w.bursts
	b.ReportAllocs()
	for b.Loop() {
		w.step()
	}
	b.ReportMetric(float64(w.bursts-bursts)/float64(b.N), "bursts/op")
}
