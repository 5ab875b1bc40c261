package link

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"time"

	"lightsong/link/header"
	"lightsong/phy"
)

const (
	maxPeers   = 256
	maxLearned = 1024 // source addresses learned from packets

	forgetAfter = 10 * time.Minute // since a peer went down
	retireFor   = 30 * time.Second // a former epoch is not taken for a restart
	maxRetired  = 4

	firstGreeting = 3 * time.Second // after a station was first heard, at least; doubled from then on
	maxGreetings  = 6               // doublings
)

// peer is a station heard, or, as Engine.flood, all of them.
type peer struct {
	address  uint16
	name     string // empty until its beacon was read
	epoch    uint16
	retired  []uint16 // former epochs: their bursts are replays
	prefixes []netip.Prefix
	state    PeerState
	heard    time.Time
	downAt   time.Time
	interval time.Duration // of its beacons
	nearby   []uint16      // addresses of the stations that its last one named
	silent   int           // questions in a row without an answer
	unheard  int           // questions without an answer since it was last heard
	patience int           // so many of them tell that it is gone
	lossy    float64       // share of questions without an answer, smoothed
	unproven int           // since it last answered one
	proven   time.Time     // when that was
	deaf     bool          // it answers nothing, though it is heard
	wellOut  int           // index of the mode in which data reached it last,
	wellIn   int           // and in which its own came
	suspect  bool          // since it last answered, data went in a better mode than wellOut
	keptOut  ceiling       // of modes, when it last answered
	keptIn   ceiling
	settled  bool          // what had come in part was given up
	recallAt time.Time     // when it is called next, while it is gone
	metAt    time.Time     // acquaintance is one-sided since then, or it was asked then
	greeted  int           // doublings of how long nothing is done about that
	metFirst time.Time     // it was heard for the first time
	chance   time.Time     // it spoke last, or had its slot in an open floor and did not
	more     bool          // it said that it has more to send
	talks    bool          // its last burst had data for us
	took     time.Duration // and how long that was
	hurries  time.Time     // when it said last that somebody waits for small packets of its
	holdOff  time.Time     // nothing is sent to it before that, because it did not answer

	// What goes to it.
	scheduler
	headers     *header.Compressor
	alive       []*packet // numbered, from the oldest that is not acknowledged
	sequence    int       // how often the numbers began anew
	nextSeq     uint16
	freshSeq    bool // nothing was acknowledged yet
	nextID      uint8
	freshID     uint8 // of the first burst of this sequence
	outstanding []*sentBurst
	failed      []*sentBurst // frames were lost of them since something was last sent
	bare        bareBurst
	dueBy       time.Time // when it should have reported on a burst to several stations
	lapses      int       // so many times in a row it did not
	owes        bool      // we owe it such a report
	told        told
	arrivals    arrivals
	poll        bool // ask what arrived before anything is repeated
	question    question
	tx          transmission

	// What comes from it.
	in    inbox     // unicast
	flood inbox     // broadcast
	rx    reception // of plain bursts

	forms            [phy.Forms]special // of the others
	lastForm         phy.Form           // of the last burst to it
	lastBrief        bool               // that was a brief block
	briefRest        int                // bursts of other kinds that must come through before there are brief blocks again
	briefFails       int                // of them that were lost, times briefProofs, less those that came through
	swings           bool               // its clock runs fast or slow as only that of an end does that is moved
	calmed           bool               // it did until its last burst: the next one to it is a block, whatever it saw before
	clock, lastClock float64            // ppm, what its clock is usually fast by, and what it was last; NaN before
	agreed           int                // bursts in a row that say it is another
	unsteady         bool               // the path to it changes, or did so a moment ago
	vain             int                // bursts to it in a row that were lost, slow modes not counted
	steady           time.Time          // the path was last seen to change, or to carry nothing: what waited until then is not what its sender was too fast for
	roomy            kept               // the most that might wait for it
	wide             kept               // the most that might be under way to it
	sounded          bool               // a plain burst with data went to it, which tells what more of them would see
	suits            int                // index of the mode in which the modem would like the next plain burst; −1: it cannot tell
	moves            bool               // the path from it changes because one of us is moved
	garbled          bool               // of its last burst nothing could be read but the control block
	polled           int                // so many of its bursts in a row only asked: it may not have read what we sent before

	echoes      bool          // most of what it hears of us, and so what each of us hears of itself, are echoes that outlast a plain burst's symbols: blocks see so much more, while nobody moves
	fading      time.Duration // what the echoes of its bursts need to be less than an answer
	spreads     [2]float64    // s, the delay spread of its last blocks, the latest first
	rtt, rttVar time.Duration
	gaps        shortest  // half duplex: from a burst's end to its answer's begin
	stats       PeerStats // the counters only
}

// base is the oldest sequence number that is alive.
func (p *peer) base() uint16 {
	if len(p.alive) > 0 {
		return p.alive[0].seq
	}
	return p.nextSeq
}

// forget takes a packet that is done out of its flow.
func (p *peer) forget(pkt *packet) {
	pkt.flow.remove(pkt)
	if !pkt.flow.listed {
		p.unlist(pkt.flow)
	}
}

// trim moves base past what is done.
func (p *peer) trim() {
	n := 0
	for n < len(p.alive) && p.alive[n].done {
		p.pool.drop(p.alive[n])
		n++
	}
	if n > 0 {
		p.alive = slices.Delete(p.alive, 0, n)
	}
}

func (p *peer) windowOpen() bool { return p.nextSeq-p.base() < window }

// live tells whether packets may be sent to the peer.
func (p *peer) live() bool { return p.state != PeerDown }

// peerAt finds a peer by its address.
func (e *Engine) peerAt(address uint16) *peer {
	i, ok := slices.BinarySearchFunc(e.peers, address, func(p *peer, a uint16) int { return int(p.address) - int(a) })
	if !ok {
		return nil
	}
	return e.peers[i]
}

func (e *Engine) peerNamed(name string) *peer {
	for _, p := range e.peers {
		if p.name == name {
			return p
		}
	}
	return nil
}

// newPeer makes room for a station and enters it.
func (e *Engine) newPeer(now time.Time, address, epoch uint16) *peer {
	if len(e.peers) >= maxPeers {
		oldest := slices.MinFunc(e.peers, func(a, b *peer) int { return a.heard.Compare(b.heard) })
		e.removePeer(now, oldest)
	}
	p := &peer{suits: -1, clock: math.NaN(), lastClock: math.NaN(), scheduler: scheduler{pool: &e.pool}, headers: header.NewCompressor(true), address: address, epoch: epoch, state: PeerHeard, heard: now, metFirst: now, interval: e.minBeaconInterval(), metAt: now}
	p.tx, p.rx = newTransmission(e.modes), newReception(e.modes)
	switch {
	case e.cfg.Caps.FullDuplex:
		p.rx.leap, p.rx.margin, p.rx.start = duplexLeap, duplexStart, duplexStart
		p.rx.fine, p.rx.weight = duplexStep, duplexWeight
	case e.formed:
		p.rx.leap = roomLeap
	}
	p.forms = newForms(e.modes)
	p.nextID = uint8(e.random.Uint32())
	p.restartSequence(e)
	i, _ := slices.BinarySearchFunc(e.peers, address, func(p *peer, a uint16) int { return int(p.address) - int(a) })
	e.peers = slices.Insert(e.peers, i, p)
	e.tryHeld(now)
	e.beaconSoon(now)
	return p
}

// restartSequence begins the numbering of packets anew: everything that is
// alive is sent again, whole; voids have served.
func (p *peer) restartSequence(e *Engine) {
	p.freshSeq, p.nextSeq, p.freshID = true, uint16(e.random.Uint32()), p.nextID
	p.sequence++
	p.arrivals, p.told = arrivals{}, told{}
	p.headers.Reset()
	p.outstanding, p.failed, p.poll, p.question = nil, nil, false, question{}
	p.dueBy, p.lapses, p.owes = time.Time{}, 0, false
	if e.access.asked == p {
		e.access.asked = nil
	}
	for _, pkt := range p.alive {
		if pkt.done {
			continue
		}
		if pkt.void {
			e.finish(p, pkt)
			continue
		}
		pkt.numbered, pkt.pred, pkt.acked = false, nil, nil
		pkt.first, pkt.tries = time.Time{}, 0
		pkt.expect, pkt.wire = len(pkt.data)+1, nil
		pkt.pending = pkt.pending[:0].add(0, pkt.size())
		pkt.flow.last = nil
		p.wait(pkt)
		p.activate(pkt.flow)
	}
	p.alive = p.alive[:0]
}

// removePeer forgets a station; its packets look for another way.
func (e *Engine) removePeer(now time.Time, p *peer) {
	if i := slices.Index(e.peers, p); i >= 0 {
		e.peers = slices.Delete(e.peers, i, i+1)
	}
	if e.access.asked == p {
		e.access.asked = nil
	}
	if e.access.owed == p {
		e.access.owed = nil
	}
	if e.access.goOn == p {
		e.access.goOn = nil
	}
	if e.access.with == p {
		e.access.with = nil
	}
	e.rxSize -= p.in.octets + p.flood.octets
	for address, l := range e.learned {
		if l.peer == p {
			delete(e.learned, address)
		}
	}
	var waiting []*packet
	for _, f := range p.flows {
		for _, pkt := range f.packets {
			if pkt.void {
				e.queued.Packets--
				continue
			}
			waiting = append(waiting, pkt)
		}
	}
	slices.SortFunc(waiting, func(a, b *packet) int { return cmp.Compare(a.serial, b.serial) })
	for _, pkt := range waiting {
		e.queued.Packets--
		e.queued.Octets -= len(pkt.data)
		e.route(now, &packet{data: pkt.data, tcp: pkt.tcp, born: pkt.born, asked: pkt.asked, serial: pkt.serial})
	}
}

// identify brings the table up to date with a control block that was heard. It
// returns nil when the block is a replay or comes from our own address.
func (e *Engine) identify(now time.Time, c *control) *peer {
	if c.src == e.address {
		if c.epoch != e.cfg.Epoch {
			e.stats.Hostile.Conflicts++
			e.beaconSoon(now)
		}
		return nil
	}
	p := e.peerAt(c.src)
	if p == nil {
		return e.newPeer(now, c.src, c.epoch)
	}
	if c.epoch == p.epoch {
		return p
	}
	if slices.Contains(p.retired, c.epoch) && now.Sub(p.heard) < retireFor {
		e.stats.Hostile.Replayed++
		return nil
	}
	if p.retired = append(p.retired, p.epoch); len(p.retired) > maxRetired {
		p.retired = slices.Delete(p.retired, 0, 1)
	}
	p.epoch = c.epoch
	p.stats.Restarts++
	p.state, p.metAt, p.greeted = PeerHeard, now, 0
	p.deaf, p.unproven, p.holdOff = false, 0, time.Time{}
	p.restoreModes()
	asked, answers := e.access.asked, e.answers(p, c)
	question := p.question
	p.restartSequence(e)
	e.closeInbox(p, &p.in)
	e.closeInbox(p, &p.flood)
	if answers {
		p.question, e.access.asked = question, asked // the exchange goes on
	} else {
		e.greetBack(now, p)
	}
	return p
}

// resolveShort finds out who sent a short block, ourselves perhaps, and what it left out
// because we know it; false if it is for somebody else, or we do not.
func (e *Engine) resolveShort(c *control) bool {
	for _, p := range e.peers {
		if c.tag == tagOf(e.address, p.address, e.cfg.Epoch, p.epoch) {
			c.src, c.dst, c.epoch, c.peerEpoch = e.address, p.address, e.cfg.Epoch, p.epoch
			return true
		}
		if p.in.valid && c.tag == tagOf(p.address, e.address, p.epoch, e.cfg.Epoch) {
			c.src, c.dst, c.epoch, c.peerEpoch = p.address, e.address, p.epoch, e.cfg.Epoch
			if !c.based {
				c.base = p.in.told
			}
			return true
		}
	}
	return false
}

// answers tells whether a control block of p is the answer to our question: it names the burst, or
// nothing that was heard, if p began anew and what we asked was meant for what it was before.
func (e *Engine) answers(p *peer, c *control) bool {
	q := &p.question
	if !q.open || c.kind != unicast || c.dst != e.address || c.flags&flagReport == 0 || c.peerEpoch != e.cfg.Epoch {
		return false
	}
	if c.flags&flagHeard == 0 {
		return c.flags&flagAnswer != 0
	}
	return int8(c.newest-q.id) >= 0
}

// signOfLife notes that the peer was heard just now; answers: by the answer to our question.
func (e *Engine) signOfLife(now time.Time, p *peer, ev *phy.Event, answers bool) {
	p.heard, p.unheard = now, 0
	if spread := ev.Quality.DelaySpread; spread > 0 {
		if e.formOf(ev) == phy.Block {
			before := p.spreads
			p.spreads = [...]float64{spread, before[0]}
			if math.IsNaN(ev.Quality.SNRs[phy.Long]) { // a brief one measures it to a factor of two: what not three in a row see is not believed
				spread = min(spread, before[0], before[1])
			}
		}
		// Noise hides the end of the echoes: those who see most of them are right.
		p.fading = max(time.Duration(min(fadings*max(0, spread-usualSpread), maxFading.Seconds())*float64(time.Second)), p.fading*15/16)
	}
	if p.state == PeerUp && p.name != "" && len(p.outstanding) == 0 {
		p.poll = false // there was nothing else to ask
	}
	p.suits = -1
	if e.formed {
		e.hearForms(p, ev)
		e.hearClock(p, ev.Quality.PPM)
		if ev.Quality.Wants {
			p.suits = e.modes.index(ev.Quality.Want)
		}
	}
	if e.formOf(ev) == phy.Plain {
		of := e.bounds(p, &ev.Burst)
		switch {
		case of == upper && (p.moves || p.swings): // its symbols may have been too long for it
		case of == lower && p.forms[phy.Block].barred:
			p.rx.heard(ev.Quality.SNR, exact) // less was seen because the path changes
		case of == vague && !(ev.Quality.SNR < e.modes[e.modes.index(ev.Burst.MCS)].SNRdB+comfort): // more could not have been seen
		default:
			p.rx.heard(ev.Quality.SNR, of)
		}
	}
	if p.state == PeerDown {
		e.comeBack(now, p, answers)
	}
}

// bounds tells what a burst's SNR is worth.
func (e *Engine) bounds(p *peer, b *phy.Burst) snrBound {
	lost := 0
	for _, f := range b.Frames {
		if f == nil {
			lost++
		}
	}
	want, asked := p.rx.want(e.modes)
	mode := e.modes.index(b.MCS)
	octets, _ := frameOctets(b)
	switch {
	case float64(lost) > mostLoss*float64(len(b.Frames)):
		return upper
	case asked && (len(b.Frames) == 0 || mode < want || e.cfg.Caps.FullDuplex && !p.rx.rough && short(&e.modes[mode], octets)):
		if e.cfg.Caps.FullDuplex {
			return vague
		}
		return lower
	}
	return exact
}

// hearsUs notes that the peer has shown that our bursts reach it.
func (e *Engine) hearsUs(p *peer) {
	if p.state == PeerHeard && !p.deaf {
		p.state = PeerUp
	}
}

// takeBeacon learns from a beacon's body.
func (e *Engine) takeBeacon(now time.Time, p *peer, b *beacon) {
	if other := e.peerNamed(b.name); other != nil && other != p {
		// The station has moved to another address.
		e.removePeer(now, other)
	}
	p.name, p.prefixes = b.name, b.prefixes
	p.interval = time.Duration(b.interval) * time.Second
	p.nearby = p.nearby[:0]
	for _, n := range b.heard {
		p.nearby = append(p.nearby, n.address)
		if n.address != e.address {
			continue
		}
		e.hearsUs(p)
		e.takeWish(p, n.want, n.snr)
		p.poll = p.poll && len(p.outstanding) > 0
	}
	e.findHidden()
	e.tryHeld(now)
}

// findHidden finds out whether a live peer hears somebody whom we never heard, by its last beacon: whom we did
// hear may be gone, and the beacon old. Where many get to know one another it says nothing, as most are just not known yet.
func (e *Engine) findHidden() {
	a := &e.access
	hid, hides := a.hides, false
	for _, p := range e.peers {
		hides = hides || e.ownSlots() && p.live() && slices.ContainsFunc(p.nearby, func(address uint16) bool {
			return address != e.address && e.peerAt(address) == nil
		})
	}
	if a.hides = hides; hides && !hid {
		e.forgive()
	}
}

// forgive takes back what was concluded from answers that did not come, because it is known now that bursts may have
// met those of somebody whom we do not hear: neither modes nor forms have failed, and the path does not change.
func (e *Engine) forgive() {
	for _, p := range e.peers {
		p.tx.ceiling, p.rx.ceiling = newCeiling(e.modes), newCeiling(e.modes)
		p.unsteady, p.vain, p.briefRest, p.briefFails = false, 0, 0, 0
		for f := range p.forms {
			p.forms[f].rest, p.forms[f].fails = 0, 0
		}
	}
}

// takeWish notes in which mode a peer wants to be sent to, and what it hears.
func (e *Engine) takeWish(p *peer, want uint8, snr int8) {
	p.tx.want = -1
	if want != noMCS {
		p.tx.want = e.modes.index(phy.MCS(want))
	}
	p.tx.snr = math.NaN()
	if snr != noSNR {
		p.tx.snr = float64(snr) * snrUnit
	}
}

// conflict settles that a beacon of another station came from our own address:
// the one whose name sorts later takes another; of two with one name, the one
// with the later epoch.
func (e *Engine) conflict(now time.Time, c *control, b *beacon) {
	if b.name > e.cfg.Name || b.name == e.cfg.Name && c.epoch >= e.cfg.Epoch {
		return // it will move
	}
	e.salt++
	e.address = e.drawAddress()
	for _, p := range e.peers {
		p.restartSequence(e)
	}
	e.access.owed = nil
	e.beaconSoon(now)
}

// drawAddress hashes the name and the number of conflicts to an address that no
// known station uses.
func (e *Engine) drawAddress() uint16 {
	for {
		h := fnv(fnvBasis, []byte(e.cfg.Name))
		if e.salt > 0 {
			h = fnv(h, []byte{byte(e.salt), byte(e.salt >> 8)})
		}
		address := uint16(h ^ h>>16)
		if address != 0 && address != broadcast && e.peerAt(address) == nil {
			return address
		}
		e.salt++
	}
}

// learned is where a source address was seen.
type learned struct {
	peer *peer
	at   time.Time
}

// learn notes that a packet from an address came by way of a peer.
func (e *Engine) learn(now time.Time, addr netip.Addr, p *peer) {
	if addr.IsMulticast() || addr.IsUnspecified() || e.ownAddress(addr) {
		return
	}
	if _, known := e.learned[addr]; !known && len(e.learned) >= maxLearned {
		oldest, at := addr, now
		for a, l := range e.learned {
			if l.at.Before(at) || l.at.Equal(at) && a.Less(oldest) {
				oldest, at = a, l.at
			}
		}
		delete(e.learned, oldest)
	}
	e.learned[addr] = learned{p, now}
}

func (e *Engine) ownAddress(addr netip.Addr) bool {
	return slices.ContainsFunc(e.cfg.Prefixes, func(p netip.Prefix) bool { return p.Addr() == addr })
}

// isBroadcast tells whether a destination is all stations: limited broadcast,
// multicast, or the broadcast address of an own IPv4 prefix.
func (e *Engine) isBroadcast(addr netip.Addr) bool {
	if addr.IsMulticast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return true
	}
	if !addr.Is4() {
		return false
	}
	for _, p := range e.cfg.Prefixes {
		if p.Addr().Is4() && p.Bits() < 31 && p.Contains(addr) {
			host := ^uint32(0) >> p.Bits()
			a := addr.As4()
			if (uint32(a[0])<<24|uint32(a[1])<<16|uint32(a[2])<<8|uint32(a[3]))&host == host {
				return true
			}
		}
	}
	return false
}

// wayTo finds the station for a unicast destination. hold tells that there is
// none yet, but that one may turn up.
func (e *Engine) wayTo(dst netip.Addr) (p *peer, hold bool) {
	best := -1
	name := ""
	for _, r := range e.cfg.Routes {
		if r.Prefix.Contains(dst) && r.Prefix.Bits() > best {
			best, name = r.Prefix.Bits(), r.Station
		}
	}
	if best >= 0 {
		p = e.peerNamed(name)
		return p, p == nil
	}
	for _, q := range e.peers {
		if slices.ContainsFunc(q.prefixes, func(x netip.Prefix) bool { return x.Addr() == dst }) && (p == nil || !p.live()) {
			p = q
		}
	}
	if p != nil {
		return p, false
	}
	if l, ok := e.learned[dst]; ok {
		return l.peer, false
	}
	live := 0
	for _, q := range e.peers {
		if q.live() {
			p, live = q, live+1
		}
	}
	switch live {
	case 0:
		return nil, true
	case 1:
		return p, false
	}
	// Of several it may be one whose beacon was not read yet, or another one.
	return nil, slices.ContainsFunc(e.cfg.Prefixes, func(x netip.Prefix) bool { return x.Contains(dst) })
}

// inTurn yields the peers in a fixed order that begins behind the one served last.
func (e *Engine) inTurn(yield func(*peer) bool) {
	start, _ := slices.BinarySearchFunc(e.peers, e.served, func(p *peer, a uint16) int {
		if p.address <= a {
			return -1
		}
		return 1
	})
	for i := range e.peers {
		if !yield(e.peers[(start+i)%len(e.peers)]) {
			return
		}
	}
}
