package sims

import (
	"context"
	"errors"
	"io"
	"math"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lightsong/phy/audio"
)

// served runs an air behind a socket and returns the path and what it warns of.
func served(t *testing.T, cfg AirConfig) (path string, warned func() []string, stop func()) {
	t.Helper()
	a, err := NewAir(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var list []string
	a.Warn = func(s string) {
		mu.Lock()
		defer mu.Unlock()
		list = append(list, s)
	}
	path = filepath.Join(t.TempDir(), "air")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() {
		if err := a.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	})
	all.Go(func() {
		if err := a.Serve(ctx, listener); !errors.Is(err, context.Canceled) {
			t.Errorf("Serve: %v", err)
		}
	})
	stop = func() {
		cancel()
		all.Wait()
	}
	t.Cleanup(stop)
	return path, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(list)
	}, stop
}

func dial(t *testing.T, path, name string) audio.Stream {
	t.Helper()
	s, err := audio.DialAir(t.Context(), path, name, 48000)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// fast is dry, and as fast as the stations allow.
func fast() AirConfig {
	cfg := dry()
	cfg.Speed = new(0.0)
	return cfg
}

// eventually waits for something that another process's goroutine does.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for range 1000 {
		if holds() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("never: %s", what)
}

// A burst written block by block by one goroutine while another reads crosses
// the socket whole, whatever the machine is doing; the time goes on meanwhile
// as fast as it can.
func TestBurstOverTheSocketIsNotInterrupted(t *testing.T) {
	cfg := fast()
	cfg.Paths = []AirPath{{From: "a", To: "b", DelayMS: new(0.0)}}
	path, warned, _ := served(t, cfg)
	a, b := dial(t, path, "a"), dial(t, path, "b")
	var all sync.WaitGroup
	stop := make(chan struct{})
	all.Go(func() {
		buf := make([]float32, 480)
		for {
			if _, _, err := a.Read(buf); err != nil {
				t.Error(err)
				return
			}
			select {
			case <-stop:
				a.Close()
				return
			default:
			}
		}
	})
	x := make([]float32, 480*100+77)
	for i := range x {
		x[i] = float32(i%1000+1) / 1000
	}
	const bursts = 3
	all.Go(func() {
		for range bursts {
			for rest := x; len(rest) > 0; {
				n := min(480, len(rest))
				if err := a.Write(rest[:n]); err != nil {
					t.Error(err)
					return
				}
				rest = rest[n:]
			}
			a.(audio.BurstEnder).EndBurst()
			time.Sleep(30 * time.Millisecond)
		}
	})
	var got []float32
	buf := make([]float32, 480)
	loud := 0
	for loud < bursts*len(x) {
		n, lost, err := b.Read(buf)
		if err != nil || lost != 0 || n != len(buf) {
			t.Fatalf("Read: %d, %d lost, %v", n, lost, err)
		}
		for _, v := range buf {
			if v > 0.0005 {
				loud++
				got = append(got, v)
			} else if loud%len(x) != 0 {
				t.Fatalf("silence after %d samples of a burst of %d", loud%len(x), len(x))
			}
		}
	}
	close(stop)
	b.Close()
	all.Wait()
	for i, v := range got {
		if want := x[i%len(x)]; math.Abs(float64(v-want)) > 1e-5 {
			t.Fatalf("sample %d is %g, want %g", i, v, want)
		}
	}
	if w := warned(); len(w) > 0 {
		t.Errorf("warnings: %q", w)
	}
}

// The socket gives what a Port gives: impairments, gaps and latencies.
func TestSocketHearsWhatAPortHears(t *testing.T) {
	cfg := hostile()
	cfg.Speed = new(0.0)
	path, _, _ := served(t, cfg)
	s := dial(t, path, "a")
	local, err := NewAir(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() { local.Run(ctx) })
	p := attach(t, local, "a")
	in, out := s.Latency()
	if wantIn, wantOut := p.Latency(); in != wantIn || out != wantOut {
		t.Errorf("latencies %v, %v, want %v, %v", in, out, wantIn, wantOut)
	}
	x, y := make([]float32, 480), make([]float32, 480)
	gaps := 0
	for i := range 600 {
		_, lost, err := s.Read(x)
		if err != nil {
			t.Fatal(err)
		}
		_, want, err := p.Read(y)
		if err != nil {
			t.Fatal(err)
		}
		if lost != want || !slices.Equal(x, y) {
			t.Fatalf("block %d differs: lost %d, want %d", i, lost, want)
		}
		if lost > 0 {
			gaps++
		}
	}
	if gaps == 0 {
		t.Error("no gap in 6 s, want some of a mean of 12")
	}
	cancel()
	all.Wait()
}

func TestRefusals(t *testing.T) {
	path, _, _ := served(t, fast())
	dial(t, path, "a")
	for _, tt := range []struct {
		name string
		rate int
		want string
	}{
		{"a", 48000, `"a" is already there`},
		{"b", 44100, "runs at 48000 Hz"},
		{"b\n", 48000, "printable"},
		{"", 48000, "1 to 64 octets"},
		{strings.Repeat("x", 65), 48000, "1 to 64 octets"},
	} {
		s, err := audio.DialAir(t.Context(), path, tt.name, tt.rate)
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q at %d Hz: %v, want %q", tt.name, tt.rate, err, tt.want)
		}
	}
	if _, err := audio.DialAir(t.Context(), filepath.Join(t.TempDir(), "none"), "a", 48000); err == nil {
		t.Error("no socket: no error")
	}
}

// A peer that speaks garbage, before or after its hello, is dropped with a
// warning; one that hangs up is not worth one. The others go on.
func TestBadPeersHarmNobody(t *testing.T) {
	hello := audio.AppendAirHello(nil, audio.AirHello{Rate: 48000, Name: "bad"})
	for _, tt := range []struct {
		name string
		says []byte
		warn bool
	}{
		{"http", []byte("GET / HTTP/1.1\r\n\r\n"), true},
		{"another version", []byte("LSAIR\x02\x80\xbb\x00\x00\x01x"), true},
		{"a block too long", append(slices.Clone(hello), 0, 0, 0, 0, 255, 255, 0, 0), true},
		{"a block with losses", append(slices.Clone(hello), 1, 0, 0, 0, 0, 0, 0, 0), true},
		{"nothing", nil, false},
		{"half a hello", hello[:5], true},
		{"only hello", hello, false},
		{"half a block", append(slices.Clone(hello), 0, 0, 0, 0, 1, 0, 0, 0, 9), true},
		{"a block of NaN", append(slices.Clone(hello), 0, 0, 0, 0, 1, 0, 0, 0, 255, 255, 255, 255), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path, warned, _ := served(t, fast())
			good := dial(t, path, "good")
			conn, err := net.Dial("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write(tt.says); err != nil {
				t.Fatal(err)
			}
			if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			buf := make([]float32, 480)
			ended := make(chan struct{})
			go func() {
				io.Copy(io.Discard, conn) // until the air hangs up
				close(ended)
			}()
			hungUp := func() bool {
				select {
				case <-ended:
					return true
				default:
					return false
				}
			}
			for i := 0; i < 50 || !hungUp(); i++ {
				if _, _, err := good.Read(buf); err != nil {
					t.Fatal(err)
				}
				for _, v := range buf {
					if v != v {
						t.Fatal("the good station hears what is not a number")
					}
				}
			}
			conn.Close()
			if tt.warn {
				eventually(t, "a warning", func() bool { return len(warned()) == 1 })
			} else if w := warned(); len(w) > 0 {
				t.Errorf("warnings: %q", w)
			}
			// The name is free again.
			var again audio.Stream
			eventually(t, "the name is free", func() bool {
				again, err = audio.DialAir(t.Context(), path, "bad", 48000)
				return err == nil
			})
			if again != nil {
				again.Close()
			}
		})
	}
}

// The end of the air ends its stations, and Close a station's Read and Write.
func TestEndsOverTheSocket(t *testing.T) {
	path, _, stop := served(t, dry())
	a, b := dial(t, path, "a"), dial(t, path, "b")
	failed := make(chan error, 3)
	long := make([]float32, 48000*1000)
	go func() {
		_, _, err := a.Read(long)
		failed <- err
	}()
	go func() { failed <- a.Write(make([]float32, 48000*1000)) }()
	time.Sleep(20 * time.Millisecond)
	a.Close()
	for range 2 {
		if err := <-failed; !errors.Is(err, net.ErrClosed) {
			t.Errorf("after Close: %v, want net.ErrClosed", err)
		}
	}
	go func() {
		_, _, err := b.Read(long)
		failed <- err
	}()
	time.Sleep(20 * time.Millisecond)
	stop()
	if err := <-failed; err == nil || errors.Is(err, net.ErrClosed) {
		t.Errorf("after the end of the air: %v, want the connection's end", err)
	}
	if err := b.Write([]float32{1}); err == nil {
		t.Error("Write after the end of the air: no error")
	}
}
