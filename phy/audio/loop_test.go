package audio_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"lightsong/phy"
	"lightsong/phy/audio"
	"lightsong/sims"
)

// lateStream hears later than it says: a sound server's buffers are its own secret.
type lateStream struct {
	audio.Stream
	waiting []float32
}

func (s *lateStream) Read(p []float32) (n int, lost int64, err error) {
	fresh := make([]float32, len(p))
	n, lost, err = s.Stream.Read(fresh)
	s.waiting = append(s.waiting, fresh[:n]...)
	copy(p[:n], s.waiting)
	s.waiting = s.waiting[:copy(s.waiting, s.waiting[n:])]
	return n, lost, err
}

// TestLoopMeasured lets stations find out how long their sound takes, from the
// bursts of theirs that they hear: in a room, beside another station that sends as
// well, however wrong the device is. Where nothing is to be heard they believe the
// device, and so they do where it is right to 10 ms.
func TestLoopMeasured(t *testing.T) {
	for _, tt := range []struct {
		profile string
		late    time.Duration // on top of what the device says
		echo    bool          // it hears itself
		told    int           // times that the turnaround is told to be another
		short   bool          // bursts shorter than late
	}{
		{"air", 0, true, 0, false},
		{"air", 300 * time.Millisecond, true, 1, false},
		{"air", 500 * time.Millisecond, true, 1, true},
		{"air", 500 * time.Millisecond, false, 0, true},
		{"air", 300 * time.Millisecond, false, 0, false},
		{"fsk", 120 * time.Millisecond, true, 1, false},
		{"ultra", 700 * time.Millisecond, true, 1, false},
		{"voice", 300 * time.Millisecond, true, 1, false},
	} {
		t.Run(fmt.Sprintf("%s %v %v %v", tt.profile, tt.late, tt.echo, tt.short), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				config := sims.AirConfig{Seed: 3, Room: sims.AirRoom{RT60: new(0.3), DRR: new(3.0), OwnEcho: new(tt.echo)}, Station: sims.AirStation{SNRdB: new(20.0)}}
				air, err := sims.NewAir(config)
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				open := func(name string, late time.Duration) *audio.PHY {
					port, err := air.Attach(name)
					if err != nil {
						t.Fatal(err)
					}
					m, err := audio.OpenModem(tt.profile, air.Rate())
					if err != nil {
						t.Fatal(err)
					}
					s := &lateStream{Stream: port, waiting: make([]float32, int(late.Seconds()*float64(air.Rate())))}
					return audio.New(audio.Config{Modem: m, Stream: s})
				}
				a, b := open("a", tt.late), open("b", 0)
				said := a.Caps().Turnaround
				atA, atB := hear(ctx, t, a), hear(ctx, t, b)
				ended := make(chan error, 1)
				go func() { ended <- air.Run(ctx) }()
				time.Sleep(time.Second)
				octets := a.Caps().Modes[len(a.Caps().Modes)/2].FrameOctets
				var frames [][]byte
				for a.Airtime(&phy.Burst{MCS: a.Caps().Modes[len(a.Caps().Modes)/2].MCS, Control: []byte{0}, Frames: frames}) < tt.late+100*time.Millisecond && (!tt.short || len(frames) == 0) {
					frames = append(frames, make([]byte, octets)) // the same for both
				}
				for range 8 {
					for i, p := range []*audio.PHY{a, b} {
						burst := &phy.Burst{MCS: a.Caps().Modes[len(a.Caps().Modes)/2].MCS, Control: []byte{byte(i)}, Frames: frames}
						if err := p.Transmit(ctx, burst); err != nil {
							t.Fatal(err)
						}
						time.Sleep(tt.late + 300*time.Millisecond)
					}
				}
				time.Sleep(2 * time.Second)
				in, out, measured := a.Latency()
				turnaround := a.Caps().Turnaround
				cancel()
				<-ended
				<-atB
				heard := <-atA
				if measured != tt.echo {
					t.Errorf("measured %v, want %v", measured, tt.echo)
				}
				want := said
				if tt.echo {
					want += tt.late
				}
				if d := (turnaround - want).Abs(); d > 15*time.Millisecond || tt.told == 0 && d != 0 {
					t.Errorf("a turnaround of %v (in %v, out %v), want %v", turnaround, in, out, want)
				}
				if n := count(heard, phy.Retimed); n != tt.told {
					t.Errorf("told %d times, want %d", n, tt.told)
				}
				for _, ev := range heard {
					if ev.Kind == phy.Retimed && ev.Until != turnaround {
						t.Errorf("told %v, want %v", ev.Until, turnaround)
					}
				}
				if n := count(heard, phy.Received); n < 6 {
					t.Errorf("%d of the other's 8 bursts came", n)
				}
			})
		})
	}
}
