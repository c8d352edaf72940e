package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
)

// An sdkConfig is what an app initialises its instance with.
type sdkConfig struct {
	api, appKey string
	jwt         bool            // isJwtEnabled
	store       refresher.Store // nil: in memory
	patience    time.Duration   // how long a report waits for a token
	now         func() time.Time
}

// An sdk reports for the user of one app. It is what an app has in place of the
// refresher, which it configures in push mode: the app hands in tokens, and is
// told when it should.
type sdk struct {
	config    sdkConfig
	transport *refresher.Transport // nil without JWT
	paused    atomic.Bool          // too many tokens in a row were refused

	syncing sync.Mutex // one sync at a time
	mu      sync.Mutex
	user    string   // "" when nobody is logged in
	pending []string // whose reports were not taken yet
}

// newSDK returns an instance. Nothing is shared between two of them.
func newSDK(config sdkConfig) (*sdk, error) {
	s := &sdk{config: config}
	if !config.jwt {
		return s, nil
	}
	var err error
	s.transport, err = refresher.New(refresher.Config{
		Origins: []string{config.api}, InsecureAllowHTTP: true, // on loopback
		Push:  true,
		Base:  s.base(),
		Store: config.store, OnFailure: s.failed, Now: config.now,
	})
	return s, err
}

func (s *sdk) base() http.RoundTripper { return withAppKey(s.config.appKey) }

type withAppKey string

func (k withAppKey) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("App-Key", string(k))
	return http.DefaultTransport.RoundTrip(r)
}

// failed is told by the refresher.
func (s *sdk) failed(e *jwterrors.Error) {
	if e.Reason == jwterrors.Paused {
		s.paused.Store(true)
	}
}

// registerAuthenticationListener may be called at any time. The listener is kept
// until remove is called, and may call s.
func (s *sdk) registerAuthenticationListener(listener func(*sdk, *jwterrors.Error)) (remove func()) {
	if s.transport == nil {
		return func() {}
	}
	return s.transport.Listen(refresher.Listeners{OnFailure: func(e *jwterrors.Error) {
		told := *e
		told.App = s.config.appKey
		listener(s, &told)
	}})
}

// login begins a session for the user, whose first token comes along or not.
func (s *sdk) login(ctx context.Context, user, token string) error {
	s.paused.Store(false)
	s.mu.Lock()
	s.user = user
	s.mu.Unlock()
	if s.transport == nil {
		return nil
	}
	if token == "" {
		return s.transport.Identify(ctx, refresher.UserID(user))
	}
	return s.transport.Identify(ctx, refresher.UserID(user), refresher.WithTokens(refresher.Tokens{AccessToken: token}))
}

// passAuthenticationDetails hands in a token with whose it is. A token of somebody
// else is refused.
func (s *sdk) passAuthenticationDetails(ctx context.Context, token, user string) error {
	return s.transport.SetTokens(ctx, refresher.Tokens{AccessToken: token, Identity: refresher.UserID(user)})
}

// newSession lets reports be tried again after too many failures. The listener is
// told once more if the token is still refused.
func (s *sdk) newSession() {
	s.paused.Store(false)
	s.transport.Resume()
}

// launch is a later start of the app: the store may have a user, and a token that
// has expired meanwhile. It returns the user, and whether a new token is needed.
func (s *sdk) launch(ctx context.Context) (user string, expired bool, err error) {
	if err := s.transport.Restore(ctx); err != nil {
		return "", false, err
	}
	tokens, ok := s.transport.Tokens()
	if !ok {
		return "", false, nil
	}
	s.mu.Lock()
	s.user = tokens.Identity.UserID
	s.mu.Unlock()
	return tokens.Identity.UserID, !s.config.now().Before(tokens.Expiry), nil
}

// track notes something to report of the user, or of nobody in particular.
func (s *sdk) track() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = append(s.pending, s.user)
}

// next returns whose report is the next to send, and who is logged in now.
func (s *sdk) next() (of, user string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pending) == 0 {
		return "", s.user, false
	}
	return s.pending[0], s.user, true
}

func (s *sdk) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = s.pending[1:]
}

// sync sends what there is to report. What the service does not take is kept for
// the next sync; but when its user has logged out, what fails for want of a token
// is deleted.
func (s *sdk) sync(ctx context.Context) error {
	s.syncing.Lock()
	defer s.syncing.Unlock()
	for {
		of, user, ok := s.next()
		if !ok {
			return nil
		}
		err := s.send(ctx, of, user)
		var refused *jwterrors.Error
		switch _, user, _ = s.next(); {
		case err == nil:
		case errors.As(err, &refused) && of != user:
			err = nil
		default:
			return err
		}
		s.drop()
	}
}

func (s *sdk) send(ctx context.Context, of, user string) error {
	if s.paused.Load() {
		return &jwterrors.Error{Reason: jwterrors.Paused, Err: errors.New("it is tried again in the next session")}
	}
	through := s.base() // what is nobody's has no token
	if s.transport != nil && of != "" && of == user {
		through = s.transport
	}
	ctx, cancel := context.WithTimeout(ctx, s.config.patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.config.api+"/sdk/report?identifier="+url.QueryEscape(of), nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: through}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if e := jwterrors.FromResponse(resp); e != nil {
		return e
	}
	if resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("the service answered %d", resp.StatusCode)
	}
	return nil
}

// logout forgets the user and the token. A report of the user that is waiting for
// a token ends with AUTH_LOGGED_OUT.
func (s *sdk) logout(ctx context.Context) error {
	s.mu.Lock()
	s.user = ""
	s.mu.Unlock()
	if s.transport == nil {
		return nil
	}
	return s.transport.Logout(ctx)
}
