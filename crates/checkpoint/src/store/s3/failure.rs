//! Owns what an unsuccessful request to S3 means, and what a person can do about it.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::StoreErrorKind;

/// S3's names of errors that pass, whatever their status: another try succeeds, or credentials are renewed, or somebody
/// makes room.
const PASSING: [&str; 17] = [
    "BandwidthLimitExceeded",
    "ConditionalRequestConflict",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteBody",
    "InternalError",
    "OperationAborted",
    "PriorRequestNotComplete",
    "QuotaExceeded",
    "RequestLimitExceeded",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TokenRefreshRequired",
];

/// Why a request did not succeed.
#[derive(Debug)]
pub(super) struct Failure {
    /// The HTTP status, or what else there is to say: see [`super::S3Request::code`].
    pub(super) code: String,
    /// S3's own name of the error, such as `NoSuchKey`.
    name: String,
    message: String,
}

impl Failure {
    fn without_status(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            name: String::new(),
            message: message.into(),
        }
    }

    /// The SDK lists each of its sources and why it has none, in many lines.
    fn without_credentials() -> Self {
        Self::without_status("credentials", "no credentials were found")
    }

    pub(super) fn timeout(after: Duration) -> Self {
        Self::without_status("timeout", format!("no whole answer within {after:?}"))
    }

    pub(super) fn cut(error: impl Error) -> Self {
        Self::without_status(
            "connection",
            format!("the answer was cut short: {}", root(&error)),
        )
    }

    pub(super) fn without_end() -> Self {
        Self::without_status("connection", "the list does not say whether it ends")
    }

    pub(super) fn too_many(pages: usize) -> Self {
        let message =
            format!("it has more than {pages},000 files; a checkpoint's folder has about a hundred");
        Self::without_status("other", message)
    }

    pub(super) fn of<E>(error: &SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        match error {
            SdkError::ServiceError(answer) => Self {
                code: answer.raw().status().as_u16().to_string(),
                name: answer.err().code().unwrap_or_default().to_owned(),
                message: answer.err().message().unwrap_or_default().to_owned(),
            },
            SdkError::ResponseError(answer) => Self {
                code: answer.raw().status().as_u16().to_string(),
                name: String::new(),
                message: format!("the answer is not S3's: {}", root(error)),
            },
            SdkError::TimeoutError(_) => Self::without_status("timeout", "no answer in time"),
            _ if says(error, "credential") && says(error, "timed out") => {
                Self::without_status("timeout", "the source of the credentials does not answer")
            }
            _ if says(error, "credential") => Self::without_credentials(),
            SdkError::DispatchFailure(failure) if failure.is_timeout() => {
                Self::without_status("timeout", "no connection in time")
            }
            // The connection is refused, reset, or ends in the middle of the answer.
            SdkError::DispatchFailure(failure) if !failure.is_user() => {
                Self::without_status("connection", root(error))
            }
            _ => Self::without_status("other", root(error)),
        }
    }

    /// Whether there is no such object, in a bucket that exists. A 404 without S3's name of the error is a torn answer,
    /// or not S3's: it must not pass for a checkpoint that is new.
    pub(super) fn is_missing_key(&self) -> bool {
        self.code == "404" && self.name == "NoSuchKey"
    }

    /// Whether the object is not as the request's condition wants it.
    pub(super) fn is_condition_unmet(&self) -> bool {
        self.code == "412" || self.is_missing_key()
    }

    /// Whether the store does not know the request's condition. A 501 without S3's name of the error is not the store's.
    pub(super) fn is_condition_unknown(&self) -> bool {
        self.code == "501" && self.name == "NotImplemented"
    }

    pub(super) fn kind(&self) -> StoreErrorKind {
        match self.code.as_str() {
            _ if PASSING.contains(&self.name.as_str()) => StoreErrorKind::Passing,
            "401" | "403" | "credentials" => StoreErrorKind::Denied,
            "501" if self.name == "NotImplemented" => StoreErrorKind::Permanent,
            "408" | "409" | "429" | "timeout" | "connection" => StoreErrorKind::Passing,
            // The answer was torn, or is not S3's. `NotFound` is the SDK's name of an answer without a body.
            "400" | "404" if matches!(self.name.as_str(), "" | "NotFound") => StoreErrorKind::Passing,
            code if code.starts_with('5') || code.starts_with('2') => StoreErrorKind::Passing,
            _ => StoreErrorKind::Permanent,
        }
    }

    /// What a person can do.
    fn hint(&self) -> &'static str {
        match (self.code.as_str(), self.name.as_str()) {
            (_, "NoSuchBucket") => "check the bucket's name and s3.endpoint",
            (_, "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken") | ("credentials", _) => {
                "check the credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or the pod's role"
            }
            ("403", _) => {
                "the role needs s3:ListBucket on the bucket and s3:GetObject (a writer s3:PutObject and s3:DeleteObject) below the prefix"
            }
            ("301" | "307" | "400", _) => {
                "check s3.region (or AWS_REGION), s3.path_style and the bucket's name"
            }
            ("connection" | "timeout", _) => "check s3.endpoint and the network",
            _ => "",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = [self.code.as_str(), &self.name, &self.message].map(str::trim);
        let said: Vec<_> = said.into_iter().filter(|part| !part.is_empty()).collect();
        formatter.write_str(&said.join(" "))?;
        match self.hint() {
            "" => Ok(()),
            hint => write!(formatter, "; {hint}"),
        }
    }
}

impl Error for Failure {}

/// Whether one of a chain of errors has these words.
fn says(error: &dyn Error, words: &str) -> bool {
    let mut below = Some(error);
    while let Some(error) = below {
        if error.to_string().contains(words) {
            return true;
        }
        below = error.source();
    }
    false
}

/// The error at the bottom of a chain, which says what happened; those above only say where.
fn root(error: &dyn Error) -> String {
    let mut bottom = error;
    while let Some(below) = bottom.source() {
        bottom = below;
    }
    bottom.to_string()
}
