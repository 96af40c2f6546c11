-- +goose Up

-- Which manifest refers to which, with all that a list of them shows. Each kind of list has an index in its order, so that a
-- page is one range of it; the rows are not those of manifests, whose bodies a page would pass over.
create table referrers (
  repository    bigint not null,
  subject       text   not null,      -- the digest that is referred to, which need not be there
  artifact_type text   not null,
  manifest      text   not null,      -- the digest of who refers
  media_type    text   not null,
  size          bigint not null,
  annotations   text   not null,      -- JSON, null for none
  primary key (repository, subject, artifact_type, manifest),
  foreign key (repository, manifest) references manifests (repository, digest) on delete cascade
) without rowid;
create index referrers_by_subject on referrers (repository, subject, manifest);
create index referrers_by_manifest on referrers (repository, manifest);

insert into referrers (repository, subject, artifact_type, manifest, media_type, size, annotations)
select repository, subject, coalesce(nullif(artifact_type, ''), cast(body as text) -> 'config' ->> 'mediaType', ''), digest,
  media_type, size, coalesce(cast(body as text) -> 'annotations', 'null')
from manifests where subject is not null;

drop index manifests_by_subject;
