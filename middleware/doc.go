// Package middleware verifies the access tokens of HTTP requests: JSON Web
// Tokens (RFC 7519), signed (RFC 7515), sent as bearer tokens (RFC 6750).
//
//	auth, err := middleware.New(middleware.Config{
//		Keys:     middleware.JWKS("https://id.example.com/.well-known/jwks.json", middleware.JWKSOptions{}),
//		Issuer:   "https://id.example.com",
//		Audience: []string{"orders"},
//	})
//	...
//	mux.Handle("/orders", auth.Handler(orders))
//	mux.Handle("/admin", auth.Handler(middleware.RequireScopes("admin")(admin)))
//
// Behind Handler, [FromContext] has the token's [Claims]. Requests without a
// valid token are answered with a status, a WWW-Authenticate and a body that
// name the reason, one of package errors (imported as jwterrors). [Middleware.Check]
// decides without answering, [Middleware.Verify] works without HTTP.
//
// Where the issuer depends on the request, [Config].Resolve names it.
// [Middleware.Ready] is for a readiness probe, an [Observer] for metrics, and
// [ProtectedResourceMetadata] for clients that know nothing but an address.
//
// # What is checked
//
// In this order, and the first check that fails gives the reason:
//
//  1. AUTH_TOKEN_MISSING, AUTH_REQUEST_INVALID: there is one Authorization
//     header with one bearer token. Other schemes carry no token. Where Config
//     allows other places, one of all holds a token.
//  2. AUTH_TOKEN_FORMAT_INVALID: the token and its header are not too long. It
//     consists of three parts in base64url, and is spelled in the only way
//     there is. An empty one and a JWE are not such tokens.
//  3. The header. AUTH_TOKEN_SIGNATURE_INVALID: "alg" is an algorithm of the
//     issuer's keys. AUTH_TOKEN_TYPE_INVALID: "typ" is that of an access token
//     (see [Config].TokenTypes). AUTH_TOKEN_KEY_UNKNOWN: "kid" can be the name
//     of a key. AUTH_TOKEN_FORMAT_INVALID: it is a JSON object without
//     duplicates and without extensions ("crit", "b64", "enc"). Keys in the
//     header ("jwk", "jku", "x5c", "x5u") are ignored.
//  4. The key. AUTH_TOKEN_KEY_UNKNOWN: there is an issuer, and it has the key.
//     AUTH_KEYS_UNAVAILABLE: whether it has cannot be known now.
//  5. AUTH_TOKEN_SIGNATURE_INVALID: the signature is that of the key, for the
//     key's own algorithm. A forgery is never called anything else, however old
//     it says it is.
//  6. AUTH_TOKEN_PAYLOAD_INVALID: the claims are a JSON object without
//     duplicates, also by case, each claim has its type, and "exp", "iat" and
//     those of [Config].RequiredClaims are there. AUTH_TOKEN_TYPE_INVALID: the claims are not those of a refresh, ID
//     or logout token.
//  7. AUTH_TOKEN_EXPIRATION_INVALID, AUTH_TOKEN_EXPIRED,
//     AUTH_TOKEN_NOT_YET_VALID: lifetime, "exp", "nbf", "iat".
//  8. AUTH_TOKEN_ISSUER_INVALID, AUTH_TOKEN_AUDIENCE_INVALID: "iss", "aud".
//  9. AUTH_TOKEN_PAYLOAD_INVALID, AUTH_TOKEN_USER_KEY_INVALID: the user key, where
//     Config has a rule for it.
//  10. AUTH_TOKEN_INVALIDATED: it was revoked. AUTH_STORE_UNAVAILABLE: whether it
//     was cannot be known now.
//  11. The caller's own check, with its reason or AUTH_TOKEN_GENERIC_ERROR.
//
// Tokens that passed the checks 2 to 8 twice are remembered, in a bounded cache, for
// as long as the issuer's keys stay what they are. For those, time and the checks 9
// to 11 are all that is left (see [Config].CacheBytes).
//
// # What is left to the caller
//
// TLS, cross-origin rules (whose preflights pass, see [Middleware.Handler]), and
// what a user may do with which object. A token is
// a bearer token: who has it can use it. One Middleware serves one audience;
// make another for a service that must not accept the same tokens.
package middleware
