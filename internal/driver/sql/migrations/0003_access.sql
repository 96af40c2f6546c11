-- +goose Up
create table role_assignments (
  tenant         text   not null,
  key            text   not null,        -- the id, case-folded
  id             text   not null,
  guid           text   not null,
  scope          text   not null,
  scope_key      text   not null,        -- case-folded
  principal_id   text   not null,
  principal_type text   not null,
  role_guid      text   not null,
  description    text   not null,
  created        bigint not null,
  primary key (tenant, key),
  unique (tenant, principal_id, scope_key, role_guid)
);
create index role_assignments_by_scope on role_assignments (tenant, scope_key);
create index role_assignments_by_role on role_assignments (tenant, role_guid);

create table custom_roles (
  tenant      text not null,
  guid        text not null,
  name        text not null,
  name_key    text not null,             -- case-folded
  description text not null,
  permissions text not null,             -- JSON array
  scopes      text not null,             -- JSON array of resource ids
  primary key (tenant, guid),
  unique (tenant, name_key)
);
