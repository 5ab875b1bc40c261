package fec

// The distribution matcher of probabilistic amplitude shaping: enumerative
// sphere shaping (Gültekin, van Houtum, Koppelaar, Willems, "Enumerative sphere
// shaping for wireless communications with short packets", IEEE Trans. Wireless
// Commun. 19(2), 2020). It writes uniform bits as amplitudes of which small ones
// are more frequent: all sequences of a block whose energy is within a budget,
// each as likely as any other, which for long blocks makes the amplitudes
// independent and Maxwell–Boltzmann distributed.
//
// t(n,s) is the number of sequences of n amplitudes of energy s at most,
//
//	t(n,s) = Σ t(n−1, s−w(a)),   t(0,s) = 1.   (sum over amplitudes a)
//
// A path through this trellis that takes the amplitude a with probability
// t(n−1,s−w(a))/t(n,s) has the probability 1/t(n,s) in all, whatever the path. An
// arithmetic decoder that reads the bits as a number in [0,1) and walks the
// trellis by these probabilities is the matcher, the arithmetic encoder its
// inverse: the paths' intervals fill [0,1), none is wider than 2^−k, so k bits
// are always told apart.
//
// The counts are kept with 21 bits of precision, rounded down, as in
// bounded-precision sphere shaping: a node never promises more than its
// successors hold. All arithmetic is on integers and the same everywhere. One
// table serves all budgets, and all blocks up to the longest: a shorter
// block starts nearer to the end. Longer sequences are several blocks in one
// arithmetic code.

import "fmt"

// Sphere is a distribution matcher with an alphabet of 2, 4 or 8 amplitudes,
// the odd numbers 1, 3, …; amplitude 2a+1 is told as the index a. It is a table
// that nothing changes after NewSphere.
type Sphere struct {
	bits    int // of an amplitude's index
	weight  []int
	longest int // of a block
	most    int // largest budget of a block
	count   []uint32
}

// A count is mantissa·2^exponent: 21 bits of mantissa, the first of them 1, and
// 11 bits of exponent in the lower part.
const (
	countExponent = 11
	countMantissa = 32 - countExponent
)

// The interval of the arithmetic code, [low, low+span), is kept as integers
// below 2^spanBits; when it is narrower than 2^(spanBits-8) another eight bits
// are taken in.
const (
	spanBits = 56
	spanLow  = spanBits - 8
	// The rounding of counts and of the interval costs a step less than 2^−17 of
	// the interval. One bit covers it for maxSphere amplitudes.
	sphereGuard = 1
	maxSphere   = 1 << 16
)

// SphereScale is the unit of budgets: a budget of SphereScale per amplitude allows a
// mean of (|x|²−1)/8 = 1, where |x| = 1, 3, 5 … are the amplitudes.
const SphereScale = 256

// NewSphere makes the matcher of amplitudes with indices of 1, 2 or 3 bits. It
// panics at any other number.
func NewSphere(amplitudeBits int) *Sphere {
	s := &Sphere{bits: amplitudeBits}
	switch amplitudeBits {
	case 1:
		s.longest = 512
	case 2:
		s.longest = 512
	case 3:
		s.longest = 256
	default:
		panic(fmt.Sprintf("fec.NewSphere: amplitudes of %d bits, want 1 to 3", amplitudeBits))
	}
	var sum int
	for a := range 1 << amplitudeBits {
		s.weight = append(s.weight, a*(a+1)/2)
		sum += a * (a + 1) / 2
	}
	// A budget of the uniform distribution's mean energy would shape nothing, and
	// three quarters of it do hardly.
	s.most = s.longest * sum * 3 / 4 >> amplitudeBits
	width := s.most + 1
	s.count = make([]uint32, (s.longest+1)*width)
	for e := range width {
		s.count[e] = 1 << 31 // 1, its mantissa shifted up, the exponent down
	}
	for n := 1; n <= s.longest; n++ {
		before := s.count[(n-1)*width:][:width]
		for e := range width {
			s.count[n*width+e] = s.sum(before, e)
		}
	}
	return s
}

// sum adds the counts of a node's successors, rounding down.
func (s *Sphere) sum(before []uint32, slack int) uint32 {
	top := before[slack] // the largest, by the amplitude of least energy
	exponent := top & (1<<countExponent - 1)
	var total uint64
	for _, w := range s.weight {
		if w > slack {
			break
		}
		c := before[slack-w]
		total += uint64(c>>countExponent) << 20 >> (exponent - c&(1<<countExponent-1))
	}
	total >>= 20
	for total >= 1<<countMantissa {
		total >>= 1
		exponent++
	}
	return uint32(total)<<countExponent | exponent
}

// Bits is the number of bits of an amplitude's index.
func (s *Sphere) Bits() int { return s.bits }

// Longest is the number of amplitudes of the longest block.
func (s *Sphere) Longest() int { return s.longest }

// blocks is the number of blocks of a sequence of n amplitudes; block i has
// the length at(i+1)−at(i), at(i) = ⌊i·n/blocks⌋.
func (s *Sphere) blocks(n int) int { return (n + s.longest - 1) / s.longest }

// slack is the budget of a block.
func (s *Sphere) slack(length, budget int) int {
	return length * min(budget, s.MaxBudget()) / SphereScale
}

// Capacity is the number of bits that n amplitudes carry with a budget per
// amplitude in units of 1/SphereScale. It grows with the budget, up to MaxBudget.
func (s *Sphere) Capacity(n, budget int) int {
	if n < 1 || budget < 0 {
		return 0
	}
	blocks := s.blocks(n)
	short := n / blocks
	long := n - short*blocks // blocks of one more
	total := int64(blocks-long) * s.log(short, budget)
	if long > 0 {
		total += int64(long) * s.log(short+1, budget)
	}
	return max(0, int(total>>logScale)-sphereGuard)
}

// MaxBudget is the budget beyond which Capacity does not grow.
func (s *Sphere) MaxBudget() int { return s.most * SphereScale / s.longest }

// Budget is the least budget with which n amplitudes carry k bits; ok is false
// if there is none.
func (s *Sphere) Budget(n, k int) (budget int, ok bool) {
	if k <= 0 {
		return 0, true
	}
	lo, hi := 0, s.MaxBudget()
	if s.Capacity(n, hi) < k {
		return hi, false
	}
	for lo < hi {
		if mid := (lo + hi) / 2; s.Capacity(n, mid) >= k {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo, true
}

// logScale is the number of fractional bits of log.
const logScale = 16

// log is the binary logarithm of a block's number of sequences, rounded down.
func (s *Sphere) log(length, budget int) int64 {
	c := s.count[length*(s.most+1)+s.slack(length, budget)]
	exponent := int64(c & (1<<countExponent - 1))
	// One bit of the mantissa's logarithm for each squaring.
	m := uint64(c>>countExponent) << (31 - (countMantissa - 1)) // in [1,2) with 31 fractional bits
	f := int64(0)
	for range logScale {
		m = m * m >> 31
		f <<= 1
		if m >= 1<<32 {
			m >>= 1
			f |= 1
		}
	}
	return exponent<<logScale | f
}

// shares fills f with the shares of the amplitudes in the interval of a node
// and returns their sum. f[0] is the largest.
func (s *Sphere) shares(f *[8]uint64, before []uint32, slack int) (total uint64) {
	exponent := before[slack] & (1<<countExponent - 1)
	for a, w := range s.weight {
		f[a] = 0
		if w <= slack {
			c := before[slack-w]
			f[a] = uint64(c>>countExponent) >> (exponent - c&(1<<countExponent-1))
		}
		total += f[a]
	}
	return total
}

// Shape fills dst with the indices of the amplitudes that stand for data, bits
// of value 0 or 1. It panics unless data is Capacity(len(dst), budget) long.
func (s *Sphere) Shape(dst, data []byte, budget int) {
	if len(dst) > maxSphere || len(data) != s.Capacity(len(dst), budget) {
		panic(fmt.Sprintf("fec.Sphere: %d bits in %d amplitudes of budget %d", len(data), len(dst), budget))
	}
	var f [8]uint64
	read := 0
	next := func(n int) (v uint64) {
		for range n {
			v <<= 1
			if read < len(data) {
				v |= uint64(data[read] & 1)
			}
			read++
		}
		return v
	}
	code, span := next(spanBits), uint64(1)<<spanBits // of the number above low
	width := s.most + 1
	blocks := s.blocks(len(dst))
	for i := range blocks {
		lo, hi := i*len(dst)/blocks, (i+1)*len(dst)/blocks
		slack := s.slack(hi-lo, budget)
		for n := hi - lo; n > 0; n-- {
			total := s.shares(&f, s.count[(n-1)*width:][:width], slack)
			unit := span / total
			a := len(s.weight) - 1
			// The smallest amplitude, which is last, has what rounding leaves over.
			for ; a > 0; a-- {
				if f[a] *= unit; code < f[a] {
					span = f[a]
					break
				}
				code -= f[a]
				span -= f[a]
			}
			dst[hi-n] = byte(a)
			slack -= s.weight[a]
			for span < 1<<spanLow {
				span, code = span<<8, code<<8|next(8)
			}
		}
	}
}

// Unshape is the inverse of Shape: it fills data with the bits that the
// amplitudes stand for. ok is false if Shape gives these amplitudes for no bits
// at all; data then means nothing. It panics unless data is
// Capacity(len(amplitudes), budget) long.
func (s *Sphere) Unshape(data, amplitudes []byte, budget int) (ok bool) {
	if len(amplitudes) > maxSphere || len(data) != s.Capacity(len(amplitudes), budget) {
		panic(fmt.Sprintf("fec.Sphere: %d bits in %d amplitudes of budget %d", len(data), len(amplitudes), budget))
	}
	var f [8]uint64
	out := number{head: data}
	low, span := uint64(0), uint64(1)<<spanBits
	width := s.most + 1
	blocks := s.blocks(len(amplitudes))
	for i := range blocks {
		lo, hi := i*len(amplitudes)/blocks, (i+1)*len(amplitudes)/blocks
		slack := s.slack(hi-lo, budget)
		for n := hi - lo; n > 0; n-- {
			own := int(amplitudes[hi-n])
			if own >= len(s.weight) || s.weight[own] > slack {
				return false
			}
			total := s.shares(&f, s.count[(n-1)*width:][:width], slack)
			if f[own] == 0 {
				return false
			}
			unit := span / total
			for a := len(s.weight) - 1; a > own; a-- {
				low += unit * f[a]
				span -= unit * f[a]
			}
			if own > 0 {
				span = unit * f[own]
			}
			slack -= s.weight[own]
			if low >= 1<<spanBits {
				out.increment()
				low &= 1<<spanBits - 1
			}
			for span < 1<<spanLow {
				out.push(low>>spanLow, 8)
				span, low = span<<8, low<<8&(1<<spanBits-1)
			}
		}
	}
	out.push(low, spanBits)
	// What was sent is the multiple of 2^−k that is not less than low.
	if out.tail == 0 {
		return true
	}
	behind := out.at - len(data)
	if behind > 63 || 1<<behind-out.tail >= span {
		return false // the interval holds none
	}
	out.at, out.tail = len(data), 0
	return out.increment()
}

// number is a binary fraction that grows at its end: the bits that head has room
// for, and the last 64 of those behind it.
type number struct {
	head []byte
	tail uint64
	at   int // bits
}

func (u *number) push(v uint64, bits int) {
	for i := bits - 1; i >= 0; i-- {
		if bit := v >> i & 1; u.at < len(u.head) {
			u.head[u.at] = byte(bit)
		} else {
			u.tail = u.tail<<1 | bit
		}
		u.at++
	}
}

// increment adds 1 in the last place; ok is false if that gives 1.
func (u *number) increment() (ok bool) {
	i := min(u.at, len(u.head))
	if behind := u.at - i; behind > 0 {
		if u.tail++; behind > 63 || u.tail>>behind == 0 {
			return true
		}
		u.tail = 0
	}
	for i--; i >= 0; i-- {
		if u.head[i] ^= 1; u.head[i] != 0 {
			return true
		}
	}
	return false
}
