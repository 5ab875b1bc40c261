package link

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"lightsong/link/header"
	"lightsong/phy"
)

var update = flag.Bool("update", false, "write the test vectors anew")

// vectors are those of docs/wire-link.md.
func vectors() []struct{ name, hex string } {
	var out []struct{ name, hex string }
	add := func(name string, p []byte) {
		out = append(out, struct{ name, hex string }{name, hex.EncodeToString(p)})
	}
	c := control{kind: unicast, flags: flagWanted | flagFresh | flagReport, src: 0x0102, dst: 0x0304, epoch: 0xbeef, id: 7, data: 3, nav: 13, base: 0x1234,
		peerEpoch: 0xcafe, want: 5, snr: toSNR(17.5), loss: 26}
	add("control: data, an answer is wanted, nothing heard yet", c.appendTo(nil, 63))
	c = control{kind: unicast, flags: flagAnswer | flagReport | flagHeard, src: 0x0304, dst: 0x0102, epoch: 0xcafe, id: 200, base: 0x8000,
		peerEpoch: 0xbeef, newest: 8, want: noMCS, snr: noSNR,
		heard: []heardBurst{{id: 8}, {id: 7, n: 1, ok: [16]byte{0xa0}}}}
	add("control: acknowledgement of burst 8 whole and of frames 0 and 2 of burst 7", c.appendTo(nil, 63))
	c = control{kind: beaconed, src: 0x0102, dst: broadcast, epoch: 0xbeef, data: 1}
	add("control: beacon in one frame", c.appendTo(nil, 63))
	b := beacon{interval: 20, name: "alpha",
		prefixes: []netip.Prefix{netip.MustParsePrefix("10.73.0.1/24"), netip.MustParsePrefix("fd73::1/64")},
		heard:    []neighbour{{0x0304, toSNR(-3), 2}}}
	add("beacon: alpha, two addresses, one neighbour", b.appendTo(nil))
	f := fragment{seq: 0x1234, first: true, last: true, pred: 1, body: []byte("whole")}
	add("fragment: whole packet, predecessor 1 back, in a frame of 16", f.appendTo(nil, 0x1200, 16))
	f = fragment{seq: 0x1234, first: true, pred: 300, body: []byte("begin")}
	add("fragment: begin of a packet that fills its frame, predecessor 300 back", f.appendTo(nil, 0x1200, 10))
	f = fragment{seq: 0x1234, last: true, offset: 1000, body: []byte("end")}
	add("fragment: end of a packet from octet 1000", f.appendTo(nil, 0x1200, 16))
	f = fragment{seq: 0x1234, first: true, last: true, body: []byte("near")}
	add("fragment: whole packet that fills its frame, no predecessor, the base is 0x122a", f.appendTo(nil, 0x122a, 5))
	f = fragment{seq: 0x1235, first: true, last: true}
	add("fragment: void", f.appendTo(nil, 0x1200, 16))
	c = control{kind: unicast, flags: flagReport | flagHeard | flagResync, src: 0x0304, dst: 0x0102, epoch: 0xcafe, id: 201, base: 0x8000,
		peerEpoch: 0xbeef, newest: 9, want: 4, snr: toSNR(20)}
	add("control: headers could not be decompressed", c.appendTo(nil, 63))
	c = control{kind: unicast, flags: flagAnswer | flagHurry, src: 0x0304, dst: 0x0102, epoch: 0xcafe, id: 202, base: 0x8000, more: true, next: 0x0506}
	add("control: more is to be sent, 0x0506 speaks next, somebody waits", c.appendTo(nil, 63))
	c = control{kind: unicast, flags: flagAnswer | flagReport | flagHeard, src: 0x0304, dst: 0x0102, epoch: 0xcafe, id: 202, base: 0x8000,
		peerEpoch: 0xbeef, newest: 10, want: 4, snr: toSNR(12), formed: true, forms: [phy.Forms]uint8{phy.Block: 17, phy.Long: noMCS, phy.Middle: 19},
		heard: []heardBurst{{id: 10}}}
	add("control: acknowledgement with wishes for blocks, long and middle bursts", c.appendTo(nil, 63))
	c.id, c.newest, c.forms, c.heard = 203, 11, [phy.Forms]uint8{}, []heardBurst{{id: 11, n: 1, ok: [16]byte{0x40}}}
	add("control: the path changes, plain bursts alone are wanted", c.appendTo(nil, 63))
	c = control{short: true, tag: 0xabcd, flags: flagWanted, id: 8, data: 1, newest: 200, heard: []heardBurst{{id: 200}}}
	add("control, short: one frame, an answer is wanted, burst 200 arrived whole", c.appendTo(nil, 63))
	c = control{short: true, tag: 0xabcd, flags: flagWanted | flagAnswer | flagHurry, id: 9, data: 3, nav: 13, newest: 202, based: true, base: 0x1234, wish: true, want: 5, snr: toSNR(17.5), loss: 26,
		more: true, heard: []heardBurst{{id: 202}, {id: 201, n: 1, ok: [16]byte{0xa0}}}}
	add("control, short: with all that it may have", c.appendTo(nil, 63))
	c = control{short: true, tag: 0xabcd, id: 10, data: 5, newest: 202, heard: []heardBurst{{id: 203}, {id: 202}, {id: 201, n: 1, ok: [16]byte{0xa0}}, {id: 200}}}
	add("control, short: five frames; 200 and 202 arrived whole, and 203, which came in the middle of a burst", c.appendTo(nil, 63))
	c = control{kind: unicast, src: 0x0102, epoch: 0xbeef, more: true, next: 0x0506, acks: []ack{{0x0708, 0xfe, 17}},
		sections: []control{{dst: 0x0304, peerEpoch: 0xcafe, flags: flagHeard, id: 8, newest: 200, data: 1, heard: []heardBurst{{id: 200}}},
			{dst: 0x0506, peerEpoch: 0xabcd, flags: flagFresh, id: 1, data: 2, based: true, base: 0x1234}}}
	add("control, to several: 0x0708's burst 17 and 0x0304's burst 200 arrived whole, one frame for 0x0304, the first two for 0x0506", c.appendTo(nil, 63))
	x, y := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	h := header.NewCompressor(true)
	for _, v := range []struct {
		name string
		pkt  []byte
	}{
		{"TCP, whole: context 0", tcpPacket(x, y, 40000<<16|22, 1, 1, tcpACK, false, 1000, 2000, nil, 2)},
		{"TCP, as predicted: timestamps 150 and 90 later, 36 octets acknowledged", tcpPacket(x, y, 40000<<16|22, 3, 37, tcpACK|tcpPSH, false, 1150, 2090, nil, 2)},
		{"TCP with a SACK block", tcpPacket(x, y, 40000<<16|22, 5, 37, tcpACK, false, 1200, 2090, [][2]uint32{{1265, 2493}}, 0)},
		{"UDP, whole: context 1", udp(x, y, 7, 1, 32)},
		{"UDP", udp(x, y, 7, 2, 32)},
	} {
		wire, ref := h.Compress(nil, v.pkt, 1, ^uint64(0))
		h.Delivered(ref)
		add("header: "+v.name, wire)
	}
	return out
}

func TestVectors(t *testing.T) {
	var text strings.Builder
	for _, v := range vectors() {
		fmt.Fprintf(&text, "%s\n    %s\n", v.name, v.hex)
	}
	path := filepath.Join("testdata", "wire.txt")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text.String() != string(want) {
		t.Errorf("the wire format has changed:\n%swant\n%s", text.String(), want)
	}
	doc, err := os.ReadFile(filepath.Join("..", "docs", "wire-link.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range vectors() {
		if !bytes.Contains(doc, []byte(v.hex)) {
			t.Errorf("docs/wire-link.md lacks the vector of %s: %s", v.name, v.hex)
		}
	}
}

func TestControlRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(testSeed, 2))
	for range 2000 {
		c := control{
			kind: kind(r.IntN(3)), src: uint16(1 + r.IntN(0xfffe)), dst: uint16(1 + r.IntN(0xfffe)), epoch: uint16(r.Uint32()),
			id: uint8(r.Uint32()), data: uint8(r.IntN(maxData + 1)), nav: uint8(r.Uint32()), base: uint16(r.Uint32()),
			flags: uint8(r.Uint32()) & (flagWanted | flagAnswer | flagFresh | flagStranger),
			heard: []heardBurst{},
		}
		if c.kind != unicast {
			c.dst = broadcast
		} else {
			c.flags |= flagReport | flagHeard
			c.more = r.IntN(2) == 0
			if r.IntN(2) == 0 {
				c.next = uint16(1 + r.IntN(anyone))
			}
			c.peerEpoch, c.newest, c.want, c.snr, c.loss = uint16(r.Uint32()), uint8(r.Uint32()), uint8(r.Uint32()), int8(r.Uint32()), uint8(r.Uint32())
			for range r.IntN(historySize + 1) {
				h := heardBurst{id: uint8(r.Uint32()), n: uint8(r.IntN(3))}
				if r.IntN(2) == 0 {
					h.id = c.newest + 1 - uint8(r.IntN(wholeBits+1))
				}
				if slices.ContainsFunc(c.heard, func(x heardBurst) bool { return x.id == h.id }) {
					continue
				}
				for i := range h.n {
					h.ok[i] = byte(r.Uint32())
				}
				c.heard = append(c.heard, h)
			}
			if c.formed = r.IntN(2) == 0; c.formed {
				for f := phy.Block; f < phy.Forms; f++ {
					c.forms[f] = uint8(r.Uint32())
				}
			}
		}
		c.based, c.wish = true, c.kind == unicast
		if c.kind == unicast && r.IntN(2) == 0 {
			c = control{
				short: true, tag: c.src, id: c.id, data: c.data, nav: c.nav, newest: c.newest, heard: c.heard, more: c.more,
				flags: flagReport | flagHeard | uint8(r.Uint32())&(flagWanted|flagAnswer|flagHurry), based: r.IntN(2) == 0, wish: r.IntN(2) == 0,
			}
			if c.based {
				c.base = uint16(r.Uint32())
			}
			if c.wish {
				c.want, c.snr, c.loss = uint8(r.Uint32()), int8(r.Uint32()), uint8(r.Uint32())
			}
			if r.IntN(2) == 0 {
				c.data = uint8(r.IntN(2))
				if c.heard = c.heard[:0]; r.IntN(2) == 0 {
					c.heard = append(c.heard, heardBurst{id: c.newest})
				}
			}
		}
		p := c.appendTo(nil, 63)
		var got control
		if !got.parse(p) {
			t.Fatalf("seed %d: %+v does not parse", testSeed, c)
		}
		if got.heard == nil {
			got.heard = []heardBurst{}
		}
		for _, h := range [][]heardBurst{got.heard, c.heard} { // in short blocks those that arrived whole come first
			slices.SortFunc(h, func(a, b heardBurst) int { return int(a.id) - int(b.id) })
		}
		if !reflect.DeepEqual(got, c) {
			t.Fatalf("seed %d: got %+v, want %+v", testSeed, got, c)
		}
		for n := range p {
			if got.parse(p[:n]) && (n < headOctets || c.short) {
				t.Fatalf("a block of %d octets parses", n)
			}
		}
	}
}

// TestJointRoundTrip: control blocks of bursts to several stations come out as they went in, none
// that is cut short or has an octet more is taken for one, and each station finds what is its own.
func TestJointRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(testSeed, 3))
	var got control
	for range 2000 {
		c := control{kind: unicast, src: 1, dst: broadcast, epoch: uint16(r.Uint32()), more: r.IntN(2) == 0, heard: []heardBurst{}}
		if r.IntN(2) == 0 {
			c.next = uint16(1 + r.IntN(anyone))
		}
		for range r.IntN(maxAcks + 1) {
			c.acks = append(c.acks, ack{uint16(100 + len(c.acks)), uint8(r.Uint32()), uint8(r.Uint32())})
		}
		for i := range maxSections {
			s := control{dst: uint16(200 + i), peerEpoch: uint16(r.IntN(256)), flags: flagReport | flagHeard | uint8(r.Uint32())&(flagFresh|flagHurry), id: uint8(r.Uint32()),
				newest: uint8(r.Uint32()), data: uint8(r.IntN(4)), wish: r.IntN(2) == 0, heard: []heardBurst{}}
			if s.based = s.flags&flagFresh != 0 || r.IntN(2) == 0; s.based {
				s.base = uint16(r.Uint32())
			}
			if s.wish {
				s.want, s.snr, s.loss = uint8(r.Uint32()), int8(r.Uint32()), uint8(r.Uint32())
			}
			switch r.IntN(4) {
			case 0:
				s.flags &^= flagHeard
			case 1:
				s.heard = append(s.heard, heardBurst{id: s.newest})
			case 2:
				s.heard = append(s.heard, heardBurst{id: s.newest - 1, n: 1, ok: [16]byte{byte(r.Uint32())}})
			}
			if c.sections = append(c.sections, s); len(c.appendTo(nil, 63)) > 63 {
				c.sections = c.sections[:i]
				break
			}
			c.data += s.data
		}
		if !c.joint() {
			continue
		}
		p := c.appendTo(nil, 63)
		if !got.parse(p) {
			t.Fatalf("seed %d: %+v does not parse", testSeed, c)
		}
		for i := range got.sections {
			if got.sections[i].heard == nil {
				got.sections[i].heard = []heardBurst{}
			}
		}
		if !slices.Equal(got.acks, c.acks) || len(got.sections) != len(c.sections) || got.data != c.data || got.more != c.more || got.next != c.next ||
			got.src != c.src || got.epoch != c.epoch || len(c.sections) > 0 && !reflect.DeepEqual(got.sections, c.sections) {
			t.Fatalf("seed %d: got %+v, want %+v", testSeed, got, c)
		}
		at := 0
		for _, s := range c.sections {
			x := got
			from, to, acked := x.forUs(s.dst, 0xab00|s.peerEpoch)
			if from != at || to != at+int(s.data) || acked || x.dst != s.dst || x.id != s.id || x.peerEpoch != 0xab00|s.peerEpoch {
				t.Fatalf("seed %d: %04x finds frames %d to %d and %+v, want %+v", testSeed, s.dst, from, to, x, s)
			}
			at = to
		}
		for _, a := range c.acks {
			x := got
			if from, to, acked := x.forUs(a.dst, 0xab00|uint16(^a.epoch)); from != to || !acked || x.newest != a.newest || x.peerEpoch == 0xab00|uint16(^a.epoch) {
				t.Fatalf("seed %d: %04x finds %+v, want %+v", testSeed, a.dst, x, a)
			}
		}
		if x := got; true {
			if from, to, acked := x.forUs(0x5555, 1); from != to || acked || x.dst == 0x5555 {
				t.Fatalf("seed %d: a station to which nothing goes finds %+v", testSeed, x)
			}
		}
		for n := range p {
			if got.parse(p[:n]) {
				t.Fatalf("seed %d: %d octets of %x parse", testSeed, n, p)
			}
		}
		if got.parse(append(p, 0)) {
			t.Fatalf("seed %d: %x with an octet more parses", testSeed, p)
		}
	}
}

// TestJointMalformed: what no station sends to several.
func TestJointMalformed(t *testing.T) {
	good := func() control {
		return control{kind: unicast, src: 1, epoch: 7, acks: []ack{{2, 0, 0}}, sections: []control{{dst: 3, flags: flagHeard, data: 1}}}
	}
	for _, c := range []struct {
		name string
		edit func(*control)
		want bool
	}{
		{"as it should be", func(*control) {}, true},
		{"to nobody", func(c *control) { c.sections[0].dst = 0 }, false},
		{"a section for all", func(c *control) { c.sections[0].dst = broadcast }, false},
		{"to itself", func(c *control) { c.sections[0].dst = 1 }, false},
		{"from nobody", func(c *control) { c.src = 0 }, false},
		{"acknowledges nobody's", func(c *control) { c.acks[0].dst = 0 }, false},
		{"acknowledges its own", func(c *control) { c.acks[0].dst = 1 }, false},
		{"more frames than a bitmap has", func(c *control) {
			c.sections[0].data = 100
			c.sections = append(c.sections, control{dst: 4, flags: flagHeard, data: 100})
		}, false},
		{"fresh without its first number", func(c *control) { c.sections[0].flags |= flagFresh }, false},
		{"fresh", func(c *control) { c.sections[0].flags |= flagFresh; c.sections[0].based = true }, true},
		{"entries of what it never heard", func(c *control) { c.sections[0].flags = 0; c.sections[0].heard = []heardBurst{{id: 9}} }, false},
		{"more sections than there may be", func(c *control) {
			for i := range maxSections {
				c.sections = append(c.sections, control{dst: uint16(4 + i), flags: flagHeard})
			}
		}, false},
		{"more acknowledgements than there may be", func(c *control) {
			for i := range maxAcks {
				c.acks = append(c.acks, ack{uint16(4 + i), 0, 0})
			}
		}, false},
	} {
		x := good()
		c.edit(&x)
		var got control
		if p := x.appendTo(nil, 63); got.parse(p) != c.want {
			t.Errorf("%s: %x parses: %v, want %v", c.name, p, !c.want, c.want)
		}
	}
}

// TestReportFits: four full bursts with losses exceed the block; the newest are
// kept.
func TestReportFits(t *testing.T) {
	c := control{kind: unicast, src: 1, dst: 2, flags: flagReport | flagHeard}
	for i := range historySize {
		c.heard = append(c.heard, heardBurst{id: uint8(9 - i), n: maxData / 8})
	}
	p := c.appendTo(nil, 63)
	var got control
	if !got.parse(p) || len(p) > 63 || len(got.heard) != 2 || got.heard[0].id != 9 {
		t.Errorf("%d octets, %d entries", len(p), len(got.heard))
	}
	if p = c.appendTo(nil, minControl); !got.parse(p) || len(got.heard) != 1 {
		t.Errorf("the smallest block has %d entries, want 1", len(got.heard))
	}
}

func TestBeaconRoundTrip(t *testing.T) {
	long := beacon{interval: 255, name: strings.Repeat("ä", 16)}
	for i := range maxPrefixes {
		long.prefixes = append(long.prefixes, netip.PrefixFrom(netip.AddrFrom16([16]byte{15: byte(i)}), 128-i))
	}
	for i := range maxHeard {
		long.heard = append(long.heard, neighbour{uint16(i), int8(-i), uint8(i)})
	}
	for _, want := range []beacon{
		{interval: 1, name: "x"},
		{interval: 9, name: "b", prefixes: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("255.1.2.3/32"), netip.MustParsePrefix("::/0")}},
		long,
	} {
		p := want.appendTo(nil)
		var got beacon
		if !got.parse(append(bytes.Clone(p), 0, 0, 0)) || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		for n := range p {
			if got.parse(p[:n]) {
				t.Errorf("%q: %d of %d octets parse", want.name, n, len(p))
			}
		}
	}
	for _, name := range []string{"a\x1b[2J", "\xff", "a\u202e"} { // what would act on whoever shows it
		if x := (beacon{interval: 1, name: name}); new(beacon).parse(x.appendTo(nil)) {
			t.Errorf("%q is taken for a name", name)
		}
	}
}

func TestFragmentRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(testSeed, 3))
	for range 20000 {
		f := fragment{seq: uint16(r.Uint32()), first: r.IntN(2) == 0, last: r.IntN(2) == 0}
		if f.first {
			f.pred = uint16(r.IntN(window))
		} else {
			f.offset = 1 + r.IntN(5000)
		}
		total := 1 + r.IntN(60)
		room := 1 + r.IntN(60)
		base := f.seq - uint16(r.IntN(20))
		head := f.headOctets(base)
		n, ok := fitFragment(head, total, room)
		if !ok {
			if room > head+2 && total > 1 {
				t.Fatalf("%d of %d octets do not fit into %d", total, head, room)
			}
			continue
		}
		f.body = make([]byte, n)
		for i := range f.body {
			f.body[i] = byte(r.Uint32())
		}
		p := f.appendTo(nil, base, room)
		if n < 1 || len(p) > room {
			t.Fatalf("%d octets in a room of %d", len(p), room)
		}
		p = append(p, make([]byte, room-len(p))...)
		if r.IntN(2) == 0 && f.near(base) { // the receiver's is one between
			base += uint16(r.IntN(int(f.seq-base) + 1))
		}
		got, rest, done, ok := nextFragment(p, base)
		if !ok || done || !reflect.DeepEqual(got, f) {
			t.Fatalf("seed %d: got %+v, want %+v", testSeed, got, f)
		}
		if _, _, done, ok = nextFragment(rest, base); !ok || !done {
			t.Fatalf("padding is read as a fragment")
		}
	}
}

// TestSpans checks the set of octets against one that is made of single octets.
// TestFrameOctets: the frames of a burst that were received have one length, or the burst is malformed.
func TestFrameOctets(t *testing.T) {
	for _, c := range []struct {
		lengths []int // −1: lost
		octets  int
		ok      bool
	}{{nil, 0, true}, {[]int{-1, -1}, 0, true}, {[]int{-1, 9, 9}, 9, true}, {[]int{9, -1, 8}, 0, false}} {
		var b phy.Burst
		for _, n := range c.lengths {
			b.Frames = append(b.Frames, nil)
			if n >= 0 {
				b.Frames[len(b.Frames)-1] = make([]byte, n)
			}
		}
		if n, ok := frameOctets(&b); n != c.octets || ok != c.ok {
			t.Errorf("%v: %d, %v, want %d, %v", c.lengths, n, ok, c.octets, c.ok)
		}
	}
}

func TestSpans(t *testing.T) {
	r := rand.New(rand.NewPCG(testSeed, 4))
	for range 300 {
		var s spans
		var want [40]bool
		for range 40 {
			from := r.IntN(40)
			to := from + r.IntN(41-from)
			adding := r.IntN(2) == 0
			if adding {
				s = s.add(from, to)
			} else {
				s = s.remove(from, to)
			}
			for i := from; i < to; i++ {
				want[i] = adding
			}
			var got [40]bool
			for i, v := range s {
				if v.from >= v.to || i > 0 && v.from <= s[i-1].to {
					t.Fatalf("seed %d: %v is not in order", testSeed, s)
				}
				for j := v.from; j < v.to; j++ {
					got[j] = true
				}
			}
			if got != want {
				t.Fatalf("seed %d: %v after [%d, %d) %v", testSeed, s, from, to, adding)
			}
		}
	}
}

func TestFlows(t *testing.T) {
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	hash := func(p []byte) uint32 {
		h, ok := parseIP(p)
		if !ok {
			t.Fatalf("%x does not parse", p)
		}
		return h.flow
	}
	v6 := func(chain []byte, ports ...byte) []byte {
		p := append(make([]byte, 40), chain...)
		p[0], p[6] = 0x60, protoHopByHop
		p = append(p, ports...)
		p[5] = byte(len(p) - 40)
		return p
	}
	hop := []byte{protoUDP, 0, 0, 0, 0, 0, 0, 0}
	for _, c := range []struct {
		name string
		x, y []byte
		same bool
	}{
		{"same ports", udp(a, b, 1, 0, 50), udp(a, b, 1, 1, 99), true},
		{"other ports", udp(a, b, 1, 0, 50), udp(a, b, 2, 0, 50), false},
		{"other protocol", udp(a, b, 1, 0, 50), ipv4(protoTCP, a, b, 1, 0, 50), false},
		{"other direction", udp(a, b, 1, 0, 50), udp(b, a, 1, 0, 50), false},
		{"IPv6 behind an extension header", v6(hop, 0, 1, 0, 2, 0, 0), v6(hop, 0, 1, 0, 2, 7, 7), true},
		{"IPv6 other ports behind it", v6(hop, 0, 1, 0, 2), v6(hop, 0, 1, 0, 3), false},
		{"IPv6 fragments have no ports", v6([]byte{protoFragment, 0, 0, 0, 0, 0, 0, 0, protoUDP, 0, 0, 9, 0, 0, 0, 1}, 1, 2), v6([]byte{protoFragment, 0, 0, 0, 0, 0, 0, 0, protoUDP, 0, 0, 9, 0, 0, 0, 1}, 3, 4), true},
	} {
		if got := hash(c.x) == hash(c.y); got != c.same {
			t.Errorf("%s: same flow %v, want %v", c.name, got, c.same)
		}
	}
}

// TestParity holds the number of parity frames against the binomial
// distribution: with m frames for the mean and half a standard deviation, Φ(−0.5)
// = 31 % of bursts need a repetition, a little more where n is small; where m is
// not bounded by k. So few do without any where hardly one in seven loses a frame.
func TestParity(t *testing.T) {
	if got := parity(10, 0.01); got != 0 {
		t.Errorf("a clean medium costs %d parity frames", got)
	}
	for _, loss := range []float64{0.05, 0.1, 0.2, 0.3} {
		for k := 2; k <= maxData; k++ {
			m := parity(k, loss)
			if m < 1 && float64(k)*loss >= parityWorth || m > k {
				t.Fatalf("%d parity frames for %d", m, k)
			}
			if m == k {
				continue
			}
			n := k + m
			p := 1.0 // P(more than m of n lost) by the recurrence of the binomial
			for range n {
				p *= 1 - loss
			}
			ok := p
			for i := 1; i <= m; i++ {
				p *= float64(n-i+1) / float64(i) * loss / (1 - loss)
				ok += p
			}
			if fails := 1 - ok; fails > 0.4 {
				t.Errorf("k %d, loss %.2f: %d parity frames fail with %.2f", k, loss, m, fails)
			}
		}
	}
}

func TestRate(t *testing.T) {
	m := newModes([]phy.Mode{
		{MCS: 0, NetBPS: 100, SNRdB: -10},
		{MCS: 1, NetBPS: 500, SNRdB: 8}, // beaten by the next
		{MCS: 2, NetBPS: 1000, SNRdB: 0},
		{MCS: 3, NetBPS: 4000, SNRdB: 10},
	}, false)
	if len(m) != 3 || m[1].MCS != 2 || m.index(1) != 0 || m.index(3) != 2 {
		t.Fatalf("modes %+v", m)
	}
	r := newReception(m)
	if _, ok := r.want(m); ok {
		t.Error("a wish before anything was heard")
	}
	r.heard(12, exact)
	if i, _ := r.want(m); i != 1 {
		t.Errorf("12 dB with a margin of %.0f: mode %d, want 1", startMargin, i)
	}
	// Until something is lost the margin narrows by 0.5, 1, 2 … dB.
	for range 3 {
		r.frames(10, 0, true, false, mostLoss, math.Inf(-1))
	}
	if i, _ := r.want(m); i != 2 || math.Abs(r.margin-(startMargin-3.5)) > 1e-9 {
		t.Errorf("after success: mode %d with margin %.1f", i, r.margin)
	}
	for range 3 {
		r.frames(10, 10, true, false, mostLoss, math.Inf(-1))
	}
	if i, _ := r.want(m); i != 1 {
		t.Errorf("after loss: mode %d with margin %.1f", i, r.margin)
	}
	narrow := r.margin
	for range 20 {
		r.frames(10, 0, true, false, mostLoss, math.Inf(-1))
	}
	if d := narrow - r.margin; d < 1 || d > 4 {
		t.Errorf("after loss the margin narrows by %.2f dB in 20 bursts, want 1 to 4", d)
	}
	// A slower mode's SNR is a lower bound.
	for range 5 {
		r.heard(2, lower)
	}
	if r.snr < 9 {
		t.Errorf("SNR %.1f dB after five bursts in slower modes that saw 2", r.snr)
	}
	r.heard(30, lower)
	if r.snr < 15 {
		t.Errorf("SNR %.1f dB after a burst that saw 30", r.snr)
	}
	// One that could not be read is an upper bound.
	before := r.snr
	if r.heard(40, upper); r.snr != before {
		t.Errorf("SNR %.1f dB after a burst that could not be read", r.snr)
	}
	// The outer loop rests where the loss is its target.
	before = r.margin
	for range 10 {
		r.frames(10, 1, true, false, mostLoss, math.Inf(-1))
	}
	if d := r.margin - before; d > 1e-9 || d < -1e-9 {
		t.Errorf("margin moved by %.3f dB at the loss it aims at", d)
	}
	tx := newTransmission(m)
	if got := tx.index(m, 1); got != 1 {
		t.Errorf("first contact in mode %d", got)
	}
	tx.want = 2
	if got := tx.index(m, 0); got != 2 {
		t.Errorf("mode %d after success", got)
	}
	tx.outcome(2, 10, 0) // no trial any longer
	tx.loss = 0.9
	tx.outcome(2, 10, 10)
	if got := tx.index(m, 0); got != 2 {
		t.Errorf("mode %d after one bad burst", got)
	}
	tx.outcome(2, 10, 10)
	if got := tx.index(m, 0); got != 0 {
		t.Errorf("mode %d after two bad bursts", got)
	}
}

// TestCeiling: a mode that always fails is tried the later, the more often it
// has failed.
func TestCeiling(t *testing.T) {
	m := make(modes, 4)
	tx := newTransmission(m)
	tx.want, tx.loss = 3, 0.9
	var trials []int
	for burst := range 200 {
		mode := tx.index(m, 0)
		if mode >= 2 {
			trials = append(trials, burst)
			tx.outcome(mode, 10, 10)
		} else {
			tx.outcome(mode, 10, 0)
		}
	}
	if want := []int{0, 1, 3, 4, 7, 8, 13, 14, 23, 24, 41, 42, 75, 76, 141, 142}; !slices.Equal(trials, want) {
		t.Errorf("trials at bursts %v, want %v", trials, want)
	}
}

func FuzzControl(f *testing.F) {
	for _, v := range vectors() {
		p, _ := hex.DecodeString(v.hex)
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var c control
		if c.parse(p) {
			if again := c.appendTo(nil, len(p)); !bytes.Equal(again, p) {
				t.Errorf("%x is written as %x", p, again)
			}
		}
		var b beacon
		if b.parse(p) {
			var again beacon
			if !again.parse(b.appendTo(nil)) || !reflect.DeepEqual(again, b) {
				t.Errorf("%+v is read as %+v", b, again)
			}
		}
		for rest := p; ; {
			g, more, done, ok := nextFragment(rest, 7)
			if done || !ok {
				break
			}
			if len(more) >= len(rest) || g.offset+len(g.body) > maxWire {
				t.Fatalf("fragment %+v of %x", g, rest)
			}
			rest = more
		}
		parseIP(p)
	})
}

// FuzzEngine feeds an Engine bursts made of the input: control blocks that are
// valid but for what the fuzzer changes, and frames. It must neither panic nor
// keep more than its bounds, and its deadline must move on.
func FuzzEngine(f *testing.F) {
	for _, v := range vectors() {
		p, _ := hex.DecodeString(v.hex)
		f.Add(append([]byte{1, byte(len(p)), 0}, p...))
	}
	f.Add(bytes.Repeat([]byte{5, 20, 3, 0x10, 1, 2, 0, 7, 9, 9, 1, 0x19, 2, 0, 0, 5, 1, 1, 5}, 20))
	f.Fuzz(func(t *testing.T, in []byte) {
		now := time.Unix(1000, 0)
		e, err := New(Config{
			Name: "fuzz", Address: 7, Epoch: 1, Seed: 1, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")},
			Caps:    phy.Caps{Modes: testModes, Turnaround: 50 * time.Millisecond, MaxFrames: 255, MaxControl: 63, FullDuplex: len(in)%2 == 1},
			Airtime: modelAirtime(testModes),
		}, now)
		if err != nil {
			t.Fatal(err)
		}
		take := func(n int) []byte {
			n = min(n, len(in))
			p := in[:n]
			in = in[n:]
			return p
		}
		var burst phy.Burst
		var buf [MaxMTU]byte
		for range 200 {
			head := take(3)
			if len(head) < 3 {
				break
			}
			now = now.Add(time.Duration(head[0]>>3) * 37 * time.Millisecond)
			ev := phy.Event{Kind: phy.Received, Quality: phy.Quality{SNR: float64(int8(head[2]))}}
			switch head[0] & 7 {
			case 0:
				ev.Kind = phy.EventKind(head[1])
				ev.Until, ev.Samples = time.Duration(int8(head[2]))*time.Second, int64(int8(head[2]))
			case 1: // random control
				ev.Burst.Control = take(int(head[1]))
			case 2:
				to := netip.AddrFrom4([4]byte{10, 0, 0, head[1]})
				_ = e.EnqueuePacket(now, udp(netip.AddrFrom4([4]byte{10, 0, 0, 1}), to, 1, int(head[2]), 40+int(head[2])*4))
				continue
			case 3:
				if e.current.active {
					e.BurstSent(now, nil)
				}
				continue
			default: // valid control with random fields
				p := take(12)
				if len(p) < 12 {
					break
				}
				c := control{kind: kind(head[0] & 1), src: uint16(p[0]%8 + 1), dst: 7, epoch: uint16(p[1] % 3), id: p[2], flags: p[3], data: p[4] % 5, nav: p[5], base: uint16(p[6]) << 8,
					peerEpoch: 1, newest: p[7], want: p[8] % 8, snr: int8(p[9]), loss: p[10]}
				if head[0]&7 == 7 {
					c.kind = beaconed
				}
				if c.kind != unicast {
					c.dst, c.flags = broadcast, c.flags&^(flagReport|flagHeard)
				}
				if c.flags&flagHeard != 0 && c.flags&flagReport != 0 {
					c.heard = []heardBurst{{id: p[7], n: p[11] % 3, ok: [16]byte{p[2], p[3]}}}
				}
				ev.Burst.Control = c.appendTo(nil, 63)
				for range int(c.data) + int(p[11]>>6) {
					frame := take(int(head[1])%40 + 1)
					if len(frame) == int(head[1])%40+1 && frame[0] != 0xff {
						ev.Burst.Frames = append(ev.Burst.Frames, slices.Clone(frame))
					} else {
						ev.Burst.Frames = append(ev.Burst.Frames, nil)
					}
				}
			}
			e.HandleEvent(now, &ev)
			for {
				if _, ok := e.NextPacket(buf[:]); !ok {
					break
				}
			}
			if !e.NextBurst(now, &burst) {
				if at, ok := e.Deadline(); ok && !at.After(now) {
					t.Fatalf("deadline %v ago and nothing to send", now.Sub(at))
				}
			} else if len(burst.Control) > 63 || len(burst.Frames) > 255 {
				t.Fatalf("burst of %d octets of control and %d frames", len(burst.Control), len(burst.Frames))
			}
		}
		if len(e.peers) > maxPeers || e.rxSize < 0 || e.rxSize > maxRxOctets+maxPeers*(MaxMTU+assemblyCost) || e.queued.Octets < 0 || e.queued.Packets < 0 {
			t.Fatalf("%d peers, %d octets in part, queue %+v", len(e.peers), e.rxSize, e.queued)
		}
	})
}

// BenchmarkExchange is one burst of 7 frames with its acknowledgement, both
// engines: what a link in steady flow costs beside its modem.
func BenchmarkExchange(b *testing.B) {
	for _, loss := range []float64{0, 0.2} {
		b.Run(fmt.Sprintf("loss %.0f%%", loss*100), func(b *testing.B) {
			m := newMedium(b, testSeed)
			x, y := m.add("alpha", nil), m.add("beta", nil)
			m.meet()
			m.frameLoss = loss
			b.ReportAllocs()
			start, number := m.bursts, 0
			for b.Loop() {
				for x.engine.CanEnqueue() && x.engine.queued.Octets < 8000 {
					m.send(x, ipv4(protoTCP, x.addr, y.addr, 1, number, 1280))
					number++
				}
				m.run(2*time.Second, nil)
				y.got = y.got[:0]
			}
			b.ReportMetric(float64(m.bursts-start)/float64(b.N), "bursts/op")
		})
	}
}
