package middleware

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/jws"
)

// Verify returns the claims of a token, or the reason for which it is refused,
// as a *jwterrors.Error. It is Check without HTTP, for gRPC metadata, WebSockets
// and queues. It may wait for keys, for as long as ctx allows.
//
// The checks stand in a fixed order, and a token that is wrong in several ways
// is refused for the first: length, alphabet and three parts; header (algorithm,
// type, key name, extensions); key; signature; payload; lifetime, expiry, start,
// issue; issuer, audience; possession; user key; revocation; the caller's own check.
// Nothing that a token says is believed before its signature. A token that is bound
// to a key or a certificate ("cnf") is refused with AUTH_PROOF_INVALID, and so is every
// token where DPoP.Required is set: there is no request that could prove who sent it.
func (m *Middleware) Verify(ctx context.Context, token string) (*Claims, error) {
	if !m.made() {
		return nil, errZero()
	}
	r, err := m.verifyAndTell(ctx, token)
	if err != nil {
		return nil, err
	}
	return r.out(), nil
}

// verify is Verify, and returns the nonce for the next request, if there is one to
// give. The request and where its token was are nil where there is none.
func (m *Middleware) verify(ctx context.Context, token string, request *http.Request, from *source) (*record, string, error) {
	now := m.now()
	hash := m.cache.hash(token)
	r, is, err := m.seenBefore(ctx, request, hash, token, now)
	switch {
	case err != nil:
	case r == nil:
		r, err = m.firstSight(ctx, request, is, hash, token, now)
	case is != nil: // the token was accepted before, and perhaps for another issuer
		err = is.accepts(r)
	}
	var nonce string
	if err == nil && (r.seldom().confirmation != nil || m.proofs != nil) {
		nonce, err = m.possessed(request, from, token, r.seldom().confirmation)
	}
	if err == nil {
		err = m.allowed(ctx, request, r, now)
	}
	switch {
	case err == nil:
		return r, nonce, nil
	case r == nil:
		return nil, "", explain(err, token, nil, now)
	default:
		return nil, nonce, explain(err, token, &r.Claims, now)
	}
}

// seenBefore returns what a token says that was verified before with the keys that
// the issuer has now, and whether it is still valid. It returns nil for others. If
// it asked Config.Resolve, it returns the answer.
func (m *Middleware) seenBefore(ctx context.Context, request *http.Request, hash uint64, token string, now time.Time) (*record, *issuer, error) {
	e := m.cache.get(hash, token)
	if e == nil {
		return nil, nil, nil
	}
	var is *issuer
	keys := e.keys
	if m.resolve != nil {
		var err error
		if is, err = m.resolved(ctx, request, e.record.Issuer); err != nil {
			return nil, nil, err
		}
		keys = is.keys
	}
	if keys.snapshot(now) != e.set { // which no two sources share
		return nil, is, nil
	}
	if is != nil && is.statusList != e.statusList {
		return nil, is, nil
	}
	r := e.record
	if !m.share {
		r = r.copy()
	}
	if now.After(e.from) && now.Before(e.until) {
		return r, is, nil
	}
	err := m.judgeTime(&r.Claims, now)
	if over(now, r.ExpiresAt) {
		m.cache.drop(e)
	}
	return r, is, err
}

// firstSight returns what a token says, as far as it was verified, and whether it
// is acceptable. The issuer is nil where it is not known yet.
func (m *Middleware) firstSight(ctx context.Context, request *http.Request, is *issuer, hash uint64, token string, now time.Time) (*record, error) {
	r, is, set, err := m.authentic(ctx, request, is, token, now)
	if err != nil {
		return nil, err
	}
	if err := m.acceptable(r, is, now); err != nil {
		return r, err
	}
	reference, err := is.statusList.refer(r.payload)
	if err != nil {
		return r, err
	}
	if reference != (statusReference{}) {
		seldom := *r.seldom()
		seldom.status = reference
		r.rare = &seldom
	}
	if m.cache.wants(hash) {
		m.cache.put(&entry{
			hash: hash, token: token, keys: is.keys, set: set, record: r.packed(m.share), statusList: is.statusList,
			from: later(r.NotBefore, r.IssuedAt).Add(-m.leeway), until: r.ExpiresAt.Add(m.leeway),
		}, now)
	}
	return r, nil
}

// authentic reads a token and verifies its signature. It returns the keys that
// it did this with, too. The issuer is nil where it is not known yet.
func (m *Middleware) authentic(ctx context.Context, request *http.Request, is *issuer, token string, now time.Time) (*record, *issuer, *keySet, error) {
	room := rooms.Get().(*[]byte)
	defer rooms.Put(room)
	var t decoded
	err := t.read(token, m.maxTokenBytes, room)
	if err != nil {
		return nil, nil, nil, err
	}
	var early *record
	if is == nil {
		if is, early, err = m.issuerOf(ctx, request, t.payload); err != nil {
			return nil, nil, nil, err
		}
	}
	set := is.keys.snapshot(now)
	h := is.memo.get(set, t.Header)
	known := h != nil
	if !known {
		if h, err = readHeader(t.Header, m.types, is.keys.allows); err != nil {
			return nil, nil, nil, err
		}
	}
	if t.Signature == "" { // what the algorithm "none" has was refused with it
		return nil, nil, nil, errUnsigned
	}
	if !known {
		if set, err = is.findKeys(ctx, now, set, h); err != nil {
			return nil, nil, nil, err
		}
	}
	if !h.signed(&t) {
		return nil, nil, nil, errSignature
	}
	if !known && !is.resolved {
		is.memo.put(set, t.Header, h)
	}
	if early != nil {
		return early, is, set, nil
	}
	r, err := readClaims(string(t.payload))
	if err != nil {
		return nil, nil, nil, refuse(jwterrors.TokenPayloadInvalid, err)
	}
	return r, is, set, nil
}

// A decoded is a token cut in its parts, of which two are decoded. Its slices
// are in a room, and good only for as long as that is not given back.
type decoded struct {
	jws.Token
	payload   []byte
	signature []byte
}

// rooms holds *[]byte to decode tokens in.
var rooms = sync.Pool{New: func() any { return new([]byte) }}

// maxRoom is the size of the largest room that is kept, in bytes.
const maxRoom = 32 << 10

// read cuts a token in its parts and makes sure that they are spelled in the only
// way there is: of two spellings of one token, one could be revoked. The header is
// left to the memo, which knows only some, and to readHeader.
func (t *decoded) read(token string, max int, room *[]byte) (err error) {
	if t.Token, err = jws.Cut(token, max); err != nil {
		return refuse(jwterrors.TokenFormatInvalid, err)
	}
	if len(t.Header) > maxHeaderBytes {
		return errLongHeader
	}
	buffer := slices.Grow((*room)[:0], len(token))
	if cap(buffer) <= maxRoom {
		*room = buffer
	}
	if t.payload, err = jws.AppendDecode(buffer, t.Payload); err == nil {
		t.signature, err = jws.AppendDecode(t.payload[len(t.payload):], t.Signature)
	}
	if err != nil {
		return refuse(jwterrors.TokenFormatInvalid, err)
	}
	return nil
}

// issuerOf returns the issuer whose keys a token is verified with, and its
// claims if they had to be read for that. They are not verified: they select
// keys and nothing else.
func (m *Middleware) issuerOf(ctx context.Context, request *http.Request, payload []byte) (*issuer, *record, error) {
	if len(m.issuers) == 1 {
		return m.issuers[0], nil, nil
	}
	claims, name := string(payload), ""
	r := scanClaims(claims)
	if r != nil {
		name = r.Issuer
	} else { // what is not of the plain form is not worth more before its signature
		name = scanIssuer(claims)
	}
	if m.resolve != nil {
		is, err := m.resolved(ctx, request, name)
		return is, r, err
	}
	if is := m.byName[name]; is != nil {
		return is, r, nil
	}
	return m.issuers[0], r, nil
}

// findKeys sets the keys of h: those of set, or of a newer one where that does
// not have the key.
func (is *issuer) findKeys(ctx context.Context, now time.Time, set *keySet, h *header) (*keySet, error) {
	if set == nil || !set.has(h.kid) {
		newer, err := is.keys.lookup(ctx, now, h.kid)
		if err != nil {
			return nil, err
		}
		set = newer
	}
	h.keys = set.find(h.alg, h.kid)
	switch {
	case len(h.keys) > 0:
		return set, nil
	case h.kid == "":
		return nil, refuse(jwterrors.TokenKeyUnknown, errors.New("the token names no key, and not exactly one key is for its algorithm"))
	case set.has(h.kid):
		return nil, refuse(jwterrors.TokenSignatureInvalid, fmt.Errorf("the key %s is not for the algorithm %s", shown(h.kid), h.alg.name))
	default:
		return nil, refuse(jwterrors.TokenKeyUnknown, fmt.Errorf("the issuer has no key %s", shown(h.kid)))
	}
}

// signed reports whether one of h's keys signed the token.
func (h *header) signed(t *decoded) bool {
	for _, k := range h.keys {
		if k.verifies(t) {
			return true
		}
	}
	return false
}

// verifies reports whether k signed the token.
func (k *key) verifies(t *decoded) bool {
	if k.macs != nil {
		return k.macs.verify(t.SigningInput, t.signature)
	}
	return k.alg.method.Verify(t.SigningInput, t.signature, k.material) == nil
}

var errUnsigned = refuse(jwterrors.TokenFormatInvalid, errors.New("the signature is empty"))

var errLongHeader = refuse(jwterrors.TokenFormatInvalid, fmt.Errorf("the header has more than %d bytes", maxHeaderBytes))

var errSignature = refuse(jwterrors.TokenSignatureInvalid, errors.New("the signature is not that of the key"))

// acceptable judges the claims of an authentic token, by themselves.
func (m *Middleware) acceptable(r *record, is *issuer, now time.Time) error {
	if err := r.judgeKind(); err != nil {
		return err
	}
	if err := judgeRequired(m.required, r); err != nil {
		return err
	}
	if err := m.judgeTime(&r.Claims, now); err != nil {
		return err
	}
	return is.accepts(r)
}

// accepts judges whether the claims are those of a token of is, and for us.
func (is *issuer) accepts(r *record) error {
	if r.Issuer != is.name && !is.anyIssuer {
		return refuse(jwterrors.TokenIssuerInvalid, fmt.Errorf("the issuer is %s and not %s", shown(r.Issuer), shown(is.name)))
	}
	if is.anyAudience {
		return nil
	}
	for _, a := range r.Audience {
		if slices.Contains(is.audience, a) {
			return nil
		}
	}
	return refuse(jwterrors.TokenAudienceInvalid, fmt.Errorf("the audience is %s and not %s", list(r.Audience), list(is.audience)))
}

// allowed asks everybody else about claims that are acceptable.
func (m *Middleware) allowed(ctx context.Context, request *http.Request, r *record, now time.Time) error {
	c := &r.Claims
	if err := m.userKey.judge(ctx, request, c); err != nil {
		return err
	}
	if err := judgeRevocation(ctx, m.revocations, c); err != nil {
		return err
	}
	if err := r.seldom().status.judge(ctx, now); err != nil {
		return err
	}
	if m.validate != nil {
		return m.validate(ctx, c)
	}
	return nil
}

// judgeTime judges when a token is valid. "exp" and "iat" are required (RFC
// 9068, Section 2.2).
func (m *Middleware) judgeTime(c *Claims, now time.Time) error {
	switch {
	case c.ExpiresAt.IsZero() || c.IssuedAt.IsZero():
		return refuse(jwterrors.TokenPayloadInvalid, errors.New(`"exp" or "iat" is missing`))
	case c.ExpiresAt.Sub(c.IssuedAt) >= m.maxLifetime:
		return refuse(jwterrors.TokenExpirationInvalid, fmt.Errorf("the lifetime is not less than %v", m.maxLifetime))
	case !now.Before(c.ExpiresAt.Add(m.leeway)):
		return refuseTime(jwterrors.TokenExpired, "exp", now.Sub(c.ExpiresAt))
	case c.NotBefore.After(now.Add(m.leeway)):
		return refuseTime(jwterrors.TokenNotYetValid, "nbf", now.Sub(c.NotBefore))
	case c.IssuedAt.After(now.Add(m.leeway)):
		return refuseTime(jwterrors.TokenNotYetValid, "iat", now.Sub(c.IssuedAt))
	}
	return nil
}

// A clockError is why a token is not valid now. Most are never put into words.
type clockError struct {
	refusal
	claim string
	ago   time.Duration
}

func refuseTime(reason jwterrors.Reason, claim string, ago time.Duration) error {
	e := &clockError{refusal{reason, nil}, claim, ago}
	e.cause = e
	return &e.refusal
}

func (e *clockError) Error() string {
	if ago := e.ago.Round(time.Second); ago >= 0 {
		return fmt.Sprintf("%q was %v ago", e.claim, ago)
	}
	text := fmt.Sprintf("%q is in %v", e.claim, -e.ago.Round(time.Second))
	if e.claim == "iat" {
		text += ": are the clocks right?"
	}
	return text
}
