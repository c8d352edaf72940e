package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"html/template"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/issuer"
)

const (
	authorizePath     = "/authorize"
	maxAuthorizeBytes = 64 << 10 // of the form
)

// A consent is the page of authorization_code (RFC 6749, Section 4.1.1): one form
// that logs the user in and asks for consent. It keeps nothing and sets no cookie:
// everybody who allows something gives the password with it, so that no other site
// can allow something in the user's name.
type consent struct {
	issuer       *issuer.Issuer
	authenticate func(context.Context, issuer.Credentials) (issuer.User, error)
	limiter      issuer.Limiter // nil limits nothing
	account      issuer.Budget
	tell         func(issuer.Event)
	now          func() time.Time
}

// addressBudget is what one address may try on the page, like at the login.
var addressBudget = issuer.Budget{Attempts: 200, Every: 5 * time.Second}

// authorizeParameters are those of the request. Others are ignored (RFC 6749,
// Section 3.1).
var authorizeParameters = []string{
	"response_type", "client_id", "redirect_uri", "scope", "state", "code_challenge", "code_challenge_method", "dpop_jkt",
}

// A consentPage is what the page shows.
type consentPage struct {
	Client, Redirect, Username, Message string
	Scopes                              []string // empty: all that the user may grant
	Hidden                              [][2]string
}

func (c *consent) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+authorizePath, func(w http.ResponseWriter, r *http.Request) {
		q, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			c.refuse(w, http.StatusBadRequest, "The address of this page is broken.")
			return
		}
		if c.check(w, r, q) {
			c.show(w, http.StatusOK, q, "")
		}
	})
	mux.Handle("POST "+authorizePath, http.NewCrossOriginProtection().Handler(http.HandlerFunc(c.post)))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		c.policy(w, "'self'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin") // without any, the form's origin would be "null"
		mux.ServeHTTP(w, r)
	})
}

// policy lets the form be sent to the targets: browsers ask that of the redirect
// that answers it, too.
func (c *consent) policy(w http.ResponseWriter, targets string) {
	w.Header().Set("Content-Security-Policy",
		"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'; form-action "+targets)
}

// check answers a request that cannot be granted, and reports whether it can. What
// is wrong with the client or the redirect URI is told to the user, and nothing is
// sent there (RFC 6749, Section 4.1.2.1).
func (c *consent) check(w http.ResponseWriter, r *http.Request, q url.Values) bool {
	for _, name := range authorizeParameters {
		if len(q[name]) > 1 {
			c.refuse(w, http.StatusBadRequest, "The request says "+name+" twice.")
			return false
		}
	}
	if err := c.issuer.CheckRedirect(r.Context(), q.Get("client_id"), q.Get("redirect_uri")); err != nil {
		c.refuseError(w, err, "The app that sent you here is not known, or wants the answer sent where it may not go.")
		return false
	}
	wrong := ""
	switch {
	case q.Get("response_type") == "":
		wrong = "invalid_request"
	case q.Get("response_type") != "code":
		wrong = "unsupported_response_type"
	case q.Get("code_challenge_method") != "S256" || len(q.Get("code_challenge")) != 43:
		wrong = "invalid_request" // RFC 7636, Section 4.4.1
	}
	if wrong != "" {
		redirect(w, q, url.Values{"error": {wrong}})
	}
	return wrong == ""
}

// post answers the form.
func (c *consent) post(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxAuthorizeBytes)
	if err := r.ParseForm(); err != nil || r.URL.RawQuery != "" {
		c.refuse(w, http.StatusBadRequest, "The form is broken.")
		return
	}
	q := r.PostForm
	if !c.check(w, r, q) {
		return
	}
	switch q.Get("decision") {
	case "allow":
	case "refuse":
		redirect(w, q, url.Values{"error": {"access_denied"}})
		return
	default:
		c.refuse(w, http.StatusBadRequest, "The form is broken.")
		return
	}
	began := c.now() // before the account is looked at, which may be revoked meanwhile
	user, err := c.logIn(r, issuer.Credentials{Username: q.Get("username"), Password: q.Get("password")})
	switch {
	case errors.Is(err, jwterrors.CredentialsInvalid):
		c.show(w, http.StatusUnauthorized, q, "The username or the password is wrong.")
		return
	case err != nil:
		c.refuseError(w, err, "Try again later.")
		return
	}
	code, err := c.issuer.GrantCode(r.Context(), issuer.CodeRequest{
		ClientID: q.Get("client_id"), RedirectURI: q.Get("redirect_uri"), Scope: q.Get("scope"),
		CodeChallenge: q.Get("code_challenge"), CodeChallengeMethod: q.Get("code_challenge_method"),
		User: user, AuthTime: began, DPoPJKT: q.Get("dpop_jkt"),
	})
	switch {
	case err == nil:
		redirect(w, q, url.Values{"code": {code}})
	case errors.Is(err, jwterrors.ScopeInvalid):
		redirect(w, q, url.Values{"error": {"invalid_scope"}})
	case errors.Is(err, jwterrors.RequestInvalid):
		redirect(w, q, url.Values{"error": {"invalid_request"}})
	case errors.Is(err, jwterrors.StoreUnavailable):
		redirect(w, q, url.Values{"error": {"temporarily_unavailable"}})
	default:
		redirect(w, q, url.Values{"error": {"server_error"}})
	}
}

// logIn asks for the password, as often as /login does, in budgets of this page.
func (c *consent) logIn(r *http.Request, who issuer.Credentials) (issuer.User, error) {
	ctx := r.Context()
	sum := sha256.Sum256([]byte(strings.ToLower(strings.TrimSpace(who.Username))))
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	who.Address = host
	account, address := "authorize-account:"+hex.EncodeToString(sum[:16]), "authorize-address:"+network(host)
	if c.limiter != nil {
		err := c.take(ctx, address, addressBudget)
		if err == nil {
			err = c.take(ctx, account, c.account)
		}
		if err != nil {
			return issuer.User{}, err
		}
	}
	user, err := c.authenticate(ctx, who)
	if err != nil {
		c.tell(issuer.Event{
			Kind: issuer.EventLoginFailed, Time: c.now(), Reason: jwterrors.ReasonOf(err), ClientID: r.PostForm.Get("client_id"), Address: host,
		})
		return user, err
	}
	if c.limiter != nil {
		// An error here means that the next attempt has to wait, which is safe.
		_ = c.limiter.Give(ctx, account, c.account.Attempts, c.account)
		_ = c.limiter.Give(ctx, address, 1, addressBudget)
	}
	return user, nil
}

// network returns what stands for an address where attempts are counted: whoever
// has one IPv6 address has the 64 bits of its network, too.
func network(host string) string {
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return ""
	}
	if ip = ip.Unmap(); ip.Is6() {
		return netip.PrefixFrom(ip, 64).Masked().String()
	}
	return ip.String()
}

func (c *consent) take(ctx context.Context, key string, b issuer.Budget) error {
	switch wait, err := c.limiter.Take(ctx, key, b); {
	case err != nil:
		return &jwterrors.Error{Reason: jwterrors.StoreUnavailable, Err: err}
	case wait > 0:
		return &jwterrors.Error{Reason: jwterrors.RateLimited, RetryAfter: wait}
	}
	return nil
}

// show shows the form.
func (c *consent) show(w http.ResponseWriter, status int, q url.Values, message string) {
	page := consentPage{
		Client: q.Get("client_id"), Redirect: q.Get("redirect_uri"), Scopes: strings.Fields(q.Get("scope")),
		Username: q.Get("username"), Message: message,
	}
	for _, name := range authorizeParameters {
		if q.Has(name) {
			page.Hidden = append(page.Hidden, [2]string{name, q.Get(name)})
		}
	}
	c.policy(w, "'self' "+origin(page.Redirect))
	c.write(w, status, consentForm, page)
}

// origin returns the source expression (CSP 3, Section 2.3.1) of a redirect URI
// that was checked: its origin, or its scheme where that is an app's own.
func origin(redirect string) string {
	u, err := url.Parse(redirect)
	switch {
	case err != nil || strings.ContainsAny(u.Host, "; ,'\""):
		return ""
	case u.Scheme == "http" || u.Scheme == "https":
		return u.Scheme + "://" + u.Host
	}
	return u.Scheme + ":"
}

// redirect sends the browser back to the client with the answer, and the state of
// the request.
func redirect(w http.ResponseWriter, q, answer url.Values) {
	if q.Get("state") != "" {
		answer.Set("state", q.Get("state"))
	}
	to := q.Get("redirect_uri")
	if strings.Contains(to, "?") {
		to += "&"
	} else {
		to += "?"
	}
	w.Header().Set("Location", to+answer.Encode())
	w.WriteHeader(http.StatusSeeOther)
}

// refuse shows a page without a form.
func (c *consent) refuse(w http.ResponseWriter, status int, message string) {
	c.write(w, status, consentRefusal, message)
}

// refuseError shows what an error means, and message unless it is the server's own.
func (c *consent) refuseError(w http.ResponseWriter, err error, message string) {
	status := jwterrors.ReasonOf(err).Status()
	if status != http.StatusTooManyRequests && status != http.StatusServiceUnavailable {
		c.refuse(w, http.StatusBadRequest, message)
		return
	}
	wait := time.Second
	if e := (*jwterrors.Error)(nil); errors.As(err, &e) && e.RetryAfter > 0 {
		wait = e.RetryAfter
	}
	w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	c.refuse(w, status, "This does not work now. Try again later.")
}

func (c *consent) write(w http.ResponseWriter, status int, t *template.Template, data any) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_ = t.Execute(w, data) // fails only when the client has left
}

// The pages need no script, and nothing from elsewhere.
var (
	consentForm = template.Must(template.New("form").Parse(`<!DOCTYPE html>
<html lang="en">
<title>Log in</title>
<style>body { font-family: sans-serif; max-width: 30em; margin: 3em auto } label { display: block; margin: 1em 0 }</style>
<h1>Log in</h1>
{{with .Message}}<p role="alert">{{.}}</p>{{end}}
<p>The app <b>{{.Client}}</b> asks for {{if .Scopes}}these rights:{{else}}all rights that it can have.{{end}}</p>
{{with .Scopes}}<ul>{{range .}}<li>{{.}}</li>{{end}}</ul>{{end}}
<p>The answer goes to <code>{{.Redirect}}</code>.</p>
<form method="post" action="/authorize">
{{range .Hidden}}<input type="hidden" name="{{index . 0}}" value="{{index . 1}}">
{{end}}<label>Username <input name="username" value="{{.Username}}" autocomplete="username"></label>
<label>Password <input name="password" type="password" autocomplete="current-password"></label>
<button name="decision" value="allow">Log in and allow</button>
<button name="decision" value="refuse">Refuse</button>
</form>
</html>
`))
	consentRefusal = template.Must(template.New("refusal").Parse(`<!DOCTYPE html>
<html lang="en">
<title>This does not work</title>
<h1>This does not work</h1>
<p>{{.}}</p>
</html>
`))
)
