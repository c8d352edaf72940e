package main

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tokenloop/tokenloop/internal/chaos"
)

// A witness sees everything that the servers answer and log, and holds it to what
// must never happen. The first violation ends the run.
type witness struct {
	stop func()

	mu         sync.Mutex
	violated   string
	counts     map[string]int
	most       map[string]time.Duration
	successors map[generation]string // the refresh tokens that were seen
	rotations  map[string]uint64     // of each session, as the logs tell
	secrets    map[string]bool       // the parts of tokens that prove something, and keys
}

// A generation of a session has one refresh token.
type generation struct {
	sid string
	n   uint64
}

func newWitness(stop func()) *witness {
	return &witness{
		stop: stop, counts: map[string]int{}, most: map[string]time.Duration{}, successors: map[generation]string{}, rotations: map[string]uint64{}, secrets: map[string]bool{},
	}
}

func (w *witness) count(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[what]++
}

// longest remembers how long something took at most.
func (w *witness) longest(what string, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.most[what] = max(w.most[what], d)
}

// violate says what happened that must not, and ends the run.
func (w *witness) violate(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.violated == "" {
		w.violated = fmt.Sprintf(format, args...)
		w.stop()
	}
}

func (w *witness) violation() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.violated
}

// readRefreshToken reads "rt1.<kid>.<sid>.<generation>.<mac>".
func readRefreshToken(token string) (generation, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 5 || parts[0] != "rt1" {
		return generation{}, false
	}
	n, err := strconv.ParseUint(parts[3], 10, 64)
	return generation{parts[2], n}, err == nil
}

// answered is told of the tokens of an answer, and of the refresh token that was
// presented for them, or "" at a login. There is one refresh token for each
// generation, and from one generation one leads to the next.
func (w *witness) answered(presented, refresh, access string) {
	w.secret(lastPart(refresh))
	w.secret(lastPart(access))
	to, ok := readRefreshToken(refresh)
	if !ok {
		w.violate("an answer of 200 has a refresh token of another form")
		return
	}
	from, ok := readRefreshToken(presented)
	switch {
	case presented == "" && to.n != 0:
		w.violate("a login is answered with generation %d", to.n)
	case presented != "" && (!ok || from.sid != to.sid || to.n != from.n && to.n != from.n+1):
		w.violate("generation %d of session %s is answered with %d of %s", from.n, from.sid, to.n, to.sid)
	}
	w.mu.Lock()
	other, seen := w.successors[to]
	w.successors[to] = refresh
	w.mu.Unlock()
	if seen && other != refresh {
		w.violate("session %s has two refresh tokens of generation %d", to.sid, to.n)
	}
}

// settled is told that a session was seen at a generation with no refresh under
// way. So often it was rotated, or less often where the one who did was killed
// before it told.
func (w *witness) settled(at generation) {
	w.mu.Lock()
	told := w.rotations[at.sid]
	w.mu.Unlock()
	if told > at.n {
		w.violate("session %s is at generation %d and was rotated %d times: a generation had two successors", at.sid, at.n, told)
	}
}

// secret remembers what no log may hold. Words that are shorter than shortest
// prove nothing.
func (w *witness) secret(word string) {
	if len(word) < shortest {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.secrets[word] = true
}

const shortest = 24

// lastPart returns the end of a token, which is what cannot be guessed.
func lastPart(token string) string { return token[strings.LastIndexByte(token, '.')+1:] }

var (
	words     = regexp.MustCompile(`[A-Za-z0-9_-]{24,}`) // shortest
	anyToken  = regexp.MustCompile(`rt1\.[\w-]+\.[\w-]+\.\d+\.[\w-]{24}|eyJ[\w-]{16,}\.[\w-]{24,}\.[\w-]{24}`)
	wasRotate = regexp.MustCompile(`kind=refresh .*sid=(\S+)`)
)

// logged is told of a line that a program wrote.
func (w *witness) logged(name string, line []byte) {
	if w.leaks(name, line) {
		return
	}
	switch {
	case bytes.Contains(line, []byte("kind=lost_write")):
		w.violate("%s has lost a write: a generation had two successors, or none that stayed", name)
	case bytes.Contains(line, []byte("panic")), bytes.Contains(line, []byte("DATA RACE")):
		w.violate("%s logs: %s", name, line)
	case bytes.Contains(line, []byte("kind=late_retry")):
		w.count("lost answers given again after the grace")
	}
	if m := wasRotate.FindSubmatch(line); m != nil {
		w.mu.Lock()
		w.rotations[string(m[1])]++
		w.mu.Unlock()
	}
}

// leaks reports whether there is a secret in line, which is a violation.
func (w *witness) leaks(name string, line []byte) bool {
	found := anyToken.Match(line) || bytes.Contains(line, []byte(chaos.Password)) || bytes.Contains(line, []byte("PRIVATE KEY"))
	w.mu.Lock()
	for _, word := range words.FindAll(line, -1) {
		found = found || w.secrets[string(word)]
	}
	w.mu.Unlock()
	if found {
		w.violate("%s logs a secret", name) // and here it is not shown
	}
	return found
}

// A logFile is where a program writes. Everything is looked at line by line, and
// once more at the end, when all secrets are known.
type logFile struct {
	w    *witness
	name string
	file *os.File

	mu   sync.Mutex
	rest []byte // the beginning of a line
}

func newLogFile(w *witness, name, path string) (*logFile, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return &logFile{w: w, name: name, file: file}, nil
}

func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, p...)
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
		if !ok {
			break
		}
		l.w.logged(l.name, line)
		l.rest = rest
	}
	l.rest = bytes.Clone(l.rest)
	return l.file.Write(p)
}

// close looks at everything again, and returns how many bytes there are.
func (l *logFile) close() (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.file.Close()
	all, err := os.ReadFile(l.file.Name())
	for line := range bytes.Lines(all) {
		l.w.leaks(l.name, line)
	}
	return len(all), err
}
