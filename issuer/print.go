package issuer

import (
	"fmt"
	"log/slog"
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
