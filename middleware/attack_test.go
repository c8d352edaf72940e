package middleware_test

import (
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
)

// serve runs a server that is protected by auth and answers with the subject.
func serve(t testing.TB, auth *middleware.Middleware) string {
	t.Helper()
	server := httptest.NewServer(explained(t, auth, auth.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := middleware.FromContext(r.Context())
		_, _ = io.WriteString(w, c.Subject)
	}))))
	t.Cleanup(server.Close)
	return server.URL
}

// get sends a request with these Authorization headers over the network.
func get(t testing.TB, url string, authorization ...string) *http.Response {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	require.NoError(t, err)
	for _, a := range authorization {
		r.Header.Add("Authorization", a)
	}
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// expect checks an answer: its status and, in header and body, its reason. An
// empty reason stands for a request that passed.
func expect(t testing.TB, resp *http.Response, status int, reason jwterrors.Reason) {
	t.Helper()
	assert.Equal(t, status, resp.StatusCode)
	var got jwterrors.Reason
	if e := jwterrors.FromResponse(resp); e != nil {
		got = e.Reason
	}
	assert.Equal(t, reason, got)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	if reason == "" {
		assert.Equal(t, "alice", string(body))
		return
	}
	assert.Contains(t, string(body), `"reason":"`+string(reason)+`"`)
	if challenge := resp.Header.Get("WWW-Authenticate"); reason == jwterrors.TokenMissing {
		assert.Equal(t, "Bearer", challenge)
	} else {
		assert.Contains(t, challenge, `reason="`+string(reason)+`"`)
	}
}

func TestTheAuthorizationHeader(t *testing.T) { // IT-05, JG-20, NV-01
	url := serve(t, newAuth(t))
	token := good()
	for _, c := range []struct {
		name   string
		values []string
		status int
		reason jwterrors.Reason
	}{
		{"a bearer token", []string{"Bearer " + token}, 200, ""},
		{"the scheme in lower case", []string{"bearer " + token}, 200, ""},
		{"the scheme in mixed case", []string{"bEaReR " + token}, 200, ""},
		{"several spaces", []string{"Bearer   " + token}, 200, ""},
		{"spaces and a tab at the end", []string{"Bearer " + token + "  \t"}, 200, ""},
		{"none", nil, 401, jwterrors.TokenMissing},
		{"an empty one", []string{""}, 401, jwterrors.TokenMissing},
		{"Basic", []string{"Basic YTpi"}, 401, jwterrors.TokenMissing},
		{"a bearer token as Basic", []string{"Basic " + token}, 401, jwterrors.TokenMissing},
		{"a token without scheme", []string{token}, 401, jwterrors.TokenMissing},
		{"a longer scheme", []string{"Bearers " + token}, 401, jwterrors.TokenMissing},
		{"a scheme and a colon", []string{"Bearer: " + token}, 401, jwterrors.TokenMissing},
		{"a scheme and no space", []string{"Bearer" + token}, 401, jwterrors.TokenMissing},
		{"the scheme alone", []string{"Bearer"}, 401, jwterrors.TokenFormatInvalid},
		{"the scheme and spaces", []string{"Bearer   "}, 401, jwterrors.TokenFormatInvalid},
		{"null", []string{"Bearer null"}, 401, jwterrors.TokenFormatInvalid},
		{"the scheme twice", []string{"Bearer Bearer " + token}, 400, jwterrors.RequestInvalid},
		{"a tab after the scheme", []string{"Bearer\t" + token}, 400, jwterrors.RequestInvalid},
		{"a tab after the space", []string{"Bearer \t" + token}, 400, jwterrors.RequestInvalid},
		{"a list in one header", []string{"Bearer " + token + ", Bearer " + token}, 400, jwterrors.RequestInvalid},
		{"a list of tokens", []string{"Bearer " + token + "," + token}, 400, jwterrors.RequestInvalid},
		{"a comma at the end", []string{"Bearer " + token + ","}, 400, jwterrors.RequestInvalid},
		{"a comma after the scheme", []string{"Bearer," + token}, 400, jwterrors.RequestInvalid},
		{"Basic and Bearer in a list", []string{"Basic YTpi, Bearer " + token}, 401, jwterrors.TokenMissing},
		{"Bearer and Basic in a list", []string{"Bearer " + token + ", Basic YTpi"}, 400, jwterrors.RequestInvalid},
		{"a parameter after the token", []string{"Bearer " + token + " realm=x"}, 400, jwterrors.RequestInvalid},
		{"two headers with two tokens", []string{"Bearer " + token, "Bearer " + hs(hsHeader, claims().with("sub", "bob"))}, 400, jwterrors.RequestInvalid},
		{"two headers with one token", []string{"Bearer " + token, "Bearer " + token}, 400, jwterrors.RequestInvalid},
		{"two headers, Basic first", []string{"Basic YTpi", "Bearer " + token}, 400, jwterrors.RequestInvalid},
		{"two headers, Basic last", []string{"Bearer " + token, "Basic YTpi"}, 400, jwterrors.RequestInvalid},
		{"two headers, one empty", []string{"Bearer " + token, ""}, 400, jwterrors.RequestInvalid},
		{"quotes", []string{`Bearer "` + token + `"`}, 401, jwterrors.TokenFormatInvalid},
		{"percent signs", []string{"Bearer " + strings.ReplaceAll(token, ".", "%2e")}, 401, jwterrors.TokenFormatInvalid},
		{"bytes beyond ASCII", []string{"Bearer \u00a0" + token}, 401, jwterrors.TokenFormatInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			expect(t, get(t, url, c.values...), c.status, c.reason)
		})
	}
	t.Run("spaces and tabs around, which no connection brings", func(t *testing.T) { // RFC 9110, Section 5.5
		for _, value := range []string{" Bearer " + token, "\tBearer " + token, "Bearer " + token + "\t", "\t Bearer " + token + " \t"} {
			_, err := newAuth(t).Check(request(value))
			assert.NoError(t, err, "%q", value)
		}
	})
	t.Run("a token elsewhere is not looked at", func(t *testing.T) { // JG-20
		expect(t, get(t, url+"?access_token="+token), 401, jwterrors.TokenMissing)
	})
}

func TestTheCauseOfAHeaderThatIsNotBase64url(t *testing.T) {
	err := verify(newAuth(t), "!."+good()[strings.IndexByte(good(), '.')+1:])
	assert.ErrorIs(t, err, jwterrors.TokenFormatInvalid)
	assert.ErrorContains(t, err, "base64url")
}

// TestAttacks has every trap of pitfalls that has a name, and everything that
// golang-jwt takes for valid.
func TestAttacks(t *testing.T) {
	rsaPublic := &rsaKey().PublicKey
	der := must(x509.MarshalPKIXPublicKey(rsaPublic))
	spki := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(rsaPublic)})

	long := random(64)
	withHS := serve(t, newAuth(t))
	withHS512 := serve(t, newAuth(t, func(c *middleware.Config) { c.Keys = middleware.HS512(long) }))
	withRS := serve(t, newAuth(t, func(c *middleware.Config) {
		c.Keys = middleware.PublicKeys(middleware.PublicKey{ID: "r1", Key: rsaPublic}, middleware.PublicKey{ID: "e1", Key: &ecKey.PublicKey})
	}))
	rsHeader := object{"alg": "RS256", "typ": "at+jwt", "kid": "r1"}
	rs := func(header, payload any) string { return sign(jwt.SigningMethodRS256, rsaKey(), header, payload) }
	confusedBy := func(method jwt.SigningMethod, key []byte) string {
		return sign(method, key, rsHeader.with("alg", method.Alg()), claims())
	}
	confused := func(key []byte) string { return confusedBy(jwt.SigningMethodHS256, key) }
	unsigned := func(alg string) string {
		return encode(object{"alg": alg, "typ": "at+jwt"}) + "." + encode(claims()) + ".AAAA"
	}
	stray := func(token string) string { // the last character of 43 has two bits that mean nothing
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		last := strings.IndexByte(alphabet, token[len(token)-1])
		return token[:len(token)-1] + alphabet[last+1:last+2]
	}
	year := time.Now().Unix()
	cut := func(token string, part int) string {
		parts := strings.Split(token, ".")
		parts[part] = ""
		return strings.Join(parts, ".")
	}

	for _, c := range []struct {
		name   string
		url    string
		token  string
		reason jwterrors.Reason
	}{
		{"a good token, HS256", withHS, good(), ""}, // IT-06
		{"a good token, HS512", withHS512, sign(jwt.SigningMethodHS512, long, object{"alg": "HS512"}, claims()), ""},
		{"a good token, RS256", withRS, rs(rsHeader, claims()), ""},
		{"a good token, ES256", withRS, sign(jwt.SigningMethodES256, ecKey, object{"alg": "ES256", "kid": "e1"}, claims()), ""},

		// Algorithms (IT-33).
		{"alg none", withHS, unsigned("none"), jwterrors.TokenSignatureInvalid},
		{"alg None", withHS, unsigned("None"), jwterrors.TokenSignatureInvalid},
		{"alg nOnE", withHS, unsigned("nOnE"), jwterrors.TokenSignatureInvalid},
		{"alg NONE", withRS, unsigned("NONE"), jwterrors.TokenSignatureInvalid},
		{"alg empty", withHS, unsigned(""), jwterrors.TokenSignatureInvalid},
		{"alg absent", withHS, hs(object{"typ": "at+jwt"}, claims()), jwterrors.TokenSignatureInvalid},
		{"alg with a space", withHS, hs(object{"alg": "HS256 "}, claims()), jwterrors.TokenSignatureInvalid},
		{"alg in lower case", withHS, hs(object{"alg": "hs256"}, claims()), jwterrors.TokenSignatureInvalid},
		{"alg under another name", withHS, hs(object{"ALG": "HS256"}, claims()), jwterrors.TokenSignatureInvalid},
		{"alg twice", withHS, hs(`{"alg":"none","alg":"HS256"}`, claims()), jwterrors.TokenFormatInvalid},
		{"alg twice by case", withHS, hs(`{"alg":"HS256","Alg":"none"}`, claims()), jwterrors.TokenFormatInvalid},
		{"alg a number", withHS, hs(`{"alg":256}`, claims()), jwterrors.TokenFormatInvalid},
		{"alg null", withHS, hs(`{"alg":null}`, claims()), jwterrors.TokenFormatInvalid},
		{"alg none and no signature", withHS, cut(unsigned("none"), 2), jwterrors.TokenSignatureInvalid},
		{"HS512 where HS256 is", withHS, sign(jwt.SigningMethodHS512, secret, object{"alg": "HS512"}, claims()), jwterrors.TokenSignatureInvalid},
		{"HS384 where HS256 is", withHS, sign(jwt.SigningMethodHS384, secret, object{"alg": "HS384"}, claims()), jwterrors.TokenSignatureInvalid},
		{"HS256 where HS512 is", withHS512, sign(jwt.SigningMethodHS256, long, object{"alg": "HS256"}, claims()), jwterrors.TokenSignatureInvalid},
		{"HS384 where HS512 is", withHS512, sign(jwt.SigningMethodHS384, long, object{"alg": "HS384"}, claims()), jwterrors.TokenSignatureInvalid},
		{"HS256 that says HS512", withHS512, sign(jwt.SigningMethodHS256, long, object{"alg": "HS512"}, claims()), jwterrors.TokenSignatureInvalid},
		{"HS512 with a part of the secret", withHS512, sign(jwt.SigningMethodHS512, long[1:], object{"alg": "HS512"}, claims()), jwterrors.TokenSignatureInvalid},
		{"alg none where HS512 is", withHS512, unsigned("none"), jwterrors.TokenSignatureInvalid},
		{"RS256 where HS256 is", withHS, rs(rsHeader, claims()), jwterrors.TokenSignatureInvalid},
		{"HS256 with the public key as PEM", withRS, confused(spki), jwterrors.TokenSignatureInvalid},
		{"HS256 with the public key as PKCS#1", withRS, confused(pkcs1), jwterrors.TokenSignatureInvalid},
		{"HS256 with the public key as DER", withRS, confused(der), jwterrors.TokenSignatureInvalid},
		{"HS256 with the public key as JWK", withRS, confused(jwkSet(jwk(rsaPublic, nil))), jwterrors.TokenSignatureInvalid},
		{"HS384 with the public key as PEM", withRS, confusedBy(jwt.SigningMethodHS384, spki), jwterrors.TokenSignatureInvalid},
		{"HS512 with the public key as PEM", withRS, confusedBy(jwt.SigningMethodHS512, spki), jwterrors.TokenSignatureInvalid},
		{"HS512 with the public key as DER", withRS, confusedBy(jwt.SigningMethodHS512, der), jwterrors.TokenSignatureInvalid},
		{"HS256 with the modulus", withRS, confused(rsaPublic.N.Bytes()), jwterrors.TokenSignatureInvalid},
		{"PS256 with a key for RS256", withRS, sign(jwt.SigningMethodPS256, rsaKey(), rsHeader.with("alg", "PS256"), claims()), jwterrors.TokenSignatureInvalid},
		{"RS384 with a key for RS256", withRS, sign(jwt.SigningMethodRS384, rsaKey(), rsHeader.with("alg", "RS384"), claims()), jwterrors.TokenSignatureInvalid},
		{"ES256 with the kid of the RSA key", withRS, sign(jwt.SigningMethodES256, ecKey, rsHeader.with("alg", "ES256"), claims()), jwterrors.TokenSignatureInvalid},

		// Signatures (IT-33, CVE-2024-51744).
		{"another secret", withHS, sign(jwt.SigningMethodHS256, random(32), hsHeader, claims()), jwterrors.TokenSignatureInvalid},
		{"an empty secret", withHS, sign(jwt.SigningMethodHS256, []byte{}, hsHeader, claims()), jwterrors.TokenSignatureInvalid},
		{"another RSA key under the kid", withRS, sign(jwt.SigningMethodRS256, otherRSA(), rsHeader, claims()), jwterrors.TokenSignatureInvalid},
		{"another EC key under the kid", withRS, sign(jwt.SigningMethodES256, newEC(), object{"alg": "ES256", "kid": "e1"}, claims()), jwterrors.TokenSignatureInvalid},
		{"an ECDSA signature of zeros", withRS, encode(object{"alg": "ES256", "kid": "e1"}) + "." + encode(claims()) + "." + encode(make([]byte, 64)), jwterrors.TokenSignatureInvalid},
		{"no signature", withHS, cut(good(), 2), jwterrors.TokenFormatInvalid},
		{"another payload under the signature", withHS, encode(hsHeader) + "." + encode(claims().with("sub", "bob")) + good()[strings.LastIndexByte(good(), '.'):], jwterrors.TokenSignatureInvalid},
		{"forged and expired", withHS, sign(jwt.SigningMethodHS256, random(32), hsHeader, claims().with("exp", 1640086400)), jwterrors.TokenSignatureInvalid},
		{"forged and of another issuer", withHS, sign(jwt.SigningMethodHS256, random(32), hsHeader, claims().with("iss", "https://evil.example")), jwterrors.TokenSignatureInvalid},
		{"forged, with a payload that is no JSON", withHS, sign(jwt.SigningMethodHS256, random(32), hsHeader, "x"), jwterrors.TokenSignatureInvalid},

		// Spelling.
		{"stray bits in the signature", withHS, stray(good()), jwterrors.TokenFormatInvalid},
		{"padding", withHS, good() + "=", jwterrors.TokenFormatInvalid},
		{"a dot at the end", withHS, good() + ".", jwterrors.TokenFormatInvalid},
		{"a JWE", withHS, "a.b.c.d.e", jwterrors.TokenFormatInvalid},
		{"two parts", withHS, cut(good(), 2)[:len(cut(good(), 2))-1], jwterrors.TokenFormatInvalid},
		{"no header", withHS, cut(good(), 0), jwterrors.TokenFormatInvalid},
		{"no payload", withHS, cut(good(), 1), jwterrors.TokenFormatInvalid},
		{"dots", withHS, "..", jwterrors.TokenFormatInvalid},
		{"many dots", withHS, strings.Repeat(".", 200_000), jwterrors.TokenFormatInvalid},
		{"longer than the limit", withHS, hs(hsHeader, claims().with("x", strings.Repeat("x", 8192))), jwterrors.TokenFormatInvalid},

		// Headers.
		{"a header that is no JSON", withHS, hs("x", claims()), jwterrors.TokenFormatInvalid},
		{"a header that is null", withHS, hs("null", claims()), jwterrors.TokenFormatInvalid},
		{"a header that is an array", withHS, hs("[]", claims()), jwterrors.TokenFormatInvalid},
		{"two headers in one", withHS, hs(`{"alg":"HS256"}{}`, claims()), jwterrors.TokenFormatInvalid},
		{"a header that is not UTF-8", withHS, hs("{\"alg\":\"HS256\",\"x\":\"\xff\"}", claims()), jwterrors.TokenFormatInvalid},
		{"a deep header", withHS, hs(`{"alg":"HS256","x":`+strings.Repeat("[", 1000)+strings.Repeat("]", 1000)+`}`, claims()), jwterrors.TokenFormatInvalid},
		{"crit with an unknown name", withHS, hs(hsHeader.with("crit", []string{"exp"}), claims()), jwterrors.TokenFormatInvalid},
		{"crit that is empty", withHS, hs(hsHeader.with("crit", []string{}), claims()), jwterrors.TokenFormatInvalid},
		{"crit that is null", withHS, hs(`{"alg":"HS256","crit":null}`, claims()), jwterrors.TokenFormatInvalid},
		{"b64 false, critical", withHS, hs(hsHeader.with("crit", []string{"b64"}).with("b64", false), claims()), jwterrors.TokenFormatInvalid},
		{"b64 false", withHS, hs(hsHeader.with("b64", false), claims()), jwterrors.TokenFormatInvalid},
		{"enc", withHS, hs(hsHeader.with("enc", "A128GCM"), claims()), jwterrors.TokenFormatInvalid},

		// Keys.
		{"an embedded jwk", withRS, sign(jwt.SigningMethodES256, newEC(), object{"alg": "ES256", "jwk": jwk(&newEC().PublicKey, nil)}, claims()), jwterrors.TokenSignatureInvalid},
		{"jku", withRS, sign(jwt.SigningMethodRS256, otherRSA(), rsHeader.with("kid", "x").with("jku", "http://127.0.0.1:1/"), claims()), jwterrors.TokenKeyUnknown},
		{"x5u and x5c", withRS, sign(jwt.SigningMethodRS256, otherRSA(), rsHeader.with("x5u", "http://127.0.0.1:1/").with("x5c", []string{"AAAA"}), claims()), jwterrors.TokenSignatureInvalid},
		{"an unknown kid", withRS, rs(rsHeader.with("kid", "r2"), claims()), jwterrors.TokenKeyUnknown},
		{"a kid that is a path", withRS, rs(rsHeader.with("kid", "../../dev/null"), claims()), jwterrors.TokenKeyUnknown},
		{"a kid that is SQL", withRS, rs(rsHeader.with("kid", "' OR 1=1 --"), claims()), jwterrors.TokenKeyUnknown},
		{"a kid with control characters", withRS, rs(rsHeader.with("kid", "r1\x00"), claims()), jwterrors.TokenKeyUnknown},
		{"a kid with line breaks", withRS, rs(rsHeader.with("kid", "r1\r\nX: y"), claims()), jwterrors.TokenKeyUnknown},
		{"a kid in other case", withRS, rs(rsHeader.with("kid", "R1"), claims()), jwterrors.TokenKeyUnknown},
		{"a kid of 257 bytes", withRS, rs(rsHeader.with("kid", strings.Repeat("k", 257)), claims()), jwterrors.TokenKeyUnknown},
		{"a kid of 200 kB", withRS, rs(rsHeader.with("kid", strings.Repeat("k", 200_000)), claims()), jwterrors.TokenFormatInvalid},
		{"a kid that is empty", withRS, rs(rsHeader.with("kid", ""), claims()), jwterrors.TokenKeyUnknown},
		{"a kid that is a number", withRS, rs(rsHeader.with("kid", 1), claims()), jwterrors.TokenFormatInvalid},
		{"a kid that is an array", withRS, rs(rsHeader.with("kid", []string{"r1"}), claims()), jwterrors.TokenFormatInvalid},

		// Types (JG-05, JG-23).
		{"typ at+jwt in upper case", withHS, hs(object{"alg": "HS256", "typ": "AT+JWT"}, claims()), ""},
		{"typ application/at+jwt", withHS, hs(object{"alg": "HS256", "typ": "application/at+jwt"}, claims()), ""},
		{"typ JWT", withHS, hs(object{"alg": "HS256", "typ": "JWT"}, claims()), ""},
		{"no typ", withHS, hs(object{"alg": "HS256"}, claims()), ""},
		{"typ empty", withHS, hs(object{"alg": "HS256", "typ": ""}, claims()), jwterrors.TokenTypeInvalid},
		{"typ dpop+jwt", withHS, hs(object{"alg": "HS256", "typ": "dpop+jwt"}, claims()), jwterrors.TokenTypeInvalid},
		{"typ logout+jwt", withHS, hs(object{"alg": "HS256", "typ": "logout+jwt"}, claims()), jwterrors.TokenTypeInvalid},
		{"typ rt+jwt", withHS, hs(object{"alg": "HS256", "typ": "rt+jwt"}, claims()), jwterrors.TokenTypeInvalid},
		{"typ id_token+jwt", withHS, hs(object{"alg": "HS256", "typ": "id_token+jwt"}, claims()), jwterrors.TokenTypeInvalid},
		{"typ secevent+jwt", withHS, hs(object{"alg": "HS256", "typ": "secevent+jwt"}, claims()), jwterrors.TokenTypeInvalid},
		{"typ a number", withHS, hs(object{"alg": "HS256", "typ": 1}, claims()), jwterrors.TokenFormatInvalid},
		{"a refresh token, by its type", withHS, hs(hsHeader, claims().with("type", "refresh")), jwterrors.TokenTypeInvalid},
		{"a refresh token, by its type in escapes", withHS, hs(hsHeader, `{"type":"re\u0066resh"}`), jwterrors.TokenTypeInvalid},
		{"a refresh token, by its typ", withHS, hs(hsHeader, claims().with("typ", "Refresh")), jwterrors.TokenTypeInvalid},
		{"an offline token", withHS, hs(hsHeader, claims().with("typ", "Offline")), jwterrors.TokenTypeInvalid},
		{"an ID token, by its use", withHS, hs(hsHeader, claims().with("token_use", "id")), jwterrors.TokenTypeInvalid},
		{"an ID token, by at_hash", withHS, hs(hsHeader, claims().with("at_hash", "x")), jwterrors.TokenTypeInvalid},
		{"a logout token, by its event", withHS, hs(hsHeader, claims().with("events", object{"http://schemas.openid.net/event/backchannel-logout": object{}})), jwterrors.TokenTypeInvalid},
		{"an access token that says so", withHS, hs(hsHeader, claims().with("typ", "Bearer").with("token_use", "access").with("events", []string{"e"})), ""},

		// Payloads (IT-07).
		{"a payload that is null", withHS, hs(hsHeader, "null"), jwterrors.TokenPayloadInvalid},
		{"a payload that is an array", withHS, hs(hsHeader, "[]"), jwterrors.TokenPayloadInvalid},
		{"a payload that is no JSON", withHS, hs(hsHeader, "x"), jwterrors.TokenPayloadInvalid},
		{"text after the payload", withHS, hs(hsHeader, `{"iss":"i"} x`), jwterrors.TokenPayloadInvalid},
		{"a payload that is not UTF-8", withHS, hs(hsHeader, "{\"iss\":\"\xff\"}"), jwterrors.TokenPayloadInvalid},
		{"a deep payload", withHS, hs(hsHeader, `{"x":`+strings.Repeat("[", 1000)+strings.Repeat("]", 1000)+`}`), jwterrors.TokenPayloadInvalid},
		{"iss twice", withHS, hs(hsHeader, `{"iss":"https://evil.example","iss":"`+issuer+`"}`), jwterrors.TokenPayloadInvalid},
		{"ISS beside iss", withHS, hs(hsHeader, claims().with("ISS", "https://evil.example")), jwterrors.TokenPayloadInvalid},
		{"EXP in place of exp", withHS, hs(hsHeader, claims().with("exp", nil).with("EXP", year+900)), jwterrors.TokenPayloadInvalid},
		{"Scope beside scope", withHS, hs(hsHeader, claims().with("Scope", "admin")), jwterrors.TokenPayloadInvalid},
		{"Scope in place of scope", withHS, hs(hsHeader, claims().with("scope", nil).with("Scope", "admin")), jwterrors.TokenPayloadInvalid},
		{"role and Role", withHS, hs(hsHeader, claims().with("role", "user").with("Role", "admin")), jwterrors.TokenPayloadInvalid},
		{"exp absent", withHS, hs(hsHeader, claims().with("exp", nil)), jwterrors.TokenPayloadInvalid},
		{"exp null", withHS, hs(hsHeader, `{"iat":1,"exp":null}`), jwterrors.TokenPayloadInvalid},
		{"exp zero", withHS, hs(hsHeader, claims().with("exp", 0)), jwterrors.TokenPayloadInvalid},
		{"exp negative", withHS, hs(hsHeader, claims().with("exp", -1)), jwterrors.TokenPayloadInvalid},
		{"exp a string", withHS, hs(hsHeader, claims().with("exp", "9999999999")), jwterrors.TokenPayloadInvalid},
		{"exp 1e18", withHS, hs(hsHeader, `{"iat":1,"exp":1e18}`), jwterrors.TokenPayloadInvalid},
		{"exp 1e400", withHS, hs(hsHeader, `{"iat":1,"exp":1e400}`), jwterrors.TokenPayloadInvalid},
		{"iat absent", withHS, hs(hsHeader, claims().with("iat", nil)), jwterrors.TokenPayloadInvalid},
		{"iat a string", withHS, hs(hsHeader, claims().with("iat", "1")), jwterrors.TokenPayloadInvalid},
		{"nbf a bool", withHS, hs(hsHeader, claims().with("nbf", true)), jwterrors.TokenPayloadInvalid},
		{"sub a number", withHS, hs(hsHeader, claims().with("sub", 1)), jwterrors.TokenPayloadInvalid},
		{"jti null", withHS, hs(hsHeader, `{"jti":null}`), jwterrors.TokenPayloadInvalid},
		{"sid an object", withHS, hs(hsHeader, claims().with("sid", object{})), jwterrors.TokenPayloadInvalid},
		{"scope a number", withHS, hs(hsHeader, claims().with("scope", 1)), jwterrors.TokenPayloadInvalid},
		{"email a number", withHS, hs(hsHeader, claims().with("email", 1)), jwterrors.TokenPayloadInvalid},
		{"auth_time a string", withHS, hs(hsHeader, claims().with("auth_time", "1")), jwterrors.TokenPayloadInvalid},
		{"amr a number", withHS, hs(hsHeader, claims().with("amr", 1)), jwterrors.TokenPayloadInvalid},
		{"amr of numbers", withHS, hs(hsHeader, claims().with("amr", []int{1})), jwterrors.TokenPayloadInvalid},
		{"acr a number", withHS, hs(hsHeader, claims().with("acr", 1)), jwterrors.TokenPayloadInvalid},
		{"userId a number", withHS, hs(hsHeader, claims().with("userId", 1)), jwterrors.TokenPayloadInvalid},

		// Times (IT-09, IT-10, IT-31).
		{"the published token with email", withHS, hs(hsHeader, `{"email":"user@example.com","iat":1640000000,"exp":1640086400}`), jwterrors.TokenExpired},
		{"the published token with userId", withHS, hs(hsHeader, `{"userId":"user123","iat":1640000000,"exp":1640086400}`), jwterrors.TokenExpired},
		{"expired an hour ago", withHS, hs(hsHeader, claims().with("iat", year-7200).with("exp", year-3600)), jwterrors.TokenExpired},
		{"issued in an hour, by a clock that is wrong", withHS, hs(hsHeader, claims().with("iat", year+3600).with("exp", year+7200)), jwterrors.TokenNotYetValid},
		{"valid in an hour", withHS, hs(hsHeader, claims().with("nbf", year+3600).with("exp", year+7200)), jwterrors.TokenNotYetValid},
		{"valid for a year", withHS, hs(hsHeader, claims().with("iat", year).with("exp", year+365*86400)), jwterrors.TokenExpirationInvalid},
		{"valid for a second less than a year", withHS, hs(hsHeader, claims().with("iat", year).with("exp", year+365*86400-1)), ""},
		{"valid until the year 9999", withHS, hs(hsHeader, claims().with("exp", 253402300799)), jwterrors.TokenExpirationInvalid},

		// Issuer and audience.
		{"iss absent", withHS, hs(hsHeader, claims().with("iss", nil)), jwterrors.TokenIssuerInvalid},
		{"iss empty", withHS, hs(hsHeader, claims().with("iss", "")), jwterrors.TokenIssuerInvalid},
		{"iss with more", withHS, hs(hsHeader, claims().with("iss", issuer+".evil.example")), jwterrors.TokenIssuerInvalid},
		{"iss with less", withHS, hs(hsHeader, claims().with("iss", issuer[:len(issuer)-1])), jwterrors.TokenIssuerInvalid},
		{"iss with something before", withHS, hs(hsHeader, claims().with("iss", "x"+issuer)), jwterrors.TokenIssuerInvalid},
		{"iss in upper case", withHS, hs(hsHeader, claims().with("iss", strings.ToUpper(issuer))), jwterrors.TokenIssuerInvalid},
		{"iss with a slash", withHS, hs(hsHeader, claims().with("iss", issuer+"/")), jwterrors.TokenIssuerInvalid},
		{"iss an array", withHS, hs(hsHeader, claims().with("iss", []string{issuer})), jwterrors.TokenPayloadInvalid},
		{"aud absent", withHS, hs(hsHeader, claims().with("aud", nil)), jwterrors.TokenAudienceInvalid},
		{"aud empty", withHS, hs(hsHeader, claims().with("aud", "")), jwterrors.TokenAudienceInvalid},
		{"aud an empty array", withHS, hs(hsHeader, claims().with("aud", []string{})), jwterrors.TokenAudienceInvalid},
		{"aud an array of nothing", withHS, hs(hsHeader, claims().with("aud", []string{""})), jwterrors.TokenAudienceInvalid},
		{"aud of another", withHS, hs(hsHeader, claims().with("aud", "invoices")), jwterrors.TokenAudienceInvalid},
		{"aud in other case", withHS, hs(hsHeader, claims().with("aud", "Orders")), jwterrors.TokenAudienceInvalid},
		{"aud with more", withHS, hs(hsHeader, claims().with("aud", "orders invoices")), jwterrors.TokenAudienceInvalid},
		{"aud of us and another", withHS, hs(hsHeader, claims().with("aud", []string{"invoices", audience})), ""},
		{"aud a number", withHS, hs(hsHeader, claims().with("aud", 1)), jwterrors.TokenPayloadInvalid},
		{"aud an object", withHS, hs(hsHeader, claims().with("aud", object{audience: true})), jwterrors.TokenPayloadInvalid},
		{"aud nested", withHS, hs(hsHeader, claims().with("aud", []any{[]string{audience}})), jwterrors.TokenPayloadInvalid},
		{"aud null", withHS, hs(hsHeader, `{"aud":null}`), jwterrors.TokenPayloadInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			status := http.StatusUnauthorized
			if c.reason == "" {
				status = http.StatusOK
			}
			expect(t, get(t, c.url, "Bearer "+c.token), status, c.reason)
		})
	}
}

// A line break does not get through an HTTP server, but into Verify.
func TestLineBreaksInTheToken(t *testing.T) {
	token := good()
	for _, at := range []int{0, 5, len(token) - 5, len(token)} {
		for _, br := range []string{"\n", "\r", "\r\n"} {
			require.ErrorIs(t, verify(newAuth(t), token[:at]+br+token[at:]), jwterrors.TokenFormatInvalid)
		}
	}
}

// A megabyte of dots costs no more than a look at its length. (CVE-2025-30204)
func TestALongTokenIsRefusedUnread(t *testing.T) {
	auth, dots := newAuth(t), "Bearer "+strings.Repeat(".", 1<<20)
	r := request(dots)
	allocated := testing.AllocsPerRun(10, func() {
		_, err := auth.Check(r)
		assert.ErrorIs(t, err, jwterrors.TokenFormatInvalid)
	})
	assert.Less(t, allocated, 40.0)
	require.NoError(t, verify(newAuth(t, func(c *middleware.Config) { c.MaxTokenBytes = len(good()) }), good()))
	require.ErrorIs(t, verify(newAuth(t, func(c *middleware.Config) { c.MaxTokenBytes = len(good()) - 1 }), good()), jwterrors.TokenFormatInvalid)
}
