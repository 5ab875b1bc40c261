//go:build figures

package main

import (
	"context"
	"testing"
	"time"

	"lightsong/firmware/emu"
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

// Stations in one room that all have something to send to the next one.
func TestOneLEDRoom(t *testing.T) {
	const n, settle, measure = 10, 30 * time.Second, 150 * time.Second
	ppm := make([]float64, n)
	for i := range ppm {
		ppm[i] = float64(i*2777%10000) - 5000
	}
	onBeam(t, emu.Config{Boards: n, PPM: ppm, LED: oneLEDLight(74 * time.Microsecond), Seed: 1}, 0, func(ctx context.Context, b *beam) {
		for _, h := range b.hosts {
			h.send(1400, time.Second)
		}
		look := func() (octets []float64, air time.Duration) {
			for i, r := range b.run {
				s, err := r.Stats(ctx)
				if err != nil {
					t.Fatal(err)
				}
				next := b.hosts[(i+1)%n]
				next.mu.Lock()
				octets = append(octets, float64(next.octets))
				next.mu.Unlock()
				air += s.Airtime.Sent
			}
			return octets, air
		}
		time.Sleep(settle)
		before, airBefore := look()
		time.Sleep(measure)
		after, air := look()
		sum, squares := 0.0, 0.0
		for i := range after {
			x := after[i] - before[i]
			sum += x
			squares += x * x
		}
		t.Logf("one LED, %d stations, dark/bright 118/74 µs: %.2f kb/s together, Jain %.3f, light for %.2f of the time",
			n, 8*sum/measure.Seconds()/1e3, sum*sum/squares/n, float64(air-airBefore)/float64(measure))
	})
}
