package ofdm

import "math"

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
	bits  int
	m     int     // bits of an axis
	unit  float32 // half the distance of neighbours
	level []float32
	label []byte // level i has the bits label[i*m:][:m]
	exact bool   // few enough levels for LLRs that are no approximation
}

// maxExactBits bounds the axis for which LLRs are exact. Beyond, the nearest
// points alone are within 0.05 dB at the code rates in use.
const maxExactBits = 4

func newQAM(bits int) *qam {
	q := &qam{bits: bits, m: bits / 2}
	levels := 1 << q.m
	// The mean square of the odd integers up to levels−1 is (levels²−1)/3.
	q.unit = float32(1 / math.Sqrt(2*float64(levels*levels-1)/3))
	q.exact = q.m <= maxExactBits
	if q.exact {
		word := make([]byte, q.m)
		for v := range levels {
			for i := range word {
				word[i] = byte(v >> i & 1)
			}
			q.level = append(q.level, q.axis(word, 1))
			q.label = append(q.label, word...)
		}
	}
	return q
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

func (q *qam) softenAxis(llr []float32, y, inverse float32) {
	if q.m == 1 {
		llr[0] = 4 * y * inverse
		return
	}
	// The bits' decision regions are folded onto one another: fold is the
	// distance to the nearest border at which bit i changes, positive where it
	// is 0, and the nearest point on the other side lies 1 beyond it.
	nearest := nearestOdd(y, 1<<q.m)
	if q.exact {
		q.softenExact(llr, y, inverse, nearest)
		return
	}
	own := (y - nearest) * (y - nearest)
	fold := y
	for i := range q.m {
		if fold >= 0 {
			llr[2*i] = ((fold+1)*(fold+1) - own) * inverse
			fold = float32(int(1)<<(q.m-1-i))/1 - fold
		} else {
			llr[2*i] = -((1-fold)*(1-fold) - own) * inverse
			fold = float32(int(1)<<(q.m-1-i)) + fold
		}
	}
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

// softenExact sums over all levels.
func (q *qam) softenExact(llr []float32, y, inverse, nearest float32) {
	own := (y - nearest) * (y - nearest)
	var zero, one [maxExactBits]float32
	for i, x := range q.level {
		w := fastExp((own - (y-x)*(y-x)) * inverse)
		for j, b := range q.label[i*q.m:][:q.m] {
			if b == 0 {
				zero[j] += w
			} else {
				one[j] += w
			}
		}
	}
	const tiny = 1e-37
	for j := range q.m {
		llr[2*j] = float32(math.Log(float64((zero[j] + tiny) / (one[j] + tiny))))
	}
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
