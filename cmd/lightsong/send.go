package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"lightsong/link/oneway"
	"lightsong/modem"
	"lightsong/phy"
	"lightsong/phy/audio"
)

const (
	edgeSilence  = 0.3  // s before the first and after the last burst: receivers and sound cards settle
	burstSilence = 0.05 // s between bursts: the worst of a room's echo dies away
	maxLoops     = 10000
)

// sendOptions are the flags of send.
type sendOptions struct {
	profile    string
	mcs        int
	redundancy string
	loops      int
	raw        string
	wav        string
	device     string
	server     string
	level      float64
	rate       int
	json       bool
}

func sendCommand() *cobra.Command {
	var o sendOptions
	cmd := &cobra.Command{
		Use:   "send (--wav FILE | --device DEVICE) [flags] FILE|-",
		Short: "Turn a file into sound: one way, without root or TUN",
		Long: `Turn a file into sound that "lightsong recv" turns back: into a WAV file, or
played at once on a sound device (see "lightsong devices"). The sound carries
the file's name, its SHA-256 and parity frames: with any --redundancy one whole
burst may be lost, at 20% one frame in six wherever it is. With --loops the whole
is sent several times, and a receiver puts together what it got of each.

The mode is the middle one of the profile's table unless --mcs names another;
"lightsong modes" lists them.`,
		Example: `  lightsong send --profile fsk --wav out.wav letter.txt
  lightsong send --profile air --device default letter.txt
  lightsong send --profile fsk --mcs 0 --redundancy 100% --wav out.wav letter.txt
  tar c folder | lightsong send --wav - - | aplay
  lightsong send --raw bell202 --wav out.wav letter.txt`,
		Args: exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error { return interrupted(o.run(cmd, args[0])) },
	}
	f := cmd.Flags()
	f.StringVar(&o.profile, "profile", "fsk", "profile of the modem: "+strings.Join(audio.Profiles(), ", "))
	f.IntVar(&o.mcs, "mcs", 0, "number of the mode (default: the middle one of the profile)")
	f.StringVar(&o.redundancy, "redundancy", "20%", "parity frames per 100 data frames, 0% to 400%")
	f.IntVar(&o.loops, "loops", 1, "how many times the whole is sent")
	f.StringVar(&o.raw, "raw", "", rawUsage)
	f.StringVar(&o.wav, "wav", "", "WAV file to write; - is standard output")
	f.StringVar(&o.device, "device", "", "sound device to play on: "+deviceUsage)
	f.StringVar(&o.server, "server", "", "sound server of the device, as in PULSE_SERVER: tcp:HOST, unix:/path")
	f.Float64Var(&o.level, "level", usualLevel, "level on the device, dBFS RMS")
	f.IntVar(&o.rate, "rate", 48000, "sample rate, 8000 to 192000 Hz")
	f.BoolVar(&o.json, "json", false, "print the summary as JSON (on standard error if standard output carries the sound)")
	return cmd
}

// encoder turns a file into sound.
type encoder interface {
	// channels of the sound, 1 or 2.
	channels() int
	// samples is the exact length of the sound of a file of size octets, of two
	// channels in pairs. It is an error if there can be none.
	samples(size int64) (int64, error)
	// encode gives that sound to emit, piece by piece, and fills in the summary.
	encode(file io.ReaderAt, size int64, sum *Transfer, emit func([]float32) error) error
	fmt.Stringer
}

func (o *sendOptions) run(cmd *cobra.Command, path string) error {
	if err := usage(o.check(cmd)); err != nil {
		return err
	}
	open, most := o.openWAV, int64(audio.MaxWAVSamples)
	if o.device != "" {
		open, most = o.openDevice, math.MaxInt64
	} else if err := o.checkTarget(path); err != nil {
		return err
	}
	enc, err := o.encoder(cmd, path)
	if err != nil {
		return err
	}
	channels := int64(enc.channels())
	length := func(size int64) (int64, error) { // of the whole sound
		n, err := enc.samples(size)
		if err != nil {
			return 0, err
		}
		if n += 2 * o.silence(edgeSilence); n > most/channels {
			return 0, fmt.Errorf("%s would last at least %s as sound, a WAV file at %d Hz holds %s: choose a faster mode or send less",
				display(path, "standard input"), seconds(float64(n)/float64(o.rate)), o.rate, seconds(float64(audio.MaxWAVSamples/channels)/float64(o.rate)))
		}
		return n, nil
	}
	file, size, err := openWhole(cmd.Context(), path, cmd.InOrStdin(), func(size int64) error {
		_, err := length(size)
		return err
	})
	if err != nil {
		return err
	}
	defer file.Close()
	total, err := length(size)
	if err != nil {
		return err
	}
	before, err := file.Stat()
	if err != nil {
		return err
	}

	out, err := open(cmd, total, int(channels))
	if err != nil {
		return err
	}
	defer out.Close()
	show, erase := liveProgress(cmd.ErrOrStderr(), "sending", total)
	defer erase()
	emit := func(samples []float32) error {
		// In steps, so that the display lives and an interruption is soon seen.
		for step := int(channels) * (o.rate / 10); len(samples) > 0; samples = samples[min(step, len(samples)):] {
			if err := cmd.Context().Err(); err != nil {
				return err
			}
			part := samples[:min(step, len(samples))]
			show(len(part)/int(channels), levelText(part, o.device != ""))
			if err := out.Write(part); err != nil {
				return err
			}
		}
		return nil
	}
	sum := Transfer{File: path, Octets: size, Received: size, Complete: true, Rate: o.rate}
	edge := make([]float32, channels*o.silence(edgeSilence))
	if err := emit(edge); err != nil {
		return err
	}
	if err := enc.encode(file, size, &sum, emit); err != nil {
		return err
	}
	if err := emit(edge); err != nil {
		return err
	}
	played, stdout, err := out.finish(func() error {
		if after, err := file.Stat(); err != nil {
			return err
		} else if !after.ModTime().Equal(before.ModTime()) || after.Size() != before.Size() {
			return fmt.Errorf("%s was changed while it was being sent: send it again", path)
		}
		return nil
	})
	erase()
	if err != nil {
		return err
	}
	sum.timing(total - 2*o.silence(edgeSilence))
	return sum.report(cmd, o.json, stdout, fmt.Sprintf("sent %d octets as %s of sound to %s: %s, %d bursts, %.0f bit/s net",
		size, seconds(sum.Airtime), display(played, "standard output"), enc, sum.Bursts, sum.NetBPS))
}

// check looks at the flags alone.
func (o *sendOptions) check(cmd *cobra.Command) error {
	if o.raw != "" {
		for _, flag := range []string{"profile", "mcs", "redundancy", "loops"} {
			if cmd.Flags().Changed(flag) {
				return fmt.Errorf("--%s and --raw exclude each other: uncoded sound has no frames", flag)
			}
		}
	}
	switch {
	case o.wav != "" && o.device != "":
		return errors.New("--wav and --device exclude each other")
	case o.wav == "" && o.device == "":
		return errors.New("--wav is missing: the WAV file to write, or - for standard output; or --device, to play the sound")
	case o.device == "" && (cmd.Flags().Changed("server") || cmd.Flags().Changed("level")):
		return errors.New("--server and --level go with --device")
	case !(o.level >= quietestLevel && o.level <= 0):
		return fmt.Errorf("--level %v: must be %d to 0 dBFS", o.level, quietestLevel)
	case o.loops < 1 || o.loops > maxLoops:
		return fmt.Errorf("--loops %d: must be 1 to %d", o.loops, maxLoops)
	case o.rate < 8000 || o.rate > 192000:
		return fmt.Errorf("--rate %d: must be 8000 to 192000 Hz", o.rate)
	}
	if o.device != "" {
		return o.sound().check()
	}
	return nil
}

// checkTarget says whether the WAV file can be the sound of the file at path.
func (o *sendOptions) checkTarget(path string) error {
	out, err := newTarget(o.wav)
	switch {
	case err != nil:
		return fmt.Errorf("WAV file: %w", err)
	case !out.direct && out.path == "":
		return usage(fmt.Errorf("--wav %s is a folder: name the WAV file", o.wav))
	case out.is(path):
		return usage(fmt.Errorf("%s would overwrite the file that is to be sent", o.wav))
	}
	return nil
}

func (o *sendOptions) sound() soundDevice {
	return soundDevice{device: o.device, server: o.server, station: "send", rate: o.rate, latency: usualLatency}
}

// soundOut is where send's sound goes to.
type soundOut interface {
	Write(samples []float32) error
	// finish is called after the last Write and waits until all is there, or
	// was heard; check is asked whether it is worth keeping. It returns what it
	// was written to and whether that was standard output.
	finish(check func() error) (name string, stdout bool, err error)
	// Close gives up what was not finished.
	io.Closer
}

// wavOut writes a WAV file.
type wavOut struct {
	*audio.WAVWriter
	file   *output
	octets int64 // of the whole file
}

func (o *sendOptions) openWAV(cmd *cobra.Command, total int64, channels int) (soundOut, error) {
	t, err := newTarget(o.wav)
	if err != nil {
		return nil, fmt.Errorf("WAV file: %w", err)
	}
	w, err := openOutput(t, o.wav, cmd.OutOrStdout())
	if err != nil {
		return nil, fmt.Errorf("WAV file: %w", err)
	}
	newWriter := audio.NewWAVWriter
	if channels == 2 {
		newWriter = audio.NewPairWAVWriter
	}
	wav, err := newWriter(w, o.rate, total)
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return &wavOut{wav, w, audio.WAVOctets(int64(channels) * total)}, nil
}

func (w *wavOut) finish(check func() error) (string, bool, error) {
	if err := w.WAVWriter.Close(); err != nil {
		return "", false, err
	}
	if err := check(); err != nil {
		return "", false, err
	}
	written, err := w.file.commit(w.octets, "")
	if err != nil {
		return "", false, fmt.Errorf("WAV file: %w", err)
	}
	return written, w.file.stdout, nil
}

func (w *wavOut) Close() error { return w.file.Close() }

// deviceOut plays on a sound device.
type deviceOut struct {
	stream audio.Stream
	name   string
	gain   float32
	scaled []float32
	drain  errgroup.Group
	detach func() bool
}

func (o *sendOptions) openDevice(cmd *cobra.Command, _ int64, channels int) (soundOut, error) {
	if warning := levelWarning(o.profile, o.level); warning != "" {
		fmt.Fprintln(cmd.ErrOrStderr(), "warning:", warning)
	}
	device := o.sound()
	device.channels = channels
	stream, err := device.open(cmd.Context(), true, false)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.device, err)
	}
	d := &deviceOut{stream: stream, name: o.device, gain: float32(math.Pow(10, (o.level-usualLevel)/20))}
	// A Write that is blocked in the device ends only by this.
	d.detach = context.AfterFunc(cmd.Context(), func() { stream.Close() })
	if strings.HasPrefix(o.device, airScheme) {
		// Everybody in a simulated air must listen: its time stands still else.
		d.drain.Go(func() error {
			for block := make([]float32, channels*(o.rate/100)); ; {
				if _, _, err := stream.Read(block); err != nil {
					return nil //nolint:nilerr // Write has failed as well, or all is done
				}
			}
		})
	}
	return d, nil
}

func (d *deviceOut) Write(samples []float32) error {
	d.scaled = d.scaled[:0]
	for _, v := range samples {
		d.scaled = append(d.scaled, max(-1, min(1, v*d.gain)))
	}
	if err := d.stream.Write(d.scaled); err != nil {
		return fmt.Errorf("%s: %w", d.name, err)
	}
	return nil
}

func (d *deviceOut) finish(check func() error) (string, bool, error) {
	if s, ok := d.stream.(audio.BurstEnder); ok {
		s.EndBurst()
	}
	_, out := d.stream.Latency()
	time.Sleep(out)
	return d.name, false, check()
}

func (d *deviceOut) Close() error {
	d.detach()
	err := d.stream.Close()
	return errors.Join(err, d.drain.Wait())
}

// silence is a number of seconds in samples.
func (o *sendOptions) silence(s float64) int64 { return int64(math.Round(s * float64(o.rate))) }

// encoder makes what the flags ask for.
func (o *sendOptions) encoder(cmd *cobra.Command, path string) (encoder, error) {
	if o.raw != "" {
		return newRawEncoder(o.raw, o.rate)
	}
	redundancy, err := parsePercent(o.redundancy)
	if err != nil {
		return nil, usage(fmt.Errorf("--redundancy %w", err))
	}
	m, err := audio.OpenModem(o.profile, o.rate)
	if err != nil {
		return nil, usage(err)
	}
	if len(m.Modes) == 0 {
		return nil, usage(fmt.Errorf("profile %s has no mode at %d Hz", o.profile, o.rate))
	}
	// The table goes from the most robust to the fastest mode: its middle lives
	// in a quiet room and is not slow.
	index := (len(m.Modes) - 1) / 2
	if cmd.Flags().Changed("mcs") {
		if index = o.mcs; index < 0 || index >= len(m.Modes) {
			return nil, usage(fmt.Errorf("--mcs %d does not exist: profile %s has 0 to %d at %d Hz; see `lightsong modes`",
				index, o.profile, len(m.Modes)-1, o.rate))
		}
	}
	name := ""
	if path != standard {
		name = filepath.Base(path)
	}
	return &frameEncoder{
		modem: m,
		loops: o.loops,
		gap:   make([]float32, int64(m.Channels())*o.silence(burstSilence)),
		opts: oneway.Options{
			Name:       name,
			Mode:       m.Modes[index],
			Redundancy: redundancy,
			Airtime: func(b *phy.Burst) time.Duration {
				return time.Duration(float64(m.Samples(b)) / float64(m.Rate) * float64(time.Second))
			},
		},
	}, nil
}

// frameEncoder sends by a profile's modem.
type frameEncoder struct {
	modem *audio.Modem
	loops int
	gap   []float32
	opts  oneway.Options
}

func (e *frameEncoder) String() string {
	return fmt.Sprintf("%s mode %d", e.modem.Profile, e.opts.Mode.MCS)
}

// channels implements encoder.
func (e *frameEncoder) channels() int { return e.modem.Channels() }

// samples implements encoder. A gap stands between bursts only.
func (e *frameEncoder) samples(size int64) (int64, error) {
	plan, err := oneway.NewPlan(size, e.opts)
	if err != nil {
		return 0, err
	}
	possible := true
	loop := plan.Total(func(b *modem.Burst) int64 {
		n := e.modem.Samples(b)
		possible = possible && n > 0
		return int64(n + len(e.gap)/e.channels())
	})
	if !possible {
		return 0, fmt.Errorf("%s cannot send even one frame in a burst", e)
	}
	return int64(e.loops)*loop - int64(len(e.gap)/e.channels()), nil
}

// encode implements encoder.
func (e *frameEncoder) encode(file io.ReaderAt, size int64, sum *Transfer, emit func([]float32) error) error {
	plan, err := oneway.NewPlan(size, e.opts)
	if err != nil {
		return err
	}
	sender, err := oneway.NewSender(file, plan)
	if err != nil {
		return err
	}
	digest := sender.SHA256()
	sum.SHA256, sum.Profile, sum.MCS = hex.EncodeToString(digest[:]), e.modem.Profile, int(e.opts.Mode.MCS)
	var burst phy.Burst
	var samples []float32
	for range e.loops {
		sender.Rewind()
		for {
			more, err := sender.NextBurst(&burst)
			if err != nil {
				return err
			}
			if !more {
				break
			}
			samples = samples[:0]
			if sum.Bursts > 0 {
				samples = append(samples, e.gap...)
			}
			if samples, err = e.modem.AppendBurst(samples, &burst); err != nil {
				return err
			}
			if err := emit(samples); err != nil {
				return err
			}
			sum.Bursts++
		}
	}
	return nil
}

// parsePercent reads "20%" or "20" as 0.2.
func parsePercent(s string) (float64, error) {
	v, err := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64)
	if err != nil || !(v >= 0 && v <= 100*oneway.MaxRedundancy) {
		return 0, fmt.Errorf("%q: must be 0%% to %g%%", s, 100*oneway.MaxRedundancy)
	}
	return v / 100, nil
}

// openWhole opens a file of which the size is known: what is no regular file is
// first written to a temporary one. fits is asked before and while that happens
// whether a file of that size, or larger, can be sent at all.
func openWhole(ctx context.Context, path string, stdin io.Reader, fits func(size int64) error) (*os.File, int64, error) {
	in, err := openInput(ctx, path, stdin)
	if err != nil {
		return nil, 0, err
	}
	if f, ok := in.(*os.File); ok {
		info, err := f.Stat()
		if err == nil {
			err = fits(info.Size())
		}
		if err != nil {
			return nil, 0, errors.Join(err, f.Close())
		}
		return f, info.Size(), nil
	}
	defer in.Close()
	spool, err := unnamed()
	if err != nil {
		return nil, 0, err
	}
	const step = 1 << 20
	for size := int64(0); ; {
		n, err := io.CopyN(spool, in, step)
		size += n
		if errors.Is(err, io.EOF) {
			return spool, size, nil
		}
		if err == nil {
			err = fits(size)
		} else {
			err = fmt.Errorf("reading %s: %w", display(path, "standard input"), err)
		}
		if err != nil {
			return nil, 0, errors.Join(err, spool.Close())
		}
	}
}
