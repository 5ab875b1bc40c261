package line

import (
	"fmt"
	"math"

	"lightsong/modem"
)

// Stations whose one LED both sends and hears (firmware/PROTOCOL.md §9) send
// the same segments as other boards, in slots instead of chips: at rate 0 an octet
// is a word of five slots with four pulse lengths, at rate 1 eight pairs of slots,
// one of each lit. What is heard is the time that light takes to discharge the
// LED, so a board can tell how far noise lies below the light, and that grades the
// LLRs.
const (
	// LEDRates is the number of rates.
	LEDRates = 2

	ledWords, ledPairs = 0, 1

	slotMicros      = 200
	ledHeadSlots    = 64 + 16*8 // preamble, sync word, length
	ledWordSlots    = 5
	ledPairSlots    = 16 // of an octet
	ledMaxBody      = 1023
	ledMaxPairs     = 480
	ledPauseMicros  = 1_000 // between two light frames of a burst: the gap of 250 µs, the board, the next slot
	ledInterpolated = 0.6   // variance that the two dark slots add to one between them, by its own
)

// ledSchemes by MCS of the profile "led1".
var ledSchemes = [...]scheme{
	{rate: ledPairs, num: 1, den: 2, ber: 0.088},
	{rate: ledPairs, num: 4, den: 5, ber: 0.0205},
	{rate: ledPairs, num: 9, den: 10, ber: 0.0073},
	{rate: ledWords, num: 2, den: 3, ber: 0.045},
	{rate: ledWords, num: 4, den: 5, ber: 0.0205},
	{rate: ledWords, num: 9, den: 10, ber: 0.0073},
}

func ledMost(rate int) int {
	if rate == ledPairs {
		return ledMaxPairs
	}
	return ledMaxBody
}

func ledCapacity(rate int) int { return contentOctets(ledMost(rate)) }

var oneLED = &form{
	profile: "led1", schemes: ledSchemes[:], capacity: ledCapacity, pause: ledPauseMicros,
	duration: func(rate, content int) int { return slotMicros * ledSlots(rate, bodyOctets(content)) },
	snr: func(_ int, noise float64) float64 {
		return min(perfectSNR, -20*ledScale*math.Log10(max(noise, leastNoise)))
	},
}

// ledScale stretches the scale: rate control tries modes up to 6 dB beyond what a
// link has, for a channel may be kinder than a table. Light and its noise are
// what they are measured to be, and a trial that fails costs 4 s.
const ledScale = 2

// leastNoise is what a timer's ticks alone make: less is not believed.
const leastNoise = 1e-3

// ledSlots is the number of slots that a body of n octets is on the light.
func ledSlots(rate, n int) int {
	if rate == ledPairs {
		return ledHeadSlots + ledPairSlots*n
	}
	return ledHeadSlots + ledWordSlots*n + 1
}

// LEDHeardSlots is how many slots pass from a sync word's beginning to the end of
// a body of n octets: what a board's two times of a light frame are apart.
func LEDHeardSlots(rate, n int) int { return ledSlots(rate, n) - 64 }

// LEDAnnounced is the time, in µs, from the beginning of a light frame until its
// body's first HeadOctets are heard.
func LEDAnnounced(rate int) int { return slotMicros * ledSlots(rate, headOctets) }

// LEDSlotMicros is the length of a slot.
const LEDSlotMicros = slotMicros

// LEDNoise turns a board's noise figure (mean deviation of what a slot, or the
// difference of a pair of slots, was measured to be, of 512 of a full slot's
// light) into the rms noise of one slot against a full slot's light.
func LEDNoise(rate int, figure uint8) float64 {
	rms := math.Sqrt(math.Pi/2) * float64(figure) / 512 // of a Gaussian with that mean deviation
	if rate == ledPairs {
		return rms / math.Sqrt2
	}
	return rms / math.Sqrt(1+ledInterpolated)
}

// ledBER is the bit error rate at a noise: in pairs two slots are compared, in
// words neighbouring levels lie a third of a full slot's light apart (four levels,
// two bits in Gray code: ¾ of the levels have two neighbours).
func ledBER(rate int, noise float64) float64 {
	if rate == ledPairs {
		return 0.5 * math.Erfc(1/(2*noise))
	}
	return 0.75 * 0.5 * math.Erfc(1/(6*math.Sqrt(2*(1+ledInterpolated))*noise))
}

// LEDSNR is the signal-to-noise ratio, on the scale of Mode.SNRdB and Quality.SNR of such
// stations, at which bits of a rate are wrong with probability p.
func LEDSNR(rate int, p float64) float64 { return oneLED.snr(rate, ledNoiseFor(rate, p)) }

// ledNoiseFor is ledBER the other way round.
func ledNoiseFor(rate int, ber float64) float64 {
	if rate == ledPairs {
		return 1 / (2 * math.Erfinv(1-2*ber))
	}
	return 1 / (6 * math.Sqrt(2*(1+ledInterpolated)) * math.Erfinv(1-2*ber/0.75))
}

// LEDModes is the table of the profile "led1", by MCS. SNR is that of one slot, a
// full slot's light against the rms noise, in half dB.
func LEDModes() []modem.Mode {
	modes := make([]modem.Mode, len(ledSchemes))
	for i := range ledSchemes {
		s := &ledSchemes[i]
		name := "words of four levels"
		if s.rate == ledPairs {
			name = "pairs of slots"
		}
		m := modem.Mode{
			Profile: oneLED.profile, MCS: modem.MCS(i), BandwidthHz: 1e6 / slotMicros,
			SNRdB:       math.Round(10*oneLED.snr(s.rate, ledNoiseFor(s.rate, s.ber))) / 10,
			FrameOctets: s.ledFrameOctets(),
			Description: fmt.Sprintf("one LED, %s of 200 µs, LDPC %d/%d", name, s.num, s.den),
		}
		const control = 22
		for n := 1; n <= modem.MaxFrames; n++ {
			p, err := oneLED.layOut(m.MCS, n, m.FrameOctets, control)
			if err != nil || p.total() > longestMicros {
				break
			}
			m.NetBPS = max(m.NetBPS, float64(8*n*m.FrameOctets)/float64(p.total())*1e6)
		}
		modes[i] = m
	}
	return modes
}

// ledFrameOctets is the frame length of which two and a control block, or three,
// fill a light frame.
func (s *scheme) ledFrameOctets() int {
	room := ledCapacity(s.rate) - headOctets
	n := room/framesPerSegment*s.num/s.den - checkOctets
	for s.codedOctets(n)*framesPerSegment > room {
		n--
	}
	return n
}

// LEDRateOf is the rate of a mode of LEDModes.
func LEDRateOf(mcs modem.MCS) int { return ledSchemes[mcs].rate }

// LEDMicros is the time of a burst on the light, in µs of the board's clock; 0
// for a burst that cannot be sent.
func LEDMicros(b *modem.Burst) int {
	p, err := oneLED.planOf(b)
	if err != nil {
		return 0
	}
	return p.total()
}

// NewLEDEncoder returns an Encoder for stations whose one LED both sends and hears.
func NewLEDEncoder() *Encoder { return &Encoder{form: oneLED} }

// NewLEDDecoder returns a Decoder for such stations.
func NewLEDDecoder() *Decoder { return &Decoder{form: oneLED} }
