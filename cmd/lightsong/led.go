package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"lightsong/phy"
	"lightsong/phy/led"
)

// ledConfig is [led]: light instead of sound.
type ledConfig struct {
	Board   string `toml:"board"`
	MaxBaud int    `toml:"max_baud"`
	Rates   []int  `toml:"rates"`
	Dim     *int   `toml:"dim"`
}

// serialScheme begins the name of a board at a serial device.
const serialScheme = "serial:"

// lightBurst is the longest burst on light unless the configuration says
// otherwise: long enough that answers cost 4 % of the time, short enough that others
// get their turn.
const lightBurst = 400 * time.Millisecond

// chipRates are the boards' chip rates, chips/s, by number.
var chipRates = []int{1000000, 500000, 250000, 125000, 62500, 20000}

func (c *upConfig) usesLed() bool {
	return c.Led.Board != "" || c.Led.MaxBaud != 0 || c.Led.Rates != nil || c.Led.Dim != nil
}

func (c *upConfig) checkLed() error {
	l := &c.Led
	switch {
	case l.Board == "":
		return errors.New("led.board is not set: \"serial:/dev/serial/by-id/…\" is a board at a serial device")
	case !strings.HasPrefix(l.Board, serialScheme) || l.Board == serialScheme:
		return fmt.Errorf("led.board %q: must be \"serial:/path/of/the/device\"", l.Board)
	case c.Audio.Device != "":
		return errors.New("audio.device and led.board are both set: a station has one medium")
	case !slices.Contains([]int{0, 115200, 250000, 500000, 1000000, 2000000}, l.MaxBaud):
		return fmt.Errorf("led.max_baud %d: must be 115200, 250000, 500000, 1000000 or 2000000", l.MaxBaud)
	case l.Dim != nil && (*l.Dim < 0 || *l.Dim > 2):
		return fmt.Errorf("led.dim %d: must be 0 (dark when idle), 1 or 2", *l.Dim)
	}
	for _, r := range l.Rates {
		if !slices.Contains(chipRates, r) {
			return fmt.Errorf("led.rates: %d chips/s is none of %v", r, chipRates)
		}
	}
	return nil
}

// device names the medium for a person.
func (c *upConfig) device() string {
	if c.Led.Board != "" {
		return c.Led.Board
	}
	return c.Audio.Device + " " + c.Audio.Profile
}

func openBoard(ctx context.Context, c *upConfig, log *slog.Logger) (phy.PHY, error) {
	cfg := led.Config{
		Dial: led.Serial(strings.TrimPrefix(c.Led.Board, serialScheme)), MaxSpeed: c.Led.MaxBaud, Dim: 2,
		Log: func(what string, err error) {
			if err != nil {
				log.Warn(what, "board", c.Led.Board, "error", err)
				return
			}
			log.Info(what, "board", c.Led.Board)
		},
	}
	if c.Led.Dim != nil {
		cfg.Dim = *c.Led.Dim
	}
	for _, r := range c.Led.Rates {
		cfg.Rates |= 1 << slices.Index(chipRates, r)
	}
	p, err := led.Open(ctx, cfg)
	if errors.Is(err, led.ErrVersion) {
		return nil, fatal{fmt.Errorf("%s: %w", c.Led.Board, err)}
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}
