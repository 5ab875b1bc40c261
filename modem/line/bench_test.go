package line

import (
	"math"
	"math/rand/v2"
	"testing"

	"lightsong/modem"
)

// Steady sending and receiving allocate nothing.
func TestNoAllocations(t *testing.T) {
	rnd := rand.New(rand.NewPCG(12, 12))
	for _, b := range []*modem.Burst{burstOf(rnd, 8, 12, 500, 22), burstOf(rnd, 2, 2, 90, 22)} {
		noAllocations(t, b)
	}
}

func noAllocations(t *testing.T, b *modem.Burst) {
	t.Helper()
	enc, dec := &Encoder{Copies: true}, new(Decoder)
	send := func() {
		if _, err := enc.Encode(b); err != nil {
			t.Fatal(err)
		}
	}
	send()
	if n := testing.AllocsPerRun(20, send); n != 0 {
		t.Errorf("Encode: %g allocations, want 0", n)
	}
	bodies, _ := enc.Encode(b)
	frames := 0
	hear := func() {
		for _, x := range bodies {
			dec.Push(&Heard{Rate: x.Rate, Body: x.Octets, PPM: math.NaN(), PeakDBFS: -10}, func(ev modem.Event) {
				if ev.Kind == modem.Received {
					frames += len(ev.Burst.Frames)
				}
			})
		}
	}
	hear()
	if n := testing.AllocsPerRun(20, hear); n != 0 || frames != 22*len(b.Frames) {
		t.Errorf("Push: %g allocations, %d frames, want 0 and %d", n, frames, 22*len(b.Frames))
	}
}

// How fast a host codes and decodes, against the 500 kb/s of the fastest board.
func BenchmarkEncode(b *testing.B) { benchmark(b, true) }
func BenchmarkDecode(b *testing.B) { benchmark(b, false) }

func benchmark(b *testing.B, encode bool) {
	for _, mcs := range []modem.MCS{7, 9, 10} {
		m := Modes()[mcs]
		b.Run(m.Description, func(b *testing.B) {
			rnd := rand.New(rand.NewPCG(13, 13))
			enc, dec := new(Encoder), new(Decoder)
			x := burstOf(rnd, m.MCS, 30, m.FrameOctets, 22)
			bodies, err := enc.Encode(x)
			if err != nil {
				b.Fatal(err)
			}
			heard := make([]Heard, len(bodies))
			for i, y := range bodies {
				heard[i] = Heard{Rate: y.Rate, Body: append([]byte(nil), y.Octets...), PPM: math.NaN(), PeakDBFS: -10}
				if mcs != 10 {
					heard[i].Violations = spoil(rnd, heard[i].Body, schemes[mcs].ber/2)
				}
			}
			b.SetBytes(int64(30 * m.FrameOctets))
			b.ReportAllocs()
			for b.Loop() {
				if encode {
					_, _ = enc.Encode(x)
					continue
				}
				for i := range heard {
					dec.Push(&heard[i], func(modem.Event) {})
				}
			}
		})
	}
}
