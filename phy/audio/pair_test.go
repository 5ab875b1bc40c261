package audio

import (
	"bytes"
	"errors"
	"io"
	"math"
	"slices"
	"testing"
)

// A stereo file gives its pairs out in turn if asked to, whatever is read at a
// time; a mono file is not changed by that.
func TestWAVPairs(t *testing.T) {
	values := make([]float32, 2*5000)
	for i := range values {
		values[i] = float32(math.Round(1e4*math.Sin(float64(i*i%977)/7)) / (1 << 15))
	}
	var file bytes.Buffer
	w, err := NewPairWAVWriter(&file, 96000, int64(len(values)/2))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Write(values[:1234]), w.Write(values[1234:]), w.Close()); err != nil {
		t.Fatal(err)
	}
	if want := WAVOctets(int64(len(values))); int64(file.Len()) != want {
		t.Errorf("the file has %d octets, want %d", file.Len(), want)
	}
	if r, mean, err := readWAV(bytes.NewReader(file.Bytes())); err != nil || r.Rate != 96000 || r.Channels != 2 || len(mean) != len(values)/2 {
		t.Fatalf("%d samples of %d channels at %d Hz: %v", len(mean), r.Channels, r.Rate, err)
	}
	for _, size := range []int{2, 3, 778, 20000} {
		r, err := NewWAVReader(bytes.NewReader(file.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		r.Pairs = true
		if r.Samples() != int64(len(values)/2) {
			t.Errorf("%d pairs announced, want %d", r.Samples(), len(values)/2)
		}
		var got []float32
		buf := make([]float32, size)
		for {
			n, err := r.Read(buf)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil || n%2 != 0 {
				t.Fatalf("%d values: %v", n, err)
			}
			got = append(got, buf[:n]...)
		}
		// 16 bits: half a step, and the writer's full scale is 2¹⁵−1.
		near := func(a, b float32) bool { return math.Abs(float64(a-b)) < 1.0/(1<<15) }
		if !slices.EqualFunc(got, values, near) {
			t.Errorf("reading %d values at a time: the values differ", size)
		}
	}
	if _, err := NewPairWAVWriter(io.Discard, 48000, MaxWAVSamples/2+1); err == nil {
		t.Error("more pairs than the format holds were accepted")
	}

	file.Reset()
	w, err = NewWAVWriter(&file, 48000, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Write([]float32{0.25, 0.5, -0.25}), w.Close()); err != nil {
		t.Fatal(err)
	}
	r, err := NewWAVReader(&file)
	if err != nil {
		t.Fatal(err)
	}
	r.Pairs = true
	buf := make([]float32, 8)
	if n, err := r.Read(buf); n != 3 || err != nil {
		t.Errorf("a mono file gave %d values, %v", n, err)
	}
}
