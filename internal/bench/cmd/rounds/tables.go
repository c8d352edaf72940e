package main

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// writeTables writes one table for each group: who took how long, beside whom.
func writeTables(w io.Writer, r *results) {
	fmt.Fprint(w, "\n## Rows\n\nFirst the time as a multiple of that of another row: the median over the rounds of the ratio within a round,\n"+
		"or of that in turns where it says so. Then the medians over the rounds, and how far the slowest round was from the fastest,\n"+
		"in the ratio if it was in turns and otherwise in the time.\n")
	for _, group := range r.groups() {
		rows := r.group(group)
		type column struct {
			title string
			of    func(*row) float64
		}
		var columns []column
		judged := perOp // the unit of which the spread is said
		for _, beside := range []string{"bare", "floor", "accepted", "one"} {
			if !math.IsNaN(rows[0].median("x-" + beside)) {
				judged = "x-" + beside
				columns = append(columns, column{"× " + beside + ", in turns", func(row *row) float64 { return row.median("x-" + beside) }})
			}
		}
		if len(columns) == 0 && len(rows) > 1 {
			floor := r.find(group, "floor-seen")
			if floor == nil {
				floor = r.find(group, "floor")
			}
			for _, ref := range []struct {
				title string
				row   *row
			}{
				{"× bare", r.find(group, "bare")},
				{"× floor", floor},
				{"× fastest peer", r.fastestPeer(perOp, group)},
				{"× golang-jwt", r.find(group, "golang-jwt")},
			} {
				if ref.row != nil {
					columns = append(columns, column{ref.title, func(row *row) float64 { return ratio(perOp, row, ref.row) }})
				}
			}
		}
		fmt.Fprintf(w, "\n### %s\n\n| |", strings.ReplaceAll(group, "/", ", "))
		for _, c := range columns {
			fmt.Fprintf(w, " %s |", c.title)
		}
		fmt.Fprintf(w, " ns | B | allocs | spread |\n|---|%s\n", strings.Repeat("---:|", len(columns)+4))
		for _, row := range rows {
			name := row.impl
			if name == us {
				name = "**" + us + "**"
			}
			fmt.Fprintf(w, "| %s |", name)
			for _, c := range columns {
				fmt.Fprintf(w, " %s |", number(c.of(row)))
			}
			fmt.Fprintf(w, " %s | %s | %s | %.0f %% |\n", number(row.ns()), whole(row.bytes()), whole(row.allocs()), 100*row.spread(judged))
		}
	}
}

// number writes v with three digits that count, and with all before the point.
func number(v float64) string {
	if math.IsNaN(v) {
		return "-"
	}
	digits := func() int { return max(0, 2-int(math.Floor(math.Log10(math.Max(v, 0.001))))) }
	v, _ = strconv.ParseFloat(fmt.Sprintf("%.*f", digits(), v), 64) // which may be the next power of ten
	return fmt.Sprintf("%.*f", digits(), v)
}

// whole writes v without what is behind the point.
func whole(v float64) string {
	if math.IsNaN(v) {
		return "-"
	}
	return fmt.Sprintf("%.0f", v)
}

// duration writes so many nanoseconds in the unit that suits them.
func duration(ns float64) string {
	switch {
	case math.IsNaN(ns):
		return ""
	case ns < 999.5:
		return number(ns) + " ns"
	case ns < 999.5e3:
		return number(ns/1e3) + " µs"
	default:
		return number(ns/1e6) + " ms"
	}
}
