package main

import (
	"bytes"
	"fmt"
	"html"
	"strings"
)

// svg writes pictures by hand: they are few, and their libraries are larger than
// they are. Classes are those of a style sheet in the picture.
type svg struct{ b *bytes.Buffer }

// text writes a label. class may hold several names.
func (p svg) text(x, y float64, anchor, class, s string) {
	fmt.Fprintf(p.b, `<text x="%.1f" y="%.1f" text-anchor="%s" class="%s">%s</text>`+"\n", x, y, anchor, class, html.EscapeString(s))
}

// path draws a line through points that may be none.
func (p svg) path(class string, points [][2]float64) {
	if len(points) < 2 {
		return
	}
	var d strings.Builder
	for i, pt := range points {
		fmt.Fprintf(&d, "%c%.1f %.1f", "ML"[min(i, 1)], pt[0], pt[1])
	}
	fmt.Fprintf(p.b, `<path class="%s" d="%s"/>`+"\n", class, d.String())
}
