package emu_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"lightsong/firmware/emu"
)

var built bool

var build = sync.OnceValues(func() (string, error) {
	// What the build reads is read here too, or go test would not see it change.
	for _, pattern := range []string{"Makefile", "core/*", "avr/*", "boards/*"} {
		files, _ := filepath.Glob(filepath.Join("..", pattern))
		boards, _ := filepath.Glob(pattern)
		for _, name := range append(files, boards...) {
			if _, err := os.ReadFile(name); err != nil {
				return "", err
			}
		}
	}
	dir, err := os.MkdirTemp("", "firmware")
	if err != nil {
		return "", err
	}
	out, err := exec.Command("make", "-s", "-C", "..", "emu", "BUILD="+dir).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("make -C firmware emu: %w\n%s", err, out)
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if built {
		if dir, err := build(); err == nil {
			_ = os.RemoveAll(dir)
		}
	}
	os.Exit(code)
}

// needs skips the test where the machine lacks what it takes to build the image
// and to run it.
func needs(t testing.TB) string {
	t.Helper()
	for _, tool := range []string{"make", "gcc", "avr-gcc"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed (Debian: make gcc gcc-avr avr-libc)", tool)
		}
	}
	if err := exec.Command("gcc", "-E", "-o", os.DevNull, "-include", "simavr/sim_avr.h", "-x", "c", os.DevNull).Run(); err != nil {
		t.Skip("simavr is not installed (Debian: libsimavr-dev libelf-dev)")
	}
	if runtime.GOOS != "linux" {
		t.Skip("the emulator runs on Linux")
	}
	built = true
	dir, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

type rig struct {
	*emu.Rig
	t      testing.TB
	kept   time.Duration // when the hosts last spoke to keep the speed
	silent bool
}

func start(t testing.TB, c emu.Config) *rig {
	t.Helper()
	dir := needs(t)
	c.Program = filepath.Join(dir, "emu")
	c.Image = filepath.Join(dir, "lightsong-atmega328p.hex")
	r, err := emu.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return &rig{Rig: r, t: t}
}

// step also keeps the boards' speed, as a host must who has nothing else to say.
func (r *rig) step() {
	r.t.Helper()
	if r.Now()-r.kept > 900*time.Millisecond && !r.silent {
		r.kept = r.Now()
		for _, h := range r.Hosts {
			if h.Queued() == 0 {
				h.Say(emu.Credit)
			}
		}
	}
	if err := r.Step(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) run(d time.Duration) {
	r.t.Helper()
	for end := r.Now() + d; r.Now() < end; {
		r.step()
	}
}

// ask says something to a board and waits for its answer.
func (r *rig) ask(board int, answer byte, content ...byte) emu.Frame {
	r.t.Helper()
	r.Hosts[board].Say(content...)
	return r.await(board, answer, time.Second)
}

func (r *rig) await(board int, kind byte, patience time.Duration) emu.Frame {
	r.t.Helper()
	for end := r.Now() + patience; r.Now() < end; {
		if f, ok := r.Hosts[board].Take(kind); ok {
			return f
		}
		r.step()
	}
	r.t.Fatalf("board %d: no message %#x within %v; it said %x, %d bad frames", board, kind, patience, r.Hosts[board].Frames, r.Hosts[board].Bad)
	return emu.Frame{}
}

// open says hello to all boards and raises their speed.
func (r *rig) open(baud uint32) {
	r.t.Helper()
	r.run(20 * time.Millisecond)
	for i := range r.Hosts {
		r.ask(i, emu.Info, emu.Hello, 1, 0)
		if baud == 115200 {
			continue
		}
		r.ask(i, emu.BaudAnswer, binary.LittleEndian.AppendUint32([]byte{emu.Baud}, baud)...)
		if err := r.Speed(i, baud); err != nil {
			r.t.Fatal(err)
		}
		r.run(2 * time.Millisecond)
		r.ask(i, emu.Info, emu.Hello, 1, 0)
	}
}

func (r *rig) report(board int) emu.Report {
	r.t.Helper()
	report, err := r.Report(board)
	if err != nil {
		r.t.Fatal(err)
	}
	return report
}
