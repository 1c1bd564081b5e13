-- oldest: 1
-- Counts the changes of what tenants are in force and by which files: what was judged by an older number is judged again.
INSERT INTO meta (name, value) VALUES ('tenancy', 0);
