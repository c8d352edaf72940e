// Package errors is the catalogue of reasons for which a token, a request or a
// refresh is refused, and their form on the wire.
//
// The package is called errors like its folder and is always imported as
// jwterrors, beside the standard library's errors:
//
//	import (
//		"errors"
//
//		jwterrors "github.com/tokenloop/tokenloop/errors"
//	)
//
// A [Reason] is a string, the same in Go, in JSON, in a header and in a log. It
// is an error too, so callers ask one question:
//
//	switch jwterrors.ReasonOf(err) {
//	case jwterrors.TokenExpired: // refresh, then try again
//	case jwterrors.KeysUnavailable: // our trouble, not the client's
//	}
//
// or errors.Is(err, jwterrors.TokenExpired). What a client should do about a
// reason is its [Action]; what a server answers is its Status and OAuthCode. An
// [Error] is a Reason with its circumstances: the cause, whose token, when.
//
// A [Responder] answers a refused request: WWW-Authenticate (RFC 6750, Section
// 3) and a body of type application/problem+json (RFC 9457). [FromResponse]
// reads the reason back on the client's side. The cause goes to the log and
// never to the client; a token is never shown beyond its first 20 characters.
//
// Everything in this package is safe for concurrent use.
//
// # Troubleshooting
//
// What each reason means, who says it, and what to look at first. The cause is in the
// log of who refused (Logger of the middleware and of the refresher, Logger and OnEvent
// of the issuer, OnFailure), and not in the answer. Of a token, Explain of the middleware
// shows every check.
//
//	AUTH_TOKEN_MISSING (middleware, issuer)
//	    The request came without a token.
//	    > Is the origin of the API among the refresher's Origins, scheme and port included, and
//	      did a session begin? Does a proxy drop Authorization? Behind a guard: is Handler in
//	      front of it?
//	AUTH_TOKEN_FORMAT_INVALID (middleware, issuer, refresher)
//	    The token is not three parts in base64url, is too long, or has a header that cannot be
//	    read.
//	    > What was sent: often JSON around the token, quotes, a line break, a web page of a
//	      proxy, or an opaque token or JWE of another issuer (RFC 7516).
//	AUTH_TOKEN_PAYLOAD_INVALID (middleware, issuer, refresher)
//	    The signature is good, and the claims cannot be used: one is missing, has the wrong type
//	    or stands twice.
//	    > The log names the claim. Times are numbers of seconds; exp and iat are required, and
//	      RequiredClaims are.
//	AUTH_TOKEN_SIGNATURE_INVALID (middleware, issuer, refresher)
//	    Forged or altered; or signed with another key or another algorithm than the issuer's
//	    keys have.
//	    > The same secret on both sides? The keys of the right stage of deployment? Explain of
//	      the middleware shows the algorithm, the key and what was expected.
//	AUTH_TOKEN_EXPIRED (middleware, issuer, refresher)
//	    exp has passed, by more than Leeway.
//	    > Nothing, when a client refreshes after it. If new tokens are refused so: the clocks of
//	      issuer and service.
//	AUTH_TOKEN_EXPIRATION_INVALID (middleware, refresher)
//	    exp is too long after iat.
//	    > The lifetime that the issuer gives, against MaxLifetime (365 days by default).
//	AUTH_TOKEN_USER_KEY_INVALID (middleware, issuer, refresher)
//	    The token names no user, another one than the request or Identify does, or one who does
//	    not exist.
//	    > The rule UserKey; the user that the token was made for; whether the user was created
//	      first.
//	AUTH_TOKEN_INVALIDATED (middleware, issuer)
//	    The session, the token or the user was revoked.
//	    > Nothing, after a logout. Else the issuer's events, for the session: EventReplay,
//	      EventRevoked.
//	AUTH_TOKEN_GENERIC_ERROR (middleware, refresher)
//	    Refused, and no more is known: an error without a reason of Validate, or an answer of a
//	    foreign server.
//	    > The cause in the log. Give such errors a reason, and foreign codes one by Codes.
//	AUTH_TOKEN_GENERATION_ERROR (issuer, refresher)
//	    No token could be made: a key that cannot sign, claims that cannot be written, a source
//	    that failed or panicked.
//	    > The cause in the log: is the key service up; does the app's own back end answer?
//	AUTH_TOKEN_NULL (refresher)
//	    The token source returned an empty token.
//	    > The app's back end: does it know the user, and is the member that holds the token the
//	      one that was named?
//	AUTH_TOKEN_NOT_YET_VALID (middleware)
//	    nbf or iat lies in the future, by more than Leeway.
//	    > The clocks; the log says by how much. A refresh does not help.
//	AUTH_TOKEN_ISSUER_INVALID (middleware, issuer, refresher)
//	    iss is not the one that was configured.
//	    > Both names, which are compared byte by byte, and which the log shows: a slash at the
//	      end, http for https, a tenant.
//	AUTH_TOKEN_AUDIENCE_INVALID (middleware, refresher)
//	    aud names none of the audiences that were configured.
//	    > Audience of the issuer against that of the service; the log shows both. The token may
//	      be meant for another API.
//	AUTH_TOKEN_TYPE_INVALID (middleware, issuer, refresher)
//	    Not an access token: a refresh, ID or logout token, another typ, or a token type other
//	    than Bearer and DPoP, or not the one that Proof asks for.
//	    > Which of its tokens the client sends; TokenTypes, for issuers that have a typ of their
//	      own.
//	AUTH_TOKEN_KEY_UNKNOWN (middleware, issuer, refresher)
//	    kid names no key of the issuer, or there is no issuer for the token.
//	    > After a rotation: was the new key published before it signed? Else the URL of the
//	      keys: another tenant or stage? KeyStates of the middleware.
//	AUTH_REQUEST_INVALID (middleware, issuer, refresher)
//	    The request itself is wrong: two tokens, a method, a type or a body that is not right,
//	    nothing at that path, a page of another origin.
//	    > The detail in the answer of the issuer, the log of the middleware. After 404: AuthURL
//	      of the client, Prefix of the issuer and where it is mounted. After 403, and when the
//	      preflight of a page fails (CORS): Origins of the issuer.
//	AUTH_SCOPE_INSUFFICIENT (middleware)
//	    The token is good and does not carry what the route requires.
//	    > The scopes in the challenge against those of the token; the user's Scopes at the
//	      issuer. An old token keeps its scopes until it is refreshed.
//	AUTH_AUTHENTICATION_INSUFFICIENT (middleware)
//	    The route requires a stronger or more recent login (RFC 9470).
//	    > acr_values and max_age in the challenge, acr and auth_time in the token. A token
//	      without them does not pass.
//	AUTH_PROOF_INVALID (middleware, issuer, refresher)
//	    The token is bound to a key or a certificate (RFC 9449, RFC 8705), and the request
//	    does not prove that its sender has that; or it is bound to nothing, and must be.
//	    > The cause in the log says which. Is DPoP of the Config set? Is PublicURL what clients
//	      call, with the path that a proxy takes away? Do the clocks agree? Is a request looked
//	      at twice, or sent twice with one proof? Behind a proxy that ends TLS: is
//	      ClientCertificate set?
//	AUTH_PROOF_NONCE_REQUIRED (middleware, issuer, refresher)
//	    The DPoP proof needs a nonce of the server (RFC 9449, Section 8), which is in DPoP-Nonce.
//	    > Nothing, once in a while: clients send the request again with it. If it comes again
//	      and again: do all processes have the same NonceSecret, and can a script in a browser
//	      read DPoP-Nonce (Access-Control-Expose-Headers)?
//	AUTH_KEYS_UNAVAILABLE (middleware)
//	    The issuer's keys cannot be had, and there are none that are recent enough. Answered
//	    with 503.
//	    > KeyStates and the log have the error of the last fetch: the URL, DNS, a firewall, a
//	      certificate, an empty set, the error of Resolve.
//	AUTH_STORE_UNAVAILABLE (middleware, issuer, refresher)
//	    A store, a limiter or a function of the service did not answer; or a mirror of denials
//	    is older than its MaxAge. Answered with 503.
//	    > The cause in the log. Of a mirror: does Run of its feed run, and does it reach the
//	      database? Of an issuer: has every process every MasterKey?
//	AUTH_CREDENTIALS_INVALID (issuer)
//	    An unknown user or a wrong password; which of the two is not said.
//	    > What Authenticate returned: an error without a reason is no refusal but a 503.
//	AUTH_USER_EXISTS (issuer)
//	    A signup with a name that is taken.
//	    > Whether the form should say so: it tells who has an account.
//	AUTH_RATE_LIMITED (issuer, refresher)
//	    Too many attempts for the account or from the address. Retry-After says when there is
//	    one more.
//	    > Behind a proxy: is ClientAddress set? Else all clients share the budget of one
//	      address. Limits.
//	AUTH_CLIENT_INVALID (issuer)
//	    The OAuth client is unknown, or did not prove who it is.
//	    > client_id and secret; the way in which it is sent (Basic, body, none); a secret of
//	      Basic must be escaped (RFC 6749, Section 2.3.1).
//	AUTH_GRANT_INVALID (issuer)
//	    The code is wrong, old, used before, another client's, or does not fit redirect_uri or
//	    code_verifier.
//	    > The cause in the log says which. A code lives 60 seconds, for one use.
//	AUTH_GRANT_UNSUPPORTED (issuer)
//	    The grant type is not offered, or not to this client.
//	    > Grants of the Config, and of the Client.
//	AUTH_SCOPE_INVALID (issuer)
//	    A scope was asked for that the user or the client may not have.
//	    > Scopes of the User that Authenticate returns, and of the Client.
//	AUTH_REFRESH_TOKEN_MISSING (issuer, refresher)
//	    A refresh or a logout without a refresh token.
//	    > The member refresh_token, or Names; in a browser whether the cookie came: https,
//	      credentials: "include", the same site. A session that was begun without one cannot be
//	      refreshed.
//	AUTH_REFRESH_TOKEN_INVALID (issuer, refresher)
//	    Not a refresh token of this issuer, another client's, or from another device.
//	    invalid_grant of a foreign server, too.
//	    > Does it last: the Store and the MasterKeys over a restart, and the same ones in all
//	      processes? Is it an access token?
//	AUTH_REFRESH_TOKEN_EXPIRED (issuer)
//	    The session has reached the end of RefreshTTL or IdleTTL.
//	    > Nothing: the user logs in again.
//	AUTH_REFRESH_TOKEN_REUSED (issuer)
//	    A refresh token came back that was rotated long before: two parties hold the session,
//	    which was ended.
//	    > EventReplay has the address. If it was no thief: do two copies of a client share one
//	      token without one Store, does a client not keep what a refresh answers, was a client
//	      restored from a backup?
//	AUTH_SESSION_REVOKED (issuer)
//	    The session was ended: by a logout, the operator, a login with SingleSession, or Reload.
//	    > EventRevoked and EventLogout say by whom.
//	AUTH_REFRESH_UNAVAILABLE (refresher)
//	    No new token for now: no answer, a timeout, 5xx, or an answer that holds no token. The
//	    session is kept.
//	    > The cause: is the issuer up, is AuthURL right, does a captive portal answer in its
//	      place?
//	AUTH_PAUSED (refresher)
//	    Nobody is asked for tokens for a while: the issuer refused in a way that a person must
//	    mend, or too many new tokens were refused in a row.
//	    > The cause, and what OnFailure was told before: a 404 of the issuer, a client that is
//	      not registered, an API that refuses every token. Then Resume.
//	AUTH_LOGGED_OUT (refresher)
//	    There is no session: after Logout, after the server ended it, or after another process
//	    did.
//	    > Nothing: the user logs in. If it comes unexpectedly: what OnSessionExpired was told.
//	AUTH_HOST_NOT_ALLOWED (refresher)
//	    With OnlyOrigins, a request to an origin that is not listed.
//	    > Origins against the URL, and the Host, of the request; where a redirect leads.
package errors
