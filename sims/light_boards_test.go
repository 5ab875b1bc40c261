package sims_test

import (
	"math"
	"testing"
	"time"

	"lightsong/sims"
)

// Strengths by place and direction, against Lambert's and the inverse square law.
func TestLightBoardsStrength(t *testing.T) {
	at := func(x, y, toward float64) sims.LightStation {
		return sims.LightStation{PositionM: &[2]float64{x, y}, TowardDeg: &toward}
	}
	strong := at(0, 0, 0)
	power := 20.
	strong.PowerMW = &power
	across := 0.1
	room := sims.LightRoom{DistanceM: &across}
	half := math.Cos(60 * math.Pi / 180)
	wide := 60. // half angle: order 1
	for _, tt := range []struct {
		name   string
		oneLED bool
		half   *float64
		a, b   sims.LightStation
		want   float64 // from a to b
	}{
		{"face to face", true, nil, at(0, 0, 0), at(0.1, 0, 180), 1},
		{"face to face, photodiode", false, nil, at(0, 0, 0), at(0.1, 0, 180), 1},
		{"twice as far", true, nil, at(0, 0, 0), at(0.2, 0, 180), 1. / 4},
		{"twice the power", true, nil, strong, at(0.1, 0, 180), 2},
		{"the sender turned by its half angle", true, nil, at(0, 0, 15), at(0.1, 0, 180), 1. / 2},
		{"the receiver turned by its half angle", true, nil, at(0, 0, 0), at(0.1, 0, 195), 1. / 2},
		{"both turned", true, nil, at(0, 0, -15), at(0.1, 0, 195), 1. / 4},
		{"a photodiode turned by 15°", false, nil, at(0, 0, 0), at(0.1, 0, 195), math.Cos(15 * math.Pi / 180)},
		{"a photodiode turned out of its field of view", false, nil, at(0, 0, 0), at(0.1, 0, 255), 0},
		{"wide LEDs turned by 60°", true, &wide, at(0, 0, 60), at(0.1, 0, 240), half * half},
		{"the sender looks away", true, nil, at(0, 0, 180), at(0.1, 0, 180), 0},
		{"the receiver looks away", true, nil, at(0, 0, 0), at(0.1, 0, 0), 0},
		{"in one place", true, nil, at(0, 0, 0), at(0, 0, 180), 0},
	} {
		cfg := sims.LightConfig{Room: room, Station: sims.LightStation{HalfDeg: tt.half}, Stations: map[string]sims.LightStation{"a": tt.a, "b": tt.b}}
		b, err := sims.NewLightBoards(cfg, tt.oneLED, "a", "b")
		if err != nil {
			t.Fatal(err)
		}
		if got := b.Gain(0, 0, 1); math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("%s: %g, want %g", tt.name, got, tt.want)
		}
	}
}

func TestLightBoardsFaults(t *testing.T) {
	if _, err := sims.NewLightBoards(sims.LightConfig{}, true); err == nil {
		t.Error("a field without stations is taken")
	}
	if _, err := sims.NewLightBoards(sims.LightConfig{}, true, "a", "a"); err == nil {
		t.Error("two stations of one name are taken")
	}
	far := -1.
	if _, err := sims.NewLightBoards(sims.LightConfig{Room: sims.LightRoom{DistanceM: &far}}, true, "a"); err == nil {
		t.Error("a negative distance is taken")
	}
}

// Hands cover all paths while they are there; daylight steps about the lamps' light.
func TestLightBoardsOverTime(t *testing.T) {
	lux, step, every, share := 150., 100., 2., 0.1
	cfg := sims.LightConfig{
		Seed:  4,
		Room:  sims.LightRoom{AmbientLux: &lux, StepLux: &step, StepEveryS: &every, HandShare: &share},
		Hands: []sims.LightHand{{StartS: 1, ForS: 0.1, EveryS: 1}},
	}
	b, err := sims.NewLightBoards(cfg, true, "a", "b")
	if err != nil {
		t.Fatal(err)
	}
	if len(b.PPM) != 2 || b.PPM[0] == b.PPM[1] || b.Ripple != 0.3 || b.RippleHz != 100 {
		t.Errorf("clocks %v, lamps %g at %g Hz", b.PPM, b.Ripple, b.RippleHz)
	}
	covered, steps, last := 0, 0, 0.5
	const ms = 100000
	for i := range ms {
		at := time.Duration(i)*time.Millisecond + time.Millisecond/2
		if gain := b.Gain(at, 1, 0); gain == share {
			covered++
		} else if gain != 1 {
			t.Fatalf("%v: %g, want 1 or %g", at, gain, share)
		}
		ambient := b.Ambient(at)
		if ambient < (lux-step)/300 || ambient > (lux+step)/300 {
			t.Fatalf("%v: ambient light %g of 300 lx", at, ambient)
		}
		if ambient != last {
			steps++
		}
		last = ambient
	}
	if want := 99 * 100; covered != want {
		t.Errorf("covered for %d ms, want %d", covered, want)
	}
	// Poisson: 50, σ 7.
	if steps < 50-4*7 || steps > 50+4*7 {
		t.Errorf("seed %d: %d steps of daylight in 100 s, want about 50", cfg.Seed, steps)
	}
}
