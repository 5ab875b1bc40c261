package led_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"lightsong/firmware/emu"
	"lightsong/firmware/emu/emutest"
	"lightsong/phy/led"
)

func TestMain(m *testing.M) {
	code := emutest.Main(m)
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// dial plugs in at a board.
func dial(lines *emu.Lines, board int) led.Dialer {
	return func(context.Context) (led.Port, error) { return lines.Open(board), nil }
}
