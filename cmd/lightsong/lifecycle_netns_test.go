package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"lightsong/sims"
)

// The lifecycle of a peer, with real daemons and the kernel's TCP: what the status
// and the carrier say, how soon traffic flows after a return, and that connections
// survive. Short here; `make netns-long` has twenty rounds.

// killRounds is how often a daemon is killed; netnslong has more.
var killRounds = 2

const (
	goneLimit   = 5 * time.Second
	returnLimit = 5 * time.Second
	// A machine that is busy with other tests does all of it later: the limits
	// above hold in netnslong, which has it for itself.
	busyFactor = 4
)

// limit is what a time may be here.
func limit(d time.Duration) time.Duration {
	if killRounds < 20 {
		return busyFactor * d
	}
	return d
}

// lifecycleMedia are the demo's lead and room.
func lifecycleMedia() []medium { return []medium{mediums[1], mediums[0]} }

// within waits for something and returns how long it took from a moment of the
// medium's time on, which on a busy machine is slower than ours: what the link
// promises, it promises by that.
func (r *pairRig) within(t *testing.T, from, most time.Duration, name string, what func() bool) time.Duration {
	t.Helper()
	for {
		done := what()
		took := r.time() - from
		if took > most {
			t.Errorf("%s: not within %v", name, most)
		}
		if done || took > most {
			return took
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// time of the medium.
func (r *pairRig) time() time.Duration { return r.air.Stats().Time }

// peerState is what a host's status says of its first peer.
func peerState(t *testing.T, s *side) (up bool, restarts uint64) {
	t.Helper()
	status := patientStatus(t, s.control)
	for _, p := range status.Link.Peers {
		restarts += p.Restarts
	}
	return status.Link.Up, restarts
}

// kill ends a host's daemon as a crash does, and keeps its network namespace, in
// which the kernel's connections live on.
func (s *side) kill(t *testing.T) {
	t.Helper()
	if err := s.process.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-s.process.done
}

// streamed is a TCP connection that says a number every second, which the other
// side says back; last is when an answer came.
type streamed struct {
	conn    net.Conn
	answers chan time.Time
	done    chan error
}

// streamOver connects two hosts; keep is a process in each host's namespace that
// outlives its daemon.
func streamOver(t *testing.T, from, to int, address string) *streamed {
	t.Helper()
	listener, err := listenTCP(t.Context(), to, net.JoinHostPort(address, "7302"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	s := &streamed{answers: make(chan time.Time, 1000), done: make(chan error, 2)}
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			s.done <- err
			return
		}
		defer conn.Close()
		_, err = io.Copy(conn, conn)
		s.done <- err
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if s.conn, err = dialTCP(ctx, from, listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.conn.Close(); <-s.done; <-s.done })
	go func() {
		buf := make([]byte, 100)
		for {
			if _, err := s.conn.Read(buf); err != nil {
				s.done <- nil
				return
			}
			select {
			case s.answers <- time.Now():
			default:
			}
		}
	}()
	return s
}

// say sends some octets.
func (s *streamed) say(t *testing.T) {
	t.Helper()
	if _, err := fmt.Fprintf(s.conn, "%d\n", time.Now().UnixMilli()); err != nil {
		t.Fatalf("the connection did not survive: %v", err)
	}
}

// answered tells whether an answer has come since.
func (s *streamed) answered(since time.Time) bool {
	for {
		select {
		case at := <-s.answers:
			if at.After(since) {
				return true
			}
		default:
			return false
		}
	}
}

// holder keeps the network namespace of a host: a process that does nothing.
func (d *demo) holder(t *testing.T, name string) *process {
	t.Helper()
	p, err := d.spawnProgram(context.Background(), "holder-"+name, syscall.CLONE_NEWNET, "/bin/sleep", "100000")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill(); <-p.done })
	return p
}

// startInside starts the daemon of a host in the namespace of its holder.
func (d *demo) startInside(t *testing.T, s *side, holder *process) {
	t.Helper()
	err := inNetworkOf(holder.pid(), func() (err error) {
		s.process, err = d.spawn(context.Background(), s.name, 0, "up", "-c", s.config)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// pairRig is a demo whose hosts outlive their daemons, on an air of this process, whose
// time and plugs are at hand.
type pairRig struct {
	*demo
	holders [2]*process
	air     *sims.Air
}

// serveAir runs an air in this process until the test ends, on a socket in dir.
func serveAir(t *testing.T, dir, name, toml string) (air *sims.Air, socket string) {
	t.Helper()
	socket = filepath.Join(dir, name+".sock")
	path := filepath.Join(dir, name+".toml")
	if err := os.WriteFile(path, fmt.Appendf(nil, "socket = %q\nseed = 1\n%s", socket, toml), 0o644); err != nil {
		t.Fatal(err)
	}
	config, err := readSimConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	if air, err = sims.NewAir(config.AirConfig); err != nil {
		t.Fatal(err)
	}
	listener, err := listenUnix(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var group errgroup.Group
	group.Go(func() error { return air.Run(ctx) })
	group.Go(func() error { return air.Serve(ctx, listener) })
	t.Cleanup(func() {
		cancel()
		if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("air: %v", err)
		}
	})
	return air, socket
}

func newPairRig(t *testing.T, m medium) *pairRig {
	t.Helper()
	r := &pairRig{demo: &demo{medium: m, errs: testWriter{t}, started: time.Now(), dir: t.TempDir()}}
	var socket string
	r.air, socket = serveAir(t, r.dir, "air", m.air)
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
		if t.Failed() {
			r.showLogs()
		}
	})
	device := func(int) string { return fmt.Sprintf("[audio]\ndevice = \"air:%s\"\n%s", socket, m.audio) }
	if err := r.writeHosts(device); err != nil {
		t.Fatal(err)
	}
	for i, s := range r.sides {
		r.holders[i] = r.holder(t, s.name)
		r.startInside(t, s, r.holders[i])
	}
	if err := r.waitForLink(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// alive tells whether a ping comes back: one goes out each second until then, as
// long as a slow medium on a busy machine may need.
func alive(t *testing.T, from *process, address string) bool {
	t.Helper()
	err := inNetworkOf(from.pid(), func() error {
		return exec.CommandContext(t.Context(), "ping", "-n", "-c", "1", "-w", "10", address).Run()
	})
	return err == nil
}

// TestPeerKilled kills one of two daemons again and again: the other one's status
// and carrier say so within 5 s, and 5 s after it was started anew pings pass.
func TestPeerKilled(t *testing.T) {
	for _, m := range lifecycleMedia() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			d := newPairRig(t, m)
			holders := d.holders
			a, b := d.sides[0], d.sides[1]
			stream := streamOver(t, holders[0].pid(), holders[1].pid(), b.v4)
			stream.say(t)
			d.within(t, d.time(), 20*time.Second, "the first answer", func() bool { return stream.answered(time.Time{}) })
			var slowestDown, slowestUp, slowestTCP time.Duration
			for round := range killRounds {
				b.kill(t)
				dead := d.time()
				if round%2 == 0 { // every other time there is nothing on its way
					stream.say(t)
				}
				down := d.within(t, dead, limit(goneLimit), "the peer is gone", func() bool { up, _ := peerState(t, a); return !up })
				d.within(t, dead, limit(goneLimit), "carrier down", func() bool { return !a.running() })
				slowestDown = max(slowestDown, down)
				time.Sleep(time.Duration(round%5) * time.Second)
				_, before := peerState(t, a)
				d.startInside(t, b, holders[1])
				since := time.Now()
				// Its return is that to the medium: until then it is the machine that takes its time.
				waitFor(t, func() bool { s, err := askStatus(t.Context(), b.control); return err == nil && s.Medium })
				back := d.time()
				up := d.within(t, back, limit(returnLimit), "a ping", func() bool { return alive(t, holders[0], b.v4) })
				slowestUp = max(slowestUp, up)
				t.Logf("round %d: gone after %.1f s; %.1f s from the start to the medium, then %.1f s to the ping", round, down.Seconds(), time.Since(since).Seconds()-up.Seconds(), up.Seconds())
				if _, restarts := peerState(t, a); restarts == before {
					t.Error("the status does not tell of the restart")
				}
				stream.say(t)
				slowestTCP = max(slowestTCP, d.within(t, back, 30*time.Second, "TCP", func() bool { return stream.answered(since) }))
			}
			t.Logf("%d times: gone after at most %.1f s, ping %.1f s and TCP %.1f s after the start", killRounds, slowestDown.Seconds(), slowestUp.Seconds(), slowestTCP.Seconds())
		})
	}
}

// TestPlugPulled pulls the plug of one of two stations for ten seconds: both know
// it within 5 s; what was said meanwhile arrives when it is back.
func TestPlugPulled(t *testing.T) {
	for _, m := range lifecycleMedia() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			const out = 10 * time.Second // of the medium's time
			d := newPairRig(t, m)
			holders := d.holders
			a, b := d.sides[0], d.sides[1]
			stream := streamOver(t, holders[0].pid(), holders[1].pid(), b.v4)
			stream.say(t)
			d.within(t, d.time(), 20*time.Second, "the first answer", func() bool { return stream.answered(time.Time{}) })
			plug := func(in bool) time.Duration {
				if err := d.air.Plug(b.name, in); err != nil {
					t.Fatal(err)
				}
				return d.time()
			}
			pulled := plug(false)
			stream.say(t)
			downA := d.within(t, pulled, limit(goneLimit), "a knows", func() bool { up, _ := peerState(t, a); return !up && !a.running() })
			downB := d.within(t, pulled, limit(goneLimit), "b knows", func() bool { up, _ := peerState(t, b); return !up && !b.running() })
			stream.say(t)
			for d.time() < pulled+out {
				time.Sleep(20 * time.Millisecond)
			}
			back, since := plug(true), time.Now()
			tcp := d.within(t, back, limit(returnLimit), "what was said meanwhile", func() bool { return stream.answered(since) })
			ping := d.within(t, back, limit(returnLimit), "a ping", func() bool { return alive(t, holders[0], b.v4) })
			t.Logf("known after %.1f and %.1f s; TCP %.1f s and ping %.1f s after the return", downA.Seconds(), downB.Seconds(), tcp.Seconds(), ping.Seconds())
		})
	}
}
