package dsp

import (
	"fmt"
	"math"
	"math/cmplx"
	"math/rand/v2"
	"testing"
)

// dft is the definition, in double precision.
func dft(x []complex128) []complex128 {
	n := len(x)
	out := make([]complex128, n)
	for k := range out {
		for i, v := range x {
			out[k] += v * cmplx.Rect(1, -2*math.Pi*float64(k*i%n)/float64(n))
		}
	}
	return out
}

// tolerance is the error of a float32 FFT relative to the RMS of its output:
// it grows with the number of stages, each of which rounds by 2^-24.
func tolerance(n int) float64 { return 8 * math.Log2(float64(n)) / (1 << 24) }

func relativeError(got []complex64, want []complex128) float64 {
	var dif, ref float64
	for i, w := range want {
		e := complex128(got[i]) - w
		dif += real(e)*real(e) + imag(e)*imag(e)
		ref += real(w)*real(w) + imag(w)*imag(w)
	}
	return math.Sqrt(dif / ref)
}

func TestFFTIsTheDFT(t *testing.T) {
	for _, n := range []int{2, 4, 6, 8, 10, 16, 24, 32, 64, 128, 320, 512, 768, 1024} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, uint64(n)))
			x := make([]complex64, n)
			ref := make([]complex128, n)
			for i := range x {
				x[i] = complex(float32(rng.NormFloat64()), float32(rng.NormFloat64()))
				ref[i] = complex128(x[i])
			}
			f := NewFFT(n)
			got := make([]complex64, n)
			f.Forward(got, x)
			want := dft(ref)
			if e := relativeError(got, want); e > tolerance(n) {
				t.Errorf("forward: relative error %.2g, want ≤ %.2g", e, tolerance(n))
			}
			inPlace := append([]complex64(nil), x...)
			f.Forward(inPlace, inPlace)
			if e := relativeError(inPlace, want); e > tolerance(n) {
				t.Errorf("forward in place: relative error %.2g, want ≤ %.2g", e, tolerance(n))
			}
			f.Inverse(inPlace, inPlace)
			if e := relativeError(inPlace, ref); e > 2*tolerance(n) {
				t.Errorf("round trip: relative error %.2g, want ≤ %.2g", e, 2*tolerance(n))
			}
		})
	}
}

func TestRealFFTIsTheDFT(t *testing.T) {
	for _, n := range []int{8, 12, 16, 20, 32, 48, 64, 128, 640, 1024, 1536, 2048} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(2, uint64(n)))
			x := make([]float32, n)
			ref := make([]complex128, n)
			for i := range x {
				x[i] = float32(rng.NormFloat64())
				ref[i] = complex(float64(x[i]), 0)
			}
			f := NewRealFFT(n)
			got := make([]complex64, n/2+1)
			f.Forward(got, x)
			if e := relativeError(got, dft(ref)[:n/2+1]); e > tolerance(n) {
				t.Errorf("forward: relative error %.2g, want ≤ %.2g", e, tolerance(n))
			}
			back := make([]float32, n)
			f.Inverse(back, got)
			var dif, sum float64
			for i, v := range back {
				dif += math.Pow(float64(v-x[i]), 2)
				sum += math.Pow(float64(x[i]), 2)
			}
			if e := math.Sqrt(dif / sum); e > 2*tolerance(n) {
				t.Errorf("round trip: relative error %.2g, want ≤ %.2g", e, 2*tolerance(n))
			}
		})
	}
}

func TestTransformSizesThatDoNotExist(t *testing.T) {
	for name, create := range map[string]func(){
		"complex 0":  func() { NewFFT(0) },
		"complex 14": func() { NewFFT(14) },
		"real 4":     func() { NewRealFFT(4) },
		"real 100":   func() { NewRealFFT(100) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			create()
		})
	}
}

func BenchmarkFFT(b *testing.B) {
	for _, n := range []int{1024, 2048, 8192} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			f, x := NewFFT(n), make([]complex64, n)
			y := make([]complex64, n)
			x[1] = 1
			b.ReportAllocs()
			for b.Loop() {
				f.Forward(y, x)
			}
		})
	}
}

func BenchmarkRealFFT(b *testing.B) {
	for _, n := range []int{2048, 8192, 16384} {
		f, x, y := NewRealFFT(n), make([]float32, n), make([]complex64, n/2+1)
		x[1] = 1
		b.Run(fmt.Sprintf("Forward/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f.Forward(y, x)
			}
		})
		b.Run(fmt.Sprintf("Inverse/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f.Inverse(x, y)
			}
		})
	}
}

// The size is one that there is a transform for, and no other is as near above.
func TestSizeFrom(t *testing.T) {
	for n := 1; n < 5000; n++ {
		size := SizeFrom(n)
		NewRealFFT(size)
		if size < n || n > 16 && 4*size > 6*n {
			t.Errorf("%d for %d", size, n)
		}
	}
	for n, want := range map[int]int{3: 12, 13: 16, 16: 16, 17: 24, 25: 32, 3072: 3072, 3073: 4096} {
		if got := SizeFrom(n); got != want {
			t.Errorf("%d for %d, want %d", got, n, want)
		}
	}
}
