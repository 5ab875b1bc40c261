// Package fec holds what stands between octets and channel symbols: checks,
// scrambling, interleaving, shaping and the forward error correction inside one
// frame.
//
// Bits are bytes of value 0 or 1, most significant bit of an octet first.
// Soft decisions are modem.LLR: positive means 0, zero is an erasure.
//
//	octets ─► CRC ─► Scramble ─► encoder ─► rate matching ─► Interleaver ─► symbols
//	octets ◄─ CRC ◄─ Scramble ◄─ decoder ◄─ LLRs           ◄─ Interleaver ◄─ symbols
//
// Sphere stands beside that: a distribution matcher, which makes bits into
// amplitudes that are not equally frequent, and bits of them again.
//
// A decoder's output is a guess until a CRC says otherwise. Nothing here
// corrects erasures of whole frames: that is the link's work.
package fec
