package audio

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"sync"
)

// The messages between daemon and sound process, one program at both ends:
//
//	kind (1) | 0 (1) | octets of the body (2) | body
//
// Numbers are little endian, samples float32.
const (
	cardRequest  = 'r' // daemon: CardRequest, JSON
	cardWelcomed = 'w' // sound process: cardWelcome, JSON
	cardFailed   = 'f' // sound process: why it has failed, one sentence
	cardSamples  = 's' // daemon: to play; sound process: heard
	cardBurstEnd = 'e' // daemon: the burst is whole
	cardTaken    = 't' // sound process: so many samples of a burst are in the card's buffer (8)
	cardLost     = 'l' // sound process: so many samples were lost before the next ones (8)
	cardSplit    = 'x' // sound process: so many bursts were split by silence (8)
)

const (
	cardHeader     = 4
	maxCardBody    = math.MaxUint16
	maxCardSamples = maxCardBody / 4
)

var errCardProtocol = errors.New("sound process: not its protocol")

// cardWire carries messages. One goroutine receives, any may send.
type cardWire struct {
	conn net.Conn
	r    *bufio.Reader
	head [cardHeader]byte
	body []byte

	mu  sync.Mutex
	out []byte
}

func newCardWire(conn net.Conn) *cardWire {
	return &cardWire{conn: conn, r: bufio.NewReaderSize(conn, 16<<10)}
}

// receive returns the next message; its body is valid until the next one.
// io.EOF is the end between two messages.
func (w *cardWire) receive() (kind byte, body []byte, err error) {
	if _, err := io.ReadFull(w.r, w.head[:]); err != nil {
		return 0, nil, err
	}
	n := int(binary.LittleEndian.Uint16(w.head[2:]))
	w.body = slices.Grow(w.body[:0], n)[:n]
	if _, err := io.ReadFull(w.r, w.body); err != nil {
		return 0, nil, noEOF(err)
	}
	return w.head[0], w.body, nil
}

// message begins a message in w.out, which the caller has locked.
func (w *cardWire) message(kind byte, octets int) {
	w.out = append(w.out[:0], kind, 0)
	w.out = binary.LittleEndian.AppendUint16(w.out, uint16(octets))
}

func (w *cardWire) flush() error {
	_, err := w.conn.Write(w.out)
	return err
}

func (w *cardWire) send(kind byte, body []byte) error {
	if len(body) > maxCardBody {
		return fmt.Errorf("%w: a message of %d octets", errCardProtocol, len(body))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.message(kind, len(body))
	w.out = append(w.out, body...)
	return w.flush()
}

func (w *cardWire) sendJSON(kind byte, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return w.send(kind, body)
}

func (w *cardWire) sendCount(kind byte, n int64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.message(kind, 8)
	w.out = binary.LittleEndian.AppendUint64(w.out, uint64(n))
	return w.flush()
}

// sendSamples sends up to maxCardSamples.
func (w *cardWire) sendSamples(p []float32) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.message(cardSamples, 4*len(p))
	for _, v := range p {
		w.out = binary.LittleEndian.AppendUint32(w.out, math.Float32bits(v))
	}
	return w.flush()
}

// count reads the body of a message that is a number.
func count(body []byte) (int64, error) {
	if len(body) != 8 {
		return 0, errCardProtocol
	}
	return int64(binary.LittleEndian.Uint64(body)), nil
}

// appendFloats appends the samples of a message's body.
func appendFloats(dst []float32, body []byte) []float32 {
	for ; len(body) >= 4; body = body[4:] {
		dst = append(dst, math.Float32frombits(binary.LittleEndian.Uint32(body)))
	}
	return dst
}
