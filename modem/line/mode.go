package line

import (
	"fmt"
	"math"

	"lightsong/modem"
)

// What the board's protocol lays down (firmware/PROTOCOL.md §4).
const (
	Marker      = 0xA6 // stands after each markerEvery octets of content
	markerEvery = 32

	// OverheadChips is what a light frame has besides its body: preamble, sync
	// word, length.
	OverheadChips = 192
	chipsPerOctet = 16 // Manchester

	// PauseMicros lies between two light frames of a burst: the gap of 250 µs
	// that every station leaves, and what a board takes to get ready. Measured
	// on the emulated ATmega328P, 386 to 402 µs.
	PauseMicros = 395
)

// dividers of the chip rates: chip rate r has chips of dividers[r] µs.
var dividers = [...]int{1, 2, 4, 8, 16, 50}

// Rates is the number of chip rates.
const Rates = len(dividers)

// ChipMicros is the length of a chip at a rate, in µs.
func ChipMicros(rate int) int { return dividers[rate] }

// maxBody is the most octets of a light frame.
func maxBody(rate int) int {
	if rate == Rates-1 {
		return 960
	}
	return 2047
}

// capacity is the most octets of content that fit a body with its markers.
func capacity(rate int) int { return contentOctets(maxBody(rate)) }

// contentOctets is the most content that fits a body of n octets: none ends with a
// marker.
func contentOctets(n int) int { return n - n/(markerEvery+1) }

// bodyOctets is the length of the body that carries n octets of content.
func bodyOctets(n int) int { return n + (n-1)/markerEvery }

// scheme is how a mode is sent.
type scheme struct {
	rate     int     // of chips
	num, den int     // code rate of frames; 1/1: bare, with a check only
	ber      float64 // bit error rate up to which 90 % of full frames are received

	lightControl bool // control blocks at the higher of their code rates
}

// schemes by MCS. The error rates are measured (TestModesReachTheirThreshold)
// with LLRs of ±ln((1−p)/p); a frame without code stands p = −ln(0.9)/bits.
var schemes = [...]scheme{
	{rate: 5, num: 1, den: 2, ber: 0.088},
	{rate: 4, num: 4, den: 5, ber: 0.0205},
	{rate: 3, num: 4, den: 5, ber: 0.0205},
	{rate: 2, num: 4, den: 5, ber: 0.0205},
	{rate: 1, num: 2, den: 3, ber: 0.045},
	{rate: 1, num: 4, den: 5, ber: 0.0205},
	{rate: 0, num: 1, den: 2, ber: 0.088},
	{rate: 0, num: 2, den: 3, ber: 0.045},
	{rate: 0, num: 4, den: 5, ber: 0.0205},
	{rate: 0, num: 9, den: 10, ber: 0.0073},
	{rate: 0, num: 1, den: 1, ber: 2e-5},
}

// framesPerSegment is how many full frames a light frame holds.
const framesPerSegment = 3

// codedOctets is the length on the light of a frame of n octets.
func (s *scheme) codedOctets(n int) int {
	return ((n+checkOctets)*s.den + s.num - 1) / s.num
}

// frameOctets is the frame length that fills light frames.
func (s *scheme) frameOctets() int {
	n := (capacity(s.rate)-headOctets)/framesPerSegment*s.num/s.den - checkOctets
	for s.codedOctets(n)*framesPerSegment > capacity(s.rate)-headOctets {
		n--
	}
	return n
}

// octavedB is what a rate gains over one of twice its speed: where edges jitter,
// twice the chip is twice the margin.
const octavedB = 6.02

// SNR is the signal-to-noise ratio, in dB, at which an ideal receiver of
// antipodal signals decides bits with error rate p: p = ½·erfc(√SNR). It is the
// scale of Mode.SNRdB and Quality.SNR for light, referred to the highest chip
// rate: a board gives bits, not samples, and this makes of their error rate what
// the link's rate control works with. At a lower rate the same light gives
// 6 dB for each halving, so that much is taken off. All is counted six times:
// light does not fade as sound does in a room, and light frames that are lost whole
// are no reason for a stronger code; so the margin of 1 to 6 dB that rate control
// keeps is to be at most one.
func SNR(rate int, p float64) float64 {
	x := math.Erfinv(1 - 2*p)
	return stretch * (20*math.Log10(x) - octavedB*math.Log2(float64(dividers[rate])))
}

const stretch = 6

// perfectSNR is reported where not a single error was seen, which says only
// that there is no reason for a slower mode.
const perfectSNR = 63.0 // the link carries up to 63.5

// Modes is the table of the profile "led", by MCS.
func Modes() []modem.Mode {
	modes := make([]modem.Mode, len(schemes))
	for i := range schemes {
		s := &schemes[i]
		m := modem.Mode{
			Profile:     "led",
			MCS:         modem.MCS(i),
			BandwidthHz: 1e6 / float64(dividers[s.rate]),
			SNRdB:       math.Round(10*SNR(s.rate, s.ber)) / 10,
			FrameOctets: s.frameOctets(),
		}
		code := fmt.Sprintf("LDPC %d/%d", s.num, s.den)
		if s.num == s.den {
			code = "no code but the link's"
		}
		m.Description = fmt.Sprintf("Manchester, %d kchip/s, %s", 1000/dividers[s.rate], code)
		m.NetBPS = netBPS(m)
		modes[i] = m
	}
	return modes
}

// longestMicros is the length of the longest burst that the link sends.
const longestMicros = 2_000_000

// netBPS is the net rate of the longest burst in a mode with a usual control
// block.
func netBPS(m modem.Mode) float64 {
	const control = 22
	best := 0.0
	for n := 1; n <= modem.MaxFrames; n++ {
		p, err := boards.layOut(m.MCS, n, m.FrameOctets, control)
		if err != nil || p.total() > longestMicros {
			break
		}
		best = max(best, float64(8*n*m.FrameOctets)/float64(p.total())*1e6)
	}
	return best
}

// RateOf is the chip rate of a mode of the table.
func RateOf(mcs modem.MCS) int { return schemes[mcs].rate }
