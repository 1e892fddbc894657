-- Which session is bound to which member.
CREATE TABLE sessions (
    -- The hash of the session's name. Hashes have 64 bits and no sign: as an integer of SQLite, the upper half is negative.
    session INTEGER PRIMARY KEY,
    -- The identity of the member, likewise.
    member  INTEGER NOT NULL,
    -- Times are microseconds since the Unix epoch.
    began   INTEGER NOT NULL,
    used    INTEGER NOT NULL,
    life    INTEGER NOT NULL
) STRICT;

-- Keys and values of plugins.
CREATE TABLE plugin_keys (
    -- The plugin's name.
    owner   TEXT    NOT NULL,
    key     TEXT    NOT NULL,
    value   BLOB    NOT NULL,
    version INTEGER NOT NULL,
    -- NULL for never.
    expires INTEGER,
    PRIMARY KEY (owner, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX plugin_keys_expiry ON plugin_keys (owner, expires) WHERE expires IS NOT NULL;

CREATE TABLE plugin_owners (
    owner   TEXT    NOT NULL PRIMARY KEY,
    -- The newest version of any of its keys, those that are gone included: so versions go on, and nothing is left of a
    -- key that was deleted.
    version INTEGER NOT NULL,
    -- Bytes of its keys and values together.
    bytes   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
