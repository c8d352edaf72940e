package conformance

import (
	"strings"
	"testing"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
)

// The claims of RFC 7515, Appendix A.1 to A.3, and of RFC 7519, Section 3.1.
const joe = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"

// inTimeForJoe is a second before they expire.
var inTimeForJoe = time.Unix(1300819379, 0)

const (
	noIAT     = `the signature is good, and "iat" is missing, which an access token must have (RFC 9068, Section 2.2)`
	noClaims  = "the signature is good, and the payload is no set of claims"
	unsecured = "nobody has signed it, and no configuration allows that"
	json7515  = "a JWT is a compact JWS (RFC 7519, Section 1), and so is a bearer token"
)

// The signatures of the claims by A.2 and A.3, which A.6 and A.7 have as well.
const (
	signatureA2 = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
	signatureA3 = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
)

func TestRFC7515(t *testing.T) {
	secret := middleware.HS256(hmac7515.bytes("k"))
	a2 := "eyJhbGciOiJSUzI1NiJ9." + joe + "." + signatureA2
	a3 := "eyJhbGciOiJFUzI1NiJ9." + joe + "." + signatureA3
	first := `{"protected":"eyJhbGciOiJSUzI1NiJ9","header":{"kid":"2010-12-29"},"signature":"` + signatureA2 + `"}`
	second := `{"protected":"eyJhbGciOiJFUzI1NiJ9","header":{"kid":"e9bc097a-ce51-4036-9562-d2ade882db0d"},"signature":"` + signatureA3 + `"}`
	both := set(rsa7515.public("kid", "2010-12-29"), p256of7515.public("kid", "e9bc097a-ce51-4036-9562-d2ade882db0d"))

	check(t, inTimeForJoe, []vector{
		{"3.3 and A.1, HS256", secret, "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." + joe + ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
			true, jwterrors.TokenPayloadInvalid, noIAT},
		{"A.2, RS256", set(rsa7515.public()), a2, true, jwterrors.TokenPayloadInvalid, noIAT},
		{"A.3, ES256", set(p256of7515.public()), a3, true, jwterrors.TokenPayloadInvalid, noIAT},
		{"A.2 and A.3, of a set with the keys of both", both, a2, true, jwterrors.TokenPayloadInvalid, noIAT},
		{"A.3, with the key of A.2", set(rsa7515.public()), a3, false, jwterrors.TokenKeyUnknown, "no key of the set is for ES256, and the token names none"},
		{"A.2, with the secret of A.1", secret, a2, false, jwterrors.TokenSignatureInvalid, "a secret is not for RS256"},
		{"A.4, ES512", set(p521of7515.public()),
			"eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn",
			true, jwterrors.TokenPayloadInvalid, noClaims},
		{"A.5, none", secret, "eyJhbGciOiJub25lIn0." + joe + ".", true, jwterrors.TokenSignatureInvalid, unsecured},
		{"A.6, two signatures in JSON", both, `{"payload":"` + joe + `","signatures":[` + first + "," + second + `]}`,
			true, jwterrors.TokenFormatInvalid, json7515},
		{"A.7, flattened", both, `{"payload":"` + joe + `",` + strings.TrimPrefix(second, "{"), true, jwterrors.TokenFormatInvalid, json7515},
		{"E, an extension that is critical and unknown", secret,
			"eyJhbGciOiJub25lIiwNCiAiY3JpdCI6WyJodHRwOi8vZXhhbXBsZS5jb20vVU5ERUZJTkVEIl0sDQogImh0dHA6Ly9leGFtcGxlLmNvbS9VTkRFRklORUQiOnRydWUNCn0.RkFJTA.",
			false, jwterrors.TokenSignatureInvalid, "the algorithm is looked at before the extension, and is none"},
		{"F, detached content", secret, "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9..dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
			true, jwterrors.TokenFormatInvalid, "where the content is, both sides must have agreed on, and we have not"},
	})
}
