package dsp

import "math"

// Thinner keeps every so manyth sample of a stream behind a low-pass: linear
// phase, a sinc under a Kaiser window of 50 dB.
type Thinner struct {
	every int
	taps  []float32 // of the half up to the middle, the middle last
}

// NewThinner makes a Thinner that keeps one sample of every, flat to 0.5 dB up to
// pass, as a share of the input rate below 1/(2·every). What lies above
// 1/every − pass is 45 dB down; what lies between may fold onto frequencies
// above pass.
func NewThinner(every int, pass float64) *Thinner {
	stop := 1/float64(every) - pass
	const attenuation = 50
	half := max(1, int(math.Ceil((attenuation-7.95)/(14.36*(stop-pass))/2)))
	beta := 0.5842*math.Pow(attenuation-21, 0.4) + 0.07886*(attenuation-21)
	t := &Thinner{every: every, taps: make([]float32, half+1)}
	var sum float64
	row := make([]float64, half+1)
	for i := range row {
		d := float64(half - i)
		row[i] = sinc(d/float64(every)) * kaiser(d/float64(half+1), beta)
		sum += 2 * row[i]
	}
	sum -= row[half]
	for i, v := range row {
		t.taps[i] = float32(v / sum)
	}
	return t
}

// Reach is how many input samples before and behind its own an output depends on.
func (t *Thinner) Reach() int { return len(t.taps) - 1 }

// Every is how many input samples there are to an output.
func (t *Thinner) Every() int { return t.every }

// Append appends the outputs at inputs Reach, Reach+Every … of src, as far as their
// reach lies in src. A NaN or an infinity spoils what reaches it.
func (t *Thinner) Append(dst, src []float32) []float32 {
	half := len(t.taps) - 1
	if t.every == 2 {
		return t.appendHalf(dst, src)
	}
	for at := half; at+half < len(src); at += t.every {
		before, behind := src[at-half:at], src[at+1:at+1+half]
		sum := t.taps[half] * src[at]
		for i, w := range t.taps[:half] {
			sum += w * (before[i] + behind[half-1-i])
		}
		dst = append(dst, sum)
	}
	return dst
}

// appendHalf is Append for every second sample: the sinc has zeros at all even
// distances from the middle.
func (t *Thinner) appendHalf(dst, src []float32) []float32 {
	half := len(t.taps) - 1
	first := (half + 1) % 2 // tap at an odd distance
	for at := half; at+half < len(src); at += 2 {
		before, behind := src[at-half:at], src[at+1:at+1+half]
		sum := t.taps[half] * src[at]
		for i := first; i < half; i += 2 {
			sum += t.taps[i] * (before[i] + behind[half-1-i])
		}
		dst = append(dst, sum)
	}
	return dst
}
