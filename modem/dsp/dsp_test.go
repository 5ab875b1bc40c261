package dsp

import (
	"math"
	"math/cmplx"
	"math/rand/v2"
	"testing"
)

func TestNCOKeepsPhaseAndAmplitude(t *testing.T) {
	const freq, phase, n = 0.123456789, 1.0, 1 << 20
	o := NewNCO(freq, phase)
	for i := range n {
		got := complex128(o.Next())
		if i%9973 == 0 || i == n-1 {
			turns := freq*float64(i) + phase/(2*math.Pi)
			want := cmplx.Rect(1, 2*math.Pi*(turns-math.Floor(turns)))
			// Two roundings to float32, and 1e-16 per sample of drift.
			if cmplx.Abs(got-want) > 2e-7+4e-16*float64(i)*2*math.Pi {
				t.Fatalf("sample %d: %v, want %v", i, got, want)
			}
		}
	}
}

func TestNCOMixDown(t *testing.T) {
	const freq, n = 0.1, 1000
	up, down := NewNCO(freq, 0.5), NewNCO(freq, 0)
	x, y := make([]float32, n), make([]complex64, n)
	for i := range x {
		x[i] = real(up.Next())
	}
	down.MixDown(y, x)
	var sum complex128
	for _, v := range y {
		sum += complex128(v) / n
	}
	// A hundred whole periods of cos(ωt+φ)·exp(−iωt) average to exp(iφ)/2.
	if want := cmplx.Rect(0.5, 0.5); cmplx.Abs(sum-want) > 1e-5 {
		t.Errorf("mean %v, want %v", sum, want)
	}
}

func TestCorrelatorIsTheSum(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	for _, c := range []struct{ template, src int }{{1, 1}, {1, 1000}, {7, 6}, {7, 7}, {64, 257}, {100, 5000}, {1000, 3456}} {
		h, x := make([]float32, c.template), make([]float32, c.src)
		for i := range h {
			h[i] = float32(rng.NormFloat64())
		}
		for i := range x {
			x[i] = float32(rng.NormFloat64())
		}
		got := NewCorrelator(h).Append(nil, x)
		if want := max(0, c.src-c.template+1); len(got) != want {
			t.Fatalf("template %d, src %d: %d values, want %d", c.template, c.src, len(got), want)
		}
		for k, v := range got {
			var want float64
			for i, w := range h {
				want += float64(w) * float64(x[k+i])
			}
			if d := math.Abs(float64(v) - want); d > 1e-5*math.Sqrt(float64(c.template))*4 {
				t.Fatalf("template %d, src %d: value %d is %g, want %g", c.template, c.src, k, v, want)
			}
		}
	}
}
