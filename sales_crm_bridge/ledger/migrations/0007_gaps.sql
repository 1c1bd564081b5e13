-- oldest: 1
-- Who has closed a gap and why, and since when a fact says so (0: none does yet).
ALTER TABLE gaps ADD COLUMN close_told_us bigint NOT NULL DEFAULT 0;
ALTER TABLE gaps ADD COLUMN closed_by {text} NOT NULL DEFAULT '';
ALTER TABLE gaps ADD COLUMN closed_why {text} NOT NULL DEFAULT '';
