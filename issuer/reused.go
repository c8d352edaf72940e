package issuer

import (
	"strings"
	"sync"
	"time"
)

// reused keeps tokens that are still young. It holds two generations: when the
// newer one is full, the older one is forgotten as a whole, which bounds it
// without a list to keep in order.
type reused struct {
	max int // tokens in both

	mu           sync.Mutex
	newer, older map[Identity]mintedToken
}

type mintedToken struct {
	token string
	at    time.Time
}

// young reports whether t was made less than reuse ago, by a clock that did not go
// back since. Of calls at once, the one that is served last may have asked first.
func (t mintedToken) young(now time.Time, reuse time.Duration) bool {
	age := now.Sub(t.at)
	return t.token != "" && age > -time.Second && age < reuse
}

// get returns the young token of user, or "".
func (r *reused) get(user Identity, now time.Time, reuse time.Duration) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, generation := range []map[Identity]mintedToken{r.newer, r.older} {
		if t := generation[user]; t.young(now, reuse) {
			return t.token
		}
	}
	return ""
}

// put keeps a new token, and returns it; or the young one that another call has
// put since, so that all get the same.
func (r *reused) put(user Identity, token string, now time.Time, reuse time.Duration) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.newer[user]; t.young(now, reuse) {
		return t.token
	}
	if r.newer == nil || len(r.newer) >= r.max/2 {
		r.newer, r.older = map[Identity]mintedToken{}, r.newer
	}
	user.value = strings.Clone(user.value) // it may pin the body of a request
	r.newer[user] = mintedToken{token, now}
	return token
}
