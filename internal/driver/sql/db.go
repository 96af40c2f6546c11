// Package sql keeps the core's metadata in a database through database/sql: SQLite in the data directory today, written
// so that PostgreSQL is a driver away (one query text, $1 parameters, `on conflict … returning`, times as UTC integers
// of microseconds, text that compares bytewise, a tenant in every row). Each core package declares the Store it
// needs; each file here implements one. What the values mean is the core's business.
package sql

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"time"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite" // also registers the driver "sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"fairlead.dev/internal/fault"
)

//go:embed migrations/*.sql
var migrations embed.FS

var (
	// ErrNewer is returned by Open for a database that a newer Fairlead has written.
	ErrNewer = fault.New(fault.Unsupported, "DataNewer", "the database was written by a newer version of Fairlead")
	// ErrFull is returned by every method that writes when the database's disk is full.
	ErrFull = fault.New(fault.Unavailable, "StorageFull", "the disk that holds the data directory is full: nothing can be changed until there is room")
)

// DB is an open database with its schema at the version of this program. Many readers and one writer at a time: SQLite
// takes its write lock when a transaction begins, so two writers queue instead of failing at commit.
type DB struct {
	read  *sql.DB
	write *sql.DB
}

// Open opens the SQLite file at path, making it if need be, and brings its schema up to date. It returns ErrNewer when
// the file's schema is from a newer program, and refuses a file that cannot be written.
func Open(ctx context.Context, path string) (*DB, error) {
	write, err := open(path, "immediate", 1)
	if err != nil {
		return nil, err
	}
	if err := migrate(ctx, write); err != nil {
		return nil, errors.Join(err, write.Close())
	}
	read, err := open(path, "deferred", readers)
	if err != nil {
		return nil, errors.Join(err, write.Close())
	}
	if err := fill(ctx, read, readers); err != nil {
		return nil, errors.Join(err, read.Close(), write.Close())
	}
	return &DB{read: read, write: write}, nil
}

// readers is how many connections read at once.
const readers = 4

// fill opens all connections of a pool, so that the first requests need not, and so that how many files this process
// holds does not depend on what it was asked.
func fill(ctx context.Context, db *sql.DB, n int) error {
	if n == 0 {
		return nil
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("opening a connection to the database: %w", err)
	}
	defer conn.Close() //nolint:errcheck // goes back to the pool
	return errors.Join(conn.PingContext(ctx), fill(ctx, db, n-1))
}

func open(path, lock string, conns int) (*sql.DB, error) {
	dsn := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: url.Values{
		"_pragma": {"journal_mode(wal)", "synchronous(full)", "foreign_keys(1)", "busy_timeout(30000)"},
		"_txlock": {lock},
	}.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("opening database %s: %w", path, err)
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

func migrate(ctx context.Context, db *sql.DB) error {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, dir, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("reading migrations: %w", err)
	}
	have, want, err := provider.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("reading the schema's version: %w", err)
	}
	if have > want {
		return ErrNewer.WithMessage("the database has schema version %d; this Fairlead knows versions up to %d: use the newer Fairlead, or another data directory", have, want)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrating the database: %w", err)
	}
	return nil
}

// Close closes the database.
func (db *DB) Close() error { return errors.Join(db.read.Close(), db.write.Close()) }

// Ping reports whether the database answers.
func (db *DB) Ping(ctx context.Context) error { return db.read.PingContext(ctx) }

// tx runs f in a transaction that may write: it commits when f returns nil and rolls back otherwise. f must not keep
// the Tx.
func (db *DB) tx(ctx context.Context, f func(*sql.Tx) error) (err error) {
	tx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("beginning a transaction: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreDone(tx.Rollback()))
		}
		if e, ok := errors.AsType[*sqlite.Error](err); ok && e.Code()&0xff == sqlite3.SQLITE_FULL {
			err = ErrFull.WithCause(err)
		}
	}()
	if err := f(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	return nil
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

// micros gives a time as it is stored: UTC microseconds since 1970; the zero time is 0.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UTC().UnixMicro()
}

// fromMicros is the inverse of micros.
func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// scanner is what Row and Rows share.
type scanner interface{ Scan(dest ...any) error }

// collect scans every row with scan, closes rows, and reports the first error.
func collect[T any](rows *sql.Rows, err error, scan func(scanner) (T, error)) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // Err below reports what matters
	var out []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}
