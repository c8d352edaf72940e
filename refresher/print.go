package refresher

import "fmt"

// String names the origins that get tokens. What else t was made of may hold
// secrets.
func (t *Transport) String() string {
	if t == nil {
		return "refresher.Transport(nil)"
	}
	return fmt.Sprintf("refresher.Transport(%v)", t.origins)
}

// Format writes String for every verb and flag, "%#v" included.
func (t *Transport) Format(f fmt.State, _ rune) { fmt.Fprint(f, t.String()) }

// String says nothing about the tokens.
func (s *MemoryStore) String() string { return "refresher.MemoryStore" }

// Format writes String for every verb and flag, "%#v" included.
func (s *MemoryStore) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

// String says nothing about the tokens.
func (s *SplitStore) String() string { return "refresher.SplitStore" }

// Format writes String for every verb and flag, "%#v" included.
func (s *SplitStore) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }
