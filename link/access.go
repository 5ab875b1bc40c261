package link

import (
	"slices"
	"time"

	"lightsong/phy"
)

// Medium access on a half-duplex medium: carrier sense multiple access with
// random back-off, virtual carrier sense, and answers that come at once, in the
// manner of the distributed coordination function of IEEE 802.11 (clause 10.3),
// stretched to the turnaround of sound and light. On a full-duplex medium there
// is nothing to contend for: bursts follow one another, reports ride along.
const (
	hostTurn = 8 * time.Millisecond // given to the host to answer a packet before the link answers its burst
	// Between two stations on a slow half-duplex medium it is a share of the answer, up to this.
	longHostTurn = 40 * time.Millisecond
	hostShare    = 8

	slack = 20 * time.Millisecond // between what a station says and what its buffers do

	minSlot     = 5 * time.Millisecond
	minWindow   = 4  // slots of the first back-off
	rivalWindow = 16 // and when others may want the medium too, of four stations or more; fewer draw from less
	maxWindow   = 32 // likewise, after questions without an answer

	firstRTO = 400 * time.Millisecond // beyond turnaround, before an exchange was measured
	minRTO   = 150 * time.Millisecond
	maxRTO   = 10 * time.Second
	// The first question is asked after leastKeep of silence; with two more that stay
	// without an answer so long each, a peer that is gone is known to be within 5 s.
	promptRTO = 900 * time.Millisecond // with the answer's airtime

	maxHoldOff    = 8 * time.Second
	hiddenHoldOff = 2 * time.Second // where others are heard by whom we ask: the question is to find the gap between them
	pollOnlyFrom  = 3               // questions without an answer: before more data is sent, the peer has to show up
	silentTrial   = 2               // such questions in a row lower a mode that is a trial
	silentBursts  = 3               // and any
	longSilent    = 6               // and from here on even to the slowest
	pollWorth     = 2               // a burst that takes so many times a poll is not repeated before a poll

	rivalFor     = 10 * time.Second // a station that began an exchange is taken to want another
	stuckAfter   = 10 * time.Second // carrier without a burst: a tone, not a station
	longestBurst = 10 * time.Minute // what an announcement may say
	failedPause  = time.Second      // after a burst that the PHY could not send

	reading       = 100 * time.Millisecond // that an answer may be late because a long block was to be decoded: carrier sense is not
	fadings       = 6                      // times the delay spread, as far as that is more than usual, are given to a burst's echoes to fade
	decoding      = 16                     // share of a burst's airtime that its answer may be late by for the same reason
	usualSpread   = 0.015                  // s; where it is less the direct wave is strong
	maxFading     = 250 * time.Millisecond // no room is larger than that
	maxTurnaround = time.Second            // more is no property of a medium
	shortestOver  = 30 * time.Second       // turnarounds are measured over
	sensingWeight = 8                      // bursts
	mostSensing   = 200 * time.Millisecond // no preamble is longer
)

// access is the state of medium access.
type access struct {
	busy      bool
	ignored   bool // busy for so long that it is no station
	busyFrom  time.Time
	lastBurst time.Time
	announced time.Time // a burst is under way until then
	reserved  time.Time // network allocation vector
	rival     time.Time // another station began an exchange
	yielded   time.Time // we let others go first
	alone     time.Time // nobody wanted to

	taken   bool
	free    time.Time // since when the medium was free
	backoff time.Duration
	window  int           // slots; at least that of firstWindow counts
	sensing time.Duration // from a burst's begin until it is noticed, smoothed

	asked *peer // half duplex: whose answer is awaited, until its answerBy
	owed  *peer // who gets an answer, at owedAt; since owedFrom
	// Half duplex: the exchange under way. Its initiator ends it in time.
	with      *peer
	since     time.Time
	initiator bool
	opening   bool          // what was heard last broke a silence
	lasted    time.Duration // how long that took, as carrier tells: the airtime of lost frames is not known
	rash      bool          // its first burst may meet another's
	owedFrom  time.Time
	owedAt    time.Time
	owedNAV   time.Time // until when the burst to be answered reserves the medium
	owedLast  time.Time // full duplex: when it goes even if there is nothing to say
	patient   bool      // owedAt is that time
	eager     bool      // the answer need not wait until then if there is something to send
	lone      bool      // nor if the host has replied to the only packet that it got
	goOn      *peer     // our exchange continues with a burst at goOnAt
	goOnAt    time.Time
	pausedTo  time.Time // the PHY failed, or the airtime is used up
	hidden    time.Time // when a station that we do not hear was answered last
	hides     bool      // a peer's beacon names one
	floor     floor
	usage     usage // by anybody
}

// question is what a peer was asked last.
type question struct {
	open     bool
	id       uint8
	asked    time.Time
	answerBy time.Time
	latest   time.Time // full duplex: answerBy at most, however long the peer's bursts are
	unread   bool      // the answer came, but could not be read
}

func (e *Engine) startAccess(now time.Time) {
	e.access = access{free: now, window: minWindow, lastBurst: now}
	e.access.backoff = e.drawBackoff(now)
}

// slot is for how long a station that has begun is not noticed (IEEE 802.11 clause 10.3.7: aSlotTime holds the time of the
// carrier sense).
func (e *Engine) slot() time.Duration { return max(minSlot, e.turnaround()+e.access.sensing) }

// ifs is how long the medium must have been free before back-off counts: longer
// than the gap before an answer, and until that is noticed.
func (e *Engine) ifs() time.Duration { return hostTurn + e.turnaround() + e.access.sensing + slack }

func (e *Engine) drawBackoff(now time.Time) time.Duration {
	if e.cfg.Caps.FullDuplex {
		return 0
	}
	window := max(e.access.window, e.firstWindow(now))
	ordered := e.ordered(now)
	if w := e.beaconWindow(); w > window && e.nextBeacon().Before(now.Add(time.Duration(w)*e.slot())) && (!ordered || e.beacons.urgent) {
		return time.Duration(e.random.IntN(w)) * e.slot() // those who do not know one another draw, too
	}
	if ordered {
		return e.place(e.access.floor.behind)
	}
	return time.Duration(e.drawSlot(window)) * e.slot()
}

// drawSlot draws from a window of slots. Stations that know one another never
// draw the same if there are as many slots: each has every n-th.
func (e *Engine) drawSlot(window int) int {
	n, rank := 1, 0
	for _, p := range e.peers {
		if p.live() {
			n++
			if p.address < e.address {
				rank++
			}
		}
	}
	if n > window {
		return e.random.IntN(window)
	}
	return e.random.IntN(window/n)*n + rank
}

// endExchange ends the exchange under way. After one of ours that was long,
// those who wait may go first; if nobody did lately, nobody waits.
func (e *Engine) endExchange(now time.Time) {
	a := &e.access
	if a.with != nil && a.initiator && a.floor.next == 0 && !e.ordered(now) && (now.Sub(a.rival) < rivalFor || now.Sub(a.alone) >= rivalFor) {
		share := min(1, float64(now.Sub(a.since))/float64(e.cfg.MaxExchange))
		a.backoff = max(a.backoff, e.drawBackoff(now)+time.Duration(share*float64(e.crowd(rivalWindow))*float64(e.slot())))
		a.yielded = now
	}
	a.with = nil
}

// crowd is the part of a window for four stations or more that the stations
// present need: two that draw from a window for many mostly wait.
func (e *Engine) crowd(window int) int {
	const many = 3 // others
	return max(minWindow, window*min(e.others(), many)/many)
}

// others is the number of live peers.
func (e *Engine) others() (n int) {
	for _, p := range e.peers {
		if p.live() {
			n++
		}
	}
	return n
}

// firstWindow is the number of slots that a first back-off is drawn from.
func (e *Engine) firstWindow(now time.Time) int {
	if now.Sub(e.access.rival) < rivalFor {
		return e.crowd(rivalWindow)
	}
	return minWindow
}

// sense brings the back-off up to date with the state of the medium.
func (e *Engine) sense(now time.Time) {
	a := &e.access
	taken := e.current.active || a.asked != nil || a.owed != nil || a.goOn != nil ||
		a.busy && !a.ignored || now.Before(a.announced) || now.Before(a.reserved)
	if e.cfg.Caps.FullDuplex {
		taken = e.current.active
	}
	if taken == a.taken {
		return
	}
	a.taken = taken
	if taken {
		if waited := now.Sub(a.free) - e.ifs(); waited > 0 {
			a.backoff = max(0, a.backoff-waited)
		}
		return
	}
	a.free = now
	if a.backoff == 0 {
		a.backoff = e.drawBackoff(now)
	}
}

// mayContend is when a station with something to send may begin, if the medium
// stays free.
func (e *Engine) mayContend() time.Time {
	if e.cfg.Caps.FullDuplex {
		return e.access.pausedTo
	}
	a := &e.access
	at := a.free
	if !e.hasFloor() {
		at = at.Add(e.ifs() + a.backoff)
	}
	if at.Before(e.access.pausedTo) {
		at = e.access.pausedTo
	}
	return at
}

// accessTick ends what has lasted too long.
func (e *Engine) accessTick(now time.Time) {
	a := &e.access
	if a.busy && !a.ignored && !now.Before(e.stuckAt()) {
		a.ignored = true
		e.stats.Hostile.StuckBusy++
	}
	if (!a.busy || a.ignored) && !now.Before(a.announced) {
		if p := a.asked; p != nil && !now.Before(p.question.answerBy) {
			e.silence(now, p)
		}
	}
	if e.cfg.Caps.FullDuplex {
		for _, p := range e.peers {
			if p.question.open && !now.Before(p.question.answerBy) && !e.ridesOn(now, p) {
				e.silence(now, p)
			}
		}
	}
	e.sense(now)
	e.floorLapses(now)
	e.slotPassed(now)
}

// ridesOn tells whether the answer of p may still come, because a burst is under
// way: on a full-duplex medium it is in that one or rides on the one behind it, of which
// nothing is known before most of its head has been heard.
func (e *Engine) ridesOn(now time.Time, p *peer) bool {
	a, q := &e.access, &p.question
	at := now
	switch {
	case now.Before(a.announced):
		at = a.announced
	case !a.busy || a.ignored:
		return false
	}
	q.answerBy = at.Add(hostTurn + slack + e.airtime(max(0, p.rx.told), shortOctets, 0, 0))
	if q.answerBy.After(q.latest) {
		q.answerBy = q.latest
	}
	return now.Before(q.answerBy)
}

// stuckAt is when carrier that goes on is no longer believed.
func (e *Engine) stuckAt() time.Time {
	a := &e.access
	at := a.busyFrom
	for _, t := range []time.Time{a.lastBurst, a.announced} {
		if t.After(at) {
			at = t
		}
	}
	return at.Add(stuckAfter)
}

func (e *Engine) becameBusy(now time.Time) {
	if !e.access.busy {
		e.access.busy, e.access.busyFrom = true, now
		e.access.opening = now.Sub(e.access.lastBurst) > quietFor
	}
	e.sense(now)
}

func (e *Engine) becameIdle(now time.Time) {
	a := &e.access
	if a.busy {
		e.stats.Airtime.Busy += now.Sub(a.busyFrom)
		if !a.ignored {
			a.usage.note(now, now.Sub(a.busyFrom))
		}
	}
	a.busy, a.ignored = false, false
	e.extend(now.Add(slack))
	e.sense(now)
}

// extend keeps the question open until at: an answer may be under way.
func (e *Engine) extend(at time.Time) {
	if p := e.access.asked; p != nil && p.question.answerBy.Before(at) {
		p.question.answerBy = at
	}
}

func (e *Engine) burstAnnounced(now time.Time, until time.Duration) {
	e.access.announced = now.Add(until)
	e.extend(now.Add(until + slack))
	e.sense(now)
}

// burstOver notes that a burst of others has just ended.
func (e *Engine) burstOver(now time.Time) {
	a := &e.access
	a.lasted = now.Sub(later(a.busyFrom, a.lastBurst))
	a.lastBurst, a.announced = now, now
}

// sensed takes how late a burst that is over now was noticed: a loud one by its energy, within the blocks of samples
// that are part of the turnaround; one that is no louder than the noise when its preamble is over; where the carrier
// sense is deaf not before its end.
func (e *Engine) sensed(now time.Time, airtime time.Duration) {
	a := &e.access
	if a.ignored || e.cfg.Caps.FullDuplex {
		return
	}
	late := airtime
	if a.busy {
		late = a.busyFrom.Sub(now.Add(-airtime))
	} else {
		e.stats.Hostile.Unsensed++
	}
	if late = min(late, mostSensing); late < slack {
		late = 0
	}
	a.sensing += (late - a.sensing) / sensingWeight
}

// burstMissed leaves room for the answer to a burst that could not be read, unless that was one itself.
func (e *Engine) burstMissed(now time.Time) {
	e.burstOver(now)
	if p := e.access.asked; p != nil && !e.several(now) && !e.cfg.Caps.FullDuplex {
		p.question.answerBy, p.question.unread = now, true // nobody else is there: that was it
		return
	}
	e.access.rival = now
	e.reserved(now, e.turnaround()+hostTurn+slack)
}

// reserved notes that the medium belongs to others for d.
func (e *Engine) reserved(now time.Time, d time.Duration) {
	if at := now.Add(d); at.After(e.access.reserved) {
		e.access.reserved = at
	}
	e.sense(now)
}

// fading is how long the answer to a burst of p waits for its echoes, which p hears
// louder than us: as far as the PHY's turnaround does not give them the time; what answers take besides is
// such a wait. Bursts with the echoes of a large room in their beginning could not be read there, or in slower modes only.
func (e *Engine) fading(p *peer) time.Duration {
	d := p.fading
	if p.echoes { // who hears nothing but answers does not learn how long they last
		d = max(d, echoFading)
	}
	return max(0, d-e.told)
}

// oweAnswer notes that p is to be answered at once; gave is how many packets the
// host got, to which it may have an answer in a moment. To a single one the answer
// goes with the host's reply. To a burst of airtime that is over sooner than that
// moment it goes as soon as there is anything to send: on a fast medium the wait
// would be most of a ping. So it does where both ways are open: what else the host
// replies may follow at once. There nobody waits for an answer either, so that one
// with no more than acknowledgements of TCP's may be later: programs reply after the
// kernel. It waits for as long as it takes, for so long it would be in a reply's way.
func (e *Engine) oweAnswer(now time.Time, p *peer, gave int, airtime time.Duration) {
	a := &e.access
	a.owedNAV = now.Add(time.Duration(e.incoming.nav) * navUnit)
	at := now
	if gave > 0 {
		at = now.Add(e.hostTurn(p))
	}
	fading := e.fading(p)
	at = later(at, now.Add(fading))
	a.owedLast, a.patient = at, false
	if gave > 0 && e.cfg.Caps.FullDuplex {
		a.owedLast = now.Add(e.usualAnswer(p, e.sendMode(p)))
	}
	if a.with != p {
		a.with, a.since, a.initiator = p, now, false
	}
	a.owedFrom = now
	a.owed, a.owedAt, a.eager, a.lone = p, at, fading == 0 && airtime <= hostTurn || e.cfg.Caps.FullDuplex, fading == 0 && gave == 1
	e.sense(now)
}

// hostTurn is how long an answer to p waits for what the host replies. Without it the reply has to wait for
// the end of an exchange: where nobody else waits for the medium an eighth of what the answer takes
// is given to a busy host.
func (e *Engine) hostTurn(p *peer) time.Duration {
	if e.cfg.Caps.FullDuplex || !e.concise(p) {
		return hostTurn
	}
	return min(longHostTurn, max(hostTurn, e.usualAnswer(p, e.sendMode(p))/hostShare))
}

// answered takes a burst of p as the answer to our question, if it is.
func (e *Engine) answered(now time.Time, p *peer, c *control, gave int, airtime time.Duration) {
	a := &e.access
	q := &p.question
	if !e.answers(p, c) {
		e.sense(now)
		return
	}
	q.open, a.rash = false, false
	e.proves(now, p)
	p.poll, p.silent, p.holdOff = false, 0, time.Time{}
	gap := max(0, now.Sub(q.asked)-airtime)
	p.measure(gap)
	if !e.cfg.Caps.FullDuplex { // there it contains what the peer was sending
		p.gaps.note(now, gap)
	}
	a.window = minWindow
	if a.asked == p {
		a.asked = nil
		if c.flags&flagWanted == 0 {
			if e.holdsTurn(p) && a.floor.next == 0 && now.Sub(a.since) < e.turnLimit(now) && (p.ready() || gave > 0) {
				fading := e.fading(p)
				a.goOn, a.goOnAt, a.lone = p, now.Add(fading), false
				if !p.ready() { // the host may have more to say, as to a question
					a.owedFrom, a.goOnAt, a.lone = now, later(a.goOnAt, now.Add(e.hostTurn(p))), fading == 0 && gave == 1
				}
			} else {
				e.turnOver(now)
				e.endExchange(now)
			}
		}
	}
	if n := len(p.outstanding); e.cfg.Caps.FullDuplex && n > 0 {
		if due := p.outstanding[n-1].due(); !e.current.active || due != e.current.id { // else the question is opened when that has left
			e.ask(now, p, due, 0)
		}
	}
	e.sense(now)
}

// turnaround is that of the PHY, or what answers take where that is more: a peer's
// buffers may be longer than ours, and those of a sound server far away are known
// to nobody. It is never less than the PHY's: so long carrier sense is blind.
func (e *Engine) turnaround() time.Duration {
	longest := e.told
	if !e.cfg.Caps.FullDuplex {
		for _, p := range e.peers {
			if p.live() {
				longest = max(longest, min(p.gaps.least()-hostTurn-reading, maxTurnaround))
			}
		}
	}
	return longest
}

// retimed takes a turnaround that the PHY has found to be another.
func (e *Engine) retimed(d time.Duration) { e.told = max(0, min(d, maxTurnaround)) }

// shortest is the least of what was measured lately: in this period and in the one
// before. What else there is on top, a host's answer or a busy machine, is no
// property of the medium.
type shortest struct {
	now, before time.Duration // 0: nothing was measured
	until       time.Time     // of this period
}

func (s *shortest) note(now time.Time, d time.Duration) {
	d = max(1, d)
	if !now.Before(s.until) {
		s.before, s.now, s.until = s.now, d, now.Add(shortestOver)
	}
	s.now = min(s.now, d)
}

// least is 0 when nothing was measured.
func (s *shortest) least() time.Duration {
	if s.before == 0 {
		return s.now
	}
	return min(s.now, s.before)
}

// measure takes the time from a burst's end to its answer's begin (RFC 6298 §2).
func (p *peer) measure(d time.Duration) {
	if p.rtt == 0 {
		p.rtt, p.rttVar = max(1, d), d/2
		return
	}
	p.rttVar += (max(d-p.rtt, p.rtt-d) - p.rttVar) / 4
	p.rtt = max(1, p.rtt+(d-p.rtt)/8)
}

// ask opens the question for what p has heard of a burst that took so long, from
// now on.
func (e *Engine) ask(now time.Time, p *peer, id uint8, sent time.Duration) {
	mode, _ := e.plainWish(p)
	if e.staysLively(p) { // and so does p
		mode = max(mode, e.lively)
	}
	if i := e.modes.index(phy.MCS(e.formWish(p, phy.Block))); e.formed && i >= e.blocks { // what is longer is heard when it begins
		mode = max(mode, i)
	}
	answer := e.answerAirtime(mode)
	rto := e.turnaround() + hostTurn
	if p.rtt == 0 {
		rto += firstRTO
	} else {
		// The first measures vary much, and who is asked more than it asks has few
		// others. It may be short: an answer that is under way is waited for.
		rto = max(rto+minRTO, p.rtt+minRTO, min(p.rtt+4*p.rttVar, promptRTO-answer))
	}
	rto = min(rto<<min(max(0, p.silent-1)/2, 4), maxRTO)
	if e.formed {
		rto += sent / decoding
	}
	p.question = question{open: true, id: id, asked: now, answerBy: now.Add(rto + answer)}
	p.dueBy = time.Time{}
	// On a full-duplex medium the answer rides on the burst behind the one that the
	// peer is sending.
	p.question.latest = p.question.answerBy.Add(2 * max(e.besides(answer), 2*answer))
}

// silence ends the wait for an answer that did not come.
func (e *Engine) silence(now time.Time, p *peer) {
	a := &e.access
	e.stats.Bursts.Silence++
	p.question.open = false
	a.floor.next = 0               // whoever had it: what was said did not arrive
	met := a.rash && p.silent == 0 // another's, as far as we know
	if met {
		a.floor.toldMore = false
	}
	e.noAnswer(now, p)
	p.steady = now
	if a.asked == p {
		a.asked = nil
		e.endExchange(now)
	}
	a.window = min(2*a.window, e.crowd(maxWindow))
	a.backoff = e.drawBackoff(now)
	p.silent++
	e.silentForm(p, met)
	p.question.unread = false
	e.fallSilent(now, p)
	if p.live() && p.gone(now) {
		e.goDown(now, p)
	}
	if !p.live() {
		p.poll = false // the next call has its time
		e.sense(now)
		return
	}
	wait := min(e.slot()<<min(p.silent, 10), maxHoldOff)
	if e.mayMeetHidden(now) {
		wait = min(wait, hiddenHoldOff)
	}
	p.holdOff = now.Add(wait/2 + time.Duration(e.random.Int64N(int64(wait/2)+1)))
	if e.cfg.Caps.FullDuplex && p.silent < silentBursts {
		p.holdOff = now // nobody was in the way
	}
	e.repeatSome(p)
	e.sense(now)
}

// repeatSome repeats what p did not tell the arrival of at once, if that hardly takes longer than to
// ask for it; not where the path has changed, as what arrived tells that this is over.
func (e *Engine) repeatSome(p *peer) {
	var airtime time.Duration
	for _, b := range p.outstanding {
		airtime += b.airtime
	}
	if len(p.outstanding) > 0 && !p.unsteady && airtime <= pollWorth*e.answerAirtime(e.sendMode(p)) {
		lost := p.outstanding
		p.outstanding = nil
		for _, b := range lost {
			e.resolve(p, b, nil)
		}
	}
	p.poll = len(p.outstanding) > 0
}

// fallSilent lowers the modes both ways because p does not answer: first those
// that were trials, then others. Collisions and disturbances look the same, so
// the slowest modes come only after long silence, and before that none that the
// SNR gives no reason for.
func (e *Engine) fallSilent(now time.Time, p *peer) {
	floor, long := e.basicMode(), p.silent%silentBursts == 0
	hidden := e.mayMeetHidden(now) // what it hears is theirs, and the longer a question the likelier
	fall := func(c *ceiling, mode int, snr float64) {
		switch {
		case p.silent >= longSilent && long && !hidden:
			c.fail(mode, 0)
		case p.silent >= silentTrial && c.probing:
			c.fail(mode, floor)
		case long:
			c.fail(mode, max(floor, e.modes.comfortable(snr)))
		}
	}
	fall(&p.tx.ceiling, e.sendMode(p), p.tx.snr)
	if want, ok := p.rx.want(e.modes); ok && (p.live() || p.suspect) {
		fall(&p.rx.ceiling, want, p.rx.snr)
	}
}

// ready tells whether there is something to send to p.
func (p *peer) ready() bool {
	return p.poll || p.live() && (p.owes || p.hasData())
}

// wants tells whether p would get a burst now: one that has been asked is not
// asked again before it has answered, though on a full-duplex medium it may get
// more data, unless it has been silent for long.
func (p *peer) wants() bool {
	return p.ready() && (!p.question.open || !p.poll && p.silent < pollOnlyFrom && p.hasData())
}

// hasData tells whether packets for p could be sent now.
func (p *peer) hasData() bool {
	if len(p.outstanding) >= historySize {
		return false
	}
	open := p.windowOpen()
	for _, f := range p.fresh {
		if f.head(open) != nil {
			return true
		}
	}
	for _, f := range p.old {
		if f.head(open) != nil {
			return true
		}
	}
	return false
}

// says tells whether more than acknowledgements of TCP's could be sent to p now.
func (p *peer) says() bool {
	if len(p.outstanding) >= historySize {
		return false
	}
	open := p.windowOpen()
	says := func(f *flow) bool {
		return slices.ContainsFunc(f.packets, func(pkt *packet) bool {
			return len(pkt.pending) > 0 && (pkt.numbered || open && !pkt.segment.pure)
		})
	}
	return slices.ContainsFunc(p.fresh, says) || slices.ContainsFunc(p.old, says)
}

// burstLeft opens what follows from a burst that was sent.
func (e *Engine) burstLeft(now time.Time, c *current) {
	a := &e.access
	a.lastBurst = now
	a.usage.note(now, c.airtime)
	e.floorNamed(now, &e.control, true)
	if c.kind == unicast && c.wanted {
		if !c.peer.question.open || !e.cfg.Caps.FullDuplex {
			e.ask(now, c.peer, c.id, c.airtime)
		}
		if !e.cfg.Caps.FullDuplex {
			if other := a.asked; other != nil && other != c.peer {
				e.silence(now, other) // it was another's burst that came
			}
			a.asked = c.peer
		}
		c.peer.poll = false
	} else {
		e.turnOver(now)
		e.endExchange(now)
		switch {
		case c.reply: // what its host has to say to that goes first
			e.reserved(now, max(e.hostTurn(c.peer), e.fading(c.peer))+e.turnaround()+slack)
		case c.kind == unicast && !e.cfg.Caps.FullDuplex: // who asked goes on, which comes before news
			e.postponeBeacon(now.Add(e.newsSpread()))
		}
	}
	if a.backoff == 0 {
		a.backoff = e.drawBackoff(now)
	}
	e.beaconCredit(now, c)
	e.sense(now)
}

// sendFailed keeps a PHY that fails from being asked again at once.
func (e *Engine) sendFailed(now time.Time) {
	a := &e.access
	e.endExchange(now)
	a.pausedTo = now.Add(failedPause)
	e.postponeBeacon(a.pausedTo)
	e.sense(now)
}

// NextBurst tells whether a burst is to be sent now, and writes it to dst. What
// dst points to is the Engine's and valid until BurstSent, which must follow.
func (e *Engine) NextBurst(now time.Time, dst *phy.Burst) bool {
	e.tick(now)
	if e.current.active {
		return false
	}
	built := e.nextBurst(now, dst)
	e.sense(now)
	return built
}

func (e *Engine) nextBurst(now time.Time, dst *phy.Burst) bool {
	a := &e.access
	if e.usedUp(now) {
		return false
	}
	if p := a.owed; p != nil {
		replied := a.lone && !p.interactive.Before(a.owedFrom)
		if now.Before(a.owedAt) && !replied && (!a.eager || !p.hasData()) && (!a.patient || !p.says()) {
			return false
		}
		if !a.patient && now.Before(a.owedLast) && !p.says() {
			a.patient, a.owedAt, a.lone, a.eager = true, a.owedLast, false, false
			return false
		}
		a.owed = nil
		over := !e.cfg.Caps.FullDuplex && e.holdsTurn(p) && now.Sub(a.since) >= e.turnLimit(now)
		switch a.floor.next {
		case 0, p.address:
		case e.address: // our turn begins with the answer
			e.beginTurn(now, p)
			over = false
		default:
			over = true
		}
		say, ask := free, false
		switch {
		case !p.hasData():
			say = mute
		case p.silent >= pollOnlyFrom:
			say, ask = mute, !over // it is there, but does it hear us?
		case !over && p.garbled && e.concise(p) && e.othersHurry(now):
			say, ask = mute, true // what somebody waits for was lost: it is to come again first
		case over:
			say = brief
		}
		return e.buildUnicast(now, p, true, say, ask, dst)
	}
	if a.asked != nil {
		return false
	}
	if p := a.goOn; p != nil {
		if now.Before(a.goOnAt) && (!a.lone || p.interactive.Before(a.owedFrom)) {
			return false
		}
		poll := p.poll || p.owes && !p.hasData()
		if a.goOn = nil; p.ready() && e.buildUnicast(now, p, false, sayUnless(poll), poll, dst) {
			return true
		}
		e.turnOver(now)
		e.endExchange(now)
	}
	if e.sense(now); a.taken || now.Before(e.mayContend()) {
		return false
	}
	return e.contend(now, dst)
}

// contend sends what has waited for its turn on the medium: a beacon that is
// due, then broadcast packets, then what the peers are owed in turn.
func (e *Engine) contend(now time.Time, dst *phy.Burst) bool {
	a := &e.access
	// Who will be named soon sends its beacon then: an open floor is for those who will not.
	if e.beaconDue(now) && (!e.awaitsFloor(now) || !e.anyReady(now)) && e.buildBeacon(now, dst) {
		return true
	}
	if e.floodReady() && e.buildFlood(now, dst) {
		return true
	}
	if p := e.owedFirst(now); p != nil {
		before := *a
		e.takeTurn(now, p)
		if e.buildJoint(now, p, dst) {
			return true
		}
		*a = before
	}
	for p := range e.inTurn {
		if !p.wants() || now.Before(p.holdOff) {
			continue
		}
		poll := p.poll || p.silent >= pollOnlyFrom
		before := *a
		e.takeTurn(now, p)
		// Where somebody whom we do not hear may begin at the same moment a question goes first:
		// its answer tells that one to wait.
		poll = poll || !e.hasFloor() && e.mayMeetHidden(now)
		if !poll && e.buildJoint(now, p, dst) {
			return true
		}
		poll = poll || p.owes && !p.hasData() // it does not understand sections: so it learns what it is owed
		if e.buildUnicast(now, p, false, sayUnless(poll), poll, dst) {
			e.served = p.address
			if a.yielded.After(a.rival) {
				a.alone = now
			}
			return true
		}
		*a = before
	}
	return false
}

// takeTurn begins our turn with p, or goes on with it.
func (e *Engine) takeTurn(now time.Time, p *peer) {
	a := &e.access
	if goesOn := e.hasFloor() && a.floor.gave; goesOn {
		a.with, a.initiator = p, true
	} else {
		e.beginTurn(now, p)
	}
	a.rash = !e.hasFloor() && (now.Sub(a.lastBurst) > quietFor || e.others() > 1 && now.Sub(a.rival) < rivalFor)
}

// anyReady tells whether a peer would get a burst now.
func (e *Engine) anyReady(now time.Time) bool {
	return slices.ContainsFunc(e.peers, func(p *peer) bool { return p.wants() && !now.Before(p.holdOff) })
}

// floodReady tells whether broadcast packets wait and somebody is there to hear
// them.
func (e *Engine) floodReady() bool {
	if len(e.all.fresh)+len(e.all.old) == 0 {
		return false
	}
	for _, p := range e.peers {
		if p.live() {
			return true
		}
	}
	return false
}

// accessDeadline is when something becomes due.
func (e *Engine) accessDeadline() (at time.Time, ok bool) {
	a := &e.access
	if e.current.active && !e.cfg.Caps.FullDuplex {
		return at, false
	}
	note := func(t time.Time) { at, ok = earlier(at, ok, t), true }
	blocked := a.busy && !a.ignored && !e.cfg.Caps.FullDuplex
	if blocked {
		note(e.stuckAt())
	}
	if a.owed != nil && !e.current.active {
		note(a.owedAt)
	}
	if a.goOn != nil {
		note(a.goOnAt)
	}
	if p := a.asked; p != nil && !blocked {
		note(later(p.question.answerBy, a.announced))
	}
	if e.cfg.Caps.FullDuplex {
		for _, p := range e.peers {
			if p.question.open {
				note(p.question.answerBy)
			}
		}
		if e.current.active && !e.insertAt.IsZero() {
			note(e.insertAt)
		}
	}
	if a.asked != nil || a.owed != nil || a.goOn != nil || e.current.active || blocked {
		return at, ok
	}
	begin := e.mayContend()
	if a.taken { // by a timer: the back-off is known when it ends
		begin = later(a.announced, a.reserved)
	}
	note(later(e.workAt(), begin))
	return at, ok
}

// workAt is when the first thing to contend for is there: at the latest, the
// next beacon.
func (e *Engine) workAt() time.Time {
	if e.floodReady() {
		return time.Time{}
	}
	at := e.nextBeacon()
	for _, p := range e.peers {
		if p.wants() && p.holdOff.Before(at) {
			at = p.holdOff
		}
	}
	return at
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
