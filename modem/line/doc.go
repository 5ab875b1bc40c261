// Package line turns bursts into the bodies of light frames and back: what a
// host does so that a board (firmware/PROTOCOL.md), which knows only octets,
// carries the link's bursts.
//
//	Burst ─ Encoder ─> bodies ~~~ boards, light ~~~> bodies with errors and slips ─ Decoder ─> Event
//	         header (polar), control (LDPC), frames (LDPC or bare)      markers, Viterbi over bit shifts
//	         whitening, markers                                         LLRs, decoding, checks
//
// A light frame is short (at most 2047 octets, 33 ms at the highest rate), so a
// burst is a row of them: segments. Each segment begins with a header that
// describes the whole burst, so a segment that is lost takes only its own
// frames along; a long burst says its control block in the first and in the
// last segment. docs/wire-light.md has every octet.
//
// Like all of modem the package is pure. It never sees a chip: boards decide
// bits by comparing the halves of a Manchester bit, and tell in how many bits
// both were alike. That count, and how well the markers fit, grade the LLRs.
package line
