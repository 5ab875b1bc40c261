package ofdm

import (
	"math"
	"math/rand/v2"
	"testing"
)

// noisy adds white noise to x, so many dB below the power of a burst, over
// 0…rate/2.
func noisy(x []float32, snr float64, rng *rand.Rand) {
	sigma := math.Pow(10, (usualLevel-snr)/20)
	for i := range x {
		x[i] += float32(sigma * rng.NormFloat64())
	}
}

// A sender breaks off; another one's burst, while the first was announced to go on,
// is received. The first is over where it broke off.
func TestBrokenOff(t *testing.T) {
	const seed = 31
	for _, c := range []struct {
		profile     string
		rate        int
		mcs, frames int // of the burst that breaks off
		snr         float64
	}{
		{"cable", 48000, 20, 20, 20}, {"cable", 48000, 14, 12, 5}, {"cable", 96000, 30, 120, 40}, {"cable", 44100, 22, 20, 14},
		{"cable2", 48000, 20, 20, 20}, {"air", 48000, 24, 30, 20}, {"air", 96000, 22, 20, 12}, {"ultra", 48000, 12, 6, 0}, {"voice", 48000, 12, 6, 0},
	} {
		s := newStation(t, c.profile, c.rate)
		rng := rand.New(rand.NewPCG(seed, uint64(c.mcs)))
		channels := s.mod.prof.channels()
		first := burstOf(rng, c.mcs, c.frames, s.mod.prof.modes[c.mcs].octets, 10)
		second := burstOf(rng, 9, 1, 40, 10)
		x, err := s.mod.AppendBurst(make([]float32, channels*3000), first)
		if err != nil {
			t.Fatal(err)
		}
		whole := len(x) / channels
		s.mod.plan.set(s.mod.prof, s.mod.scale, c.mcs, c.frames, s.mod.prof.modes[c.mcs].octets, 10)
		broke := 3000 + int(float64(s.mod.plan.headerSamples())*s.mod.scale.ratio) + c.rate/5
		x = append(x[:channels*broke], make([]float32, channels*c.rate*3/4)...)
		at := len(x) / channels
		if x, err = s.mod.AppendBurst(x, second); err != nil {
			t.Fatal(err)
		}
		if at > whole-c.rate/4 {
			t.Fatalf("%s MCS %d: the first burst of %.1f s is too short for the test", c.profile, c.mcs, float64(whole)/float64(c.rate))
		}
		x = append(x, make([]float32, channels*c.rate)...)
		noisy(x, c.snr, rng)
		events := listen(s.dem, x, 960)
		if kinds(events) != "PARPAR" {
			t.Errorf("%s MCS %d at %g dB, %d Hz, seed %d: events %s", c.profile, c.mcs, c.snr, c.rate, seed, kinds(events))
			continue
		}
		// Half a window early or late.
		if late := float64(events[2].End-int64(broke)) / float64(c.rate); math.Abs(late) > watchSeconds/2+0.01 {
			t.Errorf("%s MCS %d: its end is told %.3f s late", c.profile, c.mcs, late)
		}
		same(t, events[5].Burst, second)
	}
}

// Nothing is given up that goes on: through silences of 20 ms a second, noise that
// ceases, and a level that sinks by 2 dB.
func TestNotBrokenOff(t *testing.T) {
	const seed = 32
	for _, c := range []struct {
		name   string
		mcs    int
		snr    float64
		change func(x []float32)
		least  int // frames of 20
	}{
		{"silences", 20, 14, func(x []float32) {
			for at := 30000; at+960 < len(x); at += 48000 {
				clear(x[at:][:960])
			}
		}, 19},
		{"noise that ceases", 16, 4, nil, 20},
		{"sinking", 17, 14, func(x []float32) {
			for i := range x[len(x)/2:] {
				x[len(x)/2+i] *= 0.8
			}
		}, 20},
	} {
		s := newStation(t, "cable", 48000)
		rng := rand.New(rand.NewPCG(seed, uint64(c.mcs)))
		b := burstOf(rng, c.mcs, 20, 800, 10)
		x, err := s.mod.AppendBurst(make([]float32, 5000), b)
		if err != nil {
			t.Fatal(err)
		}
		if c.change != nil {
			c.change(x)
			noisy(x, c.snr, rng)
		} else {
			noisy(x[:len(x)/2], c.snr, rng)
		}
		events := listen(s.dem, append(x, make([]float32, 20000)...), 960)
		if kinds(events) != "PAR" {
			t.Errorf("%s, seed %d: events %s", c.name, seed, kinds(events))
			continue
		}
		good := 0
		for _, f := range events[2].Burst.Frames {
			if f != nil {
				good++
			}
		}
		if end := int64(len(x)); good < c.least || abs(events[2].End-end) > 100 {
			t.Errorf("%s, seed %d: %d of 20 frames, %d samples long, want %d", c.name, seed, good, events[2].End-5000, end-5000)
		}
	}
}
