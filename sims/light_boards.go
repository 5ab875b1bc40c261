package sims

import (
	"errors"
	"math"
	"slices"
	"time"
)

// LightBoards is a light field for boards that are simulated elsewhere, edge by edge
// (firmware/emu: Config.Field): places, directions and powers of stations, hands,
// daylight, as strengths of light. What a receiver makes of it is the boards' business.
//
// Strength 1 is what two stations with the configuration's common parts have of each
// other that stand face to face across the circle. A photodiode takes light as in Light;
// an LED that also hears has its lens before it both ways, so what comes from aside is as
// much weaker as what it sends there (Lambert's order, docs/light.md).
type LightBoards struct {
	PPM      []float64 // of the stations' clocks
	Ripple   float64   // of the lamps' light, a share of it,
	RippleHz float64

	light *Light
	gain  [][]float64 // from, to; no hand
}

// officeLux is the room's light in which ambient strength is 1.
const officeLux = 300

// NewLightBoards makes a light field of stations with these names; oneLED: their one LED both
// sends and hears.
func NewLightBoards(cfg LightConfig, oneLED bool, names ...string) (*LightBoards, error) {
	l, err := NewLight(cfg)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, errors.New("a light field without stations")
	}
	for _, name := range names {
		if _, err := l.Attach(name); err != nil {
			return nil, err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.start()
	b := &LightBoards{light: l, Ripple: given(0.3, cfg.Room.Ripple), RippleHz: given(100, cfg.Room.RippleHz)}
	reach := received
	if oneLED {
		reach = receivedByLED
	}
	here := cfg.opticsOf("", 0)
	there := here
	here.x, here.y, here.toward = 0, 0, 0
	there.x, there.y, there.toward = given(0.3, cfg.Room.DistanceM), 0, math.Pi
	one := reach(&here, &there)
	for _, from := range l.stations {
		b.PPM = append(b.PPM, (from.o.clock-1)*1e6)
		row := make([]float64, len(l.stations))
		for i, to := range l.stations {
			if to != from {
				row[i] = reach(&from.o, &to.o) / one
			}
		}
		b.gain = append(b.gain, row)
	}
	return b, nil
}

// receivedByLED is received with the sender's kind of LED as receiver.
func receivedByLED(from, to *optics) float64 {
	d, out, in := sight(from, to)
	if out <= 0 || in <= 0 {
		return 0
	}
	return from.power * (from.order + 1) / (d * d) * math.Pow(out, from.order) * math.Pow(in, to.order)
}

// Gain is how strongly a station's light reaches another one at a time since the start.
func (b *LightBoards) Gain(at time.Duration, from, to int) float64 {
	covers := func(h LightHand) bool { return h.covers(at.Seconds()) }
	if slices.ContainsFunc(b.light.cfg.Hands, covers) {
		return b.gain[from][to] * given(0, b.light.cfg.Room.HandShare)
	}
	return b.gain[from][to]
}

// Ambient is the room's mean light at a time since the start, which never goes back: 1 is
// an office's, 300 lx. It is the same for all stations.
func (b *LightBoards) Ambient(at time.Duration) float64 {
	l := b.light
	l.now = max(l.now, at.Seconds())
	l.stepDaylight()
	return max(0, given(officeLux, l.cfg.Room.AmbientLux)+l.daylight) / officeLux
}
