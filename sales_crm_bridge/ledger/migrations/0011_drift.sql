-- oldest: 1
-- Fields of the mapping that the CRM no longer has as they were. One row each, opened and closed again; a closed one stays, since it
-- says from which slot another one has inherited what is known.
CREATE TABLE quarantines (
  conn bigint NOT NULL,
  slot {text} NOT NULL,
  cause {text} NOT NULL,
  value {text} NOT NULL,
  field {text} NOT NULL,
  crm_field {text} NOT NULL,
  said {text} NOT NULL,
  file {text} NOT NULL,
  line bigint NOT NULL,
  col bigint NOT NULL,
  opened_us bigint NOT NULL,
  closed_us bigint NOT NULL,
  reread_us bigint NOT NULL,
  heir {text} NOT NULL,
  PRIMARY KEY (conn, slot, cause, value)
) {clustered};

-- Of which kind the mapped fields were when the mapping met them first, as JSON.
CREATE TABLE field_kinds (
  conn bigint NOT NULL PRIMARY KEY,
  mapping {text} NOT NULL,
  kinds {text} NOT NULL
) {clustered};

-- Which of its fields a command waits with: see policy/holding.py.
ALTER TABLE commands ADD COLUMN held {text} NOT NULL DEFAULT '';
CREATE INDEX commands_held ON commands (conn, seq) WHERE state = 'held';
CREATE INDEX commands_held_of ON commands (conn, lead_id, seq) WHERE state = 'held';
