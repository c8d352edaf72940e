package oauth2x

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
)

// FromToken returns the tokens of token, to begin a session with:
//
//	token, err := config.Exchange(ctx, code)
//	...
//	err = transport.SetTokens(ctx, oauth2x.FromToken(token))
//
// The scope and the "refresh_expires_in" of the server's answer come along where
// token still has them. What else it has, an ID token for one, does not. A nil
// token gives zero Tokens.
func FromToken(token *oauth2.Token) refresher.Tokens {
	if token == nil {
		return refresher.Tokens{}
	}
	tokens := refresher.Tokens{
		AccessToken: token.AccessToken, RefreshToken: token.RefreshToken,
		TokenType: token.TokenType, Expiry: token.Expiry,
	}
	tokens.Scope, _ = token.Extra("scope").(string)
	const century = 100 * 365 * 24 * 60 * 60
	if s, ok := token.Extra("refresh_expires_in").(float64); ok && 0 < s && s < century {
		tokens.RefreshExpiry = time.Now().Add(time.Duration(s) * time.Second)
	}
	return tokens
}

// A RefreshGrant is a refresher.Source that exchanges the refresh token at the
// token endpoint of Config (RFC 6749, Section 6), which must not be nil. The
// refresh token is that of the Transport, which has it in its Store: Config keeps
// none. An oauth2.Config knows no revocation endpoint (RFC 7009) either, so that a
// Logout forgets the tokens here alone: refresher.OAuth has a RevokeURL, and is for
// programs without an oauth2.Config.
//
// Set Config.Endpoint.AuthStyle. With AuthStyleAutoDetect, golang.org/x/oauth2
// repeats a call that failed, with the same refresh token, until one has
// succeeded.
type RefreshGrant struct {
	Config *oauth2.Config

	// Client makes the calls. Nil means one on http.DefaultTransport, whatever
	// refresher.Config.Base is. Unless it
	// has a CheckRedirect, redirects are not followed: they would take the
	// refresh token along. Where refresher.Config.DPoP is set, its Transport is
	// DPoPKey.Transport of the same key.
	Client *http.Client

	// InsecureAllowHTTP allows plain http for the token endpoint, on which
	// everybody on the way can read the refresh token and the client's secret.
	InsecureAllowHTTP bool
}

func (g RefreshGrant) text() string {
	if g.Config == nil {
		return "RefreshGrant{}"
	}
	to, _, _ := strings.Cut(g.Config.Endpoint.TokenURL, "?")
	return fmt.Sprintf("RefreshGrant{%q, client %q}", to, g.Config.ClientID)
}

// Format writes one line without the client's secret, for every verb and flag.
func (g RefreshGrant) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, g.text()) }

// LogValue returns what Format writes.
func (g RefreshGrant) LogValue() slog.Value { return slog.StringValue(g.text()) }

// MarshalJSON returns what Format writes.
func (g RefreshGrant) MarshalJSON() ([]byte, error) { return json.Marshal(g.text()) }

// Refresh makes g a refresher.Source. The retry key of current is sent as
// Idempotency-Key.
func (g RefreshGrant) Refresh(ctx context.Context, current refresher.Tokens) (refresher.Tokens, error) {
	if g.Config == nil {
		return refresher.Tokens{}, invalid("a RefreshGrant needs a Config")
	}
	if current.RefreshToken == "" {
		return refresher.Tokens{}, &jwterrors.Error{
			Reason: jwterrors.RefreshTokenMissing, Err: errors.New("oauth2x: there is no refresh token"),
		}
	}
	ctx = context.WithValue(ctx, oauth2.HTTPClient, client(g.Client, once{key: current.RetryKey, https: !g.InsecureAllowHTTP}))
	// The expiry of no access token is looked at: there is none.
	token, err := g.Config.TokenSource(ctx, &oauth2.Token{RefreshToken: current.RefreshToken}).Token()
	if err != nil {
		return refresher.Tokens{}, reasoned(err)
	}
	return FromToken(token), nil
}

// A TokenFunc is a refresher.Source that gets a token from a function with a context,
// for example the method Token of a clientcredentials.Config:
//
//	Source:     oauth2x.TokenFunc(config.Token),
//	Unattended: true,
//
// Redirects of its calls are not followed, unless the function puts an HTTP client
// of its own into the context (oauth2.HTTPClient). That it calls an https URL is for
// the function to see to.
type TokenFunc func(ctx context.Context) (*oauth2.Token, error)

// Refresh makes f a refresher.Source.
func (f TokenFunc) Refresh(ctx context.Context, _ refresher.Tokens) (refresher.Tokens, error) {
	if f == nil {
		return refresher.Tokens{}, invalid("a TokenFunc needs a function")
	}
	token, err := f(context.WithValue(ctx, oauth2.HTTPClient, client(nil, once{})))
	if err != nil {
		return refresher.Tokens{}, reasoned(err)
	}
	return FromToken(token), nil
}

// FromTokenSource returns a refresher.Source that gets its tokens from source,
// which is then used by nothing else. It suits sources that renew their tokens
// themselves; where there is a Config, RefreshGrant and TokenFunc are better: they
// keep to the context.
//
// What oauth2.ReuseTokenSource keeps is passed over, so that source can be asked
// before a token has expired. A source of another make that keeps its token gives
// it again: then a token that the server refuses early is not replaced.
//
// A source has no context. One that does not return in time is left alone, and
// asked no second time before it has.
func FromTokenSource(source oauth2.TokenSource) refresher.Source {
	return &tokenSource{source: source}
}

type tokenSource struct {
	source oauth2.TokenSource

	mu   sync.Mutex
	call *call // nobody has taken its result yet; may be nil
}

// A call asks the source once, on a goroutine of its own.
type call struct {
	done  chan struct{}
	token *oauth2.Token
	err   error
}

func (s *tokenSource) Refresh(ctx context.Context, _ refresher.Tokens) (refresher.Tokens, error) {
	if s.source == nil {
		return refresher.Tokens{}, invalid("FromTokenSource needs a source")
	}
	c := s.begin()
	select {
	case <-c.done:
	case <-ctx.Done():
		return refresher.Tokens{}, reasoned(context.Cause(ctx))
	}
	s.mu.Lock()
	if s.call == c {
		s.call = nil
	}
	s.mu.Unlock()
	if c.err != nil {
		return refresher.Tokens{}, reasoned(c.err)
	}
	return FromToken(c.token), nil
}

// begin returns the call that is under way, or a new one.
func (s *tokenSource) begin() *call {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.call != nil {
		return s.call
	}
	c := &call{done: make(chan struct{}), err: errors.New("a panic or Goexit in the TokenSource")}
	s.call = c
	go func() {
		defer close(c.done)
		defer func() { _ = recover() }() // its value may hold a secret
		// ReuseTokenSource takes another one apart, so that this one begins
		// with a token that is of no use.
		c.token, c.err = oauth2.ReuseTokenSource(&oauth2.Token{}, s.source).Token()
	}()
	return c
}

// client returns a copy of base that sends its requests through o.
func client(base *http.Client, o once) *http.Client {
	c := http.Client{}
	if base != nil {
		c = *base
	}
	if c.CheckRedirect == nil {
		c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	o.base = c.Transport
	c.Transport = o
	return &c
}

// once sends a request one time.
type once struct {
	base  http.RoundTripper
	key   string // is sent as Idempotency-Key
	https bool   // nothing else will do
}

func (o once) RoundTrip(r *http.Request) (*http.Response, error) {
	if o.https && r.URL.Scheme != "https" {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, invalid("plain http needs InsecureAllowHTTP")
	}
	with := r.Clone(r.Context())
	if o.key != "" {
		with.Header.Set("Idempotency-Key", o.key)
	}
	// Without GetBody net/http does not send it again by itself: how often the
	// server is called is for the Transport to say.
	with.GetBody = nil
	if o.base == nil {
		return http.DefaultTransport.RoundTrip(with)
	}
	return o.base.RoundTrip(with)
}

func invalid(what string) error {
	return &jwterrors.Error{Reason: jwterrors.RequestInvalid, Err: fmt.Errorf("oauth2x: %s", what)}
}
