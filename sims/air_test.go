package sims

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running runs an air for the length of a test's bubble.
func running(t *testing.T, cfg AirConfig) *Air {
	t.Helper()
	a, err := NewAir(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v, want the context's error", err)
		}
	})
	return a
}

func attach(t *testing.T, a *Air, name string) *Port {
	t.Helper()
	p, err := a.Attach(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// idle keeps a station in lockstep until it or the air is closed.
func idle(p *Port) {
	buf := make([]float32, 480)
	for {
		if _, _, err := p.Read(buf); err != nil {
			return
		}
	}
}

func add(h hash.Hash, x []float32) {
	for _, v := range x {
		h.Write(binary.LittleEndian.AppendUint32(nil, math.Float32bits(v)))
	}
}

// Stations with a reader and a writer each, which wait on timers and on what
// they hear, give the same samples and statistics however their goroutines
// interleave: the test yields at random.
func TestInterleavingsDoNotMatter(t *testing.T) {
	run := func(yield uint64) string {
		var result string
		synctest.Test(t, func(t *testing.T) {
			a := running(t, hostile())
			sums := map[string]hash.Hash{}
			var all sync.WaitGroup
			names := []string{"a", "b", "c"}
			rng := rand.New(rand.NewPCG(yield, 1))
			rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
			for _, name := range names {
				p := attach(t, a, name)
				sum := sha256.New()
				sums[name] = sum
				heard := make(chan struct{}, 1000)
				stop := make(chan struct{})
				lag := rand.New(rand.NewPCG(yield, uint64(name[0])))
				all.Go(func() { // reader
					defer close(stop)
					buf := make([]float32, 480)
					for i := range 300 {
						spin(lag)
						_, lost, err := p.Read(buf)
						if err != nil {
							t.Error(err)
							return
						}
						add(sum, buf)
						add(sum, []float32{float32(lost)})
						if i%7 == 0 {
							heard <- struct{}{}
						}
					}
				})
				lag2 := rand.New(rand.NewPCG(yield, uint64(name[0])+100))
				// The writer answers what is heard, and sends after timers, which
				// end at the instants at which blocks are given out. It must not
				// select between the two: that would be random in itself.
				all.Go(func() {
					for i := 0; ; i++ {
						if i%2 == 0 {
							select {
							case <-heard:
							case <-stop:
								return
							}
						} else {
							time.Sleep(time.Duration(10*(i%5+1)) * time.Millisecond)
						}
						for b := range i % 4 {
							spin(lag2)
							err := p.Write(chatter(name, 3*i+b))
							if errors.Is(err, net.ErrClosed) {
								return
							}
							if err != nil {
								t.Error(err)
								return
							}
						}
					}
				})
				go func() {
					<-stop
					p.Close() // the others go on
				}()
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			stats, err := json.Marshal(a.Stats())
			if err != nil {
				t.Fatal(err)
			}
			all.Wait()
			result = string(stats)
			for _, name := range slices.Sorted(slices.Values(names)) {
				result += fmt.Sprintf("\n%s %x", name, sums[name].Sum(nil))
			}
		})
		return result
	}
	want := run(0)
	interleavings := uint64(6)
	if testing.Short() {
		interleavings = 2
	}
	for yield := range interleavings {
		if got := run(yield + 1); got != want {
			t.Fatalf("interleaving %d:\n%s\nwant\n%s", yield+1, got, want)
		}
	}
}

// spin wastes a random moment without fake time passing.
func spin(rng *rand.Rand) {
	for range rng.IntN(3) {
		ch := make(chan struct{})
		go close(ch)
		<-ch
	}
}

// The air is exactly as fast as wanted when nobody is slow.
func TestPace(t *testing.T) {
	for _, speed := range []float64{1, 4, 0.5} {
		synctest.Test(t, func(t *testing.T) {
			cfg := dry()
			cfg.Speed = &speed
			p := attach(t, running(t, cfg), "a")
			buf := make([]float32, 480)
			start := time.Now()
			const blocks = 300
			for range blocks {
				if _, _, err := p.Read(buf); err != nil {
					t.Fatal(err)
				}
			}
			want := time.Duration(blocks * 10 / speed * float64(time.Millisecond))
			// A block is given out on a tick, half a block long.
			if got := time.Since(start); got > want || got < want-time.Duration(10/speed*float64(time.Millisecond)) {
				t.Errorf("speed %g: %d blocks took %v, want %v", speed, blocks, got, want)
			}
			if s := p.air.Stats(); math.Abs(s.RealTime/speed-1) > 0.01 {
				t.Errorf("speed %g: statistics say %.3f times real time", speed, s.RealTime)
			}
		})
	}
}

// A station that reads late makes time slower for all and loses nothing.
func TestSlowReaderLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := dry()
		cfg.Paths = []AirPath{{From: "a", To: "b", DelayMS: new(0.0)}}
		a := running(t, cfg)
		pa, pb := attach(t, a, "a"), attach(t, a, "b")
		const n = 480 * 200
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(i%1000) / 1000
		}
		go idle(pa)
		go pa.Write(x)
		rng := rand.New(rand.NewPCG(seed, 1))
		start := time.Now()
		var got []float32
		buf := make([]float32, 333) // blocks and reads need not agree
		for len(got) < n+5000 {
			time.Sleep(time.Duration(rng.IntN(40)) * time.Millisecond)
			k, lost, err := pb.Read(buf)
			if err != nil || lost != 0 || k != len(buf) {
				t.Fatalf("Read: %d, %d lost, %v", k, lost, err)
			}
			got = append(got, buf...)
		}
		if took, least := time.Since(start), 2*time.Second; took < least {
			t.Errorf("took %v: the reader was not waited for", took)
		}
		begin := slices.IndexFunc(got, func(v float32) bool { return v > 0.0005 }) - 1
		for i, want := range x {
			if math.Abs(float64(got[begin+i]-want)) > 1e-5 {
				t.Fatalf("sample %d is %g, want %g", i, got[begin+i], want)
			}
		}
	})
}

// Latency is honest: what is written at a moment is heard, without distance,
// after out and in, less what the queue had free.
func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := dry()
		cfg.Room.OwnEcho, cfg.Room.OwnDistanceM = new(true), new(0.0)
		cfg.Station.BufferInMS, cfg.Station.BufferOutMS = new(15.0), new(25.0)
		p := attach(t, running(t, cfg), "a")
		in, out := p.Latency()
		if in != 15*time.Millisecond || out != 35*time.Millisecond {
			t.Fatalf("latencies %v and %v, want 15 ms, and 25 ms with a queue of 10 ms", in, out)
		}
		buf := make([]float32, 480)
		read := 0
		for range 10 {
			if _, _, err := p.Read(buf); err != nil {
				t.Fatal(err)
			}
			read += len(buf)
		}
		x := make([]float32, 480)
		x[479] = 0.5
		if err := p.Write(x); err != nil { // fills the queue and returns at once
			t.Fatal(err)
		}
		// The last sample leaves when out is over, and is heard when in is over
		// after that.
		want := read + int((in+out)*48000/time.Second) - 1
		for range 20 {
			if _, _, err := p.Read(buf); err != nil {
				t.Fatal(err)
			}
			if i := slices.IndexFunc(buf, func(v float32) bool { return v > 0.4 }); i >= 0 {
				if got := read + i; got != want {
					t.Errorf("heard at sample %d, want %d", got, want)
				}
				return
			}
			read += len(buf)
		}
		t.Error("never heard")
	})
}

// Write takes a block at once and then blocks until it is played; a long one
// is not interrupted.
func TestWriteBlocksWhileTheQueueIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := running(t, dry())
		p := attach(t, a, "a")
		wrote := make(chan int, 10)
		go func() {
			for i := range 3 {
				if err := p.Write(make([]float32, 480)); err != nil {
					t.Error(err)
				}
				wrote <- i
			}
		}()
		synctest.Wait()
		if len(wrote) != 1 {
			t.Fatalf("%d blocks were accepted before the first was played, want 1", len(wrote))
		}
		buf := make([]float32, 480)
		for want := 2; want <= 3; want++ {
			if _, _, err := p.Read(buf); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if len(wrote) != want {
				t.Fatalf("%d blocks accepted, want %d", len(wrote), want)
			}
		}
	})
}

// A station that does not read stops the world, which is said after 5 s; when
// it leaves, the world goes on.
func TestStalledStation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, err := NewAir(dry())
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var warned []string
		a.Warn = func(s string) {
			mu.Lock()
			defer mu.Unlock()
			warned = append(warned, s)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { a.Run(ctx) })
		good, bad := attach(t, a, "good"), attach(t, a, "bad")
		all.Go(func() { idle(good) })
		time.Sleep(4 * time.Second)
		if got := a.Stats().Time; got > 20*time.Millisecond {
			t.Errorf("the time went on for %v without the bad station", got)
		}
		time.Sleep(2 * time.Second)
		mu.Lock()
		if len(warned) != 1 || !strings.Contains(warned[0], `"bad"`) {
			t.Errorf("warnings: %q, want one about the bad station", warned)
		}
		mu.Unlock()
		before := a.Stats().Time
		bad.Close()
		time.Sleep(time.Second)
		if got := a.Stats().Time - before; got < time.Second-20*time.Millisecond || got > time.Second+arrears+20*time.Millisecond {
			t.Errorf("after it left %v went by in a second", got)
		}
		cancel()
		all.Wait()
	})
}

func TestNamesAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, err := NewAir(dry())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { a.Run(ctx) })
		p, q := attach(t, a, "a"), attach(t, a, "b")
		for _, name := range []string{"", "a", "x\x00", "\xff", strings.Repeat("x", 65)} {
			if _, err := a.Attach(name); !errors.Is(err, ErrAir) {
				t.Errorf("Attach(%q): %v, want ErrAir", name, err)
			}
		}
		all.Go(func() { idle(q) })

		// Close wakes a blocked reader and a blocked writer.
		all.Go(func() {
			if _, _, err := p.Read(make([]float32, 48000*1000)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Read: %v, want net.ErrClosed", err)
			}
		})
		all.Go(func() {
			if err := p.Write(make([]float32, 48000*1000)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Write: %v, want net.ErrClosed", err)
			}
		})
		time.Sleep(time.Second)
		for range 2 {
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := p.Write([]float32{1}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Write: %v, want net.ErrClosed", err)
		}

		// The name is free again, and the end of the air ends everything.
		p = attach(t, a, "a")
		all.Go(func() {
			if _, _, err := p.Read(make([]float32, 48000*1000)); !errors.Is(err, io.EOF) {
				t.Errorf("Read: %v, want io.EOF", err)
			}
		})
		time.Sleep(time.Second)
		cancel()
		all.Wait()
		if err := p.Write([]float32{1}); !errors.Is(err, io.EOF) {
			t.Errorf("Write: %v, want io.EOF", err)
		}
		if _, err := a.Attach("c"); !errors.Is(err, ErrAir) {
			t.Errorf("Attach after the end: %v, want ErrAir", err)
		}
	})
}

// 50 stations come and go while two others talk, who notice nothing.
func TestComingAndGoing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := dry()
		cfg.Paths = []AirPath{
			{From: "a", To: "b", DelayMS: new(0.0)},
			{From: "a", To: "guest 20", DelayMS: new(500.0)}, // a's past must be kept for longer from then on
			{From: "b", To: "guest 30", RT60: new(2.0)},
		}
		a := running(t, cfg)
		pa, pb := attach(t, a, "a"), attach(t, a, "b")
		go idle(pa)
		x := make([]float32, 480*100)
		for i := range x {
			x[i] = float32(i%480) / 480
		}
		go pa.Write(x)
		go func() {
			for i := range 50 {
				p := attach(t, a, fmt.Sprint("guest ", i))
				go idle(p)
				time.Sleep(13 * time.Millisecond)
				p.Close()
			}
		}()
		var got []float32
		buf := make([]float32, 480)
		for len(got) < 480*120 {
			if _, _, err := pb.Read(buf); err != nil {
				t.Fatal(err)
			}
			got = append(got, buf...)
		}
		begin := slices.IndexFunc(got, func(v float32) bool { return v > 0.001 }) - 1
		for i, want := range x {
			if math.Abs(float64(got[begin+i]-want)) > 1e-5 {
				t.Fatalf("sample %d is %g, want %g", i, got[begin+i], want)
			}
		}
	})
}

// Speed 0 is as fast as the stations: a simulated minute, outside a bubble.
func TestAsFastAsTheStationsAllow(t *testing.T) {
	cfg := dry()
	cfg.Speed = new(0.0)
	p := attach(t, running(t, cfg), "a")
	if n, lost, err := p.Read(make([]float32, 48000*60)); n != 48000*60 || lost != 0 || err != nil {
		t.Errorf("Read: %d, %d lost, %v", n, lost, err)
	}
}

// TestPlug: the plug of a station that plays is pulled and put in again by hand.
func TestPlug(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := dry()
		a := running(t, cfg)
		if err := a.Plug("a", false); !errors.Is(err, ErrAir) {
			t.Errorf("a plug of nobody: %v", err)
		}
		playing, listening := attach(t, a, "a"), attach(t, a, "b")
		defer playing.Close()
		defer listening.Close()
		go idle(playing)
		go func() {
			for x := tone(1000, 0.1, a.Rate(), a.Rate()/100); playing.Write(x) == nil; {
			}
		}()
		x := make([]float32, a.Rate()/2)
		for i, in := range []bool{true, false, true} {
			if i > 0 {
				if err := a.Plug("a", in); err != nil {
					t.Fatal(err)
				}
			}
			if _, _, err := listening.Read(x); err != nil {
				t.Fatal(err)
			}
			want := 0.0
			if in {
				want = 0.01
			}
			// What is in the buffers and on its way comes first.
			if p := power(x[len(x)/2:]); math.Abs(p-want) > 1e-3*0.01 {
				t.Errorf("seed %d, plug in: %v: power %g, want %g", seed, in, p, want)
			}
		}
	})
}
