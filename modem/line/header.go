package line

import (
	"lightsong/modem"
	"lightsong/modem/fec"
)

// header begins every segment and describes the whole burst.
type header struct {
	mcs     modem.MCS
	frames  int
	octets  int   // of a frame, 0 without frames
	control int   // octets
	segment int   // copySegment for a copy
	tag     uint8 // 6 bits, counts the sender's bursts
}

const (
	headBits    = 48
	headVersion = 1
	tags        = 64
	listSize    = 8
)

// fields of the header: values and widths in bits, most significant bit first.
func (h *header) fields() [7][2]uint32 {
	return [...][2]uint32{
		{headVersion, 4},
		{uint32(h.mcs), 4},
		{uint32(h.frames), 8},
		{uint32(h.octets), 12},
		{uint32(h.control), 6},
		{uint32(h.segment), 8},
		{uint32(h.tag), 6},
	}
}

func (h *header) appendBits(dst []byte) []byte {
	for _, f := range h.fields() {
		for i := int(f[1]) - 1; i >= 0; i-- {
			dst = append(dst, byte(f[0]>>i)&1)
		}
	}
	return dst
}

// parse reads the bits. It returns false, and no plan, for what no sender
// sends.
func (h *header) parse(f *form, bits []byte) (plan, bool) {
	at := 0
	take := func(n int) int {
		v := 0
		for range n {
			v = v<<1 | int(bits[at]&1)
			at++
		}
		return v
	}
	version := take(4)
	h.mcs = modem.MCS(take(4))
	h.frames, h.octets, h.control = take(8), take(12), take(6)
	h.segment, h.tag = take(8), uint8(take(6))
	if version != headVersion || (h.frames == 0) != (h.octets == 0) {
		return plan{}, false
	}
	p, err := f.layOut(h.mcs, h.frames, h.octets, h.control)
	if err == nil && h.segment == p.segments {
		if _, ok := p.copy(); ok {
			h.segment = copySegment
		}
	}
	return p, err == nil && h.segment < p.segments
}

func newHeadCode() *fec.Polar {
	c, err := fec.NewPolar(headBits, 8*headOctets, fec.CRC24C, listSize)
	if err != nil {
		panic(err) // the program's own constants
	}
	return c
}

// whiteOctets are more than any segment holds.
const whiteOctets = 8192

// whitening keeps the content free of patterns: of runs of octets that the
// serial line must escape, and of copies of the marker at other places.
var whitening = func() (w [whiteOctets]byte) {
	fec.Scramble(w[:], 0x4B65)
	return w
}()

// ldpc is a code that is made anew only when its lengths change.
type ldpc struct {
	fec.LDPC
	k, e int
	soft []modem.LLR
}

// set makes c the code for k octets in e octets.
func (c *ldpc) set(k, e int) error {
	if c.k == k && c.e == e {
		return nil
	}
	c.k, c.e = 0, 0
	if err := c.Reset(fec.SelectGraph(8*k, 8*e), 8*k, 8*e, 1); err != nil {
		return err
	}
	c.k, c.e = k, e
	return nil
}

func appendBits(dst, octets []byte) []byte {
	for _, v := range octets {
		for i := 7; i >= 0; i-- {
			dst = append(dst, v>>i&1)
		}
	}
	return dst
}

func appendOctets(dst, bits []byte) []byte {
	for i := 0; i+8 <= len(bits); i += 8 {
		v := byte(0)
		for _, b := range bits[i : i+8] {
			v = v<<1 | b
		}
		dst = append(dst, v)
	}
	return dst
}
