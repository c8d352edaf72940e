package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"
)

// The story checks what it tells; here it must also be told to its end, in time.
func TestQuickstart(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	var out bytes.Buffer
	if err := run(ctx, &out); err != nil {
		t.Fatalf("%v, after\n%s", err, out.String())
	}
	if !strings.HasSuffix(out.String(), "Everything happened as told.\n") || strings.Count(out.String(), "\n\n") != 10 {
		t.Errorf("the story has gaps:\n%s", out.String())
	}
}

// A story that does not come true ends with an error.
func TestAStoryThatIsNotTrueEnds(t *testing.T) {
	var out bytes.Buffer
	s := &story{out: &out}
	s.begin("one")
	s.tell(false, "it %s", "rained")
	s.tell(true, "and then")
	if s.err == nil || !strings.Contains(s.err.Error(), "it rained") || strings.Contains(out.String(), "and then") {
		t.Errorf("err = %v after\n%s", s.err, out.String())
	}
}
