package ofdm

import (
	"math"
	"testing"

	"lightsong/modem"
)

// TestConstellation receives a clean burst of each kind of layout and wants its
// cells to be points of the mode's QAM.
func TestConstellation(t *testing.T) {
	for _, tt := range []struct {
		profile string
		mcs     modem.MCS
		frames  int
		octets  int
	}{
		{"cable", 12, 2, 100}, {"cable", 24, 2, 400}, {"ultra", 10, 1, 60}, {"air", 21, 1, 200}, {"air", 14, 1, 500}, {"cable2", 12, 2, 300},
	} {
		m, err := NewModulator(tt.profile, 48000)
		if err != nil {
			t.Fatal(err)
		}
		d, err := NewDemodulator(tt.profile, 48000)
		if err != nil {
			t.Fatal(err)
		}
		b := modem.Burst{MCS: tt.mcs}
		for i := range tt.frames {
			f := make([]byte, tt.octets)
			for j := range f {
				f[j] = byte(j*j*7 + j + 31*i)
			}
			b.Frames = append(b.Frames, f)
		}
		channels := Channels(tt.profile)
		x, err := m.AppendBurst(make([]float32, 9600*channels), &b)
		if err != nil {
			t.Fatal(err)
		}
		x = append(x, make([]float32, 48000*channels)...)
		var cells []complex64
		bits, unit := 0, 0.0
		d.Push(x, func(ev modem.Event) {
			if ev.Kind == modem.Received {
				cells = d.AppendConstellation(cells)
				p := &d.rx.plan
				bits, unit = p.mode.bits, float64(d.rx.coder.bodyQAM(p).unit)
				if p.isBlock { // never shaped
					unit = float64(newQAM(bits).unit)
				}
			}
		})
		if least := 8 * tt.octets * tt.frames / bits; len(cells) < least {
			t.Errorf("%s mode %d: %d cells, want at least %d", tt.profile, tt.mcs, len(cells), least)
			continue
		}
		if again := d.AppendConstellation(nil); len(again) != 0 {
			t.Errorf("%s mode %d: %d cells when no burst is being received", tt.profile, tt.mcs, len(again))
		}
		// The nearest point of the grid of the mode's constellation.
		spacing, side := 2*unit, math.Pow(2, float64(bits)/2)
		var off float64
		for _, z := range cells {
			for _, v := range []float64{float64(real(z)), float64(imag(z))} {
				p := math.Round(v/spacing-0.5) + 0.5
				p = max(-(side-1)/2, min((side-1)/2, p))
				off += (v - p*spacing) * (v - p*spacing)
			}
		}
		// Nothing but the modem's own imperfection: 30 dB below the power.
		if db := 10 * math.Log10(off/float64(len(cells))); db > -30 {
			t.Errorf("%s mode %d, %d bits a cell: %.1f dB away from its points", tt.profile, tt.mcs, bits, db)
		}
	}
}
