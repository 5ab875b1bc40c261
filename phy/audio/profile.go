package audio

import (
	"fmt"
	"slices"
	"strings"

	"lightsong/modem"
	"lightsong/modem/fsk"
	"lightsong/modem/ofdm"
)

// Modem is a profile at a sample rate: both directions and its table of modes.
type Modem struct {
	Profile string
	Rate    int          // samples per second
	Modes   []modem.Mode // by MCS, the most robust first
	modem.Modulator
	modem.Demodulator

	channels int
}

// Channels is how many channels the samples have: 1, or 2 where they are pairs,
// left and right in turn.
func (m *Modem) Channels() int { return max(1, m.channels) }

// profile makes the two directions of a modem and its table.
type profile struct {
	modulator   func(rate int) (modem.Modulator, error)
	demodulator func(rate int) (modem.Demodulator, error)
	modes       func(rate int) []modem.Mode
	channels    int
}

var profiles = map[string]profile{
	"fsk": {
		func(rate int) (modem.Modulator, error) { return fsk.NewModulator(rate) },
		func(rate int) (modem.Demodulator, error) { return fsk.NewDemodulator(rate) },
		fsk.Modes,
		1,
	},
	"air":    ofdmProfile("air"),
	"cable":  ofdmProfile("cable"),
	"cable2": ofdmProfile("cable2"),
	"ultra":  ofdmProfile("ultra"),
	"voice":  ofdmProfile("voice"),
}

func ofdmProfile(name string) profile {
	return profile{
		func(rate int) (modem.Modulator, error) { return ofdm.NewModulator(name, rate) },
		func(rate int) (modem.Demodulator, error) { return ofdm.NewDemodulator(name, rate) },
		func(rate int) []modem.Mode { return ofdm.Modes(name, rate) },
		ofdm.Channels(name),
	}
}

// Profiles are the names that OpenModem knows, in alphabetical order.
func Profiles() []string {
	names := make([]string, 0, len(profiles))
	for name := range profiles {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// OpenModem makes the modem of a profile for a sample rate in samples per
// second. The error for an unknown profile lists the known ones.
func OpenModem(name string, rate int) (*Modem, error) {
	p, ok := profiles[name]
	if !ok {
		return nil, fmt.Errorf("profile %q does not exist: the profiles are %s", name, strings.Join(Profiles(), ", "))
	}
	mod, err := p.modulator(rate)
	if err != nil {
		return nil, fmt.Errorf("profile %s at %d Hz: %w", name, rate, err)
	}
	demod, err := p.demodulator(rate)
	if err != nil {
		return nil, fmt.Errorf("profile %s at %d Hz: %w", name, rate, err)
	}
	return &Modem{Profile: name, Rate: rate, Modes: p.modes(rate), Modulator: mod, Demodulator: demod, channels: p.channels}, nil
}
