package redisstore

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tokenloop/tokenloop/issuer"
)

// defaultPrefix begins the names of all keys.
const defaultPrefix = "tokenloop:"

// Config is what New needs.
type Config struct {
	// Client is required: a *redis.Client, of one server or by Sentinel, or a
	// *redis.ClusterClient. It is the caller's to close.
	Client redis.UniversalClient

	// Prefix begins the name of every key, so that several issuers can share
	// a server. It holds no braces, which would put all keys in one slot of a
	// Cluster. Zero means "tokenloop:".
	Prefix string

	// Now is the clock that says how long a session has left to live. Nil
	// means time.Now.
	Now func() time.Time
}

// check completes c, or says what is wrong with it.
func (c *Config) check() error {
	var mistakes []error
	switch client := c.Client.(type) {
	case nil:
		mistakes = append(mistakes, errors.New("redisstore: Config.Client is required"))
	case *redis.Ring:
		mistakes = append(mistakes, errors.New("redisstore: Config.Client is a Ring, which looks for sessions elsewhere while a server is away"))
	case *redis.ClusterClient:
		if o := client.Options(); o.ReadOnly || o.RouteByLatency || o.RouteRandomly {
			mistakes = append(mistakes, errors.New("redisstore: Config.Client reads from replicas, which lag behind what was revoked"))
		}
	}
	if strings.ContainsAny(c.Prefix, "{}") {
		mistakes = append(mistakes, fmt.Errorf("redisstore: Config.Prefix is %q, and holds a brace", c.Prefix))
	}
	if c.Prefix == "" {
		c.Prefix = defaultPrefix
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return errors.Join(mistakes...)
}

const (
	keepEnded  = time.Hour               // so that a client learns that its session expired
	keepMark   = 2 * issuer.MaxLoginTime // from when the server heard of it
	keepBegun  = 2 * issuer.MaxLoginTime // a login that nobody brought to its end
	finishTime = 10 * time.Second
	portion    = 500 // commands at once

	nonceLength = 12 // 60 bits, by which a command that is sent again knows itself
)

// A Store keeps sessions in Redis. It is safe for concurrent use.
type Store struct {
	client  redis.UniversalClient
	prefix  string
	now     func() time.Time
	cluster bool
}

var (
	_ issuer.Store      = (*Store)(nil)
	_ issuer.KeyCounter = (*Store)(nil)
)

// New returns a store on c.Client. It asks the server nothing: see Check.
func New(c Config) (*Store, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	_, cluster := c.Client.(*redis.ClusterClient)
	return &Store{client: c.Client, prefix: c.Prefix, now: c.Now, cluster: cluster}, nil
}

func failed(doing string, err error) error { return fmt.Errorf("redisstore: %s: %w", doing, err) }

const (
	sessionKeys = "s:"
	subjectKeys = "u:{"
	markKeys    = "}:m"
)

func (s *Store) session(id string) string { return s.prefix + sessionKeys + id }

// Keys of one subject, which are in one slot.
type subject struct{ index, mark, replacing string }

// subject returns the keys of the subject of that name. replacing is of one id.
func (s *Store) subject(name, id string) subject {
	sum := sha256.Sum256([]byte(name))
	tag := s.prefix + subjectKeys + base64.RawURLEncoding.EncodeToString(sum[:])
	return subject{index: tag + "}", mark: tag + markKeys, replacing: tag + "}:r:" + id}
}

// ttl is how many milliseconds a session that ends then is kept.
func (s *Store) ttl(end time.Time) int64 {
	return (max(end.Sub(s.now()), 0) + keepEnded).Milliseconds()
}

func end(v *issuer.Session) time.Time {
	if v.IdleUntil.IsZero() || v.ExpiresAt.Before(v.IdleUntil) {
		return v.ExpiresAt
	}
	return v.IdleUntil
}

// Create adds a session.
func (s *Store) Create(ctx context.Context, v issuer.Session) error {
	_, err := s.add(ctx, v, false)
	return err
}

// Replace adds a session and revokes the others of its subject.
func (s *Store) Replace(ctx context.Context, v issuer.Session) ([]string, error) {
	return s.add(ctx, v, true)
}

// add writes the session as one that has begun, which is not there yet for others;
// has the subject's keys decide whether it is, and which ones it replaces; and
// brings that to its end.
func (s *Store) add(ctx context.Context, v issuer.Session, replace bool) ([]string, error) {
	const doing = "create a session"
	// A command whose answer was lost is sent again, and knows itself by this.
	nonce := rand.Text()[:nonceLength]
	args := append([]any{nonce, keepBegun.Milliseconds()}, encode(&v)...)
	made, err := begin.Run(ctx, s.client, []string{s.session(v.ID)}, args...).Bool()
	if err != nil {
		return nil, failed(doing, err)
	}
	if !made {
		return nil, issuer.ErrSessionExists
	}
	keys := s.subject(v.Subject, v.ID)
	ids, err := decide.Run(ctx, s.client, []string{keys.index, keys.mark, keys.replacing},
		v.ID, v.AuthTime.UnixMicro(), s.ttl(v.ExpiresAt), replace, keepBegun.Milliseconds()).StringSlice()
	if err != nil {
		return nil, failed(doing, err)
	}
	if len(ids) == 0 {
		if err := discard.Run(ctx, s.client, []string{s.session(v.ID)}, nonce).Err(); err != nil {
			return nil, failed(doing, err)
		}
		return nil, issuer.ErrSubjectRevoked
	}
	revoked, err := s.finish(ctx, &v, ids[1:])
	if err != nil {
		return nil, failed(doing, err)
	}
	return revoked, nil
}

// finish revokes those that v replaces, and then lets v be there, even when the
// client has left by now.
func (s *Store) finish(ctx context.Context, v *issuer.Session, replaced []string) ([]string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	revoked, err := s.revokeAll(ctx, s.subject(v.Subject, ""), replaced, v.CreatedAt)
	if err != nil {
		return nil, err
	}
	there, err := finish.Run(ctx, s.client, []string{s.session(v.ID)}, s.ttl(end(v))).Bool()
	if err == nil && !there {
		err = errors.New("it took so long that the session is gone")
	}
	return revoked, err
}

// revokeAll revokes the sessions and returns those that were not revoked before.
// It takes those that are gone out of the index.
func (s *Store) revokeAll(ctx context.Context, keys subject, ids []string, at time.Time) (revoked []string, err error) {
	var gone []any
	for some := range slices.Chunk(ids, portion) {
		answers := make([]*redis.Cmd, len(some))
		_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for n, id := range some {
				answers[n] = revoke.Eval(ctx, p, []string{s.session(id)}, at.UnixMicro())
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		for n, id := range some {
			switch was, err := answers[n].Int(); {
			case err != nil:
				return nil, err
			case was == 1:
				revoked = append(revoked, id)
			case was < 0:
				gone = append(gone, id)
			}
		}
	}
	if len(gone) > 0 {
		err = s.client.ZRem(ctx, keys.index, gone...).Err()
	}
	return revoked, err
}

// Get returns a session.
func (s *Store) Get(ctx context.Context, id string) (issuer.Session, error) {
	v, begun, err := s.read(ctx, id)
	if err == nil && begun {
		if err = s.resume(ctx, &v); err == nil {
			v, _, err = s.read(ctx, id)
		}
	}
	switch {
	case errors.Is(err, issuer.ErrNoSession):
		return issuer.Session{}, err
	case err != nil:
		return issuer.Session{}, failed("read a session", err)
	}
	if s.cluster && v.Generation < 2 && v.Live(s.now()) {
		// The slot of its subject may have lost a moment when a server took
		// over. By now that is over. If this fails, the next one may not.
		keys := s.subject(v.Subject, "")
		_ = index.Run(ctx, s.client, []string{keys.index}, v.ID, s.ttl(v.ExpiresAt)).Err()
	}
	return v, nil
}

func (s *Store) read(ctx context.Context, id string) (v issuer.Session, begun bool, err error) {
	fields, err := s.client.HGetAll(ctx, s.session(id)).Result()
	if err != nil {
		return v, false, err
	}
	if len(fields) == 0 {
		return v, false, issuer.ErrNoSession
	}
	return decode(id, fields)
}

// resume brings to its end the login that v began with, which somebody else has
// begun, if the subject's keys have decided for it. Else v is not there.
func (s *Store) resume(ctx context.Context, v *issuer.Session) error {
	keys := s.subject(v.Subject, v.ID)
	var there *redis.FloatCmd
	var ids *redis.StringSliceCmd
	_, err := s.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		there, ids = p.ZScore(ctx, keys.index, v.ID), p.LRange(ctx, keys.replacing, 0, -1)
		return nil
	})
	switch {
	case errors.Is(there.Err(), redis.Nil):
		return issuer.ErrNoSession
	case err != nil:
		return err
	}
	if all := ids.Val(); len(all) > 0 {
		_, err = s.finish(ctx, v, all[1:])
	} else {
		_, err = s.finish(ctx, v, nil)
	}
	return err
}

// Rotate moves a session on, if it is at the generation from.
func (s *Store) Rotate(ctx context.Context, id string, from uint64, update issuer.Rotation) (bool, error) {
	if update.Generation <= from {
		return false, nil
	}
	idle, ttl := "", int64(-1)
	if !update.IdleUntil.IsZero() {
		idle, ttl = micros(update.IdleUntil), s.ttl(update.IdleUntil)
	}
	ok, err := rotate.Run(ctx, s.client, []string{s.session(id)},
		from, update.Generation, update.RotatedAt.UnixMicro(), idle, ttl, s.now().Add(-keepEnded).UnixMilli(),
		update.KeyID, update.RetryHash, rand.Text()[:nonceLength]).Bool()
	if err != nil {
		return false, failed("rotate a session", err)
	}
	return ok, nil
}

// Revoke marks a session as revoked.
func (s *Store) Revoke(ctx context.Context, id string, at time.Time) error {
	was, err := revoke.Run(ctx, s.client, []string{s.session(id)}, at.UnixMicro()).Int()
	switch {
	case err != nil:
		return failed("revoke a session", err)
	case was < 0:
		return issuer.ErrNoSession
	}
	return nil
}

// RevokeSubject revokes the sessions of subject and marks it.
func (s *Store) RevokeSubject(ctx context.Context, subject, except string, at time.Time) ([]string, error) {
	const doing = "revoke a subject"
	keys := s.subject(subject, "")
	ids, err := mark.Run(ctx, s.client, []string{keys.index, keys.mark}, at.UnixMicro(), keepMark.Milliseconds()).StringSlice()
	if err != nil {
		return nil, failed(doing, err)
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { return id == except })
	revoked, err := s.revokeAll(ctx, keys, ids, at)
	if err != nil {
		return nil, failed(doing, err)
	}
	return revoked, nil
}

// List returns the sessions of subject that have not ended at the time given.
func (s *Store) List(ctx context.Context, subject string, at time.Time) ([]issuer.Session, error) {
	const doing = "list sessions"
	keys := s.subject(subject, "")
	ids, err := s.client.ZRange(ctx, keys.index, 0, -1).Result()
	if err != nil {
		return nil, failed(doing, err)
	}
	at = at.Truncate(time.Microsecond)
	var live []issuer.Session
	var gone []any
	for some := range slices.Chunk(ids, portion) {
		answers := make([]*redis.MapStringStringCmd, len(some))
		_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for n, id := range some {
				answers[n] = p.HGetAll(ctx, s.session(id))
			}
			return nil
		})
		if err != nil {
			return nil, failed(doing, err)
		}
		for n, id := range some {
			if len(answers[n].Val()) == 0 {
				gone = append(gone, id)
				continue
			}
			v, begun, err := decode(id, answers[n].Val())
			if err == nil && begun {
				if err = s.resume(ctx, &v); err == nil {
					return s.List(ctx, subject, at) // it may have replaced what was read
				}
			}
			switch {
			case errors.Is(err, issuer.ErrNoSession):
				continue
			case err != nil:
				return nil, failed(doing, err)
			}
			if (v.RevokedAt.IsZero() || v.RevokedAt.After(at)) && at.Before(end(&v)) {
				live = append(live, v)
			}
		}
	}
	if len(gone) > 0 {
		_ = s.client.ZRem(ctx, keys.index, gone...).Err() // the next one may
	}
	slices.SortFunc(live, func(a, b issuer.Session) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), strings.Compare(a.ID, b.ID))
	})
	return live, nil
}

// DeleteExpired removes sessions that ended before the time given, and old marks.
// It looks at every key of the server. Nobody needs to call it: an hour after its
// end a session leaves by itself, and a mark after twice issuer.MaxLoginTime.
func (s *Store) DeleteExpired(ctx context.Context, before time.Time, limit int) (int, error) {
	removed := 0
	err := s.scan(ctx, func(node redis.Cmdable, keys []string) (bool, error) {
		_, err := node.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, key := range keys {
				name := strings.TrimPrefix(key, s.prefix)
				if strings.HasPrefix(name, subjectKeys) && strings.HasSuffix(name, markKeys) {
					forget.Eval(ctx, p, []string{key}, before.Add(-keepMark).UnixMicro())
				}
			}
			return nil
		})
		if err != nil {
			return false, err
		}
		keys = slices.DeleteFunc(keys, func(key string) bool { return !strings.HasPrefix(strings.TrimPrefix(key, s.prefix), sessionKeys) })
		for len(keys) > 0 && removed < limit { // of those that are looked at, none may be expired
			some := keys[:min(len(keys), limit-removed, portion)]
			keys = keys[len(some):]
			var answers []*redis.Cmd
			_, err := node.Pipelined(ctx, func(p redis.Pipeliner) error {
				for _, key := range some {
					answers = append(answers, purge.Eval(ctx, p, []string{key}, before.UnixMicro()))
				}
				return nil
			})
			for _, answer := range answers {
				n, _ := answer.Int()
				removed += n
			}
			if err != nil {
				return false, err
			}
		}
		return removed < limit, nil
	})
	if err != nil {
		return removed, failed("remove expired sessions", err)
	}
	return removed, nil
}

// CountKeys counts the live sessions by master key. It looks at every key of the
// server, and remembers the name of each session until it is done, since a server
// may tell of one twice: some 100 bytes for each.
func (s *Store) CountKeys(ctx context.Context, at time.Time) (map[string]int, error) {
	counts, seen, now := map[string]int{}, map[string]bool{}, at.UnixMicro()
	err := s.scan(ctx, func(node redis.Cmdable, keys []string) (bool, error) {
		var sessions []*redis.SliceCmd
		_, err := node.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, key := range keys {
				if strings.HasPrefix(key, s.prefix+sessionKeys) && !seen[key] {
					seen[key] = true
					sessions = append(sessions, p.HMGet(ctx, key, fieldKeyID, fieldExpiresAt, fieldIdleUntil, fieldRevokedAt, fieldBegun))
				}
			}
			return nil
		})
		if err != nil {
			return false, err
		}
		for _, answer := range sessions {
			var v struct {
				KeyID     string  `redis:"k"`
				ExpiresAt int64   `redis:"e"` // 0 where the session is gone
				IdleUntil *int64  `redis:"i"`
				RevokedAt *int64  `redis:"v"`
				Begun     *string `redis:"p"`
			}
			if err := answer.Scan(&v); err != nil {
				return false, errors.New("a time of a session is no number")
			}
			if now < v.ExpiresAt && (v.IdleUntil == nil || now < *v.IdleUntil) && (v.RevokedAt == nil || now < *v.RevokedAt) && v.Begun == nil {
				counts[v.KeyID]++
			}
		}
		return true, nil
	})
	if err != nil {
		return nil, failed("count sessions", err)
	}
	return counts, nil
}

// scan calls f with the names of all keys that begin with the prefix, server by
// server, until it reports false.
func (s *Store) scan(ctx context.Context, f func(node redis.Cmdable, keys []string) (bool, error)) error {
	pattern := strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(s.prefix) + "*"
	return each(ctx, s.client, func(ctx context.Context, node redis.Cmdable) error {
		for cursor := uint64(0); ; {
			keys, next, err := node.Scan(ctx, cursor, pattern, portion).Result()
			if err != nil {
				return err
			}
			if more, err := f(node, keys); err != nil || !more || next == 0 {
				return err
			}
			cursor = next
		}
	})
}
