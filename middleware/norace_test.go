//go:build !race

package middleware_test

// How many hostile requests there are.
const (
	hostileRequests = 100_000
	hostileOverTCP  = 5_000
	underRace       = false
)
