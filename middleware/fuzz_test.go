package middleware_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// refused fails the test if err is anything but the client's fault.
func refused(t *testing.T, err error, input ...string) jwterrors.Reason {
	t.Helper()
	reason := jwterrors.ReasonOf(err)
	if err != nil && (!reason.Known() || reason.Status() < 400 || reason.Status() > 401) {
		t.Errorf("%q: %v", input, err)
	}
	return reason
}

// FuzzAuthorization: only the scheme, spaces and the good token pass.
func FuzzAuthorization(f *testing.F) {
	auth, token := newAuth(f), good()
	for _, value := range []string{
		"", "Bearer ", "Bearer T", "bearer  T ", "Bearer\tT", "Bearer T,", "Bearer T, Bearer T", "Bearer T T", "Basic YTpi",
		"Basic YTpi, Bearer T", "Bearer,T", "BearerT", "Bearer T=", "Bearer \"T\"", "Bearer \x00T", "Bearer T\r\n", "\u00a0Bearer T",
	} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		value = strings.ReplaceAll(value, "T", token)
		_, err := auth.Check(request(value))
		reason := refused(t, err, value)
		scheme, rest, _ := strings.Cut(strings.Trim(value, " \t"), " ")
		bearer := strings.EqualFold(scheme, "bearer")
		passes := bearer && strings.TrimLeft(rest, " ") == token
		if passes != (err == nil) {
			t.Errorf("%q: %v", value, err)
		}
		if bearer && reason == jwterrors.TokenMissing {
			t.Errorf("%q has a bearer token: %v", value, err)
		}
	})
}

// FuzzVerify: nobody without the secret makes a token that passes.
func FuzzVerify(f *testing.F) {
	auth, token := newAuth(f), good()
	f.Add(token)
	f.Add(token + "=")
	f.Add(token[:len(token)-1])
	f.Add(strings.Replace(token, ".", "..", 1))
	f.Add(encode(object{"alg": "none"}) + "." + encode(claims()) + ".AA")
	f.Add("a.b.c.d.e")
	f.Add(strings.Repeat(".", 100))
	f.Fuzz(func(t *testing.T, input string) {
		err := verify(auth, input)
		refused(t, err, input)
		if err == nil && input != token {
			t.Errorf("%q was accepted", input)
		}
	})
}

// FuzzSigned: a token with a true signature passes only with claims that a
// careless reader reads the same.
func FuzzSigned(f *testing.F) {
	auth := newAuth(f)
	header := string(must(json.Marshal(hsHeader)))
	for _, payload := range []any{
		claims(), claims().with("exp", 1), claims().with("aud", []string{"x", audience}), claims().with("ISS", "x"), claims().with("iat", 1.5),
		object{}, nil, []string{}, claims().with("nested", object{"a": []any{1, "x", nil, true}}),
	} {
		f.Add(header, string(must(json.Marshal(payload))))
	}
	for _, h := range []string{`{"alg":"HS256","crit":["x"]}`, `{"alg":"HS256","kid":"\u0000"}`, `{"alg":"none"}`, `{"alg":"HS256","alg":"none"}`, `[]`, ``} {
		f.Add(h, string(must(json.Marshal(claims()))))
	}
	f.Fuzz(func(t *testing.T, header, payload string) {
		c, err := auth.Verify(t.Context(), hs(header, payload))
		refused(t, err, header, payload)
		if err != nil {
			return
		}
		var careless struct {
			Iss, Sub string
			Aud      any
			Exp, Iat float64
		}
		if err := json.Unmarshal([]byte(payload), &careless); err != nil {
			t.Fatalf("%q: %v", payload, err)
		}
		now := float64(time.Now().Unix())
		if careless.Iss != issuer || c.Issuer != issuer || careless.Sub != c.Subject || careless.Exp < now-31 || careless.Iat > now+31 ||
			careless.Exp-careless.Iat >= 365*86400 || !slices.Contains(c.Audience, audience) {
			t.Errorf("%q was accepted as %+v", payload, c)
		}
		if s, ok := careless.Aud.(string); ok && s != audience {
			t.Errorf("%q was accepted as %+v", payload, c)
		}
	})
}
