package refresher_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
)

// renewing is a Transport on base, with the token 1 that can be sent until expiry, and
// a source of the token 2. It counts what the source was asked.
func renewing(t *testing.T, base tripFunc, expiry time.Time) (*refresher.Transport, *atomic.Int64) {
	t.Helper()
	var asked atomic.Int64
	tr := newTransport(t, refresher.Config{
		Origins: []string{"https://api.example.com"}, Base: base,
		Source: sourceFunc(func(context.Context, refresher.Tokens) (refresher.Tokens, error) {
			asked.Add(1)
			return refresher.Tokens{AccessToken: "2", Expiry: time.Now().Add(time.Hour)}, nil
		}),
	})
	require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: "1", Expiry: expiry}))
	return tr, &asked
}

// answer answers r with a status.
func answer(r *http.Request, status int) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: http.NoBody, Request: r}
}

func TestARequestWithItsOwnTokenNeedsNone(t *testing.T) {
	tr, asked := renewing(t, func(r *http.Request) (*http.Response, error) {
		assert.Equal(t, []string{"Bearer own"}, r.Header["Authorization"])
		return answer(r, 200), nil
	}, time.Now().Add(-time.Minute))
	r := must(http.NewRequest("GET", "https://api.example.com/", nil))
	r.Header.Set("Authorization", "Bearer own")
	resp, err := tr.RoundTrip(r)
	require.NoError(t, err)
	assert.Equal(t, 200, resp.StatusCode)
	assert.Zero(t, asked.Load())
}

// A base of the caller's may forget the body, and the network may fail in between.
func TestANetworkThatFailsAfterTheRefresh(t *testing.T) {
	down := errors.New("down")
	tr, asked := renewing(t, func(r *http.Request) (*http.Response, error) {
		if strings.HasSuffix(r.Header.Get("Authorization"), "2") {
			return nil, down
		}
		resp := answer(r, 401)
		resp.Body = nil
		return resp, nil
	}, time.Now().Add(time.Hour))
	resp, err := tr.RoundTrip(must(http.NewRequest("GET", "https://api.example.com/", nil)))
	assert.Nil(t, resp)
	assert.ErrorIs(t, err, down)
	assert.EqualValues(t, 1, asked.Load())
}

// Who does not wait for the store gets an error, and sends nothing without a token.
func TestWhoDoesNotWaitForTheStore(t *testing.T) {
	store, goOn := &badStore{}, make(chan struct{})
	store.set("Load", func() { <-goOn })
	defer close(goOn)
	tr := newTransport(t, refresher.Config{
		Origins: []string{"https://api.example.com"}, AuthURL: "https://id.example.com/auth", Store: store,
		Base: tripFunc(func(r *http.Request) (*http.Response, error) { t.Error("sent"); return answer(r, 200), nil }),
	})
	left := errors.New("the caller has left")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(left)
	_, err := tr.RoundTrip(must(http.NewRequestWithContext(ctx, "GET", "https://api.example.com/", nil)))
	assert.ErrorIs(t, err, left)
	assert.ErrorIs(t, tr.Refresh(ctx), left)
}

// What a newer token would not mend asks for none.
func TestATokenIsNotTheReasonOfEveryRefusal(t *testing.T) {
	tr, asked := renewing(t, nil, time.Now().Add(time.Hour))
	tokens := must(tr.Token(t.Context()))
	_, err := tr.Refused(t.Context(), tokens, jwterrors.ScopeInsufficient)
	assert.Equal(t, jwterrors.ScopeInsufficient, jwterrors.ReasonOf(err))
	assert.Zero(t, asked.Load())
	assert.Equal(t, "2", must(tr.Refused(t.Context(), tokens, jwterrors.TokenExpired)).AccessToken)
}

func TestARefreshWithoutARefreshTokenAsksNobody(t *testing.T) {
	_, err := refresher.OAuth{TokenURL: "https://id.example.com/token", ClientID: "app"}.Refresh(t.Context(), refresher.Tokens{AccessToken: "1"})
	assert.Equal(t, jwterrors.RefreshTokenMissing, jwterrors.ReasonOf(err))
}
