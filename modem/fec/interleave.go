package fec

import (
	"math"

	"lightsong/modem"
)

// Interleaver spreads the bits of a codeword over its symbols: bit i goes to
// place i·step mod n, with step coprime to n and next to n/φ. Because the golden
// ratio is the number worst approximated by fractions, bits at a distance d in
// the code lie at least about n/(√5·d) apart on the medium, and the other way
// round, so neither a hit on the medium nor a weak tone meets neighbours in the
// trellis (Crozier, "New high-spread high-distance interleavers", 2000). Any
// length works and nothing is stored.
type Interleaver struct{ n, step int }

// NewInterleaver makes the permutation of n bits, n ≥ 1. Of the steps near n/φ
// that are coprime to n it takes the one with the best spread.
func NewInterleaver(n int) Interleaver {
	const window = 16
	near := int(math.Round(float64(n) / math.Phi))
	best, bestSpread := 1, 0
	for step := max(1, near-window); step <= min(n-1, near+window); step++ {
		if spread := spread(n, step); spread > bestSpread && gcd(step, n) == 1 {
			best, bestSpread = step, spread
		}
	}
	return Interleaver{n: n, step: best % n}
}

// spread is the least product of a distance in the code and the distance on the
// medium that it becomes, for the distances that matter to a trellis.
func spread(n, step int) int {
	least := n
	for d := 1; d <= min(16, n-1); d++ {
		apart := d * step % n
		least = min(least, d*min(apart, n-apart))
	}
	return least
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// Interleave writes the n bits of src to their places in dst.
func (v Interleaver) Interleave(dst, src []byte) {
	place := 0
	for _, b := range src[:v.n] {
		dst[place] = b
		if place += v.step; place >= v.n {
			place -= v.n
		}
	}
}

// Deinterleave brings n soft decisions from their places in src back into the
// order of the code.
func (v Interleaver) Deinterleave(dst, src []modem.LLR) {
	place := 0
	for i := range dst[:v.n] {
		dst[i] = src[place]
		if place += v.step; place >= v.n {
			place -= v.n
		}
	}
}
