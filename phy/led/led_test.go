package led_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"lightsong/firmware/emu"
	"lightsong/firmware/emu/emutest"
	"lightsong/phy"
	"lightsong/phy/led"
)

// onChips runs f with boards in simavr and with those of this machine.
func onChips(t *testing.T, name string, f func(t *testing.T, on func(testing.TB, emu.Config) emu.Config)) {
	for _, chip := range emutest.Chips {
		t.Run(name+", "+chip.Name, func(t *testing.T) { f(t, chip.On) })
	}
}

func TestOneLED(t *testing.T) {
	for _, tt := range []struct {
		name  string
		light emu.LED
		most  phy.MCS // the fastest mode that the light carries
		least float64 // half dB
		top   float64
	}{
		{"strong light", emu.LED{Noise: 0.01}, 5, 52, 63},
		{"weak light", emu.LED{Bright: 105 * time.Microsecond, Noise: 0.01}, 2, 24, 38},
	} {
		onChips(t, tt.name, func(t *testing.T, on func(testing.TB, emu.Config) emu.Config) {
			const seed = 6
			r := emutest.Start(t, on(t, emu.Config{PPM: []float64{0, 4000}, LED: &tt.light, Seed: seed}))
			emutest.Bubble(t, r, func(ctx context.Context, lines *emu.Lines) {
				a := open(ctx, t, led.Config{Dial: dial(lines, 0)})
				defer a.Close()
				b := open(ctx, t, led.Config{Dial: dial(lines, 1)})
				defer b.Close()
				if modes := b.Caps().Modes; !b.Info().OneLED() || len(modes) != 6 || modes[0].Profile != "led1" {
					t.Fatalf("%+v %+v", b.Info(), modes)
				}
				phys, heard := [2]*led.PHY{a, b}, [2]chan timed{hear(a), hear(b)}
				rnd := rand.New(rand.NewPCG(seed, 1))
				for i := range 3 { // clocks
					_ = phys[i&1].Transmit(ctx, burstOf(rnd, 0, 0, 0, 20))
					time.Sleep(50 * time.Millisecond)
				}
				for _, h := range heard {
					for len(h) > 0 {
						<-h
					}
				}
				for mcs := range tt.most + 1 {
					m := a.Caps().Modes[mcs]
					// Carrier sense looks once a slot. Where the sender's slots begin in the middle
					// of a look, all of a preamble's are alike: in weak light it misses one of six.
					const tries = 8
					came := false
					for try := 0; try < tries && !came; try++ {
						sent := burstOf(rnd, mcs, 4, m.FrameOctets, 22)
						began := time.Now()
						if err := a.Transmit(ctx, sent); err != nil {
							t.Fatal(err)
						}
						took := time.Since(began)
						if air := a.Airtime(sent); took < air*99/100 || took > air+100*time.Millisecond {
							t.Errorf("MCS %d: on the light for %v, took %v", mcs, air, took)
						}
						time.Sleep(60 * time.Millisecond)
						var got *phy.Event
						var kinds []phy.EventKind
						for len(heard[1]) > 0 {
							ev := <-heard[1]
							kinds = append(kinds, ev.Kind)
							if ev.Kind == phy.Received {
								got = &ev.Event
							}
						}
						if got == nil {
							t.Logf("MCS %d, try %d: not received: %v", mcs, try, kinds)
							continue
						}
						came = true
						for i, f := range got.Burst.Frames {
							if f == nil {
								came = false
							} else if !bytes.Equal(f, sent.Frames[i]) {
								t.Errorf("seed %d MCS %d: frame %d is not what was sent", seed, mcs, i)
							}
						}
						t.Logf("MCS %d, try %d: %v for %d octets, %.1f dB, %.0f ppm, %v, whole: %t", mcs, try, took, 4*m.FrameOctets, got.Quality.SNR, got.Quality.PPM, kinds, came)
						if got.Quality.SNR < tt.least || got.Quality.SNR > tt.top {
							t.Errorf("seed %d MCS %d: %.1f dB, want %g to %g", seed, mcs, got.Quality.SNR, tt.least, tt.top)
						}
					}
					if !came {
						t.Errorf("seed %d MCS %d: no burst of %d came whole", seed, mcs, tries)
					}
				}
				t.Logf("%+v %+v", a.Stats(), b.Stats())
				lines.Do(func(r *emu.Rig) error {
					for i := range phys {
						report, err := r.Report(i)
						t.Logf("%+v", report)
						if err != nil {
							return err
						}
						if i == 1 && report.MeanLevel > 0.1 { // it has sent once; idle light is 0.35
							t.Errorf("board %d: %.3f of full light in the mean", i, report.MeanLevel)
						}
						if report.Overruns != 0 || report.Overwritten != 0 {
							t.Errorf("board %d: %d UART overruns, %d octets overwritten", i, report.Overruns, report.Overwritten)
						}
					}
					return nil
				})
				time.Sleep(5 * time.Millisecond)
			})
		})
	}
}
