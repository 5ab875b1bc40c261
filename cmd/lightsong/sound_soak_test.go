//go:build audio

package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lightsong/link"
	"lightsong/phy/audio"
	"lightsong/sims"
)

// `make soak`: what runs for days must not grow.

// TestSoakRig runs two daemons on the sound server for ten minutes, with pings and
// a transfer in each of them.
func TestSoakRig(t *testing.T) {
	needSound(t)
	r := newSoundRig(t, "cable1", "cable2")
	d := soundDemo(t, r, lead, `profile = "cable"`, 50000)
	warmUp(t, d)
	type size struct{ heap, resident, sound, descriptors, goroutines int }
	measure := func(s *side) size {
		t.Helper()
		status, err := askStatus(t.Context(), s.control)
		if err != nil {
			t.Fatal(err)
		}
		pid := s.process.pid()
		files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			t.Fatal(err)
		}
		x := size{heap: int(status.HeapOctets >> 10), resident: resident(t, pid), descriptors: len(files), goroutines: status.Goroutines}
		for _, child := range children(t, pid) {
			x.sound += resident(t, child)
		}
		return x
	}
	const minutes, settled = 10, 2
	var first [2]size
	for minute := 1; minute <= minutes; minute++ {
		end := time.Now().Add(time.Minute)
		if err := d.transfer(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.count = 10
		if err := d.ping(t.Context(), d.sides[0], d.sides[1], false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(end))
		for i, s := range d.sides {
			x := measure(s)
			t.Logf("minute %d, %s: heap %d KiB, resident %d KiB, its sound process %d KiB, %d descriptors, %d goroutines",
				minute, s.name, x.heap, x.resident, x.sound, x.descriptors, x.goroutines)
			switch minute {
			case settled:
				first[i] = x
			case minutes:
				// A garbage collector is not exact to a few MiB; goroutines and
				// descriptors may be those of the question.
				if f := first[i]; x.heap > f.heap+4<<10 || x.resident > f.resident+f.resident/4 || x.sound > f.sound+f.sound/4 ||
					x.descriptors > f.descriptors+2 || x.goroutines > f.goroutines+2 {
					t.Errorf("%s has grown from %+v to %+v", s.name, f, x)
				}
			}
		}
	}
	counts(t, d)
}

// resident is the memory of a process in KiB.
func resident(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestSoakListening lets two stations listen to a room for eight simulated hours,
// every sample of it: noise, and a packet every few minutes. It is the daemons'
// whole stack but for card and kernel.
func TestSoakListening(t *testing.T) {
	// What bursts of a kind need is made for the first of them and kept: after two
	// hours there were bursts of all kinds.
	const hours, settled, seed = 8, 2, 9
	began := time.Now()
	synctest.Test(t, func(t *testing.T) {
		hosts := packetHosts(t, seed, 4*time.Minute)
		simulation{
			profile: "air",
			air:     sims.AirConfig{Seed: seed, Room: sims.AirRoom{RT60: new(0.3), DRR: new(3.0)}, Station: sims.AirStation{SNRdB: new(20.0)}},
			hosts:   []link.Host{hosts[0], hosts[1]},
			stream: func(_ int, p *sims.Port) audio.Stream {
				return audio.Reopen(48000, 1, func(context.Context) (audio.Stream, error) { return p, nil }, nil)
			},
		}.run(t, func(ctx context.Context, stations []*link.Runner) {
			type size struct {
				heap        uint64
				goroutines  int
				descriptors int
			}
			var first, last size
			for hour := 1; hour <= hours; hour++ {
				time.Sleep(time.Hour)
				runtime.GC()
				runtime.GC() // what pools hold goes with the second one
				last = size{heapLive() >> 10, runtime.NumGoroutine(), descriptors(t)}
				if hour == settled {
					first = last
				}
				t.Logf("hour %d: heap %d KiB, %d goroutines, %d descriptors", hour, last.heap, last.goroutines, last.descriptors)
			}
			if last.heap > first.heap+2<<10 || last.goroutines > first.goroutines || last.descriptors > first.descriptors+1 {
				t.Errorf("it has grown from %+v to %+v", first, last)
			}
			for i, r := range stations {
				s, err := r.Stats(ctx)
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%d of %d packets came; bursts %+v, hostile %+v", hosts[i].received, hosts[1-i].sent, s.Bursts, s.Hostile)
				if float64(hosts[i].received) < 0.95*float64(hosts[1-i].sent) {
					t.Errorf("%d of %d packets came", hosts[i].received, hosts[1-i].sent)
				}
			}
		})
	})
	t.Logf("%d hours in %v", hours, time.Since(began).Round(time.Second))
}
