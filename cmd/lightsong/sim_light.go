package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"lightsong/sims"
)

// simLightConfig is the configuration of `lightsong sim --light`.
type simLightConfig struct {
	Baud  int               `toml:"baud"`
	Ports map[string]string `toml:"ports"` // a station's name → where its serial line appears
	sims.LightConfig
}

func readSimLightConfig(path string) (*simLightConfig, error) {
	c := &simLightConfig{Baud: usualBaud}
	if err := readTOML(path, c); err != nil {
		return nil, err
	}
	if len(c.Ports) < 2 {
		return nil, fmt.Errorf("%s: [ports] names %d stations: a light field has two or more, NAME = \"PATH\" each", path, len(c.Ports))
	}
	if c.Baud < leastBaud || c.Baud > mostBaud {
		return nil, fmt.Errorf("%s: baud %d: must be %d to %d", path, c.Baud, leastBaud, mostBaud)
	}
	if c.Room.BufferOctets == nil {
		c.Room.BufferOctets = new(256) // the rest waits in the socket
	}
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// simulateLight shows a serial line for each station, a unix socket, until ctx ends.
func simulateLight(ctx context.Context, c *simLightConfig, log *slog.Logger) error {
	light, err := sims.NewLight(c.LightConfig)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, name := range slices.Sorted(maps.Keys(c.Ports)) {
		port, err := light.Attach(name)
		if err != nil {
			return err
		}
		if err := port.SetSpeed(c.Baud); err != nil {
			return err
		}
		l, err := listenUnix(ctx, c.Ports[name])
		if err != nil {
			return fmt.Errorf("serial line of station %q: %w", name, err)
		}
		log.Info("station ready", "station", name, "board", uartScheme+c.Ports[name], "baud", c.Baud)
		defer context.AfterFunc(ctx, func() { l.Close() })()
		group.Go(func() error { return plugIn(ctx, l, port, c.Baud) })
	}
	group.Go(func() error { return light.Run(ctx) })
	if err := group.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// plugIn gives a station's serial line to one program after another.
func plugIn(ctx context.Context, l net.Listener, port *sims.LightStationPort, baud int) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		}
		port.Reopen()
		if err := port.SetSpeed(baud); err != nil {
			return err
		}
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		var both sync.WaitGroup
		// Which end fails first, and with what, does not matter: the program is gone.
		both.Go(func() { copyOctets(port, conn); port.Close() })
		both.Go(func() { copyOctets(conn, port); conn.Close() })
		both.Wait()
		stop()
	}
}

// copyOctets copies little at a time, so that what waits does so where the program
// sees it: in its socket.
func copyOctets(to io.Writer, from io.Reader) {
	buf := make([]byte, 256)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}
