package conformance

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
)

// Short names of the reasons, for the tables.
const (
	accepted  jwterrors.Reason = ""
	format                     = jwterrors.TokenFormatInvalid
	signature                  = jwterrors.TokenSignatureInvalid
	unknown                    = jwterrors.TokenKeyUnknown
	typ                        = jwterrors.TokenTypeInvalid
	payload                    = jwterrors.TokenPayloadInvalid
	noKeys                     = jwterrors.KeysUnavailable
)

// A line of the corpus: a token, and what must become of it.
type line struct {
	name   string
	token  string
	reason jwterrors.Reason
}

// Every way to spoil a token, for every algorithm that there is.
func TestTokens(t *testing.T) {
	var asked atomic.Int32
	trap := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer trap.Close()
	total := 0
	for _, a := range algorithms() {
		config := middleware.Config{Keys: a.keys, Issuer: "joe", Audience: []string{"orders"}}
		seen := map[string]bool{}
		for _, lines := range [][]line{
			spellings(a), parts(a), headers(a), algorithmNames(a), keyNames(a), foreignKeys(a, trap.URL), payloads(a), signatures(a),
		} {
			for _, l := range lines {
				assert.False(t, seen[l.name], "%s is there twice", l.name)
				seen[l.name] = true
				total++
				t.Run(a.name+": "+l.name, func(t *testing.T) {
					got, err := judge(t, config, l.token)
					assert.Equal(t, l.reason, got, "%v", err)
				})
			}
		}
	}
	assert.Zero(t, asked.Load(), "an address in a token was asked for a key")
	assert.Greater(t, total, 12_000, "the corpus has become smaller")
}

// spellings are those of a good token.
func spellings(a *algorithm) []line {
	lines := []line{
		{"a good token", a.token(a.header(), claims()), accepted},
		{"white space in the JSON", a.token(" {\r\n\t\"alg\" : \""+a.name+"\" ,\n\"kid\":\""+a.name+"\" } ", " "+toJSON(claims())+"\r\n"), accepted},
		{"escapes in the header", a.token(`{"\u0061lg":"`+a.name[:1]+fmt.Sprintf(`\u%04x`, a.name[1])+a.name[2:]+`","kid":"`+a.name+`"}`, claims()), accepted},
		{"members in another order", a.token(`{"typ":"JWT","kid":"`+a.name+`","alg":"`+a.name+`"}`, claims()), accepted},
	}
	// Three lengths of each, so that all forms of a last group are there.
	for n := range 3 {
		pad := strings.Repeat(" ", n)
		input := b64(toJSON(a.header())+pad) + "." + b64(toJSON(claims("x", "???>>>~~~"))+pad)
		segments := append(strings.Split(input, "."), b64(a.sign(input)))
		good := strings.Join(segments, ".")
		lines = append(lines, line{fmt.Sprintf("length %d", n), good, accepted})
		for i, part := range []string{"header", "payload", "signature"} {
			spoil := func(name, segment string, reason jwterrors.Reason) {
				if segment == segments[i] {
					return
				}
				// What is signed is the text, as a careless signer would.
				spoilt := slices.Clone(segments)
				if spoilt[i] = segment; i < 2 {
					spoilt[2] = b64(a.sign(spoilt[0] + "." + spoilt[1]))
				}
				lines = append(lines, line{fmt.Sprintf("%s of length %d, %s", part, n, name), strings.Join(spoilt, "."), reason})
			}
			data := unb64(segments[i])
			spoil("with padding", base64.URLEncoding.EncodeToString(data), format)
			spoil("with too much padding", segments[i]+"====", format)
			spoil("in the standard alphabet", base64.RawStdEncoding.EncodeToString(data), format)
			spoil("with stray bits", stray(segments[i]), format)
			spoil("of a length that no encoder writes", segments[i]+strings.Repeat("A", (5-len(segments[i])%4)%4), format)
			for _, c := range []string{"\n", "\r", "\r\n", " ", "\t", "\x00", "\x0b", "\u00a0", "\u2028", "?", "*", "/", "+", "%2e", "\xff", "\ufeff", "Ａ"} {
				at := len(segments[i]) / 2
				spoil(fmt.Sprintf("with %+q at its beginning", c), c+segments[i], format)
				spoil(fmt.Sprintf("with %+q inside", c), segments[i][:at]+c+segments[i][at:], format)
				spoil(fmt.Sprintf("with %+q at its end", c), segments[i]+c, format)
			}
		}
	}
	return lines
}

// stray returns a segment with other bits at its end, where there are any that
// mean nothing.
func stray(segment string) string {
	if len(segment)%4 == 0 {
		return segment
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, segment[len(segment)-1])
	return segment[:len(segment)-1] + alphabet[last+1:last+2]
}

// parts are missing, empty, too many, or put together in another way.
func parts(a *algorithm) []line {
	token := a.token(a.header(), claims())
	p := strings.Split(token, ".")
	member := func(name, value string) string { return `"` + name + `":"` + value + `",` }
	empty := b64(a.sign(p[0] + "."))
	lines := []line{
		{"in JSON, flattened", "{" + member("payload", p[1]) + member("protected", p[0]) + `"signature":"` + p[2] + `"}`, format},
		{"in JSON, general", "{" + member("payload", p[1]) + `"signatures":[{` + member("protected", p[0]) + `"signature":"` + p[2] + `"}]}`, format},
		{"in JSON, in quotes", `"` + token + `"`, format},
		{"detached", p[0] + ".." + p[2], format},
		{"detached, and signed so", p[0] + ".." + empty, format},
		{"signed without a header", "." + p[1] + "." + b64(a.sign("."+p[1])), format},
		{"signed in its decoded form", p[0] + "." + p[1] + "." + b64(a.sign(string(unb64(p[0]))+"."+string(unb64(p[1])))), signature},
		{"signed without the dot", p[0] + "." + p[1] + "." + b64(a.sign(p[0]+p[1])), signature},
		{"header and payload changed places", p[1] + "." + p[0] + "." + b64(a.sign(p[1]+"."+p[0])), signature},
		{"a token in a token", a.token(a.header("cty", "JWT"), token), payload},
		{"five parts", token + "." + p[0] + "." + p[1], format},
	}
	for name, t := range map[string]string{
		"nothing": "", "a dot": ".", "two dots": "..", "three dots": "...", "header": p[0], "header and dot": p[0] + ".",
		"two parts": p[0] + "." + p[1], "no signature": p[0] + "." + p[1] + ".", "no header": "." + p[1] + "." + p[2],
		"no payload": p[0] + ".." + p[2], "signature": ".." + p[2], "a dot at the beginning": "." + token, "a dot at the end": token + ".",
		"a fourth part": token + ".AAAA", "the token twice": token + "." + token, "space": " ", "many dots": strings.Repeat(".", 8000),
	} {
		lines = append(lines, line{"parts: " + name, t, format})
	}
	return lines
}

// headers are JSON that is ambiguous, or changes how a token is to be read.
func headers(a *algorithm) []line {
	full := toJSON(a.header())
	with := func(more string) string { return full[:len(full)-1] + "," + more + "}" }
	var lines []line
	for _, h := range []struct {
		name, header string
		reason       jwterrors.Reason
	}{
		{"a member that nobody knows", with(`"x":{"y":[1,null,true,"z"]}`), accepted},
		{"cty", with(`"cty":"JWT"`), accepted},
		{"zip, which is for JWE", with(`"zip":"DEF"`), accepted},
		{"iss, sub and aud, which are for JWE", with(`"iss":"mallory","sub":"bob","aud":"invoices"`), accepted},
		{"alg twice", with(`"alg":"` + a.name + `"`), format},
		{"alg twice, the other one none", with(`"alg":"none"`), format},
		{"alg twice, in escapes", with(`"\u0061lg":"none"`), format},
		{"alg twice, in another case", with(`"Alg":"none"`), format},
		{"kid twice", with(`"kid":"` + a.name + `"`), format},
		{"kid twice, in another case", with(`"KID":"x"`), format},
		{"kid twice, with the sign for Kelvin", with(`"\u212aid":"x"`), format},
		{"typ twice", with(`"typ":"at+jwt"`), format},
		{"something unknown twice", with(`"x":1,"x":2`), format},
		{"something twice further in", with(`"x":{"y":1,"y":2}`), format},
		{"crit, unknown", with(`"crit":["x"],"x":1`), format},
		{"crit, of what is missing", with(`"crit":["x"]`), format},
		{"crit, of what is registered", with(`"crit":["alg"]`), format},
		{"crit, of exp", with(`"crit":["exp"],"exp":1`), format},
		{"crit, empty", with(`"crit":[]`), format},
		{"crit, null", with(`"crit":null`), format},
		{"crit, a string", with(`"crit":"x"`), format},
		{"crit, of b64, true", with(`"crit":["b64"],"b64":true`), format},
		{"crit, of b64, false", with(`"crit":["b64"],"b64":false`), format},
		{"b64, false", with(`"b64":false`), format},
		{"b64, true", with(`"b64":true`), format},
		{"enc", with(`"enc":"A128GCM"`), format},
		{"nothing but an algorithm, where there are several keys", `{"alg":"` + a.name + `"}`, accepted},
		{"a byte order mark", "\ufeff" + full, format},
		{"bytes that are not UTF-8", with("\"x\":\"\xff\""), format},
		{"a comment", with(`/**/"x":1`), format},
		{"a comma at the end", full[:len(full)-1] + ",}", format},
		{"single quotes", strings.ReplaceAll(full, `"`, `'`), format},
		{"NaN", with(`"x":NaN`), format},
		{"a line break in a string", with("\"x\":\"\n\""), format},
		{"half a surrogate in a value", with(`"x":"\ud800"`), accepted},
		{"something behind it", full + "x", format},
		{"another object behind it", full + "{}", format},
		{"NUL behind it", full + "\x00", format},
		{"half of it", full[:len(full)/2], format},
		{"an array", "[" + full + "]", format},
		{"a string", toJSON(full), format},
		{"null", "null", format},
		{"true", "true", format},
		{"a number", "1", format},
		{"an empty object", "{}", signature},
		{"sixteen levels", with(`"x":` + strings.Repeat("[", 15) + strings.Repeat("]", 15)), accepted},
		{"seventeen levels", with(`"x":` + strings.Repeat("[", 16) + strings.Repeat("]", 16)), format},
		{"forty members", with(`"m":0` + func() (s string) {
			for n := range 40 {
				s += fmt.Sprintf(`,"m%d":0`, n)
			}
			return s
		}()), format},
		{"two kilobytes", with(`"x":"` + strings.Repeat("x", 2048) + `"`), format},
		{"typ JWT", toJSON(a.header("typ", "JWT")), accepted},
		{"typ jwt", toJSON(a.header("typ", "jwt")), accepted},
		{"typ application/at+jwt", toJSON(a.header("typ", "application/at+jwt")), accepted},
		{"typ application/JWT", toJSON(a.header("typ", "application/JWT")), accepted},
		{"typ dpop+jwt", toJSON(a.header("typ", "dpop+jwt")), typ},
		{"typ logout+jwt", toJSON(a.header("typ", "logout+jwt")), typ},
		{"typ JOSE", toJSON(a.header("typ", "JOSE")), typ},
		{"typ JOSE+JSON", toJSON(a.header("typ", "JOSE+JSON")), typ},
		{"typ at+jwt and a space", toJSON(a.header("typ", "at+jwt ")), typ},
		{"typ empty", toJSON(a.header("typ", "")), typ},
		{"typ null", toJSON(a.header("typ", nil)), format},
		{"typ an array", toJSON(a.header("typ", []string{"at+jwt"})), format},
	} {
		lines = append(lines, line{"header: " + h.name, a.token(h.header, claims()), h.reason})
	}
	return lines
}

// algorithmNames are what a header says of its algorithm.
func algorithmNames(a *algorithm) []line {
	var lines []line
	for _, name := range []string{
		"none", "None", "NONE", "nOnE", "none ", " none", "none\x00", "ɴone", "", " ", "null", "undefined", "HS256 ", "hs256", "HS1", "HS", "RS1", "RSA1_5", "dir",
		"A128KW", "ES256K", "Ed448", "ESP256", "ML-DSA-44", "RSA", "EC", "SHA256", "HMAC", "*", "../none", "ES521",
	} {
		lines = append(lines,
			line{fmt.Sprintf("alg %q", name), a.token(a.header("alg", name), claims()), signature},
			line{fmt.Sprintf("alg %q, no signature", name), sealed(a.header("alg", name), claims(), func(string) []byte { return nil }), signature},
		)
	}
	for _, value := range []any{nil, 256, true, []string{a.name}, jwk{"alg": a.name}} {
		lines = append(lines, line{fmt.Sprintf("alg %v", value), a.token(a.header("alg", value), claims()), format})
	}
	for _, other := range algorithms() {
		if other.name != a.name {
			lines = append(lines,
				line{"alg " + other.name, a.token(a.header("alg", other.name), claims()), signature},
				line{"alg " + other.name + ", signed so", other.token(a.header("alg", other.name), claims()), signature},
				line{"signed with " + other.name, sealed(a.header(), claims(), other.sign), signature},
			)
		}
	}
	if a.key == nil {
		return append(lines, line{"a part of the secret", sealed(a.header(), claims(), func(input string) []byte {
			return mac(a.hash, a.secret[1:], input) // HMAC fills up what lacks at the end
		}), signature})
	}
	// What everybody knows of the key, as a secret.
	der := must(x509.MarshalPKIXPublicKey(a.key.Public()))
	published := publicJWK(a.key.Public(), jwk{"kid": a.name, "alg": a.name, "use": "sig"})
	known := map[string][]byte{
		"DER": der, "PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}),
		"PEM without its last line break": bytes.TrimSpace(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
		"base64":                          []byte(base64.StdEncoding.EncodeToString(der)), "JWK": []byte(toJSON(published)),
		"JWK Set": []byte(toJSON(map[string]any{"keys": []jwk{published}})), "nothing": {}, "kid": []byte(a.name), "NUL": {0},
	}
	for _, name := range []string{"n", "e", "x", "y"} {
		if published[name] != nil {
			known[name], known[name+" in base64"] = published.bytes(name), []byte(published[name].(string))
		}
	}
	if k, ok := a.key.Public().(*rsa.PublicKey); ok {
		known["PKCS #1"] = x509.MarshalPKCS1PublicKey(k)
	}
	for what, secret := range known {
		for name, hash := range map[string]crypto.Hash{"HS256": crypto.SHA256, "HS384": crypto.SHA384, "HS512": crypto.SHA512} {
			lines = append(lines, line{name + " with the public key: " + what, sealed(a.header("alg", name), claims(), func(input string) []byte {
				return mac(hash, secret, input)
			}), signature})
		}
	}
	return lines
}

// keyNames are what a header says of its key. A secret has no name, so that one
// which could be a name is as good as another.
func keyNames(a *algorithm) []line {
	other := unknown
	if a.key == nil {
		other = accepted
	}
	lines := []line{{"no kid, and one key of the algorithm", a.token(jwk{"alg": a.name}, claims()), accepted}}
	for _, of := range algorithms() {
		reason := signature
		switch {
		case a.key == nil || of == a:
			reason = accepted
		case of.key == nil: // which has no name in the set
			reason = unknown
		}
		lines = append(lines, line{"kid of " + of.name, a.token(a.header("kid", of.name), claims()), reason})
	}
	for _, kid := range []string{
		strings.ToLower(a.name), a.name + " ", " " + a.name, a.name + "/", a.name + "?x", a.name + "\u2028", "../../../dev/null", "/dev/null", "file:///dev/null",
		"..\\..\\nul", "' OR '1'='1", "x' UNION SELECT 'key' --", "$(id)", "`id`", "|id", "%00", "%n%s", "{{7*7}}", "${jndi:ldap://127.0.0.1/}", "<script>",
		"__proto__", "constructor", "toString", "hasOwnProperty", "0", "-1", "null", "undefined", "true", "*", ".*", "\u0000x"[1:], "\U0001F511", strings.Repeat("k", 256),
	} {
		lines = append(lines, line{fmt.Sprintf("kid %+.40q, %d bytes", kid, len(kid)), a.token(a.header("kid", kid), claims()), other})
	}
	for _, kid := range []string{"", a.name + "\x00", "\x00", a.name + "\r\nX: y", "\n", "\x1b[31m", "\x7f", strings.Repeat("k", 257)} {
		lines = append(lines, line{fmt.Sprintf("kid %+.40q, %d bytes", kid, len(kid)), a.token(a.header("kid", kid), claims()), unknown})
	}
	for _, kid := range []any{nil, 0, 1.5, true, []string{a.name}, jwk{"kid": a.name}} {
		lines = append(lines, line{fmt.Sprintf("kid %T %v", kid, kid), a.token(a.header("kid", kid), claims()), format})
	}
	return lines
}

// foreignKeys bring a key with them, or say where it is.
func foreignKeys(a *algorithm, trap string) []line {
	mallory := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	sign := func(input string) []byte {
		return (&algorithm{name: "ES256", hash: crypto.SHA256, key: mallory}).sign(input)
	}
	own := publicJWK(&mallory.PublicKey, jwk{"alg": "ES256"})
	certificate := b64("a certificate")
	var lines []line
	for name, more := range map[string][]any{
		"jwk": {"jwk", own}, "jwk with the kid": {"jwk", own.public("kid", a.name)}, "jwk, a secret": {"jwk", jwk{"kty": "oct", "k": b64("secret")}},
		"jku": {"jku", trap}, "jku and jwk": {"jku", trap, "jwk", own}, "x5u": {"x5u", trap}, "x5c": {"x5c", []string{certificate}},
		"x5t": {"x5t", certificate}, "x5t#S256": {"x5t#S256", certificate}, "kid, an address": {"kid", trap}, "iss": {"iss", trap},
		"jwks_uri": {"jwks_uri", trap}, "jwk null": {"jwk", nil},
	} {
		// Mallory signs under the name of the key, and under a name that nobody knows.
		known, strange := signature, unknown
		if a.key == nil { // no secret is for ES256
			strange = signature
		} else if name == "kid, an address" {
			known = unknown
		}
		as := append([]any{"alg", "ES256", "kid", "mallory"}, more...)
		lines = append(lines,
			line{"brings " + name, sealed(a.header(more...), claims(), sign), known},
			line{"brings " + name + ", as ES256", sealed(a.header(as...), claims(), sign), strange},
		)
	}
	return lines
}

// payloads are claims that are ambiguous, or none.
func payloads(a *algorithm) []line {
	full := toJSON(claims())
	with := func(more string) string { return full[:len(full)-1] + "," + more + "}" }
	var lines []line
	for _, p := range []struct {
		name, payload string
		reason        jwterrors.Reason
	}{
		{"more claims", with(`"roles":["a"],"x":{"y":1}`), accepted},
		{"iss twice", with(`"iss":"joe"`), payload},
		{"iss twice, in escapes", with(`"\u0069ss":"mallory"`), payload},
		{"iss twice, in another case", with(`"ISS":"mallory"`), payload},
		{"exp twice", with(`"exp":9999999999`), payload},
		{"sub twice, with a long s", with(`"\u017fub":"bob"`), payload},
		{"something twice", with(`"x":1,"x":2`), payload},
		{"something twice further in", with(`"x":{"y":1,"y":2}`), payload},
		{"a byte order mark", "\ufeff" + full, payload},
		{"bytes that are not UTF-8", with("\"x\":\"\xff\""), payload},
		{"something behind it", full + "x", payload},
		{"another object behind it", full + "{}", payload},
		{"NUL behind it", full + "\x00", payload},
		{"an array", "[" + full + "]", payload},
		{"a string", toJSON(full), payload},
		{"null", "null", payload},
		{"a number", "1", payload},
		{"text", "text", payload},
		{"an empty object", "{}", payload},
		{"exp as a string", toJSON(claims("exp", "9999999999")), payload},
		{"exp null", toJSON(claims("exp", nil)), payload},
		{"exp as an object", toJSON(claims("exp", jwk{})), payload},
		{"exp with a fraction", strings.Replace(full, `"iat"`, `"x":1.5e0,"iat"`, 1), accepted},
		{"exp too large", strings.Replace(full, `"exp":`, `"exp":1e400,"e":`, 1), payload},
		{"exp negative", toJSON(claims("exp", -1)), payload},
		{"exp past", toJSON(claims("iat", 1300819300, "exp", 1300819380)), jwterrors.TokenExpired},
		{"exp in a thousand years", toJSON(claims("exp", 33000000000)), jwterrors.TokenExpirationInvalid},
		{"nbf in the future", toJSON(claims("nbf", 33000000000)), jwterrors.TokenNotYetValid},
		{"iss of another", toJSON(claims("iss", "mallory")), jwterrors.TokenIssuerInvalid},
		{"iss as an array", toJSON(claims("iss", []string{"joe"})), payload},
		{"aud of another", toJSON(claims("aud", "invoices")), jwterrors.TokenAudienceInvalid},
		{"aud of several", toJSON(claims("aud", []string{"invoices", "orders"})), accepted},
		{"aud as an object", toJSON(claims("aud", jwk{"orders": 1})), payload},
	} {
		lines = append(lines, line{"payload: " + p.name, a.token(a.header(), p.payload), p.reason})
	}
	return lines
}
