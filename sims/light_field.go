package sims

import (
	"math"
	"math/rand/v2"
)

// edge is a change of level: of an LED or of a comparator.
type edge struct {
	at float64 // s
	up bool
}

// frontEnd is a photodiode with its amplifier and comparator. From the edges of all
// light that reaches it it makes those of the comparator, in closed form:
//
// Between two edges the photocurrent nears its new value exponentially, with the
// time constant of LED and amplifier together (the root of their squares' sum); the
// high-pass takes off a mean that follows slowly; the comparator turns when what is
// left crosses its hysteresis. Noise moves that moment by σ over the slope, and, on a
// plateau that is m above the other threshold, crosses by itself B/√3·exp(−m²/2σ²)
// times a second (Rice, Bell Syst. Tech. J. 24, 1945, for noise flat up to B).
type frontEnd struct {
	o      *optics
	rnd    *rand.Rand
	sigmas float64
	level  []bool    // of each LED
	gain   []float64 // A of each LED's light
	now    float64
	v      float64 // A, of light that is signalled
	mean   float64 // A, what the high-pass takes off
	amb    float64 // A
	noise  float64 // A rms
	fresh  float64 // until then amb and noise are taken to be steady
	up     bool    // the comparator
	last   float64 // of the edges told
	glitch float64 // when the next one begins
	half   float64 // s, half a bit: length of a glitch
	out    []edge
}

const (
	electron  = 1.602176634e-19 // C
	boltzmann = 1.380649e-23    // J/K
	kelvin    = 300
	piece     = 10e-6 // s: the longest time for which mean and ambient light are taken to be steady
	noiseBand = math.Pi / 2
)

func newFrontEnd(o *optics, leds int, sigmas float64, rnd *rand.Rand) *frontEnd {
	return &frontEnd{o: o, rnd: rnd, sigmas: sigmas, level: make([]bool, leds), gain: make([]float64, leds), glitch: math.Inf(1)}
}

// noiseRMS is the noise for a mean photocurrent: shot noise, the feedback resistor's,
// the amplifier's.
func (o *optics) noiseRMS(current float64) float64 {
	return math.Sqrt((2*electron*current + 4*boltzmann*kelvin/o.feedback + o.noise*o.noise) * noiseBand * o.bandwidth)
}

func (f *frontEnd) target() float64 {
	t := 0.
	for i, lit := range f.level {
		if lit {
			t += f.gain[i]
		}
	}
	return min(t, max(0, f.o.saturation-f.amb))
}

// change tells that the light of an LED changed.
func (f *frontEnd) change(led int, e edge, ambient func(t float64) float64) {
	f.advance(e.at, ambient)
	f.level[led] = e.up
}

// advance goes on to a time, with no change of light until then.
func (f *frontEnd) advance(to float64, ambient func(t float64) float64) {
	for f.now < to {
		end := min(to, f.now+piece)
		if f.now >= f.fresh {
			f.amb = min(ambient(f.now), f.o.saturation)
			f.noise = f.o.noiseRMS(f.amb + f.v)
			f.fresh = f.now + piece
		}
		f.pieceTo(end)
	}
}

func (f *frontEnd) pieceTo(end float64) {
	target, dt := f.target(), end-f.now
	tau := f.o.fall
	if target > f.v {
		tau = f.o.rise
	}
	base := f.amb - f.mean // signal is v + base
	from := f.v + base
	decay := 0.
	if dt < 40*tau {
		decay = math.Exp(-dt / tau)
	}
	held := target + (f.v-target)*tau*(1-decay)/dt // in the mean
	f.v = target + (f.v-target)*decay
	s := f.v + base
	threshold := f.o.hysteresis
	if f.up {
		threshold = -threshold
	}
	if f.up && s < threshold || !f.up && s > threshold {
		// from + (target+base−from)(1 − e^(−t/τ)) = threshold
		final := target + base
		t := 0.
		if f.up && from > threshold || !f.up && from < threshold {
			t = tau * math.Log((final-from)/(final-threshold))
		}
		late := 0.
		if slope := math.Abs(final-threshold) / tau; slope > 0 {
			late = f.noise / slope
		}
		late = math.Hypot(min(late, tau), f.o.jitter)
		f.toggle(f.now + t + late*f.rnd.NormFloat64())
	} else {
		f.chatter(end, s, dt)
	}
	f.mean += (held + f.amb - f.mean) * dt / (f.o.highPass + dt/2)
	f.now = end
	for f.glitch < f.now {
		f.toggle(f.glitch)
		f.toggle(f.glitch + f.half)
		f.planGlitch()
	}
}

// chatter lets noise cross the other threshold for a moment.
func (f *frontEnd) chatter(end, s, dt float64) {
	margin := f.o.hysteresis - s
	if f.up {
		margin = f.o.hysteresis + s
	}
	if f.noise == 0 || margin > f.sigmas*f.noise {
		return
	}
	x := max(0, margin) / f.noise
	if rate := f.o.bandwidth / math.Sqrt(3) * math.Exp(-x*x/2); f.rnd.Float64() < rate*dt {
		f.toggle(end - f.rnd.Float64()*dt)
		f.up = !f.up // for as long as the noise takes to go back
		f.out = append(f.out, edge{f.last + f.o.pole, f.up})
		f.last += f.o.pole
	}
}

func (f *frontEnd) toggle(at float64) {
	f.up = !f.up
	f.last = max(at, f.last+1e-12)
	f.out = append(f.out, edge{f.last, f.up})
}

// planGlitch draws when the comparator next shows the opposite for half a bit.
func (f *frontEnd) planGlitch() {
	if f.o.errors <= 0 || f.half <= 0 {
		f.glitch = math.Inf(1)
		return
	}
	f.glitch = max(f.now, f.last) + f.rnd.ExpFloat64()*f.half*(1-f.o.errors)/f.o.errors
}
