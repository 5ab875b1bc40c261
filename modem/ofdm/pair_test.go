package ofdm

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Two streams come through whatever a lead does to them: 64-QAM at its 12 dB and
// 2^18-QAM over a clean lead.
func TestPairImpairments(t *testing.T) {
	const seed = 31
	clean := path{snr: 60, ppm: 40, highHz: 20, bits: 16}
	noisy := path{snr: 12.5, ppm: -80}
	const sixty4, dense = 16, 46
	for _, c := range []struct {
		name string
		mcs  int
		path path
		lead func(p *path)
	}{
		{"typical lead", dense, clean, func(p *path) { p.crosstalk = -40 }},
		{"bad lead", dense, clean, func(p *path) { p.crosstalk = -20 }},
		{"capacitive crosstalk", dense, clean, func(p *path) { p.crosstalk, p.rising = -30, true }},
		{"swapped", dense, clean, func(p *path) { p.crosstalk, p.swap = -40, true }},
		{"right turned", dense, clean, func(p *path) { p.crosstalk, p.turned = -40, true }},
		{"swapped, turned, bad", dense, clean, func(p *path) { p.crosstalk, p.swap, p.turned = -20, true, true }},
		{"right sent 5.4 samples late", dense, clean, func(p *path) { p.crosstalk, p.delay = -20, 5.4 }},
		{"right sent 5.4 samples early", dense, clean, func(p *path) { p.crosstalk, p.delay = -20, -5.4 }},
		{"right recorded 9 samples late", dense, clean, func(p *path) { p.crosstalk, p.late = -20, 9 }},
		{"noise, bad lead", sixty4, noisy, func(p *path) { p.crosstalk = -20 }},
		{"noise, swapped, turned", sixty4, noisy, func(p *path) { p.crosstalk, p.swap, p.turned = -40, true, true }},
		{"noise, 300 ppm", sixty4, noisy, func(p *path) { p.crosstalk, p.ppm = -40, 300 }},
		{"noise, gain −40 dB, offset", sixty4, noisy, func(p *path) { p.crosstalk, p.gain, p.offset, p.bits = -40, -40, 0.1, 16 }},
		{"silences", sixty4, noisy, func(p *path) { p.crosstalk, p.mute = -40, 0.02 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStation(t, "cable2", 48000)
			p := c.path
			c.lead(&p)
			o := s.send(t, p, c.mcs, 1, 16, 1024, 16, rand.New(rand.NewPCG(seed, 1)))
			if o.share() < 0.9 || o.control != 1 {
				t.Errorf("%d of %d frames, %d control blocks (seed %d)", o.delivered, o.frames, o.control, seed)
			}
			if o.wrong > 0 {
				t.Errorf("%d frames with wrong content", o.wrong)
			}
			if math.Abs(o.ppm-p.ppm) > 1 {
				t.Errorf("%.2f ppm measured, %.2f sent", o.ppm, p.ppm)
			}
			// Behind the equaliser a crosstalk of c costs 1 + c at most; short bursts
			// measure the noise to a quarter of a dB.
			if p.mute == 0 && p.snr < 20 && math.Abs(o.snr-p.snr) > 0.7 {
				t.Errorf("SNR %.2f dB measured, %.2f sent", o.snr, p.snr)
			}
		})
	}
}

// At 192 kHz the lead's band is four times as wide, and so is what two streams
// carry: half a second of it delivers 2.2 Mb/s with everything counted.
func TestPairAt192k(t *testing.T) {
	const seed, want = 33, 2.2e6
	s := newStation(t, "cable2", 192000)
	p := path{rate: 192000, snr: 60, ppm: 40, highHz: 20, bits: 16, crosstalk: -20, delay: 2.5}
	o := s.send(t, p, 54, 1, 48, 4095, 8, rand.New(rand.NewPCG(seed, 1)))
	if o.share() < 0.9 || o.goodput() < want {
		t.Errorf("%.0f bit/s, %d of %d frames (seed %d), want %.0f bit/s", o.goodput(), o.delivered, o.frames, seed, want)
	}
}

// With a broken conductor the head is read from the other channel. The frames,
// half of each missing, are erasures, and what the receiver tells of the burst
// says that the mode is hopeless.
func TestPairDeadChannel(t *testing.T) {
	const seed = 35
	for _, c := range []struct {
		name string
		dead [2]bool
		want string
	}{
		{"left", [2]bool{true, false}, "PAR"},
		{"right", [2]bool{false, true}, "PAR"},
		{"both", [2]bool{true, true}, ""},
	} {
		for _, crosstalk := range []float64{0, -40} {
			s := newStation(t, "cable2", 48000)
			rng := rand.New(rand.NewPCG(seed, 1))
			b := burstOf(rng, 34, 4, 700, 16)
			x, err := s.mod.AppendBurst(nil, b)
			if err != nil {
				t.Fatal(err)
			}
			p := path{snr: 50, ppm: 40, dead: c.dead, crosstalk: crosstalk}
			events := listen(s.dem, p.carryPair(x, 48000, 2000, 2000, rng), 4096)
			if kinds(events) != c.want {
				t.Errorf("%s dead: events %q, want %q (seed %d)", c.name, kinds(events), c.want, seed)
				continue
			}
			if c.want == "" {
				continue
			}
			e := events[2]
			if string(e.Burst.Control) != string(b.Control) {
				t.Errorf("%s dead: control block %x, want %x", c.name, e.Burst.Control, b.Control)
			}
			for i, f := range e.Burst.Frames {
				if f != nil {
					t.Errorf("%s dead: frame %d of half the signal", c.name, i)
				}
			}
			if least := cable2.modes[b.MCS].snr; e.SNR > least-10 {
				t.Errorf("%s dead: SNR %.1f dB, at %.1f dB the mode would work", c.name, e.SNR, least)
			}
		}
	}
}

// One of the channels may be hardly heard: what it says is then worth less, and
// the code evens it out as far as it can.
func TestPairUnequalChannels(t *testing.T) {
	const seed = 37
	s := newStation(t, "cable2", 48000)
	rng := rand.New(rand.NewPCG(seed, 1))
	b := burstOf(rng, 18, 6, 700, 16)
	x, err := s.mod.AppendBurst(nil, b)
	if err != nil {
		t.Fatal(err)
	}
	// Left comes 40 dB below right and below its own noise: too weak for the
	// header there.
	y := path{snr: 60, crosstalk: -40}.carryPair(x, 48000, 2000, 2000, rng)
	for i := 0; i < len(y); i += 2 {
		y[i] = 0.01*y[i] + 1e-4*float32(rng.NormFloat64())
	}
	events := listen(s.dem, y, 4096)
	if kinds(events) != "PAR" {
		t.Fatalf("events %q (seed %d)", kinds(events), seed)
	}
	same(t, events[2].Burst, b)
}

// Pairs may be cut anywhere, and a stream that is a value off is one whose
// channels are swapped and a sample apart.
func TestPairAlignment(t *testing.T) {
	s := newStation(t, "cable2", 48000)
	rng := rand.New(rand.NewPCG(4, 4))
	b := burstOf(rng, 33, 3, 500, 10)
	x, err := s.mod.AppendBurst(make([]float32, 2000), b)
	if err != nil {
		t.Fatal(err)
	}
	for _, piece := range []int{37, 480, len(x)} {
		s.dem.Reset()
		before := s.dem.have()
		events := listen(s.dem, x, piece)
		if kinds(events) != "PAR" {
			t.Fatalf("pieces of %d: events %q", piece, kinds(events))
		}
		same(t, events[2].Burst, b)
		if got, n := events[2].Start-before, s.mod.Samples(b); abs(got-1000) > 1 || abs(events[2].End-before-1000-int64(n)) > 1 {
			t.Errorf("pieces of %d: burst from %d to %d, want 1000 to %d", piece, got, events[2].End-before, 1000+n)
		}
	}
	s.dem.Reset()
	events := listen(s.dem, append(x[1:], make([]float32, 201)...), 480)
	if kinds(events) != "PAR" {
		t.Fatalf("a value off: events %q", kinds(events))
	}
	same(t, events[2].Burst, b)
}

// A receiver of one channel does not take a burst of two for its own, nor the
// other way round.
func TestPairAndSingleDiffer(t *testing.T) {
	one, two := newStation(t, "cable", 48000), newStation(t, "cable2", 48000)
	rng := rand.New(rand.NewPCG(5, 4))
	b := burstOf(rng, 33, 3, 500, 10)
	x, _ := two.mod.AppendBurst(nil, b)
	var left []float32
	for i := 0; i < len(x); i += 2 {
		left = append(left, x[i])
	}
	if events := listen(one.dem, append(left, make([]float32, 30000)...), 480); kinds(events) != "PM" {
		t.Errorf("one channel of two: events %q", kinds(events))
	}
	x, _ = one.mod.AppendBurst(nil, b)
	var both []float32
	for _, v := range append(x, make([]float32, 30000)...) {
		both = append(both, v, v)
	}
	if events := listen(two.dem, both, 480); kinds(events) != "PM" {
		t.Errorf("a burst of one channel on both: events %q", kinds(events))
	}
	for name, want := range map[string]int{"cable": 1, "cable2": 2, "nothing": 0} {
		if got := Channels(name); got != want {
			t.Errorf("%s has %d channels, want %d", name, got, want)
		}
	}
}

// The equaliser is what its formula says: streams apart, noise as predicted.
func TestSeparate(t *testing.T) {
	const seed, n = 41, 400
	rng := rand.New(rand.NewPCG(seed, 1))
	gauss := func(sigma float64) complex64 {
		return complex(float32(sigma*rng.NormFloat64()/math.Sqrt2), float32(sigma*rng.NormFloat64()/math.Sqrt2))
	}
	var w pairWay
	for c := range 2 {
		for s := range 2 {
			w.path[c][s].h = make([]complex64, 1)
		}
		w.noise[c] = []float32{0.02 * float32(c+1)}
	}
	for range 20 {
		for c := range 2 {
			for s := range 2 {
				w.path[c][s].h[0] = gauss(1)
			}
		}
		w.separate()
		var got [2]float64
		for range n {
			x := [2]complex64{known(bodyPart, rng.IntN(1000), 0), known(bodyPart, rng.IntN(1000), 1)}
			var y [2]complex64
			for c := range 2 {
				y[c] = w.path[c][0].h[0]*x[0] + w.path[c][1].h[0]*x[1] + gauss(math.Sqrt(float64(w.noise[c][0])))
			}
			for s := range 2 {
				got[s] += square(w.weight[s][0][0]*y[0]+w.weight[s][1][0]*y[1]-x[s]) / n
			}
		}
		for s := range 2 {
			// The mean of n squares of a complex Gaussian deviates by 1/√n.
			if r := got[s] / float64(w.left[s][0]); math.Abs(r-1) > 5/math.Sqrt(n) {
				t.Errorf("stream %d: error %.4f, predicted %.4f (seed %d)", s, got[s], w.left[s][0], seed)
			}
		}
	}
}

func FuzzPairDemodulator(f *testing.F) { fuzz(f, "cable2", 24) }
