-- oldest: 1
-- The oldest schema number whose code can still work on this one. Statements end with a semicolon at a line's end; a line that
-- begins with "postgresql:" is for PostgreSQL alone. {text} compares by bytes everywhere, {serial} is a key that only grows
-- and is never given twice, {clustered} keeps the rows in the order of their key.

CREATE TABLE meta (
  name {text} PRIMARY KEY,
  value bigint NOT NULL
) {clustered};

INSERT INTO meta (name, value) VALUES ('epoch_floor', 0);

CREATE TABLE leases (
  name {text} PRIMARY KEY,
  holder {text} NOT NULL,
  epoch bigint NOT NULL,
  until_us bigint NOT NULL
) {clustered};

CREATE TABLE connections (
  conn {serial},
  tenant {text} NOT NULL,
  name {text} NOT NULL,
  adapter {text} NOT NULL,
  account {text} NOT NULL,
  facts bigint NOT NULL DEFAULT 0,
  state {text} NOT NULL DEFAULT 'new',
  code {text} NOT NULL DEFAULT '',
  message {text} NOT NULL DEFAULT '',
  remedy {text} NOT NULL DEFAULT '',
  since_us bigint NOT NULL DEFAULT 0,
  UNIQUE (tenant, name)
);

CREATE TABLE tenants (
  tenant {text} PRIMARY KEY,
  text {text} NOT NULL,
  digest {text} NOT NULL,
  accepted_us bigint NOT NULL,
  connection {text} NOT NULL,
  adapter {text} NOT NULL,
  account {text} NOT NULL,
  retired_us bigint NOT NULL,
  conn bigint NOT NULL
);

CREATE TABLE keeps (
  conn bigint PRIMARY KEY,
  sealed bytea NOT NULL
) {clustered};

CREATE TABLE calls (
  conn bigint NOT NULL,
  day {text} NOT NULL,
  made bigint NOT NULL,
  PRIMARY KEY (conn, day)
) {clustered};

CREATE TABLE offsets (
  topic {text} NOT NULL,
  part bigint NOT NULL,
  next_offset bigint NOT NULL,
  PRIMARY KEY (topic, part)
) {clustered};

CREATE TABLE inbox (
  tenant {text} NOT NULL,
  message_id {text} NOT NULL,
  taken_us bigint NOT NULL,
  PRIMARY KEY (tenant, message_id)
) {clustered};

CREATE INDEX inbox_taken ON inbox (taken_us);

-- open: 1 pending, sending or unknown; 0 parked or final. head: 0 not the oldest open command of its lead; 1 the oldest; 2 the
-- oldest, behind a parked one. Only heads are ever tried, so what a round of push costs depends on no queue and no history.
CREATE TABLE commands (
  seq {serial},
  conn bigint NOT NULL,
  tenant {text} NOT NULL,
  message_id {text} NOT NULL,
  lead_id {text} NOT NULL,
  operation {text} NOT NULL,
  payload bytea NOT NULL,
  occurred_us bigint NOT NULL,
  state {text} NOT NULL,
  attempt bigint NOT NULL DEFAULT 0,
  waits bigint NOT NULL DEFAULT 0,
  epoch bigint NOT NULL DEFAULT 0,
  not_before_us bigint NOT NULL DEFAULT 0,
  reason {text} NOT NULL DEFAULT '',
  finished_us bigint NOT NULL DEFAULT 0,
  open bigint NOT NULL DEFAULT 1,
  head bigint NOT NULL DEFAULT 0
);

CREATE INDEX commands_open ON commands (conn, lead_id, seq) WHERE open = 1;
CREATE UNIQUE INDEX commands_head ON commands (conn, lead_id) WHERE head > 0;
CREATE INDEX commands_due ON commands (conn, not_before_us, seq) WHERE head = 1;
CREATE INDEX commands_due_behind ON commands (conn, not_before_us, seq) WHERE head = 2;
CREATE INDEX commands_doubt ON commands (conn, state, seq) WHERE state IN ('sending', 'unknown');
CREATE INDEX commands_parked ON commands (conn, lead_id, seq) WHERE state = 'parked';
CREATE INDEX commands_finished ON commands (finished_us) WHERE finished_us > 0;

CREATE TABLE bindings (
  conn bigint NOT NULL,
  lead_id {text} NOT NULL,
  crm_id {text} NOT NULL,
  state {text} NOT NULL,
  aggregate_version bigint NOT NULL,
  version {text} NOT NULL,
  modified_us bigint NOT NULL,
  known_us bigint NOT NULL,
  fingerprint bytea NOT NULL,
  layout bigint NOT NULL,
  fields bytea NOT NULL,
  sweep bigint NOT NULL,
  heirs bytea NOT NULL,
  PRIMARY KEY (conn, lead_id)
);

CREATE UNIQUE INDEX bindings_crm ON bindings (conn, crm_id) WHERE crm_id <> '';

CREATE TABLE aliases (
  conn bigint NOT NULL,
  crm_id {text} NOT NULL,
  lead_id {text} NOT NULL,
  PRIMARY KEY (conn, crm_id)
) {clustered};

CREATE TABLE layouts (
  layout {serial},
  names {text} NOT NULL UNIQUE
);

CREATE TABLE positions (
  conn bigint NOT NULL,
  feed {text} NOT NULL,
  state bytea NOT NULL,
  PRIMARY KEY (conn, feed)
) {clustered};

CREATE TABLE outbox (
  seq {serial},
  conn bigint NOT NULL,
  message_id {text} NOT NULL,
  fact bytea NOT NULL,
  created_us bigint NOT NULL
);

-- Counting what waits reads this, and not the facts.
CREATE INDEX outbox_waiting ON outbox (conn, created_us);

CREATE TABLE runs (
  conn bigint NOT NULL,
  feed {text} NOT NULL,
  number bigint NOT NULL,
  state {text} NOT NULL,
  started_us bigint NOT NULL,
  finished_us bigint NOT NULL,
  read bigint NOT NULL,
  changed bigint NOT NULL,
  unchanged bigint NOT NULL,
  removed bigint NOT NULL,
  stale bigint NOT NULL,
  code {text} NOT NULL,
  PRIMARY KEY (conn, feed, number)
) {clustered};

CREATE INDEX runs_newest ON runs (conn, started_us);
CREATE INDEX runs_running ON runs (conn, feed, number) WHERE finished_us = 0;
CREATE INDEX runs_finished ON runs (finished_us) WHERE finished_us > 0;

CREATE TABLE gaps (
  id {text} PRIMARY KEY,
  conn bigint NOT NULL,
  feed {text} NOT NULL,
  from_us bigint NOT NULL,
  to_us bigint NOT NULL,
  cause {text} NOT NULL,
  opened_us bigint NOT NULL,
  closed_us bigint NOT NULL,
  told_us bigint NOT NULL
);

CREATE INDEX gaps_open ON gaps (opened_us, id) WHERE closed_us = 0;

CREATE TABLE dead_letters (
  id {serial},
  source {text} NOT NULL UNIQUE,
  tenant {text} NOT NULL,
  lead_id {text} NOT NULL,
  code {text} NOT NULL,
  message {text} NOT NULL,
  remedy {text} NOT NULL,
  key bytea NOT NULL,
  payload bytea NOT NULL,
  headers bytea NOT NULL,
  created_us bigint NOT NULL
);

CREATE INDEX dead_letters_tenant ON dead_letters (tenant, id);

-- Room in a page for the next version of its rows; queues are cleaned by how much has gone, not by how large they once were.
postgresql: ALTER TABLE bindings SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
postgresql: ALTER TABLE commands SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);
postgresql: ALTER TABLE leases SET (fillfactor = 50);
postgresql: ALTER TABLE outbox SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);
