package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/middleware"
)

// The scopes of the service. Every request needs the first.
const (
	scopeRead  = "notes:read"
	scopeWrite = "notes:write"
)

// toolScopes are the scopes that tools need beyond scopeRead.
var toolScopes = map[string]string{"add_note": scopeWrite}

// A service is an MCP server and, for the story, its issuer too. In real life that
// one is somewhere else, and the service knows its URL alone.
type service struct {
	url      string
	handler  http.Handler
	metadata middleware.ProtectedResourceMetadata
	issuer   *issuer.Issuer
	key      *issuer.Key
	notes    notes
}

func (s *service) endpoint() string { return s.url + "/mcp" }

func newService(url string) (*service, error) {
	s := &service{url: url}
	s.metadata = middleware.ProtectedResourceMetadata{
		Resource: s.endpoint(), AuthorizationServers: []string{url}, ScopesSupported: []string{scopeRead},
		BearerMethodsSupported: []string{"header"}, InsecureAllowHTTP: true, // on loopback
	}
	metadata, err := s.metadata.Handler()
	if err != nil {
		return nil, err
	}
	if s.issuer, err = s.newIssuer(); err != nil {
		return nil, err
	}
	// A token for another service is refused by its audience, which MCP insists on.
	auth, err := middleware.New(middleware.Config{
		Keys: middleware.LocalJWKS(s.issuer.JWKS), Issuer: url, Audience: []string{s.endpoint()},
		ResourceMetadata: s.metadata.URL(),
	})
	if err != nil {
		return nil, err
	}
	tools := s.tools()
	streamable := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return tools }, &mcp.StreamableHTTPOptions{Stateless: true})
	guarded := middleware.RequireScopes(scopeRead)(requireToolScopes(streamable))

	mux := http.NewServeMux()
	mux.Handle("/mcp", auth.Handler(guarded))
	mux.Handle("GET /.well-known/oauth-protected-resource/mcp", metadata)
	mux.Handle("/.well-known/", s.issuer.WellKnown())
	mux.Handle("/auth/", s.issuer)
	mux.HandleFunc("GET /authorize", s.consent)
	s.handler = mux
	return s, nil
}

func (s *service) newIssuer() (*issuer.Issuer, error) {
	var err error
	if s.key, err = issuer.GenerateKey(issuer.ES256); err != nil {
		return nil, err
	}
	ring, err := issuer.NewKeyRing(issuer.KeyRingConfig{Key: s.key})
	if err != nil {
		return nil, err
	}
	master := make([]byte, 32) // in a real service both keys come from its configuration
	rand.Read(master)
	return issuer.New(issuer.Config{
		Issuer: s.url, Audience: []string{s.endpoint()}, Keys: ring,
		MasterKeys: []issuer.MasterKey{{Secret: master}}, Store: issuer.NewMemoryStore(),
		Authenticate: func(context.Context, issuer.Credentials) (issuer.User, error) {
			return issuer.User{}, jwterrors.CredentialsInvalid // there is no login but that of the page
		},
		Clients: []issuer.Client{{
			ID: clientID, RedirectURIs: []string{redirectURI}, Scopes: []string{scopeRead, scopeWrite},
			Grants: []string{issuer.GrantAuthorizationCode, issuer.GrantRefreshToken},
		}},
		Grants:                []string{issuer.GrantAuthorizationCode, issuer.GrantRefreshToken},
		AuthorizationEndpoint: s.url + "/authorize",
	})
}

// consent stands for the page that logs alice in and asks her. In the story she
// allows everything at once: examples/server has a page that asks.
func (s *service) consent(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	code, err := s.issuer.GrantCode(r.Context(), issuer.CodeRequest{
		ClientID: q.Get("client_id"), RedirectURI: q.Get("redirect_uri"), Scope: q.Get("scope"),
		CodeChallenge: q.Get("code_challenge"), CodeChallengeMethod: q.Get("code_challenge_method"),
		User: issuer.User{ID: "alice", Scopes: []string{scopeRead, scopeWrite}}, DPoPJKT: q.Get("dpop_jkt"),
	})
	if err != nil {
		http.Error(w, "this cannot be allowed", http.StatusBadRequest)
		return
	}
	answer := url.Values{"code": {code}, "state": {q.Get("state")}}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+answer.Encode(), http.StatusFound)
}

// maxRequestBytes limits a request of the protocol.
const maxRequestBytes = 1 << 20

// requireToolScopes challenges a call of a tool without its scope, so that the client
// asks for it. All tools are behind one URL, and this looks at the call as it reads
// JSON; the server may read it otherwise. The tools themselves have the last word.
func requireToolScopes(next http.Handler) http.Handler {
	guarded := map[string]http.Handler{}
	for tool, scope := range toolScopes {
		guarded[tool] = middleware.RequireScopes(scope)(next)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequestBytes))
		if err != nil {
			http.Error(w, "the request is too long", http.StatusRequestEntityTooLarge)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if len(body) == 0 {
			next.ServeHTTP(w, r)
			return
		}
		var message struct {
			Method string `json:"method"`
			Params struct {
				Name string `json:"name"`
			} `json:"params"`
		}
		if json.Unmarshal(body, &message) != nil { // a batch, which may hold any call
			http.Error(w, "one request at a time", http.StatusBadRequest)
			return
		}
		if handler, ok := guarded[message.Params.Name]; ok && message.Method == "tools/call" {
			handler.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// tools is the MCP server. Behind the middleware it knows whose notes are asked for.
func (s *service) tools() *mcp.Server {
	server := mcp.NewServer(&mcp.Implementation{Name: "notes", Version: "1"}, nil)
	type nothing struct{}
	mcp.AddTool(server, &mcp.Tool{Name: "read_notes", Description: "read the user's notes"},
		func(ctx context.Context, _ *mcp.CallToolRequest, _ nothing) (*mcp.CallToolResult, any, error) {
			return s.answer(ctx, scopeRead, ""), nil, nil
		})
	type note struct {
		Text string `json:"text" jsonschema:"the text of the note"`
	}
	mcp.AddTool(server, &mcp.Tool{Name: "add_note", Description: "add a note"},
		func(ctx context.Context, _ *mcp.CallToolRequest, n note) (*mcp.CallToolResult, any, error) {
			return s.answer(ctx, scopeWrite, n.Text), nil, nil
		})
	return server
}

// answer adds a note, if there is one, and returns all of the user's, who must have
// the scope.
func (s *service) answer(ctx context.Context, scope, note string) *mcp.CallToolResult {
	claims, ok := middleware.FromContext(ctx)
	if !ok || !claims.HasScope(scope) {
		return &mcp.CallToolResult{IsError: true, Content: []mcp.Content{&mcp.TextContent{Text: "the scope " + scope + " is needed"}}}
	}
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: s.notes.of(claims.Subject, note)}}}
}

// notes are those of all users.
type notes struct {
	mu  sync.Mutex
	all map[string][]string
}

func (n *notes) of(user, added string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if added != "" {
		if n.all == nil {
			n.all = map[string][]string{}
		}
		n.all[user] = append(n.all[user], added)
	}
	if len(n.all[user]) == 0 {
		return user + " has no notes"
	}
	return user + ": " + strings.Join(n.all[user], ", ")
}
