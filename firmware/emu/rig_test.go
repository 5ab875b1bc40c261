package emu_test

import (
	"encoding/binary"
	"os"
	"testing"
	"time"

	"lightsong/firmware/emu"
	"lightsong/firmware/emu/emutest"
)

func TestMain(m *testing.M) { os.Exit(emutest.Main(m)) }

type rig struct {
	*emu.Rig
	t      testing.TB
	kept   time.Duration // when the hosts last spoke to keep the speed
	silent bool
}

func start(t testing.TB, c emu.Config) *rig {
	t.Helper()
	return &rig{Rig: emutest.Start(t, c), t: t}
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
