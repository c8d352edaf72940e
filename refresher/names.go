package refresher

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// RequestNames are the names of the members in the JSON that the issuer is sent.
// Empty means the default.
type RequestNames struct {
	Username string // "username"
	Email    string // "email"
	Password string // "password"
	Device   string // "device"
	Scope    string // "scope"

	RefreshToken string // "refresh_token"
}

// AnswerNames are the names of the members in the JSON that the issuer answers a
// login or a refresh with. Empty means the name that stands beside the field. Dots
// lead to a member of a member: "data.accessToken".
type AnswerNames struct {
	AccessToken string // "access_token"
	TokenType   string // "token_type"
	ExpiresIn   string // "expires_in", in seconds
	Scope       string // "scope"

	RefreshToken     string // "refresh_token"
	RefreshExpiresIn string // "refresh_expires_in", in seconds
}

// withDefaults returns n with every name filled in.
func (n RequestNames) withDefaults() RequestNames {
	return RequestNames{
		Username: cmp.Or(n.Username, "username"), Email: cmp.Or(n.Email, "email"), Password: cmp.Or(n.Password, "password"),
		Device: cmp.Or(n.Device, "device"), Scope: cmp.Or(n.Scope, "scope"), RefreshToken: cmp.Or(n.RefreshToken, "refresh_token"),
	}
}

// check returns what is wrong with n, which has its defaults.
func (n RequestNames) check() error {
	all := []string{n.Username, n.Email, n.Password, n.Device, n.Scope}
	slices.Sort(all)
	if len(slices.Compact(all)) != 5 {
		return errors.New("two members of a request have the same name")
	}
	return nil
}

// withDefaults returns n with every name filled in.
func (n AnswerNames) withDefaults() AnswerNames {
	return AnswerNames{
		AccessToken: cmp.Or(n.AccessToken, "access_token"), TokenType: cmp.Or(n.TokenType, "token_type"),
		ExpiresIn: cmp.Or(n.ExpiresIn, "expires_in"), Scope: cmp.Or(n.Scope, "scope"),
		RefreshToken: cmp.Or(n.RefreshToken, "refresh_token"), RefreshExpiresIn: cmp.Or(n.RefreshExpiresIn, "refresh_expires_in"),
	}
}

// check returns what is wrong with n, which has its defaults.
func (n AnswerNames) check() error {
	for _, path := range []string{n.AccessToken, n.TokenType, n.ExpiresIn, n.Scope, n.RefreshToken, n.RefreshExpiresIn} {
		if slices.Contains(strings.Split(path, "."), "") {
			return fmt.Errorf("the name %q has a dot that leads nowhere", path)
		}
	}
	if n.AccessToken == n.RefreshToken {
		return errors.New("the access token and the refresh token have the same name")
	}
	return nil
}

// errNoTokens does not say what the answer is: it may hold tokens.
var errNoTokens = errors.New("the answer is not a token response")

// parse reads a token response. Lifetimes count from received.
func (n AnswerNames) parse(data []byte, received time.Time) (Tokens, error) {
	tokens := Tokens{Received: received}
	var life, refreshLife seconds
	for _, member := range []struct {
		path   string
		target any
	}{
		{n.AccessToken, &tokens.AccessToken}, {n.TokenType, &tokens.TokenType}, {n.Scope, &tokens.Scope},
		{n.RefreshToken, &tokens.RefreshToken}, {n.ExpiresIn, &life}, {n.RefreshExpiresIn, &refreshLife},
	} {
		raw, err := find(data, member.path)
		if err != nil || raw != nil && json.Unmarshal(raw, member.target) != nil {
			return Tokens{}, errNoTokens
		}
	}
	if tokens.AccessToken == "" {
		return Tokens{}, errNoTokens
	}
	if life != 0 {
		tokens.Expiry = received.Add(life.duration())
	}
	if refreshLife != 0 {
		tokens.RefreshExpiry = received.Add(refreshLife.duration())
	}
	return tokens, nil
}

// find returns the member of the JSON object data that path leads to, or nil
// when there is none. Names are compared exactly.
func find(data []byte, path string) (json.RawMessage, error) {
	for name := range strings.SplitSeq(path, ".") {
		var members map[string]json.RawMessage
		if err := json.Unmarshal(data, &members); err != nil {
			return nil, errNoTokens
		}
		if data = members[name]; data == nil {
			return nil, nil
		}
	}
	return data, nil
}
