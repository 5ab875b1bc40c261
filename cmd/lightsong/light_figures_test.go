//go:build figures

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"lightsong/firmware/emu"
	"lightsong/link"
	"lightsong/phy/led"
)

// spoilers are what light has to live with.
var spoilers = []struct {
	name  string
	first func(*emu.Rig) error               // before there is a link
	spoil func(ctx context.Context, b *beam) // runs until ctx ends
}{
	{name: "1e-3 of the chips wrong", first: chipErrors(1e-3)},
	{name: "1e-2 of the chips wrong", first: chipErrors(1e-2)},
	{name: "a hand in the beam for 100 ms each second", spoil: hand},
}

func hand(ctx context.Context, b *beam) {
	for ctx.Err() == nil {
		for _, gain := range []float64{0, 1} {
			b.lines.Do(func(r *emu.Rig) error { return errors.Join(r.Gain(0, 1, gain), r.Gain(1, 0, gain)) })
			if gain == 0 {
				time.Sleep(100 * time.Millisecond)
			} else {
				time.Sleep(900 * time.Millisecond)
			}
		}
	}
}

// figureRates are the sets of chip rates of the figures: LIGHTSONG_FIGURES=1 is
// the highest rate alone, anything else the default too.
func figureRates() []int {
	if os.Getenv("LIGHTSONG_FIGURES") == "1" {
		return []int{1}
	}
	return []int{1, 0}
}

// The figures of docs/light.md, in the boards' time: `make light-figures`.
func TestLightFigures(t *testing.T) {
	beams := emu.Config{PPM: []float64{0, 20000}, Jitter: 50, Seed: 1}
	for _, rates := range figureRates() {
		clean := math.NaN()
		name := "default rates"
		if rates != 0 {
			name = fmt.Sprintf("rates %#x", rates)
		}
		t.Run(name+"/clean", func(t *testing.T) {
			onBeam(t, beams, rates, func(ctx context.Context, b *beam) {
				clean = b.goodput(5*time.Second, 20*time.Second)
				b.drain(ctx)
				median, lost := b.pings(30)
				t.Logf("UDP one way %.1f kb/s; ping of 84 octets %v, %d of 30 lost", clean/1e3, median, lost)
			})
		})
		for _, s := range spoilers {
			t.Run(name+"/"+s.name, func(t *testing.T) {
				var first []func(*emu.Rig) error
				if s.first != nil {
					first = append(first, s.first)
				}
				onBeam(t, beams, rates, func(ctx context.Context, b *beam) {
					ctx, stop := context.WithCancel(ctx)
					var group sync.WaitGroup
					if s.spoil != nil {
						group.Go(func() { s.spoil(ctx, b) })
					}
					got := b.goodput(6*time.Second, 20*time.Second)
					b.drain(ctx)
					median, lost := b.pings(60)
					t.Logf("%.1f kb/s, %.2f of clean; ping %v, %d of 60 lost", got/1e3, got/clean, median, lost)
					stop()
					group.Wait()
				}, first...)
			})
		}
	}
}

// TCP one way over clean light, NewReno in the boards' time.
func TestLightTCP(t *testing.T) {
	var hosts [2]*tcpHost
	instead := func(i int, from, to netip.Addr) link.Host {
		hosts[i] = newTCPHost(from, to)
		return hosts[i]
	}
	onBeamOf(t, emu.Config{PPM: []float64{0, 20000}, Jitter: 50, Seed: 1}, led.Config{}, instead, func(context.Context, *beam) {
		got := tcpGoodput(hosts, 5*time.Second, 20*time.Second)
		t.Logf("TCP one way %.1f kb/s of payload; round trip %v, %d segments repeated", got/1e3, hosts[0].rtt.Round(time.Millisecond), hosts[0].repeated)
	})
}
