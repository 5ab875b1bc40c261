package led

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"lightsong/modem"
	"lightsong/modem/line"
	"lightsong/phy"
)

const (
	// turnaround is from the end of a burst on the light to the first chip of the
	// earliest answer: USB 1 ms in and 1 ms out, decoding, startLeast octets of
	// serial line at 1 Mbaud, the board's 0.2 ms.
	turnaround = 6 * time.Millisecond

	redial      = 250 * time.Millisecond // between two tries to reach a board that is gone
	flushMargin = 10 * time.Millisecond  // a segment is missing when it is that late
	patience    = 250                    // ms that a board waits for the medium before a burst

	// ledTurnaround is turnaround for a board whose one LED both sends and hears: it
	// also tells the end of a frame an octet or two later, begins with a slot, and
	// needs eight slots of a preamble to sense it.
	ledTurnaround = 12 * time.Millisecond
	// ledPatience is longer than such a board takes to find that what it sensed is no
	// preamble. Behind a frame it must not wait: the answer's place is there.
	ledPatience = 12 // ms

	// A carrier that lasts longer than patience without a frame is noise: a board
	// senses edges, and a comparator that chatters has edges too. For a while the
	// board is then not asked to wait.
	distrust = 10 * time.Second

	itemBacklog = 256
	bufferPool  = 32
	ppmOctets   = 400 // of body, from which clocks can be compared

	ticksPerMicro = 2
	ledLength     = 0x3FF // one LED: bits of the length, the two above are the rate
)

// starts are how many octets of a light frame a board is to have before it
// begins, as far as the frame has so many. A frame that ran dry takes the next.
var starts = [...]int{64, 336, 720, 1104, 1344}

// Config of a PHY. Dial is required.
type Config struct {
	Dial     Dialer
	MaxSpeed int // baud of the serial line; 0 stands for 1000000
	// Rates is the set of chip rates to use and to listen to, bit r for rate r; 0
	// stands for DefaultRates. All stations of a light field need the same. Boards whose
	// one LED both sends and hears have no chip rates: for them it means nothing.
	Rates int
	// Dim is the light: 0 dark when idle, 1 a quarter of full light, 2 half of it (of a board
	// whose one LED both sends and hears: 0.18, 0.35). Nil: what suits the board. One LED
	// is then dark when idle, because idle light out of step shines where others measure.
	Dim *int
	// Log is told, in words, when the board is found or lost. It may be nil.
	Log func(what string, err error)
}

const mostDim = 2

// dim is the light of a board.
func (c *Config) dim(info Info) byte {
	switch {
	case c.Dim != nil:
		return byte(*c.Dim)
	case info.OneLED():
		return 0
	default:
		return mostDim
	}
}

// DefaultRates are those of 1 Mchip/s to 125 kchip/s. A run of 8 chips of a slower
// one is longer than a board looks without a pause, so that frames are missed at
// times; and 20 kchip/s needs a comparator with a time constant of its own.
const DefaultRates = 0x0F

// Stats counts what happened to a PHY since it was opened.
type Stats struct {
	Connections uint64 `json:"connections"`     // times that a board was found
	SerialBad   uint64 `json:"serial_bad"`      // messages with a wrong check
	RanDry      uint64 `json:"ran_dry"`         // light frames that the serial line was too slow for
	Damaged     uint64 `json:"damaged"`         // light frames damaged on the serial line
	NotSent     uint64 `json:"not_sent"`        // light frames that the board did not send: the medium stayed busy, or it did not understand
	NoReport    uint64 `json:"no_report"`       // light frames of whose end the board did not tell
	Truncated   uint64 `json:"truncated"`       // light frames heard that the serial line was too slow for
	Overflow    uint64 `json:"overflow"`        // light frames heard that Receive was too slow for
	LightFrames uint64 `json:"light_frames_in"` // heard
}

// PHY is one station's board. It implements phy.PHY.
type PHY struct {
	cfg    Config
	modes  []phy.Mode
	oneLED bool // of the board: it stays so
	rates  int  // of the board that are used
	known  bool // the kind of board was seen

	stop   context.CancelFunc
	keeper sync.WaitGroup
	closed chan struct{}
	once   sync.Once

	mu    sync.Mutex
	conn  *connection // nil while there is no board
	info  Info
	why   error // while there is none
	fatal chan error

	items chan item
	free  chan []byte

	// Transmit's own.
	enc   *line.Encoder
	tx    []byte
	seq   uint8
	start int       // index in starts
	noisy time.Time // until then the board's carrier sense is worth nothing
	timer *time.Timer

	// Receive's own.
	dec       *line.Decoder
	pending   []phy.Event
	next      int
	hearing   bool // a light frame is coming in
	sensed    bool // the board senses a carrier and says so
	announced bool // a burst was announced and is not over
	tag       uint8
	busy      bool // as told
	flush     *time.Timer

	stats struct {
		connections, serialBad, ranDry, damaged, notSent, noReport, truncated, overflow, frames atomic.Uint64
	}
}

// item is what the reader hands to Receive.
type item struct {
	kind  itemKind
	buf   []byte // belongs to the item, back to free
	heard line.Heard
}

type itemKind uint8

const (
	began    itemKind = iota // a light frame
	headed                   // its header is in buf
	sensed                   // the carrier came
	unsensed                 // … and went
	whole
	broken
	gone // the board
)

// Open finds the board and returns when it is ready, at the latest after some
// seconds. The error wraps ErrVersion if its firmware does not fit.
func Open(ctx context.Context, cfg Config) (*PHY, error) {
	if cfg.MaxSpeed == 0 {
		cfg.MaxSpeed = 1000000
	}
	if cfg.Log == nil {
		cfg.Log = func(string, error) {}
	}
	if !slices.Contains(speeds[:], cfg.MaxSpeed) {
		return nil, fmt.Errorf("serial line at %d baud: a board knows %v", cfg.MaxSpeed, speeds)
	}
	if cfg.Rates < 0 || cfg.Rates >= 1<<line.Rates {
		return nil, fmt.Errorf("chip rates %#x: there are %d", cfg.Rates, line.Rates)
	}
	if cfg.Dim != nil && (*cfg.Dim < 0 || *cfg.Dim > mostDim) {
		return nil, fmt.Errorf("dim %d: must be 0 to %d", *cfg.Dim, mostDim)
	}
	p := &PHY{
		cfg: cfg, closed: make(chan struct{}), fatal: make(chan error, 1),
		items: make(chan item, itemBacklog), free: make(chan []byte, bufferPool),
		timer: time.NewTimer(time.Hour), flush: time.NewTimer(time.Hour),
	}
	p.timer.Stop()
	p.flush.Stop()
	c, err := p.connect(ctx)
	if err != nil {
		return nil, err
	}
	p.enc, p.dec = &line.Encoder{Copies: p.copies()}, new(line.Decoder)
	modes, rateOf := line.Modes(), line.RateOf
	if p.oneLED {
		p.enc, p.dec = line.NewLEDEncoder(), line.NewLEDDecoder()
		modes, rateOf = line.LEDModes(), line.LEDRateOf
	}
	for _, m := range modes {
		if p.rates>>rateOf(m.MCS)&1 != 0 {
			p.modes = append(p.modes, m)
		}
	}
	keepCtx, stop := context.WithCancel(context.Background())
	p.stop = stop
	p.keeper.Go(func() { p.keep(keepCtx, c) })
	return p, nil
}

// connect opens the line and makes the board ready.
func (p *PHY) connect(ctx context.Context) (*connection, error) {
	port, err := p.cfg.Dial(ctx)
	if err != nil {
		return nil, err
	}
	c := newConnection(port, p)
	if err := c.shake(ctx, p.cfg.MaxSpeed, p.configure); err != nil {
		c.end(err)
		return nil, err
	}
	p.mu.Lock()
	p.conn, p.info, p.why = c, c.info, nil
	p.mu.Unlock()
	p.stats.connections.Add(1)
	p.cfg.Log(fmt.Sprintf("board ready, firmware %s, %d baud", c.info.Version(), c.speed), nil)
	return c, nil
}

const gapMicros = 250 // of idle light before each light frame

// configure makes the CONFIG message for a board, and learns of the first one
// what kind it is.
func (p *PHY) configure(info Info) ([]byte, error) {
	if p.known && info.OneLED() != p.oneLED {
		return nil, fmt.Errorf("%w: it is another kind of board than before", ErrVersion)
	}
	p.known, p.oneLED = true, info.OneLED()
	// Carrier is not to be told unasked by a board that is deaf while it tells.
	rates, option, code := DefaultRates, byte(0), uint8(1)
	if p.oneLED {
		rates, option, code = 1<<line.LEDRates-1, 1, 2
	} else if p.cfg.Rates != 0 {
		rates = p.cfg.Rates
	}
	p.rates = rates & int(info.Rates)
	if p.rates == 0 || info.LineCodes&code == 0 {
		return nil, fmt.Errorf("%w: it knows none of our rates", ErrVersion)
	}
	config := []byte{msgConfig, byte(p.rates), p.cfg.dim(info), option}
	return binary.LittleEndian.AppendUint16(config, gapMicros), nil
}

// keep holds the connection until ctx ends, and makes a new one when it is lost.
func (p *PHY) keep(ctx context.Context, c *connection) {
	keep(ctx, c, device[*connection]{
		what: "board", log: p.cfg.Log, connect: p.connect,
		use: func(ctx context.Context, c *connection) error {
			c.watch(ctx)
			why := c.reason
			if ctx.Err() != nil {
				why = phy.ErrClosed
			}
			c.end(why)
			p.mu.Lock()
			p.conn, p.why = nil, c.reason
			p.mu.Unlock()
			p.give(item{kind: gone})
			return c.reason
		},
		failed: func(err error) (again bool) {
			if errors.Is(err, ErrVersion) {
				p.fatal <- err
				return false
			}
			p.mu.Lock()
			p.why = err
			p.mu.Unlock()
			return true
		},
	})
}

// Info is what the board told of itself when it was found last.
func (p *PHY) Info() Info {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.info
}

// State tells whether there is a board now, how many times one was found, and, if
// there is none, why.
func (p *PHY) State() (open bool, found int, why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conn != nil, int(p.stats.connections.Load()), p.why
}

// Stats is a snapshot of the counters.
func (p *PHY) Stats() Stats {
	s := &p.stats
	return Stats{
		Connections: s.connections.Load(), SerialBad: s.serialBad.Load(), RanDry: s.ranDry.Load(), Damaged: s.damaged.Load(),
		NotSent: s.notSent.Load(), NoReport: s.noReport.Load(), Truncated: s.truncated.Load(), Overflow: s.overflow.Load(), LightFrames: s.frames.Load(),
	}
}

// Caps implements phy.PHY.
func (p *PHY) Caps() phy.Caps {
	turn := turnaround
	if p.oneLED {
		turn = ledTurnaround
	}
	return phy.Caps{Modes: p.modes, Turnaround: turn, MaxFrames: modem.MaxFrames, MaxControl: modem.MaxControlOctets}
}

// copies tells whether short bursts at slow chip rates are sent at the highest too.
func (p *PHY) copies() bool { return p.rates&1 != 0 }

// Airtime implements phy.PHY.
func (p *PHY) Airtime(b *phy.Burst) time.Duration {
	if p.oneLED {
		return time.Duration(line.LEDMicros(b)) * time.Microsecond
	}
	return time.Duration(line.Micros(b, p.copies())) * time.Microsecond
}

// Close implements phy.PHY.
func (p *PHY) Close() error {
	p.once.Do(func() {
		close(p.closed)
		p.stop()
		p.keeper.Wait()
	})
	return nil
}

// Transmit implements phy.PHY. What the serial line or a busy medium spoils counts
// as lost on the light; the error is for a burst that cannot be sent at all, now
// or ever.
func (p *PHY) Transmit(ctx context.Context, b *phy.Burst) error {
	bodies, err := p.enc.Encode(b)
	if err != nil {
		return fmt.Errorf("transmit: %w", err)
	}
	p.mu.Lock()
	c, why := p.conn, p.why
	p.mu.Unlock()
	select {
	case <-p.closed:
		return phy.ErrClosed
	default:
	}
	if c == nil {
		return fmt.Errorf("transmit: no board: %w", why)
	}
	select {
	case <-c.turn:
	case <-c.dead:
		return fmt.Errorf("transmit: %w", c.reason)
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { c.turn <- struct{}{} }()
	for len(c.done) > 0 {
		<-c.done // of a burst that was given up
	}
	first := p.seq
	p.tx = p.tx[:0]
	for i, x := range bodies {
		wait := uint8(0)
		switch {
		case i > 0:
		case p.oneLED:
			wait = ledPatience
		case !time.Now().Before(p.noisy):
			wait = patience
		}
		p.tx = appendTX(p.tx, p.seq, uint8(x.Rate), wait, starts[p.start], x.Octets)
		p.seq++
	}
	limit := p.Airtime(b) + patience*time.Millisecond + txSlack + time.Duration(len(p.tx))*10*time.Second/time.Duration(c.speed)
	deadline := time.Now().Add(limit)
	if err := p.stream(ctx, c, deadline); err != nil {
		return fmt.Errorf("transmit: %w", err)
	}
	if err := p.await(ctx, c, first, len(bodies), deadline); err != nil {
		return fmt.Errorf("transmit: %w", err)
	}
	return nil
}

// leastWrite is how much credit is worth a write while more is to follow.
const leastWrite = 48

// stream writes p.tx as credit allows.
func (p *PHY) stream(ctx context.Context, c *connection, deadline time.Time) error {
	for rest := p.tx; len(rest) > 0; {
		n := min(c.room(), len(rest))
		if n > 0 && (n >= leastWrite || n == len(rest)) {
			c.mu.Lock()
			c.sent += n
			c.mu.Unlock()
			if err := c.put(rest[:n]); err != nil {
				return err
			}
			rest = rest[n:]
			continue
		}
		stall := creditStall
		if p.oneLED {
			stall = ledCreditStall
		}
		p.timer.Reset(stall)
		select {
		case <-c.credit:
		case <-p.timer.C:
			if time.Now().After(deadline) {
				c.fail(fmt.Errorf("%w: it takes no more octets", errBoard))
				return c.reason
			}
			// A mark may have been lost. The question needs credit of its own, which
			// the reserve holds for two.
			if c.room() > -creditReserve/2 {
				if err := c.tell(msgCredit); err != nil {
					return err
				}
			}
		case <-c.dead:
			return c.reason
		case <-p.closed:
			return phy.ErrClosed
		case <-ctx.Done():
			// The board fills up what it has begun; this ends the message.
			_ = c.put([]byte{flag})
			return ctx.Err()
		}
		p.timer.Stop()
	}
	return nil
}

// await takes the board's reports about n light frames.
func (p *PHY) await(ctx context.Context, c *connection, first uint8, n int, deadline time.Time) error {
	p.timer.Reset(time.Until(deadline))
	defer p.timer.Stop()
	for open := n; open > 0; {
		select {
		case d := <-c.done:
			if !d.refused && int(d.seq-first) >= n {
				continue
			}
			open--
			switch {
			case d.refused || d.status >= 3:
				p.stats.notSent.Add(1)
				if !d.refused && d.status == 3 && !p.oneLED {
					p.noisy = time.Now().Add(distrust)
				}
			case d.status == 2:
				p.stats.damaged.Add(1)
			case d.status == 1:
				p.stats.ranDry.Add(1)
				p.start = min(p.start+1, len(starts)-1)
			}
			if d.status == 0 && !d.refused && d.seq == first+uint8(n-1) {
				p.stats.noReport.Add(uint64(open)) // reports of frames before it were lost
				return nil
			}
		case <-p.timer.C:
			p.stats.noReport.Add(uint64(open))
			return nil
		case <-c.dead:
			return c.reason
		case <-p.closed:
			return phy.ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// The sink of a connection: the reader calls these.

func (p *PHY) give(it item) {
	select {
	case p.items <- it:
	default:
		if it.kind == whole {
			p.stats.overflow.Add(1)
		}
		p.putBack(it.buf)
	}
}

// copyOf is in in a buffer of the pool.
func (p *PHY) copyOf(in []byte) []byte {
	var buf []byte
	select {
	case buf = <-p.free:
	default:
		buf = make([]byte, 0, maxContent)
	}
	return append(buf[:0], in...)
}

func (p *PHY) putBack(buf []byte) {
	if buf == nil {
		return
	}
	select {
	case p.free <- buf:
	default:
	}
}

func (p *PHY) rxGrows(content []byte) {
	switch len(content) {
	case 2:
		p.give(item{kind: began})
	case rxHead + line.HeadOctets:
		p.give(item{kind: headed, buf: p.copyOf(content[rxHead:])})
	}
}

func (p *PHY) carrier(busy bool) {
	kind := unsensed
	if busy {
		kind = sensed
	}
	p.give(item{kind: kind})
}

func (p *PHY) rxBroken() { p.give(item{kind: broken}) }

func (p *PHY) serialBad() { p.stats.serialBad.Add(1) }

// rxWhole takes an RX message apart.
func (p *PHY) rxWhole(m []byte) {
	p.stats.frames.Add(1)
	body, t := m[rxHead:len(m)-rxTrailer], m[len(m)-rxTrailer:]
	le := binary.LittleEndian
	rate, rates := int(t[1]), line.Rates
	if p.oneLED {
		rates = line.LEDRates
	}
	if rate >= rates {
		p.stats.serialBad.Add(1)
		p.give(item{kind: broken})
		return
	}
	it := item{kind: whole, buf: p.copyOf(body)}
	it.heard = line.Heard{Rate: rate, Body: it.buf, Violations: int(le.Uint16(t[2:])), PPM: math.NaN(), PeakDBFS: math.NaN()}
	if t[0] != 0 {
		p.stats.truncated.Add(1)
		length := lengthWord(m[3:rxHead])
		if p.oneLED {
			length &= ledLength
		}
		it.heard.Missing = max(0, length-len(body))
	} else if p.oneLED {
		ideal := float64(line.LEDHeardSlots(rate, len(body))) * line.LEDSlotMicros * ticksPerMicro
		it.heard.PPM = (ideal/float64(le.Uint32(t[10:])-le.Uint32(t[6:])) - 1) * 1e6
	} else if n := len(body); n >= ppmOctets {
		ideal := float64(32*line.ChipMicros(rate)) * float64(n+8)
		it.heard.PPM = (ideal/float64(le.Uint32(t[10:])-le.Uint32(t[6:])) - 1) * 1e6
	}
	if p.oneLED {
		it.heard.Noise = line.LEDNoise(rate, t[4])
	} else if level := t[5]; level > 0 {
		it.heard.PeakDBFS = 20 * math.Log10(float64(level)/255)
	}
	p.give(it)
}

// lengthWord is the length of a body from the three copies in its header, by
// majority of their bits.
func lengthWord(c []byte) int {
	a, b, d := binary.LittleEndian.Uint16(c), binary.LittleEndian.Uint16(c[2:]), binary.LittleEndian.Uint16(c[4:])
	return int(a&b|a&d|b&d) & 0xFFF
}

// Receive implements phy.PHY.
func (p *PHY) Receive(ctx context.Context, ev *phy.Event) error {
	for p.next == len(p.pending) {
		p.pending, p.next = p.pending[:0], 0
		select {
		case it := <-p.items:
			p.take(&it)
			p.putBack(it.buf)
		case <-p.flush.C:
			p.burstOver()
		case err := <-p.fatal:
			return err
		case <-p.closed:
			return phy.ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
		p.tellCarrier()
	}
	*ev, p.pending[p.next] = p.pending[p.next], phy.Event{}
	p.next++
	return nil
}

func (p *PHY) take(it *item) {
	switch it.kind {
	case began:
		p.hearing = true
		p.tellCarrier() // first Busy, then what it is about
	case headed:
		if a, ok := p.dec.Peek(it.buf); ok {
			p.announce(a)
		}
	case whole:
		p.hearing = false
		p.dec.Push(&it.heard, p.event)
		if rest, ok := p.dec.RemainingMicros(); ok {
			p.awaitEnd(time.Duration(rest) * time.Microsecond)
		}
	case broken:
		p.hearing = false
	case sensed, unsensed:
		p.sensed = it.kind == sensed
	case gone:
		p.hearing, p.sensed = false, false
		p.burstOver()
	}
}

// announce tells of a burst whose header was just read.
func (p *PHY) announce(a line.Announcement) {
	passed := (line.OverheadChips + 16*line.HeadOctets) * line.ChipMicros(a.Rate)
	if p.oneLED {
		passed = line.LEDAnnounced(a.Rate)
	}
	until := max(0, time.Duration(a.RestMicros-passed)*time.Microsecond)
	if p.announced && a.Tag == p.tag {
		p.awaitEnd(until)
		return
	}
	if p.announced {
		p.burstOver()
	}
	p.announced, p.tag = true, a.Tag
	p.pending = append(p.pending, phy.Event{Kind: phy.Announced, Until: until, Burst: phy.Burst{MCS: a.MCS}})
	p.awaitEnd(until)
}

// awaitEnd sets when the burst under way is given up for over: 2 % for clocks,
// and what the serial line takes.
func (p *PHY) awaitEnd(left time.Duration) { p.flush.Reset(left + left/50 + flushMargin) }

// burstOver ends the burst under way: its end did not come.
func (p *PHY) burstOver() {
	p.dec.Flush(p.event)
	if p.announced {
		p.announced = false
		p.pending = append(p.pending, phy.Event{Kind: phy.Missed})
	}
	p.flush.Stop()
}

// event takes what the decoder tells.
func (p *PHY) event(ev modem.Event) {
	switch ev.Kind {
	case modem.Missed:
		if p.announced {
			return // its time is not over: other segments may come
		}
		p.pending = append(p.pending, phy.Event{Kind: phy.Missed, Quality: ev.Quality})
	case modem.Received:
		p.announced = false
		p.flush.Stop()
		p.pending = append(p.pending, received(ev))
	}
}

// received is the event that tells of a burst, with slices of its own.
func received(ev modem.Event) phy.Event {
	out := phy.Event{Kind: phy.Received, Quality: ev.Quality}
	out.Burst = phy.Burst{MCS: ev.Burst.MCS, Control: slices.Clone(ev.Burst.Control), Frames: make([][]byte, len(ev.Burst.Frames))}
	if ev.Burst.Control != nil && out.Burst.Control == nil {
		out.Burst.Control = []byte{}
	}
	for i, f := range ev.Burst.Frames {
		out.Burst.Frames[i] = slices.Clone(f)
	}
	return out
}

// tellCarrier tells when the medium has become busy or idle.
func (p *PHY) tellCarrier() {
	_, open := p.dec.RemainingMicros()
	busy := p.hearing || p.sensed || p.announced || open
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
