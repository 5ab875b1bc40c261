package audio_test

import (
	"bytes"
	"context"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"lightsong/phy"
	"lightsong/phy/audio"
	"lightsong/sims"
)

// TestInsert: a burst that is asked for while a long one is being played is heard when a symbol, its own
// airtime and the buffers have passed; the long one is as much later. What comes too late, or is too long, is
// refused, and so is all at half duplex and at a rate at which samples are resampled.
func TestInsert(t *testing.T) {
	for _, c := range []struct {
		name    string
		profile string
		rate    int
		full    bool
		mcs     phy.MCS
		inner   phy.MCS
		want    bool
	}{
		{"a lead", "cable", 48000, true, 23, 21, true},
		{"two channels", "cable2", 48000, true, 16, 14, true},
		{"half duplex", "cable", 48000, false, 23, 21, false},
		{"44.1 kHz", "cable", 44100, true, 23, 21, false},
		{"a profile without", "voice", 48000, true, 12, 12, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := func() *audio.Modem {
					m, err := audio.OpenModem(c.profile, c.rate)
					if err != nil {
						t.Fatal(err)
					}
					return m
				}
				channels := m().Channels()
				air, err := sims.NewAir(sims.AirConfig{Seed: 1, Channels: channels, Rate: c.rate,
					Room: sims.AirRoom{RT60: new(0.0), DRR: new(math.Inf(1)), OwnEcho: new(false)}, Station: sims.AirStation{SNRdB: new(20.0)}})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var phys []*audio.PHY
				for _, name := range []string{"a", "b"} {
					port, err := air.Attach(name)
					if err != nil {
						t.Fatal(err)
					}
					phys = append(phys, audio.New(audio.Config{Modem: m(), Stream: port, FullDuplex: c.full}))
				}
				a := phys[0]
				own, heard := hear(ctx, t, a), hear(ctx, t, phys[1])
				ended := make(chan error, 1)
				go func() { ended <- air.Run(ctx) }()
				time.Sleep(300 * time.Millisecond)

				outer := &phy.Burst{MCS: c.mcs, Control: []byte("outer")}
				for i := range 5 {
					outer.Frames = append(outer.Frames, bytes.Repeat([]byte{byte(i), 0x5a, 7}, 240))
				}
				inner := &phy.Burst{MCS: c.inner, Control: []byte("inner"), Frames: [][]byte{bytes.Repeat([]byte("urgent "), 9)}}
				if got := a.Caps().Inserts != nil && a.Caps().Inserts(inner) > 0; got != c.want {
					t.Errorf("the PHY says that such bursts can be inserted: %v, want %v", got, c.want)
				}
				if a.Seam() {
					t.Error("a burst that has not begun can be interrupted")
				}
				sent := make(chan error, 1)
				began := time.Now()
				go func() { sent <- a.Transmit(ctx, outer) }()
				time.Sleep(150 * time.Millisecond)
				if got := a.Seam(); got != c.want {
					t.Errorf("the burst can be interrupted: %v, want %v", got, c.want)
				}
				left, ok := a.Insert(inner)
				if ok != c.want {
					t.Fatalf("inserted: %v, want %v", ok, c.want)
				}
				if _, ok := a.Insert(outer); ok {
					t.Error("a burst as long as the one under way was inserted")
				}
				if err := <-sent; err != nil {
					t.Fatal(err)
				}
				took := time.Since(began)
				if _, ok := a.Insert(inner); ok {
					t.Error("a burst was inserted into one that is over")
				}
				airtime, extra := a.Airtime(outer), time.Duration(0)
				if ok {
					if extra = a.Caps().Inserts(inner); extra > a.Airtime(inner) {
						t.Errorf("the inner burst takes %v, alone %v", extra, a.Airtime(inner))
					}
				}
				if most := 100*time.Millisecond + extra + 40*time.Millisecond; ok && (left < extra || left > most) {
					t.Errorf("the inner burst of %v is said to have left in %v, want less than %v", extra, left, most)
				}
				if c.full && (took < airtime+extra-25*time.Millisecond || took > airtime+extra+30*time.Millisecond) {
					t.Errorf("transmitting took %v, want %v", took, airtime+extra)
				}
				time.Sleep(300 * time.Millisecond)
				cancel()
				<-ended
				<-own
				var got []phy.Event
				busy := 0
				for _, ev := range <-heard {
					switch ev.Kind {
					case phy.Received:
						got = append(got, ev)
					case phy.Busy:
						busy++
					}
				}
				want := []*phy.Burst{outer}
				if ok {
					want = []*phy.Burst{inner, outer}
				}
				if len(got) != len(want) || busy != 1 {
					t.Fatalf("%d bursts received, want %d; the medium was busy %d times", len(got), len(want), busy)
				}
				for i, ev := range got {
					if ev.Within != (i < len(want)-1) || !bytes.Equal(ev.Burst.Control, want[i].Control) {
						t.Errorf("burst %d has the control block %q, within another: %v", i, ev.Burst.Control, ev.Within)
					}
					for k, f := range ev.Burst.Frames {
						if !bytes.Equal(f, want[i].Frames[k]) {
							t.Errorf("burst %d: frame %d differs", i, k)
						}
					}
				}
				for _, p := range phys {
					p.Close()
				}
			})
		})
	}
}
