package fsk

import (
	"errors"
	"fmt"
	"math"

	"lightsong/modem"
	"lightsong/modem/fec"
)

// Profile is the name of the table of this package in modem.Mode.
const Profile = "fsk"

// ErrRate is wrapped by the errors about a sample rate that cannot carry the
// table, and about a table that makes no sense.
var ErrRate = errors.New("sample rate or parameters cannot be used")

// Sample rates that the package works at, in Hz.
const (
	MinRate = 8000
	MaxRate = 192000
)

// Params is a numerology: what a receiver must know before it can read a
// burst's header. The preamble tells it which one of a table it is.
type Params struct {
	Name       string
	Tones      int     // 2, 4 or 16
	SymbolRate float64 // symbols per second
	// Spacing of the tones in Hz: a multiple of SymbolRate, so that the tones
	// are orthogonal without knowledge of their phase (modulation index 1, 2, …).
	Spacing float64
	// Centre of the tones in Hz. Twice of it should be a multiple of
	// SymbolRate: then no tone leaks into another by its negative frequency.
	Centre float64
	Chirp  Chirp
	Codes  []Coding // what the payload can be coded with, the most robust first; each becomes one MCS
}

// Chirp is the preamble of a numerology: a linear sweep. Its direction, length
// and slope differ between the numerologies of a table.
type Chirp struct {
	From, To float64 // Hz
	Seconds  float64
}

// Coding is one way to code the payload.
type Coding struct {
	Rate        CodeRate
	FrameOctets int     // frame length that suits it
	SNRdB       float64 // required SNR, as in modem.Mode
}

// CodeRate is the rate of the payload's code.
type CodeRate uint8

// The code rates. The punctured ones keep the largest free distance that any
// pattern of their period leaves: 7, 6, 5 and 4.
const (
	Half CodeRate = iota
	TwoThirds
	ThreeQuarters
	FiveSixths
	SevenEighths
)

var codings = [...]struct {
	name   string
	scheme fec.Scheme
}{
	Half:          {"1/2", fec.Scheme{Code: fec.ConvHalf}},
	TwoThirds:     {"2/3", fec.Scheme{Code: fec.ConvHalf, Pattern: []uint8{1, 1, 1, 0}}},
	ThreeQuarters: {"3/4", fec.Scheme{Code: fec.ConvHalf, Pattern: []uint8{1, 1, 1, 0, 1, 0}}},
	FiveSixths:    {"5/6", fec.Scheme{Code: fec.ConvHalf, Pattern: []uint8{1, 1, 0, 1, 1, 0, 1, 0, 0, 1}}},
	SevenEighths:  {"7/8", fec.Scheme{Code: fec.ConvHalf, Pattern: []uint8{1, 1, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0}}},
}

func (r CodeRate) String() string {
	if int(r) < len(codings) {
		return codings[r].name
	}
	return fmt.Sprintf("CodeRate(%d)", uint8(r))
}

// Table is the table of the profile, the most robust numerology first. A
// sample rate that cannot carry the last ones leaves them out, so an MCS means
// the same at every rate.
var Table = []Params{
	{
		Name: "robust", Tones: 16, SymbolRate: 187.5, Spacing: 187.5, Centre: 2156.25,
		Chirp: Chirp{From: 650, To: 3650, Seconds: 4096. / 48000},
		Codes: []Coding{{TwoThirds, 40, -12.5}},
	},
	{
		Name: "voice", Tones: 2, SymbolRate: 750, Spacing: 750, Centre: 1500,
		Chirp: Chirp{From: 2700, To: 300, Seconds: 4096. / 48000},
		Codes: []Coding{{TwoThirds, 40, -8.5}, {FiveSixths, 48, -7.0}},
	},
	{
		Name: "room", Tones: 16, SymbolRate: 1000, Spacing: 1000, Centre: 9500,
		Chirp: Chirp{From: 1600, To: 17400, Seconds: 2048. / 48000},
		Codes: []Coding{{TwoThirds, 96, -5}, {FiveSixths, 128, -3.5}},
	},
	{
		Name: "lead", Tones: 4, SymbolRate: 16000. / 3, Spacing: 16000. / 3, Centre: 32000. / 3,
		Chirp: Chirp{From: 20500, To: 1000, Seconds: 2048. / 48000},
		Codes: []Coding{{TwoThirds, 160, 1}, {FiveSixths, 200, 2.3}, {SevenEighths, 240, 2.8}},
	},
}

// Check tells whether the parameters make sense and fit a sample rate in Hz.
// The error wraps ErrRate.
func (p *Params) Check(rate int) error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("numerology %s at %d Hz: %w: %s", p.Name, rate, ErrRate, fmt.Sprintf(format, args...))
	}
	half := float64(rate) / 2
	width := float64(p.Tones-1) * p.Spacing
	index := p.Spacing / p.SymbolRate
	switch {
	case rate < MinRate || rate > MaxRate:
		return fail("the rate is %d to %d Hz", MinRate, MaxRate)
	case p.Tones != 2 && p.Tones != 4 && p.Tones != 16:
		return fail("%d tones, not 2, 4 or 16", p.Tones)
	case !(p.SymbolRate >= 10 && p.SymbolRate*4 <= float64(rate)):
		return fail("%g symbols per second", p.SymbolRate)
	case !(index >= 1-1e-9 && math.Abs(index-math.Round(index)) < 1e-9):
		return fail("a tone spacing of %g Hz is no multiple of the symbol rate", p.Spacing)
	case !(p.Centre-width/2-p.SymbolRate/2 >= -1e-6 && p.Centre+width/2+p.SymbolRate/2 <= half+1e-6):
		return fail("tones of %g to %g Hz and their width do not fit below %g Hz", p.Centre-width/2, p.Centre+width/2, half)
	case !(min(p.Chirp.From, p.Chirp.To) >= 0 && max(p.Chirp.From, p.Chirp.To) <= half):
		return fail("a chirp of %g to %g Hz does not fit below %g Hz", p.Chirp.From, p.Chirp.To, half)
	case !(p.Chirp.Seconds >= 0.01 && p.Chirp.Seconds <= 0.1 && math.Abs(p.Chirp.To-p.Chirp.From)*p.Chirp.Seconds >= 50):
		return fail("a chirp of %g s from %g to %g Hz: it must last 0.01 to 0.1 s and have a time-bandwidth product of 50 or more", p.Chirp.Seconds, p.Chirp.From, p.Chirp.To)
	case len(p.Codes) == 0:
		return fail("no coding")
	}
	for _, c := range p.Codes {
		if int(c.Rate) >= len(codings) || c.FrameOctets < 1 || c.FrameOctets > modem.MaxFrameOctets {
			return fail("coding %v with frames of %d octets", c.Rate, c.FrameOctets)
		}
	}
	return nil
}

// carried is the part of the package's table that a rate can carry.
func carried(rate int) []Params {
	for i := range Table {
		if Table[i].Check(rate) != nil {
			return Table[:i]
		}
	}
	return Table
}

// typicalBurst is what net bit rates are counted for: the link's longest burst
// in seconds, and a control block of usual length.
const (
	typicalBurst   = 2.0
	typicalControl = 16
)

// Modes lists the profile's modes at a sample rate in Hz, by MCS; it is empty
// for a rate that cannot be used. NetBPS is that of a burst of up to two
// seconds with a control block of 16 octets.
func Modes(rate int) []modem.Mode { return ModesOf(rate, carried(rate)) }

// ModesOf is Modes for another table. Modes that the rate cannot carry are
// missing.
func ModesOf(rate int, table []Params) []modem.Mode {
	m, err := NewModulatorOf(rate, table)
	if err != nil {
		return nil
	}
	var modes []modem.Mode
	for i, row := range m.rows {
		p, coding := row.num.params, row.coding
		b := modem.Burst{MCS: modem.MCS(i), Control: make([]byte, typicalControl)}
		frame := make([]byte, coding.FrameOctets)
		for len(b.Frames) == 0 || len(b.Frames) < modem.MaxFrames && float64(m.Samples(&b)) <= typicalBurst*float64(rate) {
			b.Frames = append(b.Frames, frame)
		}
		if len(b.Frames) > 1 {
			b.Frames = b.Frames[1:]
		}
		modes = append(modes, modem.Mode{
			Profile:     Profile,
			MCS:         b.MCS,
			NetBPS:      float64(8*len(frame)*len(b.Frames)) * float64(rate) / float64(m.Samples(&b)),
			BandwidthHz: row.num.bandwidth(),
			SNRdB:       coding.SNRdB,
			Description: fmt.Sprintf("%s: %d-FSK, %.4g Bd, %.0f–%.0f Hz, rate %v", p.Name, p.Tones, p.SymbolRate,
				p.Centre-float64(p.Tones)/2*p.Spacing, p.Centre+float64(p.Tones)/2*p.Spacing, coding.Rate),
			FrameOctets: coding.FrameOctets,
		})
	}
	return modes
}
