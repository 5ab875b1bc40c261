package fec

// The decoder: layered belief propagation (Hocevar, "A reduced complexity
// decoder architecture via layered decoding of LDPC codes", SiPS 2004) in
// 16-bit fixed point, Z checks at a time.
//
// The check node is the sum-product rule in its corrected min form (Chen,
// Dholakia, Eleftheriou, Fossorier, Hu, "Reduced-complexity decoding of LDPC
// codes", IEEE Trans. Commun. 53(8), 2005), over magnitudes a, b:
//
//	a ⊞ b = min(a,b) − f(|a−b|) + f(a+b),   f(x) = ln(1+e^−x)
//
// f is taken as ln2·(1−x/5.8)⁴ for x < 5.8 and 0 beyond, which is within 0.013
// of it everywhere and costs two 16-bit multiplications. Nothing in it depends
// on large LLRs: beyond 5.8 it is exactly min-sum, so strong inputs neither
// overflow nor lose precision as in the tanh form.
//
// The extension rows go first: most of them join one of the two columns that
// were never sent, so the core rows, which join both, already find them known.
// Against the table's order this halves the block errors left after few
// iterations.
//
// Columns are never rotated back. Each remembers by how much it stands
// rotated, is read with the difference to the rotation the row wants, and is
// written as it was read, into the other of its two buffers (other rows' lanes
// still read the first). Behind its Z values a column repeats its first lanes,
// so that any lanes consecutive ones are one load.

import (
	"fmt"
	"math"
	"slices"

	"lightsong/modem"
)

const (
	lanes = 16 // int16 in a 256-bit register

	// unit is the fixed point: units per LLR of 1. It is chosen so that
	// unit³ = ln2·2²⁸/5.8⁴, which makes the scale of f a shift.
	unit     = 54.78
	corrZero = 318   // 5.8 in units: f is 0 from here on
	corrPre  = 7     // bits that (5.8−x) is scaled up by before it is squared twice
	corrPost = 8     // bits that its fourth power is scaled down by
	maxMag   = 8191  // largest magnitude of a message, 149.5
	maxChan  = 3506  // largest magnitude from the channel, 64
	maxPost  = 32767 // largest magnitude of a posterior, and that of filler
)

// tap tells a kernel where a row finds one of its columns: octets from the
// start of ldpcDecoder.post to the buffer to read and to the buffer to write,
// and octets of rotation, less than 2Z.
type tap struct{ src, dst, rot int32 }

type ldpcDecoder struct {
	simd   bool // use the vector kernels; set by reset where there are any
	groups int  // vectors that hold Z lanes
	colLen int  // int16 in one buffer of a column: groups·lanes, and lanes more
	post   []int16
	msg    []int16        // check-to-bit messages, groups·lanes for each edge
	rot    []int          // how far each column stands rotated to the left
	buf    []int          // which of its two buffers holds it, 0 or 1
	rows   []int          // rows that take part in the present decoding
	taps   [maxDegree]tap // of the row at work; it has at least two
}

func (d *ldpcDecoder) reset(c *LDPC) {
	d.simd = haveVector
	d.groups = (c.z + lanes - 1) / lanes
	d.colLen = (d.groups + 1) * lanes
	d.post = resize(d.post, 2*c.bg.cols*d.colLen)
	d.msg = resize(d.msg, len(c.edges)*d.groups*lanes)
	d.rot = resize(d.rot, c.bg.cols)
	d.buf = resize(d.buf, c.bg.cols)
	d.rows = resize(d.rows, len(c.bg.rows))[:0]
	clear(d.post)
	clear(d.rot)
	clear(d.buf)
}

// column is the present buffer of column i, as it stands rotated.
func (d *ldpcDecoder) column(i int) []int16 {
	return d.post[(2*i+d.buf[i])*d.colLen:][:d.colLen]
}

// Decode decodes the soft buffer of N LLRs and writes the K information bits
// to info. It stops as soon as all checks hold, at the latest after
// maxIterations (10 to 50 are sensible), and returns the number of iterations
// done. ok says that the checks hold, that every information bit is decided and
// that no filler was outvoted; a wrong codeword is still possible, rarely for
// long codes and less rarely for short ones, so the caller has a check of its
// own.
//
// LLRs are expected on their true scale; magnitudes above 64 count as 64 and
// NaN as an erasure. It panics if a length is wrong.
func (c *LDPC) Decode(info []byte, soft []modem.LLR, maxIterations int) (iterations int, ok bool) {
	if len(soft) != c.N() || len(info) != c.k {
		panic(fmt.Sprintf("LDPC.Decode: %d bits and %d LLRs, want %d and %d", len(info), len(soft), c.k, c.N()))
	}
	c.load(soft)
	for iterations < maxIterations && !ok {
		iterations++
		for _, r := range slices.Backward(c.dec.rows) {
			c.checkRow(r)
		}
		ok = c.fulfilled()
	}
	for col := range c.bg.kb {
		p, at := c.dec.column(col), -c.dec.rot[col]
		if at < 0 {
			at += c.z
		}
		for i := col * c.z; i < (col+1)*c.z; i++ {
			if v := p[at]; i < c.k {
				info[i] = byte(uint16(v) >> 15)
				ok = ok && v != 0
			} else {
				ok = ok && v > 0
			}
			if at++; at == c.z {
				at = 0
			}
		}
	}
	return iterations, ok
}

// load quantises the soft buffer and finds the rows that can contribute: an
// extension row whose own parity was not received, or that has nothing else,
// says nothing.
func (c *LDPC) load(soft []modem.LLR) {
	d := &c.dec
	clear(d.rot)
	clear(d.buf)
	d.rows = d.rows[:0]
	for i := range c.bg.cols {
		p := d.column(i)
		known := c.z // from here on the column's bits are known to be 0
		if i < punctured {
			clear(p)
		} else {
			heard := quantize(p[:c.z], soft[(i-punctured)*c.z:])
			row := i - c.bg.kb
			switch {
			case row >= 0 && c.rowAt[row+1]-c.rowAt[row] == 1:
				known = 0 // the parity of nothing but filler
			case row >= 0 && (row < core || heard):
				d.rows = append(d.rows, row)
			}
		}
		if i < c.bg.kb {
			known = max(0, c.k-i*c.z)
		}
		for j := known; j < c.z; j++ {
			p[j] = maxPost
		}
		for j := c.z; j < d.colLen; j++ {
			p[j] = p[j-c.z]
		}
	}
	clear(d.msg)
}

// quantize turns LLRs into units and reports whether any is not zero.
func quantize(dst []int16, src []modem.LLR) (heard bool) {
	src = src[:len(dst)]
	var seen int16
	for i, x := range src {
		// The conversion keeps the product from being fused with the sum, which
		// would round differently on machines that can.
		v := float32(x * unit)
		switch {
		case v >= maxChan:
			v = maxChan
		case v <= -maxChan:
			v = -maxChan
		case v > 0:
			v += 0.5
		case v < 0:
			v -= 0.5
		default:
			v = 0 // NaN too
		}
		dst[i] = int16(v)
		seen |= dst[i]
	}
	return seen != 0
}

// checkRow lets the Z checks of row r pass their messages.
func (c *LDPC) checkRow(r int) {
	d := &c.dec
	edges := c.edges[c.rowAt[r]:c.rowAt[r+1]]
	taps := d.taps[:len(edges)]
	for i, e := range edges {
		taps[i] = d.tap(e, c.z)
		d.buf[e.col] ^= 1
		d.rot[e.col] = e.shift
	}
	msg := d.msg[c.rowAt[r]*d.groups*lanes:]
	if d.simd {
		layerVector(&d.post[0], &msg[0], &taps[0], len(taps), c.z, d.groups)
	} else {
		layer(d.post, msg, taps, c.z, d.groups)
	}
}

// tap is how to read the edge's column with the edge's rotation.
func (d *ldpcDecoder) tap(e liftedEdge, z int) tap {
	rot := e.shift - d.rot[e.col]
	if rot < 0 {
		rot += z
	}
	src := (2*e.col + d.buf[e.col]) * d.colLen
	dst := (2*e.col + 1 - d.buf[e.col]) * d.colLen
	return tap{src: int32(2 * src), dst: int32(2 * dst), rot: int32(2 * rot)}
}

// fulfilled reports whether the signs of the posteriors fulfil all checks of
// the rows in use.
func (c *LDPC) fulfilled() bool {
	d := &c.dec
	for _, r := range d.rows {
		edges := c.edges[c.rowAt[r]:c.rowAt[r+1]]
		taps := d.taps[:len(edges)]
		for i, e := range edges {
			taps[i] = d.tap(e, c.z)
		}
		var odd bool
		if d.simd {
			odd = parityVector(&d.post[0], &taps[0], len(taps), c.z, d.groups) != 0
		} else {
			odd = parity(d.post, taps, c.z)
		}
		if odd {
			return false
		}
	}
	return true
}

// Posterior appends the a-posteriori LLRs of the E coded bits of redundancy
// version rv, as the last Decode left them, to dst: what an iterative receiver
// remodulates. Bits that were in no reception that was decoded are 0.
func (c *LDPC) Posterior(dst []modem.LLR, rv int) []modem.LLR {
	at := len(dst)
	dst = slices.Grow(dst, c.e)[:at+c.e]
	out := dst[at:]
	o := c.order()
	for pos, left := c.start(rv), c.e; left > 0; {
		lo, hi := c.run(pos, left)
		for i := lo; i < hi; i++ {
			col, j := i/c.z+punctured, i%c.z-c.dec.rot[i/c.z+punctured]
			if j < 0 {
				j += c.z
			}
			out[o.next()] = modem.LLR(c.dec.column(col)[j]) / unit
		}
		left, pos = left-(hi-lo), hi
	}
	return dst
}

// corr is the fourth power behind f, in the arithmetic of the vector kernel:
// f(x) = corr[x] >> corrPost.
var corr = func() (t [corrZero + 1]uint16) {
	for x := range t {
		u := uint32(corrZero-x) << corrPre
		v := u * u >> 16
		t[x] = uint16(v * v >> 16)
	}
	return t
}()

// boxPlus is a ⊞ b of magnitudes.
func boxPlus(a, b int32) int32 {
	lo, hi := min(a, b), max(a, b)
	c := int32(corr[min(uint32(hi-lo), corrZero)]) - int32(corr[min(uint32(hi+lo), corrZero)])
	return max(0, lo-c>>corrPost)
}

// saturate is x as a signed 16-bit number.
func saturate(x int32) int16 { return int16(min(max(x, math.MinInt16), math.MaxInt16)) }

// layer is the portable kernel: for each of z checks it reads the posteriors of
// its bits, takes the old messages out, computes new ones from the forward and
// backward sums of all others, and writes messages and posteriors. Like
// layerVector, which does exactly the same, it takes the checks a vector at a
// time and lets the last lanes repeat the first.
func layer(post, msg []int16, taps []tap, z, groups int) {
	var q, mag, fwd [maxDegree][lanes]int32
	last := len(taps) - 1
	stride := groups * lanes
	for r := 0; r < stride; r += lanes {
		var sign [lanes]int32
		for e, t := range taps {
			at := int(t.rot/2) + r
			if at >= z {
				at -= z
			}
			p := (*[lanes]int16)(post[int(t.src/2)+at:])
			m := (*[lanes]int16)(msg[e*stride+r:])
			q, mag := &q[e], &mag[e]
			for i := range lanes {
				v := int32(saturate(int32(p[i]) - int32(m[i])))
				q[i] = v
				sign[i] ^= v
				mag[i] = min(max(v, -v), maxMag)
			}
			switch e {
			case 0:
				fwd[0] = *mag
			case last: // what came forward so far is its message
			default:
				before, f := &fwd[e-1], &fwd[e]
				for i := range lanes {
					f[i] = boxPlus(before[i], mag[i])
				}
			}
		}
		back := mag[last]
		out := fwd[last-1]
		for e := last; e >= 0; e-- {
			switch e {
			case last:
			case 0:
				out = back
			default:
				before, own := &fwd[e-1], &mag[e]
				for i := range lanes {
					out[i] = boxPlus(before[i], back[i])
					back[i] = boxPlus(back[i], own[i])
				}
			}
			p := (*[lanes]int16)(post[int(taps[e].dst/2)+r:])
			m := (*[lanes]int16)(msg[e*stride+r:])
			q := &q[e]
			for i := range lanes {
				s := (sign[i] ^ q[i]) >> 31
				v := out[i] ^ s - s
				m[i] = int16(v)
				p[i] = saturate(q[i] + v)
			}
		}
	}
	for _, t := range taps {
		p := post[t.dst/2:]
		copy(p[z:z+lanes], p[:lanes]) // repeat the first lanes behind the column
	}
}

// parity reports whether any of the z checks has an odd number of negative
// posteriors.
func parity(post []int16, taps []tap, z int) bool {
	var odd int16
	for r := range z {
		var s int16
		for _, t := range taps {
			at := int(t.rot/2) + r
			if at >= z {
				at -= z
			}
			s ^= post[int(t.src/2)+at]
		}
		odd |= s
	}
	return odd < 0
}
