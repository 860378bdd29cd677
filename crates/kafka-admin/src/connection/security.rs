//! Owns `[kafka.security]`: which protocol, and as whom.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sidecar::{Problems, Secret};

/// `[kafka.security]` of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawSecurity {
    /// The listener's protocol.
    pub protocol: SecurityProtocol,
    /// The certificates, in PEM, of those who may sign the brokers'; the system's if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The client's own certificate, in PEM, and those between it and its authority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    /// The key of the client's certificate, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// The password of that key, which is in PKCS#8 then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_password: Option<Secret>,
    /// How to log in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sasl_mechanism: Option<SaslMechanism>,
    /// As whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// With which password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// The file with the token of `OAUTHBEARER`; it is read again for each authentication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// The URL that issues tokens of `OAUTHBEARER` for client credentials (RFC 6749, section 4.4), instead of `token_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_endpoint: Option<String>,
    /// The certificates, in PEM, of those who may sign the endpoint's; the system's if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_ca_file: Option<PathBuf>,
    /// As which client the endpoint is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// With which secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Secret>,
    /// The scope of the token, if the endpoint needs one; several with spaces between.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// What brokers are sent beside a token (RFC 7628, KIP-342), such as `logicalCluster` and `identityPoolId`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extensions: BTreeMap<String, String>,
    /// The brokers' region, for `AWS_MSK_IAM`; that in the name of a bootstrap server if absent, else the environment's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws_region: Option<String>,
}

/// A listener's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SecurityProtocol {
    /// Neither TLS nor SASL.
    #[default]
    Plaintext,
    /// TLS.
    Ssl,
    /// SASL.
    SaslPlaintext,
    /// SASL over TLS.
    SaslSsl,
}

impl SecurityProtocol {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }

    /// Whether it has SASL.
    pub fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }

    /// Whether it has TLS.
    pub fn has_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }
}

/// How to log in to a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub enum SaslMechanism {
    /// The password itself; only over TLS.
    #[serde(rename = "PLAIN")]
    Plain,
    /// RFC 5802 with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// RFC 5802 with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
    /// RFC 7628: a token.
    #[serde(rename = "OAUTHBEARER")]
    OauthBearer,
    /// `OAUTHBEARER` with tokens for Amazon MSK, by the AWS credentials of the process.
    #[serde(rename = "AWS_MSK_IAM")]
    AwsMskIam,
}

impl SaslMechanism {
    /// Its name in Kafka: what a broker enables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::OauthBearer | Self::AwsMskIam => "OAUTHBEARER",
        }
    }

    /// Its name in the configuration.
    pub(crate) fn setting(self) -> &'static str {
        match self {
            Self::AwsMskIam => "AWS_MSK_IAM",
            other => other.name(),
        }
    }
}

impl RawSecurity {
    /// Adds files that cannot be read, or have no effect, to `problems`.
    pub(crate) fn check_files(&self, problems: &mut Problems) {
        let protocol = self.protocol.name();
        let has_tls = self.protocol.has_tls();
        let files = [
            ("ca_file", &self.ca_file, has_tls),
            ("certificate_file", &self.certificate_file, has_tls),
            ("key_file", &self.key_file, has_tls),
            ("token_file", &self.token_file, true),
        ];
        for (key, file, has_effect) in files {
            let Some(path) = file else { continue };
            let key = format!("kafka.security.{key}");
            if !has_effect {
                problems.add(key, format!("has no effect with protocol = \"{protocol}\""));
            } else if let Err(error) = std::fs::metadata(path) {
                problems.add(key, format!("cannot read {}: {error}", path.display()));
            }
        }
        if self.certificate_file.is_some() != self.key_file.is_some() {
            problems.add("kafka.security.key_file", "goes together with certificate_file");
        }
        if self.key_password.is_some() && self.key_file.is_none() {
            problems.add("kafka.security.key_password", "has no effect without key_file");
        }
    }
}
