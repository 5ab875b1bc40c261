//go:build figures

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"lightsong/firmware/emu"
	"lightsong/link"
	"lightsong/phy/led"
)

// oneLEDLight is light of which one neighbour's makes the discharge so much
// shorter, with 1 % of noise.
func oneLEDLight(bright time.Duration) *emu.LED {
	return &emu.LED{Dark: 118 * time.Microsecond, Bright: bright, Noise: 0.01}
}

// The figures of docs/light.md for boards whose one LED both sends and hears, in
// the boards' time: `make light-figures`.
func TestOneLEDFigures(t *testing.T) {
	for _, bright := range []time.Duration{74 * time.Microsecond, 105 * time.Microsecond} {
		onBeam(t, emu.Config{PPM: []float64{0, 4000}, LED: oneLEDLight(bright), Seed: 1}, 0, func(ctx context.Context, b *beam) {
			got := b.goodput(20*time.Second, 60*time.Second)
			s, err := b.run[0].Stats(ctx)
			if err != nil || len(s.Peers) != 1 {
				t.Fatal(err)
			}
			t.Logf("one LED, dark/bright 118/%d µs: UDP one way %.2f kb/s, MCS %d", bright.Microseconds(), got/1e3, s.Peers[0].MCSOut)
		})
	}
}

// Ten boards that are switched on together get to know each other, whatever the seed: it
// gives clocks, noise and the link's lots. LIGHTSONG_SEEDS is the first one and how many.
func TestOneLEDStarts(t *testing.T) {
	const n, limit = 10, 2 * time.Minute
	first, count := uint64(1), uint64(20)
	if s := os.Getenv("LIGHTSONG_SEEDS"); s != "" {
		if _, err := fmt.Sscan(s, &first, &count); err != nil {
			t.Fatalf("LIGHTSONG_SEEDS %q: %v", s, err)
		}
	}
	for seed := first; seed < first+count; seed++ {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			onBeamOf(t, roomOf(n, seed), led.Config{}, nil, func(ctx context.Context, b *beam) {
				var course strings.Builder
				var met int
				for at := 10 * time.Second; ; {
					met = b.acquaintances(ctx, t)
					since := time.Since(b.began)
					for ; since >= at; at += 10 * time.Second {
						fmt.Fprintf(&course, " %d", met)
					}
					if met == n*(n-1) || since > limit {
						t.Logf("%v until %d of %d acquaintances; at each 10 s:%s", since.Round(100*time.Millisecond), met, n*(n-1), course.String())
						break
					}
					time.Sleep(100 * time.Millisecond)
				}
				if met < n*(n-1) {
					t.Errorf("seed %d: not all know each other", seed)
					for i, r := range b.run {
						t.Logf("%d: %+v %+v", i, b.phys[i].Stats(), roomStats(ctx, t, r).Bursts)
						for _, p := range roomStats(ctx, t, r).Peers {
							t.Logf("%d knows %q: %s, heard %v ago", i, p.Name, p.State, time.Since(p.LastHeard).Round(time.Second))
						}
					}
				}
			})
		})
	}
}

// Stations in one room, dark when idle, that all have more to send to the next one than
// the light carries, beside a pair with the same light of which one sends.
func TestOneLEDRoom(t *testing.T) {
	light := oneLEDLight(74 * time.Microsecond)
	var pair float64
	onBeamOf(t, emu.Config{PPM: []float64{0, 4000}, LED: light, Seed: 1}, led.Config{}, nil, func(_ context.Context, b *beam) {
		pair = b.goodput(20*time.Second, 60*time.Second)
	})
	const n, settle, measure = 10, 30 * time.Second, 120 * time.Second
	onBeamOf(t, roomOf(n, 1), led.Config{}, nil, func(ctx context.Context, b *beam) {
		for b.acquaintances(ctx, t) < n*(n-1) {
			if time.Since(b.began) > 5*time.Minute {
				t.Fatalf("%d of %d acquaintances after %v", b.acquaintances(ctx, t), n*(n-1), time.Since(b.began))
			}
			time.Sleep(100 * time.Millisecond)
		}
		t.Logf("one LED, %d stations: all know each other after %v", n, time.Since(b.began).Round(time.Second))
		for _, h := range b.hosts {
			h.send(1400, time.Second)
		}
		time.Sleep(settle)
		before := lookAt(ctx, t, b)
		time.Sleep(measure)
		after := lookAt(ctx, t, b)
		sum, squares := 0.0, 0.0
		for i := range after.octets {
			x := float64(after.octets[i] - before.octets[i])
			sum += x
			squares += x * x
		}
		share := func(d time.Duration) float64 { return float64(d) / float64(measure) }
		t.Logf("one LED, %d stations, dark/bright 118/74 µs: Jain %.3f; light for %.3f of the time, heard for %.3f, %d of %d frames lost; %.2f kb/s together, %.2f of a pair's %.2f",
			n, sum*sum/squares/n, share(after.lit-before.lit), share(after.heard-before.heard), after.lost-before.lost, after.frames-before.frames,
			8*sum/measure.Seconds()/1e3, 8*sum/measure.Seconds()/pair, pair/1e3)
	})
}

// roomOf is n boards with one LED each, clocks up to 1 % apart.
func roomOf(n int, seed uint64) emu.Config {
	random := rand.New(rand.NewPCG(seed, 2))
	c := emu.Config{Boards: n, LED: oneLEDLight(74 * time.Microsecond), Seed: seed}
	for range n {
		c.PPM = append(c.PPM, 1e4*random.Float64()-5e3)
	}
	return c
}

// acquaintances counts who knows whom: two for each pair of stations.
func (b *beam) acquaintances(ctx context.Context, t *testing.T) (met int) {
	for _, r := range b.run {
		for _, p := range roomStats(ctx, t, r).Peers {
			if p.State == link.PeerUp && p.Name != "" {
				met++
			}
		}
	}
	return met
}

// roomful is what a room full of stations has come to.
type roomful struct {
	octets       []int         // that reached each host
	lit          time.Duration // bursts that were sent,
	heard        time.Duration // and those of which the next station could read at least what they are
	frames, lost uint64        // of the bursts that reached the station they were for
}

func roomStats(ctx context.Context, t *testing.T, r *link.Runner) link.Stats {
	s, err := r.Stats(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func lookAt(ctx context.Context, t *testing.T, b *beam) (x roomful) {
	names := make([]string, len(b.run))
	var all []link.Stats
	for i, r := range b.run {
		s := roomStats(ctx, t, r)
		all = append(all, s)
		names[i] = s.Station
		x.lit += s.Airtime.Sent
		x.frames += s.Frames.Received
		x.lost += s.Frames.Failed
		h := b.hosts[i]
		h.mu.Lock()
		x.octets = append(x.octets, h.octets)
		h.mu.Unlock()
	}
	for i, name := range names {
		for _, p := range all[(i+1)%len(all)].Peers {
			if p.Name == name {
				x.heard += p.Airtime.Heard
			}
		}
	}
	return x
}
