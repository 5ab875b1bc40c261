package fec

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"lightsong/modem"
)

// polarCodes cover repetition, puncturing and shortening, each CRC, the
// smallest and the largest mother codes.
var polarCodes = []struct {
	k, e int
	crc  *CRC
	n    int // by hand from TS 38.212 §5.3.1
}{
	{16, 64, CRC11, 64},     // nothing but the mother code
	{16, 1000, CRC11, 256},  // repetition, held at rate 1/8
	{20, 140, CRC11, 128},   // repetition: 140 ≤ 9/8·128
	{32, 150, CRC16, 256},   // puncturing, E < 3N/4
	{40, 200, CRC11, 256},   // puncturing, E ≥ 3N/4
	{64, 100, CRC16, 128},   // shortening
	{100, 256, CRC16, 256},  // a header
	{100, 400, CRC24C, 512}, // puncturing
	{140, 432, CRC24C, 512}, // a broadcast channel's lengths
	{504, 1024, CRC24C, 1024},
	{512, 900, CRC24A, 1024}, // shortening
	{512, 3000, CRC24C, 1024},
	{1000, 1024, CRC24C, 1024}, // nothing is frozen
	{1, 12, CRC11, 32},         // shortened to the last
}

func TestPolarTables(t *testing.T) {
	var seen [maxPolar]bool
	for _, i := range polarSequence {
		seen[i] = true
	}
	if slices.Contains(seen[:], false) {
		t.Error("the sequence is not a permutation")
	}
	// A more reliable input dominates: setting a bit of the index never makes
	// it less reliable (the partial order of all channels; Schürch, ISIT 2016).
	var rank [maxPolar]int
	for r, i := range polarSequence {
		rank[i] = r
	}
	for i := range rank {
		for b := 1; b < maxPolar; b *= 2 {
			if i&b == 0 && rank[i] > rank[i|b] {
				t.Errorf("input %d is ranked above %d", i, i|b)
			}
		}
	}
	blocks := polarBlocks
	slices.Sort(blocks[:])
	for i, b := range blocks {
		if i != b {
			t.Fatal("the sub-block order is not a permutation")
		}
	}
}

// polarReference encodes by the definition of TS 38.212 §5.3.1.2 and §5.4.1:
// sets instead of flags, a matrix product instead of butterflies.
func polarReference(c *Polar, info []byte) []byte {
	msg := c.crc.AppendBits(slices.Clone(info), c.check(info))
	n, e, k := c.N(), c.E(), len(msg)
	j := func(i int) int { return polarBlocks[32*i/n]*(n/32) + i%(n/32) }
	banned := map[int]bool{}
	puncture := float64(k)/float64(e) <= 7./16
	if e < n {
		if puncture {
			for i := 0; i <= n-e-1; i++ {
				banned[j(i)] = true
			}
			limit := math.Ceil(9*float64(n)/16 - float64(e)/4)
			if float64(e) >= 3*float64(n)/4 {
				limit = math.Ceil(3*float64(n)/4 - float64(e)/2)
			}
			for i := 0; float64(i) <= limit-1; i++ {
				banned[i] = true
			}
		} else {
			for i := e; i <= n-1; i++ {
				banned[j(i)] = true
			}
		}
	}
	var good []int
	for _, q := range polarSequence {
		if q < n && !banned[q] {
			good = append(good, q)
		}
	}
	good = good[len(good)-k:]
	slices.Sort(good)
	d := make([]byte, n)
	for b, row := range good {
		for col := range n {
			if row&col == col { // entry of the Kronecker power of (1 0; 1 1)
				d[col] ^= msg[b]
			}
		}
	}
	out := make([]byte, e)
	for i := range out {
		switch {
		case e >= n:
			out[i] = d[j(i%n)]
		case puncture:
			out[i] = d[j(i+n-e)]
		default:
			out[i] = d[j(i)]
		}
	}
	return out
}

func TestPolarEncode(t *testing.T) {
	const seed = 4
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, tc := range polarCodes {
		t.Run(fmt.Sprintf("K%d,CRC%d,E%d", tc.k, tc.crc.Width(), tc.e), func(t *testing.T) {
			for _, list := range []int{1, 8, 32} {
				c, err := NewPolar(tc.k, tc.e, tc.crc, list)
				if err != nil {
					t.Fatal(err)
				}
				if c.N() != tc.n {
					t.Errorf("N %d, want %d", c.N(), tc.n)
				}
				info, got := randomWord(rng, tc.k), make([]byte, tc.k)
				coded := c.Encode([]byte{7}, info)[1:]
				if !slices.Equal(coded, polarReference(c, info)) {
					t.Fatalf("coded bits differ from the standard's recipe (seed %d)", seed)
				}
				for _, magnitude := range []modem.LLR{0.05, 1, 30, 64, 1e9} {
					if !c.Decode(got, cleanLLRs(coded, magnitude)) || !slices.Equal(got, info) {
						t.Errorf("list %d (seed %d): noise-free LLRs of ±%v do not decode", list, seed, magnitude)
					}
				}
			}
		})
	}
}

func TestPolarThatDoesNotExist(t *testing.T) {
	for _, bad := range []struct{ k, e, list int }{
		{0, 100, 8}, {-1, 100, 8}, {1001, 2000, 8}, {100, 123, 8}, {100, 200, 0}, {100, 200, 33},
	} {
		if _, err := NewPolar(bad.k, bad.e, CRC24C, bad.list); err == nil {
			t.Errorf("K %d E %d list %d: no error", bad.k, bad.e, bad.list)
		}
	}
}

// Silence, rubbish and noise fail the check.
func TestPolarRejects(t *testing.T) {
	c, err := NewPolar(100, 400, CRC24C, 8)
	if err != nil {
		t.Fatal(err)
	}
	info := make([]byte, c.K())
	rng := rand.New(rand.NewPCG(1, 2))
	for name, value := range map[string]func() modem.LLR{
		"zero":  func() modem.LLR { return 0 },
		"NaN":   func() modem.LLR { return modem.LLR(math.NaN()) },
		"all 0": func() modem.LLR { return 9 },
		"all 1": func() modem.LLR { return -9 },
		"noise": func() modem.LLR { return modem.LLR(3 * rng.NormFloat64()) },
		"Inf":   func() modem.LLR { return modem.LLR(math.Inf(1 - 2*rng.IntN(2))) },
	} {
		llr := make([]modem.LLR, c.E())
		for i := range llr {
			llr[i] = value()
		}
		if c.Decode(info, llr) {
			t.Errorf("%s passes the check", name)
		}
	}
}

// Noise passes with a chance of at most list·2^−width: each path is one draw.
func TestPolarFalseAccepts(t *testing.T) {
	const seed, frames, list = 14, 4000, 8
	c, err := NewPolar(60, 200, CRC11, list)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	info, llr := make([]byte, c.K()), make([]modem.LLR, c.E())
	passed := 0
	for range frames {
		for i := range llr {
			llr[i] = modem.LLR(2 * rng.NormFloat64())
		}
		if c.Decode(info, llr) {
			passed++
		}
	}
	mean := float64(frames) * list / (1 << 11)
	if limit := mean + 3*math.Sqrt(mean); float64(passed) > limit || passed == 0 {
		t.Errorf("%d of %d words of noise pass (seed %d), want 1 to %.0f", passed, frames, seed, limit)
	}
}

// A list as long as the code has words decodes by maximum likelihood: against
// brute force over all of them, on noise alone. The tolerance is the rounding
// of the LLRs.
func TestPolarFullListIsMaximumLikelihood(t *testing.T) {
	const seed, k = 8, 4
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, e := range []int{20, 32, 40, 50, 64, 100} {
		c, err := NewPolar(k, e, NewCRC(1, 1), 1<<(k+1))
		if err != nil {
			t.Fatal(err)
		}
		likelihood := func(info []byte, llr []modem.LLR) (sum float64) {
			for i, b := range c.Encode(nil, info) {
				sum += float64(llr[i]) * (1 - 2*float64(b))
			}
			return sum
		}
		got, info := make([]byte, k), make([]byte, k)
		for range 200 {
			llr := noisyLLRs(rng, nil, randomWord(rng, e), 1)
			if !c.Decode(got, llr) {
				t.Fatalf("E %d (seed %d): no word of the list passes, and all are in it", e, seed)
			}
			best := math.Inf(-1)
			for w := range 1 << k {
				for i := range info {
					info[i] = byte(w >> i & 1)
				}
				best = max(best, likelihood(info, llr))
			}
			if have := likelihood(got, llr); have < best-float64(e)/unit {
				t.Fatalf("E %d (seed %d): likelihood %v, the best word has %v", e, seed, have, best)
			}
		}
	}
}

func polarLink(c *Polar, ebN0 float64, frames int, rng *rand.Rand) (errors int) {
	sigma := Deviation(ebN0 + 10*math.Log10(float64(c.K())/float64(c.E())))
	got := make([]byte, c.K())
	var coded []byte
	var llr []modem.LLR
	for range frames {
		info := randomWord(rng, c.K())
		coded = c.Encode(coded[:0], info)
		llr = noisyLLRs(rng, llr[:0], coded, sigma)
		if !c.Decode(got, llr) || !slices.Equal(got, info) {
			errors++
		}
	}
	return errors
}

// The distance to the normal approximation of K bits without a check. The CRC's
// own bits cost 10·log₁₀(1 + width/K) dB of it, the rest is lost by the code and
// the list and held here to about 0.15 dB above what BenchmarkPolarGap measures.
// The margin beyond is statistical: 3σ of the binomial count.
func TestPolarGap(t *testing.T) {
	for _, tc := range []struct {
		k, e, list int
		crc        *CRC
		excess     float64 // dB
	}{
		{64, 256, 8, CRC11, 0.6},
		{100, 400, 8, CRC16, 0.9},
		{100, 200, 32, CRC16, 0.6},
		{256, 1024, 32, CRC16, 0.7},
	} {
		t.Run(fmt.Sprintf("K%d,E%d,L%d", tc.k, tc.e, tc.list), func(t *testing.T) {
			const seed, frames = 9, 1000
			c, err := NewPolar(tc.k, tc.e, tc.crc, tc.list)
			if err != nil {
				t.Fatal(err)
			}
			ebN0 := NormalApproximation(tc.k, tc.e, 0.01) + 10*math.Log10(1+float64(tc.crc.Width())/float64(tc.k)) + tc.excess
			bad := polarLink(c, ebN0, frames, rand.New(rand.NewPCG(seed, 0)))
			t.Logf("%.2f dB: %d of %d wrong", ebN0, bad, frames)
			if limit := 0.01*frames + 3*math.Sqrt(0.01*frames); float64(bad) > limit {
				t.Errorf("Eb/N0 %.2f dB (seed %d): %d of %d blocks wrong, want at most %.0f", ebN0, seed, bad, frames, limit)
			}
		})
	}
}

// BenchmarkPolarGap prints the Eb/N0 for a block error rate of 1e-2 and its
// distance to the normal approximation. Its K counts no check; below 64 bits the
// check has 11 bits, from there on 16.
func BenchmarkPolarGap(b *testing.B) {
	for _, k := range []int{32, 64, 100, 256, 512} {
		for _, rate := range []int{2, 4} {
			for _, list := range []int{8, 32} {
				b.Run(fmt.Sprintf("K%d/R1_%d/L%d", k, rate, list), func(b *testing.B) {
					for range b.N {
						crc := CRC16
						if k < 64 {
							crc = CRC11
						}
						c, err := NewPolar(k, k*rate, crc, list)
						if err != nil {
							b.Skip(err)
						}
						bound := NormalApproximation(c.K(), c.E(), 0.01)
						rng := rand.New(rand.NewPCG(1, uint64(k)))
						found := ebN0At(bound, 0.01, func(ebN0 float64, frames int) int {
							return polarLink(c, ebN0, frames, rng)
						})
						b.ReportMetric(found, "dB-Eb/N0")
						b.ReportMetric(found-bound, "dB-gap")
						b.ReportMetric(0, "ns/op")
					}
				})
			}
		}
	}
}

func BenchmarkPolarDecode(b *testing.B) {
	for _, tc := range []struct{ k, e, list int }{{100, 256, 8}, {100, 400, 8}, {100, 400, 32}, {512, 1024, 8}, {512, 1024, 32}} {
		b.Run(fmt.Sprintf("K%d/E%d/L%d", tc.k, tc.e, tc.list), func(b *testing.B) {
			c, err := NewPolar(tc.k, tc.e, CRC24C, tc.list)
			if err != nil {
				b.Fatal(err)
			}
			rng := rand.New(rand.NewPCG(1, 1))
			info := randomWord(rng, tc.k)
			llr := noisyLLRs(rng, nil, c.Encode(nil, info), 0.8)
			b.ReportAllocs()
			for b.Loop() {
				c.Decode(info, llr)
			}
		})
	}
}

// Golden vectors: SHA-256 over the coded bits (one octet per bit) of messages
// that anyone can make: bit i is bit 0 of i·i/3 (integer division).
func TestGoldenCodewords(t *testing.T) {
	message := func(k int) []byte {
		m := make([]byte, k)
		for i := range m {
			m[i] = byte(i * i / 3 & 1)
		}
		return m
	}
	var got bytes.Buffer
	for _, tc := range polarCodes {
		c, err := NewPolar(tc.k, tc.e, tc.crc, 1)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(c.Encode(nil, message(tc.k)))
		fmt.Fprintf(&got, "polar K%d CRC%d E%d %s\n", tc.k, tc.crc.Width(), tc.e, hex.EncodeToString(sum[:8]))
	}
	var c LDPC
	for _, tc := range []struct {
		g        Graph
		k, e, qm int
	}{{BG2, 40, 120, 1}, {BG2, 256, 512, 2}, {BG2, 1024, 2048, 2}, {BG2, 3824, 8000, 4}, {BG1, 1024, 1536, 6}, {BG1, 8192, 9104, 8}, {BG1, 8448, 25344, 1}} {
		if err := c.Reset(tc.g, tc.k, tc.e, tc.qm); err != nil {
			t.Fatal(err)
		}
		for rv := range 4 {
			sum := sha256.Sum256(c.Encode(nil, message(tc.k), rv))
			fmt.Fprintf(&got, "LDPC BG%d K%d E%d Qm%d rv%d %s\n", tc.g, tc.k, tc.e, tc.qm, rv, hex.EncodeToString(sum[:8]))
		}
	}
	golden(t, "codewords.txt", got.Bytes())
}

// Whatever the LLRs are, decoding ends, and a word that passes encodes to a
// word that passes.
func FuzzPolarDecode(f *testing.F) {
	f.Add(uint16(20), uint16(80), uint8(8), []byte("\x00\x00\x80\x3f\x00\x00\xc0\x7f\x00\x00\x80\xff"))
	f.Add(uint16(100), uint16(130), uint8(3), []byte{0, 0, 0x80, 0xbf})
	f.Fuzz(func(t *testing.T, k, e uint16, list uint8, raw []byte) {
		c, err := NewPolar(int(k%150), int(e%1500), CRC11, int(list%9))
		if err != nil {
			return
		}
		llr, info := make([]modem.LLR, c.E()), make([]byte, c.K())
		fillLLRs(llr, raw)
		if !c.Decode(info, llr) {
			return
		}
		again := make([]byte, c.K())
		if !c.Decode(again, cleanLLRs(c.Encode(nil, info), 4)) || !slices.Equal(again, info) {
			t.Errorf("K %d E %d: a word that passed does not pass again", k, e)
		}
	})
}

func TestPolarAllocatesNothing(t *testing.T) {
	c, err := NewPolar(512, 1024, CRC24C, 32)
	if err != nil {
		t.Fatal(err)
	}
	info := randomWord(rand.New(rand.NewPCG(1, 1)), 512)
	coded, llr := make([]byte, 0, 1024), make([]modem.LLR, 0, 1024)
	for _, k := range []int{512, 30, 100} {
		allocs := testing.AllocsPerRun(3, func() {
			if err := c.Reset(k, 2*k, CRC24C, 8); err != nil {
				t.Fatal(err)
			}
			coded = c.Encode(coded[:0], info[:k])
			llr = llr[:0]
			for _, b := range coded {
				llr = append(llr, 4-8*modem.LLR(b))
			}
			if !c.Decode(info[:k], llr) {
				t.Fatal("noise-free word does not decode")
			}
		})
		if allocs != 0 {
			t.Errorf("K %d: %v allocations, want 0", k, allocs)
		}
	}
}
