package fsk

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"lightsong/modem"
)

const testRate = 48000

// oneOfEach are MCSs of all numerologies, for tests that need not try every code
// rate.
var oneOfEach = []int{0, 2, 4, 7}

// message makes a burst with random content.
func message(rng *rand.Rand, mcs, control, frames, octets int) *modem.Burst {
	b := &modem.Burst{MCS: modem.MCS(mcs), Control: random(rng, control)}
	for range frames {
		b.Frames = append(b.Frames, random(rng, octets))
	}
	return b
}

func random(rng *rand.Rand, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(rng.Uint32())
	}
	return p
}

// addNoise adds white Gaussian noise at snr dB below a signal at the level of
// all bursts, over the whole band.
func addNoise(rng *rand.Rand, x []float32, snr float64) {
	sigma := math.Pow(10, (modem.LevelDBFS-snr)/20)
	for i := range x {
		x[i] += float32(sigma * rng.NormFloat64())
	}
}

// receipt is what came of pushing samples.
type receipt struct {
	kinds   []modem.EventKind
	burst   *modem.Burst // of the last Received
	quality modem.Quality
	start   int64
	end     int64
}

func clone(b *modem.Burst) *modem.Burst {
	c := &modem.Burst{MCS: b.MCS}
	if b.Control != nil {
		c.Control = append([]byte{}, b.Control...)
	}
	for _, f := range b.Frames {
		c.Frames = append(c.Frames, bytes.Clone(f))
	}
	return c
}

func push(d *Demodulator, x []float32, piece int) receipt {
	var r receipt
	for len(x) > 0 {
		n := min(piece, len(x))
		d.Push(x[:n], func(ev modem.Event) {
			r.kinds = append(r.kinds, ev.Kind)
			if ev.Kind == modem.Received {
				r.burst, r.quality, r.start, r.end = clone(ev.Burst), ev.Quality, ev.Start, ev.End
			}
		})
		x = x[n:]
	}
	return r
}

// errors counts the frames of want that are not in got.
func frameErrors(got, want *modem.Burst) int {
	if got == nil {
		return len(want.Frames)
	}
	n := 0
	for i, f := range want.Frames {
		if i >= len(got.Frames) || got.Frames[i] == nil || !bytes.Equal(got.Frames[i], f) {
			n++
		}
	}
	return n
}

func mustModems(t testing.TB, rate int) (*Modulator, *Demodulator) {
	t.Helper()
	m, err := NewModulator(rate)
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDemodulator(rate)
	if err != nil {
		t.Fatal(err)
	}
	return m, d
}

// onAir is a burst between silences.
func onAir(t testing.TB, m *Modulator, b *modem.Burst, before, after int) []float32 {
	t.Helper()
	x, err := m.AppendBurst(make([]float32, before), b)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(x)-before, m.Samples(b); got != want {
		t.Fatalf("AppendBurst gave %d samples, Samples says %d", got, want)
	}
	return append(x, make([]float32, after)...)
}

func TestCleanBursts(t *testing.T) {
	for _, rate := range []int{8000, 11025, 16000, 22050, 44100, 48000, 96000, 192000} {
		m, d := mustModems(t, rate)
		for _, mode := range Modes(rate) {
			t.Run(fmt.Sprintf("%d Hz MCS %d", rate, mode.MCS), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(10, uint64(mode.MCS)))
				for _, c := range []struct{ control, frames, octets int }{{0, 0, 0}, {1, 0, 0}, {20, 2, mode.FrameOctets}, {0, 1, 1}} {
					b := message(rng, int(mode.MCS), c.control, c.frames, c.octets)
					r := push(d, onAir(t, m, b, 1000+rng.IntN(500), rate/4), 480)
					if r.burst == nil {
						t.Fatalf("control %d, %d frames of %d: events %v, nothing received", c.control, c.frames, c.octets, r.kinds)
					}
					if r.burst.Control == nil || !bytes.Equal(r.burst.Control, b.Control) || frameErrors(r.burst, b) != 0 || r.burst.MCS != b.MCS {
						t.Errorf("control %d, %d frames of %d: received something else", c.control, c.frames, c.octets)
					}
				}
			})
		}
	}
}

// sender makes one burst of mcs with four frames between silences, and what it
// holds.
func sender(t testing.TB, seed uint64, mcs int) ([]float32, *modem.Burst) {
	t.Helper()
	m, _ := mustModems(t, testRate)
	rng := rand.New(rand.NewPCG(seed, uint64(mcs)))
	b := message(rng, mcs, 16, 4, Modes(testRate)[mcs].FrameOctets)
	return onAir(t, m, b, 9000, 9000), b
}

func TestEventsAndTheirPlaces(t *testing.T) {
	for mcs := range Modes(testRate) {
		x, b := sender(t, 60, mcs)
		m, d := mustModems(t, testRate)
		var kinds []modem.EventKind
		d.Push(x, func(ev modem.Event) {
			kinds = append(kinds, ev.Kind)
			if d := ev.Start - 9000; d < -1 || d > 1 {
				t.Errorf("MCS %d: event %d starts at %d, want 9000", mcs, ev.Kind, ev.Start)
			}
			switch ev.Kind {
			case modem.Announced:
				if len(ev.Burst.Frames) != 4 || ev.Burst.Frames[0] != nil || ev.Burst.MCS != b.MCS {
					t.Errorf("MCS %d: announced %d frames of MCS %d", mcs, len(ev.Burst.Frames), ev.Burst.MCS)
				}
				fallthrough
			case modem.Received:
				if got, want := ev.End-ev.Start, int64(m.Samples(b)); got != want {
					t.Errorf("MCS %d: event %d tells of %d samples, want %d", mcs, ev.Kind, got, want)
				}
			}
		})
		if want := []modem.EventKind{modem.Preamble, modem.Announced, modem.Received}; !slices.Equal(kinds, want) {
			t.Errorf("MCS %d: events %v, want %v", mcs, kinds, want)
		}
	}
}

// Nothing that a sound path does to the samples without noise costs a frame.
func TestHarmlessImpairments(t *testing.T) {
	gain := func(db float64) func([]float32) {
		g := float32(math.Pow(10, db/20))
		return func(x []float32) {
			for i := range x {
				x[i] *= g
			}
		}
	}
	for name, change := range map[string]func([]float32){
		"nothing":   func([]float32) {},
		"polarity":  func(x []float32) { scale(x, -1) },
		"-20 dB":    gain(-20),
		"-40 dB":    gain(-40),
		"DC offset": func(x []float32) { offset(x, 0.5) },
		"6 dB of clipping": func(x []float32) {
			limit := float32(amplitude / 2)
			for i, v := range x {
				x[i] = max(-limit, min(limit, v))
			}
		},
		"16 bits": func(x []float32) {
			for i, v := range x {
				x[i] = float32(math.Round(float64(v)*32767) / 32767)
			}
		},
		"50 Hz hum": func(x []float32) {
			for i := range x {
				x[i] += float32(0.3 * math.Sin(2*math.Pi*50*float64(i)/testRate))
			}
		},
		"two NaN and an Inf": func(x []float32) {
			x[20000], x[20001], x[20003] = float32(math.NaN()), float32(math.NaN()), float32(math.Inf(-1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, mcs := range oneOfEach {
				x, b := sender(t, 61, mcs)
				change(x)
				_, d := mustModems(t, testRate)
				if r := push(d, x, 777); frameErrors(r.burst, b) != 0 || !bytes.Equal(r.burst.Control, b.Control) {
					t.Errorf("MCS %d: %d of 4 frames lost, events %v", mcs, frameErrors(r.burst, b), r.kinds)
				}
			}
		})
	}
}

func scale(x []float32, by float32) {
	for i := range x {
		x[i] *= by
	}
}

func offset(x []float32, by float32) {
	for i := range x {
		x[i] += by
	}
}

// The pieces in which samples come make no difference.
func TestPushesOfAnySize(t *testing.T) {
	for _, mcs := range []int{0, 3, 7} {
		x, b := sender(t, 62, mcs)
		addNoise(rand.New(rand.NewPCG(62, 1)), x, 10)
		var first modem.Quality
		for _, piece := range []int{len(x), 1, 7, 4096, 100_000} {
			_, d := mustModems(t, testRate)
			r := push(d, x, piece)
			if frameErrors(r.burst, b) != 0 {
				t.Fatalf("MCS %d in pieces of %d: frames lost", mcs, piece)
			}
			if piece == len(x) {
				first = r.quality
			}
			if r.quality.SNR != first.SNR || r.quality.PPM != first.PPM {
				t.Errorf("MCS %d in pieces of %d: %+v, at once %+v", mcs, piece, r.quality, first)
			}
		}
	}
}

// A dropout, a run of NaN or a burst of noise in one frame costs that frame at
// most; the frames around it come.
func TestHitsCostOneFrame(t *testing.T) {
	for name, hit := range map[string]func(rng *rand.Rand, x []float32){
		"silence": func(_ *rand.Rand, x []float32) { clear(x) },
		"NaN": func(_ *rand.Rand, x []float32) {
			for i := range x {
				x[i] = float32(math.NaN())
			}
		},
		"noise at +20 dB": func(rng *rand.Rand, x []float32) { addNoise(rng, x, -20) },
		"full scale":      func(_ *rand.Rand, x []float32) { scale(x, 1e30) },
	} {
		t.Run(name, func(t *testing.T) {
			for _, mcs := range oneOfEach {
				x, b := sender(t, 63, mcs)
				addNoise(rand.New(rand.NewPCG(63, 1)), x, 20)
				m, d := mustModems(t, testRate)
				n := m.rows[mcs].num
				frame := n.symbolSamples(frameBlock(m.rows[mcs].coding.Rate, len(b.Frames[0]), 0).symbols(n.width))
				middle := 9000 + m.Samples(b) - n.fade - 2*frame - frame/2 // of frame 1
				hit(rand.New(rand.NewPCG(63, 2)), x[middle-240:middle+240])
				r := push(d, x, 480)
				if r.burst == nil || len(r.burst.Frames) != 4 {
					t.Fatalf("MCS %d: events %v", mcs, r.kinds)
				}
				for _, i := range []int{0, 2, 3} {
					if !bytes.Equal(r.burst.Frames[i], b.Frames[i]) {
						t.Errorf("MCS %d: 10 ms of it in frame 1 cost frame %d too", mcs, i)
					}
				}
			}
		})
	}
}

// A preamble without a burst is missed, and the real burst that begins while
// its header is awaited is still received.
func TestFalsePreambleDoesNotHideABurst(t *testing.T) {
	m, _ := mustModems(t, testRate)
	for _, mcs := range oneOfEach {
		for _, lure := range []int{0, 1, 3, 5} {
			x, b := sender(t, 64, mcs)
			chirp := m.rows[lure].num.chirp
			copy(x[8000-len(chirp):], chirp)
			addNoise(rand.New(rand.NewPCG(64, 1)), x, 20)
			_, d := mustModems(t, testRate)
			x = append(x, make([]float32, testRate)...)
			r := push(d, x, 480)
			if frameErrors(r.burst, b) != 0 {
				t.Errorf("MCS %d after a preamble of %s: events %v, %d frames lost", mcs, m.rows[lure].num.params.Name, r.kinds, frameErrors(r.burst, b))
			}
			if missed := slices.Index(r.kinds, modem.Missed); missed < 0 {
				t.Errorf("MCS %d after a preamble of %s: events %v, want a Missed", mcs, m.rows[lure].num.params.Name, r.kinds)
			}
		}
	}
}

// A stronger burst on top of one that is being received spoils it, but the next
// is received.
func TestCollisionDoesNotWedge(t *testing.T) {
	for mcs := range Modes(testRate) {
		x, b := sender(t, 65, mcs)
		other, _ := sender(t, 66, (mcs+3)%len(Modes(testRate)))
		y := append(append(append([]float32{}, x...), make([]float32, len(other))...), x...)
		for i, v := range other {
			y[12000+i] += 4 * v
		}
		_, d := mustModems(t, testRate)
		if r := push(d, y, 480); frameErrors(r.burst, b) != 0 {
			t.Errorf("MCS %d: the burst after the collision lost %d frames, events %v", mcs, frameErrors(r.burst, b), r.kinds)
		}
	}
}

func TestReset(t *testing.T) {
	x, b := sender(t, 67, 3)
	_, d := mustModems(t, testRate)
	if r := push(d, x[:20000], 480); slices.Contains(r.kinds, modem.Received) {
		t.Fatal("half a burst was received")
	}
	d.Reset()
	r := push(d, x, 480)
	if want := []modem.EventKind{modem.Preamble, modem.Announced, modem.Received}; !slices.Equal(r.kinds, want) || frameErrors(r.burst, b) != 0 {
		t.Errorf("after a Reset: events %v, want %v and every frame", r.kinds, want)
	}
	if d := r.start - 29000; d < -1 || d > 1 {
		t.Errorf("after a Reset at sample 20000 the burst starts at %d, want 29000", r.start)
	}
}

func TestDelaySpread(t *testing.T) {
	// Two paths 5 ms apart, the second with half the power: √(p₁p₂)/(p₁+p₂)·τ.
	want := math.Sqrt(0.5) / 1.5 * 0.005
	for _, mcs := range []int{0, 1, 3, 5} {
		x, _ := sender(t, 68, mcs)
		for i := len(x) - 1; i >= 240; i-- {
			x[i] += float32(math.Sqrt(0.5)) * x[i-240]
		}
		addNoise(rand.New(rand.NewPCG(68, 1)), x, 20)
		_, d := mustModems(t, testRate)
		d.Push(x, func(ev modem.Event) {
			if ev.Kind == modem.Announced && math.Abs(ev.DelaySpread-want) > 0.15*want {
				t.Errorf("MCS %d: delay spread %.2f ms, want %.2f ± 15 %%", mcs, 1000*ev.DelaySpread, 1000*want)
			}
		})
	}
}

// Headers that pass their check and announce nonsense or far too much are not
// believed.
func TestHostileHeaders(t *testing.T) {
	m, _ := mustModems(t, testRate)
	for name, h := range map[string]header{
		"unknown MCS":            {mcs: 200},
		"MCS of another class":   {mcs: 5},
		"an hour of frames":      {mcs: 0, frames: 255, frameOctets: 4095},
		"frames without octets":  {mcs: 0, frames: 3},
		"octets without a frame": {mcs: 0, frameOctets: 3},
	} {
		t.Run(name, func(t *testing.T) {
			n := m.rows[0].num
			var e encoder
			e.octets = h.append(nil)
			x := append(make([]float32, 9000), n.chirp...)
			x, _ = n.appendTones(x, e.appendTones(nil, headerBlock(), n.width), n.phase)
			x = append(x, make([]float32, 20000)...)
			_, d := mustModems(t, testRate)
			if r := push(d, x, 480); !slices.Equal(r.kinds, []modem.EventKind{modem.Preamble, modem.Missed}) {
				t.Errorf("events %v, want Preamble and Missed", r.kinds)
			}
		})
	}
}

func TestBurstsThatCannotBeSent(t *testing.T) {
	m, _ := mustModems(t, testRate)
	for name, b := range map[string]*modem.Burst{
		"unknown MCS":      {MCS: 99},
		"control too long": {Control: make([]byte, modem.MaxControlOctets+1)},
		"too many frames":  {Frames: slices.Repeat([][]byte{{1}}, modem.MaxFrames+1)},
		"unequal frames":   {Frames: [][]byte{{1, 2}, {1}}},
		"empty frame":      {Frames: [][]byte{{}}},
		"frame too long":   {Frames: [][]byte{make([]byte, modem.MaxFrameOctets+1)}},
		"over a minute":    {Frames: slices.Repeat([][]byte{make([]byte, 4000)}, 2)},
	} {
		if x, err := m.AppendBurst([]float32{1, 2}, b); !errors.Is(err, modem.ErrBurst) || len(x) != 2 {
			t.Errorf("%s: error %v and %d samples, want ErrBurst and 2", name, err, len(x))
		}
		if n := m.Samples(b); n != 0 {
			t.Errorf("%s: Samples = %d, want 0", name, n)
		}
	}
}

func TestRatesAndTables(t *testing.T) {
	for _, rate := range []int{0, 4000, 7999, 192001} {
		if _, err := NewModulator(rate); !errors.Is(err, ErrRate) {
			t.Errorf("modulator at %d Hz: error %v, want ErrRate", rate, err)
		}
		if _, err := NewDemodulator(rate); !errors.Is(err, ErrRate) {
			t.Errorf("demodulator at %d Hz: error %v, want ErrRate", rate, err)
		}
		if modes := Modes(rate); len(modes) != 0 {
			t.Errorf("%d modes at %d Hz, want none", len(modes), rate)
		}
	}
	good := Table[0]
	for name, change := range map[string]func(*Params){
		"8 tones":           func(p *Params) { p.Tones = 8 },
		"no symbols":        func(p *Params) { p.SymbolRate = 0 },
		"half the spacing":  func(p *Params) { p.Spacing /= 2 },
		"tones too high":    func(p *Params) { p.Centre = 23000 },
		"chirp too high":    func(p *Params) { p.Chirp.To = 25000 },
		"chirp too short":   func(p *Params) { p.Chirp.Seconds = 0.001 },
		"NaN":               func(p *Params) { p.Centre = math.NaN() },
		"no coding":         func(p *Params) { p.Codes = nil },
		"unknown code rate": func(p *Params) { p.Codes = []Coding{{Rate: 9, FrameOctets: 10}} },
	} {
		p := good
		change(&p)
		if _, err := NewDemodulatorOf(testRate, []Params{p}); !errors.Is(err, ErrRate) {
			t.Errorf("%s: error %v, want ErrRate", name, err)
		}
	}
}

// Modes are what the profile promises: sorted by what they need and by their
// MCS, and with the bit rates that the two fast classes are there for.
func TestModes(t *testing.T) {
	modes := Modes(testRate)
	for i, mode := range modes {
		if int(mode.MCS) != i || mode.Profile != Profile || mode.FrameOctets < 1 || mode.Description == "" {
			t.Errorf("mode %d: %+v", i, mode)
		}
		if i > 0 && (mode.SNRdB <= modes[i-1].SNRdB || mode.NetBPS < modes[i-1].NetBPS) {
			t.Errorf("mode %d needs %.1f dB for %.0f b/s, the one before %.1f dB for %.0f", i, mode.SNRdB, mode.NetBPS, modes[i-1].SNRdB, modes[i-1].NetBPS)
		}
	}
	if got := modes[3].NetBPS; got < 2000 {
		t.Errorf("the first room mode carries %.0f b/s, want ≥ 2000", got)
	}
	if got := modes[len(modes)-1].NetBPS; got < 8000 {
		t.Errorf("the fastest mode carries %.0f b/s, want ≥ 8000", got)
	}
	for _, c := range []struct{ rate, want int }{{8000, 3}, {44100, 8}, {96000, 8}} {
		if got := len(Modes(c.rate)); got != c.want {
			t.Errorf("%d modes at %d Hz, want %d", got, c.rate, c.want)
		}
	}
}

// The payload of every mode has the level of the project.
func TestLevel(t *testing.T) {
	for mcs := range Modes(testRate) {
		x, _ := sender(t, 69, mcs)
		var power float64
		part := x[9000+5000 : len(x)-9000-1000]
		for _, v := range part {
			power += float64(v) * float64(v)
		}
		if got := 10 * math.Log10(power/float64(len(part))); math.Abs(got-modem.LevelDBFS) > 0.1 {
			t.Errorf("MCS %d: %.2f dBFS, want %.2f ± 0.1", mcs, got, modem.LevelDBFS)
		}
	}
}

// After half a second of silence in a burst from a sender whose clock is off,
// the frames behind it are still where they are looked for.
func TestLongGapKeepsTheTiming(t *testing.T) {
	m, err := NewModulator(47986)
	if err != nil {
		t.Fatal(err)
	}
	for _, mcs := range oneOfEach {
		mode := Modes(testRate)[mcs]
		rng := rand.New(rand.NewPCG(71, uint64(mcs)))
		b := message(rng, mcs, 16, 0, 0)
		for m.Samples(b) < 4*testRate {
			b.Frames = append(b.Frames, random(rng, mode.FrameOctets))
		}
		x := onAir(t, m, b, 9000, 9000)
		from := 9000 + m.Samples(b)*6/10
		addNoise(rng, x, 20)
		clear(x[from : from+testRate/2])
		_, d := mustModems(t, testRate)
		r := push(d, x, 480)
		n := m.rows[mcs].num
		frame := n.symbolSamples(frameBlock(m.rows[mcs].coding.Rate, mode.FrameOctets, 0).symbols(n.width))
		hit := testRate/2/frame + 2
		if lost := frameErrors(r.burst, b); lost > hit {
			t.Errorf("MCS %d: %d of %d frames lost, the gap touches %d at most", mcs, lost, len(b.Frames), hit)
		}
		if last := len(b.Frames) - 1; r.burst == nil || !bytes.Equal(r.burst.Frames[last], b.Frames[last]) {
			t.Errorf("MCS %d: the last frame is lost", mcs)
		}
	}
}

// A burst that breaks off is over long before its announced end, with what had
// come; the next is received.
func TestSenderThatStops(t *testing.T) {
	m, d := mustModems(t, testRate)
	for _, mcs := range oneOfEach {
		mode := Modes(testRate)[mcs]
		rng := rand.New(rand.NewPCG(72, uint64(mcs)))
		b := message(rng, mcs, 16, 0, 0)
		for m.Samples(b) < 12*testRate {
			b.Frames = append(b.Frames, random(rng, mode.FrameOctets))
		}
		x := onAir(t, m, b, 9000, 0)
		x = append(x[:4*testRate], make([]float32, 3*testRate)...)
		next, want := sender(t, 73, mcs)
		x = append(x, next...)
		addNoise(rng, x, mode.SNRdB+5)
		var got []*modem.Burst
		d.Push(x, func(ev modem.Event) {
			if ev.Kind == modem.Received {
				got = append(got, clone(ev.Burst))
			}
		})
		if len(got) != 2 || len(got[0].Frames) != len(b.Frames) || !bytes.Equal(got[0].Frames[0], b.Frames[0]) || frameErrors(got[1], want) != 0 {
			t.Errorf("MCS %d: %d bursts received, want the beginning of the first and the second whole", mcs, len(got))
		}
	}
}

// A table of one's own: wider spacing, another symbol rate, two numerologies.
func TestOwnTable(t *testing.T) {
	table := []Params{
		{Name: "slow", Tones: 4, SymbolRate: 200, Spacing: 400, Centre: 1500, Chirp: Chirp{500, 2500, 0.06}, Codes: []Coding{{Half, 20, 0}}},
		{Name: "fast", Tones: 2, SymbolRate: 4000, Spacing: 4000, Centre: 12000, Chirp: Chirp{16000, 8000, 0.03}, Codes: []Coding{{Half, 50, 0}, {ThreeQuarters, 50, 0}}},
	}
	m, err := NewModulatorOf(testRate, table)
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDemodulatorOf(testRate, table)
	if err != nil {
		t.Fatal(err)
	}
	if got := len(ModesOf(testRate, table)); got != 3 {
		t.Fatalf("%d modes, want 3", got)
	}
	for mcs, mode := range ModesOf(testRate, table) {
		rng := rand.New(rand.NewPCG(74, uint64(mcs)))
		b := message(rng, mcs, 5, 3, mode.FrameOctets)
		x := onAir(t, m, b, 9000, 9000)
		addNoise(rng, x, 15)
		if r := push(d, x, 480); frameErrors(r.burst, b) != 0 {
			t.Errorf("MCS %d: %d frames lost, events %v", mcs, frameErrors(r.burst, b), r.kinds)
		}
	}
}
