//! The file of a Unix socket, known again by its number.
//!
//! Its name does not say whose it is: whoever tidies up may remove it, and another process may listen under that name then.
//! As long as somebody listens, the operating system gives the number of the file to no other one.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The file of a socket that somebody listens at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    /// That of a socket which was bound there a moment ago.
    ///
    /// # Errors
    /// When there is none.
    pub fn at(path: &Path) -> io::Result<Self> {
        let about = fs::symlink_metadata(path)?;
        if !about.file_type().is_socket() {
            return Err(io::Error::other("a file that is no socket is in the way"));
        }
        Ok(Self { path: path.to_owned(), device: about.dev(), inode: about.ino() })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is still there, and not another one.
    #[must_use]
    pub fn is_there(&self) -> bool {
        Self::at(&self.path).is_ok_and(|there| there == *self)
    }

    /// Whether another one is there by now, or a file that is no socket.
    #[must_use]
    pub fn is_replaced(&self) -> bool {
        !self.is_there() && fs::symlink_metadata(&self.path).is_ok()
    }

    /// Removes it, if it is still there.
    pub fn remove(&self) {
        if self.is_there() {
            // Whoever has removed it in this moment did what this does.
            fs::remove_file(&self.path).ok();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn it_is_told_from_another_one_under_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in.sock");
        let own = UnixListener::bind(&path).unwrap();
        let file = SocketFile::at(&path).unwrap();
        assert!(file.is_there() && !file.is_replaced());
        fs::remove_file(&path).unwrap();
        assert!(!file.is_there() && !file.is_replaced());
        let _another = UnixListener::bind(&path).unwrap();
        assert!(!file.is_there() && file.is_replaced());
        drop(own);
        file.remove();
        assert!(path.exists(), "that of another one stays");
        SocketFile::at(&path).unwrap().remove();
        assert!(!path.exists());
        fs::write(&path, "mine").unwrap();
        assert!(SocketFile::at(&path).is_err() && !file.is_there());
    }
}
