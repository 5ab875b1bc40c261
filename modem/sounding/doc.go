// Package sounding measures a path of sound: it makes a test signal and finds
// out, from what a microphone heard of it, what the path does to sound.
//
//	Sounding.Append ─► loudspeaker … microphone ─► Find ─► Analyse ─► Report
//
// The signal, of 13 s, is the same for every station at a sample rate, so that
// the two ends need to agree on nothing:
//
//	| sweep | silence | noise at six levels | pause | steady noise | silence | sweep | silence |
//
// From the distance of the sweeps follow the clocks' skew, by which everything is
// put right first. Each sweep, deconvolved, gives the impulse response, and apart
// from it that of each harmonic (A. Farina, "Simultaneous measurement of impulse
// response and distortion with a swept-sine technique", AES 108, 2000). Its
// energy integrated backwards (M. R. Schroeder, 1965; ISO 3382-2:2008) gives the
// reverberation time; with the spectrum of the noise before the sounding it gives
// the SNR of each third of an octave. The impulse response predicts what should be
// heard of the noises: a gain that differs from one level to the next, or from one
// moment to the next, is the doing of an automatic gain control, of a noise
// suppressor or of an echo canceller, and not of the room.
//
// The package is pure and keeps nothing between calls. It judges nothing: what is
// to be done about a Report is for who shows it to say.
package sounding
