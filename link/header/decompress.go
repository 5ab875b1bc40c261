package header

import (
	"encoding/binary"
	"errors"
)

// The ways in which a packet cannot be decompressed, to be found with errors.Is.
// After ErrContext the other side has to send full headers: Compressor.Invalidate.
var (
	ErrContext   = errors.New("no context for a compressed packet")
	ErrMalformed = errors.New("malformed compressed packet")
)

// Decompressor restores the packets from one Compressor. What it is given may be
// anything: it neither panics nor keeps more than Contexts headers.
type Decompressor struct {
	unheard  bool
	contexts [Contexts]*rxContext
}

// rxContext is the header of the packet of a flow that came last.
type rxContext struct {
	valid bool
	last  fields
}

// NewDecompressor makes the other side of NewCompressor(acknowledged).
func NewDecompressor(acknowledged bool) *Decompressor { return &Decompressor{unheard: !acknowledged} }

// Decompress appends the packet for which Compress appended wire to dst. On an
// error dst is returned as it was. The errors are ErrContext and ErrMalformed.
func (d *Decompressor) Decompress(dst, wire []byte) ([]byte, error) {
	switch {
	case len(wire) == 0:
		return dst, ErrMalformed
	case wire[0]>>4 == 4 || wire[0]>>4 == 6:
		return append(dst, wire...), nil
	case wire[0] < markFull+Contexts:
		return d.full(dst, int(wire[0]-markFull), wire[1:])
	case wire[0] >= markCompressed:
		return d.compressed(dst, wire)
	}
	return dst, ErrMalformed
}

// full takes a packet that sets a context up.
func (d *Decompressor) full(dst []byte, id int, pkt []byte) ([]byte, error) {
	x := d.contexts[id]
	if x == nil {
		x = &rxContext{}
		d.contexts[id] = x
	}
	_, x.valid = x.last.parse(pkt)
	if !x.valid {
		return dst, ErrMalformed
	}
	return append(dst, pkt...), nil
}

func (d *Decompressor) compressed(dst, wire []byte) ([]byte, error) {
	x := d.contexts[wire[0]&^markCompressed>>contextShift]
	if x == nil || !x.valid {
		return dst, ErrContext
	}
	format := int(wire[0] & formatMask)
	guard := 1
	if d.unheard {
		guard = 4
	}
	if len(wire) < 1+guard {
		return dst, ErrMalformed
	}
	check := wire[1 : 1+guard]
	r := reader{p: wire[1+guard:]}
	f := x.last
	if f.proto == protoTCP {
		f.readTCP(&r, format)
	} else {
		f.readEcho(&r, format)
	}
	if r.failed {
		x.valid = false
		return dst, ErrMalformed
	}
	start := len(dst)
	dst = f.appendTo(dst, r.p)
	head := dst[start:]
	var ok bool
	if d.unheard {
		at := f.checksumAt()
		ok = binary.BigEndian.Uint16(check) == crc16(head) && check[2] == head[at] && check[3] == head[at+1]
	} else {
		ok = check[0] == crc8(head)
	}
	if !ok {
		x.valid = false
		return dst[:start], ErrContext
	}
	f.setNext(len(r.p))
	x.last = f
	return append(dst, r.p...), nil
}

// Reset forgets all flows.
func (d *Decompressor) Reset() { d.contexts = [Contexts]*rxContext{} }

// reader takes fields off the begin of p. Behind its end it reads zeros.
type reader struct {
	p      []byte
	failed bool
}

func (r *reader) octets(n int) (v uint32) {
	if len(r.p) < n {
		r.failed, r.p = true, nil
		return 0
	}
	for _, b := range r.p[:n] {
		v = v<<8 | uint32(b)
	}
	r.p = r.p[n:]
	return v
}

func (r *reader) varint() uint32 {
	v, n := binary.Uvarint(r.p)
	if n <= 0 || v > 1<<32-1 {
		r.failed, r.p = true, nil
		return 0
	}
	r.p = r.p[n:]
	return uint32(v)
}

// readEcho reads the fields of UDP and ICMP.
func (f *fields) readEcho(r *reader, format int) {
	echo := f.proto != protoUDP
	if format == formMasked {
		mask := byte(r.octets(1))
		f.readNet(r, mask)
		switch {
		case echo && mask&maskEcho != 0:
			f.echo = uint16(r.octets(2))
		case echo:
			f.echo++
		}
		if mask&maskID == maskID || mask&(maskOptions|maskUrgent) != 0 || !echo && mask&maskEcho != 0 {
			r.failed = true
		}
		return
	}
	switch {
	case f.version == 6:
	case format == formPredicted:
		f.id = f.nextID()
	case format == formShort:
		f.readID(r, idShort)
	default:
		f.readID(r, idLong)
	}
	switch {
	case !echo:
	case format == formPredicted:
		f.echo++
	default:
		f.echo = uint16(resolve(uint32(f.echo), r.octets(1), 8))
	}
}

func (f *fields) readID(r *reader, id byte) {
	switch id {
	case 0:
		f.id = f.nextID()
	case idShort:
		f.id = uint16(resolve(uint32(f.id), r.octets(1), 8))
	case idLong:
		f.id = uint16(r.octets(2))
	}
}

// readNet reads the fields of the IP header.
func (f *fields) readNet(r *reader, mask byte) {
	if f.version == 4 {
		f.readID(r, mask&maskID)
	}
	if mask&maskTOS != 0 {
		f.tos = uint8(r.octets(1))
	}
	if mask&maskTTL != 0 {
		f.ttl = uint8(r.octets(1))
	}
	if mask&maskNet != 0 {
		if f.version == 4 {
			f.frag = uint16(r.octets(1)) << 8 & 0xc000
		} else {
			f.label = r.octets(3) & 0xfffff
		}
	}
}

// readTCP reads the fields of TCP.
func (f *fields) readTCP(r *reader, format int) {
	next := f.next
	f.flags = flagACK
	if format&formatPush != 0 {
		f.flags |= flagPSH
	}
	if format&formatExtended == 0 {
		f.seq = next
		if f.version == 4 {
			f.id = f.nextID()
		}
		if f.blocks() > 0 {
			r.failed = true
			return
		}
		f.readBits(r)
		return
	}
	mask, more := byte(r.octets(1)), byte(0)
	if mask&extMore != 0 {
		more = byte(r.octets(1))
	}
	switch mask >> extSeqShift & 3 {
	case 0:
		f.seq = next
	case 1:
		f.seq = resolve(f.seq, r.octets(2), 16)
	case 2:
		f.seq = r.octets(4)
	default:
		r.failed = true
	}
	switch mask >> extAckShift & 3 {
	case 0:
	case 1:
		f.ack = resolve(f.ack, r.octets(2), 16)
	case 2:
		f.ack = r.octets(4)
	default:
		r.failed = true
	}
	if more&maskOptions != 0 {
		f.readLayout(r)
	}
	switch ts := mask >> extTSShift & 3; {
	case !f.timestamps():
		f.tsVal, f.tsEcr = 0, 0
		r.failed = r.failed || ts != 0
	case ts == 0:
	case ts == 1:
		f.tsVal = resolve(f.tsVal, r.octets(2), 16)
		f.tsEcr = resolve(f.tsEcr, r.octets(2), 16)
	case ts == 2:
		f.tsVal, f.tsEcr = r.octets(4), r.octets(4)
	default:
		r.failed = true
	}
	if mask&extWindow != 0 {
		f.window = uint16(r.octets(2))
	}
	if more&maskFlags != 0 {
		f.flags = uint16(r.octets(2)) & 0xfff
	}
	if more&maskUrgent != 0 {
		f.urgent = uint16(r.octets(2))
	}
	f.readNet(r, more)
	f.sack = [maxSACK][2]uint32{}
	for i := range f.blocks() {
		zigzag := r.varint()
		left := f.ack + (zigzag>>1 ^ -(zigzag & 1))
		f.sack[i] = [2]uint32{left, left + r.varint()}
	}
}

// readLayout reads which options there are.
func (f *fields) readLayout(r *reader) {
	f.layout = uint8(r.octets(1))
	f.options, f.optionsLen = [maxOptions]byte{}, 0
	if !validLayout(f.layout) {
		r.failed, f.layout = true, 0
		return
	}
	if f.layout != layoutRaw {
		return
	}
	n := int(r.octets(1))
	if n > maxOptions || n%4 != 0 || n > len(r.p) {
		r.failed = true
		return
	}
	f.optionsLen = uint8(copy(f.options[:], r.p[:n]))
	r.p = r.p[n:]
}

// readBits reads what appendBits wrote.
func (f *fields) readBits(r *reader) {
	b := bitReader{p: r.p}
	if f.timestamps() {
		switch b.prefix() {
		case 0:
			f.tsVal = resolve(f.tsVal, b.take(12), 12)
			f.tsEcr = resolve(f.tsEcr, b.take(12), 12)
		case 1:
			f.tsVal = resolve(f.tsVal, b.take(12), 12)
		case 3:
			f.tsVal = resolve(f.tsVal, b.take(16), 16)
			f.tsEcr = resolve(f.tsEcr, b.take(16), 16)
		}
	}
	switch b.prefix() {
	case 0:
		f.ack = resolve(f.ack, b.take(6), 6)
	case 2:
		f.ack = resolve(f.ack, b.take(14), 14)
	case 3:
		f.ack = resolve(f.ack, b.take(18), 18)
	}
	r.octets((b.n + 7) / 8)
}

// bitReader takes bits off p; behind its end it reads zeros.
type bitReader struct {
	p []byte
	n int // bits taken
}

// prefix reads 0, 10, 110 or 111 as the numbers 0 to 3.
func (b *bitReader) prefix() (n int) {
	for n < 3 && b.take(1) == 1 {
		n++
	}
	return n
}

func (b *bitReader) take(k int) (v uint32) {
	for range k {
		v <<= 1
		if i := b.n / 8; i < len(b.p) {
			v |= uint32(b.p[i]>>(7-b.n%8)) & 1
		}
		b.n++
	}
	return v
}

// SetsContext tells whether what was sent for a packet has its whole header and
// sets a context up.
func SetsContext(wire []byte) bool { return len(wire) > 0 && wire[0] < markFull+Contexts }

// MaxSaving is the most octets that a packet is longer than what was sent for it.
const MaxSaving = maxHeader
