package main

import (
	"cmp"
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// A section of the chart has a scale of its own, on which 1 is what is called so.
type section struct {
	title, one string
	bars       []bar
}

type bar struct {
	label string
	value float64
	ours  bool
}

// sections returns what the chart shows. What was not measured is not there.
func sections(r *results) []section {
	all := []section{
		{"Verify a request, HS256", "the HMAC alone", verifyBars(r, "HS256", "golang-jwt", "echo-jwt", "jwx", "auth0")},
		{"Verify a request, RS256, keys from a JWKS", "the RSA operation alone", verifyBars(r, "RS256", "keyfunc", "go-oidc", "jwx", "auth0")},
		{"Issue a token, HS256", "the HMAC alone", []bar{
			{"tokenloop", r.beside("issue/alg=HS256", us).median(xBare), true},
			{"golang-jwt", r.beside("issue/alg=HS256", "golang-jwt").median(xBare), false},
		}},
		{"Issue a token, ES256", "the signature alone", []bar{
			{"tokenloop", r.beside("issue/alg=ES256", us).median(xBare), true},
			{"golang-jwt", r.beside("issue/alg=ES256", "golang-jwt").median(xBare), false},
		}},
		{"A whole refresh in tokenloop, ES256", "its two statements and a signature alone", engineBars(r)},
		{"Attach a token to a request", "the least that a transport can do", []bar{
			{"tokenloop", ratio(perOp, r.attach("serial", us), r.attach("serial", "floor")), true},
			{"golang.org/x/oauth2", ratio(perOp, r.attach("serial", "oauth2"), r.attach("serial", "floor")), false},
			{"google cloud auth", ratio(perOp, r.attach("serial", "cloud-auth"), r.attach("serial", "floor")), false},
		}},
	}
	var measured []section
	for _, s := range all {
		var bars []bar
		for _, b := range s.bars {
			if !math.IsNaN(b.value) {
				bars = append(bars, b)
			}
		}
		if s.bars = bars; len(bars) > 0 {
			measured = append(measured, s)
		}
	}
	return measured
}

// verifyBars are ours, and those of the fastest peer and of others that are known
// well.
func verifyBars(r *results, alg string, known ...string) []bar {
	group := "verify/alg=" + alg
	seen := ratio(perOp, r.verify(alg, "repeat", us), r.verify(alg, "first", "bare"))
	all := []bar{{"tokenloop, cached", seen, true}, {"tokenloop", r.beside(group, us).median(xBare), true}}
	if peer := r.fastestPeer(xBare, "Beside/work="+group); peer != nil && !slices.Contains(known, peer.impl) {
		known = append(known, peer.impl)
	}
	for _, impl := range known {
		all = append(all, bar{label(impl), r.beside(group, impl).median(xBare), false})
	}
	slices.SortStableFunc(all, func(a, b bar) int { return cmp.Compare(a.value, b.value) })
	return all
}

func label(impl string) string {
	if impl == "keyfunc" {
		return "golang-jwt + keyfunc"
	}
	return impl
}

func engineBars(r *results) (all []bar) {
	for _, name := range engineNames {
		all = append(all, bar{name, r.engine(name, "refresh").median(xBare), true})
	}
	return all
}

// The chart's measures, in pixels. The text is legible when it is scaled to the
// width of a telephone.
const (
	chartWidth = 440
	margin     = 16
	barsAt     = 174 // where 0 is
	barsWidth  = 184 // of the longest
	lineHeight = 24
	barHeight  = 14
)

// chart draws the sections. It brings a background of its own, since nobody knows
// what it will stand on, and follows what the reader prefers.
func chart(r *results) string {
	var b strings.Builder
	y := 66
	for i, s := range sections(r) {
		if i > 0 {
			y += 20
		}
		y = s.draw(&b, y)
	}
	height := y + 72
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-labelledby="title">
<title id="title">How long tokenloop and its peers take, as a multiple of the operation that it is all about. Shorter is better.</title>
<style>
svg { color-scheme: light dark; font: 14px system-ui, -apple-system, "Segoe UI", "Noto Sans", "DejaVu Sans", Helvetica, Arial, sans-serif }
.card { fill: #ffffff; stroke: #d1d9e0 }
text { fill: #1f2328 }
.head { font-size: 18px; font-weight: 600 }
.title, .ours { font-weight: 600 }
.quiet { fill: #59636e; font-size: 13px }
.bar { fill: #818b98 }
.bar.mine { fill: #0969da }
.one { stroke: #1f2328; stroke-dasharray: 3 2 }
@media (prefers-color-scheme: dark) {
.card { fill: #0d1117; stroke: #3d444d }
text { fill: #f0f6fc }
.quiet { fill: #9198a1 }
.bar { fill: #767e88 }
.bar.mine { fill: #4493f8 }
.one { stroke: #f0f6fc }
}
</style>
<rect class="card" x="0.5" y="0.5" width="%d" height="%d" rx="6"/>
<text class="head" x="%d" y="34">Times, beside what cannot be avoided</text>
<text class="quiet" x="%d" y="54">Multiples of the operation that is named; shorter is better.</text>
%s<text class="quiet" x="%d" y="%d">%s</text>
<text class="quiet" x="%d" y="%d">%s</text>
</svg>
`, chartWidth, height, chartWidth, height, chartWidth-1, height-1, margin, margin,
		b.String(), margin, height-34, html.EscapeString(r.cpu), margin, height-16,
		html.EscapeString(fmt.Sprintf("%d cores, %s, medians of %d rounds", r.procs, r.golang, r.rounds())))
}

// draw draws s below y, and returns where it ends.
func (s section) draw(b *strings.Builder, y int) int {
	longest := 1.0
	for _, bar := range s.bars {
		longest = max(longest, bar.value)
	}
	width := func(v float64) float64 { return barsWidth * v / longest }
	y += 22
	fmt.Fprintf(b, "<text class=\"title\" x=\"%d\" y=\"%d\">%s</text>\n", margin, y, html.EscapeString(s.title))
	y += 18
	fmt.Fprintf(b, "<text class=\"quiet\" x=\"%d\" y=\"%d\">1 = %s</text>\n", margin, y, html.EscapeString(s.one))
	top := y + 6
	for _, bar := range s.bars {
		y += lineHeight
		text, fill := "", "bar"
		if bar.ours {
			text, fill = ` class="ours"`, "bar mine"
		}
		fmt.Fprintf(b, "<text%s x=\"%d\" y=\"%d\">%s</text>", text, margin, y, html.EscapeString(bar.label))
		fmt.Fprintf(b, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" rx=\"2\"/>", fill, barsAt, y-12, max(width(bar.value), 2), barHeight)
		fmt.Fprintf(b, "<text%s x=\"%.1f\" y=\"%d\">%s ×</text>\n", text, barsAt+max(width(max(bar.value, 1)), 2)+6, y, number(bar.value))
	}
	fmt.Fprintf(b, "<path class=\"one\" d=\"M%.1f %dV%d\"/>\n", barsAt+width(1), top, y+6)
	return y
}
