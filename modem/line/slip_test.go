package line

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"

	"lightsong/modem"
)

// slip is the body as a bit clock gives it that loses (n < 0) or adds bits at a
// place: the length stays, as the board ends a frame by its length.
func slip(rnd *rand.Rand, body []byte, at, n int) []byte {
	bits := appendBits(nil, body)
	var out []byte
	out = append(out, bits[:at]...)
	for range n {
		out = append(out, byte(rnd.IntN(2)))
	}
	out = append(out, bits[at+max(0, -n):]...)
	for len(out) < len(bits) {
		out = append(out, byte(rnd.IntN(2)))
	}
	return appendOctets(nil, out[:len(bits)])
}

// A slip anywhere behind the header costs the frame that it hits and, where a bit
// was added and so the last one is cut off, the last frame: 1⅓ of three. Where
// frames have a code it mostly costs nothing.
func TestSlips(t *testing.T) {
	const seed = 5
	rnd := rand.New(rand.NewPCG(seed, 5))
	enc, dec := new(Encoder), new(Decoder)
	for _, tt := range []struct {
		mcs   modem.MCS
		ber   float64
		slips int
		most  float64 // frames lost for each slip
	}{
		{10, 0, 1, 1.5}, {10, 0, 2, 1.5}, {9, 1e-3, 1, 0.6}, {8, 1e-3, 1, 0.05}, {8, 1e-2, 1, 0.2}, {7, 1e-2, 2, 0.05},
	} {
		m := Modes()[tt.mcs]
		gone, slips := 0, 0
		for range 60 {
			b := burstOf(rnd, m.MCS, framesPerSegment, m.FrameOctets, 0)
			c := through(t, enc, dec, b, rnd, tt.ber, func(_ int, body []byte) []byte {
				// In the header a slip may cost the segment; in the last two groups nothing tells of it.
				for range tt.slips {
					n := 1 + rnd.IntN(5)
					if rnd.IntN(2) == 0 {
						n = -n
					}
					body = slip(rnd, body, periodBits+rnd.IntN(8*len(body)-4*periodBits), n)
				}
				return body
			})
			if len(c.received) != 1 {
				t.Fatalf("seed %d, MCS %d: %d bursts", seed, m.MCS, len(c.received))
			}
			slips += tt.slips
			gone += lost(t, b, &c.received[0].burst)
		}
		t.Logf("MCS %d, bit error rate %g, %d slips in a light frame: %.2f frames lost for each", tt.mcs, tt.ber, tt.slips, float64(gone)/float64(slips))
		if got := float64(gone) / float64(slips); got > tt.most {
			t.Errorf("seed %d, MCS %d, bit error rate %g: %.2f frames lost for each slip, want at most %g", seed, tt.mcs, tt.ber, got, tt.most)
		}
	}
}

// Without the markers' help a slip of one bit spoils all that follows: the test
// above would be worth nothing if it did not.
func TestSlipsMatter(t *testing.T) {
	rnd := rand.New(rand.NewPCG(6, 6))
	body := make([]byte, 500)
	for i := range body {
		body[i] = byte(rnd.Uint32())
	}
	slipped := slip(rnd, body, 1000, -1)
	wrong := 0
	for i := 1000; i < 8*len(body); i++ {
		if bitAt(body, i) != bitAt(slipped, i) {
			wrong++
		}
	}
	if share := float64(wrong) / 3000; math.Abs(share-0.5) > 0.05 {
		t.Errorf("%.2f of the bits behind a slip are wrong, want about half", share)
	}
}

// Light that breaks off, a hand in the beam: the frames it hits are erased, what
// comes before and after is right, and LLRs in the dark say little.
func TestDark(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 7))
	enc, dec := new(Encoder), new(Decoder)
	m := Modes()[10]
	b := burstOf(rnd, m.MCS, 30, m.FrameOctets, 22)
	dark := func(body []byte, from, to int) []byte {
		copy(body[from:to], random(rnd, to-from))
		return body
	}
	for _, tt := range []struct {
		why   string
		touch func(i int, body []byte) []byte
		most  int
	}{
		{"the middle of segment 4", func(i int, body []byte) []byte {
			if i == 4 {
				return dark(body, 800, 1200)
			}
			return body
		}, 2},
		{"segments 0 to 2 lost: control comes with the last", func(i int, body []byte) []byte {
			if i <= 2 {
				return nil
			}
			return body
		}, 9},
		{"the header of segment 5", func(i int, body []byte) []byte {
			if i == 5 {
				return dark(body, 0, 30)
			}
			return body
		}, 1},
		{"the last segment lost", func(i int, body []byte) []byte {
			if i == 10 {
				return nil
			}
			return body
		}, 3},
	} {
		c := through(t, enc, dec, b, rnd, 0, tt.touch)
		if len(c.received) != 1 {
			t.Fatalf("%s: %d bursts", tt.why, len(c.received))
		}
		got := &c.received[0].burst
		if n := lost(t, b, got); n > tt.most || n == 0 {
			t.Errorf("%s: %d frames lost, want 1 to %d", tt.why, n, tt.most)
		}
		if !bytes.Equal(got.Control, b.Control) {
			t.Errorf("%s: no control block", tt.why)
		}
		if c.received[0].SNR != perfectSNR {
			t.Errorf("%s: SNR %g, want that of the light that got through", tt.why, c.received[0].SNR)
		}
	}
	a := new(aligner)
	body, _ := enc.Encode(b)
	llr := a.llrs(nil, dark(bytes.Clone(body[1].Octets), 400, 600), 1900, 1e-3)
	if in, out := math.Abs(float64(llr[8*490])), math.Abs(float64(llr[8*1200])); in > 1 || out < 5 {
		t.Errorf("LLRs of ±%.2f in the dark, ±%.2f in light, want nearly 0 and about ln(999) = 6.9", in, out)
	}
}

// The measured SNR is that of the light: within 1 dB where errors are many
// enough to count.
func TestSNR(t *testing.T) {
	rnd := rand.New(rand.NewPCG(8, 8))
	enc, dec := new(Encoder), new(Decoder)
	for _, mcs := range []modem.MCS{1, 8} {
		for _, ber := range []float64{1e-3, 1e-2} {
			b := burstOf(rnd, mcs, 9, Modes()[mcs].FrameOctets, 22)
			c := through(t, enc, dec, b, rnd, ber, nil)
			want := SNR(schemes[mcs].rate, ber)
			if got := c.received[0].SNR; math.Abs(got-want) > stretch {
				t.Errorf("MCS %d at a bit error rate of %g: %.1f dB, want %.1f", mcs, ber, got, want)
			}
		}
	}
}

// A header is read from the first 24 octets of a body, with errors too; what it
// tells is what layOut says.
func TestPeek(t *testing.T) {
	rnd := rand.New(rand.NewPCG(9, 9))
	enc, dec := new(Encoder), new(Decoder)
	b := burstOf(rnd, 8, 20, 400, 22)
	bodies, err := enc.Encode(b)
	if err != nil {
		t.Fatal(err)
	}
	rest := Micros(b, false)
	for i, x := range bodies {
		head := bytes.Clone(x.Octets[:24])
		spoil(rnd, head, 0.02)
		a, ok := dec.Peek(head)
		if !ok || a.MCS != 8 || a.Rate != x.Rate || a.Segment != i || a.RestMicros != rest {
			t.Errorf("segment %d: %+v %v, want %d µs to go", i, a, ok, rest)
		}
		rest -= ChipMicros(x.Rate)*(OverheadChips+chipsPerOctet*len(x.Octets)) + PauseMicros
	}
	if _, ok := dec.Peek(bodies[0].Octets[:23]); ok {
		t.Error("a header of 23 octets")
	}
}

// In noise hardly anything passes for a header: 24 bits of check, 8 paths.
func TestNoise(t *testing.T) {
	rnd := rand.New(rand.NewPCG(10, 10))
	dec := new(Decoder)
	var c collect
	for range 300 {
		dec.Push(&Heard{Rate: rnd.IntN(Rates), Body: random(rnd, 1+rnd.IntN(200)), Violations: rnd.IntN(400), PPM: 0, PeakDBFS: -3}, c.emit)
	}
	if len(c.received) != 0 || c.missed != 300 {
		t.Errorf("%d bursts in noise, %d missed, want 0 and 300", len(c.received), c.missed)
	}
}

// Whatever a board says, the decoder takes it, and what it gives out has the
// shape of a burst.
func FuzzDecoder(f *testing.F) {
	rnd := rand.New(rand.NewPCG(11, 11))
	enc := &Encoder{Copies: true}
	for _, mcs := range []modem.MCS{0, 5, 10} {
		bodies, err := enc.Encode(burstOf(rnd, mcs, 4, 60, 22))
		if err != nil {
			f.Fatal(err)
		}
		for _, x := range bodies {
			f.Add(x.Octets, uint8(x.Rate), 3, 0)
			f.Add(x.Octets[:len(x.Octets)/2], uint8(x.Rate), 900, len(x.Octets)-len(x.Octets)/2)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, rate uint8, violations, missing int) {
		dec := new(Decoder)
		check := func(ev modem.Event) {
			if ev.Burst == nil {
				return
			}
			if _, err := boards.planOf(&modem.Burst{MCS: ev.Burst.MCS, Control: ev.Burst.Control}); err != nil {
				t.Errorf("%v", err)
			}
			for _, x := range ev.Burst.Frames {
				if x != nil && len(x) == 0 {
					t.Error("an empty frame")
				}
			}
		}
		dec.Peek(body)
		for range 2 {
			dec.Push(&Heard{Rate: int(rate), Body: body, Violations: violations, Missing: missing, PPM: math.Inf(1), PeakDBFS: math.NaN()}, check)
		}
		dec.Flush(check)
	})
}
