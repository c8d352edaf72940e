package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/examples/internal/exampletest"
	"github.com/tokenloop/tokenloop/middleware"
)

func TestTheStoryIsTrue(t *testing.T) { exampletest.Story(t, play, 3) }

// Another implementation and ours read each other's lists.
func TestAnotherImplementation(t *testing.T) {
	node := install(t)
	t.Run("their verifier reads our list", func(t *testing.T) { theirVerifier(t, node) })
	t.Run("our verifier reads their list", func(t *testing.T) { ourVerifier(t, node) })
}

func theirVerifier(t *testing.T, node func(in, out any)) {
	w, err := newWorld()
	require.NoError(t, err)
	t.Cleanup(w.close)
	alice, err := w.login(t.Context(), "alice")
	require.NoError(t, err)
	bob, err := w.login(t.Context(), "bob")
	require.NoError(t, err)
	for _, want := range []int{0, 1} {
		type status struct {
			Token, List, Named bool
			Type, Typ          string
			TTL, Size, Status  int
		}
		var got []status
		node(map[string]any{"jwks": w.issuer.URL + "/.well-known/jwks.json", "tokens": []string{alice.Access, bob.Access}}, &got)
		good := status{Token: true, List: true, Named: true, Type: "application/statuslist+jwt", Typ: "statuslist+jwt", TTL: 30, Size: 1_048_576}
		out := good
		out.Status = want
		assert.Equal(t, []status{out, good}, got)
		code, _, err := w.send(t.Context(), "POST", w.issuer.URL+"/auth/logout", alice.Access, "")
		require.NoError(t, err)
		require.Equal(t, 204, code)
		w.clock.Advance(2 * time.Second)
	}
}

func ourVerifier(t *testing.T, node func(in, out any)) {
	for bits, statuses := range map[int][]int{
		1: {0, 1, 1, 0, 0, 0, 0, 1, 1, 0},
		2: {0, 1, 2, 3, 0, 2, 0, 0},
		4: {0, 1, 2, 0, 15, 0},
		8: {0, 255, 2, 0, 1},
	} {
		var made struct {
			JWKS   json.RawMessage
			List   string
			Tokens []string
		}
		server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(made.List)) }))
		t.Cleanup(server.Close)
		node(map[string]any{
			"uri": server.URL + "/statuslists/1", "bits": bits, "statuses": statuses,
			"claims": map[string]string{"iss": "https://id.example.com", "aud": "orders", "sub": "alice"},
		}, &made)
		keys := middleware.LocalJWKS(func() []byte { return made.JWKS })
		auth, err := middleware.New(middleware.Config{
			Keys: keys, Issuer: "https://id.example.com", Audience: []string{"orders"},
			StatusList: middleware.NewStatusList(server.URL+"/statuslists/1", keys, middleware.StatusListOptions{Client: server.Client()}),
		})
		require.NoError(t, err)
		require.Len(t, made.Tokens, len(statuses))
		for n, status := range statuses {
			_, err := auth.Verify(t.Context(), made.Tokens[n])
			if status == 0 {
				assert.NoError(t, err, "%d bits, entry %d", bits, n)
				continue
			}
			assert.ErrorIs(t, err, jwterrors.TokenInvalidated, "%d bits, entry %d", bits, n)
		}
	}
}

// install returns a function that has Node answer. It skips the test where there is
// no Node, or no package.
func install(t *testing.T) func(in, out any) {
	t.Helper()
	folder := t.TempDir()
	require.NoError(t, os.CopyFS(folder, os.DirFS("client")))
	npm := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	npm.Dir = folder
	if out, err := npm.CombinedOutput(); err != nil {
		if os.Getenv("TOKENLOOP_TEST_REQUIRE") != "" {
			t.Fatalf("npm ci: %v: %s", err, out)
		}
		t.Skipf("needs Node and the package @sd-jwt/jwt-status-list: npm ci: %v", err)
	}
	return func(in, out any) {
		t.Helper()
		data, err := json.Marshal(in)
		require.NoError(t, err)
		var refused strings.Builder
		cmd := exec.CommandContext(t.Context(), "node", "status.mjs")
		cmd.Dir, cmd.Stdin, cmd.Stderr = folder, bytes.NewReader(data), &refused
		answer, err := cmd.Output()
		require.NoError(t, err, refused.String())
		require.NoError(t, json.Unmarshal(answer, out))
	}
}
