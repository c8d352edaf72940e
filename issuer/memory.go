package issuer

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// A MemoryStore is a Store in memory: its sessions end with the process. The zero
// value is ready to use. With each session that is added it looks at a few others,
// and removes those that ended an hour before, so that it grows with the sessions
// that live. One takes about 350 bytes and its text: the IDs, the scopes, the claims,
// and device, address and user agent, of which a client may send 256 bytes each.
type MemoryStore struct {
	mu        sync.Mutex
	sessions  map[string]*record
	bySubject map[string]*record // the first of a list
	all       []*record          // in no order
	next      int                // the record of all after the one that tidy looks at next
	marks     map[string]int64   // when a subject was revoked
	swept     int64              // when old marks were last removed
}

var (
	_ Store      = (*MemoryStore)(nil)
	_ KeyCounter = (*MemoryStore)(nil)
)

// NewMemoryStore returns an empty store.
func NewMemoryStore() *MemoryStore { return &MemoryStore{} }

// A record is a Session in few bytes: the text that never changes in one string,
// times in microseconds.
type record struct {
	text string
	ends [texts - 1]uint32 // where each part of text ends, but the last

	generation          uint64
	keyID, retryHash    string
	rotatedAt, authTime int64
	createdAt           int64
	expiresAt           int64
	idleUntil           int64
	revokedAt           int64

	position      int     // in MemoryStore.all
	before, after *record // of the same subject
}

// The parts of a record's text.
const (
	textID = iota
	textSeed
	textSubject
	textClientID
	textScopes
	textEmail
	textUserID
	textClaims
	textACR
	textDevice
	textAddress
	textUserAgent
	textConfirmation
	texts
)

func newRecord(s Session) *record {
	r := &record{
		generation: s.Generation, keyID: s.KeyID, retryHash: string(s.RetryHash),
		rotatedAt: s.RotatedAt.UnixMicro(), authTime: s.AuthTime.UnixMicro(), createdAt: s.CreatedAt.UnixMicro(),
		expiresAt: s.ExpiresAt.UnixMicro(), idleUntil: s.IdleUntil.UnixMicro(), revokedAt: s.RevokedAt.UnixMicro(),
	}
	parts := [texts]string{
		s.ID, string(s.Seed), s.Subject, s.ClientID, strings.Join(s.Scopes, " "), s.Email, s.UserID, string(s.Claims),
		s.ACR, s.Device, s.Address, s.UserAgent, s.Confirmation,
	}
	end := 0
	for n := range r.ends {
		end += len(parts[n])
		r.ends[n] = uint32(end)
	}
	r.text = strings.Join(parts[:], "")
	return r
}

// part returns a part of r's text.
func (r *record) part(n int) string {
	begin := uint32(0)
	if n > 0 {
		begin = r.ends[n-1]
	}
	if n == len(r.ends) {
		return r.text[begin:]
	}
	return r.text[begin:r.ends[n]]
}

// bytes is part as a copy, nil when it is empty.
func (r *record) bytes(n int) []byte {
	return append([]byte(nil), r.part(n)...)
}

func (r *record) session() Session {
	return Session{
		ID: r.part(textID), Seed: r.bytes(textSeed), Generation: r.generation, KeyID: r.keyID,
		RotatedAt: micros(r.rotatedAt), RetryHash: append([]byte(nil), r.retryHash...),
		Subject: r.part(textSubject), ClientID: r.part(textClientID), Scopes: strings.Fields(r.part(textScopes)),
		Email: r.part(textEmail), UserID: r.part(textUserID), Claims: r.bytes(textClaims), ACR: r.part(textACR),
		AuthTime: micros(r.authTime), Device: r.part(textDevice), Address: r.part(textAddress), UserAgent: r.part(textUserAgent),
		Confirmation: r.part(textConfirmation), CreatedAt: micros(r.createdAt), ExpiresAt: micros(r.expiresAt), IdleUntil: micros(r.idleUntil), RevokedAt: micros(r.revokedAt),
	}
}

func micros(n int64) time.Time { return time.UnixMicro(n).UTC() }

// never is the zero time.
var never = time.Time{}.UnixMicro()

func (r *record) revoked() bool { return r.revokedAt != never }

// ended reports whether r has reached an end of its own.
func (r *record) ended(now int64) bool {
	return now >= r.expiresAt || r.idleUntil != never && now >= r.idleUntil
}

// Create adds a session.
func (m *MemoryStore) Create(_ context.Context, s Session) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.add(s)
}

// Replace adds a session and revokes the others of its subject.
func (m *MemoryStore) Replace(_ context.Context, s Session) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.add(s); err != nil {
		return nil, err
	}
	return m.revokeAll(s.Subject, s.ID, s.CreatedAt), nil
}

func (m *MemoryStore) add(s Session) error {
	r := newRecord(s)
	if m.sessions == nil {
		m.sessions, m.bySubject = map[string]*record{}, map[string]*record{}
	}
	if m.sessions[s.ID] != nil {
		return ErrSessionExists
	}
	if at, ok := m.marks[s.Subject]; ok && r.authTime <= at {
		return ErrSubjectRevoked
	}
	m.sessions[r.part(textID)] = r
	if r.after = m.bySubject[s.Subject]; r.after != nil {
		r.after.before = r
	}
	m.bySubject[r.part(textSubject)] = r
	r.position = len(m.all)
	m.all = append(m.all, r)
	m.tidy(s.CreatedAt)
	return nil
}

const (
	keepEnded = time.Hour // so that a client learns that its session expired
	lookAt    = 4         // more than are added, so that there are never many that have ended
)

// tidy removes what ended long ago, of the few records that it looks at. The caller
// holds the lock.
func (m *MemoryStore) tidy(now time.Time) {
	end := now.Add(-keepEnded).UnixMicro()
	for range min(lookAt, len(m.all)) {
		if m.next = min(m.next, len(m.all)); m.next == 0 {
			m.next = len(m.all)
		}
		if m.next--; m.all[m.next].ended(end) {
			m.remove(m.all[m.next])
		}
	}
}

// remove is the opposite of add.
func (m *MemoryStore) remove(r *record) {
	delete(m.sessions, r.part(textID))
	if r.after != nil {
		r.after.before = r.before
	}
	switch {
	case r.before != nil:
		r.before.after = r.after
	case r.after != nil:
		m.bySubject[r.after.part(textSubject)] = r.after
	default:
		delete(m.bySubject, r.part(textSubject))
	}
	end := len(m.all) - 1
	m.all[r.position] = m.all[end]
	m.all[r.position].position = r.position
	m.all[end] = nil
	m.all = m.all[:end]
}

// Get returns a session.
func (m *MemoryStore) Get(_ context.Context, id string) (Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.sessions[id]
	if r == nil {
		return Session{}, ErrNoSession
	}
	return r.session(), nil
}

// Rotate moves a session on, if it is at the generation from.
func (m *MemoryStore) Rotate(_ context.Context, id string, from uint64, update Rotation) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.sessions[id]
	if r == nil || r.generation != from || update.Generation <= from || r.revoked() || r.ended(update.RotatedAt.UnixMicro()) {
		return false, nil
	}
	r.generation, r.keyID, r.retryHash = update.Generation, update.KeyID, string(update.RetryHash)
	r.rotatedAt, r.idleUntil = update.RotatedAt.UnixMicro(), update.IdleUntil.UnixMicro()
	return true, nil
}

// Revoke marks a session as revoked.
func (m *MemoryStore) Revoke(_ context.Context, id string, at time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.sessions[id]
	if r == nil {
		return ErrNoSession
	}
	if !r.revoked() {
		r.revokedAt = at.UnixMicro()
	}
	return nil
}

// RevokeSubject revokes the sessions of subject and marks it.
func (m *MemoryStore) RevokeSubject(_ context.Context, subject, except string, at time.Time) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.marks == nil {
		m.marks = map[string]int64{}
	}
	if last, ok := m.marks[subject]; !ok || last < at.UnixMicro() {
		m.marks[strings.Clone(subject)] = at.UnixMicro()
	}
	if now := at.UnixMicro(); now-m.swept >= keepEnded.Microseconds() {
		m.swept = now
		m.forget(at.Add(-keepEnded))
	}
	return m.revokeAll(subject, except, at), nil
}

func (m *MemoryStore) revokeAll(subject, except string, at time.Time) (ids []string) {
	for r := m.bySubject[subject]; r != nil; r = r.after {
		if id := r.part(textID); id != except && !r.revoked() {
			r.revokedAt = at.UnixMicro()
			ids = append(ids, id)
		}
	}
	return ids
}

// List returns the sessions of subject that have not ended at the time given.
func (m *MemoryStore) List(_ context.Context, subject string, at time.Time) ([]Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var live []Session
	for r := m.bySubject[subject]; r != nil; r = r.after {
		if now := at.UnixMicro(); (!r.revoked() || r.revokedAt > now) && !r.ended(now) {
			live = append(live, r.session())
		}
	}
	slices.SortFunc(live, func(a, b Session) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), strings.Compare(a.ID, b.ID))
	})
	return live, nil
}

// portion is how many sessions DeleteExpired looks at before it lets others at
// the store.
const portion = 1024

// DeleteExpired removes sessions that ended before the time given, and old marks.
func (m *MemoryStore) DeleteExpired(ctx context.Context, before time.Time, limit int) (int, error) {
	end := before.UnixMicro() - 1 // so that ended means before
	n := 0
	m.mu.Lock()
	m.forget(before)
	at := len(m.all) // from here down: a removal moves the last session into the gap
	m.mu.Unlock()
	for at > 0 && n < limit {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		m.mu.Lock()
		at = min(at, len(m.all))
		for stop := max(at-portion, 0); at > stop && n < limit; at-- {
			if r := m.all[at-1]; r.ended(end) {
				m.remove(r)
				n++
			}
		}
		m.mu.Unlock()
	}
	return n, nil
}

// forget removes the marks of revocations that ended before the time given. The
// caller holds the lock.
func (m *MemoryStore) forget(before time.Time) {
	end := before.Add(-2 * MaxLoginTime).UnixMicro()
	maps.DeleteFunc(m.marks, func(_ string, at int64) bool { return at < end })
}

// CountKeys counts the live sessions by master key. It holds the store while it
// looks at all of its sessions: some milliseconds for each 100,000.
func (m *MemoryStore) CountKeys(ctx context.Context, at time.Time) (map[string]int, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	now := at.UnixMicro()
	counts := map[string]int{}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.all {
		if (!r.revoked() || r.revokedAt > now) && !r.ended(now) {
			counts[r.keyID]++
		}
	}
	return counts, nil
}
