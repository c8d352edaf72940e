package main

import (
	"errors"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// A store is where the servers keep their sessions.
type store struct {
	sync.Mutex        // one fault at a time
	flag       string // what the servers are told
	kinds      []kind // what can befall it
	proxy      *proxy // nil where nothing lies in between

	program, folder string // of a Redis of this run
	redis           *exec.Cmd
}

// openStore prepares a store: "sqlite:", a file of this run; "redis:", a server of
// this run; or the URL of a server that is there already, which is cut off and not
// killed.
func openStore(where, folder string) (*store, error) {
	s := &store{folder: folder}
	switch where {
	case "sqlite:":
		s.flag = "sqlite:" + filepath.Join(folder, "sessions.db")
		return s, nil
	case "redis:":
		var err error
		if s.program, err = exec.LookPath("redis-server"); err != nil {
			return nil, err
		}
		if err := s.start(); err != nil {
			return nil, err
		}
		s.proxy, err = newProxy(func() (net.Conn, error) { return net.Dial("unix", s.socket()) }, func() {})
		if err != nil {
			s.close()
			return nil, err
		}
		s.flag, s.kinds = "redis://"+s.proxy.address(), []kind{cutStore, cutStore, killStore}
		return s, nil
	}
	u, err := url.Parse(where)
	if err != nil || u.Port() == "" {
		return nil, errors.New("-store: want sqlite:, redis: or the URL of a server with its port")
	}
	server := u.Host
	s.proxy, err = newProxy(func() (net.Conn, error) { return net.Dial("tcp", server) }, func() {})
	if err != nil {
		return nil, err
	}
	u.Host = s.proxy.address()
	s.flag, s.kinds = u.String(), []kind{cutStore, cutStore}
	return s, nil
}

func (s *store) socket() string { return filepath.Join(s.folder, "redis.socket") }

// start starts the Redis, which has on the disk what it has answered.
func (s *store) start() error {
	_ = os.Remove(s.socket()) // of one that was killed
	s.redis = exec.Command(s.program, "--port", "0", "--unixsocket", s.socket(), "--dir", s.folder,
		"--save", "", "--appendonly", "yes", "--appendfsync", "always", "--loglevel", "warning")
	if err := s.redis.Start(); err != nil {
		return err
	}
	for range 300 {
		c, err := net.Dial("unix", s.socket())
		if err == nil {
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(time.Second))
			answer := make([]byte, 64)
			if _, err = c.Write([]byte("PING\r\n")); err == nil {
				n, _ := c.Read(answer)
				if strings.HasPrefix(string(answer[:n]), "+PONG") {
					return nil
				}
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.kill()
	return errors.New("the Redis does not answer")
}

func (s *store) kill() {
	_ = s.redis.Process.Kill() // it runs
	_ = s.redis.Wait()         // and says that it was killed
}

func (s *store) close() {
	if s.proxy != nil {
		s.proxy.close()
	}
	if s.redis != nil {
		s.kill()
	}
}
