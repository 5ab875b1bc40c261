package ofdm

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"lightsong/modem"
	"lightsong/modem/dsp"
)

// Every shape of block has each symbol of header, control block and payload on
// exactly one carrier, and Samples is what the shape says.
func TestBlockPlan(t *testing.T) {
	for _, prof := range []*profile{&air, &cable} {
		s, _ := prof.at(48000)
		shapes := map[blockShape]bool{}
		var p plan
		for mcs := range prof.modes {
			for _, octets := range []int{1, 20, 64, 100, 130, 200, 400, 600, 1000, 1300, 1500, 1900} {
				for _, control := range []int{0, 1, 20, 40} {
					for _, frames := range []int{0, 1, 2} {
						if p.set(prof, s, mcs, frames, octets, control) != nil || !p.isBlock {
							continue
						}
						shapes[p.shape] = true
						checkBlock(t, prof, &p)
					}
				}
			}
		}
		for _, b := range prof.blocks {
			if !shapes[b] {
				t.Errorf("%s: no burst takes the shape %+v", prof.name, b)
			}
		}
	}
}

func checkBlock(t *testing.T, prof *profile, p *plan) {
	t.Helper()
	if want := prof.classes[prof.blockClass].chirp + p.shape.gap + p.shape.n + prof.taper; p.samples != want {
		t.Errorf("%+v: %d samples, want %d", p.shape, p.samples, want)
	}
	if joint := p.control > 0 && p.frames <= 1 && p.octets <= 256; joint != p.joint || joint && (p.units != 1 || p.unitOctets != p.control+p.octets || p.controlCells != 0) {
		t.Errorf("%d frames of %d octets, control %d: joint %v, %d units of %d", p.frames, p.octets, p.control, p.joint, p.units, p.unitOctets)
	}
	heads, cells := p.class.coded/2+p.controlCells, p.cells*p.words*p.units
	seen := [2][]int{make([]int, heads), make([]int, cells)}
	w := p.walk()
	for j := range p.body.carriers {
		switch kind, i := w.at(j); kind {
		case blockHead:
			seen[0][i]++
		case blockCell:
			seen[1][i]++
		}
	}
	for part, all := range seen {
		for i, n := range all {
			if n != 1 {
				t.Fatalf("MCS %d, %d frames of %d, control %d: thing %d of part %d lies on %d carriers", p.mcs, p.frames, p.octets, p.control, i, part, n)
			}
		}
	}
}

// What the link sends alone comes through: an acknowledgement, and a ping with its
// control block, over a lead at the SNR of its mode's table and 1 dB for a channel
// known from a chirp, in rooms at the SNR that a mode two steps denser would want.
func TestJointBlocks(t *testing.T) {
	const seed, bursts = 5, 12
	for _, c := range []struct {
		profile string
		mcs     int
		over    float64 // dB over the table
		path    path
	}{
		{"cable", 16, 1, path{ppm: 100, highHz: 20}},
		{"cable", 19, 1, path{ppm: -80, highHz: 20}},
		{"cable", 23, 1, path{ppm: 40, highHz: 20, bits: 16}},
		{"cable", 28, 1, path{ppm: 300, highHz: 20, bits: 16}},
		{"cable", 22, 30, path{ppm: -300, highHz: 20, bits: 16, offset: 0.05, flip: true}},
		{"air", 16, 1, path{ppm: 60}},
		{"air", 19, 1, path{ppm: -60}},
		{"air", 20, 14, path{ppm: 60, roomFor: roomOf(0.3, 3, 48000)}},
		{"air", 18, 14, path{ppm: 60, roomFor: roomOf(0.5, -3, 48000)}},
		{"air", 23, 14, path{ppm: 60, roomFor: roomOf(0.3, 3, 48000)}},
	} {
		for _, burst := range [][2]int{{0, 0}, {1, 30}, {1, 75}} {
			s := newStation(t, c.profile, 48000)
			at := c.path
			at.snr = s.mod.prof.modes[c.mcs].snr + c.over
			o := s.send(t, at, c.mcs, bursts, burst[0], burst[1], 22, rand.New(rand.NewPCG(seed, uint64(c.mcs))))
			if !s.mod.plan.joint {
				t.Fatalf("%s MCS %d, %v: not coded jointly", c.profile, c.mcs, burst)
			}
			if o.control < bursts-1 || o.delivered < o.frames-1 {
				t.Errorf("%s MCS %d at %.2f dB, %d octets: %d headers, %d control blocks of %d, %d of %d frames (seed %d)",
					c.profile, c.mcs, at.snr, burst[1], o.announced, o.control, bursts, o.delivered, o.frames, seed)
			}
		}
	}
}

// A block folded onto itself is a period of its carriers, echoes included: what
// foldTail makes of a burst without noise over a known response is the carriers
// times the response, but for what float32 and the weights of the tail leave.
func TestBlockIsCyclic(t *testing.T) {
	const seed = 4
	rng := rand.New(rand.NewPCG(seed, 4))
	period, wave := make([]float32, 2048), make([]float32, 2048+48)
	for i := range period {
		period[i] = float32(rng.NormFloat64())
	}
	blockWave(wave, period, 48)
	for i, v := range wave[2048:] {
		wave[i] += v
	}
	for i, v := range period {
		if math.Abs(float64(wave[i]-v)) > 1e-5 {
			t.Fatalf("sample %d is %g, want %g (seed %d)", i, wave[i], v, seed)
		}
	}
}

// The response fitted to a chirp in noise is as good as theory allows: taps of
// prior variance p that a chirp of n samples sounds in noise of variance v have the
// posterior variance p/(1 + p·n/v), in the band.
func TestJointFitReachesTheory(t *testing.T) {
	const (
		seed   = 6
		gap    = 4096
		pre    = early
		taps   = pre + 3000
		snr    = 100.
		margin = 1.5 // the sweep is not white at the band's edges, and conjugate gradients stop early
	)
	rng := rand.New(rand.NewPCG(seed, 6))
	v := decay{direct: 0.6, start: 0.4 / 600, tau: 600, noise: 1 / snr}
	s, _ := air.at(48000)
	f := fitter{ffts: map[int]*dsp.RealFFT{}, geo: s.geometry(numerology{8192, 0}, &air.classes[air.blockClass])}
	c := chirp(&air.classes[air.blockClass], 1)
	f.setChirp(c, gap, pre)
	f.setPrior(&v, taps, pre, 1)
	h := make([]float32, taps)
	var theory float64
	for i := range h {
		p := v.variance(float64(i-pre), 1)
		h[i] = float32(math.Sqrt(p) * rng.NormFloat64())
		theory += p / (1 + p*float64(len(c))/v.noise)
	}
	y := convolve(c, h)
	y = append(y, make([]float32, f.seen)...)[:f.seen]
	for i := range y {
		y[i] += float32(math.Sqrt(v.noise) * rng.NormFloat64())
	}
	f.solve(y, false, 60)
	got := append([]complex64{}, f.carriers(nil)...)
	copy(f.h, h)
	want := f.carriers(nil)
	var err float64
	for k := range got {
		d := got[k] - want[k]
		err += float64(real(d)*real(d)+imag(d)*imag(d)) / float64(len(got))
	}
	if err > margin*theory {
		t.Errorf("error %.2g, theory %.2g (seed %d)", err, theory, seed)
	}
	if err < theory/margin {
		t.Errorf("error %.2g is below what theory allows, %.2g (seed %d)", err, theory, seed)
	}
}

// A chirp without a block is missed and the search goes on right behind it; so do
// torsos of blocks, NaN and gaps.
func TestBlockTorsos(t *testing.T) {
	const mcs = 20
	s := newStation(t, "air", 48000)
	rng := rand.New(rand.NewPCG(4, 7))
	one, two := burstOf(rng, mcs, 1, 64, 5), burstOf(rng, mcs, 1, 300, 0)
	first, err := s.mod.AppendBurst(nil, one)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := s.mod.AppendBurst(nil, two)
	if err != nil {
		t.Fatal(err)
	}
	silence := make([]float32, 30000)
	nan := float32(math.NaN())
	for _, c := range []struct {
		name string
		head []float32
	}{
		{"only a chirp", first[:1024]},
		{"half a block", first[:3000]},
		{"nothing", nil},
		{"NaN", func() []float32 {
			x := append([]float32{}, first...)
			for i := 1024; i < len(x); i += 3 {
				x[i] = nan
			}
			return x
		}()},
		{"huge samples", func() []float32 {
			x := append([]float32{}, first...)
			for i := 2500; i < len(x); i += 2 {
				x[i] = 9e3
			}
			return x
		}()},
	} {
		x := append(append(append([]float32{}, c.head...), silence...), whole...)
		events := listen(s.dem, append(x, silence...), 777)
		last := modem.Event{}
		if len(events) > 0 {
			last = events[len(events)-1]
		}
		if last.Kind != modem.Received {
			t.Errorf("after %s: events %v", c.name, kinds(events))
			continue
		}
		same(t, last.Burst, two)
	}
}

// Blocks and long symbols allocate nothing once one of the size was received.
func TestRoomAllocs(t *testing.T) {
	for _, c := range []struct {
		name                string
		mcs, frames, octets int
	}{{"block", 23, 1, 1000}, {"long symbols", 28, 40, 1000}} {
		s := newStation(t, "air", 48000)
		b := burstOf(rand.New(rand.NewPCG(1, 1)), c.mcs, c.frames, c.octets, 20)
		x, err := s.mod.AppendBurst(nil, b)
		if err != nil {
			t.Fatal(err)
		}
		if c.frames > 1 && !s.mod.plan.isLong(s.mod.scale) {
			t.Fatalf("%s: the burst has symbols of %d", c.name, s.mod.plan.body.n)
		}
		rng := rand.New(rand.NewPCG(2, 1))
		heard := path{snr: 30, ppm: 20, roomFor: roomOf(0.3, 3, 48000)}.carry(x, 48000, 3000, 6000, rng)
		received := 0
		emit := func(e modem.Event) {
			if e.Kind == modem.Received {
				received++
			}
		}
		for range 3 {
			s.dem.Push(heard, emit)
		}
		if n := testing.AllocsPerRun(1, func() { s.dem.Push(heard, emit) }); n > 0 {
			t.Errorf("%s: receiving allocates %v times", c.name, n)
		}
		if n := testing.AllocsPerRun(1, func() { x, _ = s.mod.AppendBurst(x[:0], b) }); n > 0 {
			t.Errorf("%s: sending allocates %v times", c.name, n)
		}
		if received != 5 {
			t.Errorf("%s: %d of 5 bursts received", c.name, received)
		}
	}
}

// A packet alone in a block gets through at the SNR from which the mode's long
// bursts do, 1 dB of margin for what a channel known from a chirp costs.
func TestBlocksHoldTheTable(t *testing.T) {
	const seed, bursts = 31, 10
	for _, mcs := range []int{16, 18, 21, 24, 28} {
		s := newStation(t, "air", 48000)
		m := &air.modes[mcs]
		o := s.send(t, path{snr: m.snr + 1, ppm: -55}, mcs, bursts, 1, 256, 16, rand.New(rand.NewPCG(seed, uint64(mcs))))
		if !s.mod.plan.isBlock {
			t.Fatalf("MCS %d: 256 octets are no block", mcs)
		}
		if o.delivered < bursts-1 || o.control < bursts-1 {
			t.Errorf("MCS %d at %.2f dB: %d headers, %d control blocks, %d of %d frames (seed %d)", mcs, m.snr+1, o.announced, o.control, o.delivered, o.frames, seed)
		}
	}
}

// A look at a short block heeds all that has been heard of its ringing by then, and the next one more.
func TestLooks(t *testing.T) {
	s := newStation(t, "air", 48000)
	x, err := s.mod.AppendBurst(nil, burstOf(rand.New(rand.NewPCG(1, 1)), 22, 1, 110, 25))
	if err != nil {
		t.Fatal(err)
	}
	heard := path{snr: 20, roomFor: roomOf(0.3, 3, 48000)}.carry(x, 48000, 3000, 9600, rand.New(rand.NewPCG(2, 1)))
	r := s.dem.rx
	for _, behind := range []int{0, 200, 480, 700, 9000} {
		s.dem.Reset()
		events := listen(s.dem, heard[:3000+len(x)+16+behind], len(heard)) // the room's filter is some samples late
		if !slices.ContainsFunc(events, func(e modem.Event) bool { return e.Kind == modem.Announced }) {
			t.Fatalf("%d samples behind the burst: %v", behind, kinds(events))
		}
		b := r.blocks
		if heeds, want := b.heeds, min(behind, b.ringing); heeds < want || heeds > min(behind+64, b.ringing) {
			t.Errorf("%d samples behind the burst: %d heeded, want %d", behind, heeds, want)
		}
		if b.ringing <= 1200 {
			t.Fatalf("it rings for %d samples", b.ringing)
		}
		if next := int(r.waits(false)); next <= b.heeds && b.heeds < b.ringing || next > b.ringing {
			t.Errorf("%d samples are heeded, and the next look is after %d of %d", b.heeds, next, b.ringing)
		}
	}
}
