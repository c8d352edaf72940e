// Package middleware verifies the access tokens of HTTP requests: JSON Web
// Tokens (RFC 7519), signed (RFC 7515), sent as bearer tokens (RFC 6750).
//
//	auth, err := middleware.New(middleware.Config{
//		Keys:     middleware.JWKS("https://id.example.com/.well-known/jwks.json", middleware.JWKSOptions{}),
//		Issuer:   "https://id.example.com",
//		Audience: []string{"orders"},
//		Logger:   slog.Default(), // says why a token is refused
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
//
// # Coming from elsewhere
//
// What to write in place of what, and what differs:
//
//	go-chi/jwtauth               Example (ComingFromJwtauth)
//	auth0/go-jwt-middleware      Example (ComingFromAuth0)
//	gin-jwt, echo-jwt            Example (ComingFromGinAndEcho)
//	golang.org/x/oauth2          the table in the package refresher/oauth2x
//	plain API keys               examples/iterable/README.md
//
// In all cases begin with [Middleware.Observe], which lets everything pass, and an
// [Observer] that counts what Handler would refuse.
//
// # RFC 8725, rule by rule
//
// The current practices for JSON Web Tokens (RFC 8725, Section 3), what is done
// about each, and the tests that prove it.
//
//	3.1  the caller says which algorithms there are; a key has one
//	     Each key has one algorithm, and a header cannot choose another.
//	     TestEveryAlgorithm TestEveryAlgorithmWithASecret TestAttacks TestTheAlgorithmsAreOurOwn
//	3.2  no algorithm that is weak, none least of all
//	     "none" is no algorithm here in any spelling; RSA keys have 2048 bits.
//	     TestAttacks TestMistakesInTheConfig TestWhichKeysOfASet TestTheSaltOfPSS
//	3.3  all cryptography is checked, or the whole token is refused
//	     Nothing that a token says is believed before its signature.
//	     TestHostileRequests TestPrecedence FuzzVerify
//	3.4  what goes into the cryptography is checked
//	     A point is on its curve, modulus and exponent are what they can be.
//	     TestMistakesInTheConfig TestWhichKeysOfASet
//	3.5  keys cannot be guessed
//	     A secret is as long as its hash; a shorter one is refused by New.
//	     TestMistakesInTheConfig
//	3.6  no compression before encryption
//	     There is no encryption: a JWE is refused for its form, unread.
//	     TestAttacks TestTheFormIsLookedAtFirst
//	3.7  JSON is UTF-8
//	     Header and claims that are not are refused.
//	     TestAttacks FuzzSigned
//	3.8  issuer and subject are checked, and keys belong to the issuer
//	     "iss" is required and compared byte by byte, each issuer has keys of
//	     its own. The subject is left to UserKey and Validate.
//	     TestSeveralIssuers TestTwoTenantsWithOneKid TestTheUserKey TestValidate
//	3.9  the audience is required and checked
//	     TestAttacks TestOneTokenAtTwoAudiences TestTwoAudiencesUnderTraffic
//	3.10 what is received is not trusted
//	     "kid" is a name to compare and nothing else; "jku", "jwk", "x5u" and
//	     "x5c" are ignored; an unknown kid cannot cause fetches at will.
//	     TestAttacks TestForgedKids TestAForgedKidIsRemembered
//	3.11 tokens have a type
//	     "typ" is compared with Config.TokenTypes, at+jwt alone if so wanted.
//	     TestTokenTypes TestAttacks
//	3.12 one kind of token does not pass for another
//	     Refresh, ID, logout tokens and DPoP proofs are told by type and claims.
//	     TestAttacks TestTokenTypes TestNobodyIsAskedAboutAToken
//
// And what its revision is about to add, as far as it is known:
//
//	one spelling     base64url without padding, line breaks and stray bits:
//	                 TestAttacks TestLineBreaksInTheToken TestAnAlteredTokenIsNotTheOneBefore
//	one meaning      no member twice, and no registered one in another case:
//	                 TestAttacks FuzzSigned
//	crit             no extension is known, so none passes:
//	                 TestAttacks
//	JWE              five parts, and "enc" in three, are never a JWS:
//	                 TestAttacks TestTheFormIsLookedAtFirst
//	limits           length before parts, members before JSON, depth:
//	                 TestAMegabyteIsRefusedUnread TestAHeaderOfManyMembersIsRefusedUnread
//	                 TestAPayloadOfManyMembersIsReadAfterItsSignature TestAttacks
//
// # RFC 6750, rule by rule
//
// Bearer tokens, and their threats (RFC 6750, Section 5).
//
//	2    one way to send a token in a request: two are a 400
//	     TestWhereTheTokenIs TestTheAuthorizationHeader
//	2.1  the Authorization header, which is always understood
//	     The scheme in any case, spaces, one token; no lists, no tabs.
//	     TestTheAuthorizationHeader FuzzAuthorization
//	2.2  the form of a POST, of its type, with one such parameter
//	     Off by default, bounded; the handler reads it as before.
//	     TestWhereTheTokenIs TestAFormThatWasReadBefore TestAFormThatBreaksOff
//	2.3  the query, whose answers are private
//	     Off by default; Cache-Control: no-store, private.
//	     TestWhereTheTokenIs
//	3    a challenge with every refusal, of one scheme, in printable ASCII
//	     TestHostileRequests TestHostileRequestsOverTCP TestRespondAndRealm TestRequireScopes
//	3.1  the codes and their statuses; no code where no token came
//	     TestTheReasonsOnTheWire TestTheAuthorizationHeader TestRequireScopes
//	4    answers with a token are not stored
//	     The issuer's. A refusal is not stored, either.
//	     TestHostileRequests
//	5.1  manufacture, disclosure, redirect, replay
//	     A signature; nothing secret in logs and answers; the audience; an end
//	     to each token, and a denylist before it.
//	     TestHostileRequests TestNoTokenIsShown TestOneTokenAtTwoAudiences
//	     TestTimeAtItsLimits TestDenylist TestRotationAndRevocationUnderTraffic
//	5.2  what is done about them
//	     Keys come over TLS. That tokens do is the caller's part.
//	     TestMistakesInTheConfig TestRedirects
//	5.3  no cookies that others can make a browser send, no URLs, short lives
//	     A cookie is guarded against other origins; MaxLifetime; URLs are off.
//	     TestCookieOrigins TestWhereTheTokenIs TestTimeAtItsLimits
package middleware
