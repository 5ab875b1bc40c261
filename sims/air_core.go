package sims

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"lightsong/modem/dsp"
)

// core is the medium and its stations: synchronous, without a clock, a lock or
// a goroutine. Its time is counted in ticks. Who drives it does, for each tick:
// an exchange with every station that is due, then tick.
//
// A station exchanges blocks of block samples of its own clock; a tick is half
// a block of the Air's clock, so that a station is due at most once per tick
// and its resamplers have the lookahead they need within the device's buffers.
type core struct {
	cfg      AirConfig
	rate     int // Hz
	block    int // samples
	step     int // samples of a tick
	fft      *dsp.RealFFT
	now      int64      // ticks so far
	stations []*station // by name, then by arrival
	common   []float32  // jammers and tones of this tick
	sum      []complex64
	mix      []float32
	pulled   []float32
	jammers  []jammer
}

func newCore(cfg AirConfig) (*core, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c := &core{cfg: cfg, rate: cfg.rate()}
	c.block = blockSamples(c.rate)
	c.step = c.block / 2
	size := 8
	for size < 2*c.step {
		size *= 2
	}
	c.fft = dsp.NewRealFFT(size)
	c.common = make([]float32, c.step)
	c.sum = make([]complex64, size/2+1)
	c.mix = make([]float32, size)
	c.pulled = make([]float32, 2*c.step)
	for i, j := range cfg.Jammers {
		c.jammers = append(c.jammers, jammer{
			rng:   c.draw("jammer", strconv.Itoa(i)),
			level: amplitude(or(j.DBFS, ReferenceDBFS)),
			on:    or(j.OnMS, [2]float64{50, 100}),
			off:   or(j.OffMS, [2]float64{100, 200}),
			next:  j.StartS * float64(c.rate),
			stop:  end(j.StopS, c.rate),
		})
	}
	return c, nil
}

// blockSamples is the length of a block: 10 ms, made even.
func blockSamples(rate int) int { return rate / 200 * 2 }

// leastBuffer is the shortest device buffer, in samples. Input and output
// together must hold a block, a tick and the lookahead of two resamplers.
func leastBuffer(rate int) int {
	block := blockSamples(rate)
	return (block+block/2)/2 + dsp.ResampleLookahead + 4
}

// end is a stop time in samples; 0 s is never.
func end(seconds float64, rate int) float64 {
	if seconds == 0 {
		return math.Inf(1)
	}
	return seconds * float64(rate)
}

// draw makes the generator for one purpose: the same seed and words give the
// same numbers, whatever else is drawn.
func (c *core) draw(words ...string) *rand.Rand {
	text := binary.LittleEndian.AppendUint64(nil, c.cfg.Seed)
	for _, w := range words {
		text = binary.LittleEndian.AppendUint32(text, uint32(len(w)))
		text = append(text, w...)
	}
	sum := sha256.Sum256(text)
	return rand.New(rand.NewPCG(binary.LittleEndian.Uint64(sum[:]), binary.LittleEndian.Uint64(sum[8:])))
}

// station is one station's sound hardware and clock, or one channel of it: the
// channels of a station have everything but their noise in common, so that all
// that is drawn happens to both alike.
type station struct {
	name  string
	right bool // the second channel
	gone  bool // left; it is kept until its last sound has died away

	skew     float64 // relative, of the station's clock against the Air's, now
	nominal  float64
	drift    float64 // standard deviation of the skew's step per tick
	driftRNG *rand.Rand

	// From the station to the air.
	speakerGain  float32
	speakerLimit float64
	played       []float32 // scratch: a block as the loudspeaker gives it
	out          *dsp.Resampler
	bufferOut    int // samples
	history      history
	paths        map[*station]*route // from each source

	// From the air to the station.
	in        *dsp.Resampler
	recorded  []float32 // by the station's clock, not yet given out
	bufferIn  int       // samples
	micGain   float64
	micLimit  float32
	dc        float32
	coupling  highPass
	steps     float64 // of the converter from 0 to full scale; 0: no rounding
	noise     float32 // RMS
	noiseRNG  *rand.Rand
	agc       poisson
	agcStep   float64 // dB
	agcDB     float64
	gain      float32 // of the microphone, now
	gaps      poisson
	gapLength int
	gapLeft   int // samples still to be lost
	gapSilent bool
	hits      poisson
	hitLength int64
	hitEnd    int64 // sample at which the present hit is over
	hitLevel  float32
	hitMute   bool
	heard     int64 // samples of the station's clock so far
	block     []float32

	unplug, replug float64 // samples of the Air's clock
	pulled         bool    // by hand
	unplugged      bool

	count stationCount
}

// stationCount is what a station's statistics are made from.
type stationCount struct {
	blocks        int64
	sent          int64 // samples other than silence
	sentEnergy    float64
	heard         int64
	heardEnergy   float64
	speakerLimits int64
	micLimits     int64
	gaps, lost    int64
	hits          int64
	agcSteps      int64
	faulty        int64 // samples that were not numbers
}

const (
	driftLimit  = 20e-6 // of the skew around its nominal value
	defaultSkew = 50.0  // ppm, either way
	loudest     = 1000  // of a loudspeaker without a limit: keeps every sum a number
)

// attach puts a station, or the first channel of one, on the medium, at the
// present time.
func (c *core) attach(name string) *station { return c.attachChannel(name, false) }

// attachChannel puts one channel of a station on the medium.
func (c *core) attachChannel(name string, right bool) *station {
	cfg := c.cfg.station(name)
	s := &station{name: name, right: right, paths: map[*station]*route{}}

	ppm := or(cfg.SkewPPM, defaultSkew*(2*c.draw("skew", name).Float64()-1))
	drift := 0.5
	if ppm == 0 {
		drift = 0
	}
	s.nominal = ppm * 1e-6
	s.skew = s.nominal
	s.drift = or(cfg.DriftPPMMin, drift) * 1e-6 * math.Sqrt(float64(c.step)/float64(60*c.rate))
	s.driftRNG = c.draw("drift", name)

	s.speakerGain = float32(amplitude(or(cfg.SpeakerDB, 0)))
	s.speakerLimit = amplitude(or(cfg.SpeakerLimit, 0))
	s.played = make([]float32, c.block)
	s.bufferOut = c.buffer(cfg.BufferOutMS)
	s.bufferIn = c.buffer(cfg.BufferInMS)
	s.out, s.in = dsp.NewResampler(), dsp.NewResampler()
	s.out.Push(make([]float32, s.bufferOut))
	s.recorded = make([]float32, s.bufferIn, s.bufferIn+2*c.block)
	s.block = make([]float32, c.block)

	s.micGain = amplitude(or(cfg.MicDB, 0))
	s.gain = float32(s.micGain)
	s.micLimit = float32(amplitude(or(cfg.MicLimit, 0)))
	s.dc = float32(or(cfg.DCOffset, 0))
	if hz := or(cfg.CouplingHz, 0); hz > 0 {
		s.coupling.pole = math.Exp(-2 * math.Pi * hz / float64(c.rate))
	}
	if bits := or(cfg.Bits, 0); bits > 0 {
		s.steps = math.Ldexp(1, bits-1)
	}
	s.noise = float32(amplitude(or(cfg.NoiseDBFS, ReferenceDBFS-or(cfg.SNRdB, 20))))
	s.noiseRNG = c.draw("noise", name)
	if right {
		s.noiseRNG = c.draw("noise", name, "right")
	}
	s.agc = c.events(or(cfg.AGCIntervalS, 0), "agc", name)
	s.agcStep = or(cfg.AGCStepDB, 0)
	s.gaps = c.events(or(cfg.GapIntervalS, 0), "gaps", name)
	s.gapLength = or(cfg.GapSamples, 480)
	s.gapSilent = or(cfg.GapSilent, false)
	hitInterval := 0.0
	if rate := or(cfg.HitsPerS, 0); rate > 0 {
		hitInterval = 1 / rate
	}
	s.hits = c.events(hitInterval, "hits", name)
	if or(cfg.HitRegular, false) && hitInterval > 0 {
		s.hits.regular = true
		s.hits.next = s.hits.mean * s.hits.rng.Float64()
	}
	s.hitLength = int64(math.Round(or(cfg.HitMS, 20) / 1e3 * float64(c.rate)))
	s.hitLevel = float32(amplitude(or(cfg.HitDBFS, -6)))
	s.hitMute = or(cfg.HitMute, false)
	s.unplug, s.replug = math.Inf(1), end(or(cfg.UnplugStopS, 0), c.rate)
	if cfg.UnplugStartS != nil {
		s.unplug = *cfg.UnplugStartS * float64(c.rate)
	}

	at, _ := slices.BinarySearchFunc(c.stations, name, func(s *station, name string) int {
		if s.name == name {
			return -1 // after those that have left
		}
		return strings.Compare(s.name, name)
	})
	c.stations = slices.Insert(c.stations, at, s)
	for _, other := range c.stations {
		if !other.gone {
			c.join(s, other)
		}
		if other != s {
			c.join(other, s)
		}
	}
	return s
}

// join makes the path from one station to another.
func (c *core) join(from, to *station) {
	gain := 1.
	if from.right != to.right {
		gain = amplitude(or(c.cfg.Room.CrosstalkDB, -40))
	}
	path := c.route(from.name, to.name, gain)
	to.paths[from] = path
	from.history.keep(max(1, path.ticks(c.step)), c.fft)
}

// duration of a number of samples.
func (c *core) duration(samples int) time.Duration {
	return time.Duration(int64(samples) * int64(time.Second) / int64(c.rate))
}

// buffer is the length in samples of a device buffer.
func (c *core) buffer(ms *float64) int {
	return max(leastBuffer(c.rate), int(math.Round(or(ms, 10)/1e3*float64(c.rate))))
}

// leave takes a station off. What it has sent goes on sounding.
func (c *core) leave(s *station) {
	s.gone = true
	s.paths = nil
}

// due tells whether the medium needs a block from the station before the next
// tick.
func (c *core) due(s *station) bool { return !s.gone && !s.out.Ready(c.step, 1+s.skew) }

// exchange takes a station's block and gives it one: out, up to block samples,
// the rest silence, starts to be played, and in is what the station hears,
// valid until its next exchange. lost samples before it were dropped; lost and
// len(in) are a block together.
func (c *core) exchange(s *station, out []float32) (in []float32, lost int) {
	now := float64(c.now) * float64(c.step)
	s.unplugged = s.pulled || now >= s.unplug && now < s.replug
	s.play(out)
	n := copy(s.block, s.recorded)
	s.recorded = s.recorded[:copy(s.recorded, s.recorded[n:])]
	s.count.blocks++
	s.listen(s.block)
	return s.drop(s.block)
}

// play is the loudspeaker: gain, then the soft limit of Rapp's amplifier model
// ("Effects of HPA-nonlinearity on a 4-DPSK/OFDM-signal for a digital sound
// broadcasting system", 1991) with p = 3: y = x / (1 + (|x|/limit)^2p)^(1/2p).
func (s *station) play(out []float32) {
	clear(s.played)
	for i, v := range out {
		if v-v != 0 { // not a finite number: it would silence the room for ever
			s.count.faulty++
			continue
		}
		if v == 0 {
			continue
		}
		v = max(-loudest, min(loudest, v*s.speakerGain))
		r := math.Abs(float64(v)) / s.speakerLimit
		r6 := r * r * r * r * r * r
		if r6 > 1e-9 {
			v = float32(float64(v) / math.Cbrt(math.Sqrt(1+r6)))
		}
		if r > 1 {
			s.count.speakerLimits++
		}
		if s.unplugged {
			v = 0
		}
		s.played[i] = v
		s.count.sent++
		s.count.sentEnergy += float64(v) * float64(v)
	}
	s.out.Push(s.played)
}

// listen is the microphone, in place.
func (s *station) listen(block []float32) {
	for i, v := range block {
		if s.coupling.pole != 0 {
			v = s.coupling.filter(v)
		}
		if s.unplugged {
			v = 0
		}
		t := s.heard
		for s.hits.due(t) {
			s.hitEnd = t + s.hitLength
			s.count.hits++
		}
		if t < s.hitEnd {
			if s.hitMute {
				v = 0
			} else {
				v += s.hitLevel * float32(s.hits.rng.NormFloat64())
			}
		}
		if s.noise > 0 {
			v += s.noise * float32(s.noiseRNG.NormFloat64())
		}
		for s.agc.due(t) {
			s.stepGain()
		}
		v = v*s.gain + s.dc
		if v > s.micLimit {
			v = s.micLimit
			s.count.micLimits++
		} else if v < -s.micLimit {
			v = -s.micLimit
			s.count.micLimits++
		}
		if s.steps != 0 {
			v = s.round(v)
		}
		block[i] = v
		s.count.heardEnergy += float64(v) * float64(v)
		s.heard++
	}
	s.count.heard += int64(len(block))
}

// round is the converter: a step is 1/steps, the codes go from −steps to
// steps − 1.
func (s *station) round(v float32) float32 {
	code := math.RoundToEven(float64(v) * s.steps)
	return float32(max(-s.steps, min(s.steps-1, code)) / s.steps)
}

// highPass is the first-order filter of a coupling capacitor.
type highPass struct {
	pole float64 // exp(−2π·corner/rate); 0: no filter
	x, y float64 // last input and output
}

func (h *highPass) filter(v float32) float32 {
	h.y = h.pole * (h.y + float64(v) - h.x)
	h.x = float64(v)
	return float32(h.y)
}

// stepGain moves the microphone's gain to another of its three levels.
func (s *station) stepGain() {
	s.count.agcSteps++
	levels := [3]float64{-s.agcStep, 0, s.agcStep}
	now := slices.Index(levels[:], s.agcDB)
	s.agcDB = levels[(max(0, now)+1+s.agc.rng.IntN(2))%3]
	s.gain = float32(s.micGain * amplitude(s.agcDB))
}

// drop applies the gaps. They begin with a block, where Stream's users expect
// what was lost.
func (s *station) drop(block []float32) (rest []float32, lost int) {
	for s.gaps.due(s.heard - 1) {
		s.gapLeft += s.gapLength
		s.count.gaps++
	}
	lost = min(s.gapLeft, len(block))
	s.gapLeft -= lost
	s.count.lost += int64(lost)
	if s.gapSilent {
		clear(block[:lost])
		return block, 0
	}
	return block[lost:], lost
}

// tick moves the medium on by one step. Every station that was due must have
// had its exchange.
func (c *core) tick() {
	c.disturb()
	for _, s := range c.stations {
		x := c.pulled[:c.step]
		clear(x)
		if !s.gone {
			s.out.Pull(x, 1+s.skew)
		}
		s.history.push(x, c.fft)
	}
	for _, s := range c.stations {
		if s.gone {
			continue
		}
		c.hear(s)
		s.in.Push(c.mix[len(c.mix)-c.step:])
		n := s.in.Pull(c.pulled, 1/(1+s.skew))
		s.recorded = append(s.recorded, c.pulled[:n]...)
		s.wander()
	}
	c.forget()
	c.now++
}

// wander moves the clock by a step of its random walk, which is reflected at
// its limits.
func (s *station) wander() {
	if s.drift == 0 {
		return
	}
	d := s.skew - s.nominal + s.drift*s.driftRNG.NormFloat64()
	if math.Abs(d) > driftLimit {
		d = math.Copysign(2*driftLimit, d) - d
	}
	s.skew = s.nominal + d
}

// forget removes the stations that have left and died away.
func (c *core) forget() {
	over := func(s *station) bool { return s.gone && s.history.over() }
	for _, s := range c.stations {
		maps.DeleteFunc(s.paths, func(source *station, _ *route) bool { return over(source) })
	}
	c.stations = slices.DeleteFunc(c.stations, over)
}

// hear leaves what arrives at a station at the end of c.mix.
func (c *core) hear(s *station) {
	clear(c.sum)
	loud := false
	for _, source := range c.stations {
		if path, ok := s.paths[source]; ok && source.history.addTo(c.sum, path.still(c.now)) {
			loud = true
		}
	}
	if loud {
		c.fft.Inverse(c.mix, c.sum)
	} else {
		clear(c.mix)
	}
	end := c.mix[len(c.mix)-c.step:]
	for _, source := range c.stations {
		if path, ok := s.paths[source]; ok && path.moves != nil {
			path.moves.addTo(end, &source.history, c.now, c.rate, c.fft)
		}
	}
	for i, v := range c.common {
		end[i] += v
	}
}

// disturb makes the jammers' and tones' samples of this tick.
func (c *core) disturb() {
	clear(c.common)
	start := c.now * int64(c.step)
	for i := range c.jammers {
		c.jammers[i].addTo(c.common, start, c.rate)
	}
	for _, tone := range c.cfg.Tones {
		peak := math.Sqrt2 * amplitude(or(tone.DBFS, -40))
		stop := end(tone.StopS, c.rate)
		for i := range c.common {
			t := float64(start + int64(i))
			if t >= tone.StartS*float64(c.rate) && t < stop {
				// The phase is reduced before it is multiplied, so that it
				// stays exact for days.
				_, turns := math.Modf(t * tone.Hz / float64(c.rate))
				c.common[i] += float32(peak * math.Sin(2*math.Pi*turns))
			}
		}
	}
}

// jammer makes bursts of white noise.
type jammer struct {
	rng        *rand.Rand
	level      float64    // RMS
	on, off    [2]float64 // ms, shortest and longest
	next, stop float64    // samples: of the next change, of the end
	active     bool
}

// addTo adds the samples from start on.
func (j *jammer) addTo(x []float32, start int64, rate int) {
	for i := range x {
		t := float64(start + int64(i))
		if t >= j.stop {
			return
		}
		for t >= j.next {
			j.active = !j.active
			span := j.off
			if j.active {
				span = j.on
			}
			j.next += (span[0] + (span[1]-span[0])*j.rng.Float64()) / 1e3 * float64(rate)
		}
		if j.active {
			x[i] += float32(j.level * j.rng.NormFloat64())
		}
	}
}

// poisson is a process of events with exponential intervals, or with even ones.
type poisson struct {
	rng     *rand.Rand
	mean    float64 // samples between events
	next    float64 // sample of the next one
	regular bool
}

// events makes a process with a mean interval in seconds; 0 is none.
func (c *core) events(interval float64, words ...string) poisson {
	p := poisson{rng: c.draw(words...), mean: interval * float64(c.rate), next: math.Inf(1)}
	if interval > 0 {
		p.next = p.mean * p.rng.ExpFloat64()
	}
	return p
}

// due takes the next event if it is at or before sample t.
func (p *poisson) due(t int64) bool {
	if p.next > float64(t) {
		return false
	}
	if p.regular {
		p.next += p.mean
	} else {
		p.next += p.mean * p.rng.ExpFloat64()
	}
	return true
}
