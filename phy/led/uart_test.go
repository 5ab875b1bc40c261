package led_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"math/cmplx"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lightsong/phy"
	"lightsong/phy/led"
	"lightsong/sims"
)

// underLight runs f in simulated time with two adapters in simulated light.
func underLight(t *testing.T, c sims.LightConfig, f func(ctx context.Context, light *sims.Light, ports [2]*sims.LightStationPort)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		light, err := sims.NewLight(c)
		if err != nil {
			t.Fatal(err)
		}
		var ports [2]*sims.LightStationPort
		for i, name := range []string{"a", "b"} {
			if ports[i], err = light.Attach(name); err != nil {
				t.Fatal(err)
			}
		}
		f(t.Context(), light, ports)
	})
}

// shine lets the light's time pass until the function it returns is called.
func shine(light *sims.Light) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		_ = light.Run(ctx)
		close(done)
	}()
	return func() {
		cancel()
		<-done
	}
}

func plug(p *sims.LightStationPort) led.Dialer {
	return func(context.Context) (led.Port, error) {
		p.Reopen()
		return p, nil
	}
}

func openUART(ctx context.Context, t *testing.T, c led.UARTConfig) *led.UART {
	t.Helper()
	p, err := led.OpenUART(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Bursts of all modes cross between two adapters with clocks 2 % apart, come whole,
// in the time that Airtime tells, and each is told of in order; both ways at once.
func TestUARTBurstsCross(t *testing.T) {
	c := sims.LightConfig{Seed: 1, Stations: map[string]sims.LightStation{"a": {ClockPPM: new(0.0)}, "b": {ClockPPM: new(-20000.0)}}}
	underLight(t, c, func(ctx context.Context, light *sims.Light, ports [2]*sims.LightStationPort) {
		defer shine(light)()
		a := openUART(ctx, t, led.UARTConfig{Dial: plug(ports[0]), Speed: 2000000})
		b := openUART(ctx, t, led.UARTConfig{Dial: plug(ports[1]), Speed: 2000000})
		defer a.Close()
		defer b.Close()
		events, back := hear(b), hear(a)
		rnd := rand.New(rand.NewPCG(1, 2))
		time.Sleep(5 * time.Millisecond)
		for _, m := range a.Caps().Modes {
			for _, shape := range [][3]int{{0, 0, 22}, {1, 100, 22}, {10, m.FrameOctets, 22}} {
				sent := burstOf(rnd, m.MCS, shape[0], shape[1], shape[2])
				began := time.Now()
				var other sync.WaitGroup
				other.Go(func() {
					if err := b.Transmit(ctx, sent); err != nil {
						t.Error(err)
					}
				})
				if err := a.Transmit(ctx, sent); err != nil {
					t.Fatal(err)
				}
				other.Wait()
				took := time.Since(began)
				// It returns some milliseconds before its last edge has left.
				if air := a.Airtime(sent); took > air+air/40+4*time.Millisecond || took < air-6*time.Millisecond {
					t.Errorf("MCS %d, %v: sent in %v, airtime %v", m.MCS, shape, took, air)
				}
				time.Sleep(15 * time.Millisecond)
				for _, heard := range []chan timed{events, back} {
					var kinds []phy.EventKind
					for len(heard) > 0 {
						ev := <-heard
						kinds = append(kinds, ev.Kind)
						if ev.Kind != phy.Received {
							continue
						}
						if ev.Burst.MCS != sent.MCS || !bytes.Equal(ev.Burst.Control, sent.Control) || len(ev.Burst.Frames) != len(sent.Frames) {
							t.Errorf("MCS %d, %v: another burst", m.MCS, shape)
							continue
						}
						for i, f := range ev.Burst.Frames {
							if !bytes.Equal(f, sent.Frames[i]) {
								t.Errorf("MCS %d, %v: frame %d differs", m.MCS, shape, i)
							}
						}
						if ev.Quality.SNR < m.SNRdB {
							t.Errorf("MCS %d: SNR %.1f dB, the mode needs %.1f", m.MCS, ev.Quality.SNR, m.SNRdB)
						}
					}
					if want := []phy.EventKind{phy.Busy, phy.Announced, phy.Received, phy.Idle}; len(kinds) != 4 || !equal(kinds, want) {
						t.Errorf("MCS %d, %v: events %v, want %v", m.MCS, shape, kinds, want)
					}
				}
			}
		}
		for _, p := range []*led.UART{a, b} {
			if s := p.Stats(); s.Connections != 1 || s.Overflow != 0 {
				t.Errorf("%+v", s)
			}
		}
		for _, p := range ports {
			if s := p.Stats(); s.Gaps > 1 { // the one before the program came
				t.Errorf("the line rested: %+v", s)
			}
		}
	})
}

// An adapter that is unplugged and plugged in again is back within 3 s, each time;
// until then a burst is refused, and one under way ends.
func TestUARTReplug(t *testing.T) {
	underLight(t, sims.LightConfig{Seed: 2}, func(ctx context.Context, light *sims.Light, ports [2]*sims.LightStationPort) {
		defer shine(light)()
		var absent atomic.Bool
		p := openUART(ctx, t, led.UARTConfig{Speed: 1000000, Dial: func(ctx context.Context) (led.Port, error) {
			if absent.Load() {
				return nil, errors.New("no such device")
			}
			return plug(ports[0])(ctx)
		}})
		defer p.Close()
		rnd := rand.New(rand.NewPCG(2, 2))
		long := burstOf(rnd, 0, 200, 300, 22)
		for i := range 100 {
			failed := make(chan error, 1)
			go func() { failed <- p.Transmit(ctx, long) }()
			time.Sleep(50 * time.Millisecond)
			absent.Store(true)
			ports[0].Close()
			if err := <-failed; err == nil {
				t.Fatalf("replug %d: a burst was sent through an adapter that was unplugged", i)
			}
			time.Sleep(time.Duration(1+rnd.IntN(1000)) * time.Millisecond)
			if err := p.Transmit(ctx, &phy.Burst{Control: []byte{1}}); err == nil {
				t.Fatalf("replug %d: sent without an adapter", i)
			}
			if open, _, why := p.State(); open || why == nil {
				t.Errorf("replug %d: it is not said why there is no adapter", i)
			}
			absent.Store(false)
			began := time.Now()
			for p.Stats().Connections < uint64(i+2) && time.Since(began) < 5*time.Second {
				time.Sleep(10 * time.Millisecond)
			}
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("replug %d: back after %v", i, took)
			}
			if err := p.Transmit(ctx, &phy.Burst{Control: []byte{1}}); err != nil {
				t.Errorf("replug %d: %v", i, err)
			}
		}
	})
}

// wedged takes no octets any more.
type wedged struct {
	*sims.LightStationPort
	closed chan struct{}
	once   sync.Once
}

func (w *wedged) Write([]byte) (int, error)  { <-w.closed; return 0, errors.New("closed") }
func (w *wedged) Read(b []byte) (int, error) { <-w.closed; return 0, errors.New("closed") }
func (w *wedged) Close() error               { w.once.Do(func() { close(w.closed) }); return nil }

// An adapter that takes no octets is opened anew, and who sends does not hang.
func TestUARTWedged(t *testing.T) {
	underLight(t, sims.LightConfig{}, func(ctx context.Context, _ *sims.Light, ports [2]*sims.LightStationPort) {
		p := openUART(ctx, t, led.UARTConfig{Speed: 1000000, Dial: func(context.Context) (led.Port, error) {
			return &wedged{LightStationPort: ports[0], closed: make(chan struct{})}, nil
		}})
		defer p.Close()
		began := time.Now()
		if err := p.Transmit(ctx, &phy.Burst{Control: []byte{1}}); err == nil || time.Since(began) > 4*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		time.Sleep(3 * time.Second)
		if p.Stats().Connections < 2 {
			t.Error("the line was not opened again")
		}
	})
}

func TestUARTBadConfiguration(t *testing.T) {
	for _, c := range []led.UARTConfig{{Speed: 100}, {Speed: 1e8}, {Speed: 1e6, Ahead: time.Second}} {
		if _, err := led.OpenUART(t.Context(), c); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
	if _, err := led.OpenUART(t.Context(), led.UARTConfig{Speed: 1e6, Dial: led.Serial("/nowhere/adapter")}); err == nil || !strings.Contains(err.Error(), "is the board plugged in?") {
		t.Errorf("no device: %v", err)
	}
}

// The light has no component below 3 kHz beyond what IEEE 1789-2015 takes to have no
// observable effect (modulation of 0.01·f % below 90 Hz, 0.0333·f % above; what it takes
// for low risk is 2.4 times that), idle or busy, and the same mean within 1 %.
func TestUARTFlicker(t *testing.T) {
	underLight(t, sims.LightConfig{Seed: 4}, func(ctx context.Context, light *sims.Light, ports [2]*sims.LightStationPort) {
		l := newLightMeter(0.02)
		ports[0].Trace(l.change)
		defer shine(light)()
		p := openUART(ctx, t, led.UARTConfig{Dial: plug(ports[0]), Speed: 2000000})
		defer p.Close()
		const seconds = 0.5
		time.Sleep(600 * time.Millisecond)
		idle := l.mean(0.05, seconds)
		worstIdle, atIdle := l.worst(0.05, seconds)
		rnd := rand.New(rand.NewPCG(4, 4))
		from := time.Duration(0)
		for sent := 0; ; sent++ { // packets of all lengths, with pauses, as a link sends them
			if now := light.Now(); from == 0 {
				from = now
			} else if now > from+time.Duration((seconds+0.05)*float64(time.Second)) {
				break
			}
			if err := p.Transmit(ctx, burstOf(rnd, phy.MCS(rnd.IntN(7)), rnd.IntN(20), 100, 22)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(rnd.IntN(5)) * time.Millisecond)
		}
		busy := l.mean(from.Seconds(), seconds)
		worstBusy, atBusy := l.worst(from.Seconds(), seconds)
		t.Logf("mean %.4f idle, %.4f busy; nearest to the limit %.2g of it at %g Hz idle, %.2g at %g Hz busy", idle, busy, worstIdle, atIdle, worstBusy, atBusy)
		if worstIdle > 1 || worstBusy > 1 {
			t.Error("it flickers")
		}
		if math.Abs(busy/idle-1) > 0.01 || math.Abs(idle-0.5) > 0.005 {
			t.Errorf("mean level %.4f idle, %.4f busy", idle, busy)
		}
	})
}

// lightMeter keeps the mean level of a light in bins.
type lightMeter struct {
	bin float64 // s

	mu    sync.Mutex
	bins  []float64
	at    float64
	level float64
}

// newLightMeter makes one with bins of so many ms, that begins with the light on.
func newLightMeter(millis float64) *lightMeter { return &lightMeter{bin: millis / 1000, level: 1} }

func (l *lightMeter) change(at float64, lit bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	level := 0.
	if lit {
		level = 1
	}
	l.to(at)
	l.level = level
}

func (l *lightMeter) to(at float64) {
	for l.at < at {
		i := int(l.at/l.bin + 1e-9)
		end := min(at, float64(i+1)*l.bin)
		for len(l.bins) <= i {
			l.bins = append(l.bins, 0)
		}
		l.bins[i] += l.level * (end - l.at) / l.bin
		l.at = end
	}
}

func (l *lightMeter) part(from, seconds float64) []float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := int(from / l.bin)
	return slices.Clone(l.bins[i : i+int(seconds/l.bin)])
}

func (l *lightMeter) mean(from, seconds float64) (mean float64) {
	part := l.part(from, seconds)
	for _, v := range part {
		mean += v / float64(len(part))
	}
	return mean
}

// worst is the component below 3 kHz that is nearest to its limit, as a share of it.
func (l *lightMeter) worst(from, seconds float64) (share, hz float64) {
	part, mean := l.part(from, seconds), l.mean(from, seconds)
	for f := 2 / seconds; f <= 3000; f += 1 / seconds {
		limit := 0.0333 * f
		if f < 90 {
			limit = 0.01 * f
		}
		turn, step, sum := complex(1, 0), cmplx.Exp(complex(0, -2*math.Pi*f*l.bin)), complex(0, 0)
		for _, v := range part {
			sum += complex(v-mean, 0) * turn
			turn *= step
		}
		if modulation := 100 * 2 * cmplx.Abs(sum) / float64(len(part)) / mean; modulation/limit > share {
			share, hz = modulation/limit, f
		}
	}
	return share, hz
}
