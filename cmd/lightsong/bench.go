package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"lightsong/modem"
	"lightsong/modem/ofdm"
	"lightsong/phy/audio"
)

// benchOptions are the flags of bench.
type benchOptions struct {
	profiles []string
	mcs      string
	channels []string
	snr      string
	packets  int
	octets   int
	bulk     bool
	rate     int
	seed     uint64
	workers  int
	lines    string
	csv, svg string
	from     string
	json     bool
}

func benchCommand() *cobra.Command {
	var o benchOptions
	cmd := &cobra.Command{
		Use:   "bench [flags]",
		Short: "Measure goodput and delivery against SNR, beside Shannon's limit",
		Long: `Send packets through the modem over simulated channels and count what arrives:
goodput and packet delivery against SNR (signal over noise power in 0–rate/2, the
signal at the level of every burst, −12 dBFS) for each MCS of a profile.

Every mode is measured where it goes from nothing to everything: from the SNR that
"lightsong modes" gives down to where nothing arrives (of the first six packets none)
and up to where all does. Net bit rates count everything on the medium: preamble,
header, pilots, checks. A packet is one frame: with --bulk many of them in bursts of
2 s, else one alone in a burst of its own, no longer than the mode's own frames.

Channels (numbers may be given: room:0.5/-3):
` + channelHelp() + `
--lines measures the named figures of docs/bench.md instead: the mode is chosen on
some seeds, its figure taken on others.`,
		Example: `  lightsong bench                                       the cable profile over white noise
  lightsong bench --profile air --channel room --snr 0:30:2 --csv room.csv
  lightsong bench --profile cable --mcs 20-30 --bulk --svg cable.svg
  lightsong bench --from room.csv --svg room.svg        draw what was measured before
  lightsong bench --lines                               every line of docs/bench.md
  lightsong bench --lines=3,5 --json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.profiles, "profile", []string{"cable"}, "profiles: "+strings.Join(audio.Profiles(), ", ")+", or all")
	f.StringVar(&o.mcs, "mcs", "", "modes: one, A-B or A-B/STEP, several with commas (default: all)")
	f.StringArrayVar(&o.channels, "channel", []string{"awgn"}, "channel, may be repeated")
	f.StringVar(&o.snr, "snr", "-24:66:1", "lowest and highest SNR and step, or one SNR, dB")
	f.IntVar(&o.packets, "packets", 40, "packets for each mode and SNR")
	f.IntVar(&o.octets, "octets", 1000, "payload of a packet that is alone in its burst, at most the frame length of the mode")
	f.BoolVar(&o.bulk, "bulk", false, "bursts of 2 s full of the mode's own frames")
	f.IntVar(&o.rate, "rate", 48000, "sample rate, Hz")
	f.Uint64Var(&o.seed, "seed", 1, "of all that is drawn")
	f.IntVarP(&o.workers, "workers", "j", runtime.GOMAXPROCS(0), "how many bursts at once")
	f.StringVar(&o.lines, "lines", "", "measure the lines of docs/bench.md: all, or numbers and names with commas")
	f.Lookup("lines").NoOptDefVal = allLines
	f.StringVar(&o.csv, "csv", "", "CSV file to write; - is standard output")
	f.StringVar(&o.svg, "svg", "", "picture to write")
	f.StringVar(&o.from, "from", "", "read this CSV file of an earlier run instead of measuring")
	f.BoolVar(&o.json, "json", false, "print the results as JSON")
	return cmd
}

// allLines is the value of --lines for every line.
const allLines = "all"

func (o *benchOptions) run(cmd *cobra.Command) error {
	if err := usage(o.check(cmd)); err != nil {
		return err
	}
	if o.lines != "" {
		return o.runLines(cmd)
	}
	outputs, err := o.open(cmd)
	if err != nil {
		return err
	}
	defer outputs.close()
	var rows []benchRow
	var stopped error
	if o.from != "" {
		if rows, err = readBenchFile(o.from); err != nil {
			return err
		}
	} else {
		sweeps, err := o.sweeps()
		if err != nil {
			return usage(err)
		}
		if rows, stopped = o.measure(cmd, sweeps); len(rows) == 0 {
			return stopped
		}
	}
	if err := errors.Join(stopped, outputs.write(rows)); err != nil {
		return err
	}
	switch {
	case o.json:
		return writeJSON(cmd.OutOrStdout(), rows)
	case o.csv != standard:
		return printThresholds(cmd.OutOrStdout(), rows)
	}
	return nil
}

// check looks at the flags alone.
func (o *benchOptions) check(cmd *cobra.Command) error {
	for _, other := range []string{"lines", "from"} {
		if !cmd.Flags().Changed(other) {
			continue
		}
		for _, flag := range []string{"profile", "mcs", "channel", "snr", "packets", "octets", "bulk", "rate", "lines", "from"} {
			if flag != other && cmd.Flags().Changed(flag) {
				return fmt.Errorf("--%s and --%s exclude each other: %s", other, flag,
					map[string]string{"lines": "a line says what is measured", "from": "the file says what was measured"}[other])
			}
		}
	}
	switch {
	case o.packets < 1 || o.packets > 1e6:
		return fmt.Errorf("--packets %d: must be 1 to 1000000", o.packets)
	case o.octets < 1 || o.octets > modem.MaxFrameOctets:
		return fmt.Errorf("--octets %d: must be 1 to %d", o.octets, modem.MaxFrameOctets)
	case o.rate < 8000 || o.rate > 192000:
		return fmt.Errorf("--rate %d: must be 8000 to 192000 Hz", o.rate)
	case o.workers < 1 || o.workers > 1024:
		return fmt.Errorf("-j %d: must be 1 to 1024", o.workers)
	case o.bulk && cmd.Flags().Changed("octets"):
		return errors.New("--bulk and --octets exclude each other: bulk takes the frame length of each mode")
	case o.lines != "" && (o.csv != "" || o.svg != ""):
		return errors.New("--lines gives one figure for each line: no --csv, no --svg, but --json")
	case o.json && o.csv == standard:
		return errors.New("--json and --csv - both want standard output: give one of them a file")
	}
	return nil
}

// benchOutputs are the files of a run, nil where none was asked for.
type benchOutputs struct{ csv, svg *output }

// open begins the files, so that it is known before the work whether they can be
// written.
func (o *benchOptions) open(cmd *cobra.Command) (out benchOutputs, err error) {
	begin := func(path, flag string) (*output, error) {
		if path == "" {
			return nil, nil
		}
		t, err := newTarget(path)
		switch {
		case err != nil:
			return nil, fmt.Errorf("--%s: %w", flag, err)
		case !t.direct && t.path == "":
			return nil, usage(fmt.Errorf("--%s %s is a folder: name the file", flag, path))
		}
		w, err := openOutput(t, path, cmd.OutOrStdout())
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", flag, err)
		}
		return w, nil
	}
	if out.csv, err = begin(o.csv, "csv"); err != nil {
		return out, err
	}
	if out.svg, err = begin(o.svg, "svg"); err != nil {
		out.close()
	}
	return out, err
}

// write fills the files and gives them their names.
func (o *benchOutputs) write(rows []benchRow) error {
	put := func(w *output, render func(io.Writer, []benchRow) error) error {
		if w == nil {
			return nil
		}
		var b bytes.Buffer
		if err := render(&b, rows); err != nil {
			return err
		}
		size := int64(b.Len())
		if _, err := b.WriteTo(w); err != nil {
			return err
		}
		_, err := w.commit(size, "")
		return err
	}
	return errors.Join(put(o.csv, writeBenchCSV), put(o.svg, writeBenchSVG))
}

func (o *benchOutputs) close() {
	for _, w := range []*output{o.csv, o.svg} {
		if w != nil {
			w.Close()
		}
	}
}

// readBenchFile reads a CSV file of an earlier run.
func readBenchFile(path string) ([]benchRow, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rows, err := readBenchCSV(f, path)
	if err == nil && len(rows) == 0 {
		err = fmt.Errorf("%s holds no measurement", path)
	}
	return rows, err
}

// sweep is one mode on one channel over a grid of SNRs.
type sweep struct {
	experiment
	grid    []float64 // dB, rising
	bursts  int
	seconds float64 // of sound in a burst
}

// maxSNR bounds what may be asked for, dB either way.
const maxSNR = 200

// parseSNRs reads --snr.
func parseSNRs(s string) ([]float64, error) {
	fault := fmt.Errorf("--snr %q: must be LOW:HIGH:STEP in dB, like 0:30:2", s)
	words := strings.Split(s, ":")
	if len(words) == 1 {
		words = []string{s, s, "1"}
	}
	if len(words) != 3 {
		return nil, fault
	}
	var v [3]float64
	for i, w := range words {
		var err error
		if v[i], err = strconv.ParseFloat(w, 64); err != nil || !(math.Abs(v[i]) <= maxSNR) {
			return nil, fault
		}
	}
	if v[1] < v[0] || v[2] < 0.01 {
		return nil, fault
	}
	var grid []float64
	for i := 0; ; i++ {
		snr := v[0] + float64(i)*v[2]
		if snr > v[1]+v[2]*1e-6 {
			return grid, nil
		}
		grid = append(grid, math.Round(snr*1e3)/1e3)
	}
}

// parseMCS reads --mcs: "7", "20-30", "0-63/3" (every third) or several with commas,
// within a table of n modes. It returns which are meant, by mode.
func parseMCS(s, profile string, n int) ([]bool, error) {
	meant := make([]bool, n)
	if s == "" {
		s = fmt.Sprintf("0-%d", n-1)
	}
	for _, word := range strings.Split(s, ",") {
		ends, every, stepped := strings.Cut(word, "/")
		a, b, isRange := strings.Cut(ends, "-")
		if !isRange {
			b = a
		}
		if !stepped {
			every = "1"
		}
		first, errA := strconv.Atoi(a)
		last, errB := strconv.Atoi(b)
		step, errC := strconv.Atoi(every)
		if errors.Join(errA, errB, errC) != nil || first < 0 || last < first || last >= n || step < 1 {
			return nil, fmt.Errorf("--mcs %s: must be a mode, A-B or A-B/STEP out of 0-%d of profile %s; see `lightsong modes`", word, n-1, profile)
		}
		for i := first; i <= last; i += step {
			meant[i] = true
		}
	}
	return meant, nil
}

// distinct is what was said, each once.
func distinct(words []string) []string {
	var list []string
	for _, w := range words {
		if !slices.Contains(list, w) {
			list = append(list, w)
		}
	}
	return list
}

// bulkSeconds is the longest burst of bulk, what a link sends between two turns.
const bulkSeconds = 2

// bulkControl is the control block of such a link.
const bulkControl = 40

// sweeps are what the flags ask for.
func (o *benchOptions) sweeps() ([]sweep, error) {
	grid, err := parseSNRs(o.snr)
	if err != nil {
		return nil, err
	}
	profiles := distinct(o.profiles)
	if slices.Contains(profiles, "all") {
		profiles = slices.DeleteFunc(audio.Profiles(), func(name string) bool {
			m, err := audio.OpenModem(name, o.rate)
			return err == nil && m.Channels() != 1
		})
	}
	var list []sweep
	for _, spec := range distinct(o.channels) {
		channel, err := parseChannel(spec)
		if err != nil {
			return nil, err
		}
		for _, name := range profiles {
			m, err := audio.OpenModem(name, o.rate)
			if err != nil {
				return nil, err
			}
			meant, err := parseMCS(o.mcs, name, len(m.Modes))
			if err != nil {
				return nil, err
			}
			for i, mode := range m.Modes {
				if !meant[i] {
					continue
				}
				shape := burstShape{1, o.octets, 0}
				if o.bulk {
					shape = bulkShape(m, mode)
				} else {
					shape.octets = min(shape.octets, mode.FrameOctets)
				}
				n := samples(m, mode.MCS, shape)
				if n == 0 {
					return nil, fmt.Errorf("profile %s mode %d cannot send even one frame", name, mode.MCS)
				}
				list = append(list, sweep{
					experiment: experiment{profile: name, rate: o.rate, mode: mode, shape: shape, channel: channel, seed: o.seed},
					grid:       grid,
					bursts:     (o.packets + shape.frames - 1) / shape.frames,
					seconds:    float64(n) / float64(o.rate),
				})
			}
		}
	}
	return list, nil
}

// bulkShape is the longest burst of the mode's own frames within bulkSeconds, at
// least one frame.
func bulkShape(m *audio.Modem, mode modem.Mode) burstShape {
	shape := burstShape{1, mode.FrameOctets, bulkControl}
	for shape.frames < modem.MaxFrames {
		longer := shape
		longer.frames++
		if n := samples(m, mode.MCS, longer); n == 0 || float64(n) > bulkSeconds*float64(m.Rate) {
			break
		}
		shape = longer
	}
	return shape
}

// measure runs the sweeps. Rows come sorted; if it was interrupted they are those
// of the modes that were finished, and the error says so.
func (o *benchOptions) measure(cmd *cobra.Command, sweeps []sweep) ([]benchRow, error) {
	l := newLab(o.workers)
	advance, erase := progress(cmd.ErrOrStderr(), "measuring", totalWeight(sweeps))
	defer erase()
	// The long ones first: at the end the workers are busy till the last moment.
	order := slices.Clone(sweeps)
	slices.SortStableFunc(order, func(a, b sweep) int { return cmp.Compare(b.weight(), a.weight()) })
	var mu sync.Mutex // rows, finished, the bar
	var rows []benchRow
	finished := 0
	g, ctx := errgroup.WithContext(cmd.Context())
	g.SetLimit(o.workers)
	for i := range order {
		g.Go(func() error {
			s := &order[i]
			got, err := s.run(ctx, l)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			rows = append(rows, got...)
			finished++
			advance(s.weight())
			return nil
		})
	}
	err := g.Wait()
	slices.SortFunc(rows, compareRows)
	if errors.Is(err, context.Canceled) {
		what := "nothing was measured to its end"
		if finished > 0 {
			what = fmt.Sprintf("the %d of %d modes that were finished are kept", finished, len(sweeps))
		}
		err = errors.New("interrupted: " + what)
	}
	return rows, err
}

// weight of a sweep for the progress bar and the order: its sound, and a part that
// every burst costs.
func (s *sweep) weight() int { return int(1000 * float64(s.bursts) * (s.seconds + 0.2)) }

func totalWeight(sweeps []sweep) (sum int64) {
	for i := range sweeps {
		sum += int64(sweeps[i].weight())
	}
	return sum
}

// run measures the mode from where the table says that it begins to hold: down to
// where nothing arrives and up to where everything does, or to the ends of the
// grid.
func (s *sweep) run(ctx context.Context, l *lab) ([]benchRow, error) {
	var rows []benchRow
	at := func(i int) (tally, error) {
		e := s.experiment
		e.snr = s.grid[i]
		// One burst of bulk is many packets: three at least, for three draws.
		t, err := l.measure(ctx, &e, max(s.bursts, min(3, s.shape.frames)), nothing)
		if err == nil {
			rows = append(rows, newRow(&e, &t))
		}
		return t, err
	}
	start, _ := slices.BinarySearch(s.grid, s.mode.SNRdB-0.5)
	start = min(start, len(s.grid)-1)
	first, err := at(start)
	if err != nil {
		return nil, err
	}
	for i, t := start-1, first; i >= 0 && t.delivered > 0; i-- {
		if t, err = at(i); err != nil {
			return nil, err
		}
	}
	for i, t := start+1, first; i < len(s.grid) && t.lost() > 0; i++ {
		if t, err = at(i); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// benchRow is one line of the CSV file and one object of the JSON array.
type benchRow struct {
	Profile    string  `json:"profile"`
	MCS        int     `json:"mcs"`
	Channel    string  `json:"channel"`
	SNRdB      float64 `json:"snr_db"`
	Packets    int     `json:"packets"`
	Delivered  int     `json:"delivered"`
	GoodputBPS float64 `json:"goodput_bps"` // delivered payload over time on the medium
	NetBPS     float64 `json:"net_bps"`     // sent payload over time on the medium
	EbN0dB     float64 `json:"ebn0_db"`     // energy of everything sent, per payload bit sent
	ShannonBPS float64 `json:"shannon_bps"` // of the mode's band at this SNR
	Seed       uint64  `json:"seed"`
	Octets     int     `json:"octets"`       // of a packet
	Frames     int     `json:"frames"`       // packets in a burst
	Band       float64 `json:"bandwidth_hz"` // that the mode occupies
	Rate       int     `json:"rate_hz"`      // sample rate
	Wrong      int     `json:"wrong"`        // packets that passed their check with other content
}

// newRow rounds to what the CSV file says, so that what is read again is the same.
func newRow(e *experiment, t *tally) benchRow {
	round := func(v, to float64) float64 { return math.Round(v*to) / to }
	return benchRow{
		Profile: e.profile, MCS: int(e.mode.MCS), Channel: e.channel.spec, SNRdB: e.snr,
		Packets: t.packets, Delivered: t.delivered,
		GoodputBPS: round(t.goodput(), 10), NetBPS: round(t.net(), 10), EbN0dB: round(t.ebn0(), 100), ShannonBPS: round(e.shannon(), 10),
		Seed: e.seed, Octets: e.shape.octets, Frames: e.shape.frames, Band: math.Round(e.mode.BandwidthHz), Rate: e.rate, Wrong: t.wrong,
	}
}

func (r *benchRow) share() float64 { return float64(r.Delivered) / float64(max(1, r.Packets)) }

// compareRows is the order of a table: by channel, profile, mode and SNR.
func compareRows(a, b benchRow) int {
	return cmp.Or(cmp.Compare(a.Channel, b.Channel), cmp.Compare(a.Profile, b.Profile), cmp.Compare(a.MCS, b.MCS), cmp.Compare(a.SNRdB, b.SNRdB))
}

var benchColumns = []string{
	"profile", "mcs", "channel", "snr_db", "packets", "delivered", "goodput_bps", "net_bps", "ebn0_db", "shannon_bps", "seed",
	"octets", "frames", "bandwidth_hz", "rate_hz", "wrong",
}

func (r *benchRow) record() []string {
	number := func(v float64, digits int) string { return strconv.FormatFloat(v, 'f', digits, 64) }
	return []string{
		r.Profile, strconv.Itoa(r.MCS), r.Channel, strconv.FormatFloat(r.SNRdB, 'f', -1, 64), strconv.Itoa(r.Packets), strconv.Itoa(r.Delivered),
		number(r.GoodputBPS, 1), number(r.NetBPS, 1), number(r.EbN0dB, 2), number(r.ShannonBPS, 1), strconv.FormatUint(r.Seed, 10),
		strconv.Itoa(r.Octets), strconv.Itoa(r.Frames), number(r.Band, 0), strconv.Itoa(r.Rate), strconv.Itoa(r.Wrong),
	}
}

// writeBenchCSV writes the rows under their heads.
func writeBenchCSV(w io.Writer, rows []benchRow) error {
	out := csv.NewWriter(w)
	if err := out.Write(benchColumns); err != nil {
		return err
	}
	for i := range rows {
		if err := out.Write(rows[i].record()); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// readBenchCSV reads what writeBenchCSV wrote. The name is for errors.
func readBenchCSV(r io.Reader, name string) ([]benchRow, error) {
	in := csv.NewReader(r)
	head, err := in.Read()
	if err != nil || !slices.Equal(head, benchColumns) {
		return nil, fmt.Errorf("%s is not a CSV file of `lightsong bench`: its first line is not %s", name, strings.Join(benchColumns, ","))
	}
	var rows []benchRow
	for {
		record, err := in.Read()
		if errors.Is(err, io.EOF) {
			slices.SortStableFunc(rows, compareRows)
			return rows, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		row, err := parseRow(record)
		if err != nil {
			line, _ := in.FieldPos(0)
			return nil, fmt.Errorf("%s, line %d: %w", name, line, err)
		}
		rows = append(rows, row)
	}
}

func parseRow(record []string) (r benchRow, err error) {
	at := -1
	next := func() string { at++; return record[at] }
	float := func() (v float64) {
		s := next()
		if v, e := strconv.ParseFloat(s, 64); e == nil && v-v == 0 {
			return v
		}
		err = errors.Join(err, fmt.Errorf("%s %q is not a number", benchColumns[at], s))
		return 0
	}
	count := func() int {
		s := next()
		v, e := strconv.Atoi(s)
		if e != nil || v < 0 {
			err = errors.Join(err, fmt.Errorf("%s %q is not a count", benchColumns[at], s))
		}
		return v
	}
	seed := func() uint64 {
		s := next()
		v, e := strconv.ParseUint(s, 10, 64)
		if e != nil {
			err = errors.Join(err, fmt.Errorf("seed %q is not a number", s))
		}
		return v
	}
	r = benchRow{
		Profile: next(), MCS: count(), Channel: next(), SNRdB: float(), Packets: count(), Delivered: count(),
		GoodputBPS: float(), NetBPS: float(), EbN0dB: float(), ShannonBPS: float(), Seed: seed(),
		Octets: count(), Frames: count(), Band: float(), Rate: count(), Wrong: count(),
	}
	switch {
	case err != nil:
	case r.Delivered > r.Packets:
		err = fmt.Errorf("%d packets delivered of %d", r.Delivered, r.Packets)
	case math.Abs(r.SNRdB) > maxSNR:
		err = fmt.Errorf("snr_db %g: must be from %d to %d", r.SNRdB, -maxSNR, maxSNR)
	case r.NetBPS < 1e-3 || r.NetBPS > 1e12 || r.GoodputBPS < 0 || r.GoodputBPS > r.NetBPS:
		err = fmt.Errorf("goodput_bps %g of net_bps %g: no bit rates", r.GoodputBPS, r.NetBPS)
	case r.Rate < 1 || r.Band < 1:
		err = fmt.Errorf("bandwidth_hz %g at rate_hz %d: must be positive", r.Band, r.Rate)
	}
	return r, err
}

// printThresholds prints for each mode and channel from where on it holds.
func printThresholds(w io.Writer, rows []benchRow) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "profile\tmcs\tchannel\tnet bit/s\t≥ 90 % from dB\tEb/N0 dB\tto Shannon dB\t  packets")
	for _, mode := range byMode(rows) {
		r := threshold(mode)
		if r == nil {
			last := mode[len(mode)-1]
			fmt.Fprintf(table, "%s\t%d\t%s\t%.0f\tnever\t\t\t  %d of %d at %g dB\n",
				last.Profile, last.MCS, last.Channel, last.NetBPS, last.Delivered, last.Packets, last.SNRdB)
			continue
		}
		fmt.Fprintf(table, "%s\t%d\t%s\t%.0f\t%g\t%.1f\t%.1f\t  %d of %d\n",
			r.Profile, r.MCS, r.Channel, r.NetBPS, r.SNRdB, r.EbN0dB, r.SNRdB-requiredSNR(r.NetBPS/float64(max(1, ofdm.Channels(r.Profile))), r.Band, r.Rate), r.Delivered, r.Packets)
	}
	return table.Flush()
}

// requiredSNR is the SNR in 0…rate/2 at which a band holds bps bit/s at most: the
// inverse of capacity.
func requiredSNR(bps, bandwidth float64, rate int) float64 {
	return 10 * math.Log10((math.Pow(2, bps/bandwidth)-1)*bandwidth/(float64(rate)/2))
}

// byMode groups sorted rows by channel, profile and mode.
func byMode(rows []benchRow) [][]benchRow {
	var groups [][]benchRow
	for i := 0; i < len(rows); {
		j := i + 1
		for j < len(rows) && rows[j].Channel == rows[i].Channel && rows[j].Profile == rows[i].Profile && rows[j].MCS == rows[i].MCS {
			j++
		}
		groups = append(groups, rows[i:j])
		i = j
	}
	return groups
}

// holds is the share of the packets that a mode must deliver to be said to hold.
const holds = 0.9

// threshold is the first row of a mode from which on it holds, nil if it never
// does.
func threshold(mode []benchRow) *benchRow {
	var first *benchRow
	for i := range mode {
		switch {
		case mode[i].share() < holds:
			first = nil
		case first == nil:
			first = &mode[i]
		}
	}
	return first
}
