package fsk

import (
	"math/rand/v2"
	"testing"

	"lightsong/modem"
)

func discard(modem.Event) {}

func noise(seed uint64, n int) []float32 {
	x := make([]float32, n)
	addNoise(rand.New(rand.NewPCG(seed, seed)), x, 20)
	return x
}

// share reports how much of one core real time needs.
func share(b *testing.B, samples int) {
	b.ReportMetric(100*b.Elapsed().Seconds()/(float64(b.N)*float64(samples)/testRate), "%core")
}

func BenchmarkDemodulatorIdle(b *testing.B) {
	_, d := mustModems(b, testRate)
	x := noise(30, testRate)
	d.Push(x, discard)
	b.ReportAllocs()
	for b.Loop() {
		d.Push(x, discard)
	}
	share(b, len(x))
}

func BenchmarkDemodulatorReceiving(b *testing.B) {
	for i, mode := range Modes(testRate) {
		b.Run(mode.Description, func(b *testing.B) {
			m, d := mustModems(b, testRate)
			rng := rand.New(rand.NewPCG(31, uint64(i)))
			burst := message(rng, i, 16, max(1, int(mode.NetBPS*3/8)/mode.FrameOctets), mode.FrameOctets)
			x := onAir(b, m, burst, 500, 500)
			addNoise(rng, x, 20)
			d.Push(x, discard)
			b.ReportAllocs()
			for b.Loop() {
				d.Push(x, discard)
			}
			share(b, len(x))
		})
	}
}

func BenchmarkModulator(b *testing.B) {
	for i, mode := range Modes(testRate) {
		b.Run(mode.Description, func(b *testing.B) {
			m, _ := mustModems(b, testRate)
			burst := message(rand.New(rand.NewPCG(32, uint64(i))), i, 16, 4, mode.FrameOctets)
			x, _ := m.AppendBurst(nil, burst)
			b.ReportAllocs()
			for b.Loop() {
				x, _ = m.AppendBurst(x[:0], burst)
			}
			share(b, len(x))
		})
	}
}

func BenchmarkAsyncDemodulator(b *testing.B) {
	d, err := NewAsyncDemodulator(testRate, Bell202)
	if err != nil {
		b.Fatal(err)
	}
	x := asyncSend(b, testRate, Bell202, make([]byte, 100))
	emit := func(byte) {}
	b.ReportAllocs()
	for b.Loop() {
		d.Push(x, emit)
	}
	share(b, len(x))
}

// Steady receiving and sending allocate nothing.
func TestAllocations(t *testing.T) {
	for i, mode := range Modes(testRate) {
		m, d := mustModems(t, testRate)
		rng := rand.New(rand.NewPCG(33, uint64(i)))
		burst := message(rng, i, 16, 2, mode.FrameOctets)
		x := onAir(t, m, burst, 500, 3000)
		addNoise(rng, x, 20)
		received := 0
		emit := func(ev modem.Event) {
			if ev.Kind == modem.Received {
				received++
			}
		}
		out, _ := m.AppendBurst(nil, burst)
		for range 3 {
			d.Push(x, emit)
		}
		if n := testing.AllocsPerRun(3, func() { d.Push(x, emit) }); n != 0 {
			t.Errorf("MCS %d: receiving a burst allocates %v times", i, n)
		}
		if n := testing.AllocsPerRun(3, func() { out, _ = m.AppendBurst(out[:0], burst) }); n != 0 {
			t.Errorf("MCS %d: sending a burst allocates %v times", i, n)
		}
		if want := 7; received != want {
			t.Errorf("MCS %d: %d bursts received, want %d", i, received, want)
		}
	}
}
