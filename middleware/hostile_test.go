package middleware_test

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	cryptorand "crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
)

// A lane is an algorithm with tokens that are accepted, the key that signed them
// and one that is not ours.
type lane struct {
	method       jwt.SigningMethod
	right, wrong any
	header       object
	claims       object
	tokens       []string
}

// A hostile world is one Middleware that accepts every algorithm, and what an
// attacker has: tokens that are good, public keys, keys of his own.
type hostileWorld struct {
	lanes   []*lane
	valid   map[string]bool // the tokens that may pass
	publics [][]byte        // in the forms that are taken for a secret
	handler http.Handler
	passed  func(*http.Request) // is told of each request that passes
}

const otherIssuer = "https://keys.example.com"

func newHostileWorld(t *testing.T) *hostileWorld {
	w := &hostileWorld{valid: map[string]bool{}}
	add := func(method jwt.SigningMethod, iss string, right, wrong any) *lane {
		l := &lane{method: method, right: right, wrong: wrong, header: object{"alg": method.Alg(), "typ": "at+jwt"}, claims: claims().with("iss", iss)}
		w.lanes = append(w.lanes, l)
		return l
	}
	add(jwt.SigningMethodHS256, issuer, secret, random(32))
	hs384, hs512 := random(48), random(64)
	add(jwt.SigningMethodHS384, "https://hs384.example.com", hs384, random(48))
	add(jwt.SigningMethodHS512, "https://hs512.example.com", hs512, random(64))
	var listed []middleware.PublicKey
	public := func(method jwt.SigningMethod, right, wrong crypto.Signer) {
		l := add(method, otherIssuer, right, wrong)
		l.header["kid"] = "key-" + method.Alg()
		listed = append(listed, middleware.PublicKey{ID: "key-" + method.Alg(), Algorithm: method.Alg(), Key: right.Public()})
		der := must(x509.MarshalPKIXPublicKey(right.Public()))
		w.publics = append(w.publics, der, jwkSet(jwk(right.Public(), nil)))
	}
	for _, method := range []jwt.SigningMethod{
		jwt.SigningMethodRS256, jwt.SigningMethodRS384, jwt.SigningMethodRS512, jwt.SigningMethodPS256, jwt.SigningMethodPS384, jwt.SigningMethodPS512,
	} {
		public(method, rsaKey(), otherRSA())
	}
	for method, curve := range map[jwt.SigningMethod]elliptic.Curve{
		jwt.SigningMethodES256: elliptic.P256(), jwt.SigningMethodES384: elliptic.P384(), jwt.SigningMethodES512: elliptic.P521(),
	} {
		public(method, must(ecdsa.GenerateKey(curve, cryptorand.Reader)), must(ecdsa.GenerateKey(curve, cryptorand.Reader)))
	}
	public(jwt.SigningMethodEdDSA, edKey, newEd())
	slices.SortFunc(w.lanes, func(a, b *lane) int { return strings.Compare(a.method.Alg(), b.method.Alg()) }) // a seed means the same each time
	auth := newAuth(t, func(c *middleware.Config) {
		ours := []string{audience}
		c.Issuers = []middleware.Issuer{
			{Issuer: otherIssuer, Audience: ours, Keys: middleware.PublicKeys(listed...)},
			{Issuer: "https://hs384.example.com", Audience: ours, Keys: middleware.HS384(hs384)},
			{Issuer: "https://hs512.example.com", Audience: ours, Keys: middleware.HS512(hs512)},
		}
	})
	w.handler = auth.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { w.passed(r) }))

	// The good tokens pass, more than once, so that all that is remembered is.
	passed := 0
	w.passed = func(*http.Request) { passed++ }
	for _, l := range w.lanes {
		for i := range 4 {
			token := sign(l.method, l.right, l.header, l.claims.with("jti", strconv.Itoa(i)))
			l.tokens, w.valid[token] = append(l.tokens, token), true
			for range 4 {
				w.handler.ServeHTTP(httptest.NewRecorder(), request("Bearer "+token))
			}
		}
	}
	require.Equal(t, len(w.lanes)*16, passed)
	return w
}

// mayPass reports whether these values of Authorization are a good token, byte by
// byte, in one of the spellings of a header that are allowed.
func (w *hostileWorld) mayPass(values []string) bool {
	if len(values) != 1 {
		return false
	}
	v := strings.Trim(values[0], " \t")
	return len(v) > 7 && strings.EqualFold(v[:6], "bearer") && v[6] == ' ' && w.valid[strings.TrimLeft(v[6:], " ")]
}

// An attack is the values of Authorization, of which none was signed with our
// keys as it stands there.
type attack func(w *hostileWorld, l *lane, token string, r *rand.Rand) []string

func bearerOf(token string) []string { return []string{"Bearer " + token} }

const base64url = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

var attacks = []struct {
	name   string
	weight int
	make   attack
}{
	{"random bytes", 8, func(_ *hostileWorld, _ *lane, _ string, r *rand.Rand) []string {
		b := noise(r, r.IntN(300))
		if r.IntN(4) == 0 {
			return []string{string(b)}
		}
		return bearerOf(string(b))
	}},
	{"random base64url", 8, func(_ *hostileWorld, _ *lane, _ string, r *rand.Rand) []string {
		b := noise(r, 1+r.IntN(400))
		for i := range b {
			b[i] = base64url[b[i]%64]
		}
		for range r.IntN(7) {
			b[r.IntN(len(b))] = '.'
		}
		return bearerOf(string(b))
	}},
	{"bits flipped", 12, func(_ *hostileWorld, _ *lane, token string, r *rand.Rand) []string {
		b := []byte(token)
		for range 1 + r.IntN(3) {
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		}
		return bearerOf(string(b))
	}},
	{"another character of base64url", 12, func(_ *hostileWorld, _ *lane, token string, r *rand.Rand) []string {
		b := []byte(token)
		b[r.IntN(len(b))] = base64url[r.IntN(64)]
		return bearerOf(string(b))
	}},
	{"cut short", 8, func(_ *hostileWorld, _ *lane, token string, r *rand.Rand) []string {
		from, to := 0, r.IntN(len(token))
		if r.IntN(2) == 0 {
			from, to = r.IntN(len(token)), len(token)
		}
		return bearerOf(token[from:to])
	}},
	{"doubled", 8, func(_ *hostileWorld, _ *lane, token string, r *rand.Rand) []string {
		if r.IntN(2) == 0 {
			return bearerOf(token + one(r, "", ".", " ", ",", ", ", "\t", ";") + token)
		}
		from := r.IntN(len(token))
		to := from + 1 + r.IntN(len(token)-from)
		return bearerOf(token[:to] + token[from:])
	}},
	{"parts swapped", 10, func(w *hostileWorld, _ *lane, token string, r *rand.Rand) []string {
		parts := strings.Split(token, ".")
		if r.IntN(2) == 0 {
			r.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		} else {
			_, other := w.pick(r)
			i := r.IntN(len(parts))
			parts[i] = strings.Split(other, ".")[r.IntN(3)]
		}
		return bearerOf(strings.Join(parts, "."))
	}},
	{"another case", 6, func(_ *hostileWorld, _ *lane, token string, r *rand.Rand) []string {
		switch r.IntN(3) {
		case 0:
			return bearerOf(strings.ToUpper(token))
		case 1:
			return bearerOf(strings.ToLower(token))
		}
		b := []byte(token)
		for range 1 + r.IntN(3) {
			if i := r.IntN(len(b)); b[i]|0x20 >= 'a' && b[i]|0x20 <= 'z' {
				b[i] ^= 0x20
			}
		}
		return bearerOf(string(b))
	}},
	{"signed with another key", 10, func(w *hostileWorld, l *lane, _ string, r *rand.Rand) []string {
		if strings.HasSuffix(l.method.Alg(), "S512") || strings.HasPrefix(l.method.Alg(), "RS") || strings.HasPrefix(l.method.Alg(), "PS") {
			if r.IntN(16) != 0 { // they take their time to sign
				quick := one(r, "HS256", "ES256", "EdDSA")
				l = w.lanes[slices.IndexFunc(w.lanes, func(l *lane) bool { return l.method.Alg() == quick })]
			}
		}
		header, payload := text(l.header), text(l.claims)
		if r.IntN(3) != 0 {
			header = mutate(header, r)
		}
		if r.IntN(3) != 0 {
			payload = mutate(payload, r)
		}
		return bearerOf(sign(l.method, l.wrong, header, payload))
	}},
	{"signed with a public key as secret", 8, func(w *hostileWorld, l *lane, _ string, r *rand.Rand) []string {
		header := l.header.with("alg", one(r, "HS256", "HS384", "HS512", l.method.Alg()))
		return bearerOf(sign(jwt.SigningMethodHS256, w.publics[r.IntN(len(w.publics))], header, mutate(text(l.claims), r)))
	}},
	{"unsigned", 6, func(_ *hostileWorld, l *lane, token string, r *rand.Rand) []string {
		header := l.header.with("alg", one(r, "none", "None", "nOnE", "NONE", "", "none ", "\x00"))
		return bearerOf(encode(header) + "." + strings.Split(token, ".")[1] + "." + one(r, "", "AA", strings.Split(token, ".")[2]))
	}},
	{"a header of another kind under the signature", 12, func(_ *hostileWorld, _ *lane, token string, r *rand.Rand) []string {
		parts := strings.Split(token, ".")
		parts[0] = encode(mutate(string(must(base64.RawURLEncoding.DecodeString(parts[0]))), r))
		return bearerOf(strings.Join(parts, "."))
	}},
	{"a payload of another kind under the signature", 8, func(_ *hostileWorld, _ *lane, token string, r *rand.Rand) []string {
		parts := strings.Split(token, ".")
		parts[1] = encode(mutate(string(must(base64.RawURLEncoding.DecodeString(parts[1]))), r))
		return bearerOf(strings.Join(parts, "."))
	}},
	{"lists, tabs, NUL and line breaks", 10, func(_ *hostileWorld, _ *lane, token string, r *rand.Rand) []string {
		value := "Bearer " + token
		for range 1 + r.IntN(2) {
			at := r.IntN(len(value) + 1)
			value = value[:at] + one(r, "\t", "\x00", "\r\n", "\n", "\r", ",", ", ", " ", "\x7f", "\u00a0", "\u2028", ";", "=", "%2e", "\"") + value[at:]
		}
		return []string{value}
	}},
	{"another scheme", 6, func(_ *hostileWorld, _ *lane, token string, r *rand.Rand) []string {
		scheme := []byte("Bearer ")
		scheme[r.IntN(len(scheme))] ^= 1 << r.IntN(8)
		return []string{one(r, string(scheme), "Basic ", "DPoP ", "Token ", "Bearer=", "Bearer:", "JWT ", "") + token}
	}},
	{"several headers", 8, func(w *hostileWorld, _ *lane, token string, r *rand.Rand) []string {
		var values []string
		for range 2 + r.IntN(3) {
			_, other := w.pick(r)
			values = append(values, one(r, "Bearer "+token, "Bearer "+other, "Basic YTpi", "", "Bearer", "bearer x.y.z"))
		}
		return values
	}},
	{"huge", 2, func(_ *hostileWorld, _ *lane, token string, r *rand.Rand) []string {
		n := 4096 + r.IntN(28<<10)
		if r.IntN(2) == 0 {
			n = 8192 - len(token) - 8 + r.IntN(16) // at the limit
		}
		inHeader := 500 + r.IntN(4500) // some are short enough to be read
		switch r.IntN(5) {
		case 0: // many members in a payload, one of them not of the plain form
			var b strings.Builder
			for i := range inHeader / 8 {
				fmt.Fprintf(&b, `"%d":0,`, i)
			}
			payload := `{` + b.String() + one(r, `"\u0061":0,`, `"ISS":0,`, `"exp":1.5,`) + `"iss":"` + one(r, issuer, otherIssuer, "x") + `"}`
			return bearerOf(token[:strings.IndexByte(token, '.')+1] + encode(payload) + token[strings.LastIndexByte(token, '.'):])
		case 1: // many brackets in a header
			return bearerOf(encode(`{"alg":"HS256","x":`+strings.Repeat(one(r, "[", `{"a":`), inHeader/5)) + token[strings.IndexByte(token, '.'):])
		case 2: // many members
			var b strings.Builder
			for i := range inHeader / 8 {
				fmt.Fprintf(&b, `"%d":0,`, i)
			}
			return bearerOf(encode(`{`+b.String()+`"alg":"HS256"}`) + token[strings.IndexByte(token, '.'):])
		default:
			return []string{one(r, "Bearer ", "Bearer "+token, "Bearer "+token+".", "") + strings.Repeat(one(r, ".", " ", "A", ",", "\t", "Bearer ", "\x00", token), n)[:n]}
		}
	}},
}

func noise(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.UintN(256))
	}
	return b
}

func one(r *rand.Rand, of ...string) string { return of[r.IntN(len(of))] }

func text(o object) string { return string(must(json.Marshal(o))) }

func (w *hostileWorld) pick(r *rand.Rand) (*lane, string) {
	l := w.lanes[r.IntN(len(w.lanes))]
	return l, l.tokens[r.IntN(len(l.tokens))]
}

// mutate changes the text of a JSON object.
func mutate(s string, r *rand.Rand) string {
	name := one(r, "alg", "typ", "kid", "crit", "b64", "enc", "jwk", "jku", "x5u", "x5c", "x5t", "cty", "zip", "iss", "sub", "aud", "exp", "nbf", "iat", "jti", "scope", "x", "", "\\u0061lg", "\xff")
	value := one(r, `null`, `true`, `0`, `-1`, `1e400`, `1e18`, `""`, `"none"`, `"HS256"`, `"RS256"`, `"\u0000"`, `"\ud800"`, `[]`, `[""]`, `{}`, `["exp"]`, `"../../dev/null"`, `"' OR 1=1 --"`, `"`+strings.Repeat("k", 300)+`"`, strings.Repeat("[", 40)+strings.Repeat("]", 40))
	member := `"` + name + `":` + value
	switch r.IntN(9) {
	case 0:
		return "{" + member + "," + s[1:]
	case 1:
		return s[:len(s)-1] + "," + member + "}"
	case 2:
		return s[:len(s)-1] + `,"` + strings.ToUpper(name) + `":` + value + "}"
	case 3:
		return "{" + member + "}"
	case 4:
		return s + one(r, " ", "x", "{}", "\x00", "\n", s)
	case 5:
		return one(r, "null", "[]", "["+s+"]", "\"x\"", "", " "+s, "\ufeff"+s)
	case 6:
		return s[:r.IntN(len(s))]
	case 7: // another letter case in a name
		return strings.Replace(s, `"alg"`, one(r, `"Alg"`, `"ALG"`, `"a\u006cg"`, `"alg" `), 1)
	}
	b := []byte(s)
	for range 1 + r.IntN(3) {
		b[r.IntN(len(b))] ^= 1 << r.IntN(8)
	}
	return string(b)
}

// hostile returns the attack with number i of a seed, the same each time but for
// signatures that need chance, and what it is called.
func (w *hostileWorld) hostile(seed uint64, i int) (string, *lane, []string) {
	r := rand.New(rand.NewPCG(seed, uint64(i)))
	total := 0
	for _, a := range attacks {
		total += a.weight
	}
	n := r.IntN(total)
	l, token := w.pick(r)
	for _, a := range attacks {
		if n -= a.weight; n < 0 {
			return a.name, l, a.make(w, l, token, r)
		}
	}
	panic("no attack")
}

// unsignedReasons are those of requests whose token nobody signed: that it has
// expired, or whose it is, is not said before.
var unsignedReasons = []jwterrors.Reason{
	jwterrors.TokenMissing, jwterrors.RequestInvalid, jwterrors.TokenFormatInvalid, jwterrors.TokenSignatureInvalid, jwterrors.TokenTypeInvalid, jwterrors.TokenKeyUnknown,
}

// challengeForm is one challenge (RFC 9110, Section 11.6.1) in which nothing
// leaves its quotes.
var challengeForm = regexp.MustCompile(`^Bearer( [a-z_]+=("([ !#-\[\]-~]|\\["\\])*"|[a-zA-Z0-9._~+/-]+)(, [a-z_]+=("([ !#-\[\]-~]|\\["\\])*"|[a-zA-Z0-9._~+/-]+))*)?$`)

// judgeAnswer returns what is wrong with the answer to a request that nobody
// signed, or "".
func judgeAnswer(status int, header http.Header, body []byte) string {
	var problem struct {
		Type, Title, Detail string
		Status              int
		Reason              jwterrors.Reason
	}
	if err := json.Unmarshal(body, &problem); err != nil {
		return "the body is no JSON"
	}
	reason, challenges := problem.Reason, header["Www-Authenticate"]
	switch {
	case !slices.Contains(unsignedReasons, reason):
		return fmt.Sprintf("the reason is %q", reason)
	case status != reason.Status() || problem.Status != status:
		return fmt.Sprintf("the status is %d, and %d in the body", status, problem.Status)
	case header.Get("Content-Type") != "application/problem+json" || header.Get("Cache-Control") != "no-store":
		return "Content-Type or Cache-Control is wrong"
	case len(challenges) != 1 || !challengeForm.MatchString(challenges[0]):
		return fmt.Sprintf("the challenges are %q", challenges)
	case reason == jwterrors.TokenMissing && challenges[0] != "Bearer": // RFC 6750, Section 3.1
		return "the challenge to a request without token is not bare"
	case reason != jwterrors.TokenMissing && (!strings.Contains(challenges[0], `error="`+reason.OAuthCode()+`"`) || !strings.Contains(challenges[0], `reason="`+string(reason)+`"`)):
		return fmt.Sprintf("the challenge %q does not say %s", challenges[0], reason)
	}
	read := jwterrors.FromResponse(&http.Response{StatusCode: status, Header: header, Body: io.NopCloser(bytes.NewReader(body))})
	if read == nil || read.Reason != reason {
		return "FromResponse does not read the reason"
	}
	return ""
}

// A hostileSeed is another one each time. TOKENLOOP_SEED repeats a run, as far as
// keys that are new allow.
func hostileSeed(t *testing.T) uint64 {
	seed := rand.Uint64()
	if s := os.Getenv("TOKENLOOP_SEED"); s != "" {
		seed = must(strconv.ParseUint(s, 10, 64))
	}
	t.Logf("TOKENLOOP_SEED=%d", seed) // shown when the test fails
	return seed
}

// Nothing that nobody signed passes, panics, is answered in another way than the
// catalogue has, takes long or stays in memory. (IT-31, IT-32, IT-33)
func TestHostileRequests(t *testing.T) {
	w, seed := newHostileWorld(t), hostileSeed(t)
	passed := false
	w.passed = func(*http.Request) { passed = true }
	ask := func(values []string) (answer *httptest.ResponseRecorder, took time.Duration, panicked any) {
		r := request(values...)
		answer, passed = httptest.NewRecorder(), false
		defer func() { panicked = recover() }()
		began := time.Now()
		w.handler.ServeHTTP(answer, r)
		return answer, time.Since(began), nil
	}
	const most = 10 // failures to show
	failures := 0
	fail := func(i int, name string, values []string, format string, args ...any) {
		if failures++; failures <= most {
			t.Errorf("seed %d, number %d, %s: %s\nAuthorization: %.2000q", seed, i, name, fmt.Sprintf(format, args...), values)
		}
	}
	times := make([]time.Duration, 0, hostileRequests)
	numbers := make([]int, 0, hostileRequests)
	answers := map[string]bool{} // those that were judged
	skipped, byName := 0, map[string]int{}

	before := liveHeap()
	for i := 0; len(times) < hostileRequests && failures <= most; i++ {
		name, _, values := w.hostile(seed, i)
		if w.mayPass(values) {
			skipped++
			continue
		}
		answer, took, panicked := ask(values)
		times, numbers = append(times, took), append(numbers, i)
		byName[name]++
		switch {
		case panicked != nil:
			fail(i, name, values, "panic: %v", panicked)
			continue
		case passed:
			fail(i, name, values, "it passed")
			continue
		}
		all := fmt.Sprint(answer.Code, answer.Header(), answer.Body)
		if answers[all] {
			continue
		}
		if wrong := judgeAnswer(answer.Code, answer.Header(), answer.Body.Bytes()); wrong != "" {
			fail(i, name, values, "%s", wrong)
			continue
		}
		answers[all] = true
	}
	grown := int64(liveHeap()) - int64(before)
	runtime.KeepAlive(w)

	// An answer tells the reason and nothing of what was sent.
	assert.Len(t, answers, len(unsignedReasons), "different answers")
	for _, a := range attacks {
		assert.Positive(t, byName[a.name], a.name)
	}
	assert.Less(t, skipped, hostileRequests/10)
	assert.Less(t, grown, int64(1<<20), "bytes more than before, after a collection")
	t.Logf("%d requests, %d skipped, %d answers, %d bytes more: %v", len(times), skipped, len(answers), grown, byName)
	if underRace {
		return
	}

	// None takes 50 times as long as an ordinary refusal, unless a forged
	// signature does, of which there is one at most in a request. A machine that
	// is busy makes many look slow, so these are asked again.
	sorted := slices.Clone(times)
	slices.Sort(sorted)
	ordinary := sorted[len(sorted)/2]
	fastest := func(values []string) time.Duration {
		least := time.Hour
		for range 20 {
			_, took, _ := ask(values)
			least = min(least, took)
		}
		return least
	}
	limit := func(l *lane) time.Duration {
		return max(50*ordinary, 5*fastest(bearerOf(sign(l.method, l.wrong, l.header, l.claims))))
	}
	limits := map[*lane]time.Duration{}
	for _, l := range w.lanes {
		limits[l] = limit(l)
	}
	suspects := 0
	for n, took := range times {
		name, l, values := "", (*lane)(nil), []string(nil)
		if took <= 50*ordinary {
			continue
		}
		if name, l, values = w.hostile(seed, numbers[n]); took <= limits[l] {
			continue
		}
		suspects++
		again := fastest(values)
		for range 4 { // a machine may have been busy for all of it
			if again <= limits[l] {
				break
			}
			again, limits[l] = fastest(values), max(limits[l], limit(l))
		}
		if again > limits[l] {
			fail(numbers[n], name, values, "it takes %v, an ordinary refusal %v", again, ordinary)
		}
	}
	t.Logf("an ordinary refusal takes %v, the slowest %v, %d asked again", ordinary, sorted[len(sorted)-1], suspects)
}

// liveHeap returns how many bytes are in use after a collection.
func liveHeap() uint64 {
	runtime.GC()
	runtime.GC() // what the first one put in a pool's second chance
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// The same over a socket, where net/http refuses some of it before.
func TestHostileRequestsOverTCP(t *testing.T) {
	w, seed := newHostileWorld(t), hostileSeed(t)
	var wrong bytes.Buffer
	passed := make(chan []string, 1)
	server := httptest.NewUnstartedServer(w.handler)
	server.Config.ErrorLog = log.New(&wrong, "", 0) // has the panics
	w.passed = func(r *http.Request) {
		if values := r.Header["Authorization"]; !w.mayPass(values) { // what a line break made of it
			select {
			case passed <- values:
			default:
			}
		}
	}
	server.Start()

	var conn net.Conn
	var reader *bufio.Reader
	hangUp := func() {
		if conn != nil {
			conn.Close()
			conn = nil
		}
	}
	defer hangUp()
	ours, theirs, good := 0, 0, 0
	for i := 0; ours+theirs < hostileOverTCP; i++ {
		name, _, values := w.hostile(seed, i)
		if w.mayPass(values) {
			continue
		}
		broken := strings.ContainsAny(strings.Join(values, ""), "\r\n") // it may end the request, or be two
		if broken {
			hangUp()
		}
		if conn == nil {
			conn = must(net.Dial("tcp", server.Listener.Addr().String()))
			reader = bufio.NewReader(conn)
		}
		require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
		var b strings.Builder
		b.WriteString("GET / HTTP/1.1\r\nHost: api.example.com\r\n")
		for _, v := range values {
			b.WriteString("Authorization: " + v + "\r\n")
		}
		b.WriteString("\r\n")
		_, _ = io.WriteString(conn, b.String()) // a server that has answered may not read all
		resp, err := http.ReadResponse(reader, nil)
		require.NoError(t, err, "seed %d, number %d, %s: %.2000q", seed, i, name, values)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		switch {
		case resp.StatusCode == http.StatusOK && broken: // passed looks at it
			good++
		case resp.StatusCode == http.StatusBadRequest && strings.HasPrefix(string(body), "400 Bad Request"): // net/http's own
			theirs++
		default:
			ours++
			require.Empty(t, judgeAnswer(resp.StatusCode, resp.Header, body), "seed %d, number %d, %s: %.2000q", seed, i, name, values)
		}
		if resp.Close || broken {
			hangUp()
		}
	}
	hangUp()
	server.Close() // waits for the last request
	select {
	case values := <-passed:
		t.Errorf("seed %d: %.2000q passed", seed, values)
	default:
	}
	assert.NotContains(t, wrong.String(), "panic")
	assert.Greater(t, ours, hostileOverTCP/2)
	t.Logf("%d answers of ours, %d of net/http, %d good tokens before a line break", ours, theirs, good)
}

// A header of many small members is short and takes long to read.
func TestAHeaderOfManyMembersIsRefusedUnread(t *testing.T) {
	auth := newAuth(t)
	with := func(n int, more string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `"%d":0,`, i)
		}
		return `{` + b.String() + more + `"alg":"HS256"}`
	}
	for name, c := range map[string]struct {
		header string
		reason jwterrors.Reason
	}{
		"as many as are allowed":             {with(32, ""), ""},
		"as many, one of them in escapes":    {with(31, `"\u0061":0,`), ""},
		"one more":                           {with(33, ""), jwterrors.TokenFormatInvalid},
		"one more, in a list":                {with(31, `"a":[0,0],`), jwterrors.TokenFormatInvalid},
		"as many as fit":                     {with(180, ""), jwterrors.TokenFormatInvalid},
		"as many as fit, with none in order": {with(180, `"alg":0,`), jwterrors.TokenFormatInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			token := hs(c.header, claims())
			assert.Equal(t, c.reason, jwterrors.ReasonOf(verify(auth, token)))
			if c.reason != "" {
				assert.Less(t, testing.AllocsPerRun(20, func() { _ = verify(auth, token) }), 10.0)
			}
		})
	}
}

// Where there are several issuers, the payload tells whose keys to take, before
// its signature. That costs little however it is spelled, and finds the issuer.
func TestAPayloadOfManyMembersIsReadAfterItsSignature(t *testing.T) {
	w := newHostileWorld(t)
	l := w.lanes[slices.IndexFunc(w.lanes, func(l *lane) bool { return l.method == jwt.SigningMethodEdDSA })]
	var many strings.Builder
	for i := range 600 {
		fmt.Fprintf(&many, `"%d":0,`, i)
	}
	rest := strings.TrimPrefix(text(l.claims.with("iss", nil)), "{")
	escaped := strings.ReplaceAll(otherIssuer, "/", `\/`)
	for name, payload := range map[string]string{
		"a name in escapes":          `{"\u0061":0,` + many.String() + `"iss":"` + otherIssuer + `",` + rest,
		"a time with a fraction":     `{"iss":"` + otherIssuer + `","nbf":1.5,` + many.String() + rest,
		"the issuer in escapes":      `{ "iss" : "` + escaped + `",` + many.String() + rest,
		"another issuer in an array": `{"a":["iss",{"iss":"` + issuer + `"}],"b":"\u0061","c":"iss","nbf":1.5,"iss":"` + otherIssuer + `",` + rest,
		"brackets in a string":       `{"a":"{[\"iss\":","nbf":1.5,"iss":"` + otherIssuer + `",` + rest,
	} {
		t.Run(name, func(t *testing.T) {
			passed := false
			w.passed = func(*http.Request) { passed = true }
			w.handler.ServeHTTP(httptest.NewRecorder(), request("Bearer "+sign(l.method, l.right, l.header, payload)))
			assert.True(t, passed, "signed by its issuer")
			forged := request("Bearer " + sign(l.method, l.wrong, l.header, payload))
			answer := httptest.NewRecorder()
			w.handler.ServeHTTP(answer, forged)
			assert.Contains(t, answer.Body.String(), "AUTH_TOKEN_SIGNATURE_INVALID")
			assert.Less(t, testing.AllocsPerRun(20, func() { w.handler.ServeHTTP(httptest.NewRecorder(), forged) }), 40.0)
		})
	}
	for name, payload := range map[string]string{
		"no issuer": `{"nbf":1.5,` + rest, "an issuer that is none": `{"iss":1,"nbf":1.5,` + rest, "it breaks off": `{"nbf":1.5,"iss":"`, "no JSON": `iss`, "two": `{"iss":"` + otherIssuer + `","iss":"` + issuer + `",` + rest,
	} {
		t.Run(name, func(t *testing.T) {
			answer := httptest.NewRecorder()
			w.passed = func(*http.Request) { t.Error("it passed") }
			w.handler.ServeHTTP(answer, request("Bearer "+sign(l.method, l.right, l.header, payload)))
			assert.Equal(t, 401, answer.Code)
		})
	}
}

// What is too long is refused for its length: what that takes does not depend on
// how long it is. (CVE-2025-30204)
func TestAMegabyteIsRefusedUnread(t *testing.T) {
	auth := newAuth(t, func(c *middleware.Config) { c.TokenCookie, c.TokenInQuery, c.TokenInForm = "token", true, true })
	h := auth.Handler(http.NotFoundHandler())
	long := func(n int) string { // a token, but for its length
		return encode(hsHeader) + "." + strings.Repeat("A", n) + "." + strings.Repeat("A", 43)
	}
	dots := func(n int) string { return strings.Repeat(".", n) }
	withHeader := func(name, value string) *http.Request {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set(name, value)
		return r
	}
	for _, c := range []struct {
		name   string
		make   func(n int) *http.Request
		reason jwterrors.Reason
	}{
		{"a token", func(n int) *http.Request { return withHeader("Authorization", "Bearer "+long(n)) }, jwterrors.TokenFormatInvalid},
		{"dots", func(n int) *http.Request { return withHeader("Authorization", "Bearer "+dots(n)) }, jwterrors.TokenFormatInvalid},
		{"spaces after the scheme", func(n int) *http.Request { return withHeader("Authorization", "Bearer "+strings.Repeat(" ", n)) }, jwterrors.TokenFormatInvalid},
		{"spaces before a token that is none", func(n int) *http.Request {
			return withHeader("Authorization", "Bearer "+strings.Repeat(" ", n)+"x")
		}, jwterrors.TokenFormatInvalid},
		{"the scheme over and over", func(n int) *http.Request { return withHeader("Authorization", strings.Repeat("Bearer ", n/7)) }, jwterrors.TokenFormatInvalid},
		{"another scheme", func(n int) *http.Request { return withHeader("Authorization", "Basic "+strings.Repeat("A", n)) }, jwterrors.TokenMissing},
		{"a cookie with a token", func(n int) *http.Request { return withHeader("Cookie", "token="+long(n)) }, jwterrors.TokenFormatInvalid},
		{"a cookie with dots", func(n int) *http.Request { return withHeader("Cookie", "token="+dots(n)) }, jwterrors.TokenFormatInvalid},
		{"a query with a token", func(n int) *http.Request { return httptest.NewRequest("GET", "/?access_token="+long(n), nil) }, jwterrors.TokenFormatInvalid},
		{"a query with dots", func(n int) *http.Request { return httptest.NewRequest("GET", "/?access_token="+dots(n), nil) }, jwterrors.TokenFormatInvalid},
		{"a form with a token", func(n int) *http.Request { return form("access_token=" + long(n)) }, jwterrors.RequestInvalid},
		{"a form with dots", func(n int) *http.Request { return form("access_token=" + dots(n)) }, jwterrors.RequestInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			cost := func(n int) (count, size float64) {
				r := c.make(n)
				body := r.Body
				run := func() {
					w := httptest.NewRecorder()
					r.Body = body
					if s, ok := body.(*again); ok {
						s.at = 0
					}
					h.ServeHTTP(w, r)
					if w.Code != c.reason.Status() || !strings.Contains(w.Body.String(), string(c.reason)) {
						t.Errorf("%d: %s", w.Code, w.Body)
					}
				}
				run()
				count = testing.AllocsPerRun(20, run)
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				for range 20 {
					run()
				}
				runtime.ReadMemStats(&after)
				return count, float64(after.TotalAlloc-before.TotalAlloc) / 20
			}
			count, size := cost(128 << 10)
			moreCount, moreSize := cost(1 << 20)
			assert.LessOrEqual(t, moreCount, count+2, "allocations")
			assert.LessOrEqual(t, moreSize, size+8192, "bytes")
			assert.Less(t, moreSize, 512<<10*1.0, "bytes")
			t.Logf("%v allocations, %v bytes", moreCount, moreSize)
		})
	}
}

// form returns a request with this form, whose body can be read again.
func form(encoded string) *http.Request {
	r := httptest.NewRequest("POST", "/", nil)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Body = &again{data: encoded}
	return r
}

type again struct {
	data string
	at   int
}

func (a *again) Read(p []byte) (int, error) {
	n := copy(p, a.data[a.at:])
	if a.at += n; n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (a *again) Close() error { return nil }
