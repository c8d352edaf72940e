package password

import (
	"fmt"
	"log/slog"
)

// String names the algorithm and its parameters.
func (h *Hasher) String() string {
	switch {
	case h == nil:
		return "password.Hasher(nil)"
	case h.c.Algorithm == Bcrypt:
		return fmt.Sprintf("password.Hasher(bcrypt, cost %d)", h.c.Cost)
	}
	return fmt.Sprintf("password.Hasher(argon2id, m=%d,t=%d,p=%d)", h.c.Memory, h.c.Time, h.c.Parallelism)
}

// Format writes String for every verb and flag, "%#v" included.
func (h *Hasher) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(h.String())) }

// LogValue returns what String does.
func (h *Hasher) LogValue() slog.Value { return slog.StringValue(h.String()) }
