package emu_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/cmplx"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lightsong/firmware/emu"
	"lightsong/firmware/emu/emutest"
)

const (
	trailer = 14
	header  = 8
	tick    = 500 * time.Nanosecond
	sent    = 0
	ranDry  = 1
	carrier = 3
)

var divider = [6]int{1, 2, 4, 8, 16, 50}

// layOut is the body of a packet as PROTOCOL.md section 4 lays it out.
func layOut(packet []byte) []byte {
	var body []byte
	for len(packet) > 32 {
		body = append(append(body, packet[:32]...), 0xA6)
		packet = packet[32:]
	}
	return append(body, packet...)
}

func random(rnd *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

type heard struct {
	body       []byte
	status     byte
	rate       byte
	violations int
	edges      byte // slots: noise
	level      byte // slots: ratio
	start, end uint32
}

func parseRX(f emu.Frame) heard {
	c := f.Content
	t := c[len(c)-trailer:]
	return heard{
		body: c[1+header : len(c)-trailer], status: t[0], rate: t[1],
		violations: int(binary.LittleEndian.Uint16(t[2:])), edges: t[4], level: t[5],
		start: binary.LittleEndian.Uint32(t[6:]), end: binary.LittleEndian.Uint32(t[10:]),
	}
}

// hears empties what a board heard.
func (r *rig) hears(board int) []heard {
	var all []heard
	for {
		f, ok := r.Hosts[board].Take(emu.RX)
		if !ok {
			return all
		}
		all = append(all, parseRX(f))
	}
}

// clean asserts what must hold in every run: no octet lost in a UART, no edge of
// light off the grid.
func (r *rig) clean() {
	r.t.Helper()
	for i := range r.Hosts {
		p := r.report(i)
		if p.Overruns != 0 || p.Overwritten != 0 || p.LateEdges != 0 || r.Hosts[i].Bad != 0 {
			r.t.Errorf("board %d: %d UART overruns, %d overwritten, %d of %d edges late, %d bad frames; want 0", i, p.Overruns, p.Overwritten, p.LateEdges, p.Edges, r.Hosts[i].Bad)
		}
		// Seen each 16 cycles, so that of a call within the deepest loop (2 octets) or
		// of an interrupt (5) not all is seen.
		if end := r.variablesEnd(); p.Stack < end+7 {
			r.t.Errorf("board %d: the stack came down to %#x, the variables end at %#x", i, p.Stack, end)
		}
	}
}

// variablesEnd is the first address of RAM behind the image's variables.
func (r *rig) variablesEnd() uint32 {
	r.t.Helper()
	out, err := exec.Command("avr-nm", filepath.Join(emutest.Folder(r.t), "lightsong-atmega328p.elf")).Output()
	if err != nil {
		r.t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		var address uint32
		var kind, name string
		if n, _ := fmt.Sscanf(line, "%x %s %s", &address, &kind, &name); n == 3 && name == "__bss_end" {
			return address & 0xFFFF
		}
	}
	r.t.Fatal("the image has no __bss_end")
	return 0
}

// oneWay sends n packets from board 0 and returns the line's rate in bit/s, body
// octets from the start of the first frame to the start of the last, with what
// board 1 heard.
func (r *rig) oneWay(n, packet int, bodies *[][]byte) (float64, []heard) {
	r.t.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		body := layOut(random(rnd, packet))
		*bodies = append(*bodies, body)
		r.Hosts[0].Send(byte(i), 0, 0, 336, body)
	}
	var first, last uint32
	for i := range n {
		f := r.await(0, emu.TXDone, time.Second)
		last = binary.LittleEndian.Uint32(f.Content[3:])
		if i == 0 {
			first = last
		}
		if f.Content[2] != sent {
			r.t.Errorf("frame %d: status %d, want 0", i, f.Content[2])
		}
	}
	r.run(10 * time.Millisecond)
	bits := float64(8 * len((*bodies)[0]) * (n - 1))
	return bits / (float64(last-first) * tick.Seconds()), r.hears(1)
}

// 1400-octet packets one way, USB service each 1 ms. The air takes 16 µs an
// octet: with 12 octets of overhead and 250 µs between frames 490 kb/s.
func TestOneWay(t *testing.T) {
	tests := []struct {
		ppm              float64
		jitter, distort  time.Duration
		baud             uint32
		frames, accurate int
		want             float64
	}{
		{ppm: 20000, jitter: 50, baud: 1000000, frames: 30, want: 490e3},
		{ppm: -20000, jitter: 50, baud: 1000000, frames: 30, want: 490e3},
		{ppm: 20000, jitter: 50, baud: 2000000, frames: 20, want: 489e3},
		// Limits: the loop's margin of 8 cycles (500 ns) less its own hunting and lag.
		{ppm: -20000, jitter: 62, baud: 1000000, frames: 12, want: 489e3},
		{ppm: 0, jitter: 75, baud: 1000000, frames: 12, want: 489e3},
		{ppm: 0, distort: 300, baud: 1000000, frames: 8, want: 489e3},
		{ppm: 0, distort: -300, baud: 1000000, frames: 8, want: 489e3},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%gppm_%v_%v_%d", tt.ppm, tt.jitter, tt.distort, tt.baud), func(t *testing.T) {
			r := start(t, emu.Config{PPM: []float64{0, tt.ppm}, Jitter: tt.jitter, Distortion: tt.distort, Seed: 1})
			r.open(tt.baud)
			var bodies [][]byte
			rate, all := r.oneWay(tt.frames, 1400, &bodies)
			t.Logf("%.1f kb/s raw, %.1f without markers", rate/1e3, rate/1e3*1400/float64(len(bodies[0])))
			if rate < tt.want {
				t.Errorf("rate %.1f kb/s, want at least %.1f", rate/1e3, tt.want/1e3)
			}
			if len(all) != len(bodies) {
				t.Fatalf("heard %d frames, want %d", len(all), len(bodies))
			}
			for i, h := range all {
				if !bytes.Equal(h.body, bodies[i]) || h.status != 0 {
					t.Errorf("frame %d differs: status %d, %d violations", i, h.status, h.violations)
				}
				// The sender's octet is 256 cycles of its clock; ours counts ticks of 8 cycles.
				ideal := float64(32 * (len(h.body) + header))
				ppm := (float64(h.end-h.start)/ideal - 1) * 1e6
				if math.Abs(ppm-tt.ppm) > 500 {
					t.Errorf("frame %d: clocks seem %.0f ppm apart, want %.0f ± 500", i, ppm, tt.ppm)
				}
			}
			r.clean()
		})
	}
}

// The figures of README: 250 packets of 1400 octets one way.
func BenchmarkOneWay(b *testing.B) {
	for _, ppm := range []float64{20000, -20000} {
		for _, baud := range []uint32{1000000, 2000000} {
			b.Run(fmt.Sprintf("%gppm/%dbaud", ppm, baud), func(b *testing.B) {
				for b.Loop() {
					r := start(b, emu.Config{PPM: []float64{0, ppm}, Jitter: 50, Seed: 5})
					r.open(baud)
					var bodies [][]byte
					rate, all := r.oneWay(250, 1400, &bodies)
					whole := 0
					for i, h := range all {
						if i < len(bodies) && bytes.Equal(h.body, bodies[i]) {
							whole++
						}
					}
					sent, heard := r.report(0), r.report(1)
					b.ReportMetric(rate/1e3, "kbit/s")
					b.ReportMetric(float64(len(bodies)-whole), "lost")
					b.ReportMetric(float64(sent.Overruns+heard.Overruns), "overruns")
					b.ReportMetric(float64(sent.LateEdges), "late-edges")
					_ = r.Close()
				}
			})
		}
	}
}

// How much jitter and distortion the receiver stands: packets of 1400 octets
// lost of 60.
func BenchmarkLimits(b *testing.B) {
	for _, tt := range []struct {
		ppm             float64
		jitter, distort time.Duration
	}{{20000, 50, 0}, {20000, 62, 0}, {20000, 75, 0}, {20000, 94, 0}, {0, 75, 0}, {0, 94, 0}, {0, 0, 300}, {0, 0, 375}, {0, 0, 437}} {
		b.Run(fmt.Sprintf("%gppm/%v-rms/%v-distortion", tt.ppm, tt.jitter, tt.distort), func(b *testing.B) {
			for b.Loop() {
				r := start(b, emu.Config{PPM: []float64{0, tt.ppm}, Jitter: tt.jitter, Distortion: tt.distort, Seed: 6})
				r.open(1000000)
				var bodies [][]byte
				_, all := r.oneWay(60, 1400, &bodies)
				whole := 0
				for _, h := range all {
					for _, body := range bodies {
						if bytes.Equal(h.body, body) {
							whole++
						}
					}
				}
				b.ReportMetric(float64(len(bodies)-whole), "lost")
				_ = r.Close()
			}
		})
	}
}

// All rates, found out by the receiver; bodies of the octets that need escapes; to two boards at once.
func TestRates(t *testing.T) {
	r := start(t, emu.Config{Boards: 3, PPM: []float64{0, 15000, -15000}, Jitter: 40, Seed: 2})
	r.open(1000000)
	rnd := rand.New(rand.NewPCG(3, 4))
	for rate := range divider {
		for _, body := range [][]byte{
			{0}, {0x7E}, random(rnd, 60), bytes.Repeat([]byte{0x7C, 0x7D, 0x7E, 0xFF}, 16), bytes.Repeat([]byte{0x55}, 40),
		} {
			r.Hosts[0].Send(1, byte(rate), 0, len(body), body)
			r.await(0, emu.TXDone, time.Second)
			r.run(5 * time.Millisecond)
			for board := 1; board <= 2; board++ {
				all := r.hears(board)
				if len(all) != 1 || !bytes.Equal(all[0].body, body) || int(all[0].rate) != rate || all[0].violations != 0 {
					t.Errorf("rate %d, board %d: heard %+v, want %x", rate, board, all, body)
					continue
				}
				// Rising edges of a body whose chips are known, from the middle of its first bit.
				// At its end the LED's way back to idle light may be one more.
				if want := risingEdges(body); all[0].edges != byte(want) && all[0].edges != byte(want+1) {
					t.Errorf("rate %d, board %d: %d rising edges, want %d", rate, board, all[0].edges, want)
				}
			}
		}
	}
	r.clean()
}

func risingEdges(body []byte) int {
	edges, level, chip := 0, 1, 0
	for _, v := range body {
		for bit := 7; bit >= 0; bit-- {
			b := int(v >> bit & 1)
			for _, now := range []int{b, 1 - b} {
				if chip >= 2 && now > level {
					edges++
				}
				if chip == 1 {
					edges = 0 // the count begins a moment after this chip did
				}
				level = now
				chip++
			}
		}
	}
	return edges
}

// Frames after pauses of any length, out of sleep, are all found, at every rate and
// with clocks 2 % apart. Jitter in proportion: 50 ns for each µs of the chip.
func TestFramesAfterPauses(t *testing.T) {
	for _, ppm := range []float64{20000, -20000} {
		r := start(t, emu.Config{PPM: []float64{0, ppm}, Jitter: 50, Seed: 12})
		r.open(1000000)
		rnd := rand.New(rand.NewPCG(15, 16))
		for rate, n := range []int{40, 40, 30, 10, 4, 2} {
			for i := range n {
				body := random(rnd, 40+rnd.IntN(40))
				if i == n-1 && rate > 2 {
					body = random(rnd, 900)
				}
				r.Hosts[0].Send(byte(i), byte(rate), 0, 40, body)
				if f := r.await(0, emu.TXDone, 2*time.Second); f.Content[2] != sent {
					t.Errorf("%g ppm, rate %d: status %d", ppm, rate, f.Content[2])
				}
				r.run(time.Duration(3+rnd.IntN(4)) * time.Millisecond)
				if all := r.hears(1); len(all) != 1 || !bytes.Equal(all[0].body, body) {
					t.Errorf("%g ppm, rate %d: frame %d of %d octets: %d frames heard", ppm, rate, i, len(body), len(all))
				}
			}
		}
		r.clean()
	}
}

// There and back, USB service each 1 ms: for 64 octets each way two waits for USB (2 ms),
// 0.8 ms of serial line twice (once in, once out) and 1.2 ms of air; 1400 octets stream.
func TestPingPong(t *testing.T) {
	for _, tt := range []struct {
		octets int
		want   time.Duration
	}{{64, 8 * time.Millisecond}, {1400, 56 * time.Millisecond}} {
		r := start(t, emu.Config{PPM: []float64{0, 10000}, Jitter: 50, Seed: 13})
		r.open(1000000)
		rnd := rand.New(rand.NewPCG(17, 18))
		const n = 8
		began := r.Now()
		for i := range n {
			for from := range 2 {
				body := random(rnd, tt.octets)
				r.Hosts[from].Send(byte(i), 0, 0, 336, body)
				if h := parseRX(r.await(1-from, emu.RX, time.Second)); !bytes.Equal(h.body, body) {
					t.Errorf("%d octets: frame %d from %d differs", tt.octets, i, from)
				}
			}
		}
		got := (r.Now() - began) / n
		t.Logf("%d octets there and back: %v", tt.octets, got)
		if got > tt.want {
			t.Errorf("%d octets there and back: %v, want at most %v", tt.octets, got, tt.want)
		}
		r.clean()
	}
}

// A host that pushes as fast as credit lets it while its board hears light at
// full rate: no octet is lost, no frame missed, and what was pushed leaves when
// the medium is free.
func TestPushWhileHearing(t *testing.T) {
	for _, baud := range []uint32{1000000, 2000000} {
		r := start(t, emu.Config{Seed: 3})
		r.open(baud)
		r.ask(1, emu.Ack, emu.Configure, 0x3f, 2, 0, 0xE8, 0x03) // gap 1 ms, longer than the other's
		rnd := rand.New(rand.NewPCG(5, 6))
		const frames = 6
		var bodies [][]byte
		for i := range frames {
			bodies = append(bodies, random(rnd, 1400))
			r.Hosts[0].Send(byte(i), 0, 0, 336, bodies[i])
		}
		r.run(8 * time.Millisecond)
		for i := range 3 {
			r.Hosts[1].Send(byte(i), 0, 255, 1400, random(rnd, 1400))
		}
		r.run(300 * time.Millisecond)
		all := r.hears(1)
		if len(all) != frames {
			t.Fatalf("%d baud: heard %d frames of %d", baud, len(all), frames)
		}
		for i, h := range all {
			if !bytes.Equal(h.body, bodies[i]) {
				t.Errorf("%d baud: frame %d differs", baud, i)
			}
		}
		if back := r.hears(0); len(back) != 3 {
			t.Errorf("%d baud: %d frames came back, want 3", baud, len(back))
		}
		r.clean()
	}
}

func TestVersionRefused(t *testing.T) {
	r := start(t, emu.Config{Boards: 1})
	r.run(20 * time.Millisecond)
	f := r.ask(0, emu.Error, emu.Hello, 2, 0)
	if want := "protocol 2 asked, this board speaks 1"; f.Content[1] != 1 || string(f.Content[3:]) != want {
		t.Errorf("answer % x %q, want code 1, %q", f.Content, f.Content[3:], want)
	}
}

// Speeds up and down, and back to 115200 where the host keeps silent.
func TestSpeed(t *testing.T) {
	r := start(t, emu.Config{Boards: 1, PPM: []float64{15000}})
	r.run(20 * time.Millisecond)
	r.ask(0, emu.Info, emu.Hello, 1, 0)
	change := func(baud uint32) {
		t.Helper()
		f := r.ask(0, emu.BaudAnswer, binary.LittleEndian.AppendUint32([]byte{emu.Baud}, baud)...)
		if got := binary.LittleEndian.Uint32(f.Content[1:]); got != baud {
			t.Fatalf("speed %d, want %d", got, baud)
		}
		if err := r.Speed(0, baud); err != nil {
			t.Fatal(err)
		}
		r.run(2 * time.Millisecond)
	}
	for _, baud := range []uint32{250000, 500000, 1000000, 2000000} {
		change(baud)
		r.ask(0, emu.Info, emu.Hello, 1, 0)
	}
	if f := r.ask(0, emu.Error, emu.Baud, 1, 2, 3, 4); f.Content[1] != 3 {
		t.Errorf("speed nobody has: error %d, want 3", f.Content[1])
	}
	// Kept for 3 s of silence, and no longer.
	r.silent = true
	r.run(2500 * time.Millisecond)
	r.ask(0, emu.CreditTold, emu.Credit)
	r.run(3200 * time.Millisecond)
	if err := r.Speed(0, 115200); err != nil {
		t.Fatal(err)
	}
	r.ask(0, emu.Info, emu.Hello, 1, 0)
	// A change that the host never confirms is undone after 500 ms.
	change(1000000)
	r.run(600 * time.Millisecond)
	if err := r.Speed(0, 115200); err != nil {
		t.Fatal(err)
	}
	r.ask(0, emu.Info, emu.Hello, 1, 0)
}

// RESET starts the board anew: at 115200, with its counters at 0.
func TestReset(t *testing.T) {
	r := start(t, emu.Config{Boards: 1})
	r.open(1000000)
	r.Hosts[0].Say(emu.Reset)
	r.run(60 * time.Millisecond)
	if err := r.Speed(0, 115200); err != nil {
		t.Fatal(err)
	}
	r.ask(0, emu.Info, emu.Hello, 1, 0)
	f := r.ask(0, emu.StatsTold, emu.Stats, 0)
	// HELLO and this question are all it has heard since.
	if n := binary.LittleEndian.Uint32(f.Content[31:]); n != 2 {
		t.Errorf("%d serial frames since the reset, want 2", n)
	}
}

// The host's count from marks and the board's own agree, also after a frame
// longer than the ring.
func TestCredit(t *testing.T) {
	r := start(t, emu.Config{Seed: 4})
	r.open(2000000)
	total := 0
	for i, n := range []int{1, 63, 1400, 2047, 200} {
		body := bytes.Repeat([]byte{0x7D}, n) // doubles on the line
		before := r.Hosts[0].Queued()
		r.Hosts[0].Send(byte(i), 0, 0, min(n, 600), body)
		total += r.Hosts[0].Queued() - before
		f := r.await(0, emu.TXDone, time.Second)
		if f.Content[2] != sent {
			t.Errorf("%d octets: status %d", n, f.Content[2])
		}
		before = r.Hosts[0].Queued()
		r.Hosts[0].Say(emu.Credit)
		total += r.Hosts[0].Queued() - before
		f = r.await(0, emu.CreditTold, time.Second)
		// up to and including the question's closing flag
		if got := binary.LittleEndian.Uint16(f.Content[1:]); got != uint16(total) {
			t.Errorf("%d octets: consumed %d, want %d", n, got, uint16(total))
		}
	}
	r.clean()
}

// A host that does not deliver: filler to the announced length, and said so; the
// next frame is well.
func TestRunsDry(t *testing.T) {
	r := start(t, emu.Config{Seed: 5})
	r.open(1000000)
	rnd := rand.New(rand.NewPCG(7, 8))
	body := random(rnd, 500)
	whole := emu.AppendFrame(nil, emu.TXContent(1, 0, 0, 100, body))
	for _, cut := range []struct {
		octets int
		last   []byte
	}{{300, nil}, {300, []byte{0x7E}}, {300, []byte{0x7C}}} {
		r.Hosts[0].SayRaw(append(bytes.Clone(whole[:cut.octets]), cut.last...))
		r.run(20 * time.Millisecond)
		f, ok := r.Hosts[0].Take(emu.TXDone)
		if !ok || f.Content[2] != ranDry {
			t.Fatalf("last %x: report %x, want status 1", cut.last, f.Content)
		}
		n := int(binary.LittleEndian.Uint16(f.Content[9:]))
		all := r.hears(1)
		if len(all) != 1 || len(all[0].body) != 500 || !bytes.Equal(all[0].body[:n], body[:n]) || n < 250 {
			t.Fatalf("last %x: %d octets sent, heard %+v", cut.last, n, all)
		}
		for i, v := range all[0].body[n:] {
			if v != 0x55 {
				t.Fatalf("last %x: octet %d of the filler is %#x", cut.last, i, v)
			}
		}
		r.Hosts[0].SayRaw([]byte{0x7E})
		r.Hosts[0].Send(2, 0, 0, 10, body)
		if f := r.await(0, emu.TXDone, time.Second); f.Content[2] != sent {
			t.Errorf("last %x: the next frame has status %d", cut.last, f.Content[2])
		}
		r.run(5 * time.Millisecond)
		if all := r.hears(1); len(all) != 1 || !bytes.Equal(all[0].body, body) {
			t.Errorf("last %x: the next frame was not heard", cut.last)
		}
	}
}

// A hand in the beam for 100 ms: frames that it hit keep their length, and those
// after it come whole. The other direction is not disturbed.
func TestHandInBeam(t *testing.T) {
	r := start(t, emu.Config{PPM: []float64{0, 10000}, Jitter: 50, Seed: 6})
	r.open(1000000)
	rnd := rand.New(rand.NewPCG(9, 10))
	var bodies [][]byte
	for i := range 20 {
		body := random(rnd, 1000)
		bodies = append(bodies, body)
		r.Hosts[0].Send(byte(i), 0, 0, 336, body)
	}
	r.run(75 * time.Millisecond)
	if err := r.Gain(0, 1, 0); err != nil {
		t.Fatal(err)
	}
	r.run(100 * time.Millisecond)
	if err := r.Gain(0, 1, 1); err != nil {
		t.Fatal(err)
	}
	r.run(250 * time.Millisecond)
	good, damaged := 0, 0
	for _, h := range r.hears(1) {
		if len(h.body) != 1000 {
			t.Errorf("a frame of %d octets, want 1000", len(h.body))
		}
		ok := false
		for _, b := range bodies {
			ok = ok || bytes.Equal(b, h.body)
		}
		if ok {
			good++
		} else {
			damaged++
		}
	}
	// 100 ms hit at most 100/16.4 = 6.1, so 8 frames, one of which may be cut at its end.
	if good < 12 || damaged > 2 {
		t.Errorf("%d frames whole, %d damaged; want at least 12, at most 2", good, damaged)
	}
	r.clean()
}

// Weak light has weaker edges: jitter is noise over slew rate. At 0.35 of the
// light 20 ns become 57, which the receiver stands; below the comparator's
// hysteresis there is nothing at all.
func TestWeakLight(t *testing.T) {
	for _, tt := range []struct {
		gain float64
		want int
	}{{0.35, 5}, {0.04, 0}} {
		r := start(t, emu.Config{Jitter: 20, Seed: 14})
		r.open(1000000)
		if err := r.Gain(0, 1, tt.gain); err != nil {
			t.Fatal(err)
		}
		rnd := rand.New(rand.NewPCG(19, 20))
		for i := range 5 {
			r.Hosts[0].Send(byte(i), 0, 0, 336, random(rnd, 800))
			r.await(0, emu.TXDone, time.Second)
		}
		r.run(5 * time.Millisecond)
		whole := 0
		for _, h := range r.hears(1) {
			if h.violations == 0 {
				whole++
			}
		}
		if whole != tt.want {
			t.Errorf("light of %g: %d frames of 5 whole, want %d", tt.gain, whole, tt.want)
		}
	}
}

// A comparator that chatters: nothing is taken for a frame, and the host is served.
func TestChatter(t *testing.T) {
	r := start(t, emu.Config{Boards: 1, Seed: 7})
	r.open(1000000)
	if err := r.Chatter(0, true); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		r.run(100 * time.Millisecond)
		r.ask(0, emu.EchoTold, emu.Echo, 1)
	}
	if all := r.hears(0); len(all) != 0 {
		t.Errorf("%d frames heard in noise", len(all))
	}
	f := r.ask(0, emu.StatsTold, emu.Stats, 1)
	t.Logf("%d starts that were none in 1 s", binary.LittleEndian.Uint16(f.Content[25:]))
	r.clean()
}

// Two boards without hosts that move data: PRBS.
func TestPRBS(t *testing.T) {
	for _, tt := range []struct {
		jitter   time.Duration
		min, max float64 // bit error rate
	}{{jitter: 30, max: 0}, {jitter: 130, min: 1e-4, max: 2e-1}} {
		r := start(t, emu.Config{Jitter: tt.jitter, Seed: 8})
		r.open(115200)
		r.ask(1, emu.PRBSTold, emu.PRBS, 2, 0, 192, 0, 0)
		r.ask(0, emu.PRBSTold, emu.PRBS, 1, 0, 192, 60, 0)
		end := r.await(0, emu.PRBSTold, 2*time.Second)
		if n := binary.LittleEndian.Uint32(end.Content[2:]); n != 60 {
			t.Errorf("%d frames sent, want 60", n)
		}
		f := r.ask(1, emu.PRBSTold, emu.PRBS, 0, 0, 1, 0, 0)
		frames, bits, wrong := binary.LittleEndian.Uint32(f.Content[2:]), binary.LittleEndian.Uint32(f.Content[6:]), binary.LittleEndian.Uint32(f.Content[10:])
		slipped := uint32(binary.LittleEndian.Uint16(f.Content[14:]))
		ber := float64(wrong) / float64(bits)
		t.Logf("jitter %v: %d frames, %d slipped, bit error rate %.2g", tt.jitter, frames, slipped, ber)
		if bits != (frames-slipped)*192*8 || ber < tt.min || ber > tt.max || (tt.max == 0 && frames != 60) {
			t.Errorf("jitter %v: %d frames, %d slipped, %d bits, %d wrong: rate %g, want %g to %g", tt.jitter, frames, slipped, bits, wrong, ber, tt.min, tt.max)
		}
		if all := r.hears(1); len(all) != 0 {
			t.Errorf("%d test frames were passed on", len(all))
		}
	}
}

// Patience: who waits for the carrier does not send into it, and gives up when told to.
func TestCarrier(t *testing.T) {
	r := start(t, emu.Config{Boards: 3, Seed: 9})
	r.open(1000000)
	for i := range r.Hosts { // one rate: the carrier is gone 10 µs after the last edge
		r.ask(i, emu.Ack, emu.Configure, 1, 2, 0, 100, 0)
	}
	rnd := rand.New(rand.NewPCG(11, 12))
	long, short := random(rnd, 1400), random(rnd, 50)
	r.Hosts[0].Send(1, 0, 0, 336, long)
	r.run(12 * time.Millisecond)
	r.Hosts[1].Send(2, 0, 100, 50, short)
	f := r.await(1, emu.TXDone, time.Second)
	if f.Content[2] != sent {
		t.Errorf("status %d, want 0", f.Content[2])
	}
	r.run(5 * time.Millisecond)
	if all := r.hears(1); len(all) != 1 || !bytes.Equal(all[0].body, long) {
		t.Error("the long frame was disturbed")
	}
	if all := r.hears(0); len(all) != 1 || !bytes.Equal(all[0].body, short) {
		t.Error("the short frame was not heard")
	}
	// A third station hears the answer too, however soon it comes.
	all := r.hears(2)
	if len(all) != 2 || !bytes.Equal(all[0].body, long) || !bytes.Equal(all[1].body, short) {
		t.Errorf("the third station heard %d frames, want both", len(all))
	} else if pause := time.Duration(all[1].start-all[0].end)*tick - 64*time.Microsecond; pause < 100*time.Microsecond || pause > 400*time.Microsecond {
		t.Errorf("the answer began %v after the frame, want 100 to 400 µs", pause)
	}
	if err := r.Chatter(1, true); err != nil {
		t.Fatal(err)
	}
	r.run(5 * time.Millisecond)
	if f := r.ask(1, emu.SenseTold, emu.Sense); f.Content[1] != 1 {
		t.Error("no carrier where there is chatter")
	}
	r.Hosts[1].Send(3, 0, 20, 50, short)
	if f := r.await(1, emu.TXDone, time.Second); f.Content[2] != carrier {
		t.Errorf("status %d, want 3", f.Content[2])
	}
	if err := r.Chatter(1, false); err != nil {
		t.Fatal(err)
	}
	r.run(5 * time.Millisecond)
	if f := r.ask(1, emu.SenseTold, emu.Sense); f.Content[1] != 0 {
		t.Error("carrier where there is none")
	}
}

// An idle board sleeps. One with a comparator wakes for its clock each 16 ms and
// looks at the line for 70 µs; one that hears with its LED wakes twice in each slot of
// 200 µs, waits at most 12 ticks for the exact one, holds the charge for 8, and has
// some hundred cycles to do.
func TestSleepsWhenIdle(t *testing.T) {
	for _, tt := range []struct {
		name  string
		led   *emu.LED
		least float64
	}{{"comparator", nil, 0.95}, {"one LED", &emu.LED{Noise: 0.01}, 0.5}} {
		r := start(t, emu.Config{LED: tt.led, Seed: 15})
		r.open(115200)
		r.run(20 * time.Millisecond)
		from := r.report(0)
		r.run(200 * time.Millisecond)
		to := r.report(0)
		share := float64(to.Asleep-from.Asleep) / float64(to.Cycles-from.Cycles)
		t.Logf("%s: asleep for %.3f of the time", tt.name, share)
		if share < tt.least || share > 1 {
			t.Errorf("%s: asleep for %.3f of the time, want at least %g", tt.name, share, tt.least)
		}
	}
}

// The light a person sees: its mean does not depend on the traffic, and below
// 3 kHz it keeps to the line of IEEE 1789-2015 below which nothing is observed.
func TestFlicker(t *testing.T) {
	for _, tt := range []struct {
		name   string
		led    *emu.LED
		dim    byte
		mean   float64
		octets int
	}{
		{name: "comparator, dim 2", dim: 2, mean: 0.5, octets: 400},
		{name: "comparator, dim 1", dim: 1, mean: 0.25, octets: 400},
		{name: "one LED, dim 2", led: &emu.LED{Noise: 0.01}, dim: 2, mean: 0.35, octets: 20},
		{name: "one LED, dim 1", led: &emu.LED{Noise: 0.01}, dim: 1, mean: 0.175, octets: 20},
	} {
		trace := filepath.Join(t.TempDir(), "light")
		r := start(t, emu.Config{Trace: trace, Seed: 10, LED: tt.led})
		baud, rates := uint32(1000000), byte(0x3f)
		if tt.led != nil {
			baud, rates = 115200, 0x03
		}
		r.open(baud)
		r.ask(0, emu.Ack, emu.Configure, rates, tt.dim, 0, 100, 0)
		r.report(0)
		r.run(100 * time.Millisecond)
		idle := r.report(0).MeanLevel
		rnd := rand.New(rand.NewPCG(13, 14))
		from := r.Now()
		for i := range 8 { // frames and pauses, at two rates
			r.Hosts[0].Send(byte(i), byte(i%2), 0, 336, random(rnd, tt.octets*(4+i)/4))
			r.await(0, emu.TXDone, time.Second)
			r.run(time.Duration(rnd.IntN(12)) * time.Millisecond)
		}
		busy := r.report(0).MeanLevel
		to := r.Now()
		if all := r.hears(1); tt.led == nil && len(all) < 7 {
			t.Errorf("%s: only %d frames of 8 heard", tt.name, len(all))
		}
		t.Logf("%s: mean level idle %.5f, busy %.5f", tt.name, idle, busy)
		if math.Abs(idle/tt.mean-1) > 0.01 || math.Abs(busy/idle-1) > 0.01 {
			t.Errorf("%s: mean level idle %.4f, busy %.4f; want %.3f within 1 %%", tt.name, idle, busy, tt.mean)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		worst, at := flicker(t, trace, from, to)
		t.Logf("%s: flicker at most %.3g of the limit, at %.0f Hz", tt.name, worst, at)
		if worst > 1 {
			t.Errorf("%s: flicker %.2f times the limit at %.0f Hz", tt.name, worst, at)
		}
	}
}

// flicker returns the largest ratio of board 0's modulation to IEEE 1789-2015's
// no-effect line (modulation in percent at most 0.01 f up to 90 Hz, 0.0333 f up to
// 3 kHz), and its frequency. The light is averaged over bins of 50 µs, which takes off 0.3 dB
// at 3 kHz; it is put back.
func flicker(t *testing.T, name string, from, to time.Duration) (worst, at float64) {
	t.Helper()
	const bin = 50e3 // ns
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := int(float64(to-from) / bin)
	light := make([]float64, n)
	level, since := 0.5, float64(from)
	add := func(until float64) {
		for since < until {
			i := int((since - float64(from)) / bin)
			if i >= n {
				return
			}
			next := min(until, float64(from)+float64(i+1)*bin)
			light[i] += level * (next - since) / bin
			since = next
		}
	}
	for in := bufio.NewScanner(f); in.Scan(); {
		var board int
		var ns, to float64
		if _, err := fmt.Sscan(in.Text(), &board, &ns, &to); err != nil {
			t.Fatal(err)
		}
		if board != 0 {
			continue
		}
		if ns > since {
			add(ns)
		}
		level = to
	}
	add(float64(to))
	mean := 0.0
	for _, v := range light {
		mean += v / float64(n)
	}
	for k := 1; ; k++ {
		hz := float64(k) * 1e9 / bin / float64(n)
		if hz > 3000 {
			break
		}
		var sum complex128
		for i, v := range light {
			sum += complex(v-mean, 0) * cmplx.Rect(1, -2*math.Pi*float64(k)*float64(i)/float64(n))
		}
		x := math.Pi * hz * bin * 1e-9
		percent := 100 * 2 * cmplx.Abs(sum) / float64(n) / mean * x / math.Sin(x)
		line := 0.0333
		if hz < 90 {
			line = 0.01
		}
		if ratio := percent / (line * hz); ratio > worst {
			worst, at = ratio, hz
		}
	}
	return worst, at
}

// The same seed gives the same octets at the same time.
func TestSameSeedSameRun(t *testing.T) {
	run := func() []byte {
		r := start(t, emu.Config{PPM: []float64{0, 5000}, Jitter: 90, Seed: 11})
		r.open(500000)
		var bodies [][]byte
		_, all := r.oneWay(4, 300, &bodies)
		return fmt.Appendf(nil, "%v %v %+v", all, r.Now(), r.report(1))
	}
	if a, b := run(), run(); !bytes.Equal(a, b) {
		t.Errorf("two runs differ:\n%s\n%s", a, b)
	}
}

// The emulator as terminals, for real programs: each board answers on its own.
func TestTerminals(t *testing.T) {
	t.Run("comparator", func(t *testing.T) {
		c := emutest.InSimavr(t, emu.Config{})
		terminals(t, c.Program, "image="+c.Image, "pty=1")
	})
	for _, chip := range emutest.Chips {
		t.Run("one LED, "+chip.Name, func(t *testing.T) {
			c := chip.On(t, emu.Config{LED: &emu.LED{}})
			terminals(t, c.Program, "image="+c.Image, "led=1", "pty=1")
		})
	}
}

func terminals(t *testing.T, program string, args ...string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for board := range 2 {
		if !lines.Scan() {
			t.Fatal("the emulator names no terminal")
		}
		var number int
		var name string
		if _, err := fmt.Sscanf(lines.Text(), "board %d %s", &number, &name); err != nil || number != board {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		tty, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer tty.Close()
		answer := make(chan []byte, 1)
		go func() {
			var all []byte
			b := make([]byte, 256)
			for bytes.Count(all, []byte{0x7E}) < 2 {
				n, err := tty.Read(b)
				if err != nil {
					break
				}
				all = append(all, b[:n]...)
			}
			answer <- all
		}()
		for asked := false; !asked; { // the board needs a moment to start
			if _, err := tty.Write(emu.AppendFrame(nil, []byte{emu.Hello, 1, 0})); err != nil {
				t.Fatal(err)
			}
			select {
			case a := <-answer:
				if len(a) < 3 || a[1] != emu.Info {
					t.Errorf("board %d answers % x", board, a)
				}
				asked = true
			case <-time.After(250 * time.Millisecond):
			}
		}
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the emulator did not end well: %v", err)
	}
}
