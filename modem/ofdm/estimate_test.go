package ofdm

import (
	"math"
	"math/cmplx"
	"math/rand/v2"
	"testing"
)

// The comb of pilots that long symbols of a lead begin with is smoothed, whatever the noise on it looks like: a window of
// 96 neighbours leaves some hundredths of it, and a quarter is more than chance does once in a thousand times. An echo
// that stands out of the noise stays.
func TestCombOfLead(t *testing.T) {
	const seed, draws, noise = 43, 1000, 0.05 // as MCS 24 sees
	_, s, err := find("cable", baseRate)
	if err != nil {
		t.Fatal(err)
	}
	r := newReceiver(&cable, s)
	g := s.geometry(numerology{combSymbol, 96}, &cable.classes[0])
	every := g.n / cable.dense
	g.n, g.carriers = g.n/every, combSize(g.carriers, 0, every)
	rng := rand.New(rand.NewPCG(seed, 1))
	normal := func(power float64) complex128 {
		return complex(rng.NormFloat64(), rng.NormFloat64()) * complex(math.Sqrt(power/2), 0)
	}
	for _, c := range []struct {
		echo, most float64 // energies, as the direct wave's
		wrong      int     // at most, of all draws
	}{{0, noise / 4, 2}, {0.25, 1.25 * noise, 5}} {
		wrong := 0
		for range draws {
			h := make([]complex128, g.carriers)
			for k := range h {
				h[k] = 1
			}
			const tau = 20 // samples
			for d := range 4 * tau {
				tap := normal(c.echo * math.Exp(-float64(d)/tau) / tau)
				for k := range h {
					h[k] += tap * cmplx.Rect(1, -2*math.Pi*float64(g.first+k)*float64(d)/float64(g.n))
				}
			}
			sym := symbol{loud: 1, y: make([]complex64, g.carriers), ref: make([]complex64, g.carriers)}
			for k := range sym.ref {
				sym.ref[k] = known(bodyPart, 0, k)
				sym.y[k] = complex64(h[k])*sym.ref[k] + complex64(normal(noise))
			}
			var way channel
			r.est.estimate(&way, g, s.times, []symbol{sym})
			off := 0.
			for k, v := range way.h {
				d := complex128(v) - h[k]
				off += (real(d)*real(d) + imag(d)*imag(d)) / float64(g.carriers)
			}
			if off > c.most {
				wrong++
			}
		}
		if wrong > c.wrong {
			t.Errorf("echoes of %g: %d of %d estimates are off by more than %.3f, want %d at most (seed %d)", c.echo, wrong, draws, c.most, c.wrong, seed)
		}
	}
}
