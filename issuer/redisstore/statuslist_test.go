package redisstore_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/redisstore"
)

// A feed keeps the status lists of two processes in step: what the one denies, the
// other publishes, and so does one that starts later.
func TestAFeedIntoAStatusList(t *testing.T) {
	client, prefix := shared(t)
	key, err := issuer.GenerateKey(issuer.ES256)
	require.NoError(t, err)
	store := newStore(t, client, prefix)
	process := func() (*issuer.Issuer, *redisstore.Feed) {
		list, err := issuer.NewStatusList(issuer.StatusListConfig{MaxAge: 30 * time.Second})
		require.NoError(t, err)
		feed, err := redisstore.NewFeed(redisstore.FeedConfig{Client: client, Prefix: prefix, Mirror: list, Interval: 20 * time.Millisecond})
		require.NoError(t, err)
		ring, err := issuer.NewKeyRing(issuer.KeyRingConfig{Key: key})
		require.NoError(t, err)
		iss, err := issuer.New(issuer.Config{
			Issuer: "https://id.example.com", Audience: []string{"orders"}, Keys: ring, Store: store, StatusList: list, Denylist: feed,
			MasterKeys:   []issuer.MasterKey{{Secret: []byte("an obviously fake master key, 32+ bytes")}},
			Authenticate: func(context.Context, issuer.Credentials) (issuer.User, error) { return issuer.User{ID: "alice"}, nil },
			Logger:       slog.New(slog.DiscardHandler),
		})
		require.NoError(t, err)
		return iss, feed
	}
	run := func(feed *redisstore.Feed) {
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); _ = feed.Run(ctx) }()
		t.Cleanup(func() { stop(); <-ended })
	}
	first, feed := process()
	second, other := process()
	code, _ := publishedBits(t, second)
	assert.Equal(t, 503, code, "before the feed runs")
	run(feed)
	run(other)

	r := httptest.NewRequest("POST", "/auth/login", strings.NewReader(`{"username":"alice","password":"any"}`))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	first.ServeHTTP(w, r)
	var login struct {
		AccessToken string `json:"access_token"`
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &login), w.Body.String())
	var claims struct {
		SessionID string `json:"sid"`
		Status    struct {
			StatusList struct{ Idx int } `json:"status_list"`
		}
	}
	payload(t, login.AccessToken, &claims)
	entry := claims.Status.StatusList.Idx
	until(t, "both processes publish", func(context.Context) bool {
		code, bits := publishedBits(t, second)
		return code == 200 && bits[entry/8]>>(entry%8)&1 == 0
	})
	require.NoError(t, first.RevokeSession(t.Context(), claims.SessionID))
	late, feed := process()
	run(feed)
	for _, iss := range []*issuer.Issuer{first, second, late} {
		until(t, "the token is in the list", func(context.Context) bool {
			code, bits := publishedBits(t, iss)
			return code == 200 && bits[entry/8]>>(entry%8)&1 == 1
		})
	}
}

// publishedBits returns the status and the entries of an issuer's list.
func publishedBits(t *testing.T, iss *issuer.Issuer) (int, []byte) {
	t.Helper()
	w := httptest.NewRecorder()
	iss.ServeHTTP(w, httptest.NewRequest("GET", "/auth/status-list", nil))
	if w.Code != 200 {
		return w.Code, nil
	}
	var claims struct {
		StatusList struct{ Lst string } `json:"status_list"`
	}
	payload(t, w.Body.String(), &claims)
	data, err := base64.RawURLEncoding.DecodeString(claims.StatusList.Lst)
	require.NoError(t, err)
	z, err := zlib.NewReader(bytes.NewReader(data))
	require.NoError(t, err)
	bits, err := io.ReadAll(z)
	require.NoError(t, err)
	return w.Code, bits
}

func payload(t *testing.T, token string, claims any) {
	t.Helper()
	data, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, claims))
}
