package audio_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"lightsong/modem"
	"lightsong/phy"
	"lightsong/phy/audio"
	"lightsong/sims"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// station opens a PHY in a room.
func station(t *testing.T, air *sims.Air, name string, full bool) *audio.PHY {
	t.Helper()
	port, err := air.Attach(name)
	if err != nil {
		t.Fatal(err)
	}
	m, err := audio.OpenModem("fsk", air.Rate())
	if err != nil {
		t.Fatal(err)
	}
	return audio.New(audio.Config{Modem: m, Stream: port, FullDuplex: full})
}

// hear collects a station's events until ctx ends.
func hear(ctx context.Context, t *testing.T, p *audio.PHY) <-chan []phy.Event {
	heard := make(chan []phy.Event, 1)
	go func() {
		var events []phy.Event
		for {
			var ev phy.Event
			if err := p.Receive(ctx, &ev); err != nil {
				if ctx.Err() == nil {
					t.Error(err)
				}
				heard <- events
				return
			}
			events = append(events, ev)
		}
	}()
	return heard
}

func kinds(events []phy.Event) (k []phy.EventKind) {
	for _, ev := range events {
		k = append(k, ev.Kind)
	}
	return k
}

func count(events []phy.Event, kind phy.EventKind) (n int) {
	for _, ev := range events {
		if ev.Kind == kind {
			n++
		}
	}
	return n
}

// TestBurst sends one burst through a room, half and full duplex.
func TestBurst(t *testing.T) {
	for _, full := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			air, err := sims.NewAir(sims.AirConfig{Seed: 1, Room: sims.AirRoom{RT60: new(0.15)}, Station: sims.AirStation{SNRdB: new(25.0)}})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			a, b := station(t, air, "a", full), station(t, air, "b", full)
			atA, atB := hear(ctx, t, a), hear(ctx, t, b)
			ended := make(chan error, 1)
			go func() { ended <- air.Run(ctx) }()

			mcs := a.Caps().Modes[4].MCS
			burst := &phy.Burst{MCS: mcs, Control: []byte("control"), Frames: [][]byte{[]byte("frame 0."), []byte("frame 1.")}}
			time.Sleep(time.Second) // the noise floor is learned
			began := time.Now()
			if err := a.Transmit(ctx, burst); err != nil {
				t.Fatal(err)
			}
			took, airtime := time.Since(began), a.Airtime(burst)
			least := airtime
			if full { // the next burst may follow the last blocks
				least -= 20 * time.Millisecond
			}
			if took < least || took > airtime+100*time.Millisecond {
				t.Errorf("transmitting took %v, want the airtime %v and the buffers", took, airtime)
			}
			time.Sleep(time.Second)
			cancel()
			<-ended
			own, heard := <-atA, <-atB

			var order []phy.EventKind
			for _, k := range kinds(heard) {
				if k == phy.Busy || k == phy.Idle || k == phy.Announced || k == phy.Received {
					order = append(order, k)
				}
			}
			if len(order) < 4 || order[0] != phy.Busy || order[len(order)-1] != phy.Idle {
				t.Errorf("b heard %v: want it to begin with Busy and end with Idle", order)
			}
			received := 0
			for _, ev := range heard {
				switch ev.Kind {
				case phy.Announced:
					if ev.Burst.MCS != mcs || ev.Until <= 0 || ev.Until > airtime {
						t.Errorf("announced %+v with %v to come, airtime %v", ev.Burst, ev.Until, airtime)
					}
				case phy.Received:
					received++
					if ev.Burst.MCS != mcs || !bytes.Equal(ev.Burst.Control, burst.Control) || len(ev.Burst.Frames) != 2 ||
						!bytes.Equal(ev.Burst.Frames[0], burst.Frames[0]) || !bytes.Equal(ev.Burst.Frames[1], burst.Frames[1]) {
						t.Errorf("received %q", ev.Burst)
					}
				}
			}
			if received != 1 || count(heard, phy.Announced) != 1 {
				t.Errorf("full duplex %v: b heard %v", full, kinds(heard))
			}
			// In a room a station hears itself well; on half duplex it must not
			// take its own burst for somebody else's.
			if want := map[bool]int{false: 0, true: 1}[full]; count(own, phy.Received) != want {
				t.Errorf("full duplex %v: the sender heard %v, want %d bursts", full, kinds(own), want)
			}
		})
	}
}

// TestCarrierSense senses a tone, which is energy without a preamble.
func TestCarrierSense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		air, err := sims.NewAir(sims.AirConfig{
			Seed:    2,
			Station: sims.AirStation{NoiseDBFS: new(-50.0)},
			Tones:   []sims.AirTone{{Hz: 3000, DBFS: new(-30.0), StartS: 2, StopS: 4}},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		p := station(t, air, "p", false)
		ended := make(chan error, 1)
		go func() { ended <- air.Run(ctx) }()
		began := time.Now()
		for _, want := range []struct {
			kind phy.EventKind
			at   time.Duration
		}{{phy.Busy, 2 * time.Second}, {phy.Idle, 4 * time.Second}} {
			var ev phy.Event
			if err := p.Receive(ctx, &ev); err != nil {
				t.Fatal(err)
			}
			if got := time.Since(began); ev.Kind != want.kind || (got-want.at).Abs() > 100*time.Millisecond {
				t.Errorf("event %v after %v, want %v after %v", ev.Kind, got, want.kind, want.at)
			}
		}
		cancel()
		<-ended
	})
}

// TestSenseBelowNoise: a burst 6 dB below the noise has no energy that could be told from it; its preamble takes the medium, until the
// burst is over. Noise that has risen by 10 dB is no burst for long.
func TestSenseBelowNoise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		air, err := sims.NewAir(sims.AirConfig{
			Seed: 3, Room: sims.AirRoom{RT60: new(0.0), OwnEcho: new(false), GainDB: -20}, Station: sims.AirStation{NoiseDBFS: new(-26.0)},
			Jammers: []sims.AirJammer{{DBFS: new(-16.0), OnMS: &[2]float64{60000, 60000}, StartS: 20}},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		a, b := station(t, air, "a", false), station(t, air, "b", false)
		atA, atB := hear(ctx, t, a), hear(ctx, t, b)
		ended := make(chan error, 1)
		go func() { ended <- air.Run(ctx) }()
		time.Sleep(5 * time.Second)
		burst := &phy.Burst{MCS: 0, Control: []byte("control"), Frames: [][]byte{[]byte("frame 0.")}}
		if err := a.Transmit(ctx, burst); err != nil {
			t.Fatal(err)
		}
		time.Sleep(35 * time.Second)
		cancel()
		<-ended
		<-atA
		var order []phy.EventKind
		for _, k := range kinds(<-atB) {
			if k == phy.Busy || k == phy.Idle || k == phy.Received {
				order = append(order, k)
			}
		}
		if want := []phy.EventKind{phy.Busy, phy.Received, phy.Idle, phy.Busy, phy.Idle}; !slices.Equal(order, want) {
			t.Errorf("events %v, want %v", order, want)
		}
	})
}

// brokenStream loses samples, gives nonsense, then fails.
type brokenStream struct{ reads int }

var errDevice = errors.New("device pulled out")

func (s *brokenStream) Read(p []float32) (int, int64, error) {
	s.reads++
	switch s.reads {
	case 1:
		return len(p), 0, nil
	case 2:
		return len(p), 123, nil
	case 3:
		return len(p), 48000 * 60, nil // more than a burst survives
	case 4:
		for i := range p {
			p[i] = float32([]float64{math.NaN(), math.Inf(1), math.Inf(-1), 1e38}[i%4])
		}
		return len(p), 0, nil
	}
	return 0, 0, errDevice
}
func (s *brokenStream) Write([]float32) error                   { return errDevice }
func (s *brokenStream) Latency() (time.Duration, time.Duration) { return 0, 0 }
func (s *brokenStream) Close() error                            { return nil }

func TestBrokenStream(t *testing.T) {
	m, err := audio.OpenModem("fsk", 48000)
	if err != nil {
		t.Fatal(err)
	}
	p := audio.New(audio.Config{Modem: m, Stream: new(brokenStream)})
	var lost []int64
	for {
		var ev phy.Event
		if err := p.Receive(t.Context(), &ev); err != nil {
			if !errors.Is(err, errDevice) {
				t.Errorf("got %v, want %v", err, errDevice)
			}
			break
		}
		if ev.Kind == phy.Lost {
			lost = append(lost, ev.Samples)
		}
	}
	if len(lost) != 2 || lost[0] != 123 || lost[1] != 48000*60 {
		t.Errorf("lost %v, want 123 and a minute", lost)
	}
	if err := p.Transmit(t.Context(), &phy.Burst{Control: []byte("x")}); !errors.Is(err, errDevice) {
		t.Errorf("transmit: got %v, want %v", err, errDevice)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	var ev phy.Event
	if err := p.Receive(t.Context(), &ev); !errors.Is(err, phy.ErrClosed) {
		t.Errorf("after Close: got %v, want %v", err, phy.ErrClosed)
	}
}

func TestOpenModem(t *testing.T) {
	_, err := audio.OpenModem("morse", 48000)
	if want := `profile "morse" does not exist: the profiles are air, cable, cable2, fsk, ultra, voice`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestBurstsFade wants the edges of every burst to fade: a step would be a click
// in the whole band. Profiles may differ in how long; the first and the last
// sample are at least 26 dB below the burst's level.
func TestBurstsFade(t *testing.T) {
	for _, name := range audio.Profiles() {
		m, err := audio.OpenModem(name, 48000)
		if err != nil {
			t.Fatal(err)
		}
		for _, mode := range m.Modes {
			frame := make([]byte, mode.FrameOctets)
			for i := range frame {
				frame[i] = byte(i * 7)
			}
			x, err := m.AppendBurst(nil, &modem.Burst{MCS: mode.MCS, Control: []byte("edge"), Frames: [][]byte{frame}})
			if err != nil {
				t.Fatalf("%s mode %d: %v", name, mode.MCS, err)
			}
			most := math.Pow(10, (modem.LevelDBFS-26)/20)
			if first, last := math.Abs(float64(x[0])), math.Abs(float64(x[len(x)-1])); first > most || last > most {
				t.Errorf("%s mode %d: a burst begins with %.4f and ends with %.4f, want at most %.4f", name, mode.MCS, first, last, most)
			}
		}
	}
}
