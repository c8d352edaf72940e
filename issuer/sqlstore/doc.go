// Package sqlstore keeps sessions in SQLite, PostgreSQL or MySQL and MariaDB, on
// database/sql.
package sqlstore
