-- oldest: 1
-- What became of dead letters: who put one back to work or dropped it, when and why. The message itself is gone with the letter.

CREATE TABLE letters_closed (
  id bigint PRIMARY KEY,
  source {text} NOT NULL,
  tenant {text} NOT NULL,
  lead_id {text} NOT NULL,
  code {text} NOT NULL,
  how {text} NOT NULL,
  who {text} NOT NULL,
  why {text} NOT NULL,
  created_us bigint NOT NULL,
  closed_us bigint NOT NULL
) {clustered};

CREATE INDEX letters_closed_at ON letters_closed (closed_us, id);
