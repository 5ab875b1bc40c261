//go:build audio

package main

import (
	"bytes"
	"encoding/json"
	"math"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// heardByDoctor is what the tests read of doctor's JSON.
type heardByDoctor struct {
	RoundTripMS *float64 `json:"roundtrip_ms"`
	DeviceMS    float64  `json:"device_latency_ms"`
	Lost        int64    `json:"samples_lost"`
	Sound       *struct {
		RT60    *float64 `json:"rt60_s"`
		SNRdB   *float64 `json:"snr_db"`
		SkewPPM *float64 `json:"skew_ppm"`
		Clipped int      `json:"clipped"`
		Holes   int      `json:"holes"`
		Model   *float64 `json:"model_snr_db"`
	} `json:"sound"`
	Findings []Finding `json:"findings"`
	Next     string    `json:"next"`
}

func (h *heardByDoctor) found(code string) bool {
	for _, f := range h.Findings {
		if f.Code == code {
			return true
		}
	}
	return false
}

// TestAudioDoctor lets doctor measure the room between real sound cards, real but
// for their hardware: on its own and between two machines, whose clocks differ, and
// with a microphone that clips or has an automatic gain. On a machine that is too
// busy samples are lost; doctor says so, and is asked again.
func TestAudioDoctor(t *testing.T) {
	needSound(t)
	program := buildSound(t)
	const tries = 4
	for _, tt := range []struct {
		name, differs string
		loop          bool
		ppm           float64
		want          string // finding; empty: none but perhaps lost samples
	}{
		{"its own loop", "", true, 0, ""},
		{"between two machines", "[stations.a]\nskew_ppm = 60.0\n[stations.b]\nskew_ppm = -40.0\n", false, 100, ""},
		{"clipped", "[stations.b]\nmic_clip_dbfs = -10.0\n", false, 0, findClipped},
		{"automatic gain", "[stations.b]\nmic_gain_db = -8.0\nagc_step_db = 6.0\nagc_interval_s = 2.0\n", false, 0, findAGC},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newSoundRig(t, "a_out", "a_in", "b_out", "b_in")
			startOtherRoom(r, tt.differs, "a", "b")
			time.Sleep(3 * time.Second)
			a, b := r.station("a", "a_out", "a_in"), r.station("b", "b_out", "b_in")
			var h heardByDoctor
			for try := range tries {
				h = heardByDoctor{}
				args := []string{"doctor", "--json", "--latency", "100"}
				env := a
				if !tt.loop {
					args, env = append(args, "--listen", "--wait", "1m"), b
				}
				listen := exec.CommandContext(t.Context(), program, args...)
				listen.Env = env
				out, said := new(bytes.Buffer), new(bytes.Buffer)
				listen.Stdout, listen.Stderr = out, said
				if err := listen.Start(); err != nil {
					t.Fatal(err)
				}
				if !tt.loop {
					time.Sleep(4 * time.Second)
					play := exec.CommandContext(t.Context(), program, "doctor", "--play", "--latency", "100")
					play.Env = a
					if text, err := play.CombinedOutput(); err != nil || !strings.Contains(string(text), "played a sounding") {
						t.Fatalf("%v: %s", err, text)
					}
				}
				if err := listen.Wait(); err != nil {
					t.Logf("try %d: %v: %s %s", try, err, said, out)
					continue
				}
				if err := json.Unmarshal(out.Bytes(), &h); err != nil {
					t.Fatal(err)
				}
				if !h.found(findLost) {
					break
				}
				t.Logf("try %d: %+v", try, h.Findings)
			}
			if h.Sound == nil || h.Sound.RT60 == nil || h.Sound.SNRdB == nil || h.Sound.SkewPPM == nil || h.Sound.Model == nil {
				t.Fatalf("nothing was measured: %+v", h)
			}
			t.Logf("RT60 %.3f s, SNR %.2f dB, skew %.2f ppm, foretold %.1f dB, clipped %d, lost %d, holes %d: %s",
				*h.Sound.RT60, *h.Sound.SNRdB, *h.Sound.SkewPPM, *h.Sound.Model, h.Sound.Clipped, h.Lost, h.Sound.Holes, h.Next)
			if h.RoundTripMS != nil {
				t.Logf("from playing to hearing %.0f ms, the device says %.0f", *h.RoundTripMS, h.DeviceMS)
			} else if tt.loop {
				t.Error("no round trip was measured")
			}
			switch {
			case tt.want != "":
				if !h.found(tt.want) {
					t.Errorf("found %+v, want %q", h.Findings, tt.want)
				}
				return
			case math.Abs(*h.Sound.RT60-0.3) > 0.075:
				t.Errorf("RT60 %.3f s, want 0.3 within 25 %%", *h.Sound.RT60)
			case math.Abs(*h.Sound.SNRdB-25) > 2:
				t.Errorf("SNR %.2f dB, want 25 ± 2", *h.Sound.SNRdB)
			case math.Abs(*h.Sound.SkewPPM-tt.ppm) > 5:
				t.Errorf("skew %.2f ppm, want %v ± 5", *h.Sound.SkewPPM, tt.ppm)
			case len(h.Findings) > 0:
				t.Errorf("found %+v on a path without fault", h.Findings)
			}
		})
	}
}
