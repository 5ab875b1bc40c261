package ofdm

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"lightsong/modem"
)

// repeated sends bursts of the same frames several times each, the control block
// another one every time, and returns which share of the frames had come after the
// first, the second … time, of bursts whose header was read every time; wrong ones
// are counted, too.
func (s *station) repeated(tb testing.TB, p path, mcs, bursts, frames, octets, times int, rng *rand.Rand) (share []float64, wrong int) {
	tb.Helper()
	share = make([]float64, times)
	total := 0
	for range bursts {
		b := burstOf(rng, mcs, frames, octets, 20)
		came := make([]int, frames) // with which transmission
		for i := range came {
			came[i] = times
		}
		read := 0
		for n := range times {
			b.Control = random(rng, 20)
			var err error
			if s.x, err = s.mod.AppendBurst(s.x[:0], b); err != nil {
				tb.Fatal(err)
			}
			s.dem.Push(s.carry(p, s.x, 3000+rng.IntN(3000), 3000, rng), func(e modem.Event) {
				if e.Kind != modem.Received || len(e.Burst.Frames) != frames {
					return
				}
				read++
				for i, f := range e.Burst.Frames {
					if f != nil && !bytes.Equal(f, b.Frames[i]) {
						wrong++
					} else if f != nil {
						came[i] = min(came[i], n)
					}
				}
			})
			s.dem.Push(make([]float32, s.mod.prof.channels()*s.dem.finders[len(s.dem.finders)-1].n), func(modem.Event) {})
			s.dem.Reset()
		}
		if read < times {
			continue
		}
		total += frames
		for _, n := range came {
			for ; n < times; n++ {
				share[n]++
			}
		}
	}
	for n := range share {
		share[n] /= float64(max(1, total))
	}
	return share, wrong
}

// BenchmarkRepeats measures which share of the frames has come after one, two and
// three transmissions, by SNR below the mode's threshold:
//
//	go test -run '^$' -bench Repeats -benchtime 1x ./modem/ofdm
func BenchmarkRepeats(b *testing.B) {
	for _, m := range []struct {
		profile string
		mcs     int
	}{{"voice", 10}, {"cable", 15}, {"cable", 26}} {
		p, _, err := find(m.profile, 48000)
		if err != nil {
			b.Fatal(err)
		}
		mode := p.modes[m.mcs]
		for below := 0.; below <= 5; below += 0.5 {
			b.Run(fmt.Sprintf("%s-%d/%.2fdB", m.profile, m.mcs, mode.snr-below), func(b *testing.B) {
				for range b.N {
					s := newStation(b, m.profile, 48000)
					frames := 8
					for s.mod.Samples(burstOf(rand.New(rand.NewPCG(1, 1)), m.mcs, frames, mode.octets, 20)) == 0 {
						frames /= 2
					}
					share, wrong := s.repeated(b, path{snr: mode.snr - below, ppm: 40}, m.mcs, 64/frames, frames, mode.octets, 3, rand.New(rand.NewPCG(21, uint64(m.mcs))))
					for n, v := range share {
						b.ReportMetric(100*v, fmt.Sprintf("of-%d-%%", n+1))
					}
					b.ReportMetric(float64(wrong), "wrong")
				}
			})
		}
	}
}

// Two copies are worth 3 dB, three 4.8: 2 dB below its threshold, where nothing comes
// at once, a mode delivers with the second transmission, 3.5 dB below with the third.
// Shaped modes, whose amplitudes are believed to be small twice over then, gain half a
// dB less.
func TestRepeated(t *testing.T) {
	const seed = 22
	for _, tt := range []struct {
		mcs   int
		below float64 // dB
		times int
	}{{15, 2, 2}, {15, 3.5, 3}, {18, 1.5, 2}} {
		s := newStation(t, "cable", 48000)
		snr := cable.modes[tt.mcs].snr - tt.below
		share, wrong := s.repeated(t, path{snr: snr, ppm: 40}, tt.mcs, 2, 8, 256, tt.times, rand.New(rand.NewPCG(seed, uint64(tt.mcs))))
		if first, last := share[0], share[tt.times-1]; first > 0.1 || last < 0.9 || wrong > 0 {
			t.Errorf("MCS %d at %g dB, seed %d: %.2f of the frames by transmissions, %d wrong; want hardly any of the first, 0.9 after %d", tt.mcs, snr, seed, share, wrong, tt.times)
		}
	}
}

// A frame that differs from one that was lost in a single octet, and comes hardly any
// better, is never taken for it.
func TestSimilarFramesAreToldApart(t *testing.T) {
	const seed, mcs = 23, 15
	s := newStation(t, "cable", 48000)
	rng := rand.New(rand.NewPCG(seed, 1))
	b := burstOf(rng, mcs, 6, 256, 20)
	lost := 0
	for n := range 4 {
		for _, f := range b.Frames {
			f[rng.IntN(len(f))]++
		}
		x, err := s.mod.AppendBurst(nil, b)
		if err != nil {
			t.Fatal(err)
		}
		// One burst 2 dB below the threshold, where a copy would help, the next at it.
		p := path{snr: cable.modes[mcs].snr - 2*float64((n+1)%2), ppm: 40}
		for _, e := range listen(s.dem, s.carry(p, x, 3000, 3000, rng), 4096) {
			if e.Kind != modem.Received {
				continue
			}
			for i, f := range e.Burst.Frames {
				if f == nil {
					lost++
				} else if !bytes.Equal(f, b.Frames[i]) {
					t.Errorf("seed %d, burst %d: frame %d is another one", seed, n, i)
				}
			}
		}
	}
	if lost < 6 {
		t.Errorf("seed %d: %d frames lost, too few to tell", seed, lost)
	}
}

// heardOf makes the coded bits of a frame, as the circular buffer has them, into LLRs
// behind a channel of so many dB.
func heardOf(cod *coder, p *plan, frame []byte, snr float64, rng *rand.Rand) []modem.LLR {
	info := make([]byte, p.words*p.k)
	cod.setPayload(p)
	cod.frameInfo(info, p, frame)
	n := cod.payload.N()
	soft := make([]modem.LLR, p.words*n)
	gamma := math.Pow(10, snr/10)
	for w := range p.words {
		bits := cod.payload.Encode(nil, info[w*p.k:][:p.k], 0)
		llr := make([]modem.LLR, len(bits))
		for i, v := range bits {
			y := float64(1-2*int(v)) + rng.NormFloat64()/math.Sqrt(2*gamma)
			llr[i] = modem.LLR(4 * gamma * y)
		}
		cod.payload.Dematch(soft[w*n:][:n], llr, 0)
	}
	return soft
}

// Copies find each other at 3 dB less than what the mode is for, and what is no copy
// never does: by chance in 10⁻⁹ of all comparisons.
func TestCopiesFindEachOther(t *testing.T) {
	const seed = 24
	rng := rand.New(rand.NewPCG(seed, 1))
	for _, tt := range []struct {
		prof   *profile
		mcs    int
		octets int
		snr    float64 // of a bit, dB: what two copies need, or less
	}{{&cable, 15, 64, -4.5}, {&cable, 15, 1024, -4.5}, {&voice, 0, 96, -17.5}, {&cable, 18, 732, -4}, {&air, 20, 1500, -3}} {
		s, _ := tt.prof.at(baseRate)
		var p plan
		if err := p.set(tt.prof, s, tt.mcs, 1, tt.octets, 63); err != nil {
			t.Fatal(err)
		}
		cod, c := newCoder(), newCombiner()
		frame := random(rng, tt.octets)
		fail := func(frame []byte) bool {
			c.begin(&p)
			soft := heardOf(&cod, &p, frame, tt.snr, rng)
			found := c.find(0, soft)
			c.note(0, soft)
			c.settle(func(int) bool { return false })
			return found
		}
		for i := range 20 {
			frame[0] = byte(i)
			if fail(frame) {
				t.Errorf("%s MCS %d, %d octets, seed %d: frame %d finds another", tt.prof.name, tt.mcs, tt.octets, seed, i)
			}
		}
		if len(c.kept) < 2 {
			t.Errorf("%s MCS %d, %d octets: %d of 20 frames are kept", tt.prof.name, tt.mcs, tt.octets, len(c.kept))
		}
		for i := 19; i > 20-min(20, len(c.kept)); i-- {
			frame[0] = byte(i)
			if !fail(frame) {
				t.Errorf("%s MCS %d, %d octets, seed %d: frame %d does not find its copy", tt.prof.name, tt.mcs, tt.octets, seed, i)
			}
		}
	}
}

// Whatever is heard, what is kept of it is bounded, and in the steady state nothing is
// allocated.
func TestCombinerIsBounded(t *testing.T) {
	const seed = 25
	rng := rand.New(rand.NewPCG(seed, 1))
	c := newCombiner()
	odd := []modem.LLR{0, 1e30, -1e30, float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), 0.3, -0.3}
	soft := make([]modem.LLR, 4*66*384)
	burst := func(mcs, frames, length int) {
		s, _ := air.at(baseRate)
		var p plan
		if err := p.set(&air, s, mcs, frames, length, 63); err != nil {
			t.Fatal(err)
		}
		c.begin(&p)
		for f := range p.units {
			soft := soft[:p.words*66*64]
			for i := range soft {
				soft[i] = odd[rng.IntN(len(odd))]
			}
			c.find(f, soft)
			c.note(f, soft)
		}
		c.settle(func(unit int) bool { return unit%7 == 3 })
		if n := octets(c.kept); len(c.kept) > mostKept || n > mostSoft || len(c.fresh) > 0 || c.room > mostSoft {
			t.Fatalf("seed %d: %d frames are kept in %d octets, at most %d in %d (and as much to be used again)", seed, len(c.kept), n+c.room, mostKept, mostSoft)
		}
	}
	for range 12 {
		burst(20+rng.IntN(6), 1+rng.IntN(120), 200+rng.IntN(200))
		burst(20+rng.IntN(6), 1+rng.IntN(10), 3000+rng.IntN(1095))
	}
	if len(c.kept) == 0 {
		t.Error("nothing is kept")
	}
	steady := func() { burst(22, 30, 1000) }
	steady()
	if n := testing.AllocsPerRun(3, steady); n > 0 {
		t.Errorf("%g allocations in the steady state", n)
	}
	// Slices of one length are used again for another: what they take counts, not what
	// they hold.
	for n := range 60 {
		length := 10000 + rng.IntN(30000)
		heard := soft[:length]
		for i := range heard {
			heard[i] = 1
		}
		c.own = family{words: 1, k: length}
		for range 1 + rng.IntN(2*mostKept) {
			c.tries = append(c.tries, try{copy: -1, fresh: -1})
		}
		for unit := range c.tries {
			c.note(unit, heard)
		}
		c.settle(func(int) bool { return false })
		if size := octets(c.kept); len(c.kept) == 0 || len(c.kept) > mostKept || size > mostSoft || c.room > mostSoft {
			t.Fatalf("seed %d, burst %d of %d LLRs a frame: %d frames are kept in %d octets, %d to be used again", seed, n, length, len(c.kept), size, c.room)
		}
	}
}

// Frames that differ in a bit have codewords that agree in half of their bits, within
// five standard deviations.
func TestWhitening(t *testing.T) {
	const seed = 26
	rng := rand.New(rand.NewPCG(seed, 1))
	s, _ := cable.at(baseRate)
	for _, mcs := range []int{3, 10, 15} {
		var p plan
		if err := p.set(&cable, s, mcs, 1, 256, 0); err != nil {
			t.Fatal(err)
		}
		c := newCoder()
		frame := make([]byte, 256)
		var words [2][]byte
		for i := range words {
			c.encodeBody(&p, &modem.Burst{Frames: [][]byte{frame}})
			words[i] = bytes.Clone(c.body[:min(len(c.body), c.payload.N()/2)])
			frame[rng.IntN(len(frame))] ^= 1 << rng.IntN(8)
		}
		same := 0
		for i, v := range words[0] {
			if v == words[1][i] {
				same++
			}
		}
		n := float64(len(words[0]))
		if math.Abs(float64(same)-n/2) > 2.5*math.Sqrt(n) {
			t.Errorf("MCS %d, seed %d: codewords agree in %d of %g bits", mcs, seed, same, n)
		}
	}
}
