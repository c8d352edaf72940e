package issuer

import (
	"fmt"
	"log/slog"
	"strconv"
)

func (i *Issuer) text() string {
	if i == nil {
		return "issuer.Issuer(nil)"
	}
	return "issuer.Issuer(" + i.c.Issuer + ")"
}

// Format names the Issuer by its URL, for every verb and flag. What it was made of
// holds secrets.
func (i *Issuer) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(i.text())) }

// LogValue returns what Format writes.
func (i *Issuer) LogValue() slog.Value { return slog.StringValue(i.text()) }

func (s Session) text() string { return "session " + s.ID }

// Format names the session by its ID, for every verb and flag. Its Seed makes
// refresh tokens.
func (s Session) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.text())) }

// LogValue returns what Format writes.
func (s Session) LogValue() slog.Value { return slog.StringValue(s.text()) }

func (r Rotation) text() string {
	return "rotation to generation " + strconv.FormatUint(r.Generation, 10)
}

// Format names the generation that the rotation leads to, and hides the hash, for
// every verb and flag.
func (r Rotation) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(r.text())) }

// LogValue returns what Format writes.
func (r Rotation) LogValue() slog.Value { return slog.StringValue(r.text()) }
