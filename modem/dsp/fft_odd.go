package dsp

import "math"

// oddStep makes a transform of r·m points, r 3 or 5, of r transforms of m points
// (decimation in time):
//
//	X[k+q·m] = Σ_j e^(−2πi·jq/r) · e^(−2πi·jk/(r·m)) · FFT(x[j], x[j+r], …)[k]
type oddStep struct {
	r, m    int
	part    *FFT
	twiddle []complex64 // e^(−2πi·jk/(r·m)), j = 1 … r−1 of each k
	turn    [5][5]complex64
}

func newOddStep(r, m int) *oddStep {
	s := &oddStep{r: r, m: m, part: NewFFT(m)}
	for k := range m {
		for j := 1; j < r; j++ {
			s.twiddle = append(s.twiddle, root(j*k, r*m))
		}
	}
	for q := range r {
		for j := range r {
			sin, cos := math.Sincos(-2 * math.Pi * float64(q*j%r) / float64(r))
			s.turn[q][j] = complex(float32(cos), float32(sin))
		}
	}
	return s
}

// forward transforms src to dst, which may be the same; scratch is as long.
func (s *oddStep) forward(dst, src, scratch []complex64) {
	r, m := s.r, s.m
	for j := range r {
		row := scratch[j*m:][:m]
		for k := range row {
			row[k] = src[k*r+j]
		}
		s.part.Forward(row, row)
	}
	var a [5]complex64
	for k := range m {
		a[0] = scratch[k]
		for j := 1; j < r; j++ {
			v := scratch[j*m+k]
			a[j] = times(real(v), imag(v), s.twiddle[k*(r-1)+j-1])
		}
		for q := range r {
			sum := a[0]
			for j := 1; j < r; j++ {
				sum += times(real(a[j]), imag(a[j]), s.turn[q][j])
			}
			dst[q*m+k] = sum
		}
	}
}
