package password

// Hold takes one of the Concurrency places until release is called.
func (h *Hasher) Hold() (release func()) {
	h.admitted <- struct{}{}
	h.slots <- struct{}{}
	return func() { <-h.slots; <-h.admitted }
}

// WithDummyOf returns h with the dummy hash of another Hasher, or none for nil.
func (h *Hasher) WithDummyOf(other *Hasher) *Hasher {
	changed := *h
	changed.dummy = none{}
	if other != nil {
		changed.dummy = other.dummy
	}
	return &changed
}

// none is a dummy hash that takes no work.
type none struct{ stored }

func (none) matches(string) bool { return false }

// Parse returns what encoded is read as, written again.
func (h *Hasher) Parse(encoded string) (string, error) {
	s, err := h.parse(encoded)
	if err != nil {
		return "", err
	}
	return s.encode(), nil
}
