//! Owns a checkpoint in a bucket of S3, or of a store that speaks its protocol.
//!
//! A call is one request: nothing is tried again here, so that whoever calls decides when, and every request, which is
//! what S3 has its price on, is told to the [`Observer`]. Objects appear whole or not at all.

mod client;
mod failure;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use aws_sdk_s3::Client;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::primitives::ByteStream;
use tokio::time::timeout;

pub use self::client::{RawS3, S3};
use self::failure::Failure;
use super::{Listing, Put, READ_BYTES, Store, StoreError, StoredFile, WritableStore};

/// The most pages of 1,000 names that are read of a folder; a checkpoint's has about a hundred names.
const MAX_PAGES: usize = 100;

/// A request as it is told: `get`, `list`, `put` or `delete`, and the status of the answer, or why there was none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Request {
    /// What was asked for.
    pub operation: &'static str,
    /// The HTTP status, or `timeout`, `connection`, `credentials`, `other`.
    pub code: String,
}

/// Who is told of each request.
pub type Observer = Arc<dyn Fn(S3Request) + Send + Sync>;

/// An answer that is under way. Boxed, since the SDK's futures are some kilobytes each, and nested deeper than the compiler
/// takes.
type Asked<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

/// A folder of a bucket.
#[derive(Clone)]
pub struct S3Folder {
    client: Client,
    observer: Observer,
    timeout: Duration,
    bucket: String,
    /// Empty, or ends with a slash.
    prefix: String,
    /// Whether the store has said that it knows no conditions.
    is_unconditional: Arc<AtomicBool>,
}

/// An object, and the tag of its content, where the store gives one.
struct Object {
    file: StoredFile,
    tag: Option<String>,
}

/// When an object is to be written.
enum Condition {
    Always,
    /// If there is none.
    Absent,
    /// If its content has this tag.
    Tag(String),
}

impl S3Folder {
    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Makes a request, within its time, and tells the observer of it.
    async fn request<T>(&self, operation: &'static str, asked: Asked<'_, T>) -> Result<T, Failure> {
        let answer = timeout(self.timeout, asked).await;
        let answer = answer.unwrap_or_else(|_elapsed| Err(Failure::timeout(self.timeout)));
        let code = answer
            .as_ref()
            .map_or_else(|failure| failure.code.clone(), |_| "200".to_owned());
        (self.observer)(S3Request { operation, code });
        answer
    }

    fn failed(&self, action: &'static str, key: &str) -> impl FnOnce(Failure) -> StoreError + use<> {
        let place = format!("s3://{}/{}", self.bucket, self.key(key));
        move |failure| StoreError {
            action,
            place,
            kind: failure.kind(),
            source: failure.into(),
        }
    }

    /// One page of the names below `prefix`, and where the next begins.
    async fn page(
        &self,
        prefix: &str,
        after: Option<String>,
    ) -> Result<(Vec<String>, Option<String>), Failure> {
        let asked = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(prefix)
            .delimiter("/");
        let page = self
            .request(
                "list",
                Box::pin(async { Ok(asked.set_continuation_token(after).send().await?) }),
            )
            .await?;
        let keys = page.contents().iter().filter_map(|object| object.key());
        let names = keys
            .filter_map(|key| key.strip_prefix(prefix))
            .map(str::to_owned)
            .collect();
        let next = match (page.is_truncated, page.next_continuation_token) {
            (Some(false), _) => None,
            (Some(true), Some(next)) => Some(next),
            // A list that breaks off reads like a short one.
            _ => return Err(Failure::without_end()),
        };
        Ok((names, next))
    }

    /// An object; `None` if there is none.
    async fn get(&self, key: &str) -> Result<Option<Object>, Failure> {
        let asked = self.client.get_object().bucket(&self.bucket).key(self.key(key));
        let got = self.request(
            "get",
            Box::pin(async {
                let object = asked.send().await?;
                let modified = object
                    .last_modified()
                    .and_then(|time| SystemTime::try_from(*time).ok());
                let tag = object.e_tag().map(str::to_owned);
                let content = body(object.body).await?;
                Ok(Object {
                    file: StoredFile { content, modified },
                    tag,
                })
            }),
        );
        match got.await {
            Ok(object) => Ok(Some(object)),
            Err(failure) if failure.is_missing_key() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    async fn put(&self, key: &str, content: &[u8], condition: &Condition) -> Result<(), Failure> {
        let asked = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.key(key))
            .body(ByteStream::from(content.to_vec()));
        let asked = match condition {
            Condition::Always => asked,
            Condition::Absent => asked.if_none_match("*"),
            Condition::Tag(tag) => asked.if_match(tag),
        };
        self.request("put", Box::pin(async { Ok(asked.send().await.map(drop)?) }))
            .await
    }

    /// See [`WritableStore::put_if`]. What is there is looked at first: some stores take a condition and ignore it.
    async fn compare_and_put(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        content: &[u8],
    ) -> Result<Put, Failure> {
        let there = self.get(key).await?;
        let is_expected = there.as_ref().map(|object| object.file.content.as_slice()) == expected;
        if !is_expected {
            return Ok(Put::Unexpected(there.map(|object| object.file)));
        }
        let condition = match there {
            _ if self.is_unconditional.load(Ordering::Relaxed) => Condition::Always,
            None => Condition::Absent,
            Some(object) => object.tag.map_or(Condition::Always, Condition::Tag),
        };
        match self.put(key, content, &condition).await {
            Ok(()) => Ok(Put::Done),
            // Another writer was faster; or we were, by a request of which the answer was lost.
            Err(failure) if failure.is_condition_unmet() => {
                Ok(Put::Unexpected(self.get(key).await?.map(|object| object.file)))
            }
            Err(failure) if failure.is_condition_unknown() => {
                if !self.is_unconditional.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        folder = ?self,
                        "the store knows no If-None-Match: two workers on this checkpoint are noticed late"
                    );
                }
                self.put(key, content, &Condition::Always)
                    .await
                    .map(|()| Put::Done)
            }
            Err(failure) => Err(failure),
        }
    }
}

impl fmt::Debug for S3Folder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "s3://{}/{}", self.bucket, self.prefix)
    }
}

impl Store for S3Folder {
    async fn read(&self, key: &str) -> Result<Option<StoredFile>, StoreError> {
        let object = self.get(key).await.map_err(self.failed("read", key))?;
        Ok(object.map(|object| object.file))
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let listing = self.list_part(folder).await?;
        if listing.is_complete {
            return Ok(listing.names);
        }
        Err(self.failed("list", folder)(Failure::too_many(MAX_PAGES)))
    }

    async fn list_part(&self, folder: &str) -> Result<Listing, StoreError> {
        let prefix = self.key(&format!("{folder}/"));
        let (mut names, mut next) = (Vec::new(), None);
        for _ in 0..MAX_PAGES {
            let page = self.page(&prefix, next).await;
            let (more, after) = page.map_err(self.failed("list", folder))?;
            names.extend(more);
            next = after;
            if next.is_none() {
                break;
            }
        }
        Ok(Listing {
            names,
            is_complete: next.is_none(),
        })
    }
}

impl WritableStore for S3Folder {
    async fn put_if(&self, key: &str, expected: Option<&[u8]>, content: &[u8]) -> Result<Put, StoreError> {
        let put = self.compare_and_put(key, expected, content).await;
        put.map_err(self.failed("write", key))
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let asked = self
            .client
            .delete_object()
            .bucket(&self.bucket)
            .key(self.key(key));
        let deleted = self
            .request("delete", Box::pin(async { Ok(asked.send().await.map(drop)?) }))
            .await;
        deleted.map_err(self.failed("delete", key))
    }
}

/// The body, or as much of it as shows that it is too great.
async fn body(mut stream: ByteStream) -> Result<Vec<u8>, Failure> {
    let mut content = Vec::new();
    while let Some(chunk) = stream.next().await {
        content.extend_from_slice(&chunk.map_err(Failure::cut)?);
        if content.len() >= READ_BYTES {
            content.truncate(READ_BYTES);
            break;
        }
    }
    Ok(content)
}

impl<E> From<SdkError<E>> for Failure
where
    E: aws_sdk_s3::error::ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    fn from(error: SdkError<E>) -> Self {
        Self::of(&error)
    }
}
