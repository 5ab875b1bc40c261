package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/metrics"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"lightsong/link"
)

// Status is what a daemon answers on its control socket.
type Status struct {
	Version    string     `json:"version"`
	Interface  string     `json:"interface"`
	Profile    string     `json:"profile"`
	Device     string     `json:"device"`
	Medium     bool       `json:"medium"`          // the device is open
	Opened     int        `json:"opened"`          // how many times it was
	Fault      string     `json:"fault,omitempty"` // why it was closed the last time
	LatencyMS  float64    `json:"latency_ms"`      // of sound, from playing to hearing: as measured, or as the configuration or the device says
	Measured   bool       `json:"latency_measured"`
	Split      int64      `json:"split_bursts"`   // by a sound card that ran out of samples in the middle
	Deaf       string     `json:"deaf,omitempty"` // why nothing can be read of what is heard, if that is so
	Goroutines int        `json:"goroutines"`
	HeapOctets uint64     `json:"heap_octets"` // alive at the last garbage collection
	Link       link.Stats `json:"link"`
}

// statusOf asks the running link, if there is one.
func statusOf(ctx context.Context, c *upConfig, state *carrying) Status {
	s := Status{Version: version, Interface: c.Tun.Name, Profile: c.Audio.Profile, Device: c.Audio.Device}
	if c.usesLed() {
		s.Profile, s.Device = "led", c.Led.Board
		if c.Led.bareUART() {
			s.Profile = "u6"
		}
	}
	s.Goroutines, s.HeapOctets = runtime.NumGoroutine(), heapLive()
	s.Link.Station = c.Station.Name
	runner := state.runner.Load()
	if runner == nil {
		return s
	}
	var fault error
	if board := state.board.Load(); board != nil {
		s.Medium, s.Opened, fault = board.State()
	} else if uart := state.uart.Load(); uart != nil {
		s.Medium, s.Opened, fault = uart.State()
	} else if stream := state.stream.Load(); stream != nil {
		s.Medium, s.Opened, fault = stream.State()
		if p := state.sound.Load(); p != nil {
			var in, out time.Duration
			in, out, s.Measured = p.Latency()
			s.LatencyMS = float64(in+out) / float64(time.Millisecond)
		}
		_, s.Split = stream.Counts()
		if why := state.deaf.Load(); why != nil {
			s.Deaf = *why
		}
	}
	if fault != nil {
		s.Fault = fault.Error()
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if stats, err := runner.Stats(ctx); err == nil {
		s.Link = stats
	}
	return s
}

// heapLive is what the last garbage collection has found to be in use, octets.
func heapLive() uint64 {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	if live[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return live[0].Value.Uint64()
}

// stationResult is what the demo's table shows of a station.
func stationResult(name string, s Status) StationResult {
	r := StationResult{
		Name: name, Frames: s.Link.Frames.Received, Failed: s.Link.Frames.Failed,
		Repaired: s.Link.Frames.Repaired, Repeated: s.Link.Frames.Repeated,
	}
	for _, p := range s.Link.Peers {
		if p.SNR != nil {
			r.SNRdB = *p.SNR
		}
		r.MCS = int(p.MCSOut)
	}
	return r
}

func statusCommand() *cobra.Command {
	var (
		name, socket  string
		asJSON, watch bool
		every         time.Duration
		samples       int
	)
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Ask the daemon how its link is",
		Long: `Ask the daemon how its link is. With --watch again and again: on a terminal the
table is drawn anew in place, into a pipe or a file goes a line for every peer. Rates
and shares of airtime are those of the time between two looks.`,
		Example: `  lightsong status
  lightsong status --watch
  lightsong status --watch --json | jq -c '.peers[] | [.name, .out_bps]'
  lightsong status --tun tun1 --json | jq '.link.peers[].snr_db'`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if socket == "" {
				socket = controlSocket(name)
			}
			if every < shortestWatch {
				return usageError{fmt.Errorf("--interval %v: at least %v", every, shortestWatch)}
			}
			if watch {
				w := watcher{socket: socket, every: every, samples: samples, asJSON: asJSON, out: cmd.OutOrStdout()}
				return w.run(cmd.Context())
			}
			s, err := askStatus(cmd.Context(), socket)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), s)
			}
			return s.print(cmd.OutOrStdout(), time.Now())
		},
	}
	cmd.Flags().StringVar(&name, "tun", "tun0", "interface of the daemon")
	cmd.Flags().StringVar(&socket, "control", "", "control socket of the daemon (default: that of --tun)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object for programs; with --watch one on each line")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "look again and again, until interrupted")
	cmd.Flags().DurationVar(&every, "interval", time.Second, "with --watch: time between two looks")
	cmd.Flags().IntVar(&samples, "count", 0, "with --watch: end after so many looks (0: never)")
	return cmd
}

// state is that of the link in words.
func (s Status) state() string {
	switch {
	case !s.Medium:
		return "no medium: the device cannot be opened; the daemon tries again"
	case s.Link.Up:
		return "up"
	}
	return "no peer"
}

// peerName is what a person calls a peer.
func peerName(p *link.PeerStats) string {
	if p.Name == "" {
		return fmt.Sprintf("%#04x", p.Address)
	}
	return p.Name
}

// print shows the status to a person.
func (s Status) print(out io.Writer, now time.Time) error {
	l := s.Link
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "link\t%s\n", s.state())
	if s.Deaf != "" {
		fmt.Fprintf(w, "hearing\tthe station %s\n", s.Deaf)
	}
	fmt.Fprintf(w, "station\t%s (address %#04x)\n", l.Station, l.Address)
	fmt.Fprintf(w, "interface\t%s\n", s.Interface)
	fmt.Fprintf(w, "medium\t%s, profile %s\n", s.Device, s.Profile)
	if l.Standstill >= time.Second {
		fmt.Fprintf(w, "standstill\t%s for which the medium stopped or was slower than this machine's clock\n", round(l.Standstill))
	}
	fmt.Fprintf(w, "airtime\tsent %s, busy %s\n", round(l.Airtime.Sent), round(l.Airtime.Busy))
	if words := senseWords(&l); words != "" {
		fmt.Fprintf(w, "carrier\tsense %s\n", words)
	}
	for _, x := range l.Airtime.Limits {
		fmt.Fprintf(w, "limit\t%s of %s in any %s used, answers withheld %d\n", round(x.Used), round(x.Most), x.Within, l.Airtime.Withheld)
	}
	fmt.Fprintf(w, "bursts\tsent %d, received %d, missed %d, unanswered %d\n", l.Bursts.Sent, l.Bursts.Received, l.Bursts.Missed, l.Bursts.Silence)
	fmt.Fprintf(w, "frames\tsent %d, received %d, failed %d, repaired %d, repeated %d\n", l.Frames.Sent, l.Frames.Received, l.Frames.Failed, l.Frames.Repaired, l.Frames.Repeated)
	fmt.Fprintf(w, "packets\tin %d, out %d, waiting %d (%d octets)\n", l.Packets.In, l.Packets.Out, l.Queue.Packets, l.Queue.Octets)
	fmt.Fprintf(w, "queue\tmarked %d, dropped %d, overflowed %d, acknowledgements thinned %d, repetitions held %d, windows lowered %d\n",
		l.Queue.Marked, l.Queue.Dropped, l.Packets.Dropped.QueueFull, l.Queue.Thinned, l.Queue.Repeated, l.Queue.Windows)
	fmt.Fprintf(w, "headers\t%d compressed, %d whole, %d flows, %d of %d octets saved, resyncs %d, lost %d\n",
		l.Headers.Compressed, l.Headers.Full, l.Headers.Contexts, int64(l.Headers.In)-int64(l.Headers.Out), l.Headers.In, l.Headers.Resyncs, l.Headers.Lost)
	fmt.Fprintf(w, "content\t%d packets compressed, %d of %d octets saved\n", l.Payload.Compressed, int64(l.Payload.In)-int64(l.Payload.Out), l.Payload.In)
	if len(l.Peers) > 0 {
		fmt.Fprintf(w, "\npeer\tstate\theard\tSNR here/there\tMCS out/in\tloss here/there\twaiting/flows\taddresses\n")
	}
	for _, p := range l.Peers {
		addresses := make([]string, len(p.Addresses))
		for i, a := range p.Addresses {
			addresses[i] = a.Addr().String()
		}
		fmt.Fprintf(w, "%s\t%s\t%s ago\t%s/%s dB\t%d/%d\t%.0f/%.0f %%\t%d B/%d\t%s\n", peerName(&p), p.State, round(now.Sub(p.LastHeard)),
			decibels(p.SNR), decibels(p.SNRThere), p.MCSOut, p.MCSIn, 100*p.Loss, 100*p.LossThere, p.Queue.Octets, p.Queue.Flows, strings.Join(addresses, " "))
	}
	return w.Flush()
}

// senseWords tells of a carrier sense that is not to be believed; empty: there is nothing to be said about it.
func senseWords(l *link.Stats) string {
	var words []string
	if n := l.Hostile.StuckBusy; n > 0 {
		words = append(words, fmt.Sprintf("ignored %d times, as what it heard for 10 s and more was no station: a tone, or noise that has risen", n))
	}
	if n := l.Hostile.Unsensed; n > 0 {
		words = append(words, fmt.Sprintf("deaf to %d bursts that were read, so that waits are %v longer", n, round(l.Sensing)))
	}
	return strings.Join(words, "; ")
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Millisecond) }

func decibels(v *float64) string {
	if v == nil {
		return "–"
	}
	return fmt.Sprintf("%.1f", *v)
}
