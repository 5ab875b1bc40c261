package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
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
		{"duplex", `"half"`, `"both"`, `must be "half"`},
		{"device", "air:/tmp/air.sock", "hw:0", "simulated media"},
		{"no device", `device = "air:/tmp/air.sock"`, "", "audio.device is not set"},
		{"station name", `name = "a"`, `name = "` + strings.Repeat("x", 40) + `"`, "at most 32"},
		{"peer without name", "[[peer]]\nname = \"b\"", "[[peer]]", "no name"},
		{"gain", `duplex = "half"`, `gain_db = 40.0`, "gain_db"},
		{"rate", `duplex = "half"`, `rate = 1000`, "1000 Hz"},
		{"two media", `[[peer]]`, "[led]\nboard = \"serial:/dev/x\"\n[[peer]]", "both set"},
		{"a board without a way to it", `[[peer]]`, "[led]\nboard = \"/dev/x\"\n[[peer]]", `must be "serial:`},
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
	if _, err := readUpConfig(filepath.Join(t.TempDir(), "none.toml")); err == nil || !strings.Contains(err.Error(), "none.toml") {
		t.Errorf("a missing file gives %v", err)
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
