//go:build audio

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSoundLead brings a link up over a real sound server and pings across it.
func TestSoundLead(t *testing.T) {
	needSound(t)
	r := newSoundRig(t, "cable1", "cable2")
	d := soundDemo(t, r, lead, `profile = "cable"`, 0)
	for i, from := range d.sides {
		if err := d.ping(t.Context(), from, d.sides[1-i], false); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range d.result.Pings {
		if p.Received != p.Sent {
			t.Errorf("%d of %d pings came back", p.Received, p.Sent)
		}
	}
	for _, s := range d.sides {
		status, err := askStatus(t.Context(), s.control)
		if err != nil {
			t.Fatal(err)
		}
		if !status.Medium || status.Opened != 1 || !(status.LatencyMS >= 20 && status.LatencyMS <= 500) {
			t.Errorf("%s: medium %v, opened %d times, latency %v ms", s.name, status.Medium, status.Opened, status.LatencyMS)
		}
		quiet(t, d, s.name, 5)
		urgentThreads(t, s.process.pid())
	}
}

// urgentThreads wants every thread of a daemon's sound process, the sound library's
// among them, to be scheduled in real time, where that is allowed.
func urgentThreads(t *testing.T, daemon int) {
	t.Helper()
	if exec.Command("chrt", "-r", "5", "true").Run() != nil {
		t.Log("real-time scheduling is not allowed here")
		return
	}
	for _, child := range children(t, daemon) {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", child))
		if err != nil || len(threads) < 3 {
			t.Fatalf("the threads of a sound process: %v, %v", threads, err)
		}
		for _, thread := range threads {
			id, err := strconv.Atoi(filepath.Base(thread))
			if err != nil {
				t.Fatal(err)
			}
			attr, err := unix.SchedGetAttr(id, 0)
			if err != nil {
				t.Fatal(err)
			}
			if attr.Policy != unix.SCHED_RR {
				name, _ := os.ReadFile(filepath.Join(thread, "comm"))
				t.Errorf("thread %d (%s) has policy %d, want %d", id, strings.TrimSpace(string(name)), attr.Policy, unix.SCHED_RR)
			}
		}
	}
}

// quiet wants a daemon's log to be its own lines alone, not more than most, and
// no two of the medium within a second.
func quiet(t *testing.T, d *demo, name string, most int) {
	t.Helper()
	text, err := os.ReadFile(d.logOf(name))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) > most {
		t.Errorf("%s has written %d lines, want at most %d:\n%s", name, len(lines), most, text)
	}
	var last time.Time
	for _, l := range lines {
		stamp, ok := strings.CutPrefix(l, "time=")
		if !ok {
			t.Errorf("%s: a line that is not the daemon's: %q", name, l)
			continue
		}
		at, err := time.Parse("2006-01-02T15:04:05.000Z07:00", strings.Fields(stamp)[0])
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(l, "medium") {
			if d := at.Sub(last); d < 990*time.Millisecond {
				t.Errorf("%s: %v after the line before: %q", name, d, l)
			}
			last = at
		}
	}
}

// TestSoundDevices lists the devices of the rig, and none where there is none.
func TestSoundDevices(t *testing.T) {
	needSound(t)
	program := buildSound(t)
	list := func(env []string) Devices {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), program, "devices", "--json")
		cmd.Env = env
		errs := new(strings.Builder)
		cmd.Stderr = errs
		out, err := cmd.Output()
		if err != nil || errs.Len() > 0 {
			t.Fatalf("%v, on standard error %q", err, errs)
		}
		var d Devices
		if err := json.Unmarshal(out, &d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	r := newSoundRig(t, "cable1")
	got := list(r.station("a", "cable1", "cable1"))
	found := false
	for _, d := range got.Devices {
		if d.Device == "pa:default" {
			found = d.DefaultInput && d.DefaultOutput && d.Inputs > 0 && d.Outputs > 0 && len(d.Rates) > 0 && d.API == "ALSA"
		}
	}
	if !found {
		t.Errorf("the rig's default card is not among %+v", got)
	}

	none := filepath.Join(t.TempDir(), "none.conf")
	if err := os.WriteFile(none, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := list(append(os.Environ(), "ALSA_CONFIG_PATH="+none)); len(got.Devices) != 0 {
		t.Errorf("devices where none is configured: %+v", got)
	}
	cmd := exec.CommandContext(t.Context(), program, "send", "--device", "pa:nobody", "--rate", "48000", "/proc/self/cmdline")
	cmd.Env = append(os.Environ(), "ALSA_CONFIG_PATH="+none)
	out, err := cmd.CombinedOutput()
	if exit := new(exec.ExitError); !errors.As(err, &exit) || bytes.Count(out, []byte("\n")) != 1 ||
		!bytes.Contains(out, []byte("no such sound device")) && !bytes.Contains(out, []byte("Assertion")) { // Debian's PortAudio 19.6
		t.Errorf("sending to a device that is not there: %v, %q", err, out)
	}
}
