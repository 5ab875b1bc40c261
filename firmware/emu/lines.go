package emu

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Lines are the serial lines of a rig for hosts that are programs with goroutines
// of their own. One USB frame passes each time the clock has advanced by its
// length: in a testing/synctest bubble that is the simulated clock, which stands
// still while the emulator works. So a host's waiting and sending are measured on
// the boards' own time; what a host computes costs none of it.
type Lines struct {
	rig *Rig
	out [][]byte

	mu    sync.Mutex
	ports []*Line
	wants []func(*Rig) error // between two frames
	now   []*Line            // ports, for the frame that passes
}

// ErrUnplugged is what a Line says when it was unplugged or closed.
var ErrUnplugged = errors.New("unplugged")

// Line is one program's end of a serial line. Its methods are those of a port.
type Line struct {
	lines *Lines
	board int
	mu    sync.Mutex
	ready chan struct{} // in has octets, or the line is gone
	in    []byte
	out   []byte
	speed int // to be set, 0 if not
	gone  bool
}

// NewLines takes over a rig. Nothing happens before Run.
func NewLines(r *Rig) *Lines {
	return &Lines{rig: r, ports: make([]*Line, len(r.Hosts)), out: make([][]byte, len(r.Hosts))}
}

// Open plugs a program in at a board, at 115200 baud. A program that was there
// is unplugged.
func (l *Lines) Open(board int) *Line {
	p := &Line{lines: l, board: board, ready: make(chan struct{}, 1), speed: 115200}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unplug(board)
	l.ports[board] = p
	return p
}

// Unplug takes the line of a board away from its program.
func (l *Lines) Unplug(board int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unplug(board)
}

func (l *Lines) unplug(board int) {
	if p := l.ports[board]; p != nil {
		_ = p.Close()
		l.ports[board] = nil
	}
}

// Do changes something about the rig before the next USB frame. An error ends
// Run.
func (l *Lines) Do(f func(*Rig) error) {
	l.mu.Lock()
	l.wants = append(l.wants, f)
	l.mu.Unlock()
}

// Frame lets one USB frame pass.
func (l *Lines) Frame() error {
	l.mu.Lock()
	wants := l.wants
	l.wants = nil
	l.mu.Unlock()
	for _, f := range wants {
		if err := f(l.rig); err != nil {
			return err
		}
	}
	l.mu.Lock()
	l.now = append(l.now[:0], l.ports...)
	l.mu.Unlock()
	for i, p := range l.now {
		l.out[i] = l.out[i][:0]
		if p == nil {
			continue
		}
		p.mu.Lock()
		speed := p.speed
		p.speed = 0
		n := min(len(p.out), 65535)
		l.out[i] = append(l.out[i], p.out[:n]...)
		p.out = append(p.out[:0], p.out[n:]...)
		p.mu.Unlock()
		if speed != 0 {
			if err := l.rig.Speed(i, uint32(speed)); err != nil {
				return err
			}
		}
	}
	in, err := l.rig.Exchange(l.out)
	if err != nil {
		return err
	}
	for i, p := range l.now {
		if p != nil && len(in[i]) > 0 {
			p.mu.Lock()
			p.in = append(p.in, in[i]...)
			p.mu.Unlock()
			p.wake()
		}
	}
	return nil
}

// Run lets USB frames pass until ctx ends.
func (l *Lines) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		time.Sleep(l.rig.usb)
		if err := l.Frame(); err != nil {
			return err
		}
	}
	return nil
}

func (p *Line) wake() {
	select {
	case p.ready <- struct{}{}:
	default:
	}
}

// Read waits for octets.
func (p *Line) Read(b []byte) (int, error) {
	for {
		p.mu.Lock()
		n := copy(b, p.in)
		p.in = append(p.in[:0], p.in[n:]...)
		gone := p.gone
		p.mu.Unlock()
		if n > 0 {
			return n, nil
		}
		if gone {
			return 0, ErrUnplugged
		}
		<-p.ready
	}
}

// Write puts octets where the next USB frame takes them.
func (p *Line) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return 0, ErrUnplugged
	}
	p.out = append(p.out, b...)
	return len(b), nil
}

// SetSpeed takes effect with the next USB frame, before its octets.
func (p *Line) SetSpeed(baud int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return ErrUnplugged
	}
	p.speed = baud
	return nil
}

// Close unplugs the program.
func (p *Line) Close() error {
	p.mu.Lock()
	p.gone = true
	p.mu.Unlock()
	p.wake()
	return nil
}
