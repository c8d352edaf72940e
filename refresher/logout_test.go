package refresher_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
)

// A line is the way to a service. It can be broken for the calls whose path has
// a suffix, and notes when they were made.
type line struct {
	next http.RoundTripper

	mu     sync.Mutex
	suffix string
	answer func(r *http.Request) (*http.Response, error)
	calls  map[string][]time.Time // by the last element of the path
}

func newLine(s *service) *line {
	return &line{next: handlerTransport{s}, calls: make(map[string][]time.Time)}
}

func (l *line) breaks(suffix string, answer func(r *http.Request) (*http.Response, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.suffix, l.answer = suffix, answer
}

func (l *line) mend() { l.breaks("", nil) }

func (l *line) count(name string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.calls[name])
}

func (l *line) RoundTrip(r *http.Request) (*http.Response, error) {
	l.mu.Lock()
	name := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	l.calls[name] = append(l.calls[name], time.Now())
	answer := l.answer
	if !strings.HasSuffix(r.URL.Path, l.suffix) {
		answer = nil
	}
	l.mu.Unlock()
	if answer != nil {
		return answer(r)
	}
	return l.next.RoundTrip(r)
}

var errUnplugged = errors.New("no route to host")

func unplugged(*http.Request) (*http.Response, error) { return nil, errUnplugged }

func answers(status int, contentType, body string) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		header := http.Header{"Content-Type": {contentType}, "Location": {"https://portal.test/"}}
		return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	}
}

// onLine is a Transport on s over a line, with the waits of the default.
func onLine(t testing.TB, s *service, change func(*refresher.Config)) (*refresher.Transport, *line) {
	l := newLine(s)
	return offline(t, s, func(c *refresher.Config) {
		c.Base, c.RetryInterval = l, 2*time.Second
		if change != nil {
			change(c)
		}
	}), l
}

func revoked(s *service) []string {
	_, _, revoked := s.log()
	return revoked
}

// NV-17, NV-20, AX-23, D3: without a network the tokens are gone and requests
// fail at once. The issuer is told when it can be: by Flush, and by whatever the
// Transport does next.
func TestALogoutWithoutANetworkIsSentLater(t *testing.T) {
	for name, later := range map[string]func(t *testing.T, tr *refresher.Transport){
		"by Flush":      func(t *testing.T, tr *refresher.Transport) { require.NoError(t, tr.Flush(t.Context())) },
		"with a login":  func(t *testing.T, tr *refresher.Transport) { login(t, tr) },
		"with a logout": func(t *testing.T, tr *refresher.Transport) { login(t, tr); require.NoError(t, tr.Logout(t.Context())) },
		"with a request that is refused": func(t *testing.T, tr *refresher.Transport) {
			_, err := get(t.Context(), tr.Client(), api)
			assert.ErrorIs(t, err, jwterrors.LoggedOut)
		},
		"with tokens from elsewhere": func(t *testing.T, tr *refresher.Transport) {
			require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: "opaque"}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, store := newService(), &refresher.MemoryStore{}
				tr, l := onLine(t, s, func(c *refresher.Config) { c.Store = store })
				login(t, tr)
				l.breaks("", unplugged)
				start := time.Now()
				err := tr.Logout(t.Context())
				assert.ErrorIs(t, err, jwterrors.RefreshUnavailable)
				assert.ErrorIs(t, err, errUnplugged)
				_, active := tr.Tokens()
				assert.False(t, active)
				assert.True(t, must(store.Load(t.Context())).IsZero())
				for range 1000 {
					_, err = get(t.Context(), tr.Client(), api)
					assert.ErrorIs(t, err, jwterrors.LoggedOut)
				}
				synctest.Wait()
				assert.Equal(t, 1, l.count("logout"), "nobody hammers")
				assert.Zero(t, time.Since(start))

				l.mend()
				time.Sleep(2 * time.Second)
				later(t, tr)
				synctest.Wait()
				assert.Contains(t, revoked(s), "refresh-token-number-1")
				calls := l.count("logout")
				for range 10 { // and no more
					_, _ = get(t.Context(), tr.Client(), api)
				}
				require.NoError(t, tr.Flush(t.Context()))
				synctest.Wait()
				assert.Equal(t, calls, l.count("logout"))
			})
		})
	}
}

// A request of the session that was replaced says nothing: what is sent is the
// refresh token of the session that has ended, and a later login lives on.
func TestAnOldLogoutDoesNotEndALaterLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		tr, l := onLine(t, s, nil)
		login(t, tr)
		first, _ := tr.Tokens()
		l.breaks("/logout", unplugged)
		require.Error(t, tr.Logout(t.Context()))
		login(t, tr)
		second, _ := tr.Tokens()
		var authorization string
		l.breaks("/logout", func(r *http.Request) (*http.Response, error) {
			authorization = r.Header.Get("Authorization")
			return handlerTransport{s}.RoundTrip(r)
		})
		require.NoError(t, tr.Flush(t.Context()))
		assert.Equal(t, []string{first.RefreshToken}, revoked(s))
		assert.Equal(t, "Bearer "+first.AccessToken, authorization)
		assert.NotEqual(t, first.RefreshToken, second.RefreshToken)
		status, err := get(t.Context(), tr.Client(), api)
		require.NoError(t, err)
		assert.Equal(t, 200, status)
		require.NoError(t, tr.Refresh(t.Context()))
	})
}

// What an answer to a logout means: either the issuer knows of no such session
// any more, or it is asked again.
func TestWhatAnAnswerToALogoutMeans(t *testing.T) {
	const json = "application/json"
	for _, c := range []struct {
		name    string
		answer  func(*http.Request) (*http.Response, error)
		reason  jwterrors.Reason // of Logout; empty: the logout is done
		atLeast time.Duration    // between two attempts
	}{
		{"204", answers(204, "", ""), "", 0},
		{"200 with nothing (RFC 7009)", answers(200, "", ""), "", 0},
		{"200 with JSON", answers(200, json, `{"success":true}`), "", 0},
		{"invalid_grant", answers(400, json, `{"error":"invalid_grant"}`), "", 0},
		{"revoked already", answers(401, json, `{"reason":"AUTH_SESSION_REVOKED"}`), "", 0},
		{"expired already", answers(401, json, `{"reason":"AUTH_REFRESH_TOKEN_EXPIRED"}`), "", 0},
		{"unknown", answers(400, json, `{"reason":"AUTH_REFRESH_TOKEN_INVALID"}`), "", 0},
		{"200 that says that it is revoked", answers(200, json, `{"error":"invalid_grant"}`), "", 0},
		{"200 that says that it is not", answers(200, json, `{"error":"temporarily_unavailable"}`), jwterrors.StoreUnavailable, 2 * time.Second},
		{"no answer", unplugged, jwterrors.RefreshUnavailable, 2 * time.Second},
		{"500", answers(500, "", ""), jwterrors.RefreshUnavailable, 2 * time.Second},
		{"500 that says the session is over", answers(500, json, `{"reason":"AUTH_SESSION_REVOKED"}`), jwterrors.RefreshUnavailable, 2 * time.Second},
		{"503 with a reason", answers(503, json, `{"reason":"AUTH_STORE_UNAVAILABLE"}`), jwterrors.StoreUnavailable, 2 * time.Second},
		{"200 with a web page", answers(200, "text/html", `<html>please pay</html>`), jwterrors.RefreshUnavailable, 2 * time.Second},
		{"200 with a web page that does not say so", answers(200, "", " \n<!doctype html>"), jwterrors.RefreshUnavailable, 2 * time.Second},
		{"a redirect", answers(302, "", ""), jwterrors.RefreshUnavailable, 2 * time.Second},
		{"429", answers(429, "", ""), jwterrors.RateLimited, 2 * time.Second},
		{"404, which a person must mend", answers(404, "", ""), jwterrors.Paused, time.Minute},
		{"invalid_client", answers(401, json, `{"error":"invalid_client"}`), jwterrors.ClientInvalid, time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService()
				tr, l := onLine(t, s, nil)
				login(t, tr)
				l.breaks("/logout", c.answer)
				start := time.Now()
				err := tr.Logout(t.Context())
				assert.Equal(t, c.reason, jwterrors.ReasonOf(err))
				_, err = get(t.Context(), tr.Client(), api)
				assert.ErrorIs(t, err, jwterrors.LoggedOut)
				var second time.Duration
				l.breaks("/logout", func(r *http.Request) (*http.Response, error) {
					second = time.Since(start)
					return handlerTransport{s}.RoundTrip(r)
				})
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				assert.ErrorIs(t, tr.Run(ctx), context.DeadlineExceeded)
				if c.reason == "" {
					assert.Equal(t, 1, l.count("logout"))
					return
				}
				assert.Equal(t, 2, l.count("logout"))
				assert.Equal(t, []string{"refresh-token-number-1"}, revoked(s))
				assert.LessOrEqual(t, second, time.Millisecond, "Run tries at once, whatever was before")

				login(t, tr)
				l.breaks("/logout", c.answer)
				assert.Error(t, tr.Logout(t.Context()))
				for l.count("logout") == 3 {
					_, _ = get(t.Context(), tr.Client(), api)
					time.Sleep(time.Second / 2)
				}
				synctest.Wait()
				l.mu.Lock()
				defer l.mu.Unlock()
				times := l.calls["logout"]
				assert.Equal(t, c.atLeast, times[3].Sub(times[2]), "but not what comes along by itself")
			})
		})
	}
}

// Run keeps to the waits of a refresh, with a Retry-After of the server, within a
// limit, and for as long as it takes.
func TestRunKeepsTryingWithBackoff(t *testing.T) {
	for name, c := range map[string]struct {
		retryAfter string
		want       []time.Duration // between the attempts
	}{
		"no answer":   {"", []time.Duration{2, 4, 8, 16, 32, 60, 60, 60, 60}},
		"Retry-After": {"7", []time.Duration{7, 7, 8, 16, 32, 60, 60, 60, 60}},
		"absurd":      {"31536000", []time.Duration{60, 60, 60, 60, 60, 60}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService()
				tr, l := onLine(t, s, nil)
				login(t, tr)
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- tr.Run(ctx) }()
				synctest.Wait()
				l.breaks("/logout", func(r *http.Request) (*http.Response, error) {
					resp, err := answers(429, "", "")(r)
					resp.Header.Set("Retry-After", c.retryAfter)
					return resp, err
				})
				require.Error(t, tr.Logout(t.Context()))
				synctest.Wait()
				time.Sleep(303 * time.Second)
				l.mu.Lock()
				times := l.calls["logout"]
				l.mu.Unlock()
				for i := range times[1:] {
					assert.Equal(t, c.want[i]*time.Second, times[i+1].Sub(times[i]), "%d", i)
				}
				assert.Greater(t, len(times), 5)
				l.mend()
				time.Sleep(61 * time.Second)
				assert.Equal(t, []string{"refresh-token-number-1"}, revoked(s))
				cancel()
				assert.ErrorIs(t, <-done, context.Canceled)

				go func() { done <- tr.Run(t.Context()) }()
				synctest.Wait()
				require.NoError(t, tr.Close())
				assert.Error(t, <-done)
			})
		})
	}
}

// Flush returns when ctx leaves no time for another attempt.
func TestFlushDoesNotWaitInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		tr, l := onLine(t, s, nil)
		require.NoError(t, tr.Flush(t.Context()), "there is nothing to send")
		login(t, tr)
		l.breaks("/logout", unplugged)
		require.Error(t, tr.Logout(t.Context()))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		start := time.Now()
		assert.ErrorIs(t, tr.Flush(ctx), errUnplugged)
		assert.Equal(t, 4*time.Second, time.Since(start), "the next wait would be eight seconds")
		assert.Equal(t, 3, l.count("logout"))
	})
}

// One logout that the issuer cannot deal with does not hold up the others, and
// an issuer that is away is asked once, not once for each.
func TestOneLogoutDoesNotHoldUpTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		tr, l := onLine(t, s, nil)
		l.breaks("/logout", unplugged)
		for range 5 {
			login(t, tr)
			require.Error(t, tr.Logout(t.Context()))
		}
		time.Sleep(time.Minute)
		before := l.count("logout")
		_, _ = get(t.Context(), tr.Client(), api)
		synctest.Wait()
		assert.Equal(t, before+1, l.count("logout"))
		l.breaks("/logout", func(r *http.Request) (*http.Response, error) {
			data := must(io.ReadAll(r.Body))
			if strings.Contains(string(data), "refresh-token-number-3") {
				return answers(500, "", "")(r)
			}
			r = r.Clone(r.Context())
			r.Body = io.NopCloser(strings.NewReader(string(data)))
			return handlerTransport{s}.RoundTrip(r)
		})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		assert.ErrorIs(t, tr.Flush(ctx), jwterrors.RefreshUnavailable)
		assert.ElementsMatch(t, []string{"refresh-token-number-1", "refresh-token-number-2", "refresh-token-number-4", "refresh-token-number-5"}, revoked(s))
	})
}

// What a refresh or a login brings after a logout is revoked, also when the
// issuer cannot be told at once.
func TestWhatComesTooLateIsRevokedLater(t *testing.T) { // MO-13
	for name, during := range map[string]struct {
		path string
		call func(t *testing.T, tr *refresher.Transport) error
	}{
		"a refresh": {"/refresh", func(t *testing.T, tr *refresher.Transport) error { return tr.Refresh(t.Context()) }},
		"a login":   {"/login", func(t *testing.T, tr *refresher.Transport) error { return tr.Login(t.Context(), alice) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService()
				tr, l := onLine(t, s, nil)
				login(t, tr)
				release := make(chan struct{})
				l.breaks(during.path, func(r *http.Request) (*http.Response, error) {
					resp, err := handlerTransport{s}.RoundTrip(r)
					<-release
					return resp, err
				})
				result := make(chan error)
				go func() { result <- during.call(t, tr) }()
				synctest.Wait()
				l.breaks("", unplugged)
				require.Error(t, tr.Logout(t.Context()))
				close(release)
				assert.ErrorIs(t, <-result, jwterrors.LoggedOut)
				synctest.Wait()
				assert.Empty(t, revoked(s))
				l.mend()
				require.NoError(t, tr.Flush(t.Context()))
				assert.ElementsMatch(t, []string{"refresh-token-number-1", "refresh-token-number-2"}, revoked(s))
			})
		})
	}
}

// A logout whose refresh token has expired for good is not sent any more, which
// the app is told.
func TestALogoutIsGivenUp(t *testing.T) {
	for name, c := range map[string]struct {
		opaque bool
		after  time.Duration
		want   bool
	}{
		"an hour after the refresh token has expired": {false, 2 * time.Hour, false},
		"two days after it has expired":               {false, 49 * time.Hour, true},
		"three months after, as it did not say when":  {true, 89 * 24 * time.Hour, false},
		"more than three months after":                {true, 91 * 24 * time.Hour, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService()
				var told []string
				tr, l := onLine(t, s, func(config *refresher.Config) {
					config.OnFailure = func(e *jwterrors.Error) { told = append(told, e.Error()) }
				})
				if c.opaque {
					require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: jwtOf(`{"sub":"alice"}`), RefreshToken: "forever"}))
				} else {
					login(t, tr)
				}
				l.breaks("/logout", unplugged)
				require.Error(t, tr.Logout(t.Context()))
				l.mend()
				time.Sleep(c.after)
				require.NoError(t, tr.Flush(t.Context()))
				synctest.Wait()
				if c.want {
					assert.Empty(t, revoked(s))
					require.Len(t, told, 1)
					assert.Contains(t, told[0], "given up")
				} else {
					assert.Len(t, revoked(s), 1)
					assert.Empty(t, told)
				}
			})
		})
	}
}

// brokenQueue fails in the method that is named.
type brokenQueue struct {
	refresher.LogoutQueue
	what string
}

func (q *brokenQueue) Put(ctx context.Context, p refresher.PendingLogout) error {
	switch q.what {
	case "Put":
		return errDisk
	case "panic":
		panic(p.Tokens.RefreshToken)
	}
	return q.LogoutQueue.Put(ctx, p)
}

func (q *brokenQueue) List(ctx context.Context) ([]refresher.PendingLogout, error) {
	if q.what == "List" {
		return nil, errDisk
	}
	return q.LogoutQueue.List(ctx)
}

func (q *brokenQueue) Remove(ctx context.Context, id string) error {
	if q.what == "Remove" {
		return errDisk
	}
	return q.LogoutQueue.Remove(ctx, id)
}

// A queue that does not work keeps nobody from logging out, and what it could
// not take is sent all the same while the process lives.
func TestABrokenQueueOfLogouts(t *testing.T) {
	for _, what := range []string{"Put", "panic", "List", "Remove"} {
		t.Run(what, func(t *testing.T) {
			queue := &brokenQueue{LogoutQueue: fileLogouts(t), what: what}
			synctest.Test(t, func(t *testing.T) {
				s, store := newService(), &refresher.MemoryStore{}
				tr, l := onLine(t, s, func(c *refresher.Config) { c.Logouts, c.Store = queue, store })
				login(t, tr)
				assert.NoError(t, tr.Logout(t.Context()), "the issuer was told")
				login(t, tr)
				l.breaks("/logout", unplugged)
				err := tr.Logout(t.Context())
				assert.ErrorIs(t, err, errUnplugged)
				assert.Equal(t, what == "Put", errors.Is(err, errDisk))
				assert.Equal(t, what == "Put" || what == "panic", errors.Is(err, jwterrors.StoreUnavailable))
				_, active := tr.Tokens()
				assert.False(t, active)
				assert.True(t, must(store.Load(t.Context())).IsZero())
				l.mend()
				err = tr.Flush(t.Context())
				assert.Equal(t, what == "List", errors.Is(err, errDisk))
				queue.what = ""
				require.NoError(t, tr.Flush(t.Context()))
				assert.Contains(t, revoked(s), "refresh-token-number-2")
			})
		})
	}
}

// Two Transports for two issuers may share a queue: a token goes to the issuer
// that gave it, and nowhere else.
func TestAQueueOfLogoutsForTwoIssuers(t *testing.T) {
	queue := fileLogouts(t)
	here, there := newService(), newService()
	a, l := onLine(t, here, func(c *refresher.Config) { c.Logouts = queue })
	b := offline(t, there, func(c *refresher.Config) { c.Logouts, c.AuthURL = queue, "http://other.test/auth" })
	login(t, a)
	l.breaks("/logout", unplugged)
	require.Error(t, a.Logout(t.Context()))
	require.NoError(t, b.Flush(t.Context()))
	login(t, b)
	assert.Empty(t, revoked(there))
	l.mend()
	require.NoError(t, a.Flush(t.Context()))
	assert.Equal(t, []string{"refresh-token-number-1"}, revoked(here))
}

// Any number of logins, logouts, passes and requests at once: each session that
// has ended is ended at the issuer, once.
func TestLogoutsRaceWithEverything(t *testing.T) {
	s := newService()
	queue := &countedQueue{LogoutQueue: fileLogouts(t)}
	tr, l := onLine(t, s, func(c *refresher.Config) { c.Logouts, c.RetryInterval = queue, time.Millisecond })
	down := 0
	l.breaks("/logout", func(r *http.Request) (*http.Response, error) {
		l.mu.Lock()
		down++
		bad := down%3 == 0
		l.mu.Unlock()
		if bad {
			return nil, errUnplugged
		}
		return handlerTransport{s}.RoundTrip(r)
	})
	crowd(40, func(i int) bool {
		switch i % 4 {
		case 0:
			_ = tr.Login(t.Context(), alice)
		case 1:
			_ = tr.Logout(t.Context())
		case 2:
			_ = tr.Flush(t.Context())
		default:
			_, _ = get(t.Context(), tr.Client(), api)
		}
		return true
	})
	_ = tr.Logout(t.Context())
	require.NoError(t, tr.Flush(t.Context()))
	left, err := queue.List(t.Context())
	require.NoError(t, err)
	assert.Empty(t, left)
	assert.NotZero(t, queue.puts.Load())
	assert.Len(t, revoked(s), int(queue.puts.Load()), "each was sent once")
}

// countedQueue counts the logouts that were put into it.
type countedQueue struct {
	refresher.LogoutQueue
	puts atomic.Int64
}

func (q *countedQueue) Put(ctx context.Context, p refresher.PendingLogout) error {
	q.puts.Add(1)
	return q.LogoutQueue.Put(ctx, p)
}

// The tokens that wait are in no log, no error and no other form.
func TestAPendingLogoutShowsNoTokens(t *testing.T) {
	var logs strings.Builder
	queue := &brokenQueue{LogoutQueue: fileLogouts(t)}
	s := newService()
	tr, l := onLine(t, s, func(c *refresher.Config) {
		c.Logouts, c.Logger = queue, slog.New(slog.NewJSONHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	login(t, tr)
	tokens, _ := tr.Tokens()
	l.breaks("/logout", func(r *http.Request) (*http.Response, error) {
		return answers(500, "text/plain", string(must(io.ReadAll(r.Body))))(r)
	})
	all := fmt.Sprint(tr.Logout(t.Context()))
	waiting := must(queue.List(t.Context()))
	require.Len(t, waiting, 1)
	assert.Equal(t, tokens.RefreshToken, waiting[0].Tokens.RefreshToken)
	queue.what = "panic"
	login(t, tr)
	all += fmt.Sprint(tr.Logout(t.Context()))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		all += fmt.Sprintf(verb+verb+verb, waiting[0], &waiting[0], waiting)
	}
	slog.New(slog.NewJSONHandler(&logs, nil)).Info("", "logout", waiting[0], "all", waiting[0].String())
	all += logs.String()
	assert.Contains(t, all, "service.test")
	for _, secret := range []string{"refresh-token-number", tokens.AccessToken[21:], fmt.Sprintf("%x", "refresh-token")} {
		assert.NotContains(t, all, secret)
	}
}

func fileLogouts(t testing.TB) *refresher.FileLogouts {
	t.Helper()
	queue, err := refresher.NewFileLogouts(filepath.Join(t.TempDir(), "logouts"))
	require.NoError(t, err)
	return queue
}

// NV-19: the access token is sent along while it is valid, so that it can be
// denied. One that has expired is sent only where nothing else names the session:
// a careful issuer might look no further.
func TestTheAccessTokenOfALogout(t *testing.T) {
	for name, c := range map[string]struct {
		tokens refresher.Tokens
		after  time.Duration
		want   string
	}{
		"soon":                      {refresher.Tokens{AccessToken: "a", RefreshToken: "r", Expiry: time.Unix(1<<40, 0)}, time.Hour, "Bearer a"},
		"expired":                   {refresher.Tokens{AccessToken: "a", RefreshToken: "r", Expiry: time.Unix(1, 0)}, 0, ""},
		"who knows, soon":           {refresher.Tokens{AccessToken: "a", RefreshToken: "r"}, time.Minute, "Bearer a"},
		"who knows, later":          {refresher.Tokens{AccessToken: "a", RefreshToken: "r"}, 2 * time.Hour, ""},
		"expired, and alone":        {refresher.Tokens{AccessToken: "a"}, 2 * time.Hour, "Bearer a"},
		"none, as it was never got": {refresher.Tokens{RefreshToken: "r"}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr, l := onLine(t, newService(), nil)
				require.NoError(t, tr.SetTokens(t.Context(), c.tokens))
				l.breaks("/logout", unplugged)
				require.Error(t, tr.Logout(t.Context()))
				time.Sleep(c.after)
				var sent []string
				l.breaks("/logout", func(r *http.Request) (*http.Response, error) {
					sent = append(sent, r.Header.Get("Authorization"))
					return answers(204, "", "")(r)
				})
				require.NoError(t, tr.Flush(t.Context()))
				assert.Equal(t, []string{c.want}, sent)
			})
		})
	}
}

// A launch finds the logout of an earlier session beside the tokens of a later
// one.
func TestALaunchSendsWhatTheLastOneCouldNot(t *testing.T) {
	s, store, queue := newService(), &refresher.MemoryStore{}, fileLogouts(t)
	keep := func(c *refresher.Config) { c.Store, c.Logouts = store, queue }
	first, l := onLine(t, s, keep)
	login(t, first)
	l.breaks("/logout", unplugged)
	require.Error(t, first.Logout(t.Context()))
	login(t, first)
	second := offline(t, s, keep)
	require.NoError(t, second.Restore(t.Context()))
	assert.Eventually(t, func() bool { return len(revoked(s)) == 1 }, 10*time.Second, time.Millisecond)
	status, err := get(t.Context(), second.Client(), api)
	require.NoError(t, err)
	assert.Equal(t, 200, status)
}

// Another process has refreshed the session since: what is revoked is what an
// issuer that forgets used refresh tokens still knows, too.
func TestALogoutRevokesWhatAnotherProcessHasGot(t *testing.T) {
	for name, during := range map[string]bool{"before": false, "at the same time": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, store := newService(), &refresher.MemoryStore{}
				share := func(c *refresher.Config) { c.Store = store }
				a := offline(t, s, share)
				b, l := onLine(t, s, share)
				login(t, a)
				require.NoError(t, b.Restore(t.Context()))
				release, done := make(chan struct{}), make(chan error)
				l.breaks("/refresh", func(r *http.Request) (*http.Response, error) {
					resp, err := handlerTransport{s}.RoundTrip(r)
					<-release
					return resp, err
				})
				go func() { done <- b.Refresh(t.Context()) }()
				synctest.Wait()
				if !during {
					close(release)
					require.NoError(t, <-done)
				}
				ended := make(chan error)
				go func() { ended <- a.Logout(t.Context()) }()
				synctest.Wait()
				if during {
					close(release)
					require.NoError(t, <-done)
				}
				require.NoError(t, <-ended)
				assert.ElementsMatch(t, []string{"refresh-token-number-1", "refresh-token-number-2"}, revoked(s))
				assert.True(t, must(store.Load(t.Context())).IsZero())
			})
		})
	}
}

// What somebody else's login has put into the store is not ended.
func TestALogoutDoesNotEndTheSessionOfAnotherUser(t *testing.T) {
	s, store := newService(), &refresher.MemoryStore{}
	share := func(c *refresher.Config) { c.Store = store }
	a, b := offline(t, s, share), offline(t, s, share)
	login(t, a)
	s.subject = "bob"
	login(t, b)
	require.NoError(t, a.Logout(t.Context()))
	assert.Equal(t, []string{"refresh-token-number-1"}, revoked(s))
}

// NV-17, NV-20: which session the queue of logouts says is over, its refresh token
// tells, where it has one.
func TestWhichStoredSessionIsOver(t *testing.T) {
	for name, c := range map[string]struct {
		stored refresher.Tokens
		goesOn bool
	}{
		"that of the queue": {refresher.Tokens{AccessToken: jwtOf(`{"sub":"alice"}`), RefreshToken: "R"}, false},
		"a later one":       {refresher.Tokens{RefreshToken: "R2"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, store, queue := newService(), &refresher.MemoryStore{}, &fullQueue{}
				queue.set([]refresher.PendingLogout{{
					ID: "A", URL: "http://service.test/auth/logout", Since: time.Now(), Tokens: refresher.Tokens{RefreshToken: "R"},
				}})
				require.NoError(t, store.Save(t.Context(), c.stored))
				tr := offline(t, s, func(c *refresher.Config) { c.Store, c.Logouts = store, queue })
				require.NoError(t, tr.Restore(t.Context()))
				_, active := tr.Tokens()
				assert.Equal(t, c.goesOn, active)
				synctest.Wait()
				assert.Equal(t, []string{"R"}, revoked(s))
			})
		})
	}
}

// fullQueue is a queue that has others in the place of what it was given.
type fullQueue struct {
	mu  sync.Mutex
	all []refresher.PendingLogout
}

func (q *fullQueue) Put(_ context.Context, p refresher.PendingLogout) error {
	q.set(append(must(q.List(context.Background())), p))
	return nil
}

func (q *fullQueue) List(context.Context) ([]refresher.PendingLogout, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.all), nil
}

func (q *fullQueue) Remove(_ context.Context, id string) error {
	q.set(slices.DeleteFunc(must(q.List(context.Background())), func(p refresher.PendingLogout) bool { return p.ID == id }))
	return nil
}

func (q *fullQueue) set(all []refresher.PendingLogout) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.all = all
}

// How often a logout has failed is forgotten once it is not in the queue any more,
// however it left: what comes back begins anew, with the oldest first.
func TestALogoutThatHasGivenWayIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, queue := newService(), &fullQueue{}
		tr, l := onLine(t, s, func(c *refresher.Config) { c.Logouts = queue })
		l.breaks("/logout", unplugged)
		login(t, tr)
		require.Error(t, tr.Logout(t.Context()))
		old := must(queue.List(t.Context()))
		newer := old[0]
		newer.ID, newer.Tokens.RefreshToken, newer.Since = "NEWER", "newer", newer.Since.Add(time.Second)
		queue.set(nil)
		time.Sleep(time.Minute)
		l.mend()
		require.NoError(t, tr.Flush(t.Context()))
		queue.set([]refresher.PendingLogout{newer, old[0]})
		require.NoError(t, tr.Flush(t.Context()))
		assert.Equal(t, []string{old[0].Tokens.RefreshToken, "newer"}, revoked(s))
	})
}

// A session of an access token alone has ended, too, when its logout waits.
func TestALaunchAfterALogoutOfAnAccessToken(t *testing.T) {
	for name, c := range map[string]struct {
		stored string
		ended  bool
	}{"the same": {"A", true}, "another": {"B", false}} {
		t.Run(name, func(t *testing.T) {
			s, store, queue := newService(), &refresher.MemoryStore{}, &fullQueue{}
			require.NoError(t, store.Save(t.Context(), refresher.Tokens{AccessToken: c.stored}))
			queue.set([]refresher.PendingLogout{{
				ID: "A", URL: "http://service.test/auth/logout", Since: time.Now(), Tokens: refresher.Tokens{AccessToken: "A"},
			}})
			tr := offline(t, s, func(config *refresher.Config) { config.Store, config.Logouts = store, queue })
			require.NoError(t, tr.Restore(t.Context()))
			_, active := tr.Tokens()
			assert.Equal(t, !c.ended, active)
			assert.Equal(t, c.ended, must(store.Load(t.Context())).IsZero())
		})
	}
}

// What cannot be tokens is deleted by a logout, and sent nowhere.
func TestALogoutOfWhatCannotBeTokens(t *testing.T) {
	s, store := newService(), &refresher.MemoryStore{}
	tr := offline(t, s, func(c *refresher.Config) { c.Store = store })
	login(t, tr)
	require.NoError(t, store.Save(t.Context(), refresher.Tokens{AccessToken: "no\ntoken", RefreshToken: "theirs"}))
	require.NoError(t, tr.Logout(t.Context()))
	assert.Equal(t, []string{"refresh-token-number-1"}, revoked(s))
	assert.True(t, must(store.Load(t.Context())).IsZero())
}

// A logout that is given up and cannot be removed is an error, since it will come again.
func TestALogoutThatStaysInTheQueue(t *testing.T) {
	s, all := newService(), &fullQueue{}
	tr, l := onLine(t, s, func(c *refresher.Config) { c.Logouts = &brokenQueue{LogoutQueue: all, what: "Remove"} })
	all.set([]refresher.PendingLogout{{
		ID: "A", URL: "http://service.test/auth/logout", Tokens: refresher.Tokens{RefreshToken: "R", RefreshExpiry: time.Unix(1, 0)},
	}})
	err := tr.Flush(t.Context())
	assert.ErrorIs(t, err, jwterrors.StoreUnavailable)
	assert.ErrorIs(t, err, errDisk)
	assert.Zero(t, l.count("logout"))
}

// A queue of the caller's may have a logout without a token, of which no server is told.
func TestALogoutWithoutATokenIsNotRevoked(t *testing.T) {
	queue := &fullQueue{}
	queue.set([]refresher.PendingLogout{{ID: "A", URL: "https://id.example.com/revoke", Since: time.Now()}})
	tr := newTransport(t, refresher.Config{
		Origins: []string{"https://api.example.com"}, Logouts: queue,
		Source: refresher.OAuth{TokenURL: "https://id.example.com/token", RevokeURL: "https://id.example.com/revoke", ClientID: "app"},
		Base:   tripFunc(func(r *http.Request) (*http.Response, error) { t.Error("sent"); return answer(r, 200), nil }),
	})
	require.NoError(t, tr.Flush(t.Context()))
	assert.Empty(t, must(queue.List(t.Context())))
}

// What waits is not sent by itself after Close.
func TestNoLogoutIsSentAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		tr, l := onLine(t, s, nil)
		login(t, tr)
		l.breaks("/logout", unplugged)
		require.Error(t, tr.Logout(t.Context()))
		require.NoError(t, tr.Close())
		time.Sleep(time.Minute)
		_, err := get(t.Context(), tr.Client(), api)
		assert.ErrorIs(t, err, jwterrors.LoggedOut)
		synctest.Wait()
		assert.Equal(t, 1, l.count("logout"))
	})
}

// Flush ends with its context, while it waits for the network and while it waits for
// a pass that is under way.
func TestFlushEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		tr, l := onLine(t, s, nil)
		login(t, tr)
		l.breaks("/logout", unplugged)
		require.Error(t, tr.Logout(t.Context()))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- tr.Flush(ctx) }()
		synctest.Wait()
		cancel()
		assert.ErrorIs(t, <-done, errUnplugged)

		goOn := make(chan struct{})
		l.breaks("/logout", func(r *http.Request) (*http.Response, error) {
			<-goOn
			return handlerTransport{s}.RoundTrip(r)
		})
		go func() { done <- tr.Flush(t.Context()) }()
		synctest.Wait()
		assert.ErrorIs(t, tr.Flush(ctx), context.Canceled)
		close(goOn)
		assert.NoError(t, <-done)
		assert.Len(t, revoked(s), 1)
	})
}
