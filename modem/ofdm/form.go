package ofdm

import (
	"math"

	"lightsong/modem"
)

// Forms. What a receiver sees on a burst depends on how the burst is built: in a
// room the same path gives plain symbols the SNR of its echoes, a block that of
// what it could not learn of them, and long symbols nearly that of the noise. A
// receiver therefore says of every burst what bursts of the other forms would see,
// so that their modes can be chosen before one was tried.

// unknownForms says nothing of any form.
var unknownForms = func() (v [modem.Forms]float64) {
	for i := range v {
		v[i] = math.NaN()
	}
	return v
}()

// form of the burst. On a lead, where there are no echoes, all are one.
func (p *plan) form(prof *profile, s scale) modem.Form {
	switch {
	case prof.wide:
		return modem.Plain
	case p.isBlock:
		return modem.Block
	case p.frames > 0 && p.isLong(s):
		return modem.Long
	case p.frames > 0 && p.body.n >= middleSymbol*s.times:
		return modem.Middle
	}
	return modem.Plain
}

// middleSymbol is the length in samples at the base rate from which on a body is of
// middle form.
const middleSymbol = 16384

// What is left of the echoes as noise, as a share of their energy, and by how much
// the errors of the channel raise the noise. Measured in rooms of RT60 0.15 to 0.5 s
// at 10 to 25 dB.
const (
	blockResidue = 0.14
	blockErrors  = 1.2
	longResidue  = 0.005
	longErrors   = 1.3
	middleErrors = 2.0
	moved        = 5.0 // times what a block should see as noise
	// How long the forms last, in s, for what changes meanwhile.
	blockSeconds  = 0.3
	longSeconds   = 5
	middleSeconds = 2.5
)

// foresee tells the SNR in dB that bursts of each form would see over the path
// that a burst came by with the given SNR. Plain bursts differ among themselves
// by their symbols, so only they tell of one another.
func (r *receiver) foresee(snr float64, way *channel) [modem.Forms]float64 {
	v := unknownForms
	if math.IsNaN(snr) || math.IsInf(snr, 0) || !(way.floor > 0) || len(r.prof.blocks) == 0 || r.prof.wide {
		return v
	}
	p, c := &r.plan, &r.change
	form := p.form(r.prof, r.scale)
	noise, tail, tau := way.floor, way.tail, way.tau
	switch form {
	case modem.Block:
		noise, tail = r.blocks.background(way)
		tau = r.blocks.prior.tau
		if way.floor > moved*(blockErrors*noise+blockResidue*tail) {
			noise = way.floor // the path has changed since the chirp
		}
	case modem.Long:
		noise = max(noise-longResidue*tail, noise/2) / longErrors
	default:
		g := p.head
		if p.frames > 0 {
			g = p.body
			if !r.pursued {
				noise -= c.within(float64(p.bodyCount * g.length()))
			}
		}
		if tail > 0 && tau*tauStep >= float64(g.n) && c.speed == 0 {
			// The longest that was tried: of echoes that last as long as a symbol neighbouring carriers know nothing of one
			// another, and what is late of them looks like noise.
			v[form] = snr
			return v
		}
		noise = max(noise-way.overlap(g, r.scale), sureOfEchoes*way.floor)
	}
	if form == modem.Block && p.body.n < tellingBlock*r.scale.times {
		v[form] = snr
		return v
	}
	second := float64(baseRate * r.scale.times)
	foreseen := func(floor float64) float64 { return snr + 10*math.Log10(way.floor/floor) }
	v[modem.Block] = foreseen(blockErrors*noise + blockResidue*tail + c.within(blockSeconds*second))
	v[modem.Long] = foreseen(longErrors*noise + longResidue*tail + c.within(longSeconds*second))
	third := r.scale.geometry(airThird, p.class)
	v[modem.Middle] = foreseen(middleErrors*(noise+beyond(tail, tau, third, r.scale)) + c.within(middleSeconds*second))
	v[form] = snr
	return v
}

// tellingBlock is the least length of a block, in samples at the base rate, that
// tells of long bursts: shorter ones see more of the echoes as noise than that.
const tellingBlock = 6144

// sureOfEchoes is the least share of what a plain burst sees as noise that is taken
// for more than echoes.
const sureOfEchoes = 0.03

// background is the noise on the block's carriers that the echoes have no part in,
// and the energy of the echoes, as power in channel.
func (b *blockReader) background(way *channel) (noise, tail float64) {
	g, v := b.plan.body, &b.prior
	noise = v.noise * 2 * float64(g.carriers) / float64(g.n)
	return min(noise, way.floor), way.power * v.left(0) / max(v.direct+v.left(0), 1e-30)
}
