// Package dsp holds the signal processing that the modems share: fast Fourier
// transforms, correlation, oscillators and resampling.
//
// Samples are float32 at full scale ±1, spectra are complex64. Every object is
// made once for its size, owns its scratch memory and is used by one goroutine;
// after construction nothing allocates. The package knows no modem, no burst
// and no bit.
//
//	samples ─► Correlator ─► lag series            (preambles)
//	        └► NCO.MixDown ─► complex baseband      (tones, carriers)
//	        └► RealFFT    ─► bins ─► RealFFT.Inverse (blocks)
package dsp
