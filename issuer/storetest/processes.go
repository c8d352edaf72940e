package storetest

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokenloop/tokenloop/issuer"
)

// What a process of RunProcesses is told to do.
const (
	envJob    = "STORETEST_JOB"
	envWhere  = "STORETEST_WHERE"
	envTarget = "STORETEST_TARGET"
	envRounds = "STORETEST_ROUNDS"
)

// RunProcesses holds a store that processes share to its contract: while they race,
// and when they are killed. It starts the binary of the test again, with where in
// the environment, and Work makes the store of it there. store is the same one,
// empty, in this process.
func RunProcesses(t *testing.T, where string, store issuer.Store) {
	for _, c := range []struct {
		name string
		test func(*testing.T, string, issuer.Store)
	}{
		{"one generation has one successor", raceProcesses},
		{"a refresh that is killed loses no session", killRotations},
		{"a login that is killed replaces all or nothing", killLogins},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, where, store) })
	}
}

// Work does the work of a process that RunProcesses has started, and ends it. In all
// others it returns at once. TestMain calls it first:
//
//	func TestMain(m *testing.M) {
//		storetest.Work(open)
//		os.Exit(m.Run())
//	}
//
// open makes the store of the where that RunProcesses was called with.
func Work(open func(where string) (issuer.Store, error)) {
	job := os.Getenv(envJob)
	if job == "" {
		return
	}
	store, err := open(os.Getenv(envWhere))
	if err == nil {
		err = work(context.Background(), job, store)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// work returns an error, or ends the process when its work is done.
func work(ctx context.Context, job string, store issuer.Store) error {
	target := os.Getenv(envTarget)
	switch job {
	case "rotate": // prints each generation that it has reached, for ever
		s, err := store.Get(ctx, target)
		for g := s.Generation; err == nil; g++ {
			var ok bool
			if ok, err = store.Rotate(ctx, target, g, rotationTo(g+1)); err == nil && !ok {
				err = fmt.Errorf("generation %d did not rotate", g)
			}
			if err == nil {
				fmt.Println(g + 1)
			}
		}
		return err
	case "race": // prints the generations that it has won
		rounds, err := strconv.ParseUint(os.Getenv(envRounds), 10, 64)
		if err != nil {
			return err
		}
		var wg sync.WaitGroup
		var failed atomic.Pointer[error]
		for range 8 {
			wg.Go(func() {
				for g := range rounds {
					ok, err := store.Rotate(ctx, target, g, rotationTo(g+1))
					if err != nil {
						failed.Store(&err)
						return
					}
					if ok {
						fmt.Println(g + 1)
					}
				}
			})
		}
		wg.Wait()
		if err := failed.Load(); err != nil {
			return *err
		}
		os.Exit(0)
	case "login": // begins sessions of one subject that replace one another, for ever, and prints them
		for {
			s := session(target)
			if _, err := store.Replace(ctx, s); err != nil {
				return err
			}
			fmt.Println(s.ID)
		}
	}
	return fmt.Errorf("no such job: %s", job)
}

func rotationTo(g uint64) issuer.Rotation {
	return issuer.Rotation{Generation: g, KeyID: "k1", RotatedAt: time.Now()}
}

// process is this binary with a job to do.
func process(t *testing.T, job, where, target string, rounds int) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0])
	c.Env = append(os.Environ(), envJob+"="+job, envWhere+"="+where, envTarget+"="+target, envRounds+"="+strconv.Itoa(rounds))
	return c
}

// raceProcesses has 4 processes of 8 goroutines rotate each generation.
func raceProcesses(t *testing.T, where string, store issuer.Store) {
	s := create(t, store, session("race"))
	rounds := rounds(150)
	var mu sync.Mutex
	won := map[string]int{}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			out, err := process(t, "race", where, s.ID, rounds).Output()
			if err != nil {
				t.Errorf("a process that races: %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, g := range strings.Fields(string(out)) {
				won[g]++
			}
		})
	}
	wg.Wait()
	for g := range rounds {
		if n := won[strconv.Itoa(g+1)]; n != 1 {
			t.Errorf("generation %d has %d successors", g, n)
		}
	}
}

// killRotations kills a process amid its rotations, 40 times.
func killRotations(t *testing.T, where string, store issuer.Store) {
	s := create(t, store, session("kill"))
	for n := range rounds(40) {
		last := killAfter(t, process(t, "rotate", where, s.ID, 0), n)
		reached, err := strconv.ParseUint(last, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		goesOn := false
		for range 2 { // a server may end what it was told before the kill
			got := get(t, store, s.ID)
			if got.Generation < reached || got.Generation > reached+1 {
				t.Fatalf("the session is at generation %d; %d was answered", got.Generation, reached)
			}
			if goesOn, err = store.Rotate(t.Context(), s.ID, got.Generation, rotationTo(got.Generation+1)); err != nil {
				t.Fatal(err)
			}
			if goesOn {
				break
			}
		}
		if !goesOn {
			t.Fatal("the session does not go on")
		}
	}
}

// killLogins kills a process amid its logins: the session before is there or the new
// one, never both and never neither.
func killLogins(t *testing.T, where string, store issuer.Store) {
	const subject = "login"
	for n := range rounds(40) {
		last := killAfter(t, process(t, "login", where, subject, 0), n%7)
		live, err := store.List(t.Context(), subject, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if len(live) != 1 {
			t.Fatalf("%d sessions are live", len(live))
		}
		if live[0].ID == last {
			continue
		}
		if get(t, store, last).RevokedAt.IsZero() {
			t.Fatal("the session before was not replaced")
		}
	}
}

// killAfter kills the process after n more lines than one, and returns its last one.
func killAfter(t *testing.T, c *exec.Cmd, n int) (last string) {
	t.Helper()
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := 0
	for seen := bufio.NewScanner(out); seen.Scan(); lines++ {
		last = seen.Text()
		if lines == n {
			if err := c.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := c.Wait(); err == nil || lines <= n {
		t.Fatalf("the process ended by itself, after %d lines", lines)
	}
	return last
}
