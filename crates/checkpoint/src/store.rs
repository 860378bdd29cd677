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

/// A place for files, by keys such as `offsets/7`.
pub trait Store: Send + Sync {
    /// A file, if there is such a file. Of one that is greater than any of a checkpoint, as much as shows that.
    fn read(&self, key: &str) -> impl Future<Output = Result<Option<StoredFile>, StoreError>> + Send;
    /// Writes a file, replacing it: afterwards it is there whole and lasting, or as it was before.
    fn write(&self, key: &str, content: &[u8]) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// The names of the files in a folder; none if there is no such folder.
    fn list(&self, folder: &str) -> impl Future<Output = Result<Vec<String>, StoreError>> + Send;
    /// Deletes a file, if it is there.
    fn delete(&self, key: &str) -> impl Future<Output = Result<(), StoreError>> + Send;
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
    /// It passes: try again, later.
    Passing,
    /// The credentials do not allow it, or there are none.
    Denied,
    /// A person has to look: there is no such bucket, the disk is full.
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
}

impl Store for Folder {
    async fn read(&self, key: &str) -> Result<Option<StoredFile>, StoreError> {
        match self {
            Self::Local(folder) => folder.read(key).await,
            Self::S3(folder) => folder.read(key).await,
        }
    }

    async fn write(&self, key: &str, content: &[u8]) -> Result<(), StoreError> {
        match self {
            Self::Local(folder) => folder.write(key, content).await,
            Self::S3(folder) => folder.write(key, content).await,
        }
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        match self {
            Self::Local(local) => local.list(folder).await,
            Self::S3(s3) => s3.list(folder).await,
        }
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        match self {
            Self::Local(folder) => folder.delete(key).await,
            Self::S3(folder) => folder.delete(key).await,
        }
    }
}
