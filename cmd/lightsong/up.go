package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"lightsong/link"
	"lightsong/phy/audio"
	"lightsong/phy/led"
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
		Profile     string  `toml:"profile"`
		Device      string  `toml:"device"`
		Input       string  `toml:"input"`
		Server      string  `toml:"server"`
		Rate        int     `toml:"rate"`
		LatencyMS   float64 `toml:"latency_ms"`
		RoundTripMS float64 `toml:"roundtrip_ms"`
		LevelDBFS   float64 `toml:"level_dbfs"`
		Duplex      string  `toml:"duplex"`
	} `toml:"audio"`
	Led  ledConfig `toml:"led"`
	Link struct {
		MaxBurstS    float64 `toml:"max_burst_s"`
		MaxExchangeS float64 `toml:"max_exchange_s"`
		KeepaliveS   float64 `toml:"keepalive_s"`
		QueueOctets  int     `toml:"queue_octets"`
		Queue        string  `toml:"queue"`
		Compress     bool    `toml:"compress"`
		Windows      bool    `toml:"windows"`
		AirMinute    float64 `toml:"airtime_minute"`
		AirHour      float64 `toml:"airtime_hour"`
	} `toml:"link"`
	Peer []struct {
		Name   string         `toml:"name"`
		Routes []netip.Prefix `toml:"routes"`
	} `toml:"peer"`
	Control struct {
		Socket string `toml:"socket"`
	} `toml:"control"`
	Metrics struct {
		Address string `toml:"address"`
	} `toml:"metrics"`
}

// readUpConfig reads and checks a configuration before anything is opened.
func readUpConfig(path string) (*upConfig, error) {
	c := new(upConfig)
	c.Tun.Name = "tun0"
	c.Tun.MTU = 1280
	c.Audio.Profile = "fsk"
	c.Audio.Rate = 48000
	c.Audio.LatencyMS = float64(usualLatency / time.Millisecond)
	c.Audio.LevelDBFS = usualLevel
	c.Link.Compress, c.Link.Windows = true, true
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
	if _, _, err := net.SplitHostPort(c.Metrics.Address); c.Metrics.Address != "" && err != nil {
		return fault("metrics.address: %v: must be like \"127.0.0.1:9173\"", err)
	}
	for key, share := range map[string]float64{"minute": c.Link.AirMinute, "hour": c.Link.AirHour} {
		if !(share >= 0 && share <= 1) {
			return fault("link.airtime_%s %v: must be a share, 0 to 1", key, share)
		}
	}
	for _, x := range []struct {
		key            string
		s, least, most float64
	}{{"max_burst_s", c.Link.MaxBurstS, 0.05, 60}, {"max_exchange_s", c.Link.MaxExchangeS, 0.1, 600}, {"keepalive_s", c.Link.KeepaliveS, 0.1, 3600}} {
		if x.s != 0 && !(x.s >= x.least && x.s <= x.most) {
			return fault("link.%s %v: must be %v to %v s, or 0 for the usual", x.key, x.s, x.least, x.most)
		}
	}
	if _, ok := link.ParseDiscipline(c.Link.Queue); !ok && c.Link.Queue != "" {
		return fault("link.queue %q: must be fq-codel, fq or fifo", c.Link.Queue)
	}
	cfg := c.link()
	if err := cfg.Validate(); err != nil {
		return fault("%v", err)
	}
	if c.usesLed() {
		if err := c.checkLed(); err != nil {
			return fault("%v", err)
		}
		return c, nil
	}
	if c.Audio.Duplex == "" {
		c.Audio.Duplex = "half"
		if strings.HasPrefix(c.Audio.Profile, "cable") {
			c.Audio.Duplex = "full"
		}
	}
	if !slices.Contains([]string{"half", "full"}, c.Audio.Duplex) {
		return fault("audio.duplex %q: must be \"half\" (air) or \"full\" (a lead)", c.Audio.Duplex)
	}
	if _, err := audio.OpenModem(c.Audio.Profile, c.Audio.Rate); err != nil {
		return fault("audio: %v", err)
	}
	if err := c.sound().check(); err != nil {
		return fault("audio: %v", err)
	}
	if v := c.Audio.LevelDBFS; !(v >= quietestLevel && v <= 0) {
		return fault("audio.level_dbfs %v: must be %d to 0", v, quietestLevel)
	}
	return c, nil
}

func (c *upConfig) tun() tun.Config {
	return tun.Config{Name: c.Tun.Name, Addresses: c.Tun.Addresses, MTU: c.Tun.MTU, Routes: c.Tun.Routes}
}

// sound is the device of the configuration.
func (c *upConfig) sound() soundDevice {
	return soundDevice{
		device: c.Audio.Device, input: c.Audio.Input, server: c.Audio.Server, station: c.Station.Name, rate: c.Audio.Rate,
		latency:   time.Duration(c.Audio.LatencyMS * float64(time.Millisecond)),
		roundTrip: time.Duration(c.Audio.RoundTripMS * float64(time.Millisecond)),
	}
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
		Keepalive:   seconds(c.Link.KeepaliveS),
		QueueOctets: c.Link.QueueOctets,
		Queue:       discipline,
		Compress:    c.Link.Compress,
		Windows:     c.Link.Windows,

		AirtimeMinute: c.Link.AirMinute,
		AirtimeHour:   c.Link.AirHour,
	}
	if c.Led.Board != "" && cfg.MaxBurst == 0 {
		cfg.MaxBurst = c.Led.longestBurst()
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
  device = "default"                          # the system's sound card; "pa:NAME" of ` + "`lightsong devices`" + `;
                                              # "air:/tmp/air.sock", a medium that ` + "`lightsong sim`" + ` simulates
  input = "pa:USB microphone"                 # only if another card listens than plays
  server = "tcp:raspberrypi"                  # only for the sound card of another machine
  duplex = "half"                             # air; "full" on a lead (default: full for cable, else half)
  latency_ms = 50                             # of the card's buffers; less answers faster, but fails under load
  roundtrip_ms = 0                            # from playing to hearing; 0: what the device says, then as measured
  level_dbfs = -12                            # RMS; above −12 peaks are clipped
  [link]
  keepalive_s = 0                             # silence after which a peer is asked whether it is there; 0: 1.5 s, or what an
                                              # eighth of an idle medium allows. More is quieter, and slower to know that one is gone
  queue = "fq-codel"                          # or "fq" (no marks, no drops), "fifo"
  queue_octets = 0                            # that may wait or be on their way; 0: 262144, of the others 65536
  max_burst_s = 0                             # of one burst; 0: 2 to 5.6 s, as the medium is; less lets others in sooner, and costs goodput
  max_exchange_s = 0                          # of one turn where three or more want the medium; 0: 3 s
  compress = true                             # what becomes shorter by it; false also hides how alike packets are from who hears their lengths
  windows = true                              # TCP's windows are lowered to two bursts where those last for seconds; false: nothing is changed in them
  airtime_minute = 0                          # most share of any minute, and of any hour, for which this station sends, answers
  airtime_hour = 0                            # included: 0.01 where a rule asks for a duty cycle of 1 %; 0: no limit
  [led]                                       # instead of [audio]: a board with an LED and a photodiode
  board = "serial:/dev/serial/by-id/usb-…"    # flash it first: ` + "`lightsong flash`" + `
                                              # "uart:/dev/…": a USB-serial adapter alone, and baud = 2000000
  [metrics]                                   # only for Prometheus: http://127.0.0.1:9173/metrics
  address = "127.0.0.1:9173"
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
	metrics, err := listenMetrics(ctx, c.Metrics.Address)
	if err != nil {
		return err
	}
	if metrics != nil {
		defer metrics.Close()
	}
	host, err := tun.Open(c.tun())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, host.Close()) }()
	log.Info("interface ready", "name", host.Name(), "mtu", c.Tun.MTU, "control", c.Control.Socket)

	var state carrying
	group, ctx := errgroup.WithContext(ctx)
	status := func(ctx context.Context) Status { return statusOf(ctx, c, &state) }
	group.Go(func() error { return serveControl(ctx, control, status) })
	if metrics != nil {
		log.Info("metrics ready", "address", metrics.Addr())
		group.Go(func() error { return serveMetrics(ctx, metrics, status) })
	}
	group.Go(func() error { return carry(ctx, c, host, &state, log) })
	return group.Wait()
}

// carrying is the daemon's link while it is there, for those who ask, and what it
// runs on: a stream of samples or a board.
type carrying struct {
	runner atomic.Pointer[link.Runner]
	stream atomic.Pointer[audio.Reopening]
	sound  atomic.Pointer[audio.PHY]
	deaf   atomic.Pointer[string] // why nothing can be read, if that is so
	board  atomic.Pointer[led.PHY]
	uart   atomic.Pointer[led.UART]
}

// carry runs the link over the configured medium until ctx ends. The medium may
// come and go: audio.Reopening, or for light led.PHY, sees to that, and the link
// keeps what it knows.
func carry(ctx context.Context, c *upConfig, host link.Host, state *carrying, log *slog.Logger) (err error) {
	if c.usesLed() {
		return carryLight(ctx, c, host, state, log)
	}
	if warning := levelWarning(c.Audio.Profile, c.Audio.LevelDBFS); warning != "" {
		log.Warn(warning, "profile", c.Audio.Profile, "level_dbfs", c.Audio.LevelDBFS)
	}
	m, err := audio.OpenModem(c.Audio.Profile, c.Audio.Rate)
	if err != nil {
		return err
	}
	device := c.sound()
	device.channels = m.Channels()
	stream := device.reopening(true, true, func(open bool, err error) {
		if open {
			log.Info("medium open", "device", c.Audio.Device, "profile", c.Audio.Profile)
		} else {
			log.Warn("no medium; trying again until it is there", "device", c.Audio.Device, "error", err)
		}
	})
	state.stream.Store(stream)
	p := audio.New(audio.Config{
		Modem: m, Stream: stream, FullDuplex: c.Audio.Duplex == "full", GainDB: c.Audio.LevelDBFS - usualLevel,
	})
	state.sound.Store(p)
	defer func() { err = errors.Join(err, p.Close()) }()
	// A Read that is blocked in the medium ends only by this.
	defer context.AfterFunc(ctx, func() { p.Close() })()
	// The link's timers want the medium's latency, known when it is first there.
	if err := stream.Await(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // the end, not a fault
		}
		return err
	}
	cfg := c.link()
	cfg.Caps, cfg.Airtime = p.Caps(), p.Airtime
	engine, err := link.New(cfg, time.Now())
	if err != nil {
		return err
	}
	runner := link.NewRunner(engine, p, host, log)
	state.runner.Store(runner)
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	var group errgroup.Group
	group.Go(func() error { watchHearing(watching, p, runner, state, log); return nil })
	group.Go(func() error { defer cancel(); return runner.Run(ctx) })
	return group.Wait()
}
