package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lightsong/phy/audio"
)

// transferTest runs send and recv in a folder of their own.
type transferTest struct {
	*testing.T
	dir string
}

func newTransferTest(t *testing.T) transferTest { return transferTest{t, t.TempDir()} }

func (t transferTest) path(name string) string { return filepath.Join(t.dir, name) }

func (t transferTest) write(name string, octets []byte) string {
	t.Helper()
	if err := os.WriteFile(t.path(name), octets, 0o644); err != nil {
		t.Fatal(err)
	}
	return t.path(name)
}

func (t transferTest) read(name string) []byte {
	t.Helper()
	octets, err := os.ReadFile(t.path(name))
	if err != nil {
		t.Fatal(err)
	}
	return octets
}

// call runs a command line that must exit with code.
func (t transferTest) call(code int, stdin io.Reader, args ...string) (stdout, stderr string) {
	t.Helper()
	got, stdout, stderr := call(t.Context(), stdin, args...)
	if got != code {
		t.Fatalf("%q: exit %d, want %d: %s", args, got, code, stderr)
	}
	return stdout, stderr
}

func call(ctx context.Context, stdin io.Reader, args ...string) (code int, stdout, stderr string) {
	var out, errs strings.Builder
	root := rootCommand()
	root.SetIn(stdin)
	root.SetOut(&out)
	root.SetErr(&errs)
	code = run(ctx, root, args)
	return code, out.String(), errs.String()
}

// holds wants exactly these files in the folder: nothing unfinished stays.
func (t transferTest) holds(names ...string) {
	t.Helper()
	entries, err := os.ReadDir(t.dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if fmt.Sprint(got) != fmt.Sprint(names) {
		t.Errorf("the folder holds %q, want %q", got, names)
	}
}

func octets(seed uint64, n int) []byte {
	rng := rand.New(rand.NewPCG(seed, 0))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func TestSendRecv(t *testing.T) {
	for _, size := range []int{0, 1, 10_000} {
		for _, mcs := range []string{"", "0", "6"} {
			if mcs == "0" && size > 100 {
				continue
			}
			t.Run(fmt.Sprintf("%d octets, mcs %q", size, mcs), func(t *testing.T) {
				tt := newTransferTest(t)
				file := octets(1, size)
				args := []string{"send", "--profile", "fsk", "--wav", tt.path("a.wav"), "--json", tt.write("a.bin", file)}
				if mcs != "" {
					args = append(args, "--mcs", mcs)
				}
				out, _ := tt.call(0, nil, args...)
				var sent, received Transfer
				if err := json.Unmarshal([]byte(out), &sent); err != nil {
					t.Fatal(err)
				}
				out, stderr := tt.call(0, nil, "recv", "--profile", "fsk", "--wav", tt.path("a.wav"), "--json", "-o", tt.path("b.bin"))
				if err := json.Unmarshal([]byte(out), &received); err != nil {
					t.Fatal(err)
				}
				if stderr != "" {
					t.Errorf("standard error: %s", stderr)
				}
				if !bytes.Equal(tt.read("b.bin"), file) {
					t.Error("the files differ")
				}
				tt.holds("a.bin", "a.wav", "b.bin")
				if sent.SHA256 != received.SHA256 || sent.MCS != received.MCS || !received.Complete || received.Octets != int64(size) || received.File != tt.path("b.bin") {
					t.Errorf("sent %+v\nreceived %+v", sent, received)
				}
				// Without losses the data frames suffice; the rest is parity.
				if received.Bursts > sent.Bursts || received.Airtime > sent.Airtime {
					t.Errorf("more was received than sent: %+v\n%+v", received, sent)
				}
				if sound := float64(len(tt.read("a.wav"))-44) / 2 / 48000; math.Abs(sound-sent.Airtime-2*edgeSilence) > 1e-3 {
					t.Errorf("%.3f s of sound, want the air time %.3f s and %.1f s of silence at both ends", sound, sent.Airtime, edgeSilence)
				}
			})
		}
	}
}

func TestSendRecvPipes(t *testing.T) {
	tt := newTransferTest(t)
	file := octets(2, 5000)
	sound, stderr := tt.call(0, bytes.NewReader(file), "send", "--wav", "-", "-")
	if !strings.HasPrefix(sound, "RIFF") || !strings.HasPrefix(stderr, "sent 5000 octets as ") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("standard error: %q", stderr)
	}
	got, stderr := tt.call(0, strings.NewReader(sound), "recv", "--wav", "-", "-o", "-", "--json")
	if got != string(file) {
		t.Error("the files differ")
	}
	var sum Transfer
	if err := json.Unmarshal([]byte(stderr), &sum); err != nil || !sum.Complete || sum.File != "-" {
		t.Errorf("standard error: %q (%v)", stderr, err)
	}
	// A recorder that never stops: recv ends when the file is whole.
	endless := []byte(sound)
	for i := 40; i < 44; i++ {
		endless[i] = 0xff
	}
	r, w := io.Pipe()
	go func() {
		for chunk := endless; ; chunk = make([]byte, 1<<16) {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}()
	got, _ = tt.call(0, r, "recv", "--wav", "-", "-o", "-")
	r.Close()
	if got != string(file) {
		t.Error("the files differ")
	}
}

func TestRecvNames(t *testing.T) {
	tt := newTransferTest(t)
	t.Chdir(tt.dir)
	tt.call(0, nil, "send", "--mcs", "6", "--wav", "a.wav", tt.write("..song..txt", []byte("la")))
	tt.call(0, strings.NewReader("li"), "send", "--mcs", "6", "--wav", "b.wav", "-")
	if err := os.Mkdir("box", 0o755); err != nil {
		t.Fatal(err)
	}
	tt.call(0, nil, "recv", "--wav", "a.wav")
	tt.call(0, nil, "recv", "--wav", "a.wav", "-o", ".")
	tt.call(0, nil, "recv", "--wav", "a.wav", "-o", "box")
	tt.call(0, nil, "recv", "--wav", "b.wav", "-o", "box/")
	tt.holds("..song..txt", "a.wav", "b.wav", "box", "song.-1.txt", "song..txt")
	for name, want := range map[string]string{"song..txt": "la", "song.-1.txt": "la", "box/song..txt": "la", "box/received": "li"} {
		if got := string(tt.read(name)); got != want {
			t.Errorf("%s holds %q, want %q", name, got, want)
		}
	}
	// An existing file is replaced, its mode and a link to it stay.
	tt.write("old", []byte("old"))
	if err := os.Chmod("old", 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("old", "link"); err != nil {
		t.Fatal(err)
	}
	tt.call(0, nil, "recv", "--wav", "a.wav", "-o", "link")
	info, err := os.Lstat("old")
	if err != nil {
		t.Fatal(err)
	}
	if got := string(tt.read("old")); got != "la" || info.Mode() != 0o600 {
		t.Errorf("%q with mode %v", got, info.Mode())
	}
	tt.call(0, nil, "recv", "--wav", "a.wav", "-o", os.DevNull)
	tt.call(0, nil, "send", "--wav", os.DevNull, "old")
}

// sound reads a WAV file; the tests bend what send wrote.
func (t transferTest) sound(name string) (samples []float32, rate int) {
	t.Helper()
	r, err := audio.NewWAVReader(bytes.NewReader(t.read(name)))
	if err != nil {
		t.Fatal(err)
	}
	samples = make([]float32, r.Samples())
	if _, err := r.Read(samples); err != nil {
		t.Fatal(err)
	}
	return samples, r.Rate
}

func (t transferTest) writeSound(name string, samples []float32, rate int) string {
	t.Helper()
	var file bytes.Buffer
	w, err := audio.NewWAVWriter(&file, rate, int64(len(samples)))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(samples); err != nil {
		t.Fatal(err)
	}
	return t.write(name, file.Bytes())
}

func TestRecvRates(t *testing.T) {
	tt := newTransferTest(t)
	file := octets(3, 60)
	in := tt.write("a.bin", file)
	// Sent at that rate.
	for _, rate := range []string{"8000", "11025", "22050", "44100", "96000", "192000"} {
		tt.call(0, nil, "send", "--rate", rate, "--mcs", "2", "--redundancy", "0%", "--wav", tt.path("a.wav"), in)
		tt.call(0, nil, "recv", "--wav", tt.path("a.wav"), "-o", tt.path("b.bin"))
		if !bytes.Equal(tt.read("b.bin"), file) {
			t.Errorf("%s Hz: the files differ", rate)
		}
	}
	// Sent at 48 kHz, recorded at another rate: what the band of the mode allows.
	for _, c := range []struct {
		rate int
		mcs  string
	}{{8000, "2"}, {44100, "3"}, {96000, "3"}} {
		tt.call(0, nil, "send", "--mcs", c.mcs, "--redundancy", "0%", "--wav", tt.path("a.wav"), in)
		x, rate := tt.sound("a.wav")
		tt.writeSound("c.wav", resample(x, rate, c.rate), c.rate)
		tt.call(0, nil, "recv", "--wav", tt.path("c.wav"), "-o", tt.path("b.bin"))
		if !bytes.Equal(tt.read("b.bin"), file) {
			t.Errorf("recorded at %d Hz: the files differ", c.rate)
		}
	}
	// A mode above half the rate: said so.
	tt.call(0, nil, "send", "--mcs", "4", "--redundancy", "0%", "--wav", tt.path("a.wav"), in)
	x, rate := tt.sound("a.wav")
	tt.writeSound("c.wav", resample(x, rate, 8000), 8000)
	if _, stderr := tt.call(1, nil, "recv", "--wav", tt.path("c.wav"), "-o", tt.path("d.bin")); !strings.Contains(stderr, "at 8000 Hz only its first 3 modes can be heard") {
		t.Errorf("standard error: %q", stderr)
	}
	tt.holds("a.bin", "a.wav", "b.bin", "c.wav")
}

// resample by a sinc under a Hann window of 64 of the longer sample periods.
func resample(x []float32, from, to int) []float32 {
	const half = 32
	cut := min(1, float64(to)/float64(from)) // of half the input rate
	y := make([]float32, int(int64(len(x))*int64(to)/int64(from)))
	for i := range y {
		at := float64(i) * float64(from) / float64(to)
		reach := half / cut
		sum := 0.0
		for j := max(0, int(at-reach)+1); j < min(len(x), int(at+reach)); j++ {
			d := at - float64(j)
			w := math.Cos(math.Pi / 2 * d / reach)
			v := cut
			if d != 0 {
				v = math.Sin(math.Pi*cut*d) / (math.Pi * d)
			}
			sum += float64(x[j]) * v * w * w
		}
		y[i] = float32(sum)
	}
	return y
}

// The container formats are the business of phy/audio's tests; this takes one of
// each kind through the program.
func TestRecvFormats(t *testing.T) {
	sox, err := exec.LookPath("sox")
	if err != nil {
		t.Skip("sox is not installed")
	}
	tt := newTransferTest(t)
	file := octets(4, 500)
	tt.call(0, nil, "send", "--mcs", "6", "--wav", tt.path("a.wav"), tt.write("a.bin", file))
	for _, format := range []string{"-b 8 -e unsigned", "-b 24", "-b 32 -e signed", "-b 32 -e float", "-b 64 -e float", "-c 2", "-b 24 -c 2", "-b 32 -e float -c 2"} {
		args := append([]string{"-D", tt.path("a.wav")}, strings.Fields(format)...)
		if out, err := exec.Command(sox, append(args, tt.path("b.wav"))...).CombinedOutput(); err != nil {
			t.Fatalf("sox %s: %v %s", format, err, out)
		}
		tt.call(0, nil, "recv", "--wav", tt.path("b.wav"), "-o", tt.path("b.bin"))
		if !bytes.Equal(tt.read("b.bin"), file) {
			t.Errorf("%s: the files differ", format)
		}
	}
}

func TestTransferUsage(t *testing.T) {
	tt := newTransferTest(t)
	in := tt.write("a.bin", []byte("x"))
	noSound := tt.write("no.wav", []byte("this is no sound at all"))
	huge := tt.path("huge")
	for _, f := range []struct {
		name string
		size int64
	}{{"huge", 5 << 30}, {"long", 200 << 20}} {
		tt.write(f.name, nil)
		if err := os.Truncate(tt.path(f.name), f.size); err != nil {
			t.Fatal(err)
		}
	}
	wav := tt.path("x.wav")
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"send --wav " + wav, 2, "missing argument FILE"},
		{"send --wav " + wav + " a b", 2, `unexpected argument "b"`},
		{"send " + in, 2, "--wav is missing"},
		{"send --profile nope --wav " + wav + " " + in, 2, `profile "nope" does not exist: the profiles are `},
		{"send --mcs 99 --wav " + wav + " " + in, 2, "--mcs 99 does not exist: profile fsk has 0 to "},
		{"send --mcs -1 --wav " + wav + " " + in, 2, "--mcs -1 does not exist"},
		{"send --mcs x --wav " + wav + " " + in, 2, "see `lightsong send --help`"},
		{"send --redundancy much --wav " + wav + " " + in, 2, `--redundancy "much": must be 0% to 400%`},
		{"send --redundancy 401% --wav " + wav + " " + in, 2, "must be 0% to 400%"},
		{"send --redundancy NaN --wav " + wav + " " + in, 2, "must be 0% to 400%"},
		{"send --loops 0 --wav " + wav + " " + in, 2, "--loops 0: must be 1 to "},
		{"send --rate 7999 --wav " + wav + " " + in, 2, "--rate 7999: must be 8000 to 192000 Hz"},
		{"send --raw morse --wav " + wav + " " + in, 2, `--raw "morse" does not exist: the uncoded modes are bell103, bell202`},
		{"send --raw bell202 --mcs 1 --wav " + wav + " " + in, 2, "--mcs and --raw exclude each other"},
		{"send --wav " + in + " " + in, 2, "would overwrite the file that is to be sent"},
		{"send --wav " + tt.dir + " " + in, 2, "is a folder: name the WAV file"},
		{"send --wav " + tt.path("no/x.wav") + " " + in, 1, "does not exist"},
		{"send --wav " + wav + " " + tt.path("nothing"), 1, "no such file"},
		{"send --wav " + wav + " " + tt.dir, 1, "is a folder, not a file"},
		{"send --wav " + wav + " " + huge, 1, "file too large: 5368709120 octets"},
		{"send --wav " + wav + " " + tt.path("long"), 1, "a WAV file at 48000 Hz holds 12h25m39s"},
		{"send --raw bell103 --wav " + wav + " " + huge, 1, "a WAV file at 48000 Hz holds 12h25m39s"},
		{"recv", 2, "--wav is missing"},
		{"recv --wav " + wav + " x", 2, `unexpected argument "x"`},
		{"recv --wav " + wav, 1, "no such file"},
		{"recv --profile nope --wav " + tt.path("ok.wav"), 2, `profile "nope" does not exist`},
		{"recv --raw morse --wav " + tt.path("ok.wav"), 2, `--raw "morse" does not exist`},
		{"recv --raw bell202 --profile fsk --wav " + wav, 2, "exclude each other"},
		{"recv --wav " + noSound, 1, "not a RIFF/WAVE file"},
		{"recv --wav " + tt.dir, 1, "is a folder, not a file"},
		{"recv --wav " + noSound + " -o " + noSound, 2, "would overwrite the sound"},
		{"recv --wav " + noSound + " -o " + tt.path("no/file"), 1, "does not exist"},
		{"recv --wav " + noSound + " -o " + in + "/file", 1, "not a directory"},
		{"recv --wav " + tt.path("slow.wav"), 2, "profile fsk at 4000 Hz"},
		{"recv --wav " + tt.path("ok.wav") + " -o " + wav, 1, "no file was received: no burst of profile fsk in 1.00 s of sound"},
		{"recv --raw bell202 --wav " + tt.path("ok.wav") + " -o " + wav, 1, "nothing was received: no octet of bell202"},
	} {
		tt.writeSound("ok.wav", make([]float32, 48000), 48000)
		tt.writeSound("slow.wav", make([]float32, 4000), 4000)
		code, stdout, stderr := call(t.Context(), nil, strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(stderr, c.want) || strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "lightsong: ") {
			t.Errorf("%s: exit %d, %q: want exit %d, one line with %q", c.args, code, stderr, c.code, c.want)
		}
		if stdout != "" {
			t.Errorf("%s printed %q", c.args, stdout)
		}
	}
	tt.holds("a.bin", "huge", "long", "no.wav", "ok.wav", "slow.wav")
	// Standard input that does not end is refused as soon as it is too long.
	_, stderr := tt.call(1, zeros{}, "send", "--raw", "bell103", "--wav", wav, "-")
	if !strings.Contains(stderr, "standard input would last at least") {
		t.Errorf("standard error: %q", stderr)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestTransferInterrupted(t *testing.T) {
	tt := newTransferTest(t)
	sound, _ := tt.call(0, bytes.NewReader(octets(5, 3000)), "send", "--wav", "-", "-")
	for _, args := range []string{"recv --wav - -o " + tt.path("b.bin"), "send --wav " + tt.path("x.wav") + " -", "recv --raw bell202 --wav - -o " + tt.path("b.bin")} {
		ctx, cancel := context.WithCancel(t.Context())
		r, w := io.Pipe()
		go func() {
			// Half of it comes, then nothing more, and then the user stops it.
			_, _ = io.WriteString(w, sound[:len(sound)/2])
			time.Sleep(50 * time.Millisecond)
			cancel()
		}()
		code, _, stderr := call(ctx, r, strings.Fields(args)...)
		if code != 1 || !strings.Contains(stderr, "interrupted") {
			t.Errorf("%s: exit %d, %q", args, code, stderr)
		}
		r.Close()
		w.Close()
		tt.holds()
	}
}

// TestRawMinimodem talks to another program, both ways.
func TestRawMinimodem(t *testing.T) {
	minimodem, err := exec.LookPath("minimodem")
	if err != nil {
		t.Skip("minimodem is not installed")
	}
	for _, c := range []struct{ raw, baud string }{{"bell202", "1200"}, {"bell103", "300"}} {
		t.Run(c.raw, func(t *testing.T) {
			tt := newTransferTest(t)
			text := []byte(strings.Repeat("The five boxing wizards jump quickly. 0123456789\n", 10))
			in := tt.write("a.txt", text)
			tt.call(0, nil, "send", "--raw", c.raw, "--wav", tt.path("a.wav"), in)
			got, err := exec.Command(minimodem, "--rx", "-q", c.baud, "-f", tt.path("a.wav")).Output()
			if err != nil || !bytes.Equal(got, text) {
				t.Errorf("minimodem read %d of %d octets, or others (%v)", len(got), len(text), err)
			}
			for _, flags := range [][]string{nil, {"-R", "44100", "--float-samples"}} {
				cmd := exec.Command(minimodem, append([]string{"--tx", c.baud, "-f", tt.path("b.wav")}, flags...)...)
				cmd.Stdin = bytes.NewReader(text)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("minimodem: %v %s", err, out)
				}
				tt.call(0, nil, "recv", "--raw", c.raw, "--wav", tt.path("b.wav"), "-o", tt.path("b.txt"))
				if got := tt.read("b.txt"); !bytes.Equal(got, text) {
					t.Errorf("%v: read %d of %d octets, or others", flags, len(got), len(text))
				}
			}
		})
	}
}

// More than one chunk is sent without a seam that a receiver could hear.
func TestRawLong(t *testing.T) {
	tt := newTransferTest(t)
	file := octets(6, 2*rawChunk+100)
	for i := range file {
		file[i] &= 0x7f
	}
	tt.call(0, nil, "send", "--raw", "bell202", "--rate", "8000", "--wav", tt.path("a.wav"), tt.write("a.txt", file))
	got, _ := tt.call(0, nil, "recv", "--raw", "bell202", "--wav", tt.path("a.wav"), "-o", "-")
	if got != string(file) {
		t.Errorf("%d octets came, not the %d that were sent", len(got), len(file))
	}
}
