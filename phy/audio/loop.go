package audio

import (
	"bytes"
	"math"
	"slices"
	"sync"

	"lightsong/modem/dsp"
)

// How long sound takes from the card's taking it to its being read again is what
// no library knows where a sound server, a network or Bluetooth is behind the
// card. A station on air hears itself, so it is measured: the end of an own burst
// is looked for in what is heard while one is deaf to it.
const (
	loopTemplate = 0.25  // s, of the end of a burst that is looked for, …
	loopShortest = 60e-3 // … and of a shorter one at least that
	loopLongest  = 1.5   // s, beyond the burst's end, that it is looked for in
	loopClear    = 8.0   // times the correlation's RMS that a find has; noise has 5 in so many samples
	loopAlike    = 0.35  // correlation coefficient that it has: pilots, which all bursts have in common, give 0.13
	loopAgree    = 10e-3 // s, by which measurements and what the device says may differ
	loopRepeat   = 30.0  // s between two measurements, after the first ones
	loopKept     = 3     // measurements; their median counts
)

// loopMeter measures from own bursts. Transmit and Receive share it.
type loopMeter struct {
	rate int

	mu       sync.Mutex
	state    loopState
	template []float32 // the end of the burst, one channel
	record   []float32 // heard, of one channel
	end      int       // sample of record at which the card had taken all
	length   int       // of the burst, samples
	other    int       // sample of record at which another's burst begins; −1: none
	due      int64     // sample of the PHY's clock from which on the next burst is measured
	found    []int     // the last ones, samples
	control  []byte    // of the burst that was sent last: nobody else sends the same
}

type loopState uint8

const (
	loopIdle    loopState = iota
	loopSending           // a burst is being played
	loopWaiting           // for its end to be heard
	loopReady             // enough was heard
)

// sending tells that burst x of so many channels, with a control block, is about to
// be played. now is the PHY's clock.
func (m *loopMeter) sending(x []float32, channels int, control []byte, now int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.control = append(m.control[:0], control...)
	switch m.state {
	case loopWaiting:
		m.state = loopReady // more than was heard of the last one will not come
		return
	case loopReady:
		return
	}
	n := min(int(loopTemplate*float64(m.rate)), len(x)/channels)
	if m.state = loopIdle; now < m.due || n < int(loopShortest*float64(m.rate)) {
		return
	}
	m.length, m.other = len(x)/channels, -1
	m.template = m.template[:0]
	for i := len(x) - n*channels; i < len(x); i += channels {
		m.template = append(m.template, x[i])
	}
	m.record, m.state = m.record[:0], loopSending
}

// sent tells that the card has taken the last sample; whole is false if it has
// not.
func (m *loopMeter) sent(whole bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state != loopSending {
		return
	}
	if m.state = loopIdle; whole {
		m.state, m.end = loopWaiting, len(m.record)
	}
}

// lost tells that samples are missing in what was read.
func (m *loopMeter) lost() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state = loopIdle
}

// preamble tells that another's burst has begun so many samples before the end of
// what was heard. From there on there may be an answer with the same content.
func (m *loopMeter) preamble(ago int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state == loopWaiting && m.other < 0 {
		m.other = max(0, len(m.record)-int(ago))
	}
}

// own tells whether a burst that was received, and over so many samples before the
// end of what was heard, is the own one: later than anybody had thought, when
// the station was no longer deaf to it.
func (m *loopMeter) own(control []byte, ago int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(control) == 0 || !bytes.Equal(control, m.control) {
		return false
	}
	if delay := len(m.record) - int(ago) - m.end; m.state == loopWaiting && delay >= 0 {
		m.state = loopIdle
		m.find(delay)
	}
	m.control = m.control[:0]
	return true
}

// until is the sample of record up to which the burst's end can be told from its
// like in an answer. An answer with the same content is as long, so that what is
// over sooner than that is none; and it has a preamble.
func (m *loopMeter) until() int {
	if m.other >= 0 {
		return max(m.other, m.end+m.length)
	}
	return m.end + max(m.length, int(loopLongest*float64(m.rate)))
}

// heard takes what was read, in samples of so many channels; now is the PHY's clock
// behind it.
func (m *loopMeter) heard(p []float32, channels int, now int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state == loopSending || m.state == loopWaiting {
		for i := 0; i < len(p); i += channels {
			m.record = append(m.record, p[i])
		}
	}
	switch n := len(m.template); {
	case m.state == loopSending && len(m.record) > 4*n:
		m.record = m.record[:copy(m.record, m.record[len(m.record)-n:])]
	case m.state == loopReady, m.state == loopWaiting && len(m.record) >= m.end+int(loopLongest*float64(m.rate)):
		m.measure(now)
		m.state = loopIdle
	}
}

// measure looks for the burst's end.
func (m *loopMeter) measure(now int64) {
	for i, v := range m.record {
		if v != v || v-v != 0 {
			m.record[i] = 0
		}
	}
	lags := dsp.NewCorrelator(m.template).Append(nil, m.record[:min(len(m.record), m.until())])
	best, power := 0, 0.0
	for i, v := range lags {
		power += float64(v) * float64(v)
		if math.Abs(float64(v)) > math.Abs(float64(lags[best])) {
			best = i
		}
	}
	delay := best + len(m.template) - m.end
	if len(lags) == 0 || delay < 0 || !m.clear(math.Abs(float64(lags[best])), best, math.Sqrt(power/float64(len(lags)))) {
		m.due = now + int64(m.rate) // it does not hear itself, or this time something was louder
		return
	}
	m.find(delay)
	if _, ok := m.median(); ok {
		m.due = now + int64(loopRepeat*float64(m.rate))
	}
}

func (m *loopMeter) find(delay int) {
	if len(m.found) == loopKept {
		m.found = m.found[:copy(m.found, m.found[1:])]
	}
	m.found = append(m.found, delay)
}

// clear tells whether the correlation's peak at a lag is the burst and nothing
// else.
func (m *loopMeter) clear(peak float64, lag int, rms float64) bool {
	var sent, heard float64
	for i, v := range m.template {
		w := m.record[lag+i]
		sent += float64(v) * float64(v)
		heard += float64(w) * float64(w)
	}
	return peak > loopClear*rms && peak > loopAlike*math.Sqrt(sent*heard)
}

// median of the measurements, in samples, if there are enough and two agree.
func (m *loopMeter) median() (int, bool) {
	if len(m.found) < loopKept {
		return 0, false
	}
	var sorted [loopKept]int
	copy(sorted[:], m.found)
	slices.Sort(sorted[:])
	middle, near := sorted[1], int(loopAgree*float64(m.rate))
	return middle, middle-sorted[0] <= near || sorted[2]-middle <= near
}

// loop is the measured time in samples from the card's taking a sample to its being read.
func (m *loopMeter) loop() (int, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.median()
}

// reset forgets all: the device may be another.
func (m *loopMeter) reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.found, m.state, m.due = m.found[:0], loopIdle, 0
}
