package link

import (
	"math"
	"testing"
	"time"

	"lightsong/phy"
)

// duplexModes are as close to one another as those of a lead.
func duplexModes() (table []phy.Mode) {
	for i := range 8 {
		table = append(table, phy.Mode{MCS: phy.MCS(i), NetBPS: 40000 * math.Pow(1.1, float64(i)), SNRdB: 15 + 1.2*float64(i), FrameOctets: 512})
	}
	return table
}

// TestDuplexBudget: on a full-duplex medium a burst is so long that what it costs
// besides its frames is a sixteenth, within 0.25 to 0.7 of the longest one; and
// shorter while somebody types. Frames get as much as the rest.
func TestDuplexBudget(t *testing.T) {
	for _, tt := range []struct{ cost, bulk, typing time.Duration }{
		{2 * time.Millisecond, 500 * time.Millisecond, 150 * time.Millisecond},
		{25 * time.Millisecond, 500 * time.Millisecond, 275 * time.Millisecond},
		{54 * time.Millisecond, 864 * time.Millisecond, 500 * time.Millisecond},
		{200 * time.Millisecond, 1400 * time.Millisecond, 600 * time.Millisecond},
		{600 * time.Millisecond, 1400 * time.Millisecond, 1400 * time.Millisecond},
	} {
		m := newMedium(t, testSeed)
		m.duplex, m.cost, m.table = true, tt.cost, duplexModes()
		a, b := m.add("alpha", nil), m.add("beta", nil)
		m.meet()
		p := a.engine.peerAt(b.engine.address)
		m.send(a, ipv4(protoTCP, a.addr, b.addr, 1000, 0, 1200)) // what others wait for
		p.interactive = time.Time{}
		bulk := a.engine.budget(m.now, p, 0, headOctets)
		p.interactive = m.now
		if typing := a.engine.budget(m.now, p, 0, headOctets); bulk != tt.bulk || typing != tt.typing {
			t.Errorf("without frames %v: bursts of %v, %v while somebody types; want %v, %v", tt.cost, bulk, typing, tt.bulk, tt.typing)
		}
	}
}

// TestDuplexAnswersCarry: where both ways are open no turn ends, and an answer takes
// along what waits, however long both have been sending.
func TestDuplexAnswersCarry(t *testing.T) {
	m := newMedium(t, testSeed)
	m.duplex, m.cost, m.table = true, 25*time.Millisecond, duplexModes()
	a, b := m.add("alpha", nil), m.add("beta", nil)
	m.meet()
	bursts, bare := 0, 0
	for _, n := range []*node{a, b} {
		n.observe = func(_ time.Time, burst *phy.Burst) {
			if bursts++; len(burst.Frames) == 0 {
				bare++
			}
		}
	}
	const count = 200
	for i := range count {
		m.send(a, ipv4(protoTCP, a.addr, b.addr, 1000, i, 1200))
		m.send(b, ipv4(protoTCP, b.addr, a.addr, 1000, i, 1200))
	}
	if took := 4 * a.engine.cfg.MaxExchange; m.run(took, func() bool { return len(a.got) == count && len(b.got) == count }) {
		t.Errorf("all packets came within %v: it must take longer than an exchange may", took)
	}
	if bare > bursts/20 {
		t.Errorf("%d of %d bursts carried nothing, though there was something to send", bare, bursts)
	}
}

// TestDuplexOvershoot: the bursts that are on their way when a mode turns out to be too
// fast are lost with the first, and tell nothing new: the link falls back by one mode, not
// as far as four losses in a row suggest.
func TestDuplexOvershoot(t *testing.T) {
	const tooFast = 4 // although the SNR would do
	m := newMedium(t, testSeed)
	m.duplex, m.cost, m.table = true, 25*time.Millisecond, duplexModes()
	m.heard = func(n *node, b *phy.Burst) phy.Event {
		got := phy.Burst{MCS: b.MCS, Control: b.Control, Frames: append([][]byte{}, b.Frames...)}
		if b.MCS >= tooFast {
			clear(got.Frames)
		}
		return phy.Event{Kind: phy.Received, Burst: got, Quality: phy.Quality{SNR: m.table[tooFast].SNRdB + 0.6}}
	}
	a, b := m.add("alpha", nil), m.add("beta", nil)
	m.meet()
	reached, slowest, last := false, len(m.table), 0
	a.observe = func(_ time.Time, burst *phy.Burst) {
		if len(burst.Frames) < 4 {
			return // so little goes in any mode
		}
		mode := int(burst.MCS)
		if reached = reached || mode >= tooFast; reached {
			slowest, last = min(slowest, mode), mode
		}
	}
	for i := range 2000 {
		m.send(a, ipv4(protoTCP, a.addr, b.addr, 1000, i, 1200))
	}
	m.run(time.Minute, nil)
	if !reached || slowest < tooFast-2 || last < tooFast-1 {
		t.Errorf("mode %d was tried: %v; afterwards not below %d, in the end %d; want %d and %d", tooFast, reached, slowest, last, tooFast-2, tooFast-1)
	}
}

// TestDuplexSteady: a mode that the table does not promise is found to be too fast once. Small
// packets beside the bulk, which go in a slow mode whose few known values cannot tell more
// than 30 dB, do not make the link try it again every time; what it sees otherwise
// varies a little.
func TestDuplexSteady(t *testing.T) {
	m := newMedium(t, testSeed)
	m.duplex = true
	m.table = []phy.Mode{{MCS: 0, NetBPS: 10000, SNRdB: 0, FrameOctets: 512}}
	for i := range 8 {
		m.table = append(m.table, phy.Mode{MCS: phy.MCS(i + 1), NetBPS: 40000 * math.Pow(1.03, float64(i)), SNRdB: 50 + 1.2*float64(i), FrameOctets: 512})
	}
	const tooFast = 6
	small := func(b *phy.Burst) bool { return b.MCS == 0 && len(b.Frames) == 1 && len(b.Frames[0]) <= 256 }
	m.took = func(b *phy.Burst) time.Duration {
		if small(b) {
			return 25 * time.Millisecond
		}
		d := 55 * time.Millisecond
		for _, f := range b.Frames {
			d += time.Duration(float64(8*len(f)) / m.table[b.MCS].NetBPS * float64(time.Second))
		}
		return d
	}
	tries, counting := 0, false
	m.heard = func(n *node, b *phy.Burst) phy.Event {
		got, snr := phy.Burst{MCS: b.MCS, Control: b.Control, Frames: append([][]byte{}, b.Frames...)}, m.table[tooFast].SNRdB+0.6+0.3*m.random.NormFloat64()
		switch {
		case small(b):
			snr = 30
		case b.MCS >= tooFast:
			clear(got.Frames)
			if counting {
				tries++
			}
		}
		return phy.Event{Kind: phy.Received, Burst: got, Quality: phy.Quality{SNR: snr}}
	}
	a, b := m.add("alpha", nil), m.add("beta", nil)
	m.meet()
	sent := 0
	feed := func(d time.Duration) {
		for range int(d / (2 * time.Second)) {
			for range 8 {
				m.send(a, ipv4(protoTCP, a.addr, b.addr, 1000, sent, 1200))
				sent++
			}
			m.send(a, udp(a.addr, b.addr, 2000, sent, 64))
			m.run(2*time.Second, nil)
		}
	}
	feed(30 * time.Second)
	counting = true
	feed(2 * time.Minute)
	// The two that are on their way when the first is lost, once more as what is seen varies.
	if tries > 6 {
		t.Errorf("%d bursts in a mode that had been found to be too fast", tries)
	}
	if got := len(b.got); got < sent*9/10 {
		t.Errorf("%d of %d packets came", got, sent)
	}
}

// TestDuplexShortFrames: frames of a few octets come in modes that are far too fast for longer
// ones, as their bits fill a symbol that holds many more. A station whose traffic is mostly
// such, acknowledgements of TCP's, is not asked for those modes: what it has to say
// beside them arrives.
func TestDuplexShortFrames(t *testing.T) {
	const snr, short, every, alone, seconds = 12.5, 16, 100 * time.Millisecond, 20, 60
	m := newMedium(t, testSeed)
	m.duplex, m.table = true, nil
	for i := range 24 {
		m.table = append(m.table, phy.Mode{MCS: phy.MCS(i), NetBPS: 10000 * math.Pow(1.1, float64(i)), SNRdB: 1.25 * float64(i), FrameOctets: 512})
	}
	m.took = func(b *phy.Burst) time.Duration {
		d := 20 * time.Millisecond
		for _, f := range b.Frames {
			d += time.Duration(float64(8*len(f)) / m.table[b.MCS].NetBPS * float64(time.Second))
		}
		return d
	}
	m.heard = func(n *node, b *phy.Burst) phy.Event {
		ev := phy.Event{Kind: phy.Received, Burst: phy.Burst{MCS: b.MCS, Control: b.Control, Frames: append([][]byte{}, b.Frames...)}, Quality: phy.Quality{SNR: snr}}
		for i, f := range b.Frames {
			if len(f) > short && m.table[b.MCS].SNRdB > snr {
				ev.Burst.Control, ev.Burst.Frames[i] = nil, nil // both are in one codeword
			}
		}
		return ev
	}
	a, b := m.add("alpha", nil), m.add("beta", nil)
	m.meet()
	sent := map[byte]time.Time{}
	var longest time.Duration
	b.deliver = func(p []byte) {
		if len(p) == 84 {
			longest = max(longest, m.now.Sub(sent[p[31]]))
			delete(sent, p[31])
		}
	}
	for i := range seconds {
		if i >= alone {
			sent[byte(i)] = m.now
			m.send(a, udp(a.addr, b.addr, 2000, i, 84))
		}
		for j := range int(time.Second / every) {
			m.send(a, udp(a.addr, b.addr, 3000, i<<8+j, 32))
			m.run(every, nil)
		}
	}
	// Not more than one repetition each: a burst, the wait for its answer, and another.
	if longest > time.Second || len(sent) > 1 {
		t.Errorf("packets of 84 octets took up to %v, and %d never came", longest, len(sent))
	}
}

// TestShortFramesMargin: frames of a few octets that come narrow the margin to what it begins
// with, and no further; whole ones do.
func TestShortFramesMargin(t *testing.T) {
	for _, tt := range []struct {
		name  string
		short bool
		lossy bool
		least float64 // dB
		most  float64
	}{
		{"short", true, false, startMargin - firstStep, startMargin},
		{"short, after loss", true, true, startMargin - backStep, startMargin},
		{"whole", false, false, minMargin, minMargin},
	} {
		r := newReception(modes(duplexModes()))
		if r.leap = duplexLeap; tt.lossy {
			r.lossy, r.margin, r.step = true, maxMargin, mostStep
		}
		for range 1000 {
			r.frames(1, 0, true, tt.short, duplexLoss, math.Inf(-1))
		}
		if r.margin < tt.least || r.margin > tt.most {
			t.Errorf("%s: a margin of %.2f dB, want %.1f to %.1f", tt.name, r.margin, tt.least, tt.most)
		}
	}
}

// TestShortBurstsLead: a burst with little in it goes in a mode that needs less than the one
// allowed where that takes hardly longer, and in the quickest where it takes much longer;
// one that fills frames goes in the mode allowed.
func TestShortBurstsLead(t *testing.T) {
	for _, tt := range []struct {
		name   string
		octets int
		factor float64 // rate from mode to mode
		want   int
	}{
		{"little, modes are close", 60, 1.1, 5},
		{"a third of a frame, modes are close", 170, 1.1, 5},
		{"much, modes are close", 400, 1.1, 7},
		{"little, modes are far apart", 60, 3, 7},
	} {
		m := newMedium(t, testSeed)
		m.duplex, m.table = true, nil
		for i := range 8 {
			m.table = append(m.table, phy.Mode{MCS: phy.MCS(i), NetBPS: 40000 * math.Pow(tt.factor, float64(i-7)), SNRdB: 15 + 1.2*float64(i), FrameOctets: 512})
		}
		m.took = m.headed(5 * time.Millisecond)
		a, b := m.add("alpha", nil), m.add("beta", nil)
		m.meet()
		p := a.engine.peerAt(b.engine.address)
		p.tx.snr = math.NaN()
		if got := a.engine.quickest(p, 7, shortOctets, tt.octets, time.Second); got != tt.want {
			t.Errorf("%s: mode %d, want %d", tt.name, got, tt.want)
		}
	}
}

// headed is how long bursts take that have nothing but frames behind a head, which is as long as that of their mode, or of the last one.
func (m *medium) headed(heads ...time.Duration) func(*phy.Burst) time.Duration {
	return func(b *phy.Burst) time.Duration {
		d := heads[min(int(b.MCS), len(heads)-1)]
		for _, f := range b.Frames {
			d += time.Duration(float64(8*len(f)) / m.table[b.MCS].NetBPS * float64(time.Second))
		}
		return d
	}
}

// TestCliff: where the mode allowed takes a multiple of the time of the next one, as its heads are longer, a burst
// goes in that one if the SNR suffices for it without a margin, no ceiling is below it and another burst follows at once.
func TestCliff(t *testing.T) {
	for _, tt := range []struct {
		name    string
		duplex  bool
		snr     float64       // dB, as the peer reports it
		head    time.Duration // of the slower mode
		octets  int
		ceiling int
		want    int
	}{
		{"an answer", true, -4.6, 500 * time.Millisecond, 0, noCeiling, 1},
		{"little", true, -4.6, 500 * time.Millisecond, 40, noCeiling, 1},
		{"much", true, -4.6, 500 * time.Millisecond, 470, noCeiling, 0},
		{"half duplex", false, -4.6, 500 * time.Millisecond, 40, noCeiling, 0},
		{"the SNR hardly suffices", true, -5.5, 500 * time.Millisecond, 40, noCeiling, 0},
		{"the SNR is not known", true, math.NaN(), 500 * time.Millisecond, 40, noCeiling, 0},
		{"the next one has failed", true, -4.6, 500 * time.Millisecond, 40, 0, 0},
		{"no cliff", true, -4.6, 100 * time.Millisecond, 40, noCeiling, 0},
	} {
		m := newMedium(t, testSeed)
		m.duplex, m.table = tt.duplex, []phy.Mode{{NetBPS: 2000, SNRdB: -7, FrameOctets: 474}, {MCS: 1, NetBPS: 5000, SNRdB: -5.75, FrameOctets: 474}}
		m.took = m.headed(tt.head, 70*time.Millisecond)
		a, b := m.add("alpha", nil), m.add("beta", nil)
		m.meet()
		p := a.engine.peerAt(b.engine.address)
		p.tx.snr, p.tx.ceiling.index = tt.snr, tt.ceiling
		if got := a.engine.quickest(p, 0, shortOctets, tt.octets, time.Second); got != tt.want {
			t.Errorf("%s: mode %d, want %d", tt.name, got, tt.want)
		}
	}
}

// TestUnreadBursts: on a full-duplex medium bursts of which neither frame nor control block can be read are the other
// station's, and its mode is made slower for them. Elsewhere they may be anybody's.
func TestUnreadBursts(t *testing.T) {
	for _, tt := range []struct{ duplex, third, slower bool }{{true, false, true}, {false, false, false}, {true, true, false}} {
		m := newMedium(t, testSeed)
		m.duplex, m.table = tt.duplex, []phy.Mode{{NetBPS: 2000, SNRdB: -9, FrameOctets: 474}, {MCS: 1, NetBPS: 5000, SNRdB: -5.75, FrameOctets: 474}}
		a, b := m.add("alpha", nil), m.add("beta", nil)
		if tt.third {
			m.add("gamma", nil)
		}
		m.meet()
		e, p := a.engine, a.engine.peerAt(b.engine.address)
		p.rx.snr, p.rx.margin, p.rx.told = -4, 1, 1
		ev := phy.Event{Kind: phy.Received, Burst: phy.Burst{MCS: 1, Frames: [][]byte{nil}}}
		ev.Quality.SNR = -4
		for range 2 {
			e.HandleEvent(m.now, &ev)
		}
		if i, _ := p.rx.want(e.modes); (i < 1) != tt.slower {
			t.Errorf("duplex %v, a third station %v: mode %d is wanted (margin %.2f dB)", tt.duplex, tt.third, i, p.rx.margin)
		}
	}
}

// Frames are shortened where a burst's symbols are whole, as far as the burst then brings
// more for its time: 1000 octets a symbol of 0.1 s.
func TestSnug(t *testing.T) {
	const symbol, length = 100 * time.Millisecond, 1000
	e := &Engine{cfg: Config{Airtime: func(b *phy.Burst) time.Duration {
		n := 0
		for _, f := range b.Frames {
			n += len(f)
		}
		return time.Duration((n+length-1)/length) * symbol
	}}, modes: modes{{MCS: 0}}, zeros: make([]byte, 2000)}
	for _, tt := range []struct{ octets, n, want int }{
		{500, 2, 500},  // whole symbols already
		{540, 2, 500},  // two symbols would hold 1080, one 1000
		{840, 2, 840},  // two, and one would be too far below
		{1010, 2, 995}, // three, and two hold 2000: steps of 1/64
		{70, 1, 70},
	} {
		got := e.snug(0, 0, tt.octets, tt.n)
		if got != tt.want {
			t.Errorf("%d frames of %d octets at most: %d, want %d", tt.n, tt.octets, got, tt.want)
		}
	}
}

// TestDuplexStart: where both ways are open and only noise counts, a station asks for what its first bursts promise, though
// nothing but small packets come, by which no margin narrows.
func TestDuplexStart(t *testing.T) {
	for _, duplex := range []bool{false, true} {
		m := newMedium(t, testSeed)
		m.duplex, m.table = duplex, []phy.Mode{{NetBPS: 2000, SNRdB: -7, FrameOctets: 474}, {MCS: 1, NetBPS: 5000, SNRdB: -5.75, FrameOctets: 474}, {MCS: 2, NetBPS: 7000, SNRdB: -4.5, FrameOctets: 474}}
		a, b := m.add("alpha", nil), m.add("beta", nil)
		a.snr, b.snr = -4, -4
		m.meet()
		p := a.engine.peerAt(b.engine.address)
		for range 20 {
			p.rx.frames(1, 0, true, true, duplexLoss, math.Inf(-1))
		}
		want := 0
		if duplex {
			want = 1
		}
		if i, ok := p.rx.want(m.table); !ok || i != want {
			t.Errorf("duplex %v: mode %d, want %d (%.2f dB, margin %.2f, %+v)", duplex, i, want, p.rx.snr, p.rx.margin, p.rx.ceiling)
		}
	}
}

// TestAnswerBehind: an answer that rides on the burst behind the one that is under way is waited for until its head, of which
// the receiver knows nothing before, has been heard.
func TestAnswerBehind(t *testing.T) {
	m := newMedium(t, testSeed)
	m.duplex, m.cost = true, 500*time.Millisecond
	a, b := m.add("alpha", nil), m.add("beta", nil)
	m.meet()
	e, p := a.engine, a.engine.peerAt(b.engine.address)
	now := m.now
	e.HandleEvent(now, &phy.Event{Kind: phy.Busy})
	p.question = question{open: true, id: p.nextID, asked: now, answerBy: now.Add(time.Millisecond), latest: now.Add(time.Minute)}
	before := e.stats.Bursts.Silence
	now = now.Add(time.Second) // the end of the burst that was under way
	e.tick(now)
	e.HandleEvent(now, &phy.Event{Kind: phy.Idle})
	now = now.Add(m.cost)
	if e.tick(now); e.stats.Bursts.Silence != before {
		t.Error("the answer was given up while its head was on the medium")
	}
	now = now.Add(m.cost)
	if e.tick(now); e.stats.Bursts.Silence != before+1 {
		t.Error("what never came was not given up")
	}
}
