package link

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"lightsong/phy"
)

// newParty gives six stations that know one another, in a room where frames take some time.
// octets is how long frames are; 0: as those of a lead.
func newParty(t *testing.T, seed uint64, octets int) *medium {
	m := newMedium(t, seed)
	m.table, m.cost, m.latency = slices.Clone(leadModes), 60*time.Millisecond, 10*time.Millisecond
	for i := range m.table {
		if octets > 0 {
			m.table[i].FrameOctets = octets
		}
	}
	for i := range 6 {
		m.add(fmt.Sprintf("station %d", i), nil)
	}
	m.meet()
	return m
}

// TestJoint: packets from each to each other station arrive once and unchanged, also where a tenth of all
// control blocks and of all frames is lost, and where a station is started anew meanwhile; and most of the data
// goes in bursts to several.
func TestJoint(t *testing.T) {
	for _, c := range []struct {
		name    string
		loss    float64
		restart bool
		octets  int // of a frame, 0: as the modes have
	}{{"clean", 0, false, 0}, {"lossy", 0.1, false, 0}, {"restart", 0, true, 0}, {"short frames", 0, false, 48}} {
		for seed := range uint64(3) {
			t.Run(fmt.Sprintf("%s/%d", c.name, seed), func(t *testing.T) {
				m := newParty(t, testSeed+seed, c.octets)
				m.controlLoss, m.frameLoss = c.loss, c.loss
				joint, data := 0, 0
				for _, n := range m.nodes {
					n.observe = func(_ time.Time, b *phy.Burst) {
						if x := blockOf(b); x.kind == unicast && x.data > 0 {
							if data += int(x.data); x.joint() {
								joint += int(x.data)
							}
						}
					}
				}
				const rounds = 10
				for round := range rounds {
					for i, n := range m.nodes {
						for j, to := range m.nodes {
							if i != j {
								m.send(n, ipv4(protoTCP, n.addr, to.addr, uint16(100*i+j), round, 300))
							}
						}
					}
					m.run(time.Second, nil)
					if c.restart && round == rounds/2 {
						m.restart(m.nodes[2], func(c *Config) { c.Epoch++ })
					}
				}
				all := func() bool {
					for i, n := range m.nodes {
						if want := rounds * (len(m.nodes) - 1); len(n.got) < want && i != 2 || len(n.got) < want && !c.restart {
							return false
						}
					}
					return true
				}
				if !m.run(3*time.Minute, all) && !c.restart {
					t.Error("not all packets came within three minutes")
				}
				for _, n := range m.nodes {
					seen := map[[2]int]bool{}
					for _, p := range n.got {
						port, number := numberOf(p)
						key := [2]int{int(port), number}
						again := seen[key]
						seen[key] = true
						from, to := m.nodes[port/100], m.nodes[port%100]
						if want := ipv4(protoTCP, from.addr, to.addr, port, number, 300); string(p) != string(want) || to != n && !c.restart { // with one station known all go to that
							t.Errorf("%s got a packet that nobody sent it: %x", n.name, p)
						}
						if again && !c.restart { // who was started anew does not know what it got before
							t.Errorf("%s got packet %d of port %d twice", n.name, number, port)
						}
					}
					if want := (rounds/2 - 1) * (len(m.nodes) - 1); len(seen) < want {
						t.Errorf("%s got %d packets, want %d at least", n.name, len(seen), want)
					}
				}
				if 2*joint < data {
					t.Errorf("%d of %d frames in bursts to several", joint, data)
				}
				t.Logf("%d of %d frames in bursts to several", joint, data)
			})
		}
	}
}

// TestJointSaves: where each has a packet for each other the medium is taken for less than by exchanges:
// a packet of 300 octets is on it for 49 ms, and each exchange has two heads of 60 ms and two turnarounds of 20,
// 209 ms or more, of which a burst to five has a head, a turnaround, and the packets.
func TestJointSaves(t *testing.T) {
	m := newParty(t, testSeed, 0)
	const rounds = 20
	start := m.now
	for i := range rounds {
		for _, n := range m.nodes {
			for _, to := range m.nodes {
				if to != n {
					m.send(n, ipv4(protoTCP, n.addr, to.addr, 80, i, 300))
				}
			}
		}
		m.run(100*time.Millisecond, nil)
	}
	want := rounds * (len(m.nodes) - 1)
	done := m.run(5*time.Minute, func() bool {
		for _, n := range m.nodes {
			if len(n.got) < want {
				return false
			}
		}
		return true
	})
	took := m.now.Sub(start)
	t.Logf("%d packets in %v", want*len(m.nodes), took)
	if exchanges := time.Duration(want*len(m.nodes)) * 209 * time.Millisecond; !done || took > exchanges*2/3 {
		t.Errorf("took %v, want two thirds of %v at most; all: %v", took, exchanges, done)
	}
}
