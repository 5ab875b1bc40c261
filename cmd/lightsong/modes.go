package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"lightsong/modem"
	"lightsong/modem/line"
	"lightsong/phy/audio"
)

// tableRate is the sample rate for which the tables of modes are printed.
const tableRate = 48000

func modesCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "modes",
		Short: "List every profile and MCS with its bit rate, bandwidth and required SNR",
		Long: `List every profile and MCS (modulation and coding scheme) at 48 kHz: the net bit
rate with everything on the medium counted, the bandwidth, and the SNR (signal
power over noise power in 0–24 kHz) from which 90 % of full frames are received
over white Gaussian noise. For light (profiles led, and u6 for a bare UART at
2 Mbaud) there are no samples: the SNR is the figure that bit error rates are
turned into, see docs/light.md.`,
		Example: `  lightsong modes
  lightsong modes --json | jq '.[] | select(.snr_db < 0)'`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			modes := []modem.Mode{}
			for _, name := range audio.Profiles() {
				m, err := audio.OpenModem(name, tableRate)
				if err != nil {
					return err
				}
				modes = append(modes, m.Modes...)
			}
			modes = append(modes, line.Modes()...)
			modes = append(modes, line.U6Modes(usualBaud)...)
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), modes)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', tabwriter.AlignRight)
			fmt.Fprintln(w, "profile\tmcs\tnet bit/s\tbandwidth Hz\tSNR dB\t  description")
			for _, m := range modes {
				fmt.Fprintf(w, "%s\t%d\t%.0f\t%.0f\t%.1f\t  %s\n", m.Profile, m.MCS, m.NetBPS, m.BandwidthHz, m.SNRdB, m.Description)
			}
			return w.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array for programs")
	return cmd
}

// writeJSON prints v for programs: indented, one value, a newline at its end.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
