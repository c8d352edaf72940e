package errors_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

const token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJlbWFpbCI6InVzZXJAZXhhbXBsZS5jb20ifQ.bm90LWEtc2lnbmF0dXJl"

var full = &jwterrors.Error{
	Reason: jwterrors.TokenExpired, Err: errors.New("exp was at noon"), Message: "please refresh",
	Token: jwterrors.Redact(token), Identity: "user@example.com", App: "app-1", Time: time.Unix(1640086400, 0),
	RetryAfter: 1500 * time.Millisecond, Scopes: []string{"a", "b"}, ACRValues: []string{"mfa"}, MaxAge: time.Minute,
	Status: 401, Code: "AUTH_TOKEN_EXPIRED",
}

func TestAnErrorIsRecoverableByType(t *testing.T) { // MO-06
	err := errors.Join(errors.New("other"), full)
	var base *jwterrors.Error
	require.ErrorAs(t, err, &base)
	assert.Equal(t, "user@example.com", base.Identity)
	assert.Equal(t, "app-1", base.App)
	var reason jwterrors.Reason
	require.ErrorAs(t, err, &reason)
	assert.Equal(t, jwterrors.TokenExpired, reason)
	var other *json.SyntaxError
	assert.NotErrorAs(t, err, &other, "it is of no other type")
	assert.Equal(t, "AUTH_TOKEN_EXPIRED: exp was at noon", full.Error())
	assert.Equal(t, "AUTH_TOKEN_EXPIRED", (&jwterrors.Error{Reason: jwterrors.TokenExpired}).Error())
}

func TestTheDisplayForm(t *testing.T) { // MO-07
	assert.Equal(t, "401 AUTH_TOKEN_EXPIRED: The token has expired. "+
		"(token: eyJhbGciOiJIUzI1NiIs..., identifier: user@example.com, message: please refresh)", full.String())
	assert.Equal(t, "0 AUTH_PAUSED: Nothing is sent before there is a new token or a new session. "+
		"(token: No token, identifier: No identifier, message: No message)",
		(&jwterrors.Error{Reason: jwterrors.Paused}).String())
}

func TestRedact(t *testing.T) { // MO-07
	for _, c := range []struct{ name, token, want string }{
		{"no token", "", ""},
		{"a JWT", token, "eyJhbGciOiJIUzI1NiIs..."},
		{"shortened before", "eyJhbGciOiJIUzI1NiIs...", "eyJhbGciOiJIUzI1NiIs..."},
		{"of 40 characters", strings.Repeat("x", 40), strings.Repeat("x", 20) + "..."},
		{"of 39 characters, of which not half may show", strings.Repeat("x", 39), strings.Repeat("x", 19) + "..."},
		{"of one character", "x", "..."},
		{"long with dots at its end", strings.Repeat("x", 60) + "...", strings.Repeat("x", 20) + "..."},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.want, jwterrors.Redact(c.token))
			assert.Equal(t, c.want, jwterrors.Redact(jwterrors.Redact(c.token)))
		})
	}
}

func TestNoFormShowsTheToken(t *testing.T) { // MO-07, IT-29
	careless := *full
	careless.Token = token // not shortened by whoever made it
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Error("refused", "err", &careless)
	data, err := json.Marshal(&careless)
	require.NoError(t, err)
	for form, text := range map[string]string{
		"Error": careless.Error(), "String": careless.String(), "slog": log.String(), "JSON": string(data),
	} {
		assert.NotContains(t, text, token[:21], form)
	}
	assert.Contains(t, log.String(), `"token":"eyJhbGciOiJIUzI1NiIs..."`)
	assert.Contains(t, log.String(), `"cause":"exp was at noon"`)
	assert.Contains(t, log.String(), `"identifier":"user@example.com"`)
}

func TestAnErrorSurvivesJSON(t *testing.T) { // IT-29: Unix seconds
	data, err := json.Marshal(full)
	require.NoError(t, err)
	assert.Contains(t, string(data), `"time":1640086400`)
	assert.Contains(t, string(data), `"retry_after":2`, "rounded up")
	var back jwterrors.Error
	require.NoError(t, json.Unmarshal(data, &back))
	want := *full
	want.Err, want.RetryAfter = nil, 2*time.Second
	assert.Equal(t, want, back)

	data, err = json.Marshal(&jwterrors.Error{Reason: jwterrors.LoggedOut})
	require.NoError(t, err)
	assert.JSONEq(t, `{"reason":"AUTH_LOGGED_OUT","description":"There is no session."}`, string(data))
	assert.Error(t, json.Unmarshal([]byte(`{"reason":1}`), &back))
}
