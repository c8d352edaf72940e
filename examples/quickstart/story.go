package main

import (
	"fmt"
	"io"
)

// A story prints numbered steps and stops at the first thing that is not as it
// says.
type story struct {
	out  io.Writer
	step int
	err  error
}

// step begins a part of the story.
func (s *story) begin(title string) {
	if s.err != nil {
		return
	}
	s.step++
	fmt.Fprintf(s.out, "\n%d. %s\n", s.step, title)
}

// tell prints what happened and why, when ok; else it ends the story with it.
func (s *story) tell(ok bool, format string, args ...any) {
	if s.err != nil {
		return
	}
	line := fmt.Sprintf(format, args...)
	if !ok {
		s.err = fmt.Errorf("step %d: this did not happen: %s", s.step, line)
		return
	}
	fmt.Fprintf(s.out, "   %s\n", line)
}

// must ends the story with err, unless that is nil.
func (s *story) must(err error) {
	if s.err == nil && err != nil {
		s.err = fmt.Errorf("step %d: %w", s.step, err)
	}
}
