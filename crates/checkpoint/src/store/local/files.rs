//! Owns how a file of a checkpoint is written to a disk: whole, lasting, and by one of two writers at the most.
//!
//! A file is written under a name of its own, synced, and then linked to its place, which fails if there is a file; then
//! the folder is synced. A crash leaves the unfinished file at the most.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use super::disk::Disk;
use crate::store::{Put, StoredFile};

/// The most files of writers that crashed that are deleted when a folder is first written.
const MAX_LEFTOVERS: usize = 1000;
/// How old an unfinished file is before its writer must have crashed. If it lives, it loses one try.
const LEFTOVER_AGE: Duration = Duration::from_hours(1);

/// The files of one checkpoint.
#[derive(Debug)]
pub(super) struct Files<D> {
    disk: D,
    root: PathBuf,
    /// Tells the unfinished files of this writer from those of others.
    writer: Uuid,
    /// The folders that are known to be on the disk themselves.
    durable: Mutex<BTreeSet<PathBuf>>,
}

impl<D: Disk> Files<D> {
    pub(super) fn new(disk: D, root: PathBuf) -> Self {
        Self {
            disk,
            root,
            writer: Uuid::new_v4(),
            durable: Mutex::default(),
        }
    }

    pub(super) fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    pub(super) fn read(&self, path: &Path) -> io::Result<Option<StoredFile>> {
        unless_missing(self.disk.read(path))
    }

    pub(super) fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        Ok(unless_missing(self.disk.names(folder))?.unwrap_or_default())
    }

    pub(super) fn delete(&self, path: &Path) -> io::Result<()> {
        self.forget_checksum(path)?;
        unless_missing(self.disk.remove(path)).map(|_deleted| ())
    }

    /// See [`crate::WritableStore::put_if`].
    pub(super) fn put_if(&self, path: &Path, expected: Option<&[u8]>, content: &[u8]) -> io::Result<Put> {
        let there = self.read(path)?;
        if content_of(there.as_ref()) != expected {
            return self.unexpected(path);
        }
        self.make_durable(parent(path))?;
        let unfinished = self.beside(path, "new");
        let put = self
            .finish(&unfinished, content)
            .and_then(|()| self.place(&unfinished, path, expected));
        // It is in the way of the next try, and else harmless: the next writer of this checkpoint deletes it.
        drop(self.disk.remove(&unfinished));
        if put? {
            Ok(Put::Done)
        } else {
            self.unexpected(path)
        }
    }

    fn finish(&self, unfinished: &Path, content: &[u8]) -> io::Result<()> {
        unless_missing(self.disk.remove(unfinished))?;
        self.disk.create(unfinished, content)?;
        self.disk.sync(unfinished)
    }

    /// Gives the finished file its name, if that is free, or is of a file with the expected content.
    fn place(&self, finished: &Path, path: &Path, expected: Option<&[u8]>) -> io::Result<bool> {
        self.forget_checksum(path)?;
        let placed = match expected {
            None => self.name(finished, path)?,
            Some(expected) => self.replace(finished, path, expected)?,
        };
        if placed {
            self.disk.sync(parent(path))?;
        }
        Ok(placed)
    }

    /// Gives the finished file the name of one with the expected content. No call of a file system compares and replaces, so
    /// that one is taken away first, and put back if it is another writer's, who was faster, or if the name cannot be given.
    fn replace(&self, finished: &Path, path: &Path, expected: &[u8]) -> io::Result<bool> {
        let aside = self.beside(path, "old");
        if unless_missing(self.disk.rename(path, &aside))?.is_none() {
            return Ok(false);
        }
        let is_expected = self.disk.read(&aside)?.content == expected;
        let named = if is_expected {
            self.name(finished, path)
        } else {
            Ok(false)
        };
        if !is_expected || named.is_err() {
            self.put_back(&aside, path)?;
        } else {
            self.disk.remove(&aside)?;
        }
        named
    }

    /// Gives a file that was taken away its name again. If that fails, or the name is taken by now, it stays beside.
    fn put_back(&self, aside: &Path, path: &Path) -> io::Result<()> {
        match self.disk.link(aside, path) {
            Ok(()) => self.disk.remove(aside),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            // Nobody else took the name, as far as can be told without a second name.
            Err(error) if (is_without_links(&error) || is_full(&error)) && self.read(path)?.is_none() => {
                self.disk.rename(aside, path)
            }
            Err(error) => Err(error),
        }
    }

    /// Gives the finished file its name, if that is free.
    fn name(&self, finished: &Path, path: &Path) -> io::Result<bool> {
        match self.disk.link(finished, path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) if is_without_links(&error) => self.copy(finished, path),
            Err(error) => Err(error),
        }
    }

    /// Where files cannot have two names (FAT, some mounts of object stores): the file is made at its place. A crash in
    /// the middle leaves a torn file there, which every reader takes for damaged.
    fn copy(&self, finished: &Path, path: &Path) -> io::Result<bool> {
        let content = self.disk.read(finished)?.content;
        match self.disk.create(path, &content) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
            created => created?,
        }
        self.disk.sync(path)?;
        Ok(true)
    }

    /// What is there is reported as lasting: it may be our own, of a try that failed after it was placed.
    fn unexpected(&self, path: &Path) -> io::Result<Put> {
        let there = self.read(path)?;
        if there.is_some() {
            self.disk.sync(path)?;
            self.disk.sync(parent(path))?;
        }
        Ok(Put::Unexpected(there))
    }

    /// Makes a folder, and those above it, so that it lasts. Done once for each folder: a process that was killed may have
    /// made it and not synced.
    fn make_durable(&self, folder: &Path) -> io::Result<()> {
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        if durable.contains(folder) {
            return Ok(());
        }
        self.make(folder)?;
        for above in [parent(folder), parent(&self.root)] {
            match self.disk.sync(above) {
                // It may be searched and not read; then it was not we who made the folder in it.
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
                synced => synced?,
            }
        }
        self.delete_leftovers(folder);
        durable.insert(folder.to_owned());
        Ok(())
    }

    fn make(&self, folder: &Path) -> io::Result<()> {
        let made = match self.disk.make_folder(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.make(parent(folder))?;
                self.disk.make_folder(folder)
            }
            made => made,
        };
        match made {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Ok(()) => self.disk.sync(parent(folder)),
            Err(error) => Err(error),
        }
    }

    /// Deletes the unfinished files of writers that crashed.
    fn delete_leftovers(&self, folder: &Path) {
        let names = self.names(folder).unwrap_or_default();
        let leftovers = names.iter().filter(|name| is_unfinished(name));
        for name in leftovers.take(MAX_LEFTOVERS) {
            let path = folder.join(name);
            let modified = self.disk.read(&path).ok().and_then(|file| file.modified);
            let age = modified.and_then(|modified| modified.elapsed().ok());
            if age.is_none_or(|age| age < LEFTOVER_AGE) {
                continue;
            }
            if let Err(error) = self.disk.remove(&path) {
                tracing::debug!(name, %error, "the unfinished file of a writer that crashed cannot be deleted");
            }
        }
    }

    /// Hadoop keeps checksums of the files it writes beside them, and refuses a file whose checksum is another's.
    fn forget_checksum(&self, path: &Path) -> io::Result<()> {
        let checksum = path.with_file_name(format!(".{}.crc", name(path)));
        unless_missing(self.disk.remove(&checksum)).map(|_deleted| ())
    }

    /// The name of an unfinished file. It begins with a full stop, as Spark's do, and no program else has its middle.
    fn beside(&self, path: &Path, what: &str) -> PathBuf {
        path.with_file_name(format!(".{}{UNFINISHED}{}.{what}", name(path), self.writer))
    }
}

/// In the middle of the name of an unfinished file.
const UNFINISHED: &str = ".outrigger-";

fn is_unfinished(name: &str) -> bool {
    let end = name
        .strip_prefix('.')
        .and_then(|name| name.split_once(UNFINISHED));
    let writer = end.and_then(|(_, end)| end.split_once('.'));
    writer.is_some_and(|(writer, what)| Uuid::parse_str(writer).is_ok() && matches!(what, "new" | "old"))
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// The folder of a path; of a relative one of a single name, the current one.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

fn content_of(file: Option<&StoredFile>) -> Option<&[u8]> {
    file.map(|file| file.content.as_slice())
}

fn is_without_links(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Unsupported
            | ErrorKind::PermissionDenied
            | ErrorKind::InvalidInput
            | ErrorKind::TooManyLinks
    )
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

fn unless_missing<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
