package refresher

import (
	"slices"
	"sync"
	"sync/atomic"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// Listeners are functions like those of Config with the same names. Each may be
// nil. All are called one after the other, on a goroutine that exists while there is
// something to tell, and may call the Transport. One that is slow or panics changes
// nothing, except that new tokens wait for OnRefresh, for a second at the most.
type Listeners struct {
	OnFailure        func(*jwterrors.Error)
	OnSessionExpired func(*jwterrors.Error)
	OnRefresh        func(Tokens)
}

// Listen adds l to the listeners of Config, at any time and from anywhere, from a
// listener too. They are told of what happens from then on, after those that
// were added before, for as long as t lives or until remove is called. A call
// that is under way when remove is called goes on.
func (t *Transport) Listen(l Listeners) (remove func()) {
	return t.listeners.add(l)
}

// A listener is what one call of Listen has added.
type listener struct {
	Listeners
	removed atomic.Bool
}

// tell returns call as an event, which does nothing once l was removed.
func (l *listener) tell(call func()) func() {
	return func() {
		if !l.removed.Load() {
			call()
		}
	}
}

// listeners is a list that is read without a lock.
type listeners struct {
	mu   sync.Mutex // held while the list is replaced
	list atomic.Pointer[[]*listener]
}

func (ls *listeners) all() []*listener {
	if list := ls.list.Load(); list != nil {
		return *list
	}
	return nil
}

func (ls *listeners) add(l Listeners) (remove func()) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	added := &listener{Listeners: l}
	list := append(slices.Clone(ls.all()), added)
	ls.list.Store(&list)
	return func() {
		added.removed.Store(true)
		ls.mu.Lock()
		defer ls.mu.Unlock()
		rest := slices.DeleteFunc(slices.Clone(ls.all()), func(l *listener) bool { return l == added })
		ls.list.Store(&rest)
	}
}
