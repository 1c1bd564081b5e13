-- oldest: 1
-- Whether a CRM record is the lead that a parked create asks for: proposed, and what a person decided, who, when and why. A refused
-- pair stays for ever, so that it is not proposed again. ground: a keyed hash of the address that the record had then.
CREATE TABLE matches (
  id {serial},
  conn bigint NOT NULL,
  tenant {text} NOT NULL,
  lead_id {text} NOT NULL,
  crm_id {text} NOT NULL,
  state {text} NOT NULL,
  seq bigint NOT NULL,
  ground {text} NOT NULL,
  since_us bigint NOT NULL,
  decided_us bigint NOT NULL,
  who {text} NOT NULL,
  why {text} NOT NULL,
  ended_us bigint NOT NULL
);

CREATE UNIQUE INDEX matches_pair ON matches (conn, lead_id, crm_id);
CREATE INDEX matches_waiting ON matches (conn, since_us) WHERE state = 'proposed';
CREATE INDEX matches_command ON matches (seq);
CREATE INDEX matches_ended ON matches (ended_us) WHERE state IN ('bound', 'withdrawn');

-- What a person decided of the match that the command waited for: accepted, refused, or bound (the record is the lead's).
ALTER TABLE commands ADD COLUMN matched {text} NOT NULL DEFAULT '';
