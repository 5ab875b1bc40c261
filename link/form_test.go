package link

import (
	"math"
	"net/netip"
	"slices"
	"testing"
	"time"

	"lightsong/phy"
)

// formed is a station whose bursts have forms, from mode 3 on: one or two frames
// are a block, ten or more are long; and a peer that it has just heard.
func formed(t *testing.T) (*Engine, *peer) {
	t.Helper()
	m := newMedium(t, testSeed)
	n := m.add("a", withForms)
	if !n.engine.formed || n.engine.blocks != 3 {
		t.Fatalf("formed %v, blocks from mode %d", n.engine.formed, n.engine.blocks)
	}
	return n.engine, n.engine.newPeer(m.now, 7, 1)
}

// withForms gives the bursts of a configuration forms.
func withForms(c *Config) {
	c.Caps.Form = func(b *phy.Burst) phy.Form {
		switch k := len(b.Frames); {
		case b.MCS < 3 || k == 0:
		case k <= 2:
			return phy.Block
		case k >= 10:
			return phy.Long
		}
		return phy.Plain
	}
}

// hears gives the receiver of blocks and long bursts a burst of a form: of frames
// so many, of which lost.
func (p *peer) hears(e *Engine, form phy.Form, frames, lost int, block, long, doppler float64) {
	ev := &phy.Event{Kind: phy.Received}
	ev.Burst.MCS = 4
	for i := range frames {
		var f []byte
		if i >= lost {
			f = make([]byte, 8)
		}
		ev.Burst.Frames = append(ev.Burst.Frames, f)
	}
	ev.Quality = phy.Quality{Form: form, Doppler: doppler, SNRs: [phy.Forms]float64{phy.Plain: math.NaN(), phy.Block: block, phy.Long: long, phy.Middle: (block + long) / 2}}
	e.hearForms(p, ev)
}

// What is wanted while the path changes, and when it is over.
func TestFormsAndMotion(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		name string
		then func(e *Engine, p *peer)
		want bool // that blocks and long bursts are wanted
	}{
		{"nothing else", func(*Engine, *peer) {}, true},
		{"a poll that sees as much", func(e *Engine, p *peer) { p.hears(e, phy.Plain, 0, 0, 21, 26, nan) }, true},
		{"a poll that sees 10 dB less", func(e *Engine, p *peer) { p.hears(e, phy.Plain, 0, 0, 11, 16, nan) }, false},
		{"… and one that sees as much again", func(e *Engine, p *peer) {
			p.hears(e, phy.Plain, 0, 0, 11, 16, nan)
			p.hears(e, phy.Plain, 0, 0, 20, 25, nan)
		}, true},
		{"… and data on a path that still changes", func(e *Engine, p *peer) {
			p.hears(e, phy.Plain, 0, 0, 11, 16, nan)
			p.hears(e, phy.Plain, 4, 0, 20, 25, 0.3)
		}, false},
		{"… and data of which nothing was read", func(e *Engine, p *peer) {
			p.hears(e, phy.Plain, 0, 0, 11, 16, nan)
			p.hears(e, phy.Plain, 4, 4, 20, 25, 0)
		}, false},
	} {
		e, p := formed(t)
		for range 3 {
			p.hears(e, phy.Block, 2, 0, 22, 27, nan)
			p.hears(e, phy.Plain, 0, 0, 21, 26, nan)
		}
		c.then(e, p)
		for f := phy.Block; f < phy.Forms; f++ {
			if got := e.formWish(p, f) != 0; got != c.want {
				t.Errorf("%s: form %d is wanted: %v, want %v", c.name, f, got, c.want)
			}
		}
	}
	// A path that stays worse has more noise: that is believed in the end, and what
	// blocks see of it they tell themselves.
	for _, c := range []struct{ frames, bursts int }{{0, fadeBursts * fadeDoubt}, {4, fadeBursts}} {
		e, p := formed(t)
		p.hears(e, phy.Block, 2, 0, 30, 35, nan)
		p.hears(e, phy.Plain, 0, 0, 28, 32, nan)
		s := &p.forms[phy.Block]
		for i := range c.bursts {
			if i > 0 && !s.barred {
				t.Errorf("%d frames: believed after %d bursts, want %d", c.frames, i, c.bursts)
			}
			doppler := nan
			if c.frames > 0 {
				doppler = 0
			}
			p.hears(e, phy.Plain, c.frames, 0, 14, 18, doppler)
		}
		if s.barred {
			t.Errorf("%d frames: barred after %d bursts that saw the same", c.frames, c.bursts)
		}
	}
	// In a room full of echoes plain bursts see little of what blocks do, always.
	e, p := formed(t)
	for range 20 {
		p.hears(e, phy.Block, 2, 0, 20, 25, nan)
		p.hears(e, phy.Plain, 0, 0, -3, -4, nan)
		p.hears(e, phy.Plain, 4, 0, -1, -2, 0)
	}
	if e.formWish(p, phy.Block) == 0 || e.formWish(p, phy.Long) == 0 {
		t.Error("echoes are taken for motion")
	}
	// One that changes all the time is not believed to stay.
	e, p = formed(t)
	p.hears(e, phy.Block, 2, 0, 30, 35, nan)
	p.hears(e, phy.Plain, 0, 0, 28, 32, nan)
	for range 4 * fadeBursts {
		p.hears(e, phy.Plain, 4, 0, 14, 18, 2)
		p.hears(e, phy.Plain, 4, 0, 14, 18, 0)
	}
	if s := &p.forms[phy.Block]; !s.barred || s.rx.snr < 29 {
		t.Errorf("motion: barred %v, %.1f dB", s.barred, s.rx.snr)
	}
}

// Which forms are used towards a peer, by what it asks for and what became of them.
func TestFormLimits(t *testing.T) {
	e, p := formed(t)
	p.tx.want = 1
	ask := func(block, long, middle uint8) {
		e.takeForms(p, &control{formed: true, forms: [phy.Forms]uint8{phy.Block: block, phy.Long: long, phy.Middle: middle}})
	}
	expect := func(what string, block, long, middle int) {
		t.Helper()
		l, _ := e.limitsOf(p, 1)
		if want := (limits{phy.Plain: 1, phy.Block: block, phy.Long: long, phy.Middle: middle}); l != want {
			t.Errorf("%s: limits %v, want %v", what, l, want)
		}
	}
	ask(3, 4, noMCS)
	expect("two are asked for, nothing is known of the third", 3, 4, 1)
	ask(3, 4, 2)
	expect("all are asked for", 3, 4, 2)
	p.garbled = true
	expect("nothing of its last burst was read", 3, -1, -1)
	p.garbled = false
	ask(0, 0, 0)
	if expect("the path changes", 0, 0, 0); !e.changing(p) {
		t.Error("no change of the path is seen")
	}
	ask(3, 4, 2)
	expect("it is over", 3, 0, 0)
	e.outcome(p, &sentBurst{mode: 1, pieces: make([][]piece, 2)}, 0)
	if expect("a plain burst came through", 3, 0, 0); !e.changing(p) {
		t.Error("the change of the path ends without proof")
	}
	e.outcome(p, &sentBurst{form: phy.Block, pieces: make([][]piece, 1)}, 0)
	if expect("a block came through", 3, 4, 2); e.changing(p) {
		t.Error("the change of the path does not end")
	}
	block := &sentBurst{form: phy.Block, airtime: briefBlock, mode: 3, pieces: make([][]piece, 2)}
	e.outcome(p, block, 2)
	expect("a block was lost, so no long burst either", -1, -1, 2)
	e.outcome(p, &sentBurst{mode: 1, pieces: make([][]piece, 2)}, 0)
	expect("a plain burst came through, a block may", 3, -1, 2)
	e.outcome(p, block, 0)
	expect("a block came through", 3, 4, 2)
	brief := &sentBurst{form: phy.Block, airtime: briefBlock - 1, mode: 3, pieces: make([][]piece, 2)}
	e.outcome(p, brief, 2)
	expect("a brief one was lost, which says nothing of others", 3, 4, 2)
	long := &sentBurst{form: phy.Long, mode: 4, pieces: make([][]piece, 10), blamed: true}
	p.restForm(phy.Long)
	expect("a long one was not answered", 3, -1, 2)
	if e.outcome(p, long, 0); e.changing(p) {
		t.Error("it came through, and the path is taken to change")
	}
	expect("it came through, and only the answer was lost", 3, 4, 2)
	e.outcome(p, block, 2)
	for range restMost {
		e.outcome(p, &sentBurst{mode: 1, pieces: make([][]piece, 2)}, 0)
	}
	ask(2, 4, 1)
	if expect("a block was lost, and none is wanted any longer", 2, 4, 1); e.changing(p) {
		t.Error("the change of the path does not end without a block")
	}
	if ask(0, 4, 1); e.changing(p) {
		t.Error("nor where none is wanted at all")
	}
	ask(0, 0, 0)
	ask(2, 4, 1)
	if expect("the path has changed, and is too bad for blocks", 2, 4, 1); !e.changing(p) {
		t.Error("the change of the path ends without proof")
	}
	if e.outcome(p, &sentBurst{mode: 1, pieces: make([][]piece, 2)}, 0); e.changing(p) {
		t.Error("it does not end with a plain burst where there are no blocks")
	}
	p.tx.want = 2
	if l, _ := e.limitsOf(p, 2); l[phy.Middle] != 2 {
		t.Errorf("middle bursts in mode %d at most, plain ones go in 2", l[phy.Middle])
	}
}

// Brief blocks that are lost rest, the longer the more of them were.
func TestBriefBlocksRest(t *testing.T) {
	e, p := formed(t)
	e.cfg.Airtime = func(b *phy.Burst) time.Duration {
		if e.cfg.Caps.Form(b) == phy.Block {
			return briefBlock / 2
		}
		return 2 * briefBlock
	}
	p.tx.want, p.tx.snr, p.sounded = 1, 20, true
	e.takeForms(p, &control{formed: true, forms: [phy.Forms]uint8{phy.Block: 4, phy.Long: noMCS}})
	other := &sentBurst{mode: 1, pieces: make([][]piece, 2)}
	lay := func() phy.Form { return e.layOut(p, 1, headOctets, 60, false, e.cfg.MaxBurst).form }
	for _, want := range []int{8, 16, 32, 32} {
		if lay() != phy.Block {
			t.Fatal("a small packet does not go as a block")
		}
		e.outcome(p, &sentBurst{form: phy.Block, airtime: briefBlock / 2, mode: 3, pieces: make([][]piece, 2)}, 2)
		n := 0
		for ; lay() != phy.Block && n < 100; n++ {
			e.outcome(p, other, 0)
		}
		if n != want {
			t.Errorf("they rest for %d bursts, want %d", n, want)
		}
	}
	// One that comes through does not make up for that, as many do.
	p.arrived(true)
	if p.restBrief(); p.briefRest != restBriefs {
		t.Errorf("half of them are lost: brief blocks rest for %d bursts, want %d", p.briefRest, restBriefs)
	}
	for range briefMost {
		p.arrived(true)
	}
	p.briefRest = 0
	// An answer that the peer's next report does not know was lost.
	p.bare = bareBurst{open: true, id: 9, form: phy.Block, brief: true}
	e.takeReport(p, &control{kind: unicast, flags: flagReport | flagHeard, peerEpoch: e.cfg.Epoch, newest: 8})
	if p.briefRest != firstRest || p.bare.open {
		t.Errorf("an answer was lost: brief blocks rest for %d bursts, want %d", p.briefRest, firstRest)
	}
	// A question that stays without an answer says so, too, unless it may have met another one.
	for _, c := range []struct {
		rash   bool
		silent int
		want   int
	}{{true, 0, 0}, {true, 1, firstRest}, {false, 0, firstRest}} {
		p.briefRest, p.briefFails = 0, 0
		p.lastForm, p.lastBrief, p.silent, e.access.rash = phy.Block, true, c.silent, c.rash
		if e.silence(p.heard, p); p.briefRest != c.want {
			t.Errorf("question %d stays without an answer, it may have met another %v: brief blocks rest for %d bursts, want %d", c.silent, c.rash, p.briefRest, c.want)
		}
	}
}

// Where brief blocks are lost a small packet goes as a block that is just not brief: its frame is longer than what is in it.
func TestPaddedBlock(t *testing.T) {
	e, p := formed(t)
	plain := time.Second
	e.cfg.Airtime = func(b *phy.Burst) time.Duration {
		if e.cfg.Caps.Form(b) != phy.Block {
			return plain
		}
		d := 24 * time.Millisecond
		for _, f := range b.Frames {
			d += 2 * time.Duration(len(f)) * time.Millisecond
		}
		return d
	}
	p.tx.want, p.tx.snr, p.sounded = 1, 20, true
	e.takeForms(p, &control{formed: true, forms: [phy.Forms]uint8{phy.Block: 4, phy.Long: noMCS}})
	const pending = 60
	lay := func() (layout, time.Duration) {
		l := e.layOut(p, 1, headOctets, pending, false, e.cfg.MaxBurst)
		return l, e.airtime(l.mode, headOctets, l.frames, l.octets)
	}
	if l, d := lay(); l.form != phy.Block || l.padded || !isBrief(l.form, d) {
		t.Errorf("%+v of %v, want a brief block", l, d)
	}
	p.unsteady = true
	if l, d := lay(); !l.padded || isBrief(l.form, d) {
		t.Errorf("the path changed a moment ago: %+v of %v, want a padded block", l, d)
	}
	plain = briefBlock
	if l, d := lay(); !l.padded || isBrief(l.form, d) {
		t.Errorf("the path changed a moment ago, and plain bursts are shorter: %+v of %v, want a padded block", l, d)
	}
	plain = time.Second
	p.unsteady = false
	for _, c := range []struct {
		echoes bool
		took   time.Duration
		want   bool
	}{{true, 2 * briefBlock, true}, {true, 2*briefBlock + 1, false}, {false, time.Second, true}} {
		p.echoes, p.took = c.echoes, c.took
		if l, d := lay(); isBrief(l.form, d) != c.want {
			t.Errorf("echoes %v, an answer to a burst of %v: %+v of %v, want a brief block %v", c.echoes, c.took, l, d, c.want)
		}
	}
	e.takeForms(p, &control{formed: true, forms: [phy.Forms]uint8{phy.Block: noMCS, phy.Long: noMCS}})
	if l, d := lay(); !l.padded || isBrief(l.form, d) {
		t.Errorf("nothing is known of blocks: %+v of %v, want a padded one", l, d)
	}
	p.state = PeerUp
	needs := e.modes[e.blocks].SNRdB + formMargin(phy.Block) + reciprocityMargin
	for _, c := range []struct {
		seen float64
		want bool
	}{{math.NaN(), false}, {needs - 0.1, false}, {needs, true}} {
		p.forms[phy.Block].seen = c.seen
		if l, d := lay(); isBrief(l.form, d) != c.want {
			t.Errorf("nothing is known of blocks, its first bursts foresaw %.1f dB: %+v of %v, want a brief block %v", c.seen, l, d, c.want)
		}
	}
	third := e.newPeer(time.Now(), 9, 1)
	third.state = PeerUp
	if l, d := lay(); !l.padded || isBrief(l.form, d) {
		t.Errorf("nothing is known of blocks among three: %+v of %v, want a padded one", l, d)
	}
	third.state = PeerDown
	p.forms[phy.Block].seen = math.NaN()
	plain = briefBlock + 5*time.Millisecond
	for _, fresh := range []bool{true, false} {
		p.freshSeq = fresh
		if l, d := lay(); l.padded == fresh || isBrief(l.form, d) {
			t.Errorf("nothing is known of blocks, plain bursts take %v, it has read what we sent %v: %+v of %v, want a padded block %v", plain, !fresh, l, d, !fresh)
		}
	}
	plain = time.Second
	e.takeForms(p, &control{formed: true, forms: [phy.Forms]uint8{phy.Block: 4, phy.Long: noMCS}})
	p.restBrief()
	l, d := lay()
	if l.form != phy.Block || !l.padded || l.mode != e.blocks || l.frames != 1 || d < briefBlock || d > briefBlock+20*time.Millisecond {
		t.Errorf("brief blocks rest: %+v of %v, want a padded one in mode %d", l, d, e.blocks)
	}
	burst := e.fill(time.Now(), p, l.mode, headOctets, 0, l)
	if burst != nil {
		t.Fatalf("%d frames of nothing", len(burst.pieces))
	}
	f := p.flow(1)
	pkt := &packet{data: udp(netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), 1, 1, 40)}
	pkt.pending = pkt.pending.add(0, 40)
	p.queue(f, pkt)
	e.queued.Packets++
	e.queued.Octets += len(pkt.data)
	if burst = e.fill(time.Now(), p, l.mode, headOctets, 0, l); burst == nil || len(e.frames) != 1 || len(e.frames[0]) != l.octets {
		t.Errorf("the frame is not as long as was laid out: %d of %d octets", len(e.frames[0]), l.octets)
	}
	p.forms[phy.Block].want = 0
	if l, _ := lay(); l.form != phy.Plain {
		t.Errorf("no blocks are wanted: %+v", l)
	}
	// What has no frames cannot be padded.
	e.cfg.Caps.Form = func(b *phy.Burst) phy.Form {
		if b.MCS < 3 {
			return phy.Plain
		}
		return phy.Block
	}
	p.forms[phy.Block].want, p.briefRest = -1, 0
	if l := e.layOut(p, 1, headOctets, 0, false, e.cfg.MaxBurst); l.mode < e.blocks {
		t.Errorf("nothing is known of blocks, and nothing waits: %+v, want a brief one", l)
	}
}

// Long bursts are asked for in a mode that has come whole, or one for which what they see is enough with some room, however narrow the margin.
func TestLongsDoNotClimb(t *testing.T) {
	e, p := formed(t)
	table := slices.Clone(e.modes)
	for i := range table {
		table[i].SNRdB = 10 + float64(i)
	}
	e.modes = table
	s := &p.forms[phy.Long]
	s.rx.snr, s.rx.margin = 30, 0
	hears := func(mode phy.MCS, lost int, snr float64) {
		ev := &phy.Event{Kind: phy.Received, Burst: phy.Burst{MCS: mode}}
		for i := range 20 {
			var f []byte
			if i >= lost {
				f = make([]byte, 8)
			}
			ev.Burst.Frames = append(ev.Burst.Frames, f)
		}
		ev.Quality = phy.Quality{Form: phy.Long, SNRs: [phy.Forms]float64{phy.Plain: math.NaN(), phy.Block: 30, phy.Long: snr, phy.Middle: math.NaN()}}
		e.hearForms(p, ev)
		s.rx.snr, s.rx.margin = 30, 0 // as much as may be
	}
	wish := func() int { return e.modes.index(phy.MCS(e.formWish(p, phy.Long))) }
	if got := wish(); got != 4 {
		t.Errorf("none has come: mode %d, want 4", got)
	}
	for i, c := range []struct {
		mode phy.MCS
		lost int
		snr  float64
		want int
	}{
		{2, 0, 12 + climbLead, 2},
		{2, 0, 13 + climbLead, 3},
		{3, 0, 13, 3}, // it came
		{3, 1, 13, 2}, // not this time, and so did the one before
		{3, 1, 14 + climbLead, 4},
		{4, 20, 30, 4}, // nothing was read: that was not the mode
		{4, 5, 10 + climbLead, 2},
		{2, 5, 10 + climbLead, 1},
		{1, 5, 10 + climbLead, 0},
	} {
		if hears(c.mode, c.lost, c.snr); wish() != c.want {
			t.Errorf("step %d: mode %d, want %d", i, wish(), c.want)
		}
	}
}

// Who is asked for blocks, or long bursts, in a mode that has none sends those of the first that has, if it needs hardly more; but no brief block.
func TestFirstOfForm(t *testing.T) {
	e, p := formed(t)
	for i, want := range []int{0, 0, 0, 3} { // ten frames make one
		if long := want == 3; long != (i >= e.longs) {
			t.Errorf("long bursts from mode %d on, want 3", e.longs)
		}
	}
	e.blocks, e.longs, e.modes = 4, 4, slices.Clone(e.modes)
	e.modes[3].SNRdB = e.modes[4].SNRdB - formLack + 0.1
	e.takeForms(p, &control{formed: true, forms: [phy.Forms]uint8{phy.Block: 3, phy.Long: noMCS}})
	if l := e.layOut(p, 1, headOctets, 40, false, time.Second); isBrief(l.form, e.airtime(l.mode, headOctets, l.frames, l.octets)) {
		t.Errorf("asked for blocks in a mode that has none, and a brief block was sent: %+v", l)
	}
	for _, c := range []struct {
		lack       float64
		rest, want int
	}{{formLack - 0.1, 0, 4}, {formLack, 0, 3}, {formLack - 0.1, 1, -1}} {
		e.modes[3].SNRdB = e.modes[4].SNRdB - c.lack
		e.takeForms(p, &control{formed: true, forms: [phy.Forms]uint8{phy.Block: 3, phy.Long: 3}})
		for _, f := range []phy.Form{phy.Block, phy.Long} {
			p.forms[f].rest = c.rest
			if l, _ := e.limitsOf(p, 1); l[f] != c.want {
				t.Errorf("%.1f dB less, rest %d: form %d in mode %d, want %d", c.lack, c.rest, f, l[f], c.want)
			}
		}
	}
}

// Where the path seems to change no mode is used whose bursts last long, for as many bursts as
// a hand that carries a station may take; and then they are, as it may be noise after all.
func TestStaysLively(t *testing.T) {
	e, p := formed(t)
	e.lively = 3
	p.tx.want = 1
	lost := &sentBurst{mode: 3, pieces: make([][]piece, 2)}
	if got := e.sendMode(p); got != 1 {
		t.Errorf("mode %d, want the one asked for", got)
	}
	p.unsteady = true
	for i := range vainMost {
		if got := e.sendMode(p); got != e.lively {
			t.Errorf("%d bursts were lost where the path changes: mode %d, want %d", i, got, e.lively)
		}
		e.outcome(p, lost, 2)
	}
	if got := e.sendMode(p); got != 1 {
		t.Errorf("%d bursts were lost: mode %d, want the one asked for", vainMost, got)
	}
	e.outcome(p, &sentBurst{mode: 1, pieces: make([][]piece, 2)}, 0)
	if got := e.sendMode(p); got != 1 {
		t.Errorf("a burst in a slow mode came through: mode %d, want the one asked for", got)
	}
	e.outcome(p, lost, 0)
	if p.unsteady = true; e.sendMode(p) != e.lively {
		t.Errorf("one in mode %d came through: mode %d, want that", e.lively, e.sendMode(p))
	}
}

// The first plain burst with data tells what more of them would see; and the queue
// is kept as long as a long burst, if those are wanted.
func TestFormsLayOut(t *testing.T) {
	e, p := formed(t)
	p.tx.want, p.tx.snr = 1, 20
	e.takeForms(p, &control{formed: true, forms: [phy.Forms]uint8{phy.Block: 4, phy.Long: noMCS}})
	if got := e.layOut(p, 1, headOctets, 4000, false, e.cfg.MaxBurst); got.form != phy.Plain || got.mode != 1 {
		t.Errorf("the first burst with more than fits: %+v, want a plain one in mode 1", got)
	}
	p.echoes = true
	if got := e.layOut(p, 1, headOctets, 4000, false, e.cfg.MaxBurst); got.form != phy.Block || got.mode != 4 {
		t.Errorf("plain ones see nothing but echoes: %+v, want a block in mode 4", got)
	}
	p.echoes, p.sounded = false, true
	if got := e.layOut(p, 1, headOctets, 4000, false, e.cfg.MaxBurst); got.form != phy.Block || got.mode != 4 {
		t.Errorf("the next one: %+v, want a block in mode 4", got)
	}
	airtime := func(l layout) time.Duration { return e.airtime(l.mode, headOctets, l.frames, l.octets) }
	e.takeForms(p, &control{formed: true, forms: [phy.Forms]uint8{phy.Block: 0, phy.Long: noMCS}})
	if got := e.layOut(p, 1, headOctets, 4000, false, e.cfg.MaxBurst); got.form != phy.Plain || airtime(got) > e.cfg.MaxBurst/4 {
		t.Errorf("no blocks are wanted: %+v of %v, want at most %v", got, airtime(got), e.cfg.MaxBurst/4)
	}
	e.takeForms(p, &control{formed: true, forms: [phy.Forms]uint8{phy.Block: 4, phy.Long: noMCS}})
	if d := e.pace(p).target; d >= e.cfg.longBurst {
		t.Errorf("target %v without long bursts", d)
	}
	e.takeForms(p, &control{formed: true, forms: [phy.Forms]uint8{phy.Block: 4, phy.Long: 4}})
	if d := e.pace(p).target; d < e.cfg.longBurst {
		t.Errorf("target %v, a long burst takes %v", d, e.cfg.longBurst)
	}
	if got := e.layOut(p, 1, headOctets, 40000, false, e.cfg.MaxBurst); got.form != phy.Long || got.mode != 4 {
		t.Errorf("much waits: %+v, want a long burst in mode 4", got)
	}
}

// A question without an answer is no reason to do without blocks once a report tells that a later burst was heard.
func TestHeardAfterSilence(t *testing.T) {
	for _, c := range []struct {
		name   string
		newest uint8
		asked  bool
		silent int
	}{{"it was heard", 5, false, 0}, {"it was not", 4, false, 1}, {"the answer is awaited", 5, true, 1}} {
		e, p := formed(t)
		p.silent, p.bare, p.question.open = 1, bareBurst{open: true, id: 5}, c.asked
		e.takeReport(p, &control{kind: unicast, flags: flagReport | flagHeard, peerEpoch: e.cfg.Epoch, newest: c.newest})
		if p.silent != c.silent {
			t.Errorf("%s: silent %d, want %d", c.name, p.silent, c.silent)
		}
	}
}

// Where plain bursts bring next to nothing a long burst goes though little waits:
// as many frames as make one.
func TestLongBurstFilledUp(t *testing.T) {
	e, p := formed(t)
	p.tx.want, p.tx.snr, p.sounded = 0, 20, true
	e.takeForms(p, &control{formed: true, forms: [phy.Forms]uint8{phy.Block: noMCS, phy.Long: 4, phy.Middle: 0}})
	p.forms[phy.Block].rest = 1
	if got := e.layOut(p, 0, headOctets, 700, false, e.cfg.MaxBurst); got.form != phy.Long || got.frames != 10 {
		t.Errorf("700 octets wait: %+v, want a long burst of 10 frames", got)
	}
}

// Who could end what it has in a burst that is long beside the other's, which has more, leaves a third.
func TestLeavesSome(t *testing.T) {
	e, p := formed(t)
	now := time.Unix(0, 0)
	p.state, p.more, p.heard = PeerUp, true, now
	e.peers = []*peer{p}
	l := layout{mode: 1, frames: 30, octets: 60}
	d, _ := e.shapeOf(l.mode, headOctets, l.frames, l.octets)
	if d <= openingBurst {
		t.Fatalf("the burst takes %v", d)
	}
	for _, c := range []struct {
		what    string
		more    bool
		opening bool
		polled  int
		silent  int
		took    time.Duration
		pending int
		want    int
	}{
		{"the other's was as long", true, false, 0, 0, d, 1500, 30},
		{"the other's was short", true, false, 0, 0, 0, 1500, 20},
		{"more is pending than that", true, false, 0, 0, 0, 5000, 30},
		{"the other has nothing", false, false, 0, 0, 0, 1500, 30},
		{"it may have come to want as much", false, true, 0, 0, 0, 1500, 20},
		{"it only asked, and may have since then", false, false, 1, 0, 0, 1500, 20},
		{"ours may have met one of its own", false, false, 0, 1, 0, 1500, 20},
	} {
		p.more, p.took, p.polled, p.silent = c.more, c.took, c.polled, c.silent
		e.access.with, e.access.initiator, e.access.opening = p, false, c.opening
		limit := e.fair(now, p, 0)
		got := l
		if limit > 0 {
			got = e.leaveSome(l, headOctets, c.pending, limit)
		}
		if got.frames != c.want {
			t.Errorf("%s: %d frames of %d, want %d", c.what, got.frames, l.frames, c.want)
		}
	}

	p.polled, p.silent = 0, 0
	q := &peer{address: 9, state: PeerUp, heard: now}
	e.peers = append(e.peers, q)
	for _, c := range []struct {
		what string
		ours bool
		more bool
		cost time.Duration
		want time.Duration
	}{
		{"a third wants the floor", true, true, 0, firstBurst},
		{"an exchange costs much", true, true, d, d},
		{"nobody wants the floor", true, false, d, 0},
		{"it is not our turn", false, true, d, 0},
	} {
		p.more, q.more = false, c.more
		e.access.with, e.access.initiator, e.access.opening = p, c.ours, false
		if got := e.fair(now, p, c.cost); got != c.want {
			t.Errorf("%s: at most %v, want %v", c.what, got, c.want)
		}
	}

	// What was left is for the next turn: that of others is before it.
	q.more, q.poll, q.heard = true, true, now
	e.access = access{with: p, since: now, initiator: true, floor: floor{opened: now}}
	for left, want := range map[bool]uint16{false: e.address, true: q.address} {
		e.control = control{kind: unicast, data: 1}
		if e.passFloor(now, p, l.mode, 0, left); e.control.next != want {
			t.Errorf("some was left %v: the burst names %d, want %d", left, e.control.next, want)
		}
	}
}

// A burst that names the next speaker is no longer than it was meant to be, whatever an octet of the control block takes.
func TestRoomForTheNext(t *testing.T) {
	named := 0
	for tenths := range 200 { // of a millisecond, an octet
		m := newMedium(t, testSeed)
		m.table = quickModes()
		m.took = func(b *phy.Burst) time.Duration {
			return modelAirtime(m.table)(b) + time.Duration(len(b.Control)*tenths)*time.Millisecond/10
		}
		n, other := m.add("alpha", nil), m.add("beta", nil)
		m.add("gamma", nil)
		m.meet()
		m.run(30*time.Second, nil)
		e, p := n.engine, n.engine.peerNamed("beta")
		for number := range 20 {
			if err := e.EnqueuePacket(m.now, ipv4(protoTCP, n.addr, other.addr, 80, number, 1280)); err != nil {
				t.Fatal(err)
			}
		}
		e.beginTurn(m.now, p)
		e.access.since = m.now.Add(-e.cfg.MaxExchange)
		budget := e.budget(m.now, p, e.sendMode(p), headOctets+reportOctets+nextOctets)
		var dst phy.Burst
		if !e.buildUnicast(m.now, p, false, free, false, &dst) {
			t.Fatal("no burst")
		}
		if c := blockOf(&dst); c.next != 0 && c.data > 1 {
			if named++; m.took(&dst) > budget {
				t.Errorf("a burst of %v, it was to take at most %v", m.took(&dst), budget)
			}
		}
	}
	if named < 50 {
		t.Errorf("%d bursts named the next speaker", named)
	}
}

// The answer that ends a turn takes along what is small, and asks for nothing;
// what is not small waits for the next turn.
func TestLastAnswer(t *testing.T) {
	for _, c := range []struct {
		octets int
		data   uint8
	}{{40, 1}, {1000, 0}} {
		m := newMedium(t, testSeed)
		a, b := m.add("alpha", nil), m.add("beta", nil)
		m.meet()
		e := a.engine
		m.run(10*time.Second, func() bool { return !e.current.active && e.access.asked == nil })
		p := e.peerNamed("beta")
		access := &e.access
		access.with, access.initiator, access.since = p, true, m.now.Add(-time.Hour)
		if err := e.EnqueuePacket(m.now, udp(a.addr, b.addr, 1, 1, c.octets)); err != nil {
			t.Fatal(err)
		}
		access.owed, access.owedAt = p, m.now
		var burst phy.Burst
		var got control
		if !e.NextBurst(m.now, &burst) || !got.parse(burst.Control) {
			t.Fatalf("%d octets: no answer", c.octets)
		}
		if got.flags&(flagAnswer|flagWanted) != flagAnswer || got.data != c.data {
			t.Errorf("%d octets: flags %#x, %d frames; want an answer that wants none, %d frames", c.octets, got.flags, got.data, c.data)
		}
	}
}

// An answer waits until the echoes of what it answers have faded, as far as the
// turnaround does not give them the time.
func TestFading(t *testing.T) {
	m := newMedium(t, testSeed)
	e := m.add("alpha", nil).engine
	p := e.newPeer(m.now, 7, 1)
	for _, c := range []struct {
		spread float64 // s
		want   time.Duration
	}{
		{math.NaN(), 0}, {0, 0}, {0.009, 0}, {0.016, 0},
		{0.034, 114*time.Millisecond - e.told},
		{5, maxFading - e.told},
	} {
		e.signOfLife(m.now, p, &phy.Event{Kind: phy.Received, Quality: phy.Quality{SNR: math.NaN(), DelaySpread: c.spread}}, false)
		p.gaps = shortest{}
		p.gaps.note(m.now, maxFading+reading+hostTurn) // it waits, too
		e.oweAnswer(m.now, p, 0, time.Second)
		if got := e.access.owedAt.Sub(m.now); (got - c.want).Abs() > time.Microsecond {
			t.Errorf("delay spread %g s: the answer waits %v, want %v", c.spread, got, c.want)
		}
	}
}

// So it does in a room in which blocks see much more than plain bursts, and where blocks were lost: who
// hears nothing but short bursts does not know how long echoes last.
func TestFadingOfEchoes(t *testing.T) {
	e, p := formed(t)
	expect := func(what string, want time.Duration) {
		t.Helper()
		if got := e.fading(p); got != max(0, want-e.turnaround()) {
			t.Errorf("%s: %v, want %v less than the turnaround", what, got, want)
		}
	}
	expect("nothing is known", 0)
	asks := func(snr float64, mode uint8) {
		p.tx.snr = snr
		e.takeForms(p, &control{formed: true, forms: [phy.Forms]uint8{phy.Block: mode, phy.Long: mode}})
	}
	asks(15, 4)
	expect("blocks see 6 dB more", 0)
	asks(5, 4)
	expect("blocks see 16 dB more, but plain bursts enough", 0)
	asks(-1, 4)
	expect("blocks see 22 dB more", echoFading)
	asks(15, 0)
	expect("the path changes", echoFading)
	asks(15, 4)
	expect("nothing has shown that it does not", echoFading)
	e.outcome(p, &sentBurst{form: phy.Block, mode: 4, pieces: make([][]piece, 1)}, 0)
	asks(15, 4)
	expect("a block has", 0)

	p.spreads[0] = 0.01
	p.restForm(phy.Block)
	expect("a block was lost where echoes are short", 0)
	p.spreads[0] = 0.02
	p.restForm(phy.Plain)
	expect("a plain burst was lost", 0)
	p.restForm(phy.Block)
	expect("a block was lost", leastHush)
	p.restBrief()
	expect("two were", 2*leastHush)
	for range 5 {
		p.restBrief()
	}
	expect("many were", maxFading)
}

// The clock of an end that is moved runs fast and slow: while it does blocks and long bursts are not
// sent, and one block shows when it is over. Another clock is none that varies.
func TestMovedClock(t *testing.T) {
	e, p := formed(t)
	e.takeForms(p, &control{formed: true, forms: [phy.Forms]uint8{phy.Block: 3, phy.Long: 4, phy.Middle: 2}})
	expect := func(ppm float64, want limits) {
		t.Helper()
		e.hearClock(p, ppm)
		if l, _ := e.limitsOf(p, 1); l != want {
			t.Errorf("%g ppm: limits %v, want %v", ppm, l, want)
		}
	}
	all := limits{phy.Plain: 1, phy.Block: 3, phy.Long: 4, phy.Middle: 2}
	none := limits{phy.Plain: 1, phy.Block: -1, phy.Long: -1, phy.Middle: -1}
	expect(math.NaN(), all)
	expect(60, all)
	expect(30, all)
	p.restForm(phy.Block)
	expect(1100, none)
	expect(-300, none)
	block := &sentBurst{form: phy.Block, airtime: briefBlock, mode: 3, pieces: make([][]piece, 1)}
	e.outcome(p, block, 0) // of before the motion
	if expect(math.NaN(), none); !e.changing(p) {
		t.Error("no change of the path is seen")
	}
	expect(70, limits{phy.Plain: 1, phy.Block: 3, phy.Long: 0, phy.Middle: 0})
	plain := &sentBurst{mode: 1, pieces: make([][]piece, 2)}
	e.outcome(p, plain, 0) // what was sent before
	expect(60, limits{phy.Plain: 1, phy.Block: 3, phy.Long: 0, phy.Middle: 0})
	e.outcome(p, block, 0)
	expect(40, all)
	if e.changing(p) {
		t.Error("the change of the path does not end")
	}
	expect(400, none)
	expect(410, none) // two agree by chance
	expect(390, limits{phy.Plain: 1, phy.Block: 3, phy.Long: 0, phy.Middle: 0})
	if p.clock != 390 {
		t.Errorf("its clock is taken to be %g ppm fast, want 390", p.clock)
	}
}

// The first long burst elsewhere is asked for in the first mode that has any, whatever came, or was lost, before.
func TestFirstLongElsewhere(t *testing.T) {
	e, p := formed(t)
	s := &p.forms[phy.Long]
	s.rx.snr, s.rx.margin, s.saw, s.proven = e.modes[4].SNRdB+formMargin(phy.Long), maxMargin, 30, 4
	for i, ppm := range []float64{60, 1100, 60} {
		e.hearClock(p, ppm)
		if got, want := e.modes.index(phy.MCS(e.formWish(p, phy.Long))) == e.longs && s.rx.margin == formMargin(phy.Long), i == 2; got != want {
			t.Errorf("%g ppm: mode %d is asked for, margin %.1f dB; mode %d and %.1f dB %v, want %v", ppm, e.formWish(p, phy.Long), s.rx.margin, e.longs, formMargin(phy.Long), got, want)
		}
	}
}

// Who hears first that it is over does not wait until the other one asks for a block: that heard the motion last. One is tried;
// then what is asked for counts again.
func TestBlockWhenCalmed(t *testing.T) {
	e, p := formed(t)
	asks := func(ppm float64, block uint8) (int, bool) {
		e.hearClock(p, ppm)
		e.takeForms(p, &control{formed: true, forms: [phy.Forms]uint8{phy.Block: block}})
		l, trial := e.limitsOf(p, 1)
		return l[phy.Block], trial
	}
	p.tx.snr = e.modes[e.blocks].SNRdB - trialLack - 1 // what the other one saw in motion says nothing
	for i, c := range []struct {
		ppm   float64
		block uint8
		want  int
		trial bool
	}{
		{60, 4, 4, false},
		{1100, 0, -1, false},
		{-60, 0, -1, false}, // 120 ppm off what is usual
		{70, 0, 3, true},    // it is over here
		{65, 0, 0, false},   // no second one unless it asks
		{60, 4, 4, false},
		{900, 4, -1, false},
		{60, 2, 2, false}, // it knows
	} {
		if got, trial := asks(c.ppm, c.block); got != c.want || trial != c.trial {
			t.Errorf("step %d, %g ppm: block in mode %d, a trial %v, want %d, %v", i, c.ppm, got, trial, c.want, c.trial)
		}
	}
}

// backlogged is a station with FQ-CoDel, a peer for which twenty packets wait, and the time.
func backlogged(t *testing.T, edit func(*Config)) (*Engine, *peer, time.Time) {
	t.Helper()
	m := newMedium(t, testSeed)
	a, b := m.add("alpha", edit), m.add("beta", edit)
	m.meet()
	e := a.engine
	e.cfg.Queue = FQCoDel
	m.run(10*time.Second, func() bool { return !e.current.active && e.access.asked == nil })
	for i := range 20 {
		if err := e.EnqueuePacket(m.now, udp(a.addr, b.addr, 1, i, 500)); err != nil {
			t.Fatal(err)
		}
	}
	return e, e.peerNamed("beta"), m.now
}

// What waited while questions stayed unanswered, and bursts were lost whole, did not wait because its sender was too fast.
func TestCoDelWaitsForWhatIsLost(t *testing.T) {
	for _, c := range []struct {
		name string
		lose func(e *Engine, p *peer, now time.Time)
		want bool // that nothing is dropped
	}{
		{"nothing is lost", func(*Engine, *peer, time.Time) {}, false},
		{"no answer comes", func(e *Engine, p *peer, now time.Time) {
			p.heard = now
			e.silence(now, p)
			p.silent, p.unheard, p.unsteady = 0, 0, false
		}, true},
		{"bursts are lost whole", func(e *Engine, p *peer, now time.Time) {
			p.heard = now
			e.outcome(p, &sentBurst{pieces: make([][]piece, 3)}, 3)
		}, true},
		{"bursts are lost in part", func(e *Engine, p *peer, now time.Time) {
			p.heard = now
			e.outcome(p, &sentBurst{pieces: make([][]piece, 3)}, 2)
		}, false},
	} {
		e, p, now := backlogged(t, nil)
		before := e.stats.Queue.Dropped
		for end := now.Add(20 * time.Second); now.Before(end); now = now.Add(100 * time.Millisecond) {
			c.lose(e, p, now)
			e.nextPacket(now, p)
		}
		if n := e.stats.Queue.Dropped - before; (n == 0) != c.want {
			t.Errorf("%s: %d packets were dropped", c.name, n)
		}
	}
}

// What waits because an end is moved is no queue that a sender built: CoDel counts from the end of it.
func TestCoDelWaitsForTheEndOfMotion(t *testing.T) {
	e, p, now := backlogged(t, withForms)
	drops := func(d time.Duration) uint64 {
		before := e.stats.Queue.Dropped
		for end := now.Add(d); now.Before(end); now = now.Add(100 * time.Millisecond) {
			e.nextPacket(now, p)
		}
		return e.stats.Queue.Dropped - before
	}
	p.swings = true
	if n := drops(20 * time.Second); n > 0 {
		t.Errorf("%d packets were dropped while an end was moved", n)
	}
	p.swings, p.unsteady = false, false
	if n := drops(min(e.pace(p).target, time.Second)); n > 0 {
		t.Errorf("%d packets were dropped right after", n)
	}
	if n := drops(20 * time.Second); n == 0 {
		t.Error("nothing was dropped of what waited for long where nobody moved")
	}
}

// Who was not answered once asks for no block, as the answer may have been one. That is no path that changes,
// and no reason against long bursts; after several it may be.
func TestWishAfterSilence(t *testing.T) {
	for silent, want := range [][phy.Forms]bool{{phy.Block: true, phy.Long: true, phy.Middle: true}, {phy.Long: true, phy.Middle: true}, {}} {
		e, p := formed(t)
		for range 3 {
			p.hears(e, phy.Block, 2, 0, 22, 27, math.NaN())
		}
		p.silent = silent
		var got [phy.Forms]bool
		for f := phy.Block; f < phy.Forms; f++ {
			got[f] = e.modes.index(phy.MCS(e.formWish(p, f))) > 0
		}
		if got != want {
			t.Errorf("%d questions without an answer: forms wanted %v, want %v", silent, got, want)
		}
	}
}

// What had room while bursts were long keeps it while an end is moved, as long as it would for a station that
// is gone; then what waits is bounded by what the path carries.
func TestRoomWhileMoved(t *testing.T) {
	e, p := formed(t)
	e.modes, e.cfg.QueueOctets = slices.Clone(e.modes), 256<<10
	e.modes[3].NetBPS, e.modes[4].NetBPS = 45e3, 60e3
	p.tx.want, p.tx.snr = 0, 20
	asks := func(mode uint8) {
		e.takeForms(p, &control{formed: true, forms: [phy.Forms]uint8{phy.Block: mode, phy.Long: mode, phy.Middle: 0}})
	}
	asks(4)
	now := time.Now()
	e.roomFor(now.Add(-time.Minute), p)
	asks(3)
	if got, want := e.roomFor(now, p), bound(45e3, longsWaiting*e.cfg.longBurst, e.cfg.QueueOctets); got != want {
		t.Errorf("a slower mode of long bursts: room for %d octets, want %d", got, want)
	}
	asks(4)
	still := e.roomFor(now, p)
	if want := bound(e.modes[4].NetBPS, longsWaiting*e.cfg.longBurst, e.cfg.QueueOctets); still != want {
		t.Errorf("room for %d octets while all lies still, want %d", still, want)
	}
	p.swings = true
	least := bound(e.rate(p), e.patience(), e.cfg.QueueOctets)
	if least >= still {
		t.Fatalf("carried, the path carries as much: %d and %d octets", least, still)
	}
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{0, still}, {holdFor - 1, still}, {holdFor, still}, {2*holdFor - 1, still}, {2 * holdFor, least}, {2*holdFor + time.Second, least}} {
		if got := e.roomFor(now.Add(c.after), p); got != c.want {
			t.Errorf("carried for %v: room for %d octets, want %d", c.after, got, c.want)
		}
	}
	p.swings = false
	if got := e.roomFor(now.Add(time.Hour), p); got != still {
		t.Errorf("put down: room for %d octets, want %d", got, still)
	}
}

// A middle burst that was not read says nothing of the path: where long bursts go none follows it that could
// show that it was chance.
func TestMiddleBurstsTellNothing(t *testing.T) {
	for f, want := range []bool{phy.Plain: false, phy.Block: true, phy.Long: true, phy.Middle: false} {
		e, p := formed(t)
		p.tx.want, p.tx.snr = 1, 20
		e.outcome(p, &sentBurst{form: phy.Form(f), airtime: time.Second, mode: 3, pieces: make([][]piece, 2)}, 2)
		if got := e.changing(p); got != want {
			t.Errorf("a burst of form %d was not read: the path changes %v, want %v", f, got, want)
		}
	}
}

// An answer goes in a mode in which its head is read all the same; where others are there they have to read it as well.
func TestHeadLead(t *testing.T) {
	e, p := formed(t)
	e.modes[2].SNRdB = e.modes[1].SNRdB + (headLead+openLead)/2
	p.tx.want, p.tx.snr = 1, 20
	mode := func() int { return e.layOut(p, 1, headOctets, 0, false, e.cfg.MaxBurst).mode }
	if got := mode(); got != 2 {
		t.Errorf("two stations: mode %d, want 2", got)
	}
	e.newPeer(time.Now(), 8, 1)
	if got := mode(); got != 1 {
		t.Errorf("three stations: mode %d, want 1", got)
	}
}

// A long burst that is lost whole because an end is moved: plain ones are wanted in
// the mode that the modem would like, until the path is as it was; no shorter burst that
// noise could have hit as well changes that.
func TestMovedEnd(t *testing.T) {
	for _, c := range []struct {
		name string
		form phy.Form
		lost int // frames of 12
		want bool
	}{
		{"a long burst, all of it", phy.Long, 12, true},
		{"a middle burst, all of it", phy.Middle, 12, true},
		{"a long burst, half of it", phy.Long, 6, false},
		{"a plain burst, all of it", phy.Plain, 12, false},
	} {
		e, p := formed(t)
		for range 3 {
			p.hears(e, phy.Block, 2, 0, 22, 27, math.NaN())
			p.hears(e, phy.Plain, 0, 0, 21, 26, math.NaN())
		}
		p.rx.heard(20, exact)
		usual, _ := e.plainWish(p)
		p.hears(e, c.form, 12, c.lost, -9, -10, math.NaN())
		p.suits = 1
		if usual == p.suits {
			t.Fatalf("mode %d is wanted anyway", usual)
		}
		if got, _ := e.plainWish(p); (got == p.suits) != c.want {
			t.Errorf("%s: mode %d is wanted, the modem would like %d: want that %v", c.name, got, p.suits, c.want)
		}
		p.hears(e, phy.Plain, 4, 0, 21, 26, 0)
		if got, _ := e.plainWish(p); got != usual {
			t.Errorf("%s, and it is over: mode %d is wanted, want %d", c.name, got, usual)
		}
	}
}

// The only other station's answer that could not be read is not waited for.
func TestMissedAnswer(t *testing.T) {
	for others := 1; others <= 2; others++ {
		e, p := formed(t)
		if others == 2 {
			e.newPeer(p.heard, 8, 1)
		}
		now := p.heard.Add(time.Second)
		e.ask(now, p, 1, 0)
		e.access.asked = p
		if now = now.Add(100 * time.Millisecond); !p.question.answerBy.After(now) {
			t.Fatalf("nothing is waited for after %v", now.Sub(p.question.asked))
		}
		e.HandleEvent(now, &phy.Event{Kind: phy.Missed, Quality: phy.Quality{SNR: math.NaN()}})
		e.tick(now)
		if got, want := p.question.open, others == 2; got != want {
			t.Errorf("%d others, a burst could not be read: an answer is waited for %v, want %v", others, got, want)
		}
	}
}

// An answer is waited for as long as it takes in the mode that was asked for; where the path changes that is none of the slowest,
// and where blocks are asked for a block's.
func TestAnswerWhileMoved(t *testing.T) {
	e, p := formed(t)
	e.lively = 3
	p.rx.heard(-20, exact)
	waits := func() time.Duration {
		now := p.heard
		e.ask(now, p, 1, 0)
		return p.question.answerBy.Sub(now)
	}
	still := waits()
	for _, c := range []struct {
		what            string
		swings, changes bool
		mode            int
	}{{"nobody moves", false, false, 0}, {"an end is moved", true, false, 4}, {"one was", false, true, 3}} {
		p.swings, p.unsteady, p.suits = c.swings, c.changes, 4
		if got, want := waits(), still-e.answerAirtime(0)+e.answerAirtime(c.mode); got != want {
			t.Errorf("%s: %v, want %v", c.what, got, want)
		}
	}
	p.swings, p.unsteady = false, false
	p.hears(e, phy.Block, 2, 0, 22, 27, math.NaN())
	if got, want := waits(), still-e.answerAirtime(0)+e.answerAirtime(4); got != want {
		t.Errorf("a block is asked for: %v, want %v", got, want)
	}
}

// What was not answered where the path has changed is asked for, and not repeated: what came tells that this is over.
func TestAsksAfterMotion(t *testing.T) {
	for _, unsteady := range []bool{false, true} {
		e, p := formed(t)
		p.unsteady = unsteady
		p.outstanding = []*sentBurst{{form: phy.Block, mode: 3}}
		if e.repeatSome(p); p.poll != unsteady {
			t.Errorf("the path has changed %v: it is asked %v", unsteady, p.poll)
		}
	}
}
