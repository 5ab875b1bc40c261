// Command lightsong carries IP over sound and light.
//
// The files of this folder are the command line: main.go is the root, every
// other file is one subcommand or what several of them share (config.go,
// control.go, netns.go). Only here are TOML, cobra and HTTP known, and only here
// are the rooms of the house wired together.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// usageError is a fault in how the program was called: exit code 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, rootCommand(), os.Args[1:])
	stop()
	os.Exit(code)
}

// run executes the command line and returns the exit code: 0, 1 for a failure, 2
// for a wrong call. The failure is one sentence on standard error.
func run(ctx context.Context, root *cobra.Command, args []string) int {
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(root.ErrOrStderr(), "lightsong:", err)
	if errors.As(err, new(usageError)) {
		return 2
	}
	return 1
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "lightsong",
		Short: "IP over sound and light",
		Long: `lightsong gives a Linux host a network interface whose cable is a loudspeaker
and a microphone, an audio lead, or light.`,
		Example: `  lightsong demo                     two hosts in one simulated room: ping and TCP
  lightsong doctor                   measure the sound path, say what to do next
  lightsong up -c a.toml             bring a link up
  lightsong send --profile fsk --wav out.wav FILE
  lightsong recv --profile fsk --wav out.wav -o FILE`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SuggestionsMinimumDistance = 2
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see `%s --help`", err, cmd.CommandPath())}
	})
	root.AddCommand(
		demoCommand(), upCommand(), simCommand(), sendCommand(), recvCommand(),
		modesCommand(), benchCommand(), statusCommand(), flashCommand(), versionCommand(),
		devicesCommand(), doctorCommand(), soundProcessCommand(),
	)
	return root
}

// noCommand is the root's check of arguments: what is no subcommand is a typo.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("unknown command %q", args[0])
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		err = fmt.Errorf("%w: did you mean %q?", err, near[0])
	}
	return usageError{fmt.Errorf("%w; see `lightsong --help`", err)}
}

// exactly is cobra.ExactArgs with our exit code and a name for each argument.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) > len(names):
			return usageError{fmt.Errorf("unexpected argument %q; see `%s --help`", args[len(names)], cmd.CommandPath())}
		case len(args) < len(names):
			return usageError{fmt.Errorf("missing argument %s; see `%s --help`", names[len(args)], cmd.CommandPath())}
		}
		return nil
	}
}
