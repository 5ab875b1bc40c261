package ofdm

import (
	"encoding/binary"

	"lightsong/modem"
	"lightsong/modem/fec"
)

// coder holds the codes of a burst and the bits on their way between octets and
// carriers, in both directions.
type coder struct {
	header  headerCode
	control controlCode
	payload *fec.LDPC
	qams    [maxQAMBits/2 + 1]*qam
	shaped  qam // of the payload, if it is shaped

	info    []byte
	octets  []byte
	both    []byte   // control block and frame
	head    []byte   // coded bits of header and control in the order of their places
	body    []byte   // coded bits of the payload, cell after cell, scrambled
	current struct { // what payload is set to
		k, e, bits int
		shaped     shaping
		budget     int
	}
	bits       []byte // of a frame
	data       []byte // of a codeword, for the matcher
	amplitudes []byte // coarse ones
}

const maxQAMBits = 24

func newCoder() coder {
	return coder{payload: new(fec.LDPC)}
}

// headerCode is the polar code of the header. Beyond the length that a polar code
// makes use of, its word is sent again from the start.
type headerCode struct {
	code   *fec.Polar
	coded  int
	word   []byte
	folded []modem.LLR
}

const (
	headerInfoBits = 33  // 7 MCS, 8 frames, 12 octets, 6 control octets
	headerWord     = 512 // coded bits before repetition: a rate of 1/8 and less is no better than repetition
	headerList     = 8   // paths of the decoder
)

func (h *headerCode) set(coded int) {
	if h.coded == coded {
		return
	}
	word := min(coded, headerWord)
	code, err := fec.NewPolar(headerInfoBits, word, fec.CRC16, headerList)
	if err != nil {
		panic("ofdm: " + err.Error()) // the tables are part of the program
	}
	h.code, h.coded = code, coded
	h.folded = make([]modem.LLR, word)
}

// encode appends the coded bits of a header.
func (h *headerCode) encode(dst, info []byte) []byte {
	h.word = h.code.Encode(h.word[:0], info)
	for n := h.coded; n > 0; n -= len(h.word) {
		dst = append(dst, h.word[:min(n, len(h.word))]...)
	}
	return dst
}

func (h *headerCode) decode(info []byte, llr []modem.LLR) bool {
	clear(h.folded)
	for i, v := range llr {
		h.folded[i%len(h.folded)] += v
	}
	return h.code.Decode(info, h.folded)
}

// controlCode is the code of the control block.
type controlCode struct {
	code fec.LDPC
	k, e int
	soft []modem.LLR
}

func (c *controlCode) set(k, e int) {
	if c.k == k && c.e == e {
		return
	}
	if err := c.code.Reset(fec.BG2, k, e, 1); err != nil {
		panic("ofdm: " + err.Error()) // lengths come from a plan, which has checked them
	}
	c.k, c.e = k, e
	c.soft = resize(c.soft, c.code.N())
}

func (c *controlCode) encode(dst, info []byte) []byte { return c.code.Encode(dst, info, 0) }

func (c *controlCode) decode(info []byte, llr []modem.LLR) {
	clear(c.soft)
	c.code.Dematch(c.soft, llr, 0)
	c.code.Decode(info, c.soft, 40)
}

func (c *coder) qam(bits int) *qam {
	q := &c.qams[bits/2]
	if *q == nil {
		*q = newQAM(bits)
	}
	return *q
}

// headerInfo are the header's bits.
func headerInfo(dst []byte, p *plan) []byte {
	dst = dst[:0]
	for _, f := range []struct{ v, bits int }{{p.mcs, 7}, {p.frames, 8}, {p.octets, 12}, {p.control, 6}} {
		for i := f.bits - 1; i >= 0; i-- {
			dst = append(dst, byte(f.v>>i&1))
		}
	}
	return dst
}

// readHeader is the inverse of headerInfo.
func readHeader(info []byte) (mcs, frames, octets, control int) {
	at := 0
	field := func(bits int) (v int) {
		for range bits {
			v = v<<1 | int(info[at])
			at++
		}
		return v
	}
	return field(7), field(8), field(12), field(6)
}

// controlBits is how many coded bits the control block has in the plan, and
// where in the order of places they begin.
func (p *plan) controlBits() (at, bits int) {
	at = p.class.coded
	if p.isBlock {
		return at, 2 * p.controlCells
	}
	total := 0
	for i := range p.headCount - p.headTraining {
		total += 2 * p.headPlaces(i)
	}
	if p.control == 0 || p.joint {
		return at, 0
	}
	return at, total - at
}

// encodeHead makes the coded bits of header and control.
func (c *coder) encodeHead(p *plan, b *modem.Burst) {
	c.info = headerInfo(c.info, p)
	c.header.set(p.class.coded)
	c.head = c.header.encode(c.head[:0], c.info)
	if _, bits := p.controlBits(); bits > 0 {
		c.octets = append(c.octets[:0], b.Control...)
		c.octets = appendCheck(c.octets)
		c.info = unpack(c.info[:0], c.octets)
		c.control.set(len(c.info), bits)
		c.head = c.control.encode(c.head, c.info)
	}
	for i := range c.head {
		c.head[i] ^= flip(i)
	}
}

// headPlace is the order in which the coded bits of the head lie on the
// carriers that are no pilots: the QPSK symbol n of the header's own symbols at
// place n·step, those of the control block after them symbol by symbol, permuted
// in each.
type headOrder struct {
	own, ownInvert int // places in the header's symbols
}

func (p *plan) headOrder() headOrder {
	var o headOrder
	for i := range p.headerOnly {
		o.own += p.headPlaces(i)
	}
	o.ownInvert = spread(o.own)
	return o
}

// symbolAt is the number of the QPSK symbol at a place; base counts the places
// of the symbols before, n is the number of places in this symbol.
func (o headOrder) symbolAt(place, base, n, invert int) int {
	if base < o.own {
		return (base + place) * o.ownInvert % o.own
	}
	return base + place*invert%n
}

// headValues writes the carriers of head symbol i, training first.
func (c *coder) headValues(dst []complex64, p *plan, i int) []complex64 {
	for j := range dst {
		dst[j] = known(p.headPart(), i, j)
	}
	if i < p.headTraining {
		return dst
	}
	s := i - p.headTraining
	base := 0
	for j := range s {
		base += p.headPlaces(j)
	}
	o := p.headOrder()
	offset, every := p.headComb(s)
	n := p.headPlaces(s)
	invert := spread(max(n, 1))
	place := 0
	q := c.qam(2)
	for j := range dst {
		if j%every == offset {
			continue
		}
		if v := 2 * o.symbolAt(place, base, n, invert); v < len(c.head) {
			dst[j] = q.point(c.head[v:])
		}
		place++
	}
	return dst
}

// setPayload makes c.payload the code of the plan and c.shaped its
// constellation, if that is shaped.
func (c *coder) setPayload(p *plan) {
	now := &c.current
	if now.k == p.k && now.e == p.e && now.bits == p.mode.bits && now.shaped == p.shaping && now.budget == p.budget {
		return
	}
	if err := c.payload.Reset(p.graph(), p.k, p.e, p.mode.bits); err != nil {
		panic("ofdm: " + err.Error()) // lengths come from a plan, which has checked them
	}
	if b := p.shaping.bits; b > 0 {
		c.payload.FillFirst(2, 2+2*b)
		var prob [8]float64
		s := spheres[b]
		maxwellBoltzmann(prob[:1<<b], float64(p.budget)/fec.SphereScale, float64(min(2*p.cells, s.Longest())))
		c.shaped.shape(p.mode.bits, prob[:1<<b])
	}
	now.k, now.e, now.bits, now.shaped, now.budget = p.k, p.e, p.mode.bits, p.shaping, p.budget
}

// bodyQAM is the constellation of the payload, which setPayload has made.
func (c *coder) bodyQAM(p *plan) *qam {
	if p.shaping.bits > 0 {
		return &c.shaped
	}
	return c.qam(p.mode.bits)
}

// frameInfo fills info with the information bits of the codewords of a unit: its
// octets, whitened, and check, of shaped modes with the labels that stand for them.
func (c *coder) frameInfo(info []byte, p *plan, octets []byte) {
	c.octets = appendCheck(append(c.octets[:0], octets...))
	whiten(c.octets)
	c.bits = unpack(c.bits[:0], c.octets)
	for w := range p.words {
		word := info[w*p.k:][:p.k]
		data := c.bits[min(w*p.net, len(c.bits)):min((w+1)*p.net, len(c.bits))]
		if p.shaped > 0 {
			c.shape(word, p, data)
		} else {
			clear(word[copy(word, data):])
		}
	}
}

// frameData is the inverse of frameInfo: it packs the frame's octets and check
// into frame. ok is false if a codeword is none that frameInfo makes.
func (c *coder) frameData(frame []byte, p *plan, info []byte) (ok bool) {
	c.bits = resize(c.bits, p.words*p.net)
	for w := range p.words {
		word, data := info[w*p.k:][:p.k], c.bits[w*p.net:][:p.net]
		if p.shaped == 0 {
			copy(data, word)
		} else if !c.unshape(data, p, word) {
			return false
		}
	}
	pack(frame, c.bits)
	whiten(frame)
	return true
}

// shape fills the information bits of a codeword with data.
func (c *coder) shape(word []byte, p *plan, data []byte) {
	hidden, b := fec.Hidden(fec.BG1, p.k), p.shaping.bits
	c.data = resize(c.data, p.matched)
	n := copy(c.data, data)
	clear(c.data[n:])
	c.amplitudes = resize(c.amplitudes, 2*p.cells)
	spheres[b].Shape(c.amplitudes, c.data, p.budget)
	data = data[n:]
	n = copy(word[:hidden], data)
	clear(word[n:hidden])
	rest := word[hidden+p.shaped:]
	clear(rest[copy(rest, data[n:]):])
	for i, a := range c.amplitudes {
		c.amplitudes[i] = byte(label(int(a), b))
	}
	// In the order in which the bit interleaver takes them.
	labels := word[hidden:][:p.shaped]
	for row := range 2 * b {
		at := 2 + row
		for cell := range p.cells {
			labels[row*p.cells+cell] = c.amplitudes[2*cell+row&1]>>(b-1-row/2)&1 ^ flip(at)
			at += p.mode.bits
		}
	}
}

// unshape is the inverse of shape.
func (c *coder) unshape(data []byte, p *plan, word []byte) (ok bool) {
	hidden, b := fec.Hidden(fec.BG1, p.k), p.shaping.bits
	c.amplitudes = resize(c.amplitudes, 2*p.cells)
	clear(c.amplitudes)
	labels := word[hidden:][:p.shaped]
	for row := range 2 * b {
		at := 2 + row
		for cell := range p.cells {
			a := &c.amplitudes[2*cell+row&1]
			*a = *a<<1 | labels[row*p.cells+cell] ^ flip(at)
			at += p.mode.bits
		}
	}
	for i, v := range c.amplitudes {
		c.amplitudes[i] = byte(unlabel(int(v), b))
	}
	c.data = resize(c.data, p.matched)
	if !spheres[b].Unshape(c.data, c.amplitudes, p.budget) {
		return false
	}
	n := copy(data, c.data)
	n += copy(data[n:], word[:hidden])
	copy(data[n:], word[hidden+p.shaped:])
	return true
}

// unit is what is coded as number f.
func (c *coder) unit(p *plan, b *modem.Burst, f int) []byte {
	if !p.joint {
		return b.Frames[f]
	}
	c.both = append(c.both[:0], b.Control...)
	for _, f := range b.Frames {
		c.both = append(c.both, f...)
	}
	return c.both
}

// encodeBody makes the coded bits of all units.
func (c *coder) encodeBody(p *plan, b *modem.Burst) {
	c.setPayload(p)
	c.body = c.body[:0]
	c.info = resize(c.info, p.words*p.k)
	for f := range p.units {
		c.frameInfo(c.info, p, c.unit(p, b, f))
		for w := range p.words {
			c.body = c.payload.Encode(c.body, c.info[w*p.k:][:p.k], 0)
		}
	}
	for i := range c.body {
		c.body[i] ^= flip(i % p.e)
	}
}

// bodyValues writes the carriers of body symbol i, training first.
func (c *coder) bodyValues(dst []complex64, p *plan, i int) []complex64 {
	for j := range dst {
		dst[j] = known(bodyPart, i, j)
	}
	if i < p.training {
		return dst
	}
	q := c.bodyQAM(p)
	order := p.order(i)
	offset, every := p.comb(i)
	for j := range dst {
		if j%every == offset {
			continue
		}
		cell, ok := order.next()
		if !ok {
			break // the rest keeps known values
		}
		dst[j] = c.cell(q, p, cell)
	}
	return dst
}

// cell is the symbol of a cell.
func (c *coder) cell(q *qam, p *plan, cell int) complex64 { return q.point(c.body[cell*p.mode.bits:]) }

// appendCheck appends the CRC-32 of p, most significant octet first.
func appendCheck(p []byte) []byte {
	c := fec.CRC32(p)
	return append(p, byte(c>>24), byte(c>>16), byte(c>>8), byte(c))
}

// checked is whether the last four octets of p are the check of the others.
func checked(p []byte) bool {
	n := len(p) - frameCheck
	c := fec.CRC32(p[:n])
	return p[n] == byte(c>>24) && p[n+1] == byte(c>>16) && p[n+2] == byte(c>>8) && p[n+3] == byte(c)
}

// whiten adds a pseudo-random sequence to what precedes the check in p, which says
// where in the sequence it begins. The same call undoes it. Frames that differ at all,
// in a number perhaps, have codewords as unlike as if they had nothing in common: what
// a receiver takes for two copies of one codeword is that.
func whiten(p []byte) {
	n := len(p) - frameCheck
	x := binary.BigEndian.Uint32(p[n:])
	for i := range p[:n] {
		x = xorshift(x)
		p[i] ^= byte(x >> 24)
	}
}

// unpack appends the bits of p to dst, most significant first.
func unpack(dst, p []byte) []byte {
	for _, b := range p {
		for i := 7; i >= 0; i-- {
			dst = append(dst, b>>i&1)
		}
	}
	return dst
}

// pack writes the bits to the octets of dst.
func pack(dst, bits []byte) {
	for i := range dst {
		b := byte(0)
		for _, v := range bits[8*i:][:8] {
			b = b<<1 | v&1
		}
		dst[i] = b
	}
}
