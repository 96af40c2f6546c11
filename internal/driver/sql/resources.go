package sql

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/internal/resource"
)

// Resources keeps ARM resources and long-running operations of one tenant; it is a resource.Store and a
// resource.Operations.
type Resources struct {
	db     *DB
	tenant string
}

// NewResources gives the store of a tenant.
func NewResources(db *DB, tenant string) *Resources { return &Resources{db: db, tenant: tenant} }

const resourceColumns = `id, location, kind, tags, sku, identity, properties, sealed, unique_key is not null, etag, created, changed`

// Resource gives one resource; resource.ErrNotFound.
func (s *Resources) Resource(ctx context.Context, id resource.ID) (resource.Resource, error) {
	return s.resource(s.db.read.QueryRowContext(ctx,
		`select `+resourceColumns+` from resources where tenant = $1 and key = $2`, s.tenant, id.Key()))
}

// FindByName gives the resource of a type whose name is unique throughout; resource.ErrNotFound.
func (s *Resources) FindByName(ctx context.Context, resourceType, name string) (resource.Resource, error) {
	return s.resource(s.db.read.QueryRowContext(ctx,
		`select `+resourceColumns+` from resources where tenant = $1 and unique_key = $2`, s.tenant, uniqueKey(resourceType, name)))
}

func (s *Resources) resource(row *sql.Row) (resource.Resource, error) {
	r, err := scanResource(row)
	if errors.Is(err, sql.ErrNoRows) {
		return r, resource.ErrNotFound
	}
	if err != nil {
		return r, fmt.Errorf("reading a resource: %w", err)
	}
	return r, nil
}

// ListResources lists in order of key; see resource.Store.
func (s *Resources) ListResources(ctx context.Context, scope resource.ID, resourceType, after string, limit int) ([]resource.Resource, error) {
	if limit <= 0 {
		limit = -1
	}
	// Everything beneath a scope sorts between "<scope>/" and "<scope>0": '0' is the byte behind '/'.
	prefix := strings.TrimSuffix(scope.Key(), "/")
	rows, err := s.db.read.QueryContext(ctx, `select `+resourceColumns+` from resources
		where tenant = $1 and key > $2 and key < $3 and key > $4 and ($5 = '' or type_key = $5) order by key limit $6`,
		s.tenant, prefix+"/", prefix+"0", after, strings.ToLower(resourceType), limit)
	list, err := collect(rows, err, scanResource)
	if err != nil {
		return nil, fmt.Errorf("listing resources: %w", err)
	}
	return list, nil
}

func scanResource(row scanner) (resource.Resource, error) {
	var r resource.Resource
	var id string
	var tags, sku, identity sql.NullString
	var properties string
	var created, changed int64
	err := row.Scan(&id, &r.Location, &r.Kind, &tags, &sku, &identity, &properties, &r.Sealed, &r.Unique, &r.ETag, &created, &changed)
	if err != nil {
		return resource.Resource{}, err
	}
	r.Properties, r.Created, r.Changed = json.RawMessage(properties), fromMicros(created), fromMicros(changed)
	if sku.Valid {
		r.SKU = json.RawMessage(sku.String)
	}
	if r.ID, err = resource.ParseID(id); err != nil {
		return resource.Resource{}, err
	}
	return r, errors.Join(fromJSON(tags, &r.Tags), fromJSON(identity, &r.Identity))
}

func fromJSON(column sql.NullString, v any) error {
	if !column.Valid {
		return nil
	}
	return json.Unmarshal([]byte(column.String), v)
}

func toJSON(v any, present bool) (sql.NullString, error) {
	if !present {
		return sql.NullString{}, nil
	}
	text, err := json.Marshal(v)
	return sql.NullString{String: string(text), Valid: true}, err
}

// PutResource creates or replaces a resource; see resource.Store.
func (s *Resources) PutResource(ctx context.Context, r resource.Resource, ifMatch string) (resource.Resource, bool, error) {
	r.ETag, r.Changed = uuid.NewString(), fromMicros(micros(time.Now()))
	created := false
	err := s.db.tx(ctx, func(tx *sql.Tx) error {
		var etag string
		var since int64
		err := tx.QueryRowContext(ctx, `select etag, created from resources where tenant = $1 and key = $2`, s.tenant, r.ID.Key()).Scan(&etag, &since)
		created = errors.Is(err, sql.ErrNoRows)
		switch {
		case created && ifMatch != "", err == nil && ifMatch != "" && ifMatch != "*" && ifMatch != etag:
			return resource.ErrChanged
		case created:
			r.Created = r.Changed
		case err != nil:
			return err
		default:
			r.Created = fromMicros(since)
		}
		if err := s.refuseTaken(ctx, tx, r); err != nil {
			return err
		}
		return s.upsert(ctx, tx, r)
	})
	if err != nil {
		return resource.Resource{}, false, fmt.Errorf("storing resource %s: %w", r.ID, err)
	}
	return r, created, nil
}

func (s *Resources) refuseTaken(ctx context.Context, tx *sql.Tx, r resource.Resource) error {
	if !r.Unique {
		return nil
	}
	var n int
	err := tx.QueryRowContext(ctx, `select count(*) from resources where tenant = $1 and unique_key = $2 and key <> $3`,
		s.tenant, uniqueKey(r.ID.Type(), r.ID.Name()), r.ID.Key()).Scan(&n)
	if err == nil && n > 0 {
		return resource.ErrTaken
	}
	return err
}

func (s *Resources) upsert(ctx context.Context, tx *sql.Tx, r resource.Resource) error {
	tags, errTags := toJSON(r.Tags, r.Tags != nil)
	identity, errIdentity := toJSON(r.Identity, r.Identity != nil)
	if err := errors.Join(errTags, errIdentity); err != nil {
		return err
	}
	sku := sql.NullString{String: string(r.SKU), Valid: r.SKU != nil}
	unique := sql.NullString{String: uniqueKey(r.ID.Type(), r.ID.Name()), Valid: r.Unique}
	_, err := tx.ExecContext(ctx, `insert into resources
		(tenant, key, id, type_key, name_key, unique_key, location, kind, tags, sku, identity, properties, sealed, etag, created, changed)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
		on conflict (tenant, key) do update set
		location = excluded.location, kind = excluded.kind, tags = excluded.tags, sku = excluded.sku, identity = excluded.identity,
		properties = excluded.properties, sealed = excluded.sealed, etag = excluded.etag, changed = excluded.changed`,
		s.tenant, r.ID.Key(), r.ID.String(), strings.ToLower(r.ID.Type()), strings.ToLower(r.ID.Name()), unique, r.Location, r.Kind,
		tags, sku, identity, string(r.Properties), r.Sealed, r.ETag, micros(r.Created), micros(r.Changed))
	return err
}

// DeleteResource removes a resource; resource.ErrNotFound.
func (s *Resources) DeleteResource(ctx context.Context, id resource.ID) error {
	return s.db.tx(ctx, func(tx *sql.Tx) error {
		done, err := tx.ExecContext(ctx, `delete from resources where tenant = $1 and key = $2`, s.tenant, id.Key())
		if err != nil {
			return fmt.Errorf("deleting resource %s: %w", id, err)
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, resource.ErrNotFound)
		}
		return nil
	})
}

func uniqueKey(resourceType, name string) string { return strings.ToLower(resourceType + "/" + name) }

const operationColumns = `id, kind, resource, location, caller, status, code, message, created, ended`

// BeginOperation stores a new operation.
func (s *Resources) BeginOperation(ctx context.Context, o resource.Operation) error {
	return s.db.tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `insert into operations (tenant, `+operationColumns+`) values ($1, $2, $3, $4, $5, $6, $7, '', '', $8, 0)`,
			s.tenant, o.ID, o.Kind, o.Resource.String(), o.Location, o.Caller, resource.InProgress, micros(time.Now()))
		if err != nil {
			return fmt.Errorf("storing an operation on %s: %w", o.Resource, err)
		}
		return nil
	})
}

// EndOperation stores the end of an operation; the first end stays.
func (s *Resources) EndOperation(ctx context.Context, o resource.Operation) error {
	return s.db.tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `update operations set status = $1, code = $2, message = $3, ended = $4
			where tenant = $5 and id = $6 and status = $7`,
			o.Status, o.Code, o.Message, micros(time.Now()), s.tenant, o.ID, resource.InProgress)
		if err != nil {
			return fmt.Errorf("ending the operation on %s: %w", o.Resource, err)
		}
		return nil
	})
}

// Operation gives one operation; resource.ErrNotFound.
func (s *Resources) Operation(ctx context.Context, id string) (resource.Operation, error) {
	o, err := scanOperation(s.db.read.QueryRowContext(ctx,
		`select `+operationColumns+` from operations where tenant = $1 and id = $2`, s.tenant, id))
	if errors.Is(err, sql.ErrNoRows) {
		return o, resource.ErrNotFound
	}
	if err != nil {
		return o, fmt.Errorf("reading an operation: %w", err)
	}
	return o, nil
}

// OpenOperations gives the operations of a kind that are in progress, oldest first.
func (s *Resources) OpenOperations(ctx context.Context, kind resource.OperationKind) ([]resource.Operation, error) {
	rows, err := s.db.read.QueryContext(ctx, `select `+operationColumns+` from operations
		where tenant = $1 and status = $2 and kind = $3 order by created, id`, s.tenant, resource.InProgress, kind)
	list, err := collect(rows, err, scanOperation)
	if err != nil {
		return nil, fmt.Errorf("listing open operations: %w", err)
	}
	return list, nil
}

// ForgetOperations removes those that ended before t.
func (s *Resources) ForgetOperations(ctx context.Context, t time.Time) error {
	return s.db.tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `delete from operations where tenant = $1 and status <> $2 and ended < $3`,
			s.tenant, resource.InProgress, micros(t))
		if err != nil {
			return fmt.Errorf("forgetting old operations: %w", err)
		}
		return nil
	})
}

func scanOperation(row scanner) (resource.Operation, error) {
	var o resource.Operation
	var id string
	var created, ended int64
	err := row.Scan(&o.ID, &o.Kind, &id, &o.Location, &o.Caller, &o.Status, &o.Code, &o.Message, &created, &ended)
	if err != nil {
		return resource.Operation{}, err
	}
	o.Created, o.Ended = fromMicros(created), fromMicros(ended)
	o.Resource, err = resource.ParseID(id)
	return o, err
}
