package middleware

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// resolved asks Config.Resolve for the issuer of a request. name is the "iss" of
// its token, which is not verified.
func (m *Middleware) resolved(ctx context.Context, r *http.Request, name string) (*issuer, error) {
	found, err := m.resolve(ctx, r, name)
	var reason jwterrors.Reason
	switch {
	case err != nil && errors.As(err, &reason) && reason != "":
		return nil, err
	case err != nil:
		return nil, refuse(jwterrors.KeysUnavailable, err)
	case found.Keys == nil:
		return nil, refuse(jwterrors.TokenKeyUnknown, errors.New("there is no issuer for the request"))
	}
	is := found.trusted()
	is.resolved = true
	if err := errors.Join(is.check()...); err != nil {
		return nil, refuse(jwterrors.KeysUnavailable, fmt.Errorf("middleware: Resolve: issuer %q: %w", is.name, err))
	}
	return is, nil
}

// besideResolve returns the names of the fields that are set and cannot be had
// together with Resolve.
func (c *Config) besideResolve() []string {
	var names []string
	for _, field := range []struct {
		name string
		set  bool
	}{
		{"Keys", c.Keys != nil}, {"Issuer", c.Issuer != ""}, {"Audience", c.Audience != nil}, {"Issuers", c.Issuers != nil},
		{"StatusList", c.StatusList != nil},
		{"InsecureAnyIssuer", c.InsecureAnyIssuer}, {"InsecureAnyAudience", c.InsecureAnyAudience},
	} {
		if field.set {
			names = append(names, field.name)
		}
	}
	return names
}
