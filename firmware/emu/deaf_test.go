package emu_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"lightsong/firmware/emu"
)

// Light that changes while a board sends does not leave it deaf: what wakes it
// must not be lost among the octets that its UART had to take meanwhile.
func TestHearsAfterLightWhileSending(t *testing.T) {
	r := start(t, emu.Config{Seed: 9, Jitter: 20})
	r.open(1000000)
	for i := range r.Hosts {
		r.ask(i, emu.Ack, emu.Configure, 0x1f, 2, 1, 100, 0)
	}
	rnd := rand.New(rand.NewPCG(11, 12))
	r.Hosts[0].Send(1, 0, 0, 336, random(rnd, 1400))
	r.run(5 * time.Millisecond)
	for _, gain := range []float64{0, 1} {
		if err := r.Gain(1, 0, gain); err != nil {
			t.Fatal(err)
		}
		r.run(5 * time.Millisecond)
	}
	r.await(0, emu.TXDone, time.Second)
	const frames = 5
	for i := range frames {
		r.run(5 * time.Millisecond)
		r.Hosts[1].Send(byte(i), 4, 0, 50, random(rnd, 50))
		r.await(1, emu.TXDone, time.Second)
		r.run(5 * time.Millisecond)
	}
	if n := len(r.hears(0)); n != frames {
		t.Errorf("%d of %d frames heard", n, frames)
	}
	r.clean()
}
