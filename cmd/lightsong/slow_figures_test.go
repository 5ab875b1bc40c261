//go:build figures

package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"lightsong/link"
	"lightsong/phy"
	"lightsong/phy/audio"
	"lightsong/sims"
)

// uploadHost is a talkHost that also asks for echoes, and answers such requests.
type uploadHost struct {
	*talkHost
	echo *pingHost
}

func newUploadHost(i int) *uploadHost {
	h := newTalkHost(i)
	return &uploadHost{h, &pingHost{tcpHost: &tcpHost{from: h.from, to: h.to, outbox: &h.outbox}, sent: map[uint16]time.Time{}}}
}

// WritePacket implements link.Host.
func (h *uploadHost) WritePacket(p []byte) error {
	if p[9] == 1 {
		return h.echo.WritePacket(p)
	}
	return h.talkHost.WritePacket(p)
}

// TestSlowUpload is the fsk of TestSlowTCP without kernel and clock: 4000 octets at 2.8 kb/s, half duplex, where an
// answer takes 300 ms to come back, in virtual time, every sample, after a ping each way. With -bursts it logs what is on the medium.
//
//	go test -tags figures -run SlowUpload -v ./cmd/lightsong [-lead-runs 24]
func TestSlowUpload(t *testing.T) {
	const octets, buffers, want = 4000, 130.0, 22 * time.Second
	for seed := *leadSeed; seed < *leadSeed+uint64(*leadRuns); seed++ {
		var took time.Duration
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			hosts := [2]*uploadHost{newUploadHost(0), newUploadHost(1)}
			s := simulation{
				profile: "fsk", hosts: []link.Host{hosts[0], hosts[1]},
				air: sims.AirConfig{Seed: seed, Room: sims.AirRoom{RT60: new(0.0), OwnEcho: new(false)},
					Station: sims.AirStation{SNRdB: new(-1.0), SpeakerLimit: new(1e9), BufferInMS: new(buffers), BufferOutMS: new(buffers)}},
			}
			if *traced {
				s.medium = func(i int, p *audio.PHY) phy.PHY {
					return &tracer{PHY: p, name: string(rune('a' + i)), start: begin}
				}
			}
			s.run(t, func(ctx context.Context, stations []*link.Runner) {
				for i, h := range hosts {
					for up := false; !up; time.Sleep(100 * time.Millisecond) {
						stats, err := stations[i].Stats(ctx)
						up = err == nil && stats.Up
					}
					h.echo.ping(0, 1)
					for answered := 0; answered == 0; time.Sleep(10 * time.Millisecond) {
						h.mu.Lock()
						answered = len(h.echo.rtts)
						h.mu.Unlock()
					}
				}
				over, from := make(chan struct{}), time.Now()
				says := []utterance{{false, octets}}
				hosts[1].begin(40000, says, over)
				hosts[0].begin(40000, says, nil)
				<-over
				took = time.Since(from)
				stats, err := stations[0].Stats(ctx)
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("seed %d: %v, begun after %v, %d and %d segments again; %+v, turnaround %v", seed, took, from.Sub(begin), hosts[0].resent, hosts[1].resent, stats.Queue, stats.Turnaround)
				for _, h := range hosts {
					h.mu.Lock()
					h.halt()
					h.mu.Unlock()
				}
			})
		})
		if took > want {
			t.Errorf("seed %d: %d octets took %v, want %v", seed, octets, took, want)
		}
	}
}
