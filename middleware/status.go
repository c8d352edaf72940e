package middleware

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/jws"
)

// statuses are what a Status List Token says.
type statuses struct {
	bits     int // of an entry: 1, 2, 4 or 8
	packed   []byte
	issuedAt time.Time
	expires  time.Time     // with the leeway
	ttl      time.Duration // 0 for none
}

// of returns the status of an entry, and whether there is one.
func (s *statuses) of(entry uint64) (status byte, ok bool) {
	perByte := uint64(8 / s.bits)
	if entry/perByte >= uint64(len(s.packed)) {
		return 0, false
	}
	shift := int(entry%perByte) * s.bits // from the least significant bit on
	return s.packed[entry/perByte] >> shift & byte(1<<s.bits-1), true
}

// A statusReference is the entry of a token, and the list that it is in. A token that
// has none has a nil list.
type statusReference struct {
	list  *StatusList
	entry uint64
}

var statusListTypes = []string{"statuslist+jwt"}

// read verifies a Status List Token (Sections 5.1 and 8.3 of the draft).
func (s *StatusList) read(ctx context.Context, document string, now time.Time) (statuses, error) {
	var t decoded
	room := new([]byte)
	if err := t.read(document, int(s.options.MaxBytes), room); err != nil {
		return statuses{}, err
	}
	h, err := readHeader(t.Header, statusListTypes, s.keys.allows)
	if err != nil {
		return statuses{}, err
	}
	if _, err := (&issuer{keys: s.keys}).findKeys(ctx, now, s.keys.snapshot(now), h); err != nil {
		return statuses{}, err
	}
	if !h.signed(&t) {
		return statuses{}, errSignature
	}
	c, err := jws.ParseClaims(t.payload)
	switch {
	case err != nil:
		return statuses{}, err
	case c.Subject != s.url:
		return statuses{}, fmt.Errorf(`"sub" is %s and not the URL of the list`, shown(c.Subject))
	case c.IssuedAt.IsZero() || c.IssuedAt.After(now.Add(defaultLeeway)):
		return statuses{}, errors.New(`"iat" is missing or in the future: are the clocks right?`)
	case c.NotBefore.After(now.Add(defaultLeeway)):
		return statuses{}, errors.New(`"nbf" is in the future`)
	}
	list := statuses{issuedAt: c.IssuedAt, expires: now.AddDate(1, 0, 0)} // MaxStale is shorter
	if !c.Expiry.IsZero() {
		if list.expires = c.Expiry.Add(defaultLeeway); !now.Before(list.expires) {
			return statuses{}, errors.New("the list has expired")
		}
	}
	if raw, ok := c.Members["ttl"]; ok {
		if list.ttl, err = readTTL(raw); err != nil {
			return statuses{}, err
		}
	}
	if list.bits, list.packed, err = readStatusList(c.Members["status_list"], s.options.MaxBytes); err != nil {
		return statuses{}, err
	}
	return list, nil
}

// readTTL reads a positive number of seconds.
func readTTL(raw json.RawMessage) (time.Duration, error) {
	var seconds float64
	if json.Unmarshal(raw, &seconds) != nil || seconds <= 0 {
		return 0, errors.New(`"ttl" is not a positive number`)
	}
	return time.Duration(min(seconds, (24*time.Hour).Seconds()) * float64(time.Second)), nil
}

// readStatusList reads the member "status_list" (Section 4.2 of the draft), of which
// the list has max bytes at most.
func readStatusList(raw json.RawMessage, max int64) (bits int, packed []byte, err error) {
	members, err := jws.Members(raw)
	if err != nil {
		return 0, nil, errors.New(`there is no "status_list"`)
	}
	switch string(members["bits"]) {
	case "1", "2", "4", "8":
		bits = int(members["bits"][0] - '0')
	default:
		return 0, nil, errors.New(`"bits" is not 1, 2, 4 or 8`)
	}
	text, err := jws.String(members["lst"])
	if err != nil {
		return 0, nil, errors.New(`"lst" is not a string`)
	}
	compressed, err := jws.Decode(text)
	if err != nil {
		return 0, nil, errors.New(`"lst" is not base64url`)
	}
	z, err := zlib.NewReader(bytes.NewReader(compressed))
	if err != nil {
		return 0, nil, fmt.Errorf(`"lst": %w`, err)
	}
	packed, err = io.ReadAll(io.LimitReader(z, max+1))
	switch {
	case err != nil:
		return 0, nil, fmt.Errorf(`"lst": %w`, err)
	case int64(len(packed)) > max:
		return 0, nil, fmt.Errorf(`"lst": more than %d bytes`, max)
	}
	return bits, bytes.Clone(packed), nil // of its own size
}

// refer returns where the status of a token is (Section 6.2 of the draft). A nil list
// has none.
func (s *StatusList) refer(payload string) (statusReference, error) {
	if s == nil {
		return statusReference{}, nil
	}
	members, _ := jws.Members([]byte(payload)) // which was read before
	raw, ok := members["status"]
	if !ok && s.options.InsecureAllowNoStatus {
		return statusReference{}, nil
	}
	status, _ := jws.Members(raw) // what is no object has no members, and so no index
	where, _ := jws.Members(status["status_list"])
	entry, err := strconv.ParseUint(string(where["idx"]), 10, 63)
	if err != nil {
		return statusReference{}, errNoStatus
	}
	if uri, _ := jws.String(where["uri"]); uri != s.url {
		return statusReference{}, refuse(jwterrors.TokenPayloadInvalid, fmt.Errorf(`its status is in the list %s, which is not the issuer's`, shown(uri)))
	}
	return statusReference{s, entry}, nil
}

var errNoStatus = refuse(jwterrors.TokenPayloadInvalid, errors.New(`"status" is missing, or its "idx" is no entry of a status list`))

// judge asks the list about a token.
func (r statusReference) judge(ctx context.Context, now time.Time) error {
	if r.list == nil {
		return nil
	}
	state, err := r.list.current(ctx, now)
	switch {
	case err != nil:
		return unknown(err)
	case state == nil: // InsecurePassWhenStale
		return nil
	}
	switch status, ok := state.of(r.entry); {
	case !ok: // Section 8.3 of the draft
		return refuse(jwterrors.TokenPayloadInvalid, fmt.Errorf("the status list has no entry %d", r.entry))
	case status != 0:
		return refuse(jwterrors.TokenInvalidated, fmt.Errorf("its status is %d", status))
	}
	return nil
}
