package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"lightsong/link"
	"lightsong/phy"
	"lightsong/phy/led"
)

// ledConfig is [led]: light instead of sound.
type ledConfig struct {
	Board   string `toml:"board"`
	MaxBaud int    `toml:"max_baud"`
	Rates   []int  `toml:"rates"`
	Dim     *int   `toml:"dim"`
	Baud    int    `toml:"baud"`
}

// serialScheme begins the name of a board at a serial device, uartScheme that of an
// adapter without a board.
const (
	serialScheme = "serial:"
	uartScheme   = "uart:"
)

// usualBaud of a bare UART: most adapters have it.
const usualBaud = 2000000

// Of a bare UART; what led.OpenUART takes.
const (
	leastBaud = 1200
	mostBaud  = 12000000
)

// bareUART tells whether the configuration names an adapter without a board.
func (l *ledConfig) bareUART() bool { return strings.HasPrefix(l.Board, uartScheme) }

// lightPHY is a board or an adapter.
type lightPHY interface {
	phy.PHY
	State() (open bool, found int, why error)
}

// lightBurst is the longest burst on light unless the configuration says
// otherwise: long enough that answers cost 4 % of the time, short enough that others
// get their turn.
const lightBurst = 400 * time.Millisecond

// longestBurst is lightBurst, or what a slow serial line needs for the same share: up to
// slowestBurst.
func (l *ledConfig) longestBurst() time.Duration {
	const slowestBurst, characters = 4 * time.Second, 2000
	if !l.bareUART() {
		return lightBurst
	}
	const bits = 10 // of a character
	return max(lightBurst, min(slowestBurst, bits*characters*time.Second/time.Duration(cmp.Or(l.Baud, usualBaud))))
}

// oneLEDBurst is likewise for boards whose one LED both sends and hears: a light
// frame of theirs takes a second.
const oneLEDBurst = 4 * time.Second

// chipRates are the boards' chip rates, chips/s, by number.
var chipRates = []int{1000000, 500000, 250000, 125000, 62500, 20000}

// rateSet is the configured chip rates, bit r for rate r.
func (l *ledConfig) rateSet() (set int) {
	for _, r := range l.Rates {
		set |= 1 << slices.Index(chipRates, r)
	}
	return set
}

func (c *upConfig) usesLed() bool {
	return c.Led.Board != "" || c.Led.MaxBaud != 0 || c.Led.Rates != nil || c.Led.Dim != nil || c.Led.Baud != 0
}

func (c *upConfig) checkLed() error {
	l := &c.Led
	switch {
	case l.Board == "":
		return errors.New("led.board is not set: \"serial:/dev/serial/by-id/…\" is a board at a serial device, \"uart:/dev/…\" an adapter without one")
	case !strings.HasPrefix(l.Board, serialScheme) && !l.bareUART() || l.Board == serialScheme || l.Board == uartScheme:
		return fmt.Errorf("led.board %q: must be \"serial:/path/of/the/device\", or \"uart:/path\" for an adapter without a board", l.Board)
	case l.bareUART() && (l.MaxBaud != 0 || l.Rates != nil || l.Dim != nil):
		return errors.New("led.max_baud, led.rates and led.dim are for boards: an adapter without one has only led.baud")
	case !l.bareUART() && l.Baud != 0:
		return errors.New("led.baud is for an adapter without a board (\"uart:/path\"): a board has led.max_baud")
	case l.bareUART() && l.Baud != 0 && (l.Baud < leastBaud || l.Baud > mostBaud):
		return fmt.Errorf("led.baud %d: must be %d to %d", l.Baud, leastBaud, mostBaud)
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
	if b, ok := p.(*led.PHY); ok && b.Info().OneLED() && c.Link.MaxBurstS == 0 {
		cfg.MaxBurst = oneLEDBurst
	}
	engine, err := link.New(cfg, time.Now())
	if err != nil {
		return err
	}
	log.Info("medium open", "device", c.Led.Board)
	runner := link.NewRunner(engine, p, host, log)
	switch p := p.(type) {
	case *led.PHY:
		state.board.Store(p)
	case *led.UART:
		state.uart.Store(p)
	}
	state.runner.Store(runner)
	return runner.Run(ctx)
}

// awaitBoard looks for the board until it is there. Its error is one that no
// patience mends, or that of ctx.
func awaitBoard(ctx context.Context, c *upConfig, log *slog.Logger) (lightPHY, error) {
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

func openBoard(ctx context.Context, c *upConfig, log *slog.Logger) (lightPHY, error) {
	tell := func(what string, err error) {
		if err != nil {
			log.Warn(what, "board", c.Led.Board, "error", err)
			return
		}
		log.Info(what, "board", c.Led.Board)
	}
	if c.Led.bareUART() {
		p, err := led.OpenUART(ctx, led.UARTConfig{
			Dial: led.Serial(strings.TrimPrefix(c.Led.Board, uartScheme)), Speed: cmp.Or(c.Led.Baud, usualBaud), Log: tell,
		})
		if err != nil {
			return nil, err // not a nil *led.UART in an interface
		}
		return p, nil
	}
	cfg := led.Config{Dial: led.Serial(strings.TrimPrefix(c.Led.Board, serialScheme)), MaxSpeed: c.Led.MaxBaud, Rates: c.Led.rateSet(), Dim: c.Led.Dim, Log: tell}
	p, err := led.Open(ctx, cfg)
	switch {
	case errors.Is(err, led.ErrVersion):
		return nil, fmt.Errorf("%s: %w", c.Led.Board, err)
	case err != nil:
		return nil, err
	}
	return p, nil
}
