package header

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

const testSeed = 20261121

// host makes the packets of one flow as a host would, with the oddities that
// real traffic has.
type host struct {
	r      *rand.Rand
	kind   string
	f      fields
	clock  uint32
	window []uint16
}

// kinds of flows.
var kinds = []string{"bulk", "acks", "sack", "ssh", "udp", "udp no sum", "ping", "pong"}

func newHost(r *rand.Rand, kind string, version uint8) *host {
	h := &host{r: r, kind: kind, clock: r.Uint32(), window: []uint16{501, 502, 64240}}
	f := &h.f
	f.version, f.ttl = version, 64
	n := 4
	if version == 6 {
		n, f.label = 16, r.Uint32()&0xfffff
	} else {
		f.frag, f.id = 0x4000, uint16(r.Uint32())
	}
	for i := range n {
		f.src[i], f.dst[i] = byte(r.Uint32()), byte(r.Uint32())
	}
	binary.BigEndian.PutUint32(f.ports[:], r.Uint32())
	switch kind {
	case "udp", "udp no sum":
		f.proto = protoUDP
		f.noSum = kind == "udp no sum" && version == 4
		if r.IntN(2) == 0 {
			f.id = 0
		}
	case "ping", "pong":
		f.proto, f.ports[0], f.ports[1] = protoICMP, 8, 0
		if version == 6 {
			f.proto, f.ports[0] = protoICMPv6, 128
		}
		if kind == "pong" {
			f.ports[0] = map[byte]byte{8: 0, 128: 129}[f.ports[0]]
		}
	default:
		f.proto = protoTCP
		f.seq, f.ack, f.window = r.Uint32(), r.Uint32(), 501
		f.layout, f.tsVal, f.tsEcr = layoutTimestamps, h.clock, r.Uint32()
		f.flags = flagACK
		if r.IntN(8) == 0 {
			f.layout, f.tsVal, f.tsEcr = 0, 0, 0
		}
	}
	return h
}

// next is the flow's next packet. odd is the probability that it is not like the
// one before in some way.
func (h *host) next(odd float64) []byte {
	f, r := &h.f, h.r
	rare := func() bool { return r.Float64() < odd }
	h.clock += uint32(r.IntN(400))
	size := 0
	switch h.kind {
	case "bulk":
		size = 1208
	case "ssh":
		size = 36 * r.IntN(3)
	case "acks", "sack":
	default:
		size = 8 + r.IntN(100)
	}
	if f.id != 0 {
		f.id++
		if h.kind == "pong" {
			f.id += uint16(r.IntN(200))
		}
	}
	switch {
	case rare():
		f.tos = f.tos&^3 | byte(r.IntN(4)) // a router marks it
	case rare():
		f.ttl = byte(60 + r.IntN(4))
	case rare() && f.version == 6:
		f.label = r.Uint32() & 0xfffff
	case rare() && f.version == 4:
		f.frag ^= 0x4000
	case rare():
		f.id = uint16(r.Uint32()) * uint16(7-f.version) / 3
		if f.version == 6 {
			f.id = 0
		}
	}
	f.echo++
	if rare() {
		f.echo += uint16(r.IntN(1000))
	}
	if f.proto == protoTCP {
		f.flags = flagACK
		if f.timestamps() {
			f.tsVal = h.clock
			f.tsEcr += uint32(r.IntN(400))
		}
		if h.kind != "bulk" {
			f.ack += uint32(r.IntN(4) * 1208 / (1 + r.IntN(40)))
		}
		if size > 0 && r.IntN(4) == 0 {
			f.flags |= flagPSH
		}
		f.seq = f.next
		if h.kind == "sack" {
			f.layout = f.layout&layoutTimestamps | layoutSACK*byte(r.IntN(4))
			f.sack = [maxSACK][2]uint32{}
			for i := range f.blocks() {
				left := f.ack + uint32(r.IntN(100000)) - 2000
				f.sack[i] = [2]uint32{left, left + uint32(r.IntN(30000))}
			}
		}
		switch {
		case rare():
			f.window = h.window[r.IntN(3)]
		case rare():
			f.flags = uint16(r.IntN(0x200))
		case rare():
			f.seq -= uint32(r.IntN(9000)) // repeated
		case rare():
			f.urgent = uint16(r.IntN(2))
		case rare():
			f.seq, f.ack = r.Uint32(), r.Uint32()
		case rare():
			f.tsVal = r.Uint32() * uint32(f.layout&1)
		case rare():
			f.layout, f.tsVal, f.tsEcr = layoutRaw, 0, 0
			f.sack, f.options = [maxSACK][2]uint32{}, [maxOptions]byte{2, 4, 5, byte(r.IntN(200))}
			f.optionsLen = 4
		case f.layout == layoutRaw:
			f.layout, f.options, f.optionsLen = layoutTimestamps, [maxOptions]byte{}, 0
		}
		f.setNext(size)
	}
	payload := make([]byte, size)
	for i := range payload {
		payload[i] = byte(r.Uint32())
	}
	pkt := append(f.appendTo(nil, payload), payload...)
	if rare() {
		pkt[1+r.IntN(len(pkt)-1)] ^= byte(1 << r.IntN(8)) // damaged before it came here
	}
	return pkt
}

// sentPacket is one on the way.
type sentPacket struct {
	pkt, wire []byte
	ref       Ref
	fate      int // 0: open, 1: arrived, 2: lost
}

// path is a link as the package demands it: in order per flow, and it tells what
// arrived; but anything may be lost and it may tell so late.
type path struct {
	c       *Compressor
	d       *Decompressor
	flows   [][]*sentPacket
	all     []*sentPacket // in the order of Compress, from the oldest that is open
	tell    []Ref         // arrived, not told yet
	wires   uint64
	packets uint64
}

func (p *path) oldest() uint64 {
	for len(p.all) > 0 && p.all[0].fate != 0 {
		p.all = p.all[1:]
	}
	if len(p.all) == 0 {
		return ^uint64(0)
	}
	return p.all[0].ref.Number()
}

func (p *path) send(t testing.TB, flow int, pkt []byte) {
	t.Helper()
	wire, ref := p.c.Compress(nil, pkt, uint32(flow), p.oldest())
	if len(wire) > len(pkt)+1 {
		t.Fatalf("%d octets became %d", len(pkt), len(wire))
	}
	p.packets++
	p.wires += uint64(len(wire))
	s := &sentPacket{pkt: pkt, wire: wire, ref: ref}
	p.flows[flow] = append(p.flows[flow], s)
	p.all = append(p.all, s)
}

// settle decides the fate of one open packet of a flow and gives the host what is
// in order.
func (p *path) settle(t testing.TB, r *rand.Rand, flow int, loss float64) {
	t.Helper()
	q := p.flows[flow]
	if len(q) == 0 {
		return
	}
	s := q[r.IntN(min(len(q), 4))]
	switch {
	case s.fate != 0:
	case r.Float64() < loss:
		s.fate = 2
	default:
		s.fate = 1
		p.tell = append(p.tell, s.ref)
	}
	for len(q) > 0 && q[0].fate != 0 {
		if s := q[0]; s.fate == 1 {
			got, err := p.d.Decompress(nil, s.wire)
			if err != nil {
				t.Fatalf("seed %d: packet %d of flow %d: %v (%x)", testSeed, s.ref.Number(), flow, err, s.wire)
			}
			if !bytes.Equal(got, s.pkt) {
				t.Fatalf("seed %d: packet %d of flow %d: got\n%x, want\n%x", testSeed, s.ref.Number(), flow, got, s.pkt)
			}
		}
		q = q[1:]
	}
	p.flows[flow] = q
	for len(p.tell) > 0 && r.IntN(3) > 0 {
		i := r.IntN(min(len(p.tell), 10))
		p.c.Delivered(p.tell[i])
		p.tell = append(p.tell[:i], p.tell[i+1:]...)
	}
}

// TestExact: over a link that loses up to 30 % for good, with more flows than
// contexts, every packet that arrives comes out to the bit, 1,000,000 of them.
func TestExact(t *testing.T) {
	count := 1_000_000
	if testing.Short() {
		count = 100_000
	}
	r := rand.New(rand.NewPCG(testSeed, 1))
	for _, c := range []struct{ loss, odd float64 }{{0, 0.001}, {0.01, 0.01}, {0.1, 0.01}, {0.3, 0.05}} {
		p := &path{c: NewCompressor(true), d: NewDecompressor(true)}
		var hosts []*host
		for i := range 2 * Contexts {
			hosts = append(hosts, newHost(r, kinds[i%len(kinds)], []uint8{4, 6}[i/len(kinds)%2]))
		}
		p.flows = make([][]*sentPacket, len(hosts))
		for i := 0; p.packets < uint64(count/4); i++ {
			// Some flows are busy at a time, and others later.
			flow := (i/3000*7 + r.IntN(Contexts+4)) % len(hosts)
			if len(p.flows[flow]) < 50 {
				p.send(t, flow, hosts[flow].next(c.odd))
			}
			for range 1 + r.IntN(3) {
				p.settle(t, r, (i/3000*7+r.IntN(Contexts+4))%len(hosts), c.loss)
			}
			if i%3000 == 2999 { // a lull
				for flow := range p.flows {
					for len(p.flows[flow]) > 0 {
						p.settle(t, r, flow, c.loss)
					}
				}
			}
		}
		s := p.c.Stats()
		t.Logf("loss %.0f %%, odd %.1f %%: %d packets, %d compressed, %d full, %d without a context; %.1f octets saved each", 100*c.loss, 100*c.odd,
			s.Packets, s.Compressed, s.Full, s.Refused, float64(s.In-s.Out)/float64(s.Packets))
		if s.Compressed < s.Packets/3 {
			t.Errorf("only %d of %d packets were compressed", s.Compressed, s.Packets)
		}
	}
}

// TestUnheard: without acknowledgements, with loss, packets that overtake each
// other and packets that come twice, nothing damaged is delivered, and most of
// what arrives is. An error of the context is found by 16 bits of CRC and 16 of
// checksum: 4e4 errors pass with a probability of 1e-5.
func TestUnheard(t *testing.T) {
	count := 400_000
	if testing.Short() {
		count = 50_000
	}
	r := rand.New(rand.NewPCG(testSeed, 2))
	c, d := NewCompressor(false), NewDecompressor(false)
	var hosts []*host
	for i := range Contexts + 8 {
		hosts = append(hosts, newHost(r, kinds[i%len(kinds)], []uint8{4, 6}[i/len(kinds)%2]))
	}
	type flying struct{ pkt, wire []byte }
	var air []flying
	delivered, refused, arrived := 0, 0, 0
	for i := range count {
		flow := (i/3000 + r.IntN(12)) % len(hosts)
		pkt := hosts[flow].next(0.01)
		wire, _ := c.Compress(nil, pkt, uint32(flow), ^uint64(0))
		if len(wire) > len(pkt)+1 {
			t.Fatalf("%d octets became %d", len(pkt), len(wire))
		}
		if i/50%20 == 0 && r.IntN(3) > 0 || r.IntN(20) == 0 { // loss in bouts, and besides
			continue
		}
		air = append(air, flying{pkt, wire})
		if r.IntN(10) == 0 {
			air = append(air, air[r.IntN(len(air))])
		}
		if r.IntN(10) == 0 {
			j := r.IntN(len(air))
			air[j], air[len(air)-1] = air[len(air)-1], air[j]
		}
		for len(air) > 4 {
			f := air[0]
			air = air[1:]
			arrived++
			got, err := d.Decompress(nil, f.wire)
			switch {
			case err != nil:
				refused++
			case !bytes.Equal(got, f.pkt):
				t.Fatalf("seed %d: after %d packets: got\n%x, want\n%x", testSeed, arrived, got, f.pkt)
			default:
				delivered++
			}
		}
	}
	t.Logf("%d arrived, %d delivered, %d refused", arrived, delivered, refused)
	if delivered < arrived*85/100 {
		t.Errorf("%d of %d delivered", delivered, arrived)
	}
}

// TestResync: a Decompressor that has lost its contexts refuses; after Invalidate
// the very next packet is right again, whatever became of those between.
func TestResync(t *testing.T) {
	r := rand.New(rand.NewPCG(testSeed, 3))
	for _, kind := range kinds {
		h := newHost(r, kind, 4)
		c, d := NewCompressor(true), NewDecompressor(true)
		send := func() ([]byte, []byte, error) {
			pkt := h.next(0)
			wire, ref := c.Compress(nil, pkt, 1, 0)
			got, err := d.Decompress(nil, wire)
			if err == nil {
				c.Delivered(ref)
			}
			return pkt, got, err
		}
		for range 5 {
			if pkt, got, err := send(); err != nil || !bytes.Equal(pkt, got) {
				t.Fatalf("%s: %v", kind, err)
			}
		}
		if c.Stats().Compressed != 4 {
			t.Errorf("%s: %d of 5 packets compressed, want 4", kind, c.Stats().Compressed)
		}
		d.Reset()
		if _, got, err := send(); !errors.Is(err, ErrContext) || len(got) > 0 {
			t.Errorf("%s: after Reset: %v", kind, err)
		}
		c.Invalidate()
		if pkt, got, err := send(); err != nil || !bytes.Equal(pkt, got) {
			t.Errorf("%s: after Invalidate: %v", kind, err)
		}
		if pkt, got, err := send(); err != nil || !bytes.Equal(pkt, got) || c.Stats().Compressed != 6 {
			t.Errorf("%s: after a full header: %v, %d compressed", kind, err, c.Stats().Compressed)
		}
		c.Reset()
		d.Reset()
		if pkt, got, err := send(); err != nil || !bytes.Equal(pkt, got) {
			t.Errorf("%s: after both began anew: %v", kind, err)
		}
	}
}

// TestSizes holds what is promised: in steady flow the header of a TCP
// acknowledgement takes at most 8 octets, of UDP and ICMP at most 6.
func TestSizes(t *testing.T) {
	r := rand.New(rand.NewPCG(testSeed, 4))
	for _, c := range []struct {
		kind  string
		mean  float64 // octets, at most
		worst int
	}{{"acks", 8, 8}, {"udp", 6, 6}, {"udp no sum", 6, 6}, {"ping", 6, 6}, {"pong", 6, 6}, {"ssh", 8, 8}, {"bulk", 13, 13}, {"sack", 30, 45}} {
		for _, version := range []uint8{4, 6} {
			h := newHost(r, c.kind, version)
			if h.f.proto == protoTCP {
				h.f.layout = layoutTimestamps
			}
			x := NewCompressor(true)
			var f fields
			sum, worst, was, count := 0, 0, 0, 1000
			for i := range count {
				pkt := h.next(0)
				head, _ := f.parse(pkt)
				wire, ref := x.Compress(nil, pkt, 1, 0)
				x.Delivered(ref)
				if i == 0 {
					continue
				}
				n := len(wire) - (len(pkt) - head)
				sum, worst, was = sum+n, max(worst, n), head
			}
			mean := float64(sum) / float64(count-1)
			t.Logf("IPv%d %s: %d octets become %.1f in the mean, %d at most", version, c.kind, was, mean, worst)
			if mean > c.mean || worst > c.worst {
				t.Errorf("IPv%d %s: %.1f octets in the mean, %d at most; want %.0f and %d", version, c.kind, mean, worst, c.mean, c.worst)
			}
		}
	}
}

// keystroke is a character typed into ssh and its echo, 36 octets each
// (chacha20-poly1305), over links that acknowledge everything: three packets of
// 88, 88 and 52 octets. It returns what they become.
func keystroke(t *testing.T, version uint8, pause, rtt uint32) (octets int) {
	r := rand.New(rand.NewPCG(testSeed, 5))
	typist, echo := newHost(r, "ssh", version), newHost(r, "ssh", version)
	for _, h := range []*host{typist, echo} {
		h.f.layout = layoutTimestamps
	}
	a, b := NewCompressor(true), NewCompressor(true)
	x, y := NewDecompressor(true), NewDecompressor(true)
	clock := r.Uint32()
	send := func(c *Compressor, d *Decompressor, from, to *host, size int, at uint32) int {
		f := &from.f
		f.seq, f.ack, f.tsVal, f.tsEcr = f.next, to.f.next, clock+at, to.f.tsVal
		if f.id != 0 {
			f.id++
		}
		f.flags = flagACK
		if size > 0 {
			f.flags |= flagPSH
		}
		f.setNext(size)
		payload := make([]byte, size)
		pkt := append(f.appendTo(nil, payload), payload...)
		wire, ref := c.Compress(nil, pkt, 1, 0)
		if got, err := d.Decompress(nil, wire); err != nil || !bytes.Equal(got, pkt) {
			t.Fatalf("%v", err)
		}
		c.Delivered(ref)
		return len(wire)
	}
	for range 20 {
		octets = send(a, x, typist, echo, 36, 0)
		octets += send(b, y, echo, typist, 36, rtt/2)
		octets += send(a, x, typist, echo, 0, rtt)
		clock += pause
	}
	return octets
}

func TestKeystroke(t *testing.T) {
	for _, version := range []uint8{4, 6} {
		for _, pause := range []uint32{150, 500, 2000, 3500} {
			if n := keystroke(t, version, pause, min(300, pause/2)); n > 90 {
				t.Errorf("IPv%d, %d ms between keys: a keystroke takes %d octets, want at most 90", version, pause, n)
			} else {
				t.Logf("IPv%d, %d ms between keys: %d octets", version, pause, n)
			}
		}
	}
}

// TestPassThrough: what is no TCP, UDP or echo, or would not come out the same,
// goes as it is, at no cost.
func TestPassThrough(t *testing.T) {
	r := rand.New(rand.NewPCG(testSeed, 6))
	whole := newHost(r, "bulk", 4).next(0)
	change := func(f func(p []byte)) []byte {
		p := bytes.Clone(whole)
		f(p)
		return p
	}
	icmp := newHost(r, "ping", 4).next(0)
	icmp[20] = 3
	for name, pkt := range map[string][]byte{
		"IP checksum":  change(func(p []byte) { p[10]++ }),
		"TCP checksum": change(func(p []byte) { p[36]++ }),
		"payload":      change(func(p []byte) { p[len(p)-1]++ }),
		"fragment":     change(func(p []byte) { p[6] = 0x20 }),
		"offset":       change(func(p []byte) { p[7] = 1 }),
		"options":      change(func(p []byte) { p[0] = 0x46 }),
		"data offset":  change(func(p []byte) { p[32] = 0xff }),
		"longer":       append(bytes.Clone(whole), 0),
		"shorter":      whole[:len(whole)-1],
		"GRE":          change(func(p []byte) { p[9] = 47 }),
		"unreachable":  icmp,
		"octet":        {0x45},
	} {
		c, d := NewCompressor(true), NewDecompressor(true)
		for range 3 {
			wire, ref := c.Compress(nil, pkt, 1, 0)
			got, err := d.Decompress(nil, wire)
			if err != nil || !bytes.Equal(got, pkt) || !bytes.Equal(wire, pkt) {
				t.Errorf("%s: %x became %x, then %x: %v", name, pkt, wire, got, err)
			}
			c.Delivered(ref)
		}
	}
}

// TestContextReuse: a context is not given to another flow before all of its
// packets are known to be dealt with.
func TestContextReuse(t *testing.T) {
	r := rand.New(rand.NewPCG(testSeed, 7))
	c := NewCompressor(true)
	var first Ref
	for i := range Contexts {
		_, ref := c.Compress(nil, newHost(r, "udp", 4).next(0), uint32(i), 1)
		if i == 0 {
			first = ref
		}
	}
	pkt := newHost(r, "udp", 4).next(0)
	if wire, _ := c.Compress(nil, pkt, 99, first.Number()); !bytes.Equal(wire, pkt) || c.Stats().Refused != 1 {
		t.Errorf("a context was taken whose packet is on its way: %x", wire[:4])
	}
	if wire, _ := c.Compress(nil, pkt, 99, first.Number()+1); bytes.Equal(wire, pkt) || wire[0] != 0 {
		t.Errorf("the oldest context was not taken: %x", wire[:4])
	}
	if got := c.Flows(); got != Contexts {
		t.Errorf("%d flows", got)
	}
}

// TestWindow checks the bounds of window-based LSB against trying all references.
func TestWindow(t *testing.T) {
	r := rand.New(rand.NewPCG(testSeed, 8))
	for range 200_000 {
		base := r.Uint32()
		var w reach
		var values []uint32
		span := 1 << (1 + r.IntN(20))
		for i := range 1 + r.IntN(5) {
			v := base + uint32(r.IntN(span))
			if i == 0 {
				w = reach{lo: v, hi: v}
			}
			w.add(v)
			values = append(values, v)
		}
		v := base + uint32(r.IntN(2*span)) - uint32(span/4)
		k := []int{6, 8, 12, 14, 16, 18}[r.IntN(6)]
		fits := w.fits(v, k, 1)
		for _, ref := range values {
			if got := resolve(ref, v&(1<<k-1), k); fits && got != v {
				t.Fatalf("seed %d: %d bits of %#x seen from %#x of %x give %#x", testSeed, k, v, ref, values, got)
			}
		}
	}
}

// FuzzDecompressor gives a Decompressor anything.
func FuzzDecompressor(f *testing.F) {
	r := rand.New(rand.NewPCG(testSeed, 9))
	for i, kind := range kinds {
		h, c := newHost(r, kind, []uint8{4, 6}[i%2]), NewCompressor(true)
		var all []byte
		for range 4 {
			wire, ref := c.Compress(nil, h.next(0.1), 1, 0)
			c.Delivered(ref)
			all = append(append(all, byte(len(wire)>>8), byte(len(wire))), wire...)
		}
		f.Add(all, true)
		f.Add(all, false)
	}
	f.Fuzz(func(t *testing.T, in []byte, acknowledged bool) {
		d := NewDecompressor(acknowledged)
		prefix := []byte("prefix")
		for len(in) >= 2 {
			n := min(int(in[0])<<8|int(in[1]), len(in)-2)
			wire := in[2 : 2+n]
			in = in[2+n:]
			got, err := d.Decompress(prefix, wire)
			if !bytes.HasPrefix(got, prefix) || err != nil && len(got) != len(prefix) || len(got) > len(prefix)+len(wire)+maxHeader {
				t.Fatalf("%x gives %x, %v", wire, got, err)
			}
		}
	})
}

// FuzzRoundTrip sends packets that the fuzzer makes of real ones through both
// ends; some are lost, and acknowledgements come late.
func FuzzRoundTrip(f *testing.F) {
	r := rand.New(rand.NewPCG(testSeed, 10))
	for i, kind := range kinds {
		f.Add(newHost(r, kind, []uint8{4, 6}[i%2]).next(0), []byte{4, 1, 2, 0x84, 7, 9, 0x44, 3, 3, 38, 200, 1})
	}
	f.Fuzz(func(t *testing.T, pkt, edits []byte) {
		c, d := NewCompressor(true), NewDecompressor(true)
		var late []Ref
		pkt = bytes.Clone(pkt)
		for range 200 {
			if len(edits) < 3 || len(pkt) == 0 {
				break
			}
			pkt[int(edits[0]&0x3f)%len(pkt)] = edits[1]
			var x fields
			if n, ok := x.parse(pkt); ok && edits[2]&3 != 0 { // with the right checksums
				copy(pkt, x.appendTo(nil, pkt[n:]))
			}
			wire, ref := c.Compress(nil, pkt, 1, 0)
			if len(wire) > len(pkt)+1 {
				t.Fatalf("%d octets became %d", len(pkt), len(wire))
			}
			if edits[0]&0x80 == 0 {
				got, err := d.Decompress(nil, wire)
				ip := pkt[0]>>4 == 4 || pkt[0]>>4 == 6
				if ip && (err != nil || !bytes.Equal(got, pkt)) {
					t.Fatalf("%x became %x, then %x: %v", pkt, wire, got, err)
				}
				late = append(late, ref)
			}
			if edits[0]&0x40 == 0 {
				for _, ref := range late {
					c.Delivered(ref)
				}
				late = late[:0]
			}
			edits = edits[3:]
		}
	})
}

// BenchmarkRoundTrip is both ends in steady flow; it asserts that nothing is
// allocated.
func BenchmarkRoundTrip(b *testing.B) {
	for _, kind := range []string{"acks", "bulk", "udp"} {
		for _, version := range []uint8{4, 6} {
			b.Run(fmt.Sprintf("%s IPv%d", kind, version), func(b *testing.B) {
				roundTrips(b, kind, version)
			})
		}
	}
}

func roundTrips(tb testing.TB, kind string, version uint8) {
	r := rand.New(rand.NewPCG(testSeed, 11))
	h := newHost(r, kind, version)
	c, d := NewCompressor(true), NewDecompressor(true)
	var pkts [][]byte
	for range 64 {
		pkts = append(pkts, h.next(0))
	}
	var wire, out []byte
	n := 0
	trip := func() {
		var ref Ref
		wire, ref = c.Compress(wire[:0], pkts[n%len(pkts)], 1, 0)
		var err error
		if out, err = d.Decompress(out[:0], wire); err != nil {
			tb.Fatal(err)
		}
		c.Delivered(ref)
		n++
	}
	trip()
	if b, ok := tb.(*testing.B); ok {
		b.ReportAllocs()
		for b.Loop() {
			trip()
		}
	}
	if allocs := testing.AllocsPerRun(100, trip); allocs > 0 {
		tb.Errorf("%s: %.1f allocations", kind, allocs)
	}
}

func TestAllocs(t *testing.T) {
	for _, kind := range kinds {
		roundTrips(t, kind, 4)
	}
}
