package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

type answer struct {
	status int
	body   string
}

func start(t *testing.T) func(method, path, token, body string) answer {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	handler, err := newServer("http://" + server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = handler
	server.Start()
	t.Cleanup(server.Close)
	return func(method, path, token, body string) answer {
		t.Helper()
		r, err := http.NewRequest(method, server.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if body != "" {
			r.Header.Set("Content-Type", "application/json")
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer{resp.StatusCode, strings.TrimSpace(string(data))}
	}
}

// The app of the tutorial, from its first start to its logout: JG-02, JG-03, JG-08,
// JG-09, JG-10, JG-16, JG-19, JG-22.
func TestTheAppOfTheTutorial(t *testing.T) {
	do := start(t)
	want := func(got answer, status int, body string) {
		t.Helper()
		if got != (answer{status, body}) {
			t.Errorf("got %d %s, want %d %s", got.status, got.body, status, body)
		}
	}
	tokens := func(got answer, status int) (auth, refresh string) {
		t.Helper()
		var body struct {
			Success                 bool
			AuthToken, RefreshToken string
		}
		if err := json.Unmarshal([]byte(got.body), &body); err != nil || got.status != status || !body.Success || body.AuthToken == "" {
			t.Fatalf("got %d %s, %v", got.status, got.body, err)
		}
		return body.AuthToken, body.RefreshToken
	}
	const (
		credentials = `{"username":"alice","password":" an obviously fake one "}`
		trimmed     = `{"username":"alice","password":"an obviously fake one"}`
		incorrect   = `{"success":false,"message":"The username or the password is incorrect."}`
		invalid     = `{"success":false,"message":"Your access token is invalid.","code":"invalidToken"}`
		ended       = `{"success":false,"message":"Refresh token expired - session ended.","code":"refreshExpired"}`
	)
	want(do("GET", "/profile", "", ""), 403, invalid) // protected, and what follows is not (JG-19)
	want(do("POST", "/login", "", trimmed), 400, incorrect)
	want(do("POST", "/signup", "", `{"username":"alice"}`), 400, `{"success":false,"message":"You must send all details."}`)
	want(do("POST", "/signup", "", `{"username":"alice","password":"short"}`), 400,
		`{"success":false,"message":"The password needs 8 characters at least, and 72 bytes at most."}`)
	auth, refresh := tokens(do("POST", "/signup", "", credentials), 201)
	if refresh == "" {
		t.Error("a signup answers no refresh token")
	}
	want(do("GET", "/profile", auth, ""), 200, `{"success":true,"username":"alice"}`)
	want(do("POST", "/signup", "", credentials), 400, `{"success":false,"message":"A user with that username already exists."}`)
	want(do("POST", "/login", "", `{"username":"alice","password":"another one"}`), 400, incorrect)
	want(do("POST", "/login", "", `{}`), 400, `{"success":false,"message":"You must send the username and the password."}`)

	_, refresh = tokens(do("POST", "/login", "", trimmed), 200)
	body := `{"refreshToken":"` + refresh + `"}`
	for range 3 { // the app keeps its refresh token
		next, none := tokens(do("POST", "/refreshToken", "", body), 200)
		if none != "" {
			t.Error("a refresh answers a refresh token")
		}
		want(do("GET", "/profile", next, ""), 200, `{"success":true,"username":"alice"}`)
	}
	want(do("GET", "/profile", refresh, ""), 403, invalid)
	want(do("POST", "/refreshToken", "", `{}`), 400, `{"success":false,"message":"There is no refresh token to check."}`)
	want(do("POST", "/refreshToken", "", `{"refreshToken":"x"}`), 403, ended)
	want(do("POST", "/logout", "", body), 204, "")
	want(do("POST", "/refreshToken", "", body), 403, ended)
}
