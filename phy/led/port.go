package led

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"go.bug.st/serial"
)

// Port is a serial line to a board, 8 data bits, no parity, one stop bit, no flow
// control. Read waits for at least one octet; Close ends a Read that waits.
type Port interface {
	Read(p []byte) (int, error)
	Write(p []byte) (int, error)
	SetSpeed(baud int) error
	Close() error
}

// Dialer opens the line at 115200 baud. It is called again after each loss.
type Dialer func(ctx context.Context) (Port, error)

// Serial is the Dialer for a serial device by its path. A path that stays the
// same when a board is plugged in elsewhere lies in /dev/serial/by-id. Ports are
// never listed: that can disturb boards in use. A unix socket is a serial line too, of
// whatever speed the other end has: a simulated one.
func Serial(path string) Dialer {
	return func(ctx context.Context) (Port, error) {
		if at, err := os.Stat(path); err == nil && at.Mode()&fs.ModeSocket != 0 {
			return dialSocket(ctx, path)
		}
		lowerLatency(path)
		gauge := openGauge(path)
		p, err := serial.Open(path, &serial.Mode{BaudRate: baseSpeed})
		if err != nil {
			gauge.close()
			return nil, portError(path, err)
		}
		return &serialPort{Port: p, path: path, gauge: gauge}, nil
	}
}

type serialPort struct {
	serial.Port
	path  string
	gauge queueGauge
}

// Queued is how many octets the driver has yet to send. The error is for drivers that
// do not know.
func (p *serialPort) Queued() (int, error) { return p.gauge.queued() }

func (p *serialPort) Close() error {
	err := p.Port.Close()
	p.gauge.close()
	return err
}

func (p *serialPort) SetSpeed(baud int) error {
	if err := p.SetMode(&serial.Mode{BaudRate: baud}); err != nil {
		return portError(p.path, err)
	}
	return nil
}

func (p *serialPort) Read(b []byte) (int, error) {
	n, err := p.Port.Read(b)
	if n == 0 && err == nil {
		err = errors.New("the device is gone")
	}
	return n, err
}

// socketPort is a serial line that a simulator holds the other end of. What the line has
// yet to send is in the socket, in the simulator's hands and in the simulated adapter: the
// simulator tells, in a file, how much of it was sent, as a driver would.
type socketPort struct {
	net.Conn
	gauge   *os.File // nil: it does not tell
	written atomic.Int64
}

// GaugeSuffix is what the path of a socket and that of its gauge differ by. A gauge is 16
// octets, two big-endian numbers of octets: those that the simulated line had sent when the
// program that uses it was plugged in, and those that it has sent.
const GaugeSuffix = ".sent"

const gaugeOctets = 16

func dialSocket(ctx context.Context, path string) (Port, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; nobody simulates light there (`lightsong sim --light`)", path, err)
	}
	p := &socketPort{Conn: conn}
	if p.gauge, err = os.Open(path + GaugeSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(err, conn.Close())
	}
	return p, nil
}

func (p *socketPort) Write(b []byte) (int, error) {
	p.written.Add(int64(len(b)))
	return p.Conn.Write(b)
}

func (p *socketPort) Close() error {
	if p.gauge != nil {
		return errors.Join(p.Conn.Close(), p.gauge.Close())
	}
	return p.Conn.Close()
}

func (p *socketPort) SetSpeed(int) error { return nil }

func (p *socketPort) Queued() (int, error) {
	if p.gauge == nil {
		return 0, errNoGauge
	}
	var told [gaugeOctets]byte
	if _, err := p.gauge.ReadAt(told[:], 0); err != nil {
		return 0, fmt.Errorf("%s: %w", p.gauge.Name(), err)
	}
	before, sent := binary.BigEndian.Uint64(told[:]), binary.BigEndian.Uint64(told[gaugeOctets/2:])
	return max(0, int(p.written.Load()-int64(sent-before))), nil
}

// portError says in words why a serial device cannot be used and what to do.
func portError(path string, err error) error {
	what := new(serial.PortError)
	if errors.As(err, &what) {
		switch what.Code() {
		case serial.PortBusy:
			return fmt.Errorf("%s: another program uses it; close that first", path)
		case serial.PermissionDenied:
			return fmt.Errorf("%s: no permission; add yourself to the group that owns it (Debian: `sudo adduser $USER dialout`) and log in again", path)
		case serial.InvalidSerialPort, serial.InvalidSpeed:
			return fmt.Errorf("%s: not a serial device that can be set up: %w", path, err)
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: %w; is the board plugged in? (`ls /dev/serial/by-id`)", path, fs.ErrNotExist)
	case errors.Is(err, syscall.EBUSY):
		return fmt.Errorf("%s: another program uses it; close that first", path)
	}
	return fmt.Errorf("%s: %w", path, err)
}

// lowerLatency asks FTDI's driver to pass octets on after 1 ms instead of 16.
// Adapters of other makers have no such setting, and where the system does not
// let us change it (root may), the link works, but each answer takes 15 ms more.
func lowerLatency(path string) {
	device, err := filepath.EvalSymlinks(path)
	if err != nil {
		return
	}
	setting := filepath.Join("/sys/class/tty", filepath.Base(device), "device/latency_timer")
	text, err := os.ReadFile(setting)
	if err != nil {
		return
	}
	if ms, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && ms > 1 {
		_ = os.WriteFile(setting, []byte("1"), 0) // best effort, see above
	}
}
