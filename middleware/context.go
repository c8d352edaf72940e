package middleware

import "context"

// FromContext returns the claims that Handler, Optional or Observe verified, and whether
// there were any. The claims belong to the request: its handlers share them.
func FromContext(ctx context.Context) (*Claims, bool) {
	if c, ok := ctx.Value(contextKey{}).(*authContext); ok && c.claims != nil {
		return c.claims, true
	}
	return nil, false
}

// NewContext returns a context that carries claims, for tests of handlers, and
// for transports other than HTTP that call Verify. Nil claims are an anonymous
// request.
func NewContext(ctx context.Context, claims *Claims) context.Context {
	return &authContext{Context: ctx, claims: claims, judged: claims, by: contextOf(ctx).by}
}

type contextKey struct{}

// An authContext carries who is asking, and which Middleware found that out, so
// that guards behind it answer as it does.
type authContext struct {
	context.Context
	claims *Claims     // for handlers; nil for an anonymous request
	judged *Claims     // for guards; the same unless [Config].ShareClaims is set
	by     *Middleware // nil when no Middleware was involved

	preflight bool // by let a CORS preflight pass
	observed  bool // by refuses nothing
}

func (c *authContext) Value(key any) any {
	if key == (contextKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// contextOf returns what ctx carries, which is nothing where no Middleware was
// involved.
func contextOf(ctx context.Context) *authContext {
	if c, ok := ctx.Value(contextKey{}).(*authContext); ok {
		return c
	}
	return &authContext{}
}
