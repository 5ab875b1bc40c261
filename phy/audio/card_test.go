package audio

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// loopCard is a card whose output is its own input, on the bubble's clock. What
// is written is heard 60 ms after Write has returned.
type loopCard struct {
	began time.Time

	mu       sync.Mutex
	timeline map[int]float32 // by sample number
	played   int
	heard    int
	drop     int           // samples that the next Read drops, with an overflow
	stuck    chan struct{} // not nil: Read and Write block until it is closed
	broken   error
	closed   bool
}

const (
	loopRate   = 48000
	loopBuffer = 2880 // samples: 60 ms
)

func (c *loopCard) now() int { return int(time.Since(c.began) * loopRate / time.Second) }

func (c *loopCard) state() (stuck chan struct{}, broken error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stuck, c.broken
}

func (c *loopCard) Read(p []float32) (overflow bool, err error) {
	if stuck, broken := c.state(); broken != nil {
		return false, broken
	} else if stuck != nil {
		<-stuck
	}
	c.mu.Lock()
	overflow = c.drop > 0
	c.heard += c.drop + len(p)
	c.drop = 0
	heard := c.heard
	c.mu.Unlock()
	time.Sleep(time.Until(c.began.Add(time.Duration(heard) * time.Second / loopRate)))
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range p {
		p[i] = c.timeline[heard-len(p)+i]
	}
	return overflow, nil
}

func (c *loopCard) Write(p []float32) (underrun bool, err error) {
	if stuck, broken := c.state(); broken != nil {
		return false, broken
	} else if stuck != nil {
		<-stuck
	}
	c.mu.Lock()
	if now := c.now(); c.played < now {
		underrun, c.played = c.played > 0, now
	}
	for i, v := range p {
		if v != 0 {
			c.timeline[c.played+i] = v
		}
	}
	c.played += len(p)
	ahead := c.played - loopBuffer
	c.mu.Unlock()
	time.Sleep(time.Until(c.began.Add(time.Duration(ahead) * time.Second / loopRate)))
	return underrun, nil
}

func (c *loopCard) Latency() (in, out time.Duration) {
	return 10 * time.Millisecond, 60 * time.Millisecond
}

func (c *loopCard) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return nil
}

// fakeLibrary opens a card, or waits, or fails.
type fakeLibrary struct {
	card  Card
	cards []CardInfo
	err   error
	wait  chan struct{}
}

func (l fakeLibrary) Cards() ([]CardInfo, error) { return l.cards, l.err }

func (l fakeLibrary) Open(CardRequest) (Card, error) {
	if l.wait != nil {
		<-l.wait
	}
	return l.card, l.err
}

// inProcess is a sound process that is a goroutine of the test's.
func inProcess(library CardLibrary) func() (*SoundProcess, error) {
	return func() (*SoundProcess, error) {
		ours, theirs := net.Pipe()
		go func() { _ = ServeCard(theirs, library) }() // its error is told through the connection
		return &SoundProcess{Conn: ours, End: func() error {
			ours.Close()
			return nil
		}}, nil
	}
}

var loopRequest = CardRequest{Output: DefaultCard, Input: DefaultCard, Rate: loopRate, Latency: 50 * time.Millisecond}

// openLoop opens a loopCard by a sound process, and gives what it hears from
// then on to hear, if that is not nil.
func openLoop(t *testing.T, hear func(samples []float32, lost int64)) (*CardStream, *loopCard) {
	t.Helper()
	card := &loopCard{began: time.Now(), timeline: map[int]float32{}}
	s, err := OpenCard(t.Context(), inProcess(fakeLibrary{card: card}), loopRequest)
	if err != nil {
		t.Fatal(err)
	}
	var reader sync.WaitGroup
	if hear != nil {
		reader.Go(func() {
			block := make([]float32, 480)
			for {
				n, lost, err := s.Read(block)
				if err != nil {
					return
				}
				hear(block[:n], lost)
			}
		})
	}
	t.Cleanup(func() {
		s.Close()
		reader.Wait()
		time.Sleep(2 * cardFarewell)
	})
	return s, card
}

// noise is n samples, none of them 0.
func noise(seed uint64, n int) []float32 {
	random := rand.New(rand.NewPCG(seed, 0))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(random.Float64()*0.8 + 0.1)
	}
	return x
}

// TestCardCarriesBursts wants bursts to be heard as they were written, whole,
// however the writer is held up for less than what is queued, and EndBurst to
// return just the output latency before the last sample leaves.
func TestCardCarriesBursts(t *testing.T) {
	for _, tt := range []struct {
		name   string
		octets int
		at     int           // samples after which the writer pauses
		pause  time.Duration // for so long
		split  int64
	}{
		{"short", 700, 0, 0, 0},
		{"a block", 480, 0, 0, 0},
		{"long", 96000, 0, 0, 0},
		{"late before it began", 48000, 4800, 150 * time.Millisecond, 0},
		{"late in the middle", 96000, 60000, 450 * time.Millisecond, 0},
		{"too late", 96000, 60000, 800 * time.Millisecond, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				var heard []float32 // from the first sample of the burst on
				var last time.Time  // when its last one was heard
				s, _ := openLoop(t, func(p []float32, lost int64) {
					mu.Lock()
					defer mu.Unlock()
					if lost != 0 {
						t.Errorf("%d samples lost", lost)
					}
					for _, v := range p {
						if v != 0 || len(heard) > 0 {
							heard = append(heard, v)
						}
						if v != 0 {
							last = time.Now()
						}
					}
				})
				time.Sleep(time.Second)
				const seed = 5
				burst := noise(seed, tt.octets)
				began := time.Now()
				if err := s.Write(burst[:tt.at]); err != nil {
					t.Fatal(err)
				}
				time.Sleep(tt.pause)
				if err := s.Write(burst[tt.at:]); err != nil {
					t.Fatal(err)
				}
				s.EndBurst()
				ended := time.Now()
				time.Sleep(time.Second)
				mu.Lock()
				defer mu.Unlock()
				_, split := s.Counts()
				if split != tt.split {
					t.Errorf("%d bursts split, want %d", split, tt.split)
				}
				if split > 0 {
					heard = slices.DeleteFunc(heard, func(v float32) bool { return v == 0 })
				}
				if len(heard) < len(burst) || !slices.Equal(heard[:len(burst)], burst) {
					t.Fatalf("seed %d: the burst was not heard as it was written: %d samples", seed, len(heard))
				}
				// Two blocks: what is written goes with the next block, and is heard
				// with the end of one.
				if late := last.Sub(ended) - 60*time.Millisecond; late < -20*time.Millisecond || late > 20*time.Millisecond {
					t.Errorf("the last sample left %v after EndBurst and the output latency", late)
				}
				length := time.Duration(tt.octets) * time.Second / loopRate
				if tt.pause == 0 && last.Sub(began) > length+100*time.Millisecond {
					t.Errorf("a burst of %v was over %v after it was written", length, last.Sub(began))
				}
			})
		})
	}
}

// TestCardOverflow drops samples and wants them counted.
func TestCardOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var total, lost int64
		_, card := openLoop(t, func(p []float32, l int64) {
			mu.Lock()
			defer mu.Unlock()
			total += int64(len(p)) + l
			lost += l
		})
		began := time.Now()
		for range 5 {
			time.Sleep(3 * time.Second)
			card.mu.Lock()
			card.drop = 12345
			card.mu.Unlock()
		}
		time.Sleep(3 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		// The clock is allowed to be slow by gapDrift: that much of each 3 s may
		// be missed.
		if want := int64(5 * 12345); math.Abs(float64(lost-want)) > 5*3*loopRate*gapDrift+5 {
			t.Errorf("%d samples counted as lost, want %d", lost, want)
		}
		if want := int64(time.Since(began).Seconds() * loopRate); math.Abs(float64(total-want)) > 5*480+5*3*loopRate*gapDrift {
			t.Errorf("%d samples in all, want %d", total, want)
		}
	})
}

// TestCardUnread lets nobody read for longer than the ring lasts.
func TestCardUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := openLoop(t, nil)
		time.Sleep(5 * time.Second)
		block := make([]float32, 1000) // not a multiple of the card's
		var n, lost int64
		for n < 48000 {
			m, l, err := s.Read(block)
			if err != nil {
				t.Fatal(err)
			}
			n += int64(m)
			lost += l
		}
		if want := int64(3 * loopRate); lost < want-2*480 || lost > want+2*480 {
			t.Errorf("%d samples lost, want %d: all but the last 2 s of 5 s", lost, want)
		}
		if counted, _ := s.Counts(); counted != lost {
			t.Errorf("%d counted as lost, %d told", counted, lost)
		}
	})
}

// TestCardStops stops the sound server in every state, and wants it to be
// noticed, and Close to return in spite of it.
func TestCardStops(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(c *loopCard, stuck chan struct{})
		want  string
		after time.Duration
	}{
		{"server stopped", func(c *loopCard, stuck chan struct{}) { c.stuck = stuck }, "the sound server has stopped", cardSilence + 20*time.Millisecond},
		{"device pulled", func(c *loopCard, _ chan struct{}) { c.broken = errors.New("no such device") }, "no such device", 20 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				stuck := make(chan struct{})
				s, card := openLoop(t, nil)
				read := make(chan error, 1)
				go func() {
					for block := make([]float32, 480); ; {
						if _, _, err := s.Read(block); err != nil {
							read <- err
							return
						}
					}
				}()
				written := make(chan error, 1)
				go func() {
					for block := noise(1, 4800); ; {
						if err := s.Write(block); err != nil {
							written <- err
							return
						}
					}
				}()
				time.Sleep(time.Second)
				card.mu.Lock()
				tt.spoil(card, stuck)
				card.mu.Unlock()
				began := time.Now()
				for _, c := range []chan error{read, written} {
					if err := <-c; !strings.Contains(err.Error(), tt.want) {
						t.Errorf("failed with %q, want %q", err, tt.want)
					}
				}
				if took := time.Since(began); took > tt.after {
					t.Errorf("noticed after %v, want %v", took, tt.after)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
				s.EndBurst() // on a dead stream: nothing
				if _, _, err := s.Read(make([]float32, 1)); err == nil {
					t.Error("a closed stream reads")
				}
				time.Sleep(2 * cardFarewell)
				card.mu.Lock()
				if closed := card.closed; closed == (tt.name == "server stopped") {
					t.Errorf("card closed: %v", closed)
				}
				card.mu.Unlock()
				close(stuck)
			})
		})
	}
}

// TestOpenCard opens cards that cannot be opened.
func TestOpenCard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wait := make(chan struct{})
		defer close(wait)
		_, err := OpenCard(t.Context(), inProcess(fakeLibrary{err: errors.New("device unavailable")}), loopRequest)
		if err == nil || err.Error() != "device unavailable" {
			t.Errorf("a card that cannot be opened: %v", err)
		}
		began := time.Now()
		_, err = OpenCard(t.Context(), inProcess(fakeLibrary{wait: wait, card: endlessCard{}}), loopRequest)
		if err == nil || !strings.Contains(err.Error(), "does not answer") || time.Since(began) != cardOpenTime {
			t.Errorf("a server that does not answer: %v after %v", err, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		if _, err = OpenCard(ctx, inProcess(fakeLibrary{wait: wait, card: endlessCard{}}), loopRequest); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("interrupted: %v after %v", err, time.Since(began))
		}
		if _, err = OpenCard(t.Context(), nil, CardRequest{Rate: 48000, Channels: 1000}); err == nil {
			t.Error("1000 channels")
		}
		want := []CardInfo{{Name: "x", API: "ALSA", Inputs: 1, Rates: []int{48000}}}
		got, err := ListCards(t.Context(), inProcess(fakeLibrary{cards: want}))
		if err != nil || len(got) != 1 || got[0].Name != "x" || got[0].Rates[0] != 48000 {
			t.Errorf("list: %+v, %v", got, err)
		}
		if _, err := ListCards(t.Context(), inProcess(fakeLibrary{err: errors.New("no")})); err == nil {
			t.Error("a library that fails lists")
		}
	})
}

// TestSoundProcess starts real processes that are not what they should be.
func TestSoundProcess(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	start := func(script string) func() (*SoundProcess, error) {
		return func() (*SoundProcess, error) { return StartSoundProcess(os.Environ(), sh, "-c", script) }
	}
	_, err = OpenCard(t.Context(), start("echo much noise >&2; echo assertion failed >&2; exit 134"), loopRequest)
	if err == nil || !strings.Contains(err.Error(), "the sound process has died") || !strings.Contains(err.Error(), "last words: assertion failed") {
		t.Errorf("a process that dies: %v", err)
	}
	// It hears nothing of the end of the connection: it is killed.
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := OpenCard(ctx, start("exec sleep 600"), loopRequest); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a process that is stuck: %v", err)
	}
	if _, err := OpenCard(t.Context(), func() (*SoundProcess, error) { return StartSoundProcess(nil, "/nowhere/sound") }, loopRequest); err == nil {
		t.Error("a program that is not there was started")
	}
}

func TestGapClock(t *testing.T) {
	const block = 480
	for _, tt := range []struct {
		name   string
		late   func(i int) time.Duration // of block i
		blocks func(i int) int64         // lost before block i
		over   func(i int) bool
		want   int64
	}{
		{name: "punctual"},
		{name: "jitter", late: func(i int) time.Duration { return time.Duration(i*7919%90) * time.Millisecond }},
		{name: "one very late", late: func(i int) time.Duration {
			if i == 500 {
				return 400 * time.Millisecond
			}
			return 0
		}},
		{name: "held up, then all at once", late: func(i int) time.Duration {
			if i >= 400 && i < 725 { // 3.25 s, caught up with at ten times the speed
				return 3250*time.Millisecond - time.Duration(i-400)*9*time.Millisecond
			}
			return 0
		}},
		{name: "overflow", blocks: func(i int) int64 { return int64(i/500) * 4000 }, over: func(i int) bool { return i == 500 }, want: 4000},
		{name: "overflow of nothing", over: func(i int) bool { return i == 500 }},
		{name: "a gap nobody told of", blocks: func(i int) int64 { return int64(i/500) * 9600 }, want: 9600},
		{name: "a slow clock", late: func(i int) time.Duration { return time.Duration(i) * 5 * time.Microsecond }, over: func(i int) bool { return i%100 == 99 }},
	} {
		g := newGapClock(48000)
		var lost int64
		for i := range 1000 {
			frames := int64(i+1) * block
			if tt.blocks != nil {
				frames += tt.blocks(i)
			}
			now := time.Duration(frames) * time.Second / 48000
			if tt.late != nil {
				now += tt.late(i)
			}
			lost += g.block(now, block, tt.over != nil && tt.over(i))
		}
		if math.Abs(float64(lost-tt.want)) > 10*block*gapDrift*500 {
			t.Errorf("%s: %d lost, want %d", tt.name, lost, tt.want)
		}
		if tt.want == 0 && lost > 5*block/10 {
			t.Errorf("%s: %d lost of none", tt.name, lost)
		}
	}
}

func TestFindCard(t *testing.T) {
	cards := []CardInfo{
		{Name: "HDA Intel PCH: ALC257 Analog (hw:0,0)", API: "ALSA", Inputs: 2, Outputs: 2},
		{Name: "USB Audio: Headset (hw:1,0)", API: "ALSA", Inputs: 1, Outputs: 2, DefaultInput: true},
		{Name: "USB Audio: Monitor (hw:2,0)", API: "ALSA", Outputs: 2, DefaultOutput: true},
		{Name: "pulse", API: "ALSA", Inputs: 32, Outputs: 32},
		{Name: "pulse", API: "JACK", Inputs: 2, Outputs: 2},
	}
	for _, tt := range []struct {
		name  string
		input bool
		want  int // -1: an error with text
		text  string
	}{
		{"default", true, 1, ""},
		{"default", false, 2, ""},
		{"USB Audio: Headset (hw:1,0)", false, 1, ""},
		{"HDA Intel PCH", true, 0, ""},
		{"USB Audio", true, 1, ""}, // only one of them listens
		{"USB Audio", false, -1, `"USB Audio" could be`},
		{"JACK/pulse", true, 4, ""},
		{"pulse", true, -1, "could be"},
		{"Monitor", true, -1, "none of the 5"},
		{"", true, -1, "none of the 5"},
	} {
		got, err := FindCard(cards, tt.name, tt.input)
		if tt.want < 0 && (!errors.Is(err, ErrNoCard) || !strings.Contains(err.Error(), tt.text)) || tt.want >= 0 && (err != nil || got != tt.want) {
			t.Errorf("%q, input %v: %d, %v; want %d %s", tt.name, tt.input, got, err, tt.want, tt.text)
		}
	}
	if _, err := FindCard(nil, DefaultCard, true); !errors.Is(err, ErrNoCard) || !strings.Contains(err.Error(), "has none") {
		t.Errorf("no card at all: %v", err)
	}
	if _, err := FindCard(cards[:1], DefaultCard, true); !errors.Is(err, ErrNoCard) || !strings.Contains(err.Error(), "no default") {
		t.Errorf("no default: %v", err)
	}
}

// nowhere is a connection that reads what it is given and takes everything.
type nowhere struct {
	net.Conn
	in io.Reader
}

func (c nowhere) Read(p []byte) (int, error)      { return c.in.Read(p) }
func (c nowhere) Write(p []byte) (int, error)     { return len(p), nil }
func (c nowhere) Close() error                    { return nil }
func (c nowhere) SetReadDeadline(time.Time) error { return nil }

// FuzzCardStream gives the daemon what no sound process says, and the sound
// process what no daemon says.
func FuzzCardStream(f *testing.F) {
	message := func(kind byte, body string) string {
		return string(binary.LittleEndian.AppendUint16([]byte{kind, 0}, uint16(len(body)))) + body
	}
	f.Add([]byte(message(cardWelcomed, `{"In":1,"Out":2}`)+message(cardSamples, strings.Repeat("x", 1920))+message(cardTaken, "12345678")), true)
	f.Add([]byte(message(cardWelcomed, `{}`)+message(cardFailed, "no")), true)
	f.Add([]byte(message(cardRequest, `{"Rate":48000,"Output":"default"}`)+message(cardSamples, strings.Repeat("x", 3000))+message(cardBurstEnd, "")), false)
	f.Fuzz(func(t *testing.T, said []byte, daemon bool) {
		conn := nowhere{in: strings.NewReader(string(said))}
		if !daemon {
			_ = ServeCard(conn, fakeLibrary{card: endlessCard{}})
			return
		}
		s, err := OpenCard(t.Context(), func() (*SoundProcess, error) {
			return &SoundProcess{Conn: conn, End: func() error { return nil }}, nil
		}, loopRequest)
		if err != nil {
			return
		}
		_, _, _ = s.Read(make([]float32, 960))
		s.Close()
	})
}

// endlessCard hears silence and plays into nowhere, in no time.
type endlessCard struct{}

func (endlessCard) Read(p []float32) (bool, error)          { clear(p); return false, nil }
func (endlessCard) Write([]float32) (bool, error)           { return false, nil }
func (endlessCard) Latency() (time.Duration, time.Duration) { return 0, 0 }
func (endlessCard) Close() error                            { return nil }

// TestCardAllocates nothing on the steady paths.
func TestCardAllocates(t *testing.T) {
	s := &CardStream{request: loopRequest, wire: newCardWire(nowhere{})}
	s.changed.L = &s.mu
	s.ring = make([]cardBlock, 4)
	for i := range s.ring {
		s.ring[i].samples = make([]float32, 0, 480)
	}
	block, body := make([]float32, 480), make([]byte, 1920)
	if n := testing.AllocsPerRun(100, func() {
		if s.handle(cardSamples, body) != nil || s.wire.sendSamples(block) != nil || s.wire.sendCount(cardTaken, 1) != nil {
			t.Fatal("failed")
		}
		if _, _, err := s.Read(block); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a block", n)
	}
}

// TestCardPairs wants a card of two channels to count lost pairs, not their
// values: that is what the modem's clock runs by.
func TestCardPairs(t *testing.T) {
	s := &CardStream{request: CardRequest{Rate: loopRate, Channels: 2}, ring: make([]cardBlock, 2)}
	s.changed.L = &s.mu
	block := make([]byte, 4*s.request.Block())
	lose := func(values uint64) {
		t.Helper()
		if err := s.handle(cardLost, binary.LittleEndian.AppendUint64(nil, values)); err != nil {
			t.Fatal(err)
		}
	}
	hear := func(blocks int) {
		t.Helper()
		for range blocks {
			if err := s.handle(cardSamples, block); err != nil {
				t.Fatal(err)
			}
		}
	}
	read := func(want int64) {
		t.Helper()
		p := make([]float32, s.request.Block())
		if n, lost, err := s.Read(p); n != len(p) || lost != want || err != nil {
			t.Errorf("%d values, %d pairs lost, %v; want %d values, %d pairs", n, lost, err, len(p), want)
		}
	}
	if Channels(s) != 2 || s.request.Block() != 2*loopRate/100 {
		t.Fatalf("%d channels, blocks of %d values", Channels(s), s.request.Block())
	}
	lose(200)
	hear(1)
	read(100)
	hear(3) // one more than there is room for
	read(loopRate / 100)
	read(0)
}
