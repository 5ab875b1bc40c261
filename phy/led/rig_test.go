package led_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"lightsong/firmware/emu"
	"lightsong/phy/led"
)

var built bool

// build makes the image and the emulator once.
var build = sync.OnceValues(func() (string, error) {
	for _, pattern := range []string{"Makefile", "core/*", "avr/*", "emu/boards/*"} { // go test is to see them change
		files, _ := filepath.Glob(filepath.Join("../../firmware", pattern))
		for _, name := range files {
			if _, err := os.ReadFile(name); err != nil {
				return "", err
			}
		}
	}
	dir, err := os.MkdirTemp("", "firmware")
	if err != nil {
		return "", err
	}
	out, err := exec.Command("make", "-s", "-C", "../../firmware", "emu", "BUILD="+dir).CombinedOutput()
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
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// rig starts boards that run the real image.
func rig(t testing.TB, c emu.Config) *emu.Rig {
	t.Helper()
	for _, tool := range []string{"make", "gcc", "avr-gcc"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed (Debian: make gcc gcc-avr avr-libc)", tool)
		}
	}
	if runtime.GOOS != "linux" || exec.Command("gcc", "-E", "-o", os.DevNull, "-include", "simavr/sim_avr.h", "-x", "c", os.DevNull).Run() != nil {
		t.Skip("simavr is not installed (Debian: libsimavr-dev libelf-dev)")
	}
	built = true
	dir, err := build()
	if err != nil {
		t.Fatal(err)
	}
	c.Program, c.Image = filepath.Join(dir, "emu"), filepath.Join(dir, "lightsong-atmega328p.hex")
	r, err := emu.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// bubble runs f in simulated time with the lines of a rig, one USB frame a
// millisecond.
func bubble(t *testing.T, r *emu.Rig, f func(ctx context.Context, lines *emu.Lines)) {
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

// dial plugs in at a board.
func dial(lines *emu.Lines, board int) led.Dialer {
	return func(context.Context) (led.Port, error) { return lines.Open(board), nil }
}
