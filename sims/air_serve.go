package sims

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"lightsong/phy/audio"
)

// handshakeTime is how long a peer may take to say hello.
const handshakeTime = 10 * time.Second

// Serve lets stations join over a socket, one per connection, until ctx is
// done or the listener fails; it returns ctx's error or the listener's. The
// listener is closed and every connection ended when it returns. A peer that
// does not speak the protocol is dropped with a Warn. One goroutine serves one
// connection.
func (a *Air) Serve(ctx context.Context, listener net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var peers sync.WaitGroup
	defer peers.Wait()
	defer cancel()
	defer listener.Close()
	defer context.AfterFunc(ctx, func() { listener.Close() })()
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("serve air: %w", err)
		}
		peers.Go(func() {
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			if err := a.serve(ctx, conn); err != nil && ctx.Err() == nil {
				a.warn(err.Error())
			}
		})
	}
}

// serve is one connection, from hello to its end. A peer that leaves between
// two blocks has done nothing wrong.
func (a *Air) serve(ctx context.Context, conn net.Conn) error {
	if err := conn.SetReadDeadline(time.Now().Add(handshakeTime)); err != nil {
		return fmt.Errorf("a peer of the air: %w", err)
	}
	r := bufio.NewReaderSize(conn, 4*audio.MaxAirBlock+8)
	hello, err := audio.ReadAirHello(r)
	if err != nil {
		if errors.Is(err, io.EOF) {
			return nil
		}
		return fmt.Errorf("a peer of the air was dropped: %w", err)
	}
	port, err := a.join(hello)
	if err != nil {
		return refuse(conn, err)
	}
	defer port.Close()
	// A connection that ends while its station waits for the others must not
	// keep the Port.
	defer context.AfterFunc(ctx, func() { port.Close() })()
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("station %q: %w", hello.Name, err)
	}

	in, out := port.Latency()
	samples := func(d time.Duration) int {
		return int((int64(d)*int64(a.Rate()) + int64(time.Second)/2) / int64(time.Second))
	}
	message := audio.AppendAirWelcome(nil, audio.AirWelcome{Block: a.Block(), In: samples(in), Out: samples(out)})
	channels := a.Channels()
	blocks := audio.NewAirBlockReader(r, a.Block()*channels)
	for {
		if _, err := conn.Write(message); err != nil {
			return gone(hello.Name, err)
		}
		played, _, err := blocks.Read(false)
		if err != nil {
			return gone(hello.Name, err)
		}
		heard, lost, err := port.exchange(played)
		if err != nil {
			return gone(hello.Name, err)
		}
		message = audio.AppendAirBlock(message[:0], heard, lost*channels)
	}
}

// join lets a peer in, or says why not.
func (a *Air) join(hello audio.AirHello) (*Port, error) {
	if hello.Rate != a.Rate() {
		return nil, fmt.Errorf("%w: it runs at %d Hz, station %q at %d Hz", ErrAir, a.Rate(), hello.Name, hello.Rate)
	}
	if got := max(1, hello.Channels); got != a.Channels() {
		return nil, fmt.Errorf("%w: its stations have %s, station %q has %s", ErrAir, channels(a.Channels()), hello.Name, channels(got))
	}
	return a.Attach(hello.Name)
}

// channels in words.
func channels(n int) string {
	if n == 1 {
		return "one channel"
	}
	return fmt.Sprintf("%d channels", n)
}

// refuse tells the peer why, and us.
func refuse(conn net.Conn, why error) error {
	if _, err := conn.Write(audio.AppendAirWelcome(nil, audio.AirWelcome{Refusal: why.Error()})); err != nil {
		return fmt.Errorf("a peer was refused (%w) and did not hear why: %w", why, err)
	}
	return fmt.Errorf("a peer was refused: %w", why)
}

// gone is what is to be said about a station's end: nothing where it left
// properly.
func gone(name string, err error) error {
	for _, proper := range []error{io.EOF, net.ErrClosed, syscall.EPIPE, syscall.ECONNRESET} {
		if errors.Is(err, proper) {
			return nil
		}
	}
	return fmt.Errorf("station %q was dropped: %w", name, err)
}

// exchange is Write and Read of one block at once: it plays up to a block, and
// returns what is heard, valid until the next exchange, after lost dropped
// samples.
func (p *Port) exchange(played []float32) (heard []float32, lost int, err error) {
	p.air.mu.Lock()
	defer p.air.mu.Unlock()
	p.queue = append(p.queue[:0], played...)
	if err := p.next(); err != nil {
		return nil, 0, err
	}
	return p.block, p.lost, nil
}
