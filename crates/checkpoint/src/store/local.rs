//! Owns a checkpoint in a folder of this machine, or of a disk that is mounted here.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use tokio::task::spawn_blocking;

use super::{READ_BYTES, Store, StoreError, StoreErrorKind, StoredFile};

/// The end of the name of an unfinished file; such a name begins with a full stop, as Spark's do.
const UNFINISHED: &str = ".tmp";

/// A folder of this machine.
#[derive(Debug, Clone)]
pub struct LocalFolder(PathBuf);

impl LocalFolder {
    /// The folder at `path`. It is made when something is written.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Does `work` with the path of a key on a thread that may wait for the disk.
    async fn with<T: Send + 'static>(
        &self,
        action: &'static str,
        key: &str,
        work: impl FnOnce(&Path) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let path = self.0.join(key);
        let place = path.display().to_string();
        let done = spawn_blocking(move || work(&path)).await;
        let result = done.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        result.map_err(|source| StoreError {
            action,
            place,
            kind: kind(&source),
            source: source.into(),
        })
    }
}

impl Store for LocalFolder {
    async fn read(&self, key: &str) -> Result<Option<StoredFile>, StoreError> {
        self.with("read", key, |path| unless_missing(read(path))).await
    }

    async fn write(&self, key: &str, content: &[u8]) -> Result<(), StoreError> {
        let content = content.to_vec();
        self.with("write", key, move |path| write_whole(path, &content))
            .await
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        self.with("list", folder, |path| {
            let Some(entries) = unless_missing(fs::read_dir(path))? else {
                return Ok(Vec::new());
            };
            let mut names = Vec::new();
            for entry in entries {
                let entry = entry?;
                if entry.file_type()?.is_file() {
                    names.extend(entry.file_name().into_string());
                }
            }
            Ok(names)
        })
        .await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.with("delete", key, |path| {
            unless_missing(fs::remove_file(path)).map(|_deleted| ())
        })
        .await
    }
}

fn kind(error: &std::io::Error) -> StoreErrorKind {
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => StoreErrorKind::Denied,
        ErrorKind::NotADirectory | ErrorKind::IsADirectory => StoreErrorKind::Permanent,
        // A full disk, a mount that hangs: somebody mends it, and then it works.
        _ => StoreErrorKind::Passing,
    }
}

fn read(path: &Path) -> std::io::Result<StoredFile> {
    let file = File::open(path)?;
    let modified = file.metadata()?.modified().ok();
    let mut content = Vec::new();
    file.take(READ_BYTES as u64).read_to_end(&mut content)?;
    Ok(StoredFile { content, modified })
}

fn unless_missing<T>(result: std::io::Result<T>) -> std::io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes beside the file, waits for the disk, and gives the file its name. A crash leaves the unfinished file at the
/// most, and the next write of the same key takes its place.
fn write_whole(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().ok_or(ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = folder.join(format!(".{name}{UNFINISHED}"));
    let mut file = File::create(&unfinished)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_written_read_listed_and_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalFolder::new(folder.path().join("checkpoint"));
        assert_eq!(store.list("offsets").await.unwrap(), Vec::<String>::new());
        store.write("offsets/0", b"a").await.unwrap();
        store.write("offsets/0", b"b").await.unwrap();
        assert_eq!(
            store.list("offsets").await.unwrap(),
            ["0"],
            "nothing unfinished remains"
        );
        assert_eq!(store.read("offsets/0").await.unwrap().unwrap().content, b"b");
        store.delete("offsets/0").await.unwrap();
        store.delete("offsets/0").await.unwrap();
        assert_eq!(store.read("offsets/0").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_written_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let store = LocalFolder::new(file.path().join("checkpoint"));
        let error = store.write("offsets/0", b"a").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("cannot write {}/checkpoint/offsets/0", file.path().display())
        );
    }
}
