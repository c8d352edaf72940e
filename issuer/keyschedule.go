package issuer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// maxSaveTime is the longest that the Save of a KeySchedule may take.
const maxSaveTime = time.Minute

// A KeyScheduleConfig describes a KeySchedule. Ring, Every and Next are required.
type KeyScheduleConfig struct {
	// Ring is what rotates.
	Ring *KeyRing

	// Every is how long a key signs. The ring must have room for the keys that
	// wait and those that retire in that time: 64 in all.
	Every time.Duration

	// Next makes or fetches the key that comes next. It is not asked again
	// for a key that could not be saved.
	Next func(ctx context.Context) (*Key, error)

	// Save keeps the slots that the ring is about to have, with the private
	// keys or what finds them, so that a restart goes on with them: see
	// KeyRingConfig.Slots. It is called before the new key is published, and
	// ctx ends after a minute; a key whose Save fails or takes longer is
	// not published, and is saved again with a later slot. It must not rotate
	// the ring. Nil means that nothing is kept, which suits a ring whose
	// tokens need not outlive the process.
	Save func(ctx context.Context, slots []KeySlot) error

	// Logger gets a record for each rotation and each that failed. Nil means
	// slog.Default.
	Logger *slog.Logger
}

// A KeySchedule rotates a KeyRing at regular intervals. Rotate may be called
// beside it, which puts the next rotation off.
type KeySchedule struct {
	c    KeyScheduleConfig
	made *Key // by Next, and not published yet
}

// NewKeySchedule returns a schedule, or every mistake in c. It starts nothing.
func NewKeySchedule(c KeyScheduleConfig) (*KeySchedule, error) {
	var wrong []error
	if c.Ring == nil {
		wrong = append(wrong, errors.New("issuer: KeyScheduleConfig.Ring is required"))
	}
	if c.Next == nil {
		wrong = append(wrong, errors.New("issuer: KeyScheduleConfig.Next is required"))
	}
	if c.Every <= 0 {
		wrong = append(wrong, fmt.Errorf("issuer: KeyScheduleConfig.Every is %v; it is required", c.Every))
	}
	if c.Ring != nil && c.Every > 0 {
		// Those that wait, the one that signs, those that retire, and the new one.
		n := (c.Ring.publishBefore+c.keeping())/c.Every + c.Ring.retireAfter/c.Every + 4
		if n > maxSlots {
			wrong = append(wrong, fmt.Errorf("issuer: a rotation every %v needs room for %d keys, published for %v before and %v after; %d at most",
				c.Every, n, c.Ring.publishBefore, c.Ring.retireAfter, maxSlots))
		}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	return &KeySchedule{c: c}, nil
}

// keeping is the time that a slot allows for Save.
func (c *KeyScheduleConfig) keeping() time.Duration {
	if c.Save == nil || c.Ring.publishBefore == 0 {
		return 0
	}
	return maxSaveTime
}

// Run rotates the ring until ctx is done, and returns ctx.Err(). Each key begins
// to sign Every after the one before it; where that is past, as after a long
// stop, as soon as it has been published for PublishBefore. The first key of a
// ring, whose slot has no From, counts from the call of Run. After a failure the
// old key goes on signing, and Run tries again after a tenth of Every, a minute
// at most. It is to be called once at a time.
func (s *KeySchedule) Run(ctx context.Context) error {
	began := s.c.Ring.now()
	var notBefore time.Time // after a failure
	for {
		due := s.due(began)
		if due.Before(notBefore) {
			due = notBefore
		}
		if wait := due.Sub(s.c.Ring.now()); wait > 0 {
			timer := time.NewTimer(wait)
			select {
			case <-ctx.Done():
				timer.Stop()
				return ctx.Err()
			case <-timer.C:
			}
			if s.c.Ring.now().Before(s.due(began)) { // rotated by hand, or a clock that went back
				continue
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		from, err := s.rotate(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			s.c.Logger.Error("issuer: the signing key was not rotated", "err", err)
			notBefore = s.c.Ring.now().Add(min(s.c.Every/10, time.Minute))
		default:
			s.c.Logger.Info("issuer: a new key is published", "kid", s.made.id, "from", from)
			s.made = nil
		}
	}
}

// due returns when the next rotation begins.
func (s *KeySchedule) due(began time.Time) time.Time {
	slots := *s.c.Ring.slots.Load()
	last := slots[len(slots)-1].From
	if last.IsZero() {
		last = began
	}
	return last.Add(s.c.Every - s.c.Ring.publishBefore - s.c.keeping())
}

func (s *KeySchedule) rotate(ctx context.Context) (from time.Time, err error) {
	if s.made == nil {
		if s.made, err = s.c.Next(ctx); err != nil {
			s.made = nil
			return time.Time{}, fmt.Errorf("issuer: make the next key: %w", err)
		}
	}
	var save func([]KeySlot) error
	if s.c.Save != nil {
		save = func(slots []KeySlot) error {
			ctx, cancel := context.WithTimeout(ctx, maxSaveTime)
			defer cancel()
			if err := s.c.Save(ctx, slots); err != nil {
				return fmt.Errorf("issuer: save the keys: %w", err)
			}
			return nil
		}
	}
	return s.c.Ring.rotate(s.made, s.c.keeping(), save)
}
