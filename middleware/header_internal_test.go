package middleware

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A memo has bounds, whatever headers an issuer writes.
func TestTheHeadersThatAreRemembered(t *testing.T) {
	var m headerMemo
	set, h := &keySet{}, &header{}
	m.put(set, strings.Repeat("a", maxMemoBytes+1), h)
	assert.Nil(t, m.current.Load(), "a long header would fill the memory")
	m.put(set, "0", h)
	m.put(set, "0", &header{})
	require.Len(t, m.current.Load().headers, 1, "once is enough")
	for n := range 2 * maxHeaders {
		m.put(set, strconv.Itoa(n), h)
	}
	assert.Len(t, m.current.Load().headers, maxHeaders)
	assert.Same(t, h, m.get(set, "0"), "the common ones came first")
	assert.Nil(t, m.get(set, strconv.Itoa(maxHeaders)))
	assert.Nil(t, m.get(&keySet{}, "0"), "other keys verified nothing yet")
}
