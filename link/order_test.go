package link

import (
	"testing"
	"time"
)

// circle gives an engine at address 50 on a half-duplex medium that is taken most of the time, with live
// peers at addresses, of which those in wants have said that they have more to send.
func circle(t *testing.T, addresses []uint16, wants ...uint16) (*medium, *Engine) {
	m := newMedium(t, testSeed)
	e := m.add("self", func(c *Config) { c.Address = 50 }).engine
	for _, a := range addresses {
		p := e.newPeer(m.now, a, 1)
		p.state = PeerUp
	}
	m.now = m.now.Add(strangeFor)
	for _, p := range e.peers {
		p.heard, p.chance = m.now, m.now
	}
	for _, a := range wants {
		e.peerAt(a).more = true
	}
	e.access.usage.note(m.now, crowdedOver)
	return m, e
}

// TestOrder: the place behind the last speaker, and who is named next: the nearest station in the circle that wants to speak, or
// anyone when somebody before it has not been asked for long.
func TestOrder(t *testing.T) {
	for _, c := range []struct {
		name    string
		from    uint16
		more    bool
		wants   []uint16
		ignored []uint16 // had no chance to speak for a minute
		place   int
		next    uint16
	}{
		{name: "right behind", from: 40, place: 0},
		{name: "behind two", from: 20, place: 2},
		{name: "across the end", from: 60, place: 4},
		{name: "behind all others", from: 50, place: 5},
		{name: "of an address that nobody has", from: 35, place: 1},
		{name: "nobody wants", from: 50, place: 5, next: 0},
		{name: "nearest", from: 50, wants: []uint16{40, 10}, place: 5, next: 10},
		{name: "nearest from another", from: 20, wants: []uint16{40, 10}, place: 2, next: 40},
		{name: "ourselves at last", from: 50, more: true, wants: []uint16{30}, place: 5, next: 30},
		{name: "ourselves alone", from: 50, more: true, place: 5, next: 50},
		{name: "ourselves before another", from: 40, more: true, wants: []uint16{10}, place: 0, next: 50},
		{name: "one not asked for long", from: 50, wants: []uint16{30}, ignored: []uint16{20}, place: 5, next: anyone},
		{name: "one not asked for long behind it", from: 50, wants: []uint16{30}, ignored: []uint16{40}, place: 5, next: 30},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, e := circle(t, []uint16{10, 20, 30, 40, 60}, c.wants...)
			if !e.ordered(m.now) {
				t.Fatal("the floor is not in order")
			}
			for _, a := range c.ignored {
				e.peerAt(a).chance = m.now.Add(-time.Minute)
			}
			if got, want := e.place(c.from), time.Duration(c.place)*e.slot()+1; got != want {
				t.Errorf("begins %v after the medium is free, want %v", got, want)
			}
			e.control.more = c.more
			if got := e.nextInOrder(m.now, c.from); got != c.next {
				t.Errorf("%d speaks next, want %d", got, c.next)
			}
		})
	}
}

// TestOrderHolds: there is an order where there are many who know one another and the medium is taken.
func TestOrderHolds(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(m *medium, e *Engine)
		want bool
	}{
		{"a crowd", func(*medium, *Engine) {}, true},
		{"little is said", func(m *medium, _ *Engine) { m.now = m.now.Add(2 * crowdedOver) }, false},
		{"few are live", func(_ *medium, e *Engine) { e.peers[0].state, e.peers[1].state = PeerDown, PeerDown }, false},
		{"one in five is new", func(m *medium, e *Engine) { e.peers[0].metFirst = m.now }, false},
		{"somebody is hidden", func(m *medium, e *Engine) { e.access.hidden = m.now }, false},
		{"nobody meets anybody", func(_ *medium, e *Engine) { e.cfg.Caps.FullDuplex = true }, false},
	} {
		m, e := circle(t, []uint16{10, 20, 30, 40, 60})
		if c.edit(m, e); e.ordered(m.now) != c.want {
			t.Errorf("%s: in order is %v, want %v", c.name, !c.want, c.want)
		}
	}
}

// TestOrderFollows: what bursts say of the turn decides behind whom the order goes on, and who was passed over wants
// to speak no longer; who comes too late for its slot waits for all others.
func TestOrderFollows(t *testing.T) {
	for _, c := range []struct {
		name string
		c    control
		last uint16 // the turn before was that of this one
		want uint16
	}{
		{"a turn is over", control{src: 20, dst: 30}, 10, 20},
		{"the floor is open", control{src: 20, dst: 30, more: true, next: anyone}, 10, 20},
		{"another is named", control{src: 20, dst: 30, next: 40}, 10, 39},
		{"a question", control{src: 20, dst: 30, flags: flagWanted}, 10, 19},
		{"the answer that ends a turn", control{src: 30, dst: 20, flags: flagAnswer}, 20, 20},
	} {
		m, e := circle(t, []uint16{10, 20, 30, 40, 60}, 60)
		f := &e.access.floor
		f.from, f.behind = c.last, c.last
		c.c.kind = unicast
		e.floorNamed(m.now, &c.c, false)
		if f.behind != c.want || e.access.backoff != e.place(c.want) {
			t.Errorf("%s: the floor goes on behind %d, want %d; back-off %v", c.name, f.behind, c.want, e.access.backoff)
		}
	}

	m, e := circle(t, []uint16{10, 20, 30, 40, 60}, 10, 30)
	e.access.floor.behind = 60
	before := m.now
	m.now = m.now.Add(time.Second)
	e.floorNamed(m.now, &control{kind: unicast, src: 20, dst: 30}, false)
	if p := e.peerAt(10); p.more || !p.chance.Equal(m.now) {
		t.Error("10 had its slot, and is taken to want another")
	}
	if p := e.peerAt(30); !p.more || !p.chance.Equal(before) {
		t.Error("30 has not had its slot yet")
	}

	a := &e.access
	a.taken, a.free = false, m.now
	begin := e.mayContend()
	e.slotPassed(begin)
	if got := e.mayContend(); !got.Equal(begin) {
		t.Errorf("in its slot it may begin %v later", got.Sub(begin))
	}
	e.slotPassed(begin.Add(e.slot()))
	if got, all := e.mayContend(), a.free.Add(e.ifs()+6*e.slot()); got.Before(all) {
		t.Errorf("who is late begins %v before all had their slots", all.Sub(got))
	}
	late := a.backoff
	e.slotPassed(begin.Add(time.Minute))
	if a.backoff != late {
		t.Error("who is late is put off again")
	}
}
