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
