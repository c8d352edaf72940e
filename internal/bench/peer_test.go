package bench_test

import (
	"context"
	"net/http"
	"slices"
	"testing"
)

// An implementation is one way to protect a handler.
type implementation struct {
	name string

	// build returns a handler that verifies the signature of alg, "exp", "iss"
	// and "aud", puts the claims in the context, takes "sub" from there, and
	// passes it to next. It refuses with a status of 400 or more.
	build func(tb testing.TB, alg string, next reached) http.Handler

	// algorithms are those that it can verify. Nil means all.
	algorithms []string

	// remembers means that a token that was seen before is not verified again,
	// so that a handler that is to see new ones alone must be built anew now
	// and then, with shared.
	remembers bool

	// keyDecides means that the algorithm is taken from the key, whatever the
	// header says. That is safe, but accepts a header that lies.
	keyDecides bool

	// repeatOnly means that it is for tokens that were seen before.
	repeatOnly bool
}

// reached is what a handler calls behind the middleware, with the subject that
// it found in the context.
type reached func(subject string)

// behind returns the handler behind a middleware. It is not inlined: a compiler
// that saw through it would keep the request's copy on the stack, which it cannot
// do for the handlers of a program.
//
//go:noinline
func behind(next reached, subjectIn func(context.Context) string) http.Handler {
	return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { next(subjectIn(r.Context())) })
}

func (i implementation) can(alg string) bool {
	return i.algorithms == nil || slices.Contains(i.algorithms, alg)
}

// publicKeyOnly is for peers that know no secrets.
var publicKeyOnly = []string{"RS256", "ES256", "EdDSA"}

// implementations are all that is compared. What a peer's own API does, it does;
// what it leaves to the caller is done around it, and said there. Keys come from
// the JWKS where the peer has a client for one, and are given to it otherwise.
func implementations() []implementation {
	return []implementation{
		{name: "floor", build: floor},
		{name: "floor-seen", build: seenFloor, repeatOnly: true},
		{name: "tokenloop", build: tokenloop, remembers: true},
		{name: "tokenloop-shared", build: tokenloopShared, remembers: true, repeatOnly: true},
		{name: "golang-jwt", build: golangJWT},
		{name: "golang-jwt-parts", build: golangJWTParts},
		{name: "keyfunc", build: golangJWTKeyfunc, algorithms: publicKeyOnly},
		{name: "auth0", build: auth0, keyDecides: true},
		{name: "jwtauth", build: jwtauth, keyDecides: true},
		{name: "jwx", build: jwx, keyDecides: true},
		{name: "go-oidc", build: goOIDC, algorithms: publicKeyOnly},
		{name: "cristalhq", build: cristalhq},
		{name: "pascaldekloe", build: pascaldekloe},
		{name: "echo-jwt", build: echoJWT},
		{name: "gin-jwt", build: ginJWT},
	}
}
