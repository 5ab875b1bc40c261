package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"lightsong/link"
	"lightsong/phy"
	"lightsong/phy/audio"
	"lightsong/tun"
)

// upConfig is the configuration of `lightsong up`.
type upConfig struct {
	Station struct {
		Name    string `toml:"name"`
		Address uint16 `toml:"address"`
	} `toml:"station"`
	Tun struct {
		Name      string         `toml:"name"`
		Addresses []netip.Prefix `toml:"addresses"`
		Routes    []netip.Prefix `toml:"routes"`
		MTU       int            `toml:"mtu"`
	} `toml:"tun"`
	Audio struct {
		Profile string  `toml:"profile"`
		Device  string  `toml:"device"`
		Rate    int     `toml:"rate"`
		Duplex  string  `toml:"duplex"`
		GainDB  float64 `toml:"gain_db"`
	} `toml:"audio"`
	Led  ledConfig `toml:"led"`
	Link struct {
		MaxBurstS    float64 `toml:"max_burst_s"`
		MaxExchangeS float64 `toml:"max_exchange_s"`
		QueueOctets  int     `toml:"queue_octets"`
		Queue        string  `toml:"queue"`
	} `toml:"link"`
	Peer []struct {
		Name   string         `toml:"name"`
		Routes []netip.Prefix `toml:"routes"`
	} `toml:"peer"`
	Control struct {
		Socket string `toml:"socket"`
	} `toml:"control"`
}

// airScheme begins the name of a device that is a simulated medium.
const airScheme = "air:"

// readUpConfig reads and checks a configuration before anything is opened.
func readUpConfig(path string) (*upConfig, error) {
	c := new(upConfig)
	c.Tun.Name = "tun0"
	c.Tun.MTU = 1280
	c.Audio.Profile = "fsk"
	c.Audio.Rate = 48000
	c.Audio.Duplex = "half"
	if err := readTOML(path, c); err != nil {
		return nil, err
	}
	fault := func(format string, args ...any) (*upConfig, error) {
		return nil, fmt.Errorf("%s: %s", path, fmt.Sprintf(format, args...))
	}
	if c.Station.Name == "" {
		host, err := os.Hostname()
		if err != nil {
			return fault("station.name is not set and the host has none: %v", err)
		}
		c.Station.Name, _, _ = strings.Cut(host, ".")
	}
	if len(c.Station.Name) > link.MaxName {
		return fault("station.name %q: at most %d octets", c.Station.Name, link.MaxName)
	}
	if err := c.tun().Validate(); err != nil {
		return fault("%v", err)
	}
	for _, p := range c.Peer {
		if p.Name == "" {
			return fault("a [[peer]] has no name")
		}
	}
	if c.Control.Socket == "" {
		c.Control.Socket = controlSocket(c.Tun.Name)
	}
	if _, ok := link.ParseDiscipline(c.Link.Queue); !ok && c.Link.Queue != "" {
		return fault("link.queue %q: must be fq-codel, fq or fifo", c.Link.Queue)
	}
	if c.usesLed() {
		if err := c.checkLed(); err != nil {
			return fault("%v", err)
		}
		return c, nil
	}
	if !slices.Contains([]string{"half", "full"}, c.Audio.Duplex) {
		return fault("audio.duplex %q: must be \"half\" (air) or \"full\" (a lead)", c.Audio.Duplex)
	}
	if _, err := audio.OpenModem(c.Audio.Profile, c.Audio.Rate); err != nil {
		return fault("audio: %v", err)
	}
	switch {
	case c.Audio.Device == "":
		return fault("audio.device is not set: \"air:/path/to/socket\" is a simulated medium; a board for light is set by led.board")
	case !strings.HasPrefix(c.Audio.Device, airScheme):
		return fault("audio.device %q: this build knows only simulated media, \"air:/path/to/socket\"", c.Audio.Device)
	case c.Audio.GainDB > 12 || c.Audio.GainDB < -60:
		return fault("audio.gain_db %v: must be −60 to 12", c.Audio.GainDB)
	}
	return c, nil
}

func (c *upConfig) tun() tun.Config {
	return tun.Config{Name: c.Tun.Name, Addresses: c.Tun.Addresses, MTU: c.Tun.MTU, Routes: c.Tun.Routes}
}

// link is the link's configuration but for what the PHY says.
func (c *upConfig) link() link.Config {
	seconds := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	var random [10]byte
	discipline, _ := link.ParseDiscipline(c.Link.Queue) // checked by readUpConfig
	rand.Read(random[:])
	cfg := link.Config{
		Name:        c.Station.Name,
		Address:     c.Station.Address,
		Prefixes:    c.Tun.Addresses,
		MTU:         c.Tun.MTU,
		Seed:        binary.LittleEndian.Uint64(random[:8]),
		Epoch:       binary.LittleEndian.Uint16(random[8:]),
		MaxBurst:    seconds(c.Link.MaxBurstS),
		MaxExchange: seconds(c.Link.MaxExchangeS),
		QueueOctets: c.Link.QueueOctets,
		Queue:       discipline,
	}
	if c.Led.Board != "" && cfg.MaxBurst == 0 {
		cfg.MaxBurst = lightBurst
	}
	for _, p := range c.Peer {
		for _, prefix := range p.Routes {
			cfg.Routes = append(cfg.Routes, link.Route{Prefix: prefix, Station: p.Name})
		}
	}
	return cfg
}

func upCommand() *cobra.Command {
	var (
		path    string
		verbose bool
	)
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Bring a link up: the daemon, tun0 over the configured medium",
		Long: `Bring a link up and keep it up: a TUN interface whose cable is the configured
medium. It runs in the foreground until SIGINT or SIGTERM. Setting up the
interface needs root, or the capability CAP_NET_ADMIN, or a device that was
prepared with ` + "`ip tuntap add`" + `.`,
		Example: `  lightsong up -c a.toml

a.toml:
  [station]
  name = "a"                                  # default: the host's name
  [tun]
  name = "tun0"
  addresses = ["10.73.0.1/24", "fd73::1/64"]
  mtu = 1280
  [audio]
  profile = "fsk"                             # see ` + "`lightsong modes`" + `
  device = "air:/tmp/air.sock"                # a medium that ` + "`lightsong sim`" + ` simulates
  duplex = "half"                             # "full" on a lead
  [link]
  queue = "fq-codel"                          # or "fq" (no marks, no drops), "fifo"
  [led]                                       # instead of [audio]: a board with an LED and a photodiode
  board = "serial:/dev/serial/by-id/usb-…"    # flash it first: ` + "`lightsong flash`" + `
  [[peer]]                                    # only for destinations behind a station
  name = "b"
  routes = ["192.0.2.0/24"]`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := readUpConfig(path)
			if err != nil {
				return err
			}
			level := slog.LevelInfo
			if verbose {
				level = slog.LevelDebug
			}
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
			return up(cmd.Context(), c, log)
		},
	}
	cmd.Flags().StringVarP(&path, "config", "c", "lightsong.toml", "configuration file")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "log more")
	return cmd
}

// up runs the daemon until ctx ends.
func up(ctx context.Context, c *upConfig, log *slog.Logger) (err error) {
	control, err := listenControl(ctx, c.Control.Socket)
	if err != nil {
		return err
	}
	defer control.Close()
	host, err := tun.Open(c.tun())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, host.Close()) }()
	log.Info("interface ready", "name", host.Name(), "mtu", c.Tun.MTU, "control", c.Control.Socket)

	var running atomic.Pointer[link.Runner]
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return serveControl(ctx, control, func(ctx context.Context) Status {
			return statusOf(ctx, c, running.Load())
		})
	})
	group.Go(func() error { return supervise(ctx, c, host, &running, log) })
	return group.Wait()
}

const (
	firstRetry = 200 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// supervise keeps the link on its medium: when the medium goes away it is opened
// again, with growing pauses, and the same fault is told once.
func supervise(ctx context.Context, c *upConfig, host link.Host, running *atomic.Pointer[link.Runner], log *slog.Logger) error {
	var (
		engine *link.Engine
		told   string
		pause  = firstRetry
	)
	for {
		err := func() error {
			p, err := openPHY(ctx, c, log)
			if err != nil {
				return err
			}
			defer p.Close()
			// A Read that is blocked in the medium ends only by this.
			defer context.AfterFunc(ctx, func() { p.Close() })()
			if engine == nil {
				cfg := c.link()
				cfg.Caps, cfg.Airtime = p.Caps(), p.Airtime
				if engine, err = link.New(cfg, time.Now()); err != nil {
					return fatal{err}
				}
			}
			log.Info("medium open", "device", c.device())
			told, pause = "", firstRetry
			runner := link.NewRunner(engine, p, host, log)
			running.Store(runner)
			return runner.Run(ctx)
		}()
		if ctx.Err() != nil {
			return nil //nolint:nilerr // whatever broke at the end is the end
		}
		if stop := (fatal{}); errors.As(err, &stop) {
			return stop.error
		}
		if err != nil && err.Error() != told {
			told = err.Error()
			log.Warn("no medium; trying again until it is there", "device", c.device(), "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		pause = min(2*pause, lastRetry)
	}
}

// fatal is an error that no patience mends.
type fatal struct{ error }

func openPHY(ctx context.Context, c *upConfig, log *slog.Logger) (phy.PHY, error) {
	if c.Led.Board != "" {
		return openBoard(ctx, c, log)
	}
	m, err := audio.OpenModem(c.Audio.Profile, c.Audio.Rate)
	if err != nil {
		return nil, err
	}
	dial := audio.DialAir
	if m.Channels() == 2 {
		dial = audio.DialPairAir
	}
	stream, err := dial(ctx, strings.TrimPrefix(c.Audio.Device, airScheme), c.Station.Name, c.Audio.Rate)
	if err != nil {
		return nil, err
	}
	return audio.New(audio.Config{Modem: m, Stream: stream, FullDuplex: c.Audio.Duplex == "full", GainDB: c.Audio.GainDB}), nil
}
