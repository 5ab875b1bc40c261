package ofdm

import (
	"errors"
	"fmt"
	"math"

	"lightsong/modem"
)

// ErrProfile is wrapped by the errors about a profile that does not exist or
// cannot be carried at a sample rate.
var ErrProfile = errors.New("no such profile")

// baseRate is the sample rate that the tables below are written for.
const baseRate = 48000

// The longest burst, in seconds, bounds what a demodulator stores: the samples,
// and for dense constellations several times as much in soft decisions. Only the
// weak modes, where a packet takes so long, get more.
const (
	maxSeconds     = 20
	maxFastSeconds = 10
)

// maxSkew is the largest skew of the sample clocks, sender against receiver,
// that is searched for.
const maxSkew = 350e-6

// numerology is the shape of an OFDM symbol, in samples at the base rate.
type numerology struct{ n, cp int }

// class is a kind of preamble and header. The receiver knows it from the chirp.
type class struct {
	chirp    int  // samples at the base rate
	falling  bool // the chirp sweeps from high to low
	head     numerology
	training int     // known symbols before the header
	coded    int     // coded bits of the header, even
	pilots   int     // one carrier in so many of each header symbol
	lo, hi   float64 // Hz, of the band
	weak     bool    // for modes in which a packet may take long
	joint    int     // octets of the longest frame that is coded together with the control block
	inside   int     // in the middle of another burst there is neither chirp nor training: one carrier in so many of the first symbol is known; 0: not there
}

// mode is one row of a profile's table, that is an MCS.
type mode struct {
	class  int
	bits   int     // coded bits on a carrier, even: QAM of 2^bits points
	rate   float64 // information bits (check included) per coded bit, what the matcher adds not counted; below 1/5 bits are repeated
	octets int     // frame that suits the mode
	snr    float64 // dB, measured by BenchmarkModeTable
	shapes []numerology
}

// oneWord is the longest frame, in octets, that is one codeword of BG2. Longer ones would be on BG1, which
// repeats below its mother rate, 1/3: at a quarter and less that costs 0.25 to 0.5 dB.
const (
	oneWord = 3824/8 - frameCheck
	repeats = 1. / 3
)

// profile is a band and the modes in it.
type profile struct {
	name        string
	about       string
	wide        bool // the band grows with the rate instead of staying where it is
	pair        bool // two channels carry a stream each
	classes     []class
	modes       []mode
	pilots      int          // one carrier in so many of each payload symbol
	dense       int          // bins of a comb that is all that the first of long symbols has instead of training, a power of 2; 0: training
	sparse      int          // and the share of the comb that is pilots in each of the others: one in so many
	trim        bool         // peaks are taken down with what is outside the band
	taper       int          // samples over which a symbol fades into the next
	apart       int          // constellations of so many bits and more are interleaved only within a symbol or so; 0: none
	shaped      int          // constellations of so many bits and more are shaped; 0: none
	patience    float64      // times the shortest airtime is spent on longer symbols
	blocks      []blockShape // of bursts that are one block, from the shortest on
	blockClass  int
	blockPilots int     // one carrier in so many of a block
	blockLeast  float64 // bits a carrier, of modes that blocks are for
	spread      float64 // s, echoes later than that after the direct wave are not expected to be strong
	seams       bool    // bursts may come in the middle of others
}

var profiles = []*profile{&air, &cable, &cable2, &ultra, &voice}

// find returns the profile of a name and how it is carried at a rate.
func find(name string, rate int) (*profile, scale, error) {
	for _, p := range profiles {
		if p.name == name {
			s, err := p.at(rate)
			return p, s, err
		}
	}
	return nil, scale{}, fmt.Errorf("ofdm: %w: %q", ErrProfile, name)
}

// scale carries the tables to a device's sample rate.
type scale struct {
	rate  int     // samples per second of the device
	times int     // samples per sample of the tables
	ratio float64 // device samples per internal sample; 1 but for rates that are resampled
}

// at is how the profile is carried at a rate: 48000, 96000 and 192000 directly,
// 44100, 88200 and 176400 resampled to the next of those.
func (p *profile) at(rate int) (scale, error) {
	for times := 1; times <= 4; times *= 2 {
		for _, r := range []int{baseRate * times, 44100 * times} {
			if r == rate {
				s := scale{rate: rate, times: times, ratio: float64(rate) / float64(baseRate*times)}
				if p.wide {
					s.times = 1
				}
				return s, nil
			}
		}
	}
	return scale{}, fmt.Errorf("ofdm: %w: %s at %d samples per second, want 44100, 48000 or two or four times that", ErrProfile, p.name, rate)
}

// The classes of preamble and header that every profile has some of. The header
// is good to about 2 dB below the weakest payload of its class; that of the cable's short packets at a
// few kb/s, most of which it would be, to 1 dB.
//
// Shapes of the cable: from single packets to bulk.
var (
	cableQuick = numerology{256, 32}
	cableHead  = numerology{512, 32}
	cableWeak  = numerology{1024, 64}
	cableDeep  = []numerology{cableWeak}
	cableShort = []numerology{cableHead}
	cableFast  = []numerology{cableHead, {1024, 48}, {4096, 96}}
	cableBulk  = []numerology{cableHead, {1024, 48}, {4096, 96}, {8192, 96}}
)

// Blocks of the cable, for what is alone: an acknowledgement, a keystroke.
var cableBlocks = []blockShape{{512, 192, 0, 6}, {768, 192, 0, 6}, {1024, 192, 0, 6}, {1536, 192, 0, 6}, {2048, 192, 0, 6}}

// cable is the profile for an audio lead: flat, short, quiet.
var cable = profile{
	name:     "cable",
	about:    "audio lead",
	wide:     true,
	pilots:   48,
	dense:    512,
	sparse:   12,
	trim:     true,
	shaped:   4,
	taper:    12,
	patience: 1.03,
	apart:    8,
	spread:   0.5e-3,
	seams:    true,

	blocks:      cableBlocks,
	blockClass:  5,
	blockPilots: 8,
	blockLeast:  1.2,
	classes: []class{
		{chirp: 192, head: cableQuick, training: 1, coded: 120, pilots: 12, lo: 500, hi: 21000, inside: 3},
		{chirp: 448, head: cableHead, training: 1, coded: 232, pilots: 12, lo: 500, hi: 21000, inside: 3},
		{chirp: 512, falling: true, head: cableHead, training: 1, coded: 720, pilots: 12, lo: 500, hi: 21000, weak: true, joint: 64, inside: 1},
		{chirp: 4096, head: cableWeak, training: 3, coded: 5800, pilots: 12, lo: 500, hi: 21000, weak: true},
		{chirp: 12288, falling: true, head: cableWeak, training: 6, coded: 36000, pilots: 8, lo: 500, hi: 21000, weak: true},
		{chirp: 256, falling: true, coded: 232, lo: 500, hi: 21000}, // blocks
	},
	modes: []mode{
		{4, 2, 0.0072, 144, -19, cableDeep},
		{4, 2, 0.0095, 176, -18, cableDeep},
		{4, 2, 0.013, 224, -16.5, cableDeep},
		{4, 2, 0.018, 288, -15.25, cableDeep},
		{4, 2, 0.025, 352, -14, cableDeep},
		{4, 2, 0.034, 416, -12.75, cableDeep},
		{3, 2, 0.044, 256, -11.25, cableDeep},
		{3, 2, 0.066, 320, -9.75, cableDeep},
		{3, 2, 0.092, 384, -8.25, cableDeep},
		{3, 2, 0.127, oneWord, -7, cableDeep},
		{2, 2, 0.16, oneWord, -5.75, cableShort},
		{2, 2, 0.22, oneWord, -4.5, cableShort},
		{2, 2, 0.29, oneWord, -3, cableShort},
		{2, 2, 0.38, oneWord, -1.5, cableShort},
		{1, 2, 0.48, 1024, -0.25, cableFast},
		{1, 2, 0.6, 1024, 1.25, cableFast},
		{1, 2, 0.72, 1024, 2.75, cableFast},
		{1, 4, 0.421, 664, 3.75, cableFast},
		{1, 4, 0.496, 732, 5, cableFast},
		{1, 4, 0.576, 796, 6, cableFast},
		{1, 4, 0.661, 856, 7.25, cableFast},
		{0, 6, 0.481, 716, 8.5, cableFast},
		{0, 6, 0.562, 784, 10, cableFast},
		{0, 6, 0.625, 832, 11.25, cableFast},
		{0, 6, 0.69, 872, 12.75, cableFast},
		{0, 8, 0.566, 788, 14, cableBulk},
		{0, 8, 0.616, 824, 15, cableBulk},
		{0, 8, 0.667, 860, 16.25, cableBulk},
		{0, 8, 0.718, 892, 17.5, cableBulk},
		{0, 8, 0.769, 920, 19, cableBulk},
		{0, 10, 0.656, 852, 20.25, cableBulk},
		{0, 10, 0.697, 876, 21.5, cableBulk},
		{0, 10, 0.738, 904, 22.5, cableBulk},
		{0, 10, 0.78, 928, 23.75, cableBulk},
		{0, 10, 0.821, 948, 25.25, cableBulk},
		{0, 12, 0.719, 892, 26.5, cableBulk},
		{0, 12, 0.753, 912, 27.75, cableBulk},
		{0, 12, 0.788, 932, 29, cableBulk},
		{0, 12, 0.822, 948, 30, cableBulk},
		{0, 14, 0.724, 892, 31.25, cableBulk},
		{0, 14, 0.757, 912, 32.75, cableBulk},
		{0, 14, 0.794, 932, 34.25, cableBulk},
		{0, 14, 0.823, 948, 35.25, cableBulk},
		{0, 14, 0.853, 964, 36.75, cableBulk},
		{0, 16, 0.772, 920, 38, cableBulk},
		{0, 16, 0.798, 936, 39, cableBulk},
		{0, 16, 0.824, 948, 40, cableBulk},
		{0, 16, 0.85, 964, 41.5, cableBulk},
		{0, 16, 0.876, 976, 43, cableBulk},
		{0, 18, 0.802, 940, 44.25, cableBulk},
		{0, 18, 0.825, 952, 45.25, cableBulk},
		{0, 18, 0.848, 964, 46.75, cableBulk},
		{0, 18, 0.871, 972, 47.75, cableBulk},
		{0, 18, 0.894, 984, 49.25, cableBulk},
		{0, 20, 0.825, 952, 50.75, cableBulk},
		{0, 20, 0.846, 960, 51.75, cableBulk},
		{0, 20, 0.867, 972, 53.25, cableBulk},
		{0, 20, 0.89, 980, 54.75, cableBulk},
		{0, 20, 0.909, 992, 55.75, cableBulk},
		{0, 22, 0.845, 960, 57, cableBulk},
		{0, 22, 0.864, 972, 58.25, cableBulk},
		{0, 22, 0.883, 980, 59.5, cableBulk},
		{0, 22, 0.902, 988, 61, cableBulk},
		{0, 24, 0.844, 960, 62.25, cableBulk},
	},
}

// cable2 is the profile for an audio lead with two channels, each with a stream of
// its own: the modes of cable with frames twice as long. Those for less than −11
// dB are left out. There the paths of two streams cannot be told apart as well as
// the code would need it, and nobody has such a lead.
var cable2 = profile{
	name:     "cable2",
	about:    "audio lead, two channels",
	wide:     true,
	pair:     true,
	pilots:   48,
	shaped:   4,
	taper:    12,
	patience: 1,
	apart:    8,
	trim:     true,
	spread:   0.5e-3,
	seams:    true,
	classes:  cable.classes[:cable2Classes],
	modes:    doubled(cable.modes),
}

const cable2Classes = 4

// pairLoss is how much more SNR, in dB, a mode needs with two streams: the
// receiver estimates twice as many paths, and the training that takes makes
// short symbols, in whose prefix the sinc of a resampler hardly fits, pay longer.
// BenchmarkModeTable/cable2, with a crosstalk of −40 dB, finds every row within a
// quarter of a dB of that.
func pairLoss(m *mode) float64 {
	switch {
	case m.bits >= 22:
		return 0.5
	case m.bits >= 14 || cable.classes[m.class].weak:
		return 0.25
	}
	return 0
}

func doubled(modes []mode) (two []mode) {
	for _, m := range modes {
		if m.class < cable2Classes {
			if m.octets *= 2; m.rate < repeats {
				m.octets = min(m.octets, oneWord)
			}
			m.snr += pairLoss(&m)
			two = append(two, m)
		}
	}
	return two
}

// Shapes of the air. In a room the echoes outlast every prefix, and what falls
// into the next symbol is noise to it: the longer the symbol, the smaller its
// share, so that denser constellations want longer symbols.
var (
	airFirst  = numerology{1024, 480}
	airHead   = numerology{2048, 480}
	airDeep   = []numerology{airHead}
	airShort  = []numerology{airFirst, airHead}
	airMiddle = []numerology{{8192, 960}}
	airThird  = numerology{16384, 1920} // of a second, of bursts of middle form
	airLong   = []numerology{{8192, 960}, airThird}
	airBulk   = []numerology{{8192, 960}, airThird, {32768, 4096}}
	airBlocks = []blockShape{
		{1024, 1024, 0, 2.5}, {1536, 1024, 0, 2.5}, {2048, 1024, 0, 0}, {2560, 1024, 0, 0}, {3072, 1024, 0, 0}, {4096, 1536, 0, 0},
		{5120, 1536, 0, 0}, {6144, 2048, 0, 0}, {8192, 2000, 3.5, 0}, {8192, 4096, 0, 0}, {10240, 4096, 0, 0}, {12288, 4096, 0, 0},
		{16384, 4096, 0, 0},
	}
)

// air is the profile for a loudspeaker and a microphone that lie still.
var air = profile{
	name:        "air",
	about:       "speaker to microphone",
	pilots:      16,
	shaped:      8,
	taper:       48,
	patience:    1.15,
	spread:      20e-3,
	blocks:      airBlocks,
	blockClass:  4,
	blockPilots: 8,
	blockLeast:  1.2,
	classes: []class{
		{chirp: 1024, head: airFirst, training: 1, coded: 480, pilots: 8, lo: 1000, hi: 20000},
		{chirp: 2048, falling: true, head: airHead, training: 2, coded: 1300, pilots: 12, lo: 1000, hi: 20000, weak: true},
		{chirp: 4096, head: airHead, training: 2, coded: 5800, pilots: 12, lo: 1000, hi: 20000, weak: true},
		{chirp: 12288, falling: true, head: airHead, training: 4, coded: 36000, pilots: 8, lo: 1000, hi: 20000, weak: true},
		{chirp: 1024, falling: true, coded: 256, lo: 1000, hi: 20000}, // blocks
	},
	modes: []mode{
		{3, 2, 0.0072, 144, -19.5, airDeep},
		{3, 2, 0.0095, 176, -18.25, airDeep},
		{3, 2, 0.013, 224, -17, airDeep},
		{3, 2, 0.018, 288, -15.75, airDeep},
		{3, 2, 0.025, 352, -14.25, airDeep},
		{3, 2, 0.034, 416, -13, airDeep},
		{2, 2, 0.0478, 256, -11.5, airDeep},
		{2, 2, 0.066, 320, -10, airDeep},
		{2, 2, 0.096, 384, -8.5, airDeep},
		{2, 2, 0.127, 512, -7, airDeep},
		{1, 2, 0.17, 512, -5.5, airShort},
		{1, 2, 0.23, 256, -4.5, airShort},
		{1, 2, 0.3, 256, -3.25, airShort},
		{0, 2, 0.36, 256, -2.25, airShort},
		{0, 2, 0.45, 256, -0.75, airShort},
		{0, 2, 0.57, 256, 0.75, airShort},
		{0, 2, 0.7, 512, 2.25, airMiddle},
		{0, 4, 0.41, 512, 3.75, airMiddle},
		{0, 4, 0.48, 512, 4.5, airMiddle},
		{0, 4, 0.55, 512, 5.75, airMiddle},
		{0, 4, 0.62, 512, 6.5, airMiddle},
		{0, 6, 0.43, 1024, 7, airLong},
		{0, 6, 0.49, 1024, 8.25, airLong},
		{0, 6, 0.54, 1024, 9.75, airLong},
		{0, 6, 0.61, 1024, 11.25, airLong},
		{0, 6, 0.67, 1024, 12, airLong},
		{0, 8, 0.55, 1024, 13, airBulk},
		{0, 8, 0.6, 1024, 14.25, airBulk},
		{0, 8, 0.65, 1024, 15.25, airBulk},
		{0, 8, 0.7, 1024, 16.25, airBulk},
		{0, 10, 0.58, 1024, 17.5, airBulk},
		{0, 8, 0.79, 1024, 19, airBulk},
		{0, 8, 0.83, 1024, 20, airBulk},
		{0, 10, 0.7, 1024, 21, airBulk},
		{0, 10, 0.755, 1024, 22.5, airBulk},
		{0, 10, 0.78, 1024, 23.5, airBulk},
	},
}

// Shapes of the inaudible band and of telephony.
var (
	ultraHead  = numerology{2048, 384}
	ultraShort = []numerology{ultraHead}
	ultraLong  = []numerology{ultraHead, {8192, 1024}}
	voiceHead  = numerology{2048, 256}
	voiceShort = []numerology{voiceHead}
	voiceLong  = []numerology{voiceHead, {8192, 1024}}
)

// ultra is the profile above what most adults hear.
var ultra = profile{
	name:     "ultra",
	about:    "inaudible to most adults",
	pilots:   16,
	shaped:   4,
	taper:    96,
	patience: 1.15,
	spread:   20e-3,
	classes: []class{
		{chirp: 4096, head: ultraHead, training: 1, coded: 900, pilots: 8, lo: 17000, hi: 20500},
		{chirp: 12288, falling: true, head: ultraHead, training: 2, coded: 4400, pilots: 8, lo: 17000, hi: 20500, weak: true},
	},
	modes: []mode{
		{1, 2, 0.037, 96, -19, ultraShort},
		{1, 2, 0.052, 128, -18.5, ultraShort},
		{1, 2, 0.071, 176, -17, ultraShort},
		{1, 2, 0.09, 176, -16, ultraShort},
		{0, 2, 0.096, 128, -15, ultraShort},
		{0, 2, 0.135, 160, -14.25, ultraShort},
		{0, 2, 0.19, 192, -12.75, ultraShort},
		{0, 2, 0.26, 192, -11.25, ultraShort},
		{0, 2, 0.35, 256, -9.75, ultraShort},
		{0, 2, 0.46, 256, -8.25, ultraShort},
		{0, 2, 0.57, 256, -7, ultraShort},
		{0, 4, 0.34, 512, -5.5, ultraLong},
		{0, 4, 0.38, 512, -4.75, ultraLong},
		{0, 4, 0.46, 512, -3.75, ultraLong},
		{0, 4, 0.55, 512, -2.25, ultraLong},
		{0, 4, 0.64, 512, -0.75, ultraLong},
		{0, 6, 0.45, 512, 0.25, ultraLong},
		{0, 6, 0.5, 512, 1, ultraLong},
		{0, 6, 0.57, 512, 2, ultraLong},
		{0, 6, 0.64, 512, 3.5, ultraLong},
		{0, 8, 0.5, 512, 4.25, ultraLong},
		{0, 8, 0.55, 512, 5.25, ultraLong},
		{0, 8, 0.61, 512, 6, ultraLong},
		{0, 8, 0.67, 512, 7.25, ultraLong},
		{0, 8, 0.705, 512, 8.75, ultraLong},
		{0, 8, 0.74, 512, 10.25, ultraLong},
	},
}

// voice is the profile for telephones and hand-held radios.
var voice = profile{
	name:     "voice",
	about:    "telephone, hand-held radio",
	pilots:   16,
	shaped:   4,
	taper:    48,
	patience: 1.15,
	spread:   10e-3,
	classes: []class{
		{chirp: 4096, head: voiceHead, training: 1, coded: 900, pilots: 8, lo: 300, hi: 2700},
		{chirp: 12288, falling: true, head: voiceHead, training: 2, coded: 5000, pilots: 8, lo: 300, hi: 2700, weak: true},
	},
	modes: []mode{
		{1, 2, 0.043, 96, -20.5, voiceShort},
		{1, 2, 0.058, 128, -19.5, voiceShort},
		{1, 2, 0.078, 160, -18.25, voiceShort},
		{1, 2, 0.104, 176, -17, voiceShort},
		{0, 2, 0.135, 160, -15.5, voiceShort},
		{0, 2, 0.19, 192, -14.25, voiceShort},
		{0, 2, 0.25, 192, -12.75, voiceShort},
		{0, 2, 0.35, 256, -11.25, voiceShort},
		{0, 2, 0.46, 256, -9.75, voiceShort},
		{0, 2, 0.53, 256, -8.75, voiceShort},
		{0, 2, 0.6, 256, -7.75, voiceShort},
		{0, 4, 0.38, 512, -6.5, voiceLong},
		{0, 4, 0.46, 512, -5, voiceLong},
		{0, 4, 0.55, 512, -3.75, voiceLong},
		{0, 4, 0.64, 512, -2.25, voiceLong},
		{0, 6, 0.5, 512, -0.75, voiceLong},
		{0, 6, 0.57, 512, 0.5, voiceLong},
		{0, 6, 0.64, 512, 1.5, voiceLong},
		{0, 6, 0.71, 512, 2.5, voiceLong},
		{0, 8, 0.55, 512, 3.75, voiceLong},
		{0, 8, 0.61, 512, 5.25, voiceLong},
		{0, 8, 0.66, 600, 6, voiceLong},
		{0, 8, 0.72, 600, 7.5, voiceLong},
	},
}

// denseBits is the size of constellations from which on nothing of a burst may
// be clipped: a burst with peaks beyond full scale is sent more quietly. An OFDM
// signal is Gaussian: at 12 dB below full scale one sample in 16 000 is clipped,
// and what that costs a symbol stays 35 dB below it.
const denseBits = 12

// usualLevel is the RMS level in dBFS that bursts are sent at and SNRs are told
// for.
const usualLevel = -12

// geometry is where a numerology has its carriers.
type geometry struct {
	n, cp    int // internal samples
	first    int // FFT bin of the first carrier
	carriers int
}

func (s scale) geometry(v numerology, c *class) geometry {
	n := v.n * s.times
	first := int(math.Ceil(c.lo * float64(v.n) / baseRate))
	last := int(math.Floor(c.hi * float64(v.n) / baseRate))
	return geometry{n: n, cp: v.cp * s.times, first: first, carriers: last - first + 1}
}

func (g geometry) length() int { return g.n + g.cp }

// advance is how many samples the transform starts before the end of the
// prefix of a perfectly timed symbol, so that what comes a little before the
// direct wave does not fall out.
func (g geometry) advance(s scale) int { return min(g.cp/2, 24*s.times) }

// Modes is the table of the profile at a sample rate, from the most robust mode
// to the fastest, indexed by MCS; nil if there is none.
func Modes(name string, rate int) []modem.Mode {
	p, s, err := find(name, rate)
	if err != nil {
		return nil
	}
	table := make([]modem.Mode, len(p.modes))
	var pl plan
	for i := range p.modes {
		m := &p.modes[i]
		c := &p.classes[m.class]
		table[i] = modem.Mode{
			Profile:     p.name,
			MCS:         modem.MCS(i),
			NetBPS:      netBPS(&pl, p, s, i),
			BandwidthHz: (c.hi - c.lo) * float64(s.rate) / s.ratio / float64(baseRate*s.times),
			SNRdB:       m.snr,
			FrameOctets: m.octets,
			Description: fmt.Sprintf("%s, %s, %s %.2g", p.about, constellation(m.bits), p.coding(m), m.rate),
		}
	}
	return table
}

// coding names what the rate of a mode is the rate of.
func (p *profile) coding(m *mode) string {
	if p.shapingOf(m).bits > 0 {
		return "shaped, rate"
	}
	return "code rate"
}

func constellation(bits int) string {
	switch {
	case bits == 2:
		return "QPSK"
	case bits <= 12:
		return fmt.Sprintf("%d-QAM", 1<<bits)
	}
	return fmt.Sprintf("2^%d-QAM", bits)
}

// A link sends bursts of about 2 s with a control block of some 40 octets; a
// mode in which a single frame takes longer is counted with one frame.
const (
	typicalSeconds = 2
	typicalControl = 40
	typicalFrames  = 128
)

func netBPS(pl *plan, p *profile, s scale, mcs int) float64 {
	frames := 1
	for n := 2; n <= typicalFrames; n++ {
		if pl.set(p, s, mcs, n, p.modes[mcs].octets, typicalControl) != nil ||
			pl.seconds(s) > typicalSeconds {
			break
		}
		frames = n
	}
	if pl.set(p, s, mcs, frames, p.modes[mcs].octets, typicalControl) != nil {
		return 0
	}
	return float64(8*frames*p.modes[mcs].octets) / pl.seconds(s)
}
