package oauth2x_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/doctables"
	"github.com/tokenloop/tokenloop/refresher"
	"github.com/tokenloop/tokenloop/refresher/oauth2x"
)

// The package comment says what of golang.org/x/oauth2 holds and what differs, and
// names the tests that show it.
func TestTheTableNamesTestsThatExist(t *testing.T) {
	doctables.Check(t, 10, map[string][]string{
		"# Coming from oauth2.Transport": {
			"attach", "reuse", "expiry", "no expiry", "base", "request", "errors", "token type", "401",
			"waiting", "refresh token", "extras", "client",
		},
	})
}

// A side is one of the two: a transport of golang.org/x/oauth2, or ours with a
// RefreshGrant.
type side struct {
	http.RoundTripper
	theirs bool
	world  *world
}

// A world is what both of them meet: a token endpoint that gives out "access-2",
// "access-3" and so on, and an API that answers with the Authorization it got. There
// is no network, so that time is the bubble's.
type world struct {
	first  *oauth2.Token
	life   time.Duration
	grants int
	grant  http.RoundTripper // in the place of the token endpoint; may be nil
	api    http.RoundTripper // in the place of the API; may be nil
}

// both runs f for each of the two, in a bubble and a world of its own, of which the
// token is good for life.
func both(t *testing.T, life time.Duration, change func(*world), f func(t *testing.T, s side)) {
	for name, theirs := range map[string]bool{"x/oauth2": true, "tokenloop": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{first: &oauth2.Token{AccessToken: "access-1", RefreshToken: "refresh-1"}, life: time.Hour}
				if life != 0 {
					w.first.Expiry = time.Now().Add(life)
				}
				if change != nil {
					change(w)
				}
				f(t, side{w.transport(t, theirs), theirs, w})
			})
		})
	}
}

func (w *world) transport(t *testing.T, theirs bool) http.RoundTripper {
	config := &oauth2.Config{
		ClientID: clientID, ClientSecret: secret,
		Endpoint: oauth2.Endpoint{TokenURL: "https://id.example.com/token", AuthStyle: oauth2.AuthStyleInHeader},
	}
	client := &http.Client{Transport: tripFunc(w.token)}
	if theirs {
		ctx := context.WithValue(t.Context(), oauth2.HTTPClient, client)
		return &oauth2.Transport{Source: config.TokenSource(ctx, w.first), Base: tripFunc(w.call)}
	}
	tr, err := refresher.New(refresher.Config{
		Origins: []string{"https://api.example.com"}, Source: oauth2x.RefreshGrant{Config: config, Client: client},
		Base: tripFunc(w.call), NoJitter: true, MaxRetries: refresher.NoRetries,
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = tr.Close() })
	require.NoError(t, tr.SetTokens(t.Context(), oauth2x.FromToken(w.first)))
	return tr
}

func (w *world) token(r *http.Request) (*http.Response, error) {
	w.grants++
	if w.grant != nil {
		return w.grant.RoundTrip(r)
	}
	return answer(r, 200, fmt.Sprintf(`{"access_token":"access-%d","token_type":"bearer","expires_in":%d}`, w.grants+1, int(w.life.Seconds()))), nil
}

func (w *world) call(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer r.Body.Close()
	}
	if w.api != nil {
		return w.api.RoundTrip(r)
	}
	return answer(r, 200, strings.Join(r.Header["Authorization"], ",")), nil
}

func answer(r *http.Request, status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(body)), Request: r,
	}
}

const orders = "https://api.example.com/orders"

// get sends a request and returns the status, and the Authorization that arrived.
func (s side) get(t *testing.T, url string, own ...string) (int, string) {
	t.Helper()
	req := must(http.NewRequest("GET", url, nil))
	if len(own) > 0 {
		req.Header["Authorization"] = own
	}
	resp, err := s.RoundTrip(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	return resp.StatusCode, string(must(io.ReadAll(resp.Body)))
}

// seen is get for what is answered with 200.
func (s side) seen(t *testing.T, url string, own ...string) string {
	t.Helper()
	status, got := s.get(t, url, own...)
	require.Equal(t, 200, status)
	return got
}

func TestAttach(t *testing.T) {
	both(t, time.Hour, nil, func(t *testing.T, s side) {
		assert.Equal(t, "Bearer access-1", s.seen(t, orders))
		own, elsewhere := s.seen(t, orders, "Basic YTpi"), s.seen(t, "https://other.example.com/")
		if s.theirs {
			assert.Equal(t, "Bearer access-1", own)
			assert.Equal(t, "Bearer access-1", elsewhere)
		} else {
			assert.Equal(t, "Basic YTpi", own)
			assert.Empty(t, elsewhere)
		}
	})
}

func TestReuse(t *testing.T) {
	both(t, time.Hour, nil, func(t *testing.T, s side) {
		for range 59 {
			require.Equal(t, "Bearer access-1", s.seen(t, orders))
			time.Sleep(time.Minute)
		}
		time.Sleep(time.Hour)
		for range 10 {
			assert.Equal(t, "Bearer access-2", s.seen(t, orders))
		}
		assert.Equal(t, 1, s.world.grants)
	})
}

func TestExpiry(t *testing.T) {
	both(t, time.Hour, nil, func(t *testing.T, s side) {
		until := func(before time.Duration) { time.Sleep(time.Until(s.world.first.Expiry) - before) }
		if s.theirs {
			until(10*time.Second + 1)
			assert.Equal(t, "Bearer access-1", s.seen(t, orders))
			time.Sleep(2 * time.Nanosecond)
			assert.Equal(t, "Bearer access-2", s.seen(t, orders))
			return
		}
		grants := func() int {
			assert.Equal(t, "Bearer access-1", s.seen(t, orders))
			synctest.Wait()
			return s.world.grants
		}
		s.world.grant = tripFunc(func(r *http.Request) (*http.Response, error) { return answer(r, 503, ""), nil })
		until(time.Minute + 1)
		assert.Equal(t, 0, grants())
		until(time.Minute)
		assert.Equal(t, 1, grants())
		until(30*time.Second + 1)
		assert.Equal(t, 2, grants())
		until(30 * time.Second)
		_, err := s.RoundTrip(must(http.NewRequest("GET", orders, nil)))
		assert.ErrorIs(t, err, jwterrors.RefreshUnavailable)
		s.world.grant = nil
		until(0)
		assert.Equal(t, "Bearer access-4", s.seen(t, orders))
	})
}

func TestNoExpiry(t *testing.T) {
	both(t, 0, nil, func(t *testing.T, s side) {
		time.Sleep(1000 * time.Hour)
		assert.Equal(t, "Bearer access-1", s.seen(t, orders))
		assert.Zero(t, s.world.grants)
	})
	// A JWT says it itself: {"exp":946690200} is an hour and a half after the
	// bubble's beginning.
	both(t, 0, func(w *world) { w.first.AccessToken = "eyJhbGciOiJub25lIn0.eyJleHAiOjk0NjY5MDIwMH0.x" }, func(t *testing.T, s side) {
		time.Sleep(2 * time.Hour)
		if s.theirs {
			assert.Equal(t, "Bearer "+s.world.first.AccessToken, s.seen(t, orders))
		} else {
			assert.Equal(t, "Bearer access-2", s.seen(t, orders))
		}
	})
}

func TestTheBaseTransport(t *testing.T) {
	boom := errors.New("boom")
	var got *http.Request
	both(t, time.Hour, func(w *world) {
		w.api = tripFunc(func(r *http.Request) (*http.Response, error) { got = r; return nil, boom })
	}, func(t *testing.T, s side) {
		type key struct{}
		ctx := context.WithValue(t.Context(), key{}, "mine")
		req := must(http.NewRequestWithContext(ctx, "POST", orders, strings.NewReader("body")))
		req.Header["X-Mine"] = []string{"a", "b"}
		_, err := s.RoundTrip(req)
		assert.Equal(t, boom, err)
		assert.Equal(t, "mine", got.Context().Value(key{}))
		assert.Equal(t, []string{"a", "b"}, got.Header["X-Mine"])
		assert.Equal(t, req.ContentLength, got.ContentLength)
	})
}

type body struct {
	io.Reader
	closed int
}

func (b *body) Close() error { b.closed++; return nil }

func TestTheCallersRequest(t *testing.T) {
	both(t, time.Hour, nil, func(t *testing.T, s side) {
		b := &body{Reader: strings.NewReader("x")}
		req := must(http.NewRequest("POST", orders, b))
		resp, err := s.RoundTrip(req)
		require.NoError(t, err)
		assert.Empty(t, req.Header)
		assert.NotZero(t, b.closed)
		assert.Equal(t, s.theirs, resp.Request != req, "ours leads to a request that has no token in it")

		// A request that is not sent has its body closed.
		s.world.grant = tripFunc(func(r *http.Request) (*http.Response, error) { return answer(r, 503, ""), nil })
		time.Sleep(2 * time.Hour)
		b = &body{Reader: strings.NewReader("x")}
		_, err = s.RoundTrip(must(http.NewRequest("POST", orders, b)))
		assert.Error(t, err)
		assert.Equal(t, 1, b.closed)
	})
}

func TestErrorTypes(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
		reason jwterrors.Reason
	}{
		{400, "invalid_grant", jwterrors.RefreshTokenInvalid},
		{401, "invalid_client", jwterrors.ClientInvalid},
		{503, "", jwterrors.RefreshUnavailable},
	} {
		t.Run(c.code, func(t *testing.T) {
			both(t, -time.Minute, func(w *world) {
				w.grant = tripFunc(func(r *http.Request) (*http.Response, error) {
					return answer(r, c.status, fmt.Sprintf(`{"error":%q,"error_description":"more"}`, c.code)), nil
				})
			}, func(t *testing.T, s side) {
				client := &http.Client{Transport: s}
				_, err := client.Get(orders)
				var retrieve *oauth2.RetrieveError
				require.ErrorAs(t, err, &retrieve)
				assert.Equal(t, c.code, retrieve.ErrorCode)
				assert.Equal(t, c.status, retrieve.Response.StatusCode)
				var wrapped error = retrieve
				assert.NotEmpty(t, wrapped.Error())
				if s.theirs {
					assert.Equal(t, "more", retrieve.ErrorDescription)
					assert.NotEmpty(t, retrieve.Body)
				} else {
					assert.ErrorIs(t, err, c.reason)
					assert.Empty(t, retrieve.ErrorDescription)
					assert.Empty(t, retrieve.Body)
				}
			})
		})
	}
}

func TestTheTokenType(t *testing.T) {
	for kind, want := range map[string]string{"": "Bearer", "bearer": "Bearer", "BEARER": "Bearer", "mac": "MAC", "DPoP": "DPoP"} {
		t.Run(kind, func(t *testing.T) {
			both(t, -time.Minute, func(w *world) {
				w.grant = tripFunc(func(r *http.Request) (*http.Response, error) {
					return answer(r, 200, fmt.Sprintf(`{"access_token":"access-2","token_type":%q,"expires_in":3600}`, kind)), nil
				})
			}, func(t *testing.T, s side) {
				if !s.theirs && want != "Bearer" {
					_, err := s.RoundTrip(must(http.NewRequest("GET", orders, nil)))
					assert.ErrorIs(t, err, jwterrors.TokenTypeInvalid)
					return
				}
				assert.Equal(t, want+" access-2", s.seen(t, orders))
			})
		})
	}
}

func TestARefusedToken(t *testing.T) {
	both(t, time.Hour, func(w *world) {
		w.api = tripFunc(func(r *http.Request) (*http.Response, error) {
			got := r.Header.Get("Authorization")
			if got == "Bearer access-1" {
				return answer(r, 401, ""), nil
			}
			return answer(r, 200, got), nil
		})
	}, func(t *testing.T, s side) {
		status, got := s.get(t, orders)
		if s.theirs {
			assert.Equal(t, 401, status)
			assert.Zero(t, s.world.grants)
		} else {
			assert.Equal(t, "Bearer access-2", got)
			assert.Equal(t, 1, s.world.grants)
		}
	})
}

func TestWhoWaitsForWhom(t *testing.T) {
	both(t, -time.Minute, func(w *world) {
		w.grant = tripFunc(func(r *http.Request) (*http.Response, error) {
			time.Sleep(10 * time.Second)
			return answer(r, 200, `{"access_token":"access-2","expires_in":3600}`), nil
		})
	}, func(t *testing.T, s side) {
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		send := func(ctx context.Context) error {
			_, err := s.RoundTrip(must(http.NewRequestWithContext(ctx, "GET", orders, nil)))
			return err
		}
		if s.theirs { // a second one would wait for a mutex, in which a bubble's time does not pass
			_ = send(ctx)
			assert.Equal(t, 10*time.Second, time.Since(start))
			return
		}
		done := make(chan error)
		go func() { done <- send(t.Context()) }()
		assert.ErrorIs(t, send(ctx), context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(start))
		assert.NoError(t, <-done)
		assert.Equal(t, 10*time.Second, time.Since(start))
		assert.Equal(t, 1, s.world.grants)
	})
}

// What the answers have beside the tokens.
func TestExtras(t *testing.T) {
	s := newServer(t)
	first := s.login(time.Hour).WithExtra(map[string]any{
		"scope": "read", "id_token": "x.y.z", "refresh_expires_in": 60.0,
	})
	tokens := oauth2x.FromToken(first)
	assert.Equal(t, "read", tokens.Scope)
	assert.WithinDuration(t, time.Now().Add(time.Minute), tokens.RefreshExpiry, 10*time.Second)
	assert.Equal(t, first.Expiry, tokens.Expiry)
	assert.NotContains(t, string(must(json.Marshal(tokens))), "x.y.z")
	assert.True(t, oauth2x.FromToken(nil).IsZero())
	for _, absurd := range []any{-1.0, 0.0, 1e300, "60", nil} {
		assert.Zero(t, oauth2x.FromToken(first.WithExtra(map[string]any{"refresh_expires_in": absurd})).RefreshExpiry)
	}

	tr := s.newTransport(t, oauth2x.RefreshGrant{Config: s.config(), InsecureAllowHTTP: true}, tokens)
	token, err := oauth2x.TokenSource(t.Context(), tr).Token()
	require.NoError(t, err)
	assert.Equal(t, "read", token.Extra("scope"))
}

// The client in the context, where golang.org/x/oauth2 looks for it, is for TokenFunc and
// for token sources; a RefreshGrant has its own.
func TestWhichClientIsAsked(t *testing.T) {
	s := newServer(t)
	asked := 0
	mine := &http.Client{Transport: tripFunc(func(r *http.Request) (*http.Response, error) {
		asked++
		return http.DefaultTransport.RoundTrip(r)
	})}
	tokens := oauth2x.FromToken(s.login(time.Hour))
	_, err := oauth2x.RefreshGrant{Config: s.config(), InsecureAllowHTTP: true, Client: mine}.Refresh(t.Context(), tokens)
	require.NoError(t, err)
	assert.Equal(t, 1, asked)

	ctx := context.WithValue(t.Context(), oauth2.HTTPClient, mine)
	tokens.RefreshToken = "refresh-2"
	_, err = oauth2x.RefreshGrant{Config: s.config(), InsecureAllowHTTP: true}.Refresh(ctx, tokens)
	require.NoError(t, err)
	assert.Equal(t, 1, asked, "it is a Transport that calls Refresh, whose context has no client")

	cc := &clientcredentials.Config{ClientID: clientID, ClientSecret: secret, TokenURL: s.URL + "/token"}
	_, err = oauth2x.TokenFunc(func(ctx context.Context) (*oauth2.Token, error) {
		return cc.Token(context.WithValue(ctx, oauth2.HTTPClient, mine))
	}).Refresh(t.Context(), refresher.Tokens{})
	require.NoError(t, err)
	assert.Equal(t, 2, asked)
}
