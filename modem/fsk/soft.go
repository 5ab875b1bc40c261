package fsk

import (
	"math"

	"lightsong/modem"
)

const maxTones = 16

// channel is what a receiver knows of a burst's tones, and turns their energies
// into soft decisions. Energies are squared magnitudes of tone correlations.
//
// A tone that is sent has a known amplitude and an unknown phase in Gaussian
// noise, so its energy is Rician; one that is not is exponential. With signal
// energy S and noise energy N the logarithm of the ratio of the two is
//
//	ln I0(2·√(S·E)/N) − S/N
//
// (Proakis, Digital Communications, §4.5). Both S and N are kept per tone:
// rooms and loudspeakers are far from flat. The noise of a tone also depends on
// how long ago it was last sent, because a room still rings with it, and rises
// for a symbol in which all tones do, as in a click.
type channel struct {
	tones int
	width int

	signal  [maxTones]float64 // S
	noise   [maxTones]float64 // N
	ringing [ages]float64     // factor on N by the number of symbols since the tone was sent
	age     [maxTones]int     // symbols since it was sent, at most oldest

	// Sums behind the estimates; old ones are forgotten by and by.
	on, onSum   [maxTones]float64
	off, offSum [maxTones]float64
	ring, ringN [ages]float64
}

const (
	oldest     = 40    // a tone's age stops there
	ages       = 8     // classes of ages
	memory     = 600   // symbols that the estimates remember
	priorTone  = 8.    // symbols that the mean over all tones counts in each tone's own estimate
	priorFlat  = 1000. // the same when all tones are taken to be alike
	priorRing  = 8     // the same for the ringing
	tiny       = 1e-30 // keeps divisions by silence finite
	clickStart = 6.    // standard deviations of the mean of the other tones that make a click
	maxRatio   = 60.   // limit of a soft decision
)

// ageClass of an age in symbols: 1, 2, 3, 4–5, 6–8, 9–14, 15–39, oldest.
var ageClass = func() (class [oldest + 1]uint8) {
	for i := range class {
		for _, limit := range [ages - 1]int{1, 2, 3, 5, 8, 14, oldest - 1} {
			if i > limit {
				class[i]++
			}
		}
	}
	return class
}()

func newChannel(tones int) channel {
	c := channel{tones: tones, width: width(tones)}
	c.forget()
	return c
}

// forget returns to knowing nothing.
func (c *channel) forget() {
	*c = channel{tones: c.tones, width: c.width}
	for i := range c.ringing {
		c.ringing[i] = 1
	}
	for i := range c.age {
		c.age[i] = oldest
	}
}

// guess sets out from the energies of the first block, symbol by symbol: the
// largest of each is taken for the signal, the others for noise, and two rounds
// of expectation-maximisation correct that. prior is how many symbols the mean
// over all tones counts in each tone's own estimate.
func (c *channel) guess(energies []float32, prior float64) {
	c.forget()
	var largest, total float64
	symbols := len(energies) / c.tones
	for i := range symbols {
		var m float32
		for _, e := range energies[i*c.tones:][:c.tones] {
			m = max(m, e)
			total += float64(e)
		}
		largest += float64(m)
	}
	noise := (total-largest)/float64(symbols*(c.tones-1)) + tiny
	signal := max(largest/float64(symbols)-noise, noise) + tiny
	for k := range c.tones {
		c.signal[k], c.noise[k] = signal, noise
	}
	for range 2 {
		saved := *c
		c.listen(energies, prior)
		estimated := *c
		*c = saved
		c.signal, c.noise = estimated.signal, estimated.noise
	}
}

// ratios writes to out, for each tone, the log-likelihood ratio of sent to not
// sent for one symbol, and returns the likeliest tone.
func (c *channel) ratios(out *[maxTones]float64, energies []float32) int {
	var all, loudest float64
	for k, e := range energies {
		v := float64(e) / c.noise[k]
		all += v
		loudest = max(loudest, v)
	}
	// In a click every tone is loud: the mean of all but the loudest says how
	// much. In noise alone that mean is 1 with a deviation of 1/√(M−1).
	others := float64(c.tones - 1)
	click := max(1, (all-loudest)/others-clickStart/math.Sqrt(others))
	best := 0
	for k, e := range energies {
		n := c.noise[k] * c.ringing[ageClass[c.age[k]]] * click
		s := c.signal[k]
		out[k] = logI0(2*math.Sqrt(s*float64(e))/n) - s/n
		if out[k] > out[best] {
			best = k
		}
	}
	return best
}

// sent notes which tone a symbol had.
func (c *channel) sent(tone int) {
	for k := range c.tones {
		c.age[k] = min(c.age[k]+1, oldest)
	}
	c.age[tone] = 1
}

// soft appends the soft decisions of a block, as many per symbol as it has
// bits.
func (c *channel) soft(dst []modem.LLR, energies []float32) []modem.LLR {
	ages := c.age
	var ratio, weight [maxTones]float64
	for i := 0; i < len(energies); i += c.tones {
		best := c.ratios(&ratio, energies[i:i+c.tones])
		for k := range c.tones {
			weight[k] = math.Exp(ratio[k] - ratio[best])
		}
		for bit := c.width - 1; bit >= 0; bit-- {
			var p [2]float64
			for k := range c.tones {
				p[label(k)>>bit&1] += weight[k]
			}
			llr := math.Log(p[0]+tiny) - math.Log(p[1]+tiny)
			dst = append(dst, modem.LLR(max(-maxRatio, min(maxRatio, llr))))
		}
		c.sent(best)
	}
	c.age = ages
	return dst
}

// listen learns from a block whose tones are not known, by their likelihoods.
func (c *channel) listen(energies []float32, prior float64) {
	ages := c.age
	c.fade(len(energies) / c.tones)
	var ratio [maxTones]float64
	for i := 0; i < len(energies); i += c.tones {
		block := energies[i : i+c.tones]
		best := c.ratios(&ratio, block)
		var sum float64
		for k := range c.tones {
			ratio[k] = math.Exp(ratio[k] - ratio[best])
			if k != best {
				sum += ratio[k]
			}
		}
		for k, e := range block {
			p := ratio[k] / (ratio[best] + sum)
			c.learn(k, float64(e), p)
		}
		c.sent(best)
	}
	c.age = ages
	c.conclude(prior)
}

// train learns from a block whose tones are known, and ends it.
func (c *channel) train(energies []float32, tones []uint8) {
	c.fade(len(tones))
	for i, t := range tones {
		for k, e := range energies[i*c.tones:][:c.tones] {
			p := 0.
			if k == int(t) {
				p = 1
			}
			c.learn(k, float64(e), p)
		}
		c.sent(int(t))
	}
	c.conclude(priorTone)
}

// pass ends a block whose tones nobody knows: what was learned by listening
// stays, and the ages follow the best guess.
func (c *channel) pass(energies []float32) {
	var ratio [maxTones]float64
	for i := 0; i < len(energies); i += c.tones {
		c.sent(c.ratios(&ratio, energies[i:i+c.tones]))
	}
}

// learn takes one energy of a tone that was sent with probability p.
func (c *channel) learn(k int, energy, p float64) {
	// A click would teach that the noise is loud for long after.
	energy = min(energy, 20*(c.signal[k]+c.noise[k]))
	c.on[k] += p
	c.onSum[k] += p * energy
	c.off[k] += 1 - p
	c.offSum[k] += (1 - p) * energy
	class := ageClass[c.age[k]]
	c.ringN[class] += 1 - p
	c.ring[class] += (1 - p) * energy / c.noise[k]
}

// fade makes room for n symbols in the memory.
func (c *channel) fade(n int) {
	keep := max(0, 1-float64(n)/memory)
	for k := range c.tones {
		c.on[k] *= keep
		c.onSum[k] *= keep
		c.off[k] *= keep
		c.offSum[k] *= keep
	}
	for i := range c.ring {
		c.ring[i] *= keep
		c.ringN[i] *= keep
	}
}

// conclude turns the sums into estimates.
func (c *channel) conclude(prior float64) {
	var on, onSum, off, offSum float64
	for k := range c.tones {
		on += c.on[k]
		onSum += c.onSum[k]
		off += c.off[k]
		offSum += c.offSum[k]
	}
	if on == 0 || off == 0 {
		return
	}
	noise := offSum/off + tiny
	signal := max(onSum/on-noise, noise/4) + tiny
	for k := range c.tones {
		c.noise[k] = (c.offSum[k] + prior*noise) / (c.off[k] + prior)
		c.signal[k] = max((c.onSum[k]-c.on[k]*c.noise[k]+prior*signal)/(c.on[k]+prior), signal/100)
	}
	var average, count float64
	for i := range c.ring {
		average += c.ring[i]
		count += c.ringN[i]
	}
	average = average/count + tiny
	for i := range c.ring {
		c.ringing[i] = max(0.05, (c.ring[i]/average+priorRing)/(c.ringN[i]+priorRing))
	}
}

// meanSignal is the energy of a symbol, meanNoise that of a tone which is not
// sent, each averaged over the tones.
func (c *channel) meanSignal() float64 { return mean(c.signal[:c.tones]) }
func (c *channel) meanNoise() float64  { return mean(c.noise[:c.tones]) }

func mean(x []float64) float64 {
	var sum float64
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}

// logI0 is the logarithm of the modified Bessel function of order 0 for x ≥ 0
// (Abramowitz and Stegun 9.8.1 and 9.8.2, relative error of I0 below 2e-7).
func logI0(x float64) float64 {
	if x < 3.75 {
		t := x / 3.75
		t *= t
		return math.Log(1 + t*(3.5156229+t*(3.0899424+t*(1.2067492+t*(0.2659732+t*(0.0360768+t*0.0045813))))))
	}
	t := 3.75 / x
	p := 0.39894228 + t*(0.01328592+t*(0.00225319+t*(-0.00157565+t*(0.00916281+t*(-0.02057706+t*(0.02635537+t*(-0.01647633+t*0.00392377)))))))
	return x - 0.5*math.Log(x) + math.Log(p)
}
