package refresher

import (
	"encoding/json"

	"github.com/tokenloop/tokenloop/internal/jws"
)

// An Identity names a user by email address or by user id, never by both. The
// zero value names nobody. Its JSON form is for Stores.
type Identity struct {
	Email  string `json:"email,omitempty"`
	UserID string `json:"user_id,omitempty"`
}

// Email returns the identity of the user with that address.
func Email(address string) Identity { return Identity{Email: address} }

// UserID returns the identity of the user with that id.
func UserID(id string) Identity { return Identity{UserID: id} }

// String returns the address or the id.
func (id Identity) String() string {
	if id.Email != "" {
		return id.Email
	}
	return id.UserID
}

// isZero reports whether id names nobody.
func (id Identity) isZero() bool { return id == Identity{} }

// owns reports whether claims are those of a token for id: the claim "email" or
// "userId" where the token has it, else "sub".
func (id Identity) owns(claims *jws.Claims) bool {
	name, want := "userId", id.UserID
	if id.Email != "" {
		name, want = "email", id.Email
	}
	if raw, ok := claims.Members[name]; ok {
		return text(raw) == want
	}
	return claims.Subject == want
}

// ownerOf returns whom a token is for, in a form that can be compared: its
// "sub", else "userId", else "email". It is empty when the token does not say.
func ownerOf(claims *jws.Claims) string {
	if claims.Subject != "" {
		return "sub:" + claims.Subject
	}
	for _, name := range []string{"userId", "email"} {
		if value := text(claims.Members[name]); value != "" {
			return name + ":" + value
		}
	}
	return ""
}

// text returns the string that raw is, or "".
func text(raw json.RawMessage) string {
	s, _ := jws.String(raw)
	return s
}
