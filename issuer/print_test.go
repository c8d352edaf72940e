package issuer_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

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
	config := issuer.MinterConfig{Secrets: [][]byte{masterSecret}, TTL: time.Minute}
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "config", config)
	assert.Contains(t, log.String(), "minter with 1 secrets and a TTL of 1m0s")
	assert.Equal(t, "issuer.Issuer(nil) issuer.Minter(nil)", fmt.Sprint((*issuer.Issuer)(nil), (*issuer.Minter)(nil)), "what was not made yet can be printed")
	for _, form := range []string{"%s", "%x", "%d"} {
		secret := fmt.Sprintf(form, masterSecret)
		assert.NotContains(t, log.String(), secret[1:len(secret)-1], form)
	}
	assert.Contains(t, log.String(), issuerURL)
}

func TestPrintingASessionShowsNothingThatMakesTokens(t *testing.T) {
	canary := []byte("s3cret-canary-of-a-session-seed!")
	s := issuer.Session{ID: "s1", Subject: "alice", Seed: canary, RetryHash: canary}
	rotation := issuer.Rotation{Generation: 7, RetryHash: canary}
	values := []any{s, &s, rotation, &rotation, []issuer.Session{s}, map[string]*issuer.Session{"x": &s}, struct{ S issuer.Session }{s}}
	var log bytes.Buffer
	for _, v := range values {
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			fmt.Fprintf(&log, verb+"\n", v)
		}
	}
	for _, form := range []string{string(canary), fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary), fmt.Sprint(canary[:4]),
		"115 51 99", "0x73, 0x33", base64.StdEncoding.EncodeToString(canary)} {
		assert.False(t, strings.Contains(log.String(), strings.Trim(form, "[]")), form)
	}
	assert.True(t, strings.Contains(log.String(), `"v":"session s1"`))
	assert.Contains(t, log.String(), "rotation to generation 7")
}

func ExampleSession() {
	fmt.Printf("%+v\n", issuer.Session{ID: "s1", Seed: []byte("an obviously fake seed, 32 bytes")})
	// Output: session s1
}

func ExampleIssuer_Format() {
	iss, err := issuer.New(exampleConfig())
	fmt.Println(iss, err)
	// Output: issuer.Issuer(https://id.example.com) <nil>
}
