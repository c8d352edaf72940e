package exampletest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

// waits are the programs that run until they are interrupted, with the flags that
// keep them apart from what else runs on the machine. All others end by themselves.
var waits = map[string][]string{
	"browser": {"-addr", "localhost:0"}, "chi": {"-addr", "127.0.0.1:0"}, "echo": {"-addr", "127.0.0.1:0"}, "gin": {"-addr", "127.0.0.1:0"},
	"oauth2": nil, "otel": {"-addr", "127.0.0.1:0"}, "server": {"-addr", "127.0.0.1:0"}, "tutorial": {"-addr", "127.0.0.1:0"},
}

// Every program of the examples runs as it is, and ends by itself or says how to end
// it. Each has tests of its own, too.
func TestEveryProgramRuns(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("nothing can be interrupted there")
	}
	listed, err := exec.CommandContext(t.Context(), "go", "list", "-f", `{{if eq .Name "main"}}{{.Dir}} {{len .TestGoFiles}}{{end}}`, "../../...").Output()
	if err != nil || len(listed) == 0 {
		t.Fatalf("there are no programs: %v", err)
	}
	bin := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-o", bin+string(filepath.Separator), "../../...").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for line := range strings.Lines(string(listed)) {
		folder, tests, _ := strings.Cut(strings.TrimSpace(line), " ")
		name := filepath.Base(folder)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tests == "0" {
				t.Error("it has no tests")
			}
			ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
			defer cancel()
			args, stays := waits[name]
			command := exec.CommandContext(ctx, filepath.Join(bin, name), args...)
			command.Dir = t.TempDir() // it leaves nothing where it is run
			if stays {
				untilInterrupted(t, command, curls(t, name, folder))
				return
			}
			switch name {
			case "explain":
				var exit *exec.ExitError
				if out, err := command.CombinedOutput(); !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.HasPrefix(string(out), "usage: explain [flags] TOKEN") {
					t.Errorf("without a token: %v: %s", err, out)
				}
				return
			case "feed":
				needsRedis(t, command)
			}
			var stdout, stderr bytes.Buffer
			command.Stdout, command.Stderr = &stdout, &stderr
			if err := command.Run(); err != nil || stdout.Len() == 0 {
				t.Errorf("%v: it printed %s and %s", err, &stdout, &stderr)
			}
			left, err := os.ReadDir(command.Dir)
			if err != nil || len(left) != 0 {
				t.Errorf("it has left %v, %v", left, err)
			}
		})
	}
}

// curls returns the requests that the documentation of a program says to send to
// 127.0.0.1:8080, which is where it listens by default.
func curls(t *testing.T, name, folder string) []string {
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil && os.Getenv("TOKENLOOP_TEST_REQUIRE") == "" {
		return nil
	}
	told, err := os.ReadFile(filepath.Join(folder, "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	told, _, _ = bytes.Cut(bytes.ReplaceAll(told, []byte("\n//\t"), []byte("\n")), []byte("\npackage main\n"))
	if name == "server" {
		readme, err := os.ReadFile("../../../README.md")
		if err != nil {
			t.Fatal(err)
		}
		told = append(told, readme...)
	}
	return regexp.MustCompile(`(?m)^curl (?:.*\\\n)*.*$`).FindAllString(string(told), -1)
}

// untilInterrupted wants a program to say that Ctrl-C ends it, to answer the requests
// that it says to send, and to be ended by Ctrl-C.
func untilInterrupted(t *testing.T, command *exec.Cmd, curls []string) {
	t.Helper()
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	address := ""
	lines := bufio.NewScanner(stdout)
	for lines.Scan() && !strings.Contains(lines.Text(), "Ctrl-C") {
		if at, ok := strings.CutPrefix(lines.Text(), "listening on http://"); ok {
			address = at
		}
	}
	if !strings.Contains(lines.Text(), "Ctrl-C") {
		t.Error("it does not say how to end it")
	}
	for _, curl := range curls {
		curl = regexp.MustCompile(`(127\.0\.0\.1|localhost):8080`).ReplaceAllLiteralString(curl, address)
		if out, err := exec.Command("sh", "-c", strings.Replace(curl, "curl", "curl -sSf", 1)).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", curl, err, out)
		}
	}
	if err := command.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
	}
	if err := command.Wait(); err != nil {
		t.Errorf("interrupted, it ends with %v", err)
	}
}

// needsRedis tells a program where the Redis of the tests is.
func needsRedis(t *testing.T, command *exec.Cmd) {
	t.Helper()
	where := os.Getenv("TOKENLOOP_TEST_REDIS")
	if where == "" {
		where = "redis://127.0.0.1:6379"
		conn, err := net.Dial("tcp", "127.0.0.1:6379")
		if err != nil {
			if os.Getenv("TOKENLOOP_TEST_REQUIRE") != "" {
				t.Fatal(err)
			}
			t.Skip("no Redis answers")
		}
		conn.Close()
	}
	command.Args = append(command.Args, "-redis", where)
}
