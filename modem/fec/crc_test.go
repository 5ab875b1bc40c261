package fec

import (
	"math/rand/v2"
	"testing"
)

// remainder is the definition: long division of the message times D^width.
func remainder(message []byte, width int, poly uint64) uint32 {
	work := append(append([]byte(nil), message...), make([]byte, width)...)
	for i := range message {
		if work[i] == 0 {
			continue
		}
		for j := range width + 1 {
			work[i+j] ^= byte((poly | 1<<width) >> (width - j) & 1)
		}
	}
	var r uint32
	for _, b := range work[len(message):] {
		r = r<<1 | uint32(b)
	}
	return r
}

func unpack(p []byte) []byte {
	var bits []byte
	for _, b := range p {
		for i := 7; i >= 0; i-- {
			bits = append(bits, b>>i&1)
		}
	}
	return bits
}

func TestCRCIsTheRemainder(t *testing.T) {
	for name, c := range map[string]struct {
		crc  *CRC
		poly uint64
	}{
		"24A":      {CRC24A, 1<<23 | 1<<18 | 1<<17 | 1<<14 | 1<<11 | 1<<10 | 1<<7 | 1<<6 | 1<<5 | 1<<4 | 1<<3 | 1<<1 | 1},
		"24B":      {CRC24B, 1<<23 | 1<<6 | 1<<5 | 1<<1 | 1},
		"24C":      {CRC24C, 1<<23 | 1<<21 | 1<<20 | 1<<17 | 1<<15 | 1<<13 | 1<<12 | 1<<8 | 1<<4 | 1<<2 | 1<<1 | 1},
		"16":       {CRC16, 1<<12 | 1<<5 | 1},
		"11":       {CRC11, 1<<10 | 1<<9 | 1<<5 | 1},
		"6":        {CRC6, 1<<5 | 1},
		"parity":   {NewCRC(1, 1), 1},
		"32 plain": {NewCRC(32, 0x04C11DB7), 0x04C11DB7},
	} {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(3, c.poly))
			for octets := range 40 {
				p := make([]byte, octets)
				for i := range p {
					p[i] = byte(rng.Uint32())
				}
				bits := unpack(p)
				want := remainder(bits, c.crc.Width(), c.poly)
				if got := c.crc.Octets(0, p); got != want {
					t.Fatalf("Octets(% x) = %#x, want %#x", p, got, want)
				}
				if got := c.crc.Bits(0, bits); got != want {
					t.Fatalf("Bits(% x) = %#x, want %#x", p, got, want)
				}
				ones := ^uint32(0)
				if got := c.crc.Bits(ones, c.crc.AppendBits(bits, c.crc.Octets(ones, p))); got != 0 {
					t.Fatalf("Bits over message and check = %#x, want 0", got)
				}
			}
		})
	}
}

// The check values of "123456789" that catalogues of CRCs list.
func TestCRCOfTheCheckString(t *testing.T) {
	message := []byte("123456789")
	for _, c := range []struct {
		name      string
		got, want uint32
	}{
		{"CRC-24/LTE-A", CRC24A.Octets(0, message), 0xCDE703},
		{"CRC-24/LTE-B", CRC24B.Octets(0, message), 0x23EF52},
		{"CRC-16/XMODEM", CRC16.Octets(0, message), 0x31C3},
		{"CRC-16/IBM-3740", CRC16.Octets(0xFFFF, message), 0x29B1},
		{"CRC-32/ISO-HDLC", CRC32(message), 0xCBF43926},
		{"CRC-32/MPEG-2", NewCRC(32, 0x04C11DB7).Octets(0xFFFFFFFF, message), 0x0376E6E7},
	} {
		if c.got != c.want {
			t.Errorf("%s = %#x, want %#x", c.name, c.got, c.want)
		}
	}
}

func TestCRCThatDoesNotExist(t *testing.T) {
	for _, c := range []struct {
		width int
		poly  uint32
	}{{0, 0}, {33, 1}, {6, 0x40}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("NewCRC(%d, %#x) did not panic", c.width, c.poly)
				}
			}()
			NewCRC(c.width, c.poly)
		}()
	}
}
