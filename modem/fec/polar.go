package fec

// The polar code of 5G NR (TS 38.212 §5.3.1, §5.4.1) with CRC-aided
// successive cancellation list decoding, for headers and short control blocks.
//
//	info ─ + CRC ─> K bits on the most reliable of N inputs ─ ·G_N ─> rate matching ─> E coded bits
//
// The decoder follows Tal and Vardy, "List decoding of polar codes" (IEEE
// Trans. Inf. Theory 61(5), 2015), on LLRs with the path metric of
// Balatsoukas-Stimming, Bastani Parizi, Burg (IEEE Trans. Signal Process.
// 63(19), 2015): a path pays |λ| for each decision against its LLR. With it the
// min-sum rule at the check nodes is not a compromise: the two together make a
// whole path's metric exactly the distance of its codeword from what was
// received, on any scale of the LLRs, and lose fewer blocks than the
// sum-product rule with the same metric. The decoder goes down the tree of codes that G_N is made of, all paths of the list side by
// side, and stops at subtrees that it can decide at once: all inputs frozen,
// only the last not frozen (a repetition code), none frozen. The last are
// decided as Hashemi, Condo, Gross (IEEE Trans. Signal Process. 65(21), 2017)
// show to be enough: a list of L forks at its L−1 least reliable bits.

import (
	_ "embed" // the reliability sequence
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"lightsong/modem"
)

const (
	maxPolarLog = 10 // N is at most 1024
	minPolarLog = 5
	maxPolar    = 1 << maxPolarLog

	// MaxList is the largest number of paths that a Polar keeps.
	MaxList = 32
)

var (
	//go:embed tables/nr_polar_sequence.csv
	polarCSV string

	// polarSequence is Table 5.3.1.2-1: the inputs, the least reliable first.
	polarSequence = parseSequence(polarCSV)

	// polarBlocks is Table 5.4.1.1-1, the order of the 32 sub-blocks.
	polarBlocks = [32]int{
		0, 1, 2, 4, 3, 5, 6, 7, 8, 16, 9, 17, 10, 18, 11, 19,
		12, 20, 13, 21, 14, 22, 15, 23, 24, 25, 26, 28, 27, 29, 30, 31,
	}
)

func parseSequence(csv string) (q [maxPolar]int) {
	for n, line := range strings.Split(strings.TrimSpace(csv), "\n") {
		if n == 0 {
			continue
		}
		rank, index, _ := strings.Cut(strings.TrimSpace(line), ",")
		r, err := strconv.Atoi(rank)
		if err == nil {
			q[r], err = strconv.Atoi(index)
		}
		if err != nil {
			panic(fmt.Sprintf("polar sequence, line %d: %v", n+1, err))
		}
	}
	return q
}

// nodeKind says how a subtree of the code is decoded.
type nodeKind uint8

const (
	mixed  nodeKind = iota // by its two halves
	frozen                 // all inputs are zero
	repeat                 // only the last input carries a bit
	free                   // every input carries a bit
)

// polarPath is one hypothesis of the list. LLRs and partial sums lie in slots,
// one for each path and level. A path writes only its own slots, but after a
// fork it reads those that it inherited until it has written its own; by then
// all paths have, because they move through the tree together.
type polarPath struct {
	metric int32                  // in units, the smaller the likelier
	llr    [maxPolarLog + 1]uint8 // slot of the LLRs, by level
	left   [maxPolarLog + 1]uint8 // slot of the left half's partial sums, by level of that half
}

// Polar is one polar code, its encoder and its decoder: K information bits
// and a CRC in E coded bits. Bits are one per byte, 0 or 1. A Polar owns its
// scratch memory: it is used by one caller at a time and allocates nothing
// after Reset.
//
// It is the code of the uplink for K + CRC above 25 bits: no parity-check bits,
// no interleaving before encoding. Coded bits come in the order before the
// triangular interleaver of §5.4.1.3; a burst is interleaved as a whole.
type Polar struct {
	k, e, log int
	crc       *CRC
	list      int

	inputs []int      // inputs that carry the information and the CRC, ascending
	kind   []nodeKind // by node: root 1, halves of i at 2i and 2i+1
	place  []int      // coded bit e_i is bit place[i] of the mother code
	short  bool       // unsent bits are known zeros, not unknown

	msg  []byte // K + CRC
	word []byte // N

	sum     []modem.LLR // N
	channel []int16     // N
	llr     [maxPolarLog + 1][]int32
	bit     [2][maxPolarLog + 1][]uint8 // partial sums of left and right halves, by level
	paths   [MaxList]polarPath
	live    []int // paths in use
	idle    []int
	keys    [2 * MaxList]uint64
	cost    [MaxList][2]int32
	weak    [MaxList][MaxList]int16 // least reliable bits of a free subtree
}

// NewPolar returns the code with k information bits protected by crc in e
// coded bits, to be decoded with the given number of paths (1 to MaxList; 8 is
// usual). 16 ≤ k ≤ 512 is what the code is good for. Errors wrap ErrCode.
func NewPolar(k, e int, crc *CRC, list int) (*Polar, error) {
	c := new(Polar)
	if err := c.Reset(k, e, crc, list); err != nil {
		return nil, err
	}
	return c, nil
}

// Reset makes c another code, as NewPolar does, and reuses its memory. c is
// not to be used if an error is returned.
func (c *Polar) Reset(k, e int, crc *CRC, list int) error {
	total := k + crc.Width()
	switch {
	case k < 1 || total > maxPolar:
		return fmt.Errorf("polar: %w: %d information bits, want 1 to %d", ErrCode, k, maxPolar-crc.Width())
	case e < total:
		return fmt.Errorf("polar: %w: %d information and check bits in %d coded bits", ErrCode, total, e)
	case list < 1 || list > MaxList:
		return fmt.Errorf("polar: %w: a list of %d, want 1 to %d", ErrCode, list, MaxList)
	}
	c.k, c.e, c.crc, c.list = k, e, crc, list
	c.log = polarLog(total, e)
	n := 1 << c.log

	// Rate matching, §5.4.1.1 and §5.4.1.2: the mother code's bits in
	// sub-block order; all of them round and round, all but the first, or all
	// but the last.
	sub := func(i int) int { return polarBlocks[i*32/n]*(n/32) + i%(n/32) }
	c.short = e < n && 16*total > 7*e
	first := 0
	if e < n && !c.short {
		first = n - e
	}
	c.place = resize(c.place, e)
	for i := range c.place {
		c.place[i] = sub((first + i) % n)
	}

	// The frozen inputs: those that an unsent bit makes useless (§5.4.1.1), then
	// the least reliable.
	var useless [maxPolar]bool
	if e < n {
		if c.short {
			for i := e; i < n; i++ {
				useless[sub(i)] = true
			}
		} else {
			for i := range n - e {
				useless[sub(i)] = true
			}
			until := (9*n - 4*e + 15) / 16 // ⌈9N/16 − E/4⌉
			if 4*e >= 3*n {
				until = (3*n - 2*e + 3) / 4 // ⌈3N/4 − E/2⌉
			}
			for i := range until {
				useless[i] = true
			}
		}
	}
	c.inputs = c.inputs[:0]
	for _, i := range slices.Backward(polarSequence[:]) {
		if i < n && !useless[i] && len(c.inputs) < total {
			c.inputs = append(c.inputs, i)
		}
	}
	if len(c.inputs) < total {
		return fmt.Errorf("polar: %w: %d information and check bits in %d coded bits", ErrCode, total, e)
	}
	slices.Sort(c.inputs)

	c.kind = resize(c.kind, 2*n)
	for i := range n {
		c.kind[n+i] = frozen
	}
	for _, i := range c.inputs {
		c.kind[n+i] = free
	}
	for i := n - 1; i > 0; i-- {
		l, r := c.kind[2*i], c.kind[2*i+1]
		switch {
		case l == r && l != repeat:
			c.kind[i] = l
		case l == frozen && (r == repeat || r == free && 2*i >= n):
			c.kind[i] = repeat
		default:
			c.kind[i] = mixed
		}
	}

	c.msg = resize(c.msg, total)
	c.word = resize(c.word, n)
	c.sum = resize(c.sum, n)
	c.channel = resize(c.channel, n)
	for level := range c.log + 1 {
		slots := list
		if level == c.log {
			slots = 1 // what came from the channel is the same for all
		}
		c.llr[level] = resize(c.llr[level], slots<<level)
		for side := range c.bit {
			c.bit[side][level] = resize(c.bit[side][level], list<<level)
		}
	}
	c.live = resize(c.live, list)[:0]
	c.idle = resize(c.idle, list)[:0]
	return nil
}

// polarLog is n of §5.3.1: N = 2^n, at most 1024, at least 32, not much more
// than is sent, and no lower rate than 1/8.
func polarLog(total, e int) int {
	n1 := bits.Len(uint(e - 1)) // ⌈log₂E⌉
	if n1 > 0 && 16*e <= 9<<n1 && 16*total < 9*e {
		n1--
	}
	n2 := bits.Len(uint(8*total - 1))
	return max(min(n1, n2, maxPolarLog), minPolarLog)
}

// K is the number of information bits, without the CRC.
func (c *Polar) K() int { return c.k }

// E is the number of coded bits.
func (c *Polar) E() int { return c.e }

// N is the length of the mother code, 32 to 1024.
func (c *Polar) N() int { return 1 << c.log }

// ones starts the CRC register with ones, so that a word of zeros (silence)
// is not a codeword's content.
const ones = 1<<32 - 1

func (c *Polar) check(info []byte) uint32 {
	return c.crc.Bits(ones>>(32-c.crc.Width()), info)
}

// Encode appends the E coded bits of the K information bits to dst. It panics
// if info is not K bits long.
func (c *Polar) Encode(dst, info []byte) []byte {
	if len(info) != c.k {
		panic(fmt.Sprintf("Polar.Encode: %d information bits, want %d", len(info), c.k))
	}
	c.msg = c.crc.AppendBits(append(c.msg[:0], info...), c.check(info))
	clear(c.word)
	for i, at := range c.inputs {
		c.word[at] = c.msg[i]
	}
	polarTransform(c.word)
	for _, at := range c.place {
		dst = append(dst, c.word[at])
	}
	return dst
}

// polarTransform multiplies a word of 2^n bits by G_N in place. It is its own
// inverse.
func polarTransform(x []byte) {
	for half := 1; half < len(x); half *= 2 {
		for at := 0; at < len(x); at += 2 * half {
			l, r := x[at:][:half], x[at+half:][:half]
			for i, b := range r {
				l[i] ^= b
			}
		}
	}
}

// Decode decodes E LLRs and writes the K information bits to info. It reports
// whether a path of the list passed the CRC; the likeliest that did is the
// result, and if none did, the likeliest of all. The chance that noise passes
// is about list·2^−width.
//
// The scale of the LLRs does not matter as long as most magnitudes are between
// 0.5 and 64: they are rounded to 1/55, magnitudes above 64 count as 64 and NaN
// as an erasure. Decode panics if a length is wrong.
func (c *Polar) Decode(info []byte, llr []modem.LLR) bool {
	if len(llr) != c.e || len(info) != c.k {
		panic(fmt.Sprintf("Polar.Decode: %d bits and %d LLRs, want %d and %d", len(info), len(llr), c.k, c.e))
	}
	clear(c.sum)
	for i, at := range c.place {
		c.sum[at] += llr[i]
	}
	quantize(c.channel, c.sum)
	root := c.llr[c.log]
	for i, v := range c.channel {
		root[i] = int32(v)
	}
	if c.short {
		n := 1 << c.log
		for i := c.e; i < n; i++ {
			root[polarBlocks[i*32/n]*(n/32)+i%(n/32)] = maxPost
		}
	}

	c.live = append(c.live[:0], 0)
	c.idle = c.idle[:0]
	for p := c.list - 1; p > 0; p-- {
		c.idle = append(c.idle, p)
	}
	c.paths[0] = polarPath{}
	c.node(1, c.log, 0)

	slices.SortFunc(c.live, func(a, b int) int { return int(c.paths[a].metric) - int(c.paths[b].metric) })
	for i, p := range c.live {
		copy(c.word, c.bits(0, c.log, p))
		polarTransform(c.word)
		for j, at := range c.inputs {
			c.msg[j] = c.word[at]
		}
		pass := c.check(c.msg) == 0
		if pass || i == 0 {
			copy(info, c.msg)
		}
		if pass {
			return true
		}
	}
	return false
}

// bits is the slot of partial sums of a half (0 left, 1 right) at a level.
func (c *Polar) bits(side, level, slot int) []uint8 {
	return c.bit[side][level][slot<<level:][:1<<level]
}

// values is the slot of LLRs at a level.
func (c *Polar) values(level, slot int) []int32 {
	return c.llr[level][slot<<level:][:1<<level]
}

// node decodes the subtree of 2^level inputs for all live paths: from their
// LLRs at this level it leaves their partial sums in their own slots of side.
func (c *Polar) node(i, level, side int) {
	switch c.kind[i] {
	case frozen:
		for _, p := range c.live {
			path := &c.paths[p]
			for _, v := range c.values(level, int(path.llr[level])) {
				path.metric -= min(v, 0)
			}
			clear(c.bits(side, level, p))
		}
	case repeat:
		c.repetition(level, side)
	case free:
		c.uncoded(level, side)
	default:
		c.halves(i, level, side)
	}
	if side == 0 {
		for _, p := range c.live {
			c.paths[p].left[level] = uint8(p)
		}
	}
}

func (c *Polar) halves(i, level, side int) {
	half := level - 1
	m := 1 << half
	for _, p := range c.live {
		path := &c.paths[p]
		in := c.values(level, int(path.llr[level]))
		a, b, out := in[:m], in[m:][:m], c.values(half, p)[:m]
		for j, x := range a {
			y := b[j]
			s := (x ^ y) >> 31
			out[j] = min(abs(x), abs(y)) ^ s - s
		}
		path.llr[half] = uint8(p)
	}
	c.node(2*i, half, 0)

	for _, p := range c.live {
		path := &c.paths[p]
		in := c.values(level, int(path.llr[level]))
		sum := c.bits(0, half, int(path.left[half]))[:m]
		a, b, out := in[:m], in[m:][:m], c.values(half, p)[:m]
		for j, x := range a {
			s := -int32(sum[j])
			out[j] = b[j] + (x ^ s - s)
		}
		path.llr[half] = uint8(p)
	}
	c.node(2*i+1, half, 1)

	for _, p := range c.live {
		l := c.bits(0, half, int(c.paths[p].left[half]))[:m]
		r := c.bits(1, half, p)[:m]
		out := c.bits(side, level, p)
		both, right := out[:m], out[m:][:m]
		for j, b := range r {
			both[j] = l[j] ^ b
			right[j] = b
		}
	}
}

// repetition decides a subtree whose bits are all equal.
func (c *Polar) repetition(level, side int) {
	for _, p := range c.live {
		var cost [2]int32
		for _, v := range c.values(level, int(c.paths[p].llr[level])) {
			cost[0] -= min(v, 0)
			cost[1] += max(v, 0)
		}
		c.cost[p] = cost
	}
	c.fork(func(p, _ int, bit uint8) {
		word := c.bits(side, level, p)
		for j := range word {
			word[j] = bit
		}
	})
}

// uncoded decides a subtree without frozen inputs.
func (c *Polar) uncoded(level, side int) {
	m := 1 << level
	forks := min(c.list-1, m)
	if m == 1 {
		forks = 1
	}
	for _, p := range c.live {
		in := c.values(level, int(c.paths[p].llr[level]))
		word := c.bits(side, level, p)
		weak := c.weak[p][:0]
		for j, v := range in {
			word[j] = uint8(uint32(v) >> 31)
			// Insert j if it is among the least reliable so far.
			at := len(weak)
			for at > 0 && abs(v) < abs(in[weak[at-1]]) {
				at--
			}
			if at < forks {
				if len(weak) < forks {
					weak = append(weak, 0)
				}
				copy(weak[at+1:], weak[at:])
				weak[at] = int16(j)
			}
		}
	}
	for f := range forks {
		for _, p := range c.live {
			in := c.values(level, int(c.paths[p].llr[level]))
			c.cost[p] = [2]int32{0, abs(in[c.weak[p][f]])}
		}
		c.fork(func(p, from int, flip uint8) {
			if p != from {
				copy(c.bits(side, level, p), c.bits(side, level, from))
				c.weak[p] = c.weak[from]
			}
			c.bits(side, level, p)[c.weak[p][f]] ^= flip
		})
	}
}

func abs(x int32) int32 { return max(x, -x) }

// fork lets every live path go on in two ways, at cost[path][0] and
// cost[path][1], and keeps the best of all. It calls took for each that goes
// on: path p is the one that was from before and chose the given way. A path's
// second way is reported before its first.
func (c *Polar) fork(took func(p, from int, way uint8)) {
	n := 0
	for _, p := range c.live {
		for way := range 2 {
			c.keys[n] = uint64(c.paths[p].metric+c.cost[p][way])<<8 | uint64(p<<1|way)
			n++
		}
	}
	keys := c.keys[:n]
	if n > c.list {
		slices.Sort(keys)
		keys = keys[:c.list]
	}
	var ways [MaxList]uint8 // by path: 1 goes on by way 0, 2 by way 1
	for _, k := range keys {
		ways[k&0xff>>1] |= 1 << (k & 1)
	}
	stay := c.live[:0]
	for _, p := range c.live {
		if ways[p] == 0 {
			c.idle = append(c.idle, p)
		} else {
			stay = append(stay, p)
		}
	}
	c.live = stay
	for _, p := range stay {
		way := uint8(0)
		switch ways[p] {
		case 2:
			way = 1
		case 3:
			q := c.idle[len(c.idle)-1]
			c.idle = c.idle[:len(c.idle)-1]
			c.paths[q] = c.paths[p]
			c.paths[q].metric += c.cost[p][1]
			c.live = append(c.live, q)
			took(q, p, 1)
		}
		c.paths[p].metric += c.cost[p][way]
		took(p, p, way)
	}
}
