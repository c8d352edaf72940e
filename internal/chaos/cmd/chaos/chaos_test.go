package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenloop/tokenloop/internal/chaos"
)

// server is examples/server, built once for all tests.
var server string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		folder, err := os.MkdirTemp("", "tokenloop-chaos-")
		if err == nil {
			defer os.RemoveAll(folder)
			server, err = chaos.Build(context.Background(), folder)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// A short run, on each store that needs nothing but a program of this machine.
func TestAShortRun(t *testing.T) {
	for _, store := range []string{"sqlite:", "redis:"} {
		t.Run(strings.TrimSuffix(store, ":"), func(t *testing.T) {
			if _, err := exec.LookPath("redis-server"); store == "redis:" && err != nil && os.Getenv("TOKENLOOP_TEST_REQUIRE") == "" {
				t.Skip("there is no redis-server")
			}
			var out bytes.Buffer
			err := run([]string{"-server", server, "-store", store, "-duration", "8s", "-clients", "20"}, &out)
			t.Logf("%s", &out)
			if err != nil {
				t.Fatal(err)
			}
			// A run in which nothing happens shows nothing; what a slow machine does not
			// get to in this time, the runs of TestBrokenBuildsAreFound do.
			for _, what := range []string{"calls", "refreshes", "races", "connections cut", "fault: server killed"} {
				if !regexp.MustCompile(`(?m)^ *[1-9]\d*  ` + what + `$`).Match(out.Bytes()) {
					t.Errorf("there are no %q", what)
				}
			}
		})
	}
}

// The same seed means the same faults, and another seed others. Every kind comes up.
func TestTheSchedule(t *testing.T) {
	kinds := slices.Concat(everywhere, []kind{cutStore, killStore})
	one := schedule(1, time.Minute, kinds)
	if !reflect.DeepEqual(one, schedule(1, time.Minute, kinds)) {
		t.Error("the same seed makes another schedule")
	}
	if reflect.DeepEqual(one, schedule(2, time.Minute, kinds)) {
		t.Error("another seed makes the same schedule")
	}
	for i, k := range kinds {
		if !slices.ContainsFunc(one[:len(kinds)], func(f fault) bool { return f.kind == k }) {
			t.Errorf("%q, number %d, is not among the first %d", k, i, len(kinds))
		}
	}
	if last := one[len(one)-1].at; last >= time.Minute || last < 55*time.Second {
		t.Errorf("the last fault is at %v", last)
	}
}

// What no log may hold is found wherever it stands.
func TestASecretInALogIsFound(t *testing.T) {
	const mac, key = "bm90LWEtc2VjcmV0LWp1c3QtYS10ZXN0", "FAKEKEYFAKEKEYFAKEKEYFAKEK"
	refresh := "rt1.k1.c2Vzc2lvbg.0." + mac
	for _, c := range []struct {
		name, line string
		leaks      bool
	}{
		{"a refresh token", "err=" + refresh, true},
		{"its last part", `proof="` + mac + `"`, true},
		{"a retry key", "key=" + key, true},
		{"the password", "tried " + chaos.Password, true},
		{"an access token that nobody has seen", "eyJhbGciOiJFUzI1NiIs.eyJzdWIiOiJhbGljZSJ9eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJlLW9mLWEtdG9rZW4tdGhhdC1pcw", true},
		{"the beginning of a token", "token=eyJhbGciOiJFUzI1NiIs...", false},
		{"a session", "sid=c2Vzc2lvbg kind=refresh", false},
	} {
		w := newWitness(func() {})
		w.answered("", refresh, "")
		w.secret(key)
		w.logged("a server", []byte(c.line))
		if found := w.violation() != ""; found != c.leaks {
			t.Errorf("%s: %q", c.name, w.violation())
		}
		if strings.Contains(w.violation(), mac) {
			t.Errorf("%s: it is shown", c.name)
		}
	}
}

// What contradicts a session is a violation.
func TestTwoSuccessorsAreFound(t *testing.T) {
	token := func(n int, mac string) string { return fmt.Sprintf("rt1.k1.c2Vzc2lvbg.%d.%s", n, mac) }
	for _, c := range []struct {
		name     string
		happens  func(*witness)
		violates bool
	}{
		{"a rotation", func(w *witness) { w.answered(token(0, "a"), token(1, "b"), "") }, false},
		{"a repetition", func(w *witness) {
			w.answered(token(0, "a"), token(1, "b"), "")
			w.answered(token(0, "a"), token(1, "b"), "")
			w.answered(token(1, "b"), token(1, "b"), "")
		}, false},
		{"another token", func(w *witness) {
			w.answered(token(0, "a"), token(1, "b"), "")
			w.answered(token(0, "a"), token(1, "c"), "")
		}, true},
		{"a leap", func(w *witness) { w.answered(token(0, "a"), token(2, "b"), "") }, true},
		{"a step back", func(w *witness) { w.answered(token(1, "b"), token(0, "a"), "") }, true},
		{"another session", func(w *witness) { w.answered("rt1.k1.b3RoZXI.0.a", token(1, "b"), "") }, true},
		{"a login that is none", func(w *witness) { w.answered("", token(1, "b"), "") }, true},
		{"two rotations of one generation", func(w *witness) {
			w.logged("a server", []byte("level=INFO msg=event kind=refresh at=now sub=alice sid=c2Vzc2lvbg address=x"))
			w.settled(generation{"c2Vzc2lvbg", 1})
			w.logged("a server", []byte("level=INFO msg=event kind=refresh at=now sub=alice sid=c2Vzc2lvbg address=x"))
			w.settled(generation{"c2Vzc2lvbg", 1})
		}, true},
		{"rotations and repetitions", func(w *witness) {
			w.logged("a server", []byte("level=INFO msg=event kind=refresh at=now sub=alice sid=c2Vzc2lvbg address=x"))
			w.logged("a server", []byte("level=INFO msg=event kind=repeat at=now sub=alice sid=c2Vzc2lvbg address=x"))
			w.settled(generation{"c2Vzc2lvbg", 1})
		}, false},
		{"a lost write", func(w *witness) { w.logged("a server", []byte("msg=event kind=lost_write sid=c2Vzc2lvbg")) }, true},
	} {
		w := newWitness(func() {})
		if c.happens(w); (w.violation() != "") != c.violates {
			t.Errorf("%s: %q", c.name, w.violation())
		}
	}
}
