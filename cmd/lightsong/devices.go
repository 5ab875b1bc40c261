package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"lightsong/phy/audio"
	"lightsong/phy/audio/portaudio"
)

// Device is a sound card as `lightsong devices` lists it.
type Device struct {
	Device string `json:"device"` // what the configuration takes
	audio.CardInfo
}

// Devices is what `lightsong devices --json` prints.
type Devices struct {
	Library string   `json:"library"`
	Devices []Device `json:"devices"`
	Fault   string   `json:"fault,omitempty"` // of a library that could not even look
}

func devicesCommand() *cobra.Command {
	var (
		asJSON bool
		server string
	)
	cmd := &cobra.Command{
		Use:   "devices",
		Short: "List the sound devices",
		Long: `List the sound devices with the name that the configuration and --device take,
their channels in and out, the sample rates that they take, and their shortest
latency. "default" is whatever the system plays on and listens with. A part of a
name that only one device has will do as well: a card's number may change, its
name does not.`,
		Example: `  lightsong devices
  lightsong devices --server tcp:raspberrypi
  lightsong devices --json | jq -r '.devices[].device'`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !portaudio.Built {
				return portaudio.ErrNotBuilt
			}
			d := soundDevice{server: server}
			cards, err := audio.ListCards(cmd.Context(), d.spawn)
			if cmd.Context().Err() != nil {
				return errors.New("interrupted")
			}
			// A library that finds nothing at all may end its process: that is
			// no device, not a failure of the list.
			list := Devices{Library: portaudio.Version(), Devices: listDevices(cards)}
			if err != nil {
				list.Fault = err.Error()
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), list)
			}
			return list.print(cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object for programs")
	cmd.Flags().StringVar(&server, "server", "", "sound server, as in PULSE_SERVER: tcp:HOST, unix:/path (default: the system's)")
	return cmd
}

// listDevices gives each card the shortest name that means no other.
func listDevices(cards []audio.CardInfo) []Device {
	list := make([]Device, len(cards))
	for i, c := range cards {
		list[i] = Device{Device: cardScheme + c.Name, CardInfo: c}
		for j, other := range cards {
			if i != j && other.Name == c.Name {
				list[i].Device = cardScheme + c.API + "/" + c.Name
			}
		}
	}
	return list
}

func (l Devices) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if len(l.Devices) == 0 {
		fmt.Fprintf(w, "no sound device")
		if l.Fault != "" {
			fmt.Fprintf(w, ": %s", l.Fault)
		}
		fmt.Fprintln(w)
		return w.Flush()
	}
	fmt.Fprintf(w, "device\thost API\tin/out\trates, kHz\tlatency in/out\n")
	for _, d := range l.Devices {
		rates := make([]string, len(d.Rates))
		for i, r := range d.Rates {
			rates[i] = fmt.Sprintf("%g", float64(r)/1000)
		}
		defaults := ""
		switch {
		case d.DefaultInput && d.DefaultOutput:
			defaults = "  (default)"
		case d.DefaultInput:
			defaults = "  (default in)"
		case d.DefaultOutput:
			defaults = "  (default out)"
		}
		fmt.Fprintf(w, "%s%s\t%s\t%d/%d\t%s\t%.0f/%.0f ms\n", d.Device, defaults, d.API, d.Inputs, d.Outputs,
			strings.Join(rates, " "), d.InLatency, d.OutLatency)
	}
	return w.Flush()
}
