package dsp

import (
	"math"
	"testing"
)

// A tone below the pass edge comes through as it is, one that would fold onto it
// does not; the gain is that of a DFT of the output at the tone's alias.
func TestThinner(t *testing.T) {
	for _, c := range []struct {
		every int
		pass  float64
	}{{2, 0.22}, {4, 0.056}, {4, 0.11}, {8, 0.05}} {
		th := NewThinner(c.every, c.pass)
		gain := func(f float64) float64 {
			x := make([]float32, 8192)
			for i := range x {
				x[i] = float32(math.Cos(2 * math.Pi * f * float64(i)))
			}
			y := th.Append(nil, x)
			if want := (len(x)-2*th.Reach()-1)/c.every + 1; len(y) != want {
				t.Fatalf("1 of %d: %d outputs, want %d", c.every, len(y), want)
			}
			var re, im, norm float64
			for i, v := range y {
				at := float64(th.Reach() + i*c.every)
				w := 1 - math.Abs(2*float64(i)/float64(len(y)-1)-1)
				sin, cos := math.Sincos(2 * math.Pi * f * at)
				re += w * float64(v) * cos
				im += w * float64(v) * sin
				norm += w
			}
			return 20 * math.Log10(2*math.Hypot(re, im)/norm)
		}
		for _, f := range []float64{0.2 * c.pass, 0.7 * c.pass, c.pass} {
			if g := gain(f); math.Abs(g) > 0.5 {
				t.Errorf("1 of %d: %.2f dB at %.3f of the rate", c.every, g, f)
			}
		}
		for _, f := range []float64{1/float64(c.every) - c.pass, 0.4} {
			if g := gain(f); g > -45 {
				t.Errorf("1 of %d: %.2f dB at %.3f of the rate", c.every, g, f)
			}
		}
	}
}
