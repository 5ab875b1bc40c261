package line

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"

	"lightsong/modem"
)

// sameOctets tells whether two bursts hold the same.
func sameOctets(a, b *modem.Burst) bool {
	if a.MCS != b.MCS || !bytes.Equal(a.Control, b.Control) || len(a.Frames) != len(b.Frames) {
		return false
	}
	for i := range a.Frames {
		if !bytes.Equal(a.Frames[i], b.Frames[i]) {
			return false
		}
	}
	return true
}

// A short burst at a slow chip rate goes ahead at the highest one too; whichever
// comes, and whichever parts of both, it is one burst.
func TestCopies(t *testing.T) {
	const seed = 12
	rnd := rand.New(rand.NewPCG(seed, seed))
	dark := func(body []byte, from int) []byte { // the board heard nothing from there on
		rnd := rand.New(rand.NewPCG(seed, 2))
		copy(body[from:], random(rnd, len(body)-from))
		return body
	}
	for _, tt := range []struct {
		name  string
		burst *modem.Burst
		touch func(i int, body []byte) []byte
		rate  int // of which the quality tells
	}{
		{"both", burstOf(rnd, 2, 1, 90, 22), nil, 0},
		{"mode 0", burstOf(rnd, 0, 1, 60, 22), nil, 0},
		{"mode 1", burstOf(rnd, 1, 3, 100, 22), nil, 0},
		{"control block alone", burstOf(rnd, 2, 0, 0, 22), nil, 0},
		{"frames alone", burstOf(rnd, 2, 2, 90, 0), nil, 0},
		{"only the copy", burstOf(rnd, 2, 2, 90, 22), func(i int, body []byte) []byte {
			if i == 0 {
				return body
			}
			return nil
		}, 0},
		{"only the slow one", burstOf(rnd, 2, 2, 90, 22), func(i int, body []byte) []byte {
			if i == 1 {
				return body
			}
			return nil
		}, 3},
		{"the copy breaks off, the slow one's header is lost", burstOf(rnd, 2, 2, 90, 22), func(i int, body []byte) []byte {
			if i == 0 {
				return dark(body, 132)
			}
			copy(body, random(rnd, headOctets))
			return body
		}, 0},
	} {
		enc, dec := &Encoder{Copies: true}, new(Decoder)
		const ber = 0.002
		c := through(t, enc, dec, tt.burst, rnd, ber, tt.touch)
		dec.Flush(c.emit)
		if len(c.received) != 1 || c.missed != 0 || c.announce != 1 {
			t.Errorf("%s: %d bursts, %d announced, %d missed (seed %d)", tt.name, len(c.received), c.announce, c.missed, seed)
			continue
		}
		got := c.received[0]
		if !sameOctets(&got.burst, tt.burst) {
			t.Errorf("%s: the burst is another one (seed %d)", tt.name, seed)
		}
		// Of a copy of 200 octets the error rate is known to a factor of 2, which is 3 dB;
		// a slower rate's figure is 18 dB lower.
		if want := SNR(tt.rate, ber); tt.rate > 0 && math.Abs(got.SNR-want) > 3*stretch {
			t.Errorf("%s: %.0f dB, want %.0f (seed %d)", tt.name, got.SNR, want, seed)
		} else if slow := SNR(schemes[tt.burst.MCS].rate, ber); tt.rate == 0 && got.SNR < slow+6*stretch {
			t.Errorf("%s: %.0f dB is the slow chips' figure (seed %d)", tt.name, got.SNR, seed)
		}
		// Time and announcements.
		bodies, err := enc.Encode(tt.burst)
		if err != nil || len(bodies) != 2 || bodies[0].Rate != 0 || bodies[1].Rate != schemes[tt.burst.MCS].rate {
			t.Fatalf("%s: %d bodies, %v", tt.name, len(bodies), err)
		}
		micros := func(b Body) int {
			return ChipMicros(b.Rate) * (OverheadChips + chipsPerOctet*len(b.Octets))
		}
		slow := micros(bodies[1])
		total := micros(bodies[0]) + PauseMicros + slow
		if got := Micros(tt.burst, true); got != total {
			t.Errorf("%s: %d µs, want %d", tt.name, got, total)
		}
		if got := Micros(tt.burst, false); got != slow {
			t.Errorf("%s: %d µs without a copy, want %d", tt.name, got, slow)
		}
		for i, want := range []Announcement{
			{MCS: tt.burst.MCS, Rate: 0, Segment: copySegment, RestMicros: total},
			{MCS: tt.burst.MCS, Rate: bodies[1].Rate, RestMicros: slow},
		} {
			got, ok := dec.Peek(bodies[i].Octets)
			if want.Tag = got.Tag; !ok || got != want {
				t.Errorf("%s: body %d announces %+v %v, want %+v", tt.name, i, got, ok, want)
			}
		}
		dec.Push(&Heard{Rate: 0, Body: bodies[0].Octets, PPM: math.NaN(), PeakDBFS: math.NaN()}, c.emit)
		if rest, ok := dec.RemainingMicros(); !ok || rest != PauseMicros+slow {
			t.Errorf("%s: %d µs to go after the copy, want %d", tt.name, rest, PauseMicros+slow)
		}
	}
}

// Bursts that are fast or long have no copy, nor has any where the highest chip
// rate is not to be used.
func TestNoCopies(t *testing.T) {
	rnd := rand.New(rand.NewPCG(13, 13))
	for _, tt := range []struct {
		burst  *modem.Burst
		copies bool
	}{
		{burstOf(rnd, 2, 1, 90, 22), false},
		{burstOf(rnd, 3, 1, 90, 22), true},
		{burstOf(rnd, 8, 1, 90, 22), true},
		{burstOf(rnd, 2, 2, 500, 22), true},
		{burstOf(rnd, 2, 5, Modes()[2].FrameOctets, 22), true},
	} {
		enc := &Encoder{Copies: tt.copies}
		bodies, err := enc.Encode(tt.burst)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range bodies {
			if x.Rate != schemes[tt.burst.MCS].rate {
				t.Errorf("MCS %d, %d frames: a body at chip rate %d", tt.burst.MCS, len(tt.burst.Frames), x.Rate)
			}
		}
		if Micros(tt.burst, tt.copies) != Micros(tt.burst, false) {
			t.Errorf("MCS %d, %d frames: time for a copy", tt.burst.MCS, len(tt.burst.Frames))
		}
		c := through(t, enc, new(Decoder), tt.burst, rnd, 0, nil)
		if len(c.received) != 1 || !sameOctets(&c.received[0].burst, tt.burst) {
			t.Errorf("MCS %d, %d frames: not what was sent", tt.burst.MCS, len(tt.burst.Frames))
		}
	}
}
