package fec

// Scramble adds the pseudo-random sequence 1+x¹⁴+x¹⁵ (ITU-T H.221's length,
// EN 300 421 §4.4.1's generator) to p in place, most significant bit first.
// The same call undoes it. The register starts at seed; only its low 15 bits
// count, and a seed whose low 15 bits are zero leaves p as it is.
//
// It keeps long runs of one symbol off the medium. It is no encryption.
func Scramble(p []byte, seed uint16) {
	reg := seed & 0x7FFF
	for i := range p {
		// Both taps lie at least eight bits in, so eight steps are one.
		out := byte((reg>>7 ^ reg>>6) & 0xFF)
		reg = (reg<<8 | uint16(out)) & 0x7FFF
		p[i] ^= out
	}
}
