package link

import (
	"cmp"
	"math"
	"slices"

	"lightsong/phy"
)

// Rate control. The receiver of bursts asks for the mode in which it wants them,
// from the SNR it sees and a margin that an outer loop moves so that the share of
// lost frames approaches a target (the outer loop link adaptation of cellular
// systems: Sampath, Kumar, Holtzman, VTC 1997). The loop narrows the margin faster
// and faster until something is lost for the first time, as a table's SNRs are
// those of white noise and a channel may be kinder. The sender follows, but
// falls back on its own when too much is lost.
const (
	leastLoss   = 0.02 // share of lost frames aimed at: stepWorth of what the mode is faster than the one before
	mostLoss    = 0.1
	stepWorth   = 0.4
	duplexLoss  = 0.002 // likewise where both ways are open, for what the mode is faster by beyond duplexCost
	duplexCost  = 0.05
	startMargin = 3.0 // dB
	duplexStart = 1.0 // likewise on a full-duplex medium, where there are no echoes and nobody else: noise is what the tables are measured in
	minMargin   = -6.0
	maxMargin   = 6.0      // as long as most frames arrive
	marginStep  = 1.0      // dB wider, when all frames of a burst are lost; doubled with each such burst in a row
	wideMargin  = 24.0     // when most are lost,
	wideFrames  = 4        // so many in a row, as chance alone does not lose
	backStep    = 1.0      // dB narrower after a burst without loss, as far as nothing has failed there
	firstStep   = 0.5      // dB narrower after a burst without loss; doubled each time until something was lost,
	mostLeap    = 8.0      // up to that, …
	duplexLeap  = 1.0      // … or, on a full-duplex medium, where it learns of the last one's fate only after the next
	leastStep   = 0.02     // halved each time after that, and grown by stepGrowth with success
	duplexStep  = mostLoss // … but not where both ways are open, where noise is all there is: a burst that comes takes the target back, so that with what a loss adds the mean is the target
	mostStep    = 0.2
	stepGrowth  = 1.01

	firstWait = 128 // bursts that come well before a mode that failed is asked for again; doubled each time it fails,
	mostWait  = 512 // up to that
	sureRun   = 8   // frames that came without one lost before it failed: else it was not the mode
	riseDB    = 1.0 // what the SNR must have risen by for it to be asked for at once

	snrWeight    = 0.4     // of the newest burst
	lowWeight    = 0.05    // of one in a slower mode than the one asked for, if it says less
	lossWeight   = 1. / 16 // of the newest frame
	duplexWeight = 1. / 64 // likewise where both ways are open: bursts of few frames, each with parity after a single one lost

	badShare  = 0.6 // of a burst's frames lost, badBursts times in a row: the sender falls back
	badBursts = 2
	fallBack  = 2  // modes; doubled each time until a burst does well, up to a sixth of the table
	doubts    = 16 // bursts that come well after one that did not: then small packets go in its mode again
	maxNeeded = 64 // bursts in one mode before the next is tried again

	// comfort is how far (dB) the SNR lies above what a mode needs when silence
	// is not for want of SNR: disturbances and collisions hit slower modes, which
	// last longer, even more.
	comfort   = 12.0
	cleanLoss = 0.02

	// parityWorth is how many frames of a burst must be expected to be lost before one of parity pays: a
	// repetition costs, in an exchange of its own or in what waits behind it, about as much as six more.
	parityWorth = 1. / 7
)

// modes is a PHY's table in the order in which a link climbs it.
type modes []phy.Mode

// newModes keeps of a table the modes worth having: one that needs more SNR than
// another and is not faster is left out. Where bursts have forms, one that is as
// fast as the one before may be of a form that the other one never is.
func newModes(table []phy.Mode, formed bool) modes {
	m := slices.Clone(table)
	slices.SortStableFunc(m, func(a, b phy.Mode) int {
		return cmp.Or(cmp.Compare(a.SNRdB, b.SNRdB), cmp.Compare(b.NetBPS, a.NetBPS))
	})
	kept := m[:1]
	for _, mode := range m[1:] {
		if last := kept[len(kept)-1].NetBPS; mode.NetBPS > last || formed && mode.NetBPS == last {
			kept = append(kept, mode)
		}
	}
	return kept
}

// index of an MCS; of one that is not in the table, the most robust mode.
func (m modes) index(mcs phy.MCS) int {
	return max(0, slices.IndexFunc(m, func(mode phy.Mode) bool { return mode.MCS == mcs }))
}

// suiting is the index of the fastest mode that needs at most snr dB.
func (m modes) suiting(snr float64) int {
	i := len(m) - 1
	for i > 0 && !(m[i].SNRdB <= snr) {
		i--
	}
	return i
}

// comfortable is the index of the fastest mode in which a burst that nobody
// answers is no reason for a slower one; snr may be NaN.
func (m modes) comfortable(snr float64) int {
	if math.IsNaN(snr) {
		return 0
	}
	return m.suiting(snr - comfort)
}

// reception is what rate control learns from a peer's bursts.
type reception struct {
	snr     float64 // dB, smoothed; NaN before the first
	margin  float64 // dB
	start   float64 // dB, what it began with
	step    float64 // dB, by which the margin narrows
	leap    float64 // dB, the most of step
	fine    float64 // dB, the least of step once something was lost
	widen   float64 // dB, by which it widens when all is lost
	streak  int     // frames lost in bursts of which most were
	edge    float64 // dB, the widest margin with which too much was lost in the mode asked for
	lossy   bool    // something was lost in a mode asked for
	loss    float64 // share of frames lost before repair, smoothed
	weight  float64 // of the newest frame in that
	ceiling ceiling // of the mode to ask for: answers in it must reach us
	least   float64 // dB, the narrowest margin
	rough   bool    // snr is of bursts whose symbols may have been too short
	told    int     // index of the mode last asked for; −1: none was
	trial   trial
}

func newReception(m modes) reception {
	return reception{snr: math.NaN(), margin: startMargin, start: startMargin, step: firstStep, leap: mostLeap, fine: leastStep, weight: lossWeight, widen: marginStep, edge: math.Inf(-1), ceiling: newCeiling(m), least: minMargin, told: -1, trial: newTrial()}
}

// heard takes the SNR of a burst, NaN for none, and what kind of bound it is.
// Slower modes than the one asked for have short symbols, to which more
// of an echo is noise: what they measure may be too little, but not too much.
// So it is with a burst without frames. What a receiver measures on frames that
// it could not read may be too much, as it took for signal what it could.
func (r *reception) heard(snr float64, of snrBound) {
	weight := snrWeight
	switch {
	case math.IsNaN(snr) || math.IsInf(snr, 0):
		return
	case math.IsNaN(r.snr):
		r.snr, r.rough = snr, true
		return
	case of == vague, of == lower && snr < r.snr:
		weight = lowWeight
	case of == upper && snr > r.snr:
		return
	case of == exact && r.rough && snr > r.snr:
		weight = 1
	}
	r.rough = r.rough && of != exact
	r.snr += weight * (snr - r.snr)
}

// snrBound is what a measured SNR says of the one that frames in the mode asked for
// would see.
type snrBound uint8

const (
	exact snrBound = iota
	lower
	upper
	vague // by a few known values, where echoes take nothing away: of short bursts, most of which are answers
)

// target is the share of lost frames at which a mode is still better than the
// one before, with room for what repairs them.
func (m modes) target(i int) float64 {
	if i == 0 {
		return mostLoss
	}
	return max(leastLoss, min(mostLoss, stepWorth*(m[i].NetBPS/m[i-1].NetBPS-1)))
}

// target is likewise. Where both ways are open a burst holds dozens of frames and several
// are on their way: one lost frame keeps all behind it waiting for a second and more,
// which TCP takes for a loss of its own (its timer follows the round trip of what came
// at once). Among slow modes, which are far apart and whose bursts hold few frames, that costs less than the
// slower mode would: duplexCost of the rate is put down for it.
func (e *Engine) target(i int) float64 {
	t := e.modes.target(i)
	if !e.cfg.Caps.FullDuplex || i == 0 {
		return t
	}
	return min(t, max(duplexLoss, stepWorth*(e.modes[i].NetBPS/e.modes[i-1].NetBPS-1-duplexCost)))
}

// bound is the widest margin with which bursts in the mode with an index are asked for. Where
// both ways are open what a burst sees does not vary, dozens of frames fall with the one that
// was a little too fast, and another burst like it is on its way. Elsewhere it is less
// than any.
func (e *Engine) bound(r *reception, mode int) float64 {
	if !e.cfg.Caps.FullDuplex || math.IsNaN(r.snr) {
		return math.Inf(-1)
	}
	return r.snr - e.modes[mode].SNRdB
}

// frames takes the outcome of a burst's frames; wanted tells that the burst came
// in the mode asked for, so that its outcome says something about the margin; short that
// its frames were, so that longer ones need a margin even if these came. bound is the
// widest one with which that mode is asked for: narrower ones are no better.
func (r *reception) frames(total, lost int, wanted, short bool, target, bound float64) {
	if total == 0 {
		return
	}
	share := float64(lost) / float64(total)
	// Loss that a slower mode cures needs no parity.
	if share < badShare || r.margin >= maxMargin {
		for i := range total {
			x := 0.
			if i < lost {
				x = 1
			}
			r.loss += r.weight * (x - r.loss)
		}
	}
	if r.streak += lost; share < badShare {
		r.streak = 0
	}
	most := max(maxMargin, r.margin)
	if r.streak >= wideFrames {
		most = wideMargin
	}
	switch {
	case share > target:
		if wanted {
			r.edge = max(r.edge, r.margin, bound)
		}
		r.margin += r.widen * (share - target) / (1 - target)
		if r.streak >= wideFrames {
			r.widen *= 2
		}
		if wanted {
			if !r.lossy { // the last step was too much
				r.lossy, r.margin, r.step = true, r.margin+r.step/2, mostStep
			}
			r.step = max(r.fine, r.step/2)
		}
	case short && r.margin <= r.start:
	case wanted && r.lossy && r.margin-backStep > r.edge:
		r.margin -= backStep
	case wanted && r.lossy:
		r.margin -= r.step * (target - share) / mostLoss
		r.edge = min(r.edge, r.margin)
		r.step = min(mostStep, r.step*stepGrowth)
	case wanted:
		r.margin -= r.step
		r.step = min(2*r.step, r.leap)
	}
	if r.streak == 0 {
		r.widen = marginStep
	}
	r.margin = max(r.least, min(most, r.margin))
}

// short tells whether frames of so many octets, or a burst with so many, say little of a mode.
// They come where longer ones would not: their bits fill symbols that hold many more, or are
// too few for one of them to be wrong. Acknowledgements of TCP's are such, for minutes.
func short(m *phy.Mode, octets int) bool { return float64(octets) < shortShare*float64(m.FrameOctets) }

const shortShare = 0.125

// climb keeps the margin, unless something was lost already, from leaping over the mode
// next to the one with an index: what a table does not promise is tried one mode at a
// time, as a burst that nobody can read costs more than what comes a burst later.
func (r *reception) climb(m modes, i int) {
	if next := min(i+1, len(m)-1); !r.lossy && r.margin < 0 {
		if most := min(0, r.snr-m[next].SNRdB-backStep/2); most > r.margin {
			r.step = min(r.step, max(backStep, r.step-2*(most-r.margin))) // the last one was half of it
			r.margin = most
		}
	}
}

// tried takes what became of a burst in the mode with an index, asked for, once frames has,
// from a margin on. A mode that failed on trial says no more than that the one below is right, and
// while it waits no success narrows the margin to less than what asks for it.
func (r *reception) tried(m modes, i, total, lost int, target, from float64) {
	t := &r.trial
	switch share := float64(lost) / float64(total); {
	case (share >= badShare || lost > 2 && share > mostLoss) && t.fail(i, r.snr): // one or two of a few frames may be chance
		r.margin = max(r.least, from, r.snr-(m[i].SNRdB+m[i-1].SNRdB)/2)
	case share <= target:
		if t.succeed(i); t.waits {
			r.margin = max(r.margin, min(from, r.snr-m[t.mode].SNRdB))
		}
	}
	if t.run += total; lost > 0 {
		t.run = 0
	}
}

// want is the index of the mode to ask for; ok is false while no SNR is known.
func (r *reception) want(m modes) (i int, ok bool) {
	if math.IsNaN(r.snr) {
		return 0, false
	}
	return min(r.trial.allowed(m.suiting(r.snr-r.margin), r.snr), r.ceiling.index), true
}

// asked tells whether a burst in the mode with an index came in the mode asked for.
// Where it is the answer to the last report that is what the report said: the burst
// itself may have changed what is wanted.
func (r *reception) asked(m modes, i int, answers bool) bool {
	want, ok := r.want(m)
	return ok && i == want || answers && i == r.told
}

// trial keeps modes that do not hold from being tried again and again, which costs the bursts that are on their
// way until it shows. The loop on the margin alone would do so for ever: its share of lost
// frames is reached by a mode that loses nothing and, now and then, one that loses all.
// So the wait for the next trial doubles as long as the mode fails before it did well for as many
// bursts as it was waited for (AARF, as below). An SNR that rises ends it.
type trial struct {
	mode   int     // index of the least mode that failed; noCeiling: none did
	snr    float64 // dB, at which it did
	wait   int     // bursts
	good   int     // bursts that came well since: in slower modes while it waits, then in it
	waits  bool
	proven int // index of the best mode in which a burst came well and none has failed since
	run    int // frames that came since one was lost
}

func newTrial() trial { return trial{mode: noCeiling, wait: firstWait, proven: -1} }

// allowed is the index of the best mode up to the one with an index that may be asked for.
func (t *trial) allowed(i int, snr float64) int {
	if t.waits && i >= t.mode && snr < t.snr+riseDB {
		return t.mode - 1
	}
	return i
}

// succeed takes a burst in the mode with an index, asked for, that came well.
func (t *trial) succeed(i int) {
	t.proven = max(t.proven, i)
	if t.mode == noCeiling {
		return
	}
	if t.waits && i >= t.mode { // the SNR has risen
		t.waits, t.good = false, 0
	}
	if !t.waits && i < t.mode {
		return
	}
	if t.good++; t.good < t.wait {
		return
	}
	if t.good = 0; t.waits {
		t.waits = false
	} else {
		t.mode, t.wait = noCeiling, max(firstWait, t.wait/2)
	}
}

// fail returns whether the mode with an index was on trial, with all well below it.
func (t *trial) fail(i int, snr float64) bool {
	if i <= t.proven && i < t.mode || i == 0 || t.run < sureRun {
		t.proven = min(t.proven, i-1)
		return false
	}
	if t.mode != noCeiling {
		t.wait = min(2*t.wait, mostWait)
	}
	t.mode, t.snr, t.good, t.waits, t.proven = i, snr, 0, true, i-1
	return true
}

// ceiling is the best mode that is allowed, whatever the SNR suggests. There is
// none until a mode has failed. It climbs with success, and tries a mode that has
// failed again the later, the more often it has (AARF: Lacage, Manshaei,
// Turletti, MSWiM 2004).
type ceiling struct {
	index   int
	proven  int  // the best mode that did well at the ceiling
	good    int  // bursts in a row that did well at the ceiling
	needed  int  // of them before it climbs
	probing bool // the mode has not done well since it was climbed to
	drop    int  // modes of the next fall
	steep   int  // of the deepest
}

// noCeiling is above every mode.
const noCeiling = math.MaxInt32

func newCeiling(m modes) ceiling {
	return ceiling{index: noCeiling, needed: 1, drop: fallBack, steep: max(fallBack, len(m)/6)}
}

// succeed takes a burst in the mode with an index that did well.
func (c *ceiling) succeed(mode int) {
	if mode < c.index {
		return
	}
	c.probing, c.proven, c.drop = false, mode, fallBack
	if c.good++; c.good >= c.needed {
		c.index, c.good, c.probing = mode+1, 0, true
	}
}

// fail takes failure in the mode with an index: the ceiling falls, the further
// the more often, or back to what is proven if that mode was a trial, but not
// below floor.
func (c *ceiling) fail(mode, floor int) {
	fallen := mode - c.drop
	if c.probing && mode > c.proven {
		c.needed = min(2*c.needed, maxNeeded)
		fallen = c.proven
	} else {
		c.drop = min(2*c.drop, c.steep)
	}
	c.index = min(c.index, max(floor, fallen))
	c.proven = min(c.proven, c.index)
	c.good, c.probing = 0, false
}

// transmission is what rate control knows about bursts to a peer.
type transmission struct {
	want    int     // index of the mode that the peer asked for; −1: it did not
	ceiling ceiling // of the mode to use, whatever it asks for
	bad     int     // bursts in a row of which badShare was lost
	snr     float64 // dB, as the peer reports; NaN before
	loss    float64 // share of frames lost there before repair, as it reports
	failed  int     // index of a mode in which most of a burst was lost lately: small packets do without it
	since   int     // bursts that came well since, while not held
	held    bool    // somebody waits for small packets on a half-duplex medium: no mode that failed is tried again
}

func newTransmission(m modes) transmission {
	return transmission{want: -1, ceiling: newCeiling(m), snr: math.NaN(), failed: noCeiling}
}

// outcome takes what became of the frames of a burst that was sent in the mode
// with an index, after repair. Unless the mode is a trial, loss before repair
// must be as high for a fall: parity fails all at once.
func (t *transmission) outcome(mode, total, lost int) {
	t.doubt(mode, float64(lost) >= badShare*float64(total))
	trial := t.ceiling.probing && mode >= t.ceiling.index
	if float64(lost) < badShare*float64(total) || !trial && t.loss < badShare {
		t.bad = 0
		t.ceiling.succeed(mode)
		return
	}
	if t.bad++; t.bad >= badBursts {
		t.bad = 0
		t.ceiling.fail(mode, 0)
	}
}

// doubt notes whether most of a burst in the mode with an index was lost. If a slower one fares
// no better it was not the mode.
func (t *transmission) doubt(mode int, bad bool) {
	switch {
	case bad && t.failed == noCeiling:
		t.failed, t.since = mode, 0
	case bad && mode >= t.failed:
		t.since = 0
	case !bad && mode < t.failed && (t.held || t.since < doubts):
		if !t.held {
			t.since++
		}
	default:
		t.failed = noCeiling
	}
}

// sure is the index of the best mode up to the one with an index that is not in doubt.
func (t *transmission) sure(mode int) int { return max(0, min(mode, t.failed-1)) }

// index of the mode to send in; without is used until the peer has asked.
func (t *transmission) index(m modes, without int) int {
	i := t.want
	if i < 0 {
		i = without
	}
	return min(i, t.ceiling.index, len(m)-1)
}

// parity is the number of parity frames for k data frames when a share of loss
// of all frames is expected to fail: the mean of the lost ones among k+m and half
// a standard deviation, at most as many as data. More would cost more than the
// repetition that it saves.
func parity(k int, loss float64) int {
	if loss < cleanLoss || float64(k)*loss < parityWorth {
		return 0
	}
	m := 1
	for m < k {
		n := float64(k + m)
		if float64(m) >= n*loss+math.Sqrt(n*loss*(1-loss))/2 {
			break
		}
		m++
	}
	return m
}
