package refresher_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
)

// triedStore counts the attempts to save.
type triedStore struct {
	brokenStore
	saves, clears, locks atomic.Int64
}

func (s *triedStore) Lock(ctx context.Context) (func(), error) {
	s.locks.Add(1)
	return s.brokenStore.Lock(ctx)
}

func (s *triedStore) Save(ctx context.Context, tokens refresher.Tokens) error {
	s.saves.Add(1)
	return s.brokenStore.Save(ctx, tokens)
}

func (s *triedStore) Clear(ctx context.Context) error {
	s.clears.Add(1)
	return s.brokenStore.Clear(ctx)
}

// saving is a Transport of which the retries come at round times.
func saving(t *testing.T, s *service, store refresher.Store, change func(*refresher.Config)) *refresher.Transport {
	return offline(t, s, func(c *refresher.Config) {
		c.Store, c.RetryInterval = store, 2*time.Second
		if change != nil {
			change(c)
		}
	})
}

func call(t *testing.T, tr *refresher.Transport) {
	t.Helper()
	status, err := get(t.Context(), tr.Client(), api)
	require.NoError(t, err)
	require.Equal(t, 200, status)
}

func refreshToken(t *testing.T, s refresher.Store) string {
	t.Helper()
	return must(s.Load(t.Context())).RefreshToken
}

// What a later refresh has saved needs no more attempts: nothing is locked, and no
// failure is told, that would be about nothing.
func TestASaveThatWasMadeUpForByARefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := newService(), &triedStore{}
		var told failures
		tr := saving(t, s, store, func(c *refresher.Config) { c.OnFailure = told.add })
		login(t, tr)
		store.breaks("Save")
		require.NoError(t, tr.Refresh(t.Context()))
		store.breaks("")
		require.NoError(t, tr.Refresh(t.Context()))
		synctest.Wait()
		before := len(told.reasons())
		store.breaks("Lock")
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		assert.Len(t, told.reasons(), before)
	})
}

// NV-10, AX-06: a save that failed is reported, and made up for as soon as the
// store works again, without a request, and without a call of the issuer.
func TestAFailedSaveIsMadeUpFor(t *testing.T) {
	for name, begin := range map[string]func(t *testing.T, store *triedStore, tr *refresher.Transport){
		"of a refresh": func(t *testing.T, store *triedStore, tr *refresher.Transport) {
			login(t, tr)
			store.breaks("Save")
			require.NoError(t, tr.Refresh(t.Context()))
		},
		"of a login": func(t *testing.T, store *triedStore, tr *refresher.Transport) {
			store.breaks("Save")
			require.ErrorIs(t, tr.Login(t.Context(), alice), jwterrors.StoreUnavailable)
		},
		"of tokens that were set": func(t *testing.T, store *triedStore, tr *refresher.Transport) {
			login(t, tr)
			tokens, _ := tr.Tokens()
			store.breaks("Save")
			tokens.Scope = "changed"
			require.ErrorIs(t, tr.SetTokens(t.Context(), tokens), jwterrors.StoreUnavailable)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, store := newService(), &triedStore{}
				var told failures
				tr := saving(t, s, store, func(c *refresher.Config) { c.OnFailure = told.add })
				begin(t, store, tr)
				call(t, tr)
				calls, saves := s.refreshes.Load(), store.saves.Load()
				time.Sleep(2*time.Second - time.Nanosecond)
				synctest.Wait()
				assert.Equal(t, saves, store.saves.Load(), "not yet")
				time.Sleep(time.Nanosecond)
				synctest.Wait()
				assert.Equal(t, saves+1, store.saves.Load())
				store.breaks("")
				time.Sleep(4 * time.Second)
				synctest.Wait()
				assert.Equal(t, saves+2, store.saves.Load())
				tokens, _ := tr.Tokens()
				assert.Equal(t, tokens, must(store.Load(t.Context())))
				assert.Contains(t, told.reasons(), string(jwterrors.StoreUnavailable))
				locks := store.locks.Load()
				time.Sleep(5 * time.Minute)
				call(t, tr)
				synctest.Wait()
				assert.Equal(t, saves+2, store.saves.Load(), "there is nothing left to do")
				assert.Equal(t, locks, store.locks.Load())
				assert.Equal(t, calls, s.refreshes.Load())
			})
		})
	}
}

// NV-10: a store that is broken for long gets as many attempts as a refresh
// would, and after them one series for each request that comes a while later.
// In between there is no goroutine: the bubble would not end.
func TestAStoreThatStaysBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := newService(), &triedStore{}
		s.ttl = 24 * time.Hour
		tr := saving(t, s, store, nil)
		login(t, tr)
		store.breaks("Save")
		require.NoError(t, tr.Refresh(t.Context()))
		var at []time.Duration
		began, seen := time.Now(), store.saves.Load()
		for time.Since(began) < 2*time.Hour {
			time.Sleep(time.Second)
			synctest.Wait()
			if n := store.saves.Load(); n != seen {
				at, seen = append(at, time.Since(began)), n
			}
		}
		assert.Equal(t, []time.Duration{2 * time.Second, 6 * time.Second, 14 * time.Second, 30 * time.Second, 62 * time.Second}, at)

		call(t, tr)
		synctest.Wait()
		assert.Equal(t, seen+1, store.saves.Load(), "a request tries at once")
		call(t, tr)
		call(t, tr)
		synctest.Wait()
		assert.Equal(t, seen+1, store.saves.Load(), "and others do not, while that goes on")
		time.Sleep(time.Hour)
		store.breaks("")
		call(t, tr)
		synctest.Wait()
		tokens, _ := tr.Tokens()
		assert.Equal(t, tokens.RefreshToken, refreshToken(t, store))
		assert.EqualValues(t, 1, s.refreshes.Load())
	})
}

// NV-10: without retries it is left to the requests from the start.
func TestAFailedSaveWithoutRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := newService(), &triedStore{}
		tr := saving(t, s, store, func(c *refresher.Config) { c.MaxRetries = refresher.NoRetries })
		store.breaks("Save")
		require.Error(t, tr.Login(t.Context(), alice))
		synctest.Wait()
		store.breaks("")
		time.Sleep(2*time.Second - time.Nanosecond)
		call(t, tr)
		synctest.Wait()
		assert.Empty(t, refreshToken(t, store))
		time.Sleep(time.Nanosecond)
		call(t, tr)
		synctest.Wait()
		assert.NotEmpty(t, refreshToken(t, store))
	})
}

// While one process cannot save, another may go on with what the store has: the
// server gives it the same successor (its retry key is stored), and it rotates
// that in turn. What it has saved is newer then, and is neither overwritten nor
// overlooked, or the server would see a replay.
func TestAFailedSaveDoesNotOverwriteWhatOthersSaved(t *testing.T) {
	for name, waits := range map[string]time.Duration{"before a retry": 0, "after the retries": time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, shared := newService(), &refresher.MemoryStore{}
				s.ttl = 24 * time.Hour
				store := &halfStore{Store: shared}
				a := saving(t, s, store, nil)
				login(t, a)
				store.broken.Store(true)
				require.NoError(t, a.Refresh(t.Context()))
				time.Sleep(waits)
				synctest.Wait()

				theirs := refresher.Tokens{AccessToken: s.access(7), RefreshToken: "refresh-token-number-7", RetryKey: "theirs"}
				s.mu.Lock()
				s.current, s.rotation = 7, 7
				s.mu.Unlock()
				require.NoError(t, shared.Save(t.Context(), theirs))
				store.broken.Store(false)
				time.Sleep(time.Hour)
				_, _ = get(t.Context(), a.Client(), api)
				synctest.Wait()
				assert.Equal(t, theirs, must(shared.Load(t.Context())))
				call(t, a)
				assert.EqualValues(t, 1, s.refreshes.Load(), "theirs are taken over")
				tokens, _ := a.Tokens()
				assert.Equal(t, theirs.RefreshToken, tokens.RefreshToken)
			})
		})
	}
}

// halfStore cannot be written for a while.
type halfStore struct {
	refresher.Store
	broken atomic.Bool
}

func (h *halfStore) Save(ctx context.Context, tokens refresher.Tokens) error {
	if h.broken.Load() {
		return errDisk
	}
	return h.Store.Save(ctx, tokens)
}

// The store had another session when a login could not be saved. What happens
// to that one there does not matter: the login counts.
func TestALoginThatWasNotSavedWinsOverTheOlderSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, shared := newService(), &refresher.MemoryStore{}
		store := &halfStore{Store: shared}
		tr := saving(t, s, store, nil)
		login(t, tr)
		store.broken.Store(true)
		require.Error(t, tr.Login(t.Context(), alice))
		require.NoError(t, shared.Save(t.Context(), refresher.Tokens{AccessToken: jwtOf(`{"sub":"bob"}`), RefreshToken: "bob's next"}))
		store.broken.Store(false)
		require.NoError(t, tr.Refresh(t.Context()))
		time.Sleep(time.Minute)
		tokens, _ := tr.Tokens()
		assert.Equal(t, tokens.RefreshToken, refreshToken(t, shared))
	})
}

// NV-17: a logout that the store did not take is made up for, unless somebody
// has logged in since.
func TestALogoutThatTheStoreDidNotTake(t *testing.T) {
	for _, again := range []bool{false, true} {
		name := map[bool]string{false: "nobody has logged in", true: "somebody has logged in"}[again]
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, store := newService(), &triedStore{}
				tr := saving(t, s, store, nil)
				login(t, tr)
				store.breaks("Clear")
				require.ErrorIs(t, tr.Logout(t.Context()), errDisk)
				store.breaks("")
				if again {
					login(t, saving(t, s, store, nil)) // another process
				}
				time.Sleep(time.Hour)
				synctest.Wait()
				assert.Equal(t, again, refreshToken(t, store) != "")
				assert.Equal(t, map[bool]int64{false: 2, true: 1}[again], store.clears.Load())
			})
		})
	}
}

// A verdict of the server deletes the tokens that it was about, and those only:
// what cannot be read is left as it is.
func TestAVerdictDeletesNothingThatCannotBeRead(t *testing.T) {
	s, store := newService(), &triedStore{}
	tr := saving(t, s, store, nil)
	login(t, tr)
	s.mu.Lock()
	s.rotation++ // the server does not know the refresh token any more
	s.mu.Unlock()
	store.breaks("Load")
	err := tr.Refresh(t.Context())
	assert.ErrorIs(t, err, jwterrors.RefreshTokenReused)
	assert.ErrorIs(t, err, errDisk, "what was not deleted is told")
	store.breaks("")
	assert.NotEmpty(t, refreshToken(t, store))
	assert.Zero(t, store.clears.Load())
}

// However many refreshes could not be saved, there is one series of attempts.
func TestOneSeriesOfAttemptsAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := newService(), &triedStore{}
		tr := saving(t, s, store, nil)
		login(t, tr)
		store.breaks("Save")
		require.NoError(t, tr.Refresh(t.Context()))
		require.NoError(t, tr.Refresh(t.Context()))
		saves := store.saves.Load()
		time.Sleep(time.Hour)
		synctest.Wait()
		assert.Equal(t, saves+5, store.saves.Load())
	})
}

// NV-17: a logout of a session that never came to the store deletes nothing there:
// what the store has is somebody else's, as far as anybody knows.
func TestALogoutOfASessionThatTheStoreNeverHad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := newService(), &triedStore{}
		require.NoError(t, store.MemoryStore.Save(t.Context(), refresher.Tokens{AccessToken: jwtOf(`{"sub":"bob"}`), RefreshToken: "bob's"}))
		tr := saving(t, s, store, nil)
		store.breaks("everything")
		require.ErrorIs(t, tr.Login(t.Context(), alice), jwterrors.StoreUnavailable)
		require.ErrorIs(t, tr.Logout(t.Context()), errDisk)
		store.breaks("")
		time.Sleep(time.Hour)
		synctest.Wait()
		assert.Equal(t, "bob's", refreshToken(t, store))
	})
}

// Close ends the attempts.
func TestCloseEndsTheAttemptsToSave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := newService(), &triedStore{}
		tr := saving(t, s, store, nil)
		store.breaks("Save")
		require.Error(t, tr.Login(t.Context(), alice))
		require.NoError(t, tr.Close())
		began := time.Now()
		synctest.Wait()
		time.Sleep(time.Hour)
		assert.EqualValues(t, 1, store.saves.Load(), "since %v", began)
	})
}

// A store that panics or exits its goroutine, when it is written again, takes
// nobody along.
func TestAStoreThatPanicsWhenItIsWrittenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := newService(), &refresher.MemoryStore{}
		var saves atomic.Int64
		tr := saving(t, s, hookStore{store, func() {
			switch saves.Add(1) {
			case 1, 2:
				panic("a secret")
			}
		}}, nil)
		require.ErrorIs(t, tr.Login(t.Context(), alice), jwterrors.StoreUnavailable)
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.EqualValues(t, 3, saves.Load())
		assert.NotEmpty(t, refreshToken(t, store))
	})
}

// hookStore calls a function before each save.
type hookStore struct {
	refresher.Store
	hook func()
}

func (h hookStore) Save(ctx context.Context, tokens refresher.Tokens) error {
	h.hook()
	return h.Store.Save(ctx, tokens)
}

// What the tokens that could not be saved replaced may itself have been saved by
// another process: it is older all the same.
func TestAFailedSaveAfterTakingOverWhatOthersSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := newService(), &triedStore{}
		tr := saving(t, s, store, nil)
		login(t, tr)
		s.mu.Lock()
		s.current, s.rotation = 7, 7
		theirs := refresher.Tokens{AccessToken: s.access(7), RefreshToken: "refresh-token-number-7", RetryKey: "theirs", Expiry: time.Now()}
		s.mu.Unlock()
		require.NoError(t, store.MemoryStore.Save(t.Context(), theirs))
		store.breaks("Save")
		require.NoError(t, tr.Refresh(t.Context()))
		used, keys, _ := s.log()
		assert.Equal(t, "refresh-token-number-7", used[len(used)-1], "what was read again is what is exchanged")
		assert.Equal(t, "theirs", keys[len(keys)-1], "with the key that was saved with it")
		store.breaks("")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		tokens, _ := tr.Tokens()
		assert.Equal(t, "refresh-token-number-8", tokens.RefreshToken)
		assert.Equal(t, tokens.RefreshToken, refreshToken(t, store))
	})
}

// A login waits for the refresh of another process, and does not save before it
// in order to be overwritten by it.
func TestALoginIsSavedAfterASlowRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := newService(), &refresher.MemoryStore{}
		tr := saving(t, s, store, nil)
		unlock := must(store.Lock(t.Context())) // by another process, which refreshes
		began := time.Now()
		require.ErrorIs(t, tr.Login(t.Context(), alice), jwterrors.StoreUnavailable)
		assert.Equal(t, 15*time.Second, time.Since(began))
		call(t, tr)
		assert.Empty(t, refreshToken(t, store), "not yet")
		require.NoError(t, store.Save(t.Context(), refresher.Tokens{AccessToken: jwtOf(`{"sub":"bob"}`), RefreshToken: "bob's next"}))
		unlock()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		tokens, _ := tr.Tokens()
		assert.Equal(t, tokens.RefreshToken, refreshToken(t, store))
		require.NoError(t, tr.Refresh(t.Context()))
	})
}

// lateStore saves, and says once that it has not: a disk that was not synced, or a
// keychain that has answered too late.
type lateStore struct {
	refresher.Store
	failed atomic.Bool
}

func (l *lateStore) Save(ctx context.Context, tokens refresher.Tokens) error {
	err := l.Store.Save(ctx, tokens)
	if err == nil && l.failed.CompareAndSwap(false, true) {
		return errDisk
	}
	return err
}

// NV-10: a login may have reached the store although the save has failed. Another
// process that has refreshed it since has the newer tokens, and the refresh token
// of the login would be a replay.
func TestALoginThatWasSavedAllTheSameDoesNotOverwriteItsSuccessor(t *testing.T) {
	for name, half := range map[string]bool{"whole": false, "without the access token": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, memory := newService(), &refresher.MemoryStore{}
				var shared refresher.Store = memory
				late := &lateStore{Store: memory}
				store := refresher.Store(late)
				if half { // the first of the two saves was made
					access := &brokenStore{}
					access.breaks("Save")
					store, shared = &refresher.SplitStore{Secure: memory, Access: access}, &refresher.SplitStore{Secure: memory}
				}
				a, b := saving(t, s, store, nil), saving(t, s, shared, nil)
				require.ErrorIs(t, a.Login(t.Context(), alice), jwterrors.StoreUnavailable)
				require.NoError(t, b.Refresh(t.Context()))
				time.Sleep(time.Hour)
				synctest.Wait()
				assert.Equal(t, "refresh-token-number-2", refreshToken(t, memory))
				call(t, a)
				used, _, _ := s.log()
				assert.Equal(t, []string{"refresh-token-number-1", "refresh-token-number-2"}, used)
			})
		})
	}
}

// deadStore cannot be cleared either while it cannot be read.
type deadStore struct{ brokenStore }

func (d *deadStore) Clear(ctx context.Context) error {
	if err := d.check("Load"); err != nil {
		return err
	}
	return d.MemoryStore.Clear(ctx)
}

// NV-17: a logout is made up for also where the store could not be read: what is
// deleted then is what the session had, and not what anybody has saved since.
func TestALogoutWithAStoreThatIsAway(t *testing.T) {
	for name, again := range map[string]bool{"nobody has logged in": false, "somebody has logged in": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, store := newService(), &deadStore{}
				tr := saving(t, s, store, nil)
				login(t, tr)
				store.breaks("Load")
				require.ErrorIs(t, tr.Logout(t.Context()), errDisk)
				store.breaks("")
				if again {
					login(t, saving(t, s, store, nil)) // another process
				}
				time.Sleep(time.Hour)
				synctest.Wait()
				assert.Equal(t, again, refreshToken(t, store) != "")
			})
		})
	}
}

// A store that fails in other ways when it is written again is asked once more later.
func TestAFailedSaveIsMadeUpForBehindOtherFailures(t *testing.T) {
	for _, what := range []string{"Lock", "Load"} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, store := newService(), &triedStore{}
				tr := saving(t, s, store, nil)
				login(t, tr)
				store.breaks("Save")
				require.NoError(t, tr.Refresh(t.Context()))
				saves := store.saves.Load()
				store.breaks(what)
				time.Sleep(2 * time.Second)
				synctest.Wait()
				assert.Equal(t, saves, store.saves.Load(), "nothing is written without a look at what is there")
				store.breaks("")
				time.Sleep(4 * time.Second)
				synctest.Wait()
				assert.Equal(t, "refresh-token-number-2", refreshToken(t, store))
			})
		})
	}
}

// Tokens that were replaced while they were about to be saved again are not saved.
func TestTokensThatAreReplacedBeforeTheyAreSavedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := newService(), &badStore{}
		var told failures
		tr := saving(t, s, store, func(c *refresher.Config) { c.OnFailure = told.add })
		store.set("Save", func() { panic("a broken disk") })
		require.ErrorIs(t, tr.Login(t.Context(), alice), jwterrors.StoreUnavailable)
		synctest.Wait()
		before := told.reasons()
		store.set("Lock", func() {
			store.set("", nil)
			assert.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: s.access(7), RefreshToken: "theirs"}))
		})
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(t, "theirs", refreshToken(t, store))
		assert.Equal(t, before, told.reasons(), "nothing else has failed")
	})
}

// The refresh token of an answer whose access token is of no use is saved later, too.
func TestARefreshTokenAloneIsSavedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := newService(), &triedStore{}
		tr := saving(t, s, store, nil)
		login(t, tr)
		s.ttl = 2 * 365 * 24 * time.Hour // longer than MaxLifetime
		store.breaks("Save")
		require.ErrorIs(t, tr.Refresh(t.Context()), jwterrors.TokenExpirationInvalid)
		store.breaks("")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		assert.Equal(t, "refresh-token-number-2", refreshToken(t, store))
	})
}
