package refresher_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/refresher"
)

// exampleTransport is a Transport for a service that runs beside the example.
func exampleTransport(change func(*refresher.Config)) (*refresher.Transport, *service) {
	s := newService()
	config := refresher.Config{
		AuthURL: "https://service.test/auth",
		Origins: []string{"https://service.test"},
		Base:    handlerTransport{s}, // in the place of the network
	}
	if change != nil {
		change(&config)
	}
	t, err := refresher.New(config)
	if err != nil {
		panic(err)
	}
	return t, s
}

func show(resp *http.Response, err error) {
	if err != nil {
		fmt.Println(jwterrors.ReasonOf(err))
		return
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	fmt.Println(resp.StatusCode, strings.TrimSpace(string(body)))
}

var alice = refresher.Credentials{Username: "alice", Password: "right"}

func ExampleNew() {
	t, err := refresher.New(refresher.Config{
		AuthURL: "https://id.example.com/auth",
		Origins: []string{"https://api.example.com"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer t.Close()
	client := t.Client() // for all calls of the API
	fmt.Println(client.Timeout)
	// Output: 1m0s
}

func ExampleNew_incorrect() {
	_, err := refresher.New(refresher.Config{AuthURL: "http://id.example.com/auth"})
	fmt.Println(err)
	// Output:
	// refresher: Origins is empty, so that no request would get a token
	// refresher: AuthURL "http://id.example.com/auth": plain http needs InsecureAllowHTTP
}

func ExampleTransport_Login() {
	t, _ := exampleTransport(nil)
	defer t.Close()
	ctx := context.Background()
	err := t.Login(ctx, refresher.Credentials{Username: "alice", Password: "wrong"})
	fmt.Println(errors.Is(err, jwterrors.CredentialsInvalid))
	fmt.Println(t.Login(ctx, alice))
	show(t.Client().Get("https://service.test/api"))
	// Output:
	// true
	// <nil>
	// 200 ok
}

func ExampleTransport_RoundTrip() {
	t, service := exampleTransport(nil)
	defer t.Close()
	if err := t.Login(context.Background(), alice); err != nil {
		fmt.Println(err)
		return
	}
	service.expire() // the API refuses the token from now on
	show(t.Client().Get("https://service.test/api"))
	fmt.Println(service.refreshes.Load(), "refresh")
	// Output:
	// 200 ok
	// 1 refresh
}

func ExampleConfig_stepUp() {
	var t *refresher.Transport
	t, service := exampleTransport(func(c *refresher.Config) {
		c.StepUp = func(ctx context.Context, required *jwterrors.Error) error {
			fmt.Println("log in again, for", required.ACRValues) // here the app asks its user
			return t.Login(ctx, alice)
		}
	})
	defer t.Close()
	if err := t.Login(context.Background(), alice); err != nil {
		fmt.Println(err)
		return
	}
	service.hookCall(func(w http.ResponseWriter, r *http.Request) bool {
		weak := service.logins.Load() < 2
		if weak {
			jwterrors.Responder{}.Respond(w, r, &jwterrors.Error{Reason: jwterrors.AuthenticationInsufficient, ACRValues: []string{"mfa"}})
		}
		return weak
	})
	show(t.Client().Get("https://service.test/api/payments"))
	// Output:
	// log in again, for [mfa]
	// 200 ok
}

func ExampleTransport_Client() {
	t, _ := exampleTransport(nil)
	defer t.Close()
	client := t.Client()
	client.Timeout = 0 // what limits a request is its context
	show(client.Get("https://service.test/api"))
	// Output: 401 {"type":"about:blank","title":"Unauthorized","status":401,"detail":"The request carried no token.","reason":"AUTH_TOKEN_MISSING"}
}

func ExampleTransport_Logout() {
	t, _ := exampleTransport(nil)
	defer t.Close()
	ctx := context.Background()
	fmt.Println(t.Login(ctx, alice))
	fmt.Println(t.Logout(ctx))
	show(t.Client().Get("https://service.test/api"))
	// Output:
	// <nil>
	// <nil>
	// AUTH_LOGGED_OUT
}

func ExampleTransport_SetTokens() {
	t, _ := exampleTransport(func(c *refresher.Config) { c.AuthURL, c.Push = "", true })
	defer t.Close()
	err := t.SetTokens(context.Background(), refresher.Tokens{
		AccessToken: jwtOf(`{"email":"bob@example.com"}`),
		Identity:    refresher.Email("alice@example.com"),
	})
	fmt.Println(jwterrors.ReasonOf(err))
	// Output: AUTH_TOKEN_USER_KEY_INVALID
}

func ExampleTransport_Tokens() {
	t, _ := exampleTransport(nil)
	defer t.Close()
	_, ok := t.Tokens()
	fmt.Println(ok)
	fmt.Println(t.Login(context.Background(), alice))
	tokens, ok := t.Tokens()
	fmt.Println(ok, tokens.Scope)
	// Output:
	// false
	// <nil>
	// true a
}

func ExampleTransport_Refresh() {
	t, service := exampleTransport(nil)
	defer t.Close()
	ctx := context.Background()
	fmt.Println(t.Login(ctx, alice))
	fmt.Println(t.Refresh(ctx), service.refreshes.Load())
	// Output:
	// <nil>
	// <nil> 1
}

func ExampleTransport_Identify() {
	token := jwtOf(`{"email":"alice@example.com"}`)
	handler := refresher.AuthHandler(func(_ context.Context, id refresher.Identity) (refresher.AuthResponse, error) {
		fmt.Println("a token for", id)
		return refresher.AuthResponse{Token: token}, nil
	})
	t, _ := exampleTransport(func(c *refresher.Config) { c.AuthURL, c.Source = "", handler })
	defer t.Close()
	ctx := context.Background()
	fmt.Println(t.Identify(ctx, refresher.Email("alice@example.com")))
	fmt.Println(t.Identify(ctx, refresher.Email("alice@example.com"), refresher.WithTokens(refresher.Tokens{AccessToken: token})))
	// Output:
	// a token for alice@example.com
	// <nil>
	// <nil>
}

func ExampleTransport_Restore() {
	store := &refresher.MemoryStore{}
	first, _ := exampleTransport(func(c *refresher.Config) { c.Store = store })
	defer first.Close()
	ctx := context.Background()
	fmt.Println(first.Login(ctx, alice))

	second, _ := exampleTransport(func(c *refresher.Config) { c.Store = store })
	defer second.Close()
	fmt.Println(second.Restore(ctx))
	_, ok := second.Tokens()
	fmt.Println(ok)
	// Output:
	// <nil>
	// <nil>
	// true
}

func ExampleTransport_Resume() {
	t, service := exampleTransport(func(c *refresher.Config) { c.MaxFailures = 1 })
	defer t.Close()
	ctx := context.Background()
	fmt.Println(t.Login(ctx, alice))
	service.hookRefresh(func(w http.ResponseWriter, r *http.Request) bool {
		jwterrors.Responder{}.RespondOAuth(w, r, jwterrors.ClientInvalid)
		return true
	})
	fmt.Println(jwterrors.ReasonOf(t.Refresh(ctx)))
	fmt.Println(jwterrors.ReasonOf(t.Refresh(ctx)))
	service.hookRefresh(nil) // somebody has mended the configuration
	t.Resume()
	fmt.Println(t.Refresh(ctx))
	// Output:
	// <nil>
	// AUTH_CLIENT_INVALID
	// AUTH_PAUSED
	// <nil>
}

func ExampleTransport_Close() {
	t, _ := exampleTransport(nil)
	fmt.Println(t.Close(), t.Close())
	// Output: <nil> <nil>
}

func ExampleTransport_CloseIdleConnections() {
	t, _ := exampleTransport(nil)
	defer t.Close()
	t.Client().CloseIdleConnections() // reaches the base transport
	// Output:
}

func ExampleEmail() {
	fmt.Println(refresher.Email("alice@example.com"))
	// Output: alice@example.com
}

func ExampleUserID() {
	fmt.Println(refresher.UserID("user123").String())
	// Output: user123
}

func ExampleTokens_String() {
	tokens := refresher.Tokens{AccessToken: jwtOf(`{"sub":"alice"}`), RefreshToken: "never shown"}
	fmt.Println(tokens.String())
	// Output: Tokens{access eyJhbGciOiJFUzI1NiIs..., refresh (hidden)}
}

func ExampleCredentials_Format() {
	fmt.Println(alice)
	// Output: Credentials{"alice"}
}

func ExampleMemoryStore() {
	var store refresher.MemoryStore
	ctx := context.Background()
	unlock, err := store.Lock(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(store.Save(ctx, refresher.Tokens{AccessToken: jwtOf(`{}`)}))
	unlock()
	tokens, err := store.Load(ctx)
	fmt.Println(tokens.IsZero(), err)
	fmt.Println(store.Clear(ctx))
	// Output:
	// <nil>
	// false <nil>
	// <nil>
}

func ExampleTransport_Flush() {
	offline := true
	t, _ := exampleTransport(func(c *refresher.Config) {
		base := c.Base
		c.Base = tripFunc(func(r *http.Request) (*http.Response, error) {
			if offline && strings.HasSuffix(r.URL.Path, "/logout") {
				return nil, errors.New("no network")
			}
			return base.RoundTrip(r)
		})
	})
	defer t.Close()
	ctx := context.Background()
	fmt.Println(t.Login(ctx, alice))
	fmt.Println(jwterrors.ReasonOf(t.Logout(ctx)))
	show(t.Client().Get("https://service.test/api"))
	offline = false
	fmt.Println(t.Flush(ctx)) // the issuer is told now
	// Output:
	// <nil>
	// AUTH_REFRESH_UNAVAILABLE
	// AUTH_LOGGED_OUT
	// <nil>
}

func ExampleTransport_Run() {
	t, _ := exampleTransport(nil)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- t.Run(ctx) }()
	stop() // when the program ends
	fmt.Println(<-done)
	// Output: context canceled
}

func ExampleNewFileLogouts() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	queue, err := refresher.NewFileLogouts(filepath.Join(dir, "logouts"))
	fmt.Println(err)
	t, _ := exampleTransport(func(c *refresher.Config) { c.Logouts = queue })
	defer t.Close()
	ctx := context.Background()
	fmt.Println(t.Login(ctx, alice), t.Logout(ctx))
	waiting, err := queue.List(ctx)
	fmt.Println(len(waiting), err)
	// Output:
	// <nil>
	// <nil> <nil>
	// 0 <nil>
}

func ExampleFileLogouts() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	queue, err := refresher.NewFileLogouts(filepath.Join(dir, "logouts"))
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	fmt.Println(queue.Put(ctx, refresher.PendingLogout{
		ID: "A1", URL: "https://id.example.com/auth/logout", Since: time.Unix(1700000000, 0), Tokens: refresher.Tokens{RefreshToken: "secret"},
	}))
	waiting, err := queue.List(ctx)
	fmt.Println(waiting, err)
	fmt.Println(queue.Remove(ctx, "A1"))
	// Output:
	// <nil>
	// [PendingLogout{https://id.example.com/auth/logout, since 2023-11-14T22:13:20Z}] <nil>
	// <nil>
}
