package main

import (
	"fmt"
	"io"
	"math"
)

// A target is a number that we want to reach, measured within one run.
type target struct {
	what, beside  string
	value         float64 // a ratio of times where nothing else is said; NaN when a row is missing
	ns            float64 // how long ours took; NaN where that says nothing
	must, stretch limit
}

// here writes the value: with a digit more near 1, where limits differ in the second.
func (t target) here() string {
	switch {
	case t.beside == "(allocations)":
		return whole(t.value)
	case t.value >= 0.1 && t.value < 10:
		return fmt.Sprintf("%.3f", t.value)
	default:
		return number(t.value)
	}
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
	case math.IsNaN(value):
		return "not measured"
	case l == limit{}:
		return ""
	case l.least && value >= l.at, !l.least && value <= l.at:
		return "met"
	default:
		return "**missed**"
	}
}

// Who does the work.
const (
	us     = "tokenloop"
	shared = us + "-shared" // without a copy of the claims for each request
)

// The units of most ratios.
const (
	perOp = "ns/op"  // of rows that ran one after the other
	xBare = "x-bare" // of what ran in turns with the bare operation
)

var (
	none    limit
	nothing = math.NaN()
)

// An algorithm has limits of its own.
type algorithm struct {
	name          string
	must, stretch float64
}

// targets returns what we want to reach, and where we are.
func targets(r *results) []target {
	var all []target
	for _, of := range []func(*results) []target{
		firstSight, seenBefore, twoCores, refusals, growth, issuing, refreshing, onEngines, attaching, proving,
	} {
		all = append(all, of(r)...)
	}
	return all
}

// verify returns a row of a request that a middleware lets pass.
func (r *results) verify(alg, sight, impl string) *row {
	return r.find("Verify/alg="+alg+"/sight="+sight+"/mode=serial", impl)
}

// beside returns a row of what is held side by side, in turns.
func (r *results) beside(work, impl string) *row { return r.find("Beside/work="+work, impl) }

// fastest names a row that was found to be so.
func fastest(row *row) string {
	if row == nil {
		return "the fastest peer"
	}
	return "the fastest peer, " + row.impl
}

func firstSight(r *results) []target {
	own, peer := r.beside("verify/alg=HS256", us), r.fastestPeer(xBare, "Beside/work=verify/alg=HS256")
	const what = "verify, first sight, HS256"
	all := []target{
		{what, "golang-jwt", ratio(xBare, own, r.beside("verify/alg=HS256", "golang-jwt")), own.ns(), atMost(0.25), none},
		{what, fastest(peer), ratio(xBare, own, peer), own.ns(), atMost(0.30), none},
		{what, "the floor", ratio(xBare, own, r.beside("verify/alg=HS256", "floor")), own.ns(), none, atMost(1.2)},
		{what, "(allocations)", r.verify("HS256", "first", us).allocs(), nothing, atMost(16), atMost(8)},
	}
	for _, c := range []algorithm{{"RS256", 1.10, 1.06}, {"ES256", 1.06, 1.04}, {"EdDSA", 1.06, 1.04}} {
		own := r.beside("verify/alg="+c.name, us)
		all = append(all, target{"verify, first sight, " + c.name, "the bare verification", own.median(xBare), own.ns(), atMost(c.must), atMost(c.stretch)})
	}
	return all
}

func seenBefore(r *results) []target {
	const what = "verify, seen before, HS256, `ShareClaims`"
	copied, own := r.beside("seen/alg=HS256", us), r.beside("seen/alg=HS256", shared)
	all := []target{
		{"verify, seen before, HS256", "the floor", copied.median("x-floor"), copied.ns(), none, none},
		{what, "the floor", own.median("x-floor"), own.ns(), atMost(1.6), atMost(1.15)},
		{what, "(allocations)", r.verify("HS256", "repeat", shared).allocs(), nothing, atMost(2), none},
	}
	// A lookup beside a verification: peers verify what they have seen before.
	for _, c := range []algorithm{{name: "HS256", must: 0.05}, {name: "RS256", must: 0.01}} {
		own, peer := r.verify(c.name, "repeat", shared), r.fastestPeer(xBare, "Beside/work=verify/alg="+c.name)
		if peer != nil {
			peer = r.verify(c.name, "first", peer.impl)
		}
		all = append(all, target{"verify, seen before, " + c.name + ", `ShareClaims`", fastest(peer) + ", which verifies again", ratio(perOp, own, peer), own.ns(), atMost(c.must), none})
	}
	return all
}

func twoCores(r *results) []target {
	var all []target
	for _, c := range []struct{ what, group, impl string }{
		{"first sight, HS256", "alg=HS256/sight=first", us},
		{"first sight, RS256", "alg=RS256/sight=first", us},
		{"seen before, HS256, `ShareClaims`", "alg=HS256/sight=repeat", shared},
	} {
		speedup := nothing
		if r.procs == 2 {
			speedup = r.find("TwoCores/"+c.group, c.impl).median("x-one")
		}
		all = append(all, target{"requests on two cores, " + c.what, "on one (how many times as many)", speedup, nothing, atLeast(1.7), atLeast(1.8)})
	}
	return all
}

// refusals judges the one that costs the most.
func refusals(r *results) []target {
	dearest := func(alg string, names ...string) (most *row) {
		for _, name := range names {
			one := r.beside("refuse/alg="+alg+"/case="+name, us)
			if v := one.median("x-accepted"); !math.IsNaN(v) && !(most.median("x-accepted") >= v) {
				most = one
			}
		}
		return most
	}
	secret := dearest("HS256", "expired", "forged", "garbage", "dots", "deep", "huge")
	public := dearest("RS256", "expired", "forged", "unknown-kid")
	large, forged := dearest("HS256", "dots", "deep", "huge"), r.beside("refuse/alg=HS256/case=forged", us)
	const accepted = "an acceptance at first sight"
	return []target{
		{"refuse, HS256, the dearest case", accepted, secret.median("x-accepted"), secret.ns(), atMost(1), none},
		{"refuse, RS256, the dearest case", accepted, public.median("x-accepted"), public.ns(), atMost(1), none},
		{"refuse 8 KiB or 1 MiB, the dearest case", "a forged token", ratio("x-accepted", large, forged), large.ns(), atMost(2), none},
	}
}

// growth is of what grows with the service and costs a request the same.
func growth(r *results) []target {
	const byKeys, byFirst, byRepeat = "Keys/alg=ES256/keys=%d/mode=serial",
		"Denylist/alg=HS256/sight=first/entries=%d/mode=serial", "Denylist/alg=HS256/sight=repeat/entries=%d/mode=serial"
	compare := func(what, beside, group string, large, small int, must, stretch float64) target {
		own := r.find(fmt.Sprintf(group, large), us)
		return target{what, beside, ratio(perOp, own, r.find(fmt.Sprintf(group, small), us)), own.ns(), atMost(must), atMost(stretch)}
	}
	return []target{
		compare("verify with 100 keys, ES256", "with one", byKeys, 100, 1, 1.25, 1.1),
		compare("verify with a million denied, first sight", "with none", byFirst, 1_000_000, 0, 1.5, 1.25),
		compare("verify with a million denied, seen before", "with a thousand", byRepeat, 1_000_000, 1000, 2, 1.5),
	}
}

func issuing(r *results) []target {
	own := r.beside("issue/alg=HS256", us)
	all := []target{
		{"issue, HS256", "golang-jwt", ratio(xBare, own, r.beside("issue/alg=HS256", "golang-jwt")), own.ns(), atMost(0.4), none},
		{"issue, HS256", "the floor", ratio(xBare, own, r.beside("issue/alg=HS256", "floor")), own.ns(), none, atMost(1.15)},
	}
	for _, c := range []algorithm{{"RS256", 1.02, 1.01}, {"ES256", 1.06, 1.04}, {"EdDSA", 1.06, 1.04}} {
		own := r.beside("issue/alg="+c.name, us)
		all = append(all, target{"issue, " + c.name, "the bare signature", own.median(xBare), own.ns(), atMost(c.must), atMost(c.stretch)})
	}
	return all
}

func refreshing(r *results) []target {
	refresh := func(name string) *row { return r.find("Refresh/alg=ES256/case="+name+"/mode=serial", us) }
	rotated, forged := refresh("rotate"), refresh("forged")
	return []target{
		{"a whole refresh in memory, ES256", "a bare signature", ratio(perOp, rotated, r.find("Issue/alg=ES256/mode=serial", "bare")), rotated.ns(), atMost(2), none},
		{"refuse a forged refresh token", "a refresh", ratio(perOp, forged, rotated), forged.ns(), atMost(0.1), none},
	}
}

// engineNames are in the order of the tables.
var engineNames = []string{"memory", "SQLite", "PostgreSQL", "MariaDB", "Redis"}

func (r *results) engine(name, work string) *row {
	return r.find("Engine/engine="+name+"/work="+work, us)
}

func onEngines(r *results) []target {
	var all []target
	for _, name := range engineNames[1:] {
		own := r.engine(name, "rotate")
		all = append(all, target{"read and rotate a session, " + name, "the two statements alone", own.median(xBare), own.ns(), atMost(1.25), none})
	}
	for _, name := range engineNames {
		own := r.engine(name, "refresh")
		beside := "the two statements and a bare signature"
		if name == "memory" {
			beside = "a bare signature"
		}
		all = append(all, target{"a whole refresh, eight at once, ES256, " + name, beside, own.median(xBare), own.ns(), none, none})
	}
	return all
}

func (r *results) attach(mode, impl string) *row { return r.find("Attach/mode="+mode, impl) }

func attaching(r *results) []target {
	own, parallel, called := r.attach("serial", us), r.attach("parallel", us), r.beside("call", us)
	return []target{
		{"attach a token", "golang.org/x/oauth2", ratio(perOp, own, r.attach("serial", "oauth2")), own.ns(), atMost(0.55), none},
		{"attach a token, all cores", "golang.org/x/oauth2", ratio(perOp, parallel, r.attach("parallel", "oauth2")), parallel.ns(), atMost(0.5), none},
		{"attach a token", "the floor", ratio(perOp, own, r.attach("serial", "floor")), own.ns(), none, atMost(1.1)},
		{"attach a token", "(allocations)", own.allocs(), nothing, atMost(4), atMost(3)},
		{"a call over loopback with a token attached", "one whose header is ready", called.median(xBare), called.ns(), none, none},
	}
}

// proving is of proofs of possession (RFC 9449).
func proving(r *results) []target {
	made, judged := r.find("BesideProofs/work=prove/alg=ES256", us), r.find("BesideProofs/work=request/alg=ES256", us)
	return []target{
		{"make a DPoP proof, ES256", "the bare signature", made.median(xBare), made.ns(), none, none},
		{"verify, seen before, with a new DPoP proof, ES256", "the bare verification", judged.median(xBare), judged.ns(), none, none},
	}
}

// writeTargets writes all targets, those that were not measured too.
func writeTargets(w io.Writer, r *results) {
	fmt.Fprint(w, "## Targets\n\n| what | beside | ratio | must | | stretch | | time |\n|---|---|---:|---|---|---|---|---:|\n")
	for _, t := range targets(r) {
		stretch := ""
		if t.stretch != none {
			stretch = t.stretch.verdict(t.value)
		}
		fmt.Fprintf(w, "| %s | %s | %s | %v | %s | %v | %s | %s |\n", t.what, t.beside, t.here(), t.must, t.must.verdict(t.value), t.stretch, stretch, duration(t.ns))
	}
	for _, text := range r.leftOut {
		fmt.Fprintf(w, "\n%s\n", text)
	}
}
