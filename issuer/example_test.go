package issuer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
)

// exampleConfig is a Config as a service would have it; its secrets come from
// the service's configuration.
func exampleConfig() issuer.Config {
	key, err := issuer.GenerateKey(issuer.ES256)
	if err != nil {
		panic(err)
	}
	ring, err := issuer.NewKeyRing(issuer.KeyRingConfig{Key: key})
	if err != nil {
		panic(err)
	}
	return issuer.Config{
		Issuer:     "https://id.example.com",
		Audience:   []string{"orders"},
		Keys:       ring,
		MasterKeys: []issuer.MasterKey{{Secret: bytes.Repeat([]byte("fake"), 8)}},
		Store:      issuer.NewMemoryStore(),
		Logger:     slog.New(slog.DiscardHandler),
		Authenticate: func(_ context.Context, c issuer.Credentials) (issuer.User, error) {
			if c.Username != "alice" || c.Password != "correct horse battery staple" {
				return issuer.User{}, jwterrors.CredentialsInvalid
			}
			return issuer.User{ID: "alice", Scopes: []string{"orders:read"}}, nil
		},
	}
}

// post sends JSON to a handler and returns the status and the answer.
func post(h http.Handler, path, body string) (int, map[string]any) {
	r := httptest.NewRequest("POST", path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var answer map[string]any
	_ = json.Unmarshal(w.Body.Bytes(), &answer)
	return w.Code, answer
}

const exampleLogin = `{"username":"alice","password":"correct horse battery staple"}`

func ExampleNew() {
	iss, err := issuer.New(exampleConfig())
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/", iss)
	mux.Handle("/.well-known/", iss.WellKnown())

	status, tokens := post(mux, "/auth/login", exampleLogin)
	fmt.Println(status, tokens["token_type"], tokens["expires_in"], tokens["scope"])
	// Output: 200 Bearer 900 orders:read
}

func ExampleNew_incorrect() {
	config := exampleConfig()
	config.Audience = nil
	config.AccessTTL = 366 * 24 * time.Hour
	_, err := issuer.New(config)
	fmt.Println(err)
	// Output:
	// issuer: Audience is required, and must not hold an empty string
	// issuer: AccessTTL is 8784h0m0s; it must be less than a year
	// issuer: RefreshTTL, 720h0m0s, must be longer than AccessTTL, 8784h0m0s
	// issuer: the key ring retires keys after 25h0m0s, when tokens of 8784h0m0s may still be alive, with a leeway of 1m0s
}

func ExampleIssuer_ServeHTTP() {
	config := exampleConfig()
	config.Grace = issuer.NoGrace
	iss, err := issuer.New(config)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, first := post(iss, "/auth/login", exampleLogin)
	body := fmt.Sprintf(`{"refresh_token":%q}`, first["refresh_token"])
	status, second := post(iss, "/auth/refresh", body)
	fmt.Println(status, second["refresh_token"] != first["refresh_token"])
	status, refused := post(iss, "/auth/refresh", body)
	fmt.Println(status, refused["reason"])
	// Output:
	// 200 true
	// 401 AUTH_REFRESH_TOKEN_REUSED
}

func ExampleIssuer_WellKnown() {
	iss, err := issuer.New(exampleConfig())
	if err != nil {
		fmt.Println(err)
		return
	}
	w := httptest.NewRecorder()
	iss.WellKnown().ServeHTTP(w, httptest.NewRequest("GET", "/.well-known/jwks.json", nil))
	fmt.Println(w.Code, w.Header().Get("Content-Type"), w.Header().Get("Cache-Control"))
	// Output: 200 application/jwk-set+json public, max-age=300
}

func ExampleIssuer_JWKS() {
	config := exampleConfig()
	iss, err := issuer.New(config)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(string(iss.JWKS()) == string(config.Keys.JWKS()))
	// Output: true
}

func ExampleKeyRing_Rotate() {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	first, _ := issuer.GenerateKey(issuer.EdDSA)
	ring, err := issuer.NewKeyRing(issuer.KeyRingConfig{Key: first, Now: func() time.Time { return now }})
	if err != nil {
		fmt.Println(err)
		return
	}
	next, _ := issuer.GenerateKey(issuer.EdDSA)
	from, err := ring.Rotate(next)
	fmt.Println(from.Format(time.TimeOnly), err)
	fmt.Println(strings.Count(string(ring.JWKS()), `"kid"`), "keys are published")
	// Output:
	// 12:30:00 <nil>
	// 2 keys are published
}

// A service keeps the slots with its private keys, and begins with them again.
func ExampleKeyRing_Slots() {
	now := func() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) }
	first, _ := issuer.GenerateKey(issuer.EdDSA)
	next, _ := issuer.GenerateKey(issuer.EdDSA)
	ring, err := issuer.NewKeyRing(issuer.KeyRingConfig{Key: first, Now: now})
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := ring.Rotate(next); err != nil {
		fmt.Println(err)
		return
	}
	again, err := issuer.NewKeyRing(issuer.KeyRingConfig{Slots: ring.Slots(), Now: now})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(string(again.JWKS()) == string(ring.JWKS()), again.Slots()[1].From.Format(time.TimeOnly))
	// Output: true 12:30:00
}

func ExampleNewKeyRing() {
	_, err := issuer.NewKeyRing(issuer.KeyRingConfig{PublishBefore: time.Minute})
	fmt.Println(err)
	// Output:
	// issuer: KeyRingConfig.Key or Slots is required; GenerateKey and ParseKey make a Key
	// issuer: PublishBefore is 1m0s, and verifiers may keep the keys for 5m0s, with a clock that is 1m0s off
}

func ExampleKeyRing_JWKS() {
	secret, _ := issuer.NewSecretKey(bytes.Repeat([]byte("fake"), 8))
	ring, err := issuer.NewKeyRing(issuer.KeyRingConfig{Key: secret})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(string(ring.JWKS()), "since a secret is never published")
	// Output: {"keys":[]} since a secret is never published
}

func ExampleGenerateKey() {
	key, err := issuer.GenerateKey(issuer.ES256)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(key.Algorithm(), len(key.ID()))
	// Output: ES256 43
}

func ExampleNewSecretKey() {
	_, err := issuer.NewSecretKey([]byte("short"))
	fmt.Println(err)
	// Output: issuer: an HS256 secret needs 32 bytes, and this one has 5
}

// A key in a KMS or an HSM is a crypto.Signer: its private part stays there.
func ExampleNewKey() {
	key, err := issuer.NewKey(kms{edPrivate})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(key.Algorithm())
	// Output: EdDSA
}

func ExampleParseKey() {
	file, err := issuer.GenerateKeyPEM(issuer.ES256) // to be kept where others cannot read it
	if err != nil {
		fmt.Println(err)
		return
	}
	key, err := issuer.ParseKey(file)
	fmt.Println(key.Algorithm(), err)
	_, err = issuer.ParseKey([]byte(`{"kty":"OKP","crv":"Ed448","d":"c2VjcmV0"}`))
	fmt.Println(err)
	// Output:
	// ES256 <nil>
	// issuer: the JWK: "crv" is not Ed25519
	// "x" is missing
	// "d" has 6 bytes, not 32
}

func ExampleParseKeys() {
	first, _ := issuer.GenerateKeyPEM(issuer.ES256)
	second, _ := issuer.GenerateKeyPEM(issuer.EdDSA)
	keys, err := issuer.ParseKeys(append(first, second...))
	fmt.Println(len(keys), keys[0].Algorithm(), keys[1].Algorithm(), err)
	// Output: 2 ES256 EdDSA <nil>
}

func ExampleGenerateKeyPEM() {
	file, err := issuer.GenerateKeyPEM(issuer.EdDSA)
	fmt.Println(strings.HasPrefix(string(file), "-----BEGIN PRIVATE KEY-----"), err)
	_, err = issuer.GenerateKeyPEM(issuer.HS256)
	fmt.Println(err)
	// Output:
	// true <nil>
	// issuer: an HS256 secret is 32 random bytes, not PEM
}

func ExampleMemoryStore() {
	var store issuer.MemoryStore
	ctx := context.Background()
	end := time.Now().Add(time.Hour)
	err := store.Create(ctx, issuer.Session{ID: "s1", Subject: "alice", ExpiresAt: end})
	fmt.Println(err)
	for range 2 {
		ok, err := store.Rotate(ctx, "s1", 0, issuer.Rotation{Generation: 1})
		fmt.Println(ok, err)
	}
	// Output:
	// <nil>
	// true <nil>
	// false <nil>
}

func ExampleIssuer_RevokeSession() {
	iss, err := issuer.New(exampleConfig())
	if err != nil {
		fmt.Println(err)
		return
	}
	_, tokens := post(iss, "/auth/login", exampleLogin)
	refreshToken := fmt.Sprint(tokens["refresh_token"])
	id := strings.Split(refreshToken, ".")[2] // as in the claim "sid", and in events
	fmt.Println(iss.RevokeSession(context.Background(), id))
	status, refused := post(iss, "/auth/refresh", fmt.Sprintf(`{"refresh_token":%q}`, refreshToken))
	fmt.Println(status, refused["reason"])
	// Output:
	// <nil>
	// 401 AUTH_SESSION_REVOKED
}

func ExampleIssuer_RevokeSubject() {
	iss, err := issuer.New(exampleConfig())
	if err != nil {
		fmt.Println(err)
		return
	}
	_, tokens := post(iss, "/auth/login", exampleLogin)
	fmt.Println(iss.RevokeSubject(context.Background(), "alice"))
	status, refused := post(iss, "/auth/refresh", fmt.Sprintf(`{"refresh_token":%q}`, tokens["refresh_token"]))
	fmt.Println(status, refused["reason"])
	// Output:
	// <nil>
	// 401 AUTH_SESSION_REVOKED
}

func ExampleKey() {
	key, err := issuer.NewSecretKey([]byte("an obviously fake secret, 32 bytes"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(key.Algorithm(), key.ID())
	fmt.Println(key) // never the secret
	// Output:
	// HS256 82kSSCRRiKAPoQ3s
	// HS256 key "82kSSCRRiKAPoQ3s"
}

func ExampleMasterKey() {
	fmt.Printf("%+v\n", issuer.MasterKey{ID: "2026-11", Secret: bytes.Repeat([]byte("fake"), 8)})
	// Output: master key "2026-11"
}

func ExampleCredentials() {
	fmt.Printf("%+v\n", issuer.Credentials{Username: "alice", Password: "correct horse battery staple"})
	// Output: credentials of alice
}

func ExampleSession_Live() {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	s := issuer.Session{ExpiresAt: now.Add(time.Hour), IdleUntil: now.Add(time.Minute)}
	fmt.Println(s.Live(now), s.Live(now.Add(time.Minute)))
	// Output: true false
}

func ExampleNewMemoryStore() {
	_, err := issuer.NewMemoryStore().Get(context.Background(), "unknown")
	fmt.Println(err)
	// Output: issuer: no such session
}

func ExampleMemoryStore_DeleteExpired() {
	store := issuer.NewMemoryStore()
	ctx := context.Background()
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for n := range 5 {
		if err := store.Create(ctx, issuer.Session{ID: fmt.Sprint(n), ExpiresAt: now.Add(-time.Hour)}); err != nil {
			fmt.Println(err)
		}
	}
	for range 3 {
		fmt.Println(store.DeleteExpired(ctx, now, 3))
	}
	// Output:
	// 3 <nil>
	// 2 <nil>
	// 0 <nil>
}

func ExampleMemoryStore_Replace() {
	store := issuer.NewMemoryStore()
	ctx := context.Background()
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for _, id := range []string{"phone", "laptop"} {
		s := issuer.Session{ID: id, Subject: "alice", AuthTime: now, CreatedAt: now, ExpiresAt: now.Add(time.Hour)}
		fmt.Println(store.Replace(ctx, s))
	}
	// Output:
	// [] <nil>
	// [phone] <nil>
}

// A login that was in flight when its user was revoked is refused.
func ExampleMemoryStore_RevokeSubject() {
	store := issuer.NewMemoryStore()
	ctx := context.Background()
	started := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	ids, err := store.RevokeSubject(ctx, "alice", "", started.Add(time.Second))
	fmt.Println(ids, err)
	s := issuer.Session{ID: "s1", Subject: "alice", AuthTime: started, CreatedAt: started.Add(2 * time.Second)}
	fmt.Println(store.Create(ctx, s))
	// Output:
	// [] <nil>
	// issuer: the subject was revoked since this login began
}

func ExampleMemoryStore_List() {
	store := issuer.NewMemoryStore()
	ctx := context.Background()
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for n, device := range []string{"phone", "laptop"} {
		s := issuer.Session{ID: fmt.Sprint(n), Subject: "alice", Device: device, ExpiresAt: now.Add(time.Hour)}
		s.CreatedAt = now.Add(time.Duration(n) * time.Minute)
		if err := store.Create(ctx, s); err != nil {
			fmt.Println(err)
		}
	}
	sessions, err := store.List(ctx, "alice", now)
	for _, s := range sessions {
		fmt.Println(s.Device)
	}
	fmt.Println(err)
	ids, err := store.RevokeSubject(ctx, "alice", "1", now)
	fmt.Println(ids, err)
	fmt.Println(store.Revoke(ctx, "1", now))
	// Output:
	// laptop
	// phone
	// <nil>
	// [0] <nil>
	// <nil>
}

func ExampleKeySchedule_Run() {
	first, _ := issuer.GenerateKey(issuer.ES256)
	ring, err := issuer.NewKeyRing(issuer.KeyRingConfig{Key: first})
	if err != nil {
		fmt.Println(err)
		return
	}
	schedule, err := issuer.NewKeySchedule(issuer.KeyScheduleConfig{
		Ring: ring, Every: 90 * 24 * time.Hour,
		Next: func(context.Context) (*issuer.Key, error) { return issuer.GenerateKey(issuer.ES256) },
		Save: func(_ context.Context, slots []issuer.KeySlot) error { return nil }, // to where a restart reads them
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- schedule.Run(ctx) }() // while the service runs
	stop()
	fmt.Println(<-ended)
	// Output: context canceled
}

func ExampleNewKeySchedule() {
	_, err := issuer.NewKeySchedule(issuer.KeyScheduleConfig{Every: -time.Hour})
	fmt.Println(err)
	// Output:
	// issuer: KeyScheduleConfig.Ring is required
	// issuer: KeyScheduleConfig.Next is required
	// issuer: KeyScheduleConfig.Every is -1h0m0s; it is required
}
