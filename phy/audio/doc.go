// Package audio is the PHY of sound: a modem on a stream of samples.
//
//	link ── Transmit ─▶ Modulator ─▶ gain ─▶ Stream.Write ─▶ loudspeaker, lead, WAV, simulator
//	link ◀─ Receive ─── Demodulator ◀─┬───── Stream.Read  ◀─ microphone …
//	                    carrier sense ◀┘
//
// A Stream is what the samples come from and go to; a Modem (OpenModem) is a
// profile at a sample rate; New joins one of each to a phy.PHY. Of Streams there
// are sound cards (OpenCard: a process of its own, ServeCard, talks to the sound
// library), simulated media (DialAir), and Reopen, which makes one that outlives
// them of either.
//
// Modem and PHY start no goroutine of their own: Receive and Transmit run in their
// callers', and all timing is counted in samples heard, never in wall-clock
// time, so that a simulated medium may be slower than real time.
//
// It knows nothing of packets, peers or the link.
package audio
