package firmware_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"lightsong/firmware/emu"
)

func needs(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed (Debian: make gcc clang gcc-avr avr-libc)", tool)
		}
	}
	// What make reads is read here too, or go test would not see it change.
	for _, pattern := range []string{"Makefile", "core/*", "avr/*"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if _, err := os.ReadFile(name); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func run(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// examples are the frames that PROTOCOL.md shows, in its order.
func examples(t *testing.T) [][]byte {
	t.Helper()
	text, err := os.ReadFile("PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	var frames [][]byte
	for _, m := range regexp.MustCompile(`7E(?: [0-9A-F]{2})+ 7E\b`).FindAll(text, -1) {
		b, err := hex.DecodeString(strings.ReplaceAll(string(m), " ", ""))
		if err != nil {
			t.Fatalf("%s: %v", m, err)
		}
		frames = append(frames, b)
	}
	return frames
}

// unframe returns the content of a frame whose check is right.
func unframe(frame []byte) ([]byte, error) {
	var content []byte
	for i := 1; i < len(frame)-1; i++ {
		v := frame[i]
		switch v {
		case 0x7C, 0x7E:
			return nil, fmt.Errorf("octet %d: %#x must be escaped", i, v)
		case 0x7D:
			i++
			v = frame[i] ^ 0x20
		}
		content = append(content, v)
	}
	n := len(content) - 2
	if n < 1 {
		return nil, fmt.Errorf("%d octets", len(content))
	}
	if want, got := emu.CRC(content[:n]), binary.LittleEndian.Uint16(content[n:]); want != got {
		return nil, fmt.Errorf("check %04X, want %04X", got, want)
	}
	return content[:n], nil
}

func TestExamplesAreRight(t *testing.T) {
	seen := map[byte]bool{}
	for _, f := range examples(t) {
		c, err := unframe(f)
		if err != nil {
			t.Errorf("% X: %v", f, err)
			continue
		}
		seen[c[0]] = true
		if again := emu.AppendFrame(nil, c); !bytes.Equal(again, f) {
			t.Errorf("% X: another host would send % X", f, again)
		}
	}
	for _, kind := range []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x90, 0xFF} {
		if !seen[kind] {
			t.Errorf("PROTOCOL.md shows no message of type %#x", kind)
		}
	}
}

// The core answers the document's questions with the document's answers.
func TestAnswersAreAsWritten(t *testing.T) {
	needs(t, "make", "gcc")
	dir := t.TempDir()
	run(t, "make", "-s", "BUILD="+dir, dir+"/core_test-gcc")
	shown := map[byte][]byte{} // the document's answers, by type
	var questions [][]byte
	for _, f := range examples(t) {
		c, err := unframe(f)
		if err != nil {
			t.Fatal(err)
		}
		if c[0] < 0x80 {
			questions = append(questions, f)
		} else {
			shown[c[0]] = f
		}
	}
	for _, q := range questions {
		c, _ := unframe(q)
		kind := c[0] | 0x80
		switch {
		case c[0] == emu.Hello && c[1] != 1:
			kind = emu.Error
		case c[0] == emu.Configure:
			kind = emu.Ack
		case c[0] == emu.Hello, c[0] == emu.Stats, c[0] == emu.Credit, c[0] == emu.Reset:
			continue // what they tell depends on the board and its past
		}
		cmd := exec.Command(dir+"/core_test-gcc", "board")
		cmd.Stdin = bytes.NewReader(q)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if want := shown[kind]; !bytes.Equal(out, want) {
			t.Errorf("% X is answered by\n% X, want\n% X", q, out, want)
		}
	}
}

func TestCore(t *testing.T) {
	needs(t, "make", "gcc", "clang")
	run(t, "make", "-s", "BUILD="+t.TempDir(), "check")
}

// libFuzzer on the core's parser and the light receiver, from a fixed seed.
func TestCoreFuzz(t *testing.T) {
	needs(t, "make", "clang")
	dir := t.TempDir()
	run(t, "make", "-s", "BUILD="+dir, dir+"/core_fuzz")
	corpus := filepath.Join(dir, "corpus")
	if err := os.Mkdir(corpus, 0o755); err != nil {
		t.Fatal(err)
	}
	for i, f := range examples(t) {
		if err := os.WriteFile(filepath.Join(corpus, fmt.Sprint(i)), f, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(t, dir+"/core_fuzz", "-seed=1", "-runs=20000", "-max_len=2048", "-verbosity=0", "-artifact_prefix="+dir+"/", corpus)
}

// The same octets from another folder.
func TestImagesAreReproducible(t *testing.T) {
	needs(t, "make", "avr-gcc")
	names := []string{"lightsong-atmega328p.hex", "lightsong-atmega328p-led.hex"}
	images := func(from string) (images [][]byte) {
		dir := t.TempDir()
		run(t, "make", "-s", "-C", from, "BUILD="+dir)
		for _, name := range names {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			images = append(images, b)
		}
		return images
	}
	elsewhere := filepath.Join(t.TempDir(), "a", "longer", "name")
	if err := os.CopyFS(elsewhere, os.DirFS(".")); err != nil {
		t.Fatal(err)
	}
	here, there := images("."), images(elsewhere)
	for i, name := range names {
		if !bytes.Equal(here[i], there[i]) {
			t.Errorf("%s depends on the folder it is built in", name)
		}
	}
}
