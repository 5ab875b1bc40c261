package audio_test

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"lightsong/modem"
	"lightsong/modem/dsp"
	"lightsong/phy/audio"
	"lightsong/sims"
)

// moved is a case of BenchmarkMotion: a room, in it one end that is moved or a
// person who walks.
type moved struct {
	name         string
	rt60, drr    float64 // s, dB
	speed, share float64 // m/s; of the echoes' energy
	goal         float64 // bit/s
}

var movedCases = func() (list []moved) {
	for _, room := range []moved{{name: "roomA", rt60: 0.3, drr: 3}, {name: "roomB", rt60: 0.5, drr: -3}} {
		for _, m := range []moved{
			{name: "5mm", speed: 0.005, goal: 10000},
			{name: "100mm", speed: 0.1, goal: 2000},
			{name: "500mm", speed: 0.5, goal: 500},
			{name: "walker1%", share: 0.01, goal: 10000},
			{name: "walker10%", share: 0.1, goal: 1000},
		} {
			m.name, m.rt60, m.drr = room.name+"/"+m.name, room.rt60, room.drr
			list = append(list, m)
		}
	}
	return list
}()

// movedOutcome is what came of bursts sent while something moves.
type movedOutcome struct {
	frames, delivered int
	seconds           float64 // on the air
	last              modem.Quality
}

func (o movedOutcome) share() float64 { return float64(o.delivered) / float64(max(1, o.frames)) }

// send sends a number of bursts, each in a room of its own with motion of its
// own and a clock 60 to 100 ppm off, at an SNR in dB over 0…rate/2. It gives up
// when more than a tenth of all frames is lost.
func (c moved) send(tb testing.TB, m *audio.Modem, snr float64, mcs modem.MCS, bursts, frames, octets int, seed uint64) (o movedOutcome) {
	tb.Helper()
	rng := rand.New(rand.NewPCG(seed, uint64(mcs)))
	interp := dsp.NewInterpolator()
	for range bursts {
		if float64(o.frames-o.delivered) > 0.1*float64(bursts*frames) {
			return o
		}
		b := &modem.Burst{MCS: mcs}
		for range frames {
			f := make([]byte, octets)
			for i := range f {
				f[i] = byte(rng.Uint32())
			}
			b.Frames = append(b.Frames, f)
		}
		x, err := m.AppendBurst(make([]float32, 2000+rng.IntN(2000)), b)
		if err != nil {
			tb.Fatal(err)
		}
		sent := m.Samples(b)
		var power float64
		for _, v := range x {
			power += float64(v) * float64(v)
		}
		power /= float64(sent)
		cfg := sims.AirConfig{Rate: m.Rate, Seed: rng.Uint64()}
		cfg.Room.RT60, cfg.Room.DRR, cfg.Room.WalkerShare = &c.rt60, &c.drr, c.share
		cfg.Stations = map[string]sims.AirStation{"b": {SpeedMPS: &c.speed}}
		path, err := sims.NewPath(cfg, "a", "b")
		if err != nil {
			tb.Fatal(err)
		}
		y := path.Append(nil, append(x, make([]float32, 8000)...))
		ppm := 60 + 40*rng.Float64()
		if rng.IntN(2) == 0 {
			ppm = -ppm
		}
		heard := make([]float32, len(y))
		interp.Read(heard, y, 0.37, 1+ppm*1e-6)
		sigma := math.Sqrt(power) * math.Pow(10, -snr/20)
		for i := range heard {
			heard[i] += float32(sigma * rng.NormFloat64())
		}
		o.frames += frames
		o.seconds += float64(sent) / float64(m.Rate)
		m.Push(heard, func(e modem.Event) {
			if e.Kind != modem.Received {
				return
			}
			o.last = e.Quality
			for i, f := range e.Burst.Frames {
				if f != nil && i < frames {
					if !bytes.Equal(f, b.Frames[i]) {
						tb.Fatalf("seed %d: a wrong frame", seed)
					}
					o.delivered++
				}
			}
		})
		for range 4 {
			m.Push(make([]float32, m.Rate/4), func(modem.Event) {})
		}
		m.Reset()
	}
	return o
}

// BenchmarkMotion measures the fastest mode of the profiles air and fsk that
// delivers 90 % while one end is moved or a person walks, at 25 dB over 0…24 kHz:
//
//	go test -run '^$' -bench Motion -benchtime 1x -timeout 0 ./phy/audio
//
// goodput is payload that arrived over time on the air, everything counted, of
// 40 packets, each a burst of its own; mode and length of the packet are chosen
// by other rooms than those they are measured in. Modes slower than the goal are
// not looked at.
func BenchmarkMotion(b *testing.B) {
	type choice struct {
		m              *audio.Modem
		mode           modem.Mode
		frames, octets int
		promised       float64
	}
	var sizes [][]choice
	for _, name := range []string{"air", "fsk"} {
		for _, size := range [][2]int{{1, 256}, {1, 1000}} {
			m, err := audio.OpenModem(name, 48000)
			if err != nil {
				b.Fatal(err)
			}
			var list []choice
			for _, mode := range m.Modes {
				burst := &modem.Burst{MCS: mode.MCS, Frames: make([][]byte, size[0])}
				for i := range burst.Frames {
					burst.Frames[i] = make([]byte, size[1])
				}
				if n := m.Samples(burst); n > 0 && n < 3*m.Rate {
					list = append(list, choice{m, mode, size[0], size[1], float64(8*size[0]*size[1]*m.Rate) / float64(n)})
				}
			}
			slices.SortStableFunc(list, func(a, b choice) int { return int(a.promised - b.promised) })
			sizes = append(sizes, list)
		}
	}
	for _, c := range movedCases {
		b.Run(c.name, func(b *testing.B) {
			for range b.N {
				// Each list is climbed until modes fail; what passed is measured, the
				// fastest first.
				var passed []choice
				for _, list := range sizes {
					failed, last := 0, c.goal
					for _, v := range list {
						if v.promised < last || failed == 4 {
							continue
						}
						last = 1.005 * v.promised // of modes that take as long the most robust will do
						if c.send(b, v.m, 25, v.mode.MCS, 6, v.frames, v.octets, 1).share() < 0.9 {
							failed++
							continue
						}
						failed = 0
						passed = append(passed, v)
					}
				}
				slices.SortStableFunc(passed, func(a, b choice) int { return int(b.promised - a.promised) })
				var best choice
				var got movedOutcome
				var goodput float64
				for _, v := range passed {
					o := c.send(b, v.m, 25, v.mode.MCS, 40/v.frames, v.frames, v.octets, 2)
					if o.share() >= 0.9 {
						best, got, goodput = v, o, float64(8*v.octets*o.delivered)/o.seconds
						break
					}
				}
				b.ReportMetric(goodput, "goodput-bit/s")
				b.ReportMetric(c.goal, "goal-bit/s")
				b.ReportMetric(100*got.share(), "delivered-%")
				b.Logf("%s: %.0f bit/s, %.0f %%: %s %d (%s), %d × %d octets in %.0f ms", c.name, goodput, 100*got.share(),
					best.mode.Profile, best.mode.MCS, best.mode.Description, best.frames, best.octets,
					1000*got.seconds/float64(max(1, got.frames/max(1, best.frames))))
			}
		})
	}
}
