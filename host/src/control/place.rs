//! Where the socket is, and whose: found, claimed, and given back.
//!
//! A process that holds a socket holds a lock on the file beside it for as long as it lives, however it ends. So a
//! socket whose lock is free was left behind and may be replaced, and two processes that start at once never take it
//! from each other, which asking the socket itself could not tell.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use crate::config::Socket;
use crate::socket_file::SocketFile;

/// Gateways of one user on one machine that get a socket without being told where.
const MOST: usize = 64;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
#[error("control socket {}: {reason}", .path.display())]
pub struct PlaceError {
    /// The socket or its directory.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
    /// Whether another gateway has it.
    is_taken: bool,
}

impl PlaceError {
    fn new(path: &Path, reason: impl Into<String>) -> Self {
        // Where a relative one leads is not seen by who reads a log.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self { path, reason: reason.into(), is_taken: false }
    }
}

/// A socket of our own. Given back when dropped.
#[derive(Debug)]
pub struct Claim {
    /// Where it is.
    pub path: PathBuf,
    /// What listens there.
    pub listener: UnixListener,
    file: SocketFile,
    /// Held as long as the socket; the operating system frees it with the process.
    _lock: File,
}

impl Drop for Claim {
    fn drop(&mut self) {
        // What is left behind is replaced by the next one. The lock's file stays: removing it could free another's lock.
        self.file.remove();
    }
}

/// The user's directory for sockets: `$XDG_RUNTIME_DIR/proxywhirl`, or `/tmp/proxywhirl-UID`.
#[must_use]
pub fn directory() -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    runtime.map_or_else(
        || PathBuf::from(format!("/tmp/proxywhirl-{}", rustix::process::geteuid().as_raw())),
        |runtime| runtime.join("proxywhirl"),
    )
}

/// Takes the socket that is configured; none when it is off. Must be called inside a tokio runtime.
///
/// # Errors
/// When the directory is not the user's own, the socket is another gateway's, or the operating system refuses.
pub fn claim(socket: &Socket) -> Result<Option<Claim>, PlaceError> {
    match socket {
        Socket::Off => Ok(None),
        Socket::At(path) => claim_at(path).map(Some),
        Socket::Own => claim_first(&directory()).map(Some),
    }
}

/// The sockets in the user's directory, whether somebody listens or not.
#[must_use]
pub fn known() -> Vec<PathBuf> {
    let directory = directory();
    (1..=MOST).map(|number| numbered(&directory, number)).filter(|path| path.exists()).collect()
}

fn numbered(directory: &Path, number: usize) -> PathBuf {
    directory.join(if number == 1 { "control.sock".to_owned() } else { format!("control-{number}.sock") })
}

fn claim_first(directory: &Path) -> Result<Claim, PlaceError> {
    for number in 1..=MOST {
        match claim_at(&numbered(directory, number)) {
            Err(error) if error.is_taken => {}
            claimed => return claimed,
        }
    }
    Err(PlaceError::new(directory, format!("{MOST} gateways have theirs here already")))
}

fn claim_at(path: &Path) -> Result<Claim, PlaceError> {
    check_directory(directory_of(path))?;
    let failed = |error: std::io::Error| PlaceError::new(path, error.to_string());
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock =
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(lock_path).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let reason = "another gateway has it";
            return Err(PlaceError { is_taken: true, ..PlaceError::new(path, reason) });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    match fs::symlink_metadata(path) {
        Ok(about) if about.file_type().is_socket() => fs::remove_file(path).map_err(failed)?,
        Ok(_) => return Err(PlaceError::new(path, "a file that is no socket is in the way")),
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    let file = SocketFile::at(path).map_err(failed)?;
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(Claim { path: path.to_owned(), listener, file, _lock: lock })
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Why a socket of this path will be refused, as far as that shows before there is a gateway, and whoever its user is: others can
/// enter its directory.
#[must_use]
pub fn exposed(path: &Path) -> Option<PlaceError> {
    let directory = directory_of(path);
    let about = fs::symlink_metadata(directory).ok().filter(Metadata::is_dir)?;
    check_closed(directory, &about).err()
}

/// Makes the directory, or sees that it is the user's and nobody else's.
fn check_directory(directory: &Path) -> Result<(), PlaceError> {
    let failed = |error: std::io::Error| PlaceError::new(directory, error.to_string());
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    // Not through a link: in a directory that everybody may write, such as /tmp, a link may be anybody's.
    let about = fs::symlink_metadata(directory).map_err(failed)?;
    let own = rustix::process::geteuid().as_raw();
    if !about.is_dir() {
        return Err(PlaceError::new(directory, "it is no directory"));
    }
    if about.uid() != own {
        let reason = format!("its directory belongs to user {}, not to you ({own})", about.uid());
        return Err(PlaceError::new(directory, reason));
    }
    check_closed(directory, &about)
}

fn check_closed(directory: &Path, about: &Metadata) -> Result<(), PlaceError> {
    if about.mode() & 0o077 == 0 {
        return Ok(());
    }
    let reason = format!(
        "others can enter its directory (mode {:04o}); it must be 0700, as one is that is not there and made for it",
        about.mode() & 0o7777
    );
    Err(PlaceError::new(directory, reason))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A folder that others cannot enter.
    fn own_folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
        folder
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[tokio::test]
    async fn the_socket_and_its_directory_are_closed_to_others() {
        let home = own_folder();
        let claim = claim_at(&home.path().join("run/control.sock")).unwrap();
        assert_eq!((mode(&claim.path), mode(&home.path().join("run"))), (0o600, 0o700));
        let path = claim.path.clone();
        drop(claim);
        assert!(!path.exists(), "it is given back");
    }

    #[tokio::test]
    async fn a_socket_that_was_left_behind_is_replaced_and_one_in_use_is_not() {
        let home = own_folder();
        let path = home.path().join("control.sock");
        // As a process that was killed leaves it: the socket is there, and nobody holds the lock.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let claim = claim_at(&path).unwrap();
        let error = claim_at(&path).unwrap_err();
        assert!(error.is_taken && error.to_string().ends_with("another gateway has it"), "{error}");
        assert!(std::os::unix::net::UnixStream::connect(&path).is_ok(), "the living one is untouched");
        drop(claim);
    }

    #[tokio::test]
    async fn the_socket_of_another_one_is_left_alone() {
        let home = own_folder();
        let path = home.path().join("control.sock");
        let first = claim_at(&path).unwrap();
        // As whoever tidies up leaves it: nothing is there, the lock neither.
        fs::remove_file(&path).unwrap();
        fs::remove_file(home.path().join("control.sock.lock")).unwrap();
        let second = claim_at(&path).unwrap();
        drop(first);
        assert!(std::os::unix::net::UnixStream::connect(&path).is_ok(), "it is the second one's");
        drop(second);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn the_second_gateway_gets_a_socket_of_its_own() {
        let home = own_folder();
        let (first, second) = (claim_first(home.path()).unwrap(), claim_first(home.path()).unwrap());
        assert!(first.path.ends_with("control.sock") && second.path.ends_with("control-2.sock"));
        drop(first);
        assert!(claim_first(home.path()).unwrap().path.ends_with("control.sock"));
    }

    #[tokio::test]
    async fn a_directory_that_others_can_enter_is_refused() {
        let home = own_folder();
        fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();
        let error = claim_at(&home.path().join("control.sock")).unwrap_err().to_string();
        assert!(error.contains("mode 0755") && error.contains("must be 0700"), "{error}");
        let told = exposed(&home.path().join("control.sock")).map(|error| error.to_string());
        assert_eq!(told, Some(error));
        fs::set_permissions(home.path(), Permissions::from_mode(0o700)).unwrap();
        let places = [home.path().join("control.sock"), home.path().join("run/control.sock")];
        assert!(places.iter().all(|path| exposed(path).is_none()), "what is not there is made");
    }

    #[test]
    fn a_relative_directory_is_told_as_what_it_is() {
        let error = PlaceError::new(directory_of(Path::new("control.sock")), "it is no directory");
        assert_eq!(error.path, std::env::current_dir().unwrap());
    }

    #[tokio::test]
    async fn a_link_to_a_directory_is_refused() {
        let home = own_folder();
        fs::create_dir(home.path().join("real")).unwrap();
        std::os::unix::fs::symlink(home.path().join("real"), home.path().join("link")).unwrap();
        let error = claim_at(&home.path().join("link/control.sock")).unwrap_err().to_string();
        assert!(error.contains("no directory"), "{error}");
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let home = own_folder();
        let path = home.path().join("notes");
        fs::write(&path, "mine").unwrap();
        assert!(claim_at(&path).unwrap_err().to_string().contains("no socket"));
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }
}
