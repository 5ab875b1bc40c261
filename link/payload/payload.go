// Package payload makes what is sent for a packet shorter, packet by packet: DEFLATE
// (RFC 1951) with a dictionary that every station has.
//
//	packet ─▶ header compression ─▶ Compressor ─▶ fragments of the link ─▶ Decompressor ─▶ headers ─▶ packet
//
// A packet needs no other one to be read, so it does not matter which are lost or in
// which order they come. What would not become shorter is sent as it is, to the octet,
// and what looks encrypted or compressed is not even tried: it is told by how evenly
// its octets are spread. Whoever hears lengths may learn something of what was
// compressed (CRIME, 2012); a station that minds does not compress.
//
// The package knows nothing of IP, of time or of the link. docs/wire-link.md has the
// format.
package payload

import (
	"bytes"
	_ "embed" // the dictionary
	"errors"
	"io"

	"github.com/klauspost/compress/flate"
)

// dictionary stands before every packet: what text protocols say, the most usual
// last. It is part of the wire format.
//
//go:embed dictionary.txt
var dictionary []byte

// Mark is the first octet of what was compressed. No packet begins with it.
const Mark = 0x20

// ErrMalformed is returned for what no Compressor makes.
var ErrMalformed = errors.New("malformed compressed packet")

const (
	level   = 9  // 3 to 5 % shorter than the quickest; a packet takes some 0.2 ms
	fewest  = 40 // octets worth a try
	evenly  = 2  // octets that coincide at most so many times as often as random ones are not text
	symbols = 256
)

// Stats counts what a Compressor did.
type Stats struct {
	Compressed uint64 `json:"compressed"` // packets
	Skipped    uint64 `json:"skipped"`    // that looked encrypted, or were too short
	Vain       uint64 `json:"vain"`       // that would not have become shorter
	In         uint64 `json:"in_octets"`  // of the packets, headers compressed
	Out        uint64 `json:"out_octets"` // that were sent for them
}

// Compressor compresses packets. Its zero value is ready; it has a megabyte of
// memory from the first packet on, and allocates nothing after that. One caller
// uses it at a time.
type Compressor struct {
	w     *flate.Writer
	out   sink
	stats Stats
}

type sink struct{ p []byte }

func (s *sink) Write(p []byte) (int, error) {
	s.p = append(s.p, p...)
	return len(p), nil
}

// Compress returns what is to be sent for what header compression made of a packet:
// that itself, or in its place something shorter.
func (c *Compressor) Compress(wire []byte) []byte {
	c.stats.In += uint64(len(wire))
	wire = c.compress(wire)
	c.stats.Out += uint64(len(wire))
	return wire
}

func (c *Compressor) compress(wire []byte) []byte {
	if len(wire) < fewest || scattered(wire) {
		c.stats.Skipped++
		return wire
	}
	c.out.p = append(c.out.p[:0], Mark)
	if c.w == nil {
		w, err := flate.NewWriterDict(&c.out, level, dictionary)
		if err != nil {
			c.stats.Vain++ // there is no such level
			return wire
		}
		c.w = w
	} else {
		c.w.Reset(&c.out)
	}
	_, err := c.w.Write(wire)
	if err = errors.Join(err, c.w.Close()); err != nil || len(c.out.p) >= len(wire) {
		c.stats.Vain++
		return wire
	}
	c.stats.Compressed++
	return append(wire[:0], c.out.p...)
}

// Stats is what was done since the beginning.
func (c *Compressor) Stats() Stats { return c.stats }

// scattered tells whether the octets of p are spread as evenly as those of
// something encrypted or compressed: the index of coincidence (Friedman 1922), how
// many pairs of octets are equal, is that of random ones.
func scattered(p []byte) bool {
	var count [symbols]int
	for _, b := range p {
		count[b]++
	}
	pairs := -len(p)
	for _, n := range count {
		pairs += n * n
	}
	return symbols*pairs < evenly*len(p)*len(p)
}

// Decompressor is the other side. Its zero value is ready; it has 50 KiB of memory
// from the first packet on. One caller uses it at a time.
type Decompressor struct {
	r  io.ReadCloser
	in bytes.Reader
}

// Decompress appends what a Compressor was given to dst: most octets at most, else
// it is malformed. wire begins with Mark.
func (d *Decompressor) Decompress(dst, wire []byte, most int) ([]byte, error) {
	if len(wire) == 0 || wire[0] != Mark {
		return dst, ErrMalformed
	}
	d.in.Reset(wire[1:])
	if d.r == nil {
		d.r = flate.NewReaderDict(&d.in, dictionary)
	} else if err := d.r.(flate.Resetter).Reset(&d.in, dictionary); err != nil {
		return dst, ErrMalformed
	}
	start := len(dst)
	for {
		if len(dst) == cap(dst) {
			dst = append(dst, 0)[:len(dst)]
		}
		n, err := d.r.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		switch {
		case len(dst)-start > most:
			return dst[:start], ErrMalformed
		case err == io.EOF && d.in.Len() == 0:
			return dst, nil
		case err != nil:
			return dst[:start], ErrMalformed
		}
	}
}
