package header

// number is a field that is sent as its least significant bits, or predicted.
// Those of 16 bits are in the upper half of a word, so that one arithmetic modulo
// 2^32 serves all.
type number int

const (
	numSeq number = iota
	numNext
	numAck
	numVal
	numEcr
	numID
	numNextID
	numEcho
	numNextEcho
	numbers
)

func (f *fields) numbers() [numbers]uint32 {
	return [numbers]uint32{
		numSeq: f.seq, numNext: f.next, numAck: f.ack, numVal: f.tsVal, numEcr: f.tsEcr,
		numID: uint32(f.id) << 16, numNextID: uint32(f.nextID()) << 16,
		numEcho: uint32(f.echo) << 16, numNextEcho: uint32(f.echo+1) << 16,
	}
}

// nextID is the identifier to be expected in the packet behind: hosts count the
// packets of a connection, or send zeros where nothing may be fragmented.
func (f *fields) nextID() uint16 {
	if f.id == 0 {
		return 0
	}
	return f.id + 1
}

// reach is the values that a number has in a range of packets.
type reach struct {
	lo, hi uint32 // modulo 2^32
	wild   bool   // they lie too far apart for an order
}

const widest = 1 << 30

func (r *reach) add(v uint32) {
	switch {
	case v-r.lo <= r.hi-r.lo:
	case v-r.hi < widest && v-r.lo < widest:
		r.hi = v
	case r.lo-v < widest && r.hi-v < widest:
		r.lo = v
	default:
		r.wild = true
	}
}

func (r *reach) join(o *reach) {
	r.add(o.lo)
	r.add(o.hi)
	r.wild = r.wild || o.wild
}

// is tells whether the only value is v.
func (r *reach) is(v uint32) bool { return !r.wild && r.lo == v && r.hi == v }

// below is how far (in units of the least significant bit) a value of k bits may
// lie below the reference: a little where there are many bits, for packets that
// were reordered before they came here.
func below(k int) uint32 {
	if k < 12 {
		return 0
	}
	return 1 << (k - 5)
}

// fits tells whether the k least significant bits identify v, whichever value of r
// the other side refers to. unit is the weight of the least significant bit.
func (r *reach) fits(v uint32, k int, unit uint32) bool {
	if r.wild || r.hi-r.lo >= widest {
		return false
	}
	up, down := (v-r.lo)/unit+below(k), (v-r.hi)/unit+below(k)
	if unit > 1 {
		up, down = up&(1<<16-1), down&(1<<16-1)
	}
	return up < 1<<k && down <= up
}

// resolve is the value whose k least significant bits are low, seen from a
// reference.
func resolve(ref, low uint32, k int) uint32 {
	base := ref - below(k)
	return base + (low-base)&(1<<k-1)
}

// stretch is what the other side may refer to: the packets up to last that are
// not in the stretch before.
type stretch struct {
	last  uint64
	reach [numbers]reach
}

// maxStretches bounds the memory of a window; a longer one is kept more coarsely.
const maxStretches = 8

// refs are the packets that the other side may have seen last.
type refs struct {
	n    int
	list [maxStretches]stretch
}

// add notes a packet.
func (w *refs) add(n uint64, f *fields) {
	if w.n == maxStretches {
		for i := range maxStretches / 2 {
			a, b := w.list[2*i], w.list[2*i+1]
			for j := range a.reach {
				a.reach[j].join(&b.reach[j])
			}
			a.last = b.last
			w.list[i] = a
		}
		w.n /= 2
	}
	s := &w.list[w.n]
	s.last = n
	for i, v := range f.numbers() {
		s.reach[i] = reach{lo: v, hi: v}
	}
	w.n++
}

// acknowledged drops what came before a packet that the other side has.
func (w *refs) acknowledged(n uint64) {
	i := 0
	for i < w.n && w.list[i].last < n {
		i++
	}
	copy(w.list[:], w.list[i:w.n])
	w.n -= i
}

// all is the values that the numbers have in the window, which is not empty.
func (w *refs) all(dst *[numbers]reach) {
	*dst = w.list[0].reach
	for i := 1; i < w.n; i++ {
		for j := range dst {
			dst[j].join(&w.list[i].reach[j])
		}
	}
}
