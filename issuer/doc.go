// Package issuer logs users in, mints access tokens, rotates refresh tokens and
// revokes sessions, as an http.Handler to mount in a service:
//
//	iss, err := issuer.New(issuer.Config{
//		Issuer:       "https://id.example.com",
//		Audience:     []string{"orders"},
//		Keys:         ring,
//		MasterKeys:   []issuer.MasterKey{{Secret: secret}},
//		Store:        issuer.NewMemoryStore(),
//		Authenticate: authenticate,
//	})
//	...
//	mux.Handle("/auth/", iss)
//	mux.Handle("/.well-known/", iss.WellKnown())
//
// Whether a password is right is for the caller's Authenticate to say, which the
// package [github.com/tokenloop/tokenloop/issuer/password] makes of a look-up of
// users, and where sessions live is the caller's choice of a [Store].
//
// # Routes
//
//	POST   /auth/login                 {"username" or "email", "password", "device", "scope"}: tokens
//	POST   /auth/signup                the same, and what the service asks for: 201 and tokens; only with Register
//	POST   /auth/refresh               {"refresh_token"} and an Idempotency-Key that may be missing: tokens
//	POST   /auth/logout                {"refresh_token"}, an access token that may have expired, or both: 204
//	GET    /auth/sessions              access token: the user's sessions
//	DELETE /auth/sessions/{id}         access token: 204
//	DELETE /auth/sessions?others=true  access token: 204
//	GET    /auth/.well-known/jwks.json the public keys
//
// Each of the JSON routes can be moved and switched off (Routes), the members of
// its request can have other names (Names), and its answer another form (Encode,
// and Respond for refusals), for services that have clients already.
//
// The registered Clients have these, each where the Config asks for it:
//
//	POST   /auth/token                 RFC 6749: refresh_token, client_credentials, authorization_code with PKCE
//	POST   /auth/revoke                RFC 7009
//	POST   /auth/introspect            RFC 7662
//	GET    /auth/.well-known/oauth-authorization-server  RFC 8414, at the root of the host too
//
// And with a StatusList:
//
//	GET    /auth/status-list              which access tokens are revoked (draft-ietf-oauth-status-list)
//	GET    /auth/status-list/aggregation  the URL of that, in the list that the draft has for several
//
// The user's consent to a code is asked for on the caller's own page, which then
// calls [Issuer.GrantCode]. This is no OpenID provider: there are no ID tokens, and
// no openid-configuration.
//
// Refusals carry a reason of the package errors, and so do 403, 404, 405, 413 and
// 415. The operator ends sessions with [Issuer.RevokeSession] and
// [Issuer.RevokeSubject].
//
// A [Minter] makes tokens for JWT-enabled API keys, which have no session.
//
// # Limits
//
// Logins and signups are limited by account and by address, in the memory of each
// process, unless [Config.Limits] says otherwise. Behind a proxy,
// [Config.ClientAddress] must say who the client is: see [TrustedProxies]. A
// refresh asks for no account, and so locks none.
//
// # Browsers
//
// With [Config.Cookie] the refresh token is in a cookie that no page can read and
// no other host can set (Secure, HttpOnly, SameSite=Strict, "__Host-"), until the
// session ends, and not in the body. A page keeps the access token in memory, and
// gets another one with a POST to /refresh that has no body (but a "device" with
// BindDevice). A refresh token in
// the body is taken too, unless it differs from that of the cookie: 400. What the
// answer does to the cookie:
//
//	tokens                            set it
//	204 of a logout                   clears it
//	401 of a refresh                  clears it: its session is no more
//	every other, 5xx among them       leaves it as it is
//
// Requests that change something are refused with 403 when a page of another
// origin sent them (net/http.CrossOriginProtection: Sec-Fetch-Site and Origin), at
// every route. Pages of [Config.Origins] are let through, and may read the answers
// (CORS). Tell browsers to come by https alone (RFC 6797), and give each Issuer of
// a host a cookie of its own name. Clients that are no browsers get their tokens
// from a second Issuer without Cookie, on the same Store, at another Prefix.
//
// # Refresh tokens
//
// A session is one row with a counter, its generation. The refresh token of a
// generation is derived from the row's seed and a master key that is not in the
// store, so that neither of the two alone can make one, and so that a token of
// any age is recognised without being kept. A refresh moves the counter on by
// compare-and-swap; what happens with the token of generation g when the counter
// stands at c is this:
//
//	g = c      rotated less than Grace ago        the same refresh token again, nothing is written
//	g = c      otherwise                          c becomes c+1
//	g = c-1    rotated no more than Grace ago     the token of c: a concurrent or repeated request
//	g = c-1    the retry key of that rotation     the token of c: a late repetition, with an event
//	g < c      anything else                      replay: the session is revoked
//	g > c      the store has lost a write         c moves up to g+1, with an alarm
//
// With InsecureNoRotation the counter never moves, and the second line answers the
// same refresh token too. [Config.BoundSessions] changes the table for sessions that
// are bound, and those of clients with a secret:
//
//	NoRotation  g = c    otherwise      the same refresh token: the counter never moves
//	AnyRetry    g = c-1  anything else  the token of c: a late repetition, with an event
//
// The retry key is the Idempotency-Key that a client sends with a refresh and
// again when it repeats it because no answer came. The access token is built and
// signed before the counter moves, so that what can fail fails while nothing has
// changed. Replay is decided before that, so that it does not go unseen.
//
// # Bound tokens
//
// With [Config.DPoP] a client that sends a proof with a login, a signup, a code or a
// refresh gets tokens that are bound to its key (RFC 9449): the answer says
// "token_type":"DPoP", the access token has the claim "cnf", and the session its
// Confirmation. Without a proof it gets Bearer tokens, unless [DPoP.Required] or
// [Client.DPoPBound] refuses that. A client that is CertificateBound gets tokens for
// its TLS certificate instead (RFC 8705). What then holds:
//
//	a refresh of a bound session      the same key or certificate, or AUTH_PROOF_INVALID: nothing is
//	                                  rotated or revoked, however old the refresh token is
//	the same, of a client with a      a proof of any key, or any certificate: it has authenticated
//	secret
//	a refresh of an unbound session   a proof binds the access token alone; the session stays unbound
//	a session that was bound, when    refused: it does not become anybody's
//	DPoP is not set any more
//	/sessions, /logout with a bound   Authorization: DPoP, and a proof for this token; as Bearer, or with
//	access token                      another key, refused
//	/logout with a refresh token,     no proof, as ever: they end a session, or look at it
//	/revoke and /introspect
//
// A proof is looked at first: one that is wrong costs no password check and no
// attempt, and one that lacks a nonce counts nowhere. The "htu" of a proof begins
// with [Config.PublicURL]. Several processes share [DPoP.Replays] and
// [DPoP.NonceSecret].
//
// # Operating
//
// Signing keys. Make one with [GenerateKeyPEM], keep it where secrets are, and read it
// with [ParseKey]. ES256 signs some twenty times as fast as RS256. A [KeySchedule]
// rotates by itself, [KeyRing.Rotate] by hand: a new key is published for half an hour
// before it signs, and an old one for 25 hours after. Keep [KeyRing.Slots] over
// restarts, and give all processes the same ones, or tokens are refused with
// AUTH_TOKEN_KEY_UNKNOWN. When a key got out, restart with a ring that has a new one
// alone: verifiers drop the old one with their next fetch, which in the package
// middleware the first token of the new key causes.
//
// Master keys. 32 random bytes, the same in all processes and after a restart, and kept
// apart from the database. [Config.MasterKeys] says how to change them; a Store that is
// a [KeyCounter] tells when the old one can go. Without it no session is refreshed.
//
// The store. What a session takes, and what each is for:
//
//	MemoryStore             tests, and one process whose users may log in again after a restart
//	sqlstore, SQLite        one machine; 465 bytes; each commit is on the disk
//	sqlstore, PostgreSQL    several processes; 612 bytes; SetPool, or most connections are opened anew
//	sqlstore, MariaDB       the same; 840 bytes
//	redisstore              several processes; 864 bytes of memory; noeviction and appendonly must be set
//
// A fail-over to a replica that lags behind forgets the last logins, revocations and
// rotations; the last are mended by themselves, with EventLostWrite.
//
// Capacity. A client refreshes once for each AccessTTL: with 15 minutes, a million
// active sessions are 1,100 refreshes a second, of one read and one write each. Sessions
// are removed an hour or so after their end. A login costs a password hash, which should be
// what limits it: see [github.com/tokenloop/tokenloop/issuer/password.Hasher].
//
// Clocks. Keep them with NTP. Verifiers tolerate 30 seconds (their Leeway), the key ring
// a minute ([KeyRingConfig.Leeway]). Where processes of one issuer are further apart
// than Grace, a refresh that is repeated without its retry key counts as a replay.
//
// Behind a proxy. Set [Config.ClientAddress] with [TrustedProxies], or all clients share
// the budget of one address; several processes share budgets with a [Limiter] such as
// that of redisstore. [Config.PublicURL] is for a proxy that moves the path. Tell
// proxies not to log bodies, and not to retry a POST by themselves without its
// Idempotency-Key.
//
// Revocation. An access token lives until it expires, unless [Config.Denylist] is
// set to a Feed of sqlstore or redisstore and each service runs one into the
// Denylist of its Middleware. The MaxAge of that Denylist is how long a service
// goes on when it cannot hear of logouts; after that it answers 503. Let the feeds
// of issuers run too: they remove what is over. Services that can have no feed read
// the status list: see below.
//
// What to watch:
//
//	EventReplay                     any: a stolen token, or a client that keeps old ones
//	EventLostWrite                  any: the store has lost what it said was written
//	EventLateRetry                  a rise: answers get lost on their way
//	EventLoginFailed, EventLimited  a rise: somebody tries passwords, or ClientAddress is not set
//	EventProofRefused               with a SessionID: its token came without its key, maybe from a thief
//	Event.Err                       any: a session that was to end may live on; call RevokeSession again
//	EventQueue.Dropped              any: the audit log has a hole; a larger Size or a faster Handle mends it
//	Config.Logger, at Error         what was answered with 5xx, with its cause
//	Observer                        of the middleware: refusals by reason, and how long a decision took
//	KeyStates, Ready                of the middleware: the age of an issuer's keys, and why a fetch failed
//	Denylist.Age                    of the middleware: how long ago it heard of logouts; warn at half of MaxAge
//	OnFailure                       of the refresher: after AUTH_PAUSED a person must mend something
//
// What each reason means is in the package [github.com/tokenloop/tokenloop/errors].
//
// # Status list
//
// With [Config.StatusList] each access token names an entry of a list, a bit, and who
// verifies it fetches the list now and then and looks (Token Status List,
// draft-ietf-oauth-status-list-21, which is not an RFC yet): services of other
// organisations, whatever they are written in, and those without access to the store.
// The package middleware does so with NewStatusList. A feed is quicker (milliseconds
// and not half a minute) and exact, and to be preferred where it can be had.
//
// Nothing is allotted or stored. SHA-256 of "sid", a zero byte and the session's ID
// begins with four numbers of 32 bits, which modulo Size are the entries of the session
// ("jti" and the token's ID, where there is no session). A token gets the first of the
// four that is not set, and a denial sets all four until the last token has expired.
// So two sessions can share an entry. When one of them is revoked, the live token of the
// other is refused too, with AUTH_TOKEN_INVALIDATED, and its client refreshes: the next
// token has another of the four entries, and keeps off one that was set for as long as
// a list that has it can count anywhere. One refresh too many is all that comes of it.
// This is how often, with tokens of 15 minutes, and how likely a session has all its
// entries set, so that its tokens are refused until others are over:
//
//	Size                 revocations       tokens that are refused    all four
//	                                       once in their life         are set
//	1,048,576 (default)  1,000 a day       0.004 %                    1e-15
//	1,048,576            1 a second        0.34 %                     6e-8
//	4,194,304            1 a second        0.09 %                     3e-10
//	16,777,216           1 a second        0.02 %                     1e-12
//	16,777,216           10 a second       0.21 %                     1e-8
//
// A verifier needs a bit an entry in memory (128 KB for the default), and fetches some
// 300 bytes of an empty list, 7 KB with 420 revocations in it, 30 KB with 4,200, less
// with gzip. It is signed when it has changed, at most once a second, and when half of
// its Lifetime is over. The list tells everybody how many sessions were revoked in the
// last hour or so, and nothing else; who has seen a token can see later that it, or one
// that shares its entry, was revoked.
//
// A session ends in the list by logout, replay, [Issuer.RevokeSession] and
// [Issuer.RevokeSubject]. What a feed is told by others than the Issuer is there by the
// ID of a session alone: see [StatusList.DenyToken] and [StatusList.DenySubject]. With
// several processes, or sessions that outlive a restart, run a Feed whose Mirror is the
// list, beside the one for the Middleware of the same process:
//
//	list, err := issuer.NewStatusList(issuer.StatusListConfig{MaxAge: time.Minute})
//	...
//	feed, err := sqlstore.NewFeed(sqlstore.FeedConfig{DB: db, Dialect: sqlstore.PostgreSQL, Mirror: list})
//	...
//	iss, err := issuer.New(issuer.Config{StatusList: list, Denylist: feed}) // and the rest
//	...
//	err = feed.Run(ctx)
//
// Verifiers must know the list before tokens do not pass without one: set StatusList
// first, and have them ask for it when AccessTTL has passed.
//
// # draft-ietf-oauth-status-list, rule by rule
//
//	4.1    bits from the least significant one on, compressed as zlib: TestALogoutIsInTheStatusList.
//	       Not at the highest level, which is recommended: it takes seconds
//	5.1    typ, sub, iat, exp, ttl and status_list, signed with the key of access tokens:
//	       TestALogoutIsInTheStatusList, TestAStatusListIsNoAccessToken
//	6.2    "status" with idx and uri in each access token: TestALogoutIsInTheStatusList,
//	       TestWhatIsDeniedIsInTheStatusList
//	7      0 is valid, 1 is revoked; nothing is suspended: TestALogoutIsInTheStatusList
//	8.1    GET; browsers of other origins by Config.Origins: TestTheStatusListOverHTTP
//	8.2    the media type, the coding gzip, caching: TestTheStatusListOverHTTP
//	8.4    lists of the past are not kept, 501: TestTheStatusListOverHTTP
//	9      an aggregation, named by the metadata: TestTheStatusListOverHTTP
//	13.3   two tokens with one entry are intended, and found harmless: TestHowOftenTokensMeet,
//	       TestATokenDoesNotGetAnEntryThatIsSet
//	13.7   ttl and exp; signed no more often than it changes: TestHowOftenTheStatusListIsSigned,
//	       TestAStatusListThatCannotBeSigned, TestAStatusListThatIsAMirror
//
// # RFC 6749 and RFC 7636, rule by rule
//
//	2.3.1  a client with a secret proves it, by Basic or in the body, in one way; secrets are
//	       compared as digests, in constant time: TestClientsAuthenticate
//	3.2    POST, a form in the body, each parameter once: TestARequestThatIsNoForm
//	4.1.1  PKCE with S256 is required, of every client: TestGrantCodeRefuses
//	4.1.2  a code lives 60 seconds, for one use; the second one revokes its session:
//	       TestACodeIsForOneUse, TestConcurrentUsesOfACode
//	4.1.3  a code is bound to its client, redirect URI and challenge: TestACodeThatIsRefused
//	4.4    client_credentials is for confidential clients and brings no refresh token:
//	       TestAClientGetsATokenForItself, TestMistakesInTheOAuthConfig
//	5.1    access_token, token_type, expires_in and scope, not to be cached:
//	       TestTheTokenEndpointRefreshes
//	5.2    the codes, 400 or 401, a challenge where a client failed: TestErrorsHaveTheFormOfRFC6749
//	6      a refresh token is its client's; a scope narrows the access token alone:
//	       TestTheRefreshTokenOfAnotherClient, TestARefreshNarrowsTheScopeOfTheAccessTokenAlone
//
// # RFC 7009, rule by rule
//
//	2.1    the client is authenticated, the token must be its own, and the hint is not needed:
//	       TestRevocationEndsTheSession, TestRevocationOfWhatIsNoToken,
//	       TestATokenOfClientCredentialsIsRevoked
//	2.2    200 for what is no token: TestRevocationOfWhatIsNoToken
//	2.2.1  503 and Retry-After when it could not be done: TestARevocationThatFails
//
// # RFC 7662, rule by rule
//
//	2.1    a confidential client that may introspect, and nobody else: TestWhoMayIntrospect
//	2.2    claims of an active token; of another one nothing but that it is inactive:
//	       TestIntrospection, TestIntrospectionOfAnInactiveToken
//	4      what has expired, was revoked or is not ours is inactive:
//	       TestIntrospectionOfAnInactiveToken
//
// # RFC 8414, rule by rule
//
//	2      what is mounted, and no more; no jwks_uri without public keys:
//	       TestTheMetadataAreWhatIsMounted, TestTheMetadataOfASharedSecretNameNoKeys
//	3      JSON, for caches: TestTheMetadataAreWhatIsMounted. response_types_supported, which is
//	       required, is there also when it is empty
//	3.1    the path of the issuer follows the well-known one: TestTheMetadataOfAnIssuerWithAPath
//
// # RFC 8707, rule by rule
//
//	2      a resource is one of the audiences, may be given several times, and narrows "aud";
//	       else invalid_target: TestAResourceNarrowsTheAudience
//
// # RFC 8705, rule by rule
//
//	3      tokens of a client that is CertificateBound are for the certificate of its request:
//	       TestTokensAreBoundToACertificate, TestACertificateIsNeeded
//	3.1    cnf has x5t#S256: TestTokensAreBoundToACertificate
//	3.2    introspection shows it: TestTokensAreBoundToACertificate
//	3.3    the metadata say so: TestTheMetadataSayThatTokensAreBoundToCertificates
//	3.4    it is up to the client's registration: TestACertificateIsNeeded
//	4      the refresh tokens of a public client are bound, too:
//	       TestTheSessionsOfAPublicClientAreBoundToItsCertificate
//	6.5    a proxy's word for it is the caller's to read: TestTheCertificateThatAProxyPassesOn
//
// # RFC 9068, rule by rule
//
//	2.1    typ is at+jwt: TestALoginAnswersTokens, TestAClientGetsATokenForItself
//	2.2    iss, exp, aud, sub, client_id, iat and jti; sub is the client where there is no user:
//	       TestALoginAnswersTokens, TestAClientGetsATokenForItself
//	2.2.1  auth_time and acr are those of the login, and stay: TestACodeBeginsASession
//	2.2.3  scope is what was granted: TestARefreshNarrowsTheScopeOfTheAccessTokenAlone
//	3      a resource is the aud: TestAResourceNarrowsTheAudience
//	4      a refresh token is no access token and an access token no refresh token:
//	       TestARefreshTokenIsNoAccessToken
//	5      users and clients share the namespace of sub: the caller keeps the IDs apart. What a
//	       user alone may do needs a session: TestAClientGetsATokenForItself
//
// # RFC 9449, rule by rule
//
//	4.3    a proof is refused for each thing that is wrong with it, and htu is compared in one
//	       spelling: TestAProofThatIsWrong, TestTheURLOfAProof
//	5      a proof binds the access token, and the refresh token of a public client: token_type is
//	       DPoP: TestEveryGrantBindsItsTokens, TestWithoutAProofTokensAreBearer,
//	       TestAStolenRefreshTokenIsWorthNothing, TestAConfidentialClientMayChangeItsKey,
//	       TestProofsAreNotLookedAtUnlessTheConfigSaysSo
//	5.1    dpop_signing_alg_values_supported: TestTheMetadataSayHowProofsAreSigned
//	5.2    a client may be registered for bound tokens alone: TestAProofIsRequired
//	6.1    cnf has jkt, and no more: TestEveryGrantBindsItsTokens
//	6.2    introspection shows it: TestIntrospectionOfBoundTokens
//	7.1    at routes with an access token: the scheme DPoP, a proof with ath, the same key:
//	       TestABoundTokenNeedsAProofAtTheIssuersRoutes
//	7.2    a bound token is refused as Bearer: TestABoundTokenNeedsAProofAtTheIssuersRoutes
//	8      use_dpop_nonce with DPoP-Nonce, 400 at /token: TestTheNoncesOfTheIssuer
//	8.2    the next nonce comes with a good answer, before the old one ends: TestTheNoncesOfTheIssuer
//	9      401 at routes with an access token: TestTheNoncesOfTheIssuer
//	10     dpop_jkt binds a code: TestACodeIsBoundToAKey
//	11.1   a proof is for one use, at all processes with Replays: TestAProofIsForOneUse,
//	       TestReplaysOfTheCallers
//	11.2   proofs made in advance are over when their nonce is: TestTheNoncesOfTheIssuer
//	11.3   no proof without a nonce, where one is required: TestTheNoncesOfTheIssuer
//	11.5   typ is dpop+jwt: TestAProofThatIsWrong
//	11.6   asymmetric algorithms alone, of a list: TestAProofThatIsWrong,
//	       TestTheMetadataSayHowProofsAreSigned
//	11.7   htm and htu are those of the request: TestAProofThatIsWrong
//	11.8   a token is refused with another key than its own, and a proof with another token:
//	       TestAStolenRefreshTokenIsWorthNothing, TestABoundTokenNeedsAProofAtTheIssuersRoutes
//	11.9   a stolen code needs the key: TestACodeIsBoundToAKey
//
// # RFC 9700, rule by rule
//
//	2.1    redirect URIs are compared as strings, but for the port of loopback:
//	       TestGrantCodeRefuses, TestMistakesInTheOAuthConfig
//	2.1.1  PKCE, S256 alone: TestGrantCodeRefuses, TestACodeThatIsRefused
//	2.1.2  no implicit grant: TestMistakesInTheOAuthConfig
//	2.2.2  refresh tokens rotate, and replay ends the session; those that are bound need not:
//	       TestTheTokenEndpointRefreshes, TestBoundSessionsThatDoNotRotate,
//	       TestBoundSessionsThatMayBeRetriedAtAnyTime
//	2.3    tokens for some of the audiences and scopes: TestAResourceNarrowsTheAudience
//	2.4    no password grant: TestErrorsHaveTheFormOfRFC6749
//	2.5    clients with secrets authenticate: TestClientsAuthenticate
//	2.6    metadata; URLs of https: TestTheMetadataAreWhatIsMounted, TestMistakesInTheOAuthConfig
//	4.5    a stolen code needs the verifier: TestACodeThatIsRefused, TestACodeIsForOneUse
//	4.14.2 a rotated token that returns ends its session: TestTheTokenEndpointRefreshes
package issuer
