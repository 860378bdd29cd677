//! Owns `[kafka.security]`: which protocol, and as whom.

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
}

impl SaslMechanism {
    /// Its name in Kafka.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::OauthBearer => "OAUTHBEARER",
        }
    }
}

/// As whom to log in, and how.
#[derive(Debug, Clone)]
pub(crate) enum Credentials {
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    Password {
        mechanism: SaslMechanism,
        username: String,
        password: Secret,
    },
    /// `OAUTHBEARER`.
    Token { file: PathBuf },
}

impl Credentials {
    pub(crate) fn mechanism(&self) -> SaslMechanism {
        match self {
            Self::Password { mechanism, .. } => *mechanism,
            Self::Token { .. } => SaslMechanism::OauthBearer,
        }
    }
}

impl RawSecurity {
    /// The credentials, if there are any; what does not go together is added to `problems`.
    pub(crate) fn check(&self, problems: &mut Problems) -> Option<Credentials> {
        self.check_files(problems);
        let protocol = self.protocol.name();
        let has_token = self.sasl_mechanism == Some(SaslMechanism::OauthBearer);
        let has_sasl = self.protocol.has_sasl();
        let settings = [
            ("sasl_mechanism", self.sasl_mechanism.is_some(), true),
            ("username", self.username.is_some(), !has_token),
            ("password", self.password.is_some(), !has_token),
            ("token_file", self.token_file.is_some(), has_token),
        ];
        for (key, is_set, belongs_to_mechanism) in settings {
            let key = format!("kafka.security.{key}");
            match (has_sasl, belongs_to_mechanism, is_set) {
                (true, true, false) => {
                    let by = self.sasl_mechanism.map_or(protocol, SaslMechanism::name);
                    problems.add(key, format!("is missing; \"{by}\" needs it"));
                }
                (true, false, true) => {
                    let by = self.sasl_mechanism.map_or("SASL", SaslMechanism::name);
                    problems.add(key, format!("has no effect with sasl_mechanism = \"{by}\""));
                }
                (false, _, true) => {
                    problems.add(key, format!("has no effect with protocol = \"{protocol}\""));
                }
                _ => {}
            }
        }
        self.credentials()
    }

    fn credentials(&self) -> Option<Credentials> {
        match self.sasl_mechanism.filter(|_| self.protocol.has_sasl())? {
            SaslMechanism::OauthBearer => Some(Credentials::Token {
                file: self.token_file.clone()?,
            }),
            mechanism => Some(Credentials::Password {
                mechanism,
                username: self.username.clone()?,
                password: self.password.clone()?,
            }),
        }
    }

    fn check_files(&self, problems: &mut Problems) {
        let protocol = self.protocol.name();
        let files = [
            ("ca_file", &self.ca_file, self.protocol.has_tls()),
            (
                "certificate_file",
                &self.certificate_file,
                self.protocol.has_tls(),
            ),
            ("key_file", &self.key_file, self.protocol.has_tls()),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(toml: &str) -> String {
        let mut problems = Problems::new();
        toml::from_str::<RawSecurity>(toml).unwrap().check(&mut problems);
        problems.to_string()
    }

    #[test]
    fn sasl_needs_all_of_its_settings() {
        let found = problems("protocol = \"sasl_ssl\"\nsasl_mechanism = \"SCRAM-SHA-512\"\nusername = \"a\"");
        assert_eq!(
            found,
            "kafka.security.password: is missing; \"SCRAM-SHA-512\" needs it"
        );
    }

    #[test]
    fn a_token_stands_in_a_file_and_a_password_beside_it_has_no_effect() {
        let found = problems(
            "protocol = \"sasl_ssl\"\nsasl_mechanism = \"OAUTHBEARER\"\nusername = \"a\"\ntoken_file = \"/nowhere\"",
        );
        assert!(
            found.contains("kafka.security.token_file: cannot read /nowhere"),
            "{found}"
        );
        assert!(
            found.contains("kafka.security.username: has no effect with sasl_mechanism"),
            "{found}"
        );
    }

    #[test]
    fn what_has_no_effect_is_named_once() {
        let found = problems("token_file = \"/etc/passwd\"\npassword = \"x\"");
        assert_eq!(found.matches("password: has no effect").count(), 1, "{found}");
        assert_eq!(found.matches("token_file: has no effect").count(), 1, "{found}");
    }
}
