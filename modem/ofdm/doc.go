// Package ofdm is the fast modem: orthogonal frequency-division multiplexing
// with LDPC-coded QAM, from below −19 dB to a 60 dB cable, for leads, rooms,
// the inaudible band and telephones.
//
//	Burst ─► plan ─► coder ─► carriers ─► inverse FFT, prefix ─► samples     Modulator
//
//	samples ─► finder ─► receiver: search, follow ─► estimator ─► LLRs ─► coder ─► Event
//	           chirp     clock of the sender         channel,      ▲         │       Demodulator
//	                                                 noise    ▲    │         ▼
//	                                                          └────┴── soft symbols
//
// A burst is a chirp, a head (training, header, control block) in a numerology
// that belongs to the chirp, and a body (training, frames) in the numerology
// that the mode and the length of the burst ask for:
//
//	| chirp | training | header, control | training | frame cells and pilots … |
//
// The profile cable2 has two channels with a body each (pair.go): its samples are
// pairs of left and right.
// In rooms a short burst is a block instead, and a long one has symbols of 0.7 s:
//
//	| chirp | silence | one block: header, control, frame cells, pilots |
//
// docs/wire-ofdm.md gives every carrier. profile.go holds the tables: bands,
// classes of preamble and header, modes. plan.go says where everything in a
// burst lies; both directions work from it. code.go takes octets to carriers.
// shape.go makes small amplitudes more frequent than large ones, for 0.4 to 1.5 dB.
//
// The receiver works on whole bursts. It finds the chirp (search.go), searches
// the sender's clock with the known carriers of the head, follows it from there
// to the burst's end, each time as far ahead as it is sure of (sync.go), and
// takes every symbol's samples by that clock, between the stored samples. The
// channel is estimated by a Wiener filter across the carriers for a delay
// profile fitted to the burst itself, the noise from what is left on known
// carriers (channel.go). Frames that fail are tried again with what was heard of
// them before, if they are repetitions (combine.go), and with a channel estimated
// from what the decoder believed (receive.go).
//
// In leads a short burst may come in the middle of a long one (inside.go).
//
// Where an end is moved (motion.go) a header that failed is tried by other clocks,
// the direct wave is followed symbol by symbol, and every symbol gets a channel of
// its own; all of it only where a burst could not be read otherwise. From what
// was read the receiver tells how the channel changes and which mode it wants
// next.
//
// Echoes that outlast everything are the business of three files. block.go lays
// out, sends and reads block bursts: the impulse response from the chirp's echoes
// in the silence and the pilots, the block's own echoes folded back from behind
// it; of the shortest, that answers wait for, more is heard only when what is
// there was not enough. joint.go fits impulse responses: conjugate gradients under the prior of an
// exponential decay, from chirp and carriers at once. long.go reads long symbols
// in passes, and takes what is believed of the burst out of the echoes beyond the
// prefix; a channel without such echoes is done after the first pass.
//
// The package keeps no goroutine, clock or global state. A Demodulator holds at
// most the longest burst (20 s for weak modes, 10 s for others): at 48 kHz that
// is 4 MB of samples and up to 20 MB of soft decisions, four times that at 192
// kHz, and twice that again with two channels; what it keeps of frames that failed is at most 3 MB. Nothing here knows what is in a frame or whether anybody answers.
package ofdm
