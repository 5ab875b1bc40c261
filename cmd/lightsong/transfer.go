package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"lightsong/link/oneway"
)

// What send and recv share: where octets come from and go to, and what a person
// sees meanwhile.

// standard stands for standard input or output in place of a file's name.
const standard = "-"

// Transfer is the summary of a send or recv, for people and programs.
type Transfer struct {
	File     string   `json:"file"`             // read by send, written by recv; empty: none was written
	Octets   int64    `json:"octets"`           // of the file
	Received int64    `json:"received_octets"`  // recv: of these, how many came
	Resumed  int64    `json:"resumed_octets"`   // recv: of these, how many an earlier reception had kept
	SHA256   string   `json:"sha256,omitempty"` // of the file, hexadecimal
	Complete bool     `json:"complete"`         // recv: the SHA-256 agrees
	Profile  string   `json:"profile"`          // or the uncoded mode
	MCS      int      `json:"mcs"`              // recv: of the last burst
	Bursts   int      `json:"bursts"`           // send: of all loops; recv: with a readable header
	Missed   int      `json:"bursts_missed"`    // recv: begun, but without a readable header
	Failed   int      `json:"frames_failed"`    // recv: failed their check
	Repaired int      `json:"frames_repaired"`  // recv: rebuilt from parity
	SNR      *float64 `json:"snr_db,omitempty"` // recv: mean over the bursts, in the whole band
	Airtime  float64  `json:"airtime_s"`        // from the first burst's start to the last one's end
	NetBPS   float64  `json:"net_bps"`          // bits of the file per second of that
	Rate     int      `json:"rate_hz"`          // of the WAV file
}

// timing sets air time and net bit rate from the samples between the first
// burst's start and the last one's end.
func (t *Transfer) timing(samples int64) {
	t.Airtime = float64(samples) / float64(t.Rate)
	if samples > 0 {
		t.NetBPS = 8 * float64(t.Received-t.Resumed) / t.Airtime
	}
}

// report prints the summary: one line for a person on standard error, or JSON on
// standard output unless that carries the octets of the transfer.
func (t *Transfer) report(cmd *cobra.Command, asJSON, stdoutTaken bool, line string) error {
	switch {
	case !asJSON:
		_, err := fmt.Fprintln(cmd.ErrOrStderr(), line)
		return err
	case stdoutTaken:
		return writeJSON(cmd.ErrOrStderr(), t)
	}
	return writeJSON(cmd.OutOrStdout(), t)
}

// seconds prints a duration of sound for a person.
func seconds(s float64) string {
	if s < 100 {
		return fmt.Sprintf("%.2f s", s)
	}
	return time.Duration(s * float64(time.Second)).Round(time.Second).String()
}

// progress is a bar on stderr if that is a terminal, else nothing that is seen. A
// total of -1 is not known. A bar that cannot be drawn is no reason to fail.
func progress(stderr io.Writer, what string, total int64) (advance func(n int), erase func()) {
	bar, _ := newProgress(stderr, what, total)
	return func(n int) { _ = bar.Add(n) }, func() { _ = bar.Clear() }
}

func newProgress(stderr io.Writer, what string, total int64) (bar *progressbar.ProgressBar, seen bool) {
	f, ok := stderr.(*os.File)
	seen = ok && term.IsTerminal(int(f.Fd()))
	return progressbar.NewOptions64(total,
		progressbar.OptionSetVisibility(seen),
		progressbar.OptionSetWriter(stderr),
		progressbar.OptionSetDescription(what),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionFullWidth(),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionSetSpinnerChangeInterval(0), // no goroutine behind our back
	), seen
}

// liveProgress is progress with a text that changes, about the n samples that
// are reported with it.
func liveProgress(stderr io.Writer, what string, total int64) (show func(n int, text string), erase func()) {
	bar, seen := newProgress(stderr, what, total)
	return func(n int, text string) {
		if seen && text != "" {
			bar.Describe(what + " " + text)
		}
		_ = bar.Add(n)
	}, func() { _ = bar.Clear() }
}

// levelText is the peak of samples for a person; clipping is said. It is empty
// if there is no device of which to set the volume.
func levelText(samples []float32, device bool) string {
	if !device {
		return ""
	}
	var peak float32
	for _, v := range samples {
		peak = max(peak, v, -v)
	}
	switch {
	case peak >= 0.999:
		return "peak   0 dBFS: CLIPPED, turn it down"
	case peak < 1e-5:
		return "peak silent  "
	}
	return fmt.Sprintf("peak %3.0f dBFS", 20*math.Log10(float64(peak)))
}

// interruptible ends a Read when ctx ends, which a Read of a pipe or terminal
// does not do by itself. The read that was under way is abandoned: the program
// is about to end.
type interruptible struct {
	ctx  context.Context
	r    io.Reader
	rest []byte // read, but not handed out
	err  error  // after rest
}

func (i *interruptible) Read(p []byte) (int, error) {
	type result struct {
		octets []byte
		err    error
	}
	if len(i.rest) == 0 && i.err == nil {
		done := make(chan result, 1)
		go func() {
			buf := make([]byte, 64<<10)
			n, err := i.r.Read(buf)
			done <- result{buf[:n], err}
		}()
		select {
		case r := <-done:
			i.rest, i.err = r.octets, r.err
		case <-i.ctx.Done():
			i.err = i.ctx.Err()
		}
	}
	n := copy(p, i.rest)
	i.rest = i.rest[n:]
	if n == 0 && len(p) > 0 {
		return 0, i.err
	}
	return n, nil
}

// openInput opens a file, or standard input for "-". A file that is not a
// regular one, and standard input, reads interruptibly.
func openInput(ctx context.Context, path string, stdin io.Reader) (io.ReadCloser, error) {
	if path == standard {
		return io.NopCloser(&interruptible{ctx: ctx, r: stdin}), nil
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, fmt.Errorf("%s is a folder, not a file", path)
	case info.Mode().IsRegular():
		return os.Open(path)
	}
	// Opening a named pipe waits for its other end.
	type opened struct {
		f   *os.File
		err error
	}
	done := make(chan opened, 1)
	go func() {
		f, err := os.Open(path)
		done <- opened{f, err}
	}()
	select {
	case o := <-done:
		if o.err != nil {
			return nil, o.err
		}
		return struct {
			io.Reader
			io.Closer
		}{&interruptible{ctx: ctx, r: o.f}, o.f}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// unnamed makes a temporary file that is gone with its last descriptor, however
// the program ends.
func unnamed() (*os.File, error) {
	f, err := os.CreateTemp("", "lightsong-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// target is where a command writes its file.
type target struct {
	path   string      // of the file; empty: its name comes with it
	folder string      // of the temporary file
	mode   fs.FileMode // of the file that will be replaced; 0: none is there
	direct bool        // standard output, a device or a pipe: written to as it is
}

// newTarget looks at path before anything is done. A folder, or "", means that
// the file's name is not known yet.
func newTarget(path string) (target, error) {
	switch path {
	case "":
		return target{folder: "."}, nil
	case standard:
		return target{direct: true}, nil
	}
	// A symbolic link stays, what it points to is replaced.
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		path = resolved
	}
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return target{folder: path}, nil
	case err == nil && !info.Mode().IsRegular():
		return target{path: path, direct: true}, nil
	case err == nil:
		return target{path: path, folder: filepath.Dir(path), mode: info.Mode().Perm()}, nil
	case !errors.Is(err, fs.ErrNotExist):
		return target{}, err
	case strings.HasSuffix(path, string(filepath.Separator)):
		return target{}, fmt.Errorf("folder %s does not exist", path)
	}
	folder := filepath.Dir(path)
	if info, err := os.Stat(folder); err != nil {
		return target{}, fmt.Errorf("folder %s does not exist", folder)
	} else if !info.IsDir() {
		return target{}, fmt.Errorf("%s is not a folder", folder)
	}
	return target{path: path, folder: folder}, nil
}

// is tells whether the target is the file at path: writing would destroy what is
// being read.
func (t target) is(path string) bool {
	if t.direct || path == standard {
		return false
	}
	a, errA := os.Stat(t.path)
	b, errB := os.Stat(path)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// partial is a file on its way: under a temporary name in the folder of the
// target until commit, gone after Close.
type partial struct {
	*os.File
	target target
	done   bool
}

// create makes the temporary file.
func (t target) create() (*partial, error) {
	for try := range 1000 {
		name := filepath.Join(t.folder, fmt.Sprintf(".lightsong-%d-%d.part", os.Getpid(), try))
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
		if err == nil {
			return &partial{File: f, target: t}, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("folder %s is full of unfinished files of lightsong", t.folder)
}

// commit gives the file its length and its name and returns the name. name is
// used if the target has none; it came from elsewhere, so it never replaces a
// file: a number is added to it.
func (p *partial) commit(size int64, name string) (string, error) {
	if err := p.Truncate(size); err != nil {
		return "", err
	}
	if p.target.mode != 0 {
		if err := p.Chmod(p.target.mode); err != nil {
			return "", err
		}
	}
	if err := p.Sync(); err != nil {
		return "", err
	}
	path := p.target.path
	if path == "" {
		var err error
		if path, err = unusedName(p.target.folder, name); err != nil {
			return "", err
		}
	}
	if err := os.Rename(p.Name(), path); err != nil {
		return "", err
	}
	p.done = true
	// Without this a power failure could take the name back. Some file systems
	// cannot do it for a folder; the file is there all the same.
	if folder, err := os.Open(p.target.folder); err == nil {
		_ = folder.Sync()
		_ = folder.Close()
	}
	return path, nil
}

// Close removes the file unless it was committed.
func (p *partial) Close() error {
	err := p.File.Close()
	if p.done {
		return err
	}
	return errors.Join(err, os.Remove(p.Name()))
}

// unusedName is name, or name-1, name-2 … with the extension kept, in a folder
// that has no such file.
func unusedName(folder, name string) (string, error) {
	ext := filepath.Ext(name)
	stem := strings.TrimSuffix(name, ext)
	for n := range 1000 {
		if n > 0 {
			number := fmt.Sprintf("-%d", n)
			if len(stem)+len(number)+len(ext) > oneway.MaxName {
				stem = strings.ToValidUTF8(stem[:max(0, oneway.MaxName-len(number)-len(ext))], "")
			}
			name = stem + number + ext
		}
		path := filepath.Join(folder, name)
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			return path, nil
		} else if err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("%s and 999 more of that name exist already in %s: give another with -o", name, folder)
}

// output is a stream to a target or to standard output.
type output struct {
	*bufio.Writer
	stdout bool
	file   *os.File // a device or pipe
	part   *partial // a regular file
}

// openOutput begins to write a file, or standard output for "-".
func openOutput(t target, path string, stdout io.Writer) (*output, error) {
	const buffered = 64 << 10
	switch {
	case path == standard:
		return &output{Writer: bufio.NewWriterSize(stdout, buffered), stdout: true}, nil
	case t.direct:
		f, err := os.OpenFile(t.path, os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		return &output{Writer: bufio.NewWriterSize(f, buffered), file: f}, nil
	}
	p, err := t.create()
	if err != nil {
		return nil, err
	}
	return &output{Writer: bufio.NewWriterSize(p, buffered), part: p}, nil
}

// commit ends the stream well and returns the name of what was written, "-" for
// standard output. size is the number of octets written; name is used if the
// target has none.
func (o *output) commit(size int64, name string) (string, error) {
	if err := o.Flush(); err != nil {
		return "", err
	}
	switch {
	case o.part != nil:
		return o.part.commit(size, name)
	case o.file != nil:
		return o.file.Name(), nil
	}
	return standard, nil
}

// Close ends the stream; what was not committed is removed.
func (o *output) Close() error {
	switch {
	case o.part != nil:
		return o.part.Close()
	case o.file != nil:
		return o.file.Close()
	}
	return nil
}

// interrupted makes a sentence of the end of ctx.
func interrupted(err error) error {
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted: no file was written")
	}
	return err
}

// display is a path for a person.
func display(path, ifStandard string) string {
	if path == standard {
		return ifStandard
	}
	return path
}

// usage marks an error as a wrong call.
func usage(err error) error {
	if err == nil {
		return nil
	}
	return usageError{err}
}
