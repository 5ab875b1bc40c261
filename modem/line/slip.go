package line

import (
	"math"
	"math/bits"

	"lightsong/modem"
)

// A receiver whose bit clock slips loses bits or finds bits that are none; from
// there on all others stand at the wrong place. The markers tell where and by how
// much: a Viterbi decoder over shifts looks for the likeliest course, in which a
// marker that does not fit costs something and so does each change of the shift.
const (
	maxShift   = 16                   // bits that are looked for, either way
	shifts     = 2*maxShift + 1       // states
	groupBits  = 8 * markerEvery      // of content between two markers
	periodBits = groupBits + 8        // from marker to marker
	misfit     = 2                    // cost of a wrong bit in a marker
	change     = 7                    // cost of a slip, and
	farther    = 1                    // for each bit of it
	maxMarkers = 2048 / (markerEvery) // in a body

	// darkPrior is how likely a stretch of light was not seen at all. In one
	// that was not, bits are right by chance.
	darkPrior = 0.01
)

// aligner finds the shift after each marker. Its memory is its own.
type aligner struct {
	from  [maxMarkers][shifts]int8 // best predecessor
	cost  [shifts]int
	next  [shifts]int
	shift [maxMarkers + 1]int8  // of each group: where its end lies, less where it should
	wrong [maxMarkers + 1]uint8 // bits of the marker behind each group that do not fit
}

// bitAt is bit i of the body, 0 outside.
func bitAt(body []byte, i int) byte {
	if i < 0 || i >= 8*len(body) {
		return 0
	}
	return body[i/8] >> (7 - i%8) & 1
}

// octetAt is the octet that begins with bit i.
func octetAt(body []byte, i int) byte {
	at := i >> 3
	if at < 0 || at+1 >= len(body) || i < 0 {
		v := byte(0)
		for j := range 8 {
			v = v<<1 | bitAt(body, i+j)
		}
		return v
	}
	return byte((uint16(body[at])<<8 | uint16(body[at+1])) >> (8 - i&7))
}

// align fills in shift and wrong for the groups of a body with so many markers.
// The last group, behind the last marker, keeps the last shift.
func (a *aligner) align(body []byte, markers int) {
	clean := true
	for g := range markers {
		a.shift[g] = 0
		a.wrong[g] = uint8(bits.OnesCount8(octetAt(body, g*periodBits+groupBits) ^ Marker))
		clean = clean && a.wrong[g] <= 1
	}
	a.shift[markers], a.wrong[markers] = 0, 0
	if markers == 0 {
		return
	}
	a.wrong[markers] = a.wrong[markers-1]
	if clean {
		return
	}
	for s := range a.cost {
		a.cost[s] = math.MaxInt / 2
	}
	a.cost[maxShift] = 0 // the sync word and the length were read in step
	for g := range markers {
		for to := range shifts {
			// All predecessors matter, but only the best and staying can win: the
			// cost of a change grows with the distance, so look at all, they are few.
			best, from := a.cost[to], to
			for s, c := range a.cost {
				if s != to {
					if c += change + farther*max(s-to, to-s); c < best {
						best, from = c, s
					}
				}
			}
			fits := bits.OnesCount8(octetAt(body, g*periodBits+groupBits+to-maxShift) ^ Marker)
			a.next[to], a.from[g][to] = best+misfit*fits, int8(from)
		}
		a.cost = a.next
	}
	end := maxShift
	for s, c := range a.cost {
		if c < a.cost[end] {
			end = s
		}
	}
	a.shift[markers] = int8(end - maxShift)
	for g := markers - 1; g >= 0; g-- {
		a.shift[g] = int8(end - maxShift)
		a.wrong[g] = uint8(bits.OnesCount8(octetAt(body, g*periodBits+groupBits+end-maxShift) ^ Marker))
		end = int(a.from[g][end])
	}
	a.wrong[markers] = a.wrong[markers-1]
}

// doubt is the chance that a bit is wrong in a group whose two markers have
// wrong bits of 16 not fitting, where bits are wrong with probability p in light
// that is seen.
func doubt(p float64, wrong int) float64 {
	seen := (1 - darkPrior) * math.Pow(p, float64(wrong)) * math.Pow(1-p, float64(16-wrong))
	dark := darkPrior * math.Pow(0.5, 16)
	share := dark / (seen + dark)
	return p*(1-share) + 0.5*share
}

// llrs appends the LLRs of n octets of content, whitening undone. p is the
// chance that a bit is wrong.
func (a *aligner) llrs(dst []modem.LLR, body []byte, n int, p float64) []modem.LLR {
	markers := (n - 1) / markerEvery
	a.align(body, markers)
	var table [17]modem.LLR
	for w := range table {
		q := doubt(p, w)
		table[w] = modem.LLR(math.Log((1 - q) / q))
	}
	before := int8(0) // shift where the group begins
	left := uint8(0)  // wrong bits of the marker before it
	for g := 0; g*markerEvery < n; g++ {
		octets := min(markerEvery, n-g*markerEvery)
		l := table[left+a.wrong[g]]
		if g == 0 {
			l = table[min(16, 2*a.wrong[g])]
		}
		white := whitening[g*markerEvery:]
		at := g * periodBits
		if after := a.shift[g]; after == before {
			for i := range octets {
				v := octetAt(body, at+8*i+int(after)) ^ white[i]
				for bit := 7; bit >= 0; bit-- {
					if v>>bit&1 == 0 {
						dst = append(dst, l)
					} else {
						dst = append(dst, -l)
					}
				}
			}
		} else {
			dst = a.mixed(dst, body, at, octets, int(before), int(after), white, p)
		}
		before, left = a.shift[g], a.wrong[g]
		// A body that ended early has nothing to say about its end.
		if end := 8 * len(body); at+8*octets+int(before) > end {
			for i := max(0, len(dst)-(at+8*octets+int(before)-end)); i < len(dst); i++ {
				dst[i] = 0
			}
		}
	}
	return dst
}

// mixed appends the LLRs of a group in which a slip lies somewhere: the nearer
// its end, the likelier it has happened. Bits that are the same both ways are
// known.
func (a *aligner) mixed(dst []modem.LLR, body []byte, at, octets, before, after int, white []byte, p float64) []modem.LLR {
	n := 8 * octets
	for i := range n {
		w := white[i/8] >> (7 - i%8) & 1
		done := (float64(i) + 0.5) / float64(n)
		one := 0.0 // the chance of a 1
		for _, way := range [...]struct {
			bit    byte
			chance float64
		}{{bitAt(body, at+i+before) ^ w, 1 - done}, {bitAt(body, at+i+after) ^ w, done}} {
			if way.bit == 1 {
				one += way.chance * (1 - p)
			} else {
				one += way.chance * p
			}
		}
		dst = append(dst, modem.LLR(math.Log((1-one)/one)))
	}
	return dst
}
