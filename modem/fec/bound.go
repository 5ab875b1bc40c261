package fec

import "math"

// NormalApproximation is the Eb/N0 in dB at which the normal approximation
// (Polyanskiy, Poor, Verdú, "Channel coding rate in the finite blocklength
// regime", IEEE Trans. Inf. Theory 56(5), 2010, with the ½·log₂n term) gives
// k bits in n uses of the binary-input AWGN channel the block error rate bler: what
// no code of that length is much better than.
func NormalApproximation(k, n int, bler float64) float64 {
	inverseQ := math.Sqrt2 * math.Erfinv(1-2*bler)
	bits := func(sigma float64) float64 { // that n uses carry
		var c, v, w float64
		for x := -8.0; x <= 8; x += 1.0 / 64 {
			p := math.Exp(-x * x / 2)
			llr := 2 / (sigma * sigma) * (1 + sigma*x)
			i := 1 - math.Log1p(math.Exp(-llr))/math.Ln2
			if llr < -30 {
				i = 1 + llr/math.Ln2
			}
			w += p
			c += p * i
			v += p * i * i
		}
		c /= w
		v = v/w - c*c
		return float64(n)*c - math.Sqrt(float64(n)*v)*inverseQ + math.Log2(float64(n))/2
	}
	lo, hi := -15.0, 20.0 // Es/N0 in dB
	for range 60 {
		mid := (lo + hi) / 2
		if bits(Deviation(mid)) < float64(k) {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo - 10*math.Log10(float64(k)/float64(n))
}

// Deviation is the standard deviation of the noise of a real channel with symbols ±1
// at Es/N0 in dB.
func Deviation(esN0 float64) float64 { return math.Sqrt(0.5 * math.Pow(10, -esN0/10)) }
