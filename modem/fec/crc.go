package fec

import (
	"fmt"
	"hash/crc32"
)

// CRC is a cyclic redundancy check of 1 to 32 bits, most significant bit
// first, neither reflected nor inverted: the remainder of the message times
// D^width by the generator, as TS 38.212 §5.1 defines it. A CRC never changes
// after NewCRC.
type CRC struct {
	width int
	poly  uint32      // without its D^width term, left-aligned in 32 bits
	table [256]uint32 // remainders of the octets, left-aligned
}

// The generators of 5G NR (TS 38.212 §5.1).
var (
	CRC24A = NewCRC(24, 0x864CFB) // transport blocks
	CRC24B = NewCRC(24, 0x800063) // code blocks of a segmented transport block
	CRC24C = NewCRC(24, 0xB2B117) // control and broadcast channels (polar)
	CRC16  = NewCRC(16, 0x1021)   // short transport blocks
	CRC11  = NewCRC(11, 0x621)    // uplink control from 20 bits on (polar)
	CRC6   = NewCRC(6, 0x21)      // uplink control of 12 to 19 bits (polar)
)

// NewCRC makes a check of width bits from its generator polynomial, bit i of
// poly being the coefficient of D^i and the term D^width left out. A width
// outside 1…32 or a polynomial that is wider is a programming error and panics.
func NewCRC(width int, poly uint32) *CRC {
	if width < 1 || width > 32 || uint64(poly)>>width != 0 {
		panic(fmt.Sprintf("fec: CRC of %d bits with generator %#x", width, poly))
	}
	c := &CRC{width: width, poly: poly << (32 - width)}
	for i := range c.table {
		c.table[i] = c.shift(uint32(i)<<24, 8)
	}
	return c
}

func (c *CRC) shift(reg uint32, bits int) uint32 {
	for range bits {
		top := reg >> 31
		reg <<= 1
		reg ^= c.poly & -top
	}
	return reg
}

// Width is the number of check bits.
func (c *CRC) Width() int { return c.width }

// Octets is the check of p, the first octet's most significant bit first. The
// register starts at init: 0 in 5G NR, all ones where messages that begin with
// zeros must not all look alike.
func (c *CRC) Octets(init uint32, p []byte) uint32 {
	reg := init << (32 - c.width)
	for _, b := range p {
		reg = reg<<8 ^ c.table[byte(reg>>24)^b]
	}
	return reg >> (32 - c.width)
}

// Bits is the check of a message of any number of bits, one per element, 0 or
// 1 (higher bits are ignored). The register starts at init.
func (c *CRC) Bits(init uint32, message []byte) uint32 {
	reg := init << (32 - c.width)
	for _, b := range message {
		reg = c.shift(reg^uint32(b&1)<<31, 1)
	}
	return reg >> (32 - c.width)
}

// AppendBits appends the width bits of a check value to a message of bits, most
// significant first. Over the result, Bits with the same init gives 0.
func (c *CRC) AppendBits(message []byte, check uint32) []byte {
	for i := c.width - 1; i >= 0; i-- {
		message = append(message, byte(check>>i)&1)
	}
	return message
}

// CRC32 is the check of frames and control blocks: the reflected, inverted
// CRC-32 of IEEE 802.3.
func CRC32(p []byte) uint32 { return crc32.ChecksumIEEE(p) }
