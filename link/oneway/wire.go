package oneway

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/klauspost/reedsolomon"
)

// Limits of the format.
const (
	MaxSize       = math.MaxUint32 // octets in a file
	MaxName       = 255            // octets in its name
	MaxRedundancy = 4.0            // parity frames per data frame

	burstFrames = 255     // of a burst: what every burst header can announce
	maxFrames   = 1 << 24 // data and parity frames of a transfer: their numbers have 24 bits
	maxShards   = 255     // data and parity frames of a block
	minFull     = 128     // … of a block that is not the only one; see layout.check
	frameHeader = 5       // octets before a frame's payload: tag, number

	controlOctets = 14
	magic         = 0xf1 // F for file, 1 for the version
)

// ErrTooLarge is wrapped by the error for a file that the format, at the frame
// length of the mode, cannot carry.
var ErrTooLarge = errors.New("file too large")

// layout is how a record is cut: all that the control block says. It is
// comparable: equal layouts are the same transfer.
type layout struct {
	id     uint32 // of the transfer: see layout.identity
	size   int64  // octets of the file
	name   int    // octets of its name
	stride int    // payload octets of a frame
	k, m   int    // data frames of a block (of the largest ones), parity frames of every block
}

// record is the length in octets of file, SHA-256 and name.
func (l *layout) record() int64 { return l.size + sha256.Size + int64(l.name) }

// data is the number of data frames.
func (l *layout) data() int { return int((l.record() + int64(l.stride) - 1) / int64(l.stride)) }

// blocks is the number of Reed-Solomon blocks.
func (l *layout) blocks() int { return (l.data() + l.k - 1) / l.k }

// frames is the number of data and parity frames.
func (l *layout) frames() int { return l.data() + l.m*l.blocks() }

// dataOf is the number of data frames of a block. Frame number i is shard
// i / blocks of block i mod blocks, so the first blocks may have one data frame
// more than the last; the parity frames follow without a seam.
func (l *layout) dataOf(block int) int {
	b := l.blocks()
	return (l.data() - block + b - 1) / b
}

// check tells whether a Sender could have made the layout. Its bounds are also
// what bounds a Receiver's memory against made-up control blocks: with more than
// one block a Sender fills each at least half, so there are at most
// maxFrames/minFull of them.
func (l *layout) check() bool {
	switch {
	case l.size > MaxSize, l.stride < 1, l.k < 1, l.k+l.m > maxShards:
		return false
	case l.record() > int64(l.stride)*maxFrames:
		return false
	case l.data() > l.k && l.k+l.m < minFull:
		return false
	}
	return l.frames() <= maxFrames
}

// identity is the transfer's id: the leading octets of a SHA-256 over the layout
// (its id as zero), the file's SHA-256 and its name. The same file sent again in
// the same mode has the same id, and its frames may be mixed.
func (l *layout) identity(sum [sha256.Size]byte, name string) uint32 {
	bare := *l
	bare.id = 0
	text := append(bare.control(), sum[:]...)
	digest := sha256.Sum256(append(text, name...))
	return binary.BigEndian.Uint32(digest[:])
}

// tag marks the frames of a transfer.
func (l *layout) tag() uint16 { return uint16(l.id >> 16) }

// control is the control block of every burst of the transfer.
func (l *layout) control() []byte {
	c := append(make([]byte, 0, controlOctets), magic)
	c = binary.BigEndian.AppendUint32(c, l.id)
	c = binary.BigEndian.AppendUint32(c, uint32(l.size))
	c = append(c, byte(l.name))
	c = binary.BigEndian.AppendUint16(c, uint16(l.stride))
	return append(c, byte(l.k), byte(l.m))
}

// parseControl reads a control block of any origin; ok is false for what does
// not describe a transfer.
func parseControl(c []byte) (l layout, ok bool) {
	if len(c) != controlOctets || c[0] != magic {
		return layout{}, false
	}
	l = layout{
		id:     binary.BigEndian.Uint32(c[1:]),
		size:   int64(binary.BigEndian.Uint32(c[5:])),
		name:   int(c[9]),
		stride: int(binary.BigEndian.Uint16(c[10:])),
		k:      int(c[12]),
		m:      int(c[13]),
	}
	return l, l.check()
}

// appendFrameHeader appends what stands before the payload of frame number i.
func (l *layout) appendFrameHeader(dst []byte, i int) []byte {
	return append(binary.BigEndian.AppendUint16(dst, l.tag()), byte(i>>16), byte(i>>8), byte(i))
}

// parseFrameHeader reads a frame of at least frameHeader octets.
func parseFrameHeader(f []byte) (tag uint16, i int) {
	return binary.BigEndian.Uint16(f), int(f[2])<<16 | int(f[3])<<8 | int(f[4])
}

// codes are Reed-Solomon codes by their number of data and parity frames. A
// transfer needs two at most: its blocks differ by one data frame.
type codes map[[2]int]reedsolomon.Encoder

const maxCodes = 2 * maxTransfers

// of returns the code for k data and m parity frames. Shard j holds, octet by
// octet, the value at j of the polynomial of degree < k over GF(2^8), modulus
// x^8+x^4+x^3+x^2+1, whose values at 0…k-1 are the data.
func (c codes) of(k, m int) (reedsolomon.Encoder, error) {
	if code, ok := c[[2]int{k, m}]; ok {
		return code, nil
	}
	// The inversion cache would grow with every new pattern of erasures.
	code, err := reedsolomon.New(k, m, reedsolomon.WithMaxGoroutines(1), reedsolomon.WithInversionCache(false))
	if err != nil {
		return nil, fmt.Errorf("reed-solomon code of %d+%d frames: %w", k, m, err)
	}
	if len(c) == maxCodes {
		clear(c)
	}
	c[[2]int{k, m}] = code
	return code, nil
}

// fallbackName is what a file is called whose name says nothing usable.
const fallbackName = "received"

// SafeName makes of any octets a name that is safe for a file in one's own
// folder and on a terminal: the part after the last slash or backslash, valid
// UTF-8, without control, format and private characters, no leading dot, dash
// or space, no trailing space, at most MaxName octets, never empty.
func SafeName(name string) string {
	name = name[strings.LastIndexAny(name, `/\`)+1:]
	name = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, name)
	for len(name) > MaxName {
		_, n := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-n]
	}
	name = strings.TrimRight(strings.TrimLeft(name, ".- "), " ")
	if name == "" {
		return fallbackName
	}
	return name
}
