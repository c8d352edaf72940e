package proof_test

import (
	"io"
	"net"
	"sync"
	"testing"
)

// A cut says where a connection ends.
type cut struct {
	answer bool // count bytes of the answer, and not of the request
	after  int  // so many bytes
}

// A trace is what a connection has carried, as far as the proxy saw it.
type trace struct {
	request, answer []byte
}

// A proxy passes TCP connections on to a server, one request each, and cuts
// those that it is told to cut.
type proxy struct {
	listener net.Listener
	server   string

	mu   sync.Mutex
	next *cut
	last chan trace // one for each connection, when it is over
}

func newProxy(t *testing.T, server string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	good(t, err)
	p := &proxy{listener: l, server: server, last: make(chan trace, 16)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.pass(c.(*net.TCPConn))
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return p
}

func (p *proxy) url() string { return "http://" + p.listener.Addr().String() }

// cutNext cuts the next connection, and no other.
func (p *proxy) cutNext(c cut) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = &c
}

// pass serves one connection to its end.
func (p *proxy) pass(client *net.TCPConn) {
	p.mu.Lock()
	c := p.next
	p.next = nil
	p.mu.Unlock()
	var seen trace
	defer func() { p.last <- seen }()
	defer client.Close()
	dialled, err := net.Dial("tcp", p.server)
	if err != nil {
		return
	}
	server := dialled.(*net.TCPConn)
	defer server.Close()
	reset := func() {
		_ = server.SetLinger(0)
		_ = client.SetLinger(0)
	}

	if c != nil && !c.answer {
		seen.request = make([]byte, c.after)
		n, _ := io.ReadFull(client, seen.request)
		_, _ = server.Write(seen.request[:n])
		reset()
		return
	}
	uploaded := make(chan struct{})
	go func() { // until the connection is closed
		defer close(uploaded)
		_, _ = io.Copy(io.MultiWriter(server, writer(func(b []byte) { seen.request = append(seen.request, b...) })), client)
	}()
	// The server closes the connection behind its answer: no client here keeps
	// it alive.
	seen.answer, _ = io.ReadAll(server)
	if c != nil {
		_, _ = client.Write(seen.answer[:min(c.after, len(seen.answer))])
		reset()
	} else {
		_, _ = client.Write(seen.answer)
	}
	client.Close()
	<-uploaded
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }
