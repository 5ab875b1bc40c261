package sims

import (
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"lightsong/phy/audio"
)

// hearPair lets a station play pairs and returns what another hears of so many
// blocks, and what it lost.
func hearPair(t *testing.T, cfg AirConfig, play []float32, blocks int) (heard []float32, lost int64, stats AirStats) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a := running(t, cfg)
		from, to := attach(t, a, "a"), attach(t, a, "b")
		if audio.Channels(from) != 2 {
			t.Errorf("a port of %d channels", audio.Channels(from))
		}
		go idle(from)
		go func() {
			if err := from.Write(play); err != nil {
				t.Error(err)
			}
		}()
		buf := make([]float32, 2*a.Block())
		for range blocks {
			n, l, err := to.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			heard = append(heard, buf[:n]...)
			lost += l
		}
		stats = a.Stats()
		from.Close()
		to.Close()
	})
	return heard, lost, stats
}

// What the left channel plays arrives on the left one, and weaker by the
// crosstalk on the right one, at the same instant.
func TestPairAirCrosstalk(t *testing.T) {
	for _, tt := range []struct {
		crosstalk *float64
		want      float64
	}{{nil, 0.01}, {new(-20.0), 0.1}, {new(math.Inf(-1)), 0}} {
		cfg := dry()
		cfg.Channels = 2
		cfg.Room.CrosstalkDB = tt.crosstalk
		play := make([]float32, 2*480)
		play[2*100] = 0.5    // left
		play[2*200+1] = -0.4 // right
		heard, _, stats := hearPair(t, cfg, play, 10)
		left := slices.Index(heard, slices.Max(heard))
		if left < 0 || left%2 != 0 || left+201 >= len(heard) {
			t.Fatalf("the pulse is value %d", left)
		}
		right := left + 2*100 + 1
		for at, want := range map[int]float64{left: 0.5, left + 1: 0.5 * tt.want, right: -0.4, right - 1: -0.4 * tt.want} {
			if math.Abs(float64(heard[at])-want) > 1e-5 {
				t.Errorf("crosstalk %v: value %d is %g, want %g", tt.want, at-left, heard[at], want)
			}
		}
		if n := stats.Stations[0].Sent; n != 2 {
			t.Errorf("%d samples were sent, want 2", n)
		}
	}
}

// The channels of a station have noise of their own, and clock and gaps in
// common.
func TestPairAirSharesAllButTheNoise(t *testing.T) {
	cfg := dry()
	cfg.Channels = 2
	cfg.Station.SNRdB = new(20.0)
	cfg.Station.SkewPPM = nil
	cfg.Station.GapIntervalS = new(0.2)
	heard, lost, stats := hearPair(t, cfg, nil, 200)
	var both, left, right float64
	n := len(heard) / 2
	for i := range n {
		l, r := float64(heard[2*i]), float64(heard[2*i+1])
		both, left, right = both+l*r, left+l*l, right+r*r
	}
	want := float64(n) * math.Pow(10, (ReferenceDBFS-20)/10.)
	for c, power := range []float64{left, right} {
		if math.Abs(power/want-1) > sigmas*math.Sqrt(2/float64(n)) {
			t.Errorf("channel %d: noise power %g, want %g (seed %d)", c, power, want, seed)
		}
	}
	if r := both / math.Sqrt(left*right); math.Abs(r) > sigmas/math.Sqrt(float64(n)) {
		t.Errorf("the noises' correlation is %g (seed %d)", r, seed)
	}
	// Lost samples are counted once, not once a channel.
	b := stats.Stations[1]
	if lost == 0 || b.Gaps == 0 || b.Lost > 480*b.Gaps || lost > b.Lost {
		t.Errorf("%d samples lost in %d gaps, %d told", b.Lost, b.Gaps, lost)
	}
}

// Over the socket a station says how many channels it has.
func TestPairAirServes(t *testing.T) {
	cfg := fast()
	cfg.Channels = 2
	cfg.Room.CrosstalkDB = new(math.Inf(-1))
	path, _, _ := served(t, cfg)
	var streams []audio.Stream
	for _, name := range []string{"a", "b"} {
		s, err := audio.DialPairAir(t.Context(), path, name, 48000)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if audio.Channels(s) != 2 {
			t.Errorf("a stream of %d channels", audio.Channels(s))
		}
		streams = append(streams, s)
	}
	play := make([]float32, 2*300)
	for i := range play {
		play[i] = float32(i+1) / 1000
	}
	done := make(chan []float32, 2)
	for i, s := range streams {
		go func() {
			var heard []float32
			buf := make([]float32, 2*480)
			for range 12 {
				n, _, err := s.Read(buf)
				if err != nil {
					t.Error(err)
				}
				heard = append(heard, buf[:n]...)
			}
			if i == 0 {
				heard = nil
			}
			s.Close()
			done <- heard
		}()
	}
	if err := streams[0].Write(play); err != nil {
		t.Fatal(err)
	}
	heard := append(<-done, <-done...)
	at := slices.IndexFunc(heard, func(v float32) bool { return v > 5e-4 })
	if at < 0 || at%2 != 0 || at+len(play) > len(heard) {
		t.Fatalf("the first value is number %d of %d", at, len(heard))
	}
	for i, v := range play {
		if math.Abs(float64(heard[at+i]-v)) > 1e-5 {
			t.Fatalf("value %d is %g, want %g", i, heard[at+i], v)
		}
	}
	if _, err := audio.DialAir(t.Context(), path, "c", 48000); err == nil || !strings.Contains(err.Error(), `its stations have 2 channels, station "c" has one channel`) {
		t.Errorf("a station of one channel: %v", err)
	}
	one, _, _ := served(t, fast())
	if _, err := audio.DialPairAir(t.Context(), one, "c", 48000); err == nil || !strings.Contains(err.Error(), `its stations have one channel, station "c" has 2 channels`) {
		t.Errorf("a station of two channels: %v", err)
	}
}
