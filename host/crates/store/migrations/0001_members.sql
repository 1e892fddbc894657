-- The members of the pool. Passwords are kept as they are, so the file is for its owner only.
CREATE TABLE members (
    -- The order of joining: an upsert keeps it.
    joined     INTEGER PRIMARY KEY,
    scheme     TEXT    NOT NULL,
    -- An address without brackets, or a name.
    host       TEXT    NOT NULL,
    port       INTEGER NOT NULL,
    -- NULL for a proxy without credentials.
    username   TEXT,
    password   TEXT,
    -- A JSON array of texts.
    tags       TEXT    NOT NULL,
    -- Two letters (ISO 3166-1 alpha-2), or NULL.
    country    TEXT,
    -- unknown, transparent, anonymous or elite.
    anonymity  TEXT    NOT NULL,
    -- Times are microseconds since the Unix epoch.
    added      INTEGER NOT NULL,
    successes  INTEGER NOT NULL,
    failures   INTEGER NOT NULL,
    -- NULL when it was never measured.
    latency_us INTEGER,
    -- 0 when it was never used.
    last_used  INTEGER NOT NULL
) STRICT;

-- What makes two members the same. An empty user name is one, which is why NULL has a column of its own.
CREATE UNIQUE INDEX members_key ON members (scheme, host, port, ifnull(username, ''), username IS NULL);
