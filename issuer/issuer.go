package issuer

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/jws"
)

// An Issuer is the http.Handler of all routes below Config.Prefix. Make one with
// New. It is safe for concurrent use, and holds no state but its Config.
type Issuer struct {
	c       Config
	masters masterKeys
	mux     *http.ServeMux
}

func (i *Issuer) routes() {
	i.mux = http.NewServeMux()
	for route, handler := range map[string]func(w http.ResponseWriter, r *http.Request) error{
		"POST /login":                i.login,
		"POST /refresh":              i.refreshRoute,
		"POST /logout":               i.logout,
		"GET /sessions":              i.list,
		"DELETE /sessions":           i.deleteOthers,
		"DELETE /sessions/{id}":      i.deleteOne,
		"GET /.well-known/jwks.json": i.keys,
	} {
		method, path, _ := strings.Cut(route, " ")
		i.mux.HandleFunc(method+" "+i.c.Prefix+path, func(w http.ResponseWriter, r *http.Request) {
			if err := handler(w, r); err != nil {
				i.refuse(w, r, err)
			}
		})
	}
}

// ServeHTTP answers the routes below Config.Prefix, which r's path must have.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mux.ServeHTTP(w, r)
}

// WellKnown returns the handler of the documents that stand at the root of a
// host, to mount with mux.Handle("/.well-known/", iss.WellKnown()): jwks.json.
func (i *Issuer) WellKnown() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/jwks.json", func(w http.ResponseWriter, r *http.Request) { _ = i.keys(w, r) })
	return mux
}

// JWKS returns the current JWK Set (RFC 7517): public keys only, none for HS256.
// The result must not be changed.
func (i *Issuer) JWKS() []byte { return i.c.Keys.JWKS() }

// refuse logs what is the operator's business and answers.
func (i *Issuer) refuse(w http.ResponseWriter, r *http.Request, err error) {
	var b *badRequest
	if errors.As(err, &b) {
		b.answer(w)
		return
	}
	if jwterrors.ReasonOf(err).Status() >= 500 {
		i.c.Logger.ErrorContext(r.Context(), "issuer: request failed", "path", r.URL.Path, "err", err)
	}
	i.c.Respond(w, r, err)
}

func (i *Issuer) login(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r, "username", "email", "password", "device", "scope")
	if err != nil {
		return err
	}
	c := Credentials{
		Username: body["username"], Email: body["email"], Password: body["password"], Device: clip(body["device"]), Address: address(r),
	}
	if (c.Username == "") == (c.Email == "") || c.Password == "" {
		return refused(jwterrors.RequestInvalid, "a login needs a username or an email, and a password")
	}
	user, err := i.c.Authenticate(r.Context(), c)
	if err != nil {
		var reason jwterrors.Reason
		if !errors.As(err, &reason) {
			return storeFailed("authenticate", err)
		}
		i.tell(Event{Kind: EventLoginFailed, Reason: reason, ClientID: i.c.ClientID, Address: c.Address})
		return err
	}
	t, err := i.begin(r.Context(), user, body["scope"], c.Device, c.Address, r.UserAgent())
	if err != nil {
		return err
	}
	return writeJSON(w, t)
}

func (i *Issuer) refreshRoute(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r, "refresh_token", "refreshToken")
	if err != nil {
		return err
	}
	token, err := refreshTokenOf(body)
	if err != nil {
		return err
	}
	if token == "" {
		return refused(jwterrors.RefreshTokenMissing, "the body has no refresh_token")
	}
	keys := r.Header.Values("Idempotency-Key")
	if len(keys) > 1 || len(keys) == 1 && len(keys[0]) > 255 {
		return refused(jwterrors.RequestInvalid, "Idempotency-Key is given twice or is longer than 255 bytes")
	}
	t, err := i.refresh(r.Context(), token, strings.Join(keys, ""), i.c.ClientID, address(r))
	if err != nil {
		return err
	}
	return writeJSON(w, t)
}

// refreshTokenOf returns the refresh token under either of its names.
func refreshTokenOf(body map[string]string) (string, error) {
	a, b := body["refresh_token"], body["refreshToken"]
	if a != "" && b != "" && a != b {
		return "", refused(jwterrors.RequestInvalid, "refresh_token and refreshToken differ")
	}
	return orDefault(a, b), nil
}

// logout ends the session of a refresh token, of an access token, or of both.
// What belongs to no session is no error: it is logged out.
func (i *Issuer) logout(w http.ResponseWriter, r *http.Request) error {
	var token string
	if r.ContentLength != 0 {
		body, err := readBody(w, r, "refresh_token", "refreshToken")
		if err != nil {
			return err
		}
		if token, err = refreshTokenOf(body); err != nil {
			return err
		}
	}
	access, err := bearer(r)
	if err != nil && (token == "" || !errors.Is(err, jwterrors.TokenMissing)) {
		if errors.Is(err, jwterrors.TokenMissing) {
			return refused(jwterrors.RefreshTokenMissing, "a logout needs a refresh token or a bearer token")
		}
		return err
	}
	if token != "" {
		if t, err := parseRefreshToken(token); err == nil {
			if s, err := i.read(r.Context(), t); err == nil {
				if err := i.logoutSession(r, &s); err != nil {
					return err
				}
			} else if errors.Is(err, jwterrors.StoreUnavailable) {
				return err
			}
		}
	}
	if access != "" {
		if s, err := i.owner(r.Context(), access); err == nil {
			if err := i.logoutSession(r, &s); err != nil {
				return err
			}
		} else if errors.Is(err, jwterrors.StoreUnavailable) {
			return err
		}
	}
	noStore(w)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (i *Issuer) logoutSession(r *http.Request, s *Session) error {
	if !s.Live(i.c.Now()) {
		return nil
	}
	if err := i.end(r.Context(), s); err != nil {
		return err
	}
	i.tell(i.about(EventLogout, s, "", address(r)))
	return nil
}

// sessionInfo is what a user sees of a session.
type sessionInfo struct {
	ID        string    `json:"id"`
	Current   bool      `json:"current"`
	ClientID  string    `json:"client_id"`
	Device    string    `json:"device,omitempty"`
	Address   string    `json:"address,omitempty"`
	UserAgent string    `json:"user_agent,omitempty"`
	Scope     string    `json:"scope"`
	CreatedAt time.Time `json:"created_at"`
	UsedAt    time.Time `json:"used_at"` // of the latest rotation
	ExpiresAt time.Time `json:"expires_at"`
}

// bearerSession returns the live session of the request's access token.
func (i *Issuer) bearerSession(r *http.Request) (Session, error) {
	access, err := bearer(r)
	if err != nil {
		return Session{}, err
	}
	return i.owner(r.Context(), access)
}

func (i *Issuer) list(w http.ResponseWriter, r *http.Request) error {
	own, err := i.bearerSession(r)
	if err != nil {
		return err
	}
	all, err := i.c.Store.List(r.Context(), own.Subject, i.c.Now())
	if err != nil {
		return storeFailed("list sessions", err)
	}
	infos := make([]sessionInfo, 0, len(all))
	for _, s := range all {
		infos = append(infos, sessionInfo{
			s.ID, s.ID == own.ID, s.ClientID, s.Device, s.Address, s.UserAgent, strings.Join(s.Scopes, " "),
			s.CreatedAt.UTC(), s.RotatedAt.UTC(), s.ExpiresAt.UTC(),
		})
	}
	return writeJSON(w, map[string]any{"sessions": infos})
}

func (i *Issuer) deleteOne(w http.ResponseWriter, r *http.Request) error {
	own, err := i.bearerSession(r)
	if err != nil {
		return err
	}
	s, err := i.c.Store.Get(r.Context(), r.PathValue("id"))
	switch {
	case errors.Is(err, ErrNoSession) || err == nil && s.Subject != own.Subject:
		return &badRequest{http.StatusNotFound, "There is no such session."}
	case err != nil:
		return storeFailed("read a session", err)
	}
	if err := i.logoutSession(r, &s); err != nil {
		return err
	}
	noStore(w)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (i *Issuer) deleteOthers(w http.ResponseWriter, r *http.Request) error {
	own, err := i.bearerSession(r)
	if err != nil {
		return err
	}
	if r.URL.Query().Get("others") != "true" {
		return refused(jwterrors.RequestInvalid, "others=true is missing")
	}
	if err := i.endOthers(r.Context(), own.Subject, own.ID, address(r)); err != nil {
		return err
	}
	noStore(w)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// keys answers the JWK Set with its validators (RFC 9110, Section 8.8.3).
func (i *Issuer) keys(w http.ResponseWriter, r *http.Request) error {
	body := i.JWKS()
	sum := sha256.Sum256(body)
	tag := `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
	h := w.Header()
	h.Set("Content-Type", "application/jwk-set+json")
	h.Set("Cache-Control", fmt.Sprintf("public, max-age=%d", int(JWKSMaxAge.Seconds())))
	h.Set("ETag", tag)
	h.Set("X-Content-Type-Options", "nosniff")
	for value := range strings.SplitSeq(r.Header.Get("If-None-Match"), ",") {
		if value = strings.TrimPrefix(strings.TrimSpace(value), "W/"); value == tag || value == "*" {
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
	}
	_, _ = w.Write(body) // a client that left needs no answer
	return nil
}

// bearer returns the access token of a request (RFC 6750, Section 2.1).
func bearer(r *http.Request) (string, error) {
	values := r.Header.Values("Authorization")
	if len(values) > 1 {
		return "", refused(jwterrors.RequestInvalid, "there are several Authorization fields")
	}
	scheme, token, _ := strings.Cut(strings.Join(values, ""), " ")
	token = strings.Trim(token, " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", refused(jwterrors.TokenMissing, "there is no bearer token")
	}
	return token, nil
}

// address returns the address that r came from, without its port.
func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return host
}

// maxBody limits the body of a request, in bytes.
const maxBody = 64 << 10

// readBody reads a JSON object and returns the strings of the members named;
// others are ignored, and null is the same as absent.
func readBody(w http.ResponseWriter, r *http.Request, names ...string) (map[string]string, error) {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return nil, &badRequest{http.StatusUnsupportedMediaType, "The body must be application/json."}
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, &badRequest{http.StatusRequestEntityTooLarge, "The body is too large."}
	} else if err != nil {
		return nil, refused(jwterrors.RequestInvalid, "the body broke off")
	}
	members, err := jws.Members(data)
	if err != nil {
		return nil, refused(jwterrors.RequestInvalid, "the body is not a JSON object with every name once")
	}
	values := map[string]string{}
	for _, name := range names {
		raw, ok := members[name]
		if !ok || string(raw) == "null" {
			continue
		}
		if values[name], err = jws.String(raw); err != nil {
			return nil, refused(jwterrors.RequestInvalid, fmt.Sprintf("%q is not a string", name))
		}
	}
	return values, nil
}

// badRequest is a refusal by the rules of HTTP, with a status of its own.
type badRequest struct {
	status int
	detail string
}

func (b *badRequest) Error() string { return b.detail }

func (b *badRequest) answer(w http.ResponseWriter) {
	noStore(w)
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(b.status)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"type": "about:blank", "title": http.StatusText(b.status), "status": b.status,
		"detail": b.detail, "reason": jwterrors.RequestInvalid,
	})
}

func noStore(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
}

func writeJSON(w http.ResponseWriter, v any) error {
	noStore(w)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // a client that left needs no answer
	return nil
}
