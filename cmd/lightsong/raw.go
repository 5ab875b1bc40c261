package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"lightsong/link/oneway"
	"lightsong/modem/fsk"
)

// Uncoded asynchronous sound, for programs and machines that speak nothing else
// (minimodem, old modems): no frame, no check, no name.

var rawModes = map[string]fsk.Async{
	fsk.Bell202.Name: fsk.Bell202,
	fsk.Bell103.Name: fsk.Bell103,
}

const (
	rawUsage = "instead of a profile: uncoded asynchronous 8N1 as other programs speak it, bell202 (1200 baud) or bell103 (300 baud)"
	rawChunk = 4096 // octets modulated at a time; between chunks the tone rests on mark
)

func rawMode(name string) (fsk.Async, error) {
	mode, ok := rawModes[name]
	if !ok {
		return mode, usage(fmt.Errorf("--raw %q does not exist: the uncoded modes are %s",
			name, strings.Join(slices.Sorted(maps.Keys(rawModes)), ", ")))
	}
	return mode, nil
}

type rawEncoder struct {
	mode fsk.Async
	mod  *fsk.AsyncModulator
}

func newRawEncoder(name string, rate int) (*rawEncoder, error) {
	mode, err := rawMode(name)
	if err != nil {
		return nil, err
	}
	mod, err := fsk.NewAsyncModulator(rate, mode)
	if err != nil {
		return nil, usage(err)
	}
	return &rawEncoder{mode, mod}, nil
}

func (e *rawEncoder) String() string { return e.mode.Name + " uncoded" }

// channels implements encoder.
func (e *rawEncoder) channels() int { return 1 }

// samples implements encoder. An empty file is a moment of carrier.
func (e *rawEncoder) samples(size int64) (int64, error) {
	chunks := size / rawChunk
	n := chunks * int64(e.mod.Samples(rawChunk))
	if rest := size % rawChunk; rest > 0 || size == 0 {
		n += int64(e.mod.Samples(int(rest)))
	}
	return n, nil
}

// encode implements encoder.
func (e *rawEncoder) encode(file io.ReaderAt, size int64, sum *Transfer, emit func([]float32) error) error {
	sum.Profile = e.mode.Name
	sum.Bursts = 1
	octets := make([]byte, min(size, rawChunk))
	var samples []float32
	for at := int64(0); at < size || at == 0; at += rawChunk {
		part := octets[:min(size-at, rawChunk)]
		if n, err := file.ReadAt(part, at); n < len(part) {
			return fmt.Errorf("reading the file at octet %d: %w", at+int64(n), err)
		}
		samples = e.mod.AppendOctets(samples[:0], part)
		if err := emit(samples); err != nil {
			return err
		}
	}
	return nil
}

type rawDecoder struct {
	mode   fsk.Async
	rate   int
	demod  *fsk.AsyncDemodulator
	out    *output
	octets int64
	buf    []byte
	pushed int64 // samples
	first  int64 // samples: pushed before the block with the first octet
	last   int64 // samples: pushed after the block with the last octet
}

// newRawDecoder makes a decoder that writes to a target, or to stdout if path is
// "-".
func newRawDecoder(name string, rate int, t target, path string, stdout io.Writer) (*rawDecoder, error) {
	mode, err := rawMode(name)
	if err != nil {
		return nil, err
	}
	demod, err := fsk.NewAsyncDemodulator(rate, mode)
	if err != nil {
		return nil, usage(err)
	}
	out, err := openOutput(t, path, stdout)
	if err != nil {
		return nil, fmt.Errorf("output: %w", err)
	}
	return &rawDecoder{mode: mode, rate: rate, demod: demod, out: out}, nil
}

// push implements decoder. Octets go out at once: somebody may be reading along.
func (d *rawDecoder) push(samples []float32) (bool, error) {
	d.buf = d.buf[:0]
	d.demod.Push(samples, func(octet byte) { d.buf = append(d.buf, octet) })
	if len(d.buf) > 0 {
		if d.octets == 0 {
			d.first = d.pushed
		}
		d.last = d.pushed + int64(len(samples))
	}
	d.pushed += int64(len(samples))
	d.octets += int64(len(d.buf))
	if _, err := d.out.Write(d.buf); err != nil {
		return false, fmt.Errorf("output: %w", err)
	}
	if d.out.part == nil && len(d.buf) > 0 {
		if err := d.out.Flush(); err != nil {
			return false, fmt.Errorf("output: %w", err)
		}
	}
	return false, nil
}

// progress implements decoder.
func (d *rawDecoder) progress() string { return fmt.Sprintf(", %d octets heard", d.octets) }

// finish implements decoder.
func (d *rawDecoder) finish(sum *Transfer) (line string, err error) {
	if _, err := d.push(make([]float32, d.rate/10)); err != nil {
		return "", err
	}
	sum.Profile, sum.Octets, sum.Received = d.mode.Name, d.octets, d.octets
	sum.timing(d.last - d.first)
	if d.octets == 0 {
		return "", fmt.Errorf("nothing was received: no octet of %s in %s of sound", d.mode.Name, seconds(float64(d.pushed)/float64(d.rate)))
	}
	sum.Bursts = 1
	if sum.File, err = d.out.commit(d.octets, oneway.SafeName("")); err != nil {
		return "", fmt.Errorf("output: %w", err)
	}
	return fmt.Sprintf("received %d octets in %s of sound to %s: %s, uncoded, so nobody can tell whether they are right",
		d.octets, seconds(sum.Airtime), display(sum.File, "standard output"), d.mode.Name), nil
}

// keep implements decoder: there is nothing to go on from.
func (d *rawDecoder) keep() error { return nil }

// Close implements decoder.
func (d *rawDecoder) Close() error { return d.out.Close() }
