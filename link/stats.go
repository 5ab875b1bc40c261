package link

import (
	"net/netip"
	"time"

	"lightsong/link/header"
	"lightsong/link/payload"
)

// Stats is a snapshot of an Engine: plain data, counted since New.
type Stats struct {
	Station string `json:"station"`
	Address uint16 `json:"address"`
	Epoch   uint16 `json:"epoch"`
	Up      bool   `json:"up"`
	// Turnaround is what medium access counts with: as the PHY says or as answers
	// have shown, whichever is longer.
	Turnaround time.Duration `json:"turnaround_ns"`
	// Sensing is how late medium access takes bursts to be noticed, beyond that.
	Sensing time.Duration `json:"sensing_ns"`
	// Standstill is for how long the medium stood still, or fell behind, while the
	// link ran: nobody is taken for silent in that time. The Runner fills it in.
	Standstill time.Duration `json:"standstill_ns"`

	Bursts  BurstStats   `json:"bursts"`
	Frames  FrameStats   `json:"frames"`
	Packets PacketStats  `json:"packets"`
	Hostile HostileStats `json:"hostile"`
	Airtime AirtimeStats `json:"airtime"`
	Queue   QueueStats   `json:"queue"`
	Headers HeaderStats  `json:"headers"`
	Payload PayloadStats `json:"payload"`
	Peers   []PeerStats  `json:"peers"` // by address
}

// BurstStats counts bursts.
type BurstStats struct {
	Sent     uint64 `json:"sent"`
	Inserted uint64 `json:"inserted"` // of those, into the middle of others
	Failed   uint64 `json:"failed"`   // the PHY refused them
	Received uint64 `json:"received"` // with a control block that could be read
	Missed   uint64 `json:"missed"`   // heard, but header or control block was lost
	Foreign  uint64 `json:"foreign"`  // addressed to other stations
	Beacons  uint64 `json:"beacons"`  // sent
	Polls    uint64 `json:"polls"`    // sent
	Silence  uint64 `json:"silence"`  // answers that did not come
}

// FrameStats counts frames of bursts for this station or from it.
type FrameStats struct {
	Sent     uint64 `json:"sent"`     // parity included
	Parity   uint64 `json:"parity"`   // sent
	Received uint64 `json:"received"` // whole
	Failed   uint64 `json:"failed"`   // failed their check
	Repaired uint64 `json:"repaired"` // data frames rebuilt from parity
	Repeated uint64 `json:"repeated"` // data frames sent whose content has to be sent again
}

// PacketStats counts packets of the host.
type PacketStats struct {
	In         uint64       `json:"in"`  // taken from the host
	Out        uint64       `json:"out"` // given to the host
	InOctets   uint64       `json:"in_octets"`
	OutOctets  uint64       `json:"out_octets"`
	Duplicates uint64       `json:"duplicates"` // fragments received again
	Dropped    DroppedStats `json:"dropped"`
}

// DroppedStats counts packets that were lost on purpose, by reason.
type DroppedStats struct {
	QueueFull  uint64 `json:"queue_full"` // refused, or the first of the longest flow
	Invalid    uint64 `json:"invalid"`    // not IP, or longer than the MTU
	Unroutable uint64 `json:"unroutable"` // no station is known for the destination
	Expired    uint64 `json:"expired"`    // waited too long for their station or their turn
	GivenUp    uint64 `json:"given_up"`   // sent as often as their class allows
	Incomplete uint64 `json:"incomplete"` // received in part, then abandoned by their sender
	Overflow   uint64 `json:"overflow"`   // the host did not take them
}

// HostileStats counts what no station of this protocol sends in good order.
type HostileStats struct {
	Malformed uint64 `json:"malformed"`  // control blocks, beacons and frames that do not parse
	Replayed  uint64 `json:"replayed"`   // bursts heard before
	Conflicts uint64 `json:"conflicts"`  // stations that used our address
	StuckBusy uint64 `json:"stuck_busy"` // times that the medium was taken for long without a burst
	Unsensed  uint64 `json:"unsensed"`   // half duplex: bursts read of which carrier sense told nothing
	Lost      uint64 `json:"lost"`       // samples or edges that the device lost
}

// AirtimeStats sums up time on the medium.
type AirtimeStats struct {
	Sent time.Duration `json:"sent_ns"` // own bursts
	Busy time.Duration `json:"busy_ns"` // carrier sensed

	Limits   []LimitStats `json:"limits,omitempty"`
	Withheld uint64       `json:"withheld"` // answers that a limit did not allow
}

// LimitStats tells how much of an airtime limit is used.
type LimitStats struct {
	Within time.Duration `json:"within_ns"`
	Most   time.Duration `json:"most_ns"` // that may be sent in any window of that length
	Used   time.Duration `json:"used_ns"` // in the last one, as of the last burst
}

// QueueStats tells what waits to be sent or acknowledged, and what the queues did.
type QueueStats struct {
	Packets  int    `json:"packets"`
	Octets   int    `json:"octets"`
	Marked   uint64 `json:"marked"`   // packets that left with a congestion mark (ECN)
	Dropped  uint64 `json:"dropped"`  // by CoDel, of flows without ECN
	Thinned  uint64 `json:"thinned"`  // TCP acknowledgements that a newer one made needless
	Repeated uint64 `json:"repeated"` // TCP segments that were still waiting when their host sent them again
	Windows  uint64 `json:"windows"`  // TCP segments for the host here whose window was lowered
}

// PeerQueue tells what waits for one station.
type PeerQueue struct {
	Packets int           `json:"packets"` // not acknowledged
	Octets  int           `json:"octets"`  // not sent
	Flows   int           `json:"flows"`
	Target  time.Duration `json:"target_ns"` // wait beyond which CoDel marks or drops
}

// HeaderStats counts header compression, of all peers present.
type HeaderStats struct {
	Compressed uint64 `json:"compressed"` // packets
	Full       uint64 `json:"full"`       // packets that told a flow's whole header
	Contexts   int    `json:"contexts"`   // flows
	In         uint64 `json:"in_octets"`  // of packets
	Out        uint64 `json:"out_octets"` // that were sent for them
	Lost       uint64 `json:"lost"`       // packets received whose context was not known
	Resyncs    uint64 `json:"resyncs"`    // reports that asked for whole headers
}

// PayloadStats counts packets that were sent, and whether they were compressed.
type PayloadStats = payload.Stats

func (h *HeaderStats) addCompressor(c *header.Compressor) {
	s := c.Stats()
	h.Compressed += s.Compressed
	h.Full += s.Full
	h.Contexts += c.Flows()
	h.In += s.In
	h.Out += s.Out
}

// PeerStats tells of one station heard.
type PeerStats struct {
	Name      string         `json:"name"` // empty until its beacon was read
	Address   uint16         `json:"address"`
	Addresses []netip.Prefix `json:"addresses"`
	State     PeerState      `json:"state"`
	LastHeard time.Time      `json:"last_heard"`
	SNR       *float64       `json:"snr_db"`          // of its bursts here; nil: not measured
	SNRThere  *float64       `json:"snr_there_db"`    // of ours there, as it reports
	MCSOut    uint8          `json:"mcs_out"`         // in which we send to it
	MCSIn     uint8          `json:"mcs_in"`          // in which we ask it to send
	RTT       time.Duration  `json:"rtt_ns"`          // from the end of a burst to the begin of its answer, smoothed
	Loss      float64        `json:"loss"`            // share of its frames lost here before repair, smoothed
	LossThere float64        `json:"loss_there"`      // share of ours lost there, as it reports
	Repaired  uint64         `json:"frames_repaired"` // its frames rebuilt here
	Repeated  uint64         `json:"frames_repeated"` // ours that it did not receive
	OctetsOut uint64         `json:"octets_out"`      // of packets that it acknowledged
	OctetsIn  uint64         `json:"octets_in"`       // of its packets given to the host
	Restarts  uint64         `json:"restarts"`
	Downs     uint64         `json:"downs"` // times that it fell silent
	Queue     PeerQueue      `json:"queue"`
	Airtime   PeerAirtime    `json:"airtime"`
}

// PeerAirtime sums up time on the medium that one station caused: bursts for it
// alone, and all of its own that could be read, whomever they were for.
type PeerAirtime struct {
	Sent  time.Duration `json:"sent_ns"`
	Heard time.Duration `json:"heard_ns"`
}

// PeerState is how far a peer is known.
type PeerState string

// The states of a peer.
const (
	PeerHeard PeerState = "heard" // we hear it; whether it hears us is not known
	PeerUp    PeerState = "up"    // it hears us too
	PeerDown  PeerState = "down"  // silent for about three beacon intervals
)
