package password

import (
	"errors"
	"fmt"
	"runtime"
)

// An Algorithm makes hashes of passwords.
type Algorithm string

// The algorithms.
const (
	Argon2id Algorithm = "argon2id" // RFC 9106
	Bcrypt   Algorithm = "bcrypt"
)

// Defaults of Config.
const (
	defaultMemory      = 19 * 1024 // KiB
	defaultTime        = 2
	defaultParallelism = 1
	defaultCost        = 12
	defaultMaxMemory   = 64 * 1024 // KiB
	defaultMinLength   = 8
)

// maxLength is the longest password, in bytes.
const maxLength = 1024

// What Config may ask for, and stored hashes besides.
const (
	minMemory  = 7 * 1024  // KiB; the least that OWASP lists, with 5 passes
	minWork    = 35 * 1024 // memory times passes; likewise
	mostMemory = 1 << 20   // KiB: 1 GiB
	maxTime    = 16
	maxLanes   = 16
	minCost    = 10
	maxCost    = 14
	lowestCost = 4 // of bcrypt itself
)

// A Config describes a Hasher. Its zero value is ready to use.
type Config struct {
	// Algorithm makes new hashes. Those of the other one are still verified.
	// Zero means Argon2id.
	Algorithm Algorithm

	// Memory is what one hash takes, in KiB, for Argon2id alone: 7 MiB at
	// least and 1 GiB at most. Zero means 19 MiB.
	Memory int

	// Time is the number of passes over the memory, for Argon2id alone: 16 at
	// most, and Memory times Time is 35 MiB at least. Zero means 2.
	Time int

	// Parallelism is the number of lanes, for Argon2id alone: 16 at most. A
	// hash keeps as many processors busy. Zero means 1.
	Parallelism int

	// Cost is the binary logarithm of the number of rounds, for Bcrypt alone:
	// 10 to 14. Zero means 12.
	Cost int

	// PreHash gives bcrypt an HMAC of the password, which may then be longer
	// than 72 bytes and hold NUL bytes, for Bcrypt alone. Only this package
	// reads the form of these hashes, which its documentation describes.
	PreHash bool

	// MaxMemory is the most that a stored hash may ask for, in KiB. A hash that
	// asks for more is not verified. It is Memory at least and 1 GiB at most. Zero
	// means 64 MiB, or Memory if that is more.
	MaxMemory int

	// MinLength is the number of characters (Unicode code points) that a new
	// password needs: 8 to 64. Zero means 8 (NIST SP 800-63B).
	MinLength int

	// Concurrency is how many hashes are worked on at once. All together take
	// Concurrency times Memory, or times MaxMemory when stored hashes ask for
	// it, until the garbage collector has freed them. It is 1024 at most. Zero means
	// GOMAXPROCS.
	Concurrency int

	// Queue is how many calls may wait for their turn, each as long as its
	// context lets it. A call beyond them fails at once with ErrBusy. It is 65536 at
	// most. Zero means 16 for each of Concurrency.
	Queue int

	// InsecureAllowLowCost lets Memory, Time and Cost be as low as the
	// algorithm permits. It is for tests, which are slow otherwise.
	InsecureAllowLowCost bool
}

// New checks c and returns its Hasher, or all the mistakes in c at once. It
// starts nothing.
func New(c Config) (*Hasher, error) {
	var mistakes []error
	wrong := func(format string, args ...any) {
		mistakes = append(mistakes, fmt.Errorf("password: "+format, args...))
	}
	within := func(name string, value, least, most int) {
		if value < least || value > most {
			wrong("%s is %d; it is %d to %d", name, value, least, most)
		}
	}

	if c.Algorithm == "" {
		c.Algorithm = Argon2id
	}
	switch c.Algorithm {
	case Argon2id:
		if c.Cost != 0 || c.PreHash {
			wrong("Cost and PreHash are for Bcrypt alone")
		}
		c.Memory = orDefault(c.Memory, defaultMemory)
		c.Time = orDefault(c.Time, defaultTime)
		c.Parallelism = orDefault(c.Parallelism, defaultParallelism)
		within("Time", c.Time, 1, maxTime)
		within("Parallelism", c.Parallelism, 1, maxLanes)
		least, work := max(minMemory, 8*c.Parallelism), minWork
		if c.InsecureAllowLowCost {
			least, work = 8*c.Parallelism, 0 // RFC 9106, Section 3.1
		}
		within("Memory", c.Memory, least, mostMemory)
		if c.Memory >= least && c.Memory <= mostMemory && c.Time >= 1 && c.Time <= maxTime && c.Memory*c.Time < work {
			wrong("Memory times Time is %d KiB; it is %d at least", c.Memory*c.Time, work)
		}
	case Bcrypt:
		if c.Memory != 0 || c.Time != 0 || c.Parallelism != 0 {
			wrong("Memory, Time and Parallelism are for Argon2id alone")
		}
		c.Cost = orDefault(c.Cost, defaultCost)
		least := minCost
		if c.InsecureAllowLowCost {
			least = lowestCost
		}
		within("Cost", c.Cost, least, maxCost)
	default:
		wrong("Algorithm %q is not one of %s and %s", c.Algorithm, Argon2id, Bcrypt)
	}
	least := min(max(c.Memory, 8), mostMemory)
	c.MaxMemory = orDefault(c.MaxMemory, max(defaultMaxMemory, least))
	within("MaxMemory", c.MaxMemory, least, mostMemory)
	c.MinLength = orDefault(c.MinLength, defaultMinLength)
	within("MinLength", c.MinLength, defaultMinLength, 64)
	c.Concurrency = orDefault(c.Concurrency, runtime.GOMAXPROCS(0))
	within("Concurrency", c.Concurrency, 1, 1<<10)
	c.Queue = orDefault(c.Queue, 16*c.Concurrency)
	if c.Concurrency >= 1 && c.Concurrency <= 1<<10 {
		within("Queue", c.Queue, 1, 1<<16)
	}
	if len(mistakes) > 0 {
		return nil, errors.Join(mistakes...)
	}
	h := &Hasher{c: c, admitted: make(chan struct{}, c.Concurrency+c.Queue), slots: make(chan struct{}, c.Concurrency)}
	h.dummy = h.newDummy()
	return h, nil
}

func orDefault(value, otherwise int) int {
	if value == 0 {
		return otherwise
	}
	return value
}
