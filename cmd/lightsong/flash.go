package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"lightsong/phy/led"
)

// flashable is a kind of board that the program can flash.
type flashable struct {
	about string
	part  string // avrdude's name
	baud  string // of its boot loader
	room  int    // octets that the boot loader leaves
	image func() (image []byte, sum string, err error)
}

var flashables = map[string]flashable{
	"uno":          {"Arduino Uno, boot loader optiboot", "atmega328p", "115200", 32256, led.ImageATmega328P},
	"nano":         {"Arduino Nano since 2018, boot loader optiboot", "atmega328p", "115200", 32256, led.ImageATmega328P},
	"nano-old":     {"Arduino Nano with the old boot loader", "atmega328p", "57600", 30720, led.ImageATmega328P},
	"uno-led":      {"Arduino Uno whose one LED both sends and hears", "atmega328p", "115200", 32256, led.ImageOneLED},
	"nano-led":     {"Arduino Nano since 2018, likewise", "atmega328p", "115200", 32256, led.ImageOneLED},
	"nano-old-led": {"Arduino Nano with the old boot loader, likewise", "atmega328p", "57600", 30720, led.ImageOneLED},
}

// serialPlaces is where the system keeps names of serial devices that stay the
// same; a variable for tests.
var serialPlaces = "/dev/serial/by-id/*"

type flashing struct {
	port, board, image string
	dryRun             bool
	out, errs          io.Writer
}

func flashCommand() *cobra.Command {
	var f flashing
	names := make([]string, 0, len(flashables))
	about := new(strings.Builder)
	for name := range flashables {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(about, "  %-13s %s\n", name, flashables[name].about)
	}
	cmd := &cobra.Command{
		Use:   "flash",
		Short: "Put the firmware for light on a board",
		Long: `Put the firmware that this program carries (or another image) on a board, compare
what the board then holds, and ask it who it is. avrdude does the writing. Ports are
never probed: without --port there must be just one device in /dev/serial/by-id.

The boards:
` + about.String(),
		Example: `  lightsong flash
  lightsong flash --port /dev/ttyUSB0 --board nano
  lightsong flash --dry-run`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, ok := flashables[f.board]; !ok {
				return usageError{fmt.Errorf("--board %q: the boards are %s", f.board, strings.Join(names, ", "))}
			}
			f.out, f.errs = cmd.OutOrStdout(), cmd.ErrOrStderr()
			return f.run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&f.port, "port", "", "serial device (default: the only one in /dev/serial/by-id)")
	cmd.Flags().StringVar(&f.board, "board", "uno", "kind of board: "+strings.Join(names, ", "))
	cmd.Flags().StringVar(&f.image, "image", "", "Intel hex file to write instead of the built-in image")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "check everything and say what would be done, but write nothing")
	return cmd
}

func (f *flashing) run(ctx context.Context) error {
	board := flashables[f.board]
	image, what, err := f.readImage()
	if err != nil {
		return err
	}
	octets, err := led.CheckImage(image, board.room)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	avrdude, err := exec.LookPath("avrdude")
	if err != nil {
		return errors.New("the program avrdude is missing: install Debian's package avrdude (`sudo apt-get install avrdude`)")
	}
	if f.port == "" {
		if f.port, err = onlyPort(); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("", "lightsong-flash-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "image.hex")
	if err := os.WriteFile(file, image, 0o600); err != nil {
		return err
	}
	args := []string{"-p", board.part, "-c", "arduino", "-b", board.baud, "-P", f.port, "-D", "-U", "flash:w:" + file + ":i"}
	fmt.Fprintf(f.errs, "%s, %d octets, to %s at %s\n", what, octets, board.about, f.port)
	if err := mayUse(f.port); err != nil {
		return err
	}
	if f.dryRun {
		fmt.Fprintf(f.out, "nothing written; would run: %s %s\n", avrdude, strings.Join(args, " "))
		return nil
	}
	if err := f.write(ctx, avrdude, args); err != nil {
		return err
	}
	if f.image != "" {
		fmt.Fprintf(f.out, "%s written to %s and verified\n", what, f.port)
		return nil
	}
	info, err := led.Identify(ctx, led.Serial(f.port))
	if err != nil {
		return fmt.Errorf("written and verified, but the board does not speak: %w", err)
	}
	fmt.Fprintf(f.out, "firmware %s runs on %s\n", info.Version(), f.port)
	return nil
}

// readImage is the image and how to call it.
func (f *flashing) readImage() (image []byte, what string, err error) {
	if f.image != "" {
		image, err = os.ReadFile(f.image)
		return image, f.image, err
	}
	image, sum, err := flashables[f.board].image()
	if err != nil {
		return nil, "", err
	}
	return image, "built-in image " + sum[:12], nil
}

// onlyPort is the one serial device there is. It looks at names only.
func onlyPort() (string, error) {
	ports, err := filepath.Glob(serialPlaces)
	if err != nil {
		return "", err
	}
	switch len(ports) {
	case 0:
		return "", errors.New("no board is plugged in, or the system gives it no name in /dev/serial/by-id: name the device with --port")
	case 1:
		return ports[0], nil
	}
	return "", fmt.Errorf("there are %d serial devices, choose one with --port: %s", len(ports), strings.Join(ports, ", "))
}

// mayUse says in words why a device cannot be used, as far as that shows without
// opening it, which would reset the board.
func mayUse(port string) error {
	info, err := os.Stat(port)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%s does not exist: is the board plugged in? `ls /dev/serial/by-id` shows boards", port)
	case err != nil:
		return err
	case info.Mode()&os.ModeCharDevice == 0:
		return fmt.Errorf("%s is no serial device", port)
	}
	const readWrite = 6
	if err := syscall.Access(port, readWrite); err != nil {
		return errPermission(port)
	}
	return nil
}

func errPermission(port string) error {
	return fmt.Errorf("%s: no permission: add yourself to its group (Debian: `sudo adduser $USER dialout`) and log in again", port)
}

// flashTries is how often avrdude is run: a boot loader listens for a second after
// a reset, and on a busy machine avrdude can miss that.
const flashTries = 3

// write runs avrdude and shows how far it is.
func (f *flashing) write(ctx context.Context, avrdude string, args []string) error {
	var err error
	for range flashTries {
		var said string
		if said, err = f.try(ctx, avrdude, args); err == nil || ctx.Err() != nil {
			break
		}
		if said != "" && !strings.Contains(said, "sync") && !strings.Contains(said, "respond") {
			return f.explain(said, err)
		}
		if said != "" {
			err = f.explain(said, err)
		}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: flashing was broken off: %w", f.port, ctx.Err())
	}
	return err
}

// try runs avrdude once; said is empty when it took too long.
func (f *flashing) try(ctx context.Context, avrdude string, args []string) (said string, err error) {
	const patience = 45 * time.Second // 5 s are usual
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, avrdude, args...)
	cmd.WaitDelay = time.Second
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	watch := &avrdudeWatch{bar: flashBar(f.errs)}
	cmd.Stdout, cmd.Stderr = watch, watch
	err = cmd.Run()
	if clearErr := watch.bar.Clear(); err == nil && clearErr != nil {
		err = clearErr
	}
	if ctx.Err() != nil {
		return "", fmt.Errorf("%s: the boot loader did not get through within %v", f.port, patience)
	}
	return watch.text.String(), err
}

// explain turns what avrdude says into one sentence with what to do.
func (f *flashing) explain(said string, err error) error {
	has := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(said, p) {
				return true
			}
		}
		return false
	}
	switch {
	case has("Permission denied"):
		return errPermission(f.port)
	case has("Device or resource busy", "Resource temporarily unavailable"):
		return fmt.Errorf("%s is busy: another program uses it (a running `lightsong up`, a serial monitor, ModemManager); end it first", f.port)
	case has("No such file or directory", "No such device"):
		return fmt.Errorf("%s is gone: plug the board in again", f.port)
	case has("xpected signature", "device signature") && has("ouble check", "rong", "nvalid device signature", "xpected signature"):
		return fmt.Errorf("%s: this is another microcontroller than the %s of board %q: choose the board that it is with --board", f.port, flashables[f.board].part, f.board)
	case has("not in sync", "not responding", "programmer is not responding", "timeout"):
		hint := ""
		if f.board == "nano" || f.board == "nano-led" {
			hint = " (older ones: --board " + strings.Replace(f.board, "nano", "nano-old", 1) + ")"
		}
		return fmt.Errorf("%s: no boot loader answers: is it a board of kind %q%s? One without a boot loader needs a programmer", f.port, f.board, hint)
	case has("verification mismatch", "verification error"):
		return fmt.Errorf("%s: the board does not hold what was written: try again; if it stays so, its flash is worn out", f.port)
	}
	lines := strings.Split(strings.TrimSpace(said), "\n")
	return fmt.Errorf("avrdude failed (%w): %s", err, strings.TrimSpace(lines[len(lines)-1]))
}

// avrdudeWatch reads avrdude's messages as they come. Each # of its two bars, for
// writing and for reading back, is a fiftieth.
type avrdudeWatch struct {
	text bytes.Buffer
	bar  *progressbar.ProgressBar
	done int
}

const avrdudeMarks = 2 * 50

func (w *avrdudeWatch) Write(p []byte) (int, error) {
	w.text.Write(p)
	if n := min(bytes.Count(p, []byte{'#'}), avrdudeMarks-w.done); n > 0 {
		w.done += n
		if err := w.bar.Add(n); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// flashBar shows progress on a terminal and is silent elsewhere.
func flashBar(w io.Writer) *progressbar.ProgressBar {
	if f, ok := w.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
		return progressbar.DefaultSilent(avrdudeMarks)
	}
	return progressbar.NewOptions(avrdudeMarks, progressbar.OptionSetWriter(w),
		progressbar.OptionSetDescription("writing and verifying"), progressbar.OptionClearOnFinish(), progressbar.OptionSetWidth(30))
}
