package refresher

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	jwterrors "github.com/tokenloop/tokenloop/errors"
)

// maxEvents is how many events may wait before offer drops one.
const maxEvents = 256

// events calls listeners one after the other, each event in its turn, on a
// goroutine that exists while there is something to tell. Neither a slow
// listener nor one that panics holds up anything else.
type events struct {
	logger *slog.Logger

	mu      sync.Mutex
	queue   []event
	running bool
}

type event struct {
	call func()
	done chan struct{}
}

// offer puts call in the queue, or drops it when the queue is full.
func (q *events) offer(call func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queue) < maxEvents {
		q.add(call)
	}
}

// post puts call in the queue, full or not: it is for what happens once. The
// channel is closed after the call.
func (q *events) post(call func()) <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.add(call)
}

func (q *events) add(call func()) <-chan struct{} {
	e := event{call, make(chan struct{})}
	q.queue = append(q.queue, e)
	if !q.running {
		q.running = true
		go q.run()
	}
	return e.done
}

func (q *events) run() {
	finished := false
	defer func() {
		if !finished { // a listener called runtime.Goexit
			go q.run()
		}
	}()
	for {
		q.mu.Lock()
		if len(q.queue) == 0 {
			q.running, finished, q.queue = false, true, nil
			q.mu.Unlock()
			return
		}
		e := q.queue[0]
		q.queue = q.queue[1:]
		q.mu.Unlock()
		q.call(e)
	}
}

func (q *events) call(e event) {
	defer close(e.done)
	defer func() {
		if p := recover(); p != nil { // its value may hold a secret
			q.logger.Error("refresher: a listener panicked", "type", fmt.Sprintf("%T", p))
		}
	}()
	e.call()
}

// report tells OnFailure, and the log, of e.
func (t *Transport) report(st *state, e *jwterrors.Error) {
	told := t.circumstances(st, e)
	if told.Token == "" {
		told.Token = jwterrors.Redact(st.tokens.AccessToken)
	}
	t.logger.Warn("refresher: failure", "error", &told)
	for _, l := range t.listeners.all() {
		if l.OnFailure != nil {
			own := told
			t.events.offer(l.tell(func() { l.OnFailure(&own) }))
		}
	}
}

// expire tells OnSessionExpired, and the log, that the session of st has ended.
func (t *Transport) expire(st *state, e *jwterrors.Error) {
	told := t.circumstances(st, e)
	t.logger.Warn("refresher: the session has ended", "error", &told)
	for _, l := range t.listeners.all() {
		if l.OnSessionExpired != nil {
			own := told
			t.events.post(l.tell(func() { l.OnSessionExpired(&own) }))
		}
	}
}

// circumstances returns e with whose tokens it is about and when it was.
func (t *Transport) circumstances(st *state, e *jwterrors.Error) jwterrors.Error {
	told := *e
	if told.Identity == "" {
		told.Identity = st.whose()
	}
	if told.Time.IsZero() {
		told.Time = t.now()
	}
	return told
}

// announceLimit is how long new tokens wait for OnRefresh.
const announceLimit = time.Second

// announce tells OnRefresh of the tokens of next.
func (t *Transport) announce(next *state) {
	tokens := next.tokens
	tokens.outcome = nil
	var last <-chan struct{} // the queue keeps the order, so that all were told when this one was
	for _, l := range t.listeners.all() {
		if l.OnRefresh != nil {
			last = t.events.post(l.tell(func() { l.OnRefresh(tokens) }))
		}
	}
	if last == nil {
		return
	}
	timer := time.NewTimer(announceLimit)
	defer timer.Stop()
	select {
	case <-last:
	case <-timer.C:
	}
}
