package refresher_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
)

// The call that came last decides, not the answer that came last.
func TestALoginThatWasOvertakenChangesNothing(t *testing.T) {
	for name, later := range map[string]func(t *testing.T, tr *refresher.Transport){
		"by a logout": func(t *testing.T, tr *refresher.Transport) { require.NoError(t, tr.Logout(t.Context())) },
		"by tokens from elsewhere": func(t *testing.T, tr *refresher.Transport) {
			require.NoError(t, tr.SetTokens(t.Context(), refresher.Tokens{AccessToken: jwtOf(`{"sub":"bob"}`)}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newService()
			entered, release := make(chan struct{}), make(chan struct{})
			tr := offline(t, s, func(c *refresher.Config) {
				c.Base = tripFunc(func(r *http.Request) (*http.Response, error) {
					resp, err := handlerTransport{s}.RoundTrip(r)
					if strings.HasSuffix(r.URL.Path, "/login") {
						close(entered)
						<-release
					}
					return resp, err
				})
			})
			failed := make(chan error)
			go func() { failed <- tr.Login(t.Context(), refresher.Credentials{Username: "alice", Password: "right"}) }()
			<-entered
			later(t, tr)
			before, was := tr.Tokens()
			close(release)
			assert.ErrorIs(t, <-failed, jwterrors.LoggedOut)
			after, is := tr.Tokens()
			assert.Equal(t, was, is)
			assert.Equal(t, before.AccessToken, after.AccessToken)
			_, _, revoked := s.log()
			assert.Equal(t, []string{"refresh-token-number-1"}, revoked, "what it brought is revoked")
		})
	}
}
