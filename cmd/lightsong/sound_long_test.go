//go:build audio

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"

	"lightsong/phy/audio"
	"lightsong/sims"
)

// The long tests on the rig, in real time: `make audio`. They print what they
// measure.

func init() { lacks = (*testing.T).Fatal }

// signal stops the server or lets it go on.
func (r *soundRig) signal(s syscall.Signal) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.pulse.Process.Signal(s); err != nil {
		r.t.Fatal(err)
	}
}

// roundTrip measures the sound server: from a Write over both wires back to
// Read, as the sum of the two ways. server is as PULSE_SERVER, empty: the rig's.
func (r *soundRig) roundTrip(program, server string) (both, said time.Duration) {
	r.t.Helper()
	for _, w := range r.wires[:2] {
		env := r.station("probe", w, w)
		if server != "" {
			env = append(env, "PULSE_SERVER="+server)
		}
		card, err := audio.OpenCard(r.t.Context(), func() (*audio.SoundProcess, error) {
			return audio.StartSoundProcess(env, program, soundProcessName)
		}, audio.CardRequest{Output: audio.DefaultCard, Input: audio.DefaultCard, Rate: 48000, Latency: 50 * time.Millisecond})
		if err != nil {
			r.t.Fatal(err)
		}
		in, out := card.Latency()
		said += in + out
		both += clickDelay(r.t, card)
		if err := card.Close(); err != nil {
			r.t.Error(err)
		}
	}
	return both, said
}

// clickDelay is the median time from a click that is written to its being read.
func clickDelay(t *testing.T, s *audio.CardStream) time.Duration {
	t.Helper()
	const clicks = 5
	block := make([]float32, 480)
	var delays []time.Duration
	var written time.Time
	for i := range 100 * clicks {
		if i%100 == 50 {
			click := make([]float32, 480)
			click[0] = 0.5
			written = time.Now()
			if err := s.Write(click); err != nil {
				t.Fatal(err)
			}
			go s.EndBurst()
		}
		if _, _, err := s.Read(block); err != nil {
			t.Fatal(err)
		}
		for k, v := range block { // half of a direct wave is 0.25, and no echo is
			if math.Abs(float64(v)) > 0.25 {
				delays = append(delays, time.Since(written)-time.Duration(k)*time.Second/48000)
			}
		}
	}
	if len(delays) < clicks/2+1 || len(delays) > clicks {
		t.Fatalf("%d clicks were heard, %d were played", len(delays), clicks)
	}
	slices.Sort(delays)
	return delays[len(delays)/2]
}

// cpu is the processor time that a daemon and its sound process have used.
func cpu(t *testing.T, pid int) (daemon, sound time.Duration) {
	t.Helper()
	used := func(pid int) time.Duration {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0 // it has just ended
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		f := strings.Fields(rest)
		user, _ := strconv.Atoi(f[11])
		system, _ := strconv.Atoi(f[12])
		return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100
	}
	for _, child := range children(t, pid) {
		sound += used(child)
	}
	return used(pid), sound
}

// children are the processes that a process has started.
func children(t *testing.T, pid int) []int {
	t.Helper()
	var list []int
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		if err != nil {
			continue
		}
		for _, f := range strings.Fields(string(text)) {
			n, err := strconv.Atoi(f)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, n)
		}
	}
	return list
}

// used tells what share of a core the daemons and their sound processes use
// while f runs.
func used(t *testing.T, d *demo, what string, f func()) (daemon, sound float64) {
	t.Helper()
	began := time.Now()
	var before [2][2]time.Duration
	for i, s := range d.sides {
		before[i][0], before[i][1] = cpu(t, s.process.pid())
	}
	f()
	took := time.Since(began)
	for i, s := range d.sides {
		now, nowSound := cpu(t, s.process.pid())
		a, b := 100*(now-before[i][0]).Seconds()/took.Seconds(), 100*(nowSound-before[i][1]).Seconds()/took.Seconds()
		t.Logf("%s: %s used %.1f %% of a core, its sound process %.1f %%", what, s.name, a, b)
		daemon, sound = max(daemon, a), max(sound, b)
	}
	return daemon, sound
}

// warmUp lets the link find its modes.
func warmUp(t *testing.T, d *demo) {
	t.Helper()
	d.count = 10
	if err := d.ping(t.Context(), d.sides[0], d.sides[1], false); err != nil {
		t.Fatal(err)
	}
}

// pings sends count pings one way and wants them all back. It returns the
// average round trip in ms of those.
func pings(t *testing.T, d *demo, count int) float64 {
	t.Helper()
	d.count = count
	if err := d.ping(t.Context(), d.sides[0], d.sides[1], false); err != nil {
		t.Fatal(err)
	}
	p := d.result.Pings[len(d.result.Pings)-1]
	t.Logf("ping %d/%d, RTT %.0f/%.0f/%.0f ms", p.Received, p.Sent, p.MinMS, p.AvgMS, p.MaxMS)
	if p.Received != p.Sent || p.Sent != count {
		t.Errorf("%d of %d pings came back", p.Received, p.Sent)
	}
	return p.AvgMS
}

// stream sends octets over TCP from a to b until the time is over, and checks
// every one of them. during runs meanwhile. It returns the octets that came, the
// time, and the longest time in which nothing came. atLeast, if it is over
// later, ends it instead.
func stream(t *testing.T, d *demo, length time.Duration, during func()) (octets int64, took, stall time.Duration) {
	t.Helper()
	from, to := d.sides[0], d.sides[1]
	l, err := listenTCP(t.Context(), to.process.pid(), to.v4+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var seed [32]byte
	var stalledAt time.Duration
	sent := sha256.New()
	got := sha256.New()
	var group errgroup.Group
	began := time.Now()
	group.Go(func() error {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		defer conn.Close()
		conn.SetReadDeadline(time.Now().Add(length + 5*time.Minute))
		buf := make([]byte, 64<<10)
		last := time.Now()
		for {
			n, err := conn.Read(buf)
			if quiet := time.Since(last); octets > 0 && quiet > stall {
				stall, stalledAt = quiet, last.Sub(began)
			}
			last = time.Now()
			got.Write(buf[:n])
			octets += int64(n)
			if errors.Is(err, io.EOF) {
				took = time.Since(began)
				return nil
			}
			if err != nil {
				return err
			}
		}
	})
	group.Go(func() error {
		conn, err := dialTCP(t.Context(), from.process.pid(), l.Addr().String())
		if err != nil {
			l.Close()
			return err
		}
		defer conn.Close()
		// What waits in the kernel counts as sent: let it be little.
		if err := conn.SetWriteBuffer(16 << 10); err != nil {
			return err
		}
		random := rand.NewChaCha8(seed)
		block := make([]byte, 1000)
		for time.Since(began) < length {
			random.Read(block)
			sent.Write(block)
			if _, err := conn.Write(block); err != nil {
				return err
			}
		}
		return nil
	})
	if during != nil {
		during()
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
		t.Errorf("of %d octets not all arrived as they were sent", octets)
	}
	t.Logf("TCP: %d octets in %.1f s, %.0f bit/s, exact; longest time without any %.2f s, after %.1f s",
		octets, took.Seconds(), float64(8*octets)/took.Seconds(), stall.Seconds(), stalledAt.Seconds())
	return octets, took, stall
}

// TestAudioLead measures the lead.
func TestAudioLead(t *testing.T) {
	needSound(t)
	r := newSoundRig(t, "cable1", "cable2")
	leadTests(t, r, "", "")
}

// leadTests are what a lead has to show, with the sound server near or far: its
// round trip and 120 ms for a ping, TCP for a minute, processor time.
func leadTests(t *testing.T, r *soundRig, probe, settings string, then ...func(d *demo)) {
	t.Helper()
	both, said := r.roundTrip(buildSound(t), probe)
	t.Logf("the sound server takes %v there and back, PortAudio and we take it for %v", both.Round(time.Millisecond), said)
	// Each way two blocks of ours and the scheduling come on top of what is said.
	if probe == "" && (said < both-80*time.Millisecond || said > both+100*time.Millisecond) {
		t.Errorf("a latency of %v is taken for %v", both, said)
	}
	d := soundDemo(t, r, lead, "profile = \"cable\"\n"+settings, 0, then...)
	idle, sound := used(t, d, "idle", func() { time.Sleep(20 * time.Second) })
	if idle+sound > 15 {
		t.Errorf("an idle daemon and its sound process use %.1f %% of a core, want 15", idle+sound)
	}
	warmUp(t, d)
	d.interval = "1"
	rtt := pings(t, d, 50)
	above := rtt - float64(both.Milliseconds())
	t.Logf("RTT average is %.0f ms above the sound server's", above)
	if above > 120 {
		t.Errorf("RTT average is %.0f ms above the sound server's, want 120", above)
	}
	_, sound = used(t, d, "TCP", func() {
		if _, _, stall := stream(t, d, time.Minute, nil); stall > 2*time.Second {
			t.Errorf("TCP stood still for %v", stall)
		}
	})
	if sound > 15 {
		t.Errorf("a sound process uses %.1f %% of a core, want 15", sound)
	}
	counts(t, d)
	for _, s := range d.sides {
		quiet(t, d, s.name, 6)
	}
}

// TestAudioPair runs a lead of two channels.
func TestAudioPair(t *testing.T) {
	needSound(t)
	r := startSoundRig(&soundRig{t: t, dir: t.TempDir(), wires: []string{"cable1", "cable2"}, pair: true})
	d := soundDemo(t, r, lead, `profile = "cable2"`, 400000)
	warmUp(t, d)
	pings(t, d, 10)
	if err := d.transfer(t.Context()); err != nil {
		t.Fatal(err)
	}
	if x := d.result.Transfer; !x.Exact {
		t.Errorf("TCP: %+v", x)
	} else {
		t.Logf("%d octets over two channels, exact, %.0f bit/s", x.Octets, x.BPS)
	}
	counts(t, d)
}

// counts logs what the stations counted.
func counts(t *testing.T, d *demo) {
	t.Helper()
	for _, s := range d.sides {
		status, err := askStatus(t.Context(), s.control)
		if err != nil {
			t.Fatal(err)
		}
		mcs := 0
		for _, p := range status.Link.Peers {
			mcs = int(p.MCSOut)
		}
		t.Logf("%s: MCS %d, bursts %+v, frames %+v, %d samples lost, %d bursts split, %d times taken for busy too long, latency %.0f ms, turnaround %v",
			s.name, mcs, status.Link.Bursts, status.Link.Frames, status.Link.Hostile.Lost, status.Split, status.Link.Hostile.StuckBusy,
			status.LatencyMS, status.Link.Turnaround)
	}
}

// TestAudioServerDies kills the sound server during a TCP transfer and starts it
// again, stops it for 8 s, and pulls the cards, five times each.
func TestAudioServerDies(t *testing.T) {
	needSound(t)
	for _, tt := range []struct {
		name string
		harm func(r *soundRig)
	}{
		{"SIGKILL and restart", func(r *soundRig) { r.kill(); time.Sleep(2 * time.Second); r.start() }},
		{"SIGSTOP for 8 s", func(r *soundRig) {
			r.signal(syscall.SIGSTOP)
			time.Sleep(8 * time.Second)
			r.signal(syscall.SIGCONT)
		}},
		{"cards pulled and put back", func(r *soundRig) { r.pull(); time.Sleep(2 * time.Second); r.put() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newSoundRig(t, "cable1", "cable2")
			d := soundDemo(t, r, lead, `profile = "cable"`, 0)
			warmUp(t, d)
			var backs []time.Duration
			opened := func(s *side) (bool, int) {
				status, err := askStatus(t.Context(), s.control)
				if err != nil {
					t.Fatal(err)
				}
				return status.Medium, status.Opened
			}
			const times = 5
			stream(t, d, times*25*time.Second, func() {
				for i := range times {
					time.Sleep(5 * time.Second)
					tt.harm(r)
					back := time.Now()
					for _, s := range d.sides {
						waitFor(t, func() bool { there, n := opened(s); return there && n >= i+2 })
					}
					backs = append(backs, time.Since(back).Round(time.Millisecond))
					time.Sleep(5 * time.Second)
				}
			})
			t.Logf("both stations had the server again after %v", backs)
			for _, b := range backs {
				if b > 5*time.Second {
					t.Errorf("back after %v, want 5 s", b)
				}
			}
			for _, s := range d.sides {
				if n := len(children(t, s.process.pid())); n != 1 {
					t.Errorf("%s has %d children, want its sound process alone", s.name, n)
				}
				quiet(t, d, s.name, 5+6*times)
			}
		})
	}
}

// TestAudioAbsent starts daemons without a sound server, measures what they use,
// and starts it.
func TestAudioAbsent(t *testing.T) {
	needSound(t)
	r := newSoundRig(t, "cable1", "cable2")
	d := soundDemo(t, r, lead, `profile = "cable"`, 0)
	r.kill()
	time.Sleep(5 * time.Second)
	// What the short-lived sound processes have used is their parent's, once
	// they have ended.
	ended := func(s *side) time.Duration {
		t.Helper()
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.process.pid()))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		f := strings.Fields(rest)
		user, _ := strconv.Atoi(f[13])
		system, _ := strconv.Atoi(f[14])
		return time.Duration(user+system) * 10 * time.Millisecond
	}
	const absent = 30 * time.Second
	before := []time.Duration{ended(d.sides[0]), ended(d.sides[1])}
	daemon, _ := used(t, d, "no server", func() { time.Sleep(absent) })
	for i, s := range d.sides {
		tries := 100 * (ended(s) - before[i]).Seconds() / absent.Seconds()
		t.Logf("without a server %s uses at most %.1f %% of a core, and its tries to open a card %.1f %%", s.name, daemon, tries)
		if daemon+tries > 5 {
			t.Errorf("%s uses %.1f %% of a core without a server, want 5", s.name, daemon+tries)
		}
	}
	r.start()
	began := time.Now()
	for _, s := range d.sides {
		waitFor(t, func() bool { status, err := askStatus(t.Context(), s.control); return err == nil && status.Medium })
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("back after %v, want 5 s", took)
	}
	pings(t, d, 5)
}

// TestAudioRemote runs the lead's tests with the sound server behind TCP on each
// host's loopback.
func TestAudioRemote(t *testing.T) {
	needSound(t)
	r := newSoundRig(t, "cable1", "cable2")
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	relay(t, l, r.socket)
	leadTests(t, r, "tcp:"+l.Addr().String(), "server = \"tcp:127.0.0.1:4713\"", overTCP(r))
}

// overTCP lets the daemons reach the sound server on the loopback interface of
// their own namespaces.
func overTCP(r *soundRig) func(d *demo) {
	return func(d *demo) {
		for _, s := range d.sides {
			var l net.Listener
			err := inNetworkOf(s.process.pid(), func() error {
				lo, err := netlink.LinkByName("lo")
				if err != nil {
					return err
				}
				if err := netlink.LinkSetUp(lo); err != nil {
					return err
				}
				l, err = net.Listen("tcp4", "127.0.0.1:4713")
				return err
			})
			if err != nil {
				r.t.Fatal(err)
			}
			relay(r.t, l, r.socket)
		}
	}
}

// relay joins each connection to a unix socket until the test ends.
func relay(t *testing.T, l net.Listener, socket string) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				server, err := net.Dial("unix", socket)
				if err != nil {
					return
				}
				defer server.Close()
				defer context.AfterFunc(ctx, func() { conn.Close(); server.Close() })()
				var both sync.WaitGroup
				both.Go(func() { _, _ = io.Copy(server, conn); server.Close() })
				both.Go(func() { _, _ = io.Copy(conn, server); conn.Close() })
				both.Wait()
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		cancel()
		all.Wait()
	})
}

// The room between the wires is a process of its own, ahead of others where the
// system allows it, because it must keep real time on a busy machine: this test
// binary with roomNames set. What a station plays is recorded from the monitor
// of its sink NAME_out, goes through a sims.Air as the sound of its loudspeaker,
// and what its microphone hears is played into the sink NAME_in, to whose
// monitor the station listens.
const roomNames = "LIGHTSONG_TEST_ROOM"

// roomAir names the file of a room that differs from the usual one.
const roomAir = "LIGHTSONG_TEST_ROOM_AIR"

func init() {
	if names := os.Getenv(roomNames); names != "" {
		if err := room25(strings.Split(names, ",")); err != nil {
			fmt.Fprintln(os.Stderr, "room:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// startRoom starts that process.
func startRoom(r *soundRig, names ...string) { r.t.Helper(); startOtherRoom(r, "", names...) }

// startOtherRoom starts one that differs by keys of docs/air.md. What is returned
// ends it before the test does.
func startOtherRoom(r *soundRig, differs string, names ...string) (end func()) {
	t := r.t
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := urgentCommand(self)
	cmd.Env = append(r.env(""), roomNames+"="+strings.Join(names, ","))
	if differs != "" {
		path := filepath.Join(t.TempDir(), "air.toml")
		if err := os.WriteFile(path, []byte(differs), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd.Env = append(cmd.Env, roomAir+"="+path)
	}
	said := new(bytes.Buffer)
	cmd.Stderr = said
	life, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = sync.OnceFunc(func() {
		life.Close()
		err := cmd.Wait()
		t.Logf("the room: %v %s", err, said)
	})
	t.Cleanup(end)
	return end
}

// room25 is a room with RT60 0.3 s and an SNR of 25 dB, until standard input
// ends. All clocks are the sound server's: no skew.
func room25(names []string) error {
	cfg := sims.AirConfig{
		Seed:    1,
		Speed:   new(0.0), // the sound server keeps the time
		Room:    sims.AirRoom{RT60: new(0.3), DRR: new(3.0)},
		Station: sims.AirStation{SNRdB: new(25.0), SkewPPM: new(0.0)},
	}
	if path := os.Getenv(roomAir); path != "" {
		if err := readTOML(path, &cfg); err != nil {
			return err
		}
	}
	air, err := sims.NewAir(cfg)
	if err != nil {
		return err
	}
	life, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	group, ctx := errgroup.WithContext(life)
	group.Go(func() error { return air.Run(ctx) })
	for _, name := range names {
		port, err := air.Attach(name)
		if err != nil {
			return err
		}
		raw := []string{"--raw", "--format=float32le", "--rate=48000", "--channels=1"}
		record := exec.CommandContext(ctx, "parec", append(raw, "--latency-msec=20", "-d", name+"_out.monitor")...)
		play := exec.CommandContext(ctx, "pacat", append(raw, "--latency-msec=40", "-d", name+"_in")...)
		record.Stderr, play.Stderr = os.Stderr, os.Stderr
		from, err := record.StdoutPipe()
		if err != nil {
			return err
		}
		to, err := play.StdinPipe()
		if err != nil {
			return err
		}
		if err := errors.Join(record.Start(), play.Start()); err != nil {
			return err
		}
		group.Go(func() error {
			defer func() { _ = record.Wait(); _ = play.Wait() }()
			return through(port, from, to)
		})
	}
	if err := group.Wait(); life.Err() == nil {
		return err
	}
	return nil
}

// through carries sound through a station of the air.
func through(port *sims.Port, from io.Reader, to io.Writer) error {
	const (
		starting = 100      // blocks of what is recorded before the player is ready: it would be delay for ever
		margin   = 48 * 100 // samples: so late it may be
	)
	block, octets := make([]float32, 480), make([]byte, 4*480)
	for range starting {
		if _, err := io.ReadFull(from, octets); err != nil {
			return err
		}
	}
	if _, err := to.Write(make([]byte, 4*margin)); err != nil {
		return err
	}
	for {
		if _, err := io.ReadFull(from, octets); err != nil {
			return err
		}
		for i := range block {
			block[i] = math.Float32frombits(binary.LittleEndian.Uint32(octets[4*i:]))
		}
		if err := port.Write(block); err != nil {
			return err
		}
		if _, _, err := port.Read(block); err != nil {
			return err
		}
		for i, v := range block {
			binary.LittleEndian.PutUint32(octets[4*i:], math.Float32bits(v))
		}
		if _, err := to.Write(octets); err != nil {
			return err
		}
	}
}

// TestAudioRoom runs two daemons, half duplex, in a room with RT60 0.3 s and an
// SNR of 25 dB.
func TestAudioRoom(t *testing.T) {
	needSound(t)
	r := newSoundRig(t, "a_out", "a_in", "b_out", "b_in")
	startRoom(r, "a", "b")
	time.Sleep(3 * time.Second)
	env := r.station("probe", "a_out", "a_in")
	program := buildSound(t)
	card, err := audio.OpenCard(t.Context(), func() (*audio.SoundProcess, error) {
		return audio.StartSoundProcess(env, program, soundProcessName)
	}, audio.CardRequest{Output: audio.DefaultCard, Input: audio.DefaultCard, Rate: 48000, Latency: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	loop := clickDelay(t, card)
	if err := card.Close(); err != nil {
		t.Error(err)
	}
	t.Logf("from playing to hearing it in the room: %v", loop.Round(time.Millisecond))
	d := soundDemo(t, r, map[string][2]string{"a": {"a_out", "a_in"}, "b": {"b_out", "b_in"}},
		`profile = "air"`, 6250)
	warmUp(t, d)
	for _, s := range d.sides {
		status, err := askStatus(t.Context(), s.control)
		if err != nil {
			t.Fatal(err)
		}
		// The clicks' time contains a block more of ours.
		got := time.Duration(status.LatencyMS * float64(time.Millisecond))
		t.Logf("%s finds its sound to take %v, measured %v", s.name, got.Round(time.Millisecond), status.Measured)
		if status.Measured && (got-loop).Abs() > 100*time.Millisecond {
			t.Errorf("%s takes %v for its sound's time, want %v", s.name, got, loop)
		}
	}
	d.interval = "1"
	pings(t, d, 50)
	counts(t, d)
	if err := d.transfer(t.Context()); err != nil {
		t.Fatal(err)
	}
	if x := d.result.Transfer; !x.Exact || x.Seconds > 20 {
		t.Errorf("%d octets in %.1f s, exact %v; want 6250 in 20 s", x.Octets, x.Seconds, x.Exact)
	} else {
		t.Logf("%d octets with ARQ, exact, in %.1f s", x.Octets, x.Seconds)
	}
}

// TestAudioFile plays a file to a listener over the lead.
func TestAudioFile(t *testing.T) {
	needSound(t)
	r := newSoundRig(t, "cable1", "cable2")
	program, dir := buildSound(t), t.TempDir()
	source, copied := filepath.Join(dir, "source"), filepath.Join(dir, "copy")
	file := make([]byte, 20000)
	var seed [32]byte
	rand.NewChaCha8(seed).Read(file)
	if err := os.WriteFile(source, file, 0o644); err != nil {
		t.Fatal(err)
	}
	recv := exec.CommandContext(t.Context(), program, "recv", "--profile", "cable", "--device", "default", "-o", copied)
	recv.Env = r.station("b", "cable2", "cable1")
	said := new(bytes.Buffer)
	recv.Stderr = said
	if err := recv.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second)
	send := exec.CommandContext(t.Context(), program, "send", "--profile", "cable", "--device", "default", source)
	send.Env = r.station("a", "cable1", "cable2")
	out, err := send.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := recv.Wait(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	got, err := os.ReadFile(copied)
	if err != nil || !bytes.Equal(got, file) {
		t.Errorf("%d octets came, %v", len(got), err)
	}
	t.Logf("%s%s", out, said)
}

// pactl gives the server a command.
func (r *soundRig) pactl(args ...string) string {
	r.t.Helper()
	cmd := exec.Command("pactl", args...)
	cmd.Env = r.env("")
	out, err := cmd.Output()
	if err != nil {
		r.t.Fatalf("pactl %v: %v", args, err)
	}
	return string(out)
}

// pull takes all wires away while the server runs: of one alone the streams would
// go to another. put brings them back.
func (r *soundRig) pull() {
	r.t.Helper()
	for line := range strings.Lines(r.pactl("list", "short", "modules")) {
		if index, rest, _ := strings.Cut(line, "\t"); strings.HasPrefix(rest, "module-null-sink\t") {
			r.pactl("unload-module", index)
		}
	}
}

func (r *soundRig) put() {
	r.t.Helper()
	for _, w := range r.wires {
		r.pactl(append([]string{"load-module"}, wireModule(w, r.channels())...)...)
	}
}
