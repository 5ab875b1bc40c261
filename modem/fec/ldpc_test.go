package fec

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"lightsong/modem"
)

// allLifts are the 51 lifting sizes of Table 5.3.2-1.
func allLifts() (z []int) {
	for _, a := range liftSets {
		for ; a <= maxLift; a *= 2 {
			z = append(z, a)
		}
	}
	slices.Sort(z)
	return z
}

func randomWord(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32() & 1)
	}
	return b
}

// firstOdd is the first check of the base graph's definition that the word
// (cols·z bits) breaks, or -1: H·word over the tables, nothing of the encoder.
func firstOdd(bg *baseGraph, set, z int, word []byte) int {
	for r, row := range bg.rows {
		for i := range z {
			var odd byte
			for _, e := range row {
				odd ^= word[e.col*z+(i+e.shift[set])%z]
			}
			if odd != 0 {
				return r*z + i
			}
		}
	}
	return -1
}

func TestLDPCTables(t *testing.T) {
	want := map[Graph]struct{ rows, edges int }{BG1: {46, 316}, BG2: {42, 197}}
	for g, w := range want {
		bg, edges := &graphs[g], 0
		for r, row := range bg.rows {
			edges += len(row)
			if !slices.IsSortedFunc(row, func(a, b baseEdge) int { return a.col - b.col }) {
				t.Errorf("BG%d row %d: columns are not in order", g, r)
			}
			if last := row[len(row)-1]; r >= core && (last.col != bg.kb+r || last.shift != [8]int{}) {
				t.Errorf("BG%d row %d ends in %v, want the unrotated column %d", g, r, last, bg.kb+r)
			}
		}
		if len(bg.rows) != w.rows || edges != w.edges {
			t.Errorf("BG%d: %d rows, %d edges; want %d, %d", g, len(bg.rows), edges, w.rows, w.edges)
		}
	}
	if n := len(allLifts()); n != 51 {
		t.Errorf("%d lifting sizes, want 51", n)
	}
}

// Every lifting size of the standard: the encoder fulfils H and is systematic,
// and the whole word decodes without noise.
func TestLDPCEncodeEveryLift(t *testing.T) {
	const seed = 3
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, g := range []Graph{BG1, BG2} {
		bg := &graphs[g]
		for _, z := range allLifts() {
			var sizes []int // that the standard lifts by z
			for k := 1; k <= bg.kb*z; k++ {
				if got, _ := lift(infoColumns(g, k), k); got == z {
					sizes = append(sizes, k)
				}
			}
			if len(sizes) == 0 {
				t.Logf("BG%d: Z %d is never chosen", g, z)
				continue
			}
			k := sizes[rng.IntN(len(sizes))]
			var c LDPC
			if err := c.Reset(g, k, (bg.cols-punctured)*z-(bg.kb*z-k), 1); err != nil {
				t.Fatal(err)
			}
			_, set := lift(infoColumns(g, k), k)
			info := randomWord(rng, k)
			coded := c.Encode(nil, info, 0)
			if at := firstOdd(bg, set, c.z, c.word); at >= 0 {
				t.Errorf("BG%d Z %d K %d (seed %d): check %d is broken", g, c.z, k, seed, at)
			}
			if want := c.word[punctured*c.z : k]; k > punctured*c.z && !slices.Equal(coded[:len(want)], want) {
				t.Errorf("BG%d Z %d K %d: not systematic", g, c.z, k)
			}
			soft := make([]modem.LLR, c.N())
			c.Dematch(soft, cleanLLRs(coded, 8), 0)
			got := make([]byte, k)
			if _, ok := c.Decode(got, soft, 20); !ok || !slices.Equal(got, info) {
				t.Errorf("BG%d Z %d K %d (seed %d): noise-free word does not decode (ok %v)", g, c.z, k, seed, ok)
			}
		}
	}
}

// cleanLLRs are noise-free LLRs of the given magnitude.
func cleanLLRs(bits []byte, magnitude modem.LLR) []modem.LLR {
	l := make([]modem.LLR, len(bits))
	for i, b := range bits {
		l[i] = magnitude * (1 - 2*modem.LLR(b))
	}
	return l
}

func TestLDPCSelection(t *testing.T) {
	for _, tc := range []struct {
		k, e  int
		graph Graph
		z     int
	}{
		// TS 38.212 §5.2.2 and Table 5.3.2-1, by hand.
		{1, 100, BG2, 2},
		{12, 24, BG2, 2},
		{13, 24, BG2, 3},
		{192, 384, BG2, 32},
		{193, 384, BG2, 26},
		{292, 300, BG2, 40},
		{293, 300, BG1, 14},
		{560, 1120, BG2, 72},
		{561, 1122, BG2, 64},
		{640, 1280, BG2, 72},
		{641, 1282, BG2, 72},
		{3824, 3824 * 2, BG2, 384},
		{3825, 3825 * 2, BG1, 176},
		{3840, 3840 * 4, BG2, 384},
		{3841, 3841 * 5, BG1, 176},
		{8448, 16896, BG1, 384},
	} {
		c, err := NewLDPC(tc.k, tc.e)
		if err != nil {
			t.Fatal(err)
		}
		if c.Graph() != tc.graph || c.Z() != tc.z {
			t.Errorf("K %d E %d: BG%d Z %d, want BG%d Z %d", tc.k, tc.e, c.Graph(), c.Z(), tc.graph, tc.z)
		}
	}
	for _, bad := range [][2]int{{0, 10}, {-1, 10}, {8449, 20000}, {10, 0}, {10, -1}} {
		if c, err := NewLDPC(bad[0], bad[1]); err == nil {
			t.Errorf("K %d E %d: %+v, want an error", bad[0], bad[1], c)
		}
	}
	var c LDPC
	for _, bad := range [][4]int{{0, 10, 20, 1}, {3, 10, 20, 1}, {2, 3841, 8000, 1}, {2, 10, 21, 2}, {2, 10, 20, 0}} {
		if err := c.Reset(Graph(bad[0]), bad[1], bad[2], bad[3]); err == nil {
			t.Errorf("%v: no error", bad)
		}
	}
}

// ldpcReference is TS 38.212 §5.4.2 bit by bit: the circular buffer with filler
// marked, then the interleaver.
func ldpcReference(c *LDPC, rv int) []byte {
	const null = 9
	d := slices.Clone(c.word[punctured*c.z:])
	for i := range d {
		if i >= c.k-punctured*c.z && i < (c.bg.kb-punctured)*c.z {
			d[i] = null
		}
	}
	k0 := map[Graph][4]int{BG1: {0, 17, 33, 56}, BG2: {0, 13, 25, 43}}[c.graph][rv] * c.z
	var e, f []byte
	for j := 0; len(e) < c.e; j++ {
		if b := d[(k0+j)%len(d)]; b != null {
			e = append(e, b)
		}
	}
	f = make([]byte, c.e)
	for j := range c.e / c.qm {
		for i := range c.qm {
			f[i+j*c.qm] = e[i*(c.e/c.qm)+j]
		}
	}
	return f
}

func TestLDPCRateMatching(t *testing.T) {
	for _, tc := range []struct {
		g        Graph
		k, e, qm int
	}{
		{BG1, 22, 66, 1},
		{BG1, 8448, 9000, 1},
		{BG1, 8000, 16002, 6},
		{BG1, 300, 4000, 4},
		{BG2, 1, 60, 2},
		{BG2, 3, 700, 1}, // fewer information bits than are punctured
		{BG2, 100, 40, 2},
		{BG2, 520, 1040, 8},
		{BG2, 3840, 30000, 10},
	} {
		for rv := range 4 {
			t.Run(fmt.Sprintf("BG%d,K%d,E%d,Qm%d,rv%d", tc.g, tc.k, tc.e, tc.qm, rv), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(uint64(tc.k), uint64(rv)))
				var c LDPC
				if err := c.Reset(tc.g, tc.k, tc.e, tc.qm); err != nil {
					t.Fatal(err)
				}
				prefix := []byte{7}
				coded := c.Encode(prefix, randomWord(rng, tc.k), rv)[1:]
				_, set := lift(infoColumns(tc.g, tc.k), tc.k)
				part := slices.Clone(coded)
				c.encode(slices.Clone(c.word[:c.k]), len(c.bg.rows)) // all parities, for the reference
				if at := firstOdd(c.bg, set, c.z, c.word); at >= 0 {
					t.Fatalf("check %d is broken", at)
				}
				if want := ldpcReference(&c, rv); !slices.Equal(part, want) {
					t.Fatal("coded bits differ from the standard's recipe")
				}
				// Each LLR returns to the bit that it came from.
				soft := make([]modem.LLR, c.N())
				c.Dematch(soft, cleanLLRs(coded, 1), rv)
				var sum modem.LLR
				for i, v := range soft {
					if b := c.word[punctured*c.z+i]; v*(1-2*modem.LLR(b)) < 0 {
						t.Fatalf("soft bit %d is %v, the bit is %d", i, v, b)
					}
					sum += max(v, -v)
				}
				if int(sum) != c.e {
					t.Fatalf("soft buffer holds %v LLRs, want %d", sum, c.e)
				}
			})
		}
	}
}

// Two halves that cannot decode alone decode together.
func TestLDPCIncrementalRedundancy(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	const k, e = 1000, 800
	c, err := NewLDPC(k, e)
	if err != nil {
		t.Fatal(err)
	}
	info, got := randomWord(rng, k), make([]byte, k)
	soft := make([]modem.LLR, c.N())
	for i, rv := range []int{0, 2, 3, 1} {
		c.Dematch(soft, cleanLLRs(c.Encode(nil, info, rv), 4), rv)
		_, ok := c.Decode(got, soft, 30)
		if want := i > 0; ok != want {
			t.Errorf("after %d receptions ok is %v, want %v", i+1, ok, want)
		}
	}
	if !slices.Equal(got, info) {
		t.Error("wrong bits")
	}
}

func TestLDPCErasuresAndRubbish(t *testing.T) {
	c, err := NewLDPC(400, 800)
	if err != nil {
		t.Fatal(err)
	}
	info := make([]byte, 400)
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for name, v := range map[string]modem.LLR{"zero": 0, "NaN": nan} {
		soft := slices.Repeat([]modem.LLR{v}, c.N())
		if _, ok := c.Decode(info, soft, 10); ok {
			t.Errorf("%s: a word of erasures decodes", name)
		}
	}
	want := randomWord(rand.New(rand.NewPCG(1, 1)), 400)
	for _, magnitude := range []modem.LLR{0.05, 1, 30, 64, 1e6, inf} {
		soft := make([]modem.LLR, c.N())
		c.Dematch(soft, cleanLLRs(c.Encode(nil, want, 0), magnitude), 0)
		if n, ok := c.Decode(info, soft, 10); !ok || !slices.Equal(info, want) {
			t.Errorf("noise-free LLRs of ±%v: ok %v after %d", magnitude, ok, n)
		}
	}
}

// The vector kernels and the portable ones give the same bits, posteriors and
// iteration counts, on every lifting size, at noise where decoding is hard.
func TestLDPCKernelsAgree(t *testing.T) {
	if !haveVector {
		t.Skip("no vector kernel on this machine")
	}
	const seed = 11
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, g := range []Graph{BG1, BG2} {
		for _, z := range allLifts() {
			k := graphs[g].kb*z - rng.IntN(z)
			e := int(float64(k) * (1.1 + 2*rng.Float64()))
			var a, b LDPC
			for _, c := range []*LDPC{&a, &b} {
				if err := c.Reset(g, k, e, 1); err != nil {
					t.Fatal(err)
				}
			}
			b.dec.simd = false
			soft := make([]modem.LLR, a.N())
			sigma := 0.4 + 0.6*rng.Float64()
			a.Dematch(soft, noisyLLRs(rng, nil, a.Encode(nil, randomWord(rng, k), 0), sigma), 0)
			gotA, gotB := make([]byte, k), make([]byte, k)
			for _, iterations := range []int{1, 2, 7} {
				nA, okA := a.Decode(gotA, soft, iterations)
				nB, okB := b.Decode(gotB, soft, iterations)
				if nA != nB || okA != okB || !slices.Equal(gotA, gotB) ||
					!slices.Equal(a.Posterior(nil, 0), b.Posterior(nil, 0)) {
					t.Fatalf("BG%d Z %d K %d E %d sigma %.2f (seed %d): kernels differ after %d iterations", g, a.z, k, e, sigma, seed, iterations)
				}
			}
		}
	}
}

// One row on values that decoding seldom or never meets: posteriors over the
// whole range, messages at their limits, every degree.
func TestLDPCKernelsAgreeAtTheLimits(t *testing.T) {
	if !haveVector {
		t.Skip("no vector kernel on this machine")
	}
	const seed = 13
	rng := rand.New(rand.NewPCG(seed, 0))
	limits := []int16{0, 1, -1, corrZero, maxMag, -maxMag, math.MaxInt16, math.MinInt16}
	value := func(most int) int16 {
		if v := limits[rng.IntN(len(limits))]; rng.IntN(3) == 0 && abs(int32(v)) <= int32(most) {
			return v
		}
		return int16(rng.IntN(2*most) - most)
	}
	for degree := 2; degree <= maxDegree; degree++ {
		for _, z := range []int{2, 3, 15, 16, 17, 40, 384} {
			groups := (z + lanes - 1) / lanes
			length := (groups + 1) * lanes
			post, msg := make([]int16, 2*degree*length), make([]int16, degree*groups*lanes)
			taps := make([]tap, degree)
			periodic := func(p []int16, most int) {
				for i := range p {
					if p[i] = value(most); i >= z {
						p[i] = p[i-z]
					}
				}
			}
			for e := range taps {
				periodic(post[2*e*length:][:length], 1<<15)
				periodic(msg[e*groups*lanes:][:groups*lanes], maxMag)
				taps[e] = tap{src: int32(4 * e * length), dst: int32((4*e + 2) * length), rot: int32(2 * rng.IntN(z))}
			}
			post2, msg2 := slices.Clone(post), slices.Clone(msg)
			wantOdd := parity(post, taps, z)
			if odd := parityVector(&post[0], &taps[0], degree, z, groups) != 0; odd != wantOdd {
				t.Errorf("degree %d Z %d (seed %d): odd %v, want %v", degree, z, seed, odd, wantOdd)
			}
			layer(post, msg, taps, z, groups)
			layerVector(&post2[0], &msg2[0], &taps[0], degree, z, groups)
			if !slices.Equal(post, post2) || !slices.Equal(msg, msg2) {
				t.Errorf("degree %d Z %d (seed %d): kernels differ", degree, z, seed)
			}
		}
	}
}

// noisyLLRs appends the LLRs of BPSK symbols ±1 in noise of the given deviation.
func noisyLLRs(rng *rand.Rand, dst []modem.LLR, bits []byte, sigma float64) []modem.LLR {
	for _, b := range bits {
		x := 1 - 2*float64(b)
		dst = append(dst, modem.LLR(2/(sigma*sigma)*(x+sigma*rng.NormFloat64())))
	}
	return dst
}

// boxPlus in fixed point against the sum-product rule.
func TestLDPCBoxPlus(t *testing.T) {
	f := func(x float64) float64 { return math.Log1p(math.Exp(-x)) }
	var worst float64
	for a := int32(0); a < 1000; a += 3 {
		for b := int32(0); b < 1000; b += 7 {
			x, y := float64(a)/unit, float64(b)/unit
			want := min(x, y) - f(math.Abs(x-y)) + f(x+y)
			worst = max(worst, math.Abs(want-float64(boxPlus(a, b))/unit))
		}
	}
	// Twice the fit of f (0.013), one unit of truncation (0.018).
	if worst > 0.044 {
		t.Errorf("a ⊞ b is wrong by up to %.4f", worst)
	}
}

// The theory that the gaps are measured against, held against known values:
// Shannon's limit of the binary-input channel at rate ½ is 0.187 dB.
func TestNormalApproximation(t *testing.T) {
	if got := NormalApproximation(1e9, 2e9, 0.01); math.Abs(got-0.187) > 0.01 {
		t.Errorf("rate ½, n → ∞: %.3f dB, want 0.187", got)
	}
}

// ldpcLink counts block errors and iterations over AWGN at Eb/N0 in dB.
func ldpcLink(c *LDPC, ebN0 float64, frames, iterations int, rng *rand.Rand) (errors, done int) {
	sigma := Deviation(ebN0 + 10*math.Log10(float64(c.K())/float64(c.E())))
	info, got := make([]byte, c.K()), make([]byte, c.K())
	soft := make([]modem.LLR, c.N())
	var coded []byte
	var llr []modem.LLR
	for range frames {
		for i := range info {
			info[i] = byte(rng.Uint32() & 1)
		}
		coded = c.Encode(coded[:0], info, 0)
		llr = noisyLLRs(rng, llr[:0], coded, sigma)
		clear(soft)
		c.Dematch(soft, llr, 0)
		n, _ := c.Decode(got, soft, iterations)
		done += n
		if !slices.Equal(got, info) {
			errors++
		}
	}
	return errors, done
}

// Table line 12: at the goal's distance from the normal approximation the
// block error rate is 1e-2. The margin is statistical: 3σ of the binomial count.
func TestLDPCGap(t *testing.T) {
	for _, tc := range []struct {
		k, frames int
		goal      float64 // dB
	}{
		{8192, 300, 0.4},
		{1024, 2000, 0.6},
		{256, 4000, 0.9},
	} {
		t.Run(fmt.Sprintf("K%d", tc.k), func(t *testing.T) {
			const seed = 7
			rng := rand.New(rand.NewPCG(seed, uint64(tc.k)))
			c, err := NewLDPC(tc.k, 2*tc.k)
			if err != nil {
				t.Fatal(err)
			}
			ebN0 := NormalApproximation(tc.k, 2*tc.k, 0.01) + tc.goal
			bad, n := ldpcLink(c, ebN0, tc.frames, 50, rng)
			mean := 0.01 * float64(tc.frames)
			limit := mean + 3*math.Sqrt(mean)
			t.Logf("%.2f dB: %d of %d blocks wrong, %.1f iterations", ebN0, bad, tc.frames, float64(n)/float64(tc.frames))
			if float64(bad) > limit {
				t.Errorf("Eb/N0 %.2f dB (seed %d): %d of %d blocks wrong, want at most %.0f", ebN0, seed, bad, tc.frames, limit)
			}
		})
	}
}

// BenchmarkLDPCGap prints the table: the Eb/N0 for a block error rate of 1e-2,
// found by bisection over fixed numbers of frames, and its distance to the
// normal approximation.
func BenchmarkLDPCGap(b *testing.B) {
	for _, k := range []int{8192, 2048, 1024, 256, 64} {
		for _, rate := range []float64{1. / 3, 1. / 2, 5. / 6} {
			for _, iterations := range []int{10, 50} {
				b.Run(fmt.Sprintf("K%d/R%.2f/%d", k, rate, iterations), func(b *testing.B) {
					for range b.N {
						c, err := NewLDPC(k, int(math.Round(float64(k)/rate)))
						if err != nil {
							b.Fatal(err)
						}
						bound := NormalApproximation(c.K(), c.E(), 0.01)
						rng := rand.New(rand.NewPCG(1, uint64(k)))
						found := ebN0At(bound, 0.01, func(ebN0 float64, frames int) int {
							bad, _ := ldpcLink(c, ebN0, frames, iterations, rng)
							return bad
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

// ebN0At walks up from the bound until the block error rate falls below bler
// and interpolates its logarithm. About 50 errors near the goal: ±0.03 dB.
func ebN0At(bound, bler float64, wrong func(ebN0 float64, frames int) int) float64 {
	const step = 0.125
	frames := int(50 / bler)
	last := 0.0 // log of the rate one step below
	for x := bound; ; x += step {
		n, bad := 0, 0
		for n < frames && bad < 100 {
			bad += wrong(x, 100)
			n += 100
		}
		rate := math.Log(max(float64(bad), 0.5) / float64(n))
		if goal := math.Log(bler); rate <= goal {
			if x == bound {
				return x
			}
			return x - step*(goal-rate)/(last-rate)
		}
		last = rate
	}
}

func BenchmarkLDPCDecode(b *testing.B) {
	for _, tc := range []struct {
		k, e int
	}{{8448, 16896}, {8192, 9102}, {1024, 2048}, {256, 512}, {256, 1280}} {
		for _, simd := range []bool{true, false} {
			if simd && !haveVector {
				continue
			}
			name := map[bool]string{true: "vector", false: "portable"}[simd]
			b.Run(fmt.Sprintf("K%d/E%d/%s", tc.k, tc.e, name), func(b *testing.B) {
				rng := rand.New(rand.NewPCG(1, 1))
				c, err := NewLDPC(tc.k, tc.e)
				if err != nil {
					b.Fatal(err)
				}
				c.dec.simd = simd
				soft, got := make([]modem.LLR, c.N()), make([]byte, tc.k)
				c.Dematch(soft, noisyLLRs(rng, nil, c.Encode(nil, randomWord(rng, tc.k), 0), 2), 0) // hopeless: all iterations are done
				b.ReportAllocs()
				for b.Loop() {
					if n, _ := c.Decode(got, soft, 10); n != 10 {
						b.Fatal("decoded too early")
					}
				}
				b.ReportMetric(float64(tc.k)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mb/s")
			})
		}
	}
}

func BenchmarkLDPCEncode(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	c, err := NewLDPC(8448, 16896)
	if err != nil {
		b.Fatal(err)
	}
	info := randomWord(rng, c.K())
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = c.Encode(dst[:0], info, 0)
	}
	b.ReportMetric(float64(c.K())*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mb/s")
}

// Whatever the LLRs are, decoding ends, both kernels agree, and a word that is
// called good is a codeword: encoding its information gives the signs of the
// posteriors of all that was received.
func FuzzLDPCDecode(f *testing.F) {
	f.Add(uint16(40), uint16(120), uint8(0), []byte("\x00\x00\x80\x3f\x00\x00\xc0\x7f\x00\x00\x80\xff"))
	f.Add(uint16(3), uint16(106), uint8(40), []byte("000A")) // a row of nothing but filler
	f.Add(uint16(300), uint16(310), uint8(2), []byte{0, 0, 0x80, 0xbf})
	f.Fuzz(func(t *testing.T, k, e uint16, rv uint8, raw []byte) {
		k, e = k%500, e%2000
		c, err := NewLDPC(int(k), int(e))
		if err != nil {
			return
		}
		llr, soft, info := make([]modem.LLR, e), make([]modem.LLR, c.N()), make([]byte, k)
		fillLLRs(llr, raw)
		c.Dematch(soft, llr, int(rv))
		n, ok := c.Decode(info, soft, 5)
		posterior := c.Posterior(nil, int(rv))
		again := make([]byte, k)
		c.dec.simd = false
		if m, okAgain := c.Decode(again, soft, 5); m != n || okAgain != ok || !slices.Equal(again, info) {
			t.Errorf("K %d E %d: kernels differ", k, e)
		}
		if !ok {
			return
		}
		for i, b := range c.Encode(nil, info, int(rv)) {
			if p := posterior[i]; p > 0 && b == 1 || p < 0 && b == 0 {
				t.Fatalf("K %d E %d: bit %d is %d, its posterior %v", k, e, i, b, p)
			}
		}
	})
}

// fillLLRs repeats raw octets as little-endian float32, whatever they mean.
func fillLLRs(llr []modem.LLR, raw []byte) {
	for i := range llr {
		if n := len(raw) / 4; n > 0 {
			llr[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[i%n*4:]))
		}
	}
}

func TestLDPCAllocatesNothing(t *testing.T) {
	c, err := NewLDPC(8448, 20000)
	if err != nil {
		t.Fatal(err)
	}
	info := randomWord(rand.New(rand.NewPCG(1, 1)), 8448)
	coded := make([]byte, 0, 20000)
	llr, soft := make([]modem.LLR, 0, 20000), make([]modem.LLR, 66*384)
	for _, k := range []int{8448, 100, 3000} {
		allocs := testing.AllocsPerRun(3, func() {
			if err := c.Reset(SelectGraph(k, 2*k), k, 2*k, 2); err != nil {
				t.Fatal(err)
			}
			coded = c.Encode(coded[:0], info[:k], 0)
			llr = llr[:0]
			for _, b := range coded {
				llr = append(llr, 4-8*modem.LLR(b))
			}
			clear(soft)
			c.Dematch(soft[:c.N()], llr, 0)
			if _, ok := c.Decode(info[:k], soft[:c.N()], 10); !ok {
				t.Fatal("noise-free word does not decode")
			}
			llr = c.Posterior(llr[:0], 0)
		})
		if allocs != 0 {
			t.Errorf("K %d: %v allocations, want 0", k, allocs)
		}
	}
}

// The posteriors that an iterative receiver remodulates have the signs of the
// codeword and are on the whole stronger than what was received.
func TestLDPCPosterior(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	for _, rv := range []int{0, 3} {
		var c LDPC
		if err := c.Reset(BG1, 2000, 6000, 4); err != nil {
			t.Fatal(err)
		}
		info := randomWord(rng, c.K())
		coded := c.Encode(nil, info, rv)
		llr, soft := noisyLLRs(rng, nil, coded, 0.7), make([]modem.LLR, c.N())
		c.Dematch(soft, llr, rv)
		if _, ok := c.Decode(info, soft, 20); !ok {
			t.Fatalf("rv %d: does not decode", rv)
		}
		var before, after modem.LLR
		for i, p := range c.Posterior(nil, rv) {
			s := 1 - 2*modem.LLR(coded[i])
			if p*s <= 0 {
				t.Fatalf("rv %d: bit %d is %d, its posterior %v", rv, i, coded[i], p)
			}
			before += llr[i] * s
			after += p * s
		}
		if after < 2*before {
			t.Errorf("rv %d: posteriors sum to %v, received LLRs to %v", rv, after, before)
		}
	}
}

// The receiver never knows the noise exactly: an estimate that is wrong by 1 dB
// either way costs less than 0.3 dB beyond the goal.
func TestLDPCWrongScale(t *testing.T) {
	const k, frames, seed = 1024, 500, 12
	c, err := NewLDPC(k, 2*k)
	if err != nil {
		t.Fatal(err)
	}
	sigma := Deviation(NormalApproximation(k, 2*k, 0.01) + 0.9 - 10*math.Log10(2))
	for _, scale := range []modem.LLR{0.79, 1.26} {
		rng := rand.New(rand.NewPCG(seed, 0))
		bad, got := 0, make([]byte, k)
		for range frames {
			info := randomWord(rng, k)
			llr := noisyLLRs(rng, nil, c.Encode(nil, info, 0), sigma)
			for i := range llr {
				llr[i] *= scale
			}
			soft := make([]modem.LLR, c.N())
			c.Dematch(soft, llr, 0)
			if c.Decode(got, soft, 50); !slices.Equal(got, info) {
				bad++
			}
		}
		t.Logf("scale %v: %d of %d wrong", scale, bad, frames)
		if limit := 0.01*frames + 3*math.Sqrt(0.01*frames); float64(bad) > limit {
			t.Errorf("scale %v (seed %d): %d of %d blocks wrong, want at most %.0f", scale, seed, bad, frames, limit)
		}
	}
}
