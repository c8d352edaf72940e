// Package refresher is an http.RoundTripper that attaches access tokens, renews
// them before they expire, and answers a 401 with one refresh and one retry,
// however many requests are under way.
//
//	t, err := refresher.New(refresher.Config{
//		AuthURL: "https://id.example.com/auth",
//		Origins: []string{"https://api.example.com"},
//	})
//	...
//	err = t.Login(ctx, refresher.Credentials{Username: "alice", Password: password})
//	...
//	resp, err := t.Client().Get("https://api.example.com/me")
//
// # Where tokens come from
//
//	Login                the issuer at AuthURL, which may use other names (Requests, Answers)
//	OAuth                a token endpoint (RFC 6749, Section 6), once SetTokens has begun a session
//	ClientCredentials    a token endpoint (RFC 6749, Section 4.4), for the client itself: nobody logs in
//	AuthHandler, Fetcher the app's own back end, for the user that Identify names
//	Push                 the app, with SetTokens, whenever OnFailure says that it should
//
// Another Source is a type with one method. What is not sent through the Transport
// (gRPC, a WebSocket handshake) asks Token for tokens.
//
// # What happens to a request
//
// The token goes to the listed origins only: scheme, host and port are compared
// for the first try, the retry and every hop of a redirect. A request whose Host
// is not that of its URL must have both of them among the origins. A request to
// another origin (unless OnlyOrigins is set), and one that has an Authorization header
// of its own, passes as it is. Where no session was ever begun, and none begins by
// itself (Unattended), requests go out without a token.
//
// A usable token is attached. Inside the refresh window it is attached too, and
// a refresh starts in the background. An expired token is not sent: the request
// waits for the refresh, no longer than its own context allows. After Logout,
// and after the server ended the session, a request fails at once with
// AUTH_LOGGED_OUT.
//
// A 401 whose reason can be cured by a new token starts a refresh, and the
// request is sent once more if its body is empty, has a GetBody, or was not asked
// for by the server (see Config.ExpectContinue). A second 401 is the caller's. So
// is every 401 that a new token cannot cure: a wrong audience or issuer, a proof that
// is not right, and a token that is not valid yet, which a newer one would be even
// less. Where a stronger login is required (RFC 9470), Config.StepUp has the user log
// in and the request is sent once more; without it, that 401 is the caller's too.
//
// # What the caller gets when no new token comes
//
// If the server answered the request, the caller gets that answer: the 401, with
// its body. If nothing was sent because the token had expired, the caller gets
// the typed error of the refresh. If the session was ended by Logout or by
// another login while the request waited, the caller gets AUTH_LOGGED_OUT.
//
// # Three kinds of failed refresh
//
// One that can be retried (no answer, a timeout, 429, 5xx, a 200 that is no token
// response) keeps the session and is repeated with backoff. One that a person
// must mend (invalid_client, a 4xx that explains nothing) keeps the session too
// and pauses refreshing. Only when the server says that the session is over
// (its reason, or invalid_grant) are the tokens deleted, and OnSessionExpired is
// told, once for each session.
//
// # Where the tokens are kept
//
// Without a Store they are gone when the process ends. With one, a later launch
// and other processes go on with the session: whoever refreshes holds the lock of
// the Store, and the others take over what it has saved. A Store that does not
// work is reported and costs nobody the session: the tokens in use are kept in
// memory, and saved as soon as the Store takes them again. A Store that cannot be
// read counts as one without tokens until it can.
//
// # Logout
//
// Logout forgets the tokens first, and then tells the issuer. If that cannot be
// told it returns an error, and the logout waits in Config.Logouts: in memory, or
// in the files of a FileLogouts, which outlive the process. It is sent when a
// session begins or is refreshed, when a request finds no
// session, by Flush and by Run. It names its session by the refresh token, so
// that it does not end a later one.
//
// # What it never does
//
// It signs no token and knows no symmetric key: who issued a token is for the
// server to verify, and here by public keys alone (PublicKeys). It does not change
// the caller's request, has no goroutine while nothing is under way, and puts no
// token in an error or a log beyond its first 20 characters.
//
// A Transport serves one session. Use one for each user and for each API.
//
// # Proof of possession
//
// With Config.DPoP the tokens are bound to a key (DPoP, RFC 9449), and who steals them
// can do nothing with them. Every call of the issuer and every request with a bound
// token carries a proof of its own, for that one try:
//
//	key, err := refresher.LoadDPoPKey("/var/lib/app/dpop.pem")
//	...
//	t, err := refresher.New(refresher.Config{
//		AuthURL: "https://id.example.com/auth",
//		Origins: []string{"https://api.example.com"},
//		DPoP:    key,
//	})
//
// What RFC 9449 and RFC 9470 say of clients, and the tests that show it:
//
//	4.2    typ, alg, jwk without private members, a jti for each, htm, iat, ath, nonce.
//	       TestAProofSaysWhatItIsFor
//	4.2 htu The URL as it is sent, without query and fragment.
//	       TestTheURLOfAProofIsTheOneThatIsSent TestRedirectsWithProofs
//	4.3 iat By the clock of who judges it: a clock that is wrong costs one request.
//	       TestProofsOfAWrongClock TestAClockThatIsPutRight
//	5      Proofs at the token endpoint, the same key for each refresh. An answer that binds nothing
//	       is refused, unless InsecureAllowBearer is set; tokens of before are used.
//	       TestTheLoopWithProofs TestNewTokensAreBoundToTheKey TestASessionFromBeforeTheKeyIsNotEnded
//	5 key  Another key cannot refresh; the tokens are kept, and a person must mend it.
//	       TestAnotherKeyCannotRefresh TestASessionGoesOnWithItsKey TestAKeyThatFails
//	7.1    "Authorization: DPoP" and a proof for each request, retry and hop; other origins get neither.
//	       TestTheLoopWithProofs TestRedirectsWithProofs TestARefreshWithProofsHappensOnce
//	7.2    A bound token is never sent as Bearer, nor one of the other kind as DPoP.
//	       TestNewTokensAreBoundToTheKey
//	8      use_dpop_nonce at the token endpoint costs one request, and is no failure.
//	       TestANonceCostsOneRequest TestANonceAtATokenEndpoint TestHostileNonces TestNoncesOfSeveralServersOfOneOrigin
//	8.1    A nonce that does not keep to the syntax is none.
//	       TestHostileNonces
//	8.2    A nonce of any answer is used from then on, for its origin, and for issuer and API apart.
//	       TestANonceOfAnyAnswerIsUsed TestTenThousandCallsWithANonceThatChanges
//	9      The same at an API, where the body can be sent again.
//	       TestWhichBodiesAreSentAgainForANonce TestANonceCostsOneRequest
//	10     dpop_jkt is DPoPKey.Thumbprint; the exchange of a code is under the key with DPoPKey.Transport.
//	       TestAClientOfAKey
//	11.1   No proof is sent twice; where net/http did so by itself, there is another one.
//	       TestTheLoopWithProofs TestAProofThatWentOutTwice
//	keys   What is private is in no form that is printed or logged, and in no file that others may use.
//	       TestPrintingAKeyShowsNothingPrivate TestAKeyFileIsMadeOnceAndReadAgain TestEightProcessesMakeOneKey
//	RFC 9470 A stronger login, once for all who need it, and the request once more.
//	       TestARequestIsRepeatedAfterAStrongerLogin TestOneLoginForAllWhoNeedTheSame
//	       TestDifferentNeedsHaveTheirTurns TestALoginThatDoesNotHelp
//
// # Coming from Alamofire
//
// What an AuthenticationInterceptor of Alamofire does, whether a Transport does it,
// and the tests that show it. The refresher/oauth2x module has a table like this for
// golang.org/x/oauth2.
//
//	adapt           Holds: every request gets the credential, here as a bearer token.
//	                TestTheLoopOverRealHTTP
//	no credential   Differs: before a session there is no missingCredential; requests go out as they are.
//	                After one they fail with AUTH_LOGGED_OUT.
//	                TestTheLoopOverRealHTTP TestTheServersVerdictEndsTheSession
//	requiresRefresh Differs: nobody waits while the old token is good. An expired one is waited for.
//	                TestATokenIsRenewedBeforeItExpires
//	didRequest      Holds: what counts as a refusal can be said (Refusals); a 401 otherwise.
//	                TestOnlyRefusalsRefresh TestRefusalsAreConfigurable
//	isRequest       Holds: a late refusal of an older token is answered with the newer one, without a refresh.
//	                TestLateRefusalsOfAnOldTokenCostNothing
//	queue           Holds: one refresh, and all who wait go on with what it brought. Differs: each may leave.
//	                TestTenThousandRefusalsCostOneRefresh TestTheFirstCallerMayLeave
//	retry           Differs: once. There, a request is sent again for as long as it is refused.
//	                TestARequestIsRetriedOnceAndThenNoMore
//	failure         Holds: all who wait hear of it. Differs: whoever has an answer gets that, not the
//	                error; and unless it was the server's verdict it is tried again, with backoff.
//	                TestAFailingEndpointIsCalledOncePerStep TestTheServersVerdictEndsTheSession
//	new credential  Holds: SetTokens releases who waits, and lifts the failure.
//	                TestTokensFromTheAppReleaseWhoWaits TestPushModeWaitsForSetTokens
//	excessive       Differs: there is no limit of 5 refreshes in 30 seconds (its RefreshWindow). A fresh
//	                token that is refused is not replaced, a useless answer waits for its backoff, and
//	                MaxFailures ends it; tokens that are good for a request each are got, since the
//	                requests are answered.
//	                TestExcessiveRefreshes TestTenFailedGenerationsInARowAreEnough
//	other hosts     Differs: the token goes to Origins alone; there, to every request of the session.
//	                TestOnlyOriginsRefusesTheOthers TestRedirectsNeverCarryTheTokenElsewhere
package refresher
