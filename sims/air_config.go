package sims

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// ReferenceDBFS is the level of a burst that snr_db is measured against, RMS.
const ReferenceDBFS = -12

// AirConfig describes a simulated room and the stations in it. The zero value
// is a valid room with the defaults named below. All levels in dBFS are RMS
// against full scale 1. A pointer that is nil stands for its default; new(0.0)
// is an explicit zero.
type AirConfig struct {
	Rate     int                   `toml:"rate"`     // samples per second, 8000…192000; 0: 48000
	Channels int                   `toml:"channels"` // of every station: 1, or 2 for a lead with two conductors; 0: 1
	Seed     uint64                `toml:"seed"`     // everything that is drawn comes from it
	Speed    *float64              `toml:"speed"`    // times real time at most; 0: as fast as the stations allow; nil: 1
	Room     AirRoom               `toml:"room"`     // what holds for every path
	Station  AirStation            `toml:"station"`  // what holds for every station
	Stations map[string]AirStation `toml:"stations"` // by name: what differs from Station
	Paths    []AirPath             `toml:"paths"`    // what differs from Room
	Jammers  []AirJammer           `toml:"jammers"`
	Tones    []AirTone             `toml:"tones"`
}

// AirRoom describes the paths between stations.
type AirRoom struct {
	SizeM        *[3]float64 `toml:"size_m"`         // stations that have no position are placed in this box; nil: 5 × 4 × 2.5 m
	RT60         *float64    `toml:"rt60_s"`         // reverberation time, 0…5 s; 0: no tail; nil: 0.3
	DRR          *float64    `toml:"drr_db"`         // direct-to-reverberant energy ratio; nil: 3
	GainDB       float64     `toml:"gain_db"`        // of every path between two stations, direct wave and tail together
	DistanceLoss bool        `toml:"distance_loss"`  // paths also lose 20·lg(distance/1 m) dB
	Reciprocal   *bool       `toml:"reciprocal"`     // a path and its reverse share one impulse response; nil: true
	OwnEcho      *bool       `toml:"own_echo"`       // a station hears itself; nil: true
	OwnDistanceM *float64    `toml:"own_distance_m"` // loudspeaker to own microphone; nil: 0.3
	OwnGainDB    float64     `toml:"own_gain_db"`    // of a station's path to itself
	CrosstalkDB  *float64    `toml:"crosstalk_db"`   // of two channels: what one hears of the other, against what it hears of its own; -inf: nothing; nil: -40

	WalkerShare    float64  `toml:"walker_share"`     // of the echoes' energy comes by way of a person who walks about, 0…1
	WalkerSpeedMPS *float64 `toml:"walker_speed_m_s"` // 0…10; nil: 1
	WalkerStartS   float64  `toml:"walker_start_s"`   // simulated time of the first step
	WalkerStopS    float64  `toml:"walker_stop_s"`    // 0: never
}

// AirStation describes one station's sound hardware. A nil field of an entry
// of AirConfig.Stations takes AirConfig.Station's, and a nil field there the
// default.
type AirStation struct {
	PositionM *[3]float64 `toml:"position_m"` // in the room; nil: drawn

	SNRdB        *float64 `toml:"snr_db"`            // sets the microphone's noise: 0 dB path, ReferenceDBFS, noise over 0…rate/2; inf: none; nil: 20
	NoiseDBFS    *float64 `toml:"noise_dbfs"`        // the noise itself, instead of snr_db; -inf: none
	SkewPPM      *float64 `toml:"skew_ppm"`          // station's clock against the Air's, −1000…1000, positive: fast; nil: drawn from ±50
	DriftPPMMin  *float64 `toml:"drift_ppm_min"`     // standard deviation of the skew's random walk after a minute; it stays within ±20 ppm; nil: 0.5, but 0 with skew_ppm = 0
	SpeakerDB    *float64 `toml:"speaker_gain_db"`   // before the loudspeaker's limit; nil: 0
	SpeakerLimit *float64 `toml:"speaker_clip_dbfs"` // soft limit of the loudspeaker, dB re full scale (peak); inf: none; nil: 0
	MicDB        *float64 `toml:"mic_gain_db"`       // of signal and noise alike, before the converter's limit; nil: 0
	MicLimit     *float64 `toml:"mic_clip_dbfs"`     // hard limit of the microphone, dB re full scale (peak); inf: none; nil: 0
	DCOffset     *float64 `toml:"dc_offset"`         // added before the microphone's limit, −1…1; nil: 0
	CouplingHz   *float64 `toml:"ac_coupling_hz"`    // corner of the AC coupling in front of the microphone's noise, a first-order high-pass; 0: none; nil: 0
	Bits         *int     `toml:"converter_bits"`    // resolution of the microphone's converter, 0 (infinite) or 4…32; nil: 0
	AGCStepDB    *float64 `toml:"agc_step_db"`       // the microphone's gain is one of −step, 0, +step dB; nil: 0
	AGCIntervalS *float64 `toml:"agc_interval_s"`    // mean time between its changes; 0: never; nil: 0
	GapIntervalS *float64 `toml:"gap_interval_s"`    // mean time between gaps in what the microphone delivers; 0: none; nil: 0
	GapSamples   *int     `toml:"gap_samples"`       // length of one; nil: 480
	GapSilent    *bool    `toml:"gap_silent"`        // a gap is delivered as zeros instead of being reported as lost; nil: false
	HitsPerS     *float64 `toml:"hits_per_s"`        // mean rate of disturbances at the microphone (HitRate); nil: 0
	HitMS        *float64 `toml:"hit_ms"`            // length of one; nil: 20
	HitDBFS      *float64 `toml:"hit_dbfs"`          // level of its noise; nil: −6
	HitMute      *bool    `toml:"hit_mute"`          // the sound is cut out instead; nil: false
	HitRegular   *bool    `toml:"hit_regular"`       // hits come at even intervals from a drawn moment on, not as a Poisson process; nil: false
	BufferInMS   *float64 `toml:"buffer_in_ms"`      // of the sound device, up to 1000; nil: 10, or what the block needs
	BufferOutMS  *float64 `toml:"buffer_out_ms"`     // likewise

	SpeedMPS   *float64 `toml:"speed_m_s"`    // the station is moved at this speed round a circle, 0…10; nil: 0, it lies still
	ReachM     *float64 `toml:"reach_m"`      // radius of the circle, 0.01…10; nil: 0.25
	MoveStartS *float64 `toml:"move_start_s"` // simulated time at which it is picked up; nil: 0
	MoveStopS  *float64 `toml:"move_stop_s"`  // and put down; 0: never; nil: 0

	UnplugStartS *float64 `toml:"unplug_start_s"` // simulated time at which its plug is pulled: it hears its own noise alone, and nobody hears it; nil: never
	UnplugStopS  *float64 `toml:"unplug_stop_s"`  // and put back; 0: never; nil: 0
}

// AirPath gives one path its own values. It also holds for the reverse path,
// unless that has an entry of its own or the room is not reciprocal. From and
// To may be the same station: its own echo.
type AirPath struct {
	From      string    `toml:"from"`
	To        string    `toml:"to"`
	GainDB    *float64  `toml:"gain_db"`    // −inf: does not hear it
	DelayMS   *float64  `toml:"delay_ms"`   // of the direct wave, 0…1000, rounded to a sample; nil: from the distance
	DistanceM *float64  `toml:"distance_m"` // nil: from the positions
	RT60      *float64  `toml:"rt60_s"`
	DRR       *float64  `toml:"drr_db"`
	Taps      []float32 `toml:"taps"`     // the impulse response after the delay, at the Air's rate, taken as it is (only gain_db is applied)
	TapsWAV   string    `toml:"taps_wav"` // a file that whoever reads the configuration loads into Taps
}

// AirJammer is a source of noise bursts that every station hears alike.
type AirJammer struct {
	DBFS   *float64    `toml:"dbfs"`    // level during a burst, at the microphones; nil: −12
	OnMS   *[2]float64 `toml:"on_ms"`   // shortest and longest burst; nil: 50, 100
	OffMS  *[2]float64 `toml:"off_ms"`  // shortest and longest pause; nil: 100, 200
	StartS float64     `toml:"start_s"` // simulated time of the first burst
	StopS  float64     `toml:"stop_s"`  // 0: never
}

// AirTone is a steady sine that every station hears alike.
type AirTone struct {
	Hz     float64  `toml:"hz"`   // up to rate/2
	DBFS   *float64 `toml:"dbfs"` // at the microphones; nil: −40
	StartS float64  `toml:"start_s"`
	StopS  float64  `toml:"stop_s"` // 0: never
}

// HitRate is the rate (per second) of hits of length hit at which a frame of
// length frame is touched with probability loss: hits that start within
// frame + hit touch it, and a Poisson process leaves that empty with
// probability exp(−rate·(frame+hit)). loss is from 0 to below 1.
func HitRate(loss float64, frame, hit time.Duration) float64 {
	return -math.Log1p(-loss) / (frame + hit).Seconds()
}

// Validate returns one sentence per fault, joined, or nil.
func (c *AirConfig) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	within := func(key string, v *float64, low, high float64) {
		if v != nil && !(*v >= low && *v <= high) {
			fault("%s = %g: must be from %g to %g", key, *v, low, high)
		}
	}
	inf := math.Inf(1)

	if c.Rate != 0 && (c.Rate < 8000 || c.Rate > 192000) {
		fault("rate = %d: must be from 8000 to 192000 Hz", c.Rate)
		return errors.Join(faults...)
	}
	if c.Channels < 0 || c.Channels > 2 {
		fault("channels = %d: must be 1 or 2", c.Channels)
	}
	rate := c.rate()
	if c.Speed != nil && !(*c.Speed == 0 || *c.Speed >= 1e-3 && *c.Speed <= 1e3) {
		fault("speed = %g: must be 0 (as fast as the stations allow) or from 0.001 to 1000", *c.Speed)
	}
	if c.Room.SizeM != nil {
		for _, m := range c.Room.SizeM {
			within("room.size_m", &m, 0, 100)
		}
	}
	within("room.rt60_s", c.Room.RT60, 0, 5)
	within("room.drr_db", c.Room.DRR, -40, inf)
	within("room.gain_db", &c.Room.GainDB, -inf, 60)
	within("room.own_gain_db", &c.Room.OwnGainDB, -inf, 60)
	within("room.crosstalk_db", c.Room.CrosstalkDB, -inf, 0)
	within("room.own_distance_m", c.Room.OwnDistanceM, 0, 300)

	during := func(where string, start, stop float64) {
		if !(start >= 0) {
			fault("%sstart_s = %g: must not be negative", where, start)
		}
		if stop != 0 && !(stop > start) {
			fault("%sstop_s = %g: must be after %[1]sstart_s, or 0 for never", where, stop)
		}
	}
	within("room.walker_share", &c.Room.WalkerShare, 0, 1)
	within("room.walker_speed_m_s", c.Room.WalkerSpeedMPS, 0, 10)
	during("room.walker_", c.Room.WalkerStartS, c.Room.WalkerStopS)

	station := func(where string, s AirStation) {
		if s.PositionM != nil {
			for _, m := range s.PositionM {
				within(where+".position_m", &m, -100, 100)
			}
		}
		if s.SNRdB != nil && s.NoiseDBFS != nil {
			fault("%s: snr_db and noise_dbfs both set the noise: give one of them", where)
		}
		within(where+".snr_db", s.SNRdB, -60, inf)
		within(where+".noise_dbfs", s.NoiseDBFS, -inf, 40)
		within(where+".skew_ppm", s.SkewPPM, -1000, 1000)
		within(where+".drift_ppm_min", s.DriftPPMMin, 0, 100)
		within(where+".speaker_gain_db", s.SpeakerDB, -100, 60)
		within(where+".speaker_clip_dbfs", s.SpeakerLimit, -100, inf)
		within(where+".mic_gain_db", s.MicDB, -100, 60)
		within(where+".mic_clip_dbfs", s.MicLimit, -100, inf)
		within(where+".dc_offset", s.DCOffset, -1, 1)
		within(where+".ac_coupling_hz", s.CouplingHz, 0, float64(rate)/2)
		if b := or(s.Bits, 0); b != 0 && (b < 4 || b > 32) {
			fault("%s.converter_bits = %d: must be from 4 to 32, or 0 for no rounding", where, b)
		}
		within(where+".agc_step_db", s.AGCStepDB, -40, 40)
		within(where+".agc_interval_s", s.AGCIntervalS, 0, inf)
		within(where+".gap_interval_s", s.GapIntervalS, 0, inf)
		if s.GapSamples != nil && (*s.GapSamples < 1 || *s.GapSamples > 10*rate) {
			fault("%s.gap_samples = %d: must be from 1 to %d (10 s)", where, *s.GapSamples, 10*rate)
		}
		within(where+".hits_per_s", s.HitsPerS, 0, 1000)
		within(where+".hit_ms", s.HitMS, 0, 10000)
		within(where+".hit_dbfs", s.HitDBFS, -inf, 40)
		least := math.Ceil(float64(leastBuffer(rate))/float64(rate)*1e5) / 100
		within(where+".buffer_in_ms", s.BufferInMS, least, 1000)
		within(where+".buffer_out_ms", s.BufferOutMS, least, 1000)
		within(where+".speed_m_s", s.SpeedMPS, 0, 10)
		within(where+".reach_m", s.ReachM, 0.01, 10)
		during(where+".move_", or(s.MoveStartS, 0), or(s.MoveStopS, 0))
		during(where+".unplug_", or(s.UnplugStartS, 0), or(s.UnplugStopS, 0))
	}
	station("station", c.Station)
	for _, name := range slices.Sorted(maps.Keys(c.Stations)) {
		if err := checkName(name); err != nil {
			fault("stations: %w", err)
		}
		station("stations."+name, c.Stations[name])
	}

	seen := map[[2]string]bool{}
	for i, p := range c.Paths {
		where := fmt.Sprintf("paths[%d]", i)
		if err := errors.Join(checkName(p.From), checkName(p.To)); err != nil {
			fault("%s: from, to: %w", where, err)
		}
		ends := [2]string{p.From, p.To}
		if seen[ends] {
			fault("%s: the path from %q to %q is given twice", where, p.From, p.To)
		}
		seen[ends] = true
		within(where+".gain_db", p.GainDB, -inf, 60)
		within(where+".delay_ms", p.DelayMS, 0, 1000)
		within(where+".distance_m", p.DistanceM, 0, 300)
		within(where+".rt60_s", p.RT60, 0, 5)
		within(where+".drr_db", p.DRR, -40, inf)
		if p.DelayMS != nil && p.DistanceM != nil && !c.Room.DistanceLoss {
			fault("%s: delay_ms and distance_m both set the delay: give one of them (both only with room.distance_loss)", where)
		}
		if p.TapsWAV != "" && p.Taps == nil {
			fault("%s.taps_wav: %q has not been loaded", where, p.TapsWAV)
		}
		if p.Taps != nil && (p.RT60 != nil || p.DRR != nil) {
			fault("%s: taps already hold the tail: rt60_s and drr_db do not go with them", where)
		}
		if len(p.Taps) > 10*rate {
			fault("%s.taps: %d taps are more than 10 s", where, len(p.Taps))
		}
		for _, v := range p.Taps {
			if !(math.Abs(float64(v)) <= 1e3) {
				fault("%s.taps: %g is not from -1000 to 1000", where, v)
				break
			}
		}
	}

	for i, j := range c.Jammers {
		where := fmt.Sprintf("jammers[%d]", i)
		within(where+".dbfs", j.DBFS, -inf, 40)
		span := func(key string, v *[2]float64) {
			if v != nil && !(v[0] >= 1 && v[1] >= v[0] && v[1] <= 3600e3) {
				fault("%s.%s = [%g, %g]: must be the shortest and the longest, from 1 ms to 1 h", where, key, v[0], v[1])
			}
		}
		span("on_ms", j.OnMS)
		span("off_ms", j.OffMS)
		during(where+".", j.StartS, j.StopS)
	}
	for i, t := range c.Tones {
		where := fmt.Sprintf("tones[%d]", i)
		within(where+".hz", &t.Hz, 0, float64(rate)/2)
		within(where+".dbfs", t.DBFS, -inf, 40)
		during(where+".", t.StartS, t.StopS)
	}
	return errors.Join(faults...)
}

// maxNameOctets bounds a station's name.
const maxNameOctets = 64

// checkName says what is wrong with a station's name.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("a station needs a name")
	case len(name) > maxNameOctets:
		return fmt.Errorf("station name %.16q…: %d octets are more than %d", name, len(name), maxNameOctets)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("station name %q: must be printable UTF-8", name)
	}
	return nil
}

func (c *AirConfig) rate() int {
	if c.Rate == 0 {
		return 48000
	}
	return c.Rate
}

// channels is how many channels every station has.
func (c *AirConfig) channels() int { return max(1, c.Channels) }

// station is what holds for the station of that name.
func (c *AirConfig) station(name string) AirStation {
	s := c.Stations[name]
	if s.SNRdB == nil && s.NoiseDBFS == nil {
		s.SNRdB, s.NoiseDBFS = c.Station.SNRdB, c.Station.NoiseDBFS
	}
	own, common := reflect.ValueOf(&s).Elem(), reflect.ValueOf(c.Station)
	for i := range own.NumField() {
		name := own.Type().Field(i).Name
		if own.Field(i).IsNil() && name != "SNRdB" && name != "NoiseDBFS" {
			own.Field(i).Set(common.Field(i))
		}
	}
	return s
}

// path is what was given for the path between two stations, if anything.
func (c *AirConfig) path(from, to string) AirPath {
	var reverse AirPath
	for _, p := range c.Paths {
		if p.From == from && p.To == to {
			return p
		}
		if p.From == to && p.To == from && or(c.Room.Reciprocal, true) {
			reverse = p
		}
	}
	return reverse
}

// or is what p points to, or the default.
func or[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

// amplitude of a level in dB; −inf is 0.
func amplitude(dB float64) float64 { return math.Pow(10, dB/20) }

// decibels of an amplitude.
func decibels(amplitude float64) float64 { return 20 * math.Log10(amplitude) }
