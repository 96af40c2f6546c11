-- +goose Up
create table workloads (
  tenant text not null,
  key    text not null,  -- the id, case-folded
  id     text not null,
  spec   blob not null,  -- sealed
  state  text not null,  -- JSON
  primary key (tenant, key)
);
