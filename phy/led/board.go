package led

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	creditReserve = 16 // octets of the window kept for a question about credit

	helloEvery   = 250 * time.Millisecond
	helloFor     = 6 * time.Second        // a boot loader takes 2 s, a board at another speed 3 s to come back
	answerWait   = 300 * time.Millisecond // for a question where no light is handled
	fallBackWait = 600 * time.Millisecond // until a board has taken back a speed that was not confirmed
	settleSpeed  = 2 * time.Millisecond

	writeDeadline  = time.Second             // for one Write; the line needs a tenth of it
	keepAlive      = 800 * time.Millisecond  // silence after which the board is asked for its credit
	deadAfter      = 3 * time.Second         // without an octet from it
	txSlack        = 500 * time.Millisecond  // beyond the time on the light, for a report that a frame has left
	ledCreditStall = 2500 * time.Millisecond // likewise for a board whose one LED both sends and hears
	creditStall    = 150 * time.Millisecond  // without credit beyond the time of the longest light frame: ask
)

// ErrVersion is wrapped by the error about a board that speaks another version
// of the protocol: no patience mends it.
var ErrVersion = errors.New("the board's firmware does not fit this program")

// errBoard is what ends a connection that the board does not keep up.
var errBoard = errors.New("the board does not answer")

// txDone is the board's report about a light frame.
type txDone struct {
	seq, status uint8
	refused     bool // ERROR instead: the frame was not taken
}

// connection is one life of the serial line, from its opening to its loss.
type connection struct {
	port  Port
	info  Info
	speed int

	dead   chan struct{} // closed when the line is lost
	once   sync.Once
	reason error

	heard   atomic.Int64 // UnixNano of the last octet
	answers chan []byte  // INFO, BAUD, ACK, ECHO, PRBS, ERROR
	done    chan txDone
	parser  parser
	sink    sink
	readers sync.WaitGroup

	// The writer takes turns: who has a token from turn may write.
	turn    chan struct{}
	out     chan []byte
	wrote   chan error
	timer   *time.Timer
	scratch []byte

	mu       sync.Mutex
	window   int // 0 before INFO: no limit
	sent     int // octets since HELLO
	consumed int
	credit   chan struct{} // consumed has changed
}

// sink is where a connection puts what the board heard. Its methods are called
// by the reader.
type sink interface {
	rxGrows(content []byte)
	rxWhole(content []byte)
	rxBroken()
	carrier(busy bool)
	serialBad()
}

func newConnection(port Port, s sink) *connection {
	c := &connection{
		port: port, speed: baseSpeed, sink: s,
		dead: make(chan struct{}), answers: make(chan []byte, 8), done: make(chan txDone, 256),
		turn: make(chan struct{}, 1), out: make(chan []byte), wrote: make(chan error, 1), credit: make(chan struct{}, 1),
		timer: time.NewTimer(time.Hour),
	}
	c.timer.Stop()
	c.turn <- struct{}{}
	c.parser = parser{reg: crcStart, onMark: c.gotMark, onMessage: c.gotMessage, onBroken: c.gotBroken, onGrowth: s.rxGrows, content: make([]byte, 0, maxContent)}
	c.heard.Store(time.Now().UnixNano())
	c.readers.Go(c.read)
	go c.write()
	return c
}

// fail ends the connection; the first reason counts.
func (c *connection) fail(err error) {
	c.once.Do(func() {
		c.reason = err
		close(c.dead)
		_ = c.port.Close() // it is lost already
	})
}

func (c *connection) isDead() bool {
	select {
	case <-c.dead:
		return true
	default:
		return false
	}
}

// end closes the connection and waits for the reader.
func (c *connection) end(err error) {
	c.fail(err)
	c.readers.Wait()
}

func (c *connection) read() {
	var buf [4096]byte
	for {
		n, err := c.port.Read(buf[:])
		if n > 0 {
			c.heard.Store(time.Now().UnixNano())
			c.parser.push(buf[:n])
		}
		if err != nil {
			c.fail(fmt.Errorf("the serial line is lost: %w", err))
			return
		}
	}
}

// write is the goroutine that may hang in Port.Write, where a device has wedged;
// nobody waits for it then.
func (c *connection) write() {
	for {
		select {
		case p := <-c.out:
			_, err := c.port.Write(p)
			c.wrote <- err // has room: one at a time
		case <-c.dead:
			return
		}
	}
}

// put writes p, for who has the turn.
func (c *connection) put(p []byte) error {
	select {
	case c.out <- p:
	case <-c.dead:
		return c.reason
	}
	c.timer.Reset(writeDeadline)
	defer c.timer.Stop()
	select {
	case err := <-c.wrote:
		if err != nil {
			c.fail(fmt.Errorf("the serial line is lost: %w", err))
			return c.reason
		}
		return nil
	case <-c.timer.C:
		c.fail(fmt.Errorf("%w: it takes no octets", errBoard))
	case <-c.dead:
	}
	return c.reason
}

// say writes one short message out of turn with light frames. A question about
// credit may use the reserve.
func (c *connection) say(content ...byte) error {
	select {
	case <-c.turn:
	case <-c.dead:
		return c.reason
	}
	defer func() { c.turn <- struct{}{} }()
	return c.tell(content...)
}

// tell is say for who has the turn.
func (c *connection) tell(content ...byte) error {
	c.scratch = appendMessage(c.scratch[:0], content...)
	c.mu.Lock()
	c.sent += len(c.scratch)
	c.mu.Unlock()
	return c.put(c.scratch)
}

// room is how many octets of light frames may be written now.
func (c *connection) room() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.window - creditReserve - (c.sent - c.consumed)
}

func (c *connection) gotMark() {
	c.mu.Lock()
	c.consumed += c.info.Mark
	c.consumed = min(c.consumed, c.sent) // noise that looks like a mark
	c.mu.Unlock()
	c.creditCame()
}

func (c *connection) creditCame() {
	select {
	case c.credit <- struct{}{}:
	default:
	}
}

func (c *connection) gotBroken(content []byte) {
	c.sink.serialBad()
	if len(content) > 0 && content[0] == msgRX {
		c.sink.rxBroken()
	}
}

func (c *connection) gotMessage(m []byte) {
	switch {
	case m[0] == msgRX:
		if len(m) < rxHead+rxTrailer {
			c.gotBroken(m)
			return
		}
		c.sink.rxWhole(m)
	case m[0] == msgTXDone && len(m) >= 3:
		c.report(txDone{seq: m[1], status: m[2]})
	case m[0] == msgError && len(m) >= 3 && m[2] == msgTX:
		c.report(txDone{refused: true})
	case m[0] == msgCreditTold && len(m) >= 3:
		c.mu.Lock()
		c.consumed = c.sent - int(uint16(c.sent)-binary.LittleEndian.Uint16(m[1:]))
		c.mu.Unlock()
		c.creditCame()
	case m[0] == msgSenseTold && len(m) >= 2:
		c.sink.carrier(m[1] != 0)
	case m[0] == msgInfo || m[0] == msgBaudTold || m[0] == msgAck || m[0] == msgEchoTold || m[0] == msgPRBSTold || m[0] == msgError:
		select {
		case c.answers <- append([]byte(nil), m...):
		default: // nobody asked
		}
	}
}

func (c *connection) report(d txDone) {
	select {
	case c.done <- d:
	default: // nobody has sent that much
	}
}

// ask says something and waits for an answer of a kind.
func (c *connection) ask(ctx context.Context, kind byte, content ...byte) ([]byte, error) {
	return c.askWithin(ctx, answerWait, kind, content...)
}

func (c *connection) askWithin(ctx context.Context, wait time.Duration, kind byte, content ...byte) ([]byte, error) {
	for len(c.answers) > 0 {
		<-c.answers
	}
	if err := c.say(content...); err != nil {
		return nil, err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case m := <-c.answers:
			if m[0] == kind || m[0] == msgError && len(m) >= 3 && m[2] == content[0] {
				return m, nil
			}
		case <-timer.C:
			return nil, errBoard
		case <-c.dead:
			return nil, c.reason
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// hello asks once who is there.
func (c *connection) hello(ctx context.Context) error {
	c.mu.Lock()
	c.window = 0
	c.mu.Unlock()
	m, err := c.ask(ctx, msgInfo, msgHello, protocolMajor, protocolMinor)
	if err != nil {
		return err
	}
	if m[0] == msgError {
		return fmt.Errorf("%w: it says %q; flash it anew: lightsong flash", ErrVersion, printable(m[3:]))
	}
	info, ok := parseInfo(m)
	if !ok {
		return errBoard
	}
	if info.Major != protocolMajor {
		return fmt.Errorf("%w: it speaks protocol %d, this program speaks %d; flash it anew: lightsong flash", ErrVersion, info.Major, protocolMajor)
	}
	c.mu.Lock()
	c.info, c.window, c.sent, c.consumed = info, info.Window, 0, 0
	c.mu.Unlock()
	return nil
}

func printable(b []byte) string {
	out := make([]byte, 0, len(b))
	for _, v := range b {
		if v < ' ' || v > '~' {
			v = '?'
		}
		out = append(out, v)
	}
	return string(out)
}

func (c *connection) setSpeed(baud int) error {
	if baud == c.speed {
		return nil
	}
	if err := c.port.SetSpeed(baud); err != nil {
		c.fail(err)
		return err
	}
	c.speed = baud
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// shake makes the board ready, at a speed of at most maxSpeed and configured as
// configure says of such a board. One that falls silent on the way, because noise took
// what it was asked or light keeps it from answering, is looked for again.
func (c *connection) shake(ctx context.Context, maxSpeed int, configure func(Info) ([]byte, error)) error {
	for began := time.Now(); ; {
		err := c.prepare(ctx, maxSpeed, configure)
		if !errors.Is(err, errBoard) || c.isDead() || time.Since(began) >= helloFor {
			return err
		}
	}
}

// prepare finds the board, raises the speed and configures it.
func (c *connection) prepare(ctx context.Context, maxSpeed int, configure func(Info) ([]byte, error)) error {
	if err := c.find(ctx, maxSpeed); err != nil {
		return err
	}
	config, err := configure(c.info)
	if err != nil {
		return err
	}
	c.raise(ctx, maxSpeed)
	m, err := c.ask(ctx, msgAck, config...)
	if err != nil {
		m, err = c.ask(ctx, msgAck, config...) // an octet may have been damaged
	}
	if err != nil {
		return err
	}
	if m[0] == msgError {
		return fmt.Errorf("the board refuses its configuration: %s", printable(m[3:]))
	}
	return nil
}

// find says hello until somebody answers. A board may be in its boot loader, or
// still at the speed of a program before us; so each third question is asked at
// that speed.
func (c *connection) find(ctx context.Context, maxSpeed int) error {
	for began, i := time.Now(), 0; time.Since(began) < helloFor; i++ {
		speed := baseSpeed
		if i%3 == 2 {
			speed = maxSpeed
		}
		if err := c.setSpeed(speed); err != nil {
			return err
		}
		asked := time.Now()
		err := c.hello(ctx)
		if err == nil || !errors.Is(err, errBoard) {
			return err
		}
		if err := pause(ctx, helloEvery-time.Since(asked)); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: nothing that speaks lightsong's protocol is on the line; flash it: lightsong flash", errBoard)
}

// raise goes to the highest speed that both have and the line carries. Where none
// works it stays where it is.
func (c *connection) raise(ctx context.Context, maxSpeed int) {
	for i := len(speeds) - 1; i >= 0; i-- {
		speed := speeds[i]
		if speed > maxSpeed || c.info.Speeds>>i&1 == 0 {
			continue
		}
		if speed == c.speed {
			return
		}
		before := c.speed
		m, err := c.ask(ctx, msgBaudTold, binary.LittleEndian.AppendUint32([]byte{msgBaud}, uint32(speed))...)
		if err != nil || m[0] != msgBaudTold {
			continue
		}
		if c.setSpeed(speed) != nil || pause(ctx, settleSpeed) != nil {
			return
		}
		for range 2 { // the first may fall into the change
			if c.hello(ctx) == nil {
				return
			}
		}
		_ = pause(ctx, fallBackWait)
		_ = c.setSpeed(baseSpeed)
		if c.hello(ctx) != nil && before != baseSpeed {
			return
		}
	}
}

// watch keeps the board's speed and finds out when it is gone. It returns when the
// connection is lost or ctx ends.
func (c *connection) watch(ctx context.Context) {
	ticker := time.NewTicker(keepAlive)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			silent := time.Since(time.Unix(0, c.heard.Load()))
			if silent > deadAfter {
				select {
				case <-c.turn: // it may still listen
					_ = c.tell(msgReset)
				default:
				}
				c.fail(fmt.Errorf("%w: it has said nothing for %v", errBoard, silent.Round(100*time.Millisecond)))
				return
			}
			// Who sends has the turn, and the board then hears enough of us.
			select {
			case <-c.turn:
				err := c.tell(msgCredit)
				c.turn <- struct{}{}
				if err != nil {
					return
				}
			default:
			}
		case <-c.dead:
			return
		case <-ctx.Done():
			return
		}
	}
}
