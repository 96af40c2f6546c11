-- +goose Up
create table federations (
  tenant    text   not null,
  principal text   not null,  -- object id
  key       text   not null,  -- the name, case-folded
  name      text   not null,
  issuer    text   not null,
  subject   text   not null,
  audiences text   not null,  -- JSON
  created   bigint not null,
  primary key (tenant, principal, key),
  unique (tenant, principal, issuer, subject),
  foreign key (tenant, principal) references principals (tenant, id) on delete cascade
);
