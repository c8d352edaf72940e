package middleware

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// payloads are what both readers of claims are compared on.
var payloads = []string{
	`{"iss":"i","sub":"s","aud":"a","exp":1640086400,"iat":1640000000,"nbf":1640000000,"jti":"j"}`,
	`{ "iss" : "i" , "aud" : [ "a" , "b" ] , "exp" : 1 } `,
	`{"scope":"a b  c","client_id":"c","sid":"x","auth_time":1,"acr":"1","amr":["pwd","otp"],"email":"e","userId":"u"}`,
	`{"scp":["a","b"],"azp":"z"}`, `{"scope":["a"],"scp":"b"}`, `{"scope":""}`, `{"scp":[]}`, `{"aud":[]}`, `{"aud":[""]}`,
	`{"scope":"a b c d e f g h","aud":["1","2","3","4","5","6","7","8"],"amr":["x"]}`,
	`{"x":{"y":[1,-2.5e+3,true,false,null,"s",{"z":{}}]}}`, `{"x":{"y":1,"y":2}}`, `{"x":{"aB":1,"Ab":2}}`,
	`{"a":1,"a":2}`, `{"role":1,"Role":2}`, `{"ISS":"i"}`, `{"Scope":"a"}`, `{"\u0069ss":"i"}`, `{"iss":"\u0069"}`,
	`{"name":"Jörg"}`, `{"nämé":"x"}`, "{\"a\":\"\xff\"}", "{\"a\":\"\n\"}", `{"exp":1.5}`, `{"exp":1e9}`, `{"exp":"1"}`, `{"exp":null}`,
	`{"exp":0}`, `{"exp":01}`, `{"exp":-1}`, `{"exp":253402300799}`, `{"exp":253402300800}`, `{"exp":9999999999999}`, `{"exp":1 }`,
	`{"auth_time":0}`, `{"email":null}`, `{"email":1}`, `{"userId":null}`, `{"sid":null}`, `{"acr":1}`, `{"amr":"pwd"}`, `{"amr":[1]}`,
	`{"type":"refresh"}`, `{"type":"Refresh"}`, `{"typ":"Bearer"}`, `{"token_use":"access"}`, `{"token_use":"id"}`, `{"type":1}`,
	`{"at_hash":"x"}`, `{"c_hash":"x"}`, `{"events":{}}`, `{"events":{"http://schemas.openid.net/event/backchannel-logout":{}}}`,
	`{"cnf":{"jkt":"x"}}`, `{"cnf":null}`, `{"CNF":{}}`, `{"cn\u0066":{}}`,
	`null`, `[]`, `{}`, ``, `{`, `{}{}`, `{} x`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `{"a":tru}`, `{"a":-}`, `{"a":1.}`, `{"a":1e}`, `{"a":00}`, `{"a":[1,]}`,
	strings.Repeat(`{"a":`, 9) + "1" + strings.Repeat("}", 9), strings.Repeat(`{"a":`, 17) + "1" + strings.Repeat("}", 17),
	`{"x":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\ud800"}`, `{"x":"\x"}`, `{"x":"\u12g4"}`, `{"x":"\u12`, `{"x":"\`, `{"x":["\u0041"]}`,
	`{"aud":"a","aud":"b"}`, `{"sub":"a","s\u0075b":"b"}`, "{\"a\x7f\":1}", `{"":1}`, `{"i\u017fs":1}`, `{"iſs":1}`,
}

// The quick reader accepts nothing that the strict one refuses, and reads it the
// same.
func FuzzScanClaims(f *testing.F) {
	for _, p := range payloads {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, payload string) {
		quick := scanClaims(payload)
		if quick == nil {
			return
		}
		slow, err := readClaimsSlowly(payload)
		if err != nil {
			t.Fatalf("%q is refused with %v, and was read as %+v", payload, err, quick)
		}
		a, b := quick.Claims, slow.Claims
		same := a.Issuer == b.Issuer && a.Subject == b.Subject && slices.Equal(a.Audience, b.Audience) &&
			a.ExpiresAt.Equal(b.ExpiresAt) && a.NotBefore.Equal(b.NotBefore) && a.IssuedAt.Equal(b.IssuedAt) && a.ID == b.ID &&
			a.ClientID == b.ClientID && a.SessionID == b.SessionID && slices.Equal(a.Scopes, b.Scopes) &&
			a.AuthTime.Equal(b.AuthTime) && a.ACR == b.ACR && slices.Equal(a.AMR, b.AMR) &&
			a.Email == b.Email && a.UserID == b.UserID && a.payload == b.payload && quick.kind == slow.kind &&
			quick.seldom().confirmation == nil && slow.seldom().confirmation == nil // what is bound is never read quickly
		if !same {
			t.Errorf("%q was read as\n%+v, not as\n%+v", payload, a, b)
		}
	})
}

func TestOrdinaryClaimsAreReadQuickly(t *testing.T) {
	for _, payload := range []string{
		payloads[0], payloads[1], payloads[2], payloads[3],
		`{"iss":"i","name":"Jörg","realm_access":{"roles":["a","b"]},"email_verified":true,"n":-1.5e3,"x":null,"said":"\"yes\"","typ":"Bearer","userID":"x"}`,
	} {
		assert.NotNil(t, scanClaims(payload), payload)
	}
}

func TestPlainText(t *testing.T) {
	text := []byte(strings.Repeat("~ ", 10))
	for n := range len(text) {
		for at := range n {
			for c := range 256 {
				one := slices.Clone(text[:n])
				one[at] = byte(c)
				want := ' ' <= c && c < 0x80 && c != '\\'
				require.Equal(t, want, isPlain(string(one)), "%q", one)
			}
		}
	}
	assert.True(t, isPlain(""))
	assert.False(t, isPlain("\x1f\x1f\x20\x20\x20\x20\x20\x20"), "a borrow hides nothing")
}

// Nothing of one list is reached through another.
func TestListsAreApart(t *testing.T) {
	r := scanClaims(`{"aud":["a","b"],"amr":["x"],"scope":"s t"}`)
	_ = append(r.Audience, "!")
	_ = append(r.AMR, "!")
	assert.Equal(t, []string{"a", "b"}, r.Audience)
	assert.Equal(t, []string{"x"}, r.AMR)
	assert.Equal(t, []string{"s", "t"}, r.Scopes)
}

// The same of headers.
func FuzzScanHeader(f *testing.F) {
	for _, h := range headers {
		f.Add(h)
	}
	f.Fuzz(func(t *testing.T, data string) {
		quick := scanHeader(data)
		if quick == nil {
			return
		}
		slow, err := readHeaderSlowly([]byte(data))
		if err != nil {
			t.Fatalf("%q is refused with %v, and was read as %+v", data, err, quick)
		}
		if *quick != *slow {
			t.Errorf("%q was read as %+v, not as %+v", data, quick, slow)
		}
	})
}

// headers are what both readers of headers are compared on.
var headers = []string{
	`{"alg":"HS256"}`, `{"alg":"RS256","typ":"at+jwt","kid":"k-1"}`, `{"alg":"ES256","x5t":"a","jwk":{"kty":"EC","x":"\u0041"},"x5c":["a","b"]}`,
	`{"alg":"HS256","ALG":"none"}`, `{"alg":"HS256","alg":"none"}`, `{"ALG":"none"}`, `{"alg":1}`, `{"alg":null}`, `{"alg":"\u0048S256"}`, `{"\u0061lg":"HS256"}`,
	`{"alg":"HS256","typ":""}`, `{"alg":"HS256","kid":""}`, `{"alg":"HS256","kid":1}`, `{"alg":"HS256","crit":["exp"]}`, `{"alg":"HS256","b64":false}`,
	`{"alg":"dir","enc":"A128GCM"}`, `{"alg":"HS256"} {}`, `{"alg":"HS256",}`, `[]`, `null`, ``, "{\"kid\":\"a\x00b\"}", "{\"kid\":\"\xff\"}", `{"clé":1}`,
	strings.Repeat(`{"a":`, 17) + "1" + strings.Repeat("}", 17),
}

func TestOrdinaryHeadersAreReadQuickly(t *testing.T) {
	for _, data := range headers[:3] {
		assert.NotNil(t, scanHeader(data), data)
	}
}
