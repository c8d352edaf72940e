package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A few seconds of load: everything is done, timed and watched, and nothing fails.
func TestAFewSeconds(t *testing.T) {
	var out bytes.Buffer
	err := run([]string{"-duration", "5s", "-clients", "10"}, &out)
	t.Logf("%s", &out)
	if err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{login, refresh, call, revoke} {
		if !regexp.MustCompile(`(?m)^` + what + ` +[1-9]`).Match(out.Bytes()) {
			t.Errorf("there is no %s", what)
		}
	}
}

// What grows from the second third to the last is found.
func TestGrowthIsFound(t *testing.T) {
	for _, c := range []struct {
		name  string
		at    func(i int) sample
		grows string
	}{
		{"flat", func(int) sample { return sample{60, 8, 120} }, ""},
		{"a start that takes a third", func(i int) sample { return sample{60 + 0.1*float64(min(i, 100)), 8, 120} }, ""},
		{"a heap that leaks", func(i int) sample { return sample{60, 8 + 0.1*float64(i), 120} }, "live heap"},
		{"a process that leaks", func(i int) sample { return sample{60 + 0.4*float64(i), 8, 120} }, "resident"},
		{"goroutines that stay", func(i int) sample { return sample{60, 8, 120 + 0.5*float64(i)} }, "goroutines"},
	} {
		w := &watch{}
		for i := range 300 {
			w.samples = append(w.samples, c.at(i))
		}
		if grown := w.report(&bytes.Buffer{}, time.Minute); (grown == "") != (c.grows == "") || !strings.HasPrefix(grown, c.grows) {
			t.Errorf("%s: %q", c.name, grown)
		}
	}
}

func TestQuantiles(t *testing.T) {
	var all []time.Duration
	for i := range 1000 {
		all = append(all, time.Duration(i+1)*time.Millisecond)
	}
	for part, want := range map[float64]time.Duration{0.5: 501, 0.99: 991, 0.999: 1000, 1: 1000} {
		if got := quantile(all, part); got != want*time.Millisecond {
			t.Errorf("%v: %v", part, got)
		}
	}
}
