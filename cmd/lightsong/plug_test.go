package main

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"lightsong/link"
	"lightsong/sims"
)

// TestPulledSoon pulls the plug of one of two stations that have just met, while one
// pings the other, every sample simulated: both know it within 5 s, though of what
// answers take they know nothing but the slow first ones.
func TestPulledSoon(t *testing.T) {
	lead := sims.AirConfig{Room: sims.AirRoom{RT60: new(0.0), OwnEcho: new(false)}, Station: sims.AirStation{SNRdB: new(60.0)}}
	room := sims.AirConfig{Room: sims.AirRoom{RT60: new(0.3), DRR: new(3.0)}, Station: sims.AirStation{SNRdB: new(20.0)}}
	for _, c := range []struct {
		profile string
		air     sims.AirConfig
		seed    uint64
		after   time.Duration // of the first ping that came back
	}{
		{"cable", lead, 2, 700 * time.Millisecond},
		{"cable", lead, 4, 2100 * time.Millisecond},
		{"cable", lead, 7, 4200 * time.Millisecond},
		{"air", room, 1, 0},
		{"air", room, 3, 1400 * time.Millisecond},
	} {
		t.Run(fmt.Sprintf("%s after %v", c.profile, c.after), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var hosts [2]*echoHost
				for i := range hosts {
					hosts[i] = &echoHost{from: simulatedAddr(i), to: simulatedAddr(1 - i), answers: make(chan []byte, 100), returned: map[uint16]bool{}}
				}
				hosts[0].count = 100
				c.air.Seed = c.seed
				var air *sims.Air
				simulation{
					profile: c.profile, air: c.air, hosts: []link.Host{hosts[0], hosts[1]},
					plugs: func(a *sims.Air) { air = a },
				}.run(t, func(ctx context.Context, stations []*link.Runner) {
					stats := func(i int) link.Stats {
						s, err := stations[i].Stats(ctx)
						if err != nil {
							t.Fatal(err)
						}
						return s
					}
					passes := func(most time.Duration, what func() bool) time.Duration {
						from := time.Now()
						for !what() {
							if time.Since(from) > most {
								t.Fatalf("seed %d: not within %v: %+v", c.seed, most, stats(0))
							}
							time.Sleep(10 * time.Millisecond)
						}
						return time.Since(from)
					}
					passes(time.Minute, func() bool {
						a := stats(0)
						return a.Up && stats(1).Up && a.Packets.Out > 0
					})
					time.Sleep(c.after)
					before := stats(0)
					if err := air.Plug("b", false); err != nil {
						t.Fatal(err)
					}
					took := passes(5*time.Second, func() bool { return !stats(0).Up && !stats(1).Up })
					// A station that hears nothing asks, and waits; it does not keep asking.
					if polls := stats(0).Bursts.Polls - before.Bursts.Polls; polls > 8 {
						t.Errorf("seed %d: %d polls", c.seed, polls)
					}
					t.Logf("seed %d: both knew after %v", c.seed, took.Round(10*time.Millisecond))
				})
			})
		})
	}
}
