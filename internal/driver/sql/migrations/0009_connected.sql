-- +goose Up
create table connected_clusters (
  tenant text not null,
  key    text not null,  -- the id, case-folded
  id     text not null,
  record text not null,  -- JSON, secrets in it sealed
  primary key (tenant, key)
);
