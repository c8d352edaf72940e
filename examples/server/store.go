package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/tokenloop/tokenloop/issuer"
	"github.com/tokenloop/tokenloop/issuer/sqlstore"
)

const (
	startTimeout   = 30 * time.Second // for a database to answer at the start, and to be migrated
	connectTimeout = 5 * time.Second
	connections    = 16 // to a database, at most
)

// A storage is what -store names: where sessions and users live.
type storage struct {
	issuer.Store
	accounts accounts
	name     string                            // for the log, without a password
	keyFile  string                            // keeps the master key beside the sessions; empty where nothing can
	feed     func(issuer.Mirror) (feed, error) // of what is denied; nil where there are no other servers
	limiter  issuer.Limiter                    // counts for all servers; nil where each counts for itself
	replays  replays                           // for all servers; nil where each remembers its own proofs
	brief    bool                              // it ends with the process
	close    func() error
}

// A feed tells all servers on a storage what one of them denies.
type feed interface {
	issuer.Denier
	Run(context.Context) error
}

var errStore = errors.New("want memory:, sqlite:FILE, postgres://..., mysql://..., redis://... or nothing, for a SQLite file of this run")

// openStorage opens what where names and brings its tables up to date. Its errors
// hold no password and have one line.
func openStorage(ctx context.Context, where string, now func() time.Time, log *slog.Logger) (*storage, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	scheme, rest, _ := strings.Cut(where, ":")
	var st *storage
	var err error
	switch {
	case where == "memory:":
		store := issuer.NewMemoryStore()
		st = &storage{Store: store, accounts: newMemoryAccounts(), name: where, brief: true, close: func() error { return nil }}
	case where == "":
		st, err = openTemporary(ctx, now, log)
	case scheme == "sqlite" && rest != "" && !strings.HasPrefix(rest, "//"):
		st, err = openSQLite(ctx, rest, now, log)
	case scheme == "postgres", scheme == "postgresql", scheme == "mysql", scheme == "redis", scheme == "rediss":
		st, err = openURL(ctx, where, now, log)
	default:
		err = errStore
	}
	if err != nil {
		return nil, fmt.Errorf("-store: %w", err)
	}
	return st, nil
}

// openTemporary makes a SQLite file that is removed at the end. Whoever just tries
// the server out has the real thing, and finds nothing of it in the way later.
func openTemporary(ctx context.Context, now func() time.Time, log *slog.Logger) (*storage, error) {
	folder, err := os.MkdirTemp("", "tokenloop-")
	if err != nil {
		return nil, err
	}
	st, err := openSQLite(ctx, filepath.Join(folder, "sessions.db"), now, log)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	closeDB := st.close
	st.brief, st.close = true, func() error { return errors.Join(closeDB(), os.RemoveAll(folder)) }
	return st, nil
}

func openSQLite(ctx context.Context, file string, now func() time.Time, log *slog.Logger) (*storage, error) {
	db, err := sqlstore.OpenSQLite("sqlite", file)
	if err != nil {
		return nil, err
	}
	st, err := onSQL(ctx, db, sqlstore.SQLite, now, log)
	if err != nil {
		return nil, fmt.Errorf("sqlite:%s: %w", file, err)
	}
	st.name, st.keyFile = "sqlite:"+file, file+".master-key"
	return st, nil
}

// openURL opens a database on a server.
func openURL(ctx context.Context, where string, now func() time.Time, log *slog.Logger) (*storage, error) {
	u, err := url.Parse(where)
	if err != nil || u.Host == "" {
		// What url.Parse says holds the URL, and so the password.
		return nil, errors.New("this is no URL like postgres://user:password@host:5432/database; in a password, write what is no letter and no digit as %XX")
	}
	var st *storage
	switch u.Scheme {
	case "mysql":
		var db *sql.DB
		if db, err = openMySQL(u, log); err == nil {
			sqlstore.SetPool(db, connections)
			st, err = onSQL(ctx, db, sqlstore.MySQL, now, log)
		}
	case "redis", "rediss":
		st, err = openRedis(ctx, *u, now, log)
	default:
		var db *sql.DB
		if db, err = openPostgres(where); err == nil {
			sqlstore.SetPool(db, connections)
			st, err = onSQL(ctx, db, sqlstore.PostgreSQL, now, log)
		}
	}
	name := u.Scheme + "://" + u.Host + u.EscapedPath()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, inOneLine(err))
	}
	st.name = name
	return st, nil
}

func openPostgres(where string) (*sql.DB, error) {
	c, err := pgx.ParseConfig(where)
	if err != nil {
		return nil, err
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
	}
	return stdlib.OpenDB(*c), nil
}

// openMySQL gives the driver, which has a form of its own for addresses, the parts
// of a URL. The query holds its parameters, such as tls=true.
func openMySQL(u *url.URL, log *slog.Logger) (*sql.DB, error) {
	port := u.Port()
	if port == "" {
		port = "3306"
	}
	address := u.Hostname()
	if strings.Contains(address, ":") {
		address = "[" + address + "]"
	}
	c, err := mysql.ParseDSN("tcp(" + address + ":" + port + ")/?" + strings.ReplaceAll(u.RawQuery, "/", "%2F"))
	if err != nil {
		return nil, fmt.Errorf("the parameters of the URL: %w", err)
	}
	c.User, c.DBName = u.User.Username(), strings.TrimPrefix(u.Path, "/")
	c.Passwd, _ = u.User.Password()
	if c.DBName == "" {
		return nil, errors.New("the URL names no database: mysql://user:password@host:3306/database")
	}
	if c.Timeout == 0 {
		c.Timeout = connectTimeout
	}
	c.Logger = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// onSQL returns the storage in db, which it closes when there is an error.
func onSQL(ctx context.Context, db *sql.DB, dialect sqlstore.Dialect, now func() time.Time, log *slog.Logger) (*storage, error) {
	store, err := sqlstore.New(sqlstore.Config{DB: db, Dialect: dialect, Now: now})
	if err == nil {
		err = store.Migrate(ctx)
	}
	var users *sqlAccounts
	if err == nil {
		users, err = newSQLAccounts(ctx, db, dialect)
	}
	if err != nil {
		db.Close()
		return nil, err
	}
	denials := func(mirror issuer.Mirror) (feed, error) {
		return sqlstore.NewFeed(sqlstore.FeedConfig{DB: db, Dialect: dialect, Mirror: mirror, Logger: log, Now: now})
	}
	return &storage{Store: store, accounts: users, feed: denials, close: db.Close}, nil
}

// inOneLine returns err as a driver's text, which may have several.
func inOneLine(err error) error { return errors.New(strings.Join(strings.Fields(err.Error()), " ")) }

// keptKey returns the master key in a file, and makes one where there is none. Of
// several processes that do so at once, all get the key of one.
func keptKey(file string) ([]byte, error) {
	if key, err := fileOrRandom("the master key", file, 32); !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	key := make([]byte, 32)
	rand.Read(key)
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*") // for its owner alone
	if err != nil {
		return nil, fmt.Errorf("keep the master key: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(key)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Link(f.Name(), file) // unless it is there by now
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("keep the master key: %w", err)
	}
	return fileOrRandom("the master key", file, 32)
}
