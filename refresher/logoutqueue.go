package refresher

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// A PendingLogout is a session that has ended here and of which the issuer has
// not been told. Its JSON form, meant for queues, holds the tokens in full;
// every other form is shortened to what may be shown.
type PendingLogout struct {
	ID     string    `json:"id"`     // its name in the queue: capital letters and digits
	URL    string    `json:"url"`    // where the tokens are sent, and nowhere else
	Since  time.Time `json:"since"`  // when the session ended here
	Tokens Tokens    `json:"tokens"` // of the session
}

// String returns one line without secrets, for loggers that would marshal p else.
func (p PendingLogout) String() string {
	return fmt.Sprintf("PendingLogout{%s, since %s}", p.URL, p.Since.UTC().Format(time.RFC3339))
}

// Format writes one line without secrets, for every verb and flag.
func (p PendingLogout) Format(f fmt.State, _ rune) { fmt.Fprint(f, p.String()) }

// LogValue returns what Format writes.
func (p PendingLogout) LogValue() slog.Value { return slog.StringValue(p.String()) }

// A LogoutQueue keeps the logouts that the issuer has not heard of. Transports,
// in one process or in several, may share one: each sends what is for its own
// issuer, and one that is sent twice does no harm.
//
// The methods are called from several goroutines. They should return soon after
// ctx is done. What a queue holds are secrets, until they expire.
type LogoutQueue interface {
	// Put adds a logout. When it returns nil, the logout is not lost, for as
	// long as the queue promises.
	Put(ctx context.Context, logout PendingLogout) error

	// List returns all logouts, in any order. One that cannot be read is an
	// error beside the others.
	List(ctx context.Context) ([]PendingLogout, error)

	// Remove removes the logout with that ID. To have none is no error.
	Remove(ctx context.Context, id string) error
}

// maxLogouts is how many logouts a queue of this package holds. Beyond that the
// oldest gives way.
const maxLogouts = 256

// memoryLogouts is a LogoutQueue for as long as the process lives.
type memoryLogouts struct {
	mu  sync.Mutex
	all []PendingLogout // from the oldest to the newest
}

func (m *memoryLogouts) Put(_ context.Context, logout PendingLogout) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.all) == maxLogouts {
		m.all = m.all[1:]
	}
	m.all = append(m.all, logout)
	return nil
}

func (m *memoryLogouts) List(context.Context) ([]PendingLogout, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.all), nil
}

func (m *memoryLogouts) Remove(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = slices.DeleteFunc(m.all, func(p PendingLogout) bool { return p.ID == id })
	return nil
}
