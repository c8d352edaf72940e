package middleware

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/dpop"
)

// A source is a place in a request where a token can be.
type source struct {
	name string

	// read returns the token, or an error: with AUTH_TOKEN_MISSING where there
	// is none, with AUTH_REQUEST_INVALID where it cannot be told which one it
	// is, and with another reason where what is there is no token.
	read func(*http.Request) (string, error)
}

// The names of the source that every Middleware has, of the same header with the
// scheme of DPoP, and of the one whose answers no cache may keep.
const (
	inHeader = "the Authorization header"
	inDPoP   = "the Authorization header of DPoP"
	inQuery  = "the query"
)

// sources returns the places that c enables.
func (c *Config) sources() []source {
	all := []source{{inHeader, func(r *http.Request) (string, error) { return authorization(r, "bearer") }}}
	if c.DPoP != nil {
		all = append(all, source{inDPoP, func(r *http.Request) (string, error) { return authorization(r, dpop.Scheme) }})
	}
	if c.TokenCookie != "" {
		origins := c.CookieOrigins
		if origins == nil {
			origins = http.NewCrossOriginProtection()
		}
		name := c.TokenCookie
		all = append(all, source{"a cookie", func(r *http.Request) (string, error) { return fromCookie(r, name, origins) }})
	}
	if c.TokenInQuery {
		all = append(all, source{inQuery, fromQuery})
	}
	if c.TokenInForm {
		most := cmp.Or(c.MaxFormBytes, defaultMaxFormBytes)
		all = append(all, source{"the form", func(r *http.Request) (string, error) { return fromForm(r, most) }})
	}
	if f := c.TokenFrom; f != nil {
		all = append(all, source{"a place of the caller's", func(r *http.Request) (string, error) { return fromCaller(r, f) }})
	}
	return all
}

// tokenOf returns the token of r and the source that it is in. Exactly one of
// all enabled sources may hold one: two readers of a request with two could
// choose differently. The source is nil where there is none.
func (m *Middleware) tokenOf(r *http.Request) (string, *source, error) {
	var token string
	var found *source
	var wrong error
	for i := range m.sources {
		s := &m.sources[i]
		t, err := s.read(r)
		switch reason := reasonOf(err); {
		case reason == jwterrors.TokenMissing:
			continue
		case reason == jwterrors.RequestInvalid:
			return "", nil, err
		case found != nil:
			return "", nil, refuse(jwterrors.RequestInvalid, fmt.Errorf("a token in %s and another in %s", found.name, s.name))
		}
		token, found, wrong = t, s, err
	}
	if found == nil {
		return "", nil, errMissing
	}
	return token, found, wrong
}

var errMissing = refuse(jwterrors.TokenMissing, nil)

// authorization reads the Authorization header.
func authorization(r *http.Request, scheme string) (string, error) {
	values := r.Header["Authorization"]
	switch len(values) {
	case 0:
		return "", errMissing
	case 1:
		return credential(values[0], scheme)
	default:
		return "", refuse(jwterrors.RequestInvalid, errors.New("more than one Authorization header"))
	}
}

// fromCookie reads a cookie. An empty one is how some say that there is none.
// A browser adds cookies to what other sites make it send, so these are refused.
func fromCookie(r *http.Request, name string, origins *http.CrossOriginProtection) (string, error) {
	cookies := r.CookiesNamed(name)
	switch {
	case len(cookies) > 1:
		return "", refuse(jwterrors.RequestInvalid, errors.New("more than one cookie with a token"))
	case len(cookies) == 0 || cookies[0].Value == "":
		return "", errMissing
	}
	if err := origins.Check(r); err != nil {
		return "", refuse(jwterrors.RequestInvalid, err)
	}
	return cookies[0].Value, nil
}

// parameter is the name of the token in a query and in a form (RFC 6750,
// Sections 2.2 and 2.3).
const parameter = "access_token"

// fromQuery reads the query.
func fromQuery(r *http.Request) (string, error) {
	if r.URL.RawQuery == "" || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return "", errMissing
	}
	return oneOf(r.URL.RawQuery, inQuery)
}

// oneOf returns the token among encoded parameters.
func oneOf(encoded, place string) (string, error) {
	values, err := url.ParseQuery(encoded)
	tokens := values[parameter]
	switch {
	case len(tokens) > 1:
		return "", refuse(jwterrors.RequestInvalid, fmt.Errorf("more than one token in %s", place))
	case err != nil && strings.Contains(encoded, parameter): // the error quotes what may be a token
		return "", refuse(jwterrors.RequestInvalid, fmt.Errorf("%s is malformed", place))
	case len(tokens) == 0:
		return "", errMissing
	}
	return tokens[0], nil
}

// fromForm reads the body of a form, and leaves it to be read again.
func fromForm(r *http.Request, most int64) (string, error) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if r.Method != http.MethodPost || media != "application/x-www-form-urlencoded" || err != nil {
		return "", errMissing
	}
	if r.PostForm != nil { // read before
		return oneOf(url.Values{parameter: r.PostForm[parameter]}.Encode(), "the form")
	}
	if r.Body == nil || r.Body == http.NoBody {
		return "", errMissing
	}
	body := r.Body
	data, err := io.ReadAll(io.LimitReader(body, most+1))
	rest := io.Reader(body)
	if err != nil {
		rest = failing{err}
	}
	r.Body = &rereadable{io.MultiReader(bytes.NewReader(data), rest), body}
	switch {
	case err != nil:
		return "", refuse(jwterrors.RequestInvalid, fmt.Errorf("read the form: %w", err))
	case int64(len(data)) > most:
		return "", refuse(jwterrors.RequestInvalid, fmt.Errorf("the form has more than %d bytes", most))
	}
	return oneOf(string(data), "the form")
}

// A rereadable is a body of which the beginning was read before.
type rereadable struct {
	io.Reader
	io.Closer
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// fromCaller asks Config.TokenFrom.
func fromCaller(r *http.Request, f func(*http.Request) (string, error)) (string, error) {
	token, err := f(r)
	switch {
	case err != nil && jwterrors.ReasonOf(err) == jwterrors.TokenGenericError:
		return "", refuse(jwterrors.RequestInvalid, err)
	case err != nil:
		return "", err
	case token == "":
		return "", errMissing
	}
	return token, nil
}
