package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tokenloop/tokenloop/internal/chaos"
)

// A watch looks at a server from outside.
type watch struct {
	server  *chaos.Server
	samples []sample
}

// A sample is what the server takes at one moment.
type sample struct {
	resident   float64 // MiB, of which Linux knows; 0 elsewhere
	heap       float64 // MiB, as the last collection left it
	goroutines float64
}

func newWatch(s *chaos.Server) *watch { return &watch{server: s} }

// run takes 300 samples, or one each 100 ms if that is less often, until ctx is done.
func (w *watch) run(ctx context.Context, duration time.Duration) error {
	ticker := time.NewTicker(max(duration/300, 100*time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		s, err := w.sample(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		w.samples = append(w.samples, s)
	}
}

func (w *watch) sample(ctx context.Context) (s sample, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.server.URL+"/debug/runtime", nil)
	if err != nil {
		return s, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	var now struct {
		Goroutines float64 `json:"goroutines"`
		Heap       float64 `json:"heap_live_bytes"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&now); err != nil {
		return s, err
	}
	s = sample{heap: now.Heap / (1 << 20), goroutines: now.Goroutines}
	if data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.server.PID())); err == nil { // else there is no /proc
		_, rest, _ := strings.Cut(string(data), "VmRSS:")
		var kib float64
		if _, err := fmt.Sscan(rest, &kib); err != nil {
			return s, err
		}
		s.resident = kib / 1024
	}
	return s, nil
}

// What may be more in the last third of a run than in the second: a tenth, and what
// depends on the moment. A password is hashed in 19 MiB, which the process keeps for a
// while and a collection finds in use or not.
const (
	growth       = 1.10
	extraProcess = 20
	extraHeap    = 4
	extraCount   = 10
)

// A run below shortest says nothing of growth: it is still about the beginning.
const shortest = 30 * time.Second

// report prints what there was at quiet moments of each third, those of the lowest
// tenth, and returns what has grown, or "".
func (w *watch) report(out io.Writer, length time.Duration) (grown string) {
	fmt.Fprintf(out, "%-14s %10s %10s %10s %10s\n", "", "1st third", "2nd", "3rd", "max")
	for _, row := range []struct {
		name  string
		of    func(sample) float64
		extra float64
	}{
		{"resident MiB", func(s sample) float64 { return s.resident }, extraProcess},
		{"live heap MiB", func(s sample) float64 { return s.heap }, extraHeap},
		{"goroutines", func(s sample) float64 { return s.goroutines }, extraCount},
	} {
		var all []float64
		for _, s := range w.samples {
			all = append(all, row.of(s))
		}
		third := len(all) / 3
		if third == 0 {
			return "nothing is known of the server"
		}
		first, second, last := quiet(all[:third]), quiet(all[third:2*third]), quiet(all[2*third:])
		fmt.Fprintf(out, "%-14s %10.1f %10.1f %10.1f %10.1f\n", row.name, first, second, last, slices.Max(all))
		if length >= shortest && last > second*growth+row.extra && grown == "" {
			grown = fmt.Sprintf("%s grows: %.1f in the second third of the run, %.1f in the last", row.name, second, last)
		}
	}
	return grown
}

// quiet returns what a tenth is below.
func quiet(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/10]
}
