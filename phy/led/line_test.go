package led_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lightsong/firmware/emu"
	"lightsong/firmware/emu/emutest"
	"lightsong/phy"
	"lightsong/phy/led"
)

// A board that is unplugged and plugged in again is back within 3 s, each time,
// also though it was not without power and is still at its high speed.
func TestReplug(t *testing.T) {
	times := 6
	if os.Getenv("LIGHTSONG_FIGURES") != "" {
		times = 100
	}
	r := emutest.Start(t, emu.Config{Boards: 1})
	emutest.Bubble(t, r, func(ctx context.Context, lines *emu.Lines) {
		var absent atomic.Bool
		p := open(ctx, t, led.Config{Dial: func(ctx context.Context) (led.Port, error) {
			if absent.Load() {
				return nil, errors.New("no such device")
			}
			return dial(lines, 0)(ctx)
		}})
		defer p.Close()
		const seed = 3
		rnd := rand.New(rand.NewPCG(seed, 3))
		var longest time.Duration
		for i := range times {
			absent.Store(true)
			lines.Unplug(0)
			time.Sleep(time.Duration(1+rnd.IntN(1000)) * time.Millisecond)
			if err := p.Transmit(ctx, &phy.Burst{MCS: 10, Control: []byte{1}}); err == nil {
				t.Fatalf("seed %d: sent without a board", seed)
			}
			absent.Store(false)
			began := time.Now()
			for p.Stats().Connections < uint64(i+2) && time.Since(began) < 5*time.Second {
				time.Sleep(10 * time.Millisecond)
			}
			took := time.Since(began)
			longest = max(longest, took)
			if took > 3*time.Second {
				t.Errorf("seed %d: back after %v the %dth time, want at most 3 s", seed, took, i+1)
			}
			if err := p.Transmit(ctx, &phy.Burst{MCS: 10, Control: []byte{1}}); err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
		}
		t.Logf("%d times, back after %v at the latest", times, longest)
	})
}

// noisy damages octets on a serial line.
type noisy struct {
	led.Port
	mu   sync.Mutex
	rnd  *rand.Rand
	rate float64
}

func (p *noisy) spoil(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range b {
		if p.rnd.Float64() < p.rate {
			b[i] = byte(p.rnd.Uint32())
		}
	}
}

func (p *noisy) Read(b []byte) (int, error) {
	n, err := p.Port.Read(b)
	p.spoil(b[:n])
	return n, err
}

func (p *noisy) Write(b []byte) (int, error) {
	b = bytes.Clone(b)
	p.spoil(b)
	return p.Port.Write(b)
}

// Octets damaged on both serial lines cost frames, but none arrives that was not
// sent, the connection holds, and most bursts still bring something.
func TestNoisySerialLine(t *testing.T) {
	r := emutest.Start(t, emu.Config{PPM: []float64{0, 5000}, Jitter: 50, Seed: 4})
	emutest.Bubble(t, r, func(ctx context.Context, lines *emu.Lines) {
		const seed = 4
		var noise [2]*noisy
		var phys [2]*led.PHY
		for i := range phys {
			phys[i] = open(ctx, t, led.Config{Dial: func(context.Context) (led.Port, error) {
				noise[i] = &noisy{Port: lines.Open(i), rnd: rand.New(rand.NewPCG(seed, uint64(i)))}
				return noise[i], nil
			}})
			defer phys[i].Close()
		}
		for _, n := range noise {
			n.mu.Lock()
			n.rate = 1e-4
			n.mu.Unlock()
		}
		events := hear(phys[1])
		rnd := rand.New(rand.NewPCG(seed, 9))
		bursts, frames, came := 12, 0, 0
		for range bursts {
			sent := burstOf(rnd, 10, 7, 400, 22)
			frames += len(sent.Frames)
			if err := phys[0].Transmit(ctx, sent); err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
			time.Sleep(100 * time.Millisecond)
			for len(events) > 0 {
				ev := <-events
				if ev.Kind != phy.Received {
					continue
				}
				for i, f := range ev.Burst.Frames {
					if f != nil && !bytes.Equal(f, sent.Frames[i]) {
						t.Errorf("seed %d: a frame that was not sent", seed)
					} else if f != nil {
						came++
					}
				}
			}
		}
		// A light frame of 3 to 4 frames is about 2100 octets twice on a line: 1−e^−0.42 of them are hit.
		if 2*came < frames/2 {
			t.Errorf("seed %d: %d of %d frames", seed, came, frames)
		}
		for _, p := range phys {
			if s := p.Stats(); s.Connections != 1 {
				t.Errorf("seed %d: %+v", seed, s)
			}
		}
		t.Logf("%d of %d frames came; %+v, %+v", came, frames, phys[0].Stats(), phys[1].Stats())
	})
}

// fake is a board that says what the test lets it say.
type fake struct {
	answer func(content []byte) []byte // nil: silence
	in     chan []byte
	rest   []byte
	closed chan struct{}
	once   sync.Once
	stuck  atomic.Bool // takes no octets
}

func newFake(answer func([]byte) []byte) *fake {
	return &fake{answer: answer, in: make(chan []byte, 64), closed: make(chan struct{})}
}

func (f *fake) Read(p []byte) (int, error) {
	for len(f.rest) == 0 {
		select {
		case f.rest = <-f.in:
		case <-f.closed:
			return 0, errors.New("closed")
		}
	}
	n := copy(p, f.rest)
	f.rest = f.rest[n:]
	return n, nil
}

func (f *fake) Write(p []byte) (int, error) {
	if f.stuck.Load() {
		<-f.closed
		return 0, errors.New("closed")
	}
	if len(p) < 5 || p[0] != 0x7E {
		return len(p), nil
	}
	if a := f.answer(p[1 : len(p)-3]); a != nil {
		f.in <- emu.AppendFrame(nil, a)
	}
	return len(p), nil
}

func (f *fake) SetSpeed(int) error { return nil }
func (f *fake) Close() error       { f.once.Do(func() { close(f.closed) }); return nil }

// info is that of PROTOCOL.md.
var info = []byte{0x81, 1, 0, 1, 0, 0, 1, 0, 0, 0x24, 0xF4, 0, 1, 0x3F, 0xFF, 7, 0xC0, 5, 0x40, 1, 0x0F, 0, 1, 0xF4, 1, 1}

func TestRefusals(t *testing.T) {
	other := bytes.Clone(info)
	other[1] = 2
	for _, tt := range []struct {
		why     string
		answer  []byte
		version bool
		want    string
	}{
		{"a board that refuses our version", append([]byte{0xFF, 1, 1}, "protocol 1 asked, this board speaks 2"...), true, `"protocol 1 asked, this board speaks 2"; flash it anew`},
		{"a board with another version", other, true, "it speaks protocol 2, this program speaks 1; flash it anew"},
		{"silence", nil, false, "nothing that speaks lightsong's protocol"},
	} {
		synctest.Test(t, func(t *testing.T) {
			_, err := led.Open(t.Context(), led.Config{Dial: func(context.Context) (led.Port, error) {
				return newFake(func([]byte) []byte { return tt.answer }), nil
			}})
			if err == nil || errors.Is(err, led.ErrVersion) != tt.version || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v", tt.why, err)
			}
		})
	}
}

// A board that does not answer its configuration, because light keeps it busy or what
// was asked was damaged, is asked again.
func TestSlowToConfigure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		p, err := led.Open(t.Context(), led.Config{MaxSpeed: 115200, Dial: func(context.Context) (led.Port, error) {
			return newFake(func(c []byte) []byte {
				switch c[0] {
				case 1:
					return info
				case 3:
					if asked++; asked > 5 {
						return []byte{0x83, 3, 0}
					}
				}
				return nil
			}), nil
		}})
		if err != nil {
			t.Fatalf("asked %d times: %v", asked, err)
		}
		p.Close()
	})
}

// A board that stops reading is given up and reset by opening its line anew; who
// sends gets an error and does not hang.
func TestStuckBoard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var boards []*fake
		p, err := led.Open(t.Context(), led.Config{MaxSpeed: 115200, Dial: func(context.Context) (led.Port, error) {
			f := newFake(func(c []byte) []byte {
				switch c[0] {
				case 1:
					return info
				case 3:
					return []byte{0x83, 3, 0}
				}
				return nil
			})
			boards = append(boards, f)
			return f, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		boards[0].stuck.Store(true)
		began := time.Now()
		if err := p.Transmit(t.Context(), &phy.Burst{MCS: 10, Frames: [][]byte{make([]byte, 600)}}); err == nil {
			t.Error("sent through a board that takes nothing")
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("noticed after %v", took)
		}
		time.Sleep(3 * time.Second)
		if p.Stats().Connections < 2 {
			t.Error("the line was not opened again")
		}
	})
}

// The images in the tree are what the source makes, and their checksums are known.
func TestImagesAreBuiltFromSource(t *testing.T) {
	for _, tt := range []struct {
		name  string
		image func() ([]byte, string, error)
	}{{emutest.Comparator, led.ImageATmega328P}, {emutest.OneLED, led.ImageOneLED}} {
		image, sum, err := tt.image()
		if err != nil {
			t.Fatal(err)
		}
		if n, err := led.CheckImage(image, 30720); err != nil || n < 10000 {
			t.Errorf("%s: %d octets, %v", tt.name, n, err)
		}
		made, err := os.ReadFile(filepath.Join(emutest.Folder(t), tt.name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(made, image) {
			t.Errorf("phy/led/images/%s (%s) is not what `make -C firmware` builds: run `make firmware`", tt.name, sum[:12])
		}
	}
}

func TestCheckImage(t *testing.T) {
	const good, end = ":0400000001020304F2\n", ":00000001FF\n"
	for _, tt := range []struct{ image, want string }{
		{good + end, ""},
		{"\x7fELF", "line 1: not Intel hex"},
		{good, "it breaks off"},
		{"", "not Intel hex"},
		{":0400000001020304F3\n" + end, "its checksum is wrong"},
		{":047E000001020304" + "74\n" + end, "beyond the 32256 octets"},
		{good + end + good, "line 3: not Intel hex"},
		{":0400000901020304E9\n" + end, "not known"},
	} {
		_, err := led.CheckImage([]byte(tt.image), 32256)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !errors.Is(err, led.ErrImage) || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%q: %v, want %q", tt.image, err, tt.want)
		}
	}
}

func TestBadConfiguration(t *testing.T) {
	for i, c := range []led.Config{{MaxSpeed: 9600}, {Dim: new(3)}, {Dim: new(-1)}, {Rates: 64}, {Rates: -1}} {
		if _, err := led.Open(t.Context(), c); err == nil {
			t.Errorf("configuration %d was taken", i)
		}
	}
	if _, err := led.Open(t.Context(), led.Config{Dial: led.Serial("/nowhere/board")}); err == nil || !strings.Contains(fmt.Sprint(err), "is the board plugged in?") {
		t.Errorf("no device: %v", err)
	}
}
