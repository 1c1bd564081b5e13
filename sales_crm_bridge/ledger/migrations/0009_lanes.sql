-- oldest: 1
-- The facts of one connection in their order: the relay takes some of each that waits, however many another one has.
CREATE INDEX outbox_lanes ON outbox (conn, seq);
