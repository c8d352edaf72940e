package proof_test

import (
	"path/filepath"
	"testing"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
)

// A logout is cut at bytes of its request and of its answer, and the process is
// gone. The next one finds no tokens and tells the issuer: the session is over
// there, its access token is denied at once, and the login that came in between
// lives on. NV-17, NV-18, NV-19, NV-20, AX-16, AX-23
func TestALogoutThatWasCutIsDelivered(t *testing.T) {
	w := newWorld(t)
	start := func(dir string) *refresher.Transport {
		store, err := refresher.NewFileStore(filepath.Join(dir, "session", "tokens.json"))
		good(t, err)
		logouts, err := refresher.NewFileLogouts(filepath.Join(dir, "logouts"))
		good(t, err)
		transport, err := refresher.New(refresher.Config{
			AuthURL: w.proxy.url() + "/auth", Origins: []string{w.server.URL}, InsecureAllowHTTP: true,
			Base: w.client.Transport, Store: store, Logouts: logouts, RetryInterval: time.Millisecond, Now: w.now,
		})
		good(t, err)
		return transport
	}
	login := func(transport *refresher.Transport) refresher.Tokens {
		good(t, transport.Login(t.Context(), refresher.Credentials{Username: user, Password: password}))
		tokens, _ := transport.Tokens()
		return tokens
	}

	// How long are request and answer?
	whole := start(t.TempDir())
	login(whole)
	<-w.proxy.last
	good(t, whole.Logout(t.Context()))
	seen := <-w.proxy.last
	hold(t, len(seen.request) > 200 && len(seen.answer) > 50, "%d and %d bytes", len(seen.request), len(seen.answer))
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			select {
			case <-w.proxy.last:
			case <-done:
				return
			}
		}
	}()

	const step = 29
	var cuts []cut
	for n := 0; n < len(seen.request); n += step {
		cuts = append(cuts, cut{after: n})
	}
	for n := 0; n < len(seen.answer); n += step {
		cuts = append(cuts, cut{answer: true, after: n})
	}
	for _, c := range cuts {
		w.forget()
		dir := t.TempDir()
		first := start(dir)
		old := login(first)
		hold(t, w.works(old.AccessToken), "%+v: the first session does not work", c)
		w.proxy.cutNext(c)
		err := first.Logout(t.Context())
		hold(t, jwterrors.ReasonOf(err) == jwterrors.RefreshUnavailable, "%+v: Logout returned %v", c, err)
		good(t, first.Close())
		hold(t, c.answer || w.works(old.AccessToken), "%+v: the issuer knows already", c)

		second := start(dir)
		good(t, second.Restore(t.Context()))
		_, ok := second.Tokens()
		hold(t, !ok, "%+v: the next process goes on with the session", c)
		fresh := login(second)
		good(t, second.Flush(t.Context()))
		hold(t, !w.works(old.AccessToken), "%+v: the old access token works", c)
		hold(t, w.works(fresh.AccessToken), "%+v: the later login was ended", c)
		w.session() // there is one alive
		good(t, second.Refresh(t.Context()))
		good(t, second.Close())
	}
	t.Logf("%d cuts", len(cuts))
}
