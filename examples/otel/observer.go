package main

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/middleware"
)

// An observer counts what a middleware decides (middleware.Observer).
type observer struct {
	decisions metric.Int64Counter
	duration  metric.Float64Histogram

	// The attributes are made once, since the requests wait for the observer.
	reasons                   map[jwterrors.Reason]metric.MeasurementOption
	other, remembered, looked metric.MeasurementOption
}

// newObserver makes its instruments with provider.
func newObserver(provider metric.MeterProvider) (*observer, error) {
	meter := provider.Meter("github.com/tokenloop/tokenloop/examples/otel")
	decisions, err1 := meter.Int64Counter("auth.decisions", metric.WithUnit("{decision}"),
		metric.WithDescription("Decisions about requests, by their reason. A refused scope counts besides the token that was accepted."))
	// The default boundaries are for milliseconds. A token from the cache takes
	// microseconds, a signature tens of them, waiting for keys up to seconds.
	duration, err2 := meter.Float64Histogram("auth.decision.duration", metric.WithUnit("s"),
		metric.WithDescription("How long the decision about a token took."),
		metric.WithExplicitBucketBoundaries(1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 10))
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	o := &observer{
		decisions: decisions, duration: duration,
		reasons:    map[jwterrors.Reason]metric.MeasurementOption{"": with(attribute.String("reason", "accepted"))},
		other:      with(attribute.String("reason", "other")),
		remembered: with(attribute.Bool("remembered", true)),
		looked:     with(attribute.Bool("remembered", false)),
	}
	for _, reason := range jwterrors.Reasons() {
		o.reasons[reason] = with(attribute.String("reason", string(reason)))
	}
	return o, nil
}

func with(a attribute.KeyValue) metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(a))
}

// Checked takes the context along, so that a measurement can name its trace.
func (o *observer) Checked(ctx context.Context, outcome middleware.Outcome) {
	reason, ok := o.reasons[outcome.Reason]
	if !ok {
		reason = o.other // of Config.Validate's making: there may be any number of them
	}
	o.decisions.Add(ctx, 1, reason)
	if outcome.Duration == 0 {
		return // a guard's: it would make the others look quick
	}
	seen := o.looked
	if outcome.Cached {
		seen = o.remembered
	}
	o.duration.Record(ctx, outcome.Duration.Seconds(), seen)
}
