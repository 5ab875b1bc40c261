package dsp

import "math"

// Length of a windowed sinc: sincHalf taps on either side of the position read.
const (
	sincTaps = 64
	sincHalf = sincTaps / 2
)

// sincBank holds a sinc under a Kaiser window (Kaiser and Schafer, "On the use of
// the I0-sinh window for spectrum analysis", IEEE Trans. ASSP 28, 1980), cut off
// at half the sample rate, at a number of phases between two samples.
type sincBank struct {
	rows   []float32 // phases+1 rows of sincTaps
	phases float64
}

// newSincBank computes the rows; beta is the window's shape parameter.
func newSincBank(beta float64, phases int) sincBank {
	b := sincBank{make([]float32, (phases+1)*sincTaps), float64(phases)}
	for phase := range phases + 1 {
		var row [sincTaps]float64
		var sum float64
		for i := range row {
			// Tap i weighs the sample i−(half−1) after the integer position; x is
			// its distance to the wanted one.
			x := float64(i-(sincHalf-1)) - float64(phase)/float64(phases)
			row[i] = sinc(x) * kaiser(x/sincHalf, beta)
			sum += row[i]
		}
		for i, v := range row {
			b.rows[phase*sincTaps+i] = float32(v / sum)
		}
	}
	return b
}

// at is the signal at frac, 0 ≤ frac < 1, beyond the middle of x, which is
// x[sincHalf-1]. Between two phases it interpolates linearly. At 0 it is the
// sample itself, bit for bit.
func (b *sincBank) at(x *[sincTaps]float32, frac float64) float32 {
	if frac == 0 {
		return x[sincHalf-1]
	}
	phase := frac * b.phases
	row := int(phase)
	t := float32(phase - float64(row))
	rows := (*[2 * sincTaps]float32)(b.rows[row*sincTaps:])
	var a0, a1, b0, b1 float32
	for i := 0; i < sincTaps; i += 2 {
		x0, x1 := x[i], x[i+1]
		a0 += x0 * rows[i]
		a1 += x1 * rows[i+1]
		b0 += x0 * rows[i+sincTaps]
		b1 += x1 * rows[i+sincTaps+1]
	}
	low, high := a0+a1, b0+b1
	return low + t*(high-low)
}

// sinc is sin(πx)/πx.
func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	return math.Sin(math.Pi*x) / (math.Pi * x)
}

// kaiser is the Kaiser window at x, which is ±1 at its ends.
func kaiser(x, beta float64) float64 {
	if x < -1 || x > 1 {
		return 0
	}
	return besselI0(beta*math.Sqrt(1-x*x)) / besselI0(beta)
}

// besselI0 is the modified Bessel function of the first kind of order zero,
// Σ ((x/2)^k / k!)².
func besselI0(x float64) float64 {
	sum, term := 1.0, 1.0
	for k := 1.0; term > 1e-17*sum; k++ {
		term *= x / (2 * k) * (x / (2 * k))
		sum += term
	}
	return sum
}
