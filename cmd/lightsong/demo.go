package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"
)

// medium is a simulated medium for the demo, with what is asked of it.
type medium struct {
	name   string
	about  string
	air    string // TOML of `lightsong sim`
	audio  string // TOML of the stations' [audio]
	light  bool   // two emulated boards instead of air
	uart   string // TOML of `lightsong sim --light`: two bare UARTs
	led    string // TOML of their [led]
	octets int    // of the file that is sent
}

var mediums = []medium{
	{
		name:  "air",
		about: "a room, RT60 0.3 s, direct-to-reverberant ratio +3 dB, SNR 20 dB, sample clocks 60 ppm apart, half duplex",
		air: `
[room]
rt60_s = 0.3
drr_db = 3.0
[station]
snr_db = 20.0
[stations.a]
skew_ppm = 30.0
[stations.b]
skew_ppm = -30.0
`,
		audio: `profile = "air"
duplex = "half"`,
		octets: 60000,
	},
	{
		name:  "cable",
		about: "an audio lead, SNR 60 dB, sample clocks 60 ppm apart, full duplex",
		air: `
[room]
rt60_s = 0.0
own_echo = false
[station]
snr_db = 60.0
speaker_clip_dbfs = inf # a line output does not compress
[stations.a]
skew_ppm = 30.0
[stations.b]
skew_ppm = -30.0
`,
		audio: `profile = "cable"
duplex = "full"`,
		octets: 500000,
	},
	{
		name:  "cable2",
		about: "an audio lead of two channels, crosstalk -40 dB, SNR 60 dB, sample clocks 60 ppm apart, full duplex",
		air: `
channels = 2
[room]
rt60_s = 0.0
own_echo = false
crosstalk_db = -40.0
[station]
snr_db = 60.0
speaker_clip_dbfs = inf
[stations.a]
skew_ppm = 30.0
[stations.b]
skew_ppm = -30.0
`,
		audio: `profile = "cable2"
duplex = "full"`,
		octets: 1000000,
	},
	lightMedium,
	uartMedium,
}

// side is one of the demo's two hosts.
type side struct {
	name    string
	v4, v6  string
	config  string
	control string
	process *process
}

// PingResult is what a run of ping measured.
type PingResult struct {
	From     string  `json:"from"`
	To       string  `json:"to"`
	Address  string  `json:"address"`
	Sent     int     `json:"sent"`
	Received int     `json:"received"`
	MinMS    float64 `json:"rtt_min_ms"`
	AvgMS    float64 `json:"rtt_avg_ms"`
	MaxMS    float64 `json:"rtt_max_ms"`
}

// TransferResult is what the transfer over TCP measured.
type TransferResult struct {
	From    string  `json:"from"`
	To      string  `json:"to"`
	Octets  int     `json:"octets"`
	Seconds float64 `json:"seconds"`
	BPS     float64 `json:"goodput_bps"`
	SHA256  string  `json:"sha256"`
	Exact   bool    `json:"exact"`
}

// StationResult is what a daemon says of its link at the end.
type StationResult struct {
	Name     string  `json:"name"`
	SNRdB    float64 `json:"snr_db"`
	MCS      int     `json:"mcs"`
	Frames   uint64  `json:"frames_received"`
	Failed   uint64  `json:"frames_failed"`
	Repaired uint64  `json:"frames_repaired"`
	Repeated uint64  `json:"frames_repeated"`
}

// DemoResult is what `demo --json` prints.
type DemoResult struct {
	Medium    string          `json:"medium"`
	About     string          `json:"about"`
	OK        bool            `json:"ok"`
	Why       string          `json:"why,omitempty"`
	LinkUpS   float64         `json:"link_up_s"`
	Boards    *BoardsResult   `json:"boards,omitempty"`
	Pings     []PingResult    `json:"pings"`
	Transfer  *TransferResult `json:"transfer,omitempty"`
	Stations  []StationResult `json:"stations"`
	DurationS float64         `json:"duration_s"`
}

func demoCommand() *cobra.Command {
	var (
		asJSON bool
		count  int
		keep   bool

		emulator string
		board    string
		octets   int
	)
	names := make([]string, len(mediums))
	about := new(strings.Builder)
	for i, m := range mediums {
		names[i] = m.name
		fmt.Fprintf(about, "  %-6s %s\n", m.name, m.about)
	}
	cmd := &cobra.Command{
		Use:   "demo [" + strings.Join(names, "|") + "]",
		Short: "Two hosts on one simulated medium: ping, a TCP transfer, a table",
		Long: `Make two hosts (network namespaces), each with the real daemon and a real tun0,
join them by one simulated medium, ping both ways over IPv4 and IPv6, send a file
over TCP and check it. The exit code is 0 only if all of it held.

The media:
` + about.String() + `
It needs no root where user namespaces are allowed.`,
		Example: `  lightsong demo
  lightsong demo cable --json | jq .transfer.goodput_bps`,
		ValidArgs: names,
		Args:      cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			chosen := mediums[0]
			if len(args) > 0 {
				found := false
				for _, m := range mediums {
					if m.name == args[0] {
						chosen, found = m, true
					}
				}
				if !found {
					return usageError{fmt.Errorf("medium %q does not exist: the media are %s", args[0], strings.Join(names, ", "))}
				}
			}
			if board != "" {
				if chosen.name != lightMedium.name || board != "uart" && board != "emulated" {
					return usageError{fmt.Errorf("--board %s: `demo light` knows \"emulated\" (the default) and \"uart\"", board)}
				}
				if board == "uart" {
					chosen = uartMedium
				}
			}
			if count < 1 {
				return usageError{fmt.Errorf("--count %d: at least one ping must be sent", count)}
			}
			if cmd.Flags().Changed("octets") {
				if octets < 1 {
					return usageError{fmt.Errorf("--octets %d: at least one must be sent", octets)}
				}
				chosen.octets = octets
			}
			if !mayMakeNamespaces() {
				code, err := reexecAsRoot(cmd.Context())
				if err == nil && code != 0 {
					os.Exit(code) // the child has said why
				}
				return err
			}
			d := &demo{
				medium: chosen, count: count, interval: "1", keep: keep, emulator: emulator, errs: cmd.ErrOrStderr(), started: time.Now(),
				result: DemoResult{Medium: chosen.name, About: chosen.about, Pings: []PingResult{}, Stations: []StationResult{}},
			}
			err := d.run(cmd.Context())
			d.result.OK = err == nil
			if err != nil {
				d.result.Why = err.Error()
			}
			d.result.DurationS = time.Since(d.started).Seconds()
			show := d.result.table
			if asJSON {
				show = func(w io.Writer) error { return writeJSON(w, d.result) }
			}
			return errors.Join(err, show(cmd.OutOrStdout()))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as a JSON object for programs")
	cmd.Flags().IntVar(&count, "count", 5, "pings in each direction and IP version")
	cmd.Flags().IntVar(&octets, "octets", 0, "size of the file that is sent over TCP (default: what suits the medium)")
	cmd.Flags().StringVar(&emulator, "emulator", "", "for light: the folder that `make -C firmware emu` has filled (default: firmware beside this program)")
	cmd.Flags().StringVar(&board, "board", "", "for light: \"emulated\" boards, or \"uart\", the same as `demo light-uart`")
	cmd.Flags().BoolVar(&keep, "keep", false, "keep the folder with configurations and logs")
	return cmd
}

// demo is one run.
type demo struct {
	medium   medium
	count    int
	interval string // between pings, seconds
	keep     bool
	errs     io.Writer
	started  time.Time
	result   DemoResult

	dir      string
	program  string              // that hosts and medium are processes of; empty: this one
	env      map[string][]string // of a process, by its name, beside our own
	emulator string              // program for boards, with the image beside it
	lightOn  time.Time           // when it began
	sim      *process
	sides    [2]*side
}

// say tells a person what goes on.
func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.errs, "%5.1f s  %s\n", time.Since(d.started).Seconds(), fmt.Sprintf(format, args...))
}

func (d *demo) run(ctx context.Context) (err error) {
	if _, err := exec.LookPath("ping"); err != nil {
		return errors.New("the program ping is missing: install Debian's package iputils-ping")
	}
	if d.dir, err = os.MkdirTemp("", "lightsong-demo-"); err != nil {
		return err
	}
	defer func() {
		stopErr := d.stop()
		if err == nil {
			err = stopErr
		}
		if err != nil && ctx.Err() == nil {
			d.showLogs()
		}
		if ctx.Err() != nil {
			err = errors.New("interrupted")
		}
		if d.keep {
			d.say("kept in %s", d.dir)
		} else if rmErr := os.RemoveAll(d.dir); err == nil {
			err = rmErr
		}
	}()
	d.say("%s: %s", d.medium.name, d.medium.about)
	if err := d.start(ctx); err != nil {
		return err
	}
	if err := d.waitForLink(ctx); err != nil {
		return err
	}
	for _, v6 := range []bool{false, true} {
		for i, from := range d.sides {
			if err := d.ping(ctx, from, d.sides[1-i], v6); err != nil {
				return err
			}
		}
	}
	if err := d.transfer(ctx); err != nil {
		return err
	}
	for _, s := range d.sides {
		status, err := askStatus(ctx, s.control)
		if err != nil {
			return err
		}
		d.result.Stations = append(d.result.Stations, stationResult(s.name, status))
	}
	if d.medium.light {
		d.result.Boards = &BoardsResult{TimeScale: float64(d.now()) / float64(time.Since(d.lightOn))}
	}
	return d.verdict()
}

// verdict is nil only if all of it held.
func (d *demo) verdict() error {
	for _, p := range d.result.Pings {
		if p.Received != p.Sent {
			return fmt.Errorf("ping %s → %s (%s): %d of %d came back", p.From, p.To, p.Address, p.Received, p.Sent)
		}
	}
	if !d.result.Transfer.Exact {
		return errors.New("the file arrived damaged")
	}
	return nil
}

// start writes the configurations and starts the medium and both hosts.
func (d *demo) start(ctx context.Context) error {
	if d.medium.light {
		return d.startLight(ctx)
	}
	if d.medium.uart != "" {
		return d.startUART(ctx)
	}
	socket := filepath.Join(d.dir, "air.sock")
	air := fmt.Sprintf("socket = %q\nseed = 1\n%s", socket, d.medium.air)
	airPath := filepath.Join(d.dir, "air.toml")
	if err := os.WriteFile(airPath, []byte(air), 0o644); err != nil {
		return err
	}
	var err error
	if d.sim, err = d.spawn(ctx, "sim", 0, "sim", "-c", airPath); err != nil {
		return err
	}
	return d.startHosts(ctx, func(int) string { return fmt.Sprintf("[audio]\ndevice = \"air:%s\"\n%s", socket, d.medium.audio) })
}

// startHosts starts the two daemons, each in a network namespace of its own;
// device is the TOML of each one's medium, [audio] or [led].
func (d *demo) startHosts(ctx context.Context, device func(i int) string) (err error) {
	if err := d.writeHosts(device); err != nil {
		return err
	}
	for _, s := range d.sides {
		if s.process, err = d.spawn(ctx, s.name, syscall.CLONE_NEWNET, "up", "-c", s.config); err != nil {
			return err
		}
	}
	return nil
}

// writeHosts writes the configurations of the two daemons.
func (d *demo) writeHosts(device func(i int) string) error {
	for i, name := range []string{"a", "b"} {
		s := &side{
			name:    name,
			v4:      fmt.Sprintf("10.73.0.%d", i+1),
			v6:      fmt.Sprintf("fd73::%d", i+1),
			config:  filepath.Join(d.dir, name+".toml"),
			control: filepath.Join(d.dir, name+".sock"),
		}
		config := fmt.Sprintf(`[station]
name = %q
[tun]
name = "tun0"
addresses = ["%s/24", "%s/64"]
%s
[control]
socket = %q
`, s.name, s.v4, s.v6, device(i), s.control)
		if err := os.WriteFile(s.config, []byte(config), 0o644); err != nil {
			return err
		}
		d.sides[i] = s
	}
	return nil
}

// process is a child: a daemon or the simulated medium.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{}
	err  error // how it ended; valid after done
}

// spawn starts this program, or the demo's own, with the given arguments; what it
// says goes to a log.
func (d *demo) spawn(ctx context.Context, name string, cloneflags uintptr, args ...string) (*process, error) {
	program := "/proc/self/exe"
	if d.program != "" {
		program = d.program
	}
	return d.spawnProgram(ctx, name, cloneflags, program, args...)
}

func (d *demo) spawnProgram(ctx context.Context, name string, cloneflags uintptr, program string, args ...string) (*process, error) {
	log, err := os.Create(d.logOf(name))
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own
	cmd := exec.CommandContext(ctx, program, args...)
	if extra := d.env[name]; extra != nil {
		cmd.Env = append(os.Environ(), extra...)
	}
	if _, err := cmd.StdinPipe(); err != nil { // it breaks when we are gone, which ends the emulator
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: cloneflags, Setpgid: true}
	if err := cmd.Start(); err != nil {
		if errors.Is(err, syscall.EPERM) {
			return nil, fmt.Errorf("this system lets us make no network namespace (%w): run as root", err)
		}
		return nil, err
	}
	p := &process{name: name, cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// pid of the process.
func (p *process) pid() int { return p.cmd.Process.Pid }

// end asks the process to end and says if it did not end cleanly.
func (p *process) end() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.done
	if p.err != nil {
		return fmt.Errorf("%s: %w", p.name, p.err)
	}
	return nil
}

// ended is whether the process is over.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (d *demo) logOf(name string) string { return filepath.Join(d.dir, name+".log") }

// processes are the children that run, the medium last.
func (d *demo) processes() []*process {
	var list []*process
	for _, s := range d.sides {
		if s != nil && s.process != nil {
			list = append(list, s.process)
		}
	}
	if d.sim != nil {
		list = append(list, d.sim)
	}
	return list
}

// stop ends hosts and medium and says if one of them did not end cleanly.
func (d *demo) stop() error {
	children := d.processes()
	errs := make([]error, 0, len(children))
	for _, p := range children {
		errs = append(errs, p.end())
	}
	return errors.Join(errs...)
}

// showLogs prints the end of what the processes said.
func (d *demo) showLogs() {
	for _, name := range []string{"sim", "a", "b"} {
		text, err := os.ReadFile(d.logOf(name))
		if err != nil || len(text) == 0 {
			continue
		}
		lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
		fmt.Fprintf(d.errs, "--- last words of %s\n%s\n", name, strings.Join(lines[max(0, len(lines)-10):], "\n"))
	}
}

func (d *demo) waitForLink(ctx context.Context) error {
	const patience = 60 * time.Second
	d.say("waiting for the link")
	deadline := time.Now().Add(patience)
	for {
		up := 0
		for _, s := range d.sides {
			if status, err := askStatus(ctx, s.control); err == nil && status.Link.Up && s.running() {
				up++
			}
		}
		if up == len(d.sides) {
			d.result.LinkUpS = time.Since(d.started).Seconds()
			d.say("link up")
			return nil
		}
		for _, p := range d.processes() {
			if p.ended() {
				return fmt.Errorf("%s ended too early; its last words are above", p.name)
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the stations did not hear each other within %v", patience)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// running is whether the host's interface has its carrier: the kernel takes a
// moment after the daemon has switched it on, and drops packets until then.
func (s *side) running() bool {
	up := false
	err := inNetworkOf(s.process.pid(), func() error {
		link, err := netlink.LinkByName("tun0")
		up = err == nil && link.Attrs().RawFlags&syscall.IFF_RUNNING != 0
		return err
	})
	return err == nil && up
}

var (
	pingReply   = regexp.MustCompile(`icmp_seq=(\d+).* time=([\d.]+) ms`)
	pingSummary = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)
	pingTimes   = regexp.MustCompile(`= ([\d.]+)/([\d.]+)/([\d.]+)/`)
)

// ping runs the system's ping from one host to the other.
func (d *demo) ping(ctx context.Context, from, to *side, v6 bool) error {
	address := to.v4
	if v6 {
		address = to.v6
	}
	r := PingResult{From: from.name, To: to.name, Address: address}
	scale := d.timeScale()
	out, errs := new(bytes.Buffer), new(bytes.Buffer)
	err := inNetworkOf(from.process.pid(), func() error {
		cmd := exec.CommandContext(ctx, "ping", "-n", "-c", strconv.Itoa(d.count), "-i", d.interval, "-W", "20", address)
		cmd.Env = append(os.Environ(), "LC_ALL=C")
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		cmd.WaitDelay = 5 * time.Second
		cmd.Stderr = errs
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		for lines := bufio.NewScanner(pipe); lines.Scan(); {
			fmt.Fprintln(out, lines.Text())
			if m := pingReply.FindStringSubmatch(lines.Text()); m != nil {
				d.say("ping %s → %s  %s  %s of %d  %s ms", from.name, to.name, address, m[1], d.count, m[2])
			}
		}
		err = cmd.Wait()
		if exit := new(exec.ExitError); errors.As(err, &exit) && exit.ExitCode() == 1 {
			return nil // no reply: the summary says so
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("ping %s → %s: %w: %s", from.name, to.name, err, bytes.TrimSpace(errs.Bytes()))
	}
	sent := pingSummary.FindStringSubmatch(out.String())
	if sent == nil {
		return fmt.Errorf("ping %s → %s said nothing that can be read: %q", from.name, to.name, out.Bytes())
	}
	r.Sent, _ = strconv.Atoi(sent[1])
	r.Received, _ = strconv.Atoi(sent[2])
	if times := pingTimes.FindStringSubmatch(out.String()); times != nil {
		r.MinMS, _ = strconv.ParseFloat(times[1], 64)
		r.AvgMS, _ = strconv.ParseFloat(times[2], 64)
		r.MaxMS, _ = strconv.ParseFloat(times[3], 64)
		by := scale()
		r.MinMS, r.AvgMS, r.MaxMS = r.MinMS*by, r.AvgMS*by, r.MaxMS*by
	}
	d.result.Pings = append(d.result.Pings, r)
	return nil
}

// transfer sends a file of random octets from a to b over TCP and compares its
// SHA-256 on the other side.
func (d *demo) transfer(ctx context.Context) error {
	const patience = 2 * time.Minute // without an octet; a busy machine may be slow
	from, to := d.sides[0], d.sides[1]
	var seed [32]byte
	file := make([]byte, d.medium.octets)
	if _, err := rand.NewChaCha8(seed).Read(file); err != nil {
		return err
	}
	want := sha256.Sum256(file)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watch := time.AfterFunc(patience, cancel)
	defer watch.Stop()
	listener, err := listenTCP(ctx, to.process.pid(), net.JoinHostPort(to.v4, "7300"))
	if err != nil {
		return err
	}
	defer listener.Close()
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()

	d.say("TCP %s → %s  %d octets", from.name, to.name, len(file))
	bar := transferBar(d.errs, int64(len(file)))
	hash := sha256.New()
	began := d.now()
	var received int64
	var group errgroup.Group
	group.Go(func() error {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { conn.Close() })()
		received, err = io.Copy(io.MultiWriter(hash, bar, pulse(func() { watch.Reset(patience) })), conn)
		return err
	})
	group.Go(func() error {
		conn, err := dialTCP(ctx, from.process.pid(), listener.Addr().String())
		if err != nil {
			listener.Close()
			return err
		}
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { conn.Close() })()
		_, err = conn.Write(file)
		return err
	})
	err = group.Wait()
	took := d.now() - began
	err = errors.Join(err, bar.Finish())
	if ctx.Err() != nil && err != nil {
		return fmt.Errorf("%d of %d octets of the file came, and none for %v", received, len(file), patience)
	}
	if err != nil {
		return fmt.Errorf("TCP transfer: %w", err)
	}
	got := hash.Sum(nil)
	d.result.Transfer = &TransferResult{
		From: from.name, To: to.name, Octets: int(received), Seconds: took.Seconds(),
		BPS: float64(8*received) / took.Seconds(), SHA256: fmt.Sprintf("%x", got), Exact: bytes.Equal(got, want[:]),
	}
	d.say("TCP %s → %s  done, %.0f bit/s", from.name, to.name, d.result.Transfer.BPS)
	return nil
}

// pulse is a writer that only tells that something was written.
type pulse func()

func (f pulse) Write(p []byte) (int, error) {
	f()
	return len(p), nil
}

// transferBar shows progress on a terminal and is silent elsewhere.
func transferBar(w io.Writer, octets int64) *progressbar.ProgressBar {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return progressbar.DefaultBytesSilent(octets)
	}
	return progressbar.NewOptions64(octets, progressbar.OptionSetWriter(w), progressbar.OptionShowBytes(true),
		progressbar.OptionSetDescription("         "), progressbar.OptionClearOnFinish(), progressbar.OptionSetWidth(30))
}

// table prints the result for a person.
func (r DemoResult) table(out io.Writer) error {
	if len(r.Pings) == 0 {
		return nil // nothing was measured; the error tells why
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\nping\tRTT min\tavg\tmax\tloss\n")
	for _, p := range r.Pings {
		fmt.Fprintf(w, "%s → %s %s\t%.0f ms\t%.0f ms\t%.0f ms\t%.0f %%\n", p.From, p.To, p.Address,
			p.MinMS, p.AvgMS, p.MaxMS, 100*float64(p.Sent-p.Received)/float64(max(p.Sent, 1)))
	}
	if t := r.Transfer; t != nil {
		exact := "exact"
		if !t.Exact {
			exact = "DAMAGED"
		}
		fmt.Fprintf(w, "\nTCP\toctets\ttime\tgoodput\tSHA-256\n")
		fmt.Fprintf(w, "%s → %s\t%d\t%.1f s\t%.0f bit/s\t%s\n", t.From, t.To, t.Octets, t.Seconds, t.BPS, exact)
	}
	if len(r.Stations) > 0 {
		fmt.Fprintf(w, "\nstation\tSNR (echo is noise)\tMCS\tframes heard\trepaired\trepeated\n")
		for _, s := range r.Stations {
			fmt.Fprintf(w, "%s\t%.1f dB\t%d\t%d\t%d\t%d\n", s.Name, s.SNRdB, s.MCS, s.Frames, s.Repaired, s.Repeated)
		}
	}
	if b := r.Boards; b != nil {
		fmt.Fprintf(w, "\nTimes of ping and TCP are the emulated boards' own, which ran at %.2f of real time.\n", b.TimeScale)
	}
	fmt.Fprintf(w, "\nlink up after %.1f s, all in %.1f s\n", r.LinkUpS, r.DurationS)
	return w.Flush()
}
