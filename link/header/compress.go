package header

import "encoding/binary"

// Contexts is how many flows are compressed at a time between two stations.
const Contexts = 32

// The first octet of a compressed packet. 0x40 to 0x4f and 0x60 to 0x6f begin an
// IP packet that is sent as it is.
const (
	markFull       = 0x00 // and the context: the packet follows as it is, and sets the context up
	markCompressed = 0x80 // and the context, shifted, and the format
	contextShift   = 2
	formatMask     = 1<<contextShift - 1
)

// Formats of TCP. The others are the values of form.
const (
	formatPush     = 1 // PSH is set, where flags are not sent
	formatExtended = 2 // TCP: fields of whole octets behind a mask; otherwise bits
)

// Formats of UDP and ICMP echo.
const (
	formPredicted = iota // nothing
	formShort            // 8 bits of the identifier (IPv4), 8 of the echo's number
	formLong             // 16 of the identifier, 8 of the echo's number
	formMasked           // a mask
)

// The mask of UDP and ICMP; the second one of TCP.
const (
	maskID      = 0x03 // 0: as predicted, 1: 8 bits, 2: 16 bits
	maskTOS     = 0x04
	maskTTL     = 0x08
	maskNet     = 0x10 // flags of IPv4, flow label of IPv6
	maskFlags   = 0x20 // TCP
	maskOptions = 0x40 // TCP: layout
	maskUrgent  = 0x80 // TCP
	maskEcho    = 0x20 // ICMP: 16 bits

	idShort = 1
	idLong  = 2
)

// The first mask of TCP's extended format: two bits each for seq, ack and
// timestamps, then window and whether a second mask follows.
const (
	extSeqShift = 6 // 0: as predicted, 1: 16 bits, 2: 32 bits
	extAckShift = 4 // 0: unchanged, 1: 16 bits, 2: 32 bits
	extTSShift  = 2 // 0: both unchanged, 1: both 16 bits, 2: both 32 bits
	extWindow   = 2
	extMore     = 1
)

// stable are the fields that are left out while they do not change.
type stable int

const (
	stableTOS stable = iota
	stableTTL
	stableNet
	stableWindow
	stableUrgent
	stableOptions
	stables
)

// Ref names a packet that was compressed. The zero value names none.
type Ref struct {
	context uint8 // 1 + its number; 0: sent as it is
	number  uint64
}

// Number of the packet, counted from 1 in the order of Compress, whatever became of
// the packets.
func (r Ref) Number() uint64 { return r.number }

// Stats counts what a Compressor did.
type Stats struct {
	Packets    uint64 // all
	Compressed uint64
	Full       uint64 // that set a context up
	In         uint64 // octets of the packets
	Out        uint64 // that were sent for them
	Refused    uint64 // packets of flows for which there was no free context
}

// Compressor compresses the packets from one station to another, or to all. Its
// methods are called from one goroutine.
type Compressor struct {
	unheard  bool // nobody acknowledges
	contexts [Contexts]*txContext
	number   uint64
	floor    uint64 // packets up to here are of the time before the last Reset
	stats    Stats
	scratch  [maxHeader]byte
	fields   fields
	reach    [numbers]reach
}

// txContext is what a Compressor knows of a flow.
type txContext struct {
	hash    uint32
	last    fields // of the packet sent last
	begin   uint64 // the other side knows the flow when it has a packet from here on
	used    uint64 // number of the packet sent last
	acked   uint64 // newest packet that the other side has; 0: none
	count   uint64 // packets since begin
	changed [stables]uint64
	refs    refs
}

// NewCompressor makes a Compressor. acknowledged tells that Delivered will be
// called; without it the Compressor repeats itself.
func NewCompressor(acknowledged bool) *Compressor { return &Compressor{unheard: !acknowledged} }

const (
	unheardRepeats = 3 // packets in which a change is sent when nobody acknowledges
	unheardRefresh = 8 // packets from one full header to the next
)

// Compress appends what is to be sent for an IP packet (one that begins with a
// version of 4 or 6) to dst: at most one octet more than the packet. Packets with the same hash must arrive in the order of
// the calls, though any may be missing; oldest is the number of the oldest packet
// of which it is not known whether it will arrive, ^0 if there is none.
func (c *Compressor) Compress(dst, pkt []byte, hash uint32, oldest uint64) ([]byte, Ref) {
	c.number++
	c.stats.Packets++
	c.stats.In += uint64(len(pkt))
	start := len(dst)
	dst, ref := c.compress(dst, pkt, hash, oldest)
	c.stats.Out += uint64(len(dst) - start)
	return dst, ref
}

func (c *Compressor) compress(dst, pkt []byte, hash uint32, oldest uint64) ([]byte, Ref) {
	ref := Ref{number: c.number}
	f := &c.fields
	n, ok := f.parse(pkt)
	if !ok {
		return append(dst, pkt...), ref
	}
	head := f.appendTo(c.scratch[:0], pkt[n:])
	if string(head) != string(pkt[:n]) {
		return append(dst, pkt...), ref // a wrong checksum, or anything else that would be lost
	}
	id, x := c.context(f, hash, oldest)
	if x == nil {
		c.stats.Refused++
		return append(dst, pkt...), ref
	}
	ref.context = uint8(id + 1)
	x.note(c.number, f)
	if c.unheard && x.refs.n == unheardRepeats {
		x.acked = x.refs.list[0].last // of these packets one will have arrived
	}
	start := len(dst)
	full := x.acked < x.begin || c.unheard && x.count%unheardRefresh == 0
	if !full {
		dst = append(dst, markCompressed|byte(id<<contextShift))
		dst = c.guard(dst, f, head)
		dst = x.append(dst, start, f, &c.reach)
		dst = append(dst, pkt[n:]...)
		full = len(dst)-start > len(pkt)
	}
	if full {
		dst = append(append(dst[:start], markFull|byte(id)), pkt...)
		c.stats.Full++
	} else {
		c.stats.Compressed++
	}
	x.sent(c.number, f, c.unheard)
	return dst, ref
}

// guard appends the check of the original header.
func (c *Compressor) guard(dst []byte, f *fields, head []byte) []byte {
	if !c.unheard {
		return append(dst, crc8(head))
	}
	dst = binary.BigEndian.AppendUint16(dst, crc16(head))
	return append(dst, head[f.checksumAt():][:2]...)
}

// context finds the context of a flow, or one that is free for it: one whose
// packets are all known to have arrived or not, the least recently used.
func (c *Compressor) context(f *fields, hash uint32, oldest uint64) (id int, x *txContext) {
	id = -1
	for i, x := range c.contexts {
		switch {
		case x == nil:
			if id < 0 || c.contexts[id] != nil {
				id = i
			}
		case x.hash == hash && x.last.flow == f.flow:
			return i, x
		case x.used < oldest && (id < 0 || c.contexts[id] != nil && x.used < c.contexts[id].used):
			id = i
		}
	}
	if id < 0 {
		return 0, nil
	}
	if c.contexts[id] == nil {
		c.contexts[id] = &txContext{}
	}
	x = c.contexts[id]
	*x = txContext{hash: hash, last: *f, begin: c.number}
	for i := range x.changed {
		x.changed[i] = c.number
	}
	return id, x
}

// note takes down what changes with packet n.
func (x *txContext) note(n uint64, f *fields) {
	l := &x.last
	for i, changed := range [stables]bool{
		stableTOS:     f.tos != l.tos,
		stableTTL:     f.ttl != l.ttl,
		stableNet:     f.frag != l.frag || f.label != l.label,
		stableWindow:  f.window != l.window,
		stableUrgent:  f.urgent != l.urgent,
		stableOptions: f.layout != l.layout || f.options != l.options || f.optionsLen != l.optionsLen,
	} {
		if changed {
			x.changed[i] = n
		}
	}
}

// sent takes packet n as one that the other side may refer to.
func (x *txContext) sent(n uint64, f *fields, unheard bool) {
	x.last, x.used = *f, n
	x.count++
	x.refs.add(n, f)
	if unheard && x.refs.n > unheardRepeats {
		x.refs.acknowledged(x.refs.list[1].last)
	}
}

func (x *txContext) acknowledge(n uint64) {
	if n > x.acked {
		x.acked = n
		x.refs.acknowledged(n)
	}
}

// Delivered tells that a packet has arrived: the other side decompresses it
// before any later one with the same hash.
func (c *Compressor) Delivered(r Ref) {
	if r.context == 0 || r.number <= c.floor || c.unheard {
		return
	}
	if x := c.contexts[r.context-1]; x != nil && r.number >= x.begin && r.number <= x.used {
		x.acknowledge(r.number)
	}
}

// Invalidate makes the next packet of each flow one with a full header: the other
// side has lost its contexts.
func (c *Compressor) Invalidate() {
	for _, x := range c.contexts {
		if x != nil {
			x.begin, x.count = c.number+1, 0
		}
	}
}

// Reset forgets all flows; the other side has a new Decompressor.
func (c *Compressor) Reset() {
	c.contexts = [Contexts]*txContext{}
	c.floor = c.number
}

// Stats is what was done since NewCompressor.
func (c *Compressor) Stats() Stats { return c.stats }

// Flows is how many contexts are in use.
func (c *Compressor) Flows() (n int) {
	for _, x := range c.contexts {
		if x != nil {
			n++
		}
	}
	return n
}

// Expect is how many octets Compress would append for a packet, at most if nothing
// unusual happens: what is left over of a frame is cut off, but an octet that does
// not fit has to wait for the next burst.
func (c *Compressor) Expect(pkt []byte, hash uint32) int {
	f := &c.fields
	n, ok := f.parse(pkt)
	if !ok {
		return len(pkt)
	}
	for _, x := range c.contexts {
		if x != nil && x.hash == hash && x.last.flow == f.flow && x.acked >= x.begin {
			return len(pkt) - n + usualHeader
		}
	}
	return len(pkt) + 1
}

const usualHeader = 30 // octets: the packet behind a SYN, in which most fields change

// settled tells whether the other side knows the present value of a field.
func (x *txContext) settled(s stable) bool { return x.acked >= x.changed[s] }

// append appends the fields of a compressed header. The first octet, at start,
// gets the format.
func (x *txContext) append(dst []byte, start int, f *fields, r *[numbers]reach) []byte {
	x.refs.all(r)
	id := idLong
	switch {
	case f.version == 6 || r[numNextID].is(uint32(f.id)<<16):
		id = 0
	case r[numID].fits(uint32(f.id)<<16, 8, 1<<16):
		id = idShort
	}
	if f.proto == protoTCP {
		return x.appendTCP(dst, start, f, r, id)
	}
	echo := f.proto != protoUDP
	predicted := !echo || r[numNextEcho].is(uint32(f.echo)<<16)
	masked := !x.settled(stableTOS) || !x.settled(stableTTL) || !x.settled(stableNet) ||
		!predicted && !r[numEcho].fits(uint32(f.echo)<<16, 8, 1<<16)
	form := formPredicted
	switch {
	case masked:
		form = formMasked
	case id == idLong:
		form = formLong
	case id == idShort || !predicted:
		form = formShort
		if id == 0 && f.version == 4 && !r[numID].fits(uint32(f.id)<<16, 8, 1<<16) {
			form = formLong
		}
	}
	dst[start] |= byte(form)
	if masked {
		mask := x.netMask(id)
		if echo && !predicted {
			mask |= maskEcho
		}
		dst = f.appendNet(append(dst, mask), mask)
		if mask&maskEcho != 0 {
			dst = binary.BigEndian.AppendUint16(dst, f.echo)
		}
		return dst
	}
	if f.version == 4 {
		switch form {
		case formShort:
			dst = append(dst, byte(f.id))
		case formLong:
			dst = binary.BigEndian.AppendUint16(dst, f.id)
		}
	}
	if echo && form != formPredicted {
		dst = append(dst, byte(f.echo))
	}
	return dst
}

// netMask tells which fields of the IP header are sent.
func (x *txContext) netMask(id int) byte {
	mask := byte(id)
	if !x.settled(stableTOS) {
		mask |= maskTOS
	}
	if !x.settled(stableTTL) {
		mask |= maskTTL
	}
	if !x.settled(stableNet) {
		mask |= maskNet
	}
	return mask
}

// appendNet appends the fields of the IP header that a mask names.
func (f *fields) appendNet(dst []byte, mask byte) []byte {
	switch mask & maskID {
	case idShort:
		dst = append(dst, byte(f.id))
	case idLong:
		dst = binary.BigEndian.AppendUint16(dst, f.id)
	}
	if mask&maskTOS != 0 {
		dst = append(dst, f.tos)
	}
	if mask&maskTTL != 0 {
		dst = append(dst, f.ttl)
	}
	if mask&maskNet != 0 {
		if f.version == 4 {
			dst = append(dst, byte(f.frag>>8))
		} else {
			dst = append(dst, byte(f.label>>16), byte(f.label>>8), byte(f.label))
		}
	}
	return dst
}

// appendTCP appends the fields of a TCP header.
func (x *txContext) appendTCP(dst []byte, start int, f *fields, r *[numbers]reach, id int) []byte {
	plain := f.flags&^flagPSH == flagACK
	if plain && f.flags&flagPSH != 0 {
		dst[start] |= formatPush
	}
	more := x.netMask(id)
	if !plain {
		more |= maskFlags
	}
	if !x.settled(stableOptions) {
		more |= maskOptions
	}
	if !x.settled(stableUrgent) {
		more |= maskUrgent
	}
	if more == 0 && x.settled(stableWindow) && f.blocks() == 0 && r[numNext].is(f.seq) {
		if out, ok := f.appendBits(dst, r); ok {
			return out
		}
	}
	dst[start] |= formatExtended
	at := len(dst)
	dst = append(dst, 0)
	mask := byte(0)
	if more != 0 {
		mask |= extMore
		dst = append(dst, more)
	}
	switch {
	case r[numNext].is(f.seq):
	case r[numSeq].fits(f.seq, 16, 1):
		mask |= 1 << extSeqShift
		dst = binary.BigEndian.AppendUint16(dst, uint16(f.seq))
	default:
		mask |= 2 << extSeqShift
		dst = binary.BigEndian.AppendUint32(dst, f.seq)
	}
	switch {
	case r[numAck].is(f.ack):
	case r[numAck].fits(f.ack, 16, 1):
		mask |= 1 << extAckShift
		dst = binary.BigEndian.AppendUint16(dst, uint16(f.ack))
	default:
		mask |= 2 << extAckShift
		dst = binary.BigEndian.AppendUint32(dst, f.ack)
	}
	if more&maskOptions != 0 {
		dst = append(dst, f.layout)
		if f.layout == layoutRaw {
			dst = append(append(dst, f.optionsLen), f.options[:f.optionsLen]...)
		}
	}
	if f.timestamps() {
		switch {
		case r[numVal].is(f.tsVal) && r[numEcr].is(f.tsEcr):
		case r[numVal].fits(f.tsVal, 16, 1) && r[numEcr].fits(f.tsEcr, 16, 1):
			mask |= 1 << extTSShift
			dst = append(dst, byte(f.tsVal>>8), byte(f.tsVal), byte(f.tsEcr>>8), byte(f.tsEcr))
		default:
			mask |= 2 << extTSShift
			dst = binary.BigEndian.AppendUint32(dst, f.tsVal)
			dst = binary.BigEndian.AppendUint32(dst, f.tsEcr)
		}
	}
	if !x.settled(stableWindow) {
		mask |= extWindow
		dst = binary.BigEndian.AppendUint16(dst, f.window)
	}
	if more&maskFlags != 0 {
		dst = binary.BigEndian.AppendUint16(dst, f.flags)
	}
	if more&maskUrgent != 0 {
		dst = binary.BigEndian.AppendUint16(dst, f.urgent)
	}
	dst = f.appendNet(dst, more)
	// Blocks lie near what is acknowledged: a duplicate one below it (RFC 2883).
	for _, b := range f.sack[:f.blocks()] {
		left := int32(b[0] - f.ack)
		dst = binary.AppendUvarint(dst, uint64(uint32(left<<1^left>>31)))
		dst = binary.AppendUvarint(dst, uint64(b[1]-b[0]))
	}
	dst[at] = mask
	return dst
}

// Bits of TCP's short format, most significant first. Timestamps: 0 and 12 bits of
// each · 10 and 12 bits of the value · 110 both unchanged · 111 and 16 bits of each.
// Then the acknowledgement: 0 and 6 bits · 10 unchanged · 110 and 14 bits · 111 and 18 bits.

// appendBits appends them; ok is false when they do not suffice.
func (f *fields) appendBits(dst []byte, r *[numbers]reach) (_ []byte, ok bool) {
	var b bitWriter
	if f.timestamps() {
		val, ecr := &r[numVal], &r[numEcr]
		same := ecr.is(f.tsEcr)
		switch {
		case same && val.is(f.tsVal):
			b.put(0b110, 3)
		case same && val.fits(f.tsVal, 12, 1):
			b.put(0b10, 2)
			b.put(f.tsVal, 12)
		case val.fits(f.tsVal, 12, 1) && ecr.fits(f.tsEcr, 12, 1):
			b.put(0, 1)
			b.put(f.tsVal, 12)
			b.put(f.tsEcr, 12)
		case val.fits(f.tsVal, 16, 1) && ecr.fits(f.tsEcr, 16, 1):
			b.put(0b111, 3)
			b.put(f.tsVal, 16)
			b.put(f.tsEcr, 16)
		default:
			return dst, false
		}
	}
	switch ack := &r[numAck]; {
	case ack.is(f.ack):
		b.put(0b10, 2)
	case ack.fits(f.ack, 6, 1):
		b.put(0, 1)
		b.put(f.ack, 6)
	case ack.fits(f.ack, 14, 1):
		b.put(0b110, 3)
		b.put(f.ack, 14)
	case ack.fits(f.ack, 18, 1):
		b.put(0b111, 3)
		b.put(f.ack, 18)
	default:
		return dst, false
	}
	return b.append(dst), true
}

// bitWriter collects up to 64 bits.
type bitWriter struct {
	bits uint64
	n    int
}

func (b *bitWriter) put(v uint32, k int) {
	b.bits = b.bits<<k | uint64(v)&(1<<k-1)
	b.n += k
}

// append appends the bits, zeros behind them up to a whole octet.
func (b *bitWriter) append(dst []byte) []byte {
	v := b.bits << (64 - b.n)
	for i := 0; i < b.n; i += 8 {
		dst = append(dst, byte(v>>56))
		v <<= 8
	}
	return dst
}
