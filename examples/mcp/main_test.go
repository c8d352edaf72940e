package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
)

func TestTheStoryIsTrue(t *testing.T) {
	var out strings.Builder
	require.NoError(t, play(t.Context(), &out))
	assert.Equal(t, `a request without a token is answered with 401 and where to learn more: true
the client asks alice for ["notes:read"] and connects
it reads her notes: alice has no notes
to write one it needs more, asks alice for ["notes:read notes:write"], and is served: alice: buy milk
the next one needs nobody: alice: buy milk, drink milk
`, out.String())
}

func TestAToolNeedsItsScope(t *testing.T) {
	server := httptest.NewUnstartedServer(nil)
	s, err := newService("http://" + server.Listener.Addr().String())
	require.NoError(t, err)
	server.Config.Handler = s.handler
	server.Start()
	defer server.Close()

	post := func(token, body string) (*http.Response, string) {
		req, err := http.NewRequest("POST", s.endpoint(), strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
		resp, err := server.Client().Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp, string(answer)
	}
	reader := tokenOf(t, s, scopeRead, s.endpoint())
	const read = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_notes","arguments":{}}}`
	const add = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add_note","arguments":{"text":"stolen"}}}`

	resp, body := post(reader, read)
	assert.Equal(t, 200, resp.StatusCode, body)
	resp, _ = post(reader, add)
	assert.Equal(t, 403, resp.StatusCode)
	assert.Contains(t, resp.Header.Get("WWW-Authenticate"), `scope="notes:write"`)
	resp, body = post(tokenOf(t, s, scopeRead+" "+scopeWrite, s.endpoint()), strings.ReplaceAll(add, "stolen", "mine"))
	assert.Equal(t, 200, resp.StatusCode)
	assert.Contains(t, body, "mine")

	// What the guard reads otherwise than the server does, the tool refuses.
	for _, smuggled := range []string{
		strings.Replace(add, `"name":"add_note"`, `"name":"add_note","NAME":"read_notes"`, 1),
		strings.Replace(add, `"method":"tools/call"`, `"method":"tools/call","METHOD":"ping"`, 1),
		"[" + add + "]",
	} {
		post(reader, smuggled)
	}
	_, body = post(reader, read)
	assert.NotContains(t, body, "stolen")
	assert.Contains(t, body, "mine")

	// A token that the same issuer made for another service is none for this one.
	resp, _ = post(tokenOf(t, s, scopeRead, "https://another.example.com"), read)
	assert.Equal(t, 401, resp.StatusCode)
	assert.Contains(t, resp.Header.Get("WWW-Authenticate"), string(jwterrors.TokenAudienceInvalid))
}

// tokenOf returns an access token of alice.
func tokenOf(t *testing.T, s *service, scope, audience string) string {
	t.Helper()
	minter, err := issuer.NewMinter(issuer.MinterConfig{Key: s.key, TTL: time.Minute, Claims: map[string]any{
		"iss": s.url, "sub": "alice", "aud": audience, "scope": scope,
	}})
	require.NoError(t, err)
	token, err := minter.Mint(t.Context(), issuer.UserID("alice"))
	require.NoError(t, err)
	return token
}
