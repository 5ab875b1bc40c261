package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"lightsong/phy/audio"
	"lightsong/sims"
)

// simConfig is the configuration of `lightsong sim`: the socket and the air.
type simConfig struct {
	Socket string `toml:"socket"`
	sims.AirConfig
}

func readSimConfig(path string) (*simConfig, error) {
	c := new(simConfig)
	if err := readTOML(path, c); err != nil {
		return nil, err
	}
	if c.Socket == "" {
		return nil, fmt.Errorf("%s: socket is not set: stations join at this path", path)
	}
	for i := range c.Paths {
		if err := loadTaps(&c.Paths[i], filepath.Dir(path), c.Rate); err != nil {
			return nil, fmt.Errorf("%s: paths[%d].taps_wav: %w", path, i, err)
		}
	}
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// maxTaps bounds an impulse response: 10 s at the highest rate.
const maxTaps = 10 * 192000

// loadTaps reads a path's impulse response; its file name is relative to dir.
func loadTaps(p *sims.AirPath, dir string, rate int) error {
	if p.TapsWAV == "" {
		return nil
	}
	name := p.TapsWAV
	if !filepath.IsAbs(name) {
		name = filepath.Join(dir, name)
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	w, err := audio.NewWAVReader(f)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if rate == 0 {
		rate = tableRate
	}
	if w.Rate != rate {
		return fmt.Errorf("%s has %d samples per second, the air %d: convert the file, or set rate", name, w.Rate, rate)
	}
	taps := make([]float32, maxTaps)
	n, err := w.Read(taps)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %w", name, err)
	}
	p.Taps = taps[:n:n]
	return nil
}

func simCommand() *cobra.Command {
	var (
		path  string
		light bool
	)
	cmd := &cobra.Command{
		Use:   "sim",
		Short: "Simulate a room for any number of stations, over a unix socket",
		Long: `Simulate a room, sample by sample: echo, noise, clock skew, clipping. Any number
of ` + "`lightsong up`" + ` with device = "air:SOCKET" join it, from whatever network
namespace or container sees the socket. The room runs in lockstep with its
stations, at most in real time: on a loaded machine simulated time goes slower,
and no sample is lost. It runs in the foreground until SIGINT or SIGTERM.

With --light it simulates a light field instead, edge by edge, for stations with
board = "uart:PATH": each finds its serial line (a unix socket) at its path.`,
		Example: `  lightsong sim -c air.toml

air.toml:
  socket = "/tmp/air.sock"
  seed = 1
  [room]
  rt60_s = 0.3              # reverberation time
  drr_db = 3.0              # direct-to-reverberant ratio
  [station]
  snr_db = 20.0             # signal to noise in 0–24 kHz
  [stations.a]
  skew_ppm = 40.0           # the sound card's clock

light.toml, for sim --light -c light.toml:
  baud = 2000000
  [ports]                   # station = where its serial line appears
  a = "/tmp/light-a"
  b = "/tmp/light-b"
  [room]
  distance_m = 0.3

All keys: docs/air.md, docs/light.md.`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			if light {
				c, err := readSimLightConfig(path)
				if err != nil {
					return err
				}
				return simulateLight(cmd.Context(), c, log)
			}
			c, err := readSimConfig(path)
			if err != nil {
				return err
			}
			return simulate(cmd.Context(), c, log)
		},
	}
	cmd.Flags().StringVarP(&path, "config", "c", "air.toml", "configuration file")
	cmd.Flags().BoolVar(&light, "light", false, "simulate light for bare UARTs instead")
	return cmd
}

// simulate serves the air until ctx ends.
func simulate(ctx context.Context, c *simConfig, log *slog.Logger) error {
	air, err := sims.NewAir(c.AirConfig)
	if err != nil {
		return err
	}
	air.Warn = func(sentence string) { log.Warn(sentence) }
	l, err := listenUnix(ctx, c.Socket)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer l.Close()
	log.Info("air ready", "socket", c.Socket, "rate", air.Rate())
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return air.Run(ctx) })
	group.Go(func() error { return air.Serve(ctx, l) })
	if err := group.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// listenUnix makes a unix socket. One that nobody answers any more is replaced.
func listenUnix(ctx context.Context, path string) (net.Listener, error) {
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "unix", path)
	if errors.Is(err, syscall.EADDRINUSE) {
		dial := net.Dialer{Timeout: time.Second}
		if conn, dialErr := dial.DialContext(ctx, "unix", path); dialErr == nil {
			conn.Close()
			return nil, errAnswered
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
		l, err = listen.Listen(ctx, "unix", path)
	}
	return l, err
}

// errAnswered means that another process serves the socket.
var errAnswered = errors.New("another process answers there")
