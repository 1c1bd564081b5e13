-- oldest: 1
-- An open command is the head of its lead or waits behind it, and stands in one index accordingly: most leads have one command.

CREATE INDEX commands_behind ON commands (conn, lead_id, seq) WHERE open = 1 AND head = 0;

DROP INDEX commands_open;
