package main

import (
	"context"
	"fmt"
	"net"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"lightsong/link"
)

// listenMetrics listens where Prometheus is to ask; nil when no address is
// configured.
func listenMetrics(ctx context.Context, address string) (net.Listener, error) {
	if address == "" {
		return nil, nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("metrics.address: %w", err)
	}
	return l, nil
}

// serveMetrics answers GET /metrics until ctx ends.
func serveMetrics(ctx context.Context, l net.Listener, status func(context.Context) Status) error {
	registry := prometheus.NewRegistry()
	registry.MustRegister(&statusCollector{ctx, status})
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return serveHTTP(ctx, l, mux, "metrics")
}

// statusCollector turns the daemon's status into metrics when it is asked, so that
// nothing has to be kept up to date meanwhile.
type statusCollector struct {
	ctx    context.Context //nolint:containedctx // prometheus.Collector has no context of its own
	status func(context.Context) Status
}

// metric is one of the link as a whole.
type metric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*Status) float64
}

// peerMetric is one of each peer; ok is false where it was not measured.
type peerMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*link.PeerStats) (v float64, ok bool)
}

const (
	counter = prometheus.CounterValue
	gauge   = prometheus.GaugeValue
)

func linkMetric(name, help string, kind prometheus.ValueType, value func(*Status) float64) metric {
	return metric{prometheus.NewDesc("lightsong_"+name, help, []string{"station", "interface"}, nil), kind, value}
}

func ofPeer(name, help string, kind prometheus.ValueType, value func(*link.PeerStats) (float64, bool)) peerMetric {
	return peerMetric{prometheus.NewDesc("lightsong_peer_"+name, help, []string{"station", "peer"}, nil), kind, value}
}

func yes(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func known(v *float64) (float64, bool) {
	if v == nil {
		return 0, false
	}
	return *v, true
}

var linkMetrics = []metric{
	linkMetric("up", "1 while a live peer hears this station.", gauge, func(s *Status) float64 { return yes(s.Link.Up) }),
	linkMetric("medium_open", "1 while the sound device or board is open.", gauge, func(s *Status) float64 { return yes(s.Medium) }),
	linkMetric("medium_opened_total", "Times that the device was opened.", counter, func(s *Status) float64 { return float64(s.Opened) }),
	linkMetric("airtime_sent_seconds_total", "Airtime of own bursts.", counter, func(s *Status) float64 { return s.Link.Airtime.Sent.Seconds() }),
	linkMetric("airtime_busy_seconds_total", "Time for which a carrier was sensed.", counter, func(s *Status) float64 { return s.Link.Airtime.Busy.Seconds() }),
	linkMetric("carrier_ignored_total", "Times that the carrier sense heard for long what is no station.", counter, func(s *Status) float64 { return float64(s.Link.Hostile.StuckBusy) }),
	linkMetric("bursts_unsensed_total", "Bursts read of which the carrier sense told nothing.", counter, func(s *Status) float64 { return float64(s.Link.Hostile.Unsensed) }),
	linkMetric("bursts_sent_total", "Bursts sent.", counter, func(s *Status) float64 { return float64(s.Link.Bursts.Sent) }),
	linkMetric("bursts_received_total", "Bursts received.", counter, func(s *Status) float64 { return float64(s.Link.Bursts.Received) }),
	linkMetric("bursts_missed_total", "Bursts heard whose header was lost.", counter, func(s *Status) float64 { return float64(s.Link.Bursts.Missed) }),
	linkMetric("bursts_unanswered_total", "Bursts whose answer did not come.", counter, func(s *Status) float64 { return float64(s.Link.Bursts.Silence) }),
	linkMetric("frames_received_total", "Frames received whole.", counter, func(s *Status) float64 { return float64(s.Link.Frames.Received) }),
	linkMetric("frames_failed_total", "Frames that failed their check.", counter, func(s *Status) float64 { return float64(s.Link.Frames.Failed) }),
	linkMetric("frames_repaired_total", "Frames rebuilt from parity.", counter, func(s *Status) float64 { return float64(s.Link.Frames.Repaired) }),
	linkMetric("frames_repeated_total", "Frames whose content had to be sent again.", counter, func(s *Status) float64 { return float64(s.Link.Frames.Repeated) }),
	linkMetric("packets_in_total", "Packets taken from the host.", counter, func(s *Status) float64 { return float64(s.Link.Packets.In) }),
	linkMetric("packets_out_total", "Packets given to the host.", counter, func(s *Status) float64 { return float64(s.Link.Packets.Out) }),
	linkMetric("octets_in_total", "Octets of packets taken from the host.", counter, func(s *Status) float64 { return float64(s.Link.Packets.InOctets) }),
	linkMetric("octets_out_total", "Octets of packets given to the host.", counter, func(s *Status) float64 { return float64(s.Link.Packets.OutOctets) }),
	linkMetric("packets_dropped_total", "Packets lost on purpose, for whatever reason.", counter, func(s *Status) float64 {
		d := &s.Link.Packets.Dropped
		return float64(d.QueueFull + d.Invalid + d.Unroutable + d.Expired + d.GivenUp + d.Incomplete + d.Overflow + s.Link.Queue.Dropped)
	}),
	linkMetric("packets_marked_total", "Packets that left with a congestion mark.", counter, func(s *Status) float64 { return float64(s.Link.Queue.Marked) }),
	linkMetric("queue_packets", "Packets that wait to be sent or acknowledged.", gauge, func(s *Status) float64 { return float64(s.Link.Queue.Packets) }),
	linkMetric("queue_octets", "Octets that wait to be sent or acknowledged.", gauge, func(s *Status) float64 { return float64(s.Link.Queue.Octets) }),
	linkMetric("malformed_total", "Bursts and frames that no station sends in good order.", counter, func(s *Status) float64 {
		return float64(s.Link.Hostile.Malformed + s.Link.Hostile.Replayed)
	}),
}

var peerMetrics = []peerMetric{
	ofPeer("up", "1 while the peer is live and hears this station.", gauge, func(p *link.PeerStats) (float64, bool) { return yes(p.State == link.PeerUp), true }),
	ofPeer("snr_db", "SNR of the peer's bursts here.", gauge, func(p *link.PeerStats) (float64, bool) { return known(p.SNR) }),
	ofPeer("snr_there_db", "SNR of our bursts there, as the peer reports.", gauge, func(p *link.PeerStats) (float64, bool) { return known(p.SNRThere) }),
	ofPeer("mcs_out", "MCS in which packets go to the peer.", gauge, func(p *link.PeerStats) (float64, bool) { return float64(p.MCSOut), true }),
	ofPeer("mcs_in", "MCS in which the peer is asked to send.", gauge, func(p *link.PeerStats) (float64, bool) { return float64(p.MCSIn), true }),
	ofPeer("loss", "Share of the peer's frames lost here before repair.", gauge, func(p *link.PeerStats) (float64, bool) { return p.Loss, true }),
	ofPeer("loss_there", "Share of our frames lost there.", gauge, func(p *link.PeerStats) (float64, bool) { return p.LossThere, true }),
	ofPeer("rtt_seconds", "From the end of a burst to the begin of its answer.", gauge, func(p *link.PeerStats) (float64, bool) { return p.RTT.Seconds(), p.RTT > 0 }),
	ofPeer("octets_out_total", "Octets of packets that the peer acknowledged.", counter, func(p *link.PeerStats) (float64, bool) { return float64(p.OctetsOut), true }),
	ofPeer("octets_in_total", "Octets of the peer's packets given to the host.", counter, func(p *link.PeerStats) (float64, bool) { return float64(p.OctetsIn), true }),
	ofPeer("airtime_sent_seconds_total", "Airtime of bursts to the peer.", counter, func(p *link.PeerStats) (float64, bool) { return p.Airtime.Sent.Seconds(), true }),
	ofPeer("airtime_heard_seconds_total", "Airtime of the peer's bursts.", counter, func(p *link.PeerStats) (float64, bool) { return p.Airtime.Heard.Seconds(), true }),
	ofPeer("queue_octets", "Octets that wait for the peer.", gauge, func(p *link.PeerStats) (float64, bool) { return float64(p.Queue.Octets), true }),
	ofPeer("restarts_total", "Times that the peer came back as another process.", counter, func(p *link.PeerStats) (float64, bool) { return float64(p.Restarts), true }),
	ofPeer("downs_total", "Times that the peer fell silent.", counter, func(p *link.PeerStats) (float64, bool) { return float64(p.Downs), true }),
}

// Describe implements prometheus.Collector.
func (c *statusCollector) Describe(out chan<- *prometheus.Desc) {
	for _, m := range linkMetrics {
		out <- m.desc
	}
	for _, m := range peerMetrics {
		out <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c *statusCollector) Collect(out chan<- prometheus.Metric) {
	s := c.status(c.ctx)
	for _, m := range linkMetrics {
		out <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(&s), s.Link.Station, s.Interface)
	}
	for i := range s.Link.Peers {
		p := &s.Link.Peers[i]
		for _, m := range peerMetrics {
			// The address is part of the label of a peer without a name, so no two have the same.
			if v, ok := m.value(p); ok {
				out <- prometheus.MustNewConstMetric(m.desc, m.kind, v, s.Link.Station, peerName(p))
			}
		}
	}
}
