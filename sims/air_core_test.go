package sims

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// sigmas is the margin of every statistical threshold: a deviation of 4.5
// standard deviations has a probability of 7e-6.
const sigmas = 4.5

const seed = 1 // of the configurations below; printed where a test fails

// dry is a room that changes nothing but the time: what a test is about it
// adds.
func dry() AirConfig {
	return AirConfig{
		Seed: seed,
		Room: AirRoom{RT60: new(0.0), OwnEcho: new(false)},
		Station: AirStation{
			SNRdB:        new(math.Inf(1)),
			SkewPPM:      new(0.0),
			SpeakerLimit: new(math.Inf(1)),
			MicLimit:     new(math.Inf(1)),
		},
	}
}

// drive runs a medium in lockstep: play gives a station's block, heard gets
// what it hears. The stations join in the order given.
func drive(t testing.TB, cfg AirConfig, seconds float64, names []string, play func(name string, block int) []float32, heard func(name string, samples []float32, lost int)) *core {
	t.Helper()
	c, err := newCore(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		c.attach(name)
	}
	for range int(seconds * float64(c.rate) / float64(c.step)) {
		turn(t, c, play, heard)
	}
	return c
}

// turn is one tick with its exchanges.
func turn(t testing.TB, c *core, play func(name string, block int) []float32, heard func(name string, samples []float32, lost int)) {
	t.Helper()
	for _, s := range c.stations {
		if !c.due(s) {
			continue
		}
		if len(s.recorded) < c.block {
			t.Fatalf("station %s has recorded %d samples when a block of %d is due", s.name, len(s.recorded), c.block)
		}
		in, lost := c.exchange(s, play(s.name, int(s.count.blocks)))
		if len(in)+lost != c.block {
			t.Fatalf("station %s: %d samples and %d lost are no block of %d", s.name, len(in), lost, c.block)
		}
		heard(s.name, in, lost)
	}
	c.tick()
}

// record drives a medium in which a plays x from the start, and returns what
// each station hears.
func record(t testing.TB, cfg AirConfig, seconds float64, x []float32, names ...string) map[string][]float32 {
	t.Helper()
	got := map[string][]float32{}
	drive(t, cfg, seconds, names, func(name string, block int) []float32 {
		n := blockSamples(cfg.rate())
		if from := block * n; name == "a" && from < len(x) {
			return x[from:min(len(x), from+n)]
		}
		return nil
	}, func(name string, samples []float32, _ int) { got[name] = append(got[name], samples...) })
	return got
}

// buffers is the delay that the devices of two stations add, in samples.
func buffers(cfg AirConfig) int {
	c := core{rate: cfg.rate()}
	return c.buffer(cfg.Station.BufferInMS) + c.buffer(cfg.Station.BufferOutMS)
}

func tone(hz, rms float64, rate, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(math.Sqrt2 * rms * math.Sin(2*math.Pi*hz*float64(i)/float64(rate)))
	}
	return x
}

func power(x []float32) float64 {
	var sum float64
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return sum / float64(len(x))
}

// The variance of n Gaussian samples is σ²·χ²(n)/n: relative standard
// deviation √(2/n). A white sequence's autocorrelation has 1/√n.
func TestNoiseIsWhiteAndAsLoudAsConfigured(t *testing.T) {
	for _, dBFS := range []float64{-42, -20} {
		cfg := dry()
		cfg.Station.SNRdB = nil
		cfg.Station.NoiseDBFS = new(dBFS)
		x := record(t, cfg, 10, nil, "a")["a"]
		n := float64(len(x))
		want := math.Pow(10, dBFS/10)
		if got := power(x); math.Abs(got/want-1) > sigmas*math.Sqrt(2/n) {
			t.Errorf("seed %d: power %.6g, want %.6g within %.2g", seed, got, want, sigmas*math.Sqrt(2/n))
		}
		for lag := 1; lag <= 50; lag++ {
			var sum float64
			for i := range x[lag:] {
				sum += float64(x[i]) * float64(x[i+lag])
			}
			if r := sum / n / want; math.Abs(r) > sigmas/math.Sqrt(n) {
				t.Errorf("seed %d: autocorrelation at lag %d is %.2g, want within %.2g", seed, lag, r, sigmas/math.Sqrt(n))
			}
		}
	}
}

// snr_db is measured as defined: a −12 dBFS tone over a 0 dB path, noise over
// the whole band, with a skewed clock in between.
func TestSNR(t *testing.T) {
	for _, want := range []float64{-5, 10, 25} {
		cfg := dry()
		cfg.Station.SNRdB = &want
		cfg.Station.SkewPPM = new(80.0)
		const hz = 1500
		x := tone(hz, amplitude(ReferenceDBFS), 48000, 48000*6)
		y := record(t, cfg, 5, x, "a", "b")["b"][4800:]
		// Both clocks are equally fast, so b hears hz exactly.
		var re, im float64
		for i, v := range y {
			re += float64(v) * math.Cos(2*math.Pi*hz*float64(i)/48000)
			im += float64(v) * math.Sin(2*math.Pi*hz*float64(i)/48000)
		}
		n := float64(len(y))
		signal := 2 * (re*re + im*im) / n / n
		got := 10 * math.Log10(signal/(power(y)-signal))
		// Noise: √(2/n). The tone's estimate: noise in one bin, 2·√(2N/S/n)/…,
		// bounded by 2/√(n·S/N).
		margin := 10 * math.Log10(1+sigmas*(math.Sqrt(2/n)+2/math.Sqrt(n*math.Pow(10, want/10))))
		if math.Abs(got-want) > margin {
			t.Errorf("seed %d: SNR %.3f dB, want %.3f ± %.3f", seed, got, want, margin)
		}
	}
}

// impulse measures an impulse response through the medium.
func impulse(t testing.TB, cfg AirConfig, seconds float64) []float32 {
	t.Helper()
	return record(t, cfg, seconds, []float32{1}, "a", "b")["b"][buffers(cfg):]
}

func TestDelayIsExactToTheSample(t *testing.T) {
	for _, tt := range []struct {
		name string
		rate int
		path AirPath
		want int
	}{
		{"no distance", 48000, AirPath{DistanceM: new(0.0)}, 0},
		{"3.43 m are 10 ms", 48000, AirPath{DistanceM: new(3.43)}, 480},
		{"1 m", 48000, AirPath{DistanceM: new(1.0)}, 140}, // 139.94
		{"delay given", 48000, AirPath{DelayMS: new(123.4)}, 5923},
		{"8 kHz", 8000, AirPath{DelayMS: new(100.0)}, 800},
		{"44.1 kHz", 44100, AirPath{DelayMS: new(10.0)}, 441},
		{"192 kHz", 192000, AirPath{DelayMS: new(10.0)}, 1920},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := dry()
			cfg.Rate = tt.rate
			tt.path.From, tt.path.To = "a", "b"
			cfg.Paths = []AirPath{tt.path}
			h := impulse(t, cfg, 0.4)
			for i, v := range h {
				want := 0.0
				if i == tt.want {
					want = 1
				}
				if math.Abs(float64(v)-want) > 1e-6 {
					t.Errorf("sample %d is %g, want %g: the impulse belongs at %d", i, v, want, tt.want)
				}
			}
		})
	}
}

// reverberation measures RT60 by Schroeder's backward integration ("New method
// of measuring reverberation time", JASA 37, 1965): the energy still to come,
// in dB, falls along a line; its slope is fitted from −5 to −35 dB (T30, ISO
// 3382-1).
func reverberation(h []float32, rate int) float64 {
	left := make([]float64, len(h))
	var sum float64
	for i := len(h) - 1; i >= 0; i-- {
		sum += float64(h[i]) * float64(h[i])
		left[i] = sum
	}
	var n, sx, sy, sxx, sxy float64
	for i, e := range left {
		if dB := 10 * math.Log10(e/left[0]); dB <= -5 && dB >= -35 {
			x := float64(i) / float64(rate)
			n, sx, sy, sxx, sxy = n+1, sx+x, sy+dB, sxx+x*x, sxy+x*dB
		}
	}
	return -60 * (n*sxx - sx*sx) / (n*sxy - sx*sy)
}

func TestRoomHasItsRT60AndDRR(t *testing.T) {
	for _, rt60 := range []float64{0.15, 0.3, 0.8} {
		for _, drr := range []float64{-10, 3} {
			for s := range uint64(3) {
				cfg := dry()
				cfg.Seed = s
				cfg.Room.RT60, cfg.Room.DRR = &rt60, &drr
				cfg.Paths = []AirPath{{From: "a", To: "b", DelayMS: new(7.0)}}
				h := impulse(t, cfg, rt60+0.2)[336:]
				if got := reverberation(h[1:], 48000); math.Abs(got/rt60-1) > 0.05 {
					t.Errorf("seed %d: RT60 %.4f s, want %.4f within 5 %%", s, got, rt60)
				}
				direct := math.Pow(float64(h[0]), 2)
				tail := power(h[1:]) * float64(len(h)-1)
				// Both are exact but for the rounding of the convolution.
				if got := 10 * math.Log10(direct/tail); math.Abs(got-drr) > 0.001 {
					t.Errorf("seed %d: DRR %.4f dB, want %.4f", s, got, drr)
				}
				if got := direct + tail; math.Abs(got-1) > 1e-4 {
					t.Errorf("seed %d: direct wave and tail have the energy %.6f, want 1", s, got)
				}
			}
		}
	}
}

// Gains of paths, of loudspeaker and microphone, and the loss by distance.
func TestGains(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*AirConfig)
		want   float64 // dB
	}{
		{"none", func(*AirConfig) {}, 0},
		{"room", func(c *AirConfig) { c.Room.GainDB = -6 }, -6},
		{"path instead of room", func(c *AirConfig) {
			c.Room.GainDB = -6
			c.Paths = []AirPath{{From: "a", To: "b", GainDB: new(-20.0)}}
		}, -20},
		{"speaker and microphone", func(c *AirConfig) {
			c.Stations = map[string]AirStation{"a": {SpeakerDB: new(-3.0)}, "b": {MicDB: new(-4.0)}}
		}, -7},
		{"10 m", func(c *AirConfig) {
			c.Room.DistanceLoss = true
			c.Paths = []AirPath{{From: "a", To: "b", DistanceM: new(10.0)}}
		}, -20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := dry()
			tt.change(&cfg)
			h := impulse(t, cfg, 0.2)
			if got := 10 * math.Log10(power(h)*float64(len(h))); math.Abs(got-tt.want) > 1e-4 {
				t.Errorf("gain %.5f dB, want %.5f", got, tt.want)
			}
		})
	}
}

// The partitioned convolution is the convolution: two sources with long
// responses against the definition.
func TestConvolution(t *testing.T) {
	rng := rand.New(rand.NewPCG(seed, 7))
	noise := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(rng.NormFloat64())
		}
		return x
	}
	cfg := dry()
	h := map[string][]float32{"a": noise(1777), "b": noise(240)}
	x := map[string][]float32{"a": noise(4800), "b": noise(4800)}
	clear(x["a"][1000:2500]) // a pause: silent ticks are skipped
	cfg.Paths = []AirPath{
		{From: "a", To: "c", Taps: h["a"], DelayMS: new(0.0)},
		{From: "b", To: "c", Taps: h["b"], DelayMS: new(30.0)},
	}
	var got []float32
	drive(t, cfg, 0.3, []string{"a", "b", "c"}, func(name string, block int) []float32 {
		if x := x[name]; 480*block < len(x) {
			return x[480*block:][:480]
		}
		return nil
	}, func(name string, samples []float32, _ int) {
		if name == "c" {
			got = append(got, samples...)
		}
	})
	got = got[buffers(cfg):]
	want := make([]float64, len(got))
	for name, delay := range map[string]int{"a": 0, "b": 1440} {
		for i, xv := range x[name] {
			for j, hv := range h[name] {
				if k := i + j + delay; k < len(want) {
					want[k] += float64(xv) * float64(hv)
				}
			}
		}
	}
	var dif, ref float64
	for i := range want {
		dif += math.Pow(float64(got[i])-want[i], 2)
		ref += want[i] * want[i]
	}
	// float32 rounds by 2^-24 in each of ~20 steps.
	if e := math.Sqrt(dif / ref); e > 20.0/(1<<24) {
		t.Errorf("seed %d: relative error %.2g, want ≤ %.2g", seed, e, 20.0/(1<<24))
	}
}

// A tone's phase advances by the ratio of the two clocks. Without noise its
// slope over 8 s at 5 kHz resolves 0.01 ppm with a phase error of 0.0025 rad.
func TestSkew(t *testing.T) {
	for _, tt := range []struct{ a, b float64 }{{0, 0}, {100, 0}, {0, 100}, {-300, 200}, {40, 40}, {1000, -1000}} {
		t.Run(fmt.Sprintf("%g to %g ppm", tt.a, tt.b), func(t *testing.T) {
			cfg := dry()
			cfg.Stations = map[string]AirStation{
				"a": {SkewPPM: new(tt.a), DriftPPMMin: new(0.0)},
				"b": {SkewPPM: new(tt.b), DriftPPMMin: new(0.0)},
			}
			const hz = 5000
			y := record(t, cfg, 9, tone(hz, 0.25, 48000, 48000*10), "a", "b")["b"]
			// The tone is as fast as a's clock, and b's samples as many as b's.
			heard := hz * (1 + tt.a*1e-6) / (1 + tt.b*1e-6)
			phase := func(from int) float64 {
				var re, im float64
				for i := from; i < from+4800; i++ {
					re += float64(y[i]) * math.Cos(2*math.Pi*heard*float64(i)/48000)
					im -= float64(y[i]) * math.Sin(2*math.Pi*heard*float64(i)/48000)
				}
				return math.Atan2(im, re)
			}
			const span = 8 * 48000
			turned := math.Remainder(phase(9600+span)-phase(9600), 2*math.Pi)
			ppm := turned / (2 * math.Pi * heard * span / 48000) * 1e6
			if math.Abs(ppm) > 0.01 {
				t.Errorf("the clocks differ by %.4f ppm more than configured", ppm)
			}
		})
	}
}

// The default skew is uniform within ±50 ppm, and the drift a random walk with
// the configured standard deviation after a minute, never beyond its limit.
func TestSkewIsDrawnAndDrifts(t *testing.T) {
	c, err := newCore(AirConfig{Seed: seed, Station: AirStation{DriftPPMMin: new(2.0)}})
	if err != nil {
		t.Fatal(err)
	}
	n := 300.0
	if testing.Short() {
		n = 100
	}
	var skew2, drift2 float64
	for i := range int(n) {
		s := c.attach(fmt.Sprint("station ", i))
		c.stations = nil // no paths between hundreds of stations
		if math.Abs(s.nominal) > defaultSkew*1e-6 {
			t.Errorf("seed %d: %g is beyond ±%g ppm", seed, s.nominal, defaultSkew)
		}
		skew2 += s.nominal * s.nominal * 1e12
		for range 60 * c.rate / c.step {
			s.wander()
		}
		drift2 += (s.skew - s.nominal) * (s.skew - s.nominal) * 1e12
		for range 2000 {
			s.drift = 3e-6
			if s.wander(); math.Abs(s.skew-s.nominal) > driftLimit*1.0000001 {
				t.Fatalf("seed %d: drifted by %g, beyond %g", seed, s.skew-s.nominal, driftLimit)
			}
		}
	}
	// A uniform variable's square has mean L²/3 and variance 4L⁴/45.
	if got, want := skew2/n, 2500.0/3; math.Abs(got/want-1) > sigmas*math.Sqrt(0.8/n) {
		t.Errorf("seed %d: mean square skew %.1f ppm², want %.1f", seed, got, want)
	}
	if got, want := drift2/n, 4.0; math.Abs(got/want-1) > sigmas*math.Sqrt(2.0/n) {
		t.Errorf("seed %d: mean square drift after a minute %.2f ppm², want %.2f", seed, got, want)
	}
}

func TestLimits(t *testing.T) {
	ramp := make([]float32, 4801)
	for i := range ramp {
		ramp[i] = float32(i-2400) / 600 // −4…4
	}
	t.Run("loudspeaker", func(t *testing.T) {
		cfg := dry()
		cfg.Station.SpeakerLimit = new(-6.0)
		limit := amplitude(-6)
		c, _ := newCore(cfg)
		s := c.attach("a")
		var limited int64
		for i, x := range ramp {
			s.play([]float32{x})
			r := math.Abs(float64(x)) / limit
			want := float64(x) / math.Pow(1+math.Pow(r, 6), 1.0/6)
			if got := float64(s.played[0]); math.Abs(got-want) > 1e-6 || math.Abs(got) > limit {
				t.Fatalf("sample %d: %g comes out as %g, want %g, not beyond %g", i, x, got, want, limit)
			}
			if r > 1 {
				limited++
			}
		}
		if s.count.speakerLimits != limited {
			t.Errorf("%d samples counted, want %d", s.count.speakerLimits, limited)
		}
	})
	t.Run("microphone", func(t *testing.T) {
		cfg := dry()
		cfg.Station.MicLimit = new(-6.0)
		cfg.Station.DCOffset = new(0.125)
		limit := float32(amplitude(-6))
		c, _ := newCore(cfg)
		s := c.attach("a")
		block := slices.Clone(ramp)
		s.listen(block)
		var clipped int64
		for i, x := range ramp {
			want := max(-limit, min(limit, x+0.125))
			if want != x+0.125 {
				clipped++
			}
			if block[i] != want {
				t.Fatalf("sample %d: %g comes out as %g, want %g", i, x, block[i], want)
			}
		}
		if s.count.micLimits != clipped {
			t.Errorf("%d samples counted, want %d", s.count.micLimits, clipped)
		}
	})
}

// The gain is one of three, changes at Poisson times, and never to itself.
func TestAGC(t *testing.T) {
	cfg := dry()
	cfg.Station.AGCStepDB, cfg.Station.AGCIntervalS, cfg.Station.MicDB = new(6.0), new(0.25), new(2.0)
	c, _ := newCore(cfg)
	s := c.attach("a")
	const seconds = 200
	seen := map[float32]int{}
	changes := 0
	last := float32(amplitude(2)) // before the first change
	ones := make([]float32, c.block)
	for range seconds * 100 {
		for i := range ones {
			ones[i] = 1
		}
		s.listen(ones)
		for _, v := range ones {
			seen[v]++
			if v != last {
				changes++
			}
			last = v
		}
	}
	want := seconds / 0.25
	if math.Abs(float64(changes)-want) > sigmas*math.Sqrt(want) {
		t.Errorf("seed %d: %d changes, want %.0f ± %.0f", seed, changes, want, sigmas*math.Sqrt(want))
	}
	if s.count.agcSteps < int64(changes) {
		t.Errorf("%d changes counted, %d heard", s.count.agcSteps, changes)
	}
	for _, dB := range []float64{-6, 0, 6} {
		if seen[float32(amplitude(2)*amplitude(dB))] == 0 {
			t.Errorf("the gain is never 2%+g dB", dB)
		}
	}
	if len(seen) != 3 {
		t.Errorf("%d levels, want 3: %v", len(seen), seen)
	}
}

// What is delivered and what is lost make up the stream: each sample after a
// gap has its right position.
func TestGaps(t *testing.T) {
	const interval, length = 0.2, 700
	seconds := 120.0
	if testing.Short() {
		seconds = 20
	}
	x := make([]float32, int(48000*seconds))
	for i := range x {
		x[i] = float32(i%900 + 1)
	}
	for _, silently := range []bool{false, true} {
		t.Run(fmt.Sprintf("silent %v", silently), func(t *testing.T) {
			cfg := dry()
			cfg.Paths = []AirPath{{From: "a", To: "b", DelayMS: new(0.0)}}
			cfg.Stations = map[string]AirStation{"b": {GapIntervalS: new(interval), GapSamples: new(length), GapSilent: &silently}}
			at, lost, wrong, zeros := -buffers(cfg), 0, 0, 0
			c := drive(t, cfg, seconds, []string{"a", "b"}, func(name string, block int) []float32 {
				if name == "a" && 480*(block+1) <= len(x) {
					return x[480*block:][:480]
				}
				return nil
			}, func(name string, samples []float32, l int) {
				if name != "b" {
					return
				}
				lost += l
				at += l
				for _, v := range samples {
					switch {
					case at >= 0 && v == 0:
						zeros++
					case at >= 0 && math.Abs(float64(v-x[at])) > 0.1:
						wrong++
					}
					at++
				}
			})
			n := &c.stations[1].count
			want := seconds / interval
			if math.Abs(float64(n.gaps)-want) > sigmas*math.Sqrt(want) {
				t.Errorf("seed %d: %d gaps, want %.0f ± %.0f", seed, n.gaps, want, sigmas*math.Sqrt(want))
			}
			if got := int(n.lost) + c.stations[1].gapLeft; got != int(n.gaps)*length {
				t.Errorf("%d gaps of %d samples took %d", n.gaps, length, got)
			}
			if wrong > 0 {
				t.Errorf("%d samples are not in their place", wrong)
			}
			told, hidden := lost, zeros
			if silently {
				told, hidden = hidden, told
			}
			if hidden != 0 || math.Abs(float64(told)-float64(n.lost)) > float64(buffers(cfg)) {
				t.Errorf("lost %d, zeroed %d, counted %d", lost, zeros, n.lost)
			}
		})
	}
}

// Frames of T that lie far enough apart are hit independently, with
// probability 1−exp(−λ(T+d)).
func TestHits(t *testing.T) {
	const frame, hit = 150 * time.Millisecond, 20 * time.Millisecond
	frames := 1500.0
	if testing.Short() {
		frames = 300
	}
	for _, p := range []float64{0.1, 0.3} {
		for _, mute := range []bool{false, true} {
			cfg := dry()
			cfg.Station.HitsPerS, cfg.Station.HitMS, cfg.Station.HitMute = new(HitRate(p, frame, hit)), new(20.0), &mute
			cfg.Station.HitDBFS = new(-9.0)
			c, _ := newCore(cfg)
			s := c.attach("a")
			touched := 0
			var energy float64
			hitSamples := 0
			carrier := float32(0.5)
			if !mute {
				carrier = 0
			}
			signal := make([]float32, int((frame+hit).Seconds()*48000))
			for range int(frames) {
				for i := range signal {
					signal[i] = carrier
				}
				s.listen(signal)
				hit := false
				for i, v := range signal {
					if v == carrier {
						continue
					}
					hitSamples++
					energy += float64(v) * float64(v)
					// The pause of d after each frame keeps frames apart.
					hit = hit || i < int(frame.Seconds()*48000)
				}
				if hit {
					touched++
				}
			}
			sd := math.Sqrt(p * (1 - p) / frames)
			if got := float64(touched) / frames; math.Abs(got-p) > sigmas*sd {
				t.Errorf("seed %d, mute %v: %.4f of the frames hit, want %.4f ± %.4f", seed, mute, got, p, sigmas*sd)
			}
			want := HitRate(p, frame, hit) * (frame + hit).Seconds() * frames
			if math.Abs(float64(s.count.hits)-want) > sigmas*math.Sqrt(want) {
				t.Errorf("seed %d: %d hits, want %.0f", seed, s.count.hits, want)
			}
			level := 0.0
			if !mute {
				level = math.Pow(10, -0.9)
			}
			if got := energy / float64(hitSamples); math.Abs(got-level) > level*sigmas*math.Sqrt(2/float64(hitSamples)) {
				t.Errorf("seed %d, mute %v: power during a hit %.5f, want %.5f", seed, mute, got, level)
			}
		}
	}
}

func TestReciprocityAndSeeds(t *testing.T) {
	response := func(change func(*AirConfig), from, to string) []float32 {
		cfg := AirConfig{Seed: seed}
		change(&cfg)
		c, err := newCore(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return c.response(from, to)
	}
	same := func(*AirConfig) {}
	oneWay := func(c *AirConfig) { c.Room.Reciprocal = new(false) }
	other := func(c *AirConfig) { c.Seed++ }
	given := func(c *AirConfig) { c.Paths = []AirPath{{From: "a", To: "b", DelayMS: new(3.0)}} }
	for _, tt := range []struct {
		name     string
		one, two []float32
		want     bool
	}{
		{"the same twice", response(same, "a", "b"), response(same, "a", "b"), true},
		{"the reverse", response(same, "a", "b"), response(same, "b", "a"), true},
		{"the reverse of a given one", response(given, "a", "b"), response(given, "b", "a"), true},
		{"the reverse, not reciprocal", response(oneWay, "a", "b"), response(oneWay, "b", "a"), false},
		{"another seed", response(same, "a", "b"), response(other, "a", "b"), false},
		{"another pair", response(same, "a", "b"), response(same, "a", "c"), false},
		{"own echoes", response(same, "a", "a"), response(same, "b", "b"), false},
	} {
		if got := slices.Equal(tt.one, tt.two); got != tt.want {
			t.Errorf("%s: equal %v, want %v", tt.name, got, tt.want)
		}
	}
}

// chatter is what a station plays in tests of determinism.
func chatter(name string, block int) []float32 {
	if (block/20+len(name))%3 == 0 {
		return nil
	}
	x := make([]float32, 480)
	for i := range x {
		x[i] = float32(math.Sin(float64(block*480+i) * (0.1 + float64(name[0])/500)))
	}
	return x
}

// hostile has every impairment at once.
func hostile() AirConfig {
	return AirConfig{
		Seed: seed,
		Station: AirStation{
			AGCStepDB: new(3.0), AGCIntervalS: new(0.5), GapIntervalS: new(0.5), HitsPerS: new(1.0),
			DriftPPMMin: new(5.0), DCOffset: new(0.01),
		},
		Jammers: []AirJammer{{}},
		Tones:   []AirTone{{Hz: 50}},
	}
}

func TestOneSeedOneResultInAnyOrder(t *testing.T) {
	seconds := 2.0
	if testing.Short() {
		seconds = 0.5
	}
	run := func(cfg AirConfig, names ...string) map[string][]float32 {
		got := map[string][]float32{}
		drive(t, cfg, seconds, names, chatter, func(name string, samples []float32, lost int) {
			got[name] = append(append(got[name], samples...), float32(lost))
		})
		return got
	}
	want := run(hostile(), "a", "b", "c")
	for _, order := range [][]string{{"a", "b", "c"}, {"c", "a", "b"}, {"b", "c", "a"}} {
		for name, got := range run(hostile(), order...) {
			if !slices.Equal(got, want[name]) {
				t.Errorf("station %s hears something else when they join as %v", name, order)
			}
		}
	}
	other := hostile()
	other.Seed++
	for name, got := range run(other, "a", "b", "c") {
		if slices.Equal(got, want[name]) {
			t.Errorf("station %s hears the same with another seed", name)
		}
	}
}

// Nobody's ends, long device buffers, extreme clocks: there is always a block
// when one is due (drive checks it).
func TestExtremeClocksNeverStarve(t *testing.T) {
	for _, rate := range []int{8000, 11025, 44100, 48000, 192000} {
		for _, ppm := range []float64{-1000, 0, 1000} {
			cfg := AirConfig{Rate: rate, Seed: seed, Station: AirStation{SkewPPM: &ppm, DriftPPMMin: new(100.0)}}
			seconds := 60.0
			if testing.Short() {
				seconds = 5
			}
			if rate > 100000 {
				seconds /= 10
			}
			blocks := 0
			drive(t, cfg, seconds, []string{"a"}, func(string, int) []float32 { return nil },
				func(string, []float32, int) { blocks++ })
			// The drift stays within 20 ppm.
			want := seconds * float64(rate) / float64(blockSamples(rate)) * (1 + ppm*1e-6)
			if math.Abs(float64(blocks)-want) > 2+want*20e-6 {
				t.Errorf("%d Hz, %g ppm: %d blocks, want %.1f", rate, ppm, blocks, want)
			}
		}
	}
}

func TestJammerAndTone(t *testing.T) {
	t.Run("tone", func(t *testing.T) {
		cfg := dry()
		cfg.Tones = []AirTone{{Hz: 1000, DBFS: new(-20.0), StartS: 1, StopS: 3}}
		x := record(t, cfg, 4, nil, "a")["a"][blockSamples(48000):]
		for i, v := range x {
			want := 0.0
			if s := i; s >= 48000 && s < 3*48000 {
				want = math.Sqrt2 * 0.1 * math.Sin(2*math.Pi*1000*float64(s)/48000)
			}
			if math.Abs(float64(v)-want) > 1e-6 {
				t.Fatalf("sample %d is %g, want %g", i, v, want)
			}
		}
	})
	t.Run("jammer", func(t *testing.T) {
		cfg := dry()
		cfg.Jammers = []AirJammer{{DBFS: new(-15.0)}}
		var on, off []int
		var energy float64
		run, loud := 0, true
		heard := map[string][]float32{}
		drive(t, cfg, 60, []string{"a", "b"}, func(string, int) []float32 { return nil }, func(name string, x []float32, _ int) {
			heard[name] = append(heard[name], x...)
		})
		if !slices.Equal(heard["a"], heard["b"]) {
			t.Error("the stations hear different jammers")
		}
		for _, v := range heard["a"][480:] {
			if (v != 0) != loud {
				if loud {
					on = append(on, run)
				} else {
					off = append(off, run)
				}
				run, loud = 0, !loud
			}
			run++
			energy += float64(v) * float64(v)
		}
		if len(on) < 60/0.3 || len(off) < 60/0.3-1 {
			t.Fatalf("%d bursts and %d pauses in a minute", len(on), len(off))
		}
		total := 0
		for _, n := range on {
			total += n
			if n < 2400-1 || n > 4800+1 {
				t.Errorf("a burst of %d samples, want 50…100 ms", n)
			}
		}
		for _, n := range off {
			if n < 4800-1 || n > 9600+1 {
				t.Errorf("a pause of %d samples, want 100…200 ms", n)
			}
		}
		got, want := energy/float64(total+run), math.Pow(10, -1.5)
		if !loud {
			got = energy / float64(total)
		}
		if math.Abs(got/want-1) > sigmas*math.Sqrt(2/float64(total)) {
			t.Errorf("seed %d: power of the bursts %.5f, want %.5f", seed, got, want)
		}
	})
}

// A station that leaves takes its future with it, not what it has already
// said; and its name can be taken again.
func TestSoundOutlivesItsStation(t *testing.T) {
	cfg := dry()
	cfg.Room.RT60, cfg.Room.DRR = new(0.3), new(0.0)
	c, err := newCore(cfg)
	if err != nil {
		t.Fatal(err)
	}
	a := c.attach("a")
	c.attach("b")
	loud := func(string, int) []float32 { return []float32{1, 1, 1, 1} }
	heard := map[string][]float32{}
	hear := func(name string, x []float32, _ int) { heard[name] = append(heard[name], x...) }
	for range 20 {
		turn(t, c, loud, hear)
	}
	c.leave(a)
	again := c.attach("a")
	if len(c.stations) != 3 {
		t.Fatalf("%d stations, want the old and the new a, and b", len(c.stations))
	}
	clear(heard)
	for range 4 {
		turn(t, c, func(string, int) []float32 { return nil }, hear)
	}
	if power(heard["b"]) == 0 {
		t.Error("the tail was cut off")
	}
	for range 200 {
		turn(t, c, func(string, int) []float32 { return nil }, hear)
	}
	if len(c.stations) != 2 || !slices.Contains(c.stations, again) {
		t.Errorf("%d stations after the tail, want the new a and b", len(c.stations))
	}
	if n := len(heard["b"]); power(heard["b"][n-480:]) != 0 {
		t.Error("the tail never ends")
	}
}

// What is not a number harms nobody.
func TestFaultySamples(t *testing.T) {
	cfg := dry()
	bad := []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), math.MaxFloat32, -math.MaxFloat32}
	for _, v := range record(t, cfg, 0.2, bad, "a", "b")["b"] {
		if v-v != 0 || math.Abs(float64(v)) > 2*loudest {
			t.Fatalf("b hears %g", v)
		}
	}
}

func TestValidate(t *testing.T) {
	if err := new(AirConfig).Validate(); err != nil {
		t.Errorf("the zero value: %v", err)
	}
	for _, tt := range []struct {
		key    string // that the sentence must name
		change func(*AirConfig)
	}{
		{"rate", func(c *AirConfig) { c.Rate = 4000 }},
		{"rate", func(c *AirConfig) { c.Rate = -1 }},
		{"speed", func(c *AirConfig) { c.Speed = new(-1.0) }},
		{"room.rt60_s", func(c *AirConfig) { c.Room.RT60 = new(6.0) }},
		{"room.drr_db", func(c *AirConfig) { c.Room.DRR = new(math.NaN()) }},
		{"room.size_m", func(c *AirConfig) { c.Room.SizeM = &[3]float64{1, -1, 1} }},
		{"station.skew_ppm", func(c *AirConfig) { c.Station.SkewPPM = new(2000.0) }},
		{"snr_db and noise_dbfs", func(c *AirConfig) { c.Station.SNRdB, c.Station.NoiseDBFS = new(1.0), new(1.0) }},
		{"stations.x.gap_samples", func(c *AirConfig) { c.Stations = map[string]AirStation{"x": {GapSamples: new(0)}} }},
		{"stations.x.buffer_in_ms", func(c *AirConfig) { c.Stations = map[string]AirStation{"x": {BufferInMS: new(1.0)}} }},
		{"station name", func(c *AirConfig) { c.Stations = map[string]AirStation{"x\n": {}} }},
		{"paths[0]", func(c *AirConfig) { c.Paths = []AirPath{{From: "a"}} }},
		{"paths[1]", func(c *AirConfig) { c.Paths = []AirPath{{From: "a", To: "b"}, {From: "a", To: "b"}} }},
		{"paths[0].taps_wav", func(c *AirConfig) { c.Paths = []AirPath{{From: "a", To: "b", TapsWAV: "x.wav"}} }},
		{"paths[0].taps", func(c *AirConfig) {
			c.Paths = []AirPath{{From: "a", To: "b", Taps: []float32{float32(math.NaN())}}}
		}},
		{"delay_ms and distance_m", func(c *AirConfig) {
			c.Paths = []AirPath{{From: "a", To: "b", DelayMS: new(1.0), DistanceM: new(1.0)}}
		}},
		{"jammers[0].on_ms", func(c *AirConfig) { c.Jammers = []AirJammer{{OnMS: &[2]float64{5, 4}}} }},
		{"jammers[0].stop_s", func(c *AirConfig) { c.Jammers = []AirJammer{{StartS: 5, StopS: 4}} }},
		{"tones[0].hz", func(c *AirConfig) { c.Tones = []AirTone{{Hz: 30000}} }},
	} {
		var cfg AirConfig
		tt.change(&cfg)
		err := cfg.Validate()
		if err == nil || !strings.Contains(err.Error(), tt.key) {
			t.Errorf("want a fault that names %q, got %v", tt.key, err)
		}
		if _, err2 := NewAir(cfg); fmt.Sprint(err2) != fmt.Sprint(err) {
			t.Errorf("NewAir says %v, Validate %v", err2, err)
		}
	}
}

func TestStationsInheritFieldByField(t *testing.T) {
	cfg := AirConfig{
		Station:  AirStation{SNRdB: new(30.0), DCOffset: new(0.1), HitMS: new(5.0)},
		Stations: map[string]AirStation{"a": {NoiseDBFS: new(-50.0), DCOffset: new(0.0)}},
	}
	a, b := cfg.station("a"), cfg.station("b")
	if a.SNRdB != nil || *a.NoiseDBFS != -50 || *a.DCOffset != 0 || *a.HitMS != 5 {
		t.Errorf("a is %+v", a)
	}
	if *b.SNRdB != 30 || b.NoiseDBFS != nil || *b.DCOffset != 0.1 || *b.HitMS != 5 {
		t.Errorf("b is %+v", b)
	}
}

// BenchmarkAir is a simulated second of two stations in a room, one of which
// transmits all the time, with skewed clocks, noise and own echoes: ns/op over
// 1e9 is the share of a core that it takes in real time.
func BenchmarkAir(b *testing.B) {
	for _, rt60 := range []float64{0.15, 0.3} {
		for _, busy := range []bool{true, false} {
			name := fmt.Sprintf("rt60=%g/idle", rt60)
			if busy {
				name = fmt.Sprintf("rt60=%g/transmitting", rt60)
			}
			b.Run(name, func(b *testing.B) {
				c, err := newCore(AirConfig{Seed: seed, Room: AirRoom{RT60: &rt60}})
				if err != nil {
					b.Fatal(err)
				}
				x := tone(1000, 0.25, 48000, 480)
				play := func(name string, _ int) []float32 {
					if busy && name == "a" {
						return x
					}
					return nil
				}
				hear := func(string, []float32, int) {}
				c.attach("a")
				c.attach("b")
				b.ReportAllocs()
				for b.Loop() {
					for range 200 {
						turn(b, c, play, hear)
					}
				}
			})
		}
	}
}

// TestUnplugged: a station whose plug is out neither is heard nor hears, whether
// it is the one that plays or the one that listens, and only then.
func TestUnplugged(t *testing.T) {
	const from, to = 0.5, 1.0
	for _, which := range []string{"a", "b"} {
		cfg := dry()
		cfg.Stations = map[string]AirStation{which: {UnplugStartS: new(from), UnplugStopS: new(to)}}
		got := record(t, cfg, 1.6, tone(1000, 0.1, 48000, 48000*3/2), "a", "b")["b"]
		// Buffers and blocks shift the edges by some 10 ms.
		for _, part := range []struct {
			from, to float64
			want     float64
		}{{0.1, 0.45, 0.01}, {0.55, 0.95, 0}, {1.1, 1.4, 0.01}} {
			if p := power(got[int(part.from*48000):int(part.to*48000)]); math.Abs(p-part.want) > 1e-3*part.want {
				t.Errorf("seed %d, %s unplugged, %g to %g s: power %g, want %g", seed, which, part.from, part.to, p, part.want)
			}
		}
	}
	cfg := dry()
	cfg.Station.UnplugStartS, cfg.Station.UnplugStopS = new(2.0), new(1.0)
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "unplug_stop_s") {
		t.Errorf("an end before the begin: %v", err)
	}
}
