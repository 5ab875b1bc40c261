package oneway

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"lightsong/phy"
)

const (
	burstAirtime   = 3 * time.Second // what a burst lasts at most, so that an outage or a lost preamble costs no more
	burstMinFrames = 4               // … but in a slow mode preamble, header and control must stay a small part of it
)

// Options of a transfer. Mode is required.
type Options struct {
	Name       string                         // of the file, at most MaxName octets; the receiver may use it
	Mode       phy.Mode                       // MCS and frame length
	Redundancy float64                        // parity frames per data frame, 0 to MaxRedundancy; rounded up per block
	Airtime    func(*phy.Burst) time.Duration // of a burst, 0 for one that cannot be sent, to bound its length; nil: only the 255 frames of a burst header bound it
}

// Plan is a transfer before a single octet of the file was read: what it will
// put on the medium.
type Plan struct {
	opts   Options
	layout layout
	burst  int // frames in every burst but the last
}

// NewPlan lays out the transfer of a file of size octets. The error wraps
// ErrTooLarge if the format cannot carry it.
//
// With any redundancy no burst holds more frames than the parity can repair:
// whichever one is lost, the others suffice.
func NewPlan(size int64, opts Options) (Plan, error) {
	full := min(opts.Mode.FrameOctets-frameHeader, math.MaxUint16)
	switch {
	case size < 0:
		return Plan{}, fmt.Errorf("file of %d octets: a size cannot be negative", size)
	case len(opts.Name) > MaxName:
		return Plan{}, fmt.Errorf("name of %d octets: at most %d can be sent", len(opts.Name), MaxName)
	case math.IsNaN(opts.Redundancy), opts.Redundancy < 0, opts.Redundancy > MaxRedundancy:
		return Plan{}, fmt.Errorf("redundancy %g %%: must be 0 to %g %%", 100*opts.Redundancy, 100*MaxRedundancy)
	case full < 1:
		return Plan{}, fmt.Errorf("mode with frames of %d octets: a transfer needs more than %d", opts.Mode.FrameOctets, frameHeader)
	case size > MaxSize:
		return Plan{}, fmt.Errorf("%w: %d octets, the format ends at %d", ErrTooLarge, size, int64(MaxSize))
	}
	l := layout{size: size, name: len(opts.Name), stride: full, k: 1}
	// Of all frame lengths that need no more frames, the shortest pads least.
	frames := int64(l.data())
	l.stride = int((l.record() + frames - 1) / frames)

	// The fewest blocks that fit, filled evenly. The products are nudged down
	// so that 20 % of 10 frames are 2, whatever binary fractions make of it.
	parity := func(k int) int { return int(math.Ceil(opts.Redundancy*float64(k) - 1e-9)) }
	largest := maxShards
	for largest+parity(largest) > maxShards {
		largest--
	}
	blocks := (frames + int64(largest) - 1) / int64(largest)
	l.k = int((frames + blocks - 1) / blocks)
	l.m = parity(l.k)
	if !l.check() {
		return Plan{}, fmt.Errorf("%w: %d octets need more than %d frames of %d octets", ErrTooLarge, size, maxFrames, full)
	}

	p := Plan{opts: opts, layout: l, burst: burstFrames}
	if l.m > 0 {
		p.burst = min(p.burst, l.m*l.blocks())
	}
	p.burst = p.bounded(p.burst)
	return p, nil
}

// bounded is the largest number of frames, at most n, that burstAirtime and the
// modem allow.
func (p *Plan) bounded(n int) int {
	if p.opts.Airtime == nil {
		return n
	}
	largest := func(low, high int, fits func(time.Duration) bool) int {
		for low < high {
			if middle := (low + high + 1) / 2; fits(p.opts.Airtime(p.shape(middle))) {
				low = middle
			} else {
				high = middle - 1
			}
		}
		return low
	}
	possible := largest(1, n, func(t time.Duration) bool { return t > 0 })
	return largest(min(possible, burstMinFrames), possible, func(t time.Duration) bool { return t <= burstAirtime })
}

// shape is a burst of n frames with the lengths of a real one and no content.
func (p *Plan) shape(n int) *phy.Burst {
	b := &phy.Burst{MCS: p.opts.Mode.MCS, Control: make([]byte, controlOctets), Frames: make([][]byte, n)}
	frame := make([]byte, frameHeader+p.layout.stride)
	for i := range b.Frames {
		b.Frames[i] = frame
	}
	return b
}

// Frames is the number of data and of parity frames of one loop.
func (p *Plan) Frames() (data, parity int) {
	return p.layout.data(), p.layout.m * p.layout.blocks()
}

// Bursts is the number of bursts of one loop.
func (p *Plan) Bursts() int { return (p.layout.frames() + p.burst - 1) / p.burst }

// Total adds up what measure (samples, airtime) says of each burst of one loop;
// measure may look at nothing but the lengths in the burst.
func (p *Plan) Total(measure func(*phy.Burst) int64) int64 {
	n := p.Bursts()
	last := p.layout.frames() - (n-1)*p.burst
	total := measure(p.shape(last))
	if n > 1 {
		total += int64(n-1) * measure(p.shape(p.burst))
	}
	return total
}

// Sender turns a file into bursts.
type Sender struct {
	plan    Plan
	file    io.ReaderAt
	trailer []byte // SHA-256 and name: what follows the file in the record
	control []byte
	next    int // number of the next frame

	codes  codes
	shards [][]byte // data and parity of the block that was last encoded
	coded  int      // its number, -1: none
	frames []byte   // backs the frames of a burst
}

// NewSender reads the file once, for its SHA-256. The file must not change until
// the last burst was made; if it does, receivers refuse what they get.
func NewSender(file io.ReaderAt, plan Plan) (*Sender, error) {
	hash := sha256.New()
	n, err := io.Copy(hash, io.NewSectionReader(file, 0, plan.layout.size))
	if err != nil {
		return nil, fmt.Errorf("reading the file: %w", err)
	}
	if n != plan.layout.size {
		return nil, fmt.Errorf("reading the file: %d octets came, %d were planned", n, plan.layout.size)
	}
	s := &Sender{plan: plan, file: file, trailer: hash.Sum(nil), codes: codes{}, coded: -1}
	s.plan.layout.id = s.plan.layout.identity(s.SHA256(), plan.opts.Name)
	s.trailer = append(s.trailer, plan.opts.Name...)
	s.control = s.plan.layout.control()
	return s, nil
}

// SHA256 of the file.
func (s *Sender) SHA256() [sha256.Size]byte { return [sha256.Size]byte(s.trailer) }

// ID of the transfer: the same for the same file, name, mode and redundancy.
func (s *Sender) ID() uint32 { return s.plan.layout.id }

// Rewind starts another loop.
func (s *Sender) Rewind() { s.next = 0 }

// NextBurst writes the next burst to dst, whose slices are reused, and returns
// false when the loop is over. The frames are valid until the next call.
func (s *Sender) NextBurst(dst *phy.Burst) (bool, error) {
	l := &s.plan.layout
	n := min(s.plan.burst, l.frames()-s.next)
	if n <= 0 {
		return false, nil
	}
	size := frameHeader + l.stride
	if s.frames == nil {
		s.frames = make([]byte, s.plan.burst*size)
	}
	dst.MCS, dst.Control, dst.Frames = s.plan.opts.Mode.MCS, append(dst.Control[:0], s.control...), dst.Frames[:0]
	for i := range n {
		frame := s.frames[i*size : (i+1)*size : (i+1)*size]
		l.appendFrameHeader(frame[:0], s.next+i)
		if err := s.payload(frame[frameHeader:], s.next+i); err != nil {
			return false, err
		}
		dst.Frames = append(dst.Frames, frame)
	}
	s.next += n
	return true, nil
}

// payload writes the payload of frame number i to dst.
func (s *Sender) payload(dst []byte, i int) error {
	l := &s.plan.layout
	if i < l.data() {
		return s.read(dst, i)
	}
	block, shard := i%l.blocks(), i/l.blocks()
	if block != s.coded {
		// With several blocks every parity frame encodes its block anew: that
		// costs microseconds beside the modem's milliseconds, and keeping the
		// parity of all blocks would cost memory without bound.
		if err := s.encode(block); err != nil {
			return err
		}
	}
	copy(dst, s.shards[shard])
	return nil
}

// read writes data frame i of the record to dst, padded with zeros.
func (s *Sender) read(dst []byte, i int) error {
	l := &s.plan.layout
	offset := int64(i) * int64(l.stride)
	n := 0
	if rest := l.size - offset; rest > 0 {
		n = int(min(rest, int64(len(dst))))
		if got, err := s.file.ReadAt(dst[:n], offset); got < n {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("reading the file at octet %d: %w", offset+int64(got), err)
		}
	}
	if skip := offset + int64(n) - l.size; skip >= 0 && skip < int64(len(s.trailer)) {
		n += copy(dst[n:], s.trailer[skip:])
	}
	clear(dst[n:])
	return nil
}

// encode makes the shards of a block.
func (s *Sender) encode(block int) error {
	l := &s.plan.layout
	s.coded = -1
	if s.shards == nil {
		s.shards = make([][]byte, l.k+l.m)
		for j := range s.shards {
			s.shards[j] = make([]byte, l.stride)
		}
	}
	k := l.dataOf(block)
	code, err := s.codes.of(k, l.m)
	if err != nil {
		return err
	}
	for j := range k {
		if err := s.read(s.shards[j], block+j*l.blocks()); err != nil {
			return err
		}
	}
	if err := code.Encode(s.shards[:k+l.m]); err != nil {
		return fmt.Errorf("parity of block %d: %w", block, err)
	}
	s.coded = block
	return nil
}
