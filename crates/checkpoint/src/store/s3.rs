//! Owns a checkpoint in a bucket of S3, or of a store that speaks its protocol.
//!
//! A call is one request: nothing is tried again here, so that whoever calls decides when, and every request, which is
//! what S3 has its price on, is told to the [`Observer`]. Objects appear whole or not at all.

mod failure;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{RequestChecksumCalculation, ResponseChecksumValidation};
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_http_client::tls;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use self::failure::Failure;
use super::{READ_BYTES, Store, StoreError, StoredFile};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The most pages of 1,000 names that are read of a folder; a checkpoint's has about a hundred names.
const MAX_PAGES: usize = 100;
/// What a store without regions is told; S3's own have their region in the environment or in `s3.region`.
const DEFAULT_REGION: &str = "us-east-1";

/// `[s3]` of a configuration. Credentials come from where AWS's tools find them: the environment, a profile, a pod's or
/// an instance's role.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawS3 {
    /// The address of a store that is not AWS's, such as `http://minio:9000`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The region, where the environment does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Whether the bucket is part of the path instead of the host's name: most stores that are not AWS's want that.
    pub path_style: bool,
    /// How long a request may take, its answer included.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
}

impl Default for RawS3 {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            path_style: false,
            request_timeout: Duration::from_secs(5),
        }
    }
}

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

/// S3, with one client for all folders.
#[derive(Clone)]
pub struct S3 {
    settings: RawS3,
    observer: Observer,
    client: Arc<OnceCell<Client>>,
}

impl S3 {
    /// By these settings. Nothing is connected before a folder is opened.
    pub fn new(settings: RawS3, observer: Observer) -> Self {
        Self {
            settings,
            observer,
            client: Arc::default(),
        }
    }

    /// A folder of a bucket.
    pub async fn folder(&self, bucket: &str, prefix: &str) -> S3Folder {
        let client = self.client.get_or_init(|| connect(&self.settings)).await;
        S3Folder {
            client: client.clone(),
            observer: self.observer.clone(),
            timeout: self.settings.request_timeout,
            bucket: bucket.to_owned(),
            prefix: if prefix.is_empty() {
                String::new()
            } else {
                format!("{prefix}/")
            },
        }
    }
}

impl fmt::Debug for S3 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("S3")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

async fn connect(settings: &RawS3) -> Client {
    let https = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
        .build_https();
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_timeout(settings.request_timeout)
        .build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(https)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts);
    if let Some(region) = &settings.region {
        loader = loader.region(Region::new(region.clone()));
    }
    let shared = loader.load().await;
    let mut config = aws_sdk_s3::config::Builder::from(&shared)
        .force_path_style(settings.path_style)
        // Checksums beside the body are AWS's own; other stores refuse them.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    if shared.region().is_none() {
        config = config.region(Region::new(DEFAULT_REGION));
    }
    if let Some(endpoint) = &settings.endpoint {
        config = config.endpoint_url(endpoint);
    }
    Client::from_conf(config.build())
}

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
        Ok((names, page.next_continuation_token))
    }

    async fn names(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let (mut names, mut next) = self.page(prefix, None).await?;
        for _ in 1..MAX_PAGES {
            if next.is_none() {
                break;
            }
            let (more, after) = self.page(prefix, next).await?;
            names.extend(more);
            next = after;
        }
        match next {
            None => Ok(names),
            Some(_) => Err(Failure::too_many(MAX_PAGES)),
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
        let asked = self.client.get_object().bucket(&self.bucket).key(self.key(key));
        let read = self.request(
            "get",
            Box::pin(async {
                let object = asked.send().await?;
                let modified = object
                    .last_modified()
                    .and_then(|time| SystemTime::try_from(*time).ok());
                Ok(StoredFile {
                    content: body(object.body).await?,
                    modified,
                })
            }),
        );
        match read.await {
            Ok(file) => Ok(Some(file)),
            Err(failure) if failure.is_missing_key() => Ok(None),
            Err(failure) => Err(self.failed("read", key)(failure)),
        }
    }

    async fn write(&self, key: &str, content: &[u8]) -> Result<(), StoreError> {
        let content = ByteStream::from(content.to_vec());
        let asked = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.key(key))
            .body(content);
        let written = self
            .request("put", Box::pin(async { Ok(asked.send().await.map(drop)?) }))
            .await;
        written.map_err(self.failed("write", key))
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let names = self.names(&self.key(&format!("{folder}/"))).await;
        names.map_err(self.failed("list", folder))
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
