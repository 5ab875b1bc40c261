package audio

import (
	"context"
	"errors"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"lightsong/phy"
)

// outlet is where streams come from: it is there or not.
type outlet struct {
	mu      sync.Mutex
	there   bool
	short   time.Duration // a stream fails by itself after so long; 0: never
	streams []*plugged
	opens   int
	hang    atomic.Bool // streams give nothing
}

// plugged is a stream that works until its outlet is gone.
type plugged struct {
	outlet  *outlet
	opened  time.Time
	gone    chan struct{}
	once    sync.Once
	written int
	ended   int
}

func (o *outlet) open(context.Context) (Stream, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.opens++
	if !o.there {
		return nil, errors.New("no such device")
	}
	s := &plugged{outlet: o, opened: time.Now(), gone: make(chan struct{})}
	o.streams = append(o.streams, s)
	return s, nil
}

// plug puts the device in or pulls it.
func (o *outlet) plug(there bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.there = there
	if !there && len(o.streams) > 0 {
		_ = o.streams[len(o.streams)-1].Close()
	}
}

func (s *plugged) Read(p []float32) (int, int64, error) {
	select {
	case <-s.gone:
		return 0, 0, errors.New("device pulled")
	case <-time.After(time.Duration(len(p)) * time.Second / 48000):
	}
	for s.outlet.hang.Load() {
		time.Sleep(time.Millisecond)
	}
	if short := s.outlet.short; short > 0 && time.Since(s.opened) > short {
		s.Close()
		return 0, 0, errors.New("device pulled")
	}
	return len(p), 0, nil
}

func (s *plugged) Write(p []float32) error {
	select {
	case <-s.gone:
		return errors.New("device pulled")
	case <-time.After(time.Duration(len(p)) * time.Second / 48000):
		s.written += len(p)
		return nil
	}
}

func (s *plugged) EndBurst() { s.ended++ }
func (s *plugged) Latency() (in, out time.Duration) {
	return 7 * time.Millisecond, 9 * time.Millisecond
}
func (s *plugged) Close() error { s.once.Do(func() { close(s.gone) }); return nil }

// words are what a Reopening told.
type words struct {
	mu   sync.Mutex
	at   []time.Time
	open []bool
	t    *testing.T
}

func (w *words) tell(open bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if n := len(w.at); n > 0 && now.Sub(w.at[n-1]) < time.Second {
		w.t.Errorf("told twice within %v", now.Sub(w.at[n-1]))
	}
	if open != (err == nil) {
		w.t.Errorf("told open %v with error %v", open, err)
	}
	w.at, w.open = append(w.at, now), append(w.open, open)
}

// reading reads from a stream until it is closed and adds up.
func reading(s Stream) (heard func() (samples, lost int64, last time.Time), join func()) {
	var mu sync.Mutex
	var samples, lost int64
	var last time.Time
	var wg sync.WaitGroup
	wg.Go(func() {
		for block := make([]float32, 480); ; {
			n, l, err := s.Read(block)
			mu.Lock()
			samples, lost, last = samples+int64(n), lost+l, time.Now()
			mu.Unlock()
			if err != nil {
				return
			}
		}
	})
	return func() (int64, int64, time.Time) { mu.Lock(); defer mu.Unlock(); return samples, lost, last }, wg.Wait
}

// TestReopening takes the device away for various times. It must be back within
// the longest pause, the gap must be counted, and little be said.
func TestReopening(t *testing.T) {
	for _, away := range []time.Duration{10 * time.Millisecond, time.Second, 8 * time.Second, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			o := &outlet{there: true}
			w := &words{t: t}
			r := Reopen(48000, 1, o.open, w.tell)
			heard, join := reading(r)
			defer join()
			defer r.Close()
			time.Sleep(10 * time.Second)
			began := time.Now()
			o.plug(false)
			time.Sleep(away)
			if open, _, why := r.State(); away >= time.Second && (open || why == nil) {
				t.Errorf("while it is away: open %v, %v", open, why)
			}
			o.mu.Lock()
			o.there = true
			o.mu.Unlock()
			back := time.Now()
			for {
				if _, _, last := heard(); last.After(back) {
					break
				}
				time.Sleep(time.Millisecond)
			}
			if took := time.Since(back); took > lastRetry+20*time.Millisecond {
				t.Errorf("away for %v: back after %v, want %v", away, took, lastRetry)
			}
			time.Sleep(10 * time.Second)
			samples, lost, last := heard()
			if all, want := samples+lost, int64(last.Sub(began.Add(-10*time.Second)).Seconds()*48000); math.Abs(float64(all-want)) > 2*480 {
				t.Errorf("away for %v: %d samples with %d lost, want %d", away, all, lost, want)
			}
			open, opened, _ := r.State()
			if !open || opened != 2 {
				t.Errorf("away for %v: open %v, opened %d times", away, open, opened)
			}
			// A look each pause, and no more.
			if most := 10 + int(away/lastRetry); o.opens > most {
				t.Errorf("away for %v: tried %d times, want at most %d", away, o.opens, most)
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			// There, gone, perhaps why it cannot be opened, there again.
			if n := len(w.at); n < 3 || n > 4 || !w.open[0] || w.open[1] || !w.open[n-1] {
				t.Errorf("away for %v: told %v", away, w.open)
			}
		})
	}
}

// TestReopeningFlaps has a device that is gone again as soon as it is there.
func TestReopeningFlaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &outlet{there: true, short: 50 * time.Millisecond}
		w := &words{t: t} // wants a second between any two
		r := Reopen(48000, 1, o.open, w.tell)
		_, join := reading(r)
		time.Sleep(10 * time.Minute)
		r.Close()
		join()
		if most := 10 + int(10*time.Minute/lastRetry); o.opens > most || o.opens < most/2 {
			t.Errorf("opened %d times, want at most %d", o.opens, most)
		}
	})
}

// TestReopeningWrite wants a burst that is hit to fail when the device is back,
// and the next one to be played.
func TestReopeningWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &outlet{}
		r := Reopen(48000, 1, o.open, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		go func() { time.Sleep(20 * time.Second); o.plug(true) }()
		began := time.Now()
		if err := r.Await(ctx); err != nil || time.Since(began) > 20*time.Second+lastRetry {
			t.Fatalf("%v after %v", err, time.Since(began))
		}
		if in, out := r.Latency(); in != 7*time.Millisecond || out != 9*time.Millisecond {
			t.Errorf("latency %v, %v", in, out)
		}
		_, join := reading(r)
		defer join()
		if err := r.Write(make([]float32, 4800)); err != nil {
			t.Fatal(err)
		}
		r.EndBurst()
		go func() { time.Sleep(time.Second); o.plug(false); time.Sleep(time.Minute); o.plug(true) }()
		began = time.Now()
		err := r.Write(make([]float32, 480000))
		if took := time.Since(began); !errors.Is(err, ErrInterrupted) || took < time.Minute || took > time.Minute+time.Second+lastRetry {
			t.Errorf("a Write that was hit: %v after %v", err, took)
		}
		if err := r.Write(make([]float32, 4800)); err != nil {
			t.Errorf("the next one: %v", err)
		}
		if n := len(o.streams); n != 2 || o.streams[0].written != 4800 || o.streams[0].ended != 1 || o.streams[1].written != 4800 {
			t.Errorf("%d streams, %+v", n, o.streams)
		}

		o.plug(false)
		time.Sleep(time.Second)
		go func() { time.Sleep(time.Second); r.Close() }()
		if err := r.Write(make([]float32, 480)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a Write that waits when the stream is closed: %v", err)
		}
		if _, _, err := r.Read(make([]float32, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a Read after Close: %v", err)
		}
		r.EndBurst()
	})
}

// TestReopeningAwait gives up.
func TestReopeningAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		began := time.Now()
		if err := Reopen(48000, 1, new(outlet).open, nil).Await(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// TestElapsed: the PHY's clock is its stream's, also over the time without a device,
// while which it goes on; it never runs back, and a device that hangs stops it.
func TestElapsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &outlet{there: true}
		r := Reopen(48000, 1, o.open, nil)
		m, err := OpenModem("fsk", 48000)
		if err != nil {
			t.Fatal(err)
		}
		p := New(Config{Modem: m, Stream: r})
		begin := time.Now()
		done := make(chan struct{})
		go func() {
			defer close(done)
			for ev := new(phy.Event); p.Receive(t.Context(), ev) == nil; {
			}
		}()
		last := p.Elapsed()
		look := func(d time.Duration, what string, runs bool) {
			from, at := last, time.Now()
			for time.Since(at) < d {
				time.Sleep(time.Millisecond)
				now := p.Elapsed()
				if now < last {
					t.Fatalf("%s: the clock ran back from %v to %v", what, last, now)
				}
				last = now
			}
			want := time.Duration(0)
			if runs {
				want = d
			}
			if got := last - from; (got - want).Abs() > 3*blockTime {
				t.Errorf("%s: %v passed in %v", what, got, d)
			}
		}
		look(3*time.Second, "with a device", true)
		o.plug(false)
		look(7*time.Second, "without one", true)
		o.plug(true)
		look(5*time.Second, "with a device again", true)
		if got := time.Since(begin); (got - last).Abs() > 3*blockTime {
			t.Errorf("after %v it shows %v", got, last)
		}
		o.hang.Store(true)
		look(20*time.Millisecond, "while it comes to hang", true)
		look(time.Minute, "while the device hangs", false)
		o.hang.Store(false)
		look(time.Second, "when it goes on", true)
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
}
