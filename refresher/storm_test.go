package refresher_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
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

// crowd runs f many times at once and counts those that return true.
func crowd(n int, f func(i int) bool) int64 {
	var ok atomic.Int64
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			if f(i) {
				ok.Add(1)
			}
		})
	}
	close(start)
	wg.Wait()
	return ok.Load()
}

func TestTenThousandRefusalsCostOneRefresh(t *testing.T) { // NV-14, AX-07, JG-21, DC-05
	s := newService()
	tr := offline(t, s, nil)
	login(t, tr)
	s.expire()
	// All 10,000 are refused before the first of them can refresh.
	var waiting sync.WaitGroup
	waiting.Add(10_000)
	s.hookCall(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/api/first") && r.Header.Get("Again") == "" {
			if number(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")) == 1 {
				waiting.Done()
				waiting.Wait()
			}
		}
		return false
	})
	client := &http.Client{Transport: tr} // without the timeout of Client
	ok := crowd(10_000, func(int) bool {
		status, err := get(t.Context(), client, api+"/first")
		return err == nil && status == 200
	})
	assert.EqualValues(t, 10_000, ok)
	assert.EqualValues(t, 1, s.refreshes.Load())
	assert.EqualValues(t, 10_000, s.refused.Load())
	assert.EqualValues(t, 20_000, s.calls.Load())
}

func TestLateRefusalsOfAnOldTokenCostNothing(t *testing.T) {
	s := newService()
	tr := offline(t, s, nil)
	login(t, tr)
	client := &http.Client{Transport: tr} // without the timeout of Client
	var arrived sync.WaitGroup
	arrived.Add(1000)
	release := make(chan struct{})
	s.hookCall(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/api/late" && number(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")) == 1 {
			arrived.Done()
			<-release // their answers come when the token was replaced long ago
		}
		return false
	})
	done := make(chan int64)
	go func() {
		done <- crowd(1000, func(int) bool {
			status, err := get(t.Context(), client, api+"/late")
			return err == nil && status == 200
		})
	}()
	arrived.Wait()
	s.expire()
	status, err := get(t.Context(), client, api)
	require.NoError(t, err)
	require.Equal(t, 200, status)
	require.EqualValues(t, 1, s.refreshes.Load())
	close(release)
	assert.EqualValues(t, 1000, <-done)
	assert.EqualValues(t, 1, s.refreshes.Load(), "the newer token is simply used")
}

func TestTheFirstCallerMayLeave(t *testing.T) { // D9
	s := newService()
	tr := offline(t, s, nil)
	login(t, tr)
	s.expire()
	entered, release := make(chan struct{}), make(chan struct{})
	s.hookRefresh(func(w http.ResponseWriter, r *http.Request) bool {
		close(entered)
		<-release
		return r.Context().Err() != nil // nobody takes it along
	})
	client := &http.Client{Transport: tr} // without the timeout of Client
	ctx, leave := context.WithCancel(t.Context())
	first := make(chan error)
	go func() { _, err := get(ctx, client, api); first <- err }()
	<-entered
	var others sync.WaitGroup
	var ok atomic.Int64
	for range 100 {
		others.Go(func() {
			if status, err := get(t.Context(), client, api); err == nil && status == 200 {
				ok.Add(1)
			}
		})
	}
	leave()
	assert.ErrorIs(t, <-first, context.Canceled, "it returns while the refresh is under way")
	close(release)
	others.Wait()
	assert.EqualValues(t, 100, ok.Load())
	assert.EqualValues(t, 1, s.refreshes.Load())
}

func TestAFailingEndpointIsCalledOncePerStep(t *testing.T) { // AX-11, AX-12, IT-35..IT-39, AX-08
	for name, fail := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"503":                 func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(503); return true },
		"a closed connection": func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) },
		"a page instead of JSON": func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<html>please log in to the wifi</html>")
			return true
		},
		"a redirect": func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "http://portal.test/", http.StatusFound)
			return true
		},
		"429": func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(429); return true },
	} {
		for _, backoff := range []refresher.Backoff{refresher.Exponential, refresher.Linear} {
			t.Run(name+" "+string(backoff), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newService()
					var times []time.Duration
					tr := offline(t, s, func(c *refresher.Config) { c.RetryInterval, c.RetryBackoff = 0, backoff })
					defer tr.Close()
					login(t, tr)
					s.expire()
					start := time.Now()
					s.hookRefresh(func(w http.ResponseWriter, r *http.Request) bool {
						times = append(times, time.Since(start))
						return fail(w, r)
					})
					client := &http.Client{Transport: tr} // without the timeout of Client
					ok := crowd(50, func(int) bool {
						status, err := get(t.Context(), client, api)
						return err == nil && status == 401 // the answer that they had
					})
					assert.EqualValues(t, 50, ok)
					want := []time.Duration{0, 2, 6, 14, 30, 62} // 2, 4, 8, 16 and 32 s between
					if backoff == refresher.Linear {
						want = []time.Duration{0, 2, 6, 12, 20, 30} // 2, 4, 6, 8 and 10 s between
					}
					for i := range want {
						want[i] *= time.Second
					}
					assert.Equal(t, want, times)
					tokens, active := tr.Tokens()
					assert.True(t, active && tokens.RefreshToken != "", "the tokens are kept")

					s.hookRefresh(nil)
					_, _ = get(t.Context(), client, api)
					assert.Len(t, times, 6, "a failure is not tried again at once")
					time.Sleep(time.Minute)
					status, err := get(t.Context(), client, api)
					assert.NoError(t, err)
					assert.Equal(t, 200, status)
					used, keys, _ := s.log()
					for i := range used {
						assert.Equal(t, used[0], used[i])
						assert.Equal(t, keys[0], keys[i], "each repetition has the same retry key")
					}
					assert.NotEmpty(t, keys[0])
				})
			})
		}
	}
}

func TestALogoutDuringARefreshWins(t *testing.T) { // MO-13, NV-17, NV-18
	for name, end := range map[string]func(t *testing.T, tr *refresher.Transport){
		"logout":      func(t *testing.T, tr *refresher.Transport) { require.NoError(t, tr.Logout(t.Context())) },
		"a new login": func(t *testing.T, tr *refresher.Transport) { login(t, tr) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newService()
			store := &refresher.MemoryStore{}
			tr := offline(t, s, func(c *refresher.Config) {
				c.Store = store
				c.OnRefresh = func(tokens refresher.Tokens) {
					assert.NotContains(t, tokens.AccessToken, "late", "nobody is told of what is not used")
				}
			})
			login(t, tr)
			s.expire()
			entered, release := make(chan struct{}), make(chan struct{})
			s.hookRefresh(func(w http.ResponseWriter, r *http.Request) bool {
				close(entered)
				<-release
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, `{"access_token":"late-access-token-of-the-old-session","expires_in":600,"refresh_token":"late-refresh-token"}`)
				return true
			})
			client := &http.Client{Transport: tr} // without the timeout of Client
			failed := make(chan error, 20)
			for range 20 {
				go func() { _, err := get(t.Context(), client, api); failed <- err }()
			}
			<-entered
			end(t, tr)
			for range 20 {
				err := <-failed
				if name == "logout" || err != nil { // one that began after the login belongs to the new session
					assert.ErrorIs(t, err, jwterrors.LoggedOut, "pending work fails at once")
				}
			}
			close(release)
			assert.Eventually(t, func() bool { _, _, revoked := s.log(); return contains(revoked, "late-refresh-token") },
				5*time.Second, time.Millisecond, "what came late is revoked")
			stored := must(store.Load(t.Context()))
			assert.NotContains(t, stored.AccessToken, "late")
			tokens, active := tr.Tokens()
			assert.NotContains(t, tokens.AccessToken, "late")
			s.hookRefresh(nil)
			status, err := get(t.Context(), client, api)
			if name == "logout" {
				assert.False(t, active)
				assert.True(t, stored.IsZero())
				assert.ErrorIs(t, err, jwterrors.LoggedOut)
			} else {
				assert.NoError(t, err)
				assert.Equal(t, 200, status)
			}
		})
	}
}

// A source that ends its goroutine is not called again by each request.
func TestAGoexitIsAFailureLikeAnother(t *testing.T) {
	calls := 0
	tr := newTransport(t, refresher.Config{
		Origins: []string{"https://api.example.com"},
		Source: sourceFunc(func(context.Context, refresher.Tokens) (refresher.Tokens, error) {
			calls++
			runtime.Goexit()
			return refresher.Tokens{}, nil
		}),
	})
	require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: "opaque"}))
	assert.ErrorIs(t, tr.Refresh(t.Context()), jwterrors.TokenGenerationError)
	assert.ErrorIs(t, tr.Refresh(t.Context()), jwterrors.RefreshUnavailable)
	assert.Equal(t, 1, calls)
}

// A request that waits for the token of one user is not sent with that of the
// next.
func TestWaitingRequestsDoNotChangeTheirUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService()
		tr := offline(t, s, nil)
		login(t, tr)
		time.Sleep(time.Hour) // nothing is sent before there is a new token
		release := make(chan struct{})
		s.hookRefresh(func(w http.ResponseWriter, _ *http.Request) bool {
			<-release
			w.WriteHeader(503)
			return true
		})
		client := &http.Client{Transport: tr} // without the timeout of Client
		failed := make(chan error, 20)
		for range 20 {
			go func() { _, err := get(t.Context(), client, api); failed <- err }()
		}
		synctest.Wait()
		s.subject = "bob"
		login(t, tr)
		for range 20 {
			assert.ErrorIs(t, <-failed, jwterrors.LoggedOut)
		}
		assert.Zero(t, s.calls.Load())
		close(release)
		status, err := get(t.Context(), client, api)
		require.NoError(t, err)
		assert.Equal(t, 200, status)
	})
}

// Of a token that was got because its predecessor was refused, one more refusal
// is enough, also when the answer to another request is faster.
func TestAFreshTokenThatIsRefusedIsNotReplaced(t *testing.T) {
	s := newService()
	tr := offline(t, s, nil)
	login(t, tr)
	client := tr.Client()
	retried, release := make(chan struct{}), make(chan struct{})
	s.hookCall(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/api/slow" && number(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")) == 2 {
			close(retried)
			<-release
		}
		jwterrors.Responder{}.Respond(w, r, jwterrors.TokenSignatureInvalid)
		return true
	})
	slow := make(chan int)
	go func() { status, _ := get(t.Context(), client, api+"/slow"); slow <- status }()
	<-retried
	for range 10 {
		status, err := get(t.Context(), client, api)
		require.NoError(t, err)
		assert.Equal(t, 401, status)
	}
	assert.EqualValues(t, 1, s.refreshes.Load())
	close(release)
	assert.Equal(t, 401, <-slow)
}

// A route that refuses every token does not make the others refresh for ever.
func TestARouteThatRefusesEverythingCostsOneRefresh(t *testing.T) {
	s := newService()
	tr := offline(t, s, nil)
	login(t, tr)
	s.hookCall(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/api" {
			return false
		}
		jwterrors.Responder{}.Respond(w, r, jwterrors.TokenSignatureInvalid)
		return true
	})
	for range 10 {
		status, err := get(t.Context(), tr.Client(), api)
		require.NoError(t, err)
		assert.Equal(t, 200, status)
		status, err = get(t.Context(), tr.Client(), api+"/broken")
		require.NoError(t, err)
		assert.Equal(t, 401, status)
	}
	assert.EqualValues(t, 1, s.refreshes.Load())
}

// OnRefresh has the new pair before a request does; one that is slow holds the
// requests up for a second and no more (IT-30).
func TestOnRefreshComesFirst(t *testing.T) {
	for name, c := range map[string]struct{ takes, want time.Duration }{
		"quick": {100 * time.Millisecond, 100 * time.Millisecond},
		"slow":  {time.Hour, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService()
				told := make(chan refresher.Tokens, 1)
				tr := offline(t, s, func(config *refresher.Config) {
					config.OnRefresh = func(tokens refresher.Tokens) {
						told <- tokens
						time.Sleep(c.takes)
					}
				})
				login(t, tr)
				s.expire()
				start := time.Now()
				status, err := get(t.Context(), tr.Client(), api)
				require.NoError(t, err)
				assert.Equal(t, 200, status)
				assert.Equal(t, c.want, time.Since(start))
				tokens, _ := tr.Tokens()
				assert.Equal(t, tokens, <-told)
				time.Sleep(2 * time.Hour) // let the listener end
			})
		})
	}
}

func contains(list []string, s string) bool {
	for _, item := range list {
		if item == s {
			return true
		}
	}
	return false
}

// badStore misbehaves in the methods named.
type badStore struct {
	refresher.MemoryStore
	mu   sync.Mutex
	how  func()
	what string
}

func (b *badStore) set(what string, how func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.what, b.how = what, how
}

func (b *badStore) do(what string) {
	b.mu.Lock()
	how := b.how
	if b.what != what {
		how = nil
	}
	b.mu.Unlock()
	if how != nil {
		how()
	}
}

func (b *badStore) Load(ctx context.Context) (refresher.Tokens, error) {
	b.do("Load")
	return b.MemoryStore.Load(ctx)
}
func (b *badStore) Save(ctx context.Context, tokens refresher.Tokens) error {
	b.do("Save")
	return b.MemoryStore.Save(ctx, tokens)
}
func (b *badStore) Lock(ctx context.Context) (func(), error) {
	b.do("Lock")
	return b.MemoryStore.Lock(ctx)
}

type sourceFunc func(ctx context.Context, current refresher.Tokens) (refresher.Tokens, error)

func (f sourceFunc) Refresh(ctx context.Context, current refresher.Tokens) (refresher.Tokens, error) {
	return f(ctx, current)
}

func TestAPanicOrGoexitLeavesNobodyHanging(t *testing.T) { // IT-14, IT-30
	for _, how := range []struct {
		name string
		do   func()
	}{{"panic", func() { panic("a secret in a panic") }}, {"Goexit", runtime.Goexit}} {
		for _, where := range []string{"source", "Load", "Save", "Lock", "OnRefresh", "OnFailure"} {
			t.Run(how.name+" in "+where, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newService()
					store := &badStore{}
					var bad atomic.Bool
					act := func(here string) {
						if here == where && bad.Load() {
							how.do()
						}
					}
					var endpoint http.RoundTripper = handlerTransport{s}
					tr := offline(t, s, func(c *refresher.Config) {
						c.Store = store
						c.MaxRetries = refresher.NoRetries
						c.OnRefresh = func(refresher.Tokens) { act("OnRefresh") }
						c.OnFailure = func(*jwterrors.Error) { act("OnFailure") }
						c.Source = sourceFunc(func(ctx context.Context, current refresher.Tokens) (refresher.Tokens, error) {
							act("source")
							req := must(http.NewRequestWithContext(ctx, "POST", "http://service.test/auth/refresh",
								strings.NewReader(`{"refresh_token":"`+current.RefreshToken+`"}`)))
							resp, err := endpoint.RoundTrip(req)
							if err != nil {
								return refresher.Tokens{}, err
							}
							defer resp.Body.Close()
							data := must(io.ReadAll(resp.Body))
							return parse(data), nil
						})
					})
					defer tr.Close()
					login(t, tr)
					s.expire()
					bad.Store(true)
					store.set(where, how.do)
					client := &http.Client{Transport: tr} // without the timeout of Client
					answered := crowd(50, func(int) bool {
						ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
						defer cancel()
						_, err := get(ctx, client, api)
						return ctx.Err() == nil && !errors.Is(err, context.DeadlineExceeded)
					})
					assert.EqualValues(t, 50, answered)
					bad.Store(false)
					store.set("", nil)
					time.Sleep(10 * time.Minute)
					status, err := get(t.Context(), client, api)
					assert.NoError(t, err)
					assert.Equal(t, 200, status, "it recovers")
				})
			})
		}
	}
}
