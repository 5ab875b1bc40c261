package sims

import (
	"fmt"
	"math"
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
// and what follows it, lead + len(burst) + trail samples in all. Samples that
// the microphone loses (AirStation.GapIntervalS) are zeros. The same seed gives
// the same samples.
func (c *Channel) Carry(dst, burst []float32, lead, trail int, seed uint64) []float32 {
	cfg := c.cfg
	cfg.Seed = seed
	medium, err := newCore(cfg)
	if err != nil { // NewChannel has validated it
		panic(err)
	}
	sender, listener := medium.attach(Sender), medium.attach(Listener)

	// The devices' buffers belong to a conversation, not to a path.
	skip := sender.bufferOut + listener.bufferIn
	want := len(dst) + lead + len(burst) + trail
	out := make([]float32, medium.block)
	at := -lead // in the burst, of the next sample that the sender plays
	for len(dst) < want {
		if medium.due(sender) {
			clear(out)
			for i := range out {
				if n := at + i; n >= 0 && n < len(burst) {
					out[i] = burst[n]
				}
			}
			at += len(out)
			medium.exchange(sender, out)
		}
		if medium.due(listener) {
			in, lost := medium.exchange(listener, nil)
			for range lost {
				if skip > 0 {
					skip--
				} else if len(dst) < want {
					dst = append(dst, 0)
				}
			}
			n := min(skip, len(in))
			skip -= n
			in = in[n:]
			dst = append(dst, in[:min(len(in), want-len(dst))]...)
		}
		medium.tick()
	}
	return dst
}
