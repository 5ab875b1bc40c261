package audio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
)

// WAV files are read and written here and not through go-audio/wav: that one
// needs an io.Seeker at both ends, so it can neither read a pipe nor write a
// right header into one, and it knows nothing of float samples and
// WAVE_FORMAT_EXTENSIBLE.
//
// Sources: "Multimedia Programming Interface and Data Specifications 1.0" (IBM
// and Microsoft, 1991), "Multiple Channel Audio Data and WAVE Files"
// (Microsoft, 2001).

// ErrWAV is wrapped by every error about a WAV file's content.
var ErrWAV = errors.New("WAV file cannot be read")

// ErrTruncated is wrapped, beside ErrWAV, when a WAV file ends before its header
// says.
var ErrTruncated = errors.New("file is truncated")

// MaxWAVSamples is how many samples, of all channels together, a WAVWriter can
// announce: the RIFF size, an unsigned 32-bit count of octets, includes 36 octets
// of header. At 48 kHz and one channel these are 12.4 hours.
const MaxWAVSamples = (math.MaxUint32 - 36) / 2

// WAVOctets is the size of the file that a WAVWriter makes of samples, those of
// all channels together.
func WAVOctets(samples int64) int64 { return 44 + 2*samples }

const (
	formatPCM        = 0x0001
	formatFloat      = 0x0003
	formatExtensible = 0xfffe
	maxFormatChunk   = 1 << 10
	wavBlock         = 4096 // frames (one sample per channel) decoded at a time
)

// subFormatTail follows the format tag in the SubFormat of an extensible header:
// KSDATAFORMAT_SUBTYPE_PCM and …_IEEE_FLOAT differ only in the tag.
var subFormatTail = []byte{0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x80, 0x00, 0x00, 0xaa, 0x00, 0x38, 0x9b, 0x71}

// unknown tells whether the size of a data chunk is what programs that write
// into a pipe put where they cannot know it: 0, 0xffffffff, 0x80000000, either of
// these rounded down to whole frames, 0x7ffff000 and the like.
func unknown(size int64) bool {
	return size == 0 || size >= 0x7fff0000 && size <= 0x80000000 || size >= 0xffff0000
}

// WAVReader reads a WAV file as mono samples: PCM of 8 to 32 bits, float of 32
// and 64 bits, plain or extensible header, mono or stereo, from a file or a pipe.
//
// Stereo becomes the mean of its channels. Choosing the louder one would need
// the whole file first or a switch in the middle of a burst. The mean costs a
// recording with one silent channel 6 dB of level but nothing of its SNR; only
// channels of opposite polarity, a balanced lead recorded as stereo, cancel. A
// modem of two channels sets Pairs instead.
type WAVReader struct {
	Rate     int    // samples per second and channel
	Channels int    // 1 or 2
	Encoding string // for people: "16-bit PCM", "32-bit float"
	Pairs    bool   // give out the channels of stereo in turn, left and right; set before the first Read, which then wants room for whole pairs

	r       io.Reader
	octets  int   // of one channel's sample
	float   bool  // samples are IEEE 754
	endless bool  // the length is not known: what comes until the end is samples
	size    int64 // octets of the data chunk
	left    int64 // of these, not yet read
	buf     []byte
	err     error // what Read returns from now on
}

// NewWAVReader reads the header, up to the first sample.
func NewWAVReader(r io.Reader) (*WAVReader, error) {
	w := &WAVReader{r: r}
	var head [12]byte
	if err := w.fill(head[:], "its first 12 octets"); err != nil {
		return nil, err
	}
	if string(head[:4]) != "RIFF" || string(head[8:]) != "WAVE" {
		return nil, fmt.Errorf("%w: it is not a RIFF/WAVE file", ErrWAV)
	}
	for {
		if err := w.fill(head[:8], "its header"); err != nil {
			return nil, err
		}
		id, size := string(head[:4]), int64(binary.LittleEndian.Uint32(head[4:]))
		padded := size + size&1
		switch id {
		case "fmt ":
			if size < 16 || size > maxFormatChunk {
				return nil, fmt.Errorf("%w: its format chunk has %d octets", ErrWAV, size)
			}
			chunk := make([]byte, padded)
			if err := w.fill(chunk, "its format chunk"); err != nil {
				return nil, err
			}
			if err := w.format(chunk[:size]); err != nil {
				return nil, err
			}
		case "data":
			if w.octets == 0 {
				return nil, fmt.Errorf("%w: no format chunk comes before the samples", ErrWAV)
			}
			w.endless = unknown(size)
			w.size, w.left = size, size
			w.buf = make([]byte, wavBlock*w.frame())
			return w, nil
		default:
			if n, err := io.CopyN(io.Discard, r, padded); err != nil {
				return nil, w.broken(err, fmt.Sprintf("its chunk %q has %d of %d octets", id, n, size))
			}
		}
	}
}

// frame is the size in octets of one sample of every channel.
func (w *WAVReader) frame() int { return w.octets * w.Channels }

// format reads a format chunk.
func (w *WAVReader) format(c []byte) error {
	le := binary.LittleEndian
	tag, channels, rate := le.Uint16(c), int(le.Uint16(c[2:])), int64(le.Uint32(c[4:]))
	align, bits := int(le.Uint16(c[12:])), int(le.Uint16(c[14:]))
	if tag == formatExtensible {
		// The bits of a sample that count (octet 18) may be fewer; they are the
		// upper ones, so only the container matters.
		if len(c) < 40 || !slices.Equal(c[26:40], subFormatTail) {
			return fmt.Errorf("%w: its extensible format is of an unknown kind", ErrWAV)
		}
		tag = le.Uint16(c[24:])
	}
	w.float = tag == formatFloat
	switch {
	case tag != formatPCM && tag != formatFloat:
		return fmt.Errorf("%w: its samples are in format 0x%04x, only PCM (1) and float (3) are read", ErrWAV, tag)
	case channels < 1 || channels > 2:
		return fmt.Errorf("%w: it has %d channels, only mono and stereo are read", ErrWAV, channels)
	case rate < 1 || rate > math.MaxInt32:
		return fmt.Errorf("%w: its sample rate is %d Hz", ErrWAV, rate)
	case w.float && bits != 32 && bits != 64:
		return fmt.Errorf("%w: its float samples have %d bits, only 32 and 64 are read", ErrWAV, bits)
	case !w.float && (bits < 1 || bits > 32):
		return fmt.Errorf("%w: its PCM samples have %d bits, only 1 to 32 are read", ErrWAV, bits)
	}
	w.octets = (bits + 7) / 8
	w.Channels, w.Rate = channels, int(rate)
	if align != w.frame() {
		return fmt.Errorf("%w: its header contradicts itself: %d channels of %d bits in %d octets", ErrWAV, channels, bits, align)
	}
	w.Encoding = fmt.Sprintf("%d-bit PCM", bits)
	if w.float {
		w.Encoding = fmt.Sprintf("%d-bit float", bits)
	}
	return nil
}

// Samples is the number of samples, of stereo pairs of them, that the header
// announces, -1 if it does not say.
func (w *WAVReader) Samples() int64 {
	if w.endless {
		return -1
	}
	return w.size / int64(w.frame())
}

// Read fills p with samples, full scale ±1, until the file ends: io.EOF. Samples
// that are no finite number read as 0. n counts values, two for a pair. After an
// error it returns the same again.
func (w *WAVReader) Read(p []float32) (n int, err error) {
	each := 1
	if w.Pairs {
		each = w.Channels
	}
	for n+each <= len(p) && w.err == nil {
		n += each * w.some(p[n:], each)
	}
	if n == 0 && len(p) > 0 {
		return 0, w.err
	}
	return n, nil
}

// some decodes up to one buffer, giving out so many values of each frame, and
// returns how many frames these were.
func (w *WAVReader) some(p []float32, each int) int {
	size := w.frame()
	want := min(len(p)/each, wavBlock) * size
	if !w.endless {
		want = int(min(int64(want), w.left/int64(size)*int64(size)))
		if want == 0 {
			w.err = io.EOF
			return 0
		}
	}
	got, err := io.ReadFull(w.r, w.buf[:want])
	w.left -= int64(got)
	switch {
	case err == nil:
	case w.endless && ended(err):
		w.err = io.EOF
	default:
		w.err = w.broken(err, fmt.Sprintf("%d octets of samples are missing", w.left))
	}
	frames := got / size
	for i := range frames {
		w.decode(p[i*each:(i+1)*each], w.buf[i*size:(i+1)*size])
	}
	return frames
}

// decode writes one frame: its channels, or their mean.
func (w *WAVReader) decode(dst []float32, frame []byte) {
	share := len(frame) / len(dst)
	for i := range dst {
		var sum float64
		part := frame[i*share : (i+1)*share]
		for ; len(part) > 0; part = part[w.octets:] {
			sum += w.sample(part)
		}
		sum *= float64(len(dst)) / float64(w.Channels)
		if !(math.Abs(sum) <= math.MaxFloat32) {
			sum = 0
		}
		dst[i] = float32(sum)
	}
}

// sample decodes one channel's sample.
func (w *WAVReader) sample(b []byte) float64 {
	le := binary.LittleEndian
	switch {
	case w.float && w.octets == 4:
		return float64(math.Float32frombits(le.Uint32(b)))
	case w.float:
		return math.Float64frombits(le.Uint64(b))
	case w.octets == 1: // the only unsigned one
		return (float64(b[0]) - 128) / (1 << 7)
	case w.octets == 2:
		return float64(int16(le.Uint16(b))) / (1 << 15)
	case w.octets == 3:
		return float64(int32(uint32(b[0])<<8|uint32(b[1])<<16|uint32(b[2])<<24)) / (1 << 31)
	}
	return float64(int32(le.Uint32(b))) / (1 << 31)
}

// fill reads exactly len(p) octets.
func (w *WAVReader) fill(p []byte, what string) error {
	if _, err := io.ReadFull(w.r, p); err != nil {
		return w.broken(err, "it ends within "+what)
	}
	return nil
}

// broken is the error for a read that came to no good end.
func (w *WAVReader) broken(err error, where string) error {
	if ended(err) {
		return fmt.Errorf("%w: %w: %s", ErrWAV, ErrTruncated, where)
	}
	return fmt.Errorf("reading the WAV file: %w", err)
}

// ended tells whether a read failed because there is no more.
func ended(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// WAVWriter writes 16-bit PCM, mono or stereo. The length is given first, so that the
// header is right in a pipe too.
type WAVWriter struct {
	w    io.Writer
	left int64 // samples of all channels that were announced and not yet written
	buf  []byte
}

// NewWAVWriter writes the header of a mono file of exactly the given number of
// samples, at most MaxWAVSamples, at rate samples per second.
func NewWAVWriter(w io.Writer, rate int, samples int64) (*WAVWriter, error) {
	return newWAVWriter(w, rate, 1, samples)
}

// NewPairWAVWriter writes the header of a stereo file of exactly the given number
// of pairs of samples, at most MaxWAVSamples/2, at rate pairs per second. Write
// then takes left and right in turn.
func NewPairWAVWriter(w io.Writer, rate int, pairs int64) (*WAVWriter, error) {
	if pairs > MaxWAVSamples/2 {
		return nil, fmt.Errorf("writing the WAV file: %d pairs of samples: the format holds 0 to %d", pairs, int64(MaxWAVSamples/2))
	}
	return newWAVWriter(w, rate, 2, 2*pairs)
}

func newWAVWriter(w io.Writer, rate, channels int, samples int64) (*WAVWriter, error) {
	if samples < 0 || samples > MaxWAVSamples {
		return nil, fmt.Errorf("writing the WAV file: %d samples: the format holds 0 to %d", samples, int64(MaxWAVSamples))
	}
	le, size := binary.LittleEndian, uint32(2*samples)
	h := append(le.AppendUint32([]byte("RIFF"), 36+size), "WAVEfmt "...)
	h = le.AppendUint32(h, 16)
	h = le.AppendUint16(h, formatPCM)
	h = le.AppendUint16(h, uint16(channels))
	h = le.AppendUint32(h, uint32(rate))
	h = le.AppendUint32(h, uint32(2*channels*rate))
	h = le.AppendUint16(h, uint16(2*channels))
	h = le.AppendUint16(h, 16)
	h = le.AppendUint32(append(h, "data"...), size)
	if _, err := w.Write(h); err != nil {
		return nil, fmt.Errorf("writing the WAV file: %w", err)
	}
	return &WAVWriter{w: w, left: samples}, nil
}

// Write writes samples, full scale ±1; what is beyond is clipped, what is not a
// number is silence.
func (w *WAVWriter) Write(p []float32) error {
	if int64(len(p)) > w.left {
		return fmt.Errorf("writing the WAV file: %d samples more than announced", int64(len(p))-w.left)
	}
	w.left -= int64(len(p))
	for len(p) > 0 {
		n := min(len(p), wavBlock)
		w.buf = w.buf[:0]
		for _, v := range p[:n] {
			if v != v {
				v = 0
			}
			s := math.RoundToEven(float64(max(-1, min(1, v))) * math.MaxInt16)
			w.buf = binary.LittleEndian.AppendUint16(w.buf, uint16(int16(s)))
		}
		if _, err := w.w.Write(w.buf); err != nil {
			return fmt.Errorf("writing the WAV file: %w", err)
		}
		p = p[n:]
	}
	return nil
}

// Close tells whether all samples came that the header announces. It does not
// close what lies below.
func (w *WAVWriter) Close() error {
	if w.left != 0 {
		return fmt.Errorf("writing the WAV file: %d samples fewer than announced", w.left)
	}
	return nil
}
