package middleware_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tokenloop/tokenloop/middleware"
)

// explainNow is the time of the examples of Explain.
var explainNow = time.Date(2027, 1, 15, 8, 0, 0, 0, time.UTC)

// explainAuth verifies tokens at explainNow.
func explainAuth() *middleware.Middleware {
	auth, err := middleware.New(middleware.Config{
		Keys:     middleware.HS256(exampleSecret),
		Issuer:   "https://id.example.com",
		Audience: []string{"orders"},
		Now:      func() time.Time { return explainNow },
	})
	if err != nil {
		log.Fatal(err)
	}
	return auth
}

// staleToken is one that has expired and was for another service.
func staleToken() string {
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss": "https://id.example.com", "aud": "invoices", "sub": "alice",
		"iat": explainNow.Add(-20 * time.Minute).Unix(), "exp": explainNow.Add(-5 * time.Minute).Unix(),
	}).SignedString(exampleSecret)
	if err != nil {
		log.Fatal(err)
	}
	return token
}

func ExampleMiddleware_Explain() {
	e := explainAuth().Explain(context.Background(), staleToken())
	fmt.Println(e.Reason)
	for _, c := range e.Checks {
		if c.Verdict == "failed" {
			fmt.Printf("%s: expected %s, found %s\n", c.Name, c.Expected, c.Found)
		}
	}
	// Output:
	// AUTH_TOKEN_EXPIRED
	// expiry: expected "exp" less than 30s ago, found 2027-01-15T07:55:00Z, 5m0s ago
	// audience: expected one of "orders", found "invoices"
}

func ExampleExplanation_String() {
	fmt.Print(explainAuth().Explain(context.Background(), staleToken()))
	// Output:
	// refused: AUTH_TOKEN_EXPIRED: The token has expired.
	//
	// CHECK       VERDICT      REASON                       EXPECTED                                                     FOUND
	// length      passed       -                            at most 8192 bytes                                           211 bytes
	// format      passed       -                            three parts of base64url, with dots between them             three
	// resolve     not checked  -                            -                                                            (there is no Resolve)
	// header      passed       -                            an unambiguous JSON object with alg, typ and kid as strings  one
	// algorithm   passed       -                            HS256                                                        "HS256"
	// type        passed       -                            "at+jwt", "jwt" or none                                      "JWT"
	// key name    passed       -                            none, or 1 to 256 bytes without control characters           none
	// extensions  passed       -                            none                                                         none
	// signed      passed       -                            a signature                                                  one
	// key         passed       -                            a key for HS256 of "https://id.example.com"                  a key without a name for HS256
	// signature   passed       -                            made with the key                                            it was
	// payload     passed       -                            an unambiguous JSON object with claims of the right types    one
	// kind        passed       -                            an access token                                              nothing else
	// required    not checked  -                            -                                                            (there are no RequiredClaims)
	// dates       passed       -                            "exp" and "iat"                                              both
	// lifetime    passed       -                            less than 8760h0m0s                                          15m0s
	// expiry      failed       AUTH_TOKEN_EXPIRED           "exp" less than 30s ago                                      2027-01-15T07:55:00Z, 5m0s ago
	// start       not checked  -                            -                                                            (there is no "nbf")
	// issue       passed       -                            "iat" in 30s at most                                         2027-01-15T07:40:00Z, 20m0s ago
	// issuer      passed       -                            "https://id.example.com"                                     "https://id.example.com"
	// audience    failed       AUTH_TOKEN_AUDIENCE_INVALID  one of "orders"                                              "invoices"
	// possession  not checked  -                            -                                                            (the token is bound to nothing)
	// user key    not checked  -                            -                                                            (there is no UserKey)
	// revocation  not checked  -                            -                                                            (there are no Revocations)
	// own check   not checked  -                            -                                                            (there is no Validate)
	//
	// THE TOKEN SAYS
	// alg  HS256
	// typ  JWT
	// iss  https://id.example.com
	// aud  invoices
	// sub  alice
	// iat  2027-01-15T07:40:00Z
	// exp  2027-01-15T07:55:00Z
	//
	// checked at      2027-01-15T08:00:00Z
	// skew tolerated  30s
	// lifetime        15m0s
	// expired         5m0s ago
}
