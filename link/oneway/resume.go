package oneway

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"lightsong/phy"
)

// saved opens a file that Receiver.Save wrote. The rest of it is what a sender
// would put into bursts: a control block, then frames. The SHA-256 of all that
// ends it.
const saved = "lightsong part 1\n"

// ErrNotSaved is wrapped by the error for octets that Receiver.Save did not
// write, or that were damaged since.
var ErrNotSaved = errors.New("not a saved part of a transfer, or damaged")

// Save writes what there is of the transfer of which most is known, for Restore
// to go on from. It writes nothing, and says so, if no frame has come or the
// file is whole.
func (r *Receiver) Save(w io.Writer) (written bool, err error) {
	t := r.most()
	if r.file != nil || t == nil || t.count == 0 {
		return false, nil
	}
	hash := sha256.New()
	buffered := bufio.NewWriter(w)
	both := io.MultiWriter(hash, buffered)
	if _, err := both.Write(append([]byte(saved), t.control()...)); err != nil {
		return false, err
	}
	frame := make([]byte, frameHeader+t.stride)
	for i := range t.frames() {
		if !t.has(i) {
			continue
		}
		t.appendFrameHeader(frame[:0], i)
		if err := t.read(frame[frameHeader:], int64(i)*int64(t.stride)); err != nil {
			return false, err
		}
		if _, err := both.Write(frame); err != nil {
			return false, err
		}
	}
	if _, err := buffered.Write(hash.Sum(nil)); err != nil {
		return false, err
	}
	return true, buffered.Flush()
}

// Restore takes size octets that Save wrote, as if they had been received; they
// do not count in Stats. The error wraps ErrNotSaved if they are something else,
// and nothing was taken of them then.
func (r *Receiver) Restore(in io.ReaderAt, size int64) error {
	head := make([]byte, len(saved)+controlOctets)
	body := size - int64(len(head)) - sha256.Size
	if body < 0 {
		return fmt.Errorf("%w: too short", ErrNotSaved)
	}
	hash, sum := sha256.New(), make([]byte, sha256.Size)
	if _, err := io.Copy(hash, io.NewSectionReader(in, 0, size-sha256.Size)); err != nil {
		return err
	}
	if _, err := in.ReadAt(sum, size-sha256.Size); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if _, err := in.ReadAt(head, 0); err != nil {
		return err
	}
	l, ok := parseControl(head[len(saved):])
	switch {
	case string(head[:len(saved)]) != saved:
		return ErrNotSaved
	case !bytes.Equal(hash.Sum(nil), sum):
		return fmt.Errorf("%w: its SHA-256 does not agree", ErrNotSaved)
	case !ok || body%int64(frameHeader+l.stride) != 0:
		return fmt.Errorf("%w: its frames are cut", ErrNotSaved)
	}
	before := r.stats
	defer func() { r.stats = before }()
	frames := bufio.NewReader(io.NewSectionReader(in, int64(len(head)), body))
	b := phy.Burst{Control: head[len(saved):], Frames: [][]byte{make([]byte, frameHeader+l.stride)}}
	for range body / int64(frameHeader+l.stride) {
		if _, err := io.ReadFull(frames, b.Frames[0]); err != nil {
			return err
		}
		if err := r.HandleBurst(&b); err != nil {
			return err
		}
	}
	return nil
}
