package led

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"time"

	"lightsong/phy"
)

// Tester is a board without a link on it: boards send a test sequence and compare
// what they hear with it by themselves (PRBS, firmware/PROTOCOL.md §7), the serial
// line idle meanwhile. One goroutine uses it at a time.
type Tester struct {
	c   *connection
	dim byte
	max int // baud
}

// PRBS is a board's count of a test.
type PRBS struct {
	Frames  uint32 // sent, or heard
	Bits    uint32 // in them, but for those of slipped frames
	Wrong   uint32 // of the bits
	Slipped uint16 // frames heard with more than a quarter of their bits wrong
}

// TestOctets are the most of a test frame.
const TestOctets = 192

// longestTest is how long a board may be left alone: after 3 s without a message it
// returns to 115200 baud.
const longestTest = 2500 * time.Millisecond

// OpenTester finds the board, as Open does. Of cfg only Dial, MaxSpeed and Dim matter.
func OpenTester(ctx context.Context, cfg Config) (*Tester, error) {
	port, err := cfg.Dial(ctx)
	if err != nil {
		return nil, err
	}
	t := &Tester{c: newConnection(port, deaf{})}
	t.max = cmp.Or(cfg.MaxSpeed, 1000000)
	if err := t.c.find(ctx, t.max); err != nil {
		t.c.end(err)
		return nil, err
	}
	t.c.raise(ctx, t.max)
	t.dim = cfg.dim(t.c.info)
	return t, nil
}

// Speed is the serial line's, baud.
func (t *Tester) Speed() int { return t.c.speed }

// Info is what the board tells of itself.
func (t *Tester) Info() Info { return t.c.info }

// Close ends a test that runs and closes the line.
func (t *Tester) Close() error {
	err := t.c.say(msgPRBS, 0, 0, 0, 0, 0)
	t.c.end(phy.ErrClosed)
	return err
}

// echoWait is longer than the longest light frame, for which a question waits.
const echoWait = time.Second

// Echo lets n messages go to the board and back over the serial line and returns how
// many came back as they were.
func (t *Tester) Echo(ctx context.Context, n int) (good int, err error) {
	if err := t.reach(ctx); err != nil {
		return 0, err
	}
	// At the slowest rate it hears the least of what may be on the light meanwhile.
	if err := t.listenAt(ctx, bits.Len8(t.c.info.Rates)-1); err != nil {
		return 0, err
	}
	rnd := rand.New(rand.NewPCG(1, uint64(n)))
	question := make([]byte, 18)
	question[0] = msgEcho
	for range n {
		for i := 1; i < len(question); i++ {
			question[i] = byte(rnd.Uint32())
		}
		m, err := t.c.askWithin(ctx, echoWait, msgEchoTold, question...)
		switch {
		case t.c.isDead() || ctx.Err() != nil:
			return good, err
		case err == nil && bytes.Equal(m[1:], question[1:]):
			good++
		}
	}
	return good, nil
}

// Send sends so many test frames of so many octets at a chip rate, and returns when
// they have left.
func (t *Tester) Send(ctx context.Context, rate, octets, frames int) (PRBS, error) {
	if err := t.begin(ctx, 1, rate, octets, frames); err != nil {
		return PRBS{}, err
	}
	// The slowest rate's longest frame takes less than 2 s.
	return t.await(ctx, time.Duration(frames)*2*time.Second)
}

// Hear compares test frames at a chip rate for as long as limit says, 2.5 s at most.
func (t *Tester) Hear(ctx context.Context, rate int, limit time.Duration) (PRBS, error) {
	if err := t.begin(ctx, 2, rate, TestOctets, 0); err != nil {
		return PRBS{}, err
	}
	if err := pause(ctx, min(limit, longestTest)); err != nil {
		return PRBS{}, err
	}
	// While a frame is being heard questions wait.
	var err error
	for range 10 {
		var m []byte
		if m, err = t.c.ask(ctx, msgPRBSTold, msgPRBS, 0, 0, 0, 0, 0); err == nil {
			return parsePRBS(m)
		}
		if t.c.isDead() || ctx.Err() != nil {
			break
		}
	}
	return PRBS{}, err
}

// reach says HELLO, which ends a test before and begins the count of credits anew. A
// board answers when it has sent or heard what is on the light; one that has returned
// to 115200 baud is looked for.
func (t *Tester) reach(ctx context.Context) error {
	for range 5 {
		if err := t.c.hello(ctx); err == nil || t.c.isDead() || ctx.Err() != nil {
			return err
		}
	}
	if err := t.c.find(ctx, t.max); err != nil {
		return err
	}
	t.c.raise(ctx, t.max)
	return nil
}

// begin starts a test in a mode of PRBS, at one rate alone.
func (t *Tester) begin(ctx context.Context, mode byte, rate, octets, frames int) error {
	if rate < 0 || rate > 7 || t.c.info.Rates>>rate&1 == 0 {
		return fmt.Errorf("chip rate %d: the board does not have it", rate)
	}
	if octets < 1 || octets > TestOctets || frames < 0 || frames > 65535 {
		return fmt.Errorf("%d test frames of %d octets: must be at most 65535 of 1 to %d", frames, octets, TestOctets)
	}
	if err := t.reach(ctx); err != nil {
		return err
	}
	if err := t.listenAt(ctx, rate); err != nil {
		return err
	}
	m, err := t.c.ask(ctx, msgPRBSTold, binary.LittleEndian.AppendUint16([]byte{msgPRBS, mode, byte(rate), byte(octets)}, uint16(frames))...)
	if err == nil && m[0] == msgError {
		err = fmt.Errorf("the board refuses a test: %s", printable(m[3:]))
	}
	return err
}

// listenAt makes the board listen at one rate alone.
func (t *Tester) listenAt(ctx context.Context, rate int) error {
	config := []byte{msgConfig, 1 << rate, t.dim, 0}
	m, err := t.c.ask(ctx, msgAck, binary.LittleEndian.AppendUint16(config, gapMicros)...)
	if err == nil && m[0] == msgError {
		err = fmt.Errorf("the board refuses its configuration: %s", printable(m[3:]))
	}
	return err
}

// await waits for the report at a test's end.
func (t *Tester) await(ctx context.Context, limit time.Duration) (PRBS, error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		select {
		case m := <-t.c.answers:
			if m[0] == msgPRBSTold {
				return parsePRBS(m)
			}
		case <-timer.C:
			return PRBS{}, errBoard
		case <-t.c.dead:
			return PRBS{}, t.c.reason
		case <-ctx.Done():
			return PRBS{}, ctx.Err()
		}
	}
}

func parsePRBS(m []byte) (PRBS, error) {
	if m[0] != msgPRBSTold || len(m) < 17 {
		return PRBS{}, fmt.Errorf("%w: its report about a test cannot be read", errBoard)
	}
	le := binary.LittleEndian
	return PRBS{Frames: le.Uint32(m[2:]), Bits: le.Uint32(m[6:]), Wrong: le.Uint32(m[10:]), Slipped: le.Uint16(m[14:])}, nil
}
