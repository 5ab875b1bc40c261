package audio

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"lightsong/modem"
	"lightsong/phy"
)

const (
	blockTime = 10 * time.Millisecond // of one Read or Write
	maxFilled = time.Second           // a longer gap in the stream ends the burst in progress
	// stalled ends the wait for the last sample when the stream no longer
	// delivers: generous, because a simulated medium may be slow.
	stalled = 10 * time.Second
	settle  = 100 * time.Microsecond
)

// Config of a PHY. Modem and Stream are required, have the same number of
// channels and belong to the PHY from then on.
type Config struct {
	Modem      *Modem
	Stream     Stream
	FullDuplex bool    // the medium carries both directions at once (a lead); otherwise the own transmission is not listened to
	GainDB     float64 // added to the modem's own −12 dBFS RMS; samples beyond full scale are clipped
}

// PHY is one station's sound modem on its stream. It implements phy.PHY.
type PHY struct {
	cfg      Config
	gain     float32
	channels int
	block    int   // samples, of two channels pairs, as everything here that is a time
	unfit    error // of modem and stream; Receive and Transmit fail with it

	// Receive's own.
	rx      []float32
	zeros   []float32
	heard   int64 // samples pushed into the demodulator: what its events count in
	muted   bool
	pending []phy.Event
	next    int // index of the first event in pending that was not given out
	sense   carrierSense
	hearing hearing // others may look

	meter loopMeter    // half duplex
	told  atomic.Int64 // Turnaround as Caps or Retimed told it; 0: not yet

	// Shared between Receive and Transmit.
	now       atomic.Int64  // samples read so far: the clock of this PHY
	passed    atomic.Int64  // of those, all whose events Receive has given out
	elapsed   atomic.Int64  // what Elapsed has told
	muteUntil atomic.Int64  // what is read before that is the own transmission
	tick      chan struct{} // now has advanced
	closed    chan struct{}
	closeOnce sync.Once
	closeErr  error

	playing []float32 // Transmit's own: the block that is being written

	outgoing outgoing
}

// outgoing is the burst that is being played. Transmit and Insert share it, and the
// modulator.
type outgoing struct {
	sync.Mutex
	x        []float32
	played   int   // of x, by the stream
	seams    []int // samples
	room     int   // of what may be inserted, samples
	inserted []float32
}

// New joins a modem and a stream.
func New(cfg Config) *PHY {
	block := int(int64(cfg.Modem.Rate) * int64(blockTime) / int64(time.Second))
	channels := cfg.Modem.Channels()
	p := &PHY{
		cfg:      cfg,
		gain:     float32(math.Pow(10, cfg.GainDB/20)),
		channels: channels,
		block:    block,
		rx:       make([]float32, block*channels),
		zeros:    make([]float32, block*channels),
		playing:  make([]float32, block*channels),
		sense:    newCarrierSense(),
		meter:    loopMeter{rate: cfg.Modem.Rate},
		tick:     make(chan struct{}, 1),
		closed:   make(chan struct{}),
	}
	if got := Channels(cfg.Stream); got != channels {
		p.unfit = fmt.Errorf("%w: profile %s needs %d, the device or the simulated medium has %d", ErrChannels, cfg.Modem.Profile, channels, got)
	}
	return p
}

// ErrChannels is wrapped by the errors about a stream that has another number of
// channels than the modem.
var ErrChannels = errors.New("the number of channels does not fit")

// Caps implements phy.PHY.
func (p *PHY) Caps() phy.Caps {
	turnaround := p.turnaround()
	p.told.Store(int64(turnaround))
	caps := phy.Caps{
		Modes:      p.cfg.Modem.Modes,
		FullDuplex: p.cfg.FullDuplex,
		Turnaround: turnaround,
		MaxFrames:  modem.MaxFrames,
		MaxControl: modem.MaxControlOctets,
	}
	if f, ok := p.cfg.Modem.Modulator.(modem.Former); ok {
		caps.Form = f.Form
	}
	_, caps.Combines = p.cfg.Modem.Modulator.(modem.Combiner)
	if m, ok := p.inserter(); ok {
		caps.Inserts = func(b *phy.Burst) time.Duration { return p.duration(int64(m.InnerSamples(b))) }
	}
	return caps
}

// turnaround: the answering station is taken to have buffers like ours, and to work
// in whole blocks as we do.
func (p *PHY) turnaround() time.Duration {
	in, out, _ := p.Latency()
	return in + out + 2*blockTime
}

// Latency is that of the stream, or, where the station hears its own bursts and
// finds them to come at another time, as measured.
func (p *PHY) Latency() (in, out time.Duration, measured bool) {
	in, out = p.cfg.Stream.Latency()
	if n, ok := p.meter.loop(); ok {
		loop := p.duration(int64(n))
		if near := time.Duration(loopAgree * float64(time.Second)); (loop - in - out).Abs() > near {
			in = min(in, loop)
			out = loop - in
		}
		return in, out, true
	}
	return in, out, false
}

// Airtime implements phy.PHY.
func (p *PHY) Airtime(b *phy.Burst) time.Duration {
	return p.duration(int64(p.cfg.Modem.Samples(b)))
}

// absent is a Stream that may be without a device.
type absent interface {
	// Absent is for how long there has been none. What Read tells as lost
	// afterwards is as much.
	Absent() time.Duration
}

// Elapsed implements phy.Clock: it counts samples. The time without a device, in
// which there are none, passes by the machine's clock, so that the link learns
// that nobody is heard any more.
func (p *PHY) Elapsed() time.Duration {
	d := p.duration(p.passed.Load())
	if s, ok := p.cfg.Stream.(absent); ok {
		d += s.Absent()
	}
	for {
		told := p.elapsed.Load()
		if int64(d) <= told {
			return time.Duration(told) // a device has just come back, and what was lost is not counted yet
		}
		if p.elapsed.CompareAndSwap(told, int64(d)) {
			return d
		}
	}
}

// Close implements phy.PHY. It closes the stream, which ends a blocked Read or
// Write.
func (p *PHY) Close() error {
	p.closeOnce.Do(func() {
		close(p.closed)
		p.closeErr = p.cfg.Stream.Close()
	})
	return p.closeErr
}

// Transmit implements phy.PHY.
func (p *PHY) Transmit(ctx context.Context, b *phy.Burst) error {
	if err := p.modulate(b); err != nil {
		return err
	}
	if p.cfg.FullDuplex {
		return p.play(ctx) // the next one may follow
	}
	p.muteUntil.Store(math.MaxInt64)
	defer func() {
		// The last sample has just left; it is heard after the input latency,
		// and the block that holds it may hold more.
		in, _, _ := p.Latency()
		p.muteUntil.Store(p.now.Load() + p.samples(in) + int64(p.block))
	}()
	p.meter.sending(p.outgoing.x, p.channels, b.Control, p.now.Load())
	if err := p.play(ctx); err != nil {
		p.meter.sent(false)
		return err
	}
	// The stream takes the last block at the moment at which it gives the next
	// one to Receive: which of the two runs first must not decide what the
	// clock shows.
	time.Sleep(settle)
	p.meter.sent(true)
	_, out, _ := p.Latency()
	return p.wait(ctx, p.now.Load()+p.samples(out))
}

// modulate makes b the burst to be played.
func (p *PHY) modulate(b *phy.Burst) (err error) {
	o := &p.outgoing
	o.Lock()
	defer o.Unlock()
	o.played, o.seams, o.room = 0, o.seams[:0], 0
	if o.x, err = p.cfg.Modem.AppendBurst(o.x[:0], b); err != nil {
		return fmt.Errorf("transmit: %w", err)
	}
	p.amplify(o.x)
	if m, ok := p.inserter(); ok {
		o.seams = m.Seams(o.seams, b)
		o.room = len(o.x) / p.channels
	}
	return nil
}

// inserter is the modulator, if bursts may be inserted: who hears nothing while it sends has
// no answers to bursts that are not over.
func (p *PHY) inserter() (m modem.Inserter, ok bool) {
	m, ok = p.cfg.Modem.Modulator.(modem.Inserter)
	return m, ok && p.cfg.FullDuplex
}

func (p *PHY) amplify(x []float32) {
	if p.gain == 1 {
		return
	}
	for i, v := range x {
		x[i] = max(-1, min(1, v*p.gain))
	}
}

// Seam implements phy.Inserter.
func (p *PHY) Seam() bool {
	o := &p.outgoing
	o.Lock()
	defer o.Unlock()
	return o.seam(p.channels) < len(o.seams)
}

// seam is the index of the first seam that is still to be played.
func (o *outgoing) seam(channels int) (i int) {
	for i < len(o.seams) && channels*o.seams[i] < o.played {
		i++
	}
	return i
}

// Insert implements phy.Inserter.
func (p *PHY) Insert(b *phy.Burst) (left time.Duration, ok bool) {
	m, ok := p.inserter()
	if !ok || m.InnerSamples(b) == 0 {
		return 0, false
	}
	o := &p.outgoing
	o.Lock()
	defer o.Unlock()
	i := o.seam(p.channels)
	if i == len(o.seams) {
		return 0, false
	}
	var err error
	if o.inserted, err = m.AppendInner(o.inserted[:0], b); err != nil {
		return 0, false
	}
	if len(o.inserted)/p.channels+p.block > o.room { // with what is between the two
		return 0, false
	}
	p.amplify(o.inserted)
	at := o.seams[i]
	var moved int
	o.x, moved = m.Insert(o.x, at, o.inserted)
	o.room -= moved
	o.seams = append(o.seams[:0], o.seams[i+1:]...)
	for k := range o.seams {
		o.seams[k] += moved
	}
	_, out := p.cfg.Stream.Latency()
	return p.duration(int64(at+moved-o.played/p.channels)) + out, true
}

// play writes the burst, a block at a time, so that it ends soon after ctx.
func (p *PHY) play(ctx context.Context) error {
	if s, ok := p.cfg.Stream.(BurstEnder); ok {
		defer s.EndBurst()
	}
	for {
		if err := p.ended(ctx); err != nil {
			return err
		}
		n := p.outgoing.next(p.playing)
		if n == 0 {
			return nil
		}
		if err := p.cfg.Stream.Write(p.playing[:n]); err != nil {
			return p.streamError(ctx, "play", err)
		}
	}
}

// next copies what is to be played next.
func (o *outgoing) next(block []float32) (n int) {
	o.Lock()
	defer o.Unlock()
	n = copy(block, o.x[o.played:])
	o.played += n
	return n
}

// wait returns when the clock of the stream has reached the sample target.
func (p *PHY) wait(ctx context.Context, target int64) error {
	timeout := time.NewTimer(stalled)
	defer timeout.Stop()
	for p.now.Load() < target {
		select {
		case <-p.tick:
		case <-ctx.Done():
			return ctx.Err()
		case <-p.closed:
			return phy.ErrClosed
		case <-timeout.C:
			return errors.New("transmit: the stream delivers no samples, so it cannot be told when the last one has left")
		}
	}
	return nil
}

// Receive implements phy.PHY.
func (p *PHY) Receive(ctx context.Context, ev *phy.Event) error {
	for p.next == len(p.pending) {
		p.pending, p.next = p.pending[:0], 0
		if err := p.listen(ctx); err != nil {
			return err
		}
	}
	*ev, p.pending[p.next] = p.pending[p.next], phy.Event{}
	p.next++
	return nil
}

// listen reads one block and turns it into any number of pending events.
func (p *PHY) listen(ctx context.Context) error {
	if err := p.ended(ctx); err != nil {
		return err
	}
	p.passed.Store(p.now.Load())
	n, lost, err := p.cfg.Stream.Read(p.rx)
	if err != nil && n == 0 {
		return p.streamError(ctx, "listen", err)
	}
	heard := int64(n / p.channels)
	now := p.now.Add(heard + lost)
	select {
	case p.tick <- struct{}{}:
	default:
	}

	if !p.cfg.FullDuplex {
		switch {
		case p.duration(lost) > maxFilled:
			p.meter.reset()
		case lost > 0:
			p.meter.lost()
		}
		p.meter.heard(p.rx[:n], p.channels, now)
	}
	p.retime()
	if !p.cfg.FullDuplex && now <= p.muteUntil.Load() {
		if !p.muted {
			p.muted = true
			p.cfg.Modem.Reset()
			p.carrier(p.sense.burstOver())
		}
		return nil
	}
	p.muted = false

	if lost > 0 {
		p.pending = append(p.pending, phy.Event{Kind: phy.Lost, Samples: lost})
		p.fill(lost)
	}
	p.push(p.rx[:n])
	p.carrier(p.sense.block(p.rx[:n], p.duration(heard)))
	p.hearing.block(p.rx[:n], p.duration(heard), p.sense.energy)
	return nil
}

// retime tells of a turnaround that has become another, if somebody knows the old
// one.
func (p *PHY) retime() {
	told := time.Duration(p.told.Load())
	if turnaround := p.turnaround(); told != 0 && (turnaround-told).Abs() > blockTime/2 {
		p.told.Store(int64(turnaround))
		p.pending = append(p.pending, phy.Event{Kind: phy.Retimed, Until: turnaround})
	}
}

// fill puts silence in the place of lost samples, so that a burst in progress
// keeps its timing and loses only the frames that the gap has hit.
func (p *PHY) fill(lost int64) {
	if p.duration(lost) > maxFilled {
		p.cfg.Modem.Reset()
		return
	}
	for ; lost > 0; lost -= int64(p.block) {
		p.push(p.zeros[:min(lost, int64(p.block))*int64(p.channels)])
	}
}

func (p *PHY) push(samples []float32) {
	p.heard += int64(len(samples) / p.channels)
	p.cfg.Modem.Push(samples, p.demodulated)
}

func (p *PHY) demodulated(ev modem.Event) {
	switch ev.Kind {
	case modem.Preamble:
		p.meter.preamble(p.heard - ev.Start)
		p.hearing.preambles.Add(1)
		p.carrier(p.sense.burstBegan())
	case modem.Announced:
		p.pending = append(p.pending, phy.Event{
			Kind:    phy.Announced,
			Until:   p.duration(max(0, ev.End-p.heard)),
			Burst:   phy.Burst{MCS: ev.Burst.MCS},
			Quality: ev.Quality,
		})
	case modem.Received:
		if !p.cfg.FullDuplex && p.meter.own(ev.Burst.Control, p.heard-ev.End) {
			p.carrier(p.sense.burstOver())
			return
		}
		p.hearing.received.Add(1)
		p.pending = append(p.pending, phy.Event{Kind: phy.Received, Within: ev.Within, Burst: clone(ev.Burst), Quality: ev.Quality})
		if !ev.Within {
			p.carrier(p.sense.burstOver())
		}
	case modem.Missed:
		p.hearing.missed.Add(1)
		p.pending = append(p.pending, phy.Event{Kind: phy.Missed, Quality: ev.Quality})
		p.carrier(p.sense.burstOver())
	}
}

// carrier passes a change of the carrier sense on.
func (p *PHY) carrier(kind phy.EventKind) {
	if kind != 0 {
		p.pending = append(p.pending, phy.Event{Kind: kind})
	}
}

func (p *PHY) ended(ctx context.Context) error {
	select {
	case <-p.closed:
		return phy.ErrClosed
	default:
	}
	if p.unfit != nil {
		return p.unfit
	}
	return ctx.Err()
}

// streamError is err, unless the stream failed because it was closed.
func (p *PHY) streamError(ctx context.Context, what string, err error) error {
	if over := p.ended(ctx); over != nil {
		return over
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (p *PHY) samples(d time.Duration) int64 {
	return int64(d) * int64(p.cfg.Modem.Rate) / int64(time.Second)
}

func (p *PHY) duration(samples int64) time.Duration {
	return time.Duration(samples * int64(time.Second) / int64(p.cfg.Modem.Rate))
}

// clone copies what the demodulator owns into one allocation of its own.
func clone(b *modem.Burst) phy.Burst {
	size := len(b.Control)
	for _, f := range b.Frames {
		size += len(f)
	}
	store := make([]byte, 0, size)
	keep := func(src []byte) []byte {
		if src == nil {
			return nil
		}
		store = append(store, src...)
		return store[len(store)-len(src) : len(store) : len(store)]
	}
	c := phy.Burst{MCS: b.MCS, Control: keep(b.Control), Frames: make([][]byte, len(b.Frames))}
	for i, f := range b.Frames {
		c.Frames[i] = keep(f)
	}
	return c
}
