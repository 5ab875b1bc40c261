package ofdm

import (
	"math"

	"lightsong/modem/fec"
)

// Probabilistic amplitude shaping (Böcherer, Steiner, Schulte, "Bandwidth
// efficient and rate-matched low-density parity-check coded modulation", IEEE
// Trans. Commun. 63(12), 2015): small amplitudes are sent more often than large
// ones, so that the same power holds denser constellations. It closes most of the
// 1.53 dB that uniform QAM is away from Shannon's limit.
//
// An axis of m bits has a sign bit, then the bits of its amplitude, coarse to
// fine. The first few of those are shaped: a matcher (fec.Sphere) writes data
// bits as coarse amplitudes with a Maxwell-Boltzmann distribution. Between the
// borders of a coarse amplitude the fine bits are uniform: eight steps are as good
// as Gaussian to 0.04 dB. The code is systematic and leaves the shaped bits as
// they are; its parity, and the data bits that are not shaped, are as good as
// uniform and become signs and fine bits.
//
//	data ─┬─ matcher ─ labels of coarse amplitudes ─┐
//	      │    "hidden" part of the information ┐   │
//	      └─ unshaped ──────────────────────────┴───┴─ LDPC ─ signs, fine bits
//
// The columns of the code that are never sent must not hold shaped bits, which
// have to be: they get unshaped ones, and the checks tell the receiver what they
// are, as in any codeword.
//
// Of a codeword's information bits the first are unshaped and hidden, then come
// the shaped ones, which the bit interleaver puts into their places, then the
// other unshaped ones.
//
// Coded bits are scrambled behind the encoder, so a shaped bit is scrambled before
// it too.

// shaping is how a constellation is shaped.
type shaping struct {
	bits  int // shaped bits of an axis: 0 without shaping
	share int // % of the redundancy that the code gets; the matcher gets the rest
}

// info is the number of information bits of the code, shaped ones as they are,
// for net data bits in e coded ones.
func (s shaping) info(net, e int) int {
	if s.bits == 0 {
		return net
	}
	return e - (e-net)*s.share/100
}

// shapedBits are the shaped bits of an axis by all its bits. Fewer leave more
// room for the bits that must not be shaped; eight coarse amplitudes are enough.
var shapedBits = [maxQAMBits/2 + 1]int{2: 1, 3: 1, 4: 2, 5: 3, 6: 3, 7: 3, 8: 3, 9: 3, 10: 3, 11: 3, 12: 3}

// codeShare is the code's share of the redundancy of shaped modes in %. Between 55
// and 65 the threshold is flat within 0.1 dB (BenchmarkPAS).
const codeShare = 60

// shapingOf is how a mode is shaped.
func (prof *profile) shapingOf(m *mode) shaping {
	if prof.shaped == 0 || m.bits < prof.shaped {
		return shaping{}
	}
	return shaping{shapedBits[m.bits/2], codeShare}
}

// spheres are the matchers by the number of bits they make of an amplitude.
var spheres = [...]*fec.Sphere{1: fec.NewSphere(1), 2: fec.NewSphere(2), 3: fec.NewSphere(3)}

// setWord chooses the code of a codeword of net data bits in p.cells cells. ok is
// false if they do not fit.
func (p *plan) setWord(net int) (ok bool) {
	p.net = net
	p.e = p.cells * p.mode.bits
	p.k, p.budget, p.shaped, p.matched = net, 0, 0, 0
	if p.shaping.bits == 0 {
		return true
	}
	axes := 2 * p.cells
	p.shaped = axes * p.shaping.bits
	// What the matcher cannot take off a frame too short for its symbols the code
	// need not carry either.
	p.k = min(p.shaping.info(net, p.e), p.shaped+net, maxWordBits)
	for p.k < p.shaped+fec.Hidden(fec.BG1, p.k) {
		if p.k = p.shaped + fec.Hidden(fec.BG1, p.k); p.k > maxWordBits {
			return false
		}
	}
	if p.k >= p.e {
		return false
	}
	s := spheres[p.shaping.bits]
	p.budget, ok = s.Budget(axes, net-(p.k-p.shaped))
	p.matched = s.Capacity(axes, p.budget)
	return ok
}

// mostCells bounds the cells of a codeword: with more of them its shaped bits
// would not fit the longest code.
func (s shaping) mostCells() int {
	if s.bits == 0 {
		return math.MaxInt
	}
	return (maxWordBits - fec.Hidden(fec.BG1, maxWordBits)) / (2 * s.bits)
}

// label is the label of the coarse amplitude of index a, bits long, and a of
// the label: the mapping of qam is the Gray code, its bits behind the sign
// inverted, counted from the largest level down.
func label(a, bits int) int {
	all := 1<<bits - 1
	i := all - a
	return i ^ i>>1 ^ all
}

func unlabel(v, bits int) int {
	all := 1<<bits - 1
	i := v ^ all
	for shift := 1; shift < bits; shift *= 2 {
		i ^= i >> shift
	}
	return all - i
}

// maxwellBoltzmann fills prob with the probabilities of the coarse amplitudes of
// blocks within a mean budget: ~ e^(−ν·w), w = a(a+1)/2.
func maxwellBoltzmann(prob []float64, budget, block float64) {
	fill := func(nu float64) (mean float64) {
		var z float64
		for a := range prob {
			w := float64(a * (a + 1) / 2)
			prob[a] = math.Exp(-nu * w)
			z += prob[a]
			mean += prob[a] * w
		}
		for a := range prob {
			prob[a] /= z
		}
		return mean / z
	}
	lo, hi := 1e-4, 40.
	for range 60 {
		nu := (lo + hi) / 2
		// What a sequence leaves of its block's budget is geometrically distributed.
		if fill(nu) > budget-1/(math.Expm1(nu)*block) {
			lo = nu
		} else {
			hi = nu
		}
	}
}
