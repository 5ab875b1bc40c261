package link

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"lightsong/modem/line"
	"lightsong/phy"
)

// TestRepeatedAfterArrival: a segment that its host repeats because the
// acknowledgement takes its time is not sent twice, but one that is repeated later,
// or says something new, is.
func TestRepeatedAfterArrival(t *testing.T) {
	m := newMedium(t, testSeed)
	a, b := m.add("alpha", nil), m.add("beta", nil)
	m.meet()
	segment := func(seq, ack uint32, flags byte, payload int) []byte {
		return tcpPacket(a.addr, b.addr, 7<<16|9, seq, ack, flags, false, 1, 1, nil, payload)
	}
	send := func(pkt []byte) (sent bool) {
		before := a.engine.Stats().Queue.Repeated
		m.send(a, pkt)
		got := len(b.got)
		m.run(20*time.Second, func() bool { return a.engine.Stats().Queue.Packets == 0 })
		if sent = len(b.got) > got; sent == (a.engine.Stats().Queue.Repeated > before) {
			t.Errorf("%d packets came, %s", len(b.got)-got, summary(a))
		}
		return sent
	}
	for _, c := range []struct {
		name string
		pkt  []byte
		want bool
	}{
		{"SYN", segment(1, 0, tcpSYN, 0), true},
		{"SYN again", segment(1, 0, tcpSYN, 0), false},
		{"data", segment(2, 10, tcpACK, 100), true},
		{"data again", segment(2, 10, tcpACK, 100), false},
		{"more data", segment(102, 10, tcpACK|tcpPSH, 50), true},
		{"again, older", segment(2, 10, tcpACK, 100), false},
		{"again, pushed", segment(2, 10, tcpACK|tcpPSH, 100), false},
		{"with news", segment(102, 20, tcpACK, 50), true},
		{"again with news that came", segment(2, 20, tcpACK, 100), false},
		{"FIN", segment(152, 20, tcpACK|tcpFIN, 0), true},
		{"FIN again", segment(152, 20, tcpACK|tcpFIN, 0), false},
		{"another part of the data", segment(52, 20, tcpACK, 100), true},
	} {
		if got := send(c.pkt); got != c.want {
			t.Errorf("%s: sent %v, want %v", c.name, got, c.want)
		}
	}
	m.run(a.engine.pace(a.engine.peers[0]).interval, nil)
	if !send(segment(2, 20, tcpACK, 100)) {
		t.Error("what is repeated after a long time was not sent")
	}
	// Other content under the same numbers is another connection's.
	other := segment(2, 20, tcpACK, 100)
	other[len(other)-1]++
	h, _ := parseIP(other)
	pkt := &packet{data: other, segment: parseSegment(h.payload)}
	if p := a.engine.peers[0]; a.engine.known(m.now, p, p.flow(h.flow), pkt) {
		t.Error("other content was taken for a repetition")
	}
}

// TestSlowFullDuplex: where a burst without content takes an eighth of a second, a
// packet is not cut in pieces, and the answer of a program that takes 40 ms is in the
// first burst that comes back, at once, in the place of the kernel's acknowledgement.
func TestSlowFullDuplex(t *testing.T) {
	m := newMedium(t, testSeed)
	m.duplex, m.table = true, testModes[:4] // no faster mode is tried meanwhile
	a, b := m.add("alpha", nil), m.add("beta", nil)
	a.snr, b.snr = 14, 14
	m.meet()
	for i := range 10 { // the modes are found
		m.send(a, ipv4(protoTCP, a.addr, b.addr, 1, i, 200))
		m.send(b, ipv4(protoTCP, b.addr, a.addr, 1, i, 200))
		m.run(10*time.Second, nil)
	}
	var bursts, back [][]int // frames' lengths
	got, answered := len(b.got), len(a.got)
	note := func(list *[][]int) func(time.Time, *phy.Burst) {
		return func(_ time.Time, x *phy.Burst) {
			var frames []int
			for _, f := range x.Frames {
				frames = append(frames, len(f))
			}
			if len(frames) > 0 || len(b.got) > got { // before, a may have asked whether b is there
				*list = append(*list, frames)
			}
		}
	}
	a.observe, b.observe = note(&bursts), note(&back)
	const reply = 40 * time.Millisecond
	var came, left time.Time
	b.observe = func(now time.Time, x *phy.Burst) {
		note(&back)(now, x)
		left = now
	}
	b.deliver = func(pkt []byte) {
		b.got, came = append(b.got, pkt), m.now
		m.send(b, tcpPacket(b.addr, a.addr, 1<<16|1, 1, 0, tcpACK, false, 1, 1, nil, 0)) // the kernel's
		m.after(reply, func() { m.send(b, ipv4(protoTCP, b.addr, a.addr, 1, 99, 60)) })
	}
	m.send(a, ipv4(protoTCP, a.addr, b.addr, 1, 99, 260))
	m.run(10*time.Second, func() bool { return len(a.got) > answered })
	if len(b.got) != got+1 || len(a.got) != answered+1 {
		t.Fatalf("%d packets there, %d back", len(b.got)-got, len(a.got)-answered)
	}
	if len(bursts) != 1 {
		t.Errorf("a packet went in bursts with frames of %v octets, want one burst", bursts)
	}
	if len(back) != 1 || len(back[0]) == 0 {
		t.Errorf("the answer came in bursts with frames of %v octets, want one burst", back)
	}
	if waited := left.Sub(came); waited < reply || waited > reply+5*time.Millisecond {
		t.Errorf("the answer left %v after the packet had come, want %v", waited, reply)
	}
}

// TestClimb: without loss, what the table does not promise is tried one mode at a time.
func TestClimb(t *testing.T) {
	var table []phy.Mode
	for i := range 12 {
		table = append(table, phy.Mode{MCS: phy.MCS(i), NetBPS: 1000 * float64(i+1), SNRdB: 1.5 * float64(i), FrameOctets: 128})
	}
	m := newModes(table, false)
	r := newReception(m)
	r.heard(5, exact)
	before, _ := r.want(m)
	for range 8 {
		r.frames(4, 0, true, false, m.target(before), math.Inf(-1))
		r.climb(m, before)
		i, _ := r.want(m)
		if promised := m.suiting(r.snr); i > max(before+1, promised) {
			t.Errorf("from mode %d to mode %d at %.1f dB", before, i, r.snr)
		}
		before = i
	}
	if want := m.suiting(r.snr - minMargin); before != want {
		t.Errorf("mode %d after eight bursts without loss, want %d", before, want)
	}
}

// TestClimbFails: a mode that the table does not promise and that does not hold gives back the step to it, not the longer ones that
// it would have been: the mode before, which did well, is asked for again.
func TestClimbFails(t *testing.T) {
	m := newModes([]phy.Mode{{MCS: 0, NetBPS: 1000, SNRdB: -5}, {MCS: 1, NetBPS: 2000, SNRdB: -3.5}, {MCS: 2, NetBPS: 6000, SNRdB: 1}}, false)
	r := newReception(m)
	r.heard(-1, exact)
	const holds = 1
	before := math.NaN()
	for i, ok := r.want(m); ok && i <= holds; i, _ = r.want(m) {
		before = r.margin
		r.frames(4, 0, true, false, m.target(i), math.Inf(-1))
		r.climb(m, i)
	}
	r.frames(4, 4, true, false, m.target(holds+1), math.Inf(-1))
	if got, _ := r.want(m); got != holds || r.margin > before+marginStep+1e-9 {
		t.Errorf("mode %d at a margin of %.2f dB after the failure, want %d at %.2f at most", got, r.margin, holds, before+marginStep)
	}
}

// TestShortBlocks: whichever burst of an exchange between two stations is lost, those
// behind it say what is needed to read them; with a third station around all blocks
// are whole again.
func TestShortBlocks(t *testing.T) {
	for _, duplex := range []bool{false, true} {
		for lost := range 12 {
			m := newMedium(t, testSeed)
			m.duplex = duplex
			a, b := m.add("alpha", nil), m.add("beta", nil)
			m.meet()
			var sent [][]byte
			say := func(n *node, to *node, number int) {
				pkt := ipv4(protoTCP, n.addr, to.addr, 1, number, 60)
				if n == a {
					sent = append(sent, pkt)
				}
				m.send(n, pkt)
				m.run(500*time.Millisecond, nil)
			}
			for i := range 8 { // the peers know one another
				say(a, b, i)
				say(b, a, i)
			}
			bursts, short := 0, 0
			m.drop = func(_, _ *node, x *phy.Burst) bool {
				if blockOf(x).kind != unicast {
					return false
				}
				if blockOf(x).short {
					short++
				}
				bursts++
				return bursts == lost+1
			}
			for i := range 24 { // more than the numbers of one base
				say(a, b, 8+i)
				if i%3 == 0 {
					say(b, a, 8+i)
				}
			}
			m.run(30*time.Second, nil)
			checkFlows(t, b, sent)
			if s := b.engine.Stats(); len(a.got) != 16 || s.Hostile.Malformed != 0 || s.Headers.Lost != 0 || bursts < 24 || 10*short < 8*bursts {
				t.Errorf("duplex %v, burst %d lost: %d packets back, %d of %d blocks short: %s", duplex, lost, len(a.got), short, bursts, summary(b))
			}
			if lost > 0 {
				continue
			}
			m.add("gamma", nil)
			m.run(20*time.Second, nil)
			short = 0
			say(a, b, 99)
			if short > 0 {
				t.Errorf("%d blocks were short beside a third station", short)
			}
		}
	}
}

// TestNews: what a short block may leave out is at most so far from what the peer was told,
// over the whole range of each.
func TestNews(t *testing.T) {
	for _, c := range []struct {
		name     string
		was, now wish
		ahead    uint16 // of the base
		want     bool
	}{
		{"nothing", wish{3, 40, 26}, wish{3, 40, 26}, 0, false},
		{"the base, 7 on", wish{3, 40, 26}, wish{3, 40, 26}, 7, false},
		{"the base, 8 on", wish{3, 40, 26}, wish{3, 40, 26}, 8, true},
		{"another mode", wish{3, 40, 26}, wish{4, 40, 26}, 0, true},
		{"2 dB", wish{3, 40, 26}, wish{3, 44, 26}, 0, false},
		{"2.5 dB", wish{3, 40, 26}, wish{3, 45, 26}, 0, true},
		{"2.5 dB less", wish{3, 40, 26}, wish{3, 35, 26}, 0, true},
		{"63 dB, before -10", wish{3, toSNR(-10), 26}, wish{3, toSNR(63), 26}, 0, true},
		{"20 dB, before unknown", wish{3, noSNR, 26}, wish{3, toSNR(20), 26}, 0, true},
		{"unknown, before 0 dB", wish{3, 0, 26}, wish{3, noSNR, 26}, 0, true},
		{"3 % of loss", wish{3, 40, 26}, wish{3, 40, 34}, 0, false},
		{"4 % of loss", wish{3, 40, 26}, wish{3, 40, 35}, 0, true},
		{"the first loss", wish{3, 40, 0}, wish{3, 40, 1}, 0, true},
		{"no loss any more", wish{3, 40, 1}, wish{3, 40, 0}, 0, true},
		{"all is lost, before nothing", wish{3, 40, 0}, wish{3, 40, 255}, 0, true},
	} {
		k := told{base: 0xfffc, wish: c.was}
		if got := k.news(k.base+c.ahead, c.now); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// slowMedium is one on which 1.9 to 5 kb/s go through, in the airtimes of its modem.
type slowMedium struct {
	name   string
	duplex bool
	mode   phy.Mode
	took   func(*phy.Burst) time.Duration
}

func slowMedia() []slowMedium {
	light := func(baud int) slowMedium {
		modes := line.U6Modes(baud)
		fastest := modes[len(modes)-1]
		mode := phy.Mode{NetBPS: fastest.NetBPS, SNRdB: 0, FrameOctets: fastest.FrameOctets}
		return slowMedium{fmt.Sprintf("light, %d baud", baud), true, mode, func(b *phy.Burst) time.Duration {
			x := *b
			x.MCS = fastest.MCS
			return time.Duration(line.U6Length(&x)) * 10 * time.Second / time.Duration(baud)
		}}
	}
	// modem/fsk, MCS 4: chirp and header, 0.8 + 0.2 of a control block's symbols, frames at rate 5/6.
	fsk := slowMedium{"fsk, -1 dB", false, phy.Mode{NetBPS: 2772, FrameOctets: 128}, func(b *phy.Burst) time.Duration {
		ms := 101 + 32 + 8*float64(len(b.Control))
		for _, f := range b.Frames {
			ms += 9.4 + 2.41*float64(len(f))
		}
		return time.Duration(ms * float64(time.Millisecond))
	}}
	return []slowMedium{light(3600), light(9600), fsk}
}

// TestPairBurst: between two stations on a half-duplex medium with long buffers bursts are longer, but not with a third
// one, and not if they were set; one in a mode that the table does not promise is short until data came in it.
func TestPairBurst(t *testing.T) {
	const long = 2800 * time.Millisecond
	for _, tt := range []struct {
		name    string
		latency time.Duration // a quarter of the turnaround
		set     time.Duration
		third   bool
		want    time.Duration
	}{
		{"short buffers", 10 * time.Millisecond, 0, false, maxBurst},
		{"long buffers", long / pairTurnarounds / 4, 0, false, long},
		{"longer buffers", long / pairTurnarounds, 0, false, roomBurst},
		{"set", long / pairTurnarounds / 4, time.Second, false, time.Second},
		{"a third station", long / pairTurnarounds / 4, 0, true, maxBurst},
	} {
		m := newMedium(t, testSeed)
		m.latency, m.table = tt.latency, quickModes()
		a := m.add("alpha", func(c *Config) { c.MaxBurst = tt.set })
		m.add("beta", nil)
		if tt.third {
			m.add("gamma", nil)
		}
		m.meet()
		m.run(20*time.Second, nil)
		e, p := a.engine, a.engine.peers[0]
		if got := e.budget(m.now, p, 2, shortOctets); got != tt.want {
			t.Errorf("%s: bursts of %v, want %v", tt.name, got, tt.want)
		}
		p.wellOut, p.tx.snr = 2, e.modes[3].SNRdB-1
		whole := e.budget(m.now, p, 2, shortOctets)
		if got, want := e.budget(m.now, p, 3, shortOctets), slowBurst; got != want || got >= whole {
			t.Errorf("%s: a trial of %v, want %v, less than %v", tt.name, got, want, whole)
		}
		if p.wellOut = 3; e.budget(m.now, p, 3, shortOctets) != whole {
			t.Errorf("%s: still a trial", tt.name)
		}
		if p.wellOut, p.tx.snr = 2, e.modes[3].SNRdB; e.budget(m.now, p, 3, shortOctets) != whole {
			t.Errorf("%s: a mode that the table promises is no trial", tt.name)
		}
	}
}

// TestDoubt: small packets do without a mode that has lost most of a burst, until it did well or is forgotten, and
// unless a slower one does no better.
func TestDoubt(t *testing.T) {
	type outcome struct {
		mode int
		bad  bool
	}
	well := func(n, mode int) []outcome { return slices.Repeat([]outcome{{mode, false}}, n) }
	for _, tt := range []struct {
		name string
		came []outcome
		want int // of modes up to 7
	}{
		{"nothing was lost", well(9, 3), 7},
		{"a mode failed", []outcome{{5, true}}, 4},
		{"a faster one, too", []outcome{{5, true}, {6, true}}, 4},
		{"a slower one did well", append([]outcome{{5, true}}, well(doubts, 4)...), 4},
		{"for long", append([]outcome{{5, true}}, well(doubts+1, 4)...), 7},
		{"it failed again meanwhile", slices.Concat([]outcome{{5, true}}, well(doubts, 4), []outcome{{5, true}}, well(doubts, 4)), 4},
		{"it did well", []outcome{{5, true}, {5, false}}, 7},
		{"a slower one failed", []outcome{{5, true}, {4, true}}, 7},
		{"the slowest failed", []outcome{{0, true}}, 0},
	} {
		tx := newTransmission(nil)
		for _, o := range tt.came {
			tx.doubt(o.mode, o.bad)
		}
		if got := tx.sure(7); got != tt.want {
			t.Errorf("%s: mode %d, want %d", tt.name, got, tt.want)
		}
	}
	tx := newTransmission(nil)
	for _, held := range []bool{true, false} { // somebody waits, then nobody does
		tx.held = held
		tx.doubt(5, held)
		for range 3 * doubts {
			tx.doubt(4, false)
		}
		if got := tx.sure(7); (got < 5) != held {
			t.Errorf("held %v: mode %d", held, got)
		}
	}
}

// TestMarginComesBack: after frames were lost in three modes one after the other, as trials and chance do, the best mode
// is asked for again after bursts that came whole: the margin narrows by a share of a step, which grows by a hundredth with each from
// leastStep on. Where modes are three tenths apart that share is four fifths and the 4.5 dB take
// ln(1 + 4.5·0.01/(0.8·0.02))/0.01 = 134 bursts; where they are as close as on a good lead, a fiftieth: another loss would
// cost more than a slower mode does.
func TestMarginComesBack(t *testing.T) {
	for _, tt := range []struct {
		name        string
		apart       float64 // ratio of two modes' rates
		least, most int     // bursts
	}{{"slow", 1.3, 10, 150}, {"fast", 1.03, 500, 2000}} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMedium(t, testSeed)
			m.duplex, m.table = true, nil
			for i := range 8 {
				m.table = append(m.table, phy.Mode{MCS: phy.MCS(i), NetBPS: 1000 * math.Pow(tt.apart, float64(i)), SNRdB: 1.5 * float64(i), FrameOctets: 512})
			}
			e := m.add("alpha", nil).engine
			r := newReception(e.modes)
			r.heard(7, exact)
			best := e.modes.suiting(r.snr)
			burst := func(lost int) int {
				i, _ := r.want(e.modes)
				r.frames(1, lost, true, false, e.target(i), e.bound(&r, i))
				i, _ = r.want(e.modes)
				return i
			}
			for range 3 {
				for range 100 {
					burst(0)
				}
				burst(1)
			}
			for burst(1) > best-3 {
			}
			n := 1
			for burst(0) < best {
				n++
			}
			if n < tt.least || n > tt.most {
				t.Errorf("the best mode was asked for after %d bursts, want %d to %d", n, tt.least, tt.most)
			}
		})
	}
}

// TestTrials: a mode that never holds is tried after waits that double, and each trial costs the mode below nothing. When
// the SNR rises what it promises is asked for at once.
func TestTrials(t *testing.T) {
	m := newMedium(t, testSeed)
	m.duplex, m.table = true, []phy.Mode{
		{MCS: 0, NetBPS: 22593, SNRdB: 1.25, FrameOctets: 740}, {MCS: 1, NetBPS: 27112, SNRdB: 3, FrameOctets: 740},
		{MCS: 2, NetBPS: 30750, SNRdB: 3.75, FrameOctets: 740}, {MCS: 3, NetBPS: 36980, SNRdB: 5, FrameOctets: 740},
	}
	a, b := m.add("alpha", nil), m.add("beta", nil)
	m.meet()
	e, p := a.engine, a.engine.peerAt(b.engine.address)
	p.rx.snr, p.rx.margin = 3.25, duplexStart
	const holds, bursts = 1, 4000
	body := make([]byte, 740)
	burst := func() int {
		i, _ := p.rx.want(e.modes)
		p.rx.told = i
		sent := phy.Burst{MCS: e.modes[i].MCS, Frames: [][]byte{body, body, body}}
		if i > holds {
			clear(sent.Frames)
		}
		e.judge(p, &sent, phy.Plain, len(body))
		return i
	}
	var in [4]int
	for range bursts {
		in[burst()]++
	}
	most := 4 // before any waits, and the last
	for wait, sum := firstWait, 0; sum < bursts; wait = min(2*wait, mostWait) {
		most, sum = most+1, sum+wait
	}
	if in[2]+in[3] > most {
		t.Errorf("%d trials in %d bursts, want %d at most", in[2]+in[3], bursts, most)
	}
	if in[0] > 10 { // before the first wait
		t.Errorf("%d of %d bursts in the mode below the one that holds", in[0], bursts)
	}
	for range 3 {
		p.rx.heard(13, exact)
	}
	if i, _ := p.rx.want(e.modes); i != 3 {
		t.Errorf("mode %d after a rise of 10 dB, want 3 (%+v)", i, p.rx.trial)
	}
}

// TestWorthItsLoss: where both ways are open a mode that is a tenth faster and loses one frame in seventy is the one asked for
// most of the time: it carries more, and so does TCP in it.
func TestWorthItsLoss(t *testing.T) {
	m := newMedium(t, testSeed)
	m.duplex, m.table = true, []phy.Mode{
		{MCS: 0, NetBPS: 64145, SNRdB: 10, FrameOctets: 860}, {MCS: 1, NetBPS: 71475, SNRdB: 11.25, FrameOctets: 860},
		{MCS: 2, NetBPS: 78479, SNRdB: 12.75, FrameOctets: 860}, {MCS: 3, NetBPS: 88027, SNRdB: 14, FrameOctets: 860},
	}
	a, b := m.add("alpha", nil), m.add("beta", nil)
	m.meet()
	e, p := a.engine, a.engine.peerAt(b.engine.address)
	p.rx.snr, p.rx.margin = 12.5, duplexStart
	random := rand.New(rand.NewPCG(testSeed, 0))
	const faster, bursts = 2, 4000
	body, in := make([]byte, 860), 0
	for range bursts {
		i, _ := p.rx.want(e.modes)
		p.rx.told = i
		sent := phy.Burst{MCS: e.modes[i].MCS, Frames: [][]byte{body, body, body, body, body}}
		for j := range sent.Frames {
			if i > faster || i == faster && random.Float64() < 1./70 {
				sent.Frames[j] = nil
			}
		}
		if i == faster {
			in++
		}
		e.judge(p, &sent, phy.Plain, len(body))
	}
	if in < bursts*7/10 {
		t.Errorf("seed %d: %d of %d bursts in the faster mode, want seven in ten", testSeed, in, bursts)
	}
}

// TestChanceIsNoRate: where both ways are open a single frame lost brings no parity.
func TestChanceIsNoRate(t *testing.T) {
	m := newMedium(t, testSeed)
	m.duplex = true
	a, b := m.add("alpha", nil), m.add("beta", nil)
	m.meet()
	r := &a.engine.peerAt(b.engine.address).rx
	r.loss = 0
	r.frames(5, 1, true, false, mostLoss, math.Inf(-1))
	if n := parity(5, r.loss); n != 0 {
		t.Errorf("%d parity frames of five after one lost (%.3f)", n, r.loss)
	}
	for range 30 {
		r.frames(5, 1, true, false, mostLoss, math.Inf(-1))
	}
	if n := parity(5, r.loss); n == 0 {
		t.Errorf("no parity where one of five is always lost (%.3f)", r.loss)
	}
}

// TestShortTellLittle: where both ways are open a short burst tells little of the SNR though it came in the mode asked for.
func TestShortTellLittle(t *testing.T) {
	m := newMedium(t, testSeed)
	m.duplex = true
	a, b := m.add("alpha", nil), m.add("beta", nil)
	m.meet()
	e, p := a.engine, a.engine.peerAt(b.engine.address)
	p.rx.heard(p.rx.snr, exact)
	i, _ := p.rx.want(e.modes)
	for _, tt := range []struct {
		octets int
		want   snrBound
	}{{e.modes[i].FrameOctets, exact}, {8, vague}} {
		if got := e.bounds(p, &phy.Burst{MCS: e.modes[i].MCS, Frames: [][]byte{make([]byte, tt.octets)}}); got != tt.want {
			t.Errorf("%d octets: %d, want %d", tt.octets, got, tt.want)
		}
	}
}

// TestSlowDownload: ten thousand octets of TCP at 5 kb/s, full duplex, where every mode but the fastest that
// holds is tried and loses frames: a tenth of them, then most. What that cost must be over soon: each mode below is
// a quarter slower. Half as long again as the octets take in the mode that holds is enough.
func TestSlowDownload(t *testing.T) {
	const segments, holds = 8, 3
	// Modes 7 to 12 of the cable: chirp and training, then header, control block and frames in symbols.
	// A short frame is coded together with the control block of the faster ones.
	table := []phy.Mode{{SNRdB: -9.75, FrameOctets: 320}, {SNRdB: -8.25, FrameOctets: 384}, {SNRdB: -7, FrameOctets: 512}, {SNRdB: -5.5, FrameOctets: 512}, {SNRdB: -4, FrameOctets: 512}, {SNRdB: -2.75, FrameOctets: 512}}
	rates := []float64{0.066, 0.092, 0.127, 0.17, 0.22, 0.3}
	lost := []float64{0, 0, 0, 0.001, 0.1, 0.9} // of the frames, at −4.5 dB
	for i := range table {
		table[i].MCS, table[i].NetBPS = phy.MCS(i), 30e3*rates[i]
	}
	for seed := range uint64(100) {
		m := newMedium(t, testSeed+seed)
		m.duplex, m.latency, m.table = true, 10*time.Millisecond, table
		m.took = func(b *phy.Burst) time.Duration {
			head, coded, symbol, joint := 22., 720., 11.33, len(b.Frames) == 1 && len(b.Frames[0]) <= 64
			if table[b.MCS].SNRdB < -5.5 {
				head, coded, symbol, joint = 153, 5800, 22.67, false
			}
			control, bits := 0.66*coded/49*8*float64(len(b.Control)+4), 0.
			for _, f := range b.Frames {
				bits += 8 * float64(len(f)+4) / rates[b.MCS]
			}
			if joint {
				control, bits = 0, bits+8*float64(len(b.Control))/rates[b.MCS]
			}
			symbols := math.Ceil((coded+control)/(35.4*symbol)) + math.Ceil(bits/(37.8*symbol)) // pilots are one carrier in 12, in 48
			return time.Duration((head + symbol*symbols) * float64(time.Millisecond))
		}
		m.heard = func(n *node, sent *phy.Burst) phy.Event {
			b := phy.Burst{MCS: sent.MCS, Control: sent.Control, Frames: slices.Clone(sent.Frames)}
			for i := range b.Frames {
				if m.random.Float64() < lost[b.MCS] {
					b.Frames[i] = nil
					if len(b.Frames) == 1 && len(sent.Frames[0]) <= 64 {
						b.Control = nil
					}
				}
			}
			return phy.Event{Kind: phy.Received, Burst: b, Quality: phy.Quality{SNR: n.snr + 0.25*m.random.NormFloat64()}}
		}
		x, y := m.add("alpha", func(c *Config) { c.Queue = FQCoDel }), m.add("beta", func(c *Config) { c.Queue = FQCoDel })
		x.snr, y.snr = -4.5, -4.5
		m.meet()
		for i := range 30 { // the modes are found
			m.send(x, udp(x.addr, y.addr, 9, i, 100))
			m.send(y, udp(y.addr, x.addr, 9, i, 100))
			m.run(time.Second, nil)
		}
		m.run(20*time.Second, nil)
		s, r := m.newSender(x, y, 4000, false), m.newReceiver(y, x, 4000)
		s.limit = segments * tcpMSS
		y.deliver, x.deliver = r.receive, func(p []byte) { s.receive(p[20:]) }
		most := 3 * time.Duration(segments*(tcpMSS+tcpHead)*8/table[holds].NetBPS/2*float64(time.Second))
		start := m.now
		s.push()
		s.arm()
		if m.run(4*most, func() bool { return r.octets == segments*tcpMSS }); m.now.Sub(start) > most {
			t.Errorf("seed %d: %v, want at most %v; the sender repeated %d segments: %s", testSeed+seed, m.now.Sub(start), most, s.repeated, summary(x))
		}
	}
}

// BenchmarkSlow measures what TCP and a ping of 84 octets every three seconds have of a slow
// link, each alone and both together: the share of the mode's rate, and the pings' times.
//
//	go test -run '^$' -bench Slow -benchtime 1x ./link
func BenchmarkSlow(b *testing.B) {
	for _, medium := range slowMedia() {
		for _, c := range []struct {
			name      string
			tcp, ping bool
		}{{"ping", false, true}, {"tcp", true, false}, {"both", true, true}} {
			b.Run(medium.name+"/"+c.name, func(b *testing.B) {
				for range b.N {
					slowLoad(b, &medium, c.tcp, c.ping)
				}
			})
		}
	}
}

func slowLoad(b *testing.B, medium *slowMedium, tcp, ping bool) {
	const from, whole, every = 20 * time.Second, 200 * time.Second, 3 * time.Second
	m := newMedium(b, testSeed)
	m.duplex, m.table, m.took, m.latency = medium.duplex, []phy.Mode{medium.mode}, medium.took, 10*time.Millisecond
	x := m.add("alpha", func(c *Config) { c.Queue = FQCoDel })
	y := m.add("beta", func(c *Config) { c.Queue = FQCoDel })
	m.meet()
	s, r := m.newSender(x, y, 4000, false), m.newReceiver(y, x, 4000)
	start := m.now
	began := map[int]time.Time{}
	var rtts []time.Duration
	y.deliver = func(pkt []byte) {
		if pkt[9] == protoTCP {
			r.receive(pkt)
			return
		}
		_, number := numberOf(pkt)
		m.output(y, udp(y.addr, x.addr, 7, number, 84))
	}
	x.deliver = func(pkt []byte) {
		if pkt[9] == protoTCP {
			s.receive(pkt[20:])
			return
		}
		_, number := numberOf(pkt)
		rtts = append(rtts, m.now.Sub(began[number]))
	}
	if tcp {
		s.push()
		s.arm()
	}
	asked := 0
	if ping {
		var ask func()
		ask = func() {
			asked++
			began[asked] = m.now
			m.output(x, udp(x.addr, y.addr, 7, asked, 84))
			m.after(every, ask)
		}
		m.after(from, ask)
	}
	m.run(from, nil)
	before := r.octets
	m.run(whole-from, nil)
	b.ReportMetric(100*8*float64(r.octets-before)/m.now.Sub(start.Add(from)).Seconds()/medium.mode.NetBPS, "%tcp")
	if slices.Sort(rtts); len(rtts) > 0 {
		b.ReportMetric(float64(asked-len(rtts)), "pings-out")
		b.ReportMetric(float64(rtts[len(rtts)/2].Milliseconds()), "median-ms")
		b.ReportMetric(float64(rtts[len(rtts)*95/100].Milliseconds()), "p95-ms")
	}
}
