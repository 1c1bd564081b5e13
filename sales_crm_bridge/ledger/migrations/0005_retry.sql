-- oldest: 1
-- When a lead that could not be read now may be read again, as far as the holder knows (0: nobody knows): the caller is told.
ALTER TABLE inquiries ADD COLUMN retry_at_us bigint NOT NULL DEFAULT 0;
