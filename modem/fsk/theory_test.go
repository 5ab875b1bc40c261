//go:build !race

// These tests count errors over minutes of samples. Under the race detector they
// would take ten times as long and find nothing: the package has no goroutine.

package fsk

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"lightsong/modem"
	"lightsong/modem/dsp"
)

// theoryBER is the bit error rate of non-coherent orthogonal M-FSK over AWGN
// (Proakis, Digital Communications, 4th ed., §5.4.2).
func theoryBER(m int, ebno float64) float64 {
	k := float64(width(m))
	var ps float64
	binomial, sign := 1.0, 1.0
	for n := 1; n < m; n++ {
		binomial *= float64(m-n) / float64(n)
		ps += sign * binomial / float64(n+1) * math.Exp(-float64(n)*k*ebno/float64(n+1))
		sign = -sign
	}
	return ps * float64(m) / (2 * float64(m-1))
}

// ber measures the bit error rate of uncoded symbols over AWGN with the
// receiver's own timing loop, set out at the right place.
func ber(t testing.TB, m int, ebno float64, bits int, seed uint64) float64 {
	t.Helper()
	p := Params{Name: "theory", Tones: m, SymbolRate: 1000, Spacing: 1000, Centre: 500 * float64(m+1), Chirp: Table[0].Chirp, Codes: Table[0].Codes}
	if m == 16 {
		p.Centre = 9500
	}
	d, err := NewDemodulatorOf(testRate, []Params{p})
	if err != nil {
		t.Fatal(err)
	}
	n := d.nums[0]
	rng := rand.New(rand.NewPCG(seed, uint64(m)))
	// Es = A²/2·period, N0/2 = σ² per sample.
	es := amplitude * amplitude / 2 * n.period
	sigma := math.Sqrt(es / (float64(n.width) * ebno) / 2)
	const piece = 500
	d.state, d.known = reading, true
	d.clock = newClock(0, n.period)
	d.base, d.start = -100, 0
	d.buf = append(d.buf[:0], make([]float32, 100)...)
	errors, sent := 0, 0
	var phase float64
	var x []float32
	var tones []uint8
	done := 0
	for sent < bits {
		for range piece {
			tones = append(tones, uint8(rng.IntN(m)))
		}
		x, phase = n.appendTones(x[:0], tones[len(tones)-piece:], phase)
		for i := range x {
			x[i] += float32(sigma * rng.NormFloat64())
		}
		d.buf = append(d.buf, x...)
		for ; done+2 < len(tones) && sent < bits; done++ {
			d.energies = d.energies[:0]
			d.symbol(n, d.banks[0])
			best := 0
			for k, e := range d.energies {
				if e > d.energies[best] {
					best = k
				}
			}
			for diff := label(best) ^ label(int(tones[done])); diff > 0; diff &= diff - 1 {
				errors++
			}
			sent += n.width
		}
		d.drop()
	}
	return float64(errors) / float64(sent)
}

// The points lie where theory says 5e-2, 1e-2 and 2e-3: with 2e5 bits the
// rarest error is counted 400 times, so that 1.5 is more than five standard
// deviations even when the errors of a 16-FSK symbol come in pairs.
func TestBitErrorRateAgainstTheory(t *testing.T) {
	for _, c := range []struct {
		tones int
		want  []float64
	}{{2, []float64{5e-2, 1e-2, 2e-3}}, {4, []float64{5e-2, 1e-2, 2e-3}}, {16, []float64{5e-2, 1e-2, 2e-3}}} {
		for i, want := range c.want {
			t.Run(fmt.Sprintf("%d tones %.0e", c.tones, want), func(t *testing.T) {
				lo, hi := 0., 100.
				for range 60 {
					if mid := (lo + hi) / 2; theoryBER(c.tones, mid) > want {
						lo = mid
					} else {
						hi = mid
					}
				}
				seed := uint64(40 + i)
				got := ber(t, c.tones, lo, 200_000, seed)
				t.Logf("%2d tones, Eb/N0 %5.2f dB: BER %.3e, theory %.3e", c.tones, 10*math.Log10(lo), got, want)
				if got > 1.5*want || got < want/1.5 {
					t.Errorf("Eb/N0 %.2f dB, seed %d: BER %.3e, want %.3e within a factor of 1.5", 10*math.Log10(lo), seed, got, want)
				}
			})
		}
	}
}

// trial sends bursts through a channel and counts what comes of them.
type trial struct {
	bursts, preambles, headers, controls, frames, good int
	quality                                            modem.Quality // of the last burst received
}

func (r trial) delivered() float64 { return float64(r.good) / float64(r.frames) }

func run(t testing.TB, mcs, bursts, frames int, seed uint64, channel func(rng *rand.Rand, x []float32) []float32) trial {
	t.Helper()
	m, d := mustModems(t, testRate)
	mode := Modes(testRate)[mcs]
	var r trial
	for i := range bursts {
		rng := rand.New(rand.NewPCG(seed, uint64(mcs<<16|i)))
		b := message(rng, mcs, 16, frames, mode.FrameOctets)
		x := onAir(t, m, b, 9000+rng.IntN(3000), 5000)
		got := push(d, channel(rng, x), 480)
		r.bursts++
		r.frames += frames
		if len(got.kinds) > 0 {
			r.preambles++
		}
		if got.burst != nil {
			r.headers++
			r.quality = got.quality
			if got.burst.Control != nil {
				r.controls++
			}
			r.good += frames - frameErrors(got.burst, b)
		}
	}
	return r
}

func awgn(snr float64) func(*rand.Rand, []float32) []float32 {
	return func(rng *rand.Rand, x []float32) []float32 {
		addNoise(rng, x, snr)
		return x
	}
}

// At each mode's SNR at least 90 % of the frames are received, and 1 dB below
// it fewer, so the table is right within 1 dB.
func TestModesNeedTheirSNR(t *testing.T) {
	for i, mode := range Modes(testRate) {
		t.Run(mode.Description, func(t *testing.T) {
			const seed = 50
			at, below := run(t, i, 12, 5, seed, awgn(mode.SNRdB)), run(t, i, 12, 5, seed, awgn(mode.SNRdB-1))
			t.Logf("MCS %d, %.0f b/s: %.0f %% at %.1f dB, %.0f %% 1 dB below", i, mode.NetBPS, 100*at.delivered(), mode.SNRdB, 100*below.delivered())
			if at.delivered() < 0.9 {
				t.Errorf("%.0f %% of frames at %.1f dB, want ≥ 90 (seed %d)", 100*at.delivered(), mode.SNRdB, seed)
			}
			if below.delivered() >= 0.9 {
				t.Errorf("%.0f %% of frames at %.1f dB, want < 90: the table is too careful (seed %d)", 100*below.delivered(), mode.SNRdB-1, seed)
			}
		})
	}
}

// Header and control block still come through 3 dB below the SNR that the most
// robust payload of their numerology needs, at least as often as its frames
// there.
func TestHeaderIsStronger(t *testing.T) {
	first := map[*numerology]bool{}
	m, _ := mustModems(t, testRate)
	for i, mode := range Modes(testRate) {
		if first[m.rows[i].num] {
			continue
		}
		first[m.rows[i].num] = true
		const seed, bursts = 51, 40
		r := run(t, i, bursts, 0, seed, awgn(mode.SNRdB-3))
		t.Logf("%s at %.1f dB: preambles %d, headers %d, control blocks %d of %d", m.rows[i].num.params.Name, mode.SNRdB-3, r.preambles, r.headers, r.controls, bursts)
		if r.headers < bursts*9/10 || r.controls < r.headers*9/10 {
			t.Errorf("%s at %.1f dB, seed %d: %d headers and %d control blocks of %d, want ≥ 90 %%", m.rows[i].num.params.Name, mode.SNRdB-3, seed, r.headers, r.controls, bursts)
		}
	}
}

// room convolves with a direct path and an exponentially decaying Gaussian tail
// from half a millisecond on, drawn anew for each burst, and adds noise. drr is
// the ratio of direct to reverberant energy in dB.
func room(rt60, drr, snr float64) func(*rand.Rand, []float32) []float32 {
	return func(rng *rand.Rand, x []float32) []float32 {
		n := int(1.2 * rt60 * testRate)
		h := make([]float32, n) // reversed: the correlator then convolves
		var energy float64
		for i := 24; i < n; i++ {
			v := rng.NormFloat64() * math.Pow(10, -3*float64(i)/(rt60*testRate))
			h[n-1-i] = float32(v)
			energy += v * v
		}
		gain := float32(math.Sqrt(math.Pow(10, -drr/10) / energy))
		for i := range h {
			h[i] *= gain
		}
		h[n-1] = 1
		padded := append(append(make([]float32, n-1), x...), make([]float32, n)...)
		y := dsp.NewCorrelator(h).Append(nil, padded)
		addNoise(rng, y, snr)
		return y
	}
}

func TestRooms(t *testing.T) {
	for _, c := range []struct {
		rt60, drr float64
		want      []float64 // least share of frames delivered, by MCS
	}{
		{0.15, 3, []float64{0.95, 0.7, 0, 0.99, 0.99, 0.95, 0.8, 0}},
		{0.30, 3, []float64{0.95, 0.7, 0, 0.99, 0.99, 0.95, 0.8, 0}},
		{0.30, -3, []float64{0.8, 0, 0, 0.8, 0, 0, 0, 0}},
	} {
		for i, mode := range Modes(testRate) {
			const seed = 52
			r := run(t, i, 16, 4, seed, room(c.rt60, c.drr, 20))
			t.Logf("RT60 %.2f s, DRR %+.0f dB, 20 dB, MCS %d (%.0f b/s): %3.0f %% of frames, control %d/%d, reported SNR %.1f dB, spread %.1f ms, %.0f ppm",
				c.rt60, c.drr, i, mode.NetBPS, 100*r.delivered(), r.controls, r.bursts, r.quality.SNR, 1000*r.quality.DelaySpread, r.quality.PPM)
			if r.delivered() < c.want[i] {
				t.Errorf("RT60 %.2f s, DRR %+.0f dB, MCS %d: %.0f %% of frames, want ≥ %.0f (seed %d)", c.rt60, c.drr, i, 100*r.delivered(), 100*c.want[i], seed)
			}
		}
	}
}

// A sender whose clock is 312 ppm off, for 3 s and more. Its samples are those
// of a modulator at a rate that is as much lower as its clock is fast.
func TestClockOffset(t *testing.T) {
	for _, rate := range []int{47985, 48015} {
		ppm := (testRate/float64(rate) - 1) * 1e6
		m, err := NewModulator(rate)
		if err != nil {
			t.Fatal(err)
		}
		_, d := mustModems(t, testRate)
		for i, mode := range Modes(testRate) {
			const seed = 53
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			b := message(rng, i, 16, 0, 0)
			for m.Samples(b) < 3*testRate {
				b.Frames = append(b.Frames, random(rng, mode.FrameOctets))
			}
			x := onAir(t, m, b, 9000, 5000)
			addNoise(rng, x, mode.SNRdB+2)
			r := push(d, x, 480)
			bad := frameErrors(r.burst, b)
			t.Logf("MCS %d, %d frames, %+.0f ppm: %d bad, measured %+.1f ppm", i, len(b.Frames), ppm, bad, r.quality.PPM)
			if bad > len(b.Frames)/20 {
				t.Errorf("MCS %d at %+.0f ppm, 2 dB above its SNR: %d of %d frames bad, want ≤ 5 %% (seed %d)", i, ppm, bad, len(b.Frames), seed)
			}
			// A symbol's timing has a deviation of about a tenth of it at this
			// SNR; a line through n of them is known to √12/n^1.5 of that.
			symbols := float64(len(x)) / m.rows[i].num.period
			tolerance := 5 + 5*0.1*1e6*math.Sqrt(12)/math.Pow(symbols, 1.5)*math.Sqrt(2/clockGain)
			if math.Abs(r.quality.PPM-ppm) > tolerance {
				t.Errorf("MCS %d: measured %+.1f ppm, want %+.1f ± %.1f (seed %d)", i, r.quality.PPM, ppm, tolerance, seed)
			}
		}
	}
}

// Preambles are found at the SNR of their numerology's most robust mode less 3
// dB, where its headers still are to be read; noise does not pass for one.
func TestDetection(t *testing.T) {
	m, d := mustModems(t, testRate)
	first := map[*numerology]bool{}
	for i, mode := range Modes(testRate) {
		if first[m.rows[i].num] {
			continue
		}
		first[m.rows[i].num] = true
		const seed, bursts = 54, 50
		found := 0
		for k := range bursts {
			rng := rand.New(rand.NewPCG(seed, uint64(i<<16|k)))
			n := m.rows[i].num
			start := 9000 + rng.IntN(3000)
			x := append(append(make([]float32, start), n.chirp...), make([]float32, 12000)...)
			addNoise(rng, x, mode.SNRdB-3)
			d.Reset()
			origin := d.base + int64(len(d.buf))
			d.Push(x, func(ev modem.Event) {
				// A symbol's tenth, or the width of the compressed chirp.
				near := 0.1*n.period + testRate/math.Abs(n.params.Chirp.To-n.params.Chirp.From)
				if ev.Kind == modem.Preamble && math.Abs(float64(ev.Start-origin-int64(start))) <= near {
					found++
				}
			})
		}
		t.Logf("%s at %.1f dB: %d of %d preambles", n(m, i), mode.SNRdB-3, found, bursts)
		if found < bursts*95/100 {
			t.Errorf("%s at %.1f dB: %d of %d preambles, want ≥ 95 %% (seed %d)", n(m, i), mode.SNRdB-3, found, bursts, seed)
		}
	}
	const minutes = 3
	if f := falseAlarms(t, minutes); f > 0 {
		t.Errorf("%d false alarms in %d minutes of noise, want none: 0.05 an hour are expected", f, minutes)
	}
}

func n(m *Modulator, mcs int) string { return m.rows[mcs].num.params.Name }

// falseAlarms counts preambles in Gaussian noise.
func falseAlarms(t testing.TB, minutes int) int {
	_, d := mustModems(t, testRate)
	rng := rand.New(rand.NewPCG(55, 55))
	x := make([]float32, testRate)
	found := 0
	for range 60 * minutes {
		clear(x)
		addNoise(rng, x, 0)
		d.Push(x, func(ev modem.Event) {
			if ev.Kind == modem.Preamble {
				found++
			}
		})
	}
	return found
}

// BenchmarkFalseAlarms counts preambles in an hour of noise.
func BenchmarkFalseAlarms(b *testing.B) {
	for b.Loop() {
		b.ReportMetric(float64(falseAlarms(b, 60)), "alarms/h")
	}
}

// BenchmarkRequiredSNR measures, by bisection, the SNR from which 90 % of
// frames are received: the figures of Table.
func BenchmarkRequiredSNR(b *testing.B) {
	for i, mode := range Modes(testRate) {
		b.Run(mode.Description, func(b *testing.B) {
			for b.Loop() {
				lo, hi := mode.SNRdB-3, mode.SNRdB+3
				for hi-lo > 0.05 {
					if mid := (lo + hi) / 2; run(b, i, 40, 5, 56, awgn(mid)).delivered() < 0.9 {
						lo = mid
					} else {
						hi = mid
					}
				}
				b.ReportMetric(hi, "dB")
			}
		})
	}
}

// Over white noise the reported SNR is the true one, up to where what a
// numerology's own timing jitter leaks between its tones is louder than the
// noise: that is never below 20 dB.
func TestReportedSNR(t *testing.T) {
	for mcs, mode := range Modes(testRate) {
		for _, c := range []struct{ snr, low, high float64 }{
			{mode.SNRdB + 2, -1, 1}, {10, -1, 1}, {20, -2, 1}, {40, -20, 1},
		} {
			const seed = 57
			r := run(t, mcs, 1, 4, seed, awgn(c.snr))
			t.Logf("MCS %d at %.1f dB: reported %.1f", mcs, c.snr, r.quality.SNR)
			if got := r.quality.SNR; got < c.snr+c.low || got > c.snr+c.high {
				t.Errorf("MCS %d at %.1f dB: reported %.1f, want %.1f to %.1f (seed %d)", mcs, c.snr, got, c.snr+c.low, c.snr+c.high, seed)
			}
		}
	}
}
