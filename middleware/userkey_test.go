package middleware_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
)

// apiKey returns a Middleware for tokens of the shape of JWT-enabled API keys.
func apiKey(t testing.TB, rule *middleware.UserKeyRule) *middleware.Middleware {
	return newAuth(t, func(c *middleware.Config) {
		c.Issuer, c.Audience = "", nil
		c.InsecureAnyIssuer, c.InsecureAnyAudience = true, true
		c.UserKey = rule
	})
}

func TestTheUserKey(t *testing.T) { // IT-07, IT-08, IT-10, IT-11, IT-31.09, IT-31.11, IT-34, D12
	down := errors.New("the store is down")
	rule := &middleware.UserKeyRule{
		Matches: func(_ context.Context, r *http.Request, key middleware.UserKey) (bool, error) {
			switch user := r.Header.Get("X-User"); user {
			case "":
				return true, nil
			case "down":
				return true, down
			default:
				return user == key.Email || user == key.UserID, nil
			}
		},
		Exists: func(_ context.Context, key middleware.UserKey) (bool, error) {
			switch {
			case key.Email == "down@example.com":
				return true, down
			default:
				return key == middleware.UserKey{Email: "user@example.com"} || key == middleware.UserKey{UserID: "user123"}, nil
			}
		},
	}
	server := httptest.NewServer(apiKey(t, rule).Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "alice")
	})))
	defer server.Close()
	now := time.Now().Unix()
	base := object{"iat": now, "exp": now + 86400}
	mail, id := base.with("email", "user@example.com"), base.with("userId", "user123")
	for _, c := range []struct {
		name   string
		claims object
		user   string // whom the request is about
		reason jwterrors.Reason
	}{
		{"email", mail, "", ""},
		{"userId", id, "", ""},
		{"email, and userId is null", mail.with("userId", rawNull), "", ""},
		{"userId, and email is null", id.with("email", rawNull), "", ""},
		{"email of the request's user", mail, "user@example.com", ""},
		{"userId of the request's user", id, "user123", ""},
		{"neither", base, "", jwterrors.TokenUserKeyInvalid},
		{"an empty email", base.with("email", ""), "", jwterrors.TokenUserKeyInvalid},
		{"both", mail.with("userId", "user123"), "", jwterrors.TokenPayloadInvalid},
		{"email that is a number", base.with("email", 1), "", jwterrors.TokenPayloadInvalid},
		{"userId that is a number", base.with("userId", 1), "", jwterrors.TokenPayloadInvalid},
		{"userId that is an array", base.with("userId", []string{"user123"}), "", jwterrors.TokenPayloadInvalid},
		{"userid in another case", base.with("userid", "user123"), "", jwterrors.TokenUserKeyInvalid},
		{"without iat", mail.with("iat", nil), "", jwterrors.TokenPayloadInvalid},
		{"without exp", mail.with("exp", nil), "", jwterrors.TokenPayloadInvalid},
		{"exp that is a string", mail.with("exp", "1640086400"), "", jwterrors.TokenPayloadInvalid},
		{"email of the fixture", object{"email": "user@example.com", "iat": 1640000000, "exp": 1640086400}, "", jwterrors.TokenExpired},
		{"userId of the fixture", object{"userId": "user123", "iat": 1640000000, "exp": 1640086400}, "", jwterrors.TokenExpired},
		{"of another user than the request's", mail, "other@example.com", jwterrors.TokenUserKeyInvalid},
		{"of another id than the request's", id, "user124", jwterrors.TokenUserKeyInvalid},
		{"of a user who is not there", base.with("email", "gone@example.com"), "", jwterrors.TokenUserKeyInvalid},
		{"of a user who may be there", base.with("email", "down@example.com"), "", jwterrors.StoreUnavailable},
		{"of a request that cannot be told", mail, "down", jwterrors.StoreUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := http.NewRequest("GET", server.URL, nil)
			require.NoError(t, err)
			r.Header.Set("Authorization", "Bearer "+hs(object{"alg": "HS256"}, c.claims))
			r.Header.Set("X-User", c.user)
			resp, err := http.DefaultClient.Do(r)
			require.NoError(t, err)
			defer resp.Body.Close()
			switch c.reason {
			case "":
				expect(t, resp, 200, "")
			case jwterrors.StoreUnavailable: // which has no challenge
				assert.Equal(t, 503, resp.StatusCode)
				assert.Equal(t, c.reason, jwterrors.FromResponse(resp).Reason)
			default:
				expect(t, resp, 401, c.reason)
			}
		})
	}
}

// rawNull is a null in an object, where nil removes a member.
var rawNull = (*int)(nil)

// A request that is about nobody in particular, and what Verify has not got.
func TestTheUserKeyWithoutARequest(t *testing.T) {
	var seen []*http.Request
	rule := &middleware.UserKeyRule{Matches: func(_ context.Context, r *http.Request, key middleware.UserKey) (bool, error) {
		seen = append(seen, r)
		return r != nil, nil
	}}
	auth := apiKey(t, rule)
	rule.Matches = nil // the rule was copied
	token := hs(hsHeader, object{"email": "a@example.com", "iat": time.Now().Unix(), "exp": time.Now().Unix() + 60})
	err := verify(auth, token)
	require.ErrorIs(t, err, jwterrors.TokenUserKeyInvalid)
	var e *jwterrors.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, "a@example.com", e.Identity)
	r := request("Bearer " + token)
	_, err = auth.Check(r)
	require.NoError(t, err)
	assert.Equal(t, []*http.Request{nil, r}, seen)
}

// The order of the checks: the user key comes before revocation.
func TestTheUserKeyComesBeforeRevocation(t *testing.T) {
	denied := middleware.NewDenylist(middleware.DenylistOptions{})
	require.NoError(t, denied.DenyToken(t.Context(), "j-1", time.Now().Add(time.Hour)))
	auth := newAuth(t, func(c *middleware.Config) { c.UserKey, c.Revocations = &middleware.UserKeyRule{}, denied })
	require.ErrorIs(t, verify(auth, good()), jwterrors.TokenUserKeyInvalid)
	require.ErrorIs(t, verify(auth, hs(hsHeader, claims().with("email", "a@example.com"))), jwterrors.TokenInvalidated)
	require.ErrorIs(t, verify(auth, hs(hsHeader, claims().with("aud", "x"))), jwterrors.TokenAudienceInvalid)
}
