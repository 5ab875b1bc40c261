package oneway

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"

	"lightsong/phy"
)

const (
	maxTransfers = 4         // followed at the same time
	maxPending   = 512       // frames kept while their transfer's layout is not known
	maxPendOctet = 256 << 10 // … and their octets together
	maxRanges    = 16        // missing parts that are listed
)

// Store keeps the frames of one transfer, each at its own offset. It must read
// back what was written; what lies between may be a hole, and should be: a
// made-up frame may be written gigabytes from the start. The file is its first
// octets, what follows is the transfer's own.
type Store interface {
	io.ReaderAt
	io.WriterAt
	io.Closer // called by the Receiver for a store that it will not hand out
}

// File is what a Receiver hands out: whole and checked.
type File struct {
	Name   string // made safe by SafeName; "received" if the sender gave none
	Size   int64  // octets
	SHA256 [sha256.Size]byte
	ID     uint32 // of the transfer
	Store  Store  // its first Size octets are the file; belongs to the caller
}

// Stats are counters since the Receiver was made.
type Stats struct {
	Bursts         int `json:"bursts"`          // handled
	ControlsFailed int `json:"controls_failed"` // bursts whose control block failed its check
	Foreign        int `json:"foreign"`         // bursts of another kind: their control block is not a transfer's
	FramesReceived int `json:"frames_received"` // new and in their place
	FramesFailed   int `json:"frames_failed"`   // failed their check
	Duplicate      int `json:"duplicate"`       // frames that were known already
	Malformed      int `json:"malformed"`       // frames that belong nowhere
	Repaired       int `json:"repaired"`        // data frames rebuilt from parity
	Damaged        int `json:"damaged"`         // transfers that were complete but did not match their SHA-256
	Evicted        int `json:"evicted"`         // transfers given up for others
}

// Range is a part of the file: octets From to To-1.
type Range struct{ From, To int64 }

// Progress is how far the transfer is of which most is known.
type Progress struct {
	Known   bool    // a transfer was heard of; else the rest is zero
	ID      uint32  // of the transfer
	Size    int64   // octets of the file
	Octets  int64   // of the file that are there
	Frames  int     // data and parity frames that are there and count
	Needed  int     // frames that are still needed at least
	Gaps    int     // parts of the file that are missing, neighbours joined
	Missing []Range // the first of them, at most maxRanges
}

// Receiver rebuilds a file from bursts in any order.
type Receiver struct {
	newStore func() (Store, error)
	parts    []*transfer // the latest last
	pending  [][]byte    // frames whose transfer's layout is not known yet, the latest last
	pendSize int         // octets in pending
	codes    codes
	file     *File
	stats    Stats
}

// NewReceiver makes a receiver that calls newStore for every transfer of which it
// gets a first frame.
func NewReceiver(newStore func() (Store, error)) *Receiver {
	return &Receiver{newStore: newStore, codes: codes{}}
}

// Stats since the receiver was made.
func (r *Receiver) Stats() Stats { return r.stats }

// File is the first transfer that came whole.
func (r *Receiver) File() (*File, bool) { return r.file, r.file != nil }

// Close closes the stores of everything that was not handed out.
func (r *Receiver) Close() error {
	var err error
	for _, t := range r.parts {
		if closed := t.close(); err == nil {
			err = closed
		}
	}
	r.parts, r.pending = nil, nil
	return err
}

// HandleBurst takes a received burst, its nil frames being erasures. It copies
// what it keeps. Only a Store makes it fail; bursts of any content are counted.
// After a file came whole further bursts are ignored.
func (r *Receiver) HandleBurst(b *phy.Burst) error {
	if r.file != nil {
		return nil
	}
	r.stats.Bursts++
	var own *transfer
	if b.Control == nil {
		r.stats.ControlsFailed++
	} else {
		l, ok := parseControl(b.Control)
		if !ok {
			r.stats.Foreign++
			return nil
		}
		var err error
		if own, err = r.heard(l); err != nil || r.file != nil {
			return err
		}
	}
	for _, f := range b.Frames {
		if f == nil {
			r.stats.FramesFailed++
			continue
		}
		if err := r.frame(f, own); err != nil || r.file != nil {
			return err
		}
	}
	return nil
}

// heard finds or begins the transfer with a layout, and gives it the frames that
// have waited for it.
func (r *Receiver) heard(l layout) (*transfer, error) {
	for _, t := range r.parts {
		if t.layout == l {
			return t, nil
		}
	}
	if len(r.parts) == maxTransfers {
		// The one with the least goes: made-up transfers cannot displace one
		// that is getting somewhere.
		least := slices.MinFunc(r.parts, func(a, b *transfer) int { return a.count - b.count })
		r.stats.Evicted++
		r.parts = slices.DeleteFunc(r.parts, func(t *transfer) bool { return t == least })
		if err := least.close(); err != nil {
			return nil, fmt.Errorf("giving up a transfer: %w", err)
		}
	}
	t := &transfer{layout: l}
	r.parts = append(r.parts, t)

	waiting := r.pending
	r.pending, r.pendSize = nil, 0
	for _, f := range waiting {
		if !t.claims(f) {
			r.wait(f)
			continue
		}
		if err := r.place(f, t); err != nil || r.file != nil {
			return t, err
		}
	}
	return t, nil
}

// frame puts a frame where it belongs. own is the transfer that the burst's
// control block described, nil if that failed.
func (r *Receiver) frame(f []byte, own *transfer) error {
	if len(f) <= frameHeader {
		r.stats.Malformed++
		return nil
	}
	if own != nil {
		if !own.claims(f) {
			r.stats.Malformed++
			return nil
		}
		return r.place(f, own)
	}
	for _, t := range slices.Backward(r.parts) {
		if t.claims(f) {
			return r.place(f, t)
		}
	}
	r.wait(bytes.Clone(f))
	return nil
}

// wait keeps a frame until its transfer's layout is known. The oldest go first.
func (r *Receiver) wait(f []byte) {
	r.pending = append(r.pending, f)
	r.pendSize += len(f)
	for len(r.pending) > maxPending || r.pendSize > maxPendOctet {
		r.stats.Malformed++
		r.pendSize -= len(r.pending[0])
		r.pending = slices.Delete(r.pending, 0, 1)
	}
}

// place gives a frame to its transfer, and the transfer the end that it may have
// reached.
func (r *Receiver) place(f []byte, t *transfer) error {
	if t.store == nil {
		store, err := r.newStore()
		if err != nil {
			return fmt.Errorf("room for a transfer: %w", err)
		}
		t.begin(store)
	}
	_, i := parseFrameHeader(f)
	fresh, err := t.put(i, f[frameHeader:])
	if err != nil {
		return err
	}
	if !fresh {
		r.stats.Duplicate++
		return nil
	}
	r.stats.FramesReceived++
	if block := i % t.blocks(); t.ready(block) {
		repaired, err := t.repair(block, r.codes)
		if err != nil {
			return err
		}
		r.stats.Repaired += repaired
	}
	if t.left > 0 {
		return nil
	}
	file, err := t.check()
	if err != nil {
		return err
	}
	if file == nil {
		// A damaged frame passed its check, or somebody made the frames up.
		// Which ones is unknown: another loop starts from nothing.
		r.stats.Damaged++
		t.begin(t.store)
		return nil
	}
	r.file = file
	r.parts = slices.DeleteFunc(r.parts, func(p *transfer) bool { return p == t })
	return nil
}

// Progress of the transfer of which most frames are there.
func (r *Receiver) Progress() Progress {
	if r.file != nil {
		return Progress{Known: true, ID: r.file.ID, Size: r.file.Size, Octets: r.file.Size}
	}
	if t := r.most(); t != nil {
		return t.progress()
	}
	return Progress{}
}

// most is the transfer of which most frames are there, nil if none was heard of.
func (r *Receiver) most() (most *transfer) {
	for _, t := range r.parts {
		if most == nil || t.count > most.count {
			most = t
		}
	}
	return most
}

// transfer is a file on its way.
type transfer struct {
	layout
	store Store
	have  []byte  // one bit per frame number
	got   []uint8 // frames that are there, per block
	count int     // … in all
	left  int     // blocks that are not whole
}

// claims tells whether a frame looks like this transfer's.
func (t *transfer) claims(f []byte) bool {
	if len(f) != frameHeader+t.stride {
		return false
	}
	tag, i := parseFrameHeader(f)
	return tag == t.tag() && i < t.frames()
}

// begin starts from nothing.
func (t *transfer) begin(store Store) {
	t.store = store
	t.have = make([]byte, (t.frames()+7)/8)
	t.got = make([]uint8, t.blocks())
	t.count = 0
	t.left = t.blocks()
}

func (t *transfer) close() error {
	if t.store == nil {
		return nil
	}
	return t.store.Close()
}

func (t *transfer) has(i int) bool { return t.have != nil && t.have[i/8]&(1<<(i%8)) != 0 }

// put stores frame number i, unless it is there or no longer needed.
func (t *transfer) put(i int, payload []byte) (fresh bool, err error) {
	block := i % t.blocks()
	if t.has(i) || int(t.got[block]) >= t.dataOf(block) {
		return false, nil
	}
	if err := t.write(i, payload); err != nil {
		return false, err
	}
	t.got[block]++
	t.count++
	return true, nil
}

// ready tells whether as many frames of a block are there as it has data frames:
// that is all that Reed-Solomon needs.
func (t *transfer) ready(block int) bool { return int(t.got[block]) == t.dataOf(block) }

// repair makes a ready block whole and returns how many data frames it rebuilt.
func (t *transfer) repair(block int, codes codes) (repaired int, err error) {
	t.left--
	blocks, k := t.blocks(), t.dataOf(block)
	whole := true
	for j := range k {
		whole = whole && t.has(block+j*blocks)
	}
	if whole {
		return 0, nil
	}
	shards := make([][]byte, k+t.m)
	for j := range shards {
		if i := block + j*blocks; t.has(i) {
			shards[j] = make([]byte, t.stride)
			if err := t.read(shards[j], int64(i)*int64(t.stride)); err != nil {
				return 0, err
			}
		}
	}
	code, err := codes.of(k, t.m)
	if err != nil {
		return 0, err
	}
	if err := code.ReconstructData(shards); err != nil {
		return 0, fmt.Errorf("repairing block %d: %w", block, err)
	}
	for j := range k {
		if i := block + j*blocks; !t.has(i) {
			if err := t.write(i, shards[j]); err != nil {
				return 0, err
			}
			repaired++
		}
	}
	return repaired, nil
}

// write puts the payload of a frame in its place.
func (t *transfer) write(i int, payload []byte) error {
	if _, err := t.store.WriteAt(payload, int64(i)*int64(t.stride)); err != nil {
		return fmt.Errorf("storing the file: %w", err)
	}
	t.have[i/8] |= 1 << (i % 8)
	return nil
}

// read fills dst from the store.
func (t *transfer) read(dst []byte, offset int64) error {
	if n, err := t.store.ReadAt(dst, offset); n < len(dst) {
		return fmt.Errorf("reading the stored file back: %w", err)
	}
	return nil
}

// check compares a complete record with its SHA-256 and its transfer's id. A nil
// file without error means that they differ.
func (t *transfer) check() (*File, error) {
	hash := sha256.New()
	n, err := io.Copy(hash, io.NewSectionReader(t.store, 0, t.size))
	if err == nil && n < t.size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, fmt.Errorf("reading the stored file back: %w", err)
	}
	trailer := make([]byte, sha256.Size+t.name)
	if err := t.read(trailer, t.size); err != nil {
		return nil, err
	}
	sum, name := [sha256.Size]byte(trailer), string(trailer[sha256.Size:])
	if [sha256.Size]byte(hash.Sum(nil)) != sum || t.identity(sum, name) != t.id {
		return nil, nil
	}
	return &File{Name: SafeName(name), Size: t.size, SHA256: sum, ID: t.id, Store: t.store}, nil
}

// progress looks at every data frame.
func (t *transfer) progress() Progress {
	p := Progress{Known: true, ID: t.id, Size: t.size, Frames: t.count, Needed: t.data() - t.count}
	p.Octets = t.size
	end := int64(-1) // of the last gap
	for i := range t.data() {
		from := int64(i) * int64(t.stride)
		if from >= t.size {
			break
		}
		if t.has(i) {
			continue
		}
		to := min(from+int64(t.stride), t.size)
		p.Octets -= to - from
		if from > end {
			p.Gaps++
			if len(p.Missing) < maxRanges {
				p.Missing = append(p.Missing, Range{From: from})
			}
		}
		end = to
		if p.Gaps == len(p.Missing) {
			p.Missing[p.Gaps-1].To = to
		}
	}
	return p
}
