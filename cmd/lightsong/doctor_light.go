package main

import (
	"errors"

	"github.com/spf13/cobra"
)

// doctorLight is doctor for a configuration with [led].
func (o *doctorOptions) doctorLight(*cobra.Command, *upConfig) error {
	return errors.New("doctor measures sound, and the configuration has light: `lightsong status` of a running daemon shows the board's link")
}
