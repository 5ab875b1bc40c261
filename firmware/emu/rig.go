package emu

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrRig is wrapped by every error about the emulator itself: it could not be
// started, it ended, it said something unexpected.
var ErrRig = errors.New("emulator")

// Config describes a rig. The zero value of each field but Program and Image is
// usable.
type Config struct {
	Program string // path of the emulator: boards in simavr, or on this machine
	Image   string // path of what all boards run: an Intel hex file, or a shared object

	Boards     int           // 1 to 16; 0 stands for 2
	PPM        []float64     // each board's clock against true time, parts per million
	Jitter     time.Duration // rms of each edge at a receiver
	Distortion time.Duration // by how much a pulse of light is lengthened; may be negative
	USB        time.Duration // service interval of the serial lines; 0 stands for 1 ms
	Seed       uint64
	LED        *LED   // one LED both sends and hears; nil: photodiode and comparator
	Field      Field  // what light reaches whom; nil: all of each to all, until Gain and Ambient say otherwise
	Trace      string // file for all changes of light: board, ns, level 0 to 1
}

// LED is the light of boards whose one LED both sends and hears: how long
// it takes to discharge its junction.
type LED struct {
	Dark   time.Duration // by the room's light alone; 0 stands for 118 µs
	Bright time.Duration // with one neighbour's steady light more; 0 stands for 74 µs
	Noise  float64       // rms of each discharge against its length
	Ripple float64       // of the room's light: amplitude against its mean,
	Hz     float64       // … and frequency; 0 stands for 100
}

// Field is a light field of its own. It is asked once for each USB frame, in the order
// of time.
type Field interface {
	// Gain is how strongly a board's light reaches another one.
	Gain(at time.Duration, from, to int) float64
	// Ambient is the room's mean light, 1 where LED.Dark holds.
	Ambient(at time.Duration) float64
}

// Rig is a running emulator. It belongs to one goroutine.
type Rig struct {
	Hosts []*Host // the host at each board

	cmd    *exec.Cmd
	stdin  io.WriteCloser
	lines  [][]byte // to each board
	in     [][]byte // from each board
	out    *bufio.Reader
	stderr bytes.Buffer
	usb    time.Duration
	now    time.Duration
	buf    []byte
	closed bool

	led     bool
	field   Field
	gains   [][]float64 // as the emulator has them
	ambient float64
}

// Report is what the emulator saw of one board since its start.
type Report struct {
	TimeNS      float64
	MeanLevel   float64 // light, 0 to 1, in the mean since the last report
	Cycles      uint64
	Edges       uint64 // of light sent
	LateEdges   uint64 // not on the frame's grid of 16 cycles
	Asleep      uint64 // cycles that the processor slept; 0 on this machine, as are Overruns, Overwritten and Stack
	Overruns    uint32 // octets that the UART lost because the image read too late
	Overwritten uint32 // octets that the image wrote into a full UART
	Misread     uint32 // octets with speeds too different
	EdgesLost   uint32 // pulses that the comparator did not show
	Unread      uint32 // octets from the host that are not on the line yet
	Stack       uint32 // the lowest stack pointer seen
}

// Start starts the emulator. Close ends it.
func Start(c Config) (*Rig, error) {
	if c.Boards == 0 {
		c.Boards = 2
	}
	if c.USB == 0 {
		c.USB = time.Millisecond
	}
	args := []string{
		"image=" + c.Image,
		"boards=" + strconv.Itoa(c.Boards),
		"jitter=" + strconv.FormatInt(c.Jitter.Nanoseconds(), 10),
		"distortion=" + strconv.FormatInt(c.Distortion.Nanoseconds(), 10),
		"usb=" + strconv.FormatInt(c.USB.Microseconds(), 10),
		"seed=" + strconv.FormatUint(c.Seed, 10),
	}
	if len(c.PPM) > 0 {
		ppm := make([]string, 0, len(c.PPM))
		for _, p := range c.PPM {
			ppm = append(ppm, strconv.FormatFloat(p, 'g', -1, 64))
		}
		args = append(args, "ppm="+strings.Join(ppm, ","))
	}
	if l := c.LED; l != nil {
		args = append(args, "led=1",
			"dark="+strconv.FormatInt(cmp.Or(l.Dark, 118*time.Microsecond).Nanoseconds(), 10),
			"bright="+strconv.FormatInt(cmp.Or(l.Bright, 74*time.Microsecond).Nanoseconds(), 10),
			"noise="+strconv.FormatFloat(l.Noise, 'g', -1, 64),
			"ripple="+strconv.FormatFloat(l.Ripple, 'g', -1, 64),
			"hz="+strconv.FormatFloat(cmp.Or(l.Hz, 100), 'g', -1, 64))
	}
	if c.Trace != "" {
		args = append(args, "trace="+c.Trace)
	}
	r := &Rig{usb: c.USB, led: c.LED != nil, field: c.Field, ambient: 1}
	for range c.Boards {
		r.gains = append(r.gains, slices.Repeat([]float64{1}, c.Boards))
	}
	r.cmd = exec.Command(c.Program, args...) //nolint:noctx // its life ends with its standard input
	r.cmd.Stderr = &r.stderr
	var err error
	if r.stdin, err = r.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRig, err)
	}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRig, err)
	}
	if err := r.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrRig, c.Program, err)
	}
	r.out = bufio.NewReaderSize(out, 1<<16)
	for range c.Boards {
		r.Hosts = append(r.Hosts, newHost())
	}
	return r, nil
}

// Close ends the emulator and waits until it is gone. Closing again does nothing.
func (r *Rig) Close() error {
	if r.closed {
		return nil
	}
	r.closed = true
	if err := r.stdin.Close(); err != nil {
		return fmt.Errorf("%w: %w", ErrRig, err)
	}
	if err := r.cmd.Wait(); err != nil {
		return fmt.Errorf("%w: %w: %s", ErrRig, err, bytes.TrimSpace(r.stderr.Bytes()))
	}
	return nil
}

// Now is the simulated time.
func (r *Rig) Now() time.Duration { return r.now }

func (r *Rig) broken(err error) error {
	r.closed = true
	_ = r.stdin.Close()
	_ = r.cmd.Wait()
	return fmt.Errorf("%w: %w: %s", ErrRig, err, bytes.TrimSpace(r.stderr.Bytes()))
}

func (r *Rig) write(b []byte) error {
	if _, err := r.stdin.Write(b); err != nil {
		return r.broken(err)
	}
	return nil
}

// Step lets one USB frame pass: what the hosts want to say and have credit for
// goes out, what the boards said comes in.
func (r *Rig) Step() error {
	r.lines = r.lines[:0]
	for _, h := range r.Hosts {
		r.lines = append(r.lines, h.take(math.MaxUint16))
	}
	in, err := r.Exchange(r.lines)
	if err != nil {
		return err
	}
	for i, h := range r.Hosts {
		h.hear(r.now, in[i])
	}
	return nil
}

// Exchange is Step for callers that are hosts themselves: octets to each board, at
// most 65535, against octets from each, which are valid until the next call.
func (r *Rig) Exchange(out [][]byte) ([][]byte, error) {
	if err := r.shine(); err != nil {
		return nil, err
	}
	r.buf = append(r.buf[:0], 'S')
	for i := range r.Hosts {
		r.buf = binary.LittleEndian.AppendUint16(r.buf, uint16(len(out[i])))
		r.buf = append(r.buf, out[i]...)
	}
	if err := r.write(r.buf); err != nil {
		return nil, err
	}
	r.now += r.usb
	if r.in == nil {
		r.in = make([][]byte, len(r.Hosts))
	}
	for i := range r.in {
		var n [2]byte
		if _, err := io.ReadFull(r.out, n[:]); err != nil {
			return nil, r.broken(err)
		}
		size := int(binary.LittleEndian.Uint16(n[:]))
		r.in[i] = slices.Grow(r.in[i][:0], size)[:size]
		if _, err := io.ReadFull(r.out, r.in[i]); err != nil {
			return nil, r.broken(err)
		}
	}
	return r.in, nil
}

// shine sets what has changed of the field.
func (r *Rig) shine() error {
	if r.field == nil {
		return nil
	}
	for from, row := range r.gains {
		for to, had := range row {
			if from == to {
				continue
			}
			if gain := r.field.Gain(r.now, from, to); gain != had {
				if err := r.Gain(from, to, gain); err != nil {
					return err
				}
			}
		}
	}
	ambient := r.field.Ambient(r.now)
	if !r.led || ambient == r.ambient {
		return nil
	}
	r.ambient = ambient
	for i := range r.Hosts {
		if err := r.Ambient(i, ambient); err != nil {
			return err
		}
	}
	return nil
}

// Gain sets how strongly a board's light reaches another, 1 at the start; 0 is a
// hand in the beam.
func (r *Rig) Gain(from, to int, gain float64) error {
	r.gains[from][to] = gain
	b := []byte{'G', byte(from), byte(to)}
	return r.write(binary.LittleEndian.AppendUint64(b, math.Float64bits(gain)))
}

// Speed changes the host's end of a serial line.
func (r *Rig) Speed(board int, baud uint32) error {
	return r.write(binary.LittleEndian.AppendUint32([]byte{'U', byte(board)}, baud))
}

// Chatter lets a board's comparator toggle by itself, each 0.3 to 50 µs.
func (r *Rig) Chatter(board int, on bool) error {
	b := []byte{'C', byte(board), 0}
	if on {
		b[2] = 1
	}
	return r.write(b)
}

// Glitches lets a board's comparator show the opposite for 1 µs, a chip of the
// highest rate, so often that one look in 1/share finds it wrong; 0 is none.
func (r *Rig) Glitches(board int, share float64) error {
	return r.write(binary.LittleEndian.AppendUint64([]byte{'E', byte(board)}, math.Float64bits(share)))
}

// Ambient sets the room's light at a board whose LED hears, 1 at the start.
func (r *Rig) Ambient(board int, light float64) error {
	return r.write(binary.LittleEndian.AppendUint64([]byte{'A', byte(board)}, math.Float64bits(light)))
}

// Report asks for a board's figures.
func (r *Rig) Report(board int) (Report, error) {
	var report Report
	if err := r.write([]byte{'Q', byte(board)}); err != nil {
		return report, err
	}
	if err := binary.Read(r.out, binary.LittleEndian, &report); err != nil {
		return report, r.broken(err)
	}
	return report, nil
}
