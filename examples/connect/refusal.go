package main

import (
	"errors"
	"net/http"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// domain and the reason are what a client may switch on.
const domain = "tokenloop"

var writer = connect.NewErrorWriter()

// respond answers a refused request in the protocol of its client (the
// middleware's Config.Respond).
func respond(w http.ResponseWriter, r *http.Request, err error) {
	if !writer.IsSupported(r) {
		jwterrors.Responder{}.Respond(w, r, err)
		return
	}
	if challenge := (jwterrors.Responder{}).Challenge(err); challenge != "" {
		w.Header().Set("WWW-Authenticate", challenge)
	}
	_ = writer.Write(w, r, refusal(err)) // a client that left needs no answer
}

// refusal is the error of a reason, with the reason as a detail. The cause is not
// for the client: Config.Logger is told of it.
func refusal(err error) *connect.Error {
	reason := jwterrors.ReasonOf(err)
	code := connect.CodeInternal
	switch reason.Status() {
	case http.StatusBadRequest:
		code = connect.CodeInvalidArgument
	case http.StatusUnauthorized:
		code = connect.CodeUnauthenticated
	case http.StatusForbidden:
		code = connect.CodePermissionDenied
	case http.StatusTooManyRequests:
		code = connect.CodeResourceExhausted
	case http.StatusServiceUnavailable: // our trouble: the token may be good
		code = connect.CodeUnavailable
	}
	e := connect.NewError(code, errors.New(reason.Description()))
	if detail, err := connect.NewErrorDetail(&errdetails.ErrorInfo{Reason: string(reason), Domain: domain}); err == nil {
		e.AddDetail(detail)
	}
	return e
}

// reasonOf reads back what refusal wrote. It is "" for any other error.
func reasonOf(err error) jwterrors.Reason {
	var e *connect.Error
	if !errors.As(err, &e) {
		return ""
	}
	for _, detail := range e.Details() {
		value, err := detail.Value()
		if info, ok := value.(*errdetails.ErrorInfo); err == nil && ok && info.Domain == domain {
			return jwterrors.Reason(info.Reason)
		}
	}
	return ""
}
