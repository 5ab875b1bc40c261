package emu_test

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"lightsong/firmware/emu"
	"lightsong/firmware/emu/emutest"
	"lightsong/sims"
)

// Rates of boards whose one LED both sends and hears.
const (
	words = 0 // 8 kb/s
	pairs = 1 // 2.5 kb/s
)

// lit is how long n octets are on the light.
func lit(rate byte, n int) time.Duration {
	const slot = 200 * time.Microsecond
	if rate == words {
		return time.Duration(64+128+5*n+1) * slot
	}
	return time.Duration(64+128+16*n) * slot
}

// crosses lets one frame cross and returns the bits that are wrong, -1 if it was not heard.
func (r *rig) crosses(from, to int, rate byte, body []byte) (wrong int, h heard) {
	r.t.Helper()
	r.Hosts[from].Send(1, rate, 0, 64, body)
	done := r.await(from, emu.TXDone, lit(rate, len(body))+200*time.Millisecond)
	if done.Content[2] != sent {
		r.t.Errorf("TXDONE %x", done.Content)
	}
	r.run(20 * time.Millisecond)
	all := r.hears(to)
	if len(all) != 1 || len(all[0].body) != len(body) {
		return -1, h
	}
	for i, v := range all[0].body {
		wrong += bits.OnesCount8(v ^ body[i])
	}
	return wrong, all[0]
}

// tally is what came of frames that were sent one after the other, to and fro.
type tally struct {
	frames, lost, wrong, bits int     // lost: not heard, or out of step, with more than 5 % of its bits wrong
	noise, level, ppm         float64 // as receivers measured them, in the mean; ppm: of board 1 against board 0
}

// toAndFro lets frames of 150 octets cross between two boards that know each other's clock.
func (r *rig) toAndFro(rate byte, frames int) (n tally) {
	r.t.Helper()
	const seed = 5
	rnd := rand.New(rand.NewPCG(seed, 1))
	for i := range 4 { // they get to know each other's clock
		r.crosses(i%2, 1-i%2, pairs, random(rnd, 20))
	}
	n.frames = frames
	heard := 0.
	var ppm [2][]float64 // by the board that heard
	for i := range frames {
		body := random(rnd, 150)
		wrong, h := r.crosses(i%2, 1-i%2, rate, body)
		if wrong < 0 || 20*wrong > 8*len(body) {
			n.lost++
			continue
		}
		n.wrong += wrong
		n.bits += 8 * len(body)
		heard++
		n.noise += float64(h.edges)
		n.level += float64(h.level)
		// Of the preamble the sync word counts, 32 slots.
		slots := float64(lit(rate, len(body))/tick)/400 - 64
		ppm[1-i%2] = append(ppm[1-i%2], (float64(h.end-h.start)/(400*slots)-1)*1e6)
	}
	if heard > 0 {
		n.noise, n.level = n.noise/heard, n.level/heard
	}
	// Each board keeps step with the other, so what both are off by says nothing.
	n.ppm = mean(ppm[1]) - mean(ppm[0])
	return n
}

func mean(x []float64) (m float64) {
	for _, v := range x {
		m += v / float64(len(x))
	}
	return m
}

// What a neighbour's light adds to the room's decides what can be heard: words in
// strong light, pairs in weak. Clocks differ by up to 2 %; the first frame finds
// that out, others must come. The real image and the build for this machine see the
// same light alike.
func TestLEDFrames(t *testing.T) {
	const us = time.Microsecond
	// core's model of such light loses one frame in 30; carrier sense misses one preamble of six in weak light.
	const usual, weak = 1. / 30, 1. / 6
	for _, tt := range []struct {
		name  string
		light emu.LED
		ppm   float64
		rate  byte
		ber   float64 // at most
		miss  float64 // share of frames that are lost
	}{
		{"strong light, words", emu.LED{Dark: 118 * us, Bright: 74 * us, Noise: 0.01}, 0, words, 2e-3, usual},
		{"clock 2 % fast", emu.LED{Dark: 118 * us, Bright: 74 * us, Noise: 0.01}, 20000, words, 2e-3, usual},
		{"clock 2 % slow", emu.LED{Dark: 118 * us, Bright: 74 * us, Noise: 0.01}, -20000, words, 2e-3, usual},
		{"a lamp that flickers by 5 %", emu.LED{Dark: 110 * us, Bright: 70 * us, Noise: 0.01, Ripple: 0.05}, 3000, words, 5e-3, usual},
		{"strong light, pairs", emu.LED{Dark: 118 * us, Bright: 74 * us, Noise: 0.02}, -5000, pairs, 0, usual},
		{"weak light", emu.LED{Dark: 118 * us, Bright: 105 * us, Noise: 0.01}, 3000, pairs, 2e-3, weak},
		{"dark room", emu.LED{Dark: 400 * us, Bright: 50 * us, Noise: 0.01}, 3000, pairs, 0, usual},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var all []tally
			for i, chip := range emutest.Chips {
				const seed = 5
				frames := []int{6, 30}[i] // the second one is faster
				r := start(t, chip.On(t, emu.Config{PPM: []float64{0, tt.ppm}, LED: &tt.light, Seed: seed}))
				r.open(115200)
				n := r.toAndFro(tt.rate, frames)
				t.Logf("seed %d, %s: %d of %d frames lost, %d of %d bits wrong, noise %.1f, level %.1f, clocks %.0f ppm apart",
					seed, chip.Name, n.lost, n.frames, n.wrong, n.bits, n.noise, n.level, n.ppm)
				// Three standard deviations.
				mean := tt.miss * float64(n.frames)
				if most := mean + 3*math.Sqrt(mean*(1-tt.miss)); float64(n.lost) > most {
					t.Errorf("seed %d, %s: %d of %d frames lost, want at most %.0f", seed, chip.Name, n.lost, n.frames, most)
				}
				if float64(n.wrong) > tt.ber*float64(n.bits) {
					t.Errorf("seed %d, %s: %d of %d bits wrong, want at most %g", seed, chip.Name, n.wrong, n.bits, tt.ber)
				}
				all = append(all, n)
			}
			// Each frame's noise and level are taken from at least 750 slots. The loop that follows a clock does
			// not see less than 4 ticks late (core/slots.c, follow: a 64th of it), which pairs of slots make up for
			// by a 16th of it: 310 ppm, either way, at both ends.
			if a, b := all[0], all[1]; math.Abs(a.noise-b.noise) > 2+0.1*a.noise || math.Abs(a.level-b.level) > 3 || math.Abs(a.ppm-b.ppm) > 4*310 {
				t.Errorf("the chips differ: noise %.1f and %.1f, level %.1f and %.1f, clocks %.0f and %.0f ppm apart", a.noise, b.noise, a.level, b.level, a.ppm, b.ppm)
			}
		})
	}
}

// What a host asks is answered by the build for this machine as by the real image, but for
// the kind of board: through a change of speed, its way back, and a reset.
func TestLEDAnswers(t *testing.T) {
	var told [][]string
	for _, chip := range emutest.Chips {
		r := start(t, chip.On(t, emu.Config{Boards: 1, LED: &emu.LED{Noise: 0.01}, PPM: []float64{10000}, Seed: 3}))
		r.run(20 * time.Millisecond)
		var answers []string
		ask := func(answer byte, content ...byte) {
			t.Helper()
			f := r.ask(0, answer, content...)
			if answer == emu.Info {
				f.Content[3] = 0
			}
			answers = append(answers, fmt.Sprintf("%x", f.Content))
		}
		speed := func(baud uint32) {
			t.Helper()
			if err := r.Speed(0, baud); err != nil {
				t.Fatal(err)
			}
			r.run(2 * time.Millisecond)
		}
		ask(emu.Info, emu.Hello, 1, 0)
		ask(emu.Error, emu.Hello, 2, 0)
		ask(emu.EchoTold, emu.Echo, 0x7E, 0x7D, 0x7C, 0)
		ask(emu.Ack, emu.Configure, 0x03, 1, 0, 200, 0)
		ask(emu.Error, emu.Configure, 0x04, 1, 0, 200, 0)
		ask(emu.SenseTold, emu.Sense)
		ask(emu.CreditTold, emu.Credit)
		ask(emu.BaudAnswer, append([]byte{emu.Baud}, 0x90, 0xD0, 0x03, 0x00)...) // 250000
		speed(250000)
		ask(emu.EchoTold, emu.Echo, 1)
		r.silent = true
		r.run(3200 * time.Millisecond) // kept for 3 s of silence
		speed(115200)
		ask(emu.EchoTold, emu.Echo, 2)
		r.Hosts[0].Say(emu.Reset)
		r.run(60 * time.Millisecond)
		ask(emu.Info, emu.Hello, 1, 0)
		f := r.ask(0, emu.StatsTold, emu.Stats, 0)
		answers = append(answers, fmt.Sprintf("%x", f.Content[5:])) // without the clock
		told = append(told, answers)
	}
	for i, want := range told[0] {
		if got := told[1][i]; got != want {
			t.Errorf("answer %d: %s, want %s", i, got, want)
		}
	}
}

// Boards keep step with whom they hear. So there are groups with clocks of their own
// where not all hear each other, as while they are switched on; a board that comes to
// hear another group reads its frames, though it is in step with its own.
func TestLEDGroups(t *testing.T) {
	const seed, frames = 7, 24
	for _, chip := range emutest.Chips {
		for _, apart := range []float64{3000, 10000} { // ppm
			r := start(t, chip.On(t, emu.Config{Boards: 3, PPM: []float64{-apart / 2, 0, apart / 2}, LED: &emu.LED{Noise: 0.01}, Seed: seed}))
			r.open(115200)
			for i := range r.Hosts { // dark when idle
				r.ask(i, emu.Ack, emu.Configure, 0x03, 0, 0, 100, 0)
			}
			if err := errors.Join(r.Gain(0, 2, 0), r.Gain(2, 0, 0)); err != nil {
				t.Fatal(err)
			}
			rnd := rand.New(rand.NewPCG(seed, 1))
			lost := 0
			for i := range frames {
				if wrong, _ := r.crosses(2*(i%2), 1, pairs, random(rnd, 20)); wrong != 0 {
					lost++
				}
			}
			t.Logf("seed %d, %s: clocks %.0f ppm apart: %d of %d frames lost", seed, chip.Name, apart, lost, frames)
			// core's model of such light: one frame in 30 is lost, one in 13 where the clocks are apart by as much as
			// can hardly be told.
			if lost > frames/4 {
				t.Errorf("seed %d, %s: clocks %.0f ppm apart: %d of %d frames lost", seed, chip.Name, apart, lost, frames)
			}
		}
	}
}

// Boards in a light field: a and b face each other, c stands beside b and looks away; lamps
// ripple at 120 Hz, daylight steps, and a hand is between them half of the time.
func TestLEDField(t *testing.T) {
	const seed, frames = 9, 24
	across, lux, step, every, ripple, hz := 0.05, 300., 60., 1., 0.02, 120.
	away := -30.
	cfg := sims.LightConfig{
		Seed:     seed,
		Room:     sims.LightRoom{DistanceM: &across, AmbientLux: &lux, StepLux: &step, StepEveryS: &every, Ripple: &ripple, RippleHz: &hz},
		Stations: map[string]sims.LightStation{"a": {PositionM: &[2]float64{0, 0}}, "b": {PositionM: &[2]float64{0.05, 0}}, "c": {PositionM: &[2]float64{0.05, 0.01}, TowardDeg: &away}},
		Hands:    []sims.LightHand{{StartS: 1.5, ForS: 0.5, EveryS: 1}},
	}
	for _, chip := range emutest.Chips {
		field, err := sims.NewLightBoards(cfg, true, "a", "b", "c")
		if err != nil {
			t.Fatal(err)
		}
		light := &emu.LED{Noise: 0.01, Ripple: field.Ripple, Hz: field.RippleHz}
		r := start(t, chip.On(t, emu.Config{Boards: 3, PPM: field.PPM, LED: light, Field: field, Seed: seed}))
		r.open(115200)
		for i := range r.Hosts { // dark when idle
			r.ask(i, emu.Ack, emu.Configure, 0x03, 0, 0, 100, 0)
		}
		rnd := rand.New(rand.NewPCG(seed, 1))
		var sent, came [2]int // in the open, behind the hand
		for range frames {
			body := random(rnd, 20) // 0.1 s in pairs
			behind := 0
			phase := r.Now() % time.Second
			for phase < 30*time.Millisecond || phase > 480*time.Millisecond && phase < 530*time.Millisecond || phase%(500*time.Millisecond) > 300*time.Millisecond {
				r.run(time.Millisecond)
				phase = r.Now() % time.Second
			}
			if r.Now() > 1500*time.Millisecond && phase > 500*time.Millisecond {
				behind = 1
			}
			wrong, _ := r.crosses(0, 1, pairs, body)
			sent[behind]++
			if wrong == 0 {
				came[behind]++
			}
		}
		t.Logf("seed %d, %s: %d of %d frames came, and %d of %d behind the hand", seed, chip.Name, came[0], sent[0], came[1], sent[1])
		// One in 30 is lost as a rule.
		if sent[1] < 5 || came[1] != 0 || sent[0]-came[0] > 3 {
			t.Errorf("seed %d, %s: %d of %d frames came, and %d of %d behind the hand", seed, chip.Name, came[0], sent[0], came[1], sent[1])
		}
		if all := r.hears(2); len(all) != 0 {
			t.Errorf("seed %d, %s: who looks away heard %d frames", seed, chip.Name, len(all))
		}
	}
}

// The board's own code under address and undefined-behaviour sanitizers: noise on the serial
// line and on the light, frames broken off, tests, dimming, resets. Whatever came before, a board answers.
func TestLEDSanitized(t *testing.T) {
	c := emutest.OnHost(t, emu.Config{Boards: 3, PPM: []float64{0, 15000, -15000}, LED: &emu.LED{Noise: 0.01, Ripple: 0.3}, Seed: 21})
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "make", "-s", "-C", "..", "host", "BUILD="+dir,
		"HOST_OPT=-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Setenv("ASAN_OPTIONS", "detect_leaks=0") // the end of the process is theirs
	c.Program, c.Image = filepath.Join(dir, filepath.Base(c.Program)), filepath.Join(dir, filepath.Base(c.Image))
	r := start(t, c)
	r.open(115200)
	rnd := rand.New(rand.NewPCG(21, 1))
	for i := range 240 {
		board := i % 3
		h := r.Hosts[board]
		switch rnd.IntN(8) {
		case 0:
			h.SayRaw(random(rnd, 1+rnd.IntN(100)))
		case 1:
			h.Say(random(rnd, 1+rnd.IntN(30))...)
		case 2:
			h.Send(byte(i), byte(rnd.IntN(2)), byte(rnd.IntN(3)), rnd.IntN(100), random(rnd, 1+rnd.IntN(200)))
		case 3: // broken off
			whole := emu.AppendFrame(nil, emu.TXContent(1, byte(rnd.IntN(2)), 0, 10, random(rnd, 100)))
			h.SayRaw(append(whole[:rnd.IntN(len(whole))], 0x7E))
		case 4:
			h.Say(emu.PRBS, byte(rnd.IntN(3)), byte(rnd.IntN(2)), byte(1+rnd.IntN(192)), byte(rnd.IntN(3)), 0)
		case 5:
			h.Say(emu.Configure, 0x03, byte(rnd.IntN(3)), byte(rnd.IntN(2)), 200, 0)
		case 6:
			if err := errors.Join(r.Ambient(board, 3*rnd.Float64()), r.Gain(board, (board+1)%3, 5*rnd.Float64())); err != nil {
				t.Fatal(err)
			}
		case 7: // the host begins anew, too, with the credit of HELLO
			r.Hosts[board] = new(emu.Host)
			r.Hosts[board].SayRaw([]byte{0x7E})
			r.Hosts[board].Say(emu.Reset)
			r.run(60 * time.Millisecond)
			r.Hosts[board].Say(emu.Hello, 1, 0)
		}
		r.run(time.Duration(rnd.IntN(40)) * time.Millisecond)
	}
	for i := range r.Hosts {
		r.Hosts[i] = new(emu.Host)
		r.run(3 * time.Second) // what it was told to send has left, or was late
		r.Hosts[i].SayRaw([]byte{0x7E})
		r.Hosts[i].Say(emu.Reset)
		r.run(60 * time.Millisecond)
		r.ask(i, emu.Info, emu.Hello, 1, 0)
	}
}

// Frames of 150 octets, to and fro, in three lights: how many of them are lost, and the
// share of wrong bits in the others. The build for this machine gets five times as many.
func BenchmarkLEDFrames(b *testing.B) {
	const us = time.Microsecond
	for _, tt := range []struct {
		name  string
		light emu.LED
		rate  byte
	}{
		{"strong light, words", emu.LED{Dark: 118 * us, Bright: 74 * us, Noise: 0.01}, words},
		{"a lamp that flickers by 5 %, words", emu.LED{Dark: 110 * us, Bright: 70 * us, Noise: 0.01, Ripple: 0.05}, words},
		{"weak light, pairs", emu.LED{Dark: 118 * us, Bright: 105 * us, Noise: 0.01}, pairs},
	} {
		for i, chip := range emutest.Chips {
			b.Run(tt.name+", "+chip.Name, func(b *testing.B) {
				for b.Loop() {
					var sum tally
					for seed := range []uint64{2, 10}[i] {
						r := start(b, chip.On(b, emu.Config{PPM: []float64{0, 3000}, LED: &tt.light, Seed: seed + 1}))
						r.open(115200)
						n := r.toAndFro(tt.rate, 30)
						if err := r.Close(); err != nil {
							b.Fatal(err)
						}
						sum.frames += n.frames
						sum.lost += n.lost
						sum.wrong += n.wrong
						sum.bits += n.bits
					}
					b.ReportMetric(float64(sum.lost), "lost")
					b.ReportMetric(float64(sum.frames), "frames")
					b.ReportMetric(float64(sum.wrong)/float64(sum.bits), "BER")
				}
			})
		}
	}
}

// How fast ten boards with one LED each run on each kind of chip: seconds of their time in
// a second of a processor that works for nothing but the emulator. Each sends a frame of
// 150 octets in turn, in words, and all others hear it.
func BenchmarkLEDRoom(b *testing.B) {
	const boards = 10
	for _, chip := range emutest.Chips {
		b.Run(chip.Name, func(b *testing.B) {
			for b.Loop() {
				c := emu.Config{Boards: boards, LED: &emu.LED{Noise: 0.01}, Seed: 1}
				for i := range boards {
					c.PPM = append(c.PPM, float64(1000*i-4500))
				}
				r := start(b, chip.On(b, c))
				before := childrenTime(b)
				r.open(115200)
				for i := range boards { // dark when idle
					r.ask(i, emu.Ack, emu.Configure, 0x03, 0, 0, 100, 0)
				}
				rnd := rand.New(rand.NewPCG(1, 1))
				lost := 0
				for i := range 4 * boards {
					r.Hosts[i%boards].Send(1, words, 0, 64, random(rnd, 150))
					r.await(i%boards, emu.TXDone, time.Second)
					r.run(20 * time.Millisecond)
					for j := range boards {
						if j != i%boards {
							lost += 1 - min(1, len(r.hears(j)))
						}
					}
				}
				simulated := r.Now()
				if err := r.Close(); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(simulated.Seconds()/(childrenTime(b)-before).Seconds(), "simulated-s/s")
				b.ReportMetric(float64(lost), "lost")
			}
		})
	}
}

// childrenTime is what processes that have ended have used of the processor.
func childrenTime(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
