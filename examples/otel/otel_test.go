package main

import (
	"context"
	"maps"
	"net/http/httptest"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	jwterrors "github.com/tokenloop/tokenloop/errors"
	"github.com/tokenloop/tokenloop/examples/internal/exampletest"
	"github.com/tokenloop/tokenloop/middleware"
)

// serve starts a service that is measured, and returns what reads the metrics.
func serve(t *testing.T, options ...func(*middleware.Config)) (*httptest.Server, *exampletest.Issuer, sdkmetric.Reader) {
	t.Helper()
	reader := sdkmetric.NewManualReader()
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	o, err := newObserver(provider)
	if err != nil {
		t.Fatal(err)
	}
	iss := exampletest.NewIssuer(t, append(options, func(c *middleware.Config) { c.Observer = o })...)
	server := httptest.NewServer(newHandler(iss.Auth))
	t.Cleanup(server.Close)
	return server, iss, reader
}

// collect returns the decisions by reason, and the durations by whether the token
// was remembered.
func collect(t *testing.T, reader sdkmetric.Reader) (map[string]int64, map[bool]metricdata.HistogramDataPoint[float64]) {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	decisions, durations := map[string]int64{}, map[bool]metricdata.HistogramDataPoint[float64]{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, point := range data.DataPoints {
					decisions[label(point.Attributes, "reason").AsString()] += point.Value
				}
			case metricdata.Histogram[float64]:
				for _, point := range data.DataPoints {
					durations[label(point.Attributes, "remembered").AsBool()] = point
				}
			}
		}
	}
	return decisions, durations
}

func label(s attribute.Set, name attribute.Key) attribute.Value {
	v, _ := s.Value(name)
	return v
}

func TestDecisionsAreCountedByReasonAndTimed(t *testing.T) {
	server, iss, reader := serve(t)
	good := "Bearer " + iss.Token(t, "api:read", time.Hour)
	began := time.Now()
	for _, request := range []struct {
		method, authorization string
		status                int
	}{
		{"GET", good, 200},
		{"GET", good, 200},
		{"GET", good, 200},    // remembered, since it passed twice
		{"DELETE", good, 403}, // accepted, remembered, and refused by the guard
		{"GET", "", 401},
		{"GET", "Bearer " + iss.Token(t, "api:read", -time.Hour), 401},
		{"GET", "Bearer x", 401},
		{"GET", good + "," + good, 400},
	} {
		resp, body := exampletest.Ask(t, server.Client(), request.method, server.URL+"/orders/7", request.authorization)
		if resp.StatusCode != request.status {
			t.Fatalf("status %d, want %d: %s", resp.StatusCode, request.status, body)
		}
	}
	all := time.Since(began)

	decisions, durations := collect(t, reader)
	want := map[string]int64{
		"accepted":                           4,
		string(jwterrors.ScopeInsufficient):  1,
		string(jwterrors.TokenMissing):       1,
		string(jwterrors.TokenExpired):       1,
		string(jwterrors.TokenFormatInvalid): 1,
		string(jwterrors.RequestInvalid):     1,
	}
	if !maps.Equal(decisions, want) {
		t.Errorf("decisions %v, want %v", decisions, want)
	}
	if known, seen := durations[true], durations[false]; known.Count != 2 || seen.Count != 6 {
		t.Errorf("%d and %d durations, want 2 of remembered tokens and 6 of others, and none of the guard", known.Count, seen.Count)
	} else if sum := known.Sum + seen.Sum; known.Sum <= 0 || seen.Sum <= 0 || sum > all.Seconds() {
		t.Errorf("the decisions took %v s of %v s", sum, all.Seconds())
	} else if last := len(seen.Bounds) - 1; seen.Bounds[last] != 10 {
		t.Errorf("the buckets end at %v s, which is not for seconds", seen.Bounds[last])
	}
}

// Each value of an attribute is a series that somebody has to store: what a check
// of one's own makes up must not multiply them.
func TestReasonsThatAreNotInTheCatalogueAreOneSeries(t *testing.T) {
	server, iss, reader := serve(t, func(c *middleware.Config) {
		c.Validate = func(_ context.Context, claims *middleware.Claims) error {
			return jwterrors.Reason("NOT_FOR_" + claims.Scopes[0])
		}
	})
	for _, scope := range []string{"A", "B", "C"} {
		good := "Bearer " + iss.Token(t, scope, time.Hour)
		if resp, body := exampletest.Ask(t, server.Client(), "GET", server.URL+"/orders/7", good); resp.StatusCode != 401 {
			t.Fatalf("status %d: %s", resp.StatusCode, body)
		}
	}
	if decisions, _ := collect(t, reader); !maps.Equal(decisions, map[string]int64{"other": 3}) {
		t.Errorf("decisions %v, want 3 others", decisions)
	}
}
