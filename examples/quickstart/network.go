package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
)

// A network stands between the client and the servers. It counts what passes,
// and can lose the answer to the next refresh after the server has done its
// work, which is the worst moment.
type network struct {
	next      http.Handler
	refreshes atomic.Int64
	refused   atomic.Int64 // answers of 401 by the API
	loseOne   atomic.Bool
}

func (n *network) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	refresh := strings.HasSuffix(r.URL.Path, "/refresh")
	if refresh {
		n.refreshes.Add(1)
	}
	if refresh && n.loseOne.CompareAndSwap(true, false) {
		n.next.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler) // the server closes the connection without an answer
	}
	n.next.ServeHTTP(&counter{w, n}, r)
}

type counter struct {
	http.ResponseWriter
	network *network
}

func (c *counter) WriteHeader(status int) {
	if status == http.StatusUnauthorized {
		c.network.refused.Add(1)
	}
	c.ResponseWriter.WriteHeader(status)
}
