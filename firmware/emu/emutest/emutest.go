// Package emutest builds the firmware's images and the emulator for tests, once
// for each test program, and starts rigs. A test is skipped where the machine
// lacks what that takes.
//
//	func TestMain(m *testing.M) { os.Exit(emutest.Main(m)) }
package emutest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lightsong/firmware/emu"
)

// The images, by the kind of board.
const (
	Comparator = "lightsong-atmega328p.hex"     // a photodiode hears
	OneLED     = "lightsong-atmega328p-led.hex" // the LED that sends hears too
	HostLED    = "lightsong-host-led.so"        // the same, built for this machine
)

var (
	built     []string
	emulator  = sync.OnceValues(func() (string, error) { return build("emu") })
	hostBuild = sync.OnceValues(func() (string, error) { return build("host") })
)

// build makes a target of firmware/Makefile in a folder of its own.
func build(target string) (string, error) {
	root, err := firmware()
	if err != nil {
		return "", err
	}
	// What the build reads is read here too, or go test would not see it change.
	for _, pattern := range []string{"Makefile", "core/*", "avr/*", "emu/boards/*"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return "", err
		}
		for _, name := range files {
			if _, err := os.ReadFile(name); err != nil {
				return "", err
			}
		}
	}
	dir, err := os.MkdirTemp("", "lightsong-firmware-")
	if err != nil {
		return "", err
	}
	built = append(built, dir)
	out, err := exec.CommandContext(context.Background(), "make", "-s", "-C", root, target, "BUILD="+dir).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("make -C firmware %s: %w\n%s", target, err, out)
	}
	return dir, nil
}

// firmware is the folder of the sources: beside the module's go.mod, which lies
// above the folder in which go test runs a package's tests.
func firmware() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "firmware"), nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("no go.mod above")
		}
		dir = up
	}
}

// Main runs the tests and takes away what was built.
func Main(m *testing.M) int {
	defer Clean()
	return m.Run()
}

// Clean takes away what was built, for a TestMain of its own kind.
func Clean() {
	for _, dir := range built {
		_ = os.RemoveAll(dir)
	}
}

// Folder is where the emulator ("emu"), the images and their ELF files are.
func Folder(t testing.TB) string {
	t.Helper()
	needs(t, "make", "gcc", "avr-gcc")
	if exec.CommandContext(t.Context(), "gcc", "-E", "-o", os.DevNull, "-include", "simavr/sim_avr.h", "-x", "c", os.DevNull).Run() != nil {
		t.Skip("simavr is not installed (Debian: libsimavr-dev libelf-dev)")
	}
	dir, err := emulator()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func needs(t testing.TB, tools ...string) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the emulator runs on Linux")
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed (Debian: make gcc gcc-avr avr-libc)", tool)
		}
	}
}

// Chips are what boards with one LED each may run on: On returns a rig's configuration
// for Start.
var Chips = []struct {
	Name string
	On   func(t testing.TB, c emu.Config) emu.Config
}{{"simavr", InSimavr}, {"host", OnHost}}

// InSimavr returns c with simavr's boards and the real image for its kind of light.
func InSimavr(t testing.TB, c emu.Config) emu.Config {
	t.Helper()
	dir := Folder(t)
	c.Program, c.Image = filepath.Join(dir, "emu"), filepath.Join(dir, Comparator)
	if c.LED != nil {
		c.Image = filepath.Join(dir, OneLED)
	}
	return c
}

// OnHost returns c, boards with one LED each, with the firmware's build for this machine.
func OnHost(t testing.TB, c emu.Config) emu.Config {
	t.Helper()
	needs(t, "make", "gcc")
	dir, err := hostBuild()
	if err != nil {
		t.Fatal(err)
	}
	c.Program, c.Image = filepath.Join(dir, "emu-host"), filepath.Join(dir, HostLED)
	return c
}

// Start starts a rig, which ends with the test. Boards run in simavr unless c says
// otherwise, or LIGHTSONG_CHIP=host does for those with one LED.
func Start(t testing.TB, c emu.Config) *emu.Rig {
	t.Helper()
	switch {
	case c.Program != "":
	case c.LED != nil && os.Getenv("LIGHTSONG_CHIP") == "host":
		c = OnHost(t, c)
	default:
		c = InSimavr(t, c)
	}
	r, err := emu.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil && !t.Failed() {
			t.Error(err)
		}
	})
	return r
}

// Bubble runs f in simulated time with the lines of a rig, one USB frame after
// the other.
func Bubble(t *testing.T, r *emu.Rig, f func(ctx context.Context, lines *emu.Lines)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		lines := emu.NewLines(r)
		ctx, cancel := context.WithCancel(context.Background())
		var group sync.WaitGroup
		group.Go(func() {
			if err := lines.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(20 * time.Millisecond) // the boards start
		f(ctx, lines)
		cancel()
		group.Wait()
	})
}
