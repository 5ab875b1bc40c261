package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"lightsong/link/oneway"
	"lightsong/modem"
	"lightsong/phy/audio"
)

const (
	readBlock   = 0.1 // s of sound decoded at a time
	maxChannels = 2   // that a sound device is asked for
	flushAfter  = 1.0 // s of silence that a demodulator gets beyond the end of the last burst
)

// recvOptions are the flags of recv.
type recvOptions struct {
	profile string
	raw     string
	wav     string
	device  string
	server  string
	rate    int
	out     string
	resume  string
	json    bool
}

func recvCommand() *cobra.Command {
	var o recvOptions
	cmd := &cobra.Command{
		Use:   "recv (--wav FILE | --device DEVICE) [flags] [-o FILE|FOLDER|-]",
		Short: "Turn the sound of `lightsong send` back into the file",
		Long: `Turn a WAV file that "lightsong send" made, or a recording of its sound, back
into the file; or listen with a sound device (see "lightsong devices") until the
file is there, with a level meter on a terminal. The exit code is 0 only if the file came whole: its SHA-256
agrees. Otherwise nothing is written, an existing file stays as it is, and the
message says how much came.

Any sample rate from 8000 to 192000 Hz, mono or stereo, 8 to 32 bits or float is
read. Without -o the file gets the name that it was sent with, in the present
folder; a file of that name is kept and a number added to the new one.

With --resume a reception that did not come whole, or was interrupted, is kept in
a file of its own, and the next one goes on from there: of a sender that loops,
each reception adds what the others missed.`,
		Example: `  lightsong recv --profile fsk --wav out.wav -o letter.txt
  lightsong recv --profile air --device default -o letter.txt
  arecord -f S16_LE -r 48000 | lightsong recv --wav -
  lightsong recv --profile air --resume letter.part --wav tuesday.wav
  lightsong recv --raw bell202 --wav out.wav -o letter.txt`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error { return interrupted(o.run(cmd)) },
	}
	f := cmd.Flags()
	f.StringVar(&o.profile, "profile", "fsk", "profile of the modem: "+strings.Join(audio.Profiles(), ", "))
	f.StringVar(&o.raw, "raw", "", rawUsage)
	f.StringVar(&o.wav, "wav", "", "WAV file to read; - is standard input")
	f.StringVar(&o.device, "device", "", "sound device to listen with: "+deviceUsage)
	f.StringVar(&o.server, "server", "", "sound server of the device, as in PULSE_SERVER: tcp:HOST, unix:/path")
	f.IntVar(&o.rate, "rate", 48000, "sample rate of the device, 8000 to 192000 Hz")
	f.StringVarP(&o.out, "output", "o", "", "file or folder to write; - is standard output (default: the name that was sent)")
	f.StringVar(&o.resume, "resume", "", "file that keeps what came until the whole is there")
	f.BoolVar(&o.json, "json", false, "print the summary as JSON (on standard error if standard output carries the file)")
	return cmd
}

// decoder turns sound into a file.
type decoder interface {
	// push takes the next samples. done means that no more are wanted.
	push(samples []float32) (done bool, err error)
	// progress says in a word how much is there.
	progress() string
	// finish is called after the last sample. It completes the summary and
	// writes the file. The error tells what is missing; the summary is valid
	// even then, and line says it in words.
	finish(sum *Transfer) (line string, err error)
	// keep saves for the next reception what this one got, if that was asked
	// for, and removes what was saved when it is no longer needed.
	keep() error
	io.Closer
}

func (o *recvOptions) run(cmd *cobra.Command) (err error) {
	switch {
	case o.wav != "" && o.device != "":
		return usage(errors.New("--wav and --device exclude each other"))
	case o.wav == "" && o.device == "":
		return usage(errors.New("--wav is missing: the WAV file to read, or - for standard input; or --device, to listen"))
	case o.device == "" && (cmd.Flags().Changed("server") || cmd.Flags().Changed("rate")):
		return usage(errors.New("--server and --rate go with --device"))
	case o.rate < 8000 || o.rate > 192000:
		return usage(fmt.Errorf("--rate %d: must be 8000 to 192000 Hz", o.rate))
	case o.raw != "" && cmd.Flags().Changed("profile"):
		return usage(errors.New("--profile and --raw exclude each other"))
	case o.raw != "" && o.resume != "":
		return usage(errors.New("--resume and --raw exclude each other: uncoded sound has no frames"))
	}
	out, err := newTarget(o.out)
	if err != nil {
		return fmt.Errorf("output: %w", err)
	}
	if out.is(o.wav) {
		return usage(fmt.Errorf("%s would overwrite the sound that is to be read", o.out))
	}
	if o.device != "" {
		return o.listen(cmd, out)
	}
	in, err := openInput(cmd.Context(), o.wav, cmd.InOrStdin())
	if err != nil {
		return err
	}
	defer in.Close()
	wav, err := audio.NewWAVReader(in)
	if err != nil {
		return fmt.Errorf("%s: %w", display(o.wav, "standard input"), err)
	}
	dec, channels, err := o.decoder(cmd, wav.Rate, wav.Channels, out)
	if err != nil {
		return err
	}
	defer dec.Close()
	defer func() { err = errors.Join(err, dec.keep()) }()
	wav.Pairs = channels == 2

	advance, erase := progress(cmd.ErrOrStderr(), "receiving", wav.Samples())
	defer erase()
	block := make([]float32, channels*int(readBlock*float64(wav.Rate)))
	for done := false; !done || wav.Samples() >= 0; {
		if err := cmd.Context().Err(); err != nil {
			return err
		}
		n, err := wav.Read(block)
		advance(n / channels)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("%s: %w", display(o.wav, "standard input"), err)
		}
		// After the file came whole the rest is only read, to learn whether the
		// WAV file is; what comes from a recorder may have no end.
		if !done {
			if done, err = dec.push(block[:n]); err != nil {
				return err
			}
		}
	}
	erase()
	return o.report(cmd, dec, wav.Rate)
}

// report ends the decoding and prints its summary.
func (o *recvOptions) report(cmd *cobra.Command, dec decoder, rate int) error {
	sum := Transfer{Rate: rate}
	line, failed := dec.finish(&sum)
	if failed != nil && !o.json {
		return failed
	}
	return errors.Join(failed, sum.report(cmd, o.json, o.out == standard, line))
}

// listen decodes what a sound device hears until the file is there.
func (o *recvOptions) listen(cmd *cobra.Command, out target) (err error) {
	d := soundDevice{device: o.device, server: o.server, station: "recv", rate: o.rate, latency: usualLatency}
	if err := d.check(); err != nil {
		return usage(err)
	}
	dec, channels, err := o.decoder(cmd, o.rate, maxChannels, out)
	if err != nil {
		return err
	}
	defer dec.Close()
	defer func() { err = errors.Join(err, dec.keep()) }()
	d.channels = channels
	stream, err := d.open(cmd.Context(), false, true)
	if err != nil {
		return fmt.Errorf("%s: %w", o.device, err)
	}
	defer stream.Close()
	// A Read that is blocked in the device ends only by this.
	defer context.AfterFunc(cmd.Context(), func() { stream.Close() })()
	show, erase := liveProgress(cmd.ErrOrStderr(), "listening", -1)
	defer erase()
	block := make([]float32, channels*int(readBlock*float64(o.rate)))
	silence := make([]float32, len(block))
	for {
		n, lost, err := stream.Read(block)
		if cmd.Context().Err() != nil {
			if o.raw != "" { // nothing but its listener tells when uncoded sound ends
				erase()
				return o.report(cmd, dec, o.rate)
			}
			return cmd.Context().Err()
		}
		if err != nil && n == 0 {
			return fmt.Errorf("%s: %w", o.device, err)
		}
		// Silence in the place of what the device has lost keeps a burst's timing.
		for lost = int64(channels) * min(lost, int64(o.rate)); lost > 0; lost -= int64(len(silence)) {
			if _, err := dec.push(silence[:min(lost, int64(len(silence)))]); err != nil {
				return err
			}
		}
		done, err := dec.push(block[:n])
		if err != nil {
			return err
		}
		show(n/channels, levelText(block[:n], true)+dec.progress())
		if done {
			erase()
			return o.report(cmd, dec, o.rate)
		}
	}
}

// decoder makes what the flags ask for, of sound at rate and in the given
// channels, and says how many of them it wants to be pushed: both or their mean.
func (o *recvOptions) decoder(cmd *cobra.Command, rate, has int, out target) (dec decoder, channels int, err error) {
	if o.raw != "" {
		raw, err := newRawDecoder(o.raw, rate, out, o.out, cmd.OutOrStdout())
		if err != nil {
			return nil, 0, err
		}
		return raw, 1, nil
	}
	// The modem works at the recording's own rate. Resampling the recording to
	// another could add nothing: what lies above half its rate is gone.
	m, err := audio.OpenModem(o.profile, rate)
	if err != nil {
		return nil, 0, usage(err)
	}
	if m.Channels() == 2 && has != 2 {
		return nil, 0, fmt.Errorf("%s is mono, and profile %s needs both channels: record it in stereo", display(o.wav, "standard input"), o.profile)
	}
	d := &frameDecoder{modem: m, target: out, stdout: cmd.OutOrStdout(), first: -1}
	d.receiver = oneway.NewReceiver(d.store)
	if o.resume == "" {
		return d, m.Channels(), nil
	}
	if d.resume, err = newTarget(o.resume); err != nil {
		return nil, 0, fmt.Errorf("--resume: %w", err)
	}
	if d.resume.path == "" || d.resume.is(o.wav) || d.resume.is(o.out) {
		return nil, 0, usage(fmt.Errorf("--resume %s: name a file of its own for what came so far", o.resume))
	}
	if err := d.restore(); err != nil {
		return nil, 0, err
	}
	return d, m.Channels(), nil
}

// restore goes on from what an earlier reception kept.
func (d *frameDecoder) restore() error {
	f, err := os.Open(d.resume.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("--resume: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil {
		err = d.receiver.Restore(f, info.Size())
	}
	if err != nil {
		return errors.Join(fmt.Errorf("--resume %s: %w; name another file", d.resume.path, err), d.receiver.Close())
	}
	d.file, _ = d.receiver.File()
	d.restored = d.receiver.Progress().Octets
	return nil
}

// keep implements decoder.
func (d *frameDecoder) keep() error {
	switch {
	case d.resume.path == "":
		return nil
	case d.delivered:
		if err := os.Remove(d.resume.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("the file is whole, but %w", err)
		}
		return nil
	}
	p, err := d.resume.create()
	if err != nil {
		return fmt.Errorf("--resume: %w", err)
	}
	defer p.Close()
	written, err := d.receiver.Save(p)
	if err == nil && written {
		var size int64
		if size, err = p.Seek(0, io.SeekCurrent); err == nil {
			_, err = p.commit(size, "")
		}
	}
	if err != nil {
		return fmt.Errorf("--resume: %w", err)
	}
	return nil
}

// frameDecoder receives by a profile's modem.
type frameDecoder struct {
	modem    *audio.Modem
	target   target
	stdout   io.Writer // for a direct target without a path
	receiver *oneway.Receiver
	file     *oneway.File
	err      error // of the receiver

	resume    target // where what came is kept; no path: nowhere
	restored  int64  // octets of the file that were kept from before
	delivered bool   // the file is where it is wanted

	pushed      int64 // samples, of two channels pairs, as everything below
	first, last int64 // samples: start of the first burst, end of the last; first is -1 before
	due         int64 // sample at which the burst in progress ends
	bursts      int
	missed      int
	mcs         modem.MCS
	snr         float64 // sum over rated bursts, dB
	rated       int
}

// store makes room for a transfer: in the folder of the target, so that a rename
// finishes it.
func (d *frameDecoder) store() (oneway.Store, error) {
	if d.target.direct {
		return unnamed()
	}
	return d.target.create()
}

// push implements decoder.
func (d *frameDecoder) push(samples []float32) (bool, error) {
	d.pushed += int64(len(samples) / d.modem.Channels())
	d.modem.Push(samples, d.event)
	return d.file != nil, d.err
}

func (d *frameDecoder) event(ev modem.Event) {
	switch ev.Kind {
	case modem.Announced:
		d.due = ev.End
	case modem.Missed:
		d.missed++
	case modem.Received:
		if d.file != nil || d.err != nil {
			return
		}
		if d.first < 0 {
			d.first = ev.Start
		}
		d.last, d.mcs = ev.End, ev.Burst.MCS
		d.bursts++
		if !math.IsNaN(ev.SNR) && !math.IsInf(ev.SNR, 0) {
			d.snr += ev.SNR
			d.rated++
		}
		d.err = d.receiver.HandleBurst(ev.Burst)
		d.file, _ = d.receiver.File()
	}
}

// progress implements decoder.
func (d *frameDecoder) progress() string {
	p := d.receiver.Progress()
	switch {
	case d.file != nil:
		return ", 100 % decoded"
	case p.Known:
		return fmt.Sprintf(", %.0f %% decoded", percent(p.Octets, p.Size))
	case d.bursts > 0:
		return fmt.Sprintf(", %d bursts heard", d.bursts)
	}
	return ""
}

// finish implements decoder.
func (d *frameDecoder) finish(sum *Transfer) (line string, err error) {
	sound := seconds(float64(d.pushed) / float64(d.modem.Rate))
	// A demodulator looks ahead: silence brings out what it still holds.
	silence := make([]float32, d.modem.Channels()*int(readBlock*float64(d.modem.Rate)))
	for end := max(d.pushed, d.due) + int64(flushAfter*float64(d.modem.Rate)); d.file == nil && d.pushed < end; end = max(end, d.due) {
		if _, err := d.push(silence); err != nil {
			return "", err
		}
	}
	p, stats := d.receiver.Progress(), d.receiver.Stats()
	sum.Octets, sum.Received, sum.Resumed = p.Size, p.Octets, d.restored
	sum.Profile, sum.MCS, sum.Bursts, sum.Missed = d.modem.Profile, int(d.mcs), d.bursts, d.missed
	sum.Failed, sum.Repaired = stats.FramesFailed, stats.Repaired
	if d.rated > 0 {
		mean := d.snr / float64(d.rated)
		sum.SNR = &mean
	}
	if d.first >= 0 {
		sum.timing(d.last - d.first)
	}
	if d.file == nil {
		return "", d.incomplete(p, stats, sound)
	}
	if sum.File, err = d.deliver(); err != nil {
		return "", fmt.Errorf("the file came whole, but cannot be written: %w", err)
	}
	sum.Complete, d.delivered = true, true
	sum.SHA256 = hex.EncodeToString(d.file.SHA256[:])
	return fmt.Sprintf("received %d octets in %s of sound to %s: %s, %d bursts, %.0f bit/s net, %d frames failed, %d repaired",
		sum.Octets, seconds(sum.Airtime), display(sum.File, "standard output"), fmt.Sprintf("%s mode %d", d.modem.Profile, d.mcs), sum.Bursts, sum.NetBPS, sum.Failed, sum.Repaired), nil
}

// deliver puts the whole file where it is wanted and returns its name.
func (d *frameDecoder) deliver() (string, error) {
	if p, ok := d.file.Store.(*partial); ok {
		return p.commit(d.file.Size, d.file.Name)
	}
	path, w := standard, d.stdout
	if d.target.path != "" {
		f, err := os.OpenFile(d.target.path, os.O_WRONLY, 0)
		if err != nil {
			return "", err
		}
		defer f.Close()
		path, w = d.target.path, f
	}
	_, err := io.Copy(w, io.NewSectionReader(d.file.Store, 0, d.file.Size))
	return path, err
}

// incomplete says how much came in so many seconds of sound, and what to do.
func (d *frameDecoder) incomplete(p oneway.Progress, stats oneway.Stats, sound string) error {
	switch {
	case p.Known && stats.Damaged > 0 && p.Frames == 0:
		return errors.New("the file came, but its SHA-256 does not agree: nothing was written; send it again")
	case p.Known:
		text := fmt.Sprintf("the file did not come whole: %d of %d octets (%.0f %%) are there", p.Octets, p.Size, percent(p.Octets, p.Size))
		if p.Gaps > 0 {
			text += ", missing are octets " + ranges(p)
		}
		text += fmt.Sprintf("; %d more frames are needed: ", p.Needed)
		if d.resume.path != "" {
			return fmt.Errorf("%swhat came is kept, receive another loop with --resume %s", text, d.resume.path)
		}
		return fmt.Errorf("%ssend with more --redundancy or --loops, or louder, or receive another loop with --resume", text)
	case stats.Foreign > 0:
		return fmt.Errorf("no file was received: %d bursts in %s of sound, none of a file transfer", d.bursts, sound)
	case d.bursts > 0 || d.missed > 0:
		return fmt.Errorf("no file was received: of %d bursts in %s of sound none could be read; is it too quiet, or clipped?", d.bursts+d.missed, sound)
	}
	err := fmt.Errorf("no file was received: no burst of profile %s in %s of sound", d.modem.Profile, sound)
	if all, openErr := audio.OpenModem(d.modem.Profile, tableRate); openErr == nil && len(all.Modes) > len(d.modem.Modes) {
		err = fmt.Errorf("%w; at %d Hz only its first %d modes can be heard", err, d.modem.Rate, len(d.modem.Modes))
	}
	return err
}

// Close implements decoder: it removes what was not delivered.
func (d *frameDecoder) Close() error {
	err := d.receiver.Close()
	if d.file != nil {
		err = errors.Join(err, d.file.Store.Close())
	}
	return err
}

// percent is rounded down, so that 100 % means all.
func percent(part, whole int64) float64 {
	if whole == 0 {
		return 0
	}
	return math.Floor(100 * float64(part) / float64(whole))
}

// ranges lists the first missing parts.
func ranges(p oneway.Progress) string {
	const shown = 4
	listed := p.Missing[:min(shown, len(p.Missing))]
	parts := make([]string, 0, shown)
	for _, r := range listed {
		parts = append(parts, fmt.Sprintf("%d–%d", r.From, r.To-1))
	}
	text := strings.Join(parts, ", ")
	if more := p.Gaps - len(parts); more > 0 {
		text += fmt.Sprintf(" and %d more parts", more)
	}
	return text
}
