//! Files that are there whole or not at all, and that one process writes at a time.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// What to do about a file that cannot be read.
pub(super) const MOVE_AWAY: &str = "mend it, or move it away to begin with an empty pool; it was left as it is";

/// Writes a file in place of the one before: a temporary file beside it, which takes its name once it is on the disk. Whoever
/// reads meanwhile reads the one before.
///
/// # Errors
/// When it cannot be written; the one before is then untouched.
pub(super) fn replace(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let temporary = beside(path, "tmp");
    let written = fill(path, &temporary, write).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // It takes room that may be what is missing.
        drop(fs::remove_file(&temporary));
    }
    written?;
    sync_folder(path)
}

fn fill(path: &Path, temporary: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let file = private().write(true).create(true).truncate(true).open(temporary)?;
    stay_with(path, &file)?;
    let mut out = BufWriter::new(file);
    write(&mut out)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// Sees that a file can be replaced: makes the temporary file of that, and takes it away again.
///
/// # Errors
/// When it cannot be made.
pub(super) fn try_out(path: &Path) -> io::Result<()> {
    let temporary = beside(path, "tmp");
    let made = fill(path, &temporary, |_| Ok(()));
    made.and(fs::remove_file(&temporary))
}

/// Copies a file that is damaged before it is written: to `pool.jsonl.damaged`, or with a number where there is one already. The copy.
///
/// # Errors
/// When it cannot be written.
pub(super) fn keep_aside(path: &Path) -> io::Result<PathBuf> {
    /// Whoever has so many should look at one of them.
    const MOST: u32 = 100;
    let name = |number: u32| {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(if number == 0 { ".damaged".to_owned() } else { format!(".damaged.{number}") });
        path.with_file_name(name)
    };
    for number in 0..MOST {
        let kept = name(number);
        match private().write(true).create_new(true).open(&kept) {
            Ok(mut file) => {
                let copied =
                    File::open(path).and_then(|mut from| io::copy(&mut from, &mut file)).and_then(|_| file.sync_all());
                if let Err(error) = copied {
                    drop(fs::remove_file(&kept));
                    return Err(error);
                }
                return Ok(kept);
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other(format!("there are {MOST} of them already")))
}

/// Puts a name on the disk: that is kept by its folder.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder(path))?.sync_all() } else { Ok(()) }
}

/// Puts a file that is complete in place of another, which it stays as open to others as.
///
/// # Errors
/// When that cannot be; the other is then untouched.
pub(super) fn put_in_place(complete: &Path, path: &Path) -> io::Result<()> {
    stay_with(path, &File::options().write(true).open(complete)?)?;
    fs::rename(complete, path)?;
    sync_folder(path)
}

/// Makes a file that is to take the place of another one as open to others as that is, and its owner's where one may give it away.
///
/// # Errors
/// When that cannot be.
pub fn stay_with(path: &Path, new: &File) -> io::Result<()> {
    let Ok(before) = fs::metadata(path) else { return Ok(()) };
    if let Err(error) = keep_owner(path, new)
        && error.kind() != ErrorKind::PermissionDenied
    {
        return Err(error);
    }
    // Afterwards: a file that is given away loses some of them.
    new.set_permissions(before.permissions())
}

/// Gives a file that is to take the place of another one to the owner of that: root changes files of the user that the gateway runs as.
///
/// # Errors
/// When that cannot be.
#[cfg(unix)]
pub fn keep_owner(path: &Path, new: &File) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, fchown};
    let (old, own) = (fs::metadata(path)?, new.metadata()?);
    if (old.uid(), old.gid()) != (own.uid(), own.gid()) {
        fchown(new, Some(old.uid()), Some(old.gid()))?;
    }
    Ok(())
}

/// Elsewhere it is left to the folder.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub const fn keep_owner(_: &Path, _: &File) -> io::Result<()> {
    Ok(())
}

/// For files that nobody else may read, because they hold passwords.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

pub(super) fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// `.pool.json.tmp` beside `pool.json`.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".");
    name.push(ending);
    path.with_file_name(name)
}

/// Held by the one process that writes a file. The operating system takes it back when the process ends, however it does; where it
/// ends in order, nothing is left of it.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
}

/// How often a lock is taken anew because the one before was just being put away.
const TRIES: usize = 100;

impl Lock {
    /// Takes the lock of a file.
    ///
    /// # Errors
    /// When another process holds it, or the folder cannot be written; in words for people.
    pub(crate) fn take(path: &Path) -> Result<Self, String> {
        // Beside the file and not the file itself, which is replaced at every save.
        let path = beside(path, "lock");
        for _ in 0..TRIES {
            let opened = private().read(true).write(true).create(true).truncate(false).open(&path);
            let mut file = opened.map_err(|error| refusal(&error))?;
            match file.try_lock() {
                // What is locked may be a file that has no name any more, while another has it.
                Ok(()) if !is_at(&file, &path) => {}
                Ok(()) => {
                    // For whoever comes next; the lock holds without it.
                    drop(file.set_len(0).and_then(|()| write!(file, "{}", std::process::id())));
                    return Ok(Self { file, path });
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(format!(
                        "is written by another process{}; end it, or name another file",
                        holder(&mut file).map_or_else(String::new, |pid| format!(" ({pid})"))
                    ));
                }
                Err(TryLockError::Error(error)) => return Err(refusal(&error)),
            }
        }
        Err("is written by one process after the other; try again".to_owned())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is held: whoever has opened it meanwhile finds that it is not there any more, and makes another.
        if is_at(&self.file, &self.path) {
            drop(fs::remove_file(&self.path));
        }
    }
}

/// A share of the lock of a file: of a database several may write, whose own locks are held for the moment of a save. As long as
/// anybody has one, nobody takes the lock, and the other way round.
#[derive(Debug)]
pub(crate) struct Share {
    file: File,
    path: PathBuf,
}

impl Share {
    /// Takes a share; none where there can be no such file, which is no reason to do without the database.
    ///
    /// # Errors
    /// When somebody has the lock; in words for people.
    pub(crate) fn take(path: &Path) -> Result<Option<Self>, String> {
        // Of a link, what it points to: others may know it by that.
        let Ok(path) = path.canonicalize().map(|path| beside(&path, "lock")) else { return Ok(None) };
        for _ in 0..TRIES {
            let opened = private().read(true).write(true).create(true).truncate(false).open(&path);
            let Ok(file) = opened else { return Ok(None) };
            match file.try_lock_shared() {
                Ok(()) if is_at(&file, &path) => return Ok(Some(Self { file, path })),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err("a copy is being put into it; try again when that is done".to_owned());
                }
                Err(TryLockError::Error(_)) => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Whether anybody has one, or the lock.
    pub(crate) fn is_held(path: &Path) -> bool {
        let lock = path.canonicalize().map(|path| beside(&path, "lock"));
        let opened = lock.and_then(|lock| File::options().read(true).write(true).open(lock));
        opened.is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // The last one puts it away, as whoever has the whole lock does.
        if self.file.try_lock().is_ok() && is_at(&self.file, &self.path) {
            drop(fs::remove_file(&self.path));
        }
    }
}

/// What tells a file from another one that has its name.
pub(crate) type FileId = (u64, u64);

/// Which file a name leads to. The file is not opened: a process that closes one loses all locks that it has on it.
#[cfg(unix)]
pub(crate) fn id(path: &Path) -> Option<FileId> {
    fs::metadata(path).ok().as_ref().map(id_of)
}

#[cfg(unix)]
fn id_of(about: &fs::Metadata) -> FileId {
    use std::os::unix::fs::MetadataExt as _;
    (about.dev(), about.ino())
}

#[cfg(not(unix))]
pub(crate) const fn id(_: &Path) -> Option<FileId> {
    None
}

/// Whether this name leads to this file. Elsewhere than on Unix nobody takes a name away.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    file.metadata().is_ok_and(|own| id(path) == Some(id_of(&own)))
}

#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.parse().ok()
}

/// Why a file cannot be read or written, and what to do.
pub(super) fn refusal(error: &io::Error) -> String {
    let kind = error.kind();
    if matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge) {
        format!("the disk is full ({error}); what was kept before is untouched")
    } else if matches!(kind, ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) {
        format!("it or its folder cannot be read and written ({error}); change its owner or mode, or name another file")
    } else {
        format!("cannot be read or written ({error})")
    }
}

/// What a file says that is no pool.
pub(super) fn corrupt(detail: &str) -> String {
    format!("corrupt ({detail}); {MOVE_AWAY}")
}

/// What a file says that comes of a later version of this program.
pub(super) fn newer(found: u64, known: u64) -> String {
    format!(
        "was written by a later version of proxywhirl (form {found}, this one knows up to {known}); \
         upgrade proxywhirl, or name another file"
    )
}

/// Says where a file cannot be kept, before anything is tried with it.
///
/// # Errors
/// When there is no such folder, or something else has the file's name.
pub(super) fn inspect(path: &Path) -> Result<(), String> {
    let folder = folder(path);
    if !folder.is_dir() {
        return Err(format!("there is no folder {0}; make it with `mkdir -p {0}`", folder.display()));
    }
    match fs::metadata(path) {
        Ok(about) if about.is_dir() => Err("is a folder; name a file in it".to_owned()),
        Ok(about) if !about.is_file() => Err("is not a regular file".to_owned()),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(refusal(&error)),
    }
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};

    use super::*;

    #[test]
    fn a_file_stays_its_owners_whoever_writes_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pool.json");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        // Only the superuser can give a file away.
        let is_root = chown(&path, Some(65_534), Some(65_534)).is_ok();
        let before = fs::metadata(&path).unwrap();
        let complete = folder.path().join("copy");
        let is_same = |text: &str| {
            let now = fs::metadata(&path).unwrap();
            let of = |about: &fs::Metadata| (about.uid(), about.gid(), about.mode());
            assert_eq!((fs::read_to_string(&path).unwrap().as_str(), of(&now)), (text, of(&before)), "{is_root}");
        };
        replace(&path, |out| out.write_all(b"new")).unwrap();
        is_same("new");
        fs::write(&complete, "copied").unwrap();
        put_in_place(&complete, &path).unwrap();
        is_same("copied");
    }
}
