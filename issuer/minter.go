package issuer

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/jws"
)

// defaultMaxReused is how many tokens a Minter keeps for reuse, unless told
// otherwise.
const defaultMaxReused = 10_000

// A MinterConfig describes a Minter. Secrets or Key is required, and only one.
// Printed it shows no secret.
type MinterConfig struct {
	// Secrets are for HS256, 32 random bytes or more each (RFC 7518, Section
	// 3.2). The first one signs. To rotate, append the new one to the secrets
	// of the verifiers, move it to the front here, and drop the old one
	// everywhere when TTL has passed.
	Secrets [][]byte `json:"-"`

	// Key signs instead of a secret: for verifiers that have public keys. Its
	// kid is in the header then.
	Key *Key

	// TTL is the lifetime of a token, in whole seconds, and less than a year.
	// Zero means 15 minutes.
	TTL time.Duration

	// Claims are signed into every token besides: "iss" and "aud" for a
	// verifier that wants them, for example. Names that a Minter sets itself
	// are refused, in any case: email, userId, iat, exp and jti.
	Claims map[string]any

	// Reuse lets Mint return the token of an earlier call for the same user
	// for so long after it was made, which saves signing for who asks often.
	// A token that is given twice is one token: who revokes it, revokes both.
	// It must be a second shorter than TTL at least; half of it leaves every
	// token half of its life. Zero means that every call makes a new token.
	Reuse time.Duration

	// MaxReused limits the tokens that are kept for Reuse. When there are more
	// users, the older half is forgotten, and their next tokens are new. A
	// token takes less than 512 bytes beyond Claims, when its user has a name
	// of the usual length, and 4 KB at most. Zero means 10,000.
	MaxReused int

	// Now is the clock. Nil means time.Now.
	Now func() time.Time
}

func (c MinterConfig) text() string {
	return fmt.Sprintf("minter with %d secrets and a TTL of %v", len(c.Secrets), c.TTL)
}

// Format names what is no secret, for every verb and flag.
func (c MinterConfig) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(c.text())) }

// LogValue returns what Format writes.
func (c MinterConfig) LogValue() slog.Value { return slog.StringValue(c.text()) }

// A Minter makes tokens without a session, such as the ones that go with a
// JWT-enabled API key: {"email" or "userId", "iat", "exp"}, signed with HS256. It
// asks nobody who the user is: the route that calls it is to be authenticated and
// limited, and the secret stays on the server. It is safe for concurrent use.
type Minter struct {
	key    Key
	ttl    int64  // in seconds
	fixed  []byte // ",...}": the end of every payload
	reuse  time.Duration
	reused *reused
	now    func() time.Time
}

// An Identity is whom a token is for. Make one with Email or UserID: a token
// names its user in one way. The zero Identity is nobody, and refused.
type Identity struct{ claim, value string }

// Email is the user with that address: the claim "email".
func Email(address string) Identity { return Identity{"email", address} }

// UserID is the user with that id: the claim "userId".
func UserID(id string) Identity { return Identity{"userId", id} }

// maxIdentity limits an Email or a UserID, in bytes.
const maxIdentity = 1024

// NewMinter returns a Minter, or all the mistakes in c at once.
func NewMinter(c MinterConfig) (*Minter, error) {
	var mistakes []error
	wrong := func(format string, args ...any) {
		mistakes = append(mistakes, fmt.Errorf("issuer: "+format, args...))
	}
	c.TTL = orDefault(c.TTL, DefaultAccessTTL)
	c.MaxReused = orDefault(c.MaxReused, defaultMaxReused)
	m := &Minter{ttl: int64(c.TTL / time.Second), reuse: c.Reuse, now: c.Now}
	switch {
	case len(c.Secrets) == 0 && c.Key == nil:
		wrong("MinterConfig.Secrets or Key is required")
	case len(c.Secrets) > 0 && c.Key != nil:
		wrong("MinterConfig has Secrets and Key; which one signs?")
	}
	for n, secret := range c.Secrets {
		key, err := NewSecretKey(secret)
		switch {
		case err != nil:
			wrong("MinterConfig.Secrets[%d] has %d bytes; it needs at least %d", n, len(secret), minSecret)
		case n == 0:
			m.key = *key
			m.key.header = encodeHeader(`{"alg":"HS256","typ":"JWT"}`)
		}
	}
	if c.Key != nil {
		m.key = *c.Key.typed("JWT")
	}
	switch {
	case c.TTL < time.Second || c.TTL%time.Second != 0:
		wrong("MinterConfig.TTL is %v; it is a whole number of seconds", c.TTL)
	case c.TTL >= maxAccessTTL:
		wrong("MinterConfig.TTL is %v; it must be less than a year", c.TTL)
	}
	if c.Reuse < 0 || c.Reuse > 0 && c.Reuse > c.TTL-time.Second {
		wrong("MinterConfig.Reuse is %v; it is not negative, and a second shorter than TTL, %v, at least", c.Reuse, c.TTL)
	}
	if c.MaxReused < 2 {
		wrong("MinterConfig.MaxReused is %d; it is 2 at least", c.MaxReused)
	}
	var err error
	if m.fixed, err = fixedClaims(c.Claims); err != nil {
		wrong("MinterConfig.Claims: %w", err)
	} else if base64.RawURLEncoding.EncodedLen(len(m.fixed)) > maxToken {
		wrong("MinterConfig.Claims has %d bytes, and readers take tokens of %d", len(m.fixed), maxToken)
	}
	if m.now == nil {
		m.now = time.Now
	}
	if len(mistakes) > 0 {
		return nil, errors.Join(mistakes...)
	}
	if c.Reuse > 0 {
		m.reused = &reused{max: c.MaxReused}
	}
	return m, nil
}

func encodeHeader(header string) string { return base64.RawURLEncoding.EncodeToString([]byte(header)) }

// fixedClaims returns the end of a payload.
func fixedClaims(claims map[string]any) ([]byte, error) {
	for name := range claims {
		if slices.ContainsFunc([]string{"email", "userId", "iat", "exp", "jti"}, func(own string) bool { return strings.EqualFold(name, own) }) {
			return nil, fmt.Errorf("%q is set by the Minter, or by nobody", name)
		}
	}
	if len(claims) == 0 {
		return []byte("}"), nil
	}
	data, err := json.Marshal(claims)
	if err != nil {
		return nil, err
	}
	if _, err := jws.ParseClaims(data); err != nil {
		return nil, fmt.Errorf("read them back: %w", err)
	}
	data[0] = ','
	return data, nil
}

// Mint returns a token for the user, and when it expires is TTL from now, or a
// little less with Reuse. An Identity that names nobody, is not UTF-8 or is
// longer than 1024 bytes is a jwterrors.TokenUserKeyInvalid; a key that does not
// sign, or a token that readers would refuse for its length, is a
// jwterrors.TokenGenerationError. A context that is done is the error of the
// context, unless the token is there already.
func (m *Minter) Mint(ctx context.Context, user Identity) (string, error) {
	if user.value == "" || len(user.value) > maxIdentity || !utf8.ValidString(user.value) {
		return "", refused(jwterrors.TokenUserKeyInvalid, "issuer: a token is for an email or a userId of 1 to 1024 bytes of UTF-8")
	}
	now := m.now()
	if m.reused != nil {
		if token := m.reused.get(user, now, m.reuse); token != "" {
			return token, nil
		}
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	issued := now.Unix()
	b := make([]byte, 0, 128+len(user.value)+len(m.fixed))
	b = append(append(append(b, `{"`...), user.claim...), `":`...)
	b = appendString(b, user.value)
	b = appendDate(b, "iat", issued)
	b = appendDate(b, "exp", issued+m.ttl)
	b = append(b, m.fixed...)
	token, err := m.key.sign(b)
	if err == nil && len(token) > maxToken {
		err = fmt.Errorf("issuer: a token of %d bytes, and readers take %d", len(token), maxToken)
	}
	if err != nil {
		return "", &jwterrors.Error{Reason: jwterrors.TokenGenerationError, Err: err}
	}
	if m.reused != nil {
		token = m.reused.put(user, token, now, m.reuse)
	}
	return token, nil
}

func (m *Minter) text() string {
	if m == nil {
		return "issuer.Minter(nil)"
	}
	return "issuer.Minter(" + m.key.algorithm + ")"
}

// Format names the key and hides what it signs with, for every verb and flag.
func (m *Minter) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(m.text())) }

// LogValue returns what Format writes.
func (m *Minter) LogValue() slog.Value { return slog.StringValue(m.text()) }
