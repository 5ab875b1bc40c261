package link

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/klauspost/reedsolomon"

	"lightsong/link/header"
	"lightsong/link/payload"
	"lightsong/phy"
)

// minFrame is the shortest frame, in octets, that a mode may have: a fragment
// header and as much again.
const minFrame = 16

// maintenance is the most time between two looks at what has grown old. It is drawn
// anew each time, so that stations do not have the same thought at the same moment.
const maintenance = 250 * time.Millisecond

const (
	maxHeldPackets = 32 // for stations that are not known
	waitFlood      = 10 * time.Second
	maxOutOctets   = 1 << 20 // received packets that the caller has not taken
	maxRxOctets    = 4 << 20 // of packets received in part, of all peers
	maxPeerOctets  = 256 << 10
	assemblyCost   = 64 // octets that a packet received in part costs besides its content
)

// Engine is one station's data link: a machine without goroutine, clock or
// descriptor. Every method takes the time, which never runs backwards; one
// goroutine calls them, in the order in which things happen:
//
//	EnqueuePacket, HandleEvent, BurstSent    whenever there is something
//	NextPacket                               until it has none
//	NextBurst                                then, and again at Deadline
//	Urgent, NextInsert, Inserted             likewise, where the PHY is a phy.Inserter
//
// Input from the medium never fails and never panics: what no station sends in
// good order is counted in Stats.
type Engine struct {
	cfg     Config
	modes   modes
	basic   int // 1 + index of the mode for first contact; 0: not known yet
	random  *rand.Rand
	address uint16
	salt    uint16 // address conflicts lost

	peers       []*peer // by address
	served      uint16  // address of the peer that had its turn last
	all         *peer   // broadcast, sent without acknowledgement
	learned     map[netip.Addr]learned
	connections connections
	held        []*packet // no station is known for them

	serial  uint64 // of packets taken from the host
	queued  QueueStats
	out     [][]byte // packets for the host
	taken   int      // of out, by the host
	pool    pool
	outSize int // octets
	rxSize  int // octets of packets received in part

	access   access
	limits   []limit
	mayLast  time.Duration // the next burst, by the limits
	told     time.Duration // by the PHY: its turnaround
	beacons  beacons
	maintain time.Time
	greetAt  time.Time // when a station that never answered may be asked again

	// The burst that is being sent, and what it is made of.
	current  current
	inner    current   // that which is being put into its middle
	spare    making    // what such bursts are made of
	insertAt time.Time // when to look again whether one can be
	control  control
	joined   []*peer   // who get something with a burst to several stations,
	sections []control // of its control block,
	acks     []ack     // likewise,
	parts    []part    // and what
	incoming control   // of the burst that is being read
	block    []byte
	store    []byte
	tail     tail
	base     uint16 // that the receiver of what is being made has, or one before it
	frames   [][]byte
	probe    phy.Burst
	zeros    []byte
	formed   bool // bursts have forms
	blocks   int  // index of the most robust mode in which a single frame is a block
	longs    int  // index of the most robust mode in which bursts of all there is are long ones
	lively   int  // index of the slowest mode in which a burst with a little in it is soon over
	codes    map[[2]int]reedsolomon.Encoder
	shards   [][]byte
	deflate  payload.Compressor
	inflate  payload.Decompressor
	inflated []byte

	stats Stats // the counters only
}

// New makes an Engine. Errors wrap ErrConfig.
func New(cfg Config, now time.Time) (*Engine, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	e := &Engine{
		cfg:         cfg,
		modes:       newModes(cfg.Caps.Modes, cfg.Caps.Form != nil),
		random:      rand.New(rand.NewPCG(cfg.Seed, uint64(cfg.Epoch)<<32|uint64(fnv(fnvBasis, []byte(cfg.Name))))),
		address:     cfg.Address,
		all:         &peer{address: broadcast, tx: newTransmission(nil), headers: header.NewCompressor(false)},
		learned:     map[netip.Addr]learned{},
		connections: connections{},
		codes:       map[[2]int]reedsolomon.Encoder{},
		maintain:    now.Add(maintenance),
		told:        cfg.Caps.Turnaround,
		mayLast:     forEver,
	}
	if e.address == 0 {
		e.address = e.drawAddress()
	}
	longest := cfg.Caps.MaxControl
	for _, m := range e.modes {
		longest = max(longest, m.FrameOctets)
	}
	e.zeros = make([]byte, longest)
	e.findForms()
	e.all.pool = &e.pool
	if need := e.startLimits(); e.allowed(now) < need {
		return nil, fmt.Errorf("%w: an airtime of %v: a burst of the slowest kind that must be sent takes %v", ErrConfig, e.allowed(now), need)
	}
	e.startAccess(now)
	e.startBeacons(now)
	return e, nil
}

// EnqueuePacket takes a packet from the host; it copies pkt. The error is
// ErrQueueFull or wraps ErrPacket; a packet without a way to its destination is
// counted.
func (e *Engine) EnqueuePacket(now time.Time, pkt []byte) error {
	h, ok := parseIP(pkt)
	if !ok {
		e.stats.Packets.Dropped.Invalid++
		return fmt.Errorf("%w: neither IPv4 nor IPv6", ErrPacket)
	}
	if len(pkt) > e.cfg.MTU {
		e.stats.Packets.Dropped.Invalid++
		return fmt.Errorf("%w: %d octets exceed the MTU of %d", ErrPacket, len(pkt), e.cfg.MTU)
	}
	if e.queued.Octets+len(pkt) > e.cfg.QueueOctets && (!e.roomy(len(pkt)) || !e.makeRoom(len(pkt))) {
		e.stats.Packets.Dropped.QueueFull++
		return ErrQueueFull
	}
	e.stats.Packets.In++
	e.stats.Packets.InOctets += uint64(len(pkt))
	e.serial++
	e.tryHeld(now) // what came earlier goes first
	p := e.pool.packet()
	p.data = append(e.pool.buffer(len(pkt)), pkt...)
	p.tcp, p.born, p.serial = h.proto == protoTCP, now, e.serial
	e.route(now, p)
	return nil
}

// CanEnqueue tells whether the queue has room for a packet of any length, or makes
// it by dropping one of the longest flow (FQCoDel).
func (e *Engine) CanEnqueue() bool {
	return e.queued.Octets+e.cfg.MTU <= e.cfg.QueueOctets || e.roomy(e.cfg.MTU)
}

// NextPacket copies the next packet for the host to dst, which should have room
// for MaxMTU octets; one that is longer than dst is dropped.
func (e *Engine) NextPacket(dst []byte) (n int, ok bool) {
	for e.taken < len(e.out) {
		pkt := e.out[e.taken]
		e.out[e.taken] = nil
		e.taken++
		e.outSize -= len(pkt)
		e.pool.freeBuffer(pkt)
		if len(pkt) > len(dst) {
			e.stats.Packets.Dropped.Overflow++
			continue
		}
		e.stats.Packets.Out++
		e.stats.Packets.OutOctets += uint64(len(pkt))
		return copy(dst, pkt), true
	}
	e.out, e.taken = e.out[:0], 0
	return 0, false
}

// Up tells whether the link has a live peer that hears us.
func (e *Engine) Up() bool {
	return slices.ContainsFunc(e.peers, func(p *peer) bool { return p.state == PeerUp })
}

// Stats is a snapshot that shares nothing with the Engine.
func (e *Engine) Stats() Stats {
	s := e.stats
	s.Station, s.Address, s.Epoch, s.Up = e.cfg.Name, e.address, e.cfg.Epoch, e.Up()
	s.Turnaround, s.Sensing = e.turnaround(), e.access.sensing
	s.Queue.Packets, s.Queue.Octets = e.queued.Packets, e.queued.Octets
	s.Headers.addCompressor(e.all.headers)
	s.Payload = e.deflate.Stats()
	s.Airtime.Limits = e.limitStats()
	s.Peers = make([]PeerStats, 0, len(e.peers))
	for _, p := range e.peers {
		s.Headers.addCompressor(p.headers)
		t := p.stats
		t.Name, t.Address, t.Addresses, t.State, t.LastHeard = p.name, p.address, append([]netip.Prefix{}, p.prefixes...), p.state, p.heard
		t.SNR, t.SNRThere = finite(p.rx.snr), finite(p.tx.snr)
		t.MCSOut = uint8(e.modes[e.fastest(p)].MCS)
		t.MCSIn = uint8(e.modes[e.wished(p)].MCS)
		t.RTT, t.Loss, t.LossThere = p.rtt, p.rx.loss, p.tx.loss
		for _, f := range p.flows {
			t.Queue.Packets += len(f.packets)
		}
		t.Queue.Octets, t.Queue.Flows, t.Queue.Target = p.waiting, len(p.flows), e.pace(p).target
		s.Peers = append(s.Peers, t)
	}
	return s
}

// finite is nil for a value that JSON cannot carry.
func finite(v float64) *float64 {
	if v != v || v-v != 0 {
		return nil
	}
	return &v
}

// route puts a packet of the host into the queue of its station, or of all.
func (e *Engine) route(now time.Time, pkt *packet) {
	h, _ := parseIP(pkt.data)
	if e.isBroadcast(h.dst) {
		e.enqueue(now, e.all, &h, pkt)
		return
	}
	p, hold := e.wayTo(h.dst)
	switch {
	case p != nil:
		e.enqueue(now, p, &h, pkt)
	case hold && len(e.held) < maxHeldPackets:
		e.held = append(e.held, pkt)
		e.queued.Packets++
		e.queued.Octets += len(pkt.data)
	default:
		e.stats.Packets.Dropped.Unroutable++
	}
}

// tryHeld looks for a way for the packets that had none.
func (e *Engine) tryHeld(now time.Time) {
	if len(e.held) == 0 {
		return
	}
	held := e.held
	e.held = nil
	for _, pkt := range held {
		e.queued.Packets--
		e.queued.Octets -= len(pkt.data)
		e.route(now, pkt)
	}
}

// finish ends a packet's life: acknowledged, or dropped.
func (e *Engine) finish(p *peer, pkt *packet) {
	if !pkt.numbered {
		p.leave(pkt)
	}
	pkt.done = true
	pkt.pending, pkt.acked = pkt.pending[:0], pkt.acked[:0]
	e.queued.Packets--
	e.queued.Octets -= len(pkt.data)
	p.forget(pkt)
	e.freeData(pkt)
	if pkt.refs == 0 {
		e.pool.freePacket(pkt)
	}
}

// freeData gives up what a packet contains.
func (e *Engine) freeData(pkt *packet) {
	e.pool.freeBuffer(pkt.data)
	e.pool.freeBuffer(pkt.wire)
	pkt.data, pkt.wire = nil, nil
}

// giveUp turns a numbered packet into a void, which is acknowledged like any
// other, so that the order behind it does not stall.
func (e *Engine) giveUp(p *peer, pkt *packet) {
	e.queued.Octets -= len(pkt.data)
	e.freeData(pkt)
	pkt.void, pkt.acked = true, pkt.acked[:0]
	pkt.pending = pkt.pending[:0].add(0, pkt.size())
	p.activate(pkt.flow)
}

// tick does what has become due.
func (e *Engine) tick(now time.Time) {
	e.accessTick(now)
	if now.Before(e.maintain) {
		return
	}
	e.maintain = now.Add(e.jitter(maintenance/2, maintenance))
	e.held = slices.DeleteFunc(e.held, func(pkt *packet) bool {
		if now.Sub(pkt.born) < waitUnknown {
			return false
		}
		e.stats.Packets.Dropped.Expired++
		e.queued.Packets--
		e.queued.Octets -= len(pkt.data)
		return true
	})
	e.expire(now, e.all)
	var gone []*peer
	for _, p := range e.peers {
		e.expire(now, p)
		e.lapse(now, &p.in)
		e.lapse(now, &p.flood)
		e.watch(now, p)
		if !p.live() && now.Sub(p.downAt) > forgetAfter {
			gone = append(gone, p)
		}
	}
	for _, p := range gone {
		e.removePeer(now, p)
	}
	e.findHidden()
}

// pollSoon asks a peer for a sign of life. Others may have come to the same
// thought at the same moment, so they draw lots.
func (e *Engine) pollSoon(now time.Time, p *peer) {
	p.poll = true
	p.holdOff = later(p.holdOff, now.Add(e.jitter(0, time.Duration(e.crowd(rivalWindow))*e.slot())))
}

// expire drops or gives up the packets to a peer whose time is over.
func (e *Engine) expire(now time.Time, p *peer) {
	stale := func(pkt *packet) bool {
		if p == e.all || p.live() {
			return pkt.expired(now)
		}
		return !pkt.held(now, p.downAt)
	}
	for _, pkt := range p.alive {
		if !pkt.done && !pkt.void && p.dueBy.IsZero() && stale(pkt) { // of what it has, it will report
			e.stats.Packets.Dropped.GivenUp++
			e.giveUp(p, pkt)
		}
	}
	var late []*packet
	for _, f := range p.flows {
		for _, pkt := range f.packets {
			if !pkt.numbered && (stale(pkt) || p == e.all && now.Sub(pkt.born) >= waitFlood) {
				late = append(late, pkt)
			}
		}
	}
	for _, pkt := range late {
		e.stats.Packets.Dropped.Expired++
		e.finish(p, pkt)
	}
}

// Deadline is when NextBurst has to be called next if nothing happens before; ok
// is false when it need not be called at all.
func (e *Engine) Deadline() (at time.Time, ok bool) {
	at, ok = e.accessDeadline()
	if len(e.peers) > 0 || e.queued.Packets > 0 {
		at, ok = earlier(at, ok, e.maintain), true
	}
	return at, ok
}

// earlier is the earlier of at, if it is valid, and t.
func earlier(at time.Time, valid bool, t time.Time) time.Time {
	if valid && at.Before(t) {
		return at
	}
	return t
}

// give decompresses a packet and queues it for the host.
func (e *Engine) give(now time.Time, p *peer, in *inbox, wire []byte) {
	if len(wire) > 0 && wire[0] == payload.Mark {
		var err error
		if e.inflated, err = e.inflate.Decompress(e.inflated[:0], wire, maxWire); err != nil {
			e.stats.Hostile.Malformed++
			e.loseContexts(p, in) // its header may have told something
			return
		}
		wire = e.inflated
	}
	pkt, err := in.headers.Decompress(e.pool.buffer(len(wire)+header.MaxSaving), wire)
	if errors.Is(err, header.ErrContext) {
		e.stats.Headers.Lost++
		in.lost = in == &p.in
		return
	}
	if err == nil && header.SetsContext(wire) {
		in.lost = false
	}
	h, ok := parseIP(pkt)
	if err != nil || !ok || len(pkt) > MaxMTU {
		e.stats.Hostile.Malformed++
		return
	}
	if e.outSize+len(pkt) > maxOutOctets {
		e.stats.Packets.Dropped.Overflow++
		return
	}
	if s := parseSegment(h.payload); h.proto == protoTCP && s.valid && e.connections.arrived(now, &h, &s, e.underWay(now, p)) {
		e.stats.Queue.Windows++
	}
	e.learn(now, h.src, p)
	p.stats.OctetsIn += uint64(len(pkt))
	e.out = append(e.out, pkt)
	e.outSize += len(pkt)
}

// code is the Reed-Solomon code for k data and m parity frames. It works in the
// caller's goroutine alone.
func (e *Engine) code(k, m int) (reedsolomon.Encoder, error) {
	key := [2]int{k, m}
	if c := e.codes[key]; c != nil {
		return c, nil
	}
	c, err := reedsolomon.New(k, m, reedsolomon.WithMaxGoroutines(1), reedsolomon.WithInversionCache(false))
	if err != nil {
		return nil, err
	}
	if len(e.codes) >= maxCodes {
		clear(e.codes)
	}
	e.codes[key] = c
	return c, nil
}

const maxCodes = 64
