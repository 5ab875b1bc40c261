package audio_test

import (
	"math"
	"testing"

	"lightsong/modem"
	"lightsong/phy/audio"
)

// TestBursts are never louder than they may be, and begin and end softly: a step
// of more than 40 dB below full scale is a click in a loudspeaker.
func TestBurstsAreSafe(t *testing.T) {
	for _, name := range audio.Profiles() {
		m, err := audio.OpenModem(name, 48000)
		if err != nil {
			t.Fatal(err)
		}
		for _, mode := range []modem.Mode{m.Modes[0], m.Modes[len(m.Modes)/4], m.Modes[len(m.Modes)/2], m.Modes[len(m.Modes)-1]} {
			for _, octets := range []int{0, 1, mode.FrameOctets} {
				b := modem.Burst{MCS: mode.MCS, Control: []byte("who goes there")}
				if octets > 0 {
					f := make([]byte, octets)
					for i := range f {
						f[i] = byte(i*i + 7*i)
					}
					b.Frames = append(b.Frames, f)
				}
				x, err := m.AppendBurst(nil, &b)
				if err != nil {
					t.Fatal(err)
				}
				n := m.Channels()
				var sum, peak float64
				for _, v := range x {
					sum += float64(v) * float64(v)
					peak = max(peak, math.Abs(float64(v)))
				}
				first, last := 0.0, 0.0
				for c := range n {
					first = max(first, math.Abs(float64(x[c])))
					last = max(last, math.Abs(float64(x[len(x)-1-c])))
				}
				level := 10 * math.Log10(sum/float64(len(x)))
				// Preambles are constant envelopes, and silences between are part of a burst.
				if level > modem.LevelDBFS+1 || peak > 1 {
					t.Errorf("%s mode %d, %d octets: %.1f dBFS RMS, peak %.2f", name, mode.MCS, octets, level, peak)
				}
				if first > 0.01 || last > 0.01 {
					t.Errorf("%s mode %d, %d octets: it begins with %.4f and ends with %.4f", name, mode.MCS, octets, first, last)
				}
			}
		}
	}
}
