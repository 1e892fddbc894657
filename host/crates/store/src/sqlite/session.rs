//! A session as a row, and back.

use proxywhirl_core::store::StoredSession;
use proxywhirl_core::{MemberId, Timestamp};
use rusqlite::{CachedStatement, Row, params};

use super::row::{integer, natural};

/// Of equal age, those with the smaller number first: the same order after every load.
pub(super) const SELECT: &str = "SELECT session, member, began, used, life FROM sessions ORDER BY used, session";

pub(super) const UPSERT: &str = "
INSERT INTO sessions (session, member, began, used, life) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (session) DO UPDATE SET
    member = excluded.member, began = excluded.began, used = excluded.used, life = excluded.life";

pub(super) const DELETE: &str = "DELETE FROM sessions WHERE session = ?1";

pub(super) fn upsert(statement: &mut CachedStatement<'_>, session: &StoredSession) -> rusqlite::Result<()> {
    statement.execute(params![
        session.session.cast_signed(),
        session.member.0.cast_signed(),
        integer(session.began.as_micros()),
        integer(session.used.as_micros()),
        session.life,
    ])?;
    Ok(())
}

pub(super) fn delete(statement: &mut CachedStatement<'_>, session: u64) -> rusqlite::Result<()> {
    statement.execute([session.cast_signed()])?;
    Ok(())
}

/// The session in a row of [`SELECT`]. Whatever somebody wrote into it: a time that makes no sense ends the session, and
/// a member that there is none binds it to nobody.
pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<StoredSession> {
    Ok(StoredSession {
        session: row.get::<_, i64>(0)?.cast_unsigned(),
        member: MemberId(row.get::<_, i64>(1)?.cast_unsigned()),
        began: Timestamp::from_micros(natural(row, 2)?),
        used: Timestamp::from_micros(natural(row, 3)?),
        life: natural(row, 4)?.try_into().unwrap_or(0),
    })
}
