package ofdm

import "math"

// A sender may break off: a plug is pulled, a program killed. Without a look at what
// follows a header the receiver would be deaf, and its station silent, for as long
// as the header has announced. So the power in the band is watched: what stays
// near the noise for watchSeconds is no burst any more.
type watch struct {
	at    int64   // device sample up to which the burst went on for sure
	power float64 // below which there is no signal; 0: it cannot be told from noise
}

// watchSeconds is longer than the noise and the silences that a burst survives.
const watchSeconds = 0.3

// gonePower is the share of a signal's power below which it is not there, whatever
// became of the noise; with less noise than that both can be told apart.
const gonePower = 0.7

// beginWatch takes the measure of the burst whose header was just read.
func (d *Demodulator) beginWatch() {
	d.watch = watch{at: max(d.origin, int64(math.Round(d.start)))}
	p := &d.rx.plan
	if p.isBlock {
		return // soon over
	}
	n := int(float64(p.headerSamples()) * d.scale.ratio)
	way := &d.rx.headWay
	share := way.power / (way.power + way.floor)
	total := d.bandPower(d.watch.at, n)
	signal, noise := total*share, total*(1-share)
	if least := min(noise+signal/4, gonePower*signal); least > 1.1*noise {
		d.watch.power = least
	}
	d.watch.at += int64(n)
}

// gone is whether the burst in progress broke off, at watch.at.
func (d *Demodulator) gone() bool {
	if d.watch.power == 0 {
		return false
	}
	for n := int(watchSeconds * float64(d.scale.rate)); d.watch.at+int64(n) <= min(d.have(), d.end); {
		// The window's halves: the second tells where to go on if the signal lasts.
		half := n / 2
		if d.bandPower(d.watch.at, half) >= d.watch.power {
			d.watch.at += int64(half)
			continue
		}
		if d.bandPower(d.watch.at+int64(half), half) < d.watch.power {
			return true
		}
		d.watch.at += int64(n)
	}
	return false
}

// bandPower is the mean power of n samples from a number on, inside the band, of the
// channel that the burst was found on. It looks at whole blocks of the first finder, if there
// are any: in a part of one a converter's offset leaks into the band.
func (d *Demodulator) bandPower(from int64, n int) float64 {
	f := d.finders[0]
	n = max(min(n, f.n), n/f.n*f.n)
	x := d.from(from)[:n]
	var sum float64
	for len(x) > 0 {
		k := copy(f.corr, x)
		clear(f.corr[k:])
		x = x[k:]
		f.fft.Forward(f.spectrum, f.corr)
		for _, v := range f.spectrum[f.lo : f.hi+1] {
			sum += float64(real(v)*real(v) + imag(v)*imag(v))
		}
	}
	return 2 * sum / float64(f.n) / float64(n)
}
