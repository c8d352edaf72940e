package issuer_test

import (
	"testing"

	"github.com/tokenloop/tokenloop/internal/doctables"
)

// The package comment names the tests that prove what it says. They are there,
// and every section has its line.
func TestTheTablesNameTestsThatExist(t *testing.T) {
	doctables.Check(t, 30, map[string][]string{
		"# draft-ietf-oauth-status-list, rule by rule": {"4.1", "5.1", "6.2", "7", "8.1", "8.2", "8.4", "9", "13.3", "13.7"},
		"# RFC 6749 and RFC 7636, rule by rule":        {"2.3.1", "3.2", "4.1.1", "4.1.2", "4.1.3", "4.4", "5.1", "5.2", "6"},
		"# RFC 7009, rule by rule":                     {"2.1", "2.2", "2.2.1"},
		"# RFC 7662, rule by rule":                     {"2.1", "2.2", "4"},
		"# RFC 8414, rule by rule":                     {"2", "3", "3.1"},
		"# RFC 8707, rule by rule":                     {"2"},
		"# RFC 8705, rule by rule":                     {"3", "3.1", "3.2", "3.3", "3.4", "4", "6.5"},
		"# RFC 9068, rule by rule":                     {"2.1", "2.2", "2.2.1", "2.2.3", "3", "4", "5"},
		"# RFC 9449, rule by rule":                     {"4.3", "5", "5.1", "5.2", "6.1", "6.2", "7.1", "7.2", "8", "8.2", "9", "10", "11.1", "11.2", "11.3", "11.5", "11.6", "11.7", "11.8", "11.9"},
		"# RFC 9700, rule by rule":                     {"2.1", "2.1.1", "2.1.2", "2.2.2", "2.3", "2.4", "2.5", "2.6", "4.5", "4.14.2"},
	})
}

func TestTheLinksOfThePackageCommentLeadSomewhere(t *testing.T) {
	doctables.CheckLinks(t, "github.com/tokenloop/tokenloop", "..")
}
