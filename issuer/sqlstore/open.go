package sqlstore

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"time"
)

// OpenSQLite opens the database in file with the driver of that name, which is
// "sqlite" after an import of modernc.org/sqlite: write-ahead log, 5 s of
// patience with other processes, foreign keys, every commit on the disk before
// it is answered, and one connection, since SQLite has one writer. A new file
// can be read by its owner alone. The settings are written as that driver reads them;
// another one may ignore them.
func OpenSQLite(driver, file string) (*sql.DB, error) {
	if file == "" {
		return nil, errors.New("sqlstore: open SQLite: no file is named")
	}
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrPermission) {
		f, err = os.Open(file) // a read-only one can still be looked at
	}
	if err != nil {
		return nil, fmt.Errorf("sqlstore: open SQLite: %w", err)
	}
	f.Close()
	name := "file:" + (&url.URL{Path: file}).EscapedPath() + "?_txlock=immediate&_pragma=busy_timeout(5000)" +
		"&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)"
	db, err := sql.Open(driver, name)
	if err != nil {
		return nil, fmt.Errorf("sqlstore: open SQLite: %w", err)
	}
	SetPool(db, 1)
	return db, nil
}

// SetPool lets db keep up to open connections and keeps them all while they are
// idle. By itself database/sql keeps two and opens the others anew for every
// statement. Of several connections each is replaced after half an hour, so that a
// pool finds its way to a server that has taken over.
func SetPool(db *sql.DB, open int) {
	db.SetMaxOpenConns(open)
	db.SetMaxIdleConns(open)
	if open > 1 {
		db.SetConnMaxLifetime(30 * time.Minute)
	}
}
