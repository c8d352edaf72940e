package main

import (
	"bufio"
	"context"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// read returns the results of rounds.
func read(t *testing.T, rounds ...string) *results {
	t.Helper()
	r := newResults()
	for _, round := range rounds {
		_, err := r.add(bufio.NewScanner(strings.NewReader(round)))
		require.NoError(t, err)
	}
	return r
}

const first = `goos: linux
cpu: Some CPU
BenchmarkVerify/alg=HS256/sight=first/mode=serial/impl=floor-2         	 1000	 100.5 ns/op	 840 B/op	 5 allocs/op
BenchmarkVerify/alg=HS256/sight=first/mode=serial/impl=tokenloop-2     	 1000	 200.0 ns/op	 900 B/op	 9 allocs/op
BenchmarkVerify/alg=HS256/sight=first/mode=serial/impl=golang-jwt-2    	 1000	1000 ns/op	4432 B/op	63 allocs/op
BenchmarkVerify/alg=HS256/sight=first/mode=serial/impl=golang-jwt-parts-2	1000	 150 ns/op	4432 B/op	63 allocs/op
PASS
`

// The machine is ten times slower in the second round, and not faster in
// everything in the third.
const second = `
BenchmarkVerify/alg=HS256/sight=first/mode=serial/impl=tokenloop-2     	  100	 2100 ns/op	 900 B/op	 9 allocs/op
BenchmarkVerify/alg=HS256/sight=first/mode=serial/impl=golang-jwt-2    	  100	10000 ns/op	4432 B/op	63 allocs/op
`

const third = `
BenchmarkVerify/alg=HS256/sight=first/mode=serial/impl=tokenloop-2     	  100	 900 ns/op	 900 B/op	 9 allocs/op
BenchmarkVerify/alg=HS256/sight=first/mode=serial/impl=golang-jwt-2    	  100	1000 ns/op	4432 B/op	63 allocs/op
`

const hsFirst = "Verify/alg=HS256/sight=first/mode=serial"

func TestRowsAreReadAsGoTestPrintsThem(t *testing.T) {
	r := read(t, first)
	assert.Equal(t, "Some CPU", r.cpu)
	assert.Equal(t, 2, r.procs)
	assert.Equal(t, []string{hsFirst}, r.groups())
	require.NotNil(t, r.find(hsFirst, "golang-jwt-parts"))
	assert.Equal(t, []sample{{"ns/op": 100.5, "B/op": 840, "allocs/op": 5}}, r.find(hsFirst, "floor").samples)
	assert.Equal(t, "golang-jwt", r.fastestPeer(perOp, hsFirst).impl, "the faster ones are not peers")

	_, err := newResults().add(bufio.NewScanner(strings.NewReader("BenchmarkX/impl=y-2 1 fast ns/op")))
	assert.Error(t, err)
	_, err = newResults().add(bufio.NewScanner(strings.NewReader("BenchmarkX/impl=y-2 1 7 MB/s")))
	assert.Error(t, err)
}

// A row that is held beside another has the ratio in it, and no bytes.
func TestOtherUnitsAreReadToo(t *testing.T) {
	r := read(t,
		"BenchmarkBeside/work=issue/alg=ES256/impl=tokenloop-2 \t 1\t 36000 ns/op\t 1.05 x-bare\n",
		"BenchmarkBeside/work=issue/alg=ES256/impl=tokenloop-2 \t 1\t 38000 ns/op\t 1.07 x-bare\n")
	row := r.find("Beside/work=issue/alg=ES256", "tokenloop")
	assert.InDelta(t, 1.06, row.median("x-bare"), 1e-9)
	assert.InDelta(t, 37000, row.ns(), 1e-9)
	assert.True(t, math.IsNaN(row.bytes()))
	var b strings.Builder
	writeTables(&b, r)
	assert.Contains(t, b.String(), "| | × bare, in turns | ns | B | allocs | spread |")
	assert.Contains(t, b.String(), "| **tokenloop** | 1.06 | 37000 | - | - | 2 % |")
	assert.True(t, math.IsNaN(r.find("Beside", "nobody").median("x-bare")))
}

// The same samples are the same bytes, though maps have no order.
func TestRowsThatTookAsLongAreInTheOrderOfTheirNames(t *testing.T) {
	var rows strings.Builder
	for _, impl := range []string{"c", "a", "e", "b", "d"} {
		rows.WriteString("BenchmarkX/impl=" + impl + "-2 \t 1\t 10 ns/op\n")
	}
	var order strings.Builder
	for _, row := range read(t, rows.String()).group("X") {
		order.WriteString(row.impl)
	}
	assert.Equal(t, "abcde", order.String())
}

func TestARatioIsTheMedianOfThoseWithinARound(t *testing.T) {
	r := read(t, first, second, third)
	ours, them := r.find(hsFirst, "tokenloop"), r.find(hsFirst, "golang-jwt")
	assert.InDelta(t, 0.21, ratio(perOp, ours, them), 1e-9)
	assert.InDelta(t, 900, ours.ns(), 1e-9)
	assert.InDelta(t, (2100.0-200)/900, ours.spread(perOp), 1e-9)
	assert.True(t, math.IsNaN(ratio(perOp, ours, nil)))
}

func TestTheMedianOfAnEvenNumberIsBetweenTheMiddleOnes(t *testing.T) {
	assert.Equal(t, 2.5, median([]float64{4, 1, 3, 2}))
	assert.Equal(t, 3.0, median([]float64{9, 1, 3}))
}

// judged returns the targets of rounds by what they are of.
func judged(t *testing.T, rounds ...string) map[string]target {
	t.Helper()
	all := map[string]target{}
	for _, target := range targets(read(t, rounds...)) {
		name := target.what + " / " + target.beside
		require.NotContains(t, all, name, "said twice")
		all[name] = target
	}
	return all
}

func TestTargetsAreJudged(t *testing.T) {
	all := judged(t, first, `
BenchmarkBeside/work=verify/alg=HS256/impl=floor-2       	1	150 ns/op	4.0 x-bare
BenchmarkBeside/work=verify/alg=HS256/impl=tokenloop-2   	1	200 ns/op	5.0 x-bare
BenchmarkBeside/work=verify/alg=HS256/impl=golang-jwt-2  	1	900 ns/op	25.0 x-bare
BenchmarkBeside/work=verify/alg=HS256/impl=cristalhq-2   	1	800 ns/op	20.0 x-bare
`)
	golangJWT := all["verify, first sight, HS256 / golang-jwt"]
	assert.InDelta(t, 0.2, golangJWT.value, 1e-9)
	assert.InDelta(t, 200, golangJWT.ns, 1e-9)
	assert.Equal(t, "met", golangJWT.must.verdict(golangJWT.value))
	peer := all["verify, first sight, HS256 / the fastest peer, cristalhq"]
	assert.InDelta(t, 0.25, peer.value, 1e-9)
	floor := all["verify, first sight, HS256 / the floor"]
	assert.Equal(t, "**missed**", floor.stretch.verdict(floor.value))
	allocs := all["verify, first sight, HS256 / (allocations)"]
	assert.Equal(t, "met", allocs.must.verdict(allocs.value))
	assert.Equal(t, "**missed**", allocs.stretch.verdict(allocs.value))
	issuing := all["issue, RS256 / the bare signature"]
	assert.Equal(t, "not measured", issuing.must.verdict(issuing.value))
}

func TestWhatGrowsIsJudged(t *testing.T) {
	all := judged(t, `
BenchmarkKeys/alg=ES256/keys=1/mode=serial/impl=tokenloop-2   	1000	100 ns/op
BenchmarkKeys/alg=ES256/keys=10/mode=serial/impl=tokenloop-2  	1000	110 ns/op
BenchmarkKeys/alg=ES256/keys=100/mode=serial/impl=tokenloop-2 	1000	120 ns/op
BenchmarkDenylist/alg=HS256/sight=first/entries=0/mode=serial/impl=tokenloop-2        	1000	100 ns/op
BenchmarkDenylist/alg=HS256/sight=first/entries=1000000/mode=serial/impl=tokenloop-2  	1000	160 ns/op
`)
	keys := all["verify with 100 keys, ES256 / with one"]
	assert.InDelta(t, 1.2, keys.value, 1e-9)
	assert.Equal(t, "met", keys.must.verdict(keys.value))
	assert.Equal(t, "**missed**", keys.stretch.verdict(keys.value))
	denied := all["verify with a million denied, first sight / with none"]
	assert.Equal(t, "**missed**", denied.must.verdict(denied.value))
}

// Of the refusals the dearest is judged, whichever that is.
func TestTheDearestRefusalIsJudged(t *testing.T) {
	all := judged(t, `
BenchmarkBeside/work=refuse/alg=HS256/case=forged/impl=tokenloop-2   	1	150 ns/op	0.75 x-accepted
BenchmarkBeside/work=refuse/alg=HS256/case=expired/impl=tokenloop-2  	1	190 ns/op	0.95 x-accepted
BenchmarkBeside/work=refuse/alg=HS256/case=dots/impl=tokenloop-2     	1	30 ns/op	0.15 x-accepted
BenchmarkBeside/work=refuse/alg=HS256/case=huge/impl=tokenloop-2     	1	330 ns/op	1.65 x-accepted
BenchmarkBeside/work=refuse/alg=HS256/case=deep/impl=tokenloop-2     	1	230 ns/op	1.15 x-accepted
`)
	dearest := all["refuse, HS256, the dearest case / an acceptance at first sight"]
	assert.InDelta(t, 1.65, dearest.value, 1e-9)
	assert.InDelta(t, 330, dearest.ns, 1e-9)
	assert.Equal(t, "**missed**", dearest.must.verdict(dearest.value))
	large := all["refuse 8 KiB or 1 MiB, the dearest case / a forged token"]
	assert.InDelta(t, 1.65/0.75, large.value, 1e-9)
	assert.True(t, math.IsNaN(all["refuse, RS256, the dearest case / an acceptance at first sight"].value))
}

func TestWhatIsHeldSideBySideIsJudgedByThat(t *testing.T) {
	all := judged(t, `
BenchmarkBeside/work=verify/alg=RS256/impl=tokenloop-2       	1	36000 ns/op	1.09 x-bare
BenchmarkEngine/engine=SQLite/work=rotate/impl=tokenloop-2   	1	90000 ns/op	1.26 x-bare
BenchmarkTwoCores/alg=HS256/sight=repeat/impl=tokenloop-shared-2 	1	150 ns/op	1.84 x-one
`)
	verify := all["verify, first sight, RS256 / the bare verification"]
	assert.Equal(t, 1.09, verify.value)
	assert.Equal(t, 36000.0, verify.ns)
	assert.Equal(t, "met", verify.must.verdict(verify.value))
	rotate := all["read and rotate a session, SQLite / the two statements alone"]
	assert.Equal(t, "**missed**", rotate.must.verdict(rotate.value))
	assert.Equal(t, "not measured", none.verdict(all["read and rotate a session, Redis / the two statements alone"].value))
	cores := all["requests on two cores, seen before, HS256, `ShareClaims` / on one (how many times as many)"]
	assert.Equal(t, 1.84, cores.value)
}

func TestALimitIsMetAtTheLimit(t *testing.T) {
	assert.Equal(t, "met", atMost(2).verdict(2))
	assert.Equal(t, "**missed**", atMost(2).verdict(2.001))
	assert.Equal(t, "met", atLeast(20).verdict(20))
	assert.Equal(t, "**missed**", atLeast(20).verdict(19.999))
}

func TestTablesPutRatiosAndTheFastestFirst(t *testing.T) {
	var b strings.Builder
	writeTables(&b, read(t, first))
	assert.Regexp(t, `(?s)\| floor \|.*\| golang-jwt-parts \|.*\| \*\*tokenloop\*\* \|.*\| golang-jwt \|`, b.String())
	assert.Contains(t, b.String(), "### Verify, alg=HS256, sight=first, mode=serial")
	assert.Contains(t, b.String(), "| | × floor | × fastest peer | × golang-jwt | ns | B | allocs | spread |")
	assert.Contains(t, b.String(), "| **tokenloop** | 1.99 | 0.200 | 0.200 | 200 | 900 | 9 | 0 % |")
}

func TestNumbersHaveThreeDigits(t *testing.T) {
	for v, want := range map[float64]string{0.0312: "0.0312", 0.25: "0.250", 1.066: "1.07", 0.9996: "1.00", 99.96: "100", 23.46: "23.5", 417.2: "417", 1144000: "1144000", math.NaN(): "-"} {
		assert.Equal(t, want, number(v))
	}
	for ns, want := range map[float64]string{0.5: "0.500 ns", 417.2: "417 ns", 999.6: "1.00 µs", 1950: "1.95 µs", 1144000: "1.14 ms", math.NaN(): ""} {
		assert.Equal(t, want, duration(ns))
	}
}

func TestARunThatCannotBeIsRefused(t *testing.T) {
	assert.Error(t, run(t.Context(), io.Discard, options{rounds: 0, benchtime: "1x", bench: "."}))
	assert.Error(t, run(t.Context(), io.Discard, options{rounds: 1, benchtime: "1x", bench: "Verify", publish: true}), "a part is not published")
	assert.Error(t, run(t.Context(), io.Discard, options{from: "main.go"}), "no rows")
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	assert.ErrorIs(t, run(ctx, io.Discard, options{rounds: 1, benchtime: "1x", bench: "."}), context.DeadlineExceeded)
}
