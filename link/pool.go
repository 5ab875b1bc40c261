package link

// pool keeps what an Engine will need again, so that a link in steady flow
// allocates nothing. A packet is kept when it is done and nobody refers to it any
// longer; each place that holds one counts (packet.refs). Forgetting to take a
// reference back costs an allocation, nothing else.
type pool struct {
	buffers    [][]byte
	packets    []*packet
	bursts     []*sentBurst
	flows      []*flow
	assemblies []*assembly
}

const maxSpare = 128 // of each kind

// buffer is an empty one with room for n octets.
func (l *pool) buffer(n int) []byte {
	if last := len(l.buffers) - 1; last >= 0 {
		b := l.buffers[last]
		l.buffers = l.buffers[:last]
		if cap(b) >= n {
			return b[:0]
		}
	}
	return make([]byte, 0, n)
}

func (l *pool) freeBuffer(b []byte) {
	if cap(b) > 0 && len(l.buffers) < maxSpare {
		l.buffers = append(l.buffers, b[:0])
	}
}

func (l *pool) packet() *packet {
	if last := len(l.packets) - 1; last >= 0 {
		p := l.packets[last]
		l.packets = l.packets[:last]
		return p
	}
	return &packet{}
}

// drop takes a reference to a packet back.
func (l *pool) drop(p *packet) {
	for p != nil {
		p.refs--
		if p.refs > 0 || !p.done {
			return
		}
		p = l.freePacket(p)
	}
}

// freePacket keeps a packet that is done and that nobody refers to; the reference
// to its predecessor, which it returns, has to be taken back.
func (l *pool) freePacket(p *packet) (pred *packet) {
	l.freeBuffer(p.data)
	l.freeBuffer(p.wire)
	pred = p.pred
	*p = packet{pending: p.pending[:0], acked: p.acked[:0]}
	if len(l.packets) < maxSpare {
		l.packets = append(l.packets, p)
	}
	return pred
}

func (l *pool) burst() *sentBurst {
	if last := len(l.bursts) - 1; last >= 0 {
		b := l.bursts[last]
		l.bursts = l.bursts[:last]
		return b
	}
	return &sentBurst{}
}

// freeBurst keeps a burst whose pieces have given their packets up.
func (l *pool) freeBurst(b *sentBurst) {
	pieces := b.pieces
	*b = sentBurst{pieces: pieces[:0], store: b.store[:0]}
	if len(l.bursts) < maxSpare {
		l.bursts = append(l.bursts, b)
	}
}

// frame makes room for the pieces of another frame.
func (b *sentBurst) frame() *[]piece {
	if n := len(b.pieces); n < cap(b.pieces) {
		b.pieces = b.pieces[:n+1]
		b.pieces[n] = b.pieces[n][:0]
	} else {
		b.pieces = append(b.pieces, nil)
	}
	return &b.pieces[len(b.pieces)-1]
}

func (l *pool) flow(key uint32) *flow {
	if last := len(l.flows) - 1; last >= 0 {
		f := l.flows[last]
		l.flows = l.flows[:last]
		f.key = key
		return f
	}
	return &flow{key: key}
}

func (l *pool) freeFlow(f *flow) {
	l.drop(f.last)
	packets := f.packets[:0]
	*f = flow{packets: packets}
	if len(l.flows) < maxSpare {
		l.flows = append(l.flows, f)
	}
}

func (l *pool) assembly() *assembly {
	if last := len(l.assemblies) - 1; last >= 0 {
		a := l.assemblies[last]
		l.assemblies = l.assemblies[:last]
		return a
	}
	return &assembly{total: -1}
}

func (l *pool) freeAssembly(a *assembly) {
	*a = assembly{total: -1, buf: a.buf[:0], got: a.got[:0]}
	if len(l.assemblies) < maxSpare && cap(a.buf) <= 2*maxSpareOctets {
		l.assemblies = append(l.assemblies, a)
	}
}

// maxSpareOctets is a packet of the usual length; longer ones are not kept in
// hundreds.
const maxSpareOctets = 2048
