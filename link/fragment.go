package link

import "encoding/binary"

// Flags of a fragment. An octet without fragMark ends the fragments of a frame;
// the rest is padding.
const (
	fragMark  = 0x80
	fragFirst = 0x40 // begins its packet: carries the distance to its predecessor instead of an offset
	fragLast  = 0x20 // ends its packet
	fragSized = 0x10 // carries its length; otherwise it extends to the end of the frame

	fragKnown = fragMark | fragFirst | fragLast | fragSized
	fragHead  = 7 // octets of the longest header
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

// headOctets of the fragment's header when it fills its frame. A fragment that
// does not needs two more.
func (f *fragment) headOctets() int {
	switch {
	case !f.first:
		return 5
	case f.pred < 0x80:
		return 4
	default:
		return 5
	}
}

// appendTo appends header and body; room is what is left of the frame in octets.
// The fragment must fit: fitFragment tells how much of a packet does.
func (f *fragment) appendTo(dst []byte, room int) []byte {
	flags := byte(fragMark)
	if f.first {
		flags |= fragFirst
	}
	if f.last {
		flags |= fragLast
	}
	sized := f.headOctets()+len(f.body) != room
	if sized {
		flags |= fragSized
	}
	dst = append(dst, flags)
	dst = binary.BigEndian.AppendUint16(dst, f.seq)
	switch {
	case !f.first:
		dst = binary.BigEndian.AppendUint16(dst, uint16(f.offset))
	case f.pred < 0x80:
		dst = append(dst, byte(f.pred))
	default:
		dst = append(dst, byte(f.pred>>8)|0x80, byte(f.pred))
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

// nextFragment cuts the first fragment off a frame. done is true at the frame's
// end or its padding; ok is false for what no station sends.
func nextFragment(p []byte) (f fragment, rest []byte, done, ok bool) {
	if len(p) == 0 || p[0]&fragMark == 0 {
		return f, nil, true, true
	}
	flags := p[0]
	if flags&^fragKnown != 0 || len(p) < 4 {
		return f, nil, false, false
	}
	f = fragment{seq: binary.BigEndian.Uint16(p[1:]), first: flags&fragFirst != 0, last: flags&fragLast != 0}
	p = p[3:]
	switch {
	case f.first && p[0] < 0x80:
		f.pred, p = uint16(p[0]), p[1:]
	case len(p) < 2:
		return f, nil, false, false
	case f.first:
		f.pred, p = binary.BigEndian.Uint16(p)&0x7fff, p[2:]
	default:
		f.offset, p = int(binary.BigEndian.Uint16(p)), p[2:]
	}
	n := len(p)
	if flags&fragSized != 0 {
		if len(p) < 2 {
			return f, nil, false, false
		}
		n, p = int(binary.BigEndian.Uint16(p)), p[2:]
	}
	void := f.first && f.last && n == 0
	if n > len(p) || f.pred >= window || f.offset+n > maxWire || n == 0 && !void || !f.first && f.offset == 0 {
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

// covers reports whether the set is exactly [0, n).
func (s spans) covers(n int) bool { return len(s) == 1 && s[0] == span{0, n} }

// octets in the set.
func (s spans) octets() (n int) {
	for _, v := range s {
		n += v.to - v.from
	}
	return n
}
