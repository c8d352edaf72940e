package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tokenloop/tokenloop/internal/chaos"
	"github.com/tokenloop/tokenloop/issuer"
)

const (
	accessTTL = 20 * time.Second
	grace     = 2 * time.Second
	leeway    = 2 * time.Second
	patience  = 20 * time.Second // for one operation of a client
)

// A world is two servers on one store, and the proxies through which they are
// reached.
type world struct {
	*witness
	program, folder string
	store           *store
	front           *proxy // to one server or the other, in turn
	keys            *proxy // the same, for those who fetch the JWKS
	servers         [2]*node
	turn            atomic.Uint64
	client          *tap
	clientLog       *logFile
	log             *slog.Logger // of the clients

	mu      sync.Mutex
	removed map[string]time.Time // signing keys that no server has any more, and since when
	recent  []used               // access tokens
	denied  []*denial
}

// A node is a server and what replaces it. Whoever holds the lock may start and
// kill it; who holds those of both may write the key file.
type node struct {
	sync.Mutex
	name  string
	clock time.Duration
	log   *logFile

	server atomic.Pointer[chaos.Server] // nil while there is none
	knows  map[string]bool              // the signing keys that it publishes; under the lock of the world
}

// used is an access token that was issued at a time.
type used struct {
	token string
	at    time.Time
}

func newWorld(program, where, folder string, w *witness) (_ *world, err error) {
	o := &world{witness: w, program: program, folder: folder, removed: map[string]time.Time{}}
	defer func() {
		if err != nil {
			_, _ = o.close() // the first error says more
		}
	}()
	for i := range o.servers {
		n := &node{name: string(rune('A' + i)), knows: map[string]bool{}}
		if n.log, err = newLogFile(w, "server "+n.name, o.file("server-"+n.name+".log")); err != nil {
			return nil, err
		}
		o.servers[i] = n
	}
	master := make([]byte, 32)
	rand.Read(master)
	w.secret(hex.EncodeToString(master))
	w.secret(base64.RawURLEncoding.EncodeToString(master))
	if err := os.WriteFile(o.file("master-key"), master, 0o600); err != nil {
		return nil, err
	}
	if _, err := o.writeKey(); err != nil {
		return nil, err
	}
	if o.store, err = openStore(where, folder); err != nil {
		return nil, err
	}
	if o.front, err = newProxy(o.dial, func() { w.count("connections cut") }); err != nil {
		return nil, err
	}
	if o.keys, err = newProxy(o.dial, func() {}); err != nil {
		return nil, err
	}
	if o.clientLog, err = newLogFile(w, "a client", o.file("clients.log")); err != nil {
		return nil, err
	}
	o.log = slog.New(slog.NewTextHandler(o.clientLog, &slog.HandlerOptions{Level: slog.LevelDebug}))
	o.client = &tap{witness: w, minted: o.minted, base: &http.Transport{DisableKeepAlives: true}}
	for _, n := range o.servers {
		if err := o.start(context.Background(), n); err != nil {
			return nil, err
		}
	}
	return o, nil
}

func (o *world) file(name string) string { return filepath.Join(o.folder, name) }

// url is where the clients find the servers, and the name of the issuer.
func (o *world) url() string { return "http://" + o.front.address() }

// dial connects to the servers in turn, to those that are not there as well.
func (o *world) dial() (net.Conn, error) {
	s := o.servers[o.turn.Add(1)%2].server.Load()
	if s == nil {
		return nil, errAway
	}
	u, err := url.Parse(s.URL)
	if err != nil {
		return nil, err
	}
	return net.Dial("tcp", u.Host)
}

// writeKey replaces the signing key in the file and returns its kid.
func (o *world) writeKey() (string, error) {
	data, err := issuer.GenerateKeyPEM(issuer.ES256)
	if err != nil {
		return "", err
	}
	key, err := issuer.ParseKey(data)
	if err != nil {
		return "", err
	}
	next := o.file("next-key.pem")
	return key.ID(), errors.Join(os.WriteFile(next, data, 0o600), os.Rename(next, o.file("key.pem")))
}

// start starts a server, again and again while it cannot, as a supervisor does. The
// caller holds its lock.
func (o *world) start(ctx context.Context, n *node) error {
	data, err := os.ReadFile(o.file("key.pem"))
	if err != nil {
		return err
	}
	key, err := issuer.ParseKey(data)
	if err != nil {
		return err
	}
	for began := time.Now(); ; {
		o.know(n, key.ID())
		s, err := chaos.Start(o.program, n.log,
			"-store", o.store.flag, "-issuer", o.url(), "-alg", issuer.ES256, "-key-file", o.file("key.pem"), "-master-key-file", o.file("master-key"),
			"-access-ttl", accessTTL.String(), "-refresh-ttl", "24h", "-grace", grace.String(), "-leeway", leeway.String(),
			"-clock-offset", n.clock.String(), "-insecure-no-limits")
		if err == nil {
			n.server.Store(s)
			return nil
		}
		if ctx.Err() != nil || time.Since(began) > 2*patience {
			return err
		}
		o.count("starts that failed")
		time.Sleep(50 * time.Millisecond)
	}
}

// kill ends a server. The caller holds its lock.
func (o *world) kill(n *node) {
	if s := n.server.Swap(nil); s != nil {
		s.Kill()
	}
	o.know(n)
}

// know says which keys a server has, and so which keys nobody has any more.
func (o *world) know(n *node, kids ...string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	before := n.knows
	n.knows = map[string]bool{}
	for _, kid := range kids {
		n.knows[kid] = true
		delete(o.removed, kid)
	}
	for kid := range before {
		if !slices.ContainsFunc(o.servers[:], func(n *node) bool { return n.knows[kid] }) {
			o.removed[kid] = time.Now()
		}
	}
}

func (o *world) minted(access string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.recent = append(o.recent, used{access, time.Now()})
}

// befall lets a fault happen, and returns when it is over.
func (o *world) befall(ctx context.Context, f fault) error {
	switch f.kind {
	case killServer:
		n := o.servers[f.server]
		n.Lock()
		defer n.Unlock()
		o.kill(n)
		n.clock = f.clock
		wait(ctx, f.down)
		return o.start(ctx, n)
	case cutWire:
		o.front.cutNext(f.cuts)
	case rotateKey, removeKey:
		for _, n := range o.servers {
			n.Lock()
			defer n.Unlock()
		}
		kid, err := o.writeKey()
		if err != nil {
			return err
		}
		if f.kind == rotateKey {
			return o.hangUp(kid)
		}
		for _, n := range o.servers {
			o.kill(n)
		}
		for _, n := range o.servers {
			if err := o.start(ctx, n); err != nil {
				return err
			}
		}
	case cutKeys:
		o.keys.away()
		wait(ctx, f.down)
		o.keys.back()
	case cutStore, killStore:
		o.store.Lock()
		defer o.store.Unlock()
		o.store.proxy.away()
		defer o.store.proxy.back()
		if f.kind == cutStore {
			wait(ctx, f.down)
			return nil
		}
		o.store.kill()
		wait(ctx, f.down)
		return o.store.start()
	}
	return nil
}

// hangUp tells the servers that there is another key in the file.
func (o *world) hangUp(kid string) error {
	for _, n := range o.servers {
		s := n.server.Load()
		if s == nil {
			continue
		}
		o.mu.Lock()
		n.knows[kid] = true
		o.mu.Unlock()
		if err := s.Signal(syscall.SIGHUP); err != nil {
			return fmt.Errorf("server %s: %w", n.name, err)
		}
	}
	return nil
}

// watch sees to it that no server ends by itself, until ctx is done.
func (o *world) watch(ctx context.Context) {
	for wait(ctx, 100*time.Millisecond) {
		for _, n := range o.servers {
			s := n.server.Load()
			if s == nil {
				continue
			}
			select {
			case <-s.Ended():
				if n.server.Load() == s {
					o.violate("server %s ended by itself", n.name)
				}
			default:
			}
		}
	}
}

// close ends everything that runs, and returns how many bytes were logged.
func (o *world) close() (logged int, err error) {
	var mistakes []error
	for _, n := range o.servers {
		if n == nil {
			continue
		}
		if s := n.server.Swap(nil); s != nil {
			s.Stop()
		}
		size, err := n.log.close()
		logged, mistakes = logged+size, append(mistakes, err)
	}
	for _, p := range []*proxy{o.front, o.keys} {
		if p != nil {
			p.close()
		}
	}
	if o.store != nil {
		o.store.close()
	}
	if o.clientLog != nil {
		size, err := o.clientLog.close()
		logged, mistakes = logged+size, append(mistakes, err)
	}
	return logged, errors.Join(mistakes...)
}

// wait waits, and reports whether ctx is not done.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
	return ctx.Err() == nil
}
