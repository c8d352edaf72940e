package chaos

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The user and the password of examples/server.
const (
	User     = "alice"
	Password = "correct horse battery staple"
)

// startTime is how long a server may take until it listens.
const startTime = 30 * time.Second

// Root returns the folder of the repository. It needs the go command, and the
// working directory in this module.
func Root(ctx context.Context) (string, error) {
	where := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/tokenloop/tokenloop")
	where.Env = append(os.Environ(), "GOWORK=off")
	root, err := where.Output()
	if err != nil {
		return "", fmt.Errorf("chaos: find the repository: %w", err)
	}
	return strings.TrimSpace(string(root)), nil
}

// Build builds examples/server into a folder, with the flags of go build that are
// given, and returns the path of the program. It needs what Root needs.
func Build(ctx context.Context, folder string, args ...string) (string, error) {
	root, err := Root(ctx)
	if err != nil {
		return "", err
	}
	program := filepath.Join(folder, "server")
	build := exec.CommandContext(ctx, "go", slices.Concat([]string{"build", "-o", program}, args, []string{"./server"})...)
	build.Dir = filepath.Join(root, "examples")
	build.Env = append(os.Environ(), "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("chaos: build examples/server: %w\n%s", err, out)
	}
	return program, nil
}

// A Server is a process of examples/server.
type Server struct {
	URL     string
	process *os.Process
	ended   chan struct{} // closed when the process has ended and its log is written
}

// Start starts a server on a free port and returns it when it listens. What it logs
// goes to log, in parts of any size.
func Start(program string, log io.Writer, args ...string) (*Server, error) {
	cmd := exec.Command(program, append([]string{"-addr", "127.0.0.1:0"}, args...)...)
	cmd.Stderr = log
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd.Stdout = in
	err = cmd.Start()
	in.Close()
	if err != nil {
		return nil, err
	}
	s := &Server{process: cmd.Process, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how a server ends that is killed is no news
		close(s.ended)
	}()
	_ = out.SetReadDeadline(time.Now().Add(startTime))
	line, err := bufio.NewReader(out).ReadString('\n')
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if err != nil || !ok {
		s.Kill()
		return nil, errors.New("chaos: the server did not start; its log says why")
	}
	s.URL = url
	return s, nil
}

// PID is the number of the process.
func (s *Server) PID() int { return s.process.Pid }

// Ended is closed when the process has ended.
func (s *Server) Ended() <-chan struct{} { return s.ended }

// Signal sends a signal.
func (s *Server) Signal(signal os.Signal) error { return s.process.Signal(signal) }

// Kill ends the server without warning, and returns when it has ended.
func (s *Server) Kill() {
	_ = s.process.Kill() // it may have ended by itself
	<-s.ended
}

// Stop lets the server end what it does, and returns when it has ended.
func (s *Server) Stop() {
	_ = s.process.Signal(os.Interrupt)
	select {
	case <-s.ended:
	case <-time.After(startTime):
		s.Kill()
	}
}
