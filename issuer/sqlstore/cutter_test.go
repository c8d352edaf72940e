package sqlstore_test

import (
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	mysqldriver "github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"
)

// A cutter is a proxy in front of a server.
type cutter struct {
	listener net.Listener
	server   string

	// While it is armed it passes on what a client says, and then closes the
	// connection, so that nobody hears the answer.
	armed atomic.Bool

	mu    sync.Mutex
	away  bool                      // nobody is let through
	conns map[net.Conn]*atomic.Bool // whether what is said is thrown away
}

// newCutter returns a cutter in front of the server of source, and the source
// that goes through it.
func newCutter(t *testing.T, driver, source string) (*cutter, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	p := &cutter{listener: l, conns: map[net.Conn]*atomic.Bool{}}
	switch driver {
	case "pgx":
		u, err := url.Parse(source)
		require.NoError(t, err)
		p.server, u.Host = u.Host, l.Addr().String()
		source = u.String()
	case "mysql":
		c, err := mysqldriver.ParseDSN(source)
		require.NoError(t, err)
		p.server, c.Addr = c.Addr, l.Addr().String()
		source = c.FormatDSN()
	}
	go p.serve()
	return p, source
}

func (p *cutter) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		if silent := p.keep(client); silent != nil {
			go p.pass(client, silent)
		}
	}
}

// keep remembers a connection, or closes it while nobody is let through.
func (p *cutter) keep(c net.Conn) (silent *atomic.Bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.away {
		c.Close()
		return nil
	}
	silent = new(atomic.Bool)
	p.conns[c] = silent
	return silent
}

func (p *cutter) drop(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	c.Close()
}

// cut takes the server away, in the middle of whatever is being said, or gives it
// back.
func (p *cutter) cut(away bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away = away
	for c := range p.conns {
		if away {
			c.Close()
		}
	}
}

// silence throws away what is said on the connections that there are, and leaves
// them open, as when a server has died and nobody says so.
func (p *cutter) silence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, silent := range p.conns {
		silent.Store(true)
	}
}

func (p *cutter) pass(client net.Conn, silent *atomic.Bool) {
	defer p.drop(client)
	upstream, err := net.Dial("tcp", p.server)
	if err != nil {
		return
	}
	defer upstream.Close()
	go func() {
		defer client.Close()
		_, _ = io.Copy(client, upstream)
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := client.Read(buffer)
		if err != nil {
			return
		}
		if silent.Load() {
			continue
		}
		cut := p.armed.Load()
		if cut {
			client.Close()
		}
		if _, err := upstream.Write(buffer[:n]); err != nil || cut {
			return
		}
	}
}
