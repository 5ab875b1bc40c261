package audio

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The messages of docs/air.md, octet by octet.
func TestAirMessages(t *testing.T) {
	for _, tt := range []struct {
		name string
		got  []byte
		want string
	}{
		{"hello", AppendAirHello(nil, AirHello{Rate: 48000, Name: "alice"}), "LSAIR\x01\x80\xbb\x00\x00\x05alice"},
		{"hello of two channels", AppendAirHello(nil, AirHello{Rate: 48000, Name: "alice", Channels: 2}), "LSAIR\x02\x80\xbb\x00\x00\x05alice\x02"},
		{"welcome", AppendAirWelcome(nil, AirWelcome{Block: 480, In: 480, Out: 960}), "\x00\xe0\x01\x00\x00\xe0\x01\x00\x00\xc0\x03\x00\x00"},
		{"refusal", AppendAirWelcome(nil, AirWelcome{Refusal: "taken"}), "\x01\x05\x00taken"},
		{"silence", AppendAirBlock(nil, make([]float32, 480), 0), "\x00\x00\x00\x00\x00\x00\x00\x00"},
		{"block", AppendAirBlock(nil, []float32{0, 1, -0.5}, 2), "\x02\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x3f\x00\x00\x00\xbf"},
		{"long name", AppendAirHello(nil, AirHello{Rate: 1, Name: strings.Repeat("x", 300)}), "LSAIR\x01\x01\x00\x00\x00\x40" + strings.Repeat("x", 64)},
	} {
		if string(tt.got) != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, tt.got, tt.want)
		}
	}
}

func TestAirBlockReader(t *testing.T) {
	for _, tt := range []struct {
		name  string
		in    []byte
		whole bool
		want  []float32
		lost  int
		err   error
	}{
		{"whole", AppendAirBlock(nil, []float32{1, 0, 2, 3}, 0), true, []float32{1, 0, 2, 3}, 0, nil},
		{"silence", AppendAirBlock(nil, make([]float32, 4), 0), true, make([]float32, 4), 0, nil},
		{"after a gap", AppendAirBlock(nil, []float32{5}, 3), true, []float32{5}, 3, nil},
		{"silence after a gap", AppendAirBlock(nil, nil, 3), true, []float32{0}, 3, nil},
		{"all lost", AppendAirBlock(nil, nil, 4), true, []float32{}, 4, nil},
		{"too few of a whole one", AppendAirBlock(nil, []float32{5}, 2), true, nil, 0, ErrAirProtocol},
		{"too many lost", AppendAirBlock(nil, nil, 5), true, nil, 0, ErrAirProtocol},
		{"a client's part", AppendAirBlock(nil, []float32{5}, 0), false, []float32{5}, 0, nil},
		{"a client's silence", AppendAirBlock(nil, nil, 0), false, []float32{}, 0, nil},
		{"a client's loss", AppendAirBlock(nil, nil, 1), false, nil, 0, ErrAirProtocol},
		{"too long", AppendAirBlock(nil, []float32{1, 2, 3, 4, 5}, 0), false, nil, 0, ErrAirProtocol},
		{"longer than any", []byte{0, 0, 0, 0, 255, 255, 255, 255}, false, nil, 0, ErrAirProtocol},
		{"the end", nil, false, nil, 0, io.EOF},
		{"the end in the header", make([]byte, 5), false, nil, 0, io.ErrUnexpectedEOF},
		{"the end in the samples", AppendAirBlock(nil, []float32{1, 2}, 0)[:8], false, nil, 0, io.ErrUnexpectedEOF},
	} {
		got, lost, err := NewAirBlockReader(bytes.NewReader(tt.in), 4).Read(tt.whole)
		if !errors.Is(err, tt.err) || lost != tt.lost || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, %d lost, %v; want %v, %d, %v", tt.name, got, lost, err, tt.want, tt.lost, tt.err)
		}
	}
}

func TestAirBlockReaderDoesNotAllocate(t *testing.T) {
	message := AppendAirBlock(nil, slices.Repeat([]float32{0.5}, 480), 0)
	in := bytes.NewReader(message)
	r := NewAirBlockReader(in, 480)
	if n := testing.AllocsPerRun(100, func() {
		in.Reset(message)
		if _, _, err := r.Read(true); err != nil {
			t.Fatal(err)
		}
		message = AppendAirBlock(message[:0], r.samples, 0)
	}); n != 0 {
		t.Errorf("%v allocations per block, want 0", n)
	}
}

// fakeAir answers a dial with says, and hangs up.
func fakeAir(t *testing.T, says []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "air")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		if _, err := ReadAirHello(conn); err == nil {
			conn.Write(says)
		}
	}()
	return path
}

func TestDialSomethingElse(t *testing.T) {
	for _, tt := range []struct {
		name string
		says []byte
		want error
	}{
		{"garbage", []byte("HTTP/1.1 400"), ErrAirProtocol},
		{"nothing", nil, io.EOF},
		{"half a welcome", make([]byte, 4), io.ErrUnexpectedEOF},
		{"a block of no samples", make([]byte, 13), ErrAirProtocol},
		{"a refusal without a reason", []byte{1, 0, 0}, ErrAirProtocol},
	} {
		s, err := DialAir(t.Context(), fakeAir(t, tt.says), "a", 48000)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if s != nil {
			t.Errorf("%s: a stream, and not nil", tt.name)
		}
	}
}

// A peer that never answers costs no longer than the context.
func TestDialEndsWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "air")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := DialAir(ctx, path, "a", 48000); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("DialAir: %v, want the context's error", err)
	}
}

// A block that does not keep the protocol ends the stream.
func TestStreamOfGarbage(t *testing.T) {
	says := AppendAirWelcome(nil, AirWelcome{Block: 480, In: 480, Out: 960})
	s, err := DialAir(t.Context(), fakeAir(t, AppendAirBlock(says, []float32{1}, 0)), "a", 48000)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if in, out := s.Latency(); in != 10*time.Millisecond || out != 20*time.Millisecond {
		t.Errorf("latencies %v, %v, want 10 and 20 ms", in, out)
	}
	for range 2 {
		if n, _, err := s.Read(make([]float32, 480)); n != 0 || err == nil {
			t.Errorf("Read: %d, %v, want an error", n, err)
		}
	}
}

func FuzzAirHello(f *testing.F) {
	f.Add(AppendAirHello(nil, AirHello{Rate: 48000, Name: "alice"}))
	f.Add([]byte("LSAIR\x01\x00\x00\x00\x00\x00"))
	f.Add([]byte("LSAIR\x02\x80\xbb\x00\x00\x01x"))
	f.Add([]byte("LSAIR\x02\x80\xbb\x00\x00\x01x\x02"))
	f.Add([]byte("LSAIR\x02\x80\xbb\x00\x00\x01x\x03"))
	f.Add([]byte("LSAIR\x03\x80\xbb\x00\x00\x01x\x02"))
	f.Fuzz(func(t *testing.T, in []byte) {
		h, err := ReadAirHello(bytes.NewReader(in))
		if err != nil {
			if !errors.Is(err, ErrAirProtocol) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("error %v is none of the protocol's", err)
			}
			return
		}
		if again := AppendAirHello(nil, h); !bytes.HasPrefix(in, again) {
			t.Errorf("%x was read as %+v, which is written as %x", in, h, again)
		}
	})
}

func FuzzAirWelcome(f *testing.F) {
	f.Add(AppendAirWelcome(nil, AirWelcome{Block: 480, In: 480, Out: 960}))
	f.Add(AppendAirWelcome(nil, AirWelcome{Refusal: "taken"}))
	f.Add([]byte{1, 255, 255})
	f.Fuzz(func(t *testing.T, in []byte) {
		w, err := ReadAirWelcome(bytes.NewReader(in))
		if err != nil {
			if !errors.Is(err, ErrAirProtocol) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("error %v is none of the protocol's", err)
			}
			return
		}
		if again := AppendAirWelcome(nil, w); !bytes.HasPrefix(in, again) {
			t.Errorf("%x was read as %+v, which is written as %x", in, w, again)
		}
	})
}

func FuzzAirBlock(f *testing.F) {
	f.Add(AppendAirBlock(nil, []float32{1, 2, 3, 4, 5, 6, 7, 8}, 0), true)
	f.Add(AppendAirBlock(nil, []float32{1, float32(math.NaN())}, 6), true)
	f.Add(AppendAirBlock(nil, []float32{1}, 0), false)
	f.Add([]byte{255, 255, 255, 255, 1, 0, 0, 0}, true)
	f.Fuzz(func(t *testing.T, in []byte, whole bool) {
		const size = 8
		r := NewAirBlockReader(bytes.NewReader(in), size)
		for left := len(in) / 8; ; left-- {
			x, lost, err := r.Read(whole)
			if err != nil {
				if !errors.Is(err, ErrAirProtocol) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("error %v is none of the protocol's", err)
				}
				return
			}
			if left == 0 {
				t.Fatal("more blocks than the octets hold")
			}
			if len(x)+lost > size || whole && len(x)+lost != size {
				t.Errorf("%d samples and %d lost in a block of %d", len(x), lost, size)
			}
		}
	})
}

// TestAirStationAnswersInTime: what a station plays on account of what it has just heard
// goes out with the next block, as with a sound card, although the air asks for that
// block as soon as it has given the last one.
func TestAirStationAnswersInTime(t *testing.T) {
	const block, rate = MaxAirBlock, 8000 // half a second, of which the station has four tenths
	path := filepath.Join(t.TempDir(), "air")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	played := make(chan int, 8) // samples in each block of the station's
	go func() {
		defer close(played)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		if _, err := ReadAirHello(conn); err != nil {
			return
		}
		conn.Write(AppendAirWelcome(nil, AirWelcome{Block: block}))
		blocks := NewAirBlockReader(conn, block)
		tick := time.NewTicker(time.Second * block / rate)
		defer tick.Stop()
		for range cap(played) {
			got, _, err := blocks.Read(false)
			if err != nil {
				return
			}
			played <- len(got)
			<-tick.C
			if _, err := conn.Write(AppendAirBlock(nil, nil, 0)); err != nil {
				return
			}
		}
	}()
	s, err := DialAir(t.Context(), path, "a", rate)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	heard := make([]float32, block)
	for i := range 6 {
		if _, _, err := s.Read(heard); err != nil {
			t.Fatal(err)
		}
		if i != 4 {
			continue
		}
		done := make(chan error, 1)
		go func() {
			time.Sleep(20 * time.Millisecond) // a machine that thinks
			err := s.Write(slices.Repeat([]float32{0.5}, block))
			s.(BurstEnder).EndBurst()
			done <- err
		}()
		if _, _, err := s.Read(heard); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		break
	}
	s.Close()
	n := 0
	for got := range played {
		if n++; (got == block) != (n == 6) {
			t.Errorf("block %d of the station's has %d samples; the answer was to be in the sixth", n, got)
		}
	}
	if n < 6 {
		t.Errorf("%d blocks, want 6", n)
	}
}
