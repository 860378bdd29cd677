//! Owns the calls that a checkpoint makes to the file system: the seam between what is written in which order, and the
//! disk, of which the tests have one that loses power.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use crate::store::{READ_BYTES, StoredFile};

/// A file system. What was not synced may be gone after a loss of power: the content of a file until the file is, its name
/// until the folder is.
pub(super) trait Disk: Send + Sync + 'static {
    /// A file, or the first [`READ_BYTES`] of it.
    fn read(&self, path: &Path) -> io::Result<StoredFile>;
    /// The names of the files in a folder.
    fn names(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// Makes a folder in one that exists.
    fn make_folder(&self, folder: &Path) -> io::Result<()>;
    /// Makes a file that must not exist. If it cannot be written whole, it is not there.
    fn create(&self, path: &Path, content: &[u8]) -> io::Result<()>;
    /// Waits until a file or a folder is on the disk.
    fn sync(&self, path: &Path) -> io::Result<()>;
    /// Gives a file a second name that must not exist.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file another name, and takes that name from the file that has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Deletes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// The disks of this machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct ThisMachine;

impl Disk for ThisMachine {
    fn read(&self, path: &Path) -> io::Result<StoredFile> {
        let file = File::open(path)?;
        let modified = file.metadata()?.modified().ok();
        let mut content = Vec::new();
        file.take(READ_BYTES as u64).read_to_end(&mut content)?;
        Ok(StoredFile { content, modified })
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            match entry.file_type() {
                Ok(kind) if kind.is_file() => names.extend(entry.file_name().into_string()),
                Ok(_) => {}
                // Some file systems look it up, and it may be gone by now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(names)
    }

    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir(folder)
    }

    fn create(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        let written = file.write_all(content);
        if written.is_err() {
            drop(fs::remove_file(path));
        }
        written
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sync_asks_the_kernel() {
        let folder = tempfile::tempdir().unwrap();
        ThisMachine.sync(folder.path()).unwrap();
        // What cannot be synced shows that it was tried.
        ThisMachine.sync(Path::new("/dev/null")).unwrap_err();
    }

    #[test]
    fn a_file_that_exists_is_neither_made_nor_linked_over() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        ThisMachine.create(&one, b"1").unwrap();
        ThisMachine.create(&two, b"2").unwrap();
        for error in [
            ThisMachine.create(&one, b"3").unwrap_err(),
            ThisMachine.link(&two, &one).unwrap_err(),
        ] {
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        }
        assert_eq!(ThisMachine.read(&one).unwrap().content, b"1");
    }
}
