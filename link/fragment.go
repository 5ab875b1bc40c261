package link

import (
	"encoding/binary"
	"slices"
)

// Flags of a fragment. An octet without fragMark ends the fragments of a frame;
// the rest is padding. A whole packet, which most small ones are, may have all but
// its content in the one octet.
const (
	fragMark  = 0x80
	fragNear  = 0x40 // a packet that is not cut, and its number is one of the first sixteen from a base that the receiver has
	fragSized = 0x20 // carries its length; otherwise it extends to the end of the frame
	fragPred  = 0x10 // of one that begins its packet: carries the distance to its predecessor; otherwise none is alive

	fragLow = 0x0f // of those with fragNear: the low bits of the number

	// Of others, whose number follows:
	fragFirst = 0x08 // begins its packet; otherwise it carries an offset
	fragLast  = 0x04 // ends its packet
	fragRest  = 0x03 // 0

	fragHead = 7 // octets of the longest header
)

// window is how many packets, counted by their sequence numbers, may be alive
// between two stations.
const window = 1024

// maxWire is the most octets that are sent for a packet: compression may add one.
const maxWire = MaxMTU + 1

// fragment is a piece of a packet, several of which share a frame. One that is
// first and last and empty is a void: it takes the place of a packet that was
// given up.
type fragment struct {
	seq    uint16
	first  bool
	last   bool
	pred   uint16 // with first: distance to the packet's predecessor in its flow, 0: none is alive; below window
	offset int    // octets
	body   []byte
}

// near tells whether the number goes into the flags. The receiver has a base, or one
// between that and the number.
func (f *fragment) near(base uint16) bool { return f.whole() && f.seq-base <= fragLow }

func (f *fragment) whole() bool { return f.first && f.last }

// headOctets of the fragment's header when it fills its frame. A fragment that
// does not needs two more.
func (f *fragment) headOctets(base uint16) int {
	n := 1
	if !f.near(base) {
		n += 2
	}
	switch {
	case !f.first:
		n += 2
	case f.pred >= 0x80:
		n += 2
	case f.pred > 0:
		n++
	}
	return n
}

// appendTo appends header and body; room is what is left of the frame in octets.
// The fragment must fit: fitFragment tells how much of a packet does. base is as in near.
func (f *fragment) appendTo(dst []byte, base uint16, room int) []byte {
	flags := byte(fragMark)
	switch {
	case f.near(base):
		flags |= fragNear | byte(f.seq)&fragLow
	case f.whole():
		flags |= fragFirst | fragLast
	case f.first:
		flags |= fragFirst
	case f.last:
		flags |= fragLast
	}
	if f.first && f.pred > 0 {
		flags |= fragPred
	}
	sized := f.headOctets(base)+len(f.body) != room
	if sized {
		flags |= fragSized
	}
	dst = append(dst, flags)
	if !f.near(base) {
		dst = binary.BigEndian.AppendUint16(dst, f.seq)
	}
	switch {
	case !f.first:
		dst = binary.BigEndian.AppendUint16(dst, uint16(f.offset))
	case f.pred >= 0x80:
		dst = append(dst, byte(f.pred>>8)|0x80, byte(f.pred))
	case f.pred > 0:
		dst = append(dst, byte(f.pred))
	}
	if sized {
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(f.body)))
	}
	return append(dst, f.body...)
}

// fitFragment is how many of n octets fit behind a header of head octets into
// room; ok is false when not even one does, or, for n = 0, when the header does
// not.
func fitFragment(head, n, room int) (fit int, ok bool) {
	switch {
	case head+n == room:
		return n, true
	case head+2+n <= room:
		return n, true
	case head+n > room && room > head && n > 0:
		return room - head, true
	case room > head+2 && n > 1:
		return room - head - 2, true // one or two octets short of filling the frame: length field instead
	}
	return 0, false
}

// nextFragment cuts the first fragment off a frame of a burst with a base. done is true
// at the frame's end or its padding; ok is false for what no station sends.
func nextFragment(p []byte, base uint16) (f fragment, rest []byte, done, ok bool) {
	if len(p) == 0 || p[0]&fragMark == 0 {
		return f, nil, true, true
	}
	flags := p[0]
	p = p[1:]
	short := false
	number := func() (v uint16) {
		if len(p) < 2 {
			short = true
			return 0
		}
		v, p = binary.BigEndian.Uint16(p), p[2:]
		return v
	}
	switch {
	case flags&fragNear != 0:
		f.first, f.last = true, true
		f.seq = base + (uint16(flags)-base)&fragLow
	case flags&fragRest != 0:
		return f, nil, false, false
	default:
		f.first, f.last = flags&fragFirst != 0, flags&fragLast != 0
		f.seq = number()
	}
	switch {
	case !f.first:
		f.offset = int(number())
		short = short || flags&fragPred != 0
	case flags&fragPred == 0:
	case len(p) > 0 && p[0] < 0x80:
		f.pred, p = uint16(p[0]), p[1:]
	default:
		f.pred = number() & 0x7fff
	}
	n := len(p)
	if flags&fragSized != 0 {
		n = int(number())
	}
	void := f.whole() && n == 0
	if short || n > len(p) || f.pred >= window || f.offset+n > maxWire || n == 0 && !void || !f.first && f.offset == 0 {
		return f, nil, false, false
	}
	f.body = p[:n]
	return f, p[n:], false, true
}

// span is a half-open range of octets of a packet.
type span struct{ from, to int }

// spans is a set of octets: sorted, neither touching nor overlapping.
type spans []span

// add puts [from, to) into the set.
func (s spans) add(from, to int) spans {
	if from >= to {
		return s
	}
	i := 0
	for i < len(s) && s[i].to < from {
		i++
	}
	j := i
	for j < len(s) && s[j].from <= to {
		from, to = min(from, s[j].from), max(to, s[j].to)
		j++
	}
	if i == j {
		s = append(s, span{})
		copy(s[i+1:], s[i:])
		s[i] = span{from, to}
		return s
	}
	s[i] = span{from, to}
	return append(s[:i+1], s[j:]...)
}

// remove takes [from, to) out of the set.
func (s spans) remove(from, to int) spans {
	if from >= to {
		return s
	}
	for i := 0; i < len(s); i++ {
		v := s[i]
		switch {
		case v.to <= from || v.from >= to:
		case v.from < from && v.to > to:
			s = append(s, span{})
			copy(s[i+1:], s[i:])
			s[i], s[i+1] = span{v.from, from}, span{to, v.to}
			return s
		case v.from < from:
			s[i].to = from
		case v.to > to:
			s[i].from = to
		default:
			s = append(s[:i], s[i+1:]...)
			i--
		}
	}
	return s
}

// contains reports whether all of [from, to) is in the set.
func (s spans) contains(from, to int) bool {
	return slices.ContainsFunc(s, func(v span) bool { return v.from <= from && v.to >= to })
}

// covers reports whether the set is exactly [0, n).
func (s spans) covers(n int) bool { return len(s) == 1 && s[0] == span{0, n} }

// octets in the set.
func (s spans) octets() (n int) {
	for _, v := range s {
		n += v.to - v.from
	}
	return n
}
