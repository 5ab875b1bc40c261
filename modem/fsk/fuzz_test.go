package fsk

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"lightsong/modem"
)

// checkEvents fails when events do not come in the order that modem.EventKind
// promises or hold what they must not.
func checkEvents(t *testing.T) func(modem.Event) {
	last := modem.Missed
	return func(ev modem.Event) {
		switch ev.Kind {
		case modem.Preamble:
			if last != modem.Missed && last != modem.Received {
				t.Fatalf("Preamble after %d", last)
			}
		case modem.Announced, modem.Missed:
			if last != modem.Preamble {
				t.Fatalf("event %d after %d", ev.Kind, last)
			}
		case modem.Received:
			if last != modem.Announced {
				t.Fatalf("Received after %d", last)
			}
			for _, f := range ev.Burst.Frames {
				if f != nil && len(f) == 0 {
					t.Fatal("an empty frame")
				}
			}
		}
		if ev.Start > ev.End {
			t.Fatalf("a burst from %d to %d", ev.Start, ev.End)
		}
		last = ev.Kind
	}
}

// FuzzDemodulator damages a burst: ops are pairs of a place and what happens
// there to the following samples.
func FuzzDemodulator(f *testing.F) {
	m, err := NewModulator(8000)
	if err != nil {
		f.Fatal(err)
	}
	d, err := NewDemodulator(8000)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint8(1), uint16(100), []byte{})
	f.Add(uint8(0), uint16(1), []byte{10, 1, 200, 2})
	f.Add(uint8(2), uint16(7000), []byte{0, 0, 50, 3, 60, 4, 70, 5, 80, 6})
	f.Fuzz(func(t *testing.T, mcs uint8, piece uint16, ops []byte) {
		rng := rand.New(rand.NewPCG(uint64(mcs), uint64(piece)))
		b := message(rng, int(mcs)%3, 1, 1, 4)
		x, err := m.AppendBurst(make([]float32, 1500), b)
		if err != nil {
			t.Fatal(err)
		}
		x = append(x, make([]float32, 1500)...)
		for i := 0; i+1 < len(ops) && i < 64; i += 2 {
			part := x[int(ops[i])*len(x)/256:]
			part = part[:min(len(part), 40)]
			for k := range part {
				switch ops[i+1] % 8 {
				case 0:
					part[k] = 0
				case 1:
					part[k] = float32(math.NaN())
				case 2:
					part[k] = float32(math.Inf(1 - 2*(k&1)))
				case 3:
					part[k] = -part[k]
				case 4:
					part[k] *= 1e30
				case 5:
					part[k] += float32(rng.NormFloat64())
				case 6:
					part[k] = math.Float32frombits(binary.LittleEndian.Uint32([]byte{ops[i], ops[i+1], byte(k), ops[i] ^ byte(k)}))
				case 7:
					part[k] = math.Float32frombits(math.Float32bits(part[k]) ^ 1<<(ops[i]&31))
				}
			}
		}
		d.Reset()
		emit := checkEvents(t)
		for n := max(1, int(piece)); len(x) > 0; {
			k := min(n, len(x))
			d.Push(x[:k], emit)
			x = x[k:]
		}
	})
}

// FuzzHeader reads any octets as a header; one that passes is one that would
// be sent.
func FuzzHeader(f *testing.F) {
	f.Add(header{mcs: 3, frames: 5, frameOctets: 100, controlOctet: 12}.append(nil))
	f.Add(make([]byte, headerOctets))
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) != headerOctets {
			return
		}
		if h, ok := parseHeader(p); ok {
			if again := h.append(nil); string(again) != string(p) {
				t.Fatalf("% x parses as %+v, which is % x", p, h, again)
			}
		}
	})
}
