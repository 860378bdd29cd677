//! Owns the client of S3: its settings, its credentials, its time limits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Credentials, RequestChecksumCalculation, ResponseChecksumValidation};
use aws_smithy_http_client::tls;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use super::{Observer, S3Folder};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
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

/// S3, with one client for all folders.
#[derive(Clone)]
pub struct S3 {
    settings: RawS3,
    observer: Observer,
    keys: Option<Credentials>,
    client: Arc<OnceCell<Client>>,
}

impl S3 {
    /// By these settings. Nothing is connected before a folder is opened.
    pub fn new(settings: RawS3, observer: Observer) -> Self {
        Self {
            settings,
            observer,
            keys: None,
            client: Arc::default(),
        }
    }

    /// With these keys, whatever the environment has.
    #[must_use]
    pub fn with_keys(mut self, access_key: &str, secret_key: &str) -> Self {
        self.keys = Some(Credentials::new(access_key, secret_key, None, None, "given"));
        self
    }

    /// A folder of a bucket.
    pub async fn folder(&self, bucket: &str, prefix: &str) -> S3Folder {
        let client = self.client.get_or_init(|| self.connect()).await;
        S3Folder {
            client: client.clone(),
            observer: self.observer.clone(),
            timeout: self.settings.request_timeout,
            bucket: bucket.to_owned(),
            is_unconditional: Arc::default(),
            prefix: if prefix.is_empty() {
                String::new()
            } else {
                format!("{prefix}/")
            },
        }
    }

    async fn connect(&self) -> Client {
        let settings = &self.settings;
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
        if let Some(keys) = &self.keys {
            loader = loader.credentials_provider(keys.clone());
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
}

impl fmt::Debug for S3 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("S3")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
