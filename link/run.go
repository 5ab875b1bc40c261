package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"lightsong/phy"
)

// Host is where packets come from and go to: a TUN device, or a test.
// ReadPacket is called from one goroutine, the other methods from another.
type Host interface {
	// ReadPacket waits for the next packet and returns its length in octets.
	// It returns soon after ctx ended.
	ReadPacket(ctx context.Context, p []byte) (int, error)
	// WritePacket takes a packet from the link. It does not keep p.
	WritePacket(p []byte) error
	// SetCarrier tells whether the link has a live peer.
	SetCarrier(up bool) error
}

// settle is how long the loop waits after a wake-up before it looks at its
// sources: what happens at the same moment is then seen together and taken in a
// fixed order, whichever goroutine ran first. In virtual time any wait does that. On an
// idle machine the kernel wakes a process a millisecond later from all but the
// shortest, and a ping needs four of them.
const settle = time.Microsecond

const (
	eventBacklog = 256 // PHY events between the receive goroutine and the loop
	hostBacklog  = 64  // packets between the host reader and the loop
)

// Runner joins an Engine to a PHY and a Host. Its goroutines are the only ones
// of the package: receive, host reader, transmit, and the loop, which owns the
// Engine.
type Runner struct {
	engine *Engine
	phy    phy.PHY
	insert phy.Inserter // phy, or nil
	host   Host
	log    *slog.Logger

	events   chan phy.Event
	packets  chan []byte
	recycled chan []byte
	bursts   chan *phy.Burst
	sent     chan error
	queries  chan chan Stats
	done     chan struct{}

	clock clock // Run's, then the loop's alone
	loop  loop
}

// loop is what the loop goroutine alone uses.
type loop struct {
	burst   phy.Burst
	inner   phy.Burst
	packet  []byte
	carrier bool
	ready   bool // carrier was told to the host
}

// NewRunner prepares a link; Run runs it, once. log may be nil.
func NewRunner(e *Engine, p phy.PHY, h Host, log *slog.Logger) *Runner {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	r := &Runner{
		engine:   e,
		phy:      p,
		host:     h,
		log:      log,
		events:   make(chan phy.Event, eventBacklog),
		packets:  make(chan []byte, hostBacklog),
		recycled: make(chan []byte, hostBacklog),
		bursts:   make(chan *phy.Burst, 1),
		sent:     make(chan error, 1),
		queries:  make(chan chan Stats),
		done:     make(chan struct{}),
	}
	r.loop.packet = make([]byte, MaxMTU)
	r.insert, _ = p.(phy.Inserter)
	return r
}

// Run is NewRunner and Runner.Run, for those who need no statistics meanwhile.
func Run(ctx context.Context, e *Engine, p phy.PHY, h Host, log *slog.Logger) error {
	return NewRunner(e, p, h, log).Run(ctx)
}

// Stats asks a running link for its statistics. It returns ctx's error, or
// phy.ErrClosed after Run has ended.
func (r *Runner) Stats(ctx context.Context) (Stats, error) {
	answer := make(chan Stats, 1)
	select {
	case r.queries <- answer:
		return <-answer, nil
	case <-r.done:
		return Stats{}, fmt.Errorf("statistics: %w", phy.ErrClosed)
	case <-ctx.Done():
		return Stats{}, ctx.Err()
	}
}

// Run carries packets until ctx ends, then returns nil; or until the PHY or the
// host fails, then it returns that error. All its goroutines have ended when it
// returns. It neither closes the PHY nor the host.
func (r *Runner) Run(ctx context.Context) error {
	running, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r.clock = newClock(r.phy)
	var wg sync.WaitGroup
	start := func(what string, f func(context.Context) error) {
		wg.Go(func() {
			if err := f(running); err != nil && running.Err() == nil {
				cancel(fmt.Errorf("%s: %w", what, err))
			}
		})
	}
	start("phy", r.receive)
	start("host", r.readHost)
	start("phy", r.transmit)
	start("host", r.runLoop)
	wg.Wait()
	close(r.done)
	r.leave()
	if r.loop.carrier {
		if err := r.host.SetCarrier(false); err != nil {
			r.log.Warn("carrier not withdrawn", "error", err)
		}
	}
	if ctx.Err() != nil {
		return nil // whatever failed because its end had come
	}
	return context.Cause(running)
}

// leave tells the Engine that its PHY is gone, so that it can go on with another.
func (r *Runner) leave() {
	now := r.clock.now()
	r.engine.BurstSent(now, phy.ErrClosed)
	r.engine.HandleEvent(now, &phy.Event{Kind: phy.Idle})
}

// receive hands the PHY's events to the loop. A full backlog holds the PHY up,
// which buffers.
func (r *Runner) receive(ctx context.Context) error {
	for {
		var ev phy.Event
		if err := r.phy.Receive(ctx, &ev); err != nil {
			return err
		}
		select {
		case r.events <- ev:
		case <-ctx.Done():
			return nil
		}
	}
}

// readHost hands the host's packets to the loop.
func (r *Runner) readHost(ctx context.Context) error {
	buf := make([]byte, MaxMTU+1)
	for {
		n, err := r.host.ReadPacket(ctx, buf)
		if err != nil {
			return err
		}
		var pkt []byte
		select {
		case pkt = <-r.recycled:
		default:
		}
		select {
		case r.packets <- append(pkt[:0], buf[:n]...):
		case <-ctx.Done():
			return nil
		}
	}
}

// transmit puts bursts on the medium, one at a time. What the PHY cannot send is
// the Engine's matter; a PHY that is closed ends the link.
func (r *Runner) transmit(ctx context.Context) error {
	for {
		select {
		case b := <-r.bursts:
			err := r.phy.Transmit(ctx, b)
			if errors.Is(err, phy.ErrClosed) {
				return err
			}
			r.sent <- err // has room: one burst at a time
		case <-ctx.Done():
			return nil
		}
	}
}

// runLoop owns the Engine. Whatever wakes it, it lets the moment settle and then
// drains its sources in one fixed order, so no race between them decides.
func (r *Runner) runLoop(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var (
		event  *phy.Event
		pkt    []byte
		sent   *error
		query  chan Stats
		events phy.Event
		result error
	)
	for {
		packets := r.packets
		if !r.engine.CanEnqueue() {
			packets = nil
		}
		event, pkt, sent, query = nil, nil, nil, nil
		select {
		case events = <-r.events:
			event = &events
		case result = <-r.sent:
			sent = &result
		case query = <-r.queries:
		case pkt = <-packets:
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
		time.Sleep(settle)
		now := r.clock.now()
		r.takeEvents(now, event)
		r.takeSent(now, sent)
		r.takePackets(now, pkt)
		if err := r.act(now); err != nil {
			return err
		}
		r.answerQueries(query) // what they tell has been acted upon: the carrier is on when the link is up
		if at, ok := r.engine.Deadline(); ok {
			timer.Reset(r.clock.pause(r.clock.now(), at))
		} else {
			timer.Stop()
		}
	}
}

func (r *Runner) takeEvents(now time.Time, first *phy.Event) {
	if first != nil {
		r.engine.HandleEvent(now, first)
	}
	for range eventBacklog {
		select {
		case ev := <-r.events:
			r.engine.HandleEvent(now, &ev)
		default:
			return
		}
	}
}

func (r *Runner) takeSent(now time.Time, first *error) {
	if first != nil {
		r.burstSent(now, *first)
	}
	select {
	case err := <-r.sent:
		r.burstSent(now, err)
	default:
	}
}

func (r *Runner) burstSent(now time.Time, err error) {
	if err != nil {
		r.log.Warn("burst not sent", "error", err)
	}
	r.engine.BurstSent(now, err)
}

func (r *Runner) answerQueries(first chan Stats) {
	if first != nil {
		first <- r.stats()
	}
	for {
		select {
		case query := <-r.queries:
			query <- r.stats()
		default:
			return
		}
	}
}

// stats is the Engine's, in the machine's time.
func (r *Runner) stats() Stats {
	s := r.engine.Stats()
	s.Standstill = r.clock.behind
	for i := range s.Peers {
		s.Peers[i].LastHeard = s.Peers[i].LastHeard.Add(r.clock.behind)
	}
	return s
}

func (r *Runner) takePackets(now time.Time, first []byte) {
	if first != nil {
		r.takePacket(now, first)
	}
	for range hostBacklog {
		if !r.engine.CanEnqueue() {
			return
		}
		select {
		case pkt := <-r.packets:
			r.takePacket(now, pkt)
		default:
			return
		}
	}
}

func (r *Runner) takePacket(now time.Time, pkt []byte) {
	if err := r.engine.EnqueuePacket(now, pkt); err != nil {
		r.log.Debug("packet dropped", "error", err)
	}
	select {
	case r.recycled <- pkt:
	default:
	}
}

// act gives the host its packets and its carrier, and the PHY the next burst.
func (r *Runner) act(now time.Time) error {
	for {
		n, ok := r.engine.NextPacket(r.loop.packet)
		if !ok {
			break
		}
		if err := r.host.WritePacket(r.loop.packet[:n]); err != nil {
			return fmt.Errorf("write packet: %w", err)
		}
	}
	if r.engine.NextBurst(now, &r.loop.burst) {
		r.bursts <- &r.loop.burst
	}
	if r.insert != nil && r.engine.Urgent(now) && r.insert.Seam() && r.engine.NextInsert(now, &r.loop.inner) {
		left, ok := r.insert.Insert(&r.loop.inner)
		r.engine.Inserted(now, left, ok)
	}
	if up := r.engine.Up(); up != r.loop.carrier || !r.loop.ready {
		if err := r.host.SetCarrier(up); err != nil {
			return fmt.Errorf("carrier: %w", err)
		}
		r.loop.carrier, r.loop.ready = up, true
		r.log.Info("carrier", "up", up)
	}
	return nil
}
