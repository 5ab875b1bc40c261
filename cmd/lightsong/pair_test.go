package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"lightsong/phy/audio"
)

// A file goes through a stereo WAV file by two streams; it may be recorded with
// its channels swapped. The profile of two channels and a mono file do not go
// together, and nothing is written then.
func TestSendRecvPairs(t *testing.T) {
	for _, rate := range []string{"48000", "192000"} {
		tt := newTransferTest(t)
		file := octets(7, 60_000)
		in := tt.write("a.bin", file)
		out, _ := tt.call(0, nil, "send", "--profile", "cable2", "--mcs", "52", "--rate", rate, "--json", "--wav", tt.path("a.wav"), in)
		var sent, received Transfer
		if err := json.Unmarshal([]byte(out), &sent); err != nil {
			t.Fatal(err)
		}
		r, err := audio.NewWAVReader(bytes.NewReader(tt.read("a.wav")))
		if err != nil || r.Channels != 2 {
			t.Fatalf("%d channels, %v", r.Channels, err)
		}
		out, _ = tt.call(0, nil, "recv", "--profile", "cable2", "--json", "--wav", tt.path("a.wav"), "-o", tt.path("b.bin"))
		if err := json.Unmarshal([]byte(out), &received); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(tt.read("b.bin"), file) || !received.Complete || received.Failed > 0 {
			t.Errorf("at %s Hz: %+v", rate, received)
		}
		if sound := float64(r.Samples()) / float64(r.Rate); sound < sent.Airtime+2*edgeSilence-1e-3 || sound > sent.Airtime+2*edgeSilence+1e-3 {
			t.Errorf("at %s Hz: %.3f s of sound for an air time of %.3f s", rate, sound, sent.Airtime)
		}

		// Swapped: every frame of the file is a pair of 16-bit samples.
		swapped := tt.read("a.wav")
		for i := 44; i+4 <= len(swapped); i += 4 {
			swapped[i], swapped[i+1], swapped[i+2], swapped[i+3] = swapped[i+2], swapped[i+3], swapped[i], swapped[i+1]
		}
		tt.call(0, nil, "recv", "--profile", "cable2", "--wav", tt.write("c.wav", swapped), "-o", tt.path("c.bin"))
		if !bytes.Equal(tt.read("c.bin"), file) {
			t.Errorf("at %s Hz, channels swapped: the files differ", rate)
		}
	}

	tt := newTransferTest(t)
	in := tt.write("a.bin", octets(8, 500))
	tt.call(0, nil, "send", "--profile", "cable", "--wav", tt.path("mono.wav"), in)
	_, stderr := tt.call(1, nil, "recv", "--profile", "cable2", "--wav", tt.path("mono.wav"), "-o", tt.path("b.bin"))
	if !strings.Contains(stderr, "mono.wav is mono, and profile cable2 needs both channels") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("a mono file: %q", stderr)
	}
	// The mean of two streams is neither.
	tt.call(0, nil, "send", "--profile", "cable2", "--wav", tt.path("stereo.wav"), in)
	if _, stderr = tt.call(1, nil, "recv", "--profile", "cable", "--wav", tt.path("stereo.wav"), "-o", tt.path("b.bin")); !strings.Contains(stderr, "no file was received") {
		t.Errorf("two streams heard as one channel: %q", stderr)
	}
	tt.holds("a.bin", "mono.wav", "stereo.wav")
}
