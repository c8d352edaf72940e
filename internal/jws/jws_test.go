package jws_test

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/internal/jws"
)

func TestSplit(t *testing.T) { // IT-32
	tok, err := jws.Split("aA0.b-_.c", 100)
	require.NoError(t, err)
	assert.Equal(t, jws.Token{Header: "aA0", Payload: "b-_", Signature: "c", SigningInput: "aA0.b-_"}, tok)
	for name, raw := range map[string]string{
		"empty": "", "one part": "abc", "two parts": "a.b", "four parts": "a.b.c.d", "a JWE": "a.b.c.d.e",
		"no header": ".b.c", "no payload": "a..c", "no signature": "a.b.", "dots alone": "..",
		"padding": "a.b.c=", "standard alphabet": "a.b+.c/", "a line break": "a.b.c\n", "a space": "a. b.c",
		"not ASCII": "a.b.ç", "a NUL": "a.\x00.c", "too long": strings.Repeat("a", 99) + ".b.c",
		"a mebibyte of dots": strings.Repeat(".", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := jws.Split(raw, 100)
			assert.ErrorIs(t, err, jws.ErrFormat)
		})
	}
	_, err = jws.Split("a.b.c.d.e", 100)
	assert.ErrorContains(t, err, "JWE")
	_, err = jws.Split("aaa.b.c", 7)
	assert.NoError(t, err, "as long as the limit")
}

func TestDecode(t *testing.T) {
	data, err := jws.Decode("-_8")
	require.NoError(t, err)
	assert.Equal(t, []byte{0xfb, 0xff}, data)
	for name, segment := range map[string]string{
		"stray bits": "-_9", "padding": "-_8=", "a line break": "-_\n8", "a carriage return": "\r-_8", "standard alphabet": "+/8", "cut": "a",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := jws.Decode(segment)
			assert.ErrorIs(t, err, jws.ErrFormat)
		})
	}
}

func TestDecodeTakesOneSpellingOnly(t *testing.T) {
	const all = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for length := range 9 {
		for _, last := range all {
			if length == 0 {
				continue
			}
			segment := strings.Repeat("A", length-1) + string(last)
			data, err := jws.Decode(segment)
			lax, wrong := base64.RawURLEncoding.DecodeString(segment)
			canonical := wrong == nil && base64.RawURLEncoding.EncodeToString(lax) == segment
			assert.Equal(t, canonical, err == nil, segment)
			assert.True(t, err != nil || bytes.Equal(lax, data), segment)
		}
	}
}

func TestParseClaims(t *testing.T) {
	c, err := jws.ParseClaims([]byte(`{"iss":"i","sub":"s","aud":["a","b"],"exp":1640086400,"nbf":1.5,"iat":1e9,"jti":"j","x":{"y":[1]}}`))
	require.NoError(t, err)
	assert.Equal(t, "i", c.Issuer)
	assert.Equal(t, "s", c.Subject)
	assert.Equal(t, []string{"a", "b"}, c.Audience)
	assert.Equal(t, time.Unix(1640086400, 0), c.Expiry)
	assert.Equal(t, time.Unix(1, 5e8), c.NotBefore)
	assert.Equal(t, time.Unix(1e9, 0), c.IssuedAt)
	assert.Equal(t, "j", c.ID)
	assert.JSONEq(t, `{"y":[1]}`, string(c.Members["x"]))

	_, err = jws.ParseClaims([]byte(`{"a":`))
	assert.ErrorContains(t, err, "it is not JSON")
	_, err = jws.ParseClaims([]byte(`{"x":{"aB":1,"Ab":2}}`))
	assert.NoError(t, err, "further down, names may be anything")

	c, err = jws.ParseClaims([]byte(`{"aud":"a"}`))
	require.NoError(t, err)
	assert.Equal(t, []string{"a"}, c.Audience)
	assert.True(t, c.Expiry.IsZero())

	for name, payload := range map[string]string{
		"null": `null`, "an array": `[]`, "a string": `"x"`, "nothing": ``, "cut": `{"a":`,
		"two objects": `{}{}`, "trailing text": `{} x`, "not UTF-8": "{\"a\":\"\xff\"}",
		"a name twice": `{"sub":"a","sub":"b"}`, "a name twice by escape": `{"sub":"a","s\u0075b":"b"}`,
		"two names that differ by case alone": `{"role":"user","Role":"admin"}`, "and by a long s": `{"scope":"a","\u017fcope":"b"}`,
		"a name twice further down": `{"x":[{"y":1,"y":2}]}`,
		"ISS":                       `{"ISS":"i"}`, "Exp beside exp": `{"exp":1,"Exp":2}`, "a long s": `{"i\u017fs":"i"}`,
		"exp a string": `{"exp":"1"}`, "exp null": `{"exp":null}`, "exp zero": `{"exp":0}`, "exp negative": `{"exp":-1}`,
		"exp 1e18": `{"exp":1e18}`, "exp 1e400": `{"exp":1e400}`, "exp a bool": `{"exp":true}`, "iss an array": `{"iss":["i"]}`,
		"iss null": `{"iss":null}`, "sub a number": `{"sub":1}`, "aud a number": `{"aud":1}`, "aud an object": `{"aud":{}}`,
		"aud nested": `{"aud":[["a"]]}`, "aud mixed": `{"aud":["a",1]}`, "aud null": `{"aud":null}`, "aud of null": `{"aud":[null]}`,
		"deep": strings.Repeat(`{"a":`, 17) + "1" + strings.Repeat("}", 17),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := jws.ParseClaims([]byte(payload))
			assert.ErrorIs(t, err, jws.ErrPayload)
		})
	}
}

// FuzzRead: no input panics, and what is accepted has one spelling.
func FuzzRead(f *testing.F) {
	f.Add("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2ln")
	f.Add("a.b.c.d.e")
	f.Add(base64.RawURLEncoding.EncodeToString([]byte(`{"exp":1,"Exp":2}`)) + ".e30.AA")
	f.Fuzz(func(t *testing.T, raw string) {
		tok, err := jws.Split(raw, 8192)
		if err != nil {
			return
		}
		if tok.SigningInput+"."+tok.Signature != raw || tok.Header+"."+tok.Payload != tok.SigningInput {
			t.Errorf("%q was cut to %+v", raw, tok)
		}
		for _, segment := range []string{tok.Header, tok.Payload, tok.Signature} {
			data, err := jws.Decode(segment)
			if err != nil {
				continue
			}
			if again := base64.RawURLEncoding.EncodeToString(data); again != segment {
				t.Errorf("%q is a second spelling of %q", segment, again)
			}
			if c, err := jws.ParseClaims(data); err == nil && c.Members == nil {
				t.Errorf("%q has no members", data)
			}
		}
	})
}

func TestString(t *testing.T) {
	for raw, want := range map[string]string{
		`""`: "", `"a b~"`: "a b~", `"\u0061"`: "a", `"\\"`: `\`, `"\""`: `"`, `"é"`: "é", `"a/b"`: "a/b", `"a" `: "a", `"\ud800"`: "\ufffd",
	} {
		got, err := jws.String([]byte(raw))
		assert.NoError(t, err, raw)
		assert.Equal(t, want, got, raw)
	}
	for _, raw := range []string{``, `"`, `"a`, `"a"b"`, `"a\"`, "\"a\nb\"", "\"\x00\"", `null`, `7`, `["a"]`, `a"`} {
		_, err := jws.String([]byte(raw))
		assert.Error(t, err, raw)
	}
}
