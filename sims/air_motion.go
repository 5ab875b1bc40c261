package sims

import (
	"fmt"
	"math"
	"math/rand/v2"

	"lightsong/modem/dsp"
)

// Motion changes a path the way it changes a room. A wave that arrives from
// the direction u (a unit vector) at a place that moves by the vector d has its
// path lengthened by u·d metres: its delay grows by u·d/c, and while d grows
// with the speed v every frequency f in it is shifted by −f·(u·v)/c. Each
// wave has a direction of its own, so that the echoes turn against one another
// and the room's response becomes another one, the faster the higher the
// frequency. Where the directions are uniform over the sphere the response at
// one frequency correlates over a distance d as sin(kd)/(kd), k = 2πf/c: the
// diffuse field (Cook et al., "Measurement of correlation coefficients in
// reverberant sound fields", JASA 27, 1955). At 10 kHz that is 0 after 17 mm.
//
// The taps of a tail are dealt out among waves, each with its direction. A wave
// is a filter (its taps, as parts of a convolution) and a delay line that is
// read at its changing delay. The taps keep their strengths and no wave loses
// energy by being delayed: on average motion changes the shape of what arrives,
// not its power.
const (
	// waveCount is how many directions a tail has, and partWaves how many of
	// them share the taps of one part (5 ms): few arrive at a time, all take
	// turns. Thirty-two sinusoids are twice what simulators of radio channels
	// find enough for a Gaussian process (Jakes 1974: 8 to 16).
	waveCount = 32
	partWaves = 8

	defaultReach       = 0.25 // m
	defaultWalkerSpeed = 1.0  // m/s
	walkerReach        = 0.5  // m
)

// mover is what goes round a circle at a steady speed from a start to a stop:
// a hand that holds a station, a person who paces. A circle keeps the speed
// steady and the station in the room; a large one is a straight line.
type mover struct {
	start, stop   float64 // s of the Air's time
	speed, radius float64 // m/s, m
	out, on       [3]float64
}

// newMover draws the plane of the circle.
func newMover(rng *rand.Rand, speed, radius, start, stop float64) *mover {
	if stop == 0 {
		stop = math.Inf(1)
	}
	m := &mover{start: start, stop: stop, speed: speed, radius: radius, out: direction(rng)}
	for {
		v := direction(rng)
		along := dot(v, m.out)
		var rest float64
		for i := range v {
			v[i] -= along * m.out[i]
			rest += v[i] * v[i]
		}
		if rest > 1e-3 {
			for i := range v {
				m.on[i] = v[i] / math.Sqrt(rest)
			}
			return m
		}
	}
}

// at is how far it has come at a time, m; nil stands still.
func (m *mover) at(seconds float64) (d [3]float64) {
	if m == nil || seconds <= m.start {
		return d
	}
	sin, cos := math.Sincos((min(seconds, m.stop) - m.start) * m.speed / m.radius)
	for i := range d {
		d[i] = m.radius * ((cos-1)*m.out[i] + sin*m.on[i])
	}
	return d
}

// far is the greatest distance that it gets from where it was, m.
func (m *mover) far() float64 {
	if m == nil {
		return 0
	}
	return min(2*m.radius, m.speed*(m.stop-m.start))
}

// direction draws a unit vector, uniform over the sphere.
func direction(rng *rand.Rand) [3]float64 {
	z, turn := 2*rng.Float64()-1, 2*math.Pi*rng.Float64()
	r := math.Sqrt(1 - z*z)
	return [3]float64{r * math.Cos(turn), r * math.Sin(turn), z}
}

func dot(a, b [3]float64) float64 { return a[0]*b[0] + a[1]*b[1] + a[2]*b[2] }

// mover of a station; nil if it lies still.
func (c *core) mover(name string) *mover {
	s := c.cfg.station(name)
	if or(s.SpeedMPS, 0) == 0 {
		return nil
	}
	return newMover(c.draw("motion", name), *s.SpeedMPS, or(s.ReachM, defaultReach), or(s.MoveStartS, 0), or(s.MoveStopS, 0))
}

// walker of the room; nil if nobody walks.
func (c *core) walker() *mover {
	r := &c.cfg.Room
	speed := or(r.WalkerSpeedMPS, defaultWalkerSpeed)
	if r.WalkerShare == 0 || speed == 0 {
		return nil
	}
	return newMover(c.draw("walker"), speed, walkerReach, r.WalkerStartS, r.WalkerStopS)
}

// wave is what arrives from one direction. The three vectors tell how much
// longer its way gets, in metres per metre that the sender, the receiver and
// the walker move.
type wave struct {
	lead             int   // samples that every delay has at least, so that it can shrink
	taps             parts // from there on
	from, to, walker [3]float64
	direct           bool    // its way is measured exactly, not as a plane wave's
	distance         float64 // m, of the direct wave; to is then the direction from the sender
	line             []float32
}

// moving is a path some of which moves.
type moving struct {
	from, to, walker *mover
	warm, begin      int64 // ticks: from which the delay lines are filled, from which they are read
	waves            []wave
	whole            parts // the path before begin
	quiet            int   // ticks since something last entered a delay line
	sum              []complex64
	out              []float32
}

// route is a path as a listener uses it: what stays as it is, and what moves.
type route struct {
	fixed parts
	moves *moving // nil: nothing
}

// ticks that a source's sound takes through the route.
func (r *route) ticks(step int) int {
	n := len(r.fixed)
	if m := r.moves; m != nil {
		n = max(n, len(m.whole))
		for i := range m.waves {
			n = max(n, len(m.waves[i].taps)+len(m.waves[i].line)/step+1)
		}
	}
	return n
}

// route makes the path from one station to another, with a gain besides its own.
func (c *core) route(from, to string, gain float64) *route {
	sender, receiver := c.mover(from), c.mover(to)
	share := c.cfg.Room.WalkerShare
	walker := c.walker()
	h := c.response(from, to)
	for i := range h {
		h[i] *= float32(gain)
	}
	if len(h) == 0 || sender == nil && receiver == nil && share == 0 {
		return &route{fixed: transform(h, c.step, c.fft)}
	}

	// The direct wave is the first tap of a drawn response, the strongest of a
	// given one.
	first := 0
	for first < len(h)-1 && h[first] == 0 {
		first++
	}
	if c.cfg.path(from, to).Taps != nil {
		for i, v := range h {
			if math.Abs(float64(v)) > math.Abs(float64(h[first])) {
				first = i
			}
		}
	}
	direct := h[first]
	h[first] = 0
	reach := sender.far() + receiver.far()
	walks := 2 * walker.far() // the way to the walker and the way from there
	samples := func(metres float64) int {
		return int(math.Ceil(metres / speedOfSound * float64(c.rate)))
	}
	m := &moving{from: sender, to: receiver, walker: walker}
	lead := shiftHalf + 1 + samples(reach)
	walkerLead := lead + samples(walks)
	if lead > first {
		h = append(make([]float32, lead-first), h...)
		first = lead
	}

	ends := [2]string{from, to}
	if or(c.cfg.Room.Reciprocal, true) && to < from {
		ends[0], ends[1] = to, from
	}
	scattered := c.scatter(h, share, max(first+1, walkerLead), c.draw("scattered", ends[0], ends[1]))
	if scattered != nil {
		scale := float32(math.Sqrt(1 - share))
		for i := range h {
			h[i] *= scale
		}
	}
	all := make([]float32, max(len(h), len(scattered)))
	copy(all, h)
	for i, v := range scattered {
		all[i] += v
	}
	all[first] += direct
	if sender == nil && receiver == nil && walker == nil {
		return &route{fixed: transform(all, c.step, c.fft)}
	}
	m.whole = transform(all, c.step, c.fft)

	// A station and its own echo move together: the direct wave stays.
	r := &route{moves: m}
	fixed := make([]float32, len(all))
	if from == to || sender == nil && receiver == nil {
		fixed[first] = direct
	} else {
		taps := make([]float32, first-lead+1)
		taps[first-lead] = direct
		w := wave{
			lead: lead,
			taps: transform(taps, c.step, c.fft), direct: true,
			distance: float64(first) / float64(c.rate) * speedOfSound,
			to:       direction(c.draw("line", ends[0], ends[1])),
		}
		if ends[0] != from {
			w.to = [3]float64{-w.to[0], -w.to[1], -w.to[2]}
		}
		m.waves = append(m.waves, w)
	}
	arrive := c.draw("arrivals", ends[0], ends[1])
	if sender == nil && receiver == nil {
		for i, v := range h {
			fixed[i] += v
		}
	} else {
		m.waves = append(m.waves, c.deal(h, lead, arrive, ends[0] != from, false)...)
	}
	m.waves = append(m.waves, c.deal(scattered, walkerLead, arrive, ends[0] != from, true)...)
	if !silent(fixed) {
		r.fixed = transform(fixed, c.step, c.fft)
	}

	start := math.Inf(1)
	for _, v := range []*mover{sender, receiver, walker} {
		if v != nil {
			start = min(start, v.start)
		}
	}
	size := walkerLead + samples(reach+walks) + shiftHalf + 2 + c.step
	for i := range m.waves {
		m.waves[i].line = make([]float32, size)
	}
	m.begin = int64(start * float64(c.rate) / float64(c.step))
	m.warm = m.begin - int64(size/c.step+1)
	m.quiet = size // nothing has entered yet
	m.sum = make([]complex64, c.fft.Len()/2+1)
	m.out = make([]float32, c.fft.Len())
	return r
}

// scatter draws the share of a tail's energy that comes by way of somebody who
// walks: taps from a first delay on under the same envelope, Gaussian.
func (c *core) scatter(tail []float32, share float64, from int, rng *rand.Rand) []float32 {
	var energy float64
	for _, v := range tail {
		energy += float64(v) * float64(v)
	}
	if share == 0 || energy == 0 || from >= len(tail) {
		return nil
	}
	taps := make([]float32, len(tail))
	var drawn float64
	for i := from; i < len(tail); i++ {
		// A tail of Gaussian taps says its envelope only on average: 1 ms of it.
		const reach = 24
		var near float64
		n := 0
		for j := max(0, i-reach); j < min(len(tail), i+reach); j++ {
			near += float64(tail[j]) * float64(tail[j])
			n++
		}
		v := rng.NormFloat64() * math.Sqrt(near/float64(n))
		taps[i] = float32(v)
		drawn += v * v
	}
	if drawn == 0 {
		return nil
	}
	scale := float32(math.Sqrt(share * energy / drawn))
	for i := range taps {
		taps[i] *= scale
	}
	return taps
}

// deal deals the taps of a tail out among waves. swapped tells that the
// directions are drawn for the reverse path.
func (c *core) deal(tail []float32, lead int, rng *rand.Rand, swapped, walks bool) []wave {
	if tail == nil {
		return nil
	}
	list := make([]wave, waveCount)
	taps := make([][]float32, waveCount)
	for i := range list {
		w := &list[i]
		w.lead = lead
		w.from, w.to = direction(rng), direction(rng)
		if swapped {
			w.from, w.to = w.to, w.from
		}
		if a, b := direction(rng), direction(rng); walks {
			for j := range a {
				w.walker[j] = a[j] + b[j]
			}
		}
		taps[i] = make([]float32, len(tail)-lead)
	}
	for at := 0; at < len(taps[0]); at += c.step {
		now := rng.Perm(waveCount)[:partWaves]
		for i := at; i < min(at+c.step, len(taps[0])); i++ {
			taps[now[rng.IntN(partWaves)]][i] = tail[lead+i]
		}
	}
	for i := range list {
		list[i].taps = transform(taps[i], c.step, c.fft)
	}
	return list
}

// way is how much longer the wave's way is than at first, m.
func (w *wave) way(from, to, walker [3]float64) float64 {
	if w.direct {
		var sum float64
		for i, e := range w.to {
			d := w.distance*e + to[i] - from[i]
			sum += d * d
		}
		return math.Sqrt(sum) - w.distance
	}
	return dot(w.from, from) + dot(w.to, to) + dot(w.walker, walker)
}

// addTo adds what arrives in the tick now to the end of mix. What stays as it
// is has been added already, unless the tick lies before all motion.
func (m *moving) addTo(end []float32, source *history, now int64, rate int, fft *dsp.RealFFT) {
	if now < m.warm {
		return
	}
	step := len(end)
	longest := 0
	for i := range m.waves {
		longest = max(longest, len(m.waves[i].taps))
	}
	if source.quiet < longest {
		m.quiet = 0
	} else if m.quiet++; m.quiet*step > len(m.waves[0].line) {
		return
	}
	before, after := float64(now)*float64(step)/float64(rate), float64(now+1)*float64(step)/float64(rate)
	from, to, walker := m.from.at(before), m.to.at(before), m.walker.at(before)
	from1, to1, walker1 := m.from.at(after), m.to.at(after), m.walker.at(after)
	unit := float64(rate) / speedOfSound
	for i := range m.waves {
		w := &m.waves[i]
		copy(w.line, w.line[step:])
		entered := w.line[len(w.line)-step:]
		clear(m.sum)
		if m.quiet == 0 && source.addTo(m.sum, w.taps) {
			fft.Inverse(m.out, m.sum)
			copy(entered, m.out[len(m.out)-step:])
		} else {
			clear(entered)
		}
		if now < m.begin {
			continue
		}
		d0, d1 := unit*w.way(from, to, walker), unit*w.way(from1, to1, walker1)
		shifted(end, w.line, float64(len(w.line)-step-w.lead)-d0, 1-(d1-d0)/float64(step))
	}
}

// The filter that reads a delay line between its samples: shiftHalf taps on
// either side under a Kaiser window of 60 dB, flat to 0.44 of the rate; the
// nearest of its phases errs by less than −60 dB at 20 of 48 kHz.
const (
	shiftHalf   = 16
	shiftTaps   = 2 * shiftHalf
	shiftPhases = 1024
	shiftBeta   = 5.653 // 0.1102·(60−8.7)
)

var shiftRows = func() []float32 {
	bessel := func(x float64) float64 {
		sum, term := 1.0, 1.0
		for k := 1.0; term > 1e-15*sum; k++ {
			term *= x / (2 * k) * (x / (2 * k))
			sum += term
		}
		return sum
	}
	rows := make([]float32, shiftPhases*shiftTaps)
	for phase := range shiftPhases {
		row := rows[phase*shiftTaps:][:shiftTaps]
		for i := range row {
			x := float64(i-(shiftHalf-1)) - float64(phase)/shiftPhases
			v := 1.
			if x != 0 {
				v = math.Sin(math.Pi*x) / (math.Pi * x)
			}
			if t := x / shiftHalf; t > -1 && t < 1 {
				v *= bessel(shiftBeta*math.Sqrt(1-t*t)) / bessel(shiftBeta)
			} else {
				v = 0
			}
			row[i] = float32(v)
		}
	}
	return rows
}()

// shifted adds to dst the samples of line at the positions at, at+step, …
func shifted(dst, line []float32, at, step float64) {
	for i := range dst {
		n := int(math.Floor((at+float64(i)*step)*shiftPhases + 0.5))
		whole, phase := n/shiftPhases, n%shiftPhases
		x := (*[shiftTaps]float32)(line[whole-(shiftHalf-1):])
		row := (*[shiftTaps]float32)(shiftRows[phase*shiftTaps:])
		var a, b, c, d float32
		for j := 0; j < shiftTaps; j += 4 {
			a += x[j] * row[j]
			b += x[j+1] * row[j+1]
			c += x[j+2] * row[j+2]
			d += x[j+3] * row[j+3]
		}
		dst[i] += (a + b) + (c + d)
	}
}

// Path is one path of a simulated room as a filter: delay, echoes and motion,
// without the stations' clocks, noise and limits. It is what a modem's test
// sends a burst through.
type Path struct {
	core    *core
	source  history
	route   *route
	samples []float32
}

// NewPath makes the path of cfg from one station to another, as an Air of that
// configuration has it. Time begins at 0.
func NewPath(cfg AirConfig, from, to string) (*Path, error) {
	c, err := newCore(cfg)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{from, to} {
		if err := checkName(name); err != nil {
			return nil, fmt.Errorf("path: %w", err)
		}
	}
	p := &Path{core: c, route: c.route(from, to, 1), samples: make([]float32, c.step)}
	p.source.keep(max(1, p.route.ticks(c.step)), c.fft)
	return p, nil
}

// Append sends x through the path and appends what arrives meanwhile to dst:
// as many samples, rounded up to a whole tick of rate/200, as if x were
// followed by silence. What has not arrived yet comes with the next call.
func (p *Path) Append(dst, x []float32) []float32 {
	c := p.core
	for len(x) > 0 {
		n := copy(p.samples, x)
		clear(p.samples[n:])
		x = x[n:]
		p.source.push(p.samples, c.fft)
		clear(c.sum)
		c.through(p.route, &p.source)
		dst = append(dst, c.mix[len(c.mix)-c.step:]...)
		c.now++
	}
	return dst
}

// through leaves at the end of c.mix what arrives by a single route.
func (c *core) through(r *route, source *history) {
	if source.addTo(c.sum, r.still(c.now)) {
		c.fft.Inverse(c.mix, c.sum)
	} else {
		clear(c.mix)
	}
	if r.moves != nil {
		r.moves.addTo(c.mix[len(c.mix)-c.step:], source, c.now, c.rate, c.fft)
	}
}

// still is what of the route does not move in a tick.
func (r *route) still(now int64) parts {
	if r.moves != nil && now < r.moves.begin {
		return r.moves.whole
	}
	return r.fixed
}
