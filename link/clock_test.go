package link

import (
	"testing"
	"testing/synctest"
	"time"

	"lightsong/phy"
)

// clockedPHY is a medium that has come as far as a test says.
type clockedPHY struct {
	phy.PHY
	elapsed time.Duration
}

func (p *clockedPHY) Elapsed() time.Duration { return p.elapsed }

// TestClock: the link's clock is the machine's while the medium keeps time, in
// however large pieces and with whatever error a sample clock has; it waits for a
// medium that does not, and loses no more than the medium did.
func TestClock(t *testing.T) {
	for _, tt := range []struct {
		name   string
		medium func(wall time.Duration) time.Duration // how far it has come
		after  time.Duration
		want   time.Duration // of the link's clock
		within time.Duration
	}{
		{"in step", func(w time.Duration) time.Duration { return w }, time.Hour, time.Hour, 0},
		{"pieces of 400 ms", func(w time.Duration) time.Duration { return w.Truncate(400 * time.Millisecond) }, time.Hour, time.Hour, 0},
		{"200 ppm slow", func(w time.Duration) time.Duration { return w - w/5000 }, 10 * time.Hour, 10 * time.Hour, 0},
		{"200 ppm fast, 400 ms late", func(w time.Duration) time.Duration { return max(0, w+w/5000-400*time.Millisecond) }, 10 * time.Hour, 10 * time.Hour, 0},
		{"stops", func(w time.Duration) time.Duration { return min(w, 10*time.Second) }, time.Hour, 10*time.Second + clockLead, 0},
		{"stops for 20 s", func(w time.Duration) time.Duration {
			return min(w, max(10*time.Second, w-20*time.Second))
		}, time.Minute, 40*time.Second + clockLead, 0},
		{"stops for 20 s and catches up", func(w time.Duration) time.Duration {
			if w > 10*time.Second && w < 30*time.Second {
				return 10 * time.Second
			}
			return w
		}, time.Minute, 40*time.Second + clockLead, 0},
		{"a twentieth of the speed", func(w time.Duration) time.Duration { return w / 20 }, time.Hour, 3*time.Minute + clockLead, 3 * time.Minute / clockGain},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &clockedPHY{elapsed: 17 * time.Hour} // its clock began some time ago
				begin := time.Now()
				c := newClock(p)
				step := max(time.Millisecond, tt.after/100000)
				for last := begin; time.Since(begin) < tt.after; {
					time.Sleep(step)
					p.elapsed = 17*time.Hour + tt.medium(time.Since(begin))
					now := c.now()
					if now.Before(last) {
						t.Fatalf("after %v the clock ran back by %v", time.Since(begin), last.Sub(now))
					}
					last = now
				}
				if got := c.now().Sub(begin); (got - tt.want).Abs() > tt.within+step {
					t.Errorf("after %v it shows %v, want %v", tt.after, got, tt.want)
				}
				if got, want := c.behind, time.Since(begin)-c.now().Sub(begin); got != want {
					t.Errorf("behind by %v, want %v", got, want)
				}
			})
		})
	}
	t.Run("no clock of the medium", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newClock(struct{ phy.PHY }{})
			time.Sleep(time.Hour)
			if got := c.now(); !got.Equal(time.Now()) || c.pause(got, got.Add(-time.Second)) != 0 || c.pause(got, got.Add(time.Microsecond)) != time.Microsecond {
				t.Errorf("at %v it shows %v, and pauses %v for a microsecond", time.Now(), got, c.pause(got, got.Add(time.Microsecond)))
			}
		})
	})
	t.Run("no haste while it waits", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newClock(&clockedPHY{})
			time.Sleep(time.Minute)
			now := c.now()
			if got := c.pause(now, now.Add(time.Microsecond)); got != heldPause {
				t.Errorf("it looks again after %v", got)
			}
		})
	})
}
