package jws_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/tokenloop/tokenloop/internal/jws"
)

var flatCases = []struct {
	name, body string
	plain      bool // for Flat
}{
	{"one member", `{"refresh_token":"rt1.a.b.0.c"}`, true},
	{"two members", `{"username":"alice","password":"x"}`, true},
	{"white space everywhere", " \t\r\n{ \"username\" : \"alice\" ,\n\"password\":\"x\" } \n", true},
	{"no member", `{}`, true},
	{"members that nobody asked for", `{"x":"y","username":"alice"}`, true},
	{"an empty value", `{"username":""}`, true},
	{"an empty name", `{"":"x"}`, true},
	{"braces and commas in a string", `{"username":"{a},:[]"}`, true},
	{"another case of a name", `{"Username":"alice"}`, true},
	{"sixteen members", manyMembers(16), true},

	{"seventeen members", manyMembers(17), false},
	{"an escape", `{"username":"al\u0069ce"}`, false},
	{"an escaped name", `{"user\u006eame":"alice"}`, false},
	{"text that is not ASCII", `{"username":"Zoë"}`, false},
	{"bytes that are not UTF-8", "{\"username\":\"\xff\"}", false},
	{"a control character", "{\"username\":\"a\tb\"}", false},
	{"DEL", "{\"username\":\"a\x7fb\"}", false},
	{"null", `{"username":null}`, false},
	{"a whole number", `{"iat":1700000000}`, true},
	{"zero", `{"iat":0,"x":"y"}`, true},
	{"a number with a zero in front", `{"iat":07}`, false},
	{"a negative number", `{"iat":-7}`, false},
	{"a number that is not whole", `{"iat":7.5}`, false},
	{"a number with an exponent", `{"iat":7e3}`, false},
	{"true", `{"iat":true}`, false},
	{"an object", `{"username":{}}`, false},
	{"a name twice", `{"username":"a","username":"b"}`, false},
	{"a name twice, in another case", `{"username":"a","userName":"b"}`, false},
	{"a comma too many", `{"username":"a",}`, false},
	{"a comma too many, before", `{,"username":"a"}`, false},
	{"no comma", `{"username":"a" "password":"b"}`, false},
	{"no colon", `{"username" "a"}`, false},
	{"no beginning", `"username":"a"}`, false},
	{"no end", `{"username":"a"`, false},
	{"a name without a quote in front", `{username":"a"}`, false},
	{"a string without a quote in front", `{"username":a"}`, false},
	{"a string without an end", `{"username":"a`, false},
	{"something behind it", `{"username":"a"}x`, false},
	{"two objects", `{}{}`, false},
	{"an array", `["username"]`, false},
	{"nothing", ``, false},
	{"a byte order mark", "\ufeff{}", false},
	{"other white space", "\v{}", false},
	{"a space that does not break", "{\u00a0}", false},
}

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(`,"` + strings.Repeat("n", i+1) + `":"x"`)
	}
	return "{" + b.String()[1:] + "}"
}

func TestFlat(t *testing.T) {
	for _, c := range flatCases {
		t.Run(c.name, func(t *testing.T) {
			_, ok := jws.Flat([]byte(c.body))
			assert.Equal(t, c.plain, ok)
			agree(t, []byte(c.body))
		})
	}
	members, _ := jws.Flat([]byte(flatCases[1].body))
	assert.Equal(t, map[string]json.RawMessage{"username": json.RawMessage(`"alice"`), "password": json.RawMessage(`"x"`)}, members)
}

// agree fails t unless the strict reader takes what Flat takes, as the same.
func agree(t *testing.T, body []byte) {
	t.Helper()
	members, ok := jws.Flat(body)
	if !ok {
		return
	}
	strict, err := jws.Members(body)
	if err != nil {
		t.Fatalf("%q: the strict reader says %v", body, err)
	}
	assert.Equal(t, strict, members, "%q", body)
}

func FuzzFlat(f *testing.F) {
	for _, c := range flatCases {
		f.Add([]byte(c.body))
	}
	f.Fuzz(func(t *testing.T, body []byte) { agree(t, body) })
}
