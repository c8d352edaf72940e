package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
)

const (
	// revokedBound is how long an access token can live on after its session was
	// ended: an interval of the feed of denials, or two where it was cut off
	// meanwhile, with the pause before it tries again; and what a busy machine adds.
	revokedBound = 5 * time.Second

	// keysMaxStale is how old keys a verifier uses, and removedBound so how long a
	// token can live on after its key was removed, with what a busy machine adds.
	keysRefresh  = 500 * time.Millisecond
	keysMaxStale = 3 * time.Second
	removedBound = keysMaxStale + time.Second
)

// A denial is an access token that is to be refused, and since when.
type denial struct {
	used
	next time.Time // when it is tried next
}

// revoked is told of an access token whose session has just ended.
func (o *world) revoked(access string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.denied = append(o.denied, &denial{used: used{access, time.Now()}})
}

// watchRevoked tries the access tokens of sessions that have ended at both servers,
// until ctx is done.
func (o *world) watchRevoked(ctx context.Context, p person) {
	for wait(ctx, 20*time.Millisecond) {
		now := time.Now()
		o.mu.Lock()
		o.denied = slices.DeleteFunc(o.denied, func(d *denial) bool { return now.Sub(d.at) > accessTTL-leeway })
		due := slices.Clone(o.denied)
		o.mu.Unlock()
		for _, d := range due {
			if now.Before(d.next) {
				continue
			}
			d.next = now.Add(700 * time.Millisecond)
			for _, n := range o.servers {
				if s := n.server.Load(); s != nil {
					o.tryRevoked(ctx, p, n.name, s.URL, d)
				}
			}
		}
	}
}

func (o *world) tryRevoked(ctx context.Context, p person, name, url string, d *denial) {
	began := time.Now()
	err := p.me(ctx, url, d.token)
	switch late := began.Sub(d.at); {
	case err == nil && late > revokedBound:
		o.violate("server %s accepts an access token %v after its session has ended", name, late.Round(time.Millisecond))
	case err == nil:
		o.count("revoked tokens accepted within the bound")
		o.longest("a revoked token was accepted", late)
	case jwterrors.ReasonOf(err) == jwterrors.TokenInvalidated:
		o.count("revoked tokens refused")
	}
}

// watchKeys verifies tokens as a service does that has its keys from the JWKS of the
// servers, until ctx is done. A token whose key was removed is to be refused.
func (o *world) watchKeys(ctx context.Context) error {
	service, err := middleware.New(middleware.Config{
		Issuer: o.url(), Audience: []string{"api"}, Leeway: leeway,
		Keys: middleware.JWKS("http://"+o.keys.address()+"/.well-known/jwks.json", middleware.JWKSOptions{
			RefreshAfter: keysRefresh, MaxStale: keysMaxStale, MissInterval: 200 * time.Millisecond, InsecureAllowHTTP: true, Logger: o.log,
		}),
	})
	if err != nil {
		return err
	}
	for wait(ctx, 100*time.Millisecond) {
		for _, u := range o.sample() {
			removed, is := o.removedSince(u.token)
			began := time.Now()
			_, err := service.Verify(ctx, u.token)
			switch late := began.Sub(removed); {
			case err == nil && is && late > removedBound:
				o.violate("a service accepts an access token %v after its key was removed", late.Round(time.Millisecond))
			case err == nil && is:
				o.count("tokens of removed keys accepted within the bound")
				o.longest("a token of a removed key was accepted", late)
			case err == nil:
				o.count("tokens verified by JWKS")
			case is && jwterrors.ReasonOf(err) == jwterrors.TokenKeyUnknown:
				o.count("tokens of removed keys refused")
			}
		}
	}
	return nil
}

// sample returns some access tokens that have not expired, of all ages.
func (o *world) sample() []used {
	const most = 40
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.recent = slices.DeleteFunc(o.recent, func(u used) bool { return now.Sub(u.at) > accessTTL-leeway })
	var some []used
	for i := 0; i < len(o.recent); i += 1 + len(o.recent)/most {
		some = append(some, o.recent[i])
	}
	return some
}

// removedSince returns since when no server has the key of a token.
func (o *world) removedSince(token string) (time.Time, bool) {
	head, _, _ := strings.Cut(token, ".")
	var header struct {
		Kid string `json:"kid"`
	}
	if data, err := base64.RawURLEncoding.DecodeString(head); err == nil {
		_ = json.Unmarshal(data, &header) // then there is no kid
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	at, ok := o.removed[header.Kid]
	return at, ok
}
