package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"lightsong/phy/audio/portaudio"
)

// upTOML is a configuration that is right; each test spoils one line of it.
const upTOML = `[station]
name = "a"
[tun]
name = "tun0"
addresses = ["10.73.0.1/24", "fd73::1/64"]
mtu = 1280
[audio]
profile = "fsk"
device = "air:/tmp/air.sock"
duplex = "half"
[[peer]]
name = "b"
routes = ["192.0.2.0/24"]
`

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.toml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUpConfig(t *testing.T) {
	c, err := readUpConfig(writeConfig(t, upTOML))
	if err != nil {
		t.Fatal(err)
	}
	if c.Station.Name != "a" || len(c.Tun.Addresses) != 2 || c.Audio.Rate != 48000 || len(c.link().Routes) != 1 || !strings.HasSuffix(c.Control.Socket, "lightsong/tun0.sock") {
		t.Errorf("read %+v", c)
	}
	for more, want := range map[string]bool{"": true, "[link]\nwindows = false\n": false} {
		if c, err = readUpConfig(writeConfig(t, upTOML+more)); err != nil || c.link().Windows != want {
			t.Errorf("%q: windows are lowered %v, want %v: %v", more, err == nil && c.link().Windows, want, err)
		}
	}

	for _, tt := range []struct{ name, old, new, want string }{
		{"unknown key, near", "mtu = 1280", "mtuu = 1280", `a.toml:6: unknown key "tun.mtuu"; did you mean "tun.mtu"?`},
		{"unknown key, far", "mtu = 1280", "xylophone = 1", `known here are addresses, mtu, name, routes`},
		{"unknown table", "[tun]", "[tunn]", `unknown key "tunn"; did you mean "tun"?`},
		{"unknown key in a list", `routes = ["192`, `route = ["192`, `did you mean "peer.routes"?`},
		{"malformed", "mtu = 1280", "mtu = ", "a.toml:6"},
		{"wrong type", "mtu = 1280", `mtu = "big"`, "tun.mtu"},
		{"address", "10.73.0.1/24", "10.73.0.256/24", "10.73.0.256/24"},
		{"address without length", "10.73.0.1/24", "10.73.0.1", "10.73.0.1"},
		{"profile", `profile = "fsk"`, `profile = "fsx"`, `profile "fsx" does not exist: the profiles are`},
		{"mtu below IPv6's", "mtu = 1280", "mtu = 1279", "needs at least 1280"},
		{"interface name", `name = "tun0"`, `name = "a-name-too-long-for-linux"`, "at most 15"},
		{"airtime", "[[peer]]", "[link]\nairtime_hour = 10\n[[peer]]", "link.airtime_hour 10: must be a share, 0 to 1"},
		{"airtime, no number", "[[peer]]", "[link]\nairtime_minute = nan\n[[peer]]", "link.airtime_minute NaN: must be a share"},
		{"burst", "[[peer]]", "[link]\nmax_burst_s = -1\n[[peer]]", "a.toml: link.max_burst_s -1: must be 0.05 to 60 s, or 0 for the usual"},
		{"burst beyond all", "[[peer]]", "[link]\nmax_burst_s = 1e12\n[[peer]]", "link.max_burst_s 1e+12: must be"},
		{"exchange", "[[peer]]", "[link]\nmax_exchange_s = inf\n[[peer]]", "link.max_exchange_s +Inf: must be"},
		{"keepalive", "[[peer]]", "[link]\nkeepalive_s = nan\n[[peer]]", "link.keepalive_s NaN: must be"},
		{"keepalive without end", "[[peer]]", "[link]\nkeepalive_s = 1e-9\n[[peer]]", "link.keepalive_s 1e-09: must be 0.1"},
		{"queue", "[[peer]]", "[link]\nqueue = \"pie\"\n[[peer]]", `link.queue "pie": must be fq-codel, fq or fifo`},
		{"queue octets", "[[peer]]", "[link]\nqueue_octets = 100\n[[peer]]", "a.toml: bad link configuration: queue of 100 octets: must hold a packet of 1280"},
		{"no switch", "[[peer]]", "[link]\ncompress = \"yes\"\n[[peer]]", "a.toml:12:12: link.compress: cannot decode TOML string into a value of type bool"},
		{"address of all", `name = "a"`, "name = \"a\"\naddress = 65535", "address 0xffff is that of all stations"},
		{"address beyond all", `name = "a"`, "name = \"a\"\naddress = 70000", "station.address: integer value 70000 cannot be stored"},
		{"name for a terminal", `name = "a"`, `name = "\u001b[2J"`, "must be 1 to 32 octets of printable UTF-8"},
		{"many addresses", `"10.73.0.1/24"`, strings.Repeat(`"10.73.0.1/24", `, 8) + `"10.73.0.1/24"`, "10 own addresses: at most 8"},
		{"peer's name", `name = "b"`, `name = "` + strings.Repeat("b", 33) + `"`, "the name of a station, 1 to 32 octets"},
		{"duplex", `"half"`, `"both"`, `must be "half"`},
		{"device", "air:/tmp/air.sock", "hw:0", `audio: device "hw:0": must be "default", "pa:NAME"`},
		{"no device", `device = "air:/tmp/air.sock"`, "", "audio: device is not set"},
		{"card without name", "air:/tmp/air.sock", "pa:", `device "pa:"`},
		{"input beside a simulated medium", `duplex = "half"`, `input = "default"`, noSound("a simulated medium both plays and listens")},
		{"latency", `duplex = "half"`, `latency_ms = 5`, "latency 5ms: must be 10 to 1000 ms"},
		{"round trip", `duplex = "half"`, `roundtrip_ms = -1`, "round trip"},
		{"station name", `name = "a"`, `name = "` + strings.Repeat("x", 40) + `"`, "must be 1 to 32 octets"},
		{"peer without name", "[[peer]]\nname = \"b\"", "[[peer]]", "no name"},
		{"level", `duplex = "half"`, `level_dbfs = 1.0`, "audio.level_dbfs 1: must be -72 to 0"},
		{"no level", `duplex = "half"`, `level_dbfs = nan`, "level_dbfs"},
		{"rate", `duplex = "half"`, `rate = 1000`, "1000 Hz"},
		{"two media", `[[peer]]`, "[led]\nboard = \"serial:/dev/x\"\n[[peer]]", "both set"},
		{"a board without a way to it", `[[peer]]`, "[led]\nboard = \"/dev/x\"\n[[peer]]", `must be "serial:`},
		{"an adapter with a board's keys", `[[peer]]`, "[led]\nboard = \"uart:/dev/x\"\nmax_baud = 115200\n[[peer]]", "only led.baud"},
		{"a board with an adapter's key", `[[peer]]`, "[led]\nboard = \"serial:/dev/x\"\nbaud = 115200\n[[peer]]", "led.max_baud"},
		{"an adapter that is too fast", `[[peer]]`, "[led]\nboard = \"uart:/dev/x\"\nbaud = 50000000\n[[peer]]", "must be 1200"},
		{"no board", `[[peer]]`, "[led]\ndim = 1\n[[peer]]", "led.board is not set"},
		{"unknown key of a board", `[[peer]]`, "[led]\nbord = 1\n[[peer]]", `did you mean "led.board"?`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(upTOML, tt.old, tt.new, 1)
			if text == upTOML {
				t.Fatalf("%q is not in the configuration", tt.old)
			}
			_, err := readUpConfig(writeConfig(t, text))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
		})
	}
	known := keysOf(reflect.TypeFor[upConfig]())["link"]
	for key := range keysOf(known) {
		if help := upCommand().Example; !strings.Contains(help, "\n  "+key+" = ") {
			t.Errorf("`up --help` says nothing of link.%s", key)
		}
	}
	if _, err := readUpConfig(filepath.Join(t.TempDir(), "none.toml")); err == nil || !strings.Contains(err.Error(), "none.toml") {
		t.Errorf("a missing file gives %v", err)
	}
}

// noSound is what a build without sound says in place of want.
func noSound(want string) string {
	if portaudio.Built {
		return want
	}
	return portaudio.ErrNotBuilt.Error()
}

// TestSoundConfig reads what concerns sound cards, with its defaults.
func TestSoundConfig(t *testing.T) {
	for _, tt := range []struct {
		name, toml string
		want       soundDevice
		duplex     string
		level      float64
	}{
		{"defaults", `device = "default"`, soundDevice{device: "default", latency: 50 * time.Millisecond}, "half", -12},
		{"a lead", "profile = \"cable\"\ndevice = \"pa:USB Audio\"", soundDevice{device: "pa:USB Audio", latency: 50 * time.Millisecond}, "full", -12},
		{"all", `device = "pa:x"
input = "default"
server = "tcp:pi"
latency_ms = 20
roundtrip_ms = 180.5
level_dbfs = -20
duplex = "full"`, soundDevice{device: "pa:x", input: "default", server: "tcp:pi", latency: 20 * time.Millisecond, roundTrip: 180500 * time.Microsecond}, "full", -20},
	} {
		text := "[station]\nname = \"a\"\n[tun]\naddresses = [\"10.73.0.1/24\"]\n[audio]\n" + tt.toml + "\n"
		c, err := readUpConfig(writeConfig(t, text))
		if !portaudio.Built {
			if err == nil || !strings.Contains(err.Error(), "built without sound") {
				t.Errorf("%s: a build without sound says %v", tt.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		tt.want.station, tt.want.rate = "a", 48000
		if got := c.sound(); got != tt.want || c.Audio.Duplex != tt.duplex || c.Audio.LevelDBFS != tt.level {
			t.Errorf("%s: %+v, %s, %v dBFS; want %+v, %s, %v", tt.name, got, c.Audio.Duplex, c.Audio.LevelDBFS, tt.want, tt.duplex, tt.level)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"mtu", "mtu", 0}, {"mtuu", "mtu", 1}, {"ab", "ba", 2}, {"", "abc", 3}, {"kitten", "sitting", 3}} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

// TestLongestBurst: bursts on light last as long as answers to them cost little.
func TestLongestBurst(t *testing.T) {
	for _, c := range []struct {
		led  ledConfig
		want time.Duration
	}{
		{ledConfig{Board: "serial:/dev/x"}, 400 * time.Millisecond},
		{ledConfig{Board: "uart:/dev/x"}, 400 * time.Millisecond},
		{ledConfig{Board: "uart:/dev/x", Baud: 50000}, 400 * time.Millisecond},
		{ledConfig{Board: "uart:/dev/x", Baud: 10000}, 2 * time.Second},
		{ledConfig{Board: "uart:/dev/x", Baud: 1200}, 4 * time.Second},
	} {
		if got := c.led.longestBurst(); got != c.want {
			t.Errorf("%+v: %v, want %v", c.led, got, c.want)
		}
	}
}
