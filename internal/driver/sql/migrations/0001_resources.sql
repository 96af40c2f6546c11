-- +goose Up
create table resources (
  tenant     text    not null,
  key        text    not null,           -- the id, case-folded
  id         text    not null,
  type_key   text    not null,           -- the full type, case-folded
  name_key   text    not null,           -- the name, case-folded
  unique_key text,                       -- "type/name", case-folded, when the name must be unique throughout
  location   text    not null,
  kind       text    not null,
  tags       text,                       -- JSON object
  sku        text,                       -- JSON
  identity   text,                       -- JSON
  properties text    not null,           -- JSON object
  sealed     blob,
  etag       text    not null,
  created    bigint  not null,
  changed    bigint  not null,
  primary key (tenant, key),
  unique (tenant, unique_key)
);
create index resources_by_type on resources (tenant, type_key, name_key);

create table operations (
  tenant   text   not null,
  id       text   not null,
  kind     text   not null,
  resource text   not null,              -- resource id
  location text   not null,
  caller   text   not null,              -- object id
  status   text   not null,
  code     text   not null,
  message  text   not null,
  created  bigint not null,
  ended    bigint not null,              -- 0 while in progress
  primary key (tenant, id)
);
create index operations_open on operations (tenant, status, kind, created);
