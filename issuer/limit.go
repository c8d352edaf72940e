package issuer

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// Default budgets of Limits.
var (
	defaultAccountBudget = Budget{Attempts: 20, Every: time.Minute}
	defaultAddressBudget = Budget{Attempts: 200, Every: 5 * time.Second}
)

// MaxBudget is the longest time that a spent Budget may take to be whole again.
const MaxBudget = 7 * 24 * time.Hour

// A Budget is how many attempts may be made at once, and how long it then takes
// until there is one more.
type Budget struct {
	Attempts int           // at least 1
	Every    time.Duration // at least a millisecond
}

// check says what is wrong with b.
func (b Budget) check() error {
	switch {
	case b.Attempts < 1 || b.Every < time.Millisecond:
		return fmt.Errorf("a budget of %d attempts, one more every %v; it is at least 1 and 1ms", b.Attempts, b.Every)
	case b.Attempts > int(MaxBudget/b.Every):
		return fmt.Errorf("a budget of %d attempts, one more every %v, takes longer than %v to be whole again", b.Attempts, b.Every, MaxBudget)
	}
	return nil
}

// A Limiter counts attempts by key. It is safe for concurrent use, and by several
// processes where what it counts in is shared. Keys are short ASCII and hold no
// name of a user. One key always comes with one Budget.
type Limiter interface {
	// Take takes one attempt from the budget of key and returns 0; or, when
	// none is left, takes nothing and returns how long it is until there is
	// one. An error means that it could not count.
	Take(ctx context.Context, key string, b Budget) (wait time.Duration, err error)

	// Give gives n attempts back, of those that were taken: a budget is never
	// more than whole.
	Give(ctx context.Context, key string, n int, b Budget) error
}

// Limits say how often one may try. The zero value limits logins.
//
// A login takes an attempt from the budget of the address, then from that of
// the account, before Authenticate is called. What is refused is answered with
// RateLimited, 429 and Retry-After, whether the account exists or not. A login
// that succeeds gives the address its attempt back and the account its whole
// budget. One that Authenticate could not decide gives both the attempt back,
// if the client has waited for the answer.
//
// A signup takes from budgets of its own that are as large, and gets nothing back.
//
// Who keeps the budget of an account spent keeps its owner from a new login for
// as long. The sessions of the owner are not touched: a refresh asks for no
// account.
type Limits struct {
	// Account is the budget of one account, from all addresses together, and
	// Address that of one address: of an IPv4 address, or of the 64 bits of
	// an IPv6 network. Zero means 20 attempts and one more every minute, and
	// 200 and one more every 5 seconds.
	Account, Address Budget

	// Refresh is the budget of one address for refreshes that are refused, and
	// for whatever is refused at /token; what succeeds does not count, nor does
	// what is to come again with a nonce. Zero means that there is no limit.
	Refresh Budget

	// Limiter counts. Nil means a MemoryLimiter, so that each process counts
	// for itself.
	Limiter Limiter

	// AccountKey returns what stands for the account of a login: the same
	// for all names of one account that Authenticate takes. Of the result a
	// hash is kept. Nil means the username or email without the spaces around
	// it and in one case: enough unless Authenticate ignores more than that,
	// such as dots or accents.
	AccountKey func(c Credentials) string

	// InsecureFailOpen lets an attempt pass when the Limiter cannot count.
	// Else it is answered with StoreUnavailable.
	InsecureFailOpen bool

	// InsecureOff limits nothing: for services that have limits elsewhere.
	InsecureOff bool
}

// withDefaults returns l complete, or what is wrong with it.
func (l Limits) withDefaults(now func() time.Time) (Limits, []error) {
	var wrong []error
	if l.InsecureOff && (l.Limiter != nil || l.Account != Budget{} || l.Address != Budget{} || l.Refresh != Budget{}) {
		wrong = append(wrong, errors.New("issuer: Limits.InsecureOff is set, and so is a budget or Limiter"))
	}
	l.Account = orDefault(l.Account, defaultAccountBudget)
	l.Address = orDefault(l.Address, defaultAddressBudget)
	for _, b := range []struct {
		name   string
		budget Budget
	}{{"Account", l.Account}, {"Address", l.Address}, {"Refresh", l.Refresh}} {
		if b.name == "Refresh" && b.budget == (Budget{}) {
			continue
		}
		if err := b.budget.check(); err != nil {
			wrong = append(wrong, fmt.Errorf("issuer: Limits.%s: %w", b.name, err))
		}
	}
	if l.Limiter == nil && !l.InsecureOff && len(wrong) == 0 {
		l.Limiter, _ = NewMemoryLimiter(MemoryLimiterConfig{Now: now}) // no mistake can be in that
	}
	if l.AccountKey == nil {
		l.AccountKey = oneCase
	}
	return l, wrong
}

// oneCase returns the name that c has, so that spellings of it that differ by case
// or the spaces around it are one. Upper case comes first, since some letters have
// an upper case that is another letter's too.
func oneCase(c Credentials) string {
	return strings.ToLower(strings.ToUpper(strings.TrimSpace(c.Username + c.Email)))
}

// accountKey is the key of the account that c names, of bounded length.
func (i *Issuer) accountKey(route string, c Credentials) string {
	sum := sha256.Sum256([]byte(i.c.Limits.AccountKey(c)))
	return route + "-account:" + base64.RawURLEncoding.EncodeToString(sum[:16])
}

// addressKey is the key of an address, or "" for a text that is none.
func addressKey(route, address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return ""
	}
	ip = ip.Unmap() // a Prefix has no zone
	if ip.Is6() {
		return route + "-address:" + netip.PrefixFrom(ip, 64).Masked().String()
	}
	return route + "-address:" + ip.String()
}

// An attempt is what a login or a signup has taken.
type attempt struct {
	i                *Issuer
	account, address string // keys; empty where nothing was taken
}

// attempt takes what a login or a signup with c needs, or says that there is none left.
func (i *Issuer) attempt(ctx context.Context, route string, c Credentials) (attempt, error) {
	a := attempt{i: i}
	l := &i.c.Limits
	if l.InsecureOff {
		return a, nil
	}
	for _, step := range []struct {
		key    string
		budget Budget
		taken  *string
	}{{addressKey(route, c.Address), l.Address, &a.address}, {i.accountKey(route, c), l.Account, &a.account}} {
		if step.key == "" {
			continue
		}
		took, err := i.take(ctx, step.key, step.budget)
		if errors.Is(err, jwterrors.RateLimited) {
			i.tell(Event{Kind: EventLimited, Reason: jwterrors.RateLimited, ClientID: i.c.ClientID, Address: c.Address, Account: i.shown(c)})
		}
		if err != nil {
			return a, err
		}
		if took {
			*step.taken = step.key
		}
	}
	return a, nil
}

// decided gives back what Authenticate's answer, err, does not cost.
func (a attempt) decided(ctx context.Context, err error) {
	l := &a.i.c.Limits
	n := 1
	var reason jwterrors.Reason
	switch decided := errors.As(err, &reason); {
	case err == nil:
		n = l.Account.Attempts
	case ctx.Err() != nil: // who leaves may not have wanted to pay
		return
	case !decided || reason == jwterrors.RateLimited || reason.Status() >= http.StatusInternalServerError:
	default:
		return
	}
	ctx, cancel := finishing(ctx)
	defer cancel()
	a.i.give(ctx, a.account, n, l.Account)
	a.i.give(ctx, a.address, 1, l.Address)
}

// take asks the Limiter for an attempt, and reports whether it was counted.
func (i *Issuer) take(ctx context.Context, key string, b Budget) (bool, error) {
	wait, err := i.c.Limits.Limiter.Take(ctx, key, b)
	switch {
	case err != nil && i.c.Limits.InsecureFailOpen:
		i.c.Logger.ErrorContext(ctx, "issuer: the limiter does not count, and the attempt passes", "err", err)
		return false, nil
	case err != nil:
		return false, storeFailed("count an attempt", err)
	case wait > 0:
		return false, &jwterrors.Error{Reason: jwterrors.RateLimited, Err: fmt.Errorf("no attempt is left for %v", wait), RetryAfter: wait}
	}
	return true, nil
}

func (i *Issuer) give(ctx context.Context, key string, n int, b Budget) {
	if key == "" {
		return
	}
	if err := i.c.Limits.Limiter.Give(ctx, key, n, b); err != nil {
		i.c.Logger.ErrorContext(ctx, "issuer: the limiter takes no attempt back", "err", err)
	}
}

// limitRefresh lets e answer addresses that have not had too much refused. It knows
// no account: a refresh cannot lock one.
func (i *Issuer) limitRefresh(e endpoint) endpoint {
	b := i.c.Limits.Refresh
	if b == (Budget{}) {
		return e
	}
	return func(w http.ResponseWriter, r *http.Request) error {
		key := addressKey("refresh", address(r))
		if key == "" {
			return e(w, r)
		}
		took, err := i.take(r.Context(), key, b)
		if err != nil {
			return err
		}
		err = e(w, r)
		if took && (err == nil || errors.Is(err, jwterrors.ProofNonceRequired) || jwterrors.ReasonOf(err).Status() >= http.StatusInternalServerError) {
			ctx, cancel := finishing(r.Context())
			defer cancel()
			i.give(ctx, key, 1, b)
		}
		return err
	}
}
