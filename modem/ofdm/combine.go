package ofdm

import (
	"math"
	"slices"

	"lightsong/modem"
	"lightsong/modem/fec"
)

// What was heard of a frame that failed is not thrown away: when the sender repeats
// the frame, octet by octet the same, the receiver adds up what it heard of both and
// decodes again (Chase, "Code combining", IEEE Trans. Commun. 33(5), 1985). Two
// copies are worth 3 dB, three 4.8 dB. In a mode of another rate of the same code
// the bits that only one copy has come on top: incremental redundancy.
//
// Nobody announces a repetition. That two receptions are of one codeword they tell
// themselves: where each believes t = tanh(LLR/2) of a bit, what was heard is by
//
//	Λ = Π (1 + t·t′)    over all bits
//
// more likely if they are of one codeword than if they are of two that have nothing to
// do with each other. In the latter case the mean of Λ is 1, whatever the beliefs are
// worth, so Λ exceeds L with a probability of at most 1/L (Markov). Frames that differ
// at all do have codewords as good as independent: see whiten. And their check has the last word.
//
// What is kept stays until later frames that fail take its place. Who sends many of those
// costs others the gain and nothing else: a frame is first decoded without its copies.

const (
	mostKept   = 64      // frames
	mostSoft   = 1 << 20 // octets of soft decisions, one a bit
	alike      = 20.7    // ln 10⁹: ln Λ from which two are taken for copies
	mostBelief = 0.9     // in a bit, so that a hit that looks like certainty outweighs only a few others
	softUnits  = 4       // of a kept LLR of 1; the largest is 32
)

// family is what all copies of a frame have in common besides its content.
type family struct {
	graph fec.Graph
	words int
	k     int
	e     int // of shaped modes alone: there the information bits depend on it
}

// reception is what was heard of a frame: the LLRs in the circular buffers of its
// words, of all copies together, without the zeros at the end.
type reception struct {
	family family
	soft   []int8
}

// combiner keeps what was heard of frames that failed: of at most mostKept, in at
// most mostSoft octets, the latest. What fails in the burst in progress comes on
// top, under the same limits. In the steady state it allocates nothing.
type combiner struct {
	kept  []reception // of earlier bursts, the oldest first
	fresh []reception // of the burst in progress
	tries []try       // by unit
	own   family      // of the burst's frames
	first int         // bit of each word that is the first to count; those before are shaped, and alike in all words
	spare [][]int8    // to be used again
	room  int         // octets there

	belief  []float32    // in each bit of a unit
	beliefs [256]float32 // by the octet of a kept LLR
}

// try is what is known of a unit of the burst in progress.
type try struct {
	failed bool // once at least
	copy   int  // index in kept of what was heard of it before; −1: nothing
	fresh  int  // index in fresh; −1: nothing there
}

func newCombiner() *combiner {
	c := new(combiner)
	for i := range c.beliefs {
		c.beliefs[i] = believe(modem.LLR(int8(i)) / softUnits)
	}
	return c
}

func believe(v modem.LLR) float32 {
	if math.IsNaN(float64(v)) {
		return 0
	}
	return max(-mostBelief, min(mostBelief, tanhHalf(v)))
}

// begin prepares for the frames of a burst, or of another look at it.
func (c *combiner) begin(p *plan) {
	c.drop(&c.fresh, len(c.fresh))
	c.tries = c.tries[:0]
	if p.joint {
		return // the control block in it is never the same again
	}
	c.own, c.first = family{graph: p.graph(), words: p.words, k: p.k}, p.shaped
	if p.shaped > 0 {
		c.own.e = p.e
	}
	for range p.units {
		c.tries = append(c.tries, try{copy: -1, fresh: -1})
	}
}

// drop frees the first n of a list.
func (c *combiner) drop(list *[]reception, n int) {
	for i := range n {
		c.free(&(*list)[i])
	}
	*list = slices.Delete(*list, 0, n)
}

func (c *combiner) free(r *reception) {
	if c.room+cap(r.soft) <= mostSoft {
		c.spare = append(c.spare, r.soft[:0])
		c.room += cap(r.soft)
	}
	r.soft = nil
}

// take is a slice of n.
func (c *combiner) take(n int) (soft []int8) {
	if last := len(c.spare) - 1; last >= 0 {
		soft, c.spare = c.spare[last], c.spare[:last]
		c.room -= cap(soft)
	}
	return resize(soft, n)
}

// add adds to the LLRs of a unit what was heard of it before, if that is known.
func (c *combiner) add(unit int, soft []modem.LLR) {
	if unit < len(c.tries) && c.tries[unit].copy >= 0 {
		for i, v := range c.kept[c.tries[unit].copy].soft {
			soft[i] += modem.LLR(v) / softUnits
		}
	}
}

// find looks for what was heard before of a unit that fails for the first time, and
// adds it to its LLRs.
func (c *combiner) find(unit int, soft []modem.LLR) (found bool) {
	if unit >= len(c.tries) || c.tries[unit].failed {
		return false
	}
	best, most := -1, alike
	c.belief = c.belief[:0]
	for i, r := range c.kept {
		if r.family != c.own || slices.ContainsFunc(c.tries, func(t try) bool { return t.copy == i }) {
			continue
		}
		if len(c.belief) == 0 {
			for _, v := range soft {
				c.belief = append(c.belief, believe(v))
			}
			n := len(soft) / c.own.words
			for w := range c.own.words {
				clear(c.belief[w*n:][:c.first])
			}
		}
		if v := c.likeness(r.soft); v > most {
			best, most = i, v
		}
	}
	c.tries[unit].copy = best
	c.add(unit, soft)
	return best >= 0
}

// likeness is ln Λ.
func (c *combiner) likeness(soft []int8) (sum float64) {
	const stretch = 32 // factors, of 0.19 to 1.81 each, between two logarithms
	for at := 0; at < len(soft); at += stretch {
		part := soft[at:min(at+stretch, len(soft))]
		belief := c.belief[at:][:len(part)]
		product := 1.
		for i, v := range part {
			product *= float64(1 + float32(belief[i]*c.beliefs[uint8(v)])) // not fused: the same on every machine
		}
		sum += math.Log(product)
	}
	return sum
}

// note takes what was heard of a unit that has failed for the first time, what find
// has added to it included. In later passes the channel is estimated from what the
// decoder believed of the frame, wrongly: what is heard then repeats it.
func (c *combiner) note(unit int, soft []modem.LLR) {
	if unit >= len(c.tries) || c.tries[unit].failed {
		return
	}
	t := &c.tries[unit]
	t.failed = true
	for len(soft) > 0 && soft[len(soft)-1] == 0 {
		soft = soft[:len(soft)-1]
	}
	if len(c.fresh) == mostKept || octets(c.fresh)+len(soft) > mostSoft {
		return
	}
	kept := c.take(len(soft))
	for i, v := range soft {
		if math.IsNaN(float64(v)) {
			v = 0
		}
		v = v*softUnits + 128.5 // positive: the conversion rounds down
		kept[i] = int8(int(max(1, min(255, v))) - 128)
	}
	t.fresh = len(c.fresh)
	c.fresh = append(c.fresh, reception{c.own, kept})
}

// settle ends a burst: what was heard of its frames that failed is kept. came tells
// which units did.
func (c *combiner) settle(came func(unit int) bool) {
	for unit, t := range c.tries {
		done := came(unit)
		if t.copy >= 0 && (done || t.fresh >= 0) { // what was noted has it in it
			c.free(&c.kept[t.copy])
		}
		if t.fresh >= 0 && done {
			c.free(&c.fresh[t.fresh])
		}
	}
	c.tries = c.tries[:0]
	c.kept = append(c.kept, c.fresh...)
	clear(c.fresh)
	c.fresh = c.fresh[:0]
	c.kept = slices.DeleteFunc(c.kept, func(r reception) bool { return r.soft == nil })
	n := 0
	// A slice that is used again may be longer than what it holds, so those of the
	// burst alone may be too many.
	for size := octets(c.kept); len(c.kept)-n > mostKept || size > mostSoft; n++ {
		size -= cap(c.kept[n].soft)
	}
	c.drop(&c.kept, n)
}

// octets that the soft decisions in a list take.
func octets(list []reception) (n int) {
	for _, r := range list {
		n += cap(r.soft)
	}
	return n
}
