package dsp

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// resampled pushes x in uneven pieces and pulls what there is after each.
func resampled(x []float32, step float64) []float32 {
	r := NewResampler()
	var y []float32
	out := make([]float32, 700)
	for n := 1; len(x) > 0; n = n%611 + 37 {
		n = min(n, len(x))
		r.Push(x[:n])
		x = x[n:]
		y = append(y, out[:r.Pull(out, step)]...)
	}
	return y
}

// A step of exactly 1 is a wire.
func TestResamplerPassesUnchangedAtStepOne(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	x := make([]float32, 5000)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	y := resampled(x, 1)
	if want := len(x) - ResampleLookahead; len(y) != want {
		t.Fatalf("%d outputs, want %d: all but the lookahead", len(y), want)
	}
	if !slices.Equal(y, x[:len(y)]) {
		t.Error("samples have changed")
	}
}

// A tone must come out at the positions wanted, and nothing else: the residual
// holds images, interpolation error and rounding. The stopband is 80 dB, the
// interpolated coefficients add an error of −94 dB; 75 dB leaves 5 dB.
func TestResamplerTones(t *testing.T) {
	for _, step := range []float64{1 + 100e-6, 1 - 37e-6, 1 + MaxResampleSkew, 1 - MaxResampleSkew} {
		for _, f := range []float64{0.001, 0.1, 0.25, 0.4, 0.455} {
			t.Run(fmt.Sprintf("step %g, %g of the rate", step, f), func(t *testing.T) {
				x := make([]float32, 20000)
				for i := range x {
					x[i] = float32(math.Cos(2*math.Pi*f*float64(i) + 1))
				}
				y := resampled(x, step)
				var power float64
				n := 0
				for i := 200; i < len(y); i++ {
					want := math.Cos(2*math.Pi*f*float64(i)*step + 1)
					power += math.Pow(float64(y[i])-want, 2)
					n++
				}
				residual := 10 * math.Log10(power/float64(n)/0.5)
				// Ripple is part of the residual: 0.002 dB is −73 dB of it.
				if want := -72.0; residual > want {
					t.Errorf("residual %.1f dB below the tone, want %.0f", residual, want)
				}
			})
		}
	}
}

// White noise above the passband must not fold back into it: an input above
// the stopband edge does not exist at step ≈ 1, so the images are measured as
// what a tone near the passband's edge leaves at its mirror frequency.
func TestResamplerImage(t *testing.T) {
	const n, f, step = 1 << 15, 0.455, 1 + 1000e-6
	x := make([]float32, n+2000)
	for i := range x {
		x[i] = float32(math.Cos(2 * math.Pi * f * float64(i)))
	}
	y := resampled(x, step)[500:][:n]
	level := func(f float64) float64 {
		var re, im, norm float64
		for i, v := range y {
			w := kaiser(2*float64(i)/n-1, 14) // side lobes below −100 dB
			re += w * float64(v) * math.Cos(2*math.Pi*f*float64(i))
			im += w * float64(v) * math.Sin(2*math.Pi*f*float64(i))
			norm += w / 2
		}
		return 20 * math.Log10(math.Hypot(re, im)/norm)
	}
	// The image of f at 1−f, resampled, appears at (1−f)·step, aliased.
	image := 1 - (1-f)*step
	if tone := level(f * step); math.Abs(tone) > 0.002 {
		t.Errorf("tone at %.4f dB, want 0 within the ripple of 0.002", tone)
	}
	if got := level(image); got > -75 {
		t.Errorf("image %.1f dB, want ≤ −75", got)
	}
}

// The number of outputs is the input's length over the step.
func TestResamplerKeepsCount(t *testing.T) {
	const n = 480000
	for _, step := range []float64{1, 1 + 50e-6, 1 - 300e-6} {
		got := len(resampled(make([]float32, n), step))
		want := float64(n-ResampleLookahead) / step
		if math.Abs(float64(got)-want) > 1.01 {
			t.Errorf("step %g: %d outputs, want %.1f", step, got, want)
		}
	}
}

func TestResamplerReady(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 2))
	for range 200 {
		step := 1 + (2*rng.Float64()-1)*1e-3
		r := NewResampler()
		out := make([]float32, 4000)
		for range 20 {
			r.Push(make([]float32, rng.IntN(600)))
			n := 1 + rng.IntN(500)
			ready := r.Ready(n, step)
			if got := r.Pull(out[:n], step); ready != (got == n) {
				t.Fatalf("step %g: Ready(%d) = %v, but Pull made %d", step, n, ready, got)
			}
		}
	}
}

func TestResamplerStepOutOfRange(t *testing.T) {
	for _, step := range []float64{0, 0.98, 1.02, math.NaN(), math.Inf(1)} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("step %g: no panic", step)
				}
			}()
			NewResampler().Pull(make([]float32, 1), step)
		}()
	}
}

func BenchmarkResampler(b *testing.B) {
	r, x, y := NewResampler(), make([]float32, 480), make([]float32, 490)
	for i := range x {
		x[i] = float32(i%7) - 3
	}
	b.ReportAllocs()
	b.SetBytes(int64(4 * len(x)))
	for b.Loop() {
		r.Push(x)
		r.Pull(y, 1+100e-6)
	}
}
