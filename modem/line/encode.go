package line

import (
	"encoding/binary"
	"fmt"

	"lightsong/modem"
	"lightsong/modem/fec"
)

// Body is the body of a light frame: what a board sends at a chip rate.
type Body struct {
	Rate   int // 0 to Rates−1
	Octets []byte
}

// Encoder turns bursts into bodies. Its zero value is ready. One caller uses it
// at a time; after the first bursts it allocates nothing.
type Encoder struct {
	// Copies tells that the highest chip rate may be used: short bursts at slow ones
	// are then sent at that one too, ahead.
	Copies bool

	form    *form // nil: boards with a comparator
	tag     uint8
	head    *fec.Polar
	control ldpc
	frame   ldpc
	copied  ldpc // of frames in copies

	bodies  []Body
	store   []byte
	content []byte
	message []byte
	bits    []byte
	coded   []byte
}

// Micros is the exact time of a burst on the light, from its first chip to its
// last, in µs of the board's clock; 0 for a burst that cannot be sent. Only the
// lengths in b matter. copies is the Encoder's Copies.
func Micros(b *modem.Burst, copies bool) int {
	p, err := boards.planOf(b)
	if err != nil {
		return 0
	}
	if copies {
		return p.copyTime() + p.total()
	}
	return p.total()
}

// planOf plans a burst. Frames of unequal length are a fault, and so are empty
// ones.
func (f *form) planOf(b *modem.Burst) (plan, error) {
	octets := 0
	if len(b.Frames) > 0 {
		octets = len(b.Frames[0])
	}
	for i, x := range b.Frames {
		if len(x) != octets {
			return plan{}, fmt.Errorf("%w: frame %d has %d octets, frame 0 has %d", modem.ErrBurst, i, len(x), octets)
		}
	}
	return f.layOut(b.MCS, len(b.Frames), octets, len(b.Control))
}

// Encode returns the bodies of a burst, in the order in which they are sent
// with PauseMicros between them. They belong to the Encoder and are valid until
// the next call. Errors wrap modem.ErrBurst.
func (e *Encoder) Encode(b *modem.Burst) ([]Body, error) {
	form := e.form
	if form == nil {
		form = boards
	}
	p, h, err := e.begin(form, b)
	if err != nil {
		return nil, err
	}
	q, copied := p.copy()
	copied = copied && e.Copies
	total := 0
	if copied {
		total = bodyOctets(q.content(0))
	}
	for i := range p.segments {
		total += bodyOctets(p.content(i))
	}
	if cap(e.store) < total {
		e.store = make([]byte, 0, total)
	}
	e.store, e.bodies = e.store[:0], e.bodies[:0]
	if copied {
		if q.frames > 0 {
			if err := e.copied.set(q.octets+checkOctets, q.coded); err != nil {
				return nil, fmt.Errorf("%w: %w", modem.ErrBurst, err)
			}
		}
		e.segment(b, &q, &h, copySegment)
		e.appendBody(&q)
	}
	for i := range p.segments {
		e.segment(b, &p, &h, i)
		e.appendBody(&p)
	}
	return e.bodies, nil
}

// appendBody adds the body of the content at hand.
func (e *Encoder) appendBody(p *plan) {
	start := len(e.store)
	e.store = appendBody(e.store, e.content)
	e.bodies = append(e.bodies, Body{Rate: p.scheme.rate, Octets: e.store[start:]})
}

// begin plans a burst and makes its codes ready.
func (e *Encoder) begin(f *form, b *modem.Burst) (p plan, h header, err error) {
	if p, err = f.planOf(b); err != nil {
		return p, h, err
	}
	if p.frames > 0 && p.scheme.num != p.scheme.den {
		if err := e.frame.set(p.octets+checkOctets, p.coded); err != nil {
			return p, h, fmt.Errorf("%w: %w", modem.ErrBurst, err)
		}
	}
	if p.control > 0 {
		if err := e.control.set(p.control+checkOctets, p.codedControl); err != nil {
			return p, h, fmt.Errorf("%w: %w", modem.ErrBurst, err)
		}
	}
	if e.head == nil {
		e.head = newHeadCode()
	}
	e.tag = (e.tag + 1) % tags
	return p, header{mcs: p.mcs, frames: p.frames, octets: p.octets, control: p.control, tag: e.tag}, nil
}

// segment makes the content of segment i, not yet whitened.
func (e *Encoder) segment(b *modem.Burst, p *plan, h *header, i int) {
	frame := &e.frame
	if h.segment = i; i == copySegment {
		h.segment, frame = p.segments, &e.copied
	}
	e.content = e.appendHead(e.content[:0], h)
	if p.hasControl(i) {
		e.content = e.appendCoded(e.content, &e.control, b.Control)
	}
	from, to := p.span(i)
	for _, f := range b.Frames[from:to] {
		if p.scheme.num == p.scheme.den {
			e.content = appendChecked(e.content, f)
		} else {
			e.content = e.appendCoded(e.content, frame, f)
		}
	}
}

func (e *Encoder) appendHead(dst []byte, h *header) []byte {
	e.bits = h.appendBits(e.bits[:0])
	e.coded = e.head.Encode(e.coded[:0], e.bits)
	return appendOctets(dst, e.coded)
}

func appendChecked(dst, octets []byte) []byte {
	return binary.BigEndian.AppendUint32(append(dst, octets...), fec.CRC32(octets))
}

func (e *Encoder) appendCoded(dst []byte, code *ldpc, octets []byte) []byte {
	e.message = appendChecked(e.message[:0], octets)
	e.bits = appendBits(e.bits[:0], e.message)
	e.coded = code.Encode(e.coded[:0], e.bits, 0)
	return appendOctets(dst, e.coded)
}

// appendBody whitens content and puts the markers in.
func appendBody(dst, content []byte) []byte {
	for i, v := range content {
		if i > 0 && i%markerEvery == 0 {
			dst = append(dst, Marker)
		}
		dst = append(dst, v^whitening[i])
	}
	return dst
}
