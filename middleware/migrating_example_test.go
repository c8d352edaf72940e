package middleware_test

import (
	"fmt"
	"log"
	"net/http"

	"github.com/tokenloop/tokenloop/middleware"
)

// Before, with github.com/go-chi/jwtauth: New with an algorithm and a secret, Verifier
// and Authenticator as two layers of r.Use, and in the handler FromContext, which
// returns a map of claims.
//
// After: one layer, r.Use(auth.Handler). It differs in this:
//
//	iss, aud       are required: give both to the tokens first. Until the old ones have expired,
//	               InsecureAnyIssuer and InsecureAnyAudience let them pass
//	iat, exp       are required: SetIssuedNow and SetExpiryIn of jwtauth set them
//	the secret     has 32 bytes or more
//	the cookie     is not looked at, unless TokenCookie is "jwt"
//	the claims     are fields, and Decode has the others
//	a refusal      is 401 as before, with a reason
func Example_comingFromJwtauth() {
	auth, err := middleware.New(middleware.Config{
		Keys:        middleware.HS256(exampleSecret),
		Issuer:      "https://id.example.com",
		Audience:    []string{"orders"},
		TokenCookie: "jwt",
	})
	if err != nil {
		log.Fatal(err)
	}
	h := auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := middleware.FromContext(r.Context())
		fmt.Fprint(w, claims.Subject)
	}))
	ask(h, exampleToken(""))
	// Output: 200 alice
}

// Before, with github.com/auth0/go-jwt-middleware: a caching provider of the issuer's
// keys, a validator of it with RS256, the issuer, the audience, custom claims and a
// clock skew, and CheckJWT of a middleware around the handler.
//
// After: Discover is the provider, and the rest is in one Config. It differs in this:
//
//	the issuer        is the one in the tokens, with the slash at its end if they have it
//	the algorithm     is that of each published key, and RSAAlgorithm for RSA keys that name none
//	a clock skew      is Leeway, 30 seconds by default
//	custom claims     are read by Decode in the handler, or judged by Validate
//	optional tokens   are Optional in place of Handler
//	no token          is answered with 401, and no longer with 400
//	no keys           is answered with 503 and Retry-After
func Example_comingFromAuth0() {
	auth, err := middleware.New(middleware.Config{
		Keys:     middleware.Discover("https://tenant.example.com/", middleware.JWKSOptions{}),
		Issuer:   "https://tenant.example.com/",
		Audience: []string{"https://orders.example.com"},
	})
	if err != nil {
		log.Fatal(err)
	}
	ask(auth.Handler(hello), "")
	// Output: 401 Bearer
}

// Before, with github.com/appleboy/gin-jwt: one struct with a Key, a Timeout, an
// Authenticator, a PayloadFunc and an Authorizator, whose LoginHandler, RefreshHandler
// and MiddlewareFunc are mounted. Before, with github.com/labstack/echo-jwt: WithConfig
// with a SigningKey, and a *jwt.Token in c.Get("user").
//
// After: this package verifies and the package issuer logs in. examples/gin has the ten
// lines that make a handler of gin of auth.Handler, and echo has WrapMiddleware for it.
// It differs in this:
//
//	Authenticator     is that of issuer.Config, and PayloadFunc is User.Claims and Scopes
//	Authorizator      is RequireScopes, RequireClaim or Validate
//	Timeout           is AccessTTL, and MaxRefresh is RefreshTTL of a session that can be ended
//	TokenLookup       is the header, and by option TokenCookie, TokenInQuery or TokenFrom
//	the claims        are in the context of the request, and not in that of gin or echo
//	no token          is answered by echo with 400, and by this with 401
//	the old tokens    lack what is required ("iss", "aud", "iat"): users log in once more
func Example_comingFromGinAndEcho() {
	admin := middleware.RequireScopes("admin")
	h := exampleAuth().Handler(admin(hello))
	ask(h, exampleToken("admin"))
	ask(h, exampleToken("orders:read"))
	// Output:
	// 200 hello, alice
	// 403 Bearer error="insufficient_scope", error_description="The token does not carry the required scope.", reason="AUTH_SCOPE_INSUFFICIENT", scope="admin"
}
