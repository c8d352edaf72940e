package main

import (
	"fmt"
	"strings"
)

// What stands between these in a README is written by this program.
const (
	openMark  = "<!-- bench -->"
	closeMark = "<!-- /bench -->"
)

// table returns the README's: the ratio first, the machine's time last. It leaves
// out what is wished for and not required.
func table(r *results) string {
	var b strings.Builder
	fmt.Fprint(&b, "| What | Beside | Ratio | Target | | Time |\n|---|---|---:|---|---|---:|\n")
	for _, t := range targets(r) {
		if t.must == none && t.stretch != none {
			continue
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %v | %s | %s |\n", t.what, t.beside, t.here(), t.must, t.must.verdict(t.value), duration(t.ns))
	}
	fmt.Fprintf(&b, "\n%s.\n", r.machine())
	for _, text := range r.leftOut {
		fmt.Fprintf(&b, "%s\n", text)
	}
	return b.String()
}

// within returns the document with text between its marks.
func within(document, text string) (string, error) {
	before, rest, opened := strings.Cut(document, openMark)
	_, after, closed := strings.Cut(rest, closeMark)
	if !opened || !closed || strings.Contains(before+after, openMark) || strings.Contains(before+after, closeMark) {
		return "", fmt.Errorf("there must be one %s and behind it one %s", openMark, closeMark)
	}
	return before + openMark + "\n" + text + closeMark + after, nil
}
