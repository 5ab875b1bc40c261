package audio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"time"
)

// A sound card is served by a process of its own:
//
//	daemon                                     sound process
//	PHY ─ Read  ◀─ ring, 2 s ◀─┐             ┌── capture: Card.Read, always
//	PHY ─ Write ─ credit ─────▶┴ socket pair ┴▶─ queue, 0.5 s ─ playback: Card.Write, always
//
// A sound library can block for ever where the sound server has stopped (a
// blocked Read cannot be cancelled), can end its process by an assertion, and
// prints to standard error from threads of its own. In a process of its own all
// of that is one thing, a process that can be killed and started again, and the
// daemon needs no C. The two short loops there are also never held up by a
// modem at work or a garbage collector.

// Card is a sound card as a blocking library gives it: whole blocks, which is
// what ServeCard gives a process to. Read and Write are called from a goroutine
// each; Close only after both have returned.
type Card interface {
	// Read fills p with the next block. overflow means that samples were
	// dropped before it, nobody knows how many.
	Read(p []float32) (overflow bool, err error)
	// Write plays a block, and blocks until the card's buffer has room for it.
	// underrun means that the buffer had run empty before it.
	Write(p []float32) (underrun bool, err error)
	// Latency is Stream.Latency.
	Latency() (in, out time.Duration)
	Close() error
}

// CardRequest says which card is wanted, and how.
type CardRequest struct {
	List     bool          // only the list of cards
	Output   string        // name of the card that plays: DefaultCard, or as CardInfo.Match wants it; empty: play nothing
	Input    string        // and of the one that listens
	Rate     int           // samples per second
	Channels int           // interleaved in each block; 0 means 1
	Latency  time.Duration // of the card's buffer, each way
	// RoundTrip, if not 0, is Latency's sum as it was measured: a sound server,
	// above all one far away, has buffers that its library knows nothing of.
	RoundTrip time.Duration
}

// DefaultCard is the card that the system plays on and listens with.
const DefaultCard = "default"

// Block is the number of samples that go to and from the card at a time: 10 ms
// of all channels.
func (r CardRequest) Block() int {
	return int(int64(r.Rate)*int64(blockTime)/int64(time.Second)) * max(1, r.Channels)
}

// CardInfo describes a sound card.
type CardInfo struct {
	Name          string  `json:"name"`
	API           string  `json:"host_api"`
	Inputs        int     `json:"input_channels"`
	Outputs       int     `json:"output_channels"`
	Rate          float64 `json:"default_rate_hz"`
	Rates         []int   `json:"rates_hz"` // of the usual ones those that it takes
	InLatency     float64 `json:"input_latency_ms"`
	OutLatency    float64 `json:"output_latency_ms"`
	DefaultInput  bool    `json:"default_input"`
	DefaultOutput bool    `json:"default_output"`
}

// ErrNoCard is wrapped by errors about a card that is not there.
var ErrNoCard = errors.New("no such sound device")

// FindCard returns the index of the card of which the name is the whole of name
// or contains it, "API/NAME" where two host APIs have the same name; inputs
// says which direction it must have. Errors wrap ErrNoCard.
func FindCard(cards []CardInfo, name string, input bool) (int, error) {
	what := "plays"
	if input {
		what = "listens"
	}
	var found []int
	for _, match := range []func(c CardInfo) bool{
		func(c CardInfo) bool {
			return name == DefaultCard && (input && c.DefaultInput || !input && c.DefaultOutput)
		},
		func(c CardInfo) bool { return c.Name == name || c.API+"/"+c.Name == name },
		func(c CardInfo) bool { return name != "" && strings.Contains(c.Name, name) },
	} {
		for i, c := range cards {
			if (input && c.Inputs > 0 || !input && c.Outputs > 0) && match(c) {
				found = append(found, i)
			}
		}
		if len(found) > 0 {
			break
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return 0, fmt.Errorf("%w: %q could be %s or %s", ErrNoCard, name, cards[found[0]].Name, cards[found[1]].Name)
	case len(cards) == 0:
		return 0, fmt.Errorf("%w: the system has none", ErrNoCard)
	case name == DefaultCard:
		return 0, fmt.Errorf("%w: the system names no default that %s", ErrNoCard, what)
	}
	return 0, fmt.Errorf("%w: none of the %d that are there is called %q and %s; see `lightsong devices`", ErrNoCard, len(cards), name, what)
}

// cardWelcome is the sound process's first answer.
type cardWelcome struct {
	In, Out time.Duration
	Cards   []CardInfo
}

const (
	prefill      = 200 * time.Millisecond // of a burst, queued before it begins
	cardQueue    = 500 * time.Millisecond // of a burst, queued in the sound process at most
	cardFarewell = 500 * time.Millisecond // for the card's last blocks when the daemon has gone
)

// CardLibrary is a sound library: the one that phy/audio/portaudio binds, or a
// test's.
type CardLibrary interface {
	Cards() ([]CardInfo, error)
	Open(r CardRequest) (Card, error)
}

// ServeCard is the sound process: it opens a card as the daemon at the other
// end of conn asks and carries its sound until the daemon hangs up or the card
// fails, whose error it returns after having told the daemon. If the card is
// stuck when the daemon hangs up, it is left as it is: the process is to end.
func ServeCard(conn net.Conn, library CardLibrary) error {
	defer conn.Close()
	w := newCardWire(conn)
	kind, body, err := w.receive()
	if err != nil {
		return fmt.Errorf("request: %w", err)
	}
	var request CardRequest
	if kind != cardRequest || json.Unmarshal(body, &request) != nil {
		return fmt.Errorf("request: %w", errCardProtocol)
	}
	if request.List {
		cards, err := library.Cards()
		if err != nil {
			return errors.Join(err, w.send(cardFailed, []byte(err.Error())))
		}
		return w.sendJSON(cardWelcomed, cardWelcome{Cards: cards})
	}
	if request.Rate <= 0 || request.Block() <= 0 || request.Block() > maxCardSamples || request.Input == "" && request.Output == "" {
		return w.send(cardFailed, []byte("a request that makes no sense"))
	}
	card, err := library.Open(request)
	if err != nil {
		return errors.Join(err, w.send(cardFailed, []byte(err.Error())))
	}
	s := &cardServer{wire: w, card: card, request: request, failed: make(chan error, 3)}
	s.changed.L = &s.mu
	return s.run()
}

// cardServer is the sound process while its card is open.
type cardServer struct {
	wire    *cardWire
	card    Card
	request CardRequest
	failed  chan error

	mu      sync.Mutex
	changed sync.Cond
	queue   []float32 // to be played
	ended   bool      // the burst in queue is whole
	playing bool      // in a burst
	over    bool      // the process is to end
}

func (s *cardServer) run() error {
	var welcome cardWelcome
	welcome.In, welcome.Out = s.card.Latency()
	if err := s.wire.sendJSON(cardWelcomed, welcome); err != nil {
		return errors.Join(err, s.card.Close())
	}
	var loops sync.WaitGroup
	start := func(f func() error) {
		loops.Go(func() {
			// A thread of its own: what the library blocks is never needed elsewhere.
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			if err := f(); err != nil {
				s.failed <- err
			}
		})
	}
	if s.request.Input != "" {
		start(s.capture)
	}
	if s.request.Output != "" {
		start(s.playback)
	}
	go func() { s.failed <- s.obey() }() // ends with the connection
	err := <-s.failed
	if err != nil {
		// Nobody may be there to be told.
		_ = s.wire.send(cardFailed, []byte(err.Error()))
	}
	s.mu.Lock()
	s.over = true
	s.changed.Broadcast()
	s.mu.Unlock()
	_ = s.wire.conn.Close()
	joined := make(chan struct{})
	go func() { loops.Wait(); close(joined) }()
	select {
	case <-joined:
		return errors.Join(err, s.card.Close())
	case <-time.After(cardFarewell):
		return err
	}
}

// obey takes what the daemon sends. A daemon that hangs up is no error.
func (s *cardServer) obey() error {
	most := s.request.samples(cardQueue) + s.request.Block()
	for {
		kind, body, err := s.wire.receive()
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			return err
		}
		s.mu.Lock()
		switch kind {
		case cardSamples:
			if len(s.queue)+len(body)/4 > most {
				err = fmt.Errorf("%w: more than it was given credit for", errCardProtocol)
				break
			}
			s.queue = appendFloats(s.queue, body)
			s.ended = false
		case cardBurstEnd:
			s.ended = true
		default:
			err = fmt.Errorf("%w: message %d", errCardProtocol, kind)
		}
		s.changed.Broadcast()
		s.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

func (r CardRequest) samples(d time.Duration) int {
	return int(int64(r.Rate)*int64(d)/int64(time.Second)) * max(1, r.Channels)
}

func (s *cardServer) isOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

// capture sends what the card hears.
func (s *cardServer) capture() error {
	block := make([]float32, s.request.Block())
	channels := max(1, s.request.Channels)
	clock := newGapClock(s.request.Rate)
	began := time.Now()
	for !s.isOver() {
		overflow, err := s.card.Read(block)
		if err != nil {
			return fmt.Errorf("listening: %w", err)
		}
		lost := clock.block(time.Since(began), len(block)/channels, overflow)
		if lost > 0 {
			err = s.wire.sendCount(cardLost, lost*int64(channels))
		}
		if err := errors.Join(err, s.wire.sendSamples(block)); err != nil {
			return nil //nolint:nilerr // the daemon has gone: obey sees it too
		}
	}
	return nil
}

// playback plays the bursts that are queued, and silence between them, so that
// the card's buffer never runs empty and a burst is on its way at once.
func (s *cardServer) playback() error {
	block := make([]float32, s.request.Block())
	_, latency := s.card.Latency()
	for !s.isOver() {
		n, split := s.next(block, latency/2)
		underrun, err := s.card.Write(block)
		if err != nil {
			return fmt.Errorf("playing: %w", err)
		}
		if split || underrun && n > 0 {
			err = s.wire.sendCount(cardSplit, 1)
		}
		// Without a microphone to be heard of, this is the sign of life.
		if n > 0 || s.request.Input == "" {
			err = errors.Join(err, s.wire.sendCount(cardTaken, int64(n)))
		}
		if err != nil {
			return nil //nolint:nilerr // the daemon has gone: obey sees it too
		}
	}
	return nil
}

// next fills block with what is to be played: n samples of a burst, then
// silence. A burst begins when it is whole or enough of it is there. Where the
// daemon is late in the middle of one, the card's own buffer allows to wait for
// it a while; after that the burst is split.
func (s *cardServer) next(block []float32, patience time.Duration) (n int, split bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.playing && (s.ended && len(s.queue) > 0 || len(s.queue) >= s.request.samples(prefill)) {
		s.playing = true
	}
	if s.playing {
		if len(s.queue) < len(block) && !s.ended {
			late := false
			timer := time.AfterFunc(patience, func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				late = true
				s.changed.Broadcast()
			})
			for !late && !s.over && !s.ended && len(s.queue) < len(block) {
				s.changed.Wait()
			}
			timer.Stop()
			split = late && !s.ended && len(s.queue) < len(block)
		}
		n = copy(block, s.queue)
		s.queue = s.queue[:copy(s.queue, s.queue[n:])]
		if split || s.ended && len(s.queue) == 0 {
			s.playing = false
		}
	}
	clear(block[n:])
	return n, split
}

// gapClock finds out how many samples a card has dropped, which no library
// says, from the time at which its blocks came: they come when they are due or
// later, so the earliest one so far tells when each is due.
type gapClock struct {
	rate   int
	frames int64         // heard and lost
	base   time.Duration // when frame 0 was due, by the earliest block
	last   time.Duration
	begun  bool
	late   int // blocks in a row that were later than any buffer explains
}

const (
	gapDrift = 1e-3                   // share by which the card's clock may be slow
	gapLate  = 100 * time.Millisecond // later than this is a gap …
	gapSure  = 50                     // … if so many blocks in a row are
)

func newGapClock(rate int) *gapClock { return &gapClock{rate: rate} }

// block takes a block of frames that came at now. It returns how many frames
// were lost before it.
func (g *gapClock) block(now time.Duration, frames int, overflow bool) (lost int64) {
	g.frames += int64(frames)
	heard := time.Duration(float64(g.frames) / float64(g.rate) * float64(time.Second))
	due := now - heard
	if !g.begun {
		g.begun, g.base, g.last = true, due, now
	}
	since := now - g.last
	g.base += time.Duration(gapDrift * float64(since))
	g.last = now
	g.base = min(g.base, due)
	// Blocks that come faster than they last were waiting: a card that catches
	// up has lost nothing.
	waiting := since < time.Duration(frames)*time.Second/time.Duration(2*g.rate)
	if due-g.base > gapLate && !waiting {
		g.late++
	} else {
		g.late = 0
	}
	if overflow || g.late >= gapSure {
		lost = int64(float64(due-g.base) / float64(time.Second) * float64(g.rate))
		g.frames += lost
		g.late = 0
	}
	return lost
}

// ListCards asks a sound process for its cards. Stopping it if it hangs is
// ctx's matter.
func ListCards(ctx context.Context, spawn func() (*SoundProcess, error)) ([]CardInfo, error) {
	s, err := openCard(ctx, spawn, CardRequest{List: true})
	if err != nil {
		return nil, err
	}
	return s.welcome.Cards, s.Close()
}
