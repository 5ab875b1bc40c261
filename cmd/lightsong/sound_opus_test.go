//go:build audio

package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestAudioOpus carries live sound over the link as docs/sound.md says: ffmpeg at
// one host sends Opus over RTP, ffmpeg at the other one plays it, here into a
// file. What of the tone arrives is counted.
func TestAudioOpus(t *testing.T) {
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		lacks(t, "no ffmpeg on this machine:", err)
	}
	for _, tt := range []struct {
		medium string
		kbps   int
		frame  int // ms
	}{{"cable", 24, 20}, {"air", 12, 60}} {
		t.Run(fmt.Sprintf("%s %d kb/s", tt.medium, tt.kbps), func(t *testing.T) {
			var m medium
			for _, have := range mediums {
				if have.name == tt.medium {
					m = have
				}
			}
			d := newDemo(t, m, 1)
			warmUp(t, d)
			const seconds, port = 30, 5004
			dir := t.TempDir()
			sdp, played := filepath.Join(dir, "live.sdp"), filepath.Join(dir, "played.s16")
			from, to := d.sides[0], d.sides[1]
			// What the sender prints as its SDP, as in the how-to.
			text := fmt.Sprintf("v=0\no=- 0 0 IN IP4 %s\ns=live\nc=IN IP4 %s\nt=0 0\nm=audio %d RTP/AVP 97\na=rtpmap:97 opus/48000/2\n", from.v4, to.v4, port)
			if err := os.WriteFile(sdp, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			play := exec.CommandContext(t.Context(), "ffmpeg", "-nostdin", "-loglevel", "error", "-protocol_whitelist", "file,rtp,udp",
				"-i", sdp, "-ac", "1", "-ar", "48000", "-f", "s16le", played)
			send := exec.CommandContext(t.Context(), "ffmpeg", "-nostdin", "-loglevel", "error", "-re",
				"-f", "lavfi", "-i", fmt.Sprintf("sine=frequency=440:sample_rate=48000:duration=%d", seconds),
				"-c:a", "libopus", "-b:a", fmt.Sprintf("%dk", tt.kbps), "-frame_duration", fmt.Sprint(tt.frame), "-application", "voip",
				"-payload_type", "97", "-f", "rtp", fmt.Sprintf("rtp://%s:%d?pkt_size=1200", to.v4, port))
			var said bytes.Buffer
			play.Stderr, send.Stderr = &said, &said
			if err := inNetworkOf(to.process.pid(), play.Start); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			if err := inNetworkOf(from.process.pid(), send.Start); err != nil {
				t.Fatal(err)
			}
			sent := make(chan error, 1)
			go func() { sent <- send.Wait() }()
			select {
			case err := <-sent:
				if err != nil {
					t.Fatalf("the sender: %v", err)
				}
			case <-ctx.Done():
				t.Fatal("the sender does not end")
			}
			time.Sleep(5 * time.Second) // what is on its way
			_ = play.Process.Signal(syscall.SIGINT)
			_ = play.Wait() // it was interrupted, and says so
			pcm, err := os.ReadFile(played)
			if err != nil {
				t.Fatalf("%v %s", err, said.Bytes())
			}
			heard := float64(len(pcm)) / 2 / 48000
			share := tone(pcm, 440)
			t.Logf("%.1f of %d s were played, %.1f %% of their power is the tone", heard, seconds, 100*share)
			if heard < 0.95*seconds || heard > 1.02*seconds+1 {
				t.Errorf("%.1f of %d s were played: %s", heard, seconds, said.Bytes())
			}
			if share < 0.9 {
				t.Errorf("%.1f %% of what was played is the tone", 100*share)
			}
			counts(t, d)
		})
	}
}

// tone is the share of the power of samples of 16 bits at 48 kHz that lies within
// 5 Hz of a frequency, in blocks of a tenth of a second.
func tone(pcm []byte, hz float64) float64 {
	const block = 4800
	var all, inTone float64
	for ; len(pcm) >= 2*block; pcm = pcm[2*block:] {
		var re, im, power float64
		for i := range block {
			v := float64(int16(uint16(pcm[2*i]) | uint16(pcm[2*i+1])<<8))
			s, c := math.Sincos(2 * math.Pi * hz * float64(i) / 48000)
			re, im, power = re+v*c, im+v*s, power+v*v
		}
		all += power
		inTone += 2 * (re*re + im*im) / block
	}
	return inTone / max(all, 1)
}
