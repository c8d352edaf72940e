package refresher_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenloop/tokenloop/refresher"
)

// What is made of secrets shows none of them when it is printed or logged.
func TestPrintingShowsNoSecret(t *testing.T) {
	const canary = "s3cret-canary"
	tokens := refresher.Tokens{AccessToken: canary, RefreshToken: canary}
	memory, split := &refresher.MemoryStore{}, &refresher.SplitStore{Secure: &refresher.MemoryStore{}}
	require.NoError(t, memory.Save(t.Context(), tokens))
	require.NoError(t, split.Save(t.Context(), tokens))
	c := refresher.Config{
		Origins: []string{"https://api.example.com"}, Store: split,
		Source: refresher.ClientCredentials{TokenURL: "https://id.example.com/token", ClientID: "app", ClientSecret: canary},
	}
	tr := newTransport(t, c)
	require.NoError(t, tr.SetTokens(t.Context(), tokens))
	for _, value := range []any{tr, memory, split, c, &c, struct{ Any any }{tr}, tr.Client()} {
		var log bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&log, verb+"\n", value)
		}
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "value", value)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "value", value)
		assert.NotContains(t, log.String(), canary, "%T", value)
		assert.NotContains(t, log.String(), fmt.Sprintf("%x", canary), "%T", value)
	}
	assert.Equal(t, "refresher.Transport([https://api.example.com])", fmt.Sprint(tr))
	assert.Equal(t, "refresher.Transport(nil)", fmt.Sprint((*refresher.Transport)(nil)))
	assert.Equal(t, "refresher.MemoryStore refresher.SplitStore", fmt.Sprint(memory, " ", split))
}

func ExampleTransport_Format() {
	t, err := refresher.New(refresher.Config{Origins: []string{"https://api.example.com"}, Push: true})
	fmt.Printf("%+v %v\n", t, err)
	// Output: refresher.Transport([https://api.example.com]) <nil>
}

func ExampleMemoryStore_Format() {
	fmt.Printf("%+v\n", &refresher.MemoryStore{})
	// Output: refresher.MemoryStore
}

func ExampleSplitStore_Format() {
	fmt.Printf("%+v\n", &refresher.SplitStore{})
	// Output: refresher.SplitStore
}
