package issuer

import (
	"fmt"
	"log/slog"
	"strconv"
)

// String names the Issuer by its URL. What it was made of holds secrets.
func (i *Issuer) String() string {
	if i == nil {
		return "issuer.Issuer(nil)"
	}
	return "issuer.Issuer(" + i.c.Issuer + ")"
}

// Format writes String for every verb and flag, "%#v" included.
func (i *Issuer) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(i.String())) }

// LogValue returns what String does.
func (i *Issuer) LogValue() slog.Value { return slog.StringValue(i.String()) }

// String names the session by its ID. Its Seed makes refresh tokens.
func (s Session) String() string { return "session " + s.ID }

// Format writes String for every verb and flag, "%#v" included.
func (s Session) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// LogValue returns what String does.
func (s Session) LogValue() slog.Value { return slog.StringValue(s.String()) }

// String names the generation that the rotation leads to, and hides the hash.
func (r Rotation) String() string {
	return "rotation to generation " + strconv.FormatUint(r.Generation, 10)
}

// Format writes String for every verb and flag, "%#v" included.
func (r Rotation) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(r.String())) }

// LogValue returns what String does.
func (r Rotation) LogValue() slog.Value { return slog.StringValue(r.String()) }
