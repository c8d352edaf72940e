package issuer_test

import (
	"testing"

	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/storetest"
)

func TestMemoryStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) issuer.Store { return issuer.NewMemoryStore() })
}
