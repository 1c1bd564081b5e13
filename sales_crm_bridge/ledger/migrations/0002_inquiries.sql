-- oldest: 1
-- Calls: what became of a command is asked by its message id, and leads are read by whoever holds the account's lease.

CREATE INDEX commands_message ON commands (tenant, message_id, seq);

-- answered_us: 0 while nobody has answered. answer: sealed, since it holds a lead; the row goes when the asker has it, or at until_us.
CREATE TABLE inquiries (
  id {text} PRIMARY KEY,
  conn bigint NOT NULL,
  lead_id {text} NOT NULL,
  asker {text} NOT NULL,
  until_us bigint NOT NULL,
  answered_us bigint NOT NULL DEFAULT 0,
  code {text} NOT NULL DEFAULT '',
  said {text} NOT NULL DEFAULT '',
  answer bytea
);

CREATE INDEX inquiries_open ON inquiries (conn, until_us) WHERE answered_us = 0;
CREATE INDEX inquiries_over ON inquiries (until_us);
