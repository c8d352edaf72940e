package issuer_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/issuer"
)

func TestEventsAreDeliveredInOrderAndToTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		logs := &safeBuffer{}
		q := must(issuer.NewEventQueue(issuer.EventQueueConfig{Size: 4, Logger: slog.New(slog.NewTextHandler(logs, nil)), Handle: func(e issuer.Event) {
			time.Sleep(time.Second)
			got = append(got, e.SessionID)
			if e.SessionID == "2" {
				panic(password)
			}
		}}))
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- q.Run(ctx) }()
		synctest.Wait()
		assert.ErrorContains(t, q.Run(ctx), "runs already")

		start := time.Now()
		for n := range 4 {
			q.Add(issuer.Event{SessionID: fmt.Sprint(n)})
		}
		synctest.Wait() // one is being handled, three wait
		q.Add(issuer.Event{SessionID: "4"})
		assert.Zero(t, q.Dropped())
		for range 3 {
			q.Add(issuer.Event{SessionID: "too many"})
		}
		assert.EqualValues(t, 3, q.Dropped(), "what does not fit is counted")
		assert.Zero(t, time.Since(start), "nobody waits")
		stop()
		assert.ErrorIs(t, <-ended, context.Canceled)
		assert.Equal(t, []string{"0", "1", "2", "3", "4"}, got, "in order, with those that wait at the end, past a panic")
		assert.Contains(t, logs.String(), "panicked")
		assert.NotContains(t, logs.String(), password)

		again, stop := context.WithCancel(t.Context())
		stop()
		q.Add(issuer.Event{SessionID: "5"})
		assert.ErrorIs(t, q.Run(again), context.Canceled, "it may run again")
		assert.Len(t, got, 6)
	})
}

func TestAnEventQueueRefusesMistakes(t *testing.T) {
	_, err := issuer.NewEventQueue(issuer.EventQueueConfig{Size: -1})
	assert.ErrorContains(t, err, "Handle")
	assert.ErrorContains(t, err, "Size")
	_, err = issuer.NewEventQueue(issuer.EventQueueConfig{Handle: func(issuer.Event) {}, Size: 1<<20 + 1})
	assert.ErrorContains(t, err, "Size")
	q := must(issuer.NewEventQueue(issuer.EventQueueConfig{Handle: func(issuer.Event) {}}))
	for range 1024 + 1 {
		q.Add(issuer.Event{})
	}
	assert.EqualValues(t, 1, q.Dropped())
}

func TestActivityIsToldOffTheRequestPath(t *testing.T) { // JG-17
	block := make(chan struct{})
	got := make(chan issuer.Event, 10)
	q := must(issuer.NewEventQueue(issuer.EventQueueConfig{Size: 1, Handle: func(e issuer.Event) { <-block; got <- e }}))
	f := newFixture(t, func(c *issuer.Config) { c.OnEvent = q.Add })
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- q.Run(ctx) }()
	for range 5 {
		f.login() // is answered, though the hook hangs
	}
	assert.GreaterOrEqual(t, q.Dropped(), uint64(3))
	close(block)
	stop()
	require.ErrorIs(t, <-ended, context.Canceled)
	e := <-got
	assert.Equal(t, issuer.EventLogin, e.Kind)
	assert.Equal(t, "alice", e.Subject)
	assert.NotEmpty(t, e.SessionID)
	assert.EqualValues(t, 5, uint64(len(got))+1+q.Dropped(), "told or counted")
}
