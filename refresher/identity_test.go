package refresher_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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

// An app plays the server of an application that mints tokens for its users,
// behind an AuthHandler.
type app struct {
	mu    sync.Mutex
	asked []string // for whom
	told  []string // what the callbacks said
	give  func(id refresher.Identity) (string, error)
}

func (a *app) token(id refresher.Identity) string {
	now := time.Now()
	a.mu.Lock()
	n := len(a.asked)
	a.mu.Unlock()
	return jwtOf(fmt.Sprintf(`{"email":%q,"iat":%d,"exp":%d,"n":%d}`, id.Email, now.Unix(), now.Add(10*time.Minute).Unix(), n))
}

func (a *app) handle(_ context.Context, id refresher.Identity) (refresher.AuthResponse, error) {
	a.mu.Lock()
	a.asked = append(a.asked, id.String())
	give := a.give
	a.mu.Unlock()
	say := func(what string) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.told = append(a.told, what)
	}
	resp := refresher.AuthResponse{
		OnSuccess: func() { say("success") },
		OnFailure: func(r jwterrors.Reason) { say(string(r)) },
	}
	var err error
	if give != nil {
		resp.Token, err = give(id)
	} else {
		resp.Token = a.token(id)
	}
	return resp, err
}

func (a *app) set(give func(id refresher.Identity) (string, error)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.give = give
}

func (a *app) log() (asked, told []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.asked...), append([]string(nil), a.told...)
}

// handled is a Transport that gets its tokens from a.
func handled(t *testing.T, a *app, api func(*http.Request) int, change func(*refresher.Config)) *refresher.Transport {
	c := refresher.Config{
		Origins: []string{"https://api.example.com"}, Source: refresher.AuthHandler(a.handle), NoJitter: true,
		Base: tripFunc(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: api(r), Body: http.NoBody, Request: r, Header: http.Header{}}, nil
		}),
	}
	if change != nil {
		change(&c)
	}
	return newTransport(t, c)
}

func ok(*http.Request) int { return 200 }

const remote = "https://api.example.com/"

// IT-11, IT-12, IT-18, IT-19, IT-25: each identification asks once, for the user
// that was named, and a token that is held is used.
func TestIdentify(t *testing.T) {
	a := &app{}
	var sent []string
	tr := handled(t, a, func(r *http.Request) int { sent = append(sent, r.Header.Get("Authorization")); return 200 }, nil)
	ctx := t.Context()
	alice, bob := refresher.Email("alice@example.com"), refresher.Email("bob@example.com")
	status := func() {
		t.Helper()
		status, err := get(ctx, tr.Client(), remote)
		require.NoError(t, err)
		require.Equal(t, 200, status)
	}
	require.NoError(t, tr.Identify(ctx, alice))
	aliceToken, _ := tr.Tokens()
	status()
	status()
	asked, _ := a.log()
	assert.Equal(t, []string{"alice@example.com"}, asked, "a valid token is held")
	require.NoError(t, tr.Identify(ctx, alice))
	require.NoError(t, tr.Identify(ctx, bob))
	status()
	asked, _ = a.log()
	assert.Equal(t, []string{"alice@example.com", "alice@example.com", "bob@example.com"}, asked)
	bobToken, _ := tr.Tokens()
	assert.Equal(t, []string{"Bearer " + aliceToken.AccessToken, "Bearer " + aliceToken.AccessToken, "Bearer " + bobToken.AccessToken}, sent)
}

// IT-26, IT-27: a token that is brought along means that nobody is asked, and
// one of somebody else is refused before it is used.
func TestIdentifyWithTokens(t *testing.T) {
	a := &app{}
	var failed []jwterrors.Reason
	done := make(chan struct{}, 10)
	tr := handled(t, a, ok, func(c *refresher.Config) {
		c.OnFailure = func(e *jwterrors.Error) { failed = append(failed, e.Reason); done <- struct{}{} }
	})
	alice, bob := refresher.Email("alice@example.com"), refresher.Email("bob@example.com")
	with := func(token string) refresher.IdentifyOption {
		return refresher.WithTokens(refresher.Tokens{AccessToken: token})
	}
	require.NoError(t, tr.Identify(t.Context(), alice, with(a.token(alice))))
	before, _ := tr.Tokens()
	assert.ErrorIs(t, tr.Identify(t.Context(), bob, with(a.token(alice))), jwterrors.TokenUserKeyInvalid)
	assert.ErrorIs(t, tr.Identify(t.Context(), bob, with("opaque")), jwterrors.TokenFormatInvalid, "nobody can see whose it is")
	after, _ := tr.Tokens()
	assert.Equal(t, before.AccessToken, after.AccessToken, "nothing has changed")
	asked, _ := a.log()
	assert.Empty(t, asked)
	<-done
	<-done
	assert.Equal(t, []jwterrors.Reason{jwterrors.TokenUserKeyInvalid, jwterrors.TokenFormatInvalid}, failed)
}

func TestIdentifyWithoutSense(t *testing.T) {
	a := &app{}
	tr := handled(t, a, ok, nil)
	alice, bob := refresher.Email("alice@example.com"), refresher.UserID("bob")
	for name, err := range map[string]error{
		"nobody":                   tr.Identify(t.Context(), refresher.Identity{}),
		"two names (IT-08)":        tr.Identify(t.Context(), refresher.Identity{Email: "a@example.com", UserID: "a"}),
		"tokens of somebody else":  tr.Identify(t.Context(), alice, refresher.WithTokens(refresher.Tokens{AccessToken: "x", Identity: bob})),
		"an issuer with passwords": offline(t, newService(), nil).Identify(t.Context(), alice),
	} {
		assert.ErrorIs(t, err, jwterrors.RequestInvalid, name)
	}
	asked, _ := a.log()
	assert.Empty(t, asked)
}

// IT-07, IT-11: which claims name the user.
func TestWhichClaimsNameTheUser(t *testing.T) {
	for _, c := range []struct {
		name, payload string
		id            refresher.Identity
		want          bool
	}{
		{"the email", `{"email":"a@example.com"}`, refresher.Email("a@example.com"), true},
		{"the user id", `{"userId":"a"}`, refresher.UserID("a"), true},
		{"a subject in the place of an email", `{"sub":"a@example.com"}`, refresher.Email("a@example.com"), true},
		{"a subject in the place of a user id", `{"sub":"a"}`, refresher.UserID("a"), true},
		{"another email, and a subject that fits", `{"sub":"a@example.com","email":"b@example.com"}`, refresher.Email("a@example.com"), false},
		{"another user id, and a subject that fits", `{"sub":"a","userId":"b"}`, refresher.UserID("a"), false},
		{"an email in another case", `{"email":"A@example.com"}`, refresher.Email("a@example.com"), false},
		{"a user id that is a number", `{"userId":1}`, refresher.UserID("1"), false},
		{"a user id that is the email", `{"email":"a"}`, refresher.UserID("a"), false},
		{"nobody", `{}`, refresher.UserID("a"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := handled(t, &app{}, ok, nil)
			err := tr.Identify(t.Context(), c.id, refresher.WithTokens(refresher.Tokens{AccessToken: jwtOf(c.payload)}))
			if c.want {
				assert.NoError(t, err)
			} else {
				assert.ErrorIs(t, err, jwterrors.TokenUserKeyInvalid)
			}
		})
	}
}

// IT-13, IT-14, IT-35, IT-39: what a handler can do wrong, the reason it has,
// and that it is asked a bounded number of times.
func TestWhatAHandlerCanDoWrong(t *testing.T) {
	boom := errors.New("boom")
	for _, c := range []struct {
		name string
		give func(a *app, id refresher.Identity) (string, error)
		want jwterrors.Reason
		told string
	}{
		{"nothing", func(*app, refresher.Identity) (string, error) { return "", nil }, jwterrors.TokenNull, ""},
		{"an error", func(*app, refresher.Identity) (string, error) { return "", boom }, jwterrors.TokenGenerationError, ""},
		{"a panic", func(*app, refresher.Identity) (string, error) { panic("boom") }, jwterrors.TokenGenerationError, ""},
		{"a token of somebody else", func(a *app, _ refresher.Identity) (string, error) {
			return a.token(refresher.Email("eve@example.com")), nil
		},
			jwterrors.TokenUserKeyInvalid, "AUTH_TOKEN_USER_KEY_INVALID"},
		{"an expired token", func(_ *app, id refresher.Identity) (string, error) {
			return jwtOf(fmt.Sprintf(`{"email":%q,"exp":%d}`, id.Email, time.Now().Add(-time.Second).Unix())), nil
		}, jwterrors.TokenExpired, "AUTH_TOKEN_EXPIRED"},
		{"what is no token", func(*app, refresher.Identity) (string, error) { return "no token", nil },
			jwterrors.TokenFormatInvalid, "AUTH_TOKEN_FORMAT_INVALID"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &app{}
				a.set(func(id refresher.Identity) (string, error) { return c.give(a, id) })
				tr := handled(t, a, ok, nil)
				start := time.Now()
				err := tr.Identify(t.Context(), refresher.Email("alice@example.com"))
				assert.Equal(t, c.want, jwterrors.ReasonOf(err))
				assert.Equal(t, 62*time.Second, time.Since(start), "2 + 4 + 8 + 16 + 32")
				asked, _ := a.log()
				assert.Len(t, asked, 6, "five retries")
				synctest.Wait()
				_, told := a.log()
				if c.told == "" {
					assert.Empty(t, told, "without a token there is nothing to tell")
				} else {
					assert.Equal(t, []string{c.told, c.told, c.told, c.told, c.told, c.told}, told)
				}
				a.set(nil)
				time.Sleep(2 * time.Minute)
				status, err := get(t.Context(), tr.Client(), remote)
				require.NoError(t, err)
				assert.Equal(t, 200, status, "it recovers")
			})
		})
	}
}

// IT-15, IT-16: exactly one of the two callbacks, once for each token.
func TestTheCallbacksOfAHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &app{}
		var refuse atomic.Bool
		tr := handled(t, a, func(*http.Request) int {
			if refuse.Load() {
				return 401
			}
			return 200
		}, nil)
		require.NoError(t, tr.Identify(t.Context(), refresher.Email("alice@example.com")))
		synctest.Wait()
		_, told := a.log()
		assert.Empty(t, told, "not before it was used")
		for range 3 {
			_, _ = get(t.Context(), tr.Client(), remote)
		}
		synctest.Wait()
		_, told = a.log()
		assert.Equal(t, []string{"success"}, told)

		refuse.Store(true)
		for range 3 {
			_, _ = get(t.Context(), tr.Client(), remote)
		}
		synctest.Wait()
		_, told = a.log()
		assert.Equal(t, []string{"success", "AUTH_TOKEN_GENERIC_ERROR"}, told, "of the second token; the first had its answer")
	})
}

// MO-10, MO-11: ten refused tokens in a row are enough; one that is accepted
// counts from the beginning again. In push mode, where each token is new.
func TestTenRefusedTokensInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refuse atomic.Bool
		var tr *refresher.Transport
		asked, last := 0, jwterrors.Reason("")
		fresh := func() refresher.Tokens {
			return refresher.Tokens{AccessToken: fmt.Sprintf("opaque-%d", asked), Expiry: time.Now().Add(time.Hour)}
		}
		tr = handled(t, &app{}, func(*http.Request) int {
			if refuse.Load() {
				return 401
			}
			return 200
		}, func(c *refresher.Config) {
			c.Source, c.Push = nil, true
			c.OnFailure = func(e *jwterrors.Error) {
				asked++
				last = e.Reason
				if err := tr.SetTokens(context.Background(), fresh()); err != nil {
					t.Error(err)
				}
			}
		})
		require.NoError(t, tr.SetTokens(t.Context(), fresh()))
		client := &http.Client{Transport: tr}
		call := func() int {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			status, _ := get(ctx, client, remote)
			synctest.Wait()
			return status
		}
		require.Equal(t, 200, call())
		refuse.Store(true)
		for range 3 {
			assert.Equal(t, 401, call())
		}
		refuse.Store(false)
		require.Equal(t, 200, call())
		assert.Equal(t, 6, asked, "two a call: the token and its successor")

		asked = 0
		refuse.Store(true)
		for range 20 {
			assert.Equal(t, 401, call())
		}
		before := asked
		for range 20 {
			assert.Equal(t, 401, call())
		}
		assert.Equal(t, before, asked, "nobody is asked any more")
		assert.Equal(t, 10, before)
		assert.Equal(t, jwterrors.Paused, last, "which is the last that the app is told")
	})
}

// SetTokens goes on with a session or begins another; only the latter makes the
// requests that wait fail.
func TestWhoseSessionSetTokensContinues(t *testing.T) {
	tokenOf := func(payload string) refresher.Tokens { return refresher.Tokens{AccessToken: jwtOf(payload)} }
	opaque := refresher.Tokens{AccessToken: "opaque"}
	for _, c := range []struct {
		name          string
		push          bool
		before, after refresher.Tokens
		goesOn        bool
	}{
		{"the same subject", true, tokenOf(`{"sub":"a","n":1}`), tokenOf(`{"sub":"a","n":2}`), true},
		{"the same subject, in pull mode", false, tokenOf(`{"sub":"a","n":1}`), tokenOf(`{"sub":"a","n":2}`), true},
		{"another subject", true, tokenOf(`{"sub":"a"}`), tokenOf(`{"sub":"b"}`), false},
		{"another subject, in pull mode", false, tokenOf(`{"sub":"a"}`), tokenOf(`{"sub":"b"}`), false},
		{"the same email", true, tokenOf(`{"email":"a","n":1}`), tokenOf(`{"email":"a","n":2}`), true},
		{"the same name for two kinds of user", true, tokenOf(`{"email":"a"}`), tokenOf(`{"userId":"a"}`), false},
		{"nobody knows, in push mode", true, opaque, opaque, true},
		{"nobody knows, in pull mode", false, opaque, opaque, false},
		{"nobody knows any more", false, tokenOf(`{"sub":"a"}`), opaque, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hang := make(chan struct{})
				defer close(hang)
				calls := 0
				tr := handled(t, &app{}, func(*http.Request) int {
					if calls++; calls == 1 {
						return 401
					}
					return 200
				}, func(config *refresher.Config) {
					config.Push = c.push
					config.Source = sourceFunc(func(ctx context.Context, _ refresher.Tokens) (refresher.Tokens, error) {
						<-hang
						return refresher.Tokens{}, errors.New("too late")
					})
					if c.push {
						config.Source = nil
					}
				})
				require.NoError(t, tr.SetTokens(t.Context(), c.before))
				result := make(chan error)
				go func() {
					status, err := get(t.Context(), &http.Client{Transport: tr}, remote)
					if err == nil && status != 200 {
						err = fmt.Errorf("status %d", status)
					}
					result <- err
				}()
				synctest.Wait() // it waits for a token
				require.NoError(t, tr.SetTokens(t.Context(), c.after))
				if err := <-result; c.goesOn {
					assert.NoError(t, err)
				} else {
					assert.ErrorIs(t, err, jwterrors.LoggedOut)
				}
			})
		})
	}
}

// A refresh that brings somebody else's token brings nothing.
func TestARefreshForAnotherUserIsRefused(t *testing.T) {
	s := newService()
	tr := offline(t, s, func(c *refresher.Config) { c.MaxRetries = refresher.NoRetries })
	login(t, tr)
	before, _ := tr.Tokens()
	s.subject = "bob"
	assert.ErrorIs(t, tr.Refresh(t.Context()), jwterrors.TokenUserKeyInvalid)
	after, _ := tr.Tokens()
	assert.Equal(t, before.AccessToken, after.AccessToken)
	assert.Equal(t, before.RefreshToken, after.RefreshToken)
}

// IT-12: the handler is asked on a context of the refresh, which has an end and
// is not that of the first caller, and for the user of the session.
func TestWhatAHandlerIsGiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		asked := make(chan string, 2)
		tr := newTransport(t, refresher.Config{
			Origins: []string{"https://api.example.com"}, MaxRetries: refresher.NoRetries, AttemptTimeout: 7 * time.Second,
			Source: refresher.AuthHandler(func(ctx context.Context, id refresher.Identity) (refresher.AuthResponse, error) {
				deadline, ok := ctx.Deadline()
				assert.True(t, ok)
				assert.Equal(t, 7*time.Second, time.Until(deadline))
				assert.Nil(t, ctx.Value(key{}))
				asked <- id.Email + "|" + id.UserID
				<-ctx.Done()
				return refresher.AuthResponse{}, ctx.Err()
			}),
		})
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "x"), time.Second)
		defer cancel()
		start := time.Now()
		assert.ErrorIs(t, tr.Identify(ctx, refresher.Email("alice@example.com")), context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(start), "the caller leaves on its own context")
		assert.ErrorIs(t, tr.Identify(t.Context(), refresher.UserID("user123")), jwterrors.TokenGenerationError)
		assert.Equal(t, 8*time.Second, time.Since(start), "nobody waits for the first handler")
		assert.Equal(t, "alice@example.com|", <-asked)
		assert.Equal(t, "|user123", <-asked)
		assert.Empty(t, asked)
	})
}

// IT-11, IT-16, IT-18, IT-19: naming another user drops what belongs to the one
// before: the token in use, the handler's answer that is on its way, and the
// requests that wait for it. Of that answer the handler hears that it failed.
func TestNamingAnotherUserDropsWhatWasTheOldOnes(t *testing.T) {
	alice, bob := refresher.Email("alice@example.com"), refresher.Email("bob@example.com")
	for name, next := range map[string]func(t *testing.T, a *app, tr *refresher.Transport) error{
		"asks for a token": func(t *testing.T, _ *app, tr *refresher.Transport) error { return tr.Identify(t.Context(), bob) },
		"brings a token": func(t *testing.T, a *app, tr *refresher.Transport) error {
			return tr.Identify(t.Context(), bob, refresher.WithTokens(refresher.Tokens{AccessToken: a.token(bob)}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &app{}
				store := &refresher.MemoryStore{}
				var sent []string
				tr := handled(t, a, func(r *http.Request) int { sent = append(sent, r.Header.Get("Authorization")); return 200 }, func(c *refresher.Config) { c.Store = store })
				require.NoError(t, tr.Identify(t.Context(), alice))
				first, _ := tr.Tokens()
				late := make(chan struct{})
				a.set(func(id refresher.Identity) (string, error) {
					if id == alice {
						<-late
					}
					return a.token(id), nil
				})
				time.Sleep(time.Hour) // so that requests wait
				waiting := make(chan error, 10)
				for range 10 {
					go func() { _, err := get(t.Context(), &http.Client{Transport: tr}, remote); waiting <- err }()
				}
				synctest.Wait()
				require.NoError(t, next(t, a, tr))
				for range 10 {
					assert.ErrorIs(t, <-waiting, jwterrors.LoggedOut, "they were alice's requests")
				}
				close(late)
				synctest.Wait()
				status, err := get(t.Context(), tr.Client(), remote)
				require.NoError(t, err)
				assert.Equal(t, 200, status)
				synctest.Wait()
				now, _ := tr.Tokens()
				assert.Equal(t, bob, now.Identity)
				assert.Equal(t, []string{"Bearer " + now.AccessToken}, sent)
				assert.NotEqual(t, first.AccessToken, now.AccessToken)
				assert.Equal(t, now, must(store.Load(t.Context())), "nor is alice's in the store")
				asked, told := a.log()
				want := []string{"AUTH_LOGGED_OUT", "AUTH_LOGGED_OUT"}
				if len(asked) == 3 { // bob's was fetched, too
					want = append(want, "success")
				}
				assert.ElementsMatch(t, want, told, "each token has one outcome")
			})
		})
	}
}

// IT-25: a token that is held and good is all that is needed, for a new user,
// too, when it was brought along (IT-26).
func TestATokenThatIsHeldSuppressesTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &app{}
		tr := handled(t, a, ok, nil)
		id := refresher.Email("alice@example.com")
		for range 5 {
			require.NoError(t, tr.Identify(t.Context(), id, refresher.WithTokens(refresher.Tokens{AccessToken: a.token(id)})))
			for range 100 {
				status, err := get(t.Context(), tr.Client(), remote)
				require.NoError(t, err)
				require.Equal(t, 200, status)
			}
		}
		asked, _ := a.log()
		assert.Empty(t, asked)
		time.Sleep(time.Hour)
		_, err := get(t.Context(), tr.Client(), remote)
		require.NoError(t, err)
		asked, _ = a.log()
		assert.Len(t, asked, 1, "until it expires")
	})
}

// While Identify waits for the handler, the app can hand the token in itself: it
// belongs to the user that was named, whoever said so.
func TestTokensForTheUserThatWasNamedContinueTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &app{}
		never := make(chan struct{})
		defer close(never)
		a.set(func(refresher.Identity) (string, error) { <-never; return "", nil })
		tr := handled(t, a, ok, nil)
		id := refresher.Email("alice@example.com")
		done := make(chan error, 2)
		go func() { done <- tr.Identify(t.Context(), id) }()
		synctest.Wait()
		go func() { _, err := get(t.Context(), &http.Client{Transport: tr}, remote); done <- err }()
		synctest.Wait()
		theirs := refresher.Tokens{AccessToken: a.token(refresher.Email("eve@example.com"))}
		assert.ErrorIs(t, tr.SetTokens(t.Context(), theirs), jwterrors.TokenUserKeyInvalid)
		require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: a.token(id)}))
		assert.NoError(t, <-done)
		assert.NoError(t, <-done)
	})
}

// IT-16: of a token that was never used exactly one callback is told as well.
func TestTheCallbacksOfATokenThatWasNeverUsed(t *testing.T) {
	id := refresher.Email("alice@example.com")
	for name, c := range map[string]struct {
		end  func(t *testing.T, tr *refresher.Transport)
		want []string
	}{
		"expired": {func(t *testing.T, tr *refresher.Transport) {
			time.Sleep(time.Hour)
			_, err := get(t.Context(), tr.Client(), remote)
			require.NoError(t, err)
		}, []string{"AUTH_TOKEN_EXPIRED", "success"}},
		"replaced by a new session": {func(t *testing.T, tr *refresher.Transport) {
			require.NoError(t, tr.Identify(t.Context(), id))
			_, err := get(t.Context(), tr.Client(), remote)
			require.NoError(t, err)
		}, []string{"AUTH_LOGGED_OUT", "success"}},
		"logged out": {func(t *testing.T, tr *refresher.Transport) { require.NoError(t, tr.Logout(t.Context())) }, []string{"AUTH_LOGGED_OUT"}},
		"replaced while its first request is under way": {func(t *testing.T, tr *refresher.Transport) {
			status := make(chan int)
			go func() { s, _ := get(t.Context(), tr.Client(), remote+"slow"); status <- s }()
			time.Sleep(time.Millisecond)
			require.NoError(t, tr.Refresh(t.Context()))
			assert.Equal(t, 200, <-status)
		}, []string{"success"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &app{}
				tr := handled(t, a, func(r *http.Request) int {
					if r.URL.Path == "/slow" {
						time.Sleep(time.Second)
					}
					return 200
				}, nil)
				require.NoError(t, tr.Identify(t.Context(), id))
				c.end(t, tr)
				synctest.Wait()
				_, told := a.log()
				assert.Equal(t, c.want, told)
			})
		})
	}
}
