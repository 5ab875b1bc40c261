package led

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os"
	"testing"
)

// garbageContent writes the content of message number n to dst: its type, the
// number, and octets that follow from it, so that whoever gets it can tell
// whether it is what was sent. One in eight is RX, which may be long.
func garbageContent(dst []byte, n uint32) []byte {
	x := uint64(n)*0x9E3779B97F4A7C15 + 1
	length, kind := 2+int(x>>33%44), byte(msgTXDone)
	if n%8 == 0 {
		length, kind = rxHead+rxTrailer+int(x>>33%800), msgRX
	}
	dst = binary.LittleEndian.AppendUint32(append(dst, kind), n)
	for range length {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		dst = append(dst, byte(x>>32))
	}
	return dst
}

// Octets of the line are wrong, each by itself: no message is taken for another, and
// an error costs the message that it hits and at most the next.
//
// By theory one message in 65536 of those with more than 16 bits wrong passes the
// check; less is always found (CRC-16/X-25 finds each burst of at most 16 bits). At
// 1e-5 that needs two wrong octets in a message, or one that made a flag, an escape
// or a mark of something or something of them. LIGHTSONG_FIGURES=1 is the long run.
func TestGarbage(t *testing.T) {
	for _, run := range []struct {
		share    float64 // of wrong octets
		messages uint32
	}{{1e-3, 100_000}, {1e-5, 10_000_000}} {
		if run.share < 1e-4 && os.Getenv("LIGHTSONG_FIGURES") == "" {
			continue
		}
		garbage(t, run.share, run.messages)
	}
}

func garbage(t *testing.T, share float64, messages uint32) {
	const seed = 7
	rnd := rand.New(rand.NewPCG(seed, uint64(messages)))
	next := func() int { return int(math.Log(1-rnd.Float64()) / math.Log1p(-share)) } // octets before the next wrong one
	var (
		want, line                         []byte
		octets, errors, hit, got, innocent int
		wrong, alone, expected             = 0, 0, 0.0
		arrived, before, struck            bool
		at                                 = next()
		number                             uint32
	)
	p := parser{reg: crcStart, onMark: func() {}, onBroken: func([]byte) {}, onGrowth: func([]byte) {}}
	p.onMessage = func(c []byte) {
		if string(c) == string(want) {
			arrived = true
		} else if wrong++; wrong < 10 {
			t.Errorf("message %d: % X passed for it (seed %d)", number, c, seed)
		}
	}
	for number = range messages {
		want = garbageContent(want[:0], number)
		line = appendMessage(line[:0], want...)
		octets += len(line)
		struck = false
		n := 0
		for ; at < len(line); at += 1 + next() {
			was := line[at]
			line[at] ^= byte(1 + rnd.IntN(255))
			struck = true
			n++
			errors++
			if special(was) || special(line[at]) || n == 2 {
				expected += 1. / 65536
			}
		}
		at -= len(line)
		arrived = false
		p.push(line)
		switch {
		case arrived:
			got++
		case struck:
			hit++
		case before:
			innocent++
		default:
			alone++
		}
		before = struck
	}
	t.Logf("%d messages, %d octets of which %d were wrong: %d came, %d were hit, %d behind one that was were lost, %d by themselves; %d passed for others, theory %.3g",
		messages, octets, errors, got, hit, innocent, alone, wrong, expected)
	if alone > 0 {
		t.Errorf("%d messages were lost that neither were hit nor stood behind one that was (seed %d)", alone, seed)
	}
	if float64(errors) < 0.8*share*float64(octets) {
		t.Errorf("%d of %d octets were wrong, want a share of %g", errors, octets, share)
	}
}

func special(v byte) bool { return v >= mark && v <= flag }
