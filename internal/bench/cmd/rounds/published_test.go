package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What the repository shows is what this program makes of the results in it: after
// a change of the program, "go run ./cmd/rounds -from results.txt -publish".
func TestWhatIsPublishedIsMadeOfTheResults(t *testing.T) {
	content := func(name string) string {
		data, err := os.ReadFile("../../" + name)
		require.NoError(t, err)
		return string(data)
	}
	res := read(t, content("results.txt"))
	require.Empty(t, res.leftOut, "what is published is of every engine")
	assert.Equal(t, chart(res), content("chart.svg"))
	readme := content("../../README.md")
	again, err := within(readme, table(res))
	require.NoError(t, err)
	assert.Equal(t, again, readme)
	for _, target := range targets(res) {
		assert.NotEqual(t, "not measured", target.must.verdict(target.value), "%s, of %s", target.what, target.beside)
	}
}

func TestTheTablePutsTheRatioFirst(t *testing.T) {
	res := read(t, head("go1.26.8", "100ms"), first, `
No Redis answers: its rows are left out.
BenchmarkBeside/work=verify/alg=RS256/impl=tokenloop-2   	1	36000 ns/op	1.104 x-bare
No Redis answers: its rows are left out.
`)
	text := table(res)
	assert.Contains(t, text, "\n| verify, first sight, RS256 | the bare verification | 1.104 | ≤ 1.1 | **missed** | 36.0 µs |\n")
	assert.Contains(t, text, "\n| verify, first sight, HS256 | (allocations) | 9 | ≤ 16 | met |  |\n")
	assert.Contains(t, text, "\n| read and rotate a session, Redis | the two statements alone | - | ≤ 1.25 | not measured |  |\n")
	assert.NotContains(t, text, "| the floor | 1.99", "wishes are not there")
	assert.True(t, strings.HasSuffix(text, "\nSome CPU, 2 cores, go1.26.8; 1 rounds of 100ms a row.\nNo Redis answers: its rows are left out.\n"), text)
}

func TestOnlyWhatIsBetweenTheMarksIsReplaced(t *testing.T) {
	document, err := within("a\n"+openMark+"\nold\n"+closeMark+"\nb\n", "new\n")
	require.NoError(t, err)
	assert.Equal(t, "a\n"+openMark+"\nnew\n"+closeMark+"\nb\n", document)
	for _, bad := range []string{"", openMark, closeMark, closeMark + openMark, openMark + closeMark + openMark, openMark + closeMark + closeMark} {
		_, err := within(bad, "new\n")
		assert.Error(t, err, bad)
	}
}

func TestTheChartIsWellFormedAndShowsWhatWasMeasured(t *testing.T) {
	rows := []string{"cpu: A <fast> & small CPU\n",
		"BenchmarkBeside/work=verify/alg=RS256/impl=tokenloop-2 \t 1\t 36000 ns/op\t 1.104 x-bare\n",
		"BenchmarkBeside/work=verify/alg=RS256/impl=keyfunc-2 \t 1\t 46000 ns/op\t 1.36 x-bare\n",
		"BenchmarkBeside/work=verify/alg=RS256/impl=odd<name-2 \t 1\t 40000 ns/op\t 1.2 x-bare\n",
	}
	image := chart(read(t, rows...))
	decoder := xml.NewDecoder(strings.NewReader(image))
	for {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			break
		} else {
			require.NoError(t, err)
		}
	}
	assert.Contains(t, image, "A &lt;fast&gt; &amp; small CPU")
	for _, text := range []string{">1.10 ×<", ">1.36 ×<", ">golang-jwt + keyfunc<", ">odd&lt;name<"} {
		assert.Contains(t, image, text)
	}
	assert.NotContains(t, image, "Redis", "what was not measured is not there")
	assert.NotContains(t, image, "NaN")
	assert.Less(t, strings.Index(image, ">1.20 ×<"), strings.Index(image, ">1.36 ×<"), "the shortest first")
	slices.Reverse(rows)
	assert.Equal(t, image, chart(read(t, rows...)), "the same samples, the same bytes")
}

// The labels are left of the bars.
func TestLabelsFit(t *testing.T) {
	for _, impl := range []string{"golang-jwt", "keyfunc", "auth0", "jwtauth", "jwx", "go-oidc", "cristalhq", "pascaldekloe", "echo-jwt", "gin-jwt"} {
		assert.LessOrEqual(t, len(label(impl)), 20)
	}
}
