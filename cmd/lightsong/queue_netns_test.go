//go:build netnslong

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// leadAt is an audio lead with an SNR and a queue discipline.
func leadAt(snr float64, duplex, queue string) medium {
	return medium{
		name: "lead",
		air: fmt.Sprintf(`
[room]
rt60_s = 0.0
own_echo = false
[station]
snr_db = %.1f
speaker_clip_dbfs = inf
`, snr),
		audio: fmt.Sprintf("profile = \"cable\"\nduplex = %q\n[link]\nqueue = %q", duplex, queue),
	}
}

var pingTime = regexp.MustCompile(`time=([\d.]+) ms`)

// TestPingUnderTCP pings for a minute, once a second, beside one TCP connection of
// the kernel's that saturates the link, over every sample of a simulated lead.
func TestPingUnderTCP(t *testing.T) {
	for _, c := range []struct {
		snr    float64
		duplex string
	}{{0, "full"}, {10, "full"}, {10, "half"}} {
		for _, queue := range []string{"fifo", "fq-codel"} {
			for _, ecn := range []bool{false, true} {
				if ecn && queue == "fifo" {
					continue
				}
				t.Run(fmt.Sprintf("%.0f dB %s duplex %s ECN %v", c.snr, c.duplex, queue, ecn), func(t *testing.T) {
					pingUnderTCP(t, leadAt(c.snr, c.duplex, queue), ecn)
				})
			}
		}
	}
}

func pingUnderTCP(t *testing.T, m medium, ecn bool) {
	d := newDemo(t, m, 1)
	from, to := d.sides[0], d.sides[1]
	for _, s := range d.sides {
		err := inNetworkOf(s.process.pid(), func() error {
			return os.WriteFile("/proc/sys/net/ipv4/tcp_ecn", []byte(map[bool]string{false: "0", true: "1"}[ecn]), 0)
		})
		if err != nil && ecn {
			t.Fatalf("no ECN in this kernel: %v", err)
		}
	}
	var listener net.Listener
	err := inNetworkOf(to.process.pid(), func() (err error) {
		listener, err = net.Listen("tcp4", net.JoinHostPort(to.v4, "7300"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	const warm, pings = 20 * time.Second, 60
	ctx, cancel := context.WithTimeout(t.Context(), warm+pings*time.Second)
	defer cancel()
	var group errgroup.Group
	octets := 0
	began := time.Now()
	group.Go(func() error {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { conn.Close() })()
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if time.Since(began) > warm {
				octets += n
			}
			if err != nil {
				return nil
			}
		}
	})
	group.Go(func() error {
		var conn net.Conn
		err := inNetworkOf(from.process.pid(), func() (err error) {
			conn, err = new(net.Dialer).DialContext(ctx, "tcp4", listener.Addr().String())
			return err
		})
		if err != nil {
			return err
		}
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { conn.Close() })()
		for {
			if _, err := conn.Write(make([]byte, 4096)); err != nil {
				return nil
			}
		}
	})
	time.Sleep(warm)
	out := new(bytes.Buffer)
	err = inNetworkOf(from.process.pid(), func() error {
		cmd := exec.Command("ping", "-n", "-c", strconv.Itoa(pings), "-i", "1", "-W", "20", to.v4)
		cmd.Env = append(os.Environ(), "LC_ALL=C")
		cmd.Stdout = out
		err := cmd.Run()
		if exit := new(exec.ExitError); errors.As(err, &exit) && exit.ExitCode() == 1 {
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	status, err := askStatus(t.Context(), from.control)
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(began) - warm
	cancel()
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	var rtts []float64
	for line := range strings.Lines(out.String()) {
		if m := pingTime.FindStringSubmatch(line); m != nil {
			v, _ := strconv.ParseFloat(m[1], 64)
			rtts = append(rtts, v)
		}
	}
	slices.Sort(rtts)
	if len(rtts) == 0 {
		t.Logf("TCP %.1f kb/s; no ping came back", float64(octets)*8/took.Seconds()/1000)
		return
	}
	l := status.Link
	t.Logf("TCP %.1f kb/s; %d of %d pings, median %.0f ms, p95 %.0f ms; MCS %d; queue %+v; headers %+v", float64(octets)*8/took.Seconds()/1000, len(rtts), pings,
		rtts[len(rtts)/2], rtts[len(rtts)*95/100], l.Peers[0].MCSOut, l.Queue, l.Headers)
	if strings.Contains(m.audio, "fq-codel") && len(rtts) < pings*95/100 {
		t.Errorf("%d of %d pings came back", len(rtts), pings)
	}
}
