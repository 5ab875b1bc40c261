//go:build figures

package main

import (
	"context"
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

// Stations in one room, dark when idle, that all have more to send to the next one than
// the light carries, beside a pair with the same light of which one sends.
func TestOneLEDRoom(t *testing.T) {
	light := oneLEDLight(74 * time.Microsecond)
	dark := led.Config{Dim: 0}
	var pair float64
	onBeamOf(t, emu.Config{PPM: []float64{0, 4000}, LED: light, Seed: 1}, dark, nil, func(_ context.Context, b *beam) {
		pair = b.goodput(20*time.Second, 60*time.Second)
	})
	const n, settle, measure = 10, 30 * time.Second, 120 * time.Second
	ppm := make([]float64, n)
	for i := range ppm {
		ppm[i] = float64(i*2777%10000) - 5000
	}
	onBeamOf(t, emu.Config{Boards: n, PPM: ppm, LED: light, Seed: 1}, dark, nil, func(ctx context.Context, b *beam) {
		began := time.Now()
		for met := 0; met < n*(n-1); time.Sleep(100 * time.Millisecond) {
			if time.Since(began) > 5*time.Minute {
				t.Fatalf("%d of %d acquaintances after %v", met, n*(n-1), time.Since(began))
			}
			met = 0
			for _, r := range b.run {
				for _, p := range roomStats(ctx, t, r).Peers {
					if p.State == link.PeerUp && p.Name != "" {
						met++
					}
				}
			}
		}
		t.Logf("one LED, %d stations: all know each other %v after the first two", n, time.Since(began).Round(time.Second))
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
