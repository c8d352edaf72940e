package issuer_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
	hashes "github.com/tokenloop/tokenloop/issuer/password"
)

// canaries are secrets by name, to be looked for in everything that the operator
// or another client may see.
type canaries struct {
	mu sync.Mutex
	of map[string]string // their names, by every form that they may be printed in
}

// add lets a secret be found in every form that it might be printed in.
func (c *canaries) add(name, secret string) {
	if secret == "" {
		return
	}
	b := []byte(secret)
	c.mu.Lock()
	defer c.mu.Unlock()
	for form, s := range map[string]string{
		" in hex":     hex.EncodeToString(b),
		" in base64":  base64.RawStdEncoding.EncodeToString(b),
		" in base64u": base64.RawURLEncoding.EncodeToString(b),
		" as %v":      strings.Trim(fmt.Sprint(b), "[]"),
		" as %#v":     strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", b), "[]byte{"), "}"),
		" quoted":     strings.Trim(fmt.Sprintf("%q", secret), `"`),
		" escaped":    url.QueryEscape(secret),
		" in JSON":    strings.Trim(string(must(json.Marshal(secret))), `"`),
	} {
		c.of[s] = name + form
	}
	c.of[secret] = name
}

// token adds a token and the parts of it that prove something.
func (c *canaries) token(name, token string) {
	c.add(name, token)
	if n := strings.LastIndexByte(token, '.'); n > 0 {
		c.add("the proof of "+name, token[n+1:])
	}
}

// in returns the names of the canaries that text holds.
func (c *canaries) in(text string) (found []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	lower := strings.ToLower(text)
	for s, name := range c.of {
		if strings.Contains(text, s) || strings.HasSuffix(name, " in hex") && strings.Contains(lower, s) {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return found
}

// leaky is a store that notes the secrets that it is given, and fails on demand
// with an error of its own.
type leaky struct {
	*flaky
	c *canaries
}

func (l leaky) Create(ctx ctx, s issuer.Session) error {
	l.c.add("a seed", string(s.Seed))
	return l.flaky.Create(ctx, s)
}

func (l leaky) Rotate(ctx ctx, id string, from uint64, u issuer.Rotation) (bool, error) {
	l.c.add("the hash of a retry key", string(u.RetryHash))
	return l.flaky.Rotate(ctx, id, from, u)
}

// A run with every route, every refusal, failures of everything that can fail and
// panics of every hook. All secrets of it are looked for in the logs in text and
// in JSON, in the log of net/http, in events, in errors, in what is printed of
// every value, and in all answers; an answer may hold the tokens that it brings
// and no other secret.
func TestNoSecretIsEverShown(t *testing.T) { // JG-15, MO-07
	c := &canaries{of: map[string]string{}}
	const wrongPassword = "canary-wrong-password-9f2c"
	c.add("the password", password)
	c.add("a wrong password", wrongPassword)
	c.add("the master secret", string(masterSecret))
	signing := []byte("canary: an obviously fake HS256 secret")
	c.add("the signing secret", string(signing))
	hasher := must(hashes.New(hashes.Config{Memory: 64, Time: 1, InsecureAllowLowCost: true}))
	hash := must(hasher.Hash(t.Context(), password))
	c.add("the hash of the password", hash)
	c.add("the salt and the sum of the password", hash[strings.Index(hash, "p=1$")+4:])

	var text, asJSON, byHTTP safeBuffer
	logger := slog.New(both{
		slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug}),
		slog.NewJSONHandler(&asJSON, &slog.HandlerOptions{Level: slog.LevelDebug}),
	})
	seen := &safeBuffer{} // what hooks are given, printed in every way

	// printed is for what holds secrets in JSON, which is its form on the wire.
	printed := func(all ...any) {
		for _, v := range all {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
				fmt.Fprintf(seen, verb+"\n", v)
			}
			logger.Info("a value", "value", v)
		}
	}
	values := func(all ...any) {
		for _, v := range all {
			printed(v)
			logger.Info("values", "values", []any{v}, "map", map[string]any{"v": v})
			if data, err := json.Marshal(v); err == nil {
				fmt.Fprintf(seen, "%s\n", data)
			}
		}
	}
	var account hashes.Account
	users := must(hashes.NewAuthenticator(hashes.AuthenticatorConfig{
		Hasher: hasher, Logger: logger,
		Lookup: func(_ context.Context, cr issuer.Credentials) (hashes.Account, error) {
			values(cr, &cr)
			switch cr.Username {
			case "down":
				return account, errors.New("the directory does not answer")
			case "broken":
				return hashes.Account{User: issuer.User{ID: "broken"}, Hash: "$1$" + hash[len(hash)-20:]}, nil
			case "panic":
				panic(fmt.Sprintf("%+v", cr))
			}
			account = hashes.Account{User: issuer.User{ID: cr.Username, Scopes: []string{"api:read"}}, Hash: hash}
			values(account, &account)
			if cr.Username != "alice" {
				account = hashes.Account{}
			}
			return account, nil
		},
	}))
	st := &flaky{}
	var sessions []issuer.Session
	reload := func(issuer.Session) (issuer.User, error) {
		return issuer.User{ID: "alice", Scopes: []string{"api:read"}}, nil
	}
	panics := false
	f := newFixture(t, func(cfg *issuer.Config) {
		ring := must(issuer.NewKeyRing(issuer.KeyRingConfig{Key: must(issuer.NewSecretKey(signing)), Now: cfg.Now}))
		st.Store = cfg.Store
		cfg.Keys, cfg.Store, cfg.Logger, cfg.Authenticate = ring, leaky{st, c}, logger, func(ctx ctx, cr issuer.Credentials) (issuer.User, error) {
			values(cr, &cr)
			return users.Authenticate(ctx, cr)
		}
		cfg.Reload = func(_ ctx, s issuer.Session) (issuer.User, error) {
			values(s, &s)
			sessions = append(sessions, s)
			return reload(s)
		}
		cfg.Register = func(_ ctx, r issuer.Registration) (issuer.User, error) {
			values(r.Credentials)
			printed(r, &r)
			switch r.Username {
			case "taken":
				return issuer.User{}, jwterrors.UserExists
			case "down":
				return issuer.User{}, errors.New("the directory does not answer")
			case "later":
				return issuer.User{}, issuer.ErrSignupPending
			case "panic":
				panic(r)
			}
			return issuer.User{ID: r.Username}, nil
		}
		cfg.Encode = func(_ string, tokens issuer.Tokens) any {
			c.token("a token", tokens.AccessToken)
			c.token("a token", tokens.RefreshToken)
			printed(tokens, &tokens)
			fmt.Fprintf(seen, "%+v", []issuer.Tokens{tokens})
			return map[string]any{"access_token": tokens.AccessToken, "refresh_token": tokens.RefreshToken}
		}
		note := cfg.OnEvent
		cfg.OnEvent = func(e issuer.Event) {
			note(e)
			values(e, &e)
			if panics {
				panic(e)
			}
		}
	})
	f.server.Config.ErrorLog = log.New(&byHTTP, "", 0)
	values(f.issuer, f.ring, must(issuer.NewSecretKey(signing)), issuer.MasterKey{ID: "m1", Secret: masterSecret}, users, hasher,
		issuer.Credentials{Username: "alice", Password: password}, hashes.Account{User: issuer.User{ID: "alice"}, Hash: hash})
	values(structs(f.issuer, users, hasher)...)

	// ask sends a request. Tokens in the answer become canaries; for them it
	// may hold what it holds, and nothing else.
	ask := func(status int, method, path, body string, headers ...string) reply {
		t.Helper()
		r := f.do(method, path, body, headers...)
		require.Equal(t, status, r.status, "%s %s: %s", method, path, r.text)
		var head bytes.Buffer
		_ = r.header.Write(&head)
		rest := r.text
		for _, name := range []string{"access_token", "refresh_token"} {
			if token := r.str(name); token != "" {
				require.Less(t, status, 300)
				rest = strings.ReplaceAll(rest, token, "")
				c.token("a token", token)
			}
		}
		assert.Empty(t, c.in(rest+head.String()), "%s %s: the answer", method, path)
		return r
	}
	login := func(user, pw string) string { return fmt.Sprintf(`{"username":%q,"password":%q}`, user, pw) }
	holding := func(token string) string { return `{"refresh_token":"` + token + `"}` }
	bearer := func(token string) []string { return []string{"Authorization", "Bearer " + token} }
	key := func(s string) []string {
		c.add("a retry key", s)
		sum := sha256.Sum256([]byte(s))
		c.add("the hash of a retry key", string(sum[:]))
		return []string{"Idempotency-Key", s}
	}

	// What succeeds.
	first := ask(200, "POST", "/auth/login", login("alice", password))
	access, refresh := first.str("access_token"), first.str("refresh_token")
	ask(200, "GET", "/auth/sessions", "", bearer(access)...)
	f.pass(time.Hour)
	second := ask(200, "POST", "/auth/refresh", holding(refresh), key("canary-retry-key-1")...)
	ask(200, "POST", "/auth/refresh", holding(refresh), key("canary-retry-key-1")...)
	f.pass(time.Hour)
	ask(200, "POST", "/auth/refresh", holding(refresh), key("canary-retry-key-1")...) // a late retry
	other := ask(200, "POST", "/auth/login", login("alice", password))
	ask(204, "DELETE", "/auth/sessions/"+sid(t, other), "", bearer(ask(200, "POST", "/auth/refresh", holding(second.str("refresh_token"))).str("access_token"))...)
	ask(200, "GET", "/auth/.well-known/jwks.json", "")

	signup := func(user string) string {
		c.add("a field of a signup", "canary-of-a-field-51")
		return fmt.Sprintf(`{"username":%q,"password":%q,"code":"canary-of-a-field-51"}`, user, password)
	}
	ask(201, "POST", "/auth/signup", signup("carol"))
	ask(202, "POST", "/auth/signup", signup("later"))

	// What is refused.
	ask(409, "POST", "/auth/signup", signup("taken"))
	ask(503, "POST", "/auth/signup", signup("down"))
	ask(400, "POST", "/auth/signup", signup("carol")+"x")
	for _, user := range []string{"alice", "nobody", "broken"} {
		ask(401, "POST", "/auth/login", login(user, wrongPassword))
	}
	ask(400, "POST", "/auth/login", `{"username":"alice","email":"a@example.com","password":"`+password+`"}`)
	ask(400, "POST", "/auth/login", `{"username":"alice","password":"`+password+`"`)
	ask(400, "POST", "/auth/login", `{"username":"alice","password":"`+password+`","password":"`+wrongPassword+`"}`)
	ask(400, "POST", "/auth/login", `{"username":"alice","scope":"admin","password":"`+password+`"}`)
	ask(415, "POST", "/auth/login", "password="+password, "Content-Type", "text/plain")
	ask(413, "POST", "/auth/login", `{"username":"alice","password":"`+strings.Repeat(password, 4000)+`"}`)
	ask(400, "POST", "/auth/refresh", `{"refresh_token":"`+refresh+`","refreshToken":"`+second.str("refresh_token")+`"}`)
	ask(400, "POST", "/auth/refresh", `{"refresh_token":["`+refresh+`"]}`)
	ask(400, "POST", "/auth/refresh", holding(refresh), key(strings.Repeat("canary-long-retry-key", 20))...)
	ask(401, "POST", "/auth/refresh", holding(otherMAC(second.str("refresh_token"))))
	ask(401, "POST", "/auth/refresh", holding(access))
	ask(405, "GET", "/auth/refresh?refresh_token="+refresh, "")
	ask(404, "GET", "/auth/"+access, "")
	for _, token := range []string{second.str("refresh_token"), access, access[:len(access)-3] + "AAA", access + "." + access} {
		ask(401, "GET", "/auth/sessions", "", bearer(token)...)
	}
	ask(400, "DELETE", "/auth/sessions?token="+access, "", bearer(ask(200, "POST", "/auth/login", login("alice", password)).str("access_token"))...)
	ask(404, "DELETE", "/auth/sessions/"+hash[len(hash)-22:], "", bearer(ask(200, "POST", "/auth/login", login("alice", password)).str("access_token"))...)
	ask(401, "POST", "/auth/refresh", holding(refresh))                     // replay
	ask(401, "POST", "/auth/refresh", holding(second.str("refresh_token"))) // revoked
	ask(204, "POST", "/auth/logout", holding(second.str("refresh_token")))  // the same
	ask(204, "POST", "/auth/logout", "", bearer(access)...)                 // an old token
	ask(204, "POST", "/auth/logout", holding(otherMAC(other.str("refresh_token"))))

	// What fails.
	last := ask(200, "POST", "/auth/login", login("alice", password))
	ask(503, "POST", "/auth/login", login("down", password))
	for method, requests := range map[string][][2]string{
		"Create":        {{"POST /auth/login", login("alice", password)}},
		"Get":           {{"POST /auth/refresh", holding(last.str("refresh_token"))}, {"POST /auth/logout", holding(last.str("refresh_token"))}, {"GET /auth/sessions", ""}},
		"Rotate":        {{"POST /auth/refresh", holding(last.str("refresh_token"))}},
		"Revoke":        {{"POST /auth/logout", holding(last.str("refresh_token"))}},
		"List":          {{"GET /auth/sessions", ""}},
		"RevokeSubject": {{"DELETE /auth/sessions?others=true", ""}},
	} {
		st.set(method, errors.New(method+" failed"))
		for _, q := range requests {
			verb, path, _ := strings.Cut(q[0], " ")
			ask(503, verb, path, q[1], bearer(last.str("access_token"))...)
		}
		st.set("", nil)
	}
	f.denied.failing(errors.New("the denylist does not answer"))
	ask(503, "POST", "/auth/logout", holding(last.str("refresh_token")))
	f.denied.failing(nil)
	last = ask(200, "POST", "/auth/login", login("alice", password))
	token := last.str("refresh_token")
	reload = func(issuer.Session) (issuer.User, error) {
		return issuer.User{}, errors.New("the directory does not answer")
	}
	ask(503, "POST", "/auth/refresh", holding(token))
	reload = func(issuer.Session) (issuer.User, error) { return issuer.User{ID: "mallory"}, nil }
	ask(500, "POST", "/auth/refresh", holding(token))
	reload = func(issuer.Session) (issuer.User, error) { return issuer.User{}, jwterrors.SessionRevoked }
	ask(401, "POST", "/auth/refresh", holding(token))

	// Panics: of an event's hook, which breaks nothing, and of those that
	// answer for a user, which net/http logs with its stack.
	panics = true
	last = ask(200, "POST", "/auth/login", login("alice", password))
	reload = func(s issuer.Session) (issuer.User, error) { panic(s) }
	for path, body := range map[string]string{
		"/auth/login": login("panic", password), "/auth/signup": signup("panic"), "/auth/refresh": holding(last.str("refresh_token")),
	} {
		req := must(http.NewRequest("POST", f.server.URL+path, strings.NewReader(body)))
		req.Header.Set("Content-Type", "application/json")
		_, err := f.server.Client().Do(req)
		require.ErrorIs(t, err, io.EOF, "the connection is closed")
	}
	assert.Error(t, f.issuer.RevokeSession(t.Context(), "none"))
	st.set("RevokeSubject", errors.New("it failed"))
	err := f.issuer.RevokeSubject(t.Context(), "alice")
	require.Error(t, err)
	values(err)

	// What configurations are told.
	_, err = issuer.New(issuer.Config{
		Issuer: "https://user:" + wrongPassword + "@id.example.com", MasterKeys: []issuer.MasterKey{{ID: "m", Secret: []byte("canary-short-secret")}},
	})
	c.add("a short secret", "canary-short-secret")
	values(err)
	_, err = issuer.NewSecretKey([]byte("canary-short-secret"))
	values(err)
	_, err = issuer.ParseKey([]byte("-----BEGIN PRIVATE KEY-----\ncanaryshortsecret\n-----END PRIVATE KEY-----\n"))
	c.add("a broken key", "canaryshortsecret")
	values(err)

	f.server.Close() // and so everything has been logged
	for name, written := range map[string]string{
		"the log in text": text.String(), "the log in JSON": asJSON.String(), "the log of net/http": byHTTP.String(), "what was printed": seen.String(),
	} {
		assert.NotEmpty(t, written, name)
		assert.Empty(t, c.in(written), name)
	}
	assert.Contains(t, byHTTP.String(), "panic serving", "the panics were logged")
	assert.Contains(t, text.String(), "OnEvent panicked")
	assert.Contains(t, text.String(), "came back", "the replay was logged")
	assert.NotEmpty(t, sessions)
	count := map[string]int{}
	for _, name := range c.of {
		count[name]++
	}
	for name, least := range map[string]int{"a seed": 5, "a token": 15, "the proof of a token": 15, "a retry key": 2, "the hash of a retry key": 2} {
		assert.GreaterOrEqual(t, count[name], least, name)
	}
}

// structs returns the exported methods' results without arguments of values: what
// anybody can get out of them.
func structs(values ...any) (all []any) {
	for _, v := range values {
		rv := reflect.ValueOf(v)
		for n := range rv.NumMethod() {
			m := rv.Method(n)
			if m.Type().NumIn() > 0 || m.Type().NumOut() == 0 {
				continue
			}
			for _, out := range m.Call(nil) {
				all = append(all, out.Interface())
			}
		}
	}
	return all
}

// both hands records to two handlers.
type both [2]slog.Handler

func (b both) Enabled(context.Context, slog.Level) bool { return true }

func (b both) Handle(ctx context.Context, r slog.Record) error {
	return errors.Join(b[0].Handle(ctx, r.Clone()), b[1].Handle(ctx, r.Clone()))
}

func (b both) WithAttrs(a []slog.Attr) slog.Handler {
	return both{b[0].WithAttrs(a), b[1].WithAttrs(a)}
}
func (b both) WithGroup(g string) slog.Handler { return both{b[0].WithGroup(g), b[1].WithGroup(g)} }
