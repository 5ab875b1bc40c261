package payload

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const seed = 20261121

// texts are 10 kB each of what people send: this project's own prose and source,
// which the dictionary was not made from.
func texts(t testing.TB) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for name, path := range map[string]string{"prose": "docs/architecture.md", "source": "link/queue.go"} {
		p, err := os.ReadFile(filepath.Join("..", "..", path))
		if err != nil {
			t.Fatal(err)
		}
		if len(p) < 10_000 {
			t.Fatalf("%s has %d octets", path, len(p))
		}
		out[name] = p[:10_000]
	}
	var b bytes.Buffer
	r := rand.New(rand.NewPCG(seed, 1))
	for b.Len() < 10_000 {
		fmt.Fprintf(&b, `{"sensor":"garden-%d","epoch":%d,"t":%.2f,"rh":%.1f,"battery":%.2f}`+"\n", r.IntN(8), 1_790_000_000+r.IntN(1e6), 30*r.Float64(), 100*r.Float64(), 3+r.Float64())
	}
	out["measurements"] = b.Bytes()[:10_000]
	return out
}

func random(r *rand.Rand, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

func roundTrip(t testing.TB, c *Compressor, d *Decompressor, p []byte) (sent int) {
	t.Helper()
	wire := c.Compress(bytes.Clone(p))
	switch {
	case bytes.Equal(wire, p):
	case len(wire) >= len(p) || wire[0] != Mark:
		t.Fatalf("%d octets became %d that begin with %#x", len(p), len(wire), wire[0])
	default:
		got, err := d.Decompress([]byte("before"), wire, len(p))
		if err != nil || string(got) != "before"+string(p) {
			t.Fatalf("%v: %d octets became %d", err, len(p), len(got))
		}
	}
	return len(wire)
}

// TestSaves: text becomes shorter packet by packet, and nothing else longer.
func TestSaves(t *testing.T) {
	var c Compressor
	var d Decompressor
	r := rand.New(rand.NewPCG(seed, 2))
	content := texts(t)
	content["random"] = random(r, 10_000)
	content["base64"] = []byte(base64.StdEncoding.EncodeToString(random(r, 7500)))[:10_000]
	for name, want := range map[string]float64{"prose": 0.45, "source": 0.45, "measurements": 0.55, "random": 0, "base64": 0.2} {
		for _, size := range []int{1208, 500, 150} {
			sent := 0
			for rest := content[name]; len(rest) > 0; {
				n := min(size, len(rest))
				sent += roundTrip(t, &c, &d, append([]byte{0x81, 0xd9, 0x23, 0xf4, 0x15, 0x25, 0}, rest[:n]...)) - 7
				rest = rest[n:]
			}
			saved := 1 - float64(sent)/float64(len(content[name]))
			t.Logf("%s in packets of %d: %.1f %% saved", name, size, 100*saved)
			if size == 1208 && saved < want || name == "random" && saved != 0 {
				t.Errorf("%s: %.3f saved, want %.2f", name, saved, want)
			}
		}
	}
}

// TestSSH: what OpenSSH proposes when a connection begins, which is the first thing that
// somebody who logs in over a slow link waits for, is mostly names from the dictionary.
// What is left are random octets, lengths, and which names go where.
func TestSSH(t *testing.T) {
	var c Compressor
	var d Decompressor
	for _, side := range []string{"client", "server"} {
		p, err := os.ReadFile(filepath.Join("testdata", "openssh-9.2-"+side+".kexinit"))
		if err != nil {
			t.Fatal(err)
		}
		sent := 0
		for rest := p; len(rest) > 0; {
			n := min(1208, len(rest))
			sent += roundTrip(t, &c, &d, rest[:n])
			rest = rest[n:]
		}
		t.Logf("%s: %d of %d octets", side, sent, len(p))
		if sent > 120 { // a cookie of 16, ten lists: a length of 4 and a copy of 5 each, as much again for other orders
			t.Errorf("what the %s proposes takes %d octets, want 120", side, sent)
		}
	}
}

// TestNeverLonger: whatever a packet contains, what is sent is that itself or shorter.
func TestNeverLonger(t *testing.T) {
	var c Compressor
	var d Decompressor
	r := rand.New(rand.NewPCG(seed, 3))
	for i := range 3000 {
		p := random(r, r.IntN(300))
		for j := range p { // from random to all alike
			if r.IntN(100) < i%101 {
				p[j] = 'e'
			}
		}
		roundTrip(t, &c, &d, p)
	}
	if s := c.Stats(); s.Out > s.In || s.Compressed == 0 || s.Skipped == 0 || s.Compressed+s.Skipped+s.Vain != 3000 {
		t.Errorf("%+v", s)
	}
}

// TestEncryptedIsNotTried: of what looks random hardly a packet costs time: of
// 64 octets one in 150, because 16 pairs of equal ones are twice the mean of 8 (Poisson).
func TestEncryptedIsNotTried(t *testing.T) {
	r := rand.New(rand.NewPCG(seed, 4))
	for n, most := range map[int]int{64: 40, 200: 0, 1280: 0} {
		tried := 0
		for range 2000 {
			if !scattered(random(r, n)) {
				tried++
			}
		}
		if tried > most {
			t.Errorf("%d of 2000 random packets of %d octets would be tried", tried, n)
		}
	}
	for name, p := range texts(t) {
		if scattered(p[:300]) {
			t.Errorf("%s is taken for encrypted", name)
		}
	}
}

// vector is of docs/wire-link.md: other Compressors may make other octets of the same.
const (
	vector     = "206ad982e6615e541ff362319e978b97cbc0d0c8d8c4d4ccdcc2123000"
	vectorText = "\x84\xb4HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: 10\r\n\r\n0123456789"
)

func TestVector(t *testing.T) {
	if got, want := crc32.ChecksumIEEE(dictionary), uint32(dictionaryCRC); got != want || len(dictionary) != dictionaryOctets {
		t.Errorf("the dictionary has %d octets and CRC-32 %#08x: stations with another one cannot read what is sent", len(dictionary), got)
	}
	wire, err := hex.DecodeString(vector)
	if err != nil {
		t.Fatal(err)
	}
	var d Decompressor
	if got, err := d.Decompress(nil, wire, 9001); err != nil || string(got) != vectorText {
		var c Compressor
		t.Errorf("%v: %q; as compressed here: %x", err, got, c.Compress([]byte(vectorText)))
	}
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "wire-link.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{vector, fmt.Sprintf("0x%08x", dictionaryCRC), fmt.Sprintf("%d octets", dictionaryOctets)} {
		if !bytes.Contains(doc, []byte(want)) {
			t.Errorf("docs/wire-link.md lacks %s", want)
		}
	}
}

const (
	dictionaryOctets = 5513
	dictionaryCRC    = 0x4b0bd6ac
)

// TestHostile: what nobody compressed like that is refused, in bounded memory.
func TestHostile(t *testing.T) {
	var c Compressor
	var d Decompressor
	good := c.Compress([]byte(strings.Repeat("all alike ", 100)))
	bomb := c.Compress(bytes.Repeat([]byte{'a'}, 1<<20))
	for name, wire := range map[string][]byte{
		"nothing":        nil,
		"only the mark":  {Mark},
		"another mark":   append([]byte{Mark + 1}, good[1:]...),
		"cut":            good[:len(good)-1],
		"with more":      append(bytes.Clone(good), 0),
		"bad block type": {Mark, 0xff, 0xff},
		"far back":       {Mark, 0x4b, 0x04, 0x00, 0xff},
		"a megabyte":     bomb,
	} {
		got, err := d.Decompress(nil, wire, 9001)
		if !errors.Is(err, ErrMalformed) || len(got) != 0 || cap(got) > 1<<15 {
			t.Errorf("%s: %v, %d octets in %d", name, err, len(got), cap(got))
		}
	}
	if got, err := d.Decompress(nil, good, 1000); err != nil || len(got) != 1000 {
		t.Errorf("afterwards: %v, %d octets", err, len(got))
	}
}

func TestAllocations(t *testing.T) {
	var c Compressor
	var d Decompressor
	text := texts(t)["prose"][:1208]
	wire, out := make([]byte, 0, 1300), make([]byte, 0, 1300)
	run := func() {
		sent := c.Compress(append(wire[:0], text...))
		if got, err := d.Decompress(out[:0], sent, 9001); err != nil || len(got) != len(text) {
			t.Fatal(err)
		}
	}
	run()
	if n := testing.AllocsPerRun(50, run); n != 0 {
		t.Errorf("%v allocations for a packet", n)
	}
}

func FuzzDecompress(f *testing.F) {
	var c Compressor
	f.Add(c.Compress([]byte(strings.Repeat("HTTP/1.1 ", 20))))
	f.Add([]byte{Mark, 3, 0})
	f.Fuzz(func(t *testing.T, wire []byte) {
		var d Decompressor
		got, err := d.Decompress(nil, wire, 1000)
		if len(got) > 1000 || err != nil && !errors.Is(err, ErrMalformed) {
			t.Fatalf("%v, %d octets", err, len(got))
		}
		var c Compressor
		roundTrip(t, &c, &d, wire)
	})
}

func BenchmarkCompress(b *testing.B) {
	var c Compressor
	text := texts(b)["prose"][:1208]
	wire := make([]byte, 0, 1300)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		c.Compress(append(wire[:0], text...))
	}
}

func BenchmarkDecompress(b *testing.B) {
	var c Compressor
	var d Decompressor
	text := texts(b)["prose"][:1208]
	sent, out := c.Compress(bytes.Clone(text)), make([]byte, 0, 1300)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := d.Decompress(out[:0], sent, 9001); err != nil {
			b.Fatal(err)
		}
	}
}
