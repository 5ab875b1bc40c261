package header

import (
	"encoding/binary"
	"math/bits"
)

// Protocol numbers of IANA.
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
)

const (
	headV4 = 20 // octets
	headV6 = 40

	headTCP  = 20
	headUDP  = 8
	headEcho = 8

	maxOptions = 40 // octets of TCP options
	maxHeader  = headV6 + headTCP + maxOptions
)

// Flags of TCP.
const (
	flagFIN = 0x01
	flagSYN = 0x02
	flagPSH = 0x08
	flagACK = 0x10
)

// Layouts of TCP options: those that Linux and the BSDs send in an established
// connection are a combination of these. Any other is carried as it is.
const (
	layoutTimestamps = 1    // NOP NOP timestamps (RFC 7323)
	layoutSACK       = 2    // times the number of blocks: NOP NOP SACK (RFC 2018)
	layoutRaw        = 0xff // neither

	maxSACK = 4
)

// flow is what all packets of a context have in common.
type flow struct {
	version  uint8
	proto    uint8
	noSum    bool    // UDP over IPv4 without a checksum
	ports    [4]byte // of ICMP: type, code, identifier
	src, dst [16]byte
}

// fields are a header's contents but for what follows from the packet's length
// and from the other fields.
type fields struct {
	flow

	tos   uint8  // traffic class
	ttl   uint8  // hop limit
	label uint32 // of IPv6, 20 bits
	frag  uint16 // of IPv4: flags; fragments are not compressed
	id    uint16 // of IPv4

	// TCP.
	seq, ack       uint32
	next           uint32 // the sequence number behind this segment
	flags          uint16 // 12 bits: four reserved ones and the flags
	window, urgent uint16
	layout         uint8
	options        [maxOptions]byte // of layoutRaw
	optionsLen     uint8
	tsVal, tsEcr   uint32 // 0 without timestamps
	sack           [maxSACK][2]uint32

	// ICMP echo.
	echo uint16 // sequence number
}

// parse reads the header of a packet that can be compressed; n is its length in
// octets, the transport header included. It does not check what appendTo computes.
func (f *fields) parse(p []byte) (n int, ok bool) {
	if len(p) < headV4 {
		return 0, false
	}
	*f = fields{}
	f.version = p[0] >> 4
	switch f.version {
	case 4:
		if p[0] != 0x45 || int(binary.BigEndian.Uint16(p[2:])) != len(p) {
			return 0, false
		}
		f.tos, f.id, f.frag = p[1], binary.BigEndian.Uint16(p[4:]), binary.BigEndian.Uint16(p[6:])
		if f.frag&0x3fff != 0 {
			return 0, false
		}
		f.ttl, f.proto = p[8], p[9]
		copy(f.src[:], p[12:16])
		copy(f.dst[:], p[16:20])
		n = headV4
	case 6:
		if len(p) < headV6 || headV6+int(binary.BigEndian.Uint16(p[4:])) != len(p) {
			return 0, false
		}
		first := binary.BigEndian.Uint32(p)
		f.tos, f.label = uint8(first>>20), first&0xfffff
		f.proto, f.ttl = p[6], p[7]
		copy(f.src[:], p[8:24])
		copy(f.dst[:], p[24:40])
		n = headV6
	default:
		return 0, false
	}
	t := p[n:]
	switch {
	case f.proto == protoTCP && len(t) >= headTCP:
		head := int(t[12]>>4) * 4
		if head < headTCP || head > len(t) {
			return 0, false
		}
		copy(f.ports[:], t)
		f.seq, f.ack = binary.BigEndian.Uint32(t[4:]), binary.BigEndian.Uint32(t[8:])
		f.flags = binary.BigEndian.Uint16(t[12:]) & 0xfff
		f.window, f.urgent = binary.BigEndian.Uint16(t[14:]), binary.BigEndian.Uint16(t[18:])
		f.parseOptions(t[headTCP:head])
		f.setNext(len(t) - head)
		return n + head, true
	case f.proto == protoUDP && len(t) >= headUDP:
		copy(f.ports[:], t)
		f.noSum = f.version == 4 && t[6] == 0 && t[7] == 0
		return n + headUDP, true
	case len(t) >= headEcho && (f.version == 4 && f.proto == protoICMP && (t[0] == 0 || t[0] == 8) ||
		f.version == 6 && f.proto == protoICMPv6 && (t[0] == 128 || t[0] == 129)):
		f.ports = [4]byte{t[0], t[1], t[4], t[5]}
		f.echo = binary.BigEndian.Uint16(t[6:])
		return n + headEcho, true
	}
	return 0, false
}

// setNext computes next for a segment with a payload of n octets.
func (f *fields) setNext(n int) {
	f.next = f.seq + uint32(n)
	if f.flags&flagSYN != 0 {
		f.next++
	}
	if f.flags&flagFIN != 0 {
		f.next++
	}
}

func (f *fields) parseOptions(o []byte) {
	raw := o
	if len(o) >= 12 && o[0] == 1 && o[1] == 1 && o[2] == 8 && o[3] == 10 {
		f.layout |= layoutTimestamps
		f.tsVal, f.tsEcr = binary.BigEndian.Uint32(o[4:]), binary.BigEndian.Uint32(o[8:])
		o = o[12:]
	}
	if n := (len(o) - 4) / 8; n >= 1 && n <= maxSACK && len(o) == 4+8*n && o[0] == 1 && o[1] == 1 && o[2] == 5 && int(o[3]) == 2+8*n {
		f.layout |= uint8(n * layoutSACK)
		for i := range n {
			f.sack[i] = [2]uint32{binary.BigEndian.Uint32(o[4+8*i:]), binary.BigEndian.Uint32(o[8+8*i:])}
		}
		o = nil
	}
	if len(o) > 0 {
		f.layout, f.tsVal, f.tsEcr = layoutRaw, 0, 0
		f.optionsLen = uint8(copy(f.options[:], raw))
	}
}

func (f *fields) blocks() int {
	if f.layout == layoutRaw {
		return 0
	}
	return int(f.layout / layoutSACK)
}

func (f *fields) timestamps() bool { return f.layout != layoutRaw && f.layout&layoutTimestamps != 0 }

// validLayout tells whether the options of a layout, which came from the medium,
// fit a TCP header.
func validLayout(layout uint8) bool {
	return layout == layoutRaw || layout <= maxSACK*layoutSACK || layout <= (maxSACK-1)*layoutSACK+layoutTimestamps
}

// appendTo appends the header of the packet that has this payload: lengths and
// checksums are computed.
func (f *fields) appendTo(dst, payload []byte) []byte {
	start := len(dst)
	if f.version == 4 {
		dst = append(dst, 0x45, f.tos, 0, 0, byte(f.id>>8), byte(f.id), byte(f.frag>>8), byte(f.frag), f.ttl, f.proto, 0, 0)
		dst = append(append(dst, f.src[:4]...), f.dst[:4]...)
	} else {
		dst = binary.BigEndian.AppendUint32(dst, 6<<28|uint32(f.tos)<<20|f.label)
		dst = append(append(append(dst, 0, 0, f.proto, f.ttl), f.src[:]...), f.dst[:]...)
	}
	transport := len(dst)
	var at int // of the checksum in the transport header
	switch f.proto {
	case protoTCP:
		dst = append(dst, f.ports[:]...)
		dst = binary.BigEndian.AppendUint32(dst, f.seq)
		dst = binary.BigEndian.AppendUint32(dst, f.ack)
		dst = append(dst, byte(f.flags>>8), byte(f.flags), byte(f.window>>8), byte(f.window), 0, 0, byte(f.urgent>>8), byte(f.urgent))
		dst = f.appendOptions(dst)
		dst[transport+12] |= byte((len(dst) - transport) / 4 << 4)
		at = 16
	case protoUDP:
		n := headUDP + len(payload)
		dst = append(append(dst, f.ports[:]...), byte(n>>8), byte(n), 0, 0)
		at = 6
	default:
		dst = append(dst, f.ports[0], f.ports[1], 0, 0, f.ports[2], f.ports[3], byte(f.echo>>8), byte(f.echo))
		at = 2
	}
	head, t := dst[start:], dst[transport:]
	if f.version == 4 {
		binary.BigEndian.PutUint16(head[2:], uint16(len(head)+len(payload)))
		binary.BigEndian.PutUint16(head[10:], ^fold(sum(0, head[:headV4])))
	} else {
		binary.BigEndian.PutUint16(head[4:], uint16(len(t)+len(payload)))
	}
	if f.noSum {
		return dst
	}
	var s uint64
	if f.proto != protoICMP { // RFC 9293 §3.1, RFC 8200 §8.1: pseudo-header
		s = uint64(f.proto) + uint64(len(t)+len(payload))
		s = sum(sum(s, f.src[:]), f.dst[:])
	}
	s = sum(s, t) // of even length
	c := ^fold(sum(s, payload))
	if c == 0 && f.proto == protoUDP {
		c = 0xffff // RFC 768
	}
	binary.BigEndian.PutUint16(t[at:], c)
	return dst
}

func (f *fields) appendOptions(dst []byte) []byte {
	if f.layout == layoutRaw {
		return append(dst, f.options[:f.optionsLen]...)
	}
	if f.timestamps() {
		dst = append(dst, 1, 1, 8, 10)
		dst = binary.BigEndian.AppendUint32(dst, f.tsVal)
		dst = binary.BigEndian.AppendUint32(dst, f.tsEcr)
	}
	if n := f.blocks(); n > 0 {
		dst = append(dst, 1, 1, 5, byte(2+8*n))
		for _, b := range f.sack[:n] {
			dst = binary.BigEndian.AppendUint32(dst, b[0])
			dst = binary.BigEndian.AppendUint32(dst, b[1])
		}
	}
	return dst
}

// checksumAt is the offset of the transport checksum in a header of this kind.
func (f *fields) checksumAt() int {
	at := headV4
	if f.version == 6 {
		at = headV6
	}
	switch f.proto {
	case protoTCP:
		return at + 16
	case protoUDP:
		return at + 6
	}
	return at + 2
}

// sum adds p to an unfolded Internet checksum (RFC 1071). Every part but the last
// has an even length.
func sum(s uint64, p []byte) uint64 {
	for len(p) >= 8 {
		v := binary.BigEndian.Uint64(p)
		var carry uint64
		s, carry = bits.Add64(s, v, 0)
		s += carry
		p = p[8:]
	}
	var tail [8]byte
	copy(tail[:], p)
	s, carry := bits.Add64(s, binary.BigEndian.Uint64(tail[:]), 0)
	return s + carry
}

func fold(s uint64) uint16 {
	s = s>>32 + s&0xffffffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	return uint16(s)
}

// crc8 is that of ROHC (RFC 3095 §5.9.2): x^8+x^2+x+1, all ones at the start.
func crc8(p []byte) uint8 {
	c := uint8(0xff)
	for _, b := range p {
		c = table8[c^b]
	}
	return c
}

// crc16 is that of ITU-T V.41: x^16+x^12+x^5+1, all ones at the start.
func crc16(p []byte) uint16 {
	c := uint16(0xffff)
	for _, b := range p {
		c = c<<8 ^ table16[byte(c>>8)^b]
	}
	return c
}

var table8, table16 = tables()

func tables() (t8 [256]uint8, t16 [256]uint16) {
	for i := range 256 {
		c, d := uint8(i), uint16(i)<<8
		for range 8 {
			c = c<<1 ^ -(c>>7)&0x07
			d = d<<1 ^ -(d>>15)&0x1021
		}
		t8[i], t16[i] = c, d
	}
	return t8, t16
}
