package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"lightsong/firmware/emu/emutest"
)

// asCommand makes this test binary behave as lightsong itself, so that tests
// can start real daemons.
const asCommand = "LIGHTSONG_TEST_AS_COMMAND"

// atEnd is called after the last test.
var atEnd []func()

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		code := run(ctx, rootCommand(), os.Args[1:])
		stop()
		os.Exit(code)
	}
	if !mayMakeNamespaces() {
		code, err := reexecAsRoot(context.Background())
		if err != nil {
			fmt.Fprintln(os.Stderr, "the daemon's tests need network namespaces:", err)
			os.Exit(1)
		}
		os.Exit(code)
	}
	os.Setenv(asCommand, "1") // for the children
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		emutest.Clean()
		for _, f := range atEnd {
			f()
		}
		os.Exit(code)
	}))
}

// lightsong runs a command line in this process and returns what it printed.
func lightsong(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs strings.Builder
	root := rootCommand()
	root.SetOut(&out)
	root.SetErr(&errs)
	code = run(t.Context(), root, args)
	return code, out.String(), errs.String()
}

func TestUsage(t *testing.T) {
	for _, tt := range []struct {
		args []string
		code int
		want string // part of standard error
	}{
		{[]string{"dmeo"}, 2, `unknown command "dmeo": did you mean "demo"?`},
		{[]string{"demo", "moon"}, 2, `medium "moon" does not exist: the media are air, cable, cable2, light`},
		{[]string{"demo", "--count", "0"}, 2, "at least one ping"},
		{[]string{"modes", "--jsn"}, 2, "see `lightsong modes --help`"},
		{[]string{"modes", "extra"}, 2, `unexpected argument "extra"`},
		{[]string{"up", "-c", "/nowhere/a.toml"}, 1, "/nowhere/a.toml"},
		{[]string{"sim", "-c", "/nowhere/air.toml"}, 1, "/nowhere/air.toml"},
		{[]string{"status", "--control", "/nowhere/x.sock"}, 1, "no daemon answers at /nowhere/x.sock"},
	} {
		code, stdout, stderr := lightsong(t, tt.args...)
		if code != tt.code || !strings.Contains(stderr, tt.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: exit %d, %q: want exit %d, one line with %q", tt.args, code, stderr, tt.code, tt.want)
		}
		if stdout != "" {
			t.Errorf("%q printed %q", tt.args, stdout)
		}
	}
}

// TestHelp wants an example in the help of every command.
func TestHelp(t *testing.T) {
	for _, c := range rootCommand().Commands() {
		if c.Example == "" || c.Short == "" {
			t.Errorf("%s has no example or no description", c.Name())
		}
		if code, stdout, _ := lightsong(t, c.Name(), "--help"); code != 0 || !strings.Contains(stdout, "Usage:") {
			t.Errorf("%s --help: exit %d, %q", c.Name(), code, stdout)
		}
	}
}
