//! Owns a checkpoint in a folder of this machine, or of a disk that is mounted here.

mod disk;
mod files;
mod gate;
mod room;

use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::disk::ThisMachine;
use self::files::Files;
use self::gate::Gate;
use super::{Put, Store, StoreError, StoreErrorKind, StoredFile, WritableStore};
use crate::log::{COMMITS, OFFSETS};

/// A folder of this machine. Clones share it.
#[derive(Debug, Clone)]
pub struct LocalFolder {
    path: PathBuf,
    files: Arc<Files<ThisMachine>>,
    gate: Arc<Gate>,
}

impl LocalFolder {
    /// The folder at `path`. It is made when something is written.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            files: Arc::new(Files::new(ThisMachine, path.clone())),
            gate: Arc::new(Gate::new()),
            path,
        }
    }

    /// See [`super::Folder::check_writable`].
    pub(super) async fn check_writable(&self) -> std::result::Result<(), StoreError> {
        let folders = ["", OFFSETS, COMMITS].map(|folder| self.path.join(folder));
        let check = move || folders.iter().try_for_each(|folder| room::check(folder));
        let checked = self.gate.call("check", check).await;
        checked.map_err(|error| failed("write to", &self.path, error))
    }

    /// Does `work` with the path of a key.
    async fn with<T: Send + 'static>(
        &self,
        action: &'static str,
        key: &str,
        work: impl FnOnce(&Files<ThisMachine>, &Path) -> Result<T> + Send + 'static,
    ) -> std::result::Result<T, StoreError> {
        let (files, path) = (self.files.clone(), self.files.path(key));
        let place = path.clone();
        let done = self.gate.call(action, move || work(&files, &path)).await;
        done.map_err(|error| failed(action, &place, error))
    }
}

impl Store for LocalFolder {
    async fn read(&self, key: &str) -> std::result::Result<Option<StoredFile>, StoreError> {
        self.with("read", key, Files::read).await
    }

    async fn list(&self, folder: &str) -> std::result::Result<Vec<String>, StoreError> {
        self.with("list", folder, Files::names).await
    }
}

impl WritableStore for LocalFolder {
    async fn put_if(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        content: &[u8],
    ) -> std::result::Result<Put, StoreError> {
        let (expected, content) = (expected.map(<[u8]>::to_vec), content.to_vec());
        let put =
            move |files: &Files<ThisMachine>, path: &Path| files.put_if(path, expected.as_deref(), &content);
        self.with("write", key, put).await
    }

    async fn delete(&self, key: &str) -> std::result::Result<(), StoreError> {
        self.with("delete", key, Files::delete).await
    }
}

fn failed(action: &'static str, place: &Path, error: Error) -> StoreError {
    StoreError {
        action,
        place: place.display().to_string(),
        kind: kind(&error),
        source: error.into(),
    }
}

fn kind(error: &Error) -> StoreErrorKind {
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => StoreErrorKind::Denied,
        ErrorKind::NotADirectory | ErrorKind::IsADirectory => StoreErrorKind::Permanent,
        // A full disk, a mount that hangs: somebody mends it, and then it works.
        _ => StoreErrorKind::Passing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_written_read_listed_and_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalFolder::new(folder.path().join("a/checkpoint"));
        assert_eq!(store.list("offsets").await.unwrap(), Vec::<String>::new());
        assert_eq!(store.put_if("offsets/0", None, b"a").await.unwrap(), Put::Done);
        assert_eq!(
            store.put_if("offsets/0", Some(b"a"), b"b").await.unwrap(),
            Put::Done
        );
        let put = store.put_if("offsets/0", None, b"c").await.unwrap();
        assert!(matches!(put, Put::Unexpected(Some(file)) if file.content == b"b"));
        assert_eq!(
            store.list("offsets").await.unwrap(),
            ["0"],
            "nothing unfinished remains"
        );
        assert_eq!(store.read("offsets/0").await.unwrap().unwrap().content, b"b");
        store.delete("offsets/0").await.unwrap();
        store.delete("offsets/0").await.unwrap();
        assert_eq!(store.read("offsets/0").await.unwrap(), None);
        let put = store.put_if("offsets/0", Some(b"b"), b"c").await.unwrap();
        assert_eq!(put, Put::Unexpected(None));
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_written_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let store = LocalFolder::new(file.path().join("checkpoint"));
        let error = store.put_if("offsets/0", None, b"a").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("cannot write {}/checkpoint/offsets/0", file.path().display())
        );
        assert_eq!(error.kind, StoreErrorKind::Permanent);
        let error = store.check_writable().await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Permanent);
    }

    /// A pipe that nobody writes hangs as a mount does that is gone.
    #[tokio::test(start_paused = true)]
    async fn a_file_system_that_hangs_is_an_error_that_passes() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("metadata");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let store = LocalFolder::new(folder.path());
        let (read, ()) = tokio::join!(store.read("metadata"), tokio::time::advance(gate::CALL_TIMEOUT));
        assert_eq!(read.unwrap_err().kind, StoreErrorKind::Passing);
        let error = store.list("offsets").await.unwrap_err();
        let why = std::error::Error::source(&error).unwrap().to_string();
        assert!(why.contains("a call to read hangs"), "{why}");
        std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
        while store.list("offsets").await.is_err() {
            tokio::task::yield_now().await;
        }
    }
}
