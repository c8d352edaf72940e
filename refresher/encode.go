package refresher

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/tokenloop/tokenloop/internal/jws"
)

// maxEncoded limits the encoded form of tokens, in bytes.
const maxEncoded = 256 << 10

// encodedVersion is the version of the encoded form. It grows when an older
// release would lose something by reading and writing it.
const encodedVersion = 1

// EncodeTokens returns the form in which a FileStore keeps tokens, in full and
// not encrypted: a JSON object with the members "version" and "tokens". It is
// for Stores that keep bytes. There must be a token in it, no text that is not
// UTF-8, and no more than 256 KiB.
func EncodeTokens(tokens Tokens) ([]byte, error) {
	if tokens.IsZero() {
		return nil, errors.New("refresher: encode tokens: there is no token")
	}
	for _, text := range []string{
		tokens.AccessToken, tokens.RefreshToken, tokens.TokenType, tokens.Scope, tokens.RetryKey, tokens.Identity.Email, tokens.Identity.UserID, tokens.Owner,
	} {
		if !utf8.ValidString(text) {
			return nil, errors.New("refresher: encode tokens: a field is not UTF-8")
		}
	}
	data, err := json.Marshal(encoded{encodedVersion, &tokens})
	switch {
	case err != nil: // a time that JSON cannot express; the error quotes no token
		return nil, fmt.Errorf("refresher: encode tokens: %w", err)
	case len(data) > maxEncoded:
		return nil, fmt.Errorf("refresher: encode tokens: they take %d bytes, and no more than %d are kept", len(data), maxEncoded)
	}
	return data, nil
}

// DecodeTokens reads what EncodeTokens has written, and nothing else: not what
// was cut short, has unknown members, repeats one, or comes from a release that
// writes a newer version. Its errors quote nothing of data.
func DecodeTokens(data []byte) (Tokens, error) {
	refuse := func(why string) (Tokens, error) {
		return Tokens{}, errors.New("refresher: decode tokens: " + why)
	}
	if len(data) > maxEncoded {
		return refuse("they are too long")
	}
	members, err := jws.Members(data)
	if err != nil {
		return refuse("they are cut short, or are no tokens")
	}
	var version int
	if json.Unmarshal(members["version"], &version) != nil || version < 1 {
		return refuse("they have no version")
	}
	if version > encodedVersion {
		return refuse(fmt.Sprintf("they have version %d, from a newer release; this one reads version %d", version, encodedVersion))
	}
	if _, err := jws.Members(members["tokens"]); err != nil {
		return refuse("they are no tokens")
	}
	var read encoded
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if dec.Decode(&read) != nil || read.Tokens == nil {
		return refuse("they have members that are unknown, or of the wrong type")
	}
	if read.Tokens.IsZero() {
		return refuse("there is no token in them")
	}
	return *read.Tokens, nil
}

type encoded struct {
	Version int     `json:"version"`
	Tokens  *Tokens `json:"tokens"`
}
