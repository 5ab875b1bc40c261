package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"lightsong/firmware/emu/emutest"
)

// The hosts of these tests are network namespaces with the real daemon and a
// real tun0 each:
//
//	namespace a                                     namespace b
//	ping, TCP ─ tun0 ─ lightsong up ══ lightsong sim ══ lightsong up ─ tun0 ─ ping, TCP
//	                            unix socket     unix socket

// newDemo is a demo over a medium of the test's own, started and with its link
// up.
func newDemo(t *testing.T, m medium, count int) *demo {
	t.Helper()
	d := &demo{medium: m, count: count, interval: "1", errs: testWriter{t}, started: time.Now(), dir: t.TempDir()}
	t.Cleanup(func() {
		if err := d.stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
		if t.Failed() {
			d.showLogs()
		}
	})
	// Not the test's context: that ends before the cleanup that stops them.
	if err := d.start(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := d.waitForLink(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimRight(string(p), "\n"))
	return len(p), nil
}

// TestDemo is the main job as a user starts it.
func TestDemo(t *testing.T) {
	for _, m := range mediums {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			octets := m.octets / 3 // all media at once, on one machine
			args := []string{"demo", m.name, "--json", "--count", "3", "--octets", strconv.Itoa(octets)}
			if m.light {
				args = append(args, "--emulator", emutest.Folder(t))
			}
			cmd := exec.CommandContext(t.Context(), "/proc/self/exe", args...)
			errs := new(strings.Builder)
			cmd.Stderr = errs
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v\n%s", err, errs)
			}
			var r DemoResult
			if err := json.Unmarshal(out, &r); err != nil {
				t.Fatalf("%v in %s", err, out)
			}
			if !r.OK || len(r.Pings) != 4 || r.Transfer == nil || !r.Transfer.Exact || r.Transfer.Octets != octets || len(r.Stations) != 2 {
				t.Errorf("result %s", out)
			}
			if !strings.Contains(errs.String(), "link up") {
				t.Errorf("no progress on standard error: %q", errs)
			}
			t.Logf("link up %.1f s, TCP %.0f bit/s, all %.1f s", r.LinkUpS, r.Transfer.BPS, r.DurationS)
		})
	}
}

// TestLoss injects disturbances into the air that cost the wanted share of
// frames, and wants every ping and every octet across all the same.
func TestLoss(t *testing.T) {
	pings := 200
	if testing.Short() {
		pings = 10
	}
	for _, tt := range []struct {
		loss float64 // of frames
		want float64 // share of pings that come back
	}{{0, 1}, {0.1, 1}, {0.3, 0.99}} {
		t.Run(fmt.Sprintf("ping %.0f%%", 100*tt.loss), func(t *testing.T) {
			t.Parallel()
			d := newDemo(t, lossyCable(tt.loss), pings)
			if err := d.ping(t.Context(), d.sides[0], d.sides[1], false); err != nil {
				t.Fatal(err)
			}
			p := d.result.Pings[0]
			if got := float64(p.Received) / float64(p.Sent); got < tt.want || p.Sent != pings {
				t.Errorf("%d of %d pings came back, want %.0f %%", p.Received, p.Sent, 100*tt.want)
			}
			t.Logf("pings %d/%d, RTT %.0f/%.0f/%.0f ms; %s", p.Received, p.Sent, p.MinMS, p.AvgMS, p.MaxMS, lossSeen(t, d, tt.loss))
		})
		t.Run(fmt.Sprintf("TCP %.0f%%", 100*tt.loss), func(t *testing.T) {
			t.Parallel()
			d := newDemo(t, lossyCable(tt.loss), pings)
			if err := d.transfer(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !d.result.Transfer.Exact || d.result.Transfer.Octets != 20000 {
				t.Errorf("TCP: %+v", d.result.Transfer)
			}
			t.Logf("TCP %.0f bit/s; %s", d.result.Transfer.BPS, lossSeen(t, d, tt.loss))
		})
	}
}

// lossSeen tells which share of all frames the hosts lost, and wants it to be
// some where some were asked for.
func lossSeen(t *testing.T, d *demo, asked float64) string {
	t.Helper()
	var failed, received uint64
	for _, s := range d.sides {
		status := patientStatus(t, s.control)
		failed += status.Link.Frames.Failed
		received += status.Link.Frames.Received
	}
	// A short run has so few frames that none may be lost by chance.
	if asked > 0 && failed == 0 && !testing.Short() {
		t.Error("no frame was lost: the test shows nothing")
	}
	return fmt.Sprintf("frames lost: %.1f %% of %d (asked for %.0f %%)", 100*float64(failed)/float64(failed+received), failed+received, 100*asked)
}

// TestUpDown brings daemons up and down and wants nothing to be left.
func TestUpDown(t *testing.T) {
	dir := t.TempDir()
	d := &demo{medium: mediums[0], errs: testWriter{t}, started: time.Now(), dir: dir}
	if err := os.WriteFile(filepath.Join(dir, "air.toml"), []byte(fmt.Sprintf("socket = %q\n[room]\nrt60_s = 0.0", filepath.Join(dir, "air.sock"))), 0o644); err != nil {
		t.Fatal(err)
	}
	sim, err := d.spawn(t.Context(), "sim", 0, "sim", "-c", filepath.Join(dir, "air.toml"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := sim.end(); err != nil {
			t.Error(err)
		}
	}()
	control := filepath.Join(dir, "c.sock")
	config := filepath.Join(dir, "u.toml")
	text := fmt.Sprintf("[station]\nname = \"u\"\n[tun]\nname = \"lstest0\"\naddresses = [\"10.99.0.1/24\", \"fd99::1/64\"]\n[audio]\ndevice = \"air:%s\"\n[control]\nsocket = %q\n",
		filepath.Join(dir, "air.sock"), control)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}

	// In this network namespace, so that what is left behind can be seen.
	for range 5 {
		up, err := d.spawn(t.Context(), "u", 0, "up", "-c", config)
		if err != nil {
			t.Fatal(err)
		}
		waitFor(t, func() bool { s, err := askStatus(t.Context(), control); return err == nil && s.Medium })

		second := exec.CommandContext(t.Context(), "/proc/self/exe", "up", "-c", config)
		out, err := second.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "another lightsong answers") || strings.Count(string(out), "\n") != 1 {
			t.Errorf("a second daemon: %v, %q", err, out)
		}
		other := strings.Replace(text, control, control+"2", 1)
		if err := os.WriteFile(config+"2", []byte(other), 0o644); err != nil {
			t.Fatal(err)
		}
		second = exec.CommandContext(t.Context(), "/proc/self/exe", "up", "-c", config+"2")
		out, err = second.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "another program holds lstest0") {
			t.Errorf("a second daemon with its own control socket: %v, %q", err, out)
		}

		began := time.Now()
		if err := up.end(); err != nil {
			t.Error(err)
		}
		t.Logf("ended %v after SIGTERM", time.Since(began).Round(time.Millisecond))
		if _, err := netlink.LinkByName("lstest0"); err == nil {
			t.Error("the interface is still there")
		}
		if _, err := os.Stat(control); !os.IsNotExist(err) {
			t.Errorf("the control socket is still there: %v", err)
		}
	}
}

// TestCycles brings the daemon up and down in this process 50 times and counts
// descriptors; goleak counts goroutines at the end.
func TestCycles(t *testing.T) {
	dir := t.TempDir()
	airSocket := filepath.Join(dir, "air.sock")
	sim := new(simConfig)
	sim.Socket, sim.Speed = airSocket, new(0.0)
	background(t, func() error { return simulate(t.Context(), sim, discard()) })
	waitFor(t, func() bool { _, err := os.Stat(airSocket); return err == nil })
	config := new(upConfig)
	config.Station.Name = "u"
	config.Tun.Name, config.Tun.MTU = "lstest1", 1280
	config.Audio.Profile, config.Audio.Rate, config.Audio.Device = "fsk", 48000, airScheme+airSocket
	config.Audio.LevelDBFS = usualLevel
	config.Control.Socket = filepath.Join(dir, "c.sock")
	cycle := func() {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- up(ctx, config, discard()) }()
		waitFor(t, func() bool { s, err := askStatus(t.Context(), config.Control.Socket); return err == nil && s.Medium })
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	cycle()
	before := descriptors(t)
	for range 50 {
		cycle()
	}
	if after := descriptors(t); after > before+2 { // the runtime may open one of its own
		t.Errorf("%d descriptors before, %d after 50 cycles", before, after)
	}
	if _, err := netlink.LinkByName("lstest1"); err == nil {
		t.Error("the interface is still there")
	}
}

// TestMediumComesBack kills the simulated air under two hosts and starts it
// again.
func TestMediumComesBack(t *testing.T) {
	d := newDemo(t, lossyCable(0), 3)
	if err := d.sim.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-d.sim.done
	a := d.sides[0]
	waitFor(t, func() bool { s, err := askStatus(t.Context(), a.control); return err == nil && !s.Medium })
	var err error
	if d.sim, err = d.spawn(context.Background(), "sim", 0, "sim", "-c", filepath.Join(d.dir, "air.toml")); err != nil {
		t.Fatal(err)
	}
	if err := d.waitForLink(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := d.ping(t.Context(), a, d.sides[1], false); err != nil {
		t.Fatal(err)
	}
	if p := d.result.Pings[0]; p.Received == 0 {
		t.Errorf("after the medium came back: %+v", p)
	}
}

// TestUDPBroadcast sends to the broadcast address of the link.
func TestUDPBroadcast(t *testing.T) {
	d := newDemo(t, lossyCable(0), 1)
	a, b := d.sides[0], d.sides[1]
	var in net.PacketConn
	err := inNetworkOf(b.process.pid(), func() (err error) {
		in, err = net.ListenPacket("udp4", "10.73.0.255:7301")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	err = inNetworkOf(a.process.pid(), func() error {
		out, err := net.Dial("udp4", "10.73.0.255:7301")
		if err != nil {
			return err
		}
		defer out.Close()
		_, err = io.WriteString(out, "to all")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	in.SetReadDeadline(time.Now().Add(60 * time.Second))
	buf := make([]byte, 100)
	n, _, err := in.ReadFrom(buf)
	if err != nil || string(buf[:n]) != "to all" {
		t.Errorf("received %q, %v", buf[:n], err)
	}
}
