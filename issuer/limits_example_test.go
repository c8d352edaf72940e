package issuer_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"time"

	"github.com/tokenloop/tokenloop/issuer"
)

func ExampleLimits() {
	config := exampleConfig()
	config.Limits.Account = issuer.Budget{Attempts: 3, Every: time.Minute}
	iss, err := issuer.New(config)
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 4 {
		status, answer := post(iss, "/auth/login", `{"username":"alice","password":"a guess"}`)
		fmt.Println(status, answer["reason"])
	}
	// Output:
	// 401 AUTH_CREDENTIALS_INVALID
	// 401 AUTH_CREDENTIALS_INVALID
	// 401 AUTH_CREDENTIALS_INVALID
	// 429 AUTH_RATE_LIMITED
}

func ExampleNewMemoryLimiter() {
	limiter, err := issuer.NewMemoryLimiter(issuer.MemoryLimiterConfig{Entries: 1 << 20}) // 16 MiB
	if err != nil {
		fmt.Println(err)
		return
	}
	config := exampleConfig()
	config.Limits.Limiter = limiter
	_, err = issuer.New(config)
	fmt.Println(err)
	// Output: <nil>
}

func ExampleMemoryLimiter_Take() {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	limiter, err := issuer.NewMemoryLimiter(issuer.MemoryLimiterConfig{Now: func() time.Time { return now }})
	if err != nil {
		fmt.Println(err)
		return
	}
	budget := issuer.Budget{Attempts: 2, Every: time.Minute}
	for range 3 {
		fmt.Println(limiter.Take(context.Background(), "export:alice", budget))
	}
	// Output:
	// 0s <nil>
	// 0s <nil>
	// 1m0s <nil>
}

func ExampleMemoryLimiter_Give() {
	limiter, err := issuer.NewMemoryLimiter(issuer.MemoryLimiterConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, budget := context.Background(), issuer.Budget{Attempts: 1, Every: time.Minute}
	fmt.Println(limiter.Take(ctx, "export:alice", budget))
	fmt.Println(limiter.Give(ctx, "export:alice", 1, budget))
	fmt.Println(limiter.Take(ctx, "export:alice", budget))
	// Output:
	// 0s <nil>
	// <nil>
	// 0s <nil>
}

func ExampleTrustedProxies() {
	client, err := issuer.TrustedProxies("X-Forwarded-For", netip.MustParsePrefix("10.0.0.0/8"))
	if err != nil {
		fmt.Println(err)
		return
	}
	r := httptest.NewRequest("POST", "/auth/login", nil)
	r.RemoteAddr = "10.0.0.7:40000"
	r.Header.Set("X-Forwarded-For", "203.0.113.9, 198.51.100.1") // the first is what the client claimed
	fmt.Println(client(r))
	// Output: 198.51.100.1
}

func ExampleTrustedProxies_incorrect() {
	_, err := issuer.TrustedProxies("X-Forwarded-For", netip.MustParsePrefix("0.0.0.0/0"))
	fmt.Println(err)
	// Output: issuer: 0.0.0.0/0 trusts everybody
}

func ExampleNewEventQueue() {
	queue, err := issuer.NewEventQueue(issuer.EventQueueConfig{
		Handle: func(e issuer.Event) { fmt.Println(e.Kind, e.Subject) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	config := exampleConfig()
	config.OnEvent = queue.Add
	iss, err := issuer.New(config)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- queue.Run(ctx) }()

	post(iss, "/auth/login", exampleLogin)
	stop() // when the server has stopped
	fmt.Println(<-ended)
	// Output:
	// login alice
	// context canceled
}

func ExampleEventQueue_Add() {
	queue, err := issuer.NewEventQueue(issuer.EventQueueConfig{Handle: func(issuer.Event) {}, Size: 2})
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 5 { // nobody runs it
		queue.Add(issuer.Event{Kind: issuer.EventLogin})
	}
	fmt.Println(queue.Dropped(), "dropped")
	// Output: 3 dropped
}

// A browser finds the refresh token in a cookie, and sends it back by itself.
func ExampleNew_browser() {
	config := exampleConfig()
	config.Cookie = issuer.DefaultCookie
	config.Origins = []string{"https://app.example.com"}
	iss, err := issuer.New(config)
	if err != nil {
		fmt.Println(err)
		return
	}
	r := httptest.NewRequest("POST", "/auth/login", strings.NewReader(exampleLogin))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	iss.ServeHTTP(w, r)
	cookie := w.Result().Cookies()[0]
	fmt.Println(w.Code, cookie.Name, strings.Contains(w.Body.String(), "refresh_token"))

	for _, site := range []string{"same-origin", "cross-site"} {
		r = httptest.NewRequest("POST", "/auth/refresh", nil)
		r.AddCookie(&http.Cookie{Name: cookie.Name, Value: cookie.Value})
		r.Header.Set("Sec-Fetch-Site", site)
		w = httptest.NewRecorder()
		iss.ServeHTTP(w, r)
		fmt.Println(w.Code)
	}
	// Output:
	// 200 __Host-refresh false
	// 200
	// 403
}
