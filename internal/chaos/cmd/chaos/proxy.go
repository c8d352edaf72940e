package main

import (
	"errors"
	"io"
	"net"
	"sync"
)

// A proxy passes TCP connections on, and cuts those that it is told to cut.
type proxy struct {
	listener net.Listener
	dial     func() (net.Conn, error)
	cutting  func() // is called for each connection that was cut

	mu   sync.Mutex
	down bool
	cuts []cut // for the next connections
	open map[net.Conn]bool
}

var errAway = errors.New("there is nothing behind the proxy")

func newProxy(dial func() (net.Conn, error), cutting func()) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: l, dial: dial, cutting: cutting, open: map[net.Conn]bool{}}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.pass(c)
		}
	}()
	return p, nil
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) close() {
	p.listener.Close()
	p.away()
}

// away cuts all connections, and those to come, until back.
func (p *proxy) away() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down, p.cuts = true, nil
	for c := range p.open {
		reset(c)
	}
}

func (p *proxy) back() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down, p.cuts = false, nil
}

// cutNext cuts the next connections.
func (p *proxy) cutNext(cuts []cut) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cuts = append(p.cuts, cuts...)
}

// begin enters a connection, unless it ends here.
func (p *proxy) begin(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		reset(c)
		return false
	}
	p.open[c] = true
	return true
}

func (p *proxy) end(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c)
	c.Close()
}

// next returns how the next connection is cut, or nil.
func (p *proxy) next() *cut {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.cuts) == 0 {
		return nil
	}
	c := p.cuts[0]
	p.cuts = p.cuts[1:]
	return &c
}

func (p *proxy) pass(client net.Conn) {
	if !p.begin(client) {
		return
	}
	defer p.end(client)
	server, err := p.dial()
	if err != nil {
		reset(client)
		return
	}
	if !p.begin(server) {
		return
	}
	defer p.end(server)
	var request, answer io.Reader = client, server
	c := p.next()
	switch {
	case c == nil:
	case c.answer:
		answer = io.LimitReader(server, int64(c.after))
	default:
		request = io.LimitReader(client, int64(c.after))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := io.Copy(server, request)
		if cut := p.cut(request, client, server); cut || err != nil {
			reset(server)
		} else if half, ok := server.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite() // the server is to know that its client has ended
		}
	}()
	_, _ = io.Copy(client, answer) // until one of the two is closed
	p.cut(answer, client, server)
	client.Close()
	server.Close()
	<-done
}

// cut resets both sides when the bytes of limited are used up.
func (p *proxy) cut(limited io.Reader, client, server net.Conn) bool {
	l, ok := limited.(*io.LimitedReader)
	if !ok || l.N > 0 {
		return false
	}
	p.cutting()
	reset(client)
	reset(server)
	return true
}

// reset closes a connection so that the other side gets an error and not an end.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	c.Close()
}
