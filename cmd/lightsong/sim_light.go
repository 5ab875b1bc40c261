package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"lightsong/phy/led"
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
		// Before anybody can plug in: who finds no gauge does without. Another process may
		// serve that path, which will put right what is written here.
		gauge, err := os.OpenFile(c.Ports[name]+led.GaugeSuffix, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return fmt.Errorf("serial line of station %q: %w", name, err)
		}
		defer gauge.Close()
		if err := tellSent(gauge, 0, 0); err != nil {
			return err
		}
		l, err := listenUnix(ctx, c.Ports[name])
		if err != nil {
			return fmt.Errorf("serial line of station %q: %w", name, err)
		}
		defer os.Remove(gauge.Name())
		defer context.AfterFunc(ctx, func() { l.Close() })()
		log.Info("station ready", "station", name, "board", uartScheme+c.Ports[name], "baud", c.Baud)
		group.Go(func() error { return plugIn(ctx, l, gauge, port, c.Baud) })
	}
	group.Go(func() error { return light.Run(ctx) })
	if err := group.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// plugIn gives a station's serial line to one program after another.
func plugIn(ctx context.Context, l net.Listener, gauge *os.File, port *sims.LightStationPort, baud int) error {
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
		unplugged := make(chan struct{})
		var both, gauging sync.WaitGroup
		before := port.Stats().Sent
		if err := tellSent(gauge, before, before); err != nil {
			return err
		}
		gauging.Go(func() {
			if tellAll(gauge, port, before, unplugged) != nil {
				conn.Close()
			}
		})
		// Which end fails first, and with what, does not matter: the program is gone.
		both.Go(func() { copyOctets(port, conn); port.Close() })
		both.Go(func() { copyOctets(conn, port); conn.Close() })
		both.Wait()
		close(unplugged)
		gauging.Wait()
		stop()
	}
}

// gaugeEvery is how often a line tells what it has sent.
const gaugeEvery = time.Millisecond

// tellAll tells a program how much of what it wrote was sent, until it is unplugged.
func tellAll(gauge *os.File, port *sims.LightStationPort, before uint64, unplugged <-chan struct{}) error {
	ticker := time.NewTicker(gaugeEvery)
	defer ticker.Stop()
	for told := before; ; {
		if sent := port.Stats().Sent; sent != told {
			if err := tellSent(gauge, before, sent); err != nil {
				return err
			}
			told = sent
		}
		select {
		case <-ticker.C:
		case <-unplugged:
			return nil
		}
	}
}

// tellSent writes a gauge as led.GaugeSuffix has it.
func tellSent(gauge *os.File, before, sent uint64) error {
	p := binary.BigEndian.AppendUint64(nil, before)
	_, err := gauge.WriteAt(binary.BigEndian.AppendUint64(p, sent), 0)
	return err
}

// copyOctets copies little at a time: what waits does so in the socket.
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
