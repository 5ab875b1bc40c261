package line

import (
	"fmt"
	"math"
	"math/bits"

	"lightsong/modem"
)

// U6 is the line code for light without a microcontroller: a USB-serial dongle
// whose TX drives an LED and whose RX listens to a comparator, 8N1. Of the 70
// octets with four ones every character, start and stop bit included, is half
// light and half dark: the mean level never depends on what is said, and no run is
// longer than 4 bits. 64 of them carry 6 bits each, four are control characters,
// one is the idle character, and 0F is left out, which is the idle character seen
// half a character late. A single wrong bit never makes one character of another.
//
//	segment = 8 × idle | 12 × sync | 64 characters | mark | 64 | mark | … | 1 to 64
//
// The content of a segment is what boards send too (docs/wire-light.md): header,
// control block, frames, whitened; six bits a character, most significant first.
const (
	// U6Idle fills the time between segments. Its one falling edge is that of the
	// start bit, so a UART that hears it finds the characters' beginnings. A line
	// must never rest: its level would flicker and receivers lose their place.
	U6Idle = 0xF0

	u6A    = 0x55 // of sync words
	u6B    = 0xAA
	u6C    = 0xA9
	u6Mark = 0x95 // after each u6Group characters of content, and in sync words

	u6Lead  = 8 // idle characters before each segment: who has lost its place finds it
	u6Sync  = 12
	u6Group = 64
	u6Bits  = 6 // of a character

	u6Frames      = 4    // full frames that a segment holds besides a control block
	u6CodedOctets = 1110 // of a full frame, on the light
	u6Capacity    = headOctets + (modem.MaxControlOctets+checkOctets)*controlDen/controlNum + 1 + u6Frames*u6CodedOctets
)

// u6SyncWord begins each segment. Moved against itself it has the same character in
// at most two places.
var u6SyncWord = [u6Sync]byte{u6A, u6Mark, u6C, u6B, u6A, u6A, u6C, u6A, u6C, u6Mark, u6Mark, u6C}

// u6Octets is the table of data characters, and u6Values the way back: 0 to 63, or
// one of the kinds below.
var u6Octets, u6Values = func() (octets [64]byte, values [256]uint8) {
	n := 0
	for v := range values {
		values[v] = u6Wrong
		if bits.OnesCount8(uint8(v)) != 4 || v == 0x0F {
			continue
		}
		switch v {
		case U6Idle, u6A, u6B, u6Mark, u6C:
			values[v] = u6Control
		default:
			octets[n], values[v] = byte(v), uint8(n)
			n++
		}
	}
	return octets, values
}()

const (
	u6Control = 64
	u6Wrong   = 65 // no character of the code
)

// u6Schemes by MCS. The figure is the share of wrong characters up to which 90 % of
// full frames are received, measured (TestU6ModesReachTheirThreshold).
var u6Schemes = [...]scheme{
	{num: 1, den: 3, ber: 0.34},
	{num: 1, den: 2, ber: 0.29},
	{num: 2, den: 3, ber: 0.22},
	{num: 4, den: 5, ber: 0.135},
	{num: 9, den: 10, ber: 0.06},
	{num: 15, den: 16, ber: 0.034, lightControl: true},
	{num: 1, den: 1, ber: 7e-5, lightControl: true},
}

var u6Form = &form{
	profile: "u6", schemes: u6Schemes[:],
	capacity: func(int) int { return u6Capacity },
	duration: func(_, content int) int { return u6Lead + u6Sync + u6Characters(content) },
	snr:      func(_ int, ratio float64) float64 { return u6SNR(u6ErrorsByWrong * ratio) },
}

// u6Symbols is how many characters carry n octets.
func u6Symbols(n int) int { return (8*n + u6Bits - 1) / u6Bits }

// u6Characters is how many characters n octets of content take, marks included.
func u6Characters(n int) int {
	s := u6Symbols(n)
	return s + (s-1)/u6Group
}

// u6FrameOctets is the frame length that fills a segment.
func (s *scheme) u6FrameOctets() int {
	n := u6CodedOctets*s.num/s.den - checkOctets
	for s.codedOctets(n) > u6CodedOctets {
		n--
	}
	return n
}

// u6ErrorsByWrong is how many characters are wrong for each that is none of the
// code: few of the wrong ones are others of the code, as one edge out of place never
// makes one of them.
const u6ErrorsByWrong = 1.1

// u6SNR is SNR for U6, by the share of wrong characters: a character has ten bits.
func u6SNR(wrong float64) float64 {
	return stretch * 20 * math.Log10(math.Erfinv(1-2*min(wrong/10, 0.4)))
}

// U6Modes is the table of the profile "u6", by MCS, for a serial line of so many
// baud.
func U6Modes(baud int) []modem.Mode {
	modes := make([]modem.Mode, len(u6Schemes))
	for i := range u6Schemes {
		s := &u6Schemes[i]
		m := modem.Mode{
			Profile: "u6", MCS: modem.MCS(i), BandwidthHz: float64(baud),
			SNRdB: math.Round(10*u6SNR(s.ber)) / 10, FrameOctets: s.u6FrameOctets(),
		}
		code := fmt.Sprintf("LDPC %d/%d", s.num, s.den)
		if s.num == s.den {
			code = "no code but the link's"
		}
		m.Description = fmt.Sprintf("U6 on a UART, %g Mbaud, %s", float64(baud)/1e6, code)
		const control = 22
		for n := 1; n <= modem.MaxFrames; n++ {
			p, err := u6Form.layOut(m.MCS, n, m.FrameOctets, control)
			if err != nil {
				break
			}
			micros := float64(p.total()) * 1e7 / float64(baud)
			if micros > longestMicros && n > 1 { // a slow line's single frame may be longer: the link sends shorter ones
				break
			}
			m.NetBPS = max(m.NetBPS, float64(8*n*m.FrameOctets)/micros*1e6)
		}
		modes[i] = m
	}
	return modes
}

// U6Length is the exact number of characters of a burst, 0 for one that cannot be
// sent. Only the lengths in b matter.
func U6Length(b *modem.Burst) int {
	p, err := u6Form.planOf(b)
	if err != nil {
		return 0
	}
	return p.total()
}

// U6Encoder turns bursts into characters. Its zero value is ready; one caller uses
// it at a time; after the first bursts it allocates nothing.
type U6Encoder struct{ enc Encoder }

// AppendBurst appends the characters of a burst to dst. Errors wrap modem.ErrBurst
// and leave dst as it was.
func (e *U6Encoder) AppendBurst(dst []byte, b *modem.Burst) ([]byte, error) {
	p, h, err := e.enc.begin(u6Form, b)
	if err != nil {
		return dst, err
	}
	for i := range p.segments {
		e.enc.segment(b, &p, &h, i)
		for range u6Lead {
			dst = append(dst, U6Idle)
		}
		dst = appendU6(append(dst, u6SyncWord[:]...), e.enc.content)
	}
	return dst, nil
}

// appendU6 whitens content and appends its characters with their marks.
func appendU6(dst, content []byte) []byte {
	acc, have, n := uint32(0), 0, 0
	put := func(v uint32) {
		if n > 0 && n%u6Group == 0 {
			dst = append(dst, u6Mark)
		}
		dst = append(dst, u6Octets[v&0x3F])
		n++
	}
	for i, v := range content {
		acc = acc<<8 | uint32(v^whitening[i])
		for have += 8; have >= u6Bits; {
			have -= u6Bits
			put(acc >> have)
		}
	}
	if have > 0 {
		put(acc << (u6Bits - have))
	}
	return dst
}
