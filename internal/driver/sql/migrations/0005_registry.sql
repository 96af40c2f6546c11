-- +goose Up

-- What registries hold. A row beneath a repository carries its tenant by the repository's number: there may be
-- millions of tags, and a number costs each of them a tenth of what tenant and registry cost.
create table registries (
  tenant   text   not null,
  key      text   not null,           -- the id, case-folded
  id       text   not null,
  name_key text   not null,           -- the name, case-folded
  created  bigint not null,
  primary key (tenant, key),
  unique (tenant, name_key)
);

create table repositories (
  number   integer primary key,
  tenant   text    not null,
  registry text    not null,          -- the registry's key
  name     text    not null,
  unique (tenant, registry, name),
  foreign key (tenant, registry) references registries (tenant, key) on delete cascade
);

create table manifests (
  repository    bigint not null references repositories (number) on delete cascade,
  digest        text   not null,
  media_type    text   not null,
  size          bigint not null,
  subject       text,                 -- the digest that it refers to
  artifact_type text   not null,
  pushed        bigint not null,
  body          blob   not null,
  primary key (repository, digest)
);
create index manifests_by_subject on manifests (repository, subject) where subject is not null;

-- What a manifest names: its config, layers and children. Collection reads it backwards.
create table manifest_references (
  repository bigint not null,
  manifest   text   not null,
  digest     text   not null,
  primary key (repository, manifest, digest),
  foreign key (repository, manifest) references manifests (repository, digest) on delete cascade
) without rowid;
create index manifest_references_by_digest on manifest_references (repository, digest);

create table tags (
  repository bigint not null,
  name_key   text   not null,         -- the name, case-folded: lists are in its order
  name       text   not null,
  digest     text   not null,
  updated    bigint not null,
  primary key (repository, name_key, name),
  foreign key (repository, digest) references manifests (repository, digest) on delete cascade
) without rowid;
create index tags_by_digest on tags (repository, digest);
create index tags_by_time on tags (repository, updated);

-- Which repository holds which blob. The bytes lie once per digest with the content driver; those that no row names are
-- nobody's.
create table repository_blobs (
  repository bigint not null references repositories (number) on delete cascade,
  digest     text   not null,
  size       bigint not null,
  primary key (repository, digest)
) without rowid;
create index repository_blobs_by_digest on repository_blobs (digest);

create table uploads (
  id         text   not null primary key,
  repository bigint not null references repositories (number) on delete cascade,
  started    bigint not null
);
create index uploads_by_repository on uploads (repository);
create index uploads_by_start on uploads (started);
