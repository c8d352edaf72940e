package main

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
)

func Example() {
	main()
	// Output: 200 hello user123
}

var (
	older = []byte("an obviously fake secret, 32+ bytes long")
	newer = []byte("another obviously fake secret, 32+ bytes")
)

// IT-06, IT-07, IT-08, IT-10, IT-33: what the Minter makes, the middleware takes, and
// nothing else.
func TestMintedTokens(t *testing.T) {
	then := func() time.Time { return time.Unix(1640000000, 0) }
	for _, c := range []struct {
		name    string
		config  issuer.MinterConfig
		user    issuer.Identity
		secrets [][]byte // of the API
		want    jwterrors.Reason
	}{
		{"a user's own", issuer.MinterConfig{Secrets: [][]byte{older}}, issuer.UserID("user123"), [][]byte{older}, ""},
		{"another user's", issuer.MinterConfig{Secrets: [][]byte{older}}, issuer.UserID("user124"), [][]byte{older}, jwterrors.TokenUserKeyInvalid},
		{"of an email", issuer.MinterConfig{Secrets: [][]byte{older}}, issuer.Email("user123"), [][]byte{older}, jwterrors.TokenUserKeyInvalid},
		{"the documented one, which is of 2021", issuer.MinterConfig{Secrets: [][]byte{older}, TTL: 24 * time.Hour, Now: then}, issuer.UserID("user123"), [][]byte{older}, jwterrors.TokenExpired},
		{"with the new secret, where both are known", issuer.MinterConfig{Secrets: [][]byte{newer, older}}, issuer.UserID("user123"), [][]byte{older, newer}, ""},
		{"with the old secret, where both are known", issuer.MinterConfig{Secrets: [][]byte{older}}, issuer.UserID("user123"), [][]byte{newer, older}, ""},
		{"with the old secret, which is gone", issuer.MinterConfig{Secrets: [][]byte{older}}, issuer.UserID("user123"), [][]byte{newer}, jwterrors.TokenSignatureInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			minter, err := issuer.NewMinter(c.config)
			if err != nil {
				t.Fatal(err)
			}
			token, err := minter.Mint(context.Background(), c.user)
			if err != nil {
				t.Fatal(err)
			}
			api, err := newAPI(c.secrets...)
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest("GET", "/users/user123", nil)
			r.Header.Set("Authorization", "Bearer "+token)
			w := httptest.NewRecorder()
			api.ServeHTTP(w, r)
			resp := w.Result()
			var reason jwterrors.Reason
			if e := jwterrors.FromResponse(resp); e != nil {
				reason = e.Reason
			}
			if reason != c.want || reason == "" && resp.StatusCode != 200 {
				t.Errorf("got %d %s, want %q", resp.StatusCode, reason, c.want)
			}
		})
	}
}
