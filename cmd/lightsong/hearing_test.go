package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lightsong/link"
	"lightsong/phy"
	"lightsong/phy/audio"
	"lightsong/sims"
)

// quietHost has no packets.
type quietHost struct{}

func (quietHost) ReadPacket(ctx context.Context, _ []byte) (int, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}
func (quietHost) WritePacket([]byte) error { return nil }
func (quietHost) SetCarrier(bool) error    { return nil }

// syncBuffer is a log that may be read meanwhile.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

var _ io.Writer = (*syncBuffer)(nil)

// TestDeafness lets a station hear what it cannot read, for 70 simulated seconds, in
// which it must say why once; and what it can, or nothing, of which it says nothing.
func TestDeafness(t *testing.T) {
	for _, tt := range []struct {
		name    string
		profile string
		alter   func(c *sims.AirConfig)
		other   string // profile of a station that sends all the time; empty: there is none
		up      bool   // it is a station that answers
		want    string
	}{
		{"alone in a quiet room", "fsk", nil, "", false, ""},
		{"a station of its kind", "fsk", nil, "fsk", true, ""},
		{"noise bursts", "fsk", func(c *sims.AirConfig) {
			c.Jammers = []sims.AirJammer{{DBFS: new(-20.0), OnMS: new([2]float64{300, 600}), OffMS: new([2]float64{300, 600})}}
		}, "", false, "no preamble"},
		{"another profile", "voice", nil, "fsk", false, "no preamble"},
		{"clipped", "fsk", func(c *sims.AirConfig) {
			c.Jammers = []sims.AirJammer{{DBFS: new(-3.0), OnMS: new([2]float64{300, 600}), OffMS: new([2]float64{300, 600})}}
		}, "", false, "clipped"},
		{"muted", "fsk", func(c *sims.AirConfig) {
			c.Station.NoiseDBFS, c.Room.OwnEcho = new(math.Inf(-1)), new(false)
		}, "", false, "digital silence"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := sims.AirConfig{Seed: 2, Rate: 48000, Room: sims.AirRoom{RT60: new(0.1)}, Station: sims.AirStation{SNRdB: new(25.0)}}
				if tt.alter != nil {
					cfg.Station.SNRdB = nil
					cfg.Station.NoiseDBFS = new(-40.0)
					tt.alter(&cfg)
				}
				air, err := sims.NewAir(cfg)
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				var all sync.WaitGroup
				station := func(name, profile string, duplex bool) *audio.PHY {
					port, err := air.Attach(name)
					if err != nil {
						t.Fatal(err)
					}
					m, err := audio.OpenModem(profile, air.Rate())
					if err != nil {
						t.Fatal(err)
					}
					return audio.New(audio.Config{Modem: m, Stream: port, FullDuplex: duplex})
				}
				linked := func(name string, p *audio.PHY, log *slog.Logger, state *carrying) {
					engine, err := link.New(link.Config{Name: name, MTU: 1280, Seed: 5 + uint64(len(name)), Caps: p.Caps(), Airtime: p.Airtime}, time.Now())
					if err != nil {
						t.Fatal(err)
					}
					runner := link.NewRunner(engine, p, quietHost{}, log)
					all.Go(func() { _ = runner.Run(ctx) })
					if state != nil {
						all.Go(func() { watchHearing(ctx, p, runner, state, log) })
					}
				}
				log, state := new(syncBuffer), new(carrying)
				linked("a", station("a", tt.profile, false), slog.New(slog.NewTextHandler(log, nil)), state)
				switch {
				case tt.up:
					linked("other", station("other", tt.other, false), discard(), nil)
				case tt.other != "":
					p := station("other", tt.other, true)
					modes := p.Caps().Modes
					b := &phy.Burst{MCS: modes[len(modes)/2].MCS, Control: []byte("x"), Frames: [][]byte{make([]byte, 200)}}
					all.Go(func() {
						for p.Transmit(ctx, b) == nil {
							time.Sleep(200 * time.Millisecond)
						}
					})
					all.Go(func() {
						for ev := (phy.Event{}); p.Receive(ctx, &ev) == nil; {
							continue
						}
					})
				}
				all.Go(func() { _ = air.Run(ctx) })
				time.Sleep(70 * time.Second)
				why := state.deaf.Load()
				cancel()
				all.Wait()
				text := log.String()
				said := strings.Count(text, "nothing can be read")
				if tt.want == "" {
					if why != nil || said != 0 {
						t.Errorf("it says %v and %q", why, text)
					}
					return
				}
				if why == nil || !strings.Contains(*why, tt.want) || !strings.Contains(*why, "lightsong doctor") || said != 1 {
					t.Errorf("status %v, log of %d lines about it, want one with %q:\n%s", why, said, tt.want, text)
				}
				var out bytes.Buffer
				if why != nil {
					status := Status{Deaf: *why, Medium: true}
					if err := status.print(&out, time.Now()); err != nil || !strings.Contains(out.String(), *why) {
						t.Errorf("status prints %v %s", err, out.String())
					}
				}
			})
		})
	}
}

// TestDeafnessWords is deafness by its limits.
func TestDeafnessWords(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		h    audio.Hearing
		want string
	}{
		{audio.Hearing{}, ""},
		{audio.Hearing{Heard: 10 * s, Silent: 10 * s}, ""}, // too short to say
		{audio.Hearing{Heard: 30 * s}, ""},
		{audio.Hearing{Heard: 30 * s, Silent: 30 * s}, "digital silence"},
		{audio.Hearing{Heard: 30 * s, Silent: 29 * s}, ""},
		{audio.Hearing{Heard: 30 * s, Clipped: s, Busy: 10 * s}, "clipped"},
		{audio.Hearing{Heard: 30 * s, Busy: 10 * s, Preambles: 4, Missed: 4}, "preambles (4), but can read no header"},
		{audio.Hearing{Heard: 30 * s, Busy: 10 * s, Preambles: 1, Missed: 1}, "no preamble"},
		{audio.Hearing{Heard: 30 * s, Busy: 2 * s}, ""},
		{audio.Hearing{Heard: 30 * s, Busy: 10 * s, Clipped: 5 * s, Missed: 9, Received: 1}, ""},
	} {
		if got := deafness(tt.h); !strings.Contains(got, tt.want) || (got == "") != (tt.want == "") {
			t.Errorf("%+v: %q, want %q", tt.h, got, tt.want)
		}
	}
}

// TestLevelWords: nobody raises the level without a word, least of all of
// ultrasound; and the meter of send and recv says what is to be done.
func TestLevelWords(t *testing.T) {
	for _, tt := range []struct {
		profile string
		level   float64
		want    string
	}{
		{"air", -12, ""}, {"ultra", -12, ""}, {"ultra", -40, ""}, {"air", -11.5, "clips"}, {"cable", 0, "clips"}, {"ultra", -11.5, "ultrasound"}, {"ultra", 0, "ultrasound"},
	} {
		if got := levelWarning(tt.profile, tt.level); !strings.Contains(got, tt.want) || (got == "") != (tt.want == "") {
			t.Errorf("%s at %v dBFS: %q, want %q", tt.profile, tt.level, got, tt.want)
		}
	}
	for _, tt := range []struct {
		peak   float32
		device bool
		want   string
	}{
		{0.5, false, ""}, {0.5, true, "peak  -6 dBFS"}, {-0.1, true, "peak -20 dBFS"}, {1, true, "CLIPPED"}, {-1, true, "CLIPPED"}, {0, true, "silent"},
	} {
		if got := levelText([]float32{0, tt.peak, 0}, tt.device); !strings.Contains(got, tt.want) || (got == "") != (tt.want == "") {
			t.Errorf("a peak of %v: %q, want %q", tt.peak, got, tt.want)
		}
	}
}
