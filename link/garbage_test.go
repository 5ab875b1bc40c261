package link

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"lightsong/modem"
	"lightsong/modem/fec"
	"lightsong/modem/line"
	"lightsong/phy"
)

// checkedModes are those of a modem whose frames have a check and nothing else that
// a test of checks need know.
var checkedModes = []phy.Mode{
	{MCS: 0, NetBPS: 10e3, SNRdB: -6, FrameOctets: 16},
	{MCS: 1, NetBPS: 20e3, SNRdB: 0, FrameOctets: 32},
	{MCS: 2, NetBPS: 50e3, SNRdB: 6, FrameOctets: 64},
	{MCS: 3, NetBPS: 100e3, SNRdB: 12, FrameOctets: 128},
	{MCS: 4, NetBPS: 200e3, SNRdB: 18, FrameOctets: 256},
}

// noisy is a medium that spoils bits, and what it did.
type noisy struct {
	random *rand.Rand
	ber    float64
	check  uint32 // bits of the frame check that are compared; all of them but to see that the test can fail

	frames   int // heard, of bursts whose control block was read
	hit      int // with bits that were wrong when the check looked at them
	rejected int // of these
	blocks   int // control blocks hit
	passed   int // frames and blocks hit that the check did not find
}

// flip makes each bit of p wrong with a probability, and returns how many it was.
func (x *noisy) flip(p []byte, ber float64) (n int) {
	for at := 0; ; at++ {
		at += int(math.Log(1-x.random.Float64()) / math.Log1p(-ber))
		if at >= 8*len(p) || at < 0 {
			return n
		}
		p[at/8] ^= 0x80 >> (at % 8)
		n++
	}
}

// past is content that was sent with its check over a medium with a bit error rate:
// nil if the check finds it wrong.
func (x *noisy) past(content []byte, ber float64) (got []byte, hit bool) {
	p := binary.BigEndian.AppendUint32(bytes.Clone(content), fec.CRC32(content))
	hit = x.flip(p, ber) > 0
	got = p[:len(content)]
	if (fec.CRC32(got)^binary.BigEndian.Uint32(p[len(content):]))&x.check != 0 {
		return nil, hit
	}
	return got, hit
}

// behind hears a burst whose errors are what a decoder left: each frame is as long
// as it was and has the check that all our modems give it. A control block is coded
// as strongly as the header: it has a tenth of the errors.
func (x *noisy) behind(n *node, b *phy.Burst) phy.Event {
	got := phy.Burst{MCS: b.MCS, Frames: make([][]byte, len(b.Frames))}
	control, hit := x.past(b.Control, x.ber/10)
	if got.Control = control; hit && !bytes.Equal(control, b.Control) {
		x.blocks++
		if control != nil {
			x.passed++
		}
	}
	for i, f := range b.Frames {
		frame, hit := x.past(f, x.ber)
		got.Frames[i] = frame
		if control != nil {
			x.frames++
		}
		x.judge(frame, f, hit, control != nil)
	}
	return phy.Event{Kind: phy.Received, Burst: got, Quality: phy.Quality{SNR: n.snr + x.random.NormFloat64()}}
}

// judge counts what became of a frame.
func (x *noisy) judge(got, sent []byte, hit, counts bool) {
	switch {
	case !counts || !hit && got != nil:
	case got == nil:
		x.hit++
		x.rejected++
	case !bytes.Equal(got, sent):
		x.hit++
		x.passed++
	}
}

// before hears a burst through the modem of light, whose bits are spoiled as they
// come from the board: headers, markers, codes and checks are the real ones. Two
// halves of a bit that are alike are a guess, of which half is right.
func (x *noisy) before() func(n *node, b *phy.Burst) phy.Event {
	enc, dec := new(line.Encoder), new(line.Decoder)
	return func(_ *node, b *phy.Burst) phy.Event {
		ev := phy.Event{Kind: phy.Missed, Quality: phy.Quality{SNR: math.NaN()}}
		bodies, err := enc.Encode(b)
		if err != nil {
			panic(err)
		}
		emit := func(e modem.Event) {
			if e.Kind != modem.Received {
				return
			}
			ev = phy.Event{Kind: phy.Received, Quality: e.Quality, Burst: phy.Burst{MCS: e.Burst.MCS, Control: bytes.Clone(e.Burst.Control), Frames: make([][]byte, len(e.Burst.Frames))}}
			for i, f := range e.Burst.Frames {
				ev.Burst.Frames[i] = bytes.Clone(f)
			}
		}
		for _, body := range bodies {
			heard := line.Heard{Rate: body.Rate, Body: bytes.Clone(body.Octets), PPM: math.NaN(), PeakDBFS: math.NaN()}
			heard.Violations = 2 * x.flip(heard.Body, x.ber)
			dec.Push(&heard, emit)
		}
		dec.Flush(emit)
		if ev.Burst.Control == nil {
			return ev
		}
		if !bytes.Equal(ev.Burst.Control, b.Control) {
			x.passed++
		}
		for i, f := range ev.Burst.Frames {
			x.frames++
			x.judge(f, b.Frames[i], f == nil, true)
		}
		return ev
	}
}

// garbageFlows are what crosses the medium each way: every kind of header that is
// compressed, and one that is not.
var garbageFlows = []struct {
	proto uint8
	port  uint16
	size  func(number int) int
}{
	{protoTCP, 80, func(n int) int { return 41 + n*131%1200 }},
	{protoTCP, 22, func(n int) int { return 42 + n%30 }},
	{protoUDP, 53, func(n int) int { return 40 + n*37%400 }},
	{protoUDP, 5004, func(n int) int { return 32 + n*211%1248 }},
	{protoUDPLite, 9, func(n int) int { return 60 + n%60 }},
}

// TestInjectedErrors sends packets of several flows both ways while bits of their
// frames are made wrong, behind the decoder and before it. None may arrive that was
// not sent like that, none twice, and none before an older one of its flow.
//
// By theory a frame that a decoder left wrong passes a check of 32 bits once in
// 2^32: of 1e7, all of them wrong, 0.0023 would. LIGHTSONG_FIGURES=1 is the run over
// 1e7 frames (`make link-garbage`).
func TestInjectedErrors(t *testing.T) {
	behind, before := 20_000, 2_500
	if os.Getenv("LIGHTSONG_FIGURES") != "" {
		behind, before = 2_250_000, 250_000
	}
	var sum noisy
	packets := 0
	for _, ber := range []float64{1e-5, 1e-4, 1e-3, 1e-2} {
		for _, decoder := range []bool{false, true} {
			where, frames := "behind the decoder", behind
			if decoder {
				where, frames = "before the decoder", before
			}
			t.Run(fmt.Sprintf("%.0e %s", ber, where), func(t *testing.T) {
				x := &noisy{ber: ber, check: math.MaxUint32}
				got, wrong := injected(t, x, decoder, frames)
				if wrong > 0 || x.passed > 0 {
					t.Errorf("%d damaged packets were delivered, %d damaged frames passed", wrong, x.passed)
				}
				if got == 0 || x.hit == 0 && (!decoder || ber > 1e-4) {
					t.Errorf("%d packets, %d frames of %d damaged: the test shows nothing", got, x.hit, x.frames)
				}
				t.Logf("%d frames, %d damaged when they were checked (%d rejected), %d control blocks; %d packets delivered, %d damaged",
					x.frames, x.hit, x.rejected, x.blocks, got, wrong)
				sum.frames, sum.hit, sum.rejected, sum.passed = sum.frames+x.frames, sum.hit+x.hit, sum.rejected+x.rejected, sum.passed+x.passed
				packets += got
			})
		}
	}
	t.Logf("in all %d frames, %d damaged, %d rejected, %d passed (%.1g expected); %d packets delivered", sum.frames, sum.hit, sum.rejected, sum.passed, float64(sum.hit)/(1<<32), packets)
}

// TestInjectedErrorsShow: with a check of 8 bits one damaged frame in 256 passes, and
// the test above sees what comes of it.
func TestInjectedErrorsShow(t *testing.T) {
	x := &noisy{ber: 1e-3, check: 0xff}
	_, wrong := injected(t, x, false, 20_000)
	// A single wrong bit is found or not by its place in the frame, and of the places
	// not many pass: the count varies by more than its square root.
	want := float64(x.hit+x.blocks) / 256
	if wrong == 0 || float64(x.passed) < want/4 || float64(x.passed) > 4*want {
		t.Errorf("%d of %d damaged frames passed, want %.0f; %d damaged packets", x.passed, x.hit+x.blocks, want, wrong)
	}
	t.Logf("%d of %d damaged frames passed (%.0f expected), %d damaged packets were delivered", x.passed, x.hit+x.blocks, want, wrong)
}

// injected lets two stations send each other packets over a medium that spoils
// bits, until so many frames were heard. It returns how many packets were
// delivered, and how many of them were not what their sender sent, or not in order.
func injected(t *testing.T, x *noisy, decoder bool, frames int) (packets, wrong int) {
	m := newMedium(t, testSeed)
	x.random = rand.New(rand.NewPCG(testSeed, uint64(1/x.ber)))
	m.table = checkedModes
	if decoder {
		m.table = line.Modes()
		m.took = func(b *phy.Burst) time.Duration { return time.Duration(line.Micros(b, false)) * time.Microsecond }
	} else {
		m.cost = 20 * time.Millisecond
	}
	m.latency = time.Millisecond
	a, b := m.add("alpha", nil), m.add("beta", nil)
	m.meet()
	m.heard = x.behind
	if decoder {
		m.heard = x.before()
	}
	type side struct {
		from, to *node
		next     []int // number of the next packet of each flow
		last     []int // number of the newest delivered
	}
	sides := []*side{{from: a, to: b}, {from: b, to: a}}
	for _, s := range sides {
		s.next, s.last = make([]int, len(garbageFlows)), make([]int, len(garbageFlows))
		for i := range s.next {
			s.next[i] = 1
		}
	}
	take := func(s *side, pkt []byte) bool {
		if len(pkt) < 32 {
			return false
		}
		for i, f := range garbageFlows {
			if port, number := numberOf(pkt); port == f.port && number < s.next[i] && number > s.last[i] {
				s.last[i] = number
				return bytes.Equal(pkt, ipv4(f.proto, s.from.addr, s.to.addr, port, number, f.size(number)))
			}
		}
		return false
	}
	enough := m.run(100000*time.Hour, func() bool {
		for _, s := range sides {
			for _, pkt := range s.to.got {
				packets++
				if !take(s, pkt) {
					wrong++
					if x.check == math.MaxUint32 {
						t.Errorf("not sent, late or a second time, where the flows had come to %v: %x", s.last, pkt)
					}
				}
			}
			s.to.got = s.to.got[:0]
			if len(s.from.queue) > 0 {
				continue
			}
			for i, f := range garbageFlows {
				s.from.queue = append(s.from.queue, ipv4(f.proto, s.from.addr, s.to.addr, f.port, s.next[i], f.size(s.next[i])))
				s.next[i]++
			}
			m.settle(s.from)
		}
		return x.frames >= frames
	})
	if !enough {
		t.Errorf("%d frames of %d", x.frames, frames)
	}
	return packets, wrong
}
