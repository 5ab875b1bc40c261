package link

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"lightsong/phy"
)

// tcpBothWays sends count packets each way in three flows and returns them.
func tcpBothWays(m *medium, a, b *node, count int) (toA, toB [][]byte) {
	for i := range count {
		port := uint16(1000 + i%3)
		toB = append(toB, ipv4(protoTCP, a.addr, b.addr, port, i, 40+i*60))
		toA = append(toA, ipv4(protoTCP, b.addr, a.addr, port, i, 1280-i*60))
	}
	for i := range toA {
		m.send(a, toB[i])
		m.send(b, toA[i])
	}
	return toA, toB
}

// TestDelivery: whatever share of frames and control blocks is lost, TCP
// packets arrive exactly once and in order.
func TestDelivery(t *testing.T) {
	for _, c := range []struct {
		frames, control float64
	}{{0, 0}, {0.1, 0}, {0.3, 0}, {0.5, 0}, {0, 0.1}, {0.3, 0.1}, {0, 0.3}} {
		for seed := range uint64(5) {
			t.Run(fmt.Sprintf("frames %.0f%% control %.0f%% seed %d", c.frames*100, c.control*100, seed), func(t *testing.T) {
				m := newMedium(t, testSeed+seed)
				a, b := m.add("alpha", nil), m.add("beta", nil)
				m.meet()
				m.frameLoss, m.controlLoss = c.frames, c.control
				count := 9
				switch {
				case c.control > 0 && c.frames > 0:
					count = 6
				case c.control > 0.1 || c.frames > 0.3:
					count = 3 // the rate left over carries no more within TCP's 30 s
				}
				toA, toB := tcpBothWays(m, a, b, count)
				m.run(10*time.Minute, func() bool { return len(a.got) == len(toA) && len(b.got) == len(toB) })
				m.run(time.Minute, nil)
				checkFlows(t, a, toA)
				checkFlows(t, b, toB)
				for _, n := range m.nodes {
					if q := n.engine.Stats().Queue; q.Packets != 0 || q.Octets != 0 {
						t.Errorf("%s: %+v left in the queue", n.name, q)
					}
				}
			})
		}
	}
}

// TestPingsWhereMuchIsLost: one station pings another each second, and 15 % of the
// control blocks and as many frames are lost, three of ten ways there and back: an
// exchange's four come through in half of all cases, so that what waits goes with one of the next few.
// Nearly all come back, and no station that gave way once does so for minutes.
func TestPingsWhereMuchIsLost(t *testing.T) {
	const seeds, pings, share, patience = 10, 600, 0.15, 2 * time.Minute
	came := 0
	for seed := uint64(testSeed); seed < testSeed+seeds; seed++ {
		m := newMedium(t, seed)
		a, b := m.add("alpha", nil), m.add("beta", nil)
		m.meet()
		m.frameLoss, m.controlLoss = share, share
		last, worst := m.now, time.Duration(0)
		a.deliver = func([]byte) { last = m.now; came++ }
		b.deliver = func([]byte) { m.send(b, ipv4(protoICMP, b.addr, a.addr, 7, 0, 84)) }
		for i := range pings {
			m.send(a, ipv4(protoICMP, a.addr, b.addr, 7, i, 84))
			m.run(time.Second, nil)
			worst = max(worst, m.now.Sub(last))
		}
		if worst > patience {
			t.Errorf("seed %d: nothing came for %v", seed, worst)
		}
	}
	t.Logf("%d of %d", came, seeds*pings)
	if came < seeds*pings*9/10 {
		t.Errorf("%d of %d pings came back, want nine of ten", came, seeds*pings)
	}
}

// TestGoodput: on a clean medium, bulk one way uses at least 70 % of the rate of
// the fastest mode. The budget: an exchange is two bursts of 1.97 s with 7 frames
// of 256 octets, 250 of them packets, each with 0.06 s of turnaround twice and an
// acknowledgement of 0.15 s, and then a contention of 0.09 s and 1.5 slots of
// 0.06 s in the mean: 28.0 kbit in 4.66 s, 75 %. The climb of the window at the
// begin and the last, shorter burst take the rest.
func TestGoodput(t *testing.T) {
	m := newMedium(t, testSeed)
	a, b := m.add("alpha", nil), m.add("beta", nil)
	m.meet()
	const count, size = 30, 1280
	start := m.now
	for i := range count {
		m.send(a, ipv4(protoTCP, a.addr, b.addr, 80, i, size))
	}
	if !m.run(5*time.Minute, func() bool { return len(b.got) == count }) {
		t.Fatalf("%d of %d packets", len(b.got), count)
	}
	bps := count * size * 8 / m.now.Sub(start).Seconds()
	if want := 0.70 * testModes[4].NetBPS; bps < want {
		t.Errorf("%.0f bit/s, want at least %.0f", bps, want)
	}
	t.Logf("%.0f of %.0f bit/s", bps, testModes[4].NetBPS)
}

// TestModes: from the mode for first contact a link climbs as far as the SNR
// allows, a mode with each exchange; where a fast mode fails for another reason,
// it settles below.
func TestModes(t *testing.T) {
	for _, c := range []struct {
		name string
		snr  float64
		bad  phy.MCS // this and faster ones never arrive
		want uint8
	}{
		{"25 dB", 25, 9, 4},
		{"14 dB", 14, 9, 3},
		{"5 dB", 5, 9, 2},
		{"25 dB, echoes spoil mode 3", 25, 3, 2},
	} {
		for _, header := range []bool{false, true} {
			m := newMedium(t, testSeed)
			a, b := m.add("alpha", nil), m.add("beta", nil)
			a.snr, b.snr = c.snr, c.snr
			m.drop = func(_, _ *node, burst *phy.Burst) bool {
				if burst.MCS < c.bad {
					return false
				}
				clear(burst.Frames)
				return header
			}
			m.run(30*time.Second, func() bool { return a.engine.Up() && b.engine.Up() })
			best := 0
			var failed time.Duration
			observe := func(_ time.Time, burst *phy.Burst) {
				best = max(best, int(burst.MCS))
				if burst.MCS >= c.bad {
					failed += modelAirtime(m.table)(burst)
				}
			}
			var modes []uint8 // of a's bursts with data; a few are trials of faster ones
			a.observe, b.observe = func(now time.Time, burst *phy.Burst) {
				if observe(now, burst); len(burst.Frames) > 0 {
					modes = append(modes, uint8(burst.MCS))
				}
			}, observe
			start := m.now
			for i := range 60 {
				m.send(a, ipv4(protoTCP, a.addr, b.addr, 1, i, 500))
				m.run(6*time.Second, nil)
			}
			m.run(time.Minute, func() bool { return len(b.got) == 60 })
			if len(b.got) != 60 {
				t.Errorf("%s: header %v: %d of 60 packets: %s", c.name, header, len(b.got), summary(a))
			}
			modes = modes[max(0, len(modes)-20):]
			if slices.Sort(modes); modes[len(modes)/2] != c.want {
				t.Errorf("%s: modes %d, want mostly %d", c.name, modes, c.want)
			}
			// About 100 bursts each way; trials of two bursts after 1, 2, 4, … 32
			// successes are 14 of them.
			if share := failed.Seconds() / m.now.Sub(start).Seconds(); share > 0.15 {
				t.Errorf("%s: %.0f %% of the time went into modes that fail", c.name, 100*share)
			}
		}
	}
}

// TestSmallPacketsPass: a ping beside a bulk flow waits for at most the burst
// under way, its acknowledgement and its own burst, not for the backlog, which
// here is 32 s long.
func TestSmallPacketsPass(t *testing.T) {
	m := newMedium(t, testSeed)
	a, b := m.add("alpha", nil), m.add("beta", nil)
	m.meet()
	for i := range 25 {
		m.send(a, ipv4(protoTCP, a.addr, b.addr, 80, i, 1280))
	}
	m.run(5*time.Second, nil)
	start := m.now
	ping := udp(a.addr, b.addr, 7, 0, 64)
	m.send(a, ping)
	arrived := func() bool { return slices.ContainsFunc(b.got, func(p []byte) bool { return bytes.Equal(p, ping) }) }
	if !m.run(time.Minute, arrived) {
		t.Fatal("the ping did not arrive")
	}
	if d := m.now.Sub(start); d > 6*time.Second {
		t.Errorf("the ping took %v", d)
	}
}

// TestFairness: four stations each begin to send 6250 octets to their neighbour
// at the same moment. The acoustic-network course sist-cs120 (2025) allows 120 s
// for that.
func TestFairness(t *testing.T) {
	const runs = 10
	var sum, exchange time.Duration
	for seed := range uint64(runs) {
		m := newMedium(t, testSeed+seed)
		for _, name := range []string{"alpha", "beta", "gamma", "delta"} {
			m.add(name, nil)
		}
		exchange = m.nodes[0].engine.cfg.MaxExchange + m.nodes[0].engine.cfg.MaxBurst
		m.meet()
		first, last := fourSend(t, m)
		if last > 120*time.Second {
			t.Errorf("seed %d: last done after %v", seed, last)
		}
		sum += last - first
	}
	// An exchange lasts MaxExchange and the burst that is then under way. Each
	// station needs two: taking turns strictly they are done within three
	// exchanges of each other; collisions, certain at the start, cost a turn.
	if mean := sum / runs; mean > 4*exchange {
		t.Errorf("the last is done %v after the first, want at most %v", mean, 4*exchange)
	} else {
		t.Logf("the last is done %v after the first in the mean of %d runs", mean, runs)
	}
}

// fourSend lets each of four stations send 6250 octets to the next, and tells
// when the first and the last are done.
func fourSend(t *testing.T, m *medium) (first, last time.Duration) {
	t.Helper()
	start := m.now
	want := map[*node][][]byte{}
	for i, n := range m.nodes {
		to := m.nodes[(i+1)%4]
		for j := range 5 {
			pkt := ipv4(protoTCP, n.addr, to.addr, 1000, j, 1250)
			want[to] = append(want[to], pkt)
			m.send(n, pkt)
		}
	}
	done := map[*node]time.Duration{}
	m.run(10*time.Minute, func() bool {
		for n, w := range want {
			if len(n.got) == len(w) && done[n] == 0 {
				done[n] = m.now.Sub(start)
			}
		}
		return len(done) == 4
	})
	var times []time.Duration
	for _, n := range m.nodes {
		checkFlows(t, n, want[n])
		times = append(times, done[n])
	}
	return slices.Min(times), slices.Max(times)
}

func TestDiscovery(t *testing.T) {
	for _, c := range []struct {
		name        string
		frames      float64
		snr         float64
		beaconsLost int
		within      time.Duration
	}{
		{"clean", 0, 25, 0, 5 * time.Second},
		{"half of the frames lost", 0.5, 25, 0, time.Minute},
		{"first three beacons lost", 0, 25, 3, 30 * time.Second},
		{"only the most robust mode reaches", 0, -10, 0, 15 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMedium(t, testSeed)
			a, b := m.add("alpha", nil), m.add("beta", nil)
			a.snr, b.snr = c.snr, c.snr
			m.frameLoss = c.frames
			lost := 0
			m.drop = func(_, n *node, burst *phy.Burst) bool {
				if lost++; lost <= c.beaconsLost {
					return true
				}
				return n.snr < m.table[burst.MCS].SNRdB
			}
			start := m.now
			if !m.run(c.within, func() bool { return a.engine.Up() && b.engine.Up() }) {
				t.Fatalf("not up within %v: %s", c.within, summary(a))
			}
			t.Logf("up after %v", m.now.Sub(start))
			m.frameLoss = 0
			m.send(a, udp(a.addr, b.addr, 9, 1, 100))
			if !m.run(5*time.Minute, func() bool { return len(b.got) == 1 }) {
				t.Error("no packet after discovery")
			}
		})
	}
}

// TestIdleAirtime: a link without traffic costs each station at most 2 % of the
// medium for beacons, and all of them 12.5 % for questions whether they are there.
func TestIdleAirtime(t *testing.T) {
	for _, stations := range []int{1, 2, 4} {
		m := newMedium(t, testSeed)
		for i := range stations {
			m.add(fmt.Sprintf("station %d", i), nil)
		}
		m.run(2*time.Minute, nil)
		for _, n := range m.nodes {
			n.airtime = 0
		}
		const d = 30 * time.Minute
		m.run(d, nil)
		for _, n := range m.nodes {
			share := n.airtime.Seconds() / d.Seconds()
			// The far beacons of a station that is alone are another 2 %. Each of
			// two has half of all questions and answers.
			if limit := map[bool]float64{true: 0.045, false: 0.0875}[stations == 1]; share > limit {
				t.Errorf("%d stations: %s uses %.2f %% of the medium", stations, n.name, 100*share)
			}
			if stations > 1 && !n.engine.Up() {
				t.Errorf("%s lost its peers", n.name)
			}
		}
	}
}

func TestPeerGoesDownAndComesBack(t *testing.T) {
	m := newMedium(t, testSeed)
	a, b := m.add("alpha", nil), m.add("beta", nil)
	m.meet()
	cut := true
	m.drop = func(*node, *node, *phy.Burst) bool { return cut }
	start := m.now
	if !m.run(5*time.Minute, func() bool { return !a.engine.Up() && !b.engine.Up() }) {
		t.Fatal("a dead medium was not noticed")
	}
	// On this medium a question and its answer take 1 s and more; four stay open,
	// with pauses of the same order between them.
	cost := a.engine.checkCost(a.engine.peers[0])
	keep := keepShare * cost
	if d := m.now.Sub(start); d < goneAfter || d > keep+3*goneTries*cost {
		t.Errorf("noticed after %v, with questions after %v that take %v", d, keep, cost)
	}
	m.send(a, ipv4(protoTCP, a.addr, b.addr, 1, 0, 200))
	cut = false
	if !m.run(2*time.Minute, func() bool { return a.engine.Up() && b.engine.Up() && len(b.got) == 1 }) {
		t.Errorf("no recovery: %s", summary(a))
	}
}

// TestRestart: a station that starts anew, under way and with a new epoch, finds
// its peers at once; what they send from then on arrives exact.
func TestRestart(t *testing.T) {
	m := newMedium(t, testSeed)
	a, b := m.add("alpha", nil), m.add("beta", nil)
	m.meet()
	for i := range 10 {
		m.send(a, ipv4(protoTCP, a.addr, b.addr, 80, i, 1000))
		m.send(b, ipv4(protoTCP, b.addr, a.addr, 80, i, 1000))
	}
	m.run(5*time.Second, nil)
	b.got = nil
	m.restart(b, nil)
	if !m.run(time.Minute, func() bool { return a.engine.Up() && b.engine.Up() && a.engine.Stats().Queue.Packets == 0 }) {
		t.Fatalf("%s", summary(a))
	}
	for i := 1; i < len(b.got); i++ {
		_, x := numberOf(b.got[i-1])
		if _, y := numberOf(b.got[i]); y != x+1 {
			t.Errorf("packet %d after %d", y, x)
		}
	}
	if len(b.got) == 0 {
		t.Fatal(summary(a), summary(b))
	}
	if _, last := numberOf(b.got[len(b.got)-1]); last != 9 {
		t.Errorf("last packet is %d", last)
	}
	a.got, b.got = nil, nil
	toA, toB := tcpBothWays(m, a, b, 9)
	m.run(5*time.Minute, func() bool { return len(a.got) == len(toA) && len(b.got) == len(toB) })
	checkFlows(t, a, toA)
	checkFlows(t, b, toB)
	if got := a.engine.Stats().Peers[0].Restarts; got != 1 {
		t.Errorf("%d restarts counted", got)
	}
}

// TestTone: carrier that never ends is no station; after 10 s it is ignored.
func TestTone(t *testing.T) {
	m := newMedium(t, testSeed)
	seldom := func(c *Config) { c.Keepalive = time.Hour } // to a question the answer goes whatever the medium is
	a, b := m.add("alpha", seldom), m.add("beta", seldom)
	m.meet()
	a.tone = true
	m.carrier(a)
	m.run(time.Second, nil)
	m.send(a, udp(a.addr, b.addr, 1, 0, 100))
	start := m.now
	if !m.run(time.Minute, func() bool { return len(b.got) == 1 }) {
		t.Fatalf("nothing is sent under a tone: %s", summary(a))
	}
	if d := m.now.Sub(start); d < 5*time.Second {
		t.Errorf("the tone was ignored after %v", d)
	}
	if got := a.engine.Stats().Hostile.StuckBusy; got != 1 {
		t.Errorf("stuck medium counted %d times", got)
	}
	m.send(a, udp(a.addr, b.addr, 1, 1, 100))
	if !m.run(10*time.Second, func() bool { return len(b.got) == 2 }) {
		t.Error("the second packet waited again")
	}
}

// TestDeafSense: where carrier sense tells nothing of what is heard, that is counted, and waits grow by what it is not
// noticed for: stations that all have more than the medium carries get two thirds of what they get with it, at least, and hardly ever
// meet.
func TestDeafSense(t *testing.T) {
	for _, n := range []int{2, 4} {
		saturate := func(silent bool) (octets, addressed, collided int) {
			m := newMedium(t, testSeed)
			m.table, m.latency, m.cost, m.silent = leadModes, 10*time.Millisecond, 86*time.Millisecond, silent
			for i := range n {
				m.add(string(rune('a'+i)), nil)
			}
			m.meet()
			m.addressed, m.collided = 0, 0
			number := 0
			for range 600 {
				for i, x := range m.nodes {
					for len(x.queue) == 0 && x.engine.Stats().Queue.Packets < 30 {
						number++
						m.send(x, udp(x.addr, m.nodes[(i+1)%n].addr, 1, number, 800))
					}
				}
				m.run(200*time.Millisecond, nil)
			}
			for _, x := range m.nodes {
				octets += 800 * len(x.got)
				if s := x.engine.Stats(); silent != (s.Hostile.Unsensed > 0) || silent != (s.Sensing > 50*time.Millisecond) {
					t.Errorf("%d stations, carrier sense deaf %v: %d bursts unsensed, %v until one is", n, silent, s.Hostile.Unsensed, s.Sensing)
				}
			}
			return octets, m.addressed, m.collided
		}
		best, _, _ := saturate(false)
		octets, addressed, collided := saturate(true)
		t.Logf("%d stations: %.2f of what they carry else, %d of %d bursts met", n, float64(octets)/float64(best), collided, addressed)
		if 3*octets < 2*best || 10*collided > addressed {
			t.Errorf("%d stations: %d octets, with carrier sense %d; %d of %d bursts met", n, octets, best, collided, addressed)
		}
	}
}

func TestBroadcast(t *testing.T) {
	for _, dst := range []string{"255.255.255.255", "10.0.0.255", "224.0.0.251"} {
		m := newMedium(t, testSeed)
		a := m.add("alpha", nil)
		others := []*node{m.add("beta", nil), m.add("gamma", nil), m.add("delta", nil)}
		m.meet()
		// Parity is sized for 15 %: at 10 % loss a burst of k 3 and m 1 or 2
		// fails with less than 6 %, and a packet needs two at most: 88 % come, and
		// of 400 three standard deviations less are 83 %.
		m.frameLoss = 0.1
		const count = 400
		for i := range count {
			m.send(a, udp(a.addr, netip.MustParseAddr(dst), 5353, i, 300))
			m.run(6*time.Second, nil)
		}
		for _, n := range others {
			if len(n.got) < count*83/100 || len(n.got) > count {
				t.Errorf("%s: %s got %d of %d packets", dst, n.name, len(n.got), count)
			}
			for i := 1; i < len(n.got); i++ {
				_, x := numberOf(n.got[i-1])
				if _, y := numberOf(n.got[i]); y <= x {
					t.Errorf("%s: packet %d after %d", n.name, y, x)
				}
			}
		}
		if got := a.engine.Stats().Queue; got.Packets != 0 || got.Octets != 0 {
			t.Errorf("%+v left in the queue", got)
		}
	}
}

// TestLongPacketsShortFrames: packets of 1280 to 9000 octets in frames of 16.
func TestLongPacketsShortFrames(t *testing.T) {
	for _, duplex := range []bool{false, true} {
		m := newMedium(t, testSeed)
		m.duplex = duplex
		m.table = []phy.Mode{{MCS: 0, NetBPS: 40000, SNRdB: 0, FrameOctets: 16}}
		big := func(c *Config) { c.MTU = MaxMTU }
		a, b := m.add("alpha", big), m.add("beta", big)
		m.meet()
		m.frameLoss = 0.05
		var sent [][]byte
		for i, size := range []int{1280, 1500, 4000, 9000, 1280} {
			sent = append(sent, ipv4(protoTCP, a.addr, b.addr, 80, i, size))
			m.send(a, sent[i])
		}
		m.run(3*time.Minute, func() bool { return len(b.got) == len(sent) })
		checkFlows(t, b, sent)
		b.got = nil
		m.frameLoss = 0
		flood := udp(a.addr, netip.MustParseAddr("224.0.0.1"), 1, 0, 9000)
		m.send(a, flood)
		m.run(time.Minute, func() bool { return len(b.got) > 0 })
		if len(b.got) != 1 || !bytes.Equal(b.got[0], flood) {
			t.Errorf("broadcast of %d octets: %d packets", len(flood), len(b.got))
		}
	}
}

// TestPoll: when only the acknowledgement is lost, a short question is asked and
// no frame is sent twice.
func TestPoll(t *testing.T) {
	m := newMedium(t, testSeed)
	a, b := m.add("alpha", nil), m.add("beta", nil)
	m.meet()
	drops := 0
	m.drop = func(from, _ *node, _ *phy.Burst) bool {
		if from == b && drops < 2 {
			drops++
			return true
		}
		return false
	}
	var sent [][]byte
	for i := range 3 {
		sent = append(sent, ipv4(protoTCP, a.addr, b.addr, 80, i, 1000))
		m.send(a, sent[i])
	}
	m.run(time.Minute, func() bool { return a.engine.Stats().Queue.Packets == 0 })
	checkFlows(t, b, sent)
	s := a.engine.Stats()
	if s.Bursts.Silence != 2 || s.Bursts.Polls < 2 || s.Frames.Repeated != 0 || b.engine.Stats().Packets.Duplicates != 0 {
		t.Errorf("%s", summary(a))
	}
}

// TestCompressed: text crosses a lossy medium in fewer octets and comes out as it
// was; random packets are sent as without compression, to the octet.
func TestCompressed(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	const count, size = 8, 1200
	run := func(compress, prose bool, loss float64) (airtime time.Duration, stats PayloadStats) {
		m := newMedium(t, testSeed)
		edit := func(c *Config) { c.Compress = compress }
		a, b := m.add("alpha", edit), m.add("beta", edit)
		m.meet()
		m.frameLoss = loss
		before := a.airtime
		var sent [][]byte
		for i := range count {
			pkt := ipv4(protoTCP, a.addr, b.addr, 80, i, size)
			if prose {
				copy(pkt[40:], text[i*(size-40):])
				pkt[36], pkt[37] = 0, 0
				binary.BigEndian.PutUint16(pkt[36:], ^internetSum(protoTCP+size-20, pkt[12:]))
			}
			sent = append(sent, pkt)
			m.send(a, pkt)
		}
		m.run(5*time.Minute, func() bool { return len(b.got) == count })
		checkFlows(t, b, sent)
		return a.airtime - before, a.engine.Stats().Payload
	}
	plain, _ := run(false, true, 0)
	packed, stats := run(true, true, 0)
	// 40 % of 1160 octets is what TestSaves of link/payload asks of prose, and a burst
	// costs as much as ever: a tenth of its time here.
	if stats.Compressed != count || packed > plain*7/10 {
		t.Errorf("text: %v of airtime without, %v with compression: %+v", plain, packed, stats)
	}
	run(true, true, 0.3)
	plain, _ = run(false, false, 0.1)
	packed, stats = run(true, false, 0.1)
	if packed != plain || stats.In != stats.Out || stats.Skipped != count {
		t.Errorf("random: %v of airtime without, %v with compression: %+v", plain, packed, stats)
	}
}

// TestVoidKeepsOrder: what follows a packet that was given up does not pass what is
// missing before that one.
func TestVoidKeepsOrder(t *testing.T) {
	m := newMedium(t, testSeed)
	e := m.add("alpha", nil).engine
	p := e.newPeer(m.now, 7, 1)
	in := &p.in
	base := uint16(0xfffe) // the numbers wrap
	if !e.openBurst(m.now, p, in, &control{kind: unicast, flags: flagFresh, base: base}) {
		t.Fatal("the first burst is a replay")
	}
	x, y := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	first, third := udp(x, y, 7, 1, 60), udp(x, y, 7, 3, 60)
	for i, f := range []fragment{
		{seq: base, first: true, body: first[:20]},
		{seq: base + 1, first: true, last: true, pred: 1, body: udp(x, y, 7, 2, 60)}, // whole, and then given up
		{seq: base + 1, first: true, last: true, pred: 1},
		{seq: base + 1, first: true, last: true, pred: 1},
		{seq: base + 2, first: true, last: true, pred: 1, body: third},
		{seq: base, last: true, offset: 20, body: first[20:]},
	} {
		if !e.accept(in, &f) {
			t.Fatalf("fragment %d was not stored", i)
		}
		e.deliver(m.now, p, in)
		if got := len(e.out); got != 0 && i < 5 {
			t.Fatalf("%d packets delivered after fragment %d", got, i)
		}
	}
	if len(e.out) != 2 || !bytes.Equal(e.out[0], first) || !bytes.Equal(e.out[1], third) {
		t.Errorf("delivered %x", e.out)
	}
	if in.octets != 0 || in.ready != 0 || len(in.partial) != 0 || e.rxSize != 0 {
		t.Errorf("left behind: %d octets, %d ready, %d packets, %d in all", in.octets, in.ready, len(in.partial), e.rxSize)
	}
}

// TestGiveUp: a packet that cannot be delivered in time becomes a void, and what
// stands behind it in its flow is delivered.
func TestGiveUp(t *testing.T) {
	m := newMedium(t, testSeed)
	a, b := m.add("alpha", nil), m.add("beta", nil)
	m.meet()
	spoil := true
	m.drop = func(_, _ *node, burst *phy.Burst) bool {
		if spoil && blockOf(burst).kind == unicast {
			clear(burst.Frames)
		}
		return false
	}
	m.send(a, udp(a.addr, b.addr, 1, 0, 600))
	if !m.run(35*time.Second, func() bool { return a.engine.Stats().Packets.Dropped.GivenUp == 1 }) {
		t.Fatalf("nothing was given up: %s", summary(a))
	}
	for i := 1; i < 4; i++ {
		m.send(a, udp(a.addr, b.addr, 1, i, 40))
	}
	m.run(3*time.Second, nil) // they are sent with a predecessor that is a void by now
	spoil = false
	m.send(a, udp(a.addr, b.addr, 1, 9, 40))
	m.run(time.Minute, func() bool { return a.engine.Stats().Queue.Packets == 0 })
	var got []int
	for _, p := range b.got {
		_, number := numberOf(p)
		got = append(got, number)
	}
	if want := []int{1, 2, 3, 9}; !slices.Equal(got, want) {
		t.Errorf("packets %v, want %v", got, want)
	}
	if p := b.engine.peers[0].in; len(p.partial) != 0 || p.octets != 0 {
		t.Errorf("%d packets remain in part", len(p.partial))
	}
}

// TestExpired: how long packets wait, and for how long they are tried, by class (docs/wire-link.md, "Persistence").
func TestExpired(t *testing.T) {
	born := time.Unix(1000, 0)
	for _, c := range []struct {
		tcp          bool
		asked, first int // s behind born; 0: it was not
		tries, lasts int // until it is expired, s behind born
	}{
		{false, 0, 0, 0, 30},
		{true, 0, 0, 0, 60},
		{true, 45, 0, 0, 105}, // its host said it once more
		{false, 0, 20, 6, 30},
		{false, 0, 20, 5, 40},
		{true, 0, 50, 6, 80},
		{true, 0, 50, 5, 110},
	} {
		p := packet{tcp: c.tcp, born: born, tries: c.tries}
		at := func(s int) time.Time { return born.Add(time.Duration(s) * time.Second) }
		if c.asked > 0 {
			p.asked = at(c.asked)
		}
		if c.first > 0 {
			p.first = at(c.first)
		}
		if p.expired(at(c.lasts).Add(-1)) || !p.expired(at(c.lasts)) {
			t.Errorf("%+v: does not expire after %d s", c, c.lasts)
		}
	}
}

// TestPersistence: of what is lost again and again a datagram is given up after 10 s, a TCP segment after 30 s, after twice
// that if few tries failed; no try comes later.
func TestPersistence(t *testing.T) {
	for _, c := range []struct {
		name   string
		pkt    func(a, b *node) []byte
		within time.Duration
	}{
		{"a datagram", func(a, b *node) []byte { return udp(a.addr, b.addr, 1, 0, 300) }, 10 * time.Second},
		{"a TCP segment", func(a, b *node) []byte { return ipv4(protoTCP, a.addr, b.addr, 1, 0, 300) }, 30 * time.Second},
	} {
		for _, lead := range leads {
			m, a, b := onLead(t, testSeed, lead.duplex, lead.cost)
			m.drop = func(from, _ *node, x *phy.Burst) bool {
				if from == a {
					clear(x.Frames)
				}
				return false
			}
			start, tries, last := m.now, 0, m.now
			a.observe = func(now time.Time, x *phy.Burst) {
				if len(x.Frames) > 0 && blockOf(x).kind == unicast && a.engine.peers[0].alive[0].data != nil {
					tries, last = tries+1, now
				}
			}
			m.send(a, c.pkt(a, b))
			m.run(3*time.Minute, func() bool { return a.engine.Stats().Packets.Dropped.GivenUp == 1 })
			took := m.now.Sub(start)
			if took < c.within || took > 2*c.within+time.Second || tries < 6 || last.Sub(start) > 2*c.within {
				t.Errorf("%s, %s: given up after %v, the last of %d tries after %v", c.name, lead.name, took, tries, last.Sub(start))
			}
			t.Logf("%s, %s: given up after %v and %d tries", c.name, lead.name, took, tries)
		}
	}
}

func TestRouting(t *testing.T) {
	m := newMedium(t, testSeed)
	a := m.add("alpha", func(c *Config) {
		c.Routes = []Route{
			{netip.MustParsePrefix("192.0.2.0/24"), "beta"},
			{netip.MustParsePrefix("192.0.2.128/25"), "gamma"},
		}
	})
	b, g := m.add("beta", nil), m.add("gamma", nil)
	m.meet()
	addr := netip.MustParseAddr
	for i, c := range []struct {
		dst  string
		want *node
	}{
		{"10.0.0.2", b},
		{"10.0.0.3", g},
		{"192.0.2.1", b},
		{"192.0.2.200", g},
		{"203.0.113.1", nil},
	} {
		b.got, g.got = nil, nil
		m.send(a, udp(a.addr, addr(c.dst), 1, i, 100))
		m.run(5*time.Second, nil)
		for _, n := range []*node{b, g} {
			if want := n == c.want; (len(n.got) == 1) != want {
				t.Errorf("%s: %s got %d packets", c.dst, n.name, len(n.got))
			}
		}
	}
	if got := a.engine.Stats().Packets.Dropped.Unroutable; got != 1 {
		t.Errorf("%d unroutable packets", got)
	}
	// A source behind gamma is learned.
	m.send(g, udp(addr("203.0.113.1"), a.addr, 1, 7, 100))
	m.run(5*time.Second, nil)
	g.got = nil
	m.send(a, udp(a.addr, addr("203.0.113.1"), 1, 8, 100))
	m.run(5*time.Second, nil)
	if len(g.got) != 1 {
		t.Error("the way back was not learned")
	}
}

// TestHold: packets for a station that is not known yet wait for it, but not for
// ever, and not in any number.
func TestHold(t *testing.T) {
	m := newMedium(t, testSeed)
	a := m.add("alpha", nil)
	to := netip.AddrFrom4([4]byte{10, 0, 0, 2})
	for i := range maxHeldPackets + 5 {
		if err := a.engine.EnqueuePacket(m.now, ipv4(protoTCP, a.addr, to, 1, i, 100)); err != nil {
			t.Fatal(err)
		}
	}
	if got := a.engine.Stats().Packets.Dropped.Unroutable; got != 5 {
		t.Errorf("%d dropped, want 5", got)
	}
	m.run(10*time.Second, nil)
	b := m.add("beta", nil)
	m.run(30*time.Second, func() bool { return len(b.got) == maxHeldPackets })
	if len(b.got) != maxHeldPackets {
		t.Errorf("%d packets after discovery", len(b.got))
	}

	// So do those for one of several, of which some are known, but none for hosts that
	// cannot be on the link.
	c := m.add("gamma", nil)
	m.run(30*time.Second, func() bool {
		return len(a.engine.peers) == 2 && a.engine.peers[0].name != "" && a.engine.peers[1].name != ""
	})
	m.send(a, udp(a.addr, netip.AddrFrom4([4]byte{10, 0, 0, 4}), 1, 0, 100))
	before := a.engine.Stats().Packets.Dropped.Unroutable
	m.send(a, udp(a.addr, netip.AddrFrom4([4]byte{203, 0, 113, 1}), 1, 0, 100))
	if got := a.engine.Stats().Packets.Dropped.Unroutable; got != before+1 {
		t.Errorf("%d dropped, want the one for a host that is not on the link", got-before)
	}
	m.run(10*time.Second, nil)
	d := m.add("delta", nil)
	if !m.run(waitUnknown, func() bool { return len(d.got) == 1 }) || len(c.got) != 0 {
		t.Errorf("a station that came late got %d packets, another one %d", len(d.got), len(c.got))
	}

	m = newMedium(t, testSeed)
	a = m.add("alpha", nil)
	m.send(a, udp(a.addr, to, 1, 0, 100))
	m.run(waitUnknown+2*time.Second, nil)
	if s := a.engine.Stats(); s.Packets.Dropped.Expired != 1 || s.Queue.Packets != 0 {
		t.Errorf("%s", summary(a))
	}
}

func TestAddressConflict(t *testing.T) {
	m := newMedium(t, testSeed)
	same := func(c *Config) { c.Address = 7 }
	a, b := m.add("alpha", same), m.add("beta", same)
	g := m.add("gamma", nil)
	m.meet()
	if x, y := a.engine.Stats().Address, b.engine.Stats().Address; x != 7 || y == 7 {
		t.Errorf("addresses %d and %d: the later name must move", x, y)
	}
	toA, toB := tcpBothWays(m, a, b, 6)
	m.run(time.Minute, func() bool { return len(a.got) == len(toA) && len(b.got) == len(toB) })
	checkFlows(t, a, toA)
	checkFlows(t, b, toB)
	for _, n := range []*node{a, b, g} {
		if got := len(n.engine.peers); got != 2 {
			t.Errorf("%s knows %d peers", n.name, got)
		}
	}
}

func TestFullDuplex(t *testing.T) {
	for _, loss := range []float64{0, 0.3} {
		m := newMedium(t, testSeed)
		m.duplex = true
		a, b := m.add("alpha", nil), m.add("beta", nil)
		m.meet()
		m.frameLoss, m.controlLoss = loss, loss/3
		start := m.now
		toA, toB := tcpBothWays(m, a, b, 20)
		m.run(10*time.Minute, func() bool { return len(a.got) == len(toA) && len(b.got) == len(toB) })
		took := m.now.Sub(start)
		checkFlows(t, a, toA)
		checkFlows(t, b, toB)
		// Both directions at once: 13.6 kB each way. Bursts of 0.5 s of which
		// 0.2 s is preamble and control leave 60 % of the rate.
		if want := 13600 * 8 / (0.5 * testModes[4].NetBPS); loss == 0 && took.Seconds() > want {
			t.Errorf("took %v, want at most %.0f s", took, want)
		}
		t.Log(took, summary(a))
	}
}

// TestReplay: bursts heard before, and those of a former epoch, change nothing.
func TestReplay(t *testing.T) {
	m := newMedium(t, testSeed)
	a, b := m.add("alpha", nil), m.add("beta", nil)
	var recorded []phy.Burst
	a.observe = func(_ time.Time, burst *phy.Burst) { recorded = append(recorded, *burst) }
	m.meet()
	toA, toB := tcpBothWays(m, a, b, 6)
	m.run(time.Minute, func() bool { return len(a.got) == len(toA) && len(b.got) == len(toB) })
	replay := func() (unicasts uint64) {
		for _, r := range recorded {
			if blockOf(&r).kind == unicast {
				unicasts++
			}
			b.engine.HandleEvent(m.now, &phy.Event{Kind: phy.Received, Burst: r})
			m.settle(b)
			m.run(3*time.Second, nil)
		}
		return unicasts
	}
	n := replay()
	checkFlows(t, b, toB)
	if got := b.engine.Stats().Hostile.Replayed; got != n {
		t.Errorf("%d of %d replays counted", got, n)
	}
	m.restart(a, nil)
	m.run(20*time.Second, func() bool { return a.engine.Up() && b.engine.Stats().Peers[0].Restarts > 0 })
	before := b.engine.Stats().Peers[0].Restarts
	replay()
	checkFlows(t, b, toB)
	if got := b.engine.Stats().Peers[0].Restarts; got != before {
		t.Errorf("a replay passed for a restart: %d, before %d", got, before)
	}
}

// TestEcho: who hears itself, as where a room is large or a lead leads back, takes that
// for nobody's word, also where a block says by a tag alone whose it is.
func TestEcho(t *testing.T) {
	m := newMedium(t, testSeed)
	a, b := m.add("alpha", nil), m.add("beta", nil)
	var recorded []phy.Burst
	short := 0
	a.observe = func(_ time.Time, burst *phy.Burst) {
		if c := blockOf(burst); c.kind == unicast {
			if c.short {
				short++
			}
			recorded = append(recorded, *burst)
		}
	}
	m.meet()
	toA, toB := tcpBothWays(m, a, b, 6)
	m.run(time.Minute, func() bool { return len(a.got) == len(toA) && len(b.got) == len(toB) })
	m.run(time.Minute, nil)
	before, rival, reserved := a.engine.Stats(), a.engine.access.rival, a.engine.access.reserved
	for _, r := range slices.Clone(recorded) {
		a.engine.HandleEvent(m.now, &phy.Event{Kind: phy.Received, Burst: r})
	}
	after := a.engine.Stats()
	if len(recorded) == short || short == 0 {
		t.Fatalf("%d of %d blocks are short, too few or too many to tell", short, len(recorded))
	}
	if after.Bursts != before.Bursts || after.Hostile != before.Hostile || a.engine.access.rival != rival || a.engine.access.reserved != reserved {
		t.Errorf("%d echoes, %d of them short: %+v %+v, before %+v %+v", len(recorded), short, after.Bursts, after.Hostile, before.Bursts, before.Hostile)
	}
}

// TestHostileMemory: whatever stations say, what they can make us keep is
// bounded, and a real peer is still served.
func TestHostileMemory(t *testing.T) {
	m := newMedium(t, testSeed)
	a := m.add("alpha", nil)
	m.run(5*time.Second, nil)
	for i := range 2000 {
		c := control{kind: unicast, src: uint16(1 + m.random.IntN(0xfffd)), dst: a.engine.address, epoch: uint16(i), id: uint8(i), flags: flagFresh, data: 60, base: uint16(i)}
		if i%2 == 0 {
			c.src = 99
			c.epoch, c.base = 1, 5
			c.flags = 0
			c.id = uint8(i / 2)
		}
		var frames [][]byte
		for j := range 60 {
			f := fragment{seq: c.base + uint16(m.random.IntN(window)), offset: 8000, body: make([]byte, 1000)}
			frames = append(frames, append(f.appendTo(nil, f.seq, 1005), byte(j))[:1005])
		}
		a.engine.HandleEvent(m.now, &phy.Event{Kind: phy.Received, Burst: phy.Burst{Control: c.appendTo(nil, 63), Frames: frames}})
		m.now = m.now.Add(10 * time.Millisecond)
	}
	e := a.engine
	if len(e.peers) > maxPeers {
		t.Errorf("%d peers", len(e.peers))
	}
	total := 0
	for _, p := range e.peers {
		total += p.in.octets
		if limit := maxPeerOctets + MaxMTU + assemblyCost; p.in.octets > limit {
			t.Errorf("peer %d: %d octets", p.address, p.in.octets)
		}
	}
	if total != e.rxSize || total > maxRxOctets+maxPeers*(MaxMTU+assemblyCost) {
		t.Errorf("%d octets kept, %d accounted for", total, e.rxSize)
	}
	b := m.add("beta", nil)
	m.run(time.Minute, func() bool { return b.engine.Up() })
	m.send(b, udp(b.addr, a.addr, 1, 1, 500))
	if !m.run(5*time.Minute, func() bool { return len(a.got) == 1 }) {
		t.Errorf("the real peer is not served: %s", summary(b))
	}
}

// TestLapse: what was received in part is forgotten two minutes after it grew last, though its source goes on to speak.
func TestLapse(t *testing.T) {
	m := newMedium(t, testSeed)
	a := m.add("alpha", nil)
	m.run(5*time.Second, nil)
	id := uint8(0)
	say := func(frames ...fragment) {
		id++
		c := control{kind: unicast, src: 99, dst: a.engine.address, epoch: 1, id: id, data: uint8(len(frames)), base: 5}
		b := phy.Burst{Control: c.appendTo(nil, 63)}
		for _, f := range frames {
			b.Frames = append(b.Frames, f.appendTo(make([]byte, 0, 100), 0, 100)[:100])
		}
		a.engine.HandleEvent(m.now, &phy.Event{Kind: phy.Received, Burst: b})
		m.settle(a)
	}
	body := make([]byte, 80)
	// A packet without its end, and one that waits for it.
	say(fragment{seq: 5, first: true, body: body}, fragment{seq: 6, first: true, last: true, pred: 1, body: body})
	p := a.engine.peers[0]
	for at, want := range []int{2, 2, 2, 2, 2, 2, 2, 1, 1, 0} { // each 20 s
		if n := len(p.in.partial); n != want || (n == 0) != (a.engine.rxSize == 0) {
			t.Errorf("%d packets of %d octets are kept after %d s, want %d", n, a.engine.rxSize, 20*at, want)
		}
		for range 10 {
			m.run(2*time.Second, nil)
			say()
		}
		if at == 1 {
			say(fragment{seq: 5, offset: 80, body: body})
		}
	}
	if s := a.engine.Stats(); s.Packets.Dropped.Incomplete != 2 || s.Packets.Out != 0 || s.Peers[0].State == PeerDown {
		t.Error(summary(a))
	}
}

func TestEnqueueErrors(t *testing.T) {
	m := newMedium(t, testSeed)
	a := m.add("alpha", func(c *Config) { c.QueueOctets = 3000 })
	to := netip.AddrFrom4([4]byte{10, 0, 0, 2})
	good := udp(a.addr, to, 1, 0, 1000)
	for _, c := range []struct {
		name string
		pkt  []byte
		want error
	}{
		{"empty", nil, ErrPacket},
		{"no IP", make([]byte, 100), ErrPacket},
		{"truncated", good[:900], ErrPacket},
		{"truncated IPv6", append([]byte{0x60}, make([]byte, 38)...), ErrPacket},
		{"too long", udp(a.addr, to, 1, 0, 1281), ErrPacket},
		{"good", good, nil},
		{"good", good, nil},
		{"good", good, nil},
		{"full", good, ErrQueueFull},
	} {
		if err := a.engine.EnqueuePacket(m.now, c.pkt); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if a.engine.CanEnqueue() {
		t.Error("CanEnqueue with a full queue")
	}
}

func TestConfig(t *testing.T) {
	good := func() Config {
		return Config{Name: "a", Caps: phy.Caps{Modes: testModes, MaxFrames: 255, MaxControl: 63}, Airtime: modelAirtime(testModes)}
	}
	if _, err := New(good(), time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*Config){
		"no name":      func(c *Config) { c.Name = "" },
		"long name":    func(c *Config) { c.Name = "123456789012345678901234567890123" },
		"name no UTF8": func(c *Config) { c.Name = "\xff" },
		"name control": func(c *Config) { c.Name = "a\x1b[2J" },
		"address":      func(c *Config) { c.Address = 0xffff },
		"mtu":          func(c *Config) { c.MTU = 9001 },
		"no modes":     func(c *Config) { c.Caps.Modes = nil },
		"no airtime":   func(c *Config) { c.Airtime = nil },
		"short frames": func(c *Config) { c.Caps.Modes = []phy.Mode{{FrameOctets: 15}} },
		"control":      func(c *Config) { c.Caps.MaxControl = minControl - 1 },
		"queue":        func(c *Config) { c.QueueOctets = 100 },
		"prefixes":     func(c *Config) { c.Prefixes = make([]netip.Prefix, 9) },
		"empty prefix": func(c *Config) { c.Prefixes = make([]netip.Prefix, 1) },
		"empty route":  func(c *Config) { c.Routes = make([]Route, 1) },
	} {
		c := good()
		edit(&c)
		if _, err := New(c, time.Unix(0, 0)); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDeterminism: the same seed gives the same statistics, to the last count.
func TestDeterminism(t *testing.T) {
	run := func() string {
		m := newMedium(t, testSeed)
		for _, name := range []string{"alpha", "beta", "gamma"} {
			m.add(name, nil)
		}
		m.meet()
		m.frameLoss, m.controlLoss = 0.2, 0.1
		for i := range 30 {
			n, to := m.nodes[i%3], m.nodes[(i+1+i/3%2)%3]
			m.send(n, udp(n.addr, to.addr, uint16(i%4), i, 100+i*30))
		}
		m.run(3*time.Minute, nil)
		return fmt.Sprint(summary(m.nodes[0]), summary(m.nodes[1]), summary(m.nodes[2]), m.bursts)
	}
	if a, b := run(), run(); a != b {
		t.Errorf("two runs differ:\n%s\n%s", a, b)
	}
}

// TestChaos mixes everything: stations that come, restart and go deaf, loss of
// all kinds, broadcast, either kind of medium. Whatever happens, nothing is
// delivered twice, changed or out of order within an incarnation of both ends,
// and in the end every queue is empty and all find each other again.
func TestChaos(t *testing.T) {
	const rounds = 30
	for seed := range uint64(chaosSeeds) {
		m := newMedium(t, seed)
		m.duplex = seed%4 == 3
		for i := range 2 + int(seed%3) {
			m.add(fmt.Sprintf("station %d", i), nil)
		}
		m.frameLoss, m.controlLoss = 0.3*m.random.Float64(), 0.1*m.random.Float64()
		number := 0
		delivered := map[*node]map[uint16]int{}
		check := func() {
			for _, n := range m.nodes {
				for _, p := range n.got {
					port, number := numberOf(p)
					from, to := netip.AddrFrom4([4]byte(p[12:16])), netip.AddrFrom4([4]byte(p[16:20]))
					if !bytes.Equal(p, ipv4(p[9], from, to, port, number, len(p))) {
						t.Fatalf("seed %d: %s: packet %d was changed", seed, n.name, number)
					}
					if delivered[n] == nil {
						delivered[n] = map[uint16]int{}
					}
					if last, ok := delivered[n][port]; ok && number <= last {
						t.Fatalf("seed %d: %s: port %d: packet %d after %d", seed, n.name, port, number, last)
					}
					delivered[n][port] = number
				}
				n.got = nil
			}
		}
		for range rounds {
			from := m.nodes[m.random.IntN(len(m.nodes))]
			for range m.random.IntN(6) {
				to := m.nodes[m.random.IntN(len(m.nodes))]
				dst := to.addr
				if to == from {
					dst = netip.MustParseAddr("224.0.0.5")
				}
				number++
				port := uint16(slices.Index(m.nodes, from)<<8 | slices.Index(m.nodes, to)<<4 | m.random.IntN(2))
				m.send(from, ipv4([]byte{protoUDP, protoTCP}[port&1], from.addr, dst, port, number, 32+m.random.IntN(1200)))
			}
			switch m.random.IntN(12) {
			case 0:
				check()
				m.restart(from, nil)
				delivered = map[*node]map[uint16]int{} // what was not acknowledged may come again
			case 1:
				from.deaf[m.nodes[0]] = !from.deaf[m.nodes[0]] && from != m.nodes[0] && from.hears == 0 && len(m.air) == 0
			}
			m.run(time.Duration(m.random.IntN(8000))*time.Millisecond, nil)
			check()
		}
		m.run(time.Minute, func() bool { return len(m.air) == 0 })
		for _, n := range m.nodes {
			clear(n.deaf)
			n.hears = 0
		}
		m.frameLoss, m.controlLoss = 0, 0
		settled := m.run(15*time.Minute, func() bool {
			for _, n := range m.nodes {
				if n.engine.queued != (QueueStats{}) || len(n.engine.peers) != len(m.nodes)-1 || slices.ContainsFunc(n.engine.peers, func(p *peer) bool { return p.state != PeerUp }) {
					return false
				}
			}
			return true
		})
		check()
		if !settled {
			for _, n := range m.nodes {
				t.Log(summary(n))
			}
			t.Errorf("seed %d: the link did not settle", seed)
		}
	}
}

const chaosSeeds = 24
