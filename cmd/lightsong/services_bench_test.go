package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"lightsong/link"
	"lightsong/phy"
	"lightsong/phy/audio"
	"lightsong/sims"
)

// An utterance is what one side of a connection says once it has all that was said before.
type utterance struct {
	server bool
	octets int
}

// Talks of programs that people use, as many octets as their messages have when nothing more can be
// compressed: key exchange proposals as what link/payload makes of them.
var talks = []struct {
	name string
	says []utterance
}{
	{"mqtt", []utterance{{false, 37}, {true, 4}, {false, 26}, {true, 4}}}, // CONNECT, PUBLISH with QoS 1
	{"http", []utterance{{false, 40}, {true, 10060}}},
	{"ssh", []utterance{{false, 40}, {true, 40}, {false, 93}, {true, 73}, {false, 48}, {true, 440}, {false, 60}, {true, 44}, {false, 68}, {true, 44},
		{false, 372}, {true, 332}, {false, 500}, {true, 28}, {false, 112}, {true, 500}, {false, 140}, {true, 60}}},
}

// talkHost is one end of such connections, one after the other: a kernel's TCP (initial window of ten segments, slow start, an
// acknowledgement for each segment at first, then for each second or after 40 ms; the timer of RFC 6298 with Linux's least value), which
// repeats the oldest segment when that ends and on three duplicates.
type talkHost struct {
	from, to netip.Addr
	server   bool
	busy     time.Duration // a program's, before it says something

	outbox

	port      uint16
	says      []utterance
	said      int // of says
	due       int // octets that the other side says before the next of ours, all in all
	up        bool
	una, nxt  uint32
	buffered  uint32 // behind the last octet to send
	cwnd      float64
	dups      int
	rtt, rttV time.Duration
	rto       time.Duration
	timed     uint32
	timedAt   time.Time
	timer     *time.Timer
	resent    int
	next      uint32
	held      map[uint32]int
	recent    uint32 // of the other's timestamps
	came      int    // segments
	unacked   int
	delayed   *time.Timer
	over      chan struct{}
}

const talkMSS = 1280 - tcpTalkHead
const tcpTalkHead = 52

func newTalkHost(i int) *talkHost {
	return &talkHost{from: simulatedAddr(i), to: simulatedAddr(1 - i), server: i == 1, busy: 2 * time.Millisecond, outbox: newOutbox()}
}

// begin prepares a connection; the client then opens it.
func (h *talkHost) begin(port uint16, says []utterance, over chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.halt()
	h.port, h.says, h.said, h.due, h.up, h.una, h.nxt, h.buffered, h.over = port, says, 0, 0, false, 0, 0, 1, over
	h.cwnd, h.dups, h.rtt, h.rto, h.timed, h.next, h.held, h.recent, h.came, h.unacked = 10, 0, 0, time.Second, 0, 0, map[uint32]int{}, 0, 0, 0
	if !h.server {
		h.push()
	}
}

// halt stops the timers. The caller holds the lock.
func (h *talkHost) halt() {
	for _, t := range []*time.Timer{h.timer, h.delayed} {
		if t != nil {
			t.Stop()
		}
	}
	h.timer, h.delayed = nil, nil
}

// emit queues a segment from an octet on: SYN is the first.
func (h *talkHost) emit(seq uint32, payload int) {
	head := tcpTalkHead
	syn := seq == 0
	if syn {
		head, payload = 60, 0
	}
	p := make([]byte, head+payload)
	p[0], p[6], p[8], p[9] = 0x45, 0x40, 64, 6
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	copy(p[12:], h.from.AsSlice())
	copy(p[16:], h.to.AsSlice())
	binary.BigEndian.PutUint16(p[10:], checksum(p[:20]))
	t := p[20:]
	ports := [2]uint16{h.port, 1883}
	base := uint32(h.port) * 0x9e3779b9
	other := base ^ 0x5bd1e995
	if h.server {
		ports[0], ports[1], base, other = ports[1], ports[0], other, base
	}
	binary.BigEndian.PutUint16(t, ports[0])
	binary.BigEndian.PutUint16(t[2:], ports[1])
	binary.BigEndian.PutUint32(t[4:], base+seq)
	t[12], t[13], t[14], t[15] = byte((head-20)/4<<4), 0x10, 0x01, 0xf6
	stamps := t[20:]
	if syn {
		t[14], t[15], t[13] = 0xfa, 0xf0, 0x02
		if h.server {
			t[13] = 0x12
		}
		copy(t[20:], []byte{2, 4, 4, 0xd8, 4, 2, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 3, 7})
		stamps = t[24:]
	} else {
		copy(stamps, []byte{1, 1, 8, 10})
		if payload > 0 {
			t[13] |= 0x08
		}
	}
	if t[13]&0x10 != 0 {
		binary.BigEndian.PutUint32(t[8:], other+h.next)
	}
	binary.BigEndian.PutUint32(stamps[4:], uint32(time.Now().UnixMilli()))
	binary.BigEndian.PutUint32(stamps[8:], h.recent)
	octets := rand.NewPCG(uint64(seq), uint64(h.port))
	for i := head - 20; i < len(t); i++ {
		t[i] = byte(octets.Uint64())
	}
	sum := oddSum(6+uint32(len(t)), p[12:20])
	binary.BigEndian.PutUint16(t[16:], ^uint16(oddSum(sum, t)))
	h.queue = append(h.queue, p)
	h.unacked = 0
	h.poke()
}

func oddSum(sum uint32, p []byte) uint32 {
	for i := 0; i < len(p); i += 2 {
		sum += uint32(p[i]) << 8
		if i+1 < len(p) {
			sum += uint32(p[i+1])
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return sum
}

// push sends what the window allows.
func (h *talkHost) push() {
	for h.nxt < h.buffered && float64(h.nxt-h.una) < h.cwnd*talkMSS && (h.nxt == 0 || h.up) {
		n := min(h.buffered-h.nxt, talkMSS)
		if h.nxt == 0 {
			n = 1
		}
		if h.timed == 0 {
			h.timed, h.timedAt = h.nxt+1, time.Now()
		}
		h.emit(h.nxt, int(n))
		h.nxt += n
	}
	h.arm()
}

func (h *talkHost) arm() {
	if h.timer == nil && h.nxt != h.una {
		h.timer = time.AfterFunc(h.rto, h.expire)
	}
}

func (h *talkHost) expire() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.timer = nil
	if h.una == h.nxt {
		return
	}
	if h.una > 0 { // Linux takes a SYN that was sent again for nothing back, by its time stamp
		h.cwnd = 1
	}
	h.rto, h.timed = min(2*h.rto, time.Minute), 0
	h.again()
	h.arm()
}

// again repeats the oldest segment.
func (h *talkHost) again() {
	h.resent++
	n := min(h.nxt-h.una, talkMSS)
	h.emit(h.una, int(n))
}

// WritePacket implements link.Host.
func (h *talkHost) WritePacket(p []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := p[20:]
	head := 20 + int(t[12]>>4)*4
	port := binary.BigEndian.Uint16(t[2:])
	if h.server {
		port = binary.BigEndian.Uint16(t)
	}
	if port != h.port {
		return nil // of the connection before
	}
	mine := uint32(h.port) * 0x9e3779b9
	theirs := mine ^ 0x5bd1e995
	if h.server {
		mine, theirs = theirs, mine
	}
	seq, ack, payload := binary.BigEndian.Uint32(t[4:])-theirs, binary.BigEndian.Uint32(t[8:])-mine, len(p)-head
	syn := t[13]&2 != 0
	if syn {
		payload = 1
		h.recent = binary.BigEndian.Uint32(t[28:])
	} else if seq <= h.next {
		h.recent = binary.BigEndian.Uint32(t[24:])
	}
	if t[13]&0x10 != 0 {
		h.acknowledged(ack, payload)
	}
	if payload > 0 {
		h.take(seq, payload, syn)
	}
	return nil
}

func (h *talkHost) take(seq uint32, payload int, syn bool) {
	order := seq == h.next && len(h.held) == 0
	if seq >= h.next {
		h.held[seq] = payload
	}
	for n := h.held[h.next]; n > 0; n = h.held[h.next] {
		delete(h.held, h.next)
		h.next += uint32(n)
	}
	h.came++
	h.unacked++
	switch {
	case syn && h.server:
		h.push()
		return
	case !order || h.unacked >= 2 || h.came < 16:
		h.emit(h.nxt, 0)
	case h.delayed == nil:
		h.delayed = time.AfterFunc(40*time.Millisecond, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.delayed = nil; h.unacked > 0 {
				h.emit(h.nxt, 0)
			}
		})
	}
	if syn {
		h.up = true
	}
	h.speak()
}

// speak says what is next, if all before it was heard.
func (h *talkHost) speak() {
	for h.up && h.said < len(h.says) && int(h.next)-1 >= h.due {
		u := h.says[h.said]
		h.said++
		if u.server != h.server {
			h.due += u.octets
			continue
		}
		port := h.port
		time.AfterFunc(h.busy, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.port == port {
				h.buffered += uint32(u.octets)
				h.push()
			}
		})
	}
	if h.up && h.said == len(h.says) && int(h.next)-1 >= h.due && h.over != nil {
		close(h.over)
		h.over = nil
	}
}

func (h *talkHost) acknowledged(ack uint32, payload int) {
	switch {
	case ack > h.nxt:
	case ack > h.una:
		if h.timed != 0 && ack >= h.timed {
			d := time.Since(h.timedAt)
			if h.rtt == 0 {
				h.rtt, h.rttV = d, d/2
			} else {
				h.rttV += ((h.rtt - d).Abs() - h.rttV) / 4
				h.rtt += (d - h.rtt) / 8
			}
			h.rto, h.timed = h.rtt+max(200*time.Millisecond, 4*h.rttV), 0
		}
		h.cwnd += float64(ack-h.una) / talkMSS
		h.una, h.dups = ack, 0
		if h.timer != nil {
			h.timer.Stop()
			h.timer = nil
		}
		if h.server && !h.up {
			h.up = true
			h.speak()
		}
		h.push()
	case payload == 0 && h.nxt != h.una:
		if h.dups++; h.dups == 3 {
			h.cwnd = max(2, h.cwnd/2)
			h.again()
		}
	}
}

// BenchmarkServices measures how long the talks of programs take on a lead at −4.5 dB, full duplex, every sample
// of it, in virtual time.
//
//	go test -run '^$' -bench Services -benchtime 1x ./cmd/lightsong
func BenchmarkServices(b *testing.B) {
	took := map[string][]time.Duration{}
	for i := range b.N {
		seed := *courseSeed + uint64(i)
		run := func(t *testing.T) {
			begin := time.Now()
			hosts := [2]*talkHost{newTalkHost(0), newTalkHost(1)}
			s := simulation{profile: "cable", hosts: []link.Host{hosts[0], hosts[1]},
				air: sims.AirConfig{Seed: seed, Room: sims.AirRoom{RT60: new(0.0), OwnEcho: new(false)},
					Station: sims.AirStation{SNRdB: new(-4.5), SpeakerLimit: new(1e9)}}}
			if *traced {
				s.medium = func(i int, p *audio.PHY) phy.PHY {
					return &tracer{PHY: p, name: string(rune('a' + i)), start: begin}
				}
			}
			s.run(t, func(ctx context.Context, stations []*link.Runner) {
				time.Sleep(20 * time.Second)
				port := uint16(40000)
				talk := func(name string, says []utterance) {
					port++
					over := make(chan struct{})
					if *traced {
						fmt.Fprintf(os.Stderr, "%9.1f ms %s\n", float64(time.Since(begin).Microseconds())/1000, name)
					}
					from := time.Now()
					hosts[1].begin(port, says, nil)
					hosts[0].begin(port, says, over)
					select {
					case <-over:
					case <-time.After(2 * time.Minute):
						t.Errorf("seed %d: %s did not end", seed, name)
					}
					took[name] = append(took[name], time.Since(from).Round(time.Millisecond))
					time.Sleep(5 * time.Second)
				}
				for _, x := range talks {
					for range 6 {
						talk(x.name, x.says)
					}
				}
				for i, h := range hosts {
					if stats, err := stations[i].Stats(ctx); err == nil {
						b.Logf("seed %d, station %d: %d segments again; queue %+v, bursts %+v", seed, i, h.resent, stats.Queue, stats.Bursts)
					}
					h.mu.Lock()
					h.halt()
					h.mu.Unlock()
				}
			})
		}
		ok := testing.RunTests(func(string, string) (bool, error) { return true, nil }, []testing.InternalTest{{
			Name: "bubble", F: func(t *testing.T) { synctest.Test(t, run) },
		}})
		if !ok {
			b.Fatal("the bubble failed")
		}
	}
	for _, x := range talks {
		all := took[x.name]
		b.Logf("%s %v", x.name, all)
		slices.Sort(all)
		b.ReportMetric(all[len(all)/2].Seconds(), x.name+"-median-s")
		b.ReportMetric(all[len(all)-1].Seconds(), x.name+"-worst-s")
	}
}
