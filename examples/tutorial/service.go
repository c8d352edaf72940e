package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"net/http"

	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/sqlstore"
	"github.com/tokenloop/tokenloop/middleware"
)

// A service is the API of the app.
type service struct {
	handler  http.Handler
	activity *issuer.EventQueue
	users    *users
}

func newService(ctx context.Context, url string, db *sql.DB, dialect sqlstore.Dialect, o options) (*service, error) {
	store, err := sqlstore.New(sqlstore.Config{DB: db, Dialect: dialect})
	if err != nil {
		return nil, err
	}
	if err := store.Migrate(ctx); err != nil {
		return nil, err
	}
	s := &service{}
	if s.users, err = newUsers(ctx, db, o.tellAccounts); err != nil {
		return nil, err
	}
	// The log of activities is written off the path of the requests.
	if s.activity, err = issuer.NewEventQueue(issuer.EventQueueConfig{Handle: s.users.logActivity}); err != nil {
		return nil, err
	}
	key, err := issuer.GenerateKey(issuer.ES256) // a real service has both from its configuration
	if err != nil {
		return nil, err
	}
	master := make([]byte, 32)
	rand.Read(master)
	ring, err := issuer.NewKeyRing(issuer.KeyRingConfig{Key: key})
	if err != nil {
		return nil, err
	}
	iss, err := issuer.New(issuer.Config{
		Issuer: url, Audience: []string{"app"}, Keys: ring, Store: store,
		MasterKeys:   []issuer.MasterKey{{Secret: master}},
		Authenticate: s.users.authenticate, Register: s.users.register, OnEvent: s.activity.Add,
		AccessTTL: o.accessTTL, RefreshTTL: o.refreshTTL,

		// The wire format.
		Prefix: "/",
		Routes: issuer.Routes{Refresh: "/refreshToken", Sessions: issuer.RouteOff},
		Encode: encode, Respond: respond,
		// The client keeps the refresh token of its login, which a refresh does
		// not answer. Clients that can store another one should get it: drop
		// this, and the case in encode.
		InsecureNoRotation: true,
	})
	if err != nil {
		return nil, err
	}
	leeway := o.leeway
	if leeway == 0 {
		leeway = middleware.NoLeeway
	}
	auth, err := middleware.New(middleware.Config{
		Keys: middleware.LocalJWKS(iss.JWKS), Issuer: url, Audience: []string{"app"}, Leeway: leeway, Respond: respond,
	})
	if err != nil {
		return nil, err
	}
	protected := http.NewServeMux()
	protected.HandleFunc("GET /getAll", s.getAll)
	protected.HandleFunc("GET /profile", profile)
	mux := http.NewServeMux()
	for _, path := range []string{"/signup", "/login", "/refreshToken", "/logout"} {
		mux.Handle(path, iss)
	}
	mux.Handle("/", auth.Handler(protected)) // everything else wants a token
	s.handler = mux
	return s, nil
}

// profile is what the app shows when somebody is logged in.
func profile(w http.ResponseWriter, r *http.Request) {
	claims, _ := middleware.FromContext(r.Context())
	write(w, http.StatusOK, map[string]any{"success": true, "username": claims.Subject})
}

// getAll is the list of users, without their passwords.
func (s *service) getAll(w http.ResponseWriter, r *http.Request) {
	names, err := s.users.all(r.Context())
	if err != nil {
		respond(w, r, err)
		return
	}
	type user struct {
		Username string `json:"username"`
	}
	users := []user{}
	for _, name := range names {
		users = append(users, user{name})
	}
	write(w, http.StatusOK, map[string]any{"success": true, "users": users})
}
