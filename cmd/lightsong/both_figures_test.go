//go:build figures

package main

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"lightsong/link"
	"lightsong/phy"
	"lightsong/phy/audio"
	"lightsong/sims"
)

var bothRuns = flag.Int("both-runs", 1, "TestTCPBothWays: runs in each room")

// manyHost is a host with one TCP connection after the other, or several, by port.
type manyHost struct {
	outbox
	connections map[uint16]*tcpHost
}

// WritePacket implements link.Host.
func (h *manyHost) WritePacket(p []byte) error {
	if c := h.connections[binary.BigEndian.Uint16(p[20:])]; c != nil {
		return c.WritePacket(p)
	}
	return nil
}

// connect makes a connection with a port from one of two hosts to the other, and begins to send.
func connect(hosts *[2]*manyHost, port uint16, from int) (c [2]*tcpHost) {
	for i, h := range hosts {
		c[i] = newAbleHost(newTCPHost(simulatedAddr(i), simulatedAddr(1-i)))
		c[i].outbox, c[i].port, c[i].payload = &h.outbox, port, 1280-tcpHeads // the link's MTU
		h.mu.Lock()
		h.connections[port] = c[i]
		h.mu.Unlock()
	}
	c[from].start()
	return c
}

// TestTCPBothWays lets one of two stations in a room of 20 dB send by TCP, and then both at once, while what the first one had under way is not yet
// over: what a user has who sends while somebody sends to him. From a minute after that on both ways together are to carry
// 0.8 of one way, and to share it (Jain, 0.9); in that minute, after 15 s as TestTCP has it, TCP's slow start fills rounds of 12 s.
//
//	go test -tags figures -run TCPBothWays -v ./cmd/lightsong [-both-runs 2] [-course-seed 1] [-bursts]
func TestTCPBothWays(t *testing.T) {
	const first, second, begun, settled, end = 35 * time.Second, 95 * time.Second, 110 * time.Second, 170 * time.Second, 290 * time.Second
	const step = 5 * time.Second
	const share, fair = 0.8, 0.9
	for _, c := range []struct{ rt60, drr float64 }{{0.3, 3}, {0.5, -3}} {
		run := func(t *testing.T, seed uint64) {
			begin := time.Now()
			hosts := [2]*manyHost{{outbox: newOutbox(), connections: map[uint16]*tcpHost{}}, {outbox: newOutbox(), connections: map[uint16]*tcpHost{}}}
			s := simulation{
				profile: "air", hosts: []link.Host{hosts[0], hosts[1]},
				air: sims.AirConfig{
					Seed: seed, Room: sims.AirRoom{RT60: &c.rt60, DRR: &c.drr},
					Station:  sims.AirStation{SNRdB: new(20.0)},
					Stations: map[string]sims.AirStation{"a": {SkewPPM: new(30.0)}, "b": {SkewPPM: new(-30.0)}},
				},
			}
			if *traced {
				s.medium = func(i int, p *audio.PHY) phy.PHY {
					return &tracer{PHY: p, name: string(rune('a' + i)), start: begin}
				}
			}
			s.run(t, func(ctx context.Context, stations []*link.Runner) {
				// pass lets time pass until then, and returns what programs read by each connection meanwhile, in kb/s.
				pass := func(until time.Duration, flows ...[2]*tcpHost) []float64 {
					read := func() (octets []int) {
						for i, f := range flows {
							f[1-i].mu.Lock()
							octets = append(octets, int(f[1-i].next))
							f[1-i].mu.Unlock()
						}
						return octets
					}
					from, at := read(), time.Since(begin)
					for last := from; time.Since(begin) < until; last = read() {
						time.Sleep(step)
						for i, octets := range read() {
							stats, err := stations[i].Stats(ctx)
							if err != nil {
								t.Fatal(err)
							}
							h := flows[i][i]
							h.mu.Lock()
							t.Logf("%3.0f s, from %c: %4.1f kb/s; window %.1f, under way %d of %d, timer %v, %d again; dropped %+v; queue %+v", time.Since(begin).Seconds(), 'a'+i,
								8*float64(octets-last[i])/step.Seconds()/1000, h.cwnd, int(h.top-h.una)/h.payload, int(int32(h.edge-h.una))/h.payload, h.rto, h.repeated, stats.Packets.Dropped, stats.Queue)
							h.mu.Unlock()
						}
					}
					kbps := make([]float64, len(flows))
					for i, octets := range read() {
						kbps[i] = 8 * float64(octets-from[i]) / (until - at).Seconds() / 1000
					}
					return kbps
				}
				time.Sleep(5 * time.Second)
				alone := connect(&hosts, tcpPort, 0)
				pass(first, alone)
				one := pass(second, alone)[0]
				for _, h := range alone {
					h.stop()
				}
				there, back := connect(&hosts, tcpPort+1, 0), connect(&hosts, tcpPort+2, 1)
				pass(begun, there, back)
				early, both := pass(settled, there, back), pass(end, there, back)
				for i := range hosts {
					there[i].stop()
					back[i].stop()
				}
				sum := both[0] + both[1]
				jain := sum * sum / 2 / (both[0]*both[0] + both[1]*both[1])
				t.Logf("seed %d: TCP one way %.1f kb/s; both ways %.1f + %.1f after 15 s, %.1f + %.1f after 75 s (%.2f of one way, Jain %.3f)", seed, one, early[0], early[1], both[0], both[1], sum/one, jain)
				if sum < share*one || !(jain >= fair) {
					t.Errorf("seed %d: both ways %.1f + %.1f kb/s, want %.1f together and a Jain index of %.1f", seed, both[0], both[1], share*one, fair)
				}
			})
		}
		t.Run(fmt.Sprintf("room %g s", c.rt60), func(t *testing.T) {
			for seed := *courseSeed; seed < *courseSeed+uint64(*bothRuns); seed++ {
				t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { run(t, seed) }) })
			}
		})
	}
}
