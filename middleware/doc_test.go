package middleware_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/internal/doctables"
)

// The package comment names the tests that prove what it says. They are there,
// and every section has its line.
func TestTheTablesNameTestsThatExist(t *testing.T) {
	doctables.Check(t, 30, map[string][]string{
		"# draft-ietf-oauth-status-list, rule by rule": {"4.1", "4.2", "5.1", "6.2", "7", "8.1", "8.3", "11.3", "11.4", "11.5", "13.7"},
		"# RFC 8725, rule by rule":                     {"3.1", "3.2", "3.3", "3.4", "3.5", "3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12"},
		"# RFC 6750, rule by rule":                     {"2", "2.1", "2.2", "2.3", "3", "3.1", "4", "5.1", "5.2", "5.3"},
		"# RFC 9449, rule by rule":                     {"4.3", "5.1", "6.1", "7.1", "7.2", "8.1", "8.2", "9", "11.1", "11.2", "11.3", "11.4", "11.5", "11.6", "11.7", "11.8", "11.10"},
		"# RFC 8705, rule by rule":                     {"3", "3.1", "6.5"},
		"# RFC 9470, rule by rule":                     {"3", "6"},
	})
}

func TestTheLinksOfThePackageCommentLeadSomewhere(t *testing.T) {
	doctables.CheckLinks(t, "github.com/tokenloop/tokenloop", "..")
}

// The examples that the package comment sends readers to, under the names that they
// are shown with, are there.
func TestTheExamplesOfMigratingAreThere(t *testing.T) {
	comment, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	examples, err := os.ReadFile("migrating_example_test.go")
	require.NoError(t, err)
	named := regexp.MustCompile(`Example \((\w)(\w+)\)`).FindAllStringSubmatch(string(comment), -1)
	assert.Len(t, named, strings.Count(string(examples), "\nfunc Example_"))
	for _, m := range named {
		assert.Contains(t, string(examples), "func Example_"+strings.ToLower(m[1])+m[2]+"()")
	}
}
