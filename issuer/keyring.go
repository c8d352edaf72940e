package issuer

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of KeyRingConfig.
const (
	// jwksMaxAge is how long verifiers may keep the published keys.
	jwksMaxAge = 5 * time.Minute
	// defaultKeyLeeway is the clock skew between issuer and verifiers.
	defaultKeyLeeway = time.Minute
)

// NoDelay is the PublishBefore of a ring whose new keys sign at once.
const NoDelay = time.Duration(-1)

// A KeyRingConfig describes a KeyRing. Key or Slots is required, and only one.
type KeyRingConfig struct {
	// Key signs from the start, in a ring that never held another one.
	Key *Key

	// Slots are the keys of a ring that was there before this process began,
	// or that other processes have too, as Slots returns them. Without those
	// that signed before, a restart would unpublish keys whose tokens live.
	//
	// Processes that sign for one issuer begin with the same Slots, which the
	// operator keeps where the private keys are. A new key comes to all of
	// them by a slot that begins PublishBefore after the first of them was
	// restarted with it, or by a call of Rotate in each. Either way the last
	// must have it MaxAge and Leeway before the first signs with it.
	Slots []KeySlot

	// MaxAge is how long verifiers may keep the published keys: the max-age of
	// the JWK Set (RFC 9111, Section 5.2.2.1), in whole seconds and at most a
	// day. Zero means 5 minutes.
	MaxAge time.Duration

	// Leeway is the clock skew that verifiers tolerate, and that may be
	// between them and this process. Zero means a minute.
	Leeway time.Duration

	// PublishBefore is how long a new key is published before it signs, so
	// that every verifier has it when its first token comes: longer than
	// MaxAge and Leeway together. Zero means 30 minutes, or that and a minute
	// if it is longer; NoDelay means not at all, which suits verifiers that
	// ask this ring itself, or fetch the set for a kid that they do not know.
	PublishBefore time.Duration

	// RetireAfter is how long a key stays published after it has stopped
	// signing. It must be longer than an access token lives and Leeway
	// together, which New of the Issuer checks. Zero means 25 hours.
	RetireAfter time.Duration

	// Now is the clock. Nil means time.Now.
	Now func() time.Time
}

// A KeyRing holds the keys that sign access tokens: one signs, newer ones wait
// for their time, older ones stay published until no token of theirs can be
// alive. It is safe for concurrent use.
type KeyRing struct {
	publishBefore, retireAfter time.Duration
	maxAge, leeway             time.Duration
	now                        func() time.Time

	mu    sync.Mutex // held to write; readers need none
	slots atomic.Pointer[[]KeySlot]
	cache atomic.Pointer[document]
}

// A KeySlot is a key and when it begins to sign: until the key of the next slot
// takes over. The first one signs until then, whatever its From.
type KeySlot struct {
	Key  *Key
	From time.Time
}

// document is a JWK Set and when it may change by itself.
type document struct {
	slots *[]KeySlot
	until time.Time // zero: never
	body  []byte
	tag   string // its entity tag
}

// maxSlots bounds the keys that a ring holds at once.
const maxSlots = 64

// NewKeyRing returns a ring, or every mistake in c.
func NewKeyRing(c KeyRingConfig) (*KeyRing, error) {
	var wrong []error
	r := &KeyRing{
		publishBefore: c.PublishBefore, retireAfter: c.RetireAfter, now: c.Now,
		maxAge: orDefault(c.MaxAge, jwksMaxAge), leeway: orDefault(c.Leeway, defaultKeyLeeway),
	}
	slots := slices.Clone(c.Slots)
	switch {
	case c.Key == nil && len(slots) == 0:
		wrong = append(wrong, errors.New("issuer: KeyRingConfig.Key or Slots is required; GenerateKey and ParseKey make a Key"))
	case c.Key != nil && len(slots) > 0:
		wrong = append(wrong, errors.New("issuer: KeyRingConfig has Key and Slots; which one signs?"))
	case c.Key != nil:
		slots = []KeySlot{{Key: c.Key}}
	case len(slots) > maxSlots:
		wrong = append(wrong, fmt.Errorf("issuer: KeyRingConfig.Slots holds %d keys; %d keys at most", len(slots), maxSlots))
	}
	for n, s := range slots {
		switch {
		case s.Key == nil:
			wrong = append(wrong, fmt.Errorf("issuer: KeyRingConfig.Slots[%d] has no Key", n))
		case onRing(slots[:n], s.Key):
			wrong = append(wrong, fmt.Errorf("issuer: KeyRingConfig.Slots[%d]: key %q stands twice", n, s.Key.id))
		case n > 0 && s.From.Before(slots[n-1].From):
			wrong = append(wrong, fmt.Errorf("issuer: KeyRingConfig.Slots[%d] begins before the one in front of it", n))
		}
	}
	if r.maxAge < time.Second || r.maxAge > 24*time.Hour || r.maxAge%time.Second != 0 {
		wrong = append(wrong, fmt.Errorf("issuer: MaxAge is %v; it is whole seconds and at most a day", c.MaxAge))
	}
	if r.leeway < 0 {
		wrong = append(wrong, fmt.Errorf("issuer: Leeway is negative: %v", c.Leeway))
	}
	switch {
	case c.PublishBefore == NoDelay:
		r.publishBefore = 0
	case c.PublishBefore < 0:
		wrong = append(wrong, fmt.Errorf("issuer: PublishBefore is %v; use NoDelay for none", c.PublishBefore))
	case c.PublishBefore == 0:
		r.publishBefore = max(30*time.Minute, r.maxAge+r.leeway+time.Minute)
	case c.PublishBefore <= r.maxAge+r.leeway:
		wrong = append(wrong, fmt.Errorf("issuer: PublishBefore is %v, and verifiers may keep the keys for %v, with a clock that is %v off",
			c.PublishBefore, r.maxAge, r.leeway))
	}
	if c.RetireAfter < 0 {
		wrong = append(wrong, fmt.Errorf("issuer: RetireAfter is negative: %v", c.RetireAfter))
	}
	if c.RetireAfter == 0 {
		r.retireAfter = 25 * time.Hour
	}
	if r.now == nil {
		r.now = time.Now
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	r.slots.Store(&slots)
	return r, nil
}

func onRing(slots []KeySlot, k *Key) bool {
	return slices.ContainsFunc(slots, func(s KeySlot) bool { return s.Key != nil && s.Key.id == k.id })
}

// Slots returns the keys that are published, in the order in which they sign, so
// that another ring can go on with them: see KeyRingConfig.Slots.
func (r *KeyRing) Slots() []KeySlot { return r.published(*r.slots.Load(), r.now()) }

// published returns a copy of the slots that are not retired.
func (r *KeyRing) published(slots []KeySlot, now time.Time) []KeySlot {
	return slices.Clone(slots[r.retired(slots, now):])
}

// Rotate publishes next and lets it sign from the time that it returns, when
// PublishBefore has passed. The key that signs now stays published for
// RetireAfter behind that.
func (r *KeyRing) Rotate(next *Key) (signsFrom time.Time, err error) {
	return r.rotate(next, 0, nil)
}

// rotate is Rotate with a function that keeps the new slots before they are
// published, for as long as keeping at most: so much later next signs.
func (r *KeyRing) rotate(next *Key, keeping time.Duration, save func([]KeySlot) error) (signsFrom time.Time, err error) {
	if next == nil {
		return time.Time{}, errors.New("issuer: rotate to a key that is nil")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	slots := r.published(*r.slots.Load(), now)
	if onRing(slots, next) {
		return time.Time{}, fmt.Errorf("issuer: key %q is on the ring already", next.id)
	}
	if len(slots) == maxSlots {
		return time.Time{}, fmt.Errorf("issuer: the ring holds %d keys that are not retired yet", maxSlots)
	}
	signsFrom = now.Add(r.publishBefore + keeping)
	if last := slots[len(slots)-1].From; signsFrom.Before(last) {
		signsFrom = last // the clock went back
	}
	slots = append(slots, KeySlot{next, signsFrom})
	if save != nil {
		if err := save(slices.Clone(slots)); err != nil {
			return time.Time{}, err
		}
		if took := r.now().Sub(now); took > keeping && r.publishBefore > 0 {
			return time.Time{}, fmt.Errorf("issuer: keeping the keys took %v, too long to publish key %q before it signs", took, next.id)
		}
	}
	r.slots.Store(&slots)
	return signsFrom, nil
}

// retired returns how many of the slots, from the oldest on, are published no
// more.
func (r *KeyRing) retired(slots []KeySlot, now time.Time) int {
	n := 0
	for n+1 < len(slots) && now.After(slots[n+1].From.Add(r.retireAfter)) {
		n++
	}
	return n
}

// current returns the key that signs now.
func (r *KeyRing) current() *Key {
	slots, now := *r.slots.Load(), r.now()
	for i := len(slots) - 1; i > 0; i-- {
		if !now.Before(slots[i].From) {
			return slots[i].Key
		}
	}
	return slots[0].Key
}

// find returns the published key of an id, or nil.
func (r *KeyRing) find(id string) *Key {
	slots := *r.slots.Load()
	for _, s := range slots[r.retired(slots, r.now()):] {
		if s.Key.id == id {
			return s.Key
		}
	}
	return nil
}

// JWKS returns the JWK Set (RFC 7517, Section 5) of the public keys: the one
// that signs, those that will, and those that did and are not retired. Secrets
// are not in it. The result must not be changed.
func (r *KeyRing) JWKS() []byte { return r.document().body }

func (r *KeyRing) document() *document {
	slots, now := r.slots.Load(), r.now()
	if d := r.cache.Load(); d != nil && d.slots == slots && (d.until.IsZero() || !now.After(d.until)) {
		return d
	}
	first := r.retired(*slots, now)
	keys := []json.RawMessage{}
	for _, s := range (*slots)[first:] {
		if s.Key.jwk != nil {
			keys = append(keys, s.Key.jwk)
		}
	}
	d := &document{slots: slots}
	if first+1 < len(*slots) {
		d.until = (*slots)[first+1].From.Add(r.retireAfter)
	}
	d.body, _ = json.Marshal(map[string]any{"keys": keys}) // raw messages made by NewKey always marshal
	sum := sha256.Sum256(d.body)
	d.tag = `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
	r.cache.Store(d)
	return d
}
