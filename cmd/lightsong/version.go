package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the Makefile from git.
var version = "development"

func versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version and how the binary was built",
		Example: "  lightsong version --json",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cgo := "unknown"
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, s := range info.Settings {
					if s.Key == "CGO_ENABLED" {
						cgo = map[string]string{"0": "off", "1": "on"}[s.Value]
					}
				}
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), map[string]string{
					"version": version, "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH, "cgo": cgo,
				})
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "lightsong %s (%s, %s/%s, cgo %s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH, cgo)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object for programs")
	return cmd
}
