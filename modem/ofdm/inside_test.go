package ofdm

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"lightsong/modem"
)

// inserted is the samples of a burst with others within it, before the body's symbols given.
func (s *station) inserted(t testing.TB, outer *modem.Burst, inner []*modem.Burst, seams []int) []float32 {
	t.Helper()
	x, err := s.mod.AppendBurst(nil, outer)
	if err != nil {
		t.Fatal(err)
	}
	all := s.mod.Seams(nil, outer)
	first := max(1, s.mod.plan.training)
	moved := 0
	for i, b := range inner {
		y, err := s.mod.AppendInner(nil, b)
		if err != nil {
			t.Fatal(err)
		}
		if n := s.mod.InnerSamples(b); n == 0 || n != len(y)/s.mod.prof.channels() {
			t.Fatalf("%s MCS %d has %d samples inside, told %d", s.mod.prof.name, b.MCS, len(y)/s.mod.prof.channels(), n)
		}
		var n int
		x, n = s.mod.Insert(x, all[seams[i]-first]+moved, y)
		moved += n
	}
	return x
}

// What comes in the middle of a burst is read before the burst is over, and so is the
// burst: at the SNR of its mode and 1.5 dB (from the table's 90 % of the frames on that is
// enough for all), with clocks that differ.
func TestInside(t *testing.T) {
	const seed = 41
	for _, c := range []struct {
		name           string
		profile        string
		rate           int
		mcs, frames    int
		inner, octets  int // its mode and, of its only frame, how many
		ppm, crosstalk float64
		seams          []int
	}{
		{"bulk at 12.5 dB, a ping after the first symbol", "cable", 48000, 23, 4, 21, 92, 40, 0, []int{1}},
		{"before the last one", "cable", 48000, 23, 4, 21, 92, -100, 0, []int{4}},
		{"three of them", "cable", 48000, 23, 4, 21, 60, 100, 0, []int{1, 2, 4}},
		{"at 60 dB", "cable", 48000, 60, 20, 45, 92, 100, 0, []int{1, 3}},
		{"at 60 dB, a dense one", "cable", 48000, 60, 20, 60, 92, -100, 0, []int{2}},
		{"at 0 dB, short symbols", "cable", 48000, 14, 2, 14, 92, -100, 0, []int{1, 9}},
		{"at -5 dB", "cable", 48000, 10, 2, 10, 40, 40, 0, []int{20}},
		{"at 192 kHz", "cable", 192000, 23, 20, 21, 92, 20, 0, []int{2}},
		{"two channels", "cable2", 48000, 13, 4, 11, 92, 60, -40, []int{2, 3}},
		{"two channels at 50 dB", "cable2", 48000, 46, 10, 35, 92, 60, -30, []int{2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStation(t, c.profile, c.rate)
			rng := rand.New(rand.NewPCG(seed, uint64(c.mcs)))
			outer := burstOf(rng, c.mcs, c.frames, s.mod.prof.modes[c.mcs].octets, 16)
			var inner []*modem.Burst
			for range c.seams {
				inner = append(inner, burstOf(rng, c.inner, 1, c.octets, 6))
			}
			x := s.inserted(t, outer, inner, c.seams)
			p := path{snr: s.mod.prof.modes[c.mcs].snr + 1.5, ppm: c.ppm, crosstalk: c.crosstalk}
			const lead = 3000
			y := s.carry(p, x, lead, 4000, rng)
			events := listen(s.dem, y, 480*s.mod.prof.channels())
			want := "PA"
			for range inner {
				want += "RA"
			}
			if want += "R"; kinds(events) != want {
				t.Fatalf("seed %d: events %s, want %s", seed, kinds(events), want)
			}
			for i, b := range inner {
				if e := events[2+2*i]; !e.Within {
					t.Errorf("seed %d: burst %d is not said to be within another", seed, i)
				} else {
					same(t, e.Burst, b)
				}
			}
			last := events[len(events)-1]
			same(t, last.Burst, outer)
			if last.Within {
				t.Errorf("seed %d: the outer burst is said to be within another", seed)
			}
			n := int64(math.Round(float64(len(x)/s.mod.prof.channels()) / (1 + c.ppm*1e-6)))
			// The header tells the clock's skew roughly: at -5 dB to some 100 ppm.
			if got := last.End - last.Start; abs(got-n) > 2+n/4000 {
				t.Errorf("seed %d: the burst took %d samples, want %d", seed, got, n)
			}
			// The pilots of a second at -4 dB tell the skew to 2 ppm (Cramér-Rao), those of the others to a tenth.
			if off := math.Abs(last.PPM - c.ppm); off > 6 || off > 1 && s.mod.prof.modes[c.mcs].snr > -5 {
				t.Errorf("seed %d: %.2f ppm measured, %.2f sent", seed, last.PPM, c.ppm)
			}
		})
	}
}

// What begins in a burst and turns out to be none costs that burst at most, and what
// is longer than it is allowed to be is not waited for.
func TestInsideBroken(t *testing.T) {
	const seed, mcs = 43, 23
	sent := func(s *station, b *modem.Burst) []float32 {
		x, err := s.mod.AppendBurst(nil, b)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	for _, c := range []struct {
		name  string
		spoil func(s *station, rng *rand.Rand) []float32 // what is inserted
	}{
		{"a chirp and noise", func(s *station, rng *rand.Rand) []float32 {
			x := sent(s, burstOf(rng, 21, 1, 92, 6))
			for i := range x[300:] {
				x[300+i] = 0.25 * float32(rng.NormFloat64())
			}
			return x
		}},
		{"a burst that announces four seconds", func(s *station, rng *rand.Rand) []float32 {
			return sent(s, burstOf(rng, 14, 10, 1024, 6))[:9000]
		}},
		{"one in a mode with a long chirp", func(s *station, rng *rand.Rand) []float32 {
			return sent(s, burstOf(rng, 8, 1, 16, 6))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStation(t, "cable", 48000)
			rng := rand.New(rand.NewPCG(seed, 1))
			outer, next := burstOf(rng, mcs, 5, 832, 6), burstOf(rng, mcs, 2, 832, 6)
			x, _ := s.mod.Insert(sent(s, outer), s.mod.Seams(nil, outer)[1], c.spoil(s, rng))
			x = append(x, make([]float32, 2000)...)
			x = append(x, sent(s, next)...)
			events := listen(s.dem, s.carry(path{snr: 20}, x, 3000, 4000, rng), 480)
			var last modem.Event
			for _, e := range events {
				switch {
				case e.Within:
					t.Errorf("seed %d: a burst within another", seed)
				case e.Kind == modem.Received:
					last = e
				}
			}
			same(t, last.Burst, next)
		})
	}
}

// Listening for bursts within others, and reading one, allocates nothing.
func TestInsideAllocates(t *testing.T) {
	for _, c := range []struct {
		profile    string
		mcs, inner int
	}{{"cable", 23, 21}, {"cable2", 13, 11}} {
		s := newStation(t, c.profile, 48000)
		rng := rand.New(rand.NewPCG(44, 1))
		outer, inner := burstOf(rng, c.mcs, 4, 800, 6), burstOf(rng, c.inner, 1, 92, 6)
		x := s.inserted(t, outer, []*modem.Burst{inner}, []int{2})
		x = append(x, make([]float32, 4000)...)
		received := 0
		emit := func(e modem.Event) {
			if e.Kind == modem.Received && e.Burst.Control != nil {
				received++
			}
		}
		s.dem.Push(x, emit)
		if n := testing.AllocsPerRun(3, func() { s.dem.Push(x, emit) }); n > 0 {
			t.Errorf("%s: %.0f allocations for a burst within another", c.profile, n)
		}
		if received != 2*5 {
			t.Errorf("%s: %d bursts received, want 10", c.profile, received)
		}
		y, err := s.mod.AppendInner(nil, inner)
		if err != nil {
			t.Fatal(err)
		}
		var seams []int
		if n := testing.AllocsPerRun(3, func() {
			x, _ = s.mod.AppendBurst(x[:0], outer)
			seams = s.mod.Seams(seams[:0], outer)
			x, _ = s.mod.Insert(x, seams[0], y)
		}); n > 0 {
			t.Errorf("%s: %.0f allocations to insert one", c.profile, n)
		}
	}
}

// Seams are where symbols of the body begin, and none are in what is nearly over, in
// blocks, in profiles for rooms, or where samples are resampled.
func TestSeams(t *testing.T) {
	for _, c := range []struct {
		profile              string
		rate, mcs, n, octets int
		want                 int
	}{
		{"cable", 48000, 23, 5, 740, 4},
		{"cable", 48000, 23, 1, 92, 0},
		{"cable", 48000, 21, 1, 60, 0},
		{"cable", 44100, 23, 5, 740, 0},
		{"air", 48000, 20, 8, 512, 0},
	} {
		s := newStation(t, c.profile, c.rate)
		b := burstOf(rand.New(rand.NewPCG(1, 1)), c.mcs, c.n, c.octets, 6)
		seams := s.mod.Seams(nil, b)
		if len(seams) != c.want {
			t.Errorf("%s at %d, MCS %d, %d frames of %d: seams %v, want %d", c.profile, c.rate, c.mcs, c.n, c.octets, seams, c.want)
		}
		total := s.mod.Samples(b)
		for i, at := range seams {
			if total-at < seamRest || i > 0 && at-seams[i-1] != 4096+96 {
				t.Errorf("%s MCS %d: seams %v of %d samples", c.profile, c.mcs, seams, total)
			}
		}
	}
}

// At the SNR of its mode and half a dB a short burst in the middle of another one is found and read, though it has neither chirp nor
// training, and what it is in the middle of goes on.
func TestInsideShort(t *testing.T) {
	const seed, runs = 45, 30
	for _, mcs := range []int{10, 12, 14, 20, 23} {
		s := newStation(t, "cable", 48000)
		rng := rand.New(rand.NewPCG(seed, uint64(mcs)))
		found, read, whole := 0, 0, 0
		for range runs {
			outer, inner := burstOf(rng, mcs, 4, 400, 13), burstOf(rng, mcs, 1, 59, 8)
			seam := 1 + rng.IntN(len(s.mod.Seams(nil, outer))-1)
			x := s.inserted(t, outer, []*modem.Burst{inner}, []int{seam})
			p := path{snr: s.mod.prof.modes[mcs].snr + 0.5, ppm: 200 * (rng.Float64() - 0.5)}
			for _, e := range listen(s.dem, s.carry(p, x, 3000, 6000, rng), 480) {
				if e.Kind != modem.Received {
					continue
				}
				some := slices.ContainsFunc(e.Burst.Frames, func(f []byte) bool { return f != nil })
				switch {
				case !e.Within && some:
					whole++
				case e.Within && some:
					read++
					fallthrough
				case e.Within:
					found++
				}
			}
		}
		t.Logf("MCS %d: of %d %d found and %d read, %d outer ones", mcs, runs, found, read, whole)
		if least := runs * 96 / 100; found < least || read < runs*90/100 || whole < least {
			t.Errorf("seed %d: MCS %d: of %d %d found and %d read, %d outer ones", seed, mcs, runs, found, read, whole)
		}
	}
}
