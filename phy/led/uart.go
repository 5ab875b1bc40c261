package led

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"lightsong/modem"
	"lightsong/modem/line"
	"lightsong/phy"
)

const (
	// usualAhead is how much light is queued in the adapter. The line must not rest, or
	// the light flickers and the peer loses its place, so this is how late the program may
	// be; and it is part of each packet's time.
	usualAhead = 4 * time.Millisecond
	mostAhead  = 40 * time.Millisecond
	feedEvery  = time.Millisecond

	// pressing is by how much more than the line's speed is offered to a driver that does
	// not tell what it has queued, so that its queue stays full though the adapter's clock
	// runs fast.
	pressing = 1.03

	uartBits    = 10 // start bit, eight data bits, stop bit
	chunkOctets = 4096
	chunkPool   = 64
	stalled     = 2 * time.Second // in one Write: the adapter has wedged
	waitMargin  = 20 * time.Millisecond
)

// UARTConfig of a UART. Dial and Speed are required.
type UARTConfig struct {
	Dial  Dialer
	Speed int           // baud; both ends need the same
	Ahead time.Duration // light that is queued in the adapter, 0: 4 ms; grows when it was too little
	// Log is told, in words, when the adapter is found or lost. It may be nil.
	Log func(what string, err error)
}

// UARTStats counts what happened to a UART since it was opened.
type UARTStats struct {
	Connections uint64 `json:"connections"` // times that the adapter was found
	RanDry      uint64 `json:"ran_dry"`     // times that the line rested: the program was late
	Overflow    uint64 `json:"overflow"`    // octets heard that Receive was too slow for
	Sent        uint64 `json:"octets_sent"` // idle characters included
	Heard       uint64 `json:"octets_heard"`
	AheadMicros int64  `json:"ahead_us"`
}

// UART is one station's USB-serial adapter with an LED on TX and a comparator on RX:
// light without a microcontroller, full duplex, in line code U6. It implements
// phy.PHY.
//
//	Transmit ─ line.U6Encoder ─ burst ─▶ feeder ─ or idle characters ─▶ Port ═ adapter ─ LED
//	Receive  ─ line.U6Decoder ─ chunks ◀─ reader ────────────────────── Port ═ adapter ─ comparator
//
// Each connection has two goroutines of its own, reader and feeder; one more keeps the
// connection. The decoder belongs to Receive, the encoder to Transmit.
type UART struct {
	cfg   UARTConfig
	modes []phy.Mode

	stop   context.CancelFunc
	keeper sync.WaitGroup
	closed chan struct{}
	once   sync.Once

	mu    sync.Mutex
	why   error // while there is no adapter
	open  bool
	chars []byte        // of the burst that is being sent
	sent  chan struct{} // the feeder has taken all of them

	chunks chan []byte
	free   chan []byte
	gone   chan struct{}

	// Transmit's own.
	enc line.U6Encoder
	tx  []byte

	// Receive's own.
	dec     line.U6Decoder
	pending []phy.Event
	next    int
	busy    bool
	flush   *time.Timer

	ahead atomic.Int64 // ns
	stats struct{ connections, ranDry, overflow, sent, heard atomic.Uint64 }
}

// errNoGauge is what a Port without Queued would say.
var errNoGauge = errors.New("the driver does not tell what it has yet to send")

// errNoAdapter is what Transmit says while there is none.
var errNoAdapter = errors.New("no adapter")

// OpenUART opens the adapter.
func OpenUART(ctx context.Context, cfg UARTConfig) (*UART, error) {
	switch {
	case cfg.Speed < 1200 || cfg.Speed > 12000000:
		return nil, fmt.Errorf("%d baud: must be 1200 to 12000000, 2000000 or 3000000 for most adapters", cfg.Speed)
	case cfg.Ahead < 0 || cfg.Ahead > mostAhead:
		return nil, fmt.Errorf("%v of light ahead: must be up to %v", cfg.Ahead, mostAhead)
	case cfg.Ahead == 0:
		cfg.Ahead = usualAhead
	}
	if cfg.Log == nil {
		cfg.Log = func(string, error) {}
	}
	p := &UART{
		cfg: cfg, modes: line.U6Modes(cfg.Speed), closed: make(chan struct{}), sent: make(chan struct{}, 1), gone: make(chan struct{}, 1),
		chunks: make(chan []byte, chunkPool), free: make(chan []byte, chunkPool), flush: time.NewTimer(time.Hour),
	}
	p.flush.Stop()
	p.ahead.Store(int64(cfg.Ahead))
	c, err := p.connect(ctx)
	if err != nil {
		return nil, err
	}
	keepCtx, stop := context.WithCancel(context.Background())
	p.stop = stop
	p.keeper.Go(func() { p.keep(keepCtx, c) })
	return p, nil
}

// wire is one life of the serial line, from its opening to its loss.
type wire struct {
	port    Port
	dead    chan struct{}
	once    sync.Once
	reason  error
	threads sync.WaitGroup
	writing atomic.Int64 // UnixNano since when a Write has lasted, 0: none does
}

// fail ends the connection; the first reason counts.
func (w *wire) fail(err error) {
	w.once.Do(func() {
		w.reason = err
		close(w.dead)
		_ = w.port.Close() // it is lost already
	})
}

func (p *UART) connect(ctx context.Context) (*wire, error) {
	port, err := p.cfg.Dial(ctx)
	if err != nil {
		return nil, err
	}
	if err := port.SetSpeed(p.cfg.Speed); err != nil {
		_ = port.Close()
		return nil, err
	}
	w := &wire{port: port, dead: make(chan struct{})}
	w.threads.Go(func() { p.read(w) })
	go p.feed(w) // who may hang in Write; nobody waits for it then
	p.mu.Lock()
	p.open, p.why = true, nil
	p.mu.Unlock()
	p.stats.connections.Add(1)
	p.cfg.Log(fmt.Sprintf("adapter ready, %d baud", p.cfg.Speed), nil)
	return w, nil
}

// keep holds the connection until ctx ends, and makes a new one when it is lost.
func (p *UART) keep(ctx context.Context, w *wire) {
	keep(ctx, w, device[*wire]{
		what: "adapter", log: p.cfg.Log, connect: p.connect,
		use: func(ctx context.Context, w *wire) error {
			p.watch(ctx, w)
			if ctx.Err() != nil {
				w.fail(phy.ErrClosed)
			}
			w.threads.Wait()
			p.mu.Lock()
			p.open, p.why, p.chars = false, w.reason, nil
			p.mu.Unlock()
			p.signal(p.sent)
			p.signal(p.gone)
			return w.reason
		},
		failed: func(err error) (again bool) {
			p.mu.Lock()
			p.why = err
			p.mu.Unlock()
			return true
		},
	})
}

func (p *UART) signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// watch waits until the connection is lost or ctx ends, and ends one whose adapter
// takes no octets.
func (p *UART) watch(ctx context.Context, w *wire) {
	ticker := time.NewTicker(stalled / 4)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			if since := w.writing.Load(); since != 0 && now.Sub(time.Unix(0, since)) > stalled {
				w.fail(fmt.Errorf("the adapter takes no octets"))
				return
			}
		case <-w.dead:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (p *UART) read(w *wire) {
	for {
		var buf []byte
		select {
		case buf = <-p.free:
		default:
			buf = make([]byte, chunkOctets)
		}
		n, err := w.port.Read(buf[:chunkOctets])
		if n > 0 {
			p.stats.heard.Add(uint64(n))
			select {
			case p.chunks <- buf[:n]:
			default:
				p.stats.overflow.Add(uint64(n))
			}
		}
		if err != nil {
			w.fail(fmt.Errorf("the serial line is lost: %w", err))
			return
		}
	}
}

// gauged is a Port that tells how many octets it has yet to send.
type gauged interface{ Queued() (int, error) }

// feed keeps the line busy: with the burst that is being sent, else with idle
// characters.
func (p *UART) feed(w *wire) {
	ticker := time.NewTicker(feedEvery)
	defer ticker.Stop()
	gauge, _ := w.port.(gauged)
	perSecond := float64(p.cfg.Speed) / uartBits
	buf := make([]byte, 0, chunkOctets)
	began, offered := time.Now(), 0.
	for first := true; ; first = false {
		ahead := time.Duration(p.ahead.Load())
		want := int(ahead.Seconds() * perSecond)
		queued, err := 0, errNoGauge
		if gauge != nil {
			queued, err = gauge.Queued()
		}
		if err == nil {
			if queued == 0 && !first {
				p.stats.ranDry.Add(1)
				p.ahead.Store(int64(min(mostAhead, ahead+ahead/4)))
			}
			want -= queued
		} else {
			gauge = nil
			due := time.Since(began).Seconds()*perSecond*pressing + float64(want)
			want = int(due - offered)
			if want > 2*chunkOctets { // Write blocked, so its queue is full
				began, offered, want = time.Now(), 0, chunkOctets
			}
		}
		for want > 0 {
			var over bool
			buf, over = p.fill(buf[:0], min(want, chunkOctets))
			w.writing.Store(time.Now().UnixNano())
			_, err := w.port.Write(buf)
			w.writing.Store(0)
			if err != nil {
				w.fail(fmt.Errorf("the serial line is lost: %w", err))
				return
			}
			if over {
				p.signal(p.sent)
			}
			p.stats.sent.Add(uint64(len(buf)))
			want -= len(buf)
			offered += float64(len(buf))
		}
		select {
		case <-ticker.C:
		case <-w.dead:
			return
		}
	}
}

// fill appends n characters: what is left of the burst, then idle ones. It tells
// whether the burst's last is among them.
func (p *UART) fill(buf []byte, n int) (_ []byte, over bool) {
	p.mu.Lock()
	k := min(n, len(p.chars))
	buf = append(buf, p.chars[:k]...)
	p.chars = p.chars[k:]
	over = k > 0 && len(p.chars) == 0
	p.mu.Unlock()
	for len(buf) < n {
		buf = append(buf, line.U6Idle)
	}
	return buf, over
}

// State tells whether there is an adapter now, how many times one was found, and, if
// there is none, why.
func (p *UART) State() (open bool, found int, why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open, int(p.stats.connections.Load()), p.why
}

// Stats is a snapshot of the counters.
func (p *UART) Stats() UARTStats {
	s := &p.stats
	return UARTStats{
		Connections: s.connections.Load(), RanDry: s.ranDry.Load(), Overflow: s.overflow.Load(), Sent: s.sent.Load(), Heard: s.heard.Load(),
		AheadMicros: p.ahead.Load() / 1000,
	}
}

// Caps implements phy.PHY.
func (p *UART) Caps() phy.Caps {
	// What both ends have queued, and two services of USB.
	return phy.Caps{
		Modes: p.modes, FullDuplex: true, Turnaround: 2*p.cfg.Ahead + 4*time.Millisecond,
		MaxFrames: modem.MaxFrames, MaxControl: modem.MaxControlOctets,
	}
}

// Airtime implements phy.PHY.
func (p *UART) Airtime(b *phy.Burst) time.Duration { return p.duration(line.U6Length(b)) }

func (p *UART) duration(characters int) time.Duration {
	return time.Duration(float64(characters) * uartBits / float64(p.cfg.Speed) * float64(time.Second))
}

// Close implements phy.PHY.
func (p *UART) Close() error {
	p.once.Do(func() {
		close(p.closed)
		p.stop()
		p.keeper.Wait()
	})
	return nil
}

// Transmit implements phy.PHY. It returns when the adapter has the whole burst, some
// milliseconds before its last edge has left, so that the next burst follows without a
// pause.
func (p *UART) Transmit(ctx context.Context, b *phy.Burst) (err error) {
	if p.tx, err = p.enc.AppendBurst(p.tx[:0], b); err != nil {
		return fmt.Errorf("transmit: %w", err)
	}
	select {
	case <-p.closed:
		return phy.ErrClosed
	case <-p.sent: // of a burst that was given up
	default:
	}
	p.mu.Lock()
	open, why := p.open, p.why
	if open {
		p.chars = p.tx
	}
	p.mu.Unlock()
	if !open {
		return fmt.Errorf("transmit: %w: %w", errNoAdapter, why)
	}
	select {
	case <-p.sent:
	case <-p.closed:
		err = phy.ErrClosed
	case <-ctx.Done():
		err = ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.chars = nil // p.tx is free again
	if err == nil && !p.open {
		err = fmt.Errorf("transmit: %w: %w", errNoAdapter, p.why)
	}
	return err
}

// Receive implements phy.PHY.
func (p *UART) Receive(ctx context.Context, ev *phy.Event) error {
	for p.next == len(p.pending) {
		p.pending, p.next = p.pending[:0], 0
		select {
		case chunk := <-p.chunks:
			p.dec.Push(chunk, p.event)
			select {
			case p.free <- chunk[:0:cap(chunk)]:
			default:
			}
			p.await()
		case <-p.flush.C:
			p.dec.Flush(p.event)
		case <-p.gone:
			p.dec.Flush(p.event)
		case <-p.closed:
			return phy.ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	*ev, p.pending[p.next] = p.pending[p.next], phy.Event{}
	p.next++
	return nil
}

// await sets when the burst under way is given up for over: the sender's clock may be
// 5 % slow.
func (p *UART) await() {
	left, open := p.dec.Remaining()
	if !open {
		p.flush.Stop()
		return
	}
	d := p.duration(left)
	p.flush.Reset(d + d/20 + waitMargin)
}

func (p *UART) event(ev modem.Event) {
	switch ev.Kind {
	case modem.Announced:
		p.carrier(true)
		left, _ := p.dec.Remaining()
		p.pending = append(p.pending, phy.Event{Kind: phy.Announced, Until: p.duration(left), Burst: phy.Burst{MCS: ev.Burst.MCS}})
	case modem.Received:
		p.pending = append(p.pending, received(ev))
		p.carrier(false)
	case modem.Missed:
		p.pending = append(p.pending, phy.Event{Kind: phy.Missed})
	}
}

// carrier tells when the medium has become busy or idle.
func (p *UART) carrier(busy bool) {
	if busy == p.busy {
		return
	}
	p.busy = busy
	kind := phy.Idle
	if busy {
		kind = phy.Busy
	}
	p.pending = append(p.pending, phy.Event{Kind: kind})
}
