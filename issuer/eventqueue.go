package issuer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
)

// defaultEventQueueSize is the number of events that wait in an EventQueue.
const defaultEventQueueSize = 1024

// An EventQueueConfig describes an EventQueue. Handle is required.
type EventQueueConfig struct {
	// Handle gets one event after the other, in the order of their Add. It
	// may take its time; a panic in it is logged, and the next event follows.
	Handle func(Event)

	// Size is how many events may wait: 1 to 1048576. Zero means 1024.
	Size int

	// Logger gets a record for every panic of Handle. Nil means slog.Default.
	Logger *slog.Logger
}

// An EventQueue delivers events off the path of requests, whatever the time that
// it takes:
//
//	queue, err := issuer.NewEventQueue(issuer.EventQueueConfig{Handle: audit})
//	...
//	iss, err := issuer.New(issuer.Config{OnEvent: queue.Add}) // and what else it needs
//	go queue.Run(ctx)
//
// It is safe for concurrent use. Stop the server before the context of Run, so
// that no event comes after the end.
type EventQueue struct {
	handle  func(Event)
	log     *slog.Logger
	events  chan Event
	dropped atomic.Uint64
	running atomic.Bool
}

// NewEventQueue checks c and returns its queue, or all the mistakes in c at once.
// It starts nothing: nothing is delivered before Run.
func NewEventQueue(c EventQueueConfig) (*EventQueue, error) {
	var mistakes []error
	if c.Handle == nil {
		mistakes = append(mistakes, errors.New("issuer: Handle is required"))
	}
	c.Size = orDefault(c.Size, defaultEventQueueSize)
	if c.Size < 1 || c.Size > 1<<20 {
		mistakes = append(mistakes, fmt.Errorf("issuer: Size is %d; it is 1 to %d", c.Size, 1<<20))
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if len(mistakes) > 0 {
		return nil, errors.Join(mistakes...)
	}
	return &EventQueue{handle: c.Handle, log: c.Logger, events: make(chan Event, c.Size)}, nil
}

// Add puts e into the queue, or drops and counts it when the queue is full. It
// never waits.
func (q *EventQueue) Add(e Event) {
	select {
	case q.events <- e:
	default:
		q.dropped.Add(1)
	}
}

// Dropped returns how many events were dropped so far.
func (q *EventQueue) Dropped() uint64 { return q.dropped.Load() }

// Run delivers events until ctx is done, then those that still wait, and returns
// ctx.Err(). It returns an error at once while another Run of q is running.
func (q *EventQueue) Run(ctx context.Context) error {
	if !q.running.CompareAndSwap(false, true) {
		return errors.New("issuer: this event queue runs already")
	}
	defer q.running.Store(false)
	for {
		select {
		case e := <-q.events:
			q.deliver(e)
		case <-ctx.Done():
			for range len(q.events) {
				q.deliver(<-q.events)
			}
			return ctx.Err()
		}
	}
}

func (q *EventQueue) deliver(e Event) {
	defer func() {
		if p := recover(); p != nil {
			q.log.Error("issuer: the handler of events panicked", slog.String("event", string(e.Kind)), slog.String("panic", fmt.Sprintf("%T", p)))
		}
	}()
	q.handle(e)
}
