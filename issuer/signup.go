package issuer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// A Registration is what a client sends to sign up: a Username, an Email or
// both, a Password, and what else the service asks for. Printed it shows the
// names alone.
//
// Register answers with the user it has added, who is logged in: 201 and tokens.
// A name that is taken is a jwterrors.UserExists, which is answered with 409 and
// tells who asks that there is such an account. With tokens for an answer this
// cannot be hidden: who gets none knows as much. Where accounts are not to be
// found out, Register returns ErrSignupPending in both cases, in the same time,
// and writes to the address what has happened: a link to go on, or that somebody
// tried. A jwterrors.RequestInvalid with a Message says what is wrong with a
// field; any other reason is answered as it is, and an error without a reason as
// StoreUnavailable. When a user was added and no session could begin, the answer
// is an error; when the answer gets lost, a repetition is a UserExists. Then a
// login will do.
type Registration struct {
	Credentials

	// Fields are the other members of the body as they came, 64 at most, from
	// a body of 64 KiB at most, nested 16 levels deep at most. Nothing else
	// has been looked at, not their names either. What is said there about
	// rights is the client's wish.
	Fields map[string]json.RawMessage
}

// ErrSignupPending is what Register returns when the client is to be told
// nothing but that its request was received: 202 and an empty object.
var ErrSignupPending = errors.New("issuer: the signup waits for a confirmation")

// maxFields limits the further members of a signup.
const maxFields = 64

func (i *Issuer) signup(w http.ResponseWriter, r *http.Request) error {
	members, err := readMembers(w, r)
	if err != nil {
		return err
	}
	body, err := i.pick(members, "username", "email", "password", "device", "scope")
	if err != nil {
		return err
	}
	if len(members) > maxFields {
		return refused(jwterrors.RequestInvalid, fmt.Sprintf("a signup has more than %d further members", maxFields))
	}
	reg := Registration{Credentials: Credentials{
		Username: body["username"], Email: body["email"], Password: body["password"], Device: clip(body["device"]), Address: address(r),
	}, Fields: members}
	if reg.Username == "" && reg.Email == "" || reg.Password == "" {
		return refused(jwterrors.RequestInvalid, "a signup needs a username or an email, and a password")
	}
	if err := i.checkDevice(reg.Device); err != nil {
		return err
	}
	binding, err := i.loginBinding(w, r)
	if err != nil {
		return err
	}
	started := i.c.Now()
	ctx, cancel := context.WithTimeout(r.Context(), MaxLoginTime)
	defer cancel()
	if _, err := i.attempt(ctx, "signup", reg.Credentials); err != nil { // and gives nothing back
		return err
	}
	user, err := i.c.Register(ctx, reg)
	var reason jwterrors.Reason
	switch {
	case errors.Is(err, ErrSignupPending):
		noStore(w)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusAccepted)
		encode(w, struct{}{})
		return nil
	case errors.As(err, &reason):
		i.tell(Event{Kind: EventSignupFailed, Reason: reason, ClientID: i.c.ClientID, Address: reg.Address, Account: i.shown(reg.Credentials)})
		return err
	case err != nil:
		return storeFailed("register", err)
	}
	i.tell(Event{Kind: EventSignup, Subject: user.ID, ClientID: i.c.ClientID, Address: reg.Address})
	t, err := i.begin(ctx, started, user, body["scope"], binding, reg.Device, reg.Address, r.UserAgent())
	if err != nil {
		return err
	}
	return i.writeTokens(w, http.StatusCreated, "signup", t)
}

// checkDevice refuses a login that names no device to bind its session to.
func (i *Issuer) checkDevice(device string) error {
	if i.c.BindDevice && device == "" {
		return refused(jwterrors.RequestInvalid, "a login needs a device here")
	}
	return nil
}
