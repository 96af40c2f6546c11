-- +goose Up
create table applications (
  tenant       text   not null,
  object_id    text   not null,
  client_id    text   not null,
  display_name text   not null,
  created      bigint not null,
  primary key (tenant, object_id),
  unique (tenant, client_id)
);

create table client_secrets (
  tenant       text   not null,
  object_id    text   not null,          -- of the application
  key_id       text   not null,
  display_name text   not null,
  hint         text   not null,
  hash         text   not null,
  starts       bigint not null,
  ends         bigint not null,
  primary key (tenant, object_id, key_id),
  foreign key (tenant, object_id) references applications (tenant, object_id) on delete cascade
);

create table principals (
  tenant       text    not null,
  id           text    not null,
  client_id    text    not null,
  display_name text    not null,
  kind         text    not null,
  enabled      boolean not null,
  owner        text    not null,         -- resource id of a managed identity's resource; '' for applications
  owner_key    text,                     -- the same, case-folded; null for applications
  system       boolean not null,
  created      bigint  not null,
  primary key (tenant, id),
  unique (tenant, client_id),
  unique (tenant, owner_key)
);

create table registry_admins (
  tenant       text    not null,
  registry_key text    not null,         -- resource id, case-folded
  registry     text    not null,
  enabled      boolean not null,
  generation   bigint  not null,
  password1    blob    not null,         -- sealed
  password2    blob    not null,         -- sealed
  primary key (tenant, registry_key)
);
