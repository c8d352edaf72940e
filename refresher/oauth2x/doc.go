// Package oauth2x joins a refresher.Transport and golang.org/x/oauth2, in both
// directions. A program that has an oauth2.Config takes its token over:
//
//	token, err := config.Exchange(ctx, code, oauth2.VerifierOption(verifier))
//	...
//	t, err := refresher.New(refresher.Config{
//		Origins: []string{"https://api.example.com"},
//		Source:  oauth2x.RefreshGrant{Config: config},
//	})
//	...
//	err = t.SetTokens(ctx, oauth2x.FromToken(token))
//
// TokenFunc does the same for clientcredentials.Config and its like, FromTokenSource
// for any oauth2.TokenSource, and TokenSource gives a library that asks for an
// oauth2.TokenSource the tokens of a Transport.
//
// # Errors
//
// What a token endpoint refuses is an error of this project, whose reason says
// whether to wait, to mend something or to log in, and an *oauth2.RetrieveError,
// for errors.As. The latter has the status and the code and nothing else: the
// description, the body and the request of the answer, which golang.org/x/oauth2
// hands on, may hold the refresh token and the client's secret. Only invalid_grant
// ends the session.
//
// # Coming from oauth2.Transport
//
// What programs rely on, whether it holds with a refresher.Transport that has a
// RefreshGrant, and the tests that show it for both.
//
//	attach         Holds: "Authorization: Bearer". Differs: other origins than Origins get no token, and
//	               an Authorization that the request has already is kept.
//	               TestAttach
//	reuse          Holds: a token is used until it expires, and then replaced once.
//	               TestReuse TestEachSourceRenews
//	expiry         Differs: replaced in the background in the last minute, not sent in the last 30 seconds;
//	               there it is used until the last 10. RefreshWindow and Skew change that.
//	               TestExpiry
//	no expiry      Holds: used for ever. Differs: the "exp" of a JWT counts, and a 401.
//	               TestNoExpiry TestARefusedToken
//	base           Holds: the caller's Base sends the request, and its errors are passed on unwrapped.
//	               TestTheBaseTransport
//	request        Holds: it is not changed, and its body is closed on every path. Differs: Response.Request is
//	               the caller's, without the token.
//	               TestTheCallersRequest
//	errors         Holds: *oauth2.RetrieveError with Response.StatusCode and ErrorCode. Differs: without
//	               the description and the body; and every error has a reason.
//	               TestErrorTypes TestWhatTheTokenEndpointAnswers TestWhatATokenSourceFailsWith
//	token type     Holds for Bearer in any case. Differs: DPoP is sent with its proof, where there is a key;
//	               others are refused, not sent without a proof.
//	               TestTheTokenType TestEverythingUnderOneKey
//	401            Differs: one refresh and one retry; there it is handed to the caller.
//	               TestARefusedToken TestEachSourceRenews
//	waiting        Holds: one refresh for all. Differs: each waits as long as its own context allows; there
//	               all wait for the answer, however long it takes.
//	               TestWhoWaitsForWhom TestATokenSourceKeepsToItsContext
//	refresh token  Holds: kept when the answer has none. Differs: it is in the Store, before it is used.
//	               TestARefreshGrantKeepsNothing
//	extras         Differs: "scope" and "refresh_expires_in" are kept, and nothing else.
//	               TestExtras
//	client         Differs: RefreshGrant.Client, not a value of the context; redirects are not followed, and
//	               https is asked for.
//	               TestWhichClientIsAsked TestRedirectsOfTheTokenEndpointAreNotFollowed TestARefreshGrantTakesHTTPS
package oauth2x
