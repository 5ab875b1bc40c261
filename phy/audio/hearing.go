package audio

import (
	"sync/atomic"
	"time"
)

// Hearing counts what a PHY has heard while it did not send, since New: what tells
// why nothing can be read. Times are those of the samples.
type Hearing struct {
	Heard     time.Duration // all of it
	Silent    time.Duration // of it in blocks of nothing but zeros, as a muted device gives them
	Busy      time.Duration // of it in blocks with energy above the noise
	Clipped   time.Duration // of it in blocks that reach full scale in more than one sample
	Preambles int64         // found
	Missed    int64         // of these without a header that could be read
	Received  int64         // bursts
}

// Sub is what was heard since an earlier look.
func (h Hearing) Sub(was Hearing) Hearing {
	return Hearing{
		Heard: h.Heard - was.Heard, Silent: h.Silent - was.Silent, Busy: h.Busy - was.Busy, Clipped: h.Clipped - was.Clipped,
		Preambles: h.Preambles - was.Preambles, Missed: h.Missed - was.Missed, Received: h.Received - was.Received,
	}
}

// hearing is counted by Receive and may be read by anybody.
type hearing struct {
	heard, silent, busy, clipped, preambles, missed, received atomic.Int64
}

// fullScale is what converters cut off at, less a step of 12 bits.
const fullScale = 1 - 1.0/2048

// block counts a block that lasted d.
func (h *hearing) block(samples []float32, d time.Duration, energy bool) {
	zeros, full := 0, 0
	for _, v := range samples {
		switch {
		case v == 0:
			zeros++
		case v >= fullScale || v <= -fullScale:
			full++
		}
	}
	h.heard.Add(int64(d))
	if zeros == len(samples) {
		h.silent.Add(int64(d))
	}
	if full > 1 {
		h.clipped.Add(int64(d))
	}
	if energy {
		h.busy.Add(int64(d))
	}
}

// Hearing tells what was heard so far. It may be called at any time from any
// goroutine.
func (p *PHY) Hearing() Hearing {
	h := &p.hearing
	return Hearing{
		Heard: time.Duration(h.heard.Load()), Silent: time.Duration(h.silent.Load()), Busy: time.Duration(h.busy.Load()),
		Clipped: time.Duration(h.clipped.Load()), Preambles: h.preambles.Load(), Missed: h.missed.Load(), Received: h.received.Load(),
	}
}
