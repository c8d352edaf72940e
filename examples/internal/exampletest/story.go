package exampletest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// Story runs a program that checks what it tells, and returns what it told. It must
// be told to its end, which is in the step of that number.
func Story(t *testing.T, run func(ctx context.Context, out io.Writer) error, last int) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var out bytes.Buffer
	if err := run(ctx, &out); err != nil {
		t.Fatalf("%v, after\n%s", err, out.String())
	}
	told := out.String()
	if !strings.HasSuffix(told, "Everything happened as told.\n") || !strings.Contains(told, fmt.Sprintf("\n%d. ", last)) {
		t.Errorf("the story has gaps:\n%s", told)
	}
	return told
}
