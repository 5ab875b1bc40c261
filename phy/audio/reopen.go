package audio

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// ErrInterrupted is wrapped by the error of a Write of which the stream went
// away: the burst in progress is lost, the next one may be sent.
var ErrInterrupted = errors.New("the sound device went away in the middle of a burst")

const (
	firstRetry = 250 * time.Millisecond
	lastRetry  = 2 * time.Second
	steady     = 5 * time.Second // a stream that lived so long begins with firstRetry again
	tellEvery  = time.Second     // at most
)

// Reopening is a Stream that outlives what it is made of: a sound card whose
// server dies, stops or restarts, a device that is pulled, a simulated air that
// is not there yet. When its Stream fails it closes and opens it again, with
// growing pauses, until Close.
//
// To its user the time without a device is a gap: Read waits until it is over
// and counts it as lost samples. A Write that is hit waits as well and then
// fails with ErrInterrupted: what it was to send is out of date by then.
//
// It has no goroutine of its own: whoever reads opens. Somebody must therefore
// read.
type Reopening struct {
	open     func(ctx context.Context) (Stream, error)
	tell     func(open bool, err error)
	rate     int
	channels int

	ctx    context.Context
	cancel context.CancelFunc

	// The reader's own.
	pause    time.Duration
	opened   time.Time
	told     string
	toldAt   time.Time
	toldOnce bool

	mu       sync.Mutex
	changed  sync.Cond
	current  Stream    // nil: there is none
	gone     time.Time // since when there is none; zero: there is, or never was. The reader alone changes it
	number   int       // of current; counts
	in, out  time.Duration
	lastErr  error
	closeErr error
	lost     int64 // samples and bursts of the streams that have ended, as Counts has them
	split    int64
}

// Reopen makes one of streams that open opens, each of the given number
// of channels (0 stands for 1) at rate samples, or pairs, per second. Nothing is opened before the first Read or Await. tell is told
// when the stream is there and when it is not, and why; at most once per
// second, and a fault that stays the same once. It is called by the reader and
// may be nil.
func Reopen(rate, channels int, open func(ctx context.Context) (Stream, error), tell func(open bool, err error)) *Reopening {
	if tell == nil {
		tell = func(bool, error) {}
	}
	r := &Reopening{open: open, tell: tell, rate: rate, channels: max(1, channels), pause: firstRetry}
	r.changed.L = &r.mu
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// Await returns when the stream has been opened for the first time, or is
// closed, or ctx is done. It must not be called at the same time as Read.
func (r *Reopening) Await(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { r.Close() })()
	if _, err := r.stream(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
	return nil
}

// stream is the reader's way to the current stream: it opens one if there is
// none. Its error is net.ErrClosed.
func (r *Reopening) stream() (Stream, error) {
	for {
		if r.ctx.Err() != nil {
			return nil, net.ErrClosed
		}
		r.mu.Lock()
		s := r.current
		r.mu.Unlock()
		if s != nil {
			return s, nil
		}
		s, err := r.open(r.ctx)
		if err == nil {
			r.began(s)
			continue
		}
		r.report(err)
		select {
		case <-r.ctx.Done():
		case <-time.After(r.pause):
		}
		r.pause = min(2*r.pause, lastRetry)
	}
}

// began makes s the current stream.
func (r *Reopening) began(s Stream) {
	in, out := s.Latency()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil { // closed meanwhile
		r.closeErr = errors.Join(r.closeErr, s.Close())
		return
	}
	r.current, r.in, r.out = s, in, out
	r.number++
	r.opened = time.Now()
	r.changed.Broadcast()
}

// ended takes a stream that has failed away.
func (r *Reopening) ended(s Stream, err error) {
	r.mu.Lock()
	r.current = nil
	if c, ok := s.(counting); ok {
		lost, split := c.Counts()
		r.lost, r.split = r.lost+lost, r.split+split
	}
	r.lastErr = err
	r.changed.Broadcast()
	r.mu.Unlock()
	_ = s.Close() // it has failed already
	if time.Since(r.opened) >= steady {
		r.pause = firstRetry
	}
	r.report(err)
	select {
	case <-r.ctx.Done():
	case <-time.After(r.pause):
	}
	r.pause = min(2*r.pause, lastRetry)
}

// report tells how it is, unless it was told already, or told too lately: then
// the next Read does.
func (r *Reopening) report(err error) {
	state := ""
	if err != nil {
		state = err.Error()
	}
	now := time.Now()
	if r.toldOnce && (state == r.told || now.Sub(r.toldAt) < tellEvery) || r.ctx.Err() != nil {
		return
	}
	r.toldOnce, r.told, r.toldAt = true, state, now
	r.tell(err == nil, err)
}

// Read implements Stream. Its only error is that of Close.
func (r *Reopening) Read(p []float32) (n int, lost int64, err error) {
	for {
		s, err := r.stream()
		if err != nil {
			return 0, lost, fmt.Errorf("sound: %w", err)
		}
		if !r.gone.IsZero() {
			lost += int64(time.Since(r.gone).Seconds() * float64(r.rate))
			r.since(time.Time{})
		}
		n, more, err := s.Read(p)
		lost += more
		if err == nil || n > 0 {
			r.report(nil)
			return n, lost, nil
		}
		if r.ctx.Err() == nil {
			r.since(time.Now())
			r.ended(s, err)
		}
	}
}

// since notes when the device went away.
func (r *Reopening) since(gone time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone = gone
}

// Absent is for how long there has been no device: what the next Read tells as
// lost. It is 0 before the first was there.
func (r *Reopening) Absent() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone.IsZero() {
		return 0
	}
	return time.Since(r.gone)
}

// Write implements Stream. While there is no device it waits for it.
func (r *Reopening) Write(p []float32) error {
	r.mu.Lock()
	s, number := r.current, r.number
	r.mu.Unlock()
	if s != nil {
		err := s.Write(p)
		if err == nil {
			return nil
		}
		if r.ctx.Err() == nil {
			return fmt.Errorf("%w: %w", r.interrupted(number), err)
		}
	}
	return r.interrupted(number)
}

// interrupted waits for the stream after the one of that number.
func (r *Reopening) interrupted(number int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.ctx.Err() == nil && r.number == number {
		r.changed.Wait()
	}
	if r.ctx.Err() != nil {
		return net.ErrClosed
	}
	return ErrInterrupted
}

// EndBurst implements BurstEnder.
func (r *Reopening) EndBurst() {
	r.mu.Lock()
	s := r.current
	r.mu.Unlock()
	if s, ok := s.(BurstEnder); ok {
		s.EndBurst()
	}
}

// Channels implements Channeled: also before the first stream is there.
func (r *Reopening) Channels() int { return r.channels }

// Latency implements Stream: that of the last stream that was there.
func (r *Reopening) Latency() (in, out time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.in, r.out
}

// State tells whether there is a device now, how many times one was opened, and
// why the last one ended.
func (r *Reopening) State() (open bool, opened int, last error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.current != nil, r.number, r.lastErr
}

// counting is a Stream that counts what its device has spoilt.
type counting interface {
	Counts() (lost, split int64)
}

// Counts are the samples that devices have lost while they were there, of all
// channels, and the bursts that they have split by silence. Devices that cannot
// tell count as faultless.
func (r *Reopening) Counts() (lost, split int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	lost, split = r.lost, r.split
	if c, ok := r.current.(counting); ok {
		l, s := c.Counts()
		lost, split = lost+l, split+s
	}
	return lost, split
}

// Close implements Stream. It ends a blocked Read, Write or opening.
func (r *Reopening) Close() error {
	r.cancel()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current != nil {
		r.closeErr = r.current.Close()
		r.current = nil
	}
	r.changed.Broadcast()
	return r.closeErr
}
