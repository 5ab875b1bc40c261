package fec

// The quasi-cyclic low-density parity-check codes of 5G NR: construction,
// encoder and rate matching. The decoder is in ldpc_decode.go.
//
// A codeword is seen as columns of Z bits. The base graph says which columns a
// row of Z parity checks joins and by how many positions each is rotated:
//
//	| 2 columns, never sent | information | filler | 4 core parities | extension parities … |
//	 \____________________ 22 or 10 ___________/
//
// What is sent comes from a circular buffer over all columns but the first
// two, without the filler; the redundancy version says where reading starts.
//
//	info ─ Encode ─> coded bits ~~~ channel ~~~> LLRs ─ Dematch ─> soft buffer ─ Decode ─> info
//	                                                    (adds: HARQ)             Posterior ─> LLRs of the coded bits

import (
	_ "embed" // the base graphs
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"lightsong/modem"
)

// ErrCode is wrapped by every error about a code that does not exist: too many
// information bits, more bits asked for than the mother code can shorten to.
var ErrCode = errors.New("no such code")

// Graph names a base graph of TS 38.212 §5.3.2.
type Graph uint8

// The two base graphs. BG1 has mother rate 1/3 and up to 8448 information
// bits, BG2 has mother rate 1/5 and up to 3840.
const (
	BG1 Graph = 1
	BG2 Graph = 2
)

// MaxInfo is the largest number of information bits of the graph, 0 for a
// graph that does not exist.
func (g Graph) MaxInfo() int {
	if g != BG1 && g != BG2 {
		return 0
	}
	return graphs[g].kb * maxLift
}

// SelectGraph is the standard's choice of the graph (TS 38.212 §6.2.2, §7.2.2)
// for k information bits in e coded bits, except that codewords too long for
// BG2 stay whole on BG1 instead of being segmented.
func SelectGraph(k, e int) Graph {
	r := float64(k) / float64(e)
	if k <= 292 || k <= 3824 && r <= 0.67 || k <= 3840 && r <= 0.25 {
		return BG2
	}
	return BG1
}

const (
	maxLift   = 384 // largest lifting size
	maxDegree = 19  // largest number of columns that a row joins
	punctured = 2   // leading columns that are never sent
	core      = 4   // parity columns that are solved together
)

// The lifting sizes are a·2^j ≤ 384, a by set index (Table 5.3.2-1).
var liftSets = [8]int{2, 3, 5, 7, 9, 11, 13, 15}

// baseEdge is one entry of a base graph: the column, and the rotation for each
// of the eight lifting sets before reduction modulo Z.
type baseEdge struct {
	col   int
	shift [8]int
}

type baseGraph struct {
	kb    int // information columns
	cols  int
	start [4]int // column of the circular buffer where redundancy version rv starts (Table 5.4.2.1-2)
	rows  [][]baseEdge
}

var (
	//go:embed tables/nr_ldpc_bg1.csv
	bg1CSV string
	//go:embed tables/nr_ldpc_bg2.csv
	bg2CSV string

	graphs = [...]baseGraph{
		BG1: {kb: 22, cols: 68, start: [4]int{0, 17, 33, 56}, rows: parseGraph(bg1CSV, 46)},
		BG2: {kb: 10, cols: 52, start: [4]int{0, 13, 25, 43}, rows: parseGraph(bg2CSV, 42)},
	}
)

// parseGraph reads an embedded table (row,col,v0..v7 with a heading). The
// table is part of the program, so a fault in it is a fault of the program.
func parseGraph(csv string, rows int) [][]baseEdge {
	g := make([][]baseEdge, rows)
	for n, line := range strings.Split(strings.TrimSpace(csv), "\n") {
		if n == 0 {
			continue
		}
		var v [10]int
		for i, s := range strings.Split(strings.TrimSpace(line), ",") {
			x, err := strconv.Atoi(s)
			if err != nil {
				panic(fmt.Sprintf("base graph, line %d: %v", n+1, err))
			}
			v[i] = x
		}
		g[v[0]] = append(g[v[0]], baseEdge{col: v[1], shift: [8]int(v[2:])})
	}
	return g
}

// liftedEdge is an edge of the code in use: check i of the row joins bit
// (i+shift) mod Z of the column.
type liftedEdge struct{ col, shift int }

// LDPC is one 5G NR LDPC code with rate matching, its encoder and its decoder:
// K information bits in E coded bits per redundancy version.
//
// Bits are one per byte, 0 or 1. An LDPC owns its scratch memory: it is used
// by one caller at a time and allocates nothing after Reset.
type LDPC struct {
	graph Graph
	bg    *baseGraph
	k     int   // information bits
	e     int   // coded bits of one redundancy version
	qm    int   // bits per modulation symbol, the rows of the bit interleaver
	rows  []int // in the order in which they are filled
	z     int   // lifting size
	// Positions in the circular buffer that hold filler and are skipped.
	fillLo, fillHi int

	edges []liftedEdge // of all rows in turn; columns of nothing but filler are left out
	rowAt []int        // row r has edges[rowAt[r]:rowAt[r+1]]

	word []byte // codeword with punctured columns and filler, cols·Z
	acc  []byte // Z

	dec ldpcDecoder
}

// NewLDPC returns the code with k information bits (checks of the caller
// included) in e coded bits, on the graph that SelectGraph chooses, without
// bit interleaving. Errors wrap ErrCode.
func NewLDPC(k, e int) (*LDPC, error) {
	c := new(LDPC)
	if e < 1 {
		return nil, fmt.Errorf("LDPC: %w: %d coded bits", ErrCode, e)
	}
	if err := c.Reset(SelectGraph(k, e), k, e, 1); err != nil {
		return nil, err
	}
	return c, nil
}

// Reset makes c the code with k information bits in e coded bits on graph g,
// with the bit interleaver of TS 38.212 §5.4.2.2 for qm bits per modulation
// symbol (1: none). e may be less than k (a redundancy version that does not
// decode alone) or more than the mother code has (bits are repeated); it is a
// multiple of qm. Memory is reused; c is unchanged if an error, which wraps
// ErrCode, is returned.
func (c *LDPC) Reset(g Graph, k, e, qm int) error {
	switch {
	case g != BG1 && g != BG2:
		return fmt.Errorf("LDPC: %w: base graph %d", ErrCode, g)
	case k < 1 || k > g.MaxInfo():
		return fmt.Errorf("LDPC: %w: %d information bits, the graph has 1 to %d", ErrCode, k, g.MaxInfo())
	case qm < 1 || e < 1 || e%qm != 0:
		return fmt.Errorf("LDPC: %w: %d coded bits, not a positive multiple of %d", ErrCode, e, qm)
	}
	z, set := lift(infoColumns(g, k), k)
	c.graph, c.bg, c.k, c.e, c.qm, c.z = g, &graphs[g], k, e, qm, z
	c.rows = resize(c.rows, qm)
	for i := range c.rows {
		c.rows[i] = i
	}
	c.fillLo = max(0, k-punctured*z)
	c.fillHi = (c.bg.kb - punctured) * z

	c.edges, c.rowAt = c.edges[:0], c.rowAt[:0]
	for _, row := range c.bg.rows {
		c.rowAt = append(c.rowAt, len(c.edges))
		for _, e := range row {
			if e.col < c.bg.kb && e.col*z >= k {
				continue // filler only: known zeros say nothing to a check
			}
			c.edges = append(c.edges, liftedEdge{e.col, e.shift[set] % z})
		}
	}
	c.rowAt = append(c.rowAt, len(c.edges))

	c.word = resize(c.word, c.bg.cols*z)
	c.acc = resize(c.acc, z)
	c.dec.reset(c)
	return nil
}

// infoColumns is K_b of TS 38.212 §5.2.2: the columns that Z is chosen for.
func infoColumns(g Graph, k int) int {
	switch {
	case g == BG1:
		return 22
	case k > 640:
		return 10
	case k > 560:
		return 9
	case k > 192:
		return 8
	}
	return 6
}

// lift is the smallest lifting size with kb·Z ≥ k, and its set.
func lift(kb, k int) (z, set int) {
	z = maxLift + 1
	for i, a := range liftSets {
		for ; a <= maxLift; a *= 2 {
			if kb*a >= k && a < z {
				z, set = a, i
			}
		}
	}
	return z, set
}

func resize[T any](s []T, n int) []T { return slices.Grow(s[:0], n)[:n] }

// K is the number of information bits.
func (c *LDPC) K() int { return c.k }

// E is the number of coded bits of one redundancy version.
func (c *LDPC) E() int { return c.e }

// N is the length of the circular buffer, and of the soft buffer that Dematch
// fills: the coded bits of the mother code, filler included.
func (c *LDPC) N() int { return (c.bg.cols - punctured) * c.z }

// Z is the lifting size, 2 to 384.
func (c *LDPC) Z() int { return c.z }

// Graph is the base graph in use.
func (c *LDPC) Graph() Graph { return c.graph }

// run is the longest piece [lo,hi) of the circular buffer without filler that
// starts at or after pos and holds at most left bits.
func (c *LDPC) run(pos, left int) (lo, hi int) {
	n := c.N()
	if pos >= n {
		pos = 0
	}
	if pos >= c.fillLo && pos < c.fillHi {
		pos = c.fillHi
	}
	end := n
	if pos < c.fillLo {
		end = c.fillLo
	}
	return pos, min(end, pos+left)
}

// start is k_0 of TS 38.212 §5.4.2.1 for an unlimited buffer (N_cb = N). The
// redundancy version is taken modulo 4.
func (c *LDPC) start(rv int) int { return c.bg.start[rv&3] * c.z }

// order walks the coded bits in the order of the medium: bit i of the circular
// buffer's reading is at position at(i) behind the interleaver, which writes
// row by row and reads column by column.
type order struct {
	at, step, end int
	rows          []int // still to be filled, the present one included
}

func (c *LDPC) order() order { return order{at: c.rows[0], step: c.qm, end: c.e, rows: c.rows} }

func (o *order) next() int {
	at := o.at
	if o.at += o.step; o.at >= o.end {
		if o.rows = o.rows[1:]; len(o.rows) > 0 {
			o.at = o.rows[0]
		}
	}
	return at
}

// FillFirst makes the bit interleaver fill its rows lo to hi−1 before the
// others: bits lo to hi−1 of each modulation symbol are the first that the
// circular buffer gives. After Reset it fills them in ascending order.
func (c *LDPC) FillFirst(lo, hi int) {
	rows := c.rows[:0]
	for i := lo; i < hi; i++ {
		rows = append(rows, i)
	}
	for i := range c.qm {
		if i < lo || i >= hi {
			rows = append(rows, i)
		}
	}
}

// Hidden is the number of information bits that redundancy version 0 does not
// send: the first ones, for a code of k information bits on g.
func Hidden(g Graph, k int) int {
	z, _ := lift(infoColumns(g, k), k)
	return min(k, punctured*z)
}

// Encode appends the E coded bits of redundancy version rv (0 to 3) of the K
// information bits to dst. It panics if info is not K bits long.
func (c *LDPC) Encode(dst, info []byte, rv int) []byte {
	if len(info) != c.k {
		panic(fmt.Sprintf("LDPC.Encode: %d information bits, want %d", len(info), c.k))
	}
	last := 0
	for pos, left := c.start(rv), c.e; left > 0; {
		lo, hi := c.run(pos, left)
		last, left, pos = max(last, hi), left-(hi-lo), hi
	}
	rows := (last+c.z-1)/c.z + punctured - c.bg.kb
	c.encode(info, max(rows, core))

	at := len(dst)
	dst = slices.Grow(dst, c.e)[:at+c.e]
	out, sent := dst[at:], c.word[punctured*c.z:]
	o := c.order()
	for pos, left, n := c.start(rv), c.e, 0; left > 0; {
		lo, hi := c.run(pos, left)
		if c.qm == 1 {
			n += copy(out[n:], sent[lo:hi])
		} else {
			for _, b := range sent[lo:hi] {
				out[o.next()] = b
			}
		}
		left, pos = left-(hi-lo), hi
	}
	return dst
}

// encode fills c.word with the codeword as far as the first rows of the graph
// define it (TS 38.212 §5.3.2), in time linear in the number of edges.
//
// Summing the four core rows leaves one rotation of the first core parity; the
// next three follow one from each row, and every later row defines the
// extension parity that only it contains.
func (c *LDPC) encode(info []byte, rows int) {
	z, kb := c.z, c.bg.kb
	clear(c.word[copy(c.word, info):])

	clear(c.acc)
	var rot [maxLift]bool // rotations of the first core parity that are left in the sum
	for r := range core {
		for _, e := range c.edges[c.rowAt[r]:c.rowAt[r+1]] {
			switch {
			case e.col < kb:
				xorRotated(c.acc, c.column(e.col), e.shift)
			case e.col == kb:
				rot[e.shift] = !rot[e.shift]
			}
		}
	}
	s := slices.Index(rot[:], true)
	p0 := c.column(kb)
	copy(p0[s:], c.acc)
	copy(p0, c.acc[z-s:])

	for r := range rows {
		col := kb + r // the column that row r defines
		if r < core {
			if col++; r == core-1 {
				continue // its four columns are known; the row is fulfilled
			}
		}
		p := c.column(col)
		for _, e := range c.edges[c.rowAt[r]:c.rowAt[r+1]] {
			if e.col != col {
				xorRotated(p, c.column(e.col), e.shift)
			}
		}
	}
}

func (c *LDPC) column(i int) []byte { return c.word[i*c.z : (i+1)*c.z] }

// xorRotated adds src, rotated left by s, to dst of the same length.
func xorRotated(dst, src []byte, s int) {
	head, tail := dst[:len(dst)-s], dst[len(dst)-s:]
	for i, b := range src[s:] {
		head[i] ^= b
	}
	for i, b := range src[:s] {
		tail[i] ^= b
	}
}

// Dematch adds the E LLRs of one reception of redundancy version rv to the
// soft buffer of N LLRs, which is all zero before the first. Repeated bits and
// repeated receptions combine (chase combining and incremental redundancy).
// It panics if a length is wrong.
func (c *LDPC) Dematch(soft, llr []modem.LLR, rv int) {
	if len(soft) != c.N() || len(llr) != c.e {
		panic(fmt.Sprintf("LDPC.Dematch: %d and %d LLRs, want %d and %d", len(soft), len(llr), c.N(), c.e))
	}
	o := c.order()
	for pos, left := c.start(rv), c.e; left > 0; {
		lo, hi := c.run(pos, left)
		for i := lo; i < hi; i++ {
			soft[i] += llr[o.next()]
		}
		left, pos = left-(hi-lo), hi
	}
}
