package refresher_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
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

// A guarded API takes the token "level-N" for what needs no more than N: /1, /2 and so
// on. It counts what came.
type guarded struct{ calls, passed atomic.Int64 }

func (g *guarded) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.calls.Add(1)
	var level, need int
	_, err := fmt.Sscanf(r.Header.Get("Authorization"), "Bearer level-%d", &level)
	_, _ = fmt.Sscanf(r.URL.Path, "/%d", &need)
	switch {
	case err != nil:
		jwterrors.Responder{}.Respond(w, r, jwterrors.TokenMissing)
	case level < need:
		jwterrors.Responder{}.Respond(w, r, &jwterrors.Error{
			Reason: jwterrors.AuthenticationInsufficient, ACRValues: []string{fmt.Sprint("level", need)}, MaxAge: 5 * time.Minute,
		})
	default:
		g.passed.Add(1)
		data, _ := io.ReadAll(r.Body)
		_, _ = w.Write(append([]byte("ok "), data...))
	}
}

// stepping is a Transport in push mode at level 1, with a StepUp, and the API.
func stepping(t testing.TB, stepUp func(context.Context, *refresher.Transport, *jwterrors.Error) error, change func(*refresher.Config)) (*refresher.Transport, *guarded, string) {
	t.Helper()
	g := &guarded{}
	server := serve(t, g)
	var tr *refresher.Transport
	c := config(server.URL)
	c.AuthURL, c.Push = "", true
	c.StepUp = func(ctx context.Context, required *jwterrors.Error) error { return stepUp(ctx, tr, required) }
	if change != nil {
		change(&c)
	}
	tr = newTransport(t, c)
	require.NoError(t, tr.SetTokens(t.Context(), atLevel("level1")))
	return tr, g, server.URL
}

// atLevel returns the tokens of a login that satisfies acr, which is "level" and a
// digit.
func atLevel(acr string) refresher.Tokens {
	return refresher.Tokens{AccessToken: strings.Replace(acr, "level", "level-", 1), Expiry: time.Now().Add(time.Hour)}
}

// stepUpTo logs in as the server requires.
func stepUpTo(ctx context.Context, tr *refresher.Transport, required *jwterrors.Error) error {
	return tr.SetTokens(ctx, atLevel(required.ACRValues[0]))
}

// insufficient reports whether resp asks for a login, and what for.
func insufficient(t testing.TB, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	e := jwterrors.FromResponse(resp)
	require.NotNil(t, e)
	require.Equal(t, jwterrors.AuthenticationInsufficient, e.Reason)
	return strings.Join(e.ACRValues, " ")
}

// RFC 9470, Section 3: the user logs in as the challenge says, and the original request
// is sent once more, if its body can be.
func TestARequestIsRepeatedAfterAStrongerLogin(t *testing.T) {
	for _, c := range []struct {
		name   string
		body   func() io.Reader
		option bool // ExpectContinue
		ok     bool
	}{
		{"no body", func() io.Reader { return nil }, false, true},
		{"a body that can be read again", func() io.Reader { return strings.NewReader("the body") }, false, true},
		{"a stream", func() io.Reader { return newStream("the body") }, false, false},
		{"a stream that waits to be asked for", func() io.Reader { return newStream("the body") }, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var asked []*jwterrors.Error
			tr, g, url := stepping(t, func(ctx context.Context, tr *refresher.Transport, required *jwterrors.Error) error {
				asked = append(asked, required)
				return stepUpTo(ctx, tr, required)
			}, func(config *refresher.Config) {
				config.ExpectContinue, config.Base = c.option, &http.Transport{ExpectContinueTimeout: time.Minute}
			})
			body := c.body()
			req := must(http.NewRequest("POST", url+"/2", body))
			resp, err := tr.Client().Do(req)
			require.NoError(t, err)
			assert.Empty(t, resp.Request.Header["Authorization"])
			if !c.ok {
				assert.Equal(t, "level2", insufficient(t, resp))
				assert.Empty(t, asked, "what cannot be sent again is not asked for")
				return
			}
			data := string(must(io.ReadAll(resp.Body)))
			resp.Body.Close()
			assert.Equal(t, 200, resp.StatusCode)
			assert.Equal(t, body != nil, data == "ok the body")
			require.Len(t, asked, 1)
			assert.Equal(t, []string{"level2"}, asked[0].ACRValues)
			assert.Equal(t, 5*time.Minute, asked[0].MaxAge)
			assert.EqualValues(t, 2, g.calls.Load())
		})
	}
}

func TestWithoutStepUpTheCallerGetsTheChallenge(t *testing.T) {
	tr, g, url := stepping(t, nil, func(c *refresher.Config) { c.StepUp = nil })
	resp, err := tr.Client().Get(url + "/2")
	require.NoError(t, err)
	assert.Equal(t, "level2", insufficient(t, resp))
	assert.EqualValues(t, 1, g.calls.Load())
}

// A 401 counts whatever else Refusals say.
func TestStepUpDoesNotNeedRefusals(t *testing.T) {
	tr, _, url := stepping(t, stepUpTo, func(c *refresher.Config) { c.Refusals = []refresher.Refusal{{Status: 403, Code: "stale"}} })
	status, err := get(t.Context(), tr.Client(), url+"/2")
	require.NoError(t, err)
	assert.Equal(t, 200, status)
}

// A hundred calls at once are one login for the user.
func TestOneLoginForAllWhoNeedTheSame(t *testing.T) {
	var prompts atomic.Int64
	var g *guarded
	tr, api, url := stepping(t, func(ctx context.Context, tr *refresher.Transport, required *jwterrors.Error) error {
		prompts.Add(1)
		for g.calls.Load() < 100 { // all have been refused, or are about to be
			runtime.Gosched()
		}
		return stepUpTo(ctx, tr, required)
	}, nil)
	g = api
	assert.EqualValues(t, 100, crowd(100, func(int) bool {
		status, err := get(t.Context(), tr.Client(), url+"/2")
		return err == nil && status == 200
	}))
	assert.EqualValues(t, 1, prompts.Load())
	assert.EqualValues(t, 200, g.calls.Load())
}

// Calls that need different things have a turn each, one after the other, and those
// for which the login of another is enough have none.
func TestDifferentNeedsHaveTheirTurns(t *testing.T) {
	var under, most, prompts atomic.Int64
	var mu sync.Mutex
	levels := map[string]int{}
	var g *guarded
	tr, api, url := stepping(t, func(ctx context.Context, tr *refresher.Transport, required *jwterrors.Error) error {
		most.Store(max(most.Load(), under.Add(1)))
		defer under.Add(-1)
		mu.Lock()
		levels[required.ACRValues[0]]++
		mu.Unlock()
		if prompts.Add(1) == 1 {
			for g.calls.Load() < 80 {
				runtime.Gosched()
			}
		}
		return stepUpTo(ctx, tr, required)
	}, nil)
	g = api
	assert.EqualValues(t, 80, crowd(80, func(i int) bool {
		status, err := get(t.Context(), tr.Client(), fmt.Sprintf("%s/%d", url, 2+i%4))
		return err == nil && status == 200
	}))
	assert.EqualValues(t, 1, most.Load(), "the user sees one at a time")
	for level, n := range levels {
		assert.Equal(t, 1, n, level)
	}
	assert.Equal(t, 1, levels["level5"])
}

func TestATokenThatHasComeSinceIsTriedFirst(t *testing.T) {
	var prompts atomic.Int64
	var tr *refresher.Transport
	var once sync.Once
	tr, g, url := stepping(t, func(context.Context, *refresher.Transport, *jwterrors.Error) error {
		prompts.Add(1)
		return nil
	}, func(c *refresher.Config) {
		base := c.Base
		c.Base = tripFunc(func(r *http.Request) (*http.Response, error) {
			resp, err := base.RoundTrip(r)
			once.Do(func() { assert.NoError(t, tr.SetTokens(t.Context(), atLevel("level2"))) })
			return resp, err
		})
	})
	status, err := get(t.Context(), tr.Client(), url+"/2")
	require.NoError(t, err)
	assert.Equal(t, 200, status)
	assert.Zero(t, prompts.Load())
	assert.EqualValues(t, 2, g.calls.Load())
}

// Whatever goes wrong, the caller has the challenge, and nobody hangs or loops.
func TestALoginThatDoesNotHelp(t *testing.T) {
	for name, c := range map[string]struct {
		stepUp func(context.Context, *refresher.Transport, *jwterrors.Error) error
		calls  int64
	}{
		"the user gives up": {func(context.Context, *refresher.Transport, *jwterrors.Error) error {
			return errors.New("the user gave up")
		}, 1},
		"a panic":      {func(context.Context, *refresher.Transport, *jwterrors.Error) error { panic("canary") }, 1},
		"a Goexit":     {func(context.Context, *refresher.Transport, *jwterrors.Error) error { runtime.Goexit(); return nil }, 1},
		"no new token": {func(context.Context, *refresher.Transport, *jwterrors.Error) error { return nil }, 2},
		"one that is too weak": {func(ctx context.Context, tr *refresher.Transport, _ *jwterrors.Error) error {
			return tr.SetTokens(ctx, atLevel("level1"))
		}, 2},
		"a logout": {func(ctx context.Context, tr *refresher.Transport, _ *jwterrors.Error) error { return tr.Logout(ctx) }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			var prompts atomic.Int64
			tr, g, url := stepping(t, func(ctx context.Context, tr *refresher.Transport, required *jwterrors.Error) error {
				prompts.Add(1)
				return c.stepUp(ctx, tr, required)
			}, func(config *refresher.Config) { config.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
			resp, err := tr.Client().Get(url + "/2")
			require.NoError(t, err)
			assert.Equal(t, "level2", insufficient(t, resp))
			assert.EqualValues(t, 1, prompts.Load())
			assert.Equal(t, c.calls, g.calls.Load())
			assert.NotContains(t, log.String(), "canary")
		})
	}
}

// What one user has begun is not done in the name of another.
func TestALoginOfAnotherUserRepeatsNothing(t *testing.T) {
	for user, status := range map[string]int{"alice": 200, "mallory": 401} {
		var calls atomic.Int64
		server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if calls.Add(1) == 1 {
				jwterrors.Responder{}.Respond(w, r, &jwterrors.Error{Reason: jwterrors.AuthenticationInsufficient, MaxAge: time.Minute})
			}
		}))
		var tr *refresher.Transport
		c := config(server.URL)
		c.AuthURL, c.Push = "", true
		c.StepUp = func(ctx context.Context, _ *jwterrors.Error) error {
			return tr.SetTokens(ctx, refresher.Tokens{AccessToken: jwtOf(`{"sub":"` + user + `","acr":"strong"}`)})
		}
		tr = newTransport(t, c)
		require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: jwtOf(`{"sub":"alice"}`)}))
		got, err := get(t.Context(), tr.Client(), server.URL+"/transfer")
		require.NoError(t, err)
		assert.Equal(t, status, got, user)
	}
}

// A body that cannot be had again after all is not replaced by none.
func TestABodyThatIsGoneAfterTheLogin(t *testing.T) {
	tr, g, url := stepping(t, stepUpTo, nil)
	req := must(http.NewRequest("POST", url+"/2", strings.NewReader("the body")))
	req.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("it is gone") }
	resp, err := tr.Client().Do(req)
	require.NoError(t, err)
	assert.Equal(t, "level2", insufficient(t, resp))
	assert.EqualValues(t, 1, g.calls.Load())
}

func TestANetworkThatFailsAfterTheLogin(t *testing.T) {
	base := &http.Transport{}
	down := errors.New("down")
	var failing atomic.Bool
	tr, _, url := stepping(t, func(ctx context.Context, tr *refresher.Transport, required *jwterrors.Error) error {
		failing.Store(true)
		base.CloseIdleConnections()
		return stepUpTo(ctx, tr, required)
	}, func(c *refresher.Config) {
		c.Base = base
		base.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			if failing.Load() {
				return nil, down
			}
			return new(net.Dialer).DialContext(ctx, network, address)
		}
		base.DisableKeepAlives = true
	})
	_, err := get(t.Context(), tr.Client(), url+"/2")
	assert.ErrorIs(t, err, down)
}

// A waiter may leave; the user goes on, and who still waits gets through.
func TestAWaiterMayLeaveTheLogin(t *testing.T) {
	begun, goOn := make(chan struct{}), make(chan struct{})
	type key struct{}
	var value any
	tr, _, url := stepping(t, func(ctx context.Context, tr *refresher.Transport, required *jwterrors.Error) error {
		close(begun)
		<-goOn
		if ctx.Err() != nil {
			return ctx.Err()
		}
		value = ctx.Value(key{})
		return stepUpTo(ctx, tr, required)
	}, nil)
	ctx, cancel := context.WithCancelCause(context.WithValue(t.Context(), key{}, "of the first"))
	first, second := make(chan error, 1), make(chan int, 1)
	go func() {
		_, err := get(ctx, &http.Client{Transport: tr}, url+"/2")
		first <- err
	}()
	<-begun
	go func() {
		status, _ := get(t.Context(), tr.Client(), url+"/2")
		second <- status
	}()
	left := errors.New("the first has left")
	cancel(left)
	assert.ErrorIs(t, <-first, left)
	close(goOn)
	assert.Equal(t, 200, <-second)
	assert.Equal(t, "of the first", value)
}

// A login may bring a token that must be refreshed first. Who leaves then gets the
// reason to have left, and not the challenge.
func TestAWaiterMayLeaveWhatFollowsTheLogin(t *testing.T) {
	refreshing, goOn := make(chan struct{}), make(chan struct{})
	tr, _, url := stepping(t, func(ctx context.Context, tr *refresher.Transport, required *jwterrors.Error) error {
		old := atLevel(required.ACRValues[0])
		old.Expiry = time.Now().Add(-time.Minute)
		return tr.SetTokens(ctx, old)
	}, func(c *refresher.Config) {
		c.Push, c.Source = false, sourceFunc(func(context.Context, refresher.Tokens) (refresher.Tokens, error) {
			close(refreshing)
			<-goOn
			return atLevel("level2"), nil
		})
	})
	defer close(goOn)
	ctx, cancel := context.WithCancelCause(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := get(ctx, &http.Client{Transport: tr}, url+"/2")
		first <- err
	}()
	<-refreshing
	left := errors.New("the first has left")
	cancel(left)
	assert.ErrorIs(t, <-first, left)
}

// Whoever leaves, and whenever, each answer that came is closed once.
func TestTheBodyOfEachChallengeIsClosedOnce(t *testing.T) {
	type stepUp = func(ctx context.Context, tr *refresher.Transport, required *jwterrors.Error) error
	for name, c := range map[string]struct {
		stepUp  stepUp
		leaves  bool
		answers int
	}{
		"the login helps": {stepUpTo, false, 2},
		"it does not": {func(ctx context.Context, tr *refresher.Transport, _ *jwterrors.Error) error {
			return tr.SetTokens(ctx, atLevel("level1"))
		}, false, 2},
		"the user gives up": {func(context.Context, *refresher.Transport, *jwterrors.Error) error {
			return errors.New("the user gave up")
		}, false, 1},
		"the request leaves the login": {func(ctx context.Context, _ *refresher.Transport, _ *jwterrors.Error) error {
			<-ctx.Done()
			return ctx.Err()
		}, true, 1},
		"it leaves the refresh that follows": {func(ctx context.Context, tr *refresher.Transport, _ *jwterrors.Error) error {
			old := atLevel("level2")
			old.Expiry = time.Now().Add(-time.Minute)
			return tr.SetTokens(ctx, old)
		}, true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var bodies []*stream
				var tr *refresher.Transport
				tr = offline(t, newService(), func(config *refresher.Config) {
					config.StepUp = func(ctx context.Context, required *jwterrors.Error) error { return c.stepUp(ctx, tr, required) }
					config.Base = tripFunc(func(r *http.Request) (*http.Response, error) {
						resp, err := handlerTransport{&guarded{}}.RoundTrip(r)
						body := &stream{Reader: resp.Body}
						resp.Body, bodies = body, append(bodies, body)
						return resp, err
					})
					config.Source = sourceFunc(func(ctx context.Context, _ refresher.Tokens) (refresher.Tokens, error) {
						<-ctx.Done()
						return refresher.Tokens{}, ctx.Err()
					})
				})
				require.NoError(t, tr.SetTokens(t.Context(), atLevel("level1")))
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				resp, err := tr.RoundTrip(must(http.NewRequestWithContext(ctx, "GET", "http://service.test/2", nil)))
				if c.leaves {
					assert.ErrorIs(t, err, context.DeadlineExceeded)
				} else {
					require.NoError(t, err)
					require.NoError(t, resp.Body.Close())
				}
				require.Len(t, bodies, c.answers)
				for i, body := range bodies {
					assert.EqualValues(t, 1, body.closed.Load(), "answer %d is closed once", i)
				}
			})
		})
	}
}

// What StepUp itself sends asks for no login: it would wait for itself.
func TestARequestOfTheLoginAsksForNone(t *testing.T) {
	var url string
	var inner string
	tr, _, base := stepping(t, func(ctx context.Context, tr *refresher.Transport, required *jwterrors.Error) error {
		resp, err := tr.Client().Do(must(http.NewRequestWithContext(ctx, "GET", url+"/3", nil)))
		if err != nil {
			return err
		}
		inner = insufficient(t, resp)
		return stepUpTo(ctx, tr, required)
	}, nil)
	url = base
	status, err := get(t.Context(), tr.Client(), url+"/2")
	require.NoError(t, err)
	assert.Equal(t, 200, status)
	assert.Equal(t, "level3", inner)
}

func TestACloseEndsALogin(t *testing.T) {
	var tr *refresher.Transport
	tr, _, url := stepping(t, func(ctx context.Context, _ *refresher.Transport, _ *jwterrors.Error) error {
		go tr.Close()
		<-ctx.Done()
		return ctx.Err()
	}, nil)
	resp, err := tr.Client().Get(url + "/2")
	require.NoError(t, err)
	assert.Equal(t, "level2", insufficient(t, resp))
	assert.Eventually(t, func() bool { return len(goroutines()) == 0 }, 20*time.Second, time.Millisecond)
}

// A token that has expired is renewed first, and what is then too weak is made
// stronger; with proofs, each try has one of its own.
func TestARefreshAndThenAStrongerLogin(t *testing.T) {
	b := newBoundService(true)
	server := serve(t, b)
	var strong atomic.Bool
	b.hookCall(func(w http.ResponseWriter, r *http.Request) bool {
		if number(strings.TrimPrefix(r.Header.Get("Authorization"), "DPoP ")) < 3 || strong.Load() {
			return false
		}
		jwterrors.Responder{}.Respond(w, r, &jwterrors.Error{Reason: jwterrors.AuthenticationInsufficient, MaxAge: time.Minute})
		return true
	})
	var tr *refresher.Transport
	tr = withProof(t, server.URL, func(c *refresher.Config) {
		c.StepUp = func(ctx context.Context, _ *jwterrors.Error) error {
			strong.Store(true)
			return tr.Login(ctx, alice)
		}
	})
	login(t, tr)
	b.expire()
	resp, err := tr.Client().Post(server.URL+"/api", "text/plain", strings.NewReader("the body"))
	require.NoError(t, err)
	assert.Equal(t, "ok the body", string(must(io.ReadAll(resp.Body))))
	resp.Body.Close()
	assert.EqualValues(t, 1, b.refreshes.Load())
	assert.EqualValues(t, 2, b.logins.Load())
	assert.Len(t, b.requests("/api"), 4, "without a nonce, with it, after the refresh, after the login")
	assert.Zero(t, b.refusals.Load())
}
