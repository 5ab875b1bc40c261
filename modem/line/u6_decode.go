package line

import (
	"math"
	"math/bits"

	"lightsong/modem"
)

const (
	u6HeadChars = (8*headOctets + u6Bits - 1) / u6Bits
	u6HeadSlack = 2  // characters more that are waited for, as one may have come in between
	u6Tail      = 4  // likewise at a segment's end; idle characters follow it anyway
	u6MaxShift  = 8  // characters too many or too few between two marks that are looked for
	u6Merge     = 3  // groups that may lie between two marks that are found
	u6SyncLeast = 5  // characters of a sync word that have to fit
	u6Levels    = 9  // of the share of wrong characters for which tables are made, each 4 times the one before
	u6LevelBase = 4. //
	u6Least     = 1e-5
)

// U6Decoder turns the characters that a UART hears into events. Its zero value is
// ready. One caller uses it at a time. It never fails and never panics; gaps,
// characters too many and noise cost frames, nothing else. Start and End of events
// count characters since its creation.
//
//	characters ─ sync word ─ header ─ segment ─ alignment by marks ─ LLRs ─ decoding, checks
type U6Decoder struct {
	dec     Decoder
	tables  [u6Levels]*[256][u6Bits]modem.LLR
	seen    int64
	window  [u6Sync]byte
	state   u6State
	chars   []byte // since the sync word
	want    int    // of them
	began   int64  // the first character of the burst under way
	head    [u6HeadChars]int32
	index   []int32 // of the character for each symbol; −1: none
	emit    func(modem.Event)
	wrapped func(modem.Event)
}

type u6State uint8

const (
	u6Hunting u6State = iota
	u6Heading
	u6Collecting
)

// Push takes the next characters and calls emit for what they complete. What
// events point to is the U6Decoder's and valid until emit returns.
func (d *U6Decoder) Push(chars []byte, emit func(modem.Event)) {
	d.ready(emit)
	for _, c := range chars {
		d.seen++
		copy(d.window[:], d.window[1:])
		d.window[u6Sync-1] = c
		if d.synchronised() {
			d.finish()
			d.state, d.chars = u6Heading, d.chars[:0]
			continue
		}
		switch d.state {
		case u6Hunting:
		case u6Heading:
			if d.chars = append(d.chars, c); len(d.chars) == u6HeadChars+u6HeadSlack {
				d.heading()
			}
		case u6Collecting:
			if d.chars = append(d.chars, c); len(d.chars) >= d.want {
				d.finish()
			}
		}
	}
}

func (d *U6Decoder) ready(emit func(modem.Event)) {
	d.emit = emit
	if d.wrapped == nil {
		d.dec.form = u6Form
		d.wrapped = d.tell
	}
}

// tell adds to an event where it happened.
func (d *U6Decoder) tell(ev modem.Event) {
	switch ev.Kind {
	case modem.Announced:
		// The header is in, with the characters that were waited for.
		d.began = d.seen - u6HeadChars - u6HeadSlack - u6Sync - u6Lead
		ev.Start, ev.End = d.began, d.began+int64(d.dec.plan.rest(d.dec.header.segment))
	case modem.Received:
		ev.Start, ev.End = d.began, d.seen
	default:
		ev.Start, ev.End = d.seen, d.seen
	}
	d.emit(ev)
}

// synchronised tells whether the last characters are a sync word, as far as
// u6SyncLeast of them go. Of itself, moved, it has at most 2 in the same place.
func (d *U6Decoder) synchronised() bool {
	n := 0
	for i, c := range d.window {
		if c == u6SyncWord[i] {
			n++
		}
	}
	return n >= u6SyncLeast
}

// heading reads the header, in step or with one character lost or too many at the
// first that is no data.
func (d *U6Decoder) heading() {
	at := 0
	for at < u6HeadChars && u6Values[d.chars[at]] < u6Control {
		at++
	}
	for try := range 3 {
		for i := range d.head {
			j := i
			switch {
			case try == 1 && i == at: // lost
				j = -1
			case try == 1 && i > at:
				j = i - 1
			case try == 2 && i >= at: // too many
				j = i + 1
			}
			d.head[i] = int32(j)
		}
		d.dec.llr = d.llrs(d.dec.llr[:0], d.head[:], headOctets, 0.01)
		var h header
		if p, ok := d.dec.readHead(&h); ok {
			d.dec.enter(h, p, d.wrapped)
			d.state, d.want = u6Collecting, u6Characters(p.content(h.segment))+u6Tail
			return
		}
		if at == u6HeadChars {
			break
		}
	}
	// It may still be the next segment of the burst under way.
	if p := &d.dec.plan; d.dec.open && d.dec.header.segment+1 < p.segments {
		d.dec.header.segment++
		d.state, d.want = u6Collecting, u6Characters(p.content(d.dec.header.segment))+u6Tail
		return
	}
	d.state = u6Hunting
	d.dec.missed(d.wrapped)
}

// finish decodes what has come of the segment under way.
func (d *U6Decoder) finish() {
	if d.state == u6Heading {
		d.dec.missed(d.wrapped)
	}
	if d.state != u6Collecting {
		d.state = u6Hunting
		return
	}
	d.state = u6Hunting
	p, segment := &d.dec.plan, d.dec.header.segment
	n := p.content(segment)
	symbols := u6Symbols(n)
	d.align(symbols)
	wrong, have := 0, 0
	for _, at := range d.index {
		if at >= 0 {
			have++
			if u6Values[d.chars[at]] >= u6Control {
				wrong++
			}
		}
	}
	ratio := 1.
	if 2*have >= symbols { // of one that was mostly dark nothing is known
		ratio = float64(wrong) / float64(have)
	}
	d.dec.llr = d.llrs(d.dec.llr[:0], d.index, n, u6ErrorsByWrong*ratio)
	d.dec.ratio = append(d.dec.ratio, ratio)
	d.dec.segment(&d.dec.plan, segment)
	if segment == p.segments-1 {
		d.dec.Flush(d.wrapped)
	}
}

// Remaining is how many characters are still to come of the burst under way; ok is
// false when none is.
func (d *U6Decoder) Remaining() (characters int, ok bool) {
	if !d.dec.open {
		return 0, false
	}
	if d.state != u6Collecting {
		return d.dec.plan.rest(d.dec.header.segment + 1), true
	}
	at := d.dec.plan.duration(d.dec.header.segment) - u6Lead - u6Sync - len(d.chars)
	return max(0, at) + d.dec.plan.rest(d.dec.header.segment+1), true
}

// Flush ends the burst under way: what has not come is lost. A receiver calls it
// when the time of the burst is over.
func (d *U6Decoder) Flush(emit func(modem.Event)) {
	d.ready(emit)
	d.finish()
	d.dec.Flush(d.wrapped)
}

// Reset forgets the burst under way and all characters seen, as after a gap. The
// count goes on.
func (d *U6Decoder) Reset() {
	d.state, d.window = u6Hunting, [u6Sync]byte{}
	d.dec.Reset()
}

// align finds the character of each symbol. Marks tell where characters were lost
// or came too many, and characters that are none of the code where that happened.
func (d *U6Decoder) align(symbols int) {
	d.index = d.index[:0]
	marks := (symbols - 1) / u6Group
	for at, g := 0, 0; g <= marks; {
		merged, length, delta := 1, d.spanTo(symbols, marks, g, 1), 0
		for k := 1; k <= u6Merge && g+k-1 <= marks; k++ {
			end := byte(u6Mark)
			if g+k-1 == marks {
				end = U6Idle
			}
			far := d.spanTo(symbols, marks, g, k)
			if off, found := d.mark(at+far, end); found {
				merged, length, delta = k, far, off
				break
			}
		}
		d.span(at, length, delta)
		at += length + delta + 1
		g += merged
	}
	d.index = d.index[:min(len(d.index), symbols)]
}

// spanTo is how many characters lie between the beginning of group g and the mark
// behind the kth group from there.
func (d *U6Decoder) spanTo(symbols, marks, g, k int) int {
	if g+k-1 == marks {
		return symbols - g*u6Group + k - 1
	}
	return k*(u6Group+1) - 1
}

// mark looks for a mark around a place, the nearest first.
func (d *U6Decoder) mark(at int, mark byte) (delta int, found bool) {
	for i := range 2*u6MaxShift + 1 {
		delta = (i + 1) / 2
		if i%2 == 0 {
			delta = -delta
		}
		if j := at + delta; j >= 0 && j < len(d.chars) && d.chars[j] == mark {
			return delta, true
		}
	}
	return 0, false
}

// span gives length symbols and inner marks, from the character at on, their
// characters, of which there are delta too many. Before the first that is none of
// the code all is in step with the beginning, after the last with the end; between
// them only what is the same both ways is known.
func (d *U6Decoder) span(at, length, delta int) {
	first, last := length, -1
	if delta != 0 {
		for i := range length + delta {
			if j := at + i; j < len(d.chars) && u6Values[d.chars[j]] == u6Wrong {
				first, last = min(first, i), i
			}
		}
	}
	for i := range length {
		if i%(u6Group+1) == u6Group { // an inner mark
			continue
		}
		left, right := at+i, at+i+delta
		use := left
		switch {
		case delta == 0 || i < first && last >= 0:
		case last >= 0 && i+delta > last:
			use = right
		case left >= 0 && right >= 0 && left < len(d.chars) && right < len(d.chars) && d.chars[left] == d.chars[right]:
		default:
			use = -1
		}
		if use >= len(d.chars) {
			use = -1
		}
		d.index = append(d.index, int32(use))
	}
}

// llrs appends the LLRs of n octets of content, whitening undone, from the
// characters at index; wrong is the share of wrong characters.
func (d *U6Decoder) llrs(dst []modem.LLR, index []int32, n int, wrong float64) []modem.LLR {
	table := d.table(wrong)
	bit := 0
	for _, at := range index {
		var l [u6Bits]modem.LLR
		if at >= 0 && int(at) < len(d.chars) {
			l = table[d.chars[at]]
		}
		for _, v := range l {
			if bit == 8*n {
				return dst
			}
			if whitening[bit/8]>>(7-bit%8)&1 != 0 {
				v = -v
			}
			dst = append(dst, v)
			bit++
		}
	}
	for ; bit < 8*n; bit++ {
		dst = append(dst, 0)
	}
	return dst
}

// table is the LLRs of six bits by the character heard.
func (d *U6Decoder) table(wrong float64) *[256][u6Bits]modem.LLR {
	level := 0
	for p := u6Least * math.Sqrt(u6LevelBase); level < u6Levels-1 && wrong > p; p *= u6LevelBase {
		level++
	}
	if d.tables[level] == nil {
		d.tables[level] = u6Table(u6Least * math.Pow(u6LevelBase, float64(level)))
	}
	return d.tables[level]
}

// u6Table makes the LLRs for a share of wrong characters.
func u6Table(wrong float64) *[256][u6Bits]modem.LLR {
	t := new([256][u6Bits]modem.LLR)
	for heard := range t {
		var chance [u6Bits][2]float64
		for v, sent := range u6Octets {
			p := 1 - wrong
			if byte(heard) != sent {
				p = wrong * u6Becomes(sent, byte(heard))
			}
			for i := range chance {
				chance[i][v>>(u6Bits-1-i)&1] += p
			}
		}
		for i, c := range chance {
			t[heard][i] = modem.LLR(math.Log(c[0] / c[1]))
		}
	}
	return t
}

// u6Becomes is the chance that a wrong character is this one. Most have one
// wrong bit, and that beside an edge, which was late or early.
func u6Becomes(sent, heard byte) float64 {
	const (
		one, two, three, more = 0.6, 0.25, 0.1, 0.05 // shares by wrong bits
		elsewhere             = 0.2                  // of a wrong bit that is not beside an edge, against one that is
	)
	x := sent ^ heard
	switch bits.OnesCount8(x) {
	case 1:
		i := bits.TrailingZeros8(x) + 1
		line := uint16(sent)<<1 | 1<<9 // start bit, eight bits, stop bit
		if v := line >> i & 1; line>>(i-1)&1 != v || line>>(i+1)&1 != v {
			return one / 8
		}
		return one / 8 * elsewhere
	case 2:
		return two / 28
	case 3:
		return three / 56
	}
	return more / 163
}
