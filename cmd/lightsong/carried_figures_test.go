//go:build figures

package main

import (
	"context"
	"flag"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"lightsong/link"
	"lightsong/phy"
	"lightsong/phy/audio"
	"lightsong/sims"
)

var carriedRuns = flag.Int("carried-runs", 1, "TestCarriedTCP: runs in each room")

// TestCarriedTCP is TestTCPCarried without kernel and clock: every sample in virtual time, seed after seed.
//
//	go test -tags figures -run CarriedTCP -v ./cmd/lightsong [-carried-runs 6] [-course-seed 1] [-bursts]
func TestCarriedTCP(t *testing.T) {
	const lift, down, end = 75 * time.Second, 85 * time.Second, 130 * time.Second
	const still, after, patience, step = 30 * time.Second, 12 * time.Second, 5 * time.Second, 250 * time.Millisecond
	for _, c := range []struct{ rt60, drr float64 }{{0.3, 3}, {0.5, -3}} {
		t.Run(fmt.Sprintf("room %g s", c.rt60), func(t *testing.T) {
			for seed := *courseSeed; seed < *courseSeed+uint64(*carriedRuns); seed++ {
				run := func(t *testing.T) {
					begin := time.Now()
					var hosts [2]*tcpHost
					for i := range hosts {
						hosts[i] = newAbleHost(newTCPHost(simulatedAddr(i), simulatedAddr(1-i)))
						hosts[i].payload = 1280 - tcpHeads // the link's MTU
					}
					s := simulation{
						profile: "air", hosts: []link.Host{hosts[0], hosts[1]},
						air: sims.AirConfig{
							Seed: seed, Room: sims.AirRoom{RT60: &c.rt60, DRR: &c.drr},
							Station: sims.AirStation{SNRdB: new(20.0)},
							Stations: map[string]sims.AirStation{
								"a": {SkewPPM: new(30.0)},
								"b": {SkewPPM: new(-30.0), SpeedMPS: new(0.5), MoveStartS: new(lift.Seconds()), MoveStopS: new(down.Seconds())},
							},
						},
					}
					if *traced {
						s.medium = func(i int, p *audio.PHY) phy.PHY {
							return &tracer{PHY: p, name: string(rune('a' + i)), start: begin}
						}
					}
					s.run(t, func(ctx context.Context, stations []*link.Runner) {
						time.Sleep(5 * time.Second)
						hosts[0].start()
						octets := make([]uint32, 0, end/step+1) // that the program on b has read
						for range 5 * time.Second / step {
							octets = append(octets, 0)
						}
						for time.Since(begin) < end {
							hosts[1].mu.Lock()
							octets = append(octets, hosts[1].next)
							hosts[1].mu.Unlock()
							if *traced && len(octets)%4 == 0 {
								stats, err := stations[0].Stats(ctx)
								if err != nil {
									t.Fatal(err)
								}
								h := hosts[0]
								h.mu.Lock()
								t.Logf("%6.2f s: %d octets; window %.1f, under way %d, timer %v, %d again; dropped %+v; queue %+v", time.Since(begin).Seconds(), octets[len(octets)-1],
									h.cwnd, int(h.top-h.una)/h.payload, h.rto, h.repeated, stats.Packets.Dropped, stats.Queue)
								h.mu.Unlock()
							}
							time.Sleep(step)
						}
						for _, h := range hosts {
							h.stop()
						}
						rate := func(from, to time.Duration) float64 { // kb/s
							at := func(t time.Duration) uint32 { return octets[min(int(t/step), len(octets)-1)] }
							return 8 * float64(at(to)-at(from)) / (to - from).Seconds() / 1000
						}
						came := func(t time.Duration) time.Duration { // the last octets until t
							i := int(t / step)
							for i > 1 && octets[i] == octets[i-1] {
								i--
							}
							return time.Duration(i) * step
						}
						usual := rate(came(lift-still), came(lift)) // bursts of 45 kB each 6 s, not cut by an end
						back := down
						for back+after < end && rate(back, back+after) < 0.8*usual {
							back += step
						}
						hosts[0].mu.Lock()
						again := hosts[0].repeated
						hosts[0].mu.Unlock()
						t.Logf("seed %d: TCP %.1f kb/s still, %.1f carried, back at speed %v after it was put down, %.1f kb/s from there; %d segments again",
							seed, usual, rate(lift, down), back-down, rate(back, end), again)
						if back-down > patience || usual == 0 {
							t.Errorf("seed %d: back at speed %v after it was put down, want %v", seed, back-down, patience)
						}
					})
				}
				t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { synctest.Test(t, run) })
			}
		})
	}
}
