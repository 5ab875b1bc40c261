package led

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed" // the boards' image
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"lightsong/phy"
)

// The images that `make firmware` builds, the same octets everywhere, and the
// checksums that they must have.
var (
	//go:embed images/lightsong-atmega328p.hex
	imageATmega328P []byte
	//go:embed images/lightsong-atmega328p-led.hex
	imageOneLED []byte
	//go:embed images/SHA256SUMS
	imageSums string
)

// ErrImage is wrapped by errors about an image that is not fit to be flashed.
var ErrImage = errors.New("not an image for this board")

// ImageATmega328P is the firmware for an ATmega328P (Arduino Uno, Nano) with a
// comparator as Intel hex, and its SHA-256 in hexadecimal. The error says that
// this program was built from damaged files.
func ImageATmega328P() (image []byte, sum string, err error) {
	return checked(imageATmega328P, "lightsong-atmega328p.hex")
}

// ImageOneLED is likewise the firmware for an ATmega328P whose one LED both sends
// and hears.
func ImageOneLED() (image []byte, sum string, err error) {
	return checked(imageOneLED, "lightsong-atmega328p-led.hex")
}

func checked(image []byte, name string) ([]byte, string, error) {
	digest := sha256.Sum256(image)
	sum := hex.EncodeToString(digest[:])
	for line := range strings.Lines(imageSums) {
		if want, of, _ := strings.Cut(strings.TrimSpace(line), "  "); of == name && want == sum {
			return image, sum, nil
		}
	}
	return nil, "", fmt.Errorf("%w: the built-in image %s has checksum %s, which is not the one noted", ErrImage, name, sum)
}

// CheckImage reads Intel hex and returns how many octets of flash it fills. It
// must leave the boot loader alone: no address from limit on.
func CheckImage(image []byte, limit int) (octets int, err error) {
	fault := func(line int, why string) (int, error) {
		return 0, fmt.Errorf("%w: line %d: %s", ErrImage, line+1, why)
	}
	base, ended := 0, false
	lines := bytes.Split(bytes.TrimSpace(bytes.ReplaceAll(image, []byte("\r"), nil)), []byte("\n"))
	for i, text := range lines {
		if len(text) == 0 || text[0] != ':' || ended {
			return fault(i, "not Intel hex")
		}
		record, err := hex.DecodeString(string(text[1:]))
		if err != nil || len(record) < 5 || len(record) != int(record[0])+5 {
			return fault(i, "not Intel hex")
		}
		sum := byte(0)
		for _, v := range record {
			sum += v
		}
		if sum != 0 {
			return fault(i, "its checksum is wrong")
		}
		data := record[4 : len(record)-1]
		switch record[3] {
		case 0:
			if base+int(record[1])<<8+int(record[2])+len(data) > limit {
				return fault(i, fmt.Sprintf("it reaches beyond the %d octets that the boot loader leaves", limit))
			}
			octets += len(data)
		case 1:
			ended = true
		case 2, 4:
			if len(data) != 2 {
				return fault(i, "not Intel hex")
			}
			base = (int(data[0])<<8 | int(data[1])) << 4
			if record[3] == 4 {
				base <<= 12
			}
		case 3, 5: // where a program starts; a microcontroller knows by itself
		default:
			return fault(i, "a kind of record that is not known")
		}
	}
	if !ended || octets == 0 {
		return fault(len(lines)-1, "it breaks off")
	}
	return octets, nil
}

// Identify opens the line, asks who is there and closes it again.
func Identify(ctx context.Context, dial Dialer) (Info, error) {
	port, err := dial(ctx)
	if err != nil {
		return Info{}, err
	}
	c := newConnection(port, deaf{})
	defer c.end(phy.ErrClosed)
	if err := c.find(ctx, baseSpeed); err != nil {
		return Info{}, err
	}
	return c.info, nil
}

// deaf is a sink for a line on which only questions are asked.
type deaf struct{}

func (deaf) rxGrows([]byte) {}
func (deaf) rxWhole([]byte) {}
func (deaf) rxBroken()      {}
func (deaf) carrier(bool)   {}
func (deaf) serialBad()     {}
