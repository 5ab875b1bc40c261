package sims

import (
	"math"
	"math/cmplx"
	"slices"
	"testing"
)

// carry sends x over the channel of cfg.
func carry(t testing.TB, cfg AirConfig, x []float32, lead, trail int, seed uint64) []float32 {
	t.Helper()
	c, err := NewChannel(cfg)
	if err != nil {
		t.Fatal(err)
	}
	y := c.Carry(nil, x, lead, trail, seed)
	if len(y) != lead+len(x)+trail {
		t.Fatalf("seed %d: %d samples, want %d", seed, len(y), lead+len(x)+trail)
	}
	return y
}

// direct is a channel that changes nothing.
func direct() AirConfig {
	cfg := dry()
	cfg.Paths = []AirPath{{From: Sender, To: Listener, DelayMS: new(0.0)}}
	return cfg
}

// near allows for the rounding of the convolution, a few times 2^-24 of the
// largest sample.
func near(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(a, b float32) bool { return math.Abs(float64(a-b)) < 1e-6 })
}

// An ideal channel delivers the burst where it was put, behind what dst already
// holds.
func TestChannelPutsTheBurstInItsPlace(t *testing.T) {
	for _, rate := range []int{8000, 44100, 48000, 192000} {
		for _, lead := range []int{0, 1, 479, 5000} {
			cfg := direct()
			cfg.Rate = rate
			x := tone(1000, 0.25, rate, 2345)
			y := carry(t, cfg, x, lead, 700, seed)
			want := slices.Concat(make([]float32, lead), x, make([]float32, 700))
			if !near(y, want) {
				t.Errorf("%d Hz, %d samples before it: the burst is not where it belongs", rate, lead)
			}
		}
	}
	c, err := NewChannel(direct())
	if err != nil {
		t.Fatal(err)
	}
	if y := c.Carry([]float32{7}, []float32{1}, 1, 1, seed); !near(y, []float32{7, 0, 1, 0}) {
		t.Errorf("appended %v", y)
	}
}

// Noise power: relative standard deviation √(2/n); the SNR refers to
// ReferenceDBFS, whatever was sent.
func TestChannelNoise(t *testing.T) {
	for _, snr := range []float64{-19, 12, 60} {
		cfg := direct()
		cfg.Station.SNRdB = &snr
		y := carry(t, cfg, make([]float32, 200000), 0, 0, seed)
		got, want := power(y), math.Pow(10, (ReferenceDBFS-snr)/10)
		if margin := sigmas * math.Sqrt(2/float64(len(y))); math.Abs(got/want-1) > margin {
			t.Errorf("SNR %g dB, seed %d: noise power %.6g, want %.6g within %.2g", snr, seed, got, want, margin)
		}
	}
}

// Every seed is another room, each with the RT60 (Schroeder, T30), the DRR and
// the energy asked for.
func TestChannelRoom(t *testing.T) {
	for _, tt := range []struct{ rt60, drr float64 }{{0.3, 3}, {0.5, -3}, {1, -6}} {
		var last []float32
		for seed := range uint64(3) {
			cfg := direct()
			cfg.Room.RT60, cfg.Room.DRR = &tt.rt60, &tt.drr
			h := carry(t, cfg, []float32{1}, 0, int(tt.rt60*48000)+100, seed)
			if got := reverberation(h[1:], 48000); math.Abs(got/tt.rt60-1) > 0.05 {
				t.Errorf("seed %d: RT60 %.4f s, want %.4f within 5 %%", seed, got, tt.rt60)
			}
			wave, tail := math.Pow(float64(h[0]), 2), power(h[1:])*float64(len(h)-1)
			if got := 10 * math.Log10(wave/tail); math.Abs(got-tt.drr) > 0.001 {
				t.Errorf("seed %d: DRR %.4f dB, want %.4f", seed, got, tt.drr)
			}
			if got := wave + tail; math.Abs(got-1) > 1e-4 {
				t.Errorf("seed %d: energy %.6f, want 1", seed, got)
			}
			if slices.Equal(h, last) {
				t.Errorf("seed %d: the same room as before", seed)
			}
			last = h
		}
	}
}

// carrier is the amplitude and phase of a tone of hz in x.
func carrier(x []float32, hz float64, from, n int) complex128 {
	var sum complex128
	for i := from; i < from+n; i++ {
		sum += complex(float64(x[i]), 0) * cmplx.Exp(complex(0, -2*math.Pi*hz*float64(i)/48000))
	}
	return sum * complex(2/float64(n), 0)
}

// A tone's phase advances by the ratio of the two clocks; the resolution is that
// of TestSkew.
func TestChannelSkew(t *testing.T) {
	for _, ppm := range []float64{300, 40, -300} {
		cfg := direct()
		cfg.Stations = map[string]AirStation{Sender: {SkewPPM: &ppm, DriftPPMMin: new(0.0)}}
		const span = 4 * 48000
		y := carry(t, cfg, tone(5000, 0.25, 48000, 5*48000), 0, 0, seed)
		heard := 5000 * (1 + ppm*1e-6)
		turned := cmplx.Phase(carrier(y, heard, 9600+span, 4800) / carrier(y, heard, 9600, 4800))
		if off := turned / (2 * math.Pi * heard * span / 48000) * 1e6; math.Abs(off) > 0.02 {
			t.Errorf("%g ppm: off by %.4f ppm", ppm, off)
		}
	}
}

// The coupling's response is that of the filter y[n] = a·(y[n−1]+x[n]−x[n−1]),
// a = exp(−2π·corner/rate): at the corner 3 dB down.
func TestChannelCoupling(t *testing.T) {
	for _, tt := range []struct{ corner, hz float64 }{{100, 100}, {20, 500}, {200, 50}} {
		cfg := direct()
		cfg.Station.CouplingHz = &tt.corner
		x := tone(tt.hz, 0.25, 48000, 96000)
		y := carry(t, cfg, x, 0, 0, seed)
		const from, n = 48000, 48000 // settled: 1 s is 100 time constants and more
		got := carrier(y, tt.hz, from, n) / carrier(x, tt.hz, from, n)
		a := complex(math.Exp(-2*math.Pi*tt.corner/48000), 0)
		z := cmplx.Exp(complex(0, -2*math.Pi*tt.hz/48000))
		want := a * (1 - z) / (1 - a*z)
		if cmplx.Abs(got-want) > 1e-5 {
			t.Errorf("corner %g Hz: response at %g Hz is %.6f, want %.6f", tt.corner, tt.hz, got, want)
		}
		if tt.corner == tt.hz && math.Abs(20*math.Log10(cmplx.Abs(got))+3.01) > 0.06 {
			t.Errorf("%.2f dB at the corner, want −3.01", 20*math.Log10(cmplx.Abs(got)))
		}
	}
}

// Rounding to steps of Δ adds an error of Δ²/12 (Widrow), here of Gaussian noise
// that crosses many steps; the error's square has the relative variance 4/5.
func TestChannelConverter(t *testing.T) {
	for _, bits := range []int{8, 16} {
		cfg := direct()
		cfg.Station.SNRdB = new(0.0)
		fine := carry(t, cfg, make([]float32, 50000), 0, 0, seed)
		cfg.Station.Bits = &bits
		cfg.Station.MicLimit = new(0.0)
		coarse := carry(t, cfg, make([]float32, 50000), 0, 0, seed)
		step := math.Ldexp(1, 1-bits)
		var sum float64
		n := 0.0
		for i, v := range coarse {
			if math.Abs(float64(fine[i])) > 1-step {
				if math.Abs(float64(v)) > 1 {
					t.Fatalf("%d bits: %g is beyond full scale", bits, v)
				}
				continue
			}
			if whole := float64(v) / step; whole != math.Round(whole) {
				t.Fatalf("%d bits: %g is not a multiple of %g", bits, v, step)
			}
			e := float64(v) - float64(fine[i])
			sum += e * e
			n++
		}
		// float32 itself errs by 2^-25 of samples around 0.25, nothing beside 2^-15.
		if got, want := sum/n, step*step/12; math.Abs(got/want-1) > sigmas*math.Sqrt(0.8/n)+0.001 {
			t.Errorf("%d bits: mean square error %.4g, want %.4g", bits, got, want)
		}
	}
}

// Regular hits mute exactly their length in every interval, from a drawn moment on.
func TestChannelRegularHits(t *testing.T) {
	starts := map[int]bool{}
	for seed := range uint64(4) {
		cfg := direct()
		cfg.Station.HitsPerS, cfg.Station.HitMS, cfg.Station.HitMute, cfg.Station.HitRegular = new(4.0), new(20.0), new(true), new(true)
		x := make([]float32, 96000)
		for i := range x {
			x[i] = 0.25
		}
		y := carry(t, cfg, x, 0, 0, seed)
		muted, first := 0, -1
		for i, v := range y {
			if v == 0 {
				if muted++; first < 0 {
					first = i
				}
			}
			// A hit that began before the recording does is not seen again 12000
			// samples later.
			if i >= 24000 && (v == 0) != (y[i-12000] == 0) {
				t.Fatalf("seed %d: sample %d is not muted like the one 250 ms before", seed, i)
			}
		}
		// 8 hits of 960 samples; one may lie across either end.
		if muted < 7*960 || muted > 8*960 {
			t.Errorf("seed %d: %d samples muted, want 8 × 960", seed, muted)
		}
		starts[first] = true
	}
	if len(starts) < 3 {
		t.Errorf("hits of 4 seeds start at %v", starts)
	}
}

// The same seed gives the same samples, whoever else uses the channel.
func TestChannelRepeats(t *testing.T) {
	c, err := NewChannel(AirConfig{})
	if err != nil {
		t.Fatal(err)
	}
	x := tone(3000, 0.25, 48000, 20000)
	want := c.Carry(nil, x, 1000, 1000, 5)
	if slices.Equal(want, c.Carry(nil, x, 1000, 1000, 6)) {
		t.Error("another seed gives the same samples")
	}
	done := make(chan []float32)
	for range 4 {
		go func() { done <- c.Carry(nil, x, 1000, 1000, 5) }()
	}
	for range 4 {
		if !slices.Equal(want, <-done) {
			t.Error("the same seed gives other samples")
		}
	}
}

func TestChannelFaults(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  AirConfig
		want string
	}{
		{"station", AirConfig{Stations: map[string]AirStation{"bob": {}}}, `stations: a channel has a "sender" and a "listener", no "bob"`},
		{"bits", AirConfig{Station: AirStation{Bits: new(3)}}, "station.converter_bits = 3: must be from 4 to 32, or 0 for no rounding"},
		{"coupling", AirConfig{Station: AirStation{CouplingHz: new(math.NaN())}}, "station.ac_coupling_hz = NaN: must be from 0 to 24000"},
		{"room", AirConfig{Room: AirRoom{RT60: new(9.0)}}, "room.rt60_s = 9: must be from 0 to 5"},
	} {
		if _, err := NewChannel(tt.cfg); err == nil || err.Error() != tt.want {
			t.Errorf("%s: error %v, want %s", tt.name, err, tt.want)
		}
	}
}
