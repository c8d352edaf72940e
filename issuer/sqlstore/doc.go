// Package sqlstore keeps the sessions of an issuer in SQLite, PostgreSQL or MySQL
// and MariaDB, on database/sql. Two issuers on one database are one issuer. The
// driver is the caller's choice and import; those named here are the tested ones.
//
//	db, err := sqlstore.OpenSQLite("sqlite", "sessions.db")                    // modernc.org/sqlite
//	db, err := sql.Open("pgx", "postgres://user@host/db?sslmode=verify-full")  // github.com/jackc/pgx/v5/stdlib
//	db, err := sql.Open("mysql", "user:password@tcp(host:3306)/db?tls=true")   // github.com/go-sql-driver/mysql
//	...
//	sqlstore.SetPool(db, 16) // not for OpenSQLite, which has done it
//	store, err := sqlstore.New(sqlstore.Config{DB: db, Dialect: sqlstore.PostgreSQL})
//	...
//	err = store.Migrate(ctx)
//
// database/sql keeps two idle connections by itself and opens the others anew
// for each statement; SetPool keeps all of them.
//
// # Schema
//
// Migrate makes and updates four tables, whose names begin with tokenloop_, in
// the database or the schema that the connection is in. It may be called by all
// processes at each start, and refuses a schema newer than it knows. It needs a
// session of the server for its lock: behind a pool that hands out connections
// by transaction, migrate beside it. Migrations has the files for goose, which
// keeps its own account of them: use one or the other.
//
// Processes of an older version that run already go on with a newer schema, so that
// a version can be rolled out one process after the other. They know nothing of what
// is new: let no session be bound (DPoP and CertificateBound of the issuer) before
// all of them are replaced, or an old one answers its refresh without a proof.
//
// Times are microseconds since 1970 in UTC; the zero time is -62135596800000000.
// Text is compared by its bytes. PostgreSQL refuses text with the character NUL.
// The limits are those of MySQL, for all: 2048 bytes for a subject, 64 KiB for
// other text, 16 MiB for claims. What is longer is an error.
//
// # Isolation
//
// A refresh writes one row in one statement, at the isolation level that the
// server has by default. Logins and revocations are transactions that lock the
// row of their subject first; in PostgreSQL and MySQL they run at read committed.
// What another transaction prevented (SQLSTATE 40001 and 40P01, MySQL 1213, 1205
// and 1020, SQLITE_BUSY) is done again up to 40 times, within the context. After
// that, and when a connection is lost before the answer came, the method returns
// an error: whether it had its effect is not known, and it can be called again.
// A revocation has happened when its method has returned nil, not before.
//
// A machine that vanishes in the middle of a login or a revocation, with its power or
// its network, leaves the row of the subject locked: the user can neither log in nor have
// all sessions revoked until the server finds out, by its defaults hours later. Let it end
// such transactions: with the parameter idle_in_transaction_session_timeout=10s of a
// PostgreSQL connection, or with idle_write_transaction_timeout=10 of a MariaDB one. MySQL
// has neither; there the operating system's TCP keepalive is to be short.
//
// Errors wrap those of the driver, whose type may hold more than its text: the
// Detail of a PostgreSQL error may show values of a row.
//
// # Denials
//
// A Feed keeps the denied access tokens of all processes in one table. As the
// Denylist of an issuer it writes, and nil means that the database has committed
// the denial. Run, in each process that verifies, fills the Denylist of its
// Middleware, so that requests ask the memory alone:
//
//	denied := middleware.NewDenylist(middleware.DenylistOptions{MaxAge: 10 * time.Second})
//	feed, err := sqlstore.NewFeed(sqlstore.FeedConfig{DB: db, Dialect: sqlstore.PostgreSQL, Mirror: denied})
//	...
//	go feed.Run(ctx)
//
// A token that was denied elsewhere is refused one Interval later at most, and the
// time of a query. An Interval is a second by default; with one of 200 ms the median was
// 95 ms and the 99th percentile 200 ms, on each engine. With a connection that
// listens (PostgreSQL; see NewFeed) they were 0.5 ms and 11 ms.
//
// Run reads by number. Numbers are given without a gap and are committed in their
// order, so that none can turn up below one that was read. After a cut Run goes on
// where it was, and where the database has lost denials, as in a fail-over, it
// reads all that are left. A connection that is dead and does not say so is given up
// after five seconds. How long a process may be cut off, and what holds then, is the
// policy of its Denylist.
//
// Denials are rare, one for each logout, and written one after the other: 32
// goroutines that did nothing else wrote 330 (PostgreSQL) to 1,000 (SQLite) a second. A role
// that may only SELECT from tokenloop_denials is enough for a service that verifies.
// What is over is removed by the processes that may DELETE: let issuers Run too.
//
// # Size
//
// A session with an email address, two scopes, a small claim and the user agent
// of a browser took, with indexes, 465 bytes in SQLite and 612 in PostgreSQL, the
// row of its subject included, and 840 in MariaDB without it. This was measured
// with 5,000 sessions, each of a subject of its own.
// 100 million of them are some 60 GB in PostgreSQL, and refreshed every 15
// minutes they are 111,000 refreshes a second: more than one server should
// be asked to write. A refresh and a Revoke name one row by its ID, so sessions
// can be spread over databases by ID; List, Replace and RevokeSubject would then
// have to ask all of them.
//
// A denial took 116 bytes in SQLite, 177 in PostgreSQL and 179 in MariaDB, with
// indexes. It is kept for as long as tokens live and ten minutes more. A million of them
// were read at the start in 2 to 5 seconds, with 2 MB of memory beside the Denylist's own.
//
// A refresh reads one row and updates it, in statements that are prepared once: at
// 85 to 100 % of the rate of bare ones. Among 5 million sessions it took as long as
// among 10 thousand, the slowest hundredth included, in SQLite and PostgreSQL. With Config.IdleTTL of the issuer it
// moves in the index of ends as well, which in PostgreSQL means an entry in every
// index; without, the row is mostly rewritten in its page.
//
// # What ends
//
// With every sixteenth login the store removes a few sessions that ended an hour
// ago or more: see Config.CleanUp. DeleteExpired does so at any time.
//
// # What a fail-over may lose
//
// Commits are as durable as the engine is set to make them. OpenSQLite writes
// each to the disk. A replica that takes over without the last commits of its
// primary (asynchronous replication; synchronous_commit off;
// innodb_flush_log_at_trx_commit other than 1) has forgotten the last logins,
// which must be made again, the last revocations, which must be made again too
// and are the reason to replicate synchronously, and the last rotations: then
// clients hold refresh tokens newer than their rows.
package sqlstore
