package fsk

import (
	"math"

	"lightsong/modem"
)

const (
	// guardSeconds after a preamble's end the receiver decides on it: a path
	// that is stronger than the first has arrived by then.
	guardSeconds = 0.005
	// loudest sample that is taken at its word; the rest is clipped. Full scale
	// is 1.
	loudest = 8
	slack   = 2 // samples, for rounding at a symbol's edges
	// goneSeconds of frames that failed and were quiet end a burst: its sender
	// has stopped, or its header was forged to keep us busy.
	goneSeconds = 1
	goneLevel   = 0.5 // of the header's level; noise alone stays below that
)

type state uint8

const (
	searching state = iota // for a preamble
	deciding               // a preamble was found; a better one may follow within the guard time
	reading                // blocks of a burst, one after the other
)

// Demodulator turns samples into events. It implements modem.Demodulator. It is
// used by one goroutine.
//
//	searching ──preamble──► deciding ──guard time──► reading header ──► control, frames ──► searching
//	    ▲                                                │ check failed: back to just after the preamble
//	    └────────────────────────────────────────────────┘
type Demodulator struct {
	rows      []row
	nums      []*numerology
	banks     []*toneBank
	detector  *detector
	guard     int
	state     state
	dec       decoder
	enc       encoder
	channels  []channel
	widest    float64 // Hz, bandwidth of the widest numerology
	highPass  float32
	dc        float32
	buf       []float32 // the samples that may still be needed
	base      int64     // index of buf[0]
	searched  int64     // every preamble that ends before this index was looked for
	candidate found     // deciding: start is relative to origin
	origin    int64

	// Of the burst that is being read.
	class       int
	start       int64 // index of its first sample
	end         int64
	clock       clock // relative to start
	channel     *channel
	known       bool // the header passed
	header      header
	block       block
	position    int // −2 header, −1 control, from 0 on frames
	energies    []float32
	need        int     // energies of the block
	level       float64 // of the loudest tone, for the clock
	loud        float64 // sum of the loudest tones of the block
	headerLevel float64 // mean of the loudest tones of the header
	quiet       int     // symbols of failed and quiet frames in a row
	soft        []modem.LLR
	tones       []uint8
	octets      []byte
	burst       modem.Burst
	control     []byte
	frames      [][]byte
	store       []byte
	peak        float32
	quality     modem.Quality
}

// NewDemodulator makes a demodulator of the profile's table at a sample rate
// in Hz. The error wraps ErrRate.
func NewDemodulator(rate int) (*Demodulator, error) { return NewDemodulatorOf(rate, carried(rate)) }

// NewDemodulatorOf makes a demodulator of another table. The table is kept.
// The error wraps ErrRate.
func NewDemodulatorOf(rate int, table []Params) (*Demodulator, error) {
	rows, err := rows(rate, table)
	if err != nil {
		return nil, err
	}
	d := &Demodulator{
		rows:     rows,
		guard:    int(guardSeconds * float64(rate)),
		highPass: float32(2 * math.Pi * 10 / float64(rate)),
	}
	for i, r := range rows {
		if i == 0 || r.num != rows[i-1].num {
			d.nums = append(d.nums, r.num)
			d.widest = max(d.widest, r.num.bandwidth())
			d.banks = append(d.banks, newToneBank(r.num))
			d.channels = append(d.channels, newChannel(r.num.params.Tones))
		}
	}
	d.detector = newDetector(d.nums)
	longest := 0
	for _, n := range d.nums {
		longest = max(longest, n.samples(n.header)+2*d.guard)
	}
	d.buf = make([]float32, 0, longest+6*d.detector.size)
	d.silence(0)
	return d, nil
}

// silence puts a whole block of silence before the sample with index at.
func (d *Demodulator) silence(at int64) {
	d.buf = d.buf[:d.detector.size]
	clear(d.buf)
	d.base = at - int64(len(d.buf))
	d.searched = at
	d.state = searching
	d.dc = 0
}

// Reset implements modem.Demodulator.
func (d *Demodulator) Reset() { d.silence(d.base + int64(len(d.buf))) }

// Push implements modem.Demodulator.
func (d *Demodulator) Push(samples []float32, emit func(modem.Event)) {
	for len(samples) > 0 {
		n := min(len(samples), d.detector.hop)
		d.take(samples[:n])
		samples = samples[n:]
		for d.step(emit) {
		}
		d.drop()
	}
}

// take appends samples without what no modulator sends: a constant, and what
// is not finite.
func (d *Demodulator) take(samples []float32) {
	for _, v := range samples {
		if v-v != 0 {
			v = 0
		}
		v = max(-loudest, min(loudest, v))
		d.dc += d.highPass * (v - d.dc)
		d.buf = append(d.buf, v-d.dc)
	}
}

// drop forgets the samples that nothing can need any more, now and then.
func (d *Demodulator) drop() {
	size := int64(d.detector.size)
	keep := d.searched + int64(d.detector.hop) - size
	switch {
	case d.state == deciding:
		keep = min(keep, d.origin+int64(d.candidate.start)-size)
	case d.state == reading && !d.known:
		keep = min(keep, d.start-size)
	case d.state == reading:
		keep = d.start + int64(d.clock.at) - size
	}
	if n := keep - d.base; n > 4*size {
		d.buf = d.buf[:copy(d.buf, d.buf[n:])]
		d.base = keep
	}
}

// step does one thing that the samples at hand allow. It returns false when
// more are needed.
func (d *Demodulator) step(emit func(modem.Event)) bool {
	have := d.base + int64(len(d.buf))
	switch d.state {
	case searching, deciding:
		if d.state == deciding {
			t := d.detector.templates[d.candidate.class]
			if end := d.origin + int64(d.candidate.start+t.length+d.guard); d.searched >= end {
				d.begin(emit)
				return true
			}
		}
		if d.searched+int64(d.detector.hop) > have {
			return false
		}
		d.searched += int64(d.detector.hop)
		from := d.searched - int64(d.detector.size)
		f, ok := d.detector.search(d.buf[from-d.base:][:d.detector.size])
		if ok && (d.state == searching || f.square > d.candidate.square) {
			d.candidate, d.origin, d.state = f, from, deciding
		}
		return true
	default:
		return d.read(have, emit)
	}
}

// begin sets out to read the burst whose preamble was found.
func (d *Demodulator) begin(emit func(modem.Event)) {
	d.class = d.candidate.class
	n, t := d.nums[d.class], d.detector.templates[d.class]
	at := d.origin + int64(d.candidate.start)
	margin := t.margin()
	shift := t.refine(d.buf[at-int64(margin)-d.base:], margin)
	whole := math.Floor(shift)
	d.start = at + int64(whole)
	d.clock = newClock(float64(t.length)+shift-whole, n.period)
	d.channel = &d.channels[d.class]
	d.channel.forget()
	d.state, d.known = reading, false
	d.energies, d.level = d.energies[:0], 0
	d.peak = 0
	for _, v := range d.buf[d.start-d.base:][:t.length] {
		d.peak = max(d.peak, v, -v)
	}
	d.quality = modem.Quality{
		SNR: math.NaN(), EVM: math.NaN(), PPM: math.NaN(), DelaySpread: math.NaN(), Doppler: math.NaN(),
		Peak: 20 * math.Log10(float64(d.peak)+tiny),
	}
	d.expect(-2, headerBlock())
	d.end = d.start + int64(t.length)
	emit(modem.Event{Kind: modem.Preamble, Start: d.start, End: d.end, Quality: d.quality})
}

func (d *Demodulator) expect(position int, b block) {
	d.position, d.block = position, b
	d.need = b.symbols(d.nums[d.class].width) * d.nums[d.class].params.Tones
	d.energies, d.loud = d.energies[:0], 0
}

// read takes symbols as far as the samples go. It returns true when a block is
// whole.
func (d *Demodulator) read(have int64, emit func(modem.Event)) bool {
	n, bank := d.nums[d.class], d.banks[d.class]
	reach := float64(bank.reach()) + earlyLate*n.period + slack
	for len(d.energies) < d.need {
		if d.start+int64(d.clock.at+reach) >= have {
			return false
		}
		d.symbol(n, bank)
	}
	d.finish(emit)
	return true
}

// symbol measures the tones of one symbol and moves the clock on.
func (d *Demodulator) symbol(n *numerology, bank *toneBank) {
	cut := d.cut(bank, d.clock.at)
	var best float32
	tone := 0
	for k := range n.params.Tones {
		e := bank.energy(cut, k)
		if e > best {
			best, tone = e, k
		}
		d.energies = append(d.energies, e)
	}
	for _, v := range cut {
		d.peak = max(d.peak, v, -v)
	}
	step := earlyLate * n.period
	early := bank.energy(d.cut(bank, d.clock.at-step), tone)
	late := bank.energy(d.cut(bank, d.clock.at+step), tone)
	d.loud += float64(best)
	// The level is that of the signal so far, so that a hit or a pause does not
	// count more than a symbol, and nothing can divide by silence.
	if symbols := d.clock.n + 1; symbols <= 64 {
		d.level += (float64(best) - d.level) / symbols
	} else {
		d.level += (min(float64(best), 4*d.level) - d.level) / 64
	}
	d.clock.advance(float64(late-early)/(d.level+tiny), n.period, n.params.Tones)
}

func (d *Demodulator) cut(bank *toneBank, at float64) []float32 {
	whole := math.Floor(at)
	return bank.open(d.buf[d.start+int64(whole)-d.base:], at-whole)
}

// finish decodes the block that is whole and goes on to the next.
func (d *Demodulator) finish(emit func(modem.Event)) {
	n := d.nums[d.class]
	before := *d.channel
	ok := false
	if d.position == -2 {
		// So few symbols say little about each tone. Where all tones are alike,
		// as on a lead, it is best not to ask; in a room it may be the only way.
		for _, prior := range [2]float64{priorFlat, priorTone} {
			if !ok {
				d.channel.guess(d.energies, prior)
				ok = d.decode()
			}
		}
	} else {
		d.channel.listen(d.energies, priorTone)
		ok = d.decode()
	}
	if ok {
		// What was sent is known now, and so is what the channel made of it.
		if d.position != -2 {
			*d.channel = before
		}
		d.enc.octets = append(d.enc.octets[:0], d.octets...)
		d.tones = d.enc.appendTones(d.tones[:0], d.block, n.width)
		d.channel.train(d.energies, d.tones)
	} else {
		*d.channel = before
		d.channel.pass(d.energies)
	}
	symbols := len(d.energies) / n.params.Tones
	loud := d.loud / float64(symbols)
	switch {
	case d.position == -2 && !ok:
		d.miss(emit)
		return
	case d.position == -2:
		d.headerLevel, d.quiet = loud, 0
		d.announce(emit)
	case ok || loud > goneLevel*d.headerLevel:
		d.quiet = 0
	default:
		d.quiet += symbols
	}
	d.next(emit)
}

// decode reads the block by what the channel is known to be like.
func (d *Demodulator) decode() bool {
	d.soft = d.channel.soft(d.soft[:0], d.energies)
	d.octets = d.dec.appendBlock(d.octets[:0], d.block, d.soft)
	return d.accept()
}

// accept checks the block just decoded and keeps its content.
func (d *Demodulator) accept() bool {
	if d.position == -2 {
		h, ok := parseHeader(d.octets)
		if !ok || int(h.mcs) >= len(d.rows) || d.rows[h.mcs].num != d.nums[d.class] {
			return false
		}
		r := d.rows[h.mcs]
		if r.num.samples(r.symbols(h)) > int(MaxBurstSeconds*r.num.rate) {
			return false
		}
		d.header = h
		return true
	}
	content, ok := checked(d.octets)
	if !ok {
		return false
	}
	if d.position == -1 {
		d.control = append(d.control[:0], content...)
		d.burst.Control = d.control
	} else {
		frame := d.store[d.position*d.header.frameOctets:][:d.header.frameOctets:d.header.frameOctets]
		copy(frame, content)
		d.burst.Frames[d.position] = frame
	}
	return true
}

// announce makes room for what the header tells of.
func (d *Demodulator) announce(emit func(modem.Event)) {
	h := d.header
	if size := h.frames * h.frameOctets; len(d.store) < size {
		d.store = make([]byte, size)
	}
	if len(d.frames) < h.frames {
		d.frames = make([][]byte, h.frames)
	}
	clear(d.frames)
	d.burst = modem.Burst{MCS: h.mcs, Frames: d.frames[:h.frames]}
	if h.controlOctet == 0 {
		d.burst.Control = d.control[:0]
		if d.control == nil {
			d.burst.Control = []byte{}
		}
	}
	r := d.rows[h.mcs]
	d.known = true
	d.end = d.start + int64(r.num.samples(r.symbols(h)))
	heard := d.buf[d.start-int64(d.guard)-d.base : d.start+int64(d.clock.at)-d.base]
	d.quality.DelaySpread = d.detector.delaySpread(d.class, heard, d.guard) / r.num.rate
	d.measure()
	emit(modem.Event{Kind: modem.Announced, Start: d.start, End: d.end, Burst: &d.burst, Quality: d.quality})
}

// measure brings the quality up to date.
//
// Noise is what was there before the burst, spread over the whole band. What
// the tones that are not sent hold beyond that is the burst's own echoes. They
// do to a mode what noise would, but unlike noise they are spread over no more
// than the numerology's own band: a wider one has more tones for them to fall
// on, or shorter symbols for the same number. So they are counted as the noise
// that they would be like for the widest numerology of the table, and a narrow
// burst tells what to expect of the wide ones.
func (d *Demodulator) measure() {
	n, t := d.nums[d.class], d.detector.templates[d.class]
	// A tone of amplitude a correlates to (a·period/2)², noise of variance σ²
	// per sample to σ²·period.
	signal := 2 * d.channel.meanSignal() / (n.period * n.period)
	noise := d.channel.meanNoise() / n.period
	if t.floor > 0 {
		ambient := min(noise, t.floor*float64(d.detector.size/2)/float64(len(t.chirp)))
		noise = ambient + (noise-ambient)*n.bandwidth()/d.widest
	}
	d.quality.SNR = 10 * math.Log10(signal/(noise+tiny))
	d.quality.PPM = d.clock.ppm(n.period)
	d.quality.Peak = 20 * math.Log10(float64(d.peak)+tiny)
}

// next expects the block after the current one, or ends the burst.
func (d *Demodulator) next(emit func(modem.Event)) {
	h := d.header
	gone := float64(d.quiet)*d.nums[d.class].period > goneSeconds*d.nums[d.class].rate
	switch {
	case d.position == -2 && h.controlOctet > 0:
		d.expect(-1, controlBlock(h.controlOctet))
	case !gone && max(d.position, -1)+1 < h.frames:
		i := max(d.position, -1) + 1
		d.expect(i, frameBlock(d.rows[h.mcs].coding.Rate, h.frameOctets, i))
	default:
		d.measure()
		// The next preamble may follow at once; the tail of this burst is none.
		d.resume(d.start + int64(d.clock.at))
		emit(modem.Event{Kind: modem.Received, Start: d.start, End: d.end, Burst: &d.burst, Quality: d.quality})
	}
}

// miss gives the burst up and looks again from just after its preamble on.
func (d *Demodulator) miss(emit func(modem.Event)) {
	d.quality.Peak = 20 * math.Log10(float64(d.peak)+tiny)
	d.end = d.start + int64(d.clock.at)
	d.resume(d.start + int64(d.detector.templates[d.class].length+d.guard))
	emit(modem.Event{Kind: modem.Missed, Start: d.start, End: d.end, Quality: d.quality})
}

// resume looks for preambles that end after the sample with index at.
func (d *Demodulator) resume(at int64) {
	d.state = searching
	d.searched = at
}
