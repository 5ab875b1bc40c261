package line

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"

	"lightsong/modem"
)

// hearLED sends a burst over slots with Gaussian noise: each bit or pair of bits
// is decided as a board does, whose noise figure comes with it.
func hearLED(rnd *rand.Rand, bodies []Body, noise float64, d *Decoder) (got *modem.Burst, q modem.Quality) {
	for _, b := range bodies {
		h := Heard{Rate: b.Rate, Body: bytes.Clone(b.Octets), PPM: math.NaN(), PeakDBFS: math.NaN()}
		deviation, n := 0.0, 0
		for i, v := range b.Octets {
			var out byte
			if b.Rate == ledPairs {
				for bit := 7; bit >= 0; bit-- {
					full := float64(int(v>>bit&1)*2 - 1)
					seen := full + noise*(rnd.NormFloat64()-rnd.NormFloat64())
					out <<= 1
					if seen > 0 {
						out |= 1
					}
					deviation += math.Abs(math.Abs(seen) - 1)
					n++
				}
			} else {
				first, last := rnd.NormFloat64(), rnd.NormFloat64()
				for slot := 1; slot <= 4; slot++ {
					gray := v >> (8 - 2*slot) & 3
					level := float64(gray ^ gray>>1)
					between := first*(1-float64(slot)/5) + last*float64(slot)/5
					seen := level/3 + noise*(rnd.NormFloat64()-between)
					nearest := math.Max(0, math.Min(3, math.Round(3*seen)))
					deviation += math.Abs(seen - nearest/3)
					n++
					out = out<<2 | byte(nearest) ^ byte(nearest)>>1
				}
			}
			h.Body[i] = out
		}
		h.Noise = LEDNoise(b.Rate, uint8(min(255, 512*deviation/float64(n))))
		d.Push(&h, func(ev modem.Event) {
			if ev.Kind == modem.Received {
				c := modem.Burst{MCS: ev.Burst.MCS, Control: bytes.Clone(ev.Burst.Control)}
				for _, f := range ev.Burst.Frames {
					c.Frames = append(c.Frames, bytes.Clone(f))
				}
				got, q = &c, ev.Quality
			}
		})
	}
	return got, q
}

// At the SNR of its table 90 % of a mode's frames arrive, up to half a dB for the
// bit error rate's being that of LDPC on a binary symmetric channel; the SNR that is
// told is the true one.
func TestLEDModesReachTheirThreshold(t *testing.T) {
	const seed, bursts = 11, 12
	modes := LEDModes()
	for _, m := range modes {
		rnd := rand.New(rand.NewPCG(seed, uint64(m.MCS)))
		for _, tt := range []struct{ above, least, most float64 }{{0.5, 0.9, 1}, {-3, 0, 0.5}} {
			e, d := NewLEDEncoder(), NewLEDDecoder()
			noise := math.Pow(10, -(m.SNRdB/ledScale+tt.above)/20)
			came, sent, snr := 0, 0, 0.0
			for range bursts {
				b := modem.Burst{MCS: m.MCS, Control: make([]byte, 22)}
				for range 4 {
					f := make([]byte, m.FrameOctets)
					for i := range f {
						f[i] = byte(rnd.Uint32())
					}
					b.Frames = append(b.Frames, f)
				}
				bodies, err := e.Encode(&b)
				if err != nil {
					t.Fatal(err)
				}
				for _, x := range bodies {
					if len(x.Octets) > ledMost(x.Rate) || x.Rate != LEDRateOf(m.MCS) {
						t.Fatalf("MCS %d: a body of %d octets at rate %d", m.MCS, len(x.Octets), x.Rate)
					}
				}
				got, q := hearLED(rnd, bodies, noise, d)
				sent += len(b.Frames)
				if got == nil {
					continue
				}
				snr += q.SNR / ledScale / bursts
				for i, f := range got.Frames {
					if f == nil {
						continue
					}
					if !bytes.Equal(f, b.Frames[i]) {
						t.Errorf("seed %d MCS %d: a frame that was not sent", seed, m.MCS)
					}
					came++
				}
			}
			share := float64(came) / float64(sent)
			t.Logf("%s: %.1f dB, told %.1f: %.2f of frames", m.Description, m.SNRdB/ledScale+tt.above, snr, share)
			if share < tt.least || share > tt.most {
				t.Errorf("seed %d MCS %d at %.1f dB: %.2f of the frames, want %g to %g", seed, m.MCS, m.SNRdB/ledScale+tt.above, share, tt.least, tt.most)
			}
			// Where symbols are decided wrong what they differ by is too small: told is up to 2 dB more.
			if tt.above > 0 && (snr < m.SNRdB/ledScale+tt.above-0.7 || snr > m.SNRdB/ledScale+tt.above+2) {
				t.Errorf("seed %d MCS %d: told %.1f dB, is %.1f", seed, m.MCS, snr, m.SNRdB/ledScale+tt.above)
			}
		}
	}
}

// The table is in order: each mode is faster than the one before and needs more.
func TestLEDModes(t *testing.T) {
	modes := LEDModes()
	for i, m := range modes {
		t.Logf("%d: %s, %d octets, %.0f b/s, %.1f dB", m.MCS, m.Description, m.FrameOctets, m.NetBPS, m.SNRdB)
		if i > 0 && (m.NetBPS <= modes[i-1].NetBPS || m.SNRdB <= modes[i-1].SNRdB) {
			t.Errorf("MCS %d: %.0f b/s at %.1f dB after %.0f at %.1f", m.MCS, m.NetBPS, m.SNRdB, modes[i-1].NetBPS, modes[i-1].SNRdB)
		}
	}
	// Two bits in a slot less a fifth, of 5000 a second, 9/10 of it, markers and what a segment begins with.
	if top := modes[len(modes)-1].NetBPS; top < 6000 || top > 8000*0.9*32/33 {
		t.Errorf("the fastest mode: %.0f b/s", top)
	}
}
