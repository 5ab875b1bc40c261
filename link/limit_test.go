package link

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"lightsong/phy"
)

// TestAirtimeLimits: two stations that always have something to send to each other
// never send for longer than they may in any window, wherever it begins, and use more
// than half of it: while one has used up its own the other has nobody who answers.
func TestAirtimeLimits(t *testing.T) {
	for _, c := range []struct {
		minute, hour float64
		duplex       bool
		forms        bool
		lasts        time.Duration
		used         float64 // share of what is allowed that should be used
	}{
		{minute: 0.1, lasts: 10 * time.Minute, used: 0.5},
		{minute: 0.1, duplex: true, lasts: 10 * time.Minute, used: 0.5},
		{minute: 0.2, forms: true, lasts: 10 * time.Minute, used: 0.5},
		{hour: 0.01, lasts: 150 * time.Minute, used: 0.5},
		{minute: 0.5, hour: 0.1, lasts: 130 * time.Minute, used: 0.5},
	} {
		t.Run(fmt.Sprintf("%v of a minute, %v of an hour, duplex %v, forms %v", c.minute, c.hour, c.duplex, c.forms), func(t *testing.T) {
			m := newMedium(t, testSeed)
			m.duplex, m.cost, m.latency, m.table = c.duplex, 60*time.Millisecond, 10*time.Millisecond, leadModes
			edit := func(cfg *Config) {
				if cfg.AirtimeMinute, cfg.AirtimeHour = c.minute, c.hour; c.forms {
					withForms(cfg)
				}
			}
			if c.forms {
				m.formed()
			}
			a, b := m.add("alpha", edit), m.add("beta", edit)
			type sent struct{ from, to time.Time }
			log := map[*node][]sent{}
			for _, n := range m.nodes {
				n.observe = func(now time.Time, burst *phy.Burst) {
					begin := now.Add(m.latency)
					log[n] = append(log[n], sent{begin, begin.Add(m.airtime(burst))})
				}
			}
			begin, number := m.now, 0
			m.run(c.lasts, func() bool {
				for i, n := range m.nodes {
					if n.got = n.got[:0]; n.engine.queued.Packets < 20 {
						number++
						m.send(n, udp(n.addr, m.nodes[1-i].addr, 7, number, 600))
					}
				}
				return false
			})
			if m.now.Sub(begin) < c.lasts {
				t.Fatal("it stopped")
			}
			for _, n := range []*node{a, b} {
				for _, l := range n.engine.limits {
					// A window that has most begins with a burst.
					var most time.Duration
					for i, x := range log[n] {
						var sum time.Duration
						for _, y := range log[n][i:] {
							end := x.from.Add(l.within)
							if !y.from.Before(end) {
								break
							}
							if y.to.Before(end) {
								end = y.to
							}
							sum += end.Sub(y.from)
						}
						most = max(most, sum)
					}
					if most > l.most {
						t.Errorf("%s sent %v in %v, may %v", n.name, most, l.within, l.most)
					}
					t.Logf("%s: at most %v of %v in %v", n.name, most, l.most, l.within)
				}
				allowed := n.engine.limitShare() * c.lasts.Seconds()
				if share := n.airtime.Seconds() / allowed; share < c.used {
					t.Errorf("%s used %.2f of its airtime: %+v", n.name, share, n.engine.Stats())
				}
				s := n.engine.Stats()
				if len(s.Airtime.Limits) != len(n.engine.limits) || s.Airtime.Limits[0].Used > s.Airtime.Limits[0].Most {
					t.Errorf("status: %+v", s.Airtime)
				}
				t.Logf("%s: %v sent of %.0f s allowed, %d answers withheld, %d packets out", n.name, n.airtime.Round(time.Second), allowed, s.Airtime.Withheld, s.Packets.Out)
			}
		})
	}
}

// formed makes the medium one where receivers tell of blocks and long bursts what
// they tell of plain ones.
func (m *medium) formed() {
	m.heard = func(n *node, b *phy.Burst) phy.Event {
		ev := phy.Event{Kind: phy.Received, Burst: m.through(n, b)}
		snr := n.snr + m.random.NormFloat64()
		ev.Quality = phy.Quality{SNR: snr, SNRs: [phy.Forms]float64{snr, snr, snr}}
		var c Config
		withForms(&c)
		ev.Quality.Form = c.Caps.Form(b)
		return ev
	}
}

// TestIdleUnderLimit: two stations with nothing to say stay acquainted on one part in a
// hundred of the medium, and a packet now and then goes through.
func TestIdleUnderLimit(t *testing.T) {
	m := newMedium(t, testSeed)
	m.cost, m.latency, m.table = 60*time.Millisecond, 10*time.Millisecond, leadModes
	edit := func(cfg *Config) { cfg.AirtimeHour = 0.01 }
	a, b := m.add("alpha", edit), m.add("beta", edit)
	m.meet()
	const count = 60
	for i := range count {
		m.send(a, udp(a.addr, b.addr, 7, i, 200))
		m.run(3*time.Minute, nil)
	}
	if len(b.got) != count {
		t.Errorf("%d of %d packets: %s", len(b.got), count, summary(a))
	}
	if s := a.engine.Stats(); s.Peers[0].Downs != 0 || s.Airtime.Withheld != 0 {
		t.Errorf("%d downs, %d answers withheld", s.Peers[0].Downs, s.Airtime.Withheld)
	}
}

// TestLimitThatAllowsNothing: a limit below what a beacon takes is a bad configuration.
func TestLimitThatAllowsNothing(t *testing.T) {
	m := newMedium(t, testSeed)
	for share, want := range map[float64]error{1e-7: ErrConfig, -0.1: ErrConfig, 1.1: ErrConfig, 0.01: nil, 1: nil} {
		_, err := New(Config{Name: "x", Caps: phy.Caps{Modes: leadModes, MaxFrames: 255, MaxControl: 63}, Airtime: modelAirtime(leadModes), AirtimeHour: share}, m.now)
		if !errors.Is(err, want) {
			t.Errorf("%v of an hour: %v, want %v", share, err, want)
		}
	}
}
