package sims

import (
	"math"

	"lightsong/modem/dsp"
)

// speedOfSound in air of 20 °C, m/s.
const speedOfSound = 343

// response is the impulse response of the path between two stations, delay and
// gain included.
//
// A drawn one is a direct wave and, from the next sample on, a tail of Gaussian
// noise under an exponential that falls by 60 dB in RT60 (Polack's model of a
// diffuse field), cut off there. Their energies have exactly the ratio DRR and
// the sum 1 before gain: reverberation changes the shape of what arrives, not
// its power.
func (c *core) response(from, to string) []float32 {
	given := c.cfg.path(from, to)
	room := &c.cfg.Room
	gain := amplitude(or(given.GainDB, room.GainDB))
	if from == to {
		if !or(room.OwnEcho, true) {
			return nil
		}
		gain = amplitude(or(given.GainDB, room.OwnGainDB))
	}
	distance := or(given.DistanceM, c.distance(from, to))
	delay := int(math.Round(distance / speedOfSound * float64(c.rate)))
	if given.DelayMS != nil {
		delay = int(math.Round(*given.DelayMS / 1e3 * float64(c.rate)))
	}
	if room.DistanceLoss && from != to {
		gain /= max(distance, 0.1)
	}
	if gain == 0 {
		return nil
	}
	if given.Taps != nil {
		h := make([]float32, delay+len(given.Taps))
		for i, v := range given.Taps {
			h[delay+i] = float32(gain) * v
		}
		return h
	}

	decay := or(given.RT60, or(room.RT60, 0.3)) * float64(c.rate) // samples
	ratio := math.Pow(10, or(given.DRR, or(room.DRR, 3))/10)
	h := make([]float32, delay+1+int(decay))
	direct := gain
	if tail := h[delay+1:]; len(tail) > 0 && !math.IsInf(ratio, 1) {
		ends := [2]string{from, to}
		if or(room.Reciprocal, true) && to < from {
			ends[0], ends[1] = to, from
		}
		rng := c.draw("path", ends[0], ends[1])
		shape := make([]float64, len(tail))
		var energy float64
		for i := range shape {
			shape[i] = rng.NormFloat64() * math.Pow(10, -3*float64(i+1)/decay)
			energy += shape[i] * shape[i]
		}
		direct = gain * math.Sqrt(ratio/(1+ratio))
		scale := gain * math.Sqrt(1/(1+ratio)/energy)
		for i, v := range shape {
			tail[i] = float32(v * scale)
		}
	}
	h[delay] = float32(direct)
	return h
}

// distance between two stations, or between a station's loudspeaker and its
// own microphone, in metres.
func (c *core) distance(from, to string) float64 {
	if from == to {
		return or(c.cfg.Room.OwnDistanceM, 0.3)
	}
	a, b := c.position(from), c.position(to)
	return math.Hypot(math.Hypot(a[0]-b[0], a[1]-b[1]), a[2]-b[2])
}

// position of a station in the room, in metres.
func (c *core) position(name string) [3]float64 {
	rng := c.draw("position", name)
	var at [3]float64
	for i, side := range or(c.cfg.Room.SizeM, [3]float64{5, 4, 2.5}) {
		at[i] = side * rng.Float64()
	}
	return or(c.cfg.station(name).PositionM, at)
}

// Convolution is uniformly partitioned overlap-save (Wefers, "Partitioned
// convolution algorithms for real-time auralization", 2014, ch. 5): an impulse
// response is cut into parts as long as a tick, a source's last samples are
// transformed once per tick, and a listener's spectrum is the sum, over all
// sources and parts, of part p times the source's spectrum of p ticks ago.
// What is zero is not multiplied: the parts before a delayed direct wave, and
// the ticks in which a source was silent.

// parts are the transforms of an impulse response's parts; nil where it is
// zero.
type parts [][]complex64

// transform cuts an impulse response into parts of length step.
func transform(h []float32, step int, fft *dsp.RealFFT) parts {
	var list parts
	padded := make([]float32, fft.Len())
	for len(h) > 0 {
		n := min(step, len(h))
		clear(padded)
		copy(padded, h[:n])
		h = h[n:]
		if silent(padded) {
			list = append(list, nil)
			continue
		}
		spectrum := make([]complex64, fft.Len()/2+1)
		fft.Forward(spectrum, padded)
		list = append(list, spectrum)
	}
	return list
}

// history holds a source's last samples and the spectra of its last ticks.
type history struct {
	window []float32     // one transform's length, the latest sample last
	ring   [][]complex64 // spectra of ticks
	loud   []bool        // whether ring's entry is not zero
	latest int           // index in ring
	quiet  int           // ticks since the last loud entry
}

// keep makes room for at least n ticks.
func (s *history) keep(n int, fft *dsp.RealFFT) {
	if s.window == nil {
		s.window = make([]float32, fft.Len())
	}
	if n <= len(s.ring) {
		return
	}
	ring, loud := make([][]complex64, n), make([]bool, n)
	for age := range s.ring {
		i := (s.latest - age + len(s.ring)) % len(s.ring)
		ring[(n-age)%n], loud[(n-age)%n] = s.ring[i], s.loud[i]
	}
	for i := range ring {
		if ring[i] == nil {
			ring[i] = make([]complex64, fft.Len()/2+1)
		}
	}
	s.ring, s.loud, s.latest = ring, loud, 0
}

// push takes the samples of the next tick.
func (s *history) push(x []float32, fft *dsp.RealFFT) {
	copy(s.window, s.window[len(x):])
	copy(s.window[len(s.window)-len(x):], x)
	s.latest = (s.latest + 1) % len(s.ring)
	s.loud[s.latest] = !silent(s.window)
	if s.loud[s.latest] {
		fft.Forward(s.ring[s.latest], s.window)
		s.quiet = 0
	} else {
		s.quiet++
	}
}

// over tells whether nothing of the source is in the air any more.
func (s *history) over() bool { return s.quiet > len(s.ring) }

// addTo adds what arrives through a path to a listener's spectrum and tells
// whether there was anything.
func (s *history) addTo(sum []complex64, path parts) bool {
	if s.quiet >= len(path) {
		return false
	}
	loud := false
	i := s.latest
	for _, h := range path {
		if h != nil && s.loud[i] {
			multiplyAdd(sum, s.ring[i], h)
			loud = true
		}
		if i--; i < 0 {
			i = len(s.ring) - 1
		}
	}
	return loud
}

// multiplyAdd adds a·b to sum.
func multiplyAdd(sum, a, b []complex64) {
	a, b = a[:len(sum)], b[:len(sum)]
	for k, s := range sum {
		ar, ai, br, bi := real(a[k]), imag(a[k]), real(b[k]), imag(b[k])
		sum[k] = complex(real(s)+ar*br-ai*bi, imag(s)+ar*bi+ai*br)
	}
}

// silent tells whether all samples are zero.
func silent(x []float32) bool {
	for _, v := range x {
		if v != 0 {
			return false
		}
	}
	return true
}
