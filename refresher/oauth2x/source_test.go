package oauth2x_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
	"github.com/tokenloop/tokenloop/refresher/oauth2x"
)

// However many ask, one grant replaces the token: after it has expired, when the
// API refuses it early, and by hand while it is good for an hour.
func TestEachSourceRenews(t *testing.T) {
	for name, source := range map[string]func(*server, *oauth2.Token) refresher.Source{
		"RefreshGrant": func(s *server, _ *oauth2.Token) refresher.Source {
			return oauth2x.RefreshGrant{Config: s.config(), InsecureAllowHTTP: true}
		},
		"TokenFunc": func(s *server, _ *oauth2.Token) refresher.Source {
			c := &clientcredentials.Config{ClientID: clientID, ClientSecret: secret, TokenURL: s.URL + "/token"}
			return oauth2x.TokenFunc(c.Token)
		},
		"FromTokenSource": func(s *server, first *oauth2.Token) refresher.Source {
			return oauth2x.FromTokenSource(s.config().TokenSource(context.Background(), first))
		},
		"FromTokenSource, of one around another": func(s *server, first *oauth2.Token) refresher.Source {
			inner := oauth2.ReuseTokenSource(first, s.config().TokenSource(context.Background(), first))
			return oauth2x.FromTokenSource(oauth2.ReuseTokenSourceWithExpiry(nil, inner, time.Minute))
		},
	} {
		t.Run(name, func(t *testing.T) {
			for when, c := range map[string]struct {
				life time.Duration
				do   func(s *server, tr *refresher.Transport)
			}{
				"expired": {-time.Minute, func(*server, *refresher.Transport) {}},
				"refused": {time.Hour, func(s *server, _ *refresher.Transport) { s.revoke() }},
				"by hand": {time.Hour, func(_ *server, tr *refresher.Transport) { require.NoError(t, tr.Refresh(t.Context())) }},
			} {
				t.Run(when, func(t *testing.T) {
					s := newServer(t)
					first := s.login(c.life)
					tr := s.newTransport(t, source(s, first), oauth2x.FromToken(first))
					c.do(s, tr)
					client := tr.Client()
					var ok atomic.Int64
					var wg sync.WaitGroup
					for range 50 {
						wg.Go(func() {
							if status, body := s.get(t, client); status == 200 && body == "hello" {
								ok.Add(1)
							}
						})
					}
					wg.Wait()
					assert.EqualValues(t, 50, ok.Load())
					grants, _ := s.seen()
					assert.Equal(t, 1, grants)
					tokens, _ := tr.Tokens()
					assert.NotEqual(t, first.AccessToken, tokens.AccessToken)
					assert.Equal(t, "read write", tokens.Scope)
					assert.WithinDuration(t, time.Now().Add(time.Hour), tokens.Expiry, 10*time.Second)
				})
			}
		})
	}
}

// The refresh token that is exchanged is the one that the Transport has, after
// each rotation and also when the server gives out no other (JG-03).
func TestARefreshGrantKeepsNothing(t *testing.T) {
	s := newServer(t)
	first := s.login(time.Hour)
	source := oauth2x.RefreshGrant{Config: s.config(), InsecureAllowHTTP: true}
	tr := s.newTransport(t, source, oauth2x.FromToken(first))
	var keys []string
	for range 2 {
		tokens, _ := tr.Tokens()
		keys = append(keys, tokens.RetryKey)
		require.NoError(t, tr.Refresh(t.Context()))
	}
	s.with(func() {
		require.Len(t, s.forms, 2)
		assert.Equal(t, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"refresh-1"}}, s.forms[0])
		assert.Equal(t, "refresh-2", s.forms[1].Get("refresh_token"))
		assert.Equal(t, keys, s.keys, "a refresh whose answer was lost can be told from a replay")
		s.keeps = true
	})
	before, _ := tr.Tokens()
	assert.WithinDuration(t, time.Now().Add(time.Hour), before.RefreshExpiry, 10*time.Second)
	require.NoError(t, tr.Refresh(t.Context()))
	after, _ := tr.Tokens()
	assert.Equal(t, "refresh-3", after.RefreshToken)
	assert.NotEqual(t, before.AccessToken, after.AccessToken)

	_, err := source.Refresh(t.Context(), refresher.Tokens{AccessToken: "x"})
	assert.ErrorIs(t, err, jwterrors.RefreshTokenMissing)
	grants, _ := s.seen()
	assert.Equal(t, 3, grants, "nobody is called for that")
}

// What the token endpoint answers belongs to one of three kinds, and stays an
// *oauth2.RetrieveError with its code.
func TestWhatTheTokenEndpointAnswers(t *testing.T) {
	const asJSON, form = "application/json", "application/x-www-form-urlencoded"
	for _, c := range []struct {
		name         string
		status       int
		contentType  string
		body         string
		action       jwterrors.Action
		reason       jwterrors.Reason
		code         string // of the RetrieveError
		noRetrieving bool   // golang.org/x/oauth2 has another error
	}{
		{"invalid_grant", 400, asJSON, `{"error":"invalid_grant","error_description":"token refresh-1 is used up"}`, jwterrors.ActionLogin, jwterrors.RefreshTokenInvalid, "invalid_grant", false},
		{"invalid_grant as a form", 400, form, "error=invalid_grant", jwterrors.ActionLogin, jwterrors.RefreshTokenInvalid, "invalid_grant", false},
		{"invalid_grant with 200", 200, asJSON, `{"error":"invalid_grant"}`, jwterrors.ActionLogin, jwterrors.RefreshTokenInvalid, "invalid_grant", false},
		{"a reason of our own", 400, asJSON, `{"error":"invalid_grant","reason":"AUTH_SESSION_REVOKED"}`, jwterrors.ActionLogin, jwterrors.SessionRevoked, "invalid_grant", false},
		{"invalid_grant with 500", 500, asJSON, `{"error":"invalid_grant"}`, jwterrors.ActionRetry, jwterrors.RefreshUnavailable, "invalid_grant", false},
		{"invalid_client", 401, asJSON, `{"error":"invalid_client"}`, jwterrors.ActionNone, jwterrors.ClientInvalid, "invalid_client", false},
		{"unauthorized_client", 400, asJSON, `{"error":"unauthorized_client"}`, jwterrors.ActionNone, jwterrors.ClientInvalid, "unauthorized_client", false},
		{"invalid_scope", 400, asJSON, `{"error":"invalid_scope"}`, jwterrors.ActionNone, jwterrors.ScopeInvalid, "invalid_scope", false},
		{"a code that is not known", 400, asJSON, `{"error":"interaction_required"}`, jwterrors.ActionNone, jwterrors.Paused, "interaction_required", false},
		{"a code that may be anything", 400, asJSON, `{"error":"refresh-1"}`, jwterrors.ActionNone, jwterrors.Paused, "", false},
		{"400 that explains nothing", 400, "text/html", "<html>", jwterrors.ActionNone, jwterrors.Paused, "", false},
		{"404", 404, "text/plain", "not found", jwterrors.ActionNone, jwterrors.Paused, "", false},
		{"temporarily_unavailable", 400, asJSON, `{"error":"temporarily_unavailable"}`, jwterrors.ActionRetry, jwterrors.StoreUnavailable, "temporarily_unavailable", false},
		{"429", 429, "", "", jwterrors.ActionRetry, jwterrors.RateLimited, "", false},
		{"503", 503, "", "", jwterrors.ActionRetry, jwterrors.RefreshUnavailable, "", false},
		{"a redirect", 302, "", "", jwterrors.ActionRetry, jwterrors.RefreshUnavailable, "", false},
		{"a page instead of JSON", 200, "text/html", "<html>please log in</html>", jwterrors.ActionRetry, jwterrors.RefreshUnavailable, "", true},
		{"no access token", 200, asJSON, `{}`, jwterrors.ActionRetry, jwterrors.RefreshUnavailable, "", true},
		{"no answer", 0, "", "", jwterrors.ActionRetry, jwterrors.RefreshUnavailable, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			first := s.login(time.Hour)
			s.with(func() {
				s.answer = func(w http.ResponseWriter, r *http.Request) {
					if c.status == 0 {
						panic(http.ErrAbortHandler)
					}
					w.Header().Set("Content-Type", c.contentType)
					w.Header().Set("Retry-After", "7")
					w.Header().Set("Location", "/portal?"+r.PostForm.Encode())
					w.WriteHeader(c.status)
					fmt.Fprint(w, c.body)
				}
			})
			config := s.config()
			for name, source := range map[string]refresher.Source{
				"RefreshGrant":    oauth2x.RefreshGrant{Config: config, InsecureAllowHTTP: true},
				"FromTokenSource": oauth2x.FromTokenSource(config.TokenSource(t.Context(), &oauth2.Token{RefreshToken: first.RefreshToken})),
			} {
				if name == "FromTokenSource" && c.status == 302 {
					continue // whose client follows it is for the caller to say
				}
				_, err := source.Refresh(t.Context(), oauth2x.FromToken(first))
				require.Error(t, err, name)
				assert.Equal(t, c.reason, jwterrors.ReasonOf(err), name)
				assert.Equal(t, c.action, jwterrors.ReasonOf(err).Action(), name)
				assert.NotContains(t, err.Error(), "refresh-1", "%s: the answer is not to be trusted with the log", name)
				assert.NotContains(t, err.Error(), "\n", name)
				var e *jwterrors.Error
				require.ErrorAs(t, err, &e)
				if c.status >= 300 {
					assert.Equal(t, 7*time.Second, e.RetryAfter, name)
				}
				var retrieve *oauth2.RetrieveError
				if !assert.Equal(t, !c.noRetrieving, errors.As(err, &retrieve), name) || c.noRetrieving {
					continue
				}
				assert.Equal(t, c.code, retrieve.ErrorCode, name)
				assert.Equal(t, c.status, retrieve.Response.StatusCode, name)
				assert.Nil(t, retrieve.Response.Request, "%s: it has the client's secret", name)
				assert.NotContains(t, fmt.Sprintf("%+v %+v", retrieve, retrieve.Response), "refresh-1", name)
			}
		})
	}
}

// The session ends with invalid_grant, and with nothing else.
func TestTheSessionEndsWithInvalidGrantAlone(t *testing.T) {
	for body, want := range map[string]jwterrors.Reason{
		`{"error":"invalid_grant"}`:  jwterrors.LoggedOut,
		`{"error":"invalid_client"}`: jwterrors.Paused,
		`{}`:                         jwterrors.Paused,
	} {
		s := newServer(t)
		var expired atomic.Int64
		tr := s.newTransport(t, oauth2x.RefreshGrant{Config: s.config(), InsecureAllowHTTP: true}, oauth2x.FromToken(s.login(-time.Minute)),
			func(c *refresher.Config) { c.OnSessionExpired = func(*jwterrors.Error) { expired.Add(1) } })
		s.with(func() {
			s.answer = func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(400)
				fmt.Fprint(w, body)
			}
		})
		_, _ = tr.Client().Get(s.URL + "/api")
		_, err := tr.Client().Get(s.URL + "/api")
		assert.ErrorIs(t, err, want, body)
		grants, calls := s.seen()
		assert.Equal(t, 1, grants, body)
		assert.Zero(t, calls, body)
		ended := want == jwterrors.LoggedOut
		_, active := tr.Tokens()
		assert.Equal(t, !ended, active, body)
		if ended {
			assert.Eventually(t, func() bool { return expired.Load() == 1 }, 5*time.Second, time.Millisecond)
		}
	}
}

// The refresh token and the client's secret go to the token endpoint alone.
func TestRedirectsOfTheTokenEndpointAreNotFollowed(t *testing.T) {
	for name, c := range map[string]struct {
		client *http.Client
		want   int32
	}{
		"no client":                {nil, 0},
		"a client":                 {&http.Client{}, 0},
		"a client that follows":    {&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return nil }}, 1},
		"a client that follows no": {&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("no") }}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var elsewhere atomic.Int32
			other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
			defer other.Close()
			s := newServer(t)
			// Each method and body would be kept by 307, and the body lost by 302.
			s.with(func() {
				s.answer = func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, http.StatusFound) }
			})
			_, err := oauth2x.RefreshGrant{Config: s.config(), InsecureAllowHTTP: true, Client: c.client}.Refresh(t.Context(), refresher.Tokens{RefreshToken: "refresh-1"})
			assert.ErrorIs(t, err, jwterrors.RefreshUnavailable)
			assert.Equal(t, c.want, elsewhere.Load())
			if c.client != nil {
				assert.Nil(t, c.client.Transport, "the caller's client is not changed")
				return
			}
			cc := &clientcredentials.Config{ClientID: clientID, ClientSecret: secret, TokenURL: s.URL + "/token"}
			_, err = oauth2x.TokenFunc(cc.Token).Refresh(t.Context(), refresher.Tokens{})
			assert.ErrorIs(t, err, jwterrors.RefreshUnavailable)
			assert.Zero(t, elsewhere.Load())
		})
	}
}

// Neither the first request nor one after a redirect is sent in plain.
func TestARefreshGrantTakesHTTPS(t *testing.T) {
	s := newServer(t)
	first := oauth2x.FromToken(s.login(time.Hour))
	secure := httptest.NewTLSServer(http.RedirectHandler(s.URL+"/token", http.StatusTemporaryRedirect))
	t.Cleanup(secure.Close)
	follows := secure.Client()
	follows.CheckRedirect = func(*http.Request, []*http.Request) error { return nil }
	for _, u := range []string{s.URL, secure.URL} {
		config := s.config()
		config.Endpoint.TokenURL = u + "/token"
		_, err := oauth2x.RefreshGrant{Config: config, Client: follows}.Refresh(t.Context(), first)
		assert.Error(t, err)
		if u == s.URL {
			assert.ErrorIs(t, err, jwterrors.RequestInvalid, "a person must mend it")
		}
	}
	grants, _ := s.seen()
	assert.Zero(t, grants)
}

// The query of the token endpoint may hold a secret (RFC 6749, Section 3.2, allows
// one), and the errors of net/http show it.
func TestErrorsDoNotShowTheQuery(t *testing.T) {
	s := newServer(t)
	s.with(func() { s.answer = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) } })
	config := s.config()
	config.Endpoint.TokenURL += "?key=hidden"
	tokens := refresher.Tokens{RefreshToken: "refresh-1"}
	for name, source := range map[string]refresher.Source{
		"no answer":  oauth2x.RefreshGrant{Config: config, InsecureAllowHTTP: true},
		"plain http": oauth2x.RefreshGrant{Config: config},
		"a source":   oauth2x.FromTokenSource(config.TokenSource(t.Context(), &oauth2.Token{RefreshToken: "refresh-1"})),
	} {
		_, err := source.Refresh(t.Context(), tokens)
		require.Error(t, err, name)
		assert.NotContains(t, err.Error(), "hidden", name)
	}
}

// The client's secret is in no form of a RefreshGrant.
func TestTheFormsOfARefreshGrant(t *testing.T) {
	config := &oauth2.Config{ClientID: clientID, ClientSecret: secret, Endpoint: oauth2.Endpoint{TokenURL: "https://id.example.com/token?key=hidden"}}
	grant := oauth2x.RefreshGrant{Config: config}
	const want = `RefreshGrant{"https://id.example.com/token", client "app"}`
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		assert.Equal(t, want, fmt.Sprintf(verb, grant))
	}
	assert.Equal(t, want, grant.LogValue().String())
	assert.Equal(t, "RefreshGrant{}", fmt.Sprint(oauth2x.RefreshGrant{}))
	for _, source := range []any{grant, &grant, refresher.Config{Source: grant}} {
		assert.NotContains(t, fmt.Sprintf("%+v", source), secret)
	}
	assert.Equal(t, want, must(strconv.Unquote(string(must(json.Marshal(grant))))))
}

// net/http would repeat a POST that has an Idempotency-Key when a connection that
// was used before breaks.
func TestABrokenConnectionIsOneCall(t *testing.T) {
	s := newServer(t)
	client := &http.Client{Transport: &http.Transport{}}
	grant := oauth2x.RefreshGrant{Config: s.config(), InsecureAllowHTTP: true, Client: client}
	tokens := oauth2x.FromToken(s.login(time.Hour))
	tokens.RetryKey = "key"
	_, err := grant.Refresh(t.Context(), tokens) // its connection is kept
	require.NoError(t, err)
	s.with(func() { s.answer = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) } })
	_, err = grant.Refresh(t.Context(), tokens)
	assert.ErrorIs(t, err, jwterrors.RefreshUnavailable)
	grants, _ := s.seen()
	assert.Equal(t, 2, grants)
}

type sourceFunc func() (*oauth2.Token, error)

func (f sourceFunc) Token() (*oauth2.Token, error) { return f() }

// A TokenSource that hangs holds up neither the flight nor its goroutine's
// successors: there is one, and its late result is used.
func TestATokenSourceThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		release := make(chan struct{})
		source := oauth2x.FromTokenSource(sourceFunc(func() (*oauth2.Token, error) {
			n := calls.Add(1)
			<-release
			return &oauth2.Token{AccessToken: fmt.Sprint("late-", n)}, nil
		}))
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err := source.Refresh(ctx, refresher.Tokens{})
			cancel()
			assert.ErrorIs(t, err, jwterrors.RefreshUnavailable)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
		}
		assert.EqualValues(t, 1, calls.Load())
		close(release)
		synctest.Wait()
		for _, want := range []string{"late-1", "late-2"} {
			tokens, err := source.Refresh(t.Context(), refresher.Tokens{})
			require.NoError(t, err)
			assert.Equal(t, want, tokens.AccessToken)
		}
	})
}

func TestATokenSourceThatMisbehaves(t *testing.T) {
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		source refresher.Source
		reason jwterrors.Reason
		cause  error
	}{
		"a panic":                   {oauth2x.FromTokenSource(sourceFunc(func() (*oauth2.Token, error) { panic("secret") })), jwterrors.RefreshUnavailable, nil},
		"Goexit":                    {oauth2x.FromTokenSource(sourceFunc(func() (*oauth2.Token, error) { runtime.Goexit(); return nil, nil })), jwterrors.RefreshUnavailable, nil},
		"an error":                  {oauth2x.FromTokenSource(sourceFunc(func() (*oauth2.Token, error) { return nil, boom })), jwterrors.RefreshUnavailable, boom},
		"an error with a reason":    {oauth2x.FromTokenSource(sourceFunc(func() (*oauth2.Token, error) { return nil, jwterrors.SessionRevoked })), jwterrors.SessionRevoked, nil},
		"a refusal without answer":  {oauth2x.FromTokenSource(sourceFunc(func() (*oauth2.Token, error) { return nil, &oauth2.RetrieveError{ErrorCode: "invalid_grant"} })), jwterrors.RefreshTokenInvalid, nil},
		"no source":                 {oauth2x.FromTokenSource(nil), jwterrors.RequestInvalid, nil},
		"no function":               {oauth2x.TokenFunc(nil), jwterrors.RequestInvalid, nil},
		"no config":                 {oauth2x.RefreshGrant{}, jwterrors.RequestInvalid, nil},
		"an error of a function":    {oauth2x.TokenFunc(func(context.Context) (*oauth2.Token, error) { return nil, boom }), jwterrors.RefreshUnavailable, boom},
		"no token and no error":     {oauth2x.TokenFunc(func(context.Context) (*oauth2.Token, error) { return nil, nil }), "", nil},
		"an empty token":            {oauth2x.TokenFunc(func(context.Context) (*oauth2.Token, error) { return &oauth2.Token{}, nil }), "", nil},
		"no token from the network": {oauth2x.FromTokenSource(sourceFunc(func() (*oauth2.Token, error) { return nil, nil })), jwterrors.RefreshUnavailable, nil},
	} {
		t.Run(name, func(t *testing.T) {
			tokens, err := c.source.Refresh(t.Context(), refresher.Tokens{AccessToken: "access-0", RefreshToken: "refresh-0"})
			assert.Equal(t, c.reason, jwterrors.ReasonOf(err))
			assert.True(t, tokens.IsZero(), "the Transport takes that for AUTH_TOKEN_NULL")
			if c.cause != nil {
				assert.ErrorIs(t, err, c.cause)
			}
			if err != nil {
				assert.NotContains(t, err.Error(), "secret")
			}
		})
	}
}

// A source that keeps its token until just before it expires, and cannot be taken
// apart: nobody waits for long, and nobody is refused.
func TestASourceThatKeepsItsToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		var kept *oauth2.Token
		source := oauth2x.FromTokenSource(sourceFunc(func() (*oauth2.Token, error) {
			asked++
			if kept == nil || time.Until(kept.Expiry) < 10*time.Second {
				kept = &oauth2.Token{AccessToken: fmt.Sprint("kept-", asked), Expiry: time.Now().Add(10 * time.Minute)}
			}
			return new(*kept), nil
		}))
		seen := map[string]int{}
		tr, err := refresher.New(refresher.Config{
			Origins: []string{"https://api.example.com"}, Source: source, NoJitter: true,
			Base: tripFunc(func(r *http.Request) (*http.Response, error) {
				seen[r.Header.Get("Authorization")]++
				return &http.Response{StatusCode: 200, Body: http.NoBody, Request: r}, nil
			}),
		})
		require.NoError(t, err)
		first, err := source.Refresh(t.Context(), refresher.Tokens{})
		require.NoError(t, err)
		require.NoError(t, tr.SetTokens(t.Context(), first))
		for range 3600 {
			start := time.Now()
			resp, err := tr.RoundTrip(must(http.NewRequest("GET", "https://api.example.com/", nil)))
			require.NoError(t, err)
			resp.Body.Close()
			assert.Zero(t, time.Since(start))
			time.Sleep(time.Second)
			synctest.Wait()
		}
		assert.LessOrEqual(t, len(seen), 8)
		assert.LessOrEqual(t, asked, 7*6, "a few times for each token")
	})
}

type tripFunc func(*http.Request) (*http.Response, error)

func (f tripFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
