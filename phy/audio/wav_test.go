package audio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// wavFile builds a file chunk by chunk.
type wavFile struct {
	tag, channels, bits int
	rate                int
	extensible          bool
	extra               bool // an odd chunk before the samples, one after
	announce            int  // size of the data chunk; -1: as it is
}

func (f wavFile) bytes(data []byte) []byte {
	le := binary.LittleEndian
	octets := (f.bits + 7) / 8
	chunk := func(id string, body []byte) []byte {
		c := append(le.AppendUint32([]byte(id), uint32(len(body))), body...)
		if len(body)%2 == 1 {
			c = append(c, 0)
		}
		return c
	}
	tag := f.tag
	if f.extensible {
		tag = formatExtensible
	}
	format := le.AppendUint16(nil, uint16(tag))
	format = le.AppendUint16(format, uint16(f.channels))
	format = le.AppendUint32(format, uint32(f.rate))
	format = le.AppendUint32(format, uint32(f.rate*f.channels*octets))
	format = le.AppendUint16(format, uint16(f.channels*octets))
	format = le.AppendUint16(format, uint16(f.bits))
	if f.extensible {
		format = le.AppendUint16(format, 22)
		format = le.AppendUint16(format, uint16(f.bits))
		format = le.AppendUint32(format, 0)
		format = append(le.AppendUint16(format, uint16(f.tag)), subFormatTail...)
	}
	body := append([]byte("WAVE"), chunk("fmt ", format)...)
	if f.extra {
		body = append(body, chunk("LIST", []byte("odd"))...)
	}
	samples := chunk("data", data)
	if f.announce >= 0 {
		le.PutUint32(samples[4:], uint32(f.announce))
	}
	body = append(body, samples...)
	if f.extra {
		body = append(body, chunk("bext", []byte("this is no sound"))...)
	}
	return append(le.AppendUint32([]byte("RIFF"), uint32(len(body))), body...)
}

// encode is the sample v in the encoding of the file.
func (f wavFile) encode(dst []byte, v float64) []byte {
	le := binary.LittleEndian
	switch {
	case f.tag == formatFloat && f.bits == 32:
		return le.AppendUint32(dst, math.Float32bits(float32(v)))
	case f.tag == formatFloat:
		return le.AppendUint64(dst, math.Float64bits(v))
	case f.bits == 8:
		return append(dst, byte(math.Round(v*128)+128))
	}
	s := uint32(int32(v * (1 << 31)))
	return append(dst, binary.LittleEndian.AppendUint32(nil, s)[4-(f.bits+7)/8:]...)
}

func readWAV(r io.Reader) (*WAVReader, []float32, error) {
	w, err := NewWAVReader(r)
	if err != nil {
		return nil, nil, err
	}
	var all []float32
	buf := make([]float32, 777)
	for {
		n, err := w.Read(buf)
		all = append(all, buf[:n]...)
		if errors.Is(err, io.EOF) {
			return w, all, nil
		}
		if err != nil {
			return w, all, err
		}
	}
}

func TestWAVFormats(t *testing.T) {
	values := make([]float64, 5000)
	for i := range values {
		values[i] = 0.9 * math.Sin(float64(i)/7)
	}
	for _, f := range []wavFile{
		{tag: formatPCM, bits: 8}, {tag: formatPCM, bits: 12}, {tag: formatPCM, bits: 16}, {tag: formatPCM, bits: 20},
		{tag: formatPCM, bits: 24}, {tag: formatPCM, bits: 32}, {tag: formatFloat, bits: 32}, {tag: formatFloat, bits: 64},
	} {
		for _, channels := range []int{1, 2} {
			for _, extensible := range []bool{false, true} {
				f.channels, f.extensible, f.rate, f.announce, f.extra = channels, extensible, 44100, -1, extensible
				t.Run(fmt.Sprintf("%+v", f), func(t *testing.T) {
					var data []byte
					for _, v := range values {
						data = f.encode(data, v)
						if channels == 2 {
							data = f.encode(data, v/2) // the mean is 0.75 v
						}
					}
					// Half a step of the encoding, and float32's own.
					tolerance := math.Pow(2, -float64((f.bits+7)/8*8)) * 2
					if f.tag == formatFloat {
						tolerance = 0
					}
					tolerance += 1e-7
					w, got, err := readWAV(iotest.HalfReader(bytes.NewReader(f.bytes(data))))
					if err != nil {
						t.Fatal(err)
					}
					if w.Rate != 44100 || w.Channels != channels || len(got) != len(values) {
						t.Fatalf("%d samples of %d channels at %d Hz", len(got), w.Channels, w.Rate)
					}
					for i, v := range values {
						if channels == 2 {
							v *= 0.75
						}
						if math.Abs(float64(got[i])-v) > tolerance {
							t.Fatalf("sample %d is %g, want %g ± %g", i, got[i], v, tolerance)
						}
					}
				})
			}
		}
	}
}

func TestWAVRefuses(t *testing.T) {
	good := wavFile{tag: formatPCM, channels: 1, bits: 16, rate: 48000, announce: -1}
	data := make([]byte, 2000)
	bent := func(at int, v byte) []byte {
		b := good.bytes(data)
		b[at] = v
		return b
	}
	with := func(change func(f *wavFile)) []byte {
		f := good
		change(&f)
		return f.bytes(data)
	}
	for _, c := range []struct {
		name      string
		file      []byte
		want      string
		truncated bool
	}{
		{"empty", nil, "ends within its first 12 octets", true},
		{"text", []byte("once upon a time there was no sound"), "not a RIFF/WAVE file", false},
		{"big-endian", append([]byte("RIFX"), good.bytes(data)[4:]...), "not a RIFF/WAVE file", false},
		{"header cut", good.bytes(data)[:30], "ends within its format chunk", true},
		{"no samples chunk", good.bytes(data)[:36], "ends within its header", true},
		{"samples cut", good.bytes(data)[:1043], "1001 octets of samples are missing", true},
		{"samples before the format", append([]byte("RIFF\x00\x00\x00\x00WAVE"), good.bytes(data)[36:]...), "no format chunk", false},
		{"unknown chunk cut", append(good.bytes(data)[:36], "LIST\xff\x00\x00\x00abc"...), `chunk "LIST" has 3 of 255 octets`, true},
		{"A-law", with(func(f *wavFile) { f.tag, f.bits = 6, 8 }), "format 0x0006", false},
		{"extensible A-law", with(func(f *wavFile) { f.tag, f.bits, f.extensible = 6, 8, true }), "format 0x0006", false},
		{"no channel", with(func(f *wavFile) { f.channels = 0 }), "0 channels", false},
		{"six channels", with(func(f *wavFile) { f.channels = 6 }), "6 channels", false},
		{"rate 0", with(func(f *wavFile) { f.rate = 0 }), "sample rate is 0 Hz", false},
		{"16-bit float", with(func(f *wavFile) { f.tag = formatFloat }), "float samples have 16 bits", false},
		{"64-bit PCM", with(func(f *wavFile) { f.bits = 64 }), "PCM samples have 64 bits", false},
		{"0-bit PCM", bent(34, 0), "PCM samples have 0 bits", false},
		{"frame size", bent(32, 3), "contradicts itself", false},
		{"format chunk of 3 octets", bent(16, 3), "format chunk has 3 octets", false},
		{"format chunk of 64 kB", bent(18, 1), "format chunk has 65552 octets", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := readWAV(bytes.NewReader(c.file))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want one with %q", err, c.want)
			}
			if !errors.Is(err, ErrWAV) || errors.Is(err, ErrTruncated) != c.truncated {
				t.Errorf("%v: ErrWAV %v, ErrTruncated %v", err, errors.Is(err, ErrWAV), errors.Is(err, ErrTruncated))
			}
		})
	}
	if _, _, err := readWAV(iotest.TimeoutReader(iotest.OneByteReader(bytes.NewReader(good.bytes(data))))); !errors.Is(err, iotest.ErrTimeout) || errors.Is(err, ErrWAV) {
		t.Errorf("a failing reader gives %v", err)
	}
}

func TestWAVOfUnknownLength(t *testing.T) {
	f := wavFile{tag: formatPCM, channels: 1, bits: 16, rate: 8000}
	for _, announce := range []int{0, 0xffffffff, 0x80000000, 0x7ffff000} {
		f.announce = announce
		_, got, err := readWAV(bytes.NewReader(f.bytes(make([]byte, 12346))))
		if err != nil || len(got) != 6173 {
			t.Errorf("announced as %#x: %d samples and %v, want all 6173", announce, len(got), err)
		}
	}
}

func TestWAVNotANumber(t *testing.T) {
	f := wavFile{tag: formatFloat, channels: 1, bits: 64, rate: 8000, announce: -1}
	var data []byte
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 1e300, 0.5} {
		data = f.encode(data, v)
	}
	_, got, err := readWAV(bytes.NewReader(f.bytes(data)))
	if want := []float32{0, 0, 0, 0, 0.5}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
}

func TestWAVWriter(t *testing.T) {
	samples := []float32{0, 0.5, -0.5, 1, -1, 1.5, -7, float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))}
	want := []float32{0, 0.5, -0.5, 1, -1, 1, -1, 0, 1, -1}
	var file bytes.Buffer
	w, err := NewWAVWriter(&file, 48000, int64(len(samples)))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(samples[:3]); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err == nil {
		t.Error("samples are missing, and Close is content")
	}
	if err := w.Write(samples[3:]); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if err := w.Write(samples[:1]); err == nil {
		t.Error("more samples than announced were taken")
	}
	r, got, err := readWAV(&file)
	if err != nil || r.Rate != 48000 || len(got) != len(want) {
		t.Fatalf("%d samples at %d Hz: %v", len(got), r.Rate, err)
	}
	for i := range want {
		if math.Abs(float64(got[i]-want[i])) > 1.0/(1<<15) {
			t.Errorf("sample %d is %g, want %g", i, got[i], want[i])
		}
	}
	for _, n := range []int64{-1, MaxWAVSamples + 1} {
		if _, err := NewWAVWriter(io.Discard, 48000, n); err == nil {
			t.Errorf("%d samples were accepted", n)
		}
	}
	full := errors.New("no space left")
	if _, err := NewWAVWriter(failing{full}, 48000, 1); !errors.Is(err, full) {
		t.Errorf("error %v, want %v", err, full)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func FuzzWAVReader(f *testing.F) {
	for _, w := range []wavFile{
		{tag: formatPCM, channels: 1, bits: 16, rate: 48000, announce: -1},
		{tag: formatPCM, channels: 2, bits: 24, rate: 44100, announce: -1, extensible: true, extra: true},
		{tag: formatFloat, channels: 2, bits: 64, rate: 8000, announce: 0},
	} {
		f.Add(w.bytes(make([]byte, 48)))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		w, got, err := readWAV(bytes.NewReader(file))
		if len(got) > len(file) {
			t.Errorf("%d samples from %d octets", len(got), len(file))
		}
		for _, v := range got {
			if v != v || math.IsInf(float64(v), 0) {
				t.Fatalf("sample %g", v)
			}
		}
		if err == nil && (w.Rate < 1 || w.Channels < 1 || w.Encoding == "") {
			t.Errorf("accepted: %+v", w)
		}
	})
}
