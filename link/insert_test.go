package link

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"lightsong/phy"
)

// insertModes are a lead's for 10 kb/s and more: a burst of bulk has its longest, half a second.
func insertMedium(t *testing.T, seed uint64, pitch time.Duration) (m *medium, a, b *node) {
	m = newMedium(t, seed)
	m.duplex, m.cost, m.table, m.pitch = true, 25*time.Millisecond, duplexModes(), pitch
	m.latency = 10 * time.Millisecond
	return m, m.add("alpha", nil), m.add("beta", nil)
}

// TestInsert: beside bulk a small packet each second comes within a place to insert at and its own burst,
// instead of a burst of bulk, whose length does not change; all of the bulk comes, in order, nothing
// twice, and no question is asked for it.
func TestInsert(t *testing.T) {
	for _, pitch := range []time.Duration{0, 90 * time.Millisecond} {
		t.Run(fmt.Sprintf("places %v apart", pitch), func(t *testing.T) {
			m, a, b := insertMedium(t, testSeed, pitch)
			m.meet()
			sent := map[uint32]time.Time{}
			var waits []time.Duration
			bulk, longest := 0, time.Duration(0)
			b.deliver = func(pkt []byte) {
				number := binary.BigEndian.Uint32(pkt[28:])
				if pkt[9] == protoTCP {
					if int(number) != bulk {
						t.Errorf("packet %d of the bulk comes as number %d", number, bulk)
					}
					bulk++
				} else {
					waits = append(waits, m.now.Sub(sent[number]))
				}
			}
			a.observe = func(_ time.Time, burst *phy.Burst) { longest = max(longest, m.airtime(burst)) }
			const seconds = 60
			offered := 0
			longest = 0
			for i := range seconds {
				for range 12 { // 115 kb/s, more than the medium carries
					if offered-bulk < 40 { // as many as the queue holds
						m.send(a, ipv4(protoTCP, a.addr, b.addr, 1000, offered, 1200))
						offered++
					}
				}
				m.run(time.Duration(m.random.IntN(900))*time.Millisecond, nil)
				sent[uint32(i)] = m.now
				m.send(a, udp(a.addr, b.addr, 7, i, 84))
				m.run(m.now.Truncate(time.Second).Add(time.Second).Sub(m.now), nil)
			}
			if len(waits) < seconds-1 {
				t.Fatalf("%d of %d small packets came", len(waits), seconds)
			}
			slices.Sort(waits)
			small := 25*time.Millisecond + time.Duration(100*8/m.table[7].NetBPS*float64(time.Second))
			overhead := 2*m.latency + time.Millisecond + small
			most := pitch + 20*time.Millisecond + overhead // the last place and what is left of the burst there
			if pitch == 0 {
				most = 275*time.Millisecond + overhead + 2*small // and one that had its own just before
			}
			s := a.engine.Stats()
			t.Logf("median %v, longest wait %v; %d packets of bulk; %d of %d bursts inserted, %d silences", waits[len(waits)/2], waits[len(waits)-1], bulk, s.Bursts.Inserted, s.Bursts.Sent, s.Bursts.Silence)
			if got := waits[len(waits)*95/100]; got > most+pitch {
				t.Errorf("95 %% of the small packets within %v, want %v", got, most+pitch)
			}
			if pitch > 0 && (s.Bursts.Inserted < seconds/2 || longest < 400*time.Millisecond) {
				t.Errorf("%d bursts inserted, want most of %d; the longest burst is %v, want half a second", s.Bursts.Inserted, seconds, longest)
			}
			if n := b.engine.Stats().Packets.Duplicates + s.Frames.Repeated + s.Bursts.Silence; n > 0 {
				t.Errorf("%d duplicates, %d frames again, %d silences on a perfect medium", b.engine.Stats().Packets.Duplicates, s.Frames.Repeated, s.Bursts.Silence)
			}
		})
	}
}

// TestInsertLosses: whatever is lost, of inner and outer bursts and reports about them, all
// packets come, whole and in the order of their flow.
func TestInsertLosses(t *testing.T) {
	for seed := range uint64(4) {
		m, a, b := insertMedium(t, testSeed+seed, 60*time.Millisecond)
		m.meet()
		m.frameLoss, m.controlLoss = 0.1, 0.05
		m.drop = func(_, _ *node, _ *phy.Burst) bool { return m.random.IntN(10) == 0 }
		var want [2][2][][]byte // of station and flow
		nodes := [2]*node{a, b}
		const count = 300
		for i := range count {
			for from, n := range nodes {
				for flow, pkt := range [][]byte{
					ipv4(protoTCP, n.addr, nodes[1-from].addr, 1000, i, 1200),
					ipv4(protoTCP, n.addr, nodes[1-from].addr, 2000, i, 90),
				} {
					if flow == 0 && from == 1 {
						continue
					}
					want[from][flow] = append(want[from][flow], pkt)
					m.send(n, pkt)
				}
			}
			m.run(time.Duration(m.random.IntN(200))*time.Millisecond, nil)
		}
		if !m.run(10*time.Minute, func() bool { return len(b.got) == 2*count && len(a.got) == count }) {
			t.Fatalf("%d of %d and %d of %d packets", len(b.got), 2*count, len(a.got), count)
		}
		for from, n := range nodes {
			var got [2][][]byte
			for _, pkt := range nodes[1-from].got {
				flow := int(binary.BigEndian.Uint16(pkt[22:])/1000) - 1
				got[flow] = append(got[flow], pkt)
			}
			for flow := range got {
				if !slices.EqualFunc(got[flow], want[from][flow], bytes.Equal) {
					t.Errorf("seed %d: flow %d from %s is another one or out of order", testSeed+seed, flow, n.name)
				}
			}
		}
		if s := a.engine.Stats(); s.Bursts.Inserted < 20 {
			t.Errorf("seed %d: %d bursts inserted: too few to tell", testSeed+seed, s.Bursts.Inserted)
		}
	}
}

// TestInsertedTooLate: a burst that the PHY could not take any more goes in the next one.
func TestInsertedTooLate(t *testing.T) {
	m, a, b := insertMedium(t, testSeed, 60*time.Millisecond)
	m.meet()
	m.pitch = 0 // this test inserts
	for i := range 20 {
		m.send(a, ipv4(protoTCP, a.addr, b.addr, 1000, i, 1200))
	}
	m.run(50*time.Millisecond, nil)
	m.send(a, udp(a.addr, b.addr, 7, 1, 84))
	var inner phy.Burst
	if !a.engine.Urgent(m.now) || !a.engine.NextInsert(m.now, &inner) {
		t.Fatal("nothing is to be inserted")
	}
	if len(inner.Frames) != 1 || math.Abs(float64(len(inner.Frames[0])-70)) > 25 {
		t.Errorf("%d frames are to be inserted, the first of %d octets, want one with the packet of 84", len(inner.Frames), len(inner.Frames[0]))
	}
	a.engine.Inserted(m.now, 0, false)
	if !m.run(5*time.Second, func() bool { return len(b.got) == 21 }) {
		t.Fatalf("%d of 21 packets", len(b.got))
	}
	if n := a.engine.Stats().Bursts.Inserted; n != 0 {
		t.Errorf("%d bursts count as inserted", n)
	}
}

// TestInsertReplayed: a burst within another is taken once, and only from who is known.
func TestInsertReplayed(t *testing.T) {
	m, a, b := insertMedium(t, testSeed, 60*time.Millisecond)
	m.meet()
	var inner []phy.Burst
	a.observe = func(_ time.Time, burst *phy.Burst) {
		if a.engine.current.active && len(burst.Frames) == 1 {
			inner = append(inner, *burst)
		}
	}
	for i := range 20 {
		m.send(a, ipv4(protoTCP, a.addr, b.addr, 1000, i, 1200))
	}
	m.run(60*time.Millisecond, nil)
	a.engine.peerAt(b.engine.address).hurried = time.Time{}
	m.send(a, udp(a.addr, b.addr, 7, 1, 84))
	m.run(5*time.Second, nil)
	if a.engine.Stats().Bursts.Inserted != 1 || len(inner) == 0 || len(b.got) != 21 {
		t.Fatalf("%d bursts inserted, %d packets came, want 1 and 21", a.engine.Stats().Bursts.Inserted, len(b.got))
	}
	before := b.engine.Stats()
	for _, burst := range inner {
		b.engine.HandleEvent(m.now, &phy.Event{Kind: phy.Received, Within: true, Burst: burst})
	}
	after := b.engine.Stats()
	if after.Hostile.Replayed != before.Hostile.Replayed+uint64(len(inner)) || after.Packets.Out != before.Packets.Out {
		t.Errorf("of %d replays %d were taken for such", len(inner), after.Hostile.Replayed-before.Hostile.Replayed)
	}
}
