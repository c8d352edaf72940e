package main

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tokenloop/tokenloop/examples/internal/exampletest"
	"github.com/tokenloop/tokenloop/middleware"
)

func init() { gin.SetMode(gin.TestMode) }

func TestRoutes(t *testing.T) {
	iss := exampletest.NewIssuer(t)
	r := router(iss.Auth)
	var ran atomic.Int64
	r.Any(exampletest.Probe, wrap(iss.Auth.Handler), wrap(middleware.RequireScopes("admin")),
		func(*gin.Context) { ran.Add(1) },
		func(c *gin.Context) { c.String(http.StatusOK, "probed") })
	exampletest.Routes(t, iss, r, func() int { return int(ran.Load()) })
}

// A handler of gin's that stands around the guard finds out what became of the
// request, and a panic behind it reaches gin's own recovery.
func TestHandlersAroundTheGuardSeeWhatHappened(t *testing.T) {
	iss := exampletest.NewIssuer(t)
	type seen struct {
		status  int
		aborted bool
		subject string
	}
	var last atomic.Pointer[seen]
	r := gin.New()
	r.Use(gin.CustomRecoveryWithWriter(nil, func(c *gin.Context, _ any) { c.AbortWithStatus(http.StatusInternalServerError) }))
	r.Use(func(c *gin.Context) {
		defer func() {
			s := &seen{status: c.Writer.Status(), aborted: c.IsAborted()}
			if claims, ok := middleware.FromContext(c.Request.Context()); ok {
				s.subject = claims.Subject
			}
			last.Store(s)
		}()
		c.Next()
	})
	r.Use(wrap(iss.Auth.Handler))
	r.GET("/fine", func(c *gin.Context) { c.Status(http.StatusNoContent) })
	r.GET("/panic", func(*gin.Context) { panic("a handler's own mistake") })
	server := httptest.NewServer(r)
	defer server.Close()
	token := "Bearer " + iss.Token(t, "", time.Hour)

	for _, tt := range []struct {
		name, path, authorization string
		status                    int
		want                      seen
	}{
		{"passed", "/fine", token, 204, seen{204, false, "alice"}},
		{"refused", "/fine", "", 401, seen{401, true, ""}},
		{"refused before the panic", "/panic", "", 401, seen{401, true, ""}},
		{"panicked", "/panic", token, 500, seen{200, false, "alice"}}, // 500 is recovery's, which is further out
		{"unknown routes are closed as well", "/nowhere", "", 401, seen{401, true, ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp, body := exampletest.Ask(t, server.Client(), "GET", server.URL+tt.path, tt.authorization)
			if resp.StatusCode != tt.status {
				t.Errorf("status %d, want %d: %s", resp.StatusCode, tt.status, body)
			}
			if got := *last.Load(); got != tt.want {
				t.Errorf("the handler around it saw %+v, want %+v", got, tt.want)
			}
		})
	}
}

// What handlers do with gin's writer works behind the middleware, and no way of
// writing shows the body of an answer to a preflight.
func TestTheWriterBehindTheMiddleware(t *testing.T) {
	iss := exampletest.NewIssuer(t)
	r := gin.New()
	r.Any("/deadline", wrap(iss.Auth.Handler), func(c *gin.Context) {
		if err := http.NewResponseController(c.Writer).SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
			_ = c.AbortWithError(http.StatusInternalServerError, err)
			return
		}
		c.Writer.WriteHeader(http.StatusAccepted)
		_, _ = c.Writer.WriteString("written at " + strconv.Itoa(c.Writer.Status()))
	})
	r.Any("/string", wrap(iss.Auth.Handler), func(c *gin.Context) { _, _ = c.Writer.WriteString("written") })
	server := httptest.NewServer(r)
	defer server.Close()
	token := "Bearer " + iss.Token(t, "", time.Hour)

	resp, body := exampletest.Ask(t, server.Client(), "GET", server.URL+"/deadline", token)
	if resp.StatusCode != http.StatusAccepted || body != "written at 202" {
		t.Errorf("status %d, body %q", resp.StatusCode, body)
	}
	resp, body = exampletest.Preflight(t, server.Client(), server.URL+"/string")
	if resp.StatusCode != http.StatusOK || body != "" {
		t.Errorf("preflight: status %d, body %q", resp.StatusCode, body)
	}
}
