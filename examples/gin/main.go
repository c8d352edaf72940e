// Gin protects routes of github.com/gin-gonic/gin. Its handlers have a form of
// their own, and a chain that goes on by itself: wrap is what lies between.
//
//	go run ./examples/gin
//
// It serves on 127.0.0.1:8081 until it is interrupted, and says what to try. The issuer
// beside it is for the example: yours is somewhere else.
package main

import (
	"io"
	"log"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/tokenloop/tokenloop/examples/internal/loopback"
	"github.com/tokenloop/tokenloop/middleware"
)

// wrap turns a middleware or a guard into a handler of gin.
func wrap(m func(http.Handler) http.Handler) gin.HandlerFunc {
	return func(c *gin.Context) {
		passed := false
		m(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			passed = true
			c.Request = r // its context has the claims
			c.Writer = writer{c.Writer, w}
			c.Next() // in here, so that a panic passes through m
		})).ServeHTTP(c.Writer, c.Request)
		if !passed {
			c.Abort() // m has answered: without this, gin calls the next handler
		}
	}
}

// A writer writes to what a middleware hands on, which may be another one than
// gin's own: that of Handler drops the body of the answer to a CORS preflight.
type writer struct {
	gin.ResponseWriter
	to http.ResponseWriter
}

func (w writer) WriteHeader(status int)            { w.to.WriteHeader(status) }
func (w writer) Write(p []byte) (int, error)       { return w.to.Write(p) }
func (w writer) WriteString(s string) (int, error) { return io.WriteString(w.to, s) }
func (w writer) Unwrap() http.ResponseWriter       { return w.to } // for http.ResponseController

func router(auth *middleware.Middleware) *gin.Engine {
	r := gin.New()
	r.Use(gin.Recovery())
	r.GET("/healthz", func(c *gin.Context) { c.String(http.StatusOK, "ok") })

	// A group, since Use on the engine itself would close /healthz as well.
	orders := r.Group("/orders", wrap(auth.Handler))
	orders.GET("/:id", wrap(middleware.RequireScopes("api:read")), func(c *gin.Context) {
		// Ask the request's context: gin's own, c, does not have the claims.
		claims, _ := middleware.FromContext(c.Request.Context())
		c.String(http.StatusOK, "order %s of %s", c.Param("id"), claims.Subject)
	})
	orders.DELETE("/:id", wrap(middleware.RequireScopes("admin")), func(c *gin.Context) {
		claims, _ := middleware.FromContext(c.Request.Context())
		c.String(http.StatusOK, "order %s of %s is gone", c.Param("id"), claims.Subject)
	})
	return r
}

func main() {
	issuer := loopback.Issuer()
	auth, err := middleware.New(middleware.Config{
		Keys:   middleware.JWKS(issuer+"/.well-known/jwks.json", middleware.JWKSOptions{InsecureAllowHTTP: true}), // on loopback
		Issuer: issuer, Audience: []string{"api"},
	})
	if err != nil {
		log.Fatal(err)
	}
	loopback.Serve(issuer, router(auth))
}
