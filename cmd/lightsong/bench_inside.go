package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"lightsong/modem"
	"lightsong/modem/fec"
	"lightsong/phy/audio"
)

// The lines that are not about packets: noise without bursts, the code alone,
// processor time.

// noise listens to as many hours of white noise as the line has bursts, each of its
// own seed.
func (b *lineBench) noise(ctx context.Context, l *benchLine) (lineResult, error) {
	var mu sync.Mutex
	preambles, frames := 0, 0
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(cap(b.lab.rigs))
	for hour := range l.bursts {
		g.Go(func() error {
			m, err := audio.OpenModem(l.profile, tableRate)
			if err != nil {
				return err
			}
			rng := rand.New(rand.NewPCG(b.seed, uint64(hour)))
			x := make([]float32, tableRate)
			for range 3600 {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				for i := range x {
					x[i] = 0.1 * float32(rng.NormFloat64())
				}
				m.Push(x, func(ev modem.Event) {
					mu.Lock()
					defer mu.Unlock()
					switch ev.Kind {
					case modem.Preamble:
						preambles++
					case modem.Received:
						frames++
					}
				})
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return lineResult{}, err
	}
	r := l.result(&experiment{seed: b.seed}, &tally{wrong: frames})
	r.Measured, r.Hours = float64(preambles)/float64(l.bursts), l.bursts
	r.judge(l)
	return r, nil
}

// ldpc measures how far the code of rate ½ and as many information bits as the line
// has octets is away from the normal approximation, at a block error rate of 1 %.
func (b *lineBench) ldpc(ctx context.Context, l *benchLine) (lineResult, error) {
	const (
		bler       = 0.01
		step       = 0.125 // dB
		errors     = 100   // counted at a point, or fewer of most blocks
		most       = 50 / bler
		iterations = 50
	)
	k := 8 * l.shape.octets
	code, err := fec.NewLDPC(k, 2*k)
	if err != nil {
		return lineResult{}, err
	}
	rng := rand.New(rand.NewPCG(b.seed, uint64(k)))
	bound := fec.NormalApproximation(k, 2*k, bler)
	info, got, soft := make([]byte, k), make([]byte, k), make([]modem.LLR, code.N())
	var coded []byte
	var llr []modem.LLR
	r := l.result(&experiment{seed: b.seed}, &tally{})
	for x, last := bound, 0.; ; x += step {
		sigma := fec.Deviation(x + 10*math.Log10(0.5))
		n, bad := 0, 0
		for ; n < most && bad < errors; n++ {
			if err := ctx.Err(); err != nil {
				return lineResult{}, err
			}
			for i := range info {
				info[i] = byte(rng.Uint32() & 1)
			}
			coded, llr = code.Encode(coded[:0], info, 0), llr[:0]
			for _, bit := range coded {
				llr = append(llr, modem.LLR(2/(sigma*sigma)*(1-2*float64(bit)+sigma*rng.NormFloat64())))
			}
			clear(soft)
			code.Dematch(soft, llr, 0)
			code.Decode(got, soft, iterations)
			if !slices.Equal(got, info) {
				bad++
			}
		}
		rate := math.Log(max(float64(bad), 0.5) / float64(n))
		if goal := math.Log(bler); rate <= goal {
			if x > bound {
				x -= step * (goal - rate) / (last - rate)
			}
			r.Measured, r.Theory = x-bound, 0
			r.judge(l)
			return r, nil
		}
		last = rate
	}
}

// cpuUse is what a line of processor time is about.
type cpuUse int

const (
	cpuReceive cpuUse = iota
	cpuTransmit
	cpuIdle
)

// cpuSeconds is for how long, in processor time, a line repeats what it measures.
const cpuSeconds = 2

// cost measures processor time, over the time of the sound: of the thread, so that
// what else a machine does changes only what caches hold.
func (b *lineBench) cost(ctx context.Context, l *benchLine) (lineResult, error) {
	m, err := audio.OpenModem(l.profile, tableRate)
	if err != nil {
		return lineResult{}, err
	}
	mode := m.Modes[0]
	if l.like != "" {
		if mode, err = b.given(ctx, l); err != nil {
			return lineResult{}, fmt.Errorf("line %s: %w", l.name, err)
		}
	}
	e := b.experiment(l, mode, false)
	rng := rand.New(rand.NewPCG(e.draw(0), 1))
	var sent, heard []float32
	seconds, packets, delivered := 1., 0, 0
	work := func() { m.Push(heard, func(modem.Event) {}) }
	if l.cpu == cpuIdle {
		for range tableRate * m.Channels() {
			heard = append(heard, 0.01*float32(rng.NormFloat64()))
		}
		e.shape = burstShape{}
	} else {
		burst := modem.Burst{MCS: mode.MCS, Control: random(rng, e.shape.control)}
		for range e.shape.frames {
			burst.Frames = append(burst.Frames, random(rng, e.shape.octets))
		}
		if sent, err = m.AppendBurst(nil, &burst); err != nil {
			return lineResult{}, err
		}
		seconds = float64(len(sent)/m.Channels()) / tableRate
		work = func() { sent, _ = m.AppendBurst(sent[:0], &burst) }
		if l.cpu == cpuReceive {
			channel, err := e.channel.open(e.rate, e.snr, e.channels())
			if err != nil {
				return lineResult{}, err
			}
			heard = channel.Carry(nil, sent, tableRate/100, tableRate/10, e.draw(0))
			emit := func(ev modem.Event) {
				if ev.Kind != modem.Received {
					return
				}
				packets += len(ev.Burst.Frames)
				for _, f := range ev.Burst.Frames {
					if f != nil {
						delivered++
					}
				}
			}
			work = func() { m.Push(heard, emit) }
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for range 3 {
		work() // tables and buffers come into being
	}
	packets, delivered = 0, 0
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began, n := threadTime(), 0
	for threadTime()-began < cpuSeconds*time.Second && ctx.Err() == nil {
		work()
		n++
	}
	took := threadTime() - began
	runtime.ReadMemStats(&after)
	r := l.result(&e, &tally{packets: packets, delivered: delivered})
	r.Measured = took.Seconds() / float64(n) / seconds
	r.Allocs = float64(after.Mallocs-before.Mallocs) / float64(n)
	r.judge(l)
	return r, ctx.Err()
}

// threadTime is the processor time that this thread has used.
func threadTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		panic(err) // Linux always has it
	}
	return time.Duration(t.Nano())
}
