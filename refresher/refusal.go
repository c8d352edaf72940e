package refresher

import jwterrors "github.com/tokenloop/tokenloop/errors"

// A Refusal is an answer that means "this token is not accepted, try another".
type Refusal struct {
	// Status is the status of the answer.
	Status int

	// Code is the code in the answer: in its challenge, or in the member
	// "reason", "code" or "error" of its JSON body. Empty means that the
	// reason decides: the answer counts if its Action is to refresh, or if it
	// names no reason.
	Code string
}

// defaultRefusals is a 401 that a new token may cure.
var defaultRefusals = []Refusal{{Status: 401}}

type refusals []Refusal

// hasStatus reports whether an answer with that status may be a refusal.
func (list refusals) hasStatus(status int) bool {
	for i := range list {
		if list[i].Status == status {
			return true
		}
	}
	return false
}

// has reports whether e, read from an answer, is a refusal.
func (list refusals) has(status int, e *jwterrors.Error) bool {
	for _, r := range list {
		switch {
		case r.Status != status:
		case r.Code != "":
			if e != nil && e.Code == r.Code {
				return true
			}
		case e == nil || e.Reason.Action() == jwterrors.ActionRefresh:
			return true
		}
	}
	return false
}
