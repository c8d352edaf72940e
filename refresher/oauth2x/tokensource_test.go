package oauth2x_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
	"github.com/tokenloop/tokenloop/refresher/oauth2x"
)

// However many ask, an expired token is replaced once, and nobody gets the refresh
// token.
func TestATransportIsATokenSource(t *testing.T) {
	s := newServer(t)
	tr := s.newTransport(t, oauth2x.RefreshGrant{Config: s.config(), InsecureAllowHTTP: true}, oauth2x.FromToken(s.login(-time.Minute)))
	source := oauth2x.TokenSource(t.Context(), tr)
	client := &http.Client{Transport: &oauth2.Transport{Source: source}}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			token, err := source.Token()
			if assert.NoError(t, err) {
				assert.True(t, token.Valid())
				assert.Equal(t, "access-2", token.AccessToken)
				assert.Equal(t, "Bearer", token.Type())
				assert.Empty(t, token.RefreshToken)
				assert.WithinDuration(t, time.Now().Add(time.Hour), token.Expiry, 10*time.Second)
			}
			status, _ := s.get(t, client)
			assert.Equal(t, 200, status)
		})
	}
	wg.Wait()
	grants, _ := s.seen()
	assert.Equal(t, 1, grants)
}

// After a logout the next request has no token, unless ReuseTokenSource is around
// the source.
func TestALogoutIsSeenAtOnce(t *testing.T) {
	s := newServer(t)
	tr := s.newTransport(t, oauth2x.RefreshGrant{Config: s.config(), InsecureAllowHTTP: true}, oauth2x.FromToken(s.login(time.Hour)))
	source := oauth2x.TokenSource(t.Context(), tr)
	at := &http.Client{Transport: &oauth2.Transport{Source: source}}
	around := oauth2.NewClient(t.Context(), source)
	for _, client := range []*http.Client{at, around} {
		status, _ := s.get(t, client)
		require.Equal(t, 200, status)
	}
	require.NoError(t, tr.Logout(t.Context()))
	_, err := at.Get(s.URL + "/api")
	assert.ErrorIs(t, err, jwterrors.LoggedOut)
	var retrieve *oauth2.RetrieveError
	require.ErrorAs(t, err, &retrieve)
	assert.Equal(t, "invalid_grant", retrieve.ErrorCode)
	assert.Equal(t, 400, retrieve.Response.StatusCode)
	status, _ := s.get(t, around)
	assert.Equal(t, 200, status, "as its documentation says")
}

func TestWhatATokenSourceFailsWith(t *testing.T) {
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		err    error
		reason jwterrors.Reason
		code   string // of the RetrieveError; "" for none
	}{
		"the session is over":             {jwterrors.SessionRevoked, jwterrors.SessionRevoked, "invalid_grant"},
		"a person must mend the client":   {jwterrors.ClientInvalid, jwterrors.ClientInvalid, "invalid_client"},
		"an outage":                       {boom, jwterrors.TokenGenerationError, ""},
		"a refusal of the token endpoint": {&jwterrors.Error{Reason: jwterrors.ScopeInvalid, Err: &oauth2.RetrieveError{ErrorCode: "x"}}, jwterrors.ScopeInvalid, "x"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			source := sourceOf(func() (refresher.Tokens, error) { return refresher.Tokens{}, c.err })
			tr := s.newTransport(t, source, oauth2x.FromToken(s.login(-time.Minute)))
			_, err := oauth2x.TokenSource(t.Context(), tr).Token()
			require.ErrorIs(t, err, c.reason)
			assert.Equal(t, c.reason, jwterrors.ReasonOf(err))
			var e *jwterrors.Error
			assert.ErrorAs(t, err, &e)
			var retrieve *oauth2.RetrieveError
			if assert.Equal(t, c.code != "", errors.As(err, &retrieve)) && c.code != "" {
				assert.Equal(t, c.code, retrieve.ErrorCode)
			}
			if c.err == boom {
				assert.ErrorIs(t, err, boom)
			}
		})
	}
}

type sourceOf func() (refresher.Tokens, error)

func (f sourceOf) Refresh(context.Context, refresher.Tokens) (refresher.Tokens, error) { return f() }

func TestATokenSourceKeepsToItsContext(t *testing.T) {
	s := newServer(t)
	release := make(chan struct{})
	source := sourceOf(func() (refresher.Tokens, error) { <-release; return refresher.Tokens{}, nil })
	tr := s.newTransport(t, source, oauth2x.FromToken(s.login(-time.Minute)))
	defer close(release)
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	cancel(gone)
	_, err := oauth2x.TokenSource(ctx, tr).Token()
	assert.Equal(t, gone, err)
}
