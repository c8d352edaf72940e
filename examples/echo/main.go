// Echo protects routes of github.com/labstack/echo. Its WrapMiddleware is the
// adapter, in version 4 as in 5: a refused request never reaches echo's next
// handler, and what that returns still goes to echo's error handler.
//
//	go run ./examples/echo
//
// It serves on 127.0.0.1:8081 until it is interrupted, and says what to try. The issuer
// beside it is for the example: yours is somewhere else.
package main

import (
	"fmt"
	"log"
	"net/http"

	"github.com/labstack/echo/v5"
	echomiddleware "github.com/labstack/echo/v5/middleware"

	"github.com/tokenloop/tokenloop/examples/internal/loopback"
	"github.com/tokenloop/tokenloop/middleware"
)

func router(auth *middleware.Middleware) *echo.Echo {
	e := echo.New()
	e.Use(echomiddleware.Recover())
	e.GET("/healthz", func(c *echo.Context) error { return c.String(http.StatusOK, "ok") })

	// A refusal is an answer and not an error to echo: the error handler, which
	// would write another body behind it, is not called.
	orders := e.Group("/orders", echo.WrapMiddleware(auth.Handler))
	orders.GET("/:id", func(c *echo.Context) error {
		// The claims are in the request's context, and not in c.Get.
		claims, _ := middleware.FromContext(c.Request().Context())
		return c.String(http.StatusOK, fmt.Sprintf("order %s of %s", c.Param("id"), claims.Subject))
	}, echo.WrapMiddleware(middleware.RequireScopes("api:read")))
	orders.DELETE("/:id", func(c *echo.Context) error {
		claims, _ := middleware.FromContext(c.Request().Context())
		return c.String(http.StatusOK, fmt.Sprintf("order %s of %s is gone", c.Param("id"), claims.Subject))
	}, echo.WrapMiddleware(middleware.RequireScopes("admin")))
	return e
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
