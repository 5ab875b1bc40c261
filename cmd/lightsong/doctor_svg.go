package main

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"strings"
)

// Measures of doctor's picture, in user units.
const (
	doctorWidth  = 960
	doctorHeight = 760
)

// frame is a plot with linear or logarithmic axes.
type frame struct {
	svg
	left, top, right, bottom float64
	x0, x1, y0, y1           float64
	logX                     bool
}

func (f frame) x(v float64) float64 {
	a, b := f.x0, f.x1
	if f.logX {
		v, a, b = math.Log(v), math.Log(a), math.Log(b)
	}
	return f.left + (v-a)/(b-a)*(f.right-f.left)
}

// y is the ordinate of v, which is kept inside.
func (f frame) y(v float64) float64 {
	v = max(min(f.y0, f.y1), min(max(f.y0, f.y1), v))
	return f.bottom - (v-f.y0)/(f.y1-f.y0)*(f.bottom-f.top)
}

// axes draws grid and labels at the given values.
func (f frame) axes(title string, xs, ys []float64, xLabel func(float64) string) {
	for _, v := range xs {
		if v < min(f.x0, f.x1) || v > max(f.x0, f.x1) {
			continue
		}
		f.path("grid", [][2]float64{{f.x(v), f.top}, {f.x(v), f.bottom}})
		f.text(f.x(v), f.bottom+16, "middle", "faint", xLabel(v))
	}
	for _, v := range ys {
		f.path("grid", [][2]float64{{f.left, f.y(v)}, {f.right, f.y(v)}})
		f.text(f.left-6, f.y(v)+4, "end", "faint", minus(v))
	}
	f.text(f.left, f.top-8, "start", "ink", title)
}

func minus(v float64) string { return strings.Replace(fmt.Sprintf("%g", v), "-", "−", 1) }

// writeDoctorSVG draws spectrum, impulse response and constellation. The picture
// suits light and dark ground.
func writeDoctorSVG(w io.Writer, d *Doctor) error {
	var b bytes.Buffer
	p := svg{&b}
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="system-ui,sans-serif" font-size="12" role="img" aria-label="What doctor measured of a sound path">`+"\n",
		doctorWidth, doctorHeight, doctorWidth, doctorHeight)
	b.WriteString("<style>.ground{fill:#fff}.ink{fill:#1f2328}.faint{fill:#59636e}.grid{stroke:#d8dee4}.signal{stroke:#0969da}.signal-t{fill:#0969da}.noise{stroke:#cf222e}.noise-t{fill:#cf222e}.decay{stroke:#1a7f37;stroke-width:2}.decay-t{fill:#1a7f37}.dot{fill:#0969da;fill-opacity:.5}" +
		"path{fill:none}@media(prefers-color-scheme:dark){.ground{fill:#0d1117}.ink{fill:#e6edf3}.faint{fill:#9198a1}.grid{stroke:#2b323b}.signal{stroke:#58a6ff}.signal-t{fill:#58a6ff}.noise{stroke:#ff7b72}.noise-t{fill:#ff7b72}.decay{stroke:#3fb950}.decay-t{fill:#3fb950}.dot{fill:#58a6ff}}</style>\n")
	fmt.Fprintf(&b, `<rect class="ground" width="%d" height="%d"/>`+"\n", doctorWidth, doctorHeight)
	if d.Sound == nil {
		p.text(doctorWidth/2, doctorHeight/2, "middle", "ink", "no sounding was heard")
	} else {
		spectrumPlot(p, d)
		impulsePlot(p, d)
		constellationPlot(p, d)
	}
	b.WriteString("</svg>\n")
	_, err := b.WriteTo(w)
	return err
}

func spectrumPlot(p svg, d *Doctor) {
	r := d.Sound
	f := frame{svg: p, left: 64, top: 44, right: doctorWidth - 24, bottom: 330, x0: 80, x1: float64(d.Rate) / 2, y0: -130, y1: -20, logX: true}
	f.axes("spectrum at the microphone, dBFS in each "+fmt.Sprintf("%.0f Hz", r.Spacing),
		[]float64{100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000}, []float64{-120, -100, -80, -60, -40, -20},
		func(v float64) string {
			if v >= 1000 {
				return fmt.Sprintf("%g kHz", v/1000)
			}
			return fmt.Sprintf("%g Hz", v)
		})
	line := func(class string, values []float32) {
		var points [][2]float64
		for k, v := range values {
			if hz := float64(k) * r.Spacing; hz >= f.x0 && hz <= f.x1 && v > -149 {
				points = append(points, [2]float64{f.x(hz), f.y(float64(v))})
			}
		}
		p.path(class, points)
	}
	line("noise", r.Noise)
	line("signal", r.Signal)
	p.text(f.right-4, f.top+14, "end", "signal-t", "a burst as wide as the band")
	p.text(f.right-4, f.top+30, "end", "noise-t", fmt.Sprintf("noise; SNR %s dB", text(r.SNRdB, "%.1f")))
}

func impulsePlot(p svg, d *Doctor) {
	r := d.Sound
	f := frame{svg: p, left: 64, top: 400, right: 600, bottom: 710, y0: -70, y1: 5}
	rate := float64(d.Rate) / 1000
	f.x0, f.x1 = -float64(r.Lead)/rate, float64(len(r.Impulse)-r.Lead)/rate
	if f.x1 <= f.x0 {
		return
	}
	step := math.Pow(10, math.Floor(math.Log10(f.x1-f.x0)))
	if (f.x1-f.x0)/step < 3 {
		step /= 2
	}
	var xs []float64
	for v := 0.0; v <= f.x1; v += step {
		xs = append(xs, v)
	}
	f.axes("impulse response, dB", xs, []float64{-60, -40, -20, 0}, func(v float64) string { return fmt.Sprintf("%g ms", v) })
	var peak float64
	for _, v := range r.Impulse {
		peak = max(peak, math.Abs(float64(v)))
	}
	// As many points as there is room for, each the loudest of its share.
	share := max(1, len(r.Impulse)/1000)
	var response, decay [][2]float64
	for i := 0; i < len(r.Impulse); i += share {
		var loud float64
		for _, v := range r.Impulse[i:min(len(r.Impulse), i+share)] {
			loud = max(loud, math.Abs(float64(v)))
		}
		x := f.x(float64(i-r.Lead) / rate)
		response = append(response, [2]float64{x, f.y(20 * math.Log10(max(loud/peak, 1e-6)))})
		if i < len(r.Decay) {
			decay = append(decay, [2]float64{x, f.y(float64(r.Decay[i]))})
		}
	}
	p.path("signal", response)
	p.path("decay", decay)
	p.text(f.right-4, f.top+14, "end", "decay-t", fmt.Sprintf("energy still to come; RT60 %s s", text(r.RT60, "%.2f")))
}

func constellationPlot(p svg, d *Doctor) {
	const most = 3000 // dots
	f := frame{svg: p, left: 646, top: 400, right: doctorWidth - 24, bottom: 690, x0: -1.8, x1: 1.8, y0: -1.8, y1: 1.8}
	title := "no burst was read"
	if b := d.Burst; b != nil && b.Heard {
		title = fmt.Sprintf("burst of %s, mode %d; EVM %s dB", b.Profile, b.MCS, text(b.EVMdB, "%.1f"))
		if len(d.cells) == 0 {
			title = fmt.Sprintf("burst of %s, mode %d: it has no constellation", b.Profile, b.MCS)
		}
	}
	f.axes(title, []float64{-1, 0, 1}, []float64{-1, 0, 1}, minus)
	every := max(1, (len(d.cells)+most-1)/most)
	for i := 0; i < len(d.cells); i += every {
		re, im := float64(real(d.cells[i])), float64(imag(d.cells[i]))
		if math.Abs(re) <= f.x1 && math.Abs(im) <= f.y1 {
			fmt.Fprintf(p.b, `<circle class="dot" cx="%.1f" cy="%.1f" r="1.3"/>`+"\n", f.x(re), f.y(im))
		}
	}
}
