package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"lightsong/modem"
	"lightsong/phy/audio"
)

// benchLine is a named figure with a goal.
type benchLine struct {
	name    string // "3-12dB": of line 3
	profile string
	rate    int // Hz
	channel string
	snr     float64    // dB
	shape   burstShape // of 0 octets: as many KiB as it has frames, in the mode's own frames
	bursts  int        // to measure the mode on
	share   float64    // of the packets that must arrive
	kind    lineKind
	goal    float64 // in kind's unit
	bps     float64 // with like: what the mode is to promise, instead of the goal
	cpu     cpuUse
	like    string // takes the mode that reaches that line's goal, or fastQPSK; empty: it chooses its own
}

type lineKind int

const (
	lineGoodput lineKind = iota // bit/s
	lineAirtime                 // ms of a burst
	lineEbN0                    // dB
	lineShare                   // of packets, %
	lineFound                   // preambles found, %
	lineNoise                   // false preambles in an hour of noise
	lineGap                     // of a code to the normal approximation, dB
	lineCPU                     // share of one core
)

// unit of the figure, and whether less of it is better.
func (k lineKind) unit() string {
	return [...]string{"bit/s", "ms", "dB", "%", "%", "per h", "dB", "core"}[k]
}

func (k lineKind) lessIsBetter() bool { return k != lineGoodput && k != lineShare && k != lineFound }

// benchLines are the lines of docs/bench.md that go through the modem's public
// interface. The bursts are such that 40 packets or more are counted; in rooms
// each burst has a room of its own.
var benchLines = []benchLine{
	{name: "1-60dB", profile: "cable", channel: "cable", snr: 60, shape: burstShape{180, 0, 8}, bursts: 2, share: 0.9, goal: 330e3},
	{name: "2-48kHz", profile: "cable2", channel: "crosstalk:-40", snr: 60, shape: burstShape{360, 0, 8}, bursts: 2, share: 0.9, goal: 640e3},
	{name: "2-48kHz-20dB", profile: "cable2", channel: "crosstalk:-20", snr: 60, shape: burstShape{360, 0, 8}, bursts: 2, share: 0.9, goal: 640e3},
	{name: "2-192kHz", profile: "cable2", rate: 192000, channel: "crosstalk:-40", snr: 60, shape: burstShape{180, 4095, 8}, bursts: 2, share: 0.9, goal: 2.2e6},
	{name: "2-192kHz-20dB", profile: "cable2", rate: 192000, channel: "crosstalk:-20", snr: 60, shape: burstShape{180, 4095, 8}, bursts: 2, share: 0.9, goal: 2.2e6},
	{name: "3-37dB", profile: "cable", channel: "awgn", snr: 37, shape: burstShape{130, 0, 8}, bursts: 2, share: 0.9, goal: 210e3},
	{name: "3-22dB", profile: "cable", channel: "awgn", snr: 22, shape: burstShape{80, 0, 8}, bursts: 2, share: 0.9, goal: 125e3},
	{name: "3-12dB", profile: "cable", channel: "awgn", snr: 12, shape: burstShape{48, 0, 8}, bursts: 2, share: 0.9, goal: 60e3},
	{name: "3-5dB", profile: "cable", channel: "awgn", snr: 5, shape: burstShape{22, 0, 8}, bursts: 4, share: 0.9, goal: 30e3},
	{name: "3-1000B", profile: "cable", channel: "cable", snr: 60, shape: burstShape{1, 1000, 0}, bursts: 80, share: 0.9, goal: 120e3},
	{name: "4-100B", profile: "cable", channel: "awgn", shape: burstShape{1, 100, 0}, bursts: 40, share: 0.9, kind: lineEbN0, goal: 4.5},
	{name: "4-1000B", profile: "cable", channel: "awgn", shape: burstShape{1, 1000, 0}, bursts: 40, share: 0.9, kind: lineEbN0, goal: 3.5},
	{name: "5-−19dB", profile: "cable", channel: "awgn", snr: -19, shape: burstShape{1, 144, 0}, bursts: 40, share: 0.9, goal: 100},
	{name: "6-1000B", profile: "air", channel: "room:0.3/3", snr: 20, shape: burstShape{1, 1000, 0}, bursts: 60, share: 0.95, goal: 28e3},
	{name: "6-40kB", profile: "air", channel: "room:0.3/3", snr: 20, shape: burstShape{40, 1000, 0}, bursts: 20, share: 0.95, goal: 62e3},
	{name: "7-1000B-25dB", profile: "air", channel: "room:0.5/-3", snr: 25, shape: burstShape{1, 1000, 0}, bursts: 60, share: 0.95, goal: 25e3},
	{name: "7-1000B-20dB", profile: "air", channel: "room:0.5/-3", snr: 20, shape: burstShape{1, 1000, 0}, bursts: 60, share: 0.95, goal: 22e3},
	{name: "7-40kB-25dB", profile: "air", channel: "room:0.5/-3", snr: 25, shape: burstShape{40, 1000, 0}, bursts: 20, share: 0.95, goal: 66e3},
	{name: "7-40kB-20dB", profile: "air", channel: "room:0.5/-3", snr: 20, shape: burstShape{40, 1000, 0}, bursts: 20, share: 0.95, goal: 58e3},
	{name: "7-robust-0dB", profile: "air", channel: "room:0.6/-3", snr: 0, shape: burstShape{1, 384, 0}, bursts: 60, share: 0.95, goal: 400},
	{name: "7-robust-3dB", profile: "air", channel: "room:1/-6", snr: 3, shape: burstShape{1, 384, 0}, bursts: 60, share: 0.95, goal: 400},
	motion("7b-A-5mm", "moved:0.3/3/0.005", 10e3), motion("7b-A-0.1m", "moved:0.3/3/0.1", 2e3), motion("7b-A-0.5m", "moved:0.3/3/0.5", 500),
	motion("7b-A-1%", "walker:0.3/3/0.01", 10e3), motion("7b-A-10%", "walker:0.3/3/0.1", 1e3),
	motion("7b-B-5mm", "moved:0.5/-3/0.005", 10e3), motion("7b-B-0.1m", "moved:0.5/-3/0.1", 2e3), motion("7b-B-0.5m", "moved:0.5/-3/0.5", 500),
	motion("7b-B-1%", "walker:0.5/-3/0.01", 10e3), motion("7b-B-10%", "walker:0.5/-3/0.1", 1e3),
	{name: "8-ultra", profile: "ultra", channel: "room:0.3/3", snr: 20, shape: burstShape{4, 256, 0}, bursts: 20, share: 0.95, goal: 4e3},
	{name: "9-cable-64B", profile: "cable", channel: "cable", snr: 60, shape: burstShape{1, 64, 0}, bursts: 40, share: 0.9, kind: lineAirtime, goal: 45},
	{name: "9-room-64B", profile: "air", channel: "room:0.3/3", snr: 20, shape: burstShape{1, 64, 0}, bursts: 60, share: 0.95, kind: lineAirtime, goal: 110},
	impairment("10-skew+300ppm", "skew:300"), impairment("10-skew−300ppm", "skew:-300"),
	impairment("10-gain−40dB", "gain:-40"), impairment("10-gain−20dB", "gain:-20"), impairment("10-offset", "offset:0.2"),
	impairment("10-flip", "flip"),
	// The silence decides about the whole burst where it meets the 32 ms of chirp, training
	// and header, nowhere else: many bursts make the share.
	{name: "10-erase", profile: "cable", channel: "erase:20", snr: 12, shape: burstShape{16, 1024, 8}, bursts: 200, share: 0.95, kind: lineShare, goal: 95, like: "3-12dB"},
	{name: "10-clip", profile: "cable", channel: "clip:6", snr: 12, shape: burstShape{20, 1024, 8}, bursts: 4, share: 0.95, kind: lineShare, goal: 95, like: fastQPSK},
	{name: "11-preamble", profile: "cable", channel: "awgn", snr: -12 - 0.685, bursts: 400, kind: lineFound, goal: 98, like: longChirp},
	{name: "11-noise", profile: "cable", channel: "awgn", bursts: 24, kind: lineNoise, goal: 1},
	{name: "12-K8192", shape: burstShape{1, 1024, 0}, kind: lineGap, goal: 0.4},
	{name: "12-K1024", shape: burstShape{1, 128, 0}, kind: lineGap, goal: 0.6},
	{name: "12-K256", shape: burstShape{1, 32, 0}, kind: lineGap, goal: 0.9},
	{name: "13-receive-cable", profile: "cable", channel: "awgn", snr: 60, shape: burstShape{180, 0, 8}, kind: lineCPU, goal: 0.25, like: "1-60dB"},
	{name: "13-receive-air", profile: "air", channel: "room:0.3/3", snr: 20, shape: burstShape{20, 1000, 8}, kind: lineCPU, goal: 0.1, like: "13-receive-air", bps: 40e3},
	// A packet alone in a room is read by iterations that no goal was set for, but that it
	// takes less time to read than to send.
	{name: "13-receive-packet", profile: "air", channel: "room:0.3/3", snr: 20, shape: burstShape{1, 1000, 8}, kind: lineCPU, goal: 1, like: "13-receive-packet", bps: 28e3},
	{name: "13-transmit-cable", profile: "cable", channel: "awgn", snr: 60, shape: burstShape{180, 0, 8}, kind: lineCPU, goal: 0.05, like: "1-60dB", cpu: cpuTransmit},
	{name: "13-idle-cable", profile: "cable", channel: "awgn", kind: lineCPU, goal: 0.01, cpu: cpuIdle},
	{name: "13-idle-cable2", profile: "cable2", channel: "awgn", kind: lineCPU, goal: 0.01, cpu: cpuIdle},
	{name: "13-idle-air", profile: "air", channel: "awgn", kind: lineCPU, goal: 0.01, cpu: cpuIdle},
}

// motion is a part of line 7b: packets of 1000 B alone while something moves.
func motion(name, channel string, goal float64) benchLine {
	return benchLine{name: name, profile: "air", channel: channel, snr: 25, shape: burstShape{1, 1000, 0}, bursts: 40, share: 0.9, goal: goal}
}

// longChirp stands for a mode of cable whose bursts begin with the chirp of 85 ms.
const longChirp = "85 ms"

// fastQPSK stands for a profile's fastest QPSK mode.
const fastQPSK = "QPSK"

// impairment is a part of line 10: the mode for line 3's 60 kb/s at 12 dB on another
// channel.
func impairment(name, channel string) benchLine {
	return benchLine{name: name, profile: "cable", channel: channel, snr: 12,
		shape: burstShape{16, 1024, 8}, bursts: 40, share: 0.95, kind: lineShare, goal: 95, like: "3-12dB"}
}

// lineResult is what came of a line.
type lineResult struct {
	Line      string  `json:"line"`
	Profile   string  `json:"profile"`
	Channel   string  `json:"channel"`
	SNRdB     float64 `json:"snr_db"`
	Octets    int     `json:"octets"` // of a packet
	Frames    int     `json:"frames"` // packets in a burst
	MCS       int     `json:"mcs"`
	Unit      string  `json:"unit"`
	Goal      float64 `json:"goal"`
	Measured  float64 `json:"measured"`
	Theory    float64 `json:"theory"` // Shannon's limit in the unit: bit/s in the mode's band at the SNR; dB at the mode's bit/s per Hz; 0: none
	GapDB     float64 `json:"gap_db"` // between the SNR and that at which the band would hold the goodput; 0: none
	Packets   int     `json:"packets"`
	Delivered int     `json:"delivered"`
	Wrong     int     `json:"wrong"`
	Required  float64 `json:"required_share"`
	Reached   bool    `json:"reached"` // the goal, and with it the share of packets
	Allocs    float64 `json:"allocs"`  // for each burst, or second of listening, of line 13
	Hours     int     `json:"hours"`   // of noise, of line 11
	less      bool    // is better
	Seed      uint64  `json:"seed"` // of the measurement; the mode was chosen on the seed after it
}

// errNoMode is for lines that no mode can serve.
var errNoMode = errors.New("no mode delivers enough")

// lineBench is one run over lines.
type lineBench struct {
	lab  *lab
	seed uint64
}

// experiment of a line; choosing and measuring have a seed each.
func (b *lineBench) experiment(l *benchLine, mode modem.Mode, choosing bool) experiment {
	e := experiment{profile: l.profile, rate: cmp.Or(l.rate, tableRate), mode: mode, shape: l.shapeIn(mode), channel: mustChannel(l.channel), snr: l.snr, seed: b.seed}
	if choosing {
		e.seed++
	}
	return e
}

// shapeIn is the shape of the line's bursts in a mode.
func (l *benchLine) shapeIn(mode modem.Mode) burstShape {
	s := l.shape
	if s.octets == 0 && s.frames > 0 {
		s.octets = mode.FrameOctets
		s.frames = s.frames * 1024 / s.octets
	}
	return s
}

// run chooses the mode and measures.
func (b *lineBench) run(ctx context.Context, l *benchLine) (lineResult, error) {
	switch l.kind {
	case lineEbN0:
		return b.sensitivity(ctx, l)
	case lineNoise:
		return b.noise(ctx, l)
	case lineGap:
		return b.ldpc(ctx, l)
	case lineCPU:
		return b.cost(ctx, l)
	}
	choose := b.choose
	if l.like != "" {
		choose = b.given
	}
	mode, err := choose(ctx, l)
	if err != nil {
		return lineResult{}, fmt.Errorf("line %s: %w", l.name, err)
	}
	e := b.experiment(l, mode, false)
	t, err := b.lab.measure(ctx, &e, l.bursts, all)
	if err != nil {
		return lineResult{}, err
	}
	r := l.result(&e, &t)
	switch l.kind {
	case lineGoodput:
		r.Measured, r.Theory = t.goodput(), e.shannon()
		r.GapDB = e.gap(r.Measured)
	case lineAirtime:
		r.Measured = 1000 * t.seconds / float64(t.bursts)
	case lineShare:
		r.Measured = 100 * t.share()
	case lineFound:
		r.Packets, r.Delivered = t.bursts, t.found
		r.Measured = 100 * float64(t.found) / float64(t.bursts)
	}
	r.judge(l)
	return r, nil
}

func (l *benchLine) result(e *experiment, t *tally) lineResult {
	return lineResult{
		Line: l.name, Profile: l.profile, Channel: l.channel, SNRdB: e.snr, Octets: e.shape.octets, Frames: e.shape.frames,
		MCS: int(e.mode.MCS), Unit: l.kind.unit(), Goal: l.goal,
		Packets: t.packets, Delivered: t.delivered, Wrong: t.wrong, Required: l.share, Seed: e.seed,
	}
}

// judge tells whether the goal is reached; without the share of packets it is not.
func (r *lineResult) judge(l *benchLine) {
	good := r.Measured >= l.goal
	if l.kind.lessIsBetter() {
		good = r.Measured <= l.goal
	}
	r.less = l.kind.lessIsBetter()
	r.Reached = good && float64(r.Delivered) >= l.share*float64(r.Packets) && r.Wrong == 0
}

// given is the mode of a line that does not choose: fastQPSK, or the most robust
// one that promises the goal of the line that this one is like.
func (b *lineBench) given(_ context.Context, l *benchLine) (modem.Mode, error) {
	m, err := audio.OpenModem(l.profile, tableRate)
	if err != nil {
		return modem.Mode{}, err
	}
	if l.like == longChirp {
		return m.Modes[longChirpMode], nil
	}
	if l.like == fastQPSK {
		for _, mode := range slices.Backward(m.Modes) {
			if strings.Contains(mode.Description, fastQPSK) {
				return mode, nil
			}
		}
		return modem.Mode{}, errNoMode
	}
	other := benchLines[slices.IndexFunc(benchLines, func(o benchLine) bool { return o.name == l.like })]
	return promising(m, &other, cmp.Or(l.bps, other.goal))
}

// longChirpMode is one of the modes of cable's class 2 (docs/wire-ofdm.md).
const longChirpMode = 8

// promising is the most robust mode of which a burst of the line carries bps bit/s.
func promising(m *audio.Modem, l *benchLine, bps float64) (modem.Mode, error) {
	for _, mode := range m.Modes {
		shape := l.shapeIn(mode)
		n := samples(m, mode.MCS, shape)
		if n > 0 && float64(8*shape.frames*shape.octets)*float64(m.Rate)/float64(n) >= bps {
			return mode, nil
		}
	}
	return modem.Mode{}, errNoMode
}

// hopeless is how far, in dB, a mode's SNR in the table may lie above a line's
// before it is not even tried: no channel is kinder than white noise.
const hopeless = 1.5

// chooseBursts is up to how many bursts a mode is chosen on where fewer, of many packets,
// are measured: rooms differ from one to the next by more than packets do.
const chooseBursts = 40

// choose finds the mode that is over first and delivers enough: half of what may
// be lost, so that the choice holds on other seeds too.
func (b *lineBench) choose(ctx context.Context, l *benchLine) (modem.Mode, error) {
	m, err := audio.OpenModem(l.profile, cmp.Or(l.rate, tableRate))
	if err != nil {
		return modem.Mode{}, err
	}
	type candidate struct {
		mode modem.Mode
		bps  float64
	}
	var list []candidate
	for _, mode := range m.Modes {
		shape := l.shapeIn(mode)
		if n := samples(m, mode.MCS, shape); n > 0 && mode.SNRdB <= l.snr+hopeless {
			list = append(list, candidate{mode, float64(shape.frames*shape.octets) / float64(n)})
		}
	}
	slices.SortStableFunc(list, func(x, y candidate) int { return cmp.Compare(y.bps, x.bps) })
	for _, c := range list {
		e := b.experiment(l, c.mode, true)
		bursts := max(l.bursts, min(chooseBursts, 2*l.bursts))
		mayLose := int((1 - l.share) / 2 * float64(bursts*e.shape.frames))
		t, err := b.lab.measure(ctx, &e, bursts, losing(mayLose))
		if err != nil {
			return modem.Mode{}, err
		}
		if t.lost() <= mayLose {
			return c.mode, nil
		}
	}
	return modem.Mode{}, errNoMode
}

// The search for a threshold: from so far below the table's SNR, in such steps, dB.
const (
	sensitivityFrom = 2
	sensitivityStep = 0.25
	sensitivityNear = 0.7 // of the best estimate of Eb/N0, for modes that are tried
)

// sensitivity measures the least Eb/N0 of all modes.
func (b *lineBench) sensitivity(ctx context.Context, l *benchLine) (lineResult, error) {
	m, err := audio.OpenModem(l.profile, tableRate)
	if err != nil {
		return lineResult{}, err
	}
	// Eb/N0 by the table: (S/N)·(rate/2)·T / bits.
	estimate := func(mode modem.Mode) float64 {
		n := samples(m, mode.MCS, l.shape)
		if n == 0 {
			return math.Inf(1)
		}
		return mode.SNRdB + 10*math.Log10(float64(n)/2/float64(8*l.shape.octets))
	}
	least := math.Inf(1)
	for _, mode := range m.Modes {
		least = min(least, estimate(mode))
	}
	var best experiment
	bestEbN0 := math.Inf(1)
	for _, mode := range m.Modes {
		if estimate(mode) > least+sensitivityNear {
			continue
		}
		e := b.experiment(l, mode, true)
		e.snr = mode.SNRdB - sensitivityFrom
		t, err := b.raise(ctx, l, &e)
		if err != nil {
			return lineResult{}, err
		}
		if v := t.ebn0(); v < bestEbN0 {
			best, bestEbN0 = e, v
		}
	}
	// On the seeds of the measurement the chosen mode starts at the SNR that it
	// was chosen with.
	e := b.experiment(l, best.mode, false)
	e.snr = best.snr
	t, err := b.raise(ctx, l, &e)
	if err != nil {
		return lineResult{}, err
	}
	r := l.result(&e, &t)
	r.Measured = t.ebn0()
	eta := t.net() / e.mode.BandwidthHz
	r.Theory = 10 * math.Log10((math.Pow(2, eta)-1)/eta)
	r.judge(l)
	return r, nil
}

// raise raises the SNR until enough packets arrive.
func (b *lineBench) raise(ctx context.Context, l *benchLine, e *experiment) (tally, error) {
	mayLose := int((1 - l.share) * float64(l.bursts*l.shape.frames))
	for limit := e.snr + 10; e.snr <= limit; e.snr += sensitivityStep {
		t, err := b.lab.measure(ctx, e, l.bursts, losing(mayLose))
		if err != nil || t.lost() <= mayLose {
			return t, err
		}
	}
	return tally{}, fmt.Errorf("line %s: mode %d: %w", l.name, e.mode.MCS, errNoMode)
}

// selectLines are the lines that --lines names: by number, by name, or all.
func selectLines(which string) ([]benchLine, error) {
	if which == allLines {
		return benchLines, nil
	}
	var list []benchLine
	for _, word := range strings.Split(which, ",") {
		word = strings.ReplaceAll(strings.TrimSpace(word), "-", "−") // the minus of a name, or the dash behind a number
		before := len(list)
		for _, l := range benchLines {
			name := strings.ReplaceAll(l.name, "-", "−")
			if name == word || strings.HasPrefix(name, word+"−") {
				list = append(list, l)
			}
		}
		if len(list) == before {
			return nil, fmt.Errorf("--lines %s: no such line; there are %s", word, lineNames())
		}
	}
	return list, nil
}

func lineNames() string {
	names := make([]string, len(benchLines))
	for i, l := range benchLines {
		names[i] = l.name
	}
	return strings.Join(names, ", ")
}

// runLines measures the lines and prints a table, or JSON.
func (o *benchOptions) runLines(cmd *cobra.Command) error {
	lines, err := selectLines(o.lines)
	if err != nil {
		return usage(err)
	}
	b := lineBench{newLab(o.workers), o.seed}
	advance, erase := progress(cmd.ErrOrStderr(), "measuring", int64(len(lines)))
	defer erase()
	results := make([]*lineResult, len(lines))
	var mu sync.Mutex // the bar
	g, ctx := errgroup.WithContext(cmd.Context())
	g.SetLimit(o.workers)
	one := func(ctx context.Context, i int) error {
		r, err := b.run(ctx, &lines[i])
		if errors.Is(err, errNoMode) {
			r = (&lines[i]).result(&experiment{snr: lines[i].snr, seed: o.seed}, &tally{})
			r.MCS, err = -1, nil
		}
		if err != nil {
			return err
		}
		results[i] = &r
		mu.Lock()
		defer mu.Unlock()
		advance(1)
		return nil
	}
	for i := range lines {
		if lines[i].kind != lineCPU {
			g.Go(func() error { return one(ctx, i) })
		}
	}
	err = g.Wait()
	// What is counted in processor time is measured alone.
	for i := range lines {
		if lines[i].kind == lineCPU && err == nil {
			err = one(cmd.Context(), i)
		}
	}
	erase()
	done := []lineResult{}
	for _, r := range results {
		if r != nil {
			done = append(done, *r)
		}
	}
	if errors.Is(err, context.Canceled) {
		err = fmt.Errorf("interrupted: %d of %d lines were measured", len(done), len(lines))
	}
	if o.json {
		return errors.Join(writeJSON(cmd.OutOrStdout(), done), err)
	}
	return errors.Join(printLines(cmd.OutOrStdout(), done), err)
}

func printLines(w io.Writer, results []lineResult) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "line\tchannel\tgoal\tmeasured\ttheory\tto Shannon\tdelivered\tmode\tseed")
	for i := range results {
		r := &results[i]
		measured, theory, gap, sign := r.figure(r.Measured), "", "", "≥ "
		if r.less {
			sign = "≤ "
		}
		if r.Theory != 0 {
			theory = r.figure(r.Theory)
		}
		if r.GapDB != 0 {
			gap = fmt.Sprintf("%.1f dB", r.GapDB)
		}
		mode, channel := fmt.Sprintf("%s %d", r.Profile, r.MCS), fmt.Sprintf("%s at %.4g dB", r.Channel, r.SNRdB)
		if r.Channel == "" {
			mode, channel = "", ""
		}
		if r.MCS < 0 {
			measured, mode = "nothing", "none"
		}
		counted := ""
		switch {
		case r.Packets > 0:
			counted = fmt.Sprintf("%d of %d", r.Delivered, r.Packets)
		case r.Hours > 0:
			counted = fmt.Sprintf("%d h, %d wrong", r.Hours, r.Wrong)
		}
		if r.Unit == lineCPU.unit() {
			counted += fmt.Sprintf(" %.2g allocs", r.Allocs)
		}
		if !r.Reached {
			measured += " (missed)"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\n", r.Line, channel,
			sign+r.figure(r.Goal), measured, theory, gap, counted, mode, r.Seed)
	}
	return table.Flush()
}

// figure prints a value in the line's unit.
func (r *lineResult) figure(v float64) string {
	switch {
	case r.Unit == lineGoodput.unit() && v >= 1e3:
		return fmt.Sprintf("%.1f kb/s", v/1e3)
	case r.Unit == lineGoodput.unit():
		return fmt.Sprintf("%.0f b/s", v)
	case r.Unit == lineAirtime.unit():
		return fmt.Sprintf("%.1f ms", v)
	}
	if r.Unit == lineCPU.unit() {
		return fmt.Sprintf("%.3g %s", v, r.Unit)
	}
	return fmt.Sprintf("%.2f %s", v, r.Unit)
}
