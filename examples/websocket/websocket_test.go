package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/examples/internal/exampletest"
	"github.com/tokenloop/tokenloop/middleware"
	"github.com/tokenloop/tokenloop/refresher"
)

// A service is a feed on loopback, whose clock can be set forward and which can
// refuse every token.
type service struct {
	*httptest.Server
	issuer     *exampletest.Issuer
	ahead      atomic.Int64 // of the time, in nanoseconds
	refuse     atomic.Pointer[jwterrors.Reason]
	handshakes atomic.Int64
	running    atomic.Int64 // handlers
}

func newService(t *testing.T) *service {
	s := &service{}
	s.issuer = exampletest.NewIssuer(t, func(c *middleware.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }
		c.Validate = func(context.Context, *middleware.Claims) error {
			if reason := s.refuse.Load(); reason != nil {
				return *reason
			}
			return nil
		}
	})
	auth := s.issuer.Auth
	handler := auth.Handler(feed{auth, time.Millisecond})
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.handshakes.Add(1)
		s.running.Add(1)
		defer s.running.Add(-1)
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

type source func() (refresher.Tokens, error)

func (s source) Refresh(context.Context, refresher.Tokens) (refresher.Tokens, error) { return s() }

// session begins with token, and gets others from next.
func (s *service) session(t *testing.T, token string, next source) *refresher.Transport {
	t.Helper()
	tr, err := refresher.New(refresher.Config{
		Origins: []string{s.URL}, InsecureAllowHTTP: true, Source: next, MaxRetries: refresher.NoRetries, RefreshWindow: refresher.NoRefreshWindow,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tr.Close() })
	if err := tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: token}); err != nil {
		t.Fatal(err)
	}
	return tr
}

// watch follows the feed until enough messages have come, and returns the error.
// After each, do is called with its number.
func (s *service) watch(t *testing.T, tr *refresher.Transport, enough int, do func(n int)) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	w := watcher{client: &http.Client{Transport: tr}, url: strings.Replace(s.URL, "http", "ws", 1), pause: time.Millisecond}
	n := 0
	err := w.watch(ctx, func(message string) {
		if n++; !strings.HasSuffix(message, " of alice") {
			t.Errorf("the message %q is not alice's", message)
		}
		if do != nil {
			do(n)
		}
		if n == enough {
			cancel()
		}
	})
	if n < enough {
		t.Errorf("%d messages, want %d", n, enough)
	}
	return err
}

func TestTheHandshakeHasTheSessionsToken(t *testing.T) {
	s, another := newService(t), exampletest.NewIssuer(t)
	for _, tt := range []struct {
		name       string
		token      string
		handshakes int64
		refreshes  int64
	}{
		{"a good one", s.issuer.Token(t, "", time.Hour), 1, 0},
		{"one that has expired is renewed before", s.issuer.Token(t, "", -time.Hour), 1, 1},
		{"one that is refused is renewed after", another.Token(t, "", time.Hour), 2, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := s.handshakes.Load()
			var refreshes atomic.Int64
			tr := s.session(t, tt.token, func() (refresher.Tokens, error) {
				refreshes.Add(1)
				return refresher.Tokens{AccessToken: s.issuer.Token(t, "", time.Hour)}, nil
			})
			if err := s.watch(t, tr, 3, nil); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			if got := s.handshakes.Load() - before; got != tt.handshakes || refreshes.Load() != tt.refreshes {
				t.Errorf("%d handshakes and %d refreshes, want %d and %d", got, refreshes.Load(), tt.handshakes, tt.refreshes)
			}
		})
	}
}

// The connection ends with its token, and the next one begins with another.
func TestAConnectionEndsWithItsToken(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(s *service)
		mend func(s *service)
	}{
		{"it expires", func(s *service) { s.ahead.Store(int64(time.Hour + 31*time.Second)) }, func(*service) {}},
		{
			"it is revoked",
			func(s *service) { s.refuse.Store(new(jwterrors.TokenInvalidated)) },
			func(s *service) { s.refuse.Store(nil) },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newService(t)
			var refreshes atomic.Int64
			tr := s.session(t, s.issuer.Token(t, "", time.Hour), func() (refresher.Tokens, error) {
				refreshes.Add(1)
				tt.mend(s)
				return refresher.Tokens{AccessToken: s.issuer.Token(t, "", 3*time.Hour)}, nil
			})
			err := s.watch(t, tr, 20, func(n int) {
				if n == 3 {
					tt.end(s)
				}
			})
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			if refreshes.Load() != 1 {
				t.Errorf("%d refreshes, want 1", refreshes.Load())
			}
			if got := s.handshakes.Load(); got != 3 { // the first, one refused, and its retry
				t.Errorf("%d handshakes, want 3", got)
			}
		})
	}
}

func TestWhatAWatcherReturns(t *testing.T) {
	for _, tt := range []struct {
		name   string
		do     func(t *testing.T, s *service, tr *refresher.Transport)
		next   error
		reason jwterrors.Reason
	}{
		{"after a logout", func(t *testing.T, _ *service, tr *refresher.Transport) {
			if err := tr.Logout(t.Context()); err != nil {
				t.Fatal(err)
			}
		}, nil, jwterrors.LoggedOut},
		{"a refusal that no token mends", func(_ *testing.T, s *service, _ *refresher.Transport) {
			s.refuse.Store(new(jwterrors.ScopeInsufficient))
		}, nil, jwterrors.ScopeInsufficient},
		{"the end of the session", func(_ *testing.T, s *service, _ *refresher.Transport) {
			s.refuse.Store(new(jwterrors.TokenInvalidated))
		}, jwterrors.SessionRevoked, jwterrors.TokenInvalidated}, // the server's answer, as for every request
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newService(t)
			tr := s.session(t, s.issuer.Token(t, "", time.Hour), func() (refresher.Tokens, error) { return refresher.Tokens{}, tt.next })
			tt.do(t, s, tr)
			if err := s.watch(t, tr, 0, nil); jwterrors.ReasonOf(err) != tt.reason {
				t.Errorf("got %v, want %v", err, tt.reason)
			}
		})
	}
}

// A client that leaves does not keep its handler, and a page of another site does
// not get in.
func TestTheServersSide(t *testing.T) {
	s := newService(t)
	header := http.Header{"Authorization": {"Bearer " + s.issuer.Token(t, "", time.Hour)}}
	conn, _, err := websocket.Dial(t.Context(), s.URL, &websocket.DialOptions{HTTPHeader: header})
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.CloseNow()
	for deadline := time.Now().Add(10 * time.Second); s.running.Load() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the handler still runs")
		}
	}
	for _, tt := range []struct {
		origin, authorization string
		status                int
	}{
		{"https://evil.example.com", "Bearer " + s.issuer.Token(t, "", time.Hour), 403},
		{"", "", 401},
		{"", "Bearer " + s.issuer.Token(t, "", -time.Hour), 401},
	} {
		header := http.Header{}
		for name, value := range map[string]string{"Origin": tt.origin, "Authorization": tt.authorization} {
			if value != "" {
				header.Set(name, value)
			}
		}
		_, resp, err := websocket.Dial(t.Context(), s.URL, &websocket.DialOptions{HTTPHeader: header})
		if err == nil || resp == nil || resp.StatusCode != tt.status {
			t.Errorf("origin %q: %v, %v, want %d", tt.origin, resp, err, tt.status)
		}
	}
}
