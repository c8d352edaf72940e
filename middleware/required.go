package middleware

import (
	"fmt"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/internal/jws"
)

// judgeRequired refuses claims without one of the names, or with a null there.
func judgeRequired(names []string, r *record) error {
	if len(names) == 0 {
		return nil
	}
	members, _ := jws.Members([]byte(r.payload)) // which were read before, and none where not
	for _, name := range names {
		if raw, ok := members[name]; !ok || string(raw) == "null" {
			return refuse(jwterrors.TokenPayloadInvalid, fmt.Errorf("%s is missing", shown(name)))
		}
	}
	return nil
}
