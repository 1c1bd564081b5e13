-- oldest: 1
-- What the service shows of itself and hears from CRMs. A notice is a hint about one record of a connection, '' about the whole
-- of it; times tells one that came again while it was being read from one that is done.

CREATE TABLE notices (
  conn bigint NOT NULL,
  crm_id {text} NOT NULL,
  times bigint NOT NULL,
  since_us bigint NOT NULL,
  PRIMARY KEY (conn, crm_id)
) {clustered};

CREATE INDEX notices_oldest ON notices (conn, since_us, crm_id);

-- How the holder of each account's lease finds its CRM: written now and then, for people and metrics alone.
CREATE TABLE glances (
  conn bigint PRIMARY KEY,
  at_us bigint NOT NULL,
  state bytea NOT NULL
) {clustered};

-- Tenant files that a process refuses, as it told them last.
CREATE TABLE refusals (
  holder {text} NOT NULL,
  number bigint NOT NULL,
  since_us bigint NOT NULL,
  code {text} NOT NULL,
  place {text} NOT NULL,
  message {text} NOT NULL,
  remedy {text} NOT NULL,
  PRIMARY KEY (holder, number)
) {clustered};

-- Counting dead letters reads this, and not the letters.
CREATE INDEX dead_letters_counted ON dead_letters (tenant, code, id, created_us);

postgresql: ALTER TABLE notices SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
postgresql: ALTER TABLE glances SET (fillfactor = 50);
