package main

import (
	"bytes"
	"cmp"
	"fmt"
	"html"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
)

// peer is a point that another modem reaches: net bit rate and the SNR over
// 0–24 kHz from which it delivers 90 % of its packets.
type peer struct {
	name     string
	snr, bps float64
}

// The peers on the same two channels, measured by this project in November 2026: 48
// kHz, mono, 20 packets a point, one harness for all (docs/bench.md). In the room
// the points are those that deliver 90 %.
var (
	awgnPeers = []peer{
		{"SoundCard-IP-Modem 4096-QAM", 42, 126500},
		{"SoundCard-IP-Modem 64-QAM", 24, 62800},
		{"SoundCard-IP-Modem QPSK", 12, 20200},
		{"modem73 4096-QAM wide", 37, 122800},
		{"modem73 256-QAM wide", 22, 79800},
		{"modem73 QPSK ½ wide", 3, 7500},
		{"quiet cable-256", 23, 50200},
		{"quiet audible-7k", 6, 6900},
		{"amodem 80 kb/s", 38, 60000},
		{"aicodix polar m10×6", 10, 31100},
		{"aicodix s16", -7, 540},
		{"FreeDV datac1", -7, 930},
		{"FreeDV datac3", -12, 300},
		{"FreeDV datac13", -18, 50},
		{"ggwave fastest", -8, 225},
		{"direwolf 1200", -1, 980},
		{"minimodem 1200", 2, 960},
		{"direwolf 9600", 3, 7100},
		{"minimodem 9600", 26, 7700},
	}
	roomPeers = []peer{
		{"modem73 QPSK ½, stretched to 19 kHz", 20, 7500},
		{"aicodix mode 8", 20, 2800},
		{"aicodix s16", 20, 540},
		{"ggwave fastest", 20, 225},
		{"ggwave ultrasound fast", 20, 121},
		{"FreeDV datac3", 20, 300},
		{"FreeDV datac13", 20, 50},
	}
	peersOn = map[string][]peer{"awgn": awgnPeers, "room": roomPeers, "room:0.3/3": roomPeers}
)

// The colours of the profiles on light and on dark ground; a profile without one
// of its own takes the last.
var profileColours = map[string][2]string{
	"cable": {"#0969da", "#58a6ff"},
	"air":   {"#1a7f37", "#3fb950"},
	"ultra": {"#8250df", "#bc8cff"},
	"voice": {"#bc4c00", "#f0883e"},
	"fsk":   {"#cf222e", "#ff7b72"},
	"":      {"#0e7490", "#22d3ee"},
}

// Measures of the picture, in user units.
const (
	panelWidth, panelHeight = 960, 500
	plotLeft, plotRight     = 64, panelWidth - 24
	plotTop, plotBottom     = 44, panelHeight - 48
)

// panel draws one channel.
type panel struct {
	svg
	snrLow, snrHigh   float64 // dB, the ends of the abscissa
	rateLow, rateHigh float64 // lg of bit/s, the ends of the ordinate
	channel           string
	rows              []benchRow
	profiles          []string
	taken             [][4]float64 // by labels: left, top, right, bottom
}

// writeBenchSVG draws goodput against SNR: for every channel a panel with the modes
// as thin lines, the best mode of each profile as a thick one, Shannon's limit, and
// the peers. The picture suits light and dark ground.
func writeBenchSVG(w io.Writer, rows []benchRow) error {
	byChannel := map[string][]benchRow{}
	for _, r := range rows {
		byChannel[r.Channel] = append(byChannel[r.Channel], r)
	}
	var b bytes.Buffer
	height := panelHeight * max(1, len(byChannel))
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="system-ui,sans-serif" font-size="12" role="img" aria-label="Goodput against signal-to-noise ratio">`+"\n",
		panelWidth, height, panelWidth, height)
	b.WriteString(benchStyle())
	fmt.Fprintf(&b, `<rect class="ground" width="%d" height="%d"/>`+"\n", panelWidth, height)
	for i, channel := range slices.Sorted(maps.Keys(byChannel)) {
		fmt.Fprintf(&b, `<g transform="translate(0 %d)">`+"\n", i*panelHeight)
		p := newPanel(&b, channel, byChannel[channel])
		p.axes()
		p.shannon()
		p.curves()
		p.peers()
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	_, err := b.WriteTo(w)
	return err
}

// benchStyle is the picture's style sheet: one set of colours for light ground, one
// for dark.
func benchStyle() string {
	var s strings.Builder
	scheme := func(ground, ink, faint, grid, peer string, which int) {
		fmt.Fprintf(&s, ".ground{fill:%s}.ink{fill:%s}.faint{fill:%s}.grid{stroke:%s}.limit{stroke:%s}.peer{fill:%s}.lead{stroke:%s}", ground, ink, faint, grid, ink, peer, peer)
		for _, name := range slices.Sorted(maps.Keys(profileColours)) {
			c := profileColours[name][which]
			fmt.Fprintf(&s, ".%s{stroke:%s}.%s-t{fill:%s}", className(name), c, className(name), c)
		}
	}
	s.WriteString("<style>")
	scheme("#ffffff", "#1f2328", "#59636e", "#d8dee4", "#6e5a00", 0)
	s.WriteString("path{fill:none}.thin{stroke-width:.8;opacity:.55}.best{stroke-width:2.6}.limit{stroke-width:1.6}.band{stroke-dasharray:5 4;stroke-width:1.2}.lead{stroke-width:.7}.small{font-size:10.5px}.halo{paint-order:stroke;stroke-width:3px;stroke-linejoin:round}")
	s.WriteString(".halo{stroke:#ffffff}@media(prefers-color-scheme:dark){")
	scheme("#0d1117", "#e6edf3", "#9198a1", "#2b323b", "#d9b84a", 1)
	s.WriteString(".halo{stroke:#0d1117}}</style>\n")
	return s.String()
}

func className(profile string) string {
	if _, ok := profileColours[profile]; !ok || profile == "" {
		profile = "other"
	}
	return "p-" + profile
}

func newPanel(b *bytes.Buffer, channel string, rows []benchRow) *panel {
	p := &panel{svg: svg{b}, channel: channel, rows: rows, snrLow: math.Inf(1), snrHigh: math.Inf(-1)}
	low, high := math.Inf(1), 0.0
	for _, r := range rows {
		p.snrLow, p.snrHigh = min(p.snrLow, r.SNRdB), max(p.snrHigh, r.SNRdB)
		low, high = min(low, r.NetBPS), max(high, r.NetBPS) // positive: parseRow, tally.net
		if !slices.Contains(p.profiles, r.Profile) {
			p.profiles = append(p.profiles, r.Profile)
		}
	}
	if p.snrHigh-p.snrLow < 10 {
		p.snrLow, p.snrHigh = p.snrLow-5, p.snrHigh+5
	}
	p.snrLow, p.snrHigh = 5*math.Floor(p.snrLow/5), 5*math.Ceil((p.snrHigh+1)/5)
	p.rateLow = math.Floor(math.Log10(low))
	p.rateHigh = max(p.rateLow+1, math.Log10(3*high))
	return p
}

func (p *panel) x(snr float64) float64 {
	return plotLeft + (snr-p.snrLow)/(p.snrHigh-p.snrLow)*(plotRight-plotLeft)
}

func (p *panel) y(bps float64) float64 {
	return plotBottom - (math.Log10(bps)-p.rateLow)/(p.rateHigh-p.rateLow)*(plotBottom-plotTop)
}

// cover keeps labels off a line.
func (p *panel) cover(points [][2]float64) {
	for i := 1; i < len(points); i++ {
		a, b := points[i-1], points[i]
		n := max(1, math.Ceil(math.Hypot(b[0]-a[0], b[1]-a[1])/6))
		for j := range int(n) {
			x, y := a[0]+(b[0]-a[0])*float64(j)/n, a[1]+(b[1]-a[1])*float64(j)/n
			p.taken = append(p.taken, [4]float64{x - 2, y - 2, x + 2, y + 2})
		}
	}
}

func (p *panel) axes() {
	step := 5.0
	if p.snrHigh-p.snrLow > 60 {
		step = 10
	}
	for snr := step * math.Ceil(p.snrLow/step); snr <= p.snrHigh; snr += step {
		p.path("grid", [][2]float64{{p.x(snr), plotTop}, {p.x(snr), plotBottom}})
		p.text(p.x(snr), plotBottom+16, "middle", "faint", strings.Replace(fmt.Sprint(snr), "-", "−", 1))
	}
	for e := p.rateLow; e <= p.rateHigh; e++ {
		bps := math.Pow(10, e)
		p.path("grid", [][2]float64{{plotLeft, p.y(bps)}, {plotRight, p.y(bps)}})
		p.text(plotLeft-6, p.y(bps)+4, "end", "faint", rateLabel(bps))
	}
	p.text((plotLeft+plotRight)/2, plotBottom+36, "middle", "ink", "SNR over "+halfBand(p.rows[0].Rate)+", dB")
	fmt.Fprintf(p.b, `<text transform="translate(14 %d) rotate(-90)" text-anchor="middle" class="ink">goodput, bit/s</text>`+"\n", (plotTop+plotBottom)/2)
	p.text(plotLeft, 20, "start", "ink", channelTitle(p.channel))
	p.text(plotLeft, 36, "start", "faint small",
		"thick: the best mode that delivers 90 % of its packets; thin: each mode; everything on the medium counted")
}

func halfBand(rate int) string { return fmt.Sprintf("0–%g kHz", float64(rate)/2000) }

func rateLabel(bps float64) string {
	switch {
	case bps >= 1e6:
		return fmt.Sprintf("%g M", bps/1e6)
	case bps >= 1e3:
		return fmt.Sprintf("%g k", bps/1e3)
	}
	return fmt.Sprintf("%g", bps)
}

// channelTitle is the channel for a person.
func channelTitle(spec string) string {
	c, err := parseChannel(spec)
	if err != nil {
		return spec // of a file that somebody edited
	}
	title := spec + ": " + c.kind.about
	for i, a := range c.kind.args {
		title += fmt.Sprintf("; %s: %g", a.name, c.args[i])
	}
	return title
}

// shannon draws the limit of the whole band, and a dashed one for every profile
// that occupies less than half of it.
func (p *panel) shannon() {
	rate := p.rows[0].Rate
	curve := func(class string, band float64, label string, part, dx, dy float64) { // the label ends at that part of the curve
		var points [][2]float64
		for i := range 201 {
			snr := p.snrLow + float64(i)/200*(p.snrHigh-p.snrLow)
			if c := capacity(snr, band, rate); c <= math.Pow(10, p.rateHigh) && c >= math.Pow(10, p.rateLow) {
				points = append(points, [2]float64{p.x(snr), p.y(c)})
			}
		}
		p.path(class, points)
		if n := len(points); n > 0 {
			at := points[int(part*float64(n-1))]
			p.text(at[0]+dx, at[1]+dy, "end", "small halo "+strings.ReplaceAll(strings.Replace(class, "limit", "ink", 1), " band", "-t"), label)
			p.cover(points)
			p.taken = append(p.taken, [4]float64{at[0] + dx - 5.7*float64(len(label)), at[1] + dy - 10, at[0] + dx, at[1] + dy + 3})
		}
	}
	curve("limit", float64(rate)/2, "Shannon, "+halfBand(rate), 0.4, -8, -8)
	for _, name := range p.profiles {
		widest := 0.0
		for _, r := range p.rows {
			if r.Profile == name {
				widest = max(widest, r.Band)
			}
		}
		if widest < float64(rate)/4 {
			curve(className(name)+" band", widest, fmt.Sprintf("Shannon, %s (%.2g kHz)", name, widest/1000), 1, -4, 14)
		}
	}
}

// curves draws the modes and the best of them.
func (p *panel) curves() {
	rowsOf := map[string][]benchRow{}
	for _, mode := range byMode(p.rows) {
		name := mode[0].Profile
		rowsOf[name] = append(rowsOf[name], mode...)
		var points [][2]float64
		for _, r := range mode {
			// A logarithm has no zero: the line rises from the lower edge.
			points = append(points, [2]float64{p.x(r.SNRdB), p.y(max(r.GoodputBPS, math.Pow(10, p.rateLow)))})
		}
		p.path("thin "+className(name), points)
	}
	for _, name := range p.profiles {
		points := p.best(rowsOf[name])
		p.path("best "+className(name), points)
		if n := len(points); n > 0 {
			x, y := min(points[n-1][0]+6, plotRight-4), points[n-1][1]-7
			p.text(x, y, "end", "halo "+className(name)+"-t", name)
			p.cover(points)
			p.taken = append(p.taken, [4]float64{x - 7*float64(len(name)), y - 11, x, y + 3})
		}
	}
}

// best is the envelope of a profile: at each SNR the highest goodput of a mode that
// holds there or, as more SNR does no harm, at a lower one.
func (p *panel) best(rows []benchRow) [][2]float64 {
	at := map[float64]float64{}
	for _, r := range rows {
		if r.share() >= holds {
			at[r.SNRdB] = max(at[r.SNRdB], r.GoodputBPS)
		}
	}
	points := make([][2]float64, 0, len(at))
	top := 0.0
	for _, snr := range slices.Sorted(maps.Keys(at)) {
		top = max(top, at[snr])
		points = append(points, [2]float64{p.x(snr), p.y(top)})
	}
	return points
}

// peers draws what others reach on the channel, where that is known.
func (p *panel) peers() {
	list := peersOn[p.channel]
	if len(list) == 0 || p.rows[0].Rate != 48000 {
		return
	}
	var shown []peer
	for _, q := range list {
		if q.snr < p.snrLow || q.snr > p.snrHigh || math.Log10(q.bps) < p.rateLow || math.Log10(q.bps) > p.rateHigh {
			continue
		}
		x, y := p.x(q.snr), p.y(q.bps)
		fmt.Fprintf(p.b, `<circle class="peer" cx="%.1f" cy="%.1f" r="3.2"><title>%s: %g bit/s from %g dB</title></circle>`+"\n", x, y, html.EscapeString(q.name), q.bps, q.snr)
		p.taken = append(p.taken, [4]float64{x - 4, y - 4, x + 4, y + 4})
		shown = append(shown, q)
	}
	if len(shown) == 0 {
		return
	}
	p.taken = append(p.taken, [4]float64{plotRight - 590, plotBottom - 24, plotRight, plotBottom}) // the legend
	for _, q := range shown {
		p.label(p.x(q.snr), p.y(q.bps), q.name)
	}
	p.text(plotRight-8, plotBottom-10, "end", "peer small halo",
		"● other modems, measured by this project on the same channel: from there on 90 % of their packets arrive")
}

// label writes a peer's name beside its point, where it covers no other.
func (p *panel) label(x, y float64, name string) {
	const high = 12
	wide := 5.7 * float64(len([]rune(name))) // of 10.5 px letters, about
	type place struct {
		anchor string
		x, y   float64 // of the text's baseline
		left   float64
	}
	across, down := []float64{7, 30, 60}, []float64{4, 14, -6, 26, -18, 38, -30, 52, -44, 66}
	places := make([]place, 0, 2*len(across)*len(down))
	for _, dx := range across {
		for _, dy := range down {
			places = append(places,
				place{"start", x + dx, y + dy, x + dx},
				place{"end", x - dx, y + dy, x - dx - wide})
		}
	}
	slices.SortStableFunc(places, func(a, b place) int {
		return cmp.Compare(math.Hypot(a.x-x, a.y-4-y), math.Hypot(b.x-x, b.y-4-y))
	})
	for _, c := range places {
		box := [4]float64{c.left, c.y - high + 2, c.left + wide, c.y + 2}
		if box[0] < plotLeft || box[2] > plotRight || box[1] < plotTop || box[3] > plotBottom ||
			slices.ContainsFunc(p.taken, func(o [4]float64) bool {
				return box[0] < o[2] && o[0] < box[2] && box[1] < o[3] && o[1] < box[3]
			}) {
			continue
		}
		p.taken = append(p.taken, box)
		if math.Hypot(c.x-x, c.y-4-y) > 12 {
			p.path("lead", [][2]float64{{x, y}, {c.x + 2*math.Copysign(1, x-c.x), c.y - 4}})
		}
		p.text(c.x, c.y, c.anchor, "peer small halo", name)
		return
	}
	// No room: the name is in the point's tooltip.
}
