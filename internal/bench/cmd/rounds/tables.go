package main

import (
	"fmt"
	"io"
	"math"
	"strings"
)

// writeTables writes one table for each group: who took how long, beside whom.
func writeTables(w io.Writer, r *results) {
	fmt.Fprint(w, "\n## Rows\n\nFirst the time as a multiple of that of another row: the median over the rounds of the ratio within a round.\n"+
		"Then the medians over the rounds, and how far the slowest round was from the fastest.\n")
	for _, group := range r.groups() {
		rows := r.group(group)
		type reference struct {
			title string
			row   *row
		}
		floor := r.find(group, "floor-seen")
		if floor == nil {
			floor = r.find(group, "floor")
		}
		var references []reference
		for _, ref := range []reference{
			{"× bare", r.find(group, "bare")},
			{"× floor", floor},
			{"× fastest peer", r.fastestPeer(group)},
			{"× golang-jwt", r.find(group, "golang-jwt")},
		} {
			if ref.row != nil && len(rows) > 1 {
				references = append(references, ref)
			}
		}
		fmt.Fprintf(w, "\n### %s\n\n| |", strings.ReplaceAll(group, "/", ", "))
		for _, ref := range references {
			fmt.Fprintf(w, " %s |", ref.title)
		}
		fmt.Fprintf(w, " ns | B | allocs | spread |\n|---|%s\n", strings.Repeat("---:|", len(references)+4))
		for _, row := range rows {
			name := row.impl
			if name == "tokenloop" {
				name = "**tokenloop**"
			}
			fmt.Fprintf(w, "| %s |", name)
			for _, ref := range references {
				fmt.Fprintf(w, " %s |", number(ratio(row, ref.row)))
			}
			fmt.Fprintf(w, " %s | %.0f | %.0f | %.0f %% |\n", number(row.ns()), row.bytes(), row.allocs(), 100*row.spread())
		}
	}
}

// number writes v with three digits that count, and with all before the point.
func number(v float64) string {
	digits := 2 - int(math.Floor(math.Log10(math.Max(v, 0.001))))
	return fmt.Sprintf("%.*f", max(0, digits), v)
}
