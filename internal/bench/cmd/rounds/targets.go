package main

import (
	"fmt"
	"io"
	"math"
)

// A target is a number that we want to reach, measured within one run.
type target struct {
	what          string
	value         float64 // NaN when a row is missing
	must, stretch limit
}

// A limit is met by values at most, or at least, as large. The zero limit is
// none.
type limit struct {
	at    float64
	least bool
}

func atMost(at float64) limit  { return limit{at, false} }
func atLeast(at float64) limit { return limit{at, true} }

func (l limit) String() string {
	switch {
	case l == limit{}:
		return ""
	case l.least:
		return fmt.Sprintf("≥ %g", l.at)
	default:
		return fmt.Sprintf("≤ %g", l.at)
	}
}

// verdict says whether value meets l.
func (l limit) verdict(value float64) string {
	switch {
	case l == limit{}:
		return ""
	case math.IsNaN(value):
		return "not measured"
	case l.least && value >= l.at, !l.least && value <= l.at:
		return "met"
	default:
		return "**missed**"
	}
}

// targets returns what we want to reach, and where we are.
func targets(r *results) []target {
	const us = "tokenloop"
	allocs := func(row *row) float64 {
		if row == nil {
			return math.NaN()
		}
		return row.allocs()
	}
	verify := func(alg, sight, mode, impl string) *row {
		return r.find("Verify/alg="+alg+"/sight="+sight+"/mode="+mode, impl)
	}
	none := limit{}

	hs := func(impl string) *row { return verify("HS256", "first", "serial", impl) }
	fastestHS := r.fastestPeer("Verify/alg=HS256/sight=first/mode=serial")
	fastestRS := r.fastestPeer("Verify/alg=RS256/sight=first/mode=serial")
	all := []target{
		{"first sight, HS256, of golang-jwt", ratio(hs(us), hs("golang-jwt")), atMost(0.25), none},
		{"first sight, HS256, of the fastest peer", ratio(hs(us), fastestHS), atMost(0.30), none},
		{"first sight, HS256, of the floor", ratio(hs(us), hs("floor")), none, atMost(1.2)},
		{"first sight, HS256, allocations", allocs(hs(us)), atMost(16), atMost(8)},
	}
	for alg, limits := range inOrder(map[string][2]float64{"RS256": {1.10, 1.06}, "ES256": {1.06, 1.04}, "EdDSA": {1.06, 1.04}}) {
		what := "first sight, " + alg + ", of the bare operation"
		value := ratio(verify(alg, "first", "serial", us), verify(alg, "first", "serial", "bare"))
		all = append(all, target{what, value, atMost(limits[0]), atMost(limits[1])})
	}
	// What handlers share need not be copied. Without that, it is.
	const shared = us + "-shared"
	seen := verify("HS256", "repeat", "serial", shared)
	all = append(all,
		target{"seen before, HS256, of the floor", ratio(seen, verify("HS256", "repeat", "serial", "floor-seen")), atMost(1.6), atMost(1.15)},
		target{"seen before, HS256, of the floor, with a copy of the claims for each request", ratio(verify("HS256", "repeat", "serial", us), verify("HS256", "repeat", "serial", "floor-seen")), none, none},
		target{"seen before, HS256, allocations", allocs(seen), atMost(2), none},
		target{"seen before, HS256: the fastest peer's verification takes so many times as long", ratio(fastestHS, seen), atLeast(20), none},
		target{"seen before, RS256: the same", ratio(fastestRS, verify("RS256", "repeat", "serial", shared)), atLeast(100), none},
	)
	for _, c := range [][4]string{{"HS256", "first", "floor", us}, {"RS256", "first", "floor", us}, {"HS256", "repeat", "floor-seen", shared}} {
		speedup := func(impl string) float64 {
			if r.procs != 2 {
				return math.NaN()
			}
			return ratio(verify(c[0], c[1], "serial", impl), verify(c[0], c[1], "parallel", impl))
		}
		what := "two cores against one, " + c[0] + ", sight=" + c[1]
		all = append(all,
			target{what, speedup(c[3]), atLeast(1.7), atLeast(1.8)},
			// Where it is far from 2 for the floor, something else uses the cores.
			target{what + ", the floor's", speedup(c[2]), none, none},
		)
	}
	for _, alg := range []string{"HS256", "RS256"} {
		accepted := verify(alg, "first", "serial", us)
		refused := func(name string) *row { return r.find("Refuse/alg="+alg+"/case="+name+"/mode=serial", us) }
		for _, name := range []string{"expired", "forged", "garbage", "dots", "deep"} {
			what := "a refusal, " + alg + ", " + name + ", of an acceptance at first sight"
			all = append(all, target{what, ratio(refused(name), accepted), atMost(1), none})
		}
		for _, name := range []string{"dots", "deep"} {
			what := "a refusal, " + alg + ", 8 KiB of " + name + ", of that of a forged token"
			all = append(all, target{what, ratio(refused(name), refused("forged")), atMost(2), none})
		}
	}

	// What grows with the service costs a request the same.
	scaling := func(group string, n int) *row { return r.find(fmt.Sprintf(group, n), us) }
	const byKeys, byFirst, byRepeat = "Keys/alg=ES256/keys=%d/mode=serial",
		"Denylist/alg=HS256/sight=first/entries=%d/mode=serial", "Denylist/alg=HS256/sight=repeat/entries=%d/mode=serial"
	all = append(all,
		target{"100 keys, ES256, of one key", ratio(scaling(byKeys, 100), scaling(byKeys, 1)), atMost(1.25), atMost(1.1)},
		target{"a million entries in the denylist, first sight, of none", ratio(scaling(byFirst, 1_000_000), scaling(byFirst, 0)), atMost(1.5), atMost(1.25)},
		target{"a million entries in the denylist, seen before, of a thousand", ratio(scaling(byRepeat, 1_000_000), scaling(byRepeat, 1000)), atMost(2), atMost(1.5)},
	)

	issue := func(alg, impl string) *row { return r.find("Issue/alg="+alg+"/mode=serial", impl) }
	all = append(all,
		target{"issuing, HS256, of golang-jwt", ratio(issue("HS256", us), issue("HS256", "golang-jwt")), atMost(0.4), none},
		target{"issuing, HS256, of the floor", ratio(issue("HS256", us), issue("HS256", "floor")), none, atMost(1.15)},
	)
	for alg, limits := range inOrder(map[string][2]float64{"RS256": {1.02, 1.01}, "ES256": {1.06, 1.04}, "EdDSA": {1.06, 1.04}}) {
		what := "issuing, " + alg + ", of the bare signature"
		all = append(all, target{what, ratio(issue(alg, us), issue(alg, "bare")), atMost(limits[0]), atMost(limits[1])})
	}
	refresh := func(name string) *row { return r.find("Refresh/alg=ES256/case="+name+"/mode=serial", us) }
	all = append(all,
		target{"a whole refresh, ES256, of the bare signature", ratio(refresh("rotate"), issue("ES256", "bare")), atMost(2), none},
		target{"a forged refresh token, ES256, of a refresh", ratio(refresh("forged"), refresh("rotate")), atMost(0.1), none},
	)

	attach := func(mode, impl string) *row { return r.find("Attach/mode="+mode, impl) }
	return append(all,
		target{"attaching, of x/oauth2", ratio(attach("serial", us), attach("serial", "oauth2")), atMost(0.55), none},
		target{"attaching, of the floor", ratio(attach("serial", us), attach("serial", "floor")), none, atMost(1.1)},
		target{"attaching, allocations", allocs(attach("serial", us)), atMost(4), atMost(3)},
		target{"attaching on all cores, of x/oauth2", ratio(attach("parallel", us), attach("parallel", "oauth2")), atMost(0.5), none},
	)
}

// inOrder ranges over what is said of RS256, ES256 and EdDSA.
func inOrder(of map[string][2]float64) func(yield func(string, [2]float64) bool) {
	return func(yield func(string, [2]float64) bool) {
		for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
			if !yield(alg, of[alg]) {
				return
			}
		}
	}
}

// writeTargets writes all targets, those that were not measured too.
func writeTargets(w io.Writer, r *results) {
	fmt.Fprint(w, "## Targets\n\n| what, as a ratio of times in one round | here | must | | stretch | |\n|---|---:|---|---|---|---|\n")
	for _, t := range targets(r) {
		here := "-"
		if !math.IsNaN(t.value) {
			here = number(t.value)
		}
		fmt.Fprintf(w, "| %s | %s | %v | %s | %v | %s |\n", t.what, here, t.must, t.must.verdict(t.value), t.stretch, t.stretch.verdict(t.value))
	}
}
