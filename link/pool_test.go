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

// wirePair is two engines of which one sends bulk to the other, without a medium
// between: frames are handed over as they are, into memory that is used again.
type wirePair struct {
	tb     testing.TB
	now    time.Time
	a, b   *Engine
	air    func(*phy.Burst) time.Duration
	burst  phy.Burst
	event  phy.Event
	frames [][]byte
	pkt    []byte
	packet [MaxMTU]byte
	number int
	got    int
	bursts int
}

func newWirePair(tb testing.TB, duplex bool) *wirePair {
	w := &wirePair{tb: tb, now: time.Unix(1000, 0), air: modelAirtime(testModes)}
	for i, name := range []string{"alpha", "beta"} {
		e, err := New(Config{
			Name: name, Address: uint16(i + 1), Epoch: 1, Seed: uint64(i), Prefixes: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), 24)},
			Caps:    phy.Caps{Modes: testModes, FullDuplex: duplex, Turnaround: 20 * time.Millisecond, MaxFrames: 255, MaxControl: 63},
			Airtime: w.air,
		}, w.now)
		if err != nil {
			tb.Fatal(err)
		}
		if i == 0 {
			w.a = e
		} else {
			w.b = e
		}
	}
	for range 255 {
		w.frames = append(w.frames, make([]byte, 0, 256))
	}
	w.event.Burst.Control = make([]byte, 0, 63)
	w.pkt = tcpPacket(netip.AddrFrom4([4]byte{10, 0, 0, 1}), netip.AddrFrom4([4]byte{10, 0, 0, 2}), 7<<16|8, 1, 1, tcpACK, false, 1, 1, nil, 1228)
	return w
}

// carry lets from send if it may, and hands its burst to the other.
func (w *wirePair) carry(from, to *Engine) {
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
	to.HandleEvent(w.now, ev)
	w.bursts++
	for {
		if _, ok := to.NextPacket(w.packet[:]); !ok {
			return
		}
		w.got++
	}
}

// step is a second.
func (w *wirePair) step() {
	for end := w.now.Add(time.Second); w.now.Before(end); w.now = w.now.Add(10 * time.Millisecond) {
		for w.a.queued.Octets < 8000 {
			// A TCP segment; its number and checksum are right.
			w.number++
			seq := uint32(w.number) * 1228
			w.pkt[24], w.pkt[25], w.pkt[26], w.pkt[27] = byte(seq>>24), byte(seq>>16), byte(seq>>8), byte(seq)
			w.pkt[36], w.pkt[37] = 0, 0
			sum := ^internetSum(protoTCP+uint32(len(w.pkt)-20), w.pkt[12:])
			w.pkt[36], w.pkt[37] = byte(sum>>8), byte(sum)
			if err := w.a.EnqueuePacket(w.now, w.pkt); err != nil {
				w.tb.Fatal(err)
			}
		}
		w.carry(w.a, w.b)
		w.carry(w.b, w.a)
	}
}

// TestSteadyAllocs: a link in steady flow allocates nothing, beacons apart.
func TestSteadyAllocs(t *testing.T) {
	for _, c := range []struct{ duplex, compress bool }{{false, false}, {true, false}, {true, true}} {
		duplex, w := c.duplex, newWirePair(t, c.duplex)
		if w.a.cfg.Compress = c.compress; c.compress {
			letters := rand.New(rand.NewPCG(testSeed, 1))
			for i := 40; i < len(w.pkt); i++ {
				w.pkt[i] = "etaoin shrdlu"[letters.IntN(13)]
			}
		}
		for range 200 {
			w.step()
		}
		bursts, got := w.bursts, w.got
		allocs := testing.AllocsPerRun(100, w.step)
		bursts, got = w.bursts-bursts, w.got-got
		if s := w.a.deflate.Stats(); (s.Compressed > 0) != c.compress {
			t.Errorf("%+v", s)
		}
		t.Logf("duplex %v: %d bursts, %d packets, %.2f allocations in a second", duplex, bursts, got, allocs)
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
	w := newWirePair(b, false)
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
