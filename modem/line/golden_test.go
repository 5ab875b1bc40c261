package line

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"lightsong/modem"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// The octets that docs/wire-light.md describes, for small bursts of a fresh
// sender that may use the highest chip rate.
func TestGoldenBodies(t *testing.T) {
	const file = "testdata/bodies.txt"
	frame := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(i)
		}
		return b
	}
	var got strings.Builder
	for _, b := range []*modem.Burst{
		{MCS: 10, Control: []byte("control")},
		{MCS: 10, Control: []byte("control"), Frames: [][]byte{frame(20), frame(20)}},
		{MCS: 8, Frames: [][]byte{frame(40)}},
		{MCS: 2, Control: []byte("control"), Frames: [][]byte{frame(20)}},
	} {
		bodies, err := (&Encoder{Copies: true}).Encode(b)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range bodies {
			fmt.Fprintf(&got, "mcs %d, control %q, %d frames: rate %d, %s\n", b.MCS, b.Control, len(b.Frames), x.Rate, hex.EncodeToString(x.Octets))
		}
	}
	if *update {
		if err := os.WriteFile(file, []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("bodies\n%swant\n%s", got.String(), want)
	}
}
