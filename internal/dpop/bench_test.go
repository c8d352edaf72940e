package dpop_test

import (
	"fmt"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/tokenloop/tokenloop/internal/dpop"
)

// BenchmarkMemory asks a Memory that holds so many proofs about one more: a look
// at a proof takes as long whether it holds a thousand or a million.
func BenchmarkMemory(b *testing.B) {
	for _, held := range []int{1000, 1_000_000} {
		b.Run(fmt.Sprintf("held=%d", held), func(b *testing.B) {
			now := time.Unix(1e9, 0)
			until := now.Add(time.Minute)
			before := inUse()
			m := dpop.NewMemory(dpop.MaxProofs*2, func() time.Time { return now })
			for i := range held {
				if _, err := m.Use(b.Context(), strconv.Itoa(i), until); err != nil {
					b.Fatal(err)
				}
			}
			size := inUse() - before
			names := make([]string, 1<<12)
			for i := range names {
				names[i] = strconv.Itoa(i * held / len(names)) // used before: the Memory does not grow
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if first, err := m.Use(b.Context(), names[i%len(names)], until); first || err != nil {
					b.Fatal(first, err)
				}
			}
			b.ReportMetric(float64(size)/float64(held), "B/entry")
		})
	}
}

func inUse() uint64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}
