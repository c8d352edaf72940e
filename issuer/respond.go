package issuer

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// httpError is a refusal by the rules of HTTP: a RequestInvalid with a status of
// its own.
func httpError(status int, message string) error {
	return &jwterrors.Error{Reason: jwterrors.RequestInvalid, Err: errors.New(http.StatusText(status)), Status: status, Message: message}
}

func storeFailed(doing string, err error) error {
	return &jwterrors.Error{Reason: jwterrors.StoreUnavailable, Err: fmt.Errorf("%s: %w", doing, err), RetryAfter: time.Second}
}

// respond is Config.Respond when there is none.
func respond(w http.ResponseWriter, r *http.Request, err error) {
	var e *jwterrors.Error
	if !errors.As(err, &e) || e.Reason != jwterrors.RequestInvalid || e.Status <= http.StatusBadRequest {
		jwterrors.Responder{}.Respond(w, r, err)
		return
	}
	noStore(w)
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(e.Status)
	encode(w, struct {
		Type   string           `json:"type"`
		Title  string           `json:"title"`
		Status int              `json:"status"`
		Detail string           `json:"detail"`
		Reason jwterrors.Reason `json:"reason"`
	}{"about:blank", http.StatusText(e.Status), e.Status, e.Message, e.Reason})
}

func noStore(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
}

func noContent(w http.ResponseWriter) error {
	noStore(w)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func writeJSON(w http.ResponseWriter, v any) error {
	noStore(w)
	w.Header().Set("Content-Type", "application/json")
	encode(w, v)
	return nil
}

func encode(w http.ResponseWriter, v any) {
	_ = json.NewEncoder(w).Encode(v) // a client that left needs no answer
}
