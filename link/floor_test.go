package link

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"lightsong/phy"
)

// saturated gives four stations whose buffers hold 60 ms each way, so that carrier
// sense is blind for a quarter of a second, more to send than the medium carries.
type saturated struct {
	*medium
	sent int
}

func newSaturated(t *testing.T, seed uint64) *saturated {
	m := newMedium(t, seed)
	m.latency = 60 * time.Millisecond
	m.table = quickModes()
	for _, name := range []string{"alpha", "beta", "gamma", "delta"} {
		m.add(name, nil)
	}
	m.meet()
	return &saturated{medium: m}
}

// quickModes reach 40 kb/s.
func quickModes() (modes []phy.Mode) {
	for _, x := range testModes {
		x.NetBPS *= 5
		x.FrameOctets = min(512, 5*x.FrameOctets)
		modes = append(modes, x)
	}
	return modes
}

// load keeps the queues of stations full for d; each sends to the next one.
func (s *saturated) load(d time.Duration, stations ...int) {
	for end := s.now.Add(d); s.now.Before(end); s.run(time.Second, nil) {
		for _, i := range stations {
			n, to := s.nodes[i], s.nodes[(i+1)%len(s.nodes)]
			for len(n.queue) < 4 {
				s.sent++
				s.send(n, ipv4(protoTCP, n.addr, to.addr, 80, s.sent, 1280))
			}
		}
	}
}

// octets is what a station's host has got.
func (n *node) octets() (sum float64) {
	for _, p := range n.got {
		sum += float64(len(p))
	}
	return sum
}

const floorLeast = 0.75 * 0.8 // of the rate, in TestFloor

// TestFloor: stations that all have more to send than the medium carries speak in
// turn. A turn is four times what an exchange costs without data, so three parts in
// four are data; a fifth of that is left to open floors, and to the burst at a
// turn's end that is shorter than there is room for.
func TestFloor(t *testing.T) {
	for seed := range uint64(3) {
		s := newSaturated(t, testSeed+seed)
		start := s.now
		s.load(3*time.Minute, 0, 1, 2, 3)
		sum, squares := 0., 0.
		for _, n := range s.nodes {
			sum, squares = sum+n.octets(), squares+n.octets()*n.octets()
		}
		rate := 8 * sum / s.now.Sub(start).Seconds() / s.table[len(s.table)-1].NetBPS
		jain := sum * sum / squares / float64(len(s.nodes))
		t.Logf("seed %d: %.2f of the rate, Jain %.3f", testSeed+seed, rate, jain)
		if rate < floorLeast || jain < 0.95 {
			t.Errorf("seed %d: %.2f of the rate, want %.2f; Jain %.3f, want 0.95", testSeed+seed, rate, floorLeast, jain)
		}
	}
}

// TestFloorTogether: stations that come to want the floor at the same moment, for as
// much each, are ready at about the same time, whoever was first: nobody's second turn comes
// before everybody had one. What is sent takes 7.7 s without any heads, a turn is 2.6 s at most, so it takes
// three turns; the first may be ready a round before the last, and if all else is even Jain's index
// of their rates is 0.989 (rounds 2¼, 2½, 2¾, 3) then. Short first turns and open floors may cost another round.
func TestFloorTogether(t *testing.T) {
	for seed := range uint64(10) {
		s := newSaturated(t, testSeed+seed)
		s.run(time.Duration(10+seed)*time.Second, nil)
		start := s.now
		for i, n := range s.nodes {
			for range 30 {
				s.sent++
				s.send(n, ipv4(protoTCP, n.addr, s.nodes[(i+1)%4].addr, 80, s.sent, 1280))
			}
		}
		var whole [4]float64
		s.run(2*time.Minute, func() bool {
			all := true
			for i, n := range s.nodes {
				if len(n.got) == 30 && whole[i] == 0 {
					whole[i] = s.now.Sub(start).Seconds()
				}
				all = all && whole[i] > 0
			}
			return all
		})
		sum, squares := 0., 0.
		for _, w := range whole {
			sum, squares = sum+1/w, squares+1/w/w
		}
		if jain := sum * sum / squares / 4; !(jain >= 0.95) {
			t.Errorf("seed %d: whole after %.1f s, Jain %.3f, want 0.95", testSeed+seed, whole, jain)
		} else {
			t.Logf("seed %d: whole after %.1f s, Jain %.3f", testSeed+seed, whole, jain)
		}
	}
}

// TestBeginTogether: stations whose hosts come to want as much of a medium that nobody uses at the same
// moment do not begin at the same moment. Questions after silence, which they do not agree upon, may meet a begin: in one run of ten.
func TestBeginTogether(t *testing.T) {
	for _, stations := range []int{2, 4} {
		met := 0
		const runs = 20
		for seed := range uint64(runs) {
			m := newMedium(t, testSeed+seed)
			m.latency, m.table = 10*time.Millisecond, quickModes()
			for i := range stations {
				m.add(fmt.Sprintf("station %d", i), nil)
			}
			m.meet()
			m.run(time.Duration(10+seed)*time.Second, nil)
			m.run(5*time.Second, func() bool {
				return !slices.ContainsFunc(m.nodes, func(n *node) bool { a := &n.engine.access; return a.taken || m.now.Before(n.engine.mayContend()) })
			})
			silence := func() (sum uint64) {
				for _, n := range m.nodes {
					sum += n.engine.Stats().Bursts.Silence
				}
				return sum
			}
			before := silence()
			for i, n := range m.nodes {
				for number := range 10 {
					m.send(n, ipv4(protoTCP, n.addr, m.nodes[(i+1)%stations].addr, 80, number, 1280))
				}
			}
			m.run(2*time.Second, nil)
			if silence() > before {
				met++
			}
		}
		t.Logf("%d stations: bursts met in %d runs of %d", stations, met, runs)
		if met > runs/5 {
			t.Errorf("%d stations: bursts met in %d runs of %d from seed %d on", stations, met, runs, testSeed)
		}
	}
}

// TestFloorTakenOver: a station that is named and gone holds nobody up: those who
// want to speak follow by rank, and when it is known to be gone it is not named.
// Calls to it, for which packets wait, take up to a third of the medium; of the rest
// three quarters of what TestFloor asks for, because two turns in three are short.
func TestFloorTakenOver(t *testing.T) {
	s := newSaturated(t, testSeed)
	s.load(20*time.Second, 0, 1, 2, 3)
	gone := s.nodes[3]
	for _, n := range s.nodes[:3] {
		n.deaf[gone], gone.deaf[n] = true, true
	}
	before := s.nodes[1].octets() + s.nodes[2].octets()
	start := s.now
	s.load(time.Minute, 0, 1)
	rate := 8 * (s.nodes[1].octets() + s.nodes[2].octets() - before) / s.now.Sub(start).Seconds() / s.table[len(s.table)-1].NetBPS
	t.Logf("%.2f of the rate", rate)
	if least := 0.75 * floorLeast * (1 - 1./missedShare); rate < least {
		t.Errorf("%.2f of the rate while a station is gone, want %.2f", rate, least)
	}
}

// TestFloorNewcomer: a station that nobody knows to want the medium gets it while
// the others have always more to send: the floor is opened every openToPeers, at the
// end of a turn, and then newcomers come first. Collisions may cost a second round.
func TestFloorNewcomer(t *testing.T) {
	s := newSaturated(t, testSeed)
	s.load(20*time.Second, 0, 1, 2)
	quiet := s.nodes[3]
	for i := range 10 {
		got := len(s.nodes[1].got)
		from := s.now
		pkt := udp(quiet.addr, s.nodes[1].addr, 9, i, 84)
		s.send(quiet, pkt)
		arrived := func() bool {
			for _, p := range s.nodes[1].got[got:] {
				if port, number := numberOf(p); port == 9 && number == i {
					return true
				}
			}
			return false
		}
		for !arrived() && s.now.Sub(from) < time.Minute {
			s.load(time.Second, 0, 1, 2)
		}
		if took, most := s.now.Sub(from), 2*(openToPeers+s.nodes[0].engine.cfg.MaxExchange)+2*time.Second; took > most {
			t.Errorf("packet %d took %v, want at most %v", i, took, most)
		}
		s.load(5*time.Second, 0, 1, 2)
	}
}

// TestFloorUnused: the floor lapses when its holder has nothing to say: what the
// host sends later contends like any other.
func TestFloorUnused(t *testing.T) {
	m := newMedium(t, testSeed)
	e := m.add("alpha", nil).engine
	m.add("beta", nil)
	m.meet()
	m.run(5*time.Second, nil)
	p := e.peers[0]
	c := control{kind: unicast, src: p.address, dst: 77, epoch: p.epoch, id: 1, more: true, next: e.address}
	e.HandleEvent(m.now, &phy.Event{Kind: phy.Received, Burst: phy.Burst{Control: c.appendTo(nil, 63)}})
	if !e.hasFloor() || !e.wantsFloor(m.now, p) {
		t.Fatal("the floor was given, and more is there")
	}
	if at := e.mayContend(); at.After(m.now) {
		t.Errorf("who is named begins %v later", at.Sub(m.now))
	}
	m.run(e.ifs()+time.Millisecond, nil)
	var dst phy.Burst
	if e.NextBurst(m.now, &dst) {
		t.Fatalf("sent %+v", dst)
	}
	if e.hasFloor() {
		t.Error("the floor did not lapse")
	}
}

// TestFloorHurry: who hears that somebody waits for small packets keeps its bursts
// short for a while, to whomever they go; whose own host waits says so to all.
func TestFloorHurry(t *testing.T) {
	m := newMedium(t, testSeed)
	m.table = quickModes()
	n := m.add("alpha", nil)
	other := m.add("beta", nil)
	m.meet()
	m.run(5*time.Second, nil)
	e, p := n.engine, n.engine.peers[0]
	mode := e.sendMode(p)
	budget := func() time.Duration { return e.budget(m.now, p, mode, headOctets) }
	long := budget()
	c := control{kind: unicast, flags: flagHurry, src: 55, dst: 77, epoch: 5}
	e.HandleEvent(m.now, &phy.Event{Kind: phy.Received, Burst: phy.Burst{Control: c.appendTo(nil, 63)}})
	if short := budget(); short >= long {
		t.Errorf("bursts of %v while another station is in a hurry, %v before", short, long)
	}
	c.flags, c.id = 0, 1
	e.HandleEvent(m.now, &phy.Event{Kind: phy.Received, Burst: phy.Burst{Control: c.appendTo(nil, 63)}})
	if got := budget(); got != long {
		t.Errorf("bursts of %v when it says no longer that it is in a hurry, want %v", got, long)
	}
	c.flags, c.id = flagHurry, 2
	e.HandleEvent(m.now, &phy.Event{Kind: phy.Received, Burst: phy.Burst{Control: c.appendTo(nil, 63)}})
	m.run(interactiveFor, nil)
	if got := budget(); got != long {
		t.Errorf("bursts of %v when the hurry is over, want %v", got, long)
	}

	var flags []byte
	m.drop = func(from, _ *node, b *phy.Burst) bool {
		if c := blockOf(b); from == n && c.kind == unicast {
			flags = append(flags, c.flags)
		}
		return false
	}
	m.send(n, udp(n.addr, other.addr, 9, 1, 84))
	m.run(time.Second, nil)
	if len(flags) == 0 || flags[0]&flagHurry == 0 {
		t.Errorf("bursts with flags %x, the first of them was to say that it is in a hurry", flags)
	}
}

// TestHiddenNamed: whom a peer's beacon names, and who was never heard, is hidden, until it is heard or no longer named;
// not where many are still getting to know one another, nor one that was heard before. What was concluded from silence
// before that is taken back.
func TestHiddenNamed(t *testing.T) {
	m := newMedium(t, testSeed)
	e := m.add("alpha", nil).engine
	p := e.newPeer(m.now, 7, 1)
	name := func(address uint16) {
		e.takeBeacon(m.now, p, &beacon{name: "beta", interval: 10, heard: []neighbour{{address: address, want: noMCS}}})
	}
	expect := func(what string, want bool) {
		t.Helper()
		if got := e.mayMeetHidden(m.now); got != want {
			t.Errorf("%s: hidden %v, want %v", what, got, want)
		}
	}
	name(e.address)
	expect("it hears us", false)
	p.tx.ceiling.fail(3, 0)
	p.unsteady = true
	name(9)
	if expect("it hears another", true); p.tx.ceiling.index != noCeiling || p.unsteady {
		t.Errorf("modes up to %d, unsteady %v: what met the other's bursts has failed", p.tx.ceiling.index, p.unsteady)
	}
	p.tx.ceiling.fail(3, 0)
	if name(9); p.tx.ceiling.index == noCeiling {
		t.Error("what failed later is taken back, too")
	}
	q := e.newPeer(m.now, 9, 1)
	name(9)
	expect("it is heard", false)
	q.state, q.downAt = PeerDown, m.now
	name(9)
	expect("it was heard before", false)
	name(10)
	expect("another again", true)
	for i := range uint16(openSlots) {
		e.newPeer(m.now, 20+i, 1)
	}
	name(10)
	expect("many are there", false)
}

// TestFloorMet: the answer to a long burst of which all frames were lost opens the floor, because it may have met one of
// somebody whom only the answerer could hear; not if it was short, came in part, was lost to motion, or somebody else waits for its end.
func TestFloorMet(t *testing.T) {
	for _, c := range []struct {
		name   string
		before time.Duration // of carrier that was a jammer's
		took   time.Duration
		frames [][]byte
		moves  bool
		wants  bool
		open   bool
	}{
		{"long", 0, 3 * time.Second, make([][]byte, 4), false, false, true},
		{"short", 0, 300 * time.Millisecond, make([][]byte, 4), false, false, false},
		{"short, jammed before", 3 * time.Second, 300 * time.Millisecond, make([][]byte, 4), false, false, false},
		{"in part", 0, 3 * time.Second, [][]byte{nil, nil, make([]byte, 64), nil}, false, false, false},
		{"moved", 0, 3 * time.Second, make([][]byte, 4), true, false, false},
		{"another wants", 0, 3 * time.Second, make([][]byte, 4), false, true, false},
	} {
		m := newMedium(t, testSeed)
		m.table = quickModes()
		e := m.add("alpha", nil).engine
		m.add("beta", nil)
		m.meet()
		m.run(5*time.Second, nil)
		p, now := e.peers[0], m.now
		p.moves = c.moves
		if c.wants {
			e.newPeer(now, 77, 1).more = true
		}
		e.HandleEvent(now, &phy.Event{Kind: phy.Busy})
		if c.before > 0 {
			now = now.Add(c.before)
			e.HandleEvent(now, &phy.Event{Kind: phy.Missed})
		}
		now = now.Add(c.took)
		block := control{kind: unicast, flags: flagWanted, src: p.address, dst: e.address, epoch: p.epoch, id: p.in.newest + 1, data: 4, base: p.in.base, more: true, next: p.address}
		e.HandleEvent(now, &phy.Event{Kind: phy.Received, Burst: phy.Burst{Control: block.appendTo(nil, 63), Frames: c.frames}})
		e.HandleEvent(now, &phy.Event{Kind: phy.Idle})
		var dst phy.Burst
		if !e.NextBurst(now.Add(hostTurn), &dst) {
			t.Fatalf("%s: no answer", c.name)
		}
		answer := blockOf(&dst)
		if open := answer.next == anyone; open != c.open || answer.flags&flagAnswer == 0 {
			t.Errorf("%s: answer with flags %x names %04x, open %v wanted", c.name, answer.flags, answer.next, c.open)
		}
	}
}

// TestFloorAnswered: who answers a question with data, of which nobody knew, leaves it to others, of whom nobody knows either,
// to say that they want the floor before it goes on; where all are known to want it, or nobody else is there, it goes on.
func TestFloorAnswered(t *testing.T) {
	for _, c := range []struct {
		name   string
		others int
		want   bool // they are known to
		next   uint16
	}{
		{"two more of whom nothing is known", 2, false, anyone},
		{"nobody else", 0, false, 1},
		{"two more that want it", 2, true, 1},
	} {
		m := newMedium(t, testSeed)
		m.table = quickModes()
		n, other := m.add("alpha", nil), m.add("beta", nil)
		e := n.engine
		m.meet()
		m.run(30*time.Second, nil)
		for i := range c.others {
			e.newPeer(m.now, uint16(70+i), 1).more = c.want
		}
		p := e.peerNamed("beta")
		e.access.floor.opened = m.now
		for i := range 20 {
			if err := e.EnqueuePacket(m.now, ipv4(protoTCP, n.addr, other.addr, 80, i, 1280)); err != nil {
				t.Fatal(err)
			}
		}
		block := control{kind: unicast, flags: flagWanted, src: p.address, dst: e.address, epoch: p.epoch, id: p.in.newest + 1, base: p.in.base}
		e.HandleEvent(m.now, &phy.Event{Kind: phy.Received, Burst: phy.Burst{Control: block.appendTo(nil, 63)}})
		var dst phy.Burst
		if !e.NextBurst(m.now.Add(hostTurn), &dst) {
			t.Fatalf("%s: no answer", c.name)
		}
		if c.next == 1 {
			c.next = e.address
		}
		if answer := blockOf(&dst); answer.next != c.next || answer.flags&flagAnswer == 0 || answer.data == 0 || !answer.more {
			t.Errorf("%s: answer with flags %x and %d frames names %04x, want %04x", c.name, answer.flags, answer.data, answer.next, c.next)
		}
	}
}

// TestFloorCalled: where the answer opens the floor behind a burst of ours, others get the time for a question and the begin of
// its answer, which is all that we would hear of them.
func TestFloorCalled(t *testing.T) {
	m := newMedium(t, testSeed)
	m.table = quickModes()
	n := m.add("alpha", nil)
	other := m.add("beta", nil)
	m.meet()
	m.run(5*time.Second, nil)
	e, p, now := n.engine, n.engine.peers[0], m.now
	for i := range 20 {
		if err := e.EnqueuePacket(now, ipv4(protoTCP, n.addr, other.addr, 80, i, 1280)); err != nil {
			t.Fatal(err)
		}
	}
	var dst phy.Burst
	begin := func() (waited time.Duration, c control) {
		from := now
		for !e.NextBurst(now, &dst) {
			if now = now.Add(time.Millisecond); now.Sub(from) > 10*time.Second {
				t.Fatal("it does not begin")
			}
		}
		waited, c = now.Sub(from), blockOf(&dst)
		now = now.Add(time.Second)
		e.BurstSent(now, nil)
		return waited, c
	}
	_, c := begin()
	if c.data == 0 {
		t.Fatalf("first %+v", c)
	}
	answer := control{
		kind: unicast, flags: flagAnswer | flagReport | flagHeard, src: p.address, dst: e.address, epoch: p.epoch, id: p.in.newest + 1,
		base: p.in.base, next: anyone, peerEpoch: e.cfg.Epoch, newest: c.id, want: noMCS, heard: []heardBurst{{id: c.id, n: 1}},
	}
	now = now.Add(100 * time.Millisecond)
	e.HandleEvent(now, &phy.Event{Kind: phy.Received, Burst: phy.Burst{Control: answer.appendTo(nil, 63)}})
	question := e.answerAirtime(e.basicMode()) + e.turnaround() + hostTurn
	waited, _ := begin()
	if least := e.ifs() + question; waited < least {
		t.Errorf("began %v later, a question takes %v", waited, least)
	}

	// The peer answers another, who is known to be hidden by now: it did not hear our question. That answer opens the floor,
	// so nothing holds us back.
	before := e.Stats().Bursts.Silence
	e.access.hidden, p.silent = now, silentBursts
	answer.dst, answer.id, answer.flags = 77, answer.id+1, flagAnswer
	now = now.Add(100 * time.Millisecond)
	e.HandleEvent(now, &phy.Event{Kind: phy.Received, Burst: phy.Burst{Control: answer.appendTo(nil, 63)}})
	if got := e.Stats().Bursts.Silence - before; got != 1 || e.access.asked != nil || now.Before(p.holdOff) {
		t.Errorf("%d questions without an answer, asked %v, held off by %v; want one, and nothing to wait for", got, e.access.asked != nil, p.holdOff.Sub(now))
	}
	e.access.floor.toldMore, e.access.floor.toldAt = true, now // others, too, who are hidden from us
	for from, want := range map[uint16]bool{e.address: true, 77: false} {
		e.access.floor.from = from
		if last := e.rank(now) > e.newcomerSlots()+2*openSlots; last != want {
			t.Errorf("behind a turn of %04x it begins last: %v, want %v", from, last, want)
		}
	}
}

// TestFloorHidden: two stations that do not hear one another, with more to send to a
// third than the medium carries, both get their share: its answers repeat what they
// say of the floor. What begins without the floor may meet the other's burst, so half
// of what TestFloor asks for is left.
func TestFloorHidden(t *testing.T) {
	for seed := range uint64(3) {
		s := newSaturated(t, testSeed+seed)
		a, b, c := s.nodes[0], s.nodes[1], s.nodes[2]
		a.deaf[c], c.deaf[a] = true, true
		s.run(20*time.Second, nil) // each takes the other for gone
		got := map[netip.Addr]float64{}
		start := s.now
		for end := s.now.Add(3 * time.Minute); s.now.Before(end); s.run(time.Second, nil) {
			for _, n := range []*node{a, c} {
				for len(n.queue) < 4 {
					s.sent++
					s.send(n, ipv4(protoTCP, n.addr, b.addr, 80, s.sent, 1280))
				}
			}
		}
		for _, pkt := range b.got {
			from, _ := netip.AddrFromSlice(pkt[12:16])
			got[from] += float64(len(pkt))
		}
		x, y := got[a.addr], got[c.addr]
		rate := 8 * (x + y) / s.now.Sub(start).Seconds() / s.table[len(s.table)-1].NetBPS
		jain := (x + y) * (x + y) / (x*x + y*y) / 2
		t.Logf("seed %d: %.2f of the rate, Jain %.3f", testSeed+seed, rate, jain)
		if rate < floorLeast/2 || jain < 0.95 {
			t.Errorf("seed %d: %.2f of the rate, want %.2f; Jain %.3f, want 0.95", testSeed+seed, rate, floorLeast/2, jain)
		}
	}
}

// TestHiddenPatience: whom we ask hears others instead of us, again and again. Questions come more often than to one that does not
// answer anybody, as they have to meet a gap, and none of them becomes the longer for it.
func TestHiddenPatience(t *testing.T) {
	for _, hides := range []bool{false, true} {
		m := newMedium(t, testSeed)
		a := m.add("alpha", nil)
		m.add("beta", nil)
		m.meet()
		e := a.engine
		p := e.peerNamed("beta")
		e.access.hides = hides
		longest := time.Duration(0)
		for range 4 * longSilent {
			p.heard, p.unheard = m.now, 0 // to others
			e.silence(m.now, p)
			longest = max(longest, p.holdOff.Sub(m.now))
		}
		if mode := e.sendMode(p); hides != (mode >= e.basicMode()) || hides != (longest <= hiddenHoldOff) {
			t.Errorf("others are hidden %v: mode %d, held off for %v", hides, mode, longest)
		}
	}
}
