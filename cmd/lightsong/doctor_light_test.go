package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"lightsong/firmware/emu"
	"lightsong/firmware/emu/emutest"
	"lightsong/phy/led"
)

// Two boards of which one sends a test sequence and the other one compares, in the
// boards' time: what doctor finds is what the light was made to do.
func TestDoctorLight(t *testing.T) {
	for _, tt := range []struct {
		name     string
		gain     float64 // of the light between them
		glitches float64
		low, top float64 // bit error rate at 1 Mchip/s
		next     string
	}{
		{name: "clean", gain: 1, next: "The light is good for Manchester, 1000 kchip/s, LDPC 9/10"},
		// A bit is decided by the first of its halves where both are alike, and by them
		// together else: it is wrong as often as a chip, here once in 300.
		{name: "1 in 300 chips wrong", gain: 1, glitches: 1. / 300, low: 2.2e-3, top: 4.5e-3, next: "The light is good for Manchester, 1000 kchip/s, LDPC 9/10"},
		{name: "dark", next: "Nothing was heard"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := emutest.Start(t, emu.Config{PPM: []float64{0, 10000}, Jitter: 50, Seed: 3})
			d := &DoctorLight{Board: "simulated"}
			sent := 0
			emutest.Bubble(t, r, func(ctx context.Context, lines *emu.Lines) {
				lines.Do(func(r *emu.Rig) error {
					return errors.Join(r.Gain(0, 1, tt.gain), r.Gain(1, 0, tt.gain), r.Glitches(1, tt.glitches))
				})
				open := func(board int) *led.Tester {
					x, err := led.OpenTester(ctx, led.Config{Dial: func(context.Context) (led.Port, error) { return lines.Open(board), nil }})
					if err != nil {
						t.Fatal(err)
					}
					return x
				}
				a, b := open(0), open(1)
				rates := lightRates(b.Info(), 0b11)
				playing, stop := context.WithCancel(ctx)
				var group errgroup.Group
				group.Go(func() (err error) {
					sent, err = playLight(playing, a, rates)
					if errors.Is(err, context.Canceled) {
						return nil
					}
					return err
				})
				if err := d.listen(ctx, b, rates, 0); err != nil {
					t.Error(err)
				}
				stop()
				if err := group.Wait(); err != nil {
					t.Error(err)
				}
				for _, x := range []*led.Tester{a, b} {
					if err := x.Close(); err != nil {
						t.Error(err)
					}
				}
			})
			var out bytes.Buffer
			if err := d.print(&out); err != nil {
				t.Fatal(err)
			}
			t.Logf("%s, %d sent:\n%s", tt.name, sent, out.String())
			if !strings.HasPrefix(d.Next, tt.next) || d.EchoesGood != echoes {
				t.Errorf("%s: %d echoes, %q, want %q", tt.name, d.EchoesGood, d.Next, tt.next)
			}
			if js, err := json.Marshal(d); err != nil {
				t.Errorf("%s: %v", js, err)
			}
			if tt.gain == 0 {
				return
			}
			for _, x := range d.Rates {
				// Of five turns of 16 frames at each rate at least three fall into the time.
				if x.Frames < 3*lightRound/2 || x.BER == nil || x.Bits != (x.Frames-uint32(x.Slipped))*8*lightOctets {
					t.Errorf("%s: %+v", tt.name, x)
				} else if x.ChipRate == 1000000 && (*x.BER < tt.low || *x.BER > tt.top || *x.BERMost < *x.BER) {
					t.Errorf("%s: a bit error rate of %g at 1 Mchip/s, want %g to %g", tt.name, *x.BER, tt.low, tt.top)
				}
			}
		})
	}
}

// What doctor refuses for light, in words.
func TestDoctorLightRefuses(t *testing.T) {
	for _, tt := range []struct {
		board, want string
		o           doctorOptions
	}{
		{"serial:/nowhere", "--listen with the one, --play with the other", doctorOptions{}},
		{"serial:/nowhere", "--picture is for sound", doctorOptions{listen: true, picture: "x.svg"}},
		{"uart:/nowhere", "an adapter without one", doctorOptions{listen: true}},
		{"serial:/nowhere", "/nowhere", doctorOptions{listen: true}},
	} {
		c := &upConfig{}
		c.Led.Board = tt.board
		cmd := doctorCommand()
		cmd.SetContext(t.Context())
		if err := tt.o.doctorLight(cmd, c); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.board, err, tt.want)
		}
	}
}
