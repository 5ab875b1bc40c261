package ofdm

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
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

// BenchmarkFigures measures what README says, each over fresh noise:
//
//	go test -run '^$' -bench Figures -benchtime 1x -timeout 0 ./modem/ofdm
//
// goodput is payload delivered over time on the air, everything counted; ebn0
// the energy of everything sent over the payload bits sent.
func BenchmarkFigures(b *testing.B) {
	clean := path{snr: 60, ppm: 40, highHz: 20, bits: 16}
	two := clean
	two.crosstalk, two.delay = -40, 0.3
	tight := two
	tight.crosstalk = -20
	wide, wideTight := two, tight
	wide.rate, wideTight.rate = 192000, 192000
	roomA := func(snr float64) path { return path{snr: snr, ppm: 80, roomFor: roomOf(0.3, 3, 48000)} }
	roomB := func(snr float64) path { return path{snr: snr, ppm: 80, roomFor: roomOf(0.5, -3, 48000)} }
	noise := func(snr float64) path { return path{snr: snr, ppm: 40} }
	// The fastest mode that delivers 95 % over some bursts of one seed is measured with
	// another.
	for _, l := range []struct {
		name                            string
		profile                         string
		path                            path
		frames, octets, control, bursts int
	}{
		{"1-cable-60dB-bulk", "cable", clean, 180, 0, 8, 2},
		{"2-cable2-60dB-bulk", "cable2", two, 180, 2048, 8, 2},
		{"2-cable2-60dB-bulk-crosstalk-20dB", "cable2", tight, 180, 2048, 8, 2},
		{"2-cable2-192k-60dB-bulk", "cable2", wide, 180, 4095, 8, 2},
		{"2-cable2-192k-60dB-bulk-crosstalk-20dB", "cable2", wideTight, 180, 4095, 8, 2},
		{"3-cable-37dB-bulk", "cable", noise(37), 130, 0, 8, 2},
		{"3-cable-22dB-bulk", "cable", noise(22), 80, 0, 8, 2},
		{"3-cable-12dB-bulk", "cable", noise(12), 48, 0, 8, 2},
		{"3-cable-5dB-bulk", "cable", noise(5), 22, 0, 8, 3},
		{"3-cable-60dB-1000B", "cable", clean, 1, 1000, 0, 40},
		{"9-cable-60dB-64B", "cable", clean, 1, 64, 0, 40},
		{"5-awgn-19dB", "cable", noise(-19), 1, 144, 0, 40},
		{"6-roomA-20dB-1000B", "air", roomA(20), 1, 1000, 0, 60},
		{"6-roomA-20dB-40kB", "air", roomA(20), 40, 1000, 0, 10},
		{"7-roomB-25dB-1000B", "air", roomB(25), 1, 1000, 0, 60},
		{"7-roomB-20dB-1000B", "air", roomB(20), 1, 1000, 0, 60},
		{"7-roomB-25dB-40kB", "air", roomB(25), 40, 1000, 0, 10},
		{"7-roomB-20dB-40kB", "air", roomB(20), 40, 1000, 0, 10},
		{"7-robust-RT0.6-0dB", "air", path{snr: 0, ppm: 80, roomFor: roomOf(0.6, -3, 48000)}, 1, 384, 0, 40},
		{"7-robust-RT1.0-3dB", "air", path{snr: 3, ppm: 80, roomFor: roomOf(1, -6, 48000)}, 1, 384, 0, 40},
		{"8-ultra-roomA", "ultra", roomA(20), 4, 256, 0, 20},
		{"9-roomA-20dB-64B", "air", roomA(20), 1, 64, 0, 60},
	} {
		b.Run(l.name, func(b *testing.B) {
			rate := cmp.Or(l.path.rate, 48000)
			s := newStation(b, l.profile, rate)
			for range b.N {
				mcs := s.choose(b, l.profile, l.path, l.frames, l.octets, l.control, l.bursts/3+1)
				frames, octets := s.load(mcs, l.frames, l.octets)
				best := s.send(b, l.path, mcs, l.bursts, frames, octets, l.control, rand.New(rand.NewPCG(6, uint64(mcs))))
				m := Modes(l.profile, rate)[mcs]
				b.ReportMetric(best.goodput(), "goodput-bit/s")
				b.ReportMetric(float64(mcs), "mcs")
				b.ReportMetric(100*best.share(), "delivered-%")
				b.ReportMetric(1000*best.seconds/float64(max(1, best.bursts)), "ms/burst")
				streams := float64(s.mod.prof.channels())
				scale := float64(rate) / 48000
				b.ReportMetric(l.path.snr-shannon(best.goodput()/streams/scale, m.BandwidthHz/scale), "gap-dB")
			}
		})
	}
}

// choose is the mode whose burst is the shortest of those that deliver 95 % over
// the path. A few bursts tell whether a mode is worth more.
func (s *station) choose(b *testing.B, profile string, p path, frames, octets, control, bursts int) (mcs int) {
	type candidate struct {
		mcs  int
		rate float64 // payload octets per sample
	}
	var all []candidate
	for i := range s.mod.prof.modes {
		n, each := s.load(i, frames, octets)
		if p.roomFor == nil && s.mod.prof.modes[i].snr < p.snr-8 {
			continue // made for much less
		}
		if s.mod.plan.set(s.mod.prof, s.mod.scale, i, n, each, control) == nil {
			all = append(all, candidate{i, float64(n*each) / float64(s.mod.plan.samples)})
		}
	}
	// Of bursts equally fast the more robust mode comes first.
	slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Compare(b.rate, a.rate) })
	for _, c := range all {
		good := true
		for _, n := range []int{min(bursts, 3), bursts} {
			k, each := s.load(c.mcs, frames, octets)
			o := s.send(b, p, c.mcs, n, k, each, control, rand.New(rand.NewPCG(5, uint64(c.mcs))))
			good = good && o.share() >= 0.95
			if !good {
				break
			}
		}
		if good {
			return c.mcs
		}
	}
	b.Errorf("no mode of %s delivers", profile)
	return 0
}

// load is what a burst of a mode carries: frames of so many octets, or of 0 as
// many KiB in frames that suit the mode.
func (s *station) load(mcs, frames, octets int) (n, each int) {
	if octets > 0 {
		return frames, octets
	}
	each = s.mod.prof.modes[mcs].octets
	return frames * 1024 / each, each
}

// BenchmarkSensitivity measures the modes for weak signals as single packets:
// the least Eb/N0, with everything sent counted, at which 90 % arrive.
//
//	go test -run '^$' -bench Sensitivity -benchtime 1x -timeout 0 ./modem/ofdm
func BenchmarkSensitivity(b *testing.B) {
	for _, octets := range []int{100, 510, 1000} {
		for mcs := 4; mcs < 20; mcs += 1 {
			b.Run(fmt.Sprintf("%dB/%d", octets, mcs), func(b *testing.B) {
				s := newStation(b, "cable", 48000)
				if s.mod.plan.set(s.mod.prof, s.mod.scale, mcs, 1, octets, 0) != nil {
					b.Skip("longer than a burst may be")
				}
				for range b.N {
					snr := cable.modes[mcs].snr - 1.5
					for ; ; snr += 0.25 {
						o := s.send(b, path{snr: snr, ppm: 40}, mcs, 40, 1, octets, 0, rand.New(rand.NewPCG(5, uint64(mcs))))
						if o.share() >= 0.9 {
							// P/N over 24 kHz, times 24 kHz and the time: E/N0.
							energy := snr + 10*math.Log10(24000*o.seconds/float64(o.bursts))
							b.ReportMetric(energy-10*math.Log10(8*float64(octets)), "ebn0-dB")
							break
						}
					}
					b.ReportMetric(snr, "snr-dB")
				}
			})
		}
	}
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
						if lag, ok := f.scan(block, 0); ok && lag-at < 30 && at-lag < 30 {
							found++
						}
					}
					b.ReportMetric(100*float64(found)/tries, "found-%")
				}
			})
		}
	}
}

// BenchmarkFalseAlarms listens to white noise; one iteration is a second of all
// classes. -benchtime 86400x is a day.
func BenchmarkFalseAlarms(b *testing.B) {
	d, err := NewDemodulator("cable", 48000)
	if err != nil {
		b.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(99, 8))
	x := make([]float32, 48000)
	preambles, bursts := 0, 0
	for range b.N {
		for i := range x {
			x[i] = 0.1 * float32(rng.NormFloat64())
		}
		d.Push(x, func(e modem.Event) {
			switch e.Kind {
			case modem.Preamble:
				preambles++
			case modem.Announced:
				bursts++
			}
		})
	}
	b.ReportMetric(3600*float64(preambles)/float64(b.N), "preambles/h")
	b.ReportMetric(float64(bursts), "headers")
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
