package sims

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// LightConfig describes a light field and the stations in it. The zero value is
// valid: stations stand in a circle of 0.3 m across, lit by lamps, with the parts of
// docs/light.md. A pointer that is nil stands for its default.
type LightConfig struct {
	Seed     uint64                  `toml:"seed"`  // everything that is drawn comes from it
	Speed    *float64                `toml:"speed"` // times real time at most; 0: as fast as possible; nil: 1
	Room     LightRoom               `toml:"room"`
	Station  LightStation            `toml:"station"`  // what holds for every station
	Stations map[string]LightStation `toml:"stations"` // by name: what differs from Station
	Hands    []LightHand             `toml:"hands"`
}

// LightRoom is what holds for all paths: the light that is there anyway.
type LightRoom struct {
	DistanceM    *float64 `toml:"distance_m"`     // across the circle on which stations without a position stand, 0.01…1000; nil: 0.3
	AmbientLux   *float64 `toml:"ambient_lux"`    // 0…200000; nil: 300, an office
	RippleHz     *float64 `toml:"ripple_hz"`      // of the lamps, twice the mains': 0…1000; nil: 100
	Ripple       *float64 `toml:"ripple"`         // its amplitude as a share of the ambient light, 0…1; nil: 0.3
	StepLux      *float64 `toml:"step_lux"`       // daylight: the ambient light jumps by up to so much, either way; nil: 0
	StepEveryS   *float64 `toml:"step_every_s"`   // mean time between jumps; nil: 5
	WallShare    *float64 `toml:"wall_share"`     // of an LED's power that comes back to its own photodiode, 0…1; nil: 1e-6
	HandShare    *float64 `toml:"hand_share"`     // of the light that passes a hand, 0…1; nil: 0
	USBMillis    *float64 `toml:"usb_ms"`         // service interval of the serial lines, 0.125…16; nil: 1
	NoiseSigmas  *float64 `toml:"noise_sigmas"`   // noise that would need more than so many σ to be seen is left out; nil: 7
	BufferOctets *int     `toml:"adapter_octets"` // that an adapter and its driver queue, 64…65536; nil: 4096
}

// LightStation describes one station's place and parts.
type LightStation struct {
	PositionM *[2]float64 `toml:"position_m"` // nil: on the circle
	TowardDeg *float64    `toml:"toward_deg"` // where LED and photodiode look, counter-clockwise from the x axis; nil: at the middle of all stations

	PowerMW    *float64 `toml:"power_mw"`       // light of the LED; nil: 10
	HalfDeg    *float64 `toml:"half_angle_deg"` // of the LED, to half its intensity, 1…89; nil: 15
	RiseNS     *float64 `toml:"rise_ns"`        // of the LED, 10 to 90 %; nil: 30
	FallNS     *float64 `toml:"fall_ns"`        // likewise; nil: 40
	AreaMM2    *float64 `toml:"area_mm2"`       // of the photodiode; nil: 7 (BPW34)
	FieldDeg   *float64 `toml:"field_deg"`      // half of its field of view, beyond which it sees nothing; nil: 70
	AmpsPerW   *float64 `toml:"amps_per_watt"`  // of the photodiode at the LED's colour; nil: 0.45
	NAPerLux   *float64 `toml:"na_per_lux"`     // photocurrent by ambient light; nil: 20
	FeedbackK  *float64 `toml:"feedback_kohm"`  // transimpedance; nil: 10
	Saturation *float64 `toml:"saturation_v"`   // of the transimpedance amplifier's output; nil: 2
	BandwidthM *float64 `toml:"bandwidth_mhz"`  // of photodiode and amplifier, first order; nil: 5
	NoisePA    *float64 `toml:"noise_pa"`       // of the amplifier, pA/√Hz at its input; nil: 4
	HighPassHz *float64 `toml:"high_pass_hz"`   // corner of the coupling before the comparator; nil: 3000
	Hysteresis *float64 `toml:"hysteresis_na"`  // of the comparator, either way, referred to the photocurrent; nil: 60

	ClockPPM  *float64 `toml:"clock_ppm"`  // against true time, ±60000; nil: drawn from ±100
	JitterNS  *float64 `toml:"jitter_ns"`  // rms of each edge that it hears, beside what its noise makes; nil: 5
	ErrorRate float64  `toml:"error_rate"` // share of the time in which the comparator shows the opposite, in glitches of half a bit
}

// LightHand is a hand that covers the beams again and again.
type LightHand struct {
	StartS float64 `toml:"start_s"` // simulated time of the first time
	ForS   float64 `toml:"for_s"`   // how long it stays
	EveryS float64 `toml:"every_s"` // from one time to the next; 0: once
}

func (h *LightHand) covers(t float64) bool {
	t -= h.StartS
	if h.EveryS > 0 && t > 0 {
		t = math.Mod(t, h.EveryS)
	}
	return t >= 0 && t < h.ForS
}

// Validate returns one sentence per fault, joined, or nil.
func (c *LightConfig) Validate() error {
	var faults []error
	within := func(key string, v *float64, low, high float64) {
		if v != nil && !(*v >= low && *v <= high) {
			faults = append(faults, fmt.Errorf("%s = %g: must be from %g to %g", key, *v, low, high))
		}
	}
	within("speed", c.Speed, 0, 1e6)
	r := &c.Room
	for _, x := range []struct {
		key       string
		v         *float64
		low, high float64
	}{
		{"distance_m", r.DistanceM, 0.01, 1000}, {"ambient_lux", r.AmbientLux, 0, 200000}, {"ripple_hz", r.RippleHz, 0, 1000}, {"ripple", r.Ripple, 0, 1},
		{"step_lux", r.StepLux, 0, 200000}, {"step_every_s", r.StepEveryS, 0.001, 1e9}, {"wall_share", r.WallShare, 0, 1}, {"hand_share", r.HandShare, 0, 1},
		{"usb_ms", r.USBMillis, 0.125, 16}, {"noise_sigmas", r.NoiseSigmas, 0, 100},
	} {
		within("room."+x.key, x.v, x.low, x.high)
	}
	if b := r.BufferOctets; b != nil && (*b < 64 || *b > 65536) {
		faults = append(faults, fmt.Errorf("room.adapter_octets = %d: must be from 64 to 65536", *b))
	}
	station := func(name string, s *LightStation) {
		for _, x := range []struct {
			key       string
			v         *float64
			low, high float64
		}{
			{"toward_deg", s.TowardDeg, -360, 360}, {"power_mw", s.PowerMW, 0, 1e6}, {"half_angle_deg", s.HalfDeg, 1, 89}, {"rise_ns", s.RiseNS, 0, 1e6},
			{"fall_ns", s.FallNS, 0, 1e6}, {"area_mm2", s.AreaMM2, 0.01, 1e6}, {"field_deg", s.FieldDeg, 1, 90}, {"amps_per_watt", s.AmpsPerW, 0.001, 2},
			{"na_per_lux", s.NAPerLux, 0, 10000}, {"feedback_kohm", s.FeedbackK, 0.1, 1e5}, {"saturation_v", s.Saturation, 0.01, 100}, {"bandwidth_mhz", s.BandwidthM, 0.001, 1000},
			{"noise_pa", s.NoisePA, 0, 1e6}, {"high_pass_hz", s.HighPassHz, 0.1, 1e6}, {"hysteresis_na", s.Hysteresis, 0, 1e9}, {"clock_ppm", s.ClockPPM, -60000, 60000},
			{"jitter_ns", s.JitterNS, 0, 1e6}, {"error_rate", &s.ErrorRate, 0, 0.5},
		} {
			within(name+"."+x.key, x.v, x.low, x.high)
		}
	}
	station("station", &c.Station)
	names := make([]string, 0, len(c.Stations))
	for name := range c.Stations {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		s := c.Stations[name]
		station("stations."+name, &s)
	}
	for i, h := range c.Hands {
		if !(h.ForS > 0) || !(h.StartS >= 0) || h.EveryS != 0 && !(h.EveryS > h.ForS) {
			faults = append(faults, fmt.Errorf("hands[%d]: for_s must be above 0, every_s above it or 0, start_s at least 0", i))
		}
	}
	return errors.Join(faults...)
}

// given is the first that is not nil, or the default.
func given(def float64, choices ...*float64) float64 {
	for _, v := range choices {
		if v != nil {
			return *v
		}
	}
	return def
}

// optics is a station's parts in SI units.
type optics struct {
	x, y, toward  float64
	placed, aimed bool
	power         float64 // W
	order         float64 // Lambert's, of the LED
	rise, fall    float64 // time constants of LED and receiver together, s
	area          float64 // m²
	field         float64 // cosine of the field of view
	response      float64 // A/W
	ambient       float64 // A/lx
	feedback      float64 // Ω
	saturation    float64 // A
	pole          float64 // time constant of the receiver, s
	bandwidth     float64 // Hz
	noise         float64 // A/√Hz
	highPass      float64 // time constant, s
	hysteresis    float64 // A
	clock         float64 // rate
	jitter        float64 // s
	errors        float64
}

// riseToTau is the 10–90 % time of a first-order step in its time constants.
var riseToTau = math.Log(9)

// lambert is the order of a Lambertian source of a half-power angle: m = −ln 2/ln cos φ.
func lambert(half float64) float64 { return -math.Ln2 / math.Log(math.Cos(half)) }

// opticsOf fills in the defaults. drawn is the clock's error if none is named.
func (c *LightConfig) opticsOf(name string, drawn float64) optics {
	s, d := c.Stations[name], c.Station
	deg := math.Pi / 180
	o := optics{
		power: 1e-3 * given(10, s.PowerMW, d.PowerMW), order: lambert(deg * given(15, s.HalfDeg, d.HalfDeg)),
		rise: 1e-9 * given(30, s.RiseNS, d.RiseNS) / riseToTau, fall: 1e-9 * given(40, s.FallNS, d.FallNS) / riseToTau,
		area: 1e-6 * given(7, s.AreaMM2, d.AreaMM2), field: math.Cos(deg * given(70, s.FieldDeg, d.FieldDeg)),
		response: given(0.45, s.AmpsPerW, d.AmpsPerW), ambient: 1e-9 * given(20, s.NAPerLux, d.NAPerLux),
		feedback: 1e3 * given(10, s.FeedbackK, d.FeedbackK), bandwidth: 1e6 * given(5, s.BandwidthM, d.BandwidthM),
		noise: 1e-12 * given(4, s.NoisePA, d.NoisePA), highPass: 1 / (2 * math.Pi * given(3000, s.HighPassHz, d.HighPassHz)),
		hysteresis: 1e-9 * given(60, s.Hysteresis, d.Hysteresis), clock: 1 + 1e-6*given(drawn, s.ClockPPM, d.ClockPPM),
		jitter: 1e-9 * given(5, s.JitterNS, d.JitterNS), errors: max(s.ErrorRate, d.ErrorRate),
	}
	o.saturation = given(2, s.Saturation, d.Saturation) / o.feedback
	o.pole = 1 / (2 * math.Pi * o.bandwidth)
	o.rise, o.fall = math.Hypot(o.rise, o.pole), math.Hypot(o.fall, o.pole)
	if p := s.PositionM; p != nil {
		o.x, o.y, o.placed = p[0], p[1], true
	}
	if s.TowardDeg != nil || d.TowardDeg != nil {
		o.toward, o.aimed = deg*given(0, s.TowardDeg, d.TowardDeg), true
	}
	return o
}

// received is the power of from's light on to's photodiode, W: Lambertian source,
// flat detector, line of sight (Kahn, Barry, Proc. IEEE 85(2), 1997, eq. 10).
func received(from, to *optics) float64 {
	d, out, in := sight(from, to)
	if out <= 0 || in < to.field {
		return 0
	}
	return from.power * min(1, (from.order+1)*to.area/(2*math.Pi*d*d)*math.Pow(out, from.order)*in)
}

// sight is the line from one station to another: its length in m, and the cosines between
// it and where the one looks, and between it and where the other looks back; 0 without a length.
func sight(from, to *optics) (d, out, in float64) {
	dx, dy := to.x-from.x, to.y-from.y
	if d = math.Hypot(dx, dy); d == 0 {
		return 0, 0, 0
	}
	out = (dx*math.Cos(from.toward) + dy*math.Sin(from.toward)) / d
	in = -(dx*math.Cos(to.toward) + dy*math.Sin(to.toward)) / d
	return d, out, in
}
