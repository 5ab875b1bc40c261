package audio

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"sync"
	"time"
)

// The protocol of the simulated air's socket: a stream of messages, all numbers
// little endian. docs/air.md has the layout with an example.
//
//	client                                 air
//	AirHello ────────────────────────────►
//	          ◄──────────────────────────── AirWelcome, or why not
//	block 0 (what it plays) ─────────────►
//	          ◄──────────────────────────── block 0 (what it hears)
//	block 1 ─────────────────────────────► …
//
// A client's block means: I have done with what I heard so far, and this is what
// I play next. The air answers when its time has come.

// Limits of the protocol.
const (
	airMagic         = "LSAIR\x01" // the last octet is the version
	airPairVersion   = 2           // of a hello of two channels
	MaxAirName       = 64          // octets of a station's name
	MaxAirBlock      = 4096        // samples of a block, of all channels together
	maxAirRefusal    = 1024        // octets of a refusal's sentence
	maxAirLatency    = 1 << 20     // samples
	airBlockHeader   = 8           // octets
	airRefused       = 1
	airAccepted      = 0
	airHandshakeTime = 10 * time.Second
)

// ErrAirProtocol is wrapped by errors about a peer that does not speak the
// protocol.
var ErrAirProtocol = errors.New("not the air's protocol")

// AirHello is a client's first message.
//
//	magic "LSAIR" (5) | version 1 (1) | rate, Hz (4) | length of name (1) | name
//	magic "LSAIR" (5) | version 2 (1) | rate, Hz (4) | length of name (1) | name | channels 2 (1)
type AirHello struct {
	Rate     int    // samples per second
	Name     string // of the station, 1 to MaxAirName octets
	Channels int    // 2, or 0 for one
}

// AppendAirHello appends the message to dst. Rate and name are the caller's to
// check: a name beyond MaxAirName octets is cut.
func AppendAirHello(dst []byte, h AirHello) []byte {
	start, name := len(dst), h.Name[:min(len(h.Name), MaxAirName)]
	dst = append(dst, airMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(h.Rate))
	dst = append(dst, byte(len(name)))
	dst = append(dst, name...)
	if h.Channels == 2 {
		dst[start+len(airMagic)-1] = airPairVersion
		dst = append(dst, 2)
	}
	return dst
}

// ReadAirHello reads what AppendAirHello wrote. Errors about its contents wrap
// ErrAirProtocol.
func ReadAirHello(r io.Reader) (AirHello, error) {
	var head [len(airMagic) + 5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return AirHello{}, fmt.Errorf("hello: %w", err)
	}
	if string(head[:len(airMagic)-1]) != airMagic[:len(airMagic)-1] {
		return AirHello{}, fmt.Errorf("hello: %w: it begins with %q", ErrAirProtocol, head[:len(airMagic)-1])
	}
	version, ours := head[len(airMagic)-1], airMagic[len(airMagic)-1]
	if version != ours && version != airPairVersion {
		return AirHello{}, fmt.Errorf("hello: %w: version %d, not %d or %d", ErrAirProtocol, version, ours, airPairVersion)
	}
	rate := binary.LittleEndian.Uint32(head[len(airMagic):])
	length := head[len(head)-1]
	if length == 0 || length > MaxAirName || rate == 0 || rate > math.MaxInt32 {
		return AirHello{}, fmt.Errorf("hello: %w: a name of %d octets, %d Hz", ErrAirProtocol, length, rate)
	}
	name := make([]byte, length)
	if _, err := io.ReadFull(r, name); err != nil {
		return AirHello{}, fmt.Errorf("hello: %w", err)
	}
	h := AirHello{Rate: int(rate), Name: string(name)}
	if version == airPairVersion {
		var channels [1]byte
		if _, err := io.ReadFull(r, channels[:]); err != nil {
			return AirHello{}, fmt.Errorf("hello: %w", err)
		}
		if channels[0] != 2 {
			return AirHello{}, fmt.Errorf("hello: %w: %d channels", ErrAirProtocol, channels[0])
		}
		h.Channels = 2
	}
	return h, nil
}

// AirWelcome is the air's answer.
//
//	accepted: 0 (1) | block (4) | latency in (4) | latency out (4), samples
//	refused:  1 (1) | length of sentence (2) | sentence, UTF-8
type AirWelcome struct {
	Block   int    // samples of a block, of two channels pairs; 1 to MaxAirBlock
	In, Out int    // Stream.Latency, samples, the queue of one block included in Out
	Refusal string // why not; then the rest is not set
}

// AppendAirWelcome appends the message to dst.
func AppendAirWelcome(dst []byte, w AirWelcome) []byte {
	if w.Refusal != "" {
		sentence := w.Refusal[:min(len(w.Refusal), maxAirRefusal)]
		dst = append(dst, airRefused)
		dst = binary.LittleEndian.AppendUint16(dst, uint16(len(sentence)))
		return append(dst, sentence...)
	}
	dst = append(dst, airAccepted)
	for _, v := range []int{w.Block, w.In, w.Out} {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(v))
	}
	return dst
}

// ReadAirWelcome reads what AppendAirWelcome wrote.
func ReadAirWelcome(r io.Reader) (AirWelcome, error) {
	var head [13]byte
	if _, err := io.ReadFull(r, head[:1]); err != nil {
		return AirWelcome{}, fmt.Errorf("welcome: %w", err)
	}
	switch head[0] {
	case airRefused:
		if _, err := io.ReadFull(r, head[1:3]); err != nil {
			return AirWelcome{}, fmt.Errorf("welcome: %w", err)
		}
		length := binary.LittleEndian.Uint16(head[1:])
		if length == 0 || length > maxAirRefusal {
			return AirWelcome{}, fmt.Errorf("welcome: %w: a refusal of %d octets", ErrAirProtocol, length)
		}
		sentence := make([]byte, length)
		if _, err := io.ReadFull(r, sentence); err != nil {
			return AirWelcome{}, fmt.Errorf("welcome: %w", err)
		}
		return AirWelcome{Refusal: string(sentence)}, nil
	case airAccepted:
		if _, err := io.ReadFull(r, head[1:]); err != nil {
			return AirWelcome{}, fmt.Errorf("welcome: %w", err)
		}
		block := binary.LittleEndian.Uint32(head[1:])
		in, out := binary.LittleEndian.Uint32(head[5:]), binary.LittleEndian.Uint32(head[9:])
		if block == 0 || block > MaxAirBlock || in > maxAirLatency || out > maxAirLatency {
			return AirWelcome{}, fmt.Errorf("welcome: %w: block %d, latencies %d and %d samples", ErrAirProtocol, block, in, out)
		}
		return AirWelcome{Block: int(block), In: int(in), Out: int(out)}, nil
	}
	return AirWelcome{}, fmt.Errorf("welcome: %w: it begins with %d", ErrAirProtocol, head[0])
}

// AppendAirBlock appends a block to dst.
//
//	lost (4) | n (4) | n samples, float32
//
// Where there are two channels n samples are n/2 pairs, left and right in turn,
// and lost counts the same way.
//
// From the air: lost samples were dropped, then come the others of the block;
// n is 0 where they are all zero. From a client: lost is 0, and what n lacks of
// the block is silence.
func AppendAirBlock(dst []byte, samples []float32, lost int) []byte {
	loud := false
	for _, v := range samples {
		if v != 0 {
			loud = true
			break
		}
	}
	if !loud {
		samples = nil
	}
	dst = binary.LittleEndian.AppendUint32(dst, uint32(lost))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(samples)))
	for _, v := range samples {
		dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(v))
	}
	return dst
}

// AirBlockReader reads blocks of up to size samples; after construction it
// allocates nothing.
type AirBlockReader struct {
	r       io.Reader
	size    int
	octets  []byte
	samples []float32
}

// NewAirBlockReader makes a reader of blocks of size samples, 1 to MaxAirBlock.
func NewAirBlockReader(r io.Reader, size int) *AirBlockReader {
	return &AirBlockReader{r: r, size: size, octets: make([]byte, max(4*size, airBlockHeader)), samples: make([]float32, size)}
}

// Read returns the next block's samples, valid until the next Read, and how
// many were lost before them. A reader of what the air sends sets whole: then
// all samples of the block that are not lost are returned, zeros where none
// were sent, and a number of samples that does not fit lost wraps
// ErrAirProtocol like every other fault of the contents. io.EOF is the end of
// the stream between two blocks.
func (b *AirBlockReader) Read(whole bool) (samples []float32, lost int, err error) {
	if _, err := io.ReadFull(b.r, b.octets[:airBlockHeader]); err != nil {
		return nil, 0, err
	}
	l, n := binary.LittleEndian.Uint32(b.octets), binary.LittleEndian.Uint32(b.octets[4:])
	size := uint32(b.size)
	if l > size || n > size-l || whole && n != 0 && n != size-l || !whole && l != 0 {
		return nil, 0, fmt.Errorf("block: %w: %d samples and %d lost in a block of %d", ErrAirProtocol, n, l, size)
	}
	octets := b.octets[:4*n]
	if _, err := io.ReadFull(b.r, octets); err != nil {
		return nil, 0, fmt.Errorf("block: %w", noEOF(err))
	}
	samples = b.samples[:n]
	for i := range samples {
		samples[i] = math.Float32frombits(binary.LittleEndian.Uint32(octets[4*i:]))
	}
	if whole && n == 0 {
		samples = b.samples[:size-l]
		clear(samples)
	}
	return samples, int(l), nil
}

// noEOF is err, where an end would be one in the middle of something.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// BurstEnder is a Stream that has to know where a burst ends. Its user calls
// EndBurst after the last Write of every burst, also of one that was broken off.
//
// A simulated air needs it to be exact in lockstep: Read and Write run in two
// goroutines, and on a loaded machine the reader is ready for the next block
// long before the writer has been scheduled. In the middle of a burst the
// station then waits for the writer, which makes the simulated time slower and
// nothing else. A user who never calls EndBurst makes it wait for seconds when a burst
// is over.
type BurstEnder interface {
	EndBurst()
}

// How long a station's clock waits, in wall-clock time, for the next Write of a
// burst: a limit for a user who died without EndBurst. For the first one it waits so many
// tenths of the time from one block to the next.
const (
	airPatience = 5 * time.Second
	airTakes    = 8
)

// airStream is a station of a simulated air behind a socket.
type airStream struct {
	conn     net.Conn
	rate     int
	channels int
	welcome  AirWelcome
	blocks   *AirBlockReader

	// The reader's own.
	heard   []float32 // of the last block, not yet read
	heardAt time.Time
	pace    time.Duration // from one block to the next, smoothed; at most a block
	message []byte
	taken   []float32

	mu      sync.Mutex
	changed sync.Cond
	queue   []float32 // written, not yet sent; up to a block
	pending []float32 // what a blocked Write still holds
	burst   bool      // more is likely to be written at once
	failed  error
	grace   *time.Timer // wakes the reader when it has waited for so long
}

// DialAir joins the simulated air behind the unix socket at path, as the
// station name with the given sample rate in samples per second. ctx is for
// joining only. The error of a refusal says why in the air's own words; a peer
// that is no air wraps ErrAirProtocol.
//
// The Stream takes part in the air's lockstep: everybody in it waits for this
// station's Read. When the air ends, Read fails with io.EOF or the connection's
// error; the Stream does not reconnect. After Close Read and Write fail with
// net.ErrClosed.
func DialAir(ctx context.Context, path, name string, rate int) (Stream, error) {
	return dialAir(ctx, path, AirHello{Rate: rate, Name: name})
}

// DialPairAir is DialAir for an air of two channels.
func DialPairAir(ctx context.Context, path, name string, rate int) (Stream, error) {
	return dialAir(ctx, path, AirHello{Rate: rate, Name: name, Channels: 2})
}

func dialAir(ctx context.Context, path string, hello AirHello) (Stream, error) {
	name := hello.Name
	if name == "" || len(name) > MaxAirName {
		return nil, fmt.Errorf("air %s: a station's name has 1 to %d octets, not %d", path, MaxAirName, len(name))
	}
	ctx, cancel := context.WithTimeout(ctx, airHandshakeTime)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("air %s: %w", path, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	s, err := joinAir(conn, hello)
	if !stop() && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("air %s: %w", path, err)
	}
	return s, nil
}

// joinAir does the client's handshake.
func joinAir(conn net.Conn, hello AirHello) (*airStream, error) {
	if _, err := conn.Write(AppendAirHello(nil, hello)); err != nil {
		return nil, fmt.Errorf("hello: %w", err)
	}
	r := bufio.NewReaderSize(conn, airBlockHeader+4*MaxAirBlock)
	welcome, err := ReadAirWelcome(r)
	if err != nil {
		return nil, err
	}
	if welcome.Refusal != "" {
		return nil, errors.New(welcome.Refusal)
	}
	channels := max(1, hello.Channels)
	if size := channels * welcome.Block; size > MaxAirBlock {
		return nil, fmt.Errorf("welcome: %w: blocks of %d samples", ErrAirProtocol, size)
	}
	s := &airStream{
		conn:     conn,
		rate:     hello.Rate,
		channels: channels,
		welcome:  welcome,
		blocks:   NewAirBlockReader(r, channels*welcome.Block),
		queue:    make([]float32, 0, channels*welcome.Block),
	}
	s.changed.L = &s.mu
	s.grace = time.AfterFunc(airPatience, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.changed.Broadcast()
	})
	s.grace.Stop()
	return s, nil
}

// Channels implements Channeled.
func (s *airStream) Channels() int { return s.channels }

// Latency implements Stream.
func (s *airStream) Latency() (in, out time.Duration) {
	duration := func(samples int) time.Duration {
		return time.Duration(int64(samples) * int64(time.Second) / int64(s.rate))
	}
	return duration(s.welcome.In), duration(s.welcome.Out)
}

// Read implements Stream.
func (s *airStream) Read(p []float32) (n int, lost int64, err error) {
	for {
		m := copy(p[n:], s.heard)
		s.heard = s.heard[m:]
		n += m
		if n == len(p) {
			return n, lost, nil
		}
		l, err := s.exchange()
		if err != nil {
			return n, lost, s.fail("read", err)
		}
		lost += int64(l)
	}
}

// exchange sends a block and waits for the one that comes back.
func (s *airStream) exchange() (lost int, err error) {
	if err := s.take(); err != nil {
		return 0, err
	}
	s.message = AppendAirBlock(s.message[:0], s.taken, 0)
	if _, err := s.conn.Write(s.message); err != nil {
		return 0, err
	}
	s.heard, lost, err = s.blocks.Read(true)
	now, block := time.Now(), time.Duration(s.welcome.Block)*time.Second/time.Duration(s.rate)
	s.pace += (min(now.Sub(s.heardAt), block) - s.pace) / 4
	s.heardAt = now
	return lost / s.channels, err
}

// take moves a block from the queue to taken. In the middle of a burst it waits for
// the writer; otherwise, for one that begins, until a sound card would take the block,
// which is not as soon as it has recorded one: an answer to what was just heard would
// come a block later.
func (s *airStream) take() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.failed == nil && len(s.queue) < cap(s.queue) {
		burst, until := s.burst, s.heardAt.Add(airTakes*s.pace/10)
		if burst {
			until = time.Now().Add(airPatience)
		}
		s.grace.Reset(time.Until(until))
		for s.failed == nil && s.burst == burst && len(s.queue) < cap(s.queue) && time.Now().Before(until) {
			s.changed.Wait()
		}
		if !time.Now().Before(until) {
			break
		}
	}
	s.grace.Stop()
	s.burst = s.burst && len(s.queue) == cap(s.queue)
	s.taken = append(s.taken[:0], s.queue...)
	s.queue = s.queue[:0]
	s.refill()
	s.changed.Broadcast()
	return s.failed
}

// refill moves what fits from the blocked Write to the queue.
func (s *airStream) refill() {
	n := min(cap(s.queue)-len(s.queue), len(s.pending))
	s.queue = append(s.queue, s.pending[:n]...)
	s.pending = s.pending[n:]
}

// Write implements Stream.
func (s *airStream) Write(p []float32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return s.failed
	}
	s.pending = p
	s.burst = true
	s.refill()
	s.changed.Broadcast()
	for len(s.pending) > 0 {
		s.changed.Wait()
		if s.failed != nil {
			s.pending = nil
			return s.failed
		}
	}
	return nil
}

// EndBurst implements BurstEnder.
func (s *airStream) EndBurst() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.burst = false
	s.changed.Broadcast()
}

// Close implements Stream. It leaves the air.
func (s *airStream) Close() error {
	_ = s.fail("close", net.ErrClosed) // from now on, for the others
	return s.conn.Close()
}

// fail makes the stream fail for good, and returns what it has failed with.
func (s *airStream) fail(what string, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = fmt.Errorf("%s air: %w", what, err)
		s.grace.Stop()
	}
	s.changed.Broadcast()
	return s.failed
}
