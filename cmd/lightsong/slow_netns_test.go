//go:build netnslong

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"lightsong/modem/line"
	"lightsong/phy/audio"
)

// What TCP, ping and the programs that people use do on links of 1 to 5 kb/s: real
// daemons, the kernel's TCP, the programs of the distribution. Nothing is set for slow links, in
// the daemon or in the kernel.

// slowLink is a medium and the rate of its fastest mode that holds there, as
// `lightsong modes` tells it.
type slowLink struct {
	medium
	bps float64
}

// slowLight is light between two bare UARTs, full duplex. The comparator's coupling suits
// the baud rate, the adapter's queue is the shortest there is.
func slowLight(baud int) slowLink {
	modes := line.U6Modes(baud)
	return slowLink{medium{
		name: fmt.Sprintf("light at %d baud", baud),
		uart: fmt.Sprintf("baud = %d\nseed = 1\n[room]\nambient_lux = 0.0\nadapter_octets = 64\n[station]\nhigh_pass_hz = 20.0\n", baud),
		led:  fmt.Sprintf("baud = %d", baud),
	}, modes[len(modes)-1].NetBPS}
}

// slowSound is sound without echoes at an SNR at which an MCS of a profile is the fastest that
// holds. Buffers are of either direction of each device, ms.
func slowSound(t *testing.T, profile, duplex string, mcs int, snr, buffers float64) slowLink {
	m, err := audio.OpenModem(profile, 48000)
	if err != nil {
		t.Fatal(err)
	}
	return slowLink{medium{
		name: fmt.Sprintf("%s at %.1f dB, %s duplex, buffers of %.0f ms", profile, snr, duplex, buffers),
		air: fmt.Sprintf(`
[room]
rt60_s = 0.0
own_echo = false
[station]
snr_db = %.1f
speaker_clip_dbfs = inf
buffer_in_ms = %.1f
buffer_out_ms = %.1f
`, snr, buffers, buffers),
		audio: fmt.Sprintf("profile = %q\nduplex = %q", profile, duplex),
	}, m.Modes[mcs].NetBPS}
}

// start brings the link up and lets the stations find their modes.
func (l slowLink) start(t *testing.T) *demo {
	t.Helper()
	d := newDemo(t, l.medium, 1)
	for _, s := range []int{0, 1} {
		if err := d.ping(t.Context(), d.sides[s], d.sides[1-s], false); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// stopped is for how long the medium stood still because the machine was busy. The kernel's
// timers went on.
func stopped(t *testing.T, d *demo) time.Duration {
	return patientStatus(t, d.sides[0].control).Link.Standstill
}

// upload is what came of a TCP connection from the first host to the second.
type upload struct {
	took    time.Duration // from connect to the last octet, less what the medium stood still
	kernel  int           // segments that the sender's kernel repeated
	carried int           // of them, those that went over the medium
}

// uploads sends octets that cannot be compressed.
func uploads(t *testing.T, d *demo, octets int) (u upload) {
	t.Helper()
	from, to := d.sides[0], d.sides[1]
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	file := make([]byte, octets)
	rand.NewChaCha8([32]byte{7}).Read(file)
	listener, err := listenTCP(t.Context(), to.process.pid(), net.JoinHostPort(to.v4, "7300"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	before := patientStatus(t, from.control).Link.Queue.Repeated
	still, began := stopped(t, d), time.Now()
	hash := sha256.New()
	var group errgroup.Group
	group.Go(func() error {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { conn.Close() })()
		_, err = io.CopyN(hash, conn, int64(octets))
		u.took = time.Since(began)
		return err
	})
	group.Go(func() error {
		conn, err := dialTCP(ctx, from.process.pid(), listener.Addr().String())
		if err != nil {
			listener.Close()
			return err
		}
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { conn.Close() })()
		if _, err := conn.Write(file); err != nil {
			return err
		}
		if err := conn.CloseWrite(); err != nil {
			return err
		}
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) { // then all is acknowledged
			return err
		}
		info, err := tcpInfo(conn)
		if err == nil {
			u.kernel = int(info.Total_retrans)
		}
		return err
	})
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	u.took -= stopped(t, d) - still
	u.carried = max(0, u.kernel-int(patientStatus(t, from.control).Link.Queue.Repeated-before))
	if want := sha256.Sum256(file); !bytes.Equal(hash.Sum(nil), want[:]) {
		t.Error("the octets arrived damaged")
	}
	return u
}

// TestSlowTCP sends 4000 octets at 2 to 3 kb/s where an answer takes 300 ms to come back:
// nothing is lost, so nothing need be sent twice.
func TestSlowTCP(t *testing.T) {
	for _, l := range []slowLink{slowSound(t, "fsk", "half", 4, -1, 130), slowLight(3600)} {
		t.Run(l.name, func(t *testing.T) {
			d := l.start(t)
			u := uploads(t, d, 4000)
			t.Logf("%.0f b/s, turnaround %v: 4000 octets in %.1f s; the kernel repeated %d segments, %d were sent again", l.bps,
				patientStatus(t, d.sides[0].control).Link.Turnaround, u.took.Seconds(), u.kernel, u.carried)
			if u.carried > 2 {
				t.Errorf("%d segments were sent again, want at most 2", u.carried)
			}
		})
	}
}

// TestSlowShare measures which share of a link's rate TCP has, alone and beside a ping
// every three seconds, and how long those take.
func TestSlowShare(t *testing.T) {
	for _, l := range []slowLink{slowSound(t, "fsk", "half", 4, -1, 10), slowLight(3600), slowLight(2400)} {
		t.Run(l.name, func(t *testing.T) {
			d := l.start(t)
			from, to := d.sides[0], d.sides[1]
			const octets, beneath, pings = 16000, 32000, 60 // the latter as long as the pings
			alone := uploads(t, d, octets)
			var rtts []float64 // ms
			var group errgroup.Group
			group.Go(func() (err error) {
				rtts, err = pingsFrom(t.Context(), from.process.pid(), to.v4, pings, 3*time.Second)
				return err
			})
			beside := uploads(t, d, beneath)
			if err := group.Wait(); err != nil {
				t.Fatal(err)
			}
			if len(rtts) < pings {
				t.Fatalf("%d of %d pings came back", len(rtts), pings)
			}
			share := func(u upload, octets float64) float64 { return 8 * octets / u.took.Seconds() / l.bps * 100 }
			t.Logf("%.0f b/s: TCP %.0f %% of it, beside a ping every 3 s %.0f %%; %d of %d pings, %s; the kernel repeated %d and %d segments, %d and %d were sent again",
				l.bps, share(alone, octets), share(beside, beneath), len(rtts), pings, spread(rtts), alone.kernel, beside.kernel, alone.carried, beside.carried)
		})
	}
}

// TestSlowServices: ssh, HTTP and MQTT at 5 kb/s, by the programs of the distribution.
func TestSlowServices(t *testing.T) {
	for _, program := range []string{"/usr/sbin/sshd", "ssh", "ssh-keygen", "curl", "/usr/sbin/mosquitto", "mosquitto_pub"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%v: Debian's openssh-server, openssh-client, curl, mosquitto and mosquitto-clients are needed", err)
		}
	}
	for _, l := range []slowLink{slowLight(9600), slowSound(t, "cable", "full", 10, -4.5, 10)} {
		t.Run(l.name, func(t *testing.T) {
			d := l.start(t)
			a, b := d.sides[0], d.sides[1]
			dir := t.TempDir()
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			must(os.Chmod(dir, 0o755)) // for a broker that drops its privileges
			file := func(name, text string, mode os.FileMode) string {
				path := filepath.Join(dir, name)
				must(os.WriteFile(path, []byte(text), mode))
				return path
			}
			serve := func(args ...string) {
				t.Helper()
				must(inNetworkOf(b.process.pid(), func() error {
					cmd := exec.Command(args[0], args[1:]...)
					cmd.Stdout, cmd.Stderr = nil, nil
					if err := cmd.Start(); err != nil {
						return err
					}
					t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
					return nil
				}))
			}
			// first is how long a program of host a takes until its first line of output, or its end.
			first := func(args ...string) (took time.Duration, said string) {
				t.Helper()
				errs := new(bytes.Buffer)
				still, began := stopped(t, d), time.Now()
				err := inNetworkOf(a.process.pid(), func() error {
					cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
					cmd.Stderr = errs
					out, err := cmd.StdoutPipe()
					if err != nil {
						return err
					}
					if err := cmd.Start(); err != nil {
						return err
					}
					said, _ = bufio.NewReader(out).ReadString('\n')
					took = time.Since(began)
					return cmd.Wait()
				})
				if err != nil {
					t.Fatalf("%s: %v\n%s", args[0], err, errs)
				}
				return took - (stopped(t, d) - still), said
			}
			median := func(n int, what string, run func() time.Duration) {
				var all []time.Duration
				for range n {
					all = append(all, run())
				}
				slices.Sort(all)
				t.Logf("%.0f b/s: %s: median %.1f s of %v", l.bps, what, all[n/2].Seconds(), all)
			}

			for _, key := range []string{"host", "user"} {
				first("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, key))
			}
			public, err := os.ReadFile(filepath.Join(dir, "user.pub"))
			must(err)
			must(os.MkdirAll("/run/sshd", 0o755)) // sshd's chroot, made by its service else
			serve("/usr/sbin/sshd", "-D", "-f", file("sshd_config", fmt.Sprintf(
				"ListenAddress %s\nHostKey %s\nAuthorizedKeysFile %s\nStrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\n",
				b.v4, filepath.Join(dir, "host"), file("authorized", string(public), 0o600)), 0o600))
			serve("/usr/sbin/mosquitto", "-c", file("mosquitto.conf", fmt.Sprintf("listener 1883 %s\nallow_anonymous true\n", b.v4), 0o644))
			page := make([]byte, 10000)
			rand.NewChaCha8([32]byte{9}).Read(page)
			listener, err := listenTCP(t.Context(), b.process.pid(), net.JoinHostPort(b.v4, "80"))
			must(err)
			server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", strconv.Itoa(len(page)))
				w.Write(page)
			}), ReadHeaderTimeout: time.Minute}
			go server.Serve(listener)
			t.Cleanup(func() { server.Close() })
			time.Sleep(5 * time.Second) // broker and sshd are there

			median(3, "ssh login, to the first output of a command", func() time.Duration {
				took, said := first("ssh", "-F", "none", "-o", "KexAlgorithms=curve25519-sha256", "-o", "HostKeyAlgorithms=ssh-ed25519", "-o", "IdentitiesOnly=yes",
					"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile="+filepath.Join(dir, "known"), "-i", filepath.Join(dir, "user"), "root@"+b.v4, "echo in")
				if said != "in\n" {
					t.Errorf("ssh said %q", said)
				}
				return took
			})
			median(3, "HTTP of 10000 octets", func() time.Duration {
				path := filepath.Join(dir, "page")
				took, _ := first("curl", "-sS", "-o", path, "http://"+b.v4+"/")
				got, err := os.ReadFile(path)
				must(err)
				if !bytes.Equal(got, page) {
					t.Error("the page arrived damaged")
				}
				return took
			})
			median(5, "MQTT publish with QoS 1, from connect to disconnect", func() time.Duration {
				took, _ := first("mosquitto_pub", "-h", b.v4, "-q", "1", "-t", "room/temperature", "-m", "21.5")
				return took
			})
		})
	}
}
