package link

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"lightsong/phy"
)

// crowd is what many stations on one medium did with a load of packets that arrive at
// random (Poisson) at each station for any other.
type crowd struct {
	capacity float64       // bit/s of packets that one station brings to another, with nobody else there
	found    float64       // share of all pairs of stations that had found each other before there was load
	offered  float64       // bit/s
	carried  float64       // bit/s
	lost     float64       // share of the packets that did not arrive within the time and a minute
	jain     float64       // of the shares of its load that each station brought across
	mean     time.Duration // from host to host
	p95      time.Duration
	waiting  [2]int        // octets in all queues: in the middle, at the end of the load
	sent     float64       // share of the time that anybody sends
	use      [uses]float64 // shares of that
	collided float64       // share of bursts, as their addressees hear them, that met another
	cpu      float64       // s for an hour of the medium, engines and model
}

// What bursts are for.
const (
	useBeacon = iota
	useFlood
	useQuestion
	useAnswer // without data
	useData
	uses
)

// useOf is what a burst is for.
func useOf(b *phy.Burst) int {
	var c control
	switch {
	case !c.parse(b.Control):
		panic("a burst that does not parse")
	case c.kind == beaconed:
		return useBeacon
	case c.kind == flooded:
		return useFlood
	case c.data > 0:
		return useData
	case c.flags&flagWanted != 0:
		return useQuestion
	}
	return useAnswer
}

func (c crowd) String() string {
	return fmt.Sprintf("capacity %.0f b/s, %.0f %% of pairs found; offered %.0f b/s, carried %.0f, %.2f %% lost; Jain %.3f; delay mean %.1f s, 95 %% %.1f s; waiting %d, then %d octets; sent for %.0f %% of the time (beacons %.0f, questions %.0f, bare answers %.0f, data %.0f %% of that), %.0f %% of bursts collided; %.1f s of CPU for an hour",
		c.capacity, 100*c.found, c.offered, c.carried, 100*c.lost, c.jain, c.mean.Seconds(), c.p95.Seconds(), c.waiting[0], c.waiting[1], 100*c.sent, 100*c.use[useBeacon], 100*c.use[useQuestion], 100*c.use[useAnswer], 100*c.use[useData], 100*c.collided, c.cpu)
}

const (
	crowdPacket  = 400 // octets
	usualControl = 26  // octets of an exchange's control block at most, whose airtime is in what every burst takes
)

// crowdMedium is a room of n stations, half duplex, 10 ms buffers, with a table in the
// shape of a room's: a burst takes 60 ms beside its frames, and what its control block has more
// than usual, at half the rate. Carrier sense is blind for the buffers of both sides; who sends
// is deaf; of bursts that overlap the stronger survives where it began first and is
// heard captureDB above the other, which stations at random places in a disc decide, else
// neither does.
func crowdMedium(tb testing.TB, n int, seed uint64) *medium {
	m := newMedium(tb, seed)
	m.latency = 10 * time.Millisecond
	m.table = leadModes
	m.took = func(b *phy.Burst) time.Duration {
		bps := m.table[b.MCS].NetBPS
		seconds := 0.060 + float64(max(0, len(b.Control)-usualControl))*8/max(bps/2, 200)
		for _, f := range b.Frames {
			seconds += float64(len(f)+4) * 8 / bps
		}
		return time.Duration(seconds * float64(time.Second))
	}
	for i := range n {
		m.add(fmt.Sprintf("station %d", i), func(c *Config) { c.Queue = FQCoDel })
	}
	level := map[[2]*node]float64{}
	r := rand.New(rand.NewPCG(seed, 9))
	at := map[*node][2]float64{}
	for _, x := range m.nodes {
		angle, far := 2*math.Pi*r.Float64(), math.Sqrt(r.Float64())
		at[x] = [2]float64{far * math.Cos(angle), far * math.Sin(angle)}
	}
	for _, x := range m.nodes {
		for _, y := range m.nodes {
			level[[2]*node{x, y}] = -20 * math.Log10(max(0.05, math.Hypot(at[x][0]-at[y][0], at[x][1]-at[y][1])))
		}
	}
	m.level = func(from, to *node) float64 { return level[[2]*node{from, to}] }
	return m
}

// capacityOf is what a pair of stations carries when one has always packets for the
// other: what a load is a share of.
func capacityOf(tb testing.TB) float64 {
	m := crowdMedium(tb, 2, testSeed)
	m.meet()
	a, b := m.nodes[0], m.nodes[1]
	begin, number := m.now, 0
	got := 0
	m.run(5*time.Minute, func() bool {
		got, b.got = got+len(b.got), b.got[:0]
		if len(a.queue) == 0 && a.engine.Stats().Queue.Packets < 40 {
			number++
			m.send(a, udp(a.addr, b.addr, 7, number, crowdPacket))
		}
		return false
	})
	return float64(8*crowdPacket*got) / m.now.Sub(begin).Seconds()
}

// runCrowd lets n stations find each other for settle, and then loads them for lasts.
func runCrowd(tb testing.TB, n int, load float64, settle, lasts time.Duration) (c crowd) {
	c.capacity = capacityOf(tb)
	began := cpuTime(tb)
	m := crowdMedium(tb, n, testSeed)
	m.run(settle, nil)
	pairs := 0
	for _, x := range m.nodes {
		for _, p := range x.engine.Stats().Peers {
			if p.State == PeerUp && p.Name != "" {
				pairs++
			}
		}
	}
	c.found = float64(pairs) / float64(n*(n-1))

	type flight struct {
		from int
		at   time.Time
	}
	flights := map[[2]int]flight{} // by destination and number
	var delays []time.Duration
	offered, carried := make([]float64, n), make([]float64, n)
	for to, x := range m.nodes {
		x.deliver = func(pkt []byte) {
			_, number := numberOf(pkt)
			if f, ok := flights[[2]int{to, number}]; ok {
				delete(flights, [2]int{to, number})
				delays = append(delays, m.now.Sub(f.at))
				carried[f.from] += 8 * crowdPacket
			}
		}
	}
	r := rand.New(rand.NewPCG(testSeed, 10))
	mean := float64(8*crowdPacket*n) / (load * c.capacity) // s between the packets of a station
	begin, number := m.now, 0
	var next func(i int)
	next = func(i int) {
		m.after(time.Duration(r.ExpFloat64()*mean*float64(time.Second)), func() {
			if m.now.Sub(begin) >= lasts {
				return
			}
			to := (i + 1 + r.IntN(n-1)) % n
			number++
			flights[[2]int{to, number}] = flight{i, m.now}
			offered[i] += 8 * crowdPacket
			m.send(m.nodes[i], udp(m.nodes[i].addr, m.nodes[to].addr, 7, number, crowdPacket))
			next(i)
		})
	}
	for i := range n {
		next(i)
	}
	bursts, collisions := m.addressed, m.collided
	c.watch(m)
	for half := range c.waiting {
		m.run(lasts/2, nil)
		for _, x := range m.nodes {
			c.waiting[half] += x.engine.Stats().Queue.Octets
		}
	}
	c.share(lasts)
	for _, x := range m.nodes {
		x.observe = nil
	}
	c.collided = float64(m.collided-collisions) / float64(max(1, m.addressed-bursts))
	m.run(time.Minute, nil)
	c.cpu = (cpuTime(tb) - began) / (settle + lasts + time.Minute).Hours()

	c.lost = float64(len(flights)) / float64(number)
	var sum, squares float64
	for i := range n {
		c.offered += offered[i] / lasts.Seconds()
		c.carried += carried[i] / lasts.Seconds()
		share := carried[i] / max(1, offered[i])
		sum, squares = sum+share, squares+share*share
	}
	c.jain = sum * sum / (float64(n) * max(1e-9, squares))
	if len(delays) > 0 {
		slices.Sort(delays)
		for _, d := range delays {
			c.mean += d / time.Duration(len(delays))
		}
		c.p95 = delays[len(delays)*95/100]
	}
	return c
}

// saturationOf is what n stations carry, bit/s, when at each eight packets that were not sent yet wait, for any
// other: the capacity of the medium for so many and such packets. Jain's index is of what
// each brought across.
func saturationOf(tb testing.TB, n int, settle, lasts time.Duration) (carried, jain float64, c crowd) {
	m := crowdMedium(tb, n, testSeed)
	m.run(settle, nil)
	r := rand.New(rand.NewPCG(testSeed, 11))
	from, got := map[int]int{}, make([]float64, n)
	number := 0
	var delays []time.Duration
	at := map[int]time.Time{}
	for to, x := range m.nodes {
		x.deliver = func(pkt []byte) {
			_, number := numberOf(pkt)
			if i, ok := from[number]; ok && i != to {
				delete(from, number)
				delays = append(delays, m.now.Sub(at[number]))
				got[i] += 8 * crowdPacket
			}
		}
	}
	var fill func(i int)
	fill = func(i int) {
		x := m.nodes[i]
		for waiting := x.waiting(); waiting < 8*crowdPacket; waiting += crowdPacket {
			to := m.nodes[(i+1+r.IntN(n-1))%n]
			number++
			from[number], at[number] = i, m.now
			m.send(x, udp(x.addr, to.addr, 7, number, crowdPacket))
		}
		m.after(100*time.Millisecond, func() { fill(i) })
	}
	for i := range n {
		fill(i)
	}
	m.run(lasts/3, nil) // the floor goes round a few times
	clear(got)
	begin := m.now
	delays = delays[:0]
	bursts, collisions := m.addressed, m.collided
	c.watch(m)
	m.run(lasts, nil)
	c.share(lasts)
	c.collided = float64(m.collided-collisions) / float64(max(1, m.addressed-bursts))
	if slices.Sort(delays); len(delays) > 0 {
		c.p95 = delays[len(delays)*95/100]
	}
	sum, squares := 0., 0.
	for _, x := range got {
		sum, squares = sum+x, squares+x*x
	}
	return sum / m.now.Sub(begin).Seconds(), sum * sum / (float64(n) * max(1e-9, squares)), c
}

// waiting is the octets that wait at a station and were not sent yet.
func (n *node) waiting() (octets int) {
	for _, p := range n.engine.peers {
		octets += p.waiting
	}
	return octets
}

// watch counts from now on what the bursts are for.
func (c *crowd) watch(m *medium) {
	for _, x := range m.nodes {
		x.observe = func(now time.Time, b *phy.Burst) {
			d := m.airtime(b).Seconds()
			c.use[useOf(b)] += d
			c.sent += d
		}
	}
}

// share makes what was counted shares of the time that passed.
func (c *crowd) share(d time.Duration) {
	for i := range c.use {
		c.use[i] /= c.sent
	}
	c.sent /= d.Seconds()
}

// cpuTime of this process, s.
func cpuTime(tb testing.TB) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

// TestCrowd: ten stations at a fifth, and at three fifths, of what a pair of them carries, and twenty at half of it: all
// find each other, hardly a packet is lost, nobody is at a disadvantage and nothing piles up. Where the floor goes round in
// order no burst meets another, but for the first seconds of load.
func TestCrowd(t *testing.T) {
	for _, c := range []struct {
		stations int
		load     float64
		collided float64 // at most
	}{
		{10, 0.2, 0.1}, // in order at times
		{10, 0.6, 0.01},
		{20, 0.5, 0.01},
	} {
		r := runCrowd(t, c.stations, c.load, time.Duration(c.stations)*20*time.Second, 10*time.Minute)
		if r.found < 1 || r.lost > 0.01 || r.jain < 0.95 || r.waiting[1] > 100*crowdPacket || r.collided > c.collided {
			t.Errorf("%d stations: %v", c.stations, r)
		}
		t.Logf("%d stations: %v", c.stations, r)
	}
}

// BenchmarkCrowd is many stations on one medium, loaded at random with shares of what a
// pair of them carries, after they have had time to find each other; 200 of them
// only begin to in that time, which shows what they cost.
//
//	go test -run '^$' -bench Crowd -benchtime 1x ./link
func BenchmarkCrowd(b *testing.B) {
	for _, c := range []struct {
		stations      int
		load          float64
		settle, lasts time.Duration
	}{
		{10, 0.2, 5 * time.Minute, 20 * time.Minute},
		{10, 0.4, 5 * time.Minute, 20 * time.Minute},
		{10, 0.6, 5 * time.Minute, 20 * time.Minute},
		{50, 0.1, 15 * time.Minute, 10 * time.Minute},
		{50, 0.2, 15 * time.Minute, 10 * time.Minute},
		{50, 0.4, 15 * time.Minute, 10 * time.Minute},
		{50, 0.5, 15 * time.Minute, 10 * time.Minute}, // three fifths of what fifty carry
		{50, 0.6, 15 * time.Minute, 10 * time.Minute},
		{200, 0.1, time.Minute, time.Minute},
	} {
		b.Run(fmt.Sprintf("%d/%.0f", c.stations, 100*c.load), func(b *testing.B) {
			for range b.N {
				r := runCrowd(b, c.stations, c.load, c.settle, c.lasts)
				if b.Log(r); c.stations <= 50 && (r.jain < 0.9 || r.lost > 0.03 || r.waiting[1] > 2*r.waiting[0]+100*crowdPacket) {
					b.Errorf("%d stations at %.0f %%: not stable, or Jain's index below 0.9", c.stations, 100*c.load)
				}
				b.ReportMetric(r.jain, "Jain")
				b.ReportMetric(r.p95.Seconds(), "s-p95")
				b.ReportMetric(100*r.lost, "%lost")
				b.ReportMetric(r.cpu, "cpu-s/h")
			}
		})
	}
}

// contention is what n stations that always have something to send carry at best by contention
// alone, bit/s: Bianchi's saturation throughput (IEEE JSAC 18(3), 2000, eq. 13) at the best probability of
// a begin in a slot. An exchange of bits takes good of the medium, a collision bad.
func contention(n int, slot, good, bad time.Duration, bits float64) (most float64) {
	for p := 1e-4; p < 1; p *= 1.02 {
		none := math.Pow(1-p, float64(n))
		one := float64(n) * p * math.Pow(1-p, float64(n-1))
		mean := none*slot.Seconds() + one*good.Seconds() + (1-none-one)*bad.Seconds()
		most = max(most, one*bits/mean)
	}
	return most
}

// rounds is how long a round of n stations in order takes, s, when so many packets come in a second: an idle one costs a slot, one with
// packets begin and head, and each packet a frame; reports cost nothing. It is the round in which as many packets come as it
// brings across (Kleinrock and Scholl, IEEE Trans. Comm. COM-28(7), 1980); the mean wait is half of it.
func rounds(n int, packets float64, slot, begin, head, frame time.Duration) (round float64) {
	for range 1000 {
		idle := math.Exp(-packets / float64(n) * round)
		round = float64(n)*(idle*slot.Seconds()+(1-idle)*(begin+head).Seconds()) + packets*round*frame.Seconds()
	}
	return round
}

// TestCrowdBounds is what docs/figures.md says of the medium of crowdMedium: a packet has a frame of about
// 390 octets, 63 ms; a burst's head is 60 ms, the turnaround 20 ms, an answer waits 8 ms for the host.
func TestCrowdBounds(t *testing.T) {
	const (
		head, frame, gap, host = 60 * time.Millisecond, 63 * time.Millisecond, 20 * time.Millisecond, 8 * time.Millisecond
		slot, free             = 40 * time.Millisecond, 68 * time.Millisecond // T and T + 28 ms, which a begin waits for
		packet                 = 8. * crowdPacket
		several                = 6 // packets in a turn of half a second
	)
	exchange := head + frame + gap + host + head + gap
	joint := head + 13*time.Millisecond + several*frame + gap
	for _, c := range []struct {
		name      string
		got, want float64 // kb/s
	}{
		{"exchanges, each named before", packet / exchange.Seconds(), 13.9},
		{"bursts to six, each named before", several * packet / joint.Seconds(), 40.8},
		{"exchanges, fifty contend", contention(50, slot, exchange-gap+free, head+frame+free, packet), 7.7},
		{"bursts to six, fifty contend", contention(50, slot, joint-gap+free, joint-gap+free, several*packet), 26.2},
	} {
		if got := c.got / 1000; math.Abs(got-c.want) > 0.1 {
			t.Errorf("%s: %.2f kb/s, docs/figures.md has %.1f", c.name, got, c.want)
		}
	}
	for _, c := range []struct {
		stations int
		load     float64 // bit/s
		want     float64 // s
	}{{50, 4000, 2.6}, {50, 8100, 3.6}, {50, 16200, 7.8}, {50, 20200, 10.8}, {50, 24200, 14.0}, {10, 24200, 2.8}} {
		if got := rounds(c.stations, c.load/packet, slot, gap+free, head+13*time.Millisecond, frame); math.Abs(got-c.want) > 0.1 {
			t.Errorf("%d stations, %.0f b/s: rounds of %.2f s, docs/figures.md has %.1f", c.stations, c.load, got, c.want)
		}
	}
}

// BenchmarkCrowdSaturated is what a medium carries whose stations have always more to send.
//
//	go test -run '^$' -bench CrowdSaturated -benchtime 1x ./link
func BenchmarkCrowdSaturated(b *testing.B) {
	for _, n := range []int{2, 10, 50} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for range b.N {
				carried, jain, c := saturationOf(b, n, time.Duration(n)*10*time.Second, 3*time.Minute)
				b.ReportMetric(carried/1000, "kb/s")
				b.ReportMetric(jain, "Jain")
				b.ReportMetric(c.p95.Seconds(), "s-p95")
				b.Logf("sent for %.0f %% of the time (beacons %.0f, questions %.0f, bare answers %.0f, data %.0f %% of that), %.0f %% of bursts collided",
					100*c.sent, 100*c.use[useBeacon], 100*c.use[useQuestion], 100*c.use[useAnswer], 100*c.use[useData], 100*c.collided)
			}
		})
	}
}
