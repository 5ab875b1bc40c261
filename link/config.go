package link

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"lightsong/phy"
)

// Limits of a configuration.
const (
	MaxName = 32   // octets of a station's name
	MinMTU  = 68   // octets; RFC 791
	MaxMTU  = 9000 // octets of a packet that a link carries

	usualMTU  = 1280
	broadcast = 0xffff // address of all stations
)

// The errors of the package, to be found with errors.Is.
var (
	ErrConfig    = errors.New("bad link configuration")
	ErrQueueFull = errors.New("link queue full")
	ErrPacket    = errors.New("not a packet for this link")
)

// Route sends a destination to a station, whether or not that station announces
// it.
type Route struct {
	Prefix  netip.Prefix
	Station string // name
}

// Config of an Engine. Name, Caps and Airtime are required; every other zero
// value has the default that its comment names.
type Config struct {
	Name     string         // of this station, unique on the medium; 1 to MaxName octets of printable UTF-8
	Address  uint16         // 1 to 0xfffe; 0: drawn from the name
	Prefixes []netip.Prefix // own IP addresses with their on-link prefix lengths, announced in beacons; at most 8
	Routes   []Route        // destinations behind stations; the longest prefix wins
	MTU      int            // octets, MinMTU to MaxMTU; default 1280
	Seed     uint64         // of the generator for back-off and jitter
	Epoch    uint16         // differs at every start, so that peers notice a restart

	Caps    phy.Caps
	Airtime func(*phy.Burst) time.Duration // of the PHY: exact, a function of the lengths only

	MaxBurst    time.Duration // airtime of a burst; default 2 s, between two stations up to 4 s if the turnaround is long; where bursts have forms 4 s, or 5.6 s for long ones
	MaxExchange time.Duration // until a station of three or more contends for the medium again; default 3 s
	Keepalive   time.Duration // silence after which a peer is asked whether it is there; default: as questions take an eighth of an idle medium, 1.5 s at least
	QueueOctets int           // of packets waiting or not yet acknowledged; default 256 KiB, of which FQCoDel keeps free what the rate does not ask for; with others 64 KiB
	Queue       Discipline    // default FQCoDel
	Compress    bool          // packets that become shorter by it; what is received may be compressed anyway
	Windows     bool          // TCP's windows are lowered to two bursts where those last for seconds

	AirtimeMinute float64 // share of any minute for which the station may send; 0: all of it
	AirtimeHour   float64 // likewise of any hour

	longBurst time.Duration // MaxBurst of those of long form
	pairBurst time.Duration // likewise between two stations, half duplex
}

// How long a burst is by default. In rooms the turnaround of half duplex, training and
// the symbols that a burst consists of take their share: it is less of a longer one, and of one of
// long form head and training are a tenth.
const (
	maxBurst  = 2 * time.Second
	roomBurst = 4 * time.Second
	longBurst = 5600 * time.Millisecond

	// Where two stations share a half-duplex medium the two turnarounds of an exchange are no more than a seventh of
	// the burst, if that does not last as long as one in a room. Of more, others would wait for its end.
	pairTurnarounds = 14
)

func configFault(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrConfig, fmt.Sprintf(format, args...))
}

// Validate checks what does not depend on the PHY, before there is one. Errors wrap ErrConfig.
func (c *Config) Validate() error {
	mtu := cmp.Or(c.MTU, usualMTU)
	switch {
	case c.Name == "" || len(c.Name) > MaxName || !printable(c.Name):
		return configFault("station name %q: must be 1 to %d octets of printable UTF-8", c.Name, MaxName)
	case c.Address == broadcast:
		return configFault("address %#x is that of all stations", c.Address)
	case mtu < MinMTU || mtu > MaxMTU:
		return configFault("mtu %d: must be %d to %d octets", mtu, MinMTU, MaxMTU)
	case len(c.Prefixes) > maxPrefixes:
		return configFault("%d own addresses: at most %d can be announced", len(c.Prefixes), maxPrefixes)
	case c.MaxBurst < 0 || c.MaxExchange < 0 || c.Keepalive < 0:
		return configFault("a negative time")
	case !(c.AirtimeMinute >= 0 && c.AirtimeMinute <= 1) || !(c.AirtimeHour >= 0 && c.AirtimeHour <= 1):
		return configFault("airtime of %v of a minute, %v of an hour: must be shares, 0 to 1", c.AirtimeMinute, c.AirtimeHour)
	case c.Queue > FIFO:
		return configFault("queue discipline %d", c.Queue)
	case c.QueueOctets != 0 && c.QueueOctets < mtu:
		return configFault("queue of %d octets: must hold a packet of %d", c.QueueOctets, mtu)
	}
	for _, p := range c.Prefixes {
		if !p.IsValid() {
			return configFault("an own address is empty")
		}
	}
	for _, r := range c.Routes {
		if !r.Prefix.IsValid() || r.Station == "" || len(r.Station) > MaxName {
			return configFault("route %s to %q: needs a prefix and the name of a station, 1 to %d octets", r.Prefix, r.Station, MaxName)
		}
	}
	return nil
}

// printable tells whether a name may be shown on a terminal: it comes from whoever is in earshot.
func printable(name string) bool {
	return utf8.ValidString(name) && !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) })
}

// withDefaults fills in the zero values and checks the rest. Errors wrap
// ErrConfig.
func (c Config) withDefaults() (Config, error) {
	if err := c.Validate(); err != nil {
		return Config{}, err
	}
	c.MTU = cmp.Or(c.MTU, usualMTU)
	c.longBurst, c.pairBurst = c.MaxBurst, c.MaxBurst
	if c.MaxBurst == 0 {
		c.longBurst, c.MaxBurst = longBurst, maxBurst
		if c.Caps.Form != nil && !c.Caps.FullDuplex {
			c.MaxBurst = roomBurst
		}
		c.pairBurst = min(max(c.MaxBurst, pairTurnarounds*c.Caps.Turnaround), roomBurst)
	}
	if c.MaxExchange == 0 {
		c.MaxExchange = 3 * time.Second
	}
	if c.QueueOctets == 0 {
		c.QueueOctets = 64 << 10
		if c.Queue == FQCoDel {
			c.QueueOctets = 256 << 10 // a fast lead has so much under way
		}
	}
	switch {
	case len(c.Caps.Modes) == 0 || c.Airtime == nil:
		return Config{}, configFault("the PHY has no modes")
	case c.Caps.MaxFrames < 2 || c.Caps.MaxControl < minControl:
		return Config{}, configFault("the PHY carries %d frames and %d octets of control: the link needs 2 and %d", c.Caps.MaxFrames, c.Caps.MaxControl, minControl)
	}
	for _, m := range c.Caps.Modes {
		if m.FrameOctets < minFrame {
			return Config{}, configFault("mode %d has frames of %d octets: the link needs %d", m.MCS, m.FrameOctets, minFrame)
		}
	}
	return c, nil
}
