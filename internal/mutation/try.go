package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// keeps is a file that is added to each package with checks. A check's condition
// becomes (condition && mutationKeeps(number)).
const keeps = `package %s

import (
	"os"
	"strconv"
	"sync/atomic"
)

var (
	mutationRemoved, _ = strconv.Atoi(os.Getenv("MUTATION_REMOVED"))
	mutationNotes, _   = os.OpenFile(os.Getenv("MUTATION_NOTES"), os.O_APPEND|os.O_WRONLY, 0)
	mutationNoted      [1 << 12]atomic.Bool // which allocates nothing: tests count
)

func mutationKeeps(number int) bool {
	if !mutationNoted[number].Load() && !mutationNoted[number].Swap(true) {
		mutationNotes.WriteString(strconv.Itoa(number) + "\n")
	}
	return number != mutationRemoved
}
`

// try runs the tests of a package without each of the checks that none has noticed
// yet, and tells of each of these when it is done.
func try(root, pkg string, checks []*check, workers int, tell func(*check)) error {
	dir, err := os.MkdirTemp("", "mutation")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &binary{path: filepath.Join(dir, "tests"), cwd: filepath.Join(root, pkg)}
	if err := b.build(root, dir, pkg, checks); err != nil {
		return err
	}

	names, err := b.run(0, "", "-test.list=.")
	if err != nil {
		return fmt.Errorf("list the tests: %w", err)
	}
	tests := strings.Fields(string(names))
	noticing := make([][]string, len(checks)+1) // the tests in which a check's condition was true
	trues := map[string]int{}                   // how many checks that are, by the test
	var mu sync.Mutex
	err = each(workers, tests, func(name string) error {
		notes := filepath.Join(dir, name)
		if err := os.WriteFile(notes, nil, 0o600); err != nil {
			return err
		}
		if out, err := b.run(0, notes, "-test.run=^"+name+"$"); err != nil {
			return fmt.Errorf("%s fails with nothing removed:\n%s", name, out)
		}
		noted, err := os.ReadFile(notes)
		if err != nil {
			return err
		}
		numbers := strings.Fields(string(noted))
		slices.Sort(numbers)
		mu.Lock()
		defer mu.Unlock()
		for _, number := range slices.Compact(numbers) { // a test may have processes of its own
			n, err := strconv.Atoi(number)
			if err != nil || n >= len(noticing) {
				return fmt.Errorf("%s noted %q", name, number)
			}
			noticing[n] = append(noticing[n], name)
			trues[name]++
		}
		return nil
	})
	if err != nil {
		return err
	}

	numbers := make([]int, len(checks))
	for i := range numbers {
		numbers[i] = i + 1
	}
	return each(workers, numbers, func(n int) error {
		if checks[n-1].caught != "" {
			return nil
		}
		defer tell(checks[n-1])
		slices.SortFunc(noticing[n], func(a, b string) int { // the one that is most about this check comes first
			return cmp.Or(cmp.Compare(trues[a], trues[b]), cmp.Compare(a, b))
		})
		for _, name := range noticing[n] {
			out, err := b.fails(n, name)
			if err == nil {
				continue
			}
			checks[n-1].caught = name
			if m := failing.FindSubmatch(out); m != nil {
				checks[n-1].caught = string(m[1])
			}
			return nil
		}
		return nil
	})
}

// fails returns the error of a test without the check of that number, and what it
// wrote. One that fails counts when it fails again: there are some that a busy
// machine is too slow for.
func (b *binary) fails(removed int, name string) (out []byte, err error) {
	for range 2 {
		if out, err = b.run(removed, "", "-test.run=^"+name+"$", "-test.failfast"); err == nil {
			break
		}
	}
	return out, err
}

var failing = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)

// each calls do for each of all, several at once, and returns the first error.
func each[T any](workers int, all []T, do func(T) error) error {
	work := make(chan T)
	var group sync.WaitGroup
	var once sync.Once
	var failed error
	for range workers {
		group.Go(func() {
			for one := range work {
				if err := do(one); err != nil {
					once.Do(func() { failed = err })
				}
			}
		})
	}
	for _, one := range all {
		work <- one
	}
	close(work)
	group.Wait()
	return failed
}

// A binary holds the tests of a package.
type binary struct {
	path string
	cwd  string
}

func (b *binary) build(root, dir, pkg string, checks []*check) error {
	type edit struct {
		span   [2]int
		number int
	}
	edits := map[string][]edit{}
	for i, c := range checks {
		path := filepath.Join(root, c.file)
		for _, span := range c.spans {
			edits[path] = append(edits[path], edit{span, i + 1})
		}
	}
	sources := map[string][]byte{}
	for path, edits := range edits {
		s, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name := regexp.MustCompile(`(?m)^package (\w+)`).FindSubmatch(s)[1]
		sources[filepath.Join(filepath.Dir(path), "mutation_keeps.go")] = fmt.Appendf(nil, keeps, name)
		slices.SortFunc(edits, func(a, b edit) int { return b.span[0] - a.span[0] }) // from the back, for the places in front to stay
		for _, e := range edits {
			s = slices.Concat(s[:e.span[0]], fmt.Appendf(nil, "((%s) && mutationKeeps(%d))", s[e.span[0]:e.span[1]], e.number), s[e.span[1]:])
		}
		sources[path] = s
	}
	changed := map[string]string{}
	for path, source := range sources {
		to := filepath.Join(dir, fmt.Sprintf("%d.go", len(changed)))
		if err := os.WriteFile(to, source, 0o600); err != nil {
			return err
		}
		changed[path] = to
	}
	overlay, err := json.Marshal(map[string]any{"Replace": changed})
	if err != nil {
		return err
	}
	plan := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(plan, overlay, 0o600); err != nil {
		return err
	}
	cmd := exec.Command("go", "test", "-c", "-overlay", plan, "-vet=off", "-o", b.path, pkg)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("it does not build: %w\n%s", err, bytes.TrimSpace(out))
	}
	return nil
}

// run runs tests without the check of that number.
func (b *binary) run(removed int, notes string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	// Without a check a test may want all the memory there is: 6 GiB are enough.
	args = append([]string{"-c", `ulimit -v 6291456 2>/dev/null; exec "$0" "$@"`, b.path}, append(args, "-test.timeout=100s")...)
	cmd := exec.CommandContext(ctx, "sh", args...)
	cmd.Dir = b.cwd
	cmd.WaitDelay = 10 * time.Second // for processes of the test's own that outlive it
	cmd.Env = append(os.Environ(), "MUTATION_REMOVED="+strconv.Itoa(removed), "MUTATION_NOTES="+notes)
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrWaitDelay) { // the tests have passed
		err = nil
	}
	return out, err
}
