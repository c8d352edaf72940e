package issuer

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// What the issuer itself checks of a bearer token, beyond its signature.
func TestVerify(t *testing.T) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	key, err := NewKey(private)
	require.NoError(t, err)
	ring, err := NewKeyRing(KeyRingConfig{Key: key})
	require.NoError(t, err)
	i := &Issuer{c: Config{Issuer: "https://id.example.com", Audience: []string{"orders", "stock"}, Keys: ring, Now: time.Now}}
	now := time.Now()
	good := fmt.Sprintf(`{"iss":"https://id.example.com","aud":"orders","sub":"alice","sid":"s1","exp":%d}`, now.Unix()+60)
	header := fmt.Sprintf(`{"alg":"EdDSA","typ":"at+jwt","kid":%q}`, key.ID())
	sign := func(header, payload string) string {
		e := base64.RawURLEncoding.EncodeToString
		input := e([]byte(header)) + "." + e([]byte(payload))
		return input + "." + e(ed25519.Sign(private, []byte(input)))
	}
	for _, c := range []struct {
		name, token string
		want        jwterrors.Reason
	}{
		{"a good one", sign(header, good), ""},
		{"another issuer that shares the ring", sign(header, fmt.Sprintf(`{"iss":"https://b.example.com","sid":"s1","exp":%d}`, now.Unix()+60)), jwterrors.TokenIssuerInvalid},
		{"one audience of several", sign(header, strings.Replace(good, `"orders"`, `["x","stock"]`, 1)), ""},
		{"another audience", sign(header, strings.Replace(good, `"orders"`, `"x"`, 1)), jwterrors.TokenAudienceInvalid},
		{"other audiences", sign(header, strings.Replace(good, `"orders"`, `["x","Orders",""]`, 1)), jwterrors.TokenAudienceInvalid},
		{"no audience", sign(header, strings.Replace(good, `"aud":"orders",`, ``, 1)), jwterrors.TokenAudienceInvalid},
		{"an empty audience", sign(header, strings.Replace(good, `"orders"`, `[]`, 1)), jwterrors.TokenAudienceInvalid},
		{"another audience, expired", sign(header, fmt.Sprintf(`{"iss":"https://id.example.com","aud":"x","sid":"s1","exp":%d}`, now.Unix()-60)), jwterrors.TokenAudienceInvalid},
		{"a refresh token by its type", sign(fmt.Sprintf(`{"alg":"EdDSA","typ":"rt+jwt","kid":%q}`, key.ID()), good), jwterrors.TokenTypeInvalid},
		{"no type", sign(fmt.Sprintf(`{"alg":"EdDSA","kid":%q}`, key.ID()), good), jwterrors.TokenTypeInvalid},
		{"no session", sign(header, strings.Replace(good, `"sid":"s1",`, ``, 1)), jwterrors.TokenPayloadInvalid},
		{"no expiry", sign(header, `{"iss":"https://id.example.com","sid":"s1"}`), jwterrors.TokenPayloadInvalid},
		{"an extension", sign(fmt.Sprintf(`{"alg":"EdDSA","typ":"at+jwt","crit":["x"],"kid":%q}`, key.ID()), good), jwterrors.TokenFormatInvalid},
		{"another type", sign(fmt.Sprintf(`{"alg":"EdDSA","typ":"JWT","kid":%q}`, key.ID()), good), jwterrors.TokenTypeInvalid},
		{"another algorithm", sign(fmt.Sprintf(`{"alg":"HS256","typ":"at+jwt","kid":%q}`, key.ID()), good), jwterrors.TokenSignatureInvalid},
		{"a header that is no object", sign(`[]`, good), jwterrors.TokenFormatInvalid},
		{"a payload that is no base64url", sign(header, "")[:strings.Index(sign(header, ""), ".")] + ".A.AAAA", jwterrors.TokenFormatInvalid},
		{"claims that are no object", sign(header, `null`), jwterrors.TokenPayloadInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			sid, _, err := i.verify(c.token, now)
			assert.Equal(t, c.want, jwterrors.ReasonOf(err))
			if c.want == "" {
				assert.Equal(t, "s1", sid)
			}
		})
	}

	// What is bound in a way that is not known here may not be used here.
	for binding, active := range map[string]bool{`"x":"y"`: true, `"cnf":{"x":"y"}`: false} {
		answer, err := i.introspectAccessToken(t.Context(), sign(header, strings.Replace(good, `"sid":"s1"`, binding, 1)))
		require.NoError(t, err)
		assert.Equal(t, active, answer.Active, binding)
	}
}

// FuzzPayload: whatever the strings, the payload is the JSON that encoding/json
// would have made.
func FuzzPayload(f *testing.F) {
	f.Add("https://id.example.com", "orders", "alice")
	f.Add(`"`, `\`, "\x00")
	f.Add("\xff", "\x7f", "<é\u2028")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		for _, audience := range [][]string{{b}, {b, c}, {c, "x", b}} {
			data := appendClaim(firstClaims(a, audience), "sub", c)
			data = append(appendDate(data, "exp", 1<<40), '}')
			want := map[string]any{"iss": a, "aud": audience, "sub": c, "exp": 1 << 40}
			if len(audience) == 1 {
				want["aud"] = b
			}
			if c == "" {
				delete(want, "sub")
			}
			encoded, err := json.Marshal(want)
			if err != nil {
				t.Fatal(err)
			}
			var got, expected any
			if err := json.Unmarshal(data, &got); err != nil {
				t.Fatalf("%q: %v", data, err)
			}
			if err := json.Unmarshal(encoded, &expected); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, expected) || !utf8.Valid(data) {
				t.Errorf("%q, want %q", data, encoded)
			}
		}
	})
}
