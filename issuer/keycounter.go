package issuer

import (
	"context"
	"time"
)

// A KeyCounter is a Store that counts its sessions by master key, so that an old
// master key can be dropped: see Config.MasterKeys. A Store need not be one; an
// Issuer never counts.
type KeyCounter interface {
	// CountKeys returns how many sessions that have not ended at the time
	// given, as List has it, have each KeyID. A KeyID without sessions is not
	// in the result. A session that is created, rotated or ends meanwhile may
	// count under its old KeyID, its new one, or not at all if it was created
	// or ended; one that stays as it is counts once. It may take as long as
	// looking at every session does.
	CountKeys(ctx context.Context, at time.Time) (map[string]int, error)
}
