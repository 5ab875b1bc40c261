package sims

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"lightsong/phy/audio"
)

var _ audio.Stream = (*Port)(nil)

// ErrAir is wrapped by the errors about joining an Air: a name that is taken or
// no name, a wrong rate, an Air that has ended.
var ErrAir = errors.New("air")

const (
	stalled = 5 * time.Second        // a station that keeps the others waiting for so long is reported
	arrears = 100 * time.Millisecond // how far the pacing may catch up on itself
)

// Air is a simulated room of sound stations in lockstep: its time goes on, a
// block at a time, when every station in it has asked for its next block.
//
// Attach, Stats and Serve may be called at any time from any goroutine; Run
// once. In a testing/synctest bubble all of its waiting is durable, and a run
// does not depend on how its goroutines interleave, provided that Speed is not
// 0.
type Air struct {
	// Warn is told, in a sentence, about stations that hold up all others and
	// about peers of Serve that were dropped. It may be nil, is set before Run
	// and Serve, and is called from several goroutines.
	Warn func(sentence string)

	speed float64

	mu      sync.Mutex
	asked   sync.Cond // something that Run waits for has changed
	given   sync.Cond // something that a Port waits for has changed
	core    *core
	ports   []*Port // in the room, by name
	joining []*Port // not yet in core
	leaving []*Port // still in core
	due     []*Port // have given their samples for this tick and get a block at its end
	ended   bool
	began   time.Time // of the first tick
}

// NewAir makes a room. Its error is cfg's Validate.
func NewAir(cfg AirConfig) (*Air, error) {
	c, err := newCore(cfg)
	if err != nil {
		return nil, err
	}
	a := &Air{speed: or(cfg.Speed, 1), core: c}
	a.asked.L, a.given.L = &a.mu, &a.mu
	return a, nil
}

// Rate is the sample rate in Hz.
func (a *Air) Rate() int { return a.core.rate }

// Channels is how many channels every station has, 1 or 2.
func (a *Air) Channels() int { return a.core.cfg.channels() }

// Block is the number of samples, of two channels pairs, that a station exchanges
// at a time.
func (a *Air) Block() int { return a.core.block }

// Attach puts a station into the room. From then on the others wait for it, so
// it must Read steadily. Any name will do that nobody bears: where it stands and
// what is drawn for it depends on the seed and its name alone. Errors wrap
// ErrAir.
func (a *Air) Attach(name string) (*Port, error) {
	if err := checkName(name); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAir, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return nil, fmt.Errorf("%w: station %q cannot join: the air has ended", ErrAir, name)
	}
	at, taken := a.find(name)
	if taken {
		return nil, fmt.Errorf("%w: a station named %q is already there", ErrAir, name)
	}
	cfg := a.core.cfg.station(name)
	p := &Port{
		air:   a,
		name:  name,
		in:    a.core.duration(a.core.buffer(cfg.BufferInMS)),
		out:   a.core.duration(a.core.buffer(cfg.BufferOutMS) + a.core.block),
		queue: make([]float32, 0, a.core.block*a.Channels()),
	}
	a.ports = slices.Insert(a.ports, at, p)
	a.joining = append(a.joining, p)
	a.asked.Broadcast()
	return p, nil
}

// Plug puts a station's plug in or pulls it, as the keys unplug_start_s and
// unplug_stop_s do: pulled, it hears its own noise alone, and nobody hears it. An
// error tells that no such station is there (yet).
func (a *Air) Plug(name string, in bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, here := a.find(name)
	if !here || a.ports[at].station == nil {
		return fmt.Errorf("%w: no station %q is there", ErrAir, name)
	}
	p := a.ports[at]
	p.station.pulled = !in
	if p.right != nil {
		p.right.pulled = !in
	}
	return nil
}

// find is a station's place among the ports, or where it would be.
func (a *Air) find(name string) (at int, here bool) {
	return slices.BinarySearchFunc(a.ports, name, func(p *Port, name string) int { return strings.Compare(p.name, name) })
}

// Run lets the time go on until ctx is done, whose error it returns. While
// nobody is in the room it stands still. When Run returns, every Port's Read
// and Write fails.
func (a *Air) Run(ctx context.Context) error {
	defer a.end()
	defer context.AfterFunc(ctx, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.asked.Broadcast()
	})()
	watch := time.AfterFunc(stalled, a.reportStalled)
	watch.Stop()
	pace := newPacer(a.speed, a.core.step, a.core.rate)
	for {
		if waited := a.awaitStation(ctx); waited {
			pace.restart()
		}
		// Samples are collected just before the tick's instant and given out at
		// it. In a bubble time moves only when all goroutines wait, so whatever
		// the stations do on what they were given, or on timers that they set
		// then, is done before the next collection.
		pace.collect(ctx)
		if !a.collect(ctx, watch) {
			return ctx.Err()
		}
		pace.deliver(ctx)
		a.deliver()
	}
}

// awaitStation waits while the room is empty and silent, and tells whether it
// was.
func (a *Air) awaitStation(ctx context.Context) (waited bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.ports)+len(a.core.stations) == 0 && ctx.Err() == nil {
		waited = true
		a.asked.Wait()
	}
	return waited
}

// collect waits until every station that is due has asked for a block, and lets
// the medium take its samples and go on by a tick. It returns false if ctx is
// done.
func (a *Air) collect(ctx context.Context, watch *time.Timer) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer watch.Stop()
	for waiting := false; ; waiting = true {
		a.admit()
		if ctx.Err() != nil {
			return false
		}
		if len(a.missing()) == 0 {
			break
		}
		if !waiting {
			watch.Reset(stalled)
		}
		a.asked.Wait()
	}
	if a.began.IsZero() {
		a.began = time.Now()
	}
	for _, p := range a.ports {
		if a.core.due(p.station) {
			a.due = append(a.due, p)
			p.trade(a.core)
		}
	}
	a.core.tick()
	return true
}

// admit lets those in who have come and takes those out who have left.
func (a *Air) admit() {
	for _, p := range a.leaving {
		a.core.leave(p.station)
		if p.right != nil {
			a.core.leave(p.right)
		}
	}
	for _, p := range a.joining {
		p.station = a.core.attach(p.name)
		if a.Channels() == 2 {
			p.right = a.core.attachChannel(p.name, true)
		}
	}
	clear(a.leaving)
	clear(a.joining)
	a.leaving, a.joining = a.leaving[:0], a.joining[:0]
}

// missing are the stations that hold up the time.
func (a *Air) missing() []*Port {
	var list []*Port
	for _, p := range a.ports {
		if p.station != nil && !p.wanting && a.core.due(p.station) {
			list = append(list, p)
		}
	}
	return list
}

// deliver gives out the blocks of the tick that is over.
func (a *Air) deliver() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, p := range a.due {
		p.wanting = false
		a.due[i] = nil
	}
	a.due = a.due[:0]
	a.given.Broadcast()
}

// end makes every Port fail.
func (a *Air) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = true
	a.given.Broadcast()
}

func (a *Air) reportStalled() {
	a.mu.Lock()
	list := a.missing()
	a.mu.Unlock()
	for _, p := range list {
		a.warn(fmt.Sprintf("station %q has not read for %v: the air waits for it", p.name, stalled))
	}
}

func (a *Air) warn(sentence string) {
	if a.Warn != nil {
		a.Warn(sentence)
	}
}

// pacer keeps ticks from coming faster than wanted.
type pacer struct {
	period time.Duration // 0: no pacing
	next   time.Time     // when the present tick is over
	timer  *time.Timer
}

func newPacer(speed float64, step, rate int) *pacer {
	p := &pacer{timer: time.NewTimer(0)}
	p.timer.Stop()
	if speed > 0 {
		p.period = time.Duration(math.Ceil(float64(step) * 1e9 / (float64(rate) * speed)))
	}
	p.restart()
	return p
}

func (p *pacer) restart() { p.next = time.Now().Add(p.period) }

// collect waits for the last moment of the tick.
func (p *pacer) collect(ctx context.Context) { p.until(ctx, p.next.Add(-1)) }

// deliver waits for the end of the tick and begins the next one.
func (p *pacer) deliver(ctx context.Context) {
	p.until(ctx, p.next)
	p.next = p.next.Add(p.period)
	if oldest := time.Now().Add(-arrears); p.next.Before(oldest) {
		p.next = oldest
	}
}

func (p *pacer) until(ctx context.Context, t time.Time) {
	d := time.Until(t)
	if d <= 0 || p.period == 0 {
		return
	}
	p.timer.Reset(d)
	select {
	case <-p.timer.C:
	case <-ctx.Done():
		p.timer.Stop()
	}
}

// Port is one station's sound device: an audio.Stream. Its Read takes part in
// the lockstep; what was written by the time a block is exchanged goes out with
// it, and the rest of the block is silence. A Write longer than the queue is
// taken over whole, so that nothing interrupts it. A burst written in several
// pieces by another goroutine than the reader's is whole in a synctest bubble;
// outside one, a writer that the machine holds up for longer than its queue
// lasts leaves a hole.
//
// After Close, Read and Write fail with net.ErrClosed; after the end of
// Air.Run with io.EOF.
type Port struct {
	air     *Air
	name    string
	in, out time.Duration

	// Guarded by air.mu.
	station *station  // nil until the first collection; of two channels the left one
	right   *station  // nil in an Air of one channel
	queue   []float32 // written, not yet taken; up to a block
	pending []float32 // what a blocked Write still holds
	taken   []float32 // scratch of take
	halves  [2][]float32
	pairs   []float32 // what block points into, of two channels
	wanting bool      // a Read waits for a block
	block   []float32 // of the last exchange, not yet read
	lost    int       // samples before block
	closed  bool
}

// Channels implements audio.Channeled.
func (p *Port) Channels() int { return p.air.Channels() }

// Name is the station's.
func (p *Port) Name() string { return p.name }

// Latency implements audio.Stream: the buffers of the simulated device, for
// out with the queue of one block that Write fills.
func (p *Port) Latency() (in, out time.Duration) { return p.in, p.out }

// Read implements audio.Stream. Blocks that a gap cut short are joined: the
// samples before and after it follow each other in buf, and lost is their sum.
func (p *Port) Read(buf []float32) (n int, lost int64, err error) {
	p.air.mu.Lock()
	defer p.air.mu.Unlock()
	for {
		lost += int64(p.lost)
		p.lost = 0
		m := copy(buf[n:], p.block)
		p.block = p.block[m:]
		n += m
		if n == len(buf) {
			return n, lost, p.failed("read")
		}
		if err := p.next(); err != nil {
			return n, lost, err
		}
	}
}

// next waits for the next block.
func (p *Port) next() error {
	p.wanting = true
	p.air.asked.Broadcast()
	for p.wanting {
		if err := p.failed("read"); err != nil {
			return err
		}
		p.air.given.Wait()
	}
	return nil
}

// Write implements audio.Stream.
func (p *Port) Write(samples []float32) error {
	p.air.mu.Lock()
	defer p.air.mu.Unlock()
	if err := p.failed("write"); err != nil {
		return err
	}
	p.pending = samples
	p.refill()
	for len(p.pending) > 0 {
		p.air.given.Wait()
		if err := p.failed("write"); err != nil {
			p.pending = nil
			return err
		}
	}
	return nil
}

// refill moves what fits from the blocked Write to the queue.
func (p *Port) refill() {
	n := min(cap(p.queue)-len(p.queue), len(p.pending))
	p.queue = append(p.queue, p.pending[:n]...)
	p.pending = p.pending[n:]
}

// take is the station's next block of samples, valid until the next take. It
// may be short.
func (p *Port) take() []float32 {
	p.taken = append(p.taken[:0], p.queue...)
	p.queue = p.queue[:0]
	p.refill()
	return p.taken
}

// trade exchanges a block with the medium.
func (p *Port) trade(c *core) {
	out := p.take()
	if p.right == nil {
		p.block, p.lost = c.exchange(p.station, out)
		return
	}
	for i := range p.halves {
		p.halves[i] = p.halves[i][:0]
		for j := i; j < len(out); j += 2 {
			p.halves[i] = append(p.halves[i], out[j])
		}
	}
	// What is lost is the same of both: their clocks and gaps are the station's.
	left, lost := c.exchange(p.station, p.halves[0])
	right, _ := c.exchange(p.right, p.halves[1])
	p.pairs = p.pairs[:0]
	for i, v := range left {
		p.pairs = append(p.pairs, v, right[i])
	}
	p.block, p.lost = p.pairs, lost
}

// count is what the station has seen. Of two channels everything that counts
// samples or holds energy is the sum; what happens to both at once counts once.
func (p *Port) count() stationCount {
	n := p.station.count
	if p.right != nil {
		r := &p.right.count
		n.sent += r.sent
		n.sentEnergy += r.sentEnergy
		n.heard += r.heard
		n.heardEnergy += r.heardEnergy
		n.speakerLimits += r.speakerLimits
		n.micLimits += r.micLimits
		n.faulty += r.faulty
	}
	return n
}

// failed is why the Port gives and takes no more samples.
func (p *Port) failed(what string) error {
	switch {
	case p.closed:
		return fmt.Errorf("%s air station %q: %w", what, p.name, net.ErrClosed)
	case p.air.ended:
		return fmt.Errorf("%s air station %q: the air has ended: %w", what, p.name, io.EOF)
	}
	return nil
}

// Close takes the station out of the room. What it has sent goes on sounding;
// what is still queued is dropped. It always succeeds.
func (p *Port) Close() error {
	a := p.air
	a.mu.Lock()
	defer a.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	a.ports = slices.DeleteFunc(a.ports, func(o *Port) bool { return o == p })
	a.joining = slices.DeleteFunc(a.joining, func(o *Port) bool { return o == p })
	if p.station != nil {
		a.leaving = append(a.leaving, p)
	}
	a.asked.Broadcast()
	a.given.Broadcast()
	return nil
}

// AirStats is what an Air has seen so far.
type AirStats struct {
	Time     time.Duration  `json:"time_ns"`   // simulated
	RealTime float64        `json:"real_time"` // simulated time per time passed, since the first station came
	Stations []StationStats `json:"stations"`  // those in the room, by name
}

// StationStats is what one station has seen since it joined. Levels are RMS,
// dBFS, −inf for silence.
type StationStats struct {
	Name          string  `json:"name"`
	Blocks        int64   `json:"blocks"`         // exchanged
	Sent          int64   `json:"sent"`           // samples other than silence, of both channels together
	SentDBFS      Level   `json:"sent_dbfs"`      // level of those, after the loudspeaker
	HeardDBFS     Level   `json:"heard_dbfs"`     // level of everything the microphone gave
	SpeakerLimits int64   `json:"speaker_limits"` // samples that reached the loudspeaker's limit
	MicLimits     int64   `json:"mic_limits"`     // samples that the microphone clipped
	Gaps          int64   `json:"gaps"`
	Lost          int64   `json:"lost"` // samples lost in gaps, or silenced
	Hits          int64   `json:"hits"`
	AGCSteps      int64   `json:"agc_steps"`
	Faulty        int64   `json:"faulty"`   // samples written that were not finite numbers
	SkewPPM       float64 `json:"skew_ppm"` // of its clock, now
}

// Level is in dBFS. It is null in JSON where it is −inf.
type Level float64

// MarshalJSON implements json.Marshaler.
func (l Level) MarshalJSON() ([]byte, error) {
	if math.IsInf(float64(l), 0) || math.IsNaN(float64(l)) {
		return []byte("null"), nil
	}
	return fmt.Appendf(nil, "%.2f", float64(l)), nil
}

// Stats may be called at any time.
func (a *Air) Stats() AirStats {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := AirStats{
		Time:     a.core.duration(int(a.core.now) * a.core.step),
		Stations: []StationStats{},
	}
	if !a.began.IsZero() {
		if passed := time.Since(a.began); passed > 0 {
			s.RealTime = s.Time.Seconds() / passed.Seconds()
		}
	}
	for _, p := range a.ports {
		if p.station == nil {
			s.Stations = append(s.Stations, StationStats{Name: p.name, SentDBFS: level(0, 0), HeardDBFS: level(0, 0)})
			continue
		}
		n := p.count()
		s.Stations = append(s.Stations, StationStats{
			Name:          p.name,
			Blocks:        n.blocks,
			Sent:          n.sent,
			SentDBFS:      level(n.sentEnergy, n.sent),
			HeardDBFS:     level(n.heardEnergy, n.heard),
			SpeakerLimits: n.speakerLimits,
			MicLimits:     n.micLimits,
			Gaps:          n.gaps,
			Lost:          n.lost,
			Hits:          n.hits,
			AGCSteps:      n.agcSteps,
			Faulty:        n.faulty,
			SkewPPM:       p.station.skew * 1e6,
		})
	}
	return s
}

// level of n samples that hold an energy.
func level(energy float64, n int64) Level {
	return Level(decibels(math.Sqrt(energy / max(1, float64(n)))))
}
