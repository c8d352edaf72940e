package issuer

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// A MemoryStore is a Store in memory: its sessions end with the process. The
// zero value is an empty store, ready to use.
type MemoryStore struct {
	mu        sync.Mutex
	sessions  map[string]*Session
	bySubject map[string]map[string]struct{}
}

var _ Store = (*MemoryStore)(nil)

// NewMemoryStore returns an empty store.
func NewMemoryStore() *MemoryStore { return &MemoryStore{} }

// clone copies s, its slices included.
func (s *Session) clone() Session {
	c := *s
	c.Seed, c.RetryHash = bytes.Clone(s.Seed), bytes.Clone(s.RetryHash)
	c.Scopes, c.Claims = slices.Clone(s.Scopes), bytes.Clone(s.Claims)
	return c
}

// Create adds a session.
func (m *MemoryStore) Create(_ context.Context, s Session) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sessions == nil {
		m.sessions = map[string]*Session{}
		m.bySubject = map[string]map[string]struct{}{}
	}
	if m.sessions[s.ID] != nil {
		return ErrSessionExists
	}
	c := s.clone()
	m.sessions[s.ID] = &c
	if m.bySubject[s.Subject] == nil {
		m.bySubject[s.Subject] = map[string]struct{}{}
	}
	m.bySubject[s.Subject][s.ID] = struct{}{}
	return nil
}

// Get returns a session.
func (m *MemoryStore) Get(_ context.Context, id string) (Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.sessions[id]
	if s == nil {
		return Session{}, ErrNoSession
	}
	return s.clone(), nil
}

// Rotate moves a session on, if it is at the generation from.
func (m *MemoryStore) Rotate(_ context.Context, id string, from uint64, update Rotation) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.sessions[id]
	if s == nil || s.Generation != from || !s.RevokedAt.IsZero() {
		return false, nil
	}
	s.Generation, s.KeyID = update.Generation, update.KeyID
	s.RotatedAt, s.IdleUntil = update.RotatedAt, update.IdleUntil
	s.RetryHash = bytes.Clone(update.RetryHash)
	return true, nil
}

// Revoke marks a session as revoked.
func (m *MemoryStore) Revoke(_ context.Context, id string, at time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.sessions[id]
	if s == nil {
		return ErrNoSession
	}
	if s.RevokedAt.IsZero() {
		s.RevokedAt = at
	}
	return nil
}

// RevokeSubject revokes the sessions of subject.
func (m *MemoryStore) RevokeSubject(_ context.Context, subject, except string, at time.Time) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var revoked []string
	for id := range m.bySubject[subject] {
		if s := m.sessions[id]; id != except && s.RevokedAt.IsZero() {
			s.RevokedAt = at
			revoked = append(revoked, id)
		}
	}
	return revoked, nil
}

// List returns the live sessions of subject.
func (m *MemoryStore) List(_ context.Context, subject string, now time.Time) ([]Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Session
	for id := range m.bySubject[subject] {
		if s := m.sessions[id]; s.Live(now) {
			all = append(all, s.clone())
		}
	}
	slices.SortFunc(all, func(a, b Session) int {
		if c := b.CreatedAt.Compare(a.CreatedAt); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return all, nil
}

// DeleteExpired removes sessions that ended before the time given.
func (m *MemoryStore) DeleteExpired(_ context.Context, before time.Time, limit int) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for id, s := range m.sessions {
		if n >= limit {
			break
		}
		if s.ExpiresAt.Before(before) || !s.IdleUntil.IsZero() && s.IdleUntil.Before(before) {
			delete(m.sessions, id)
			if delete(m.bySubject[s.Subject], id); len(m.bySubject[s.Subject]) == 0 {
				delete(m.bySubject, s.Subject)
			}
			n++
		}
	}
	return n, nil
}
