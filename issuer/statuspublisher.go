package issuer

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// The paths of the status list, below Prefix.
const (
	statusListPath        = "/status-list"
	statusAggregationPath = "/status-list/aggregation"
)

// A statusPublisher signs the StatusList of one Issuer.
type statusPublisher struct {
	list      *StatusList
	keys      *KeyRing
	claim     []byte // of an access token, up to the entry
	claimEnd  []byte // and behind it
	first     []byte // the beginning of the list's own payload
	aggregate *metadata

	current atomic.Pointer[signedStatusList]
	signing sync.Mutex
	retryAt time.Time // after a failure; of who holds signing
	failure error
}

// A signedStatusList is a Status List Token (Section 5.1 of the draft).
type signedStatusList struct {
	version           uint64
	signedAt, expires time.Time
	body, gzipped     []byte
	tag               string
}

// newStatusPublisher returns the publisher of c.StatusList at the public URL of
// c.Prefix, or nil where there is no list.
func newStatusPublisher(c *Config, public string) *statusPublisher {
	if c.StatusList == nil {
		return nil
	}
	uri := appendString(nil, public+statusListPath)
	p := &statusPublisher{list: c.StatusList, keys: c.Keys, claim: []byte(`,"status":{"status_list":{"idx":`)}
	p.claimEnd = append(append([]byte(`,"uri":`), uri...), "}}"...)
	p.first = append(appendString([]byte(`{"iss":`), c.Issuer), `,"sub":`...)
	p.first = append(p.first, uri...)
	body, _ := json.Marshal(map[string]any{"status_lists": []string{public + statusListPath}}) // strings always marshal
	p.aggregate = newDocument(body)
	return p
}

// appendClaim appends the claim "status" of an access token (Section 6.2 of the
// draft), of a session or of a token that has none. Without a list there is none.
func (p *statusPublisher) appendClaim(b []byte, kind, id string) []byte {
	if p == nil {
		return b
	}
	b = append(b, p.claim...)
	b = strconv.AppendUint(b, uint64(p.list.entry(kind, id)), 10)
	return append(b, p.claimEnd...)
}

// The list is signed again when it has changed, but not within a second, and when
// half of its Lifetime is over.
const leastSigning = time.Second

func (p *statusPublisher) good(d *signedStatusList, now time.Time) bool {
	switch age := now.Sub(d.signedAt); {
	case age < 0 || age >= p.list.lifetime/2:
		return false
	case age < leastSigning:
		return true
	default:
		return d.version == p.list.changes()
	}
}

// signed returns the list as it is now. While it is being signed, and when it cannot
// be, it returns the last one for as long as that counts, in the second case with the
// error.
func (p *statusPublisher) signed(now time.Time) (*signedStatusList, error) {
	if err := p.list.inStep(now); err != nil {
		return nil, err
	}
	last := p.current.Load()
	if last != nil && p.good(last, now) {
		return last, nil
	}
	if counts := last != nil && now.Before(last.expires); !counts {
		p.signing.Lock()
	} else if !p.signing.TryLock() {
		return last, nil
	}
	defer p.signing.Unlock()
	if last = p.current.Load(); last != nil && p.good(last, now) {
		return last, nil
	}
	counts := last != nil && now.Before(last.expires)
	if wait := p.retryAt.Sub(now); 0 < wait && wait <= leastSigning {
		if counts {
			return last, nil
		}
		return nil, p.failure
	}
	next, err := p.sign(now)
	if err == nil {
		p.current.Store(next)
		return next, nil
	}
	p.retryAt, p.failure = now.Add(leastSigning), err
	if !counts {
		last = nil
	}
	return last, err
}

func (p *statusPublisher) sign(now time.Time) (*signedStatusList, error) {
	bits, version := p.list.bits(now)
	b := bytes.Clone(p.first)
	b = appendDate(b, "iat", now.Unix())
	b = appendDate(b, "exp", now.Add(p.list.lifetime).Unix())
	b = appendDate(b, "ttl", int64(p.list.ttl/time.Second))
	b = append(b, `,"status_list":{"bits":1,"lst":"`...)
	b = base64.RawURLEncoding.AppendEncode(b, deflated(bits))
	b = append(b, `"}}`...)
	token, err := p.keys.current().typed("statuslist+jwt").sign(b)
	if err != nil {
		return nil, &jwterrors.Error{Reason: jwterrors.TokenGenerationError, Err: err}
	}
	sum := sha256.Sum256([]byte(token))
	return &signedStatusList{
		version: version, signedAt: now, expires: now.Add(p.list.lifetime), body: []byte(token), gzipped: gzipped(token),
		tag: base64.RawURLEncoding.EncodeToString(sum[:12]),
	}, nil
}

// deflated compresses in the format of zlib (RFC 1950). The best compression, which
// the draft recommends, saves a quarter, and takes a hundred times as long for what is
// nearly all zeros: seconds for a list with thousands of entries.
func deflated(data []byte) []byte {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	_, _ = w.Write(data) // a buffer takes all
	_ = w.Close()
	return b.Bytes()
}

// gzipped compresses once more: the base64 of a list takes a third more than the list.
func gzipped(text string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return b.Bytes()
}

// statusList answers the Status List Token (Section 8.2 of the draft).
func (i *Issuer) statusList(w http.ResponseWriter, r *http.Request) error {
	if r.URL.RawQuery != "" && r.URL.Query().Has("time") { // Section 8.4: lists of the past
		noStore(w)
		w.WriteHeader(http.StatusNotImplemented)
		return nil
	}
	d, err := i.status.signed(i.c.Now())
	switch {
	case d == nil:
		return err
	case err != nil:
		i.c.Logger.ErrorContext(r.Context(), "issuer: sign the status list; the last one is answered", "expires", d.expires, "err", err)
	}
	body, tag := d.body, `"`+d.tag+`"`
	w.Header().Set("Vary", "Accept-Encoding")
	if acceptsGzip(r) {
		body, tag = d.gzipped, `"`+d.tag+`-gzip"`
		w.Header().Set("Content-Encoding", "gzip")
	}
	return cacheable(w, r, "application/statuslist+jwt", i.status.list.ttl, body, tag)
}

// statusAggregation answers the list of lists (Section 9.3 of the draft), of which
// there is one.
func (i *Issuer) statusAggregation(w http.ResponseWriter, r *http.Request) error {
	return cacheable(w, r, "application/json", i.c.Keys.maxAge, i.status.aggregate.body, i.status.aggregate.tag)
}

// acceptsGzip reports whether r names gzip among the codings that it takes (RFC
// 9110, Section 12.5.3).
func acceptsGzip(r *http.Request) bool {
	for coding := range strings.SplitSeq(strings.Join(r.Header.Values("Accept-Encoding"), ","), ",") {
		name, weight, _ := strings.Cut(coding, ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") {
			_, q, weighed := strings.Cut(weight, "=")
			least, err := strconv.ParseFloat(strings.TrimSpace(q), 64)
			return !weighed || err == nil && least > 0
		}
	}
	return false
}
