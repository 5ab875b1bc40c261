package ofdm

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"lightsong/modem"
)

// What a burst of short symbols says of blocks is what one of longer symbols says, to the 6 dB that a link takes for a
// change of the path, or nothing: where echoes outlast the symbols it is.
func TestShortBurstsForesee(t *testing.T) {
	const seed, bursts = 17, 20
	for _, c := range []struct {
		name  string
		path  path
		tells bool
	}{
		{"RT60 0.3 s", path{snr: 20, ppm: 40, roomFor: roomOf(0.3, 3, 48000)}, false},
		{"no echoes", path{snr: 10, ppm: 40}, true},
	} {
		s := newStation(t, "air", 48000)
		blocks := func(mcs, frames, octets int) (v []float64) {
			rng := rand.New(rand.NewPCG(seed, 1))
			for range bursts {
				x, err := s.mod.AppendBurst(nil, burstOf(rng, mcs, frames, octets, 23))
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range listen(s.dem, c.path.carry(x, 48000, 3000, 30000, rng), 4800) {
					if e.Kind == modem.Received {
						v = append(v, e.SNRs[modem.Block])
					}
				}
			}
			if len(v) < bursts-1 {
				t.Fatalf("%s, MCS %d: %d of %d bursts heard (seed %d)", c.name, mcs, len(v), bursts, seed)
			}
			return v
		}
		want := blocks(10, 2, 14)
		slices.Sort(want)
		usual := want[len(want)/2]
		for _, b := range []struct{ mcs, frames, octets int }{{13, 0, 0}, {15, 1, 59}} {
			silent, wrong := 0, 0
			for _, v := range blocks(b.mcs, b.frames, b.octets) {
				if math.IsNaN(v) {
					silent++
				} else if math.Abs(v-usual) > 6 {
					wrong++
				}
			}
			if wrong > bursts/10 {
				t.Errorf("%s: %d of %d bursts in MCS %d foresee another SNR for blocks than those in MCS 10, %.1f dB (seed %d)", c.name, wrong, bursts, b.mcs, usual, seed)
			}
			if told := bursts - silent; c.tells && told < bursts-1 {
				t.Errorf("%s: %d of %d bursts in MCS %d tell of blocks, want all", c.name, told, bursts, b.mcs)
			}
		}
	}
}
