package ofdm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"lightsong/modem"
)

// threshold is the lowest SNR, in steps of 0.25 dB, from which 90 % of a mode's
// full frames are received over white noise and 40 ppm of skew, two channels
// with a crosstalk of −40 dB, on the scale of Mode.SNRdB.
func threshold(b *testing.B, s *station, m modem.Mode) float64 {
	frames := max(1, min(typicalFrames, int(typicalSeconds*m.NetBPS/8/float64(m.FrameOctets)+0.5)))
	// Of the bursts of about that length the one whose symbols have the fewest
	// cells to spare, which make its code stronger than its mode promises.
	tightest, pl := 0., s.mod.plan
	for n := frames; n > frames*3/4; n-- {
		if pl.set(s.mod.prof, s.mod.scale, int(m.MCS), n, m.FrameOctets, 16) != nil {
			continue
		}
		if r := float64(pl.net) / float64(pl.cells); r > tightest {
			tightest, frames = r, n
		}
	}
	bursts := max(3, (48+frames-1)/frames)
	if m.NetBPS < 300 {
		bursts = 20
	}
	good := func(snr float64) bool {
		rng := rand.New(rand.NewPCG(7, uint64(m.MCS)))
		o := s.send(b, path{snr: snr, ppm: 40, crosstalk: -40}, int(m.MCS), bursts, frames, m.FrameOctets, 16, rng)
		return o.share() >= 0.9
	}
	snr := math.Round(4*m.SNRdB) / 4
	for good(snr) {
		snr -= 1
	}
	for step := 1.; step >= 0.25; step /= 2 {
		for !good(snr) {
			snr += step
		}
		if step > 0.25 {
			snr -= step / 2
		}
	}
	return snr
}

// BenchmarkModeTable measures the SNR of the tables in profile.go:
//
//	go test -run '^$' -bench ModeTable/cable -benchtime 1x -timeout 0 ./modem/ofdm
//
// Beside it stands the gap to Shannon's limit for the net bit rate in the
// occupied band, everything counted.
func BenchmarkModeTable(b *testing.B) {
	for _, p := range profiles {
		for _, m := range Modes(p.name, 48000) {
			b.Run(fmt.Sprintf("%s/%d", p.name, m.MCS), func(b *testing.B) {
				s := newStation(b, p.name, 48000)
				for range b.N {
					snr := threshold(b, s, m)
					b.ReportMetric(snr, "dB")
					b.ReportMetric(m.SNRdB, "table-dB")
					b.ReportMetric(m.NetBPS, "bit/s")
					b.ReportMetric(snr-shannon(m.NetBPS/float64(p.channels()), m.BandwidthHz), "gap-dB")
				}
			})
		}
	}
}

// shannon is the SNR over 0…24 kHz at which a band holds bps bit/s at most.
func shannon(bps, band float64) float64 {
	return 10*math.Log10(math.Pow(2, bps/band)-1) + 10*math.Log10(band/24000)
}

// BenchmarkPreamble measures how often the chirps are found, by class and SNR in
// the band.
func BenchmarkPreamble(b *testing.B) {
	for class := range cable.classes {
		for _, snr := range []float64{-18, -16, -14, -12, -9, -6, -3, 0} {
			b.Run(fmt.Sprintf("%dms/%gdB", cable.classes[class].chirp*1000/baseRate, snr), func(b *testing.B) {
				p, s, _ := find("cable", baseRate)
				f := newFinder(p, s, class, nil)
				x := chirp(&p.classes[class], 1)
				rng := rand.New(rand.NewPCG(5, uint64(class)))
				sigma := math.Pow(10, -(snr+10*math.Log10((cable.classes[class].hi-cable.classes[class].lo)/24000))/20)
				for range b.N {
					const tries = 200
					found := 0
					for range tries {
						block := make([]float32, f.n)
						at := rng.IntN(f.hop())
						copy(block[at:], x)
						for i := range block {
							block[i] += float32(sigma * rng.NormFloat64())
						}
						if lag, ok := f.scan(block, 0, f.hop()); ok && lag-at < 30 && at-lag < 30 {
							found++
						}
					}
					b.ReportMetric(100*float64(found)/tries, "found-%")
				}
			})
		}
	}
}

// The time of one second on the air: ns/op over 1e9 is the share of a core.

func BenchmarkIdle(b *testing.B) {
	for _, p := range profiles {
		b.Run(p.name, func(b *testing.B) {
			d, err := NewDemodulator(p.name, 48000)
			if err != nil {
				b.Fatal(err)
			}
			rng := rand.New(rand.NewPCG(1, 1))
			x := make([]float32, 48000*p.channels())
			for i := range x {
				x[i] = 0.01 * float32(rng.NormFloat64())
			}
			b.ReportAllocs()
			for b.Loop() {
				d.Push(x, func(modem.Event) {})
			}
		})
	}
}

func benchmarkBurst(b *testing.B, run func(b *testing.B, s *station, burst *modem.Burst, heard []float32)) {
	for _, c := range []struct {
		name        string
		profile     string
		mcs, frames int
		path        path
	}{
		{"cable-bulk", "cable", len(cable.modes) - 3, 90, path{snr: 62, ppm: 40}},
		{"cable2-bulk", "cable2", len(cable2.modes) - 3, 90, path{snr: 62, ppm: 40, crosstalk: -30}},
		{"cable-12dB", "cable", 22, 16, path{snr: 12, ppm: 40}},
		{"air-40kbps", "air", 23, 10, path{snr: 20, ppm: 40, roomFor: roomOf(0.3, 3, 48000)}},
		{"air-packet", "air", 24, 1, path{snr: 20, ppm: 40, roomFor: roomOf(0.3, 3, 48000)}},
		{"air-packet-hard", "air", 22, 1, path{snr: 20, ppm: 40, roomFor: roomOf(0.5, -3, 48000)}},
		{"air-bulk", "air", 30, 40, path{snr: 20, ppm: 40, roomFor: roomOf(0.3, 3, 48000)}},
		{"robust", "cable", 3, 1, path{snr: -14, ppm: 40}},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := newStation(b, c.profile, 48000)
			rng := rand.New(rand.NewPCG(1, 1))
			burst := burstOf(rng, c.mcs, c.frames, s.mod.prof.modes[c.mcs].octets, 16)
			x, err := s.mod.AppendBurst(nil, burst)
			if err != nil {
				b.Fatal(err)
			}
			heard := s.carry(c.path, x, 500, 500, rng)
			b.ReportAllocs()
			run(b, s, burst, heard)
			seconds := float64(s.mod.Samples(burst)) / 48000
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1e9/seconds, "core")
			b.ReportMetric(8*float64(c.frames*s.mod.prof.modes[c.mcs].octets)/seconds/1000, "kbit/s")
		})
	}
}

func BenchmarkReceive(b *testing.B) {
	benchmarkBurst(b, func(b *testing.B, s *station, _ *modem.Burst, heard []float32) {
		good, all := 0, 0
		for b.Loop() {
			s.dem.Push(heard, func(e modem.Event) {
				if e.Kind == modem.Received {
					for _, f := range e.Burst.Frames {
						all++
						if f != nil {
							good++
						}
					}
				}
			})
		}
		b.ReportMetric(100*float64(good)/float64(max(1, all)), "delivered-%")
	})
}

func BenchmarkTransmit(b *testing.B) {
	benchmarkBurst(b, func(b *testing.B, s *station, burst *modem.Burst, _ []float32) {
		var x []float32
		for b.Loop() {
			x, _ = s.mod.AppendBurst(x[:0], burst)
		}
	})
}
