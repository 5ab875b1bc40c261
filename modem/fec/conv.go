package fec

import (
	"fmt"
	"math/bits"

	"lightsong/modem"
)

// ConvCode is a feed-forward convolutional code of rate 1/n. It never changes
// after NewConvCode.
type ConvCode struct {
	k     int      // constraint length
	polys []uint32 // generators, bit k−1 is the oldest input
	// sums[s] has bit j set when generator j puts out 1 on the branch from
	// state s with input 0, for the lower half of the states.
	sums []uint8
}

// The codes of constraint length 9 with maximum free distance (Larsen, "Short
// convolutional codes with maximal free distance for rates 1/2, 1/3, and 1/4",
// IEEE Trans. Inf. Theory 19, 1973).
var (
	ConvHalf    = NewConvCode(9, 0o561, 0o753)               // rate 1/2, free distance 12
	ConvQuarter = NewConvCode(9, 0o463, 0o535, 0o733, 0o745) // rate 1/4, free distance 24
)

// NewConvCode makes the code of constraint length k (7 to 12) with the given
// generators (1 to 8). Each must have its first and its last coefficient set, as
// those of all good codes have; the decoder's butterflies rely on it. Anything
// else is a programming error and panics.
func NewConvCode(k int, generators ...uint32) *ConvCode {
	bad := k < 7 || k > 12 || len(generators) < 1 || len(generators) > 8
	for _, g := range generators {
		bad = bad || g>>k != 0 || g>>(k-1) != 1 || g&1 != 1
	}
	if bad {
		panic(fmt.Sprintf("fec: convolutional code of constraint length %d with generators %o", k, generators))
	}
	c := &ConvCode{k: k, polys: generators, sums: make([]uint8, 1<<(k-2))}
	for s := range c.sums {
		c.sums[s] = c.outputs(uint32(s) << 1)
	}
	return c
}

// outputs are the code bits for a register of k input bits, the newest lowest.
func (c *ConvCode) outputs(reg uint32) uint8 {
	var out uint8
	for j, g := range c.polys {
		out |= uint8(bits.OnesCount32(reg&g)&1) << j
	}
	return out
}

// Scheme is a convolutional code, tail-biting, with its output bits left out
// or repeated in a fixed pattern.
type Scheme struct {
	Code *ConvCode
	// Pattern tells how often each output bit is sent, output by output within
	// an input bit, input bit by input bit, from the start again when it ends.
	// Its length is a multiple of the number of generators. Nil sends each
	// once.
	Pattern []uint8
}

func (s Scheme) repeats(i int) int {
	if len(s.Pattern) == 0 {
		return 1
	}
	return int(s.Pattern[i%len(s.Pattern)])
}

// CodedBits is the number of bits that n input bits become.
func (s Scheme) CodedBits(n int) int {
	outputs := n * len(s.Code.polys)
	if len(s.Pattern) == 0 {
		return outputs
	}
	period, all := len(s.Pattern), 0
	for _, r := range s.Pattern {
		all += int(r)
	}
	total := outputs / period * all
	for i := range outputs % period {
		total += int(s.Pattern[i])
	}
	return total
}

// AppendEncode appends the CodedBits(len(message)) bits of a message to dst.
// The encoder starts in the state in which it will end (tail-biting), so the
// message needs no tail; it must be at least k−1 bits long.
func (s Scheme) AppendEncode(dst, message []byte) []byte {
	c := s.Code
	var reg uint32
	for _, b := range message[len(message)-(c.k-1):] {
		reg = reg<<1 | uint32(b&1)
	}
	i, mask := 0, uint32(1)<<c.k-1
	for _, b := range message {
		reg = (reg<<1 | uint32(b&1)) & mask
		out := c.outputs(reg)
		for j := range c.polys {
			for range s.repeats(i) {
				dst = append(dst, out>>j&1)
			}
			i++
		}
	}
	return dst
}

// Viterbi decodes convolutional codes. Its zero value is ready; it keeps its
// memory between calls and is used by one goroutine.
type Viterbi struct {
	soft      []int32  // per output bit of the mother code: the sum of its soft decisions
	metrics   []int32  // two sets of path metrics
	decisions []uint64 // per step, one bit per state: which predecessor won
}

const (
	// Path metrics are integers: a soft decision counts 1/softScale and at most
	// ±softLimit. Finer steps or a wider range change no decision that matters,
	// and 2^15 steps of eight outputs at the limit stay inside 31 bits.
	softScale = 32
	softLimit = 64
	// wrap, in constraint lengths: how far around the circle the decoder runs
	// in before and out after the message. Survivors have merged after five to
	// ten (Anderson and Hladik, "Tailbiting MAP decoders", IEEE JSAC 16, 1998).
	wrap = 12
)

// Decode appends the most likely message of n bits to dst, given the
// CodedBits(n) soft decisions of a codeword. n is at least k−1. The trellis of a
// tail-biting code is a circle: the decoder runs along it once, with a run-in
// and a run-out, so the result is that of maximum likelihood except when two
// paths differ all the way around.
func (v *Viterbi) Decode(dst []byte, s Scheme, llr []modem.LLR, n int) []byte {
	c := s.Code
	gens := len(c.polys)
	v.combine(s, llr, n*gens)

	states := 1 << (c.k - 1)
	words := states / 64
	lead := min(n, wrap*c.k)
	steps := n + 2*lead
	if len(v.metrics) < 2*states {
		v.metrics = make([]int32, 2*states)
	}
	if len(v.decisions) < steps*words {
		v.decisions = make([]uint64, steps*words)
	}
	from, to := v.metrics[:states], v.metrics[states:2*states]
	clear(from)
	var branch [256]int32
	at := (n - lead) % n
	for step := range steps {
		branchMetrics(branch[:1<<gens], v.soft[at*gens:(at+1)*gens])
		acs(to, from, c.sums, &branch, v.decisions[step*words:(step+1)*words])
		from, to = to, from
		if at++; at == n {
			at = 0
		}
	}

	state := 0
	for i, m := range from {
		if m > from[state] {
			state = i
		}
	}
	start := len(dst)
	for range n {
		dst = append(dst, 0)
	}
	out := dst[start:]
	for step := steps - 1; step >= lead; step-- {
		if i := step - lead; i < n {
			out[i] = byte(state & 1)
		}
		won := v.decisions[step*words+state>>6] >> (state & 63) & 1
		state = state>>1 | int(won)<<(c.k-2)
	}
	return dst
}

// combine undoes the puncturing and sums repeated bits, as integers.
func (v *Viterbi) combine(s Scheme, llr []modem.LLR, outputs int) {
	if cap(v.soft) < outputs {
		v.soft = make([]int32, outputs)
	}
	v.soft = v.soft[:outputs]
	for i := range v.soft {
		var sum float32
		for range s.repeats(i) {
			sum += llr[0]
			llr = llr[1:]
		}
		if sum-sum != 0 { // NaN or infinite: no measurement
			sum = 0
		}
		v.soft[i] = int32(softScale * max(-softLimit, min(softLimit, sum)))
	}
}

// branchMetrics fills in, for each combination of output bits, the sum of the
// soft decisions in favour of it.
func branchMetrics(branch []int32, soft []int32) {
	var all int32
	for _, v := range soft {
		all += v
	}
	branch[0] = all
	for j, v := range soft {
		half := 1 << j
		for i := range half {
			branch[half+i] = branch[i] - 2*v
		}
	}
}

// acs is one step of the trellis: add, compare, select. States i and i+half
// both lead to 2i and 2i+1, and since each generator has its first and last
// coefficient set, the four branches of that butterfly carry one word of output
// bits or its complement.
func acs(to, from []int32, sums []uint8, branch *[256]int32, decisions []uint64) {
	half := len(sums)
	low, high := from[:half], from[half:][:half]
	to = to[:2*half]
	for w := range decisions {
		var word uint64
		for b := range 32 {
			i := w*32 + b
			m := branch[sums[i]]
			l, h := low[i], high[i]
			d0 := (h - m) - (l + m)
			d1 := (h + m) - (l - m)
			// The sign of a difference selects without a branch that no
			// predictor could foresee.
			take0, take1 := ^(d0 >> 31), ^(d1 >> 31)
			to[2*i] = l + m + d0&take0
			to[2*i+1] = l - m + d1&take1
			word |= uint64(take0&1|take1&2) << (2 * b)
		}
		decisions[w] = word
	}
}
