package line

import (
	"encoding/binary"
	"math"
	"slices"

	"lightsong/modem"
	"lightsong/modem/fec"
)

// Heard is a light frame as a board gives it to its host.
type Heard struct {
	Rate       int // chip rate, 0 to Rates−1
	Body       []byte
	Violations int     // bits whose halves did not differ, of 64 before the body and all of the body
	Missing    int     // octets that the board did not pass on, at the end of the body
	PPM        float64 // sender's clock against ours; NaN if not known
	PeakDBFS   float64 // light at the receiver; NaN if not known
	Noise      float64 // one LED: rms noise of a slot against a full slot's light (LEDNoise)
}

// Announcement is what the header of a segment tells before its end.
type Announcement struct {
	MCS        modem.MCS
	Rate       int // of chips
	Tag        uint8
	Segment    int // −1: the copy ahead of the first
	RestMicros int // from the first chip of this light frame to the last of the burst
}

const (
	iterations   = 40   // of LDPC decoding, at most
	minBER       = 1e-5 // assumed where no violation was seen: what is left is rarer than what shows
	maxBER       = 0.2
	preambleBits = 64 // counted with the body's violations: sync word and length
)

// Decoder turns bodies that boards heard into events. Its zero value is ready.
// One caller uses it at a time. It never fails and never panics: what cannot be
// read costs frames.
type Decoder struct {
	form    *form // nil: boards
	head    *fec.Polar
	control ldpc
	frame   ldpc
	copied  ldpc // of frames in copies
	align   aligner
	llr     []modem.LLR
	bits    []byte
	octets  []byte

	open     bool // a burst is under way
	plan     plan
	header   header // of its last segment
	burst    modem.Burst
	store    []byte
	block    []byte
	ratio    []float64 // of each segment heard: what the receiver can see to be wrong
	ahead    float64   // likewise of the copy, NaN without
	sorted   []float64
	quality  modem.Quality
	ppm      float64
	ppmCount int
}

// HeadOctets of a body are enough for Peek.
const HeadOctets = headOctets

// Peek reads the header from the first octets of a body that is still being
// heard.
func (d *Decoder) Peek(body []byte) (a Announcement, ok bool) {
	if len(body) < headOctets {
		return a, false
	}
	d.llr = d.align.llrs(d.llr[:0], body[:headOctets], headOctets, 0.01)
	var h header
	p, ok := d.readHead(&h)
	if !ok {
		return a, false
	}
	a = Announcement{MCS: h.mcs, Rate: p.scheme.rate, Tag: h.tag, Segment: h.segment, RestMicros: p.rest(max(0, h.segment))}
	if h.segment == copySegment {
		a.Rate = copyScheme.rate
		a.RestMicros += p.copyTime()
	}
	return a, true
}

func (d *Decoder) readHead(h *header) (plan, bool) {
	if d.head == nil {
		d.head = newHeadCode()
	}
	d.bits = slices.Grow(d.bits[:0], headBits)[:headBits]
	if !d.head.Decode(d.bits, d.llr[:8*headOctets]) {
		return plan{}, false
	}
	form := d.form
	if form == nil {
		form = boards
	}
	return h.parse(form, d.bits)
}

// Push takes the next light frame and calls emit for what it completes. What
// events point to is the Decoder's and valid until emit returns. Start and End
// of events are not set: light has no samples.
func (d *Decoder) Push(heard *Heard, emit func(modem.Event)) {
	if heard.Rate < 0 || heard.Rate >= Rates || len(heard.Body) < headOctets || len(heard.Body) > maxBody(0) {
		d.missed(emit)
		return
	}
	// Octets of content in the body as announced. A marker never ends a body.
	body := len(heard.Body) + max(0, heard.Missing)
	n := contentOctets(min(body, maxBody(0)))
	total := 8*len(heard.Body) + preambleBits
	ratio := float64(max(0, heard.Violations)) / float64(total)
	p := ratio / 2 // of two unlike halves that became alike, one was right
	if d.form == oneLED {
		ratio = heard.Noise
		p = ledBER(heard.Rate, max(leastNoise, ratio))
	}
	p = max(minBER, min(maxBER, p))
	d.llr = d.align.llrs(d.llr[:0], heard.Body, n, p)
	for i := max(0, len(d.llr)-8*heard.Missing); i < len(d.llr); i++ {
		d.llr[i] = 0
	}

	var h header
	pl, ok := d.readHead(&h)
	sent := pl
	if ok && h.segment == copySegment {
		sent, ok = pl.copy()
	}
	ok = ok && sent.scheme.rate == heard.Rate && sent.content(h.segment) == n
	if !ok {
		// Its header is lost. It may still be the next segment of the burst under way.
		if !d.open || d.header.segment+1 >= d.plan.segments || d.plan.scheme.rate != heard.Rate || d.plan.content(d.header.segment+1) != n {
			d.missed(emit)
			return
		}
		h, pl = d.header, d.plan
		h.segment++
		sent = pl
	}
	d.enter(h, pl, emit)
	d.measure(heard, ratio)
	d.segment(&sent, h.segment)
	if h.segment == d.plan.segments-1 {
		d.Flush(emit)
	}
}

// enter makes the segment that a header tells of the one under way; it may be of
// another burst.
func (d *Decoder) enter(h header, p plan, emit func(modem.Event)) {
	if d.open && (h.tag != d.header.tag || h.segment <= d.header.segment || !sameBurst(&h, &d.header)) {
		d.Flush(emit)
	}
	if !d.open {
		d.begin(h, p)
		emit(modem.Event{Kind: modem.Announced, Burst: &d.burst, Quality: unknownQuality})
	}
	d.header = h
}

func sameBurst(a, b *header) bool {
	return a.mcs == b.mcs && a.frames == b.frames && a.octets == b.octets && a.control == b.control
}

var unknownQuality = modem.Quality{SNR: math.NaN(), EVM: math.NaN(), PPM: math.NaN(), Peak: math.NaN(), DelaySpread: math.NaN()}

func (d *Decoder) missed(emit func(modem.Event)) {
	if !d.open {
		emit(modem.Event{Kind: modem.Missed, Quality: unknownQuality})
	}
}

func (d *Decoder) begin(h header, p plan) {
	d.open, d.plan = true, p
	d.burst = modem.Burst{MCS: p.mcs, Frames: d.burst.Frames[:0]}
	for range p.frames {
		d.burst.Frames = append(d.burst.Frames, nil)
	}
	if p.control == 0 {
		d.burst.Control = []byte{}
	}
	if need := p.frames * p.octets; cap(d.store) < need {
		d.store = make([]byte, 0, need)
	}
	d.store, d.ratio = d.store[:0], d.ratio[:0]
	d.ahead = math.NaN()
	d.quality, d.ppm, d.ppmCount = unknownQuality, 0, 0
	d.header = h
}

// measure takes a segment into account for the burst's quality.
func (d *Decoder) measure(heard *Heard, ratio float64) {
	if d.header.segment == copySegment {
		d.ahead = ratio
	} else {
		d.ratio = append(d.ratio, ratio)
	}
	if !math.IsNaN(heard.PPM) {
		d.ppm += heard.PPM
		d.ppmCount++
	}
	if math.IsNaN(d.quality.Peak) || heard.PeakDBFS > d.quality.Peak {
		d.quality.Peak = heard.PeakDBFS
	}
}

// finishQuality judges by the segment in the middle: a hand in the beam spoils some of
// them whole and says nothing about the light that got through. What a copy has
// shown of the highest chip rate needs no conclusion from a slower one.
func (d *Decoder) finishQuality() {
	d.sorted = append(d.sorted[:0], d.ratio...)
	slices.Sort(d.sorted)
	rate := d.plan.scheme.rate
	if !math.IsNaN(d.ahead) {
		d.sorted, rate = append(d.sorted[:0], d.ahead), copyScheme.rate
	}
	switch {
	case len(d.sorted) == 0: // only its header was heard
	case d.sorted[len(d.sorted)/2] == 0:
		d.quality.SNR = perfectSNR
	default:
		d.quality.SNR = d.plan.form.snr(rate, d.sorted[len(d.sorted)/2])
	}
	if d.ppmCount > 0 {
		d.quality.PPM = d.ppm / float64(d.ppmCount)
	}
}

// segment decodes what the LLRs of a segment hold, as far as it is not known from
// the copy; p is how it was sent.
func (d *Decoder) segment(p *plan, i int) {
	code := &d.frame
	if i == copySegment {
		code = &d.copied
	}
	at := 8 * headOctets
	if p.hasControl(i) {
		n := 8 * p.codedControl
		if d.burst.Control == nil {
			if block, ok := d.decode(&d.control, d.llr[at:at+n], p.control, p.codedControl); ok {
				d.block = append(d.block[:0], block...)
				d.burst.Control = d.block
			}
		}
		at += n
	}
	from, to := p.span(i)
	for f := from; f < to; f++ {
		llr := d.llr[at : at+8*p.coded]
		at += len(llr)
		if d.burst.Frames[f] != nil {
			continue
		}
		var frame []byte
		var ok bool
		if p.scheme.num == p.scheme.den {
			frame, ok = d.bare(llr, p.octets)
		} else {
			frame, ok = d.decode(code, llr, p.octets, p.coded)
		}
		if ok {
			start := len(d.store)
			d.store = append(d.store, frame...)
			d.burst.Frames[f] = d.store[start:len(d.store):len(d.store)]
		}
	}
}

// bare decides octets that have no code, and checks them.
func (d *Decoder) bare(llr []modem.LLR, octets int) ([]byte, bool) {
	d.bits = d.bits[:0]
	for _, l := range llr {
		b := byte(0)
		if l < 0 {
			b = 1
		}
		d.bits = append(d.bits, b)
	}
	return d.checked(octets)
}

// checked packs d.bits and compares the check.
func (d *Decoder) checked(octets int) ([]byte, bool) {
	d.octets = appendOctets(d.octets[:0], d.bits)
	return d.octets[:octets], binary.BigEndian.Uint32(d.octets[octets:]) == fec.CRC32(d.octets[:octets])
}

// decode decodes a codeword of octets and its check.
func (d *Decoder) decode(code *ldpc, llr []modem.LLR, octets, coded int) ([]byte, bool) {
	if code.set(octets+checkOctets, coded) != nil {
		return nil, false
	}
	// Without a wrong bit, and mostly there is none, the codeword shows its content.
	code.soft = slices.Grow(code.soft[:0], code.N())[:code.N()]
	clear(code.soft)
	code.Dematch(code.soft, llr, 0)
	d.bits = slices.Grow(d.bits[:0], code.K())[:code.K()]
	code.Decode(d.bits, code.soft, iterations)
	return d.checked(octets) // the check decides, whether or not the decoder has settled
}

// RemainingMicros is the time on the light of what is still to come of the burst
// under way, pauses included; ok is false when none is.
func (d *Decoder) RemainingMicros() (micros int, ok bool) {
	if !d.open {
		return 0, false
	}
	return d.plan.form.pause + d.plan.rest(d.header.segment+1), true
}

// Flush ends the burst under way: what has not come is lost. A receiver calls it
// when the time of the burst is over.
func (d *Decoder) Flush(emit func(modem.Event)) {
	if !d.open {
		return
	}
	d.open = false
	d.finishQuality()
	emit(modem.Event{Kind: modem.Received, Burst: &d.burst, Quality: d.quality})
	d.burst.Control = nil
}

// Reset forgets the burst under way.
func (d *Decoder) Reset() { d.open = false }
