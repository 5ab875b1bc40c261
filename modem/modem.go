// Package modem is the vocabulary that every modem of the project speaks:
// bursts in, samples out; samples in, events out.
//
// The package and everything below it is pure: no clock, no goroutine, no
// descriptor, no lock. The same input gives the same output on every machine.
//
// On the medium a burst is
//
//	| preamble | header | control | frame 0 | frame 1 | … | frame n-1 |
//
// The preamble tells the receiver where the burst starts and in which
// numerology it is sent. The header (fixed size, strongest code) names the MCS,
// the number and length of the frames and the length of the control block. The
// control block belongs to the link (addresses, acknowledgements) and is coded
// as strongly as the header, or together with a single short frame and read or
// lost with it. Every other frame is one codeword with a check of its own.
package modem

import "errors"

// LLR is a log-likelihood ratio, ln(P(bit=0)/P(bit=1)). Positive means the bit
// is more likely 0; zero is an erasure.
type LLR = float32

// MCS (modulation and coding scheme) is an index into a profile's table of
// modes. The burst header carries it.
type MCS uint8

// Limits that every burst header can announce. A Modulator may allow less.
const (
	MaxFrames        = 255  // frames in a burst
	MaxFrameOctets   = 4095 // payload octets in a frame
	MaxControlOctets = 63   // octets in the control block
)

// LevelDBFS is the level at which every modulator sends: the RMS of a burst's
// payload relative to full scale ±1. It leaves 12 dB of headroom for waveforms
// with high peaks, and makes the signal-to-noise ratio of a path the same for
// every profile.
const LevelDBFS = -12.0

// ErrBurst is wrapped by every error of a Modulator about a burst that it
// cannot send: an unknown MCS, too many frames, frames of unequal length.
var ErrBurst = errors.New("burst cannot be sent")

// Burst is what a station puts on the medium between two silences.
type Burst struct {
	MCS MCS

	// Control is the link's own block, at most MaxControlOctets, coded as
	// strongly as the header and protected by its own 32-bit check; in a short
	// burst a modem may code it in the burst's mode, together with the only frame,
	// if there is one. It may be empty. In a received burst nil means that it failed its check, an empty
	// non-nil slice that none was sent.
	Control []byte

	// Frames are the payloads, at most MaxFrames, all of the same length,
	// which is 1 to MaxFrameOctets. There may be none. In a received burst a
	// frame that failed its check is nil: its position marks the erasure.
	Frames [][]byte
}

// EventKind tells what a demodulator learned.
type EventKind uint8

// The kinds, in the order in which a burst produces them. A burst ends in
// exactly one Received or Missed. One that comes within another is only Received.
const (
	Preamble  EventKind = iota + 1 // a preamble was found; Start is set
	Announced                      // the header passed its check; Start, End and Burst.MCS are set, Burst.Frames holds as many nil frames as will come
	Received                       // the burst is over; Burst holds control and frames
	Missed                         // a preamble was found, but the header failed its check or the samples broke off
)

// Event is what a demodulator learned from the samples pushed so far.
//
// Burst and everything it points to belong to the demodulator and are valid
// only until emit returns.
type Event struct {
	Kind  EventKind
	Start int64 // index of the burst's first sample (of two channels: pair of samples), counted from the first sample pushed after creation (Reset does not restart it)
	End   int64 // index of the first sample after the burst
	Burst *Burst
	// Within: the burst, which is Received, came in the middle of another one that
	// was announced before. That one is announced once more, as it ends later.
	Within bool
	Quality
}

// Quality is what a receiver measured on a burst. A value that a modem cannot
// measure is NaN.
type Quality struct {
	SNR         float64 // dB, signal power over noise power in the whole band 0…rate/2, the scale of Mode.SNRdB; echoes that the receiver cannot use count as the noise that they act like
	EVM         float64 // dB, error vector magnitude over the data symbols
	PPM         float64 // sender's sample clock against ours, parts per million; positive: the sender's clock is fast
	Peak        float64 // dBFS, largest sample of the burst
	DelaySpread float64 // s, root mean square delay spread of the channel
	Doppler     float64 // Hz, root mean square Doppler spread of what changes in the channel, at the middle of the band; 0: it does not change
	Want        MCS     // the mode in which the receiver would like the next burst, by all of the above; only if Wants
	Wants       bool

	// Of bursts of each form, the SNR that they would see over this path, on the
	// scale of SNR; NaN where this burst does not tell. Only modems that are Formers
	// fill it in.
	Form Form
	SNRs [Forms]float64
}

// Form is how a burst is built, as far as it decides what echoes and motion do to
// it: over one path a receiver sees an SNR of its own on bursts of each form.
type Form uint8

// The forms.
const (
	Plain  Form   = iota // symbols after one another: echoes beyond their prefix are noise
	Block                // a single symbol, the echoes of which are gathered: short
	Long                 // symbols so long that echoes can be learned and taken out: seconds
	Middle               // symbols of a third of a second one after another: less of the echoes is beyond their prefix
	Forms  = iota        // how many there are
)

// Former is a Modulator whose bursts have several forms. Like Samples, Form may be
// called from any goroutine, and only the lengths in b matter.
type Former interface{ Form(b *Burst) Form }

// Inserter is a Modulator whose receivers read a burst in the middle of another one,
// and then the rest of that. Positions count samples, of two channels pairs. Seams and
// InnerSamples may be called from any goroutine; only the lengths in b matter.
type Inserter interface {
	// Seams appends the positions in b, in order, at which another burst may be
	// inserted; there may be none.
	Seams(dst []int, b *Burst) []int
	// InnerSamples is how long b is in the middle of another burst, where less of it may be needed; 0 if it
	// may not be inserted. What is inserted into one burst takes at most as long as that.
	InnerSamples(b *Burst) int
	// AppendInner is AppendBurst for a burst that is to be inserted.
	AppendInner(dst []float32, b *Burst) ([]float32, error)
	// Insert puts the samples of the burst inner into those of another, x, at one of
	// its seams, and returns by how much what is behind it has moved. It allocates
	// only when x is too small.
	Insert(x []float32, seam int, inner []float32) ([]float32, int)
}

// Combiner is a Modulator whose receivers add up what they hear of a frame that
// comes again, octet by octet the same, after it has failed its check.
type Combiner interface{ Combines() }

// Mode describes one row of a profile's table.
type Mode struct {
	Profile     string  `json:"profile"`
	MCS         MCS     `json:"mcs"`
	NetBPS      float64 `json:"net_bps"`      // payload bits per second of the longest burst the link sends, everything included
	BandwidthHz float64 `json:"bandwidth_hz"` // occupied bandwidth
	SNRdB       float64 `json:"snr_db"`       // SNR over 0…rate/2 from which ≥ 90 % of full frames are received over AWGN, measured
	Description string  `json:"description"`
	FrameOctets int     `json:"-"` // frame length that suits the mode; shorter frames are allowed
}

// Modulator turns bursts into samples.
//
// Where a modem has two channels its samples are pairs, left and right in turn,
// and everything that counts samples as time, Samples and the positions in an
// Event, counts pairs: n of them last n/rate seconds.
type Modulator interface {
	// AppendBurst appends the burst's samples, full scale ±1, to dst. It
	// allocates only when dst is too small. Errors wrap ErrBurst and leave dst
	// as it was.
	AppendBurst(dst []float32, b *Burst) ([]float32, error)
	// Samples is the exact number of samples that AppendBurst would append (of
	// two channels: pairs, so half as many as values), 0 for a burst that cannot be sent. Only the lengths in b matter.
	Samples(b *Burst) int
}

// Demodulator turns samples into events. It never blocks, fails or panics:
// NaN, Inf and gaps cost bursts, nothing else.
type Demodulator interface {
	// Push takes any number of samples and calls emit for each event in order.
	// Pairs of samples may be cut between two calls.
	Push(samples []float32, emit func(Event))
	// Reset forgets any burst in progress and all samples seen, as after a gap
	// in the stream or an own transmission. The sample count goes on, and what is
	// kept of frames that failed (Combiner) stays: the repetition is yet to come.
	Reset()
}
