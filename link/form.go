package link

import (
	"math"
	"time"

	"lightsong/phy"
)

// Forms. In a room a burst of one block, and one of very long symbols, is read in
// modes in which a plain one is not (docs/wire-ofdm.md). Where the PHY's bursts have
// forms each has a rate control of its own: a receiver learns from a burst of one form
// what those of the others would see, and asks for a mode in each; the sender makes of
// what waits the burst that brings most for its time, the answer's included.
const (
	marginEase  = 0.5 // dB that a margin comes back by with each burst of another form
	longLeast   = 2.4 // dB, the narrowest: a long burst that is lost costs seconds
	formLack    = 2.0 // dB that the mode asked for in blocks, or long bursts, may need less than the first that has any for one to be tried
	climbLead   = 1.5 // dB that one sees more than a mode needs in which none has come
	middleLeast = 1.2

	roomLeap = 1.0 // dB that the margin of plain bursts narrows at once: they may last for seconds, and come whole or not at all

	fadeDB     = 6.0 // dB less than usual: not a path with more noise, one that changes
	fadeBursts = 3   // in a row: a path with more noise after all; more by fadeDoubt where frames do not bear it out
	fadeDoubt  = 4
	trialLack  = 10.0 // dB below what a block needs at which it is tried: plain bursts may see so much of the echoes
	headLead   = 5.0  // dB that a plain burst without frames needs less than the mode asked for: its head is 4 dB stronger, and there was a margin;
	openLead   = 1.5  // where others are to read it, too, because it may tell who speaks next
	restMost   = 4    // bursts of other forms for which one rests at most after it has failed
	restLongs  = 8    // likewise a long one

	// A brief block is over before most of the echoes are: it gathers less of them, and
	// sees the rest as noise.
	briefBlock = 180 * time.Millisecond
	briefDB    = 4.0
	echoSNR    = 3.0 // dB that plain bursts see at most in a large room, where what outlasts their symbols is half of what is heard,
	echoDB     = 6.0 // and that blocks see more, so that it is no noise
	echoFading = 200 * time.Millisecond
	leastHush  = 60 * time.Millisecond
	firstRest  = 8  // bursts of other kinds for which they rest at least after one was lost, as many as a loss costs
	restBriefs = 32 // and at most

	briefProofs = 8               // that come through make up for one that was lost
	briefMost   = 3 * briefProofs // of lost ones that count

	// Where the path changes slower modes do not help: their symbols are no shorter, their bursts
	// longer, and it is noticed late that it has stopped.
	livelyBurst = time.Second
	movedMargin = 1.5 // dB that the first middle bursts elsewhere are more careful by: blocks foresee what those see to one or two
	movingPPM   = 70  // that a clock is off by where an end is moved: at 2.4 cm/s; bursts of a few symbols err by 10 (one σ)
	agreeingPPM = 25  // bursts in a row that agree so well come from another clock, not from a hand,
	agreeing    = 3   // if they are so many: two do now and then
	clockWeight = 0.25
	vainMost    = 8 // bursts in modes as slow as that, or faster, that may be lost in a row before slower ones are tried after all
)

// special is what rate control knows of bursts between us and a peer that are not
// plain.
type special struct {
	rx     reception
	barred bool    // none would be read here as things are
	heard  bool    // such bursts have come
	seen   float64 // dB, what plain bursts told of it when nothing moved, smoothed; NaN before
	faded  int     // bursts in a row that said so, those that prove it counting fadeDoubt times

	saw    float64 // dB, what the last one of such bursts that came saw; NaN before
	proven int     // index of the fastest mode in which all frames of one came, as far as none failed there since; −1 before

	want  int // index of the mode that the peer asks for; −1: it does not know
	rest  int // bursts of other forms that must come through before the form is used again
	fails int // in a row
}

func newForms(m modes) (v [phy.Forms]special) {
	for f := range v {
		v[f] = special{rx: newReception(m), seen: math.NaN(), saw: math.NaN(), proven: -1, want: -1}
		rx := &v[f].rx
		rx.lossy, rx.step = true, mostStep // no leaps to where too much is lost
		rx.margin, rx.least = formMargin(phy.Form(f)), 0
		switch phy.Form(f) {
		case phy.Long:
			rx.least = longLeast
		case phy.Middle:
			rx.least = middleLeast
		}
	}
	return v
}

// formMargin is the margin to begin with, in dB.
func formMargin(f phy.Form) float64 {
	switch f {
	case phy.Long:
		return 2.5
	case phy.Middle:
		return 2
	}
	return 3
}

// knows tells whether a burst of one form says what another would see: plain and
// middle ones only that the path changes.
func knows(form, of phy.Form) bool {
	return form == of || form == phy.Block || form == phy.Long
}

// findForms finds out whether bursts have forms. Where both ways are open at once
// there are no echoes to speak of.
func (e *Engine) findForms() {
	e.blocks = len(e.modes)
	if e.cfg.Caps.Form == nil || e.cfg.Caps.FullDuplex {
		return
	}
	for i := len(e.modes) - 1; i >= 0; i-- {
		if _, f := e.shapeOf(i, headOctets, 1, e.modes[i].FrameOctets); f == phy.Block {
			e.formed, e.blocks = true, i
		}
	}
	e.longs = len(e.modes)
	for i := len(e.modes) - 1; i >= e.blocks; i-- {
		full := e.modes[i].FrameOctets
		if _, f := e.shapeOf(i, headOctets, e.longest(i, headOctets, full, 0, e.cfg.longBurst), full); f == phy.Long {
			e.longs = i
		}
	}
	for i := len(e.modes) - 1; i >= 0 && e.airtime(i, headOctets+reportOctets, 1, shortestFrame) <= livelyBurst; i-- {
		e.lively = i
	}
}

// shapeOf is the airtime and the form of a burst of n frames of octets each.
func (e *Engine) shapeOf(mode, control, n, octets int) (time.Duration, phy.Form) {
	d := e.airtime(mode, control, n, octets)
	return d, e.cfg.Caps.Form(&e.probe)
}

// formOf a burst that was received.
func (e *Engine) formOf(ev *phy.Event) phy.Form {
	if !e.formed || ev.Quality.Form >= phy.Forms {
		return phy.Plain
	}
	return ev.Quality.Form
}

// reception of bursts of a form.
func (p *peer) reception(f phy.Form) *reception {
	if f == phy.Plain {
		return &p.rx
	}
	return &p.forms[f].rx
}

// hearForms learns from a burst what bursts of the forms would see. Plain bursts
// cannot tell of the others but for one thing: whether the path changes.
func (e *Engine) hearForms(p *peer, ev *phy.Event) {
	q, form := &ev.Quality, e.formOf(ev)
	lost := 0
	for _, f := range ev.Burst.Frames {
		if f == nil {
			lost++
		}
	}
	// Of long bursts a brief block says nothing, and of other blocks little.
	brief := form == phy.Block && math.IsNaN(q.SNRs[phy.Long])
	whole := float64(lost) < badShare*float64(max(1, len(ev.Burst.Frames)))
	for f := phy.Block; f < phy.Forms; f++ {
		s := &p.forms[f]
		if begin := formMargin(f); form != f && s.rx.margin > begin {
			s.rx.margin = max(begin, s.rx.margin-marginEase)
		}
		snr := q.SNRs[f]
		if brief && f == form {
			snr += briefDB // that a longer one would see
		}
		less := snr < s.rx.snr-fadeDB
		if !knows(form, f) {
			// What it says of the others may be far from what they see; but not from
			// what such bursts said before.
			less = less && q.Doppler > 0 || snr < s.seen-fadeDB
		}
		switch {
		case !knows(form, f) && !less:
			if whole && !(q.Doppler > 0) {
				s.barred, s.faded = false, 0
				if math.IsNaN(s.seen) {
					s.seen = snr
				} else if !math.IsNaN(snr) {
					s.seen += snrWeight * (snr - s.seen)
				}
			}
		case !knows(form, f):
			// A burst without frames does not tell motion from noise, and one of
			// which nothing was read may take either for the other.
			s.barred = true
			switch s.faded++; {
			case q.Doppler > 0:
				s.faded = 0
			case whole && q.Doppler == 0 && len(ev.Burst.Frames) > 0:
				s.faded += fadeDoubt - 1
			}
			if s.faded >= fadeBursts*fadeDoubt {
				s.barred, s.faded, s.seen = false, 0, snr
			}
		case math.IsNaN(snr):
		default:
			s.barred = less && (form != f || !whole)
			if s.barred && form == f && f == phy.Block {
				p.rx.heard(snr, upper) // nor do plain ones see what they did
			}
			if s.faded += fadeDoubt; s.barred && s.faded < fadeBursts*fadeDoubt {
				break
			}
			s.faded = 0
			if form == f && f != phy.Block && whole {
				s.proves(e.modes.index(ev.Burst.MCS), snr, lost)
			}
			of := exact
			s.heard = s.heard || form == f
			s.rx.rough = s.rx.rough || !s.heard // what others foresee errs to the lower side
			switch {
			case form != f:
			case !whole && brief:
				snr = math.NaN()
			case !whole:
				of = upper
			default:
				// It speaks for its own mode, whatever was seen.
				snr = max(snr, e.modes[e.modes.index(ev.Burst.MCS)].SNRdB+s.rx.margin)
				if brief {
					of = lower
				}
			}
			s.rx.heard(snr, of)
		}
	}
	// Noise that comes and goes makes shorter bursts look so, too.
	p.moves = p.forms[phy.Block].barred && (p.moves || lost > 0 && lost == len(ev.Burst.Frames) && (form == phy.Long || form == phy.Middle))
}

// proves takes what a burst in the mode with an index saw, and how many frames of it were lost.
func (s *special) proves(mode int, snr float64, lost int) {
	s.saw = snr
	if lost == 0 {
		s.proven = max(s.proven, mode)
	} else {
		s.proven = min(s.proven, mode-1)
	}
}

// most is the index of the fastest mode in which such bursts are asked for: one that has come whole, or one for which what they see is
// enough with some room. A margin that narrows while all is well would lead beyond. That pays where
// a burst that fails is soon sent again; here it is seconds, and all behind it waits.
func (s *special) most(m modes) int {
	if math.IsNaN(s.saw) {
		return len(m) - 1
	}
	return max(s.proven, m.suiting(s.saw-climbLead))
}

// hearClock learns from a burst how fast its sender's clock seems to run, in ppm. The direct wave
// of an end that is moved comes with a clock of its own, v/c fast or slow: of all that motion does
// it is what any burst that is read at all tells at once, of its begin and of its end.
func (e *Engine) hearClock(p *peer, ppm float64) {
	if math.IsNaN(ppm) || math.IsInf(ppm, 0) {
		return
	}
	was := p.swings
	switch p.swings = math.Abs(ppm-p.clock) > movingPPM; {
	case !p.swings:
		p.agreed = 0
	case math.Abs(ppm-p.lastClock) <= agreeingPPM:
		p.agreed++
	default:
		p.agreed = 1
	}
	switch {
	case math.IsNaN(p.clock), p.agreed == agreeing:
		p.clock, p.swings = ppm, false
	case !p.swings:
		p.clock += clockWeight * (ppm - p.clock)
	}
	p.lastClock = ppm
	p.calmed = was && !p.swings
	p.unsteady = p.unsteady || p.swings
	if p.calmed { // over, and a block shows what comes of others
		block, long, middle := &p.forms[phy.Block], &p.forms[phy.Long], &p.forms[phy.Middle]
		block.rest, block.fails = 0, 0
		long.rx.margin, long.proven, long.saw = formMargin(phy.Long), e.longs, math.Inf(-1) // what was lost since says nothing, nor what came elsewhere
		middle.rx.margin = max(middle.rx.margin, formMargin(phy.Middle)+movedMargin)
	}
}

// formWish is the MCS that we ask p for in bursts of a form: the most robust one, in
// which there is none of the form, if none is wanted, and noMCS if nothing is known.
func (e *Engine) formWish(p *peer, f phy.Form) uint8 {
	s := &p.forms[f]
	i, ok := s.rx.want(e.modes)
	switch {
	case s.barred, p.silent > 0 && f == phy.Block, p.silent >= silentTrial: // the answer may have come as a block
		i = 0
	case !ok:
		return noMCS
	}
	return uint8(e.modes[min(i, s.most(e.modes))].MCS)
}

// plainWish is the index of the mode that we ask p for in plain bursts. While an end is
// moved that is the one in which the modem would like the next: it knows for how long
// symbols may be, and an SNR that long ones see says nothing of short ones.
func (e *Engine) plainWish(p *peer) (i int, ok bool) {
	if i, ok = p.rx.want(e.modes); (p.moves || p.swings) && p.suits >= 0 {
		i, ok = min(p.suits, p.rx.ceiling.index), true
	}
	return i, ok
}

// takeForms notes what a report asks for.
func (e *Engine) takeForms(p *peer, c *control) {
	for f := range p.forms {
		s := &p.forms[f]
		s.want = -1
		if c.formed && c.forms[f] != noMCS {
			s.want = e.modes.index(phy.MCS(c.forms[f]))
		}
		if phy.Form(f) == phy.Block && p.calmed && s.want == 0 {
			s.want = -1 // it has not heard yet what we just did: that the motion is over
		}
	}
	p.unsteady = p.unsteady || p.forms[phy.Block].want == 0 && p.forms[phy.Long].want == 0
	if want := p.forms[phy.Block].want; want >= e.blocks && !p.unsteady {
		p.echoes = p.tx.snr < echoSNR && e.modes[want].SNRdB+formMargin(phy.Block)-p.tx.snr >= echoDB
	}
}

// restForm lets a form rest after it has failed, the longer the more often it did.
func (p *peer) restForm(f phy.Form) {
	if f == phy.Plain {
		return
	}
	s := &p.forms[f]
	most := restMost
	if f == phy.Long {
		most = restLongs
	}
	s.rest = min(1<<min(s.fails, 10), most)
	s.fails++
	if f == phy.Block {
		p.hush()
	}
}

// restBrief does so with brief blocks, of which an end hears little while the echoes of its own bursts last. In a large room
// half of them are lost, and an answer that is costs a second or two where a longer one costs 80 ms more: so eight that come
// through make up for one that does not.
func (p *peer) restBrief() {
	p.briefRest = min(firstRest<<(p.briefFails/briefProofs), restBriefs)
	p.briefFails = min(p.briefFails+briefProofs, briefMost)
	p.hush()
}

// hush gives echoes more time to fade, where there are any to speak of, because a block was lost: of all
// bursts they hit those most, and short ones tell little of how long they last.
func (p *peer) hush() {
	if p.spreads[0] > usualSpread && !p.swings {
		p.fading = min(max(2*p.fading, leastHush), maxFading)
	}
}

// arrived takes that a burst to p was read; brief: it was a brief block.
func (p *peer) arrived(brief bool) {
	switch {
	case brief:
		p.briefFails = max(0, p.briefFails-1)
	case !p.unsteady: // while an end is moved there are none
		p.briefRest = max(0, p.briefRest-1)
	}
}

// isBrief tells whether a burst is a brief block.
func isBrief(f phy.Form, airtime time.Duration) bool { return f == phy.Block && airtime < briefBlock }

// silentForm draws conclusions from an answer that did not come: the question was
// not read, or the answer, if nothing tells that there was one; met: or it met another's.
func (e *Engine) silentForm(p *peer, met bool) {
	if !e.formed {
		return
	}
	rx := &p.forms[phy.Block].rx
	rx.margin = min(maxMargin, rx.margin+marginStep)
	if p.question.unread {
		return
	}
	switch {
	case !p.lastBrief:
		p.restForm(p.lastForm)
	case !met: // no echoes were there to hide it, and whose answer they hid finds that out itself
		p.restBrief()
	}
	p.lastForm, p.lastBrief = phy.Plain, false
	p.vain++
	p.unsteady = p.unsteady || p.silent >= silentTrial
	for _, b := range p.outstanding {
		b.blamed = true
	}
}

// outcome takes what became of a burst of which the peer has told.
func (e *Engine) outcome(p *peer, b *sentBurst, lost int) {
	bad := float64(lost) >= badShare*float64(len(b.pieces))
	if b.form == phy.Plain {
		p.tx.outcome(b.mode, len(b.pieces), lost)
		if 2*lost < len(b.pieces) {
			p.wellOut = b.mode
		}
	}
	if lost == len(b.pieces) {
		p.steady = p.heard
	}
	isBrief := isBrief(b.form, b.airtime)
	switch {
	case bad && !b.blamed:
		p.vain++
		if isBrief {
			p.restBrief()
		}
	case !bad:
		p.arrived(isBrief)
		if b.mode >= e.lively {
			p.vain = 0
		}
	}
	for f := phy.Block; f < phy.Forms && e.formed; f++ {
		s := &p.forms[f]
		switch {
		case b.form == f && !bad:
			s.fails, s.rest = 0, 0 // if it was blamed the answer was lost
		case b.form == f && !b.blamed && !isBrief:
			p.restForm(f)
		case b.form != f && !bad:
			s.rest = max(0, s.rest-1)
		}
	}
	if !bad && !p.swings && (b.form == phy.Block || b.form == phy.Long || e.blockless(p)) {
		p.unsteady = false
	}
}

// limits are the indexes of the fastest modes for bursts of each form; −1: none.
type limits [phy.Forms]int

// limitsOf are the limits for bursts to p when mode is that of plain ones; trial
// tells that nothing is known of blocks there, and one is tried.
func (e *Engine) limitsOf(p *peer, mode int) (l limits, trial bool) {
	l[phy.Plain] = mode
	for f := phy.Block; f < phy.Forms; f++ {
		if s := &p.forms[f]; s.rest == 0 && p.silent == 0 && (!p.garbled || f == phy.Block) && !p.swings {
			l[f] = s.want
		} else {
			l[f] = -1
		}
	}
	// A wish that just misses the modes that have such bursts would stay one: what a brief block tells of blocks, and what others foresee of
	// long bursts, errs by one or two dB, to the lower side, and nothing else would ever tell.
	l[phy.Block] = e.reach(l[phy.Block], e.blocks)
	l[phy.Long] = e.reach(l[phy.Long], e.longs)
	if e.blockFailed(p) && l[phy.Long] > 0 { // what failed for blocks is tried with a block
		l[phy.Long] = -1
	}
	if s := &p.forms[phy.Middle]; s.want != 0 && s.rest == 0 && p.silent == 0 && !p.garbled && !p.swings {
		l[phy.Middle] = max(s.want, mode) // whatever is known: it does not see less than a plain one
	}
	if p.unsteady && !e.blockless(p) { // a block shows first that it is over
		l[phy.Long], l[phy.Middle] = min(l[phy.Long], 0), min(l[phy.Middle], 0)
	}
	if s := &p.forms[phy.Block]; s.want < 0 && s.rest == 0 && p.silent == 0 && !p.swings && e.mayTryBlock(p) {
		l[phy.Block], trial = max(mode, e.blocks), true
	}
	return l, trial
}

// likely tells whether what plain bursts of the only peer showed of blocks leaves little doubt that ours reach it as well. Of several the first to
// begin would be ready a round before the others.
func (e *Engine) likely(p *peer) bool {
	return e.others() == 1 && p.forms[phy.Block].seen-reciprocityMargin >= e.modes[e.blocks].SNRdB+formMargin(phy.Block)
}

// reach is the index of the mode asked for, or of the first one that has bursts of the form if it just misses that.
func (e *Engine) reach(asked, first int) int {
	if asked > 0 && asked < first && first < len(e.modes) && e.modes[first].SNRdB-e.modes[asked].SNRdB < formLack {
		return first
	}
	return asked
}

// fastest is the index of the fastest mode in which bursts go to p.
func (e *Engine) fastest(p *peer) int {
	mode := e.sendMode(p)
	if e.formed {
		l, _ := e.limitsOf(p, mode)
		for _, i := range l {
			mode = max(mode, i)
		}
	}
	return mode
}

// wished is the index of the fastest mode that we ask p for.
func (e *Engine) wished(p *peer) int {
	mode, _ := e.plainWish(p)
	if e.formed {
		for f := phy.Block; f < phy.Forms; f++ {
			if m := e.formWish(p, f); m != noMCS {
				mode = max(mode, e.modes.index(phy.MCS(m)))
			}
		}
	}
	return mode
}

// layout is how what waits is cut into a burst; without frames that is left to fill.
type layout struct {
	mode, frames, octets int
	form                 phy.Form
	padded               bool // the only frame is longer than what is in it
}

// layOut chooses mode and frames of a burst to p whose plain bursts go in mode. If
// all that is pending fits into a burst that is over within the budget it is the one
// that is over first, else the one that brings most for its time, what the exchange
// costs besides included.
func (e *Engine) layOut(p *peer, mode, control, pending int, careful bool, budget time.Duration) layout {
	limits, trial := e.limitsOf(p, mode)
	if pending == 0 && p.silent == 0 && p.polled < 2 {
		lead := headLead
		if e.others() > 1 {
			lead = openLead
		}
		limits[phy.Plain] = max(mode, e.modes.suiting(e.modes[mode].SNRdB+lead))
		if i := limits[phy.Block]; careful && i >= 0 {
			limits[phy.Block] = e.modes.suiting(e.modes[i].SNRdB - carefulBy)
		}
	}
	brief, top := -1, 0
	// The answer to a burst of bulk is worth more than that saves: where echoes are most of what is heard half of them were lost.
	rests := p.briefRest > 0 || p.unsteady || p.echoes && p.took > 2*briefBlock
	if i := limits[phy.Block]; i >= e.blocks && !rests && (trial && (pending == 0 || e.likely(p)) || p.forms[phy.Block].want >= e.blocks) {
		brief = max(e.blocks, e.modes.suiting(e.modes[i].SNRdB-briefDB))
	}
	for _, i := range limits {
		top = max(top, i)
	}
	// take is a burst, if it may be sent.
	take := func(i, k, octets int) (layout, time.Duration, bool) {
		d, f := e.shapeOf(i, control, k, octets)
		if f == phy.Plain && k > 0 {
			d = e.airtime(i, control, k+parity(k, p.tx.loss), octets)
		}
		ok := i <= limits[f] && d < forEver
		if isBrief(f, d) { // without frames it is the shortest, and is hidden by echoes that last as long
			ok = ok && i <= brief && (k > 0 || d > p.fading)
		}
		return layout{mode: i, frames: k, octets: octets, form: f}, d, ok
	}
	found, shortest := layout{mode: mode}, forEver
	for i := top; i >= 0; i-- {
		k, octets := 0, 0
		if pending > 0 {
			k, octets = evenly(pending, e.modes[i].FrameOctets)
		}
		if k > maxData {
			continue
		}
		// Of equals the most robust. With a few frames more it may be of a form that is
		// wanted.
		for n := k; n <= min(k+spareFrames, maxData); n++ {
			if n > k {
				octets = (pending+n-1)/n + fragHead
			}
			b, d, ok := take(i, n, octets)
			if ok && d <= shortest && (d <= budget || k == 0) {
				found, shortest = b, d
			}
			if ok || k <= 1 || d > budget {
				break
			}
		}
	}
	if i := e.blocks; pending > 0 && brief < i && i <= limits[phy.Block] {
		// Where echoes hide brief blocks one that is just not brief is not hidden, and over sooner than a plain burst. Where the path
		// had changed, or nothing is known of blocks, it shows what comes of them, and need not be longer than that; but who is back
		// may have come elsewhere.
		full := e.modes[i].FrameOctets
		octets, step := min(full, pending), full/16
		if p.unsteady || !p.freshSeq {
			step = full / 64
		}
		b, d, ok := take(i, 1, octets)
		for b.form == phy.Block && isBrief(b.form, d) && octets < full {
			octets = min(full, octets+step)
			b, d, ok = take(i, 1, octets)
		}
		if ok && b.form == phy.Block && octets > pending && (d < shortest || p.unsteady) && d <= budget {
			b.padded = true
			return b
		}
	}
	if shortest < forEver {
		if found.frames == 1 { // it is cut to what was used of it
			l := found
			l.octets = min(l.octets+p.unsure(), e.modes[l.mode].FrameOctets)
			if d, f := e.shapeOf(l.mode, control, 1, l.octets); f == l.form && d <= budget {
				return l
			}
		}
		return found
	}

	cost := max(2*e.turnaround()+hostTurn, min(p.rtt, maxTurnaround)) + e.answerAirtime(max(mode, limits[phy.Block]))
	most := 0.
	consider := func(i, k, octets int, budget time.Duration) bool {
		b, d, ok := take(i, k, octets)
		if !ok || d > budget {
			return false
		}
		if r := float64(min(pending, k*(octets-fragHead))) / (d + cost).Seconds(); r > most {
			found, most = b, r
		}
		return true
	}
	if i := limits[phy.Block]; i >= 0 {
		full := e.modes[i].FrameOctets
		for k, octets := 1, full; k <= fewFrames; k++ {
			// The most that makes a block, to a sixteenth.
			for octets >= full/2 {
				if b, d, ok := take(i, k, octets); ok && b.form == phy.Block && d <= budget {
					break
				}
				octets -= full / 16
			}
			if octets < full/2 {
				break
			}
			consider(i, k, octets, budget)
		}
		if trial && most > 0 {
			return found // whatever it brings: it tells what blocks and long bursts would
		}
		if !p.sounded && !p.echoes {
			most, budget = 0, min(budget, e.cfg.MaxBurst/2) // likewise for plain ones
		}
	}
	if i := limits[phy.Long]; i > 0 && budget >= e.cfg.MaxBurst {
		full, most := e.modes[i].FrameOctets, min(e.cfg.longBurst, e.mayLast)
		need, octets := evenly(pending, full)
		if k := e.longest(i, control, full, 0, most); k < need {
			consider(i, k, full, most)
		} else if !consider(i, need, octets, most) {
			// Where much less would see more of the echoes even a long burst that is
			// filled up with parity brings more.
			for k = need + 1; k <= maxData; k++ {
				b, d, ok := take(i, k, full)
				if d > most || ok && b.form == phy.Long && consider(i, k, full, most) {
					break
				}
			}
		}
	}
	if i := limits[phy.Middle]; i >= 0 {
		// Which numbers of frames make one depends on how symbols are filled.
		full := e.modes[i].FrameOctets
		need, _ := evenly(pending, full)
		most := min(need, maxData, e.longest(i, control, full, 0, budget))
		for k := min(need, most+1) + spareFrames; k >= max(1, most-spareFrames); k-- {
			octets := full
			if k >= need {
				octets = min(full, (pending+k-1)/k+fragHead)
			}
			if b, _, ok := take(i, k, octets); ok && b.form == phy.Middle {
				consider(i, k, octets, budget)
			}
		}
	}
	// What is asked for is soon out of date, and so is what is known of the path when it is over. Who wants no blocks has seen
	// the path change, or missed an answer that may have been one, and wants them again a burst later.
	if e.changing(p) || p.forms[phy.Block].want == 0 {
		budget = max(budget/4, min(budget, 2*e.airtime(mode, control, 0, 0)))
	} else if p.garbled || p.silent > 0 { // perhaps
		budget = min(budget, max(e.cfg.MaxBurst/4, 2*e.airtime(mode, control, 0, 0)))
	}
	// A plain burst is always to be had: in modes that are slow enough a single frame
	// is one, too.
	for i := mode; i >= 0; i-- {
		octets := e.shorten(i, control, min(e.modes[i].FrameOctets, pending), p.tx.loss, budget)
		k := 1
		if octets < pending {
			need, _ := evenly(pending, octets)
			k = min(need, maxData, e.longest(i, control, octets, p.tx.loss, budget))
			octets, k = e.another(i, control, octets, k, pending, p.tx.loss, budget)
		}
		ok := false
		for n := k; n > max(0, k-spareFrames) && !ok; n-- {
			ok = consider(i, n, octets, forEver)
		}
		if ok {
			break
		}
	}
	return found
}

// leaveSome leaves the last third of a burst with all that is pending to the next one, if it is longer than a limit.
func (e *Engine) leaveSome(l layout, control, pending int, limit time.Duration) layout {
	if d, _ := e.shapeOf(l.mode, control, l.frames, l.octets); d <= limit || l.frames*l.octets < pending {
		return l
	}
	for n := (2*l.frames + 2) / 3; n < l.frames; n++ {
		if _, f := e.shapeOf(l.mode, control, n, l.octets); f == l.form {
			l.frames = n
			break
		}
	}
	return l
}

// changing tells whether the path to p changes, or did so a moment ago, as far as anybody can tell: one of us
// is moved, or p wanted neither blocks nor long bursts, though it could tell in which mode, or one of
// those was not read; and nothing has shown yet that this is over.
func (e *Engine) changing(p *peer) bool {
	return e.formed && (p.unsteady || p.swings || e.blockFailed(p) || p.forms[phy.Long].fails > 0)
}

// blockFailed tells whether the last block to p failed, and another may show that the next ones do not.
func (e *Engine) blockFailed(p *peer) bool {
	s := &p.forms[phy.Block]
	return s.fails > 0 && s.want != 0 && !e.blockless(p)
}

// blockless tells whether no block goes to p, whether the path changes or not: it wants a mode in which there are none.
func (e *Engine) blockless(p *peer) bool {
	want := p.forms[phy.Block].want
	return want > 0 && e.reach(want, e.blocks) < e.blocks || want < 0 && !e.mayTryBlock(p)
}

// mayTryBlock tells whether a block is worth a trial, of which nothing is known.
func (e *Engine) mayTryBlock(p *peer) bool {
	return e.blocks < len(e.modes) && (p.calmed || p.tx.snr >= e.modes[e.blocks].SNRdB-trialLack)
}

// staysLively tells whether bursts to p are in none of the slowest modes.
func (e *Engine) staysLively(p *peer) bool { return e.changing(p) && p.vain < vainMost }

// pace of the queue for p. Where p wants long bursts one of them is the turn: a queue
// that never held what fills one would never let TCP use them.
func (e *Engine) pace(p *peer) pace {
	if !e.wantsLong(p) {
		return paceOf(p.turn, e.rate(p), e.cfg.MTU)
	}
	v := paceOf(max(p.turn, e.cfg.longBurst), e.rate(p), e.cfg.MTU)
	// TCP hears of a signal two rounds later. Until then its slow start quadruples what waits,
	// and what overflows is dozens of packets, for which it needs rounds of many seconds.
	v.interval, v.grace = v.target, 0
	return v
}

func (e *Engine) wantsLong(p *peer) bool { return e.formed && p.forms[phy.Long].want > 0 }

// patience is how long a packet may have to wait at most: where bursts may be long ones, whether they are just now or
// not, as what a window allowed before has to find room.
func (e *Engine) patience() time.Duration {
	if e.formed {
		return max(longestWait, longsWaiting*e.cfg.longBurst)
	}
	return longestWait
}

// longsWaiting are as many long bursts as may wait: what TCP's slow start makes of two of them.
const longsWaiting = 4

// spareFrames are how many frames more or fewer may make a burst another form.
const spareFrames = 3

// unsure is how many octets more may have to be sent than pending tells: how well
// headers are compressed is known only when a packet gets its number. A few octets that are left
// over would cost an exchange.
func (p *peer) unsure() int {
	n := 0
	for _, f := range p.flows {
		for _, pkt := range f.packets {
			if !pkt.numbered && n < unsurePackets {
				n++
			}
		}
	}
	return n * unsureOctets
}

const (
	unsureOctets  = 8 // of a packet's header
	unsurePackets = 8
)

// fewFrames are as many as a block may hold.
const fewFrames = 8

// evenly cuts pending octets of fragments into frames of at most so many octets
// each, of even lengths, so that none is mostly padding.
func evenly(pending, most int) (k, octets int) {
	if pending <= most {
		return 1, pending
	}
	k = (pending + most - fragHead - 1) / (most - fragHead)
	return k, min(most, (pending+k-1)/k+fragHead)
}
