package sounding_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"lightsong/modem"
	"lightsong/modem/sounding"
	"lightsong/sims"
)

// carry sends the sounding over a simulated path; lead are the seconds before it.
func carry(t testing.TB, s *sounding.Sounding, cfg sims.AirConfig, lead float64, seed uint64) []float32 {
	t.Helper()
	cfg.Rate = s.Rate()
	channel, err := sims.NewChannel(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return channel.Carry(nil, s.Append(nil), int(lead*float64(s.Rate())), s.Rate()/2, seed)
}

// find looks for the sounding in a whole recording.
func find(s *sounding.Sounding, x []float32) (int, bool) {
	for from := 0; from < len(x); from += s.Hop() {
		if at, ok := s.Find(x[from:min(len(x), from+s.Reach())]); ok {
			return from + at, true
		}
	}
	return 0, false
}

func open(t testing.TB, rate int) *sounding.Sounding {
	t.Helper()
	s, err := sounding.New(rate)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// path is a room, noise and clocks.
func path(rt60, drr, snr, ppmSender, ppmListener float64) sims.AirConfig {
	return sims.AirConfig{
		Room: sims.AirRoom{RT60: new(rt60), DRR: new(drr)},
		Stations: map[string]sims.AirStation{
			sims.Sender:   {SkewPPM: new(ppmSender), DriftPPMMin: new(0.0)},
			sims.Listener: {SkewPPM: new(ppmListener), DriftPPMMin: new(0.0), SNRdB: new(snr), MicLimit: new(math.Inf(1))},
		},
	}
}

func TestSignal(t *testing.T) {
	for _, rate := range []int{8000, 44100, 192000} {
		s := open(t, rate)
		x := s.Append([]float32{9})
		if len(x) != 1+s.Samples() || x[0] != 9 {
			t.Fatalf("%d Hz: Append gave %d samples, want %d behind the first", rate, len(x)-1, s.Samples())
		}
		x = x[1:]
		var peak, sum, steepest float64
		for i, v := range x {
			peak = max(peak, math.Abs(float64(v)))
			sum += float64(v) * float64(v)
			if i > 0 && x[i-1] == 0 {
				steepest = max(steepest, math.Abs(float64(v)))
			}
		}
		// The sweep is 3 dB above its RMS; noise has peaks.
		if db := 20 * math.Log10(peak); db < modem.LevelDBFS+3 || db > -5 {
			t.Errorf("%d Hz: peak %.1f dBFS, want %v to -5", rate, db, modem.LevelDBFS+3)
		}
		// What begins, begins softly: no click.
		if steepest > 1e-3 {
			t.Errorf("%d Hz: it begins with %.4f after silence", rate, steepest)
		}
	}
	for _, rate := range []int{0, -1, 7999, 192001} {
		if _, err := sounding.New(rate); err == nil {
			t.Errorf("a rate of %d Hz is taken", rate)
		}
	}
}

// TestRooms measures paths of which everything is known. The limits are those of
// the issue: RT60 within 25 %, skew within 5 ppm, SNR within 2 dB; what theory
// gives is closer by far, and so are these where they say so.
func TestRooms(t *testing.T) {
	for i, tt := range []struct {
		rate      int
		rt60, drr float64
		snr, a, b float64 // dB; ppm of the sender's and the listener's clock
		rtUnknown bool    // the decay drowns in noise before it has fallen by 15 dB
	}{
		{48000, 0, 3, 60, 0, 0, false},
		{48000, 0.15, 3, 25, 60, -40, false},
		{48000, 0.3, 3, 25, -50, 50, false},
		{48000, 0.3, -3, 25, 20, 0, false},
		{48000, 0.5, -3, 15, 400, 0, false},
		{48000, 0.6, 3, 40, -13, 11, false},
		{48000, 1.2, 3, 25, 0, 100, false},
		{48000, 0.3, 10, 60, 0, 0, false},
		{48000, 0.3, 3, 0, 80, 0, true},
		{44100, 0.4, 3, 20, 30, 0, false},
		{16000, 0.3, 3, 25, 50, -50, false},
		{16000, 0.6, -3, 10, 0, 0, false},
		{16000, 0.2, 3, 50, -200, 200, false},
		{16000, 0.3, 3, -6, 20, 0, true},
		{8000, 0.3, 3, 30, 50, 0, false},
		{8000, 1.0, 0, 30, 0, 50, false},
		{96000, 0.3, 3, 25, 50, -50, false},
	} {
		seed := uint64(100 + i)
		name := fmt.Sprintf("%d Hz RT60 %.2f DRR %+.0f SNR %+.0f ppm %+.0f", tt.rate, tt.rt60, tt.drr, tt.snr, tt.a-tt.b)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, tt.rate)
			const lead = 1.7
			x := carry(t, s, path(tt.rt60, tt.drr, tt.snr, tt.a, tt.b), lead, seed)
			at, ok := find(s, x)
			if !ok {
				t.Fatalf("seed %d: not found", seed)
			}
			r, ok := s.Analyse(x, at)
			if !ok {
				t.Fatalf("seed %d: no second sweep: %+.3v", seed, r.Alike)
			}
			ppm := ((1+tt.a*1e-6)/(1+tt.b*1e-6) - 1) * 1e6
			t.Logf("RT60 %.3f s (T%.0f), DRR %.1f dB, SNR %.2f dB, skew %.3f of %.3f ppm, foretold %.1f dB, gain %.2f dB",
				r.RT60, r.RT60Span, r.DRRdB, r.SNRdB, r.SkewPPM, ppm, r.ModelSNR, r.GainDB)
			limit := 0.25 * tt.rt60
			if tt.rtUnknown {
				limit = 0.5 * tt.rt60 // or nothing
			}
			if off := math.Abs(float64(r.RT60) - tt.rt60); off > limit || !r.RT60.Known() && !tt.rtUnknown {
				t.Errorf("seed %d: RT60 %.3f s, want %.3f ± %.3f", seed, r.RT60, tt.rt60, limit)
			}
			// 1 ppm where there is signal: the sweeps' responses agree to hundredths of
			// a sample in 10 s.
			limit = 1
			if tt.snr < 5 {
				limit = 5
			}
			if off := math.Abs(float64(r.SkewPPM) - ppm); !(off <= limit) {
				t.Errorf("seed %d: skew %.3f ppm, want %.3f ± %v", seed, r.SkewPPM, ppm, limit)
			}
			limit = 0.5
			if tt.snr < 5 {
				limit = 2
			}
			if off := math.Abs(float64(r.SNRdB) - tt.snr); !(off <= limit) {
				t.Errorf("seed %d: SNR %.2f dB, want %.2f ± %v", seed, r.SNRdB, tt.snr, limit)
			}
			if tt.rt60 > 0 && tt.snr > 5 {
				// Of the tail the first 2.5 ms count as direct.
				share := 1 - math.Pow(10, -6*0.0025/tt.rt60)
				d := math.Pow(10, tt.drr/10)
				want := 10 * math.Log10((d+share)/(1-share))
				if off := math.Abs(float64(r.DRRdB) - want); !(off <= 1.5) { // the tail's first 2.5 ms are 60 samples at 24 kHz, of chance energy
					t.Errorf("seed %d: DRR %.2f dB, want %.2f", seed, r.DRRdB, want)
				}
			}
			// The path is linear and stays: no gain that wanders.
			for _, st := range r.Steps {
				if tt.snr >= 10 && !(math.Abs(float64(st.GainDB)) < 0.3+5*float64(st.SD)) {
					t.Errorf("seed %d: what is %v dB quieter has a gain of %.2f dB", seed, -st.LevelDB, st.GainDB)
				}
			}
			for k, g := range r.Steady {
				if tt.snr >= 10 && !(math.Abs(float64(g)) < 0.3+5*float64(r.GainSD)) {
					t.Errorf("seed %d: in tenth %d of the steady noise the gain is %.2f dB", seed, k, g)
				}
			}
			if r.Clipped != 0 || r.Holes != 0 || r.EchoMS.Known() {
				t.Errorf("seed %d: clipped %d, holes %d, echo after %.1f ms on a path with none of them", seed, r.Clipped, r.Holes, r.EchoMS)
			}
			// The sounding begins where it was sent, and later by the way of at most 10 m.
			begin := lead * float64(tt.rate) / (1 + tt.a*1e-6) * (1 + tt.b*1e-6)
			if d := float64(r.Start) - begin; !(d > -3 && d < float64(tt.rate)*10/343) {
				t.Errorf("seed %d: found %.1f samples after it was sent", seed, d)
			}
			if len(r.Bands) < 10 {
				t.Errorf("%d bands", len(r.Bands))
			}
			if _, err := json.Marshal(r); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestBands colours the path: a first-order low-pass takes the high bands away by
// what its formula says.
func TestBands(t *testing.T) {
	const rate, seed, pole = 48000, 5, 0.8
	taps := make([]float32, 200)
	for i := range taps {
		taps[i] = float32((1 - pole) * math.Pow(pole, float64(i)))
	}
	cfg := path(0, 3, 40, 0, 0)
	cfg.Paths = []sims.AirPath{{From: sims.Sender, To: sims.Listener, Taps: taps}}
	s := open(t, rate)
	x := carry(t, s, cfg, 1.7, seed)
	at, _ := find(s, x)
	r, ok := s.Analyse(x, at)
	if !ok {
		t.Fatal("no sounding")
	}
	low, high := s.Band()
	for _, b := range r.Bands {
		var sum float64
		const steps = 200
		for i := range steps {
			f := b.Hz * math.Pow(2, (float64(i)+0.5)/steps/3-1.0/6)
			w := 2 * math.Pi * f / rate
			// Each step of equal ratio is wider by f.
			sum += f * (1 - pole) * (1 - pole) / (1 - 2*pole*math.Cos(w) + pole*pole)
		}
		width := b.Hz * (math.Pow(2, 1.0/6) - math.Pow(2, -1.0/6))
		response := 10 * math.Log10(sum/steps*math.Ln2/3/width)
		noise := modem.LevelDBFS - 40 + 10*math.Log10(width/(rate/2))
		snr := response + modem.LevelDBFS + 10*math.Log10(width/(high-low)) - noise
		// Noise of n independent samples scatters by 4.34·√(2/n) dB.
		limit := 0.5 + 4.5*4.34*math.Sqrt(1/(1.2*width))
		if math.Abs(float64(b.ResponseDB)-response) > 0.5 || math.Abs(float64(b.SNRdB)-snr) > limit || math.Abs(float64(b.NoiseDBFS)-noise) > limit {
			t.Errorf("%.0f Hz: response %.2f of %.2f dB, noise %.2f of %.2f dBFS, SNR %.2f of %.2f dB", b.Hz, b.ResponseDB, response, b.NoiseDBFS, noise, b.SNRdB, snr)
		}
	}
}

func TestSingleEcho(t *testing.T) {
	const rate, seed = 48000, 6
	taps := make([]float32, 9601)
	taps[0], taps[9600] = 1, 0.2 // −14 dB after 200 ms
	cfg := path(0, 3, 40, 30, 0)
	cfg.Paths = []sims.AirPath{{From: sims.Sender, To: sims.Listener, Taps: taps}}
	s := open(t, rate)
	x := carry(t, s, cfg, 1.7, seed)
	at, _ := find(s, x)
	r, _ := s.Analyse(x, at)
	if math.Abs(float64(r.EchoMS)-200) > 1 || math.Abs(float64(r.EchoDB)+14) > 1 {
		t.Errorf("an echo of %.1f dB after %.1f ms, want -14 after 200", r.EchoDB, r.EchoMS)
	}
}

// TestHarmonics overdrives a loudspeaker whose curve is known: of y = x + a·x³ the
// third harmonic of a sine of amplitude A is a·A²/4 of its fundamental, which is
// itself changed by 3·a·A²/4; of y = x + a·x² the second is a·A/2.
func TestHarmonics(t *testing.T) {
	s := open(t, 48000)
	amplitude := math.Sqrt2 * math.Pow(10, modem.LevelDBFS/20)
	for _, tt := range []struct {
		name          string
		square, cubic float64
		second, third float64
	}{
		{"square", 0.3, 0, 20 * math.Log10(0.3*amplitude/2), math.NaN()},
		{"cubic", 0, -1, math.NaN(), 20 * math.Log10(amplitude*amplitude/4/(1-0.75*amplitude*amplitude))},
	} {
		x := append(make([]float32, 60000), s.Append(nil)...)
		x = append(x, make([]float32, 30000)...)
		rng := rand.New(rand.NewPCG(1, 2))
		for i, v := range x {
			v := float64(v)
			x[i] = float32(v + tt.square*v*v + tt.cubic*v*v*v + 1e-4*rng.NormFloat64())
		}
		at, _ := find(s, x)
		r, _ := s.Analyse(x, at)
		for i, want := range []float64{tt.second, tt.third} {
			got := float64(r.Harmonic[i])
			if math.IsNaN(want) {
				// What lies above half the rate comes back as other frequencies, here and there.
				if got > float64(r.Harmonic[1-i])-15 {
					t.Errorf("%s: harmonic %d of %.1f dB, where there is none", tt.name, i+2, got)
				}
			} else if !(math.Abs(got-want) < 1) {
				t.Errorf("%s: harmonic %d of %.1f dB, want %.1f", tt.name, i+2, got, want)
			}
		}
	}
}

// TestClipping cuts waves off, at full scale and below, and must not take the
// tops of clean waves for it, nor those of waves that a converter of 16 bit has
// rounded.
func TestClipping(t *testing.T) {
	for _, tt := range []struct {
		name  string
		limit float64 // dBFS
		bits  int
		rt60  float64
		want  bool
	}{
		{"clean", 6, 0, 0.3, false},
		{"clean, 16 bit", 6, 16, 0, false},
		{"clean lead, 16 bit", 0, 16, 0, false},
		{"full scale", 0, 0, 0.3, true},
		{"below, 16 bit", -12, 16, 0, true},
		{"a little", -8.5, 0, 0, true}, // the sweep's amplitude is −9 dBFS, and noise is on top
		{"below", -10, 0, 0.3, true},
	} {
		cfg := path(tt.rt60, 3, 40, 10, 0)
		l := cfg.Stations[sims.Listener]
		l.MicLimit, l.Bits = new(tt.limit), new(tt.bits)
		if tt.name == "full scale" {
			l.MicDB = new(6.0)
		}
		cfg.Stations[sims.Listener] = l
		s := open(t, 48000)
		x := carry(t, s, cfg, 1.7, 8)
		at, ok := find(s, x)
		if !ok {
			t.Fatal(tt.name, "not found")
		}
		r, _ := s.Analyse(x, at)
		if clipped := r.Clipped > 0; clipped != tt.want {
			t.Errorf("%s: %d samples clipped, peak %.2f dBFS", tt.name, r.Clipped, r.PeakDBFS)
		}
		if tt.want && math.Abs(float64(r.ClipDBFS)-tt.limit) > 0.01 {
			t.Errorf("%s: clipped at %.3f dBFS, want %v", tt.name, r.ClipDBFS, tt.limit)
		}
	}
}

// TestNotThere gives what is no sounding: noise, music of a sort, one sweep alone,
// nothing, and nonsense. Nothing of it may panic or be taken for one.
func TestNotThere(t *testing.T) {
	s := open(t, 8000)
	rng := rand.New(rand.NewPCG(3, 4))
	noise := make([]float32, 20*8000)
	for i := range noise {
		noise[i] = float32(0.1 * rng.NormFloat64())
	}
	tones := make([]float32, len(noise))
	hz := 200.0
	phase := 0.0
	for i := range tones {
		if i%1000 == 0 {
			hz = 100 + 1500*rng.Float64()
		}
		phase += 2 * math.Pi * hz / 8000
		tones[i] = float32(0.2 * math.Sin(phase))
	}
	one := append(make([]float32, 16000), s.Append(nil)[:3*8000]...)
	one = append(one, noise...)
	strange := append([]float32(nil), noise...)
	for i := 0; i < len(strange); i += 97 {
		strange[i] = []float32{float32(math.NaN()), float32(math.Inf(1)), 1e30, -1e30}[i%4]
	}
	for name, x := range map[string][]float32{
		"noise": noise, "tones": tones, "one sweep": one, "nothing": nil, "zeros": make([]float32, 100000), "a click": {1}, "nonsense": strange,
	} {
		for from := 0; from <= len(x); from += s.Hop() {
			at, ok := s.Find(x[from:min(len(x), from+s.Reach())])
			if !ok {
				continue
			}
			if r, ok := s.Analyse(x, from+at); ok {
				t.Errorf("%s: taken for a sounding at %d: alike %.3f", name, from+at, r.Alike)
			}
		}
		if r, ok := s.Analyse(x, len(x)/2); ok && name != "nonsense" {
			t.Errorf("%s: taken for a sounding: alike %.3f", name, r.Alike)
		}
	}
}

func TestGaps(t *testing.T) {
	s := open(t, 16000)
	x := carry(t, s, path(0.2, 3, 30, 0, 0), 1.7, 9)
	at, _ := find(s, x)
	// Two holes in the steady noise, one in a pause, where it is nobody's fault.
	for _, from := range []float64{6.2, 8.0, 2.5} {
		clear(x[at+int(from*16000):][:160])
	}
	if r, _ := s.Analyse(x, at); r.Holes != 2 {
		t.Errorf("%d holes, want 2", r.Holes)
	}
}

func TestValue(t *testing.T) {
	for v, want := range map[sounding.Value]string{1.23456: "1.2346", sounding.Value(math.Inf(-1)): "null", -100: "-100", 0: "0", 1e-9: "0"} {
		got, err := json.Marshal(v)
		if err != nil || string(got) != want {
			t.Errorf("%v is %s in JSON, want %s (%v)", float64(v), got, want, err)
		}
	}
	if got, _ := json.Marshal(sounding.Value(math.NaN())); string(got) != "null" {
		t.Errorf("NaN is %s", got)
	}
}
