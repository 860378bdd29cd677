//! Owns how to reach a cluster: addresses, TLS, SASL, and librdkafka's own settings for what is not named here.

use std::path::PathBuf;

use rdkafka::ClientConfig;
use rdkafka::client::{Client, DefaultClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::types::RDKafkaType;
use serde::{Deserialize, Serialize};
use sidecar::{Problems, Secret};

use crate::Properties;

/// `[kafka]` of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawKafka {
    /// `HOST:PORT`, several with commas between.
    pub bootstrap_servers: String,
    /// The name by which brokers know the client, in their logs and quotas.
    pub client_id: String,
    /// TLS and SASL.
    pub security: RawSecurity,
    /// librdkafka's settings by their own names, for what is not named here.
    pub properties: Properties,
}

impl Default for RawKafka {
    fn default() -> Self {
        Self {
            bootstrap_servers: "127.0.0.1:9092".to_owned(),
            client_id: "outrigger".to_owned(),
            security: RawSecurity::default(),
            properties: Properties::default(),
        }
    }
}

/// `[kafka.security]` of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawSecurity {
    /// What the listener speaks.
    pub protocol: SecurityProtocol,
    /// The certificates, in PEM, of those who may sign the brokers'; the system's if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The client's own certificate, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    /// The key of the client's certificate, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// The password of that key.
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
}

/// What a listener speaks.
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
    fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }

    fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }

    fn has_tls(self) -> bool {
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
}

impl SaslMechanism {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// How to reach a cluster, checked.
#[derive(Debug, Clone)]
pub struct Connection {
    settings: RawKafka,
}

impl Connection {
    /// The connection, if `raw` has no problems; they are added to `problems`.
    pub fn check(raw: RawKafka, problems: &mut Problems) -> Option<Self> {
        let mut found = Problems::new();
        if raw.bootstrap_servers.trim().is_empty() {
            found.add("kafka.bootstrap_servers", "is empty; name at least one HOST:PORT");
        }
        raw.properties.check(&mut found);
        check_security(&raw.security, &mut found);
        let connection = Self { settings: raw };
        if found.is_empty()
            && let Err(reason) = connection.try_settings()
        {
            found.add("kafka", reason);
        }
        let fine = found.is_empty();
        problems.append(found);
        fine.then_some(connection)
    }

    /// The addresses, as they were given.
    pub fn bootstrap_servers(&self) -> &str {
        &self.settings.bootstrap_servers
    }

    /// Makes clients that know of no broker: librdkafka reads the files, and looks at what does not go together.
    fn try_settings(&self) -> Result<(), String> {
        let mut config = self.client_config();
        config.remove("bootstrap.servers");
        let mut producing = config.clone();
        producing.set("enable.idempotence", "true").set("acks", "all");
        for (config, kind) in [
            (config, RDKafkaType::RD_KAFKA_CONSUMER),
            (producing, RDKafkaType::RD_KAFKA_PRODUCER),
        ] {
            let client = config
                .create_native_config()
                .and_then(|native| Client::new(&config, native, kind, DefaultClientContext));
            client.map(drop).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// What every client of this connection sets.
    pub(crate) fn client_config(&self) -> ClientConfig {
        let RawKafka {
            bootstrap_servers,
            client_id,
            security,
            properties,
        } = &self.settings;
        let mut config = ClientConfig::new();
        // What librdkafka says of a broker that ends connections is no more than `info` to it. `context` sorts it.
        let has_debug = properties.iter().any(|(name, _)| name == "debug");
        config.set_log_level(if has_debug {
            RDKafkaLogLevel::Debug
        } else {
            RDKafkaLogLevel::Info
        });
        config
            .set("bootstrap.servers", bootstrap_servers)
            .set("client.id", client_id);
        // A small record waits for nobody; a broker that comes back is found within seconds.
        config
            .set("socket.nagle.disable", "true")
            .set("reconnect.backoff.max.ms", "2000");
        config.set("security.protocol", security.protocol.name());
        let file = |file: &Option<PathBuf>| file.as_ref().map(|path| path.display().to_string());
        let secret = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.expose().to_owned());
        let optional = [
            ("ssl.ca.location", file(&security.ca_file)),
            ("ssl.certificate.location", file(&security.certificate_file)),
            ("ssl.key.location", file(&security.key_file)),
            ("ssl.key.password", secret(&security.key_password)),
            (
                "sasl.mechanisms",
                security
                    .sasl_mechanism
                    .map(|mechanism| mechanism.name().to_owned()),
            ),
            ("sasl.username", security.username.clone()),
            ("sasl.password", secret(&security.password)),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                config.set(name, value);
            }
        }
        for (name, value) in properties.iter() {
            config.set(name, value);
        }
        config
    }
}

fn check_security(security: &RawSecurity, problems: &mut Problems) {
    let sasl = [
        ("sasl_mechanism", security.sasl_mechanism.is_some()),
        ("username", security.username.is_some()),
        ("password", security.password.is_some()),
    ];
    let protocol = security.protocol.name();
    for (key, set) in sasl {
        let key = format!("kafka.security.{key}");
        match (security.protocol.has_sasl(), set) {
            (true, false) => problems.add(key, format!("is missing; protocol = \"{protocol}\" needs it")),
            (false, true) => problems.add(key, format!("has no effect with protocol = \"{protocol}\"")),
            _ => {}
        }
    }
    let files = [
        ("ca_file", &security.ca_file),
        ("certificate_file", &security.certificate_file),
        ("key_file", &security.key_file),
    ];
    for (key, file) in files {
        let Some(path) = file else { continue };
        let key = format!("kafka.security.{key}");
        if !security.protocol.has_tls() {
            problems.add(key, format!("has no effect with protocol = \"{protocol}\""));
        } else if let Err(error) = std::fs::metadata(path) {
            problems.add(key, format!("cannot read {}: {error}", path.display()));
        }
    }
    if security.certificate_file.is_some() != security.key_file.is_some() {
        problems.add("kafka.security.key_file", "goes together with certificate_file");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(toml: &str) -> String {
        let mut problems = Problems::new();
        let connection = Connection::check(toml::from_str(toml).unwrap(), &mut problems);
        assert_eq!(connection.is_some(), problems.is_empty());
        problems.to_string()
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(problems(""), "");
    }

    #[test]
    fn a_property_that_the_program_owns_is_refused_with_the_reason() {
        let told = problems("[properties]\n\"acks\" = \"1\"\n\"client.id\" = \"x\"");
        assert_eq!(
            told,
            "kafka.properties.\"acks\": cannot be set here: without all of them a result can be lost with its broker\n\
             kafka.properties.\"client.id\": cannot be set here: it is kafka.client_id"
        );
    }

    #[test]
    fn settings_that_do_not_go_together_are_found_without_a_broker() {
        let told = problems("[properties]\n\"max.in.flight\" = \"10\"");
        assert!(
            told.starts_with("kafka: ") && told.contains("enable.idempotence"),
            "{told}"
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "no certificate").unwrap();
        let told = problems(&format!(
            "[security]\nprotocol = \"ssl\"\nca_file = {:?}",
            file.path()
        ));
        assert!(
            told.starts_with("kafka: ") && told.contains("ssl.ca.location"),
            "{told}"
        );
    }

    #[test]
    fn sasl_needs_all_of_its_settings() {
        let told =
            problems("[security]\nprotocol = \"sasl_ssl\"\nusername = \"a\"\nca_file = \"/nowhere.pem\"");
        assert!(
            told.contains("kafka.security.sasl_mechanism: is missing"),
            "{told}"
        );
        assert!(told.contains("kafka.security.password: is missing"), "{told}");
        assert!(
            told.contains("kafka.security.ca_file: cannot read /nowhere.pem"),
            "{told}"
        );
    }

    #[test]
    fn properties_go_through_verbatim() {
        let raw: RawKafka = toml::from_str("[properties]\n\"fetch.min.bytes\" = \"7\"").unwrap();
        let connection = Connection::check(raw, &mut Problems::new()).unwrap();
        assert_eq!(connection.client_config().get("fetch.min.bytes"), Some("7"));
    }
}
