package fsk

import "math"

// toneBank measures the energy of each tone in a symbol, whatever its phase.
type toneBank struct {
	period   float64     // samples per symbol
	cos, sin [][]float32 // per tone, from the window's first sample on
	window   []float32
}

func newToneBank(n *numerology) *toneBank {
	length := int(math.Ceil(n.period)) + 1
	b := &toneBank{period: n.period, window: make([]float32, length)}
	for _, w := range n.omega {
		c, s := make([]float32, length), make([]float32, length)
		for i := range c {
			sin, cos := math.Sincos(w * float64(i))
			c[i], s[i] = float32(cos), float32(sin)
		}
		b.cos, b.sin = append(b.cos, c), append(b.sin, s)
	}
	return b
}

// reach is how many samples after the one in which a symbol starts may count.
func (b *toneBank) reach() int { return len(b.window) }

// open cuts one symbol that starts frac (0…1) of a sample after the start of
// x[0], and returns its samples, the first and last weighted with their share.
// x holds at least reach samples.
func (b *toneBank) open(x []float32, frac float64) []float32 {
	end := frac + b.period
	last := int(end)
	w := b.window[:last+1]
	copy(w, x[:last+1])
	w[0] *= float32(1 - frac)
	w[last] *= float32(end - float64(last))
	return w
}

// energy is the squared magnitude of the correlation of a cut with a tone.
func (b *toneBank) energy(cut []float32, tone int) float32 {
	c, s := b.cos[tone][:len(cut)], b.sin[tone][:len(cut)]
	var re0, re1, im0, im1 float32
	i := 0
	for ; i+1 < len(cut); i += 2 {
		re0 += cut[i] * c[i]
		im0 += cut[i] * s[i]
		re1 += cut[i+1] * c[i+1]
		im1 += cut[i+1] * s[i+1]
	}
	if i < len(cut) {
		re0 += cut[i] * c[i]
		im0 += cut[i] * s[i]
	}
	re, im := re0+re1, im0+im1
	return re*re + im*im
}

// clock says where the symbols lie. It is a delay-locked loop: the energy of
// the decided tone, measured a quarter of a symbol early and late, moves the
// start of the next symbol and, more slowly, the length of all that follow. The
// loop's noise bandwidth is about 1/60 of the symbol rate; a sender's clock
// that is 300 ppm off makes it lag by less than a hundredth of a symbol.
type clock struct {
	at     float64 // start of the next symbol, in samples
	period float64 // samples per symbol, as tracked
	// Least squares of the symbols' starts over their numbers, for the ppm.
	n                     float64
	sum, sumN, sumNN, sNT float64
	first                 float64
}

const (
	clockGain  = 1. / 32
	clockDrift = clockGain * clockGain / 4 // critically damped
	clockSkew  = 600e-6                    // how far the period may move
	earlyLate  = 0.25                      // of a symbol
)

func newClock(at, period float64) clock { return clock{at: at, period: period, first: at} }

// advance goes to the next symbol. late is the energy at late minus that at
// early over the energy of a symbol; tones is how many there are.
func (c *clock) advance(late float64, nominal float64, tones int) {
	// Away from its own symbol a tone's energy falls as (1−|t|)², and at a side
	// where the neighbour has the same tone, one in as many as there are tones,
	// it does not fall at all.
	slope := 4 * (1 - earlyLate) * (1 - 1/float64(tones))
	e := nominal * max(-earlyLate, min(earlyLate, late/slope))
	c.at += c.period + clockGain*e
	c.period = max(nominal*(1-clockSkew), min(nominal*(1+clockSkew), c.period+clockDrift*e))
	c.n++
	t := c.at - c.first - c.n*nominal
	c.sum += t
	c.sumN += c.n
	c.sumNN += c.n * c.n
	c.sNT += c.n * t
}

// ppm is the sender's clock against ours, from the line through all symbols.
func (c *clock) ppm(nominal float64) float64 {
	if c.n < 16 {
		return math.NaN()
	}
	slope := (c.n*c.sNT - c.sumN*c.sum) / (c.n*c.sumNN - c.sumN*c.sumN)
	return -1e6 * slope / nominal
}
