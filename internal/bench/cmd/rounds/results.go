package main

import (
	"bufio"
	"cmp"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// results are the rows of all rounds.
type results struct {
	rows    map[string]*row // by the name that go test prints, without its ends
	order   []string        // their names, as they were run
	leftOut []string        // what was not measured, in the benchmarks' own words
	procs   int             // GOMAXPROCS

	// What the samples begin with, as benchstat reads it.
	golang, benchtime, cpu string
}

// A row is one benchmark, with a sample of each round.
type row struct {
	group, impl string // what is done, and who does it
	samples     []sample
}

// A sample has a value for each unit that go test printed: ns/op, B/op, allocs/op,
// and those of the benchmark's own.
type sample map[string]float64

func newResults() *results { return &results{rows: map[string]*row{}, cpu: "unknown CPU", procs: 1} }

// head returns the lines before the first round's, which add reads again.
func head(golang, benchtime string) string {
	return fmt.Sprintf("go: %s\nbenchtime: %s\n", golang, benchtime)
}

// A line is "BenchmarkGroup/impl=who-2  100  20.5 ns/op  16 B/op  2 allocs/op".
var line = regexp.MustCompile(`^Benchmark(\S+?)/impl=(\S+?)(?:-(\d+))?\s+\d+\s+(.*)$`)

// add reads the output of a round, or of several, and returns how many rows it had.
func (r *results) add(output *bufio.Scanner) (int, error) {
	n := 0
	for output.Scan() {
		text := output.Text()
		for name, value := range map[string]*string{"go": &r.golang, "benchtime": &r.benchtime, "cpu": &r.cpu} {
			if after, ok := strings.CutPrefix(text, name+": "); ok {
				*value = after
			}
		}
		if strings.HasSuffix(text, " left out.") && !slices.Contains(r.leftOut, text) {
			r.leftOut = append(r.leftOut, text)
		}
		m := line.FindStringSubmatch(text)
		if m == nil {
			continue
		}
		s, err := readSample(m[4])
		if err != nil {
			return 0, fmt.Errorf("%q: %w", text, err)
		}
		if m[3] != "" {
			r.procs, _ = strconv.Atoi(m[3])
		}
		name := m[1] + "/impl=" + m[2]
		if r.rows[name] == nil {
			r.rows[name] = &row{group: m[1], impl: m[2]}
			r.order = append(r.order, name)
		}
		r.rows[name].samples = append(r.rows[name].samples, s)
		n++
	}
	return n, output.Err()
}

// readSample reads pairs of a value and its unit.
func readSample(text string) (sample, error) {
	s, fields := sample{}, strings.Fields(text)
	for i := 0; i+1 < len(fields); i += 2 {
		value, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			return nil, err
		}
		s[fields[i+1]] = value
	}
	if s["ns/op"] <= 0 {
		return nil, fmt.Errorf("there is no time in it")
	}
	return s, nil
}

// rounds returns how many there were.
func (r *results) rounds() (n int) {
	for _, row := range r.rows {
		n = max(n, len(row.samples))
	}
	return n
}

// machine says what the rows were measured on.
func (r *results) machine() string {
	return fmt.Sprintf("%s, %d cores, %s; %d rounds of %s a row", r.cpu, r.procs, r.golang, r.rounds(), r.benchtime)
}

// group returns the rows of a group, the fastest first.
func (r *results) group(name string) []*row {
	var all []*row
	for _, row := range r.rows {
		if row.group == name {
			all = append(all, row)
		}
	}
	slices.SortFunc(all, func(a, b *row) int {
		return cmp.Or(cmp.Compare(a.ns(), b.ns()), cmp.Compare(a.impl, b.impl))
	})
	return all
}

// groups returns the names of the groups, as they were run.
func (r *results) groups() []string {
	var names []string
	for _, name := range r.order {
		if group := r.rows[name].group; !slices.Contains(names, group) {
			names = append(names, group)
		}
	}
	return names
}

// find returns the row of a group that is called impl, or nil.
func (r *results) find(group, impl string) *row { return r.rows[group+"/impl="+impl] }

// fastestPeer returns the row of a group with the least in the unit among those that
// are what others would use instead of us, or nil.
func (r *results) fastestPeer(unit, group string) (fastest *row) {
	for _, row := range r.group(group) {
		if !slices.Contains(noPeers, row.impl) && !(row.median(unit) >= fastest.median(unit)) {
			fastest = row
		}
	}
	return fastest
}

// noPeers are us, and the rows that are there for comparison alone.
var noPeers = []string{"tokenloop", "tokenloop-shared", "bare", "floor", "floor-seen", "floor-clone", "golang-jwt-parts", "azcore-pipeline"}

func (r *row) ns() float64     { return r.median("ns/op") }
func (r *row) bytes() float64  { return r.median("B/op") }
func (r *row) allocs() float64 { return r.median("allocs/op") }

// median returns that of the rounds, in the unit. It is NaN if there is no such
// row, or the row has no such value.
func (r *row) median(unit string) float64 {
	if r == nil {
		return math.NaN()
	}
	var values []float64
	for _, s := range r.samples {
		if v, ok := s[unit]; ok {
			values = append(values, v)
		}
	}
	return median(values)
}

// spread returns how far the largest sample is above the smallest, as a part of the
// median.
func (r *row) spread(unit string) float64 {
	low, high := math.Inf(1), 0.0
	for _, s := range r.samples {
		low, high = min(low, s[unit]), max(high, s[unit])
	}
	return (high - low) / r.median(unit)
}

// ratio returns the median over the rounds of a's value divided by b's, in the unit.
// It is NaN if there is none.
func ratio(unit string, a, b *row) float64 {
	if a == nil || b == nil {
		return math.NaN()
	}
	var ratios []float64
	for i := range min(len(a.samples), len(b.samples)) {
		if v, w := a.samples[i][unit], b.samples[i][unit]; v > 0 && w > 0 {
			ratios = append(ratios, v/w)
		}
	}
	return median(ratios)
}

// median returns the middle of values, or the mean of the two in the middle. Of no
// values it is NaN.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	slices.Sort(values)
	half := len(values) / 2
	if len(values)%2 == 1 {
		return values[half]
	}
	return (values[half-1] + values[half]) / 2
}
