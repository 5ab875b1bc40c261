package oneway

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"lightsong/phy"
)

var update = flag.Bool("update", false, "rewrite testdata/vectors.golden")

// memory is a Store with holes.
type memory struct {
	pages  map[int64][]byte // of pageSize octets
	closed bool
	fail   error
}

const pageSize = 1 << 12

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	if m.fail != nil {
		return 0, m.fail
	}
	for n := 0; n < len(p); {
		at := off + int64(n)
		page := m.pages[at/pageSize]
		if page == nil {
			page = make([]byte, pageSize)
			m.pages[at/pageSize] = page
		}
		n += copy(page[at%pageSize:], p[n:])
	}
	return len(p), nil
}

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	for n := 0; n < len(p); {
		at := off + int64(n)
		part := p[n:min(len(p), n+int(pageSize-at%pageSize))]
		clear(part)
		if page := m.pages[at/pageSize]; page != nil {
			copy(part, page[at%pageSize:])
		}
		n += len(part)
	}
	return len(p), nil
}

func (m *memory) Close() error { m.closed = true; return nil }

// stores makes memories and remembers them.
type stores []*memory

func (s *stores) open() (Store, error) {
	m := &memory{pages: map[int64][]byte{}}
	*s = append(*s, m)
	return m, nil
}

// made keeps the codes of all tests: making one is most of their work.
var made = codes{}

// receiver is a Receiver whose stores are remembered in s.
func receiver(s *stores) *Receiver {
	r := NewReceiver(s.open)
	r.codes = made
	return r
}

func mode(frameOctets int) phy.Mode { return phy.Mode{MCS: 3, FrameOctets: frameOctets} }

func content(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// bursts are those of one loop, copied.
func bursts(t testing.TB, file []byte, opts Options) []*phy.Burst {
	t.Helper()
	plan, err := NewPlan(int64(len(file)), opts)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSender(bytes.NewReader(file), plan)
	if err != nil {
		t.Fatal(err)
	}
	s.codes = made
	var all []*phy.Burst
	var b phy.Burst
	for {
		more, err := s.NextBurst(&b)
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			break
		}
		all = append(all, clone(&b))
	}
	if len(all) != plan.Bursts() {
		t.Fatalf("%d bursts came, the plan says %d", len(all), plan.Bursts())
	}
	return all
}

func clone(b *phy.Burst) *phy.Burst {
	c := &phy.Burst{MCS: b.MCS, Control: bytes.Clone(b.Control)}
	for _, f := range b.Frames {
		c.Frames = append(c.Frames, bytes.Clone(f))
	}
	return c
}

// handle gives bursts to a receiver until the file is there.
func handle(t testing.TB, r *Receiver, all ...*phy.Burst) {
	t.Helper()
	for _, b := range all {
		if err := r.HandleBurst(b); err != nil {
			t.Fatal(err)
		}
	}
}

// want checks that the receiver hands out file under name.
func want(t testing.TB, r *Receiver, file []byte, name string) {
	t.Helper()
	f, ok := r.File()
	if !ok {
		t.Fatalf("the file did not come whole: %+v, %+v", r.Progress(), r.Stats())
	}
	got, err := io.ReadAll(io.NewSectionReader(f.Store, 0, f.Size))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, file) {
		t.Fatalf("file of %d octets differs from the %d that were sent", len(got), len(file))
	}
	if f.Name != name {
		t.Errorf("name %q, want %q", f.Name, name)
	}
	if f.SHA256 != sha256.Sum256(file) {
		t.Error("SHA-256 differs")
	}
}

func TestRoundTrip(t *testing.T) {
	for _, frame := range []int{6, 64, 255, 4095} {
		for _, size := range []int{0, 1, 26, 27, 59, 300, 20_000} {
			for _, redundancy := range []float64{0, 0.2, 4} {
				if size/frame > 320 {
					continue // seconds for nothing new
				}
				t.Run(fmt.Sprintf("%d octets, frames of %d, %g", size, frame, redundancy), func(t *testing.T) {
					rng := rand.New(rand.NewPCG(uint64(size), uint64(frame)))
					file := content(rng, size)
					all := bursts(t, file, Options{Name: "a.bin", Mode: mode(frame), Redundancy: redundancy})
					all = append(all, all...)
					rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
					r := receiver(new(stores))
					handle(t, r, all...)
					want(t, r, file, "a.bin")
				})
			}
		}
	}
}

func TestPlan(t *testing.T) {
	air := func(b *phy.Burst) time.Duration {
		return 100*time.Millisecond + time.Duration(len(b.Frames))*50*time.Millisecond
	}
	short := func(b *phy.Burst) time.Duration { // a modem that sends no burst of more than 3 frames
		if len(b.Frames) > 3 {
			return 0
		}
		return time.Second
	}
	slow := func(b *phy.Burst) time.Duration { return time.Duration(len(b.Frames)) * 10 * time.Second }
	for _, c := range []struct {
		name         string
		size         int64
		opts         Options
		data, parity int
		bursts       int
	}{
		{"empty: SHA-256 only", 0, Options{Mode: mode(64)}, 1, 0, 1},
		{"one frame sent twice", 1, Options{Mode: mode(64), Redundancy: 0.2}, 1, 1, 2},
		{"32 octets of SHA-256 fill the frame", 27, Options{Mode: mode(64)}, 1, 0, 1},
		{"one more", 28, Options{Mode: mode(64)}, 2, 0, 1},
		{"20 % of 10 are 2", 590 - 32, Options{Mode: mode(64), Redundancy: 0.2}, 10, 2, 6},
		{"one block", 59*212 - 32, Options{Mode: mode(64), Redundancy: 0.2}, 212, 43, 6},
		{"two blocks of 107+22", 59*213 - 32, Options{Mode: mode(64), Redundancy: 0.2}, 213, 44, 6},
		{"airtime", 59*100 - 32, Options{Mode: mode(64), Airtime: air}, 100, 0, 2},
		{"at least four frames", 59*100 - 32, Options{Mode: mode(64), Airtime: slow}, 100, 0, 25},
		{"what the modem allows", 59*100 - 32, Options{Mode: mode(64), Airtime: short}, 100, 0, 34},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := NewPlan(c.size, c.opts)
			if err != nil {
				t.Fatal(err)
			}
			data, parity := p.Frames()
			if data != c.data || parity != c.parity || p.Bursts() != c.bursts {
				t.Errorf("%d+%d frames in %d bursts, want %d+%d in %d", data, parity, p.Bursts(), c.data, c.parity, c.bursts)
			}
			frames := p.Total(func(b *phy.Burst) int64 { return int64(len(b.Frames)) })
			if int(frames) != data+parity {
				t.Errorf("the bursts hold %d frames, want %d", frames, data+parity)
			}
		})
	}
}

func TestPlanRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		size int64
		opts Options
		want string
	}{
		{"negative size", -1, Options{Mode: mode(64)}, "negative"},
		{"over the size field", MaxSize + 1, Options{Mode: mode(4095)}, "file too large"},
		{"over the frame numbers", 2 << 30, Options{Mode: mode(64)}, "file too large"},
		{"parity over the frame numbers", 500 << 20, Options{Mode: mode(64), Redundancy: 4}, "file too large"},
		{"long name", 1, Options{Mode: mode(64), Name: strings.Repeat("x", 256)}, "name of 256 octets"},
		{"redundancy below 0", 1, Options{Mode: mode(64), Redundancy: -0.1}, "redundancy -10 %"},
		{"redundancy over the limit", 1, Options{Mode: mode(64), Redundancy: 4.01}, "redundancy 401 %"},
		{"redundancy not a number", 1, Options{Mode: mode(64), Redundancy: math.NaN()}, "redundancy NaN"},
		{"frames without room", 1, Options{Mode: mode(5)}, "frames of 5 octets"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := NewPlan(c.size, c.opts)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want one with %q", err, c.want)
			}
			if got := errors.Is(err, ErrTooLarge); got != strings.HasPrefix(c.want, "file too large") {
				t.Errorf("errors.Is(ErrTooLarge) = %v", got)
			}
		})
	}
	if _, err := NewPlan(MaxSize, Options{Mode: mode(4095), Redundancy: 0.2}); err != nil {
		t.Errorf("the largest file is refused: %v", err)
	}
}

// Every layout that NewPlan makes must pass the receiver's bounds; the proof is
// in the comments, this walks the corners.
func TestPlanPassesCheck(t *testing.T) {
	const seed = 7
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 20_000 {
		size := rng.Int64N(1 << (4 + rng.IntN(24)))
		opts := Options{Mode: mode(6 + rng.IntN(300)), Redundancy: float64(rng.IntN(401)) / 100, Name: strings.Repeat("n", rng.IntN(256))}
		p, err := NewPlan(size, opts)
		if errors.Is(err, ErrTooLarge) && size/int64(opts.Mode.FrameOctets-frameHeader) > maxFrames/10 {
			continue
		}
		if err != nil {
			t.Fatalf("seed %d: %d octets, %+v: %v", seed, size, opts, err)
		}
		l := p.layout
		if got, ok := parseControl(l.control()); !ok || got != l {
			t.Fatalf("seed %d: %+v comes back as %+v, %v", seed, l, got, ok)
		}
		sum := 0
		for b := range l.blocks() {
			k := l.dataOf(b)
			if k < 1 || k > l.k {
				t.Fatalf("seed %d: %+v: block %d has %d data frames", seed, l, b, k)
			}
			sum += k
		}
		if sum != l.data() {
			t.Fatalf("seed %d: %+v: the blocks have %d data frames, want %d", seed, l, sum, l.data())
		}
		if l.m > 0 && p.burst > l.m*l.blocks() {
			t.Fatalf("seed %d: %+v: a burst of %d frames is more than the parity repairs", seed, l, p.burst)
		}
	}
}

func TestAnyOneBurstMayBeLost(t *testing.T) {
	for _, c := range []struct{ size, frame int }{{0, 64}, {1, 64}, {1000, 64}, {10_000, 64}, {20_000, 64}, {30_000, 255}} {
		rng := rand.New(rand.NewPCG(1, uint64(c.size)))
		file := content(rng, c.size)
		all := bursts(t, file, Options{Name: "x", Mode: mode(c.frame), Redundancy: 0.1})
		for lost := range all {
			r := receiver(new(stores))
			handle(t, r, all[:lost]...)
			handle(t, r, all[lost+1:]...)
			want(t, r, file, "x")
		}
	}
}

// With frames lost independently with probability p a block of k+m frames is
// whole with the binomial probability of at most m losses, the file with that to
// the power of the number of blocks.
func TestLossAgainstTheory(t *testing.T) {
	const trials, seed = 150, 12
	rng := rand.New(rand.NewPCG(seed, 0))
	file := content(rng, 59*240-32) // 240 data frames: 2 blocks of 120+24
	opts := Options{Mode: mode(64), Redundancy: 0.2}
	all := bursts(t, file, opts)
	for _, p := range []float64{0.13, 0.16} {
		atMost := 0.0
		for lost := range 25 {
			lgN, _ := math.Lgamma(145)
			lgL, _ := math.Lgamma(float64(lost + 1))
			lgR, _ := math.Lgamma(float64(145 - lost))
			atMost += math.Exp(lgN - lgL - lgR + float64(lost)*math.Log(p) + float64(144-lost)*math.Log(1-p))
		}
		theory := atMost * atMost
		whole := 0
		for range trials {
			r := receiver(new(stores))
			for _, b := range all {
				c := &phy.Burst{Control: b.Control, Frames: slices.Clone(b.Frames)}
				for i := range c.Frames {
					if rng.Float64() < p {
						c.Frames[i] = nil
					}
				}
				handle(t, r, c)
			}
			if _, ok := r.File(); ok {
				want(t, r, file, fallbackName)
				whole++
			}
		}
		got := float64(whole) / trials
		sigma := math.Sqrt(theory*(1-theory)/trials) + 1.0/trials
		t.Logf("frame loss %.2f: %.3f of the files whole, theory %.3f", p, got, theory)
		if math.Abs(got-theory) > 4*sigma {
			t.Errorf("seed %d: frame loss %.2f: %.3f of the files whole, theory %.3f ± %.3f (4σ)", seed, p, got, theory, 4*sigma)
		}
	}
}

func TestLoopsAddUp(t *testing.T) {
	const seed = 5
	rng := rand.New(rand.NewPCG(seed, 0))
	file := content(rng, 5000)
	all := bursts(t, file, Options{Name: "loop", Mode: mode(64)})
	r := receiver(new(stores))
	loops := 0
	for ; loops < 30; loops++ {
		if _, ok := r.File(); ok {
			break
		}
		for _, b := range all {
			c := clone(b)
			for i := range c.Frames {
				if rng.Float64() < 0.5 {
					c.Frames[i] = nil
				}
			}
			handle(t, r, c)
		}
	}
	want(t, r, file, "loop")
	// 86 frames, half of what is missing comes per loop: log2(86) ± a few.
	if loops < 3 || loops > 18 {
		t.Errorf("seed %d: %d loops", seed, loops)
	}
}

func TestControlLost(t *testing.T) {
	file := content(rand.New(rand.NewPCG(2, 0)), 8000)
	all := bursts(t, file, Options{Name: "c", Mode: mode(64), Redundancy: 0.1})
	for keep := range all {
		r := receiver(new(stores))
		for i, b := range all {
			c := clone(b)
			if i != keep {
				c.Control = nil
			}
			handle(t, r, c)
		}
		want(t, r, file, "c")
		if got := r.Stats().ControlsFailed; got > len(all)-1 {
			t.Errorf("control block %d kept: %d counted as failed", keep, got)
		}
	}
	r := receiver(new(stores))
	for _, b := range all {
		c := clone(b)
		c.Control = nil
		handle(t, r, c)
	}
	if p := r.Progress(); p.Known {
		t.Errorf("no control block came, and a transfer is known: %+v", p)
	}
}

func TestTransfersDoNotMix(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 0))
	one, two := content(rng, 3000), content(rng, 3000)
	a := bursts(t, one, Options{Name: "one", Mode: mode(64)})
	b := bursts(t, two, Options{Name: "two", Mode: mode(64)})
	var opened stores
	r := receiver(&opened)
	a[0].Frames[0] = nil
	handle(t, r, a...)
	handle(t, r, b...)
	want(t, r, two, "two")
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if len(opened) != 2 || !opened[0].closed || opened[1].closed {
		t.Errorf("of %d stores the first must be closed, the one handed out not", len(opened))
	}
}

func TestHostileControls(t *testing.T) {
	const seed = 13
	rng := rand.New(rand.NewPCG(seed, 0))
	file := content(rng, 6000)
	all := bursts(t, file, Options{Name: "h", Mode: mode(64), Redundancy: 0.1}) // 11 bursts of 11 frames
	var opened stores
	r := receiver(&opened)
	for _, b := range all {
		handle(t, r, b)
		for range 20 {
			// The largest that passes the check, with a frame of its own.
			l := layout{id: rng.Uint32(), size: MaxSize - 400, name: 255, stride: 300, k: 128, m: 0}
			if !l.check() {
				t.Fatal("the layout is not accepted, the test tests nothing")
			}
			frame := append(l.appendFrameHeader(nil, l.frames()-1), make([]byte, l.stride)...)
			handle(t, r, &phy.Burst{Control: l.control(), Frames: [][]byte{frame}})
		}
	}
	want(t, r, file, "h")
	live := 0
	for _, s := range opened {
		if !s.closed {
			live++
		}
	}
	if live > maxTransfers {
		t.Errorf("%d stores are open, at most %d transfers are followed", live, maxTransfers)
	}
	for _, p := range r.parts {
		if kept := len(p.have) + len(p.got); kept > maxFrames/8+maxFrames/minFull {
			t.Errorf("a transfer keeps %d octets in memory", kept)
		}
	}
}

func TestDamagedFrameIsNeverHandedOut(t *testing.T) {
	file := content(rand.New(rand.NewPCG(4, 0)), 4000)
	all := bursts(t, file, Options{Name: "d", Mode: mode(64)})
	bad := clone(all[0])
	bad.Frames[3][20] ^= 1
	r := receiver(new(stores))
	handle(t, r, bad)
	handle(t, r, all[1:]...)
	if _, ok := r.File(); ok {
		t.Fatal("a damaged file was handed out")
	}
	if got := r.Stats().Damaged; got != 1 {
		t.Errorf("%d transfers counted as damaged, want 1", got)
	}
	handle(t, r, all...)
	want(t, r, file, "d")
}

func TestProgress(t *testing.T) {
	file := make([]byte, 59*100-32)
	all := bursts(t, file, Options{Mode: mode(64)}) // one burst of 100 frames
	r := receiver(new(stores))
	if p := r.Progress(); p.Known {
		t.Fatalf("nothing was heard: %+v", p)
	}
	b := clone(all[0])
	for i := range b.Frames {
		if i >= 10 && i < 30 || i == 50 || i == 99 {
			b.Frames[i] = nil
		}
	}
	handle(t, r, b)
	p := r.Progress()
	wantMissing := []Range{{590, 1770}, {2950, 3009}, {5841, 5868}}
	if !p.Known || p.Frames != 78 || p.Needed != 22 || p.Gaps != 3 || !slices.Equal(p.Missing, wantMissing) {
		t.Errorf("%+v, want 78 frames, 22 needed, missing %v", p, wantMissing)
	}
	if want := int64(len(file) - 20*59 - 59 - 27); p.Octets != want {
		t.Errorf("%d octets are there, want %d", p.Octets, want)
	}
	for i := range b.Frames {
		b.Frames[i] = all[0].Frames[i]
		if i%2 == 0 {
			b.Frames[i] = nil
		}
	}
	r = receiver(new(stores))
	handle(t, r, b)
	if p := r.Progress(); p.Gaps != 50 || len(p.Missing) != maxRanges || p.Missing[maxRanges-1] != (Range{59 * 30, 59 * 31}) {
		t.Errorf("every second frame is missing: %+v", p)
	}
}

func TestFailuresOfFileAndStore(t *testing.T) {
	plan, err := NewPlan(1000, Options{Mode: mode(64)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewSender(bytes.NewReader(make([]byte, 999)), plan); err == nil {
		t.Error("a file that is shorter than planned was accepted")
	}
	full := errors.New("no space left")
	r := NewReceiver(func() (Store, error) { return &memory{fail: full}, nil })
	if err := r.HandleBurst(bursts(t, make([]byte, 100), Options{Mode: mode(64)})[0]); !errors.Is(err, full) {
		t.Errorf("error %v, want %v", err, full)
	}
	r = NewReceiver(func() (Store, error) { return nil, full })
	if err := r.HandleBurst(bursts(t, make([]byte, 100), Options{Mode: mode(64)})[0]); !errors.Is(err, full) {
		t.Errorf("error %v, want %v", err, full)
	}
}

func TestSafeName(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"song.txt", "song.txt"},
		{"Grüße 1.txt", "Grüße 1.txt"},
		{"", fallbackName},
		{".", fallbackName},
		{"..", fallbackName},
		{"../../etc/passwd", "passwd"},
		{`..\..\boot.ini`, "boot.ini"},
		{"/etc/", fallbackName},
		{".bashrc", "bashrc"},
		{"-rf", "rf"},
		{"a\x00b\x1b[31mc\n", "ab[31mc"},
		{"a\u202egpj.exe", "agpj.exe"},
		{"\xff\xfe", fallbackName},
		{strings.Repeat("ü", 200), strings.Repeat("ü", 127)},
		{"  x  ", "x"},
	} {
		if got := SafeName(c.name); got != c.want {
			t.Errorf("SafeName(%q) = %q, want %q", c.name, got, c.want)
		}
	}
}

// The vectors are printed in docs/oneway.md, from which somebody else may write
// the other end.
func TestVectors(t *testing.T) {
	var text strings.Builder
	for _, c := range []struct {
		what string
		file string
		opts Options
	}{
		{`empty file without a name, frames of 64 octets, redundancy 0`, "", Options{Mode: mode(64)}},
		{`file "hello, world\n" named "hello.txt", frames of 16 octets, redundancy 50 %`, "hello, world\n", Options{Name: "hello.txt", Mode: mode(16), Redundancy: 0.5}},
	} {
		fmt.Fprintf(&text, "# %s\n", c.what)
		for _, b := range bursts(t, []byte(c.file), c.opts) {
			fmt.Fprintf(&text, "control %s\n", hex.EncodeToString(b.Control))
			for _, f := range b.Frames {
				fmt.Fprintf(&text, "frame   %s\n", hex.EncodeToString(f))
			}
		}
	}
	const golden = "testdata/vectors.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	wantText, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if text.String() != string(wantText) {
		t.Errorf("the wire format has changed:\n%s\nwant:\n%s", text.String(), wantText)
	}
	doc, err := os.ReadFile("../../docs/oneway.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(doc, wantText) {
		t.Errorf("docs/oneway.md does not contain %s as it is", golden)
	}
}

func FuzzControl(f *testing.F) {
	l := layout{id: 0x01020304, size: 100_000, name: 5, stride: 59, k: 200, m: 40}
	f.Add(l.control())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, c []byte) {
		l, ok := parseControl(c)
		if !ok {
			return
		}
		if again := l.control(); !bytes.Equal(again, c) {
			t.Errorf("%x comes back as %x", c, again)
		}
		if l.frames() > maxFrames || l.blocks() > maxFrames/minFull+1 || l.k+l.m > maxShards {
			t.Errorf("%x is accepted with %d frames in %d blocks", c, l.frames(), l.blocks())
		}
	})
}

// FuzzReceiver reads its input as a script: an opcode and an operand pick, bend
// and deliver bursts of a real transfer, or make them up.
func FuzzReceiver(f *testing.F) {
	file := content(rand.New(rand.NewPCG(9, 9)), 600)
	all := bursts(f, file, Options{Name: "fuzz", Mode: mode(32), Redundancy: 0.3})
	f.Add([]byte{0, 0, 0, 1, 0, 2, 1, 3, 2, 4, 3, 5})
	f.Add(append([]byte{4, 14}, append(bytes.Clone(all[0].Control), all[0].Frames[0]...)...))
	f.Fuzz(func(t *testing.T, script []byte) {
		r := receiver(new(stores))
		tampered := false
		for steps := 0; len(script) >= 2 && steps < 64; steps++ {
			op, x := script[0], int(script[1])
			script = script[2:]
			b := clone(all[x%len(all)])
			switch op % 5 {
			case 1:
				b.Control = nil
			case 2:
				b.Frames[x%len(b.Frames)] = nil
			case 3:
				tampered = true
				fr := b.Frames[x%len(b.Frames)]
				fr[x%len(fr)] ^= 1 << (x % 8)
			case 4:
				n := min(x, len(script))
				b.Control = script[:min(n, controlOctets)]
				b.Frames = [][]byte{script[min(n, controlOctets):n]}
				script = script[n:]
				tampered = true
			}
			if err := r.HandleBurst(b); err != nil {
				t.Fatal(err)
			}
		}
		if got, ok := r.File(); ok && !tampered {
			back, err := io.ReadAll(io.NewSectionReader(got.Store, 0, got.Size))
			if err != nil || !bytes.Equal(back, file) {
				t.Errorf("another file than the one sent was handed out (%v)", err)
			}
		}
		if p := r.Progress(); p.Octets < 0 || p.Octets > p.Size || p.Needed < 0 {
			t.Errorf("progress %+v", p)
		}
	})
}
