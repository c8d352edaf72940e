package story_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/tokenloop/tokenloop/examples/internal/story"
)

func TestAStoryThatIsNotTrueEnds(t *testing.T) {
	for _, c := range []struct {
		name string
		step func(*story.Story)
		want string
	}{
		{"something that did not happen", func(s *story.Story) { s.Tell(false, "it %s", "rained") }, "step 1: this did not happen: it rained"},
		{"an error", func(s *story.Story) { s.Must(errors.New("no umbrella")) }, "step 1: no umbrella"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			s := story.New(&out)
			s.Begin("one")
			s.Must(nil)
			s.Tell(true, "before")
			c.step(s)
			s.Tell(true, "after")
			s.Begin("two")
			if s.Err() == nil || s.Err().Error() != c.want {
				t.Errorf("the story ends with %v, want %q", s.Err(), c.want)
			}
			if got := out.String(); got != "\n1. one\n   before\n" {
				t.Errorf("it told %q", strings.TrimSpace(got))
			}
		})
	}
}
