package fec

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"testing"
)

func randomBits(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32() & 1)
	}
	return b
}

// entropyAt is the entropy in bits of the Maxwell-Boltzmann distribution over
// amplitudes that has the given mean of a(a+1)/2, the largest there is.
func entropyAt(levels int, mean float64) (h float64) {
	p := make([]float64, levels)
	lo, hi := 0., 50.
	for range 100 {
		nu := (lo + hi) / 2
		var z, e float64
		for a := range p {
			w := float64(a * (a + 1) / 2)
			p[a] = math.Exp(-nu * w)
			z += p[a]
			e += p[a] * w
		}
		for a := range p {
			p[a] /= z
		}
		if e/z > mean {
			lo = nu
		} else {
			hi = nu
		}
	}
	for _, v := range p {
		if v > 0 {
			h -= v * math.Log2(v)
		}
	}
	return h
}

// energy is the sum of a(a+1)/2.
func energy(amplitudes []byte) (sum int) {
	for _, a := range amplitudes {
		sum += int(a) * (int(a) + 1) / 2
	}
	return sum
}

// What Shape makes of bits, Unshape makes bits of again, whatever the length and
// the budget, and the energy is within the budget.
func TestSphere(t *testing.T) {
	const seed = 4
	rng := rand.New(rand.NewPCG(seed, 1))
	for width := 1; width <= 3; width++ {
		s := NewSphere(width)
		for i := range 80 {
			n := 1 + rng.IntN(3000)
			if i < 20 {
				n = i + 1
			}
			budget := rng.IntN(s.MaxBudget() + 20)
			k := s.Capacity(n, budget)
			if least, ok := s.Budget(n, k); !ok || least > budget || s.Capacity(n, least) != k {
				t.Fatalf("Budget(%d, %d) is %d, %v; %d has that capacity (seed %d)", n, k, least, ok, budget, seed)
			}
			data := randomBits(rng, k)
			if i%4 == 0 { // the ends of the interval
				for j := range data {
					data[j] = byte(i / 4 & 1)
				}
			}
			a := make([]byte, n)
			s.Shape(a, data, budget)
			if e := energy(a); e*SphereScale > n*budget {
				t.Fatalf("%d bits, n %d, budget %d: energy %d (seed %d)", width, n, budget, e, seed)
			}
			got := make([]byte, k)
			if !s.Unshape(got, a, budget) || !bytes.Equal(got, data) {
				t.Fatalf("%d bits, n %d, budget %d, k %d: other data come back (seed %d)", width, n, budget, k, seed)
			}
		}
		if _, ok := s.Budget(100, 100*width+1); ok {
			t.Errorf("%d bits: more bits than amplitudes hold have a budget", width)
		}
	}
}

// The capacity counts sequences: for short blocks it is the logarithm of their
// number, found by trying all, less what the guard and rounding down cost.
func TestSphereCapacity(t *testing.T) {
	for width := 1; width <= 3; width++ {
		s := NewSphere(width)
		for _, n := range []int{1, 3, 5} {
			for budget := 0; budget <= s.MaxBudget(); budget += s.MaxBudget()/7 + 1 {
				all := 0
				a := make([]byte, n)
				for v := range 1 << (width * n) {
					for i := range a {
						a[i] = byte(v >> (i * width) & (1<<width - 1))
					}
					if energy(a) <= n*budget/SphereScale {
						all++
					}
				}
				want := max(0, int(math.Log2(float64(all)))-1)
				if got := s.Capacity(n, budget); got != want {
					t.Errorf("%d bits, n %d, budget %d: capacity %d, %d sequences", width, n, budget, got, all)
				}
			}
		}
	}
}

// The rate is within 0.03 bit of the entropy of the Maxwell-Boltzmann
// distribution of the same mean energy, which no matcher exceeds, for sequences
// of codeword length: 0.18 dB, more than a quarter of that is not expected.
func TestSphereRateLoss(t *testing.T) {
	const seed, n = 9, 1300
	rng := rand.New(rand.NewPCG(seed, 1))
	for width := 1; width <= 3; width++ {
		s := NewSphere(width)
		for _, share := range []float64{0.25, 0.5, 0.75} {
			rate, h := sphereLoss(s, rng, n, int(share*float64(s.MaxBudget())), 20)
			// 26 000 amplitudes know their mean energy to 1 %, which is 0.01 bit.
			if loss := h - rate; loss < -0.01 || loss > 0.03 {
				t.Errorf("%d bits, %.2f of the most energy: %.4f bit an amplitude, entropy %.4f (seed %d)", width, share, rate, h, seed)
			}
		}
	}
}

// sphereLoss is the rate of a matcher, and the largest entropy at the mean energy
// that it has.
func sphereLoss(s *Sphere, rng *rand.Rand, n, budget, words int) (rate, h float64) {
	k := s.Capacity(n, budget)
	a := make([]byte, n)
	sum := 0
	for range words {
		s.Shape(a, randomBits(rng, k), budget)
		sum += energy(a)
	}
	return float64(k) / float64(n), entropyAt(1<<s.Bits(), float64(sum)/float64(words*n))
}

// Sequences that Shape does not make are told: those beyond the budget, and most
// of the few within it that the guard leaves without data.
func TestSphereInvalid(t *testing.T) {
	const seed, n = 12, 500
	s := NewSphere(2)
	budget := s.MaxBudget() / 2
	data := make([]byte, s.Capacity(n, budget))
	loud := bytes.Repeat([]byte{3}, n)
	if s.Unshape(data, loud, budget) {
		t.Error("a sequence beyond the budget has data")
	}
	if s.Unshape(data, bytes.Repeat([]byte{7}, n), budget) {
		t.Error("amplitudes outside the alphabet have data")
	}
	// Swapping two amplitudes keeps the energy: about 2^−1…2^−2 of such sequences
	// belong to data, the guard's share.
	rng := rand.New(rand.NewPCG(seed, 1))
	a, back := make([]byte, n), make([]byte, n)
	valid := 0
	const tries = 400
	for range tries {
		s.Shape(a, randomBits(rng, len(data)), budget)
		rng.Shuffle(n/2, func(i, j int) { a[i], a[j] = a[j], a[i] })
		if s.Unshape(data, a, budget) {
			valid++
			if s.Shape(back, data, budget); !bytes.Equal(back, a) {
				t.Fatalf("Unshape calls a sequence valid that Shape does not make (seed %d)", seed)
			}
		}
	}
	if valid > tries*3/4 {
		t.Errorf("%d of %d shuffled sequences are valid (seed %d)", valid, tries, seed)
	}
}

// Any other machine must make the same amplitudes.
func TestSphereVectors(t *testing.T) {
	var out bytes.Buffer
	out.WriteString("# bits, amplitudes, budget: capacity, CRC-32 of the amplitudes of the data bits i·i/7 mod 2, the first 40\n")
	for width := 1; width <= 3; width++ {
		s := NewSphere(width)
		for _, n := range []int{40, 257, 1300, 7000} {
			for _, share := range []int{1, 3, 6} {
				budget := s.MaxBudget() * share / 8
				data := make([]byte, s.Capacity(n, budget))
				for i := range data {
					data[i] = byte(i * i / 7 & 1)
				}
				a := make([]byte, n)
				s.Shape(a, data, budget)
				fmt.Fprintf(&out, "%d %d %d: %d %08x ", width, n, budget, len(data), crc32.ChecksumIEEE(a))
				for _, v := range a[:40] {
					fmt.Fprintf(&out, "%d", v)
				}
				out.WriteByte('\n')
			}
		}
	}
	golden(t, "sphere.txt", out.Bytes())
}

func TestSphereAllocs(t *testing.T) {
	s := NewSphere(3)
	a, data := make([]byte, 1000), make([]byte, s.Capacity(1000, 1000))
	if n := testing.AllocsPerRun(5, func() {
		s.Shape(a, data, 1000)
		s.Unshape(data, a, 1000)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzSphere takes any amplitudes: what Unshape accepts, Shape makes again.
func FuzzSphere(f *testing.F) {
	spheres := []*Sphere{NewSphere(1), NewSphere(2), NewSphere(3)}
	f.Add(uint8(2), uint16(900), []byte{0, 1, 2, 3, 4, 5, 6, 7})
	f.Add(uint8(0), uint16(64), bytes.Repeat([]byte{0, 1, 0}, 500))
	f.Add(uint8(1), uint16(0), []byte{0, 0, 0})
	f.Fuzz(func(t *testing.T, width uint8, budget uint16, amplitudes []byte) {
		s := spheres[int(width)%3]
		if len(amplitudes) > 4000 {
			amplitudes = amplitudes[:4000]
		}
		data := make([]byte, s.Capacity(len(amplitudes), int(budget)))
		if !s.Unshape(data, amplitudes, int(budget)) {
			return
		}
		again := make([]byte, len(amplitudes))
		if s.Shape(again, data, int(budget)); !bytes.Equal(again, amplitudes) {
			t.Errorf("%d bits, budget %d: %v has the data of %v", s.Bits(), budget, amplitudes, again)
		}
	})
}

// BenchmarkSphereLoss shows the rate loss against the entropy of the
// Maxwell-Boltzmann distribution by alphabet, share of the largest budget and
// length:
//
//	go test -run '^$' -bench SphereLoss -benchtime 1x ./modem/fec
func BenchmarkSphereLoss(b *testing.B) {
	for width := 1; width <= 3; width++ {
		s := NewSphere(width)
		for _, share := range []float64{0.3, 0.5, 0.7} {
			for _, n := range []int{32, 128, 512, 1300, 4096} {
				b.Run(fmt.Sprintf("%dbit/%.1f/%d", width, share, n), func(b *testing.B) {
					for b.Loop() {
						rate, h := sphereLoss(s, rand.New(rand.NewPCG(1, 1)), n, int(share*float64(s.MaxBudget())), 100)
						b.ReportMetric(rate, "bit/amplitude")
						b.ReportMetric(h-rate, "loss-bit")
					}
				})
			}
		}
	}
}

// BenchmarkSphere is the time for the amplitudes of a codeword, 1300 of eight
// levels, and for the way back.
func BenchmarkSphere(b *testing.B) {
	s := NewSphere(3)
	const n, budget = 1300, 1000
	a, data := make([]byte, n), randomBits(rand.New(rand.NewPCG(1, 1)), s.Capacity(n, budget))
	b.Run("Shape", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Shape(a, data, budget)
		}
	})
	s.Shape(a, data, budget)
	b.Run("Unshape", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !s.Unshape(data, a, budget) {
				b.Fatal("not valid")
			}
		}
	})
	b.Run("Table", func(b *testing.B) {
		for b.Loop() {
			NewSphere(3)
		}
	})
}
