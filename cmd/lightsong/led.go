package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"lightsong/link"
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

const (
	firstRetry = 200 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// carryLight runs the link over the configured board until ctx ends. A board that
// was found once is kept by its PHY; until then it is looked for, with growing
// pauses, and the same fault is told once.
func carryLight(ctx context.Context, c *upConfig, host link.Host, state *carrying, log *slog.Logger) (err error) {
	p, err := awaitBoard(ctx, c, log)
	if err != nil {
		if ctx.Err() != nil {
			return nil // the end, not a fault
		}
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	// A Receive that is blocked in the PHY ends only by this.
	defer context.AfterFunc(ctx, func() { p.Close() })()
	cfg := c.link()
	cfg.Caps, cfg.Airtime = p.Caps(), p.Airtime
	engine, err := link.New(cfg, time.Now())
	if err != nil {
		return err
	}
	log.Info("medium open", "device", c.Led.Board)
	runner := link.NewRunner(engine, p, host, log)
	state.board.Store(p)
	state.runner.Store(runner)
	return runner.Run(ctx)
}

// awaitBoard looks for the board until it is there. Its error is one that no
// patience mends, or that of ctx.
func awaitBoard(ctx context.Context, c *upConfig, log *slog.Logger) (*led.PHY, error) {
	told := ""
	for pause := firstRetry; ; pause = min(2*pause, lastRetry) {
		p, err := openBoard(ctx, c, log)
		if err == nil || errors.Is(err, led.ErrVersion) || ctx.Err() != nil {
			return p, err
		}
		if err.Error() != told {
			told = err.Error()
			log.Warn("no medium; trying again until it is there", "device", c.Led.Board, "error", err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
}

func openBoard(ctx context.Context, c *upConfig, log *slog.Logger) (*led.PHY, error) {
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
		return nil, fmt.Errorf("%s: %w", c.Led.Board, err)
	}
	return p, err
}
