package conformance

import (
	"testing"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

func TestRFC8037(t *testing.T) {
	const token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
	check(t, time.Now(), []vector{
		{"A.4, Ed25519", set(ed8037.public()), token, true, jwterrors.TokenPayloadInvalid, noClaims},
		{"A.4, where the key is for X25519", set(x8037.public("x", ed8037["x"])), token, false, jwterrors.KeysUnavailable, "a set without a key for signatures is no set"},
		{"A.4, where the key is that of A.6", set(ed8037.public("x", x8037["x"])), token, false, jwterrors.TokenSignatureInvalid, "another key"},
	})
}
