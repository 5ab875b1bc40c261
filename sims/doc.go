// Package sims holds simulated media: what stands between the stations when no
// real room, lead or light does. Only tests and the command use it.
//
// Air is the medium of sound, sample by sample. Every station has a clock of
// its own; the Air has one too, and resamples between them:
//
//	station's clock │              the Air's clock                     │ station's clock
//	                │                                                  │
//	Write ─ queue ─ loudspeaker ─► resampler ─► paths ─► sum ─► resampler ─► microphone ─ Read
//	                soft clip,                 (delay,    ▲                  mute, noise, gain steps,
//	                gain                        echoes)   │                  offset, hard clip, gaps
//	                                            jammers, tones
//
// The package has two floors. The medium (core) is synchronous: exchange moves
// one block from and to one station, tick advances the time by half a block.
// It has no goroutine, no clock and no lock. Air puts stations on it that block
// in Read and Write, in lockstep: the time goes on when every station has asked
// for its next block, never faster than wanted, and a slow station makes it
// slower instead of losing samples. Serve offers the same over a unix socket
// (protocol in phy/audio).
//
// Channel carries single bursts over the same medium, each in a world of its own:
// what figures about a modem are measured on.
//
// It never flatters: what a configuration does not mention is noise, echo, a
// skewed clock and a clipping microphone, not their absence. The model with its
// formulas is in docs/air.md.
package sims
