package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lightsong/modem/dsp"
	"lightsong/phy/audio"
	"lightsong/sims"
)

// examine sends doctor's sounding over a simulated path, changes it by what is
// not in the simulator, and lets doctor measure it.
func examine(t *testing.T, mode, profile string, rate int, cfg sims.AirConfig, seed uint64, change func(x []float32, rate int)) *Doctor {
	t.Helper()
	test, err := newDoctorTest(profile, rate)
	if err != nil {
		t.Fatal(err)
	}
	played, err := test.append(nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Rate = rate
	channel, err := sims.NewChannel(cfg)
	if err != nil {
		t.Fatal(err)
	}
	lead := test.seconds(soundingLead)
	x := channel.Carry(nil, played, lead, 3*rate, seed)
	if change != nil {
		change(x, rate)
	}
	rec := newRecording(rate, 1)
	rec.add(x, 0)
	rec.end(nil)
	d := &Doctor{Mode: mode, Profile: profile, Device: "simulated", Rate: rate}
	if mode == "loop" {
		err = d.loop(t.Context(), rec, test, lead)
	} else {
		err = d.search(t.Context(), rec, test, func() bool { return true })
	}
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	d.judge()
	return d
}

// usualRoom is RT60 0.3 s, 25 dB, clocks 60 ppm apart.
func usualRoom() sims.AirConfig {
	return sims.AirConfig{
		Room: sims.AirRoom{RT60: new(0.3), DRR: new(3.0)},
		Stations: map[string]sims.AirStation{
			sims.Sender:   {SkewPPM: new(40.0)},
			sims.Listener: {SkewPPM: new(-20.0), SNRdB: new(25.0)},
		},
	}
}

// The enemies of modems, as they are known from conference software.

// autoGain follows the level down within 10 ms and up within half a second, and
// takes away the share of its changes.
func autoGain(share float64) func(x []float32, rate int) {
	return func(x []float32, rate int) {
		level := 0.1
		for i, v := range x {
			a := math.Abs(float64(v))
			tau := 0.5
			if a > level {
				tau = 0.01
			}
			level += (a - level) / (tau * float64(rate))
			x[i] = v * float32(math.Pow(0.1/max(level, 0.005), share))
		}
	}
}

// suppressNoise is spectral subtraction: what has been in a band for longer than a
// second is taken for noise, and 20 dB of it away.
func suppressNoise(x []float32, rate int) {
	n := 512
	fft := dsp.NewRealFFT(n)
	y := make([]complex64, n/2+1)
	noise := make([]float64, n/2+1)
	in, out := make([]float32, n), make([]float32, len(x)+n)
	window := make([]float32, n)
	for i := range window {
		window[i] = float32(math.Sin(math.Pi * (float64(i) + 0.5) / float64(n)))
	}
	for from := 0; from+n <= len(x); from += n / 2 {
		for i := range in {
			in[i] = x[from+i] * window[i]
		}
		fft.Forward(y, in)
		for k, v := range y {
			p := float64(real(v)*real(v) + imag(v)*imag(v))
			if p < noise[k] {
				noise[k] += 0.1 * (p - noise[k])
			} else {
				noise[k] = min(p, max(noise[k], 1e-9)*math.Pow(10, 3*float64(n)/2/float64(rate))) // 30 dB a second
			}
			g := max(0.1, math.Sqrt(max(0, 1-noise[k]/max(p, 1e-12))))
			y[k] *= complex(float32(g), 0)
		}
		fft.Inverse(in, y)
		for i, v := range in {
			out[from+i] += v * window[i]
		}
	}
	copy(x, out)
}

// cancelEcho takes out what is played, the better the longer it could learn: its
// error falls by 8.7 dB in each 0.7 s of sound, to -40 dB. Noise it leaves.
func cancelEcho(x []float32, rate int) {
	learnt := 0.0
	level := 0.0
	rng := rand.New(rand.NewPCG(5, 6))
	for i, v := range x {
		level += (float64(v*v) - level) / (0.02 * float64(rate))
		if level > 1e-3 {
			learnt += 1 / float64(rate)
		}
		x[i] = v*float32(max(0.01, math.Exp(-learnt/0.7))) + float32(0.003*rng.NormFloat64())
	}
}

// cutPauses is a noise gate.
func cutPauses(x []float32, rate int) {
	block := rate / 50
	for from := 0; from+block <= len(x); from += block {
		var sum float64
		for _, v := range x[from:][:block] {
			sum += float64(v) * float64(v)
		}
		if sum/float64(block) < 1e-3 {
			clear(x[from:][:block])
		}
	}
}

// TestDoctorFinds gives doctor paths with one fault each and wants that named,
// and nothing else first; and paths without.
func TestDoctorFinds(t *testing.T) {
	for _, tt := range []struct {
		name     string
		mode     string
		profile  string
		rate     int
		alter    func(c *sims.AirConfig, l *sims.AirStation)
		change   func(x []float32, rate int)
		want     string // the first finding; empty: none
		profiled string // recommended
	}{
		{"a good room", "listen", "air", 48000, nil, nil, "", "air"},
		{"its own loop", "loop", "air", 48000, nil, nil, "", "air"},
		{"a lead", "listen", "cable", 48000, func(c *sims.AirConfig, l *sims.AirStation) {
			c.Room.RT60, l.SNRdB, l.Bits = new(0.0), new(55.0), new(16)
		}, nil, "", "cable"},
		{"ultrasound tried", "listen", "ultra", 48000, nil, nil, "", "air"},
		{"fsk tried", "listen", "fsk", 48000, nil, nil, "", "air"},
		{"clipped", "listen", "air", 24000, func(_ *sims.AirConfig, l *sims.AirStation) { l.MicDB = new(8.0) }, nil, findClipped, ""},
		{"clipped below full scale", "listen", "air", 24000, func(_ *sims.AirConfig, l *sims.AirStation) { l.MicLimit = new(-10.0) }, nil, findClipped, ""},
		{"overdriven loudspeaker", "listen", "air", 24000, func(c *sims.AirConfig, l *sims.AirStation) {
			s := c.Stations[sims.Sender]
			s.SpeakerLimit = new(-12.0)
			c.Stations[sims.Sender] = s
			l.MicDB = new(-6.0)
		}, nil, findOverdriven, ""},
		{"gain in steps", "listen", "air", 24000, func(_ *sims.AirConfig, l *sims.AirStation) {
			l.AGCStepDB, l.AGCIntervalS, l.MicDB = new(6.0), new(2.0), new(-8.0)
		}, nil, findAGC, ""},
		{"gain in small steps", "loop", "air", 24000, func(_ *sims.AirConfig, l *sims.AirStation) {
			l.AGCStepDB, l.AGCIntervalS, l.MicDB = new(3.0), new(2.0), new(-8.0)
		}, nil, findAGC, ""},
		{"gain that follows the level", "listen", "air", 24000, nil, autoGain(0.5), findAGC, ""},
		{"gain that follows the level a little", "loop", "air", 24000, nil, autoGain(0.2), findAGC, ""},
		{"noise suppression", "listen", "air", 24000, nil, suppressNoise, findSuppressed, ""},
		{"noise suppression in its own loop", "loop", "air", 24000, nil, suppressNoise, findSuppressed, ""},
		{"echo cancellation", "loop", "air", 24000, func(_ *sims.AirConfig, l *sims.AirStation) { l.SNRdB = new(60.0) }, cancelEcho, findCancelled, ""},
		{"pauses cut out", "listen", "air", 24000, nil, cutPauses, findGated, ""},
		{"a moving station", "listen", "air", 24000, func(c *sims.AirConfig, _ *sims.AirStation) {
			s := c.Stations[sims.Sender]
			s.SpeedMPS = new(0.2)
			c.Stations[sims.Sender] = s
		}, nil, findChanges, ""},
		{"noisy", "listen", "air", 24000, func(_ *sims.AirConfig, l *sims.AirStation) { l.SNRdB, l.MicDB = new(5.0), new(-12.0) }, nil, findWeak, ""},
		{"clocks far apart", "listen", "air", 24000, func(_ *sims.AirConfig, l *sims.AirStation) { l.SkewPPM, l.DriftPPMMin = new(-600.0), new(0.0) }, nil, findSkew, ""},
		{"holes", "listen", "air", 24000, nil, func(x []float32, rate int) {
			clear(x[8*rate:][:rate/50])
		}, findLost, ""},
		{"an echo of its own", "listen", "air", 24000, func(c *sims.AirConfig, l *sims.AirStation) {
			taps := make([]float32, 2401)
			taps[0], taps[2400] = 0.7, 0.2
			c.Paths = []sims.AirPath{{From: sims.Sender, To: sims.Listener, Taps: taps}}
		}, nil, findEcho, ""},
		{"an offset", "listen", "air", 24000, func(_ *sims.AirConfig, l *sims.AirStation) { l.DCOffset, l.MicDB = new(0.1), new(-6.0) }, nil, findOffset, ""},
		{"nothing played", "loop", "air", 24000, func(c *sims.AirConfig, _ *sims.AirStation) { c.Room.GainDB = math.Inf(-1) }, nil, findNotHeard, ""},
		{"nobody plays", "listen", "air", 24000, func(c *sims.AirConfig, _ *sims.AirStation) { c.Room.GainDB = math.Inf(-1) }, nil, findNotHeard, ""},
		{"muted", "loop", "air", 24000, nil, func(x []float32, _ int) { clear(x) }, findSilent, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			const seed = 11
			cfg := usualRoom()
			if tt.alter != nil {
				l := cfg.Stations[sims.Listener]
				tt.alter(&cfg, &l)
				cfg.Stations[sims.Listener] = l
			}
			d := examine(t, tt.mode, tt.profile, tt.rate, cfg, seed, tt.change)
			var out bytes.Buffer
			if err := d.print(&out); err != nil {
				t.Error(err)
			}
			t.Logf("\n%s", out.String())
			got := ""
			if len(d.Findings) > 0 {
				got = d.Findings[0].Code
			}
			if got != tt.want {
				t.Errorf("seed %d: found %q first of %+v, want %q", seed, got, d.Findings, tt.want)
			}
			if tt.profiled != "" && (d.Recommended == nil || d.Recommended.Profile != tt.profiled) {
				t.Errorf("seed %d: recommended %+v, want %s", seed, d.Recommended, tt.profiled)
			}
			if !strings.HasSuffix(d.Next, ".") && d.Sound != nil || d.Next == "" || strings.Contains(d.Next, "NaN") || strings.Contains(out.String(), "NaN") {
				t.Errorf("next: %q", d.Next)
			}
			if _, err := json.Marshal(d); err != nil {
				t.Error(err)
			}
			var picture bytes.Buffer
			if err := writeDoctorSVG(&picture, d); err != nil {
				t.Error(err)
			}
			wellFormed(t, picture.Bytes())
			if tt.want == "" && (d.Burst.Good < d.Burst.Frames || bytes.Count(picture.Bytes(), []byte("<path")) <= 20) {
				t.Errorf("burst %+v, picture of %d octets", d.Burst, picture.Len())
			}
			if dots := bytes.Count(picture.Bytes(), []byte("<circle")); tt.want == "" && tt.profile != "fsk" && dots < 100 {
				t.Errorf("a constellation of %d dots", dots)
			}
		})
	}
}

// wellFormed wants XML.
func wellFormed(t *testing.T, text []byte) {
	t.Helper()
	for dec := xml.NewDecoder(bytes.NewReader(text)); ; {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Errorf("the picture: %v", err)
			return
		}
	}
}

// TestDoctorOnAir runs doctor on a simulated air: on its own, and one that plays
// to one that listens.
func TestDoctorOnAir(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "air.sock")
	air, err := sims.NewAir(sims.AirConfig{
		Seed: 4, Speed: new(20.0), Room: sims.AirRoom{RT60: new(0.3), DRR: new(3.0)},
		Station:  sims.AirStation{SNRdB: new(25.0)},
		Stations: map[string]sims.AirStation{"doctor-play": {SkewPPM: new(30.0), DriftPPMMin: new(0.0)}, "doctor-listen": {SkewPPM: new(-30.0), DriftPPMMin: new(0.0)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	l, err := listenUnix(ctx, socket)
	if err != nil {
		t.Fatal(err)
	}
	background(t, func() error { _ = air.Run(ctx); return nil })
	background(t, func() error { _ = air.Serve(ctx, l); return nil })
	t.Cleanup(cancel)
	device := "air:" + socket

	var d struct {
		Doctor
		Sound *struct {
			RT60    float64 `json:"rt60_s"`
			SNRdB   float64 `json:"snr_db"`
			SkewPPM float64 `json:"skew_ppm"`
		} `json:"sound"`
	}
	picture := filepath.Join(dir, "loop.svg")
	out, errs, code := execute(t, "doctor", "--device", device, "--json", "--picture", picture)
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if d.RoundTripMS == nil || math.Abs(*d.RoundTripMS-d.DeviceMS) > 25 || d.Sound == nil || math.Abs(d.Sound.RT60-0.3) > 0.075 ||
		math.Abs(d.Sound.SNRdB-25) > 2 || math.Abs(d.Sound.SkewPPM) > 1 || len(d.Findings) != 0 {
		t.Errorf("its own loop: %s", out)
	}
	text, err := os.ReadFile(picture)
	if err != nil {
		t.Fatal(err)
	}
	wellFormed(t, text)

	type end struct {
		out, errs string
		code      int
	}
	heard := make(chan end, 1)
	begins := air.Stats().Time
	go func() {
		var e end
		e.out, e.errs, e.code = execute(t, "doctor", "--listen", "--device", device, "--json")
		heard <- e
	}()
	for listened := time.Duration(0); listened < 6*time.Second; time.Sleep(10 * time.Millisecond) { // of the air's time
		now := air.Stats()
		if !slices.ContainsFunc(now.Stations, func(s sims.StationStats) bool { return s.Name == "doctor-listen" }) {
			begins = now.Time
		}
		listened = now.Time - begins
	}
	if _, errs, code := execute(t, "doctor", "--play", "--device", device); code != 0 || !strings.Contains(errs, "played a sounding") {
		t.Errorf("play: exit code %d: %s", code, errs)
	}
	e := <-heard
	if e.code != 0 {
		t.Fatalf("listen: exit code %d: %s", e.code, e.errs)
	}
	d.Sound = nil
	if err := json.Unmarshal([]byte(e.out), &d); err != nil {
		t.Fatal(err)
	}
	if d.Sound == nil || math.Abs(d.Sound.SkewPPM-60) > 5 || math.Abs(d.Sound.RT60-0.3) > 0.075 || math.Abs(d.Sound.SNRdB-25) > 2 {
		t.Errorf("between two: %s", e.out)
	}
}

// execute runs the program's command line in this process.
func execute(t *testing.T, args ...string) (out, errs string, code int) {
	t.Helper()
	root := rootCommand()
	var o, e bytes.Buffer
	root.SetOut(&o)
	root.SetErr(&e)
	code = run(t.Context(), root, args)
	return o.String(), e.String(), code
}

// TestDoctorWAV writes the sounding to a file and measures it.
func TestDoctorWAV(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sounding.wav")
	for _, profile := range []string{"voice", "cable2"} {
		if _, errs, code := execute(t, "doctor", "--play", "--profile", profile, "--rate", "44100", "--wav", path); code != 0 {
			t.Fatal(errs)
		}
		out, errs, code := execute(t, "doctor", "--profile", profile, "--wav", path)
		if code != 0 {
			t.Fatal(errs)
		}
		if !strings.Contains(out, "next") || !strings.Contains(out, "of 1 frames") && !strings.Contains(out, "of 2 frames") && !strings.Contains(out, "of 3 frames") && !strings.Contains(out, "of 4 frames") ||
			strings.Contains(out, "right channel") != (profile == "cable2") || strings.Contains(out, "-0.0") {
			t.Errorf("%s:\n%s", profile, out)
		}
	}
	// A recording of something else is exit code 1, and says what was heard.
	w := new(bytes.Buffer)
	wav, err := audio.NewWAVWriter(w, 8000, 40000)
	if err != nil {
		t.Fatal(err)
	}
	noise := make([]float32, 40000)
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range noise {
		noise[i] = float32(0.1 * rng.NormFloat64())
	}
	if err := wav.Write(noise); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, w.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	out, errs, code := execute(t, "doctor", "--wav", path, "--profile", "voice")
	if code != 1 || !strings.Contains(out, "no sounding; level -20.") || !strings.Contains(errs, "no sounding was heard") {
		t.Errorf("exit code %d, %s\n%s", code, errs, out)
	}
}

func TestDoctorUsage(t *testing.T) {
	dir := t.TempDir()
	led := filepath.Join(dir, "led.toml")
	if err := os.WriteFile(led, []byte("[station]\nname = \"a\"\n[led]\nboard = \"serial:/dev/null\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--play", "--listen"}, 2, "exclude each other"},
		{[]string{"--level", "-3"}, 2, "must be -72 to -6"},
		{[]string{"--rate", "4000"}, 2, "8000 to 192000"},
		{[]string{"--device", "nonsense"}, 2, "must be"},
		{[]string{"--wait", "1s", "--listen"}, 2, "--wait 1s"},
		{[]string{"--wait", "20s"}, 2, "goes with --listen"},
		{[]string{"--wav", "x", "--device", "default"}, 2, "exclude each other"},
		{[]string{"--wav", "x", "--rate", "8000"}, 2, "tells its rate"},
		{[]string{"--wav", filepath.Join(dir, "none.wav")}, 1, "no such file"},
		{[]string{"--play", "--wav", dir}, 2, "is a folder"},
		{[]string{"--play", "--picture", "x.svg"}, 2, "--picture"},
		{[]string{"--profile", "none", "--wav", "-", "--play"}, 2, "does not exist"},
		{[]string{"-c", led, "--level", "-20"}, 2, "--config and --level"},
		{[]string{"-c", led}, 2, "--listen with the one, --play with the other"},
		{[]string{"-c", filepath.Join(dir, "none.toml")}, 1, "no such file"},
		{[]string{"--device", "air:" + filepath.Join(dir, "none.sock")}, 1, "none.sock"},
		{[]string{"extra"}, 2, "unexpected argument"},
	} {
		_, errs, code := execute(t, append([]string{"doctor"}, tt.args...)...)
		if code != tt.code || !strings.Contains(errs, tt.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("doctor %v: exit code %d, %q; want %d and %q", tt.args, code, errs, tt.code, tt.want)
		}
	}
}

// TestProfileBands compares the bands by which doctor recommends with what the
// modems' tables say.
func TestProfileBands(t *testing.T) {
	for _, name := range audio.Profiles() {
		m, err := audio.OpenModem(name, 48000)
		if err != nil {
			t.Fatal(err)
		}
		band, ok := profileBands[strings.TrimSuffix(name, "2")]
		if !ok {
			t.Errorf("%s has no band", name)
			continue
		}
		widths := make([]float64, len(m.Modes))
		for i, mode := range m.Modes {
			widths[i] = mode.BandwidthHz
		}
		if !slices.Contains(widths, band[1]-band[0]) {
			t.Errorf("%s: a band of %v Hz, its modes have %v", name, band[1]-band[0], slices.Compact(widths))
		}
	}
}
