package errors

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Codes are a foreign server's own codes, found in the members "reason", "code" or
// "error" of a JSON body or in the challenge, and the reasons that they stand for.
// They come before all others. Nil has none.
type Codes map[string]Reason

// FromResponse is [Codes.FromResponse] without codes of one's own. It understands
// this package's answers, RFC 6749, RFC 6750, RFC 9449 and RFC 9470.
func FromResponse(resp *http.Response) *Error {
	return Codes(nil).FromResponse(resp)
}

// FromResponse returns why resp refuses its request, or nil when it does not:
// when its status is below 400, or when it is another failure than 401 and
// names no reason. The challenge is read first and then, when it says nothing
// exact, a JSON body of up to 16384 bytes. Body remains readable from its start.
//
// A 401 without any code is a TokenGenericError with an empty Code, or a
// TokenMissing when the challenge is a bare Bearer or DPoP and the request is known
// to have carried no Authorization. English text is never interpreted.
func (codes Codes) FromResponse(resp *http.Response) *Error {
	if resp == nil || resp.StatusCode < 400 {
		return nil
	}
	e := &Error{Status: resp.StatusCode}
	best := codes.fromChallenges(e, resp)
	if best < exact {
		if b := codes.fromBody(e, resp); b > best {
			best = b
		}
	}
	switch {
	case best > 0:
	case resp.StatusCode == http.StatusUnauthorized:
		e.Reason = TokenGenericError
	default:
		return nil
	}
	e.RetryAfter = RetryAfter(resp.Header)
	if nonce := resp.Header.Get(nonceHeader); e.Reason == ProofNonceRequired && isNonce(nonce) {
		e.Nonce = nonce
	}
	return e
}

// How much a place told, from nothing (0) to the reason itself.
const (
	bare  = 1 // a challenge without a code
	oauth = 2 // an OAuth code, which stands for several reasons
	exact = 3
)

// reasonOf interprets a code. The quality is 0 when the code means nothing.
func (codes Codes) reasonOf(code string) (Reason, int) {
	if r, ok := codes[code]; ok {
		return r, exact
	}
	if r, ok := oauthReasons[code]; ok {
		return r, oauth
	}
	if isCode(code) && strings.HasPrefix(code, "AUTH_") {
		return Reason(code), exact // one that is not known is newer than this version
	}
	return "", 0
}

// maxChallenge limits how much of the challenges is read, in bytes.
const maxChallenge = 16 << 10

func (codes Codes) fromChallenges(e *Error, resp *http.Response) (best int) {
	for _, c := range parseChallenges(resp.Header.Values("WWW-Authenticate")) {
		scheme := strings.ToLower(c.scheme)
		if scheme != "bearer" && scheme != "dpop" {
			continue
		}
		code, r, q := "", Reason(""), 0
		for _, name := range []string{"reason", "error"} {
			if value, ok := c.params[name]; ok {
				if got, quality := codes.reasonOf(value); quality > q {
					code, r, q = value, got, quality
				}
			}
		}
		if q == 0 && c.params["error"] == "" &&
			resp.StatusCode == http.StatusUnauthorized && withoutToken(resp.Request) {
			r, q = TokenMissing, bare
		}
		if q <= best {
			continue
		}
		best = q
		e.Reason, e.Code = r, code
		e.Scopes = strings.Fields(c.params["scope"])
		e.ACRValues = strings.Fields(c.params["acr_values"])
		if n, err := strconv.ParseInt(c.params["max_age"], 10, 64); err == nil && n >= 0 {
			e.MaxAge = maxAge(n)
		}
	}
	return best
}

func withoutToken(r *http.Request) bool {
	return r != nil && r.Header.Get("Authorization") == ""
}

// maxBody is the length of the longest body that is understood, in bytes.
const maxBody = 16 << 10

func (codes Codes) fromBody(e *Error, resp *http.Response) int {
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if resp.Body == nil || media != "application/json" && !strings.HasSuffix(media, "+json") {
		return 0
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	rest := io.Reader(resp.Body)
	if err != nil {
		rest = failed{err}
	}
	resp.Body = &peeked{io.MultiReader(bytes.NewReader(data), rest), resp.Body}
	if err != nil || len(data) > maxBody {
		return 0
	}
	var members map[string]any
	if json.Unmarshal(data, &members) != nil {
		return 0
	}
	best := 0
	for _, name := range []string{"reason", "code", "error"} {
		code, _ := members[name].(string)
		if r, q := codes.reasonOf(code); code != "" && q > best {
			best = q
			e.Reason, e.Code = r, code
		}
	}
	return best
}

// peeked is a body of which the beginning was read already.
type peeked struct {
	io.Reader
	io.Closer
}

type failed struct{ err error }

func (f failed) Read([]byte) (int, error) { return 0, f.err }

// RetryAfter returns how long h asks to wait, and 0 when it does not ask. It
// understands both forms of RFC 9110, Section 10.2.3. A date is measured
// against the server's own clock where it sent one.
func RetryAfter(h http.Header) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if n, err := strconv.ParseInt(value, 10, 64); err == nil {
		return fromSeconds(n)
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return max(at.Sub(now), 0)
}
