package ofdm_test

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"

	"lightsong/modem"
	"lightsong/modem/ofdm"
	"lightsong/sims"
)

// motion is a room in which one end is moved or a person walks.
type motion struct {
	rt60, drr    float64 // s, dB
	speed, share float64 // m/s; of the echoes' energy
	snr          float64 // dB over 0…24 kHz
}

// link is both ends of a path in profile air.
type link struct {
	mod *ofdm.Modulator
	dem *ofdm.Demodulator
}

func newLink(tb testing.TB) *link {
	tb.Helper()
	mod, err := ofdm.NewModulator("air", 48000)
	if err != nil {
		tb.Fatal(err)
	}
	dem, err := ofdm.NewDemodulator("air", 48000)
	if err != nil {
		tb.Fatal(err)
	}
	return &link{mod, dem}
}

// send sends one burst through a room drawn by seed and tells how many of its
// frames arrived, what the receiver saw, and the burst's length in seconds.
func (l *link) send(tb testing.TB, m motion, mcs modem.MCS, frames, octets int, seed uint64) (delivered int, q modem.Quality, seconds float64) {
	tb.Helper()
	rng := rand.New(rand.NewPCG(seed, 77))
	b := &modem.Burst{MCS: mcs}
	for range frames {
		f := make([]byte, octets)
		for i := range f {
			f[i] = byte(rng.Uint32())
		}
		b.Frames = append(b.Frames, f)
	}
	seconds = float64(l.mod.Samples(b)) / 48000
	q.SNR, q.Doppler = math.NaN(), math.NaN()
	l.hear(tb, m.path(tb, seed), m.snr, rng, b, func(e modem.Event) {
		q = e.Quality
		for i, f := range e.Burst.Frames {
			switch {
			case f == nil:
			case i < frames && bytes.Equal(f, b.Frames[i]):
				delivered++
			default:
				tb.Errorf("seed %d: a frame was received that was not sent", seed)
			}
		}
	})
	return delivered, q, seconds
}

// path from one end to the other, in a room drawn by seed.
func (m motion) path(tb testing.TB, seed uint64) *sims.Path {
	tb.Helper()
	cfg := sims.AirConfig{Seed: seed}
	cfg.Room.RT60, cfg.Room.DRR, cfg.Room.WalkerShare = &m.rt60, &m.drr, m.share
	cfg.Stations = map[string]sims.AirStation{"b": {SpeedMPS: &m.speed}}
	path, err := sims.NewPath(cfg, "a", "b")
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

// hear sends a burst over a path, with noise, and gives what was received to a function.
func (l *link) hear(tb testing.TB, path *sims.Path, snr float64, rng *rand.Rand, b *modem.Burst, received func(modem.Event)) {
	tb.Helper()
	x, err := l.mod.AppendBurst(make([]float32, 2500+rng.IntN(500)), b)
	if err != nil {
		tb.Fatal(err)
	}
	heard := path.Append(nil, append(x, make([]float32, 4000)...))
	sigma := math.Pow(10, (modem.LevelDBFS-snr)/20)
	for i := range heard {
		heard[i] += float32(sigma * rng.NormFloat64())
	}
	hear := func(e modem.Event) {
		if e.Kind == modem.Received {
			received(e)
		}
	}
	l.dem.Push(heard, hear)
	l.dem.Push(make([]float32, 1<<15), hear)
	l.dem.Reset()
}

// Bursts arrive while an end is moved by a hand, by which the direct wave's clock
// is up to 1460 ppm fast or slow and turns within the burst, and the echoes are
// noise to one another after a symbol.
func TestMovedStationsAreHeard(t *testing.T) {
	for _, c := range []struct {
		name   string
		motion motion
		mcs    modem.MCS
		octets int
	}{
		{"0.3 s, +3 dB, 0.5 m/s", motion{0.3, 3, 0.5, 0, 25}, 12, 256},
		{"0.5 s, −3 dB, 0.5 m/s", motion{0.5, -3, 0.5, 0, 25}, 10, 256},
		{"0.5 s, −3 dB, 0.1 m/s", motion{0.5, -3, 0.1, 0, 25}, 10, 256},
		{"0.5 s, −3 dB, 5 mm/s", motion{0.5, -3, 0.005, 0, 25}, 18, 1000},
		{"0.5 s, −3 dB, 10 % walks", motion{0.5, -3, 0, 0.1, 25}, 11, 256},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLink(t)
			const bursts, enough = 4, 3
			got := 0
			for seed := range uint64(bursts) {
				n, _, _ := l.send(t, c.motion, c.mcs, 1, c.octets, seed)
				got += n
			}
			if got < enough {
				t.Errorf("seeds 0…%d: %d of %d bursts arrived, want %d", bursts-1, got, bursts, enough)
			}
		})
	}
}

// So are questions and answers, which are a head and nothing else: the more of it there is, in
// more robust modes, the more the direct wave has turned when it is over.
func TestControlOfMovedStationsIsHeard(t *testing.T) {
	for _, m := range []motion{{0.3, 3, 0.5, 0, 20}, {0.5, -3, 0.5, 0, 20}} {
		l := newLink(t)
		const rooms, bursts, enough = 2, 3, 5
		for _, mcs := range []modem.MCS{9, 10, 13} {
			got := 0
			for seed := range uint64(rooms) {
				rng := rand.New(rand.NewPCG(seed, uint64(mcs)))
				path := m.path(t, seed)
				for range bursts {
					b := &modem.Burst{MCS: mcs, Control: make([]byte, 31)}
					for i := range b.Control {
						b.Control[i] = byte(rng.Uint32())
					}
					l.hear(t, path, m.snr, rng, b, func(e modem.Event) {
						if bytes.Equal(e.Burst.Control, b.Control) {
							got++
						}
					})
				}
			}
			if got < enough {
				t.Errorf("%+v, MCS %d, seeds 0…%d: %d of %d control blocks were read, want %d", m, mcs, rooms-1, got, rooms*bursts, enough)
			}
		}
	}
}

// The Doppler spread of a diffuse field is f·v/c/√3; a room that lies still has none.
// A receiver that sees some twelve symbols tells it to a factor of two, four of five
// times at least, and all together to √2, the step from one speed that is tried to the
// next. What a single burst is wrong by is mostly the direct wave, half of the energy:
// the circle on which the end is moved turns it by up to a third of a radian
// meanwhile, which no single skew follows.
func TestDopplerSpreadIsMeasured(t *testing.T) {
	l := newLink(t)
	for _, c := range []struct {
		speed        float64
		bursts, good int
	}{{0, 5, 5}, {0.03, 16, 13}, {0.1, 16, 13}} {
		want := 10500 * c.speed / 343 / math.Sqrt(3)
		good, log := 0, 0.
		var seen []float64
		for seed := range uint64(c.bursts) {
			_, q, _ := l.send(t, motion{0.15, 0, c.speed, 0, 25}, 10, 1, 512, seed)
			seen = append(seen, q.Doppler)
			if c.speed == 0 && q.Doppler == 0 || c.speed > 0 && q.Doppler > want/2 && q.Doppler < 2*want {
				good++
			}
			log += math.Log2(q.Doppler/want) / float64(c.bursts)
		}
		if good < c.good || c.speed > 0 && !(math.Abs(log) < 0.5) {
			t.Errorf("seeds 0…%d, %g m/s: Doppler spreads of %.2f Hz, want %.2f, %d of them to a factor of two and all to √2: %d, a factor of %.2f", c.bursts-1, c.speed, seen, want, c.good, good, math.Exp2(log))
		}
	}
}

// A sender that does what the receiver wants gets through, at once and at a
// rate worth while: what the issue of a moving link asks for.
func TestWantedModeDelivers(t *testing.T) {
	for _, c := range []struct {
		name   string
		motion motion
		first  modem.MCS
		goal   float64 // bit/s
	}{
		{"still", motion{0.3, 3, 0, 0, 25}, 11, 10000},
		{"5 mm/s", motion{0.3, 3, 0.005, 0, 25}, 11, 10000},
		{"0.1 m/s", motion{0.3, 3, 0.1, 0, 25}, 11, 2000},
		{"0.5 m/s, hard room", motion{0.5, -3, 0.5, 0, 25}, 11, 500},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLink(t)
			modes := ofdm.Modes("air", 48000)
			mcs := c.first
			var bits, seconds float64
			var used []modem.MCS
			for seed := range uint64(5) {
				octets := modes[mcs].FrameOctets
				n, q, s := l.send(t, c.motion, mcs, 1, octets, seed)
				used = append(used, mcs)
				if seed > 0 { // the first is not what it wanted
					bits += float64(8 * n * octets)
					seconds += s
				}
				if q.Wants {
					mcs = q.Want
				}
			}
			if bits/seconds < c.goal {
				t.Errorf("modes %v gave %.0f bit/s, want %.0f", used, bits/seconds, c.goal)
			}
		})
	}
}
