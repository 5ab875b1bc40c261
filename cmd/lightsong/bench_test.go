package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lightsong/modem"
	"lightsong/phy/audio"
)

// The short version of the lines: what a figure of docs/bench.md promises holds
// with 0.5 dB of slack, on a fixed seed. No mode is searched: the most robust one
// that promises the rate must deliver.
func TestBenchLines(t *testing.T) {
	const slack = 0.5 // dB
	for _, c := range []struct {
		line   string
		bps    float64 // the goal
		bursts int
	}{
		{"1-60dB", 330e3, 1},
		{"3-1000B", 120e3, 10},
		{"3-12dB", 60e3, 1},
		{"3-5dB", 30e3, 2},
		{"5-−19dB", 100, 8},
		{"6-1000B", 28e3, 20},
		{"7-1000B-20dB", 22e3, 20},
		{"8-ultra", 4e3, 5},
		{"10-erase", 60e3, 1},
	} {
		t.Run(c.line, func(t *testing.T) {
			l := benchLines[slices.IndexFunc(benchLines, func(l benchLine) bool { return l.name == c.line })]
			m, err := audio.OpenModem(l.profile, tableRate)
			if err != nil {
				t.Fatal(err)
			}
			mode, err := promising(m, &l, c.bps)
			if err != nil {
				t.Fatalf("%s: %v at %g bit/s", l.profile, err, c.bps)
			}
			b := lineBench{newLab(2), 77}
			e := b.experiment(&l, mode, false)
			e.snr += slack
			got, err := b.lab.measure(t.Context(), &e, c.bursts, all)
			if err != nil {
				t.Fatal(err)
			}
			// One burst of a few may be lost by chance where more would average it out.
			if lost := got.lost(); float64(lost) > math.Ceil((1-l.share)*float64(got.packets)) || got.wrong > 0 {
				t.Errorf("%s mode %d on %s at %g dB: %d of %d packets lost, %d wrong (seed %d)",
					l.profile, mode.MCS, l.channel, e.snr, lost, got.packets, got.wrong, e.seed)
			}
		})
	}
}

// A line with a search, end to end: the mode it chooses holds on the other seed.
func TestBenchLineIsChosenAndMeasuredApart(t *testing.T) {
	b := lineBench{newLab(2), 5}
	l := benchLine{name: "test", profile: "fsk", channel: "awgn", snr: 4, shape: burstShape{4, 200, 0}, bursts: 4, share: 0.9, goal: 4e3}
	r, err := b.run(t.Context(), &l)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Reached || r.Measured > r.Theory || r.GapDB <= 0 || r.Packets != 16 || r.Seed != 5 {
		t.Errorf("seed %d: %+v", b.seed, r)
	}
	if chose := b.experiment(&l, modem.Mode{}, true); chose.seed == r.Seed {
		t.Errorf("the mode is chosen on the seed %d of the measurement", r.Seed)
	}
	l.snr = -40
	if _, err := b.run(t.Context(), &l); !errors.Is(err, errNoMode) {
		t.Errorf("at -40 dB: %v", err)
	}
	l = benchLine{name: "test", profile: "fsk", channel: "awgn", shape: burstShape{1, 60, 0}, bursts: 5, share: 0.8, kind: lineEbN0, goal: 30}
	if r, err = b.run(t.Context(), &l); err != nil || !r.Reached || r.Measured < r.Theory {
		t.Errorf("Eb/N0, seed %d: %+v, %v", b.seed, r, err)
	}
}

// Shannon: at 0 dB a band holds 1 bit/s per Hz; requiredSNR is the inverse.
func TestCapacity(t *testing.T) {
	if got := capacity(0, 24000, 48000); math.Abs(got-24000) > 1e-6 {
		t.Errorf("capacity of 24 kHz at 0 dB: %g", got)
	}
	// Power concentrated in a quarter of the band: 4 × SNR there.
	if got, want := capacity(10, 6000, 48000), 6000*math.Log2(41); math.Abs(got-want) > 1e-6 {
		t.Errorf("capacity of 6 kHz at 10 dB: %g, want %g", got, want)
	}
	for _, snr := range []float64{-19, 0, 60} {
		if got := requiredSNR(capacity(snr, 20500, 48000), 20500, 48000); math.Abs(got-snr) > 1e-9 {
			t.Errorf("%g dB and back: %g", snr, got)
		}
	}
}

// What goes through an ideal channel is delivered, what goes nowhere is not, and
// the energy is that of a burst at modem.LevelDBFS: Eb/N0 = SNR·(rate/2)·T/bits.
func TestRigCounts(t *testing.T) {
	m, err := audio.OpenModem("fsk", 48000)
	if err != nil {
		t.Fatal(err)
	}
	e := experiment{profile: "fsk", rate: 48000, mode: m.Modes[len(m.Modes)-1], shape: burstShape{3, 100, 5}, channel: mustChannel("awgn"), snr: 10, seed: 1}
	r := newRig()
	ideal := func(dst, burst []float32, lead, trail int, _ uint64) []float32 {
		return append(append(append(dst, make([]float32, lead)...), burst...), make([]float32, trail)...)
	}
	deaf := func(dst, burst []float32, lead, trail int, _ uint64) []float32 {
		return append(dst, make([]float32, lead+len(burst)+trail)...)
	}
	for _, c := range []struct {
		name      string
		carry     carrier
		delivered int
	}{{"ideal", ideal, 3}, {"deaf", deaf, 0}, {"ideal again", ideal, 3}} {
		got, err := r.send(&e, 0, c.carry)
		if err != nil {
			t.Fatal(err)
		}
		if got.delivered != c.delivered || got.packets != 3 || got.bursts != 1 || got.wrong != 0 {
			t.Errorf("%s: %+v", c.name, got)
		}
		n := samples(m, e.mode.MCS, e.shape)
		if got.seconds != float64(n)/48000 {
			t.Errorf("%s: %g s, want %d samples", c.name, got.seconds, n)
		}
		// The ramps of the burst's ends take a little.
		if want := 10 + 10*math.Log10(24000*got.seconds/2400); math.Abs(got.ebn0()-want) > 0.2 {
			t.Errorf("%s: Eb/N0 %.2f dB, want %.2f", c.name, got.ebn0(), want)
		}
	}
	e.shape.octets = modem.MaxFrameOctets + 1
	if _, err := r.send(&e, 0, ideal); !errors.Is(err, modem.ErrBurst) {
		t.Errorf("a frame that is too long: %v", err)
	}
}

// bench runs the command.
func bench(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	root := rootCommand()
	var out, errs bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&errs)
	code = run(ctx, root, append([]string{"bench"}, args...))
	return code, out.String(), errs.String()
}

// The command measures, writes what it says, draws it, and reads it back; how many
// workers there are changes nothing.
func TestBenchCommand(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	read := func(name string) string {
		b, err := os.ReadFile(file(name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	args := []string{"--profile", "fsk", "--mcs", "5-7", "--channel", "awgn", "--channel", "room:0.2/10", "--snr=-6:12:3", "--packets", "6", "--octets", "60", "--seed", "9"}
	code, out, errs := bench(t.Context(), append(args, "-j", "1", "--csv", file("a.csv"), "--svg", file("a.svg"))...)
	if code != 0 || errs != "" {
		t.Fatalf("exit %d: %s", code, errs)
	}
	if !strings.Contains(out, "≥ 90 % from dB") || strings.Count(out, "\n") != 1+6 {
		t.Errorf("table of three modes on two channels:\n%s", out)
	}
	rows, err := readBenchCSV(strings.NewReader(read("a.csv")), "a.csv")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSortedFunc(rows, compareRows) || len(byMode(rows)) != 6 {
		t.Errorf("%d rows of %d modes, sorted or not", len(rows), len(byMode(rows)))
	}
	for _, mode := range byMode(rows) {
		first, last := mode[0], mode[len(mode)-1]
		// From nothing to everything, or to the ends of the grid.
		if first.Delivered > 0 && first.SNRdB > -6 || last.lostAny() && last.SNRdB < 12 {
			t.Errorf("%s mode %d on %s: from %d at %g dB to %d of %d at %g dB", first.Profile, first.MCS, first.Channel,
				first.Delivered, first.SNRdB, last.Delivered, last.Packets, last.SNRdB)
		}
		for _, r := range mode {
			if r.GoodputBPS > r.NetBPS || r.NetBPS > 10e3 || r.Octets != 60 || r.Wrong > 0 ||
				r.Channel == "awgn" && r.share() >= holds && r.GoodputBPS > r.ShannonBPS {
				t.Errorf("%+v", r)
			}
		}
	}
	if threshold(rows[:1]) != nil && rows[0].Delivered == 0 {
		t.Error("a mode that delivers nothing holds")
	}

	picture := read("a.svg")
	for d := xml.NewDecoder(strings.NewReader(picture)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the picture is no XML: %v", err)
		}
	}
	for _, want := range []string{"<svg", "Shannon, 0–24 kHz", `class="best p-fsk"`, "prefers-color-scheme:dark", "direwolf 9600", "RT60 in s: 0.2"} {
		if !strings.Contains(picture, want) {
			t.Errorf("no %q in the picture", want)
		}
	}

	if code, _, errs = bench(t.Context(), append(args, "-j", "3", "--csv", file("b.csv"))...); code != 0 {
		t.Fatal(errs)
	}
	if read("b.csv") != read("a.csv") {
		t.Error("three workers measure something else than one")
	}
	if code, _, errs = bench(t.Context(), "--from", file("a.csv"), "--svg", file("c.svg"), "--csv", file("c.csv")); code != 0 {
		t.Fatal(errs)
	}
	if read("c.svg") != picture || read("c.csv") != read("a.csv") {
		t.Error("what was read again is drawn otherwise")
	}
	code, out, errs = bench(t.Context(), "--from", file("a.csv"), "--json")
	var parsed []benchRow
	if err := json.Unmarshal([]byte(out), &parsed); code != 0 || err != nil || !slices.Equal(parsed, rows) {
		t.Errorf("exit %d, JSON %v %s", code, err, errs)
	}
	if code, out, _ = bench(t.Context(), "--from", file("a.csv"), "--csv", "-"); code != 0 || out != read("a.csv") {
		t.Errorf("exit %d, --csv - gives\n%s", code, out)
	}
}

// An interrupted run keeps the modes that were finished, whole, and says so.
func TestBenchInterrupted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "part.csv")
	// From a time in which nothing is done towards one in which all would be.
	for limit := 20 * time.Millisecond; limit < 2*time.Minute; limit = limit * 3 / 2 {
		ctx, cancel := context.WithTimeoutCause(t.Context(), limit, nil)
		stopped, stop := context.WithCancel(t.Context())
		context.AfterFunc(ctx, stop)
		code, _, errs := bench(stopped, "--profile", "fsk", "--mcs", "3-7", "--packets", "20", "--octets", "50", "--snr=-6:9:1", "-j", "1", "--csv", path)
		cancel()
		stop()
		if code != 1 || !strings.Contains(errs, "interrupted") {
			t.Fatalf("after %v: exit %d: %s", limit, code, errs)
		}
		if strings.Contains(errs, "nothing was measured") {
			if _, err := os.Stat(path); err == nil {
				t.Fatal("a file of nothing")
			}
			continue
		}
		rows, err := readBenchFile(path)
		if err != nil {
			t.Fatal(err)
		}
		finished := 0
		if _, err := fmt.Sscanf(errs, "lightsong: interrupted: the %d of 5 modes", &finished); err != nil || len(byMode(rows)) != finished {
			t.Errorf("%d modes in the file: %s", len(byMode(rows)), errs)
		}
		for _, mode := range byMode(rows) {
			if last := mode[len(mode)-1]; last.lostAny() && last.SNRdB < 9 {
				t.Errorf("mode %d ends at %g dB with %d of %d packets", last.MCS, last.SNRdB, last.Delivered, last.Packets)
			}
		}
		return
	}
	t.Error("nothing is ever finished")
}

func (r *benchRow) lostAny() bool { return r.Delivered < r.Packets }

func TestBenchFaults(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.csv")
	head := strings.Join(benchColumns, ",")
	write := func(s string) {
		if err := os.WriteFile(bad, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--profile", "laser"}, 2, `profile "laser" does not exist`},
		{[]string{"--mcs", "70"}, 2, "--mcs 70: must be a mode, A-B or A-B/STEP out of 0-"},
		{[]string{"--mcs", "9-3"}, 2, "--mcs 9-3: must be"},
		{[]string{"--mcs", "0-9/0"}, 2, "--mcs 0-9/0: must be"},
		{[]string{"--mcs", "1,,2"}, 2, "--mcs : must be"},
		{[]string{"--channel", "hall"}, 2, "--channel hall does not exist: the channels are awgn, cable, crosstalk,"},
		{[]string{"--channel", "room:x"}, 2, `--channel room:x: "x" must be RT60 in s from 0 to 5`},
		{[]string{"--channel", "room:1/2/3"}, 2, "--channel room:1/2/3: room takes 2 number(s)"},
		{[]string{"--channel", "flip:1"}, 2, "--channel flip:1: flip takes 0 number(s)"},
		{[]string{"--snr", "9:1:1"}, 2, `--snr "9:1:1": must be LOW:HIGH:STEP`},
		{[]string{"--snr", "0:1:0"}, 2, "must be LOW:HIGH:STEP"},
		{[]string{"--snr", "nan"}, 2, "must be LOW:HIGH:STEP"},
		{[]string{"--packets", "0"}, 2, "--packets 0: must be 1 to 1000000"},
		{[]string{"--octets", "5000"}, 2, "--octets 5000: must be 1 to 4095"},
		{[]string{"--rate", "100"}, 2, "--rate 100: must be 8000 to 192000"},
		{[]string{"--rate", "22050"}, 2, "profile cable at 22050 Hz"},
		{[]string{"-j", "0"}, 2, "-j 0: must be 1 to 1024"},
		{[]string{"--bulk", "--octets", "9"}, 2, "--bulk and --octets exclude each other"},
		{[]string{"--lines=99"}, 2, "--lines 99: no such line; there are 1-60dB,"},
		{[]string{"--lines", "--snr", "5"}, 2, "--lines and --snr exclude each other"},
		{[]string{"--lines", "--csv", "x"}, 2, "--lines gives one figure"},
		{[]string{"--json", "--csv", "-"}, 2, "--json and --csv - both want standard output"},
		{[]string{"--csv", dir}, 2, "is a folder: name the file"},
		{[]string{"--svg", filepath.Join(dir, "no", "x.svg")}, 1, "does not exist"},
		{[]string{"--from", filepath.Join(dir, "none.csv")}, 1, "no such file"},
		{[]string{"--from", bad, "--seed", "3", "--bulk"}, 2, "--from and --bulk exclude each other"},
		{[]string{"extra"}, 2, `unexpected argument "extra"`},
	} {
		code, _, errs := bench(t.Context(), c.args...)
		if code != c.code || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%v: exit %d, %q, want %d, %q", c.args, code, errs, c.code, c.want)
		}
	}
	for _, c := range []struct{ content, want string }{
		{"", "is not a CSV file of `lightsong bench`"},
		{"a,b\n", "is not a CSV file of `lightsong bench`"},
		{head + "\n", "holds no measurement"},
		{head + "\nfsk,1\n", "wrong number of fields"},
		{head + "\nfsk,1,awgn,NaN,4,4,1,1,1,1,1,60,1,100,48000,0\n", `line 2: snr_db "NaN" is not a number`},
		{head + "\nfsk,-1,awgn,1,4,4,1,1,1,1,1,60,1,100,48000,0\n", `line 2: mcs "-1" is not a count`},
		{head + "\nfsk,1,awgn,1,4,4,0,0,1,1,1,60,1,100,48000,0\n", "line 2: goodput_bps 0 of net_bps 0: no bit rates"},
		{head + "\nfsk,1,awgn,1e9,4,4,1,1,1,1,1,60,1,100,48000,0\n", "line 2: snr_db 1e+09: must be from -200 to 200"},
		{head + "\nfsk,1,awgn,1,4,4,1,1,1,1,1,60,1,0,48000,0\n", "line 2: bandwidth_hz 0 at rate_hz 48000: must be positive"},
		{head + "\nfsk,1,awgn,1,4,5,1,1,1,1,1,60,1,100,48000,0\n", "line 2: 5 packets delivered of 4"},
	} {
		write(c.content)
		if code, _, errs := bench(t.Context(), "--from", bad); code != 1 || !strings.Contains(errs, c.want) {
			t.Errorf("%q: exit %d, %q, want %q", c.content, code, errs, c.want)
		}
	}
	// What somebody edited is drawn, not crashed on.
	write(head + "\n<b>,1,awgn&,1,4,0,0,1e12,1,1,1,60,1,1,1,0\nfsk,1,room,-200,4,4,0.001,0.001,1,1,1,60,1,100,48000,0\n")
	if code, _, errs := bench(t.Context(), "--from", bad, "--svg", filepath.Join(dir, "odd.svg")); code != 0 {
		t.Errorf("exit %d: %s", code, errs)
	}
}

func TestParseMCS(t *testing.T) {
	for _, c := range []struct {
		s    string
		want []int
	}{{"", []int{0, 1, 2, 3, 4, 5}}, {"2", []int{2}}, {"1-3", []int{1, 2, 3}}, {"0-5/2", []int{0, 2, 4}}, {"5,1-2", []int{1, 2, 5}}} {
		got, err := parseMCS(c.s, "fsk", 6)
		var list []int
		for i, meant := range got {
			if meant {
				list = append(list, i)
			}
		}
		if err != nil || !slices.Equal(list, c.want) {
			t.Errorf("%q: %v, %v, want %v", c.s, list, err, c.want)
		}
	}
}

// The names of lines are found by number and by name; every one is well made.
func TestSelectLines(t *testing.T) {
	for _, c := range []struct {
		which string
		first string
		n     int
	}{{"all", "1-60dB", len(benchLines)}, {"3", "3-37dB", 5}, {"5", "5-−19dB", 1}, {"5-−19dB", "5-−19dB", 1}, {"1", "1-60dB", 1}, {"6-40kB,8", "6-40kB", 2}} {
		got, err := selectLines(c.which)
		if err != nil || len(got) != c.n || got[0].name != c.first {
			t.Errorf("%s: %d lines, %v", c.which, len(got), err)
		}
	}
	for _, l := range benchLines {
		if l.channel != "" {
			channels := map[bool]int{false: 1, true: 2}[l.profile == "cable2"]
			if _, err := mustChannel(l.channel).open(cmp.Or(l.rate, tableRate), l.snr, channels); err != nil {
				t.Errorf("line %s: %v", l.name, err)
			}
		}
		if l.kind < lineFound && l.bursts*l.shape.frames < 40 {
			t.Errorf("line %s counts %d packets", l.name, l.bursts*l.shape.frames)
		}
	}
}
