package main

import (
	"context"
	"errors"
	"io"
	"math"
	"sync"

	"lightsong/modem"
	"lightsong/modem/sounding"
	"lightsong/phy/audio"
)

// recording is what a device hears, while it grows: one goroutine adds, another
// waits for it and looks. Of two channels each has a track.
type recording struct {
	rate, channels int

	mu     sync.Mutex
	grown  sync.Cond
	tracks [][]float32
	base   int   // samples forgotten at the beginning
	lost   int64 // by the device; zeros stand in their place
	over   bool
	err    error // why nothing more comes
}

func newRecording(rate, channels int) *recording {
	r := &recording{rate: rate, channels: channels, tracks: make([][]float32, channels)}
	r.grown.L = &r.mu
	return r
}

// listen adds what a stream hears until it fails or is closed.
func (r *recording) listen(s audio.Stream, tell func(block []float32)) {
	block := make([]float32, r.channels*(r.rate/100))
	for {
		n, lost, err := s.Read(block)
		r.add(block[:n], lost)
		if err != nil && n == 0 {
			r.end(err)
			return
		}
		tell(block[:n])
	}
}

// add appends samples behind the lost ones.
func (r *recording) add(samples []float32, lost int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost += lost
	lost = min(lost, int64(2*r.rate)) // more spoils the sounding anyway
	for c := range r.tracks {
		r.tracks[c] = append(r.tracks[c], make([]float32, lost)...)
		for i := c; i < len(samples); i += r.channels {
			v := samples[i]
			if !(v > -1e4 && v < 1e4) { // NaN too
				v = 0
			}
			r.tracks[c] = append(r.tracks[c], v)
		}
	}
	r.grown.Broadcast()
}

// end says that nothing more comes.
func (r *recording) end(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over, r.err = true, err
	r.grown.Broadcast()
}

// length is how many samples, or pairs, were heard.
func (r *recording) length() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.base + len(r.tracks[0])
}

// await waits for the first n samples. It returns io.EOF where the recording ends
// before, or why it did.
func (r *recording) await(ctx context.Context, n int) error {
	defer context.AfterFunc(ctx, func() { r.end(ctx.Err()) })()
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.base+len(r.tracks[0]) < n && !r.over {
		r.grown.Wait()
	}
	if r.base+len(r.tracks[0]) >= n {
		return nil
	}
	if r.err == nil {
		return io.EOF
	}
	return r.err
}

// track is what was heard of one channel from sample from on. It is not written
// to again.
func (r *recording) track(c, from int) []float32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.tracks[c][min(max(0, from-r.base), len(r.tracks[c])):]
	return t[:len(t):len(t)]
}

// forget drops what came before sample n.
func (r *recording) forget(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n -= r.base; n > 0 {
		for c, t := range r.tracks {
			r.tracks[c] = append([]float32(nil), t[min(n, len(t)):]...)
		}
		r.base += n
	}
}

// lostSamples is how many the device lost.
func (r *recording) lostSamples() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lost
}

// search looks for a sounding in a recording that grows while more says so, and
// measures the first.
func (d *Doctor) search(ctx context.Context, rec *recording, t *doctorTest, more func() bool) error {
	s := t.sounding
	keep := t.seconds(2)
	for from := 0; ; {
		err := rec.await(ctx, from+s.Reach())
		if err != nil && (!errors.Is(err, io.EOF) || ctx.Err() != nil) {
			return err
		}
		x := rec.track(0, from)
		if len(x) == 0 || !more() && err == nil && !d.recorded() {
			return d.unheard(rec)
		}
		at, ok := s.Find(x[:min(len(x), s.Reach())])
		if !ok {
			if from += s.Hop(); err == nil {
				rec.forget(from - keep)
			}
			continue
		}
		at += from
		if err := rec.await(ctx, at+t.samples()+t.seconds(soundingTail)); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if d.measure(rec, t, at) {
			return nil
		}
		from = at + t.seconds(0.5)
	}
}

// recorded tells whether all there is to hear is there already.
func (d *Doctor) recorded() bool { return d.Mode == "recording" }

// loop measures the sounding that was given to the device at sample began.
func (d *Doctor) loop(ctx context.Context, rec *recording, t *doctorTest, began int) error {
	s := t.sounding
	end := began + t.seconds(loopPatience)
	for from := began; from < end; from += s.Hop() {
		if err := rec.await(ctx, from+s.Reach()); err != nil {
			return err
		}
		at, ok := s.Find(rec.track(0, from)[:s.Reach()])
		if !ok || from+at > end {
			continue
		}
		at += from
		if err := rec.await(ctx, at+t.samples()+t.seconds(soundingTail)); err != nil {
			return err
		}
		// An echo canceller may have taken the second sweep: what the first tells is
		// true all the same.
		if !d.measure(rec, t, at) && d.Sound == nil {
			break
		}
		way := (float64(d.Sound.Start) - float64(began)) / float64(rec.rate) * 1e3
		d.RoundTripMS = &way
		return nil
	}
	return d.unheard(rec)
}

// measure measures the sounding near sample at, and reports whether it was one.
func (d *Doctor) measure(rec *recording, t *doctorTest, at int) bool {
	const before = 3.0 // s, of which the noise is measured
	from := max(rec.base, at-t.seconds(before))
	report, whole := t.sounding.Analyse(rec.track(0, from), at-from)
	if !whole && d.Mode != "loop" {
		return false
	}
	report.Start += sounding.Value(from)
	d.Sound = &report
	if rec.channels == 2 {
		right, _ := t.sounding.Analyse(rec.track(1, from), at-from)
		right.Start += sounding.Value(from)
		d.Right = &right
	}
	d.Lost = rec.lostSamples()
	d.tryBurst(rec, t)
	return whole
}

// unheard fills in what can be said of sound without a sounding.
func (d *Doctor) unheard(rec *recording) error {
	x := rec.track(0, 0)
	if len(x) == 0 {
		return errors.New("the device gave no sound at all")
	}
	var sum, squares, peak float64
	zeros := 0
	for _, v := range x {
		sum += float64(v)
		squares += float64(v) * float64(v)
		peak = max(peak, math.Abs(float64(v)))
		if v == 0 {
			zeros++
		}
	}
	n := float64(len(x))
	d.Heard = &DoctorHeard{
		PeakDBFS:    sounding.Value(20 * math.Log10(peak)),
		LevelDBFS:   sounding.Value(10 * math.Log10(max(0, squares/n-sum*sum/n/n))),
		SilentShare: sounding.Value(float64(zeros) / n),
	}
	d.Lost = rec.lostSamples()
	return nil
}

// tryBurst reads the burst behind the sounding.
func (d *Doctor) tryBurst(rec *recording, t *doctorTest) {
	if len(t.burst.Frames) == 0 {
		return
	}
	b := &DoctorBurst{Profile: t.modem.Profile, MCS: int(t.burst.MCS), Frames: len(t.burst.Frames)}
	d.Burst = b
	nan := sounding.Value(math.NaN())
	b.SNRdB, b.EVMdB, b.DelaySpreadMS = nan, nan, nan
	from := int(d.Sound.Start) + t.sounding.Samples() - t.seconds(soundingGap)
	tracks := make([][]float32, rec.channels)
	for c := range tracks {
		tracks[c] = rec.track(c, from)
	}
	var x []float32
	for i := range tracks[0] {
		for c := range tracks {
			x = append(x, tracks[c][i])
		}
	}
	x = append(x, make([]float32, rec.channels*t.seconds(3))...) // a demodulator looks ahead
	t.modem.Reset()
	t.modem.Push(x, func(ev modem.Event) {
		switch {
		case b.Heard || ev.Kind != modem.Received && ev.Kind != modem.Missed:
			return
		case ev.Kind == modem.Missed:
			b.Missed++
			return
		}
		if string(ev.Burst.Control) != string(t.burst.Control) && len(ev.Burst.Frames) != len(t.burst.Frames) {
			return // somebody else's
		}
		b.Heard = true
		for _, f := range ev.Burst.Frames {
			if f != nil {
				b.Good++
			}
		}
		b.SNRdB, b.EVMdB, b.DelaySpreadMS = sounding.Value(ev.SNR), sounding.Value(ev.EVM), sounding.Value(1e3*ev.DelaySpread)
		if ev.Wants {
			want := int(ev.Want)
			b.Want = &want
		}
		if c, ok := t.modem.Demodulator.(constellation); ok {
			d.cells = c.AppendConstellation(nil)
		}
	})
}

// constellation is a demodulator that shows its cells.
type constellation interface {
	AppendConstellation(dst []complex64) []complex64
}
