package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"lightsong/link"
	"lightsong/phy"
	"lightsong/phy/audio"
	"lightsong/sims"
)

// A simulation is a medium with stations a, b, … on it that are daemons but for card
// and kernel: every sample passes, in the virtual time of a bubble of testing/synctest.
type simulation struct {
	profile string
	air     sims.AirConfig
	hosts   []link.Host                             // the stations'
	stream  func(i int, p *sims.Port) audio.Stream  // what a station hears and plays by; nil: its port
	medium  func(i int, p *audio.PHY) phy.PHY       // what its link sees; nil: the PHY
	plugs   func(air *sims.Air)                     // gets the medium before it begins; nil: nobody pulls a plug
	kills   func(f func(i int, gone time.Duration)) // gets what kills a station and starts it anew later; nil: nobody does that
}

// simulatedAddr is the address of a station's host.
func simulatedAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(1 + i)}) }

// run lets the stations live while f runs.
func (s simulation) run(t *testing.T, f func(ctx context.Context, stations []*link.Runner)) {
	t.Helper()
	air, err := sims.NewAir(s.air)
	if err != nil {
		t.Fatal(err)
	}
	if s.plugs != nil {
		s.plugs(air)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var group errgroup.Group
	stations := make([]*link.Runner, len(s.hosts))
	ends := make([]func(), len(s.hosts))
	epoch := uint16(0)
	start := func(i int) {
		name := string(rune('a' + i))
		port, err := air.Attach(name)
		if err != nil {
			t.Fatal(err)
		}
		m, err := audio.OpenModem(s.profile, 48000)
		if err != nil {
			t.Fatal(err)
		}
		var stream audio.Stream = port
		if s.stream != nil {
			stream = s.stream(i, port)
		}
		p := audio.New(audio.Config{Modem: m, Stream: stream, FullDuplex: s.profile == "cable"})
		life, end := context.WithCancel(ctx)
		context.AfterFunc(life, func() { p.Close() })
		e, err := link.New(link.Config{
			Name: name, Seed: s.air.Seed + uint64(epoch), Epoch: epoch,
			Prefixes: []netip.Prefix{netip.PrefixFrom(simulatedAddr(i), 24)},
			Caps:     p.Caps(), Airtime: p.Airtime, Windows: true,
		}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		var medium phy.PHY = p
		if s.medium != nil {
			medium = s.medium(i, p)
		}
		epoch++
		station, dead := link.NewRunner(e, medium, s.hosts[i], nil), make(chan struct{})
		stations[i], ends[i] = station, func() { end(); <-dead }
		group.Go(func() error { defer close(dead); return station.Run(life) })
	}
	for i := range s.hosts {
		start(i)
	}
	if s.kills != nil {
		s.kills(func(i int, gone time.Duration) { ends[i](); time.Sleep(gone); start(i) })
	}
	// The air outlives the stations: one that saw its end before its own would call it a fault.
	airCtx, end := context.WithCancel(t.Context())
	defer end()
	var whole errgroup.Group
	whole.Go(func() error {
		if err := air.Run(airCtx); airCtx.Err() == nil {
			return err
		}
		return nil
	})
	f(ctx, stations)
	cancel()
	err = group.Wait()
	end()
	if err := errors.Join(err, whole.Wait()); err != nil {
		t.Errorf("seed %d: %v", s.air.Seed, err)
	}
}

// packetHost is a host that sends UDP packets of its own making at intervals
// drawn from its generator, and checks what it receives.
type packetHost struct {
	t        *testing.T
	from, to netip.Addr
	random   *rand.Rand
	mean     time.Duration
	sizes    []int
	sent     uint32
	received uint32
	last     uint32
}

// packetHosts are two hosts that send to one another.
func packetHosts(t *testing.T, seed uint64, mean time.Duration) (hosts [2]*packetHost) {
	for i := range hosts {
		hosts[i] = &packetHost{
			t: t, from: simulatedAddr(i), to: simulatedAddr(1 - i), mean: mean, sizes: []int{64, 84, 200, 1280},
			random: rand.New(rand.NewPCG(seed, uint64(i))),
		}
	}
	return hosts
}

// ReadPacket implements link.Host: it waits for the time of the next packet.
func (h *packetHost) ReadPacket(ctx context.Context, p []byte) (int, error) {
	timer := time.NewTimer(time.Duration(h.random.ExpFloat64() * float64(h.mean)))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	h.sent++
	n := h.sizes[h.random.IntN(len(h.sizes))]
	p = p[:n]
	clear(p)
	p[0] = 0x45
	binary.BigEndian.PutUint16(p[2:], uint16(n))
	p[8], p[9] = 64, 17 // TTL, UDP
	copy(p[12:], h.from.AsSlice())
	copy(p[16:], h.to.AsSlice())
	binary.BigEndian.PutUint16(p[20:], 7000)
	binary.BigEndian.PutUint16(p[22:], 7000)
	binary.BigEndian.PutUint16(p[24:], uint16(n-20))
	binary.BigEndian.PutUint32(p[28:], h.sent)
	for i := 32; i < n; i++ {
		p[i] = byte(h.sent) + byte(i)
	}
	return n, nil
}

// WritePacket implements link.Host.
func (h *packetHost) WritePacket(p []byte) error {
	h.received++
	number := binary.BigEndian.Uint32(p[28:])
	if number <= h.last {
		h.t.Errorf("packet %d came after packet %d of the same flow", number, h.last)
	}
	h.last = number
	for i := 32; i < len(p); i++ {
		if p[i] != byte(number)+byte(i) {
			h.t.Errorf("packet %d of %d octets is damaged", number, len(p))
			break
		}
	}
	return nil
}

// SetCarrier implements link.Host.
func (h *packetHost) SetCarrier(bool) error { return nil }

// room runs two stations in a simulated room for a simulated time, every sample
// of it, and returns their statistics as JSON, the packets sent and received,
// and how many times faster than real time it went.
func room(t *testing.T, seed uint64, simulated time.Duration) (stats []byte, sent, received uint32, speed float64) {
	t.Helper()
	began := time.Now() // outside the bubble: real time
	synctest.Test(t, func(t *testing.T) {
		hosts := packetHosts(t, seed, 10*time.Second)
		simulation{
			profile: "fsk",
			air: sims.AirConfig{
				Seed:    seed,
				Room:    sims.AirRoom{RT60: new(0.15), DRR: new(3.0)},
				Station: sims.AirStation{SNRdB: new(20.0)},
			},
			hosts: []link.Host{hosts[0], hosts[1]},
		}.run(t, func(ctx context.Context, stations []*link.Runner) {
			time.Sleep(simulated)
			var all []link.Stats
			for _, r := range stations {
				s, err := r.Stats(ctx)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, s)
			}
			var err error
			if stats, err = json.MarshalIndent(all, "", " "); err != nil {
				t.Fatal(err)
			}
		})
		for i, h := range hosts {
			sent += h.sent
			received += h.received
			if h.received == 0 {
				t.Errorf("seed %d: station %d received nothing", seed, i)
			}
		}
	})
	return stats, sent, received, simulated.Seconds() / time.Since(began).Seconds()
}

// TestTenMinutes runs the whole stack for ten simulated minutes, twice: the same
// seed must give the same statistics to the byte. It says how many times faster
// than real time it went; on one core:
//
//	go test -run TenMinutes -v -cpu 1 ./cmd/lightsong
func TestTenMinutes(t *testing.T) {
	simulated := 10 * time.Minute
	if testing.Short() {
		simulated = time.Minute
	}
	const seed = 7
	first, sent, received, speed := room(t, seed, simulated)
	t.Logf("seed %d: %d of %d packets in %v, %.0f times real time", seed, received, sent, simulated, speed)
	if float64(received) < 0.9*float64(sent) {
		t.Errorf("seed %d: %d of %d packets arrived, want 90 %% (the last ones may be under way)\n%s", seed, received, sent, first)
	}
	second, _, _, _ := room(t, seed, simulated)
	if !slices.Equal(first, second) {
		t.Errorf("seed %d gave two different runs:\n%s\n%s", seed, first, second)
	}
}

// outbox is what a model of a kernel's TCP has for its link; poke follows what was added to the queue.
type outbox struct {
	mu      sync.Mutex
	carrier bool
	queue   [][]byte
	wake    chan struct{}
}

func newOutbox() outbox { return outbox{wake: make(chan struct{}, 1)} }

// ReadPacket implements link.Host.
func (o *outbox) ReadPacket(ctx context.Context, p []byte) (int, error) {
	for {
		o.mu.Lock()
		if o.carrier && len(o.queue) > 0 {
			n := copy(p, o.queue[0])
			o.queue = o.queue[1:]
			o.mu.Unlock()
			return n, nil
		}
		o.mu.Unlock()
		select {
		case <-o.wake:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// SetCarrier implements link.Host.
func (o *outbox) SetCarrier(up bool) error {
	o.mu.Lock()
	o.carrier = up
	o.mu.Unlock()
	o.poke()
	return nil
}

func (o *outbox) poke() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}
