package password

import (
	"fmt"
	"log/slog"
)

func (h *Hasher) text() string {
	switch {
	case h == nil:
		return "password.Hasher(nil)"
	case h.c.Algorithm == Bcrypt:
		return fmt.Sprintf("password.Hasher(bcrypt, cost %d)", h.c.Cost)
	}
	return fmt.Sprintf("password.Hasher(argon2id, m=%d,t=%d,p=%d)", h.c.Memory, h.c.Time, h.c.Parallelism)
}

// Format names the algorithm and its parameters, for every verb and flag.
func (h *Hasher) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(h.text())) }

// LogValue returns what Format writes.
func (h *Hasher) LogValue() slog.Value { return slog.StringValue(h.text()) }
