package sims

import (
	"bytes"
	"math"
	"math/bits"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// balanced are the characters of weight 4 but for two at which a start bit is hard to
// find and the idle character.
var balanced = func() (c []byte) {
	for v := range 256 {
		if bits.OnesCount8(uint8(v)) == 4 && v != 0x0F && v != 0x55 && v != idleChar {
			c = append(c, byte(v))
		}
	}
	return c
}()

// field makes a field of two stations at a speed.
func lightPair(t testing.TB, c LightConfig, baud int) (*Light, [2]*LightStationPort) {
	t.Helper()
	l, err := NewLight(c)
	if err != nil {
		t.Fatal(err)
	}
	var p [2]*LightStationPort
	for i, name := range []string{"a", "b"} {
		if p[i], err = l.Attach(name); err != nil {
			t.Fatal(err)
		}
		if err := p[i].SetSpeed(baud); err != nil {
			t.Fatal(err)
		}
	}
	return l, p
}

const idleChar = 0xF0

// converse lets a send characters without a gap for a time; it returns what was sent
// and what b heard of it, behind the idle characters that come first.
func converse(t testing.TB, l *Light, p [2]*LightStationPort, rnd *rand.Rand, baud, millis int) (sent, heard []byte) {
	t.Helper()
	chunk := make([]byte, 2*baud/10000)
	buf := make([]byte, readBacklog)
	for range millis {
		if q, _ := p[0].Queued(); q < len(chunk) {
			for i := range chunk {
				chunk[i] = balanced[rnd.IntN(len(balanced))]
			}
			if len(sent) == 0 { // until the high-pass has found the mean
				for i := range chunk {
					chunk[i] = idleChar
				}
			}
			if _, err := p[0].Write(chunk); err != nil {
				t.Fatal(err)
			}
			sent = append(sent, chunk...)
		}
		l.Step()
		p[1].mu.Lock()
		ready := len(p[1].heard) > 0
		p[1].mu.Unlock()
		if ready {
			n, err := p[1].Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			heard = append(heard, buf[:n]...)
		}
	}
	// Before the first idle character the receiver was not in step.
	heard = heard[max(0, bytes.IndexByte(heard, idleChar)):]
	for len(heard) > 0 && heard[0] == idleChar {
		heard = heard[1:]
	}
	return sent[min(len(sent), len(chunk)):], heard
}

// wrongShare compares what was heard with what was sent, character by character; a slip counts as the rest being wrong.
func wrongShare(sent, heard []byte) float64 {
	n := min(len(sent), len(heard))
	wrong := 0
	for i := range n {
		if sent[i] != heard[i] {
			wrong++
		}
	}
	return float64(wrong) / float64(max(1, n))
}

// Characters cross at 1 to 3 Mbaud for senders' clocks from −4 to +2 % of the
// receiver's, with 0.04 bit of jitter; but for the ends of that range without an error.
func TestLightUARTClocks(t *testing.T) {
	for _, baud := range []int{1000000, 2000000, 3000000} {
		for _, ppm := range []float64{-40000, -20000, 0, 10000, 20000} { // of the sender
			c := LightConfig{Seed: 1, Stations: map[string]LightStation{"a": {ClockPPM: new(ppm)}, "b": {ClockPPM: new(0.0)}}}
			c.Station.JitterNS = new(0.04e9 / float64(baud))
			l, p := lightPair(t, c, baud)
			sent, heard := converse(t, l, p, rand.New(rand.NewPCG(1, 2)), baud, 40)
			if len(heard) < 30*baud/10000 {
				t.Errorf("%d baud, %g ppm: heard %d of %d", baud, ppm, len(heard), len(sent))
			}
			limit := 1e-5
			if math.Abs(ppm+10000) > 20000 {
				limit = 3e-3 // the last bit's middle is 0.2 to 0.4 bit nearer to its edge
			}
			if got := wrongShare(sent, heard); got > limit {
				t.Errorf("%d baud, %g ppm: %.2g of the characters wrong, want at most %g", baud, ppm, got, limit)
			}
		}
	}
}

// Against theory: with edges of jitter σ each, a bit is wrong if one of its edges
// comes on the wrong side of its middle, as counted from the start bit's edge, which
// is σ off too and seen up to a 16th of a bit late: Q((½ ∓ late)/(√2·σ)) each.
func TestLightUARTJitter(t *testing.T) {
	const baud, seed = 1000000, 3
	q := func(x float64) float64 { return math.Erfc(x/math.Sqrt2) / 2 }
	for _, sigma := range []float64{0.11, 0.14} {
		want := 0.
		for _, c := range balanced {
			line := uint16(c)<<1 | 1<<9
			for i := 1; i < uartBits; i++ {
				if line>>i&1 == line>>(i-1)&1 {
					continue
				}
				const steps = 32
				for k := range steps {
					late := (float64(k) + 0.5) / steps / 16
					want += (q((0.5-late)/(math.Sqrt2*sigma)) + q((0.5+late)/(math.Sqrt2*sigma))) / steps
				}
			}
		}
		want /= float64(len(balanced))
		l, p := lightPair(t, LightConfig{Seed: seed, Station: LightStation{ClockPPM: new(0.0), JitterNS: new(sigma * 1e9 / baud)}}, baud)
		_, heard := converse(t, l, p, rand.New(rand.NewPCG(seed, 1)), baud, 400)
		// One edge out of place gives a character of another weight, so they need not
		// be compared with what was sent.
		wrong := 0
		for _, c := range heard {
			if bits.OnesCount8(c) != 4 {
				wrong++
			}
		}
		got := float64(wrong) / float64(len(heard))
		sd := math.Sqrt(want / float64(len(heard)))
		t.Logf("jitter %g bit: %.3g of %d characters wrong, theory %.3g", sigma, got, len(heard), want)
		// Not in the formula: start bits that are given up as their end comes early; the
		// receiver is then out of step for some characters, which adds up to half.
		if got < 0.9*want-4*sd || got > 1.5*want+4*sd {
			t.Errorf("seed %d, jitter %g bit: %.3g of the characters wrong, theory says %.3g", seed, sigma, got, want)
		}
	}
}

// The link budget is the formula's, and where the signal falls below the hysteresis
// nothing is heard.
func TestLightBudget(t *testing.T) {
	for _, x := range []struct {
		distance float64
		hears    bool
	}{{0.1, true}, {0.3, true}, {0.6, true}, {2, false}} {
		c := LightConfig{Seed: 1, Room: LightRoom{DistanceM: &x.distance}}
		l, p := lightPair(t, c, 2000000)
		signal, noise := l.Received(p[0], p[1])
		m := -math.Ln2 / math.Log(math.Cos(15*math.Pi/180))
		want := 10e-3 * (m + 1) * 7e-6 / (2 * math.Pi * x.distance * x.distance) * 0.45
		if math.Abs(signal/want-1) > 1e-9 {
			t.Errorf("%g m: %g A, want %g", x.distance, signal, want)
		}
		if noise < 5e-9 || noise > 30e-9 {
			t.Errorf("%g m: noise %g A", x.distance, noise)
		}
		_, heard := converse(t, l, p, rand.New(rand.NewPCG(1, 2)), 2000000, 20)
		if hears := len(heard) > 3000; hears != x.hears {
			t.Errorf("%g m: heard %d characters, signal %.3g µA", x.distance, len(heard), signal*1e6)
		}
	}
}

// Looking away costs what Lambert's law says.
func TestLightAngle(t *testing.T) {
	for _, deg := range []float64{0, 10, 15, 30} {
		c := LightConfig{Stations: map[string]LightStation{
			"a": {PositionM: &[2]float64{0, 0}, TowardDeg: &deg}, "b": {PositionM: &[2]float64{0.3, 0}, TowardDeg: new(180.0)},
		}}
		l, p := lightPair(t, c, 1000000)
		c.Stations["a"] = LightStation{PositionM: &[2]float64{0, 0}, TowardDeg: new(0.0)}
		l0, p0 := lightPair(t, c, 1000000)
		got, _ := l.Received(p[0], p[1])
		straight, _ := l0.Received(p0[0], p0[1])
		want := math.Pow(math.Cos(deg*math.Pi/180), lambert(15*math.Pi/180))
		if math.Abs(got/straight-want) > 1e-9 {
			t.Errorf("%g°: %g, want %g", deg, got/straight, want)
		}
	}
	if half := math.Pow(math.Cos(15*math.Pi/180), lambert(15*math.Pi/180)); math.Abs(half-0.5) > 1e-12 {
		t.Errorf("half angle: %g", half)
	}
}

// Lamps, daylight that jumps, and a hand: what is left after each is heard.
func TestLightDisturbances(t *testing.T) {
	const baud = 1000000
	for _, x := range []struct {
		name string
		c    LightConfig
		low  float64 // share of characters heard
		high float64
	}{
		{"lamps of 1000 lx", LightConfig{Room: LightRoom{AmbientLux: new(1000.0), RippleHz: new(120.0)}}, 0.97, 1.01},
		{"daylight jumps by 1000 lx", LightConfig{Room: LightRoom{StepLux: new(1000.0), StepEveryS: new(0.02)}}, 0.9, 1.01},
		{"a hand for 20 of 50 ms", LightConfig{Hands: []LightHand{{StartS: 0.01, ForS: 0.02, EveryS: 0.05}}}, 0.55, 0.72},
		{"the sun", LightConfig{Room: LightRoom{AmbientLux: new(100000.0), Ripple: new(0.0)}, Station: LightStation{Hysteresis: new(200.0)}}, 0, 0.01},
	} {
		x.c.Seed = 5
		l, p := lightPair(t, x.c, baud)
		sent, heard := converse(t, l, p, rand.New(rand.NewPCG(5, 2)), baud, 100)
		got := float64(len(heard)) / float64(len(sent))
		t.Logf("%s: %.3f", x.name, got)
		if got < x.low || got > x.high {
			t.Errorf("seed 5, %s: %.3f of the characters heard, want %g to %g", x.name, got, x.low, x.high)
		}
	}
}

// The same seed gives the same run, another one another.
func TestLightIsDeterministic(t *testing.T) {
	run := func(seed uint64) []byte {
		c := LightConfig{Seed: seed, Station: LightStation{JitterNS: new(140.0)}}
		l, p := lightPair(t, c, 1000000)
		_, heard := converse(t, l, p, rand.New(rand.NewPCG(1, 2)), 1000000, 30)
		return heard
	}
	if a, b := run(1), run(1); !bytes.Equal(a, b) {
		t.Error("two runs differ")
	}
	if a, b := run(1), run(2); bytes.Equal(a, b) {
		t.Error("seeds do not matter")
	}
}

func TestLightConfigFaults(t *testing.T) {
	c := LightConfig{
		Speed: new(-1.0), Room: LightRoom{Ripple: new(2.0), BufferOctets: new(3)}, Station: LightStation{HalfDeg: new(0.0)},
		Stations: map[string]LightStation{"a": {ClockPPM: new(1e6)}}, Hands: []LightHand{{ForS: 1, EveryS: 0.5}},
	}
	err := c.Validate()
	for _, want := range []string{"speed", "room.ripple", "room.adapter_octets", "station.half_angle_deg", "stations.a.clock_ppm", "hands[0]"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no word of %s: %v", want, err)
		}
	}
	if _, err := NewLight(c); err == nil {
		t.Error("a bad configuration was taken")
	}
	if err := (&LightConfig{}).Validate(); err != nil {
		t.Error(err)
	}
}

// Steady simulation allocates nothing.
func TestLightNoAllocations(t *testing.T) {
	l, p := lightPair(t, LightConfig{Seed: 1}, 2000000)
	chunk, buf := bytes.Repeat([]byte{0x1B, 0xF0}, 150), make([]byte, 8192)
	step := func() {
		for _, x := range p {
			if q, _ := x.Queued(); q < 500 {
				_, _ = x.Write(chunk)
			}
		}
		l.Step()
		for _, x := range p {
			if x.Stats().Heard > 0 && len(x.heard) > 0 {
				_, _ = x.Read(buf)
			}
		}
	}
	for range 50 {
		step()
	}
	if n := testing.AllocsPerRun(100, step); n != 0 {
		t.Errorf("%g allocations a step, want 0", n)
	}
}

// How fast two stations at 3 Mbaud are simulated.
func BenchmarkLight(b *testing.B) {
	l, p := lightPair(b, LightConfig{Seed: 1}, 3000000)
	chunk, buf := bytes.Repeat([]byte{0x1B, 0x35}, 300), make([]byte, 8192)
	for b.Loop() {
		for _, x := range p {
			for q, _ := x.Queued(); q < 600; q, _ = x.Queued() {
				_, _ = x.Write(chunk)
			}
		}
		l.Step()
		for _, x := range p {
			if len(x.heard) > 0 {
				_, _ = x.Read(buf)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed())/float64(time.Duration(b.N)*time.Millisecond), "core")
}

// How far light carries with the default parts, and with lenses: the share of wrong
// characters by distance (docs/light.md).
//
//	go test -run '^$' -bench LightRange -benchtime 1x ./sims
func BenchmarkLightRange(b *testing.B) {
	for _, parts := range []struct {
		name string
		s    LightStation
	}{
		{"bare", LightStation{}},
		{"lens on the LED, 3°", LightStation{HalfDeg: new(3.0)}},
		{"lenses at both ends, 3°, 20 mm", LightStation{HalfDeg: new(3.0), AreaMM2: new(300.0)}},
	} {
		for _, baud := range []int{1000000, 2000000, 3000000} {
			reach := 0.
			for d := 0.1; d < 100; d *= 1.1 {
				c := LightConfig{Seed: 1, Station: parts.s, Room: LightRoom{DistanceM: &d}}
				l, p := lightPair(b, c, baud)
				sent, heard := converse(b, l, p, rand.New(rand.NewPCG(1, 2)), baud, 30)
				if len(heard) < len(sent)*8/10 || wrongShare(sent, heard) > 1e-3 {
					break
				}
				reach = d
			}
			l, p := lightPair(b, LightConfig{Station: parts.s, Room: LightRoom{DistanceM: &reach}}, baud)
			signal, noise := l.Received(p[0], p[1])
			b.Logf("%s, %d baud: %.2g m, signal %.3g nA, noise %.2g nA rms", parts.name, baud, reach, signal*1e9, noise*1e9)
		}
	}
}
