package issuer_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/tokenloop/tokenloop/issuer"
)

func TestPrintingShowsNoKey(t *testing.T) {
	f := newFixture(t, nil)
	key := must(issuer.NewSecretKey(masterSecret))
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "issuer", f.issuer, "key", *key)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "issuer", f.issuer, "key", *key)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&log, verb+"\n", f.issuer)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		fmt.Fprintf(&log, verb+"\n", *key)
	}
	for _, form := range []string{"%s", "%x", "%d"} {
		secret := fmt.Sprintf(form, masterSecret)
		assert.NotContains(t, log.String(), secret[1:len(secret)-1], form)
	}
	assert.Contains(t, log.String(), issuerURL)
}

func ExampleIssuer_String() {
	iss, err := issuer.New(exampleConfig())
	fmt.Println(iss, err)
	// Output: issuer.Issuer(https://id.example.com) <nil>
}
