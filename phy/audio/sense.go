package audio

import (
	"math"
	"time"

	"lightsong/phy"
)

const (
	senseAbove   = 6.0   // dB over the noise floor that mean energy on the medium
	senseBelow   = 3.0   // dB over the noise floor under which the medium is free again
	floorRise    = 1.0   // dB/s: how fast the floor may follow a rising noise; slow, so that a long burst does not become the floor
	floorFall    = 0.3   // share of the way down that the floor goes per block
	floorLowest  = -90.0 // dBFS: below that a microphone hears nothing but its own rounding
	settlingTime = 100 * time.Millisecond
	holeTime     = time.Second // digital silence that is shorter is a hole in the stream, and tells nothing of the noise
)

// carrierSense tells whether the medium is taken: by a burst whose preamble was
// found, or by energy above the noise floor. The floor follows the quietest
// blocks down quickly and up slowly, so a steady tone becomes part of it within
// a minute.
type carrierSense struct {
	floor   float64 // dBFS
	heard   time.Duration
	silent  time.Duration // of digital silence up to now
	inBurst bool
	energy  bool
	busy    bool // what was last told
}

func newCarrierSense() carrierSense { return carrierSense{floor: 0} }

// block takes the samples of one block that lasted d. It returns phy.Busy or
// phy.Idle when the medium has just become so, else 0.
func (c *carrierSense) block(samples []float32, d time.Duration) phy.EventKind {
	level := levelDBFS(samples)
	if level > floorLowest {
		c.silent = 0
	} else {
		c.silent += d
	}
	switch {
	case c.silent > 0 && c.silent < holeTime:
		// A sound server that is late inserts silence. A floor that followed it
		// down would take the microphone's noise for a station for a minute.
	case level < c.floor:
		c.floor += floorFall * (level - c.floor)
		if c.heard < settlingTime {
			c.floor = level
		}
	case !c.inBurst:
		c.floor += min(level-c.floor, floorRise*d.Seconds())
	}
	c.heard += d
	switch over := level - c.floor; {
	case over > senseAbove:
		c.energy = true
	case over < senseBelow:
		c.energy = false
	}
	return c.change()
}

func (c *carrierSense) burstBegan() phy.EventKind { c.inBurst = true; return c.change() }
func (c *carrierSense) burstOver() phy.EventKind  { c.inBurst = false; return c.change() }

func (c *carrierSense) change() phy.EventKind {
	if busy := c.inBurst || c.energy; busy != c.busy {
		c.busy = busy
		if busy {
			return phy.Busy
		}
		return phy.Idle
	}
	return 0
}

// levelDBFS is the power of the samples without their mean, relative to a
// full-scale square wave.
func levelDBFS(samples []float32) float64 {
	var sum, squares float64
	for _, v := range samples {
		if v != v || v > math.MaxFloat32 || v < -math.MaxFloat32 {
			continue
		}
		sum += float64(v)
		squares += float64(v) * float64(v)
	}
	n := float64(max(len(samples), 1))
	power := squares/n - (sum/n)*(sum/n)
	return max(floorLowest, 10*math.Log10(max(power, 1e-12)))
}
