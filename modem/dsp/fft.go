package dsp

import (
	"fmt"
	"math"
	"math/bits"
)

// FFT is a complex discrete Fourier transform of a fixed size, a power of two or
// three or five times one,
//
//	X[k] = Σ x[n]·exp(−2πi·kn/N),
//
// by Stockham's self-sorting radix-4 algorithm with one radix-2 step where the
// size asks for it (Swarztrauber, "FFT algorithms for vector computers", 1984).
type FFT struct {
	n       int
	stages  int
	twiddle [][]complex64 // per radix-4 stage: w, w², w³ of each butterfly
	scratch []complex64
	odd     *oddStep // for sizes that are no power of two
}

// NewFFT makes a transform of n points. n is 1, 3 or 5 times a power of two, at
// least 2; any other n is a programming error and panics.
func NewFFT(n int) *FFT {
	for _, r := range []int{3, 5} {
		if m := n / r; n%r == 0 && m >= 2 && m&(m-1) == 0 {
			return &FFT{n: n, scratch: make([]complex64, n), odd: newOddStep(r, m)}
		}
	}
	if n < 2 || n&(n-1) != 0 {
		panic(fmt.Sprintf("dsp: FFT of %d points: not 1, 3 or 5 times a power of two from 2 on", n))
	}
	log := bits.Len(uint(n)) - 1
	f := &FFT{n: n, stages: (log + 1) / 2, scratch: make([]complex64, n)}
	for size := n; size >= 4; size /= 4 {
		w := make([]complex64, 0, 3*size/4)
		for p := range size / 4 {
			w = append(w, root(p, size), root(2*p, size), root(3*p, size))
		}
		f.twiddle = append(f.twiddle, w)
	}
	return f
}

// SizeFrom is the least size of a RealFFT, a power of two or three quarters of one, that is at least n.
func SizeFrom(n int) int {
	size := 16
	for size < n {
		size *= 2
	}
	if most := size / 4 * 3; most >= n {
		return most
	}
	return size
}

// root is exp(−2πi·k/n).
func root(k, n int) complex64 {
	sin, cos := math.Sincos(-2 * math.Pi * float64(k) / float64(n))
	return complex(float32(cos), float32(sin))
}

// Len is the number of points.
func (f *FFT) Len() int { return f.n }

// Forward writes the transform of src to dst, both Len long. They may be the
// same slice, but must not overlap otherwise.
func (f *FFT) Forward(dst, src []complex64) {
	dst, src = dst[:f.n], src[:f.n]
	if f.odd != nil {
		f.odd.forward(dst, src, f.scratch)
		return
	}
	in, out, other := src, f.scratch, dst
	if f.stages%2 == 1 {
		out, other = dst, f.scratch
		if &dst[0] == &src[0] {
			copy(f.scratch, src)
			in = f.scratch
		}
	}
	// Each stage reads the sub-transforms of the last one, interleaved with
	// stride s, and the last stage writes to dst.
	s := 1
	for _, w := range f.twiddle {
		if s == 1 {
			firstRadix4(out, in, w)
		} else {
			radix4(out, in, w, s)
		}
		in, out, other = out, other, out
		s *= 4
	}
	if s < f.n {
		radix2(out, in)
	}
}

// Inverse writes the inverse transform of src, scaled by 1/Len, to dst. They
// may be the same slice, but must not overlap otherwise.
func (f *FFT) Inverse(dst, src []complex64) {
	f.Forward(dst, src)
	// The inverse transform is the forward one read backwards.
	scale := 1 / float32(f.n)
	dst = dst[:f.n]
	dst[0] = scaled(dst[0], scale)
	for i, j := 1, f.n-1; i <= j; i, j = i+1, j-1 {
		dst[i], dst[j] = scaled(dst[j], scale), scaled(dst[i], scale)
	}
}

func scaled(v complex64, by float32) complex64 { return complex(real(v)*by, imag(v)*by) }

// firstRadix4 is radix4 for stride 1.
func firstRadix4(y, x, w []complex64) {
	m := len(x) / 4
	x0, x1, x2, x3 := x[:m], x[m:2*m], x[2*m:3*m], x[3*m:4*m]
	for p := range x0 {
		w := w[3*p : 3*p+3 : 3*p+3]
		y := y[4*p : 4*p+4 : 4*p+4]
		a, b, c, d := x0[p], x1[p], x2[p], x3[p]
		sumR, sumI := real(a)+real(c), imag(a)+imag(c)
		difR, difI := real(a)-real(c), imag(a)-imag(c)
		sum2R, sum2I := real(b)+real(d), imag(b)+imag(d)
		dif2R, dif2I := real(b)-real(d), imag(b)-imag(d)
		y[0] = complex(sumR+sum2R, sumI+sum2I)
		y[1] = times(difR+dif2I, difI-dif2R, w[0])
		y[2] = times(sumR-sum2R, sumI-sum2I, w[1])
		y[3] = times(difR-dif2I, difI+dif2R, w[2])
	}
}

// radix4 does the butterflies of s interleaved transforms.
func radix4(y, x, w []complex64, s int) {
	m := len(x) / (4 * s)
	for p := range m {
		wp := w[3*p : 3*p+3 : 3*p+3]
		w1, w2, w3 := wp[0], wp[1], wp[2]
		x0 := x[s*p:][:s]
		x1 := x[s*(p+m):][:s]
		x2 := x[s*(p+2*m):][:s]
		x3 := x[s*(p+3*m):][:s]
		y0 := y[4*s*p:][:s]
		y1 := y[4*s*p+s:][:s]
		y2 := y[4*s*p+2*s:][:s]
		y3 := y[4*s*p+3*s:][:s]
		for q := range x0 {
			a, b, c, d := x0[q], x1[q], x2[q], x3[q]
			sumR, sumI := real(a)+real(c), imag(a)+imag(c)
			difR, difI := real(a)-real(c), imag(a)-imag(c)
			sum2R, sum2I := real(b)+real(d), imag(b)+imag(d)
			dif2R, dif2I := real(b)-real(d), imag(b)-imag(d)
			y0[q] = complex(sumR+sum2R, sumI+sum2I)
			y1[q] = times(difR+dif2I, difI-dif2R, w1)
			y2[q] = times(sumR-sum2R, sumI-sum2I, w2)
			y3[q] = times(difR-dif2I, difI+dif2R, w3)
		}
	}
}

// radix2 is the last stage of a size that is no power of four: its twiddles
// are all 1.
func radix2(y, x []complex64) {
	h := len(x) / 2
	lo, hi, out0, out1 := x[:h], x[h:][:h], y[:h], y[h:][:h]
	for q := range lo {
		a, b := lo[q], hi[q]
		out0[q], out1[q] = a+b, a-b
	}
}

// times is (re + i·im)·w without the special cases of Go's complex product.
func times(re, im float32, w complex64) complex64 {
	return complex(re*real(w)-im*imag(w), re*imag(w)+im*real(w))
}

// RealFFT is the discrete Fourier transform of real samples, done as a complex
// one of half the size. Only the bins 0…n/2 are kept; the others are their
// conjugates.
type RealFFT struct {
	n       int
	half    *FFT
	twiddle []complex64 // exp(−2πi·k/n) for k ≤ n/4
	work    []complex64
}

// NewRealFFT makes a transform of n real samples. n is 1, 3 or 5 times a power of
// two from 4 on, at least 8; any other n is a programming error and panics.
func NewRealFFT(n int) *RealFFT {
	if n < 8 || n%4 != 0 {
		panic(fmt.Sprintf("dsp: real FFT of %d points: not 1, 3 or 5 times a power of two from 4 on", n))
	}
	f := &RealFFT{n: n, half: NewFFT(n / 2), work: make([]complex64, n/2)}
	for k := range n/4 + 1 {
		f.twiddle = append(f.twiddle, root(k, n))
	}
	return f
}

// Len is the number of real samples.
func (f *RealFFT) Len() int { return f.n }

// Forward writes bins 0…n/2 of the transform of src (n samples) to dst (n/2+1
// bins). src is not changed.
func (f *RealFFT) Forward(dst []complex64, src []float32) {
	h := f.n / 2
	dst, src = dst[:h+1], src[:f.n]
	for i := range f.work {
		f.work[i] = complex(src[2*i], src[2*i+1])
	}
	z := dst[:h]
	f.half.Forward(z, f.work)
	// Even samples are the real parts, odd ones the imaginary parts:
	// E[k] = (Z[k]+Z*[h−k])/2, O[k] = (Z[k]−Z*[h−k])/2i, X[k] = E[k]+w^k·O[k].
	first := z[0]
	dst[0] = complex(real(first)+imag(first), 0)
	dst[h] = complex(real(first)-imag(first), 0)
	for k, j := 1, h-1; k <= j; k, j = k+1, j-1 {
		a, b := dst[k], dst[j]
		evenR, evenI := 0.5*(real(a)+real(b)), 0.5*(imag(a)-imag(b))
		oddR, oddI := 0.5*(imag(a)+imag(b)), 0.5*(real(b)-real(a))
		t := times(oddR, oddI, f.twiddle[k])
		dst[k] = complex(evenR+real(t), evenI+imag(t))
		dst[j] = complex(evenR-real(t), imag(t)-evenI)
	}
}

// Inverse writes the inverse transform, scaled by 1/n, of the bins 0…n/2 in
// src to dst (n samples). The imaginary parts of bins 0 and n/2 are taken as
// zero. src is not changed.
func (f *RealFFT) Inverse(dst []float32, src []complex64) {
	h := f.n / 2
	dst, src = dst[:f.n], src[:h+1]
	// z is the conjugate of the packed half-size spectrum, so that a forward
	// transform of it gives the conjugate of the packed samples.
	z := f.work
	x0, xh := real(src[0]), real(src[h])
	z[0] = complex(0.5*(x0+xh), -0.5*(x0-xh))
	for k, j := 1, h-1; k <= j; k, j = k+1, j-1 {
		a, b := src[k], src[j]
		evenR, evenI := 0.5*(real(a)+real(b)), 0.5*(imag(a)-imag(b))
		// O[k] = (X[k]−X*[h−k])/2 · w^−k
		difR, difI := 0.5*(real(a)-real(b)), 0.5*(imag(a)+imag(b))
		w := f.twiddle[k]
		odd := times(difR, difI, complex(real(w), -imag(w)))
		z[k] = complex(evenR-imag(odd), -(evenI + real(odd)))
		z[j] = complex(evenR+imag(odd), evenI-real(odd))
	}
	f.half.Forward(z, z)
	scale := 1 / float32(h)
	for i, v := range z {
		dst[2*i] = scale * real(v)
		dst[2*i+1] = -scale * imag(v)
	}
}
