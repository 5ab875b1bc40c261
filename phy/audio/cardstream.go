package audio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	cardRing      = 2 * time.Second // of what the card has heard and nobody has read
	cardSilence   = 2 * time.Second // without a sign of life the sound process is killed
	cardOpenTime  = 5 * time.Second // likewise before the card is open
	stderrTail    = 2 << 10         // octets kept of what a sound process prints
	cardBurstTime = cardQueue       // of a burst that Write may be ahead of the card
)

// SoundProcess is a process that runs ServeCard, or a test's stand-in for one.
type SoundProcess struct {
	Conn net.Conn
	// End ends the process, however stuck it is, and waits for it. It may be
	// called several times, from any goroutine.
	End func() error
	// Said is the end of what it printed; nil: it prints nothing.
	Said func() string
}

// StartSoundProcess starts a program with the given arguments and environment,
// with its end of a socket pair as descriptor 3 (SoundProcessConn). What it
// prints, and sound libraries print much, is kept out of everybody's way.
func StartSoundProcess(env []string, program string, args ...string) (*SoundProcess, error) {
	syscall.ForkLock.RLock() // no other child inherits them
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, fmt.Errorf("sound process: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "sound process"), os.NewFile(uintptr(fds[1]), "sound process")
	defer ours.Close()
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, fmt.Errorf("sound process: %w", err)
	}
	said := new(tail)
	cmd := exec.Command(program, args...) //nolint:noctx // End is its end
	cmd.Env = env
	cmd.Stderr = said
	cmd.ExtraFiles = []*os.File{theirs}
	// A group of its own: Ctrl-C is the daemon's, who ends this process when it
	// needs it no more.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("sound process: %w", err)
	}
	return &SoundProcess{
		Conn: conn,
		Said: said.String,
		End: sync.OnceValue(func() error {
			conn.Close()
			// It ends by itself when its connection does, unless it is stuck.
			stuck := time.AfterFunc(2*cardFarewell, func() { _ = cmd.Process.Kill() })
			defer stuck.Stop()
			_ = cmd.Wait() // its exit code tells nothing that the connection has not
			return nil
		}),
	}, nil
}

// SoundProcessConn is the connection of a process that StartSoundProcess has
// started. It puts the process ahead of others, as far as the system allows.
func SoundProcessConn() (net.Conn, error) {
	f := os.NewFile(3, "daemon")
	if f == nil {
		return nil, errors.New("this command is started by lightsong itself")
	}
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("this command is started by lightsong itself (%w)", err)
	}
	urgent()
	return conn, nil
}

// tail keeps the end of what was written to it, and an assertion, after which a
// dump of registers may follow.
type tail struct {
	mu        sync.Mutex
	text      []byte
	assertion string
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	for line := range strings.Lines(string(t.text)) {
		if t.assertion == "" && strings.Contains(line, "Assertion") {
			t.assertion = strings.TrimSpace(line)
		}
	}
	if over := len(t.text) - stderrTail; over > 0 {
		t.text = t.text[:copy(t.text, t.text[over:])]
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.assertion != "" {
		return t.assertion
	}
	return string(t.text)
}

// CardStream is a sound card behind a sound process. It implements Stream and
// BurstEnder; a user calls EndBurst after the last Write of every burst.
type CardStream struct {
	process *SoundProcess
	wire    *cardWire
	request CardRequest
	welcome cardWelcome
	silence time.Duration // cardSilence

	listening sync.WaitGroup
	closeOnce sync.Once
	closeErr  error

	mu      sync.Mutex
	changed sync.Cond
	ring    []cardBlock // all of one capacity
	first   int         // oldest block
	blocks  int         // that are filled
	read    int         // samples of the oldest that were read
	dropped int64       // samples lost and not yet in a block
	ahead   int         // samples written and not yet taken by the card
	taken   int64       // samples taken in all: progress
	split   int64       // bursts
	lost    int64       // samples in all
	failed  error
}

type cardBlock struct {
	samples []float32
	lost    int64 // before them
}

// OpenCard opens a sound card by a process that spawn starts. The error of a
// card that cannot be opened is the sound process's own sentence. After a
// failure the stream fails for good; Close it and open another.
func OpenCard(ctx context.Context, spawn func() (*SoundProcess, error), request CardRequest) (*CardStream, error) {
	if request.Rate <= 0 || request.Block() == 0 || request.Block() > maxCardSamples {
		return nil, fmt.Errorf("sound card: %d samples per second in %d channels is beyond what a card does", request.Rate, request.Channels)
	}
	return openCard(ctx, spawn, request)
}

func openCard(ctx context.Context, spawn func() (*SoundProcess, error), request CardRequest) (*CardStream, error) {
	process, err := spawn()
	if err != nil {
		return nil, err
	}
	s := &CardStream{process: process, wire: newCardWire(process.Conn), request: request, silence: cardSilence}
	s.changed.L = &s.mu
	stop := context.AfterFunc(ctx, func() { process.Conn.Close() })
	err = s.handshake()
	if !stop() && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, errors.Join(err, process.End())
	}
	if request.List {
		return s, nil
	}
	if request.RoundTrip > 0 {
		s.welcome.In = min(s.welcome.In, request.RoundTrip)
		s.welcome.Out = request.RoundTrip - s.welcome.In
	}
	s.ring = make([]cardBlock, cardRing/blockTime)
	for i := range s.ring {
		s.ring[i].samples = make([]float32, 0, request.Block())
	}
	s.listening.Go(s.listen)
	return s, nil
}

func (s *CardStream) handshake() error {
	if err := s.process.Conn.SetReadDeadline(time.Now().Add(cardOpenTime)); err != nil {
		return err
	}
	if err := s.wire.sendJSON(cardRequest, s.request); err != nil {
		return s.gone(err)
	}
	kind, body, err := s.wire.receive()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("the sound server does not answer within %v", cardOpenTime)
	case err != nil:
		return s.gone(err)
	case kind == cardFailed:
		return errors.New(string(body))
	case kind != cardWelcomed || json.Unmarshal(body, &s.welcome) != nil:
		return fmt.Errorf("%w: message %d", errCardProtocol, kind)
	}
	return nil
}

// gone is the error of a connection whose process has died, with its last words.
func (s *CardStream) gone(err error) error {
	if s.process.Said != nil && !errors.Is(err, net.ErrClosed) {
		_ = s.process.End() // then it has said all
		lines := strings.Split(strings.TrimSpace(s.process.Said()), "\n")
		if last := strings.TrimSpace(lines[len(lines)-1]); last != "" {
			return fmt.Errorf("the sound process has died (%w); its last words: %s", err, last)
		}
	}
	return fmt.Errorf("the sound process has died (%w)", err)
}

// listen takes what the sound process sends until it fails or hangs up.
func (s *CardStream) listen() {
	for {
		if err := s.hear(); err != nil {
			_ = s.fail(err)
			return
		}
	}
}

// hear takes one message.
func (s *CardStream) hear() error {
	// A sound server that has stopped sends nothing and says nothing.
	if err := s.process.Conn.SetReadDeadline(time.Now().Add(s.silence)); err != nil {
		return err
	}
	kind, body, err := s.wire.receive()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("no sound for %v: the sound server has stopped", s.silence)
	case err != nil:
		return s.gone(err)
	}
	return s.handle(kind, body)
}

func (s *CardStream) handle(kind byte, body []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.changed.Broadcast()
	switch kind {
	case cardSamples:
		return s.heard(body)
	case cardFailed:
		return errors.New(string(body))
	case cardTaken, cardLost, cardSplit:
		n, err := count(body)
		if err != nil || n < 0 {
			return errCardProtocol
		}
		switch kind {
		case cardTaken:
			s.ahead -= int(min(n, int64(s.ahead)))
			s.taken += n
		case cardLost:
			s.dropped += n
			s.lost += n
		case cardSplit:
			s.split += n
		}
		return nil
	}
	return fmt.Errorf("%w: message %d", errCardProtocol, kind)
}

// heard puts a block into the ring; the oldest one of a full ring is lost.
func (s *CardStream) heard(body []byte) error {
	if len(body) != 4*s.request.Block() {
		return fmt.Errorf("%w: a block of %d octets", errCardProtocol, len(body))
	}
	if s.blocks == len(s.ring) {
		old := &s.ring[s.first]
		n := int64(len(old.samples) - s.read)
		s.first, s.read = (s.first+1)%len(s.ring), 0
		s.blocks--
		s.lost += n
		s.ring[s.first].lost += old.lost + n
	}
	b := &s.ring[(s.first+s.blocks)%len(s.ring)]
	b.samples = appendFloats(b.samples[:0], body)
	b.lost, s.dropped = s.dropped, 0
	s.blocks++
	return nil
}

// Read implements Stream.
func (s *CardStream) Read(p []float32) (n int, lost int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n < len(p) {
		for s.blocks == 0 {
			if s.failed != nil {
				return n, lost / int64(s.Channels()), s.failed
			}
			s.changed.Wait()
		}
		b := &s.ring[s.first]
		lost += b.lost
		b.lost = 0
		m := copy(p[n:], b.samples[s.read:])
		n += m
		if s.read += m; s.read == len(b.samples) {
			s.first, s.read = (s.first+1)%len(s.ring), 0
			s.blocks--
		}
	}
	return n, lost / int64(s.Channels()), nil
}

// Write implements Stream: it may be half a second ahead of the card, so that a
// daemon that is held up splits no burst. EndBurst waits for the rest.
func (s *CardStream) Write(p []float32) error {
	most := s.request.samples(cardBurstTime)
	for len(p) > 0 {
		n := min(len(p), s.request.Block())
		if err := s.await(func() bool { return s.ahead+n <= most }, n); err != nil {
			return err
		}
		if err := s.wire.sendSamples(p[:n]); err != nil {
			return s.fail(s.gone(err))
		}
		p = p[n:]
	}
	return nil
}

// EndBurst implements BurstEnder: it returns when the card has taken the
// burst's last sample, which leaves it after the output latency.
func (s *CardStream) EndBurst() {
	if err := s.wire.send(cardBurstEnd, nil); err != nil {
		_ = s.fail(s.gone(err)) // whoever uses the stream next learns of it
		return
	}
	_ = s.await(func() bool { return s.ahead == 0 }, 0) // likewise
}

// await waits until ready, then takes n samples of credit. A card that takes
// nothing meanwhile is stuck.
func (s *CardStream) await(ready func() bool, n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil && !ready() {
		progress, over := s.taken, false
		var watch *time.Timer
		watch = time.AfterFunc(s.silence, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if over {
				return
			}
			if s.taken == progress {
				_ = s.failLocked(fmt.Errorf("the card plays nothing for %v: the sound server has stopped", s.silence))
				return
			}
			progress = s.taken
			watch.Reset(s.silence)
		})
		for s.failed == nil && !ready() {
			s.changed.Wait()
		}
		over = true
		watch.Stop()
	}
	if s.failed != nil {
		return s.failed
	}
	s.ahead += n
	return nil
}

// fail makes the stream fail for good and returns what it has failed with.
func (s *CardStream) fail(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failLocked(err)
}

func (s *CardStream) failLocked(err error) error {
	if s.failed == nil {
		s.failed = err
		s.process.Conn.Close() // ends listen
	}
	s.changed.Broadcast()
	return s.failed
}

// Channels implements Channeled.
func (s *CardStream) Channels() int { return max(1, s.request.Channels) }

// Latency implements Stream.
func (s *CardStream) Latency() (in, out time.Duration) { return s.welcome.In, s.welcome.Out }

// Counts are the samples lost, of all channels, and the bursts split so far.
func (s *CardStream) Counts() (lost, split int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost, s.split
}

// Close implements Stream. It ends the sound process.
func (s *CardStream) Close() error {
	s.closeOnce.Do(func() {
		_ = s.fail(net.ErrClosed)
		s.closeErr = s.process.End()
		s.listening.Wait()
	})
	return s.closeErr
}
