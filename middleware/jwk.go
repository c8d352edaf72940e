package middleware

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"

	"github.com/tokenloop/tokenloop/internal/jwa"
	"github.com/tokenloop/tokenloop/internal/jws"
)

// This file is the only one that knows keyfunc, which reads a single JWK. What
// a set is, which of its keys count, and when it is fetched is decided here and
// in jwks.go.

// maxKeys is how many keys a set has at most.
const maxKeys = 256

// parseKeySet reads a JWK Set (RFC 7517, Section 5). Keys that are of no use
// here are left out, as Section 5 asks: symmetric and private ones, those for
// encryption, those of a kind, size or algorithm that is not known. A set of
// more than maxKeys, and one of which nothing is left, is an error.
func parseKeySet(document []byte, rsaAlgorithm string) (*keySet, error) {
	members, err := jws.Members(document)
	if err != nil {
		return nil, errors.New("the document is not a JSON object")
	}
	var entries []json.RawMessage
	if json.Unmarshal(members["keys"], &entries) != nil {
		return nil, errors.New(`the document has no array "keys"`)
	}
	if len(entries) > maxKeys {
		return nil, fmt.Errorf("the set has %d keys, more than the limit of %d", len(entries), maxKeys)
	}
	var keys []*key
	var last error
	for _, entry := range entries {
		k, err := parseKey(entry, rsaAlgorithm)
		if err != nil {
			last = err
			continue
		}
		keys = append(keys, k)
	}
	switch {
	case len(keys) > 0:
		return newKeySet(keys, false), nil
	case last != nil:
		return nil, fmt.Errorf("none of the set's %d keys can be used; of the last, %w", len(entries), last)
	default:
		return nil, errors.New("the set is empty")
	}
}

// parseKey reads one JWK.
func parseKey(entry []byte, rsaAlgorithm string) (*key, error) {
	members, err := jws.Members(entry)
	if err != nil {
		return nil, errors.New("the JSON is wrong")
	}
	if jwa.IsSecret(members) {
		return nil, errors.New("the key is not a public one")
	}
	text := map[string]string{}
	for _, name := range []string{"kty", "crv", "x", "y", "n", "e", "kid", "use", "alg"} {
		if raw, ok := members[name]; ok {
			if text[name], err = jws.String(raw); err != nil {
				return nil, fmt.Errorf("%q is not a string", name)
			}
		}
	}
	if use, ok := text["use"]; ok && use != "sig" {
		return nil, errors.New("the key is not for signatures")
	}
	if raw, ok := members["key_ops"]; ok && !canVerify(raw) {
		return nil, errors.New("the key is not for verifying")
	}
	material, err := decodeKey(text)
	if err != nil {
		return nil, err
	}
	name := text["alg"]
	if name == "" && text["kty"] == "RSA" {
		name = rsaAlgorithm
	}
	material, alg, err := publicKey(material, name)
	if err != nil {
		return nil, err
	}
	return &key{id: text["kid"], alg: alg, material: material}, nil
}

// decodeKey makes a key of the parameters of a JWK (RFC 7518, Section 6). Only
// these reach keyfunc: what a set says of certificates is of no concern here.
func decodeKey(text map[string]string) (any, error) {
	bare := map[string]string{}
	for _, name := range []string{"kty", "crv", "x", "y", "n", "e"} {
		if text[name] != "" {
			bare[name] = text[name]
		}
	}
	data, _ := json.Marshal(bare) // strings always marshal
	parsed, err := keyfunc.NewJWKJSON(data)
	if err != nil {
		return nil, errors.New("the key cannot be decoded")
	}
	found, _ := parsed.Keyfunc(&jwt.Token{Header: map[string]any{}}) // no kid: all keys, of which there is one
	set, ok := found.(jwt.VerificationKeySet)
	if !ok || len(set.Keys) != 1 {
		return nil, errors.New("the key cannot be decoded")
	}
	return set.Keys[0], nil
}

// canVerify reports whether raw, a "key_ops" (RFC 7517, Section 4.3), allows it.
func canVerify(raw json.RawMessage) bool {
	var all []string
	return json.Unmarshal(raw, &all) == nil && slices.Contains(all, "verify")
}

// maxID is the length of the longest kid, in bytes.
const maxID = 256

// validID reports whether kid can be the name of a key.
func validID(kid string) bool {
	if len(kid) > maxID {
		return false
	}
	for i := range len(kid) {
		if kid[i] < ' ' || kid[i] == 0x7f {
			return false
		}
	}
	return true
}
