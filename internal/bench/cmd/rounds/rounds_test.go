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
	assert.Equal(t, "golang-jwt", r.fastestPeer(hsFirst).impl, "the faster ones are not peers")

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
	assert.True(t, math.IsNaN(r.find("Beside", "nobody").median("x-bare")))
}

func TestARatioIsTheMedianOfThoseWithinARound(t *testing.T) {
	r := read(t, first, second, third)
	us, them := r.find(hsFirst, "tokenloop"), r.find(hsFirst, "golang-jwt")
	assert.InDelta(t, 0.21, ratio(us, them), 1e-9)
	assert.InDelta(t, 900, us.ns(), 1e-9)
	assert.InDelta(t, (2100.0-200)/900, us.spread(), 1e-9)
	assert.True(t, math.IsNaN(ratio(us, nil)))
}

func TestTheMedianOfAnEvenNumberIsBetweenTheMiddleOnes(t *testing.T) {
	assert.Equal(t, 2.5, median([]float64{4, 1, 3, 2}))
	assert.Equal(t, 3.0, median([]float64{9, 1, 3}))
}

func TestTargetsAreJudged(t *testing.T) {
	judged := map[string]target{}
	for _, target := range targets(read(t, first)) {
		require.NotContains(t, judged, target.what, "said twice")
		judged[target.what] = target
	}
	golangJWT := judged["first sight, HS256, of golang-jwt"]
	assert.InDelta(t, 0.2, golangJWT.value, 1e-9)
	assert.Equal(t, "met", golangJWT.must.verdict(golangJWT.value))
	assert.Equal(t, "", golangJWT.stretch.verdict(golangJWT.value))
	floor := judged["first sight, HS256, of the floor"]
	assert.Equal(t, "**missed**", floor.stretch.verdict(floor.value))
	allocs := judged["first sight, HS256, allocations"]
	assert.Equal(t, "met", allocs.must.verdict(allocs.value))
	assert.Equal(t, "**missed**", allocs.stretch.verdict(allocs.value))
	issuing := judged["issuing, RS256, of the bare signature"]
	assert.Equal(t, "not measured", issuing.must.verdict(issuing.value))
}

func TestWhatGrowsIsJudged(t *testing.T) {
	for _, target := range targets(read(t, `
BenchmarkKeys/alg=ES256/keys=1/mode=serial/impl=tokenloop-2   	1000	100 ns/op
BenchmarkKeys/alg=ES256/keys=10/mode=serial/impl=tokenloop-2  	1000	110 ns/op
BenchmarkKeys/alg=ES256/keys=100/mode=serial/impl=tokenloop-2 	1000	120 ns/op
BenchmarkDenylist/alg=HS256/sight=first/entries=0/mode=serial/impl=tokenloop-2        	1000	100 ns/op
BenchmarkDenylist/alg=HS256/sight=first/entries=1000000/mode=serial/impl=tokenloop-2  	1000	160 ns/op
`)) {
		switch target.what {
		case "100 keys, ES256, of one key":
			assert.InDelta(t, 1.2, target.value, 1e-9)
			assert.Equal(t, "met", target.must.verdict(target.value))
			assert.Equal(t, "**missed**", target.stretch.verdict(target.value))
		case "a million entries in the denylist, first sight, of none":
			assert.Equal(t, "**missed**", target.must.verdict(target.value))
		default:
			assert.True(t, math.IsNaN(target.value), target.what)
		}
	}
}

func TestALimitIsMetAtTheLimit(t *testing.T) {
	assert.Equal(t, "met", atMost(2).verdict(2))
	assert.Equal(t, "**missed**", atMost(2).verdict(2.001))
	assert.Equal(t, "met", atLeast(20).verdict(20))
	assert.Equal(t, "**missed**", atLeast(20).verdict(19.999))
}

func TestTablesPutRatiosFirst(t *testing.T) {
	var b strings.Builder
	writeTables(&b, read(t, first))
	assert.Contains(t, b.String(), "### Verify, alg=HS256, sight=first, mode=serial")
	assert.Contains(t, b.String(), "| | × floor | × fastest peer | × golang-jwt | ns | B | allocs | spread |")
	assert.Contains(t, b.String(), "| **tokenloop** | 1.99 | 0.200 | 0.200 | 200 | 900 | 9 | 0 % |")
}

func TestNumbersHaveThreeDigits(t *testing.T) {
	for v, want := range map[float64]string{0.0312: "0.0312", 0.25: "0.250", 1.066: "1.07", 23.46: "23.5", 417.2: "417", 1144000: "1144000"} {
		assert.Equal(t, want, number(v))
	}
}

func TestARunThatCannotBeIsRefused(t *testing.T) {
	assert.Error(t, run(t.Context(), io.Discard, 0, "1x", ".", ""))
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	assert.ErrorIs(t, run(ctx, io.Discard, 1, "1x", ".", ""), context.DeadlineExceeded)
}
