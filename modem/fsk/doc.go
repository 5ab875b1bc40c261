// Package fsk is the profile that always works: continuous-phase frequency
// shift keying with 2, 4 or 16 tones, received without knowledge of the phase.
// It needs no equaliser and no linear amplifier, and lives with clocks 300 ppm
// apart, echoes, clipping and moving stations. What it gives for that is bits
// per hertz: at most half of one.
//
// A table holds a few numerologies (tones, symbol rate, spacing, centre), each
// with a preamble of its own, so a receiver knows from the preamble how to read
// the header, and the header names the code rate of the frames.
//
//	Burst ─► header, control, frames ─► CRC, scrambler, convolutional code,
//	         interleaver (wire.go) ─► tones ─► samples (modulator.go)
//
//	samples ─► preamble search by FFT correlation (detector.go)
//	        └► energy of each tone, symbol by symbol, under a clock that
//	           follows (tones.go) ─► channel estimates and soft decisions
//	           (soft.go) ─► Viterbi decoder, checks (wire.go) ─► Event
//	                                          (all led by demodulator.go)
//
// Every block that passes its check is coded again, and with its tones known
// the receiver learns what each of them sounds like in this room.
//
// The package never corrects a frame that failed its check, never asks for
// another, and keeps nothing from one burst to the next but the level of the
// noise. docs/wire-fsk.md is the format on the medium.
//
// Beside the bursts stands Async (async.go): uncoded asynchronous FSK with the
// tones and timing of Bell 202 and Bell 103, for talking to other programs.
package fsk
