//go:build figures

package main

import (
	"context"
	"encoding/binary"
	"flag"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"lightsong/link"
	"lightsong/phy"
	"lightsong/phy/audio"
	"lightsong/sims"
)

// pingHost is a tcpHost that also asks the other one for an echo of 84 octets now and
// then, and answers such requests as a kernel does.
type pingHost struct {
	*tcpHost
	sent map[uint16]time.Time
	rtts []time.Duration
}

// ping sends n requests, one each interval.
func (h *pingHost) ping(every time.Duration, n int) {
	for i := range n {
		p := make([]byte, 84)
		p[0], p[8], p[9] = 0x45, 64, 1
		binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
		copy(p[12:], h.from.AsSlice())
		copy(p[16:], h.to.AsSlice())
		binary.BigEndian.PutUint16(p[10:], ^uint16(onesSum(0, p[:20])))
		p[20] = 8
		binary.BigEndian.PutUint16(p[26:], uint16(i))
		binary.BigEndian.PutUint64(p[28:], uint64(time.Now().UnixNano()))
		binary.BigEndian.PutUint16(p[22:], ^uint16(onesSum(0, p[20:])))
		h.mu.Lock()
		h.sent[uint16(i)] = time.Now()
		h.queue = append(h.queue, p)
		h.poke()
		h.mu.Unlock()
		time.Sleep(every)
	}
}

// WritePacket implements link.Host.
func (h *pingHost) WritePacket(p []byte) error {
	if p[9] != 1 {
		return h.tcpHost.WritePacket(p)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if p[20] == 0 {
		h.rtts = append(h.rtts, time.Since(h.sent[binary.BigEndian.Uint16(p[26:])]))
		return nil
	}
	q := slices.Clone(p)
	copy(q[12:], p[16:20])
	copy(q[16:], p[12:16])
	q[20], q[22], q[23] = 0, 0, 0
	binary.BigEndian.PutUint16(q[22:], ^uint16(onesSum(0, q[20:])))
	h.queue = append(h.queue, q)
	h.poke()
	return nil
}

var (
	leadSeed = flag.Uint64("lead-seed", 1, "TestPingBesideTCP, TestPingBesideSlowTCP, TestSlowUpload: seed of the first run")
	leadRuns = flag.Int("lead-runs", 1, "TestPingBesideTCP, TestPingBesideSlowTCP, TestSlowUpload: runs")
)

// pinged is a medium on which pings are sent beside TCP.
type pinged struct {
	profile                 string
	snr, mic                float64       // dB
	settling, alone, beside time.Duration // of TCP alone before it counts, while it does, and with pings
	every                   time.Duration // from ping to ping
	want                    time.Duration // of 95 % of them
	share                   float64       // of TCP's goodput beside them, at least
	able                    bool          // TCP is as able as a kernel's
}

// TestPingBesideTCP is TestPingUnderTCP without kernel and clock: leads of 12.5 and 0 dB in virtual time, every sample,
// three minutes of pings after as many of TCP alone, in which all that goes back are
// acknowledgements. Beside them TCP keeps its goodput but for what their own bursts take. What a single minute has varies
// by 2 to 3 %, with how much of it is in the faster of two modes. At 0 dB the octets of the pings alone, 62 a second, are 2.9 % of
// what it carries, and a FIFO's TCP loses those: 95 % of that are 92 %.
//
//	go test -tags figures -run PingBesideTCP -v ./cmd/lightsong [-lead-runs 6]
func TestPingBesideTCP(t *testing.T) {
	t.Run("12.5 dB", func(t *testing.T) {
		pinged{"cable", 12.5, -3, 20 * time.Second, 3 * time.Minute, 3 * time.Minute, time.Second, 400 * time.Millisecond, 0.95, false}.run(t)
	})
	t.Run("0 dB", func(t *testing.T) { // with a round trip of 3 s NewReno waits for its timer
		pinged{"cable", 0, -3, 20 * time.Second, 3 * time.Minute, 3 * time.Minute, time.Second, time.Second, 0.92, true}.run(t)
	})
}

// TestPingBesideSlowTCP is likewise the fsk of TestSlowShare: 2.8 kb/s, half duplex, where two fifths are left beside them. TCP has
// SACK, RACK and CUBIC: NewReno, whose round trip beside pings is half a minute, waits for its timer as long after each loss.
//
//	go test -tags figures -run PingBesideSlowTCP -v ./cmd/lightsong [-lead-runs 8]
func TestPingBesideSlowTCP(t *testing.T) {
	pinged{"fsk", -1, 0, 20 * time.Second, time.Minute, 3 * time.Minute, 3 * time.Second, 2 * time.Second, 0.35, true}.run(t)
}

func (c pinged) run(t *testing.T) {
	pings := int(c.beside / c.every)
	for seed := *leadSeed; seed < *leadSeed+uint64(*leadRuns); seed++ {
		var late time.Duration
		var left float64
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			var hosts [2]*pingHost
			for i := range hosts {
				hosts[i] = &pingHost{tcpHost: newTCPHost(simulatedAddr(i), simulatedAddr(1-i)), sent: map[uint16]time.Time{}}
				hosts[i].payload = 1280 - tcpHeads // the link's MTU
				if c.able {
					newAbleHost(hosts[i].tcpHost)
				}
			}
			s := simulation{
				profile: c.profile, hosts: []link.Host{hosts[0], hosts[1]},
				air: sims.AirConfig{Seed: seed, Room: sims.AirRoom{RT60: new(0.0), OwnEcho: new(false)},
					Station: sims.AirStation{SNRdB: new(c.snr), SpeakerLimit: new(1e9), MicDB: new(c.mic)}},
			}
			if *traced {
				s.medium = func(i int, p *audio.PHY) phy.PHY {
					return &tracer{PHY: p, name: string(rune('a' + i)), start: begin}
				}
			}
			s.run(t, func(ctx context.Context, stations []*link.Runner) {
				time.Sleep(5 * time.Second)
				hosts[0].start()
				arrived := func() int {
					hosts[1].mu.Lock()
					defer hosts[1].mu.Unlock()
					return hosts[1].arrived
				}
				time.Sleep(c.settling)
				first := arrived()
				time.Sleep(c.alone)
				second := arrived()
				hosts[0].ping(c.every, pings)
				third := arrived()
				stats, err := stations[0].Stats(ctx)
				if err != nil {
					t.Fatal(err)
				}
				for _, h := range hosts {
					h.stop()
				}
				hosts[0].mu.Lock()
				rtts := slices.Sorted(slices.Values(hosts[0].rtts))
				hosts[0].mu.Unlock()
				if len(rtts) < pings-1 { // the last one's answer may be under way
					t.Fatalf("seed %d: %d of %d pings came back", seed, len(rtts), pings)
				}
				t.Logf("seed %d: TCP alone %.1f kb/s, beside pings %.1f, %d segments again; pings: median %v, p95 %v, most %v; queue %+v", seed,
					8*float64(second-first)/c.alone.Seconds()/1e3, 8*float64(third-second)/c.beside.Seconds()/1e3, hosts[0].repeated,
					rtts[len(rtts)/2], p95(rtts), rtts[len(rtts)-1], stats.Queue)
				late = p95(rtts)
				left = float64(third-second) / c.beside.Seconds() * c.alone.Seconds() / float64(second-first)
			})
		})
		if late > c.want || left < c.share { // the next seed runs all the same
			t.Errorf("seed %d: 95 %% of the pings within %v, want %v; beside them %.3f of TCP's goodput, want %g", seed, late, c.want, left, c.share)
		}
	}
}
