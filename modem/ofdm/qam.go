package ofdm

import (
	"math"
	mathbits "math/bits"
)

// Square QAM with Gray labels as in TS 38.211 §5.1: the even bits of a symbol
// label the real axis, the odd ones the imaginary, each a PAM of m bits with
// the nested mapping
//
//	x = t0·(2^(m−1) − t1·(2^(m−2) − … t(m−1)·1 …)),   t = 1−2·bit,
//
// which is odd integers. The same formula with t the mean of 1−2·bit gives the
// mean of x when the bits are independent.

// qam is one constellation of 2^bits points of mean power 1.
type qam struct {
	bits int
	m    int     // bits of an axis
	unit float32 // half the distance of neighbours
	// Shaped constellations: logarithm of the probability of a level by its coarse
	// amplitude, which is the position of its amplitude without the fine bits.
	prior []float32
	fine  int
}

func newQAM(bits int) *qam {
	q := new(qam)
	q.uniform(bits)
	return q
}

// uniform makes all points equally likely.
func (q *qam) uniform(bits int) {
	q.bits, q.m = bits, bits/2
	levels := 1 << q.m
	// The mean square of the odd integers up to levels−1 is (levels²−1)/3.
	q.unit = float32(1 / math.Sqrt(2*float64(levels*levels-1)/3))
	q.prior, q.fine = q.prior[:0], 0
}

// shape gives the coarse amplitudes probabilities.
func (q *qam) shape(bits int, prob []float64) {
	q.uniform(bits)
	q.fine = q.m - mathbits.Len(uint(len(prob)))
	width := float64(int(2) << q.fine) // of a coarse amplitude
	var power float64
	for a, p := range prob {
		// The mean square of n odd integers in a row: that of their middle, and
		// (n²−1)/3 around it.
		middle := width * (float64(a) + 0.5)
		power += p * (middle*middle + (width*width/4-1)/3)
		q.prior = append(q.prior, float32(math.Log(max(p, 1e-20))))
	}
	q.unit = float32(1 / math.Sqrt(2*power))
}

// axis is the PAM value of m bits, stride apart.
func (q *qam) axis(bits []byte, stride int) float32 {
	x := 0
	for i := q.m - 1; i >= 0; i-- {
		x = 1<<(q.m-1-i) - x
		if bits[i*stride] != 0 {
			x = -x
		}
	}
	return float32(x)
}

// point is the symbol of the first q.bits bits.
func (q *qam) point(bits []byte) complex64 {
	return complex(q.unit*q.axis(bits, 2), q.unit*q.axis(bits[1:], 2))
}

// mean is the expected symbol when the bits have the given tanh(LLR/2).
func (q *qam) mean(t []float32) complex64 {
	var re, im float32
	for i := q.m - 1; i >= 0; i-- {
		half := float32(int(1) << (q.m - 1 - i))
		re = t[2*i] * (half - re)
		im = t[2*i+1] * (half - im)
	}
	return complex(q.unit*re, q.unit*im)
}

// soften writes the LLRs of a received symbol z = x + noise with noise of
// variance v (both axes together) to llr.
func (q *qam) soften(llr []float32, z complex64, v float32) {
	y := real(z) / q.unit
	inverse := q.unit * q.unit / v // 1/(2·variance of an axis), in units
	q.softenAxis(llr, y, inverse)
	q.softenAxis(llr[1:], imag(z)/q.unit, inverse)
}

// Levels further from the nearest than farthest, or so far that they are less
// likely than it by e^−negligible, are left out of the LLRs.
const (
	farthest   = 32
	negligible = 18
)

// softenAxis sums over the levels around y. A bit that all of them agree on gets
// the LLR of the nearest two levels that differ in it.
func (q *qam) softenAxis(llr []float32, y, inverse float32) {
	if q.m == 1 {
		llr[0] = 4 * y * inverse
		return
	}
	levels := 1 << q.m
	nearest := nearestOdd(y, levels)
	at := (int(nearest) + levels) / 2 // its number, counted from the lowest
	reach := farthest
	if r := negligible/inverse + 1; r < 4*farthest*farthest {
		// From the nearest level, which y is up to 1 away from.
		reach = int(math.Sqrt(float64(r))/2) + 1
	}
	first, last := max(0, at-reach), min(levels-1, at+reach)
	var weight [2*farthest + 1]float32
	w := weight[:last-first+1]
	top := float32(math.Inf(-1))
	for i := range w {
		d := y - float32(2*(first+i)+1-levels)
		w[i] = -d * d * inverse
		if len(q.prior) > 0 {
			w[i] += q.prior[q.coarse(first+i, levels)]
		}
		top = max(top, w[i])
	}
	var zero, one [maxQAMBits / 2]float32
	for i := range w {
		w[i] = fastExp(w[i] - top)
	}
	for i, v := range w {
		g := levels - 1 - first - i
		g ^= g>>1 ^ (levels/2 - 1)
		for j := q.m - 1; j >= 0; j-- {
			if g&1 == 0 {
				zero[j] += v
			} else {
				one[j] += v
			}
			g >>= 1
		}
	}
	// The bits' decision regions are folded onto one another: fold is the
	// distance to the nearest border at which bit i changes, positive where it
	// is 0, and the nearest point on the other side lies 1 beyond it.
	own := (y - nearest) * (y - nearest)
	fold := y
	for i := range q.m {
		half := float32(int(1) << (q.m - 1 - i))
		switch {
		case zero[i] > tiny && one[i] > tiny:
			llr[2*i] = float32(math.Log(float64(zero[i] / one[i])))
		case fold >= 0:
			llr[2*i] = ((fold+1)*(fold+1) - own) * inverse
		default:
			llr[2*i] = -((1-fold)*(1-fold) - own) * inverse
		}
		if fold >= 0 {
			fold = half - fold
		} else {
			fold = half + fold
		}
	}
}

// tiny is the least sum of weights that is told from none.
const tiny = 1e-8

// coarse is the coarse amplitude of level i.
func (q *qam) coarse(i, levels int) int {
	i -= levels / 2
	if i < 0 {
		i = -1 - i
	}
	return i >> q.fine
}

func nearestOdd(y float32, levels int) float32 {
	top := float32(levels - 1)
	switch {
	case !(y > -top): // NaN too
		return -top
	case y >= top:
		return top
	}
	return 2*float32(math.Floor(float64(y)/2)) + 1
}

// fastExp is e^x for x ≤ 0 to a relative error of 2e-5: the integer part of
// x/ln 2 becomes the exponent, the rest a polynomial.
func fastExp(x float32) float32 {
	t := x * math.Log2E
	if !(t > -120) {
		return 0
	}
	n := int32(t - 0.5)
	f := t - float32(n) // within ±1/2
	p := 1 + f*(0.69314718+f*(0.24022651+f*(0.05550411+f*0.00961813)))
	return math.Float32frombits(uint32(n+127)<<23) * p
}
