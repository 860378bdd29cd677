//! Owns where the files of a checkpoint are: the seam, what can go wrong there, and the choice between places.

mod local;
mod location;
mod s3;

use std::error::Error;
use std::future::Future;
use std::time::SystemTime;

pub use local::LocalFolder;
pub use location::{Location, UnknownLocation};
pub use s3::{Observer, RawS3, S3, S3Folder, S3Request};

use crate::log::MAX_BYTES;

/// The most that is read of a file: what is larger is none of a checkpoint's, which its parser then says.
const READ_BYTES: usize = MAX_BYTES + 1;

/// A place for files, by keys such as `offsets/7`, to read from.
pub trait Store: Send + Sync {
    /// A file, if there is such a file. Of one that is greater than any of a checkpoint, as much as shows that.
    fn read(&self, key: &str) -> impl Future<Output = Result<Option<StoredFile>, StoreError>> + Send;
    /// The names of the files in a folder; none if there is no such folder. An error if there are too many to list.
    fn list(&self, folder: &str) -> impl Future<Output = Result<Vec<String>, StoreError>> + Send;
    /// The names of the files in a folder, or as many as can be listed.
    fn list_part(&self, folder: &str) -> impl Future<Output = Result<Listing, StoreError>> + Send {
        async {
            Ok(Listing {
                names: self.list(folder).await?,
                is_complete: true,
            })
        }
    }
}

/// A place for files that can be written, too.
pub trait WritableStore: Store {
    /// Writes a file if what is there is as `expected`: nothing, or this content. Afterwards the new content is there
    /// whole and lasting, or what was there before. Of two writers with the same expectation one succeeds, as far as
    /// the store can tell them apart.
    ///
    /// After an answer that was lost, the next try finds one's own content: compare it.
    fn put_if(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        content: &[u8],
    ) -> impl Future<Output = Result<Put, StoreError>> + Send;
    /// Deletes a file, if it is there.
    fn delete(&self, key: &str) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// The outcome of [`WritableStore::put_if`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    /// The file is written.
    Done,
    /// Nothing was written: this is there, or no file is.
    Unexpected(Option<StoredFile>),
}

/// Files of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Their names, in any order.
    pub names: Vec<String>,
    /// Whether these are all.
    pub is_complete: bool,
}

/// A file of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Its content.
    pub content: Vec<u8>,
    /// When it was written, by the store's clock, where the store says so.
    pub modified: Option<SystemTime>,
}

/// A file cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {place}")]
pub struct StoreError {
    /// What was tried.
    pub action: &'static str,
    /// The file.
    pub place: String,
    /// What to do about it.
    pub kind: StoreErrorKind,
    /// Why it failed.
    pub source: Box<dyn Error + Send + Sync>,
}

/// What to do about a failure of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoreErrorKind {
    /// It passes: try again, later. So does a disk or a quota that is full, once somebody makes room.
    Passing,
    /// The credentials do not allow it, or there are none.
    Denied,
    /// A person has to look: there is no such bucket, a file is where a folder should be.
    Permanent,
}

impl StoreErrorKind {
    /// The name as metrics have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Passing => "passing",
            Self::Denied => "denied",
            Self::Permanent => "permanent",
        }
    }
}

/// A checkpoint's folder, wherever it is.
#[derive(Debug, Clone)]
pub enum Folder {
    /// On this machine.
    Local(LocalFolder),
    /// In a bucket.
    S3(S3Folder),
}

impl Folder {
    /// The folder at `location`. The client for S3 is made where it is needed first, and then used by all.
    pub async fn open(location: &Location, s3: &S3) -> Self {
        match location {
            Location::Local(path) => Self::Local(LocalFolder::new(path)),
            Location::S3 { bucket, prefix } => Self::S3(s3.folder(bucket, prefix).await),
        }
    }

    /// Whether the folder could be written, as far as that can be known without writing: the rights of this process, a
    /// file system that is read only, free space. Gives what could not be tried.
    ///
    /// # Errors
    /// If a write would fail, and why.
    pub async fn check_writable(&self) -> Result<&'static [&'static str], StoreError> {
        match self {
            Self::Local(folder) => folder.check_writable().await.map(|()| -> &[&str] { &[] }),
            Self::S3(_) => Ok(&["s3:PutObject", "s3:DeleteObject"]),
        }
    }
}

impl Store for Folder {
    async fn read(&self, key: &str) -> Result<Option<StoredFile>, StoreError> {
        match self {
            Self::Local(folder) => folder.read(key).await,
            Self::S3(folder) => folder.read(key).await,
        }
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        match self {
            Self::Local(local) => local.list(folder).await,
            Self::S3(s3) => s3.list(folder).await,
        }
    }

    async fn list_part(&self, folder: &str) -> Result<Listing, StoreError> {
        match self {
            Self::Local(local) => local.list_part(folder).await,
            Self::S3(s3) => s3.list_part(folder).await,
        }
    }
}

impl WritableStore for Folder {
    async fn put_if(&self, key: &str, expected: Option<&[u8]>, content: &[u8]) -> Result<Put, StoreError> {
        match self {
            Self::Local(folder) => folder.put_if(key, expected, content).await,
            Self::S3(folder) => folder.put_if(key, expected, content).await,
        }
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        match self {
            Self::Local(folder) => folder.delete(key).await,
            Self::S3(folder) => folder.delete(key).await,
        }
    }
}
