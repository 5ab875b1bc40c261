package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"

	"lightsong/modem"
	"lightsong/modem/sounding"
	"lightsong/phy/audio"
)

// Doctor is what `lightsong doctor --json` prints. Numbers that could not be
// measured are null.
type Doctor struct {
	Version     string           `json:"version"`
	Mode        string           `json:"mode"`              // loop, listen or recording
	Profile     string           `json:"profile"`           // of the burst
	Device      string           `json:"device"`            // or the recording
	Rate        int              `json:"rate_hz"`           //
	LevelDBFS   float64          `json:"level_dbfs"`        // at which the sounding was played; listen: is taken to have been
	DeviceMS    float64          `json:"device_latency_ms"` // from playing to hearing, as the device says
	RoundTripMS *float64         `json:"roundtrip_ms"`      // loop: as it is, with the way through the air
	Lost        int64            `json:"samples_lost"`      // by the device
	Sound       *sounding.Report `json:"sound"`             // null: no sounding was heard
	Right       *sounding.Report `json:"right,omitempty"`   // of two channels: the other one's
	Burst       *DoctorBurst     `json:"burst"`             // of the profile, behind the sounding
	Heard       *DoctorHeard     `json:"heard,omitempty"`   // without a sounding: what else
	Recommended *Recommended     `json:"recommended"`       // null: the path carries nothing yet
	Findings    []Finding        `json:"findings"`          // what is wrong, the worst first
	Next        string           `json:"next"`              // what to do, in one sentence
	cells       []complex64      // of the burst
}

// DoctorBurst tells whether a burst of the profile can be read.
type DoctorBurst struct {
	Profile       string         `json:"profile"`
	MCS           int            `json:"mcs"`
	Heard         bool           `json:"heard"`
	Missed        int            `json:"missed"` // preambles without a readable header
	Frames        int            `json:"frames"`
	Good          int            `json:"frames_good"`
	SNRdB         sounding.Value `json:"snr_db"` // echoes that cannot be used are noise
	EVMdB         sounding.Value `json:"evm_db"`
	DelaySpreadMS sounding.Value `json:"delay_spread_ms"`
	Want          *int           `json:"mcs_wanted"` // by the receiver
}

// DoctorHeard is sound without a sounding.
type DoctorHeard struct {
	PeakDBFS    sounding.Value `json:"peak_dbfs"`
	LevelDBFS   sounding.Value `json:"level_dbfs"`   // RMS
	SilentShare sounding.Value `json:"silent_share"` // of the samples that are exactly 0
}

// Recommended is what suits the path.
type Recommended struct {
	Profile     string  `json:"profile"`
	MCS         int     `json:"mcs"`
	NetBPS      float64 `json:"net_bps"`      // of that mode
	VolumeDB    float64 `json:"volume_db"`    // by how much to change the loudspeaker's volume
	GainDB      float64 `json:"mic_gain_db"`  // by how much to change the microphone's
	RoundTripMS float64 `json:"roundtrip_ms"` // for the configuration; 0: what the device says is right
	Measured    bool    `json:"measured"`     // the mode is the one that a receiver asked for, else what noise alone allows
}

// Finding is something wrong.
type Finding struct {
	Code string `json:"code"`
	Text string `json:"text"`
	Do   string `json:"do"`
}

// The codes of findings.
const (
	findSilent      = "silent"            // the device gives zeros
	findNotHeard    = "not-heard"         // sound, but no sounding
	findLost        = "samples-lost"      // by the device or its server
	findClipped     = "clipped"           // at the microphone
	findOverdriven  = "overdriven"        // the loudspeaker
	findAGC         = "automatic-gain"    //
	findSuppressed  = "noise-suppression" //
	findCancelled   = "echo-cancellation" //
	findGated       = "gated"             // pauses are cut out
	findSkew        = "skew"              // more than clocks have
	findChanges     = "changes"           // a path that is not the same twice
	findWeak        = "weak"              //
	findEcho        = "echo"              // a single late one
	findOffset      = "dc-offset"         //
	findUnread      = "burst-unread"      //
	findOtherSilent = "one-channel"       // of two
)

// Limits of what is worth a word.
const (
	fewClipped    = 20    // samples: a peak now and then does no harm
	overdrivenDB  = -26.0 // of a harmonic
	gainWanders   = 1.5   // dB
	fades         = 10.0  // dB within 4 s of steady noise
	fadesSlowly   = 3.0   // dB, without a jump
	levelSlope    = 0.08  // dB of gain for each dB of level
	mostly        = 0.6   // of what the gain differs by
	cutOff        = 6.0   // dB, by which clipping alone may weaken what is loud
	clocksDiffer  = 300.0 // ppm: real sound cards stay within 200 of each other
	fineSNR       = 15.0  // dB
	leastSNR      = 3.0   // dB
	quietPeak     = -35.0 // dBFS
	hotPeak       = -3.0  // dBFS
	sureSD        = 4.0   // standard deviations
	modeMargin    = 3.0   // dB above what a mode needs
	explainedDB   = 12.0  // by which the impulse response may foretell less than the noise allows
	foretellable  = 35.0  // dB: clocks that wander limit it there
	dryDRR        = 25.0  // dB: no more echo than a lead
	lateEcho      = 40.0  // ms
	loudEcho      = -20.0 // dB
	offsetMatters = 0.02
	gapMatters    = 25.0 // ms
)

// judge finds out what is wrong and what to do next.
func (d *Doctor) judge() {
	d.Findings = []Finding{}
	found := func(code, do, text string, args ...any) {
		d.Findings = append(d.Findings, Finding{code, fmt.Sprintf(text, args...), do})
	}
	if d.Sound == nil {
		d.judgeUnheard(found)
		d.Next = d.Findings[0].Do
		return
	}
	r := d.Sound
	if d.Lost > 0 || r.Holes > 0 {
		found(findLost, "raise latency_ms (--latency 100) until no samples are lost, and measure again",
			"the sound device or its server lost %d samples and left %d holes of silence", d.Lost, r.Holes)
	}
	if r.Clipped > fewClipped {
		if r.ClipDBFS > -0.5 {
			found(findClipped, "turn the microphone's gain down by 10 dB and measure again", "the microphone's input is clipped: %d samples are at full scale", r.Clipped)
		} else {
			found(findClipped, "turn the loudspeaker down by 10 dB, or the gain of the stage before the converter, and measure again",
				"something in front of the converter clips at %.1f dBFS: %d samples are cut off there", r.ClipDBFS, r.Clipped)
		}
	}
	if h := max(orLowest(r.Harmonic[0]), orLowest(r.Harmonic[1])); h > overdrivenDB && r.Clipped <= fewClipped {
		found(findOverdriven, "turn the loudspeaker's volume down by 6 dB (or --level -18) and measure again",
			"the loudspeaker or its amplifier is overdriven: harmonics of %.0f dB", h)
	}
	d.judgeGain(found)
	if r.SilentShare > 0.5 && r.ModelSNR < foretellable {
		found(findGated, "switch off the noise gate or noise suppression of the microphone in the system's sound settings",
			"pauses are cut out: %.0f %% of the samples before the sounding are exactly 0, though there is noise in what sounds", 100*r.SilentShare)
	}
	if math.Abs(float64(r.SkewPPM)) > clocksDiffer {
		found(findSkew, "use the devices' own sample rate, so that nothing resamples between, and measure again",
			"the two clocks differ by %+.0f ppm, more than sound cards do: something resamples or loses samples", r.SkewPPM)
	}
	if len(d.Findings) == 0 && min(r.SNRdB, foretellable) > r.ModelSNR+explainedDB {
		found(findChanges, "lay both ends still; on Bluetooth or through a conference program use a wired device instead",
			"the path is not the same from one second to the next, or codes the sound: %.0f dB of SNR, but only %.0f dB of it can be foretold", r.SNRdB, r.ModelSNR)
	}
	if r.SNRdB < fineSNR {
		do := "raise the loudspeaker's volume, or move nearer"
		if r.PeakDBFS < quietPeak {
			do += ", and raise the microphone's gain"
		}
		how := "little"
		if r.SNRdB < leastSNR {
			how = "very little"
		}
		found(findWeak, do, "there is %s signal above the noise: SNR %.1f dB", how, r.SNRdB)
	}
	if d.Burst != nil && d.Burst.Good < d.Burst.Frames {
		what := fmt.Sprintf("the burst of profile %s, mode %d, was not heard", d.Burst.Profile, d.Burst.MCS)
		do := fmt.Sprintf("if the other side played with another --profile than %s, use the same; else mend what is above, or try a profile with another band", d.Burst.Profile)
		if d.Burst.Heard {
			what = fmt.Sprintf("of the burst of profile %s, mode %d, %d of %d frames could be read", d.Burst.Profile, d.Burst.MCS, d.Burst.Good, d.Burst.Frames)
			do = "move nearer, play louder, or use a slower mode"
		}
		found(findUnread, do, "%s", what)
	}
	if r.EchoMS > lateEcho && r.EchoDB > loudEcho {
		found(findEcho, "switch off monitoring of the input (\"listen to this device\"), or turn the microphone away from the wall",
			"a single echo of %.0f dB comes after %.0f ms", r.EchoDB, r.EchoMS)
	}
	if math.Abs(float64(r.DCOffset)) > offsetMatters {
		found(findOffset, "put a capacitor of 1 µF into the lead, or use another input", "the input has a constant offset of %+.2f of full scale", r.DCOffset)
	}
	if d.Right != nil && !(math.Abs(float64(d.Right.GainDB-r.GainDB)) < 10) {
		found(findOtherSilent, "plug the lead in fully, and check balance and that both channels are connected", "the two channels are not alike: left %s, right %s", gainText(r), gainText(d.Right))
	}
	d.Recommended = d.recommend()
	d.Next = d.next()
}

// judgeUnheard is judge where there was no sounding.
func (d *Doctor) judgeUnheard(found func(code, do, text string, args ...any)) {
	h := d.Heard
	switch {
	case h.SilentShare > 0.999:
		found(findSilent, "unmute the input, or name the right one with --device or --input (`lightsong devices` lists them)",
			"the device gives nothing but zeros: it is muted, or the wrong one")
	case d.Mode == "loop":
		found(findNotHeard, "turn the loudspeaker up, check that --device plays where the microphone is, and switch off echo cancellation",
			"the microphone hears sound (%.0f dBFS), but not what was played: loudspeaker off or too quiet, the wrong one, or an echo canceller takes it out", h.LevelDBFS)
	default:
		found(findNotHeard, "start `lightsong doctor --play` on the other machine while this one listens, louder or nearer",
			"there is sound (%.0f dBFS, peak %.0f), but no sounding in it", h.LevelDBFS, h.PeakDBFS)
	}
}

// judgeGain looks for what changes the sound by itself. A room does not change
// its gain with the level or with time.
func (d *Doctor) judgeGain(found func(code, do, text string, args ...any)) {
	r := d.Sound
	off := func(what string) string {
		return "switch off " + what + " of the microphone in the system's sound settings (conference programs switch it on)"
	}
	if len(r.Steady) == 0 {
		return
	}
	lost := r.Alike < 0.3 && r.SNRdB > leastSNR || r.SweepDB < -6
	drop := median(r.Steady[:3]) - median(r.Steady[len(r.Steady)-10:])
	if lost && d.Mode == "loop" {
		found(findCancelled, off("echo cancellation"), "an echo canceller takes out what this machine plays: of its second sweep next to nothing is left")
		return
	}
	// Gain by level: a straight line through the steps.
	low, high := math.Inf(1), math.Inf(-1)
	var n, x, y, xx, xy, yy float64
	for _, s := range r.Steps {
		g := float64(s.GainDB)
		if !(s.SD*sureSD < 3) {
			continue
		}
		low, high = min(low, g), max(high, g)
		n, x, y, xx, xy, yy = n+1, x+s.LevelDB, y+g, xx+s.LevelDB*s.LevelDB, xy+s.LevelDB*g, yy+g*g
	}
	slope, explained := 0.0, 0.0
	if vx, vy := n*xx-x*x, n*yy-y*y; vx > 0 && vy > 0 {
		slope = (n*xy - x*y) / vx
		explained = (n*xy - x*y) * (n*xy - x*y) / (vx * vy)
	}
	// Gain by time.
	jump := 0.0
	for i, g := range r.Steady {
		low, high = min(low, float64(g)), max(high, float64(g))
		if i >= 2 {
			jump = max(jump, math.Abs(float64(g-r.Steady[i-2])))
		}
	}
	wander := high - low
	if r.SweepDB.Known() && r.Alike > 0.3 {
		wander = max(wander, math.Abs(float64(r.SweepDB)))
	}
	// What is cut off is quieter than foretold: no business of a gain.
	distorted := r.Clipped > fewClipped || max(orLowest(r.Harmonic[0]), orLowest(r.Harmonic[1])) > overdrivenDB
	switch {
	case wander < max(gainWanders, 2*sureSD*float64(r.GainSD)) || distorted && wander < cutOff:
	case drop > fades || drop > fadesSlowly && jump < 0.6*drop:
		found(findSuppressed, off("noise suppression"), "steady sound fades by %.0f dB within 4 s: noise suppression takes a modem for noise", drop)
	case slope > levelSlope && explained > mostly:
		found(findSuppressed, off("noise suppression"), "noise suppression: what is 18 dB quieter is weakened by %.0f dB more", 18*slope)
	case slope < -levelSlope && explained > mostly:
		found(findAGC, off("automatic gain"), "automatic gain: what is 18 dB quieter is amplified by %.0f dB more", -18*slope)
	default:
		found(findAGC, off("automatic gain"), "automatic gain: the gain changes by %.1f dB while the same is played", wander)
	}
}

func orLowest(v sounding.Value) float64 {
	if v.Known() {
		return float64(v)
	}
	return math.Inf(-1)
}

func median(v []sounding.Value) float64 {
	s := slices.Clone(v)
	slices.Sort(s)
	return float64(s[len(s)/2])
}

func gainText(r *sounding.Report) string {
	if !r.GainDB.Known() {
		return "nothing"
	}
	return text(r.GainDB, "%+.1f dB")
}

// profileBands are the bands in which the profiles send, Hz.
var profileBands = map[string][2]float64{
	"air": {1000, 20000}, "cable": {500, 21000}, "ultra": {17000, 20500}, "voice": {300, 2700}, "fsk": {656, 3656},
}

// snrOf is the SNR in 0…rate/2 that bursts of a profile have on the path.
func (d *Doctor) snrOf(profile string) float64 {
	band, ok := profileBands[strings.TrimSuffix(profile, "2")]
	if !ok || !d.Sound.NoiseDBFS.Known() {
		return math.NaN()
	}
	var sum, width float64
	for _, b := range d.Sound.Bands {
		low, high := max(band[0], b.Hz*math.Pow(2, -1.0/6)), min(band[1], b.Hz*math.Pow(2, 1.0/6))
		if high <= low {
			continue
		}
		width += high - low
		if b.ResponseDB.Known() {
			sum += (high - low) * math.Pow(10, float64(b.ResponseDB)/10)
		}
	}
	if sum == 0 || width < 0.5*(band[1]-band[0]) {
		return math.NaN()
	}
	return 10*math.Log10(sum/width) + usualLevel - float64(d.Sound.NoiseDBFS)
}

// fastest is the fastest mode of a profile for an SNR, with a margin.
func fastest(profile string, rate int, snr float64) (modem.Mode, bool) {
	m, err := audio.OpenModem(profile, rate)
	if err != nil {
		return modem.Mode{}, false
	}
	var best modem.Mode
	ok := false
	for _, mode := range m.Modes {
		if mode.SNRdB+modeMargin <= snr && mode.NetBPS > best.NetBPS {
			best, ok = mode, true
		}
	}
	return best, ok
}

// recommend chooses profile, mode and volumes.
func (d *Doctor) recommend() *Recommended {
	r := d.Sound
	dry := r.RT60 == 0 || r.DRRdB > dryDRR
	candidates := []string{"air", "voice", "fsk", "ultra"}
	if dry {
		candidates = []string{"cable", "voice", "fsk"}
		if strings.HasSuffix(d.Profile, "2") {
			candidates[0] = "cable2"
		}
	}
	var best *Recommended
	for _, profile := range candidates {
		mode, ok := fastest(profile, d.Rate, d.snrOf(profile))
		// Two others are for those who know why: the narrowest profile that is as fast
		// does not gain from noise that it does not hear.
		if ok && (best == nil || mode.NetBPS > best.NetBPS) {
			best = &Recommended{Profile: profile, MCS: int(mode.MCS), NetBPS: mode.NetBPS}
		}
	}
	if best == nil {
		return nil
	}
	if b := d.Burst; b != nil && b.Want != nil && b.Profile == best.Profile {
		if m, err := audio.OpenModem(b.Profile, d.Rate); err == nil && *b.Want < len(m.Modes) {
			best.MCS, best.NetBPS, best.Measured = *b.Want, m.Modes[*b.Want].NetBPS, true
		}
	}
	switch {
	case r.Clipped > fewClipped && r.ClipDBFS > -0.5:
		best.GainDB = -10
	case r.Clipped > fewClipped:
		best.VolumeDB = -10
	case max(orLowest(r.Harmonic[0]), orLowest(r.Harmonic[1])) > overdrivenDB:
		best.VolumeDB = -6
	case r.PeakDBFS > hotPeak:
		best.GainDB = math.Round(float64(-9 - r.PeakDBFS))
	case r.SNRdB < fineSNR:
		best.VolumeDB = math.Round(min(20, fineSNR-float64(r.SNRdB)))
	case r.PeakDBFS < quietPeak:
		best.GainDB = math.Round(min(20, float64(-12-r.PeakDBFS)))
	}
	if d.RoundTripMS != nil && math.Abs(*d.RoundTripMS-d.DeviceMS) > gapMatters {
		best.RoundTripMS = 10 * math.Ceil(*d.RoundTripMS/10)
	}
	return best
}

// next is the one sentence.
func (d *Doctor) next() string {
	b := d.Recommended
	if len(d.Findings) > 0 && (b == nil || d.Findings[0].Code != findWeak || d.Sound.SNRdB < leastSNR) {
		return d.Findings[0].Text + ": " + d.Findings[0].Do + "."
	}
	if b == nil {
		return "no mode of any profile gets through: play louder, move nearer, and measure again."
	}
	how := "noise alone would allow"
	if b.Measured {
		how = "its receiver asks for"
	}
	s := fmt.Sprintf("the path is good: use profile = %q (%s mode %d, %s)", b.Profile, how, b.MCS, bitRate(b.NetBPS))
	if len(d.Findings) > 0 {
		s = fmt.Sprintf("the path works with profile = %q (%s mode %d, %s); for more, %s", b.Profile, how, b.MCS, bitRate(b.NetBPS), d.Findings[0].Do)
	}
	if b.RoundTripMS > 0 {
		s += fmt.Sprintf(", with roundtrip_ms = %.0f", b.RoundTripMS)
	}
	switch d.Mode {
	case "loop":
		s += "; measure the way to the other machine with --listen there and --play here."
	default:
		s += "; measure the other direction too, then start `lightsong up` on both."
	}
	return s
}

// text is a value for a person.
func text(v sounding.Value, format string) string {
	if !v.Known() {
		return "–"
	}
	s := fmt.Sprintf(format, v)
	if strings.Trim(s, "+-0. dB") == "" {
		s = strings.NewReplacer("-", "", "+", "").Replace(s) // nothing has no sign
	}
	return s
}

// print shows the report to a person.
func (d *Doctor) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	how := map[string]string{"loop": "from its loudspeaker to its microphone", "listen": "from another machine", "recording": "as recorded"}[d.Mode]
	fmt.Fprintf(w, "path\t%s, %s\n", d.Device, how)
	if h := d.Heard; h != nil {
		fmt.Fprintf(w, "heard\tno sounding; level %s, peak %s dBFS, %.0f %% digital silence\n", text(h.LevelDBFS, "%.1f"), text(h.PeakDBFS, "%.1f"), 100*h.SilentShare)
	}
	if r := d.Sound; r != nil {
		fmt.Fprintf(w, "level\tpeak %s, steady noise %s, silence before %s dBFS", text(r.PeakDBFS, "%.1f"), text(r.SignalDBFS, "%.1f"), text(r.NoiseDBFS, "%.1f"))
		if r.Clipped > 0 {
			fmt.Fprintf(w, "; %d samples clipped at %.1f dBFS", r.Clipped, r.ClipDBFS)
		}
		fmt.Fprintf(w, "\npath gain\t%s dB; of what is 6, 12, 18 dB quieter: %s\n", text(r.GainDB, "%+.1f"), d.stepText())
		fmt.Fprintf(w, "SNR\t%s dB in 0–%g kHz; %s\n", text(r.SNRdB, "%.1f"), float64(d.Rate)/2000, d.bandText())
		fmt.Fprintf(w, "echo\tRT60 %s s%s, direct to echoes %s dB", text(r.RT60, "%.2f"), spanText(r), text(r.DRRdB, "%.1f"))
		if r.EchoMS.Known() {
			fmt.Fprintf(w, ", a single one of %.0f dB after %.1f ms", r.EchoDB, r.EchoMS)
		}
		fmt.Fprintf(w, "\ndistortion\tsecond harmonic %s, third %s dB\n", text(r.Harmonic[0], "%.0f"), text(r.Harmonic[1], "%.0f"))
		fmt.Fprintf(w, "clocks\tplayer against listener %s ppm\n", text(r.SkewPPM, "%+.1f"))
		if len(r.Steady) > 0 {
			fmt.Fprintf(w, "steady noise\tgain %s dB at first, %s dB after 4 s; %s dB of it foretold by the impulse response\n",
				text(sounding.Value(median(r.Steady[:5])), "%+.1f"), text(sounding.Value(median(r.Steady[len(r.Steady)-10:])), "%+.1f"), text(r.ModelSNR, "%.0f"))
		}
		if d.Right != nil {
			fmt.Fprintf(w, "right channel\tgain %s, SNR %s dB, RT60 %s s\n", gainText(d.Right), text(d.Right.SNRdB, "%.1f"), text(d.Right.RT60, "%.2f"))
		}
	}
	if d.RoundTripMS != nil {
		fmt.Fprintf(w, "latency\t%.0f ms from playing to hearing; the device says %.0f\n", *d.RoundTripMS, d.DeviceMS)
	}
	if d.Lost > 0 {
		fmt.Fprintf(w, "lost\t%d samples\n", d.Lost)
	}
	if b := d.Burst; b != nil {
		switch {
		case !b.Heard:
			fmt.Fprintf(w, "burst\t%s mode %d: not heard\n", b.Profile, b.MCS)
		default:
			fmt.Fprintf(w, "burst\t%s mode %d: %d of %d frames, SNR %s dB, EVM %s dB", b.Profile, b.MCS, b.Good, b.Frames, text(b.SNRdB, "%.1f"), text(b.EVMdB, "%.1f"))
			if b.Want != nil {
				fmt.Fprintf(w, "; the receiver asks for mode %d", *b.Want)
			}
			fmt.Fprintln(w)
		}
	}
	if b := d.Recommended; b != nil {
		fmt.Fprintf(w, "recommended\tprofile %s, volume %+.0f dB, microphone %+.0f dB\n", b.Profile, b.VolumeDB, b.GainDB)
	}
	for i, f := range d.Findings {
		head := ""
		if i == 0 {
			head = "found"
		}
		fmt.Fprintf(w, "%s\t%s\n", head, f.Text)
	}
	fmt.Fprintf(w, "\t\nnext\t%s\n", d.Next)
	return w.Flush()
}

func spanText(r *sounding.Report) string {
	if !r.RT60Span.Known() || r.RT60 == 0 {
		return ""
	}
	return fmt.Sprintf(" (T%.0f)", r.RT60Span)
}

// stepText are the gains at the lower levels.
func (d *Doctor) stepText() string {
	var parts []string
	for _, level := range []float64{-6, -12, -18} {
		for _, s := range d.Sound.Steps {
			if s.LevelDB == level {
				parts = append(parts, text(s.GainDB, "%+.1f"))
				break
			}
		}
	}
	if parts == nil {
		return "–"
	}
	return strings.Join(parts, ", ") + " dB"
}

// bandText is the SNR by octave.
func (d *Doctor) bandText() string {
	var parts []string
	for _, b := range d.Sound.Bands {
		if octave := math.Log2(b.Hz / 1000); math.Abs(octave-math.Round(octave)) < 0.01 && b.Hz > 200 {
			hz := fmt.Sprintf("%.0f", b.Hz)
			if b.Hz >= 1000 {
				hz = fmt.Sprintf("%.0fk", b.Hz/1000)
			}
			parts = append(parts, hz+" "+text(b.SNRdB, "%.0f"))
		}
	}
	return "by band: " + strings.Join(parts, ", ")
}
