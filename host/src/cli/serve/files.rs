//! What the system lets the process do with files: how many may be open, and whether a crash leaves one.

#[cfg(target_os = "linux")]
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Keeps passwords out of files that a crash would leave, and out of the reach of other processes of the user's: nobody
/// gets an image of the memory, unless that is allowed. Elsewhere than on Linux, what the system does at a crash stays as it is.
pub(super) fn forbid_core_dumps(allowed: bool) {
    #[cfg(target_os = "linux")]
    if !allowed && let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "a crash may leave an image of the memory, which holds passwords");
    }
}

/// Lets the process open as many files as the system allows it, and warns when they are too few for so many clients. The
/// usual limit of 1,024 is for programs that use `select`, and is there to be raised.
pub(super) fn raise_limit(clients: usize) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let allowed = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::debug!(%error, "the limit of open files stays as it is");
            limit.current
        }
    };
    let needed = u64::try_from(clients).unwrap_or(u64::MAX).saturating_mul(2);
    if let Some(allowed) = allowed.filter(|allowed| *allowed < needed) {
        tracing::warn!(allowed, needed, "too few files may be open for gateway.max_connections: raise `ulimit -n`");
    }
}
