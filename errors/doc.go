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
package errors
