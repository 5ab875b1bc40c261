package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The rig of these tests is a real sound server, PulseAudio without hardware,
// with two null sinks as the two wires of a lead, and two real daemons on real
// PortAudio in a network namespace each:
//
//	namespace a                                                    namespace b
//	tun0 ─ lightsong up ─ sound process ─▶ sink cable1, monitor ─▶ sound process ─ lightsong up ─ tun0
//	                      PortAudio, ALSA ◀─ monitor, sink cable2 ◀─ ALSA, PortAudio
//
// Everything runs in real time. The daemons are of a binary that the test builds
// with sound; the test itself needs none. What it takes cannot be promised on a
// busy machine: `make audio` measures it, and `make test` wants no more than that
// the link comes up and a ping passes.

// soundRig is the sound server with its wires.
type soundRig struct {
	t      *testing.T
	dir    string
	socket string
	wires  []string // sinks
	pair   bool     // of two channels

	mu    sync.Mutex
	pulse *exec.Cmd
}

// lacks ends a test whose parts are not on this machine. It is a skip, which CI does
// not allow; `make audio`, whose tests run for nothing else, fails (sound_long_test.go).
var lacks = (*testing.T).Skip

// needSound ends the test where there is no sound server or no PortAudio.
func needSound(t *testing.T) {
	t.Helper()
	for _, program := range []string{"pulseaudio", "pactl"} {
		if _, err := exec.LookPath(program); err != nil {
			lacks(t, "no PulseAudio on this machine:", err)
		}
	}
	if out, err := exec.Command("pkg-config", "--exists", "portaudio-2.0").CombinedOutput(); err != nil {
		lacks(t, fmt.Sprintf("no PortAudio on this machine: %v %s", err, out))
	}
}

// soundBinary is lightsong with sound, built once.
var soundBinary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "lightsong-sound-test-")
	if err != nil {
		return "", err
	}
	atEnd = append(atEnd, func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "lightsong")
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "portaudio", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

// buildSound returns the path of lightsong with sound. It goes with the last
// test.
func buildSound(t *testing.T) string {
	t.Helper()
	built, err := soundBinary()
	if err != nil {
		t.Fatal(err)
	}
	return built
}

// newSoundRig starts a sound server with the given wires.
func newSoundRig(t *testing.T, wires ...string) *soundRig {
	t.Helper()
	return startSoundRig(&soundRig{t: t, dir: t.TempDir(), wires: wires})
}

func startSoundRig(r *soundRig) *soundRig {
	r.t.Helper()
	r.socket = filepath.Join(r.dir, "pulse.sock")
	r.start()
	r.t.Cleanup(func() { r.kill() })
	return r
}

// start starts the server and waits until its wires are there.
func (r *soundRig) start() {
	r.t.Helper()
	config := new(strings.Builder)
	fmt.Fprintf(config, ".fail\nload-module module-native-protocol-unix auth-anonymous=1 socket=%s\n", r.socket)
	for _, w := range r.wires {
		fmt.Fprintf(config, "load-module %s\n", strings.Join(wireModule(w, r.channels()), " "))
	}
	path := filepath.Join(r.dir, "rig.pa")
	if err := os.WriteFile(path, []byte(config.String()), 0o644); err != nil {
		r.t.Fatal(err)
	}
	os.Remove(r.socket)
	log, err := os.OpenFile(filepath.Join(r.dir, "pulse.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		r.t.Fatal(err)
	}
	defer log.Close()
	cmd := urgentCommand("pulseaudio", "-n", "-F", path, "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "--disable-shm=yes")
	cmd.Env = append(os.Environ(), "HOME="+r.dir, "XDG_RUNTIME_DIR="+r.dir)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	r.pulse = cmd
	r.mu.Unlock()
	waitFor(r.t, func() bool {
		list := exec.Command("pactl", "list", "short", "sinks")
		list.Env = r.env("")
		out, err := list.Output()
		return err == nil && bytes.Count(out, []byte("\n")) == len(r.wires)
	})
	// It has put its main thread, which serves its clients, back.
	_ = exec.Command("chrt", "-a", "-r", "-p", "5", strconv.Itoa(cmd.Process.Pid)).Run()
}

func (r *soundRig) channels() int {
	if r.pair {
		return 2
	}
	return 1
}

// wireModule is the module of PulseAudio that is a wire, with its arguments.
func wireModule(name string, channels int) []string {
	return []string{"module-null-sink", "sink_name=" + name, "format=float32le", "rate=48000", fmt.Sprintf("channels=%d", channels), "norewinds=1"}
}

// urgentCommand is a command whose process is put ahead of others where the system
// allows it. The sound server stands for hardware, which is never late; what is
// tested is not.
func urgentCommand(program string, args ...string) *exec.Cmd {
	for _, ahead := range [][]string{{"chrt", "-r", "5"}, {"nice", "-n", "-15"}} {
		if exec.Command(ahead[0], append(ahead[1:len(ahead):len(ahead)], "true")...).Run() == nil {
			args = append(append(ahead[1:len(ahead):len(ahead)], program), args...)
			program = ahead[0]
			break
		}
	}
	return exec.Command(program, args...)
}

// kill kills the server, without a word to anybody.
func (r *soundRig) kill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pulse != nil {
		_ = r.pulse.Process.Kill()
		_ = r.pulse.Wait()
		r.pulse = nil
	}
}

// env is the environment of a program that uses the server, with ALSA's
// configuration if there is one.
func (r *soundRig) env(alsa string) []string {
	env := append(os.Environ(), "HOME="+r.dir, "XDG_RUNTIME_DIR="+r.dir, "PULSE_SERVER=unix:"+r.socket)
	if alsa != "" {
		env = append(env, "ALSA_CONFIG_PATH="+alsa)
	}
	return env
}

// station is the environment of a station whose default card plays on one wire
// and listens to another.
func (r *soundRig) station(name, plays, listens string) []string {
	r.t.Helper()
	path := filepath.Join(r.dir, name+"-alsa.conf")
	// The card that cannot be opened is for Debian's PortAudio 19.6, which
	// breaks off by an assertion where every card can.
	text := fmt.Sprintf(`pcm.default {
	type asym
	playback.pcm { type pulse device %q }
	capture.pcm { type pulse device "%s.monitor" }
	hint { show on description "the test's lead" }
}
pcm.nothing { type hw card 99 }
`, plays, listens)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
	return r.env(path)
}

// soundDemo starts two daemons on the rig; each plays and listens as wires says,
// settings is the rest of its [audio], and then what follows is done before it
// waits for the link.
func soundDemo(t *testing.T, r *soundRig, wires map[string][2]string, settings string, octets int, then ...func(d *demo)) *demo {
	t.Helper()
	d := &demo{
		medium: medium{octets: octets}, count: 5, interval: "0.5", errs: testWriter{t}, started: time.Now(), dir: t.TempDir(),
		program: buildSound(t), env: map[string][]string{},
	}
	for name, w := range wires {
		d.env[name] = r.station(name, w[0], w[1])
	}
	t.Cleanup(func() {
		if err := d.stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
		if t.Failed() {
			d.showLogs()
		}
	})
	if err := d.startHosts(context.Background(), func(int) string { return "[audio]\ndevice = \"default\"\n" + settings }); err != nil {
		t.Fatal(err)
	}
	for _, f := range then {
		f(d)
	}
	if err := d.waitForLink(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

// lead is how the two ends of a lead use its wires.
var lead = map[string][2]string{"a": {"cable1", "cable2"}, "b": {"cable2", "cable1"}}

// TestSoundSmoke brings a link up over a real sound server. It promises nothing of
// time: buffers are long, and of many pings one has to come back.
func TestSoundSmoke(t *testing.T) {
	needSound(t)
	r := newSoundRig(t, "cable1", "cable2")
	d := soundDemo(t, r, lead, "profile = \"cable\"\nlatency_ms = 200", 0)
	d.count = 1
	const tries = 10
	for range tries {
		if err := d.ping(t.Context(), d.sides[0], d.sides[1], false); err != nil {
			t.Fatal(err)
		}
		if p := d.result.Pings[len(d.result.Pings)-1]; p.Received == 1 {
			return
		}
	}
	t.Errorf("none of %d pings came back", tries)
}
