package sims

import (
	"fmt"
	"math"
	"slices"
)

// The two stations of a Channel: what AirConfig.Stations and AirConfig.Paths
// call them.
const (
	Sender   = "sender"
	Listener = "listener"
)

// Channel is the way of single bursts from one station to another: the Air with
// two stations of which one only speaks and the other only listens. Every burst
// finds it anew: room, places, clocks, noise and everything else that is drawn
// come from the burst's own seed, and nothing of an earlier burst is in the air.
//
// It is what figures about a modem are measured on; who wants a conversation
// takes an Air. Several goroutines may use one Channel.
type Channel struct{ cfg AirConfig }

// NewChannel makes the channel that cfg describes: its path is the one from
// Sender to Listener, its noise the Listener's. Seed and Speed are not used. A fault
// of cfg is one sentence.
func NewChannel(cfg AirConfig) (*Channel, error) {
	// The sender hears nothing: neither itself nor noise is computed for it.
	cfg.Room.OwnEcho = new(false)
	stations := map[string]AirStation{}
	for name, s := range cfg.Stations {
		if name != Sender && name != Listener {
			return nil, fmt.Errorf("stations: a channel has a %q and a %q, no %q", Sender, Listener, name)
		}
		stations[name] = s
	}
	sender := stations[Sender]
	sender.SNRdB, sender.NoiseDBFS = nil, new(math.Inf(-1))
	stations[Sender] = sender
	cfg.Stations = stations
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Channel{cfg}, nil
}

// Carry appends to dst what the listener's microphone delivers of a burst: lead
// samples before it, by both clocks, then the burst, delayed by the path alone,
// and what follows it, lead + n + trail samples in all if the burst has n. Samples
// that the microphone loses (AirStation.GapIntervalS) are zeros. The same seed
// gives the same samples. With two channels (AirConfig.Channels) all samples are
// pairs, left and right in turn, and lengths count pairs.
func (c *Channel) Carry(dst, burst []float32, lead, trail int, seed uint64) []float32 {
	cfg := c.cfg
	cfg.Seed = seed
	medium, err := newCore(cfg)
	if err != nil { // NewChannel has validated it
		panic(err)
	}
	channels := cfg.channels()
	base, n := len(dst), len(burst)/channels
	want := lead + n + trail
	dst = slices.Grow(dst, channels*want)[:base+channels*want]
	ways := make([]way, channels)
	for i := range ways {
		w := &ways[i]
		w.sender, w.listener = medium.attachChannel(Sender, i == 1), medium.attachChannel(Listener, i == 1)
		// The devices' buffers belong to a conversation, not to a path.
		w.skip = w.sender.bufferOut + w.listener.bufferIn
		w.at = -lead
	}
	out := make([]float32, medium.block)
	for ways[channels-1].heard < want {
		for i := range ways {
			w := &ways[i]
			if medium.due(w.sender) {
				clear(out)
				for j := range out {
					if k := w.at + j; k >= 0 && k < n {
						out[j] = burst[k*channels+i]
					}
				}
				w.at += len(out)
				medium.exchange(w.sender, out)
			}
			if medium.due(w.listener) {
				in, lost := medium.exchange(w.listener, nil)
				w.hear(dst[base+i:], channels, want, lost, in)
			}
		}
		medium.tick()
	}
	return dst
}

// way is one channel of a burst on its way.
type way struct {
	sender, listener *station
	at               int // in the burst, of the next sample that the sender plays
	skip             int // samples that are still to be dropped
	heard            int
}

// hear puts what the listener lost, and what it heard behind that, to every so manyth
// sample of dst, until there are as many as wanted.
func (w *way) hear(dst []float32, every, want, lost int, in []float32) {
	put := func(v float32) {
		switch {
		case w.skip > 0:
			w.skip--
		case w.heard < want:
			dst[w.heard*every] = v
			w.heard++
		}
	}
	for range lost {
		put(0)
	}
	for _, v := range in {
		put(v)
	}
}
