package link

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"lightsong/phy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wire joins two chanPHYs.
type wire struct {
	mu    sync.Mutex
	ports [2]*chanPHY
}

// chanPHY is a half-duplex PHY on channels: bursts take their airtime by the
// clock of the test's bubble, and overlap destroys them.
type chanPHY struct {
	wire   *wire
	peer   *chanPHY
	events chan phy.Event
	closed chan struct{}
	once   sync.Once
	from   time.Time // of the last own transmission
	until  time.Time
}

func newWire() *wire {
	w := &wire{}
	for i := range w.ports {
		w.ports[i] = &chanPHY{wire: w, events: make(chan phy.Event, 4096), closed: make(chan struct{})}
	}
	w.ports[0].peer, w.ports[1].peer = w.ports[1], w.ports[0]
	return w
}

func (p *chanPHY) Caps() phy.Caps {
	return phy.Caps{Modes: testModes, Turnaround: 20 * time.Millisecond, MaxFrames: 255, MaxControl: 63}
}

func (p *chanPHY) Airtime(b *phy.Burst) time.Duration { return modelAirtime(testModes)(b) }

func (p *chanPHY) Close() error { p.once.Do(func() { close(p.closed) }); return nil }

func (p *chanPHY) Transmit(ctx context.Context, b *phy.Burst) error {
	d := p.Airtime(b)
	c := phy.Burst{MCS: b.MCS, Control: bytes.Clone(b.Control)}
	for _, f := range b.Frames {
		c.Frames = append(c.Frames, bytes.Clone(f))
	}
	// A buffer, as every medium has: without one an answer would begin at the very
	// moment at which the asker's loop still lets things settle.
	time.Sleep(time.Millisecond)
	p.wire.mu.Lock()
	from := time.Now()
	p.from, p.until = from, from.Add(d)
	p.wire.mu.Unlock()
	p.peer.events <- phy.Event{Kind: phy.Busy}
	select {
	case <-time.After(d):
	case <-ctx.Done():
		return ctx.Err()
	case <-p.closed:
		return phy.ErrClosed
	}
	ev := phy.Event{Kind: phy.Received, Burst: c, Quality: phy.Quality{SNR: 20}}
	p.wire.mu.Lock()
	if p.peer.until.After(from) && p.peer.from.Before(p.until) {
		ev = phy.Event{Kind: phy.Missed}
	}
	p.wire.mu.Unlock()
	p.peer.events <- ev
	p.peer.events <- phy.Event{Kind: phy.Idle}
	return nil
}

func (p *chanPHY) Receive(ctx context.Context, ev *phy.Event) error {
	select {
	case *ev = <-p.events:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-p.closed:
		return phy.ErrClosed
	}
}

// chanHost is a Host on channels.
type chanHost struct {
	in      chan []byte
	mu      sync.Mutex
	out     [][]byte
	carrier []bool
	fail    error
}

func newChanHost() *chanHost { return &chanHost{in: make(chan []byte, 100)} }

func (h *chanHost) ReadPacket(ctx context.Context, p []byte) (int, error) {
	select {
	case pkt := <-h.in:
		return copy(p, pkt), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (h *chanHost) WritePacket(p []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.out = append(h.out, bytes.Clone(p))
	return h.fail
}

func (h *chanHost) SetCarrier(up bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.carrier = append(h.carrier, up)
	return nil
}

// pair runs two links on a wire inside a synctest bubble.
type pair struct {
	wire    *wire
	hosts   [2]*chanHost
	runners [2]*Runner
	results [2]chan error
	stop    context.CancelFunc
}

func startPair(t *testing.T) *pair {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := &pair{wire: newWire(), stop: cancel}
	for i, name := range []string{"alpha", "beta"} {
		port := p.wire.ports[i]
		e, err := New(Config{
			Name:     name,
			Prefixes: []netip.Prefix{netip.PrefixFrom(pairAddr(i), 24)},
			Seed:     uint64(i),
			Epoch:    uint16(i + 1),
			Caps:     port.Caps(),
			Airtime:  port.Airtime,
		}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		p.hosts[i] = newChanHost()
		p.runners[i] = NewRunner(e, port, p.hosts[i], nil)
		p.results[i] = make(chan error, 1)
		go func() { p.results[i] <- p.runners[i].Run(ctx) }()
	}
	return p
}

func pairAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}) }

// TestRunDeterminism: in a bubble, two runs of ten minutes with the same seeds
// give byte-identical statistics, whichever goroutine the scheduler prefers.
func TestRunDeterminism(t *testing.T) {
	var runs [2]string
	for i := range runs {
		synctest.Test(t, func(t *testing.T) {
			p := startPair(t)
			time.Sleep(10 * time.Second)
			for n := range 200 {
				side := n % 2
				p.hosts[side].in <- udp(pairAddr(side), pairAddr(1-side), uint16(n%5), n, 64+n*3)
				time.Sleep(2950 * time.Millisecond)
			}
			for _, r := range p.runners {
				s, err := r.Stats(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				text, err := json.Marshal(s)
				if err != nil {
					t.Fatal(err)
				}
				runs[i] += string(text) + "\n"
				if s.Packets.Out != 100 {
					t.Errorf("%s delivered %d of 100 packets", s.Station, s.Packets.Out)
				}
			}
			p.stop()
			for _, result := range p.results {
				if err := <-result; err != nil {
					t.Error(err)
				}
			}
			if _, err := p.runners[0].Stats(t.Context()); !errors.Is(err, phy.ErrClosed) {
				t.Errorf("Stats after the end: %v", err)
			}
			for _, h := range p.hosts {
				if want := []bool{false, true, false}; !slices.Equal(h.carrier, want) {
					t.Errorf("carrier %v, want %v", h.carrier, want)
				}
			}
		})
	}
	if runs[0] != runs[1] {
		t.Errorf("two runs differ:\n%s\n%s", runs[0], runs[1])
	}
}

// TestRunEnds: at whatever moment the context ends, Run ends within 2 s, though
// a burst may be under way.
func TestRunEnds(t *testing.T) {
	for _, after := range []time.Duration{0, 50 * time.Microsecond, 500 * time.Millisecond, 4 * time.Second, 4700 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			p := startPair(t)
			for i := range 20 {
				p.hosts[0].in <- udp(pairAddr(0), pairAddr(1), 1, i, 1280)
			}
			time.Sleep(after)
			start := time.Now()
			p.stop()
			for _, result := range p.results {
				if err := <-result; err != nil {
					t.Error(err)
				}
			}
			if d := time.Since(start); d > 2*time.Second {
				t.Errorf("stopped after %v, it took %v to end", after, d)
			}
		})
	}
}

// TestRunFailure: an error of the PHY or of the host ends Run with that error.
func TestRunEndsWithItsPHY(t *testing.T) {
	// A caller closes the PHY when the context ends, which is seen here first now and then.
	for range 1000 {
		ctx, cancel := context.WithCancel(t.Context())
		p := newWire().ports[0]
		stop := context.AfterFunc(ctx, func() { p.Close() })
		e, err := New(Config{Name: "alpha", Caps: p.Caps(), Airtime: p.Airtime}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		result := make(chan error, 1)
		go func() { result <- NewRunner(e, p, newChanHost(), nil).Run(ctx) }()
		time.Sleep(time.Millisecond)
		cancel()
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		stop()
	}
}

func TestRunFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPair(t)
		time.Sleep(5 * time.Second)
		p.wire.ports[0].Close()
		if err := <-p.results[0]; !errors.Is(err, phy.ErrClosed) {
			t.Errorf("PHY closed: %v", err)
		}
		p.stop()
		<-p.results[1]
	})
	synctest.Test(t, func(t *testing.T) {
		p := startPair(t)
		time.Sleep(5 * time.Second)
		p.hosts[1].fail = fmt.Errorf("interface gone")
		p.hosts[0].in <- udp(pairAddr(0), pairAddr(1), 1, 0, 100)
		if err := <-p.results[1]; !errors.Is(err, p.hosts[1].fail) {
			t.Errorf("host failed: %v", err)
		}
		p.stop()
		<-p.results[0]
	})
}

// TestRunAgain: an Engine outlives its PHY: after a failure it goes on with a new
// one, and what was queued arrives.
func TestRunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPair(t)
		time.Sleep(5 * time.Second)
		for i := range 5 {
			p.hosts[0].in <- ipv4(protoTCP, pairAddr(0), pairAddr(1), 1, i, 1000)
		}
		time.Sleep(500 * time.Millisecond)
		old := p.wire.ports[0]
		old.Close()
		<-p.results[0]
		fresh := &chanPHY{wire: p.wire, peer: old.peer, events: make(chan phy.Event, 4096), closed: make(chan struct{})}
		p.wire.mu.Lock()
		old.peer.peer = fresh
		p.wire.mu.Unlock()
		ctx, cancel := context.WithCancel(t.Context())
		again := NewRunner(p.runners[0].engine, fresh, p.hosts[0], nil)
		go func() { p.results[0] <- again.Run(ctx) }()
		time.Sleep(40 * time.Second)
		p.hosts[1].mu.Lock()
		if got := len(p.hosts[1].out); got != 5 {
			t.Errorf("%d of 5 packets", got)
		}
		p.hosts[1].mu.Unlock()
		cancel()
		p.stop()
		for _, result := range p.results {
			if err := <-result; err != nil {
				t.Error(err)
			}
		}
	})
}
