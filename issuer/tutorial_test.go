package issuer_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
)

// tutorial turns c into the wire format of the tutorial: its paths at the root,
// its names, its messages and its status codes. Its two messages for an unknown
// user and a wrong password are one here, since they tell who has an account.
func tutorial(c *issuer.Config) {
	c.Prefix = "/"
	c.Routes = issuer.Routes{Refresh: "/refreshToken"}
	c.InsecureNoRotation = true // the client keeps the refresh token of its login
	c.Encode = func(route string, t issuer.Tokens) any {
		answer := struct {
			Success      bool   `json:"success"`
			AuthToken    string `json:"authToken"`
			RefreshToken string `json:"refreshToken,omitempty"`
		}{true, t.AccessToken, t.RefreshToken}
		if route == "refresh" {
			answer.RefreshToken = ""
		}
		return answer
	}
	c.Respond = tutorialRespond
	users := map[string]string{}
	var mu sync.Mutex
	c.Register = func(_ ctx, r issuer.Registration) (issuer.User, error) {
		mu.Lock()
		defer mu.Unlock()
		if _, ok := users[r.Username]; ok {
			return issuer.User{}, jwterrors.UserExists
		}
		users[r.Username] = strings.TrimSpace(r.Password)
		return issuer.User{ID: r.Username}, nil
	}
	c.Authenticate = func(_ ctx, c issuer.Credentials) (issuer.User, error) {
		mu.Lock()
		defer mu.Unlock()
		if c.Username == "unlucky" {
			return issuer.User{}, fmt.Errorf("the hash cannot be checked")
		}
		if want, ok := users[c.Username]; !ok || want != strings.TrimSpace(c.Password) {
			return issuer.User{}, jwterrors.CredentialsInvalid
		}
		return issuer.User{ID: c.Username}, nil
	}
}

// tutorialRespond answers an error that has a code with 403 and the code, and one
// that has none with 400 and its message alone.
func tutorialRespond(w http.ResponseWriter, r *http.Request, err error) {
	answer := struct {
		Success bool   `json:"success"`
		Message string `json:"message"`
		Code    string `json:"code,omitempty"`
	}{}
	status := http.StatusBadRequest
	switch reason := jwterrors.ReasonOf(err); {
	case reason == jwterrors.RefreshTokenMissing:
		answer.Message = "There is no refresh token to check."
	case reason == jwterrors.UserExists:
		answer.Message = "A user with that username already exists."
	case reason == jwterrors.CredentialsInvalid:
		answer.Message = "The username or the password is incorrect."
	case reason == jwterrors.RequestInvalid && r.URL.Path == "/login":
		answer.Message = "You must send the username and the password."
	case reason == jwterrors.RequestInvalid && r.URL.Path == "/signup":
		answer.Message = "You must send all details."
	case strings.HasPrefix(string(reason), "AUTH_TOKEN_") && reason.Status() == http.StatusUnauthorized:
		status, answer.Code, answer.Message = http.StatusForbidden, "invalidToken", "Your access token is invalid."
	case reason.Action() == jwterrors.ActionLogin:
		status, answer.Code, answer.Message = http.StatusForbidden, "refreshExpired", "Refresh token expired - session ended."
	default:
		answer.Message = "The has been an unexpected error, please try again later"
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}

// The tutorial's wire format is a configuration: its requests and answers over
// HTTP, to the byte.
func TestTheTutorialsWireFormat(t *testing.T) { // JG-02, JG-03, JG-07, JG-08, JG-09, JG-10, JG-16, JG-18, JG-22
	f := newFixture(t, func(c *issuer.Config) {
		tutorial(c)
		c.AccessTTL, c.RefreshTTL = 10*time.Second, 20*time.Second // JG-18
	})
	f.mountAtRoot()
	type answer struct {
		status int
		text   string
	}
	post := func(path, body string, headers ...string) answer {
		r := f.do("POST", path, body, headers...)
		assert.Equal(t, "application/json", r.header.Get("Content-Type"))
		return answer{r.status, strings.TrimSpace(r.text)}
	}
	message := func(s string) answer { return answer{400, `{"success":false,"message":"` + s + `"}`} }
	code := func(code, s string) answer {
		return answer{403, `{"success":false,"message":"` + s + `","code":"` + code + `"}`}
	}
	tokens := func(a answer, names ...string) map[string]string {
		t.Helper()
		var got map[string]any
		require.NoError(t, json.Unmarshal([]byte(a.text), &got), a.text)
		assert.Equal(t, true, got["success"])
		assert.Len(t, got, len(names)+1, a.text)
		values := map[string]string{}
		for _, name := range names {
			values[name], _ = got[name].(string)
			assert.NotEmpty(t, values[name], name)
		}
		return values
	}
	const credentials = `{"username":"alice","password":" secret of a test "}`

	// JG-16: what signup and login refuse. JG-22: without a code, the message alone.
	assert.Equal(t, message("You must send all details."), post("/signup", `{"username":"alice"}`))
	assert.Equal(t, message("You must send the username and the password."), post("/login", `{"username":"alice"}`))
	signup := post("/signup", credentials)
	assert.Equal(t, 201, signup.status)
	tokens(signup, "authToken", "refreshToken") // JG-02
	assert.Equal(t, message("A user with that username already exists."), post("/signup", credentials))
	wrong := post("/login", `{"username":"alice","password":"x"}`)
	assert.Equal(t, message("The username or the password is incorrect."), wrong)
	assert.Equal(t, wrong, post("/login", `{"username":"nobody","password":"x"}`), "one answer for both")
	assert.Equal(t, message("The has been an unexpected error, please try again later"), post("/login", `{"username":"unlucky","password":"x"}`))

	login := post("/login", `{"username":"alice","password":"secret of a test"}`) // trimmed
	assert.Equal(t, 200, login.status)
	pair := tokens(login, "authToken", "refreshToken") // JG-02
	claims := part(t, pair["authToken"], 1)
	assert.Equal(t, 10.0, claims["exp"].(float64)-claims["iat"].(float64))

	// JG-03: a new access token, and no refresh token: the client keeps its own.
	refresh := func() answer { return post("/refreshToken", `{"refreshToken":"`+pair["refreshToken"]+`"}`) }
	seen := map[string]bool{pair["authToken"]: true}
	for range 3 {
		f.pass(5 * time.Second)
		r := refresh()
		assert.Equal(t, 200, r.status)
		token := tokens(r, "authToken")["authToken"]
		assert.False(t, seen[token])
		seen[token] = true
	}
	assert.Equal(t, message("There is no refresh token to check."), post("/refreshToken", `{}`)) // JG-08
	// JG-08: one that verifies but is not in the store, of a server that was reset.
	gone := newFixture(t, tutorial)
	gone.mountAtRoot()
	r := gone.do("POST", "/refreshToken", `{"refreshToken":"`+pair["refreshToken"]+`"}`)
	assert.Equal(t, code("refreshExpired", "Refresh token expired - session ended."), answer{r.status, strings.TrimSpace(r.text)})

	// JG-09, JG-10: an access token that is none.
	r = f.do("GET", "/sessions", "", "Authorization", "Bearer x.y.z")
	assert.Equal(t, code("invalidToken", "Your access token is invalid."), answer{r.status, strings.TrimSpace(r.text)})

	// JG-07, JG-10: the end of the session, for good.
	f.pass(5 * time.Second)
	assert.Equal(t, code("refreshExpired", "Refresh token expired - session ended."), refresh())
	assert.Equal(t, code("refreshExpired", "Refresh token expired - session ended."), refresh())
}

// A client that keeps its refresh token is not mistaken for a thief, and a session
// that is ended stays so.
func TestWithoutRotationARefreshTokenStays(t *testing.T) { // JG-03, JG-11
	f := newFixture(t, func(c *issuer.Config) { c.InsecureNoRotation = true })
	login := f.login()
	token := login.str("refresh_token")
	before := must(f.store.Get(t.Context(), sid(t, login)))
	f.kinds()
	for range 3 {
		f.pass(24 * time.Hour)
		r := f.refresh(token)
		require.Equal(t, 200, r.status, r.text)
		assert.Equal(t, token, r.str("refresh_token"))
	}
	assert.Equal(t, []issuer.EventKind{issuer.EventRefresh, issuer.EventRefresh, issuer.EventRefresh}, f.kinds())
	assert.Equal(t, before, must(f.store.Get(t.Context(), sid(t, login))), "nothing is written")
	require.Equal(t, 204, f.do("POST", "/auth/logout", `{"refresh_token":"`+token+`"}`).status)
	assert.Equal(t, jwterrors.SessionRevoked, f.refresh(token).reason)

	// A session that was rotated before goes on from where it stands.
	rotating := newFixture(t, func(c *issuer.Config) { c.Store = f.store })
	first := rotating.login()
	second := rotating.refresh(first.str("refresh_token")).str("refresh_token")
	f.pass(time.Hour)
	assert.Equal(t, second, f.refresh(second).str("refresh_token"))
	assert.Equal(t, jwterrors.RefreshTokenReused, f.refresh(first.str("refresh_token")).reason, "an old one is still a replay")
}
