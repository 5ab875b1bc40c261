package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lightsong/modem"
	"lightsong/phy/audio"
	"lightsong/phy/audio/portaudio"
)

// The names of devices, in configurations and behind --device.
const (
	airScheme  = "air:" // a simulated medium behind a socket
	cardScheme = "pa:"  // a sound card that PortAudio knows by the rest of the name
)

const deviceUsage = `"default", "pa:NAME" (see ` + "`lightsong devices`" + `) or "air:/path/to/socket"`

// soundDevice says where samples come from and go to.
type soundDevice struct {
	device    string        // as above
	input     string        // a card that listens, if it is not the one that plays
	server    string        // PulseAudio's or PipeWire's, as in PULSE_SERVER; empty: the system's
	station   string        // the name in a simulated air
	rate      int           // Hz
	channels  int           // 2 plays and hears pairs; 0 stands for 1
	latency   time.Duration // of a card's buffer, each way
	roundTrip time.Duration // measured from Write to Read; 0: what the library says
}

// usualLatency of a card's buffer: less breaks under load.
const usualLatency = 50 * time.Millisecond

// check is the fault of what cannot be a device, or cannot in this build.
func (d soundDevice) check() error {
	for _, name := range []string{d.device, d.input} {
		switch {
		case name == "":
		case strings.HasPrefix(name, airScheme) && len(name) > len(airScheme):
		case name == audio.DefaultCard || strings.HasPrefix(name, cardScheme) && len(name) > len(cardScheme):
			if !portaudio.Built {
				return portaudio.ErrNotBuilt
			}
		default:
			return fmt.Errorf("device %q: must be %s", name, deviceUsage)
		}
	}
	switch {
	case d.device == "":
		return fmt.Errorf("device is not set: must be %s", deviceUsage)
	case d.input != "" && (strings.HasPrefix(d.input, airScheme) || strings.HasPrefix(d.device, airScheme)):
		return errors.New("a simulated medium both plays and listens: input goes with sound cards only")
	case d.latency < 10*time.Millisecond || d.latency > time.Second:
		return fmt.Errorf("latency %v: must be 10 to 1000 ms", d.latency)
	case d.roundTrip < 0 || d.roundTrip > 10*time.Second:
		return fmt.Errorf("round trip %v: must be 0 (what the device says) to 10000 ms", d.roundTrip)
	}
	return nil
}

// card is the name of a card without its scheme.
func card(name string) string { return strings.TrimPrefix(name, cardScheme) }

// open opens the device, to play, to listen, or both.
func (d soundDevice) open(ctx context.Context, play, listen bool) (audio.Stream, error) {
	if path, ok := strings.CutPrefix(d.device, airScheme); ok {
		if d.channels == 2 {
			return audio.DialPairAir(ctx, path, d.station, d.rate)
		}
		return audio.DialAir(ctx, path, d.station, d.rate)
	}
	request := audio.CardRequest{Rate: d.rate, Channels: d.channels, Latency: d.latency, RoundTrip: d.roundTrip}
	if play {
		request.Output = card(d.device)
	}
	if listen {
		request.Input = card(d.device)
		if d.input != "" {
			request.Input = card(d.input)
		}
	}
	return audio.OpenCard(ctx, d.spawn, request)
}

// reopening is the device, whenever it is there.
func (d soundDevice) reopening(play, listen bool, tell func(open bool, err error)) *audio.Reopening {
	return audio.Reopen(d.rate, d.channels, func(ctx context.Context) (audio.Stream, error) { return d.open(ctx, play, listen) }, tell)
}

// spawn starts the sound process.
func (d soundDevice) spawn() (*audio.SoundProcess, error) {
	env := append(os.Environ(), "JACK_NO_START_SERVER=1") // PortAudio tries JACK as well
	if d.server != "" {
		env = append(env, "PULSE_SERVER="+d.server)
	}
	return audio.StartSoundProcess(env, "/proc/self/exe", soundProcessName)
}

const soundProcessName = "sound-process"

// soundProcessCommand is what spawn starts.
func soundProcessCommand() *cobra.Command {
	return &cobra.Command{
		Use:     soundProcessName,
		Short:   "Serve a sound card to lightsong itself",
		Example: "  (started by lightsong)",
		Hidden:  true,
		Args:    exactly(),
		RunE: func(*cobra.Command, []string) error {
			conn, err := audio.SoundProcessConn()
			if err != nil {
				return err
			}
			return audio.ServeCard(conn, portaudio.Library{})
		},
	}
}

// Levels, dBFS RMS.
const (
	usualLevel    = modem.LevelDBFS // a burst's own
	quietestLevel = -72
)

// levelWarning says what is wrong with playing a profile at a level; empty:
// nothing.
func levelWarning(profile string, level float64) string {
	switch {
	case level <= usualLevel:
		return ""
	case profile == "ultra":
		return "ultrasound at a high level: hardly anybody hears it, but it can hurt children's and animals' ears and burn tweeters; −12 dBFS is the usual level"
	}
	return "a level above −12 dBFS clips the peaks of dense modes: raise the amplifier's volume instead"
}
