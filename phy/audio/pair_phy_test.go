package audio_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"lightsong/phy"
	"lightsong/phy/audio"
	"lightsong/sims"
)

// Two stations on a lead with two channels send at the same time, each a burst
// of two streams, and air time is what the samples say.
func TestPairBurst(t *testing.T) {
	for _, crosstalk := range []float64{-40, -20} {
		synctest.Test(t, func(t *testing.T) {
			air, err := sims.NewAir(sims.AirConfig{
				Channels: 2,
				Room:     sims.AirRoom{RT60: new(0.0), DRR: new(math.Inf(1)), OwnEcho: new(false), CrosstalkDB: new(crosstalk)},
				Station:  sims.AirStation{SNRdB: new(50.0), BufferInMS: new(20.0)},
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var phys []*audio.PHY
			var heard []<-chan []phy.Event
			for _, name := range []string{"a", "b"} {
				port, err := air.Attach(name)
				if err != nil {
					t.Fatal(err)
				}
				m, err := audio.OpenModem("cable2", air.Rate())
				if err != nil {
					t.Fatal(err)
				}
				p := audio.New(audio.Config{Modem: m, Stream: port, FullDuplex: true})
				phys = append(phys, p)
				heard = append(heard, hear(ctx, t, p))
			}
			ended := make(chan error, 1)
			go func() { ended <- air.Run(ctx) }()
			time.Sleep(300 * time.Millisecond)

			burst := &phy.Burst{MCS: 36, Control: []byte("control")}
			for i := range 6 {
				burst.Frames = append(burst.Frames, bytes.Repeat([]byte{byte(i), 0x5a}, 500))
			}
			airtime := phys[0].Airtime(burst)
			if bps := 8 * 6000 / airtime.Seconds(); bps < 250e3 {
				t.Errorf("%.0f bit/s of air time %v: two streams carry more", bps, airtime)
			}
			sent := make(chan error, 2)
			began := time.Now()
			for _, p := range phys {
				go func() { sent <- p.Transmit(ctx, burst) }()
			}
			if err := errors.Join(<-sent, <-sent); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took < airtime-20*time.Millisecond || took > airtime+150*time.Millisecond {
				t.Errorf("transmitting took %v, want the airtime %v but for the last blocks, and the buffers", took, airtime)
			}
			time.Sleep(300 * time.Millisecond)
			cancel()
			<-ended
			for i := range heard {
				events := <-heard[i]
				if n := count(events, phy.Received); n != 1 {
					t.Errorf("crosstalk %g dB, station %d: %d bursts received: %v", crosstalk, i, n, kinds(events))
				}
				for _, ev := range events {
					if ev.Kind != phy.Received {
						continue
					}
					for j, f := range ev.Burst.Frames {
						if !bytes.Equal(f, burst.Frames[j]) {
							t.Errorf("crosstalk %g dB, station %d: frame %d differs", crosstalk, i, j)
						}
					}
				}
			}
			for _, p := range phys {
				p.Close()
			}
		})
	}
}

// A modem of two channels on a stream of one is told in one sentence, whatever is
// asked of the PHY first.
func TestPairNeedsPairs(t *testing.T) {
	air, err := sims.NewAir(sims.AirConfig{})
	if err != nil {
		t.Fatal(err)
	}
	port, err := air.Attach("a")
	if err != nil {
		t.Fatal(err)
	}
	m, err := audio.OpenModem("cable2", 48000)
	if err != nil {
		t.Fatal(err)
	}
	p := audio.New(audio.Config{Modem: m, Stream: port})
	defer p.Close()
	const want = "the number of channels does not fit: profile cable2 needs 2, the device or the simulated medium has 1"
	for _, err := range []error{
		p.Receive(t.Context(), new(phy.Event)),
		p.Transmit(t.Context(), &phy.Burst{MCS: 10, Control: []byte("x")}),
	} {
		if !errors.Is(err, audio.ErrChannels) || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
