package refresher

import "fmt"

func (t *Transport) text() string {
	if t == nil {
		return "refresher.Transport(nil)"
	}
	return fmt.Sprintf("refresher.Transport(%v)", t.origins)
}

// Format names the origins that get tokens, for every verb and flag. What else t
// was made of may hold secrets.
func (t *Transport) Format(f fmt.State, _ rune) { fmt.Fprint(f, t.text()) }

func (s *MemoryStore) text() string { return "refresher.MemoryStore" }

// Format says nothing about the tokens, for every verb and flag.
func (s *MemoryStore) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.text()) }

func (s *SplitStore) text() string { return "refresher.SplitStore" }

// Format says nothing about the tokens, for every verb and flag.
func (s *SplitStore) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.text()) }
