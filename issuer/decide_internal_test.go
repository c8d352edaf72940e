package issuer

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// Every row of the table in the package documentation, at its limits.
func TestDecide(t *testing.T) { // AX-14
	const grace = 30 * time.Second
	key, other := []byte("the key of the rotation"), []byte("another one")
	for _, c := range []struct {
		name  string
		g, c  uint64
		age   time.Duration
		grace time.Duration
		retry []byte
		want  verdict
	}{
		{"the first token, however young", 0, 0, 0, grace, nil, rotate},
		{"the current token, just rotated", 5, 5, 0, grace, nil, young},
		{"the current token, one step before the end of the grace", 5, 5, grace - 1, grace, nil, young},
		{"the current token, at the end of the grace", 5, 5, grace, grace, nil, rotate},
		{"the current token, rotated by a clock that is ahead", 5, 5, -time.Hour, grace, nil, young},
		{"the current token with any key", 5, 5, grace, grace, other, rotate},
		{"the last token, just rotated", 4, 5, 0, grace, nil, concurrent},
		{"the last token, at the end of the grace", 4, 5, grace, grace, nil, concurrent},
		{"the last token, one step later", 4, 5, grace + 1, grace, nil, replay},
		{"the last token, rotated by a clock that is ahead", 4, 5, -time.Hour, grace, nil, concurrent},
		{"the last token, late, with the key", 4, 5, 48 * time.Hour, grace, key, late},
		{"the last token, late, with another key", 4, 5, 48 * time.Hour, grace, other, replay},
		{"the first token, late, with the key", 0, 1, 48 * time.Hour, grace, key, late},
		{"an older token within the grace", 3, 5, 0, grace, nil, replay},
		{"an older token with the key", 3, 5, 0, grace, key, replay},
		{"the very first token, long after", 0, 1 << 40, time.Hour, grace, nil, replay},
		{"a token from the future", 6, 5, 0, grace, nil, ahead},
		{"a token from the far future", 1 << 60, 0, 0, grace, key, ahead},
		{"strict: the current token, just rotated", 5, 5, 0, 0, nil, rotate},
		{"strict: the last token at once", 4, 5, 0, 0, nil, replay},
		{"strict: the last token by a clock that is ahead", 4, 5, -time.Hour, 0, nil, replay},
		{"strict: the last token with the key", 4, 5, 0, 0, key, late},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := time.Unix(1_800_000_000, 0)
			s := &Session{Generation: c.c, RotatedAt: now.Add(-c.age), RetryHash: key}
			assert.Equal(t, c.want, decide(s, c.g, c.retry, now, c.grace, ""))
		})
	}
	s := &Session{Generation: 5, RotatedAt: time.Unix(0, 0)}
	assert.Equal(t, replay, decide(s, 4, nil, time.Unix(1e9, 0), grace, ""), "no key does not match no key")
	assert.Equal(t, replay, decide(s, 4, []byte{}, time.Unix(1e9, 0), grace, ""))
}

// What a BoundRotation changes in that table, in all combinations, and nothing else.
func TestDecideOfBoundSessions(t *testing.T) { // RFC 9700, Section 2.2.2
	const grace = 30 * time.Second
	now, key := time.Unix(1_800_000_000, 0), []byte("the key of the rotation")
	for _, current := range []uint64{0, 1, 5, 1 << 40} {
		for _, g := range []uint64{0, 1, 4, 5, 6, 1<<40 - 1, 1 << 40, 1 << 41} {
			for _, age := range []time.Duration{-time.Hour, 0, grace - 1, grace, grace + 1, 48 * time.Hour} {
				for _, tolerated := range []time.Duration{0, grace} {
					for _, retry := range [][]byte{nil, key, []byte("another one")} {
						s := &Session{Generation: current, RotatedAt: now.Add(-age), RetryHash: key}
						as := func(how BoundRotation) verdict { return decide(s, g, retry, now, tolerated, how) }
						want := map[BoundRotation]verdict{NoRotation: as(""), AnyRetry: as("")}
						switch as("") {
						case rotate:
							want[NoRotation] = stay
						case replay:
							if g == current-1 {
								want[AnyRetry] = late
							}
						}
						for how, v := range want {
							assert.Equal(t, v, as(how), "%s: g %d, c %d, age %v, grace %v, key %q", how, g, current, age, tolerated, retry)
						}
					}
				}
			}
		}
	}
}

// A BoundRotation is for sessions that a thief could not go on with, and no others.
func TestWhichSessionsRotateAsBoundOnes(t *testing.T) {
	bound, unbound := &Session{Confirmation: "jkt:x"}, &Session{}
	for _, how := range []BoundRotation{"", NoRotation, AnyRetry} {
		i := &Issuer{c: Config{BoundSessions: how}}
		assert.Equal(t, how, i.rotation(bound, false))
		assert.Equal(t, how, i.rotation(bound, true))
		assert.Equal(t, how, i.rotation(unbound, true), "who has a secret has proven it")
		assert.Empty(t, i.rotation(unbound, false))
	}
	i := &Issuer{c: Config{InsecureNoRotation: true}}
	assert.Equal(t, NoRotation, i.rotation(unbound, false))
}
