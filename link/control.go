package link

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"lightsong/phy"
)

// The wire format, docs/wire-link.md. Integers are big endian.
const (
	wireVersion = 1

	headOctets   = 13 // of every control block but short ones and those to several stations
	shortOctets  = 6  // of short ones: what all of them have
	jointOctets  = 8  // of those to several
	briefOctets  = 3  // of what a short block and a section have in common
	ackOctets    = 4
	maxSections  = 7
	maxAcks      = 8
	nextOctets   = 2 // the next speaker, if there is one
	reportOctets = 7 // of the report behind it, without its entries
	formOctets   = 3 // of the wishes for forms in it, where bursts have forms

	maxData     = 128 // data frames in a burst, so that the bitmap of one fits
	historySize = 4   // bursts that a report tells of
	wholeBits   = 5   // in a short block, of bursts that arrived whole: from the one after the newest back

	minControl  = headOctets + nextOctets + reportOctets + formOctets + 2 + maxData/8 // a report of one full burst fits
	maxPrefixes = 8                                                                   // in a beacon
	maxHeard    = 16                                                                  // neighbours in a beacon

	navUnit = 20 * time.Millisecond
	snrUnit = 0.5 // dB
)

// kind of a burst.
type kind uint8

const (
	unicast  kind = iota // to one station: fragments, acknowledgements
	flooded              // to all stations: broadcast and multicast packets
	beaconed             // to all stations: a beacon

	shortly = 3 // on the wire, in a kind's place: unicast, in a short block

	kindMask = 0x03
	moreBit  = 0x04 // the source has more to send
	nextBit  = 0x08 // the next speaker is named
	navBit   = 0x08 // of a short block: how long the medium stays reserved follows
)

// Flags of a short block.
const (
	shortWanted = 1 << iota // as flagWanted, flagAnswer, flagHurry
	shortAnswer
	shortHurry
	shortBase // base follows
	shortWish // MCS, SNR and loss follow
	shortOne  // one data frame
	shortAll  // the only entry: all data frames of the newest burst arrived
	shortList // data frames, entries' number and entries follow: it is neither of these

	// In a section, to which nobody answers at once, the first two are others.
	sectionFresh = shortWanted // as flagFresh
	sectionDeaf  = shortAnswer // without flagHeard
)

// Flags of a control block.
const (
	flagWanted   = 1 << iota // an answer is wanted at once
	flagAnswer               // this is the answer
	flagFresh                // nothing of this sequence was acknowledged yet: base is its first number
	flagStranger             // no beacon of dst was read yet: one is wanted soon
	flagReport               // a report follows
	flagHeard                // in the report: newest is valid
	flagResync               // in the report: headers could not be decompressed, full ones are wanted
	flagHurry                // somebody waits for small packets of src: bursts are to be short
)

const (
	hasForms = 0x80 // beside the number of entries: wishes for forms follow

	noMCS = 0xff
	noSNR = -128
)

// control is the link's block of a burst.
type control struct {
	kind  kind
	flags uint8
	src   uint16
	dst   uint16
	epoch uint16 // of src
	id    uint8  // counts the bursts from src to dst
	data  uint8  // frames; the others of the burst are parity
	nav   uint8  // navUnits for which the medium stays reserved after the burst
	base  uint16 // oldest packet of src that is still alive
	short bool   // src and dst are told by tag, and what dst knows is left out
	tag   uint16 // with short
	based bool   // base is there: with short only if there is news
	wish  bool   // and so are want, snr and loss
	more  bool   // src has more to send, to whomever
	next  uint16 // address of the station that speaks next, anyone, or 0: none is named

	// To several stations: what it has for each. Only kind, src, epoch, more, next and data are the
	// burst's own, data being the sum of the sections'.
	sections []control
	acks     []ack

	// With flagReport: what src has heard of dst.
	peerEpoch uint16 // of dst, as src knows it
	newest    uint8  // the last burst of dst heard, with flagHeard
	want      uint8  // MCS in which src would like to be sent to, or noMCS
	snr       int8   // snrUnits, or noSNR
	loss      uint8  // share of frames lost before repair, in 1/255
	heard     []heardBurst
	formed    bool             // forms is valid
	forms     [phy.Forms]uint8 // as want, for bursts that are not plain
}

// ack tells a station that all data frames of its newest burst arrived, and all there is to tell.
type ack struct {
	dst    uint16
	epoch  uint8 // the last octet of dst's
	newest uint8
}

// heardBurst tells which data frames of a burst arrived, repaired ones included.
type heardBurst struct {
	id uint8
	n  uint8 // octets of ok; 0: all of its data frames arrived
	ok [maxData / 8]byte

	// Not on the wire: whether a burst has told of it, and the number of the
	// first that did.
	told   bool
	toldIn uint8
}

func (h *heardBurst) set(i int) { h.ok[i/8] |= 0x80 >> (i % 8) }
func (h *heardBurst) has(i int) bool {
	return h.n == 0 || i/8 < int(h.n) && h.ok[i/8]&(0x80>>(i%8)) != 0
}

// tagOf stands for source and destination of a short block and the epochs of both, as
// they know them: it fits nobody else's, nor those of their former lives, more often
// than an epoch is drawn twice.
func tagOf(src, dst, epoch, peerEpoch uint16) uint16 {
	p := make([]byte, 0, 8)
	for _, v := range [...]uint16{src, dst, epoch, peerEpoch} {
		p = binary.BigEndian.AppendUint16(p, v)
	}
	h := fnv(fnvBasis, p)
	return uint16(h ^ h>>16)
}

// listed tells whether a short block needs a list of entries.
func (c *control) listed() bool {
	n := len(c.heard)
	return c.data > 1 || n > 1 || n == 1 && (c.heard[0].id != c.newest || c.heard[0].n != 0)
}

// appendTo appends the block. Entries of the report that would exceed limit
// octets are left out, the oldest first: heard is in order, newest first.
func (c *control) appendTo(dst []byte, limit int) []byte {
	start := len(dst)
	if c.short {
		return c.appendShort(dst, limit)
	}
	first := byte(wireVersion<<4) | byte(c.kind)
	if c.more {
		first |= moreBit
	}
	if c.next != 0 {
		first |= nextBit
	}
	dst = append(dst, first)
	dst = binary.BigEndian.AppendUint16(dst, c.src)
	if c.joint() {
		return c.appendJoint(dst)
	}
	dst = binary.BigEndian.AppendUint16(dst, c.dst)
	dst = binary.BigEndian.AppendUint16(dst, c.epoch)
	dst = append(dst, c.id, c.flags, c.data, c.nav)
	dst = binary.BigEndian.AppendUint16(dst, c.base)
	if c.next != 0 {
		dst = binary.BigEndian.AppendUint16(dst, c.next)
	}
	if c.flags&flagReport == 0 {
		return dst
	}
	dst = binary.BigEndian.AppendUint16(dst, c.peerEpoch)
	dst = append(dst, c.newest, c.want, byte(c.snr), c.loss, 0)
	count := len(dst) - 1
	if c.formed {
		dst[count] = hasForms
		dst = append(dst, c.forms[1:]...)
	}
	return c.appendHeard(dst, count, limit-len(dst)+start, 0)
}

// joint tells that it is of a burst to several stations.
func (c *control) joint() bool { return len(c.sections)+len(c.acks) > 0 }

// appendJoint appends what follows the source in a block to several stations.
func (c *control) appendJoint(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, broadcast)
	dst = binary.BigEndian.AppendUint16(dst, c.epoch)
	dst = append(dst, byte(len(c.acks)<<4|len(c.sections)))
	if c.next != 0 {
		dst = binary.BigEndian.AppendUint16(dst, c.next)
	}
	for _, a := range c.acks {
		dst = append(binary.BigEndian.AppendUint16(dst, a.dst), a.epoch, a.newest)
	}
	for i := range c.sections {
		dst = c.sections[i].appendSection(dst)
	}
	return dst
}

// appendSection appends a section.
func (c *control) appendSection(dst []byte) []byte {
	dst = append(binary.BigEndian.AppendUint16(dst, c.dst), byte(c.peerEpoch))
	return c.appendBrief(dst, 1<<16) // none is made that does not fit
}

// appendHeard appends entries, so many octets at most, and counts them at an index of dst. Of bursts about
// the newest, so many, of which all arrived there is a bit beside that number instead.
func (c *control) appendHeard(dst []byte, count, room int, bits uint8) []byte {
	for i := range c.heard {
		h := &c.heard[i]
		if back := c.newest + 1 - h.id; h.n == 0 && back < bits {
			dst[count] |= 0x80 >> back
			continue
		}
		if room -= 2 + int(h.n); room < 0 {
			break
		}
		dst = append(append(dst, h.id, h.n), h.ok[:h.n]...)
		dst[count]++
	}
	return dst
}

// appendShort appends the block of one that knows what it means.
func (c *control) appendShort(dst []byte, limit int) []byte {
	start := len(dst)
	first := byte(wireVersion<<4 | shortly)
	if c.more {
		first |= moreBit
	}
	if c.nav > 0 {
		first |= navBit
	}
	dst = binary.BigEndian.AppendUint16(append(dst, first), c.tag)
	if c.nav > 0 {
		dst = append(dst, c.nav)
	}
	return c.appendBrief(dst, limit-len(dst)+start)
}

// appendBrief appends what a short block and a section have in common, of so many octets at
// most.
func (c *control) appendBrief(dst []byte, limit int) []byte {
	start, flags := len(dst), byte(0)
	for _, f := range [...]struct {
		set  bool
		flag byte
	}{
		{c.flags&flagWanted != 0, shortWanted}, {c.flags&flagAnswer != 0, shortAnswer}, {c.flags&flagHurry != 0, shortHurry},
		{!c.short && c.flags&flagFresh != 0, sectionFresh}, {!c.short && c.flags&flagHeard == 0, sectionDeaf},
		{c.based, shortBase}, {c.wish, shortWish},
		{c.listed(), shortList}, {!c.listed() && c.data == 1, shortOne}, {!c.listed() && len(c.heard) == 1, shortAll},
	} {
		if f.set {
			flags |= f.flag
		}
	}
	dst = append(dst, c.id, flags, c.newest)
	if c.based {
		dst = binary.BigEndian.AppendUint16(dst, c.base)
	}
	if c.wish {
		dst = append(dst, c.want, byte(c.snr), c.loss)
	}
	if flags&shortList == 0 {
		return dst
	}
	dst = append(dst, c.data, 0)
	return c.appendHeard(dst, len(dst)-1, limit-len(dst)+start, wholeBits)
}

// parseShort reads a short block; who sent it to whom is left open.
func (c *control) parseShort(p []byte) bool {
	if len(p) < shortOctets {
		return false
	}
	*c = control{kind: unicast, short: true, more: p[0]&moreBit != 0, tag: binary.BigEndian.Uint16(p[1:]), heard: c.heard[:0], sections: c.sections[:0], acks: c.acks[:0]}
	nav := p[0]&navBit != 0
	p = p[shortOctets-briefOctets:]
	if nav {
		if c.nav, p = p[0], p[1:]; c.nav == 0 {
			return false
		}
	}
	rest, ok := c.parseBrief(p)
	return ok && len(rest) == 0
}

// parseBrief reads what a short block and a section have in common, and returns what is
// behind it.
func (c *control) parseBrief(p []byte) (rest []byte, ok bool) {
	if len(p) < briefOctets {
		return nil, false
	}
	flags := p[1]
	c.id, c.newest = p[0], p[2]
	c.flags, c.based, c.wish = flagReport|flagHeard, flags&shortBase != 0, flags&shortWish != 0
	for _, f := range [...]struct{ short, flag uint8 }{{shortWanted, flagWanted}, {shortAnswer, flagAnswer}, {shortHurry, flagHurry}} {
		if flags&f.short != 0 {
			c.flags |= f.flag
		}
	}
	p = p[briefOctets:]
	if c.based {
		if len(p) < 2 {
			return nil, false
		}
		c.base, p = binary.BigEndian.Uint16(p), p[2:]
	}
	if c.wish {
		if len(p) < 3 {
			return nil, false
		}
		c.want, c.snr, c.loss, p = p[0], int8(p[1]), p[2], p[3:]
	}
	if flags&shortList == 0 {
		if flags&shortOne != 0 {
			c.data = 1
		}
		if flags&shortAll != 0 {
			c.heard = append(c.heard, heardBurst{id: c.newest})
		}
		return p, true
	}
	if len(p) < 2 || p[0] > maxData || flags&(shortOne|shortAll) != 0 {
		return nil, false
	}
	c.data = p[0]
	for back := range uint8(wholeBits) {
		if p[1]&(0x80>>back) != 0 {
			c.heard = append(c.heard, heardBurst{id: c.newest + 1 - back})
		}
	}
	bits := len(c.heard)
	p, ok = c.parseHeard(p[2:], int(p[1]&(1<<(8-wholeBits)-1)))
	for _, h := range c.heard[bits:] {
		ok = ok && (h.n > 0 || c.newest+1-h.id >= wholeBits) // else it would be a bit
	}
	return p, ok && c.listed() && len(c.heard) <= historySize
}

// parseJoint reads what follows the destination of a block to several stations.
func (c *control) parseJoint(p []byte, named bool) bool {
	c.epoch = binary.BigEndian.Uint16(p)
	acks, n := int(p[2]>>4), int(p[2]&0x0f)
	if p = p[3:]; named {
		if len(p) < nextOctets || binary.BigEndian.Uint16(p) == 0 {
			return false
		}
		c.next, p = binary.BigEndian.Uint16(p), p[nextOctets:]
	}
	if acks+n == 0 || acks > maxAcks || n > maxSections || len(p) < acks*ackOctets || c.src == 0 || c.src == broadcast {
		return false
	}
	for range acks {
		a := ack{dst: binary.BigEndian.Uint16(p), epoch: p[2], newest: p[3]}
		if a.dst == 0 || a.dst == broadcast || a.dst == c.src {
			return false
		}
		c.acks, p = append(c.acks, a), p[ackOctets:]
	}
	for i := range n {
		if i == cap(c.sections) {
			c.sections = slices.Grow(c.sections, maxSections)
		}
		c.sections = c.sections[:i+1]
		s := &c.sections[i]
		if len(p) < 3 {
			return false
		}
		*s = control{dst: binary.BigEndian.Uint16(p), peerEpoch: uint16(p[2]), heard: s.heard[:0]}
		var ok bool
		if p, ok = s.parseBrief(p[3:]); !ok || s.dst == 0 || s.dst == broadcast || s.dst == c.src || int(c.data)+int(s.data) > maxData {
			return false
		}
		if s.flags&flagWanted != 0 {
			s.flags |= flagFresh
		}
		if s.flags&flagAnswer != 0 {
			s.flags &^= flagHeard
		}
		if s.flags &^= flagWanted | flagAnswer; s.flags&flagFresh != 0 && !s.based || s.flags&flagHeard == 0 && len(s.heard) > 0 {
			return false
		}
		c.data += s.data
	}
	return len(p) == 0
}

// forUs makes the block of a burst to several stations one to the station with an address and an
// epoch, or to another, if it has nothing for that one. It returns which of the burst's data frames
// are its own, and whether there is no more than an acknowledgement.
func (c *control) forUs(address, epoch uint16) (from, to int, acked bool) {
	var mine *control
	end := 0
	for i := range c.sections {
		s := &c.sections[i]
		if end += int(s.data); s.dst == address {
			mine, from, to = s, end-int(s.data), end
		}
		c.dst = s.dst
	}
	for _, a := range c.acks {
		if c.dst = a.dst; a.dst == address && mine == nil {
			c.peerEpoch, c.newest, c.flags, acked = uint16(a.epoch), a.newest, flagReport|flagHeard, true
			c.heard = append(c.heard[:0], heardBurst{id: a.newest})
		}
	}
	if mine != nil {
		c.peerEpoch, c.id, c.flags, c.newest = mine.peerEpoch, mine.id, mine.flags, mine.newest
		c.based, c.base, c.wish, c.want, c.snr, c.loss = mine.based, mine.base, mine.wish, mine.want, mine.snr, mine.loss
		c.heard = append(c.heard[:0], mine.heard...)
	}
	if mine != nil || acked {
		if c.dst = address; byte(c.peerEpoch) == byte(epoch) {
			c.peerEpoch = epoch
		} else {
			c.peerEpoch = ^epoch
		}
	}
	return from, to, acked
}

// parse reads a block. It returns false for what no station sends.
func (c *control) parse(p []byte) bool {
	if len(p) > 0 && p[0]&^(moreBit|navBit) == wireVersion<<4|shortly {
		return c.parseShort(p)
	}
	if len(p) >= jointOctets && p[0]&^(moreBit|nextBit) == wireVersion<<4|byte(unicast) && binary.BigEndian.Uint16(p[3:]) == broadcast {
		*c = control{kind: unicast, src: binary.BigEndian.Uint16(p[1:]), dst: broadcast, more: p[0]&moreBit != 0, heard: c.heard[:0], sections: c.sections[:0], acks: c.acks[:0]}
		return c.parseJoint(p[5:], p[0]&nextBit != 0)
	}
	if len(p) < headOctets || p[0]>>4 != wireVersion {
		return false
	}
	*c = control{
		kind:  kind(p[0] & kindMask),
		src:   binary.BigEndian.Uint16(p[1:]),
		dst:   binary.BigEndian.Uint16(p[3:]),
		epoch: binary.BigEndian.Uint16(p[5:]),
		id:    p[7],
		flags: p[8],
		data:  p[9],
		nav:   p[10],
		base:  binary.BigEndian.Uint16(p[11:]),
		more:  p[0]&moreBit != 0,
		heard: c.heard[:0],
		based: true,

		sections: c.sections[:0],
		acks:     c.acks[:0],
	}
	if c.kind > beaconed || c.data > maxData || c.src == 0 || c.src == broadcast || c.dst == 0 ||
		(c.dst == broadcast) != (c.kind != unicast) || c.more && c.kind != unicast {
		return false
	}
	named := p[0]&nextBit != 0
	p = p[headOctets:]
	if named {
		if len(p) < nextOctets || c.kind != unicast {
			return false
		}
		if c.next = binary.BigEndian.Uint16(p); c.next == 0 {
			return false
		}
		p = p[nextOctets:]
	}
	if c.flags&flagReport == 0 {
		return len(p) == 0 && c.flags&(flagHeard|flagResync) == 0
	}
	if len(p) < reportOctets || c.kind != unicast {
		return false
	}
	c.peerEpoch = binary.BigEndian.Uint16(p)
	c.newest, c.want, c.snr, c.loss = p[2], p[3], int8(p[4]), p[5]
	count := int(p[6] &^ hasForms)
	c.formed = p[6]&hasForms != 0
	p = p[reportOctets:]
	if c.formed {
		if len(p) < formOctets {
			return false
		}
		copy(c.forms[1:], p[:formOctets])
		p = p[formOctets:]
	}
	c.wish = true
	rest, ok := c.parseHeard(p, count)
	return ok && len(rest) == 0
}

// parseHeard reads entries, and returns what is behind them.
func (c *control) parseHeard(p []byte, count int) (rest []byte, ok bool) {
	if count > historySize || count > 0 && c.flags&flagHeard == 0 {
		return nil, false
	}
	for range count {
		if len(p) < 2 {
			return nil, false
		}
		h := heardBurst{id: p[0], n: p[1]}
		if int(h.n) > len(h.ok) || len(p) < 2+int(h.n) {
			return nil, false
		}
		copy(h.ok[:], p[2:2+h.n])
		c.heard = append(c.heard, h)
		p = p[2+h.n:]
	}
	return p, true
}

func toNAV(d time.Duration) uint8 { return uint8(min(255, max(0, (d+navUnit-1)/navUnit))) }

func toSNR(db float64) int8 {
	if db != db {
		return noSNR
	}
	return int8(max(-127, min(127, db/snrUnit)))
}

// beacon is what a station tells of itself, in the frames of a burst.
type beacon struct {
	interval uint8 // s: if the station is not heard for a few of these, it is gone
	name     string
	prefixes []netip.Prefix
	heard    []neighbour
}

// neighbour is one station that the sender of a beacon hears.
type neighbour struct {
	address uint16
	snr     int8
	want    uint8 // MCS in which it should send to the beacon's sender, or noMCS
}

const (
	prefixV4  = 5 // octets: length and address
	prefixV6  = 17
	prefixIs4 = 129 // added to the length of an IPv4 prefix; those of IPv6 end at 128
	heardSize = 4
)

// appendTo appends the beacon: interval, name, own addresses, neighbours, each
// list behind its length. Zeros may follow.
func (b *beacon) appendTo(dst []byte) []byte {
	dst = append(dst, b.interval, byte(len(b.name)))
	dst = append(dst, b.name...)
	dst = append(dst, byte(len(b.prefixes)))
	for _, p := range b.prefixes {
		length := byte(p.Bits())
		if p.Addr().Is4() {
			length += prefixIs4
		}
		dst = append(append(dst, length), p.Addr().AsSlice()...)
	}
	dst = append(dst, byte(len(b.heard)))
	for _, n := range b.heard {
		dst = binary.BigEndian.AppendUint16(dst, n.address)
		dst = append(dst, byte(n.snr), n.want)
	}
	return dst
}

// parse reads a beacon. It returns false for what no station sends.
func (b *beacon) parse(p []byte) bool {
	*b = beacon{}
	if len(p) < 2 || p[0] == 0 || p[1] == 0 || p[1] > MaxName || len(p) < 3+int(p[1]) {
		return false
	}
	b.interval, b.name, p = p[0], string(p[2:2+p[1]]), p[2+p[1]:]
	if !printable(b.name) || p[0] > maxPrefixes {
		return false
	}
	count := int(p[0])
	p = p[1:]
	for range count {
		if len(p) == 0 {
			return false
		}
		length, size := int(p[0]), prefixV6
		if length >= prefixIs4 {
			length, size = length-prefixIs4, prefixV4
		}
		if len(p) < size {
			return false
		}
		addr, _ := netip.AddrFromSlice(p[1:size])
		prefix := netip.PrefixFrom(addr, length)
		if !prefix.IsValid() {
			return false
		}
		b.prefixes = append(b.prefixes, prefix)
		p = p[size:]
	}
	if len(p) == 0 || p[0] > maxHeard || len(p) < 1+heardSize*int(p[0]) {
		return false
	}
	for i := range int(p[0]) {
		q := p[1+heardSize*i:]
		b.heard = append(b.heard, neighbour{binary.BigEndian.Uint16(q), int8(q[2]), q[3]})
	}
	return true
}

// frameOctets is the length of a burst's frames, 0 when none was received; ok
// is false when they differ, which no receiver of ours hands over.
func frameOctets(b *phy.Burst) (n int, ok bool) {
	for _, f := range b.Frames {
		switch {
		case f == nil:
		case n == 0:
			n = len(f)
		case len(f) != n:
			return 0, false
		}
	}
	return n, true
}
