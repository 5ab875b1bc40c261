package sims

import (
	"fmt"
	"math"
	"math/cmplx"
	"slices"
	"testing"
)

// moved is a dry room in which b is moved; a's path to it is long enough for a
// wide circle.
func moved(seed uint64, speed, reach, distance float64) AirConfig {
	cfg := dry()
	cfg.Seed = seed
	cfg.Paths = []AirPath{{From: "a", To: "b", DistanceM: &distance}}
	cfg.Stations = map[string]AirStation{"b": {SpeedMPS: &speed, ReachM: &reach}}
	return cfg
}

// through sends x along the path from a to b.
func through(t testing.TB, cfg AirConfig, x []float32) []float32 {
	t.Helper()
	p, err := NewPath(cfg, "a", "b")
	if err != nil {
		t.Fatal(err)
	}
	return p.Append(nil, x)
}

// phasor is the amplitude and phase of the tone hz around sample at, over a
// Hann window of n.
func phasor(y []float32, hz float64, at, n int) complex128 {
	var sum complex128
	for i := range n {
		w := 1 - math.Cos(2*math.Pi*(float64(i)+0.5)/float64(n))
		t := at - n/2 + i
		_, turns := math.Modf(float64(t) * hz / 48000)
		sum += complex(w*float64(y[t]), 0) * cmplx.Rect(1, -2*math.Pi*turns)
	}
	return sum / complex(float64(n)/2, 0)
}

// A tone's phase in a room without echo is 2πf/c times the distance at every
// moment, which the geometry gives; the shift of its frequency is that of
// Doppler, v/c·f for a station that comes straight on.
func TestDopplerShiftsATone(t *testing.T) {
	for _, speed := range []float64{0.005, 0.1, 0.5, 2} {
		for seed := range uint64(3) {
			const distance, reach, seconds, window = 30., 9., 1., 240
			cfg := moved(seed, speed, reach, distance)
			var x []float32
			tones := []float64{1000, 6000, 15000, 19000}
			x = make([]float32, int(seconds*48000))
			for _, hz := range tones {
				for i, v := range tone(hz, 0.1, 48000, len(x)) {
					x[i] += v
				}
			}
			y := through(t, cfg, x)
			c, err := newCore(cfg)
			if err != nil {
				t.Fatal(err)
			}
			who, line := c.mover("b"), direction(c.draw("line", "a", "b"))
			away := func(at int) float64 { // from a, m, by the geometry
				d := who.at(float64(at) / 48000)
				var sum float64
				for i := range d {
					sum += (distance*line[i] + d[i]) * (distance*line[i] + d[i])
				}
				return math.Sqrt(sum)
			}
			start := int(math.Round(distance/speedOfSound*48000)) + 4800
			var shift, want float64
			for _, hz := range tones {
				first := phasor(y, hz, start, window)
				for at := start + 960; at < len(y)-960; at += 2401 {
					got := phasor(y, hz, at, window)
					turned := 2 * math.Pi * hz / speedOfSound * (away(at) - away(start))
					if off := cmplx.Phase(got / first * cmplx.Rect(1, turned)); math.Abs(off) > 0.02 {
						t.Fatalf("seed %d, %g m/s: phase of %g Hz at sample %d is %.4f rad off the distance", seed, speed, hz, at, off)
					}
					// The window of 5 ms takes from a tone 110 Hz off what it lets
					// through; at 5 Hz that is nothing.
					if speed <= 0.1 {
						if dB := decibels(cmplx.Abs(got) / cmplx.Abs(first)); math.Abs(dB) > 0.05 {
							t.Fatalf("seed %d, %g m/s: level of %g Hz changes by %.3f dB", seed, speed, hz, dB)
						}
					}
				}
				step := 48
				shift = cmplx.Phase(phasor(y, hz, start+step, window)/phasor(y, hz, start, window)) * 48000 / float64(step) / 2 / math.Pi
				want = -hz / speedOfSound * (away(start+step) - away(start)) * 48000 / float64(step)
				if math.Abs(shift-want) > 0.1+0.01*math.Abs(want) {
					t.Errorf("seed %d, %g m/s: %g Hz is shifted by %.3f Hz, want %.3f", seed, speed, hz, shift, want)
				}
			}
			if far := 19000 / speedOfSound * speed; math.Abs(want) > far {
				t.Errorf("seed %d: a shift of %g Hz is beyond v/c·f = %g", seed, want, far)
			}
		}
	}
}

// correlate sends tones through many rooms and returns the correlation of their
// phasors at two times, with the standard deviation that the number of waves,
// tones and rooms leaves it, and the mean power of each tone.
func correlate(t testing.TB, config func(seed uint64) AirConfig, rooms int, times [2]float64) (rho complex128, sigma, power float64) {
	const first, apart, count = 9960., 20., 24 // a band of 5 %: k is that of its middle
	x := make([]float32, int(times[1]*48000)+2400)
	for j := range count {
		hz := first + apart*float64(j)
		for i := range x {
			x[i] += float32(math.Sin(2*math.Pi*hz*float64(i)/48000 + float64(j*j)))
		}
	}
	var cross complex128
	var a, b float64
	for seed := range uint64(rooms) {
		y := through(t, config(seed), x)
		for j := range count {
			hz := first + apart*float64(j)
			u := phasor(y, hz, int(times[0]*48000), 4800)
			v := phasor(y, hz, int(times[1]*48000), 4800)
			cross += u * cmplx.Conj(v)
			a += real(u)*real(u) + imag(u)*imag(u)
			b += real(v)*real(v) + imag(v)*imag(v)
		}
	}
	n := float64(rooms)
	return cross / complex(math.Sqrt(a*b), 0), math.Sqrt(1/(n*waveCount) + 1/(n*count)), (a + b) / 2 / n / count
}

// The field of a tail is diffuse: sin(kd)/(kd) over the distance d between two
// places, and its square where somebody who has gone by d scatters it.
func TestFieldDecorrelatesAsADiffuseOneDoes(t *testing.T) {
	const k = 2 * math.Pi * 10190 / speedOfSound
	const rooms = 6
	for _, walks := range []bool{false, true} {
		for _, kd := range []float64{0.5, 1, 2, math.Pi, 4.5} {
			// It moves between two rests, so that the phasors are of one place each.
			start, stop := 0.25, 0.35
			speed := kd / k / (stop - start)
			config := func(seed uint64) AirConfig {
				cfg := dry()
				cfg.Seed = seed
				cfg.Room.RT60, cfg.Room.DRR = new(0.15), new(-40.0)
				if walks {
					cfg.Room.WalkerShare, cfg.Room.WalkerSpeedMPS = 1, &speed
					cfg.Room.WalkerStartS, cfg.Room.WalkerStopS = start, stop
				} else {
					cfg.Stations = map[string]AirStation{"b": {SpeedMPS: &speed, MoveStartS: &start, MoveStopS: &stop}}
				}
				return cfg
			}
			want := math.Sin(kd) / kd
			if walks {
				want *= want
			}
			got, sigma, _ := correlate(t, config, rooms, [2]float64{0.19, 0.41})
			if math.Abs(real(got)-want) > sigmas*sigma || math.Abs(imag(got)) > sigmas*sigma {
				t.Errorf("seeds 0…%d, walker %v, kd %.2f: correlation %.3f, want %.3f ± %.3f", rooms-1, walks, kd, got, want, sigmas*sigma)
			}
		}
	}
}

// Motion keeps the energy of a path on average, and a walker's share is what
// changes when he has gone far.
func TestMotionKeepsTheEnergy(t *testing.T) {
	for _, share := range []float64{0, 0.1, 0.5} {
		for _, speed := range []float64{0, 0.5} {
			const drr, rooms = -3., 6
			config := func(seed uint64) AirConfig {
				cfg := dry()
				cfg.Seed = seed
				cfg.Room.RT60, cfg.Room.DRR, cfg.Room.WalkerShare = new(0.15), new(drr), share
				cfg.Room.WalkerStartS, cfg.Room.WalkerStopS = 0.25, 0.45
				cfg.Stations = map[string]AirStation{"b": {SpeedMPS: &speed, MoveStartS: new(0.25), MoveStopS: new(0.45)}}
				return cfg
			}
			rho, sigma, power := correlate(t, config, rooms, [2]float64{0.19, 0.51})
			// The tones have amplitude 1; Between rooms the energy
			// in 480 Hz of band varies.
			if dB := 10 * math.Log10(power); math.Abs(dB) > 1.5 {
				t.Errorf("share %g, %g m/s: the mean power of a tone of amplitude 1 is %.2f dB", share, speed, dB)
			}
			if speed == 0 {
				tail := 1 / (1 + math.Pow(10, drr/10))
				if want := 1 - share*tail; math.Abs(real(rho)-want) > sigmas*sigma*(1-want)+0.02 {
					t.Errorf("share %g: %.3f of the path is as it was, want %.3f", share, real(rho), want)
				}
			}
		}
	}
}

// Until a station is picked up it hears, to the bit, what one that lies still
// does; and when it has been put down its path stays.
func TestPickedUpAndPutDown(t *testing.T) {
	still := moved(3, 0, defaultReach, 2)
	still.Room.RT60 = new(0.1)
	picked := moved(3, 0.5, defaultReach, 2)
	picked.Room.RT60 = new(0.1)
	b := picked.Stations["b"]
	b.MoveStartS, b.MoveStopS = new(0.4), new(0.6)
	picked.Stations["b"] = b
	x := tone(5000, 0.2, 48000, 2*48000)
	u, v := through(t, still, x), through(t, picked, x)
	start := int(0.4 * 48000)
	if !slices.Equal(u[:start], v[:start]) {
		t.Fatal("a station that has not been picked up yet hears otherwise")
	}
	for i := start - 10; i < start+480; i++ { // 0.5 m/s in 10 ms: 5 mm, 0.46 rad
		if d := math.Abs(float64(u[i] - v[i])); d > 0.2*math.Sqrt2*0.9 {
			t.Fatalf("sample %d jumps by %.3f when the motion begins", i, d)
		}
	}
	at := phasor(v, 5000, 48000*9/10, 4800)
	for _, later := range []int{12, 15, 19} {
		if d := cmplx.Abs(phasor(v, 5000, 48000*later/10, 4800)/at - 1); d > 1e-3 {
			t.Errorf("0.%d s after it was put down the path still changes: %g", later, d)
		}
	}
	if d := cmplx.Abs(phasor(u, 5000, 48000*9/10, 4800)/at - 1); d < 0.1 {
		t.Errorf("a station carried 10 cm away hears the same to %g", d)
	}
}

// What a hears of b that is moved is what b hears of a; and Path is the path of
// the Air.
func TestMotionIsReciprocalAndTheSameInTheAir(t *testing.T) {
	cfg := moved(5, 0.3, defaultReach, 2)
	cfg.Room.RT60, cfg.Room.WalkerShare = new(0.1), 0.2
	x := tone(3000, 0.2, 48000, 24000)
	there := through(t, cfg, x)
	p, err := NewPath(cfg, "b", "a")
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range p.Append(nil, x) {
		if math.Abs(float64(v-there[i])) > 1e-5 {
			t.Fatalf("sample %d: %g from b to a, %g from a to b", i, v, there[i])
		}
	}
	heard := record(t, cfg, 1, x, "a", "b")["b"]
	// In the air a's samples come later by its output buffer, and so does what
	// the motion does to them: the path has another shape by then. Compare the
	// one that is delayed likewise.
	late := make([]float32, buffers(cfg), len(x)+buffers(cfg))
	in := leastBuffer(48000)
	in = max(in, 480)
	late = append(late[:buffers(cfg)-in], x...)
	want := through(t, cfg, late)
	for i := range 20000 {
		if math.Abs(float64(heard[i+in]-want[i])) > 1e-5 {
			t.Fatalf("sample %d: %g in the air, %g by the path", i, heard[i+in], want[i])
		}
	}
}

// A path that somebody else's motion does not concern is the same without it.
func TestOthersLieStill(t *testing.T) {
	cfg := dry()
	cfg.Room.RT60 = new(0.1)
	x := tone(3000, 0.2, 48000, 9600)
	alone := record(t, cfg, 0.3, x, "a", "b")["b"]
	cfg.Stations = map[string]AirStation{"z": {SpeedMPS: new(0.5)}}
	with := record(t, cfg, 0.3, x, "a", "b", "z")
	if !slices.Equal(alone, with["b"]) {
		t.Error("b hears something else since z is moved")
	}
	if power(with["z"]) == 0 {
		t.Error("z hears nothing")
	}
}

func TestValidateMotion(t *testing.T) {
	for want, spoil := range map[string]func(*AirConfig){
		"station.speed_m_s = -1: must be from 0 to 10": func(c *AirConfig) { c.Station.SpeedMPS = new(-1.0) },
		"station.reach_m = 0: must be from 0.01 to 10": func(c *AirConfig) { c.Station.ReachM = new(0.0) },
		"station.move_stop_s = 1: must be after station.move_start_s, or 0 for never": func(c *AirConfig) {
			c.Station.MoveStartS, c.Station.MoveStopS = new(2.0), new(1.0)
		},
		"room.walker_share = 1.5: must be from 0 to 1":     func(c *AirConfig) { c.Room.WalkerShare = 1.5 },
		"room.walker_speed_m_s = 11: must be from 0 to 10": func(c *AirConfig) { c.Room.WalkerSpeedMPS = new(11.0) },
		"room.walker_start_s = -1: must not be negative":   func(c *AirConfig) { c.Room.WalkerStartS = -1 },
	} {
		var cfg AirConfig
		spoil(&cfg)
		if err := cfg.Validate(); fmt.Sprint(err) != want {
			t.Errorf("got %q, want %q", err, want)
		}
	}
}

// BenchmarkPath is the time of one simulated second: ns/op over 1e9 is the share
// of a core.
func BenchmarkPath(b *testing.B) {
	for _, c := range []struct {
		name         string
		speed, share float64
	}{{"still", 0, 0}, {"moved", 0.5, 0}, {"walker", 0, 0.1}, {"both", 0.5, 0.1}} {
		b.Run(c.name, func(b *testing.B) {
			cfg := moved(1, c.speed, defaultReach, 2)
			cfg.Room.RT60, cfg.Room.WalkerShare = new(0.5), c.share
			p, err := NewPath(cfg, "a", "b")
			if err != nil {
				b.Fatal(err)
			}
			x := tone(3000, 0.2, 48000, 48000)
			y := p.Append(nil, x)
			for b.Loop() {
				y = p.Append(y[:0], x)
			}
		})
	}
}
