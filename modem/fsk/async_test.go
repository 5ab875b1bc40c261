package fsk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func asyncReceive(t testing.TB, rate int, a Async, x []float32) []byte {
	t.Helper()
	d, err := NewAsyncDemodulator(rate, a)
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	for len(x) > 0 {
		n := min(len(x), 333)
		d.Push(x[:n], func(v byte) { got = append(got, v) })
		x = x[n:]
	}
	return got
}

func asyncSend(t testing.TB, rate int, a Async, p []byte) []float32 {
	t.Helper()
	m, err := NewAsyncModulator(rate, a)
	if err != nil {
		t.Fatal(err)
	}
	x := m.AppendOctets(make([]float32, rate/10), p)
	if got, want := len(x)-rate/10, m.Samples(len(p)); got != want {
		t.Fatalf("%d samples, Samples says %d", got, want)
	}
	return append(x, make([]float32, rate/10)...)
}

func TestAsyncRoundTrip(t *testing.T) {
	for _, a := range []Async{Bell202, Bell103} {
		for _, rate := range []int{8000, 11025, 44100, 48000, 192000} {
			t.Run(fmt.Sprintf("%s %d Hz", a.Name, rate), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(20, uint64(rate)))
				want := random(rng, 200)
				x := asyncSend(t, rate, a, want)
				for i := range x {
					x[i] = -0.01*x[i] + 0.0001
				}
				if got := asyncReceive(t, rate, a, x); !bytes.Equal(got, want) {
					t.Errorf("%d octets came, not the %d that were sent", len(got), len(want))
				}
			})
		}
	}
}

// Non-coherent binary FSK with a window of one bit has a bit error rate of
// ½·exp(−Eb/2N0) when the tones are orthogonal (those of Bell 202 nearly are).
// At 6 dB over the whole band Eb/N0 is 6+10·log(24000/1200) = 19 dB, the rate
// below 1e-17: an octet is lost only when the timing is.
func TestAsyncInNoise(t *testing.T) {
	rng := rand.New(rand.NewPCG(21, 21))
	want := random(rng, 2000)
	x := asyncSend(t, testRate, Bell202, want)
	addNoise(rng, x, 6)
	if got := asyncReceive(t, testRate, Bell202, x); !bytes.Equal(got, want) {
		t.Errorf("%d octets came of %d, or others (seed 21, 21)", len(got), len(want))
	}
	noise := make([]float32, 60*testRate)
	addNoise(rng, noise, 0)
	if got := asyncReceive(t, testRate, Bell202, noise); len(got) > 0 {
		t.Errorf("%d octets in a minute of noise, want none", len(got))
	}
}

func TestAsyncRates(t *testing.T) {
	for _, a := range []Async{{Baud: 4000, Mark: 1200, Space: 2200}, {Baud: 300, Mark: 5000, Space: 1000}, {Baud: 300, Mark: 1000, Space: 1000}} {
		if _, err := NewAsyncModulator(8000, a); err == nil {
			t.Errorf("%+v: no error", a)
		}
		if _, err := NewAsyncDemodulator(8000, a); err == nil {
			t.Errorf("%+v: no error", a)
		}
	}
}

// wav16 is a WAV file of 16-bit mono samples.
func wav16(x []float32) []byte {
	var b bytes.Buffer
	b.WriteString("RIFF")
	le := binary.LittleEndian
	b.Write(le.AppendUint32(nil, uint32(36+2*len(x))))
	b.WriteString("WAVEfmt ")
	b.Write(le.AppendUint32(nil, 16))
	b.Write(le.AppendUint16(nil, 1))
	b.Write(le.AppendUint16(nil, 1))
	b.Write(le.AppendUint32(nil, testRate))
	b.Write(le.AppendUint32(nil, 2*testRate))
	b.Write(le.AppendUint16(nil, 2))
	b.Write(le.AppendUint16(nil, 16))
	b.WriteString("data")
	b.Write(le.AppendUint32(nil, uint32(2*len(x))))
	for _, v := range x {
		b.Write(le.AppendUint16(nil, uint16(int16(math.Round(float64(v)*32767)))))
	}
	return b.Bytes()
}

// TestMinimodem talks to the minimodem program both ways.
func TestMinimodem(t *testing.T) {
	tool, err := exec.LookPath("minimodem")
	if err != nil {
		t.Skip("minimodem is not installed")
	}
	text := strings.Repeat("The quick brown fox jumps over the lazy dog 0123456789.\n", 5)
	for _, a := range []Async{Bell202, Bell103} {
		baud := fmt.Sprint(a.Baud)
		t.Run(a.Name+" heard by minimodem", func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "x.wav")
			if err := os.WriteFile(file, wav16(asyncSend(t, testRate, a, []byte(text))), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := exec.Command(tool, "--rx", "--quiet", baud, "-f", file).Output()
			if err != nil || string(got) != text {
				t.Errorf("minimodem read %q (error %v), want %q", got, err, text)
			}
		})
		t.Run(a.Name+" sent by minimodem", func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "x.wav")
			cmd := exec.Command(tool, "--tx", baud, "-R", fmt.Sprint(testRate), "-f", file)
			cmd.Stdin = strings.NewReader(text)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("minimodem: %v: %s", err, out)
			}
			p, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			data := p[bytes.Index(p, []byte("data"))+8:]
			x := make([]float32, len(data)/2)
			for i := range x {
				x[i] = float32(int16(binary.LittleEndian.Uint16(data[2*i:]))) / 32768
			}
			if got := asyncReceive(t, testRate, a, x); string(got) != text {
				t.Errorf("received %q, want %q", got, text)
			}
		})
	}
}
