package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lightsong/modem"
	"lightsong/modem/sounding"
	"lightsong/phy/audio"
)

// doctorOptions are the flags of doctor.
type doctorOptions struct {
	config  string
	profile string
	sound   soundDevice
	level   float64
	latency float64 // ms
	play    bool
	listen  bool
	wav     string
	wait    time.Duration
	json    bool
	picture string
}

// What surrounds the sounding, in seconds.
const (
	soundingLead   = 1.5 // before it: the noise
	soundingGap    = 0.3 // between it and the burst
	soundingTail   = 0.7 // behind the burst: echoes
	loopPatience   = 3.0 // the longest way from playing to hearing
	loudestDoctor  = -6  // dBFS: above that the sweep itself would be clipped
	doctorLeast    = 10 * time.Second
	doctorPatience = time.Hour
)

func doctorCommand() *cobra.Command {
	o := doctorOptions{}
	cmd := &cobra.Command{
		Use:   "doctor [--play | --listen] [flags]",
		Short: "Measure the sound path and say what to do next",
		Long: `Measure the sound path and say in one sentence what to do next: play a sounding
of 15 s and listen to it. On its own, doctor listens with the microphone beside
its loudspeaker (a lead: plug the output into the input). Between two machines,
start "doctor --listen" on the one, then "doctor --play" on the other; then the
other way round.

Measured are level and clipping, the noise, SNR of each third of an octave,
impulse response and reverberation time, single echoes, distortion, the sample
clocks' skew, the way from playing to hearing, whether a burst of the profile can
be read, and whether something on the way changes the sound: automatic gain,
noise suppression, echo cancellation.

With --wav the sounding goes into a file (--play), to be played by a telephone for
instance, or a recording of it is measured. The sounding is the same for every
profile; only the burst at its end is of the profile. With -c everything is as
"lightsong up" has it.

A configuration with [led] measures light, from one board ("--play") to another
("--listen"): the share of wrong bits at each chip rate, by the boards alone.`,
		Example: `  lightsong doctor                            loudspeaker to own microphone
  lightsong doctor -c a.toml                  device, rate, level and profile of a configuration
  lightsong doctor --listen                   on one machine, then
  lightsong doctor --play                     on the other
  lightsong doctor -c led.toml --listen       light, from another board: doctor -c … --play
  lightsong doctor --picture path.svg         spectrum, impulse response, constellation
  lightsong doctor --play --wav sounding.wav
  lightsong doctor --wav recording.wav --json | jq .next`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := o.run(cmd)
			if errors.Is(err, context.Canceled) {
				return errors.New("interrupted: nothing was measured")
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.config, "config", "c", "", "configuration of `lightsong up` whose [audio] or [led] to measure")
	f.StringVar(&o.profile, "profile", "air", "profile of the burst that is tried: "+strings.Join(audio.Profiles(), ", "))
	f.StringVar(&o.sound.device, "device", "default", "sound device: "+deviceUsage)
	f.StringVar(&o.sound.input, "input", "", "sound device to listen with, if it is another")
	f.StringVar(&o.sound.server, "server", "", "sound server of the device, as in PULSE_SERVER: tcp:HOST, unix:/path")
	f.IntVar(&o.sound.rate, "rate", 48000, "sample rate of the device, 8000 to 192000 Hz")
	f.Float64Var(&o.latency, "latency", float64(usualLatency/time.Millisecond), "of the card's buffers, ms")
	f.Float64Var(&o.level, "level", usualLevel, "level of the sounding, dBFS RMS")
	f.BoolVar(&o.play, "play", false, "only play the sounding")
	f.BoolVar(&o.listen, "listen", false, "only listen, until a sounding comes")
	f.StringVar(&o.wav, "wav", "", "measure this recording; with --play: write the sounding to it; - is standard input or output")
	f.DurationVar(&o.wait, "wait", 3*time.Minute, "how long --listen waits for a sounding")
	f.BoolVar(&o.json, "json", false, "print a JSON object for programs")
	f.StringVar(&o.picture, "picture", "", "SVG file to draw spectrum, impulse response and constellation into")
	return cmd
}

// check completes the flags with the configuration and looks at them.
func (o *doctorOptions) check(cmd *cobra.Command) error {
	flags := cmd.Flags()
	if o.config != "" {
		for _, flag := range []string{"profile", "device", "input", "server", "rate", "latency", "level", "wav"} {
			if flags.Changed(flag) {
				return fmt.Errorf("--config and --%s exclude each other: change the configuration", flag)
			}
		}
	}
	switch {
	case o.play && o.listen:
		return errors.New("--play and --listen exclude each other: without both, doctor does both at once")
	case o.wav != "" && o.listen:
		return errors.New("--wav is a recording already: leave --listen out")
	case o.play && o.picture != "":
		return errors.New("--picture goes with what listens, not with --play")
	case flags.Changed("wait") && !o.listen:
		return errors.New("--wait goes with --listen")
	case o.wait < doctorLeast || o.wait > doctorPatience:
		return fmt.Errorf("--wait %v: must be %v to %v", o.wait, doctorLeast, doctorPatience)
	case flags.Changed("level") && (o.listen || o.wav != ""):
		return errors.New("--level is that of the sounding on a device")
	case !(o.level >= quietestLevel && o.level <= loudestDoctor):
		return fmt.Errorf("--level %v: must be %d to %d dBFS", o.level, quietestLevel, loudestDoctor)
	case o.sound.rate < sounding.MinRate || o.sound.rate > sounding.MaxRate:
		return fmt.Errorf("--rate %d: must be %d to %d Hz", o.sound.rate, sounding.MinRate, sounding.MaxRate)
	case o.wav != "" && !o.play && flags.Changed("rate"):
		return errors.New("the recording tells its rate: leave --rate out")
	}
	for _, flag := range []string{"device", "input", "server", "latency"} {
		if o.wav != "" && flags.Changed(flag) {
			return fmt.Errorf("--wav and --%s exclude each other", flag)
		}
	}
	o.sound.latency = time.Duration(o.latency * float64(time.Millisecond))
	o.sound.station = o.station()
	if o.wav == "" && o.config == "" {
		return o.sound.check()
	}
	return nil
}

// station is the name in a simulated air, where two doctors may be at once.
func (o *doctorOptions) station() string {
	switch {
	case o.play:
		return "doctor-play"
	case o.listen:
		return "doctor-listen"
	}
	return "doctor"
}

// configure takes over what the configuration says.
func (o *doctorOptions) configure(c *upConfig) {
	o.profile, o.sound = c.Audio.Profile, c.sound()
	o.level = min(c.Audio.LevelDBFS, loudestDoctor)
}

func (o *doctorOptions) run(cmd *cobra.Command) error {
	if err := usage(o.check(cmd)); err != nil {
		return err
	}
	if o.config != "" {
		c, err := readUpConfig(o.config)
		if err != nil {
			return err
		}
		if c.usesLed() {
			return o.doctorLight(cmd, c)
		}
		o.configure(c)
	}
	switch {
	case o.play && o.wav != "":
		return o.writeSounding(cmd)
	case o.wav != "":
		return o.measureRecording(cmd)
	}
	return o.measureDevice(cmd)
}

// doctorTest is what is played: a sounding and a burst of the profile behind it.
type doctorTest struct {
	sounding *sounding.Sounding
	modem    *audio.Modem // nil: the profile does not exist at the rate, so there is no burst
	burst    modem.Burst
}

// channels that it is played on.
func (t *doctorTest) channels() int {
	if t.modem == nil {
		return 1
	}
	return t.modem.Channels()
}

func newDoctorTest(profile string, rate int) (*doctorTest, error) {
	s, err := sounding.New(rate)
	if err != nil {
		return nil, usage(err)
	}
	t := &doctorTest{sounding: s}
	m, err := audio.OpenModem(profile, rate)
	if err != nil && slices.Contains(audio.Profiles(), profile) || err == nil && len(m.Modes) == 0 {
		return t, nil
	}
	if err != nil {
		return nil, usage(err)
	}
	t.modem = m
	// A mode that is slow enough to be read over most paths, and a burst long
	// enough to tell how well faster ones would be.
	mode := m.Modes[(len(m.Modes)-1)/4]
	t.burst = modem.Burst{MCS: mode.MCS, Control: []byte("lightsong doctor")}
	octets := max(1, mode.FrameOctets)
	for frames := 1; frames <= 4; frames++ {
		f := make([]byte, octets)
		for i := range f {
			f[i] = byte(167*i + 13*i*i + 29*frames) // anything but all alike
		}
		longer := t.burst
		longer.Frames = append(longer.Frames[:len(longer.Frames):len(longer.Frames)], f)
		n := m.Samples(&longer)
		if n == 0 || frames > 1 && n > 2*rate {
			break
		}
		t.burst = longer
	}
	return t, nil
}

// samples of the whole, of two channels pairs.
func (t *doctorTest) samples() int {
	n := t.sounding.Samples()
	if len(t.burst.Frames) > 0 {
		n += t.seconds(soundingGap) + t.modem.Samples(&t.burst)
	}
	return n
}

func (t *doctorTest) seconds(s float64) int {
	return int(math.Round(s * float64(t.sounding.Rate())))
}

// append appends the whole to dst, at full level; of two channels the sounding is
// on both.
func (t *doctorTest) append(dst []float32) ([]float32, error) {
	channels := t.channels()
	for _, v := range t.sounding.Append(make([]float32, 0, t.sounding.Samples())) {
		for range channels {
			dst = append(dst, v)
		}
	}
	if len(t.burst.Frames) == 0 {
		return dst, nil
	}
	dst = append(dst, make([]float32, channels*t.seconds(soundingGap))...)
	return t.modem.AppendBurst(dst, &t.burst)
}

// writeSounding writes the sounding to a WAV file.
func (o *doctorOptions) writeSounding(cmd *cobra.Command) error {
	t, err := newDoctorTest(o.profile, o.sound.rate)
	if err != nil {
		return err
	}
	channels := t.channels()
	x, err := t.append(make([]float32, channels*t.seconds(soundingLead)))
	if err != nil {
		return err
	}
	x = append(x, make([]float32, channels*t.seconds(soundingTail))...)
	to := sendOptions{wav: o.wav, rate: o.sound.rate}
	if target, err := newTarget(o.wav); err != nil {
		return fmt.Errorf("WAV file: %w", err)
	} else if !target.direct && target.path == "" {
		return usage(fmt.Errorf("--wav %s is a folder: name the WAV file", o.wav))
	}
	out, err := to.openWAV(cmd, int64(len(x)/channels), channels)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := out.Write(x); err != nil {
		return err
	}
	name, stdout, err := out.finish(func() error { return nil })
	if err != nil {
		return err
	}
	played := DoctorPlayed{Device: name, Profile: o.profile, Rate: o.sound.rate, LevelDBFS: usualLevel, Seconds: float64(len(x)/channels) / float64(o.sound.rate)}
	return played.report(cmd, o.json, stdout)
}

// DoctorPlayed is what `doctor --play --json` prints.
type DoctorPlayed struct {
	Device    string  `json:"device"` // or the WAV file
	Profile   string  `json:"profile"`
	Rate      int     `json:"rate_hz"`
	LevelDBFS float64 `json:"level_dbfs"`
	Seconds   float64 `json:"seconds"`
}

func (p DoctorPlayed) report(cmd *cobra.Command, asJSON, stdoutTaken bool) error {
	switch {
	case asJSON && stdoutTaken:
		return writeJSON(cmd.ErrOrStderr(), p)
	case asJSON:
		return writeJSON(cmd.OutOrStdout(), p)
	}
	_, err := fmt.Fprintf(cmd.ErrOrStderr(), "played a sounding of %s, with a burst of %s, to %s: what heard it is `lightsong doctor --listen`, or `lightsong doctor --wav` of a recording\n",
		seconds(p.Seconds), p.Profile, display(p.Device, "standard output"))
	return err
}

// measureRecording measures a WAV file.
func (o *doctorOptions) measureRecording(cmd *cobra.Command) error {
	in, err := openInput(cmd.Context(), o.wav, cmd.InOrStdin())
	if err != nil {
		return err
	}
	defer in.Close()
	name := display(o.wav, "standard input")
	wav, err := audio.NewWAVReader(in)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if wav.Rate < sounding.MinRate || wav.Rate > sounding.MaxRate {
		return fmt.Errorf("%s: its sample rate is %d Hz: doctor measures %d to %d", name, wav.Rate, sounding.MinRate, sounding.MaxRate)
	}
	t, err := newDoctorTest(o.profile, wav.Rate)
	if err != nil {
		return err
	}
	channels := t.channels()
	if channels > wav.Channels {
		return fmt.Errorf("%s is mono, and profile %s needs both channels: record it in stereo", name, o.profile)
	}
	wav.Pairs = channels == 2
	rec := newRecording(wav.Rate, channels)
	block := make([]float32, channels*wav.Rate/10)
	for {
		if err := cmd.Context().Err(); err != nil {
			return err
		}
		n, err := wav.Read(block)
		rec.add(block[:n], 0)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if rec.length() > int(doctorPatience/time.Second)*wav.Rate {
			return fmt.Errorf("%s is longer than an hour: cut the sounding out of it", name)
		}
	}
	rec.end(nil)
	d := &Doctor{Mode: "recording", Profile: o.profile, Device: o.wav, Rate: wav.Rate}
	if err := d.search(cmd.Context(), rec, t, func() bool { return false }); err != nil {
		return err
	}
	return o.finish(cmd, d)
}

// measureDevice plays, listens, or both.
func (o *doctorOptions) measureDevice(cmd *cobra.Command) (err error) {
	t, err := newDoctorTest(o.profile, o.sound.rate)
	if err != nil {
		return err
	}
	if warning := levelWarning(o.profile, o.level); warning != "" && !o.listen {
		fmt.Fprintln(cmd.ErrOrStderr(), "warning:", warning)
	}
	x, err := t.append(nil)
	if err != nil {
		return err
	}
	device := o.sound
	device.channels = t.channels()
	// Everybody in a simulated air must listen: its time stands still else.
	simulated := strings.HasPrefix(device.device, airScheme)
	stream, err := device.open(cmd.Context(), !o.listen, !o.play || simulated)
	if err != nil {
		return fmt.Errorf("%s: %w", device.device, err)
	}
	// What is blocked in the device ends only by this.
	defer context.AfterFunc(cmd.Context(), func() { stream.Close() })()
	rec := newRecording(device.rate, device.channels)
	listening := !o.play || simulated
	ended := make(chan struct{})
	what, total := "sounding", int64(t.samples()+t.seconds(soundingLead+soundingTail))
	if o.listen {
		what, total = "listening", -1
	}
	show, erase := liveProgress(cmd.ErrOrStderr(), what, total)
	go func() {
		defer close(ended)
		if listening {
			rec.listen(stream, func(block []float32) {
				if !o.play {
					show(len(block)/rec.channels, levelText(block, true))
				}
			})
		}
	}()
	defer func() {
		erase()
		stream.Close()
		<-ended
		if cmd.Context().Err() != nil {
			err = cmd.Context().Err()
		}
	}()
	in, out := stream.Latency()
	d := &Doctor{Profile: o.profile, Device: device.device, Rate: device.rate, LevelDBFS: o.level, DeviceMS: milliseconds(in + out)}
	switch {
	case o.play:
		if err := o.playOn(stream, x, t.channels(), show); err != nil {
			return fmt.Errorf("%s: %w", device.device, err)
		}
		time.Sleep(out)
		erase()
		return DoctorPlayed{Device: device.device, Profile: o.profile, Rate: device.rate, LevelDBFS: o.level,
			Seconds: float64(t.samples()) / float64(device.rate)}.report(cmd, o.json, false)
	case o.listen:
		d.Mode, d.LevelDBFS = "listen", usualLevel
		deadline := time.Now().Add(o.wait)
		if err := d.search(cmd.Context(), rec, t, func() bool { return time.Now().Before(deadline) }); err != nil {
			return fmt.Errorf("%s: %w", device.device, err)
		}
	default:
		d.Mode = "loop"
		if err := rec.await(cmd.Context(), t.seconds(soundingLead)); err != nil {
			return fmt.Errorf("%s: %w", device.device, err)
		}
		began := 0
		if err := o.playOn(stream, x, t.channels(), func(int, string) {
			if began == 0 {
				began = rec.length()
			}
		}); err != nil {
			return fmt.Errorf("%s: %w", device.device, err)
		}
		if err := rec.await(cmd.Context(), began+t.samples()+t.seconds(soundingTail)); err != nil {
			return fmt.Errorf("%s: %w", device.device, err)
		}
		if err := d.loop(cmd.Context(), rec, t, began); err != nil {
			return fmt.Errorf("%s: %w", device.device, err)
		}
	}
	erase()
	return o.finish(cmd, d)
}

// playOn plays what is at full level on a stream, in blocks; show is told of each
// before it is given to the device.
func (o *doctorOptions) playOn(stream audio.Stream, x []float32, channels int, show func(n int, text string)) error {
	gain := float32(math.Pow(10, (o.level-usualLevel)/20))
	for i, v := range x {
		x[i] = max(-1, min(1, v*gain))
	}
	for block := channels * (o.sound.rate / 100); len(x) > 0; x = x[min(block, len(x)):] {
		part := x[:min(block, len(x))]
		show(len(part)/channels, levelText(part, true))
		if err := stream.Write(part); err != nil {
			return err
		}
	}
	if s, ok := stream.(audio.BurstEnder); ok {
		s.EndBurst()
	}
	return nil
}

// finish draws the picture and prints the report.
func (o *doctorOptions) finish(cmd *cobra.Command, d *Doctor) error {
	d.Version = version
	d.judge()
	if o.picture != "" {
		f, err := os.Create(o.picture)
		if err != nil {
			return fmt.Errorf("--picture: %w", err)
		}
		if err := errors.Join(writeDoctorSVG(f, d), f.Close()); err != nil {
			return fmt.Errorf("--picture: %w", err)
		}
	}
	var err error
	if o.json {
		err = writeJSON(cmd.OutOrStdout(), d)
	} else {
		err = d.print(cmd.OutOrStdout())
	}
	if err == nil && d.Sound == nil {
		err = errNotHeard
	}
	return err
}

// errNotHeard is doctor's exit code 1: there was no sounding to measure. What that
// means was printed.
var errNotHeard = errors.New("no sounding was heard")

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
