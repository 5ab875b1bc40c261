package sims

import "math"

const uartBits = 10 // start, eight data bits, stop

// uartOut is a UART that sends characters as light: high, its level at rest, is
// light.
type uartOut struct {
	bit  float64 // s, by its own clock
	next float64 // when the line is free
}

// send appends the edges of a character and returns when it is over.
func (u *uartOut) send(dst []edge, c byte) []edge {
	level := true
	line := uint16(c)<<1 | 1<<9
	for i := range uartBits {
		if v := line>>i&1 == 1; v != level {
			dst = append(dst, edge{u.next + float64(i)*u.bit, v})
			level = v
		}
	}
	u.next += uartBits * u.bit
	return dst
}

// uartIn is a UART that listens to a comparator, as most are made: it looks at the
// line 16 times a bit, takes a low level after a high one for a start bit, looks again
// in its middle and gives it up if the line is high there, and then takes each bit in
// its middle. A stop bit that is low is a framing error: the character is passed on as
// it was read, as serial drivers in raw mode do.
type uartIn struct {
	tick    float64 // a 16th of a bit, by its own clock
	phase   float64
	level   bool
	edges   []edge // not yet used
	at      int    // of them
	reading bool
	start   float64 // the tick at which the start bit was seen
	bit     int     // to be taken next: 0 is the start bit
	char    byte

	framing, falseStarts uint64
	heard                uint64
}

// levelAt is the line's level at a time; times only go on.
func (u *uartIn) levelAt(t float64) bool {
	for u.at < len(u.edges) && u.edges[u.at].at <= t {
		u.level = u.edges[u.at].up
		u.at++
	}
	return u.level
}

// take reads the edges up to a time, behind which more may come.
func (u *uartIn) take(edges []edge, until float64, out []byte) []byte {
	u.edges = append(u.edges[:copy(u.edges, u.edges[u.at:])], edges...)
	u.at = 0
	for {
		if !u.reading {
			// The next falling edge.
			i := u.at
			for i < len(u.edges) && (u.edges[i].up || !u.level) {
				u.level = u.edges[i].up
				i++
			}
			if u.at = i; i == len(u.edges) {
				return out
			}
			seen := u.phase + math.Ceil((u.edges[i].at-u.phase)/u.tick)*u.tick
			if seen > until {
				return out
			}
			if u.levelAt(seen) {
				continue // gone before it was looked at
			}
			u.reading, u.start, u.bit, u.char = true, seen, 0, 0
		}
		for u.reading {
			t := u.start + (8+16*float64(u.bit))*u.tick
			if t > until {
				return out
			}
			v := u.levelAt(t)
			switch {
			case u.bit == 0 && v:
				u.falseStarts++
				u.reading = false
			case u.bit == uartBits-1:
				if !v {
					u.framing++
				}
				u.heard++
				out = append(out, u.char)
				u.reading = false
			case u.bit > 0 && v:
				u.char |= 1 << (u.bit - 1)
			}
			u.bit++
		}
	}
}
