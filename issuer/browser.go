package issuer

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// DefaultCookie is a name for Config.Cookie.
const DefaultCookie = "__Host-refresh"

// A browser knows which origins may do what.
type browser struct {
	cookie  string
	origins []string
	guard   *http.CrossOriginProtection
}

// newBrowser returns the browser of a Config, or what is wrong.
func newBrowser(cookie string, origins []string) (*browser, []error) {
	b := &browser{cookie: cookie, origins: slices.Clone(origins), guard: http.NewCrossOriginProtection()}
	var wrong []error
	if name, ok := strings.CutPrefix(cookie, "__Host-"); cookie != "" && (!ok || !isToken(name)) {
		wrong = append(wrong, fmt.Errorf("issuer: Cookie %q is not a name that begins with __Host-", cookie))
	}
	for n, origin := range origins {
		err := checkOrigin(origin)
		if err == nil {
			err = b.guard.AddTrustedOrigin(origin)
		}
		if err == nil && slices.Contains(origins[:n], origin) {
			err = errors.New("it stands twice")
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("issuer: Origins %q: %w", origin, err))
		}
	}
	return b, wrong
}

// checkOrigin takes an origin in the form of the field Origin (RFC 6454, Section
// 6.2), since it is compared as a string.
func checkOrigin(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Hostname() == "" || s != u.Scheme+"://"+u.Host || strings.ContainsFunc(s, func(c rune) bool {
		return !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.ContainsRune("-.:/[]_", c))
	}):
		return errors.New("it is not an origin like https://app.example.com")
	case u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())):
		return errors.New("it does not begin with https://")
	case !isPort(u) || u.Port() == "443" && u.Scheme == "https" || u.Port() == "80" && u.Scheme == "http":
		return errors.New("browsers leave out the port when it is the one of the scheme")
	}
	return nil
}

// anotherOrigin says to the developer of a page why it is refused.
const anotherOrigin = "The request comes from a page of another origin, which is not among the Origins of this issuer."

// isPreflight reports whether a browser only asks with r what a page of another
// origin may do.
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

// cors says to browsers who may read the answer to r (the CORS protocol of the
// Fetch standard), and answers r when it only asks for that, for a page of an origin
// that is known. allow are the methods of the route.
func (b *browser) cors(w http.ResponseWriter, r *http.Request, allow string) bool {
	if len(b.origins) == 0 {
		return false
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	asks := isPreflight(r)
	origins := r.Header["Origin"]
	known := len(origins) == 1 && slices.Contains(b.origins, origins[0])
	if known {
		h.Set("Access-Control-Allow-Origin", origins[0])
		if b.cookie != "" {
			h.Set("Access-Control-Allow-Credentials", "true")
		}
	}
	if !asks {
		if known {
			h.Set("Access-Control-Expose-Headers", "Date, DPoP-Nonce, Retry-After, WWW-Authenticate")
		}
		return false
	}
	h.Add("Vary", "Access-Control-Request-Method, Access-Control-Request-Headers")
	noStore(w)
	if !known {
		return false
	}
	if allow == "" {
		w.WriteHeader(http.StatusForbidden)
		return true
	}
	h.Set("Access-Control-Allow-Methods", allow)
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, DPoP, Idempotency-Key")
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return true
}

// foreign reports whether a page of an origin that is not known has sent r, so that
// its cookie says nothing of what the user wants.
func (b *browser) foreign(r *http.Request) bool {
	if b.cookie == "" {
		return false
	}
	return b.guard.Check(r) != nil || r.Header.Get("Origin") == "null" && r.Method != http.MethodGet && r.Method != http.MethodHead
}

// needsBody reports whether r must have a body: where there is no cookie.
func (i *Issuer) needsBody(r *http.Request) bool { return i.c.Cookie == "" || r.ContentLength != 0 }

// presented returns the refresh token of r, from its body or its cookie, or "" when
// there is none.
func (i *Issuer) presented(r *http.Request, body map[string]string) (string, error) {
	token, err := refreshTokenOf(body)
	if err != nil || i.c.Cookie == "" {
		return token, err
	}
	for _, c := range r.CookiesNamed(i.c.Cookie) {
		if token != "" && c.Value != "" && c.Value != token {
			return "", refused(jwterrors.RequestInvalid, "there are two refresh tokens, in the body and in cookies, and they differ")
		}
		token = orDefault(token, c.Value)
	}
	return token, nil
}

// setCookie has the browser keep value for so many seconds, or forget it when they
// are negative.
func (i *Issuer) setCookie(w http.ResponseWriter, value string, seconds int) {
	http.SetCookie(w, &http.Cookie{
		Name: i.c.Cookie, Value: value, Path: "/", MaxAge: seconds, Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
}

// dropCookie has the browser forget the cookie that it sent.
func (i *Issuer) dropCookie(w http.ResponseWriter, r *http.Request) {
	if i.c.Cookie != "" && len(r.CookiesNamed(i.c.Cookie)) > 0 {
		i.setCookie(w, "", -1)
	}
}

// dropDead drops the cookie of a session that e, a refresh, says is no more. No
// other answer touches it: what failed may be tried again.
func (i *Issuer) dropDead(e endpoint) endpoint {
	return func(w http.ResponseWriter, r *http.Request) error {
		err := e(w, r)
		if errors.Is(err, errOtherDevice) {
			return err
		}
		switch jwterrors.ReasonOf(err) {
		case jwterrors.RefreshTokenInvalid, jwterrors.RefreshTokenExpired, jwterrors.RefreshTokenReused, jwterrors.SessionRevoked:
			i.dropCookie(w, r)
		}
		return err
	}
}
