package main

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"lightsong/modem"
)

// spans are the bursts in clean sound: what lies between two silences of 40 ms.
func spans(samples []float32, rate int) (bursts [][2]int) {
	quiet := rate // samples of silence so far
	for i, v := range samples {
		switch {
		case v == 0:
			quiet++
			continue
		case quiet > rate/25:
			bursts = append(bursts, [2]int{i, i})
		}
		quiet = 0
		bursts[len(bursts)-1][1] = i + 1
	}
	return bursts
}

// Every fifth burst is silenced, header and all.
func TestRecvLostBursts(t *testing.T) {
	tt := newTransferTest(t)
	file := octets(10, 10_000)
	in := tt.write("a.bin", file)
	silence := func(redundancy string, loops string) (lost int) {
		tt.call(0, nil, "send", "--mcs", "4", "--redundancy", redundancy, "--loops", loops, "--wav", tt.path("a.wav"), in)
		x, rate := tt.sound("a.wav")
		bursts := spans(x, rate)
		for i := 1; i < len(bursts); i += 5 {
			clear(x[bursts[i][0]:bursts[i][1]])
			lost++
		}
		tt.writeSound("a.wav", x, rate)
		return lost
	}
	recv := []string{"recv", "--wav", tt.path("a.wav"), "-o", tt.path("b.bin"), "--json"}

	// One in five is lost: 25 % of parity would do if the losses were spread
	// evenly; the last bursts weigh more, so 40 %.
	lost := silence("40%", "1")
	if lost < 3 {
		t.Fatalf("only %d bursts were silenced", lost)
	}
	out, _ := tt.call(0, nil, recv...)
	var sum Transfer
	if err := json.Unmarshal([]byte(out), &sum); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(tt.read("b.bin"), file) || sum.Repaired == 0 {
		t.Errorf("the files differ, or nothing was repaired: %+v", sum)
	}

	// Without parity the file cannot come: nothing is written, what was there
	// stays, and the message says what is missing.
	tt.write("b.bin", []byte("what was there"))
	silence("0%", "1")
	out, stderr := tt.call(1, nil, recv...)
	if err := json.Unmarshal([]byte(out), &sum); err != nil {
		t.Fatal(err)
	}
	if sum.Complete || sum.Octets != 10_000 || sum.Received <= 5000 || sum.Received >= 9500 || sum.File != "" {
		t.Errorf("%+v, want about 80 %% of the file", sum)
	}
	for _, want := range []string{"did not come whole", "of 10000 octets", "missing are octets ", "frames are needed"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("%q says nothing of %q", stderr, want)
		}
	}
	if got := string(tt.read("b.bin")); got != "what was there" {
		t.Errorf("the file that was there holds %d octets now", len(got))
	}

	// What came can be kept: another recording, of which other bursts are
	// silenced, brings the rest, and nothing is left behind.
	tt.call(1, nil, append(recv, "--resume", tt.path("a.part"))...)
	tt.holds("a.bin", "a.part", "a.wav", "b.bin")
	tt.call(0, nil, "send", "--mcs", "4", "--redundancy", "0%", "--wav", tt.path("a.wav"), in)
	whole, rate := tt.sound("a.wav")
	clear(whole[:spans(whole, rate)[0][1]])
	tt.writeSound("a.wav", whole, rate)
	out, _ = tt.call(0, nil, append(recv, "--resume", tt.path("a.part"))...)
	if err := json.Unmarshal([]byte(out), &sum); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(tt.read("b.bin"), file) || sum.Resumed < 5000 {
		t.Errorf("the files differ, or nothing was resumed: %+v", sum)
	}
	tt.holds("a.bin", "a.wav", "b.bin")
	_, stderr = tt.call(1, nil, append(recv, "--resume", tt.write("no.part", file))...)
	if !strings.Contains(stderr, "not a saved part of a transfer") {
		t.Errorf("%q", stderr)
	}
	if err := os.Remove(tt.path("no.part")); err != nil {
		t.Fatal(err)
	}

	// A second loop brings what the first has lost: other bursts are silenced
	// there, as 5 does not divide their number.
	silence("0%", "2")
	tt.call(0, nil, recv...)
	if !bytes.Equal(tt.read("b.bin"), file) {
		t.Error("the files differ")
	}
	tt.holds("a.bin", "a.wav", "b.bin")
}

func TestRecvInNoise(t *testing.T) {
	const seed, snr = 20, 3.0 // dB over the whole band: 8 dB more than the mode needs
	tt := newTransferTest(t)
	file := octets(11, 3000)
	tt.call(0, nil, "send", "--wav", tt.path("a.wav"), tt.write("a.bin", file))
	x, rate := tt.sound("a.wav")
	sigma := math.Pow(10, (modem.LevelDBFS-snr)/20)
	rng := rand.New(rand.NewPCG(seed, 0))
	for i := range x {
		x[i] += float32(sigma * rng.NormFloat64())
	}
	tt.writeSound("a.wav", x, rate)
	tt.call(0, nil, "recv", "--wav", tt.path("a.wav"), "-o", tt.path("b.bin"))
	if !bytes.Equal(tt.read("b.bin"), file) {
		t.Errorf("seed %d: the files differ", seed)
	}
}

func TestRecvTruncated(t *testing.T) {
	tt := newTransferTest(t)
	tt.call(0, nil, "send", "--wav", tt.path("a.wav"), tt.write("a.bin", octets(12, 2000)))
	whole := tt.read("a.wav")
	for _, n := range []int{0, 4, 11, 20, 43, 44, 45, 1000, len(whole) / 2, len(whole) - 1} {
		cut := tt.write("cut.wav", whole[:n])
		_, stderr := tt.call(1, nil, "recv", "--wav", cut, "-o", tt.path("b.bin"))
		if !strings.Contains(stderr, "file is truncated") || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%d of %d octets: %q", n, len(whole), stderr)
		}
		tt.call(1, bytes.NewReader(whole[:n]), "recv", "--wav", "-", "-o", tt.path("b.bin"))
	}
	tt.holds("a.bin", "a.wav", "cut.wav")
}

// Bits of the samples are flipped on the way. The file comes whole or not at
// all.
func TestRecvFlippedBits(t *testing.T) {
	tt := newTransferTest(t)
	file := octets(13, 2000)
	tt.call(0, nil, "send", "--wav", tt.path("a.wav"), tt.write("a.bin", file))
	whole := tt.read("a.wav")
	const seed = 30
	came := 0
	for _, ratio := range []float64{1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 0.5} {
		rng := rand.New(rand.NewPCG(seed, math.Float64bits(ratio)))
		bent := bytes.Clone(whole)
		for i := 44; i < len(bent); i++ {
			if rng.Float64() < 8*ratio {
				bent[i] ^= 1 << rng.IntN(8)
			}
		}
		code, stdout, stderr := call(t.Context(), bytes.NewReader(bent), "recv", "--wav", "-", "-o", "-")
		switch {
		case code == 0 && stdout == string(file):
			came++
		case code == 0 || stdout != "":
			t.Errorf("seed %d, %g of the bits flipped: exit %d with %d octets", seed, ratio, code, len(stdout))
		case strings.Count(stderr, "\n") != 1:
			t.Errorf("standard error: %q", stderr)
		}
	}
	// One bit in 10⁵ is an impulse every 0.13 s on average, most of them small;
	// that the coding must bear.
	if came == 0 {
		t.Errorf("seed %d: nothing came even with one bit in 10⁵ flipped", seed)
	}
}
