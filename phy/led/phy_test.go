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

func open(ctx context.Context, t *testing.T, c led.Config) *led.PHY {
	t.Helper()
	p, err := led.Open(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func random(rnd *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

func burstOf(rnd *rand.Rand, mcs phy.MCS, frames, octets, control int) *phy.Burst {
	b := &phy.Burst{MCS: mcs, Control: random(rnd, control)}
	for range frames {
		b.Frames = append(b.Frames, random(rnd, octets))
	}
	return b
}

type timed struct {
	phy.Event
	at time.Time
}

// hear collects a PHY's events until it is closed.
func hear(p phy.PHY) (events chan timed) {
	events = make(chan timed, 10000)
	go func() {
		defer close(events)
		for {
			var ev timed
			if p.Receive(context.Background(), &ev.Event) != nil {
				return
			}
			ev.at = time.Now()
			events <- ev
		}
	}()
	return events
}

// Bursts of all modes cross between two emulated boards with clocks 2 % apart,
// come whole, in the time that Airtime tells, and each is told of in order.
func TestBurstsCross(t *testing.T) {
	r := emutest.Start(t, emu.Config{PPM: []float64{0, 20000}, Jitter: 50, Seed: 1})
	emutest.Bubble(t, r, func(ctx context.Context, lines *emu.Lines) {
		a := open(ctx, t, led.Config{Dial: dial(lines, 0), Rates: 0x3F})
		b := open(ctx, t, led.Config{Dial: dial(lines, 1), Rates: 0x3F})
		defer a.Close()
		defer b.Close()
		events := hear(b)
		rnd := rand.New(rand.NewPCG(1, 2))
		for _, m := range a.Caps().Modes {
			shapes := [][3]int{{0, 0, 22}, {1, 100, 22}, {7, m.FrameOctets, 22}}
			if m.NetBPS < 50000 {
				shapes = shapes[:2]
			}
			for _, shape := range shapes {
				sent := burstOf(rnd, m.MCS, shape[0], shape[1], shape[2])
				began := time.Now()
				if err := a.Transmit(ctx, sent); err != nil {
					t.Fatal(err)
				}
				took := time.Since(began)
				// Besides the light: two USB frames, up to 1.4 ms of serial line, and the
				// pauses, which are known to 10 µs.
				if air := a.Airtime(sent); took < air-air/100 || took > air+air/100+5*time.Millisecond {
					t.Errorf("MCS %d, %v: sent in %v, airtime %v", m.MCS, shape, took, air)
				}
				time.Sleep(5 * time.Millisecond)
				var kinds []phy.EventKind
				for len(events) > 0 {
					ev := <-events
					kinds = append(kinds, ev.Kind)
					switch ev.Kind {
					case phy.Announced:
						end := ev.at.Add(ev.Until)
						if late := began.Add(took).Sub(end); late < -3*time.Millisecond || late > 4*time.Millisecond+took/40 {
							t.Errorf("MCS %d, %v: announced to end %v before the sender knew it over", m.MCS, shape, late)
						}
					case phy.Received:
						if ev.Burst.MCS != sent.MCS || !bytes.Equal(ev.Burst.Control, sent.Control) || len(ev.Burst.Frames) != len(sent.Frames) {
							t.Errorf("MCS %d, %v: another burst", m.MCS, shape)
							continue
						}
						for i, f := range ev.Burst.Frames {
							if !bytes.Equal(f, sent.Frames[i]) {
								t.Errorf("MCS %d, %v: frame %d differs", m.MCS, shape, i)
							}
						}
						if shape[0] == 7 && (ev.Quality.PPM < -20500 || ev.Quality.PPM > -18500) {
							t.Errorf("MCS %d: the sender's clock seems %.0f ppm fast, want −19608", m.MCS, ev.Quality.PPM)
						}
						if ev.Quality.SNR < m.SNRdB {
							t.Errorf("MCS %d: SNR %.1f dB, the mode needs %.1f", m.MCS, ev.Quality.SNR, m.SNRdB)
						}
					}
				}
				if want := []phy.EventKind{phy.Busy, phy.Announced, phy.Received, phy.Idle}; len(kinds) < 4 || !equal(kinds[:4], want) || len(kinds)%2 != 0 {
					t.Errorf("MCS %d, %v: events %v, want %v", m.MCS, shape, kinds, want)
				}
			}
		}
		if s := a.Stats(); s.RanDry+s.NotSent+s.NoReport+s.Damaged+s.SerialBad != 0 {
			t.Errorf("sender: %+v", s)
		}
		if s := b.Stats(); s.Truncated+s.Overflow+s.SerialBad != 0 {
			t.Errorf("receiver: %+v", s)
		}
	})
}

func equal(a, b []phy.EventKind) bool {
	for i := range b {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
