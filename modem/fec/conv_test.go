package fec

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"lightsong/modem"
)

func TestScrambleSequence(t *testing.T) {
	// Bit by bit: each output is the sum of the outputs 14 and 15 before it.
	const seed uint16 = 0x4A80
	var history []byte
	for i := 14; i >= 0; i-- {
		history = append(history, byte(seed>>i&1))
	}
	for range 8 * 5000 {
		n := len(history)
		history = append(history, history[n-14]^history[n-15])
	}
	got := make([]byte, 5000)
	Scramble(got, seed)
	if want := history[15:]; !bytes.Equal(unpack(got), want) {
		t.Error("the sequence is not that of 1+x^14+x^15")
	}
	Scramble(got, seed)
	if !bytes.Equal(got, make([]byte, 5000)) {
		t.Error("scrambling twice does not give the message back")
	}
}

func TestInterleaverSpread(t *testing.T) {
	for n := 1; n < 3000; n++ {
		v := NewInterleaver(n)
		src, dst := make([]byte, n), make([]byte, n)
		seen := make([]bool, n)
		at := 0
		for range n {
			if seen[at] {
				t.Fatalf("n %d: two bits in place %d", n, at)
			}
			seen[at] = true
			at = (at + v.step) % n
		}
		for i := range src {
			src[i] = byte(i * 7 >> 2 & 1)
		}
		v.Interleave(dst, src)
		soft, back := make([]modem.LLR, n), make([]modem.LLR, n)
		for i, b := range dst {
			soft[i] = float32(b)
		}
		v.Deinterleave(back, soft)
		for i, b := range src {
			if back[i] != float32(b) {
				t.Fatalf("n %d: bit %d does not come back", n, i)
			}
		}
		// Hurwitz: d·|d·φ−m| ≥ 1/√5 for the golden ratio; the step is an integer
		// near n/φ and coprime to n, so 40 % of it is asked for.
		for d := 1; d <= 16 && n >= 100; d++ {
			apart := d * v.step % n
			apart = min(apart, n-apart)
			if want := float64(n) / (2.5 * math.Sqrt(5) * float64(d)); float64(apart) < want {
				t.Errorf("n %d: bits %d apart lie %d apart on the medium, want ≥ %.0f", n, d, apart, want)
			}
		}
	}
}

// freeDistance is the least weight of a path that leaves state 0 and returns to
// it, over all phases of the pattern.
func freeDistance(s Scheme) int {
	c := s.Code
	gens := len(c.polys)
	phases := max(1, len(s.Pattern)/gens)
	states := 1 << (c.k - 1)
	weight := func(reg uint32, phase int) int {
		w, out := 0, c.outputs(reg)
		for j := range gens {
			w += int(out>>j&1) * s.repeats(phase*gens+j)
		}
		return w
	}
	best := math.MaxInt
	for first := range phases {
		dist := make([]int, states*phases)
		for i := range dist {
			dist[i] = math.MaxInt
		}
		// Weights are small integers: a bucket queue is Dijkstra's heap.
		buckets := make([][]int, 200)
		start := 1*phases + (first+1)%phases
		dist[start] = weight(1, first)
		buckets[dist[start]] = append(buckets[dist[start]], start)
		for d := range buckets {
			if d >= best {
				break
			}
			for len(buckets[d]) > 0 {
				node := buckets[d][len(buckets[d])-1]
				buckets[d] = buckets[d][:len(buckets[d])-1]
				if dist[node] != d {
					continue
				}
				state, phase := node/phases, node%phases
				for b := range 2 {
					reg := uint32(state<<1 | b)
					next := int(reg)&(states-1)*phases + (phase+1)%phases
					nd := d + weight(reg, phase)
					if next/phases == 0 {
						best = min(best, nd)
						continue
					}
					if nd < dist[next] && nd < len(buckets) {
						dist[next] = nd
						buckets[nd] = append(buckets[nd], next)
					}
				}
			}
		}
	}
	return best
}

func TestFreeDistance(t *testing.T) {
	for _, c := range []struct {
		name string
		s    Scheme
		want int
	}{
		{"K 7 rate 1/2 (171, 133)", Scheme{Code: NewConvCode(7, 0o171, 0o133)}, 10},
		{"K 9 rate 1/2", Scheme{Code: ConvHalf}, 12},
		{"K 9 rate 1/4", Scheme{Code: ConvQuarter}, 24},
	} {
		if got := freeDistance(c.s); got != c.want {
			t.Errorf("%s: free distance %d, want %d", c.name, got, c.want)
		}
	}
}

func randomMessage(rng *rand.Rand, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(rng.Uint32() & 1)
	}
	return p
}

func TestViterbiCorrectsHalfTheFreeDistance(t *testing.T) {
	var v Viterbi
	for _, s := range []Scheme{{Code: ConvHalf}, {Code: ConvQuarter}, {Code: ConvQuarter, Pattern: []uint8{2, 1, 1, 1}}} {
		dfree := freeDistance(s)
		for _, n := range []int{8, 40, 52, 333, 2000} {
			t.Run(fmt.Sprintf("rate 1/%d %d bits", s.CodedBits(1), n), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(4, uint64(n)))
				for range 50 {
					message := randomMessage(rng, n)
					code := s.AppendEncode(nil, message)
					if got := s.CodedBits(n); got != len(code) {
						t.Fatalf("CodedBits(%d) = %d, but %d came", n, got, len(code))
					}
					llr := make([]modem.LLR, len(code))
					for i, b := range code {
						llr[i] = 2 - 4*float32(b)
					}
					// In a circle of few steps the minimum distance is below
					// the free distance; there only the clean word is asked for.
					if n >= 40 {
						for _, i := range rng.Perm(len(llr))[:(dfree-1)/2] {
							llr[i] = -llr[i]
						}
					}
					if got := v.Decode(nil, s, llr, n); !bytes.Equal(got, message) {
						t.Fatal("wrong message")
					}
				}
			})
		}
	}
}

// The bit error rate of the half-rate code with unquantised soft decisions over
// BPSK and AWGN against the union bound from its distance spectrum (Conan, "The
// weight spectra of some short low-rate convolutional codes", IEEE Trans.
// Commun. 32, 1984): a decoder at maximum likelihood stays below it, and within
// a factor of four of it at this error rate, where few terms matter.
func TestViterbiAgainstTheUnionBound(t *testing.T) {
	spectrum := map[int]float64{12: 33, 14: 281, 16: 2179, 18: 15035, 20: 105166}
	const ebno = 3.0
	var bound float64
	for d, beta := range spectrum {
		bound += beta * 0.5 * math.Erfc(math.Sqrt(float64(d)*0.5*math.Pow(10, ebno/10)))
	}
	s := Scheme{Code: ConvHalf}
	rng := rand.New(rand.NewPCG(5, 5))
	sigma := math.Sqrt(1 / math.Pow(10, ebno/10)) // N0/2 for symbols ±1, Es = 1 = Eb/2
	var v Viterbi
	const n, blocks = 2000, 500
	errors := 0
	llr := make([]modem.LLR, s.CodedBits(n))
	for range blocks {
		message := randomMessage(rng, n)
		for i, b := range s.AppendEncode(nil, message) {
			y := 1 - 2*float64(b) + sigma*rng.NormFloat64()
			llr[i] = float32(2 * y / (sigma * sigma))
		}
		for i, b := range v.Decode(nil, s, llr, n) {
			errors += int(b ^ message[i])
		}
	}
	got := float64(errors) / (n * blocks)
	t.Logf("bit error rate %.2e at Eb/N0 %.1f dB, union bound %.2e", got, ebno, bound)
	if got > bound || got < bound/4 {
		t.Errorf("bit error rate %.2e at %.1f dB (seed 5, 5), want %.2e … %.2e", got, ebno, bound/4, bound)
	}
}

func TestViterbiIgnoresNaN(t *testing.T) {
	s := Scheme{Code: ConvHalf}
	message := randomMessage(rand.New(rand.NewPCG(6, 6)), 100)
	llr := make([]modem.LLR, 200)
	for i, b := range s.AppendEncode(nil, message) {
		llr[i] = 3 - 6*float32(b)
	}
	llr[50], llr[120] = float32(math.NaN()), float32(math.Inf(1))
	var v Viterbi
	if got := v.Decode(nil, s, llr, 100); !bytes.Equal(got, message) {
		t.Error("a NaN and an Inf cost more than two erasures")
	}
}

func BenchmarkViterbi(b *testing.B) {
	for name, s := range map[string]Scheme{"half": {Code: ConvHalf}, "quarter": {Code: ConvQuarter}} {
		b.Run(name, func(b *testing.B) {
			const n = 1600
			llr := make([]modem.LLR, s.CodedBits(n))
			rng := rand.New(rand.NewPCG(7, 7))
			for i := range llr {
				llr[i] = float32(rng.NormFloat64())
			}
			var v Viterbi
			out := v.Decode(nil, s, llr, n)
			b.ReportAllocs()
			for b.Loop() {
				out = v.Decode(out[:0], s, llr, n)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/bit")
		})
	}
}
