package main

import (
	"context"
	"encoding/binary"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lightsong/link"
	"lightsong/phy/audio"
	"lightsong/sims"
)

// echoHost is a host that asks another for an echo each second, and answers such
// requests as a kernel does.
type echoHost struct {
	from, to netip.Addr
	count    int // requests to send
	sent     int
	answers  chan []byte
	carrier  []bool // as SetCarrier told it
	mu       sync.Mutex
	returned map[uint16]bool // guarded by mu
}

// came is how many echo requests were answered so far.
func (h *echoHost) came() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.returned)
}

// ReadPacket implements link.Host: an answer that is due, or the next request.
func (h *echoHost) ReadPacket(ctx context.Context, p []byte) (int, error) {
	var next <-chan time.Time
	if h.sent < h.count {
		timer := time.NewTimer(time.Second)
		defer timer.Stop()
		next = timer.C
	}
	select {
	case pkt := <-h.answers:
		return copy(p, pkt), nil
	case <-next:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	const octets = 84
	p = p[:octets]
	clear(p)
	p[0] = 0x45
	binary.BigEndian.PutUint16(p[2:], octets)
	p[8], p[9] = 64, 1 // TTL, ICMP
	copy(p[12:], h.from.AsSlice())
	copy(p[16:], h.to.AsSlice())
	p[20] = 8 // echo request
	binary.BigEndian.PutUint16(p[26:], uint16(h.sent))
	h.sent++
	return octets, nil
}

// WritePacket implements link.Host.
func (h *echoHost) WritePacket(p []byte) error {
	if p[20] == 0 {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.returned[binary.BigEndian.Uint16(p[26:])] = true
		return nil
	}
	answer := append([]byte(nil), p...)
	copy(answer[12:], h.from.AsSlice())
	copy(answer[16:], h.to.AsSlice())
	answer[20] = 0
	h.answers <- answer
	return nil
}

// SetCarrier implements link.Host.
func (h *echoHost) SetCarrier(up bool) error {
	h.carrier = append(h.carrier, up)
	return nil
}

// hinderedPort is a station that for a while takes its blocks late, which keeps
// the whole medium waiting, as a process does on a machine that is too busy.
type hinderedPort struct {
	*sims.Port
	hinder func(at time.Duration) time.Duration // of the Read at a time after the begin
	begin  time.Time
}

func (p *hinderedPort) Read(buf []float32) (int, int64, error) {
	// At least an instant, in which the writer runs: an air that is catching up leaves
	// no time between two blocks, and a burst would have holes.
	time.Sleep(max(1, p.hinder(time.Since(p.begin))))
	return p.Port.Read(buf)
}

// TestMediumStandsStill: a medium that stops, or that is suddenly slower than the
// machine's clock, is no peer that fell silent: the carrier stays on, nothing is given
// up, every echo returns. One frame in ten is lost besides.
func TestMediumStandsStill(t *testing.T) {
	const (
		count = 40
		from  = 15 * time.Second

		slowFor = 40 * time.Second
		block   = 10 * time.Millisecond // of a Read
	)
	stop := func(d time.Duration) func(time.Duration) time.Duration {
		done := false
		return func(at time.Duration) time.Duration {
			if done || at < from {
				return 0
			}
			done = true
			return d
		}
	}
	slow := func(times int) func(time.Duration) time.Duration {
		return func(at time.Duration) time.Duration {
			if at < from || at >= from+slowFor {
				return 0
			}
			return time.Duration(times) * block
		}
	}
	for _, tt := range []struct {
		name   string
		hinder func(time.Duration) time.Duration
		least  time.Duration // of standstill that the link has to have noticed
	}{
		{"it stops for 8 s", stop(8 * time.Second), 7 * time.Second},
		{"it stops for a minute", stop(time.Minute), 59 * time.Second},
		{"40 s at a thirtieth of the speed", slow(29), 38 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const seed = 4
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const loss, frame, hit = 0.1, 80 * time.Millisecond, 20 * time.Millisecond
				var hosts [2]*echoHost
				for i := range hosts {
					hosts[i] = &echoHost{from: simulatedAddr(i), to: simulatedAddr(1 - i), answers: make(chan []byte, count), returned: map[uint16]bool{}}
				}
				hosts[0].count = count
				simulation{
					profile: "fsk",
					air: sims.AirConfig{
						Seed: seed,
						Room: sims.AirRoom{RT60: new(0.0), OwnEcho: new(false)},
						Station: sims.AirStation{
							SNRdB: new(30.0), HitsPerS: new(sims.HitRate(loss, frame, hit)), HitMS: new(hit.Seconds() * 1000),
						},
					},
					hosts: []link.Host{hosts[0], hosts[1]},
					stream: func(i int, p *sims.Port) audio.Stream {
						if i > 0 {
							return &hinderedPort{Port: p, begin: time.Now(), hinder: func(time.Duration) time.Duration { return 0 }}
						}
						return &hinderedPort{Port: p, begin: time.Now(), hinder: tt.hinder}
					},
				}.run(t, func(ctx context.Context, stations []*link.Runner) {
					time.Sleep(from + 30*time.Second + 2*tt.least)
					for i, r := range stations {
						s, err := r.Stats(ctx)
						if err != nil {
							t.Fatal(err)
						}
						if s.Standstill < tt.least || s.Standstill > tt.least+3*time.Second {
							t.Errorf("seed %d: station %d counts a standstill of %v, want %v and little more", seed, i, s.Standstill, tt.least)
						}
						if len(s.Peers) != 1 || s.Peers[0].Downs != 0 {
							t.Errorf("seed %d: station %d took its peer for gone: %+v", seed, i, s.Peers)
						}
					}
				})
				if got := hosts[0].came(); got != count {
					t.Errorf("seed %d: %d of %d echoes returned", seed, got, count)
				}
				for i, h := range hosts {
					if got := h.carrier; len(got) != 3 || got[0] || !got[1] || got[2] { // off at first, on, off at the end
						t.Errorf("seed %d: station %d had its carrier %v", seed, i, got)
					}
				}
			})
		})
	}
}

// TestToneInARoom: a tone 14 dB above the noise, from 25 s to 65 s on, every sample simulated. What has to be said
// waits for ten seconds, until it is taken for no station; from then on it does not, whether the tone goes on or ends. All pings come back, and the status of
// whoever had to wait tells of it.
func TestToneInARoom(t *testing.T) {
	const count, seed = 80, 1
	const tone, over = 25 * time.Second, 65 * time.Second
	for _, profile := range []string{"air", "fsk"} {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var hosts [2]*echoHost
				for i := range hosts {
					hosts[i] = &echoHost{from: simulatedAddr(i), to: simulatedAddr(1 - i), answers: make(chan []byte, count), returned: map[uint16]bool{}}
				}
				hosts[0].count = count
				begun := time.Now()
				simulation{
					profile: profile,
					air: sims.AirConfig{
						Seed: seed, Room: sims.AirRoom{RT60: new(0.3), DRR: new(3.0)}, Station: sims.AirStation{SNRdB: new(20.0)},
						Tones: []sims.AirTone{{Hz: 3000, DBFS: new(-18.0), StartS: tone.Seconds(), StopS: over.Seconds()}},
					},
					hosts: []link.Host{hosts[0], hosts[1]},
				}.run(t, func(ctx context.Context, stations []*link.Runner) {
					back := func(from, d time.Duration) int { // in d, from then on
						time.Sleep(time.Until(begun.Add(from)))
						n := hosts[0].came()
						time.Sleep(d)
						return hosts[0].came() - n
					}
					if n := back(tone+time.Second, 8*time.Second); n > 1 {
						t.Errorf("seed %d: %d pings came back at once: the tone is none", seed, n)
					}
					for n := hosts[0].came(); hosts[0].came() == n && time.Since(begun) < over; {
						time.Sleep(10 * time.Millisecond)
					}
					t.Logf("seed %d: the first ping came back %v after the tone had begun", seed, time.Since(begun.Add(tone)))
					for _, from := range []time.Duration{tone + 20*time.Second, over + time.Second} {
						if n := back(from, 10*time.Second); n < 9 {
							t.Errorf("seed %d: %d of 10 pings from %v on came back, want 9", seed, n, from)
						}
					}
					time.Sleep(time.Until(begun.Add((count + 5) * time.Second)))
					for i, r := range stations {
						s, err := r.Stats(ctx)
						if err != nil {
							t.Fatal(err)
						}
						asks := i == 0 // who only answers need not wait for silence
						if n := s.Hostile.StuckBusy; n > 1 || asks && n == 0 || s.Peers[0].Downs != 0 || (n == 1) != strings.Contains(senseWords(&s), "ignored 1 times") {
							t.Errorf("seed %d: station %d ignored the medium %d times, its peer was gone %d times", seed, i, s.Hostile.StuckBusy, s.Peers[0].Downs)
						}
					}
				})
				if got := hosts[0].came(); got != count {
					t.Errorf("seed %d: %d of %d pings came back", seed, got, count)
				}
			})
		})
	}
}
