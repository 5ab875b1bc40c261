package ofdm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"lightsong/modem"
	"lightsong/modem/fec"
)

// cellsOver is the share of codewords of net data bits in so many cells over
// white noise that come whole; snr is the signal-to-noise ratio of a cell in dB.
func cellsOver(net, cells, bits int, sh shaping, snr float64, words int, rng *rand.Rand) (share, power float64) {
	p := &plan{mode: &mode{bits: bits}, words: 1, frames: 1, cells: cells, shaping: sh}
	if !p.setWord(net) {
		return 0, 0
	}
	c := newCoder()
	c.setPayload(p)
	q := c.bodyQAM(p)
	v := math.Pow(10, -snr/10)
	llr := make([]modem.LLR, p.e)
	soft := make([]modem.LLR, c.payload.N())
	info, data, got := make([]byte, p.k), make([]byte, net), make([]byte, net)
	good := 0
	for range words {
		for i := range data {
			data[i] = byte(rng.Uint32() & 1)
		}
		if p.shaped > 0 {
			c.shape(info, p, data)
		} else {
			copy(info, data)
		}
		c.body = c.payload.Encode(c.body[:0], info, 0)
		for i := range c.body {
			c.body[i] ^= flip(i)
		}
		for i := range cells {
			x := q.point(c.body[i*bits:])
			power += float64(real(x)*real(x)+imag(x)*imag(x)) / float64(cells*words)
			s := math.Sqrt(v / 2)
			z := x + complex(float32(s*rng.NormFloat64()), float32(s*rng.NormFloat64()))
			q.soften(llr[i*bits:], z, float32(v))
		}
		for i := range llr {
			if flip(i) != 0 {
				llr[i] = -llr[i]
			}
		}
		clear(soft)
		c.payload.Dematch(soft, llr, 0)
		c.payload.Decode(info, soft, 40)
		ok := true
		if p.shaped > 0 {
			ok = c.unshape(got, p, info)
		} else {
			copy(got, info)
		}
		if ok && string(got) == string(data) {
			good++
		}
	}
	return float64(good) / float64(words), power
}

// leastSNR is where 90 % of the codewords come whole, in dB, to 0.05 dB.
func leastSNR(net, cells, bits int, sh shaping, words int) (snr float64) {
	limit := 10 * math.Log10(math.Pow(2, float64(net)/float64(cells))-1)
	lo, hi := limit, limit+5
	for hi-lo > 0.05 {
		mid := (lo + hi) / 2
		if share, _ := cellsOver(net, cells, bits, sh, mid, words, rand.New(rand.NewPCG(1, 2))); share >= 0.9 {
			hi = mid
		} else {
			lo = mid
		}
	}
	return hi
}

// BenchmarkPAS compares uniform and shaped constellations: the gap in dB between
// the SNR where 90 % of the codewords come whole and Shannon's limit, at the same
// net rate in bits a cell:
//
//	go test -run '^$' -bench PAS -benchtime 1x -timeout 0 ./modem/ofdm
//
// Of shaped ones the name tells the shaped bits of an axis and the code's share of
// the redundancy. Channel estimation, pilots and prefix are not in it.
func BenchmarkPAS(b *testing.B) {
	for _, rate := range []float64{1.7, 2, 2.5, 3, 4, 5, 6, 8, 10, 12, 14, 16, 18} {
		for bits := 4; bits <= 22; bits += 2 {
			if over := float64(bits) - rate; over < 1 || over > 4.5 {
				continue
			}
			tries := []shaping{{}}
			for a := 1; a <= min(3, bits/2-1); a++ {
				for _, share := range []int{50, 55, 60, 65, 70} {
					tries = append(tries, shaping{a, share})
				}
			}
			for _, sh := range tries {
				// As many data bits as the longest code takes with the largest share.
				r := rate / float64(bits)
				net := int(8300 * r / (1 - 0.5*(1-r)))
				cells := int(float64(net) / rate)
				p := &plan{mode: &mode{bits: bits}, words: 1, frames: 1, cells: cells, shaping: sh}
				if cells > sh.mostCells() || !p.setWord(net) {
					continue
				}
				b.Run(fmt.Sprintf("rate%g/%dbit/shaped%d/%d%%", rate, bits, sh.bits, sh.share), func(b *testing.B) {
					for b.Loop() {
						limit := 10 * math.Log10(math.Pow(2, float64(net)/float64(cells))-1)
						b.ReportMetric(leastSNR(net, cells, bits, sh, 20)-limit, "gap-dB")
						b.ReportMetric(float64(p.k)/float64(p.e), "code-rate")
					}
				})
			}
		}
	}
}

// The matcher's labels are those of the constellation, both ways.
func TestLabels(t *testing.T) {
	for bits := 1; bits <= 3; bits++ {
		q := newQAM(2 * (bits + 1))
		for a := range 1 << bits {
			word := make([]byte, bits+1)
			for i := range bits {
				word[1+i] = byte(label(a, bits) >> (bits - 1 - i) & 1)
			}
			if x := q.axis(word, 1); x != float32(2*a+1) {
				t.Errorf("%d bits: the label of amplitude %d is at %g", bits, 2*a+1, x)
			}
			if got := unlabel(label(a, bits), bits); got != a {
				t.Errorf("%d bits: unlabel(label(%d)) is %d", bits, a, got)
			}
		}
	}
}

// Shaped LLRs agree with the definition, and shaped constellations have the mean
// power 1 by their own distribution.
func TestShapedQAM(t *testing.T) {
	const seed = 6
	rng := rand.New(rand.NewPCG(seed, 2))
	for _, c := range []struct{ bits, shaped int }{{4, 1}, {6, 1}, {6, 2}, {8, 2}, {10, 3}} {
		prob := make([]float64, 1<<c.shaped)
		mean := 0.3 * float64(len(prob)*len(prob)-1) / 6
		maxwellBoltzmann(prob, mean, 256)
		var q qam
		q.shape(c.bits, prob)
		m := c.bits / 2
		fine := float64(int(1) << (m - 1 - c.shaped))
		// P of each level of an axis, by its bits.
		levels := 1 << m
		x, p := make([]float64, levels), make([]float64, levels)
		word := make([]byte, m)
		var power float64
		for v := range levels {
			for i := range m {
				word[i] = byte(v >> (m - 1 - i) & 1)
			}
			x[v] = float64(q.axis(word, 1)) * float64(q.unit)
			p[v] = prob[unlabel(v>>(m-1-c.shaped)&(1<<c.shaped-1), c.shaped)] / fine / 2
			power += 2 * p[v] * x[v] * x[v]
		}
		if math.Abs(power-1) > 1e-4 {
			t.Errorf("%d bits, %d shaped: mean power %.5f", c.bits, c.shaped, power)
		}
		llr := make([]float32, c.bits)
		for range 300 {
			z := complex(float32(rng.NormFloat64()), float32(rng.NormFloat64()))
			v := float32(math.Pow(10, -rng.Float64()*2.5))
			q.soften(llr, z, v)
			for bit := range m {
				var sum [2]float64
				for l := range levels {
					d := float64(real(z)) - x[l]
					sum[l>>(m-1-bit)&1] += p[l] * math.Exp(-d*d/float64(v))
				}
				want := math.Log(sum[0] / sum[1])
				if math.Abs(want) < 12 && math.Abs(want-float64(llr[2*bit])) > 2e-3*(1+math.Abs(want)) {
					t.Errorf("%d bits, %d shaped, z %v, variance %g, bit %d: LLR %g, want %g (seed %d)", c.bits, c.shaped, z, v, bit, llr[2*bit], want, seed)
				}
			}
		}
	}
}

// The sequences of the matcher are distributed as the receiver thinks: the
// shares of the amplitudes, and so the power, are right.
func TestShapedDistribution(t *testing.T) {
	const seed = 8
	rng := rand.New(rand.NewPCG(seed, 3))
	for bits := 1; bits <= 3; bits++ {
		s := spheres[bits]
		for _, share := range []float64{0.3, 0.6, 0.9} {
			const axes, words = 1200, 60
			budget := int(share * float64(s.MaxBudget()))
			data, a := make([]byte, s.Capacity(axes, budget)), make([]byte, axes)
			prob := make([]float64, 1<<bits)
			maxwellBoltzmann(prob, float64(budget)/fec.SphereScale, float64(s.Longest()))
			count := make([]float64, 1<<bits)
			for range words {
				for i := range data {
					data[i] = byte(rng.Uint32() & 1)
				}
				s.Shape(a, data, budget)
				for _, v := range a {
					count[v] += 1. / (axes * words)
				}
			}
			for v, want := range prob {
				// Five standard deviations of the count, and what blocks of finite
				// length make of the distribution.
				if off := 5*math.Sqrt(want/(axes*words)) + 0.02*want + 0.002; math.Abs(count[v]-want) > off {
					t.Errorf("%d bits, %.1f of the budget: amplitude %d has the share %.4f, want %.4f (seed %d)", bits, share, 2*v+1, count[v], want, seed)
				}
			}
		}
	}
}

// Where a shaped constellation gets its codewords through, a uniform one of the
// same net rate is lost: at 6 bits a cell, 1.1 dB from Shannon's limit. By
// BenchmarkPAS the two need 0.75 and 1.8 dB.
func TestShapingGain(t *testing.T) {
	const seed, net, rate, words = 3, 6960, 6., 12
	const cells = net / 6
	snr := 10*math.Log10(math.Pow(2, rate)-1) + 1.1
	rng := rand.New(rand.NewPCG(seed, 4))
	if share, power := cellsOver(net, cells, 8, shaping{2, codeShare}, snr, words, rng); share < 0.9 || math.Abs(power-1) > 0.02 {
		t.Errorf("shaped: %.0f %% of the codewords, mean power %.3f (seed %d)", 100*share, power, seed)
	}
	if share, _ := cellsOver(net, cells, 8, shaping{}, snr, words, rng); share > 0.1 {
		t.Errorf("uniform: %.0f %% of the codewords (seed %d)", 100*share, seed)
	}
}

// Every length of frame that a shaped mode takes comes back, the shortest and the
// ones about the border of one and two codewords among them.
func TestShapedLengths(t *testing.T) {
	const seed = 10
	rng := rand.New(rand.NewPCG(seed, 5))
	s, _ := cable.at(baseRate)
	var p plan
	c := newCoder()
	for mcs := range cable.modes {
		m := &cable.modes[mcs]
		if cable.shapingOf(m).bits == 0 {
			continue
		}
		for i, octets := range []int{1, 2, 9, 60, 200 + mcs, m.octets, m.octets + 30, m.octets + 60, 1000, 1024, 1053, 1500, 2100, 4095} {
			if err := p.set(&cable, s, mcs, 1+i%3, octets, 0); err != nil {
				t.Fatalf("MCS %d, %d octets: %v", mcs, octets, err)
			}
			if i > 7 && mcs%4 > 0 {
				continue
			}
			frame := random(rng, octets)
			info, got := make([]byte, p.words*p.k), make([]byte, octets+frameCheck)
			c.frameInfo(info, &p, frame)
			if !c.frameData(got, &p, info) || !checked(got) || string(got[:octets]) != string(frame) {
				t.Errorf("MCS %d, %d octets, seed %d: other octets come back", mcs, octets, seed)
			}
		}
	}
}
