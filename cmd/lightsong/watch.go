package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"lightsong/link"
)

// shortestWatch is how soon `status --watch` may look again: every look wakes the
// daemon's loop.
const shortestWatch = 100 * time.Millisecond

// Sample is what `status --watch --json` prints on a line: a status, and what
// changed since the one before.
type Sample struct {
	At        time.Time  `json:"at"`
	IntervalS float64    `json:"interval_s"` // since the sample before; 0: the first one, without rates
	Error     string     `json:"error,omitempty"`
	Airtime   ShareStats `json:"airtime"`
	Peers     []PeerRate `json:"peers"` // by address, as in status.link.peers
	Status    *Status    `json:"status,omitempty"`
}

// ShareStats is airtime as a share of the time between two samples.
type ShareStats struct {
	Sent float64 `json:"sent"` // own bursts
	Busy float64 `json:"busy"` // carrier sensed
}

// PeerRate is what went on between two stations since the sample before.
type PeerRate struct {
	Name         string         `json:"name"`
	Address      uint16         `json:"address"`
	State        link.PeerState `json:"state"`
	OutBPS       float64        `json:"out_bps"` // goodput: packets acknowledged
	InBPS        float64        `json:"in_bps"`  // packets given to the host
	Repaired     uint64         `json:"frames_repaired"`
	Repeated     uint64         `json:"frames_repeated"`
	AirtimeSent  float64        `json:"airtime_sent"`  // share of the time, of bursts to it
	AirtimeHeard float64        `json:"airtime_heard"` // of its bursts
}

// newSample compares two looks at one daemon; was is nil for the first. Counters
// that went back mean another daemon: then there is nothing to compare with.
func newSample(now time.Time, was *Sample, s *Status) *Sample {
	x := &Sample{At: now, Status: s, Peers: make([]PeerRate, len(s.Link.Peers))}
	var before *link.Stats
	if was != nil && was.Status != nil && was.Status.Link.Epoch == s.Link.Epoch && was.Status.Link.Packets.In <= s.Link.Packets.In && now.After(was.At) {
		before = &was.Status.Link
		x.IntervalS = now.Sub(was.At).Seconds()
		x.Airtime = ShareStats{
			Sent: share(before.Airtime.Sent, s.Link.Airtime.Sent, x.IntervalS),
			Busy: share(before.Airtime.Busy, s.Link.Airtime.Busy, x.IntervalS),
		}
	}
	for i := range s.Link.Peers {
		p := &s.Link.Peers[i]
		r := PeerRate{Name: p.Name, Address: p.Address, State: p.State}
		if q := peerBefore(before, p.Address); q != nil {
			r.OutBPS = 8 * float64(since(q.OctetsOut, p.OctetsOut)) / x.IntervalS
			r.InBPS = 8 * float64(since(q.OctetsIn, p.OctetsIn)) / x.IntervalS
			r.Repaired, r.Repeated = since(q.Repaired, p.Repaired), since(q.Repeated, p.Repeated)
			r.AirtimeSent = share(q.Airtime.Sent, p.Airtime.Sent, x.IntervalS)
			r.AirtimeHeard = share(q.Airtime.Heard, p.Airtime.Heard, x.IntervalS)
		}
		x.Peers[i] = r
	}
	return x
}

// peerBefore is a peer as it was, or nil.
func peerBefore(l *link.Stats, address uint16) *link.PeerStats {
	if l == nil {
		return nil
	}
	for i := range l.Peers {
		if l.Peers[i].Address == address {
			return &l.Peers[i]
		}
	}
	return nil
}

// since is by how much a counter grew; one that began anew grew from zero.
func since(was, is uint64) uint64 {
	if is < was {
		return is
	}
	return is - was
}

// share of an interval in seconds that a sum of times grew by. A burst counts when
// it is over, so it may be more than all of it.
func share(was, is time.Duration, seconds float64) float64 {
	return max(0, (is-was).Seconds()/seconds)
}

// watcher is `status --watch`.
type watcher struct {
	socket  string
	every   time.Duration
	samples int // 0: without end
	asJSON  bool
	out     io.Writer
}

// run looks until ctx ends or enough was seen. A daemon that does not answer at the
// first look is an error; one that goes later may come back, and the watch says so.
func (w *watcher) run(ctx context.Context) error {
	show := w.lines
	if w.asJSON {
		show = func(x *Sample) error { return json.NewEncoder(w.out).Encode(x) }
	} else if f, ok := w.out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		show = func(x *Sample) error { return w.redraw(x, f) }
	}
	ticker := time.NewTicker(w.every)
	defer ticker.Stop()
	var last *Sample
	for n := 1; ; n++ {
		s, err := askStatus(ctx, w.socket)
		var x *Sample
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && last == nil:
			return err
		case err != nil:
			x = &Sample{At: time.Now(), Error: err.Error(), Peers: []PeerRate{}}
		default:
			x = newSample(time.Now(), last, &s)
		}
		if err := show(x); err != nil {
			return err
		}
		if last = x; n == w.samples {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// lines prints a line for every peer, and one for a link without any.
func (w *watcher) lines(x *Sample) error {
	at := x.At.Format("15:04:05")
	if x.Error != "" {
		_, err := fmt.Fprintf(w.out, "%s %s\n", at, x.Error)
		return err
	}
	s := x.Status
	if len(x.Peers) == 0 {
		_, err := fmt.Fprintf(w.out, "%s %s: %s\n", at, s.Link.Station, s.state())
		return err
	}
	for i, r := range x.Peers {
		p := &s.Link.Peers[i]
		_, err := fmt.Fprintf(w.out, "%s %s–%s %s, heard %s ago, SNR %s/%s dB, MCS %d/%d, out %s, in %s, loss %.0f/%.0f %%, repaired %d, repeated %d, RTT %s, queue %s, airtime %s/%s %%\n",
			at, s.Link.Station, peerName(p), p.State, round(x.At.Sub(p.LastHeard)), decibels(p.SNR), decibels(p.SNRThere), p.MCSOut, p.MCSIn,
			bitRate(r.OutBPS), bitRate(r.InBPS), 100*p.Loss, 100*p.LossThere, r.Repaired, r.Repeated, roundTrip(p.RTT), octetCount(p.Queue.Octets),
			perCent(r.AirtimeSent), perCent(r.AirtimeHeard))
		if err != nil {
			return err
		}
	}
	return nil
}

// table shows a sample to a person, in lines that may be longer than the terminal
// is wide.
func (x *Sample) table(out io.Writer) error {
	if x.Error != "" {
		_, err := fmt.Fprintf(out, "%s\n\nThe watch goes on: it shows the daemon when it is back.\n", x.Error)
		return err
	}
	s, l := x.Status, &x.Status.Link
	fmt.Fprintf(out, "%s on %s, %s, profile %s: %s\n", l.Station, s.Interface, s.Device, s.Profile, s.state())
	if s.Fault != "" && !s.Medium {
		fmt.Fprintf(out, "%s\n", s.Fault)
	}
	fmt.Fprintf(out, "airtime sent %s %%, busy %s %% · waiting %d packets, %s · marked %d, dropped %d · frames failed %d, repaired %d, repeated %d\n\n",
		perCent(x.Airtime.Sent), perCent(x.Airtime.Busy), l.Queue.Packets, octetCount(l.Queue.Octets), l.Queue.Marked, l.Queue.Dropped+l.Packets.Dropped.QueueFull,
		l.Frames.Failed, l.Frames.Repaired, l.Frames.Repeated)
	if words := senseWords(l); words != "" {
		fmt.Fprintf(out, "carrier sense %s\n\n", words)
	}
	if len(x.Peers) == 0 {
		_, err := fmt.Fprintln(out, "No station was heard yet.")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "peer\tstate\theard\tSNR here/there\tMCS out/in\tgoodput out/in\tloss here/there\trepaired/repeated\tRTT\twaiting\tairtime to/from\n")
	for i, r := range x.Peers {
		p := &l.Peers[i]
		fmt.Fprintf(w, "%s\t%s\t%s ago\t%s/%s dB\t%d/%d\t%s / %s\t%.0f/%.0f %%\t%d/%d\t%s\t%s\t%s/%s %%\n",
			peerName(p), p.State, round(x.At.Sub(p.LastHeard)), decibels(p.SNR), decibels(p.SNRThere), p.MCSOut, p.MCSIn,
			bitRate(r.OutBPS), bitRate(r.InBPS), 100*p.Loss, 100*p.LossThere, p.Repaired, p.Repeated, roundTrip(p.RTT), octetCount(p.Queue.Octets),
			perCent(r.AirtimeSent), perCent(r.AirtimeHeard))
	}
	return w.Flush()
}

// Sequences of ECMA-48 that every terminal knows.
const (
	eraseLine  = "\x1b[K"  // to its end
	eraseBelow = "\x1b[J"  // from the cursor on
	homeClear  = "\x1b[H"  // to the top left corner
	clearAll   = "\x1b[2J" // the whole screen
)

// redraw shows a sample in place: each line over the one that was there, cut at the
// terminal's edge, so that nothing flickers and nothing scrolls.
func (w *watcher) redraw(x *Sample, f *os.File) error {
	width, height, err := term.GetSize(int(f.Fd()))
	if err != nil || width < 1 || height < 2 {
		width, height = 80, 24
	}
	_, err = f.Write(screen(x, w.every, width, height))
	return err
}

// screen is what redraw writes.
func screen(x *Sample, every time.Duration, width, height int) []byte {
	var text, out bytes.Buffer
	fmt.Fprintf(&text, "%s, every %v; end with Ctrl-C\n", x.At.Format("15:04:05"), every)
	x.table(&text) //nolint:errcheck // a buffer takes everything
	if x.IntervalS == 0 {
		out.WriteString(clearAll) // the first one
	}
	out.WriteString(homeClear)
	lines := bytes.Split(bytes.TrimRight(text.Bytes(), "\n"), []byte("\n"))
	for i, line := range lines[:min(len(lines), height)] {
		if i > 0 {
			out.WriteString("\r\n")
		}
		out.Write(cutRunes(line, width))
		out.WriteString(eraseLine)
	}
	out.WriteString(eraseBelow)
	return out.Bytes()
}

// cutRunes is at most n characters of a line.
func cutRunes(line []byte, n int) []byte {
	end := 0
	for ; n > 0 && end < len(line); n-- {
		_, size := utf8.DecodeRune(line[end:])
		end += size
	}
	return line[:end]
}

// bitRate in the unit that suits it.
func bitRate(bps float64) string {
	if bps < 1000 {
		return fmt.Sprintf("%.0f b/s", bps)
	}
	return fmt.Sprintf("%.1f kb/s", bps/1000)
}

func octetCount(n int) string {
	if n < 10000 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f kB", float64(n)/1000)
}

func perCent(share float64) string { return fmt.Sprintf("%.0f", 100*share) }

// roundTrip is a time of the link's own in milliseconds.
func roundTrip(d time.Duration) string {
	if d == 0 {
		return "–"
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}
