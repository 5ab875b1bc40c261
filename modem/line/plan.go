package line

import (
	"fmt"

	"lightsong/modem"
)

const (
	headOctets  = 24 // on the light: 48 bits and a 24-bit check in 192
	checkOctets = 4  // CRC-32 of a frame or control block

	// The control block's code rate is 2/5: at the error rates that the
	// strongest frames stand, it fails less often than they do, short as it is. On a bare
	// UART, where it is most of a small packet's burst, it is 2/3 beside frames with
	// next to no code.
	controlNum, controlDen           = 2, 5
	lightControlNum, lightControlDen = 2, 3

	maxSegments    = 256
	repeatFrom     = 3 // segments: the last one says the control block again
	maxFrameOctets = modem.MaxFrameOctets
)

// form is what differs between the ways in which segments go onto the light.
type form struct {
	profile  string
	schemes  []scheme
	capacity func(rate int) int          // octets of content that a segment holds
	duration func(rate, content int) int // of a segment: µs for boards, characters for U6
	pause    int                         // between two segments, likewise
	copied   int                         // the lowest chip rate from which on copies go ahead; 0: none do
	// snr is the signal-to-noise ratio, dB, for the share of what the receiver can see
	// to be wrong: bits whose halves are alike, characters that are none of U6.
	snr func(rate int, ratio float64) float64
}

// boards is the form of light frames that boards send.
var boards = &form{
	profile: "led", schemes: schemes[:], capacity: capacity, pause: PauseMicros, copied: 3,
	duration: func(rate, content int) int {
		return dividers[rate] * (OverheadChips + chipsPerOctet*bodyOctets(content))
	},
	// Of two unlike halves that became alike, one was right.
	snr: func(rate int, violations float64) float64 { return SNR(rate, min(violations/2, 0.4)) },
}

// plan is how a burst of given lengths is cut into segments.
type plan struct {
	form    *form
	mcs     modem.MCS
	scheme  *scheme
	frames  int
	octets  int // of a frame
	control int // octets

	coded        int // octets of a frame on the light
	codedControl int // octets of the control block on the light
	first, each  int // frames in the first segment, in each but the first and the last
	segments     int
	repeated     bool // the last segment has the control block too
}

// codedControl is the length on the light of a control block of n octets.
func (s *scheme) codedControl(n int) int {
	switch {
	case n == 0:
		return 0
	case s.lightControl:
		return ((n+checkOctets)*lightControlDen + lightControlNum - 1) / lightControlNum
	}
	return ((n+checkOctets)*controlDen + controlNum - 1) / controlNum
}

// layOut plans a burst. Errors wrap modem.ErrBurst.
func (f *form) layOut(mcs modem.MCS, frames, octets, control int) (plan, error) {
	fault := func(format string, args ...any) (plan, error) {
		return plan{}, fmt.Errorf("%w: %s", modem.ErrBurst, fmt.Sprintf(format, args...))
	}
	switch {
	case int(mcs) >= len(f.schemes):
		return fault("MCS %d: the profile %s has %d", mcs, f.profile, len(f.schemes))
	case frames > modem.MaxFrames:
		return fault("%d frames: at most %d", frames, modem.MaxFrames)
	case frames > 0 && (octets < 1 || octets > maxFrameOctets):
		return fault("frames of %d octets: must be 1 to %d", octets, maxFrameOctets)
	case control > modem.MaxControlOctets:
		return fault("control block of %d octets: at most %d", control, modem.MaxControlOctets)
	}
	p := plan{form: f, mcs: mcs, scheme: &f.schemes[mcs], frames: frames, octets: octets, control: control, codedControl: f.schemes[mcs].codedControl(control), segments: 1}
	if frames == 0 {
		p.octets = 0
		return p, nil
	}
	p.coded = p.scheme.codedOctets(octets)
	room := f.capacity(p.scheme.rate) - headOctets
	p.first, p.each = (room-p.codedControl)/p.coded, room/p.coded
	switch {
	case p.first == 0:
		return fault("frames of %d octets do not fit a light frame in MCS %d", octets, mcs)
	case frames <= p.first:
		p.first = frames
	case frames <= p.first+p.each:
		p.segments = 2
	default:
		p.segments = repeatFrom - 1 + (frames-2*p.first+p.each-1)/p.each
		p.repeated = true
		p.segments = max(p.segments, repeatFrom)
	}
	if p.segments > maxSegments {
		return fault("%d light frames: at most %d", p.segments, maxSegments)
	}
	return p, nil
}

// copySegment is the number of a copy among the segments of its plan: it goes ahead
// of the first. In a header it is the number behind the last one.
const copySegment = -1

// copyScheme is how copies are sent, whatever the burst's mode.
var copyScheme = scheme{rate: 0, num: 1, den: 2}

// copy is the plan of the copy that goes ahead of a short burst at a slow chip
// rate; ok is false where there is none. Slow chips stand jitter and weak light, but
// start with runs of darkness and light so long that a comparator's stray pulses
// fall into most of them. Fast ones with a strong code stand those, and cost
// at most a fifth of the slow burst's time.
func (p *plan) copy() (q plan, ok bool) {
	if p.form.copied == 0 || p.scheme.rate < p.form.copied || p.segments != 1 {
		return q, false
	}
	q = *p
	q.scheme = &copyScheme
	if q.frames > 0 {
		q.coded = copyScheme.codedOctets(q.octets)
	}
	return q, q.content(0) <= q.form.capacity(copyScheme.rate)
}

// copyTime is how long copy and the pause behind it take.
func (p *plan) copyTime() int {
	q, ok := p.copy()
	if !ok {
		return 0
	}
	return q.duration(0) + p.form.pause
}

// span is the range of frames in a segment; all are in a copy.
func (p *plan) span(segment int) (from, to int) {
	if segment <= 0 {
		return 0, p.first
	}
	from = min(p.frames, p.first+(segment-1)*p.each)
	if segment == p.segments-1 {
		return from, p.frames
	}
	return from, min(p.frames, from+p.each)
}

// hasControl tells whether a segment carries the control block.
func (p *plan) hasControl(segment int) bool {
	return p.control > 0 && (segment <= 0 || p.repeated && segment == p.segments-1)
}

// content is the number of octets in a segment before markers.
func (p *plan) content(segment int) int {
	from, to := p.span(segment)
	n := headOctets + (to-from)*p.coded
	if p.hasControl(segment) {
		n += p.codedControl
	}
	return n
}

// duration is the time that a segment is on the light, in the form's unit.
func (p *plan) duration(segment int) int {
	return p.form.duration(p.scheme.rate, p.content(segment))
}

// rest is the time from the beginning of a segment to the end of the burst, in the
// form's unit. That of a copy is copyTime more than that of the first.
func (p *plan) rest(segment int) int {
	last := p.segments - 1
	total := p.duration(last) + (last-segment)*p.form.pause
	if segment == 0 && last > 0 {
		total += p.duration(0)
		segment = 1
	}
	if between := last - segment; between > 0 { // all alike
		total += between * p.duration(segment)
	}
	return total
}

// total is the time of the burst without a copy.
func (p *plan) total() int { return p.rest(0) }
