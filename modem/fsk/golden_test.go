package fsk

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"lightsong/modem"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden is one test vector: docs/wire-fsk.md explains the fields.
type golden struct {
	MCS      modem.MCS   `json:"mcs"`
	Mode     string      `json:"mode"`
	Control  string      `json:"control"`
	Frames   []string    `json:"frames"`
	Header   string      `json:"header"`          // hexadecimal, before scrambling
	Tones    string      `json:"tones"`           // one hexadecimal digit per symbol
	Samples  int         `json:"samples"`         // of the burst at 48 kHz
	Every    int         `json:"every"`           // Wave holds every so manieth sample
	Wave     []float64   `json:"wave"`            //
	Soft     []float64   `json:"header_soft"`     // decisions on the header's symbols in noise
	Energies [][]float64 `json:"header_energies"` // of the first four of these symbols, by tone
}

func vector(t *testing.T, mcs int) golden {
	m, d := mustModems(t, testRate)
	b := &modem.Burst{
		MCS:     modem.MCS(mcs),
		Control: []byte("control"),
		Frames:  [][]byte{[]byte("a frame of lightsong"), []byte("and the one after it")},
	}
	h, err := m.header(b)
	if err != nil {
		t.Fatal(err)
	}
	g := golden{MCS: b.MCS, Mode: Modes(testRate)[mcs].Description, Control: string(b.Control), Header: fmt.Sprintf("%x", h.append(nil)), Every: 101}
	for _, f := range b.Frames {
		g.Frames = append(g.Frames, string(f))
	}
	for _, v := range m.appendTones(nil, m.rows[mcs], h, b) {
		g.Tones += fmt.Sprintf("%x", v)
	}
	x := onAir(t, m, b, 0, 100)
	g.Samples = m.Samples(b)
	for i := 0; i < g.Samples; i += g.Every {
		g.Wave = append(g.Wave, float64(x[i]))
	}
	// The header at Es/N0 = 15 dB, at the right times.
	n := m.rows[mcs].num
	addNoise(rand.New(rand.NewPCG(70, 70)), x, 15-10*math.Log10(n.period/2))
	var energies []float32
	bank := newToneBank(n)
	for k := range n.header {
		at := float64(len(n.chirp)) + float64(k)*n.period
		cut := bank.open(x[int(at):], at-math.Floor(at))
		for tone := range n.params.Tones {
			energies = append(energies, bank.energy(cut, tone))
		}
	}
	for i := range 4 {
		var symbol []float64
		for _, e := range energies[i*n.params.Tones:][:n.params.Tones] {
			symbol = append(symbol, float64(e))
		}
		g.Energies = append(g.Energies, symbol)
	}
	c := newChannel(n.params.Tones)
	c.guess(energies, priorFlat)
	soft := c.soft(nil, energies)
	for _, v := range soft {
		g.Soft = append(g.Soft, float64(v))
	}
	if got := fmt.Sprintf("%x", d.dec.appendBlock(nil, headerBlock(), soft)); got != g.Header {
		t.Errorf("MCS %d: the header's soft decisions decode to %s, want %s", mcs, got, g.Header)
	}
	return g
}

func TestGolden(t *testing.T) {
	for mcs := range Modes(testRate) {
		file := filepath.Join("testdata", fmt.Sprintf("mcs%d.json", mcs))
		got := vector(t, mcs)
		if *update {
			p, err := json.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, append(p, '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		p, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var want golden
		if err := json.Unmarshal(p, &want); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if got.Header != want.Header || got.Tones != want.Tones || got.Samples != want.Samples || got.Mode != want.Mode {
			t.Errorf("MCS %d: header, tones, mode or length differ from %s: the wire format has changed", mcs, file)
		}
		near(t, file+" wave", got.Wave, want.Wave, 1e-5, 0)
		near(t, file+" soft decisions", got.Soft, want.Soft, 1e-3, 1e-3)
		for i := range want.Energies {
			near(t, file+" energies", got.Energies[i], want.Energies[i], 1e-3, 1e-3)
		}
	}
}

// near compares within an absolute and a relative difference.
func near(t *testing.T, what string, got, want []float64, absolute, relative float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d values, want %d", what, len(got), len(want))
		return
	}
	for i := range want {
		if math.Abs(got[i]-want[i]) > absolute+relative*math.Abs(want[i]) {
			t.Errorf("%s: value %d is %g, want %g", what, i, got[i], want[i])
			return
		}
	}
}
