//go:build race

package middleware_test

// How many hostile requests there are. The race detector makes each cost so much
// that it gets a part of them, and the time is not looked at.
const (
	hostileRequests = 8_000
	hostileOverTCP  = 1_000
	underRace       = true
)
