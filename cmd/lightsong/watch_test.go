package main

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lightsong/link"
)

// looked is a status with one peer, after some seconds of a link that carries
// 1000 octets a second out and 250 in, 40 % of the time.
func looked(seconds int) *Status {
	n := uint64(seconds)
	snr := 20.5
	return &Status{Interface: "tun0", Profile: "cable", Device: "air:x", Medium: true, Link: link.Stats{
		Station: "a", Up: true, Epoch: 7,
		Airtime: link.AirtimeStats{Sent: time.Duration(seconds) * 400 * time.Millisecond, Busy: time.Duration(seconds) * 100 * time.Millisecond},
		Packets: link.PacketStats{In: n},
		Peers: []link.PeerStats{{
			Name: "b", Address: 0x1234, State: link.PeerUp, LastHeard: time.Unix(int64(seconds)-2, 0), SNR: &snr, MCSOut: 30, MCSIn: 31,
			OctetsOut: 1000 * n, OctetsIn: 250 * n, Repaired: 2 * n, Repeated: 3 * n, Loss: 0.05, RTT: 120 * time.Millisecond,
			Airtime: link.PeerAirtime{Sent: time.Duration(seconds) * 400 * time.Millisecond, Heard: time.Duration(seconds) * 100 * time.Millisecond},
		}},
	}}
}

// TestSample: rates are those between two looks; the first one, and the first at
// a daemon that was started anew, has none.
func TestSample(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	first := newSample(at(10), nil, looked(10))
	if first.IntervalS != 0 || first.Peers[0].OutBPS != 0 || first.Peers[0].Name != "b" {
		t.Errorf("first %+v", first)
	}
	second := newSample(at(14), first, looked(14))
	want := PeerRate{Name: "b", Address: 0x1234, State: link.PeerUp, OutBPS: 8000, InBPS: 2000, Repaired: 8, Repeated: 12, AirtimeSent: 0.4, AirtimeHeard: 0.1}
	if got := second.Peers[0]; got != want || second.IntervalS != 4 || second.Airtime != (ShareStats{0.4, 0.1}) {
		t.Errorf("second %+v, %+v", got, second)
	}
	anew := looked(1)
	anew.Link.Epoch++
	if x := newSample(at(15), second, anew); x.IntervalS != 0 || x.Peers[0].OutBPS != 0 {
		t.Errorf("after a restart %+v", x)
	}
	stranger := looked(16)
	stranger.Link.Peers[0].Address++
	if x := newSample(at(16), second, stranger); x.IntervalS != 2 || x.Peers[0].OutBPS != 0 {
		t.Errorf("a new peer %+v", x)
	}
	lost := &Sample{At: at(17), Error: "no daemon answers"}
	if x := newSample(at(18), lost, looked(18)); x.IntervalS != 0 {
		t.Errorf("after a look without answer %+v", x)
	}
}

// TestScreen: what is drawn fits the terminal.
func TestScreen(t *testing.T) {
	x := newSample(time.Unix(14, 0), newSample(time.Unix(10, 0), nil, looked(10)), looked(14))
	for _, size := range [][2]int{{200, 24}, {40, 24}, {80, 3}, {1, 2}} {
		text := string(screen(x, time.Second, size[0], size[1]))
		if !strings.HasPrefix(text, homeClear) || !strings.HasSuffix(text, eraseBelow) {
			t.Errorf("%v: %q", size, text)
		}
		text = strings.NewReplacer(homeClear, "", eraseBelow, "", eraseLine, "", clearAll, "").Replace(text)
		lines := strings.Split(text, "\r\n")
		if len(lines) > size[1] {
			t.Errorf("%v: %d lines", size, len(lines))
		}
		for _, l := range lines {
			if n := len([]rune(l)); n > size[0] {
				t.Errorf("%v: line of %d characters: %q", size, n, l)
			}
		}
		if size[0] == 200 {
			for _, want := range []string{"8.0 kb/s / 2.0 kb/s", "120 ms", "20.5/– dB", "30/31", "40/10 %", "5/0 %", "up"} {
				if !strings.Contains(text, want) {
					t.Errorf("no %q in %s", want, text)
				}
			}
		}
	}
}

// TestSenseWords: a carrier sense that is not to be believed is told of by status and watch, another one is not.
func TestSenseWords(t *testing.T) {
	for _, c := range []struct {
		stuck, unsensed uint64
		want            []string
	}{{0, 0, nil}, {3, 0, []string{"ignored 3 times"}}, {0, 12, []string{"deaf to 12 bursts", "200ms longer"}}, {1, 2, []string{"ignored 1 times", "deaf to 2 bursts"}}} {
		s := looked(10)
		s.Link.Hostile.StuckBusy, s.Link.Hostile.Unsensed, s.Link.Sensing = c.stuck, c.unsensed, 190*time.Millisecond
		var status bytes.Buffer
		if err := s.print(&status, time.Unix(10, 0)); err != nil {
			t.Fatal(err)
		}
		watch := string(screen(newSample(time.Unix(10, 0), nil, s), time.Second, 300, 24))
		for _, text := range []string{status.String(), watch} {
			if strings.Contains(text, "carrier") != (len(c.want) > 0) {
				t.Errorf("%d, %d: %s", c.stuck, c.unsensed, text)
			}
			for _, want := range c.want {
				if !strings.Contains(text, want) {
					t.Errorf("%d, %d: no %q in %s", c.stuck, c.unsensed, want, text)
				}
			}
		}
	}
}

// TestWatch asks a control socket several times, as lines and as JSON, and tells
// of a daemon that goes and comes back.
func TestWatch(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "c.sock")
	var asked atomic.Int32
	serve := func() (stop func()) {
		l, err := listenControl(t.Context(), socket)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- serveControl(ctx, l, func(context.Context) Status { return *looked(int(asked.Add(1))) })
		}()
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	stop := serve()
	code, out, errs := lightsong(t, "status", "--control", socket, "--watch", "--json", "--count", "3", "--interval", "100ms")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	var samples []Sample
	for dec := json.NewDecoder(strings.NewReader(out)); dec.More(); {
		var x Sample
		if err := dec.Decode(&x); err != nil {
			t.Fatal(err)
		}
		samples = append(samples, x)
	}
	if strings.Count(out, "\n") != 3 || len(samples) != 3 || samples[0].IntervalS != 0 || samples[2].IntervalS < 0.05 || samples[2].Peers[0].OutBPS <= 0 || samples[2].Status.Link.Station != "a" {
		t.Errorf("%d samples: %s", len(samples), out)
	}
	code, out, _ = lightsong(t, "status", "--control", socket, "--watch", "--count", "2", "--interval", "100ms")
	if code != 0 || strings.Count(out, "\n") != 2 {
		t.Errorf("exit %d, %q", code, out)
	}
	for _, want := range []string{
		"a–b up, heard .* ago, SNR 20.5/– dB, MCS 30/31, out 0 b/s, in 0 b/s, loss 5/0 %, repaired 0, repeated 0, RTT 120 ms, queue 0 B, airtime 0/0 %\n",
		"out [1-9].* kb/s, in [1-9].* kb/s, loss 5/0 %, repaired 2, repeated 3, RTT 120 ms, queue 0 B, airtime [1-9][0-9]*/[1-9][0-9]* %\n",
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("no %q in %s", want, out)
		}
	}

	stop()
	var b bytes.Buffer
	w := watcher{socket: socket, every: shortestWatch, samples: 4}
	w.out = &b
	if err := w.run(t.Context()); err == nil {
		t.Error("a daemon that never answered is no error")
	}
	stop = serve()
	w.out = &stepped{to: &b, steps: []func(){func() { stop() }, func() { stop = serve() }}}
	err := w.run(t.Context())
	stop()
	if lines := strings.Split(b.String(), "\n"); err != nil || len(lines) != 5 || !strings.Contains(lines[0], "a–b up") || !strings.Contains(lines[1], "no daemon answers") || !strings.Contains(lines[3], "a–b up") {
		t.Errorf("%v: %s", err, b.Bytes())
	}
	if code, _, errs := lightsong(t, "status", "--watch", "--interval", "1ms"); code != 2 || !strings.Contains(errs, "at least 100ms") {
		t.Errorf("exit %d, %s", code, errs)
	}
}

// stepped does something after each of the first lines.
type stepped struct {
	to    *bytes.Buffer
	steps []func()
}

func (s *stepped) Write(p []byte) (int, error) {
	n, err := s.to.Write(p)
	if len(s.steps) > 0 {
		s.steps[0]()
		s.steps = s.steps[1:]
	}
	return n, err
}
