// Package middleware verifies the access tokens of HTTP requests: JSON Web
// Tokens (RFC 7519), signed (RFC 7515), sent as bearer tokens (RFC 6750), or bound
// to a key or a certificate of the client (RFC 9449, RFC 8705).
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
//     header with one bearer token, or one of the scheme DPoP where [Config].DPoP
//     is set. Other schemes carry no token. Where Config allows other places,
//     one of all holds a token.
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
//  9. AUTH_PROOF_INVALID, AUTH_PROOF_NONCE_REQUIRED: possession of what the token
//     is bound to, if it is (see below). AUTH_STORE_UNAVAILABLE: whether a proof
//     was used before cannot be known now.
//  10. AUTH_TOKEN_PAYLOAD_INVALID, AUTH_TOKEN_USER_KEY_INVALID: the user key, where
//     Config has a rule for it.
//  11. AUTH_TOKEN_INVALIDATED: it was revoked, by what Revocations or the issuer's
//     StatusList say. AUTH_STORE_UNAVAILABLE: whether it was cannot be known now.
//  12. The caller's own check, with its reason or AUTH_TOKEN_GENERIC_ERROR.
//
// Tokens that passed the checks 2 to 8 twice are remembered, in a bounded cache, for
// as long as the issuer's keys stay what they are. For those, time and the checks 9
// to 12 are all that is left (see [Config].CacheBytes).
//
// # Proof of possession
//
// Who has a bearer token can use it. A token that is bound to a key or a certificate
// of the client, by its "cnf" (RFC 7800), is of no use to a thief: each request must
// show that its sender has that, too.
//
//   - A key ("jkt"): [Config].DPoP. The token comes as "Authorization: DPoP", with
//     a proof in the field DPoP that is for this request alone.
//   - A certificate ("x5t#S256"): nothing need be configured where clients connect
//     over TLS with their certificates. Behind a proxy: [Config].ClientCertificate.
//   - Both: both.
//
// Whatever is configured, a token that is bound does not pass for a bearer token in
// any place, nor in [Middleware.Verify], which has no request, and one whose "cnf"
// has a member that is not known here does not pass at all. Tokens that are bound to
// nothing pass unless [DPoP].Required is set. They pay nothing for this.
//
// # Revocation
//
// A token is good until it expires, unless somebody is asked. What there is to ask, all
// of it in memory, so that no request waits for a network, but for the first StatusList
// and for one that is overdue:
//
//	Denylist, alone            one process, which is told of logouts by its issuer
//	Denylist with a feed       services that share a Redis or a database with the issuer
//	StatusList                 services elsewhere: a signed list, fetched over HTTP, as old as its "ttl" and RefreshAfter allow
//
// A StatusList is that of one issuer, and a token names its entry in it: see
// [NewStatusList].
//
//	keys := middleware.JWKS("https://id.example.com/.well-known/jwks.json", middleware.JWKSOptions{})
//	auth, err := middleware.New(middleware.Config{
//		Keys: keys, Issuer: "https://id.example.com", Audience: []string{"orders"},
//		StatusList: middleware.NewStatusList("https://id.example.com/auth/status-list", keys, middleware.StatusListOptions{}),
//	})
//
// # draft-ietf-oauth-status-list, rule by rule
//
// What is made of a Token Status List (version 21 of the draft), as a JWT.
//
//	4.1   entries of 1, 2, 4 and 8 bits, from the least significant one on, as zlib:
//	      TestTheVectorsOfTheDraft FuzzStatusList
//	4.2   "bits" and "lst", and nothing unpacked beyond a limit:
//	      TestListsThatAreRefused TestAListOverTCP
//	5.1   the type, the signature, "sub", "iat", "exp", "ttl":
//	      TestListsThatAreRefused
//	6.2   "idx" and "uri" of a token, which must be the list of its issuer:
//	      TestTheStatusOfAToken TestTheListsOfSeveralIssuers
//	7     what is not 0 is refused:
//	      TestTheVectorsOfTheDraft
//	8.1   GET, with the media type; nothing is fetched that a token names:
//	      TestAListOverTCP TestTheStatusOfAToken
//	8.3   the token itself is judged before; an entry that is not there is refused:
//	      TestTheStatusOfAToken TestTheVectorsOfTheDraft
//	11.3  the keys are those of the caller's source, and may change:
//	      TestTheKeysOfAListChange
//	11.4  redirects within the origin alone:
//	      TestAnswersThatAreNoList
//	11.5  what "ttl" asks for is kept within bounds:
//	      TestTheLeastTimeBetweenFetches TestTheListIsFetchedByItsTTL
//	13.7  a list counts until "exp" and MaxStale, and no older one replaces it:
//	      TestAnOutageOfTheList TestAListThatIsConfirmed TestAListThatIsOlder
//
// # What is left to the caller
//
// TLS, cross-origin rules (whose preflights pass, see [Middleware.Handler]), and
// what a user may do with which object. A token that is bound to nothing is
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
//	     A secret is as long as its hash; a shorter one is refused by New, and so
//	     is an RSA key that can be factored (CVE-2017-15361).
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
//
// # RFC 9449, rule by rule
//
// DPoP, as far as it is the part of who accepts tokens.
//
//	4.3   the twelve checks of a proof
//	      One field, one JWT; its claims, typ, alg and signature; a public
//	      key; method and URL; nonce or age; the token's hash and its key.
//	      TestProofsThatAreRefused TestTheURLOfAProof TestTheAgeOfAProof TestNonces
//	5.1   the metadata name the algorithms
//	      And ProtectedResourceMetadata does. TestTheMetadataOfAResource
//	6.1   the key is in the "jkt" of "cnf"
//	      Anything else there, and what is not known, refuses the token.
//	      TestWhatATokenIsBoundTo FuzzConfirmation
//	7.1   the scheme DPoP, with a proof for each request
//	      A token of the scheme that is bound to no key does not pass.
//	      TestABoundTokenPassesWithAProof TestTheSchemeOfDPoP TestWhatATokenIsBoundTo
//	7.2   a bound token is no bearer token
//	      Challenges offer both schemes, or DPoP alone where it is required.
//	      TestABoundTokenIsNoBearerToken TestOnlyBoundTokensWhereThatIsRequired
//	8.1   a nonce is of characters that fit a header
//	      TestNonces
//	8.2   the next nonce comes with an answer, before it is needed
//	      TestNonces TestANonceIsToldWhoeverAnswers
//	9     a service asks for its own nonces, with use_dpop_nonce
//	      TestNonces TestTheSecretOfNonces
//	11.1  a proof is not used again
//	      By its key and its "jti", for as long as it could be, among processes
//	      too. Where that is not known, nobody passes.
//	      TestProofsThatAreRefused TestOneProofManyTimesAtOnce
//	      TestProcessesThatShareReplays TestMoreProofsThanAreRemembered
//	11.2  a proof is not made for later
//	      A short age, or a nonce. TestProofsThatAreRefused TestNonces
//	11.3  who asks for nonces takes nothing without
//	      TestNonces
//	11.4  code of others in the client
//	      Not to be told here: a nonce ends what it can make in advance. TestNonces
//	11.5  another JWT is no proof, and a proof no token
//	      TestProofsThatAreRefused TestTokenTypes TestAttacks
//	11.6  signatures with public keys alone
//	      TestProofsThatAreRefused TestMistakesInDPoP
//	11.7  a proof covers method, URL and token, and no more of a request
//	      Not the query, other fields and the body. TestABoundTokenPassesWithAProof
//	11.8  token and key belong together
//	      A token with another key's proof, and a proof for another token.
//	      TestProofsThatAreRefused
//	11.10 one hash
//	      SHA-256, of that length. TestWhatATokenIsBoundTo
//
// # RFC 8705, rule by rule
//
// Tokens that are bound to a certificate.
//
//	3    the certificate of the connection is the one of the token
//	     Else 401 and invalid_token. Whoever signed it: TLS has proved its key.
//	     TestATokenBoundToACertificate TestATokenBoundToAKeyAndACertificate
//	3.1  its thumbprint is in the "x5t#S256" of "cnf"
//	     TestWhatATokenIsBoundTo FuzzConfirmation
//	6.5  behind a proxy, its word counts, and nobody else's
//	     RFC 9440, and PEM with escapes.
//	     TestTheCertificateBehindAProxy TestTheFormsOfACertificateHeader
//	     TestMistakesInACertificateHeader FuzzCertificateHeader
//
// # RFC 9470, rule by rule
//
// Step-up: a login that is strong and recent enough.
//
//	3    insufficient_user_authentication, with acr_values and max_age
//	     TestRequireAuthentication
//	6    "acr" and "auth_time" of the token tell
//	     A token without them does not pass. TestRequireAuthentication
package middleware
