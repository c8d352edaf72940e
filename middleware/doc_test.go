package middleware_test

import (
	"testing"

	"github.com/tokenloop/tokenloop/internal/doctables"
)

// The package comment names the tests that prove what it says. They are there,
// and every section has its line.
func TestTheTablesNameTestsThatExist(t *testing.T) {
	doctables.Check(t, 30, map[string][]string{
		"# RFC 8725, rule by rule": {"3.1", "3.2", "3.3", "3.4", "3.5", "3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12"},
		"# RFC 6750, rule by rule": {"2", "2.1", "2.2", "2.3", "3", "3.1", "4", "5.1", "5.2", "5.3"},
	})
}

func TestTheLinksOfThePackageCommentLeadSomewhere(t *testing.T) {
	doctables.CheckLinks(t, "github.com/tokenloop/tokenloop", "..")
}
