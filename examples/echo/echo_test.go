package main

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/labstack/echo/v5"

	"github.com/tokenloop/tokenloop/examples/internal/exampletest"
	"github.com/tokenloop/tokenloop/middleware"
)

func TestRoutes(t *testing.T) {
	iss := exampletest.NewIssuer(t)
	e := router(iss.Auth)
	var ran atomic.Int64
	count := func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c *echo.Context) error {
			ran.Add(1)
			return next(c)
		}
	}
	e.Any(exampletest.Probe, func(c *echo.Context) error { return c.String(http.StatusOK, "probed") },
		echo.WrapMiddleware(iss.Auth.Handler), echo.WrapMiddleware(middleware.RequireScopes("admin")), count)
	exampletest.Routes(t, iss, e, func() int { return int(ran.Load()) })
}

// The error handler gets what handlers return and panic with, and nothing of what
// the middleware has answered.
func TestTheErrorHandlerIsForHandlers(t *testing.T) {
	iss := exampletest.NewIssuer(t)
	e := router(iss.Auth)
	e.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	var handled atomic.Int64
	answer := echo.DefaultHTTPErrorHandler(false)
	e.HTTPErrorHandler = func(c *echo.Context, err error) {
		handled.Add(1)
		answer(c, err)
	}
	inside := e.Group("/inside", echo.WrapMiddleware(iss.Auth.Handler))
	inside.GET("/teapot", func(*echo.Context) error { return echo.NewHTTPError(http.StatusTeapot, "short and stout") })
	inside.GET("/panic", func(*echo.Context) error { panic("a handler's own mistake") })
	server := httptest.NewServer(e)
	defer server.Close()
	token := "Bearer " + iss.Token(t, "", time.Hour)

	for _, tt := range []struct {
		name, path, authorization string
		status                    int
		handled                   int64
		says                      string
	}{
		{"an error behind the middleware", "/inside/teapot", token, 418, 1, "short and stout"},
		{"a panic behind the middleware", "/inside/panic", token, 500, 1, "Internal Server Error"},
		{"a refusal", "/inside/teapot", "", 401, 0, "AUTH_TOKEN_MISSING"},
		{"a refusal in front of a panic", "/inside/panic", "Bearer x", 401, 0, "AUTH_TOKEN_FORMAT_INVALID"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := handled.Load()
			resp, body := exampletest.Ask(t, server.Client(), "GET", server.URL+tt.path, tt.authorization)
			if resp.StatusCode != tt.status || !strings.Contains(body, tt.says) {
				t.Errorf("status %d, want %d with %q: %s", resp.StatusCode, tt.status, tt.says, body)
			}
			if n := handled.Load() - before; n != tt.handled {
				t.Errorf("the error handler was called %d times, want %d", n, tt.handled)
			}
		})
	}
}
