package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// lightMedium is two boards in light: the real firmware in simulated
// microcontrollers, each with a terminal as its serial line. Their time runs no
// faster than the clock on the wall; on a slow or busy machine it runs slower, and
// then programs on the wall's clock would look too good. So what the demo reports
// is measured on the boards' own clock.
var lightMedium = medium{
	name:   "light",
	about:  "two emulated ATmega328P boards with the real firmware, clocks 1 % apart, 50 ns rms jitter, USB served each 1 ms, half duplex",
	light:  true,
	octets: 200000,
}

// BoardsResult tells of the emulated boards.
type BoardsResult struct {
	TimeScale float64 `json:"time_scale"` // their time by real time
}

// optiboot is the boot loader of an Uno and of a Nano, as Debian has it.
const optiboot = "/usr/share/arduino/hardware/arduino/avr/bootloaders/optiboot/optiboot_atmega328.hex"

const (
	emulatorName = "emu"
	imageName    = "lightsong-atmega328p.hex"
)

// findEmulator is the folder with the emulator and the image.
func (d *demo) findEmulator() (string, error) {
	dir := d.emulator
	if dir == "" {
		self, err := os.Executable()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(filepath.Dir(self), "firmware")
	}
	for _, name := range []string{emulatorName, imageName} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return "", fmt.Errorf("%s has no emulated boards: `make demo-light` builds them and runs this demo", dir)
		}
	}
	return dir, nil
}

// startLight starts the boards and both hosts.
func (d *demo) startLight(ctx context.Context) error {
	dir, err := d.findEmulator()
	if err != nil {
		return err
	}
	d.lightOn = time.Now()
	// With their boot loader the boards begin empty and are flashed as real ones are.
	program := "boot=" + optiboot
	_, err = os.Stat(optiboot)
	flash := err == nil
	if !flash {
		program = "image=" + filepath.Join(dir, imageName)
		d.say("boards come flashed: there is no %s (Debian: arduino-core-avr)", optiboot)
	}
	d.sim, err = d.spawnProgram(ctx, "sim", 0, filepath.Join(dir, emulatorName),
		program, "pty=1", "ppm=0,10000", "jitter=50", "seed=1", "clock="+d.clockFile())
	if err != nil {
		return err
	}
	terminals, err := d.terminals(ctx)
	if err != nil {
		return err
	}
	for i, terminal := range terminals {
		// A path of its own, as /dev/serial/by-id gives one.
		if err := os.Symlink(terminal, d.boardPath(i)); err != nil {
			return err
		}
	}
	if flash {
		if err := d.flashBoards(ctx); err != nil {
			return err
		}
	}
	return d.startHosts(ctx, func(i int) string { return fmt.Sprintf("[led]\nboard = \"serial:%s\"", d.boardPath(i)) })
}

// flashBoards puts the built-in image on both boards, as a user would.
func (d *demo) flashBoards(ctx context.Context) error {
	d.say("flashing both boards through their boot loaders")
	var group errgroup.Group
	for i := range d.sides {
		group.Go(func() error {
			cmd := exec.CommandContext(ctx, "/proc/self/exe", "flash", "--port", d.boardPath(i))
			out, err := cmd.CombinedOutput()
			if err != nil {
				return fmt.Errorf("flashing board %c: %w: %s", 'a'+i, err, strings.TrimSpace(string(out)))
			}
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			d.say("board %c: %s", 'a'+i, lines[len(lines)-1])
			return nil
		})
	}
	return group.Wait()
}

func (d *demo) boardPath(i int) string { return filepath.Join(d.dir, "board-"+string(rune('a'+i))) }

func (d *demo) clockFile() string { return filepath.Join(d.dir, "clock") }

// terminals reads what the emulator says of its boards.
func (d *demo) terminals(ctx context.Context) ([2]string, error) {
	var names [2]string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline) && !d.sim.ended(); {
		if err := ctx.Err(); err != nil {
			return names, err
		}
		log, err := os.Open(d.logOf("sim"))
		if err != nil {
			return names, err
		}
		found := 0
		for lines := bufio.NewScanner(log); lines.Scan(); {
			var i int
			var name string
			if n, _ := fmt.Sscanf(lines.Text(), "board %d %s", &i, &name); n == 2 && i >= 0 && i < len(names) {
				names[i] = name
				found++
			}
		}
		log.Close()
		if found == len(names) {
			return names, nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return names, errors.New("the emulated boards did not start")
}

// now is the medium's time: the boards' own for light, else real time.
func (d *demo) now() time.Duration {
	if d.medium.light {
		if text, err := os.ReadFile(d.clockFile()); err == nil {
			if ns, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
				return time.Duration(ns)
			}
		}
	}
	return time.Since(d.started)
}

// timeScale begins a measurement; the function it returns tells how much of the
// medium's time has passed since, by real time.
func (d *demo) timeScale() func() float64 {
	began, clock := d.now(), time.Now()
	return func() float64 { return float64(d.now()-began) / float64(time.Since(clock)) }
}

// uartMedium is two adapters without boards in simulated light, in real time.
var uartMedium = medium{
	name:  "light-uart",
	about: "two bare UARTs with LED and photodiode, 1 Mbaud, 0.3 m, clocks 1 % apart, 40 ns rms jitter, lamps of 300 lx, full duplex",
	uart: `
baud = 1000000
seed = 1
[station]
jitter_ns = 40.0
[stations.b]
clock_ppm = 10000.0
`,
	led:    "baud = 1000000",
	octets: 400000,
}

// startUART starts the light field and both hosts.
func (d *demo) startUART(ctx context.Context) (err error) {
	config := fmt.Sprintf("%s[ports]\na = %q\nb = %q\n", d.medium.uart, d.boardPath(0), d.boardPath(1))
	path := filepath.Join(d.dir, "light.toml")
	if err := os.WriteFile(path, []byte(config), 0o644); err != nil {
		return err
	}
	if d.sim, err = d.spawn(ctx, "sim", 0, "sim", "--light", "-c", path); err != nil {
		return err
	}
	return d.startHosts(ctx, func(i int) string {
		return fmt.Sprintf("[led]\nboard = \"uart:%s\"\n%s", d.boardPath(i), d.medium.led)
	})
}
