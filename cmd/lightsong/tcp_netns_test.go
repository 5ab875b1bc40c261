//go:build netnslong

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"lightsong/link"
)

// What a link carries between two hosts, with real daemons and the kernel's TCP and
// ping, over every sample of a simulated medium. Times are the medium's: it waits for
// its stations, so that on a busy machine the kernel's clock is faster than it. By
// how much is told beside the figures; the kernel's timers see a round trip that is
// so much longer.

// leadAt is an audio lead with an SNR, a level that its input was set to (docs/bench.md)
// and a queue discipline.
func leadAt(snr float64, duplex, queue string) medium {
	return medium{
		name: fmt.Sprintf("lead %g dB", snr),
		air: fmt.Sprintf(`
[room]
rt60_s = 0.0
own_echo = false
[station]
snr_db = %.1f
speaker_clip_dbfs = inf
mic_gain_db = -3.0
`, snr),
		audio: fmt.Sprintf("profile = \"cable\"\nduplex = %q\n[link]\nqueue = %q", duplex, queue),
	}
}

// roomAt is a room with two half-duplex stations that see 20 dB; more is TOML of them.
func roomAt(rt60, drr float64, more string) medium {
	return medium{
		name: fmt.Sprintf("room %g s", rt60),
		air: fmt.Sprintf(`
[room]
rt60_s = %g
drr_db = %g
[station]
snr_db = 20.0
[stations.a]
skew_ppm = 30.0
[stations.b]
skew_ppm = -30.0
%s
`, rt60, drr, more),
		audio: "profile = \"air\"\nduplex = \"half\"",
	}
}

// paced is a medium slower than real time, where LIGHTSONG_SPEED=0.5 says so: a machine
// that is busy with other things then has twice the time for what happens on it.
func paced(m medium) medium {
	if speed := os.Getenv("LIGHTSONG_SPEED"); speed != "" {
		m.air = fmt.Sprintf("speed = %s\n%s", speed, m.air)
	}
	return m
}

// tcpMedia are the media on which TestTCP measures, and what is asked of them.
var tcpMedia = []struct {
	medium
	oneWay, bothWays float64 // kb/s of TCP's payload, each way
	idle             float64 // ms, the mean of pings of 84 octets on an idle link
}{
	{leadAt(60, "full", "fq-codel"), 280, 250, 130},
	{leadAt(20, "full", "fq-codel"), 85, 0, 0},
	{leadAt(10, "full", "fq-codel"), 35, 0, 0},
	{leadAt(3, "full", "fq-codel"), 10, 0, 0},
	{roomAt(0.3, 3, ""), 40, 0, 250},
	{roomAt(0.5, -3, ""), 35, 0, 0},
}

// TestTCP measures 50 pings on an idle link and then a minute of TCP, one way and
// both ways at once.
func TestTCP(t *testing.T) {
	for _, tt := range tcpMedia {
		t.Run(tt.name, func(t *testing.T) {
			const pings = 50
			r := newPairRig(t, paced(tt.medium))
			t.Logf("the first ping, in which the stations find their modes: %.0f ms", r.pings(t, 1, time.Second))
			rtts := r.pings(t, pings, time.Second) // as ping does
			mean := 0.
			for _, rtt := range rtts {
				mean += rtt / float64(len(rtts))
			}
			t.Logf("idle: %d of %d pings, %s", len(rtts), pings, spread(rtts))
			if len(rtts) < pings || tt.idle > 0 && mean > tt.idle {
				t.Errorf("idle: %d of %d pings, mean %.0f ms, want all and %.0f ms", len(rtts), pings, mean, tt.idle)
			}
			check := func(name string, want float64, flows ...*flow) {
				scale, before := r.timeScale(), r.links(t)
				got := r.goodput(time.Minute, flows...)
				slow, after := scale(), r.links(t)
				for i, f := range flows {
					t.Logf("TCP %s %s %.1f kb/s, the medium at %.2f of real time; %s", name, f.name, got[i], slow, f.kernel())
					if got[i] < want {
						t.Errorf("TCP %s %s %.1f kb/s, want %g", name, f.name, got[i], want)
					}
				}
				for _, f := range flows {
					f.stop()
				}
				for i, a := range before {
					b := after[i]
					t.Logf("%s: %d bursts in %.1f s of airtime, %d frames, %d parity, %d again, %d silences; MCS %d; queue %+v", b.Station, b.Bursts.Sent-a.Bursts.Sent, (b.Airtime.Sent - a.Airtime.Sent).Seconds(),
						b.Frames.Sent-a.Frames.Sent, b.Frames.Parity-a.Frames.Parity, b.Frames.Repeated-a.Frames.Repeated, b.Bursts.Silence-a.Bursts.Silence, b.Peers[0].MCSOut, b.Queue)
				}
			}
			const settling = 15 * time.Second
			there := r.saturate(t, 0, 1, false)
			r.pass(settling)
			check("one way", tt.oneWay, there)
			there, back := r.saturate(t, 0, 1, false), r.saturate(t, 1, 0, false)
			r.pass(settling)
			check("both ways", tt.bothWays, there, back)
		})
	}
}

// TestTCPCarried carries the receiver of a TCP connection about at 0.5 m/s for ten
// seconds and puts it down again: the link lives through it, and from 5 s on the
// connection is back at four fifths of what it was, counted over the two long bursts that follow.
func TestTCPCarried(t *testing.T) {
	const lift, down, end = 75 * time.Second, 85 * time.Second, 130 * time.Second
	const still, after, patience = 30 * time.Second, 12 * time.Second, 5 * time.Second
	for _, c := range []struct{ rt60, drr float64 }{{0.3, 3}, {0.5, -3}} {
		m := roomAt(c.rt60, c.drr, fmt.Sprintf("speed_m_s = 0.5\nmove_start_s = %g\nmove_stop_s = %g", lift.Seconds(), down.Seconds()))
		t.Run(m.name, func(t *testing.T) {
			r := newPairRig(t, m)
			f := r.saturate(t, 0, 1, false)
			type sample struct {
				at     time.Duration
				octets int64
			}
			var samples []sample
			for r.time() < end {
				samples = append(samples, sample{r.time(), f.octets.Load()})
				if *traced && len(samples)%4 == 0 {
					l := patientStatus(t, r.sides[0].control).Link
					t.Logf("%6.2f s: %d octets; %s; MCS %d; queue %+v", r.time().Seconds(), f.octets.Load(), f.kernel(), l.Peers[0].MCSOut, l.Queue)
				}
				r.pass(250 * time.Millisecond)
			}
			rate := func(from, to time.Duration) float64 { // kb/s
				at := func(t time.Duration) int64 {
					i, _ := slices.BinarySearchFunc(samples, t, func(s sample, t time.Duration) int { return int(s.at - t) })
					return samples[min(i, len(samples)-1)].octets
				}
				return 8 * float64(at(to)-at(from)) / (to - from).Seconds() / 1000
			}
			came := func(t time.Duration) time.Duration { // the last octets until t
				i, _ := slices.BinarySearchFunc(samples, t, func(s sample, t time.Duration) int { return int(s.at - t) })
				for i = min(i, len(samples)-1); i > 1 && samples[i].octets == samples[i-1].octets; i-- {
				}
				return samples[i].at
			}
			usual := rate(came(lift-still), came(lift)) // bursts of 45 kB each 6 s, not cut by an end
			back := down
			for back+after < end && rate(back, back+after) < 0.8*usual {
				back += 250 * time.Millisecond
			}
			t.Logf("TCP %.1f kb/s still, %.1f carried, back at speed %v after it was put down, %.1f kb/s from there; %s",
				usual, rate(lift, down), back-down, rate(back, end), f.kernel())
			if back-down > patience || usual == 0 {
				t.Errorf("back at speed %v after it was put down, want %v", back-down, patience)
			}
		})
	}
}

// TestPingUnderTCP pings for two minutes, once a second, beside one TCP connection that
// saturates the link, without a discipline and with the link's own. The connection alone
// must not be slower with it; beside pings it is, at half duplex because bursts are then shorter, else by
// the time that pings take. (Beside pings a FIFO has no steady state: they come through it minutes later.)
func TestPingUnderTCP(t *testing.T) {
	for _, c := range []struct {
		snr    float64
		duplex string
		p95    float64 // ms, asked for
	}{{0, "full", 1000}, {12.5, "full", 400}, {12.5, "half", 0}} {
		fifo := 0.
		for _, queue := range []string{"fifo", "fq-codel"} {
			for _, ecn := range []bool{false, true} {
				if ecn && queue == "fifo" {
					continue
				}
				t.Run(fmt.Sprintf("%.1f dB %s duplex %s ECN %v", c.snr, c.duplex, queue, ecn), func(t *testing.T) {
					const pings, settling, alone = 120, time.Minute, 2 * time.Minute // what waits behind a hole counts late
					r := newPairRig(t, paced(leadAt(c.snr, c.duplex, queue)))
					f := r.saturate(t, 0, 1, ecn)
					r.pass(settling)
					scale := r.timeScale()
					goodput := r.goodput(alone, f)[0]
					from, octets := r.time(), f.octets.Load()
					rtts := r.pings(t, pings, time.Second)
					beside := f.kbps(octets, r.time()-from)
					l := patientStatus(t, r.sides[0].control).Link
					if queue == "fifo" {
						fifo = goodput
					}
					t.Logf("TCP alone %.1f kb/s, beside pings %.1f, %.3f of a FIFO alone; %d of %d pings, %s; the medium at %.2f of real time; MCS %d; queue %+v; headers %+v",
						goodput, beside, beside/fifo, len(rtts), pings, spread(rtts), scale(), l.Peers[0].MCSOut, l.Queue, l.Headers)
					if queue == "fifo" {
						return
					}
					if len(rtts) < pings*95/100 {
						t.Errorf("%d of %d pings came back", len(rtts), pings)
					} else if got := p95(rtts); c.p95 > 0 && got > c.p95 {
						t.Errorf("95 %% of the pings within %.0f ms, want %g", got, c.p95)
					}
					if goodput < 0.95*fifo {
						t.Errorf("TCP %.1f kb/s, want 95 %% of the %.1f of a FIFO", goodput, fifo)
					}
				})
			}
		}
	}
}

// links is what both daemons say of the link.
func (r *pairRig) links(t *testing.T) (l [2]link.Stats) {
	t.Helper()
	for i, s := range r.sides {
		l[i] = patientStatus(t, s.control).Link
	}
	return l
}

// timeScale begins a measurement; the function it returns tells how much of the
// medium's time has passed since, by real time.
func (r *pairRig) timeScale() func() float64 {
	began, clock := r.time(), time.Now()
	return func() float64 { return float64(r.time()-began) / float64(time.Since(clock)) }
}

// pass waits until so much of the medium's time has passed.
func (r *pairRig) pass(d time.Duration) {
	for end := r.time() + d; r.time() < end; {
		time.Sleep(20 * time.Millisecond)
	}
}

// flow is a TCP connection that always has more to send.
type flow struct {
	name   string
	octets atomic.Int64                // received
	conn   atomic.Pointer[net.TCPConn] // the sender's
	stop   func()
}

// tcpInfo is what the kernel says of a connection.
func tcpInfo(conn *net.TCPConn) (info *unix.TCPInfo, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var infoErr error
	err = raw.Control(func(fd uintptr) { info, infoErr = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	return info, errors.Join(err, infoErr)
}

// kernel is what the sending kernel says of the connection.
func (f *flow) kernel() string {
	conn := f.conn.Load()
	if conn == nil {
		return "not connected"
	}
	info, err := tcpInfo(conn)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("window %d segments, %d under way, round trip %d ms, timer %d ms, %d segments again, window there %d octets",
		info.Snd_cwnd, info.Unacked, info.Rtt/1000, info.Rto/1000, info.Total_retrans, info.Snd_wnd)
}

// kbps is what was received since octets had been, in so much time.
func (f *flow) kbps(octets int64, d time.Duration) float64 {
	return float64(8*(f.octets.Load()-octets)) / d.Seconds() / 1000
}

// goodput measures flows for so long of the medium's time, in kb/s.
func (r *pairRig) goodput(d time.Duration, flows ...*flow) []float64 {
	from, before, got := r.time(), make([]int64, len(flows)), make([]float64, len(flows))
	for i, f := range flows {
		before[i] = f.octets.Load()
	}
	r.pass(d)
	took := r.time() - from
	for i, f := range flows {
		got[i] = f.kbps(before[i], took)
	}
	return got
}

// saturate sends by TCP from one host to the other until stop, or the test's end.
func (r *pairRig) saturate(t *testing.T, from, to int, ecn bool) *flow {
	t.Helper()
	for _, h := range r.holders {
		err := inNetworkOf(h.pid(), func() error {
			return os.WriteFile("/proc/sys/net/ipv4/tcp_ecn", []byte(map[bool]string{false: "0", true: "1"}[ecn]), 0)
		})
		if err != nil {
			t.Fatalf("ECN %v: %v", ecn, err)
		}
	}
	listener, err := listenTCP(t.Context(), r.holders[to].pid(), net.JoinHostPort(r.sides[to].v4, "0"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f := &flow{name: r.sides[from].name + "→" + r.sides[to].name}
	var group errgroup.Group
	group.Go(func() error {
		defer listener.Close()
		defer context.AfterFunc(ctx, func() { listener.Close() })()
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { conn.Close() })()
		for buf := make([]byte, 4096); ; {
			n, err := conn.Read(buf)
			f.octets.Add(int64(n))
			if err != nil {
				return err
			}
		}
	})
	group.Go(func() error {
		conn, err := dialTCP(ctx, r.holders[from].pid(), listener.Addr().String())
		if err != nil {
			return err
		}
		defer conn.Close()
		f.conn.Store(conn)
		// What is under way when it stops would fill the link for seconds more.
		defer context.AfterFunc(ctx, func() { conn.SetLinger(0); conn.Close() })()
		random := rand.NewChaCha8([32]byte{byte(from)}) // nothing to compress
		for buf := make([]byte, 4096); ; {
			random.Read(buf)
			if _, err := conn.Write(buf); err != nil {
				return err
			}
		}
	})
	f.stop = func() {
		early := ctx.Err() == nil
		cancel()
		if err := group.Wait(); err != nil && early && !errors.Is(err, net.ErrClosed) && !errors.Is(err, context.Canceled) {
			t.Errorf("TCP %s: %v", f.name, err)
		}
	}
	t.Cleanup(f.stop)
	return f
}

// pings sends pings of 84 octets from the first host to the second, one each
// interval, and returns in milliseconds of the medium what those took that came back,
// the shortest first.
func (r *pairRig) pings(t *testing.T, n int, interval time.Duration) []float64 {
	t.Helper()
	scale := r.timeScale()
	rtts, err := pingsFrom(t.Context(), r.holders[0].pid(), r.sides[1].v4, n, interval)
	if err != nil {
		t.Fatal(err)
	}
	by := scale()
	for i := range rtts {
		rtts[i] *= by
	}
	return rtts
}

// pingsFrom sends pings of 84 octets from the host of a process, one each interval, and
// returns in milliseconds what those took that came back, the shortest first.
func pingsFrom(ctx context.Context, pid int, address string, n int, interval time.Duration) (rtts []float64, err error) {
	out := new(bytes.Buffer)
	err = inNetworkOf(pid, func() error {
		cmd := exec.CommandContext(ctx, "ping", "-n", "-c", strconv.Itoa(n), "-i", fmt.Sprint(interval.Seconds()), "-W", "20", address)
		cmd.Env = append(os.Environ(), "LC_ALL=C")
		cmd.Stdout = out
		err := cmd.Run()
		if exit := new(exec.ExitError); errors.As(err, &exit) && exit.ExitCode() == 1 {
			return nil // some did not come back: there are fewer
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(out.String()) {
		if m := pingReply.FindStringSubmatch(line); m != nil {
			v, err := strconv.ParseFloat(m[2], 64)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", line, err)
			}
			rtts = append(rtts, v)
		}
	}
	slices.Sort(rtts)
	return rtts, nil
}

// spread of times in ms, the shortest first.
func spread(ms []float64) string {
	if len(ms) == 0 {
		return "none"
	}
	mean := 0.
	for _, v := range ms {
		mean += v / float64(len(ms))
	}
	return fmt.Sprintf("least %.0f, median %.0f, mean %.0f, p95 %.0f, most %.0f ms", ms[0], ms[len(ms)/2], mean, p95(ms), ms[len(ms)-1])
}
