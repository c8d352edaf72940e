package middleware

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/jws"
)

// An Explanation is what every check of Verify says of one token. [Middleware.Explain]
// makes one. It holds neither the token nor its signature nor a key, and what it
// shows of a token is shortened and has no characters but printable ASCII. It is
// for developers and support, not for who sent the token: it says who the user is
// and what is expected.
type Explanation struct {
	Reason   jwterrors.Reason `json:"reason"`   // that of Verify; "" when the token is accepted
	Verified bool             `json:"verified"` // the signature is the issuer's; otherwise anybody can have written the token
	Time     time.Time        `json:"time"`     // on the clock of the Middleware

	Checks []ExplainedCheck `json:"checks"` // in the order of Verify

	Header []ExplainedValue `json:"header,omitempty"` // alg, typ, kid, those that are there
	Claims []ExplainedValue `json:"claims,omitempty"` // iss, aud, sub, iat, nbf, exp, jti, sid, scope, those that are there

	Leeway     string `json:"leeway"`                // the clock skew that is tolerated, as "30s"
	Lifetime   string `json:"lifetime,omitempty"`    // from "iat" to "exp"; "" when not known, as are the next two
	ExpiredAgo string `json:"expired_ago,omitempty"` // since "exp", whether that is tolerated or not
	ExpiresIn  string `json:"expires_in,omitempty"`  // until "exp"

	Keys      []ExplainedKey `json:"keys,omitempty"`        // with which the signature was tried, up to 8
	KeySetAge string         `json:"key_set_age,omitempty"` // since the issuer's keys were fetched; "" for keys that are not fetched
}

// An ExplainedCheck is one check of a token.
type ExplainedCheck struct {
	Name       string           `json:"name"`
	Verdict    string           `json:"verdict"`          // "passed", "failed" or "not checked"
	Reason     jwterrors.Reason `json:"reason,omitempty"` // what this check alone refuses the token with
	Expected   string           `json:"expected,omitempty"`
	Found      string           `json:"found,omitempty"`
	Unverified bool             `json:"unverified,omitempty"` // what was found is the word of a token whose signature is not verified
	Note       string           `json:"note,omitempty"`       // why it was not checked
}

// An ExplainedValue is a header parameter or a claim. A value that has not the
// type it should is shown as JSON.
type ExplainedValue struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// An ExplainedKey is a key by its name.
type ExplainedKey struct {
	ID        string `json:"kid"` // "" for none
	Algorithm string `json:"alg"`
}

// Explain makes all checks of [Middleware.Verify] with a token, and says of each
// what was expected and what was found. It is for developers and support: it goes
// on after the first check that fails, so that a token is seen to be forged and
// expired and for somebody else. Its Reason is that of Verify for the same token
// at the same time, and never depends on the later checks.
//
// It never uses the cache of verified tokens, and tells no Observer. Otherwise it
// does what Verify does: Resolve is asked without a request, it may fetch keys and
// wait for them as long as ctx allows, and a token that is too long is not read.
// Revocations and the hooks of UserKey are asked about tokens whose signature is
// right, even if another check failed, and Validate, as ever, about tokens that
// passed all others. The errors of hooks and of fetches are not shown, since they
// may hold anything.
//
// The Explanation of a Middleware that is zero or nil has the reason
// AUTH_TOKEN_GENERIC_ERROR.
func (m *Middleware) Explain(ctx context.Context, token string) *Explanation {
	x := &explaining{m: m, e: &Explanation{}}
	if !m.made() {
		reason := jwterrors.ReasonOf(errZero())
		x.e.Reason, x.e.Time = reason, time.Now().UTC()
		x.e.Checks = []ExplainedCheck{failed("middleware", reason, "one that New made", "a zero one")}
		x.skip("there is no Middleware", allChecks...)
		return x.e
	}
	x.now = m.now()
	x.e.Time, x.e.Leeway = x.now.UTC(), m.leeway.String()
	var room []byte
	t, ok := x.format(token, &room)
	if !ok {
		x.skip("the token cannot be read", allChecks[2:]...)
		return x.e
	}
	x.token(ctx, &t)
	return x.e
}

// allChecks are the names of the checks, in the order of Verify.
var allChecks = []string{
	"length", "format", "resolve", "header", "algorithm", "type", "key name", "extensions", "signed", "key", "signature", "payload",
	"kind", "required", "dates", "lifetime", "expiry", "start", "issue", "issuer", "audience", "possession", "user key", "revocation", "own check",
}

// afterPayload are the last of them, which need the claims.
var afterPayload = allChecks[slices.Index(allChecks, "payload")+1:]

// ownWork are the names of checks whose findings are not the word of a token.
var ownWork = []string{"length", "format", "resolve", "header", "signed", "key", "signature", "payload"}

// explaining is an Explanation in the making.
type explaining struct {
	m   *Middleware
	e   *Explanation
	now time.Time
}

// settle adds the rows of one step of Verify, which ended with err. That decides
// the reason; the rows tell it in detail, and where they do not, one is added
// that does.
func (x *explaining) settle(err error, step string, rows ...ExplainedCheck) {
	x.e.Checks = append(x.e.Checks, rows...)
	if err == nil {
		return
	}
	reason := x.reason(err)
	if !slices.ContainsFunc(rows, func(c ExplainedCheck) bool { return c.Reason == reason }) {
		x.e.Checks = append(x.e.Checks, failed(step, reason, "", reason.Description()))
	}
	if x.e.Reason == "" {
		x.e.Reason = reason
	}
}

// reason returns that with which Verify refuses a token for err.
func (x *explaining) reason(err error) jwterrors.Reason {
	return jwterrors.ReasonOf(explain(err, "", nil, x.now))
}

// skip adds rows for checks that cannot be made.
func (x *explaining) skip(why string, names ...string) {
	for _, name := range names {
		x.e.Checks = append(x.e.Checks, skipped(name, why))
	}
}

func passed(name, expected, found string) ExplainedCheck {
	return ExplainedCheck{Name: name, Verdict: "passed", Expected: expected, Found: found}
}

func failed(name string, reason jwterrors.Reason, expected, found string) ExplainedCheck {
	return ExplainedCheck{Name: name, Verdict: "failed", Reason: reason, Expected: expected, Found: found}
}

func skipped(name, why string) ExplainedCheck {
	return ExplainedCheck{Name: name, Verdict: "not checked", Note: why}
}

// judged is passed or failed.
func judged(ok bool, name string, reason jwterrors.Reason, expected, found string) ExplainedCheck {
	if ok {
		return passed(name, expected, found)
	}
	return failed(name, reason, expected, found)
}

// format explains decoded.read, and reports whether there is more to be read.
func (x *explaining) format(token string, room *[]byte) (decoded, bool) {
	const shape = "three parts of base64url, with dots between them"
	short := len(token) <= x.m.maxTokenBytes
	length := judged(short, "length", jwterrors.TokenFormatInvalid, fmt.Sprintf("at most %d bytes", x.m.maxTokenBytes), fmt.Sprintf("%d bytes", len(token)))
	var t decoded
	err := t.read(token, x.m.maxTokenBytes, room)
	switch {
	case !short:
		x.settle(err, "format", length, skipped("format", "the token is too long to be read"))
	case err != nil:
		x.settle(err, "format", length, failed("format", jwterrors.TokenFormatInvalid, shape, cause(err)))
	default:
		x.settle(nil, "format", length, passed("format", shape, "three"))
	}
	return t, err == nil
}

// token explains what follows on decoded.read.
func (x *explaining) token(ctx context.Context, t *decoded) {
	is := x.issuer(ctx, t.payload)
	h := x.header(t.Header, is)
	x.key(ctx, t, is, h)
	r := x.payload(t.payload)
	if r == nil {
		x.skip("the payload cannot be read", afterPayload...)
	} else {
		x.claims(r, is)
		x.others(ctx, r, is.statusList)
	}
	for i := range x.e.Checks {
		c := &x.e.Checks[i]
		c.Unverified = !x.e.Verified && c.Found != "" && !slices.Contains(ownWork, c.Name)
	}
}

// issuer explains issuerOf. It returns an issuer without keys when that fails.
func (x *explaining) issuer(ctx context.Context, payload []byte) *issuer {
	const one = "an issuer for the request"
	is, _, err := x.m.issuerOf(ctx, nil, payload)
	switch {
	case err != nil:
		reason := x.reason(err)
		x.settle(err, "resolve", failed("resolve", reason, one, "none"))
		return &issuer{anyIssuer: true, anyAudience: true}
	case x.m.resolve == nil:
		x.skip("there is no Resolve", "resolve")
	default:
		x.settle(nil, "resolve", passed("resolve", one, quoted(is.name)))
	}
	return is
}

// header explains readHeader. It returns nil when no key can be looked for.
func (x *explaining) header(segment string, is *issuer) *header {
	allows := func(*algorithm) bool { return true }
	if is.keys != nil {
		allows = is.keys.allows
	}
	_, err := readHeader(segment, x.m.types, allows)
	data, _ := jws.Decode(segment) // nil is as unreadable as what cannot be decoded
	members, _ := jws.Members(data)
	x.show(&x.e.Header, members, "alg", "typ", "kid")
	const object = "an unambiguous JSON object with alg, typ and kid as strings"
	f, unreadable := readHeaderSlowly(data)
	if unreadable != nil {
		x.settle(err, "header", failed("header", jwterrors.TokenFormatInvalid, object, plain(unreadable.Error())))
		x.skip("the header cannot be read", "algorithm", "type", "key name", "extensions")
		return nil
	}
	found := func(name, text string) string {
		if _, ok := members[name]; ok {
			return quoted(text)
		}
		return "none"
	}
	var allowed []string
	for name, alg := range algorithms {
		if allows(alg) {
			allowed = append(allowed, name)
		}
	}
	slices.Sort(allowed)
	own := &header{alg: algorithms[f.alg], kid: f.kid, typ: normalType(f.typ)}
	rows := []ExplainedCheck{passed("header", object, "one")}

	algorithmOK := own.alg != nil && allows(own.alg)
	rows = append(rows, judged(algorithmOK, "algorithm", jwterrors.TokenSignatureInvalid, strings.Join(allowed, ", "), found("alg", f.alg)))

	emptyType := f.hasTyp && f.typ == ""
	rows = append(rows, judged(allowsType(x.m.types, own.typ) && !emptyType, "type", jwterrors.TokenTypeInvalid, types(x.m.types), found("typ", f.typ)))

	emptyName := f.hasKID && own.kid == ""
	nameOK := !emptyName && validID(own.kid)
	rows = append(rows, judged(nameOK, "key name", jwterrors.TokenKeyUnknown, fmt.Sprintf("none, or 1 to %d bytes without control characters", maxID), found("kid", f.kid)))

	row := passed("extensions", "none", "none")
	if f.extension != "" {
		row = failed("extensions", jwterrors.TokenFormatInvalid, "none", quoted(f.extension))
	}
	x.settle(err, "header", append(rows, row)...)
	if algorithmOK && nameOK && f.extension == "" {
		return own
	}
	return nil
}

const noIssuer = "the issuer is not known"

// mostShown limits how many keys, audiences or scopes are shown.
const mostShown = 8

// key explains whether there is a signature, findKeys, and signed. h may be nil.
func (x *explaining) key(ctx context.Context, t *decoded, is *issuer, h *header) {
	const some = "a signature"
	if t.Signature == "" {
		x.settle(errUnsigned, "signed", failed("signed", jwterrors.TokenFormatInvalid, some, "none"))
	} else {
		x.settle(nil, "signed", passed("signed", some, "one"))
	}
	switch {
	case t.Signature == "":
		x.skip("there is no signature", "key", "signature")
		return
	case is.keys == nil:
		x.skip(noIssuer, "key", "signature")
		return
	case h == nil:
		x.skip("the header is refused", "key", "signature")
		x.keySet(is)
		return
	}
	set, err := is.findKeys(ctx, x.now, is.keys.snapshot(x.now), h)
	state := x.keySet(is)
	expected := "a key for " + h.alg.name
	if h.kid != "" {
		expected = fmt.Sprintf("the key %s for %s", quoted(h.kid), h.alg.name)
	}
	if !is.anyIssuer {
		expected += " of " + quoted(is.name)
	}
	if err != nil {
		reason := x.reason(err)
		found := cause(err)
		if reason == jwterrors.KeysUnavailable {
			found = "the keys cannot be had at the moment"
			if state.Stale {
				found += ", and those of before are too old"
			}
			if wait := retryAfter(err); wait > 0 {
				found += fmt.Sprintf("; the next try is in %v", wait.Round(time.Millisecond))
			}
		} else if set := is.keys.snapshot(x.now); set != nil {
			found += "; there are " + keyNames(set.keys)
		}
		x.settle(err, "key", failed("key", reason, expected, found))
		x.skip("there is no key", "signature")
		return
	}
	for _, k := range h.keys[:min(len(h.keys), mostShown)] {
		x.e.Keys = append(x.e.Keys, ExplainedKey{escaped(k.id), k.alg.name})
	}
	found := keyNames(h.keys)
	if x.e.KeySetAge != "" {
		found += fmt.Sprintf("; fetched %s ago, with %d keys in all", x.e.KeySetAge, len(set.keys))
	}
	x.settle(nil, "key", passed("key", expected, found))

	const signature = "made with the key"
	if x.e.Verified = h.signed(t); x.e.Verified {
		x.settle(nil, "signature", passed("signature", signature, "it was"))
		return
	}
	x.settle(errSignature, "signature", failed("signature", jwterrors.TokenSignatureInvalid, signature, "it was not: the token is forged or altered"))
}

// keySet notes the age of the keys of is.
func (x *explaining) keySet(is *issuer) KeyState {
	state := is.keys.inspect(x.now)
	if !state.FetchedAt.IsZero() {
		x.e.KeySetAge = seconds(x.now.Sub(state.FetchedAt))
	}
	return state
}

// payload explains readClaims. It returns nil when that fails.
func (x *explaining) payload(data []byte) *record {
	members, _ := jws.Members(data)
	x.show(&x.e.Claims, members, "iss", "aud", "sub", "iat", "nbf", "exp", "jti", "sid", "scope")
	const object = "an unambiguous JSON object with claims of the right types"
	r, err := readClaims(string(data))
	if err != nil {
		x.settle(refuse(jwterrors.TokenPayloadInvalid, err), "payload", failed("payload", jwterrors.TokenPayloadInvalid, object, plain(err.Error())))
		return nil
	}
	x.settle(nil, "payload", passed("payload", object, "one"))
	return r
}

// claims explains acceptable.
func (x *explaining) claims(r *record, is *issuer) {
	kind := passed("kind", "an access token", "nothing else")
	if r.judgeKind() != nil {
		kind = failed("kind", jwterrors.TokenTypeInvalid, "an access token", fmt.Sprintf("the claims of one of the kind %q", r.kind.String()))
	}
	required := skipped("required", "there are no RequiredClaims")
	if len(x.m.required) > 0 {
		required = passed("required", list(x.m.required), "all")
		if err := judgeRequired(x.m.required, r); err != nil {
			required = failed("required", jwterrors.TokenPayloadInvalid, required.Expected, cause(err))
		}
	}
	issuer := judged(r.Issuer == is.name, "issuer", jwterrors.TokenIssuerInvalid, quoted(is.name), quoted(r.Issuer))
	if is.anyIssuer {
		issuer = skipped("issuer", "InsecureAnyIssuer is set")
	}
	meant := slices.ContainsFunc(r.Audience, func(a string) bool { return slices.Contains(is.audience, a) })
	audience := judged(meant, "audience", jwterrors.TokenAudienceInvalid, "one of "+list(is.audience), list(r.Audience))
	if is.anyAudience {
		audience = skipped("audience", "InsecureAnyAudience is set")
	}
	if is.keys == nil {
		issuer, audience = skipped("issuer", noIssuer), skipped("audience", noIssuer)
	}
	rows := append([]ExplainedCheck{kind, required}, x.times(&r.Claims)...)
	x.settle(x.m.acceptable(r, is, x.now), "claims", append(rows, issuer, audience)...)
}

// times explains judgeTime.
func (x *explaining) times(c *Claims) []ExplainedCheck {
	m, now := x.m, x.now
	hasExpiry, hasIssue := !c.ExpiresAt.IsZero(), !c.IssuedAt.IsZero()
	var dates string
	switch {
	case !hasExpiry && !hasIssue:
		dates = "neither"
	case !hasExpiry:
		dates = `"exp" is missing`
	case !hasIssue:
		dates = `"iat" is missing`
	default:
		dates = "both"
	}
	rows := []ExplainedCheck{judged(hasExpiry && hasIssue, "dates", jwterrors.TokenPayloadInvalid, `"exp" and "iat"`, dates)}

	lifetime := skipped("lifetime", dates)
	if hasExpiry && hasIssue {
		lives := c.ExpiresAt.Sub(c.IssuedAt)
		x.e.Lifetime = seconds(lives)
		lifetime = judged(lives < m.maxLifetime, "lifetime", jwterrors.TokenExpirationInvalid, "less than "+m.maxLifetime.String(), x.e.Lifetime)
	}
	expiry := skipped("expiry", dates)
	if hasExpiry {
		if left := c.ExpiresAt.Sub(now); left > 0 {
			x.e.ExpiresIn = seconds(left)
		} else {
			x.e.ExpiredAgo = seconds(now.Sub(c.ExpiresAt))
		}
		expiry = judged(now.Before(c.ExpiresAt.Add(m.leeway)), "expiry", jwterrors.TokenExpired, `"exp" less than `+m.leeway.String()+" ago", when(c.ExpiresAt, now))
	}
	start := skipped("start", `there is no "nbf"`)
	limit := now.Add(m.leeway)
	if !c.NotBefore.IsZero() {
		start = judged(!c.NotBefore.After(limit), "start", jwterrors.TokenNotYetValid, `"nbf" in `+m.leeway.String()+" at most", when(c.NotBefore, now))
	}
	issue := skipped("issue", dates)
	if hasIssue {
		issue = judged(!c.IssuedAt.After(limit), "issue", jwterrors.TokenNotYetValid, `"iat" in `+m.leeway.String()+" at most", when(c.IssuedAt, now))
	}
	return append(rows, lifetime, expiry, start, issue)
}

// others explains allowed. Nobody is asked about a token that anybody can have
// written.
func (x *explaining) others(ctx context.Context, r *record, list *StatusList) {
	const unasked = "nobody is asked about a token that is not verified"
	m := x.m
	x.possession(r)
	switch rule := m.userKey; {
	case rule == nil:
		x.skip("there is no UserKey", "user key")
	case !x.e.Verified:
		x.ask((&UserKeyRule{}).judge(ctx, nil, &r.Claims), "user key", `"email" or "userId"`, "one of them")
	default:
		x.ask(rule.judge(ctx, nil, &r.Claims), "user key", `"email" or "userId" of a user`, "one of them")
	}
	switch {
	case m.revocations == nil && list == nil:
		x.skip("there are no Revocations", "revocation")
	case !x.e.Verified:
		x.skip(unasked, "revocation")
	default:
		err := judgeRevocation(ctx, m.revocations, &r.Claims)
		if err == nil {
			err = x.status(ctx, r, list)
		}
		x.ask(err, "revocation", "not revoked", "it is not")
	}
	switch {
	case m.validate == nil:
		x.skip("there is no Validate", "own check")
	case x.e.Reason != "":
		x.skip("another check failed", "own check")
	default:
		x.ask(m.validate(ctx, &r.Claims), "own check", "no objection of Validate", "none")
	}
}

// possession explains possessed, without a request as Verify does it.
func (x *explaining) possession(r *record) {
	_, err := x.m.possessed(nil, nil, "", r.seldom().confirmation)
	if err == nil {
		x.skip("the token is bound to nothing", "possession")
		return
	}
	expected := "a request with a proof"
	if r.seldom().confirmation == nil {
		expected = "a token that is bound"
	}
	x.settle(err, "possession", failed("possession", x.reason(err), expected, cause(err)))
}

// status asks the list about a token.
func (x *explaining) status(ctx context.Context, r *record, list *StatusList) error {
	reference, err := list.refer(r.payload)
	if err != nil {
		return err
	}
	return reference.judge(ctx, x.now)
}

// ask adds the row of a check that is another's.
func (x *explaining) ask(err error, name, expected, found string) {
	if err == nil {
		x.settle(nil, name, passed(name, expected, found))
		return
	}
	reason := x.reason(err)
	switch {
	case name == "user key" && reason != jwterrors.StoreUnavailable, name == "revocation" && reason == jwterrors.TokenPayloadInvalid:
		found = cause(err)
	case name == "own check":
		found = "an objection"
	case reason == jwterrors.TokenInvalidated:
		found = "it is revoked"
	default:
		found = "who was asked does not know"
	}
	x.settle(err, name, failed(name, reason, expected, found))
}

// show appends those of members that are there.
func (x *explaining) show(to *[]ExplainedValue, members map[string]json.RawMessage, names ...string) {
	for _, name := range names {
		if raw, ok := members[name]; ok {
			*to = append(*to, ExplainedValue{name, valueText(name, raw)})
		}
	}
}

// valueText shows the value of a header parameter or a claim.
func valueText(name string, raw json.RawMessage) string {
	switch name {
	case "exp", "nbf", "iat":
		if t, err := jws.NumericDate(raw); err == nil {
			return t.UTC().Format(time.RFC3339Nano)
		}
	case "aud":
		if all, err := jws.Strings(raw); err == nil && raw[0] == '[' {
			return list(all)
		}
	}
	if s, err := jws.String(raw); err == nil {
		return escaped(s)
	}
	return escaped(string(raw))
}

// cause returns the text of a refusal of our own, without its reason.
func cause(err error) string {
	e := circumstances(err)
	if e.Err == nil {
		return e.Reason.Description()
	}
	return plain(e.Err.Error())
}

func retryAfter(err error) time.Duration { return circumstances(err).RetryAfter }

func circumstances(err error) (e *jwterrors.Error) {
	errors.As(explain(err, "", nil, time.Time{}), &e)
	return e
}

// maxText is the length of the longest text of a token that is shown in full, in
// bytes: two issuers that differ must not look the same.
const maxText = 200

// plain returns the text of an error with nothing in it but printable ASCII. It
// is bounded, as all that ours quote is.
func plain(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(escaped(s), `\"`, `"`), `\\`, `\`)
}

// escaped returns the beginning of s with nothing in it but printable ASCII, so
// that it can neither move a terminal's cursor nor look like what it is not.
func escaped(s string) string {
	q := quoted(s)
	if rest, ok := strings.CutSuffix(q, "..."); ok {
		return rest[1:len(rest)-1] + "..."
	}
	return q[1 : len(q)-1]
}

// quoted is escaped, in quotation marks.
func quoted(s string) string {
	if len(s) <= maxText {
		return strconv.QuoteToASCII(s)
	}
	cut := maxText
	for cut > maxText-utf8.UTFMax && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return strconv.QuoteToASCII(s[:cut]) + "..."
}

// list shows the first of some strings.
func list(all []string) string {
	if len(all) == 0 {
		return "none"
	}
	var b strings.Builder
	for i, s := range all {
		if i == mostShown {
			fmt.Fprintf(&b, " and %d more", len(all)-i)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(quoted(s))
	}
	return b.String()
}

// types shows the accepted types, of which "" stands for none.
func types(all []string) string {
	all = slices.Clone(all)
	none := slices.Contains(all, "")
	all = slices.DeleteFunc(all, func(t string) bool { return t == "" })
	switch {
	case !none:
		return list(all)
	case len(all) == 0:
		return "none"
	default:
		return list(all) + " or none"
	}
}

// keyNames shows keys by their names and algorithms.
func keyNames(keys []*key) string {
	var all []string
	for i, k := range keys {
		if i == mostShown {
			all = append(all, fmt.Sprintf("%d more", len(keys)-i))
			break
		}
		name := "a key without a name"
		if k.id != "" {
			name = quoted(k.id)
		}
		all = append(all, name+" for "+k.alg.name)
	}
	return strings.Join(all, ", ")
}

func seconds(d time.Duration) string { return d.Round(time.Second).String() }

// when shows a time and how far it is from now.
func when(t, now time.Time) string {
	at := t.UTC().Format(time.RFC3339)
	if d := t.Sub(now); d > 0 {
		return at + ", in " + seconds(d)
	}
	return at + ", " + seconds(now.Sub(t)) + " ago"
}

// String returns the explanation as a table of plain text.
func (e *Explanation) String() string {
	if e == nil {
		return ""
	}
	var b strings.Builder
	if e.Reason == "" {
		b.WriteString("accepted\n")
	} else {
		fmt.Fprintf(&b, "refused: %s: %s\n", e.Reason, e.Reason.Description())
	}
	if !e.Verified && len(e.Header)+len(e.Claims) > 0 {
		b.WriteString("The signature is not verified: anybody can have written what the token says.\n")
	}
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "\nCHECK\tVERDICT\tREASON\tEXPECTED\tFOUND\n")
	for _, c := range e.Checks {
		found := c.Found
		switch {
		case c.Note != "":
			found = "(" + c.Note + ")"
		case c.Unverified:
			found += " (unverified)"
		}
		row := fmt.Sprintf("%s\t%s\t%s\t%s\t%s", c.Name, c.Verdict, dash(string(c.Reason)), dash(c.Expected), dash(found))
		fmt.Fprintln(w, row)
	}
	if said := slices.Concat(e.Header, e.Claims); len(said) > 0 {
		heading := "THE TOKEN SAYS"
		if !e.Verified {
			heading += " (unverified)"
		}
		_ = w.Flush()
		fmt.Fprintf(w, "\n%s\n", heading)
		for _, v := range said {
			fmt.Fprintf(w, "%s\t%s\n", v.Name, v.Value)
		}
	}
	_ = w.Flush() // to memory, which does not fail
	fmt.Fprintln(w)
	for _, v := range []ExplainedValue{
		{"checked at", e.Time.Format(time.RFC3339)}, {"skew tolerated", e.Leeway}, {"lifetime", e.Lifetime},
		{"expired", ago(e.ExpiredAgo)}, {"expires in", e.ExpiresIn}, {"keys fetched", ago(e.KeySetAge)},
	} {
		if v.Value != "" {
			fmt.Fprintf(w, "%s\t%s\n", v.Name, v.Value)
		}
	}
	_ = w.Flush()
	return b.String()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func ago(s string) string {
	if s == "" {
		return ""
	}
	return s + " ago"
}
