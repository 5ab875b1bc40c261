package main

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"lightsong/link"
	"lightsong/phy/led"
	"lightsong/sims"
)

// uartBeam is two stations with nothing but a UART each in simulated light, with the
// real PHY and link, in simulated time.
type uartBeam struct {
	light *sims.Light
	ports [2]*sims.LightStationPort
	hosts [2]*beamHost
	phys  [2]*led.UART
	run   [2]*link.Runner
}

var uartAddrs = [2]netip.Addr{netip.MustParseAddr("10.73.0.1"), netip.MustParseAddr("10.73.0.2")}

// onUART runs f in simulated time after the link is up. hosts are beamHosts, or
// what instead makes.
func onUART(t *testing.T, c sims.LightConfig, baud int, instead func(i int, from, to netip.Addr) link.Host, f func(ctx context.Context, b *uartBeam)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		light, err := sims.NewLight(c)
		if err != nil {
			t.Fatal(err)
		}
		b := &uartBeam{light: light}
		for i, name := range []string{"a", "b"} {
			if b.ports[i], err = light.Attach(name); err != nil {
				t.Fatal(err)
			}
		}
		lightCtx, stopLight := context.WithCancel(context.Background())
		var lightGroup sync.WaitGroup
		lightGroup.Go(func() { _ = light.Run(lightCtx) })
		ctx, cancel := context.WithCancel(context.Background())
		var group errgroup.Group
		for i, name := range []string{"a", "b"} {
			p, err := led.OpenUART(ctx, led.UARTConfig{Speed: baud, Dial: func(context.Context) (led.Port, error) {
				b.ports[i].Reopen()
				return b.ports[i], nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			e, err := link.New(link.Config{
				Name: name, Seed: c.Seed + uint64(i), Epoch: uint16(i), MTU: 1400,
				Prefixes: []netip.Prefix{netip.PrefixFrom(uartAddrs[i], 24)}, Caps: p.Caps(), Airtime: p.Airtime, MaxBurst: lightBurst,
			}, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			var h link.Host
			if instead != nil {
				h = instead(i, uartAddrs[i], uartAddrs[1-i])
			} else {
				b.hosts[i] = newBeamHost(uartAddrs[i], uartAddrs[1-i])
				h = b.hosts[i]
			}
			b.phys[i], b.run[i] = p, link.NewRunner(e, p, h, nil)
			group.Go(func() error { return b.run[i].Run(ctx) })
		}
		if allUp(ctx, b.run[:], time.Minute) {
			f(ctx, b)
		} else {
			t.Error("no link after a minute")
		}
		cancel()
		for _, p := range b.phys {
			p.Close()
		}
		if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		stopLight()
		lightGroup.Wait()
	})
}

// goodput lets both hosts, or the first one only, send 1400-octet packets as fast as
// the link takes them; it returns what each receives, in bit/s of IP.
func (b *uartBeam) goodput(both bool, settle, measure time.Duration) (got [2]float64) {
	b.hosts[0].send(1400, 3*time.Millisecond)
	if both {
		b.hosts[1].send(1400, 3*time.Millisecond)
	}
	time.Sleep(settle)
	var from, to [2]int
	var began, ended [2]time.Time
	count := func(n *[2]int, at *[2]time.Time) {
		for i, h := range b.hosts {
			h.mu.Lock()
			n[i], at[i] = h.octets, h.last
			h.mu.Unlock()
		}
	}
	count(&from, &began)
	time.Sleep(measure)
	count(&to, &ended)
	for i := range got {
		if to[i] > from[i] {
			got[i] = float64(8*(to[i]-from[i])) / ended[i].Sub(began[i]).Seconds()
		}
	}
	return got
}

// uartLight is two stations with clocks apart by ppm and jitter in bits.
func uartLight(baud int, ppm, jitter float64) sims.LightConfig {
	c := sims.LightConfig{Seed: 1, Stations: map[string]sims.LightStation{"a": {ClockPPM: &ppm}, "b": {ClockPPM: new(0.0)}}}
	c.Station.JitterNS = new(jitter * 1e9 / float64(baud))
	return c
}

// UDP both ways at once at 2 Mbaud, clocks 1 % apart, 0.04 bit rms of jitter. Theory:
// 200 000 characters/s of 6 bits, of which marks leave 64/65, headers 0.99, code 15/16,
// checks and fragment headers 0.985: 1.08 Mb/s, less what bursts and answers cost.
func TestUARTLink(t *testing.T) {
	onUART(t, uartLight(2000000, 10000, 0.04), 2000000, nil, func(_ context.Context, b *uartBeam) {
		got := b.goodput(true, 1500*time.Millisecond, 2*time.Second)
		t.Logf("%.0f and %.0f kb/s", got[0]/1e3, got[1]/1e3)
		for i := range got {
			if got[i] < 0.95e6 {
				t.Errorf("%.0f kb/s to station %d, want at least 950", got[i]/1e3, i)
			}
		}
		for _, h := range b.hosts {
			h.send(0, 0)
		}
		time.Sleep(2 * time.Second)
		// 84 octets: 2 ms of light there and back, 8 ms ahead in the adapters, USB.
		rtts := ping(b.hosts[0], b.hosts[1], 5)
		if slices.Sort(rtts); len(rtts) < 5 || rtts[2] > 20*time.Millisecond {
			t.Errorf("ping: %v, want 5 with a median of at most 20 ms", rtts)
		}
		for i, p := range b.phys {
			if s := p.Stats(); s.RanDry > 1 || s.Overflow != 0 {
				t.Errorf("%+v", s)
			}
			t.Logf("%+v %+v", p.Stats(), b.ports[i].Stats())
		}
	})
}

// ping sends n packets of 84 octets from one host to another and returns the
// times of those that came back, with 2 s for the last.
func ping(from, to *beamHost, n int) []time.Duration {
	to.mu.Lock()
	to.echo = true
	to.mu.Unlock()
	from.mu.Lock()
	from.rtts = nil
	before := from.sent
	from.mu.Unlock()
	from.send(84, 171*time.Millisecond)
	for {
		time.Sleep(time.Millisecond)
		from.mu.Lock()
		sent := int(from.sent - before)
		from.mu.Unlock()
		if sent >= n {
			break
		}
	}
	from.send(0, 0)
	time.Sleep(2 * time.Second)
	to.mu.Lock()
	to.echo = false
	to.mu.Unlock()
	from.mu.Lock()
	defer from.mu.Unlock()
	return slices.Clone(from.rtts)
}
