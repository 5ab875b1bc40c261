package line

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"lightsong/modem"
)

// rsFails is the share of frames that a Reed-Solomon code over GF(256) with
// bounded-distance decoding loses at a bit error rate p: codewords of at most 255
// octets, as few as the frame needs and all of one length, each of which corrects
// half as many wrong octets as it has parity. It is theory, exact but for decoding
// into a wrong codeword.
func rsFails(coded, data int, p float64) float64 {
	words := (coded + 254) / 255
	n := coded / words
	t := (n - (data+words-1)/words) / 2
	q := 1 - math.Pow(1-p, 8)
	right := 0.0
	for i := range t + 1 {
		l, _ := math.Lgamma(float64(n + 1))
		a, _ := math.Lgamma(float64(i + 1))
		b, _ := math.Lgamma(float64(n - i + 1))
		right += math.Exp(l - a - b + float64(i)*math.Log(q) + float64(n-i)*math.Log1p(-q))
	}
	return 1 - math.Pow(min(1, right), float64(words))
}

// The choice of the code: at each rate LDPC with the hard decisions of the board
// stands a higher error rate than Reed-Solomon with errors. The figures of
// docs/light.md: go test -run '^$' -bench Codes -benchtime 1x ./modem/line
func BenchmarkCodes(b *testing.B) {
	for _, mcs := range []modem.MCS{6, 7, 8, 9} {
		s := &schemes[mcs]
		b.Run(fmt.Sprintf("%d_%d", s.num, s.den), func(b *testing.B) {
			for b.Loop() {
				octets := s.frameOctets()
				fails := func(p float64) float64 {
					rnd := rand.New(rand.NewPCG(3, uint64(mcs)))
					enc, dec := new(Encoder), new(Decoder)
					bad, of := 0, 0
					for range 8 {
						x := burstOf(rnd, mcs, 30, octets, 22)
						c := through(b, enc, dec, x, rnd, p, nil)
						of += 30
						bad += 30
						for i := range c.received {
							bad -= 30 - lost(b, x, &c.received[i].burst)
						}
					}
					return float64(bad) / float64(of)
				}
				b.ReportMetric(limit(fails), "LDPC-BER")
				b.ReportMetric(limit(func(p float64) float64 { return rsFails(s.codedOctets(octets), octets+checkOctets, p) }), "RS-BER")
			}
		})
	}
}

// limit is the error rate at which fails reaches 10 %, by bisection.
func limit(fails func(p float64) float64) float64 {
	low, high := 1e-5, 0.2
	for range 9 {
		mid := math.Sqrt(low * high)
		if fails(mid) > 0.1 {
			high = mid
		} else {
			low = mid
		}
	}
	return low
}
