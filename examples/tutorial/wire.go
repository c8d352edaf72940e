package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
)

// encode is the form of an answer with tokens.
func encode(route string, t issuer.Tokens) any {
	answer := struct {
		Success      bool   `json:"success"`
		AuthToken    string `json:"authToken"`
		RefreshToken string `json:"refreshToken,omitempty"`
	}{true, t.AccessToken, t.RefreshToken}
	if route == "refresh" {
		answer.RefreshToken = ""
	}
	return answer
}

// respond is the form of a refusal. Those that the app acts on have a code and the
// status 403; the others have a message, and 400.
func respond(w http.ResponseWriter, r *http.Request, err error) {
	answer := struct {
		Success bool   `json:"success"`
		Message string `json:"message"`
		Code    string `json:"code,omitempty"`
	}{}
	status := http.StatusBadRequest
	var e *jwterrors.Error
	switch reason := jwterrors.ReasonOf(err); {
	case reason == jwterrors.RefreshTokenMissing:
		answer.Message = "There is no refresh token to check."
	case reason == jwterrors.UserExists:
		answer.Message = "A user with that username already exists."
	case reason == jwterrors.CredentialsInvalid && errors.As(err, &e) && e.Message != "":
		answer.Message = e.Message
	case reason == jwterrors.CredentialsInvalid:
		answer.Message = "The username or the password is incorrect."
	case reason == jwterrors.RequestInvalid && errors.As(err, &e) && e.Err == nil: // what is wrong with a password
		answer.Message = e.Message
	case reason == jwterrors.RequestInvalid && r.URL.Path == "/login":
		answer.Message = "You must send the username and the password."
	case reason == jwterrors.RequestInvalid && r.URL.Path == "/signup":
		answer.Message = "You must send all details."
	case reason == jwterrors.RequestInvalid && e != nil:
		answer.Message = e.Message
	case strings.HasPrefix(string(reason), "AUTH_TOKEN_") && reason.Status() == http.StatusUnauthorized:
		status, answer.Code, answer.Message = http.StatusForbidden, "invalidToken", "Your access token is invalid."
	case reason.Action() == jwterrors.ActionLogin:
		status, answer.Code, answer.Message = http.StatusForbidden, "refreshExpired", "Refresh token expired - session ended."
	default:
		answer.Message = "The has been an unexpected error, please try again later"
	}
	write(w, status, answer)
}

func write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that left needs no answer
}
