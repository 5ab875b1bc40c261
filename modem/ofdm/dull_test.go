package ofdm

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"lightsong/modem"
)

// What is sent may be as dull as it likes: zeros, ones, short patterns. Shaped modes
// make amplitudes of it, which must not become dull for that.
func TestDullContent(t *testing.T) {
	const seed = 12
	for _, c := range []struct {
		profile string
		mcs     int
	}{{"cable", 18}, {"cable", 28}, {"cable", 46}, {"cable", 60}, {"cable2", 40}, {"ultra", 22}, {"voice", 13}} {
		s := newStation(t, c.profile, 48000)
		b := &modem.Burst{MCS: modem.MCS(c.mcs), Control: []byte("control")}
		for _, pattern := range [][]byte{{0}, {0xff}, {0, 0x5a}, {1, 0x5a}, {2, 0x5a}, {0xaa}, {0, 1, 2, 3}} {
			b.Frames = append(b.Frames, bytes.Repeat(pattern, 600/len(pattern)))
		}
		x, err := s.mod.AppendBurst(make([]float32, 4000), b)
		if err != nil {
			t.Fatal(err)
		}
		x = append(x, make([]float32, 4000)...)
		noisy(x, s.mod.prof.modes[c.mcs].snr+2, rand.New(rand.NewPCG(seed, 1)))
		events := listen(s.dem, x, 4801)
		if kinds(events) != "PAR" {
			t.Errorf("%s MCS %d: events %s", c.profile, c.mcs, kinds(events))
			continue
		}
		same(t, events[2].Burst, b)
	}
}
