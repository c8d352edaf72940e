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
