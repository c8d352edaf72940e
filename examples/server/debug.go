package main

import (
	"encoding/json"
	"net/http"
	"runtime"
	"runtime/metrics"
)

// debugRuntime answers what the process takes. It is for tests that watch a server
// from outside, and like inspect for loopback only: it tells how busy the server is.
func debugRuntime(w http.ResponseWriter, r *http.Request) {
	if !isLoopback(r.Host) {
		http.Error(w, "this page is for loopback hosts", http.StatusForbidden)
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(map[string]uint64{
		"goroutines":      uint64(runtime.NumGoroutine()),
		"heap_live_bytes": live[0].Value.Uint64(), // as the last collection found it
	})
}
