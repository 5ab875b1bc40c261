package ofdm

import (
	"encoding/json"
	"flag"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"lightsong/modem"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden is one burst as it must stay: receivers of older versions read it.
type golden struct {
	Profile  string    `json:"profile"`
	MCS      int       `json:"mcs"`
	Frames   int       `json:"frames"`
	Octets   int       `json:"octets"`
	Control  int       `json:"control"`
	Inside   bool      `json:"inside,omitempty"` // as it is in the middle of another one; then without LLRs
	Samples  int       `json:"samples"`
	HeadBits uint32    `json:"head_bits"` // CRC-32 of the coded bits of header and control block, scrambled
	BodyBits uint32    `json:"body_bits"` // of the frames
	Wave     []float32 `json:"wave"`      // every 101st sample
	LLR      []float32 `json:"llr"`       // every 997th LLR of the body behind a noisy channel
}

// counting is a payload that anybody can make: octet i of part p is 31·p + 7·i.
func counting(part, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(31*part + 7*i)
	}
	return b
}

func TestGolden(t *testing.T) {
	file := filepath.Join("testdata", "bursts.json")
	var want []golden
	if !*update {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatal(err)
		}
	}
	var got []golden
	for _, g := range []golden{
		{Profile: "cable", MCS: 16, Frames: 2, Octets: 64, Control: 5},
		{Profile: "cable", MCS: 45, Frames: 3, Octets: 200},
		{Profile: "cable", MCS: 12, Frames: 1, Octets: 20, Control: 40},
		{Profile: "cable2", MCS: 39, Frames: 3, Octets: 200, Control: 5},
		{Profile: "cable", MCS: 14, Frames: 1, Octets: 59, Control: 13, Inside: true},
		{Profile: "cable", MCS: 11, Frames: 1, Octets: 20, Control: 8, Inside: true},
		{Profile: "cable2", MCS: 20, Frames: 1, Octets: 100, Control: 8, Inside: true},
		{Profile: "air", MCS: 14, Frames: 1, Octets: 50},
		{Profile: "air", MCS: 24, Frames: 2, Octets: 1500, Control: 8},
		{Profile: "air", MCS: 19, Frames: 1, Octets: 64, Control: 12},
		{Profile: "air", MCS: 24, Frames: 1, Octets: 1000},
		{Profile: "ultra", MCS: 9, Frames: 1, Octets: 16},
		{Profile: "voice", MCS: 15, Frames: 1, Octets: 16},
	} {
		s := newStation(t, g.Profile, 48000)
		b := &modem.Burst{MCS: modem.MCS(g.MCS), Control: counting(0, g.Control)}
		for i := range g.Frames {
			b.Frames = append(b.Frames, counting(i+1, g.Octets))
		}
		x, err := s.mod.appendAt(nil, b, g.Inside)
		if err != nil {
			t.Fatal(err)
		}
		g.Samples = len(x)
		g.HeadBits = crc32.ChecksumIEEE(s.mod.coder.head)
		s.mod.coder.encodeBody(&s.mod.plan, b)
		g.BodyBits = crc32.ChecksumIEEE(s.mod.coder.body)
		for i := 0; i < len(x); i += 101 {
			g.Wave = append(g.Wave, x[i])
		}
		if g.Inside {
			got = append(got, g)
			continue
		}
		// The LLRs of the first pass, before the decoder has turned them.
		rng := rand.New(rand.NewPCG(1, 1))
		r := s.dem.rx
		y := s.carry(path{snr: 30, crosstalk: -30}, x, 0, 0, rng)
		if s.mod.prof.pair {
			s.dem.split(y)
			y, r.second = s.dem.buf, s.dem.right
		}
		if sent := &s.mod.plan; sent.isBlock {
			if !r.blocks.readHeader(y, 0, 0, sent.classIndex, sent.shape) {
				t.Fatalf("%s MCS %d: no header in the block", g.Profile, g.MCS)
			}
			r.heed(math.MaxInt32)
			r.blocks.openBody(y, 0)
			r.blocks.cellLLRs()
		} else {
			if !r.readHeader(y, 0, 0, sent.classIndex, false) {
				t.Fatalf("%s MCS %d: no header", g.Profile, g.MCS)
			}
			r.store = r.store[:0]
			r.readControl()
			if s.mod.prof.pair {
				body, _ := r.preparePair()
				r.pairLLRs(body)
			} else {
				body, _ := r.prepareBody()
				r.bodyLLRs(body)
			}
		}
		for i := 0; i < len(r.llr); i += 997 {
			g.LLR = append(g.LLR, r.llr[i])
		}
		got = append(got, g)
	}
	if *update {
		text, err := json.MarshalIndent(got, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if len(want) != len(got) {
		t.Fatalf("%d bursts in %s, want %d", len(want), file, len(got))
	}
	for i, g := range got {
		w := want[i]
		if g.Profile != w.Profile || g.MCS != w.MCS || g.Samples != w.Samples || g.HeadBits != w.HeadBits || g.BodyBits != w.BodyBits {
			t.Errorf("%s MCS %d: %d samples, bits %#x %#x; want %d, %#x %#x", g.Profile, g.MCS, g.Samples, g.HeadBits, g.BodyBits, w.Samples, w.HeadBits, w.BodyBits)
			continue
		}
		for j := range g.Wave {
			if math.Abs(float64(g.Wave[j]-w.Wave[j])) > 1e-5 {
				t.Errorf("%s MCS %d: sample %d is %g, want %g", g.Profile, g.MCS, 101*j, g.Wave[j], w.Wave[j])
				break
			}
		}
		for j := range g.LLR {
			if math.Abs(float64(g.LLR[j]-w.LLR[j])) > 1e-2*(1+math.Abs(float64(w.LLR[j]))) {
				t.Errorf("%s MCS %d: LLR %d is %g, want %g", g.Profile, g.MCS, 997*j, g.LLR[j], w.LLR[j])
				break
			}
		}
	}
}

// FuzzDemodulator changes samples of a burst, and pushes others in front of it.
// Whatever they are, no frame comes out that was not sent.
func FuzzDemodulator(f *testing.F) { fuzz(f, "cable", 24) }

// FuzzBlock is the same for a burst of one block.
func FuzzBlock(f *testing.F) { fuzz(f, "air", 20) }

// FuzzInside is the same for a burst with another in its middle.
func FuzzInside(f *testing.F) {
	s := newStation(f, "cable", 48000)
	outer := &modem.Burst{MCS: 24, Control: counting(0, 6), Frames: [][]byte{counting(1, 800), counting(2, 800)}}
	inner := &modem.Burst{MCS: 21, Control: counting(0, 6), Frames: [][]byte{counting(3, 60)}}
	fuzzBurst(f, s, s.inserted(f, outer, []*modem.Burst{inner}, []int{1}), append(outer.Frames, inner.Frames...))
}

func fuzz(f *testing.F, profile string, mcs modem.MCS) {
	s := newStation(f, profile, 48000)
	b := &modem.Burst{MCS: mcs, Control: counting(0, 6), Frames: [][]byte{counting(1, 40), counting(2, 40)}}
	burst, err := s.mod.AppendBurst(nil, b)
	if err != nil {
		f.Fatal(err)
	}
	fuzzBurst(f, s, burst, b.Frames)
}

func fuzzBurst(f *testing.F, s *station, burst []float32, sent [][]byte) {
	f.Add([]byte{})
	f.Add([]byte{0, 10, 0, 1, 200, 1, 2, 50, 2, 3, 0, 3, 4, 0, 4})
	f.Add([]byte{1, 100, 5, 1, 101, 5, 1, 102, 5, 255, 255, 6})
	f.Fuzz(func(t *testing.T, data []byte) {
		x := append([]float32{}, burst...)
		if len(data) > 3000 {
			data = data[:3000]
		}
		for ; len(data) >= 3; data = data[3:] {
			at := (int(data[0])<<8 | int(data[1])) % len(x)
			switch v := data[2]; v {
			case 0:
				x[at] = float32(math.NaN())
			case 1:
				x[at] = float32(math.Inf(1))
			case 2:
				x[at] = math.MaxFloat32
			case 3:
				x = append(x[:at:at], x[min(len(x), at+50):]...) // samples lost
				if len(x) == 0 {
					return
				}
			case 4:
				clear(x[at:min(len(x), at+300)])
			case 5:
				x = x[:max(1, at)]
			default:
				x[at] += (float32(v) - 128) / 64
			}
		}
		piece := 1 + len(x)/(1+len(data)%5+1)
		for _, e := range listen(s.dem, x, piece) {
			if e.Kind != modem.Received {
				continue
			}
			for _, got := range e.Burst.Frames {
				if got != nil && !slices.ContainsFunc(sent, func(f []byte) bool { return string(f) == string(got) }) {
					t.Errorf("a frame that was not sent: %x", got)
				}
			}
		}
		s.dem.Reset()
	})
}
