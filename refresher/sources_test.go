package refresher_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
)

// A tokenEndpoint plays an OAuth 2.0 token endpoint at https://id.example.com/token
// and the API at https://api.example.com, which takes the newest access token.
type tokenEndpoint struct {
	mu     sync.Mutex
	asked  []http.Header
	forms  []url.Values
	given  int
	answer func(n int, form url.Values) (status int, body string)
}

func (e *tokenEndpoint) RoundTrip(r *http.Request) (*http.Response, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	status, body := 200, "ok"
	if r.URL.Host == "id.example.com" {
		form := must(url.ParseQuery(string(must(io.ReadAll(r.Body)))))
		e.asked, e.forms, e.given = append(e.asked, r.Header), append(e.forms, form), e.given+1
		status, body = e.answer(e.given, form)
	} else if r.Header.Get("Authorization") != fmt.Sprintf("Bearer access-%d", e.given) {
		status, body = 401, `{"error":"invalid_token"}`
	}
	return &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}, "Date": {time.Now().UTC().Format(http.TimeFormat)}},
		Body: io.NopCloser(strings.NewReader(body)), Request: r,
	}, nil
}

func (e *tokenEndpoint) calls() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.forms)
}

// expire makes the API refuse the newest token.
func (e *tokenEndpoint) expire() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.given++
}

// minimal answers with an access token and nothing else that may be left out.
func minimal(n int, _ url.Values) (int, string) {
	return 200, fmt.Sprintf(`{"access_token":"access-%d","token_type":"bearer","expires_in":600}`, n)
}

func (e *tokenEndpoint) transport(t testing.TB, source refresher.Source, change func(*refresher.Config)) *refresher.Transport {
	if e.answer == nil {
		e.answer = minimal
	}
	c := refresher.Config{Origins: []string{"https://api.example.com"}, Source: source, Base: e, NoJitter: true}
	if change != nil {
		change(&c)
	}
	return newTransport(t, c)
}

// RFC 6749, Sections 2.3.1, 4.4 and 6; RFC 8707: the form and the client's own
// authentication, for each grant.
func TestWhatATokenEndpointIsSent(t *testing.T) {
	const place = "https://id.example.com/token?tenant=1"
	refresh := func(o refresher.OAuth) refresher.Source { return o }
	client := func(o refresher.OAuth) refresher.Source { return refresher.ClientCredentials(o) }
	for _, c := range []struct {
		name          string
		source        refresher.Source
		authorization string // user and password, as they are before base64
		form          string
	}{
		{"a public client", refresh(refresher.OAuth{TokenURL: place, ClientID: "mobile"}), "",
			"client_id=mobile&grant_type=refresh_token&refresh_token=R"},
		{"a client that nobody named", refresh(refresher.OAuth{TokenURL: place}), "", "grant_type=refresh_token&refresh_token=R"},
		{"basic", refresh(refresher.OAuth{TokenURL: place, ClientID: "app:1", ClientSecret: "s/é +"}), "app%3A1:s%2F%C3%A9+%2B",
			"grant_type=refresh_token&refresh_token=R"},
		{"post", refresh(refresher.OAuth{TokenURL: place, ClientID: "app", ClientSecret: "s&", Auth: refresher.AuthPost}), "",
			"client_id=app&client_secret=s%26&grant_type=refresh_token&refresh_token=R"},
		{"scopes and parameters", refresh(refresher.OAuth{
			TokenURL: place, ClientID: "app", Scopes: []string{"a", "b"}, Parameters: url.Values{"resource": {"https://api.example.com", "https://b.example.com"}},
		}), "", "client_id=app&grant_type=refresh_token&refresh_token=R&resource=https%3A%2F%2Fapi.example.com&resource=https%3A%2F%2Fb.example.com&scope=a+b"},
		{"client credentials", client(refresher.OAuth{TokenURL: place, ClientID: "app", ClientSecret: "s", Scopes: []string{"a"}}), "app:s",
			"grant_type=client_credentials&scope=a"},
		{"client credentials, post", client(refresher.OAuth{TokenURL: place, ClientID: "app", ClientSecret: "s", Auth: refresher.AuthPost}), "",
			"client_id=app&client_secret=s&grant_type=client_credentials"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := &tokenEndpoint{}
			tr := e.transport(t, c.source, nil)
			require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: "old", RefreshToken: "R", RetryKey: "K"}))
			require.NoError(t, tr.Refresh(t.Context()))
			require.Len(t, e.forms, 1)
			assert.Equal(t, c.form, e.forms[0].Encode())
			header := e.asked[0]
			user, password, ok := (&http.Request{Header: header}).BasicAuth()
			assert.Equal(t, c.authorization != "", ok)
			if ok {
				assert.Equal(t, c.authorization, user+":"+password)
			} else {
				assert.Empty(t, header.Get("Authorization"), "never the access token (AX-09)")
			}
			assert.Equal(t, "application/x-www-form-urlencoded", header.Get("Content-Type"))
			assert.Equal(t, "application/json", header.Get("Accept"))
			if e.forms[0].Has("refresh_token") {
				assert.Equal(t, "K", header.Get("Idempotency-Key"))
			}
		})
	}
}

// RFC 6749, Sections 5.1 and 6: what an answer leaves out stays as it was.
func TestWhatATokenEndpointLeavesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &tokenEndpoint{}
		tr := e.transport(t, refresher.OAuth{TokenURL: "https://id.example.com/token", ClientID: "mobile"}, func(c *refresher.Config) {
			c.Answers.AccessToken = "authToken" // which is for AuthURL alone
		})
		require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: "access-0", RefreshToken: "R", Scope: "a b"}))
		status, err := get(t.Context(), tr.Client(), remote)
		require.NoError(t, err)
		require.Equal(t, 200, status)
		e.expire()
		status, err = get(t.Context(), tr.Client(), remote)
		require.NoError(t, err)
		assert.Equal(t, 200, status)
		got, _ := tr.Tokens()
		assert.Equal(t, "R", got.RefreshToken, "JG-03")
		assert.Equal(t, "a b", got.Scope)
		assert.Equal(t, 10*time.Minute, got.Expiry.Sub(got.Received))

		e.answer = func(n int, _ url.Values) (int, string) {
			return 200, fmt.Sprintf(`{"access_token":"access-%d","token_type":"Bearer","refresh_token":"R2","scope":"a"}`, n)
		}
		time.Sleep(10 * time.Minute)
		status, err = get(t.Context(), tr.Client(), remote)
		require.NoError(t, err)
		assert.Equal(t, 200, status)
		got, _ = tr.Tokens()
		assert.Equal(t, "R2", got.RefreshToken)
		assert.Equal(t, "a", got.Scope)
		assert.Equal(t, []string{"R", "R"}, []string{e.forms[0].Get("refresh_token"), e.forms[1].Get("refresh_token")})
	})
}

// What the refusals of a token endpoint mean (RFC 6749, Section 5.2), also where
// the status is 200. To client credentials nothing means the end of a session.
func TestWhatATokenEndpointRefuses(t *testing.T) {
	for _, c := range []struct {
		name           string
		status         int
		body           string
		user, client   jwterrors.Reason
		ends           bool // the user's session
		calls, service int
	}{
		{"invalid_grant", 400, `{"error":"invalid_grant"}`, jwterrors.RefreshTokenInvalid, jwterrors.Paused, true, 1, 1},
		{"invalid_client", 401, `{"error":"invalid_client"}`, jwterrors.ClientInvalid, jwterrors.ClientInvalid, false, 1, 1},
		{"invalid_scope", 400, `{"error":"invalid_scope"}`, jwterrors.ScopeInvalid, jwterrors.ScopeInvalid, false, 1, 1},
		{"unauthorized_client", 400, `{"error":"unauthorized_client"}`, jwterrors.ClientInvalid, jwterrors.ClientInvalid, false, 1, 1},
		{"a status of 200, and invalid_grant", 200, `{"error":"invalid_grant"}`, jwterrors.RefreshTokenInvalid, jwterrors.Paused, true, 1, 1},
		{"a status of 200, and a code of the server's own", 200, `{"error":"bad_refresh_token"}`, jwterrors.RefreshTokenInvalid, jwterrors.Paused, true, 1, 1},
		{"a status of 200, and a code that nobody knows", 200, `{"error":"oops"}`, jwterrors.RefreshUnavailable, jwterrors.RefreshUnavailable, false, 2, 2},
		{"temporarily_unavailable", 503, `{"error":"temporarily_unavailable"}`, jwterrors.StoreUnavailable, jwterrors.StoreUnavailable, false, 2, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, user := range []bool{true, false} {
				synctest.Test(t, func(t *testing.T) {
					o := refresher.OAuth{TokenURL: "https://id.example.com/token", ClientID: "app"}
					var source refresher.Source = o
					want, calls := c.user, c.calls
					if !user {
						source, want, calls = refresher.ClientCredentials(o), c.client, c.service
					}
					e := &tokenEndpoint{answer: func(int, url.Values) (int, string) { return c.status, c.body }}
					ended := 0
					tr := e.transport(t, source, func(config *refresher.Config) {
						config.MaxRetries = 1
						config.Codes = map[string]jwterrors.Reason{"bad_refresh_token": jwterrors.RefreshTokenInvalid}
						config.OnSessionExpired = func(*jwterrors.Error) { ended++ }
					})
					require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: "old", RefreshToken: "R"}))
					err := tr.Refresh(t.Context())
					assert.Equal(t, want, jwterrors.ReasonOf(err))
					var said *jwterrors.Error
					require.ErrorAs(t, err, &said)
					if c.status == 200 && said.Status != 0 {
						assert.Equal(t, 200, said.Status)
					}
					assert.Equal(t, calls, e.calls())
					synctest.Wait()
					_, active := tr.Tokens()
					assert.Equal(t, c.ends && user, !active)
					assert.Equal(t, c.ends && user, ended == 1)
				})
			}
		})
	}
}

// A service needs no login: the first request asks, once for all, and then the
// token is renewed like others.
func TestAServiceNeedsNoLogin(t *testing.T) {
	broken := &brokenStore{}
	broken.breaks("Load")
	for name, c := range map[string]struct {
		source refresher.Source
		store  refresher.Store
	}{
		"client credentials":                        {refresher.ClientCredentials{TokenURL: "https://id.example.com/token", ClientID: "app", ClientSecret: "s"}, nil},
		"client credentials by pointer":             {&refresher.ClientCredentials{TokenURL: "https://id.example.com/token", ClientID: "app", ClientSecret: "s"}, nil},
		"client credentials and a store":            {refresher.ClientCredentials{TokenURL: "https://id.example.com/token", ClientID: "app", ClientSecret: "s"}, &refresher.MemoryStore{}},
		"client credentials and a store that fails": {refresher.ClientCredentials{TokenURL: "https://id.example.com/token", ClientID: "app", ClientSecret: "s"}, broken},
		"a source of the caller's own":              {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &tokenEndpoint{}
				source := c.source
				if source == nil {
					source = sourceFunc(func(context.Context, refresher.Tokens) (refresher.Tokens, error) {
						e.mu.Lock()
						defer e.mu.Unlock()
						e.given++
						e.forms = append(e.forms, nil)
						return refresher.Tokens{AccessToken: fmt.Sprintf("access-%d", e.given), Expiry: time.Now().Add(10 * time.Minute)}, nil
					})
				}
				tr := e.transport(t, source, func(config *refresher.Config) { config.Store, config.Unattended = c.store, c.source == nil })
				call := func() bool {
					status, err := get(t.Context(), &http.Client{Transport: tr}, remote)
					return err == nil && status == 200
				}
				assert.EqualValues(t, 100, crowd(100, func(int) bool { return call() }))
				assert.Equal(t, 1, e.calls())
				time.Sleep(time.Hour)
				assert.EqualValues(t, 100, crowd(100, func(int) bool { return call() }))
				assert.Equal(t, 2, e.calls())
				e.expire()
				assert.EqualValues(t, 100, crowd(100, func(int) bool { return call() }))
				assert.Equal(t, 3, e.calls())

				require.NoError(t, tr.Logout(t.Context()))
				assert.False(t, call(), "which is what the caller wanted")
				require.NoError(t, tr.Identify(t.Context(), refresher.Identity{}))
				assert.True(t, call())
				assert.Equal(t, 4, e.calls())
			})
		})
	}
}

// What a service has in its store is used after a restart; a store that somebody
// has emptied ends nothing.
func TestAServiceSharesItsTokenThroughAStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &tokenEndpoint{}
		store := &refresher.MemoryStore{}
		start := func() *refresher.Transport {
			return e.transport(t, refresher.ClientCredentials{TokenURL: "https://id.example.com/token", ClientID: "app"},
				func(config *refresher.Config) { config.Store = store })
		}
		first, second := start(), start()
		for _, tr := range []*refresher.Transport{first, second, first} {
			status, err := get(t.Context(), tr.Client(), remote)
			require.NoError(t, err)
			assert.Equal(t, 200, status)
		}
		assert.Equal(t, 1, e.calls())
		require.NoError(t, store.Clear(t.Context()))
		time.Sleep(time.Hour)
		status, err := get(t.Context(), second.Client(), remote)
		require.NoError(t, err)
		assert.Equal(t, 200, status)
		assert.Equal(t, 2, e.calls())
	})
}

// A backEnd answers each request with the same, and keeps the last one.
type backEnd struct {
	status int
	header http.Header
	body   string
	got    *http.Request
	sent   string
}

func (b *backEnd) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.status == 0 {
		return nil, errors.New("no route to host")
	}
	b.got, b.sent = r, ""
	if r.Body != nil {
		b.sent = string(must(io.ReadAll(r.Body)))
	}
	return &http.Response{StatusCode: b.status, Header: b.header, Body: io.NopCloser(strings.NewReader(b.body)), Request: r}, nil
}

// IT-12, IT-17: what the back end is sent, with the token of the app.
func TestWhatABackEndIsSent(t *testing.T) {
	for name, c := range map[string]struct {
		id   refresher.Identity
		want string
	}{
		"for an email":   {refresher.Email("alice@example.com"), `{"email":"alice@example.com"}`},
		"for a user id":  {refresher.UserID("user123"), `{"userId":"user123"}`},
		"without a user": {refresher.Identity{}, `{}`},
	} {
		t.Run(name, func(t *testing.T) {
			b := &backEnd{status: 200, body: jwtOf(`{"email":"alice@example.com","userId":"user123"}`)}
			tr := newTransport(t, refresher.Config{
				Origins: []string{"https://api.example.com"}, Base: b, Unattended: true,
				Source: refresher.Fetcher{
					URL:           "https://app.example.com/api/generate-jwt?v=1",
					Authorization: func(context.Context) (string, error) { return "Bearer the-token-of-the-app", nil },
				},
			})
			require.NoError(t, tr.Identify(t.Context(), c.id))
			assert.Equal(t, "POST https://app.example.com/api/generate-jwt?v=1", b.got.Method+" "+b.got.URL.String())
			assert.Equal(t, "application/json", b.got.Header.Get("Content-Type"))
			assert.Equal(t, "Bearer the-token-of-the-app", b.got.Header.Get("Authorization"))
			assert.Equal(t, c.want, b.sent)
			_, err := get(t.Context(), tr.Client(), "https://app.example.com/other")
			require.NoError(t, err)
			assert.Empty(t, b.got.Header.Get("Authorization"), "the back end is not among the origins")
		})
	}
}

// IT-13, IT-14, IT-15, IT-17: what the answers of a back end mean, in both forms:
// the token itself, and an object that holds it.
func TestWhatABackEndAnswers(t *testing.T) {
	token := jwtOf(`{"email":"alice@example.com"}`)
	for _, c := range []struct {
		name   string
		status int
		body   string
		member string
		want   jwterrors.Reason
	}{
		{"the token", 200, token, "", ""},
		{"the token and a line break", 200, token + "\n", "", ""},
		{"a JSON string", 201, ` "` + token + `" `, "", ""},
		{"an object", 200, `{"token":"` + token + `"}`, "", ""},
		{"an object with another name", 200, `{"authToken":"` + token + `"}`, "authToken", ""},
		{"an object in an object", 200, `{"data":{"jwt":"` + token + `"}}`, "data.jwt", ""},
		{"nothing", 200, "", "", jwterrors.TokenNull},
		{"204", 204, "", "", jwterrors.TokenNull},
		{"null", 200, "null", "", jwterrors.TokenNull},
		{"an empty string", 200, `""`, "", jwterrors.TokenNull},
		{"an object without a token", 200, `{"jwt":"` + token + `"}`, "", jwterrors.TokenNull},
		{"an object with null", 200, `{"token":null}`, "", jwterrors.TokenNull},
		{"an object with a number", 200, `{"token":7}`, "", jwterrors.TokenNull},
		{"half an object", 200, `{"token":"` + token, "", jwterrors.TokenNull},
		{"a page", 200, "<html>please log in to the wifi</html>", "", jwterrors.TokenGenerationError},
		{"another user's", 200, jwtOf(`{"email":"bob@example.com"}`), "", jwterrors.TokenUserKeyInvalid},
		{"401", 401, `{"message":"who are you?"}`, "", jwterrors.TokenGenerationError},
		{"404", 404, "", "", jwterrors.TokenGenerationError},
		{"500", 500, "", "", jwterrors.TokenGenerationError},
		{"a redirect", 302, "", "", jwterrors.TokenGenerationError},
		{"401 for the token of the app", 401, `{"error":"invalid_token"}`, "", jwterrors.TokenGenerationError},
		{"503 with a reason", 503, `{"reason":"AUTH_STORE_UNAVAILABLE"}`, "", jwterrors.TokenGenerationError},
		{"401 because the session is over", 401, `{"reason":"AUTH_SESSION_REVOKED"}`, "", jwterrors.SessionRevoked},
		{"no answer", 0, "", "", jwterrors.TokenGenerationError},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &backEnd{status: c.status, header: http.Header{"Content-Type": {"application/json"}, "Location": {"https://elsewhere.example"}}, body: c.body}
			tr := newTransport(t, refresher.Config{
				Origins: []string{"https://api.example.com"}, Base: b, MaxRetries: refresher.NoRetries,
				Source: refresher.Fetcher{URL: "https://app.example.com/jwt", Member: c.member},
			})
			err := tr.Identify(t.Context(), refresher.Email("alice@example.com"))
			assert.Equal(t, c.want, jwterrors.ReasonOf(err))
			got, _ := tr.Tokens()
			if c.want == "" {
				assert.Equal(t, token, got.AccessToken)
				return
			}
			assert.Empty(t, got.AccessToken)
			var said *jwterrors.Error
			require.ErrorAs(t, err, &said)
			if c.status >= 300 {
				assert.Equal(t, c.status, said.Status, "the error carries the status")
			}
		})
	}
}

// A captive portal that answers everything with 200 is an outage: however long it
// lasts, the session goes on after it.
func TestABackEndBehindACaptivePortal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backEnd{status: 200, body: "<html>please log in to the wifi</html>"}
		tr := newTransport(t, refresher.Config{
			Origins: []string{"https://api.example.com"}, Base: b, MaxFailures: 2, MaxRetries: refresher.NoRetries,
			Source: refresher.Fetcher{URL: "https://app.example.com/jwt"},
		})
		require.Error(t, tr.Identify(t.Context(), refresher.Email("alice@example.com")))
		for range 10 {
			time.Sleep(time.Hour)
			require.ErrorIs(t, tr.Refresh(t.Context()), jwterrors.TokenGenerationError)
		}
		time.Sleep(time.Hour)
		b.body = `{"token":"` + jwtOf(`{"email":"alice@example.com"}`) + `"}`
		require.NoError(t, tr.Refresh(t.Context()))
	})
}

// What a handler's error means is said by its reason, whatever form that has.
func TestTheReasonOfAHandlersError(t *testing.T) {
	for _, c := range []struct {
		failure error
		want    jwterrors.Reason
		expired int
	}{
		{jwterrors.CredentialsInvalid, jwterrors.CredentialsInvalid, 1},
		{fmt.Errorf("the app: %w", jwterrors.SessionRevoked), jwterrors.SessionRevoked, 1},
		{&jwterrors.Error{Reason: jwterrors.SessionRevoked}, jwterrors.SessionRevoked, 1},
		{errors.New("out of order"), jwterrors.TokenGenerationError, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			expired := 0
			tr := newTransport(t, refresher.Config{
				Origins: []string{"https://api.example.com"}, MaxRetries: refresher.NoRetries,
				Source: refresher.AuthHandler(func(context.Context, refresher.Identity) (refresher.AuthResponse, error) {
					return refresher.AuthResponse{}, c.failure
				}),
				OnSessionExpired: func(*jwterrors.Error) { expired++ },
			})
			assert.ErrorIs(t, tr.Identify(t.Context(), refresher.Email("alice@example.com")), c.want)
			synctest.Wait()
			assert.Equal(t, c.expired, expired, c.want)
		})
	}
}

// The callbacks, and an app whose own token cannot be had.
func TestABackEndWithoutATokenOfTheApp(t *testing.T) {
	b := &backEnd{status: 200}
	gone := errors.New("the app has no token")
	tr := newTransport(t, refresher.Config{
		Origins: []string{"https://api.example.com"}, Base: b, MaxRetries: refresher.NoRetries,
		Source: refresher.Fetcher{URL: "https://app.example.com/jwt", Authorization: func(context.Context) (string, error) { return "", gone }},
	})
	err := tr.Identify(t.Context(), refresher.Email("alice@example.com"))
	assert.ErrorIs(t, err, gone)
	assert.ErrorIs(t, err, jwterrors.TokenGenerationError)
	assert.Nil(t, b.got)
}

// IT-16: of a fetched token exactly one callback is told, once.
func TestTheCallbacksOfAFetcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		b := &backEnd{status: 200, body: jwtOf(`{"email":"alice@example.com"}`)}
		refuse := false
		tr := newTransport(t, refresher.Config{
			Origins: []string{"https://api.example.com"},
			Base: tripFunc(func(r *http.Request) (*http.Response, error) {
				if r.URL.Host == "api.example.com" && refuse {
					return &http.Response{StatusCode: 401, Body: http.NoBody, Request: r}, nil
				}
				return b.RoundTrip(r)
			}),
			Source: refresher.Fetcher{
				URL:       "https://app.example.com/jwt",
				OnSuccess: func() { told = append(told, "success") },
				OnFailure: func(r jwterrors.Reason) { told = append(told, string(r)) },
			},
		})
		require.NoError(t, tr.Identify(t.Context(), refresher.Email("alice@example.com")))
		for _, refuse = range []bool{false, false, true, true} {
			_, err := get(t.Context(), tr.Client(), remote)
			require.NoError(t, err)
		}
		synctest.Wait()
		assert.Equal(t, []string{"success", "AUTH_TOKEN_GENERIC_ERROR"}, told)
	})
}

// RFC 7009: a logout revokes the tokens, now or when the server can be told.
func TestALogoutRevokesTheTokens(t *testing.T) {
	full := refresher.OAuth{TokenURL: "https://id.example.com/token", RevokeURL: "https://id.example.com/revoke?tenant=1", ClientID: "app", ClientSecret: "s", Scopes: []string{"a"}}
	public := refresher.OAuth{TokenURL: "https://id.example.com/token", RevokeURL: "https://id.example.com/revoke", ClientID: "mobile"}
	for _, c := range []struct {
		name   string
		source refresher.Source
		tokens refresher.Tokens
		basic  bool
		want   string
	}{
		{"a refresh token", full, refresher.Tokens{AccessToken: "A", RefreshToken: "R"}, true, "token=R&token_type_hint=refresh_token"},
		{"a refresh token of a public client", public, refresher.Tokens{AccessToken: "A", RefreshToken: "R"}, false, "client_id=mobile&token=R&token_type_hint=refresh_token"},
		{"an access token", refresher.ClientCredentials(full), refresher.Tokens{AccessToken: "A"}, true, "token=A&token_type_hint=access_token"},
		{"no place to revoke at", refresher.OAuth{TokenURL: "https://id.example.com/token"}, refresher.Tokens{AccessToken: "A", RefreshToken: "R"}, false, ""},
	} {
		for _, offline := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, offline %t", c.name, offline), func(t *testing.T) {
				e := &tokenEndpoint{answer: func(int, url.Values) (int, string) { return 200, "" }}
				down := offline
				tr := newTransport(t, refresher.Config{
					Origins: []string{"https://api.example.com"}, Source: c.source, NoJitter: true,
					Base: tripFunc(func(r *http.Request) (*http.Response, error) {
						if down {
							return nil, errors.New("no route to host")
						}
						assert.Equal(t, "/revoke", r.URL.Path)
						return e.RoundTrip(r)
					}),
				})
				require.NoError(t, tr.SetTokens(t.Context(), c.tokens))
				err := tr.Logout(t.Context())
				if offline && c.want != "" {
					assert.ErrorIs(t, err, jwterrors.RefreshUnavailable)
					assert.Zero(t, e.calls())
					down = false
					err = tr.Flush(t.Context())
				}
				require.NoError(t, err)
				if c.want == "" {
					assert.Zero(t, e.calls())
					return
				}
				require.Equal(t, 1, e.calls())
				assert.Equal(t, c.want, e.forms[0].Encode())
				_, _, basic := (&http.Request{Header: e.asked[0]}).BasicAuth()
				assert.Equal(t, c.basic, basic)
			})
		}
	}
}

func TestSourcesThatCannotWorkAreRefused(t *testing.T) { // IT-03, AX-20
	const place = "https://id.example.com/token"
	for _, c := range []struct {
		name   string
		source refresher.Source
		want   []string
	}{
		{"a token endpoint without TLS", refresher.OAuth{TokenURL: "http://id.example.com/token?x=y"}, []string{"InsecureAllowHTTP"}},
		{"a token endpoint with a password", refresher.OAuth{TokenURL: "https://app:hunter2@id.example.com/token"}, []string{"user name"}},
		{"a secret of nobody, sent in no way", refresher.OAuth{TokenURL: place, ClientSecret: "hunter2", Auth: 7}, []string{"without a ClientID", "Auth is neither"}},
		{"parameters of the grant", refresher.OAuth{TokenURL: place, Parameters: url.Values{"grant_type": {"password"}, "client_secret": {"hunter2"}}}, []string{`"grant_type"`, `"client_secret"`}},
		{"a revocation endpoint without TLS", refresher.OAuth{TokenURL: place, RevokeURL: "http://id.example.com/revoke"}, []string{"RevokeURL"}},
		{"a service without a name", refresher.ClientCredentials{TokenURL: "id.example.com"}, []string{"https://", "there is no ClientID"}},
		{"a back end without TLS", refresher.Fetcher{URL: "http://app.example.com/jwt"}, []string{"InsecureAllowHTTP"}},
		{"a member that is nowhere", refresher.Fetcher{URL: place, Member: ".token"}, []string{"leads nowhere"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := refresher.New(refresher.Config{Origins: []string{"https://api.example.com"}, Source: c.source})
			for _, want := range c.want {
				assert.ErrorContains(t, err, want)
			}
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "hunter2")
			for line := range strings.Lines(err.Error()) {
				assert.Regexp(t, "^refresher: Source: ", line, "each mistake says where it is")
			}
			_, err = c.source.Refresh(t.Context(), refresher.Tokens{RefreshToken: "R"})
			assert.ErrorContains(t, err, c.want[0], "outside of a Transport, too")
		})
	}
	_, err := refresher.New(refresher.Config{Origins: []string{"https://api.example.com"}, AuthURL: "https://id.example.com", Unattended: true})
	assert.ErrorContains(t, err, "Unattended needs a Source")
}

func TestNoFormOfASourceShowsItsSecret(t *testing.T) {
	o := refresher.OAuth{TokenURL: "https://app:hunter2@id.example.com/token?key=hunter2", ClientID: "app", ClientSecret: "hunter2"}
	for _, source := range []any{o, &o, refresher.ClientCredentials(o), refresher.Config{Source: o}} {
		var log strings.Builder
		slog.New(slog.NewTextHandler(&log, nil)).Info("", "source", source)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("", "source", source)
		forms := fmt.Sprintf("%v %+v %#v %s %q %d", source, source, source, source, source, source) + log.String()
		if _, isConfig := source.(refresher.Config); !isConfig {
			forms += string(must(json.Marshal(source)))
		}
		assert.NotContains(t, forms, "hunter2")
		assert.Contains(t, forms, `client`)
	}
}

// exampleSource prints whether a Transport on source can call an API.
func exampleSource(source refresher.Source, begin func(context.Context, *refresher.Transport) error) {
	token := jwtOf(`{"userId":"user123"}`)
	answers := tripFunc(func(r *http.Request) (*http.Response, error) {
		body := "with a token: " + fmt.Sprint(r.Header.Get("Authorization") == "Bearer "+token)
		if r.URL.Host != "api.example.com" {
			fmt.Println(string(must(io.ReadAll(r.Body))))
			body = fmt.Sprintf(`{"access_token":%q,"token_type":"Bearer","expires_in":600,"token":%[1]q}`, token)
		}
		return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	})
	t, err := refresher.New(refresher.Config{Origins: []string{"https://api.example.com"}, Source: source, Base: answers})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer t.Close()
	if err := begin(context.Background(), t); err != nil {
		fmt.Println(err)
		return
	}
	show(t.Client().Get("https://api.example.com/"))
}

func ExampleOAuth_Refresh() {
	exampleSource(refresher.OAuth{
		TokenURL: "https://id.example.com/token", ClientID: "mobile",
	}, func(ctx context.Context, t *refresher.Transport) error {
		return t.SetTokens(ctx, refresher.Tokens{RefreshToken: "from-the-authorization-code-flow"})
	})
	// Output:
	// client_id=mobile&grant_type=refresh_token&refresh_token=from-the-authorization-code-flow
	// 200 with a token: true
}

func ExampleClientCredentials_Refresh() {
	exampleSource(refresher.ClientCredentials{
		TokenURL: "https://id.example.com/token", ClientID: "app", ClientSecret: "secret", Scopes: []string{"api:read"},
	}, func(context.Context, *refresher.Transport) error { return nil }) // nobody logs in
	// Output:
	// grant_type=client_credentials&scope=api%3Aread
	// 200 with a token: true
}

func ExampleFetcher_Refresh() {
	exampleSource(refresher.Fetcher{
		URL: "https://app.example.com/api/generate-jwt",
	}, func(ctx context.Context, t *refresher.Transport) error {
		return t.Identify(ctx, refresher.UserID("user123"))
	})
	// Output:
	// {"userId":"user123"}
	// 200 with a token: true
}

func ExampleOAuth_Format() {
	fmt.Println(refresher.OAuth{TokenURL: "https://id.example.com/token", ClientID: "app", ClientSecret: "never shown"})
	// Output: OAuth{"https://id.example.com/token", client "app"}
}

func ExampleClientCredentials_Format() {
	fmt.Println(refresher.ClientCredentials{TokenURL: "https://id.example.com/token", ClientID: "app", ClientSecret: "never shown"})
	// Output: ClientCredentials{"https://id.example.com/token", client "app"}
}

// A source can be wrapped by another, which then makes the calls.
func TestASourceWorksOutsideOfATransport(t *testing.T) {
	before := http.DefaultTransport
	defer func() { http.DefaultTransport = before }()
	e := &tokenEndpoint{answer: minimal}
	http.DefaultTransport = e
	for _, source := range []refresher.Source{
		refresher.OAuth{TokenURL: "https://id.example.com/token", ClientID: "app"},
		refresher.ClientCredentials{TokenURL: "https://id.example.com/token", ClientID: "app"},
		refresher.Fetcher{URL: "https://id.example.com/jwt", Member: "access_token"},
	} {
		tokens, err := source.Refresh(t.Context(), refresher.Tokens{RefreshToken: "R"})
		require.NoError(t, err)
		assert.Equal(t, fmt.Sprintf("access-%d", e.calls()), tokens.AccessToken)
	}
}
