package dsp

import (
	"math"
	"testing"
)

// A tone read at other positions is the tone at those positions: the error is
// the filter's stopband, −95 dB with 5 dB for the rounding of float32.
func TestInterpolatorTone(t *testing.T) {
	p := NewInterpolator()
	for _, f := range []float64{0, 0.01, 0.25, 0.4375} {
		src := make([]float32, 4096)
		for i := range src {
			src[i] = float32(math.Cos(2*math.Pi*f*float64(i) + 1))
		}
		dst := make([]float32, 3000)
		for _, step := range []float64{1, 1 - 300e-6, 1 + 300e-6, 48000. / 44100} {
			const pos = 40.3
			p.Read(dst, src, pos, step)
			var worst float64
			for i, v := range dst {
				at := pos + float64(i)*step
				worst = max(worst, math.Abs(float64(v)-math.Cos(2*math.Pi*f*at+1)))
			}
			if db := 20 * math.Log10(worst); db > -90 {
				t.Errorf("tone at %g of the rate, step %g: error %.1f dB, want below −90", f, step, db)
			}
		}
	}
}

func TestInterpolatorEdges(t *testing.T) {
	p := NewInterpolator()
	src := []float32{1, 2, 3}
	dst := make([]float32, 5)
	p.Read(dst, src, -1, 1)
	for i, want := range []float32{0, 1, 2, 3, 0} {
		if dst[i] != want {
			t.Errorf("sample %d: %g, want %g", i-1, dst[i], want)
		}
	}
}

func BenchmarkInterpolator(b *testing.B) {
	p := NewInterpolator()
	src := make([]float32, 5000)
	dst := make([]float32, 4096)
	b.ReportAllocs()
	for b.Loop() {
		p.Read(dst, src, 100.37, 1.00004)
	}
}
