package audio

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"lightsong/phy"
)

// TestSenseHoles inserts digital silence into a microphone's noise, as a sound
// server that is late does. The noise after it is still noise, and a station is
// still heard; but silence that stays becomes the floor.
func TestSenseHoles(t *testing.T) {
	const rate, block = 48000, 480
	const seed = 3
	random := rand.New(rand.NewPCG(seed, 0))
	sense := newCarrierSense()
	var busy bool
	play := func(d time.Duration, dBFS float64) (wasBusy bool) {
		samples := make([]float32, block)
		amplitude := math.Pow(10, dBFS/20)
		for range int(d.Seconds() * rate / block) {
			for i := range samples {
				samples[i] = float32(amplitude * random.NormFloat64())
			}
			switch sense.block(samples, 10*time.Millisecond) {
			case phy.Busy:
				busy = true
			case phy.Idle:
				busy = false
			}
			wasBusy = wasBusy || busy
		}
		return wasBusy
	}
	digital := math.Inf(-1)
	if play(300*time.Millisecond, digital) || play(5*time.Second, -37) {
		t.Errorf("seed %d: the noise after the stream's first silence is taken for a station", seed)
	}
	for _, hole := range []time.Duration{10 * time.Millisecond, 100 * time.Millisecond, 900 * time.Millisecond} {
		if play(hole, digital) || play(time.Second, -37) {
			t.Errorf("seed %d: the noise after a hole of %v is taken for a station", seed, hole)
		}
	}
	if !play(100*time.Millisecond, -12) {
		t.Errorf("seed %d: a station 25 dB above the noise is not heard", seed)
	}
	if play(time.Second, -37); busy {
		t.Errorf("seed %d: the medium stays busy after the station", seed)
	}
	// A lead without noise.
	play(2*time.Second, digital)
	if !play(100*time.Millisecond, -60) {
		t.Errorf("seed %d: a faint station is not heard on a silent lead", seed)
	}
}
