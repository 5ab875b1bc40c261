package sounding

import (
	"math"
	"strconv"
)

// Value is a measured number; NaN, which is null in JSON, where it could not be
// measured.
type Value float64

// Known tells whether it was measured.
func (v Value) Known() bool { return !math.IsNaN(float64(v)) && !math.IsInf(float64(v), 0) }

// MarshalJSON implements json.Marshaler: four decimals are more than is measured.
func (v Value) MarshalJSON() ([]byte, error) {
	if !v.Known() {
		return []byte("null"), nil
	}
	return strconv.AppendFloat(nil, math.Round(float64(v)*1e4)/1e4, 'g', -1, 64), nil
}

// Report is what Analyse found out. Levels in dBFS are RMS against full scale 1
// unless they are called peaks.
type Report struct {
	Start Value `json:"start_sample"` // of the recording, at which the direct wave of the first sweep begins

	// The level at the microphone.
	PeakDBFS    Value `json:"peak_dbfs"`    // largest sample while the sounding was heard
	SignalDBFS  Value `json:"signal_dbfs"`  // of the steady noise as it was heard, noise floor included
	NoiseDBFS   Value `json:"noise_dbfs"`   // before the sounding, 0…rate/2
	Clipped     int   `json:"clipped"`      // samples at the limit of the microphone, the card or a stage between
	ClipDBFS    Value `json:"clip_dbfs"`    // where that limit lies (peak)
	SilentShare Value `json:"silent_share"` // of the samples before the sounding that are exactly 0, 0…1: a device that is muted or cuts pauses out
	Holes       int   `json:"holes"`        // silences of 2 ms and more in what should sound: a sound server that is late
	DCOffset    Value `json:"dc_offset"`    // mean of the samples before the sounding

	// The path.
	GainDB   Value    `json:"gain_db"`   // power that arrives of a burst as wide as the band, against full playing level
	SNRdB    Value    `json:"snr_db"`    // of such a burst at modem.LevelDBFS, against the noise in 0…rate/2: the scale of Mode.SNRdB
	Bands    []Band   `json:"bands"`     // thirds of an octave
	RT60     Value    `json:"rt60_s"`    // reverberation time; 0: there is no reverberation
	RT60Span Value    `json:"rt60_span"` // dB of the decay that it was read from: 10, 20 or 30
	DRRdB    Value    `json:"drr_db"`    // energy within 2.5 ms of the direct wave against all that follows
	EchoMS   Value    `json:"echo_ms"`   // a single echo that stands out of the decay: its delay behind the direct wave
	EchoDB   Value    `json:"echo_db"`   // and its energy against the direct wave's
	Harmonic [2]Value `json:"harmonics"` // second and third, dB against the fundamental; a loudspeaker or amplifier that is overdriven

	// The clocks.
	SkewPPM Value `json:"skew_ppm"` // the player's sample clock against the listener's; positive: the player's is fast
	Alike   Value `json:"alike"`    // correlation of the two sweeps' impulse responses, 0…1: whether the path stayed as it was

	// Whether what is heard follows what is played. Gains are in dB against the
	// median of all of them.
	Steps    []Step  `json:"steps"`         // at several levels
	Steady   []Value `json:"steady_db"`     // in each tenth of a second of the steady noise
	SweepDB  Value   `json:"sweep_gain_db"` // of the second sweep against the first
	GainSD   Value   `json:"gain_sd_db"`    // standard deviation that noise alone gives one of Steady
	ModelSNR Value   `json:"model_snr_db"`  // steady noise: what the impulse response foretells of it against the rest

	// For pictures.
	Impulse []float32 `json:"-"` // impulse response from 5 ms before the direct wave on
	Decay   []float32 `json:"-"` // its energy from each sample on, dB
	Lead    int       `json:"-"` // index in Impulse and Decay of the direct wave
	Noise   []float32 `json:"-"` // dBFS in each bin of Spectrum
	Signal  []float32 `json:"-"` // dBFS of a burst at modem.LevelDBFS in each bin of Spectrum
	Spacing float64   `json:"-"` // Hz between the bins of Noise and Signal
}

// Band is a third of an octave.
type Band struct {
	Hz         float64 `json:"hz"`          // its middle
	ResponseDB Value   `json:"response_db"` // gain of the path
	NoiseDBFS  Value   `json:"noise_dbfs"`  // in this band
	SNRdB      Value   `json:"snr_db"`      // of a burst at modem.LevelDBFS that is as wide as the whole band
}

// Step is one level of noise.
type Step struct {
	LevelDB float64 `json:"level_db"` // at which it was played, against the loudest
	GainDB  Value   `json:"gain_db"`
	SD      Value   `json:"sd_db"` // standard deviation that noise alone gives the gain
}
