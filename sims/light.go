package sims

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Light is a simulated light field: stations with an LED and a photodiode each. The
// model with its formulas is in docs/light.md. All of it is deterministic: the same
// configuration and the same characters give the same run.
//
//	Write ─ adapter's queue ─ UART ─ LED ─▶ distance, angle ─▶ sum ─▶ photodiode ─ high-pass ─ comparator ─ UART ─ Read
//	         its own clock                      hand ▲     ambient light ▲  noise, saturation     hysteresis    its own clock
//
// Stations are attached before the first Step. Step belongs to one goroutine; ports
// may be used from any.
type Light struct {
	cfg      LightConfig
	usb      float64 // s
	now      float64
	buffer   int
	rnd      *rand.Rand
	stepAt   float64 // of daylight
	daylight float64 // lx
	mu       sync.Mutex
	stations []*LightStationPort
	order    []tagged
	started  bool
}

// LightStationPort is a station's serial line: a USB-serial adapter with an LED on
// TX and a comparator on RX, 8N1. Its methods are those of a port; Write blocks while
// the adapter's queue is full.
type LightStationPort struct {
	light *Light
	name  string
	index int
	o     optics
	front *frontEnd
	out   uartOut
	in    uartIn
	lit   []edge // not yet on the light
	trace func(at float64, up bool)

	mu     sync.Mutex
	more   sync.Cond // the queue has room, octets came, or it is closed
	baud   int
	queue  []byte
	heard  []byte
	closed bool
	stats  LightStats
}

// LightStats counts what a station's adapter did.
type LightStats struct {
	Sent    uint64 // characters
	Gaps    uint64 // USB frames in which the line rested for want of characters
	Heard   uint64
	Framing uint64 // heard, with a stop bit that was none
	False   uint64 // start bits that were none
	Dropped uint64 // heard, but nobody read them in time
}

type tagged struct {
	edge
	led int
}

// ErrLightClosed is what a port says when it was closed.
var ErrLightClosed = errors.New("closed")

// readBacklog is how many octets wait for a reader, as in Linux's tty.
const readBacklog = 65536

// NewLight makes a light field.
func NewLight(cfg LightConfig) (*Light, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	l := &Light{cfg: cfg, usb: 1e-3 * given(1, cfg.Room.USBMillis), buffer: 4096, rnd: rand.New(rand.NewPCG(cfg.Seed, 0x11647))}
	if b := cfg.Room.BufferOctets; b != nil {
		l.buffer = *b
	}
	l.stepAt = l.drawStep()
	return l, nil
}

// Attach adds a station. Its clock, if none is configured, is drawn from its name.
func (l *Light) Attach(name string) (*LightStationPort, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.started {
		return nil, errors.New("the light is on: stations are attached before")
	}
	for _, s := range l.stations {
		if s.name == name {
			return nil, fmt.Errorf("station %q is there already", name)
		}
	}
	h := fnv.New64a()
	h.Write([]byte(name))
	rnd := rand.New(rand.NewPCG(l.cfg.Seed, h.Sum64()))
	p := &LightStationPort{light: l, name: name, index: len(l.stations), o: l.cfg.opticsOf(name, 100*(2*rnd.Float64()-1))}
	p.more.L = &p.mu
	p.in.phase, p.in.level = rnd.Float64()*1e-6, true
	p.setSpeed(115200)
	p.front = newFrontEnd(&p.o, 0, given(7, l.cfg.Room.NoiseSigmas), rnd)
	l.stations = append(l.stations, p)
	return p, nil
}

// start places the stations that have no place and works out what reaches whom.
func (l *Light) start() {
	l.started = true
	n := len(l.stations)
	radius := given(0.3, l.cfg.Room.DistanceM) / 2
	cx, cy := 0., 0.
	for i, s := range l.stations {
		if !s.o.placed {
			a := 2 * math.Pi * float64(i) / float64(n)
			s.o.x, s.o.y = radius*math.Cos(a), radius*math.Sin(a)
		}
		cx, cy = cx+s.o.x/float64(n), cy+s.o.y/float64(n)
	}
	for _, s := range l.stations {
		if !s.o.aimed {
			s.o.toward = math.Atan2(cy-s.o.y, cx-s.o.x)
		}
	}
	for _, s := range l.stations {
		f := s.front
		f.level, f.gain = make([]bool, n), make([]float64, n)
		for j := range f.level {
			f.level[j] = true // lines at rest are lit
		}
		l.cover(s, 0)
		f.v = f.target()
		f.mean = f.v + l.ambient(s, 0)
		f.up = true
		s.mu.Lock() // its speed may be set meanwhile
		f.half = s.out.bit / 2
		s.mu.Unlock()
		f.planGlitch()
	}
}

// cover sets the gains of all paths to a station for a time.
func (l *Light) cover(to *LightStationPort, t float64) {
	share := 1.
	for i := range l.cfg.Hands {
		if l.cfg.Hands[i].covers(t) {
			share = given(0, l.cfg.Room.HandShare)
		}
	}
	for j, from := range l.stations {
		if from == to {
			to.front.gain[j] = from.o.power * given(1e-6, l.cfg.Room.WallShare) * to.o.response
			continue
		}
		to.front.gain[j] = share * received(&from.o, &to.o) * to.o.response
	}
}

// Received is the photocurrent, in A, that a station's light makes at another one,
// and Noise that one's noise, rms, in ambient light: the link budget.
func (l *Light) Received(from, to *LightStationPort) (signal, noise float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.started {
		l.start()
	}
	return received(&from.o, &to.o) * to.o.response, to.o.noiseRMS(l.ambient(to, 0))
}

// ambient is the photocurrent of all light that says nothing.
func (l *Light) ambient(s *LightStationPort, t float64) float64 {
	r := &l.cfg.Room
	lux := given(officeLux, r.AmbientLux)
	lux *= 1 + given(0.3, r.Ripple)*math.Sin(2*math.Pi*given(100, r.RippleHz)*t)
	return max(0, lux+l.daylight) * s.o.ambient
}

func (l *Light) drawStep() float64 {
	if given(0, l.cfg.Room.StepLux) == 0 {
		return math.Inf(1)
	}
	return l.now + l.rnd.ExpFloat64()*given(5, l.cfg.Room.StepEveryS)
}

// stepDaylight lets the ambient light jump if it is time.
func (l *Light) stepDaylight() {
	if l.now < l.stepAt {
		return
	}
	lux := given(officeLux, l.cfg.Room.AmbientLux)
	l.daylight = max(-lux, (2*l.rnd.Float64()-1)*given(0, l.cfg.Room.StepLux))
	l.stepAt = l.drawStep()
}

// Now is the simulated time.
func (l *Light) Now() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Duration(l.now * float64(time.Second))
}

// Step lets one USB frame pass.
func (l *Light) Step() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.started {
		l.start()
	}
	l.stepDaylight()
	end := l.now + l.usb
	for _, s := range l.stations {
		s.shine(l.now, end)
	}
	l.order = l.order[:0]
	for i, s := range l.stations {
		used := 0
		for used < len(s.lit) && s.lit[used].at < end {
			l.order = append(l.order, tagged{s.lit[used], i})
			used++
		}
		s.lit = append(s.lit[:0], s.lit[used:]...)
	}
	slices.SortStableFunc(l.order, func(a, b tagged) int { return cmp.Compare(a.at, b.at) })
	for _, s := range l.stations {
		l.cover(s, l.now)
		ambient := func(t float64) float64 { return l.ambient(s, t) }
		f := s.front
		for _, e := range l.order {
			if f.gain[e.led] != 0 || f.level[e.led] != e.up {
				f.change(e.led, e.edge, ambient)
			}
		}
		f.advance(end, ambient)
		s.listen(end)
	}
	l.now = end
}

// shine turns what is queued into edges until the end of a USB frame. A character
// that has begun is finished in the next frame.
func (p *LightStationPort) shine(from, end float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.front.half = p.out.bit / 2
	told := len(p.lit)
	used := 0
	for p.out.next < end {
		if used == len(p.queue) {
			p.stats.Gaps++
			p.out.next = max(p.out.next, end)
			break
		}
		p.out.next = max(p.out.next, from)
		p.lit = p.out.send(p.lit, p.queue[used])
		used++
	}
	if used > 0 {
		p.stats.Sent += uint64(used)
		p.queue = append(p.queue[:0], p.queue[used:]...)
		p.more.Broadcast()
	}
	if p.trace != nil {
		for _, e := range p.lit[told:] {
			p.trace(e.at, e.up)
		}
	}
}

// listen gives what the comparator showed to the UART.
func (p *LightStationPort) listen(end float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := len(p.heard)
	// Noise may have moved an edge beyond the frame's end, so the UART stays a little
	// behind.
	p.heard = p.in.take(p.front.out, end-10*p.in.tick, p.heard)
	p.front.out = p.front.out[:0]
	if len(p.heard) > readBacklog {
		p.stats.Dropped += uint64(len(p.heard) - readBacklog)
		p.heard = p.heard[:readBacklog]
	}
	p.stats.Heard, p.stats.Framing, p.stats.False = p.in.heard, p.in.framing, p.in.falseStarts
	if len(p.heard) > before {
		p.more.Broadcast()
	}
}

// Run lets time pass until ctx ends, at most Speed times as fast as the clock. In a
// testing/synctest bubble that is the simulated clock, which stands still while the
// light is worked out.
func (l *Light) Run(ctx context.Context) error {
	speed := given(1, l.cfg.Speed)
	began, at := time.Now(), l.Now()
	for ctx.Err() == nil {
		l.Step()
		if speed > 0 {
			due := time.Duration(float64(l.Now()-at) / speed)
			if wait := due - time.Since(began); wait > 0 {
				time.Sleep(wait)
			} else if wait < -100*time.Millisecond { // a slow machine: time goes slower
				began, at = time.Now(), l.Now()
			}
		}
	}
	return ctx.Err()
}

// Trace calls f for every change of the station's light. It is set before the first
// Step.
func (p *LightStationPort) Trace(f func(at float64, lit bool)) { p.trace = f }

// Stats is a snapshot of the counters.
func (p *LightStationPort) Stats() LightStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stats
}

// Read waits for characters.
func (p *LightStationPort) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.heard) == 0 && !p.closed {
		p.more.Wait()
	}
	if p.closed {
		return 0, ErrLightClosed
	}
	n := copy(b, p.heard)
	p.heard = append(p.heard[:0], p.heard[n:]...)
	return n, nil
}

// Write queues characters.
func (p *LightStationPort) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n := 0; ; {
		if p.closed {
			return n, ErrLightClosed
		}
		room := min(len(b)-n, p.light.buffer-len(p.queue))
		p.queue = append(p.queue, b[n:n+room]...)
		if n += room; n == len(b) {
			return n, nil
		}
		p.more.Wait()
	}
}

// Queued is how many characters wait to be sent.
func (p *LightStationPort) Queued() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.queue), nil
}

// SetSpeed changes the speed of both directions at once.
func (p *LightStationPort) SetSpeed(baud int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if baud <= 0 {
		return fmt.Errorf("%d baud", baud)
	}
	p.setSpeed(baud)
	return nil
}

func (p *LightStationPort) setSpeed(baud int) {
	p.baud = baud
	p.out.bit = 1 / (float64(baud) * p.o.clock)
	p.in.tick = 1 / (16 * float64(baud) * p.o.clock)
}

// Close unplugs the program, not the adapter: Reopen plugs it in again.
func (p *LightStationPort) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.queue, p.heard = p.queue[:0], p.heard[:0]
	p.more.Broadcast()
	return nil
}

// Reopen plugs a program in again after Close.
func (p *LightStationPort) Reopen() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = false
	p.setSpeed(115200)
}
