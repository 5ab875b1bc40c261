package ofdm

// AppendConstellation appends the payload's cells of the burst that was just
// received, each divided by the channel, to dst: points of a QAM whose mean power
// is 1, with the noise that the decoder saw. It is to be called while emit handles
// a Received event; at other times, and for a burst without frames, it appends
// nothing.
func (d *Demodulator) AppendConstellation(dst []complex64) []complex64 {
	r := d.rx
	p := &r.plan
	if d.state != reading || p.frames == 0 {
		return dst
	}
	if p.isBlock {
		b := r.blocks
		w := p.walk()
		for j, y := range b.y {
			if kind, _ := w.at(j); kind == blockCell {
				z, _ := equalise(y, b.h[j], 0)
				dst = append(dst, z)
			}
		}
		return dst
	}
	if p.streams == 2 {
		return r.appendPairCells(dst)
	}
	body := r.symbols[len(r.symbols)-p.bodyCount:]
	for i := p.training; i < len(body); i++ {
		order := p.order(i)
		offset, every := p.comb(i)
		way := r.way(i)
		for j, y := range body[i].y {
			if j%every == offset {
				continue
			}
			if _, ok := order.next(); !ok {
				break
			}
			z, _ := equalise(y, way.h[j], 0)
			dst = append(dst, z)
		}
	}
	return dst
}

// appendPairCells is AppendConstellation for two channels: both streams' cells,
// separated.
func (r *receiver) appendPairCells(dst []complex64) []complex64 {
	p := &r.plan
	left := r.symbols[len(r.symbols)-p.bodyCount:]
	right := r.rightSymbols[len(r.rightSymbols)-p.bodyCount:]
	for i := p.training; i < p.bodyCount; i++ {
		order := p.order(i)
		offset := pilotOffset(i, p.pilots)
		for s := range 2 {
			w0, w1 := r.pairWay.weight[s][0], r.pairWay.weight[s][1]
			for j := range left[i].y {
				if j%p.pilots == offset {
					continue
				}
				if _, ok := order.next(); !ok {
					break
				}
				dst = append(dst, w0[j]*left[i].y[j]+w1[j]*right[i].y[j])
			}
		}
	}
	return dst
}
