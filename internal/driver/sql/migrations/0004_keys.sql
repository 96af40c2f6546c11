-- +goose Up
create table signing_keys (
  tenant  text   not null,
  id      text   not null,
  created bigint not null,
  sealed  blob   not null,
  primary key (tenant, id)
);
