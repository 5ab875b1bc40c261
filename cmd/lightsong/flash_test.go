package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lightsong/firmware/emu/emutest"
)

// An empty emulated board behind optiboot is flashed by the command, through
// avrdude and the serial line, and then speaks.
func TestFlashThroughBootLoader(t *testing.T) {
	t.Parallel()
	dir := emutest.Folder(t)
	if _, err := os.Stat(optiboot); err != nil {
		t.Skip("no boot loader (Debian: arduino-core-avr)")
	}
	d := &demo{medium: lightMedium, emulator: dir, dir: t.TempDir(), errs: testWriter{t}}
	var err error
	d.sim, err = d.spawnProgram(t.Context(), "sim", 0, filepath.Join(dir, emulatorName), "boot="+optiboot, "pty=1", "boards=2")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.sim.end(); err != nil {
			t.Error(err)
		}
	}()
	terminals, err := d.terminals(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if code, out, errs := lightsong(t, "flash", "--port", terminals[0], "--dry-run"); code != 0 || !strings.Contains(out, "nothing written; would run: ") {
		t.Errorf("dry run: exit %d, %q, %q", code, out, errs)
	}
	code, out, errs := lightsong(t, "flash", "--port", terminals[0])
	if code != 0 || !strings.Contains(out, "firmware 1.0.0 runs on "+terminals[0]) {
		t.Errorf("exit %d, %q, %q", code, out, errs)
	}
}

// What can be told before anything is written.
func TestFlashRefuses(t *testing.T) {
	if _, err := os.Stat("/usr/bin/avrdude"); err != nil {
		t.Skip("avrdude is not installed")
	}
	defer func(was string) { serialPlaces = was }(serialPlaces)
	places := t.TempDir()
	serialPlaces = places + "/*"
	file := filepath.Join(t.TempDir(), "no.hex")
	if err := os.WriteFile(file, []byte("MZ\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	refuse := func(code int, want string, args ...string) {
		t.Helper()
		got, out, errs := lightsong(t, append([]string{"flash"}, args...)...)
		if got != code || !strings.Contains(errs, want) || out != "" {
			t.Errorf("flash %q: exit %d, %q, %q; want exit %d and %q", args, got, out, errs, code, want)
		}
	}
	refuse(2, "the boards are nano, nano-led, nano-old, nano-old-led, uno, uno-led", "--board", "mega")
	refuse(1, "no board is plugged in", "--dry-run")
	refuse(1, "not an image for this board: line 1: not Intel hex", "--image", file)
	refuse(1, "/nowhere: ", "--image", "/nowhere")
	refuse(1, "is the board plugged in?", "--port", "/nowhere/tty")
	refuse(1, "is no serial device", "--port", file)
	for _, name := range []string{"a", "b"} {
		if err := os.Symlink("/dev/null", filepath.Join(places, name)); err != nil {
			t.Fatal(err)
		}
	}
	refuse(1, "there are 2 serial devices, choose one with --port: "+places+"/a, ")
	t.Setenv("PATH", t.TempDir())
	refuse(1, "the program avrdude is missing: install")
}

// Words for what avrdude says; the sayings are those of versions 6.3 to 7.1.
func TestFlashExplains(t *testing.T) {
	for _, tt := range []struct{ board, said, want string }{
		{"uno", `avrdude: ser_open(): can't open device "/dev/ttyACM0": Permission denied`, "dialout"},
		{"uno", `avrdude OS error: cannot open port /dev/ttyACM0: Device or resource busy`, "another program uses it"},
		{"uno", `avrdude error: programmer is not responding; try -x strict and/or vary -x delay=100`, "no boot loader answers"},
		{"nano", `avrdude: stk500_getsync() attempt 10 of 10: not in sync: resp=0x00`, "--board nano-old"},
		{"uno", "avrdude: Device signature = 0x1e9587\navrdude: Expected signature for ATmega328P is 1E 95 0F\n         Double check chip, or use -F to override this check.", "another microcontroller"},
		{"uno", `avrdude: verification error, first mismatch at byte 0x0100`, "does not hold what was written"},
		{"uno", `avrdude OS error: cannot open port /dev/x: No such file or directory`, "plug the board in again"},
		{"uno", "something else\nthe last word", "the last word"},
	} {
		f := &flashing{port: "/dev/ttyACM0", board: tt.board}
		if err := f.explain(tt.said, errors.New("exit status 1")); !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want one line with %q", tt.said, err, tt.want)
		}
	}
}
