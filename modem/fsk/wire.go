package fsk

import (
	"encoding/binary"
	"math/bits"

	"lightsong/modem"
	"lightsong/modem/fec"
)

// The header, most significant bit first:
//
//	version 4 | MCS 8 | frames 8 | frame length 12 | control length 6 | zero 2 | CRC-16
//
// The version is 0. The CRC-16 is fec.CRC16 over the first five octets, its
// register starting at all ones.
const headerOctets = 7

// checkOctets is the length of the CRC-32 that ends a control block or a
// frame, least significant octet first.
const checkOctets = 4

// Scrambler seeds: every block of a burst has its own.
const (
	headerSeed  = 0x2B5C
	controlSeed = 0x19A7
	frameSeed   = 0x4001 // plus the frame's position
)

// strong is the code of the header and the control block.
var strong = fec.Scheme{Code: fec.ConvQuarter}

type header struct {
	mcs          modem.MCS
	frames       int
	frameOctets  int // 0 exactly when frames is 0
	controlOctet int
}

func (h header) append(dst []byte) []byte {
	v := uint64(h.mcs)<<28 | uint64(h.frames)<<20 | uint64(h.frameOctets)<<8 | uint64(h.controlOctet)<<2
	start := len(dst)
	for shift := 32; shift >= 0; shift -= 8 {
		dst = append(dst, byte(v>>shift))
	}
	return binary.BigEndian.AppendUint16(dst, uint16(fec.CRC16.Octets(0xFFFF, dst[start:])))
}

func parseHeader(p []byte) (header, bool) {
	if fec.CRC16.Octets(0xFFFF, p[:headerOctets-2]) != uint32(binary.BigEndian.Uint16(p[headerOctets-2:])) {
		return header{}, false
	}
	v := uint64(p[0])<<32 | uint64(binary.BigEndian.Uint32(p[1:]))
	h := header{
		mcs:          modem.MCS(v >> 28),
		frames:       int(v >> 20 & 0xFF),
		frameOctets:  int(v >> 8 & 0xFFF),
		controlOctet: int(v >> 2 & 0x3F),
	}
	return h, v>>36 == 0 && v&3 == 0 && (h.frames == 0) == (h.frameOctets == 0)
}

// block is one codeword of a burst: which code, how many octets before coding
// (their check included), and what they are scrambled with.
type block struct {
	scheme fec.Scheme
	octets int
	seed   uint16
}

// symbols is the length of a block on the medium with tones of w bits each.
func (b block) symbols(w int) int { return (b.scheme.CodedBits(8*b.octets) + w - 1) / w }

func headerBlock() block { return block{strong, headerOctets, headerSeed} }

func controlBlock(octets int) block { return block{strong, octets + checkOctets, controlSeed} }

func frameBlock(r CodeRate, octets, position int) block {
	return block{codings[r].scheme, octets + checkOctets, frameSeed + uint16(position)}
}

// encoder turns blocks into tones. Its memory is reused.
type encoder struct {
	octets, message, coded, placed []byte
}

// appendBlock appends the tones of a block to dst. content is without the
// CRC-32 when check is set.
func (e *encoder) appendBlock(dst []uint8, b block, content []byte, check bool, w int) []uint8 {
	e.octets = append(e.octets[:0], content...)
	if check {
		e.octets = binary.LittleEndian.AppendUint32(e.octets, fec.CRC32(content))
	}
	return e.appendTones(dst, b, w)
}

// appendTones appends the tones of the block whose plain octets, check
// included, are in e.octets. Those are scrambled in place.
func (e *encoder) appendTones(dst []uint8, b block, w int) []uint8 {
	fec.Scramble(e.octets, b.seed)
	e.message = appendBits(e.message[:0], e.octets)
	e.coded = b.scheme.AppendEncode(e.coded[:0], e.message)
	n := b.symbols(w) * w
	for len(e.coded) < n {
		e.coded = append(e.coded, 0)
	}
	if cap(e.placed) < n {
		e.placed = make([]byte, n)
	}
	e.placed = e.placed[:n]
	fec.NewInterleaver(n).Interleave(e.placed, e.coded)
	for i := 0; i < n; i += w {
		dst = append(dst, tone(e.placed[i:i+w]))
	}
	return dst
}

// decoder turns the soft decisions of a block into octets.
type decoder struct {
	viterbi fec.Viterbi
	coded   []modem.LLR
	message []byte
}

// appendBlock appends the octets of a block, check included, to dst.
func (d *decoder) appendBlock(dst []byte, b block, soft []modem.LLR) []byte {
	if cap(d.coded) < len(soft) {
		d.coded = make([]modem.LLR, len(soft))
	}
	d.coded = d.coded[:len(soft)]
	fec.NewInterleaver(len(soft)).Deinterleave(d.coded, soft)
	bits := 8 * b.octets
	d.message = d.viterbi.Decode(d.message[:0], b.scheme, d.coded[:b.scheme.CodedBits(bits)], bits)
	start := len(dst)
	for i := 0; i < bits; i += 8 {
		var v byte
		for _, bit := range d.message[i : i+8] {
			v = v<<1 | bit
		}
		dst = append(dst, v)
	}
	fec.Scramble(dst[start:], b.seed)
	return dst
}

// checked splits a control block or frame from its CRC-32.
func checked(p []byte) ([]byte, bool) {
	content, check := p[:len(p)-checkOctets], p[len(p)-checkOctets:]
	return content, fec.CRC32(content) == binary.LittleEndian.Uint32(check)
}

func appendBits(dst, octets []byte) []byte {
	for _, v := range octets {
		for i := 7; i >= 0; i-- {
			dst = append(dst, v>>i&1)
		}
	}
	return dst
}

// tone is the tone for the bits of one symbol, the first the most significant:
// Gray-coded, so that neighbouring tones differ in one bit.
func tone(symbol []byte) uint8 {
	var gray uint8
	for _, b := range symbol {
		gray = gray<<1 | b&1
	}
	v := gray
	v ^= v >> 1
	v ^= v >> 2
	return v
}

// label is the bits that a tone stands for, the inverse of tone.
func label(tone int) int { return tone ^ tone>>1 }

// width is the number of bits that a symbol of m tones carries.
func width(m int) int { return bits.Len(uint(m)) - 1 }
