package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lightsong/phy/audio"
)

func TestSimConfig(t *testing.T) {
	dir := t.TempDir()
	write := func(text string) string {
		path := filepath.Join(dir, "air.toml")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	wav, err := os.Create(filepath.Join(dir, "room.wav"))
	if err != nil {
		t.Fatal(err)
	}
	w, err := audio.NewWAVWriter(wav, 48000, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write([]float32{0.5, 0, -0.25}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := wav.Close(); err != nil {
		t.Fatal(err)
	}

	c, err := readSimConfig(write(`socket = "/tmp/x"
seed = 3
[room]
rt60_s = 0.5
[station]
snr_db = 10
[stations.a]
skew_ppm = 5.0
[[paths]]
from = "a"
to = "b"
taps_wav = "room.wav"
`))
	if err != nil {
		t.Fatal(err)
	}
	if c.Seed != 3 || *c.Room.RT60 != 0.5 || *c.Station.SNRdB != 10 || *c.Stations["a"].SkewPPM != 5 ||
		len(c.Paths[0].Taps) != 3 || c.Paths[0].Taps[0] != 0.5 {
		t.Errorf("read %+v", c)
	}

	for _, tt := range []struct{ text, want string }{
		{`seed = 1`, "socket is not set"},
		{"socket = \"x\"\n[room]\nrt60 = 1.0", `air.toml:3: unknown key "room.rt60"; did you mean "room.rt60_s"?`},
		{"socket = \"x\"\n[room]\nrt60_s = -1.0", "rt60_s = -1: must be from 0 to 5"},
		{"socket = \"x\"\n[stations.a]\nskew = 1.0", `did you mean "stations.a.skew_ppm"?`},
		{"socket = \"x\"\nrate = 5", "rate = 5"},
		{"socket = \"x\"\n[[paths]]\nfrom = \"a\"\nto = \"b\"\ntaps_wav = \"none.wav\"", "none.wav"},
		{"socket = \"x\"\nrate = 96000\n[[paths]]\nfrom = \"a\"\nto = \"b\"\ntaps_wav = \"room.wav\"", "48000 samples per second, the air 96000"},
	} {
		_, err := readSimConfig(write(tt.text))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: got %v, want %q", tt.text, err, tt.want)
		}
	}
}

func TestSimRefusesASecondAtTheSameSocket(t *testing.T) {
	dir := t.TempDir()
	c := new(simConfig)
	c.Socket = filepath.Join(dir, "air.sock")
	background(t, func() error { return simulate(t.Context(), c, discard()) })
	waitFor(t, func() bool { _, err := os.Stat(c.Socket); return err == nil })
	if err := simulate(t.Context(), c, discard()); err == nil || !strings.Contains(err.Error(), "another process answers") {
		t.Errorf("got %v", err)
	}
}
