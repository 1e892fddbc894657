-- Hops before a member, when it ends a chain: their URLs with passwords, in the order in which they are passed.
ALTER TABLE members ADD COLUMN via TEXT;
-- The same without passwords, because they tell no members apart; empty for a member that is dialled straight.
ALTER TABLE members ADD COLUMN via_key TEXT NOT NULL DEFAULT '';

DROP INDEX members_key;
CREATE UNIQUE INDEX members_key ON members (scheme, host, port, ifnull(username, ''), username IS NULL, via_key);
