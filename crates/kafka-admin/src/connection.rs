//! Owns how to reach a cluster: addresses, TLS, SASL, and librdkafka's own settings for what is not named here.

mod address;
mod credentials;
mod properties;
mod security;
mod tls;
mod token;
mod tuning;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sidecar::Problems;
use tokio_rustls::rustls::ClientConfig;

pub(crate) use address::Address;
pub(crate) use credentials::Credentials;
pub use properties::Properties;
pub use security::{RawSecurity, SaslMechanism, SecurityProtocol};
pub use token::{Token, TokenSource};
pub(crate) use tuning::Tuning;

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

/// How to reach a cluster, checked.
#[derive(Debug, Clone)]
pub struct Connection {
    raw: RawKafka,
    pub(crate) servers: Vec<Address>,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) tuning: Tuning,
}

impl Connection {
    /// The connection, if `raw` has no problems; they are added to `problems`.
    pub fn check(raw: RawKafka, problems: &mut Problems) -> Option<Self> {
        let mut found = Problems::new();
        let servers = Address::parse_all(&raw.bootstrap_servers, &mut found);
        raw.properties.check(&mut found);
        let tuning = Tuning::check(&raw.properties, &mut found);
        raw.security.check_files(&mut found);
        let credentials = Credentials::check(&raw.security, &servers, &tuning, &mut found);
        let has_tls = raw.security.protocol.has_tls();
        let tls = has_tls
            .then(|| tls::client_config(&raw.security, tuning.checks_host, &mut found))
            .flatten();
        let is_valid = found.is_empty();
        problems.append(found);
        is_valid.then_some(Self {
            raw,
            servers,
            tls,
            credentials,
            tuning,
        })
    }

    /// The settings, as they were given, for clients that this crate does not make.
    pub fn settings(&self) -> &RawKafka {
        &self.raw
    }

    /// The addresses, as they were given.
    pub fn bootstrap_servers(&self) -> &str {
        &self.raw.bootstrap_servers
    }

    /// The names in `kafka.properties` that requests to a cluster do not use.
    pub fn unused_properties(&self) -> Vec<&str> {
        tuning::unused(&self.raw.properties)
    }

    /// Where the tokens of `OAUTHBEARER` come from, if that is how to log in: the same source that requests to the cluster use,
    /// so that a client that this crate does not make causes no tokens of its own.
    pub fn token_source(&self) -> Option<&TokenSource> {
        match self.credentials.as_ref()? {
            Credentials::Token(source) => Some(source),
            Credentials::Password { .. } => None,
        }
    }

    pub(crate) fn protocol(&self) -> SecurityProtocol {
        self.raw.security.protocol
    }

    pub(crate) fn client_id(&self) -> &str {
        &self.raw.client_id
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
    fn a_property_that_stands_elsewhere_is_refused_with_the_reason() {
        assert_eq!(
            problems("[properties]\n\"client.id\" = \"x\""),
            "kafka.properties.\"client.id\": cannot be set here: it is kafka.client_id"
        );
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let found = problems(
            "bootstrap_servers = \"a:b\"\n[security]\nprotocol = \"sasl_ssl\"\nusername = \"a\"\n\
             ca_file = \"/nowhere.pem\"",
        );
        for part in [
            "kafka.bootstrap_servers: \"a:b\"",
            "kafka.security.sasl_mechanism: is missing",
            "kafka.security.ca_file: cannot read /nowhere.pem",
        ] {
            assert!(found.contains(part), "{found}");
        }
    }

    #[test]
    fn a_file_that_is_no_certificate_is_found_without_a_broker() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "no certificate").unwrap();
        let found = problems(&format!(
            "[security]\nprotocol = \"ssl\"\nca_file = {:?}",
            file.path()
        ));
        assert!(found.starts_with("kafka.security.ca_file: "), "{found}");
    }
}
