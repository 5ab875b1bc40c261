// Package phy is the interface between the data link and a medium: one station
// on one medium, bursts in, events out.
//
// It knows neither the link above it nor any device below it. Its
// implementations live in the folders beside this file.
package phy

import (
	"context"
	"errors"
	"time"

	"lightsong/modem"
)

// The modem's words are the link's words too.
type (
	// Burst is modem.Burst.
	Burst = modem.Burst
	// MCS is modem.MCS.
	MCS = modem.MCS
	// Mode is modem.Mode.
	Mode = modem.Mode
	// Quality is modem.Quality.
	Quality = modem.Quality
	// Form is modem.Form.
	Form = modem.Form
)

// The forms of bursts.
const (
	Plain  = modem.Plain
	Block  = modem.Block
	Long   = modem.Long
	Middle = modem.Middle
	Forms  = modem.Forms
)

// ErrClosed is returned by every method of a PHY after Close.
var ErrClosed = errors.New("phy closed")

// EventKind tells what a station heard.
type EventKind uint8

// The kinds. Busy and Idle are carrier sense: they come alternately, Busy
// first. The others tell of one burst: Announced when its header was read, then
// Received or Missed.
const (
	Busy      EventKind = iota + 1 // the medium is taken: energy or a preamble
	Idle                           // the medium is free again
	Announced                      // a burst's header was read; Until tells when it will be over
	Received                       // a burst is over; Burst holds what came of it
	Missed                         // a burst was there, but its header could not be read
	Lost                           // Samples samples or edges were lost by the device
	Retimed                        // Caps' Turnaround is another from now on: Until
)

// Event is what a station heard.
type Event struct {
	Kind   EventKind
	Within bool          // Received: it came in the middle of another burst, which goes on
	Until  time.Duration // Announced: time from now to the burst's end; Retimed: the turnaround
	// Burst is set for Received; frames that failed their check are nil, and
	// the slices belong to the caller of Receive. For Announced only its MCS is.
	Burst   Burst
	Quality Quality
	Samples int64 // Lost: how many
}

// Caps says what a PHY can do. It does not change while the PHY is open, but for
// the turnaround: a device may be replaced by another, or be measured. Retimed
// tells of that.
type Caps struct {
	Modes      []Mode        // by MCS, the most robust first
	FullDuplex bool          // it hears while it sends
	Turnaround time.Duration // from the end of a burst on the medium to the start of the earliest answer: the answering station's buffers; also how long carrier sense is blind
	MaxFrames  int           // frames in a burst
	MaxControl int           // octets in the control block
	// Form of a burst, of whose frames and control block only the lengths matter;
	// nil where all bursts are of one form.
	Form func(*Burst) Form
	// Combines: receivers add up what they hear of a frame that comes again, octet by
	// octet the same, after it was lost.
	Combines bool
	// Inserts is the airtime of a burst in the middle of others, 0 if it may not be inserted; only the
	// lengths in it matter. nil unless the PHY is an Inserter.
	Inserts func(*Burst) time.Duration
}

// Inserter is a PHY that can put a short burst into the middle of the one that it is
// sending, which then goes on: what is small and urgent need not wait for the end of
// what is long. Its methods are called from one goroutine.
type Inserter interface {
	// Seam tells whether the burst that Transmit is sending can still be interrupted.
	Seam() bool
	// Insert interrupts it at the next place, and tells in how long b will have left. ok
	// is false when it is too late or b does not fit; then nothing was done. It does
	// not keep b.
	Insert(b *Burst) (left time.Duration, ok bool)
}

// Clock is a PHY that knows how far its medium has come. A simulated medium on a
// loaded machine is slower than real time or stands still, and a machine that
// stood still itself hears what was said meanwhile later: neither is silence of
// other stations.
type Clock interface {
	// Elapsed is the time that has passed on the medium since any moment in the
	// past; it never decreases. What was heard until then was given out before the
	// last call of Receive began. While there is no device time passes as
	// elsewhere. It may be called at any time from any goroutine.
	Elapsed() time.Duration
}

// PHY is one station on one medium. Transmit and Receive may be called at the
// same time from two goroutines, each from one only.
type PHY interface {
	// Transmit sends the burst and returns when its last sample or edge has
	// left; on a full-duplex medium, as soon as the next burst can be sent to
	// follow without a gap. A half-duplex PHY does not hear its own burst.
	Transmit(ctx context.Context, b *Burst) error
	// Receive waits for the next event and writes it to ev.
	Receive(ctx context.Context, ev *Event) error
	// Airtime is exact: from the first to the last sample or edge; 0 for a burst
	// that cannot be sent. Only the lengths in b matter.
	Airtime(b *Burst) time.Duration
	Caps() Caps
	Close() error
}
