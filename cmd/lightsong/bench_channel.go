package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"lightsong/modem"
	"lightsong/sims"
)

// benchChannel is a channel that figures are measured on.
type benchChannel struct {
	spec string // what the command line says: "room:0.5/-3"
	kind *channelKind
	args []float64
}

// channelKind is a family of channels with up to two numbers.
type channelKind struct {
	name  string
	about string
	args  []channelArg
	apply func(cfg *sims.AirConfig, snr float64, args []float64)
}

type channelArg struct {
	name            string // with its unit
	value, low, top float64
}

// Every channel but those that say otherwise has white noise over 0…rate/2, a
// sender whose clock is 40 ppm fast, and nothing else: no echo, no limit, no
// rounding. The noise refers to modem.LevelDBFS.
var channelKinds = []*channelKind{
	{name: "awgn", about: "white noise", apply: func(*sims.AirConfig, float64, []float64) {}},
	{name: "cable", about: "noise, AC coupling at 20 Hz, a 16 bit converter, level set 3 dB below the sender's", apply: func(cfg *sims.AirConfig, _ float64, _ []float64) {
		coupled(cfg)
	}},
	{name: "crosstalk", about: "as cable, of two channels: what one hears of the other", args: []channelArg{{"dB", -40, -120, 0}},
		apply: func(cfg *sims.AirConfig, _ float64, args []float64) {
			coupled(cfg)
			cfg.Room.CrosstalkDB = &args[0]
		}},
	{name: "moved", about: "room, one end moved in a circle of 0.25 m",
		args: []channelArg{{"RT60 in s", 0.3, 0, 5}, {"DRR in dB", 3, -40, 40}, {"m/s", 0.1, 0, 10}},
		apply: func(cfg *sims.AirConfig, _ float64, args []float64) {
			cfg.Room.RT60, cfg.Room.DRR = &args[0], &args[1]
			cfg.Stations[sims.Sender] = sims.AirStation{SkewPPM: new(80.0), DriftPPMMin: new(0.0), SpeedMPS: &args[2]}
		}},
	{name: "walker", about: "room in which somebody walks: share of the echoes' energy that changes",
		args: []channelArg{{"RT60 in s", 0.3, 0, 5}, {"DRR in dB", 3, -40, 40}, {"of the energy", 0.01, 0, 1}},
		apply: func(cfg *sims.AirConfig, _ float64, args []float64) {
			cfg.Room.RT60, cfg.Room.DRR, cfg.Room.WalkerShare = &args[0], &args[1], args[2]
			cfg.Stations[sims.Sender] = sims.AirStation{SkewPPM: new(80.0), DriftPPMMin: new(0.0)}
		}},
	{name: "room", about: "noise, another room for each burst: RT60, direct-to-reverberant ratio; clocks 80 ppm apart",
		args: []channelArg{{"RT60 in s", 0.3, 0, 5}, {"DRR in dB", 3, -40, 40}},
		apply: func(cfg *sims.AirConfig, _ float64, args []float64) {
			cfg.Room.RT60, cfg.Room.DRR = &args[0], &args[1]
			cfg.Stations[sims.Sender] = sims.AirStation{SkewPPM: new(80.0), DriftPPMMin: new(0.0)}
		}},
	{name: "skew", about: "noise, clocks apart by ppm (positive: the sender's is fast), drifting by ppm in a minute",
		args: []channelArg{{"ppm", 300, -1000, 1000}, {"ppm", 0, 0, 100}},
		apply: func(cfg *sims.AirConfig, _ float64, args []float64) {
			cfg.Stations[sims.Sender] = sims.AirStation{SkewPPM: &args[0], DriftPPMMin: &args[1]}
		}},
	{name: "erase", about: "noise, the sound cut out for ms in every second",
		args: []channelArg{{"ms", 20, 0, 1000}},
		apply: func(cfg *sims.AirConfig, _ float64, args []float64) {
			cfg.Station.HitsPerS, cfg.Station.HitMS = new(1.0), &args[0]
			cfg.Station.HitMute, cfg.Station.HitRegular = new(true), new(true)
		}},
	{name: "clip", about: "noise, then so much louder before a hard limit at full scale",
		args: []channelArg{{"dB", 6, 0, 40}},
		apply: func(cfg *sims.AirConfig, _ float64, args []float64) {
			cfg.Station.MicLimit = new(0.0)
			cfg.Stations[sims.Listener] = sims.AirStation{MicDB: &args[0]}
		}},
	{name: "gain", about: "noise, quieter or louder, a 16 bit converter",
		args: []channelArg{{"dB", -40, -80, 12}},
		apply: func(cfg *sims.AirConfig, _ float64, args []float64) {
			coupled(cfg)
			cfg.Stations[sims.Listener] = sims.AirStation{MicDB: &args[0]}
		}},
	{name: "offset", about: "noise, AC coupling, a DC offset of the converter, 16 bit",
		args: []channelArg{{"of full scale", 0.2, -0.9, 0.9}},
		apply: func(cfg *sims.AirConfig, _ float64, args []float64) {
			coupled(cfg)
			cfg.Station.DCOffset = &args[0]
		}},
	{name: "flip", about: "noise, polarity reversed", apply: func(cfg *sims.AirConfig, _ float64, _ []float64) {
		cfg.Paths[0].Taps = []float32{-1}
	}},
}

// coupled is a sound card's input. Its level is set as a person sets it, so that the
// loudest is not clipped: a sender that uses its converter to full scale has peaks
// between its samples, and AC coupling moves them, that go beyond.
func coupled(cfg *sims.AirConfig) {
	cfg.Station.CouplingHz, cfg.Station.Bits, cfg.Station.MicLimit = new(20.0), new(16), new(0.0)
	cfg.Station.MicDB = new(-3.0)
}

// parseChannel reads "room", "room:0.5" or "room:0.5/-3".
func parseChannel(spec string) (benchChannel, error) {
	name, numbers, given := strings.Cut(spec, ":")
	var kind *channelKind
	names := make([]string, len(channelKinds))
	for i, k := range channelKinds {
		names[i] = k.name
		if k.name == name {
			kind = k
		}
	}
	if kind == nil {
		return benchChannel{}, fmt.Errorf("--channel %s does not exist: the channels are %s", name, strings.Join(names, ", "))
	}
	c := benchChannel{spec: spec, kind: kind, args: make([]float64, len(kind.args))}
	for i, a := range kind.args {
		c.args[i] = a.value
	}
	if !given {
		return c, nil
	}
	words := strings.Split(numbers, "/")
	if len(words) > len(kind.args) {
		return benchChannel{}, fmt.Errorf("--channel %s: %s takes %d number(s)", spec, name, len(kind.args))
	}
	for i, w := range words {
		a := kind.args[i]
		v, err := strconv.ParseFloat(w, 64)
		if err != nil || !(v >= a.low && v <= a.top) {
			return benchChannel{}, fmt.Errorf("--channel %s: %q must be %s from %g to %g", spec, w, a.name, a.low, a.top)
		}
		c.args[i] = v
	}
	return c, nil
}

// mustChannel is for channels that stand in this program.
func mustChannel(spec string) benchChannel {
	c, err := parseChannel(spec)
	if err != nil {
		panic(err)
	}
	return c
}

// open makes the channel for a sample rate and a signal-to-noise ratio in dB: the
// power of modem.LevelDBFS over the noise's in 0…rate/2.
func (c benchChannel) open(rate int, snr float64, channels int) (*sims.Channel, error) {
	cfg := sims.AirConfig{
		Rate:     rate,
		Channels: channels,
		Room:     sims.AirRoom{RT60: new(0.0)},
		Station: sims.AirStation{
			SkewPPM: new(0.0), SpeakerLimit: new(math.Inf(1)), MicLimit: new(math.Inf(1)),
			NoiseDBFS: new(modem.LevelDBFS - snr),
		},
		Stations: map[string]sims.AirStation{sims.Sender: {SkewPPM: new(40.0), DriftPPMMin: new(0.0)}},
		Paths:    []sims.AirPath{{From: sims.Sender, To: sims.Listener, DelayMS: new(0.0)}},
	}
	c.kind.apply(&cfg, snr, c.args)
	return sims.NewChannel(cfg)
}

// channelHelp is the list of channels for a person.
func channelHelp() string {
	var b strings.Builder
	for _, k := range channelKinds {
		name := k.name
		for i, a := range k.args {
			name += fmt.Sprintf("%c%g", ":/"[min(i, 1)], a.value)
		}
		fmt.Fprintf(&b, "  %-18s %s\n", name, k.about)
	}
	return b.String()
}
