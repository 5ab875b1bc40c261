package link

import (
	"fmt"
	"testing"
	"time"

	"lightsong/phy"
)

// inOneLEDLight makes a medium like that of boards whose one LED both sends and hears
// (modem/line's table): what every burst costs is long, answers are quick.
func inOneLEDLight(t testing.TB, seed uint64, stations int) *medium {
	t.Helper()
	m := newMedium(t, seed)
	m.table = []phy.Mode{
		{MCS: 0, NetBPS: 875, SNRdB: 11.3, FrameOctets: 69},
		{MCS: 1, NetBPS: 1426, SNRdB: 18.4, FrameOctets: 113},
		{MCS: 2, NetBPS: 1615, SNRdB: 21.5, FrameOctets: 128},
		{MCS: 3, NetBPS: 4540, SNRdB: 42.9, FrameOctets: 211},
		{MCS: 4, NetBPS: 5465, SNRdB: 46.6, FrameOctets: 254},
		{MCS: 5, NetBPS: 6153, SNRdB: 50, FrameOctets: 286},
	}
	m.took = func(b *phy.Burst) time.Duration {
		cost := 313 * time.Millisecond // pairs of slots
		if b.MCS >= 3 {
			cost = 124 * time.Millisecond // words
		}
		octets := 0
		for _, f := range b.Frames {
			octets += len(f) + 4
		}
		return cost + time.Duration(float64(8*octets)/m.table[b.MCS].NetBPS*float64(time.Second))
	}
	m.latency = 3 * time.Millisecond
	for i := range stations {
		n := m.add(fmt.Sprintf("station %c", 'a'+i), func(c *Config) { c.MaxBurst, c.MTU = 4*time.Second, 1400 })
		n.snr = 56
	}
	return m
}

// acquainted is how many of the pairs of stations know each other both ways: by name,
// and that they are heard.
func (m *medium) acquainted() (n int) {
	for _, n1 := range m.nodes {
		for _, p := range n1.engine.peers {
			if p.state == PeerUp && p.name != "" {
				n++
			}
		}
	}
	return n
}

// TestRoomMeets: stations that begin at the same moment and share a medium on which
// every burst is long find each other in the time that two beacons of each take, one
// to be heard and one that tells who is, at the half of the medium that news may take;
// as much again is for those that collide. From then on the beacons of all take a
// twentieth of the medium at most, or a fiftieth each.
func TestRoomMeets(t *testing.T) {
	for _, stations := range []int{2, 4, 10} {
		for seed := range uint64(3) {
			m := inOneLEDLight(t, seed, stations)
			start := m.now
			var beacons time.Duration
			for _, n := range m.nodes {
				n.observe = func(_ time.Time, b *phy.Burst) {
					if kind(b.Control[0]&kindMask) == beaconed {
						beacons += m.airtime(b)
					}
				}
			}
			want := stations * (stations - 1)
			met := m.run(5*time.Minute, func() bool { return m.acquainted() == want })
			took := m.now.Sub(start)
			airtime := m.nodes[0].engine.nextBeaconAirtime()
			limit := firstInterval + 2*2*newsShare*time.Duration(stations)*airtime
			if !met || took > limit {
				t.Errorf("%d stations: %d of %d acquaintances after %v, want all within %v", stations, m.acquainted(), want, took, limit)
			}
			t.Logf("%d stations, seed %d: %v", stations, seed, took)
			if seed != 0 {
				continue
			}
			m.run(time.Minute, nil) // the last news
			const idle = 10 * time.Minute
			beacons = 0
			m.run(idle, nil)
			if share, most := beacons.Seconds()/idle.Seconds(), max(1./roomShare, float64(stations)/beaconShare); share > most {
				t.Errorf("%d stations, seed %d: beacons take %.3f of an idle medium, want at most %.3f", stations, seed, share, most)
			}
			if n := m.acquainted(); n != want {
				t.Errorf("%d stations, seed %d: %d of %d acquaintances are left after %v", stations, seed, n, want, idle)
			}
		}
	}
}

// TestRoomShares: ten stations on a medium on which every burst is long, all with more to
// send than it carries, each to the next one. Turns of four times what an exchange costs
// leave little else: nine tenths of the time carry a burst that arrives, and all get
// the same. Of a turn a quarter is such cost, of the rest a tenth headers and checks: two
// thirds of the fastest mode's rate are packets, though each takes two turns, a quarter
// of a minute apart.
func TestRoomShares(t *testing.T) {
	const stations, settle, measure = 10, time.Minute, 4 * time.Minute
	for seed := range uint64(2) {
		m := inOneLEDLight(t, seed, stations)
		for i, n := range m.nodes {
			to := m.nodes[(i+1)%stations]
			for k := range int((settle + measure) / time.Second) {
				m.after(time.Minute+time.Duration(k)*time.Second, func() { m.send(n, udp(n.addr, to.addr, 7, k, 1400)) })
			}
		}
		m.run(time.Minute+settle, nil)
		octets := func() (all []float64) {
			for _, n := range m.nodes {
				got := 0
				for _, p := range n.got {
					got += len(p)
				}
				all = append(all, float64(got))
			}
			return all
		}
		before := octets()
		lost := 0
		for _, n := range m.nodes {
			lost -= int(n.engine.Stats().Bursts.Missed)
			n.airtime = 0
		}
		m.run(measure, nil)
		var sum, squares, air float64
		for i, x := range octets() {
			x -= before[i]
			sum += x
			squares += x * x
			air += m.nodes[i].airtime.Seconds()
			lost += int(m.nodes[i].engine.Stats().Bursts.Missed)
		}
		share, jain := air/measure.Seconds(), sum*sum/squares/stations
		t.Logf("seed %d: light for %.3f of the time, %d times a burst was missed, %.2f kb/s, Jain %.3f", seed, share, lost, 8*sum/measure.Seconds()/1e3, jain)
		if rate, want := 8*sum/measure.Seconds(), 0.67*m.table[5].NetBPS; share < 0.9 || lost > 0 || jain < 0.95 || rate < want {
			t.Errorf("seed %d: light for %.3f of the time, want 0.9; %d times a burst was missed; %.0f b/s, want %.0f; Jain %.3f, want 0.95", seed, share, lost, rate, want, jain)
		}
	}
}

// TestNewsWaits: who has answered leaves it to who asked to go on before it tells news in a beacon.
func TestNewsWaits(t *testing.T) {
	e, p := formed(t)
	now := time.Now()
	for _, c := range []struct {
		name   string
		duplex bool
		sent   current
		want   bool
	}{
		{"an answer", false, current{kind: unicast, peer: p}, true},
		{"a question", false, current{kind: unicast, peer: p, wanted: true}, false},
		{"an answer where both may talk at once", true, current{kind: unicast, peer: p}, false},
	} {
		e.cfg.Caps.FullDuplex = c.duplex
		e.beacons.urgent, e.beacons.at, e.beacons.far = true, now, now.Add(time.Minute)
		e.burstLeft(now, &c.sent)
		if waits := !e.nextBeacon().Before(now.Add(e.newsSpread())); waits != c.want {
			t.Errorf("after %s the beacon waits %v", c.name, e.nextBeacon().Sub(now))
		}
	}
}
